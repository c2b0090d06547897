"""What the files of all estimators share: members averaged, and labels for class numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...spec import NetworkSpec
from .graph import Array, Graph, Shape
from .network import Inputs, network_nodes


class Ensemble(NamedTuple):
    """Networks of one spec, whose predictions are averaged: the parameters of each."""

    spec: NetworkSpec
    tensors: Sequence[Mapping[str, Array]]


def member_outputs(graph: Graph, ensemble: Ensemble, inputs: Inputs) -> list[str]:
    """What each member predicts; names of several begin with ``member0.``, ``member1.``, ..."""
    outputs = []
    before = graph.prefix
    for k, tensors in enumerate(ensemble.tensors):
        if len(ensemble.tensors) > 1:
            graph.prefix = f"{before}member{k}."
        outputs.append(network_nodes(graph, ensemble.spec, tensors, inputs).predictions)
        graph.prefix = before
    return outputs


def mean_of(graph: Graph, outputs: Sequence[str]) -> str:
    """Their mean in float64, added up in order as the estimators do."""
    wide = [graph.cast(value, "double", f"{value}_double") for value in outputs]
    total = wide[0]
    for value in wide[1:]:
        total = graph.op("Add", [total, value], "members_sum")
    if len(wide) == 1:
        return total
    count = graph.number("members", float(len(wide)), np.float64)
    return graph.op("Div", [total, count], "members_mean")


def reals(graph: Graph, wanted: str, values: Any) -> str:
    """A float64 initializer."""
    return graph.constant(wanted, np.asarray(values, np.float64))


def give_probabilities(graph: Graph, mean: str, shape: Shape) -> None:
    """The output ``probabilities``, float32."""
    graph.gives(graph.cast(mean, "float", "probabilities_float"), "float", shape, "probabilities")


def give_class(graph: Graph, mean: str, classes: Array) -> None:
    """The outputs of a classifier: ``probabilities`` (N, C) and ``label`` (N,)."""
    give_probabilities(graph, mean, ("N", len(classes)))
    codes = graph.op("ArgMax", [mean], "codes", axis=1, keepdims=0)
    labels, kind = labels_of(graph, codes, classes)
    graph.gives(labels, kind, ("N",), "label")


def labels_of(graph: Graph, codes: str, classes: Array) -> tuple[str, str]:
    """The labels of class numbers, and their type in ONNX: texts, whole numbers, floats, flags."""
    kinds = {"b": ("bool", np.bool_), "i": ("int64", np.int64), "u": ("int64", np.int64)}
    kinds["f"] = ("double", np.float64)
    kind, dtype = kinds.get(classes.dtype.kind, ("string", np.object_))
    known = np.array([str(label) for label in classes.tolist()], object)
    table = graph.weight("classes", known if kind == "string" else classes.astype(dtype))
    return graph.op("Gather", [table, codes], "labels", axis=0), kind
