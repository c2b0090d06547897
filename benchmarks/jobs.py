"""The jobs that headgate is measured by: their data, their first weights, their yardsticks.

Needs NumPy only, and draws from private generators, so that importing it changes nothing.
Shape letters: N batch, T time, I inputs, H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = dict[str, Array]

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"

SINE_EPOCHS, SINE_HIDDEN, SINE_RATE = 150, 16, 5e-4
WINDOW_EPOCHS, WINDOW_HIDDEN, WINDOW_RATE, WINDOW_BATCH = 50, 50, 1e-3, 32
INFERENCE_T, INFERENCE_I, INFERENCE_H = 200, 32, 64


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
    """Weights drawn as PyTorch draws them, uniform in +-1/sqrt(H); gate order r, z, n.

    With ``outputs`` a linear head is added.
    """
    draw = np.random.default_rng(seed)
    bound = hidden**-0.5
    shapes: dict[str, tuple[int, ...]] = {
        "gru.weight_ih_l0": (3 * hidden, inputs),
        "gru.weight_hh_l0": (3 * hidden, hidden),
        "gru.bias_ih_l0": (3 * hidden,),
        "gru.bias_hh_l0": (3 * hidden,),
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


def inference_case() -> tuple[Weights, Array]:
    """Weights of a GRU(32 -> 64) and one input sequence (1, 200, 32)."""
    x = np.random.default_rng(3).standard_normal((1, INFERENCE_T, INFERENCE_I))
    return gru_weights(INFERENCE_I, INFERENCE_H, seed=2), x.astype(np.float32)


def inference_reference() -> NDArray[np.float64]:
    """The outputs (200, 64) of :func:`inference_case` in float64, by the plain equations."""
    weights, x = inference_case()
    w = {name.split(".")[1]: value.astype(np.float64) for name, value in weights.items()}
    state = np.zeros(INFERENCE_H)
    outputs = np.empty((INFERENCE_T, INFERENCE_H))
    for t, row in enumerate(x[0].astype(np.float64)):
        xr, xz, xn = np.split(w["weight_ih_l0"] @ row + w["bias_ih_l0"], 3)
        hr, hz, hn = np.split(w["weight_hh_l0"] @ state + w["bias_hh_l0"], 3)
        r, z = 1 / (1 + np.exp(-(xr + hr))), 1 / (1 + np.exp(-(xz + hz)))
        state = (1 - z) * np.tanh(xn + r * hn) + z * state
        outputs[t] = state
    return outputs


def inference_error(outputs: NDArray[np.floating]) -> float:
    """Largest absolute difference of outputs (200, 64) from :func:`inference_reference`."""
    difference = np.asarray(outputs, np.float64) - inference_reference()
    return float(np.abs(difference).max())
