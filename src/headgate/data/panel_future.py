"""What comes after the series of a panel: stamps, covariates known ahead, frames of forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ..checks import check_size
from ..errors import InputError
from .columns import covariate_values, known, may_be_time, read_times
from .frames import levels_as_columns, native_times, open_frame, show_stamps, stamped_frame
from .panel import Indices, Panel, more_series
from .panel_frames import read_ids, refuse_repeated, sort_rows
from .times import MONTH_UNITS, Times, anchor_days, next_times

if TYPE_CHECKING:
    import narwhals as nw

_SIDES: Final[tuple[Literal["left"], Literal["right"]]] = ("left", "right")


def panel_times(panel: Panel, horizon: int) -> Times:
    """The ``horizon`` stamps after each series; (M, horizon) datetime64[us] or int64.

    As ``future_times`` for one series: without stamps rows are counted on from the length.
    """
    horizon = check_size("horizon", horizon)
    if panel.times is None:
        return panel.lengths[:, None] + np.arange(horizon)
    last = panel.times[panel.bounds[1:] - 1]
    if panel.freq.unit not in MONTH_UNITS or last.dtype.kind != "M":
        return next_times(last, panel.freq, horizon)
    days = anchor_days(panel.times, panel.bounds, panel.freq.day)
    times = np.empty((len(panel), horizon), dtype=last.dtype)
    for day in np.unique(days):
        times[days == day] = next_times(
            last[days == day], replace(panel.freq, day=int(day)), horizon
        )
    return times


def panel_frame(panel: Panel, columns: Mapping[str, Any]) -> Any:
    """A long frame of the ids, if there are any, the next stamps, and ``columns``.

    Args:
        columns: arrays (M, horizon), one row for each series.

    The frame is of the kind that came in, its stamps as ``future_frame`` writes them.
    """
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    first = next(iter(shapes.values()), ())
    if set(shapes.values()) != {first} or len(first) != 2 or first[0] != len(panel):
        raise InputError(f"columns must have shape ({len(panel)}, horizon); got shapes {shapes}")
    for name in (panel.id_name, panel.time_name):
        if name in arrays:
            what = "ids" if name == panel.id_name else "time"
            raise InputError(f"a column is named {name!r} like the {what}; rename it")
    times = panel_times(panel, first[1]).reshape(-1)
    before = (
        {}
        if panel.id_name is None
        else {panel.id_name: _ids_of(panel, np.repeat(np.arange(len(panel)), first[1]))}
    )
    flat = {name: array.reshape(-1) for name, array in arrays.items()}
    return stamped_frame(panel.kind, before, panel.time_name, times, panel.style, flat)


def stamped_rows(panel: Panel, owner: Indices, origins: Indices, columns: Mapping[str, Any]) -> Any:
    """A long frame of windows within a panel: ids, stamps, ``cutoff``, ``columns``.

    Args:
        owner, origins: (N,) the series of each window and its first step, from 1 on.
        columns: arrays (N, horizon), all of one shape.

    The cutoff is the last stamp before a window.
    """
    for role, name in (("id", panel.id_name), ("time", panel.time_name)):
        if name == "cutoff":
            raise InputError(
                f"the {role} column is named 'cutoff', as the column of the last stamp before "
                "each window must be; rename it in the data"
            )
    steps = next(iter(columns.values())).shape[1]
    rows = (panel.bounds[owner] + origins)[:, None] + np.arange(steps)
    before = np.repeat(rows[:, 0] - 1, steps)
    times = panel.times
    if times is None:
        times = np.arange(len(panel.values)) - np.repeat(panel.bounds[:-1], panel.lengths)
    ids = {}
    if panel.id_name is not None:
        ids[panel.id_name] = _ids_of(panel, np.repeat(owner, steps))
    cutoff = {"cutoff": native_times(times[before], panel.style, panel.kind)}
    taken = {*ids, panel.time_name, "cutoff"} & set(columns)
    if taken:
        raise InputError(f"a column is named {min(taken)!r}, which is taken; rename it")
    flat = {name: array.reshape(-1) for name, array in columns.items()}
    return stamped_frame(
        panel.kind, ids, panel.time_name, times[rows.reshape(-1)], panel.style, cutoff | flat
    )


def _ids_of(panel: Panel, rows: Indices) -> Any:
    """The ids of series ``rows``, as a native column (an array of texts is slow)."""
    if panel.kind == "pandas":
        import pandas as pd

        return pd.Series(list(panel.ids)).take(rows).reset_index(drop=True)
    import polars as pl

    return pl.Series(list(panel.ids)).gather(rows)


# -- covariates known ahead ----------------------------------------------------------------


def future_values(panel: Panel, table: Any, horizon: int) -> npt.NDArray[np.float64]:
    """The covariates known ahead for the steps after each series; (M, horizon, F) float64.

    Args:
        table: a frame with the columns of the panel's ids and times, if it has any, and of
            ``panel.future_names``; other rows, series and columns are ignored. Without a time
            column its rows are the steps in order. ``X_df`` in messages.

    Where days are left out that the calendar has (D and B), the next rows of the table count.

    Raises:
        InputError: a step that is missing or has no value; ids, stamps or numbers that cannot
            be read.
    """
    horizon = check_size("horizon", horizon)
    names = panel.future_names
    if not names:
        return np.zeros((len(panel), horizon, 0))
    data = levels_as_columns(table, {panel.time_name, str(panel.id_name), *names})
    frame, _ = open_frame(data)
    if frame is None:
        raise InputError(
            f"X_df must be a frame with the future covariates {', '.join(map(repr, names[:5]))} "
            f"for the steps after each series, got {type(table).__name__}"
        )
    for name in names:
        known(frame, "future", name)
    values = covariate_values(frame, names, "future", " of X_df")
    owner = _owners(panel, frame)
    time = _time_of(panel, frame)
    stamps = panel_times(panel, horizon)
    if time is None:
        rows = _rows_in_order(panel, owner, horizon)
        there = np.ones(rows.shape, dtype=bool)
    else:
        rows, there = _rows_at(panel, owner, _read_like(panel, frame[time], time), time, stamps)
    found = np.full((len(panel), horizon, len(names)), np.nan)
    found[there] = values[rows[there]]
    for name, missing in zip(names, np.moveaxis(np.isnan(found), 2, 0), strict=True):
        if missing.any():
            raise _missing(panel, name, missing, stamps)
    return found


def _owners(panel: Panel, frame: nw.DataFrame[Any]) -> Indices:
    """Which series each row belongs to, -1 for none of the panel; (T,)."""
    name = panel.id_name
    if name is None or (name not in frame.columns and len(panel) == 1):
        return np.zeros(len(frame), dtype=np.int64)
    codes, ids = read_ids(frame[known(frame, "id", name)], name)
    # 1 and '1' are one id: files and frames differ in what they make of digits.
    places = {str(id): k for k, id in enumerate(panel.ids)}
    return np.array([*(places.get(str(id), -1) for id in ids), -1], dtype=np.int64)[codes]


def _time_of(panel: Panel, frame: nw.DataFrame[Any]) -> str | None:
    if panel.times is None:
        return None
    others = set(frame.columns) - {panel.id_name, *panel.future_names}
    dates = [c for c in others if not frame[c].dtype.is_numeric() and may_be_time(frame[c], c)]
    # Rows under another name for the time are not taken as they come: they may begin elsewhere.
    if panel.time_name in frame.columns or dates:
        return known(frame, "time", panel.time_name)
    return None


def _read_like(panel: Panel, column: nw.Series[Any], name: str) -> Times:
    """The stamps of a column as those of the panel are kept."""
    assert panel.times is not None
    if not len(column):
        return panel.times[:0]
    times, _ = read_times(column, name, panel.style)
    if times.dtype.kind != panel.times.dtype.kind:
        kinds = {"M": "dates", "i": "integers"}
        raise InputError(
            f"the time column {name!r} of X_df holds {kinds[times.dtype.kind]}, but the data "
            f"fitted had {kinds[panel.times.dtype.kind]}; write both the same way"
        )
    return times


def _rows_in_order(panel: Panel, owner: Indices, horizon: int) -> Indices:
    """The first ``horizon`` rows of each series; (M, horizon)."""
    order = np.argsort(owner, kind="stable")
    first, stop = (np.searchsorted(owner[order], np.arange(len(panel)), side) for side in _SIDES)
    short = np.flatnonzero(stop - first < horizon)
    if len(short):
        k = int(short[0])
        count = int(stop[k] - first[k])
        raise InputError(
            f"X_df has {count} row{'s' * (count != 1)} for {panel.name(k)}"
            f"{more_series(len(short))} and no column of times; it must hold {_steps(horizon)} "
            "after each series ends"
        )
    return np.asarray(order[first[:, None] + np.arange(horizon)])


def _rows_at(
    panel: Panel, owner: Indices, times: Times, name: str, stamps: Times
) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """The row of each stamp (M, horizon), and whether there is one.

    ``stamps`` is changed where rows on days that the calendar does not have count instead.
    """
    assert panel.times is not None
    last = panel.times[panel.bounds[1:] - 1]
    kept = np.flatnonzero((owner >= 0) & (times > last[owner]))
    kept = kept[sort_rows(owner[kept], times[kept])]
    who, when = owner[kept], times[kept]
    refuse_repeated(panel, who, when, name, kept)
    rows, there = np.zeros(stamps.shape, dtype=np.int64), np.zeros(stamps.shape, dtype=bool)
    if not len(kept):
        return rows, there
    distinct, ranks = np.unique(np.append(when, stamps.reshape(-1)), return_inverse=True)
    keys = who * len(distinct) + ranks[: len(when)]
    series = np.arange(len(panel))
    wanted = series[:, None] * len(distinct) + ranks[len(when) :].reshape(stamps.shape)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    rows, there = kept[at], keys[at] == wanted
    if panel.freq.unit in ("D", "B"):
        first, stop = (np.searchsorted(who, series, side) for side in _SIDES)
        horizon = stamps.shape[1]
        other = ~there.all(axis=1) & (stop - first >= horizon)
        rows[other] = kept[first[other][:, None] + np.arange(horizon)]
        there[other] = True
        stamps[other] = times[rows[other]]
    return rows, there


def _missing(panel: Panel, name: str, missing: npt.NDArray[np.bool_], stamps: Times) -> InputError:
    series = np.flatnonzero(missing.any(axis=1))
    k = int(series[0])
    steps = np.flatnonzero(missing[k])
    if panel.times is None:
        shown = f"step {steps[0] + 1}"
    else:
        shown = show_stamps(stamps[k, steps[:1]], panel.style)[0]
    more = len(steps) - 1
    more_steps = f" (and {more} more step{'s' * (more > 1)})" if more else ""
    return InputError(
        f"future covariate {name!r} is missing for {shown}{more_steps} of "
        f"{panel.name(k)}{more_series(len(series))}; X_df must hold "
        f"{_steps(stamps.shape[1])} after each series ends"
    )


def _steps(horizon: int) -> str:
    return f"all {horizon} steps" if horizon > 1 else "the one step"
