"""Checks of single values, used wherever input comes in: each names what it refuses.

They hold for whatever a caller or a hostile file may pass: NumPy scalars are welcome, ints of
ten thousand digits, nesting at the recursion limit and NaN get the same ``InputError``.
"""

from __future__ import annotations

import json
import math
import operator
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from .errors import InputError

MAX_SIZE = 1 << 20  # widest layer a spec may ask for; keeps hostile files from huge allocations
MAX_FLOAT = 3.4028234663852886e38  # the largest float32, which is what the engine computes in
RESERVED_NAMES = ("state", "extra")  # first parts of the other tensor names in a model file

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 100


def shown(value: Any) -> str:
    """``repr`` for a message: short, and safe for what a hostile file may hold."""
    try:
        return _REPR.repr(value)
    except Exception:  # an int of more than 4300 digits, nesting at the recursion limit, ...
        return f"an object of type {type(value).__name__}, too large to show"


def as_number(value: Any) -> float:
    """``float(value)`` of a real number; nan for anything else, ints past the floats included."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def check_name(what: str, value: Any) -> str:
    """Return ``value`` if it can name a part of a network, or say what a name looks like."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InputError(
            f"{what} name {shown(value)} must be 1 to 64 letters, digits and underscores, "
            "and begin with a letter"
        )
    if value in RESERVED_NAMES:
        raise InputError(
            f"{what} name {value!r} is reserved for other tensors of a model file; "
            "choose another name"
        )
    return value


def check_size(name: str, value: Any, *, minimum: int = 1, maximum: int = MAX_SIZE) -> int:
    """Return ``value`` as an int, or say by name why it is not a size."""
    try:
        size = operator.index(value)
    except TypeError:
        size = None
    if size is None or isinstance(value, bool):
        raise InputError(f"{name} must be an integer, got {shown(value)}; pass a number such as 16")
    if not minimum <= size <= maximum:
        raise InputError(f"{name} must be between {minimum} and {maximum}, got {shown(size)}")
    return size


def check_rate(name: str, value: Any) -> float:
    """Return ``value`` as a float in [0, 1), or say by name why it is not a dropout rate."""
    rate = as_number(value)
    if not 0 <= rate < 1:
        raise InputError(f"{name} must be at least 0 and below 1, got {shown(value)}")
    return rate


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, or list them."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(map(repr, choices))
        raise InputError(f"{name} must be one of {known}; got {shown(value)}")
    return str(value)


def check_flags(**flags: Any) -> None:
    """Raise InputError unless every value is True or False."""
    for name, value in flags.items():
        if not isinstance(value, bool) and type(value).__name__ != "bool":
            raise InputError(f"{name} must be True or False, got {shown(value)}")


def check_tuple(what: str, values: Any, of: type = object) -> tuple[Any, ...]:
    """Return ``values`` as a tuple of ``of`` objects, or say by name what came instead."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise InputError(f"{what} must be a list or tuple, got {shown(values)}")
    result = tuple(values)
    for item in result:
        if not isinstance(item, of):
            raise InputError(f"{what} must be {of.__name__} objects, got {shown(item)}")
    return result


def check_finite(what: str, values: Any) -> tuple[float, ...]:
    """Return ``values`` as floats that are finite in float32, or say by name what is not."""
    result = []
    for value in check_tuple(what, values):
        number = as_number(value)
        if not abs(number) <= MAX_FLOAT:
            raise InputError(f"{what} must be finite numbers, got {shown(value)}")
        result.append(number)
    return tuple(result)


def parse_json(text: str | bytes, what: str) -> Any:
    """``json.loads`` without its leniency: no NaN, no infinity (1e999), no key twice.

    Raises:
        InputError: naming ``what``, for anything that is not such JSON or is nested too deeply.
    """
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_unique_keys,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{what} is not JSON: {error}") from None


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {shown(text)} is out of range")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {shown(key)} stands twice in one object")
        result[key] = value
    return result
