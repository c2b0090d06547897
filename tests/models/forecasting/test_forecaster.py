"""GRUForecaster: real series beaten, awkward ones survived, files that come back to the bit."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError as SklearnNotFittedError

import headgate as hg
from headgate.data.frames import as_series, read_table
from headgate.data.metrics import mae
from headgate.data.panel import Panel
from headgate.data.sunspots import SUNSPOTS
from headgate.model_file import load_model, save_model
from headgate.models.forecasting.backtest import Backtest

DATA = Path(os.environ.get("HEADGATE_DATA", "")) / "classic_series"
needs_data = pytest.mark.skipif(
    not os.environ.get("HEADGATE_DATA") or not DATA.is_dir(),
    reason="HEADGATE_DATA does not name a folder with classic_series",
)


def monthly(count=72, *, seed=0, level=100.0):
    """A trend, a season of 12 and noise, by months."""
    t = np.arange(count)
    rng = np.random.default_rng(seed)
    values = level + t + 10 * np.sin(2 * np.pi * t / 12) + rng.normal(0, 1, count)
    start = np.datetime64("2015-01", "M")
    stamps = (start + t).astype("datetime64[D]").astype("datetime64[us]")
    return pl.DataFrame({"month": stamps, "sales": values})


def quick(horizon=6, **options):
    return hg.GRUForecaster(horizon, **{"epochs": 5, "members": 2, "hidden_size": 8, **options})


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(monthly())


# -- real series ---------------------------------------------------------------------------


@needs_data
def test_airpassengers_last_year_beats_seasonal_naive():
    series = as_series(read_table(DATA / "airpassengers.csv"))
    forecaster = hg.GRUForecaster(12).fit(series.part(0, 132))
    truth = series.values[132:]
    forecast = forecaster.predict()["headgate"].to_numpy()
    assert mae(truth, forecast) < 0.9 * mae(truth, series.values[120:132])
    assert (forecaster.season_, forecaster.treatment_.log.tolist()) == (12, [True])


def test_sunspots_eleven_years_ahead_beat_both_naive_forecasts():
    series = as_series(read_table(SUNSPOTS))
    assert (len(series), series.values[0], series.values[-1]) == (309, 5.0, 2.9)
    result = hg.GRUForecaster(11).backtest(series)
    ours = result.scores["headgate"]["MAE"]
    assert result.season == 11
    assert ours < 0.6 * result.scores["naive"]["MAE"]
    assert ours < result.scores["naive, 11 steps back"]["MAE"]
    assert result.best == "headgate"
    assert 0.5 < result.coverage[80] < result.coverage[95] <= 1


# -- what comes out ------------------------------------------------------------------------


def test_frame_of_the_kind_that_came_in(fitted):
    frame = fitted.predict(level=(80, 97.5))
    bounds = ["headgate-lo-80", "headgate-hi-80", "headgate-lo-97.5", "headgate-hi-97.5"]
    assert frame.columns == ["month", "headgate", *bounds]
    assert frame["month"].dt.strftime("%Y-%m-%d").to_list()[:2] == ["2021-01-01", "2021-02-01"]
    low, high = frame["headgate-lo-97.5"], frame["headgate-hi-97.5"]
    assert (low <= frame["headgate-lo-80"]).all()
    assert (high >= frame["headgate-hi-80"]).all()
    assert (frame["headgate-lo-80"] < frame["headgate"]).all()
    pandas = quick().fit(monthly().to_pandas()).predict()
    assert isinstance(pandas, pd.DataFrame)
    np.testing.assert_array_equal(pandas["headgate"], fitted.predict()["headgate"])


def test_arrays(fitted):
    values = monthly()["sales"].to_numpy()
    forecaster = quick(season=12).fit(values)
    path = forecaster.predict(level=None)
    assert (path.shape, path.dtype) == ((6,), np.float64)
    np.testing.assert_array_equal(path, fitted.predict()["headgate"])
    frame = forecaster.predict(3, level=80)
    assert frame.columns == ["ds", "headgate", "headgate-lo-80", "headgate-hi-80"]
    assert frame["ds"].to_list() == [72, 73, 74]


def test_shorter_and_longer_horizons(fitted):
    six = fitted.predict()
    assert fitted.predict(2).equals(six.head(2))
    twenty = fitted.predict(20)
    assert twenty.head(6).equals(six)
    assert np.isfinite(twenty["headgate"].to_numpy()).all()
    width = (twenty["headgate-hi-80"] - twenty["headgate-lo-80"]).to_numpy()
    assert width[-1] > width[6]


def test_same_seed_same_bits_for_any_thread_count(fitted):
    threads = hg.get_num_threads()
    try:
        hg.set_num_threads(1 if threads > 1 else 2)
        assert quick().fit(monthly()).predict().equals(fitted.predict())
    finally:
        hg.set_num_threads(threads)
    assert not quick(seed=1).fit(monthly()).predict().equals(fitted.predict())


def test_constant_series_forecasts_its_value(tmp_path):
    for value in (7.25, 0.0, -3.0):
        forecaster = quick().fit(np.full(30, value))
        frame = forecaster.predict()
        assert (frame.drop("ds").to_numpy() == value).all()
    forecaster.save(tmp_path / "m.safetensors")
    assert hg.load(tmp_path / "m.safetensors").predict().equals(frame)


@pytest.mark.parametrize("factor", [1e-30, 1e30, 1e150])
def test_any_unit(factor):
    values = monthly()["sales"].to_numpy()
    path = quick(season=12).fit(values * factor).predict(level=None)
    np.testing.assert_allclose(path / factor, quick(season=12).fit(values).predict(level=None))


def test_a_series_that_was_never_negative_stays_so():
    rng = np.random.default_rng(1)
    frame = quick().fit(rng.poisson(0.4, 80).astype(float)).predict(30)
    assert frame["headgate-lo-95"].min() == 0.0


def test_short_series():
    path = quick(4, epochs=None).fit(np.arange(10.0)).predict(level=None)
    assert np.isfinite(path).all()


# -- newer data, files, back-tests ---------------------------------------------------------


def test_newer_data_without_learning(fitted):
    newer = monthly(80)
    frame = fitted.predict(data=newer)
    assert frame["month"][0].strftime("%Y-%m") == "2021-09"
    # the same as the end of them, whatever comes first
    assert fitted.predict(data=newer.tail(40)).equals(frame)
    with pytest.raises(hg.InputError, match="come every D, but this model was fitted to data of"):
        fitted.predict(data=newer.with_columns(month=pl.date_range(
            pl.date(2020, 1, 1), pl.date(2020, 3, 20), "1d")))  # fmt: skip


def test_too_little_newer_data():
    t = np.arange(240)
    forecaster = quick(season=24).fit(np.sin(2 * np.pi * t / 24) + 0.01 * t)
    least = forecaster.cut_.least
    assert least >= forecaster.cut_.segment > 1
    words = f"^the data have {least - 1} values, but this model reads at least the last {least}; "
    with pytest.raises(hg.InputError, match=words):
        forecaster.predict(data=np.arange(least - 1.0))
    assert len(forecaster.predict(data=np.arange(1.0 * least))) == 6


def test_indices_keep_their_phase_on_newer_data():
    frame = monthly(120)
    for count in (72, 75):
        forecaster = quick(scaler="window").fit(frame.head(count))
        assert forecaster.treatment_.method == "indices"
        whole = forecaster.predict(data=frame)
        assert forecaster.predict(data=frame.tail(50)).equals(whole)  # begins within
        near = np.abs(whole["headgate"].to_numpy() - monthly(126)["sales"].to_numpy()[120:])
        assert near.mean() < 6
        assert forecaster.predict(data=frame.tail(30)).equals(whole)  # begins after


def test_save_and_load(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    loaded = hg.load(path)
    assert isinstance(loaded, hg.GRUForecaster)
    assert loaded.get_params() == fitted.get_params()
    assert loaded.predict(20).equals(fitted.predict(20))
    assert loaded.predict(data=monthly(80)).equals(fitted.predict(data=monthly(80)))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(hg.ModelFileError):
        hg.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"members": 3}, {"members": 0}, {"horizon": 7}, {"panel": None}, {"treatment": {}},
        {"parameters": {"horizon": 0}}, {"parameters": {"eval": "1"}}, {"epochs": "many"},
        {"cut.lookback": 0}, {"cut.lookback": "32"}, {"cut.context": 999}, {"cut.horizon": 7},
        {"cut.columns": 2}, {"cut.knows_ahead": True}, {"cut.fewest": 1 << 23},
        {"treatment.shift": "first"}, {"treatment.season": 5}, {"treatment.usual": 0.0},
        {"features.past": ["x"]}, {"quantiles": [0.5]}, {"error_levels": [80, 95]},
        {"error_series": 0}, {"panel.ids": ["a", "b"]}, {"panel.kind": "spark"},
        {"panel.time_name": None, "panel.calendar": False, "panel.style": {}},
    ],
)  # fmt: skip
def test_a_file_whose_facts_cannot_be(fitted, tmp_path, change):
    path = tmp_path / "m.safetensors"
    fitted.save(path)
    file = load_model(path)
    facts = file.extra["estimator"]
    for name, value in change.items():
        *outer, last = name.split(".")
        (facts[outer[0]] if outer else facts)[last] = value
    save_model(path, file.spec, file.tensors, extra={"estimator": facts})
    with pytest.raises(hg.ModelFileError, match="its forecaster cannot be rebuilt"):
        hg.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lengths", lambda bits: bits[:0]), ("values", lambda bits: bits[:-2]),
        ("values", lambda bits: np.full(len(bits) // 2, np.nan).view(np.float32)),
        ("errors", lambda bits: bits[:, :, 1:]),
        ("errors", lambda bits: np.full_like(bits, np.inf)), ("size", lambda bits: -bits),
        ("scale", lambda bits: -bits), ("log", lambda bits: np.repeat(bits, 2)),
        ("times", lambda bits: None), ("noise", lambda bits: -bits),
        ("indices", lambda bits: None),
        ("phase", lambda bits: np.array([-1], np.int64).view(np.float32)),
    ],
)  # fmt: skip
def test_a_file_whose_numbers_cannot_be(fitted, tmp_path, name, change):
    path = tmp_path / "m.safetensors"
    fitted.save(path)
    file = load_model(path)
    tensors = dict(file.tensors)
    changed = change(np.array(tensors.pop(f"extra.{name}")))
    if changed is not None and changed.size:
        tensors[f"extra.{name}"] = changed
    with pytest.raises(hg.HeadgateError):  # noqa: PT012 - what cannot be saved is refused at once
        save_model(path, file.spec, tensors, extra=file.extra)
        hg.load(path)


@pytest.mark.parametrize("kind", ["text", "date", "zone", "integer", "pandas"])
def test_stamps_survive_the_file(kind, tmp_path):
    frame = monthly(60)
    column = {
        "text": pl.col("month").dt.strftime("%Y年%-m月"),
        "date": pl.col("month").cast(pl.Date),
        "zone": pl.col("month").dt.replace_time_zone("Asia/Shanghai"),
        "integer": pl.col("month").dt.strftime("%Y%m").cast(pl.Int64),
        "pandas": pl.col("month"),
    }[kind]
    frame = frame.with_columns(column)
    forecaster = quick().fit(frame.to_pandas() if kind == "pandas" else frame)
    forecaster.save(tmp_path / "m.safetensors")
    before, after = forecaster.predict(), hg.load(tmp_path / "m.safetensors").predict()
    assert before.equals(after)
    assert list(before.columns) == list(after.columns)


def test_backtest_knows_nothing_of_what_it_forecasts():
    frame = monthly(80)
    first = quick().backtest(frame, windows=3)
    wild = frame.with_columns(
        sales=pl.when(pl.int_range(80) >= 72).then(1e4).otherwise(pl.col("sales"))
    )
    second = quick().backtest(wild, windows=3)
    np.testing.assert_array_equal(first.origins, [72, 73, 74])
    np.testing.assert_array_equal(first.forecasts["headgate"][0], second.forecasts["headgate"][0])
    assert list(first.scores) == ["headgate", "naive", "naive, 12 steps back"]
    np.testing.assert_allclose(
        first.scores["naive"]["MAE"],
        np.mean([np.abs(frame["sales"][o : o + 6].to_numpy() - frame["sales"][int(o) - 1])
                 for o in (72, 73, 74)]),
    )  # fmt: skip
    refit = quick().backtest(frame, windows=2, step=6, refit=True, level=None)
    np.testing.assert_array_equal(refit.origins, [68, 74])
    assert refit.coverage == {}


def test_verdict_is_honest():
    def verdict(ours, theirs, *, series=1, metric="MAE"):
        other = "MASE" if metric == "MAE" else "MAE"
        scores = {
            "headgate": {metric: ours, other: 1.0},
            "naive": {metric: theirs, other: 1.5 if ours > theirs else 0.5},
        }
        panel = Panel(np.zeros(series), np.arange(series + 1), tuple(range(series)))
        none, owner = np.empty((0, 1)), np.empty(0, np.int64)
        return Backtest(1, 1, panel, owner, owner, none, {}, {}, scores)

    lost = verdict(3.0, 2.0)
    assert lost.verdict() == (
        "headgate did NOT win: its MAE is 50 % above that of naive; use that."
    )
    assert lost.best == "naive"
    assert verdict(1.0, 2.0).verdict() == "headgate's MAE is 50 % below that of naive."
    assert verdict(0.0, 0.0).best == "naive"
    assert "did equally well; the simpler one will do" in verdict(0.995, 1.0).verdict()
    # series of different units are compared by their own
    many = verdict(1.0, 2.0, series=2, metric="MASE")
    assert many.verdict() == "headgate's MASE is 50 % below that of naive."
    assert many.best == "headgate"


def test_plot(fitted):
    axes = fitted.plot(title="Sales")
    assert axes.get_title(loc="left") == "Sales"


# -- mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (np.arange(10.0), {"horizon": 12},
         r"the series has 10 values, but horizon=12 needs at least 26 \(two horizons and 2 more\);"
         " bring more data, or ask for a horizon of at most 4"),
        (np.arange(10.0), {"horizon": 3, "lookback": 9}, "and lookback=9 needs at least 15"),
        (np.arange(50.0), {"horizon": 0}, "horizon must be between 1 and"),
        (np.arange(50.0), {"lookback": 0}, "lookback must be between 1 and"),
        (np.arange(50.0), {"hidden_size": 0}, "hidden_size must be between 1 and"),
        (np.arange(50.0), {"loss": "mape"}, "loss must be one of"),
        (np.arange(50.0), {"scaler": "minimax"}, "scaler must be one of"),
        (np.arange(50.0), {"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        (np.arange(50.0), {"learning_rate": -1.0}, "learning_rate must be a finite number above 0"),
        (np.arange(50.0), {"season": "weekly"}, "season must be an integer"),
        ([], {}, "a series needs at least 2 values"),
        ([1.0], {}, "a series needs at least 2 values"),
        ([1.0, np.inf] * 20, {}, "is infinite in indices 1, 3, 5, 7, 9 and 15 more"),
        ([1.0, np.nan] * 20, {"missing": "error"}, "the column 'y' has 20 missing values in the "
         "series at indices 1, 3, 5, 7, 9 and 15 more; fill them first, or pass missing="),
        ([1.0, np.nan] * 20, {}, "the series ends with 1 missing value of 'y'; drop those rows"),
        ([np.nan] * 40, {}, "the series has no value at all; drop it"),
        (np.arange(50.0), {"strategy": "mimo"}, "strategy must be one of"),
        (np.arange(50.0), {"missing": "zero"}, "missing must be one of"),
        (np.arange(50.0), {"levels": (80, 100)}, "level must be above 0 and below 100"),
        (np.full(50, 3.0), {"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        (np.full(50, 3.0), {"weight_decay": -1.0}, "weight_decay must be a finite number at least"),
        (np.full(50, 3.0), {"num_layers": 0}, "num_layers must be between 1 and"),
        (["1.0", "many"] * 20, {}, "hold 'many' at index 1"),
        (np.zeros((20, 2)), {}, "pass one series at a time"),
    ],
)  # fmt: skip
def test_mistakes_are_named(data, options, words):
    with pytest.raises(hg.InputError, match=words):
        quick(**options).fit(data)


def test_a_failed_fit_leaves_the_earlier_one(fitted):
    forecaster = quick().fit(monthly())
    with pytest.raises(hg.InputError, match="time stamps of 'month' stand more than once"):
        forecaster.fit(pl.concat([monthly(), monthly().head(1)]))
    assert forecaster.predict().equals(fitted.predict())


def test_divergence_says_what_to_try():
    with pytest.raises(hg.DivergenceError, match="Try a smaller learning_rate"):
        quick(learning_rate=1e6, loss="mse", epochs=50).fit(monthly())


def test_before_fit():
    for error in (hg.NotFittedError, SklearnNotFittedError):
        with pytest.raises(error, match="not fitted, so predict is not possible; call fit"):
            quick().predict()


@pytest.mark.parametrize("level", [0, 100, -5, "80", (80, float("nan")), True])
def test_levels(fitted, level):
    with pytest.raises(hg.InputError, match="level must be above 0 and below 100"):
        fitted.predict(level=level)


def test_scikit_learn_conventions(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "panel_")
    assert hasattr(fitted, "panel_")
    assert copy.set_params(horizon=3).horizon == 3
    with pytest.raises(hg.InputError, match="GRUForecaster has no parameter 'horizont'; it has"):
        copy.set_params(horizont=3)
    assert "hidden_size=8" in repr(copy)
