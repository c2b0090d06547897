"""Sequences of classes: the best one through scores, and which classes may follow which."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels import crf_paths
from .samples import is_list_of_sequences

Bools = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Weights = tuple[Float64, Float64, Float64]

# What a forbidden transition weighs in a network: exp of it is zero in float32, so that its
# gradient is too and no update moves it.
FORBIDDEN = -1e4
_NEVER = -1e9  # and here: sums with it still tell scores apart to 1e-7


def viterbi(
    emissions: Any,
    transitions: Any,
    start: Any = None,
    end: Any = None,
    *,
    allowed: Any = None,
    lengths: Any = None,
) -> Any:
    """The classes y_1 .. y_T with the greatest sum of scores, exactly (Viterbi 1967).

    The sum is start[y_1] + all emissions[t, y_t] + all transitions[y_(t-1), y_t] + end[y_T]. Of
    several equal ones, the first class from the last step on. Scores may be those of one
    network (``net.emissions`` and its ``crf`` tensors), averages of several, or any others.

    Args:
        emissions: (T, C), (N, T, C), or a list of (T_i, C).
        transitions: (C, C), from a class (row) to a class.
        start, end: (C,) of the first and the last class; None is zeros. -inf forbids, here and in
            ``transitions``, and so does the -1e4 of ``net.forbid_transitions``.
        allowed: (C, C) booleans, False where a transition is forbidden; None allows all.
        lengths: (N,) steps of each sequence of (N, T, C).

    Returns:
        (T,), (N, T) or a list of (T_i,) int64; zero past a length. Where no sequence of classes is
        allowed, one with the fewest forbidden transitions.

    Raises:
        InputError: shapes do not fit, or a score is NaN or +inf.
    """
    scores, starts, sizes = _flat(emissions, lengths)
    weights = checked_weights(transitions, start, end, classes=scores.shape[1])
    if allowed is not None:
        mask = np.asarray(allowed)
        if mask.dtype != np.bool_ or mask.shape != weights[0].shape:
            raise InputError(
                f"allowed must be {weights[0].shape} booleans, got {mask.dtype} {mask.shape}"
            )
        weights = (np.where(mask, weights[0], _NEVER), *weights[1:])
    path = crf_paths(scores, starts, sizes, weights)
    if is_list_of_sequences(emissions):
        return np.split(path, starts[1:])
    shape = np.shape(emissions)[:-1]
    return path.reshape(shape)


def checked_weights(transitions: Any, start: Any, end: Any, *, classes: int) -> Weights:
    """The weights in float64, what is forbidden far below all else."""
    given: dict[str, tuple[Any, tuple[int, ...]]] = {
        "transitions": (transitions, (classes, classes))
    }
    given |= {"start": (start, (classes,)), "end": (end, (classes,))}
    result = []
    for name, (value, shape) in given.items():
        array = np.zeros(shape) if value is None else _numbers(name, value)
        if array.shape != shape:
            raise InputError(f"{name} must have shape {shape}, got {array.shape}")
        result.append(np.where(array <= FORBIDDEN / 2, _NEVER, array))
    return result[0], result[1], result[2]


def check_transitions(table: Any, transitions: Any, start: Any, end: Any) -> None:
    """Raise InputError where the targets of a table of tags go a forbidden way."""
    lengths = np.asarray(table.lengths, np.int64)
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(table.y_starts, lengths) + offsets * table.y_stride
    labels = np.asarray(table.y).reshape(-1)[places].astype(np.int64)
    sample = np.repeat(np.arange(len(lengths)), lengths)
    first, last = offsets == 0, offsets == lengths[sample] - 1
    before = np.concatenate([[0], labels[:-1]])
    bad = np.where(first, start[labels], transitions[before, labels]) <= FORBIDDEN / 2
    ends = last & (end[labels] <= FORBIDDEN / 2)
    if not (bad | ends).any():
        return
    at = int(np.flatnonzero(bad | ends)[0])
    how = f"follows class {before[at]}" if not first[at] else "begins a sequence"
    how = how if bad[at] else "ends a sequence"
    raise InputError(
        f"Y of sample {sample[at]}, step {offsets[at]}: class {labels[at]} {how}, which is "
        "forbidden; correct the tags, or allow it"
    )


def _flat(emissions: Any, lengths: Any) -> tuple[Float64, Int64, Int64]:
    """Scores (rows, C), and where in them each sequence begins and how long it is."""
    if is_list_of_sequences(emissions):
        if lengths is not None:
            raise InputError("lengths goes with (N, T, C); a list of arrays has its own lengths")
        parts = [_numbers(f"emissions[{k}]", part) for k, part in enumerate(emissions)]
        for k, part in enumerate(parts):
            if part.ndim != 2 or not part.size or part.shape[1] != parts[0].shape[-1]:
                raise InputError(
                    f"emissions[{k}] must be (T, C) with one step or more and the C of the first, "
                    f"got {part.shape}"
                )
        sizes = np.array([len(part) for part in parts], np.int64)
        return np.concatenate(parts), np.cumsum(sizes) - sizes, sizes
    array = _numbers("emissions", emissions)
    if array.ndim not in (2, 3) or not array.size:
        raise InputError(
            f"emissions must be (T, C), (N, T, C) or a list of (T_i, C), got {array.shape}"
        )
    if array.ndim == 2:
        array = array[None]
    n, steps, classes = array.shape
    sizes = np.full(n, steps, np.int64) if lengths is None else np.asarray(lengths)
    if sizes.shape != (n,) or sizes.dtype.kind not in "iu":
        raise InputError(f"lengths must be {n} integers, one for each sequence")
    if sizes.min() < 1 or sizes.max() > steps:
        raise InputError(
            f"lengths must be between 1 and T={steps}, got {sizes.min()} to {sizes.max()}"
        )
    starts = np.arange(n, dtype=np.int64) * steps
    return array.reshape(n * steps, classes), starts, sizes.astype(np.int64)


def _numbers(name: str, value: Any) -> Float64:
    try:
        array = np.ascontiguousarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers") from None
    if np.isnan(array).any() or np.isposinf(array).any():
        raise InputError(f"{name} has a value that is NaN or infinite; only -inf is understood")
    return np.maximum(array, _NEVER)
