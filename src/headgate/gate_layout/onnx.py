"""ONNX: rows; a GRU's gates z, r, h, an LSTM's i, o, f, c; input biases, then recurrent ones.

From the specification of the operators GRU, LSTM and RNN (https://onnx.ai/onnx/operators).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .arrays import Array, expect, floats, gates_and_size, orders, times
from .layer import CellWeights, from_order, in_order

ONNX = orders({"gru": "zrn", "lstm": "iofg"})


class OnnxWeights(NamedTuple):
    """One direction of an ONNX GRU, LSTM or RNN operator; its first axis is not kept here."""

    W: Array
    R: Array
    B: Array


def from_onnx(
    W: ArrayLike, R: ArrayLike, B: ArrayLike | None = None, *, reset_after: bool | None = None
) -> CellWeights:
    """One direction of an ONNX GRU, LSTM or RNN operator, as a layer.

    ``W`` (GH, I), ``R`` (GH, H), ``B`` (2GH,) or None, G being 3, 4 or 1: pass ``W[d]`` for
    direction d, since the operator's inputs have a direction axis in front. A GRU must say
    ``reset_after``: it is the operator's linear_before_reset, whose default is 0, False.
    """
    w, u = floats("W", W), floats("R", R)
    direction = "index the direction axis, W[0], R[0], B[0]"
    gates, h = gates_and_size("R", u, rows=True, hint=direction)
    n = gates * h
    if gates == 3 and reset_after is None:
        raise InputError(
            "from_onnx needs reset_after for a GRU, since the arrays do not tell; pass the "
            "operator's linear_before_reset == 1"
        )
    expect("W", w, (n, None), f"({times(gates)}, I)", direction)
    b_ih = b_hh = None
    if B is not None:
        b = floats("B", B)
        expect("B", b, (2 * n,), f"({times(2 * gates)},)", direction)
        b_ih, b_hh = b[:n], b[n:]
    return from_order(ONNX, w, u, b_ih, b_hh, reset_after=bool(reset_after))


def to_onnx(weights: CellWeights) -> OnnxWeights:
    """A layer as W (GH, I), R (GH, H), B (2GH,); add a direction axis in front.

    A GRU operator's ``linear_before_reset`` must be ``int(weights.reset_after)``.
    """
    w, u, b_ih, b_hh = in_order(weights, ONNX)
    return OnnxWeights(w, u, np.concatenate([b_ih, b_hh]))
