"""What somebody's module does between one layer and the next, found by trying what networks can do.

Shape letters: N samples, T steps, F features, H hidden units.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .watch import Forms, close

Array = NDArray[Any]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: np.asarray(1 / (1 + np.exp(-x))),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}
INSIDE = ("linear", "relu", "tanh")
AT_THE_END = tuple(FUNCTIONS)
# How the two halves of a bidirectional layer become one: what each is multiplied by.
MERGES = {"sum": (1.0, 1.0), "mean": (0.5, 0.5), "forward": (1.0, 0.0), "reverse": (0.0, 1.0)}


class Unlike(Exception):
    """A module runs, and does something that no network here can do."""


class Change(NamedTuple):
    """``before`` on every element, then ``merge``, ``readout``, and ``after``.

    ``readout`` "last" reads a reverse half at step 0, as ``h_n`` does, and what is read is merged;
    "raw last" reads all at the last step.
    """

    before: str = "linear"
    merge: str = ""
    readout: str = ""
    after: str = "linear"

    def __str__(self) -> str:
        parts = [self.before, self.merge, self.readout, self.after]
        return ", ".join(part for part in parts if part not in ("", "linear")) or "nothing"


class Source(NamedTuple):
    """What a layer put out in one run: (N, T, F) or (N, F). Features from ``split`` on are a
    reverse direction's; None: none is. ``lengths`` of the samples; None: all are T."""

    array: Array
    split: int | None
    lengths: Sequence[int] | None


def changed(source: Source, change: Change) -> Array:
    x = FUNCTIONS[change.before](source.array)
    if change.merge and change.readout != "last":
        x = _merged(x, change.merge)
    if change.readout:
        x = _read(x, change.readout, source)
    if change.merge and change.readout == "last":
        x = _merged(x, change.merge)
    return FUNCTIONS[change.after](x)


def _merged(x: Array, merge: str) -> Array:
    forward, reverse = MERGES[merge]
    half = x.shape[-1] // 2
    return np.asarray(forward * x[..., :half] + reverse * x[..., half:])


def _read(x: Array, readout: str, source: Source) -> Array:
    n, t = x.shape[:2]
    sizes = np.full(n, t) if source.lengths is None else np.asarray(source.lengths)
    valid = (np.arange(t) < sizes[:, None])[:, :, None]
    if readout == "mean":
        return np.asarray(np.where(valid, x, 0).sum(1) / sizes[:, None])
    if readout == "max":
        return np.asarray(np.where(valid, x, -np.inf).max(1))
    ends = x[np.arange(n), sizes - 1]
    if readout == "raw last":
        return np.asarray(ends)
    split = x.shape[2] if source.split is None else source.split
    return np.concatenate([ends[:, :split], x[:, 0, split:]], 1)


def changes(source: Source, *, first: bool, end: bool) -> Iterator[Change]:
    """All that a network can do behind a layer, simple ones first.

    Args:
        first: nothing, as before the first layer.
        end: behind the last layer, where output functions may stand.
    """
    if first:
        yield Change()
        return
    both = source.split is not None
    merges = ["", *MERGES] if both else [""]
    readouts = [""]
    if source.array.ndim == 3:
        readouts += ["last", "raw last", "mean", "max"] if both else ["last", "mean", "max"]
    for after in AT_THE_END if end else INSIDE:
        for readout, merge in itertools.product(readouts, merges):
            if (readout, merge) == ("raw last", "forward"):
                continue  # which is what "last" reads
            yield Change("linear", merge, readout, after)
            if readout == "mean" or merge in ("sum", "mean"):  # for which the order counts
                for before in INSIDE[1:]:
                    if not before == after == "relu":  # sums of these are as they are
                        yield Change(before, merge, readout, after)


class Match(NamedTuple):
    """A change that explains all runs, and the layout in which the next layer has its tensor."""

    change: Change
    layout: str


def matches(
    sources: Sequence[Source], targets: Sequence[Forms], *, first: bool, end: bool
) -> list[Match]:
    """The changes that make every source its target, for one layout each."""
    layouts = [name for name in targets[0] if all(name in target for target in targets)]
    found = []
    for change in changes(sources[0], first=first, end=end):
        made = [changed(source, change) for source in sources]
        for layout in layouts:
            pairs = zip(made, (target[layout] for target in targets), sources, strict=True)
            if all(same(a, b, source.lengths) for a, b, source in pairs):
                found.append(Match(change, layout))
                break
    return found


def same(made: Array, target: Array, lengths: Sequence[int] | None) -> bool:
    """Whether they are equal to float32's rounding, at the steps that there are."""
    if made.shape != target.shape:
        return False
    if lengths is not None and made.ndim == 3:
        valid = np.arange(made.shape[1]) < np.asarray(lengths)[:, None]
        return close(made[valid], target[valid])
    return close(made, target)
