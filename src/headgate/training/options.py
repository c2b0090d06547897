"""FitOptions: how to train, checked when made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import as_number, check_choice, check_flags, check_size, shown
from ..errors import InputError
from ..kernels import OPTIMIZERS
from .losses import Loss
from .schedules import Schedule


@dataclass(frozen=True)
class FitOptions:
    """How to train; :meth:`headgate.Network.fit` says what each option means.

    Raises:
        InputError: an option is out of range, or does not go with another one.
    """

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
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    step_epochs: int | None = None
    step_factor: float = 0.1
    plateau_factor: float = 0.1
    plateau_patience: int = 10
    warmup_epochs: float = 0.0
    bptt_steps: int | None = None

    def __post_init__(self) -> None:
        check_flags(shuffle=self.shuffle, stateful=self.stateful)
        check_size("epochs", self.epochs, minimum=0, maximum=1 << 31)
        check_size("batch_size", self.batch_size, maximum=1 << 31)
        self._check_optimizer()
        loss = self.loss_options()
        for name in ("quantiles", "class_weights", "label_smoothing", "ignore_index"):
            object.__setattr__(self, name, getattr(loss, name))
        self.learning_rates()
        if self.bptt_steps is not None:
            check_size("bptt_steps", self.bptt_steps, maximum=1 << 31)
            if self.stateful:
                raise InputError(
                    "bptt_steps cuts every sequence by itself and begins it with a state of zeros; "
                    "stateful=True goes on from sample to sample; leave one of them out"
                )
        if self.stateful and self.shuffle:
            raise InputError(
                "stateful=True carries the state from batch to batch in order; "
                "pass shuffle=False with it"
            )

    def loss_options(self) -> Loss:
        """The loss with its own options."""
        return Loss(
            self.loss,
            quantiles=self.quantiles,
            class_weights=self.class_weights,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
        )

    def learning_rates(self) -> Schedule:
        """The schedule with its own options."""
        return Schedule(
            self.schedule,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            warmup_epochs=self.warmup_epochs,
            schedule_epochs=self.schedule_epochs,
            step_epochs=self.step_epochs,
            step_factor=self.step_factor,
            plateau_factor=self.plateau_factor,
            plateau_patience=self.plateau_patience,
        )

    def _check_optimizer(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("learning_rate", "weight_decay", "momentum", "clip_norm", "clip_value"):
            value: Any = getattr(self, name)
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
