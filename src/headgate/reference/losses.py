"""Mean losses over valid targets, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .arrays import Array, expect

# "crf" is a layer's and its loss in one: crf_loss_and_gradients
LOSSES = ("mse", "mae", "huber", "quantile", "cross_entropy", "binary_cross_entropy", "crf")
HUBER_DELTA = 1.0


def loss_and_gradient(
    loss: str,
    outputs: Array,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    quantiles: Sequence[float] = (),
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[float, Array]:
    """The mean loss over valid targets, and its gradient in the shape of ``outputs``.

    For d = output - target, ``mse`` is d^2, ``mae`` |d| (slope 0 at 0), ``huber`` d^2 / 2 up to
    |d| = 1 and |d| - 1/2 beyond. ``quantile`` is max(-q d, (1 - q) d) for each of the
    ``quantiles`` (slope 0 at 0); outputs (..., H * Q), targets (..., H).

    ``cross_entropy``: targets (...) are class numbers of outputs (..., C), p their softmax, s the
    label smoothing, w the class weights: (1 - s) w_y (-log p_y) + s / C sum_c w_c (-log p_c),
    summed over the targets that are not ``ignore_index`` and divided by the sum of their w_y.

    ``binary_cross_entropy``: -(w y log p + (1 - y) log(1 - p)) with p the sigmoid of the output,
    w the class weight of that output, y smoothed to y (1 - s) + s / 2.

    ``valid`` is a boolean mask of the outputs' leading axes; targets where it is false are not
    read.
    """
    targets = np.asarray(targets, outputs.dtype)
    if loss == "cross_entropy":
        expect("targets", targets, outputs.shape[:-1], "the outputs' shape without the classes")
        rows = np.ones(targets.shape, bool) if valid is None else np.asarray(valid, bool)
        return _cross_entropy(outputs, targets, rows, class_weights, label_smoothing, ignore_index)
    per_target = max(len(quantiles), 1)
    wanted = (*outputs.shape[:-1], outputs.shape[-1] // per_target)
    expect("targets", targets, wanted, "the outputs' shape")
    targets = np.repeat(targets, per_target, axis=-1)
    mask = np.ones(outputs.shape, bool)
    if valid is not None:
        valid = np.asarray(valid, bool)
        mask &= valid.reshape(valid.shape + (1,) * (outputs.ndim - valid.ndim))
    count = int(mask.sum())
    if count == 0:
        raise InputError("no valid target, so the mean loss is undefined; pass at least one")
    x, y = np.where(mask, outputs, 0.0), np.where(mask, targets, 0.0)
    d = x - y
    size = np.abs(d)
    if loss == "mse":
        value, slope = d * d, 2 * d
    elif loss == "mae":
        value, slope = size, np.sign(d)
    elif loss == "huber":
        value = np.where(size <= HUBER_DELTA, 0.5 * d * d, HUBER_DELTA * (size - 0.5 * HUBER_DELTA))
        slope = np.clip(d, -HUBER_DELTA, HUBER_DELTA)
    elif loss == "quantile":
        q = np.resize(np.asarray(quantiles, outputs.dtype), outputs.shape[-1])
        value = np.maximum(-q * d, (1 - q) * d)
        slope = np.where(d < 0, -q, np.where(d > 0, 1 - q, 0.0))
    elif loss == "binary_cross_entropy":
        w = np.ones(outputs.shape[-1]) if class_weights is None else np.asarray(class_weights)
        y = y * (1 - label_smoothing) + label_smoothing / 2
        # -log s(x) = log(1 + e^-x), -log(1 - s(x)) = log(1 + e^x)
        value = w * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
        slope = (1 - y) * np.exp(-np.logaddexp(0, -x)) - w * y * np.exp(-np.logaddexp(0, x))
        value, slope = np.where(mask, value, 0.0), np.where(mask, slope, 0.0)
    else:
        raise InputError(f"loss must be one of {LOSSES}, got {loss!r}")
    return float(value.sum() / count), (slope / count).astype(outputs.dtype)


def _cross_entropy(
    outputs: Array,
    targets: Array,
    valid: NDArray[np.bool_],
    class_weights: Sequence[float] | None,
    label_smoothing: float,
    ignore_index: int | None,
) -> tuple[float, Array]:
    if ignore_index is not None:
        valid = valid & (targets != ignore_index)
    classes = outputs.shape[-1]
    z, labels = outputs[valid], targets[valid].astype(int)
    if np.any((labels < 0) | (labels >= classes) | (labels != targets[valid])):
        raise InputError(f"classes must be whole numbers from 0 to {classes - 1}")
    w = np.ones(classes) if class_weights is None else np.asarray(class_weights, outputs.dtype)
    total = w[labels].sum()
    if total == 0:
        raise InputError("no valid target, so the mean loss is undefined; pass at least one")
    # How much of each target is asked of each class, weighed: (targets, C).
    share = label_smoothing / classes * w + np.zeros_like(z)
    share[np.arange(len(labels)), labels] += (1 - label_smoothing) * w[labels]
    log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    grad = np.zeros_like(outputs)
    grad[valid] = (share.sum(axis=1, keepdims=True) * np.exp(log_p) - share) / total
    return float(-(share * log_p).sum() / total), grad
