"""``headgate stream``: a value a line in, a prediction a line out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import numpy as np

from ..checks import parse_json, shown
from ..deploy.live import Live, live
from ..deploy.state_file import StateFile
from ..errors import InputError
from ..files import check_target
from ..models.loading import load

LONGEST = 1 << 20  # bytes of a line
STOPPED = 128  # and the signal's number, as shells have it


class _Stopped(Exception):
    """A signal came while nothing was half done."""


class _Signals:
    """Ctrl-C and SIGTERM, which wait until a line is done but for those waiting themselves."""

    def __init__(self) -> None:
        self.number = 0
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, _: FrameType | None) -> None:
        self.number = number
        if self._waiting:
            raise _Stopped

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While input or output may block: a signal ends it at once."""
        self._waiting = True
        try:
            if self.number:  # it came before
                raise _Stopped
            yield
        finally:
            self._waiting = False


def stream_lines(
    path: Path,
    *,
    state: Path | None,
    every: int,
    save: Path | None,
    as_json: bool,
    learn: bool,
    options: dict[str, Any],
) -> int:
    """Predict after every line of standard input; returns the exit code."""
    if save is not None and not learn:
        raise InputError("--save writes what was learned; pass --learn with it")
    idle = [name for name in ("learning_rate", "window") if name in options and not learn]
    if idle:
        raise InputError(f"--{idle[0].replace('_', '-')} goes with --learn; pass it too")
    for target in (state, save):
        if target is not None:
            check_target(target)  # before hours of values
    follower: Live = live(load(path), learn=learn, **options)
    file = None if state is None else StateFile(state, follower)
    if file is not None:
        file.load()
    with _Signals() as signals:
        try:
            _follow(follower, file, every, as_json, signals)
        except _Stopped:
            pass
        except BrokenPipeError:  # who reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:  # by a full disk too
            if file is not None:
                file.save()
            if save is not None:
                follower.save(save)
    return STOPPED + signals.number if signals.number else 0


def _follow(
    follower: Live, file: StateFile | None, every: int, as_json: bool, signals: _Signals
) -> None:
    lines = _lines(sys.stdin)
    number = 0
    while True:
        with signals.waiting():
            line = next(lines, b"")
        if line == b"":
            return
        number += 1
        prediction, error = None, ""
        try:
            prediction = _plain(follower.step(_value(line, follower.reads_text)))
        except InputError as refused:
            error = " ".join(str(refused).split())
            if sys.stderr is not None:  # closed by the caller, 2>&-
                print(f"headgate: line {number}: {error}; skipped", file=sys.stderr, flush=True)
        if sys.stdout is not None:
            said: Any = prediction
            if as_json:
                said = {"line": number, "prediction": prediction}
                said |= {"loss": follower.loss} if follower.loss is not None else {}
                said |= {"error": error} if error else {}
            with signals.waiting():
                sys.stdout.write(json.dumps(said, ensure_ascii=False) + "\n")
                sys.stdout.flush()
        if file is not None and number % every == 0:
            file.save()


def _lines(source: Any) -> Iterator[bytes | None]:
    """Lines as they come; None for one that is longer than any value."""
    if source is None:  # closed by the caller: headgate ... <&-
        return
    binary: BinaryIO = source.buffer
    while line := binary.readline(LONGEST):
        whole = len(line) < LONGEST or line.endswith(b"\n")
        rest = line
        while not whole and rest and not rest.endswith(b"\n"):
            rest = binary.readline(LONGEST)
        yield line if whole else None


def _value(line: bytes | None, is_text: bool) -> Any:
    """What a line says: a text, or a number, numbers or JSON."""
    if line is None:
        raise InputError(f"the line is longer than {LONGEST} bytes")
    try:
        text = line.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"it is no UTF-8 text: {error.reason} at byte {error.start}") from None
    if is_text:
        return text
    text = text.strip()
    if text.startswith(("{", "[")):
        return parse_json(text, "the line")
    try:
        numbers = [_number(part) for part in text.replace(",", " ").replace(";", " ").split()]
    except ValueError:
        raise InputError(
            f"expected a number, numbers apart by commas or JSON, got {shown(text)}"
        ) from None
    if not numbers:
        raise InputError("the line is empty, expected a value")
    return numbers[0] if len(numbers) == 1 else numbers


def _number(text: str) -> float:
    if "_" in text:  # 1_000 is a number to Python alone
        raise ValueError
    return float(text)


def _plain(prediction: Any) -> Any:
    """As JSON knows it: one number, a list of them, or tokens with their probabilities."""
    if isinstance(prediction, np.ndarray):
        # float32 in its own few digits, float64 in as many as matter
        single = prediction.dtype == np.float32
        numbers = [float(str(value) if single else f"{value:.9g}") for value in prediction]
        return numbers[0] if len(numbers) == 1 else numbers
    return [[token, round(p, 6)] for token, p in prediction]
