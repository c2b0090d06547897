"""A GRU layer by itself, with the tensors as arguments.

``weight_ih`` (3H, I) and ``weight_hh`` (3H, H) stack the rows of the reset gate r, the update gate
z and the candidate n, in this order, as PyTorch does. ``cells`` has the equations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .arrays import Array, expect, keep
from .cells import (
    Gates,
    GRUCell,
    RecurrentCache,
    check_tensors,
    recurrent_backward,
    recurrent_forward,
)


class GRUCache(NamedTuple):
    """What ``gru_forward`` leaves for ``gru_backward``.

    The gates are (N, T, H) and zero past a sequence's length.
    """

    gates: Gates
    recurrent: RecurrentCache


def gru_gates(
    x: Array,
    h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array,
    bias_hh: Array,
    *,
    reset_after: bool = True,
) -> Gates:
    """The gates and the candidate of one step; arguments as in :func:`gru_step`."""
    tensors = {"weight_hh": weight_hh, "bias_hh": bias_hh}
    a = x @ weight_ih.T + bias_ih
    return GRUCell(reset_after).step_forward(a, (h,), tensors, None)[1].gates


def gru_step(
    x: ArrayLike,
    h: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike,
    bias_hh: ArrayLike,
    *,
    reset_after: bool = True,
    dtype: DTypeLike = np.float64,
) -> Array:
    """One step: x (N, I) and state h (N, H) give the next state (N, H).

    ``weight_ih`` (3H, I), ``weight_hh`` (3H, H), ``bias_ih`` (3H,), ``bias_hh`` (3H,), or (2H,)
    when ``reset_after`` is False. Raises InputError when the shapes do not fit.
    """
    x, h = np.asarray(x, dtype), np.asarray(h, dtype)
    expect("x", x, (None, None), "(N, I)")
    expect("h", h, (len(x), None), "(N, H)")
    named = by_name(weight_ih, weight_hh, bias_ih, bias_hh)
    tensors = check_tensors(GRUCell(reset_after), x.shape[1], h.shape[1], named, dtype)
    _, z, n, _ = gru_gates(x, h, *tensors.values(), reset_after=reset_after)
    return np.asarray((1 - z) * n + z * h)


def gru_forward(
    x: ArrayLike,
    h0: ArrayLike | None,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike,
    bias_hh: ArrayLike,
    *,
    reset_after: bool = True,
    lengths: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, Array, GRUCache]:
    """A layer over time.

    Args:
        x: (N, T, I). What stands past a sequence's length is never read.
        h0: (N, H) state before the first step; None is zeros.
        weight_ih, weight_hh, bias_ih, bias_hh: as in :func:`gru_step`.
        reset_after: where the reset gate acts; see ``cells``.
        lengths: (N,) integers in 0..T; None means that all sequences fill T steps.

    Returns:
        outputs (N, T, H), zero past each sequence's length; h_n (N, H), the state after each
        sequence's last step (h0 for an empty one); and the cache that the backward pass reads.

    Raises InputError when the shapes do not fit.
    """
    outputs, (h_n,), cache = recurrent_forward(
        GRUCell(reset_after),
        x,
        None if h0 is None else (h0,),
        by_name(weight_ih, weight_hh, bias_ih, bias_hh),
        lengths=lengths,
        dtype=dtype,
    )
    gates = (
        np.stack([np.zeros_like(h_n), *(tape.gates[k] for tape in cache.tapes)], axis=1)[:, 1:]
        for k in range(len(Gates._fields))
    )
    return outputs, h_n, GRUCache(Gates(*(keep(cache.valid, gate) for gate in gates)), cache)


def gru_backward(
    cache: GRUCache, grad_outputs: ArrayLike, grad_h_n: ArrayLike | None = None
) -> dict[str, Array]:
    """Back-propagation through time.

    Args:
        cache: from :func:`gru_forward`.
        grad_outputs: (N, T, H) dLoss/d(outputs); what stands past a length is not read, since
            the outputs there are constants.
        grad_h_n: (N, H) dLoss/d(h_n) on top of that, or None.

    Returns:
        The gradients ``x, h0, weight_ih, weight_hh, bias_ih, bias_hh``, each in the shape of
        what it belongs to.
    """
    grad_state = None if grad_h_n is None else (np.asarray(grad_h_n),)
    grads = recurrent_backward(cache.recurrent, grad_outputs, grad_state)
    return {"x": grads.x, "h0": grads.state[0], **grads.tensors}


def by_name(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike, bias_hh: ArrayLike
) -> dict[str, ArrayLike]:
    return {
        "weight_ih": weight_ih,
        "weight_hh": weight_hh,
        "bias_ih": bias_ih,
        "bias_hh": bias_hh,
    }
