"""Networks from and to the JSON files of RTNeural (Chowdhury 2021, arXiv 2106.03037).

Read from RTNeural's ``model_loader.h`` and ``python/model_utils.py``: ``in_shape``, and ``layers``
with ``type``, ``activation``, ``shape`` and Keras's ``weights``. The activation of a gru or lstm is
ignored there, that of a dense layer is a layer of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..checks import parse_json
from ..errors import HeadgateError, InputError, ModelFileError
from ..files import check_path, write_beside_and_rename
from ..gate_layout import CellWeights, from_rtneural, read_dense, to_rtneural
from ..network import Network
from ..spec import GRU, LSTM, Dense, Dropout, InputSpec, Last, LayerSpec, NetworkSpec, Recurrent

CELLS: dict[str, type[Recurrent]] = {"gru": GRU, "lstm": LSTM}
DENSE = ("dense", "time-distributed-dense")
ACTIVATIONS = {"": "linear", "tanh": "tanh", "relu": "relu"}
NAMES = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
TASKS = {"sigmoid": "binary", "softmax": "classification"}
OUTPUTS = {task: activation for activation, task in TASKS.items()}


# -- reading -------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Network:
    """The network in an RTNeural file; see ``Network.from_rtneural``.

    Raises:
        ModelFileError: it cannot be read, is none, or has layers without a counterpart.
    """
    name = check_path(path)
    try:
        file = Path(name).expanduser()
        if file.exists() and not file.is_file():  # a named pipe would wait for ever
            raise ModelFileError(f"{name!r} is not a regular file")
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{name!r} cannot be read: {reason}; check the path") from None
    try:
        spec, tensors = network_of(parse_json(content, "it"))
        net = Network(spec)
        net.load_state_dict(tensors)
        return net
    except InputError as error:
        raise ModelFileError(f"{name!r} is no network that headgate has: {error}") from None


def network_of(data: Any) -> tuple[NetworkSpec, dict[str, Any]]:
    """The spec and the parameters of RTNeural's parsed JSON; raises InputError."""
    shape = data.get("in_shape") if isinstance(data, Mapping) else None
    items = data.get("layers") if isinstance(data, Mapping) else None
    if not isinstance(shape, list) or not isinstance(items, list) or not items:
        raise InputError('an RTNeural file is an object with "in_shape" and "layers"')
    width = shape[-1] if shape else None
    if len(shape) == 4 or isinstance(width, bool) or not isinstance(width, int):
        raise InputError(f"in_shape must end in the number of inputs, got {shape!r:.100}")
    layers: list[LayerSpec] = []
    tensors: dict[str, Any] = {}
    task = "regression"
    first = InputSpec("x", width)
    for k, item in enumerate(_joined(items)):
        if task != "regression":
            raise InputError(f"layer {k} stands behind a sigmoid or softmax, which must be last")
        reads = layers[-1].name if layers else "x"
        kind = item["type"]
        made: LayerSpec
        if kind in CELLS:
            made, found = _recurrent(f"{kind}{k}", reads, item)
            got = found.input_size
            tensors |= {f"{made.name}.{key}_l0": part for key, part in found._asdict().items()}
        else:
            activation = item.get("activation", "")
            task = TASKS.get(activation, task)
            weight, bias = read_dense(item, "rtneural")
            got = weight.shape[1]
            made = Dense(
                f"dense{k}",
                (reads,),
                size=len(weight),
                activation=ACTIVATIONS.get(activation, "linear"),
            )
            tensors |= {f"{made.name}.weight": weight, f"{made.name}.bias": bias}
        if got != width:
            raise InputError(f"layer {k} ({kind}) reads {got} features, and {width} come in")
        width = made.output_size(width)
        layers.append(made)
    return NetworkSpec((first,), tuple(layers), task=task), tensors


def _recurrent(name: str, reads: str, item: Mapping[str, Any]) -> tuple[Recurrent, CellWeights]:
    weights = from_rtneural(item)
    return CELLS[weights.cell](name, (reads,), hidden_size=weights.hidden_size), weights


def _joined(items: list[Any]) -> Iterator[dict[str, Any]]:
    """Layers with weights, an "activation" behind a dense one joined to it."""
    before: dict[str, Any] | None = None
    for k, item in enumerate(items):
        kind = item.get("type") if isinstance(item, Mapping) else None
        activation = item.get("activation", "") if isinstance(item, Mapping) else None
        if kind not in (*CELLS, *DENSE, "activation"):
            raise InputError(
                f"layer {k} is of type {kind!r:.100}, which has no counterpart; known are gru, "
                "lstm, dense, time-distributed-dense and activation"
            )
        if kind not in CELLS and activation not in (*ACTIVATIONS, *TASKS):
            raise InputError(
                f"layer {k} ({kind}) has the activation {activation!r:.100}, which has no "
                "counterpart; known are tanh, relu, and sigmoid and softmax at the end"
            )
        if kind != "activation":
            if before is not None:
                yield before
            before = dict(item)
        elif activation:
            if before is None or before["type"] in CELLS or before.get("activation"):
                raise InputError(f"layer {k} (activation) does not stand behind a linear dense one")
            before["activation"] = activation
    if before is not None:
        yield before


# -- writing -------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], net: Network) -> None:
    """Write a network as an RTNeural file, whole or not at all; see ``Network.to_rtneural``."""
    content = json.dumps(json_of(net.spec, net.state_dict())).encode()
    try:
        write_beside_and_rename(path, content)
    except InputError:
        raise
    except HeadgateError as error:
        raise ModelFileError(str(error)) from error


def json_of(spec: NetworkSpec, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """A network as RTNeural's JSON; raises InputError naming what RTNeural lacks."""
    if len(spec.inputs) != 1 or spec.inputs[0].kind != "values":
        raise InputError("RTNeural reads one input of values, no tokens; this network has others")
    if spec.scaling.kind != "none":
        raise InputError("RTNeural has no scaling, and this network has; scale values outside it")
    layers: list[dict[str, Any]] = []
    reads = spec.inputs[0].name
    for layer in spec.layers:
        if layer.inputs != (reads,):
            raise InputError(
                f"layer {layer.name!r} reads {', '.join(layer.inputs)}; RTNeural's layers read the "
                f"one before, here {reads!r}"
            )
        reads = layer.name
        if isinstance(layer, Recurrent):
            layers += _written_stack(layer, tensors)
        elif isinstance(layer, Dense):
            weight, bias = tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"]
            layers.append(
                {
                    "type": "dense",
                    "activation": NAMES[layer.activation],
                    "shape": [None, None, layer.size],
                    "weights": [weight.T.tolist(), bias.tolist()],
                }
            )
        elif not isinstance(layer, (Dropout, Last)):
            raise InputError(
                f"RTNeural has no counterpart of layer {layer.name!r} ({layer.kind}); it has gru, "
                "lstm and dense"
            )
    if spec.task in OUTPUTS:
        if layers[-1]["type"] != "dense" or layers[-1]["activation"]:
            raise InputError(f"task={spec.task!r} needs a linear dense layer at the end")
        layers[-1]["activation"] = OUTPUTS[spec.task]
    return {"in_shape": [None, None, spec.input_size], "layers": layers}


def _written_stack(stack: Recurrent, tensors: Mapping[str, Any]) -> list[dict[str, Any]]:
    for option in ("bidirectional", "residual", "layer_norm"):
        if getattr(stack, option):
            raise InputError(f"RTNeural has no {option}, and layer {stack.name!r} has")
    return [
        to_rtneural(
            CellWeights(*(tensors[f"{stack.name}.{key}_l{k}"] for key in CellWeights._fields))
        )
        for k in range(stack.num_layers)
    ]
