"""headgate beside ONNX."""

from .extras import require

require("onnx", "onnx", "headgate.onnx")

from .interop.onnx_export.models import export
from .interop.onnx_load.load import load

__all__ = ["export", "load"]
