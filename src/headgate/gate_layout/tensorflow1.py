"""TensorFlow 1: columns over [x, h]; a GRU's gates r, u, its candidate apart; an LSTM's i, j, f, o.

Read from ``rnn_cell_impl.py``, as TensorFlow 2.21 still has it, and compared with it. u = 1 keeps
the old state; the reset gate acts on h, before the product. ``BasicLSTMCell`` adds ``forget_bias``
to f at every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .arrays import Array, by_name, expect, floats, orders, packed
from .layer import (
    CellWeights,
    cell_weights,
    expect_reset,
    from_order,
    in_order,
    merge_biases,
    more_forget_bias,
)

GRU = ("gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias")
OTHER = ("kernel", "bias")
TENSORFLOW = orders({"lstm": "igfo"})


def from_tensorflow1(
    weights: Mapping[str, Any] | Sequence[Any],
    *,
    cell: str | None = None,
    forget_bias: float | None = None,
) -> CellWeights:
    """A cell of TensorFlow 1: its variables by name, or as a list in this order.

    ``GRUCell``: ``gates/kernel`` (I + H, 2H), ``gates/bias`` (2H,), ``candidate/kernel``
    (I + H, H), ``candidate/bias`` (H,). ``BasicLSTMCell`` and ``LSTMCell``: ``kernel``
    (I + H, 4H), ``bias`` (4H,). ``BasicRNNCell``: ``kernel`` (I + H, H), ``bias`` (H,). Names may
    have their scopes in front.

    Args:
        cell: "lstm" or "rnn", where two arrays could be either.
        forget_bias: an LSTM's; TensorFlow's default is 1.0, and nothing in the arrays tells.
    """
    if isinstance(weights, Mapping):
        short = {_short(name): value for name, value in weights.items()}
        if len(short) < len(weights):  # of one of them nothing would be left
            raise InputError(
                f"these are variables of several cells: {', '.join(map(str, weights))}; pass a "
                "list with a dict for each layer"
            )
        weights = short
    if len(weights) != 2:
        given = by_name(weights, GRU, "TensorFlow 1's GRUCell")
        return _gru(given)
    given = by_name(weights, OTHER, "TensorFlow 1's BasicLSTMCell or BasicRNNCell")
    kernel, bias = floats("kernel", given["kernel"]), floats("bias", given["bias"])
    rows, n = kernel.shape if kernel.ndim == 2 else (0, 0)
    possible = [
        name
        for name, gates in (("lstm", 4), ("rnn", 1))
        if n and n % gates == 0 and rows > n // gates and cell in (None, name)
    ]
    if not possible or bias.shape != (n,):
        raise InputError(
            "kernel and bias must have the shapes (I + H, 4H) and (4H,) of an LSTM, or (I + H, H) "
            f"and (H,) of an RNN, got {kernel.shape} and {bias.shape}"
            + ("" if cell is None else f" for cell={cell!r}")
        )
    if len(possible) == 2:
        raise InputError(
            f"a kernel of shape {kernel.shape} can be that of an LSTM of {n // 4} units or of an "
            f"RNN of {n}; pass cell='lstm' or cell='rnn'"
        )
    split = rows - (n // 4 if possible[0] == "lstm" else n)
    if possible[0] == "lstm":
        bias = more_forget_bias(bias, TENSORFLOW["lstm"], forget_bias, "TensorFlow 1's LSTM")
    return from_order(TENSORFLOW, kernel[:split].T, kernel[split:].T, bias)


def _short(name: str) -> str:
    """``rnn/gru_cell/gates/kernel:0`` without its scopes."""
    parts = str(name).split(":")[0].split("/")
    return "/".join(parts[-2:] if parts[-2:-1] in (["gates"], ["candidate"]) else parts[-1:])


def _gru(given: Mapping[str, Any]) -> CellWeights:
    gates, gates_bias, candidate, candidate_bias = (floats(name, given[name]) for name in GRU)
    if candidate.ndim != 2 or candidate.shape[0] <= candidate.shape[1]:
        raise InputError(
            "candidate/kernel must have shape (I + H, H) with at least one input, got "
            f"{candidate.shape}"
        )
    rows, h = candidate.shape
    hint = "x's rows come first, then h's"
    expect(GRU[0], gates, (rows, 2 * h), "(I + H, 2H)", hint)
    expect(GRU[1], gates_bias, (2 * h,), "(2H,)", "it goes with gates/kernel")
    expect(GRU[3], candidate_bias, (h,), "(H,)", "it goes with candidate/kernel")
    both = np.concatenate([gates, candidate], axis=1).T
    bias = np.concatenate([gates_bias, candidate_bias])
    return cell_weights(both[:, : rows - h], both[:, rows - h :], bias, reset_after=False)


def to_tensorflow1(weights: CellWeights, *, forget_bias: float | None = None) -> dict[str, Array]:
    """A layer as the variables of a TensorFlow 1 cell by name.

    ``forget_bias`` is what the LSTM cell will add to f; it is taken from the bias, which rounds.
    """
    expect_reset(weights, False, "TensorFlow 1's GRUCell")
    weights = weights._replace(bias_ih=merge_biases(weights))
    w, u, bias, _ = in_order(weights, TENSORFLOW)
    kernel = packed(np.concatenate([w, u], axis=1).T)
    if weights.cell == "gru":
        h = weights.hidden_size
        parts = (kernel[:, : 2 * h], bias[: 2 * h], kernel[:, 2 * h :], bias[2 * h :])
        return dict(zip(GRU, map(packed, parts), strict=True))
    if weights.cell == "lstm":
        less = None if forget_bias is None else -forget_bias
        bias = more_forget_bias(bias, TENSORFLOW["lstm"], less, "TensorFlow 1's LSTM")
    return dict(zip(OTHER, (kernel, bias), strict=True))
