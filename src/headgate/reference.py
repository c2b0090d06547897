"""The GRU in plain NumPy: the readable definition, and the oracle of every kernel.

Shape letters: N batch, T time, I inputs, H hidden units, L layers, O outputs. Inside this file
`*` is elementwise and `@` is a matrix product; rows of a batch are row vectors, so "W x" of the
papers is ``x @ W.T``. ``weight_ih`` (3H, I) and ``weight_hh`` (3H, H) stack the rows of the
reset gate r, the update gate z and the candidate n, in this order, as PyTorch does.

One step, with s the logistic sigmoid:

    r  = s(W_r x + b_ir + U_r h + b_hr)                    how much of the past the candidate sees
    z  = s(W_z x + b_iz + U_z h + b_hz)                    how much of the old state is kept
    n  = tanh(W_n x + b_in + r * (U_n h + b_hn))           reset_after=True
    n  = tanh(W_n x + b_in + U_n (r * h))                  reset_after=False
    h' = (1 - z) * n + z * h

``reset_after=True`` is the cell of cuDNN and PyTorch, first printed in Cho et al. 2014, "Learning
phrase representations using RNN encoder-decoder", arXiv 1406.1078 v1. ``reset_after=False`` is the
cell of that paper's v3 and of Chung et al. 2014, "Empirical evaluation of gated recurrent neural
networks on sequence modeling", arXiv 1412.3555. It has one candidate bias, so its ``bias_hh`` is
(2H,). ``docs/equations.md`` derives the backward pass that stands here.

Everything runs in float64 unless ``dtype=np.float32`` asks for a plain float32 evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .errors import InputError

Array = NDArray[Any]  # float64, or float32 where dtype= asked for it

__all__ = [
    "HUBER_DELTA",
    "DenseCache",
    "GRUCache",
    "Gates",
    "dense_backward",
    "dense_forward",
    "gru_backward",
    "gru_forward",
    "gru_gates",
    "gru_step",
    "loss_and_gradient",
    "network_forward",
    "network_gradients",
    "sigmoid",
]

LOSSES = ("mse", "mae", "huber", "quantile", "cross_entropy", "binary_cross_entropy")
HUBER_DELTA = 1.0


def sigmoid(a: ArrayLike) -> Array:
    """1 / (1 + exp(-a)), elementwise, in the floating type of ``a``; never overflows."""
    a = np.asarray(a)
    e = np.exp(-np.abs(a))  # in [0, 1] whatever the sign of a
    return np.asarray(np.where(a >= 0, 1.0, e) / (1.0 + e))


# -- one GRU layer ---------------------------------------------------------------------------


class Gates(NamedTuple):
    """What one step computes on its way, each (N, H).

    ``recurrent`` is what meets the reset gate: U_n h + b_hn under reset_after=True, where r
    multiplies it, and r * h under reset_after=False, where U_n multiplies it.
    """

    reset: Array
    update: Array
    candidate: Array
    recurrent: Array


class GRUCache(NamedTuple):
    """What ``gru_forward`` leaves for ``gru_backward``.

    ``hidden`` is (N, T + 1, H): h0 and the state after every step. The gates are (N, T, H) and
    zero past a sequence's length. ``valid`` is (N, T), true where a step exists.
    """

    x: Array
    hidden: Array
    gates: Gates
    valid: NDArray[np.bool_]
    weight_ih: Array
    weight_hh: Array
    reset_after: bool


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
    size = h.shape[-1]
    b_hr, b_hz = bias_hh[:size], bias_hh[size : 2 * size]
    u_r, u_z, u_n = weight_hh[:size], weight_hh[size : 2 * size], weight_hh[2 * size :]
    a_r, a_z, a_n = np.split(x @ weight_ih.T + bias_ih, 3, axis=-1)
    r = sigmoid(a_r + h @ u_r.T + b_hr)
    z = sigmoid(a_z + h @ u_z.T + b_hz)
    if reset_after:
        q = h @ u_n.T + bias_hh[2 * size :]
        n = np.tanh(a_n + r * q)
    else:
        q = r * h
        n = np.tanh(a_n + q @ u_n.T)
    return Gates(r, z, n, q)


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
    _expect("x", x, (None, None), "(N, I)")
    _expect("h", h, (len(x), None), "(N, H)")
    tensors = _gru_tensors(
        x.shape[1], h.shape[1], (weight_ih, weight_hh, bias_ih, bias_hh), reset_after, dtype
    )
    _, z, n, _ = gru_gates(x, h, *tensors, reset_after=reset_after)
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
        reset_after: where the reset gate acts; see the head of this file.
        lengths: (N,) integers in 0..T; None means that all sequences fill T steps.

    Returns:
        outputs (N, T, H), zero past each sequence's length; h_n (N, H), the state after each
        sequence's last step (h0 for an empty one); and the cache that the backward pass reads.

    Raises InputError when the shapes do not fit.
    """
    x = np.asarray(x, dtype)
    _expect("x", x, (None, None, None), "(N, T, I)")
    n, t, i = x.shape
    hidden_size = _hidden_size(weight_hh)
    tensors = _gru_tensors(
        i, hidden_size, (weight_ih, weight_hh, bias_ih, bias_hh), reset_after, dtype
    )
    h = np.zeros((n, hidden_size), dtype) if h0 is None else np.asarray(h0, dtype)
    _expect("h0", h, (n, hidden_size), "(N, H)")
    valid = _valid_steps(lengths, n, t)
    x = np.where(valid[:, :, None], x, 0.0).astype(dtype)  # padding may be NaN

    hidden = np.zeros((n, t + 1, hidden_size), dtype)
    gates = Gates(*(np.zeros((n, t, hidden_size), dtype) for _ in Gates._fields))
    hidden[:, 0] = h
    for step in range(t):
        exists = valid[:, step, None]
        now = gru_gates(x[:, step], h, *tensors, reset_after=reset_after)
        h = np.where(exists, (1 - now.update) * now.candidate + now.update * h, h)
        hidden[:, step + 1] = h
        for kept, value in zip(gates, now, strict=True):
            kept[:, step] = np.where(exists, value, 0.0)
    outputs = np.where(valid[:, :, None], hidden[:, 1:], 0.0).astype(dtype)
    cache = GRUCache(x, hidden, gates, valid, tensors[0], tensors[1], reset_after)
    return outputs, h.copy(), cache


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
    x, hidden, gates, valid, weight_ih, weight_hh, reset_after = cache
    n, t, _ = x.shape
    size, dtype = hidden.shape[-1], hidden.dtype
    grad_outputs = np.asarray(grad_outputs, dtype)
    _expect("grad_outputs", grad_outputs, (n, t, size), "(N, T, H)")
    dh = np.zeros((n, size), dtype) if grad_h_n is None else np.array(grad_h_n, dtype)
    _expect("grad_h_n", dh, (n, size), "(N, H)")

    u_n = weight_hh[2 * size :]
    grads = {
        "x": np.zeros_like(x),
        "h0": dh,
        "weight_ih": np.zeros_like(weight_ih),
        "weight_hh": np.zeros_like(weight_hh),
        "bias_ih": np.zeros(3 * size, dtype),
        "bias_hh": np.zeros((3 if reset_after else 2) * size, dtype),
    }
    for step in reversed(range(t)):
        exists, h = valid[:, step, None], hidden[:, step]
        r, z, c, q = (kept[:, step] for kept in gates)
        d_next = np.where(exists, dh + grad_outputs[:, step], 0.0)  # dLoss/dh'
        # h' = (1 - z) * c + z * h, then through tanh and the sigmoid of z
        da_n = d_next * (1 - z) * (1 - c * c)
        da_z = d_next * (h - c) * z * (1 - z)
        d_prev = d_next * z
        if reset_after:  # a_n = ... + r * q, q = U_n h + b_hn
            dr, dq = da_n * q, da_n * r
            d_prev += dq @ u_n
        else:  # a_n = ... + U_n q, q = r * h
            dq = da_n @ u_n
            dr = dq * h
            d_prev += dq * r
        da_r = dr * r * (1 - r)
        gate_part = np.concatenate([da_r, da_z], axis=1)
        d_prev += gate_part @ weight_hh[: 2 * size]

        from_input = np.concatenate([gate_part, da_n], axis=1)
        grads["x"][:, step] = from_input @ weight_ih
        grads["weight_ih"] += from_input.T @ x[:, step]
        grads["bias_ih"] += from_input.sum(axis=0)
        grads["weight_hh"][: 2 * size] += gate_part.T @ h
        grads["weight_hh"][2 * size :] += dq.T @ h if reset_after else da_n.T @ q
        hidden_bias = np.concatenate([gate_part, dq], axis=1) if reset_after else gate_part
        grads["bias_hh"] += hidden_bias.sum(axis=0)
        dh = np.where(exists, d_prev, dh)  # a step past the end hands the state through
    grads["h0"] = dh
    return grads


# -- dense layers and losses -----------------------------------------------------------------


class DenseCache(NamedTuple):
    """What ``dense_forward`` leaves for ``dense_backward``."""

    x: Array
    weight: Array
    outputs: Array
    activation: str


def dense_forward(
    x: Array, weight: Array, bias: Array, activation: str = "linear"
) -> tuple[Array, DenseCache]:
    """activation(x W^T + b): x (..., I), weight (O, I), bias (O,) give (..., O).

    ``activation`` is ``linear``, ``relu`` or ``tanh``.
    """
    _expect("weight", weight, (None, x.shape[-1]), "(O, I)")
    _expect("bias", bias, (len(weight),), "(O,)")
    a = x @ weight.T + bias
    if activation == "relu":
        a = np.maximum(a, 0)
    elif activation == "tanh":
        a = np.tanh(a)
    elif activation != "linear":
        raise InputError(f"activation must be 'linear', 'relu' or 'tanh', got {activation!r}")
    return a, DenseCache(x, weight, a, activation)


def dense_backward(cache: DenseCache, grad_outputs: Array) -> dict[str, Array]:
    """Gradients ``x, weight, bias`` for dLoss/d(outputs) (..., O); relu has slope 0 at 0."""
    x, weight, outputs, activation = cache
    da = grad_outputs
    if activation == "relu":
        da = np.where(outputs > 0, da, 0.0).astype(outputs.dtype)
    elif activation == "tanh":
        da = da * (1 - outputs * outputs)
    flat = da.reshape(-1, da.shape[-1])
    return {
        "x": da @ weight,
        "weight": flat.T @ x.reshape(-1, x.shape[-1]),
        "bias": flat.sum(axis=0),
    }


def loss_and_gradient(
    loss: str,
    outputs: Array,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    quantiles: Sequence[float] = (),
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[float, Array]:
    """The mean loss over valid targets, and its gradient in the shape of ``outputs``.

    For d = output - target, ``mse`` is d^2, ``mae`` |d| (slope 0 at 0), ``huber`` d^2 / 2 up to
    |d| = 1 and |d| - 1/2 beyond. ``quantile`` is max(-q d, (1 - q) d) for each of the
    ``quantiles`` (slope 0 at 0); outputs (..., H * Q), targets (..., H).

    ``cross_entropy``: targets (...) are class numbers of outputs (..., C), p their softmax, s the
    label smoothing, w the class weights: (1 - s) w_y (-log p_y) + s / C sum_c w_c (-log p_c),
    summed over the targets that are not ``ignore_index`` and divided by the sum of their w_y.

    ``binary_cross_entropy``: -(w y log p + (1 - y) log(1 - p)) with p the sigmoid of the output,
    w the class weight of that output, y smoothed to y (1 - s) + s / 2.

    ``valid`` is a boolean mask of the outputs' leading axes; targets where it is false are not
    read.
    """
    targets = np.asarray(targets, outputs.dtype)
    if loss == "cross_entropy":
        _expect("targets", targets, outputs.shape[:-1], "the outputs' shape without the classes")
        rows = np.ones(targets.shape, bool) if valid is None else np.asarray(valid, bool)
        return _cross_entropy(outputs, targets, rows, class_weights, label_smoothing, ignore_index)
    per_target = max(len(quantiles), 1)
    wanted = (*outputs.shape[:-1], outputs.shape[-1] // per_target)
    _expect("targets", targets, wanted, "the outputs' shape")
    targets = np.repeat(targets, per_target, axis=-1)
    mask = np.ones(outputs.shape, bool)
    if valid is not None:
        valid = np.asarray(valid, bool)
        mask &= valid.reshape(valid.shape + (1,) * (outputs.ndim - valid.ndim))
    count = int(mask.sum())
    if count == 0:
        raise InputError("no valid target, so the mean loss is undefined; pass at least one")
    x, y = np.where(mask, outputs, 0.0), np.where(mask, targets, 0.0)
    d = x - y
    size = np.abs(d)
    if loss == "mse":
        value, slope = d * d, 2 * d
    elif loss == "mae":
        value, slope = size, np.sign(d)
    elif loss == "huber":
        value = np.where(size <= HUBER_DELTA, 0.5 * d * d, HUBER_DELTA * (size - 0.5 * HUBER_DELTA))
        slope = np.clip(d, -HUBER_DELTA, HUBER_DELTA)
    elif loss == "quantile":
        q = np.resize(np.asarray(quantiles, outputs.dtype), outputs.shape[-1])
        value = np.maximum(-q * d, (1 - q) * d)
        slope = np.where(d < 0, -q, np.where(d > 0, 1 - q, 0.0))
    elif loss == "binary_cross_entropy":
        w = np.ones(outputs.shape[-1]) if class_weights is None else np.asarray(class_weights)
        y = y * (1 - label_smoothing) + label_smoothing / 2
        # -log s(x) = log(1 + e^-x), -log(1 - s(x)) = log(1 + e^x)
        value = w * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
        slope = (1 - y) * np.exp(-np.logaddexp(0, -x)) - w * y * np.exp(-np.logaddexp(0, x))
        value, slope = np.where(mask, value, 0.0), np.where(mask, slope, 0.0)
    else:
        raise InputError(f"loss must be one of {LOSSES}, got {loss!r}")
    return float(value.sum() / count), (slope / count).astype(outputs.dtype)


def _cross_entropy(
    outputs: Array,
    targets: Array,
    valid: NDArray[np.bool_],
    class_weights: Sequence[float] | None,
    label_smoothing: float,
    ignore_index: int | None,
) -> tuple[float, Array]:
    if ignore_index is not None:
        valid = valid & (targets != ignore_index)
    classes = outputs.shape[-1]
    z, labels = outputs[valid], targets[valid].astype(int)
    if np.any((labels < 0) | (labels >= classes) | (labels != targets[valid])):
        raise InputError(f"classes must be whole numbers from 0 to {classes - 1}")
    w = np.ones(classes) if class_weights is None else np.asarray(class_weights, outputs.dtype)
    total = w[labels].sum()
    if total == 0:
        raise InputError("no valid target, so the mean loss is undefined; pass at least one")
    # How much of each target is asked of each class, weighed: (targets, C).
    share = label_smoothing / classes * w + np.zeros_like(z)
    share[np.arange(len(labels)), labels] += (1 - label_smoothing) * w[labels]
    log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    grad = np.zeros_like(outputs)
    grad[valid] = (share.sum(axis=1, keepdims=True) * np.exp(log_p) - share) / total
    return float(-(share * log_p).sum() / total), grad


# -- a whole network -------------------------------------------------------------------------


def network_forward(
    spec: Any,
    tensors: Mapping[str, ArrayLike],
    x: ArrayLike,
    lengths: ArrayLike | None = None,
    state: Any = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, dict[str, Array]]:
    """Predict with the network that ``spec`` describes (dropout is the identity).

    Args:
        spec: a NetworkSpec. Its scaling is not applied: x is taken as already scaled.
        tensors: parameters by full name (``gru.weight_ih_l0``, ``head.weight``, ...).
        x: (N, T, I).
        lengths: (N,) in 0..T or None; a ``last`` layer needs at least one step.
        state: (L, N, H) for a network with one recurrent stack, or a dict of these by layer
            name; None is zeros.

    Returns:
        outputs, (N, T, O) with zeros past each length, or (N, O) behind a ``last`` layer; and
        the state after the last step, (L, N, H) by layer name.
    """
    outputs, after, _, _ = _walk(spec, tensors, x, lengths, state, dtype)
    return outputs, after


def network_gradients(
    spec: Any,
    tensors: Mapping[str, ArrayLike],
    x: ArrayLike,
    y: ArrayLike,
    loss: str,
    lengths: ArrayLike | None = None,
    state: Any = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[float, dict[str, Array]]:
    """The loss and its gradients; arguments as in :func:`network_forward`.

    ``y`` has the shape of the outputs; ``loss`` is ``mse``, ``mae`` or ``huber``, the mean over
    valid targets. The gradients are by parameter name, with ``x`` (N, T, I) and
    ``state.<layer>`` (L, N, H) beside them.
    """
    outputs, _, tape, valid = _walk(spec, tensors, x, lengths, state, dtype)
    mask = valid if outputs.ndim == 3 else None
    value, grad = loss_and_gradient(loss, outputs, y, mask)
    grads: dict[str, Array] = {}
    for layer, caches in reversed(tape):
        if layer.kind == "gru":
            states: list[Array] = []
            for k in reversed(range(layer.num_layers)):
                part = gru_backward(caches[k], grad)
                grad = part.pop("x")
                states.insert(0, part.pop("h0"))
                grads |= {f"{layer.name}.{key}_l{k}": g for key, g in part.items()}
            grads[f"state.{layer.name}"] = np.stack(states)
        elif layer.kind == "dense":
            part = dense_backward(caches, grad)
            grad = part.pop("x")
            grads |= {f"{layer.name}.{key}": g for key, g in part.items()}
        elif layer.kind == "last":
            steps = np.arange(valid.shape[1]) == valid.sum(axis=1)[:, None] - 1
            grad = np.where(steps[:, :, None], grad[:, None, :], 0.0).astype(grad.dtype)
    return value, {**grads, "x": grad}


def _walk(
    spec: Any,
    tensors: Mapping[str, ArrayLike],
    x: ArrayLike,
    lengths: ArrayLike | None,
    state: Any,
    dtype: DTypeLike,
) -> tuple[Array, dict[str, Array], list[tuple[Any, Any]], NDArray[np.bool_]]:
    """Outputs, states after the last step, (layer, cache) in order, and which steps exist."""
    flow = np.asarray(x, dtype)
    _expect("x", flow, (None, None, None), "(N, T, I)")
    n, t, _ = flow.shape
    valid = _valid_steps(lengths, n, t)
    flow = np.where(valid[:, :, None], flow, 0.0).astype(dtype)
    states = _states_by_layer(spec, state)
    after: dict[str, Array] = {}
    tape: list[tuple[Any, Any]] = []
    for layer in spec.layers:
        caches: Any = None
        if layer.kind == "gru":
            caches, last_states = [], []
            start = states.get(layer.name, [None] * layer.num_layers)
            if len(start) != layer.num_layers:
                raise InputError(
                    f"the state of layer {layer.name!r} must be (L, N, H) with "
                    f"L={layer.num_layers}, got {len(start)} layers"
                )
            for k in range(layer.num_layers):
                keys = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                weights = [tensors[f"{layer.name}.{key}_l{k}"] for key in keys]
                flow, h_n, cache = gru_forward(
                    flow,
                    start[k],
                    *weights,
                    reset_after=layer.reset_after,
                    lengths=lengths,
                    dtype=dtype,
                )
                caches.append(cache)
                last_states.append(h_n)
            after[layer.name] = np.stack(last_states)
        elif layer.kind == "dense":
            weight, bias = (
                np.asarray(tensors[f"{layer.name}.{k}"], dtype) for k in ("weight", "bias")
            )
            flow, caches = dense_forward(flow, weight, bias, layer.activation)
        elif layer.kind == "last":
            if not valid.any(axis=1).all():
                raise InputError("a 'last' layer needs one step at least; drop empty sequences")
            flow = flow[np.arange(n), valid.sum(axis=1) - 1]
        elif layer.kind != "dropout":
            raise InputError(f"the reference knows no layer of kind {layer.kind!r}")
        tape.append((layer, caches))
    if flow.ndim == 3:
        flow = np.where(valid[:, :, None], flow, 0.0).astype(dtype)
    return flow, after, tape, valid


# -- checks ----------------------------------------------------------------------------------


def _states_by_layer(spec: Any, state: Any) -> dict[str, Any]:
    if state is None:
        return {}
    if isinstance(state, Mapping):
        return dict(state)
    names = [layer.name for layer in spec.layers if layer.kind == "gru"]
    if len(names) != 1:
        raise InputError(
            f"the network has {len(names)} recurrent stacks, so state must be a dict by layer "
            f"name, got {type(state).__name__}"
        )
    return {names[0]: np.asarray(state)}


def _expect(name: str, array: Array, shape: tuple[int | None, ...], meaning: str) -> None:
    """Raise InputError unless ``array`` has this shape; None stands for any size."""
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        sizes = ", ".join("any" if s is None else str(s) for s in shape)
        raise InputError(f"{name} must have shape {meaning} = ({sizes}), got {array.shape}")


def _hidden_size(weight_hh: ArrayLike) -> int:
    shape = np.shape(weight_hh)
    if len(shape) != 2 or shape[0] != 3 * shape[1]:
        raise InputError(f"weight_hh must have shape (3H, H), got {shape}")
    return int(shape[1])


def _gru_tensors(
    input_size: int,
    hidden_size: int,
    tensors: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    reset_after: bool,
    dtype: DTypeLike,
) -> list[Array]:
    h = hidden_size
    expected: list[tuple[str, tuple[int, ...], str]] = [
        ("weight_ih", (3 * h, input_size), "(3H, I)"),
        ("weight_hh", (3 * h, h), "(3H, H)"),
        ("bias_ih", (3 * h,), "(3H,)"),
        ("bias_hh", (3 * h,), "(3H,)") if reset_after else ("bias_hh", (2 * h,), "(2H,)"),
    ]
    arrays = [np.asarray(tensor, dtype) for tensor in tensors]
    for (name, shape, meaning), array in zip(expected, arrays, strict=True):
        _expect(name, array, shape, f"{meaning} for reset_after={reset_after}")
    return arrays


def _valid_steps(lengths: ArrayLike | None, n: int, t: int) -> NDArray[np.bool_]:
    """(N, T), true where a sequence has a step."""
    if lengths is None:
        return np.ones((n, t), dtype=np.bool_)
    sizes = np.asarray(lengths)
    if sizes.shape != (n,) or not np.issubdtype(sizes.dtype, np.integer):
        raise InputError(
            f"lengths must be {n} integers, one for each sequence, got {sizes.dtype} of shape "
            f"{sizes.shape}"
        )
    if n and (sizes.min() < 0 or sizes.max() > t):
        raise InputError(f"lengths must be in 0..{t}, got {sizes.min()}..{sizes.max()}")
    return np.asarray(np.arange(t) < sizes[:, None])
