"""hg.tune: searches that end, resume and say what they are worth."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headgate as hg
from headgate.errors import HeadgateError, HeadgateWarning, InputError
from headgate.experiments import tuning
from headgate.experiments.objectives import Objective, Params, Report, Scores
from headgate.experiments.spaces import Dimension, Space

pytest.importorskip("optuna", reason="searches with Optuna, an extra")

RNG = np.random.default_rng(0)
WAVE = np.sin(np.arange(70) * 0.7) + RNG.normal(0, 0.1, 70)
QUICK = hg.GRUForecaster(2, season=1, epochs=2, members=1)


@dataclass
class Bowl(Objective):
    """An objective without networks: lowest where dropout is 0.3 and hidden_size 40."""

    value: Callable[[float], float] = lambda value: value
    stop_after: int = 1 << 30
    count: int = 0

    def space(self) -> Space:
        return {"dropout": Dimension(0.0, 0.6), "hidden_size": Dimension(8, 64, log=True)}

    def trial(self, params: Params, report: Report) -> float:
        if not params:
            return 0.5
        self.count += 1
        if self.count > self.stop_after:
            raise KeyboardInterrupt
        found = abs(params["dropout"] - 0.3) + abs(params["hidden_size"] / 40 - 1)
        report(1, found)
        return self.value(found)

    def test(self, params: Params, seed: int) -> Scores:
        return {self.metric: self.trial(params, lambda step, value: None) + seed}

    def refit(self, params: Params) -> Any:
        return self.make(params)

    def content(self) -> Iterator[bytes]:
        yield b"bowl"


@pytest.fixture
def bowl(monkeypatch: pytest.MonkeyPatch) -> Bowl:
    """What every call of tune gets in place of data."""
    found = Bowl(hg.GRUForecaster(), "bowl", "nothing", "depth")
    monkeypatch.setattr(tuning, "make_objective", lambda *_: found)
    return found


def tune(**options: Any) -> Any:
    return hg.tune("forecast", None, progress=False, **options)


# -- real estimators ---------------------------------------------------------------------------


def test_a_forecaster_is_tuned_tested_and_refitted() -> None:
    found = hg.tune(QUICK, WAVE, trials=3, space={"hidden_size": [4, 16]}, progress=False)
    assert found.metric == "MAE"
    assert found.best_score <= found.default_score
    assert set(found.best_params) <= {"hidden_size"}
    assert len(found.model.panel_.values) == len(WAVE)  # of everything, the test part too
    assert found.model.get_params() == {
        **QUICK.get_params(), "progress": False, **found.best_params,
    }  # fmt: skip
    assert found.model.predict(level=None).shape == (2,)
    assert [len(rows) for rows in found.test.values()] == [3] * len(found.test)
    assert found.trials.columns[:5] == ["sampler", "trial", "state", "MAE", "seconds"]
    assert len(found.trials) == 3
    report = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert report["searches"][0]["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    search = found.searches[0]
    assert 0 < search.training_seconds < search.seconds


def test_the_test_part_chooses_nothing() -> None:
    other = WAVE.copy()
    other[-13:] += 5  # the test part: a fifth of 70
    scores = [
        hg.tune(QUICK, wave, trials=2, space={"hidden_size": [4, 16]}, progress=False).trials["MAE"]
        for wave in (WAVE, other)
    ]
    assert scores[0].to_list() == scores[1].to_list()


WORDS = ["good", "fine", "bad", "poor"]
TEXTS = [" ".join(RNG.choice(WORDS, 5)) for _ in range(40)]
SEQUENCES = [RNG.normal(k % 2, 0.3, (6, 1)) for k in range(40)]
LABELS = ["up" if k % 2 else "down" for k in range(40)]
SENTENCES = [text.split() for text in TEXTS]


@pytest.mark.parametrize(
    ("estimator", "X", "y", "metric"),
    [
        (hg.SequenceClassifier(epochs=2, augment=False), SEQUENCES, LABELS, "log loss"),
        ("classify", TEXTS, LABELS, "log loss"),
        (hg.SequenceRegressor(epochs=2), SEQUENCES, [x.mean() for x in SEQUENCES], "1 - R2"),
        (
            hg.SequenceTagger(epochs=2),
            SENTENCES,
            [["A" if word in WORDS[:2] else "B" for word in s] for s in SENTENCES],
            "1 - score",
        ),
        (hg.LanguageModel(epochs=1, ngram_order=2), TEXTS, None, "perplexity"),
        (hg.LanguageModel("char", epochs=1), "\n".join(TEXTS), None, "perplexity"),
    ],
    ids=["sequences", "texts", "numbers", "tags", "lines", "text"],
)
@pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning")
def test_every_estimator_can_be_tuned(estimator: Any, X: Any, y: Any, metric: str) -> None:
    space = {"hidden_size": [4, 8], "epochs": {"choices": [1]}}
    found = hg.tune(estimator, X, y, space=space, trials=2, progress=False)
    assert found.metric == metric
    assert found.searches[0].counts()["complete"] == 2
    assert np.isfinite(found.mean("defaults"))
    assert found.model.__sklearn_is_fitted__()


def test_what_cannot_be_tuned_is_said() -> None:
    with pytest.raises(InputError, match="must be an estimator of headgate"):
        hg.tune(3, WAVE)
    with pytest.raises(InputError, match="too little to learn from: the series has 5 values"):
        hg.tune(QUICK, WAVE[:9])
    with pytest.raises(InputError, match="horizon=7, but the estimator has that of"):
        hg.tune(QUICK, WAVE, horizon=7)
    with pytest.raises(InputError, match="the same length, got 0 and 2"):
        hg.tune(hg.SequenceRegressor(), None, [1.0, 2.0])
    with pytest.raises(InputError, match="'wide' is no parameter of GRUForecaster"):
        hg.tune(QUICK, WAVE, space={"wide": [1, 2]})


# -- budgets, failures, interruption -----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "trials must be between 1 and"),
        ({"minutes": 0}, "minutes must be a finite number above 0, got 0"),
        ({"minutes": float("nan")}, "minutes must be a finite number above 0, got nan"),
        ({"sampler": "whale"}, "sampler must be one of 'tpe', 'random', 'grid', 'cmaes', 'whales'"),
        ({"sampler": 3}, "sampler must be one of"),
        ({"sampler": []}, "samplers must be one or several different ones"),
        ({"sampler": ["tpe", "tpe"]}, "samplers must be one or several different ones"),
        ({"seed": -1}, "seed must be between 0"),
        (
            {"storage": "nowhere/study.db"},
            "there is no folder nowhere for study.db; create it first",
        ),
        ({"storage": "sqlite:///nowhere/study.db"}, "there is no folder nowhere"),
        ({"storage": "."}, r"\. is a folder; name a file in it"),
        ({"storage": "oracle9://x"}, "the storage 'oracle9://x' cannot be opened"),
        ({"storage": "oracle9://me:pass@word@x/y"}, r"'oracle9://me:\*\*\*@x/y' cannot be opened"),
    ],
)
@pytest.mark.usefixtures("bowl")
def test_what_is_wrong_with_a_search_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        tune(**options)


@pytest.mark.parametrize("module", ["optuna", "cmaes"])
def test_a_missing_library_says_how_to_install_it(
    module: str, bowl: Bowl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HeadgateError, match=rf"library {module}.*headgate\[tune\]"):
        tune(sampler="cmaes")
    assert bowl.count == 0


def test_a_search_by_time_ends(bowl: Bowl) -> None:
    found = tune(minutes=0.005)
    assert 1 <= len(found.searches[0].trials) == bowl.count - 3  # and a test with three seeds
    assert found.searches[0].seconds < 10


def test_failures_are_said_when_nothing_else_happened(bowl: Bowl) -> None:
    def fail(value: float) -> float:
        raise InputError("the data are too short")

    bowl.value = fail
    with pytest.raises(InputError, match=r"all 10 trials failed.*: the data are too short; change"):
        tune(trials=50)
    bowl.value = lambda value: float("nan")
    with pytest.raises(InputError, match=r"all 3 trials failed.*: the score was nan"):
        tune(trials=3)


def test_some_failures_do_not_matter(bowl: Bowl) -> None:
    bowl.value = lambda value: value if bowl.count % 2 else float("inf")
    found = tune(trials=12)
    assert found.searches[0].counts()["failed"] == 6
    assert found.trials["state"].to_list()[:2] == ["complete", "failed"]
    assert np.isfinite(found.best_score)


def test_hopeless_trials_are_pruned(bowl: Bowl) -> None:
    found = tune(trials=40, sampler="random")
    counts = found.searches[0].counts()
    assert counts["pruned"] > 5
    assert sum(counts.values()) == 40


def test_no_better_than_the_defaults_is_said(bowl: Bowl) -> None:
    bowl.value = lambda value: value + 1
    found = tune(trials=3)
    assert found.best_params == {}
    assert found.best_score == found.default_score == 0.5
    assert found.verdict().startswith("No trial did better")
    assert list(found.test) == ["defaults"]
    assert found.model.get_params()["hidden_size"] is None


def test_worse_on_the_test_part_is_said(bowl: Bowl, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tune(trials=10)
    assert found.verdict().startswith("Better on the held-out part than the defaults in the mean")
    monkeypatch.setattr(bowl, "test", lambda params, seed: {"depth": 2.0 if params else 1.0})
    assert tune(trials=10).verdict() == (
        "NOT better on the held-out part than the defaults in the mean of 3 seeds: depth 2 "
        "against 1."
    )


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "cmaes", "whales"])
@pytest.mark.usefixtures("bowl")
def test_the_same_seed_tries_the_same(sampler: str) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes", reason="samples with cmaes, an extra")
    first, second, other = (
        tune(trials=15, sampler=sampler, seed=seed).trials["dropout"].to_list()
        for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


def test_a_grid_ends_where_it_is_done(bowl: Bowl) -> None:
    found = tune(sampler="grid", trials=12)
    points = found.trials.select("dropout", "hidden_size")
    assert len(points) == points.n_unique() == 9  # three values of each
    assert sorted(set(points["hidden_size"])) == [8, 22, 64]


# -- storage -----------------------------------------------------------------------------------


def test_an_interrupted_search_keeps_what_it_found_and_goes_on(bowl: Bowl, tmp_path: Path) -> None:
    storage = tmp_path / "study.db"
    bowl.stop_after = 4
    # the test of what was found is not interrupted again
    bowl.test = lambda params, seed: {"depth": 1.0}  # type: ignore[method-assign]
    with pytest.warns(HeadgateWarning, match="stopped after 4 trials"):
        found = tune(trials=9, storage=storage)
    assert found.interrupted
    first = found.trials["dropout"].to_list()
    assert len(first) == 4
    assert found.best_params
    bowl.stop_after = 1 << 30
    again = tune(trials=9, storage=f"sqlite:///{storage}")
    assert not again.interrupted
    assert again.searches[0].resumed == 4
    assert len(again.searches[0].trials) == 9
    values = again.trials["dropout"].to_list()
    assert len(set(values)) == 9  # what was drawn is not drawn again
    assert values[:4] == first
    bowl.count = 0
    assert len(tune(trials=9, storage=storage).trials) == 9
    assert bowl.count == 0  # there is nothing left to do


def test_interrupted_before_anything_was_found(bowl: Bowl) -> None:
    bowl.stop_after = 0
    with pytest.raises(KeyboardInterrupt):
        tune(trials=3)


def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    storage = tmp_path / "study.db"
    script = f"""
        import os, sys
        import numpy as np, headgate as hg
        from headgate.experiments import searches
        calls = []
        before = searches._one_trial
        def one(trial, *rest):
            calls.append(trial)
            if len(calls) == 4:
                os._exit(9)  # as kill -9 does
            return before(trial, *rest)
        searches._one_trial = one
        hg.tune(hg.GRUForecaster(2, season=1, epochs=2, members=1), np.array({WAVE.tolist()}),
                space={{"hidden_size": [4, 8]}}, trials=6, storage={str(storage)!r})
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert run.returncode == 9
    space = {"hidden_size": [4, 8]}
    found = hg.tune(QUICK, WAVE, space=space, trials=6, storage=storage, progress=False)
    assert found.searches[0].resumed == 3
    assert len(found.searches[0].trials) == 6


def test_a_study_of_something_else_is_refused(bowl: Bowl, tmp_path: Path) -> None:
    storage = tmp_path / "study.db"
    tune(trials=2, storage=storage, study="mine")
    with pytest.raises(
        InputError, match=r"the study 'mine' in .* has not the same search space; go on"
    ):
        tune(trials=2, storage=storage, study="mine", space={"dropout": [0, 0.5]})
    bowl.content = lambda: iter([b"other"])  # type: ignore[method-assign]
    with pytest.raises(InputError, match="has not the same data"):
        tune(trials=2, storage=storage, study="mine")
    assert len(tune(trials=2, storage=storage, study="yours").trials) == 2
    (tmp_path / "text.db").write_text("this is no database, but a text\n" * 100)
    with pytest.raises(InputError, match=r"cannot be opened: .*not a database"):
        tune(trials=2, storage=tmp_path / "text.db")


# -- several samplers, pictures ----------------------------------------------------------------


def test_samplers_have_the_same_budget_and_are_drawn(bowl: Bowl) -> None:
    found = tune(trials=20, sampler=("tpe", "random", "whales"))
    assert [search.sampler for search in found.searches] == ["tpe", "random", "whales"]
    assert [len(search.trials) for search in found.searches] == [20, 20, 20]
    assert len(found.trials) == 60
    best = min(search.best.values[0] for search in found.searches)
    assert found.best_score == best == found.best_search.best.values[0]
    axes = found.plot_samplers()
    assert len(axes.lines) == 4  # and the defaults
    for line, search in zip(axes.lines, found.searches, strict=False):
        assert line.get_ydata()[-1] == search.best.values[0]
        assert (np.diff(line.get_ydata()) <= 0).all()
    names = [text.get_text().split()[0] for text in axes.texts]
    assert sorted(names) == ["defaults", "random", "tpe", "whales"]


def test_history_and_importances_are_drawn(bowl: Bowl) -> None:
    found = tune(trials=40, sampler="random")
    shares = found.best_search.importances()
    assert sum(shares.values()) == pytest.approx(1)
    axes = found.plot_history()
    assert axes.get_title("left").startswith("40 trials, random (")
    assert any(text.get_text() == f"best {found.best_score:.4g}" for text in axes.texts)
    bars = found.plot_importances().patches
    assert [bar.get_width() for bar in bars] == pytest.approx(
        [100 * s for s in shares.values()][::-1]
    )
    few = tune(trials=2)
    assert few.best_search.importances() == {}
    assert few.plot_importances().texts[0].get_text() == "too few trials to tell"
