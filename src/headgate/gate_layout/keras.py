"""Keras: columns; a GRU's gates z, r, h, an LSTM's i, f, c, o; one bias but for reset_after=True.

Read from ``keras.layers.GRU``, ``LSTM`` and ``SimpleRNN`` of Keras 3.15.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .layer import (
    CELL_OF_GATES,
    ORDER,
    Array,
    CellWeights,
    cell_weights,
    expect,
    floats,
    gates_and_size,
    merge_biases,
    orders,
    packed,
    reorder,
    times,
)

KERAS = orders({"gru": "zrn"})


class KerasWeights(NamedTuple):
    """One Keras layer, in the order of ``layer.get_weights()``."""

    kernel: Array
    recurrent_kernel: Array
    bias: Array


def from_keras(
    kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    reset_after: bool = True,
) -> CellWeights:
    """What ``get_weights()`` of a Keras ``GRU``, ``LSTM`` or ``SimpleRNN`` gives, as a layer.

    ``kernel`` (I, GH), ``recurrent_kernel`` (H, GH), G being 3, 4 or 1; ``bias`` (GH,), None for
    use_bias=False. For a GRU with ``reset_after=True``, Keras's default, it is (2, 3H).
    """
    k, u = floats("kernel", kernel), floats("recurrent_kernel", recurrent_kernel)
    gates, h = gates_and_size("recurrent_kernel", u, rows=False)
    n, size = gates * h, times(gates)
    expect("kernel", k, (None, n), f"(I, {size})", "pass get_weights()[0] as it is")
    order, to = KERAS[CELL_OF_GATES[gates]], ORDER[CELL_OF_GATES[gates]]
    b_ih = b_hh = None
    if bias is not None:
        b = floats("bias", bias)
        if gates != 3:
            expect("bias", b, (n,), f"({size},)", "pass get_weights()[2] as it is")
            b_ih = reorder(b, order, to)
        elif reset_after:
            hint = "a bias of shape (3H,) belongs to reset_after=False"
            expect("bias", b, (2, n), "(2, 3H) for reset_after=True", hint)
            b_ih, b_hh = reorder(b[0], order, to), reorder(b[1], order, to)
        else:
            hint = "a bias of shape (2, 3H) belongs to reset_after=True"
            expect("bias", b, (n,), "(3H,) for reset_after=False", hint)
            b_ih = reorder(b, order, to)
    w, u = reorder(k.T, order, to), reorder(u.T, order, to)
    return cell_weights(w, u, b_ih, b_hh, reset_after=reset_after)


def to_keras(weights: CellWeights) -> KerasWeights:
    """A layer as ``set_weights`` of a Keras layer takes it; a GRU's must have its reset_after."""
    w, u, b_ih, b_hh = weights
    order, to = ORDER[weights.cell], KERAS[weights.cell]
    if weights.cell == "gru" and weights.reset_after:
        bias = np.stack([reorder(b_ih, order, to), reorder(b_hh, order, to)])
    else:
        bias = reorder(merge_biases(weights), order, to)
    return KerasWeights(packed(reorder(w, order, to).T), packed(reorder(u, order, to).T), bias)
