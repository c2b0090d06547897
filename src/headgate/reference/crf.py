"""A linear-chain conditional random field: the loss, its gradients, and what it predicts.

The score of the classes y_1 .. y_T of a sequence is start[y_1] + sum of e_t[y_t] + sum of
transitions[y_(t-1), y_t] + end[y_T]; their probability is the softmax of the scores over all C^T
sequences of classes (Lafferty, McCallum and Pereira 2001). e (N, T, C) is what the layer below
puts out. Sums over all of them go step by step:

    alpha_1 = start + e_1       alpha_t[j] = e_t[j] + log sum_i exp(alpha_(t-1)[i] + trans[i, j])
    beta_T  = end               beta_t[i]  = log sum_j exp(trans[i, j] + e_(t+1)[j] + beta_(t+1)[j])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .arrays import Array, Steps, expect

Tensors = Mapping[str, Array]


class Sums(NamedTuple):
    """Of one sequence: log of the sum of all exp(score), p(y_t) (T, C), p(y_t, y_(t+1))."""

    log_sum: Array
    single: Array
    pairs: Array


def crf_sums(e: Array, tensors: Tensors) -> Sums:
    """Forward and backward over the scores (T, C) of one sequence."""
    steps = len(e)
    trans = tensors["transitions"]
    alpha, beta = np.empty_like(e), np.empty_like(e)
    alpha[0], beta[-1] = tensors["start"] + e[0], tensors["end"]
    for t in range(1, steps):
        alpha[t] = e[t] + np.logaddexp.reduce(alpha[t - 1][:, None] + trans, axis=0)
    for t in reversed(range(steps - 1)):
        beta[t] = np.logaddexp.reduce(trans + e[t + 1] + beta[t + 1], axis=1)
    log_sum = np.logaddexp.reduce(alpha[-1] + tensors["end"])
    after = e[1:] + beta[1:]
    pairs = np.exp(alpha[:-1, :, None] + trans + after[:, None, :] - log_sum)
    return Sums(log_sum, np.exp(alpha + beta - log_sum), pairs)


def crf_loss_and_gradients(
    outputs: Array, targets: ArrayLike, valid: Steps, tensors: Tensors
) -> tuple[float, Array, dict[str, Array]]:
    """-log p of the targets, summed over sequences and divided by the number of their steps.

    Args:
        outputs: the scores (N, T, C).
        targets: class numbers (N, T); those past a sequence's end are not read.
        valid: (N, T), the steps that each sequence has, from its first on.
        tensors: ``transitions`` (C, C), ``start`` (C,), ``end`` (C,).

    Returns:
        The loss, its gradient by the scores, and its gradients by the tensors. A derivative is a
        probability minus one where the target is: p(y_t = j) - [j is the target], and so for
        pairs.
    """
    classes = outputs.shape[-1]
    labels = np.asarray(targets)
    expect("targets", labels, outputs.shape[:-1], "the outputs' shape without the classes")
    known = labels[valid]
    if np.any((known < 0) | (known >= classes) | (known != np.floor(known))):
        raise InputError(f"classes must be whole numbers from 0 to {classes - 1}")
    count = int(valid.sum())
    if count == 0:
        raise InputError("no valid target, so the mean loss is undefined; pass at least one")
    total = 0.0
    grad = np.zeros_like(outputs)
    grads = {name: np.zeros_like(tensor) for name, tensor in tensors.items()}
    for row, length in enumerate(valid.sum(axis=1)):
        if length == 0:
            continue
        e, y = outputs[row, :length], labels[row, :length].astype(int)
        sums, steps = crf_sums(e, tensors), np.arange(length)
        score = tensors["start"][y[0]] + e[steps, y].sum() + tensors["end"][y[-1]]
        score += tensors["transitions"][y[:-1], y[1:]].sum()
        total += float(sums.log_sum - score)
        single, pairs = sums.single.copy(), sums.pairs.sum(axis=0)
        single[steps, y] -= 1
        np.subtract.at(pairs, (y[:-1], y[1:]), 1)
        grad[row, :length] = single / count
        grads["transitions"] += pairs / count
        grads["start"] += single[0] / count
        grads["end"] += single[-1] / count
    return total / count, grad, grads


def crf_marginals(outputs: Array, valid: Steps, tensors: Tensors) -> Array:
    """p(y_t = j) for every step (N, T, C), zeros past the ends."""
    result = np.zeros_like(outputs)
    for row, length in enumerate(valid.sum(axis=1)):
        if length:
            result[row, :length] = crf_sums(outputs[row, :length], tensors).single
    return result
