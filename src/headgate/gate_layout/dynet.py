"""DyNet: rows; a GRU's z, r, h apart, in update-form; an LSTM's i, f, o, g.

Read from clab/dynet, ``gru.cc``, ``lstm.cc`` and ``rnn.cc``, and compared with DyNet 2.1. The reset
gate acts on h, before the product. ``VanillaLSTMBuilder`` adds forget_bias to f at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .arrays import Array, bias_like, by_name, cell_of, expect, floats, matrices, orders
from .layer import (
    CellWeights,
    expect_reset,
    flip_update_gate,
    from_order,
    in_order,
    merge_biases,
    more_forget_bias,
)

GRU = ("x2z", "h2z", "bz", "x2r", "h2r", "br", "x2h", "h2h", "bh")
OTHER = ("x2h", "h2h", "b")
DYNET = orders({"gru": "zrn", "lstm": "ifog"})


def from_dynet(weights: Sequence[Any], *, forget_bias: float | None = None) -> CellWeights:
    """One layer of a DyNet builder: its parameters' arrays in their order.

    ``GRUBuilder``: nine, ``x2z`` (H, I), ``h2z`` (H, H), ``bz`` (H,), then r's and h's.
    ``VanillaLSTMBuilder``: three, (4H, I), (4H, H), (4H,). ``SimpleRNNBuilder``: (H, I), (H, H),
    (H,). ``forget_bias`` is the LSTM's, 1.0 unless it was made with another.
    """
    if len(weights) == len(GRU):
        return _gru([floats(name, part) for name, part in zip(GRU, weights, strict=True)])
    given = by_name(weights, OTHER, "a layer of DyNet (its GRUBuilder has nine)")
    w, u = matrices(given, "x2h", "h2h", rows=True)
    if cell_of(u) == "gru":
        raise InputError("DyNet's GRUBuilder has nine arrays for each layer, got three")
    bias = bias_like("b", given, u)
    if cell_of(u) == "lstm":
        bias = more_forget_bias(bias, DYNET["lstm"], forget_bias, "DyNet's VanillaLSTMBuilder")
    return from_order(DYNET, w, u, bias)


def _gru(parts: Sequence[Array]) -> CellWeights:
    h = len(parts[0]) if parts[0].ndim else 0
    inputs = parts[0].shape[1] if parts[0].ndim == 2 else None
    shapes = ((h, inputs), (h, h), (h,))
    meanings = ("(H, I)", "(H, H)", "(H,)")
    for k, (name, part) in enumerate(zip(GRU, parts, strict=True)):
        expect(name, part, shapes[k % 3], meanings[k % 3], "all three gates have the same shapes")
    w, u, b = (np.concatenate(parts[k::3]) for k in range(3))
    return flip_update_gate(from_order(DYNET, w, u, b, reset_after=False))


def to_dynet(weights: CellWeights, *, forget_bias: float | None = None) -> tuple[Array, ...]:
    """A layer as the arrays of a DyNet builder in their order.

    ``forget_bias`` is what the LSTM builder will add to f; it is taken from the bias, which rounds.
    """
    expect_reset(weights, False, "DyNet's GRUBuilder")
    weights = weights._replace(bias_ih=merge_biases(weights))
    if weights.cell == "gru":
        w, u, b, _ = in_order(flip_update_gate(weights), DYNET)
        parts = zip(*(np.split(part, 3) for part in (w, u, b)), strict=True)
        return tuple(part.copy() for gate in parts for part in gate)
    w, u, b, _ = in_order(weights, DYNET)
    if weights.cell == "lstm":
        less = None if forget_bias is None else -forget_bias
        b = more_forget_bias(b, DYNET["lstm"], less, "DyNet's VanillaLSTMBuilder")
    return w, u, b
