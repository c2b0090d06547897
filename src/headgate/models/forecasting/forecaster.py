"""GRUForecaster: one or many series in, their continuation out."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...checks import check_choice, check_flags, check_rate, check_size
from ...data.panel import Panel, complete, filled_rows
from ...data.panel_frames import as_panel
from ...data.panel_future import panel_frame, panel_times
from ...errors import InputError
from ...model_file import ModelFile, save_model
from ...spec import NetworkSpec, ScalingSpec
from ...training.losses import LOSSES_OF_TASKS
from ...training.options import FitOptions
from ..base import Estimator
from . import series_file
from .backtest import Backtest, cross_frame, run_backtest, skill
from .continuation import continue_panel
from .ensemble import Ensemble
from .features import Features
from .intervals import check_levels
from .lines import Cut, Float64, Lines
from .planning import Plan, check_lengths, make_plan
from .search import HIDDEN, MANY, RATES, Choice, constant_choice, search
from .treatment import SCALERS

NAME = "headgate"  # of the column with the forecast
STRATEGIES = ("auto", "direct", "recursive")
POLICIES = ("interpolate", "forward", "error")
Levels = float | tuple[float, ...] | list[float] | None


class GRUForecaster(Estimator):
    """Forecasts series with a small ensemble of GRU networks: one model over all of them.

    Each network reads the last ``lookback`` values and puts out all ``horizon`` steps at once.
    What is done to the series before (logarithm, season, shift of the windows) and how long to
    train is chosen on windows held out from the end of the training data, with the networks
    trained on what is before them; the errors on other held-out windows give the intervals. Then
    the networks are trained once more on all data.

    Args:
        horizon: steps to forecast.
        lookback: values that the networks see; by default about two seasons, or seven long ones.
        season: steps in a season; "auto" takes it from the frequency, else from the series'
            autocorrelation; 1 for none.
        hidden_size, num_layers, dropout: of the GRU networks (dropout before the head);
            hidden_size is 32 by default, 64 where there are many windows to learn from.
        members: networks that are averaged.
        epochs: of training; by default as many as served best on the held-out windows.
        learning_rate, batch_size, weight_decay: of AdamW; the rate falls to zero along a cosine.
            By default it begins with 0.001 and batches are of 32 windows; with 0.003 and 256 where
            there are many windows.
        loss: "mae", "mse", "huber", or "quantile" for networks that put out quantiles.
        levels: of the intervals in percent that ``loss="quantile"`` is trained for.
        scaler: "window" shifts each window by its own last value or mean, "series" all of a
            series alike; "standard", "minmax" and "robust" likewise by mean and deviation, range,
            median and quartiles; "none" leaves values alone; "auto" takes what served best on the
            held-out windows.
        strategy: "direct" puts out the horizon at once, "recursive" one step, which is fed back;
            "auto" is direct, and with covariates known ahead what served best on the held-out
            windows.
        missing: "interpolate" fills gaps by straight lines, "forward" by the value before;
            "error" refuses them.
        seed: the same seed gives the same bits.
        progress: True, False or "auto" (where somebody watches).

    Attributes:
        horizon_, lookback_, season_: in use.
        treatment_: what is done to the series, a
            :class:`~headgate.models.forecasting.treatment.Treatment`.
        ensemble_: the networks.
        epochs_: that the final networks were trained.
        history_: losses of the final training.
        errors_: of the held-out windows, for the intervals.
        features_: covariates and categories, and how they are scaled.
        panel_: the training data, filled (after ``hg.load``: their end); given_: as they came.
        parameters_: with which this forecaster was fitted.
        filled_: missing values that were filled.
        seconds_: how long ``fit`` took.
    """

    def __init__(
        self,
        horizon: int = 12,
        lookback: int | None = None,
        *,
        season: int | str = "auto",
        hidden_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.0,
        members: int = 3,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        weight_decay: float = 0.01,
        loss: str = "mae",
        levels: tuple[float, ...] = (80, 95),
        scaler: str = "auto",
        strategy: str = "auto",
        missing: str = "interpolate",
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
        self.levels = levels
        self.scaler = scaler
        self.strategy = strategy
        self.missing = missing
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
        id: str | None = None,
        past: str | Sequence[str] = (),
        future: str | Sequence[str] = (),
        static: str | Sequence[str] = (),
        freq: Any = None,
    ) -> GRUForecaster:
        """Learn from one series or from many.

        Args:
            data: a pandas or polars frame with a time and a value column, a long frame with
                ids beside them (``unique_id, ds, y``), or a 1-D array.
            y: ignored, for scikit-learn.
            time, target, id: column names; found when there is only one choice.
            past: columns that are known up to now, such as a sensor beside the target.
            future: columns that are known ahead; ``predict`` asks for theirs in ``X_df``.
            static: columns with one category for each series.
            freq: such as "M" or "30min"; read from the stamps by default.

        Raises:
            InputError: the data cannot be understood (rows, columns and series are named) or are
                too short; an earlier fit is kept.
        """
        begin = clock.perf_counter()
        self.check_parameters()
        panel = as_panel(
            data, time=time, target=target, id=id, past=past, future=future, static=static,
            freq=freq,
        )  # fmt: skip
        given = panel
        panel, filled = complete(panel, self.missing)
        check_lengths(panel.lengths, panel.name, self.horizon, self.lookback)
        features = Features.learn(panel)
        lines = features.lines(panel, np.zeros(len(panel), np.int64))
        like = Cut(
            1, 1, columns=features.columns, hidden=features.hidden,
            knows_ahead=bool(features.future),
        )  # fmt: skip
        plan = make_plan(
            lines,
            horizon=self.horizon,
            blocks=self._blocks(features),
            lookback=self.lookback,
            season=self.season,
            usual=panel.season,
            scaler=self.scaler,
            like=like,
        )
        least = max(cut.least for cut in plan.cuts)
        check_lengths(panel.lengths, panel.name, self.horizon, self.lookback, least)
        constant = bool((lines.minimum(lines.values) == lines.maximum(lines.values)).all())
        if filled:  # no held-out window may see what follows it through a line drawn across
            held = int((panel.lengths - plan.front).max())
            careful, _ = complete(given, self.missing, np.arange(1, held + 1))
            lines = features.lines(careful, lines.phase)
        truth = np.where(filled_rows(given, panel), np.nan, panel.values)
        choice = constant_choice(lines, plan) if constant else self._search(lines, plan, truth)
        # only now, so that a fit that fails leaves an earlier one as it was
        self.panel_, self.features_, self.filled_ = panel, features, filled
        self.given_: Panel | None = given
        self.parameters_ = self.get_params()
        self.phase_ = np.zeros(len(panel), np.int64)
        self.horizon_, self.season_ = plan.horizon, plan.season
        self.cut_, self.lookback_ = choice.cut, choice.cut.lookback
        self.treatment_, self.epochs_, self.history_ = (
            choice.treatment,
            choice.epochs,
            choice.history,
        )
        self.errors_, self.ensemble_ = choice.errors, choice.ensemble
        self.nonnegative_ = lines.minimum(lines.values) >= 0
        self.seconds_ = clock.perf_counter() - begin
        return self

    def _search(self, lines: Lines, plan: Plan, truth: Float64) -> Choice:
        many = int(np.maximum(plan.front - plan.horizon, 0).sum()) >= MANY
        hidden = self.hidden_size or HIDDEN[many]
        rate = RATES[many] if self.learning_rate is None else self.learning_rate
        quantiles = self._quantiles()

        def make(cut: Cut, shift: str) -> Ensemble:
            spec = NetworkSpec.stacked(
                cut.segment * cut.columns,
                hidden,
                cut.horizon * max(len(quantiles), 1),
                num_layers=self.num_layers,
                head_dropout=self.dropout,
            )
            scaling = ScalingSpec("per_series" if shift == "none" else "per_window", shift)
            spec = NetworkSpec(spec.inputs, spec.layers, scaling)
            return Ensemble.fresh(spec, self.members, self.seed, quantiles)

        return search(
            lines,
            plan,
            truth,
            make=make,
            options={
                "learning_rate": rate,
                "weight_decay": self.weight_decay,
                "loss": self.loss,
                "quantiles": quantiles,
                "optimizer": "adamw",
                "schedule": "cosine",
                "clip_norm": 1.0,
                "progress": self.progress,
            },
            epochs=self.epochs,
            batch_size=self.batch_size,
        )

    def _blocks(self, features: Features) -> tuple[int, ...]:
        """Steps that the networks may put out at once."""
        if self.strategy == "recursive":
            return (1,)
        if self.strategy == "auto" and features.future and self.horizon > 1:
            return (self.horizon, 1)
        return (self.horizon,)

    def _quantiles(self) -> tuple[float, ...]:
        """That the networks put out: none, or the median and both ends of every level."""
        if self.loss != "quantile":
            return ()
        tails = [(1 - level / 100) / 2 for level in check_levels(self.levels)]
        return tuple(sorted({0.5, *tails, *(1 - tail for tail in tails)}))

    def check_parameters(self) -> None:
        check_size("horizon", self.horizon, maximum=1 << 16)
        if self.lookback is not None:
            check_size("lookback", self.lookback, maximum=1 << 16)
        if not (isinstance(self.season, str) and self.season == "auto"):
            check_size("season", self.season)
        if self.epochs is not None:
            check_size("epochs", self.epochs, maximum=1 << 20)
        check_size("members", self.members, maximum=100)
        if self.batch_size is not None:
            check_size("batch_size", self.batch_size, maximum=1 << 31)
        if self.hidden_size is not None:  # wider is a slip of the finger
            check_size("hidden_size", self.hidden_size, maximum=4096)
        check_size("seed", self.seed, minimum=0, maximum=1 << 50)
        check_choice("loss", self.loss, LOSSES_OF_TASKS["regression"])
        check_choice("scaler", self.scaler, SCALERS)
        check_choice("strategy", self.strategy, STRATEGIES)
        check_choice("missing", self.missing, POLICIES)
        check_levels(self.levels)
        check_rate("dropout", self.dropout)
        # where nothing is left to train nobody else would look
        check_size("num_layers", self.num_layers)
        FitOptions(
            learning_rate=RATES[0] if self.learning_rate is None else self.learning_rate,
            weight_decay=self.weight_decay,
        )

    # -- predict ----------------------------------------------------------------------------

    def predict(
        self,
        horizon: int | None = None,
        level: Levels = (80, 95),
        X_df: Any = None,
        *,
        data: Any = None,
        time: str | None = None,
        target: str | None = None,
        id: str | None = None,
        freq: Any = None,
    ) -> Any:
        """The steps after the training data, or after ``data``.

        Args:
            horizon: steps; by default the trained ones. More are made block by block, each
                from the one before.
            level: coverages in percent of the intervals; None for none.
            X_df: a frame with the covariates known ahead, one row for each series and step.
            data: series of the same kind to continue instead, without learning from them: newer
                values of the trained ones, or series that were not in training.
            time, target, id: columns of ``data``; by default named as in the training data.
            freq: of ``data``; read from the stamps by default.

        Returns:
            A frame of the kind that came in (polars for an array) with the ids where there are
            some, the stamps, ``headgate`` and for each level ``headgate-lo-80`` and
            ``headgate-hi-80``. For an array and ``level=None`` an array (horizon,).

        Raises:
            NotFittedError: before ``fit``.
            InputError: a horizon or level out of range, too little ``data``, or covariates that
                are missing for a step.
        """
        self.require_fitted("predict")
        horizon = self.horizon_ if horizon is None else check_size("horizon", horizon)
        levels = self._check_level(level)
        panel = self.panel_
        if data is not None:
            panel, _ = complete(self.read_like(data, time, target, id, freq), self.missing)
        centre, low_high = self.forecast(panel, horizon, levels, X_df)
        if panel.kind == "array" and level is None:
            return centre[0]
        columns = {NAME: centre}
        for each, (low, high) in low_high.items():
            columns[f"{NAME}-lo-{each:g}"], columns[f"{NAME}-hi-{each:g}"] = low, high
        return panel_frame(panel, columns)

    def _check_level(self, level: Levels, *, fitted: bool = True) -> tuple[float, ...]:
        """Levels that this model can give, or (not ``fitted``) a copy of it."""
        levels = check_levels(level)
        errors = getattr(self, "errors_", None) if fitted else None
        trained = check_levels(self.levels) if self.loss == "quantile" else ()
        if errors is not None:
            trained = errors.levels
        unknown = [x for x in levels if all(abs(x - known) > 1e-6 for known in trained)]
        if trained and unknown:
            raise InputError(
                f"this model was trained for the levels {', '.join(f'{x:g}' for x in trained)}, "
                f"not for {unknown[0]:g}; pass one of them, or fit with levels=({unknown[0]:g},)"
            )
        return levels

    def read_like(
        self,
        data: Any,
        time: str | None = None,
        target: str | None = None,
        id: str | None = None,
        freq: Any = None,
    ) -> Panel:
        """``data`` read as the training data were."""
        fitted = self.panel_
        if freq is None and fitted.freq.unit == "B":
            freq = fitted.freq  # a few days do not tell which days never come
        names = [str(name) for name in getattr(data, "columns", ())]
        if time is None and fitted.times is not None and fitted.time_name in names:
            time = fitted.time_name
        if target is None and fitted.value_name in names:
            target = fitted.value_name
        if id is None and fitted.id_name in names:
            id = fitted.id_name
        panel = as_panel(
            data, time=time, target=target, id=id, past=fitted.past_names,
            future=fitted.future_names, static=fitted.static_names, freq=freq,
        )  # fmt: skip
        if "step" not in (panel.freq.unit, fitted.freq.unit) and (
            (panel.freq.unit, panel.freq.multiple) != (fitted.freq.unit, fitted.freq.multiple)
        ):
            raise InputError(
                f"the data come every {panel.freq}, but this model was fitted to data of every "
                f"{fitted.freq}; bring data of that frequency, pass freq={str(fitted.freq)!r} "
                "where rows are only missing, or fit a new model"
            )
        return panel

    def forecast(
        self, panel: Panel, horizon: int, levels: tuple[float, ...] = (), X_df: Any = None
    ) -> tuple[Float64, dict[float, tuple[Float64, Float64]]]:
        """The forecasts (M, horizon) after a complete panel, and level -> (low, high)."""
        return continue_panel(self, panel, horizon, levels, X_df=X_df)

    # -- back-test, plot, files -------------------------------------------------------------

    def backtest(
        self,
        data: Any = None,
        *,
        windows: int | None = None,
        step: int | None = None,
        refit: bool = False,
        fit: bool = True,
        level: Levels = (80, 95),
        **columns: Any,
    ) -> Backtest:
        """How a fresh copy of this forecaster would have done on the end of the data.

        The copy is fitted on what comes before the first window's forecast alone, then
        forecasts ``horizon`` steps from ``windows`` origins, ``step`` apart, in one pass. The
        naive forecasts (last value, last season) stand beside it.

        Args:
            data: as in :meth:`fit`; by default the data that this one was fitted to.
            windows: by default as many as begin in the last fifth of a single series; up to
                three of many.
            step: steps from one origin to the next; 1 for a single series, else the horizon.
            refit: fit anew before every window.
            fit: False tries this fitted forecaster itself instead of a copy; that the windows
                were not in its training is then up to you.
            level: intervals whose coverage is counted.
            columns: time, target, id, past, future, static, freq, as in :meth:`fit`.

        Raises:
            InputError: the data are too short to hold windows out.
        """
        check_flags(refit=refit, fit=fit)
        panel = self._whole(data, "backtest", columns, fit)
        return run_backtest(
            self,
            panel,
            windows=windows,
            step=step,
            refit=refit,
            fit=fit,
            levels=self._check_level(level, fitted=not fit),
        )

    def cross_validation(
        self,
        data: Any = None,
        n_windows: int = 1,
        *,
        step_size: int | None = None,
        refit: bool = False,
        fit: bool = True,
        level: Levels = (80, 95),
        **columns: Any,
    ) -> Any:
        """The forecasts of a back-test as a frame, one row for each series, window and step.

        Args:
            data, refit, fit, level, columns: as in :meth:`backtest`.
            n_windows: origins; the last window ends where each series ends.
            step_size: steps from one origin to the next; by default the horizon, so that
                windows do not overlap.

        Returns:
            A frame of the kind that came in: ids, stamps, ``cutoff`` (the last stamp that was
            known), the truth, ``headgate`` with its intervals, ``naive`` and, with a season,
            ``seasonal_naive``. Truth that was missing and filled is nan.
        """
        check_flags(refit=refit, fit=fit)
        panel = self._whole(data, "cross_validation", columns, fit)
        step = self.horizon if step_size is None else step_size
        levels = self._check_level(level, fitted=not fit)
        result = run_backtest(
            self, panel, windows=n_windows, step=step, refit=refit, fit=fit, levels=levels
        )
        return cross_frame(result)

    def score(self, data: Any, y: Any = None, X_df: Any = None, **columns: Any) -> float:
        """Skill on the last ``horizon`` steps of ``data``, which this model forecasts unseen.

        1 - MAE over that of the seasonal naive forecast (each series' in units of its own), as
        scikit-learn has it: higher is better, 1 is perfect, 0 no better than naive.
        """
        self.require_fitted("score")
        _check_columns(columns, ("time", "target", "id", "freq"))
        return skill(self, self.read_like(data, **columns))

    def _whole(self, data: Any, what: str, columns: dict[str, Any], fit: bool) -> Panel:
        self.check_parameters()
        known = ("time", "target", "id", "freq", "past", "future", "static")
        _check_columns(columns, known if fit else known[:4])
        if not fit:
            self.require_fitted(f"{what} with fit=False")
            if data is not None:
                return self.read_like(data, **columns)
        if data is None:
            self.require_fitted(f"{what} without data")
            if self.phase_.any() or self.given_ is None:
                raise InputError(
                    "a loaded model carries only the end of its training data; pass the data "
                    f"to {what}(data)"
                )
            return self.given_
        return as_panel(data, **columns)

    def plot(
        self,
        horizon: int | None = None,
        level: Levels = (80, 95),
        X_df: Any = None,
        *,
        id: Any = None,
        ax: Any = None,
        title: str = "",
    ) -> Any:
        """Draw the end of a series and its forecast; returns the matplotlib Axes.

        Args:
            id: which of many series; by default the first.
        """
        self.require_fitted("plot")
        from ...plots import forecast_axes, new_figure

        horizon = self.horizon_ if horizon is None else check_size("horizon", horizon)
        panel = self.panel_
        k = 0
        if id is not None:
            if id not in panel.ids:
                listed = ", ".join(map(repr, panel.ids[:5]))
                raise InputError(f"there is no series {id!r}; there are {listed or 'no ids'}")
            k = panel.ids.index(id)
        centre, low_high = self.forecast(panel, horizon, self._check_level(level), X_df)
        axes = new_figure().axes[0] if ax is None else ax
        around = {each: (low[k], high[k]) for each, (low, high) in low_high.items()}
        if not title and panel.ids:
            title = str(panel.ids[k])
        times = panel_times(panel, horizon)[k]
        return forecast_axes(axes, panel.series(k), times, centre[k], around, title, name=NAME)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that ``predict`` needs to one ``.safetensors`` file.

        Raises:
            NotFittedError: before ``fit``.
            HeadgateError: the file cannot be written; what was there before is unchanged.
        """
        self.require_fitted("save")
        facts, tensors = series_file.facts_of(self)
        save_model(
            path,
            self.ensemble_.networks[0].spec,
            self.ensemble_.tensors() | tensors,
            extra={"estimator": {"kind": "GRUForecaster", **facts}},
        )

    @classmethod
    def from_file(cls, file: ModelFile) -> GRUForecaster:
        """The forecaster in a model file; see ``hg.load``."""
        return series_file.restore(cls, file)


def _check_columns(columns: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(columns) - set(known))
    if unknown:
        raise InputError(f"there is no option {unknown[0]!r} here; known are {', '.join(known)}")
