"""Treatments: how series are made easy for a network, and forecasts are made series again.

Before the network sees them, series may have their logarithm taken (swings that grow with the
level), their season removed (by differences from one season earlier, or by seasonal indices), and
their windows shifted to the window's last value or mean. What a :class:`Treatment` learns of a
series it learns from that series' training part alone; of a panel, all series at once.

Letters: M series, S rows in all, N windows, H horizon, m season.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...data.samples import SampleTable
from .lines import Cut, Float64, Int64, Lines, Windows, spread

Bool = npt.NDArray[np.bool_]

# How the season is removed and what a window is shifted by, the safest first. All of them forecast
# their base, such as the last value and the season, when the network puts out zero.
SEASONAL = (("indices", "last"), ("indices", "mean"), ("difference", "none"))
PLAIN = (("plain", "last"), ("plain", "mean"))
HIGHEST = 700.0  # logarithm: what lies above would be infinite, or once squared or added up
SCALERS = ("auto", "window", "series", "standard", "minmax", "robust", "none")


@dataclass(frozen=True, eq=False)
class Treatment:
    """What is done to M series before the network, and undone after it.

    Attributes:
        method: "difference" (y[t] - y[t-m]), "indices" (y[t] - index[phase]) or "plain".
        shift: windows are shifted by their "last" value, their "mean", or not ("none").
        season: steps of the season m that is removed; 1 for none.
        log: (M,) the logarithm is taken first.
        indices: (M, m) for "indices", index of phase t % m with t counted from the series' start.
        offset, scale: (M,) the network sees (value - offset) / scale; a scale of 0 marks a
            constant series, which is forecast by its base alone.
        noise: (M,) size of what happens within a few steps, on the lifted scale.
        usual: noise over level of the median series, which sets what scale of 1 means.
    """

    method: str
    shift: str
    season: int
    log: Bool
    indices: Float64
    offset: Float64
    scale: Float64
    noise: Float64
    usual: float = 1.0

    def __len__(self) -> int:
        return len(self.log)

    def choose(self, which: Int64) -> Treatment:
        """The treatments of a choice of series."""
        return replace(
            self,
            log=self.log[which],
            indices=self.indices[which],
            offset=self.offset[which],
            scale=self.scale[which],
            noise=self.noise[which],
        )

    def put(self, which: Int64, other: Treatment) -> Treatment:
        """With the treatments of series ``which`` replaced by ``other``'s, in order."""
        result = self.choose(np.arange(len(self)))
        for name in ("log", "indices", "offset", "scale", "noise"):
            getattr(result, name)[which] = getattr(other, name)
        return result

    def lift(self, lines: Lines) -> Float64:
        """(S,) on the scale on which seasons are removed and bands are measured."""
        return lift(lines.values, np.repeat(self.log, lines.lengths))

    def lower(self, lifted: Float64, owner: Int64) -> Float64:
        """The inverse of lifting, for (N, H) values of series ``owner`` (N,)."""
        log = self.log[owner]
        if not log.any():
            return lifted
        result = np.array(lifted)
        result[log] = np.exp(np.minimum(result[log], HIGHEST))
        return result

    def treat(self, lines: Lines) -> npt.NDArray[np.float32]:
        """(S,) as the network sees the series, windows not yet shifted."""
        treated = _without_season(lines, self.lift(lines), self.method, self.indices)
        divisor = np.repeat(np.where(self.scale > 0, self.scale, 1.0), lines.lengths)
        offset = np.repeat(self.offset, lines.lengths)
        with np.errstate(over="ignore"):
            return np.asarray((treated - offset) / divisor, np.float32)

    def table(
        self, lines: Lines, windows: Windows, cut: Cut, *, targets: bool = False
    ) -> SampleTable:
        """The sample table of ``windows``; nothing is copied per window.

        With covariates known ahead ``lines`` must go on for ``cut.ahead`` segments after every
        window (see :meth:`Lines.extended`), and with ``targets`` for the horizon.
        """
        treated = self.treat(lines)
        starts = windows.ends - windows.steps * cut.segment
        if self.shift == "none":
            shift = None
        elif self.shift == "last":
            shift = treated[windows.ends - 1]
        else:
            sums = np.concatenate([[0.0], np.cumsum(treated, dtype=np.float64)])
            sizes = windows.ends - starts
            shift = ((sums[windows.ends] - sums[starts]) / sizes).astype(np.float32)
        ones = None if shift is None else np.ones(len(windows), np.float32)
        ahead = cut.ahead if cut.knows_ahead else 0
        return SampleTable(
            x=np.column_stack([treated, lines.known]) if cut.columns > 1 else treated[:, None],
            starts=starts,
            lengths=windows.steps + ahead,
            y=treated if targets else None,
            y_starts=windows.ends if targets else None,
            y_stride=cut.horizon,
            output_size=cut.horizon,
            x_shift=shift,
            x_scale=ones,
            y_shift=shift,
            y_scale=ones,
            segment=cut.segment,
            shifted_columns=1,
            known_steps=ahead,
            hidden_columns=cut.hidden if ahead else 0,
        )

    def restore(self, lines: Lines, windows: Windows, paths: npt.ArrayLike) -> Float64:
        """What the networks put out, (N, H, Q), as lifted values again (see :meth:`lift`)."""
        owner, ends = windows.owner, windows.ends
        paths = np.array(paths, np.float64)
        dead = self.scale[owner] == 0
        if dead.any():  # a constant series: its windows' own last value, nothing else
            paths[dead] = self.treat(lines)[ends[dead] - 1, None, None]
        scale = np.where(dead, 1.0, self.scale[owner])
        paths = paths * scale[:, None, None] + self.offset[owner, None, None]
        steps = np.arange(paths.shape[1])
        if self.method == "indices":
            place = lines.phase[owner] + ends - lines.bounds[owner]
            phases = (place[:, None] + steps) % self.season
            paths += self.indices[owner[:, None], phases][:, :, None]
        elif self.method == "difference":
            middle = paths.shape[2] // 2
            base = np.empty(paths.shape[:2])  # of the season before: known, or forecast
            for h in steps:
                ago = h - self.season
                if ago < 0:
                    base[:, h] = lift(lines.values[ends + ago], self.log[owner])
                else:
                    base[:, h] = paths[:, ago, middle]
                paths[:, h] += base[:, h, None]
        return np.asarray(paths)


def lift(values: Float64, log: Bool) -> Float64:
    """The logarithm where ``log`` says so."""
    if not log.any():
        return values
    result = np.array(values)
    result[log] = np.log(values[log])
    return result


def learn(
    lines: Lines, season: int, method: str, shift: str, log: Bool, scaler: str = "auto",
    usual: float | None = None,
) -> Treatment:  # fmt: skip
    """The treatment of this kind with offsets, scales and indices as ``lines`` have them.

    Args:
        scaler: see :data:`SCALERS`.
        usual: as an earlier treatment of other series had it; found here by default.
    """
    season = season if method != "plain" else 1
    lifted = lift(lines.values, np.repeat(log, lines.lengths))
    indices = np.zeros((len(lines), season))
    if method == "indices":
        indices = seasonal_indices(replace(lines, values=lifted), season)
    treated = _without_season(lines, lifted, method, indices)
    rest = replace(lines, values=treated)
    if method == "difference":  # the first season has nothing to differ from
        skip = np.minimum(season, lines.lengths - 1)
        rest = rest.cut(skip, lines.lengths)
    size = np.maximum(lines.maximum(np.abs(lifted)), 1e-300)
    floor = 1e-14 * size  # below it lies rounding only
    noise = _noise(rest, shift)
    noise = np.where(noise > floor, noise, 0.0)
    level = np.where(log, 1.0, np.maximum(lines.mean(np.abs(lines.values)), 1e-300))
    ratio = noise / level
    if usual is None:
        usual = float(np.median(ratio[ratio > 0])) if (ratio > 0).any() else 1.0
    offset, scale = _offset_and_scale(rest, ratio, level, usual, scaler)
    scale = np.where((noise > 0) & (scale > floor), scale, 0.0)
    return Treatment(method, shift, season, log, indices, offset, scale, noise, usual)


def _without_season(lines: Lines, lifted: Float64, method: str, indices: Float64) -> Float64:
    if method == "indices":
        return np.asarray(lifted - indices[lines.owner, lines.place() % indices.shape[1]])
    if method == "difference":
        season = indices.shape[1]
        treated = np.zeros_like(lifted)  # no window begins in the first season
        treated[season:] = lifted[season:] - lifted[:-season]
        treated[spread(lines.bounds[:-1], np.minimum(lines.lengths, season))] = 0.0
        return treated
    return lifted


def _noise(rest: Lines, shift: str) -> Float64:
    """(M,) root mean square of moves within a few steps; of all values without a shift."""
    centred = rest.values - np.repeat(rest.mean(rest.values), rest.lengths)
    largest = np.maximum(rest.maximum(np.abs(centred)), 1e-300)
    scaled = replace(rest, values=centred / np.repeat(largest, rest.lengths))
    spread_out = np.sqrt(scaled.mean(scaled.values**2))
    if shift == "none":
        return np.asarray(spread_out * largest)
    # Windows that are shifted differ by as much as the series moves within a few steps.
    moves, owner = scaled.differences(4)
    count = np.bincount(owner, minlength=len(rest))
    square = np.bincount(owner, moves**2, len(rest)) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, np.sqrt(square), spread_out) * largest)


def _offset_and_scale(
    rest: Lines, ratio: Float64, level: Float64, usual: float, scaler: str
) -> tuple[Float64, Float64]:
    """(M,) each. By default the scale lies half-way between a series' noise and its level.

    By the noise alone a steady series would count as much as a lively one; by the level alone it
    would count for nothing. For a single series it is its noise.
    """
    zeros = np.zeros(len(rest))
    if scaler == "none":
        return zeros, zeros + 1.0
    mean = rest.mean(rest.values)
    if scaler == "standard":
        return mean, _noise(rest, "none")
    if scaler == "minmax":
        low, high = rest.minimum(rest.values), rest.maximum(rest.values)
        return low, high - low
    if scaler == "robust":
        return _median_and_quartiles(rest)
    return mean, np.asarray(np.sqrt(ratio * usual) * level)


def _median_and_quartiles(rest: Lines) -> tuple[Float64, Float64]:
    """(M,) the median, and the distance between the quartiles."""
    order = np.lexsort([rest.values, rest.owner])
    ordered = rest.values[order]

    def at(share: float) -> Float64:
        return ordered[rest.bounds[:-1] + np.round(share * (rest.lengths - 1)).astype(np.int64)]

    return at(0.5), at(0.75) - at(0.25)


def seasonal_indices(lifted: Lines, season: int) -> Float64:
    """(M, m) deviations by phase from a centred moving average; each row sums to zero.

    Indices that stand out little from what is left without them are shrunk, to nothing where
    they are no more than chance (James and Stein 1961); series of less than two seasons get none.
    """
    count = len(lifted)
    centre = lifted.mean(lifted.values)
    size = np.maximum(lifted.maximum(np.abs(lifted.values)), 1e-300)
    lengths = lifted.lengths
    values = lifted.values / np.repeat(size, lengths) - np.repeat(centre / size, lengths)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    half = season // 2
    within = np.arange(len(values)) - np.repeat(lifted.bounds[:-1], lengths)
    inside = (within >= half) & (within < np.repeat(lengths, lengths) - half)
    rows = np.flatnonzero(inside & np.repeat(lengths >= 2 * season + 2, lengths))
    if season % 2:
        level = (sums[rows + half + 1] - sums[rows - half]) / season
    else:
        edges = 0.5 * (values[rows - half] + values[rows + half])
        level = (sums[rows + half] - sums[rows - half + 1] + edges) / season
    rest = values[rows] - level
    owner = lifted.owner[rows]
    key = owner * season + lifted.place()[rows] % season
    seen = np.bincount(key, minlength=count * season)
    means = (np.bincount(key, rest, count * season) / np.maximum(seen, 1)).reshape(count, season)
    means -= means.mean(axis=1, keepdims=True)
    left = np.bincount(owner, (rest - means.reshape(-1)[key]) ** 2, count)
    found = np.bincount(owner, means.reshape(-1)[key] ** 2, count)
    free = np.maximum(np.bincount(owner, minlength=count) - season, 1)
    keep = np.maximum(1 - season / free * left / np.maximum(found, 1e-300), 0.0)
    return np.asarray(means * (keep * size)[:, None])


def swings_grow(lines: Lines, season: int) -> Bool:
    """(M,) whether swings grow with the level, so that the logarithm evens them out.

    After Guerrero 1993: the slope of log spread over log level of the seasons (or of runs of
    6 steps), when the values are all positive and the levels differ enough to tell.
    """
    width = season if season >= 4 else 6
    positive = lines.minimum(lines.values) > 0
    runs = np.where(positive, lines.lengths // width, 0)
    if not (runs >= 4).any():
        return np.zeros(len(lines), np.bool_)
    rows = spread(lines.bounds[1:] - runs * width, runs * width)
    parts = lines.values[rows].reshape(-1, width)
    owner = np.repeat(np.arange(len(lines)), runs)
    deviation = parts.std(axis=1)
    level = np.log(parts.mean(axis=1))
    swing = np.log(np.maximum(deviation, 1e-300))

    def total(values: Float64) -> Float64:
        return np.asarray(np.bincount(owner, values, len(lines)), np.float64)

    many = np.maximum(runs, 1)
    x = level - (total(level) / many)[owner]
    y = swing - (total(swing) / many)[owner]
    xx, yy, xy = total(x * x), total(y * y), total(x * y)
    low, high = np.full(len(lines), np.inf), np.full(len(lines), -np.inf)
    np.minimum.at(low, owner, level)
    np.maximum.at(high, owner, level)
    flat = total((deviation <= 0).astype(np.float64)) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        slope, correlation = xy / xx, xy / np.sqrt(xx * yy)
        tells = (runs >= 4) & ~flat & (high - low >= 0.2)
        return np.asarray(tells & (slope > 0.5) & (correlation > 0.4))


def detect_season(values: Float64) -> int:
    """The period that the autocorrelation of a series shows, 1 when none is clear.

    The first clear peak of at least 0.3 after a trough at least 0.3 lower, with three periods
    to show for it.
    """
    length = len(values)
    if length < 12 or np.ptp(values) == 0:
        return 1
    steps = np.linspace(-1, 1, length)
    rest = values / np.abs(values).max()
    rest = rest - np.polyval(np.polyfit(steps, rest, 1), steps)
    power = np.abs(np.fft.rfft(rest, 2 * length)) ** 2
    raw = np.fft.irfft(power)[: length // 3 + 2]
    if raw[0] <= 1e-20 * length:
        return 1
    # each lag by its own number of pairs, so that long lags are not faded out
    acf = raw / raw[0] * length / (length - np.arange(len(raw)))
    peaks = [
        lag
        for lag in range(2, len(acf) - 1)
        if acf[lag] >= acf[lag - 1]
        and acf[lag] > acf[lag + 1]
        and acf[lag] > 0.3
        and acf[lag] - acf[1:lag].min() > 0.3
    ]
    if not peaks:
        return 1
    highest = max(acf[lag] for lag in peaks)
    period = float(next(lag for lag in peaks if acf[lag] >= 0.8 * highest))
    # the second and third peak tell a period of 10.9 from one of 10.4
    for multiple in (2, 3):
        low, high = round((multiple - 0.4) * period), round((multiple + 0.4) * period)
        if high < len(acf):
            at = low + int(np.argmax(acf[low : high + 1]))
            if low < at < high and acf[at] > 0.2:
                period = at / multiple
    return round(period)
