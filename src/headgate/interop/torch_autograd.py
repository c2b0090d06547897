"""The engine's forward and backward pass as a node of PyTorch's autograd."""

from __future__ import annotations

from typing import Any


def run(module: Any, input: Any, hx: Any) -> Any:
    """The module's result from the engine, or None where this is no ordinary call."""
    return None
