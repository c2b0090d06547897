"""A job: the samples, targets and budget that every model of a comparison is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable
from ..models.members import epochs_for
from ..training.history import History

Int64 = npt.NDArray[np.int64]
Scores = dict[str, float]

BATCH = 32  # samples
EMBEDDING = 32  # numbers for each token


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
