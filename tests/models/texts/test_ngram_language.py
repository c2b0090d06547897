"""Interpolated Kneser-Ney against the definition, word by word."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import tolerances

from headgate import InputError
from headgate.models.texts.ngram_language import NGramLanguage

V = 7
NOT_INTEGERS = "tokens must be (S,) integers, at least one, got shape {} and dtype float64"


def some_texts(seed=0, count=40):
    """Sequences that begin with 2, of a source with a memory of one token."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        text = [2]
        for _ in range(rng.integers(1, 9)):
            text.append(int((text[-1] * 3 + rng.choice([0, 0, 0, 1, 2])) % (V - 1)))
        texts.append(text)
    return texts


def laid_out(texts):
    return np.concatenate(texts), np.cumsum([0, *map(len, texts)])[:-1]


def kneser_ney(texts, order):
    """p(token, history) from dictionaries, as the paper says it."""
    raw = [Counter() for _ in range(order + 1)]
    begins = [Counter() for _ in range(order + 1)]
    for text in texts:
        for end in range(1, len(text) + 1):
            for k in range(1, min(order, end) + 1):
                gram = tuple(text[end - k : end])
                raw[k][gram] += 1
                if end == k:
                    begins[k][gram] += 1
    tables = []
    for k in range(1, order + 1):
        if k == order:
            counts = Counter(raw[k])
            if k == 1:
                counts.subtract(begins[1])
        else:
            counts = Counter(dict.fromkeys(raw[k], 0))
            for longer in raw[k + 1]:
                counts[longer[1:]] += 1
            if k > 1:
                counts.update(begins[k])
        of = Counter(min(c, 5) for c in counts.values())
        one = of[1] / (of[1] + 2 * of[2]) if of[1] and of[2] else 0.5
        discount = [0.0]
        for c in (1, 2, 3):
            exact = c - (c + 1) * one * of[c + 1] / of[c] if of[c] else one
            discount.append(exact if 0 < exact < c else one)
        followers = defaultdict(dict)
        for gram, c in counts.items():
            followers[gram[:-1]][gram[-1]] = c
        tables.append((followers, discount))

    def p(token, history):
        value = 1 / V
        for k, (followers, discount) in enumerate(tables):
            if k > len(history):
                break
            seen = followers.get(tuple(history[len(history) - k :]))
            if not seen or not sum(seen.values()):
                continue
            total = sum(seen.values())
            taken = sum(discount[min(c, 3)] for c in seen.values())
            c = seen.get(token, 0)
            value = (c - discount[min(c, 3)]) / total + taken / total * value
        return value

    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_definition(order):
    texts, others = some_texts(), [*some_texts(1, 20), [2, 6, 6, 0]]
    p = kneser_ney(texts, order)
    model = NGramLanguage(order, V).fit(*laid_out(texts))
    for given in (texts, others):
        tokens, starts = laid_out(given)
        expected = [
            np.log(p(token, text[:place])) if place else 0.0
            for text in given
            for place, token in enumerate(text)
        ]
        found = model.log_probabilities(tokens, starts)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerances.FLOAT64_EQUAL)


def test_marks_within_a_running_text_count_by_what_stands_before_them():
    text = [2, 0, 1, 2, 0, 1, 2, 3, 1, 2, 0]
    p = kneser_ney([text], 3)
    found = NGramLanguage(3, V).fit(text).log_probabilities(text)
    expected = [np.log(p(token, text[:k])) for k, token in enumerate(text)]
    np.testing.assert_allclose(found[1:], expected[1:], rtol=0, atol=tolerances.FLOAT64_EQUAL)


def test_texts_shorter_than_the_longest_n_grams():
    model = NGramLanguage(5, V).fit([2, 0, 1, 2], [0, 2])
    text = [2, 0, 2, 0, 1, 2]
    reader = model.follow()
    for place, found in enumerate(model.log_probabilities(text)):
        if place:
            assert np.log(reader.distribution()[text[place]]) == pytest.approx(found)
        reader.step(text[place])


def test_following_gives_the_same_probabilities_and_they_add_up_to_one():
    model = NGramLanguage(4, V).fit(*laid_out(some_texts()))
    for text in [*some_texts(2, 5), [2, 6, 6, 6, 0]]:
        logs = model.log_probabilities(text)
        reader = model.follow()
        reader.step(text[0])
        for place, token in enumerate(text[1:], 1):
            p = reader.distribution()
            assert p.shape == (V,)
            assert p.sum() == pytest.approx(1, abs=tolerances.FLOAT64_EQUAL)
            assert np.log(p[token]) == pytest.approx(
                logs[place], rel=0, abs=tolerances.FLOAT64_EQUAL
            )
            reader.step(token)


@pytest.mark.parametrize(
    ("tokens", "starts", "message"),
    [
        ([], [0], "tokens must be (S,) integers, at least one, got shape (0,) and dtype float64"),
        (
            [0.5],
            [0],
            "tokens must be (S,) integers, at least one, got shape (1,) and dtype float64",
        ),
        ([0, V], [0], "tokens must be numbers from 0 to 6, got 0 to 7"),
        ([0, 1], [1], "starts must be (N,) integers that rise from 0"),
        ([0, 1], [0, 0], "starts must rise from 0 and stay below the 2 tokens"),
        ([0, 1], [0, 2], "starts must rise from 0 and stay below the 2 tokens"),
    ],
)
def test_what_is_no_text_is_refused(tokens, starts, message):
    with pytest.raises(InputError) as error:
        NGramLanguage(2, V).fit(tokens, starts)
    assert str(error.value) == message
