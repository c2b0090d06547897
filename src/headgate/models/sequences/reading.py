"""What networks read of a sequence: standardised, at most so many steps, with its own length.

Of each channel they see its values and their differences from step to step; where lengths differ,
the logarithm of the length stands beside every step, since how long something took is as telling as
what it looked like. Sequences longer than ``max_steps`` are averaged down, all by the same factor,
so that relative lengths stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...checks import check_finite
from ...data.samples import SampleTable
from ...data.sequences import Float32, Int64, Ragged
from ...errors import InputError

SMALLEST = 1e-12  # a channel that varies less than this part of its size is constant


@dataclass(frozen=True)
class Reading:
    """How sequences become what a network reads; learned from the training part.

    Attributes:
        shift, scale: (I,) of each channel.
        slopes: (I,) by which differences are divided.
        factor: steps of a sequence that make one step of the network, at least 1.
        length_shift, length_scale: of the logarithm of the length; a scale of 0 leaves it out.
    """

    shift: tuple[float, ...]
    scale: tuple[float, ...]
    slopes: tuple[float, ...]
    factor: float
    length_shift: float
    length_scale: float

    @classmethod
    def learn(cls, given: Ragged, max_steps: int) -> Reading:
        """The reading of these sequences."""
        factor = max(1.0, float(given.lengths.max()) / max_steps)
        values = given.values.astype(np.float64)
        shift = values.mean(axis=0)
        scale = _positive(values.std(axis=0), np.abs(shift))
        logs = np.log(given.lengths)
        spread = float(logs.std())
        plain = cls(
            tuple(shift.tolist()), tuple(scale.tolist()), (1.0,) * given.channels, factor,
            float(logs.mean()), spread if spread > 1e-9 else 0.0,
        )  # fmt: skip
        steps, lengths = plain._steps(given)
        slopes = _positive(_differences(steps, lengths).std(axis=0), np.zeros(given.channels))
        return cls(**{**asdict(plain), "slopes": tuple(slopes.tolist())})

    @property
    def channels(self) -> int:
        return len(self.shift)

    @property
    def width(self) -> int:
        """Values that the network reads at each step."""
        return 2 * self.channels + (self.length_scale > 0)

    def table(self, given: Ragged) -> SampleTable:
        """What the network reads of these sequences, without targets."""
        steps, lengths = self._steps(given)
        parts = [steps, _differences(steps, lengths) / np.array(self.slopes)]
        if self.length_scale > 0:
            long = (np.log(given.lengths) - self.length_shift) / self.length_scale
            parts.append(np.repeat(long, lengths)[:, None])
        x = np.concatenate(parts, axis=1).astype(np.float32)
        return SampleTable(x, starts=np.cumsum(lengths) - lengths, lengths=lengths)

    def _steps(self, given: Ragged) -> tuple[np.ndarray[Any, Any], Int64]:
        """Standardised values and lengths, averaged down to the network's steps; float64."""
        values = (given.values.astype(np.float64) - self.shift) / self.scale
        if self.factor == 1:
            return values, given.lengths
        lengths = np.maximum(np.round(given.lengths / self.factor), 1).astype(np.int64)
        first = np.cumsum(lengths) - lengths
        means = np.empty((int(lengths.sum()), self.channels))
        # Those of one length at a time, each by itself: what stands beside it changes no bit.
        for length in np.unique(given.lengths).tolist():
            alike = np.flatnonzero(given.lengths == length)
            count = int(lengths[alike[0]])
            rows = values[given.starts[alike, None] + np.arange(length)]
            means[first[alike, None] + np.arange(count)] = _means(rows, count)
        return means, lengths

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Reading:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: this cannot be a reading.
        """
        rows = {name: check_finite(name, facts[name]) for name in ("shift", "scale", "slopes")}
        numbers = check_finite(
            "numbers", [facts[name] for name in ("factor", "length_shift", "length_scale")]
        )
        made = cls(**rows, factor=numbers[0], length_shift=numbers[1], length_scale=numbers[2])
        if (
            len({len(row) for row in rows.values()}) != 1
            or not made.shift
            or not all(value > 0 for value in made.scale + made.slopes)
            or made.factor < 1
            or made.length_scale < 0
        ):
            raise InputError("the reading of sequences cannot be")
        return made


def _positive(spread: Any, size: Any) -> Any:
    """``spread``, and 1 where nothing varies."""
    return np.where(spread > SMALLEST * np.maximum(size, 1e-20), spread, 1.0)


def _differences(values: Any, lengths: Int64) -> Any:
    """From the step before; zero at the first step of each sequence."""
    result = np.diff(values, axis=0, prepend=values[:1])
    result[np.cumsum(lengths) - lengths] = 0
    return result


def _means(values: Any, count: int) -> Any:
    """(N, count, I): the means over ``count`` equal parts of the steps of (N, T, I)."""
    steps = values.shape[1]
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0), (0, 0))), axis=1)
    ends = np.arange(count + 1) * (steps / count)  # they may lie within a step
    whole = np.minimum(ends.astype(np.int64), steps)
    inside = (ends - whole)[:, None]
    sums = total[:, whole] + inside * values[:, np.minimum(whole, steps - 1)]
    return np.diff(sums, axis=1) / (steps / count)


# -- altered copies -----------------------------------------------------------------------------

SEGMENTS = 6  # of a sequence, each run through at a speed of its own
SPEEDS, LENGTHS, SIZES, SHIFTS = 0.2, 0.1, 0.1, 0.05  # standard deviations


def altered(given: Ragged, seed: int) -> Ragged:
    """A copy of each, run through at changing speed, a little larger or smaller, and shifted.

    (After Um et al. 2017, arXiv 1706.00527.) Sequences of one or two steps
    keep their steps.
    """
    rng = np.random.default_rng(seed)
    return Ragged.joined([_alter(part, rng) for part in given.parts()])


def _alter(part: Float32, rng: np.random.Generator) -> Float32:
    count, channels = part.shape
    length = count
    if count > 2:
        length = max(3, round(count * math.exp(LENGTHS * rng.normal())))
    pace = np.concatenate([[0.0], np.cumsum(np.exp(SPEEDS * rng.normal(size=SEGMENTS)))])
    even = np.linspace(0, 1, SEGMENTS + 1)
    at = np.interp(np.linspace(0, 1, length), even, pace / pace[-1]) * (count - 1)
    low = np.minimum(at.astype(np.int64), max(count - 2, 0))
    inside = (at - low)[:, None]
    moved = part[low] * (1 - inside) + part[np.minimum(low + 1, count - 1)] * inside
    size = 1 + SIZES * rng.normal(size=channels)
    moved = moved * size + SHIFTS * part.std(axis=0) * rng.normal(size=channels)
    return np.asarray(moved, np.float32)
