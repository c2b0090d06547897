"""What a forecaster must not know, must not forget, and must not count: found in reviews."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import headgate as hg
from headgate.errors import InputError

QUICK = {"members": 1, "epochs": 3, "progress": False}


def table(values, **columns):
    return pl.DataFrame({"ds": np.arange(len(values)), "y": values, **columns})


@pytest.fixture(scope="module")
def led():
    """y follows p by one step, so that whoever sees p's future knows y's."""
    rng = np.random.default_rng(0)
    p = rng.normal(size=160)
    y = np.concatenate([[0.0], p[:-1]]) + rng.normal(0, 0.01, 160)
    return table(y, p=p, f=rng.normal(size=160))


@pytest.mark.parametrize("strategy", ["auto", "recursive"])
def test_past_covariates_have_no_future(led, strategy):
    forecaster = hg.GRUForecaster(6, season=1, strategy=strategy, members=1, progress=False)
    result = forecaster.backtest(led, windows=20, past="p", future="f")
    later = np.abs(result.truth - result.forecasts["headgate"])[:, 1:].mean()
    assert later > 0.4  # step 1 may be known; the rest is noise of size 1


def test_a_constant_added_to_a_past_covariate_changes_nothing(led):
    paths = []
    for offset in (0.0, 100.0):
        data = led.with_columns(pl.col("p") + offset)
        forecaster = hg.GRUForecaster(6, season=1, strategy="recursive", **QUICK)
        forecaster.fit(data, past="p")
        paths.append(forecaster.predict(level=None)["headgate"].to_numpy())
    np.testing.assert_allclose(*paths, rtol=1e-4)


def test_gaps_before_a_window_are_not_filled_from_within_it():
    y = np.sin(np.arange(100) / 5) + 3
    y[87:90] = np.nan
    other = y.copy()
    other[90:] += 1000
    forecasts = [
        hg.GRUForecaster(10, season=1, **QUICK)
        .backtest(table(values), windows=1, step=10)
        .forecasts
        for values in (y, other)
    ]
    for name in forecasts[0]:
        np.testing.assert_array_equal(forecasts[0][name], forecasts[1][name])


def test_a_series_that_wakes_up_late_spoils_no_bands():
    rng = np.random.default_rng(1)
    sleepers = [np.r_[np.full(80, 5.0), 1e6 + rng.normal(0, 1e4, 20)] for _ in range(5)]
    steady = [10 + rng.normal(size=100) for _ in range(35)]
    data = pl.DataFrame(
        {
            "unique_id": np.repeat([f"s{k:02d}" for k in range(40)], 100),
            "ds": np.tile(np.arange(100), 40),
            "y": np.concatenate([*sleepers, *steady]),
        }
    )
    forecast = hg.GRUForecaster(5, season=1, **QUICK).fit(data).predict(level=95)
    width = (forecast["headgate-hi-95"] - forecast["headgate-lo-95"]).to_numpy().reshape(40, 5)
    assert (width[5:] < 20).all()
    assert (width[:5] > 0).all()


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_the_first_steps_of_a_longer_forecast_are_those_of_a_shorter_one(strategy):
    rng = np.random.default_rng(2)
    t = np.arange(24 * 30)
    f = rng.normal(size=len(t) + 24)
    y = 10 + np.sin(2 * np.pi * t / 24) + f[: len(t)]
    hours = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 3, 1), "1h", eager=True)
    data = pl.DataFrame({"ds": hours[: len(t)], "y": y, "f": f[: len(t)]})
    ahead = pl.DataFrame({"ds": hours[len(t) : len(f)], "f": f[len(t) :]})
    forecaster = hg.GRUForecaster(10, strategy=strategy, members=1, epochs=1, progress=False)
    forecaster.fit(data, future="f")
    short = forecaster.predict(10, None, ahead)["headgate"].to_numpy()
    long = forecaster.predict(20, None, ahead)["headgate"].to_numpy()
    np.testing.assert_array_equal(short, long[:10])


def test_what_was_filled_in_measures_nothing():
    rng = np.random.default_rng(3)
    y = rng.normal(size=1500)
    y[rng.random(1500) < 0.7] = np.nan
    y[-1] = 0.0
    forecaster = hg.GRUForecaster(4, season=1, **QUICK).fit(table(y))
    assert np.isnan(forecaster.errors_.values).mean() > 0.5
    low, high = (forecaster.predict(level=80)[f"headgate-{s}-80"].to_numpy() for s in ("lo", "hi"))
    assert (high - low > 2.2).all()  # 2.56 of what was seen, less of straight lines
    result = forecaster.cross_validation(n_windows=2)
    assert result["y"].is_nan().any()


def test_quantile_bands_never_narrow_past_the_horizon():
    y = np.cumsum(np.random.default_rng(4).normal(size=300))
    forecaster = hg.GRUForecaster(6, season=1, loss="quantile", **QUICK).fit(y)
    forecast = forecaster.predict(24, 95)
    width = (forecast["headgate-hi-95"] - forecast["headgate-lo-95"]).to_numpy()
    assert (width[6:] >= width[:6].max()).all()
    assert width[-1] > 1.5 * width[:6].max()


def test_values_without_stamps_find_their_place_in_the_season():
    # A season one step out of place is off by up to 5 here; networks of other windows by 0.5.
    y = 50 + 10 * np.sin(2 * np.pi * np.arange(96) / 12)
    forecaster = hg.GRUForecaster(12, season=12, scaler="window", **QUICK)
    led = np.concatenate([np.full(5, np.nan), y])
    right = forecaster.fit(y).predict(level=None)
    np.testing.assert_allclose(forecaster.predict(level=None, data=y[-50:]), right, atol=0.5)
    forecast = forecaster.fit(led).predict()
    assert forecast["ds"][0] == 101
    np.testing.assert_allclose(forecast["headgate"].to_numpy(), right, atol=0.5)
    np.testing.assert_allclose(forecaster.predict(level=None, data=y), right, atol=0.5)


def test_parameters_changed_after_fit_do_not_spoil_the_file(tmp_path):
    y = np.random.default_rng(5).normal(size=80).cumsum()
    forecaster = hg.GRUForecaster(4, season=1, **QUICK).fit(y)
    forecaster.set_params(loss="quantile", season=0)
    forecaster.save(tmp_path / "model.safetensors")
    loaded = hg.load(tmp_path / "model.safetensors")
    assert loaded.loss == "mae"
    np.testing.assert_array_equal(loaded.predict(level=None), forecaster.predict(level=None))
    quantiles = hg.GRUForecaster(4, season=1, loss="quantile", levels=(100 / 3,), **QUICK).fit(y)
    assert "headgate-lo-33.3333" in quantiles.predict(level=100 / 3).columns
    quantiles.set_params(levels=(50,))
    with pytest.raises(InputError, match=r"trained for the levels 33\.3333, not for 50"):
        quantiles.predict(level=50)


def test_levels_that_read_alike_are_one():
    y = np.random.default_rng(6).normal(size=80)
    forecaster = hg.GRUForecaster(4, season=1, **QUICK).fit(y)
    assert forecaster.predict(level=[95, 95.0000001]).width == 4
    with pytest.raises(InputError, match="too near to 0 or 100"):
        forecaster.predict(level=99.9999999)


def test_ids_are_the_same_as_texts_and_as_numbers():
    y = np.random.default_rng(7).normal(size=80).cumsum()
    data = pl.DataFrame({"unique_id": [1] * 80 + [2] * 80, "ds": [*range(80)] * 2, "y": [*y, *-y]})
    forecaster = hg.GRUForecaster(4, season=1, **QUICK).fit(data)
    texts = forecaster.predict(level=None, data=data.with_columns(pl.col("unique_id").cast(str)))
    numbers = forecaster.predict(level=None, data=data)
    np.testing.assert_array_equal(texts["headgate"], numbers["headgate"])


@pytest.mark.parametrize("call", ["backtest", "cross_validation", "score"])
def test_unknown_options_are_named(call):
    y = np.random.default_rng(8).normal(size=80)
    forecaster = hg.GRUForecaster(4, season=1, **QUICK).fit(y)
    with pytest.raises(InputError, match="there is no option 'foo' here; known are time, target"):
        getattr(forecaster, call)(y, foo=1)
