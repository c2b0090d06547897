"""Windows hold the right rows, whatever the sizes."""

import numpy as np
import polars as pl
import pytest

from headgate.data.frames import as_series
from headgate.data.windows import windows
from headgate.errors import InputError


@pytest.mark.parametrize("shape", [(1000,), (1000, 1), (1000, 3)])
@pytest.mark.parametrize(("lookback", "horizon", "step"), [(10, 1, 1), (7, 3, 1), (5, 2, 4)])
def test_windows_hold_the_rows_they_say(shape, lookback, horizon, step):
    table = np.random.default_rng(0).normal(size=shape)
    x, y = windows(table, lookback, horizon, step)
    count = (1000 - lookback - horizon) // step + 1
    assert x.shape == (count, lookback, 1 if table.ndim == 1 else shape[1])
    assert y.shape == (count, horizon)
    assert x.dtype == y.dtype == np.float32
    assert x.flags.c_contiguous
    assert y.flags.c_contiguous
    rows = table.reshape(1000, -1).astype(np.float32)
    for k in (0, 1, count // 2, count - 1):
        at = k * step
        np.testing.assert_array_equal(x[k], rows[at : at + lookback])
        np.testing.assert_array_equal(y[k], rows[at + lookback : at + lookback + horizon, 0])


def test_the_usual_split():
    x, y = windows(np.arange(1000.0), lookback=10)
    assert (x.shape, y.shape) == ((990, 10, 1), (990, 1))
    assert int(0.8 * len(x)) == 792
    assert y[-1] == 999.0


def test_windows_are_the_callers_own():
    source = np.arange(12, dtype=np.float32)
    source.flags.writeable = False
    x, y = windows(source, 3)
    x[:] = 0.0
    assert y[0] == 3.0
    assert source[3] == 3.0
    assert windows(source, 11)[0].shape == (1, 11, 1)


def test_windows_take_lists_frames_and_series():
    expected = windows(np.arange(8.0), 3)[0]
    series = as_series(pl.DataFrame({"ds": range(8), "y": range(8)}))
    for data in (list(range(8)), pl.Series(range(8)), pl.DataFrame({"a": range(8)}), series):
        np.testing.assert_array_equal(windows(data, 3)[0], expected)
    backwards = np.arange(8.0)[::-1]
    np.testing.assert_array_equal(windows(backwards, 3)[0][0, :, 0], [7, 6, 5])


@pytest.mark.parametrize(
    ("series", "options", "words"),
    [
        (np.zeros(10), {"lookback": 10}, "has 10 values, but lookback=10 and horizon=1 need at"),
        (np.zeros(10), {"lookback": 5, "horizon": 6}, "need at least 11"),
        (np.zeros(10), {"lookback": 0}, "lookback must be"),
        (np.zeros(10), {"lookback": 3, "horizon": 0}, "horizon must be"),
        (np.zeros(10), {"lookback": 3, "step": 0}, "step must be"),
        (np.zeros(10), {"lookback": 2.5}, "lookback must be"),
        (np.zeros((2, 3, 4)), {"lookback": 1}, r"got shape \(2, 3, 4\)"),
        ([], {"lookback": 1}, "at least one value"),
        (["a", "b", "c"], {"lookback": 1}, "must hold numbers"),
        ([1.0, np.nan, 3.0, 4.0], {"lookback": 1}, "at index 1; fill or scale"),
        ([1.0, 1e300, 3.0, np.inf], {"lookback": 1}, "at indices 1, 3; fill or scale"),
    ],
)
def test_windows_refuse(series, options, words):
    with pytest.raises(InputError, match=words):
        windows(series, **options)
