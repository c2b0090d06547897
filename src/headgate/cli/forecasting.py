"""``headgate forecast`` and ``headgate predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..data.frames import Series, as_series, future_times, read_table
from ..errors import InputError
from ..files import write_beside_and_rename
from ..models.backtest import Backtest
from ..models.forecaster import NAME, GRUForecaster, check_levels
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

    Raises:
        HeadgateError: for anything that the user can put right; nothing is half written.
    """
    levels = check_levels(level)
    series = as_series(read_table(data, encoding=encoding), **columns)
    forecaster = GRUForecaster(**parameters, progress=False)
    with working(f"learning {series.value_name}"):
        forecaster.fit(series)
    backtest, reason = None, ""
    with working("testing on held-out windows"):
        try:
            backtest = forecaster.backtest(level=levels)
        except InputError as error:
            reason = str(error)
    folder = make_folder(out)
    frame = forecaster.predict(level=levels)
    with all_or_none(folder, FILES) as staging:
        write_beside_and_rename(staging / "forecast.csv", csv_bytes(frame))
        _draw(staging / "forecast.png", forecaster, levels, backtest)
        forecaster.save(staging / "model.safetensors")
        write_json(staging / "report.json", _report(data, forecaster, levels, backtest, reason))
    _say(data, series, forecaster, backtest, reason, folder)


def predict_file(
    model: Path,
    data: Path | None,
    out: Path | None,
    *,
    horizon: int | None,
    columns: dict[str, Any],
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
    table = None if data is None else read_table(data, encoding=encoding)
    frame = forecaster.predict(horizon, list(level), data=table, **columns)
    content = csv_bytes(frame)
    if out is None:
        sys.stdout.buffer.write(content)  # UTF-8, as in a file
        return
    if out.parent != Path():
        make_folder(out.parent)
    write_beside_and_rename(out, content)
    console().print(f"{len(content.splitlines()) - 1} steps written to {out}")


def _draw(
    path: Path, forecaster: GRUForecaster, levels: tuple[float, ...], backtest: Backtest | None
) -> None:
    from ..plots import forecast_figure, save_figure

    series = forecaster.series_
    centre, bands = forecaster.forecast(series, forecaster.horizon_, levels)
    name = series.value_name
    steps = f"{forecaster.horizon_} step{'s' * (forecaster.horizon_ > 1)}"
    figure = forecast_figure(
        series,
        future_times(series, forecaster.horizon_),
        centre,
        bands,
        f"{name}, {steps} ahead",
        None if backtest is None else {NAME: backtest.forecasts[NAME][-1]},
    )
    save_figure(figure, path)


def _report(
    data: Path,
    forecaster: GRUForecaster,
    levels: tuple[float, ...],
    backtest: Backtest | None,
    reason: str,
) -> dict[str, Any]:
    series, treatment = forecaster.series_, forecaster.treatment_
    return {
        "headgate": __version__,
        "data": {
            "file": data.name,
            "rows": len(series),
            "time": None if series.times is None else series.time_name,
            "target": series.value_name,
            "frequency": str(series.freq),
            "first": _first_and_last(series)[0],
            "last": _first_and_last(series)[1],
        },
        "parameters": forecaster.get_params(),
        "fit": {
            "horizon": forecaster.horizon_,
            "lookback": forecaster.lookback_,
            "season": forecaster.season_,
            "logarithm": treatment.log,
            "treatment": treatment.method,
            "window_shift": treatment.shift,
            "epochs": forecaster.epochs_,
            "levels": list(levels),
            "seconds": round(forecaster.seconds_, 3),
        },
        "backtest": {"skipped": reason} if backtest is None else backtest.to_dict(),
        "files": list(FILES),
    }


def _first_and_last(series: Series) -> tuple[str, str]:
    if series.times is None:
        return "0", str(len(series) - 1)
    ends = series.times[[0, -1]]
    if series.style.template:
        first, last = map(str, series.style.write(ends))
        return first, last
    first, last = (
        str(t).removesuffix(".000000").removesuffix("T00:00:00").replace("T", " ") for t in ends
    )
    return first, last


def _say(
    data: Path,
    series: Series,
    forecaster: GRUForecaster,
    backtest: Backtest | None,
    reason: str,
    folder: Path,
) -> None:
    show = console()
    first, last = _first_and_last(series)
    season = f", season {forecaster.season_}" if forecaster.season_ > 1 else ""
    show.print(
        f"{data.name}: {len(series)} values of {series.value_name}, {first} to {last}, "
        f"every {series.freq}{season}; fitted in {forecaster.seconds_:.1f} s"
    )
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
    return (
        f"back-test, {count} window{'s' * (count > 1)} of {backtest.horizon} steps held out at "
        "the end (one fit, on what is before them):"
    )


def coverage_line(backtest: Backtest) -> str:
    """One line: how often the truth lay within the bands."""
    parts = [f"{100 * share:.0f} % in the {level:g} % band" for level, share in
             backtest.coverage.items()]  # fmt: skip
    return f"Of the true values {', '.join(parts)}." if parts else ""
