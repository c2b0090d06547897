"""The command line: parse, call, print. A user's mistake is one line on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from ..errors import HeadgateError, HeadgateWarning

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", HeadgateWarning)
        warnings.showwarning = _one_line
        if hasattr(sys.stdout, "reconfigure"):  # a name in any script must not stop the work
            sys.stdout.reconfigure(errors="replace")
        return _main(sys.argv[1:] if arguments is None else arguments)


def _main(arguments: Sequence[str]) -> int:
    try:
        from typer import Exit
        from typer.main import get_command

        from .app import app

        try:
            code = get_command(app).main(
                args=list(arguments),
                prog_name="headgate",
                standalone_mode=False,
            )
        except Exit as exit_:
            code = exit_.exit_code
        except SystemExit as exit_:  # of typer and rich, who leave with 1: headgate ... | head
            return PIPE_CLOSED if exit_.code == 1 else int(exit_.code or 0)
        if sys.stdout is not None:  # closed by the caller: headgate ... >&-
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except HeadgateError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # headgate ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:  # files have errors of their own: this is standard output
        if sys.stdout is None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"cannot write to standard output: {error.strerror or error}")
    except MemoryError:
        return _fail("there is not enough memory; use a smaller --hidden-size or less data")
    except Exception as error:
        # typer's own, which some versions of it take from click and others carry themselves
        if type(error).__name__ == "Abort":
            return INTERRUPTED
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            return _fail(f"{error.format_message().rstrip('.')}; see headgate --help")
        raise


def _fail(message: str) -> int:
    _print_error("headgate: " + " ".join(message.split()))
    return 2


def _one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    _print_error("headgate: note: " + " ".join(str(message).split()))


def _print_error(line: str) -> None:
    if sys.stderr is not None:  # closed by the caller, 2>&-: print would take standard output
        print(line, file=sys.stderr)
