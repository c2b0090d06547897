"""Recurrent stacks as ONNX: the operators GRU, LSTM and RNN, and a Scan where there is none.

ONNX has no layer normalisation inside a cell, so those layers are a Scan whose body is the cell
written out, as ``headgate.reference`` has it. Dropout does nothing in a prediction and is left out.

The operators are used as ONNX Runtime runs them on every device: layout 0 (its CPU has no other),
``linear_before_reset`` always written (the default, 0, is not PyTorch's cell), lengths as int32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...gate_layout import CellWeights, to_onnx
from ...layer_specs import GRU, RNN, Recurrent
from .cells import STEPS, Step, normalised_product
from .graph import Array, Graph

SUFFIXES = ("", "_reverse")


class Batch(NamedTuple):
    """What all layers of a graph share of the batch.

    ``lengths`` (N,) int64 and ``valid`` (N, T) booleans, true where a sequence has a step; both
    "" where all sequences fill T steps.
    """

    lengths: str = ""
    valid: str = ""


class Run(NamedTuple):
    """One layer of a stack, with what it reads, as values of the graph."""

    stack: Recurrent
    layer: int
    tensors: Mapping[str, Array]  # of the stack, by short name
    x: str  # (T, N, I)
    starts: list[str]  # the state's parts, each (D, N, H); none for zeros
    name: str  # for the layer's values

    def tensor(self, key: str, direction: int) -> Array:
        return self.tensors[f"{key}_l{self.layer}{SUFFIXES[direction]}"]


def stack_nodes(
    graph: Graph, stack: Recurrent, tensors: Mapping[str, Array], x: str, batch: Batch,
    starts: list[str],
) -> tuple[str, list[str]]:  # fmt: skip
    """A recurrent stack over ``x`` (N, T, I).

    Args:
        tensors: the stack's parameters by short name, such as ``weight_ih_l0``.
        starts: its initial state, (L*D, N, H) for each part of it; none for zeros.

    Returns:
        The outputs (N, T, D*H), whatever past each length, and the state after the last valid
        step, as ``starts``.
    """
    layer = _normalised_layer if stack.layer_norm else _operator
    depth, count, size = stack.num_layers, stack.directions, stack.hidden_size
    u = graph.transpose(x, (1, 0, 2), f"{stack.name}.by_time")
    ends: list[list[str]] = []
    for k in range(depth):
        name = f"{stack.name}.l{k}"
        own = [_part_of_state(graph, part, k, count, depth, name) for part in starts]
        steps, end = layer(graph, Run(stack, k, tensors, u, own, name), batch)
        ends.append(end)
        if count == 1:
            h = graph.squeeze(steps, 1, f"{name}.h")
        else:
            beside = graph.transpose(steps, (0, 2, 1, 3), f"{name}.beside")
            h = graph.reshape(beside, (0, 0, count * size), f"{name}.h")
        u = graph.op("Add", [h, u], f"{name}.residual") if stack.residual and k else h
    after = [
        part[0] if depth == 1 else graph.op("Concat", part, f"{stack.name}.{name}_end", axis=0)
        for name, part in zip(stack.states, map(list, zip(*ends, strict=True)), strict=True)
    ]
    return graph.transpose(u, (1, 0, 2), f"{stack.name}.steps"), after


def _part_of_state(graph: Graph, part: str, k: int, count: int, depth: int, name: str) -> str:
    if depth == 1:
        return part
    return graph.slice(part, k * count, (k + 1) * count, 0, f"{name}.start")


# -- the operators -------------------------------------------------------------------------------


def _operator(graph: Graph, run: Run, batch: Batch) -> tuple[str, list[str]]:
    """(T, D, N, H) and the end of each part of the state, (D, N, H)."""
    stack, name = run.stack, run.name
    count = stack.directions
    each = [
        to_onnx(CellWeights(*(run.tensor(key, d) for key in CellWeights._fields)))
        for d in range(count)
    ]
    weights = [
        graph.weight(f"{name}.{what}", np.stack([getattr(own, what) for own in each]))
        for what in ("W", "R", "B")
    ]
    lengths = ""
    if batch.lengths:
        lengths = graph.cast(batch.lengths, "int32", f"{name}.lengths")
    attributes: dict[str, object] = {
        "hidden_size": stack.hidden_size,
        "direction": "bidirectional" if stack.bidirectional else "forward",
    }
    if isinstance(stack, GRU):
        attributes["linear_before_reset"] = int(stack.reset_after)
    if isinstance(stack, RNN):
        attributes["activations"] = [stack.nonlinearity.capitalize()] * count
    steps, *ends = graph.nodes_of(
        stack.kind.upper(),
        [run.x, *weights, lengths, *run.starts],
        [f"{name}.directions", *(f"{name}.{part}_end" for part in stack.states)],
        **attributes,
    )
    return steps, ends


# -- layer normalisation -------------------------------------------------------------------------


def _normalised_layer(graph: Graph, run: Run, batch: Batch) -> tuple[str, list[str]]:
    """As :func:`_operator`, a Scan for each direction."""
    made = [_scan(graph, run, d, batch) for d in range(run.stack.directions)]
    halves = [graph.unsqueeze(steps, 1, f"{run.name}.direction") for steps, _ in made]
    parts = zip(*(ends for _, ends in made), strict=True)
    return _joined(graph, halves, 1, f"{run.name}.directions"), [
        _joined(
            graph,
            [graph.unsqueeze(end, 0, f"{run.name}.{part}_of_direction") for end in ends],
            0,
            f"{run.name}.{part}_end",
        )
        for part, ends in zip(run.stack.states, parts, strict=True)
    ]


def _joined(graph: Graph, parts: list[str], axis: int, name: str) -> str:
    return parts[0] if len(parts) == 1 else graph.op("Concat", parts, name, axis=axis)


def _scan(graph: Graph, run: Run, direction: int, batch: Batch) -> tuple[str, list[str]]:
    """One direction: its steps (T, N, H) and the end of each part of the state, (N, H)."""
    stack, size = run.stack, run.stack.hidden_size
    name = f"{run.name}{SUFFIXES[direction]}"
    end = f"_l{run.layer}{SUFFIXES[direction]}"
    own = {
        key: graph.weight(f"{stack.name}.{key}{end}", run.tensor(key, direction))
        for key in (*CellWeights._fields, "norm_ih", "norm_hh")
    }
    # What the input gives to all steps at once; the state's part is in the body.
    product = normalised_product(
        graph, run.x, (own["weight_ih"], own["norm_ih"]), (stack.gates, size), f"{name}.input",
        leading=2,
    )  # fmt: skip
    steps = [graph.op("Add", [product, own["bias_ih"]], f"{name}.from_input")]
    if batch.valid:
        by_time = graph.transpose(batch.valid, (1, 0), f"{name}.valid_by_time")
        steps.append(graph.unsqueeze(by_time, 2, f"{name}.valid"))
    if run.starts:
        starts = [
            graph.op("Gather", [part, graph.index(direction)], f"{name}.start", axis=0)
            for part in run.starts
        ]
    else:
        sizes = [graph.size(run.x, 1, f"{name}.rows"), graph.index(size)]
        starts = [graph.zeros(sizes, np.float32, f"{name}.zeros")] * len(stack.states)
    body = graph.body()
    before = [body.takes(f"{name}.{part}", "float", ("N", size)) for part in stack.states]
    a = body.takes(f"{name}.a", "float", ("N", stack.gates * size))
    valid = body.takes(f"{name}.is_valid", "bool", ("N", 1)) if batch.valid else ""
    after = STEPS[stack.cell](Step(body, a, before, own, size, f"{name}.step"))
    if valid:  # a step past the end changes nothing, so a reverse layer starts at each last step
        after = [
            body.op("Where", [valid, new, old], f"{name}.kept")
            for new, old in zip(after, before, strict=True)
        ]
    for value, part in zip(after, stack.states, strict=True):
        body.gives(value, "float", ("N", size), f"{name}.{part}_next")
    body.gives(after[0], "float", ("N", size), f"{name}.h_step")
    wanted = [*(f"{name}.{part}_last" for part in stack.states), f"{name}.h_steps"]
    scanned = graph.scan(body, starts, steps, wanted, backwards=direction == 1)
    return scanned.steps[0], scanned.last
