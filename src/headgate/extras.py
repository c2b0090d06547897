"""Libraries that only parts of headgate need: they are imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingExtraError


def require(module: str, extra: str, user: str, otherwise: str = "") -> Any:
    """Import a library that comes with an extra of headgate.

    Args:
        module: its name, such as "onnx".
        extra: the extra that installs it, such as "onnx".
        user: what needs it, for the message.
        otherwise: what can be done without it, for the message.

    Raises:
        MissingExtraError: it is not installed. A library that is there and does not load raises
            its own error.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"{user} needs the library {error.name}, which is not installed; install it with "
            f'pip install "headgate[{extra}]"{otherwise and f", or {otherwise}"}'
        ) from None
