"""Helpers that several tests share: random networks, central differences, comparisons.

Everything is float64 unless said otherwise; shape letters as in ``headgate.reference``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tolerances

import headgate as hg

GRU_KEYS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def gru_tensors(
    rng: np.random.Generator,
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = True,
    dtype: Any = np.float64,
) -> dict[str, np.ndarray]:
    """One layer's tensors by short name, U(-1/sqrt(H), 1/sqrt(H)) as by default.

    The numbers are float32 ones whatever ``dtype``, so that a kernel and the float64 reference
    can be given exactly the same weights.
    """
    h = hidden_size
    shapes = {
        "weight_ih": (3 * h, input_size),
        "weight_hh": (3 * h, h),
        "bias_ih": (3 * h,),
        "bias_hh": (3 * h if reset_after else 2 * h,),
    }
    return {key: uniform(rng, shape, h, dtype) for key, shape in shapes.items()}


def network_tensors(
    spec: Any, rng: np.random.Generator, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Tensors by full name for a NetworkSpec: each layer's bound is 1/sqrt(H) or 1/sqrt(I)."""
    tensors: dict[str, np.ndarray] = {}
    widths = spec.widths()
    for layer in spec.layers:
        width = widths[layer.inputs[0]]
        fan = layer.hidden_size if layer.kind == "gru" else width
        for key, shape in layer.parameter_shapes(width).items():
            tensors[f"{layer.name}.{key}"] = uniform(rng, shape, fan, dtype)
    return tensors


def uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan: int, dtype: Any = np.float64
) -> np.ndarray:
    """U(-1/sqrt(fan), 1/sqrt(fan)), rounded to float32, held as ``dtype``."""
    bound = 1 / np.sqrt(fan)
    return rng.uniform(-bound, bound, shape).astype(np.float32).astype(dtype)


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """N(0, 1), rounded to float32, held as ``dtype``."""
    return rng.standard_normal(shape).astype(np.float32).astype(dtype)


def random_lengths(rng: np.random.Generator, n: int, t: int, *, shortest: int = 1) -> np.ndarray:
    """(N,) lengths in shortest..T, with T and the shortest both there where N allows it."""
    lengths = rng.integers(shortest, t + 1, n)
    lengths[0] = t
    lengths[-1] = shortest if n > 1 else t
    return lengths


def central_differences(
    function: Callable[[], float],
    array: np.ndarray,
    step: float = tolerances.DIFFERENCE_STEP,
) -> np.ndarray:
    """d function / d array, every element: ``array`` is changed in place and put back."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        direction = np.zeros_like(array)
        direction[index] = 1.0
        gradient[index] = directional_difference(function, array, direction, step)
    return gradient


def directional_difference(
    function: Callable[[], float],
    array: np.ndarray,
    direction: np.ndarray,
    step: float = tolerances.DIFFERENCE_STEP,
) -> float:
    """d function as ``array`` moves along ``direction``: fourth-order central difference.

    (8 (f(+s) - f(-s)) - (f(+2s) - f(-2s))) / 12 s; ``array`` is put back.
    """
    assert array.dtype == np.float64, "differences of float32 say nothing"
    before = array.copy()
    total = 0.0
    for steps, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
        array[...] = before + steps * step * direction
        total += weight * function()
    array[...] = before
    return total / (12 * step)


def assert_gradient_close(
    got: np.ndarray, expected: np.ndarray, name: str, rtol: float, *, floor: float = 0.0
) -> None:
    """max|difference| <= rtol * max(floor, max|expected|), and nothing that is not finite."""
    assert got.shape == expected.shape, f"{name}: shape {got.shape}, expected {expected.shape}"
    if expected.size == 0:
        return
    difference = float(np.max(np.abs(got.astype(np.float64) - expected)))
    limit = rtol * max(floor, float(np.max(np.abs(expected))))
    assert difference <= limit, f"{name}: max|difference| {difference:.3e} > {limit:.3e}"


def assert_forward_close(got: np.ndarray, expected: np.ndarray, atol: float) -> None:
    """max|difference| <= atol, same shape; NaN fails."""
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if expected.size == 0:
        return
    difference = float(np.max(np.abs(got.astype(np.float64) - expected)))
    assert difference <= atol, f"max|difference| {difference:.3e} > {atol:.3e}"


def chained(input_size: int, *layers: Any) -> hg.NetworkSpec:
    """A spec of layers given as ``(class, name, options)``, each reading the one before it."""
    built, previous = [], "x"
    for kind, name, options in layers:
        built.append(kind(name, (previous,), **options))
        previous = name
    return hg.NetworkSpec(inputs=(hg.InputSpec("x", input_size),), layers=tuple(built))


def network(spec: hg.NetworkSpec, tensors: dict[str, np.ndarray], seed: int = 0) -> hg.Network:
    """A network of the engine with these weights."""
    net = hg.Network(spec, seed=seed)
    net.load_state_dict(tensors)
    return net


def engine_gradients(
    net: hg.Network,
    x: np.ndarray,
    y: np.ndarray,
    loss: str,
    lengths: np.ndarray | None = None,
    state: Any = None,
    **options: Any,
) -> tuple[float, dict[str, np.ndarray]]:
    """The engine's loss and gradients of one batch, through one update that changes nothing."""
    before = net.state_dict()
    history = net.fit(
        x,
        y,
        lengths=lengths,
        epochs=1,
        batch_size=len(x),
        shuffle=False,
        stateful=state is not None,
        state=state,
        optimizer="sgd",
        learning_rate=1e-30,
        loss=loss,
        **options,
    )
    after = net.state_dict()
    assert all(np.allclose(before[name], after[name], rtol=0, atol=1e-20) for name in before)
    return float(history.loss[0]), net._engine.gradients()
