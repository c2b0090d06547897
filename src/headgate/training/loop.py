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
from .history import History
from .options import FitOptions
from .progress import Progress
from .schedules import Plateau

Float32 = npt.NDArray[np.float32]

# A loss this many times the larger of the first one and that of predicting zeros is no training.
DIVERGENCE_FACTOR = 1e4
EVALUATION_BATCH = 256


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
    table: SampleTable,
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
    """Train ``engine`` on ``table``; returns the history.

    Args:
        state: flat carried state, updated in place, or None to begin every batch with zeros.
        history: filled while training, so that an interrupted fit leaves what it did.
        publish_state: called with the carried state when it changes by more than an update.

    Raises:
        DivergenceError: the loss left the finite or the sensible; the last good weights are kept.
        KeyboardInterrupt: Ctrl-C; the weights are those after the last whole update.
    """
    history = History() if history is None else history
    samples = table.to_engine()
    checks = validation.to_engine() if validation is not None else None
    loss_options = options.loss_options()
    trainer = make_trainer(
        engine,
        optimizer=options.optimizer,
        momentum=float(options.momentum),
        weight_decay=float(options.weight_decay),
        clip_norm=float(options.clip_norm or 0.0),
        clip_value=float(options.clip_value or 0.0),
        loss=loss_options.engine_row(),
        seed=seed,
    )

    def measured(samples: Any) -> float:
        row = loss_options.engine_row()
        return float(engine.raw.evaluate(samples, EVALUATION_BATCH, row, None))

    order = np.arange(len(table), dtype=np.int64)
    bounds = np.append(np.arange(0, len(table), options.batch_size), len(table)).astype(np.int64)
    batches = len(bounds) - 1
    schedule = options.learning_rates()
    plateau = Plateau(options.plateau_factor, options.plateau_patience)
    warmed_up = math.ceil(options.warmup_epochs)
    rng = np.random.default_rng(seed)
    first = table.take(slice(0, options.batch_size)).to_engine()
    first_loss = measured(first)
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
                if options.shuffle:
                    rng.shuffle(order)
                rates = schedule.rates(epoch * batches, batches, batches, plateau.factor)
                status, loss, updates, last_loss = trainer.epoch(
                    samples, order, bounds, None, state, rates, limit
                )
                if status != "done":
                    raise _diverged(options, epoch, updates, last_loss)
                losses.append(loss)
                if checks is not None:
                    val_losses.append(measured(checks))
                    if best is not None:
                        best.offer(val_losses[-1], engine, state)
                if options.schedule == "plateau" and epoch >= warmed_up:
                    plateau.observe(val_losses[-1] if val_losses else loss)
                if bar.active:
                    bar.update(epoch + 1, f"loss {loss:.4g}")
                if callbacks:
                    publish_state(state)
                    results = [("train", options.loss, loss, False)]
                    if val_losses:
                        results.append(("valid", options.loss, val_losses[-1], False))
                    env = CallbackEnv(network, parameters, epoch, 0, options.epochs, results)
                    for callback in callbacks:
                        callback(env)
    except EarlyStopException:
        history.stopped_early = True
    else:
        # The last update has no later loss that would show what it did.
        last_loss = measured(first)
        if not last_loss <= limit:
            trainer.restore(state)
            raise _diverged(options, len(losses) - 1, updates, last_loss)
    finally:
        history.seconds = time.perf_counter() - begin
        curve = history.val_loss if val_losses else history.loss
        history.best_epoch = int(np.nanargmin(curve)) if np.isfinite(curve).any() else None
        if best is not None:
            best.restore(engine, state)
        publish_state(state)
    return history


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
