"""The one epoch loop: each epoch is one call into the engine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable
from ..errors import DivergenceError, InputError
from ..kernels import Engine, make_trainer
from .callbacks import Callback, CallbackEnv, EarlyStopException
from .evaluation import Evaluation
from .history import History
from .options import FitOptions
from .progress import Progress
from .schedules import Plateau
from .sources import Source

Float32 = npt.NDArray[np.float32]

# A loss this many times the larger of the first one and that of predicting zeros is no training.
DIVERGENCE_FACTOR = 1e4


def _diverged(options: FitOptions, epoch: int, update: int, loss: float) -> DivergenceError:
    return DivergenceError(
        f"training diverged in epoch {epoch}, update {update}: the loss was {loss:.4g}. The "
        "network keeps its last good weights. Try a smaller learning_rate (this was "
        f"{options.learning_rate:g}), clip_norm=1.0, or scale the data to about [-1, 1]",
        epoch=epoch,
        update=update,
        loss=loss,
    )


def run_epochs(
    engine: Engine,
    source: Source,
    options: FitOptions,
    *,
    network: Any,
    seed: int,
    state: Float32 | None,
    validation: SampleTable | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | str = "auto",
    history: History | None = None,
    publish_state: Callable[[Float32 | None], None] = lambda state: None,
) -> History:
    """Train ``engine`` on what ``source`` hands out; returns the history.

    Args:
        state: flat carried state of a stateful fit, updated in place; None to begin every batch,
            or with ``bptt_steps`` every sequence, with zeros.
        history: filled while training, so that an interrupted fit leaves what it did.
        publish_state: called with the carried state when it changes by more than an update.

    Raises:
        DivergenceError: the loss left the finite or the sensible; the last good weights are kept.
        KeyboardInterrupt: Ctrl-C; the weights are those after the last whole update.
    """
    history = History() if history is None else history
    loss_options = options.loss_options()
    row = loss_options.engine_row()
    checks = None if validation is None else Evaluation(engine, validation, row)
    trainer = make_trainer(
        engine,
        optimizer=options.optimizer,
        momentum=float(options.momentum),
        weight_decay=float(options.weight_decay),
        clip_norm=float(options.clip_norm or 0.0),
        clip_value=float(options.clip_value or 0.0),
        loss=row,
        seed=seed,
    )

    carried = state
    table = source.first.table
    pace = _Pace(options)
    plateau = Plateau(options.plateau_factor, options.plateau_patience)
    warmed_up = math.ceil(options.warmup_epochs)
    rng = np.random.default_rng(seed)
    first = Evaluation(engine, table.take(slice(0, options.batch_size)), row)
    first_loss = first.loss()
    if not math.isfinite(first_loss):
        raise _diverged(options, 0, 0, first_loss)
    of_zeros = loss_options.of_zero_outputs(table, engine.output_size)
    limit = DIVERGENCE_FACTOR * max(first_loss, of_zeros, 1e-12)
    restores = any(getattr(callback, "restores_best", False) for callback in callbacks)
    if restores and checks is None:
        raise InputError("early stopping needs validation data; pass validation_data=(X, Y) to fit")
    best = _Best() if restores else None
    parameters = asdict(options)
    updates = 0
    losses, val_losses = history.losses, history.val_losses
    begin = time.perf_counter()
    try:
        with Progress(options.epochs, "training", progress) as bar:
            for epoch in range(options.epochs):
                total = weight = 0.0
                for part in source.parts():
                    batches = part.batches(rng)
                    if options.bptt_steps is not None:
                        # Each part begins with new sequences. It never shrinks: the trainer may
                        # put back what it remembers of an earlier part.
                        size = int(engine.raw.state_size) * batches.largest
                        if carried is None or carried.size < size:
                            carried = np.zeros(size, np.float32)
                    rates = pace.rates(epoch, len(batches), plateau.factor)
                    status, loss, updates, last_loss, counted = trainer.epoch(
                        part.samples, *batches, carried, rates, limit
                    )
                    if status != "done":
                        raise _diverged(options, epoch, updates, last_loss)
                    total, weight = total + loss * counted, weight + counted
                    del part  # not in memory while the next chunk is read
                loss = total / weight if weight else 0.0
                losses.append(loss)
                if checks is not None:
                    val_losses.append(checks.loss())
                    if best is not None:
                        best.offer(val_losses[-1], engine, state)
                if options.schedule == "plateau" and epoch >= warmed_up:
                    plateau.observe(val_losses[-1] if val_losses else loss)
                results = [("train", options.loss, loss, False)]
                if checks is not None:
                    results.append(("valid", options.loss, val_losses[-1], False))
                try:
                    if callbacks:
                        publish_state(state)
                        env = CallbackEnv(network, parameters, epoch, 0, options.epochs, results)
                        for callback in callbacks:
                            callback(env)
                finally:  # after an early stop too, and with the scores that callbacks added
                    if bar.active:
                        bar.update(epoch + 1, _in_words(results, options.loss))
    except EarlyStopException:
        history.stopped_early = True
    else:
        # The last update has no later loss that would show what it did.
        last_loss = first.loss()
        if not last_loss <= limit:
            trainer.restore(carried)
            raise _diverged(options, len(losses) - 1, updates, last_loss)
    finally:
        history.seconds = time.perf_counter() - begin
        curve = history.val_loss if val_losses else history.loss
        history.best_epoch = int(np.nanargmin(curve)) if np.isfinite(curve).any() else None
        if best is not None:
            best.restore(engine, state)
        publish_state(state)
    return history


def _in_words(results: list[tuple[str, str, float, bool]], loss: str) -> str:
    """An epoch's losses and scores, as people watch them."""
    names = {("train", loss): "loss", ("valid", loss): "validation loss"}
    return "  ".join(f"{names.get((part, m), m)} {value:.4g}" for part, m, value, _ in results)


class _Pace:
    """The learning rates of the updates to come."""

    def __init__(self, options: FitOptions) -> None:
        self._schedule = options.learning_rates()
        # Only a rate that changes from update to update must know how many make an epoch. It is
        # the number in the first epoch: cuts of sequences of many lengths make a few more or less.
        self._by_update = self._schedule.by_update
        self._per_epoch = 0

    def rates(self, epoch: int, count: int, factor: float) -> npt.NDArray[np.float64]:
        if not self._by_update:
            return np.repeat(self._schedule.rates(epoch, 1, 1, factor), count)
        self._per_epoch = self._per_epoch or count
        return self._schedule.rates(epoch * self._per_epoch, count, self._per_epoch, factor)


class _Best:
    """The weights and the carried state of the epoch with the lowest validation loss."""

    def __init__(self) -> None:
        self.loss = math.inf
        self.vector: Float32 | None = None
        self.state: Float32 | None = None

    def offer(self, loss: float, engine: Engine, state: Float32 | None) -> None:
        if loss < self.loss:
            self.loss = loss
            self.vector = engine.get_vector()
            self.state = None if state is None else state.copy()

    def restore(self, engine: Engine, state: Float32 | None) -> None:
        if self.vector is None:
            return
        engine.set_vector(self.vector)
        if state is not None and self.state is not None:
            state[:] = self.state
