"""Prediction intervals from errors on held-out windows (split conformal prediction).

The band of level 1 - alpha reaches as far to both sides as the ceil((n + 1)(1 - alpha))-th
smallest of n absolute errors (Vovk et al. 2005; Lei et al. 2018). Windows of one series overlap
and are not exchangeable: they are counted as fewer, and the coverage is approximate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
INDEPENDENT = 3.0  # windows that count as independent within one horizon
ENOUGH = 20  # independent windows, for each step to have its own width


@dataclass(frozen=True)
class Errors:
    """Errors of held-out windows: (n, H) on the lifted scale (log where that was taken)."""

    values: Float64

    @property
    def worth(self) -> float:
        """How many independent windows these are worth.

        Neighbouring windows share all but one step, so that their errors repeat each other.
        """
        count, steps = self.values.shape
        return float(1 + (count - 1) * min(1.0, INDEPENDENT / steps))

    def growth(self) -> Float64:
        """(H,) size of the errors as a power of the step, 1 for the first."""
        steps = np.arange(1, self.values.shape[1] + 1, dtype=np.float64)
        size = np.sqrt(np.mean(self.values**2, axis=0))
        seen = size > 0
        if seen.sum() < 3:
            return np.ones(len(steps))
        power = np.polyfit(np.log(steps[seen]), np.log(size[seen]), 1)[0]
        return np.asarray(steps ** float(np.clip(power, 0.0, 1.0)))

    def _usual(self, growth: Float64) -> Float64:
        """(H,) size of the errors by step: their own, the less of them the more as they grow."""
        own = np.mean(self.values**2, axis=0)
        smooth = growth**2 * np.mean(self.values**2 / growth**2)
        usual = np.sqrt((self.worth * own + 3 * smooth) / (self.worth + 3))
        return np.where(usual > 0, usual, 1.0)

    def half_width(self, level: float, horizon: int) -> Float64:
        """(horizon,) half widths of the band of ``level`` percent.

        Each step by its own errors where they are worth 20 independent ones, and 1/alpha - 1;
        otherwise all steps' errors pooled, each divided by its step's usual size. Steps past H
        grow on likewise.
        """
        alpha = 1 - level / 100
        steps = self.values.shape[1]
        size = np.abs(self.values)
        growth = self.growth()
        if self.worth >= max(ENOUGH, 1 / alpha - 1):
            width = _quantile(size, alpha, self.worth)
        else:
            usual = self._usual(growth)
            pooled = (size / usual).reshape(-1, 1)
            width = _quantile(pooled, alpha, self.worth * min(INDEPENDENT, steps))[0] * usual
        if horizon <= steps:
            return width[:horizon]
        power = math.log(growth[-1]) / math.log(steps) if steps > 1 else 0.5
        beyond = np.arange(steps + 1, horizon + 1) / steps
        edge = max(width[-1], width[-4:].mean())  # one step's own errors may be few and small
        return np.concatenate([width, edge * beyond ** max(power, 0.5)])


def _quantile(size: Float64, alpha: float, worth: float) -> Float64:
    """(H,) the conformal quantile of each column of (n, H), as of ``worth`` independent rows."""
    share = min((worth + 1) * (1 - alpha) / worth, 1.0)
    rank = max(math.ceil(share * len(size) - 1e-9), 1)
    return np.asarray(np.sort(size, axis=0)[rank - 1])


def bands(
    errors: Errors, centre: Float64, levels: tuple[float, ...]
) -> dict[float, tuple[Float64, Float64]]:
    """level -> (low, high), each like ``centre`` (..., H); a higher level is never narrower."""
    result: dict[float, tuple[Float64, Float64]] = {}
    widest = np.zeros(centre.shape[-1])
    for level in sorted(levels):
        widest = np.maximum(widest, errors.half_width(level, centre.shape[-1]))
        result[level] = (centre - widest, centre + widest)
    return result
