"""Search spaces as users write them, and whales that swim in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headgate as hg
from headgate.errors import InputError
from headgate.experiments.spaces import Dimension, parse_space, read_space

FORECASTER = hg.GRUForecaster()


def test_a_space_is_read_in_all_its_ways() -> None:
    space = parse_space(
        {
            "hidden_size": [8, 64],
            "learning_rate": {"low": 3e-4, "high": 1, "log": True},
            "dropout": [0, 0.5],
            "loss": {"choices": ["mae", "mse"]},
            "num_layers": [2, 2],
        },
        FORECASTER,
    )
    assert space["hidden_size"] == Dimension(8, 64)
    assert space["hidden_size"].whole
    assert space["learning_rate"] == Dimension(3e-4, 1.0, log=True)
    assert isinstance(space["dropout"].low, float)  # a rate, though 0 was written
    assert space["loss"].choices == ("mae", "mse")
    assert space["num_layers"].choices == (2,)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the search space is empty"),
        ([1, 2], "must be an object of names"),
        (
            {"width": [1, 2]},
            "'width' is no parameter of GRUForecaster; there are batch_size, dropout",
        ),
        ({"horizon": [1, 2]}, "'horizon' cannot be searched (scores of different horizons"),
        ({"seed": [1, 2]}, "'seed' cannot be searched"),
        ({"hidden_size": [64, 8]}, "hidden_size: low is 64 and high is 8; exchange them"),
        ({"hidden_size": [1.5, 8]}, "hidden_size is a whole number, got the range 1.5 to 8"),
        ({"hidden_size": ["8", 64]}, "[low, high] must be two numbers, got ['8', 64]"),
        ({"hidden_size": [1, 2, 3]}, "[low, high] must be two numbers, got [1, 2, 3]"),
        ({"hidden_size": 8}, "hidden_size must be [low, high]"),
        ({"hidden_size": {"low": 8}}, 'must have "low" and "high"'),
        ({"hidden_size": {"low": 8, "high": 9, "step": 1}}, "it has 'low', 'high', 'step'"),
        ({"hidden_size": {"low": True, "high": 9}}, "low and high must be finite numbers"),
        ({"hidden_size": {"low": 8, "high": 9, "log": "yes"}}, "log must be True or False"),
        ({"hidden_size": [0, 8]}, "in the search space hidden_size must be between 1 and 4096"),
        ({"dropout": [0, 1]}, "in the search space dropout must be at least 0 and below 1"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, "begins above 0, got low=0"),
        ({"loss": ["mae", "mse"]}, "[low, high] must be two numbers"),
        ({"loss": [0, 1]}, 'loss has no range of numbers; write {"choices": [...]}'),
        ({"loss": {"choices": ["mae", "mad"]}}, "in the search space loss must be one of"),
        ({"loss": {"choices": []}}, "choices must be a list of one or more"),
        ({"loss": {"choices": ["mae", "mae"]}}, "a choice stands twice"),
        ({"lookback": {"choices": [[1], 2]}}, "a choice must be a finite number"),
    ],
)
def test_what_is_wrong_with_a_space_is_said(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        parse_space(given, FORECASTER)


def test_perplexities_that_do_not_compare_are_not_searched() -> None:
    with pytest.raises(InputError, match="perplexities of different vocabularies"):
        parse_space({"min_count": [1, 3]}, hg.LanguageModel())
    assert parse_space({"min_count": [1, 3]}, hg.SequenceTagger())["min_count"].whole


def test_files_are_json_or_toml(tmp_path: Path) -> None:
    json, toml = tmp_path / "space.json", tmp_path / "space.toml"
    json.write_text('{"dropout": [0, 0.5]}')
    assert read_space(json) == {"dropout": [0, 0.5]}
    json.write_text('{"dropout": [0, 0.5], "dropout": [0, 1]}')
    with pytest.raises(InputError, match="stands twice"):
        read_space(json)
    pytest.importorskip("tomllib", reason="TOML is read from Python 3.11 on")
    toml.write_text("dropout = [0, 0.5]\n[hidden_size]\nlow = 8\nhigh = 64\n")
    assert read_space(toml)["hidden_size"] == {"low": 8, "high": 64}
    toml.write_text("dropout = [0")
    with pytest.raises(InputError, match="is not TOML"):
        read_space(toml)


@pytest.mark.parametrize(
    "dimension",
    [
        Dimension(2, 9),
        Dimension(1, 64, log=True),
        Dimension(1e-4, 1e-2, log=True),
        Dimension(0.0, 0.5),
        Dimension(choices=("a", None, 3)),
    ],
    ids=str,
)
def test_places_go_there_and_back(dimension: Dimension) -> None:
    values = [dimension.at(place) for place in np.linspace(0, 1, 50)]
    assert [dimension.at(dimension.place(value)) for value in values] == pytest.approx(values)
    ends = dimension.choices[::2] if dimension.choices else (dimension.low, dimension.high)
    assert (values[0], values[-1]) == pytest.approx(ends)


def test_every_int_has_an_equal_part() -> None:
    dimension = Dimension(1, 4)
    found = [dimension.at(place) for place in (np.arange(400) + 0.5) / 400]
    assert np.bincount(np.array(found, int)).tolist() == [0, 100, 100, 100, 100]


# -- whales ------------------------------------------------------------------------------------


def test_whales_gather_around_the_best() -> None:
    pytest.importorskip("optuna", reason="samples with Optuna, an extra")
    from headgate.experiments.whales import swim

    best, here = np.array([0.5, 0.5]), np.array([0.4, 0.6])
    far = [np.array([0.0, 1.0])]
    rng = np.random.default_rng(0)
    late = np.array([swim(here, best, far, 0.0, rng) for _ in range(300)])
    # with a = 0 a whale is at the best place, or on a spiral no wider than e times its distance
    assert (np.abs(late - best) <= np.e * 0.1 + 1e-9).all()
    assert (late == best).all(axis=1).mean() == pytest.approx(0.5, abs=0.1)
    early = np.array([swim(here, best, far, 2.0, rng) for _ in range(300)])
    assert early.std() > late.std()
    assert early.min() >= 0
    assert early.max() <= 1


def test_whales_find_the_bottom_of_a_bowl() -> None:
    optuna = pytest.importorskip("optuna", reason="samples with Optuna, an extra")
    from headgate.experiments.whales import WhaleSampler

    space = {"x": Dimension(-5.0, 5.0), "y": Dimension(1e-4, 1.0, log=True)}

    def bowl(trial: Any) -> float:
        x, y = (dimension.suggest(trial, name) for name, dimension in space.items())
        return float((x - 1) ** 2 + (np.log10(y) + 2) ** 2)

    def lowest(sampler: Any) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(bowl, n_trials=100)
        return float(study.best_value)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seeds = range(5)
    whales = [lowest(WhaleSampler(space, lambda k: k / 100, seed=seed)) for seed in seeds]
    chance = [lowest(optuna.samplers.RandomSampler(seed=seed)) for seed in seeds]
    assert np.median(whales) < 0.2 * np.median(chance)
