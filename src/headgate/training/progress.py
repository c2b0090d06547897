"""A progress bar for work that takes over a second, on a terminal or in a notebook."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from ..checks import shown
from ..errors import InputError

SHOW_AFTER = 1.0  # seconds

_part: ContextVar[str] = ContextVar("part", default="")


@contextlib.contextmanager
def part_of_training(name: str) -> Iterator[None]:
    """What bars and lines of the fits inside are called: "network 2 of 3"."""
    token = _part.set(name)
    try:
        yield
    finally:
        _part.reset(token)


def _somebody_watches() -> bool:
    if "ipykernel" in sys.modules:
        return True
    return bool(getattr(sys.stderr, "isatty", lambda: False)())


class Progress:
    """Counts epochs; the bar appears by itself after a second and is gone at the end.

    A quiet one (``progress=False``, or "auto" where nobody watches) costs an attribute look-up an
    epoch. With "epochs" a line for each epoch stays behind, and the bar appears as with "auto".
    """

    def __init__(self, total: int, label: str, mode: bool | str = "auto") -> None:
        is_flag = type(mode).__name__ in ("bool", "bool_")  # NumPy's too
        if not is_flag and not (isinstance(mode, str) and mode in ("auto", "epochs")):
            raise InputError(f"progress must be True, False, 'auto' or 'epochs', got {shown(mode)}")
        self._has_lines = not is_flag and mode == "epochs"
        self._has_bar = bool(mode) if is_flag else _somebody_watches()
        self.active = self._has_bar or self._has_lines
        self._total, self._label = total, _part.get() or label
        self._begins = f"{_part.get()}, " if _part.get() else ""
        self._done, self._text = 0, ""
        self._bar: Any = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Progress:
        if self._has_bar:
            self._timer = threading.Timer(SHOW_AFTER, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def update(self, done: int, text: str) -> None:
        """``done`` of the total; only to be called when ``active``."""
        with self._lock:
            self._done, self._text = done, text
            if self._has_lines:
                line = f"{self._begins}epoch {done}/{self._total}  {text}"
                if self._bar is not None:
                    self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
                elif sys.stderr is not None:  # closed by the caller, 2>&-
                    print(line, file=sys.stderr)
            if self._bar is not None:
                self._bar.update(self._task, completed=done, text=text)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        with self._lock:
            if not self.active:
                return
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}  {task.fields[text]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                refresh_per_second=5,
            )
            self._task = self._bar.add_task(
                self._label, total=self._total, completed=self._done, text=self._text
            )
            self._bar.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self.active = False
            if self._bar is not None:
                self._bar.stop()
