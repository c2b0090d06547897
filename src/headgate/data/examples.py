"""Labelled examples from files: texts in any of the usual ways, or the sequences of a .ts file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import MAX_FLOAT
from ..errors import InputError
from .sequence_files import read_sequences
from .text_files import read_texts


@dataclass(frozen=True)
class Examples:
    """Texts or arrays, their labels, and the index of each in its file."""

    items: list[Any]
    labels: list[str] | None
    positions: list[int]
    are_texts: bool

    def take(self, rows: Sequence[int]) -> tuple[list[Any], list[str]]:
        """Some of them, and their labels."""
        assert self.labels is not None
        return [self.items[k] for k in rows], [self.labels[k] for k in rows]

    def all(self) -> tuple[list[Any], list[str]]:
        """All of them, and their labels."""
        return self.take(range(len(self.items)))


def read_examples(
    paths: Sequence[Path], reading: Mapping[str, Any], labelled: bool = True
) -> Examples:
    """The examples of one .ts file, or of what ``read_texts`` reads.

    Args:
        reading: keywords of ``read_texts``, ``encoding`` among them.
        labelled: False for examples alone.

    Raises:
        InputError: a file cannot be read, or its examples have gaps or no classes.
    """
    if any(is_ts(path) for path in paths):
        if len(paths) > 1:
            raise InputError("one .ts file holds all classes; name one, and others with --test")
        found = read_sequences(paths[0], encoding=reading.get("encoding"))
        if labelled and found.labels is None:
            raise InputError(
                f"{paths[0]} has no classes (@classLabel true); for numbers as targets use "
                "headgate.SequenceRegressor in Python"
            )
        for line, values in zip(found.lines, found.values, strict=True):
            if not (np.abs(values) <= MAX_FLOAT).all():
                raise InputError(
                    f"line {line} of {paths[0]} has a gap or a value that is not finite; fill gaps "
                    "or leave such lines out"
                )
        return Examples(found.values, found.labels, list(range(len(found.values))), False)
    texts = read_texts(paths, labelled=labelled, **reading)
    return Examples(texts.texts, texts.labels, texts.positions, True)


def is_ts(path: Path) -> bool:
    """Whether a file holds sequences, by its ending."""
    return path.name.lower().removesuffix(".gz").endswith(".ts")
