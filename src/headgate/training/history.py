"""What happened in a fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass
class History:
    """Losses by epoch.

    Attributes:
        loss: (E,) float64, mean over all targets of an epoch, each measured before its update.
        val_loss: (E,) float64, empty without validation data.
        seconds: how long the fit took.
        best_epoch: 0-based epoch of the lowest validation loss (training loss without), or None.
        stopped_early: whether a callback ended the fit.
    """

    loss: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    val_loss: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    seconds: float = 0.0
    best_epoch: int | None = None
    stopped_early: bool = False

    def __repr__(self) -> str:
        if not len(self.loss):
            return "History(no epochs)"
        tail = f", val_loss {self.val_loss[-1]:.6g}" if len(self.val_loss) else ""
        return (
            f"History({len(self.loss)} epochs, loss {self.loss[-1]:.6g}{tail}, "
            f"{self.seconds:.3f} s)"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the learning curve; returns the matplotlib Axes."""
        from ..plots import history_axes, new_figure

        axes = new_figure().axes[0] if ax is None else ax
        history_axes(axes, self.loss, self.val_loss, self.best_epoch)
        return axes

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "loss": self.loss.tolist(),
            "val_loss": self.val_loss.tolist(),
            "seconds": self.seconds,
            "best_epoch": self.best_epoch,
            "stopped_early": self.stopped_early,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> History:
        """The inverse of :meth:`to_dict`."""
        return cls(
            loss=np.asarray(data["loss"], np.float64),
            val_loss=np.asarray(data["val_loss"], np.float64),
            seconds=float(data["seconds"]),
            best_epoch=data["best_epoch"],
            stopped_early=bool(data["stopped_early"]),
        )
