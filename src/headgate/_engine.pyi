"""The C++ engine; cpp/bindings/module.cpp is its definition. kernels.py, its only importer, types it."""

from typing import Any

def __getattr__(name: str) -> Any: ...
