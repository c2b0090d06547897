"""The search: try the treatments on held-out windows, measure errors, train on everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.samples import SampleTable
from ...errors import InputError
from ...spec import NetworkSpec
from ...training.history import History
from .ensemble import Ensemble
from .intervals import Errors
from .lines import Cut, Float64, Int64, Lines, all_windows, spread, windows_at
from .planning import Plan
from .treatment import Treatment, learn

UPDATES = (100, 400)  # of each network on short series, at least and at most
PASSES_SHORT = 40  # over the windows of short series
MOST_UPDATES = 4000  # of each network on many or long ones
PASSES = 6  # over the windows, as far as MOST_UPDATES goes
MAX_EPOCHS = 500
SCOUT_UPDATES = 1000  # of the networks that try a treatment, at most
SCOUTS = 2  # of them, on a short series; one on many
MOST_WINDOWS = 1 << 20  # to train on; evenly chosen where there are more
HELD_OUT = 256  # windows of a single series
HELD_OUT_PANEL = 4096  # windows of many series
HELD_OUT_VALUES = 1 << 20  # errors that are kept at most
USUAL_WINDOWS = 4096  # that tell how networks begin
MARGIN = 0.05  # a later treatment must be better by more than this: near-ties go one way
BATCHES = (32, 256)  # with few windows, with many
MANY = 4096  # windows
APART = 20  # series, for some to decide and others to measure
HIDDEN = (32, 64)  # with few windows, with many
RATES = (1e-3, 3e-3)  # likewise: short training must not go far
TOO_FAR = (
    "the values are too large or too far apart to learn from in float64; divide them by a constant "
    "first, or leave out the series that jump"
)


@dataclass(frozen=True, eq=False)
class Choice:
    """What the search settled on."""

    treatment: Treatment
    ensemble: Ensemble
    cut: Cut
    epochs: int
    errors: Errors
    history: History


@dataclass(frozen=True)
class Budget:
    """How long to train: a schedule over ``epochs``, of which the first ``used`` are run."""

    batch_size: int
    epochs: int
    used: int


def search(
    lines: Lines,
    plan: Plan,
    truth: Float64,
    *,
    make: Callable[[Cut, str], Ensemble],
    options: dict[str, Any],
    epochs: int | None,
    batch_size: int | None,
) -> Choice:
    """Choose a treatment, measure its errors, train on everything.

    With many series, those whose windows choose are not those whose windows measure.

    Args:
        truth: (S,) the values of ``lines``, nan where they were missing: no forecast is measured
            by a value that was filled in.
        make: a fresh ensemble for a cut and a shift.
        options: for ``Network.fit``.
        epochs, batch_size: fixed, or None to find them.
    """
    deciding, measuring = _held_out(lines, plan)
    scale = _naive_scale(lines.heads(plan.front), plan.season)
    tried = []
    for cut, (method, shift) in zip(plan.cuts, plan.candidates, strict=True):
        treatment = learn(
            lines.heads(plan.front), plan.season, method, shift, plan.log, plan.scaler
        )
        budget, long = _budget(lines, plan, cut, epochs, batch_size)
        scouts = make(cut, shift).first(1 if long else SCOUTS)
        used, _ = _train(scouts, treatment, lines, plan.front, cut, options, budget, deciding)
        lifted = forecast_at(scouts, treatment, lines, *deciding, cut, plan.horizon)
        score = _score(
            treatment, _after(lines, truth, *deciding, plan.horizon), deciding[0], lifted, scale
        )
        if np.isfinite(score):
            tried.append((score, cut, treatment, scouts, used))
    if not tried:
        raise InputError(TOO_FAR)
    margin = 1 + MARGIN / min(len(lines), 100) ** 0.5
    enough = margin * min(score for score, *_ in tried)
    _, cut, treatment, scouts, used = next(each for each in tried if each[0] <= enough)
    budget, long = _budget(lines, plan, cut, epochs, batch_size, scout=False)
    if long:  # scouts learned too little to be measured
        scouts = make(cut, treatment.shift)
        used, _ = _train(scouts, treatment, lines, plan.front, cut, options, budget, deciding)
    final = learn(lines, plan.season, treatment.method, treatment.shift, plan.log, plan.scaler)
    # a series that was constant before its held-out part moved only later
    noise = np.where(treatment.scale > 0, treatment.noise, final.noise)
    errors = _measure(scouts, treatment, lines, truth, measuring, cut, plan.horizon, noise)
    ensemble = make(cut, treatment.shift)
    used, history = _train(
        ensemble, final, lines, lines.lengths, cut, options, replace(budget, used=used), None
    )
    return Choice(final, ensemble, cut, used, errors.scaled_like(final), history)


def constant_choice(lines: Lines, plan: Plan) -> Choice:
    """For series that never change: nothing to train, no errors."""
    cut = replace(plan.cuts[-1], context=0, segment=1, fewest=1)
    treatment = learn(lines, 1, "plain", "last", np.zeros(len(lines), np.bool_))
    spec = NetworkSpec.stacked(cut.columns, 1, cut.horizon)
    errors = Errors(np.zeros((1, 1, plan.horizon)), 1, np.zeros(len(lines)))
    return Choice(treatment, Ensemble.fresh(spec, 1, 0), cut, 0, errors, History())


def _held_out(lines: Lines, plan: Plan) -> tuple[tuple[Int64, Int64], tuple[Int64, Int64]]:
    """(series, step) of the windows that decide, and of those that measure."""
    sizes = np.where(plan.front < lines.lengths, lines.lengths - plan.horizon + 1 - plan.front, 0)
    owner = np.repeat(np.arange(len(lines)), sizes)
    at = spread(plan.front, sizes)
    most = HELD_OUT if len(lines) == 1 else HELD_OUT_PANEL
    most = max(min(most, HELD_OUT_VALUES // plan.horizon), 2)
    if len(owner) > 2 * most:
        chosen = np.unique(np.linspace(0, len(owner) - 1, 2 * most).astype(np.int64))
        owner, at = owner[chosen], at[chosen]
    series = np.unique(owner)
    if len(series) < APART:  # half of few windows would neither decide nor measure well
        return (owner, at), (owner, at)
    decides = np.isin(owner, series[::2])
    return (owner[decides], at[decides]), (owner[~decides], at[~decides])


def _naive_scale(before: Lines, season: int) -> Float64:
    """(M,) mean absolute seasonal difference, 0 where it is not defined."""
    for apart in (season, 1):
        scale = before.mean_move(apart)
        if (scale > 0).any():
            return scale
    return np.zeros(len(before))


def _score(
    treatment: Treatment, truth: Float64, owner: Int64, lifted: Float64, scale: Float64
) -> float:
    """Mean absolute error, each series' in units of its naive one; what is unknown is left out."""
    centre = lifted[:, :, lifted.shape[2] // 2]
    error = np.abs(treatment.lower(centre, owner) - truth)
    known = np.isfinite(truth)
    if not known.any():
        return 0.0
    unit = np.broadcast_to(scale[owner, None], truth.shape)
    counts = known & (unit > 0)
    return float(np.mean(error[counts] / unit[counts]) if counts.any() else error[known].mean())


def _after(lines: Lines, truth: Float64, owner: Int64, at: Int64, horizon: int) -> Float64:
    """(N, H) what is known of the values from step ``at`` of series ``owner`` on."""
    return np.asarray(truth[(lines.bounds[owner] + at)[:, None] + np.arange(horizon)])


def _measure(
    ensemble: Ensemble, treatment: Treatment, lines: Lines, truth: Float64,
    held: tuple[Int64, Int64], cut: Cut, horizon: int, noise: Float64,
) -> Errors:  # fmt: skip
    """The errors of held-out windows, each series' in units of its noise."""
    owner, at = held
    lifted = forecast_at(ensemble, treatment, lines, owner, at, cut, horizon)
    after = _lift_truth(treatment, _after(lines, truth, owner, at, horizon), owner)
    return Errors.measured(after, lifted, owner, noise, ensemble.quantiles)


def _lift_truth(treatment: Treatment, truth: Float64, owner: Int64) -> Float64:
    log = treatment.log[owner]
    if not log.any():
        return truth
    # a series may have been positive before its held-out part only
    return np.where(log[:, None], np.log(np.maximum(truth, 1e-300)), truth)


def _budget(
    lines: Lines, plan: Plan, cut: Cut, epochs: int | None, batch_size: int | None,
    scout: bool = True,
) -> tuple[Budget, bool]:  # fmt: skip
    """How long to train, and whether scouts train less than the others."""
    first = cut.context + cut.fewest * cut.segment
    count = int(np.maximum(plan.front - cut.horizon + 1 - first, 0).sum())
    count = max(min(count, MOST_WINDOWS), 1)
    size = batch_size or (BATCHES[0] if count < MANY else BATCHES[1])
    batches = -(-count // size)
    few = min(max(PASSES_SHORT * batches, UPDATES[0]), UPDATES[1])
    updates = min(max(PASSES * batches, few), MOST_UPDATES)
    if epochs is None:
        epochs = min(max(round(updates / batches), 1), MAX_EPOCHS)
    epochs = int(epochs)  # NumPy's integers too
    long = epochs * batches > 2 * SCOUT_UPDATES
    if scout and long:
        epochs = max(SCOUT_UPDATES // batches, 1)
    return Budget(size, epochs, epochs), long


def _train(
    ensemble: Ensemble,
    treatment: Treatment,
    lines: Lines,
    stops: Int64,
    cut: Cut,
    options: dict[str, Any],
    budget: Budget,
    held: tuple[Int64, Int64] | None,
) -> tuple[int, History]:
    """Train on what lies before ``stops``; returns epochs used, and history."""
    whole = with_room(lines, cut)
    windows = all_windows(whole, stops, cut, MOST_WINDOWS)
    # constant series have nothing to teach
    windows = windows.take(treatment.scale[windows.owner] > 0)
    if not len(windows):
        return 0, History()
    table = treatment.table(whole, windows, cut, targets=True)
    path = _usual_path(table, ensemble.quantiles)
    if not np.isfinite(path).all():
        raise InputError(TOO_FAR)
    ensemble.begin_with(path)
    validation = None
    if held is not None:
        checks = windows_at(whole, *held, cut)
        checks = checks.take(treatment.scale[checks.owner] > 0)
        if len(checks):
            validation = treatment.table(whole, checks, cut, targets=True)
    history = ensemble.fit(
        table, epochs=budget.used, schedule_epochs=budget.epochs, batch_size=budget.batch_size,
        validation=validation, **options,
    )  # fmt: skip
    if validation is None:
        return budget.used, history
    return 0 if history.best_epoch is None else history.best_epoch + 1, history


def _usual_path(table: SampleTable, quantiles: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """(H * Q,) medians, or quantiles, of what follows the windows, as the network is asked for."""
    if table.y is None or table.y_starts is None:
        raise AssertionError("a table to learn from has targets")
    some = np.unique(np.linspace(0, len(table) - 1, USUAL_WINDOWS).astype(np.int64))
    targets = table.y[table.y_starts[some, None] + np.arange(table.output_size)]
    if table.y_shift is not None:
        targets = targets - table.y_shift[some, None]
    return np.asarray(np.quantile(targets, quantiles or (0.5,), axis=0).T.reshape(-1), np.float32)


def with_room(lines: Lines, cut: Cut) -> Lines:
    """With rows for the covariates known ahead after each series, where there are such."""
    if not cut.knows_ahead:
        return lines
    return lines.with_room(cut.ahead * cut.segment)


def forecast_at(
    ensemble: Ensemble, treatment: Treatment, lines: Lines, owner: Int64, at: Int64, cut: Cut,
    horizon: int,
) -> Float64:  # fmt: skip
    """Lifted forecasts (N, H, Q) from step ``at`` of series ``owner``, in one pass."""
    if horizon <= cut.horizon:
        whole = with_room(lines, cut)
        windows = windows_at(whole, owner, at, cut)
        raw = ensemble.predict(treatment.table(whole, windows, cut))
        return treatment.restore(whole, windows, raw)[:, :horizon]
    before = lines.choose(owner).heads(at)
    ahead = None
    if cut.knows_ahead:
        ahead = lines.known[(lines.bounds[owner] + at)[:, None] + np.arange(horizon)]
    return roll(ensemble, treatment.choose(owner), before, cut, horizon, ahead)


def roll(
    ensemble: Ensemble,
    treatment: Treatment,
    lines: Lines,
    cut: Cut,
    horizon: int,
    ahead: npt.NDArray[np.float32] | None = None,
) -> Float64:
    """Lifted forecasts (M, H, Q) after the end of each series.

    Blocks after the first are made from the blocks before them.

    Args:
        ahead: (M, H, K) what is known there, scaled.
    """
    owner, size = np.arange(len(lines)), cut.ahead * cut.segment
    blocks: list[Float64] = []
    for done in range(0, horizon, cut.horizon):
        lines = lines.tails(cut.context + cut.lookback + cut.segment)
        lengths, whole = lines.lengths, lines
        if ahead is not None:
            room = np.zeros((len(lines), size, ahead.shape[2]), np.float32)
            known = ahead[:, done : done + size]
            room[:, : known.shape[1]] = known
            whole = lines.with_room(size, room)
        windows = windows_at(whole, owner, lengths, cut)
        raw = ensemble.predict(treatment.table(whole, windows, cut))
        block = treatment.restore(whole, windows, raw)
        blocks.append(block)
        if done + cut.horizon < horizon:
            # what is not known ahead stays as it was last: nothing later may be looked at
            more = np.repeat(lines.known[lines.bounds[1:] - 1, None], cut.horizon, axis=1)
            if ahead is not None:
                more[:, :, cut.hidden - 1 :] = room[:, : cut.horizon, cut.hidden - 1 :]
            centre = block[:, :, block.shape[2] // 2]
            lines = lines.extended(treatment.lower(centre, owner), more)
    return np.concatenate(blocks, axis=1)[:, :horizon]
