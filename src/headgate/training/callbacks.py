"""Callbacks in LightGBM's shape: callables that get a CallbackEnv after every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..checks import as_number
from ..errors import InputError


class CallbackEnv(NamedTuple):
    """What a callback sees.

    ``evaluation_result_list`` holds (data name, metric, value, higher is better) for "train" and,
    with validation data, "valid".
    """

    network: Any
    params: dict[str, Any]
    epoch: int
    begin_epoch: int
    end_epoch: int
    evaluation_result_list: list[tuple[str, str, float, bool]]


Callback = Callable[[CallbackEnv], None]


class EarlyStopException(Exception):
    """Raised by a callback to end the fit after this epoch.

    Attributes:
        best_epoch: 0-based.
        best_score: the evaluation_result_list of that epoch.
    """

    def __init__(self, best_epoch: int, best_score: list[tuple[str, str, float, bool]]) -> None:
        super().__init__()
        self.best_epoch = best_epoch
        self.best_score = best_score


class early_stopping:
    """Stop when the validation loss has not improved for ``patience`` epochs.

    The fit then restores the weights (and the carried state) of the best epoch.

    Raises:
        InputError: patience below 1, or a fit without validation data.
    """

    restores_best = True

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        if not isinstance(patience, (int, np.integer)) or patience < 1 or patience is True:
            raise InputError(f"patience must be an integer of at least 1, got {patience!r}")
        if not 0 <= as_number(min_delta) < math.inf:
            raise InputError(f"min_delta must be a finite number at least 0, got {min_delta!r}")
        self.patience = int(patience)
        self.min_delta = float(min_delta)

    def __call__(self, env: CallbackEnv) -> None:
        valid = [entry for entry in env.evaluation_result_list if entry[0] == "valid"]
        if not valid:
            raise InputError(
                "early stopping needs validation data; pass validation_data=(X, Y) to fit"
            )
        if env.epoch == env.begin_epoch:
            self._best, self._best_epoch = float("inf"), env.epoch
            self._best_score = env.evaluation_result_list
        if valid[0][2] < self._best - self.min_delta:
            self._best, self._best_epoch = valid[0][2], env.epoch
            self._best_score = env.evaluation_result_list
        elif env.epoch - self._best_epoch >= self.patience:
            raise EarlyStopException(self._best_epoch, self._best_score)


def log_evaluation(period: int = 1) -> Callback:
    """Print the losses every ``period`` epochs."""

    def callback(env: CallbackEnv) -> None:
        if period > 0 and (env.epoch + 1) % period == 0:
            values = "  ".join(
                f"{name} {metric} {value:.6g}"
                for name, metric, value, _ in env.evaluation_result_list
            )
            print(f"[{env.epoch + 1}]  {values}")

    return callback


def record_evaluation(eval_result: dict[str, dict[str, list[float]]]) -> Callback:
    """Append every epoch's losses to ``eval_result[data name][metric]``."""
    if not isinstance(eval_result, dict):
        raise InputError(f"record_evaluation needs a dict to fill, got {eval_result!r}")

    def callback(env: CallbackEnv) -> None:
        for name, metric, value, _ in env.evaluation_result_list:
            eval_result.setdefault(name, {}).setdefault(metric, []).append(value)

    return callback
