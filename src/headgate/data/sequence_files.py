"""Files of numeric sequences with a class or a value each: ``.ts``, as the UEA archive has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..checks import shown
from ..errors import InputError
from .decoding import Wanted, read_text

_WANTED = Wanted("a .ts file", "header lines with @ and a sequence in each line", "save it as text")


@dataclass(frozen=True)
class Sequences:
    """Sequences of one width, and what each is.

    Attributes:
        values: (N,) arrays (T_i, I) float64, NaN where a value is missing.
        labels: (N,) classes as text, or None.
        targets: (N,) float64 values to be found, or None.
        lines: (N,) where each stands in the file, from 1 on.
    """

    values: list[npt.NDArray[np.float64]]
    labels: list[str] | None
    targets: npt.NDArray[np.float64] | None
    lines: list[int]


def read_sequences(path: str | Path, *, encoding: str | None = None) -> Sequences:
    """The sequences of a ``.ts`` file: of unequal lengths, with one or more channels.

    After ``@data`` each line holds the channels, parted by colons, and last the class (with
    ``@classLabel true``) or the value (with ``@targetLabel true``); a question mark is a missing
    value. See Middlehurst et al. 2024, "aeon", for the format.

    Raises:
        InputError: the file cannot be read, has time stamps, or a line that does not fit; by line.
    """
    lines = read_text(path, encoding, _WANTED).split("\n")
    header, begin = _header(path, lines)
    if header.get("timestamps", "false").lower().split()[:1] == ["true"]:
        raise InputError(
            f"{path} has time stamps, which are not read; expected values alone (@timeStamps false)"
        )
    words = header.get("classlabel", "false").split()
    has_class = bool(words) and words[0].lower() == "true"
    has_target = header.get("targetlabel", "false").lower().split()[:1] == ["true"]
    values, last, places = [], [], []
    for number, line in enumerate(lines[begin:], start=begin + 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.strip().split(":")
        if has_class or has_target:
            if len(parts) < 2:
                raise InputError(
                    f"line {number} of {path} holds no colon; expected channels and last the "
                    "class, parted by colons"
                )
            last.append((number, parts.pop().strip()))
        values.append(_channels(path, number, parts))
        places.append(number)
        if values[-1].shape[1] != values[0].shape[1]:
            raise InputError(
                f"line {number} of {path} has {values[-1].shape[1]} channels, expected "
                f"{values[0].shape[1]} as in the lines before"
            )
    if not values:
        raise InputError(f"{path} holds no sequence after @data; expected one in each line")
    if not has_class and not has_target:
        return Sequences(values, None, None, places)
    if has_class:
        known = set(words[1:])
        for number, name in last:
            if not name:
                raise InputError(
                    f"line {number} of {path} has no class after its last colon; add it or leave "
                    "the line out"
                )
            if known and name not in known:
                raise InputError(
                    f"line {number} of {path} has the class {shown(name)}, which @classLabel does "
                    "not name"
                )
        return Sequences(values, [name for _, name in last], None, places)
    targets = np.array([_number(path, number, text) for number, text in last])
    return Sequences(values, None, targets, places)


def _header(path: str | Path, lines: list[str]) -> tuple[dict[str, str], int]:
    """The header's entries by lower-case name, and the index of the first line of data."""
    header: dict[str, str] = {}
    for index, line in enumerate(lines):
        if line.lower().strip() == "@data":
            return header, index + 1
        if line.startswith("@"):
            name, _, value = line[1:].partition(" ")
            header[name.strip().lower()] = value.strip()
    raise InputError(f"{path} has no line @data; expected {_WANTED.content}")


def _channels(path: str | Path, number: int, parts: list[str]) -> npt.NDArray[np.float64]:
    channels = []
    for part in parts:
        cells = part.split(",")
        try:
            channels.append(np.array([float(c) if c.strip() != "?" else np.nan for c in cells]))
        except ValueError:
            channels.append(np.array([_number(path, number, cell) for cell in cells]))
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise InputError(
            f"line {number} of {path} has channels of {min(lengths)} and of {max(lengths)} values; "
            "expected equally many in each"
        )
    return np.ascontiguousarray(np.stack(channels, axis=1))


def _number(path: str | Path, number: int, text: str) -> float:
    try:
        return np.nan if text.strip() == "?" else float(text)
    except ValueError:
        raise InputError(
            f"line {number} of {path} holds {shown(text)}, expected a number or ? for a missing one"
        ) from None
