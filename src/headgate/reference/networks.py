"""A whole NetworkSpec: stacks of recurrent layers, and the graph that layers make.

A stack of L layers computes, layer k with the input u_k:

    h_k = cell(u_k)              both directions side by side, forward first: (N, T, D*H)
    s_k = h_k + u_k              residual, from the second layer on; otherwise h_k
    u_(k+1) = dropout(s_k)       a mask for every step and unit

and puts out s of its last layer. u_0 is the stack's input, under input dropout times one mask for
each sequence. Dropout is the identity unless masks are given: an oracle draws no random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..errors import InputError
from .arrays import Array, Steps, keep, valid_steps
from .cells import CELLS, Cell, RecurrentCache, recurrent_backward, recurrent_forward
from .crf import crf_loss_and_gradients
from .layers import (
    attention_backward,
    attention_forward,
    dense_backward,
    dense_forward,
    embedding_backward,
    embedding_forward,
    last_backward,
    last_forward,
    max_backward,
    max_forward,
    mean_backward,
    mean_forward,
)
from .losses import loss_and_gradient

RECURRENT = ("gru", "lstm", "rnn")
SUFFIXES = ("", "_reverse")  # of the parameters of each direction


def network_forward(
    spec: Any,
    tensors: Mapping[str, ArrayLike],
    x: ArrayLike | Mapping[str, ArrayLike],
    lengths: ArrayLike | None = None,
    state: Any = None,
    *,
    masks: Mapping[str, ArrayLike] | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, dict[str, Any]]:
    """Predict with the network that ``spec`` describes.

    Args:
        spec: a NetworkSpec. Its scaling is not applied: x is taken as already scaled. Nor is the
            output function of its task: what comes out is the last layer's.
        tensors: parameters by full name (``gru.weight_ih_l0``, ``head.weight``, ...).
        x: (N, T, I), or a dict by input name; a tokens input is (N, T) integers, or (N, T, K) of
            several columns.
        lengths: (N,) in 0..T or None; a read-out needs at least one step.
        state: (L*D, N, H) for a network with one recurrent stack, layer by layer and in each
            forward, then reverse; a tuple (h, c) of these for an LSTM; or a dict of such by layer
            name. None is zeros.
        masks: what dropout multiplies by, 1 / (1 - rate) where a value is kept, by name: a
            Dropout layer's own name, (N, T, F), (N, 1, F) or (N, F); and of a stack
            ``<name>.input`` (N, 1, I), ``<name>.recurrent_l<k>`` (D, N, H) and
            ``<name>.between_l<k>`` (N, T, D*H), the one behind layer k. None is no dropout.

    Returns:
        outputs, (N, T, O) with zeros past each length, or (N, O) behind a read-out; and the
        state after the last step by layer name, as ``state`` has it.
    """
    walk = _forward(spec, tensors, x, lengths, state, masks, dtype)
    return walk.outputs, walk.after


def network_gradients(
    spec: Any,
    tensors: Mapping[str, ArrayLike],
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike,
    loss: str,
    lengths: ArrayLike | None = None,
    state: Any = None,
    *,
    masks: Mapping[str, ArrayLike] | None = None,
    dtype: DTypeLike = np.float64,
    **loss_options: Any,
) -> tuple[float, dict[str, Any]]:
    """The loss and its gradients; arguments as in :func:`network_forward`.

    ``y``, ``loss`` and ``loss_options`` are those of :func:`loss_and_gradient`, the mean over
    valid targets; or ``loss`` is "crf", of a network whose last layer that is. The gradients are
    by parameter name, with those of the inputs, such as ``x``
    (N, T, I), and of the initial states, ``state.<layer>``, beside them. An embedding that is not
    trained has its gradient all the same.
    """
    walk = _forward(spec, tensors, x, lengths, state, masks, dtype)
    value, grad = _loss(spec, walk, y, loss, loss_options)
    return value, _backward(spec, walk, grad)[0]


def network_hidden_gradients(
    spec: Any,
    tensors: Mapping[str, ArrayLike],
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike,
    loss: str,
    lengths: ArrayLike | None = None,
    state: Any = None,
    *,
    masks: Mapping[str, ArrayLike] | None = None,
    dtype: DTypeLike = np.float64,
    **loss_options: Any,
) -> dict[str, Array]:
    """dLoss/dh_t of every recurrent layer, (L*D, N, T, H) by the stack's name.

    Everything that h_t reaches counts, the later steps of its own layer included; zero past the
    lengths. Arguments as in :func:`network_gradients`.
    """
    walk = _forward(spec, tensors, x, lengths, state, masks, dtype)
    _, grad = _loss(spec, walk, y, loss, loss_options)
    return _backward(spec, walk, grad)[1]


# -- the graph -----------------------------------------------------------------------------------


class Walk(NamedTuple):
    """A forward pass: outputs, states after it by layer, and what the backward pass reads."""

    outputs: Array
    after: dict[str, Any]
    caches: dict[str, Any]
    valid: Steps


class Context(NamedTuple):
    """What a layer may read beside its inputs: its own tensors, by short name, and the batch."""

    tensors: dict[str, Array]
    valid: Steps
    lengths: ArrayLike | None
    state: Any
    masks: Mapping[str, ArrayLike]
    split: int | None  # where the reverse half begins, directly behind a bidirectional stack
    dtype: DTypeLike


def _forward(
    spec: Any,
    tensors: Mapping[str, ArrayLike],
    x: ArrayLike | Mapping[str, ArrayLike],
    lengths: ArrayLike | None,
    state: Any,
    masks: Mapping[str, ArrayLike] | None,
    dtype: DTypeLike,
) -> Walk:
    values = _inputs(spec, x, dtype)
    n, t = next(iter(values.values())).shape[:2]
    valid = valid_steps(lengths, n, t)
    values = {name: keep(valid, value) for name, value in values.items()}
    states = _states_by_layer(spec, state)
    after: dict[str, Any] = {}
    caches: dict[str, Any] = {}
    for layer in spec.layers:
        if layer.kind not in LAYERS:
            raise InputError(f"the reference knows no layer of kind {layer.kind!r}")
        prefix = f"{layer.name}."
        own = {
            name.removeprefix(prefix): np.asarray(tensor, dtype)
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        if table := getattr(layer, "tied", ""):
            own["weight"] = np.asarray(tensors[f"{table}.weight"], dtype)
        context = Context(
            own,
            valid,
            lengths,
            states.get(layer.name),
            masks or {},
            _split(spec, layer),
            dtype,
        )
        made = LAYERS[layer.kind][0](layer, [values[name] for name in layer.inputs], context)
        values[layer.name], caches[layer.name] = made
        if layer.kind in RECURRENT:
            after[layer.name] = caches[layer.name].after
    outputs = values[spec.layers[-1].name]
    if outputs.ndim == 3:
        outputs = keep(valid, outputs)
    return Walk(outputs, after, caches, valid)


def _loss(
    spec: Any, walk: Walk, y: ArrayLike, loss: str, options: Mapping[str, Any]
) -> tuple[float, Array]:
    last = spec.layers[-1]
    if (loss == "crf") != (last.kind == "crf"):
        raise InputError("loss='crf' goes with a CRF as the last layer, and no other loss does")
    if loss == "crf":
        cache = walk.caches[last.name]
        value, grad, cache.grads = crf_loss_and_gradients(
            walk.outputs, y, walk.valid, cache.tensors
        )
        return value, grad
    mask = walk.valid if walk.outputs.ndim == 3 else None
    return loss_and_gradient(loss, walk.outputs, y, mask, **options)


def _backward(spec: Any, walk: Walk, grad: Array) -> tuple[dict[str, Any], dict[str, Array]]:
    """Gradients of parameters, inputs and states; and dLoss/dh_t by stack."""
    arriving = {spec.layers[-1].name: grad}  # dLoss/d(output) by layer, summed over its readers
    grads: dict[str, Any] = {}
    hidden: dict[str, Array] = {}
    paddings = {  # rows of tables that do not learn
        layer.name: [] if layer.padding_index is None else [layer.padding_index]
        for layer in spec.layers
        if layer.kind == "embedding"
    }
    for layer in reversed(spec.layers):
        backward = LAYERS[layer.kind][1]
        d_inputs, d_tensors = backward(layer, walk.caches[layer.name], arriving.pop(layer.name))
        for name, d_input in zip(layer.inputs, d_inputs, strict=True):
            if d_input is not None:
                arriving[name] = arriving[name] + d_input if name in arriving else d_input
        if layer.kind in RECURRENT:
            hidden[layer.name] = d_tensors.pop("hidden")
            grads[f"state.{layer.name}"] = d_tensors.pop("state")
        if table := getattr(layer, "tied", ""):
            d_table = d_tensors.pop("weight")
            d_table[paddings[table]] = 0.0
            grads[f"{table}.weight"] = d_table
        for key, g in d_tensors.items():
            name = f"{layer.name}.{key}"
            grads[name] = grads[name] + g if name in grads else g
    return {**grads, **arriving}, hidden


def _inputs(spec: Any, x: Any, dtype: DTypeLike) -> dict[str, Array]:
    """The inputs by name: (N, T, I) of values, (N, T) or (N, T, K) of tokens."""
    if not isinstance(x, Mapping):
        if len(spec.inputs) != 1:
            names = ", ".join(repr(part.name) for part in spec.inputs)
            raise InputError(f"the network has the inputs {names}; pass x as a dict of them")
        x = {spec.inputs[0].name: x}
    missing = [part.name for part in spec.inputs if part.name not in x]
    if missing or len(x) != len(spec.inputs):
        names = ", ".join(repr(part.name) for part in spec.inputs)
        raise InputError(f"x must hold exactly the inputs {names}, got {', '.join(map(repr, x))}")
    values: dict[str, Array] = {}
    for part in spec.inputs:
        tokens = part.kind == "tokens"
        value = np.asarray(x[part.name]) if tokens else np.asarray(x[part.name], dtype)
        flat = tokens and part.size == 1
        if value.ndim != (2 if flat else 3):
            shape = "(N, T)" if flat else "(N, T, K)" if tokens else "(N, T, I)"
            raise InputError(f"{part.name} must have shape {shape}, got {value.shape}")
        values[part.name] = value
    return values


def _split(spec: Any, layer: Any) -> int | None:
    """H when ``layer`` reads a bidirectional stack, with nothing but dropout between; or None."""
    by_name = {other.name: other for other in spec.layers}
    source = by_name.get(layer.inputs[0])
    while source is not None and source.kind == "dropout":
        source = by_name.get(source.inputs[0])
    if source is None or source.kind not in RECURRENT or source.directions == 1:
        return None
    return int(source.hidden_size)


def _states_by_layer(spec: Any, state: Any) -> dict[str, Any]:
    if state is None:
        return {}
    if isinstance(state, Mapping):
        return dict(state)
    names = [layer.name for layer in spec.layers if layer.kind in RECURRENT]
    if len(names) != 1:
        raise InputError(
            f"the network has {len(names)} recurrent stacks, so state must be a dict by layer "
            f"name, got {type(state).__name__}"
        )
    return {names[0]: state}


# -- stacks --------------------------------------------------------------------------------------


class StackCache(NamedTuple):
    """``runs`` by layer, then direction; ``between`` by layer; ``after`` as the caller gets it."""

    runs: list[list[RecurrentCache]]
    input_mask: Array | None
    between: list[Array | None]
    after: Any


def _stack_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, StackCache]:
    cell, count = CELLS[layer.cell], layer.directions
    start = _state_parts(layer, cell, context.state)
    ends: list[tuple[Array, ...]] = []
    runs: list[list[RecurrentCache]] = []
    between: list[Array | None] = []
    input_mask = _mask(context, f"{layer.name}.input")
    u = inputs[0] if input_mask is None else inputs[0] * input_mask
    s = u
    for k in range(layer.num_layers):
        recurrent_masks = _mask(context, f"{layer.name}.recurrent_l{k}")
        halves, made = [], []
        for d, suffix in enumerate(SUFFIXES[:count]):
            ending = f"_l{k}{suffix}"
            half, end, run = recurrent_forward(
                cell,
                u,
                None if start is None else tuple(part[k * count + d] for part in start),
                {
                    name.removesuffix(ending): tensor
                    for name, tensor in context.tensors.items()
                    if name.endswith(ending)
                },
                lengths=context.lengths,
                reverse=d == 1,
                mask=None if recurrent_masks is None else recurrent_masks[d],
                dtype=context.dtype,
            )
            halves.append(half)
            made.append(run)
            ends.append(end)
        runs.append(made)
        h = np.concatenate(halves, axis=-1)
        s = h + u if layer.residual and k > 0 else h
        between.append(_mask(context, f"{layer.name}.between_l{k}"))
        behind = between[-1]
        u = s if behind is None else s * behind
    after = tuple(np.stack(part) for part in zip(*ends, strict=True))
    return s, StackCache(runs, input_mask, between, after if len(after) > 1 else after[0])


def _stack_backward(
    layer: Any, cache: StackCache, grad: Array
) -> tuple[list[Array | None], dict[str, Any]]:
    count, size = layer.directions, layer.hidden_size
    grads: dict[str, Any] = {}
    starts: list[tuple[Array, ...]] = []
    hidden: list[Array] = []
    d_s = grad
    for k in reversed(range(layer.num_layers)):
        d_u = d_s if layer.residual and k > 0 else 0.0
        for d in reversed(range(count)):
            part = recurrent_backward(cache.runs[k][d], d_s[:, :, d * size : (d + 1) * size])
            d_u = d_u + part.x
            starts.insert(0, part.state)
            hidden.insert(0, part.hidden)
            grads |= {f"{key}_l{k}{SUFFIXES[d]}": g for key, g in part.tensors.items()}
        mask = cache.between[k - 1] if k else cache.input_mask
        d_s = np.asarray(d_u if mask is None else d_u * mask)
    state = tuple(np.stack(part) for part in zip(*starts, strict=True))
    grads["state"] = state if len(state) > 1 else state[0]
    grads["hidden"] = np.stack(hidden)
    return [d_s], grads


def _state_parts(layer: Any, cell: Cell, state: Any) -> tuple[Array, ...] | None:
    """(h0,) or (h0, c0), each (L*D, N, H); None for zeros."""
    if state is None:
        return None
    parts = tuple(map(np.asarray, state)) if cell.state_parts > 1 else (np.asarray(state),)
    count = layer.num_layers * layer.directions
    if len(parts) != cell.state_parts or any(p.ndim != 3 or len(p) != count for p in parts):
        what = "(L*D, N, H)" if cell.state_parts == 1 else "a tuple (h, c) of (L*D, N, H)"
        raise InputError(
            f"the state of layer {layer.name!r} must be {what} with L*D={count}, got shape "
            f"{', '.join(str(part.shape) for part in parts)}"
        )
    return parts


# -- every other layer: (layer, inputs, context) -> (output, cache), and back -------------------


def _mask(context: Context, name: str) -> Array | None:
    return np.asarray(context.masks[name], context.dtype) if name in context.masks else None


def _dense_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    weight, bias = (context.tensors[key] for key in ("weight", "bias"))
    return dense_forward(inputs[0], weight, bias, layer.activation)


def _dense_backward(layer: Any, cache: Any, grad: Array) -> tuple[list[Array | None], Any]:
    part = dense_backward(cache, grad)
    return [part.pop("x")], part


def _embedding_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    weight = context.tensors["weight"]
    return embedding_forward(inputs[0], context.valid, weight, layer.padding_index)


def _embedding_backward(layer: Any, cache: Any, grad: Array) -> tuple[list[Array | None], Any]:
    return [None], {"weight": embedding_backward(cache, grad)}


def _dropout_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    mask = _mask(context, layer.name)
    return (inputs[0] if mask is None else inputs[0] * mask), mask


def _dropout_backward(layer: Any, mask: Any, grad: Array) -> tuple[list[Array | None], Any]:
    return [grad if mask is None else grad * mask], {}


def _concat_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    return np.concatenate(inputs, axis=-1), [part.shape[-1] for part in inputs]


def _concat_backward(layer: Any, widths: Any, grad: Array) -> tuple[list[Array | None], Any]:
    return list(np.split(grad, np.cumsum(widths)[:-1], axis=-1)), {}


def _add_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    return np.asarray(sum(inputs[1:], inputs[0])), len(inputs)


def _add_backward(layer: Any, count: Any, grad: Array) -> tuple[list[Array | None], Any]:
    return [grad] * count, {}


def _last_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    output = last_forward(inputs[0], context.valid, context.split)
    return output, (context.valid, context.split)


def _last_backward(layer: Any, cache: Any, grad: Array) -> tuple[list[Array | None], Any]:
    return [last_backward(grad, *cache)], {}


def _mean_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    return mean_forward(inputs[0], context.valid), context.valid


def _mean_backward(layer: Any, valid: Any, grad: Array) -> tuple[list[Array | None], Any]:
    return [mean_backward(grad, valid)], {}


def _max_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    output, steps = max_forward(inputs[0], context.valid)
    return output, (steps, context.valid)


def _max_backward(layer: Any, cache: Any, grad: Array) -> tuple[list[Array | None], Any]:
    return [max_backward(grad, *cache)], {}


def _attention_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, Any]:
    return attention_forward(inputs[0], context.valid, context.tensors, context.split)


def _attention_backward(layer: Any, cache: Any, grad: Array) -> tuple[list[Array | None], Any]:
    part = attention_backward(cache, grad)
    return [part.pop("x")], part


@dataclass
class CrfCache:
    """The weights, and their gradients, which the loss leaves here."""

    tensors: dict[str, Array]
    grads: dict[str, Array]


def _crf_forward(layer: Any, inputs: list[Array], context: Context) -> tuple[Array, CrfCache]:
    return inputs[0], CrfCache(context.tensors, {})


def _crf_backward(layer: Any, cache: CrfCache, grad: Array) -> tuple[list[Array | None], Any]:
    return [grad], cache.grads


LAYERS: dict[str, tuple[Callable[..., tuple[Array, Any]], Callable[..., Any]]] = {
    **dict.fromkeys(RECURRENT, (_stack_forward, _stack_backward)),
    "dense": (_dense_forward, _dense_backward),
    "embedding": (_embedding_forward, _embedding_backward),
    "dropout": (_dropout_forward, _dropout_backward),
    "concat": (_concat_forward, _concat_backward),
    "add": (_add_forward, _add_backward),
    "last": (_last_forward, _last_backward),
    "mean": (_mean_forward, _mean_backward),
    "max": (_max_forward, _max_backward),
    "attention": (_attention_forward, _attention_backward),
    "crf": (_crf_forward, _crf_backward),
}
