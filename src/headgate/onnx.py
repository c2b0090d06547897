"""headgate beside ONNX."""

from .extras import require

require("onnx", "onnx", "headgate.onnx")

__all__: list[str] = []
