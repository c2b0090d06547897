"""haste: columns; a GRU's gates z, r, g and two biases, an LSTM's i, g, f, o and one.

Read from lmnt-com/haste, ``frameworks/pytorch/gru.py`` and ``lstm.py``, and
``lib/gru_forward_gpu.cu.cc`` and ``lstm_forward_gpu.cu.cc``; not run, since haste needs CUDA. Its
GRU is that of reset_after=True. Zoneout and layer normalisation have no counterpart here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from .arrays import bias_like, by_name, cell_of, matrices, packed
from .layer import CellWeights, expect_reset, from_order, in_order, merge_biases

HASTE = {"gru": "zrn", "lstm": "igfo"}
NAMES = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")


def from_haste(weights: Mapping[str, Any] | Sequence[Any]) -> CellWeights:
    """A haste GRU or LSTM: its parameters by name, or as a list in this order.

    ``kernel`` (I, GH), ``recurrent_kernel`` (H, GH), ``bias`` (GH,), and a GRU's
    ``recurrent_bias`` (3H,). An LSTM's forget_bias is in its bias already.
    """
    given = by_name(weights, NAMES, "a layer of haste", optional=1)
    w, u = matrices(given, "kernel", "recurrent_kernel", rows=False)
    cell = cell_of(u)
    if cell not in HASTE or ("recurrent_bias" in given) != (cell == "gru"):
        raise InputError(
            "haste's GRU has kernel (I, 3H), recurrent_kernel (H, 3H), bias (3H,) and "
            "recurrent_bias (3H,), its LSTM kernel (I, 4H), recurrent_kernel (H, 4H) and bias "
            f"(4H,); got a recurrent_kernel of a {cell} and {', '.join(given)}"
        )
    b_hh = bias_like("recurrent_bias", given, u) if cell == "gru" else None
    return from_order(HASTE, w, u, bias_like("bias", given, u), b_hh)


def to_haste(weights: CellWeights) -> dict[str, Any]:
    """A GRU or LSTM as haste's parameters by name."""
    if weights.cell not in HASTE:
        raise InputError("haste has no plain RNN; its layers here are GRU and LSTM")
    expect_reset(weights, True, "haste's GRU")
    if weights.cell == "lstm":
        weights = weights._replace(bias_ih=merge_biases(weights))
    w, u, b_ih, b_hh = in_order(weights, HASTE)
    parts = dict(zip(NAMES, (packed(w.T), packed(u.T), b_ih, b_hh), strict=True))
    if weights.cell == "lstm":
        del parts["recurrent_bias"]
    return parts
