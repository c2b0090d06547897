"""A whole network as ONNX nodes: from what ``predict`` takes to what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...data.chains import checked_weights
from ...layer_specs import Recurrent
from ...spec import NetworkSpec
from .crf import best_path, chain_of, probabilities
from .graph import Array, Graph
from .layers import Written, keep, layer_nodes
from .recurrent import Batch, stack_nodes


class Inputs(NamedTuple):
    """A network's inputs as values of the graph, zero past each length; and the batch's lengths."""

    values: dict[str, str]
    batch: Batch


class Outputs(NamedTuple):
    """What a network gives.

    Attributes:
        scores: of the last layer, (N, O) or (N, T, O).
        predictions: what ``predict`` makes of them, zero past each length.
        path: what ``decode`` gives, (N, T); "" without a CRF.
        ends: the state's parts after each sequence's last step, by stack.
    """

    scores: str
    predictions: str
    path: str
    ends: dict[str, list[str]]


def network_inputs(graph: Graph, spec: NetworkSpec, with_lengths: bool) -> Inputs:
    """The graph's inputs: one for each of the network's, and ``lengths`` (N,) if asked for."""
    values = {}
    for item in spec.inputs:
        if item.kind == "values":
            values[item.name] = graph.takes(item.name, "float", ("N", "T", item.size))
        else:
            wide = (item.size,) if item.size > 1 else ()
            values[item.name] = graph.takes(item.name, "int64", ("N", "T", *wide))
    if not with_lengths:
        return Inputs(values, Batch())
    lengths = graph.takes("lengths", "int64", ("N",))
    return kept_inputs(graph, spec, values, lengths)


def kept_inputs(graph: Graph, spec: NetworkSpec, values: dict[str, str], lengths: str) -> Inputs:
    """``values`` with zeros past each length, so that no padding, NaN or any token, matters."""
    batch = batch_of(graph, next(iter(values.values())), lengths)
    kept = {}
    for item in spec.inputs:
        name = f"{item.name}.kept"
        if item.kind == "values":
            kept[item.name] = keep(graph, batch, values[item.name], name, 0.0)
            continue
        where = batch.valid
        if item.size > 1:
            where = graph.unsqueeze(where, 2, f"{name}_where")
        kept[item.name] = graph.op("Where", [where, values[item.name], graph.index(0)], name)
    return Inputs(kept, batch)


def batch_of(graph: Graph, value: str, lengths: str) -> Batch:
    """Lengths (N,), and which steps of ``value`` (N, T, ...) they leave."""
    steps = graph.count(graph.size(value, 1, "steps"), "t")
    column = graph.unsqueeze(lengths, 1, "lengths_column")
    return Batch(lengths, graph.op("Less", [steps, column], "valid"))


def network_nodes(
    graph: Graph,
    spec: NetworkSpec,
    tensors: Mapping[str, Array],
    inputs: Inputs,
    starts: Mapping[str, list[str]] | None = None,
) -> Outputs:
    """A network over its inputs.

    Args:
        tensors: parameters by full name, as ``state_dict`` has them.
        starts: the initial state's parts, each (L*D, N, H), by stack; None for zeros.
    """
    values = dict(inputs.values)
    ends: dict[str, list[str]] = {}
    weights: dict[str, str] = {}
    path = predictions = ""
    scores = ""
    for layer in spec.layers:
        prefix = f"{layer.name}."
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        read = [values[name] for name in layer.inputs]
        if isinstance(layer, Recurrent):
            given = (starts or {}).get(layer.name, [])
            made, ends[layer.name] = stack_nodes(graph, layer, own, read[0], inputs.batch, given)
        elif layer.kind == "crf":
            made = read[0]
            predictions, path = _tagged(graph, layer.name, made, own, inputs.batch.lengths)
        else:
            ports = [spec.ports[name] for name in layer.inputs]
            made = layer_nodes(graph, Written(layer, read, ports, own, inputs.batch, weights))
        values[layer.name] = scores = made
    if spec.task == "classification":
        predictions = graph.op("Softmax", [scores], "softmax", axis=-1)
    elif spec.task == "binary":
        predictions = graph.op("Sigmoid", [scores], "sigmoid")
    elif spec.task == "regression":
        predictions = scores
    if not spec.pooled:
        predictions = keep(graph, inputs.batch, predictions, "predictions_kept", 0.0)
        if path and inputs.batch.valid:
            zero = graph.index(0)
            path = graph.op("Where", [inputs.batch.valid, path, zero], "path_kept")
    return Outputs(scores, predictions, path, ends)


def _tagged(
    graph: Graph, name: str, scores: str, tensors: Mapping[str, Array], lengths: str
) -> tuple[str, str]:
    """A CRF's probabilities, in float32, and its best classes, in float64, as in the engine."""
    keys = ("transitions", "start", "end")
    weights = checked_weights(*(tensors[key] for key in keys), classes=len(tensors["start"]))
    wide = dict(zip(keys, weights, strict=True))
    return (
        probabilities(graph, chain_of(graph, name, scores, lengths, tensors, "float")),
        best_path(graph, chain_of(graph, name, scores, lengths, wide, "double")),
    )
