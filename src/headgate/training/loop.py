"""The one epoch loop: each epoch is one call into the engine."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import as_number, check_choice, check_size, check_tuple, shown
from ..data.samples import SampleTable
from ..errors import DivergenceError, InputError
from ..kernels import LOSSES, OPTIMIZERS, SCHEDULES, Engine, make_trainer
from .callbacks import Callback, CallbackEnv, EarlyStopException
from .history import History
from .progress import Progress

Float32 = npt.NDArray[np.float32]

# A loss this many times the larger of the first one and that of predicting zeros is no training.
DIVERGENCE_FACTOR = 1e4
EVALUATION_BATCH = 256


def check_quantiles(loss: str, quantiles: Any) -> tuple[float, ...]:
    """Return ``quantiles`` as floats that go with ``loss``, or say why they do not."""
    given = check_tuple("quantiles", quantiles)
    numbers = tuple(as_number(value) for value in given)
    if loss != "quantile":
        if given:
            raise InputError(f"quantiles go with loss='quantile', not with loss={loss!r}")
    elif not given:
        raise InputError("loss='quantile' needs quantiles, such as quantiles=(0.1, 0.5, 0.9)")
    for value, number in zip(given, numbers, strict=True):
        if not 0 < number < 1:
            raise InputError(f"quantiles must be above 0 and below 1, got {shown(value)}")
    for before, after in itertools.pairwise(numbers):
        if not before < after:
            raise InputError(f"quantiles must increase, got {before!r} before {after!r}")
    return numbers


@dataclass(frozen=True)
class FitOptions:
    """How to train; checked when made."""

    epochs: int = 10
    batch_size: int = 32
    shuffle: bool = True
    stateful: bool = False
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    loss: str = "mse"
    weight_decay: float = 0.0
    momentum: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    schedule: str = "constant"
    schedule_epochs: int | None = None
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("shuffle", "stateful"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise InputError(f"{name} must be True or False, got {shown(getattr(self, name))}")
        check_size("epochs", self.epochs, minimum=0, maximum=1 << 31)
        check_size("batch_size", self.batch_size, maximum=1 << 31)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("loss", self.loss, LOSSES)
        object.__setattr__(self, "quantiles", check_quantiles(self.loss, self.quantiles))
        check_choice("schedule", self.schedule, SCHEDULES)
        if self.schedule_epochs is not None:
            if self.schedule == "constant":
                raise InputError("schedule_epochs goes with schedule='cosine'")
            length = check_size("schedule_epochs", self.schedule_epochs, minimum=0, maximum=1 << 31)
            if length < self.epochs:
                raise InputError(
                    f"schedule_epochs must be at least epochs={self.epochs}, got {length}"
                )
        for name in ("learning_rate", "weight_decay", "momentum", "clip_norm", "clip_value"):
            value = getattr(self, name)
            if value is None and name.startswith("clip"):
                continue
            lowest_excluded = name not in ("weight_decay", "momentum")
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float, np.number))
                or not 0 <= as_number(value) < math.inf
                or (lowest_excluded and value == 0)
            ):
                bound = "above 0" if lowest_excluded else "at least 0"
                raise InputError(f"{name} must be a finite number {bound}, got {shown(value)}")
        if self.momentum >= 1:
            raise InputError(f"momentum must be below 1, got {self.momentum!r}")
        if self.momentum and self.optimizer != "sgd":
            raise InputError(
                f"momentum goes with optimizer='sgd'; {self.optimizer!r} has its own averages"
            )
        if self.stateful and self.shuffle:
            raise InputError(
                "stateful=True carries the state from batch to batch in order; "
                "pass shuffle=False with it"
            )


def _zero_prediction_loss(table: SampleTable, loss: str) -> float:
    """The loss of predicting zero for the farthest target: a scale for divergence."""
    if table.y is None or table.y_starts is None:
        return 0.0
    y = table.y.reshape(-1)
    if table.y_scale is not None and table.y_shift is not None:
        # The first and the last target of each sample, as the network sees them.
        last = (
            table.y_starts + (table.lengths - 1 if table.y_steps == "every" else 0) * table.y_stride
        )
        pairs = np.stack([y[table.y_starts], y[last + table.output_size - 1]])
        y = ((pairs - table.y_shift) / table.y_scale).ravel()
    y = np.array([y.min(), y.max()], np.float64)
    # The largest, not the mean: a batch may hold little but the one great value of a series.
    return float(np.max(y * y if loss == "mse" else np.abs(y)))


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
    schedule_epochs = options.epochs if options.schedule_epochs is None else options.schedule_epochs
    trainer = make_trainer(
        engine,
        optimizer=options.optimizer,
        learning_rate=float(options.learning_rate),
        momentum=float(options.momentum),
        weight_decay=float(options.weight_decay),
        clip_norm=float(options.clip_norm or 0.0),
        clip_value=float(options.clip_value or 0.0),
        loss=options.loss,
        seed=seed,
        quantiles=options.quantiles,
        schedule=options.schedule,
        schedule_updates=int(schedule_epochs) * -(-len(table) // int(options.batch_size)),
    )

    def measured(samples: Any) -> float:
        return float(
            engine.raw.evaluate(samples, EVALUATION_BATCH, options.loss, None, options.quantiles)
        )

    order = np.arange(len(table), dtype=np.int64)
    rng = np.random.default_rng(seed)
    first = table.take(slice(0, options.batch_size)).to_engine()
    first_loss = measured(first)
    if not math.isfinite(first_loss):
        raise _diverged(options, 0, 0, first_loss)
    limit = DIVERGENCE_FACTOR * max(first_loss, _zero_prediction_loss(table, options.loss), 1e-12)
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
                status, loss, updates, last_loss = trainer.epoch(
                    samples, order, options.batch_size, state, limit
                )
                if status != "done":
                    raise _diverged(options, epoch, updates, last_loss)
                losses.append(loss)
                if checks is not None:
                    val_losses.append(measured(checks))
                    if best is not None:
                        best.offer(val_losses[-1], engine, state)
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
