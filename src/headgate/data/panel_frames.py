"""A long frame in, a panel of series out: which column is what, and what it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .columns import (
    column_values,
    covariate_values,
    find_target,
    find_time,
    is_missing,
    is_text,
    known,
    listed,
    may_be_value,
    read_times,
)
from .frames import (
    Series,
    array_values,
    frequency_of,
    frozen,
    increasing,
    levels_as_columns,
    open_frame,
    repeated_stamps,
    show_stamps,
)
from .panel import Indices, Panel
from .stamps import TimeStyle, name_rows, refuse_rows
from .times import Frequency, Times, infer_frequency, unlike

if TYPE_CHECKING:
    import narwhals as nw


class _Roles(NamedTuple):
    """The columns by name, as they were asked for."""

    time: str | None
    target: str | None
    id: str | None
    past: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]

    def pairs(self) -> list[tuple[str, str]]:
        """(role, column) of every column named."""
        single = [(role, getattr(self, role)) for role in ("time", "target", "id")]
        several = [
            (role, name) for role in ("past", "future", "static") for name in getattr(self, role)
        ]
        return [(role, name) for role, name in single + several if name is not None]


def as_panel(
    data: Any,
    *,
    time: str | None = None,
    target: str | None = None,
    id: str | None = None,
    past: str | Sequence[str] = (),
    future: str | Sequence[str] = (),
    static: str | Sequence[str] = (),
    freq: str | int | Frequency | None = None,
) -> Panel:
    """The series of a long frame, or the one of whatever ``as_series`` reads.

    Args:
        data: values alone, a ``Series``, or a pandas, polars or pyarrow frame with one row for
            each series and time; pandas index levels count as columns.
        time, target: column names; found when there is only one choice.
        id: the column that names the series; found where it is called ``unique_id``, or where
            stamps repeat and one column tells them apart.
        past, future, static: covariates known up to now, those known ahead, and categories of
            a whole series; a name or several.
        freq: as for ``as_series``; it is then believed, and series are not compared.

    Missing values become nan; ``complete`` fills them. Rows need not be sorted.

    Raises:
        InputError: as ``as_series`` does; ids that are missing, stamps that stand twice in one
            series, static columns that change in one, series of several frequencies.
    """
    if isinstance(data, Panel):
        return data
    if isinstance(data, Series):
        return _panel_of(data)
    if isinstance(data, (str, Path)):
        raise InputError(f"as_panel needs data, got the path {str(data)!r}; use read_table first")
    frequency = None if freq is None else Frequency.parse(freq)
    roles = _check_roles(time, target, id, past, future, static)
    data = levels_as_columns(data, {"unique_id", *(name for _, name in roles.pairs())})
    frame, kind = open_frame(data)
    if frame is not None:
        return _read_frame(frame, kind, roles, frequency)
    if roles.pairs():
        raise InputError(
            f"{roles.pairs()[0][0]}= names a column, but the data are {type(data).__name__}; "
            "pass a pandas or polars frame, or leave it out"
        )
    frequency = frequency or Frequency("step")
    values = array_values(data, gaps=True)
    return _panel_of(Series(values, freq=frequency, season=frequency.season, kind=kind))


def _panel_of(s: Series) -> Panel:
    bounds = np.array([0, len(s)])
    names = (s.time_name, s.value_name, s.freq, s.season, s.kind, s.style)
    return Panel(s.values, bounds, (), None, s.times, *names)


def _check_roles(time: Any, target: Any, id: Any, past: Any, future: Any, static: Any) -> _Roles:
    def several(role: str, names: Any) -> tuple[str, ...]:
        if names is None or isinstance(names, (str, int)):
            return () if names is None else (str(names),)
        if not isinstance(names, Iterable):
            raise InputError(f"{role} must be a column name or a list of them, got {names!r}")
        return tuple(str(name) for name in names)

    # pandas may name columns by numbers; names are texts here
    time, target, id = (None if name is None else str(name) for name in (time, target, id))
    roles = _Roles(
        time,
        target,
        id,
        several("past", past),
        several("future", future),
        several("static", static),
    )
    seen: dict[str, str] = {}
    for role, name in roles.pairs():
        if name in seen:
            raise InputError(
                f"column {name!r} is named as {seen[name]} and as {role}; name it once"
            )
        seen[name] = role
    return roles


# -- a long frame --------------------------------------------------------------------------


def _read_frame(
    frame: nw.DataFrame[Any], kind: str, roles: _Roles, given: Frequency | None
) -> Panel:
    for role, name in roles.pairs():
        known(frame, role, name)
    if not len(frame):
        raise _too_short(0)
    covariates = {*roles.past, *roles.future, *roles.static}
    id_name = roles.id
    if id_name is None and "unique_id" in set(frame.columns) - {n for _, n in roles.pairs()}:
        id_name = "unique_id"
    rest = frame.select([c for c in frame.columns if c not in covariates and c != id_name])
    time = find_time(rest, roles.time, roles.target)
    times, style = (None, TimeStyle()) if time is None else read_times(frame[time], time)
    if id_name is None and time is not None and times is not None and _repeat(times):
        id_name = _find_id(rest, time, times, roles.target)
        if id_name is None:
            increasing(times, time, style)
        rest = rest.select([c for c in rest.columns if c != id_name])
    taken = [
        (role, name)
        for role, name in roles.pairs()
        if name in covariates and may_be_value(frame[name])
    ]
    target = find_target(rest, time, roles.target, taken)
    codes, ids = np.zeros(len(frame), dtype=np.int64), tuple[str | int, ...]()
    if id_name is not None:
        codes, ids = read_ids(frame[id_name], id_name)
    order = sort_rows(codes, times)
    bounds = np.append(0, np.cumsum(np.bincount(codes))).astype(np.int64)
    panel = Panel(
        frozen(column_values(frame[target], target, gaps=True)[order]),
        bounds,
        ids,
        id_name,
        None if times is None else times[order],
        time or "ds",
        target,
        kind=kind,
        style=style,
        past_names=roles.past,
        past=covariate_values(frame, roles.past, "past")[order],
        future_names=roles.future,
        future=covariate_values(frame, roles.future, "future")[order],
        static_names=roles.static,
        static=_static_values(frame, roles.static, codes, ids),
    )
    if panel.times is not None:
        refuse_repeated(panel, codes[order], panel.times, panel.time_name, order)
    frequency = _common_frequency(panel, given)
    return replace(panel, freq=frequency, season=frequency.season)


def _too_short(rows: int) -> InputError:
    return InputError(
        f"the table has {rows} row{'s' * (rows != 1)}; a series needs at least 2, one for each "
        "time step"
    )


def sort_rows(codes: Indices, times: Times | None) -> Indices:
    """The order that puts series one after another, each by time; stable."""
    if times is None:
        return np.argsort(codes, kind="stable")
    later = (codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (times[1:] > times[:-1]))
    return np.arange(len(codes)) if later.all() else np.lexsort((times, codes))


def _repeat(times: Times, codes: Indices | None = None) -> bool:
    order = sort_rows(np.zeros(len(times), np.int64) if codes is None else codes, times)
    same = times[order][1:] == times[order][:-1]
    if codes is not None:
        same &= codes[order][1:] == codes[order][:-1]
    return bool(same.any())


def refuse_repeated(
    panel: Panel, owner: Indices, times: Times, time_name: str, order: Indices
) -> None:
    """Refuse stamps that stand twice in one series; ``order`` is where sorted rows came from."""
    again = np.flatnonzero((times[1:] == times[:-1]) & (owner[1:] == owner[:-1])) + 1
    if not len(again):
        return
    # A stamp may stand more than twice; it is one double all the same.
    doubles = again[np.append(True, np.diff(again) > 1)]
    places = []
    for row, stamp in zip(doubles[:3], show_stamps(times[doubles[:3]], panel.style), strict=True):
        mask = np.zeros(int(order.max()) + 1, dtype=bool)
        mask[order[(times == times[row]) & (owner == owner[row])]] = True
        of = f" of {panel.name(int(owner[row]))}" if panel.ids else ""
        places.append(f"{stamp}{of} in {name_rows(mask)}")
    raise repeated_stamps(time_name, places, len(doubles), "keep one row for each")


# -- ids and categories --------------------------------------------------------------------


def _find_id(frame: nw.DataFrame[Any], time: str, times: Times, target: str | None) -> str | None:
    """The one column that tells rows of one time apart, None if there is none."""
    others = [c for c in frame.columns if c != time]
    if target is None and time == "ds" and "y" in others:
        target = "y"
    if target is None:
        numbers = [c for c in others if may_be_value(frame[c])]
        target = numbers[0] if len(numbers) == 1 else None
    found = []
    for name in others:
        dtype = frame[name].dtype
        if name == target or not (dtype.is_integer() or is_text(dtype)):
            continue
        if frame[name].null_count() or _is_opaque(frame[name]):
            continue
        codes, items = _distinct(frame[name])
        # Where every row has its own, as row numbers have, they name no series.
        if len(items) < len(frame) and not _repeat(times, codes):
            found.append(name)
    if len(found) > 1:
        raise InputError(
            f"several columns may name the series: {listed(found)}; choose one with --id "
            f"(in Python: id={found[0]!r})"
        )
    return found[0] if found else None


def _distinct(column: nw.Series[Any]) -> tuple[Indices, list[Any]]:
    """The number of each row's item (-1 where missing), and the items as they first appear."""
    native = column.to_native()
    if column.implementation.is_pandas():
        import pandas as pd

        try:
            codes, items = pd.factorize(native)
        except TypeError:  # lists and their like cannot be looked up
            codes, items = pd.factorize(native.astype(str))
        return codes.astype(np.int64), list(items)
    if _is_opaque(column):
        raise InputError(
            f"the column {column.name!r} holds Python objects, expected texts or numbers; cast it, "
            "to pl.String for example"
        )
    import polars as pl

    plain = native if column.dtype.is_numeric() else native.cast(pl.String)
    items = plain.drop_nulls().unique(maintain_order=True)
    numbers = pl.Series(range(len(items)), dtype=pl.Int64)
    found = plain.replace_strict(items, numbers, default=-1, return_dtype=pl.Int64)
    return found.to_numpy(), items.to_list()


def _is_opaque(column: nw.Series[Any]) -> bool:
    """Whether polars holds objects of which it knows nothing."""
    return column.implementation.is_polars() and str(column.dtype) == "Object"


def read_ids(column: nw.Series[Any], name: str) -> tuple[Indices, tuple[str | int, ...]]:
    """The number of each row's series (T,), and the ids in order of first appearance."""
    dtype = column.dtype
    if not (dtype.is_numeric() or is_text(dtype)):
        raise InputError(
            f"the id column {name!r} holds {dtype}, expected texts or integers; choose another "
            "with --id"
        )
    codes, items = _distinct(column)
    # Missing rows have the number -1, which is the last place.
    blank = np.array([*(is_missing(item) or not str(item).strip() for item in items), True])
    if blank[codes].any():
        refuse_rows(blank[codes], f"the id column {name!r} is empty", "fill or drop them")
    if dtype.is_numeric():
        odd = next((item for item in items if not math.isfinite(item) or item != int(item)), None)
        if odd is not None:
            held = "fractions" if math.isfinite(odd) else "infinite values"
            raise InputError(
                f"the id column {name!r} holds {held}, expected texts or integers; choose "
                "another with --id"
            )
        return codes, tuple(int(item) for item in items)
    if all(isinstance(item, (int, np.integer)) and not isinstance(item, bool) for item in items):
        return codes, tuple(int(item) for item in items)  # objects, or a categorical of integers
    texts = [str(item) for item in items]
    places = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    if len(places) < len(texts):  # 1 and '1' in a column of objects
        codes = np.array([places[text] for text in texts])[codes]
    return codes, tuple(places)


def _static_values(
    frame: nw.DataFrame[Any], names: Sequence[str], codes: Indices, ids: Sequence[str | int]
) -> npt.NDArray[Any]:
    """One text for each series and column; (M, C) object."""
    count = int(codes.max()) + 1
    first = np.zeros(count, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    values = np.empty((count, len(names)), dtype=object)
    for at, name in enumerate(names):
        if frame[name].dtype.is_nested():
            raise InputError(
                f"the static column {name!r} holds {frame[name].dtype}, expected texts or numbers; "
                "choose another"
            )
        found, items = _distinct(frame[name])
        texts = [_category(item) for item in items]
        missing = np.array([not text for text in texts] + [True])[found]
        changed = found != found[first][codes]
        for wrong in (missing, changed):
            if not wrong.any():
                continue
            row = int(wrong.argmax())
            of = f"series {ids[codes[row]]!r}" if ids else "the series"
            if wrong is missing:
                refuse_rows(
                    missing & (codes == codes[row]),
                    f"the static column {name!r} is empty for {of}",
                    "fill it with a category such as 'unknown'",
                )
            one, other = texts[found[first[codes[row]]]], texts[found[row]]
            raise InputError(
                f"the static column {name!r} changes within {of}: {one!r}, then {other!r}; "
                "expected one category for each series, so name it under past or future"
            )
        values[:, at] = np.array([*texts, ""], dtype=object)[found[first]]
    return values


def _category(item: Any) -> str:
    if is_missing(item):
        return ""
    if isinstance(item, (bool, np.bool_)):
        return str(item).lower()
    # A column of integers with gaps is one of floats in pandas.
    return str(int(item)) if isinstance(item, float) and item.is_integer() else str(item).strip()


# -- frequency -----------------------------------------------------------------------------


def _common_frequency(panel: Panel, given: Frequency | None) -> Frequency:
    """What was given, or the frequency of the longest series once the others agree with it."""
    times, lengths, bounds = panel.times, panel.lengths, panel.bounds
    longest = int(lengths.argmax())
    if lengths[longest] < 2 and given is None:
        if len(panel) == 1:
            raise _too_short(1)
        if times is not None:
            raise InputError(
                f"each of the {len(panel)} series has one row, which does not tell how far apart "
                "stamps stand; pass freq=, or check the id column "
                f"{panel.id_name!r}"
            )
    if times is None:
        return given or Frequency("step")
    own = times[bounds[longest] : bounds[longest + 1]]
    frequency = frequency_of(own, panel.time_name, panel.style, given)
    if given is not None or len(panel) == 1:
        return frequency
    other = np.flatnonzero(unlike(times, bounds, frequency))
    if len(other):
        k = int(other[0])
        found = str(infer_frequency(times[bounds[k] : bounds[k + 1]]))
        # Only days off that are days on elsewhere may bring the same name again.
        found = "D" if found == str(frequency) else found
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        raise InputError(
            f"mixed frequencies: {panel.name(k)} comes every {found}, {panel.name(longest)} every "
            f"{frequency}{more}; pass the series of one frequency at a time, or freq= where rows "
            "are only missing"
        )
    return frequency
