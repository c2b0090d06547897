"""Mean losses over valid targets, and their gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .arrays import Array, expect

HUBER_DELTA = 1.0


def loss_and_gradient(
    loss: str, outputs: Array, targets: ArrayLike, valid: ArrayLike | None = None
) -> tuple[float, Array]:
    """The mean loss over valid targets, and its gradient in the shape of ``outputs``.

    ``mse`` is d^2, ``mae`` |d| (slope 0 at 0), ``huber`` d^2 / 2 up to |d| = 1 and |d| - 1/2
    beyond, for d = output - target. ``valid`` is a boolean mask of the outputs' leading axes;
    targets where it is false are not read.
    """
    targets = np.asarray(targets, outputs.dtype)
    expect("targets", targets, outputs.shape, "the outputs' shape")
    mask = np.ones(outputs.shape, bool)
    if valid is not None:
        valid = np.asarray(valid, bool)
        mask &= valid.reshape(valid.shape + (1,) * (outputs.ndim - valid.ndim))
    count = int(mask.sum())
    if count == 0:
        raise InputError("no valid target, so the mean loss is undefined; pass at least one")
    d = np.where(mask, outputs, 0.0) - np.where(mask, targets, 0.0)
    size = np.abs(d)
    if loss == "mse":
        value, slope = d * d, 2 * d
    elif loss == "mae":
        value, slope = size, np.sign(d)
    elif loss == "huber":
        value = np.where(size <= HUBER_DELTA, 0.5 * d * d, HUBER_DELTA * (size - 0.5 * HUBER_DELTA))
        slope = np.clip(d, -HUBER_DELTA, HUBER_DELTA)
    else:
        raise InputError(f"loss must be 'mse', 'mae' or 'huber', got {loss!r}")
    return float(value.sum() / count), (slope / count).astype(outputs.dtype)
