"""A Loop whose body is a GRU or a plain RNN: how tf2onnx writes those of Keras 3.

The loop is run, step by step, on names. What its body computes of a step's input x and of the
state h is kept as sums of products, ``x W + h U + b``, and of atoms made of such sums: the sigmoid
of a sum, the product of two. The next state is then either a cell that headgate has, with these W,
U and b, or the loop is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelFileError
from ...gate_layout import CellWeights, cell_weights
from .cells import add_recurrent, initial_state
from .file import array, title
from .glue import MOVES, Node, cast, constant, fold, split, target
from .traces import Book, Names, Traced

Array = npt.NDArray[Any]

MAX_WORK = 1 << 17  # nodes that are run, all steps together


@dataclass(frozen=True, eq=False)
class Atom:
    """x, h, or a function of sums: "sigmoid", "tanh", "relu", "product", "rest" (1 - a)."""

    kind: str
    of: tuple[Sum, ...] = ()
    names: Names | None = None  # of x


@dataclass(frozen=True, eq=False)
class Sum:
    """Atoms times matrices, (N, width); a matrix that is None is the identity."""

    terms: dict[Atom, Array | None]
    bias: Array
    width: int

    def atom(self) -> Atom | None:
        """The atom that it is, when nothing else is in it."""
        alone = len(self.terms) == 1 and not self.bias.any()
        (atom, matrix), *_ = [*self.terms.items(), (None, None)]
        return atom if alone and matrix is None else None


Value = Array | Traced | Sum | None


def _alone(atom: Atom, width: int) -> Sum:
    return Sum({atom: None}, np.zeros(width, np.float32), width)


def loop(proto: Any, book: Book, value: Callable[[str], Any], opset: int) -> list[Any]:
    """The outputs of a Loop node: what is carried to its end, then what each step puts out.

    Args:
        proto: the node.
        book: of the run.
        value: what a name around the loop stands for.
        opset: of the model.

    Raises:
        ModelFileError: it is no recurrence that headgate has.
    """
    body = _Body(proto, book, value, opset)
    count, go_on, *carried = [value(name) for name in proto.input]
    trips = book.steps if count is None else int(_number(proto, count))
    running = True if go_on is None else bool(_number(proto, go_on))
    state = body.state_of(carried)
    cell: _Cell | None = None
    reads: list[Names] = []
    h = Atom("h")
    width = int(_names(carried[state]).shape[-1])
    first = carried[state]
    outputs = 0
    for trip in range(trips):
        if not running:
            break
        if trip == book.steps:
            raise body.refuse("runs more often than there are steps")
        carried[state] = _alone(h, width)
        going, made = body.run(trip, carried)
        running = bool(_number(proto, going))
        carried, each = made[: len(carried)], made[len(carried) :]
        new = _cell(body, carried[state], h)
        if any(item is not carried[state] for item in each):
            raise body.refuse("puts out something else than its state at every step")
        if cell is not None and not cell.same_as(new):
            raise body.refuse("is another cell at another step")
        cell = new
        reads.append(new.names)
        outputs = len(each)
    if cell is None or len(reads) < book.steps:
        raise body.refuse(f"runs {len(reads)} times, and there are {book.steps} steps")
    names = np.stack(reads, axis=1)
    node = Node(proto, opset, skip=("body",))
    node.done()
    steps, last = add_recurrent(
        node,
        book,
        names,
        [cell.weights],
        {"op": cell.op, "nonlinearity": cell.nonlinearity},
        [initial_state(node, book, "initial_h", _with_direction(first), (1, book.rows, width))],
    )
    carried[state] = Traced(last)
    every = Traced(steps.swapaxes(0, 1))
    return [*carried, *[every] * outputs]


def _with_direction(value: Any) -> Any:
    return Traced(value.names[None]) if isinstance(value, Traced) else value[None]


def _names(value: Any) -> Array:
    return value.names if isinstance(value, Traced) else np.asarray(value)


def _number(proto: Any, value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise ModelFileError(f"{title(proto)} runs as often as the data decide")
    return value.reshape(()).item()


# -- the body --------------------------------------------------------------------------------------


class _Body:
    """A loop's body, run for one step at a time."""

    def __init__(self, proto: Any, book: Book, value: Callable[[str], Any], opset: int) -> None:
        self.title, self.book, self.around, self.opset = title(proto), book, value, opset
        graphs = [part.g for part in proto.attribute if part.name == "body"]
        if len(graphs) != 1 or len(graphs[0].input) != len(proto.input):
            raise self.refuse("has no body that fits its inputs")
        self.graph = graphs[0]
        if len(self.graph.node) * book.steps > MAX_WORK:
            raise self.refuse(f"has {len(self.graph.node)} nodes for {book.steps} steps")
        self.constants = {tensor.name: array(tensor) for tensor in self.graph.initializer}
        self.atoms: dict[bytes, Atom] = {}

    def refuse(self, why: str) -> ModelFileError:
        return ModelFileError(
            f"{self.title} {why}; of loops only GRUs and plain RNNs are read, as tf2onnx writes "
            "Keras's"
        )

    def state_of(self, carried: Sequence[Any]) -> int:
        """Which of the carried values is the state: the one of floats that changes."""
        sources = {node.output[0]: node for node in self.graph.node if len(node.output)}
        found = []
        for k, value in enumerate(carried):
            name = self.graph.output[k + 1].name
            while name in sources and sources[name].op_type == "Identity":
                name = sources[name].input[0]
            floats = isinstance(value, Traced) or (
                isinstance(value, np.ndarray) and value.dtype == np.float32
            )
            if floats and name != self.graph.input[k + 2].name:
                found.append(k)
        if len(found) != 1 or _names(carried[found[0]]).ndim != 2:
            raise self.refuse(f"carries {len(found)} states on from step to step")
        return found[0]

    def run(self, trip: int, carried: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Whether it goes on, and what it puts out, at one step."""
        own: dict[str, Any] = dict(self.constants)
        numbers = (np.asarray(trip, np.int64), np.asarray(True))
        own |= dict(
            zip([item.name for item in self.graph.input], [*numbers, *carried], strict=True)
        )
        for proto in self.graph.node:
            node = Node(proto, self.opset)
            if proto.domain not in ("", "ai.onnx"):
                raise node.refuse("has no counterpart here")
            values = [
                None if not name else own[name] if name in own else self.around(name)
                for name in proto.input
            ]
            made = self._node(node, values, len(proto.output))
            node.done()
            own.update(zip(proto.output, made, strict=False))
        go_on, *rest = [
            own[item.name] if item.name in own else self.around(item.name)
            for item in self.graph.output
        ]
        return go_on, rest

    def _node(self, node: Node, values: list[Value], outputs: int) -> list[Any]:
        if node.op == "Constant":
            return [constant(node)]
        first, *rest = values
        floats = any(isinstance(value, Sum) for value in values)
        moves = node.op in MOVES or node.op == "Split"
        if not floats and not (isinstance(first, Traced) and not moves and node.op != "Shape"):
            return self._plain(node, first, rest, outputs)
        if node.op in ("Slice", "Split"):
            return self._parts(node, first, rest, outputs)
        if node.op == "Identity":
            return [first]
        if node.op not in _FLOATS:
            raise node.refuse("has no counterpart inside a loop")
        return [_FLOATS[node.op](node, *map(self._sum, values))]

    def _plain(self, node: Node, first: Any, rest: Sequence[Any], outputs: int) -> list[Any]:
        """Glue, and arithmetic on constants."""
        spend = self.book.spend
        if node.op == "Shape":
            return [np.asarray(_names(first).shape, np.int64)]
        if any(isinstance(value, Traced) for value in rest):
            first = self._sum(first)
            return [_FLOATS[node.op](node, first, *map(self._sum, rest))]
        if node.op == "Cast" and not isinstance(first, Traced):
            return [cast(node, spend, first)]
        if node.op == "Cast" and target(node, node.take("to", 0)) == np.float32:
            return [first]
        if node.op == "Split":
            parts = split(node, _names(first), rest[0] if rest else None, outputs)
            return [Traced(part) if isinstance(first, Traced) else part for part in parts]
        if node.op in MOVES:
            made = MOVES[node.op](node, spend, _names(first), *rest)
            return [Traced(made) if isinstance(first, Traced) else made]
        folded = None if isinstance(first, Traced) else fold(node, spend, [first, *rest])
        if folded is None:
            raise node.refuse("has no counterpart inside a loop")
        return [folded]

    def _sum(self, value: Value) -> Any:
        """A value as a sum; a constant that is a matrix stays one."""
        if not isinstance(value, Traced):
            return value
        names = np.ascontiguousarray(value.names)
        if names.ndim != 2 or len(names) != self.book.rows or value.numbers is not None:
            raise self.refuse("reads something else than one step's features")
        key = names.tobytes()
        if key not in self.atoms:
            self.atoms[key] = Atom("x", names=names)
        return _alone(self.atoms[key], names.shape[1])

    def _parts(self, node: Node, value: Any, rest: Sequence[Any], outputs: int) -> list[Sum]:
        """Columns of a sum."""
        if not isinstance(value, Sum) or any(isinstance(item, (Sum, Traced)) for item in rest):
            raise node.refuse("cuts by what the data decide")
        columns = np.broadcast_to(np.arange(value.width), (self.book.rows, value.width))
        if node.op == "Split":
            cuts = split(node, columns, rest[0] if rest else None, outputs)
        else:
            cuts = [MOVES["Slice"](node, self.book.spend, columns, *rest)]
        made = []
        for cut in cuts:
            if cut.ndim != 2 or len(cut) != self.book.rows:
                raise node.refuse("cuts something else than features")
            width = cut.shape[1]
            begin = int(cut[0, 0]) if width else 0
            columns_cut = slice(begin, begin + width)
            if not np.array_equal(cut[0], np.arange(begin, begin + width)):
                raise node.refuse("cuts features that do not stand side by side")
            terms: dict[Atom, Array | None] = dict(value.terms)
            if width < value.width:
                if any(matrix is None for matrix in terms.values()):
                    raise node.refuse("cuts features of the input or of the state")
                terms = {atom: _cut(matrix, columns_cut) for atom, matrix in terms.items()}
            made.append(Sum(terms, value.bias[columns_cut], width))
        return made


def _cut(matrix: Array | None, columns: slice) -> Array | None:
    return None if matrix is None else matrix[:, columns]


# -- arithmetic on sums ----------------------------------------------------------------------------


def _constant_row(node: Node, value: Any, width: int) -> Array:
    row = np.asarray(value)
    if row.dtype != np.float32 or row.size not in (1, width):
        raise node.refuse(f"has a constant of {row.size} numbers of type {row.dtype}")
    return np.broadcast_to(row.reshape(-1), width)


def _add(node: Node, a: Any, b: Any) -> Sum:
    if not isinstance(a, Sum):
        a, b = b, a
    if not isinstance(b, Sum):
        bias = _constant_row(node, b, a.width).astype(np.float64)
        return Sum(a.terms, (a.bias + bias).astype(np.float32), a.width)
    if a.width != b.width:
        raise node.refuse("adds up what is not of one width")
    if not a.terms.keys().isdisjoint(b.terms):
        raise node.refuse("multiplies one thing by two matrices and adds that up")
    terms = {**a.terms, **b.terms}
    return Sum(terms, (a.bias.astype(np.float64) + b.bias).astype(np.float32), a.width)


def _matmul(node: Node, a: Any, w: Any) -> Sum:
    if not isinstance(a, Sum) or not isinstance(w, np.ndarray) or a.bias.any():
        raise node.refuse("has no counterpart inside a loop")
    if w.ndim != 2 or w.dtype != np.float32 or len(w) != a.width:
        raise node.refuse(f"multiplies {a.width} features by a {w.dtype} matrix {w.shape}")
    if any(matrix is not None for matrix in a.terms.values()):
        raise node.refuse("multiplies what was multiplied before")
    return Sum(dict.fromkeys(a.terms, w), np.zeros(w.shape[1], np.float32), w.shape[1])


def _subtract(node: Node, a: Any, b: Any) -> Sum:
    one = not isinstance(a, Sum) and isinstance(b, Sum)
    if not one or np.any(_constant_row(node, a, b.width) != 1):
        raise node.refuse("subtracts otherwise than 1 - z")
    return _alone(Atom("rest", (b,)), b.width)


def _product(node: Node, a: Any, b: Any) -> Sum:
    if not isinstance(a, Sum) or not isinstance(b, Sum) or a.width != b.width:
        raise node.refuse("has no counterpart inside a loop")
    return _alone(Atom("product", (a, b)), a.width)


def _function(kind: str) -> Callable[[Node, Any], Sum]:
    def made(node: Node, a: Any) -> Sum:
        return _alone(Atom(kind, (a,)), a.width)

    return made


_FLOATS: dict[str, Callable[..., Sum]] = {
    "Add": _add,
    "MatMul": _matmul,
    "Sub": _subtract,
    "Mul": _product,
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "Relu": _function("relu"),
}


# -- the cell --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Cell:
    """What one step computes: an operator's name, its weights, and the names that it reads."""

    op: str
    nonlinearity: str
    weights: CellWeights
    names: Names

    def same_as(self, other: _Cell) -> bool:
        return (
            (self.op, self.nonlinearity) == (other.op, other.nonlinearity)
            and self.names.shape == other.names.shape
            and all(np.array_equal(a, b) for a, b in zip(self.weights, other.weights, strict=True))
        )


@dataclass(frozen=True, eq=False)
class _Gate:
    """x W + h U + b, each with a row for every unit."""

    w: Array
    u: Array
    b: Array
    x: Atom


def _cell(body: _Body, new: Any, h: Atom) -> _Cell:
    """The cell whose next state ``new`` is."""
    if isinstance(new, Sum):
        function = new.atom()
        if function is not None and function.kind in ("tanh", "relu"):
            gate = _gate(body, function.of[0], h)
            weights = cell_weights(gate.w, gate.u, gate.b)
            return _Cell("RNN", function.kind, weights, _x(gate.x))
        if len(new.terms) == 2 and not new.bias.any():
            return _gru(body, new, h)
    raise body.refuse("has a body that is neither cell")


def _gru(body: _Body, new: Sum, h: Atom) -> _Cell:
    """h' = z * h + (1 - z) * n."""
    z: Atom | None = None
    n: Atom | None = None
    rest: Atom | None = None
    for term, matrix in new.terms.items():
        pair = [part.atom() for part in term.of] if term.kind == "product" else []
        kinds = [part.kind if part else "" for part in pair]
        if matrix is not None or sorted(kinds) not in (["h", "sigmoid"], ["rest", "tanh"]):
            raise body.refuse("has a body that is neither cell")
        if "h" in kinds:
            z = pair[kinds.index("sigmoid")]
        else:
            rest, n = pair[kinds.index("rest")], pair[kinds.index("tanh")]
    if z is None or n is None or rest is None or rest.of[0].atom() is not z:
        raise body.refuse("has a body that is neither cell")
    update = _gate(body, z.of[0], h)
    inner = dict(n.of[0].terms)
    products = [atom for atom in inner if atom.kind == "product"]
    if len(products) != 1:
        raise body.refuse("has a body that is neither cell")
    u = inner.pop(products[0])
    left, right = products[0].of
    r, after = left.atom(), u is None
    if r is None or r.kind != "sigmoid":
        r, right = right.atom(), left
    kernel: Array | None = None
    b_n: Array | None = None
    if r is None or r.kind != "sigmoid":
        raise body.refuse("has a body that is neither cell")
    reset = _gate(body, r.of[0], h)
    if after:  # n = tanh(x W + b + r * (h U + b_n))
        kernel, b_n = right.terms[h] if list(right.terms) == [h] else None, right.bias
    elif right.atom() is h:  # n = tanh(x W + b + (r * h) U)
        kernel = u
    if kernel is None or list(inner) != [update.x] or reset.x is not update.x:
        raise body.refuse("has a body that is neither cell")
    w = inner[update.x]
    if w is None:
        raise body.refuse("has a body that is neither cell")
    gates = (reset, update)  # headgate's rows are r, z, n
    zeros = np.zeros(2 * len(update.b), np.float32)
    weights = cell_weights(
        np.concatenate([*(gate.w for gate in gates), w.T]),
        np.concatenate([*(gate.u for gate in gates), kernel.T]),
        np.concatenate([*(gate.b for gate in gates), n.of[0].bias]),
        zeros if b_n is None else np.concatenate([zeros, b_n]),
        reset_after=after,
    )
    return _Cell("GRU", "sigmoid", weights, _x(update.x))


def _gate(body: _Body, total: Sum, h: Atom) -> _Gate:
    others = [atom for atom in total.terms if atom is not h]
    if len(total.terms) != 2 or len(others) != 1 or others[0].kind != "x":
        raise body.refuse("has a gate that reads something else than the input and the state")
    w, u = total.terms[others[0]], total.terms[h]
    if w is None or u is None:
        raise body.refuse("has a gate without weights")
    return _Gate(w.T, u.T, total.bias, others[0])


def _x(atom: Atom) -> Names:
    assert atom.names is not None
    return atom.names
