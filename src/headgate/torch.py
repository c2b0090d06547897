"""headgate beside PyTorch."""

from .extras import require

require("torch", "torch", "headgate.torch")

__all__: list[str] = []
