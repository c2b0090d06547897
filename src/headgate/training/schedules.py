"""Learning rates: what each update of an epoch is given.

Rates depend on the number of the update alone, except with ``plateau``, whose factor follows the
losses. Updates are counted from 0 over the whole fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..checks import as_number, check_choice, check_size, shown
from ..errors import InputError

Float64 = npt.NDArray[np.float64]

SCHEDULES = ("constant", "cosine", "step", "one_cycle", "plateau")
# Which schedules an option goes with.
_OWNERS = {
    "schedule_epochs": ("cosine", "one_cycle"),
    "step_epochs": ("step",),
    "step_factor": ("step",),
    "plateau_factor": ("plateau",),
    "plateau_patience": ("plateau",),
}
# PyTorch's defaults of OneCycleLR and ReduceLROnPlateau.
RISING_PART, FIRST_DIVISOR, LAST_DIVISOR = 0.3, 25.0, 1e4
PLATEAU_THRESHOLD = 1e-4


@dataclass(frozen=True)
class Schedule:
    """A schedule and its options, checked when made; :meth:`headgate.Network.fit` describes them.

    ``epochs`` is how many are trained.
    """

    name: str = "constant"
    learning_rate: float = 1e-3
    epochs: int = 10
    warmup_epochs: float = 0.0
    schedule_epochs: int | None = None
    step_epochs: int | None = None
    step_factor: float = 0.1
    plateau_factor: float = 0.1
    plateau_patience: int = 10

    def __post_init__(self) -> None:
        check_choice("schedule", self.name, SCHEDULES)
        for option, owners in _OWNERS.items():
            default = type(self).__dataclass_fields__[option].default
            given = getattr(self, option)
            if self.name not in owners and not (given is default or as_number(given) == default):
                known = " or ".join(f"schedule={owner!r}" for owner in owners)
                raise InputError(f"{option} goes with {known}, not with schedule={self.name!r}")
        if self.schedule_epochs is not None:
            length = check_size("schedule_epochs", self.schedule_epochs, minimum=0, maximum=1 << 31)
            if length < self.epochs:
                raise InputError(
                    f"schedule_epochs must be at least epochs={self.epochs}, got {length}"
                )
        if self.name == "step":
            if self.step_epochs is None:
                raise InputError("schedule='step' needs step_epochs, such as step_epochs=10")
            check_size("step_epochs", self.step_epochs, maximum=1 << 31)
        for option in ("step_factor", "plateau_factor"):
            if not 0 < as_number(getattr(self, option)) < 1:
                raise InputError(
                    f"{option} must be above 0 and below 1, got {shown(getattr(self, option))}"
                )
        check_size("plateau_patience", self.plateau_patience, minimum=0, maximum=1 << 31)
        warmup = as_number(self.warmup_epochs)
        if not 0 <= warmup < math.inf:
            raise InputError(
                f"warmup_epochs must be a finite number at least 0, got {shown(self.warmup_epochs)}"
            )
        if warmup and warmup >= self.length:
            raise InputError(
                f"warmup_epochs must be below the schedule's {self.length} epochs, got {warmup:g}"
            )

    @property
    def length(self) -> int:
        """Epochs that a cosine or a cycle takes, warm-up included."""
        return int(self.epochs if self.schedule_epochs is None else self.schedule_epochs)

    @property
    def by_update(self) -> bool:
        """Whether the rate changes within an epoch."""
        return self.name in ("cosine", "one_cycle") or self.warmup_epochs > 0

    def rates(self, begin: int, count: int, per_epoch: int, factor: float = 1.0) -> Float64:
        """(count,) learning rates of the updates ``begin``, ``begin + 1``, ...

        Args:
            per_epoch: updates of an epoch, what the epochs of the options are counted in.
            factor: what a plateau has made of the rate so far.
        """
        peak = float(self.learning_rate) * factor
        whole = self.length * per_epoch
        warmup = min(round(float(self.warmup_epochs) * per_epoch), max(whole - 1, 0))
        if begin >= warmup and self.name in ("constant", "plateau"):
            return np.full(count, peak)
        update = np.arange(begin - warmup, begin - warmup + count, dtype=np.float64)
        result = peak * self._shape(np.maximum(update, 0), whole - warmup, per_epoch)
        # A straight line to the first rate of the schedule proper, as if from 0 at update -1.
        rising = update < 0
        result[rising] *= (update[rising] + warmup + 1) / (warmup + 1)
        return result

    def _shape(self, update: Float64, length: int, per_epoch: int) -> Float64:
        """The share of the learning rate at ``update``, from 0, of ``length``."""
        if self.name == "cosine":
            done = np.minimum(update / length, 1.0) if length else np.zeros_like(update)
            return (1 + np.cos(np.pi * done)) / 2
        if self.name == "step":
            return float(self.step_factor) ** (update // (int(self.step_epochs or 1) * per_epoch))
        if self.name == "one_cycle":
            return _one_cycle(update, length)
        return np.ones_like(update)


def _one_cycle(update: Float64, length: int) -> Float64:
    """A half cosine up over the first part of the updates, and one down over the rest."""
    top, end = RISING_PART * length - 1, length - 1.0
    first = 1 / FIRST_DIVISOR
    # In a cycle too short to rise at all, `top` is negative and nothing is left of it.
    up = update / top if top > 0 else np.ones_like(update)
    down = np.minimum((update - top) / (end - top), 1.0)
    rising = first + (1 - first) * (1 - np.cos(np.pi * up)) / 2
    falling = first / LAST_DIVISOR + (1 - first / LAST_DIVISOR) * (1 + np.cos(np.pi * down)) / 2
    return np.where((update <= top) & (top > 0), rising, falling)


class Plateau:
    """The factor of ``schedule="plateau"``: PyTorch's ReduceLROnPlateau with its defaults.

    Attributes:
        factor: of the learning rate from now on.
    """

    def __init__(self, factor: float, patience: int) -> None:
        self.factor = 1.0
        self._step, self._patience = float(factor), int(patience)
        self._best, self._bad = math.inf, 0

    def observe(self, loss: float) -> None:
        """Take in the loss after an epoch."""
        if loss < self._best * (1 - PLATEAU_THRESHOLD):
            self._best, self._bad = loss, 0
        else:
            self._bad += 1
        if self._bad > self._patience:
            self.factor *= self._step
            self._bad = 0
