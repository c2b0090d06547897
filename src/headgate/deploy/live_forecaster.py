"""A forecaster that goes on with its series, value by value."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import as_number, check_size, shown
from ..errors import InputError
from ..models.forecasting.continuation import Known, with_bands
from ..models.forecasting.forecaster import GRUForecaster
from ..models.forecasting.lines import Lines, windows_at
from ..models.forecasting.search import roll
from ..network import Network
from .live_network import LEARNING_RATE, check_rate_of_learning, reading_a_state, updated

Float64 = npt.NDArray[np.float64]


class LiveForecaster:
    """A fitted :class:`headgate.GRUForecaster`, value by value; see :func:`~.live.live`.

    The first value is the one that follows the training data. Its forecasts are those of
    ``predict(data=...)`` with all values so far, of which the last few are kept.
    """

    reads_text = False

    def __init__(
        self,
        model: GRUForecaster,
        *,
        learn: bool = False,
        horizon: int = 1,
        id: Any = None,
        learning_rate: float = LEARNING_RATE,
    ) -> None:
        model.require_fitted("live")
        names = model.panel_.past_names + model.panel_.future_names + model.panel_.static_names
        if names:
            raise InputError(
                f"a stream of values has no columns, but this model reads {', '.join(names)} "
                "beside the series; fit one without covariates to run it live"
            )
        self._model, self._horizon = model, check_size("horizon", horizon, maximum=1 << 16)
        self._learns, self._rate = learn, check_rate_of_learning(learning_rate)
        place = np.array([_place(model, id)])
        self._known = Known(
            model.treatment_.choose(place),
            model.phase_[place],
            model.errors_.size[place],
            model.nonnegative_[place],
        )
        values = model.panel_.series(int(place[0])).values
        cut = model.cut_
        # what windows read, and with learning a window that ends a horizon ago and its targets
        kept = cut.context + cut.lookback + cut.segment + (cut.horizon if learn else 0)
        self._values: deque[float] = deque(values.tolist(), maxlen=kept)
        self._phase = int(self._known.phase[0]) + len(values) - len(self._values)
        self.loss: float | None = None

    @property
    def networks(self) -> list[Network]:
        return self._model.ensemble_.networks

    def step(self, value: Any) -> Float64:
        number = as_number(value)
        if not np.isfinite(number):
            raise InputError(f"expected a finite number, the next value, got {shown(value)}")
        if self._known.treatment.log[0] and number <= 0:
            raise InputError(
                f"the value is {number:g}, but this model was fitted to positive ones and works "
                "with their logarithms"
            )
        values, phase = self._values.copy(), self._phase
        full = len(values) == values.maxlen
        values.append(number)
        phase += full
        lines = Lines(
            np.array(values),
            np.array([0, len(values)], np.int64),
            np.array([phase], np.int64),
            np.zeros((len(values), 0), np.float32),
        )
        model, treatment = self._model, self._known.treatment
        if self._learns:
            self._learn(lines)
        with np.errstate(over="ignore", invalid="ignore"):
            paths = roll(model.ensemble_, treatment, lines, model.cut_, self._horizon)
            centre, _ = with_bands(model, paths, self._known, np.array([0]), ())
        if not np.isfinite(centre).all():
            raise InputError(
                f"the value {number:g} is so much larger than those this model was fitted to that "
                "it cannot follow"
            )
        self._values, self._phase = values, phase
        return np.asarray(centre[0], np.float64)

    def state(self) -> dict[str, Any]:
        return {"values": list(self._values), "phase": self._phase}

    @reading_a_state()
    def resume(self, state: Mapping[str, Any]) -> None:
        values = [as_number(value) for value in state["values"]]
        if not np.isfinite(values).all() or len(values) < self._model.cut_.least:
            raise InputError(f"the state has {len(values)} values, which cannot be this model's")
        if self._known.treatment.log[0] and min(values) <= 0:
            raise InputError("the state has values of zero or below, the model's are positive")
        phase = check_size("phase", state["phase"], minimum=0, maximum=1 << 60)
        kept = self._values.maxlen or 0
        self._phase = phase + max(len(values) - kept, 0)
        self._values = deque(values, maxlen=kept)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model; its own series still ends where the training data did."""
        self._model.save(path)

    def _learn(self, lines: Lines) -> None:
        """Learn from the window whose horizon the newest value completes."""
        model, treatment = self._model, self._known.treatment
        if treatment.scale[0] == 0:
            return  # a constant series is forecast by its own last value
        at = lines.lengths - model.cut_.horizon
        windows = windows_at(lines, np.array([0]), at, model.cut_)
        if not len(windows):
            return
        table = treatment.table(lines, windows, model.cut_, targets=True)
        assert table.y is not None, "asked for"
        if not (np.isfinite(table.x).all() and np.isfinite(table.y).all()):
            return  # refused below, by what it is
        losses = [
            updated(
                network, table, optimizer="adamw", weight_decay=model.weight_decay, clip_norm=1.0,
                loss=model.loss, quantiles=model.ensemble_.quantiles, learning_rate=self._rate,
            )
            for network in self.networks
        ]  # fmt: skip
        found = [loss for loss in losses if loss is not None]
        self.loss = float(np.mean(found)) if found else None


def _place(model: GRUForecaster, id: Any) -> int:
    ids = [str(name) for name in model.panel_.ids]
    if id is None:
        if len(model.panel_) > 1:
            raise InputError(
                f"this model knows {len(ids)} series; say which goes on with id (--id), such as "
                f"{ids[0]!r}"
            )
        return 0
    if str(id) not in ids:
        raise InputError(f"there is no series {id!r}; there are {', '.join(ids[:5]) or 'no ids'}")
    return ids.index(str(id))
