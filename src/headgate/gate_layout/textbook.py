"""Textbooks: W_r, W_z, W, each (H, H + I), over [h; x], one bias (H,) each; keep- or update-form.

Keep-form as Cho et al. 2014 (arXiv 1406.1078), update-form as Chung et al. 2014 (arXiv 1412.3555).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .arrays import Array, bias_of, expect, floats
from .layer import CellWeights, cell_weights, expect_cell, flip_update_gate, merge_biases


class TextbookWeights(NamedTuple):
    """One matrix (H, H + I) over [h; x] and one bias (H,) for each gate and the candidate."""

    W_r: Array
    W_z: Array
    W: Array
    b_r: Array
    b_z: Array
    b: Array


def from_textbook(
    W_r: ArrayLike,
    W_z: ArrayLike,
    W: ArrayLike,
    b_r: ArrayLike | None = None,
    b_z: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    update_form: bool,
    reset_after: bool = False,
) -> CellWeights:
    """Matrices (H, H + I) over [h; x], with a bias (H,) each or None, as headgate's layer.

    Args:
        update_form: True for h' = (1 - z) * h + z * n, False for h' = (1 - z) * n + z * h. Books
            differ, and nothing in the arrays tells, so it has no default.
        reset_after: False for n = tanh(W [r * h; x] + b), as the books have it; True when the
            reset gate multiplies the product of W's left half with h instead.
    """
    parts = {"W_r": floats("W_r", W_r), "W_z": floats("W_z", W_z), "W": floats("W", W)}
    shape = parts["W"].shape
    if len(shape) != 2 or shape[1] <= shape[0]:
        raise InputError(
            f"W must have shape (H, H + I) with at least one input, got {shape}; its columns "
            "belong to h first and then to x"
        )
    h = shape[0]
    for name, part in parts.items():
        expect(name, part, shape, "(H, H + I)", "all three have the same shape")
    dtype = np.result_type(*parts.values())
    biases = [
        bias_of(name, value, h, "H", dtype)
        for name, value in (("b_r", b_r), ("b_z", b_z), ("b", b))
    ]
    stacked = np.concatenate(list(parts.values()))
    weights = cell_weights(
        stacked[:, h:], stacked[:, :h], np.concatenate(biases), reset_after=reset_after
    )
    return flip_update_gate(weights) if update_form else weights


def to_textbook(weights: CellWeights, *, update_form: bool) -> TextbookWeights:
    """A headgate layer as three matrices (H, H + I) over [h; x] and three biases (H,).

    Raises InputError for a reset_after=True layer whose candidate has a recurrent bias: one bias
    cannot say what the reset gate multiplies and what not.
    """
    expect_cell(weights, "gru", "is written with r, z and a candidate")
    if update_form:
        weights = flip_update_gate(weights)
    both = np.concatenate([weights.weight_hh, weights.weight_ih], axis=1)
    bias = merge_biases(weights)
    matrices = (part.copy() for part in np.split(both, 3))
    return TextbookWeights(*matrices, *(part.copy() for part in np.split(bias, 3)))
