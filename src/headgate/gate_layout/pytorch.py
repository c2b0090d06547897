"""PyTorch and cuDNN: headgate's own rows, with both biases; reset gate after the product only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arrays import Array, by_name
from .layer import CellWeights, cell_weights, expect_reset

NAMES = CellWeights._fields


def from_pytorch(weights: Mapping[str, Any] | Sequence[Any]) -> CellWeights:
    """One direction of a layer of ``nn.GRU``, ``nn.LSTM`` or ``nn.RNN``, or one of their cells.

    ``weight_ih`` (GH, I), ``weight_hh`` (GH, H) and perhaps ``bias_ih``, ``bias_hh`` (GH,), by
    name or as a list in this order.
    """
    return cell_weights(**by_name(weights, NAMES, "a layer of PyTorch", optional=2))


def to_pytorch(weights: CellWeights) -> dict[str, Array]:
    """A layer as PyTorch's parameters by name, ``weight_ih`` and so on."""
    expect_reset(weights, True, "nn.GRU")
    return {name: part.copy() for name, part in weights._asdict().items()}
