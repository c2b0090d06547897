"""What happened in a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size, shown
from ..errors import InputError


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _curve(values: Any) -> list[float]:
    array = np.asarray(values, np.float64)  # None comes back as nan
    if array.ndim != 1:
        raise InputError(f"losses must be a list of numbers, got {shown(values)}")
    return [float(value) for value in array]


@dataclass
class History:
    """Losses by epoch.

    Attributes:
        losses: mean over all targets of an epoch, each measured before its update; filled while
            training. ``loss`` is the same as an array.
        val_losses: validation loss after each epoch, empty without validation data; ``val_loss``
            as an array.
        seconds: how long the fit took.
        best_epoch: 0-based epoch of the lowest validation loss (training loss without), or None.
        stopped_early: whether a callback ended the fit.
        val_scores: an estimator's score on the validation data after each epoch, higher is better;
            empty for a network by itself.
    """

    losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best_epoch: int | None = None
    stopped_early: bool = False
    val_scores: list[float] = field(default_factory=list)

    @property
    def loss(self) -> npt.NDArray[np.float64]:
        """(E,) float64."""
        return np.asarray(self.losses, np.float64)

    @property
    def val_loss(self) -> npt.NDArray[np.float64]:
        """(E,) float64; empty without validation data."""
        return np.asarray(self.val_losses, np.float64)

    def __repr__(self) -> str:
        if not self.losses:
            return "History(no epochs)"
        tail = f", val_loss {self.val_losses[-1]:.6g}" if self.val_losses else ""
        return (
            f"History({len(self.losses)} epochs, loss {self.losses[-1]:.6g}{tail}, "
            f"{self.seconds:.3f} s)"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the learning curve; returns the matplotlib Axes."""
        from ..plots import history_axes, new_figure

        axes = new_figure().axes[0] if ax is None else ax
        history_axes(axes, self.loss, self.val_loss, self.best_epoch)
        return axes

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; a loss that is not finite as None."""
        return {
            "loss": [_finite(value) for value in self.losses],
            "val_loss": [_finite(value) for value in self.val_losses],
            "seconds": self.seconds,
            "best_epoch": self.best_epoch,
            "stopped_early": self.stopped_early,
            "val_score": [_finite(value) for value in self.val_scores],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> History:
        """The inverse of :meth:`to_dict`."""
        best = data["best_epoch"]
        return cls(
            losses=_curve(data["loss"]),
            val_losses=_curve(data["val_loss"]),
            seconds=float(data["seconds"]),
            best_epoch=None if best is None else check_size("best_epoch", best, minimum=0),
            stopped_early=bool(data["stopped_early"]),
            val_scores=_curve(data.get("val_score", [])),  # files of earlier versions have none
        )
