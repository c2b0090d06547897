"""Planning a forecaster's fit: lookback, season, held-out windows, and which treatment wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.frames import Series
from ..errors import InputError
from ..training.history import History
from .ensemble import MAX_EPOCHS, Ensemble
from .treatment import PLAIN, SEASONAL, Treatment, detect_season, learn, swings_grow

Float64 = npt.NDArray[np.float64]
SHORTEST = 2  # lookback at least
LONGEST = 96  # lookback by default at most: gradients through time fade anyway
UPDATES = 400  # of each network at most, when epochs are not given
HELD_OUT = 256  # windows at most
SCOUTS = 2  # members at most that try a treatment; fewer than forecast, so errors err high
MARGIN = 1.05  # a later treatment must be better by more than this: near-ties go one way


@dataclass(frozen=True)
class Plan:
    """How a series will be cut.

    Attributes:
        horizon, lookback, season: steps.
        candidates: (method, shift) of the treatments to try.
        log: whether their logarithm is taken.
        front: steps before the held-out part.
    """

    horizon: int
    lookback: int
    season: int
    candidates: tuple[tuple[str, str], ...]
    log: bool
    front: int

    def constant(self, values: Float64) -> Treatment:
        """The treatment of a constant series."""
        return Treatment(shift="last", offset=float(values[0]), scale=1.0)


@dataclass(frozen=True)
class Choice:
    """What the search settled on; ``errors`` (n, H) are those of the held-out windows, lifted."""

    treatment: Treatment
    ensemble: Ensemble
    epochs: int
    errors: Float64
    history: History


def check_length(length: int, horizon: int, lookback: int | None) -> None:
    """Raise InputError when ``length`` values are too few to learn and hold out one horizon."""
    least = lookback or SHORTEST
    needed = 2 * horizon + least
    if length < needed:
        more = f" and lookback={lookback}" if lookback else ""
        shorter = (length - least) // 2
        advice = f", or ask for a horizon of at most {shorter}" if shorter >= 1 else ""
        raise InputError(
            f"the series has {length} values, but horizon={horizon}{more} needs at least {needed} "
            f"(two horizons and {least} more); bring more data{advice}"
        )


def make_plan(
    series: Series, horizon: int, lookback: int | None, season: int | str, scaler: str
) -> Plan:
    """Decide all that needs no training."""
    length = len(series)
    held = max(horizon, min(round(0.2 * length), 4 * horizon + 20))
    held = min(held, (length - (lookback or SHORTEST)) // 2)
    front = length - max(held, horizon)
    values = series.values[:front]
    if season == "auto":
        found = series.season if series.season > 1 else detect_season(values)
    else:
        found = int(season)
    # a season must be seen: twice before the held-out part, or it is left alone
    spare = front - horizon - (lookback or SHORTEST)
    usable = found if front >= 2 * found + 2 and spare >= found + 2 else 1
    candidates: tuple[tuple[str, str], ...] = SEASONAL if usable > 1 else PLAIN
    if length - front < 2 * horizon:  # too few windows to choose by
        candidates = candidates[:1]
    if scaler != "auto":
        kept = tuple(c for c in candidates if (c[1] == "none") == (scaler == "series"))
        candidates = kept or (("plain", "none" if scaler == "series" else "last"),)
    context = usable if usable > 1 else 0
    if lookback is None:
        wanted = min(max(2 * usable, 8), LONGEST)
        lookback = max(SHORTEST, min(wanted, (front - horizon - context) // 2))
    log = swings_grow(values, usable)
    return Plan(horizon, lookback, usable, candidates, log, front)


def search(
    values: Float64,
    plan: Plan,
    *,
    make: Callable[[str], Ensemble],
    options: dict[str, Any],
    epochs: int | None,
) -> Choice:
    """Try the treatments on the held-out windows, then train on everything with the best.

    Args:
        make: a shift's fresh ensemble.
        options: for ``Network.fit``.
        epochs: fixed, or None to find them.
    """
    last = len(values) - plan.horizon
    ends = np.unique(
        np.linspace(plan.front, last, min(last - plan.front + 1, HELD_OUT)).astype(int)
    )
    log = plan.log and bool(values.min() > 0)
    truth = np.lib.stride_tricks.sliding_window_view(values, plan.horizon)[ends]
    tried = []
    for method, shift in plan.candidates:
        treatment = learn(values[: plan.front], plan.season, method, shift, log=log)
        ensemble = make(shift)
        ensemble = Ensemble(ensemble.networks[:SCOUTS])
        used, _ = _train(ensemble, treatment, values, plan, options, epochs, ends)
        raw = ensemble.predict(treatment.table(values, ends, plan.lookback, plan.horizon))
        lifted = treatment.restore(values, ends, raw)
        score = float(np.mean(np.abs(treatment.lower(lifted) - truth)))
        tried.append((score, method, shift, used, treatment.lift(truth) - lifted))
    tried = [each for each in tried if np.isfinite(each[0]) and np.isfinite(each[4]).all()]
    if not tried:
        raise InputError(
            "the values are too large or too far apart to learn from in float64; divide them by "
            "a constant first"
        )
    enough = MARGIN * min(score for score, *_ in tried)
    _, method, shift, used, errors = next(each for each in tried if each[0] <= enough)
    treatment = learn(values, plan.season, method, shift, log=log)
    ensemble = make(shift)
    used, history = _train(ensemble, treatment, values, plan, options, used, None)
    return Choice(treatment, ensemble, used, errors, history)


def _train(
    ensemble: Ensemble,
    treatment: Treatment,
    values: Float64,
    plan: Plan,
    options: dict[str, Any],
    epochs: int | None,
    held_out: npt.NDArray[np.int64] | None,
) -> tuple[int, History]:
    """Train before the held-out windows (or on everything); returns epochs used, and history."""
    stop = len(values) if held_out is None else plan.front
    first = treatment.context + plan.lookback
    ends = np.arange(first, stop - plan.horizon + 1, dtype=np.int64)
    table = treatment.table(values, ends, plan.lookback, plan.horizon, targets=True)
    validation = None
    if held_out is not None and epochs is None:
        validation = treatment.table(values, held_out, plan.lookback, plan.horizon, targets=True)
    batches = -(-len(ends) // int(options["batch_size"]))
    most = min(max(UPDATES // batches, 2), MAX_EPOCHS)
    history = ensemble.fit(table, epochs=epochs or most, validation=validation, **options)
    if validation is None:
        return epochs or most, history
    return (history.best_epoch or 0) + 1, history
