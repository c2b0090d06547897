"""Jobs: the samples, targets and budget that every model of a comparison is given.

Nothing here knows a model. A series becomes windows, texts become numbers of tokens, and what has
to be learned for that (scale, season, vocabulary) is learned from the training part alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size, shown
from ..data.cleaning import Cleaning
from ..data.metrics import mae, mase, rmse
from ..data.panel import Panel, complete
from ..data.samples import SampleTable
from ..data.sequences import as_sequences
from ..data.tokens import make_tokenizer
from ..data.vocabulary import UNKNOWN, Vocabulary
from ..errors import InputError
from ..models.baselines import MAJORITY_CLASS, majority_class
from ..models.forecasting.treatment import detect_season
from ..models.members import epochs_for
from ..models.sequences.reading import Reading
from ..models.texts.corpus import Writing
from ..training.history import History
from .data import ClassData, Data, SeriesData, TextData

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Scores = dict[str, float]

BATCH = 32
LONGEST_TEXT = 128  # tokens of a text that is classified; of longer ones the head is read
LONGEST_SEQUENCE = 256  # steps; longer ones are averaged down
PIECE = 64  # tokens that a language model reads at a time
MOST_TYPES = 20_000  # tokens in a vocabulary
EMBEDDING = 32
LARGEST = 1e150  # of a series: larger squares are infinite
FARTHEST = 1e18  # standard deviations: larger squares are infinite in float32


@dataclass(frozen=True, eq=False)
class Job:
    """What every model learns, and how it is measured.

    Attributes:
        task: forecast, classify, text, adding or sine.
        name: what the data are called.
        facts: what is learned from and what is held out, in words.
        train: samples to learn from.
        validation: samples to choose the best epoch by; None to keep the last one.
        score: (model, history) -> what is measured on the test part. A model has ``predict`` and
            ``evaluate`` as :class:`headgate.Network`.
        metrics: names of what is measured; the first is compared by. Lower is better, but for
            ``higher``.
        values: columns of values that a step has, or None.
        vocabulary: how many tokens there are, or None.
        outputs: numbers that come out.
        kind: task of the network: regression or classification.
        every: whether something comes out at every step, else once a sample.
        window: steps in each sample, where a network without memory may read them side by side.
        pooled: whether a network without memory may average over the steps.
        order: (N,) rows of ``train``, in which a share of them is taken.
        fit: keywords of ``Network.fit``; ``epochs`` stands beside it.
        updates: how long to train, where no epochs are given.
        epochs: given ones.
        most: epochs of few samples at most.
        baselines: what needs no network, by name.
        hidden: width of the models, where none is given.
        path: what a model says when left to itself, (S,), beside ``truth``; None for other jobs.
    """

    task: str
    name: str
    facts: str
    train: SampleTable
    validation: SampleTable | None
    score: Callable[[Any, History], Scores]
    metrics: tuple[str, ...]
    outputs: int
    order: Int64
    fit: Mapping[str, Any]
    values: int | None = None
    vocabulary: int | None = None
    kind: str = "regression"
    every: bool = False
    window: int | None = None
    pooled: bool = False
    higher: bool = False
    updates: int = 1000
    epochs: int | None = None
    most: int = 200
    baselines: Mapping[str, Scores] = field(default_factory=dict)
    hidden: int = 32
    path: Callable[[Any], Any] | None = None
    truth: npt.NDArray[np.float32] | None = None

    @property
    def stateful(self) -> bool:
        """Whether the state goes on from sample to sample."""
        return bool(self.fit.get("stateful"))

    @property
    def longest(self) -> int:
        """Steps of the longest sample."""
        return int(self.train.lengths.max())

    def share(self, fraction: float) -> Job:
        """The same job with a part of the training samples; its test is the same."""
        if fraction == 1:
            return self
        count = max(1, round(len(self.order) * fraction))
        rows = np.sort(self.order[:count])
        return replace(self, train=self.train.take(rows), order=np.arange(count))

    def options(self) -> dict[str, Any]:
        """Keywords of ``Network.fit``, epochs among them."""
        epochs = self.epochs
        if epochs is None:
            size = int(self.fit["batch_size"])
            epochs = epochs_for(len(self.train), size, self.updates, most=self.most)
        return {**self.fit, "epochs": epochs}


def make_job(data: Data, *, lookback: int | None, horizon: int, tokens: str | None = None) -> Job:
    """The job that data are for.

    Args:
        lookback: steps of a window; some seasons by default (forecast).
        horizon: steps to forecast.
        tokens: what texts are cut into; words to classify, characters to go on, by default.

    Raises:
        InputError: values are missing, there are too few, or an option is of another task.
    """
    if tokens is not None and not (isinstance(data, TextData) or getattr(data, "are_texts", False)):
        raise InputError(f"tokens={shown(tokens)} goes with texts, and {data.name} holds none")
    if isinstance(data, SeriesData):
        return _forecast(data, lookback, check_size("horizon", horizon, maximum=1 << 20))
    if lookback is not None:
        raise InputError(f"lookback goes with the task forecast, not with {data.task}")
    if isinstance(data, TextData):
        return _text(data, tokens or "char")
    return _texts(data, tokens or "auto") if data.are_texts else _sequences(data)


# -- forecast ---------------------------------------------------------------------------------


def _forecast(data: SeriesData, lookback: int | None, horizon: int) -> Job:
    try:
        panel, _ = complete(data.panel, "error")
    except InputError as error:
        raise InputError(f"{str(error).partition(';')[0]}; fill them or cut them off") from None
    season = _season(data, panel)
    room = int(data.learned.max()) - horizon  # steps that one window to learn from may have
    if lookback is None:
        lookback = max(1, min(max(2 * season, horizon, 10), room // 2))
    check_size("lookback", lookback)
    if lookback > room:
        raise InputError(
            f"lookback={lookback} and horizon={horizon} need {lookback + horizon} steps to learn "
            f"from, but {data.name} has {room + horizon}; shorten one of them or bring more data"
        )
    z, shift, scale = _standardised(panel, data.learned)
    owner = np.repeat(np.arange(len(panel)), panel.lengths)
    ends = (data.learned, data.seen, panel.lengths)
    starts = [
        _windows(panel, first, last, lookback, horizon)
        for first, last in zip((np.full(len(panel), lookback), *ends[:2]), ends, strict=True)
    ]
    train, validation, test = (_window_table(z, s, lookback, horizon) for s in starts)
    origins = starts[2] + lookback
    truth = panel.values[origins[:, None] + np.arange(horizon)]
    owners = owner[origins]

    def measured(forecasts: Float64) -> Scores:
        scaled = [
            mase(truth[rows], forecasts[rows], history, min(season, len(history) - 1))
            * float(rows.mean())
            for k in np.unique(owners)
            for rows, history in [(owners == k, panel.series(int(k)).values[: data.seen[k]])]
        ]
        return {"MAE": mae(truth, forecasts), "RMSE": rmse(truth, forecasts), "MASE": sum(scaled)}

    def score(model: Any, _: History) -> Scores:
        found = model.predict(test).astype(np.float64)
        return measured(found * scale[owners, None] + shift[owners, None])

    baselines = {"naive (last value)": measured(np.repeat(panel.values[origins - 1], horizon)
                                                .reshape(-1, horizon))}  # fmt: skip
    if season > 1 and (data.seen >= season).all():
        back = origins[:, None] - season + np.arange(horizon) % season
        baselines[f"seasonal naive ({season})"] = measured(panel.values[back])
    facts = (
        f"{panel.value_name}: {len(train):,} windows of {lookback} steps to learn from, "
        f"{len(validation):,} to choose the epoch by, {len(test):,} to test on, {horizon} steps "
        f"ahead; held out: {data.how}"
    )
    return Job(
        "forecast",
        data.name,
        facts,
        train,
        validation,
        score,
        ("MAE", "RMSE", "MASE"),
        outputs=horizon,
        order=np.argsort(-(starts[0] - panel.bounds[owner[starts[0]]]), kind="stable"),
        fit={"batch_size": BATCH, "learning_rate": 2e-3, "loss": "mae", "clip_norm": 1.0},
        values=1,
        window=lookback,
        updates=1500,
        most=300,
        baselines=baselines,
    )


def _season(data: SeriesData, panel: Panel) -> int:
    """That of the frequency, else what the longest training part shows; 1 for none."""
    longest = int(np.argmax(data.learned))
    history = panel.series(longest).values[: data.learned[longest]]
    season = panel.season if panel.season > 1 else detect_season(history)
    return season if season < len(history) else 1


def _standardised(panel: Panel, learned: Int64) -> tuple[npt.NDArray[np.float32], Float64, Float64]:
    """Values by mean and deviation of each series' training part, and these: (S, 1), (M,), (M,).

    Raises:
        InputError: values are so large, or so far from those, that their squares are infinite.
    """
    if np.abs(panel.values).max() > LARGEST:
        raise InputError(
            f"{panel.value_name} has values up to {np.abs(panel.values).max():.3g}, whose squares "
            "are too large to add up; divide them by a common number"
        )
    parts = [panel.series(k).values for k in range(len(panel))]
    shift = np.array([part[:n].mean() for part, n in zip(parts, learned, strict=True)])
    spread = np.array([part[:n].std() for part, n in zip(parts, learned, strict=True)])
    scale = np.where(spread > 1e-12 * np.maximum(np.abs(shift), 1), spread, 1.0)
    z = np.concatenate([(part - a) / b for part, a, b in zip(parts, shift, scale, strict=True)])
    if np.abs(z).max() > FARTHEST:
        raise InputError(
            f"{panel.value_name} has values {np.abs(z).max():.3g} standard deviations away from "
            "those that are learned from; remove them, or compare on other data"
        )
    return z.astype(np.float32)[:, None], shift, scale


def _windows(panel: Panel, first: Int64, last: Int64, lookback: int, horizon: int) -> Int64:
    """(N,) rows at which windows begin whose targets lie in steps first[k] to before last[k]."""
    found = []
    for k, bound in enumerate(panel.bounds[:-1]):
        begin = max(int(first[k]) - lookback, 0)
        found.append(bound + np.arange(begin, last[k] - horizon - lookback + 1))
    starts: Int64 = np.concatenate(found).astype(np.int64)
    return starts


def _window_table(
    z: npt.NDArray[np.float32], starts: Int64, lookback: int, horizon: int
) -> SampleTable:
    """Windows less their last value, and the values behind them less the same."""
    last = np.ascontiguousarray(z[starts + lookback - 1, 0])
    one = np.ones_like(last)
    return SampleTable(
        z, starts, np.full(len(starts), lookback), z[:, 0], starts + lookback,
        output_size=horizon, y_stride=horizon, x_shift=last, x_scale=one, y_shift=last, y_scale=one,
    )  # fmt: skip


# -- classify ---------------------------------------------------------------------------------


def _sequences(data: ClassData) -> Job:
    parts = [as_sequences(part[0]) for part in (data.train, data.validation, data.test)]
    reading = Reading.learn(parts[0], LONGEST_SEQUENCE)
    tables = [reading.table(part) for part in parts]
    return _classify(data, tables, values=reading.width)


def _texts(data: ClassData, tokens: str) -> Job:
    clean = Cleaning()
    given = [[clean(text) for text in part[0]] for part in (data.train, data.validation, data.test)]
    tokenizer = make_tokenizer(tokens, given[0])
    split = [[tokenizer.split(text)[:LONGEST_TEXT] for text in texts] for texts in given]
    many = sum(map(len, split[0])) > 5000
    vocabulary = Vocabulary.of(split[0], min_count=2 if many else 1, max_size=MOST_TYPES)
    tables = []
    for texts in split:
        rows = [vocabulary.encode(row) if row else np.array([UNKNOWN], np.int32) for row in texts]
        lengths = np.array([len(row) for row in rows], np.int64)
        column = np.concatenate(rows)[:, None]
        starts = np.cumsum(lengths) - lengths
        tables.append(
            SampleTable(np.empty((len(column), 0), np.float32), starts, lengths, tokens=column)
        )
    return _classify(data, tables, vocabulary=len(vocabulary))


def _classify(data: ClassData, tables: list[SampleTable], **inputs: int) -> Job:
    code = {label: k for k, label in enumerate(data.classes)}
    names = np.array(data.classes, dtype=object)
    train, validation = (
        replace(
            table,
            y=np.array([code[label] for label in labels], np.float32),
            y_starts=np.arange(len(table)),
            y_stride=1,
        )
        for table, labels in zip(tables[:2], (data.train[1], data.validation[1]), strict=True)
    )
    truth = np.array(data.test[1], dtype=object)

    def score(model: Any, _: History) -> Scores:
        found = names[model.predict(tables[2]).argmax(axis=1)]
        return {"accuracy": float(np.mean(found == truth))}

    usual = np.array(majority_class(data.train[1], len(truth)), dtype=object)
    facts = (
        f"{len(train):,} examples of {len(names)} classes to learn from, {len(validation):,} to "
        f"choose the epoch by, {len(truth):,} to test on; held out: {data.how}"
    )
    return Job(
        "classify",
        data.name,
        facts,
        train,
        validation,
        score,
        ("accuracy",),
        outputs=len(names),
        order=_by_class(train.y),
        fit={"batch_size": BATCH, "learning_rate": 3e-3, "clip_norm": 1.0},
        kind="classification",
        pooled=True,
        higher=True,
        updates=1000,
        most=60,
        baselines={MAJORITY_CLASS: {"accuracy": float(np.mean(usual == truth))}},
        **inputs,  # type: ignore[arg-type]
    )


def _by_class(codes: Any) -> Int64:
    """Rows in an order of which any beginning has the classes in their shares; drawn within one."""
    rng = np.random.default_rng(0)
    place = np.empty(len(codes))
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    order: Int64 = np.argsort(place, kind="stable")
    return order


# -- text -------------------------------------------------------------------------------------


def _text(data: TextData, tokens: str) -> Job:
    writing = Writing.learn(
        [data.train], tokens, min_count=None, max_size=MOST_TYPES, cleaning=None
    )
    size = len(writing)
    parts = (data.train, data.validation, data.test)
    numbers = [writing.sequences([part], running=True).tokens for part in parts]
    train, validation, test = map(_pieces, numbers)
    counts = np.bincount(numbers[0][1:], minlength=size) + 1.0
    unigram = -float(np.log(counts / counts.sum())[numbers[2][1:]].mean())

    def score(model: Any, _: History) -> Scores:
        return {"perplexity": math.exp(model.evaluate(test))}

    unit = {"char": "characters"}.get(writing.tokenizer.kind, "tokens")
    facts = (
        f"{len(numbers[0]) - 1:,} {unit} ({size:,} different) to learn from in pieces of "
        f"{PIECE}, {len(numbers[1]) - 1:,} to choose the epoch by, {len(numbers[2]) - 1:,} to "
        f"test on; held out: {data.how}"
    )
    return Job(
        "text",
        data.name,
        facts,
        train,
        validation,
        score,
        ("perplexity",),
        outputs=size,
        order=np.arange(len(train))[::-1],
        fit={"batch_size": BATCH, "learning_rate": 3e-3, "clip_norm": 1.0},
        vocabulary=size,
        kind="classification",
        every=True,
        updates=600,
        most=60,
        baselines={"unigram": {"perplexity": math.exp(unigram)}},
        hidden=64,
    )


def _pieces(numbers: npt.NDArray[np.int32]) -> SampleTable:
    """Pieces of a text, one behind the other; the target of a token is the next one."""
    steps = len(numbers) - 1
    starts = np.arange(0, steps, PIECE)
    return SampleTable(
        x=np.zeros((len(numbers), 0), np.float32),
        starts=starts,
        lengths=np.minimum(PIECE, steps - starts),
        y=np.append(numbers[1:], 0).astype(np.float32),
        y_starts=starts,
        y_stride=1,
        y_steps="every",
        tokens=numbers[:, None],
    )
