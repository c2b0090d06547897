"""Large embeddings: rows that a batch does not read wait, and then go all missed steps as one.

Held to optimisers that move every row in every update, in NumPy and float64. The network is the
table alone, so that its gradient is known: 2 (row - target) / (targets of the batch).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate import _engine
from headgate.training.losses import Loss

V, SIZE = 3200, 67  # large enough that rows wait; 67 is no whole number of vectors
STEPS, BATCH, STILL = 3, 4, 5
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.3},
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "rmsprop": {"optimizer": "rmsprop"},
    "clipped": {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.018},
    "L2": {"optimizer": "adam", "weight_decay": 0.3},  # no row is without gradient: none waits
}


class Problem:
    """A table to be fitted, in epochs of one trainer; and the same in float64."""

    def __init__(self, options: dict[str, Any], *, columns: int = 2, updates: int = 50) -> None:
        rng = np.random.default_rng(0)
        self.options = {"momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "clip_value": 0.0}
        self.options |= options
        words = {"kind": "embedding", "inputs": [], "trainable": True, "token": 0}
        words |= {"size": SIZE, "vocabulary": V, "columns": columns, "padding_index": STILL}
        self.net = _engine.Network(0, columns, [{"name": "words", **words}])
        self.table = (0.3 * rng.standard_normal((V, SIZE))).astype(np.float32)
        self.net.set_parameters(self.table.ravel())
        self.trainer = _engine.Trainer(
            self.net, loss=Loss("mse").engine_row(), seed=0, **self.options
        )
        samples = BATCH * updates
        # Few words are common, most are read once or never.
        ids = (V * rng.uniform(size=(samples * STEPS, columns)) ** 3).astype(np.int32)
        ids[rng.uniform(size=ids.shape) < 0.05] = STILL
        self.ids = ids
        # Out of reach, so that no gradient is as small as the rounding of what it is made of.
        far = rng.uniform(6, 9, (samples * STEPS, SIZE)) * rng.choice([-1, 1], SIZE)
        self.targets = far.astype(np.float32)
        self.rates = np.linspace(1, 0.1, updates) / updates
        self.first, self.second = np.zeros((V, SIZE)), np.zeros((V, SIZE))
        self.count = 0

    def epoch(self, updates: int, limit: float = 1e30) -> str:
        starts = np.arange(0, len(self.ids), STEPS, dtype=np.int64)
        lengths = np.full(len(starts), STEPS, np.int64)
        empty = np.empty((len(self.ids), 0), np.float32)
        samples = _engine.Samples(
            empty, starts, lengths, self.targets.ravel(), starts * SIZE, SIZE, SIZE, True,
            [None] * 4, 1, 0, 0, 0, self.ids,
        )  # fmt: skip
        order = np.arange(updates * BATCH, dtype=np.int64)
        bounds = np.arange(0, updates * BATCH + 1, BATCH, dtype=np.int64)
        rates = self.rates[:updates]
        return str(self.trainer.epoch(samples, order, bounds, None, None, rates, limit)[0])

    def parameters(self) -> np.ndarray:
        vector = np.empty(V * SIZE, np.float32)
        self.net.get_parameters(vector)
        return vector.reshape(V, SIZE)

    def gradients(self) -> np.ndarray:
        vector = np.empty(V * SIZE, np.float32)
        self.net.get_gradients(vector)
        return vector.reshape(V, SIZE)

    def gradient(self, table: np.ndarray, update: int) -> np.ndarray:
        rows = slice(update * BATCH * STEPS, (update + 1) * BATCH * STEPS)
        ids, target = self.ids[rows], self.targets[rows].astype(np.float64)
        read = table[ids]
        read[ids == STILL] = 0
        d = 2 * (read.sum(axis=1) - target) / target.size
        gradient = np.zeros_like(table)
        for column in ids.T:
            np.add.at(gradient, column, d)
        gradient[STILL] = 0
        return gradient

    def expected_epoch(self, table: np.ndarray, updates: int) -> np.ndarray:
        """Every row in every update; the rules as in PyTorch."""
        o, learns = self.options, np.arange(V)[:, None] != STILL
        for update in range(updates):
            rate = self.rates[update]
            gradient = self.gradient(table, update)
            if o["clip_value"]:
                gradient = gradient.clip(-o["clip_value"], o["clip_value"])
            if o["clip_norm"]:
                gradient *= min(1.0, o["clip_norm"] / (np.linalg.norm(gradient) + 1e-6))
            if o["optimizer"] == "adamw":
                table = np.where(learns, table * (1 - rate * o["weight_decay"]), table)
            else:
                gradient = np.where(learns, gradient + o["weight_decay"] * table, 0)
            self.count += 1
            if o["optimizer"] == "sgd":
                self.first = o["momentum"] * self.first + gradient
                table = table - rate * self.first
            elif o["optimizer"] == "rmsprop":
                self.first = 0.99 * self.first + 0.01 * gradient**2
                table = table - rate * gradient / (np.sqrt(self.first) + 1e-8)
            else:
                self.first = 0.9 * self.first + 0.1 * gradient
                self.second = 0.999 * self.second + 0.001 * gradient**2
                m = self.first / (1 - 0.9**self.count)
                v = self.second / (1 - 0.999**self.count)
                table = table - rate * m / (np.sqrt(v) + 1e-8)
        return table


def check(problem: Problem, epochs: tuple[int, ...]) -> None:
    """Each epoch but the first begins with the moments of the one before."""
    table = problem.table.astype(np.float64)
    for updates in epochs:
        before = table
        assert problem.epoch(updates) == "done"
        table = problem.expected_epoch(table, updates)
        got = problem.parameters()
        oracles.assert_forward_close(got, table, tolerances.OPTIMIZER)
        assert np.array_equal(got[STILL], problem.table[STILL])
        assert (np.abs(table - before).max(axis=1) > 0).sum() > 50
        if problem.options["optimizer"] == "adam" and problem.options["weight_decay"]:
            continue
        read = problem.ids[(updates - 1) * BATCH * STEPS : updates * BATCH * STEPS]
        rows = np.flatnonzero(problem.gradients().any(axis=1))
        assert rows.tolist() == sorted(set(read.ravel().tolist()) - {STILL})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_that_waited_are_where_every_update_would_have_moved_them(name: str, isa: str) -> None:
    check(Problem(OPTIMIZERS[name]), (50, 7))


def test_rows_wait_for_long() -> None:
    """Longer than their momentum shows; of one column, which reads a padding row as it stands."""
    problem = Problem(OPTIMIZERS["adamw"], columns=1, updates=300)
    problem.ids[problem.ids == STILL] = STILL + 1
    check(problem, (300,))


@pytest.mark.parametrize("name", ["adamw", "momentum"])
def test_bits_depend_on_no_thread(name: str, threads: None) -> None:
    results = []
    for count in (1, 3):
        hg.set_num_threads(count)
        problem = Problem(OPTIMIZERS[name])
        problem.epoch(50)
        results.append(problem.parameters().tobytes())
    assert results[0] == results[1]


def test_weights_before_a_bad_loss_come_back_whole() -> None:
    problem = Problem(OPTIMIZERS["adamw"])
    problem.epoch(9)
    before = problem.parameters()
    problem.targets[6 * BATCH * STEPS :] = 1e6
    assert problem.epoch(9, limit=1e3) == "diverged"
    assert np.array_equal(problem.parameters(), before)
