"""Where every element of a tensor comes from.

The loader runs a graph once, on tensors whose elements are not numbers but names: each says which
part of the network puts it out, for which sequence, at which step, as which feature. Transposing,
reshaping, slicing and joining then need no rules: NumPy does them to the names. Where a layer reads
a tensor, the names say whether it is what the layer reads here, or something with no counterpart.

A :class:`Source` is a part that puts out (N, T, F) names, or (N, 1, F) one vector a sequence. They
are consecutive integers, so that a name is found again by its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...checks import shown
from ...errors import ModelFileError

Names = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

MAX_ELEMENTS = 1 << 25  # of all tensors that one run through a graph makes
MAX_SOURCES = 1024


class Traced(NamedTuple):
    """A tensor of names, for features or for whole numbers that come in: tokens, lengths.

    ``numbers``, of the latter: what has become of 0, 1, 2, ..., so that arithmetic that leaves
    every token as it is (Keras counts negative ones from the end) can be seen through.
    """

    names: Names
    numbers: Array | None = None

    def as_they_came(self, below: int) -> bool:
        """Whether the whole numbers up to ``below`` are what came in."""
        known = self.numbers
        return known is not None and np.array_equal(known[:below], np.arange(below))


class Read(NamedTuple):
    """What a layer reads: all features of a source, at every step or as ``Last`` reads it."""

    source: Source
    last: bool


class Source:
    """A part of the network that puts something out.

    Attributes:
        kind: "values", "tokens", "state" or "lengths" for what comes in; "final" and "cell" for
            what a recurrent layer carried to its end; else the layer's.
        index: its place among the sources, in order of use.
        names: (N, T, F), or (N, 1, F) when ``pooled``.
        reads: what it reads.
        facts: what else describes the layer: weights, options.
        lasts: (N, F) each: the names that stand for what ``hg.Last`` reads of it.
        padded: whether steps past a sequence's length may be in it.
    """

    def __init__(
        self,
        kind: str,
        index: int,
        names: Names,
        reads: Sequence[Read],
        facts: Mapping[str, Any],
    ) -> None:
        self.kind, self.index, self.names = kind, index, names
        self.reads, self.facts = tuple(reads), dict(facts)
        self.pooled = bool(self.facts.pop("pooled"))
        self.padded: bool = any(read.source.padded and not read.last for read in self.reads)
        self.lasts: list[Names] = [] if self.padded else [names[:, -1]]

    @property
    def base(self) -> int:
        return int(self.names.flat[0])

    @property
    def width(self) -> int:
        return int(self.names.shape[2])

    @property
    def layer(self) -> Source:
        """Itself, or the recurrent layer whose last state it is."""
        return self.facts["of"] if self.kind == "final" else self


class Rows(NamedTuple):
    """What the rows of a tensor read, and which sequence and step each row is."""

    reads: list[Read]
    pooled: bool
    sequences: Names
    steps: Names

    def of(self, source: Source, shape: Sequence[int]) -> Names:
        """The names that ``source``, which reads these rows, puts out in their places."""
        return source.names[self.sequences, self.steps].reshape(*shape, source.width)


class Book:
    """All sources of one run, for ``rows`` sequences of ``steps`` steps."""

    def __init__(self, rows: int, steps: int) -> None:
        self.rows, self.steps = rows, steps
        self.sources: list[Source] = []
        self._bases: list[int] = []
        self.made = 0  # elements of every tensor of the graph, also those that share their memory
        self._end = 0
        self._spent = 0

    # -- writing -------------------------------------------------------------------------------

    def spend(self, shape: Sequence[int]) -> None:
        """Count a tensor before it is made; refuse what only a hostile graph asks for."""
        self._spent += math.prod(int(axis) for axis in shape)
        if self._spent > MAX_ELEMENTS:
            raise ModelFileError(
                f"its tensors have more than {MAX_ELEMENTS} elements together, the last one of "
                f"shape {shown(tuple(shape))}; export it with free batch and time axes"
            )

    def add(
        self,
        kind: str,
        width: int,
        reads: Sequence[Read] = (),
        *,
        pooled: bool = False,
        **facts: Any,
    ) -> Source:
        """A new source, whose names are new."""
        return self._add(
            kind, (self.rows, 1 if pooled else self.steps, width), reads, pooled, facts
        )

    def loose(self, kind: str, name: str, shape: Sequence[int]) -> Names:
        """Names for a graph input of any shape that no layer reads: a state, or lengths."""
        source = self._add(kind, (1, 1, math.prod(shape)), (), True, {"input": name})
        return source.names.reshape(tuple(shape))

    def _add(
        self,
        kind: str,
        shape: tuple[int, int, int],
        reads: Sequence[Read],
        pooled: bool,
        facts: Mapping[str, Any],
    ) -> Source:
        if len(self.sources) >= MAX_SOURCES:
            raise ModelFileError(f"it has more than {MAX_SOURCES} layers")
        self.spend(shape)
        size = math.prod(shape)
        if not size:
            raise ModelFileError(f"one of its parts ({kind}) has the shape {shape}, which is empty")
        names = np.arange(self._end, self._end + size, dtype=np.int64).reshape(shape)
        source = Source(kind, len(self.sources), names, reads, {**facts, "pooled": pooled})
        self._bases.append(self._end)
        self._end += size
        self.sources.append(source)
        return source

    # -- reading -------------------------------------------------------------------------------

    def owners(self, names: Names) -> Names:
        """The index of each name's source."""
        found = np.searchsorted(np.asarray(self._bases), names, side="right") - 1
        return np.asarray(found, np.int64)

    def owners_of(self, names: Names) -> list[Source]:
        """The sources that occur among ``names``, in order of use."""
        return [self.sources[k] for k in np.unique(self.owners(names))]

    def places(self, names: Names, source: Source) -> tuple[Names, Names]:
        """(n, t) of each name of ``source``."""
        row = (names - source.base) // source.width
        steps = source.names.shape[1]
        return row // steps, row % steps

    def sequence(self, names: Names) -> list[Read] | None:
        """What (N, T, F) names read, when they are whole sources at every step, in order."""
        if names.shape[:2] != (self.rows, self.steps):
            return None
        found = self.read_rows(names)
        if found is None or found.pooled or any(read.last for read in found.reads):
            return None
        every = self.rows * self.steps
        in_order = np.array_equal(found.sequences * self.steps + found.steps, np.arange(every))
        return found.reads if in_order else None

    def read_rows(self, names: Names) -> Rows | None:
        """What names (..., F) read: whole sources side by side in every row, or None."""
        if not names.size or not names.ndim:
            return None
        rows = names.reshape(-1, names.shape[-1])
        if len(rows) == self.rows and (names.ndim <= 2 or self.steps > 1):
            reads = self._vectors(rows)
            if reads is not None:
                n = np.arange(self.rows)
                return Rows(reads, True, n, np.zeros_like(n))
        parts = self._parts(rows[0])
        if parts is None or any(source.kind in ("final", "cell") for source, _, _ in parts):
            return None
        first = parts[0][0]
        n, t = self.places(rows[:, 0], first)
        inside = (n >= 0) & (n < first.names.shape[0])
        if not inside.all():
            return None
        for source, begin, end in parts:
            if source.names.shape[1] != first.names.shape[1]:
                return None
            if not np.array_equal(rows[:, begin:end], source.names[n, t]):
                return None
        return Rows([Read(source, False) for source, _, _ in parts], first.pooled, n, t)

    def _vectors(self, rows: Names) -> list[Read] | None:
        """What (N, F) names read, when they are whole sources as ``Last`` reads them."""
        parts = self._parts(rows[0])
        if parts is None:
            return None
        reads = []
        for source, begin, end in parts:
            if source.kind == "cell":
                return None
            layer = source.layer
            if not any(np.array_equal(rows[:, begin:end], choice) for choice in layer.lasts):
                return None
            reads.append(Read(layer, not layer.pooled))
        return reads

    def _parts(self, row: Names) -> list[tuple[Source, int, int]] | None:
        """The sources side by side in one row, each with its columns."""
        parts = []
        owners = self.owners(row)
        begin = 0
        while begin < len(row):
            source = self.sources[owners[begin]]
            end = begin + source.width
            if end > len(row) or source.kind in ("state", "lengths"):
                return None
            parts.append((source, begin, end))
            begin = end
        return parts or None
