"""One layer in headgate's own layout, which is PyTorch's, and the pieces that conversions share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Array = NDArray[Any]

# Gates in the order of their rows, by cell: n and g are the candidates, h is all that an RNN has.
ORDER = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}
CELL_OF_GATES = {len(order): cell for cell, order in ORDER.items()}


class CellWeights(NamedTuple):
    """One direction of one recurrent layer as headgate and PyTorch keep it.

    ``weight_ih`` (GH, I), ``weight_hh`` (GH, H), ``bias_ih`` (GH,), ``bias_hh`` (GH,) for G gates:
    rows r, z, n of a GRU (keep-form), i, f, g, o of an LSTM, one block of a plain RNN. A GRU with
    reset_after=False has ``bias_hh`` (2H,), since its candidate has one bias only.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array

    @property
    def input_size(self) -> int:
        return int(self.weight_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        return int(self.weight_hh.shape[1])

    @property
    def cell(self) -> str:
        """As three, four or one block of H rows tell: "gru", "lstm" or "rnn"."""
        return CELL_OF_GATES[len(self.weight_hh) // self.hidden_size]

    @property
    def reset_after(self) -> bool:
        """False for a GRU whose reset gate acts on h; of other cells it says nothing."""
        return len(self.bias_hh) == len(self.bias_ih)


def cell_weights(
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    *,
    reset_after: bool = True,
) -> CellWeights:
    """Checked copies of a layer's four arrays; a bias that is None is zeros.

    ``reset_after`` is a GRU's. With False ``bias_hh`` may come as (2H,), or as (3H,): its third
    part is then added into ``bias_ih``. Raises InputError when shapes or types do not fit.
    """
    w, u = floats("weight_ih", weight_ih), floats("weight_hh", weight_hh)
    gates, h = gates_and_size("weight_hh", u, rows=True)
    n = gates * h
    expect("weight_ih", w, (n, None), f"({times(gates)}, I)", "check hidden_size, transposition")
    dtype = np.result_type(w, u)
    b_ih = bias_of("bias_ih", bias_ih, n, times(gates), dtype)
    if gates != 3 or reset_after:
        b_hh = bias_of("bias_hh", bias_hh, n, times(gates), dtype)
    elif bias_hh is None:
        b_hh = np.zeros(2 * h, dtype)
    else:
        b_hh = floats("bias_hh", bias_hh)
        if b_hh.shape not in ((2 * h,), (3 * h,)):
            raise InputError(
                f"bias_hh must have shape (2H,) = ({2 * h},), or (3H,) = ({3 * h},), for "
                f"reset_after=False, got {b_hh.shape}"
            )
        if len(b_hh) == 3 * h:
            b_ih[2 * h :] = added(b_ih[2 * h :], b_hh[2 * h :])
            b_hh = b_hh[: 2 * h]
        b_hh = b_hh.astype(dtype)
    return CellWeights(w.astype(dtype), u.astype(dtype), b_ih, b_hh)


def flip_update_gate(weights: CellWeights) -> CellWeights:
    """A GRU in update-form as one in keep-form or back, exactly: W_z, U_z and both b_z negated."""
    expect_cell(weights, "gru", "has an update gate")
    h = weights.hidden_size
    flipped = CellWeights(*(np.array(part) for part in weights))
    for part in flipped:
        part[h : 2 * h] *= -1
    return flipped


def merge_biases(weights: CellWeights) -> Array:
    """The one bias (GH,) that equals a layer's two, where they stand beside each other in a sum.

    That holds for all gates but the candidate of a GRU with reset_after=True: the reset gate
    multiplies its second bias, so it must be zero; InputError says so when it is not.
    """
    ih, hh = weights.bias_ih, weights.bias_hh
    count = len(hh)
    if weights.cell == "gru" and weights.reset_after:
        count = 2 * weights.hidden_size
        if np.any(hh[count:] != 0):
            raise InputError(
                "the candidate's recurrent bias is not zero, and under reset_after=True the reset "
                "gate multiplies it, so a format with one bias cannot hold it; train with "
                "reset_after=False, or export to a format with two biases"
            )
    merged: Array = ih.copy()
    merged[:count] = added(ih[:count], hh[:count])
    return merged


# -- the pieces ----------------------------------------------------------------------------------


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


def packed(array: Array) -> Array:
    return np.array(array, order="C")


def floats(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value)
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


def expect_cell(weights: CellWeights, cell: str, what: str) -> None:
    if weights.cell != cell:
        raise InputError(f"only a {cell} {what}, got the weights of a {weights.cell}")
