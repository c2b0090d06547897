"""Which examples are held out to test a model on, and how one says so."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import check_size, shown
from ..errors import HeadgateWarning, InputError

FRACTION = 0.1
_FEW = 10  # examples that may be all different


@dataclass(frozen=True)
class Split:
    """Indices of the training and the test part, and how they came about."""

    train: list[int]
    test: list[int]
    how: str


def every_kth(positions: Sequence[int], every: int) -> Split:
    """Each example whose index in its file is a multiple of ``every`` is for the test.

    Raises:
        InputError: that would leave nothing to learn from.
    """
    every = check_size("--test-every", every, minimum=2, maximum=1 << 31)
    test = [index for index, position in enumerate(positions) if position % every == 0]
    taken = set(test)
    train = [index for index in range(len(positions)) if index not in taken]
    if not train:
        raise InputError(
            f"--test-every {every} leaves none of {len(positions)} examples to learn from; leave "
            "it out or add examples"
        )
    return Split(train, test, f"every {ordinal(every)}, from the first of each file on")


def ordinal(number: int) -> str:
    """Such as 2nd, 11th."""
    teens = number % 100 in (11, 12, 13)
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def stratified(labels: Sequence[Any], seed: int, fraction: float = FRACTION) -> Split:
    """A tenth of each class, drawn with the seed: at least one of each that has two or more.

    A class with one example is learned from and never tested, which a warning says.
    """
    rng = np.random.default_rng(seed)
    rows: dict[Any, list[int]] = {}
    for index, label in enumerate(labels):
        rows.setdefault(label, []).append(index)
    test: list[int] = []
    for own in rows.values():
        count = max(round(len(own) * fraction), 1) if len(own) > 1 else 0
        test += rng.permutation(own)[:count].tolist()
    single = [label for label, own in rows.items() if len(own) == 1]
    if single:
        names = ", ".join(repr(label) for label in single[:3])
        more = f" and {len(single) - 3} more classes" if len(single) > 3 else ""
        warnings.warn(
            f"one example of {names}{more}: it is learned from and never tested, so the test part "
            "has not every class; add examples",
            HeadgateWarning,
            stacklevel=2,
        )
    elif len(labels) < len(rows) / fraction:
        warnings.warn(
            f"{len(labels)} examples are too few to hold out a tenth of each class; one of each "
            "is held out, so scores say little",
            HeadgateWarning,
            stacklevel=2,
        )
    taken = set(test)
    train = [index for index in range(len(labels)) if index not in taken]
    return Split(train, sorted(test), f"{len(test)} drawn from all classes")


def drawn(count: int, seed: int, fraction: float = FRACTION) -> Split:
    """A tenth, drawn with the seed: at least one where there are two or more."""
    size = max(round(count * fraction), 1) if count > 1 else 0
    test = sorted(np.random.default_rng(seed).permutation(count)[:size].tolist())
    taken = set(test)
    return Split([k for k in range(count) if k not in taken], test, f"{size} drawn")


def check_classes(
    labels: Sequence[Any], unit: str = "examples", option: str = "--label"
) -> Counter[Any]:
    """How often each class occurs.

    Raises:
        InputError: there are fewer than two, or as many as examples.
    """
    counts = Counter(labels)
    if len(counts) < 2:
        (name,) = counts or ["no class"]
        raise InputError(
            f"all {len(labels)} {unit} are {name!r}, and two classes or more are needed; check "
            f"{option}, or add {unit} of others"
        )
    if len(counts) == len(labels) > _FEW:
        raise InputError(
            f"each of {len(labels)} {unit} has a class of its own, such as "
            f"{shown(next(iter(counts)))}, so there is nothing to learn of any; check {option}, "
            "or make classes of numbers"
        )
    return counts
