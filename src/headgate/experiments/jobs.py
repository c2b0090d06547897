"""The job that data are for: series, examples or a running text.

Nothing here knows a model. A series becomes windows, texts become numbers of tokens, and what has
to be learned for that (scale, season, vocabulary) is learned from the training part alone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size, shown
from ..data.cleaning import Cleaning
from ..data.samples import SampleTable
from ..data.sequences import as_sequences
from ..data.tokens import make_tokenizer
from ..data.vocabulary import UNKNOWN, Vocabulary
from ..errors import InputError
from ..models.baselines import MAJORITY_CLASS, majority_class
from ..models.sequences.reading import Reading
from ..models.texts.corpus import Writing
from ..training.history import History
from .data import ClassData, Data, SeriesData, TextData
from .job import BATCH, Job, Scores
from .series_job import series_job

Int64 = npt.NDArray[np.int64]

LONGEST_TEXT = 128  # tokens of a text that is classified; of longer ones the head is read
LONGEST_SEQUENCE = 256  # steps; longer ones are averaged down
PIECE = 64  # tokens that a language model reads at a time
MOST_TYPES = 20_000  # tokens in a vocabulary


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
        return series_job(data, lookback, check_size("horizon", horizon, maximum=1 << 20))
    if lookback is not None:
        raise InputError(f"lookback goes with the task forecast, not with {data.task}")
    if isinstance(data, TextData):
        return _text(data, tokens or "char")
    return _texts(data, tokens or "auto") if data.are_texts else _sequences(data)


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
