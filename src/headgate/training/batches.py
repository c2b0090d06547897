"""The updates of an epoch: which samples each of them learns from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


class Batches(NamedTuple):
    """Update b learns from samples ``order[bounds[b] : bounds[b + 1]]``.

    Where ``resets[b]`` is not zero the carried state begins anew; None for nowhere.
    """

    order: Int64
    bounds: Int64
    resets: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def largest(self) -> int:
        """Samples of the largest batch."""
        return int(np.diff(self.bounds).max())


def in_order(order: Int64, batch_size: int) -> Batches:
    """Batches of ``batch_size`` samples, the last of which may be smaller."""
    count = len(order)
    bounds = np.append(np.arange(0, count, batch_size), count).astype(np.int64)
    return Batches(order, bounds)
