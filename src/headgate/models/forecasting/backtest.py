"""Back-tests: a forecaster and the naive forecasts side by side on windows held out."""

from __future__ import annotations

import time as clock
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import check_size
from ...data.metrics import coverage, mae, pinball, rmse, smape
from ...data.panel import Panel, complete, filled_rows
from ...data.panel_future import stamped_rows
from ...errors import InputError
from .continuation import continue_panel, known_of, with_bands
from .lines import Float64, Int64, Lines
from .planning import SHORTEST, check_lengths, refuse_short
from .search import forecast_at

if TYPE_CHECKING:
    from .forecaster import GRUForecaster

METRICS = ("MAE", "RMSE", "MASE", "sMAPE")
PANEL_WINDOWS = 3  # of many series, by default at most


@dataclass(frozen=True, eq=False)
class Backtest:
    """What came out of a back-test. N windows, H steps.

    Attributes:
        horizon, season: steps.
        panel: the series, with ``owner`` (N,) and ``origins`` (N,) the series of each window
            and the steps of it that the forecast knew.
        truth: (N, H), nan where it was missing.
        forecasts: name -> (N, H); the first is headgate's.
        bands: level in percent -> (low, high), (N, H) each.
        scores: name -> metric -> value; lower is better. MASE is the mean over windows of the
            error over that of the seasonal naive forecast before the first window.
        coverage: level in percent -> share of values from 0 to 1 within headgate's band.
        pinball: level in percent -> mean quantile loss of both ends of the band.
        approximate: levels whose bands pool all steps, for want of held-out windows.
        skipped: series too short for any window.
        seconds: how long it took, fitting included.
    """

    horizon: int
    season: int
    panel: Panel
    owner: Int64
    origins: Int64
    truth: Float64
    forecasts: dict[str, Float64]
    bands: dict[float, tuple[Float64, Float64]]
    scores: dict[str, dict[str, float]]
    coverage: dict[float, float] = field(default_factory=dict)
    pinball: dict[float, float] = field(default_factory=dict)
    approximate: tuple[float, ...] = ()
    skipped: int = 0
    seconds: float = 0.0

    @property
    def best(self) -> str:
        """The name with the lowest score; a tie goes to the simpler forecast."""
        return min(reversed(self.scores), key=lambda name: self.scores[name][self._metric])

    @property
    def _metric(self) -> str:
        """What decides: the MAE of one series; of many, whose units differ, the MASE."""
        if len(self.panel) == 1 or not np.isfinite(self.scores["headgate"]["MASE"]):
            return "MAE"
        return "MASE"

    def verdict(self) -> str:
        """One honest sentence about who did best."""
        metric = self._metric
        names = [name for name in self.scores if name != "headgate"]
        ours = self.scores["headgate"][metric]
        rival = min(names, key=lambda name: self.scores[name][metric])
        theirs = self.scores[rival][metric]
        if abs(ours - theirs) <= 0.01 * theirs:  # within 1 % is no victory
            return f"headgate and {rival} did equally well; the simpler one will do."
        if ours > theirs:
            more = f"{100 * (ours / theirs - 1):.0f} %" if theirs else "infinitely"
            return f"headgate did NOT win: its {metric} is {more} above that of {rival}; use that."
        return f"headgate's {metric} is {100 * (1 - ours / theirs):.0f} % below that of {rival}."

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, without the paths; an infinite score is null."""
        return {
            "horizon": self.horizon,
            "season": self.season,
            "series": len(np.unique(self.owner)),
            "series_skipped": self.skipped,
            "windows": len(self.origins),
            "scores": {
                name: {m: v if np.isfinite(v) else None for m, v in row.items()}
                for name, row in self.scores.items()
            },
            "coverage": {f"{level:g}": share for level, share in self.coverage.items()},
            "pinball": {f"{level:g}": value for level, value in self.pinball.items()},
            "approximate": list(self.approximate),
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
    panel: Panel,
    *,
    windows: int | None,
    step: int | None,
    refit: bool,
    fit: bool,
    levels: tuple[float, ...],
) -> Backtest:
    """See :meth:`GRUForecaster.backtest`."""
    begin = clock.perf_counter()
    horizon = forecaster.horizon if fit else forecaster.horizon_
    given = panel
    panel, _ = complete(panel, forecaster.missing)
    step = (1 if len(panel) == 1 else horizon) if step is None else check_size("step", step)
    first, count = _first_origins(panel, horizon, windows, step, forecaster.lookback)
    panel, _ = complete(given, forecaster.missing, horizon + step * np.arange(count))
    least = SHORTEST if fit else forecaster.cut_.least
    if fit:
        _check_front(panel, first, count, horizon, forecaster.lookback)
    else:
        k = int(first.argmax())
        refuse_short(first[k : k + 1], lambda _: f"{panel.name(k)} before the first window", least)
    skipped = len(panel)
    used = np.flatnonzero(first >= least)
    panel, first, given = panel.choose(used), first[used], given.choose(used)
    skipped -= len(panel)
    owner = np.repeat(np.arange(len(panel)), count)
    origins = (first[:, None] + step * np.arange(count)).reshape(-1)
    lines = Lines.of(panel.values, panel.bounds)
    at = (lines.bounds[owner] + origins)[:, None] + np.arange(horizon)
    truth = np.where(filled_rows(given, panel)[at], np.nan, lines.values[at])

    if not np.isfinite(truth).any():
        raise InputError(
            "no window of the back-test has a value that was not missing; pass other windows"
        )
    ours = np.empty(truth.shape)
    around = {level: (np.empty(truth.shape), np.empty(truth.shape)) for level in levels}
    window = np.tile(np.arange(count), len(panel))
    for k in range(count if refit and fit else 1):
        rows = np.flatnonzero(window == k) if refit and fit else np.arange(len(window))
        front = panel.cut(0, first + k * step)
        model = _fitted(forecaster, front, count) if fit else forecaster
        centre, low_high = _forecast(model, panel, front, owner[rows], origins[rows], levels)
        ours[rows] = centre
        for level, (low, high) in low_high.items():
            around[level][0][rows], around[level][1][rows] = low, high
    forecasts = {"headgate": ours} | _naive(lines, owner, origins, horizon, model.season_)
    # Hyndman and Koehler 2006
    scale = lines.heads(first).mean_move(model.season_)
    scores = {name: _scores(truth, path, scale[owner]) for name, path in forecasts.items()}
    seen = np.isfinite(truth)
    shares, losses = {}, {}
    for level, (low, high) in around.items():
        shares[level] = coverage(truth[seen], low[seen], high[seen])
        tail = (1 - level / 100) / 2
        ends = ((low, tail), (high, 1 - tail))
        losses[level] = float(np.mean([pinball(truth[seen], e[seen], q) for e, q in ends]))
    return Backtest(
        horizon,
        model.season_,
        panel,
        owner,
        origins,
        truth,
        forecasts,
        around,
        scores,
        shares,
        losses,
        tuple(level for level in levels if not model.errors_.exact(level)),
        skipped,
        clock.perf_counter() - begin,
    )


def _forecast(
    model: GRUForecaster,
    panel: Panel,
    front: Panel,
    owner: Int64,
    origins: Int64,
    levels: tuple[float, ...],
) -> tuple[Float64, dict[float, tuple[Float64, Float64]]]:
    """(N, H) forecasts and bands, in one pass; of a new series ``front`` is all that is learned."""
    known = known_of(model, front)
    treatment = known.treatment
    lines = model.features_.lines(panel, known.phase)
    bad = treatment.log & (lines.minimum(lines.values) <= 0)
    if bad.any():
        raise InputError(
            f"{panel.name(int(bad.argmax()))} is positive at first and not later, which the "
            "back-test cannot follow with logarithms; pass fewer windows"
        )
    paths = forecast_at(
        model.ensemble_, treatment, lines, owner, origins, model.cut_, model.horizon_
    )
    return with_bands(model, paths, known, owner, levels)


def skill(model: GRUForecaster, panel: Panel) -> float:
    """See :meth:`GRUForecaster.score`."""
    horizon, given = model.horizon_, panel
    panel, _ = complete(panel, model.missing, [horizon])
    refuse_short(panel.lengths, panel.name, horizon + model.cut_.least)
    front = panel.cut(0, panel.lengths - horizon)
    lines = Lines.of(panel.values, panel.bounds)
    owner, origins = np.arange(len(panel)), front.lengths
    at = (lines.bounds[1:] - horizon)[:, None] + np.arange(horizon)
    truth = np.where(filled_rows(given, panel)[at], np.nan, lines.values[at])
    future = panel.future[at] if panel.future_names else None
    ours, _ = continue_panel(model, front, horizon, future=future)
    naive = list(_naive(lines, owner, origins, horizon, model.season_).values())[-1]
    scale = Lines.of(front.values, front.bounds).mean_move(model.season_)
    known = np.isfinite(truth)
    counts = known & (scale > 0)[:, None] if (known & (scale > 0)[:, None]).any() else known
    if not known.any():
        raise InputError(f"the last {horizon} values are missing, so there is nothing to score by")
    unit = np.where(scale > 0, scale, 1.0)[:, None]
    mine, theirs = (float((np.abs(f - truth) / unit)[counts].mean()) for f in (ours, naive))
    if theirs == 0:
        return 0.0 if mine == 0 else -np.inf
    return 1 - mine / theirs


def cross_frame(result: Backtest) -> Any:
    """See :meth:`GRUForecaster.cross_validation`."""
    columns = {result.panel.value_name: result.truth, "headgate": result.forecasts["headgate"]}
    for level, (low, high) in result.bands.items():
        columns[f"headgate-lo-{level:g}"], columns[f"headgate-hi-{level:g}"] = low, high
    for name, path in result.forecasts.items():
        if name != "headgate":
            columns["naive" if name == "naive" else "seasonal_naive"] = path
    return stamped_rows(result.panel, result.owner, result.origins, columns)


def _fitted(forecaster: GRUForecaster, front: Panel, windows: int) -> GRUForecaster:
    """A copy of ``forecaster``, fitted on what comes before the windows."""
    copy = type(forecaster)(**forecaster.get_params())
    try:
        return copy.fit(front)
    except InputError as error:
        raise InputError(
            f"before the first of {windows} window{'s' * (windows > 1)} {error}; or pass fewer "
            "windows"
        ) from None


def _first_origins(
    panel: Panel, horizon: int, windows: int | None, step: int, lookback: int | None
) -> tuple[Int64, int]:
    """(M,) the first origin of each series, and how many; the last window ends the series."""
    lengths = panel.lengths
    longest = int(lengths.max())
    last = longest - horizon
    if windows is None:
        # fewer where the front would become too short to learn from
        least = 2 * horizon + (lookback or SHORTEST)
        span = min(max(round(0.2 * longest) - horizon, 0), max(last - least, 0))
        windows = span // step + 1
        if len(panel) > 1:
            windows = min(windows, PANEL_WINDOWS)
    windows = check_size("windows", windows)
    return lengths - horizon - (windows - 1) * step, windows


def _check_front(
    panel: Panel, first: Int64, windows: int, horizon: int, lookback: int | None
) -> None:
    """Raise InputError when nothing is left to learn from before the windows."""
    try:
        check_lengths(np.maximum(first, 0), panel.name, horizon, lookback, 0)
    except InputError as error:
        raise InputError(
            f"a back-test of {windows} window{'s' * (windows > 1)} leaves too little to learn "
            f"from: {error}"
        ) from None


def _naive(
    lines: Lines, owner: Int64, origins: Int64, horizon: int, season: int
) -> dict[str, Float64]:
    """The last value, and the last season, again and again."""
    ends = lines.bounds[owner] + origins
    result = {"naive": np.repeat(lines.values[ends - 1][:, None], horizon, axis=1)}
    if season > 1:
        # a series of less than a season repeats what there is
        back = np.minimum(season, origins)[:, None]
        result[f"naive, {season} steps back"] = lines.values[
            ends[:, None] - back + np.arange(horizon) % back
        ]
    return result


def _scores(truth: Float64, path: Float64, scale: Float64) -> dict[str, float]:
    seen = np.isfinite(truth)
    error = np.abs(truth - path)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(error == 0, 0.0, error / scale[:, None])[seen]
    some = scaled[np.isfinite(scaled)]
    infinite = len(some) == 0 or (len(np.unique(scale)) == 1 and len(some) < len(scaled))
    return {
        "MAE": mae(truth[seen], path[seen]),
        "RMSE": rmse(truth[seen], path[seen]),
        "MASE": float("inf") if infinite else float(some.mean()),
        "sMAPE": smape(truth[seen], path[seen]),
    }
