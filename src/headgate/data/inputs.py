"""What people pass as X, for the inputs that a network has: values, tokens, or both by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import shown
from ..errors import InputError
from ..spec import Embedding, NetworkSpec
from .samples import SampleTable, from_arrays, is_list_of_sequences

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TokenInput:
    """An input of tokens, its columns, and the smallest embedding that reads it."""

    name: str
    columns: slice
    embedding: str
    rows: int

    @property
    def size(self) -> int:
        """How many columns it has."""
        return int(self.columns.stop - self.columns.start)

    def shape(self, *leading: str) -> str:
        """``(N, T)``, or ``(N, T, 3)`` of three columns, for a message."""
        sizes = [*leading] if self.size == 1 else [*leading, str(self.size)]
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def token_inputs(spec: NetworkSpec) -> list[TokenInput]:
    """The inputs of tokens, in the order of their columns."""
    found = []
    for name, columns in spec.token_columns.items():
        readers = [
            layer
            for layer in spec.layers
            if isinstance(layer, Embedding) and layer.inputs == (name,)
        ]
        smallest = min(readers, key=lambda layer: layer.vocabulary)
        found.append(TokenInput(name, columns, smallest.name, smallest.vocabulary))
    return found


def table_of(
    X: Any, Y: Any = None, *, lengths: Any = None, spec: NetworkSpec, output_size: int
) -> SampleTable:
    """The samples of ``X`` for a network, with ``output_size`` targets at a time.

    Args:
        X: (N, T, I) values, or a list of (T_i, I); integers (N, T), or a list of (T_i,), for a
            network that reads tokens alone, (N, T, K) or (T_i, K) where they have K columns; a
            dict of these by input for one that reads both.
        Y, lengths: as :func:`from_arrays` takes them.

    Raises:
        InputError: shapes, numbers of samples or steps, or tokens do not fit, by name and place.
    """
    readout = "last" if spec.pooled else "every"
    inputs = by_input(X, spec)
    columns = [(item, inputs[item.name]) for item in token_inputs(spec)]
    tokens = [_columns(item, value) for item, value in columns]
    if spec.input_size:
        values = next(inputs[item.name] for item in spec.inputs if item.kind == "values")
    else:  # tokens alone: a table of values without columns
        first = columns[0][1]
        if is_list_of_sequences(first):
            values = [np.empty((len(row), 0), np.float32) for row in first]
        else:
            values = np.empty((*np.shape(first)[:2], 0), np.float32)
    table = from_arrays(
        values,
        Y,
        lengths=lengths,
        input_size=spec.input_size,
        output_size=output_size,
        readout=readout,
    )
    if not columns:
        return table
    for item, value in columns:
        _check_steps(item, value, values)
    return replace(table, tokens=np.concatenate(tokens, axis=1))


def by_input(X: Any, spec: NetworkSpec) -> Mapping[str, Any]:
    """``X`` as a dict with what each input of the network is given."""
    names = [item.name for item in spec.inputs]
    if isinstance(X, Mapping):
        if set(X) != set(names):
            raise InputError(
                f"X must have the network's inputs {names} as its keys, got {shown(list(X))}"
            )
        return X
    if len(names) > 1:
        raise InputError(
            f"this network has the inputs {names}; pass X as a dict of arrays by these names, got "
            f"{type(X).__name__}"
        )
    return {names[0]: X}


def check_tokens(table: SampleTable, spec: NetworkSpec) -> None:
    """Hold a table's tokens against the network's embeddings.

    Raises:
        InputError: columns are missing or too many, or a number has no row in its embedding.
    """
    inputs = token_inputs(spec)
    if table.tokens is None and not inputs:
        return
    if not inputs:
        raise InputError("the table has tokens, but this network reads none; leave them out")
    tokens = np.asarray(table.tokens)
    if tokens.shape != (len(table.x), inputs[-1].columns.stop) or tokens.dtype.kind not in "iu":
        each = "a column" if all(item.size == 1 for item in inputs) else "the columns"
        raise InputError(
            f"the table's tokens must be integers {(len(table.x), inputs[-1].columns.stop)}, "
            f"{each} for each of {list(spec.token_inputs)}, got shape {tokens.shape} and dtype "
            f"{tokens.dtype}"
        )
    for item in inputs:
        first = item.columns.start
        _check_range(item, "the table's tokens", tokens[:, item.columns], first_column=first)


def _columns(item: TokenInput, value: Any) -> Int32:
    """The columns of an input of tokens, step after step, sample after sample: (S, K)."""
    if is_list_of_sequences(value):
        shape = item.shape("T")
        parts = [_integers(item, f"{item.name}[{k}]", row, shape) for k, row in enumerate(value)]
        for k, part in enumerate(parts):
            _check_range(item, f"{item.name}[{k}]", part)
        array = np.concatenate(parts)
    else:
        array = _integers(item, item.name, value, item.shape("N", "T"))
        _check_range(item, item.name, array)
    return array.astype(np.int32).reshape(-1, item.size)


def _integers(item: TokenInput, name: str, value: Any, shape: str) -> npt.NDArray[Any]:
    try:
        array = np.asanyarray(value)
    except ValueError:
        raise InputError(
            f"{name} is not a regular array; pass a list of arrays when lengths differ"
        ) from None
    if array.size and (array.dtype.kind not in "iu" or np.ma.is_masked(array)):
        advice = "give every word or character a number from 0 first"
        if np.ma.is_masked(array):
            advice = "fill masked places with the padding index"
        elif array.dtype.kind in "fb":
            advice = f"convert them with np.asarray({name}).astype('int64')"
        raise InputError(
            f"{name} must hold whole numbers of tokens, got dtype {array.dtype}; {advice}"
        )
    wide = item.size > 1
    fits = array.ndim == shape.count("T") + shape.count("N") + wide and array.size > 0
    if not fits or (wide and array.shape[-1] != item.size):
        raise InputError(
            f"{name} must be {shape} integers with at least one step, got shape {array.shape}"
        )
    return np.asarray(array)


def _check_range(
    item: TokenInput, name: str, array: npt.NDArray[Any], first_column: int = 0
) -> None:
    if array.size == 0 or (array.min() >= 0 and array.max() < item.rows):
        return
    place = [int(i) for i in np.argwhere((array < 0) | (array >= item.rows))[0]]
    found = array[tuple(place)]
    place[-1] += first_column
    where = ", ".join(map(str, place))
    embedding = "embedding" if item.embedding == "embedding" else f"embedding {item.embedding!r}"
    raise InputError(
        f"{name}[{where}] is {found}, but the {embedding} has {item.rows} rows "
        f"(0 to {item.rows - 1})"
    )


def _check_steps(item: TokenInput, tokens: Any, values: Any) -> None:
    """Refuse tokens that have not the samples and steps of the values beside them."""
    if is_list_of_sequences(values) != is_list_of_sequences(tokens):
        raise InputError(
            f"{item.name} and the other inputs must be arrays or lists of arrays alike"
        )
    if not is_list_of_sequences(tokens):
        expected: Sequence[int] = np.shape(values)[:2]
        if np.shape(tokens)[:2] != tuple(expected):
            raise InputError(
                f"{item.name} must have shape (N, T) = {tuple(expected)} as the other inputs, "
                f"got {np.shape(tokens)[:2]}"
            )
        return
    if len(tokens) != len(values):
        raise InputError(
            f"{item.name} must be a list of {len(values)} arrays as the other inputs, got "
            f"{len(tokens)}"
        )
    for k, (row, other) in enumerate(zip(tokens, values, strict=True)):
        if len(row) != len(other):
            raise InputError(
                f"{item.name}[{k}] has {len(row)} steps, but the other inputs have {len(other)}"
            )
