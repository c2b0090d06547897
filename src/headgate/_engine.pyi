"""The C++ engine, defined in cpp/bindings/module.cpp; kernels.py, its only importer, types it."""

from typing import Any

def __getattr__(name: str) -> Any: ...
