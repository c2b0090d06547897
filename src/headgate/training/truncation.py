"""Truncated back-propagation through time: sequences cut into pieces that follow one another.

Piece k of every sequence of a batch is one update. The state goes from piece to piece, gradients
stop at the cuts (Williams and Peng 1990), so that memory depends on the length of a piece alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable
from .batches import Batches

Int64 = npt.NDArray[np.int64]


def pieces_of(table: SampleTable, steps: int) -> tuple[SampleTable, Int64]:
    """The table whose samples are the pieces of ``steps`` steps (the last of each may be shorter).

    Returns:
        The table, sequence after sequence, and (N + 1,) where each sequence's pieces begin in it.
    """
    counts = -(-table.lengths // steps)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    sequence = np.repeat(np.arange(len(table)), counts)
    skipped = (np.arange(first[-1]) - first[sequence]) * steps  # steps before each piece

    def of_sequence(array: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
        return None if array is None else array[sequence]

    assert table.y_starts is not None, "training without targets"
    pieces = replace(
        table,
        starts=table.starts[sequence] + skipped,
        lengths=np.minimum(steps, table.lengths[sequence] - skipped),
        y_starts=table.y_starts[sequence] + skipped * table.y_stride,
        x_shift=of_sequence(table.x_shift),
        x_scale=of_sequence(table.x_scale),
        y_shift=of_sequence(table.y_shift),
        y_scale=of_sequence(table.y_scale),
    )
    return pieces, first


def plan(order: Int64, first: Int64, batch_size: int, lengths: Int64) -> Batches:
    """The updates of an epoch over sequences in this order.

    Args:
        order: sequences, each once.
        first: (N + 1,) where each sequence's pieces begin, from :func:`pieces_of`.
        lengths: (N,) steps of each sequence.
    """
    rows: list[Int64] = []
    resets: list[int] = []
    for begin in range(0, len(order), batch_size):
        # Longest first: then those that go on are always the first rows, where their states are.
        group = order[begin : begin + batch_size]
        group = group[np.argsort(-lengths[group], kind="stable")]
        counts = first[group + 1] - first[group]
        for k in range(int(counts[0])):
            rows.append(first[group[: np.count_nonzero(counts > k)]] + k)
            resets.append(k == 0)
    bounds = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return Batches(np.concatenate(rows), bounds, np.array(resets, np.uint8))
