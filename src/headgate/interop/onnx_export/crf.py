"""A conditional random field in a graph: the classes' probabilities, and the best classes.

Both go over the steps forwards and back, as ``headgate.reference.crf`` has it. At every step the
sums are taken down by their largest, which neither a softmax nor an argmax sees: they would grow
with the sequence, and rounding would blur what tells classes apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .graph import Array, Graph


class Chain(NamedTuple):
    """Sequences of scores by time, ``e`` (T, N, C), in float or double as ``kind`` says.

    ``first`` (T, 1, 1) and ``last`` (T, N, 1) are true at the first and the last step of each
    sequence, ``zeros`` is (N, C); ``transitions`` (C, C), ``start`` and ``end`` (C,).
    """

    kind: str
    classes: int
    e: str
    first: str
    last: str
    zeros: str
    transitions: str
    start: str
    end: str
    name: str


def chain_of(
    graph: Graph, name: str, scores: str, lengths: str, tensors: Mapping[str, Array], kind: str
) -> Chain:
    """What both need of ``scores`` (N, T, C); ``lengths`` (N,) or "" where all fill T steps."""
    classes = len(tensors["start"])
    dtype = np.float32 if kind == "float" else np.float64
    by_time = graph.transpose(scores, (1, 0, 2), f"{name}.scores")
    e = by_time if kind == "float" else graph.cast(by_time, kind, f"{name}.scores_{kind}")
    rows = graph.size(scores, 0, f"{name}.rows")
    steps = graph.size(scores, 1, f"{name}.steps")
    if not lengths:
        count = graph.unsqueeze(rows, 0, f"{name}.rows_1")
        lengths = graph.op("Expand", [steps, count], f"{name}.lengths")
    t = graph.op(
        "Reshape", [graph.count(steps, f"{name}.t"), graph.ints(-1, 1, 1)], f"{name}.t_column"
    )
    first = graph.op("Equal", [t, graph.index(0)], f"{name}.first")
    ends = graph.op("Sub", [lengths, graph.index(1)], f"{name}.ends")
    column = graph.op("Reshape", [ends, graph.ints(1, -1, 1)], f"{name}.ends_column")
    last = graph.op("Equal", [t, column], f"{name}.last")
    zeros = graph.zeros([rows, graph.index(classes)], dtype, f"{name}.zeros")
    end = "" if kind == "float" else f"_{kind}"
    weights = {
        key: graph.weight(f"{name}.{key}{end}", tensors[key].astype(dtype))
        for key in ("transitions", "start", "end")
    }
    return Chain(kind, classes, e, first, last, zeros, name=f"{name}{end}", **weights)


def probabilities(graph: Graph, chain: Chain) -> str:
    """p(y_t = j), (N, T, C): the softmax of all that leads to a class and all that follows it."""
    before = _forwards(graph, chain, "ReduceLogSumExp")
    after = _backwards(graph, chain)
    both = graph.op("Add", [before, after], f"{chain.name}.both")
    by_time = graph.op("Softmax", [both], f"{chain.name}.by_time", axis=-1)
    return graph.transpose(by_time, (1, 0, 2), f"{chain.name}.probabilities")


def best_path(graph: Graph, chain: Chain) -> str:
    """The most probable sequence of classes (N, T), int64 (Viterbi 1967)."""
    name = chain.name
    best = _forwards(graph, chain, "ReduceMax")
    ended = graph.op("Add", [best, chain.end], f"{name}.ended")
    arriving = graph.transpose(chain.transitions, (1, 0), f"{name}.arriving")  # row j: into j
    rows = graph.size(chain.zeros, 0, f"{name}.rows")
    nobody = graph.zeros([rows], np.int64, f"{name}.nobody")
    body = graph.body()
    behind = body.takes(f"{name}.behind", "int64", ("N",))
    best_step = body.takes(f"{name}.best_step", chain.kind, ("N", chain.classes))
    ended_step = body.takes(f"{name}.ended_step", chain.kind, ("N", chain.classes))
    is_last = body.takes(f"{name}.is_last", "bool", ("N", 1))
    into = body.op("Gather", [arriving, behind], f"{name}.into", axis=0)
    ways = body.op("Add", [best_step, into], f"{name}.ways")
    chosen = body.op("Where", [is_last, ended_step, ways], f"{name}.chosen")
    here = body.op("ArgMax", [chosen], f"{name}.here", axis=1, keepdims=0)
    body.gives(here, "int64", ("N",), f"{name}.here_next")
    body.gives(here, "int64", ("N",), f"{name}.here_step")
    wanted = [f"{name}.first_class", f"{name}.path_by_time"]
    made = graph.scan(body, [nobody], [best, ended, chain.last], wanted, backwards=True)
    return graph.transpose(made.steps[0], (1, 0), f"{name}.path")


def _forwards(graph: Graph, chain: Chain, reduction: str) -> str:
    """(T, N, C): the log of all that leads to each class, or the best of it."""
    name = f"{chain.name}.{'best' if reduction == 'ReduceMax' else 'before'}"
    body, row = graph.body(), ("N", chain.classes)
    carried = body.takes(f"{name}_carried", chain.kind, row)
    e = body.takes(f"{name}_e", chain.kind, row)
    is_first = body.takes(f"{name}_is_first", "bool", (1, 1))
    column = body.unsqueeze(carried, 2, f"{name}_column")
    ways = body.op("Add", [column, chain.transitions], f"{name}_ways")
    inner = body.reduce(reduction, ways, 1, f"{name}_inner")
    led = body.op("Where", [is_first, chain.start, inner], f"{name}_led")
    new = _taken_down(body, body.op("Add", [e, led], f"{name}_sum"), f"{name}_new")
    body.gives(new, chain.kind, row, f"{name}_next")
    body.gives(new, chain.kind, row, f"{name}_step")
    made = graph.scan(body, [chain.zeros], [chain.e, chain.first], [f"{name}_last", name])
    return made.steps[0]


def _backwards(graph: Graph, chain: Chain) -> str:
    """(T, N, C): the log of all that follows each class."""
    name = f"{chain.name}.after"
    body, row = graph.body(), ("N", chain.classes)
    carried = body.takes(f"{name}_carried", chain.kind, row)
    e = body.takes(f"{name}_e", chain.kind, row)
    is_last = body.takes(f"{name}_is_last", "bool", ("N", 1))
    beside = body.unsqueeze(carried, 1, f"{name}_beside")
    ways = body.op("Add", [beside, chain.transitions], f"{name}_ways")
    inner = body.reduce("ReduceLogSumExp", ways, 2, f"{name}_inner")
    follows = body.op("Where", [is_last, chain.end, inner], f"{name}_follows")
    new = _taken_down(body, follows, f"{name}_new")
    body.gives(body.op("Add", [e, new], f"{name}_sum"), chain.kind, row, f"{name}_next")
    body.gives(new, chain.kind, row, f"{name}_step")
    wanted = [f"{name}_first", name]
    made = graph.scan(body, [chain.zeros], [chain.e, chain.last], wanted, backwards=True)
    return made.steps[0]


def _taken_down(body: Graph, value: str, name: str) -> str:
    largest = body.reduce("ReduceMax", value, 1, f"{name}_largest", keep=True)
    return body.op("Sub", [value, largest], name)
