"""Spans of tokens that tags describe, how they are counted, and which tags may follow which.

Tags such as ``B-person`` (begins a span), ``I-person`` (goes on) and ``O`` (in none); ``E-`` and
``S-`` (the last, the only token) are read where they occur, and tags without a type too. Spans
are counted as seqeval counts them by default (as conlleval did, Tjong Kim Sang and De Meulder
2003): an ``I-`` that follows no span of its type begins one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.chains import viterbi

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

OUTSIDE = "O"

_TAG = re.compile(r"[BIES](-.*)?", re.DOTALL)


def are_span_tags(tags: Iterable[Any]) -> bool:
    """Whether tags describe spans: ``O`` and ``B-``, ``I-``, ... and nothing else."""
    begun = {tag[:1] for tag in tags if isinstance(tag, str) and _TAG.fullmatch(tag)}
    others = {tag for tag in tags if not isinstance(tag, str) or not _TAG.fullmatch(tag)}
    return bool(begun & {"B", "I"}) and others <= {OUTSIDE}


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first token, last token) of each span of a sentence, in order."""
    found = []
    open_type, begin, last = None, 0, OUTSIDE  # last: what the previous tag is, without its type
    for k, tag in enumerate(tags):
        part, kind = _parts(tag)
        if open_type is not None and (part in "BSO" or last in "ES" or kind != open_type):
            found.append((open_type, begin, k - 1))
            open_type = None
        if open_type is None and part != OUTSIDE:
            open_type, begin = kind, k
        last = part
    if open_type is not None:
        found.append((open_type, begin, len(tags) - 1))
    return found


def _parts(tag: str) -> tuple[str, str]:
    """(B, I, E, S or O, type); what is no tag of a span is outside, so that scores go on."""
    if isinstance(tag, str) and _TAG.fullmatch(tag):
        return tag[0], tag[2:]
    return OUTSIDE, ""


def span_f1(true: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> float:
    """2 * hits / (spans that are there + spans that are predicted), over all sentences.

    A hit has the same type, first and last token; 0 where there are no spans at all.
    """
    hits = total = 0
    for wanted, got in zip(true, predicted, strict=True):
        a, b = set(spans(wanted)), set(spans(got))
        hits += len(a & b)
        total += len(a) + len(b)
    return 2 * hits / total if total else 0.0


def token_accuracy(true: Iterable[Sequence[Any]], predicted: Iterable[Sequence[Any]]) -> float:
    """Share of tokens whose tag is right; 0 where there are no tokens."""
    pairs = [
        wanted == got
        for a, b in zip(true, predicted, strict=True)
        for wanted, got in zip(a, b, strict=True)
    ]
    return sum(pairs) / len(pairs) if pairs else 0.0


# -- tags that fit together ---------------------------------------------------------------------


def follows(before: str | None, tag: str) -> bool:
    """Whether ``tag`` may follow ``before``, which is None at the beginning of a sentence.

    ``I-`` and ``E-`` go on with a span of their type, all others may stand anywhere.
    """
    part, kind = _parts(tag)
    if part not in "IE":
        return True
    last, last_kind = (OUTSIDE, "") if before is None else _parts(before)
    return last in "BI" and last_kind == kind


def allowed_pairs(tags: Sequence[Any], sentences: Iterable[Sequence[Any]]) -> Bools | None:
    """(C + 1, C) which tag may follow which, its last row for the beginning of a sentence.

    None where anything goes: the tags describe no spans, or the sentences, from which a model
    learned, begin most spans with ``I-`` (the older scheme IOB1), so that nothing can be held to.
    """
    if not are_span_tags(tags):
        return None
    begun = odd = 0
    for sentence in sentences:
        for before, tag in itertools.pairwise([None, *sentence]):
            odd += not follows(before, tag)
            begun += _parts(tag)[0] in "BS"
    if odd > begun:
        return None
    return np.array([[follows(before, tag) for tag in tags] for before in [*tags, None]])


def best_paths(scores: Sequence[Float64], allowed: Bools | None) -> list[Int64]:
    """The tags (T,) with the highest sum of scores in each sentence, which may have no tokens.

    Args:
        scores: (T, C) of each sentence, such as logarithms of probabilities.
        allowed: of :func:`allowed_pairs`; None for the highest score of every token.
    """
    if allowed is None:
        return [np.argmax(item, axis=1) for item in scores]
    paths: list[Int64] = [np.empty(0, np.int64)] * len(scores)
    full = [k for k, item in enumerate(scores) if len(item)]
    if full:
        forbidden = np.where(allowed, 0.0, -np.inf)
        found = viterbi([scores[k] for k in full], forbidden[:-1], forbidden[-1])
        for k, path in zip(full, found, strict=True):
            paths[k] = path
    return paths
