"""windows: a series cut into inputs and the values that follow them, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size
from ..errors import InputError
from .frames import Series
from .stamps import name_rows

Float32 = npt.NDArray[np.float32]


def windows(series: Any, lookback: int, horizon: int = 1, step: int = 1) -> tuple[Float32, Float32]:
    """Cut ``series`` into windows of ``lookback`` values and the ``horizon`` values after each.

    Args:
        series: (T,) values, (T, I) for I features, or a :class:`~headgate.data.frames.Series`.
        lookback: steps that a window holds.
        horizon: steps that follow it.
        step: steps from the start of a window to the start of the next.

    Returns:
        X (N, lookback, I) and Y (N, horizon), float32, C-contiguous, in order of time, with
        N = (T - lookback - horizon) // step + 1. Y is the first column; the other columns of
        a 2-D series are inputs only. X[k, t] is row ``k * step + t``, Y[k, j] is row
        ``k * step + lookback + j``.

    These are copies, lookback times the size of the series: for long series let the trainer
    cut its own windows.

    Raises:
        InputError: too few values, sizes below 1, text, missing or infinite values (named).
    """
    lookback = check_size("lookback", lookback)
    horizon = check_size("horizon", horizon)
    step = check_size("step", step)
    table = _table(series)
    length = len(table)
    if length < lookback + horizon:
        raise InputError(
            f"the series has {length} values, but lookback={lookback} and horizon={horizon} need "
            f"at least {lookback + horizon}; shorten one of them or bring more data"
        )
    starts = np.arange(0, length - lookback - horizon + 1, step)
    x = np.lib.stride_tricks.sliding_window_view(table, lookback, axis=0)[starts]
    y = np.lib.stride_tricks.sliding_window_view(table[:, 0], horizon)[starts + lookback]
    return np.ascontiguousarray(x.transpose(0, 2, 1)), np.ascontiguousarray(y)


def _table(series: Any) -> Float32:
    """The values as float32 (T, I)."""
    values = np.asarray(series.values if isinstance(series, Series) else series)
    if values.ndim not in (1, 2) or values.size == 0:
        raise InputError(
            f"series must be (T,) or (T, I) with at least one value, got shape {values.shape}"
        )
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"series must hold numbers, got dtype {values.dtype}; pass the value columns only"
        )
    with np.errstate(over="ignore"):
        table = np.asarray(values, dtype=np.float32).reshape(len(values), -1)
    wrong = np.asarray(~np.isfinite(table).all(axis=1))
    if wrong.any():
        raise InputError(
            f"series is missing, infinite or too large for float32 at {name_rows(wrong, 'index')}; "
            "fill or scale these values first"
        )
    return table
