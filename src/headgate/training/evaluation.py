"""The loss without learning, in memory that grows neither with sequences nor with vocabularies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.samples import SampleTable
from ..kernels import Engine
from .truncation import pieces_of, plan

BATCH = 256
FLOATS = 1 << 26  # of workspace at once, 256 MB
_LEAST_STEPS = 16


def rows_at_once(engine: Engine) -> int:
    """Steps of all sequences together that a batch should have at most."""
    return max(FLOATS // engine.row_floats, 1)


def batch_of(engine: Engine, longest: int) -> int:
    """How many sequences of that length to run at once, when nobody says."""
    return max(min(BATCH, rows_at_once(engine) // max(longest, 1)), 1)


class Evaluation:
    """The mean loss over a table's targets, measured as often as asked.

    Sequences that would need much memory are run piece after piece, the state going on from piece
    to piece: the loss is the same. Where later steps have a say (both directions, a CRF, a
    read-out), fewer of them are run at once.
    """

    def __init__(self, engine: Engine, table: SampleTable, loss_row: Any) -> None:
        self._engine, self._loss = engine, loss_row
        self._samples = table.to_engine()  # checked before anything is sized by it
        longest, room = int(np.max(table.lengths)), rows_at_once(engine)
        size = min(BATCH, len(table))
        self._batches = None
        if not engine.cuts or table.known_steps or size * longest <= room:
            self._size = batch_of(engine, longest)
            return
        steps = max(room // size, min(_LEAST_STEPS, room))
        pieces, first = pieces_of(table, steps)
        order = np.arange(len(table), dtype=np.int64)
        self._batches = plan(order, first, max(room // steps, 1), np.asarray(table.lengths))
        self._samples = pieces.to_engine()

    def loss(self) -> float:
        """With the weights that the network has now."""
        raw = self._engine.raw
        if self._batches is None:
            return float(raw.evaluate(self._samples, self._size, self._loss, None))
        state = np.zeros(int(raw.state_size) * self._batches.largest, np.float32)
        return float(raw.evaluate_batches(self._samples, *self._batches, state, self._loss))
