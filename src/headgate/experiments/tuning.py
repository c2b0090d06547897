"""hg.tune: the parameters of an estimator, searched for; the best of them tested and refitted."""

from __future__ import annotations

import json
import math
import time as clock
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_size, shown
from ..errors import HeadgateWarning, InputError
from ..extras import require
from ..models.base import Estimator
from ..training.progress import Progress
from .objectives import Objective, Params, Scores, make_objective, unremarked
from .searches import Search, run_search
from .spaces import Space, parse_space
from .studies import TUNE, Budget, make_sampler, open_study, quiet

if TYPE_CHECKING:
    import optuna

TRIALS = 100
SEEDS = 3  # of the comparison on the test part


@dataclass(eq=False)
class Tuned:
    """What a search gave; see :func:`tune`.

    Attributes:
        model: the best estimator, refitted on all data.
        best_params: that were found; empty where no trial did better than the defaults.
        best_score: of the best on the validation part, lower is better; metric: what it is.
        default_score: of the estimator as it came, on the validation part.
        test: "tuned" and "defaults" -> a row of scores for each seed, on the test part.
        held_out: what that is.
        searches: one for each sampler.
        seconds: all in all.
    """

    model: Any
    best_params: dict[str, Any]
    best_score: float
    metric: str
    default_score: float
    test: dict[str, list[Scores]]
    held_out: str
    searches: list[Search]
    seconds: float = 0.0
    name: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the search."""
        return any(search.interrupted for search in self.searches)

    @property
    def best_search(self) -> Search:
        """The search that found the best trial."""
        return min(self.searches, key=_best_of)

    def mean(self, which: str, metric: str = "") -> float:
        """The mean over seeds on the test part, of "tuned" or "defaults"."""
        return float(np.mean([row[metric or self.metric] for row in self.test[which]]))

    def verdict(self) -> str:
        """One honest sentence: tuned beside the defaults, on what nothing was chosen by."""
        if not self.best_params:
            return (
                "No trial did better on the validation part than the defaults, so the model has "
                "the defaults."
            )
        tuned, defaults = self.mean("tuned"), self.mean("defaults")
        seeds = f"in the mean of {len(self.test['tuned'])} seeds"
        values = f"{self.metric} {tuned:.4g} against {defaults:.4g}"
        if tuned < defaults:
            return f"Better on the held-out part than the defaults {seeds}: {values}."
        return f"NOT better on the held-out part than the defaults {seeds}: {values}."

    @property
    def trials(self) -> Any:
        """A polars frame with a row for each trial."""
        import polars as pl

        rows = []
        for search in self.searches:
            for trial in search.trials:
                took = trial.duration
                rows.append(
                    {
                        "sampler": search.sampler,
                        "trial": trial.number,
                        "state": {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower()),
                        self.metric: trial.values[0] if trial.values else None,
                        "seconds": None if took is None else took.total_seconds(),
                        **trial.params,
                    }
                )
        columns = dict.fromkeys(name for row in rows for name in row)
        return pl.DataFrame(
            {name: _column([row.get(name) for row in rows]) for name in columns}, strict=False
        )

    def plot_history(self, ax: Any = None) -> Any:
        """Draw the trials and the best so far; returns the matplotlib Axes."""
        from .tune_plots import history_of_search

        return history_of_search(self.best_search, self.metric, self.default_score, ax)

    def plot_importances(self, ax: Any = None) -> Any:
        """Draw how much each parameter mattered; returns the matplotlib Axes."""
        from .tune_plots import importances_axes

        return importances_axes(self.best_search.importances(), ax)

    def plot_samplers(self, ax: Any = None) -> Any:
        """Draw the best so far of each sampler; returns the matplotlib Axes."""
        from .tune_plots import samplers_axes

        return samplers_axes(self.searches, self.metric, self.default_score, ax)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "metric": self.metric,
            "best": {
                "parameters": self.best_params,
                "validation": _finite(self.best_score),
                "defaults_validation": _finite(self.default_score),
            },
            "test": {
                "held_out": self.held_out,
                "scores": {
                    which: [{name: _finite(v) for name, v in row.items()} for row in rows]
                    for which, rows in self.test.items()
                },
                "verdict": self.verdict(),
            },
            "interrupted": self.interrupted,
            "space": {n: d.to_dict() for n, d in self.searches[0].space.items()},
            "importances": self.best_search.importances(),
            "searches": [_row(search) for search in self.searches],
            "seconds": round(self.seconds, 3),
        }


def _row(search: Search) -> dict[str, Any]:
    best = search.best
    return {
        "sampler": search.sampler,
        "trials": search.counts(),
        "resumed": search.resumed,
        "best_trial": None if best is None else best.number,
        "validation": None if best is None else best.values[0],
        "parameters": {} if best is None else best.params,
        "seconds": round(search.seconds, 3),
        "training_seconds": round(search.training_seconds, 3),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _column(values: list[Any]) -> list[Any]:
    """Values of one kind: choices of several kinds become text."""
    kinds = {type(value) for value in values if value is not None}
    return values if len(kinds) <= 1 or kinds <= {int, float} else [shown(v) for v in values]


def _best_of(search: Search) -> float:
    return math.inf if search.best is None else float(search.best.values[0])


def tune(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    space: Any = None,
    sampler: str | Sequence[str] = "tpe",
    trials: int | None = None,
    minutes: float | None = None,
    storage: str | Path | None = None,
    study: str | None = None,
    seed: int = 0,
    progress: bool | str = "auto",
    **options: Any,
) -> Tuned:
    """Search for better parameters of an estimator on one's own data.

    The data are cut into three: trials learn from the first part and are measured on the second;
    on the third the best is compared with the defaults once, at the end. Then the best is fitted
    to everything. A trial trains one network where the estimator would train several.

    Args:
        estimator: an estimator of headgate, whose parameters are the defaults; its class; or the
            task: "forecast", "classify", "text", None to find out.
        X, y: what its ``fit`` takes; or a file's path as X.
        space: name -> [low, high], {"low", "high", "log"} or {"choices"}: all that is searched; by
            default the sizes of the network and of the training.
        sampler: "tpe", "random", "grid", "cmaes" or "whales"; several are compared, each with the
            whole budget.
        trials, minutes: the budget, what ends first; 100 trials by default. ``trials`` counts those
            that the storage has already; the test and the last fit come on top of ``minutes``.
        storage: a file of SQLite or a URL as Optuna takes it, to stop and go on; study: a name
            in it.
        seed: of the sampler.
        progress: True, False or "auto" (where somebody watches).
        options: horizon, and time, target, id, freq; text, label, ...: how the data are read.

    Ctrl-C ends the search; what was found is tested and refitted.

    Raises:
        InputError: the space, the budget, the data or the storage cannot be used, or all trials
            failed.
        HeadgateError: Optuna is not installed.
    """
    require("optuna", "tune", TUNE)
    begin = clock.perf_counter()
    names: list[Any] = list(sampler) if isinstance(sampler, (list, tuple)) else [sampler]
    if not names or len(set(names)) < len(names):
        raise InputError(f"samplers must be one or several different ones, got {shown(sampler)}")
    budget = Budget(TRIALS if trials is None and minutes is None else trials, minutes)
    check_size("seed", seed, minimum=0, maximum=1 << 31)
    objective = make_objective(estimator, X, y, options)
    chosen = objective.space() if space is None else parse_space(space, objective.estimator)
    with quiet():
        for name in names:
            make_sampler(name, chosen, budget, seed, 0)  # what is missing is said at once
        studies = [
            open_study(storage, _study_name(study, name, names), _facts(objective, chosen))
            for name in names
        ]
        searches, default_score = _run(
            objective, chosen, names, studies, budget=budget, seed=seed, progress=progress
        )
    best = min(searches, key=_best_of).best
    better = best is not None and best.values[0] < default_score
    params = dict(best.params) if best is not None and better else {}
    test, model = _finish(objective, params, progress)
    return Tuned(
        model, params, best.values[0] if best is not None and better else default_score,
        objective.metric, default_score, test, objective.held_out, searches,
        clock.perf_counter() - begin, objective.name,
    )  # fmt: skip


def _study_name(study: str | None, sampler: str, samplers: Sequence[str]) -> str | None:
    return study if len(samplers) == 1 else f"{study or 'headgate'}-{sampler}"


def _facts(objective: Objective, space: Space) -> dict[str, Any]:
    """What a study is of, as it comes back from JSON."""
    fixed = {
        name: shown(value)
        for name, value in objective.estimator.get_params().items()
        if name not in space and name != "progress"
    }
    facts = {
        "estimator": type(objective.estimator).__name__,
        "search space": {name: dimension.to_dict() for name, dimension in space.items()},
        "parameters": fixed,
        "metric": objective.metric,
        "data": objective.digest(),
    }
    result: dict[str, Any] = json.loads(json.dumps(facts))
    return result


def _run(
    objective: Objective,
    space: Space,
    names: Sequence[str],
    studies: Sequence[optuna.Study],
    *,
    budget: Budget,
    seed: int,
    progress: bool | str,
) -> tuple[list[Search], float]:
    """The searches, one after the other, and the defaults' score."""
    with unremarked():  # what is wrong with the data is said here, not by a hundred trials
        default_score = objective.trial({}, lambda step, value: None)
    searches = []
    for name, study in zip(names, studies, strict=True):
        search = Search(name, study, space)
        run_search(search, objective, budget.begun(), seed, progress)
        searches.append(search)
        if search.interrupted:
            break
    if all(search.best is None for search in searches):
        if any(search.interrupted for search in searches):
            raise KeyboardInterrupt
        raise InputError(
            f"all {len(searches[-1].trials)} trials failed; the last one said: "
            f"{searches[-1].why_failed() or 'nothing'}; change the search space"
        )
    if searches[-1].interrupted:
        warnings.warn(
            f"stopped after {len(searches[-1].trials)} trials; what was found is tested and fitted "
            "to all data now (Ctrl-C again leaves that out, and nothing is kept but the storage)",
            HeadgateWarning,
            stacklevel=3,
        )
    return searches, default_score


def _finish(
    objective: Objective, params: Params, progress: bool | str
) -> tuple[dict[str, list[Scores]], Estimator]:
    """Scores on the test part of the choice and of the defaults, and the model of all data."""
    first = int(objective.estimator.get_params()["seed"])
    test: dict[str, list[Scores]] = {"tuned": [], "defaults": []}
    rows: Mapping[str, Params] = {"tuned": params, "defaults": {}} if params else {"defaults": {}}
    with Progress(SEEDS * len(rows) + 1, "testing the best", progress) as bar:
        for which, chosen in rows.items():
            for k in range(SEEDS):
                with unremarked():
                    test[which].append(objective.test(chosen, first + k))
                if bar.active:
                    bar.update(sum(map(len, test.values())), which)
        model = objective.refit(params)
    return {which: found for which, found in test.items() if found}, model
