"""Many series of one frequency in one object, and how their gaps are filled.

``panel_frames`` reads panels from long frames, ``panel_future`` writes what comes after them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_choice
from ..errors import InputError
from .frames import Series, frozen, show_stamps
from .stamps import TimeStyle
from .times import MONTH_UNITS, Frequency, Times, anchor_days

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency, one after another, each sorted by time. M series, S rows in all.

    Attributes:
        values: float64 (S,), read-only; nan where a value is missing.
        bounds: int64 (M + 1,): series k owns rows ``bounds[k]`` to ``bounds[k + 1]``, at least one.
        ids: what names each series, texts or integers; () when there is one without a name.
        id_name: the column that the ids stood in, or None.
        times: (S,) datetime64[us] or int64, increasing in each series; None for bare values.
        time_name, value_name, freq, season, kind, style: as in ``Series``.
        past_names, past: covariates known up to now, float64 (S, P), nan where missing.
        future_names, future: covariates known ahead, float64 (S, F), nan where missing.
        static_names, static: one category for each series, texts in an object array (M, C).
    """

    values: npt.NDArray[np.float64]
    bounds: Indices
    ids: tuple[str | int, ...] = ()
    id_name: str | None = None
    times: Times | None = None
    time_name: str = "ds"
    value_name: str = "y"
    freq: Frequency = field(default_factory=lambda: Frequency("step"))
    season: int = 1
    kind: str = "array"
    style: TimeStyle = field(default_factory=TimeStyle)
    past_names: tuple[str, ...] = ()
    past: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    future_names: tuple[str, ...] = ()
    future: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    static_names: tuple[str, ...] = ()
    static: npt.NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0), dtype=object))

    def __post_init__(self) -> None:
        for name, rows in (("past", self.values), ("future", self.values), ("static", self)):
            if not getattr(self, f"{name}_names"):
                dtype = getattr(self, name).dtype
                object.__setattr__(self, name, np.zeros((len(rows), 0), dtype))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> Indices:
        """Rows of each series; (M,) int64."""
        return np.diff(self.bounds)

    def name(self, k: int) -> str:
        """``series 'a'``, or ``the series`` where it has no name; for messages."""
        return f"series {self.ids[k]!r}" if self.ids else "the series"

    def series(self, k: int) -> Series:
        """One of them, sharing memory."""
        start, stop = (int(bound) for bound in self.bounds[[k, k + 1] if k >= 0 else [k - 1, k]])
        times, freq = None, self.freq
        if self.times is not None:
            times = self.times[start:stop]
            if freq.unit in MONTH_UNITS and times.dtype.kind == "M":
                ends = np.array([0, stop - start])
                freq = replace(freq, day=int(anchor_days(times, ends, freq.day)[0]))
        return Series(
            self.values[start:stop],
            times,
            self.time_name,
            self.value_name,
            freq,
            self.season,
            self.kind,
            self.style,
        )

    def cut(self, starts: Any, stops: Any) -> Panel:
        """Rows ``starts[k]`` to before ``stops[k]`` of each series, counted in it; (M,) ints."""
        starts = np.broadcast_to(np.asarray(starts, dtype=np.int64), (len(self),))
        stops = np.broadcast_to(np.asarray(stops, dtype=np.int64), (len(self),))
        wrong = (starts < 0) | (stops <= starts) | (stops > self.lengths)
        if wrong.any():
            k = int(wrong.argmax())
            raise InputError(
                f"rows {starts[k]} to {stops[k]} of {self.name(k)} were asked for, which has "
                f"{self.lengths[k]}; expected at least one row within them"
            )
        return self._taken(np.arange(len(self)), starts, stops)

    def choose(self, indices: Any) -> Panel:
        """The series at ``indices`` (ints, or a mask of M), in that order."""
        at = np.asarray(indices)
        at = np.flatnonzero(at) if at.dtype.kind == "b" else at.astype(np.int64).reshape(-1)
        if not len(at) or at.min() < -len(self) or at.max() >= len(self):
            raise InputError(
                f"series {at.tolist()[:5]} of a panel of {len(self)} were asked for; choose at "
                "least one of them, counted from 0"
            )
        at = at % len(self)
        return self._taken(at, np.zeros_like(at), self.lengths[at])

    def _taken(self, which: Indices, starts: Indices, stops: Indices) -> Panel:
        lengths = stops - starts
        bounds = np.append(0, np.cumsum(lengths)).astype(np.int64)
        rows = np.repeat(self.bounds[which] + starts - bounds[:-1], lengths) + np.arange(bounds[-1])
        return replace(
            self,
            values=frozen(self.values[rows]),
            bounds=bounds,
            ids=tuple(self.ids[k] for k in which.tolist()) if self.ids else (),
            times=None if self.times is None else self.times[rows],
            past=self.past[rows],
            future=self.future[rows],
            static=self.static[which],
        )


def complete(panel: Panel, policy: str, fronts: Any = ()) -> tuple[Panel, int]:
    """The panel without missing values, and how many were filled.

    Args:
        policy: ``"interpolate"`` draws straight lines between the values around a gap and
            refuses one at the end; ``"forward"`` repeats the last value before, also at the
            end; ``"error"`` refuses all.
        fronts: steps from the end of each series that are looked at from before: no line is
            drawn across to a target or past covariate behind them, the value before is repeated.

    Rows before the first value of a series are dropped; a covariate that begins later takes its
    first value from the start.

    Raises:
        InputError: what the policy refuses; a series, or a covariate in one, without any value.
    """
    check_choice("missing", policy, ("interpolate", "forward", "error"))
    columns = {panel.value_name: panel.values}
    columns |= {name: panel.past[:, k] for k, name in enumerate(panel.past_names)}
    columns |= {name: panel.future[:, k] for k, name in enumerate(panel.future_names)}
    missing = {name: np.isnan(values) for name, values in columns.items()}
    if not any(mask.any() for mask in missing.values()):
        return panel, 0
    for name, mask in missing.items():
        empty = np.flatnonzero(np.logical_and.reduceat(mask, panel.bounds[:-1]))
        if len(empty):
            what = f"no value of {name!r}" if name != panel.value_name else "no value at all"
            raise InputError(
                f"{panel.name(int(empty[0]))} has {what}{more_series(len(empty))}; drop it, or "
                f"fill the column {name!r}"
            )
    if policy == "error":
        raise _missing(panel, *next((n, m) for n, m in missing.items() if m.any()))
    filled = {}
    for name, values in columns.items():
        seen = () if name in panel.future_names else fronts
        filled[name] = _fill(panel, name, values, missing[name], policy, seen)
    first = panel.bounds[:-1] + _leading(panel, missing[panel.value_name])
    kept = np.arange(len(panel.values)) >= np.repeat(first, panel.lengths)
    count = sum(int((mask & kept).sum()) for mask in missing.values())
    whole = replace(
        panel,
        values=frozen(filled[panel.value_name]),
        past=_side_by_side(filled, panel.past_names, len(kept)),
        future=_side_by_side(filled, panel.future_names, len(kept)),
    )
    if kept.all():
        return whole, count
    if whole.times is None:  # rows go on counting from where the series began
        steps = np.arange(len(kept)) - np.repeat(panel.bounds[:-1], panel.lengths)
        whole = replace(whole, times=steps)
    return whole.cut(first - panel.bounds[:-1], panel.lengths), count


def filled_rows(given: Panel, panel: Panel) -> npt.NDArray[np.bool_]:
    """(S,) rows of a completed ``panel`` whose values ``given`` lacks; it may begin later."""
    starts = given.bounds[1:] - panel.lengths
    rows = np.repeat(starts - panel.bounds[:-1], panel.lengths) + np.arange(len(panel.values))
    return np.asarray(np.isnan(given.values[rows]))


def _side_by_side(
    columns: dict[str, npt.NDArray[np.float64]], names: tuple[str, ...], rows: int
) -> npt.NDArray[np.float64]:
    return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((rows, 0))


def more_series(count: int) -> str:
    """What a message about the first of ``count`` series says of the others."""
    return f" (and {count - 1} more series)" if count > 1 else ""


def _leading(panel: Panel, mask: npt.NDArray[np.bool_]) -> Indices:
    """How many rows of each series are missing before the first that is there; (M,)."""
    rows = np.where(mask, len(mask), np.arange(len(mask)))
    return np.asarray(np.minimum.reduceat(rows, panel.bounds[:-1]) - panel.bounds[:-1])


def _fill(
    panel: Panel,
    name: str,
    values: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    policy: str,
    fronts: Any = (),
) -> npt.NDArray[np.float64]:
    """One column without gaps; every series has a value in it."""
    if not mask.any():
        return values
    rows = np.arange(len(values))
    starts, stops = (
        np.repeat(b, panel.lengths)[mask] for b in (panel.bounds[:-1], panel.bounds[1:])
    )
    before = np.maximum.accumulate(np.where(mask, -1, rows))[mask]
    after = np.minimum.accumulate(np.where(mask, len(rows), rows)[::-1])[::-1][mask]
    leads, trails = before < starts, after >= stops
    if policy == "interpolate" and trails.any():
        owner = np.repeat(np.arange(len(panel)), panel.lengths)[mask][trails]
        which, counts = np.unique(owner, return_counts=True)
        count = int(counts[0])
        raise InputError(
            f"{panel.name(int(which[0]))} ends with {count} missing value{'s' * (count > 1)} of "
            f"{name!r}{more_series(len(which))}; drop those rows (future rows of covariates belong "
            "into X_df), or pass missing='forward' to repeat the last value"
        )
    low: npt.NDArray[np.float64] = values[np.where(leads, after, before)]
    result = np.array(values)
    if policy == "forward":
        result[mask] = low
        return result
    high = values[after]
    share = np.where(leads, 0.0, (rows[mask] - before) / (after - before))
    back = np.unique(np.asarray(fronts, np.int64))  # steps from the end to each origin
    across = np.searchsorted(back, stops - before - 1) > np.searchsorted(back, stops - after)
    share = np.where(across, 0.0, share)  # what lies behind an origin is not known before it
    result[mask] = low * (1.0 - share) + high * share
    return result


def _missing(panel: Panel, name: str, mask: npt.NDArray[np.bool_]) -> InputError:
    rows = np.flatnonzero(mask)
    owner = np.searchsorted(panel.bounds, rows, side="right") - 1
    k = int(owner[0])
    rows = rows[owner == k]
    if panel.times is None:
        shown = ", ".join(str(row - panel.bounds[k]) for row in rows[:5])
        place = f"at {'index' if len(rows) == 1 else 'indices'} {shown}"
    else:
        place = "at " + ", ".join(show_stamps(panel.times[rows[:5]], panel.style))
    place += f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return InputError(
        f"the column {name!r} has {len(rows)} missing value{'s' * (len(rows) > 1)} in "
        f"{panel.name(k)} {place}{more_series(len(np.unique(owner)))}; fill them first, or pass "
        "missing='interpolate' (straight lines) or 'forward' (the last value)"
    )
