"""Treatments: how a series is made easy for a network, and forecasts are made a series again.

Before the network sees it a series may have its logarithm taken (swings that grow with the
level), its season removed (by differences from one season earlier, or by seasonal indices), and
its windows shifted to the window's last value or mean. What a :class:`Treatment` learns it
learns from the training part alone.

Letters: T steps, L lookback, H horizon, m season, N windows. ``ends`` (N,) int64 are the first
steps after each window: window k sees steps ``ends[k] - L`` to ``ends[k] - 1``, and is to
forecast ``ends[k]`` to ``ends[k] + H - 1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# How the season is removed and what a window is shifted by. With a season, the first is "the
# same as a season ago, and the usual growth"; all of them forecast their base when the network
# puts out zero, which is what it starts from.
SEASONAL = (("difference", "none"), ("indices", "last"), ("indices", "mean"))
PLAIN = (("plain", "last"), ("plain", "mean"), ("plain", "none"))


@dataclass(frozen=True)
class Treatment:
    """What is done to a series before the network, and undone after it.

    Attributes:
        log: the logarithm is taken first.
        season: steps of the season m that is removed; 1 for none.
        method: "difference" (y[t] - y[t-m]), "indices" (y[t] - index[phase]) or "plain".
        indices: (m,) for "indices", index of phase t % m with t counted from the series' start.
        shift: windows are shifted by their "last" value, their "mean", or not ("none").
        offset, scale: of the treated series, (value - offset) / scale is about 1 in size.
    """

    log: bool = False
    season: int = 1
    method: str = "plain"
    indices: tuple[float, ...] = ()
    shift: str = "last"
    offset: float = 0.0
    scale: float = 1.0

    @property
    def context(self) -> int:
        """Steps before a window that are needed to treat its first one."""
        return self.season if self.method == "difference" else 0

    def lift(self, values: Float64) -> Float64:
        """The scale on which the season is removed and bands are measured: log or as is."""
        return np.asarray(np.log(values)) if self.log else values

    def lower(self, lifted: Float64) -> Float64:
        """The inverse of :meth:`lift`."""
        return np.asarray(np.exp(lifted)) if self.log else lifted

    def table(
        self, values: Float64, ends: Int64, lookback: int, horizon: int, *, phase: int = 0,
        targets: bool = False,
    ) -> SampleTable:  # fmt: skip
        """The sample table of the windows before ``ends``; nothing is copied per window.

        Args:
            values: (T,) of the series, or its end.
            phase: steps of the series before ``values[0]``.
            targets: the H values after each end are to be learned; they must be there.
        """
        treated = ((self._treat(self.lift(values), phase) - self.offset) / self.scale).astype(
            np.float32
        )
        table = SampleTable(
            x=treated[:, None],
            starts=ends - lookback,
            lengths=np.full(len(ends), lookback, np.int64),
            y=treated if targets else None,
            y_starts=ends.astype(np.int64) if targets else None,
            y_stride=horizon,
            output_size=horizon,
        )
        if self.shift == "none":
            return table
        if self.shift == "last":
            shift = treated[ends - 1]
        else:
            shift = np.lib.stride_tricks.sliding_window_view(treated, lookback)[
                ends - lookback
            ].mean(axis=1)
        ones = np.ones(len(ends), np.float32)
        return SampleTable(
            **{**vars(table), "x_shift": shift, "x_scale": ones, "y_shift": shift, "y_scale": ones}
        )

    def restore(self, values: Float64, ends: Int64, paths: Any, *, phase: int = 0) -> Float64:
        """What the network put out, (N, H), as lifted values again (see :meth:`lift`)."""
        paths = np.array(paths, np.float64) * self.scale + self.offset
        steps = np.arange(paths.shape[1])
        if self.method == "indices":
            at = (phase + ends[:, None] + steps) % self.season
            return np.asarray(paths + np.asarray(self.indices)[at])
        if self.method == "difference":
            lifted = self.lift(values)
            for h in steps:
                ago = h - self.season
                paths[:, h] += lifted[ends + ago] if ago < 0 else paths[:, ago]
        return np.asarray(paths)

    def _treat(self, lifted: Float64, phase: int) -> Float64:
        if self.method == "indices":
            at = (phase + np.arange(len(lifted))) % self.season
            return np.asarray(lifted - np.asarray(self.indices)[at])
        if self.method == "difference":
            treated = np.array(lifted)
            treated[self.season :] -= lifted[: -self.season]
            treated[: self.season] = 0.0  # no window begins here
            return treated
        return lifted


def learn(values: Float64, season: int, method: str, shift: str, *, log: bool) -> Treatment:
    """The treatment of this kind with offset, scale and indices as ``values`` (T,) have them."""
    season = season if method != "plain" else 1
    draft = Treatment(log=log, season=season, method=method, shift=shift)
    lifted = draft.lift(values)
    indices: tuple[float, ...] = ()
    if method == "indices":
        indices = tuple(seasonal_indices(lifted, season).tolist())
        draft = Treatment(log=log, season=season, method=method, indices=indices, shift=shift)
    treated = draft._treat(lifted, 0)[draft.context :]
    offset = float(treated.mean())
    # Windows that are shifted differ by as much as the series moves within a few steps.
    apart = min(4, len(treated) - 1)
    spread = (
        float(np.std(treated / 2)) * 2  # halved, so that the largest floats do not overflow
        if shift == "none" or apart < 1
        else _rms(treated[apart:] - treated[:-apart])
    )
    floor = 1e-14 * max(float(np.abs(lifted).max()), 1e-300)  # below it lies rounding only
    return Treatment(log, season, method, indices, shift, offset, max(spread, floor))


def _rms(values: Float64) -> float:
    """Root mean square; by the largest, so that squares neither overflow nor vanish."""
    largest = float(np.abs(values).max())
    return largest * float(np.sqrt(np.mean((values / largest) ** 2))) if largest else 0.0


def seasonal_indices(values: Float64, season: int) -> Float64:
    """(m,) deviations by phase from a centred moving average; they sum to zero."""
    weights = np.ones(season) / season
    if season % 2 == 0:
        weights = np.concatenate([[0.5], np.ones(season - 1), [0.5]]) / season
    level = np.convolve(values, weights, "valid")
    before = (len(values) - len(level)) // 2
    rest = values[before : before + len(level)] - level
    phases = (before + np.arange(len(level))) % season
    sums = np.bincount(phases, rest, season)
    indices = sums / np.maximum(np.bincount(phases, minlength=season), 1)
    return np.asarray(indices - indices.mean())


def swings_grow(values: Float64, season: int) -> bool:
    """Whether swings grow with the level, so that the logarithm evens them out.

    After Guerrero 1993: the slope of log spread over log level of the seasons (or of runs of
    6 steps), when the values are all positive and the levels differ enough to tell.
    """
    width = season if season >= 4 else 6
    runs = len(values) // width
    if runs < 4 or values.min() <= 0:
        return False
    parts = values[len(values) - runs * width :].reshape(runs, width)
    spread = parts.std(axis=1)
    if not (spread > 0).all():
        return False
    level, swing = np.log(parts.mean(axis=1)), np.log(spread)
    if np.ptp(level) < 0.2:
        return False
    slope = np.polyfit(level, swing, 1)[0]
    return bool(slope > 0.5 and np.corrcoef(level, swing)[0, 1] > 0.4)


def detect_season(values: Float64) -> int:
    """The period that the autocorrelation of a series shows, 1 when none is clear.

    The first clear peak of at least 0.3 after a trough at least 0.3 lower, with three periods
    to show for it.
    """
    length = len(values)
    if length < 12 or np.ptp(values) == 0:
        return 1
    steps = np.linspace(-1, 1, length)
    rest = values / np.abs(values).max()
    rest = rest - np.polyval(np.polyfit(steps, rest, 1), steps)
    power = np.abs(np.fft.rfft(rest, 2 * length)) ** 2
    raw = np.fft.irfft(power)[: length // 3 + 2]
    if raw[0] <= 1e-20 * length:
        return 1
    # each lag by its own number of pairs, so that long lags are not faded out
    acf = raw / raw[0] * length / (length - np.arange(len(raw)))
    peaks = [
        lag
        for lag in range(2, len(acf) - 1)
        if acf[lag] >= acf[lag - 1]
        and acf[lag] > acf[lag + 1]
        and acf[lag] > 0.3
        and acf[lag] - acf[1:lag].min() > 0.3
    ]
    if not peaks:
        return 1
    highest = max(acf[lag] for lag in peaks)
    period = float(next(lag for lag in peaks if acf[lag] >= 0.8 * highest))
    # the second and third peak tell a period of 10.9 from one of 10.4
    for multiple in (2, 3):
        low, high = round((multiple - 0.4) * period), round((multiple + 0.4) * period)
        if high < len(acf):
            at = low + int(np.argmax(acf[low : high + 1]))
            if low < at < high and acf[at] > 0.2:
                period = at / multiple
    return round(period)
