"""The operators GRU, LSTM and RNN as recurrent layers: their options, weights and states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import shown
from ...gate_layout import CellWeights, from_onnx
from .file import GATES, MIN_TOKENS
from .glue import Node
from .traces import Book, Names, Traced

Array = npt.NDArray[Any]
Value = Array | Traced | None

DIRECTIONS = ("forward", "reverse", "bidirectional")
_ACTIVATIONS = {"GRU": [["sigmoid", "tanh"]], "LSTM": [["sigmoid", "tanh", "tanh"]]}
_ACTIVATIONS["RNN"] = [["tanh"], ["relu"]]


def recurrent(node: Node, book: Book, values: Sequence[Value], outputs: int) -> list[Value]:
    """Y, Y_h and, of an LSTM, Y_c.

    Args:
        values: X, W, R, B, sequence_lens, initial_h, and of an LSTM initial_c and P.
        outputs: how many are asked for.
    """
    padded_values = [*values, *[None] * 8][:8]
    x, w, r, b, lengths, *states, peepholes = padded_values
    directions, layout = _direction(node), node.take("layout", 0)
    facts = _options(node, directions)
    if peepholes is not None:
        raise node.refuse("has peepholes (its input P), which headgate's LSTM has not")
    if node.op != "LSTM" and states[1] is not None:
        raise node.refuse("has more inputs than its operator")
    weights = _weights(node, w, r, b, directions, facts.pop("reset_after"))
    hidden = weights[0].hidden_size
    if facts.pop("hidden_size") not in (None, hidden):
        raise node.refuse(f"has hidden_size other than that of its weights, {hidden}")
    if not isinstance(x, Traced) or x.numbers is not None or x.names.ndim != 3:
        raise node.refuse("reads something else than a sequence of float32 vectors")
    names = x.names if layout else x.names.swapaxes(0, 1)
    if names.shape[2] != weights[0].input_size:
        raise node.refuse(
            f"reads {names.shape[2]} features, but its weights W are for {weights[0].input_size}"
        )
    padded = _padded(node, book, lengths)
    first = _states(node, book, states, hidden, len(weights), layout)
    y, h = add_recurrent(node, book, names, weights, {"op": node.op, **facts}, first, padded)
    shape = (book.rows, len(weights), hidden)
    made = [y.reshape(book.rows, book.steps, *shape[1:]), h.reshape(shape)]
    if node.op == "LSTM":
        cell = book.add("cell", y.shape[2], pooled=True, of=book.owners_of(y)[0])
        made.append(cell.names.reshape(shape))
    if not layout:
        made = [made[0].transpose(1, 2, 0, 3), *(state.swapaxes(0, 1) for state in made[1:])]
    return [Traced(part) if k < outputs else None for k, part in enumerate(made)]


def add_recurrent(
    node: Node,
    book: Book,
    names: Names,
    weights: list[CellWeights],
    facts: dict[str, Any],
    states: list[Names | None],
    padded: bool = False,
) -> tuple[Names, Names]:
    """A recurrent layer that reads (N, T, I) names: its outputs (N, T, D*H), in the order in which
    it reads, and its last state (N, D*H).

    Args:
        weights: for each direction.
        facts: "op", the operator's name, "nonlinearity", and "backward" where that is so.
        states: initial h, and c.
        padded: whether sequences have lengths of their own.
    """
    backward = facts.pop("backward", False)
    reads, turned = book.sequence(names), False
    if reads is None and not padded and len(weights) == 1:
        reads, turned = book.sequence(names[:, ::-1]), True  # Keras's go_backwards
    if reads is None:
        raise node.refuse(
            "does not read whole sequences, step after step in order, as they come in or as a "
            "layer puts them out"
        )
    for read in reads:
        if read.source.padded and not padded:
            raise node.refuse("has no sequence_lens, but reads a layer that has")
    hidden = weights[0].hidden_size
    source = book.add(
        "recurrent",
        len(weights) * hidden,
        reads,
        weights=weights,
        directions=len(weights),
        backward=backward != turned,
        states=states,
        title=node.title,
        reset_after=weights[0].reset_after,
        **facts,
    )
    source.padded = padded
    final = book.add("final", source.width, pooled=True, of=source)
    own = final.names[:, 0]
    if padded:
        source.lasts = [own]
    else:
        forward, reverse = source.names[:, -1], source.names[:, 0]
        if source.facts["backward"]:
            forward = reverse
        ends = np.concatenate([forward[:, :hidden], reverse[:, hidden:]], axis=1)
        source.lasts = [ends, own]
        own = ends if book.steps > 1 else own  # of one step, the last is every step: apart
    return source.names[:, ::-1] if turned else source.names, own


def _direction(node: Node) -> str:
    direction: str = node.take("direction", "forward")
    if direction not in DIRECTIONS:
        raise node.refuse(f"has direction={shown(direction)}, expected one of {DIRECTIONS}")
    return direction


def _options(node: Node, direction: str) -> dict[str, Any]:
    """Attributes, of which all that would change the cell are refused by name."""
    two = 2 if direction == "bidirectional" else 1
    given = [name.lower() for name in node.take("activations", [])]
    choices = _ACTIVATIONS[node.op]
    chosen = next((k for k, names in enumerate(choices) if given in ([], names * two)), None)
    if chosen is None:
        raise node.refuse(
            f"has activations={shown(given)}; headgate's {node.op} has "
            + " or ".join(map(str, choices))
        )
    reset_after: int | None = None
    if node.op == "GRU":
        reset_after = node.take("linear_before_reset", 0)
    if node.op == "LSTM" and node.take("input_forget", 0):
        raise node.refuse("has input_forget=1, gates that are tied, which have no counterpart here")
    facts = {
        "hidden_size": node.take("hidden_size", 0) or None,
        "reset_after": None if reset_after is None else bool(reset_after),
        "backward": direction == "reverse",
        "nonlinearity": choices[chosen][0],
    }
    node.done()  # clip, activation_alpha, activation_beta
    return facts


def _weights(
    node: Node, w: Value, r: Value, b: Value, direction: str, reset_after: bool | None
) -> list[CellWeights]:
    """A layer's weights, for each of its directions."""
    count = 2 if direction == "bidirectional" else 1
    arrays: list[Array | None] = []
    for name, value, rank in (("W", w, 3), ("R", r, 3), ("B", b, 2)):
        if isinstance(value, Traced) or (value is None and name != "B"):
            raise node.refuse(
                f"has weights {name} that are no constants; pass their values as initializers="
            )
        if value is None:
            arrays.append(None)
            continue
        arrays.append(float32(node, name, value))
        if value.ndim != rank or len(value) != count:
            raise node.refuse(
                f"has weights {name} of shape {value.shape}, expected {rank} axes, the first of "
                f"them {count} for direction={direction!r}"
            )
    w, r, b = arrays
    assert w is not None
    assert r is not None
    gates, hidden = GATES[node.op], r.shape[2]
    if not hidden or r.shape[1] != gates * hidden or w.shape[1] != gates * hidden or not w.shape[2]:
        raise node.refuse(
            f"has weights W {w.shape} and R {r.shape}, expected (D, {gates}H, I) and "
            f"(D, {gates}H, H)"
        )
    if b is not None and b.shape[1] != 2 * gates * hidden:
        raise node.refuse(f"has a bias B of shape {b.shape}, expected (D, {2 * gates}H)")
    return [
        from_onnx(w[d], r[d], None if b is None else b[d], reset_after=reset_after)
        for d in range(count)
    ]


def float32(node: Node, name: str, value: Array) -> Array:
    """A constant that is float32 and finite, or a refusal."""
    if value.dtype != np.float32:
        raise node.refuse(
            f"has {name} of type {value.dtype}; headgate computes in float32, so export the model "
            "in float32"
        )
    if not np.isfinite(value).all():
        raise node.refuse(f"has nan or infinite values in {name}")
    return value


def _padded(node: Node, book: Book, lengths: Value) -> bool:
    """Whether sequences have lengths of their own, which a caller passes."""
    if lengths is None:
        return False
    if isinstance(lengths, Traced):
        owners = book.owners_of(lengths.names)
        whole = lengths.names.shape == (book.rows,) and [o.kind for o in owners] == ["lengths"]
        if whole and lengths.as_they_came(MIN_TOKENS):
            return True
        raise node.refuse("has sequence_lens that the graph computes, which has no counterpart")
    if lengths.shape == (book.rows,) and np.all(lengths == book.steps):
        return False
    raise node.refuse(
        f"has constant sequence_lens {shown(lengths.tolist())}, which are not the number of steps"
    )


def _states(
    node: Node, book: Book, states: Sequence[Value], hidden: int, count: int, layout: int
) -> list[Names | None]:
    """The names of each initial state, (D, N, H); None for zeros."""
    result: list[Names | None] = []
    for name, value in zip(("initial_h", "initial_c"), states, strict=False):
        if value is None:
            result.append(None)
            continue
        values = value.names if isinstance(value, Traced) else value
        if layout and values.ndim == 3:
            values = values.swapaxes(0, 1)
        value = Traced(values) if isinstance(value, Traced) else values
        result.append(initial_state(node, book, name, value, (count, book.rows, hidden)))
    return result


def initial_state(
    node: Node, book: Book, name: str, value: Array | Traced, shape: tuple[int, int, int]
) -> Names | None:
    """The names of an initial state, (D, N, H); None for zeros."""
    values = value.names if isinstance(value, Traced) else value
    if values.shape != shape:
        raise node.refuse(f"has {name} of shape {values.shape}, expected (D, N, H) = {shape}")
    if not isinstance(value, Traced):
        if np.any(values != 0):
            raise node.refuse(
                f"has a constant {name} other than zero, which has no counterpart here"
            )
        return None
    if any(owner.kind != "state" for owner in book.owners_of(values)):
        raise node.refuse(f"has an {name} that other layers compute, which has no counterpart")
    return values
