"""Frozen dataclasses as JSON objects and back, without believing what is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from .checks import shown
from .errors import InputError


def plain(item: Any) -> dict[str, Any]:
    """The fields of a dataclass as what JSON knows."""
    result: dict[str, Any] = {}
    for entry in fields(item):
        value = getattr(item, entry.name)
        result[entry.name] = list(value) if isinstance(value, tuple) else value
    return result


def items(data: Mapping[str, Any], key: str) -> list[Any]:
    """The list under ``key`` of a network spec."""
    value = data.get(key)
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{key!r} of a network spec must be a list, got {type(value).__name__}")
    return list(value)


def refuse_unknown(what: str, data: Mapping[str, Any], known: set[str]) -> None:
    """Raise InputError for keys that are not ``known``."""
    unknown = sorted(set(map(str, data)) - known)
    if unknown:
        raise InputError(f"{what} has unknown keys {shown(unknown)}; known are {sorted(known)}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# JSON type of each annotation that specs use; the annotations are strings.
_FIELD_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda v: isinstance(v, str),
    "int": _is_int,
    "int | None": lambda v: v is None or _is_int(v),
    "bool": lambda v: isinstance(v, bool),
    "float": _is_number,
    "tuple[str, ...]": lambda v: all(isinstance(x, str) for x in v),
    "tuple[float, ...]": lambda v: all(_is_number(x) for x in v),
}


def build(target: Any, what: str, data: Any) -> Any:
    """A dataclass from a JSON object; fields that it leaves out keep their defaults.

    Raises:
        InputError: an unknown key, a value of another type or out of range, a missing one.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{what} must be a JSON object, got {type(data).__name__}")
    known = {entry.name: str(entry.type) for entry in fields(target)}
    refuse_unknown(what, data, set(known))
    options = {}
    for key, value in data.items():
        if known[key].startswith("tuple"):
            if not isinstance(value, (list, tuple)):
                raise InputError(f"{key!r} of {what} must be a list, got {shown(value)}")
            value = tuple(value)
        if not _FIELD_CHECKS[known[key]](value):
            raise InputError(f"{key!r} of {what} must be {known[key]}, got {shown(value)}")
        options[key] = value
    try:
        return target(**options)
    except TypeError as error:
        raise InputError(f"{what} is incomplete: {error}") from None
