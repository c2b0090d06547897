"""Every path beside the engine's: PyTorch's own implementation."""

from __future__ import annotations

from typing import Any

from torch import nn


def other(module: Any, input: Any, hx: Any) -> Any:
    """What ``module(input, hx)`` is where the engine does not run it."""
    plain = nn.LSTM if isinstance(module, nn.LSTM) else nn.GRU
    return plain.forward(module, input, hx)


def reason(module: Any, input: Any = None, hx: Any = None) -> str | None:
    """Why the engine does not run this module, or this call of it; None when it does."""
    return "the engine does not run it yet"
