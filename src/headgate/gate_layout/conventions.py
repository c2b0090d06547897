"""The conventions by name: whole stacks of layers read and written.

What a library gives for one layer is an entry: a dict of arrays by the library's names, or a list
of them in its order. A stack is an entry for each layer, or two where there are two directions,
the forward one first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .arrays import Array, by_name, expect, floats
from .dynet import from_dynet, to_dynet
from .flax import from_flax, to_flax, to_nnx
from .haste import from_haste, to_haste
from .keras import KerasWeights, from_keras, from_lists, from_rtneural, to_keras, to_rtneural
from .layer import CellWeights
from .mlx import from_mlx, to_mlx
from .onnx import OnnxWeights, from_onnx, to_onnx
from .pytorch import from_pytorch, to_pytorch
from .tensorflow1 import from_tensorflow1, to_tensorflow1
from .textbook import TextbookWeights, from_textbook, to_textbook

Layer = tuple[CellWeights, ...]  # one direction, or the forward one and the reverse one


@dataclass(frozen=True)
class Convention:
    """``read`` and ``write``: one direction. ``facts``: what the arrays do not tell, of either.

    ``unfold``: an entry that holds several directions or layers, as one for each direction, and
    the number of directions. ``fold``: the reverse. ``columns``: dense layers are (F, O).
    """

    read: Callable[..., CellWeights]
    write: Callable[..., Any]
    read_facts: tuple[str, ...] = ()
    write_facts: tuple[str, ...] = ()
    unfold: Callable[[Any], tuple[list[Any], int]] | None = None
    fold: Callable[[list[tuple[Any, ...]]], Any] | None = None
    columns: bool = False


# -- whole stacks --------------------------------------------------------------------------------


def read_stack(
    weights: Any, convention: str, *, bidirectional: bool = False, **facts: Any
) -> list[Layer]:
    """Layers of arrays in another convention; ``facts`` that are None were not given.

    Raises InputError for what does not fit, naming the layer where there are several.
    """
    way = find(convention)
    given = _checked(convention, facts, way.read_facts)
    cell = facts.get("cell")
    entries = _entries(weights, convention)
    directions = 2 if bidirectional else 1
    if way.unfold is not None:
        entries, told = _unfolded(way.unfold, entries)
        if bidirectional and told == 1:
            raise InputError(f"bidirectional=True, but the {convention} weights have one direction")
        directions = told
    if len(entries) % directions or not entries:
        raise InputError(
            f"the weights of a bidirectional {convention} stack are two entries for each layer, "
            f"forward and reverse, got {len(entries)}"
        )
    read = []
    for k, entry in enumerate(entries):
        try:
            read.append(way.read(entry, **given))
        except InputError as error:
            if len(entries) == 1:
                raise
            reverse = " (reverse)" if k % directions else ""
            raise InputError(f"layer {k // directions}{reverse}: {error}") from None
    layers = [tuple(read[k : k + directions]) for k in range(0, len(read), directions)]
    _check_chain(layers, cell)
    return layers


def write_stack(layers: Sequence[Layer], convention: str, **facts: Any) -> Any:
    """Layers as arrays in another convention, as :func:`read_stack` takes them."""
    way = find(convention)
    given = _checked(convention, facts, way.write_facts)
    written = [tuple(way.write(direction, **given) for direction in layer) for layer in layers]
    if way.fold is not None:
        return way.fold(written)
    return [direction for layer in written for direction in layer]


def read_dense(weights: Any, convention: str) -> tuple[Array, Array]:
    """A dense layer (O, F) and its bias (O,) from the arrays of another convention."""
    columns = find(convention).columns
    if isinstance(weights, Mapping) and "weights" in weights:  # a layer of RTNeural
        weights = from_lists(weights["weights"], 2)
    if hasattr(weights, "shape"):
        weights = (weights,)
    names = ("kernel", "bias") if columns else ("weight", "bias")
    given = by_name(weights, names, f"a dense layer of convention {convention!r}", optional=1)
    matrix = floats(names[0], given[names[0]])
    meaning = "(inputs, outputs)" if columns else "(outputs, inputs)"
    expect(names[0], matrix, (None, None), meaning, f"as {convention} has its dense layers")
    matrix = matrix.T if columns else matrix
    bias = given.get("bias")
    if bias is None:
        return matrix.copy(), np.zeros(len(matrix), matrix.dtype)
    bias = floats("bias", bias)
    expect("bias", bias, (len(matrix),), "(outputs,)", "one for each output")
    return matrix.copy(), bias.copy()


def find(convention: str) -> Convention:
    if not isinstance(convention, str) or convention not in CONVENTIONS:
        raise InputError(f"unknown convention {convention!r}; known are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention]


# -- checks --------------------------------------------------------------------------------------


def _checked(convention: str, facts: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    if "update_form" in known and facts.get("update_form") is None:
        raise InputError(
            f"convention {convention!r} needs update_form: True for h' = (1 - z) * h + z * n, "
            "False for h' = (1 - z) * n + z * h; nothing in the arrays tells"
        )
    given = {name: value for name, value in facts.items() if value is not None}
    for name in given:
        if name not in known and name != "cell":
            others = [key for key, way in CONVENTIONS.items() if name in way.read_facts]
            raise InputError(
                f"{name} goes with the conventions {', '.join(others)}; {convention} has one way"
            )
    return {name: value for name, value in given.items() if name in known}


def _is_entry(weights: Any) -> bool:
    """Whether these are the arrays of one layer, not a list of layers."""
    return isinstance(weights, Mapping) or all(
        part is None or hasattr(part, "shape") for part in weights
    )


def _entries(weights: Any, convention: str) -> list[Any]:
    if not isinstance(weights, (Mapping, list, tuple)) or not weights:
        raise InputError(
            f"weights must be the arrays of a {convention} layer, as a dict or a list, or a list "
            f"of such for several layers, got {type(weights).__name__}"
        )
    if _is_entry(weights):
        return [weights]
    for k, entry in enumerate(weights):
        if not isinstance(entry, (Mapping, list, tuple)):
            raise InputError(
                f"a layer is a dict or a list of arrays, got {type(entry).__name__} for number {k}"
            )
    return list(weights)


def _unfolded(
    unfold: Callable[[Any], tuple[list[Any], int]], entries: list[Any]
) -> tuple[list[Any], int]:
    parts: list[Any] = []
    told = set()
    for entry in entries:
        more, directions = unfold(entry)
        parts += more
        told.add(directions)
    if len(told) > 1:
        raise InputError("some layers have one direction and some have two")
    return parts, told.pop()


def _check_chain(layers: Sequence[Layer], cell: str | None) -> None:
    """One cell throughout, directions alike, and each layer as wide as what the next reads."""
    kinds = {(part.cell, part.reset_after) for layer in layers for part in layer}
    if len(kinds) > 1:
        names = sorted(f"{kind} (reset_after={after})" for kind, after in kinds)
        raise InputError(f"the layers are of several cells: {', '.join(names)}")
    found = layers[0][0].cell
    if cell is not None and cell != found:
        raise InputError(f"cell={cell!r}, but the weights are those of a {found}")
    width = None
    for k, layer in enumerate(layers):
        sizes = {(part.input_size, part.hidden_size) for part in layer}
        if len(sizes) > 1:
            raise InputError(
                f"layer {k}: both directions must have the same sizes, got (inputs, hidden) = "
                f"{', '.join(map(str, sorted(sizes)))}"
            )
        if width not in (None, layer[0].input_size):
            raise InputError(
                f"layer {k} reads {layer[0].input_size} inputs, and layer {k - 1} puts out {width}"
            )
        width = sum(part.hidden_size for part in layer)


# -- entries that hold more than one direction ---------------------------------------------------

TORCH_NAME = re.compile(r"(.*?)(weight_ih|weight_hh|bias_ih|bias_hh)_l(\d+)(_reverse)?")


def _unfold_pytorch(entry: Any) -> tuple[list[Any], int]:
    """``nn.GRU(...).state_dict()``, a prefix in front of all names or not; or one direction."""
    if not isinstance(entry, Mapping) or set(map(str, entry)) <= set(CellWeights._fields):
        return [entry], 1
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    prefixes = set()
    for name, value in entry.items():
        match = TORCH_NAME.fullmatch(str(name))
        if match is None:
            raise InputError(
                f"{name!r} is no parameter of nn.GRU, nn.LSTM or nn.RNN (weight_ih_l0, ...); pass "
                "those of the recurrent module alone, and others as head"
            )
        prefixes.add(match[1])
        found.setdefault((int(match[3]), bool(match[4])), {})[match[2]] = value
    if len(prefixes) > 1:
        raise InputError(f"these are parameters of several modules: {sorted(prefixes)}")
    directions = 2 if any(reverse for _, reverse in found) else 1
    wanted = [(k, bool(d)) for k in range(len(found) // directions) for d in range(directions)]
    if sorted(found) != wanted:
        raise InputError(f"some layers or directions are missing among {sorted(map(str, entry))}")
    return [found[key] for key in wanted], directions


def _fold_pytorch(layers: list[tuple[Any, ...]]) -> dict[str, Array]:
    widths = {direction["weight_hh"].shape[1] for layer in layers for direction in layer}
    if len(widths) > 1:
        raise InputError(f"the layers of nn.GRU have one width, these have {sorted(widths)}")
    return {
        f"{name}_l{k}{'_reverse' if d else ''}": value
        for k, layer in enumerate(layers)
        for d, direction in enumerate(layer)
        for name, value in direction.items()
    }


def _unfold_onnx(entry: Any) -> tuple[list[Any], int]:
    """The operator's W, R, B with their direction axis, or without it."""
    given = by_name(entry, OnnxWeights._fields, "an ONNX operator", optional=1)
    given = {name: floats(name, value) for name, value in given.items()}
    if given["R"].ndim != 3:
        return [given], 1
    directions = len(given["R"])
    wanted = {"W": 3, "R": 3, "B": 2}
    if directions not in (1, 2) or any(
        value.ndim != wanted[name] or len(value) != directions for name, value in given.items()
    ):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
        raise InputError(
            "an ONNX operator has W (D, GH, I), R (D, GH, H), B (D, 2GH), D being 1 or 2, got "
            f"{shapes}"
        )
    return [
        {name: value[d] for name, value in given.items()} for d in range(directions)
    ], directions


def _fold_onnx(layers: list[tuple[Any, ...]]) -> list[OnnxWeights]:
    return [OnnxWeights(*map(np.stack, zip(*layer, strict=True))) for layer in layers]


# -- the table -----------------------------------------------------------------------------------


def _named(
    read: Callable[..., CellWeights], names: Sequence[str], what: str, optional: int
) -> Callable[..., CellWeights]:
    """``read``, which takes arrays one by one, for an entry."""

    def read_entry(entry: Any, **facts: Any) -> CellWeights:
        return read(**by_name(entry, names, what, optional), **facts)

    return read_entry


CONVENTIONS: dict[str, Convention] = {
    "pytorch": Convention(from_pytorch, to_pytorch, unfold=_unfold_pytorch, fold=_fold_pytorch),
    "keras": Convention(
        _named(from_keras, KerasWeights._fields, "a layer of Keras", 1),
        to_keras,
        read_facts=("reset_after",),
        columns=True,
    ),
    "onnx": Convention(
        _named(from_onnx, OnnxWeights._fields, "an ONNX operator", 1),
        to_onnx,
        read_facts=("reset_after",),
        unfold=_unfold_onnx,
        fold=_fold_onnx,
    ),
    "tensorflow1": Convention(
        from_tensorflow1,
        to_tensorflow1,
        read_facts=("cell", "forget_bias"),
        write_facts=("forget_bias",),
        columns=True,
    ),
    "flax": Convention(from_flax, to_flax, columns=True),
    "nnx": Convention(from_flax, to_nnx, columns=True),
    "mlx": Convention(from_mlx, to_mlx),
    "haste": Convention(from_haste, to_haste),
    "rtneural": Convention(from_rtneural, to_rtneural, columns=True),
    "dynet": Convention(
        from_dynet, to_dynet, read_facts=("forget_bias",), write_facts=("forget_bias",)
    ),
    "textbook": Convention(
        _named(from_textbook, TextbookWeights._fields, "a textbook's cell", 3),
        to_textbook,
        read_facts=("update_form", "reset_after"),
        write_facts=("update_form",),
    ),
}
