"""What commands print and write."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..errors import HeadgateError
from ..files import all_or_none as all_or_none
from ..files import write_beside_and_rename
from ..models.forecasting.backtest import METRICS, Backtest

NAMES = {"naive": "naive (last value)"}


def console() -> Console:
    """A console that never breaks paths and never takes brackets for markup."""
    return Console(highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner with ``what`` on a terminal; nothing anywhere else."""
    if sys.stderr is None or not sys.stderr.isatty():  # None: closed by the caller, 2>&-
        yield
        return
    with Console(stderr=True).status(what):
        yield


def backtest_table(result: Backtest) -> Table:
    """The back-test as a table, the best of each column in bold."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for metric in METRICS:
        table.add_column(metric, justify="right", no_wrap=True)
    best = {m: min(row[m] for row in result.scores.values()) for m in METRICS}
    for name, row in result.scores.items():
        cells = [_cell(row[m], m, bold=row[m] == best[m]) for m in METRICS]
        table.add_row(NAMES.get(name, name), *cells)
    return table


def _cell(value: float, metric: str, *, bold: bool) -> Any:
    from rich.text import Text

    text = f"{value:.1f} %" if metric == "sMAPE" else f"{value:.4g}"
    return Text(text, style="bold" if bold else "")


def make_folder(path: Path) -> Path:
    """``path`` as a folder that exists.

    Raises:
        HeadgateError: it is a file, or cannot be made.
    """
    try:
        path = path.expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise HeadgateError(f"{path} is a file, expected a folder; name another --out") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: ~somebody who is not there
        reason = getattr(error, "strerror", None) or error
        raise HeadgateError(
            f"cannot make the folder {path}: {reason}; name another --out"
        ) from None
    return path


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as readable JSON, whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_beside_and_rename(path, (text + "\n").encode())


def csv_bytes(frame: Any) -> bytes:
    """A forecast frame of any kind as CSV in UTF-8, numbers to seven digits."""
    import narwhals as nw
    import polars as pl
    import polars.selectors as cs

    table: pl.DataFrame = nw.from_native(frame, eager_only=True).to_polars()
    values = table.select(cs.float()).to_numpy()
    # seven digits of what varies: 1,000,000,003.25 is not 1,000,000,000
    spread, size = np.ptp(values), np.abs(values).max()
    more = np.ceil(np.log10(size) - np.log10(spread)) if spread > 0 else 0
    table = table.with_columns(cs.float().round_sig_figs(min(7 + int(more), 17)))
    return table.write_csv().encode()
