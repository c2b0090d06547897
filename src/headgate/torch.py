"""headgate beside PyTorch."""

from .extras import require

require("torch", "torch", "headgate.torch")

from .interop.torch_modules import GRU as GRU
from .interop.torch_modules import LSTM as LSTM

__all__ = ["GRU", "LSTM"]
