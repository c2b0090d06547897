"""Every layer but the recurrent ones as ONNX nodes, each as ``headgate.reference.layers`` has it.

``x`` is (N, T, F), or (N, F) behind a read-out. What stands past a sequence's length is finite,
and no read-out looks at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...graph import Port
from ...layer_specs import Attention, Dense, Embedding
from .graph import Array, Graph
from .recurrent import Batch


class Written(NamedTuple):
    """A layer to be written: what it reads, as values of the graph and as the spec knows them.

    ``weights`` are names of initializers that stand there already: the tables of embeddings.
    """

    layer: Any
    inputs: list[str]
    ports: list[Port]
    tensors: Mapping[str, Array]
    batch: Batch
    weights: dict[str, str]

    def named(self, what: str) -> str:
        return f"{self.layer.name}.{what}"


def layer_nodes(graph: Graph, written: Written) -> str:
    """The layer's output."""
    return LAYERS[written.layer.kind](graph, written)


# -- on every row ------------------------------------------------------------------------------


def _dense(graph: Graph, written: Written) -> str:
    layer: Dense = written.layer
    (x,) = written.inputs
    bias = graph.weight(written.named("bias"), written.tensors["bias"])
    if layer.tied:
        weight = written.weights[layer.tied]
    else:
        weight = graph.weight(written.named("weight"), written.tensors["weight"])
    name = written.named("scores")
    if written.ports[0].pooled_by:
        y = graph.op("Gemm", [x, weight, bias], name, transB=1)
    else:
        rotated = graph.transpose(weight, (1, 0), written.named("weight_by_input"))
        product = graph.op("MatMul", [x, rotated], written.named("product"))
        y = graph.op("Add", [product, bias], name)
    if layer.activation == "linear":
        return y
    return graph.op(layer.activation.capitalize(), [y], written.named("activated"))


def _embedding(graph: Graph, written: Written) -> str:
    layer: Embedding = written.layer
    (tokens,) = written.inputs
    table = graph.weight(written.named("weight"), written.tensors["weight"])
    written.weights[layer.name] = table
    rows = graph.op("Gather", [table, tokens], written.named("vectors"), axis=0)
    if written.ports[0].width == 1:  # tokens (N, T)
        return rows
    if layer.padding_index is not None:  # of several columns (N, T, K) it is left out
        padding = graph.index(layer.padding_index)
        is_padding = graph.op("Equal", [tokens, padding], written.named("is_padding"))
        at = graph.unsqueeze(is_padding, 3, written.named("is_padding_row"))
        zero = graph.number("zero", 0.0)
        rows = graph.op("Where", [at, zero, rows], written.named("vectors_kept"))
    return graph.reduce("ReduceSum", rows, 2, written.named("sum"))


def _dropout(graph: Graph, written: Written) -> str:
    return written.inputs[0]  # the identity in a prediction


def _concat(graph: Graph, written: Written) -> str:
    return graph.op("Concat", written.inputs, written.named("joined"), axis=-1)


def _add(graph: Graph, written: Written) -> str:
    total = written.inputs[0]
    for value in written.inputs[1:]:
        total = graph.op("Add", [total, value], written.named("sum"))
    return total


# -- one vector of a sequence ------------------------------------------------------------------


def _last(graph: Graph, written: Written) -> str:
    return _last_step(graph, written)


def _last_step(graph: Graph, written: Written) -> str:
    """(N, F) at each last valid step; what the reverse direction put out at the first step."""
    (x,), (port,) = written.inputs, written.ports
    name, lengths = written.named("last"), written.batch.lengths
    if lengths:
        ends = graph.op("Sub", [lengths, graph.index(1)], f"{name}_step")
        place = graph.unsqueeze(ends, 1, f"{name}_place")
        end = graph.op("GatherND", [x, place], name, batch_dims=1)
    else:
        end = graph.op("Gather", [x, graph.index(-1)], name, axis=1)
    if port.split == port.width:
        return end
    begin = graph.op("Gather", [x, graph.index(0)], written.named("first"), axis=1)
    forward = graph.slice(end, 0, port.split, 1, written.named("last_forward"))
    reverse = graph.slice(begin, port.split, port.width, 1, written.named("first_reverse"))
    return graph.op("Concat", [forward, reverse], written.named("both_ends"), axis=1)


def _mean(graph: Graph, written: Written) -> str:
    (x,), batch = written.inputs, written.batch
    if not batch.lengths:
        return graph.reduce("ReduceMean", x, 1, written.named("mean"))
    kept = keep(graph, batch, x, written.named("kept"), 0.0)
    total = graph.reduce("ReduceSum", kept, 1, written.named("total"))
    count = graph.cast(batch.lengths, "float", written.named("count"))
    column = graph.unsqueeze(count, 1, written.named("count_column"))
    return graph.op("Div", [total, column], written.named("mean"))


def _max(graph: Graph, written: Written) -> str:
    (x,) = written.inputs
    kept = keep(graph, written.batch, x, written.named("kept"), -math.inf)
    return graph.reduce("ReduceMax", kept, 1, written.named("max"))


def _attention(graph: Graph, written: Written) -> str:
    layer: Attention = written.layer
    (x,), (port,), tensors = written.inputs, written.ports, written.tensors
    weight = graph.weight(written.named("weight"), tensors["weight"])
    rotated = graph.transpose(weight, (1, 0), written.named("weight_by_input"))
    if layer.score == "additive":
        product = graph.op("MatMul", [x, rotated], written.named("product"))
        bias = graph.weight(written.named("bias"), tensors["bias"])
        inner = graph.op("Add", [product, bias], written.named("inner"))
        squashed = graph.op("Tanh", [inner], written.named("squashed"))
        query = graph.weight(written.named("query"), tensors["query"])
        column = graph.unsqueeze(query, 1, written.named("query_column"))
        scores = graph.op("MatMul", [squashed, column], written.named("scores"))  # (N, T, 1)
    else:
        asked = graph.op("MatMul", [_last_step(graph, written), rotated], written.named("query"))
        column = graph.unsqueeze(asked, 2, written.named("query_column"))
        product = graph.op("MatMul", [x, column], written.named("product"))
        root = graph.number(f"root_{port.width}", math.sqrt(port.width))
        scores = graph.op("Div", [product, root], written.named("scores"))
    scores = keep(graph, written.batch, scores, written.named("scores_kept"), -math.inf)
    weights = graph.op("Softmax", [scores], written.named("weights"), axis=1)
    by_row = graph.transpose(weights, (0, 2, 1), written.named("weights_by_row"))
    mean = graph.op("MatMul", [by_row, x], written.named("weighted"))
    return graph.squeeze(mean, 1, written.named("output"))


def keep(graph: Graph, batch: Batch, x: str, name: str, otherwise: float) -> str:
    """``x`` (N, T, F) at valid steps, ``otherwise`` elsewhere."""
    if not batch.valid:
        return x
    valid = graph.unsqueeze(batch.valid, 2, f"{name}_where")
    number = graph.number("zero" if otherwise == 0 else "minus_infinity", otherwise)
    return graph.op("Where", [valid, x, number], name)


LAYERS: dict[str, Callable[[Graph, Written], str]] = {
    "dense": _dense,
    "embedding": _embedding,
    "dropout": _dropout,
    "concat": _concat,
    "add": _add,
    "last": _last,
    "mean": _mean,
    "max": _max,
    "attention": _attention,
}
