"""The whale optimisation algorithm (Mirjalili and Lewis 2016) as a sampler of Optuna.

Optuna is imported with this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from .spaces import Space

WHALES = 10
SPIRAL = 1.0  # b of the paper: the shape of the spiral

Place = npt.NDArray[np.float64]  # (D,) from 0 to 1


class WhaleSampler(BaseSampler):
    """A number of whales that circle the best place found so far, closer and closer.

    Whale i of generation g is trial ``g * whales + i``, so a study holds all there is to know: it
    can be interrupted, resumed, and shared by several machines. Whales swim in the unit cube; see
    ``Dimension.at``.

    Args:
        space: where they swim.
        share: number of a trial -> how much of the budget is used, from 0 to 1.
        seed: trial k of a seed always draws the same numbers.
        whales: in a generation.
    """

    def __init__(
        self, space: Space, share: Callable[[int], float], *, seed: int = 0, whales: int = WHALES
    ) -> None:
        self._space = space
        self._share = share
        self._seed = seed
        self._whales = whales

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {name: dimension.distribution() for name, dimension in self._space.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        rng = np.random.default_rng([self._seed, trial.number])
        trials = study.get_trials(deepcopy=False)
        places = [self._place(each.params) for each in trials[: trial.number]]
        done = [
            (each.value, k)
            for k, each in enumerate(trials[: trial.number])
            if each.value is not None and each.state == TrialState.COMPLETE
        ]
        here = places[-self._whales] if len(places) >= self._whales else None
        best = places[min(done)[1]] if done else None
        if here is None or best is None:
            found = rng.random(len(self._space))
        else:
            first = (trial.number // self._whales - 1) * self._whales  # of the last generation
            others = [place for place in places[first : first + self._whales] if place is not None]
            found = swim(
                here, best, others, 2 * (1 - min(self._share(trial.number), 1.0)), rng
            )  # fmt: skip
        return {
            name: dimension.at(float(place))
            for (name, dimension), place in zip(self._space.items(), found, strict=True)
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        raise AssertionError(f"{param_name} is not in the space of the whales")

    def _place(self, params: Mapping[str, Any]) -> Place | None:
        """Where a trial was; None for one that another machine has only begun."""
        if set(params) != set(self._space):
            return None
        return np.array([self._space[name].place(params[name]) for name in self._space])


def swim(
    here: Place, best: Place, others: list[Place], a: float, rng: np.random.Generator
) -> Place:
    """Where a whale swims next, by equations 2.1 to 2.8 of the paper, held inside the cube.

    Args:
        here: (D,) where it is.
        best: (D,) the best place that is known.
        others: (D,) of its generation, one of which it may follow instead.
        a: falls from 2 to 0: from 1 on all whales gather around ``best``.
    """
    if rng.random() < 0.5:
        reach = a * (2 * rng.random(len(here)) - 1)  # A
        near = math.sqrt(np.mean(reach**2)) < 1
        leader = best if near or not others else others[rng.integers(len(others))]
        found = leader - reach * np.abs(2 * rng.random(len(here)) * leader - here)
    else:
        turn = rng.uniform(-1, 1)  # l
        around = math.exp(SPIRAL * turn) * math.cos(2 * math.pi * turn)
        found = np.abs(best - here) * around + best
    return np.asarray(np.clip(found, 0.0, 1.0))
