"""One layer in headgate's own layout, which is PyTorch's, to and from another order of gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .arrays import (
    ORDER,
    Array,
    added,
    bias_of,
    cell_of,
    expect,
    floats,
    gates_and_size,
    reorder,
    times,
)


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
        return cell_of(self.weight_hh)

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


def apart(weights: CellWeights) -> tuple[Array, Array]:
    """A reset_after=True GRU's biases as (3H,), merged but for the candidate's second, and that."""
    h = weights.hidden_size
    first = np.concatenate([weights.bias_hh[: 2 * h], np.zeros(h, weights.bias_hh.dtype)])
    return merge_biases(weights._replace(bias_hh=first)), weights.bias_hh[2 * h :].copy()


def in_order(weights: CellWeights, order: Mapping[str, str]) -> CellWeights:
    """A layer with its rows in another convention's orders; a missing third bias is zeros."""
    missing = np.zeros(len(weights.bias_ih) - len(weights.bias_hh), weights.bias_hh.dtype)
    full = weights._replace(bias_hh=np.concatenate([weights.bias_hh, missing]))
    cell = weights.cell
    return CellWeights(*(reorder(part, ORDER[cell], order[cell]) for part in full))


def from_order(
    order: Mapping[str, str],
    w: Array,
    u: Array,
    b_ih: Array | None,
    b_hh: Array | None = None,
    *,
    reset_after: bool = True,
) -> CellWeights:
    """A layer from arrays whose rows stand in another convention's orders."""
    cell = cell_of(u)
    parts = (
        None if part is None else reorder(part, order[cell], ORDER[cell]) for part in (b_ih, b_hh)
    )
    w, u = (reorder(part, order[cell], ORDER[cell]) for part in (w, u))
    return cell_weights(w, u, *parts, reset_after=reset_after)


def more_forget_bias(bias: Array, order: str, by: float | None, what: str) -> Array:
    """An LSTM's bias (4H,) with ``by`` added to f's: some libraries add it at every step."""
    if by is None:
        raise InputError(
            f"{what} adds forget_bias to f at every step, and the arrays do not tell how much; "
            "pass forget_bias, which is 1.0 unless the layer was made with another"
        )
    i, h = order.index("f"), len(bias) // 4
    changed: Array = bias.copy()
    changed[i * h : (i + 1) * h] = added(changed[i * h : (i + 1) * h], np.asarray(by))
    return changed


def expect_cell(weights: CellWeights, cell: str, what: str) -> None:
    if weights.cell != cell:
        raise InputError(f"only a {cell} {what}, got the weights of a {weights.cell}")


def expect_reset(weights: CellWeights, after: bool, whose: str) -> None:
    """Refuse a GRU whose reset gate acts elsewhere than in the only cell that a library has."""
    if weights.cell == "gru" and weights.reset_after != after:
        where = "after the product" if after else "before the product, on h"
        raise InputError(
            f"the reset gate of {whose} acts {where}, and this layer has reset_after={not after}; "
            "no weights make one of the other, so choose another convention, or train with "
            f"reset_after={after}"
        )
