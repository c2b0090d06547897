"""Which of a graph's outputs is the network's, and where its elements are in what that predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...checks import shown
from ...errors import ModelFileError
from .traces import Book, Names, Read, Source, Traced


class Column(NamedTuple):
    """One feature of an output: of ``source``'s output, or of its state ``part``."""

    source: Source
    feature: int
    part: str = "h"


class Output(NamedTuple):
    """An output of the graph.

    Attributes:
        name: of the value in the graph.
        columns: its features, in the order of the first sequence (and step).
        places: for each element its place in (N, T, columns), or in (N, columns) when ``pooled``.
        pooled: whether it is one vector a sequence.
        state: whether it holds nothing but what recurrent layers carried to their ends.
    """

    name: str
    columns: list[Column]
    places: Names
    pooled: bool
    state: bool = False

    def reads(self) -> list[Read]:
        """What the network's last layer reads: whole sources side by side.

        Raises:
            ModelFileError: features are missing or in another order.
        """
        reads: list[Read] = []
        features: list[tuple[int, int]] = []
        for column in self.columns:
            if column.feature == 0:
                layer = column.source.layer
                reads.append(Read(layer, self.pooled and not layer.pooled))
                features += [(column.source.index, k) for k in range(column.source.width)]
        if features != [(column.source.index, column.feature) for column in self.columns]:
            raise _refusal(self.name, "has some features of a layer only, or in another order")
        return reads


def choose(
    book: Book, values: Mapping[str, object], names: Sequence[str]
) -> tuple[list[Read], Output | None, list[Output]]:
    """What the network puts out, which output of the graph that is (None when that has states
    alone), and the outputs that are states.

    Raises:
        ModelFileError: an output has no counterpart, or there are several.
    """
    found = []
    for name in names:
        value = values[name]
        if not isinstance(value, Traced):
            raise _refusal(name, "is a constant")
        output = _decode(book, name, value.names)
        if output is None:
            raise _refusal(
                name,
                "is no arrangement of what a layer puts out at every step, or of what a read-out "
                "makes of a sequence",
            )
        found.append(output)
    others = [output for output in found if not output.state]
    states = [output for output in found if output.state]
    if len(others) > 1:
        raise ModelFileError(
            f"it has the outputs {shown([output.name for output in others])}, a network has one; "
            "choose with output=, such as "
            f"output={others[-1].name!r}"
        )
    if others:
        return others[0].reads(), others[0], states
    flat = [out for out in states if out.places.ndim <= 2 and out.columns[0].part == "h"]
    if len(flat) == 1:  # h without an axis for layers is a read-out
        return flat[0].reads(), flat[0], [out for out in states if out is not flat[0]]
    last = max((column.source for out in states for column in out.columns), key=lambda s: s.index)
    return [Read(last, False)], None, states


def _refusal(name: str, why: str) -> ModelFileError:
    return ModelFileError(
        f"its output {shown(name)} {why}, which has no counterpart here; choose another with "
        "output=, if there is one"
    )


def _decode(book: Book, name: str, names: Names) -> Output | None:
    if not names.size:
        return None
    ways = [_every_step, _vectors]
    if book.steps == 1 and names.ndim <= 2:
        ways.reverse()
    for way in ways:
        output = way(book, name, names)
        if output is not None and _by_axes(output):
            return output
    return None


def _by_axes(output: Output) -> bool:
    """Whether each axis goes along sequences and steps or along features, and none mixes both.

    A reshape without the transpose that it needs has the shape of a network's output, and its
    numbers in other places.
    """
    rows, columns = np.divmod(output.places, len(output.columns))
    return not any(
        np.any(np.diff(rows, axis=axis)) and np.any(np.diff(columns, axis=axis))
        for axis in range(output.places.ndim)
    )


def _every_step(book: Book, name: str, names: Names) -> Output | None:
    flat = names.ravel()
    n, t = np.zeros((2, flat.size), np.int64)
    found: dict[int, Column] = {}
    for source in book.owners_of(flat):
        if source.pooled:
            return None
        mine = book.owners(flat) == source.index
        n[mine], t[mine] = book.places(flat[mine], source)
    for k in np.flatnonzero((n == 0) & (t == 0)):
        source = book.sources[int(book.owners(flat[k : k + 1])[0])]
        found[int(flat[k])] = Column(source, int(flat[k]) - source.base)
    index = _index(book, flat, n * book.steps + t, book.rows * book.steps, found)
    if index is None:
        return None
    return Output(name, list(found.values()), index.reshape(names.shape), False)


def _vectors(book: Book, name: str, names: Names) -> Output | None:
    flat = names.ravel()
    n = np.zeros(flat.size, np.int64)
    first = flat.copy()  # the name of the same feature in the first sequence
    found: dict[int, Column] = {}
    state = True
    for source in book.owners_of(flat):
        mine = book.owners(flat) == source.index
        layer, part = source.layer, "h"
        choices = layer.lasts
        if source.kind == "cell":
            layer, part, choices = source.facts["of"], "c", [source.names[:, 0]]
        elif source.kind in ("state", "lengths", "data"):
            return None
        state = state and layer.kind == "recurrent"
        for choice in choices:
            order = np.argsort(choice, axis=None)
            sorted_names = choice.ravel()[order]
            at = np.minimum(np.searchsorted(sorted_names, flat[mine]), order.size - 1)
            if np.array_equal(sorted_names[at], flat[mine]):
                break
        else:
            return None
        places = order[at]
        n[mine], features = places // source.width, places % source.width
        first[mine] = choice[0, features]
        for feature in features[n[mine] == 0]:
            found[int(choice[0, feature])] = Column(layer, int(feature), part)
    ordered = {int(key): found[int(key)] for key in flat[n == 0]}
    index = _index(book, first, n, book.rows, ordered, first)
    if index is None:
        return None
    return Output(name, list(ordered.values()), index.reshape(names.shape), True, state)


def _index(
    book: Book,
    flat: Names,
    row: Names,
    rows: int,
    found: dict[int, Column],
    first: Names | None = None,
) -> Names | None:
    """The place of each element in (rows, columns), if each place is taken once."""
    if flat.size != rows * len(found):
        return None
    keys = np.fromiter(found, np.int64, len(found))
    if first is None:  # the same feature at the first step of the first sequence
        first = flat.copy()
        for column in found.values():
            mine = book.owners(flat) == column.source.index
            first[mine] = column.source.base + (flat[mine] - column.source.base) % (
                column.source.width
            )
    order = np.argsort(keys)
    at = np.minimum(np.searchsorted(keys[order], first), len(keys) - 1)
    column_of = order[at]
    if not np.array_equal(keys[column_of], first):
        return None
    index = row * len(found) + column_of
    once = np.bincount(index, minlength=flat.size)
    return index if np.all(once == 1) else None
