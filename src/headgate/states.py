"""Recurrent states: (L, N, H) arrays for people, one flat vector for the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .data.samples import as_values
from .errors import InputError
from .spec import GRU

Float32 = npt.NDArray[np.float32]
State = Float32 | dict[str, Float32]


def unflatten(flat: Float32, stacks: Sequence[GRU]) -> State:
    """Copies as (L, N, H), by name when there are several recurrent stacks."""
    per_row = sum(stack.num_layers * stack.hidden_size for stack in stacks)
    rows = flat.size // per_row
    result, begin = {}, 0
    for stack in stacks:
        shape = (stack.num_layers, rows, stack.hidden_size)
        size = int(np.prod(shape))
        result[stack.name] = flat[begin : begin + size].reshape(shape).copy()
        begin += size
    return result if len(result) > 1 else next(iter(result.values()))


def flatten(state: Any, stacks: Sequence[GRU], rows: int | None = None) -> Float32:
    """The flat vector of a state for ``rows`` samples, or for as many as it has.

    Raises:
        InputError: names or shapes are not those of ``net.state``.
    """
    if not stacks:
        raise InputError("this network has no recurrent layer, so it takes no state")
    parts = state if isinstance(state, Mapping) else {stacks[0].name: state}
    if set(parts) != {stack.name for stack in stacks}:
        raise InputError(
            f"state must be a dict with {[stack.name for stack in stacks]}, as net.state is"
        )
    flat = []
    for stack in stacks:
        array = as_values("state", parts[stack.name])
        n = array.shape[1] if rows is None and array.ndim == 3 else rows
        expected = (stack.num_layers, n, stack.hidden_size)
        if array.shape != expected:
            raise InputError(
                "state must be (num_layers, N, hidden_size) = "
                f"{tuple('N' if size is None else size for size in expected)}, got {array.shape}"
            )
        rows = n
        flat.append(array.ravel())
    return np.concatenate(flat)
