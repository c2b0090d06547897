"""GRUForecaster as a graph: raw values in, forecasts and intervals in the same units out.

All in float64 but for the networks, as ``models.forecasting`` does it: logarithms, seasons,
offsets and scales by series, windows, covariates, and blocks of steps of which each is made from
the one before. Series must be those of the training data: what a new one is treated with is
learned from all of it, which a graph cannot.

Letters: N series in, T values of each, H steps, Q quantiles, K columns known beside the values, M
series in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...checks import check_size
from .graph import Array, Graph
from .members import Ensemble, mean_of, member_outputs, reals
from .network import Inputs
from .recurrent import Batch
from .treatment import Own, Treated, lower, restore, treat

END = np.iinfo(np.int64).max
MOST_STEPS = 1 << 16


class Block(NamedTuple):
    """What a block of steps is made from, as values of the graph it is made in.

    ``values`` (N, S) float64 end where it begins, at step ``place`` (N, 1) of the series ("" where
    that plays no part); ``known`` (N, S, K) and ``ahead`` (N, R, ...) float32, or "".
    """

    values: str
    place: str
    known: str
    ahead: str


def forecaster_graph(
    graph: Graph, ensemble: Ensemble, model: Any, horizon: int | None, level: Any
) -> dict[str, Any]:
    """Output ``y`` (N, H) float64, and ``lo_80``, ``hi_80`` for each level; returns metadata."""
    steps = (
        model.horizon_ if horizon is None else check_size("horizon", horizon, maximum=MOST_STEPS)
    )
    levels = model._check_level(level)
    cut, features = model.cut_, model.features_
    values = _enough(graph, graph.takes("values", "double", ("N", "T")), cut.least)
    count = len(model.treatment_)
    series = graph.takes("series", "int64", ("N",)) if count > 1 else ""
    own = Own(graph, series)
    quantiles = max(len(model.ensemble_.quantiles), 1)
    treated = Treated(model.treatment_, own, quantiles)
    place = ""
    if model.treatment_.method == "indices":
        position = graph.takes("position", "int64", ("N",))
        first = graph.op("Add", [position, graph.size(values, 1, "T")], "place")
        place = graph.unsqueeze(first, 1, "place_column")
    known, ahead = _covariates(graph, features, values, cut)
    blocks = _Blocks(ensemble, treated, cut, quantiles)
    paths = blocks.paths(graph, Block(values, place, known, ahead), steps)
    _give(graph, model, treated, values, paths, (steps, levels))
    return {
        "horizon": steps, "levels": list(levels), "least": cut.least,
        "series": list(map(str, model.panel_.ids)), "past": list(features.past),
        "future": list(features.future), "static": list(features.static),
        "categories": [list(names) for names in features.categories],
    }  # fmt: skip


def _enough(graph: Graph, values: str, least: int) -> str:
    """The values; a runtime that is given fewer than ``least`` stops, where predict refuses."""
    one = graph.op("Gather", [values, graph.ints(least - 1)], "values.least_number", axis=1)
    never = graph.op("Less", [graph.size(values, 1, "T"), graph.index(0)], "never")
    return graph.op("Where", [never, one, values], "values.enough")


# -- covariates ----------------------------------------------------------------------------------


def _covariates(graph: Graph, features: Any, values: str, cut: Any) -> tuple[str, str]:
    """What is known at each value (N, T, K), and of what is known ahead all steps behind them."""
    known, ahead = [], []
    split = len(features.past)
    steps = graph.size(values, 1, "T")
    if features.past:
        past = graph.takes("past", "double", ("N", "T", split))
        known.append(_scaled(graph, past, features, slice(0, split), "past"))
    if features.future:
        future = graph.takes("future", "double", ("N", "T_and_H", len(features.future)))
        scaled = _scaled(graph, future, features, slice(split, None), "future")
        now = graph.unsqueeze(steps, 0, "T_1")
        bounds = [graph.ints(0), now, graph.ints(1)], [now, graph.ints(END), graph.ints(1)]
        known.append(graph.op("Slice", [scaled, *bounds[0]], "future.known"))
        ahead.append(graph.op("Slice", [scaled, *bounds[1]], "future.ahead"))
    if features.static:
        codes = graph.takes("static", "int64", ("N", len(features.static)))
        hot = _one_hot(graph, codes, features.categories)
        known.append(_beside(graph, hot, steps, "static.known"))
        if ahead:
            later = graph.size(ahead[0], 1, "steps_ahead")
            ahead.append(_beside(graph, hot, later, "static.ahead"))
    both = [
        parts[0] if len(parts) == 1 else graph.op("Concat", parts, name, axis=2) if parts else ""
        for parts, name in ((known, "known"), (ahead, "ahead"))
    ]
    if ahead:  # a last block may reach past the horizon, where nothing is known
        rows = graph.size(values, 0, "N")
        room, width = cut.ahead * cut.segment, cut.columns - cut.hidden
        sizes = [rows, graph.index(room), graph.index(width)]
        zeros = graph.zeros(sizes, np.float32, "ahead.nothing")
        both[1] = graph.op("Concat", [both[1], zeros], "ahead.padded", axis=1)
    return both[0], both[1]


def _scaled(graph: Graph, value: str, features: Any, which: slice, name: str) -> str:
    mean = reals(graph, f"{name}.mean", features.mean[which])
    scale = reals(graph, f"{name}.scale", features.scale[which])
    centred = graph.op("Sub", [value, mean], f"{name}.centred")
    return graph.cast(graph.op("Div", [centred, scale], f"{name}.wide"), "float", f"{name}.scaled")


def _one_hot(graph: Graph, codes: str, categories: Sequence[Sequence[str]]) -> str:
    """(N, 1, C) float32 of category numbers (N, S)."""
    columns = []
    for k, names in enumerate(categories):
        code = graph.slice(codes, k, k + 1, 1, f"static{k}.code")
        numbers = graph.constant(f"static{k}.numbers", np.arange(len(names), dtype=np.int64))
        equal = graph.op("Equal", [code, numbers], f"static{k}.is")
        columns.append(graph.cast(equal, "float", f"static{k}.one_hot"))
    hot = columns[0]
    if len(columns) > 1:
        hot = graph.op("Concat", columns, "static.one_hot", axis=1)
    return graph.unsqueeze(hot, 1, "static.row")


def _beside(graph: Graph, row: str, steps: str, name: str) -> str:
    """(N, 1, C) at as many steps."""
    count = graph.unsqueeze(steps, 0, f"{name}.steps")
    parts = [graph.ints(1), count, graph.ints(1)]
    return graph.op("Expand", [row, graph.op("Concat", parts, f"{name}.shape", axis=0)], name)


# -- blocks --------------------------------------------------------------------------------------


class _Blocks(NamedTuple):
    """How blocks of ``cut.horizon`` steps are made; ``cut`` is a ``forecasting.lines.Cut``."""

    ensemble: Ensemble
    treated: Treated
    cut: Any
    quantiles: int

    def paths(self, graph: Graph, block: Block, horizon: int) -> str:
        """Lifted forecasts (N, H, Q)."""
        size = self.cut.horizon
        count = -(-horizon // size)
        made = self._one(graph, block) if count == 1 else self._loop(graph, block, count)
        if count * size == horizon:
            return made
        return graph.slice(made, 0, horizon, 1, "paths.horizon")

    def _loop(self, graph: Graph, block: Block, count: int) -> str:
        cut, width = self.cut, self.cut.columns - 1
        body = graph.body()
        k = body.takes("block.number", "int64", ())
        go_on = body.takes("block.go_on", "bool", ())
        values = body.takes("block.values", "double", ("N", "S"))
        known = body.takes("block.known", "float", ("N", "S", width)) if block.known else ""
        most = cut.context + cut.lookback + cut.segment
        tail = body.slice(values, -most, END, 1, "block.tail")
        known_tail = body.slice(known, -most, END, 1, "block.known_tail") if known else ""
        done = body.op("Mul", [k, body.index(cut.horizon)], "block.done")
        place = body.op("Add", [block.place, done], "block.place") if block.place else ""
        ahead = block.ahead
        if ahead:
            begin = body.unsqueeze(done, 0, "block.begin")
            end = body.op("Add", [begin, body.ints(cut.ahead * cut.segment)], "block.end")
            ahead = body.op("Slice", [ahead, begin, end, body.ints(1)], "block.ahead")
        paths = self._one(body, Block(tail, place, known_tail, ahead))
        middle = body.op("Gather", [paths, body.index(self.quantiles // 2)], "block.middle", axis=2)
        new = lower(body, self.treated, middle, "block.new")
        body.gives(go_on, "bool", (), "block.go_on_next")
        joined = body.op("Concat", [tail, new], "block.joined", axis=1)
        body.gives(joined, "double", ("N", "S_next"), "block.values_next")
        if known:
            more = self._more(body, known_tail, ahead)
            both = body.op("Concat", [known_tail, more], "block.known_joined", axis=1)
            body.gives(both, "float", ("N", "S_next", width), "block.known_next")
        body.gives(paths, "double", ("N", cut.horizon, self.quantiles), "block.paths")
        carried = [block.values, *([block.known] if known else [])]
        made = graph.loop(body, count, carried, ["values.last", "known.last"][: len(carried)],
                          "paths.blocks")  # fmt: skip
        by_row = graph.transpose(made, (1, 0, 2, 3), "paths.by_series")
        return graph.reshape(by_row, (0, count * cut.horizon, self.quantiles), "paths")

    def _more(self, body: Graph, known: str, ahead: str) -> str:
        """What is known at the block's steps: what is not known ahead stays as it was last."""
        cut = self.cut
        last = body.slice(known, -1, END, 1, "block.known_last")
        shape = body.ints(1, cut.horizon, 1)
        held = body.op("Expand", [last, shape], "block.known_held")
        if not ahead:
            return held
        later = body.slice(ahead, 0, cut.horizon, 1, "block.ahead_steps")
        if cut.hidden == 1:
            return later
        past = body.slice(held, 0, cut.hidden - 1, 2, "block.past_held")
        return body.op("Concat", [past, later], "block.known_more", axis=2)

    def _one(self, graph: Graph, block: Block) -> str:
        """One block: lifted (N, h, Q)."""
        cut, treatment = self.cut, self.treated.treatment
        series = treat(graph, self.treated, block.values, block.place)
        window, rows = self._window(graph, block.values, series)
        shift = ""
        if treatment.shift == "last":
            shift = graph.slice(window, -1, END, 1, "window.shift")
        elif treatment.shift == "mean":
            wide = graph.cast(window, "double", "window.double")
            mean = graph.reduce("ReduceMean", wide, 1, "window.mean", keep=True)
            shift = graph.cast(mean, "float", "window.shift")
        seen = graph.op("Sub", [window, shift], "window.shifted") if shift else window
        x = graph.unsqueeze(seen, 2, "window.column")
        if block.known:
            beside = graph.op("Slice", [block.known, rows, graph.ints(END), graph.ints(1)],
                              "window.known")  # fmt: skip
            x = graph.op("Concat", [x, beside], "window.columns", axis=2)
        if block.ahead:
            x = graph.op("Concat", [x, self._ahead(graph, block)], "window.and_ahead", axis=1)
        wide_step = cut.segment * cut.columns
        if cut.segment > 1:
            x = graph.reshape(x, (0, -1, wide_step), "window.segments")
        name = self.ensemble.spec.inputs[0].name
        outputs = member_outputs(graph, self.ensemble, Inputs({name: x}, Batch()))
        if shift:
            outputs = [graph.op("Add", [out, shift], f"{out}_shifted") for out in outputs]
        mean = mean_of(graph, outputs)
        paths = graph.reshape(mean, (0, cut.horizon, self.quantiles), "paths.members")
        if self.quantiles > 1:  # networks may let quantiles cross
            paths = graph.nodes_of(
                "TopK", [paths, graph.ints(self.quantiles)], ["paths.sorted", "paths.order"],
                axis=2, largest=0, sorted=1,
            )[0]  # fmt: skip
        return restore(graph, self.treated, paths, block.values, series, block.place, cut.horizon)

    def _window(self, graph: Graph, values: str, series: str) -> tuple[str, str]:
        """The last values that make whole segments, and where they begin, from the end (1,)."""
        cut = self.cut
        seen = graph.op("Sub", [graph.size(values, 1, "S"), graph.index(cut.context)], "free")
        some = graph.op("Min", [seen, graph.index(cut.lookback)], "seen")
        segments = graph.op("Div", [some, graph.index(cut.segment)], "segments")
        count = graph.op("Mul", [segments, graph.index(-cut.segment)], "rows_from_end")
        rows = graph.unsqueeze(count, 0, "rows_begin")
        return graph.op("Slice", [series, rows, graph.ints(END), graph.ints(1)], "window"), rows

    def _ahead(self, graph: Graph, block: Block) -> str:
        """(N, R, F) the rows behind the window: zero where nothing is known ahead."""
        cut = self.cut
        room = graph.slice(block.ahead, 0, cut.ahead * cut.segment, 1, "ahead.room")
        first = graph.slice(room, 0, 1, 2, "ahead.first")
        nothing = graph.op("Mul", [first, graph.number("zero", 0.0)], "ahead.zero")
        shape = graph.ints(1, 1, cut.hidden)
        hidden = graph.op("Expand", [nothing, shape], "ahead.hidden")
        return graph.op("Concat", [hidden, room], "ahead.rows", axis=2)


# -- outputs -------------------------------------------------------------------------------------


def _give(
    graph: Graph, model: Any, treated: Treated, values: str, paths: str,
    asked: tuple[int, tuple[float, ...]],
) -> None:  # fmt: skip
    """The forecasts and their intervals, on the data's own scale."""
    steps, _ = asked
    floor = ""
    if model.nonnegative_.any():  # where neither the training data nor these were ever below zero
        least = graph.reduce("ReduceMin", values, 1, "values.least", keep=True)
        zero = reals(graph, "zero_double", 0.0)
        are = graph.op("GreaterOrEqual", [least, zero], "values.nonnegative")
        never = treated.own.column("nonnegative", model.nonnegative_)
        both = graph.op("And", [are, never], "nonnegative.both")
        lowest = reals(graph, "no_floor", -np.inf)
        floor = graph.op("Where", [both, zero, lowest], "floor")

    def give(lifted: str, name: str) -> None:
        value = lower(graph, treated, lifted, f"{name}.lowered")
        if floor:
            value = graph.op("Max", [value, floor], f"{name}.kept")
        graph.gives(value, "double", ("N", steps), name)

    middle = max(len(model.ensemble_.quantiles), 1) // 2
    centre = graph.op("Gather", [paths, graph.index(middle)], "centre", axis=2)
    give(centre, "y")
    for level, (low, high) in _bands(graph, model, treated.own, paths, centre, asked).items():
        name = f"{level:g}".replace(".", "_")
        give(low, f"lo_{name}")
        give(high, f"hi_{name}")


def _bands(
    graph: Graph, model: Any, own: Own, paths: str, centre: str,
    asked: tuple[int, tuple[float, ...]],
) -> dict[float, tuple[str, str]]:  # fmt: skip
    """level -> (low, high), (N, H) each, lifted; see ``forecasting.intervals.bands``."""
    steps, levels = asked
    errors, quantiles = model.errors_, model.ensemble_.quantiles
    size = own.column("size", errors.size) if levels else ""
    result: dict[float, tuple[str, str]] = {}
    low = high = centre
    widest: Array = np.zeros(steps)
    for level in sorted(levels):
        width = errors.half_width(level, steps)
        widest = width if quantiles else np.maximum(widest, width)
        half = reals(graph, f"width_{level:g}", widest[None])
        reach = graph.op("Mul", [size, half], f"reach_{level:g}")
        if not quantiles:
            low = graph.op("Sub", [centre, reach], f"low_{level:g}")
            high = graph.op("Add", [centre, reach], f"high_{level:g}")
        else:
            k = errors.place(level)
            ends = (k, len(quantiles) - 1 - k)
            edges = [graph.op("Gather", [paths, graph.index(e)], "edge", axis=2) for e in ends]
            gaps = [[centre, edges[0]], [edges[1], centre]]
            below, above = (
                _grown(
                    graph,
                    graph.op("Add", [graph.op("Sub", gap, "gap"), reach], "side"),
                    errors.values.shape[2],
                    steps,
                )
                for gap in gaps
            )
            down = graph.op("Sub", [centre, below], f"down_{level:g}")
            up = graph.op("Add", [centre, above], f"up_{level:g}")
            low = graph.op("Min", [low, down], f"low_{level:g}")
            high = graph.op("Max", [high, up], f"high_{level:g}")
        result[level] = (low, high)
    return result


def _grown(graph: Graph, side: str, trained: int, steps: int) -> str:
    """Later blocks start from the one before as if it were sure, so their sides grow on."""
    if steps <= trained:
        return side
    first = graph.slice(side, 0, trained, 1, "side.first")
    later = graph.slice(side, trained, steps, 1, "side.later")
    largest = graph.reduce("ReduceMax", first, 1, "side.largest", keep=True)
    edge = graph.op("Max", [largest, reals(graph, "zero_double", 0.0)], "side.edge")
    grown = np.sqrt(np.arange(trained + 1, steps + 1) / trained)
    least = graph.op("Mul", [edge, reals(graph, "side.growth", grown[None])], "side.least")
    wide = graph.op("Max", [later, least], "side.wide")
    return graph.op("Concat", [first, wide], "side.grown", axis=1)
