"""Back-tests: a forecaster and the naive forecasts side by side on windows held out."""

from __future__ import annotations

import time as clock
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size
from ..data.frames import Series
from ..data.metrics import coverage, mae, mase, naive, rmse, seasonal_naive, smape
from ..errors import InputError
from .intervals import bands
from .planning import check_length

if TYPE_CHECKING:
    from .forecaster import GRUForecaster

Float64 = npt.NDArray[np.float64]
METRICS = ("MAE", "RMSE", "MASE", "sMAPE")


@dataclass(frozen=True)
class Backtest:
    """What came out of a back-test. N windows, H steps.

    Attributes:
        horizon, season: steps.
        origins: (N,) int64, steps of the series that each window's forecast knew.
        truth: (N, H).
        forecasts: name -> (N, H); the first is headgate's.
        scores: name -> metric -> value; lower is better.
        coverage: level in percent -> share of values from 0 to 1 within headgate's band.
        seconds: how long it took, fitting included.
    """

    horizon: int
    season: int
    origins: npt.NDArray[np.int64]
    truth: Float64
    forecasts: dict[str, Float64]
    scores: dict[str, dict[str, float]]
    coverage: dict[float, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def best(self) -> str:
        """The name with the lowest MAE; a tie goes to the simpler forecast."""
        return min(reversed(self.scores), key=lambda name: self.scores[name]["MAE"])

    def verdict(self) -> str:
        """One honest sentence about who did best."""
        names = [name for name in self.scores if name != "headgate"]
        ours = self.scores["headgate"]["MAE"]
        rival = min(names, key=lambda name: self.scores[name]["MAE"])
        theirs = self.scores[rival]["MAE"]
        if abs(ours - theirs) <= 0.01 * theirs:  # within 1 % is no victory
            return f"headgate and {rival} did equally well; the simpler one will do."
        if ours > theirs:
            more = f"{100 * (ours / theirs - 1):.0f} %" if theirs else "infinitely"
            return f"headgate did NOT win: its MAE is {more} above that of {rival}; use that."
        return f"headgate's MAE is {100 * (1 - ours / theirs):.0f} % below that of {rival}."

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, without the paths; an infinite score is null."""
        return {
            "horizon": self.horizon,
            "season": self.season,
            "windows": len(self.origins),
            "scores": {
                name: {m: v if np.isfinite(v) else None for m, v in row.items()}
                for name, row in self.scores.items()
            },
            "coverage": {f"{level:g}": share for level, share in self.coverage.items()},
            "best": self.best,
            "verdict": self.verdict(),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        width = max(len(name) for name in self.scores)
        lines = [f"{'':{width}}" + "".join(f"{metric:>11}" for metric in METRICS)]
        for name, row in self.scores.items():
            lines.append(f"{name:{width}}" + "".join(f"{row[m]:11.4g}" for m in METRICS))
        return "\n".join(lines)


def run_backtest(
    forecaster: GRUForecaster,
    series: Series,
    *,
    windows: int | None,
    step: int,
    refit: bool,
    levels: tuple[float, ...],
) -> Backtest:
    """See :meth:`GRUForecaster.backtest`."""
    begin = clock.perf_counter()
    horizon, length = forecaster.horizon, len(series)
    origins = _origins(length, horizon, windows, check_size("step", step), forecaster.lookback)
    truth = np.lib.stride_tricks.sliding_window_view(series.values, horizon)[origins]
    model = _copy(forecaster).fit(series.part(0, int(origins[0])))
    season = model.season_
    forecasts: dict[str, Float64] = {"headgate": np.empty_like(truth)}
    low_high = {level: (np.empty_like(truth), np.empty_like(truth)) for level in levels}
    groups = [origins[k : k + 1] for k in range(len(origins))] if refit else [origins]
    at = 0
    for group in groups:
        if at:
            model = _copy(forecaster).fit(series.part(0, int(group[0])))
        rows = slice(at, at + len(group))
        if model.treatment_.log and series.values.min() <= 0:
            raise InputError(
                "the series is positive at first and not later, which the back-test cannot "
                "follow with logarithms; pass fewer windows"
            )
        lifted = model.forecast_windows(series.values, group)
        forecasts["headgate"][rows] = model._natural(lifted)
        for level, (low, high) in bands(model.errors_, lifted, levels).items():
            low_high[level][0][rows] = model._natural(low)
            low_high[level][1][rows] = model._natural(high)
        at += len(group)
    past = [series.values[:origin] for origin in origins]
    forecasts["naive"] = np.array([naive(p, horizon) for p in past])
    if season > 1:
        name = f"naive, {season} steps back"
        forecasts[name] = np.array([seasonal_naive(p, horizon, season) for p in past])
    history = past[0]
    scores = {
        name: {
            "MAE": mae(truth, path),
            "RMSE": rmse(truth, path),
            "MASE": mase(truth, path, history, season),
            "sMAPE": smape(truth, path),
        }
        for name, path in forecasts.items()
    }
    shares = {level: coverage(truth, low, high) for level, (low, high) in low_high.items()}
    return Backtest(
        horizon, season, origins, truth, forecasts, scores, shares, clock.perf_counter() - begin
    )


def _copy(forecaster: GRUForecaster) -> GRUForecaster:
    return type(forecaster)(**forecaster.get_params())


def _origins(
    length: int, horizon: int, windows: int | None, step: int, lookback: int | None
) -> npt.NDArray[np.int64]:
    """(N,) origins; the last window ends with the series."""
    last = length - horizon
    if windows is None:
        # fewer where the front would become too short to learn from
        least = 2 * horizon + (lookback or 2)
        span = min(max(round(0.2 * length) - horizon, 0), max(last - least, 0))
        windows = span // step + 1
    windows = check_size("windows", windows)
    first = last - (windows - 1) * step
    try:
        check_length(max(first, 0), horizon, lookback)
    except InputError as error:
        raise InputError(
            f"a back-test of {windows} window{'s' * (windows > 1)} leaves too little to learn "
            f"from: {error}"
        ) from None
    return np.arange(first, last + 1, step, dtype=np.int64)
