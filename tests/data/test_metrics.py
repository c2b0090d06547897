"""Metrics against figures worked out by hand."""

import numpy as np
import pytest

from headgate.data.metrics import (
    coverage,
    mae,
    mase,
    naive,
    pinball,
    rmse,
    seasonal_naive,
    smape,
)
from headgate.errors import InputError

Y = np.array([1.0, 2.0, 3.0, 4.0])
F = np.array([1.0, 4.0, 2.0, 4.0])


def test_errors():
    assert mae(Y, F) == 0.75
    assert rmse(Y, F) == pytest.approx(np.sqrt(5 / 4))
    # 200 * (0 + 2/6 + 1/5 + 0) / 4
    assert smape(Y, F) == pytest.approx(200 * (2 / 6 + 1 / 5) / 4)
    assert smape([0.0, 0.0], [0.0, 1.0]) == 100.0
    assert mae(Y.reshape(2, 2), F.reshape(2, 2)) == 0.75


def test_mase_scales_by_the_seasonal_naive_in_sample():
    history = np.array([1.0, 5.0, 2.0, 7.0, 3.0, 9.0])
    assert mase(Y, F, history, season=1) == pytest.approx(0.75 / np.mean([4, 3, 5, 4, 6]))
    assert mase(Y, F, history, season=2) == pytest.approx(0.75 / np.mean([1, 2, 1, 2]))
    assert mase(Y, Y, np.ones(5)) == 0.0
    assert mase(Y, F, np.ones(5)) == np.inf
    with pytest.raises(InputError, match="needs a history of more than 6 values, got 6"):
        mase(Y, F, history, season=6)


def test_bands():
    assert coverage(Y, [0.0, 2.0, 3.5, 0.0], [1.0, 3.0, 4.0, 1.0]) == 0.5
    # quantile 0.9: under-forecast costs 0.9, over-forecast 0.1 a unit
    assert pinball(Y, F, 0.9) == pytest.approx((0.1 * 2 + 0.9 * 1) / 4)
    with pytest.raises(InputError, match="quantile must lie between 0 and 1, got 90"):
        pinball(Y, F, 90)


def test_simple_forecasts():
    assert naive(Y, 3).tolist() == [4.0, 4.0, 4.0]
    assert seasonal_naive(Y, 5, 2).tolist() == [3.0, 4.0, 3.0, 4.0, 3.0]
    assert seasonal_naive(Y, 1, 4).tolist() == [1.0]
    with pytest.raises(InputError, match="needs 12 values, got 4"):
        seasonal_naive(Y, 5, 12)
    for horizon in (0, 1.5):
        with pytest.raises(InputError, match="horizon must be"):
            naive(Y, horizon)


def test_shapes_are_checked():
    with pytest.raises(
        InputError, match=r"one shape and at least one value, got \(4,\) and \(1,\)"
    ):
        mae(Y, [1.0])
    with pytest.raises(InputError, match="one shape"):
        rmse([], [])
    with pytest.raises(InputError, match="1-D"):
        naive(np.zeros((2, 2)), 1)
