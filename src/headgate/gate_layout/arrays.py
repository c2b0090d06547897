"""Checked arrays, and the one exchange of blocks: what all conversions are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Array = NDArray[Any]

# Gates in the order of their rows, by cell: n and g are the candidates, h is all that an RNN has.
ORDER = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}
CELL_OF_GATES = {len(order): cell for cell, order in ORDER.items()}


def reorder(array: Array, order: str, to: str) -> Array:
    """Equal blocks along the first axis, which stand in ``order`` ("zrn"), in the order ``to``."""
    blocks = dict(zip(order, np.split(array, len(order)), strict=True))
    return np.concatenate([blocks[gate] for gate in to])


def orders(changed: Mapping[str, str]) -> dict[str, str]:
    """Another convention's orders by cell: headgate's but for those that it has otherwise."""
    return {**ORDER, **changed}


def added(a: Array, b: Array) -> Array:
    total = a.astype(np.float64) + b.astype(np.float64)
    return np.asarray(total, a.dtype)


def by_name(
    weights: Mapping[str, Any] | Sequence[Any], names: Sequence[str], what: str, optional: int = 0
) -> dict[str, Any]:
    """Arrays by name, from a dict or from a list in the order of ``names``.

    The last ``optional`` of them may be missing or None: they are not in the result then.
    """
    if isinstance(weights, Mapping):
        given = dict(weights)
    else:
        if not isinstance(weights, (list, tuple)):
            raise InputError(
                f"{what} is a dict or a list of arrays, got {type(weights).__name__}; it has "
                f"{', '.join(names)}"
            )
        given = dict(zip(names, weights, strict=False))
        given |= {f"number {k}": 0 for k in range(len(names), len(weights))}
    given = {name: value for name, value in given.items() if value is not None}
    needed = names[: len(names) - optional]
    if not set(needed) <= set(given) <= set(names):
        raise InputError(
            f"{what} has the arrays {', '.join(names)}"
            + (f" (the last {optional} may be missing)" if optional else "")
            + f", got {', '.join(map(str, given)) or 'none'}"
        )
    return given


def matrices(
    given: Mapping[str, Any], weight: str, recurrent: str, *, rows: bool
) -> tuple[Array, Array]:
    """Two checked matrices by name, with gates as rows: (GH, I) and (GH, H)."""
    w, u = floats(weight, given[weight]), floats(recurrent, given[recurrent])
    gates, h = gates_and_size(recurrent, u, rows=rows)
    if rows:
        expect(weight, w, (gates * h, None), f"({times(gates)}, I)", "check transposition")
        return w, u
    expect(weight, w, (None, gates * h), f"(I, {times(gates)})", "check transposition")
    return w.T, u.T


def bias_like(name: str, given: Mapping[str, Any], recurrent: Array) -> Array:
    """The checked bias (GH,) beside recurrent weights (GH, H); zeros where there is none."""
    size = len(recurrent)
    return bias_of(name, given.get(name), size, times(size // recurrent.shape[1]), recurrent.dtype)


def cell_of(recurrent: Array) -> str:
    """The cell of recurrent weights (GH, H)."""
    return CELL_OF_GATES[len(recurrent) // recurrent.shape[1]]


def packed(array: Array) -> Array:
    return np.array(array, order="C")


def floats(name: str, value: ArrayLike) -> Array:
    try:
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError) as error:  # ragged lists; a tensor on another device
        raise InputError(f"{name} is no array: {error}") from None
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{name} must hold floating-point numbers, got {array.dtype}; pass float32 or float64"
        )
    return array


def bias_of(name: str, value: ArrayLike | None, size: int, meaning: str, dtype: Any) -> Array:
    """A copy of a bias, (size,), or zeros for None."""
    if value is None:
        return np.zeros(size, dtype)
    array = floats(name, value)
    expect(name, array, (size,), f"({meaning},)", "pass None where there is no bias")
    return array.astype(dtype)


def times(gates: int) -> str:
    return "H" if gates == 1 else f"{gates}H"


def gates_and_size(
    name: str, array: Array, *, rows: bool, hint: str = "check transposition"
) -> tuple[int, int]:
    """G and H of recurrent weights: (GH, H), or (H, GH) where gates are columns."""
    shape = array.shape
    long, short = (0, 1) if rows else (1, 0)
    if array.ndim == 2 and shape[short]:
        gates, rest = divmod(shape[long], shape[short])
        if not rest and gates in CELL_OF_GATES:
            return int(gates), int(shape[short])
    one, three, four = ("({}, H)" if rows else "(H, {})").format, "3H", "4H"
    raise InputError(
        f"{name} must have shape {one(three)} for a GRU, {one(four)} for an LSTM or (H, H) for an "
        f"RNN, got {shape}; {hint}"
    )


def expect(name: str, array: Array, shape: Iterable[int | None], meaning: str, hint: str) -> None:
    want = tuple(shape)
    if array.ndim != len(want) or any(
        w is not None and w != got for w, got in zip(want, array.shape, strict=True)
    ):
        sizes = ", ".join("any" if w is None else str(w) for w in want)
        sizes += "," if len(want) == 1 else ""
        raise InputError(f"{name} must have shape {meaning} = ({sizes}), got {array.shape}; {hint}")
