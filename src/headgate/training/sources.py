"""Where the samples of an epoch come from: one table, or chunks that follow one another.

A source knows which table the first batch can be taken from, and hands out each epoch as parts
that are trained one behind the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

import numpy as np

from ..data.samples import SampleTable
from ..errors import InputError
from .batches import Batches, in_order
from .options import FitOptions
from .truncation import pieces_of, plan

MakeTable = Callable[[Any], SampleTable]


class Part(Protocol):
    """One table of an epoch, ready for the engine."""

    table: SampleTable
    samples: Any

    def batches(self, rng: np.random.Generator) -> Batches: ...


class Whole:
    """A table whose samples are learned whole."""

    def __init__(self, table: SampleTable, options: FitOptions) -> None:
        self.table, self.samples = table, table.to_engine()
        self._size, self._shuffle = int(options.batch_size), bool(options.shuffle)
        self._order = np.arange(len(table), dtype=np.int64)

    def batches(self, rng: np.random.Generator) -> Batches:
        if self._shuffle:
            rng.shuffle(self._order)
        return in_order(self._order, self._size)


class Truncated:
    """A table whose samples are learned piece after piece."""

    def __init__(self, table: SampleTable, options: FitOptions) -> None:
        assert options.bptt_steps is not None
        self.table, self._first = pieces_of(table, int(options.bptt_steps))
        self.samples = self.table.to_engine()
        self._lengths = table.lengths
        self._size, self._shuffle = int(options.batch_size), bool(options.shuffle)
        self._order = np.arange(len(table), dtype=np.int64)

    def batches(self, rng: np.random.Generator) -> Batches:
        if self._shuffle:
            rng.shuffle(self._order)
        return plan(self._order, self._first, self._size, self._lengths)


def is_chunks(X: Any) -> bool:
    """Whether X, given without Y, is chunks: a function, an iterator, or a list of tuples."""
    if isinstance(X, (SampleTable, Mapping, str, bytes)) or hasattr(X, "__array__"):
        return False
    if isinstance(X, (list, tuple)):
        return bool(X) and all(isinstance(item, tuple) for item in X)
    return callable(X) or isinstance(X, Iterable)


def part_of(table: SampleTable, options: FitOptions) -> Part:
    return Whole(table, options) if options.bptt_steps is None else Truncated(table, options)


class Source(Protocol):
    first: Part  # for a look at the data before training

    def parts(self) -> Iterator[Part]:
        """The parts of one more epoch."""


class Table:
    """All data in one table."""

    def __init__(self, table: SampleTable, options: FitOptions) -> None:
        self.first = part_of(table, options)

    def parts(self) -> Iterator[Part]:
        yield self.first


class Chunks:
    """Chunks that are read anew in every epoch; two are in memory, of which one is the first.

    Args:
        chunks: a callable that returns a fresh iterator, or something that can be iterated over
            again and again, of (X, Y) or (X, Y, lengths).
        make_table: turns such a chunk into a table, or refuses it.
    """

    def __init__(self, chunks: Any, options: FitOptions, make_table: MakeTable) -> None:
        if isinstance(chunks, Iterator) and options.epochs > 1:
            raise InputError(
                f"this {type(chunks).__name__} of chunks can be read once, but epochs="
                f"{options.epochs}; pass a function that returns a fresh one, such as "
                "fit(lambda: read_chunks(path)), or a list of chunks"
            )
        self._chunks, self._options, self._make_table = chunks, options, make_table
        self._running: Iterator[Any] | None = self._begin()
        self.first: Part = self._next(0) or self._no_chunks()
        self._waiting: Part | None = self.first

    def parts(self) -> Iterator[Part]:
        if self._running is None:
            self._running = self._begin()
        part, self._waiting = self._waiting, None  # the first epoch goes on behind the first look
        count = 0
        while part is not None or (part := self._next(count)) is not None:
            count += 1
            yield part
            part = None  # not in memory while the next one is read
        self._running = None
        if count == 0:
            self._no_chunks()

    def _begin(self) -> Iterator[Any]:
        begun = self._chunks() if callable(self._chunks) else self._chunks
        if not isinstance(begun, Iterable):
            raise InputError(
                "chunks must be a function that returns an iterator of (X, Y), or a list of them; "
                f"what it returned is {type(begun).__name__}"
            )
        return iter(begun)

    def _next(self, number: int) -> Part | None:
        assert self._running is not None
        try:
            chunk = next(self._running)
        except StopIteration:
            return None
        try:
            return part_of(self._make_table(chunk), self._options)
        except InputError as error:
            raise InputError(f"chunk {number}: {error}") from None

    def _no_chunks(self) -> NoReturn:
        raise InputError(
            "there are no chunks; the function must return a fresh iterator every time it is called"
        )
