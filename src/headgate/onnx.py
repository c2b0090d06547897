"""headgate beside ONNX."""

from .extras import require

require("onnx", "onnx", "headgate.onnx")

from .interop.onnx_export_models import export
from .interop.onnx_load import load

__all__ = ["export", "load"]
