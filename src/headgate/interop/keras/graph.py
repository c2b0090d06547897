"""What reads what in a Keras model: its layers in order, each with the names of those it reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...checks import as_number, shown
from ...errors import InputError
from .layers import CELLS, KerasLayer, weights_of

MASK_OPERATIONS = ("NotEqual", "Any")  # with which Keras 3 writes Masking and mask_zero down


class Node(NamedTuple):
    """A layer and what it reads, by name; without ``item`` an input of ``shape`` (N, T[, I]).

    ``mask``: the layer or input whose values are compared, and the value that is padding, where a
    functional model says so; elsewhere a mask goes from layer to layer unsaid.
    """

    name: str
    item: KerasLayer | None = None
    reads: tuple[str, ...] = ()
    mask: tuple[str, float] | None = None
    shape: tuple[Any, ...] = ()
    single: bool = True


def nodes_of(model: Any) -> list[Node]:
    """Inputs and layers of a model, each behind what it reads; the last is the output.

    Raises:
        InputError: it is no Keras model that says what reads what, has several outputs, or uses a
            layer twice.
    """
    kind = type(model).__name__
    has_both = callable(getattr(model, "get_config", None)) and hasattr(model, "get_weights")
    if isinstance(model, type) or not has_both:
        raise InputError(
            f"expected a Keras model or a recurrent Keras layer, got {shown(model)}; for a file "
            "pass its path to headgate.keras.load"
        )
    if kind in ("Sequential", "Functional", "Model"):
        KerasLayer(model).check_class()
    if kind == "Sequential":
        return _chain(list(_flat(model)), _input_shape(model))
    if kind in ("Functional", "Model") and hasattr(model, "layers"):
        return _graph(model)
    if kind in (*CELLS, "Bidirectional"):
        side = model.forward_layer if kind == "Bidirectional" else model
        found = weights_of(side)
        shape = (None, None, found[0].shape[0] if found else 1)
        return _chain([model], shape, alone=True)
    if hasattr(model, "layers"):
        raise InputError(
            f"model {model.name!r} ({kind}) does not say which layer reads which; headgate reads "
            "keras.Sequential and keras.Model(inputs, outputs)"
        )
    raise InputError(
        f"layer {model.name!r} ({kind}) is no network by itself; recurrent layers are: "
        f"{', '.join(CELLS)}, Bidirectional"
    )


def _chain(layers: list[Any], shape: tuple[Any, ...], *, alone: bool = False) -> list[Node]:
    nodes = [Node("", shape=shape)]
    for place, layer in enumerate(layers, 1):
        item = KerasLayer(layer, 0 if alone else place)
        uses = sum(other is layer for other in layers)
        if uses > 1:
            raise _used_often(item, uses)
        nodes.append(Node(item.name, item, (nodes[-1].name,)))
    return nodes


def _flat(model: Any) -> Iterator[Any]:
    """The layers of a Sequential and of those in it."""
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "Sequential":
            KerasLayer(layer).check_class()
            yield from _flat(layer)
        elif kind != "InputLayer":
            yield layer


def _input_shape(model: Any) -> tuple[Any, ...]:
    if not model.layers:
        raise InputError(f"model {model.name!r} has no layers")
    if not model.built:
        raise InputError(
            f"model {model.name!r} has no weights yet; build it first, by an Input layer or by "
            "calling it on data"
        )
    first = model.get_config()["layers"][0]["config"]  # of the Input layer, where there is one
    shape = getattr(model, "input_shape", None) or first.get("batch_shape")
    if not shape:
        raise InputError(
            f"model {model.name!r} does not say what it reads; begin it with keras.Input((None, I))"
        )
    return tuple(shape)


def _graph(model: Any) -> list[Node]:
    config = model.get_config()
    inputs = [name for name, _, _ in _histories(config["input_layers"])]
    outputs = [name for name, _, _ in _histories(config["output_layers"])]
    if len(outputs) != 1:
        raise InputError(
            f"model {model.name!r} has the outputs {outputs}; headgate's networks have one: make a "
            "keras.Model for each"
        )
    layers = {layer.name: layer for layer in model.layers}
    masks: dict[str, tuple[str, float]] = {}
    nodes, place = [], 0
    for entry in config["layers"]:
        kind, calls = entry["class_name"], entry["inbound_nodes"]
        name = entry["config"].get("name") or entry["name"]
        if kind == "InputLayer":
            shape = entry["config"].get("batch_shape") or entry["config"]["batch_input_shape"]
            nodes.append(Node(name, shape=tuple(shape), single=len(inputs) == 1))
        elif name in layers:
            place += 1
            who = f"layer {place}, {name!r} ({kind})"
            reads, mask = _call(who, calls, masks)
            nodes.append(Node(name, KerasLayer(layers[name], place), reads, mask))
        elif kind in MASK_OPERATIONS:
            masks[name] = _mask(calls[0]["args"], masks)
        else:
            raise InputError(
                f"{name!r} ({kind}), an operation and no layer, has no counterpart in headgate; of "
                "a recurrent layer's steps return_sequences=False gives the last"
            )
    return nodes


def _mask(args: list[Any], masks: dict[str, tuple[str, float]]) -> tuple[str, float]:
    """What NotEqual(x, value) compares, which Any over the features hands on."""
    (source, _, _) = next(_histories(args))
    if source in masks:
        return masks[source]
    value = as_number(args[1]) if len(args) > 1 else math.nan  # nan: equal to no mask
    return source, value


def _call(
    who: str, calls: list[Any], masks: dict[str, tuple[str, float]]
) -> tuple[tuple[str, ...], tuple[str, float] | None]:
    """Names of what a layer reads, and its mask, from the record of how it was called."""
    if len(calls) != 1:
        raise _used_often(who, len(calls))
    (call,) = calls
    # Keras 3 has {"args": ..., "kwargs": ...}, Keras 2 a list of [name, node, tensor, kwargs]
    if isinstance(call, dict):
        args, options = call["args"], [call["kwargs"]]
    else:
        args, options = [part[:3] for part in call], [part[3] for part in call if len(part) > 3]
    passed = {
        key: name
        for part in options
        for key, value in part.items()
        for name, _, _ in _histories(value)
    }
    mask = masks.get(passed.pop("mask")) if passed.get("mask") in masks else None
    if passed or any(part.get("training") for part in options):
        what = f"{next(iter(passed))}=" if passed else "training=True"
        raise InputError(
            f"{who} is called with {what}, which has no counterpart in headgate; predict has "
            "state= and lengths="
        )
    found = list(_histories(args))
    odd = [name for name, _, tensor in found if tensor or name in masks]
    if odd:
        raise InputError(
            f"{who} reads a mask, or a second output such as a state, of {odd[0]!r}; headgate's "
            "layers have one output: use return_state=False"
        )
    return tuple(name for name, _, _ in found), mask


def _used_often(who: object, times: int) -> InputError:
    return InputError(
        f"{who} is used {times} times; a layer of headgate's stands in one place: make a layer for "
        "each"
    )


def _histories(value: Any) -> Iterator[tuple[str, int, int]]:
    """Every (layer, node, tensor) that is named in a part of a configuration."""
    if isinstance(value, dict):
        if "keras_history" in value:
            yield tuple(value["keras_history"])
        else:
            for part in value.values():
                yield from _histories(part)
    elif isinstance(value, (list, tuple)):
        if len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], int):
            yield (value[0], value[1], int(value[2]))
        else:
            for part in value:
                yield from _histories(part)
