"""What is asked for: models, shares and lengths, as Python or the command line names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..checks import as_number, check_choice, check_size, shown
from ..errors import InputError
from .kinds import MODELS


def model_names(models: str | Iterable[str]) -> list[str]:
    """Names of models, from a list or parted by commas; each once, in order."""
    if not isinstance(models, (str, Iterable)):
        raise InputError(f"models must be names, got {shown(models)}; such as 'gru,lstm'")
    names = [name.strip() for name in models.split(",")] if isinstance(models, str) else [*models]
    names = [name for name in dict.fromkeys(names) if name != ""]
    if not names:
        raise InputError(f"models is empty; name some of {', '.join(MODELS)}")
    for name in names:
        check_choice("models", name, MODELS)
    return names


def _numbers(name: str, values: Any) -> list[Any]:
    found = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [
        values
    ]  # fmt: skip
    if isinstance(values, str):
        found = [_as_float(part) for part in values.split(",")]
    if not found:
        raise InputError(f"{name} is empty; pass a number, or several")
    return found


def _as_float(text: str) -> Any:
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() and "." not in text else value


def shares_of(values: Any) -> list[float]:
    """Shares in (0, 1], in order; from a number, several, or a text with commas."""
    found = _numbers("train_fraction", values)
    for value in found:
        if not 0 < as_number(value) <= 1:
            raise InputError(
                f"train_fraction must be above 0 and at most 1, got {shown(value)}; 0.2 is a fifth"
            )
    return sorted({float(value) for value in found})


def lengths_of(values: Any) -> list[int]:
    """Lengths from 2 on, in order; from a number, several, or a text with commas."""
    found = _numbers("length", values)
    return sorted({check_size("length", value, minimum=2, maximum=1 << 16) for value in found})
