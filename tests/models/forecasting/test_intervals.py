"""Intervals: as wide as conformal prediction has them, and never narrower for a higher level."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headgate.errors import InputError
from headgate.models.forecasting.intervals import Errors, bands, check_levels


def errors(values: np.ndarray, series: int = 1) -> Errors:
    """Of series of size 1; (n, H)."""
    return Errors(values[None], series, np.ones(series))


def test_the_width_is_the_conformal_quantile() -> None:
    """Each step by the ceil((n + 1)(1 - alpha))-th smallest of its own n errors."""
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, (100, 3))
    own = errors(values, series=100)
    assert own.worth == 100
    for level in (50, 80, 95):
        rank = math.ceil(101 * level / 100)
        expected = np.sort(np.abs(values), axis=0)[rank - 1]
        np.testing.assert_array_equal(own.half_width(level, 3), expected)
    many = errors(rng.normal(0, 1, (400, 1)), series=400)
    assert many.half_width(90, 1)[0] == pytest.approx(1.645, rel=0.15)


@pytest.mark.parametrize("level", [50, 80, 95])
def test_coverage_of_exchangeable_series(level: float) -> None:
    """Errors of half of 2,000 series tell how far those of the other half reach."""
    rng = np.random.default_rng(level)
    steps, trials, covered = 4, 20, []
    for _ in range(trials):
        size = rng.uniform(0.1, 10, 2000)  # units of their own
        noise = rng.standard_t(5, (2000, steps)) * np.arange(1, steps + 1) * size[:, None]
        paths = np.zeros((2000, steps, 1))
        owner = np.arange(1000)
        measured = Errors.measured(noise[:1000], paths[:1000], owner, size)
        assert measured.exact(level)
        low, high = bands(measured, paths[1000:], (), size[1000:], (level,))[level]
        covered.append(((low <= noise[1000:]) & (noise[1000:] <= high)).mean(axis=0))
    share = np.mean(covered, axis=0)
    # twice a thousand draws a trial: those that measure err as those that are covered
    error = math.sqrt(2 * level * (100 - level) / 1e4 / (1000 * trials))
    assert np.abs(share - level / 100).max() < 4 * error


@pytest.mark.parametrize(
    ("series", "count", "steps", "level", "exact"),
    [
        (20, 20, 5, 80, True),
        (19, 19, 5, 80, False),
        (20, 20, 5, 95, True),
        (20, 20, 5, 97, False),  # 33 windows have a most extreme one in 34
        (33, 33, 5, 97, True),
        (1, 20, 1, 80, True),  # one step a window: all of them count
        (1, 20, 12, 80, False),  # 19 neighbours are worth a quarter each
        (1, 77, 12, 80, True),
        (99, 99, 2, 99, True),
        (98, 98, 2, 99, False),
    ],
)
def test_exact_where_there_are_windows_enough(
    series: int, count: int, steps: int, level: float, exact: bool
) -> None:
    assert errors(np.ones((count, steps)), series).exact(level) is exact


def test_few_errors_are_pooled_over_the_steps() -> None:
    rng = np.random.default_rng(1)
    growth = np.sqrt(np.arange(1, 13))
    few = errors(rng.normal(0, 1, (8, 12)) * growth, series=8)
    assert not few.exact(80)
    width = few.half_width(80, 12)
    # smoother than each step's own quantile, and about as wide as all of them together tell
    np.testing.assert_allclose(width, 1.28 * growth, rtol=0.6)
    ragged = np.abs(np.diff(np.log(few.half_width(80, 12) / growth))).max()
    own = np.sort(np.abs(few.values[0]), axis=0)[6]
    assert ragged < np.abs(np.diff(np.log(own / growth))).max()


@pytest.mark.parametrize("count", [3, 400])
def test_widths_grow_past_the_trained_steps(count: int) -> None:
    rng = np.random.default_rng(3)
    some = errors(rng.normal(0, 1, (count, 4)) * np.arange(1, 5), series=count)
    near, far = some.half_width(80, 4), some.half_width(80, 9)
    np.testing.assert_array_equal(far[:4], near)
    assert (np.diff(far[3:]) > 0).all()
    assert far[8] >= near[3] * math.sqrt(9 / 4)
    assert (some.half_width(99, 9) >= some.half_width(50, 9)).all()
    one = errors(rng.normal(0, 1, (count, 1)), series=count)
    np.testing.assert_allclose(one.half_width(80, 4), one.half_width(80, 1) * np.sqrt([1, 2, 3, 4]))


@pytest.mark.parametrize("quantiles", [(), (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)])
def test_a_higher_level_is_never_narrower(quantiles: tuple[float, ...]) -> None:
    rng = np.random.default_rng(5)
    for trial in range(50):
        count, steps = int(rng.integers(1, 60)), int(rng.integers(1, 8))
        paths = np.sort(rng.normal(0, 1, (count, steps, max(len(quantiles), 1))), axis=2)
        truth = rng.standard_cauchy((count, steps))
        owner = rng.integers(0, 5, count)
        size = rng.uniform(0.1, 5, 5)
        measured = Errors.measured(truth, paths, owner, size, quantiles)
        found = bands(measured, paths, quantiles, size[owner], (95, 50, 80))
        assert list(found) == [50, 80, 95]
        centre = paths[:, :, len(quantiles) // 2]
        for inner, outer in ((50, 80), (80, 95)):
            assert (found[outer][0] <= found[inner][0]).all(), trial
            assert (found[outer][1] >= found[inner][1]).all(), trial
        assert (found[50][0] <= centre).all()
        assert (found[50][1] >= centre).all()


def test_a_pooled_level_is_not_narrower_than_an_exact_one() -> None:
    values = np.random.default_rng(6).normal(0, 1, (20, 20))
    values[0, 0] = 50.0  # of one step: pooled over all steps it is as good as gone
    some = errors(values, series=20)
    assert (some.exact(95), some.exact(97)) == (True, False)
    assert some.half_width(97, 20)[0] < some.half_width(95, 20)[0]
    found = bands(some, np.zeros((1, 20, 1)), (), np.ones(1), (95, 97))
    assert found[97][1][0, 0] >= found[95][1][0, 0] == 50


@pytest.mark.parametrize("off", [0.25, 4.0])
def test_quantiles_that_are_wrong_are_put_right(off: float) -> None:
    """Bands of a quarter, or four times, the width that they should have."""
    rng = np.random.default_rng(7)
    count = 4000
    truth = rng.normal(0, 1, (count, 2))
    ends = off * np.array([-1.96, -1.2816, 0, 1.2816, 1.96])
    paths = np.broadcast_to(ends, (count, 2, 5)).copy()
    quantiles = (0.025, 0.1, 0.5, 0.9, 0.975)
    owner = np.arange(count // 2)
    measured = Errors.measured(truth[::2], paths[::2], owner, np.ones(count // 2), quantiles)
    assert measured.levels == (95, 80)
    assert measured.values.shape == (2, count // 2, 2)
    found = bands(measured, paths[1::2], quantiles, np.ones(count // 2), (80, 95))
    for level, (low, high) in found.items():
        inside = ((low <= truth[1::2]) & (truth[1::2] <= high)).mean()
        error = math.sqrt(2 * level * (100 - level) / 1e4 / (count // 2))
        assert abs(inside - level / 100) < 4 * error
        assert high[0, 0] == pytest.approx({80: 1.2816, 95: 1.96}[level], rel=0.1)


def test_a_series_own_size_scales_its_band() -> None:
    rng = np.random.default_rng(2)
    some = errors(rng.normal(0, 1, (200, 2)), series=200)
    low, high = bands(some, np.zeros((3, 2, 1)), (), np.array([1.0, 10.0, 0.0]), (80,))[80]
    np.testing.assert_allclose(high[1], 10 * high[0])
    np.testing.assert_array_equal(low, -high)
    np.testing.assert_array_equal(high[2], [0, 0])  # a constant series: nothing is unsure


@pytest.mark.parametrize("level", [0, 100, -5, "80", (80, float("nan")), True, [0], 100.5])
def test_levels_that_cannot_be(level: object) -> None:
    with pytest.raises(InputError, match="level must be above 0 and below 100 percent"):
        check_levels(level)


def test_levels_in_order() -> None:
    assert check_levels((95, 80.0, 80)) == (80, 95)
    assert check_levels(np.array([97.5])) == (97.5,)
    assert check_levels(None) == ()
