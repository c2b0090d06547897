"""MLX: PyTorch's rows; one bias, and a second one for a GRU's candidate alone.

Read from ``mlx.nn.layers.recurrent`` of MLX 0.32, and compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from .arrays import ORDER, bias_like, bias_of, by_name, cell_of, matrices
from .layer import CellWeights, apart, expect_reset, from_order, merge_biases

GRU, LSTM, RNN = ("Wx", "Wh", "b", "bhn"), ("Wx", "Wh", "bias"), ("Wxh", "Whh", "bias")


def from_mlx(weights: Mapping[str, Any]) -> CellWeights:
    """``dict(layer.parameters())`` of an ``mlx.nn.GRU``, ``LSTM`` or ``RNN``.

    GRU: ``Wx`` (3H, I), ``Wh`` (3H, H), ``b`` (3H,), ``bhn`` (H,). LSTM: ``Wx``, ``Wh``, ``bias``
    (4H,). RNN: ``Wxh``, ``Whh``, ``bias`` (H,). Biases may be missing.
    """
    if not isinstance(weights, Mapping):
        raise InputError(
            "a layer of MLX is a dict of arrays by name, dict(layer.parameters()), got "
            f"{type(weights).__name__}"
        )
    if "Wxh" in weights:
        given = by_name(weights, RNN, "mlx.nn.RNN", optional=1)
        w, u = matrices(given, "Wxh", "Whh", rows=True)
        return from_order(ORDER, w, u, bias_like("bias", given, u))
    given = by_name(weights, (*GRU, "bias"), "mlx.nn.GRU or LSTM", optional=3)
    w, u = matrices(given, "Wx", "Wh", rows=True)
    if cell_of(u) != "gru":
        given = by_name(weights, LSTM, "mlx.nn.LSTM", optional=1)
        return from_order(ORDER, w, u, bias_like("bias", given, u))
    given = by_name(weights, GRU, "mlx.nn.GRU", optional=2)
    h = u.shape[1]
    second = bias_of("bhn", given.get("bhn"), h, "H", u.dtype)
    b_hh = np.concatenate([np.zeros(2 * h, u.dtype), second])
    return from_order(ORDER, w, u, bias_like("b", given, u), b_hh)


def to_mlx(weights: CellWeights) -> dict[str, Any]:
    """A layer as MLX's parameters by name."""
    expect_reset(weights, True, "mlx.nn.GRU")
    w, u = weights.weight_ih.copy(), weights.weight_hh.copy()
    if weights.cell == "gru":
        return dict(zip(GRU, (w, u, *apart(weights)), strict=True))
    names = LSTM if weights.cell == "lstm" else RNN
    return dict(zip(names, (w, u, merge_biases(weights)), strict=True))
