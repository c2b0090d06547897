"""Whole Keras models, Sequential and functional, as headgate's networks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...checks import RESERVED_NAMES, shown
from ...errors import HeadgateWarning, InputError
from ...layer_specs import Add, Concat, Dense, Dropout, Embedding, InputSpec, Last, LayerSpec, Mean
from ...layer_specs import Max as MaxPool
from ...network import Network
from ...spec import NetworkSpec
from .graph import Node, nodes_of
from .layers import CELLS, Array, Cell, KerasLayer, read_cell

TASKS = {"softmax": "classification", "sigmoid": "binary"}
HIDDEN = ("linear", "relu", "tanh")


class Flow(NamedTuple):
    """What a Keras layer puts out: the part of headgate's network that it is, and its mask.

    ``mask``: whose values say which steps are padding, and the value that does; None where all
    steps count. ``pooled``: there is one vector a sequence. ``changed``: an activation by itself
    has become part of it since, so that these numbers are nowhere any more.
    """

    name: str
    pooled: bool = False
    mask: tuple[str, float] | None = None
    changed: bool = False


def from_keras(model: Any) -> Network:
    """A network that computes what a Keras model does, to float32's rounding.

    Args:
        model: a ``Sequential`` or functional model of the layers in docs/keras.md, or a GRU, LSTM,
            SimpleRNN or Bidirectional layer by itself; of Keras 3, Keras 2 or ``tf.keras``.

    Returns:
        A network that goes on learning. A softmax at the end makes its task "classification", a
        sigmoid "binary", anything else "regression". Its layers have the names of Keras's, its
        input is "x" or "tokens"; several inputs keep their names. Biases that Keras does not
        have are zeros, and learn. What masks padding in Keras is left out, with a warning: pass
        ``unmasked(x)`` to ``predict``.

    Raises:
        InputError: a layer or an option has no exact counterpart, by name, or the model has no
            weights yet.
    """
    return read_model(model, stacklevel=3)


def read_model(model: Any, *, stacklevel: int) -> Network:
    """:func:`from_keras`, whose warnings are about the caller's caller's line."""
    reader = _Reader()
    for node in nodes_of(model):
        reader.read(node)
    net = reader.network()
    for note in reader.notes:
        warnings.warn(note, HeadgateWarning, stacklevel=stacklevel)
    return net


def unmasked(x: Any, mask_value: float = 0.0) -> list[Array]:
    """Sequences without the steps that Keras masks, as a network takes them.

    Args:
        x: (N, T, I) values, where ``Masking(mask_value)`` takes a step for padding that has this
            value in all features; or (N, T) tokens, where ``Embedding(mask_zero=True)`` takes 0
            for it.
        mask_value: what padding is filled with.

    Returns:
        N arrays, (T_i, I) or (T_i,). Keras leaves a state as it is at steps that it masks, so
        leaving them out is the same, whether they stand before, behind or between others.

    Raises:
        InputError: the shape is another, or a sequence is padding alone.
    """
    values = np.asarray(x)
    if values.ndim not in (2, 3) or values.dtype.kind not in "iuf":
        raise InputError(
            f"x must be (N, T, I) values or (N, T) tokens, got {values.dtype} {values.shape}"
        )
    seen = values != mask_value
    if values.ndim == 3:
        seen = seen.any(axis=-1)
    empty = np.flatnonzero(~seen.any(axis=1))
    if len(empty):
        raise InputError(
            f"x[{empty[0]}] is padding alone ({mask_value} at every step); leave it out"
        )
    return [row[here] for row, here in zip(values, seen, strict=True)]


class _Reader:
    """The network that is being made, Keras layer after Keras layer."""

    def __init__(self) -> None:
        self.inputs: list[InputSpec] = []
        self.layers: list[LayerSpec] = []
        self.tensors: dict[str, Array] = {}
        self.flows: dict[str, Flow] = {}
        self.states: dict[str, tuple[Array, ...]] = {}
        self.notes: list[str] = []
        self.ending: tuple[str, str] | None = None  # a layer that ends in a softmax or sigmoid

    def read(self, node: Node) -> None:
        if node.item is None:
            self.flows[node.name] = self._input(node)
            return
        item = node.item
        make = _MAKERS.get(item.kind)
        if make is None:
            raise InputError(
                f"{item} has no counterpart in headgate; layers that have one: {', '.join(_MAKERS)}"
            )
        item.check_class()
        if self.ending is not None and self.ending[0] in node.reads:
            name, activation = self.ending
            raise item.refused(
                f"a layer behind {name!r}, whose activation is {activation!r},",
                f"a {activation} stands at the end of a network there",
            )
        flows = [self.flows[name] for name in node.reads]
        if len(flows) != 1 and make is not _join:
            raise item.refused(
                f"reading {shown(list(node.reads))}", "an initial state goes to predict as state="
            )
        if any(flow.changed for flow in flows):
            raise item.refused(
                "reading what a layer puts out before the activation behind it",
                "make a Dense layer for each of the two",
            )
        tokens = {part.name for part in self.inputs if part.kind == "tokens"}
        if item.kind != "Embedding" and tokens & {flow.name for flow in flows}:
            raise item.refused(
                "reading one vector (N, I) a sample", "headgate's networks read sequences (N, T, I)"
            )
        if node.mask is not None:
            mask = (self.flows[node.mask[0]].name, node.mask[1])
            if any(flow.mask != mask for flow in flows):
                raise item.refused("a mask= of its own", "use Masking or mask_zero=True")
        self.notes += item.left_out()
        self.flows[node.name] = make(self, item, flows)

    def _input(self, node: Node) -> Flow:
        rank, single = len(node.shape), node.single
        if rank not in (2, 3) or (rank == 3 and node.shape[-1] is None):
            raise InputError(
                f"the model's input {node.name!r} has shape {node.shape}; headgate's networks "
                "read (N, T, I) values, or (N, T) tokens that go into an Embedding"
            )
        if rank == 2:
            name = "tokens" if single else self.new_name(node.name)
            self.inputs.append(InputSpec(name, 1, "tokens"))
        else:
            name = "x" if single else self.new_name(node.name)
            self.inputs.append(InputSpec(name, node.shape[-1]))
        return Flow(name)

    def new_name(self, wanted: str) -> str:
        """Keras's name of a layer, made into one that headgate takes and that is not there yet."""
        name = re.sub(r"[^A-Za-z0-9_]", "_", wanted)
        if not name[:1].isalpha() or name in RESERVED_NAMES:
            name = f"layer_{name}"
        taken = {part.name for part in self.inputs} | {part.name for part in self.layers}
        name, count = name[:56], 1
        made = name
        while made in taken:
            count += 1
            made = f"{name}_{count}"
        return made

    def add(
        self,
        kind: type[LayerSpec],
        item: KerasLayer,
        flows: list[Flow],
        tensors: dict[str, Array] | None = None,
        **options: Any,
    ) -> str:
        """Append a layer of headgate's; its name."""
        name = self.new_name(options.pop("name", item.name))
        self.layers.append(kind(name=name, inputs=tuple(flow.name for flow in flows), **options))
        for key, array in (tensors or {}).items():
            self.tensors[f"{name}.{key}"] = array
        return name

    def end(self, item: KerasLayer, activation: Any) -> None:
        """Note the activation of what may be the last layer; refuse those that are none."""
        if activation not in (*HIDDEN, *TASKS):
            raise item.refused(
                f"activation={shown(activation)}",
                f"there are {', '.join(HIDDEN)}, and at the end {' and '.join(TASKS)}",
            )
        if activation in TASKS:
            self.ending = (item.name, activation)

    def network(self) -> Network:
        task = "regression" if self.ending is None else TASKS[self.ending[1]]
        net = Network(NetworkSpec(tuple(self.inputs), tuple(self.layers), task=task), seed=0)
        net.load_state_dict(self.tensors)
        if any(np.any(part != 0) for parts in self.states.values() for part in parts):
            net.state = self._state(net)
        return net

    def _state(self, net: Network) -> Any:
        """What the stateful layers hold, as ``net.state``; zeros for the others."""
        rows = len(next(iter(self.states.values()))[0])
        state: dict[str, Any] = {}
        for stack in net.spec.recurrent():
            kinds, shape = len(stack.states), (stack.directions, rows, stack.hidden_size)
            held = self.states.get(stack.name)
            parts = tuple(
                np.stack(held[k::kinds]) if held else np.zeros(shape, np.float32)
                for k in range(kinds)
            )
            state[stack.name] = parts if kinds > 1 else parts[0]
        return state


# -- what becomes of each kind of layer -----------------------------------------------------------


def _recurrent(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    (flow,) = flows
    cell: Cell = read_cell(item, masked=flow.mask is not None)
    if item.kind == "Bidirectional":
        reader.notes += KerasLayer(item.layer.forward_layer, item.place).left_out()
    name = reader.add(cell.kind, item, flows, cell.tensors(), **cell.options)
    if cell.states:
        reader.states[name] = cell.states
        reader.notes.append(
            f"{item} is stateful: Keras goes on from its last batch, headgate begins with zeros "
            "unless it is told: net.predict(x, state=net.state, return_state=True)"
        )
    if cell.every:
        return Flow(name, mask=flow.mask)
    return Flow(reader.add(Last, item, [Flow(name)], name=f"{name}_last"), pooled=True)


def _dense(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    dense = item
    if item.kind == "TimeDistributed":
        dense = KerasLayer(item.layer.layer, item.place)
        if dense.kind != "Dense":
            raise item.refused(f"the layer {dense} in it", "it may hold a Dense layer")
        dense.check_class()
        reader.notes += dense.left_out()
    activation = dense.config.get("activation")
    kernel, *bias = dense.arrays(2 if dense.config.get("use_bias", True) else 1)
    reader.end(item, activation)
    weight = np.ascontiguousarray(kernel.T)
    tensors = {"weight": weight, "bias": bias[0] if bias else np.zeros(len(weight), np.float32)}
    hidden = activation if activation in HIDDEN else "linear"
    name = reader.add(Dense, item, flows, tensors, size=len(weight), activation=hidden)
    return flows[0]._replace(name=name)


def _activation(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    """An activation by itself belongs to the linear Dense layer before it, or ends the model."""
    (flow,) = flows
    activation = item.config.get("activation", item.kind.lower())
    if item.kind == "Softmax" and item.config.get("axis") != -1:
        raise item.refused(f"axis={shown(item.config.get('axis'))}", "use axis=-1")
    if item.kind == "ReLU":
        odd = {key: item.config.get(key) for key in ("max_value", "negative_slope", "threshold")}
        if any(odd.values()):
            raise item.refused(f"an option of {shown(odd)}", "use a plain ReLU")
    reader.end(item, activation)
    if activation in (*TASKS, "linear"):
        return flow
    last = reader.layers[-1] if reader.layers else None
    if not isinstance(last, Dense) or last.name != flow.name or last.activation != "linear":
        raise item.refused(
            f"a {activation} that is not directly behind a linear Dense layer",
            f"use Dense(..., activation={activation!r})",
        )
    reader.layers[-1] = Dense(last.name, last.inputs, last.size, activation)
    for name, other in reader.flows.items():
        if other.name == last.name:
            reader.flows[name] = other._replace(changed=True)
    return flow


def _embedding(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    (table,) = item.arrays(1)
    name = reader.add(
        Embedding,
        item,
        flows,
        {"weight": table},
        vocabulary=table.shape[0],
        size=table.shape[1],
        trainable=bool(getattr(item.layer, "trainable", True)),
    )
    if item.config.get("mask_zero"):
        reader.notes.append(_mask_note(item, "token 0", "unmasked(tokens)"))
        return Flow(name, mask=(flows[0].name, 0.0))
    return Flow(name)


def _masking(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    (flow,) = flows
    if flow.name not in {part.name for part in reader.inputs}:
        raise item.refused("a mask found in what other layers put out", "put it first")
    value = item.config.get("mask_value")
    if not isinstance(value, (int, float)):
        raise item.refused(f"mask_value={shown(value)}", "use a number")
    reader.notes.append(_mask_note(item, f"steps of {value}", f"unmasked(x, {value})"))
    return flow._replace(mask=(flow.name, float(value)))


def _mask_note(item: KerasLayer, what: str, call: str) -> str:
    return (
        f"{item} masks {what}, which headgate's layers do not; give them sequences without: "
        f"net.predict(headgate.keras.{call})"
    )


def _dropout(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    (flow,) = flows
    rate, noise = item.config.get("rate", 0.0), item.config.get("noise_shape")
    shared = item.kind == "SpatialDropout1D"
    if noise is not None and tuple(noise[:1] + noise[2:]) == (None, None) and noise[1] == 1:
        shared, noise = True, None
    if noise is not None:
        raise item.refused(
            f"noise_shape={shown(noise)}", "leave it out, or use (None, 1, None), one mask a series"
        )
    name = reader.add(Dropout, item, flows, rate=rate, per_sequence=shared and not flow.pooled)
    return flow._replace(name=name)


def _pool(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    (flow,) = flows
    for option, value in (("data_format", "channels_last"), ("keepdims", False)):
        if item.config.get(option, value) != value:
            raise item.refused(f"{option}={shown(item.config[option])}", f"use {value!r}")
    mean = item.kind == "GlobalAveragePooling1D"
    if flow.mask is not None and not mean:
        raise item.refused(
            "the largest value over masked steps as well",
            "GlobalAveragePooling1D leaves them out",
        )
    return Flow(reader.add(Mean if mean else MaxPool, item, flows), pooled=True)


def _join(reader: _Reader, item: KerasLayer, flows: list[Flow]) -> Flow:
    if len({flow.mask for flow in flows}) > 1:
        raise item.refused(
            "joining parts of which some are masked, or masked otherwise,", "mask both, or neither"
        )
    if item.kind == "Add":
        return flows[0]._replace(name=reader.add(Add, item, flows))
    last = 1 if flows[0].pooled else 2
    if item.config.get("axis") not in (-1, last):
        raise item.refused(f"axis={shown(item.config.get('axis'))}", "use axis=-1, the features")
    return flows[0]._replace(name=reader.add(Concat, item, flows))


_Maker = Callable[[_Reader, KerasLayer, list[Flow]], Flow]
_MAKERS: dict[str, _Maker] = {
    **dict.fromkeys((*CELLS, "Bidirectional"), _recurrent),
    "Embedding": _embedding,
    "Masking": _masking,
    **dict.fromkeys(("Dense", "TimeDistributed"), _dense),
    **dict.fromkeys(("Activation", "ReLU", "Softmax"), _activation),
    **dict.fromkeys(("Dropout", "SpatialDropout1D"), _dropout),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalMaxPooling1D"), _pool),
    **dict.fromkeys(("Concatenate", "Add"), _join),
}
LAYERS = tuple(_MAKERS)
