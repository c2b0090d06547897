"""A linear classifier over the n-grams of texts: what stands beside the networks.

TF-IDF of n-grams in a few blocks (tokens, characters within words, tokens by place), sublinear and
each block of length 1, under a logistic regression: the baseline that a sceptic would try first,
and a good one (Wang and Manning 2012). N-grams are hashed (Weinberger et al. 2009), so no list of
them has to be kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from ...checks import check_flags, check_size
from ...errors import InputError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

BUCKETS = 1 << 18  # of each block
INSIDE = (3, 5)  # characters of the n-grams within words
PLACED = 3  # tokens of the longest n-gram that is told by its place
STRENGTH = 10.0  # C of the logistic regression
EDGE = "\n"  # stands before and behind a text


@dataclass(frozen=True)
class Ngrams:
    """Which n-grams are counted.

    Attributes:
        longest: of tokens.
        inside: whether characters within words are a block.
        placed: whether tokens by their place are a block.
    """

    longest: int = 2
    inside: bool = True
    placed: bool = False

    @property
    def blocks(self) -> int:
        return 1 + self.inside + self.placed

    def counts(self, texts: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """(N, blocks * BUCKETS) float64, how often each n-gram stands in each text."""
        within: dict[str, list[int]] = {}
        columns: list[int] = []
        ends = np.zeros(len(texts) + 1, np.int64)
        for k, words in enumerate(texts):
            columns += self._of_tokens([EDGE, *words, EDGE])
            if self.inside:
                for word in words:
                    if word not in within:
                        within[word] = _of_characters(word)
                    columns += within[word]
            if self.placed:
                columns += self._of_places(words)
            ends[k + 1] = len(columns)
        shape = (len(texts), self.blocks * BUCKETS)
        matrix = sparse.csr_matrix(
            (np.ones(len(columns)), np.array(columns, np.int64), ends), shape
        )
        matrix.sum_duplicates()
        return matrix

    def _of_tokens(self, words: Sequence[str]) -> list[int]:
        return [
            _bucket(" ".join(words[k : k + n]))
            for n in range(1, self.longest + 1)
            for k in range(len(words) - n + 1)
        ]

    def _of_places(self, words: Sequence[str]) -> list[int]:
        first = (1 + self.inside) * BUCKETS
        return [
            first + _bucket(f"{k} {' '.join(words[k : k + n])}")
            for n in range(1, PLACED + 1)
            for k in range(len(words) - n + 1)
        ]


def _bucket(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "replace")) % BUCKETS


def _of_characters(word: str) -> list[int]:
    """Buckets of the n-grams of a word with a blank at either end, in the second block."""
    padded = f" {word} "
    shortest, longest = INSIDE
    return [
        BUCKETS + _bucket(padded[k : k + n])
        for n in range(shortest, longest + 1)
        for k in range(max(len(padded) - n + 1, 0))
    ] or [BUCKETS + _bucket(padded)]


class NgramClassifier:
    """Logistic regression over hashed TF-IDF; see the module.

    Args:
        ngrams: which n-grams are counted.
        rows: (R,) int64, the buckets that the training texts fill, increasing.
        idf: (R,) float32, inverse document frequencies.
        weights: (R, C) float32.
        bias: (C,) float32.

    Raises:
        InputError: the arrays do not fit each other.
    """

    def __init__(
        self, ngrams: Ngrams, rows: Int64, idf: Float32, weights: Float32, bias: Float32
    ) -> None:
        size = ngrams.blocks * BUCKETS
        increasing = bool(np.all(np.diff(rows) > 0)) if len(rows) else True
        inside = len(rows) == 0 or (rows[0] >= 0 and rows[-1] < size)
        if not (increasing and inside and idf.shape == rows.shape):
            raise InputError("the n-grams' buckets are out of order")
        if weights.shape != (len(rows), len(bias)):
            raise InputError("the n-grams' weights do not fit their buckets")
        self.ngrams, self.rows, self.idf = ngrams, rows, idf
        self.weights, self.bias = weights, bias

    @classmethod
    def fit(
        cls,
        ngrams: Ngrams,
        counts: sparse.csr_matrix,
        codes: Int64,
        classes: int,
        sample_weights: Float64 | None = None,
    ) -> NgramClassifier:
        """Learn from ``ngrams.counts`` of texts and their class numbers.

        N-grams of characters that one text alone has are left out: they double the size and tell
        nothing.
        """
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        least = np.ones(counts.shape[1])
        if ngrams.inside and counts.shape[0] > 1000:
            least[BUCKETS : 2 * BUCKETS] = 2
        rows = np.flatnonzero(frequency >= least)
        idf = np.log((1 + counts.shape[0]) / (1 + frequency[rows])) + 1
        model = cls(
            ngrams, rows.astype(np.int64), idf.astype(np.float32),
            np.zeros((len(rows), classes), np.float32), np.zeros(classes, np.float32),
        )  # fmt: skip
        model._descend(counts, codes, sample_weights)
        return model

    def go_on(
        self, counts: sparse.csr_matrix, codes: Int64, sample_weights: Float64 | None = None
    ) -> None:
        """Learn from further texts, staying as near as may be to what was learned before.

        N-grams that are new count as rare ones.
        """
        new = np.setdiff1d(counts.indices, self.rows)
        if len(new):
            rows = np.concatenate([self.rows, new])
            order = np.argsort(rows)
            rare = self.idf.max(initial=1.0)
            idf = np.concatenate([self.idf, np.full(len(new), rare, np.float32)])
            none = np.zeros((len(new), len(self.bias)), np.float32)
            weights = np.concatenate([self.weights, none])
            self.rows, self.idf, self.weights = rows[order], idf[order], weights[order]
        self._descend(counts, codes, sample_weights)

    def log_proba(self, counts: sparse.csr_matrix) -> Float64:
        """(N, C) the logarithm of each class's probability."""
        scores = self._features(counts) @ self.weights.astype(np.float64) + self.bias
        return log_softmax(np.asarray(scores))

    def _features(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """(N, R) TF-IDF, of length 1 in each block."""
        place = np.full(counts.shape[1], -1, np.int64)
        place[self.rows] = np.arange(len(self.rows))
        at = place[counts.indices]
        known = at >= 0
        texts = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[known]
        values = (1 + np.log(counts.data[known])) * self.idf[at[known]].astype(np.float64)
        group = texts * self.ngrams.blocks + counts.indices[known] // BUCKETS
        squares = np.bincount(group, values**2, minlength=1)
        values = values / np.sqrt(squares[group])
        shape = (counts.shape[0], len(self.rows))
        return sparse.csr_matrix((values, (texts, at[known])), shape)

    def _descend(
        self, counts: sparse.csr_matrix, codes: Int64, sample_weights: Float64 | None
    ) -> None:
        """Minimise the weighted cross-entropy plus |W - W_before|^2 / (2 C), by L-BFGS."""
        features = self._features(counts)
        transposed = features.T.tocsr()
        start = self.weights.astype(np.float64)
        shape = start.shape
        # two classes of one weight each, or two of half: the same penalty as for one difference
        strength = STRENGTH / 2 if shape[1] == 2 else STRENGTH
        share = np.ones(len(codes)) if sample_weights is None else sample_weights
        share = share / max(share.sum(), 1e-12)
        penalty = 1 / (strength * len(codes))

        def loss(flat: Float64) -> tuple[float, Float64]:
            step = flat[: start.size].reshape(shape)
            bias = flat[start.size :]
            logs = log_softmax(np.asarray(features @ (start + step)) + bias)
            error = np.exp(logs)
            error[np.arange(len(codes)), codes] -= 1
            error *= share[:, None]
            value = -float(share @ logs[np.arange(len(codes)), codes])
            gradient = np.asarray(transposed @ error) + penalty * step
            return (
                value + penalty / 2 * float(np.vdot(step, step)),
                np.concatenate([gradient.ravel(), error.sum(axis=0)]),
            )

        begin = np.concatenate([np.zeros(start.size), self.bias.astype(np.float64)])
        # Further steps change no held-out text's class. The vectors are short for more threads
        # than one: with two of BLAS this takes twice as long.
        options = {"maxiter": 200, "gtol": 1e-4, "ftol": 1e-5, "maxcor": 5}
        with threadpool_limits(1, "blas"):
            found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options).x
        self.weights = (start + found[: start.size].reshape(shape)).astype(np.float32)
        self.bias = found[start.size :].astype(np.float32)

    # -- files ------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Float32]:
        """Arrays for a model file; bucket numbers are exact in float32."""
        return {
            "ngrams.rows": self.rows.astype(np.float32),
            "ngrams.idf": self.idf,
            "ngrams.weights": self.weights,
            "ngrams.bias": self.bias,
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, without the arrays."""
        ngrams = self.ngrams
        return {"longest": ngrams.longest, "inside": ngrams.inside, "placed": ngrams.placed}

    @classmethod
    def from_parts(
        cls, facts: Mapping[str, Any], tensors: Mapping[str, Float32]
    ) -> NgramClassifier:
        """The inverse of :meth:`to_dict` and :meth:`tensors`.

        Raises:
            InputError: they do not fit each other.
        """
        check_flags(inside=facts["inside"], placed=facts["placed"])
        longest = check_size("longest", facts["longest"], maximum=16)
        parts = [tensors[f"ngrams.{name}"] for name in ("rows", "idf", "weights", "bias")]
        if not all(np.isfinite(part).all() for part in parts):
            raise InputError("the n-grams' arrays must be finite")
        return cls(
            Ngrams(longest, facts["inside"], facts["placed"]),
            parts[0].astype(np.int64),
            *parts[1:],
        )


def log_softmax(scores: Float64) -> Float64:
    """(N, C) logarithms of probabilities from scores."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def blend_weights(first: Float64, second: Float64, codes: Int64) -> tuple[float, float]:
    """Weights a, b for which softmax(a * first + b * second) predicts ``codes`` best.

    Args:
        first, second: (N, C) logarithms of probabilities for texts that neither had learned from.
        codes: (N,) class numbers. With few of them the weights stay near 0.5 each.

    Half-way to equal ones: a text held out was judged by few of the networks, and all together are
    better than that. Equal weights alone were as good on most texts tried.
    """
    rows = np.arange(len(codes))

    def loss(pair: Float64) -> float:
        logs = log_softmax(pair[0] * first + pair[1] * second)
        pull = 3.0 * float(((pair - 0.5) ** 2).sum())
        return (pull - float(logs[rows, codes].sum())) / len(codes)

    found = minimize(loss, np.array([0.5, 0.5]), method="L-BFGS-B", bounds=[(0.0, 2.0)] * 2).x
    found = (found + found.mean()) / 2
    return float(found[0]), float(found[1])
