"""From files, frames and arrays to one clean series, and back to frames of the same kind.

``read_table`` reads files, ``as_series`` finds and checks the columns, ``future_times`` and
``future_frame`` write what comes after.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..checks import check_size
from ..errors import InputError
from .columns import (
    check_values,
    column_values,
    find_target,
    find_time,
    is_missing,
    read_times,
)
from .stamps import YEARS, TimeStyle, is_time_name, looks_like_dates, name_rows
from .tables import read_table
from .times import Frequency, Times, anchored, infer_frequency, next_times

if TYPE_CHECKING:
    import narwhals as nw

__all__ = ["Frequency", "Series", "as_series", "future_frame", "future_times", "read_table"]


@dataclass(frozen=True, eq=False)
class Series:
    """One series, sorted by time, finite, and what is needed to write its continuation.

    Attributes:
        values: float64 (T,), read-only.
        times: (T,) datetime64[us] or int64, strictly increasing; None for a bare array.
        time_name, value_name: column names (``ds`` and ``y`` for a bare array).
        freq: how far apart the stamps stand; an integer step without calendar time.
        season: usual number of steps in a season of this frequency, 1 where there is none.
        kind: what came in, ``"array"``, ``"polars"`` or ``"pandas"``.
        style: how the stamps were written.
    """

    values: npt.NDArray[np.float64]
    times: Times | None = None
    time_name: str = "ds"
    value_name: str = "y"
    freq: Frequency = field(default_factory=lambda: Frequency("step"))
    season: int = 1
    kind: str = "array"
    style: TimeStyle = field(default_factory=TimeStyle)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int | None = None) -> Series:
        """The steps from ``start`` to before ``stop``, as slices count; frequency kept."""
        cut = slice(start, stop)
        times = None if self.times is None else self.times[cut]
        return replace(self, values=self.values[cut], times=times)


def as_series(
    data: Any,
    *,
    time: str | None = None,
    target: str | None = None,
    freq: str | int | Frequency | None = None,
) -> Series:
    """One series from a 1-D array or list, or a pandas or polars frame (or Series).

    Args:
        data: values alone, or a frame with a time and a value column; a pandas
            DatetimeIndex or PeriodIndex counts as the time column.
        time, target: column names; found when there is only one choice.
        freq: such as ``"M"``, ``"30min"`` or an integer step; read from the stamps when None.

    Rows are sorted by time. Native dates, integers and texts such as 2024-01-05, 2024/1/5,
    2024年1月5日, 20240105 and 2024-01 are understood as time.

    Raises:
        InputError: no or several candidate columns (listed); fewer than two rows; text, infinite
            or missing values, stamps that are no dates or stand twice (rows named, from 1).
    """
    if isinstance(data, Series):
        return data
    if isinstance(data, (str, Path)):
        raise InputError(f"as_series needs data, got the path {str(data)!r}; use read_table first")
    frequency = None if freq is None else Frequency.parse(freq)
    frame, kind = open_frame(data)
    if frame is None:
        if time is not None or target is not None:
            raise InputError(
                f"time= and target= name columns, but the data are {type(data).__name__}; "
                "pass a pandas or polars frame, or leave them out"
            )
        values = array_values(data)
        frequency = frequency or Frequency("step")
        return Series(values, freq=frequency, season=frequency.season, kind=kind)
    if len(frame) < 2:
        raise InputError(
            f"the table has {len(frame)} row{'s' * (len(frame) != 1)}; a series needs at least 2, "
            "one for each time step"
        )
    # pandas may name columns by numbers; names are texts here
    time, target = (None if name is None else str(name) for name in (time, target))
    time = find_time(frame, time, target)
    target = find_target(frame, time, target)
    values = column_values(frame[target], target)
    if time is None:
        frequency = frequency or Frequency("step")
        return Series(
            frozen(values),
            value_name=target,
            freq=frequency,
            season=frequency.season,
            kind=kind,
        )
    times, style = read_times(frame[time], time)
    order = increasing(times, time, style)
    times, values = times[order], values[order]
    frequency = frequency_of(times, time, style, frequency)
    return Series(frozen(values), times, time, target, frequency, frequency.season, kind, style)


def future_times(series: Series, horizon: int) -> Times:
    """The ``horizon`` stamps after the series; shape (horizon,), datetime64[us] or int64.

    Month ends stay month ends, weekdays weekdays; a bare array is counted on from its length.
    """
    horizon = check_size("horizon", horizon)
    if series.times is None:
        return np.arange(len(series), len(series) + horizon, dtype=np.int64)
    return next_times(series.times[-1], series.freq, horizon)


def future_frame(series: Series, columns: Mapping[str, Any]) -> Any:
    """A frame of the next stamps and ``columns``, all of one length, of the kind that came in.

    pandas for pandas, polars for polars and for a bare array. The stamps stand first, under
    the name, in the type and, for texts, in the way they had in the data.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if not lengths or len(set(lengths.values())) != 1:
        raise InputError(f"columns must have one length, the horizon; got lengths {lengths}")
    if series.time_name in columns:
        raise InputError(f"a column is named {series.time_name!r} like the time; rename it")
    times = future_times(series, next(iter(lengths.values())))
    data = {name: np.asarray(column) for name, column in columns.items()}
    return stamped_frame(series.kind, {}, series.time_name, times, series.style, data)


def stamped_frame(
    kind: str,
    before: Mapping[str, Any],
    time_name: str,
    times: Times,
    style: TimeStyle,
    columns: Mapping[str, Any],
) -> Any:
    """A frame of ``kind``: what stands ``before``, stamps as they were written, ``columns``."""
    import narwhals as nw

    backend: Literal["pandas", "polars"] = "pandas" if kind == "pandas" else "polars"
    stamps = native_times(times, style, kind)
    frame = nw.from_dict({**before, time_name: stamps, **columns}, backend=backend)
    if style.dtype is not None and style.time_zone is None:
        stamped = {time_name, "cutoff"} & {time_name, *columns}  # an id may be called cutoff
        frame = frame.with_columns(nw.col(name).cast(style.dtype) for name in sorted(stamped))
    return frame.to_native()


# -- opening -------------------------------------------------------------------------------


def open_frame(data: Any) -> tuple[nw.DataFrame[Any] | None, str]:
    """A narwhals frame and its kind, or None for values without columns."""
    import narwhals as nw
    from narwhals import dependencies as known

    if known.is_pandas_series(data):
        if not _holds_times(data.index):
            return None, "pandas"
        data = data.to_frame(name="y" if data.name is None else str(data.name))
    if known.is_pandas_dataframe(data):
        return nw.from_native(_with_index_as_column(data), eager_only=True), "pandas"
    if known.is_polars_lazyframe(data):
        data = data.collect()
    if known.is_polars_dataframe(data):
        return nw.from_native(data, eager_only=True), "polars"
    if known.is_polars_series(data):
        return None, "polars"
    if known.is_pyarrow_table(data):
        import polars as pl

        return nw.from_native(pl.DataFrame(data), eager_only=True), "polars"
    return None, "array"


def levels_as_columns(data: Any, wanted: set[str]) -> Any:
    """A pandas frame whose index levels are columns: all of several, one if it is ``wanted``."""
    from narwhals import dependencies

    single = dependencies.is_pandas_series(data)
    if not (single or dependencies.is_pandas_dataframe(data)):
        return data
    names = [str(name) for name in data.index.names if name is not None]
    if data.index.nlevels == 1 and (_is_time_index(data.index) or not wanted.intersection(names)):
        return data
    if single:
        data = data.to_frame(name="y" if data.name is None else str(data.name))
    for name in names:
        if name in data.columns:
            raise InputError(f"{name!r} is both the index and a column; rename one")
    return data.reset_index()


def _is_time_index(index: Any) -> bool:
    return type(index).__name__ in ("DatetimeIndex", "PeriodIndex")


def _holds_times(index: Any) -> bool:
    """Whether a pandas index is the time: by its type, its name, or the dates in it."""
    if _is_time_index(index):
        return True
    kind = type(index).__name__
    if index.nlevels > 1 or kind in ("RangeIndex", "TimedeltaIndex", "IntervalIndex"):
        return False
    if index.name is not None and is_time_name(str(index.name)):
        # seconds since a start, say, are no stamps
        return index.dtype.kind != "f" or bool((index == index // 1).all())
    sample = index[:100].tolist()
    dates = [str(item) for item in sample if isinstance(item, (str, datetime.date))]
    return len(dates) > 0.5 * len(sample) and looks_like_dates(dates, "")


def _with_index_as_column(frame: Any) -> Any:
    """A pandas frame whose times are in a column, periods as the stamps at their start."""
    frame = frame.copy(deep=False)
    name = "ds" if frame.index.name is None else str(frame.index.name)
    taken = name in [str(column) for column in frame.columns]
    if _is_time_index(frame.index) or (_holds_times(frame.index) and not taken):
        if taken:
            raise InputError(f"{name!r} is both the index and a column; rename one")
        stamps = frame.index
        frame = frame.reset_index(drop=True)
        frame.insert(0, name, stamps)
    frame.columns = [str(name) for name in frame.columns]
    if frame.columns.has_duplicates:
        raise InputError(f"column names must differ, got {list(frame.columns)}; rename them")
    for name in frame.columns:
        if type(frame[name].dtype).__name__ == "PeriodDtype":
            frame[name] = frame[name].dt.to_timestamp()
    return frame


def array_values(data: Any, *, gaps: bool = False) -> npt.NDArray[np.float64]:
    """Values of a 1-D array or list, read-only; with ``gaps`` nan where one is missing."""
    if isinstance(data, np.ma.MaskedArray):
        data = np.ma.filled(data.astype(np.float64), np.nan)
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise InputError(f"data must be a 1-D array of numbers: {error}") from None
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise InputError(
            f"data must be a 1-D array, a list, or a pandas or polars frame; got "
            f"{type(data).__name__} of shape {array.shape}; pass one series at a time"
        )
    if len(array) < 2:
        raise InputError(f"data has length {len(array)}; a series needs at least 2 values")
    if array.dtype.kind in "mM":
        raise InputError(f"the data hold {array.dtype} times, expected numbers; pass the values")
    if array.dtype.kind not in "biuf":
        array = _from_objects(array)
    values = array.astype(np.float64)
    check_values(values, "the data", "index", gaps=gaps)
    return frozen(values)


def _from_objects(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = np.full(len(array), np.nan)
    for at, item in enumerate(array.tolist()):
        try:
            values[at] = np.nan if is_missing(item) else float(item)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"the data hold {item!r} at index {at}, expected a number; remove or replace it"
            ) from None
    return values


def frozen(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values = np.array(values, dtype=np.float64)
    values.flags.writeable = False
    return values


# -- time ----------------------------------------------------------------------------------


def increasing(times: Times, name: str, style: TimeStyle) -> npt.NDArray[np.int64]:
    """The order that sorts the stamps; refuses those that stand twice, by name and row."""
    order = np.argsort(times, kind="stable")
    again = times[order][1:] == times[order][:-1]
    if not again.any():
        return order
    doubles = np.unique(times[order][1:][again])
    places = [
        f"{text} in {name_rows(times == stamp)}"
        for text, stamp in zip(show_stamps(doubles[:3], style), doubles[:3], strict=True)
    ]
    raise repeated_stamps(
        name,
        places,
        len(doubles),
        "keep one row for each, or forecast one series at a time when the table holds several",
    )


def repeated_stamps(name: str, places: list[str], count: int, advice: str) -> InputError:
    """The error for ``count`` stamps that stand twice, the first of them in ``places``."""
    more = f" (and {count - len(places)} more stamps)" if count > len(places) else ""
    return InputError(
        f"time stamps of {name!r} stand more than once: {'; '.join(places)}{more}; {advice}"
    )


def show_stamps(times: Times, style: TimeStyle) -> list[str]:
    """A few stamps for a message, as they were written."""
    if style.template:
        return [str(stamp) for stamp in style.write(times)]
    return [
        str(t).removesuffix(".000000").removesuffix("T00:00:00").replace("T", " ") for t in times
    ]


def frequency_of(times: Times, name: str, style: TimeStyle, given: Frequency | None) -> Frequency:
    if given is not None:
        return anchored(given, times)
    frequency = infer_frequency(times)
    years = frequency.unit == "step" and times[0] >= YEARS[0] and times[-1] <= YEARS[1]
    if years and is_time_name(name):
        return Frequency("Y", frequency.multiple)
    return frequency


def native_times(times: Times, style: TimeStyle, kind: str) -> Any:
    """Stamps as the data had them: integers, texts, or datetimes with their zone."""
    if style.template:
        distinct, places = np.unique(times, return_inverse=True)
        written = style.write(distinct)
        return [written[place] for place in places.tolist()]
    if style.time_zone is None:
        return times
    base = "UTC" if style.in_utc else style.time_zone
    if kind == "pandas":
        import pandas as pd

        localized = pd.DatetimeIndex(times).tz_localize(
            base, ambiguous=np.ones(len(times), dtype=bool), nonexistent="shift_forward"
        )
        return pd.Series(localized.tz_convert(style.time_zone))
    import polars as pl

    stamps = pl.Series(times)
    first = stamps.dt.replace_time_zone(base, ambiguous="earliest", non_existent="null")
    later = stamps.dt.offset_by("1h").dt.replace_time_zone(base, ambiguous="earliest")
    return first.fill_null(later).dt.convert_time_zone(style.time_zone)
