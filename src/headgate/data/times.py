"""Time stamps: how often they come, how they are written, and which come next.

Inside headgate a time is ``datetime64[us]`` without a zone, or an int64. How the stamps were
written in the data stands in a :class:`TimeStyle`, so that forecasts go out as data came in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Times = npt.NDArray[Any]  # (T,) datetime64[us] or int64

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
# Microseconds of the units whose step never varies, longest first.
_FIXED: Final = {
    "W": 7 * _DAY,
    "D": _DAY,
    "H": 3600 * _SECOND,
    "T": 60 * _SECOND,
    "S": _SECOND,
    "L": 1000,
    "U": 1,
}
_MONTHS: Final = {"Y": 12, "Q": 3, "M": 1}
MONTH_UNITS: Final = tuple(_MONTHS)
_SEASONS: Final = {"Q": 4, "M": 12, "W": 52, "D": 7, "B": 5, "H": 24, "T": 1440, "S": 3600}
_WORDS: Final = {
    "Y": "Y A YE YS AE AS YEAR YEARS YEARLY ANNUAL BYE BYS",
    "Q": "Q QE QS BQE BQS BQ QUARTER QUARTERS QUARTERLY",
    "M": "M MO ME MS BM BME BMS MONTH MONTHS MONTHLY",
    "W": "W WEEK WEEKS WEEKLY",
    "D": "D DAY DAYS DAILY",
    "B": "B C BUSINESS",
    "H": "H HR HOUR HOURS HOURLY",
    "T": "T MIN MINUTE MINUTES MINUTELY",
    "S": "S SEC SECOND SECONDS SECONDLY",
}
_UNITS: Final = {word: unit for unit, words in _WORDS.items() for word in words.split()}
_SPELLING: Final = {"H": "h", "T": "min", "S": "s", "L": "ms", "U": "us"}
MONTH_END: Final = 31


@dataclass(frozen=True)
class Frequency:
    """How far apart the stamps of a series stand.

    Attributes:
        unit: Y, Q, M, W, D, B (days of the week that are ever seen), H, T (minutes), S,
            L (milliseconds), U (microseconds), or "step" for integer time.
        multiple: units from one stamp to the next, at least 1.
        day: for Y, Q, M the day of the month, 31 for its end; 0 where it does not matter.
        weekdays: for B, Monday first, "1" for a day on which stamps fall
            (empty: Monday to Friday).
    """

    unit: str
    multiple: int = 1
    day: int = 0
    weekdays: str = ""

    def __str__(self) -> str:
        if self.unit == "step":
            return str(self.multiple)
        spelling = _SPELLING.get(self.unit, self.unit)
        return spelling if self.multiple == 1 else f"{self.multiple}{spelling}"

    @property
    def season(self) -> int:
        """Usual number of steps in a season; 1 where there is none that divides evenly."""
        steps = self.weekdays.count("1") or _SEASONS.get(self.unit, 1)
        return steps // self.multiple if steps % self.multiple == 0 else 1

    @classmethod
    def parse(cls, text: str | int | Frequency) -> Frequency:
        """From ``"M"``, ``"ME"``, ``"30min"``, ``"2h"``, ``"W-SUN"``, ``"daily"`` or an integer.

        Old and new pandas spellings, polars' ``1mo`` and plain words are understood. Whether
        stamps stand at the start or the end of a month is read from the stamps themselves.
        """
        if isinstance(text, Frequency):
            return text
        match = re.fullmatch(r"\s*(\d*)\s*([A-Za-z]*)(-[A-Za-z]{3})?\s*", str(text))
        number, word = (match[1], match[2]) if match else ("", "")
        unit = {"ms": "L", "us": "U"}.get(word) or _UNITS.get(word.upper())
        if word == "m":
            raise InputError(f"freq {text!r} can be read two ways; write M (months) or min")
        if isinstance(text, bool) or not (number or unit) or (word and not unit):
            raise InputError(
                f"freq {text!r} is not known; expected Y, Q, M, W, D, B, h, min, s, a multiple "
                "such as 30min, or an integer step"
            )
        multiple = int(number or 1)
        if not 1 <= multiple <= 1_000_000:
            raise InputError(f"freq {text!r} must step by 1 to 1000000 units")
        return cls._simplest(unit or "step", multiple)

    @classmethod
    def _simplest(cls, unit: str, multiple: int) -> Frequency:
        """60 minutes are an hour, 3 months a quarter."""
        if unit in _MONTHS:
            return cls._of_months(multiple * _MONTHS[unit])
        if unit in _FIXED:
            return cls._of_microseconds(multiple * _FIXED[unit])
        return cls(unit, multiple)

    @classmethod
    def _of_months(cls, months: int, day: int = 0) -> Frequency:
        unit = next(u for u, size in _MONTHS.items() if months % size == 0)
        return cls(unit, months // _MONTHS[unit], day=day)

    @classmethod
    def _of_microseconds(cls, step: int) -> Frequency:
        unit = next(u for u, size in _FIXED.items() if step % size == 0)
        return cls(unit, step // _FIXED[unit])


def infer_frequency(times: Times) -> Frequency:
    """The frequency of sorted, distinct stamps (T >= 2); gaps do not change it.

    Months, quarters and years are told by the day of the month, weekdays by the days that
    never occur; otherwise the most common step counts, or the median when no step is common.
    """
    if np.issubdtype(times.dtype, np.integer):
        return Frequency("step", _usual_step(np.diff(times)))
    steps = np.diff(times).astype(np.int64)
    months, day = month_and_day(times)
    consistent = _month_day(months, day)
    gaps = np.diff(months)
    if int(np.median(steps)) >= 27 * _DAY and gaps.min() >= 1:
        _, counts = np.unique(steps, return_counts=True)
        if consistent or counts.max() < 0.6 * len(steps):
            # "Last trading day" stamps wander by a few days; they still come monthly.
            return Frequency._of_months(_usual_step(gaps), consistent or _anchor_day(months, day))
    frequency = Frequency._of_microseconds(_usual_step(steps))
    return _business_days(times) if (frequency.unit, frequency.multiple) == ("D", 1) else frequency


def anchored(frequency: Frequency, times: Times) -> Frequency:
    """``frequency`` as given by hand, with month day or weekdays as the stamps have them."""
    integer_time = np.issubdtype(times.dtype, np.integer)
    if integer_time:
        if frequency.unit not in ("step", "Y"):
            raise InputError(
                f"freq {str(frequency)!r} needs dates, but the time column holds plain integers; "
                "pass an integer step such as freq=1, or write the times as dates"
            )
        return frequency
    if frequency.unit == "step":
        raise InputError(
            f"freq {str(frequency)!r} is an integer step, but the time column holds dates; "
            "pass a unit such as D, M or h"
        )
    if frequency.unit in _MONTHS:
        return replace(frequency, day=_anchor_day(*month_and_day(times)))
    if frequency.unit == "B":
        return replace(frequency, weekdays=_business_days(times).weekdays)
    return frequency


def next_times(last: Any, frequency: Frequency, horizon: int) -> Times:
    """The ``horizon`` stamps after ``last``, a datetime64 or an integer; shape (horizon,).

    An array ``last`` of any shape gives the stamps after each: (..., horizon).
    """
    count = np.arange(1, horizon + 1, dtype=np.int64) * frequency.multiple
    last = np.asarray(last)[..., None]
    if np.issubdtype(last.dtype, np.integer):
        return np.asarray(last.astype(np.int64) + count)
    last = last.astype("datetime64[us]")
    midnight = last.astype("datetime64[D]")
    clock = last - midnight
    if frequency.unit in _MONTHS:
        months = last.astype("datetime64[M]") + count * _MONTHS[frequency.unit]
        wanted = frequency.day or month_and_day(last)[1]
        days = np.minimum(wanted, days_in(months.astype(np.int64)))
        return np.asarray((months.astype("datetime64[D]") + (days - 1)).astype("M8[us]") + clock)
    if frequency.unit == "B":
        # "backward": from a last stamp on a day off, the first next stamp is the next day on.
        days_on = np.busday_offset(
            midnight, count, roll="backward", weekmask=frequency.weekdays or "1111100"
        )
        return np.asarray(days_on.astype("M8[us]") + clock)
    return np.asarray(last + (count * _FIXED[frequency.unit]).astype("timedelta64[us]"))


def anchor_days(times: Times, bounds: npt.NDArray[np.int64], wanted: int) -> npt.NDArray[Any]:
    """The day of the month on which each series of a panel stands (31 for its end); (M,) int64.

    ``wanted`` where all stamps of a series fit it, or fit no day at all (the last trading day),
    and where there is only one, which may do either.
    """
    months, days = month_and_day(times)
    length = days_in(months)
    starts = bounds[:-1]
    fits = np.logical_and.reduceat(days == np.minimum(wanted, length), starts)
    own = np.maximum.reduceat(days, starts)
    own[np.logical_and.reduceat(days == length, starts)] = MONTH_END
    whole = np.repeat(own, np.diff(bounds))
    own_fits = np.logical_and.reduceat(days == np.minimum(whole, length), starts)
    return np.where(~fits & own_fits & (np.diff(bounds) > 1), own, wanted)


def unlike(times: Times, bounds: npt.NDArray[np.int64], frequency: Frequency) -> npt.NDArray[Any]:
    """Which series of a panel come at another frequency; (M,) bool. Gaps are none, short ones pass.

    A series that comes more often has a smaller median step; one that comes less often never
    has as small a step as the others, and mostly one of its own.
    """
    counts = np.diff(bounds) - 1  # steps in each series
    owner = np.repeat(np.arange(len(counts)), counts + 1)
    if np.issubdtype(times.dtype, np.integer):
        stamps, usual = times, frequency.multiple
    elif frequency.unit in _MONTHS:
        stamps, usual = month_and_day(times)[0], _MONTHS[frequency.unit] * frequency.multiple
    else:
        size = _DAY if frequency.unit == "B" else _FIXED[frequency.unit]
        stamps, usual = times.astype(np.int64), size * frequency.multiple
    inside = owner[1:] == owner[:-1]
    steps = np.diff(stamps)[inside]
    steps = np.append(steps[np.lexsort((steps, owner[1:][inside]))], usual)
    first = np.append(0, np.cumsum(counts))[:-1]
    low, middle = steps[first], steps[first + counts // 2]
    # A quarter either way is jitter; one step alone may be a gap.
    more_often = (counts > 0) & (steps[first + np.maximum(counts - 1, 0) // 2] < 0.75 * usual)
    less_often = (counts > 1) & (low > 1.25 * usual) & (middle <= 1.25 * low)
    other = np.asarray(more_often | less_often)
    if frequency.unit == "B":
        on = np.array([day == "1" for day in frequency.weekdays or "1111100"])
        off = ~on[(times.astype("datetime64[D]").astype(np.int64) + 3) % 7]
        offs = np.add.reduceat(off.astype(np.int64), bounds[:-1])
        other |= (offs > 1) & (offs > 0.1 * (counts + 1))
    return other


def steps_between(first: Any, last: Any, frequency: Frequency) -> int:
    """How many steps of ``frequency`` ``last`` stands after ``first``, to the nearest one."""
    if np.issubdtype(np.asarray(first).dtype, np.integer):
        return round((int(last) - int(first)) / frequency.multiple)
    if frequency.unit in _MONTHS:
        months = np.array([first, last]).astype("datetime64[M]").astype(np.int64)
        return round(int(months[1] - months[0]) / (_MONTHS[frequency.unit] * frequency.multiple))
    if frequency.unit == "B":
        days = np.array([first, last]).astype("datetime64[D]")
        mask = frequency.weekdays or "1111100"
        return round(int(np.busday_count(days[0], days[1], weekmask=mask)) / frequency.multiple)
    size = _FIXED[frequency.unit] * frequency.multiple
    return round(int((last - first).astype("timedelta64[us]").astype(np.int64)) / size)


def _usual_step(steps: npt.NDArray[Any]) -> int:
    values, counts = np.unique(steps.astype(np.int64), return_counts=True)
    best = int(np.argmax(counts))  # the smallest of equally common steps
    if 2 * counts[best] >= len(steps):
        return int(values[best])
    return max(1, int(np.median(steps.astype(np.int64))))


def month_and_day(times: Times) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Months since 1970 and the day of the month from 1."""
    months = times.astype("datetime64[M]")
    days = (times.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64) + 1
    return months.astype(np.int64), days


def days_in(months: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    first = months.astype("datetime64[M]")
    following = (first + 1).astype("datetime64[D]")
    return np.asarray((following - first.astype("datetime64[D]")).astype(np.int64))


def _month_day(months: npt.NDArray[np.int64], days: npt.NDArray[np.int64]) -> int:
    """The day on which all stamps stand (31 for the end of the month), 0 if there is none."""
    length = days_in(months)
    if np.all(days == length):
        return MONTH_END
    wanted = int(days.max())
    return wanted if np.all(days == np.minimum(wanted, length)) else 0


def _anchor_day(months: npt.NDArray[np.int64], days: npt.NDArray[np.int64]) -> int:
    near_end = np.mean(days_in(months) - days < 4) > 0.5 and np.median(days) > 20
    usual = MONTH_END if near_end else int(np.bincount(days).argmax())
    return _month_day(months, days) or usual


def _business_days(times: Times) -> Frequency:
    """B with the weekdays that occur, or D when all do or too few stamps came to tell."""
    days = times.astype("datetime64[D]").astype(np.int64)
    counts = np.bincount((days + 3) % 7, minlength=7)  # 1970-01-01 was a Thursday
    seen = counts >= max(1, 0.02 * len(days))
    if seen.all() or days[-1] - days[0] < 14:
        return Frequency("D")
    return Frequency("B", weekdays="".join("1" if day else "0" for day in seen))
