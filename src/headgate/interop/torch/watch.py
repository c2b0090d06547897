"""Runs of somebody's module in which its layers are watched: what each reads and puts out.

Shape letters: N samples, T steps, F features, V tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ...errors import InputError
from .networks import evaluating

Array = NDArray[Any]
Forms = dict[str, Array]  # by the layout that a tensor is taken for: (N, T, F), or (N, F)

SHAPES = ((4, 7), (3, 5))  # (N, T) of the runs; unlike, so that no axis is taken for another
LONG = (2, 40)  # for modules that look at the last steps alone
GIVE_SPEC = "build the spec yourself and pass spec=, whose weights are then taken without a run"


class CannotRun(Exception):
    """The module's own code has raised, on inputs that may be the wrong ones."""


@dataclass(frozen=True)
class Feed:
    """How a module is called.

    Attributes:
        tokens: how many there are; 0 for values.
        width: features of the values; 0: (N, T) without an axis for one feature.
        batch_first: N, T or T, N.
        second: what else it is given: "", "lengths" or "None".
    """

    tokens: int
    width: int
    batch_first: bool
    second: str

    def __str__(self) -> str:
        axes = "N, T" if self.batch_first else "T, N"
        what = "tokens" if self.tokens else "values"
        last = f", {self.width}" if self.width else ""
        return f"{what} ({axes}{last}){' and ' + self.second if self.second else ''}"


@dataclass
class Run:
    """One call: inputs as a network takes them, and of each layer what it read and put out."""

    x: Array
    lengths: list[int] | None
    read: dict[str, Forms] = field(default_factory=dict)
    made: dict[str, Forms] = field(default_factory=dict)
    output: Forms = field(default_factory=dict)


class Noise(NamedTuple):
    """N(``shift``, ``scale`` squared)."""

    rng: np.random.Generator
    shift: float
    scale: float = 1.0


# Around 0, mostly below, so that a ReLU shows behind a maximum too, and far from it, where a ReLU6
# and other limits show.
SPREADS = ((0.0, 1.0), (-2.0, 1.0), (0.0, 100.0))


class Case(NamedTuple):
    """What one run is given beside its shape: lengths or not, and steps that look like padding."""

    shape: tuple[int, int]
    ragged: bool = False
    padded: bool = False


def feeds(module: nn.Module, layers: dict[str, nn.Module]) -> Iterator[Feed]:
    """Ways to call a module, the likely ones first."""
    recurrent = [layer for layer in layers.values() if isinstance(layer, nn.RNNBase)]
    tables = [layer.num_embeddings for layer in layers.values() if isinstance(layer, nn.Embedding)]
    widths = [layer.input_size for layer in recurrent]
    widths += [layer.in_features for layer in layers.values() if isinstance(layer, nn.Linear)]
    inputs: list[tuple[int, int]] = [(size, 0) for size in tables[:1]]
    inputs += [(0, width) for width in dict.fromkeys(widths)]
    inputs += [(0, 0)] if 1 in widths else []
    second = _second(module)
    orders = (True,) if recurrent and recurrent[0].batch_first else (False, True)
    for tokens, width in inputs[:6]:
        for batch_first in orders if recurrent else (True,):
            yield Feed(tokens, width, batch_first, second)


def _second(module: nn.Module) -> str:
    """What a second argument of ``forward`` wants, if it must be given or is one of lengths."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return ""
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) < 2 or parameters[1].kind not in places:
        return ""
    if "len" in parameters[1].name.lower():
        return "lengths"
    return "None" if parameters[1].default is inspect.Parameter.empty else ""


def watch(module: nn.Module, layers: dict[str, nn.Module], feed: Feed, *, noise: bool) -> list[Run]:
    """Run a module on random numbers: on several shapes, where it takes lengths on ragged ones.

    Args:
        noise: put random numbers in the place of what each layer puts out, so that no ReLU stays
            hidden behind values that happen to be positive, nor a mean behind equal ones. Without
            it there are also long sequences, and ones that end in what people pad with.

    Raises:
        CannotRun: it does not take such inputs.
        InputError: a layer was run more than once, or something else than finite numbers comes out.
    """
    rng = np.random.default_rng(0)
    cases = [Case(shape) for shape in (*SHAPES, SHAPES[0] if noise else LONG)]
    if not noise:  # the same size again, for modules that keep a state as long as it fits
        cases.append(Case(LONG, padded=True))
    cases += [Case(shape, ragged=True) for shape in SHAPES] if feed.second == "lengths" else []
    runs: list[Run] = []
    for case in cases:
        spread = Noise(rng, *SPREADS[len(runs) % len(SPREADS)]) if noise else None
        run = _run(rng, layers, feed, case, 1.0 if spread is None else spread.scale)
        _watched(module, layers, feed, run, spread)
        runs.append(run)
    return runs


def _run(
    rng: np.random.Generator, layers: dict[str, nn.Module], feed: Feed, case: Case, scale: float
) -> Run:
    n, t = case.shape
    lengths = [max(1, t - 2 * k) for k in range(n)] if case.ragged else None
    if not feed.tokens:
        x: Array = (scale * rng.standard_normal((n, t, feed.width or 1))).astype(np.float32)
        if case.padded:
            x[:, t // 2 :] = 0
        return Run(x, lengths)
    x = rng.integers(feed.tokens, size=(n, t))
    if case.padded:
        tables = [layer for layer in layers.values() if isinstance(layer, nn.Embedding)]
        usual = [table.padding_idx for table in tables] + [0, 1]
        tails = [k for k in usual if k is not None and k < feed.tokens]
        for row, start in zip(range(n), (t // 2, t // 3), strict=False):
            x[row, start:] = tails[row % len(tails)]
    return Run(x, lengths)


def close(a: Array, b: Array) -> bool:
    """Whether two arrays differ by no more than float32's rounding."""
    if a.shape != b.shape:
        return False
    scale = float(np.abs(b).max(initial=0))
    return bool(np.abs(a - b).max(initial=0) <= 1e-5 * scale + 1e-6)


def _watched(
    module: nn.Module,
    layers: dict[str, nn.Module],
    feed: Feed,
    run: Run,
    noise: Noise | None,
) -> None:
    n, t = run.x.shape[:2]
    hooks = []
    for name, layer in layers.items():
        hook = _hook(run, name, noise)
        hooks.append(layer.register_forward_hook(hook, with_kwargs=True))
    try:
        with evaluating(module):
            output = _call(module, feed, run.x, run.lengths)
    finally:
        for handle in hooks:
            handle.remove()
    run.output = _output(output, n, t)


def _call(module: nn.Module, feed: Feed, x: Array, lengths: list[int] | None) -> Any:
    weight = next(module.parameters())
    tensor = torch.tensor(x)  # a copy: forward may change what it is given
    if not feed.tokens:
        tensor = tensor.to(weight.dtype)
        tensor = tensor if feed.width else tensor[:, :, 0]
    tensor = tensor if feed.batch_first else tensor.transpose(0, 1).contiguous()
    given = [tensor.to(weight.device)]
    if feed.second:
        full = torch.tensor([x.shape[1]] * len(x) if lengths is None else lengths)
        given.append(full if feed.second == "lengths" else None)
    devices = [weight.device] if weight.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            return module(*given)
        except InputError:
            raise
        except Exception as error:
            raise CannotRun(f"{type(error).__name__}: {error}") from error


def _hook(run: Run, name: str, noise: Noise | None) -> Callable[..., Any]:
    n, t = run.x.shape[:2]

    def note(layer: nn.Module, given: Sequence[Any], named: dict[str, Any], made: Any) -> Any:
        if name in run.read:
            raise InputError(
                f"layer {name!r} was run more than once in one call of the module; a network here "
                f"runs a layer once, over all steps; {GIVE_SPEC}"
            )
        first = given[0] if given else next(iter(named.values()))
        run.read[name] = forms(first, n, t)
        if noise is not None and not isinstance(layer, nn.Dropout):
            made = _scrambled(layer, made, noise)
        run.made[name] = forms(made[0] if isinstance(layer, nn.RNNBase) else made, n, t)
        return made

    return note


def _scrambled(layer: nn.Module, made: Any, noise: Noise) -> Any:
    """Random numbers like ``made``; of a recurrent layer, h_n agrees with the outputs."""

    def like(value: Any) -> Any:
        if isinstance(value, PackedSequence):
            return PackedSequence(like(value.data), *value[1:])
        if isinstance(value, tuple):
            return tuple(map(like, value))
        numbers = noise.shift + noise.scale * noise.rng.standard_normal(value.shape)
        return torch.from_numpy(numbers).to(value.device, value.dtype)

    made = like(made)
    if not isinstance(layer, nn.RNNBase):
        return made
    outputs, state = made
    h = state[0] if isinstance(state, tuple) else state
    if isinstance(outputs, PackedSequence):
        rows, sizes = pad_packed_sequence(outputs, batch_first=True)
    else:
        rows = outputs if layer.batch_first else outputs.transpose(0, 1)
        sizes = torch.full((len(rows),), rows.shape[1])
    ends, size = rows[torch.arange(len(rows)), sizes - 1], layer.hidden_size
    if layer.bidirectional:
        h[-2], h[-1] = ends[:, :size], rows[:, 0, size:]
    else:
        h[-1] = ends
    return made


def _output(output: Any, n: int, t: int) -> Forms:
    """What came out: a tensor, or the first of several."""
    while isinstance(output, (tuple, list)) and not isinstance(output, PackedSequence) and output:
        output = output[0]
    if not isinstance(output, (Tensor, PackedSequence)):
        raise InputError(f"the module returns {type(output).__name__}, expected a tensor")
    found = forms(output, n, t)
    for array in found.values():
        if not np.isfinite(array).all():
            raise InputError("the module puts out values that are not finite")
    return found


def forms(value: Any, n: int, t: int) -> Forms:
    """All that a tensor may be: rows of steps (N, T, F), or of samples (N, F), by layout."""
    if isinstance(value, PackedSequence):
        value = pad_packed_sequence(value, batch_first=True, total_length=t)[0]
    if not isinstance(value, Tensor) or value.dtype == torch.bool or value.is_complex():
        return {}
    a = value.detach().cpu().double().numpy().copy()
    found: Forms = {}
    if a.ndim == 3:
        if a.shape[:2] == (n, t):
            found["N, T"] = a
        elif a.shape[:2] == (t, n):
            found["T, N"] = a.swapaxes(0, 1)
        elif a.shape[:2] == (1, n):
            found["1, N"] = a[0]
        elif a.shape[:2] == (n, 1):
            found["N, 1"] = a[:, 0]
        elif a.shape[::2] == (n, 1):  # (N, F, 1), as pooling over time gives it
            found["N, F, 1"] = a[:, :, 0]
    if a.ndim == 2:
        if a.shape[0] == n:
            found["N"] = a
        if a.shape[0] == n * t:
            found["N * T"] = a.reshape(n, t, -1)
            found["T * N"] = a.reshape(t, n, -1).swapaxes(0, 1)
        if a.shape == (n, t):
            found["N, T without F"] = a[:, :, None]
        if a.shape == (t, n):
            found["T, N without F"] = a.T[:, :, None]
    if a.shape == (n,):
        found["N without F"] = a[:, None]
    return found
