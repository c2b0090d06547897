"""Learning rates: against PyTorch's schedulers, and what a fit makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.spec import Dense
from headgate.training.options import FitOptions
from headgate.training.schedules import Plateau, Schedule

GOLDEN = Path(__file__).parent / "golden" / "losses_and_schedules.npz"


def golden(name: str) -> np.ndarray:
    with np.load(GOLDEN) as stored:
        return np.asarray(stored[name])


def rates_of(per_epoch: int, epochs: int, **options: Any) -> np.ndarray:
    """All rates of a fit, epoch by epoch."""
    schedule = Schedule(learning_rate=0.05, epochs=epochs, **options)
    return np.concatenate(
        [schedule.rates(epoch * per_epoch, per_epoch, per_epoch) for epoch in range(epochs)]
    )


# -- PyTorch's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 3, 4, 40])
def test_one_cycle_is_pytorchs(steps: int) -> None:
    wanted = golden(f"one_cycle.{steps}")
    assert rates_of(steps, 1, name="one_cycle") == pytest.approx(wanted, rel=1e-9)
    if steps == 40:
        assert rates_of(8, 5, name="one_cycle") == pytest.approx(wanted, rel=1e-9)


def test_a_cosine_is_pytorchs() -> None:
    wanted = golden("cosine")
    assert rates_of(4, 3, name="cosine") == pytest.approx(wanted, rel=1e-9)
    longer = rates_of(4, 2, name="cosine", schedule_epochs=3)
    assert longer == pytest.approx(wanted[:8], rel=1e-9)


def test_steps_are_pytorchs() -> None:
    got = rates_of(5, 10, name="step", step_epochs=3, step_factor=0.2).reshape(10, 5)
    assert got == pytest.approx(np.repeat(golden("step")[:, None], 5, axis=1), rel=1e-12)


def test_a_plateau_is_pytorchs() -> None:
    plateau, schedule = Plateau(0.3, 2), Schedule("plateau", learning_rate=0.05)
    rates = []
    for epoch, loss in enumerate(golden("plateau.losses")):
        rates.append(schedule.rates(epoch * 4, 4, 4, plateau.factor)[-1])
        plateau.observe(loss)
    assert rates == pytest.approx(golden("plateau"), rel=1e-12)
    assert len(set(rates)) > 2


# -- warm-up -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_a_warm_up_climbs_in_equal_steps(name: str) -> None:
    got = rates_of(4, 3, name=name, warmup_epochs=1.5)
    assert got == pytest.approx(0.05 * np.minimum(np.arange(1, 13) / 7, 1), rel=1e-12)


def test_the_schedule_proper_begins_behind_the_warm_up() -> None:
    """With the updates that are left, from the rate that it begins with."""
    cosine = rates_of(4, 5, name="cosine", warmup_epochs=2)
    assert cosine[8:] == pytest.approx(golden("cosine"), rel=1e-9)
    assert cosine[:8] == pytest.approx(0.05 * np.arange(1, 9) / 9, rel=1e-12)
    cycle = rates_of(10, 5, name="one_cycle", warmup_epochs=1)
    assert cycle[10:] == pytest.approx(golden("one_cycle.40"), rel=1e-9)
    assert cycle[:10] == pytest.approx(0.05 / 25 * np.arange(1, 11) / 11, rel=1e-12)
    step = rates_of(2, 12, name="step", step_epochs=3, step_factor=0.2, warmup_epochs=2)
    assert step[4:].reshape(10, 2)[:, 1] == pytest.approx(golden("step"), rel=1e-12)


def test_a_warm_up_leaves_the_schedule_an_update() -> None:
    for name in ("cosine", "one_cycle", "constant"):
        got = rates_of(1, 1, name=name, warmup_epochs=0.9)
        assert np.isfinite(got).all()
        assert rates_of(3, 2, name=name, warmup_epochs=1.99).size == 6


def test_rates_do_not_depend_on_how_updates_are_cut() -> None:
    for name in ("constant", "cosine", "one_cycle", "step", "plateau"):
        options: dict[str, Any] = {"step_epochs": 2} if name == "step" else {}
        schedule = Schedule(name, epochs=7, warmup_epochs=1.2, **options)
        whole = schedule.rates(0, 35, 5)
        parts = [schedule.rates(begin, 1, 5)[0] for begin in range(35)]
        assert whole.tolist() == parts
        assert whole.dtype == np.float64


# -- in a fit ----------------------------------------------------------------------------------


def line() -> hg.Network:
    spec = oracles.chained(1, (Dense, "head", {"size": 1}))
    return oracles.network(spec, {"head.weight": [[0.0]], "head.bias": [0.0]})


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "step", "step_epochs": 2, "step_factor": 0.5},
        {"schedule": "one_cycle"},
        {"schedule": "cosine", "warmup_epochs": 1.5},
        {"warmup_epochs": 2},
    ],
)
def test_every_update_has_its_rate(isa: str, options: dict[str, Any]) -> None:
    """A bias under MAE with targets far above: SGD moves it by the rate, update by update."""
    rates = rates_of(
        3,
        4,
        **{"name" if key == "schedule" else key: value for key, value in options.items()},
    )
    net, ends = line(), []
    net.fit(
        *(np.zeros((6, 1, 1)), np.full((6, 1, 1), 100.0)),
        **{"epochs": 4, "batch_size": 2, "optimizer": "sgd", "loss": "mae"},
        learning_rate=0.05,
        callbacks=lambda env: ends.append(net.state_dict()["head.bias"][0]),
        **options,
    )
    assert ends == pytest.approx(rates.cumsum()[2::3], rel=1e-5)


@pytest.mark.parametrize("validated", [True, False])
def test_a_plateau_follows_the_validation_loss_where_there_is_one(validated: bool) -> None:
    """The training loss falls all the time, the validation loss rises from the start."""
    x = np.zeros((2, 1, 1))
    moved, net = [0.0], line()
    net.fit(
        *(x, np.full((2, 1, 1), 100.0)),
        **{"epochs": 8, "batch_size": 2, "optimizer": "sgd", "loss": "mae"},
        **{"learning_rate": 0.5, "schedule": "plateau", "plateau_patience": 1},
        **{"plateau_factor": 0.5, "warmup_epochs": 2},
        validation_data=(x, np.full((2, 1, 1), -100.0)) if validated else None,
        callbacks=lambda env: moved.append(net.state_dict()["head.bias"][0]),
    )
    warm = [0.5 / 3, 1 / 3]
    after = [0.5, 0.5, 0.5, 0.25, 0.25, 0.125] if validated else [0.5] * 6
    assert np.diff(moved) == pytest.approx(np.array([*warm, *after]), rel=1e-5)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"schedule_epochs": 20},
            "schedule_epochs goes with schedule='cosine' or schedule='one_cycle', not with "
            "schedule='constant'",
        ),
        (
            {"schedule": "cosine", "step_epochs": 2},
            "step_epochs goes with schedule='step', not with schedule='cosine'",
        ),
        (
            {"schedule": "plateau", "step_factor": 0.5},
            "step_factor goes with schedule='step', not with schedule='plateau'",
        ),
        (
            {"schedule": "step", "step_epochs": 2, "plateau_patience": 3},
            "plateau_patience goes with schedule='plateau', not with schedule='step'",
        ),
        (
            {"plateau_factor": 0.5},
            "plateau_factor goes with schedule='plateau', not with schedule='constant'",
        ),
        ({"schedule": "step"}, "schedule='step' needs step_epochs, such as step_epochs=10"),
        (
            {"schedule": "step", "step_epochs": 0},
            "step_epochs must be between 1 and 2147483648, got 0",
        ),
        (
            {"schedule": "step", "step_epochs": 2, "step_factor": 1},
            "step_factor must be above 0 and below 1, got 1",
        ),
        (
            {"schedule": "plateau", "plateau_factor": float("nan")},
            "plateau_factor must be above 0 and below 1, got nan",
        ),
        (
            {"schedule": "plateau", "plateau_patience": 1.5},
            "plateau_patience must be an integer, got 1.5; pass a number such as 16",
        ),
        (
            {"warmup_epochs": -1},
            "warmup_epochs must be a finite number at least 0, got -1",
        ),
        (
            {"warmup_epochs": "2"},
            "warmup_epochs must be a finite number at least 0, got '2'",
        ),
        (
            {"warmup_epochs": 10},
            "warmup_epochs must be below the schedule's 10 epochs, got 10",
        ),
        (
            {"schedule": "cosine", "schedule_epochs": 9},
            "schedule_epochs must be at least epochs=10, got 9",
        ),
    ],
)
def test_combinations_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(hg.InputError) as caught:
        FitOptions(**options)
    assert str(caught.value) == message
