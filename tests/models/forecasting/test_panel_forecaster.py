"""One model over many series: frames in and out, covariates, gaps, files, back-tests."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

import headgate as hg
from headgate.model_file import load_model, save_model
from headgate.models.forecasting.treatment import SCALERS

FIRST = dt.date(2024, 1, 1)
WEEK = np.array([0.0, 4, -3, 2, 6, -5, -4])


def days(first: int, count: int) -> list[dt.date]:
    return [FIRST + dt.timedelta(k) for k in range(first, first + count)]


def one(
    name: Any, count: int = 48, *, seed: int = 0, size: float = 1.0, first: int = 0
) -> pl.DataFrame:
    """A weekly season and a little noise; ``first`` is the day on which the series begins."""
    rng = np.random.default_rng(seed)
    place = np.arange(first, first + count)
    values = size * (50 + WEEK[place % 7] + rng.normal(0, 0.5, count))
    return pl.DataFrame({"unique_id": [name] * count, "ds": days(first, count), "y": values})


def panel(count: int = 3, length: int = 48, **options: Any) -> pl.DataFrame:
    """Series a, b, c ... of unlike sizes and lengths."""
    return pl.concat(
        [one("abcdefgh"[k], length + 5 * k, seed=k, size=10.0**k, **options) for k in range(count)]
    )


def quick(horizon: int = 5, **options: Any) -> hg.GRUForecaster:
    return hg.GRUForecaster(
        horizon,
        **{
            "epochs": 10,
            "members": 1,
            "hidden_size": 8,
            "learning_rate": 0.02,
            "progress": False,
            **options,
        },
    )


def column(frame: Any, name: str, where: Any = None, id: str = "unique_id") -> np.ndarray:
    """The values of a column, of the series ``where`` alone if given; of either kind of frame."""
    values = np.asarray(frame[name])
    return values if where is None else values[np.asarray(frame[id]) == where]


@pytest.fixture(scope="module")
def fitted() -> hg.GRUForecaster:
    forecaster = quick().fit(panel())
    heads = forecaster.ensemble_.networks[0].state_dict()["head.weight"]
    assert np.abs(heads).max() > 0  # it learned something, or the tests below would show little
    return forecaster


# -- frames --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["polars", "pandas"])
@pytest.mark.parametrize("names", [("b", "a", "c"), (30, 4, 7)])
def test_a_long_frame_comes_back_as_one(kind: str, names: tuple[Any, ...]) -> None:
    """Ids in order of appearance, horizon rows each, after each series' own end."""
    frame = pl.concat([one(name, 40 + 9 * k, seed=k) for k, name in enumerate(names)])
    frame = frame.rename({"unique_id": "shop", "ds": "day", "y": "sold"})
    forecaster = quick()
    forecaster.fit(
        frame.to_pandas() if kind == "pandas" else frame, time="day", target="sold", id="shop"
    )
    out = forecaster.predict(level=80)
    assert isinstance(out, pd.DataFrame if kind == "pandas" else pl.DataFrame)
    assert list(out.columns) == ["shop", "day", "headgate", "headgate-lo-80", "headgate-hi-80"]
    assert column(out, "shop").tolist() == [name for name in names for _ in range(5)]
    for k, name in enumerate(names):
        stamps = np.asarray(column(out, "day", name, "shop")).astype("M8[D]")
        assert stamps.tolist() == days(40 + 9 * k, 5)
    assert len(forecaster.ensemble_.networks) == 1
    assert len(forecaster.panel_) == len(names)


def test_a_panel_of_one_is_the_bare_series() -> None:
    named = one("a", 60)
    bare = quick().fit(named.drop("unique_id"))
    alone = quick().fit(named)
    assert alone.predict().drop("unique_id").equals(bare.predict())
    table = alone.cross_validation(n_windows=2).drop("unique_id")
    assert table.equals(bare.cross_validation(n_windows=2))


def test_the_order_of_rows_does_not_matter(fitted: hg.GRUForecaster) -> None:
    frame = panel()
    # each series' rows backwards, and the series in turns; 'a' still comes first
    turned = frame.with_columns(pl.int_range(pl.len()).over("unique_id").alias("n"))
    turned = turned.sort("n", "unique_id").drop("n")
    assert not turned.equals(frame)
    assert quick().fit(turned).predict().equals(fitted.predict())


def test_forecasts_follow_each_series_own_level(fitted: hg.GRUForecaster) -> None:
    """Of sizes 1, 10 and 100, and better than the last value: the week is seen."""
    out = fitted.predict()
    for k, name in enumerate("abc"):
        truth = 10.0**k * (50 + WEEK[np.arange(48 + 5 * k, 53 + 5 * k) % 7])
        assert np.abs(column(out, "headgate", name) - truth).mean() < 2 * 10.0**k


@pytest.mark.parametrize("longer", [6, 17])
def test_horizons_past_the_trained(fitted: hg.GRUForecaster, longer: int) -> None:
    short, long = fitted.predict(), fitted.predict(longer)
    assert len(long) == 3 * longer
    for name in "abc":
        mine = long.filter(pl.col("unique_id") == name)
        assert mine.head(5).equals(short.filter(pl.col("unique_id") == name))
        width = (mine["headgate-hi-80"] - mine["headgate-lo-80"]).to_numpy()
        assert width[-1] > width[4]
        assert np.isfinite(mine["headgate"].to_numpy()).all()


# -- newer data ----------------------------------------------------------------------------


def test_newer_data_of_known_series_keep_the_phase() -> None:
    """A week begins where it began, whatever part of a series is given."""
    forecaster = quick(7, epochs=20, scaler="window").fit(panel(length=70))
    assert forecaster.treatment_.method == "indices"
    whole = panel(length=90)
    expected = forecaster.predict(data=whole)
    for name, count in (("a", 90), ("b", 95)):
        truth = {"a": 1.0, "b": 10.0}[name] * (50 + WEEK[np.arange(count, count + 7) % 7])
        error = np.abs(column(expected, "headgate", name) - truth).mean()
        assert error < 2 * {"a": 1.0, "b": 10.0}[name]
    for rows in (30, 24):  # begin within the training data, and after
        tail = whole.group_by("unique_id", maintain_order=True).tail(rows)
        assert forecaster.predict(data=tail).equals(expected)
    # one of them alone, in an order of its own
    some = pl.concat([whole.filter(pl.col("unique_id") == name) for name in ("c", "a")])
    out = forecaster.predict(data=some)
    assert column(out, "unique_id").tolist() == ["c"] * 7 + ["a"] * 7
    for name in "ca":
        np.testing.assert_array_equal(
            column(out, "headgate", name), column(expected, "headgate", name)
        )


def test_series_that_were_not_in_training(fitted: hg.GRUForecaster) -> None:
    """They bring their own season, level and noise; known ones beside them stay as they are."""
    new = pl.concat([one("z", 50, seed=9, size=1e6, first=3), panel()])
    out = fitted.predict(data=new)
    np.testing.assert_array_equal(
        column(out, "headgate", "b"), column(fitted.predict(), "headgate", "b")
    )
    truth = 1e6 * (50 + WEEK[np.arange(53, 58) % 7])
    assert np.abs(column(out, "headgate", "z") - truth).mean() < 2e6
    width = column(out, "headgate-hi-80", "z") - column(out, "headgate-lo-80", "z")
    assert (width > 1e5).all()
    alone = fitted.predict(data=one("z", 50, seed=9, size=1e6, first=3))
    np.testing.assert_array_equal(column(alone, "headgate"), column(out, "headgate", "z"))
    for name in "abc":  # a known one under another name is forecast as it was
        twin = panel().filter(pl.col("unique_id") == name).with_columns(unique_id=pl.lit("twin"))
        np.testing.assert_allclose(
            column(fitted.predict(data=twin), "headgate"),
            column(fitted.predict(), "headgate", name),
            rtol=1e-6,
        )


def test_newer_data_of_another_frequency(fitted: hg.GRUForecaster) -> None:
    hours = panel().with_columns(
        ds=pl.datetime(2024, 1, 1) + pl.duration(hours=pl.int_range(pl.len()).over("unique_id"))
    )
    with pytest.raises(hg.InputError, match="come every h, but this model was fitted to data of"):
        fitted.predict(data=hours)
    with pytest.raises(hg.InputError, match=r"^series 'z' has 1 values, but this model reads at"):
        fitted.predict(data=pl.concat([panel(), one("z", 1)]))


# -- back-tests ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_cross_validation_frame(kind: str) -> None:
    frame = panel()
    given = frame.to_pandas() if kind == "pandas" else frame
    out = quick().cross_validation(given, n_windows=3, step_size=2, level=(80,))
    assert isinstance(out, pd.DataFrame if kind == "pandas" else pl.DataFrame)
    assert list(out.columns) == [
        "unique_id", "ds", "cutoff", "y", "headgate", "headgate-lo-80", "headgate-hi-80", "naive",
        "seasonal_naive",
    ]  # fmt: skip
    assert len(out) == 3 * 3 * 5
    for k, name in enumerate("abc"):
        count = 48 + 5 * k
        y = column(frame, "y", name)
        origins = [count - 9, count - 7, count - 5]  # the last window ends the series
        cutoffs = column(out, "cutoff", name).astype("M8[D]").tolist()
        assert cutoffs == [day for at in origins for day in days(at - 1, 1) * 5]
        stamps = column(out, "ds", name).astype("M8[D]").tolist()
        assert stamps == [day for at in origins for day in days(at, 5)]
        rows = np.array([at + h for at in origins for h in range(5)])
        np.testing.assert_array_equal(column(out, "y", name), y[rows])
        before = np.repeat(origins, 5)
        np.testing.assert_array_equal(column(out, "naive", name), y[before - 1])
        ago = rows - 7
        np.testing.assert_array_equal(column(out, "seasonal_naive", name), y[ago])
    inside = column(out, "headgate-lo-80") <= column(out, "headgate-hi-80")
    assert inside.all()


def test_windows_do_not_overlap_by_default(fitted: hg.GRUForecaster) -> None:
    out = fitted.cross_validation(n_windows=2)
    assert column(out, "ds", "a").tolist() == days(38, 10)
    assert len(set(column(out, "cutoff", "a").tolist())) == 2
    assert out.equals(quick().cross_validation(panel(), n_windows=2))  # a fresh copy is fitted


@pytest.mark.parametrize("refit", [False, True])
def test_a_backtest_never_sees_what_it_forecasts(refit: bool) -> None:
    """All values after the front changed: the first window of each series is forecast alike."""
    frame = panel()
    place, size = pl.int_range(pl.len()).over("unique_id"), pl.len().over("unique_id")
    front = size - 15  # of 3 windows of 5 steps
    wild = frame.with_columns(
        y=pl.when(place >= front).then(1e5 * (place + 1)).otherwise(pl.col("y"))
    )
    assert not wild.equals(frame)
    tables = [
        quick().cross_validation(data, n_windows=3, refit=refit).drop("y") for data in (frame, wild)
    ]
    for name in "abc":
        one_, other = (t.filter(pl.col("unique_id") == name) for t in tables)
        assert one_.head(5).equals(other.head(5))
        assert not one_.equals(other)


def test_refit_fits_before_every_window() -> None:
    frame = panel()
    once = quick().cross_validation(frame, n_windows=2)
    anew = quick().cross_validation(frame, n_windows=2, refit=True)
    for name in "abc":
        first = [t.filter(pl.col("unique_id") == name).head(5) for t in (once, anew)]
        assert first[0].equals(first[1])
    assert not once.equals(anew)
    # the last window is what a fit on all before it forecasts
    place = pl.int_range(pl.len()).over("unique_id")
    before = frame.filter(place < pl.len().over("unique_id") - 5)
    out = quick().fit(before).predict()
    last = anew.group_by("unique_id", maintain_order=True).tail(5)
    np.testing.assert_allclose(column(last, "headgate"), column(out, "headgate"), rtol=1e-6)


def test_backtest_of_many_series() -> None:
    frame = pl.concat([panel(), one("tiny", 9)])
    result = quick().backtest(frame, windows=2)
    assert result.owner.tolist() == [0, 0, 1, 1, 2, 2]
    assert result.origins.tolist() == [38, 43, 43, 48, 48, 53]
    assert result.skipped == 1
    assert result.panel.ids == ("a", "b", "c")
    assert result.truth.shape == result.forecasts["headgate"].shape == (6, 5)
    # MASE: each series in units of its own naive error before the front
    scaled = []
    for i, (k, at) in enumerate(zip(result.owner, result.origins, strict=True)):
        y = column(frame, "y", "abc"[k])
        early = y[: [38, 43, 48][k]]
        unit = np.abs(early[7:] - early[:-7]).mean()
        scaled.append(np.abs(y[at : at + 5] - result.forecasts["headgate"][i]) / unit)
    assert result.scores["headgate"]["MASE"] == pytest.approx(np.mean(scaled))
    facts = result.to_dict()
    assert (facts["series"], facts["series_skipped"], facts["windows"]) == (3, 1, 6)
    with pytest.raises(hg.InputError, match="a back-test of 10 windows leaves too little to learn"):
        quick().backtest(frame, windows=10)


def test_the_season_of_a_panel_beats_both_naive_forecasts() -> None:
    frame = pl.concat([one(k, 70, seed=k, size=1.0 + k) for k in range(8)])
    result = quick(7, epochs=30, members=2).backtest(frame, windows=2)
    ours = result.scores["headgate"]["MASE"]
    for name in ("naive", "naive, 7 steps back"):
        assert ours < 0.95 * result.scores[name]["MASE"]
    assert result.best == "headgate"
    assert "headgate's MASE is" in result.verdict()


def test_score_is_skill_over_the_naive_forecast(fitted: hg.GRUForecaster) -> None:
    data = panel(length=60)
    before, after = ends(data, 5)
    out = fitted.predict(data=before)
    ours, theirs = [], []
    for k, name in enumerate("abc"):
        y, truth = column(before, "y", name), column(after, "y", name)
        unit = np.abs(y[7:] - y[:-7]).mean()
        ours.append(np.abs(column(out, "headgate", name) - truth).mean() / unit)
        theirs.append(np.abs(y[-7:-2] - truth).mean() / unit)
        assert len(truth) == 5, k
    assert fitted.score(data) == pytest.approx(1 - np.mean(ours) / np.mean(theirs))


# -- covariates ----------------------------------------------------------------------------


def driven(length: int = 80, *, seed: int = 0, ids: str = "ab") -> pl.DataFrame:
    """A target that jumps by 10 where ``promo`` is 1, at random."""
    rng = np.random.default_rng(seed)
    parts = []
    for k, name in enumerate(ids):
        promo = rng.integers(0, 2, length).astype(float)
        y = 30 * (k + 1) + 10 * promo + rng.normal(0, 0.5, length)
        weather = rng.normal(0, 1, length)
        columns = {"y": y, "promo": promo, "weather": weather}
        kind = "big" if k else "small"
        parts.append(pl.DataFrame({"unique_id": name, "ds": days(0, length), **columns}))
        parts[-1] = parts[-1].with_columns(kind=pl.lit(kind))
    return pl.concat(parts)


def ends(frame: pl.DataFrame, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All but the last ``rows`` of each series, and those."""
    place = pl.int_range(pl.len()).over("unique_id")
    last = place >= pl.len().over("unique_id") - rows
    return frame.filter(~last), frame.filter(last)


@pytest.fixture(scope="module")
def promo() -> hg.GRUForecaster:
    before, _ = ends(driven(), 4)
    columns = {"future": "promo", "past": ["weather"], "static": "kind", "target": "y"}
    return quick(4, epochs=60, hidden_size=16, learning_rate=0.01, season=1).fit(before, **columns)


def test_what_is_known_ahead_is_used(promo: hg.GRUForecaster) -> None:
    before, after = ends(driven(), 4)
    out = promo.predict(X_df=after.drop("y", "weather"))
    blind = quick(4, epochs=60, hidden_size=16, learning_rate=0.01, season=1)
    blind.fit(before.select("unique_id", "ds", "y"))
    errors = [
        np.abs(column(path, "headgate") - column(after, "y")).mean()
        for path in (out, blind.predict())
    ]
    assert errors[0] < 0.6 * errors[1]
    # the other way round, every day of a campaign becomes one without
    other = promo.predict(X_df=after.with_columns(promo=1 - pl.col("promo")))
    moved = column(other, "headgate") - column(out, "headgate")
    assert (np.sign(moved) == np.sign(0.5 - column(after, "promo"))).all()
    assert np.abs(moved).mean() > 5


def test_rows_of_x_df_are_found_by_id_and_stamp(promo: hg.GRUForecaster) -> None:
    _, after = ends(driven(), 4)
    expected = promo.predict(X_df=after)
    more = pl.concat([driven(), driven(ids="z")])  # the past and another series are no harm
    assert promo.predict(X_df=more.sample(fraction=1.0, shuffle=True, seed=3)).equals(expected)
    assert promo.predict(2, X_df=after).equals(
        expected.group_by("unique_id", maintain_order=True).head(2)
    )


def test_covariates_past_the_trained_horizon(promo: hg.GRUForecaster) -> None:
    before, after = ends(driven(), 10)
    out = promo.predict(10, X_df=after, data=before)
    high = column(after, "promo") == 1
    size = np.where(column(after, "unique_id") == "b", 60, 30)
    assert (column(out, "headgate") - size)[high].mean() > 5
    assert (column(out, "headgate") - size)[~high].mean() < 5
    assert promo.predict(4, X_df=after, data=before).equals(
        out.group_by("unique_id", maintain_order=True).head(4)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: None, "this model reads covariates known ahead, 'promo'; pass them for the "
         r"4 steps after each series: predict\(X_df=frame\)"),
        (lambda rows: rows.drop("promo"), "future column 'promo' is not in the table;"),
        (lambda rows: rows[:-1], "future covariate 'promo' is missing for 2024-03-20 of series 'b'"
         "; X_df must hold all 4 steps after each series ends"),
        (lambda rows: rows[4:], "missing for 2024-03-17 .and 3 more steps. of series 'a'"),
        (lambda rows: rows.with_columns(promo=pl.lit(None, pl.Float64)),
         r"missing for 2024-03-17 \(and 3 more steps\) of series 'a' \(and 1 more series\)"),
        (lambda rows: [1.0, 0.0], "X_df must be a frame with the future covariates 'promo'"),
    ],
)  # fmt: skip
def test_what_is_missing_ahead_is_named(promo: hg.GRUForecaster, change: Any, words: str) -> None:
    _, after = ends(driven(), 4)
    with pytest.raises(hg.InputError, match=words):
        promo.predict(X_df=change(after))


def test_x_df_where_nothing_is_known_ahead(fitted: hg.GRUForecaster) -> None:
    with pytest.raises(hg.InputError, match="fitted without future covariates; fit with future="):
        fitted.predict(X_df=panel())


def test_new_categories_are_named(promo: hg.GRUForecaster) -> None:
    before, after = ends(driven(), 4)
    new = before.with_columns(
        kind=pl.when(pl.col("unique_id") == "b").then(pl.lit("huge")).otherwise(pl.col("kind"))
    )
    words = "series 'b' has category 'huge' in column 'kind', which the training data did not have"
    with pytest.raises(hg.InputError, match=words + "; known are big, small;"):
        promo.predict(data=new, X_df=after)
    many = before.with_columns(kind=pl.int_range(pl.len()).over("unique_id").cast(pl.String))
    with pytest.raises(hg.InputError, match="static column 'kind' changes within series 'a'"):
        quick().fit(many, static="kind", past=["weather", "promo"], target="y")
    wide = pl.concat([one(k, 12) for k in range(257)]).with_columns(kind=pl.col("unique_id"))
    with pytest.raises(hg.InputError, match="hold 257 categories, at most 256 are possible"):
        quick(2).fit(wide, static="kind")


def test_covariates_in_a_backtest() -> None:
    """Those known ahead help there too, and what is past does not leak."""
    frame = driven(90)
    options = {"epochs": 60, "hidden_size": 16, "learning_rate": 0.01, "season": 1}
    with_, without = (
        quick(4, **options).cross_validation(frame.select(columns), n_windows=3, **future)
        for columns, future in (
            (["unique_id", "ds", "y", "promo"], {"future": "promo"}),
            (["unique_id", "ds", "y"], {}),
        )
    )
    error = [np.abs(column(t, "headgate") - column(t, "y")).mean() for t in (with_, without)]
    assert error[0] < 0.7 * error[1]
    place, size = pl.int_range(pl.len()).over("unique_id"), pl.len().over("unique_id")
    wild = frame.with_columns(
        pl.when(place >= size - 12).then(1e4).otherwise(pl.col(name)).alias(name)
        for name in ("weather", "promo", "y")
    )
    tables = [
        quick(4).cross_validation(data, n_windows=3, past=["weather", "promo"], target="y",
                                  static="kind")
        for data in (frame, wild)
    ]  # fmt: skip
    for name in "ab":
        first = [t.filter(pl.col("unique_id") == name).head(4).drop("y") for t in tables]
        assert first[0].equals(first[1])
    assert not tables[0].equals(tables[1])


# -- options, files ------------------------------------------------------------------------


OPTIONS = [
    *({"scaler": scaler} for scaler in SCALERS),
    *({"strategy": strategy} for strategy in ("auto", "direct", "recursive")),
    *({"loss": loss} for loss in ("mae", "mse", "huber", "quantile")),
    {"loss": "quantile", "strategy": "recursive", "levels": (50, 99.5)},
    {"loss": "quantile", "scaler": "minmax", "levels": 90},
    {"season": 1, "lookback": 3, "num_layers": 2, "dropout": 0.2, "members": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_bits_after_load(options: dict[str, Any], tmp_path: Path) -> None:
    frame = panel()
    forecaster = quick(**options).fit(frame)
    levels = options.get("levels", (80, 95))
    path = tmp_path / "m.safetensors"
    forecaster.save(path)
    loaded = hg.load(path)
    before = forecaster.predict(8, level=levels)
    assert before.equals(loaded.predict(8, level=levels))
    assert np.isfinite(before.select(pl.selectors.float()).to_numpy()).all()
    newer = pl.concat([panel(length=55), one("z", 50, seed=5)])
    assert forecaster.predict(data=newer, level=levels).equals(
        loaded.predict(data=newer, level=levels)
    )
    assert loaded.get_params() == {**forecaster.get_params(), "levels": loaded.levels}
    for k, name in enumerate("abc" if options.get("scaler") != "none" else ""):
        # every one of them follows the level at least, but for one that cannot know it so soon
        near = np.abs(column(before, "headgate", name) / 10.0**k - 50)
        assert near.max() < 25
    if options.get("strategy") == "recursive":
        assert forecaster.cut_.horizon == 1
    if options.get("scaler") in ("series", "standard", "minmax", "robust", "none"):
        assert forecaster.treatment_.shift == "none"
    if options.get("scaler") == "window":
        assert forecaster.treatment_.shift != "none"


def test_a_model_with_covariates_after_load(promo: hg.GRUForecaster, tmp_path: Path) -> None:
    promo.save(tmp_path / "m.safetensors")
    loaded = hg.load(tmp_path / "m.safetensors")
    _, after = ends(driven(), 4)
    assert loaded.predict(X_df=after).equals(promo.predict(X_df=after))


@pytest.mark.parametrize("many", [3, 60])
def test_a_loaded_panel_knows_its_ids_and_ends(many: int, tmp_path: Path) -> None:
    """Of more than 50 series only what forecasts need is kept."""
    frame = pl.concat([one(k, 130 + k % 3, seed=k) for k in range(many)])
    forecaster = quick(epochs=1).fit(frame)
    forecaster.save(tmp_path / "m.safetensors")
    loaded = hg.load(tmp_path / "m.safetensors")
    assert loaded.panel_.ids == tuple(range(many))
    assert loaded.predict().equals(forecaster.predict())
    kept = loaded.panel_.lengths
    assert (kept >= forecaster.cut_.least).all()
    assert (kept + loaded.phase_ == forecaster.panel_.lengths).all()
    assert (kept < 60).all() == (many > 50)
    with pytest.raises(hg.InputError, match="carries only the end of its training data"):
        loaded.cross_validation()


def test_a_file_in_which_an_id_stands_twice(fitted: hg.GRUForecaster, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted.save(path)
    file = load_model(path)
    for ids in (["a", "b", "a"], ["a", "b"], []):
        file.extra["estimator"]["panel"]["ids"] = ids
        save_model(path, file.spec, file.tensors, extra=file.extra)
        with pytest.raises(hg.ModelFileError, match="its forecaster cannot be rebuilt"):
            hg.load(path)


def test_quantiles_that_cross_are_sorted() -> None:
    forecaster = quick(loss="quantile", levels=(80,), season=1).fit(panel())
    network = forecaster.ensemble_.networks[0]
    weights = network.state_dict()
    weights["head.bias"] = np.tile([9.0, 0.0, -9.0], 5).astype(np.float32)  # the wrong way round
    network.load_state_dict(weights)
    out = forecaster.predict(level=80)
    width = column(out, "headgate-hi-80") - column(out, "headgate-lo-80")
    assert (width > 9 * np.repeat(forecaster.treatment_.scale, 5)).all()


def test_quantiles_are_made_for_their_levels(fitted: hg.GRUForecaster) -> None:
    forecaster = quick(loss="quantile", levels=(80,)).fit(panel())
    assert forecaster.ensemble_.quantiles == pytest.approx((0.1, 0.5, 0.9))
    out = forecaster.predict(level=80)
    low, middle, high = (column(out, f"headgate{end}") for end in ("-lo-80", "", "-hi-80"))
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (low < high).any()
    with pytest.raises(hg.InputError, match=r"trained for the levels 80, not for 95; pass one of"):
        forecaster.predict()
    with pytest.raises(hg.InputError, match=r"not for 95"):
        forecaster.backtest(panel())


@pytest.mark.parametrize("level", [0, 100, (80, 100), -1])
def test_levels_that_cannot_be(fitted: hg.GRUForecaster, level: Any) -> None:
    for call in (fitted.predict, fitted.cross_validation, fitted.backtest):
        with pytest.raises(hg.InputError, match="level must be above 0 and below 100 percent"):
            call(level=level)


def test_same_seed_same_bits(fitted: hg.GRUForecaster, threads: None) -> None:
    tables = []
    for count in (1, 2, 3):
        hg.set_num_threads(count)
        assert quick().fit(panel()).predict().equals(fitted.predict())
        tables.append(fitted.cross_validation(n_windows=2))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert not quick(seed=1).fit(panel()).predict().equals(fitted.predict())


def test_scikit_learn_conventions() -> None:
    options = {"scaler": "robust", "strategy": "recursive", "missing": "forward", "levels": (70,)}
    forecaster = quick(**options)
    copy = clone(forecaster)
    assert copy.get_params() == forecaster.get_params()
    assert {name: copy.get_params()[name] for name in options} == options
    assert copy.set_params(scaler="none").scaler == "none"
    assert "strategy='recursive'" in repr(forecaster)


def test_plot_draws_the_series_that_is_named(fitted: hg.GRUForecaster) -> None:
    axes = fitted.plot(id="b")
    assert axes.get_title(loc="left") == "b"
    drawn = max(np.max(line.get_ydata()) for line in axes.lines)
    assert 400 < drawn < 700  # ten times 50
    assert fitted.plot().get_title(loc="left") == "a"
    with pytest.raises(hg.InputError, match="there is no series 'z'; there are 'a', 'b', 'c'"):
        fitted.plot(id="z")


# -- missing values ------------------------------------------------------------------------


def gaps(frame: pl.DataFrame, name: str, *rows: int) -> pl.DataFrame:
    place = pl.int_range(pl.len()).over("unique_id")
    hit = (pl.col("unique_id") == name) & place.is_in(rows)
    return frame.with_columns(y=pl.when(hit).then(None).otherwise(pl.col("y")))


@pytest.mark.parametrize("policy", ["interpolate", "forward"])
def test_gaps_are_filled(policy: str) -> None:
    frame = gaps(panel(), "b", 0, 20, 21)
    forecaster = quick(missing=policy).fit(frame)
    assert forecaster.filled_ == 2  # the row before the first value is dropped instead
    y = column(panel(), "y", "b")
    kept = forecaster.panel_.series(1).values
    inside = np.interp([20, 21], [19, 22], y[[19, 22]]) if policy == "interpolate" else y[[19, 19]]
    expected = np.concatenate([y[1:20], inside, y[22:]])
    np.testing.assert_allclose(kept, expected)
    by_hand = quick().fit(pl.concat([
        frame.filter(pl.col("unique_id") == "a"),
        one("b", 52, first=1).with_columns(y=pl.Series(expected)),
        frame.filter(pl.col("unique_id") == "c"),
    ]))  # fmt: skip
    np.testing.assert_allclose(
        column(forecaster.predict(), "headgate"), column(by_hand.predict(), "headgate"), rtol=1e-6
    )


def test_gaps_that_are_refused() -> None:
    frame = gaps(panel(), "b", 20, 21)
    words = "column 'y' has 2 missing values in series 'b' at 2024-01-21, 2024-01-22; fill them"
    with pytest.raises(hg.InputError, match=words):
        quick(missing="error").fit(frame)
    with pytest.raises(hg.InputError, match="series 'b' ends with 1 missing value of 'y'"):
        quick().fit(gaps(panel(), "b", 52))
    assert quick(missing="forward").fit(gaps(panel(), "b", 52)).filled_ == 1
    nothing = gaps(panel(), "b", *range(53))
    with pytest.raises(hg.InputError, match="series 'b' has no value at all; drop it"):
        quick().fit(nothing)


def test_filled_truth_is_no_truth() -> None:
    out = quick().cross_validation(gaps(panel(), "b", 20, 50))
    truth = column(out, "y", "b").astype(float)
    assert np.isnan(truth).tolist() == [False, False, True, False, False]  # rows 48 to 52
    assert np.isfinite(column(out, "headgate", "b")).all()
    assert np.isfinite(column(out, "y", "a").astype(float)).all()
    result = quick().backtest(gaps(panel(), "b", 20, 50), windows=1)
    assert np.isnan(result.truth).sum() == 1
    assert all(np.isfinite(list(row.values())).all() for row in result.scores.values())


def test_a_constant_series_among_others(tmp_path: Path) -> None:
    """Forecast exactly, with bands of no width; and it does the others no harm."""
    flat = one("flat", 50).with_columns(y=pl.lit(0.1))
    zero = one("zero", 50).with_columns(y=pl.lit(0.0))
    frame = pl.concat([flat, panel(), zero])
    for options in ({}, {"scaler": "minmax"}, {"season": 1}, {"loss": "quantile"}):
        forecaster = quick(**options).fit(frame)
        out = forecaster.predict(9)
        for name, value in (("flat", 0.1), ("zero", 0.0)):
            mine = out.filter(pl.col("unique_id") == name).drop("unique_id", "ds").to_numpy()
            np.testing.assert_allclose(mine, value, rtol=1e-6, atol=0)
        assert np.ptp(column(out, "headgate", "b")) > 0
    forecaster.save(tmp_path / "m.safetensors")
    assert hg.load(tmp_path / "m.safetensors").predict(9).equals(out)
    only = quick().fit(pl.concat([flat, zero])).predict(9)
    assert column(only, "headgate", "flat").tolist() == [0.1] * 9


# -- mistakes ------------------------------------------------------------------------------


def test_short_series_are_named() -> None:
    lone = pl.concat([panel(), one("lone", 1)])
    words = "too short to forecast: series 'lone' has 1 value; at least 2 are needed; drop it"
    with pytest.raises(hg.InputError, match=words):
        quick().fit(lone)
    words = "the longest series .series 'b'. has 11 values, but horizon=5 needs at least 12"
    with pytest.raises(hg.InputError, match=words):
        quick().fit(pl.concat([one("a", 9), one("b", 11)]))
    # a season of 24 hours is read at once, so that each series must have that many
    hour = pl.datetime(2024, 1, 1) + pl.duration(hours=pl.int_range(pl.len()).over("unique_id"))
    hours = pl.concat([one("a", 9), one("b", 300), one("c", 10)]).with_columns(ds=hour)
    words = "series 'a' has 9 values, series 'c' has 10 values; at least 24 are needed; drop them"
    with pytest.raises(hg.InputError, match=words):
        quick().fit(hours)
    assert quick().fit(hours.filter(pl.col("unique_id") == "b")).cut_.segment == 24


def test_mixed_frequencies_are_refused() -> None:
    weekly = pl.DataFrame(
        {"unique_id": ["w"] * 30, "ds": days(0, 30 * 7)[::7], "y": np.arange(30.0)}
    )
    with pytest.raises(hg.InputError, match="mixed frequencies: series 'w' comes every W"):
        quick().fit(pl.concat([panel(), weekly]))


def test_time_zones() -> None:
    """Hours of a place where a clock is set forward: none is skipped, none comes twice."""
    start = dt.datetime(2024, 3, 25)
    stamps = pl.datetime_range(start, start + dt.timedelta(hours=143), "1h", eager=True)
    stamps = stamps.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
    t = np.arange(144)
    parts = [
        pl.DataFrame({"unique_id": name, "ds": stamps, "y": np.sin(2 * np.pi * t / 24) + k})
        for k, name in enumerate("ab")
    ]
    frame = pl.concat(parts)
    out = quick(24).fit(frame).predict()
    assert out["ds"].dtype == frame["ds"].dtype
    after = out.filter(pl.col("unique_id") == "b")["ds"]
    assert after[0] == stamps[-1] + dt.timedelta(hours=1)
    assert after.diff().drop_nulls().unique().to_list() == [dt.timedelta(hours=1)]


def test_a_failed_fit_leaves_the_earlier_one(fitted: hg.GRUForecaster) -> None:
    forecaster = quick().fit(panel())
    with pytest.raises(hg.InputError, match="lone"):
        forecaster.fit(pl.concat([panel(), one("lone", 1)]))
    assert forecaster.predict().equals(fitted.predict())
    with pytest.raises(hg.InputError, match="2024-01-05 of series 'b' in rows 53, 160"):
        forecaster.fit(pl.concat([panel(), panel().filter(pl.col("unique_id") == "b")[4:5]]))
    assert forecaster.predict().equals(fitted.predict())


# -- size ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there is no resource module")
def test_twenty_thousand_series_in_little_memory() -> None:
    import resource

    count, length = 20_000, 20
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat(np.arange(count), length),
            "ds": np.tile(np.datetime64(FIRST) + np.arange(length), count),
            "y": rng.uniform(1, 100, count).repeat(length) + rng.normal(0, 1, count * length),
        }
    )
    scale = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    forecaster = quick(3, epochs=1).fit(frame)
    out = forecaster.predict()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale - before
    assert len(out) == 3 * count
    assert np.isfinite(out["headgate"].to_numpy()).all()
    assert grown < 600e6  # the values are 3.2 MB; an object for each series would show
    near = np.abs(out["headgate"].to_numpy()[::3] - frame["y"].to_numpy()[length - 1 :: length])
    assert np.median(near) < 3


# -- edges of files and pictures -----------------------------------------------------------


def test_numpy_scalars_are_saved(tmp_path: Path) -> None:
    model = quick(
        np.int64(3), season=np.int64(3), weight_decay=np.float32(0.5), progress=np.False_,
        members=np.int64(1),
    ).fit(np.arange(40.0) % 3)  # fmt: skip
    model.save(tmp_path / "m.safetensors")
    loaded = hg.load(tmp_path / "m.safetensors")
    assert (loaded.season, loaded.weight_decay, type(loaded.season)) == (3, 0.5, int)
    assert loaded.predict(level=None).tolist() == model.predict(level=None).tolist()


@pytest.mark.parametrize("path", [None, 3, True, object(), []])
def test_what_is_no_path(fitted: hg.GRUForecaster, path: Any) -> None:
    for call in (fitted.save, hg.load):
        with pytest.raises(hg.InputError, match="expected the path of a file, got"):
            call(path)


def test_a_path_of_bytes(fitted: hg.GRUForecaster, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "m.safetensors")
    fitted.save(path)  # type: ignore[arg-type]
    assert hg.load(path).horizon_ == 5  # type: ignore[arg-type]


def test_titles_and_axes_of_other_types(fitted: hg.GRUForecaster) -> None:
    assert fitted.plot(title=3).get_title(loc="left") == "3"  # type: ignore[arg-type]
    with pytest.raises(hg.InputError, match="expected matplotlib Axes to draw on, got 3"):
        fitted.plot(ax=3)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["season"], 0),
        (["season"], 1 << 60),
        (["error_levels"], [80.0]),
        (["quantiles"], [1e-9, 0.5, 1 - 1e-9]),
        (["quantiles"], [0.5]),
        (["panel", "id_name"], None),
        (["panel", "id_name"], ["unique_id"]),
        (["panel", "freq", "multiple"], 0),
        (["panel", "freq", "unit"], "Z"),
        (["panel", "season"], 0),
        (["panel", "style", "template"], "{year:04d}"),  # beside native dates
        (["panel", "style", "time_zone"], "Europe/Berlin"),
        (["features", "static"], [3]),
    ],
)
def test_facts_of_a_file_that_cannot_be(
    fitted: hg.GRUForecaster, tmp_path: Path, place: list[str], value: Any
) -> None:
    refuse_changed(fitted, tmp_path, place, value)


@pytest.mark.parametrize("wide", ["{year:999999999}", "{year:04d}{0}", "{year.real}", "{{" * 200])
def test_templates_of_a_file_that_cannot_be(tmp_path: Path, wide: str) -> None:
    frame = one("a").drop("unique_id").with_columns(pl.col("ds").cast(pl.String))
    refuse_changed(quick(epochs=1).fit(frame), tmp_path, ["panel", "style", "template"], wide)


def refuse_changed(
    model: hg.GRUForecaster, folder: Path, place: list[str], value: Any, times: Any = None
) -> None:
    """What ``model`` saves is refused once the fact at ``place`` is ``value``."""
    path = folder / "m.safetensors"
    model.save(path)
    hg.load(path)
    file = load_model(path)
    facts = file.extra["estimator"]
    for name in place[:-1]:
        facts = facts[name]
    facts[place[-1]] = value
    tensors = dict(file.tensors)
    if times is not None:
        tensors["extra.times"] = times(tensors["extra.times"])
    save_model(path, file.spec, tensors, extra=file.extra)
    with pytest.raises(hg.ModelFileError, match="its forecaster cannot be rebuilt"):
        hg.load(path)


@pytest.mark.parametrize("change", [lambda t: t[::-1], lambda t: t * 200, lambda t: t * 0])
def test_stamps_of_a_file_that_cannot_be(
    fitted: hg.GRUForecaster, tmp_path: Path, change: Any
) -> None:
    def times(bits: np.ndarray) -> np.ndarray:
        stamps = np.array(bits).view(np.int64)
        return np.ascontiguousarray(change(stamps)).view(np.float32)

    refuse_changed(fitted, tmp_path, ["horizon"], 5, times)
