"""SequenceClassifier and SequenceRegressor as graphs: raw sequences in, labels or numbers out.

What ``models.sequences.reading`` makes of a sequence is made here in float64 too, as nodes:
standardised values, averaged down where sequences are long, their differences, and the logarithm
of the length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Array, Graph
from .members import (
    Ensemble,
    give_class,
    mean_of,
    member_outputs,
    reals,
)
from .network import Inputs, kept_inputs
from .recurrent import Batch


def classifier_graph(
    graph: Graph, ensemble: Ensemble, reading: Any, classes: Array, with_lengths: bool
) -> None:
    """Outputs ``probabilities`` (N, C) and ``label`` (N,)."""
    inputs = _inputs(graph, ensemble, reading, with_lengths)
    give_class(graph, mean_of(graph, member_outputs(graph, ensemble, inputs)), classes)


def regressor_graph(
    graph: Graph, ensemble: Ensemble, reading: Any, targets: tuple[Array, Array], single: bool,
    with_lengths: bool,
) -> None:  # fmt: skip
    """Output ``y`` (N,) or (N, K), float64; ``targets`` are their shift and scale, (K,) each."""
    inputs = _inputs(graph, ensemble, reading, with_lengths)
    mean = mean_of(graph, member_outputs(graph, ensemble, inputs))
    shift, scale = targets
    wide = graph.op("Mul", [mean, reals(graph, "target.scale", scale)], "target.scaled")
    y = graph.op("Add", [wide, reals(graph, "target.shift", shift)], "target.shifted")
    if single:
        graph.gives(graph.squeeze(y, 1, "target.single"), "double", ("N",), "y")
    else:
        graph.gives(y, "double", ("N", len(shift)), "y")


def _inputs(graph: Graph, ensemble: Ensemble, reading: Any, with_lengths: bool) -> Inputs:
    """The graph's inputs, read; ``reading`` is a ``models.sequences.reading.Reading``."""
    x = graph.takes("x", "float", ("N", "T", reading.channels))
    given = graph.takes("lengths", "int64", ("N",)) if with_lengths else ""
    wide = graph.cast(x, "double", "x.double")
    centred = graph.op("Sub", [wide, reals(graph, "x.shift", reading.shift)], "x.centred")
    steps = graph.op("Div", [centred, reals(graph, "x.scale", reading.scale)], "x.scaled")
    lengths = given
    if not given:
        rows = graph.unsqueeze(graph.size(x, 0, "N"), 0, "rows")
        lengths = graph.op("Expand", [graph.size(x, 1, "T"), rows], "all_steps")
    real_lengths = graph.cast(lengths, "double", "lengths.double")
    if reading.factor > 1:
        steps, lengths = _averaged(graph, steps, lengths, real_lengths, reading.factor)
    parts = [steps, _differences(graph, steps, reading.slopes)]
    if reading.length_scale > 0:
        parts.append(_long(graph, steps, real_lengths, reading))
    read = graph.cast(graph.op("Concat", parts, "x.parts", axis=2), "float", "x.read")
    name = ensemble.spec.inputs[0].name
    if not given:  # all of one length: averaged or not, every sequence fills its steps
        return Inputs({name: read}, Batch())
    return kept_inputs(graph, ensemble.spec, {name: read}, lengths)


def _differences(graph: Graph, steps: str, slopes: Any) -> str:
    """From the step before, zero at the first, over what is usual."""
    t = graph.count(graph.size(steps, 1, "steps"), "t")
    earlier = graph.op("Sub", [t, graph.index(1)], "t_before")
    place = graph.op("Max", [earlier, graph.index(0)], "t_before_kept")
    before = graph.op("Gather", [steps, place], "x.before", axis=1)
    moves = graph.op("Sub", [steps, before], "x.moves")
    return graph.op("Div", [moves, reals(graph, "x.slopes", slopes)], "x.slope")


def _long(graph: Graph, steps: str, lengths: str, reading: Any) -> str:
    """The logarithm of each sequence's length, beside every step: (N, T, 1)."""
    logs = graph.op("Log", [lengths], "length.log")
    shift, scale = (
        reals(graph, f"length.{what}", getattr(reading, f"length_{what}"))
        for what in ("shift", "scale")
    )
    scaled = graph.op("Div", [graph.op("Sub", [logs, shift], "length.centred"), scale], "length.x")
    column = graph.op("Reshape", [scaled, graph.ints(-1, 1, 1)], "length.column")
    count = graph.unsqueeze(graph.size(steps, 1, "steps"), 0, "steps_1")
    shape = graph.op("Concat", [graph.ints(1), count, graph.ints(1)], "length.shape", axis=0)
    return graph.op("Expand", [column, shape], "length.beside")


def _averaged(
    graph: Graph, steps: str, lengths: str, real_lengths: str, factor: float
) -> tuple[str, str]:
    """Means over equal parts of each sequence, whose ends may lie within a step; new lengths.

    As ``models.sequences.reading`` has it: differences of the running sum at those ends.
    """
    one = reals(graph, "one_double", 1.0)
    parts = graph.op("Div", [real_lengths, reals(graph, "factor", factor)], "mean.parts")
    count = graph.op("Max", [graph.op("Round", [parts], "mean.rounded"), one], "mean.count")
    counts = graph.cast(count, "int64", "mean.lengths")
    most = graph.op("ReduceMax", [counts], "mean.most", keepdims=0)
    edges = graph.op("Add", [most, graph.index(1)], "mean.edges")
    k = graph.cast(graph.count(edges, "mean.k"), "double", "mean.k_double")
    size = graph.unsqueeze(
        graph.op("Div", [real_lengths, count], "mean.size"), 1, "mean.size_column"
    )
    ends = graph.op("Mul", [k, size], "mean.ends")  # (N, K + 1)
    floor = graph.cast(ends, "int64", "mean.floor")
    column = graph.unsqueeze(lengths, 1, "mean.lengths_column")
    whole = graph.op("Min", [floor, column], "mean.whole")
    rest = graph.op("Sub", [ends, graph.cast(whole, "double", "mean.whole_double")], "mean.rest")
    inside = graph.unsqueeze(rest, 2, "mean.inside")
    nothing = graph.op("Mul", [graph.slice(steps, 0, 1, 1, "mean.first_step"),
                               reals(graph, "zero_double", 0.0)], "mean.nothing")  # fmt: skip
    running = graph.op("CumSum", [steps, graph.index(1)], "mean.running")
    total = graph.op("Concat", [nothing, running], "mean.total", axis=1)
    at = graph.op("GatherND", [total, graph.unsqueeze(whole, 2, "mean.at")], "mean.up_to",
                  batch_dims=1)  # fmt: skip
    last = graph.op("Sub", [column, graph.index(1)], "mean.last")
    within = graph.unsqueeze(graph.op("Min", [whole, last], "mean.within"), 2, "mean.within_at")
    partly = graph.op("GatherND", [steps, within], "mean.partly", batch_dims=1)
    sums = graph.op("Add", [at, graph.op("Mul", [inside, partly], "mean.part")], "mean.sums")
    upper = graph.slice(sums, 1, np.iinfo(np.int64).max, 1, "mean.upper")
    lower = graph.slice(sums, 0, -1, 1, "mean.lower")
    means = graph.op("Sub", [upper, lower], "mean.difference")
    width = graph.unsqueeze(size, 2, "mean.width")
    return graph.op("Div", [means, width], "mean.steps"), counts
