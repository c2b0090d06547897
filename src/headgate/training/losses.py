"""What a fit minimises, and which targets go with it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import as_number, check_choice, check_size, check_tuple, shown
from ..data.samples import SampleTable, place_of, targets_read
from ..errors import InputError
from ..kernels import LOSSES

# The first is the task's default. Predictions of all but the first are probabilities, so they take
# no other loss: what a loss sees are the outputs before that.
LOSSES_OF_TASKS = {
    "regression": ("mse", "mae", "huber", "quantile"),
    "classification": ("cross_entropy",),
    "binary": ("binary_cross_entropy",),
    "tagging": ("crf",),
}
OF_CLASSES = ("cross_entropy", "crf")  # targets are class numbers
ENTROPIES = ("cross_entropy", "binary_cross_entropy")
_MOST_CLASSES = 1 << 24  # float32, which targets travel as, holds every integer up to here


@dataclass(frozen=True)
class Loss:
    """A loss and its options, checked when made; :meth:`headgate.Network.fit` describes them."""

    name: str = "mse"
    quantiles: tuple[float, ...] = ()
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        check_choice("loss", self.name, LOSSES)
        object.__setattr__(self, "quantiles", _checked_quantiles(self.name, self.quantiles))
        smoothing = as_number(self.label_smoothing)
        if not 0 <= smoothing < 1:
            raise InputError(
                f"label_smoothing must be at least 0 and below 1, got {shown(self.label_smoothing)}"
            )
        object.__setattr__(self, "label_smoothing", smoothing)
        self._refuse_unless(smoothing == 0, "label_smoothing goes", ENTROPIES)
        self._refuse_unless(self.class_weights is None, "class_weights go", ENTROPIES)
        self._refuse_unless(self.ignore_index is None, "ignore_index goes", ENTROPIES[:1])
        if self.class_weights is not None:
            object.__setattr__(self, "class_weights", _checked_weights(self.class_weights))
        if self.ignore_index is not None:
            index = check_size(
                "ignore_index", self.ignore_index, minimum=-_MOST_CLASSES, maximum=_MOST_CLASSES
            )
            object.__setattr__(self, "ignore_index", index)

    def _refuse_unless(self, absent: bool, what: str, losses: tuple[str, ...]) -> None:
        if not absent and self.name not in losses:
            known = " or ".join(f"loss={loss!r}" for loss in losses)
            raise InputError(f"{what} with {known}, not with loss={self.name!r}")

    def engine_row(self) -> tuple[str, tuple[float, ...], tuple[float, ...], float, int | None]:
        """As the engine takes it."""
        weights = self.class_weights or ()
        return self.name, self.quantiles, weights, self.label_smoothing, self.ignore_index

    def check_network(self, task: str, outputs: int) -> None:
        """Raise InputError unless a network of this task and width can be trained so."""
        losses = LOSSES_OF_TASKS[task]
        if self.name not in losses:
            home = next(t for t, names in LOSSES_OF_TASKS.items() if self.name in names)
            known = " or ".join(map(repr, losses))
            raise InputError(
                f"a network of task={task!r} is trained with loss={known}, not with "
                f"loss={self.name!r}; build it with task={home!r} for that"
            )
        if outputs % max(len(self.quantiles), 1):
            count = len(self.quantiles)
            raise InputError(
                f"{count} quantiles of each target need a multiple of {count} outputs, "
                f"this network puts out {outputs}"
            )
        if self.class_weights is not None and len(self.class_weights) != outputs:
            raise InputError(
                f"class_weights must have one weight for each of the {outputs} outputs, "
                f"got {len(self.class_weights)}"
            )
        if self.name == "cross_entropy" and outputs < 2:
            raise InputError(
                f"cross-entropy tells classes apart, one output each, but this network has "
                f"{outputs} output; build it with output_size=2 or more, or with task='binary'"
            )

    def targets_of(self, outputs: int) -> int:
        """How many targets go with that many outputs."""
        if self.name in OF_CLASSES:
            return 1
        return outputs // max(len(self.quantiles), 1)

    def check_labels(self, Y: Any, outputs: int, *, every: bool) -> None:
        """Raise InputError for names of classes and for one-hot rows: numbers are wanted.

        What else may be wrong with ``Y`` is found later.
        """
        if self.name not in OF_CLASSES:
            return
        nested = every and isinstance(Y, (list, tuple)) and len(Y) > 0
        try:
            array = np.asarray(Y[0] if nested else Y)
        except (TypeError, ValueError, RuntimeError):
            return
        if array.size and isinstance(array.reshape(-1)[0], str):
            raise InputError(
                f"Y holds names of classes, but classes are given by their numbers, 0 to "
                f"{outputs - 1}; number them with names, Y = np.unique(Y, return_inverse=True)"
            )
        if array.ndim == 2 + every - nested and array.shape[-1] == outputs:
            what = "Y[0]" if nested else "Y"
            raise InputError(
                f"{what} has shape {array.shape}, but classes are given by their numbers, 0 to "
                f"{outputs - 1}; pass {what}.argmax(axis=-1)"
            )

    def check_targets(self, table: SampleTable, outputs: int, style: str = "array") -> None:
        """Raise InputError unless the targets that are read are such as this loss takes.

        Args:
            outputs: of the network.
            style: how the caller's Y is indexed: "array", "list" or "table".
        """
        if self.name not in (*ENTROPIES, *OF_CLASSES) or table.y is None:
            return
        if table.y_scale is not None:
            raise InputError(
                f"y_shift and y_scale are for measured targets; loss={self.name!r} takes none"
            )
        y = np.asarray(table.y).reshape(-1)
        counts = good = None
        if self.name in OF_CLASSES:
            good = (y >= 0) & (y < outputs) & (y == np.floor(y))
            counts = good
            if self.ignore_index is not None:
                counts = good & (y != self.ignore_index)
                good = good | (y == self.ignore_index)
            if self.class_weights is not None and min(self.class_weights) == 0:
                counts = counts.copy()
                counts[counts] = np.array(self.class_weights)[y[counts].astype(np.int64)] > 0
        else:
            good = (y >= 0) & (y <= 1)
        if not good.all():
            bad = np.flatnonzero(_read(table) & ~good)
            if bad.size:
                place = place_of(table, int(bad[0]), style)
                raise InputError(self._what_is_wrong(place, float(y[bad[0]]), outputs))
        if counts is not None and not counts.all() and not (_read(table) & counts).any():
            raise InputError(
                "no target counts: every class is ignore_index or has the class weight 0; "
                "nothing is left to learn from"
            )

    def _what_is_wrong(self, place: str, value: float, outputs: int) -> str:
        if self.name not in OF_CLASSES:
            return f"{place} is {value:g}, but a binary target lies between 0 and 1"
        if value != math.floor(value):
            return f"{place} is {value:g}, but classes are whole numbers from 0 to {outputs - 1}"
        text = (
            f"{place} is class {value:.0f}, but the network has {outputs} outputs "
            f"(classes 0 to {outputs - 1})"
        )
        if value >= 0 or self.name == "crf":
            return text
        if self.ignore_index is None:
            return f"{text}; ignore_index={value:.0f} would leave such targets out"
        return f"{text} and ignore_index is {self.ignore_index}"

    def of_zero_outputs(self, table: SampleTable, outputs: int) -> float:
        """The greatest loss that a target of the table has where the network puts out zeros.

        A scale for divergence: the greatest, not the mean, since a batch may hold little but the
        one great value of a series.
        """
        if table.y is None or table.y_starts is None:
            return 0.0
        if self.name in OF_CLASSES:
            return self._uniform_guess(outputs)
        if self.name == "binary_cross_entropy":
            return math.log(2) * max(1.0, *(self.class_weights or ()), 1.0)
        y = table.y.reshape(-1)
        if table.y_scale is not None and table.y_shift is not None:
            # The first and the last target of each sample, as the network sees them.
            last = (
                table.y_starts
                + (table.lengths - 1 if table.y_steps == "every" else 0) * table.y_stride
            )
            pairs = np.stack([y[table.y_starts], y[last + table.output_size - 1]])
            y = ((pairs - table.y_shift) / table.y_scale).ravel()
        y = np.array([y.min(), y.max()], np.float64)
        return float(np.max(y * y if self.name == "mse" else np.abs(y)))

    def _uniform_guess(self, outputs: int) -> float:
        """log C but for the smoothing, whose part has the weights of all classes."""
        smoothing, weights = self.label_smoothing, self.class_weights or (1.0,)
        all_weights = sum(weights) / len(weights)
        heaviest = all_weights / min(w for w in weights if w > 0)
        return math.log(outputs) * (1 - smoothing + smoothing * heaviest)


def _read(table: SampleTable) -> npt.NDArray[np.bool_]:
    table.to_engine()  # refuses a table that is inconsistent
    return targets_read(table)


def _plain(values: Any) -> Any:
    """An array or a tensor as a list, since what they hold need not be numbers to Python."""
    return values.tolist() if hasattr(values, "tolist") else values


def _checked_quantiles(loss: str, quantiles: Any) -> tuple[float, ...]:
    given = check_tuple("quantiles", _plain(quantiles))
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


def _checked_weights(weights: Any) -> tuple[float, ...]:
    given = check_tuple("class_weights", _plain(weights))
    numbers = tuple(as_number(value) for value in given)
    for value, number in zip(given, numbers, strict=True):
        if not 0 <= number < math.inf:
            raise InputError(f"class_weights must be finite and at least 0, got {shown(value)}")
    if not any(numbers):
        raise InputError("class_weights must not all be 0: nothing would be learned")
    return numbers
