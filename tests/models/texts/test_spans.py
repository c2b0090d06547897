"""Spans of tags: held to figures of seqeval 1.2.2, and decoding to every possible path."""

import itertools

import numpy as np
import pytest
from tolerances import FLOAT64_EQUAL

from headgate.models.texts.spans import (
    allowed_pairs,
    are_span_tags,
    best_paths,
    span_f1,
    spans,
    token_accuracy,
)

# Tags drawn at random, and seqeval.metrics.f1_score(true, predicted) of them.
BIO_TRUE = """B-a I-b O I-a O B-b B-b B-b B-b B-a O B-b
O B-b B-b I-b O B-b I-a B-a I-b O I-a O
O O I-b O B-b B-a B-b O I-b B-a B-b B-b
I-b B-a I-a B-a B-a B-b I-a O B-b I-b O B-a
I-a O I-a I-b B-b I-b B-a I-a I-a I-b B-b I-b
B-b I-b O B-b B-a B-b B-b B-a I-a I-b I-a O"""
BIO_PREDICTED = """B-a I-b I-b I-a O B-b B-b I-b B-b B-a O B-b
B-a B-b B-a I-b O I-a I-a B-a I-b O I-a I-b
I-b B-a I-b O I-b B-a B-b O I-b B-a B-b B-b
I-b B-a I-a B-a B-a B-b I-b I-a B-b O O B-a
I-a B-a I-a B-a B-b I-b B-a I-a I-a I-b B-b B-b
B-b I-b O B-b B-a B-b I-b I-b I-a B-a I-a O"""
IOBES_TRUE = """I-a E-b S-b S-a S-b B-b S-b E-b B-b S-b O S-a
E-a S-a O I-b I-a B-b O I-b B-a B-a I-b I-b
I-a S-a I-b I-a O S-b O B-b E-b I-a S-b O
S-a B-b E-a B-a B-b S-a B-b E-b B-a S-a I-b S-b
E-b O E-a S-a I-b O I-a B-b E-a I-a E-a S-a
B-b I-b B-a S-a S-b E-a S-b E-b S-b B-b B-a O"""
IOBES_PREDICTED = """I-a E-b B-b S-a S-b B-b S-b E-b B-b S-b E-b S-a
E-a S-a O I-b I-a E-a O I-b B-a B-a I-b I-b
I-a S-b E-b B-a I-b S-b O B-b E-b O S-b S-a
S-a B-b E-a B-a S-a S-a S-b I-b B-a E-a I-b S-b
E-b O I-b E-a I-b O I-a E-b E-a I-a E-a S-b
E-b I-b B-a S-a S-b E-a S-b E-b E-b B-b B-a O"""


def cut(text):
    return [line.split() for line in text.splitlines()]


def test_f1_is_seqevals():
    assert span_f1(cut(BIO_TRUE), cut(BIO_PREDICTED)) == pytest.approx(0.625, rel=FLOAT64_EQUAL)
    assert span_f1(cut(IOBES_TRUE), cut(IOBES_PREDICTED)) == pytest.approx(
        0.7966101694915254, rel=FLOAT64_EQUAL
    )


def test_f1_without_spans_is_zero_and_strange_tags_are_outside():
    assert span_f1([["O", "O"]], [["O", "O"]]) == 0
    assert span_f1([["B-a", "NOUN", 7, ""]], [["B-a", "O", "O", "O"]]) == 1


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-x I-x O", [("x", 0, 1)]),
        ("I-x I-x B-x", [("x", 0, 1), ("x", 2, 2)]),  # IOB1: I- without B- begins a span
        ("B-x I-y", [("x", 0, 0), ("y", 1, 1)]),
        ("B-x-y I-x-y", [("x-y", 0, 1)]),
        ("B I O I", [("", 0, 1), ("", 3, 3)]),
        ("O", []),
        ("", []),
    ],
)
def test_spans(tags, expected):
    assert spans(tags.split()) == expected


def test_which_tags_describe_spans():
    assert are_span_tags(["B-a", "I-a", "O"])
    assert are_span_tags(["B-a"])
    assert not are_span_tags(["O"])
    assert not are_span_tags(["NOUN", "O", "B-a"])
    assert not are_span_tags([0, 1])
    assert not are_span_tags(["B", "M", "E", "S"])


def test_what_may_follow():
    tags = ["B-a", "B-b", "I-a", "O"]
    allowed = allowed_pairs(tags, [tags[:1]])
    assert allowed[:, 2].tolist() == [True, False, True, False, False]  # I-a, and at the beginning
    assert allowed[:, [0, 1, 3]].all()
    assert allowed_pairs(["NOUN", "VERB"], [["NOUN"]]) is None
    # one stray I- does not undo the scheme, a text in IOB1 does
    assert allowed_pairs(tags, [["B-a", "I-a", "B-b"], ["I-a"]]) is not None
    assert allowed_pairs(tags, [["I-a", "I-a", "O", "I-a"]]) is None


def test_the_best_path_is_the_best_of_all():
    tags = ["B-a", "B-b", "I-a", "O"]
    allowed = allowed_pairs(tags, [["B-a"]])
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(n, 4)) for n in (3, 5, 1, 0, 5, 4)]
    for item, path in zip(scores, best_paths(scores, allowed), strict=True):
        fitting = [
            way
            for way in itertools.product(range(4), repeat=len(item))
            if all(allowed[b, t] for b, t in itertools.pairwise((-1, *way)))
        ]
        best = max(fitting, key=lambda way: sum(item[t, c] for t, c in enumerate(way)))
        assert path.tolist() == list(best)
    free = best_paths(scores, None)
    assert [p.tolist() for p in free] == [list(s.argmax(axis=1)) for s in scores]


def test_accuracy_of_tokens():
    assert token_accuracy([["N", "V"], ["N"]], [["N", "N"], ["N"]]) == pytest.approx(2 / 3)
    assert token_accuracy([[]], [[]]) == 0
