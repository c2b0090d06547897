"""Helpers that several tests share: random networks, central differences, comparisons.

Everything is float64 unless said otherwise; shape letters as in ``headgate.reference``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tolerances

import headgate as hg
from headgate import reference

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


def cell_tensors(
    rng: np.random.Generator,
    cell: str,
    input_size: int,
    hidden_size: int,
    *,
    layer_norm: bool = False,
    dtype: Any = np.float64,
) -> dict[str, np.ndarray]:
    """One direction's tensors of any cell of ``reference.CELLS``, drawn as :func:`gru_tensors`.

    Gains are drawn from 0.5..1.5, since ones would hide a gain that is left out.
    """
    h, rows = hidden_size, reference.CELLS[cell].gates * hidden_size
    shapes = {
        "weight_ih": (rows, input_size),
        "weight_hh": (rows, h),
        "bias_ih": (rows,),
        "bias_hh": (reference.CELLS[cell].bias_hh_gates * h,),
    }
    tensors = {key: uniform(rng, shape, h, dtype) for key, shape in shapes.items()}
    if layer_norm:
        tensors |= {key: gains(rng, (rows,), dtype) for key in ("norm_ih", "norm_hh")}
    return tensors


def network_tensors(
    spec: Any, rng: np.random.Generator, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Tensors by full name for a NetworkSpec: each layer's bound is 1/sqrt(H) or 1/sqrt(I).

    An embedding is N(0, 1), its padding row too: a row of zeros would hide what reads it.
    """
    tensors: dict[str, np.ndarray] = {}
    for layer in spec.layers:
        reads = spec.reads(layer)
        fan = getattr(layer, "hidden_size", reads)
        for key, shape in layer.parameter_shapes(reads).items():
            if key.startswith("norm"):
                tensor = gains(rng, shape, dtype)
            elif layer.kind == "embedding":
                tensor = normal(rng, shape, dtype)
            else:
                tensor = uniform(rng, shape, fan, dtype)
            tensors[f"{layer.name}.{key}"] = tensor
    return tensors


def gains(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """U(0.5, 1.5), rounded to float32, held as ``dtype``."""
    return rng.uniform(0.5, 1.5, shape).astype(np.float32).astype(dtype)


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
    x: np.ndarray | dict[str, np.ndarray],
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
        batch_size=len(y),
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


# -- dropout's masks ---------------------------------------------------------------------------

WORD = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def mix(number: int) -> int:
    """splitmix64's finaliser."""
    word = (1 << 64) - 1
    number = (number + 0x9E3779B97F4A7C15) & word
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & word
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & word
    return number ^ number >> 31


def philox(key: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Philox4x32-10 (Salmon et al. 2011): uint64 counters (...) give 32-bit numbers (..., 4).

    ``low`` and ``high`` are the two halves of the 128-bit counter.
    """
    low, high = np.broadcast_arrays(low.astype(np.uint64), high.astype(np.uint64))
    counter = [low & WORD, low >> HALF, high & WORD, high >> HALF]
    key_0, key_1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first = np.uint64(0xD2511F53) * counter[0]
        second = np.uint64(0xCD9E8D57) * counter[2]
        counter = [
            (second >> HALF) ^ counter[1] ^ np.uint64(key_0),
            second & WORD,
            (first >> HALF) ^ counter[3] ^ np.uint64(key_1),
            first & WORD,
        ]
        key_0 = (key_0 + 0x9E3779B9) & 0xFFFFFFFF
        key_1 = (key_1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(counter, axis=-1)


def dropout_mask(
    key: tuple[int, int, int], samples: np.ndarray, times: np.ndarray, units: int, rate: float
) -> np.ndarray:
    """(N, T, F) of 0 and 1 / (1 - rate), as the engine draws it for samples (N,) and times (T,).

    ``key`` is (seed, update, stream).
    """
    seed, update, stream = key
    word = mix(seed ^ mix(update * 0x10001 + stream))
    blocks = np.arange(-(-units // 4), dtype=np.uint64)
    high = times.astype(np.uint64)[:, None] << HALF | blocks
    numbers = philox(word, samples[:, None, None], high[None])
    numbers = numbers.reshape(len(samples), len(times), -1)[:, :, :units]
    kept = np.float64(np.float32(1 / (1 - rate)))
    return np.where(numbers < np.uint64(int(rate * 2**32)), 0.0, kept)


def masks_for(
    spec: hg.NetworkSpec, seed: int, update: int, samples: np.ndarray, steps: int
) -> dict[str, np.ndarray]:
    """The masks of one training update, as ``reference.network_forward`` takes them.

    ``update`` counts from 0; ``samples`` (N,) are the samples' places in the training table. A
    stack becomes a row of the engine for input dropout, then for each layer one for the
    recurrence, its residual sum and the dropout behind it; any other layer is one row. The masks
    of row i are stream i + 1.
    """
    masks: dict[str, np.ndarray] = {}
    widths, row = spec.widths(), 0
    every_step, first_step = np.arange(steps), np.arange(1)
    pooled: set[str] = set()

    def draw(name: str, times: np.ndarray, units: int, rate: float) -> None:
        if rate:
            masks[name] = dropout_mask((seed, update, row + 1), samples, times, units, rate)

    for layer in spec.layers:
        if layer.kind in ("last", "mean", "max", "attention") or pooled & set(layer.inputs):
            pooled.add(layer.name)
        if layer.kind not in ("gru", "lstm", "rnn"):
            if layer.kind == "dropout":
                once = layer.per_sequence or layer.name in pooled
                draw(layer.name, first_step if once else every_step, widths[layer.name], layer.rate)
                if layer.name in pooled and layer.rate:
                    masks[layer.name] = masks[layer.name][:, 0]
            row += 1
            continue
        if layer.input_dropout:
            width = widths[layer.inputs[0]]
            draw(f"{layer.name}.input", first_step, width, layer.input_dropout)
            row += 1
        for k in range(layer.num_layers):
            name = f"{layer.name}.recurrent_l{k}"
            directions = np.arange(layer.directions)  # stand where the time step stands elsewhere
            draw(name, directions, layer.hidden_size, layer.recurrent_dropout)
            if name in masks:
                masks[name] = masks[name].transpose(1, 0, 2)
            row += 1
            if layer.residual and k:
                row += 1
            if layer.dropout and k + 1 < layer.num_layers:
                draw(f"{layer.name}.between_l{k}", every_step, widths[layer.name], layer.dropout)
                row += 1
    return masks
