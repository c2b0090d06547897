"""NumPy: no GRU, only the matrix product of its BLAS, one measure of what the machine can do."""

from __future__ import annotations

import numpy as np

from peers.common import Peer, Result, matrix_rate, serve


class NumpyPeer(Peer):
    name = "numpy"

    def __init__(self) -> None:
        self.version = np.__version__
        self.jobs = {"peak": self.peak}

    def peak(self) -> Result:
        draw = np.random.default_rng(0)
        return matrix_rate(
            lambda a, b, out: np.matmul(a, b, out=out),
            lambda size: draw.standard_normal((size, size), np.float32),
        )


if __name__ == "__main__":
    serve(NumpyPeer)
