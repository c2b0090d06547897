"""One sampler's search: trials until the budget is used up, and what they found."""

from __future__ import annotations

import math
import time as clock
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import HeadgateError, InputError
from ..training.progress import Progress
from .objectives import Objective, unremarked
from .spaces import Space
from .studies import Budget, make_sampler, quiet

if TYPE_CHECKING:
    import optuna

FAILURES = (HeadgateError, ArithmeticError, MemoryError)  # of a trial; others are mistakes of ours
HOPELESS = 10  # trials that fail, and none that does not: the rest would fail too


@dataclass(eq=False)
class Search:
    """What one sampler found.

    Attributes:
        sampler: its name.
        study: of Optuna, for whatever Optuna can do with it.
        space: what was searched.
        seconds: how long this run took; training_seconds: of these, in learning and measuring.
        resumed: trials that there were before this run.
        interrupted: whether Ctrl-C ended it.
    """

    sampler: str
    study: optuna.Study
    space: Space
    seconds: float = 0.0
    training_seconds: float = 0.0
    resumed: int = 0
    interrupted: bool = False

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Those that came to an end: with a value, pruned, or failed."""
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state.name in ("COMPLETE", "PRUNED") or "error" in trial.user_attrs
        ]

    @property
    def best(self) -> optuna.trial.FrozenTrial | None:
        """The trial with the lowest value; None where none has a value."""
        complete = [trial for trial in self.trials if trial.state.name == "COMPLETE"]
        return min(complete, key=lambda trial: (trial.values[0], trial.number), default=None)

    def counts(self) -> dict[str, int]:
        """How many trials were completed, pruned, failed."""
        names = [trial.state.name for trial in self.trials]
        return {
            word: names.count(state)
            for word, state in (("complete", "COMPLETE"), ("pruned", "PRUNED"), ("failed", "FAIL"))
        }

    def why_failed(self) -> str:
        """What the last trial that failed said."""
        reasons = [t.user_attrs["error"] for t in self.trials if "error" in t.user_attrs]
        return reasons[-1] if reasons else ""

    def importances(self) -> dict[str, float]:
        """Shares of the parameters in how good a trial is, the largest first (PED-ANOVA).

        Empty with too few trials to tell.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        values = {t.values[0] for t in self.trials if t.state.name == "COMPLETE"}
        if len(values) < 4 or len(self.space) < 2:
            return {}
        with quiet(), np.errstate(all="ignore"):
            try:
                found = get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator())
            except (RuntimeError, ValueError):  # such as all trials alike in a parameter
                return {}
        return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def run_search(
    search: Search, objective: Objective, budget: Budget, seed: int, progress: bool | str
) -> None:
    """Trials until the budget is used up."""
    study, begin = search.study, clock.perf_counter()
    search.resumed = len(search.trials)
    study.sampler = make_sampler(search.sampler, search.space, budget, seed, search.resumed)
    over = budget.trials is not None and search.resumed >= budget.trials
    if over or (search.resumed and getattr(study.sampler, "is_exhausted", lambda s: False)(study)):
        return
    total = budget.trials or math.ceil(60 * (budget.minutes or 0))

    def evaluate(trial: optuna.Trial) -> float:
        return _one_trial(trial, objective, search)

    with Progress(total, f"tuning, {search.sampler}", progress) as bar:

        def after(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            done = search.trials
            if bar.active:
                bar.update(
                    len(done) if budget.trials else min(int(budget.seconds), total),
                    _so_far(search, len(done), budget.trials is None),
                )
            hopeless = len(done) >= HOPELESS and all("error" in t.user_attrs for t in done)
            if budget.share(len(done)) >= 1 or hopeless:
                study.stop()

        try:
            study.optimize(
                evaluate,
                n_trials=None if budget.trials is None else budget.trials - search.resumed,
                callbacks=[after],
                catch=FAILURES,
            )
        except KeyboardInterrupt:
            search.interrupted = True
    search.seconds = clock.perf_counter() - begin


def _one_trial(trial: optuna.Trial, objective: Objective, search: Search) -> float:
    from optuna import TrialPruned

    params = {name: dimension.suggest(trial, name) for name, dimension in search.space.items()}
    begin = clock.perf_counter()
    elsewhere = 0.0  # seconds in the storage and the pruner

    def report(step: int, value: float) -> None:
        nonlocal elsewhere
        left = clock.perf_counter()
        try:
            _check_finite(value)
            trial.report(value, step)
            if trial.should_prune():
                raise TrialPruned
        finally:
            elsewhere += clock.perf_counter() - left

    try:
        with unremarked():
            return _check_finite(objective.trial(params, report))
    except FAILURES as error:
        trial.set_user_attr("error", str(error) or type(error).__name__)
        raise
    finally:
        search.training_seconds += clock.perf_counter() - begin - elsewhere


def _check_finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError(f"the score was {value}")
    return value


def _so_far(search: Search, done: int, counts: bool) -> str:
    best = search.best
    text = f"{done} trials  " if counts else ""
    return text if best is None else f"{text}best {best.values[0]:.4g} (trial {best.number})"
