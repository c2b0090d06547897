"""A graph run on names: every node is glue between layers, or a layer, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import shown
from ...errors import HeadgateError, ModelFileError
from .cells import float32, recurrent
from .file import GATES, Graph, title
from .glue import MOVES, Node, axes_of, cast, concat, constant, fold, split, target
from .loops import loop
from .traces import Book, Read, Rows, Source, Traced

Array = npt.NDArray[Any]
Value = Array | Traced | None

MAX_DIAGONAL = 512  # widest layer that a factor for each feature becomes
_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh"}
_TASKS = {"Softmax": "classification", "LogSoftmax": "classification", "Sigmoid": "binary"}


class Run:
    """One run through a graph; :attr:`values` has what every name in it stands for."""

    def __init__(self, graph: Graph, book: Book, inputs: dict[str, Traced]) -> None:
        self.graph, self.book = graph, book
        self.values: dict[str, Value] = dict(inputs)
        self.done = 0  # nodes

    def through(self) -> dict[str, Value]:
        """Run all nodes; the values by name."""
        for proto in self.graph.nodes:
            try:
                made = self._node(proto)
            except HeadgateError:
                raise
            except Exception as error:  # NumPy's complaints of what does not fit together
                raise ModelFileError(
                    f"{title(proto)} does not fit what it reads: {error}"
                ) from error
            for name, value in zip(proto.output, made, strict=False):
                if name:
                    self.values[name] = value
                    self.book.made += 0 if value is None else _array(value).size
            self.done += 1
        return self.values

    def value(self, name: str) -> Value:
        """A value by its name; constants are read when they are first asked for."""
        if not name:
            return None
        if name not in self.values:
            self.values[name] = self.graph.constant(name)
        return self.values[name]

    def _node(self, proto: Any) -> list[Value]:
        if proto.op_type == "Loop" and proto.domain in ("", "ai.onnx"):
            return loop(proto, self.book, self.value, self.graph.opset)
        node = Node(proto, self.graph.opset)
        if proto.domain not in ("", "ai.onnx"):
            raise node.refuse("has no counterpart here")
        values = [self.value(name) for name in proto.input]
        if node.op in GATES:
            return recurrent(node, self.book, values, len(proto.output))
        made = self._one(node, values, len(proto.output))
        node.done()
        for name in list(proto.output)[len(made) :]:
            if name:
                raise node.refuse(f"makes {shown(name)}, which has no counterpart here")
        return made

    def _one(self, node: Node, values: list[Value], outputs: int) -> list[Value]:
        if node.op == "Constant":
            return [constant(node)]
        if not values or (values[0] is None and node.op != "Concat"):
            raise node.refuse("reads nothing")
        if node.op == "Shape":
            shape = _array(values[0]).shape
            bounds = slice(node.take("start", 0), node.take("end", len(shape)))
            return [np.asarray(shape[bounds], np.int64)]
        if node.op == "Split":
            sizes = values[1] if len(values) > 1 else None
            parts = split(node, _array(values[0]), _constant(node, sizes), outputs)
            return [_like(values[0], part) for part in parts]
        if node.op == "Concat":
            return [self._concat(node, values)]
        traced = [value for value in values if isinstance(value, Traced)]
        if node.op == "Cast":
            return [self._cast(node, values[0])]
        if node.op in MOVES and not (traced and not isinstance(values[0], Traced)):
            rest = [_constant(node, value) for value in values[1:]]
            made = MOVES[node.op](node, self.book.spend, _array(values[0]), *rest)
            return [_like(values[0], made)]
        if traced and all(value.numbers is not None for value in traced):
            folded = self._numbers(node, values, traced[0])
            if folded is not None:
                return [folded]
        if not traced:
            folded = fold(node, self.book.spend, [_array(value) for value in values])
            if folded is not None:
                return [folded]
        elif node.op in LAYERS:
            return [self._layer(node, values)]
        raise node.refuse("has no counterpart here")

    def _layer(self, node: Node, values: list[Value]) -> Value:
        """A layer; of one feature whose axis was taken away, that axis is put back for it."""
        names = [value.names for value in values if isinstance(value, Traced)]
        scalars = [value for value in values if not isinstance(value, Traced)]
        if any(_array(value).ndim > names[0].ndim for value in scalars) and node.op in ELEMENTWISE:
            raise node.refuse("makes more axes than the layer before it has")
        bare = (
            node.op in ELEMENTWISE
            and all(_array(value).size == 1 for value in scalars)
            and all(self.book.read_rows(part) is None for part in names)
        )
        if not bare:
            return LAYERS[node.op](self, node, values)
        wide = [
            Traced(value.names[..., None], value.numbers) if isinstance(value, Traced) else value
            for value in values
        ]
        made = LAYERS[node.op](self, node, wide)
        return Traced(made.names[..., 0])

    def _concat(self, node: Node, values: list[Value]) -> Value:
        parts = [value for value in values if value is not None]
        traced = [part for part in parts if isinstance(part, Traced)]
        if traced and len(traced) < len(parts):
            raise node.refuse("joins constants with what layers put out")
        made = concat(node, self.book.spend, [_array(part) for part in parts])
        return Traced(made, traced[0].numbers) if traced else made

    def _numbers(self, node: Node, values: list[Value], first: Traced) -> Value:
        """Arithmetic on the tokens themselves: what becomes of 0, 1, 2, ..."""
        operands = []
        for value in values:
            if isinstance(value, Traced):
                if not np.array_equal(value.names, first.names):
                    return None
                operands.append(_array(value.numbers))
            elif value is None or value.size != 1:
                return None
            else:
                operands.append(value.reshape(()))
        made = fold(node, self.book.spend, operands)
        return None if made is None else Traced(first.names, made)

    def _cast(self, node: Node, value: Value) -> Value:
        if not isinstance(value, Traced):
            return cast(node, self.book.spend, _array(value))
        to = target(node, node.take("to", 0))
        node.take("saturate", 1)
        node.take("round_mode", "up")
        if value.numbers is not None:
            self.book.spend(value.numbers.shape)
            return Traced(value.names, np.asarray(value.numbers, to))
        if to == np.float32:
            return value
        if to in (np.int32, np.int64):
            owners = self.book.owners_of(value.names)
            if all(owner.kind in ("data", "lengths") for owner in owners):
                self.book.spend((self.graph.tokens,))
                return Traced(value.names, np.arange(self.graph.tokens))  # passed as integers
        raise node.refuse(f"makes {to} of what a layer puts out; headgate computes in float32")

    # -- layers --------------------------------------------------------------------------------

    def rows(self, node: Node, value: Value) -> Rows:
        """What a layer that acts on every row of features reads."""
        if not isinstance(value, Traced) or value.numbers is not None or not value.names.ndim:
            raise node.refuse("reads something else than float32 features")
        rows = self.book.read_rows(value.names)
        if rows is None:
            raise node.refuse(
                "reads features that are not those of whole layers side by side, along its last "
                "axis"
            )
        return rows

    def row_layer(
        self, node: Node, value: Value, kind: str, width: int | None = None, **facts: Any
    ) -> Traced:
        """A layer on every row of ``value``: where it has been made already, that one."""
        rows = self.rows(node, value)
        assert isinstance(value, Traced)
        width = value.names.shape[-1] if width is None else width
        source = self.book.add(kind, width, rows.reads, pooled=rows.pooled, **facts)
        shape = value.names.shape[:-1]
        self.book.spend((*shape, width))
        return Traced(rows.of(source, shape))

    def dense(self, node: Node, value: Value, weight: Array, bias: Array | None) -> Traced:
        """x W^T + b, with ``weight`` (O, I)."""
        weight = float32(node, "a weight", weight)
        if bias is not None:
            bias = float32(node, "a bias", bias)
        return self.row_layer(
            node, value, "dense", len(weight), weight=weight, bias=bias, activation="linear"
        )

    def diagonal(self, node: Node, value: Traced, factor: Array, shift: Array | None) -> Traced:
        """A factor and a shift for each feature, as the dense layer that they are."""
        width = value.names.shape[-1]
        if width > MAX_DIAGONAL:
            raise node.refuse(
                f"acts on {width} features one by one; this becomes a dense layer, of at most "
                f"{MAX_DIAGONAL}"
            )
        self.book.spend((width, width))
        return self.dense(node, value, np.diag(np.broadcast_to(factor, width)), shift)

    def only_owner(self, value: Traced) -> Source | None:
        owners = self.book.owners_of(value.names)
        return owners[0] if len(owners) == 1 else None


def _array(value: Value) -> Array:
    if value is None:
        raise ModelFileError("a node lacks an input that it needs")
    return value.names if isinstance(value, Traced) else value


def _constant(node: Node, value: Value) -> Array | None:
    if isinstance(value, Traced):
        raise node.refuse("has an argument that the data decide, which has no counterpart here")
    return value


def _like(value: Value, made: Array) -> Value:
    return Traced(made, value.numbers) if isinstance(value, Traced) else made


def _feature_vector(node: Node, value: Array, width: int) -> Array:
    """A constant that is one number for each feature, as (F,)."""
    if value.size not in (1, width) or (value.ndim and value.shape[-1] != value.size):
        raise node.refuse(
            f"has a constant of shape {value.shape}, expected one number for each of the {width} "
            "features"
        )
    return np.broadcast_to(np.ravel(value), width)


# -- one function for each operator ---------------------------------------------------------------


def _matmul(run: Run, node: Node, values: list[Value]) -> Traced:
    x, w = values
    if isinstance(w, Traced) or w is None:
        raise node.refuse("multiplies by what layers put out, which has no counterpart here")
    if w.ndim != 2:
        raise node.refuse(f"multiplies by a constant of shape {w.shape}, expected (I, O)")
    if _array(x).shape[-1] != len(w):
        raise node.refuse(f"reads {_array(x).shape[-1]} features, but its weights are for {len(w)}")
    return run.dense(node, x, np.ascontiguousarray(w.T), None)


def _gemm(run: Run, node: Node, values: list[Value]) -> Traced:
    x, w, c = [*values, None][:3]
    if isinstance(w, Traced) or w is None or isinstance(c, Traced):
        raise node.refuse("multiplies by or adds what layers put out, which has no counterpart")
    if node.take("transA", 0) or _array(x).ndim != 2 or w.ndim != 2:
        raise node.refuse("multiplies something else than rows of features by a matrix")
    alpha, beta = node.take("alpha", 1.0), node.take("beta", 1.0)
    weight = w if node.take("transB", 0) else w.T
    if _array(x).shape[1] != weight.shape[1]:
        raise node.refuse(
            f"reads {_array(x).shape[1]} features, but its weights are for {weight.shape[1]}"
        )
    bias = None if c is None else _feature_vector(node, c, len(weight))
    if alpha != 1.0:
        weight = (weight * alpha).astype(weight.dtype)
    if beta != 1.0 and bias is not None:
        bias = (bias * beta).astype(bias.dtype)
    return run.dense(node, x, np.ascontiguousarray(weight), bias)


def _add(run: Run, node: Node, values: list[Value]) -> Traced:
    x, y = values
    if isinstance(x, Traced) and isinstance(y, Traced):
        return _sum(run, node, x, y)
    x, constant = (x, y) if isinstance(x, Traced) else (y, x)
    assert isinstance(x, Traced)
    return _shift(run, node, x, _array(constant))


def _shift(run: Run, node: Node, x: Traced, constant: Array) -> Traced:
    owner = run.only_owner(x)
    shift = _feature_vector(node, float32(node, "a constant", constant), x.names.shape[-1])
    if owner is not None and owner.kind == "dense" and owner.facts["bias"] is None:
        rows = run.rows(node, x)
        same = [read.source for read in rows.reads] == [owner]
        if same and owner.facts["activation"] == "linear":
            facts = {**owner.facts, "bias": shift}
            made = run.book.add("dense", owner.width, owner.reads, pooled=owner.pooled, **facts)
            return Traced(x.names + (made.base - owner.base))
    return run.diagonal(node, x, np.ones(1, np.float32), shift)


def _sum(run: Run, node: Node, x: Traced, y: Traced) -> Traced:
    """Two layers added up: connections around layers."""
    first, second = run.rows(node, x), run.rows(node, y)
    aligned = x.names.shape == y.names.shape and first.pooled == second.pooled
    if aligned:
        aligned = np.array_equal(first.sequences, second.sequences)
        aligned = aligned and np.array_equal(first.steps, second.steps)
    if not aligned or len(first.reads) > 1 or len(second.reads) > 1:
        raise node.refuse("adds up what does not belong to the same sequences, steps and features")
    reads = [*first.reads, *second.reads]
    made = run.book.add("add", x.names.shape[-1], reads, pooled=first.pooled)
    return Traced(first.of(made, x.names.shape[:-1]))


def _subtract(run: Run, node: Node, values: list[Value]) -> Traced:
    x, y = values
    if not isinstance(x, Traced) or isinstance(y, Traced):
        raise node.refuse("subtracts what layers put out, which has no counterpart here")
    return _shift(run, node, x, -_array(y))


def _scale(run: Run, node: Node, values: list[Value]) -> Traced:
    x, y = values
    if isinstance(x, Traced) and isinstance(y, Traced):
        raise node.refuse(
            "multiplies what layers put out with each other, which has no counterpart"
        )
    if not isinstance(x, Traced):
        if node.op == "Div":
            raise node.refuse("divides by what a layer puts out, which has no counterpart here")
        x, y = y, x
    assert isinstance(x, Traced)
    factor = float32(node, "a constant", _array(y))
    if node.op == "Div":
        with np.errstate(divide="raise", over="raise"):
            factor = np.divide(np.float32(1), factor, dtype=np.float32)
    return run.diagonal(node, x, _feature_vector(node, factor, x.names.shape[-1]), None)


def _activation(run: Run, node: Node, values: list[Value]) -> Traced:
    return run.row_layer(node, values[0], "activation", activation=_ACTIVATIONS[node.op])


def _task(run: Run, node: Node, values: list[Value]) -> Traced:
    x = values[0]
    if node.op != "Sigmoid":
        rank = _array(x).ndim
        axis = node.take("axis", -1 if node.opset >= 13 else 1)
        if (axis + rank if axis < 0 else axis) != rank - 1:
            raise node.refuse(f"acts along axis {axis} of {rank}, not along the features")
    return run.row_layer(node, x, "task", task=_TASKS[node.op], log=node.op == "LogSoftmax")


def _embedding(run: Run, node: Node, values: list[Value]) -> Traced:
    table, tokens = values
    if isinstance(table, Traced) or not isinstance(tokens, Traced) or tokens.numbers is None:
        raise node.refuse("picks by what layers put out, which has no counterpart here")
    if node.take("axis", 0) or _array(table).ndim != 2:
        raise node.refuse("looks tokens up in something else than the rows of a table")
    owner = run.only_owner(tokens)
    if owner is None or owner.kind != "data" or owner.width != 1:
        raise node.refuse("looks up something else than the tokens that come in, one a step")
    table = float32(node, "its table", _array(table))
    if not tokens.as_they_came(len(table)):
        raise node.refuse("looks up something else than the tokens that come in: they are changed")
    n, t = run.book.places(tokens.names, owner)
    source = run.book.add("embedding", table.shape[1], [Read(owner, False)], table=table)
    run.book.spend((*tokens.names.shape, table.shape[1]))
    return Traced(source.names[n, t])


def _over_time(run: Run, node: Node, values: list[Value]) -> Traced:
    """The mean or the maximum of every step."""
    x = values[0]
    assert isinstance(x, Traced)
    axes = axes_of(node, [None, *(_constant(node, value) for value in values[1:])])
    keep = bool(node.take("keepdims", 1))
    node.take("noop_with_empty_axes", 0)
    if axes is None or len(axes) != 1:
        raise node.refuse(f"acts over the axes {axes}, not over time alone")
    names = np.moveaxis(x.names, axes[0], 0)
    steps = np.arange(run.book.steps)
    made = np.empty(names.shape[1:], np.int64)
    for source in run.book.owners_of(names):
        mine = run.book.owners(names[0]) == source.index
        _, t = run.book.places(names[:, mine], source)
        offsets = steps * source.width
        whole = len(names) == len(steps) and not np.any(t - steps[:, None])
        if source.pooled or not whole or np.any(names[:, mine] - names[0, mine] - offsets[:, None]):
            raise node.refuse("acts over something else than all steps of a layer")
        if source.padded:
            raise node.refuse(
                "acts over all steps, also those past a sequence's length, which has no counterpart"
            )
        kind = "mean" if node.op == "ReduceMean" else "max"
        pool = run.book.add(kind, source.width, [Read(source, False)], pooled=True)
        n, _ = run.book.places(names[0, mine], source)
        feature = (names[0, mine] - source.base) % source.width
        made[mine] = pool.names[n, 0, feature]
    return Traced(np.expand_dims(made, axes[0]) if keep else made)


ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Relu", "Tanh", "Sigmoid"}
LAYERS: dict[str, Callable[[Run, Node, list[Value]], Traced]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Add": _add,
    "Sub": _subtract,
    "Mul": _scale,
    "Div": _scale,
    "Relu": _activation,
    "Tanh": _activation,
    "Softmax": _task,
    "LogSoftmax": _task,
    "Sigmoid": _task,
    "Gather": _embedding,
    "ReduceMean": _over_time,
    "ReduceMax": _over_time,
}
