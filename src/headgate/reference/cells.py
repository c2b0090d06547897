"""One step of each recurrent cell, forward and backward, and the one loop over time.

With s the logistic sigmoid, h~ = m * h the state as the recurrent products see it (m is the
mask of recurrent dropout, 1 without it), and biases named as the gates:

    GRU, reset_after      r = s(W_r x + b_ir + U_r h~ + b_hr),  z alike
                          n = tanh(W_n x + b_in + r * (U_n h~ + b_hn))
                          h' = (1 - z) * n + z * h
    GRU, otherwise        n = tanh(W_n x + b_in + U_n (r * h~)), the rest alike
    LSTM                  i, f, o = s(W x + b_i + U h~ + b_h), g = tanh(the same)
                          c' = f * c + i * g,  h' = o * tanh(c')
    RNN                   h' = act(W x + b_i + U h~ + b_h), act tanh or relu

Recurrent dropout keeps one mask over time and leaves the carried state alone: z * h of the GRU
and c of the LSTM (Gal and Ghahramani 2016, "A theoretically grounded application of dropout in
recurrent neural networks", arXiv 1512.05287, as Keras computes it).

With layer normalisation every product, W_g x and U_g h~ of each gate g by itself, is replaced by
gain_g * (product - mean) / sqrt(variance + 1e-5), mean and biased variance over the H units of
that gate; the biases come after it, as its shifts (Ba, Kiros and Hinton 2016, "Layer
normalization", arXiv 1607.06450). The LSTM's c is not normalised.

The GRU with ``reset_after`` is that of cuDNN and PyTorch, first printed in Cho et al. 2014,
arXiv 1406.1078 v1; the other one is that paper's v3, and Chung et al. 2014, arXiv 1412.3555. It
has one candidate bias, so its ``bias_hh`` is (2H,). The LSTM is Hochreiter and Schmidhuber 1997
with the forget gate of Gers et al. 2000, without peepholes; the RNN is Elman's, 1990.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..errors import InputError
from .arrays import Array, Steps, expect, keep, sigmoid, valid_steps

EPSILON = 1e-5  # of layer normalisation, torch.nn.LayerNorm's

State = tuple[Array, ...]  # (h,), or (h, c) of an LSTM, each (N, H)
Tensors = Mapping[str, Array]  # weight_ih, weight_hh, bias_ih, bias_hh, and norm_ih, norm_hh or not


# -- matrix products, normalised or not --------------------------------------------------------


class Product(NamedTuple):
    """``value`` = v W^T, normalised where there is a gain; and what its backward pass reads."""

    value: Array  # (N, G*H)
    v: Array
    weight: Array
    gain: Array | None
    normal: Array  # (N, G, H): the product with mean 0 and variance 1 in each gate; or (0,)
    per_deviation: Array  # (N, G, 1): 1 / sqrt(variance + EPSILON); or (0,)


def product(v: Array, weight: Array, gain: Array | None, size: int) -> Product:
    """v (N, I) times the transpose of weight (G*H, I), H = ``size``."""
    value = v @ weight.T
    if gain is None:
        return Product(value, v, weight, None, value[:0], value[:0])
    gates = value.reshape(len(v), -1, size)
    centred = gates - gates.mean(axis=-1, keepdims=True)
    per_deviation = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON)
    normal = centred * per_deviation
    return Product(
        gain * normal.reshape(value.shape), v, weight, gain, normal, np.asarray(per_deviation)
    )


def product_backward(made: Product, grad: Array) -> tuple[Array, Array, Array]:
    """Gradients of v, weight and gain ((0,) without one) for dLoss/d(value) (N, G*H)."""
    d_gain = np.zeros(0, grad.dtype)
    if made.gain is not None:
        d_gain = (grad * made.normal.reshape(grad.shape)).sum(axis=0)
        d = (grad * made.gain).reshape(made.normal.shape)
        along = (d * made.normal).mean(axis=-1, keepdims=True)
        d = made.per_deviation * (d - d.mean(axis=-1, keepdims=True) - made.normal * along)
        grad = d.reshape(grad.shape)
    return grad @ made.weight, grad.T @ made.v, d_gain


def rows(gain: Array | None, part: slice) -> Array | None:
    return None if gain is None else gain[part]


# -- cells ---------------------------------------------------------------------------------------


class StepGradients(NamedTuple):
    """What ``step_backward`` returns: ``a`` (N, G*H), the state's parts, and the tensors'."""

    a: Array
    state: State
    weight_hh: Array
    bias_hh: Array
    norm_hh: Array  # (0,) without layer normalisation


class Cell(Protocol):
    """A cell is two functions of one step. ``a`` (N, G*H) is its share of the input, made by the
    loop: W x, normalised where asked, plus ``bias_ih``."""

    gates: ClassVar[int]
    state_parts: ClassVar[int]

    @property
    def bias_hh_gates(self) -> int: ...
    @property
    def description(self) -> str: ...
    def step_forward(
        self, a: Array, state: State, tensors: Tensors, mask: Array | None
    ) -> tuple[State, Any]:
        """The next state, and what the backward pass reads of this step."""
        ...

    def step_backward(self, tape: Any, grad: State, mask: Array | None) -> StepGradients:
        """``grad`` is dLoss/d(next state), part by part."""
        ...


class Gates(NamedTuple):
    """What a step of a GRU computes on its way, each (N, H).

    ``recurrent`` is what meets the reset gate: U_n h + b_hn under reset_after=True, where r
    multiplies it, and r * h under reset_after=False, where U_n multiplies it.
    """

    reset: Array
    update: Array
    candidate: Array
    recurrent: Array


class GRUTape(NamedTuple):
    h: Array
    seen: Array  # the state as the products see it
    gates: Gates
    products: tuple[Product, ...]  # one for all gates, or (r and z; n) under reset_after=False


@dataclass(frozen=True)
class GRUCell:
    """Gated recurrent unit; gates r, z, n."""

    reset_after: bool = True
    gates: ClassVar[int] = 3
    state_parts: ClassVar[int] = 1

    @property
    def bias_hh_gates(self) -> int:
        return 3 if self.reset_after else 2

    @property
    def description(self) -> str:
        return f"reset_after={self.reset_after}"

    def step_forward(
        self, a: Array, state: State, tensors: Tensors, mask: Array | None
    ) -> tuple[State, GRUTape]:
        (h,) = state
        size = h.shape[-1]
        u, bias, gain = tensors["weight_hh"], tensors["bias_hh"], tensors.get("norm_hh")
        seen = h if mask is None else mask * h
        a_r, a_z, a_n = np.split(a, 3, axis=-1)
        first = slice(None) if self.reset_after else slice(2 * size)
        gated = product(seen, u[first], rows(gain, first), size)
        q_r, q_z, *q_n = np.split(gated.value + bias, self.bias_hh_gates, axis=-1)
        r, z = sigmoid(a_r + q_r), sigmoid(a_z + q_z)
        if self.reset_after:
            q = q_n[0]
            products: tuple[Product, ...] = (gated,)
            n = np.tanh(a_n + r * q)
        else:
            q = r * seen
            rest = slice(2 * size, None)
            candidate = product(q, u[rest], rows(gain, rest), size)
            products = (gated, candidate)
            n = np.tanh(a_n + candidate.value)
        return ((1 - z) * n + z * h,), GRUTape(h, seen, Gates(r, z, n, q), products)

    def step_backward(self, tape: GRUTape, grad: State, mask: Array | None) -> StepGradients:
        (d_next,) = grad
        h, seen, (r, z, n, q), products = tape
        # h' = (1 - z) * n + z * h, then through tanh and the sigmoid of z
        d_h = d_next * z
        da_n = d_next * (1 - z) * (1 - n * n)
        da_z = d_next * (h - n) * z * (1 - z)
        if self.reset_after:  # a_n = ... + r * q, q = U_n h~ + b_hn
            da_r = da_n * q * r * (1 - r)
            d_products = np.concatenate([da_r, da_z, da_n * r], axis=1)
            d_seen, d_u, d_gain = product_backward(products[0], d_products)
        else:  # a_n = ... + U_n q, q = r * h~
            d_q, d_u_n, d_gain_n = product_backward(products[1], da_n)
            da_r = d_q * seen * r * (1 - r)
            d_products = np.concatenate([da_r, da_z], axis=1)
            d_seen, d_u, d_gain = product_backward(products[0], d_products)
            d_seen = d_seen + d_q * r
            d_u, d_gain = np.concatenate([d_u, d_u_n]), np.concatenate([d_gain, d_gain_n])
        d_h = d_h + (d_seen if mask is None else mask * d_seen)
        da = np.concatenate([da_r, da_z, da_n], axis=1)
        return StepGradients(da, (d_h,), d_u, d_products.sum(axis=0), d_gain)


class LSTMTape(NamedTuple):
    c: Array
    gates: tuple[Array, Array, Array, Array]  # i, f, g, o
    squashed: Array  # tanh(c')
    product: Product


@dataclass(frozen=True)
class LSTMCell:
    """Long short-term memory without peepholes; gates i, f, g, o, state (h, c)."""

    gates: ClassVar[int] = 4
    state_parts: ClassVar[int] = 2
    bias_hh_gates: ClassVar[int] = 4
    description: ClassVar[str] = "an LSTM"

    def step_forward(
        self, a: Array, state: State, tensors: Tensors, mask: Array | None
    ) -> tuple[State, LSTMTape]:
        h, c = state
        seen = h if mask is None else mask * h
        made = product(seen, tensors["weight_hh"], tensors.get("norm_hh"), h.shape[-1])
        a_i, a_f, a_g, a_o = np.split(a + (made.value + tensors["bias_hh"]), 4, axis=-1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c_next = f * c + i * g
        squashed = np.tanh(c_next)
        return (o * squashed, c_next), LSTMTape(c, (i, f, g, o), squashed, made)

    def step_backward(self, tape: LSTMTape, grad: State, mask: Array | None) -> StepGradients:
        d_next, dc_next = grad
        c, (i, f, g, o), squashed, made = tape
        dc = dc_next + d_next * o * (1 - squashed * squashed)  # both ways that c' has
        da = np.concatenate(
            [
                dc * g * i * (1 - i),
                dc * c * f * (1 - f),
                dc * i * (1 - g * g),
                d_next * squashed * o * (1 - o),
            ],
            axis=1,
        )
        d_seen, d_u, d_gain = product_backward(made, da)
        d_h = d_seen if mask is None else mask * d_seen
        return StepGradients(da, (d_h, dc * f), d_u, da.sum(axis=0), d_gain)


class RNNTape(NamedTuple):
    h_next: Array
    product: Product


@dataclass(frozen=True)
class RNNCell:
    """Elman's network; ``nonlinearity`` is "tanh" or "relu" (slope 0 at 0)."""

    nonlinearity: str = "tanh"
    gates: ClassVar[int] = 1
    state_parts: ClassVar[int] = 1
    bias_hh_gates: ClassVar[int] = 1

    @property
    def description(self) -> str:
        return f"a {self.nonlinearity} RNN"

    def step_forward(
        self, a: Array, state: State, tensors: Tensors, mask: Array | None
    ) -> tuple[State, RNNTape]:
        (h,) = state
        seen = h if mask is None else mask * h
        made = product(seen, tensors["weight_hh"], tensors.get("norm_hh"), h.shape[-1])
        a = a + (made.value + tensors["bias_hh"])
        h_next = np.tanh(a) if self.nonlinearity == "tanh" else np.maximum(a, 0)
        return (h_next,), RNNTape(h_next, made)

    def step_backward(self, tape: RNNTape, grad: State, mask: Array | None) -> StepGradients:
        (d_next,) = grad
        h_next, made = tape
        da = d_next * (1 - h_next * h_next if self.nonlinearity == "tanh" else h_next > 0)
        d_seen, d_u, d_gain = product_backward(made, da)
        d_h = d_seen if mask is None else mask * d_seen
        return StepGradients(da, (d_h,), d_u, da.sum(axis=0), d_gain)


CELLS: dict[str, Cell] = {
    "gru": GRUCell(),
    "gru_before": GRUCell(reset_after=False),
    "lstm": LSTMCell(),
    "rnn_tanh": RNNCell(),
    "rnn_relu": RNNCell("relu"),
}


# -- over time ---------------------------------------------------------------------------------


class RecurrentCache(NamedTuple):
    """What ``recurrent_forward`` leaves for ``recurrent_backward``.

    ``inputs`` and ``tapes`` are by time step, whichever way the layer ran.
    """

    cell: Cell
    x: Array
    valid: Steps
    tensors: Tensors
    inputs: list[Product]
    tapes: list[Any]
    reverse: bool
    mask: Array | None


class RecurrentGradients(NamedTuple):
    """``x`` (N, T, I); the initial state's parts, each (N, H); ``tensors`` by name; ``hidden``
    (N, T, H), dLoss/dh_t through everything that h_t reaches, later steps included, and zero past
    the lengths."""

    x: Array
    state: State
    tensors: dict[str, Array]
    hidden: Array


def recurrent_forward(
    cell: str | Cell,
    x: ArrayLike,
    state: tuple[ArrayLike, ...] | None,
    tensors: Mapping[str, ArrayLike],
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    mask: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State, RecurrentCache]:
    """One direction of one layer over time.

    Args:
        cell: a cell, or the name of one in ``CELLS``.
        x: (N, T, I). What stands past a sequence's length is never read.
        state: (h0,), or (h0, c0) of an LSTM, each (N, H); None is zeros.
        tensors: ``weight_ih`` (G*H, I), ``weight_hh`` (G*H, H), ``bias_ih`` (G*H,), ``bias_hh``
            (G*H,), or (2H,) of a GRU whose reset gate acts before the product. With
            ``norm_ih`` and ``norm_hh`` (G*H,) the layer is normalised.
        lengths: (N,) integers in 0..T; None means that all sequences fill T steps.
        reverse: run from each sequence's last step to its first.
        mask: (N, H), what recurrent dropout multiplies the state by; None is ones.

    Returns:
        outputs (N, T, H), zero past each sequence's length; the state after the last step that
        was made, part by part (the initial one for an empty sequence); and the cache that the
        backward pass reads.

    Raises InputError when the shapes do not fit.
    """
    cell = CELLS[cell] if isinstance(cell, str) else cell
    x = np.asarray(x, dtype)
    expect("x", x, (None, None, None), "(N, T, I)")
    n, t, inputs = x.shape
    size = hidden_size(cell, tensors["weight_hh"])
    weights = check_tensors(cell, inputs, size, tensors, dtype)
    if state is None:
        state = tuple(np.zeros((n, size), dtype) for _ in range(cell.state_parts))
    if len(state) != cell.state_parts:
        raise InputError(
            f"the state of {cell.description} has {cell.state_parts} parts, got {len(state)}"
        )
    now: State = tuple(np.array(part, dtype) for part in state)
    for name, part in zip(("h0", "c0"), now):  # noqa: B905  (one part or two)
        expect(name, part, (n, size), "(N, H)")
    if mask is not None:
        mask = np.asarray(mask, dtype)
        expect("mask", mask, (n, size), "(N, H)")
    valid = valid_steps(lengths, n, t)
    x = keep(valid, x)  # padding may be NaN

    outputs = np.zeros((n, t, size), dtype)
    from_input = [
        product(x[:, k], weights["weight_ih"], weights.get("norm_ih"), size) for k in range(t)
    ]
    tapes: list[Any] = [None] * t
    for k in reversed(range(t)) if reverse else range(t):
        a = from_input[k].value + weights["bias_ih"]
        after, tapes[k] = cell.step_forward(a, now, weights, mask)
        # a step past the end changes nothing, so a reverse layer starts at each last step
        now = tuple(keep(valid[:, k], new, old) for new, old in zip(after, now, strict=True))
        outputs[:, k] = keep(valid[:, k], now[0])
    return (
        outputs,
        now,
        RecurrentCache(cell, x, valid, weights, from_input, tapes, reverse, mask),
    )


def recurrent_backward(
    cache: RecurrentCache, grad_outputs: ArrayLike, grad_state: State | None = None
) -> RecurrentGradients:
    """Back-propagation through time.

    Args:
        cache: from :func:`recurrent_forward`.
        grad_outputs: (N, T, H) dLoss/d(outputs); what stands past a length is not read, since
            the outputs there are constants.
        grad_state: dLoss/d(the state after the last step) on top of that, part by part, or None.
    """
    cell, x, valid, tensors, from_input, tapes, reverse, mask = cache
    n, t, _ = x.shape
    size, dtype = tensors["weight_hh"].shape[1], x.dtype
    grad_outputs = np.asarray(grad_outputs, dtype)
    expect("grad_outputs", grad_outputs, (n, t, size), "(N, T, H)")
    if grad_state is None:
        grad_state = tuple(np.zeros((n, size), dtype) for _ in range(cell.state_parts))
    now: State = tuple(np.array(part, dtype) for part in grad_state)
    for part in now:
        expect("grad_state", part, (n, size), "(N, H)")

    d_x, hidden = np.zeros_like(x), np.zeros((n, t, size), dtype)
    grads = {name: np.zeros_like(tensor) for name, tensor in tensors.items()}
    for k in range(t) if reverse else reversed(range(t)):
        d_next = (now[0] + keep(valid[:, k], grad_outputs[:, k]), *now[1:])
        d_next = tuple(keep(valid[:, k], part) for part in d_next)
        hidden[:, k] = d_next[0]
        step = cell.step_backward(tapes[k], d_next, mask)
        d_x[:, k], d_weight, d_gain = product_backward(from_input[k], step.a)
        parts = {
            "weight_ih": d_weight,
            "weight_hh": step.weight_hh,
            "bias_ih": step.a.sum(axis=0),
            "bias_hh": step.bias_hh,
            "norm_ih": d_gain,
            "norm_hh": step.norm_hh,
        }
        for name, total in grads.items():
            total += parts[name]
        # a step past the end hands the state through
        now = tuple(keep(valid[:, k], new, old) for new, old in zip(step.state, now, strict=True))
    return RecurrentGradients(d_x, now, grads, hidden)


# -- checks ------------------------------------------------------------------------------------


def times(count: int, letter: str) -> str:
    return letter if count == 1 else f"{count}{letter}"


def hidden_size(cell: Cell, weight_hh: ArrayLike) -> int:
    """H, from the shape of ``weight_hh`` (G*H, H)."""
    shape = np.shape(weight_hh)
    if len(shape) != 2 or shape[0] != cell.gates * shape[1]:
        raise InputError(f"weight_hh must have shape ({times(cell.gates, 'H')}, H), got {shape}")
    return int(shape[1])


def check_tensors(
    cell: Cell, inputs: int, size: int, tensors: Mapping[str, ArrayLike], dtype: DTypeLike
) -> dict[str, Array]:
    """The layer's tensors as arrays; InputError when one is missing or does not fit."""
    rows, short = cell.gates * size, times(cell.gates, "H")
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        "weight_ih": ((rows, inputs), f"({short}, I)"),
        "weight_hh": ((rows, size), f"({short}, H)"),
        "bias_ih": ((rows,), f"({short},)"),
        "bias_hh": ((cell.bias_hh_gates * size,), f"({times(cell.bias_hh_gates, 'H')},)"),
    }
    if "norm_ih" in tensors or "norm_hh" in tensors:
        expected |= {name: ((rows,), f"({short},)") for name in ("norm_ih", "norm_hh")}
    if set(tensors) != set(expected):
        raise InputError(f"tensors must be {', '.join(expected)}, got {', '.join(sorted(tensors))}")
    arrays = {name: np.asarray(tensors[name], dtype) for name in expected}
    for name, (shape, meaning) in expected.items():
        expect(name, arrays[name], shape, f"{meaning} for {cell.description}")
    return arrays
