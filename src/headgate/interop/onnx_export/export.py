"""Networks as ONNX models: one graph, written with the ``onnx`` package and checked.

From what a network's ``predict`` takes to what it gives; batch and time may have any size.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import SupportsIndex

import onnx
from onnx import ModelProto, helper

from ...checks import shown
from ...errors import InputError
from ...spec import NetworkSpec
from ...version import __version__
from .graph import Array, Graph
from .network import network_inputs, network_nodes

OPSETS = range(14, 23)
OPSET = 17
LARGEST = (1 << 31) - (1 << 20)  # bytes: protobuf ends at 2 GiB


def network_model(
    spec: NetworkSpec,
    tensors: Mapping[str, Array],
    *,
    opset: int = OPSET,
    lengths: bool = False,
    state: bool = False,
) -> ModelProto:
    """A network as a checked ONNX model; arguments as in ``headgate.onnx.export``."""
    graph = Graph(check_opset(opset))
    check_weights(tensors)
    own = {"y", "path", *(["lengths"] if lengths else [])}
    for item in spec.inputs:
        if item.name in own:
            raise InputError(
                f"the network's input {item.name!r} is named as an input or output that the file "
                f"has beside it; give it another name than {', '.join(sorted(own))}"
            )
    inputs = network_inputs(graph, spec, lengths)
    starts = states_in(graph, spec) if state else None
    made = network_nodes(graph, spec, tensors, inputs, starts)
    steps = () if spec.pooled else ("T",)
    graph.gives(made.predictions, "float", ("N", *steps, spec.output_size), "y")
    if made.path:
        graph.gives(made.path, "int64", ("N", "T"), "path")
    if state:
        states_out(graph, spec, made.ends)
    return model_of(graph, _described(spec), {"headgate.spec": spec.to_json()})


def states_in(graph: Graph, spec: NetworkSpec) -> dict[str, list[str]]:
    """An input for each part of each stack's state, by stack."""
    stacks = spec.recurrent()
    if not stacks:
        raise InputError("this network has no recurrent layer, so it has no state; leave state out")
    return {
        stack.name: [
            graph.takes(
                f"state.{name}",
                "float",
                (stack.num_layers * stack.directions, "N", stack.hidden_size),
            )
            for name in stack.state_names()
        ]
        for stack in stacks
    }


def states_out(graph: Graph, spec: NetworkSpec, ends: Mapping[str, list[str]]) -> None:
    """An output for each part of each stack's state."""
    for stack in spec.recurrent():
        shape = (stack.num_layers * stack.directions, "N", stack.hidden_size)
        for name, end in zip(stack.state_names(), ends[stack.name], strict=True):
            graph.gives(end, "float", shape, f"next_state.{name}")


def _described(spec: NetworkSpec) -> str:
    layers = " -> ".join(f"{layer.kind} {layer.name}" for layer in spec.layers)
    given = {
        "regression": "values",
        "classification": "the classes' probabilities",
        "binary": "probabilities, one for each output",
        "tagging": "the classes' probabilities at each step, path the best classes together",
    }
    return f"{layers}; N sequences of T steps in, y: {given[spec.task]}"


# -- models and files ----------------------------------------------------------------------------


def check_opset(opset: object) -> int:
    """Raises InputError for an opset that cannot be written, here or at all."""
    number = operator.index(opset) if isinstance(opset, SupportsIndex) else None
    if isinstance(opset, bool) or number not in OPSETS:
        raise InputError(
            f"opset must be a whole number from {OPSETS[0]} to {OPSETS[-1]}, got {shown(opset)}; "
            f"{OPSET} runs nearly everywhere"
        )
    assert number is not None
    known = onnx.defs.onnx_opset_version()
    if number > known:
        raise InputError(
            f"opset={number} needs a newer onnx than {onnx.__version__}, which knows opsets up to "
            f"{known}; upgrade it, or pass opset={min(known, OPSET)}"
        )
    return number


def check_weights(tensors: Mapping[str, Array]) -> None:
    """Raises InputError where a file could not hold them."""
    size = sum(4 * tensor.size for tensor in tensors.values())
    if size > LARGEST:
        raise InputError(
            f"the parameters take {size} bytes, and an ONNX file ends at 2 GiB; export a smaller "
            "network"
        )


def model_of(graph: Graph, description: str, facts: Mapping[str, str]) -> ModelProto:
    """The graph as a model that the checker has passed, with ``facts`` as its metadata."""
    opsets = [helper.make_opsetid("", graph.opset)]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "headgate", graph.inputs, graph.outputs, graph.initializers,
            doc_string=description,
        ),
        opset_imports=opsets,
        # the oldest that this opset allows, so that runtimes of its time read the file
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="headgate",
        producer_version=__version__,
        doc_string=description,
    )  # fmt: skip
    helper.set_model_props(model, {"headgate.version": __version__, **facts})
    onnx.checker.check_model(model, full_check=True)
    return model
