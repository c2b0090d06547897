"""Series as numbers alone, and the windows that are cut from them.

Letters: M series, S rows in all, N windows, L lookback, H horizon, m season. Everything here works
on all series at once: a panel may hold a hundred thousand of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lines:
    """M series one after another.

    Attributes:
        values: (S,) finite.
        bounds: (M + 1,) series k owns rows bounds[k] to bounds[k + 1].
        phase: (M,) steps of each series before its first row here, for its season.
        known: (S, K) what else is known at each row, scaled; K may be 0.
    """

    values: Float64
    bounds: Int64
    phase: Int64
    known: npt.NDArray[np.float32]

    @classmethod
    def of(cls, values: Float64, bounds: Int64 | None = None) -> Lines:
        """Without covariates, each series from its beginning; one series by default."""
        bounds = np.array([0, len(values)], np.int64) if bounds is None else bounds
        phase = np.zeros(len(bounds) - 1, np.int64)
        return cls(values, bounds, phase, np.zeros((len(values), 0), np.float32))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> Int64:
        return np.diff(self.bounds)

    @property
    def owner(self) -> Int64:
        """(S,) the series of each row."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def place(self) -> Int64:
        """(S,) steps from each series' very beginning to each row, those before it included."""
        return spread(self.phase, self.lengths)

    def cut(self, starts: Int64, stops: Int64) -> Lines:
        """Rows starts[k] to stops[k] of each series, counted within it."""
        rows = spread(self.bounds[:-1] + starts, stops - starts)
        return Lines(
            self.values[rows],
            np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int64),
            self.phase + starts,
            self.known[rows],
        )

    def heads(self, stops: Int64) -> Lines:
        """The first stops[k] rows of each series."""
        return self.cut(np.zeros(len(self), np.int64), stops)

    def tails(self, sizes: Int64 | int) -> Lines:
        """At most the last ``sizes`` rows of each series."""
        return self.cut(np.maximum(self.lengths - sizes, 0), self.lengths)

    def choose(self, which: Int64) -> Lines:
        """A choice of series, in the order given; a series may come several times."""
        rows = spread(self.bounds[which], self.lengths[which])
        bounds = np.concatenate([[0], np.cumsum(self.lengths[which])]).astype(np.int64)
        return Lines(self.values[rows], bounds, self.phase[which], self.known[rows])

    def extended(self, block: Float64, known: npt.NDArray[np.float32] | None = None) -> Lines:
        """With (M, B) more values at the end of each series, and what is known there."""
        size = block.shape[1]
        at = np.repeat(self.bounds[1:], size)
        values = np.insert(self.values, at, block.reshape(-1))
        width = self.known.shape[1]
        more = np.zeros((block.size, width), np.float32) if known is None else known
        return replace(
            self,
            values=values,
            bounds=self.bounds + size * np.arange(len(self) + 1),
            known=np.insert(self.known, at, more.reshape(block.size, width), axis=0),
        )

    def with_room(self, size: int, known: npt.NDArray[np.float32] | None = None) -> Lines:
        """Followed by ``size`` rows each whose values nobody reads, for what is known there."""
        # their last value again: zeros would have no logarithm
        return self.extended(np.repeat(self.values[self.bounds[1:] - 1, None], size, axis=1), known)

    # -- sums by series -----------------------------------------------------------------------

    def minimum(self, rows: Float64) -> Float64:
        """(M,) the least of ``rows`` (S,) in each series."""
        return np.asarray(np.minimum.reduceat(rows, self.bounds[:-1]))

    def maximum(self, rows: Float64) -> Float64:
        """(M,) the largest of ``rows`` (S,) in each series."""
        return np.asarray(np.maximum.reduceat(rows, self.bounds[:-1]))

    def mean(self, rows: Float64) -> Float64:
        """(M,) the mean of ``rows`` (S,) in each series."""
        return np.asarray(np.add.reduceat(rows / np.repeat(self.lengths, self.lengths),
                                          self.bounds[:-1]))  # fmt: skip

    def differences(self, apart: int) -> tuple[Float64, Int64]:
        """values[t] - values[t - apart] within series, and the series of each."""
        if apart >= len(self.values):
            return np.empty(0), np.empty(0, np.int64)
        owner = self.owner
        inside = owner[apart:] == owner[:-apart]
        return (self.values[apart:] - self.values[:-apart])[inside], owner[apart:][inside]

    def mean_move(self, apart: int) -> Float64:
        """(M,) mean absolute difference of values ``apart`` steps from each other, 0 if none."""
        moves, owner = self.differences(apart)
        count = np.bincount(owner, minlength=len(self))
        total = np.bincount(owner, np.abs(moves), len(self))
        return np.asarray(total / np.maximum(count, 1))


def spread(starts: Int64, sizes: Int64) -> Int64:
    """starts[0], starts[0] + 1, ... (sizes[0] of them), then those of starts[1], and so on."""
    before = np.cumsum(sizes) - sizes
    return np.asarray(np.repeat(starts - before, sizes) + np.arange(int(sizes.sum())))


@dataclass(frozen=True, eq=False)
class Windows:
    """N windows: window i sees ``steps[i]`` network steps before row ``ends[i]`` of its series.

    Attributes:
        owner: (N,) series.
        ends: (N,) row, counted over all series, of the first step that is forecast.
        steps: (N,) network steps; each is one segment of rows.
    """

    owner: Int64
    ends: Int64
    steps: Int64

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, chosen: npt.NDArray[np.generic]) -> Windows:
        return Windows(self.owner[chosen], self.ends[chosen], self.steps[chosen])


def windows_at(lines: Lines, owner: Int64, at: Int64, cut: Cut) -> Windows:
    """The windows before step ``at`` of series ``owner``; those with too little are left out."""
    seen = np.minimum(cut.lookback, at - cut.context) // cut.segment
    enough = seen >= cut.fewest
    return Windows(owner[enough], (lines.bounds[owner] + at)[enough], seen[enough])


def all_windows(lines: Lines, stops: Int64, cut: Cut, most: int) -> Windows:
    """Every window whose targets end before step stops[k] of its series; evenly ``most``."""
    first = cut.context + cut.fewest * cut.segment
    sizes = np.maximum(stops - cut.horizon + 1 - first, 0)
    owner = np.repeat(np.arange(len(lines)), sizes)
    at = spread(np.full(len(lines), first, np.int64), sizes)
    if len(owner) > most:
        chosen = np.linspace(0, len(owner) - 1, most).astype(np.int64)
        owner, at = owner[chosen], at[chosen]
    return windows_at(lines, owner, at, cut)


@dataclass(frozen=True)
class Cut:
    """How windows are cut.

    Attributes:
        horizon: steps that follow a window and are forecast at once.
        lookback: values that a window holds at most.
        segment: values that the network reads at each of its steps.
        context: values before a window that its treatment needs.
        fewest: segments that a window holds at least.
        columns: what the network reads of each row: the target, covariates, categories.
        hidden: how many of them are not known ahead; they come first.
        knows_ahead: covariates are known for the horizon.
    """

    horizon: int
    lookback: int
    segment: int = 1
    context: int = 0
    fewest: int = 2
    columns: int = 1
    hidden: int = 1
    knows_ahead: bool = False

    @property
    def least(self) -> int:
        """Values that a series needs to be forecast."""
        return self.context + self.fewest * self.segment

    @property
    def ahead(self) -> int:
        """Segments that cover the horizon."""
        return -(-self.horizon // self.segment)
