"""Reading time stamps from what people write, and writing more of them the same way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .times import Times

if TYPE_CHECKING:
    import polars as pl

YEARS: Final = (1500, 2200)  # integers in this range may be years; others are counts

# Names under which integers are taken for time without being asked.
_TIME_NAME = re.compile(
    r"^t$|(^|_|\b)(ds|date|datetime|time|timestamp|day|week|month|quarter|year|yr|period|dt)s?($|_|\b)"
    r"|日期|时间|時間|年|月|季|周|日$|期$",
    re.IGNORECASE,
)
_CLOCK = (
    r"(?:[T\s]*(?P<hour>\d{1,2})[:时点時](?P<minute>\d{1,2})?"
    r"(?:[:分](?P<second>\d{1,2})?(?:[.,](?P<fraction>\d{1,9}))?)?[分秒]?"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?)?\s*$"
)
# One pattern reads a whole column; the one that fits the most rows is taken. The same
# expressions run in Rust (polars, the column) and in Python (the first row, for the style).
_WRITTEN: Final = {
    "iso": r"^\s*(?P<year>\d{4})(?:[-/.年](?P<month>\d{1,2})(?:[-/.月](?P<day>\d{1,2})日?|月)?)"
    + _CLOCK,
    "day first": r"^\s*(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})" + _CLOCK,
    "quarter": r"^\s*(?P<year>\d{4})[-\s年]?(?:[Qq]|第)?(?P<quarter>[1-4])(?:季度?)?\s*$",
    "compact": r"^\s*(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})\s*$",
    "compact month": r"^\s*(?P<year>\d{4})(?P<month>\d{2})\s*$",
    "year": r"^\s*(?P<year>\d{4})年?\s*$",
}
# \d would take digits of every script.
_PATTERNS: Final = {kind: text.replace(r"\d", "[0-9]") for kind, text in _WRITTEN.items()}
_PLAIN_DIGITS: Final = ("compact month", "year")  # need a name or a request to be times
_PARTS: Final = ("year", "quarter", "month", "day", "hour", "minute", "second")


@dataclass(frozen=True)
class TimeStyle:
    """How the stamps of a column are written.

    Attributes:
        template: for text and integers such as 20240105, a ``str.format`` template of the
            parts (year, month, ...); empty for native dates and for plain integers.
        integer: the text of the template is to be an integer again.
        dtype: narwhals type of a native date or datetime column, else None.
        time_zone: of a native column, None without one.
        in_utc: stamps with a zone are kept in UTC (steps below a day), else as wall clock.
    """

    template: str = ""
    integer: bool = False
    dtype: Any = None
    time_zone: str | None = None
    in_utc: bool = False

    def write(self, times: Times) -> list[Any]:
        """Stamps as text or integers in this style."""
        rows = []
        if len(times) and times.max() >= np.datetime64("10000-01-01"):
            raise InputError(
                f"a stamp falls on {times.max().astype('M8[D]')}, after the year 9999, and cannot "
                "be written as the others are; look for placeholder dates in the time column"
            )
        for stamp in times.astype("datetime64[us]").tolist():
            parts = {name: getattr(stamp, name) for name in _PARTS if name != "quarter"}
            text = self.template.format(
                quarter=(stamp.month + 2) // 3, fraction=f"{stamp.microsecond:06d}", **parts
            )
            rows.append(int(text) if self.integer else text)
        return rows


def is_time_name(name: str) -> bool:
    """Whether a column of integers under this name is likely to be its time."""
    return _TIME_NAME.search(name) is not None


def looks_like_dates(texts: Sequence[str], name: str) -> bool:
    """Whether most of the first hundred texts read as dates."""
    sample = [text for text in texts[:100] if text and text.strip()]
    for kind, pattern in _PATTERNS.items():
        if kind in _PLAIN_DIGITS and not is_time_name(name):
            continue
        if sum(re.match(pattern, text) is not None for text in sample) > 0.5 * len(sample):
            return True
    return False


def read_texts(
    texts: Sequence[str | None], name: str, like: TimeStyle | None = None
) -> tuple[Times, TimeStyle]:
    """Parse a column of date texts: (T,) datetime64[us] and how they were written.

    ``like`` is how an earlier table wrote them: it settles the order of day and month, and the
    zone whose clock is meant.

    Raises:
        InputError: rows that are empty or no dates (named), or a day and month that could
            be either way round.
    """
    import polars as pl

    column = pl.Series(texts, dtype=pl.String)
    blank = (column.is_null() | (column.str.strip_chars() == "")).fill_null(True).to_numpy()
    if blank.any():
        refuse_rows(blank, f"the time column {name!r} is empty", "fill or drop them")
    sample = [str(text) for text in column.head(1000)]
    kind = max(_PATTERNS, key=lambda k: sum(re.match(_PATTERNS[k], t) is not None for t in sample))
    found = column.str.extract_groups(_PATTERNS[kind]).struct.unnest()
    month_first = kind == "day first" and _month_first(found, name, sample[0], like)
    if month_first:
        found = found.rename({"day": "month", "month": "day"})
    times, valid = _assemble(found)
    if not valid.all():
        bad = int(np.argmin(valid))
        refuse_rows(
            ~valid,
            f"the time column {name!r} holds {column[bad]!r}, which is not a date",
            "write dates as 2024-01-05, 2024/1/5, 2024年1月5日 or 20240105",
        )
    offsets, zone = _offsets(found, like)
    return times - offsets, TimeStyle(template=_template(kind, sample[0], found, zone, month_first))


def read_integers(values: npt.NDArray[np.int64], name: str) -> tuple[Times, TimeStyle]:
    """20240105 and 202401 as dates when every value is one, other integers as they are."""
    if len(values) and values.min() >= YEARS[0] * 100:
        texts = [str(v) for v in values.tolist()]
        for kind in ("compact", "compact month"):
            if plausible_dates(values, kind):
                times, style = read_texts(texts, name)
                return times, TimeStyle(template=style.template, integer=True)
    return values.astype(np.int64), TimeStyle()


def plausible_dates(values: npt.NDArray[Any], kind: str = "compact") -> bool:
    """Whether all integers are calendar days yyyymmdd (or months yyyymm)."""
    if not len(values) or values.min() < 0:
        return False
    days = values % 100 if kind == "compact" else np.ones_like(values)
    months = values // 100 if kind == "compact" else values
    years, month = months // 100, months % 100
    if years.min() < YEARS[0] or years.max() > YEARS[1]:
        return False
    return bool(_valid_day(years, month, days).all())


def refuse_rows(mask: npt.NDArray[np.bool_], what: str, advice: str, place: str = "row") -> None:
    """Raise InputError that names the first rows where ``mask`` is true, counted from 1."""
    raise InputError(f"{what} in {name_rows(mask, place)}; {advice}")


def name_rows(mask: npt.NDArray[np.bool_], place: str = "row") -> str:
    """``rows 3, 7 and 12 more``: data rows counted from 1, array positions from 0."""
    first = 1 if place == "row" else 0
    rows = np.flatnonzero(mask) + first
    several = {"row": "rows", "index": "indices"}[place]
    text = f"{place if len(rows) == 1 else several} {', '.join(map(str, rows[:5]))}"
    return text + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")


# -- parts to stamps -----------------------------------------------------------------------


def _numbers(found: pl.DataFrame, part: str, default: int) -> npt.NDArray[np.int64]:
    import polars as pl

    if part not in found.columns:
        return np.full(len(found), default, dtype=np.int64)
    return np.asarray(found[part].cast(pl.Int64).fill_null(default).to_numpy())


def _valid_day(years: Any, months: Any, days: Any) -> npt.NDArray[np.bool_]:
    sane = (months >= 1) & (months <= 12)
    first = ((years - 1970) * 12 + np.where(sane, months, 1) - 1).astype("datetime64[M]")
    length = ((first + 1).astype("M8[D]") - first.astype("M8[D]")).astype(np.int64)
    return np.asarray(sane & (days >= 1) & (days <= length))


def _assemble(found: pl.DataFrame) -> tuple[Times, npt.NDArray[np.bool_]]:
    year = _numbers(found, "year", 0)
    month = _numbers(found, "month", 1)
    if "quarter" in found.columns:
        month = 3 * _numbers(found, "quarter", 1) - 2
    day = _numbers(found, "day", 1)
    hour, minute = _numbers(found, "hour", 0), _numbers(found, "minute", 0)
    second = _numbers(found, "second", 0)
    valid = found["year"].is_not_null().to_numpy() & (year >= 1) & _valid_day(year, month, day)
    valid &= (hour < 24) & (minute < 60) & (second < 60)
    months = ((np.where(valid, year, 1970) - 1970) * 12 + np.where(valid, month, 1) - 1).astype(
        "datetime64[M]"
    )
    micro = ((hour * 60 + minute) * 60 + second) * 1_000_000
    if "fraction" in found.columns:
        micro += _numbers_of_fraction(found)
    days = months.astype("datetime64[D]") + (day - 1)
    return days.astype("datetime64[us]") + micro.astype("timedelta64[us]"), valid


def _numbers_of_fraction(found: pl.DataFrame) -> npt.NDArray[np.int64]:
    import polars as pl

    digits = found["fraction"].fill_null("0").str.pad_end(6, "0").str.slice(0, 6)
    return np.asarray(digits.cast(pl.Int64).to_numpy())


def _month_first(found: pl.DataFrame, name: str, example: str, like: TimeStyle | None) -> bool:
    """05/01/2024 is read only where some day is above 12, which shows the order."""
    first, second = _numbers(found, "day", 1), _numbers(found, "month", 1)
    if (first > 12).any() and (second <= 12).all():
        return False
    if (second > 12).any() and (first <= 12).all():
        return True
    order = re.findall(r"{(\w+)", like.template)[:2] if like is not None else []
    if order in (["day", "month"], ["month", "day"]):
        return order == ["month", "day"]
    raise InputError(
        f"the time column {name!r} holds {example.strip()!r}, where day and month could be either "
        "way round; write dates as 2024-01-05"
    )


def _offsets(found: pl.DataFrame, like: TimeStyle | None) -> tuple[npt.NDArray[Any], str | None]:
    """Time to take off each row, and the zone to write; one zone throughout is left alone."""
    home = re.search(r"(Z|[+-][0-9]{2}:?[0-9]{2})$", like.template) if like is not None else None
    zero = np.zeros(len(found), dtype="timedelta64[us]")
    if "zone" not in found.columns or found["zone"].null_count() == len(found):
        return zero, None
    zones = found["zone"].fill_null("Z").to_list()
    if len(set(zones)) == 1 and home is None:
        return zero, zones[0]
    minutes = {z: _minutes(z) - (_minutes(home[1]) if home else 0) for z in set(zones)}
    offsets = np.array([minutes[z] for z in zones], dtype="timedelta64[m]").astype("m8[us]")
    return offsets, home[1] if home else "+00:00"


def _minutes(zone: str) -> int:
    """East of Greenwich: ``+08:00`` is 480, ``Z`` 0."""
    return 0 if zone == "Z" else int(zone[:3]) * 60 + int(zone[0] + zone[-2:])


def _template(
    kind: str, example: str, found: pl.DataFrame, zone: str | None, month_first: bool
) -> str:
    """A format template from the first row; parts written without zeros stay so."""
    pattern = _PATTERNS[kind]
    match = re.match(pattern, example)
    assert match is not None  # every row has been parsed by this pattern
    swapped = {"day": "month", "month": "day"} if month_first else {}
    pieces, at = [], 0
    for part, text in sorted(match.groupdict().items(), key=lambda item: match.start(item[0])):
        if text is None:
            continue
        pieces.append(example[at : match.start(part)])
        at = match.end(part)
        chinese = example[at : at + 1] in tuple("月日时時点分秒")
        pieces.append(_field(swapped.get(part, part), found, len(text), zone, chinese))
    pieces.append(example[at:])
    return "".join(pieces).strip()


def _field(part: str, found: pl.DataFrame, width: int, zone: str | None, chinese: bool) -> str:
    if part == "zone":
        return zone or ""
    if part == "fraction":
        return f"{{fraction:.{min(width, 6)}}}"
    if part == "year":
        return "{year:04d}"
    digits = found[part].drop_nulls()
    shortest = digits.str.len_chars().min()
    # Where all have two digits of their own (10, 11, 12), the signs around them tell.
    natural = chinese and not digits.str.starts_with("0").any()
    return f"{{{part}}}" if shortest == 1 or natural else f"{{{part}:02d}}"
