"""Recurrent states: arrays like PyTorch's h_n for people, one flat vector for the engine.

The flat vector holds, for every layer of every stack, for every direction, h (N, H), and behind it
c (N, H) where the cell is an LSTM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .data.samples import as_values
from .errors import InputError
from .spec import Recurrent

Float32 = npt.NDArray[np.float32]
StackState = Float32 | tuple[Float32, ...]
State = StackState | dict[str, StackState]


def unflatten(flat: Float32, stacks: Sequence[Recurrent]) -> State:
    """Copies as (L, N, H), or (2L, N, H) both ways: each layer's directions side by side.

    A pair (h, c) of these for an LSTM; by name when there are several recurrent stacks.
    """
    rows = flat.size // sum(_size(stack) for stack in stacks)
    result: dict[str, StackState] = {}
    begin = 0
    for stack in stacks:
        end = begin + _size(stack) * rows
        depth = stack.num_layers * stack.directions
        parts = flat[begin:end].reshape(depth, len(stack.states), rows, stack.hidden_size)
        arrays = tuple(parts[:, i].copy() for i in range(len(stack.states)))
        result[stack.name] = arrays if len(arrays) > 1 else arrays[0]
        begin = end
    return result if len(result) > 1 else next(iter(result.values()))


def flatten(state: Any, stacks: Sequence[Recurrent], rows: int | None = None) -> Float32:
    """The flat vector of a state for ``rows`` samples, or for as many as it has.

    Raises:
        InputError: names or shapes are not those of ``net.state``.
    """
    if not stacks:
        raise InputError("this network has no recurrent layer, so it takes no state")
    by_name = state if isinstance(state, Mapping) else {stacks[0].name: state}
    if set(by_name) != {stack.name for stack in stacks}:
        raise InputError(
            f"state must be a dict with {[stack.name for stack in stacks]}, as net.state is"
        )
    flat = []
    for stack in stacks:
        arrays = []
        for name, value in zip(stack.states, _parts(stack, by_name[stack.name]), strict=True):
            array = as_values("state" if len(stack.states) == 1 else f"state {name}", value)
            n = array.shape[1] if rows is None and array.ndim == 3 else rows
            shape = (stack.num_layers * stack.directions, n, stack.hidden_size)
            if array.shape != shape or n == 0:
                raise _unlike(stack, n or None, array.shape)
            rows = n
            arrays.append(array)
        flat.append(np.stack(arrays, axis=1).ravel())
    return np.concatenate(flat)


def named(state: State, stacks: Sequence[Recurrent]) -> dict[str, Float32]:
    """The arrays of a state as a model file names them: ``gru``, and ``lstm.h``, ``lstm.c``."""
    by_name = state if isinstance(state, dict) else {stacks[0].name: state}
    result: dict[str, Float32] = {}
    for stack in stacks:
        parts = _parts(stack, by_name[stack.name])
        result.update(zip(stack.state_names(), parts, strict=True))
    return result


def from_named(arrays: Mapping[str, Float32], stacks: Sequence[Recurrent]) -> State:
    """The inverse of :func:`named`.

    Raises:
        InputError: an array is missing.
    """
    result: dict[str, StackState] = {}
    for stack in stacks:
        missing = [name for name in stack.state_names() if name not in arrays]
        if missing:
            raise InputError(f"the state has no {missing}")
        parts = tuple(arrays[name] for name in stack.state_names())
        result[stack.name] = parts if len(parts) > 1 else parts[0]
    return result


def refuse_backward(stacks: Sequence[Recurrent], what: str) -> None:
    """Raise InputError if a layer reads time backwards, where ``what`` goes forward only."""
    for stack in stacks:
        if stack.bidirectional:
            raise InputError(
                f"{what} from one stretch of time to the next, but {stack.name!r} is "
                "bidirectional: it would need what is still to come; use bidirectional=False"
            )


def _size(stack: Recurrent) -> int:
    """Numbers that a stack carries for one sample."""
    return stack.num_layers * stack.directions * len(stack.states) * stack.hidden_size


def _parts(stack: Recurrent, value: Any) -> Sequence[Any]:
    if len(stack.states) == 1:
        return (value,)
    if not isinstance(value, (tuple, list)) or len(value) != len(stack.states):
        raise InputError(
            f"the state of {stack.name!r} must be a pair ({', '.join(stack.states)}), as net.state "
            f"is, got {type(value).__name__}"
        )
    return value


def _unlike(stack: Recurrent, rows: int | None, shape: tuple[int, ...]) -> InputError:
    first = "2 * num_layers" if stack.bidirectional else "num_layers"
    depth = stack.num_layers * stack.directions
    return InputError(
        f"state must be ({first}, N, hidden_size) = "
        f"{(depth, 'N' if rows is None else rows, stack.hidden_size)}, got {shape}"
    )
