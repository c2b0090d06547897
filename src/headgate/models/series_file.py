"""What a model file says of a forecaster beside its networks, and the way back."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_choice, check_size
from ..data.frames import Frequency, Series, future_times
from ..data.stamps import TimeStyle
from ..errors import ModelFileError
from ..model_file import ModelFile
from ..training.history import History
from .ensemble import Ensemble
from .intervals import Errors
from .treatment import Treatment

if TYPE_CHECKING:
    from .forecaster import GRUForecaster


def facts_of(model: GRUForecaster) -> dict[str, Any]:
    """JSON-able facts; the series is cut to what forecasts and pictures need."""
    horizon, season = model.horizon_, model.treatment_.season
    needed = model.lookback_ + model.treatment_.context
    keep = min(len(model.series_), max(needed, min(max(80, 8 * horizon, 6 * season), 2000)))
    return {
        "parameters": model.get_params(),
        "horizon": horizon,
        "lookback": model.lookback_,
        "season": model.season_,
        "treatment": asdict(model.treatment_),
        "epochs": model.epochs_,
        "members": len(model.ensemble_.networks),
        "nonnegative": model.nonnegative_,
        "length": model.length_,
        "seconds": model.seconds_,
        "history": None if model.history_ is None else model.history_.to_dict(),
        "series": _series_facts(model.series_.part(len(model.series_) - keep)),
    }


def restore(cls: type[GRUForecaster], file: ModelFile) -> GRUForecaster:
    """The inverse of :func:`facts_of` and ``save``.

    Raises:
        ModelFileError: a fact is missing or cannot be.
    """
    facts = file.extra["estimator"]
    try:
        model = cls(**facts["parameters"])
        model._check_parameters()
        model.horizon_, model.lookback_ = int(facts["horizon"]), int(facts["lookback"])
        model.season_ = int(facts["season"])
        treatment = dict(facts["treatment"])
        treatment["indices"] = tuple(float(v) for v in treatment["indices"])
        model.treatment_ = Treatment(**treatment)
        model.epochs_, model.length_ = int(facts["epochs"]), int(facts["length"])
        model.nonnegative_ = bool(facts["nonnegative"])
        model.seconds_ = float(facts["seconds"])
        model.history_ = None if facts["history"] is None else History.from_dict(facts["history"])
        errors = np.asarray(file.tensors["extra.errors"], np.float64)
        model.errors_ = Errors(errors * model.treatment_.scale)
        model.series_ = _series(facts["series"])
        members = int(facts["members"])
        if not 1 <= members <= 100 or model.errors_.values.shape[1:] != (model.horizon_,):
            raise ValueError("members or errors do not fit")
        if not np.isfinite(model.errors_.values).all() or not model.errors_.values.size:
            raise ValueError("errors are missing or not finite")
        if not model.treatment_.scale > 0 or not np.isfinite(model.series_.values).all():
            raise ValueError("the scale or the series cannot be")
        if file.spec.output_size != model.horizon_ or file.spec.input_size != 1:
            raise ValueError("the network does not fit the horizon")
        if model.lookback_ < 1 or len(model.series_) < model.lookback_ + model.treatment_.context:
            raise ValueError("the series is too short for the lookback")
        check_choice("method", model.treatment_.method, ("difference", "indices", "plain"))
        check_choice("shift", model.treatment_.shift, ("last", "mean", "none"))
        check_size("the treatment's season", model.treatment_.season)
        model.ensemble_ = Ensemble.from_tensors(file.spec, file.tensors, members)
        # the surest check that everything fits together, in about a millisecond
        if not np.isfinite(model.forecast(model.series_, model.horizon_)[0]).all():
            raise ValueError("its forecast is not finite")
        future_times(model.series_, model.horizon_)
        model.series_.style.write(np.array(["2024-01-05"], "M8[us]"))
    except Exception as error:  # whatever a hostile file may hold
        raise ModelFileError(
            f"the model file is broken: its forecaster cannot be rebuilt ({error}); save it again"
        ) from None
    return model


def _series_facts(series: Series) -> dict[str, Any]:
    times = None if series.times is None else series.times.astype(np.int64).tolist()
    style = {**asdict(series.style), "dtype": None}
    if series.style.dtype is not None:
        style["dtype"] = str(series.style.dtype)
    return {
        "values": series.values.tolist(),
        "times": times,
        "calendar": series.times is not None and series.times.dtype.kind == "M",
        "time_name": series.time_name,
        "value_name": series.value_name,
        "freq": asdict(series.freq),
        "season": series.season,
        "kind": series.kind,
        "style": style,
    }


def _series(facts: dict[str, Any]) -> Series:
    values = np.asarray(facts["values"], np.float64)
    values.flags.writeable = False
    times = None
    if facts["times"] is not None:
        times = np.asarray(facts["times"], np.int64)
        if facts["calendar"]:
            times = times.astype("datetime64[us]")
        if len(times) != len(values):
            raise ValueError("times and values differ in length")
    style = dict(facts["style"])
    style["dtype"] = _time_type(style["dtype"])
    kind = facts["kind"]
    if kind not in ("array", "polars", "pandas"):
        raise ValueError(f"unknown kind {kind!r}")
    return Series(
        values,
        times,
        str(facts["time_name"]),
        str(facts["value_name"]),
        Frequency(**facts["freq"]),
        int(facts["season"]),
        kind,
        TimeStyle(**style),
    )


def _time_type(text: str | None) -> Any:
    """A narwhals Date or Datetime from its ``str``."""
    if text is None:
        return None
    import narwhals as nw

    if text == "Date":
        return nw.Date()
    match = re.fullmatch(
        r"Datetime\(time_unit='(s|ms|us|ns)', time_zone=(?:None|'([\w/+\-]+)')\)", text
    )
    if match is None:
        raise ValueError(f"unknown time type {text!r}")
    return nw.Datetime(match[1], match[2])  # type: ignore[arg-type]
