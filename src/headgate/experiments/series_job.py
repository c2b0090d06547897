"""The job that a series, or many, are for: windows, and the steps behind each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size
from ..data.metrics import mae, mase, rmse
from ..data.panel import Panel, complete
from ..data.samples import SampleTable
from ..errors import InputError
from ..models.forecasting.treatment import detect_season
from ..training.history import History
from .data import SeriesData
from .job import BATCH, Job, Scores

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

LARGEST = 1e150  # of a series: larger squares are infinite
FARTHEST = 1e18  # standard deviations: larger squares are infinite in float32


def series_job(data: SeriesData, lookback: int | None, horizon: int) -> Job:
    """Windows of a series, or of many, and the steps behind them.

    Args:
        lookback: steps of a window; some seasons by default.
        horizon: steps to forecast.

    Raises:
        InputError: values are missing or too large, or there are too few.
    """
    try:
        panel, _ = complete(data.panel, "error")
    except InputError as error:
        raise InputError(f"{str(error).partition(';')[0]}; fill them or cut them off") from None
    season = _season(data, panel)
    room = int(data.learned.max()) - horizon  # steps that one window to learn from may have
    if lookback is None:
        lookback = max(1, min(max(2 * season, horizon, 10), room // 2))
    check_size("lookback", lookback)
    if lookback > room:
        raise InputError(
            f"lookback={lookback} and horizon={horizon} need {lookback + horizon} steps to learn "
            f"from, but {data.name} has {room + horizon}; shorten one of them or bring more data"
        )
    z, shift, scale = _standardised(panel, data.learned)
    owner = np.repeat(np.arange(len(panel)), panel.lengths)
    ends = (data.learned, data.seen, panel.lengths)
    starts = [
        _windows(panel, first, last, lookback, horizon)
        for first, last in zip((np.full(len(panel), lookback), *ends[:2]), ends, strict=True)
    ]
    train, validation, test = (_window_table(z, s, lookback, horizon) for s in starts)
    origins = starts[2] + lookback
    truth = panel.values[origins[:, None] + np.arange(horizon)]
    owners = owner[origins]

    def measured(forecasts: Float64) -> Scores:
        scaled = [
            mase(truth[rows], forecasts[rows], history, min(season, len(history) - 1))
            * float(rows.mean())
            for k in np.unique(owners)
            for rows, history in [(owners == k, panel.series(int(k)).values[: data.seen[k]])]
        ]
        return {"MAE": mae(truth, forecasts), "RMSE": rmse(truth, forecasts), "MASE": sum(scaled)}

    def score(model: Any, _: History) -> Scores:
        found = model.predict(test).astype(np.float64)
        return measured(found * scale[owners, None] + shift[owners, None])

    baselines = {"naive (last value)": measured(np.repeat(panel.values[origins - 1], horizon)
                                                .reshape(-1, horizon))}  # fmt: skip
    if season > 1 and (data.seen >= season).all():
        back = origins[:, None] - season + np.arange(horizon) % season
        baselines[f"seasonal naive ({season})"] = measured(panel.values[back])
    facts = (
        f"{panel.value_name}: {len(train):,} windows of {lookback} steps to learn from, "
        f"{len(validation):,} to choose the epoch by, {len(test):,} to test on, {horizon} steps "
        f"ahead; held out: {data.how}"
    )
    return Job(
        "forecast",
        data.name,
        facts,
        train,
        validation,
        score,
        ("MAE", "RMSE", "MASE"),
        outputs=horizon,
        order=np.argsort(-(starts[0] - panel.bounds[owner[starts[0]]]), kind="stable"),
        fit={"batch_size": BATCH, "learning_rate": 2e-3, "loss": "mae", "clip_norm": 1.0},
        values=1,
        window=lookback,
        updates=1500,
        most=300,
        baselines=baselines,
    )


def _season(data: SeriesData, panel: Panel) -> int:
    """That of the frequency, else what the longest training part shows; 1 for none."""
    longest = int(np.argmax(data.learned))
    history = panel.series(longest).values[: data.learned[longest]]
    season = panel.season if panel.season > 1 else detect_season(history)
    return season if season < len(history) else 1


def _standardised(panel: Panel, learned: Int64) -> tuple[npt.NDArray[np.float32], Float64, Float64]:
    """Values by mean and deviation of each series' training part, and these: (S, 1), (M,), (M,).

    Raises:
        InputError: values are so large, or so far from those, that their squares are infinite.
    """
    if np.abs(panel.values).max() > LARGEST:
        raise InputError(
            f"{panel.value_name} has values up to {np.abs(panel.values).max():.3g}, whose squares "
            "are too large to add up; divide them by a common number"
        )
    parts = [panel.series(k).values for k in range(len(panel))]
    shift = np.array([part[:n].mean() for part, n in zip(parts, learned, strict=True)])
    spread = np.array([part[:n].std() for part, n in zip(parts, learned, strict=True)])
    scale = np.where(spread > 1e-12 * np.maximum(np.abs(shift), 1), spread, 1.0)
    z = np.concatenate([(part - a) / b for part, a, b in zip(parts, shift, scale, strict=True)])
    if np.abs(z).max() > FARTHEST:
        raise InputError(
            f"{panel.value_name} has values {np.abs(z).max():.3g} standard deviations away from "
            "those that are learned from; remove them, or compare on other data"
        )
    return z.astype(np.float32)[:, None], shift, scale


def _windows(panel: Panel, first: Int64, last: Int64, lookback: int, horizon: int) -> Int64:
    """(N,) rows at which windows begin whose targets lie in steps first[k] to before last[k]."""
    found = []
    for k, bound in enumerate(panel.bounds[:-1]):
        begin = max(int(first[k]) - lookback, 0)
        found.append(bound + np.arange(begin, last[k] - horizon - lookback + 1))
    starts: Int64 = np.concatenate(found).astype(np.int64)
    return starts


def _window_table(
    z: npt.NDArray[np.float32], starts: Int64, lookback: int, horizon: int
) -> SampleTable:
    """Windows less their last value, and the values behind them less the same."""
    last = np.ascontiguousarray(z[starts + lookback - 1, 0])
    one = np.ones_like(last)
    return SampleTable(
        z, starts, np.full(len(starts), lookback), z[:, 0], starts + lookback,
        output_size=horizon, y_stride=horizon, x_shift=last, x_scale=one, y_shift=last, y_scale=one,
    )  # fmt: skip
