"""Sequences of values, however they are passed: one table of values, and a length for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .samples import as_values, is_list_of_sequences

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class _NotNumbersError(InputError, TypeError):
    """Objects that are no numbers: what Python and scikit-learn call a TypeError."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """N sequences of I channels, one behind the other.

    Attributes:
        values: (S, I) float32, finite.
        lengths: (N,) int64, steps of each, at least 1.
        table: whether they came as the rows of a 2-D array.
    """

    values: Float32
    lengths: Int64
    table: bool = False

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def channels(self) -> int:
        return int(self.values.shape[1])

    @property
    def starts(self) -> Int64:
        """(N,) the row of ``values`` at which each begins."""
        return np.cumsum(self.lengths) - self.lengths

    def parts(self) -> list[Float32]:
        """Each sequence by itself, (T_i, I); views."""
        return np.split(self.values, np.cumsum(self.lengths)[:-1])

    def take(self, rows: Int64) -> Ragged:
        """A choice of them."""
        parts = self.parts()
        return Ragged.joined([parts[k] for k in rows])

    @classmethod
    def joined(cls, parts: list[Float32]) -> Ragged:
        """The inverse of :meth:`parts`."""
        return cls(np.concatenate(parts), np.array([len(part) for part in parts], np.int64))


def as_sequences(X: Any, channels: int | None = None) -> Ragged:
    """Sequences from (N, T, I) or (N, T) arrays, from frames, or from lists of (T_i, I) or (T_i,).

    Args:
        X: a 2-D array or a frame has a series of one channel in each row; so has a list of 1-D
            arrays.
        channels: that there must be; None for any number.

    Raises:
        InputError: X is something else, is empty, holds a value that is not a finite number (it is
            named by its place), or its sequences have not the same or not the wanted channels.
    """
    if hasattr(X, "tocsr") or hasattr(X, "tocsc"):
        raise InputError(
            "X is sparse, and sequences are read step by step; pass X.toarray() or a list of arrays"
        )
    if X is None or isinstance(X, (str, bytes, Mapping)):
        raise InputError(
            "X must be sequences: an array (N, T) or (N, T, I), or a list of arrays of any "
            f"lengths; got {type(X).__name__}"
        )
    found = _from_list(X) if is_list_of_sequences(X) else _from_array(X)
    if channels is not None and found.channels != channels:
        raise InputError(
            f"X has {found.channels} channels, but is expecting {channels}, as in fit; pass "
            "sequences of the same channels in the same order"
        )
    return found


def _from_array(X: Any) -> Ragged:
    array = _numbers("X", X)
    if array.ndim not in (2, 3):
        advice = "Reshape your data: a single series is X[None], values at one step are X[:, None]"
        raise InputError(f"X must be (N, T) or (N, T, I), got shape {array.shape}. {advice}")
    table = array.ndim == 2
    if table:
        array = array[:, :, None]
    count, steps, width = array.shape
    if array.size == 0:
        # the words that scikit-learn's checks look for
        what = ("0 sample(s)", "0 feature(s)", "0 channel(s)")[array.shape.index(0)]
        raise InputError(f"Found array with {what} (shape={np.shape(X)}) while a minimum of 1 is "
                         "required.")  # fmt: skip
    return Ragged(array.reshape(count * steps, width), np.full(count, steps, np.int64), table)


def _from_list(X: Any) -> Ragged:
    parts: list[Float32] = []
    for k, item in enumerate(X):
        part = _numbers(f"X[{k}]", item)
        if part.ndim == 1:
            part = part[:, None]
        if part.ndim != 2 or part.size == 0:
            raise InputError(
                f"X[{k}] must be (T,) or (T, I) with at least one step, got shape {part.shape}"
            )
        if parts and part.shape[1] != parts[0].shape[1]:
            raise InputError(
                f"X[{k}] has {part.shape[1]} channels, but X[0] has {parts[0].shape[1]}; all "
                "sequences must have the same"
            )
        parts.append(part)
    return Ragged.joined(parts)


def _numbers(name: str, value: Any) -> Float32:
    """``value`` as finite float32; also where it is an array of objects that are numbers."""
    array = value
    if getattr(array, "dtype", None) is None or hasattr(array, "columns"):
        try:
            array = np.asarray(value)
        except ValueError:
            raise InputError(
                f"{name} is not a regular array; pass a list of arrays when lengths differ"
            ) from None
    if getattr(array.dtype, "kind", "") == "O":
        try:
            array = np.asarray(array, np.float64)
        except (TypeError, ValueError) as error:
            raise _NotNumbersError(f"{name} must hold numbers: {error}") from None
    if getattr(array.dtype, "kind", "") == "c":
        raise InputError(f"Complex data not supported: {name} must hold real numbers")
    with np.errstate(invalid="ignore"):
        bad = array[~np.isfinite(array)] if array.dtype.kind == "f" else ()
    if len(bad):
        found = "NaN" if np.isnan(bad).any() else "inf"
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(
            f"{name} contains {found}, at index {where}: every value must be a finite number; "
            "fill gaps or leave such sequences out"
        )
    return as_values(name, array)
