"""GRUForecaster: one series in, its continuation out."""

from __future__ import annotations

import os
import time as clock
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import as_number, check_choice, check_rate, check_size, shown
from ..data.frames import Series, as_series, future_frame, future_times
from ..data.times import steps_between
from ..errors import InputError
from ..kernels import LOSSES
from ..model_file import ModelFile, save_model
from ..spec import NetworkSpec, ScalingSpec
from . import series_file
from .backtest import Backtest, run_backtest
from .base import Estimator
from .ensemble import Ensemble
from .intervals import Errors, bands
from .planning import Plan, check_length, make_plan, search

Float64 = npt.NDArray[np.float64]
NAME = "headgate"  # of the column with the forecast
SCALERS = ("auto", "window", "series")


class GRUForecaster(Estimator):
    """Forecasts one series with a small ensemble of GRU networks.

    Each network reads the last ``lookback`` steps and puts out all ``horizon`` steps at once.
    What is done to the series before (logarithm, season, shift of the windows) and how long to
    train is chosen on windows held out from the end of the training data, with the networks
    trained on what is before them; the errors there give the intervals. Then the networks
    are trained once more on all data.

    Args:
        horizon: steps to forecast.
        lookback: steps that the networks see; by default about two seasons.
        season: steps in a season; "auto" takes it from the frequency, else from the series'
            autocorrelation; 1 for none.
        hidden_size, num_layers, dropout: of the GRU networks (dropout before the head).
        members: networks that are averaged.
        epochs: of training; by default as many as served best on the held-out windows.
        learning_rate, batch_size, weight_decay: of AdamW.
        loss: "mae", "mse" or "huber".
        scaler: "window" shifts each window by its own last value or mean, "series" all of
            them alike; "auto" takes what served best on the held-out windows.
        seed: the same seed gives the same bits.
        progress: True, False or "auto" (where somebody watches).

    Attributes:
        horizon_, lookback_, season_: in use.
        treatment_: a :class:`~headgate.models.treatment.Treatment`, what is done to the series.
        ensemble_: the networks.
        epochs_: that the final networks were trained.
        history_: losses of the final training.
        errors_: of the held-out windows, for the intervals.
        series_: the training data (after ``hg.load``: their end).
        seconds_: how long ``fit`` took.
    """

    def __init__(
        self,
        horizon: int = 12,
        lookback: int | None = None,
        *,
        season: int | str = "auto",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        members: int = 3,
        epochs: int | None = None,
        learning_rate: float = 3e-3,
        batch_size: int = 32,
        weight_decay: float = 0.01,
        loss: str = "mae",
        scaler: str = "auto",
        seed: int = 0,
        progress: bool | str = "auto",
    ) -> None:
        self.horizon = horizon
        self.lookback = lookback
        self.season = season
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.members = members
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.loss = loss
        self.scaler = scaler
        self.seed = seed
        self.progress = progress

    # -- fit --------------------------------------------------------------------------------

    def fit(
        self,
        data: Any,
        y: Any = None,
        *,
        time: str | None = None,
        target: str | None = None,
        freq: Any = None,
    ) -> GRUForecaster:
        """Learn a series; returns self.

        Args:
            data: values (T,), or a pandas or polars frame with a time and a value column.
            y: ignored, for scikit-learn.
            time, target: names of the columns; found when there is only one choice.
            freq: such as "M" or "30min"; read from the stamps by default.

        Raises:
            InputError: the data or a parameter are not what they should be; the message says
                what to do.
            DivergenceError: training left the sensible; try a smaller learning_rate.
        """
        begin = clock.perf_counter()
        self._check_parameters()
        series = as_series(data, time=time, target=target, freq=freq)
        check_length(len(series), self.horizon, self.lookback)
        plan = make_plan(series, self.horizon, self.lookback, self.season, self.scaler)
        values = series.values
        if np.ptp(values) == 0:
            choice, ensemble = None, Ensemble.fresh(self._spec(plan, "last"), 1, self.seed)
        else:
            choice = search(
                values,
                plan,
                make=lambda shift: Ensemble.fresh(self._spec(plan, shift), self.members, self.seed),
                options=self._fit_options(),
                epochs=self.epochs,
            )
            ensemble = choice.ensemble
        # only now, so that a fit that fails leaves an earlier one as it was
        self.series_ = series
        self.horizon_, self.lookback_, self.season_ = plan.horizon, plan.lookback, plan.season
        self.treatment_ = plan.constant(values) if choice is None else choice.treatment
        self.epochs_ = 0 if choice is None else choice.epochs
        self.history_ = None if choice is None else choice.history
        errors = np.zeros((1, plan.horizon)) if choice is None else choice.errors
        scale = self.treatment_.scale
        # to float32 and back, as a file keeps them
        self.errors_ = Errors((errors / scale).astype(np.float32).astype(np.float64) * scale)
        self.ensemble_ = ensemble
        self.length_ = len(series)
        self.nonnegative_ = bool(values.min() >= 0)
        self.seconds_ = clock.perf_counter() - begin
        return self

    def _check_parameters(self) -> None:
        check_size("horizon", self.horizon, maximum=1 << 16)
        if self.lookback is not None:
            check_size("lookback", self.lookback, maximum=1 << 16)
        if self.season != "auto":
            check_size("season", self.season)
        if self.epochs is not None:
            check_size("epochs", self.epochs, maximum=1 << 20)
        check_size("members", self.members, maximum=100)
        check_size("batch_size", self.batch_size, maximum=1 << 31)
        check_size("hidden_size", self.hidden_size, maximum=4096)  # wider is a slip of the finger
        check_size("seed", self.seed, minimum=0, maximum=1 << 50)
        check_choice("loss", self.loss, LOSSES)
        check_choice("scaler", self.scaler, SCALERS)
        check_rate("dropout", self.dropout)

    def _fit_options(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "weight_decay": self.weight_decay,
            "loss": self.loss,
            "optimizer": "adamw",
            "clip_norm": 1.0,
            "progress": self.progress,
        }

    def _spec(self, plan: Plan, shift: str) -> NetworkSpec:
        spec = NetworkSpec.stacked(
            1,
            self.hidden_size,
            plan.horizon,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )
        scaling = ScalingSpec("per_series" if shift == "none" else "per_window", shift)
        return NetworkSpec(spec.inputs, spec.layers, scaling)

    # -- predict ----------------------------------------------------------------------------

    def predict(
        self,
        horizon: int | None = None,
        level: float | tuple[float, ...] | list[float] | None = (80, 95),
        *,
        data: Any = None,
        time: str | None = None,
        target: str | None = None,
    ) -> Any:
        """The steps after the training data, or after ``data``.

        Args:
            horizon: steps; by default the trained ones. More are made block by block, each
                from the one before.
            level: coverages in percent of the intervals; None for none.
            data: a series of the same kind to continue instead, without learning from it.
            time, target: columns of ``data``; by default named as in the training data.

        Returns:
            A frame of the kind that came in (polars for an array) with the stamps, ``headgate``
            and for each level ``headgate-lo-80`` and ``headgate-hi-80``. For an array and
            ``level=None`` an array (horizon,).

        Raises:
            NotFittedError: before ``fit``.
            InputError: a horizon or level out of range, or too little ``data``.
        """
        self.require_fitted("predict")
        horizon = self.horizon_ if horizon is None else check_size("horizon", horizon)
        levels = check_levels(level)
        series = self.series_ if data is None else self._same_kind(data, time, target)
        centre, low_high = self.forecast(series, horizon, levels)
        if series.times is None and series.kind == "array" and level is None:
            return centre
        columns = {NAME: centre}
        for each, (low, high) in low_high.items():
            columns[f"{NAME}-lo-{each:g}"], columns[f"{NAME}-hi-{each:g}"] = low, high
        return future_frame(series, columns)

    def _same_kind(self, data: Any, time: str | None, target: str | None) -> Series:
        fitted = self.series_
        names = [str(name) for name in getattr(data, "columns", ())]
        if time is None and fitted.times is not None and fitted.time_name in names:
            time = fitted.time_name
        if target is None and fitted.value_name in names:
            target = fitted.value_name
        series = as_series(data, time=time, target=target)
        if "step" not in (series.freq.unit, fitted.freq.unit) and (
            (series.freq.unit, series.freq.multiple) != (fitted.freq.unit, fitted.freq.multiple)
        ):
            raise InputError(
                f"the data come every {series.freq}, but this model was fitted to data of every "
                f"{fitted.freq}; bring data of that frequency, or fit a new model"
            )
        return series

    def forecast(
        self, series: Series, horizon: int, levels: tuple[float, ...] = ()
    ) -> tuple[Float64, dict[float, tuple[Float64, Float64]]]:
        """The forecast (horizon,) after ``series`` and level -> (low, high), as arrays."""
        needed = self.lookback_ + self.treatment_.context
        values = series.values
        if len(values) < needed:
            raise InputError(
                f"the data have {len(values)} values, but this model reads the last {needed}; "
                "bring more of the series"
            )
        if self.treatment_.log and values.min() <= 0:
            raise InputError(
                "the data hold values of zero or below, but this model was fitted to positive "
                "ones and works with their logarithms; fit a new model"
            )
        phase = self._phase(series)
        path, lifted = values, np.empty(0)
        while len(lifted) < horizon:
            block = self.forecast_windows(path, np.array([len(path)]), phase=phase)[0]
            lifted = np.concatenate([lifted, block])
            path = np.concatenate([path, self.treatment_.lower(block)])
        lifted = lifted[:horizon]
        if not np.isfinite(lifted).all():
            raise InputError(
                "the data are so much larger than those this model was fitted to that it cannot "
                "follow them; fit a new model"
            )
        around = bands(self.errors_, lifted, levels)
        floor = 0.0 if self.nonnegative_ and values.min() >= 0 else -np.inf

        def natural(lifted: Float64) -> Float64:
            return np.maximum(self.treatment_.lower(lifted), floor)

        return natural(lifted), {
            level: (natural(low), natural(high)) for level, (low, high) in around.items()
        }

    def _phase(self, series: Series) -> int:
        """Steps of the training data before ``series`` begins, as far as its stamps tell."""
        known, start = self.series_, self.length_ - len(self.series_)
        if series is known:
            return start
        if series.times is None or known.times is None:
            return 0  # nothing tells; most likely it begins where the training data began
        # Where the two overlap rows are counted, so that gaps in both do no harm.
        if known.times[0] <= series.times[0] <= known.times[-1]:
            return int(start + np.searchsorted(known.times, series.times[0]))
        if series.times[0] < known.times[0] <= series.times[-1]:
            return int(start - np.searchsorted(series.times, known.times[0]))
        if series.times[0] > known.times[-1]:
            later = steps_between(known.times[-1], series.times[0], known.freq)
            return self.length_ - 1 + later
        return start + steps_between(known.times[0], series.times[0], known.freq)

    def forecast_windows(
        self, values: Float64, ends: npt.NDArray[np.int64], *, phase: int = 0
    ) -> Float64:
        """Lifted forecasts (N, H) after each of ``ends`` (N,), in one batched pass."""
        table = self.treatment_.table(values, ends, self.lookback_, self.horizon_, phase=phase)
        if self.epochs_ == 0:
            raw = np.zeros((len(ends), self.horizon_))
            if table.y_shift is not None:
                raw += table.y_shift[:, None]
        else:
            raw = self.ensemble_.predict(table)
        return self.treatment_.restore(values, ends, raw, phase=phase)

    def _natural(self, lifted: Float64) -> Float64:
        """On the data's own scale; not below zero where the data never were."""
        values = self.treatment_.lower(lifted)
        return np.maximum(values, 0.0) if self.nonnegative_ else values

    # -- back-test, plot, files -------------------------------------------------------------

    def backtest(
        self,
        data: Any = None,
        *,
        windows: int | None = None,
        step: int = 1,
        refit: bool = False,
        level: float | tuple[float, ...] | list[float] | None = (80, 95),
        time: str | None = None,
        target: str | None = None,
        freq: Any = None,
    ) -> Backtest:
        """How a fresh copy of this forecaster would have done on the end of the data.

        The copy is fitted on what comes before the first window's forecast alone, then
        forecasts ``horizon`` steps from ``windows`` origins, ``step`` apart, in one pass. The
        naive forecasts (last value, last season) stand beside it.

        Args:
            data: as in :meth:`fit`; by default the data that this one was fitted to.
            windows: by default as many as begin in the last fifth of the data.
            step: steps from one origin to the next.
            refit: fit anew before every window.
            level: intervals whose coverage is counted.

        Raises:
            InputError: the data are too short to hold windows out.
        """
        if data is None:
            self.require_fitted("backtest without data")
            if len(self.series_) < self.length_:
                raise InputError(
                    "a loaded model carries only the end of its training data; pass the data "
                    "to backtest(data)"
                )
            series = self.series_
        else:
            series = as_series(data, time=time, target=target, freq=freq)
        self._check_parameters()
        return run_backtest(
            self, series, windows=windows, step=step, refit=refit, levels=check_levels(level)
        )

    def plot(
        self, horizon: int | None = None, level: Any = (80, 95), *, ax: Any = None, title: str = ""
    ) -> Any:
        """Draw the end of the series and the forecast; returns the matplotlib Axes."""
        self.require_fitted("plot")
        from ..plots import forecast_axes, new_figure

        horizon = self.horizon_ if horizon is None else check_size("horizon", horizon)
        centre, low_high = self.forecast(self.series_, horizon, check_levels(level))
        axes = new_figure().axes[0] if ax is None else ax
        times = future_times(self.series_, horizon)
        return forecast_axes(axes, self.series_, times, centre, low_high, title, name=NAME)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that ``predict`` needs to one ``.safetensors`` file.

        Raises:
            NotFittedError: before ``fit``.
            HeadgateError: the file cannot be written; what was there before is unchanged.
        """
        self.require_fitted("save")
        tensors = self.ensemble_.tensors()
        errors = self.errors_.values / self.treatment_.scale
        tensors["extra.errors"] = errors.astype(np.float32)
        save_model(
            path,
            self.ensemble_.networks[0].spec,
            tensors,
            extra={"estimator": {"kind": "GRUForecaster", **series_file.facts_of(self)}},
        )

    @classmethod
    def from_file(cls, file: ModelFile) -> GRUForecaster:
        """The forecaster in a model file; see ``hg.load``."""
        return series_file.restore(cls, file)


def check_levels(level: Any) -> tuple[float, ...]:
    """Coverages in percent as a sorted tuple.

    Raises:
        InputError: one is not between 0 and 100.
    """
    if level is None:
        return ()
    given = np.ravel(level).tolist() if isinstance(level, np.ndarray) else level
    given = given if isinstance(given, (list, tuple)) else (given,)
    levels = []
    for item in given:
        number = as_number(item)
        if not 0 < number < 100:
            raise InputError(
                f"level must be above 0 and below 100 percent, got {shown(item)}; pass 80 or "
                "(80, 95)"
            )
        levels.append(int(number) if number == int(number) else number)
    return tuple(sorted(set(levels)))
