"""One token drawn from probabilities: by temperature, from the k likeliest, from a nucleus."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...checks import as_number, check_size, shown
from ...errors import InputError

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        temperature: probabilities are taken to the power of 1 / temperature; 0 takes the likeliest.
        top_k: only the k likeliest are drawn from; None for all.
        top_p: only the likeliest that together have this probability (nucleus sampling, Holtzman
            et al. 2020); 1 for all.

    Raises:
        InputError: a value is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= as_number(self.temperature) < math.inf:
            raise InputError(
                f"temperature must be a finite number of at least 0, got {shown(self.temperature)};"
                " 0 takes the likeliest token, 1 draws as the model says"
            )
        if self.top_k is not None:
            check_size("top_k", self.top_k, maximum=1 << 31)
        if not 0 < as_number(self.top_p) <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, got {shown(self.top_p)}")

    def draw(self, p: Float64, rng: np.random.Generator) -> int:
        """The index of one of the probabilities (V,), which need not add up to 1."""
        if self.temperature == 0:
            return int(np.argmax(p))
        with np.errstate(divide="ignore", over="ignore"):
            logits = np.log(p)
            weights = np.exp((logits - logits.max()) / self.temperature)
        if self.top_k is not None or self.top_p < 1:
            order = np.argsort(-weights, kind="stable")
            rising = np.cumsum(weights[order]) / weights.sum()
            kept = min(self.top_k or len(p), int(np.searchsorted(rising, self.top_p)) + 1)
            weights[order[kept:]] = 0.0
        rising = np.cumsum(weights)
        place = int(np.searchsorted(rising, rng.random() * rising[-1], side="right"))
        return min(place, int(np.flatnonzero(weights)[-1]))


def until(pieces: Iterator[str], ends: Sequence[str]) -> Iterator[str]:
    """The pieces up to the first of ``ends``; what may be the beginning of one is held back."""
    longest = max(map(len, ends))
    text = ""
    for piece in pieces:
        text += piece
        found = [at for at in (text.find(end) for end in ends) if at >= 0]
        if found:
            if min(found):
                yield text[: min(found)]
            return
        safe = len(text) - longest + 1
        if safe > 0:
            yield text[:safe]
            text = text[safe:]
    if text:
        yield text
