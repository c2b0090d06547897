"""Prediction intervals from errors on held-out windows (split conformal prediction).

The band of level 1 - alpha reaches as far to both sides as the ceil((n + 1)(1 - alpha))-th
smallest of n absolute errors (Vovk et al. 2005; Lei et al. 2018). The errors of many series are
pooled, each series' in units of its own size. Windows of one series overlap and are not
exchangeable: they are counted as fewer, and the coverage is approximate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...checks import as_number, shown
from ...errors import InputError
from .lines import Float64, Int64
from .treatment import Treatment

LARGEST = 1e38  # float32, as a model file keeps errors
INDEPENDENT = 3.0  # windows that count as independent within one horizon
ENOUGH = 20  # independent windows, for each step to have its own width


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of held-out windows, in units of each series' size.

    Attributes:
        values: (1, n, H) truth less forecast, on the lifted scale (log where that was taken) over
            the size; or for networks that put out quantiles (K, n, H), how far the truth lay
            outside the K bands from the widest to the narrowest, negative within.
        series: how many series they come from.
        size: (M,) of each series' errors, on the lifted scale.
        levels: (K,) of the bands in percent; () for plain errors.
    """

    values: Float64
    series: int
    size: Float64
    levels: tuple[float, ...] = ()

    @classmethod
    def measured(
        cls, truth: Float64, paths: Float64, owner: Int64, noise: Float64,
        quantiles: tuple[float, ...] = (),
    ) -> Errors:  # fmt: skip
        """From lifted truth (n, H), forecasts (n, H, Q) of series ``owner``, and moves (M,)."""
        errors = truth - paths[:, :, len(quantiles) // 2]
        values, levels = errors[None], []
        if quantiles:
            half = len(quantiles) // 2
            low, high = paths[:, :, :half], paths[:, :, :half:-1]
            outside = np.maximum(low - truth[:, :, None], truth[:, :, None] - high)
            values = np.moveaxis(outside, 2, 0)
            levels = [round(100 * (1 - 2 * q), 10) for q in quantiles[:half]]
        # Not by a series' own errors: it would be tried by what it was measured with.
        unit = np.where(noise > 0, noise, 1.0)[owner]
        # to float32 and back, as a model file keeps them
        kept = np.clip(values / unit[:, None], -LARGEST, LARGEST).astype(np.float32)
        if np.isnan(kept).all():  # every held-out value was missing: nothing to measure by
            kept = np.zeros_like(kept)
        return cls(kept.astype(np.float64), len(np.unique(owner)), noise, tuple(levels))

    def scaled_like(self, treatment: Treatment) -> Errors:
        """The same errors around the final treatment's series."""
        return replace(self, size=np.where(treatment.scale > 0, self.size, 0.0))

    @property
    def worth(self) -> float:
        """How many independent windows these are worth.

        Neighbouring windows share all but one step, so that their errors repeat each other.
        """
        _, count, steps = self.values.shape
        more = count - self.series
        return float(self.series + more * min(1.0, INDEPENDENT / steps))

    def exact(self, level: float) -> bool:
        """Whether each step has errors enough of its own for a band of ``level`` percent."""
        return self.worth >= max(ENOUGH, 1 / (1 - level / 100) - 1)

    def place(self, level: float) -> int:
        """Of a band among ``levels``, which were computed back from quantiles."""
        return int(np.argmin(np.abs(np.subtract(self.levels, level))))

    def scores(self, level: float) -> Float64:
        """(n, H) what a band of ``level`` percent must reach beyond its middle, or its ends."""
        if self.levels:
            return np.asarray(self.values[self.place(level)])
        return np.asarray(np.abs(self.values[0]))

    def half_width(self, level: float, horizon: int) -> Float64:
        """(horizon,) half widths of the band of ``level`` percent, for a series of size 1.

        For networks that put out quantiles it is what their band must be widened by (Romano et
        al. 2019). Each step by its own errors where there are enough (see :meth:`exact`);
        otherwise all steps' errors pooled, each divided by its step's usual size. Steps past H
        grow on likewise.
        """
        alpha = 1 - level / 100
        scores = self.scores(level)
        steps = scores.shape[1]
        growth = _growth(scores)
        if self.exact(level) and np.isfinite(scores).any(axis=0).all():
            width = _quantile(scores, alpha, self.worth)
        else:
            usual = _usual(scores, growth, self.worth)
            pooled = (scores / usual).reshape(-1, 1)
            pooled = pooled[np.isfinite(pooled[:, 0])]
            width = _quantile(pooled, alpha, self.worth * min(INDEPENDENT, steps))[0] * usual
        if horizon <= steps:
            return width[:horizon]
        power = math.log(growth[-1]) / math.log(steps) if steps > 1 else 0.5
        beyond = np.arange(steps + 1, horizon + 1) / steps
        edge = max(width[-1], width[-4:].mean())  # one step's own errors may be few and small
        return np.concatenate([width, max(edge, 0.0) * beyond ** max(power, 0.5)])


def _growth(scores: Float64) -> Float64:
    """(H,) size of the scores (n, H) as a power of the step, 1 for the first."""
    steps = np.arange(1, scores.shape[1] + 1, dtype=np.float64)
    size = np.sqrt(_mean(scores**2))
    seen = size > 0
    if seen.sum() < 3:
        return np.ones(len(steps))
    power = np.polyfit(np.log(steps[seen]), np.log(size[seen]), 1)[0]
    return np.asarray(steps ** float(np.clip(power, 0.0, 1.0)))


def _mean(scores: Float64) -> Float64:
    """(H,) means over the windows whose truth is known; 0 where none is."""
    known = np.isfinite(scores)
    return np.asarray(np.where(known, scores, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))


def _usual(scores: Float64, growth: Float64, worth: float) -> Float64:
    """(H,) size of the scores by step: their own, the less of them the more as they grow."""
    smooth = growth**2 * np.nanmean(scores**2 / growth**2)
    own = np.where(np.isfinite(scores).any(axis=0), _mean(scores**2), smooth)
    usual = np.sqrt((worth * own + 3 * smooth) / (worth + 3))
    return np.where(usual > 0, usual, 1.0)


def _quantile(size: Float64, alpha: float, worth: float) -> Float64:
    """(H,) the conformal quantile of each column of (n, H), as of ``worth`` independent rows."""
    share = min((worth + 1) * (1 - alpha) / worth, 1.0)
    count = np.isfinite(size).sum(axis=0)  # of truth that is known; the rest is sorted to the end
    rank = np.clip(np.ceil(share * count - 1e-9).astype(np.int64), 1, None)
    return np.asarray(np.sort(size, axis=0)[rank - 1, np.arange(size.shape[1])])


def bands(
    errors: Errors, paths: Float64, quantiles: tuple[float, ...], size: Float64,
    levels: tuple[float, ...],
) -> dict[float, tuple[Float64, Float64]]:  # fmt: skip
    """level -> (low, high), (N, H) each, around lifted forecasts (N, H, Q) of series of ``size``.

    A higher level is never narrower.
    """
    middle = len(quantiles) // 2
    low = high = paths[:, :, middle]
    result: dict[float, tuple[Float64, Float64]] = {}
    widest = np.zeros(paths.shape[1])
    for level in sorted(levels):
        width = errors.half_width(level, paths.shape[1])
        if quantiles:
            k = errors.place(level)
            reach = size[:, None] * width
            below = paths[:, :, middle] - paths[:, :, k] + reach
            above = paths[:, :, -1 - k] - paths[:, :, middle] + reach
            steps = errors.values.shape[2]
            if paths.shape[1] > steps:  # later blocks start from the one before as if it were sure
                grown = np.sqrt(np.arange(steps + 1, paths.shape[1] + 1) / steps)
                for side in (below, above):
                    edge = np.maximum(side[:, :steps].max(axis=1, keepdims=True), 0.0)
                    side[:, steps:] = np.maximum(side[:, steps:], edge * grown)
            low = np.minimum(low, paths[:, :, middle] - below)
            high = np.maximum(high, paths[:, :, middle] + above)
        else:
            widest = np.maximum(widest, width)
            reach = size[:, None] * widest
            low, high = paths[:, :, middle] - reach, paths[:, :, middle] + reach
        result[level] = (low, high)
    return result


def check_levels(level: Any) -> tuple[float, ...]:
    """Coverages in percent as a sorted tuple.

    Raises:
        InputError: one is not between 0 and 100.
    """
    if level is None:
        return ()
    given = np.ravel(level).tolist() if isinstance(level, np.ndarray) else level
    given = given if isinstance(given, (list, tuple)) else (given,)
    levels = []
    for item in given:
        number = as_number(item)
        if not 0 < number < 100:
            raise InputError(
                f"level must be above 0 and below 100 percent, got {shown(item)}; pass 80 or "
                "(80, 95)"
            )
        # to six digits, as columns are named: no two of one name
        number = float(f"{number:g}")
        if number in (0, 100):
            raise InputError(
                f"level {shown(item)} is too near to 0 or 100; six digits are told apart"
            )
        levels.append(int(number) if number == int(number) else number)
    return tuple(sorted(set(levels)))
