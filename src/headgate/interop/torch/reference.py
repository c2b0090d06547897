"""The recurrent layers as plain torch operations over time: what ``torch.nn`` does not have.

The equations are those of docs/equations.md and ``headgate.reference``. Nothing here knows a device
or a floating type, so autograd, ``torch.func``, autocast and tracers go through it, as often as
asked. It serves calls that the engine does not take, and gradients of gradients; speed is not its
aim.

Rows are laid out by time as in a ``PackedSequence``: step t has ``sizes[t]`` rows, which continue
the first rows of the step before. Shape letters: R rows, T steps, N = sizes[0], H hidden, G gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-5  # of layer normalisation, as in the engine

State = tuple[
    Tensor, ...
]  # (h,), or (h, c) of an LSTM; each (N, H) in a layer, (L * D, N, H) of all
Part = Callable[[Tensor], Tensor]


class Weights(NamedTuple):
    """One direction of one layer; biases and gains are None where there are none."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    norm_ih: Tensor | None = None
    norm_hh: Tensor | None = None


class Masks(NamedTuple):
    """What dropout multiplies by: ``between`` (R, D * H) behind every layer but the last,
    ``recurrent`` (N, H) for every layer and direction. Empty lists where there is no dropout."""

    between: Sequence[Tensor] = ()
    recurrent: Sequence[Tensor] = ()


def run(
    cell: str,
    rows: Tensor,
    sizes: Sequence[int],
    state: State,
    weights: Sequence[Weights],
    *,
    bidirectional: bool = False,
    masks: Masks | None = None,
) -> tuple[Tensor, State]:
    """A stack of layers.

    Args:
        cell: "gru", "gru_before", "lstm", "rnn_tanh" or "rnn_relu".
        rows: (R, I), by time.
        sizes: T positive row counts, none larger than the one before.
        state: the initial state, its parts (L * D, N, H).
        weights: by layer, within it forward first.
        masks: of dropout, while training.

    Returns:
        (R, D * H), and the last state of each sequence, parts (L * D, N, H).
    """
    directions = 2 if bidirectional else 1
    between, recurrent = masks or Masks()
    last = []
    for first in range(0, len(weights), directions):
        outputs = []
        for place in range(first, first + directions):
            step = _step(cell, weights[place], recurrent[place] if recurrent else None)
            products = _from_input(rows, weights[place]).split(list(sizes))
            initial = tuple(part[place] for part in state)
            over_time = _backwards if place > first else _forwards
            output, final = over_time(step, products, initial)
            outputs.append(output)
            last.append(final)
        rows = torch.cat(outputs, 1) if bidirectional else outputs[0]
        if between and first + directions < len(weights):
            rows = rows * between[first // directions]
    return rows, tuple(torch.stack(part) for part in zip(*last, strict=True))


Step = Callable[[Tensor, State], State]


def _forwards(step: Step, products: Sequence[Tensor], now: State) -> tuple[Tensor, State]:
    """Sequences that end are set aside; they are the last rows, so they come back in order."""
    outputs, ended = [], []
    for product in products:
        count = len(product)
        if count < len(now[0]):
            ended.append(tuple(part[count:] for part in now))
            now = tuple(part[:count] for part in now)
        now = step(product, now)
        outputs.append(now[0])
    parts = zip(now, *reversed(ended), strict=True)
    return torch.cat(outputs), tuple(torch.cat(part) for part in parts)


def _backwards(step: Step, products: Sequence[Tensor], initial: State) -> tuple[Tensor, State]:
    """Each sequence joins in at its own last step, with its initial state."""
    outputs: list[Tensor] = []
    now = tuple(part[: len(products[-1])] for part in initial)
    for product in reversed(products):
        begun, count = len(now[0]), len(product)
        if count > begun:
            joining = (part[begun:count] for part in initial)
            now = tuple(torch.cat(pair) for pair in zip(now, joining, strict=True))
        now = step(product, now)
        outputs.append(now[0])
    return torch.cat(outputs[::-1]), now


def _from_input(rows: Tensor, weights: Weights) -> Tensor:
    """W x of all steps, (R, G * H), normalised where asked, with the first biases."""
    product = functional.linear(rows, weights.weight_ih)
    product = _normed(product, weights.norm_ih, weights.weight_hh.shape[1])
    return product if weights.bias_ih is None else product + weights.bias_ih


def _normed(product: Tensor, gain: Tensor | None, size: int) -> Tensor:
    """Mean 0 and variance 1 over the ``size`` units of each gate, times the gain."""
    if gain is None:
        return product
    gates = functional.layer_norm(product.unflatten(-1, (-1, size)), (size,), eps=EPSILON)
    return gain * gates.flatten(-2)


def _step(cell: str, weights: Weights, mask: Tensor | None) -> Step:
    """One step: W x of its rows and the state before, to the state behind it."""
    size = weights.weight_hh.shape[1]

    def seen(h: Tensor) -> Tensor:
        return h if mask is None else mask[: len(h)] * h

    def product(h: Tensor, part: slice) -> Tensor:
        """U h, normalised, with the second biases."""
        gain, bias = weights.norm_hh, weights.bias_hh
        value = functional.linear(h, weights.weight_hh[part])
        value = _normed(value, None if gain is None else gain[part], size)
        bias = None if bias is None else bias[part]
        return value if bias is None or not len(bias) else value + bias

    def lstm(a: Tensor, state: State) -> State:
        h, c = state
        i, f, g, o = (a + product(seen(h), slice(None))).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def gru(a: Tensor, state: State) -> State:
        (h,) = state
        a_r, a_z, a_n = a.chunk(3, -1)
        q_r, q_z, q_n = product(seen(h), slice(None)).chunk(3, -1)
        z = (a_z + q_z).sigmoid()
        n = (a_n + (a_r + q_r).sigmoid() * q_n).tanh()
        return ((1 - z) * n + z * h,)

    def gru_before(a: Tensor, state: State) -> State:
        (h,) = state
        visible = seen(h)
        a_r, a_z, a_n = a.chunk(3, -1)
        q_r, q_z = product(visible, slice(2 * size)).chunk(2, -1)
        z = (a_z + q_z).sigmoid()
        n = (a_n + product((a_r + q_r).sigmoid() * visible, slice(2 * size, None))).tanh()
        return ((1 - z) * n + z * h,)

    def rnn(a: Tensor, state: State) -> State:
        total = a + product(seen(state[0]), slice(None))
        return (total.tanh() if cell == "rnn_tanh" else total.relu(),)

    cells = {"gru": gru, "gru_before": gru_before, "lstm": lstm}
    return {**cells, "rnn_tanh": rnn, "rnn_relu": rnn}[cell]


def draw_masks(module: Any, rows: Tensor, count: int) -> Masks:
    """Inverted dropout of a module that trains: R = len(rows), N = ``count``."""
    layers, directions = module.num_layers, 2 if module.bidirectional else 1

    def masks(rate: float, number: int, *shape: int) -> list[Tensor]:
        return [
            functional.dropout(rows.new_ones(shape), rate) for _ in range(number if rate else 0)
        ]

    return Masks(
        masks(module.dropout, layers - 1, rows.shape[0], directions * module.hidden_size),
        masks(module.recurrent_dropout, layers * directions, count, module.hidden_size),
    )
