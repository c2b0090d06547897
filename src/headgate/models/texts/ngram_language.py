"""Counts of n-grams as a language model: interpolated Kneser-Ney over token numbers.

The baseline that a language model has to beat, and its partner on small texts. Kneser and Ney
(1995), in the interpolated form with three discounts of Chen and Goodman (1999): a token's
probability after a history is its discounted share of what followed there, and what was taken away
goes to the same question after a history one token shorter. Below the longest history a token
counts as often as different tokens stood before it; the shortest backs off to 1 / V.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_size
from ...errors import InputError

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MAX_ORDER = 16


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length k, with what is needed of their histories, those of length k - 1.

    Attributes:
        keys: (G,) int64, rising: ``V * history + last token``, the history by its place in the
            level below. N-grams that share a history stand side by side.
        counts: (G,) float64, what is left of each n-gram's count after the discount.
        total: by history, what followed it, counted.
        share: by history, the part of the probability that goes to the shorter history.
    """

    keys: Int64
    counts: Float64
    total: Float64
    share: Float64


class NGramLanguage:
    """Interpolated Kneser-Ney of any order.

    Args:
        order: tokens of the longest n-grams; 1 for the frequencies of tokens alone.
        vocabulary: V, how many tokens there are.
    """

    def __init__(self, order: int, vocabulary: int) -> None:
        self.order = check_size("order", order, maximum=MAX_ORDER)
        self.vocabulary = check_size("vocabulary", vocabulary, maximum=1 << 24)
        self._levels: list[_Level] = []

    def fit(self, tokens: Any, starts: Any = (0,)) -> NGramLanguage:
        """Count the n-grams of sequences laid end to end; returns self.

        Args:
            tokens: (S,) integers below V. The first token of a sequence is what it begins with: a
                history for the next one, itself not predicted.
            starts: (N,) where the sequences begin, rising from 0.

        Raises:
            InputError: tokens or starts are no such numbers.
        """
        tokens, place = self._checked(tokens, starts)
        found = []  # of every level: keys, counts, and of each n-gram one place where it ends
        ids_of_level = [np.zeros(len(tokens), np.int64)]
        for k in range(1, self.order + 1):
            there = np.flatnonzero(place >= k - 1)
            history = ids_of_level[-1][there - 1] if k > 1 else 0
            keys, first, inverse, counts = np.unique(
                history * self.vocabulary + tokens[there],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            ids = np.full(len(tokens), -1, np.int64)
            ids[there] = inverse
            ids_of_level.append(ids)
            # What a sequence begins with is not predicted, so as a token alone it counts nothing.
            begins = np.bincount(ids[place == k - 1], minlength=len(keys))
            found.append((keys, there[first], counts - (begins if k == 1 else 0), begins))
        self._levels = []
        for k, (keys, _, counts, begins) in enumerate(found, start=1):
            if k < self.order:
                longer = found[k][1]
                different = np.bincount(ids_of_level[k][longer], minlength=len(keys))
                # Nothing stands before the beginning of a sequence: there every time counts.
                counts = different + (begins if k > 1 else 0)
            histories = len(found[k - 2][0]) if k > 1 else 1
            self._levels.append(_level(keys, counts, histories, self.vocabulary))
        return self

    def log_probabilities(self, tokens: Any, starts: Any = (0,)) -> Float64:
        """(S,) natural logarithm of every token's probability after those before it.

        What sequences begin with, see :meth:`fit`, is not predicted and has a zero.
        """
        tokens, place = self._checked(tokens, starts)
        p = np.full(len(tokens), 1.0 / self.vocabulary)
        history = np.zeros(len(tokens), np.int64)
        for level in self._levels:
            known = np.flatnonzero(history >= 0)
            at = _find(level.keys, history[known] * self.vocabulary + tokens[known])
            count = np.zeros(len(at))
            count[at >= 0] = level.counts[at[at >= 0]]
            before = history[known]
            p[known] = count / level.total[before] + level.share[before] * p[known]
            # the history of the next token's longer n-gram: this one, where its sequence has it
            ids = np.full(len(tokens), -1, np.int64)
            ids[known] = at
            history = np.concatenate([[-1], ids[:-1]])
            history[place == 0] = -1
        return np.where(place == 0, 0.0, np.log(p))

    def follow(self) -> Follower:
        """What stands at the beginning of a sequence and is told its tokens one by one."""
        return Follower(self.vocabulary, self._levels)

    def _checked(self, tokens: Any, starts: Any) -> tuple[Int64, Int64]:
        """Tokens and, for each, its place in its sequence."""
        flat, begin = np.asarray(tokens), np.asarray(starts)
        if flat.ndim != 1 or flat.dtype.kind not in "iu" or not flat.size:
            raise InputError(
                f"tokens must be (S,) integers, at least one, got shape {flat.shape} and dtype "
                f"{flat.dtype}"
            )
        if flat.min() < 0 or flat.max() >= self.vocabulary:
            raise InputError(
                f"tokens must be numbers from 0 to {self.vocabulary - 1}, got "
                f"{int(flat.min())} to {int(flat.max())}"
            )
        if begin.ndim != 1 or begin.dtype.kind not in "iu" or not begin.size or begin[0] != 0:
            raise InputError("starts must be (N,) integers that rise from 0")
        if (np.diff(begin) <= 0).any() or begin[-1] >= len(flat):
            raise InputError(f"starts must rise from 0 and stay below the {len(flat)} tokens")
        lengths = np.diff(np.append(begin, len(flat)))
        return flat.astype(np.int64), np.arange(len(flat)) - np.repeat(begin, lengths)


class Follower:
    """Follows one sequence: :meth:`step` takes a token, :meth:`distribution` is of the next."""

    def __init__(self, vocabulary: int, levels: list[_Level]) -> None:
        self._vocabulary = vocabulary
        self._levels = levels
        # the n-grams of lengths 0, 1, ... that end where the sequence does; -1 for none
        self._ids = [0] + [-1] * len(levels)

    def step(self, token: int) -> None:
        """Go on by one token."""
        before = self._ids
        self._ids = [0]
        for level, history in zip(self._levels, before, strict=False):
            at = -1
            if history >= 0:
                at = int(_find(level.keys, np.array([history * self._vocabulary + token]))[0])
            self._ids.append(at)

    def distribution(self) -> Float64:
        """(V,) the probabilities of the next token."""
        p = np.full(self._vocabulary, 1.0 / self._vocabulary)
        for level, history in zip(self._levels, self._ids, strict=False):
            if history < 0:
                continue
            first = history * self._vocabulary
            begin, end = np.searchsorted(level.keys, [first, first + self._vocabulary])
            p *= level.share[history]
            p[level.keys[begin:end] - first] += level.counts[begin:end] / level.total[history]
        return p


def _find(keys: Int64, wanted: Int64) -> Int64:
    """Where each wanted key stands among the rising ``keys``; -1 for one that is not there."""
    if not len(keys):  # no text was that long
        return np.full(len(wanted), -1, np.int64)
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    result: Int64 = np.where(keys[at] == wanted, at, -1)
    return result


def _level(keys: Int64, counts: Int64, histories: int, vocabulary: int) -> _Level:
    discount = _discounts(counts)[np.minimum(counts, 3)]
    history = keys // vocabulary
    total: Float64 = np.bincount(history, counts, histories).astype(np.float64)
    taken = np.bincount(history, discount, histories)
    nothing = total == 0  # after what only ends sequences: all goes to the shorter history
    total[nothing] = 1.0
    return _Level(keys, counts - discount, total, np.where(nothing, 1.0, taken / total))


def _discounts(counts: Int64) -> Float64:
    """What is taken from counts of 0, 1, 2, and of 3 or more (Chen and Goodman 1999, eq. 26).

    Where too few n-grams occur that often to tell, the one discount n1 / (n1 + 2 n2) is taken.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)
    one = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    discounts = [0.0]
    for c in (1, 2, 3):
        exact = c - (c + 1) * one * n[c + 1] / n[c] if n[c] else one
        discounts.append(exact if 0 < exact < c else one)
    return np.array(discounts)
