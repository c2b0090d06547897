"""How good a forecast is, and the simple forecasts that it has to beat.

scikit-learn's metrics are used where it has them. ``truth`` and ``forecast`` are arrays of one
shape, any number of windows and steps: the mean runs over all of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..checks import check_size
from ..errors import InputError

Array = npt.NDArray[np.float64]


def mae(truth: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Mean absolute error, in the unit of the data."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(*_pair(truth, forecast)))


def rmse(truth: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Root of the mean squared error, in the unit of the data."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(*_pair(truth, forecast)))


def smape(truth: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Symmetric mean absolute percentage error, 0 to 200 %, as in the M3 and M4 competitions.

    The mean of 200 |y - f| / (|y| + |f|); a step where both are 0 counts 0.
    """
    y, f = _pair(truth, forecast)
    size = np.abs(y) + np.abs(f)
    return float(np.mean(200.0 * np.abs(y - f) / np.where(size == 0, 1.0, size)))


def mase(
    truth: npt.ArrayLike, forecast: npt.ArrayLike, history: npt.ArrayLike, season: int = 1
) -> float:
    """Mean absolute error over that of the seasonal naive forecast in sample, without unit.

    Hyndman and Koehler 2006: the scale is the mean of |y_t - y_(t-season)| over ``history``
    (T,), the values before the forecast. Where that is 0 (a constant history), the result is
    0 for an exact forecast and inf for any other.
    """
    season = check_size("season", season)
    past = _line(history)
    if len(past) <= season:
        raise InputError(
            f"MASE of season {season} needs a history of more than {season} values, got "
            f"{len(past)}; use season=1 or a longer history"
        )
    scale = float(np.mean(np.abs(past[season:] - past[:-season])))
    error = mae(truth, forecast)
    if scale == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return error / scale


def coverage(truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """Share of values from 0 to 1 that lie within [low, high]."""
    y, below = _pair(truth, low)
    _, above = _pair(truth, high)
    return float(np.mean((below <= y) & (y <= above)))


def pinball(truth: npt.ArrayLike, forecast: npt.ArrayLike, quantile: float) -> float:
    """Quantile (pinball) loss of a forecast of ``quantile``, in the unit of the data."""
    if not 0 < quantile < 1:
        raise InputError(f"quantile must lie between 0 and 1, got {quantile!r}; 0.9 for 90 %")
    from sklearn.metrics import mean_pinball_loss

    return float(mean_pinball_loss(*_pair(truth, forecast), alpha=quantile))


def naive(values: npt.ArrayLike, horizon: int) -> Array:
    """The last value again and again: (horizon,)."""
    return np.full(check_size("horizon", horizon), _line(values)[-1])


def seasonal_naive(values: npt.ArrayLike, horizon: int, season: int) -> Array:
    """The last season again and again: (horizon,)."""
    season = check_size("season", season)
    past = _line(values)
    if len(past) < season:
        raise InputError(
            f"a seasonal naive forecast of season {season} needs {season} values, got {len(past)}; "
            "use naive or a shorter season"
        )
    return np.resize(past[-season:], check_size("horizon", horizon))


def _pair(truth: npt.ArrayLike, forecast: npt.ArrayLike) -> tuple[Array, Array]:
    y, f = np.asarray(truth, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    if y.shape != f.shape or y.size == 0:
        raise InputError(
            f"truth and forecast must have one shape and at least one value, got {y.shape} and "
            f"{f.shape}"
        )
    return y.reshape(-1), f.reshape(-1)


def _line(values: npt.ArrayLike) -> Array:
    line = np.asarray(values, dtype=np.float64)
    if line.ndim != 1 or line.size == 0:
        raise InputError(f"values must be a 1-D array of at least one, got shape {line.shape}")
    return line
