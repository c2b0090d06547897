"""headgate beside PyTorch: ``nn.GRU`` and ``nn.LSTM`` on its engine (docs/torch.md)."""

from .extras import require

require("torch", "torch", "headgate.torch")

from .interop.torch.accelerate import accelerate, explain, restore
from .interop.torch.modules import GRU, LSTM

__all__ = ["GRU", "LSTM", "accelerate", "explain", "restore"]
