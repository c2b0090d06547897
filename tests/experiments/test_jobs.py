"""What every model of a comparison is given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import headgate as hg
from headgate.experiments.data import open_data
from headgate.experiments.job import Job
from headgate.experiments.jobs import PIECE, make_job
from headgate.experiments.toys import adding_job, adding_table, sine_job
from headgate.training.history import History


class Says:
    """A model that says what it is told, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, table: hg.SampleTable) -> Any:
        return self.answer(table)


def series_job(values: Any, **options: Any) -> Job:
    options = {"lookback": None, "horizon": 5, **options}
    return make_job(open_data(values, horizon=options["horizon"]), **options)


def test_windows_of_a_series_keep_to_their_part() -> None:
    job = series_job(np.arange(100.0) ** 1.5, lookback=8)
    assert job.validation is not None
    assert (len(job.train), len(job.validation)) == (70 - 8 - 5 + 1, 10 - 5 + 1)
    assert (job.train.y_starts + 5).max() == 70  # type: ignore[operator]
    assert (job.validation.y_starts.min(), job.validation.y_starts.max() + 5) == (70, 80)  # type: ignore[union-attr]


def test_the_truth_scores_nought_and_the_naive_forecast_as_the_baseline() -> None:
    values = 50 + 10 * np.sin(np.arange(120.0) * 2 * np.pi / 12) + np.arange(120) / 7
    job = series_job(values, lookback=12)
    z = (values - values[:84].mean()) / values[:84].std()

    def truth(table: hg.SampleTable) -> Any:
        assert table.y_starts is not None
        assert table.y_starts.min() == 96
        return z[table.y_starts[:, None] + np.arange(5)]

    found = job.score(Says(truth), History())
    assert all(abs(score) < 1e-12 for score in found.values())
    last = job.score(
        Says(lambda table: np.repeat(table.x[table.y_starts - 1], 5, axis=1)), History()
    )
    naive = job.baselines["naive (last value)"]
    assert last == pytest.approx(naive, rel=1e-5)
    assert set(job.baselines) == {"naive (last value)", "seasonal naive (12)"}
    assert job.baselines["seasonal naive (12)"]["MAE"] == pytest.approx(12 / 7)
    assert naive["MAE"] / naive["MASE"] == pytest.approx(12 / 7)


def test_a_share_is_the_latest_windows_and_the_test_stays() -> None:
    job = series_job(np.random.default_rng(0).normal(size=200))
    some = job.share(0.25)
    assert len(some.train) == round(0.25 * len(job.train))
    assert some.train.starts.tolist() == job.train.starts[-len(some.train) :].tolist()
    assert some.score is job.score
    assert some.baselines == job.baselines


def test_a_share_of_examples_has_every_class_as_often() -> None:
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 50
    job = make_job(
        open_data(([f"word {k}" for k in range(200)], labels)), lookback=None, horizon=12
    )
    some = job.share(0.5)
    counts = np.bincount(np.asarray(some.train.y)[some.train.y_starts].astype(int))
    assert abs(counts - np.array([40, 20, 20])).max() <= 1


def test_classes_are_counted_by_name() -> None:
    items = [np.full((6, 1), k % 2, np.float32) + np.arange(6)[:, None] for k in range(60)]
    job = make_job(open_data((items, ["even", "odd"] * 30)), lookback=None, horizon=12)
    assert job.baselines == {"majority class": {"accuracy": 0.5}}

    def first(table: hg.SampleTable) -> Any:
        return np.tile([0.9, 0.1], (len(table), 1))

    def right(table: hg.SampleTable) -> Any:
        first = table.x[table.starts, 0]
        return np.stack([first < first.mean(), first > first.mean()], axis=1)

    assert job.score(Says(first), History()) == {"accuracy": 0.5}
    assert job.score(Says(right), History()) == {"accuracy": 1.0}


def test_pieces_of_a_text_meet_and_the_unigram_is_counted() -> None:
    job = make_job(open_data("abab" * 500), lookback=None, horizon=12)
    table = job.train
    assert int(table.lengths.sum()) == int(table.starts[-1] + table.lengths[-1])
    assert table.longest if hasattr(table, "longest") else int(table.lengths.max()) == PIECE
    # 800 of each in 1600, and one more of each of five: padding, unknown, line, a, b
    assert job.baselines["unigram"]["perplexity"] == pytest.approx(1605 / 801)

    class Uniform:
        def evaluate(self, table: hg.SampleTable) -> float:
            return math.log(7)

    assert job.score(Uniform(), History()) == {"perplexity": pytest.approx(7)}


def test_missing_values_are_named() -> None:
    values = np.arange(100.0)
    values[40] = np.nan
    with pytest.raises(hg.InputError, match="missing"):
        series_job(values)
    item = np.array([[1.0], [np.nan]])
    with pytest.raises(hg.InputError, match="NaN"):
        make_job(open_data(([item] * 20, ["a", "b"] * 10)), lookback=None, horizon=12)


def test_values_that_cannot_be_squared_are_named() -> None:
    far = np.random.default_rng(0).normal(size=100)
    far[90] = 1e30
    for values, said in [
        (np.where(np.arange(100) % 2, 1e300, -1e300), "values up to 1e.300, whose squares"),
        (far, "standard deviations away from"),
    ]:
        with pytest.raises(hg.InputError, match=said):
            series_job(values)


def test_the_adding_problem_is_as_published() -> None:
    table = adding_table(30, 500, 0)
    x = table.x.reshape(500, 30, 2)
    assert (x[:, :15, 1].sum(axis=1) == 1).all()
    assert (x[:, 15:, 1].sum(axis=1) == 1).all()
    assert np.allclose((x[:, :, 0] * x[:, :, 1]).sum(axis=1), table.y)
    assert adding_job(20).baselines["always 1"]["MSE"] == pytest.approx(1 / 6, rel=0.05)


def test_the_sine_is_learned_in_order_with_its_state() -> None:
    job = sine_job()
    assert job.stateful
    assert (len(job.train), job.longest, job.options()["epochs"]) == (38, 20, 150)
