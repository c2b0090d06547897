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

from ..checks import as_number, shown
from ..errors import InputError
from .lines import Float64, Int64
from .treatment import Treatment

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
        kept = (values / unit[:, None]).astype(np.float32).astype(np.float64)
        return cls(kept, len(np.unique(owner)), noise, tuple(levels))

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

    def scores(self, level: float) -> Float64:
        """(n, H) what a band of ``level`` percent must reach beyond its middle, or its ends."""
        if self.levels:
            return np.asarray(self.values[self.levels.index(level)])
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
        if self.exact(level):
            width = _quantile(scores, alpha, self.worth)
        else:
            usual = _usual(scores, growth, self.worth)
            pooled = (scores / usual).reshape(-1, 1)
            width = _quantile(pooled, alpha, self.worth * min(INDEPENDENT, steps))[0] * usual
        if horizon <= steps:
            return width[:horizon]
        power = math.log(growth[-1]) / math.log(steps) if steps > 1 else 0.5
        beyond = np.arange(steps + 1, horizon + 1) / steps
        edge = max(width[-1], width[-4:].mean())  # one step's own errors may be few and small
        return np.concatenate([width, edge * beyond ** max(power, 0.5)])


def _growth(scores: Float64) -> Float64:
    """(H,) size of the scores (n, H) as a power of the step, 1 for the first."""
    steps = np.arange(1, scores.shape[1] + 1, dtype=np.float64)
    size = np.sqrt(np.mean(scores**2, axis=0))
    seen = size > 0
    if seen.sum() < 3:
        return np.ones(len(steps))
    power = np.polyfit(np.log(steps[seen]), np.log(size[seen]), 1)[0]
    return np.asarray(steps ** float(np.clip(power, 0.0, 1.0)))


def _usual(scores: Float64, growth: Float64, worth: float) -> Float64:
    """(H,) size of the scores by step: their own, the less of them the more as they grow."""
    own = np.mean(scores**2, axis=0)
    smooth = growth**2 * np.mean(scores**2 / growth**2)
    usual = np.sqrt((worth * own + 3 * smooth) / (worth + 3))
    return np.where(usual > 0, usual, 1.0)


def _quantile(size: Float64, alpha: float, worth: float) -> Float64:
    """(H,) the conformal quantile of each column of (n, H), as of ``worth`` independent rows."""
    share = min((worth + 1) * (1 - alpha) / worth, 1.0)
    rank = max(math.ceil(share * len(size) - 1e-9), 1)
    return np.asarray(np.sort(size, axis=0)[rank - 1])


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
            k = errors.levels.index(level)
            reach = size[:, None] * width
            low = np.minimum(low, paths[:, :, k] - reach)
            high = np.maximum(high, paths[:, :, -1 - k] + reach)
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
        levels.append(int(number) if number == int(number) else number)
    return tuple(sorted(set(levels)))
