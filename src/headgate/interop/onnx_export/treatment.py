"""What a forecaster's Treatment does to series before the networks, and undoes after them.

``models.forecasting.treatment`` as nodes, in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .graph import Array, Graph
from .members import reals

HIGHEST = 700.0  # logarithm: what lies above would be infinite, as in the treatment
END = np.iinfo(np.int64).max


class Own(NamedTuple):
    """What is known of each series in: ``series`` (N,) are numbers of those in training, or ""
    where there was one."""

    graph: Graph
    series: str

    def column(self, name: str, facts: Array) -> str:
        """(N, 1), or (1, 1), of facts (M,) about the series in training."""
        if not self.series:
            return self.graph.constant(name, np.asarray(facts).reshape(1, 1))
        table = self.graph.weight(name, np.asarray(facts))
        mine = self.graph.op("Gather", [table, self.series], f"{name}.own", axis=0)
        return self.graph.unsqueeze(mine, 1, f"{name}.column")


class Treated:
    """A treatment, with what it knows of each series as values of the graph."""

    def __init__(self, treatment: Any, own: Own, quantiles: int) -> None:
        self.treatment = treatment
        self.own, self.quantiles = own, quantiles
        self.constant = treatment.scale == 0
        divisor = np.where(self.constant, 1.0, treatment.scale)
        self.offset = own.column("treatment.offset", treatment.offset)
        self.divisor = own.column("treatment.scale", divisor)
        self.indices = ""
        if treatment.method == "indices":
            self.indices = own.graph.weight("treatment.indices", treatment.indices)
        self.log = ""
        if treatment.log.any() and not treatment.log.all():
            self.log = own.column("treatment.log", treatment.log)
        self.is_constant = ""
        if self.constant.any():
            self.is_constant = own.column("treatment.constant", self.constant)


def lift(graph: Graph, treated: Treated, values: str, name: str) -> str:
    """The logarithm where the treatment takes it."""
    if not treated.treatment.log.any():
        return values
    logs = graph.op("Log", [values], f"{name}.log")
    if not treated.log:
        return logs
    return graph.op("Where", [treated.log, logs, values], f"{name}.lifted")


def lower(graph: Graph, treated: Treated, lifted: str, name: str) -> str:
    """The inverse of :func:`lift`, of (N, H)."""
    if not treated.treatment.log.any():
        return lifted
    kept = graph.op("Min", [lifted, reals(graph, "highest_log", HIGHEST)], f"{name}.kept")
    value = graph.op("Exp", [kept], f"{name}.exp")
    if not treated.log:
        return value
    return graph.op("Where", [treated.log, value, lifted], name)


def treat(graph: Graph, treated: Treated, values: str, place: str) -> str:
    """As the networks see the series, float32: (N, S), or (N, S - m) of differences.

    ``place`` (N, 1) is where in the series the step behind ``values`` (N, S) stands.
    """
    treatment = treated.treatment
    season = treatment.indices.shape[1]
    rest = lift(graph, treated, values, "values")
    if treatment.method == "indices":
        size = graph.size(values, 1, "S")
        back = graph.op("Sub", [graph.count(size, "t"), size], "t_from_end")
        rest = graph.op("Sub", [rest, _season(graph, treated, place, back, "values")], "deseasoned")
    elif treatment.method == "difference":
        later = graph.slice(rest, season, END, 1, "values.later")
        earlier = graph.slice(rest, 0, -season, 1, "values.earlier")
        rest = graph.op("Sub", [later, earlier], "deseasoned")
    centred = graph.op("Sub", [rest, treated.offset], "values.centred")
    scaled = graph.op("Div", [centred, treated.divisor], "values.scaled")
    return graph.cast(scaled, "float", "treated")


def restore(
    graph: Graph, treated: Treated, paths: str, values: str, series: str, place: str, steps: int
) -> str:
    """What the networks put out, (N, h, Q), as lifted values again."""
    treatment = treated.treatment
    if treated.is_constant:  # a constant series: its own last value, nothing else
        last = graph.cast(graph.slice(series, -1, END, 1, "last"), "double", "last.double")
        flat = graph.unsqueeze(last, 2, "last.path")
        dead = graph.unsqueeze(treated.is_constant, 2, "is_constant")
        paths = graph.op("Where", [dead, flat, paths], "paths.alive")
    scale = graph.unsqueeze(treated.divisor, 2, "scale.path")
    offset = graph.unsqueeze(treated.offset, 2, "offset.path")
    paths = graph.op("Mul", [paths, scale], "paths.scaled")
    paths = graph.op("Add", [paths, offset], "paths.offset")
    if treatment.method == "indices":
        ahead = graph.constant(f"first_{steps}", np.arange(steps, dtype=np.int64))
        index = graph.unsqueeze(_season(graph, treated, place, ahead, "paths"), 2, "paths.index")
        return graph.op("Add", [paths, index], "paths.season")
    if treatment.method == "difference":
        return _added_up(graph, treated, paths, values, steps)
    return paths


def _season(graph: Graph, treated: Treated, place: str, steps: str, name: str) -> str:
    """The indices (N, S) at ``steps`` (S,) from ``place`` (N, 1)."""
    count = graph.index(treated.treatment.indices.shape[1])
    at = graph.op("Add", [place, steps], f"{name}.place")
    phase = graph.op("Mod", [at, count], f"{name}.phase")
    if not treated.own.series:
        row = graph.squeeze(treated.indices, 0, f"{name}.indices")
        return graph.op("Gather", [row, phase], f"{name}.index", axis=0)
    rows = graph.op("Gather", [treated.indices, treated.own.series], f"{name}.indices", axis=0)
    return graph.op("GatherElements", [rows, phase], f"{name}.index", axis=1)


def _added_up(graph: Graph, treated: Treated, paths: str, values: str, steps: int) -> str:
    """Differences on top of one season earlier: known values first, then what was forecast."""
    season = treated.treatment.season
    middle = treated.quantiles // 2
    lifted = lift(graph, treated, values, "base")
    base = graph.slice(lifted, -season, END, 1, "base.known")
    done = []
    for begin in range(0, steps, season):
        end = min(begin + season, steps)
        part = graph.slice(paths, begin, end, 1, "paths.part")
        if end - begin < season:
            base = graph.slice(base, 0, end - begin, 1, "base.part")
        column = graph.unsqueeze(base, 2, "base.column")
        done.append(graph.op("Add", [part, column], "paths.added"))
        base = graph.op("Gather", [done[-1], graph.index(middle)], "base.forecast", axis=2)
    return done[0] if len(done) == 1 else graph.op("Concat", done, "paths.added_up", axis=1)
