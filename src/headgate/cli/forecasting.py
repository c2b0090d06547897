"""``headgate forecast`` and ``headgate predict``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..data.frames import show_stamps
from ..data.panel import Panel
from ..data.panel_frames import as_panel
from ..data.panel_future import future_values, panel_times
from ..data.tables import read_table
from ..errors import HeadgateError, InputError
from ..files import write_beside_and_rename
from ..models.forecasting.backtest import Backtest
from ..models.forecasting.forecaster import NAME, GRUForecaster
from ..models.forecasting.intervals import check_levels
from ..models.forecasting.series_file import plain
from ..models.loading import load
from ..version import __version__
from .output import (
    all_or_none,
    backtest_table,
    console,
    csv_bytes,
    make_folder,
    working,
    write_json,
)

FILES = ("forecast.csv", "forecast.png", "model.safetensors", "report.json")
DRAWN = 6  # series of many
_ROWS = "add rows at the end of DATA without a target"


def forecast_file(
    data: Path,
    out: Path,
    *,
    columns: dict[str, Any],
    encoding: str | None,
    level: tuple[float, ...],
    parameters: dict[str, Any],
) -> None:
    """Fit, back-test, forecast; write the four FILES to ``out`` and print what came out.

    With columns known ahead, the rows at the end that have no target hold their future.

    Raises:
        HeadgateError: for anything that the user can put right; nothing is half written.
    """
    levels = check_levels(level)
    table = read_table(data, encoding=encoding)
    panel, ahead = as_panel(table, **columns), None
    if panel.future_names:
        panel, ahead = _known_part(panel), table
        with _in_words_of_files("DATA", _ROWS):
            future_values(panel, ahead, parameters["horizon"])  # what is missing is said at once
    forecaster = GRUForecaster(**parameters, levels=levels, progress=False)
    with working(f"learning {panel.value_name}"):
        forecaster.fit(panel)
    backtest, reason = None, ""
    with working("testing on held-out windows"):
        try:
            backtest = forecaster.backtest(panel, level=levels)
        except InputError as error:
            reason = str(error)
    folder = make_folder(out)
    frame = forecaster.predict(level=levels, X_df=ahead)
    with all_or_none(folder, FILES) as staging:
        write_beside_and_rename(staging / "forecast.csv", csv_bytes(frame))
        _draw(staging / "forecast.png", forecaster, levels, backtest, ahead)
        forecaster.save(staging / "model.safetensors")
        write_json(staging / "report.json", _report(data, forecaster, levels, backtest, reason))
    _say(data, forecaster, backtest, reason, folder)


@contextlib.contextmanager
def _in_words_of_files(where: str, advice: str) -> Iterator[None]:
    """Errors name the file ``where`` in place of X_df, and say what to do about missing rows."""
    try:
        yield
    except InputError as error:
        message = str(error)
        if "must hold" in message and "X_df" in message:
            message = f"{message.rpartition('; ')[0]}; {advice}"
        raise InputError(message.replace("X_df", where)) from None


def _known_part(panel: Panel) -> Panel:
    """A panel without the rows at each series' end that have no target."""
    seen = np.where(np.isnan(panel.values), -1, np.arange(len(panel.values)))
    stops = np.maximum.reduceat(seen, panel.bounds[:-1]) + 1 - panel.bounds[:-1]
    stops = np.where(stops < 1, panel.lengths, stops)  # no value at all: refused by name later
    return panel.cut(np.zeros(len(panel), np.int64), stops)


def predict_file(
    model: Path,
    data: Path | None,
    out: Path | None,
    *,
    horizon: int | None,
    columns: dict[str, Any],
    ahead: Path | None,
    encoding: str | None,
    level: tuple[float, ...],
) -> None:
    """Forecast after newer data with a saved model; CSV to ``out`` or to standard output."""
    forecaster = load(model)
    if not isinstance(forecaster, GRUForecaster):
        raise InputError(
            f"{model} holds a {type(forecaster).__name__}, expected a forecaster as "
            "headgate forecast writes it; see headgate info"
        )
    table: Any = None if data is None else read_table(data, encoding=encoding)
    known = None if ahead is None else read_table(ahead, encoding=encoding)
    if table is not None and forecaster.features_.future:
        known = table if known is None else known
        table = _known_part(forecaster.read_like(table, **columns))
        columns = {}
    if known is None and forecaster.features_.future:
        names = ", ".join(map(repr, forecaster.features_.future[:5]))
        raise InputError(
            f"this model reads covariates known ahead, {names}; pass them for the steps after each "
            "series in a table: --ahead FILE"
        )
    where, advice = (
        ("DATA", f"{_ROWS}, or pass --ahead FILE")
        if ahead is None
        else (str(ahead), "add these rows to the table of --ahead")
    )
    with _in_words_of_files(where, advice):
        frame = forecaster.predict(horizon, list(level), known, data=table, **columns)
    content = csv_bytes(frame)
    if out is None:
        if sys.stdout is None:  # closed by the caller: headgate predict ... >&-
            raise HeadgateError("standard output is closed; name a file with --out")
        sys.stdout.buffer.write(content)  # UTF-8, as in a file
        return
    if out.parent != Path():
        make_folder(out.parent)
    write_beside_and_rename(out, content)
    console().print(f"{len(content.splitlines()) - 1} steps written to {out}")


def _draw(
    path: Path,
    forecaster: GRUForecaster,
    levels: tuple[float, ...],
    backtest: Backtest | None,
    ahead: Any,
) -> None:
    """The forecast of one series, or of the first few of many."""
    from ..plots import forecast_axes, new_figure, save_figure, share_legend

    panel, horizon = forecaster.panel_, forecaster.horizon_
    shown = min(len(panel), DRAWN)
    centre, bands = forecaster.forecast(panel, horizon, levels, ahead)
    times = panel_times(panel, horizon)
    across = 1 if shown == 1 else 2 if shown <= 4 else 3
    down = -(-shown // across)
    figure = new_figure(
        across, rows=down, width=(9.0, 13.0, 17.0)[across - 1], height=4.5 + 3.4 * (down - 1)
    )
    steps = f"{horizon} step{'s' * (horizon > 1)}"
    for k, axes in enumerate(figure.axes):
        if k >= shown:
            axes.set_visible(False)
            continue
        series = panel.series(k)
        title = f"{panel.ids[k] if panel.ids else series.value_name}, {steps} ahead"
        around = {level: (low[k], high[k]) for level, (low, high) in bands.items()}
        before = None if backtest is None else _last_window(backtest, panel, k)
        forecast_axes(axes, series, times[k], centre[k], around, title, before)
    if shown > 1:
        share_legend(figure)
    save_figure(figure, path)


def _last_window(backtest: Backtest, panel: Panel, k: int) -> dict[str, Any] | None:
    """What the back-test forecast for the end of series k."""
    if panel.ids:
        if panel.ids[k] not in backtest.panel.ids:
            return None
        k = backtest.panel.ids.index(panel.ids[k])
    rows = np.flatnonzero(backtest.owner == k)
    return {NAME: backtest.forecasts[NAME][rows[-1]]}


def _report(
    data: Path,
    forecaster: GRUForecaster,
    levels: tuple[float, ...],
    backtest: Backtest | None,
    reason: str,
) -> dict[str, Any]:
    panel, treatment = forecaster.panel_, forecaster.treatment_
    first, last = _first_and_last(panel)
    return {
        "headgate": __version__,
        "data": {
            "file": data.name,
            "series": len(panel),
            "rows": len(panel.values),
            "filled": forecaster.filled_,
            "id": panel.id_name,
            "time": None if panel.times is None else panel.time_name,
            "target": panel.value_name,
            "past": list(panel.past_names),
            "future": list(panel.future_names),
            "static": list(panel.static_names),
            "frequency": str(panel.freq),
            "first": first,
            "last": last,
        },
        "parameters": plain(forecaster.get_params()),
        "fit": {
            "horizon": forecaster.horizon_,
            "lookback": forecaster.lookback_,
            "segment": forecaster.cut_.segment,
            "season": forecaster.season_,
            "logarithm": int(treatment.log.sum()),
            "treatment": treatment.method,
            "window_shift": treatment.shift,
            "epochs": forecaster.epochs_,
            "levels": list(levels),
            "approximate": [x for x in levels if not forecaster.errors_.exact(x)],
            "seconds": round(forecaster.seconds_, 3),
        },
        "backtest": {"skipped": reason} if backtest is None else backtest.to_dict(),
        "files": list(FILES),
    }


def _first_and_last(panel: Panel) -> tuple[str, str]:
    if panel.times is None:
        return "0", str(int(panel.lengths.max()) - 1)
    ends = np.array([panel.times.min(), panel.times.max()])
    if panel.style.template:
        first, last = map(str, panel.style.write(ends))
        return first, last
    first, last = show_stamps(ends, panel.style)
    return first, last


def _say(
    data: Path, forecaster: GRUForecaster, backtest: Backtest | None, reason: str, folder: Path
) -> None:
    show, panel = console(), forecaster.panel_
    first, last = _first_and_last(panel)
    season = f", season {forecaster.season_}" if forecaster.season_ > 1 else ""
    many = f" in {len(panel)} series" if len(panel) > 1 else ""
    show.print(
        f"{data.name}: {len(panel.values)} values of {panel.value_name}{many}, {first} to {last}, "
        f"every {panel.freq}{season}; fitted in {forecaster.seconds_:.1f} s"
    )
    if forecaster.filled_:
        by = {"forward": "by the value before"}.get(forecaster.missing, "by straight lines")
        show.print(f"{forecaster.filled_} missing values were filled {by}; none is scored")
    if backtest is None:
        show.print(f"no back-test: {reason}")
    else:
        show.print(f"\n{describe(backtest)}\n")
        show.print(backtest_table(backtest))
        show.print(f"\n{backtest.verdict()}")
        show.print(coverage_line(backtest))
    show.print(f"\nwritten to {folder}: {', '.join(FILES)}")


def describe(backtest: Backtest) -> str:
    """One line: what was held out."""
    count = len(backtest.origins)
    series = len(np.unique(backtest.owner))
    of = f" of {series} series" if series > 1 else ""
    short = f"; {backtest.skipped} series are too short for it" if backtest.skipped else ""
    return (
        f"back-test, {count} window{'s' * (count > 1)} of {backtest.horizon} steps held out at "
        f"the end{of} (one fit, on what is before them{short}):"
    )


def coverage_line(backtest: Backtest) -> str:
    """One line: how often the truth lay within the bands."""
    parts = [f"{100 * share:.0f} % in the {level:g} % band" for level, share in
             backtest.coverage.items()]  # fmt: skip
    if not parts:
        return ""
    levels = ", ".join(f"{level:g} %" for level in backtest.approximate)
    note = f" Approximate for want of held-out windows: {levels}." if levels else ""
    losses = ", ".join(f"{loss:.4g}" for loss in backtest.pinball.values())
    return f"Of the true values {', '.join(parts)}; pinball loss {losses}.{note}"
