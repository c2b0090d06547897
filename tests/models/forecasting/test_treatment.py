"""Treatments: undone to the bit that matters, and learned of all series as of each alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headgate.data.frames import as_series, read_table
from headgate.data.sunspots import SUNSPOTS
from headgate.models.forecasting.lines import Cut, Lines, windows_at
from headgate.models.forecasting.treatment import (
    SCALERS,
    detect_season,
    learn,
    seasonal_indices,
    swings_grow,
)

WAYS = [("plain", 1), ("difference", 4), ("indices", 4)]
ways = pytest.mark.parametrize(("method", "season"), WAYS)
shifts = pytest.mark.parametrize("shift", ["last", "mean", "none"])


def panel(seed: int = 0, season: int = 4) -> tuple[Lines, list[np.ndarray]]:
    """Positive series of all lengths and sizes; one constant, one all zero but for its end."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in (60, 3, 17, 10, 41, 1, 9):
        t = np.arange(length)
        level = 10.0 ** rng.integers(-2, 4)
        swing = rng.normal(0, 0.3, season)[t % season]
        parts.append(level * np.exp(swing + 0.02 * t + rng.normal(0, 0.1, length)))
    parts[3][:] = 7.25
    parts.append(np.where(np.arange(30) < 28, 0.0, 5.0))
    bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return Lines.of(np.concatenate(parts), bounds), parts


# -- the same for each series alone, in a plain loop ---------------------------------------


def indices_of(values: np.ndarray, season: int) -> np.ndarray:
    """Deviations from a centred moving average, shrunk: of one series, step by step."""
    size = len(values)
    if size < 2 * season + 2:
        return np.zeros(season)
    half = season // 2
    weights = np.ones(season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5]
    rest: dict[int, list[float]] = {phase: [] for phase in range(season)}
    for t in range(half, size - half):
        window = values[t - half : t + half + 1]
        rest[t % season].append(values[t] - float(weights @ window) / season)
    means = np.array([np.mean(rest[phase]) for phase in range(season)])
    means -= means.mean()
    left = sum(float(np.sum((np.array(rest[p]) - means[p]) ** 2)) for p in range(season))
    count = sum(map(len, rest.values()))
    found = sum(len(rest[p]) * means[p] ** 2 for p in range(season))
    if found == 0:
        return np.zeros(season)
    return means * max(1 - season / max(count - season, 1) * left / found, 0.0)


def treated_of(values: np.ndarray, method: str, season: int) -> np.ndarray:
    if method == "indices":
        return values - indices_of(values, season)[np.arange(len(values)) % season]
    if method == "difference":
        return np.array([values[t] - values[t - season] if t >= season else 0.0
                         for t in range(len(values))])  # fmt: skip
    return values


def noise_of(rest: np.ndarray, shift: str) -> float:
    if shift == "none" or len(rest) <= 4:
        return float(rest.std())
    return math.sqrt(float(np.mean([(rest[t] - rest[t - 4]) ** 2 for t in range(4, len(rest))])))


def offset_and_scale_of(rest: np.ndarray, scaler: str) -> tuple[float, float]:
    if scaler == "standard":
        return float(rest.mean()), float(rest.std())
    if scaler == "minmax":
        return float(rest.min()), float(np.ptp(rest))
    if scaler == "robust":
        ordered = np.sort(rest)
        low, middle, high = (ordered[round(s * (len(rest) - 1))] for s in (0.25, 0.5, 0.75))
        return float(middle), float(high - low)
    return 0.0, 1.0


@ways
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("scaler", [s for s in SCALERS if s not in ("auto", "window", "series")])
def test_all_series_at_once_as_each_in_a_loop(
    method: str, season: int, log: bool, scaler: str
) -> None:
    lines, parts = panel()
    logs = np.array([log and part.min() > 0 for part in parts])
    treatment = learn(lines, season, method, "none", logs, scaler)
    seen = treatment.treat(lines)
    for k, part in enumerate(parts):
        lifted = np.log(part) if logs[k] else part
        size = np.abs(lifted).max()
        if method == "indices":
            np.testing.assert_allclose(
                treatment.indices[k], indices_of(lifted, season), rtol=1e-7, atol=1e-9 * size
            )
        treated = treated_of(lifted, method, season)
        rest = treated[min(season, len(part) - 1) :] if method == "difference" else treated
        offset, scale = offset_and_scale_of(rest, scaler)
        if noise_of(rest, "none") <= 1e-13 * size or scale <= 1e-13 * size:
            assert treatment.scale[k] == 0
            continue
        assert treatment.offset[k] == pytest.approx(offset, rel=1e-7, abs=1e-9 * size)
        assert treatment.scale[k] == pytest.approx(scale, rel=1e-7)
        got = seen[lines.bounds[k] : lines.bounds[k + 1]]
        np.testing.assert_allclose(got, (treated - offset) / scale, rtol=1e-5, atol=1e-5)


@ways
@shifts
def test_by_default_the_scale_lies_between_noise_and_level(
    method: str, season: int, shift: str
) -> None:
    lines, parts = panel()
    treatment = learn(lines, season, method, shift, np.zeros(len(parts), bool))
    noises, levels = [], []
    for part in parts:
        rest = treated_of(part, method, season)
        rest = rest[min(season, len(part) - 1) :] if method == "difference" else rest
        noise = noise_of(rest, shift)
        noises.append(noise if noise > 1e-13 * np.abs(part).max() else 0.0)
        levels.append(float(np.abs(part).mean()))
    noise, level = np.array(noises), np.array(levels)
    np.testing.assert_allclose(treatment.noise, noise, rtol=1e-6)
    usual = np.median((noise / level)[noise > 0])
    assert treatment.usual == pytest.approx(usual)
    np.testing.assert_allclose(treatment.scale, np.sqrt(noise * usual * level), rtol=1e-6)
    # one series is scaled by its own noise, and one of a unit as that of another
    alone = learn(lines.choose(np.array([0])), season, method, shift, np.zeros(1, bool))
    assert alone.scale[0] == pytest.approx(noise[0])
    times = Lines.of(1000 * lines.values, lines.bounds)
    other = learn(times, season, method, shift, np.zeros(len(parts), bool))
    np.testing.assert_allclose(other.treat(times), treatment.treat(lines), rtol=1e-4, atol=1e-4)


@ways
@shifts
@pytest.mark.parametrize("log", [False, True])
def test_a_treatment_undoes_itself(method: str, season: int, shift: str, log: bool) -> None:
    """What the targets of the table hold comes back as the series, horizon beyond the season."""
    rng = np.random.default_rng(2)
    lines = Lines.of(rng.uniform(1, 9, 130), np.array([0, 60, 70, 130]))
    owner, at = np.array([0, 0, 2, 2]), np.array([20, 31, 13, 44])
    cut = Cut(horizon=12, lookback=6, context=season if method == "difference" else 0)
    logs = np.array([log, log, False])
    treatment = learn(lines, season, method, shift, logs)
    windows = windows_at(lines, owner, at, cut)
    table = treatment.table(lines, windows, cut, targets=True)
    # what a perfect network puts out, and the engine's own way back from a window's shift
    paths = np.stack([table.y[k : k + 12] for k in table.y_starts])[:, :, None]
    lifted = treatment.restore(lines, windows, paths)[:, :, 0]
    truth = np.stack([lines.values[e : e + 12] for e in windows.ends])
    np.testing.assert_allclose(treatment.lower(lifted, owner), truth, rtol=1e-4)
    # and the end of the series is treated as the whole was
    part = lines.tails(37)
    assert part.phase.tolist() == [23, 0, 23]
    seen, whole = treatment.treat(part), treatment.treat(lines)
    for k in (0, 2):
        inside = seen[part.bounds[k] : part.bounds[k + 1]][season:]
        np.testing.assert_array_equal(inside, whole[: lines.bounds[k + 1]][-len(inside) :])


@pytest.mark.parametrize("shift", ["last", "mean"])
def test_windows_are_shifted_by_their_own_values(shift: str) -> None:
    lines, parts = panel()
    treatment = learn(lines, 1, "plain", shift, np.zeros(len(parts), bool))
    cut = Cut(horizon=2, lookback=6)
    owner, at = np.array([0, 0, 4]), np.array([20, 3, 41])
    windows = windows_at(lines, owner, at, cut)
    assert windows.steps.tolist() == [6, 3, 6]
    table = treatment.table(lines, windows, cut)
    seen = treatment.treat(lines).astype(float)
    for i, (end, steps) in enumerate(zip(windows.ends, windows.steps, strict=True)):
        own = seen[end - steps : end]
        expected = own[-1] if shift == "last" else own.mean()
        assert table.x_shift[i] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    # networks that put out zero forecast the shift
    naive = treatment.restore(lines, windows, np.repeat(table.y_shift, 2).reshape(3, 2, 1))
    assert naive.shape == (3, 2, 1)
    if shift == "last":
        last = lines.values[windows.ends - 1]
        np.testing.assert_allclose(naive[:, :, 0], np.stack([last, last], axis=1), rtol=1e-4)


def test_choose_and_put() -> None:
    lines, parts = panel()
    treatment = learn(lines, 4, "indices", "last", np.zeros(len(parts), bool))
    some = np.array([4, 0])
    chosen = treatment.choose(some)
    np.testing.assert_array_equal(chosen.indices, treatment.indices[some])
    other = learn(lines.choose(some), 4, "indices", "last", np.ones(2, bool))
    changed = treatment.put(some, other)
    assert changed.log.tolist() == [True, False, False, False, True, False, False, False]
    np.testing.assert_array_equal(changed.scale[some], other.scale)
    assert not treatment.log.any()  # as it was


# -- seasons and logarithms ----------------------------------------------------------------


def test_detect_season() -> None:
    t = np.arange(200)
    rng = np.random.default_rng(0)
    assert detect_season(np.sin(2 * np.pi * t / 7) + 0.05 * t + rng.normal(0, 0.3, 200)) == 7
    assert detect_season(rng.normal(0, 1, 200)) == 1
    assert detect_season(np.arange(50.0)) == 1
    assert detect_season(np.full(50, 3.0)) == 1
    assert detect_season(as_series(read_table(SUNSPOTS)).values) == 11


def test_logarithm_where_swings_grow() -> None:
    t = np.arange(120)
    season = np.sin(2 * np.pi * t / 12)
    grows, even, signed = np.exp(0.02 * t + 0.2 * season), 10 + 0.1 * t + season, season
    short = grows[:40]  # of three seasons nothing can be told
    parts = [grows, even, signed, grows, short]
    bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    found = swings_grow(Lines.of(np.concatenate(parts), bounds), 12)
    assert found.tolist() == [True, False, False, True, False]
    for part, expected in zip(parts, found, strict=True):
        assert swings_grow(Lines.of(part), 12).tolist() == [expected]


def test_seasonal_indices() -> None:
    t = np.arange(60)
    pattern = np.array([3.0, -1.0, -2.0, 0.0])
    found = seasonal_indices(Lines.of(pattern[t % 4] + 0.5 * t), 4)
    np.testing.assert_allclose(found, pattern[None], atol=1e-12)


def test_seasonal_indices_that_are_chance_are_shrunk() -> None:
    rng = np.random.default_rng(4)
    count, length = 300, 40
    noise = Lines.of(rng.normal(0, 1, count * length), np.arange(count + 1) * length)
    found = seasonal_indices(noise, 4)
    raw = 1 / math.sqrt(length / 4)  # what the mean of ten numbers alone would swing by
    assert np.sqrt(np.mean(found**2)) < 0.7 * raw
    assert (np.abs(found).max(axis=1) == 0).mean() > 0.3  # most of it to nothing
    clear = Lines.of(noise.values + 5 * np.tile([1.0, -1, 1, -1], count * 10), noise.bounds)
    kept = seasonal_indices(clear, 4)
    assert np.abs(kept).min() > 3
