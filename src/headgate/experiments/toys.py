"""Jobs that need no data: a sine learned one value after the other, and the adding problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable, from_arrays
from ..training.history import History
from .job import Job, Scores

Float32 = npt.NDArray[np.float32]

RUNS, STEPS = 38, 20  # of the sine to learn from
LEARNED, AHEAD = 800, 199  # points before the roll-out, and its steps
ALWAYS_ONE = "always 1"
EXAMPLES, TESTS = 10_000, 1000  # of the adding problem
BATCH, LEARNING_RATE, UPDATES = 50, 5e-3, 2000


def sine_series() -> Float32:
    """(1000,) float32: five periods of a sine with normal noise of 0.1."""
    noise = np.random.RandomState(42).normal(0, 0.1, 1000)
    series = np.sin(np.linspace(0, 10 * np.pi, 1000)) + noise
    return np.asarray(np.round(series, 6), np.float32)


def sine_job() -> Job:
    """38 runs of 20 values, one after the other; then 199 steps on a model's own predictions.

    Batch 1, in order, MSE at every step, Adam 5e-4, 150 epochs; what a network remembers goes on
    from run to run and from epoch to epoch.
    """
    series = sine_series()
    cut = series[: RUNS * (STEPS + 1)].reshape(RUNS, STEPS + 1, 1)
    train = from_arrays(cut[:, :-1], cut[:, 1:], input_size=1, output_size=1, readout="every")

    truth = series[LEARNED + 1 :]

    def path(model: Any) -> Float32:
        return np.asarray(model.rollout(series[LEARNED : LEARNED + 1], AHEAD)[:, 0])

    def score(model: Any, history: History) -> Scores:
        error = float(np.mean((path(model).astype(np.float64) - truth) ** 2))
        return {"train loss": history.losses[-1], "roll-out MSE": error}

    flat = {"train loss": float(np.var(cut[:, 1:])), "roll-out MSE": float(np.var(truth))}
    return Job(
        "sine",
        "a noisy sine",
        f"{RUNS} runs of {STEPS} values to learn from, in order; then {AHEAD} steps alone",
        train,
        None,
        score,
        ("roll-out MSE", "train loss"),
        outputs=1,
        order=np.arange(RUNS),
        fit={"batch_size": 1, "shuffle": False, "stateful": True, "learning_rate": 5e-4},
        values=1,
        every=True,
        epochs=150,
        baselines={"the mean": flat},
        hidden=16,
        path=path,
        truth=truth,
    )


def adding_table(length: int, count: int, seed: int) -> SampleTable:
    """``count`` samples of the adding problem: (value, marker) at each step, the sum of two values.

    Values are uniform in [0, 1]; one step of each half has the marker 1, all others 0. Hochreiter
    and Schmidhuber 1997, in the form of Le, Jaitly and Hinton 2015, arXiv 1504.00941: who always
    says 1 has the mean squared error 1/6.
    """
    rng = np.random.default_rng(seed)
    x = np.zeros((count, length, 2), np.float32)
    x[:, :, 0] = rng.random((count, length), np.float32)
    half = length // 2
    marked = np.stack([rng.integers(0, half, count), rng.integers(half, length, count)], axis=1)
    rows = np.arange(count)[:, None]
    x[rows, marked, 1] = 1
    y = x[rows, marked, 0].sum(axis=1)
    return from_arrays(x, y, input_size=2, output_size=1, readout="last")


def adding_job(length: int) -> Job:
    """Remember two of ``length`` numbers; how far back a model can see."""
    train, validation, test = (
        adding_table(length, count, seed) for count, seed in ((EXAMPLES, 1), (500, 2), (TESTS, 3))
    )

    def score(model: Any, _: History) -> Scores:
        return {"MSE": float(model.evaluate(test))}

    assert test.y is not None
    return Job(
        "adding",
        "the adding problem",
        f"{EXAMPLES:,} samples to learn from, {TESTS:,} to test on; two numbers of each are to be "
        "added",
        train,
        validation,
        score,
        ("MSE",),
        outputs=1,
        order=np.arange(EXAMPLES),
        fit={"batch_size": BATCH, "learning_rate": LEARNING_RATE, "clip_norm": 1.0},
        values=2,
        updates=UPDATES,
        baselines={ALWAYS_ONE: {"MSE": float(np.mean((test.y - 1.0) ** 2))}},
        hidden=32,
    )
