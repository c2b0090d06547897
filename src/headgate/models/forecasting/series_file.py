"""What a model file says of a forecaster beside its networks, and the way back."""

from __future__ import annotations

import contextlib
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...checks import check_choice, check_size, shown
from ...data.frames import native_times
from ...data.panel import Panel
from ...data.panel_future import panel_times
from ...data.stamps import TimeStyle
from ...data.times import MONTH_UNITS, Frequency
from ...errors import ModelFileError
from ...model_file import ModelFile
from ...training.history import History
from .continuation import continue_panel
from .ensemble import Ensemble
from .features import Features
from .intervals import Errors, check_levels
from .lines import Cut
from .treatment import Treatment

if TYPE_CHECKING:
    from .forecaster import GRUForecaster

Float32 = npt.NDArray[np.float32]
SHOWN = 2000  # steps of each series that are kept for pictures, at most
MANY = 50  # series; of more only what forecasts need is kept
_PLAIN = ("method", "shift", "season", "usual")
_ARRAYS = ("indices", "offset", "scale", "noise")
_UNITS = (*MONTH_UNITS, *"WDBHTSLU", "step")
_YEARS = np.array(["0001-01-01", "9999-12-31T23:59:59.999999"], "M8[us]")
# What data.stamps makes of dates: a width of a thousand million would fill the memory.
_TEMPLATE = re.compile(
    r"(?:[^{}]|\{year:04d\}|\{(?:quarter|month|day|hour|minute|second)(?::02d)?\}"
    r"|\{fraction:\.[1-6]\})*"
)


def facts_of(model: GRUForecaster) -> tuple[dict[str, Any], dict[str, Float32]]:
    """JSON-able facts, and tensors; the series are cut to what forecasts and pictures need."""
    horizon, treatment, cut = model.horizon_, model.treatment_, model.cut_
    whole = model.panel_
    needed = cut.context + cut.lookback + cut.segment
    if len(whole) <= MANY:
        needed = max(needed, min(max(80, 8 * horizon, 6 * treatment.season), SHOWN))
    skipped = np.maximum(whole.lengths - needed, 0)
    panel = whole.cut(skipped, whole.lengths)
    tensors = {
        "values": _as_bits(panel.values),
        "lengths": _as_bits(panel.lengths),
        "phase": _as_bits(model.phase_ + skipped),
        "past": _as_bits(panel.past),
        "future": _as_bits(panel.future),
        "log": treatment.log.astype(np.float32),
        "nonnegative": model.nonnegative_.astype(np.float32),
        "errors": model.errors_.values.astype(np.float32),
        "size": _as_bits(model.errors_.size),
    } | {name: _as_bits(getattr(treatment, name)) for name in _ARRAYS}
    if panel.times is not None:
        tensors["times"] = _as_bits(panel.times.astype(np.int64))
    facts = {
        "parameters": {
            **model.parameters_,
            "levels": list(check_levels(model.parameters_["levels"])),
        },
        "horizon": horizon,
        "season": model.season_,
        "cut": asdict(cut),
        "treatment": {name: getattr(treatment, name) for name in _PLAIN},
        "features": model.features_.to_dict(),
        "epochs": model.epochs_,
        "members": len(model.ensemble_.networks),
        "quantiles": list(model.ensemble_.quantiles),
        "error_series": model.errors_.series,
        "error_levels": list(model.errors_.levels),
        "filled": model.filled_,
        "seconds": model.seconds_,
        "history": model.history_.to_dict(),
        "panel": _panel_facts(panel),
    }
    return plain(facts), {f"extra.{name}": array for name, array in tensors.items() if array.size}


def plain(facts: Any) -> Any:
    """The same with NumPy's scalars as numbers of Python, which JSON has words for."""
    if isinstance(facts, dict):
        return {key: plain(value) for key, value in facts.items()}
    if isinstance(facts, (list, tuple)):
        return [plain(value) for value in facts]
    return facts.item() if isinstance(facts, np.generic) else facts


def restore(cls: type[GRUForecaster], file: ModelFile) -> GRUForecaster:
    """The inverse of :func:`facts_of` and ``save``.

    Raises:
        ModelFileError: a fact is missing or cannot be.
    """
    facts = file.extra["estimator"]
    try:
        parameters = dict(facts["parameters"])
        parameters["levels"] = tuple(parameters["levels"])
        model = cls(**parameters)
        model.check_parameters()
        model.horizon_ = check_size("horizon", facts["horizon"], maximum=1 << 16)
        model.season_ = check_size("season", facts["season"])
        model.parameters_ = model.get_params()
        model.cut_ = _cut(facts["cut"])
        model.lookback_ = model.cut_.lookback
        model.features_ = _features(facts["features"])
        model.panel_ = _panel(facts["panel"], file, model.features_)
        count = len(model.panel_)
        model.phase_ = _bits(file, "phase", np.int64, (count,))
        model.treatment_ = _treatment(facts["treatment"], file, count)
        model.nonnegative_ = _flags(file, "nonnegative", count)
        model.errors_ = _errors(facts, file, model.horizon_, count)
        model.epochs_, model.filled_ = int(facts["epochs"]), int(facts["filled"])
        model.given_ = None if model.filled_ else model.panel_
        model.seconds_ = float(facts["seconds"])
        model.history_ = History.from_dict(facts["history"])
        quantiles = tuple(float(q) for q in facts["quantiles"])
        if quantiles != model._quantiles() and model.epochs_:
            raise ValueError("the quantiles do not fit the levels")
        _check_quantiles(quantiles, model.errors_.levels)
        _check_fit(model, file, len(quantiles))
        members = int(facts["members"])
        if not 1 <= members <= 100:
            raise ValueError("members must be 1 to 100")
        model.ensemble_ = Ensemble.from_tensors(file.spec, file.tensors, members, quantiles)
        # the surest check that everything fits together: forecast the first series
        first = model.panel_.choose([0])
        known = None
        if first.future_names:
            known = np.zeros((1, model.horizon_, len(first.future_names)))
        if not np.isfinite(continue_panel(model, first, model.horizon_, future=known)[0]).all():
            raise ValueError("its forecast is not finite")
        ahead = panel_times(first, model.horizon_)[0]
        with contextlib.suppress(ImportError):  # pandas need not be here yet
            native_times(ahead, first.style, first.kind)
        first.style.write(np.array(["2024-01-05"], "M8[us]"))
    except Exception as error:  # whatever a hostile file may hold
        raise ModelFileError(
            f"the model file is broken: its forecaster cannot be rebuilt ({error}); save it again"
        ) from None
    return model


def _check_quantiles(quantiles: tuple[float, ...], levels: tuple[float, ...]) -> None:
    """The median and both ends of every level, from the widest, or nothing."""
    half = len(quantiles) // 2
    ends = [((1 - level / 100) / 2, (1 + level / 100) / 2) for level in levels]
    expected = [low for low, _ in ends] + [0.5] * bool(quantiles) + [high for _, high in ends[::-1]]
    if (
        len(levels) != half
        or len(expected) != len(quantiles)
        or not np.allclose(expected, quantiles, rtol=0, atol=1e-8)
        or not all(0 < q < 1 for q in quantiles)
        or sorted(set(quantiles)) != list(quantiles)
    ):
        raise ValueError("the quantiles do not fit the levels of the errors")


def _features(facts: dict[str, Any]) -> Features:
    names = [*facts["past"], *facts["future"], *facts["static"]]
    items = [item for column in facts["categories"] for item in column]
    if not all(isinstance(text, str) for text in names + items):
        raise ValueError("names of columns and categories must be texts")
    if len(set(names)) != len(names):
        raise ValueError("a column stands twice")
    return Features.from_dict(facts)


def _check_fit(model: GRUForecaster, file: ModelFile, quantiles: int) -> None:
    cut, features = model.cut_, model.features_
    if (cut.columns, cut.hidden) != (features.columns, features.hidden):
        raise ValueError("the columns do not fit the covariates")
    if cut.knows_ahead != bool(features.future) or not 1 <= cut.horizon <= model.horizon_:
        raise ValueError("the windows do not fit the horizon")
    if (
        file.spec.output_size != cut.horizon * max(quantiles, 1)
        or file.spec.input_size != cut.segment * cut.columns
    ):
        raise ValueError("the network does not fit the windows")
    if (model.panel_.lengths < cut.least).any() or (model.phase_ < 0).any():
        raise ValueError("a series is too short for the lookback")


def _cut(facts: dict[str, Any]) -> Cut:
    numbers = {
        name: check_size(name, facts[name], minimum=0 if name == "context" else 1, maximum=1 << 24)
        for name in ("horizon", "lookback", "segment", "context", "fewest", "columns", "hidden")
    }
    if not isinstance(facts["knows_ahead"], bool):
        raise ValueError("knows_ahead must be true or false")
    cut = Cut(**numbers, knows_ahead=facts["knows_ahead"])
    if cut.lookback < cut.fewest * cut.segment:
        raise ValueError("the lookback is shorter than the shortest window")
    return cut


def _treatment(facts: dict[str, Any], file: ModelFile, count: int) -> Treatment:
    check_choice("method", facts["method"], ("difference", "indices", "plain"))
    check_choice("shift", facts["shift"], ("last", "mean", "none"))
    season = check_size("the treatment's season", facts["season"])
    arrays = {
        name: _bits(file, name, np.float64, (count, season) if name == "indices" else (count,))
        for name in _ARRAYS
    }
    if any(not np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("a treatment is not finite")
    if (arrays["scale"] < 0).any() or (arrays["noise"] < 0).any() or not facts["usual"] > 0:
        raise ValueError("a scale is negative")
    return Treatment(
        facts["method"], facts["shift"], season, _flags(file, "log", count), **arrays,
        usual=float(facts["usual"]),
    )  # fmt: skip


def _errors(facts: dict[str, Any], file: ModelFile, horizon: int, count: int) -> Errors:
    values = np.asarray(file.tensors["extra.errors"], np.float64)
    levels = tuple(float(level) for level in facts["error_levels"])
    if values.ndim != 3 or values.shape[::2] != (max(len(levels), 1), horizon) or not values.size:
        raise ValueError("errors do not fit the horizon")
    size = _bits(file, "size", np.float64, (count,))
    # a held-out value that was missing has no error
    odd = np.isinf(values).any() or np.isnan(values).all()
    if odd or not np.isfinite(size).all() or (size < 0).any():
        raise ValueError("errors are not finite")
    series = check_size("the series of errors", facts["error_series"])
    return Errors(values, series, size, levels)


# -- the panel -------------------------------------------------------------------------------


def _panel_facts(panel: Panel) -> dict[str, Any]:
    style = {**asdict(panel.style), "dtype": None}
    if panel.style.dtype is not None:
        style["dtype"] = str(panel.style.dtype)
    return {
        "ids": list(panel.ids),
        "id_name": panel.id_name,
        "calendar": panel.times is not None and panel.times.dtype.kind == "M",
        "time_name": panel.time_name,
        "value_name": panel.value_name,
        "freq": asdict(panel.freq),
        "season": panel.season,
        "kind": panel.kind,
        "style": style,
        "static": panel.static.tolist(),
    }


def _panel(facts: dict[str, Any], file: ModelFile, features: Features) -> Panel:
    ids = tuple(facts["ids"])
    count = max(len(ids), 1)
    lengths = _bits(file, "lengths", np.int64, (count,))
    if (lengths < 1).any() or len(set(ids)) != len(ids):
        raise ValueError("the series cannot be")
    named = isinstance(facts["id_name"], str) if ids else facts["id_name"] is None
    if not named or not all(type(item) in (str, int) for item in ids):
        raise ValueError("the ids cannot be")
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = int(bounds[-1])
    values = _bits(file, "values", np.float64, (rows,))
    if not np.isfinite(values).all():
        raise ValueError("the series are not finite")
    values.flags.writeable = False
    times = None
    if "extra.times" in file.tensors:
        times = _bits(file, "times", np.int64, (rows,))
        if facts["calendar"]:
            times = times.astype("datetime64[us]")
            if not ((times >= _YEARS[0]) & (times <= _YEARS[1])).all():
                raise ValueError("a stamp lies outside the years 1 to 9999")
        later = times[1:] > times[:-1]
        later[bounds[1:-1] - 1] = True  # another series begins
        if not later.all():
            raise ValueError("the stamps do not increase")
    elif facts["calendar"]:
        raise ValueError("the stamps are missing")
    else:  # rows are counted on from where they were
        phase = _bits(file, "phase", np.int64, (count,))
        times = np.concatenate(
            [np.arange(p, p + n) for p, n in zip(phase, lengths, strict=True)]
        ).astype(np.int64)
    if facts["kind"] not in ("array", "polars", "pandas"):
        raise ValueError(f"unknown kind {facts['kind']!r}")
    static = np.empty((count, len(features.static)), dtype=object)
    if features.static:
        static[:] = [[str(item) for item in row] for row in facts["static"]]
    return Panel(
        values, bounds, ids, facts["id_name"], times, str(facts["time_name"]),
        str(facts["value_name"]), _frequency(facts["freq"]),
        check_size("the usual season", facts["season"]), facts["kind"], _style(facts["style"]),
        features.past,
        _bits(file, "past", np.float64, (rows, len(features.past))), features.future,
        _bits(file, "future", np.float64, (rows, len(features.future))), features.static, static,
    )  # fmt: skip


def _frequency(facts: dict[str, Any]) -> Frequency:
    freq = Frequency(**facts)
    check_choice("unit", freq.unit, _UNITS)
    check_size("multiple", freq.multiple, maximum=(1 << 62) - 1)
    check_size("day", freq.day, minimum=0, maximum=31)
    if not re.fullmatch("([01]{7})?", freq.weekdays) or set(freq.weekdays) == {"0"}:
        raise ValueError("the days of the week cannot be")
    return freq


def _style(facts: dict[str, Any]) -> TimeStyle:
    style = TimeStyle(**{**facts, "dtype": _time_type(facts["dtype"])})
    if not _TEMPLATE.fullmatch(style.template) or len(style.template) > 200:
        raise ValueError(f"stamps cannot be written as {shown(style.template)}")
    if style.dtype is not None and style.template:
        raise ValueError("stamps are texts or dates, not both")
    if style.time_zone != getattr(style.dtype, "time_zone", None):
        raise ValueError("the time zones differ")
    return style


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


# -- numbers of 64 bits among tensors of 32 ----------------------------------------------------


def _as_bits(array: npt.NDArray[Any]) -> Float32:
    """The bits of a float64 or int64 array as twice as many float32: a model file has no other."""
    return np.ascontiguousarray(array).reshape(-1).view(np.float32)


def _bits(file: ModelFile, name: str, dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The inverse of :func:`_as_bits`; an array without values is not in the file."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    bits = np.array(file.tensors[f"extra.{name}"]).reshape(-1)
    return np.asarray(bits.view(dtype).reshape(shape))


def _flags(file: ModelFile, name: str, count: int) -> npt.NDArray[np.bool_]:
    flags = file.tensors[f"extra.{name}"]
    if flags.shape != (count,):
        raise ValueError(f"{name} does not fit the series")
    return np.asarray(flags != 0)
