"""The jobs that headgate is measured by: their data, their first weights, their yardsticks.

Needs NumPy only, and draws from private generators, so that importing it changes nothing.
Shape letters: N batch, T time, I inputs, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = dict[str, Array]
Shape = tuple[int, int, int, int]  # N, T, I, H

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"

SINE_EPOCHS, SINE_HIDDEN, SINE_RATE = 150, 16, 5e-4
WINDOW_EPOCHS, WINDOW_HIDDEN, WINDOW_RATE, WINDOW_BATCH = 50, 50, 1e-3, 32
INFERENCE_SHAPE: Shape = (1, 200, 32, 64)
LIVE_HIDDEN, LIVE_STEPS = (16, 64), 500
STEP_RATE = 1e-3
GATES = {"gru": 3, "lstm": 4}

# Whole training steps and inference are measured here -> the target of the former, times PyTorch.
GRID: dict[Shape, float] = {
    (1, 20, 1, 16): 500,
    (1, 200, 32, 64): 80,
    (32, 10, 1, 50): 12,
    (32, 50, 16, 64): 6,
    (32, 100, 64, 128): 3,
    (64, 100, 128, 256): 1.7,
    (64, 50, 512, 512): 1.25,
}


@dataclass(frozen=True)
class SineJob:
    """Sine, one by one: a noisy sine cut into runs, and the stretch that a roll-out follows."""

    x: Array  # (38, 20, 1) inputs, in order of time
    y: Array  # (38, 20, 1) the same values one step later
    x_first: float  # the first value of the test part, which starts the roll-out
    truth: NDArray[np.float64]  # (199,) the values after it

    def rollout_mse(self, path: NDArray[np.floating]) -> float:
        """Mean squared error of a roll-out path of 199 predictions."""
        return float(np.mean((np.asarray(path, np.float64).ravel() - self.truth) ** 2))


def sine_one_by_one() -> SineJob:
    """1,000 noisy points of five periods; the first 800 become 38 runs of 21 (20 -> 20)."""
    noise = np.random.RandomState(42).normal(0, 0.1, 1000)
    series = np.round(np.sin(np.linspace(0, 10 * np.pi, 1000)) + noise, 6)
    runs = series[: 38 * 21].reshape(38, 21, 1).astype(np.float32)
    return SineJob(
        x=np.ascontiguousarray(runs[:, :-1]),
        y=np.ascontiguousarray(runs[:, 1:]),
        x_first=float(series[800]),
        truth=series[801:],
    )


@dataclass(frozen=True)
class WindowJob:
    """Sine, windows: ten values predict the next."""

    x: Array  # (792, 10, 1) training windows, in the order in which every peer takes them
    y: Array  # (792, 1)
    x_val: Array  # (198, 10, 1)
    y_val: Array  # (198, 1)

    def errors(
        self, predicted: NDArray[np.floating], predicted_val: NDArray[np.floating]
    ) -> dict[str, float]:
        """Mean squared errors of predictions for ``x`` and ``x_val``, by the final weights."""
        result = {}
        for name, values, truth in (
            ("train_mse", predicted, self.y),
            ("validation_mse", predicted_val, self.y_val),
        ):
            difference = np.asarray(values, np.float64).reshape(truth.shape) - truth
            result[name] = float(np.mean(difference**2))
        return result


def sine_windows() -> WindowJob:
    """The training windows are shuffled once, here, and then taken in this order every epoch.

    Each library shuffles by a generator of its own. With one fixed order all of them make the
    same 1,250 updates, so that their losses can be compared to several digits.
    """
    noise = np.random.RandomState(42).normal(0, 0.05, 1000)
    series = np.sin(np.linspace(0, 100, 1000)) + noise
    series = (series - series.min()) / (series.max() - series.min())
    windows = np.lib.stride_tricks.sliding_window_view(series, 11).astype(np.float32)
    train, val = windows[:792], windows[792:]
    train = train[np.random.RandomState(0).permutation(len(train))]
    return WindowJob(
        x=np.ascontiguousarray(train[:, :10, None]),
        y=np.ascontiguousarray(train[:, 10:]),
        x_val=np.ascontiguousarray(val[:, :10, None]),
        y_val=np.ascontiguousarray(val[:, 10:]),
    )


def sine_weights() -> Weights:
    """What ``torch.manual_seed(0)`` gives ``nn.GRU(1, 16)``, ``nn.Linear(16, 1)``; see golden/."""
    with np.load(GOLDEN / "sine_s3_weights.npz") as stored:
        return {name: stored[name] for name in stored.files if name.startswith(("gru.", "head."))}


def sine_loss_curve() -> NDArray[np.float64]:
    """PyTorch's training loss after each of the 150 epochs of the sine job, as recorded."""
    with np.load(GOLDEN / "sine_s3_weights.npz") as stored:
        return np.asarray(stored["gru_carried.loss"], np.float64)


def sine_rollout_mse() -> float:
    """PyTorch's roll-out error in the sine job, as recorded."""
    with np.load(GOLDEN / "sine_s3_weights.npz") as stored:
        return float(stored["gru_carried.rollout_mse"])


def gru_weights(inputs: int, hidden: int, seed: int, *, outputs: int = 0) -> Weights:
    """Weights of a GRU as PyTorch names and draws them; with ``outputs`` a linear head is added."""
    return cell_weights("gru", inputs, hidden, seed, outputs=outputs)


def cell_weights(cell: str, inputs: int, hidden: int, seed: int, *, outputs: int = 0) -> Weights:
    """Weights drawn as PyTorch draws them, uniform in +-1/sqrt(H).

    ``cell`` is "gru" (gate order r, z, n) or "lstm" (i, f, g, o); parameters are called after it.
    """
    draw = np.random.default_rng(seed)
    bound, rows = hidden**-0.5, GATES[cell] * hidden
    shapes: dict[str, tuple[int, ...]] = {
        f"{cell}.weight_ih_l0": (rows, inputs),
        f"{cell}.weight_hh_l0": (rows, hidden),
        f"{cell}.bias_ih_l0": (rows,),
        f"{cell}.bias_hh_l0": (rows,),
    }
    if outputs:
        shapes |= {"head.weight": (outputs, hidden), "head.bias": (outputs,)}
    return {
        name: draw.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def window_weights() -> Weights:
    """First weights of the windows job, the same for every peer."""
    return gru_weights(1, WINDOW_HIDDEN, seed=1, outputs=1)


def window_errors(epochs: int) -> dict[str, float]:
    """PyTorch's errors after ``epochs`` of the windows job; JAX and Keras reach the same."""
    recorded = {
        10: {"train_mse": 0.00098035, "validation_mse": 0.00092039},
        50: {"train_mse": 0.00086395, "validation_mse": 0.00078639},
    }
    return recorded[epochs]


def as_shape(sizes: Sequence[int]) -> Shape:
    """A shape that came as a JSON list."""
    n, steps, inputs, hidden = sizes
    return n, steps, inputs, hidden


# -- inference ---------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def inference_case(shape: Shape = INFERENCE_SHAPE) -> tuple[Weights, Array]:
    """Weights of a GRU(I -> H) and input sequences (N, T, I)."""
    n, steps, inputs, hidden = shape
    x = np.random.default_rng(3).standard_normal((n, steps, inputs))
    return gru_weights(inputs, hidden, seed=2), x.astype(np.float32)


@lru_cache(maxsize=1)
def inference_reference(shape: Shape = INFERENCE_SHAPE) -> NDArray[np.float64]:
    """The outputs (N, T, H) of :func:`inference_case` in float64, by the plain equations."""
    return states(*inference_case(shape))


def inference_error(outputs: NDArray[np.floating], shape: Shape = INFERENCE_SHAPE) -> float:
    """Largest absolute difference of outputs (N, T, H) from :func:`inference_reference`."""
    difference = np.asarray(outputs, np.float64) - inference_reference(shape)
    return float(np.abs(difference).max())


def live_shape(hidden: int) -> Shape:
    """One sequence of single values that is followed step by step."""
    return 1, LIVE_STEPS, 1, hidden


@lru_cache(maxsize=2)
def live_case(shape: Shape) -> tuple[Weights, list[float], NDArray[np.float64]]:
    """Weights with a linear head, the values one by one, and the predictions (T,) in float64."""
    _, steps, inputs, hidden = shape
    weights = gru_weights(inputs, hidden, seed=2, outputs=1)
    x = np.random.default_rng(3).standard_normal((1, steps, inputs)).astype(np.float32)
    expected = states(weights, x)[0] @ weights["head.weight"][0].astype(np.float64)
    return weights, x[0, :, 0].tolist(), expected + weights["head.bias"][0]


def live_error(outputs: Sequence[float], shape: Shape) -> float:
    """Largest absolute difference of predictions from those of :func:`live_case`."""
    return float(np.abs(np.array(outputs) - live_case(shape)[2]).max())


def states(
    weights: Weights,
    x: NDArray[np.floating],
    *,
    cell: str = "gru",
    reset_after: bool = True,
    layer_norm: bool = False,
    **training: Any,
) -> NDArray[np.float64]:
    """States (N, T, H) of one recurrent layer in float64, by the plain equations.

    ``weights`` may hold other layers too. The keywords are those of ``headgate.Network``; those
    that matter in training alone are accepted and ignored.
    """
    del training
    prefix = f"{cell}."
    w = {
        name.removeprefix(prefix).removesuffix("_l0"): value.astype(np.float64)
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    hidden = w["weight_hh"].shape[1]

    def product(side: str, gate: int, v: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = slice(gate * hidden, (gate + 1) * hidden)
        value = v @ w[f"weight_{side}"][rows].T
        if layer_norm:
            value = value - value.mean(-1, keepdims=True)
            scale = np.sqrt((value**2).mean(-1, keepdims=True) + 1e-5)
            value = w[f"norm_{side}"][rows] * value / scale
        bias = w[f"bias_{side}"][rows]
        return value + bias if bias.size else value  # reset_after=False: n has one bias

    def sigmoid(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-v))

    h = c = np.zeros((len(x), hidden))
    outputs = np.empty((*x.shape[:2], hidden))
    for t in range(x.shape[1]):
        u = x[:, t].astype(np.float64)
        if cell == "lstm":
            i, f, g, o = (product("ih", k, u) + product("hh", k, h) for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            r, z = (sigmoid(product("ih", k, u) + product("hh", k, h)) for k in range(2))
            recurrent = r * product("hh", 2, h) if reset_after else product("hh", 2, r * h)
            h = (1 - z) * np.tanh(product("ih", 2, u) + recurrent) + z * h
        outputs[:, t] = h
    return outputs


# -- whole training steps at a shape -----------------------------------------------------------


def products(shape: Shape, *, training: bool, cell: str = "gru") -> int:
    """Floating-point operations of the matrix products that a pass over one batch must do.

    Forward W x and U h; in training also the gradients of W, U and h, but not that of x, which
    nobody needs. The head is left out: it is 1/H of a gate.
    """
    n, steps, inputs, hidden = shape
    passes = 2 * inputs + 3 * hidden if training else inputs + hidden
    return 2 * n * steps * GATES[cell] * hidden * passes


def updates_per_epoch(shape: Shape) -> int:
    """How many updates are timed as one epoch: about 0.1 s of PyTorch, from 2 to 40.

    A rough estimate of PyTorch's step is enough: 0.1 ms for a step of time and 50 GFLOP/s.
    """
    estimate = 1e-4 * shape[1] + products(shape, training=True) / 50e9
    return max(2, min(40, round(0.1 / estimate)))


@dataclass(frozen=True)
class StepJob:
    """One epoch of training at a shape: as many batches of N as :func:`updates_per_epoch` says."""

    x: Array  # (updates * N, T, I) standard normal
    y: Array  # (updates * N, T, 1) made of this and the last step's first feature


@lru_cache(maxsize=1)
def step_job(shape: Shape) -> StepJob:
    n, steps, inputs, _ = shape
    x = np.random.default_rng(4).standard_normal((updates_per_epoch(shape) * n, steps, inputs))
    y = 0.5 + 0.5 * x[:, :, :1]
    y[:, 1:] += 0.3 * x[:, :-1, :1]
    return StepJob(x.astype(np.float32), y.astype(np.float32))


def step_weights(shape: Shape, cell: str) -> Weights:
    """First weights of a training step: a cell and a linear head of one output."""
    return cell_weights(cell, shape[2], shape[3], seed=5, outputs=1)


RANDOM_TOPS = (128, 300, 600, 600)  # the largest N, T, I, H that are drawn; the smallest is 1
RANDOM_WORK = 20e9  # floating-point operations of a step


def draw_shapes(count: int, seed: int) -> list[tuple[Shape, int]]:
    """Shapes drawn log-uniformly up to ``RANDOM_TOPS``, each with the T that was drawn.

    Where a step would be more work than ``RANDOM_WORK`` (some 0.3 s), T is shortened to what
    fits: the matrices that decide a shape's speed are then still as large as drawn.
    """
    draw = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        # floor(e^u), u uniform in [0, log(top + 1)): every whole number from 1 to top
        n, steps, inputs, hidden = (
            min(top, math.floor(math.exp(draw.uniform(0, math.log(top + 1)))))
            for top in RANDOM_TOPS
        )
        one = products((n, 1, inputs, hidden), training=True)
        drawn.append(((n, max(1, min(steps, int(RANDOM_WORK // one))), inputs, hidden), steps))
    return drawn
