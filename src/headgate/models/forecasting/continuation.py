"""How a fitted forecaster goes on: with its training data, newer values of them, or new series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...data.panel import Panel
from ...data.panel_future import future_values
from ...data.times import steps_between
from ...errors import InputError
from .intervals import bands
from .lines import Float64, Int64, Lines
from .planning import logarithms
from .search import roll
from .treatment import Bool, Treatment, learn

if TYPE_CHECKING:
    from .forecaster import GRUForecaster

Bands = dict[float, tuple[Float64, Float64]]


class Known(NamedTuple):
    """What a forecaster knows of M series: of those in training, or learned of new ones.

    Attributes:
        phase: (M,) steps of the training data before each begins.
        size: (M,) of its errors, on the lifted scale.
        nonnegative: (M,) whether it was never below zero.
    """

    treatment: Treatment
    phase: Int64
    size: Float64
    nonnegative: Bool


def known_of(model: GRUForecaster, panel: Panel) -> Known:
    """What ``model`` knows of a complete panel's series; new ones are learned from the panel."""
    fitted = model.panel_
    if panel is fitted:
        return Known(model.treatment_, model.phase_, model.errors_.size, model.nonnegative_)
    place = {str(name): k for k, name in enumerate(fitted.ids)}  # 1 and '1' are one id
    if fitted.ids and panel.ids:
        at = np.array([place.get(str(name), -1) for name in panel.ids])
    else:  # one without a name stands for the one without a name
        at = np.full(len(panel), 0 if len(panel) == len(fitted) == 1 else -1)
    trained, new = np.maximum(at, 0), np.flatnonzero(at < 0)
    treatment, size = model.treatment_.choose(trained), model.errors_.size[trained]
    own = Lines.of(panel.values, panel.bounds)
    nonnegative = model.nonnegative_[trained] & (own.minimum(own.values) >= 0)
    phase = np.array([_phase(model, panel, k, int(at[k])) for k in range(len(panel))])
    if len(new):
        lines, old = own.choose(new), model.treatment_
        log = logarithms(lines, model.season_)
        fresh = learn(
            lines, model.season_, old.method, old.shift, log, model.scaler, usual=old.usual
        )
        treatment = treatment.put(new, fresh)
        size[new] = fresh.noise
        nonnegative[new] = lines.minimum(lines.values) >= 0
    return Known(treatment, phase, size, nonnegative)


def continue_panel(
    model: GRUForecaster, panel: Panel, horizon: int, levels: tuple[float, ...] = (), *,
    X_df: Any = None, future: Float64 | None = None,
) -> tuple[Float64, Bands]:  # fmt: skip
    """The forecasts (M, horizon) after a complete panel, and level -> (low, high).

    Args:
        X_df: a frame with the covariates known ahead, or
        future: their values (M, horizon, F).
    """
    if len(panel.values) and panel.times is not None and model.panel_.times is not None:
        kinds = (panel.times.dtype.kind, model.panel_.times.dtype.kind)
        if kinds[0] != kinds[1]:
            words = {"M": "dates", "i": "integers"}
            raise InputError(
                f"the times of the data are {words[kinds[0]]}, but this model was fitted to "
                f"{words[kinds[1]]}; bring times of that kind"
            )
    known = known_of(model, panel)
    lines = model.features_.lines(panel, known.phase)
    _check_window(model, panel, lines, known.treatment.log)
    ahead = None
    if model.features_.future:
        if X_df is None and future is None:
            raise InputError(
                "this model reads covariates known ahead, "
                f"{', '.join(map(repr, model.features_.future))}; pass them for the "
                f"{horizon} steps after each series: predict(X_df=frame)"
            )
        if future is None:
            future = future_values(panel, X_df, horizon)
        ahead = model.features_.ahead(panel, future)
    elif X_df is not None:
        raise InputError(
            "X_df is given, but this model was fitted without future covariates; fit with "
            "future=['column']"
        )
    paths = roll(model.ensemble_, known.treatment, lines, model.cut_, horizon, ahead)
    if not np.isfinite(paths).all():
        k = int(np.argmin(np.isfinite(paths).all(axis=(1, 2))))
        who = "the data are" if len(panel) == 1 else f"the values of {panel.name(k)} are"
        raise InputError(
            f"{who} so much larger than those this model was fitted to that it cannot "
            "follow them; fit a new model"
        )
    return with_bands(model, paths, known, np.arange(len(panel)), levels)


def with_bands(
    model: GRUForecaster, paths: Float64, known: Known, owner: Int64, levels: tuple[float, ...]
) -> tuple[Float64, Bands]:
    """Lifted (N, H, Q) as forecasts (N, H) and bands on the data's own scale."""
    floor = np.where(known.nonnegative[owner], 0.0, -np.inf)[:, None]

    def lower(lifted: Float64) -> Float64:
        return np.maximum(known.treatment.lower(lifted, owner), floor)

    quantiles = model.ensemble_.quantiles
    around = bands(model.errors_, paths, quantiles, known.size[owner], levels)
    result = {level: (lower(a), lower(b)) for level, (a, b) in around.items()}
    if not all(np.isfinite(side).all() for pair in result.values() for side in pair):
        raise InputError(
            "the intervals are too wide for numbers: series of very different size need "
            "scaler='auto', not 'none'; or pass level=None"
        )
    return lower(paths[:, :, len(quantiles) // 2]), result


def _phase(model: GRUForecaster, panel: Panel, k: int, at: int) -> int:
    """Steps of the training data before series k begins, as far as anything tells."""
    if at < 0:
        return 0
    start = int(model.phase_[at])
    fitted = slice(*model.panel_.bounds[at : at + 2].tolist())
    rows = slice(*panel.bounds[k : k + 2].tolist())
    if panel.times is None:
        return _nearest_phase(model.treatment_, panel.values[rows], at)
    if model.panel_.times is None:
        return 0
    known, times, freq = model.panel_.times[fitted], panel.times[rows], model.panel_.freq
    # Where the two overlap rows are counted, so that gaps in both do no harm.
    if known[0] <= times[0] <= known[-1]:
        return int(start + np.searchsorted(known, times[0]))
    if times[0] < known[0] <= times[-1]:
        return int(start - np.searchsorted(times, known[0]))
    if times[0] > known[-1]:
        return start + len(known) - 1 + steps_between(known[-1], times[0], freq)
    return start + steps_between(known[0], times[0], freq)


def _nearest_phase(treatment: Treatment, values: Float64, at: int) -> int:
    """Where in the season values without stamps begin: where they move most as it does."""
    indices = treatment.indices[at]
    if not indices.any() or len(values) < 2 or (treatment.log[at] and values.min() <= 0):
        return 0
    moves = np.diff(np.log(values) if treatment.log[at] else values)
    steps = np.arange(len(values))
    left = [
        np.abs(moves - np.diff(indices[(phase + steps) % len(indices)])).sum()
        for phase in range(len(indices))
    ]
    return int(np.argmin(left))


def _check_window(model: GRUForecaster, panel: Panel, lines: Lines, log: Bool) -> None:
    least = model.cut_.least
    short = np.flatnonzero(panel.lengths < least)
    if len(short):
        k = int(short[0])
        who = "the data have" if len(panel) == 1 else f"{panel.name(k)} has"
        more = f" (and {len(short) - 1} more series)" if len(short) > 1 else ""
        raise InputError(
            f"{who} {panel.lengths[k]} values{more}, but this model reads at least the last "
            f"{least}; bring more of the series"
        )
    bad = log & (lines.minimum(lines.values) <= 0)
    if bad.any():
        k = int(bad.argmax())
        who = "the data hold" if len(panel) == 1 else f"{panel.name(k)} holds"
        raise InputError(
            f"{who} values of zero or below, but this model was fitted to positive "
            "ones and works with their logarithms; fit a new model"
        )
