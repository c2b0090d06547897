"""What a language model says: of a whole text, and token by token of one that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...data.vocabulary import PADDING, UNKNOWN
from ...network import Network
from .ngram_language import NGramLanguage

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LanguageScore:
    """How well a text was foreseen: perplexities, exp of the mean of -log p over its tokens.

    All of them are over the same tokens of the same vocabulary; a token that it does not have
    counts as the one token "unknown".

    Attributes:
        tokens: that were predicted, the ends of lines included.
        unknown: share of them that the vocabulary does not have.
        nats: mean of -log p of the model, in nats for each token.
        perplexity: of the model, the network and the n-grams together.
        network, ngram: of its two parts alone; None without n-grams.
        unigram: of the frequencies of tokens alone.
    """

    tokens: int
    unknown: float
    nats: float
    perplexity: float
    network: float
    ngram: float | None
    unigram: float


@dataclass(frozen=True)
class GateReading:
    """What the gates did at one token of a prompt.

    Attributes:
        token: the token.
        reset, update: means over all units and layers; an update near 1 keeps the state.
        next: the likeliest tokens after it, with their probabilities.
    """

    token: str
    reset: float
    update: float
    next: list[tuple[str, float]]


class Reader:
    """Follows one text: the probabilities of its next token, by network and n-grams together.

    Args:
        weight: of the network; the n-grams have the rest.
        indices: what the text begins with, at least one token.

    Attributes:
        network: the stream of the network, whose state can be saved.
    """

    def __init__(
        self,
        network: Network,
        ngram: NGramLanguage | None,
        weight: float,
        indices: Sequence[int],
    ) -> None:
        self._weight = weight
        self.network = network.stream()
        self._counts = None if ngram is None else ngram.follow()
        for index in indices:
            self.step(index)

    def step(self, index: int) -> None:
        """Go on by one token."""
        self._p = self.network.step(index)
        if self._counts is not None:
            self._counts.step(index)

    def distribution(self) -> Float64:
        """(V,) of the next token; what cannot be written has none, and the others add up to 1."""
        p = self._p.astype(np.float64)
        if self._counts is not None:
            p = self._weight * p + (1 - self._weight) * self._counts.distribution()
        p[[PADDING, UNKNOWN]] = 0.0
        result: Float64 = p / p.sum()
        return result
