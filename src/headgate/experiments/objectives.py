"""What a search tries: an estimator with other parameters, learned and measured on held-out data.

An objective has three parts of the data: a trial learns from the first and is measured on the
second; the test part shows at the end how the choice does.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import shown
from ..data.held_out import drawn
from ..data.panel import Panel
from ..errors import HeadgateWarning, InputError
from ..models.base import Estimator
from ..models.forecasting.forecaster import GRUForecaster
from ..models.neural import NeuralEstimator
from ..models.sequences.estimators import SequenceClassifier, SequenceRegressor
from ..models.texts.classifier import TextClassifier
from ..models.texts.language_model import LanguageModel
from ..models.texts.tagger import SequenceTagger
from ..training.callbacks import CallbackEnv
from .data import ClassData, Data, Pairs, SeriesData, TextData, open_data
from .spaces import Dimension, Space

FOLDS = 3  # parts at the end of a series that a forecaster is validated on, one behind the other
TRIAL_MEMBERS = 1  # networks of a trial: the final model has as many as the estimator says
MINUTES = 0.25  # of each fit of a language model, unless one is passed
TINY = 1e-15  # below every probability that counts
SHARE = 0.1  # of a corpus or of sentences: to choose by, and to test on

Params = Mapping[str, Any]
Report = Callable[[int, float], None]  # (step, value so far, lower is better); may stop the trial
Scores = dict[str, float]


@dataclass
class Objective(ABC):
    """An estimator to be tuned, and the data.

    Attributes:
        estimator: with the parameters that are not searched.
        name: of the data.
        held_out: what is held out for the test, in words.
        metric: what is searched for, lower is better; the first of what ``test`` returns.
    """

    estimator: Any
    name: str
    held_out: str
    metric: str = ""

    def make(self, params: Params, **more: Any) -> Any:
        """A fresh estimator with ``params``."""
        given = {**self.estimator.get_params(), "progress": False, **params, **more}
        return type(self.estimator)(**given)

    def make_small(self, params: Params) -> Any:
        """Like ``make``, with so few networks that many can be tried."""
        few = "members" in self.estimator.get_params() and "members" not in params
        return self.make(params, **({"members": TRIAL_MEMBERS} if few else {}))

    @abstractmethod
    def space(self) -> Space:
        """What is searched by default."""

    @abstractmethod
    def trial(self, params: Params, report: Report) -> float:
        """Learn, and measure on the validation part."""

    @abstractmethod
    def test(self, params: Params, seed: int) -> Scores:
        """Learn from all but the test part, and measure there."""

    @abstractmethod
    def refit(self, params: Params) -> Estimator:
        """Learn from everything."""

    @abstractmethod
    def content(self) -> Iterator[bytes]:
        """The data, to tell them from others."""

    def digest(self) -> str:
        """A few letters that other data do not have."""
        found = hashlib.sha256()
        for part in self.content():
            found.update(part)
        return found.hexdigest()[:16]


@contextmanager
def unremarked() -> Iterator[None]:
    """What would be said a hundred times is said by the last fit alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadgateWarning)
        yield


def _network_space(estimator: Estimator, most: int, rates: tuple[float, float]) -> Space:
    return {
        "hidden_size": Dimension(most // 8, most, log=True),
        "num_layers": Dimension(1, 2),
        "learning_rate": Dimension(*rates, log=True),
        "dropout": Dimension(0.0, 0.6),
        "batch_size": Dimension(choices=(16, 32, 64)),
    }


# -- series ------------------------------------------------------------------------------------


@dataclass
class ForecastObjective(Objective):
    """A forecaster, validated on the last parts of what is before the test part."""

    data: SeriesData | None = None

    def __post_init__(self) -> None:
        self.metric = "MAE" if len(self._data.panel) == 1 else "MASE"

    @property
    def _data(self) -> SeriesData:
        assert self.data is not None
        return self.data

    @property
    def _step(self) -> int:
        return 1 if len(self._data.panel) == 1 else int(self.estimator.horizon)

    def _windows(self, held: Any) -> int:
        """How many fit into the ``held`` steps of every series."""
        return int((held.min() - self.estimator.horizon) // self._step + 1)

    def folds(self) -> list[Panel]:
        """What a trial sees, each up to the end of a validation part; the newest first."""
        data = self._data
        held = data.seen - data.learned
        count = 1 + sum(
            bool((data.learned - k * held >= data.learned // 2).all()) for k in range(1, FOLDS)
        )
        return [data.panel.cut(0, data.seen - k * held) for k in range(count)]

    def space(self) -> Space:
        found = _network_space(self.estimator, 64, (3e-4, 1e-2))
        horizon, season = int(self.estimator.horizon), self._data.panel.season
        held = self._data.seen - self._data.learned
        spare = int((self.folds()[-1].lengths - held).max()) - 2 * horizon
        low = max(2, min(horizon, season if season > 1 else horizon) // 2)
        high = min(max(4 * horizon, 3 * season, 24), spare // 2)
        if low < high:
            found["lookback"] = Dimension(low, high, log=True)
        return found

    def trial(self, params: Params, report: Report) -> float:
        windows = self._windows(self._data.seen - self._data.learned)
        errors: list[float] = []
        for fold in self.folds():
            if errors:
                report(len(errors), float(np.mean(errors)))
            result = self.make_small(params).backtest(fold, windows=windows, step=self._step)
            errors.append(result.scores["headgate"][self.metric])
        return float(np.mean(errors))

    def test(self, params: Params, seed: int) -> Scores:
        data = self._data
        windows = self._windows(data.panel.lengths - data.seen)
        result = self.make(params, seed=seed).backtest(data.panel, windows=windows, step=self._step)
        scores: Scores = result.scores["headgate"]
        return {self.metric: scores[self.metric], **scores}

    def refit(self, params: Params) -> Estimator:
        model: Estimator = self.make(params).fit(self._data.panel)
        return model

    def content(self) -> Iterator[bytes]:
        panel = self._data.panel
        yield panel.values.tobytes()
        yield panel.bounds.tobytes()


# -- examples ----------------------------------------------------------------------------------


@dataclass
class ExamplesObjective(Objective):
    """An estimator of examples: texts, sequences or sentences with something to say of each."""

    train: Pairs = ([], [])
    validation: Pairs = ([], [])
    tested: Pairs = ([], [])

    def __post_init__(self) -> None:
        self.metric = (
            "log loss"
            if isinstance(self.estimator, (TextClassifier, SequenceClassifier))
            else "1 - R2"
            if isinstance(self.estimator, SequenceRegressor)
            else "1 - score"
        )

    def space(self) -> Space:
        found = _network_space(self.estimator, 128, (5e-4, 2e-2))
        if isinstance(self.estimator, TextClassifier):
            found["word_dropout"] = Dimension(0.0, 0.6)
        if isinstance(self.estimator, SequenceTagger):
            found["batch_size"] = Dimension(choices=(4, 8, 16, 32))
        return found

    def trial(self, params: Params, report: Report) -> float:
        model = self.make_small(params)
        model.fit(*self.train, validation_data=self.validation, callbacks=[watch(report)])
        return self.measure(model, self.validation)[self.metric]

    def measure(self, model: Any, part: Pairs) -> Scores:
        """The metric, and what a person would rather read."""
        if self.metric != "log loss":
            score = float(model.score(*part))
            return {self.metric: 1 - score, self.metric.removeprefix("1 - "): score}
        proba = model.predict_proba(part[0])
        column = {label: k for k, label in enumerate(model.classes_.tolist())}
        own = [proba[k, column[y]] if y in column else 0.0 for k, y in enumerate(part[1])]
        best = proba.argmax(axis=1)
        right = [column.get(y) == k for y, k in zip(part[1], best, strict=True)]
        loss = -float(np.mean(np.log(np.maximum(own, TINY))))
        return {self.metric: loss, "accuracy": float(np.mean(right))}

    def test(self, params: Params, seed: int) -> Scores:
        known = _joined(self.train, self.validation)
        return self.measure(self.make(params, seed=seed).fit(*known), self.tested)

    def refit(self, params: Params) -> Estimator:
        everything = _joined(self.train, self.validation, self.tested)
        model: Estimator = self.make(params).fit(*everything)
        return model

    def content(self) -> Iterator[bytes]:
        for items, answers in (self.train, self.validation, self.tested):
            for item in items:
                yield item.tobytes() if isinstance(item, np.ndarray) else repr(item).encode()
            yield repr(list(answers)).encode()


def _joined(*parts: Pairs) -> Pairs:
    return [x for part in parts for x in part[0]], [y for part in parts for y in part[1]]


def watch(report: Report) -> Callable[[CallbackEnv], None]:
    """A callback that reports the validation loss of the first network after each epoch."""
    seen = -1

    def callback(env: CallbackEnv) -> None:
        nonlocal seen
        if env.epoch > seen:
            seen = env.epoch
            losses = [
                value
                for part, _, value, higher in env.evaluation_result_list
                if part == "valid" and not higher
            ]
            if losses:
                report(env.epoch + 1, losses[0])

    return callback


# -- running text ------------------------------------------------------------------------------


@dataclass
class CorpusObjective(Objective):
    """A language model."""

    train: Any = ""
    validation: Any = ""
    tested: Any = ""

    def __post_init__(self) -> None:
        self.metric = "perplexity"

    def space(self) -> Space:
        return _network_space(self.estimator, 384, (1e-3, 1e-2)) | {
            "batch_size": Dimension(choices=(8, 16, 32))
        }

    def trial(self, params: Params, report: Report) -> float:
        model = self.make(params)
        model.fit(self.train, validation_data=self.validation, callbacks=[watch(report)])
        return float(np.exp(-model.validation_score_))

    def test(self, params: Params, seed: int) -> Scores:
        model = self.make(params, seed=seed).fit(self.train + self.validation)
        return {self.metric: model.perplexity(self.tested)}

    def refit(self, params: Params) -> Estimator:
        model: Estimator = self.make(params).fit(self.train + self.validation + self.tested)
        return model

    def content(self) -> Iterator[bytes]:
        for part in (self.train, self.validation, self.tested):
            yield repr(part).encode()


# -- what there is to do -----------------------------------------------------------------------


def make_objective(estimator: Any, X: Any, y: Any, options: Mapping[str, Any]) -> Objective:
    """For an estimator, its class, or a task ("forecast", "classify", "text", None).

    Args:
        options: of ``open_data``.

    Raises:
        InputError: it cannot be tuned, or the data are not for it.
    """
    if isinstance(estimator, type) and issubclass(estimator, Estimator):
        estimator = estimator()
    task = estimator
    if isinstance(estimator, Estimator):
        if isinstance(estimator, (SequenceRegressor, SequenceTagger)):
            return _drawn(estimator, X, y, options)
        if isinstance(estimator, LanguageModel) and isinstance(X, (list, tuple)):
            return _listed(estimator, list(X))
        if isinstance(estimator, NeuralEstimator):
            estimator.check_parameters()
        task = _task_of(estimator)
    elif not (estimator is None or isinstance(estimator, str)):
        raise InputError(
            "the first argument must be an estimator of headgate, or 'forecast', 'classify' or "
            f"'text'; got {shown(estimator)}"
        )
    if isinstance(estimator, GRUForecaster):
        if options.get("horizon", estimator.horizon) != estimator.horizon:
            raise InputError(
                f"horizon={shown(options['horizon'])}, but the estimator has that of "
                f"{estimator.horizon}; leave it out"
            )
        options = {**options, "horizon": estimator.horizon}
    data = open_data(X if y is None else (X, y), task=task, **options)
    if not isinstance(estimator, Estimator):
        estimator = _usual(data, options)
    return _of_data(estimator, data)


def _task_of(estimator: Estimator) -> str:
    if isinstance(estimator, GRUForecaster):
        return "forecast"
    if isinstance(estimator, (TextClassifier, SequenceClassifier)):
        return "classify"
    if isinstance(estimator, LanguageModel):
        return "text"
    raise InputError(f"a {type(estimator).__name__} cannot be tuned")


def _usual(data: Data, options: Mapping[str, Any]) -> Estimator:
    """The estimator of what the data are for."""
    if isinstance(data, SeriesData):
        return GRUForecaster(options.get("horizon", 12))
    if isinstance(data, ClassData):
        return TextClassifier() if data.are_texts else SequenceClassifier()
    return LanguageModel(minutes=MINUTES)


def _of_data(estimator: Estimator, data: Data) -> Objective:
    if isinstance(data, SeriesData):
        return ForecastObjective(estimator, data.name, data.how, data=data)
    if isinstance(data, TextData):
        return CorpusObjective(
            estimator, data.name, data.how, train=data.train, validation=data.validation,
            tested=data.test,
        )  # fmt: skip
    if data.are_texts != isinstance(estimator, TextClassifier):
        raise InputError(
            f"{type(estimator).__name__} is not for {'texts' if data.are_texts else 'sequences'}"
        )
    return ExamplesObjective(
        estimator, data.name, data.how, train=data.train, validation=data.validation,
        tested=data.test,
    )  # fmt: skip


def _drawn(estimator: Estimator, X: Any, y: Any, options: Mapping[str, Any]) -> Objective:
    """Sequences or sentences of which a tenth is drawn to test on, and a tenth to choose by."""
    counts = [len(part) if hasattr(part, "__len__") else 0 for part in (X, y)]
    if counts[0] != counts[1]:
        raise InputError(f"X and y must have the same length, got {counts[0]} and {counts[1]}")
    if len(X) < 10:
        raise InputError(f"{len(X)} examples are too few to tune on; bring 10 or more")
    seed = int(options.get("seed", 0))
    outer = drawn(len(X), seed)
    inner = drawn(len(outer.train), seed + 1)

    def take(rows: Sequence[int]) -> Pairs:
        return [X[k] for k in rows], [y[k] for k in rows]

    return ExamplesObjective(
        estimator, "the examples", outer.how,
        train=take([outer.train[k] for k in inner.train]),
        validation=take([outer.train[k] for k in inner.test]),
        tested=take(outer.test),
    )  # fmt: skip


def _listed(estimator: Estimator, texts: list[str]) -> Objective:
    """A list of texts, whose last ones are held out."""
    size = max(round(len(texts) * SHARE), 1)
    if len(texts) < 10:
        raise InputError(f"{len(texts)} texts are too few to tune on; bring 10 or one long text")
    first, second = len(texts) - 2 * size, len(texts) - size
    return CorpusObjective(
        estimator, "the texts", f"the last {size} texts",
        train=texts[:first], validation=texts[first:second], tested=texts[second:],
    )  # fmt: skip
