"""How well the forecaster does with its defaults: the table in docs/results.md, row by row.

    HEADGATE_DATA=folder python benchmarks/forecasts.py [NAME ...]

Names: airpassengers, co2_weekly, sunspots_yearly, m3_monthly, m3_yearly, m3_other, m4_hourly,
etth1-96, etth1-192, etth1-336, etth1-720; all of them by default. Nothing is chosen on a test part:
every forecaster is fitted on what comes before the first test window.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import headgate as hg
from headgate.data.tables import read_table
from headgate.models.forecasting.backtest import Backtest

DATA = Path(os.environ.get("HEADGATE_DATA", "../shared/data"))
ETT_TRAIN, ETT_TEST, ETT_END = 8640, 11520, 14400  # rows
ETT_LOOKBACK = 96


def long_frame(series: dict[str, list[float]]) -> pl.DataFrame:
    """unique_id, ds (steps), y."""
    return pl.DataFrame(
        {
            "unique_id": [name for name, values in series.items() for _ in values],
            "ds": [step for values in series.values() for step in range(len(values))],
            "y": [value for values in series.values() for value in values],
        }
    )


def m3(name: str) -> pl.DataFrame:
    """1,428 monthly, 645 yearly or 174 other series, test parts included."""
    with gzip.open(DATA / "m3" / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return long_frame({row[0]: [float(v) for v in row[6 : 6 + int(row[1])]] for row in rows})


def m4_hourly() -> pl.DataFrame:
    """414 series, their test parts at the end."""
    folder = DATA / "m4_hourly"
    with gzip.open(folder / "Hourly-train.csv.gz", "rt", encoding="utf-8") as file:
        train = list(csv.reader(file))[1:]
    with open(folder / "Hourly-test.csv", encoding="utf-8") as file:
        test = list(csv.reader(file))[1:]
    return long_frame(
        {
            before[0]: [float(v) for v in before[1:] + after[1:] if v]
            for before, after in zip(train, test, strict=True)
        }
    )


def etth1(first: int, last: int) -> pl.DataFrame:
    """Rows first to last of the 7 channels, standardised by the training part, as 7 series."""
    table = pl.read_csv(DATA / "etth1" / "ETTh1.csv", try_parse_dates=True)
    names = [name for name in table.columns if name != "date"]
    train = table.head(ETT_TRAIN)
    scaled = table.with_columns((pl.col(n) - train[n].mean()) / train[n].std(ddof=0) for n in names)
    part = scaled.slice(first, last - first)
    return part.unpivot(names, index="date", variable_name="unique_id", value_name="y").rename(
        {"date": "ds"}
    )


def windows(data: Any, horizon: int, count: int = 3, **options: Any) -> Backtest:
    """Windows that do not overlap and end where the series end; one fit before the first."""
    forecaster = hg.GRUForecaster(horizon=horizon, **options)
    return forecaster.backtest(data, windows=count, step=horizon)


def report(name: str, result: Backtest, seconds: float) -> str:
    """One row."""
    ours = result.scores["headgate"]
    theirs = list(result.scores.values())[-1]
    metric = "MAE" if name == "sunspots_yearly" else "MASE"
    naive = result.scores["naive"]
    shares = ", ".join(f"{100 * share:.1f} %" for share in result.coverage.values())
    return (
        f"{name:<16} {metric} {ours[metric]:.4f}  naive {naive[metric]:.4f}  seasonal naive "
        f"{theirs[metric]:.4f}  ratio {ours[metric] / theirs[metric]:.3f}  coverage {shares}  "
        f"{seconds:.1f} s"
    )


def long_horizon(horizon: int) -> str:
    """The usual protocol: every test window, all channels counted."""
    begin = time.perf_counter()
    forecaster = hg.GRUForecaster(horizon=horizon, lookback=ETT_LOOKBACK)
    forecaster.fit(etth1(0, ETT_TRAIN))
    fitted = time.perf_counter() - begin
    # the lookback of the first test window, and the days before it that tell the hour
    data = etth1(ETT_TEST - 2 * ETT_LOOKBACK, ETT_END)
    count = ETT_END - ETT_TEST - horizon + 1
    result = forecaster.backtest(data, windows=count, step=1, fit=False)
    error = result.truth - result.forecasts["headgate"]
    return (
        f"etth1-{horizon:<9} MSE {np.mean(error**2):.4f}  MAE {np.mean(np.abs(error)):.4f}  "
        f"{count} windows of 7 channels  fitted in {fitted:.1f} s"
    )


def rows(names: list[str]) -> Iterator[str]:
    """The rows asked for, one after another."""
    classic = {"airpassengers": 12, "co2_weekly": 52, "sunspots_yearly": 11}
    for name in names:
        begin = time.perf_counter()
        if name in classic:
            data: Any = read_table(DATA / "classic_series" / f"{name}.csv")
            result = windows(data, classic[name])
        elif name == "m3_monthly":
            result = windows(m3(name), 18, season=12)
        elif name in ("m3_yearly", "m3_other"):
            result = windows(m3(name), 6 if name == "m3_yearly" else 8, 1)
        elif name == "m4_hourly":
            result = windows(m4_hourly(), 48, 1, season=24)
        elif name.startswith("etth1-"):
            yield long_horizon(int(name.removeprefix("etth1-")))
            continue
        else:
            sys.exit(f"{name!r} is not known; the first lines of this file list the names")
        yield report(name, result, time.perf_counter() - begin)


ALL = [
    "airpassengers", "co2_weekly", "sunspots_yearly", "m3_monthly", "m3_yearly", "m3_other",
    "m4_hourly", "etth1-96", "etth1-192", "etth1-336", "etth1-720",
]  # fmt: skip

if __name__ == "__main__":
    for row in rows(sys.argv[1:] or ALL):
        print(row, flush=True)
