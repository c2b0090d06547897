"""Single updates for live learning: what stays between them, and as little else as can be."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable
from ..errors import DivergenceError, InputError
from ..kernels import Engine, make_trainer
from ..spec import NetworkSpec
from .loop import DIVERGENCE_FACTOR
from .losses import LOSSES_OF_TASKS
from .options import FitOptions
from .tables import checked_table

Float32 = npt.NDArray[np.float32]

# Those of a fit that mean something for an update by itself.
OPTIONS = (
    *("optimizer", "learning_rate", "weight_decay", "momentum", "clip_norm", "clip_value"),
    *("loss", "quantiles", "class_weights", "label_smoothing", "ignore_index"),
)
# What the losses so far count a call later, as a scale: they are forgotten in some hundreds.
_FADING = 0.99


class Samples(NamedTuple):
    """A table, and the engine's view of it."""

    table: SampleTable
    engine: Any


class Learner:
    """Makes updates one by one; its optimiser goes on from each to the next.

    A window of the same shape as the one before is written over it: laying out and checking a new
    table takes longer than learning from it.
    """

    def __init__(self, engine: Engine, spec: NetworkSpec, options: FitOptions, seed: int) -> None:
        self.options = options
        self.asked: dict[str, Any] = {}  # the options in the caller's words
        self._engine, self._spec = engine, spec
        self._loss = options.loss_options()
        self._row = self._loss.engine_row()
        self._trainer = make_trainer(
            engine,
            optimizer=options.optimizer,
            momentum=float(options.momentum),
            weight_decay=float(options.weight_decay),
            clip_norm=float(options.clip_norm or 0.0),
            clip_value=float(options.clip_value or 0.0),
            loss=self._row,
            seed=seed,
        )
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._kept: Samples | None = None
        self._scale = 1e-12

    def samples(self, X: Any, Y: Any, lengths: Any) -> Samples:
        """``X`` and ``Y``, checked, as the engine reads them.

        Raises:
            InputError: they do not fit the network or the loss.
        """
        plain = lengths is None and _is_plain(X) and _is_plain(Y)
        if plain and self._shapes == (X.shape, Y.shape) and self._overwrite(X, Y):
            assert self._kept is not None, "set with the shapes"
            return self._kept
        table = checked_table(self._spec, X, Y, lengths, self._loss)
        if not plain or self._spec.token_inputs:
            return Samples(table, table.to_engine())
        assert table.y is not None, "checked"
        own = replace(table, x=table.x.copy(), y=table.y.copy())
        self._kept, self._shapes = Samples(own, own.to_engine()), (X.shape, Y.shape)
        return self._kept

    def _overwrite(self, X: npt.NDArray[Any], Y: npt.NDArray[Any]) -> bool:
        """Put a window in the last one's place; False if the longer way must say what is wrong."""
        table = self._kept.table if self._kept is not None else None
        if table is None or table.y is None:
            return False
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, and found below
            table.x[:] = X.reshape(table.x.shape)
            table.y[:] = Y.reshape(-1)
            total = np.add.reduce(table.x, axis=None) + np.add.reduce(table.y)
        if not math.isfinite(total):
            return False
        self._loss.check_targets(table, self._engine.output_size)
        return True

    def learn(
        self, samples: Samples, start: Float32 | None, updates: int
    ) -> tuple[float, Float32 | None]:
        """The mean loss, measured before each update, and the state at the end.

        Args:
            start: flat state that every update begins with; None for zeros.

        Raises:
            DivergenceError: the loss left the finite or the sensible; the weights are as they were.
        """
        count = len(samples.table)
        order, bounds = np.arange(count, dtype=np.int64), np.array([0, count], np.int64)
        rates = np.array([self.options.learning_rate], np.float64)
        before, end, losses = self._engine.get_vector(), None, 0.0
        for number in range(updates):
            end = None if start is None else start.copy()
            # The limit is that of floats: what is sensible is known when the loss is.
            status, loss, _, last, _ = self._trainer.epoch(
                samples.engine, order, bounds, None, end, rates, sys.float_info.max
            )
            if status != "done":
                raise self._diverged(before, number, last)
            losses += loss
        after = self._engine.raw.evaluate(samples.engine, count, self._row, start)
        mean = losses / updates
        self._scale = max(_FADING * self._scale, mean)
        if not after <= DIVERGENCE_FACTOR * self._scale:
            zeros = self._loss.of_zero_outputs(samples.table, self._engine.output_size)
            self._scale = max(self._scale, zeros)
            if not after <= DIVERGENCE_FACTOR * self._scale:
                raise self._diverged(before, updates - 1, after)
        return mean, end

    def _diverged(self, before: Float32, number: int, loss: float) -> DivergenceError:
        self._engine.set_vector(before)
        return DivergenceError(
            f"update {number} diverged: the loss was {loss:.4g}. The network has the weights of "
            "before the call. Try a smaller learning_rate (this was "
            f"{self.options.learning_rate:g}), clip_norm=1.0, or scale the data to about [-1, 1]",
            epoch=0,
            update=number,
            loss=loss,
        )


def learner_for(
    options: Mapping[str, Any], last: Learner | None, engine: Engine, spec: NetworkSpec, seed: int
) -> Learner:
    """The learner for these options of ``partial_fit``: the last one, or one that begins anew.

    Raises:
        InputError: an option is out of range, or is none for an update by itself.
    """
    if last is not None and _same(options, last.asked):
        return last
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InputError(f"partial_fit has no option {unknown}; it has {list(OPTIONS)}")
    given = FitOptions(**{"loss": LOSSES_OF_TASKS[spec.task][0], **options})
    if last is None or replace(last.options, learning_rate=given.learning_rate) != given:
        last = Learner(engine, spec, given, seed)
    last.options, last.asked = given, dict(options)
    return last


def _same(options: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    try:
        return bool(options == asked)
    except ValueError:  # arrays among them
        return False


def _is_plain(array: Any) -> bool:
    """Whether it is an array of numbers and nothing more: no mask, no tensor, no list."""
    return type(array) is np.ndarray and array.dtype.kind in "fiu"
