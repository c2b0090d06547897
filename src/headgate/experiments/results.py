"""What a comparison found, run by run and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .job import Job, Scores

SHARE, LENGTH = "train fraction", "length"


@dataclass(frozen=True, eq=False)
class Run:
    """One model, trained once.

    Attributes:
        model, seed: which.
        setting: the share of the training data, or the length; None where nothing varies.
        parameters: how many; ``recurrent`` of them in recurrent layers.
        seconds: of training.
        step_seconds: of a live step, or None.
        scores: what was measured on the test part, by name.
        losses, val_losses: of every epoch.
        gradients: (2, T) how much each step's state matters before and after training: the norm of
            dLoss/dh_t over that of the last step; or None.
        path: (S,) what it said when left to itself, or None.
    """

    model: str
    seed: int
    setting: float | None
    parameters: int
    recurrent: int
    seconds: float
    step_seconds: float | None
    scores: Scores
    losses: list[float]
    val_losses: list[float]
    gradients: npt.NDArray[np.float64] | None = None
    path: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Results:
    """What a comparison found.

    Attributes:
        job: what was learned and how it was measured; that of the last setting.
        runs: every training, in the order of settings, models and seeds.
        baselines: what needs no network, by setting: name -> scores.
        varies: "train fraction", "length" or None.
        left_out: why a model is missing, by name.
    """

    job: Job
    runs: list[Run]
    baselines: dict[float | None, Mapping[str, Scores]]
    varies: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Those that were trained, in order."""
        return list(dict.fromkeys(run.model for run in self.runs))

    @property
    def settings(self) -> list[float | None]:
        """Shares of the training data, or lengths; [None] where nothing varies."""
        return list(self.baselines)

    def of(self, model: str, setting: float | None = None) -> list[Run]:
        """The runs of a model, one for each seed."""
        return [run for run in self.runs if (run.model, run.setting) == (model, setting)]

    @property
    def table(self) -> list[dict[str, Any]]:
        """A record for each model and setting, and behind them the baselines.

        Keys: model, the setting where one varies, runs, parameters, recurrent_parameters, seconds
        (median of the seeds), step_us (microseconds), and each metric with its standard deviation
        over the seeds (``MAE``, ``MAE_spread``). None where there is nothing to say.
        """
        records = []
        for setting in self.settings:
            for model in self.models:
                runs = self.of(model, setting)
                if runs:
                    records.append({**self._named(model, setting), **self._mean(runs)})
            for name, scores in self.baselines[setting].items():
                empty = dict.fromkeys(
                    ("parameters", "recurrent_parameters", "seconds", "step_us"), None
                )
                records.append({**self._named(name, setting), "runs": 0, **empty, **scores})
        return records

    def _named(self, model: str, setting: float | None) -> dict[str, Any]:
        return {"model": model} if self.varies is None else {"model": model, self.varies: setting}

    def _mean(self, runs: Sequence[Run]) -> dict[str, Any]:
        steps = [run.step_seconds for run in runs if run.step_seconds is not None]
        record: dict[str, Any] = {
            "runs": len(runs),
            "parameters": runs[0].parameters,
            "recurrent_parameters": runs[0].recurrent,
            "seconds": float(np.median([run.seconds for run in runs])),
            "step_us": 1e6 * float(np.median(steps)) if steps else None,
        }
        for metric in self.job.metrics:
            values = [run.scores[metric] for run in runs]
            record[metric] = float(np.mean(values))
            record[f"{metric}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return record
