"""The columns of a frame: which is the time, which the target, and what they hold.

Columns are narwhals Series, so that pandas and polars are read by the same lines.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .stamps import (
    TimeStyle,
    is_time_name,
    looks_like_dates,
    plausible_dates,
    read_integers,
    read_texts,
    refuse_rows,
)
from .times import Times

if TYPE_CHECKING:
    import narwhals as nw

_MISSING = ("", "NA", "N/A", "NAN", "NULL", "NONE", "#N/A", "-")  # as people write "no value"


def known(frame: nw.DataFrame[Any], option: str, name: str) -> str:
    if name in frame.columns:
        return name
    near = difflib.get_close_matches(name, frame.columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"{option} column {name!r} is not in the table; its columns are "
        f"{listed(frame.columns)}{hint}"
    )


def find_time(frame: nw.DataFrame[Any], time: str | None, target: str | None) -> str | None:
    if time is not None:
        return known(frame, "time", time)
    if {"ds", "y"} <= set(frame.columns) and target != "ds":
        return "ds"
    candidates = [c for c in frame.columns if c != target and may_be_time(frame[c], c)]
    if len(candidates) > 1:
        raise InputError(
            f"several columns may be the time: {listed(candidates)}; choose one "
            f"with --time (in Python: time={candidates[0]!r})"
        )
    return candidates[0] if candidates else None


def may_be_time(column: nw.Series[Any], name: str) -> bool:
    dtype = column.dtype
    if dtype.is_temporal():
        return True
    if dtype.is_integer():
        return is_time_name(name) or (
            column.null_count() == 0 and _fits_int64(column) and plausible_dates(column.to_numpy())
        )
    if dtype.is_float():
        values = column.to_numpy()
        return is_time_name(name) and bool(np.all(values == np.floor(values)))
    if is_text(dtype):
        texts = [text for text in texts_of(column.head(1000)) if text is not None]
        return looks_like_dates(texts, name)
    return False


def _fits_int64(column: nw.Series[Any]) -> bool:
    """NumPy has no integers of 128 bits, and reads times as int64."""
    return bool(len(column) and abs(column.max()) < 1 << 63 and abs(column.min()) < 1 << 63)


def find_target(
    frame: nw.DataFrame[Any],
    time: str | None,
    target: str | None,
    taken: Sequence[tuple[str, str]] = (),
) -> str:
    """The column to forecast; ``taken`` are (role, name) of columns that it cannot be."""
    if target is not None:
        target = known(frame, "target", target)
        if target == time:
            raise InputError(f"{target!r} is named as time and as target; name two columns")
        return target
    others = [c for c in frame.columns if c != time]
    if time == "ds" and "y" in others:
        return "y"
    candidates = [c for c in others if may_be_value(frame[c])]
    if not candidates and len(others) == 1:
        candidates = others  # one column of text: its rows are named when it is read
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InputError(
            f"several columns may be the target: {listed(candidates)}; choose one "
            f"with --target (in Python: target={candidates[-1]!r})"
        )
    beside = f" beside the time {time!r}" if time else ""
    if taken:
        role, name = taken[-1]
        raise InputError(
            f"no column of numbers is left to forecast{beside}, as {name!r} is named under {role}; "
            "expected a target besides, so name only covariates there"
        )
    raise InputError(
        f"no column of numbers was found{beside}; the table's columns are "
        f"{listed(frame.columns)}; name the one to forecast with --target"
    )


def listed(names: list[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(map(repr, names[:12])) + more


def is_text(dtype: Any) -> bool:
    return str(dtype).split("(")[0] in ("String", "Object", "Categorical", "Enum")


def may_be_value(column: nw.Series[Any]) -> bool:
    if column.dtype.is_numeric():
        return True
    if not is_text(column.dtype):
        return False
    _, wrong = _numbers_in(texts_of(column.head(1000)))
    return bool(wrong.mean() < 0.5)


def texts_of(column: nw.Series[Any]) -> list[Any]:
    """Rows as texts, None where they are missing (pandas has several ways to say so)."""
    return [None if is_missing(item) else str(item) for item in column.to_list()]


def is_missing(item: Any) -> bool:
    """None, nan, NaT or pandas' NA."""
    try:
        return item is None or bool(item != item)
    except (TypeError, ValueError, ArithmeticError):  # NA, arrays, decimals' signalling nan
        return type(item).__name__ == "NAType"


def _numbers_in(texts: list[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values (nan where missing), and where neither a number nor a missing value stands."""
    import polars as pl

    column = pl.Series(texts, dtype=pl.String).str.strip_chars()
    missing = (column.is_null() | column.str.to_uppercase().is_in(_MISSING)).fill_null(True)
    numbers = column.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & ~missing
    values = np.array(numbers.fill_null(float("nan")).to_numpy(), dtype=np.float64)
    return values, wrong.to_numpy()


def column_values(
    column: nw.Series[Any], name: str, *, option: str = "target", gaps: bool = False, of: str = ""
) -> npt.NDArray[np.float64]:
    """The numbers of a column; with ``gaps`` nan where a value is missing, else none may be."""
    import narwhals as nw

    what = f"the value column {name!r}{of}"
    if is_text(column.dtype):
        texts = texts_of(column)
        values, wrong = _numbers_in(texts)
        if wrong.any():
            refuse_rows(
                wrong,
                f"{what} holds text, such as {texts[int(wrong.argmax())]!r},",
                "write plain numbers such as 1234.5 (no unit, no thousands separator), or leave "
                "the cell empty",
            )
    elif gaps and column.null_count() == len(column):
        values = np.full(len(column), np.nan)  # polars gives such a column a type of its own
    elif column.dtype.is_numeric():
        values = np.array(column.cast(nw.Float64).to_numpy(), dtype=np.float64)
    else:
        raise InputError(
            f"{what} holds {column.dtype}, expected numbers; "
            + ("write numbers there" if of else f"choose another with --{option}")
        )
    check_values(values, what, "row", gaps=gaps)
    return values


def covariate_values(
    frame: nw.DataFrame[Any], names: Sequence[str], role: str, of: str = ""
) -> npt.NDArray[np.float64]:
    """The columns side by side, nan where missing; (T, len(names)) float64."""
    import narwhals as nw

    values = np.zeros((len(frame), len(names)))
    for k, name in enumerate(names):
        column = frame[name]
        if str(column.dtype) == "Boolean":
            column = column.cast(nw.Float64)
        values[:, k] = column_values(column, name, option=role, gaps=True, of=of)
    return values


def check_values(
    values: npt.NDArray[np.float64], what: str, place: str, *, gaps: bool = False
) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        refuse_rows(infinite, f"{what} is infinite", "replace these values by numbers", place)
    missing = np.isnan(values)
    if missing.any() and not gaps:
        _refuse_missing(missing, what, place)


def _refuse_missing(missing: npt.NDArray[np.bool_], what: str, place: str) -> None:
    """A single series has no missing value; those of a panel are filled by ``complete``."""
    count = int(missing.sum())
    refuse_rows(
        missing,
        f"{what} has {count} missing value{'s' * (count > 1)}",
        "fill them first: .interpolate() of a pandas or polars column draws straight lines",
        place,
    )


def read_times(
    column: nw.Series[Any], name: str, like: TimeStyle | None = None
) -> tuple[Times, TimeStyle]:
    """(T,) datetime64[us] (wall clock, or UTC below a day) or int64, in the rows' order.

    ``like`` is how the stamps of an earlier table were written, which settles what these rows
    alone may leave open: whether days come before months, which zone the clock shows.
    """
    dtype: Any = column.dtype
    if not is_text(dtype) and (empty := column.is_null().to_numpy()).any():
        refuse_rows(empty, f"the time column {name!r} is empty", "fill or drop them")
    if dtype.is_integer():
        if not _fits_int64(column):
            raise InputError(f"the time column {name!r} holds integers past 64 bits; divide them")
        return read_integers(column.to_numpy().astype(np.int64), name)
    if dtype.is_float():
        values = column.to_numpy()
        whole = values == np.floor(values)
        if not whole.all():
            refuse_rows(
                ~whole,
                f"the time column {name!r} holds fractions",
                "use dates or whole numbers (milliseconds, say), or leave the column out",
            )
        return read_integers(values.astype(np.int64), name)
    if is_text(dtype):
        first = next((item for item in column.to_list() if item is not None), None)
        texts = texts_of(column)
        times, style = read_texts(texts, name, like)
        return times, TimeStyle() if isinstance(first, datetime.date) else style
    if str(dtype).startswith("Datetime"):
        return _native_datetimes(column, dtype, name, like)
    if str(dtype) == "Date":
        return column.to_numpy().astype("datetime64[us]"), TimeStyle(dtype=dtype)
    raise InputError(
        f"the time column {name!r} holds {dtype}, expected dates, texts of dates or integers; "
        "choose another with --time"
    )


def _native_datetimes(
    column: nw.Series[Any], dtype: Any, name: str, like: TimeStyle | None
) -> tuple[Times, TimeStyle]:
    zone = dtype.time_zone
    if like is not None and like.in_utc and not zone:
        raise InputError(
            f"the time column {name!r} has no time zone, but the data fitted had "
            f"{like.time_zone}; localize it to that zone"
        )
    if zone and like is not None and like.time_zone:
        zone = like.time_zone
        column = column.dt.convert_time_zone(zone)
    wall = column.dt.replace_time_zone(None).to_numpy() if zone else column.to_numpy()
    times = wall.astype("datetime64[us]")
    if (times.astype(wall.dtype) != wall).any():
        raise InputError(
            f"the time column {name!r} holds nanoseconds, stamps are kept to the microsecond; "
            "round them, or use an integer time"
        )
    if zone:
        clock = times - times.astype("datetime64[D]")
        if (clock != clock[0]).any() if like is None else like.in_utc:
            # Steps below a day run in UTC, where clocks are not changed twice a year.
            utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            times = utc.to_numpy().astype("datetime64[us]")
            return times, TimeStyle(dtype=dtype, time_zone=zone, in_utc=True)
    return times, TimeStyle(dtype=dtype, time_zone=zone)
