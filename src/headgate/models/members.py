"""Networks of one spec that are trained on different parts of the data and averaged.

What every neural estimator has in common: how samples are held out, how long is trained, which
epoch is kept, and the predictions for what no member has seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable
from ..errors import HeadgateWarning
from ..network import Network
from ..spec import NetworkSpec
from ..training.callbacks import Callback, CallbackEnv
from ..training.history import History
from ..training.progress import part_of_training

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# (predictions, the samples with their targets) -> a score, higher is better
Score = Callable[[Any, SampleTable], float]
# (rows that a member may learn from, its seed) -> what it learns from
Part = Callable[[Int64, int], SampleTable]

LEAST_HELD = 30  # samples: fewer say nothing of when to stop
FEW = 20  # samples in all: worth a word


@dataclass
class Members:
    """Networks of one spec whose predictions are averaged.

    Attributes:
        networks: one or more.
    """

    networks: list[Network] = field(default_factory=list)

    @property
    def spec(self) -> NetworkSpec:
        return self.networks[0].spec

    def mean(self, table: SampleTable) -> Float64:
        """The mean of the networks' predictions: (N, O) float64, or (N, T, O)."""
        total = np.asarray(self.networks[0].predict(table), np.float64)
        for network in self.networks[1:]:
            total += network.predict(table)
        return total / len(self.networks)

    def tensors(self) -> dict[str, Float32]:
        """The first member's parameters by name, the others' as ``extra.member<k>.<name>``."""
        tensors = self.networks[0].state_dict()
        for k, network in enumerate(self.networks[1:], 1):
            tensors |= {f"extra.member{k}.{n}": a for n, a in network.state_dict().items()}
        return tensors


def networks_from(
    spec: NetworkSpec, tensors: Mapping[str, Any], count: int, seed: int = 0
) -> list[Network]:
    """The inverse of :meth:`Members.tensors`.

    Raises:
        InputError: a member's tensor is missing, unknown or of a wrong shape.
    """
    networks = []
    for k in range(count):
        prefix = f"extra.member{k}." if k else ""
        names = spec.parameter_shapes() if k == 0 else tensors
        network = Network(spec, seed=seed_of(seed, k))
        network.load_state_dict(
            {n.removeprefix(prefix): tensors[n] for n in names if n.startswith(prefix)}
        )
        networks.append(network)
    return networks


def seed_of(seed: int, member: int) -> int:
    """The seed of one member's weights, order and dropout."""
    return seed * 1000 + member


def mean_history(histories: Sequence[History]) -> History:
    """The members' losses and scores averaged, as far as all of them went; their time added up.

    ``best_epoch`` is the median of theirs.
    """

    def mean(curves: list[list[float]]) -> list[float]:
        length = min(map(len, curves))
        return [float(np.mean([curve[e] for curve in curves])) for e in range(length)]

    best = [history.best_epoch for history in histories if history.best_epoch is not None]
    return History(
        losses=mean([history.losses for history in histories]),
        val_losses=mean([history.val_losses for history in histories]),
        val_scores=mean([history.val_scores for history in histories]),
        seconds=sum(history.seconds for history in histories),
        best_epoch=int(np.median(best)) if best else None,
        stopped_early=any(history.stopped_early for history in histories),
    )


# -- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """How members are trained.

    Attributes:
        members: networks.
        seed: of all that is drawn.
        epochs, batch_size, learning_rate: of each; see :func:`epochs_for`.
        validation_fraction: member k holds out part k of ``1 / validation_fraction`` parts.
        early_stopping: whether anything is held out, and the best epoch kept.
        keep_best: False keeps the last epoch and only measures what is held out.
        patience: epochs without a better validation loss before training ends; None for never.
        options: more of ``Network.fit``: class_weights, label_smoothing, weight_decay, ...
        progress: True, False, "auto" (where somebody watches) or "epochs" (a line for each).
    """

    members: int = 3
    seed: int = 0
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-3
    validation_fraction: float = 0.1
    early_stopping: bool = True
    keep_best: bool = True
    patience: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    progress: bool | str = "auto"

    def fit_options(self) -> dict[str, Any]:
        """Keywords of ``Network.fit``."""
        usual = {"optimizer": "adamw", "schedule": "one_cycle", "clip_norm": 1.0}
        return usual | {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "progress": self.progress,
            **self.options,
        }


@dataclass(frozen=True)
class HeldOut:
    """What members predict for samples that they did not learn from.

    Attributes:
        rows: (M,) samples of the training table, increasing; with data of the caller's own for
            validation all of these.
        predictions: (M, O) float64, or (M, T, O); the mean where several members held one out.
    """

    rows: Int64
    predictions: Float64


@dataclass
class Trained:
    """What training gave.

    Attributes:
        networks: the members.
        history: their mean.
        held_out: None where nothing was.
    """

    networks: list[Network]
    history: History
    held_out: HeldOut | None = None


def epochs_for(samples: int, batch_size: int, updates: int, *, least: int = 3, most: int) -> int:
    """Epochs that make about ``updates`` updates, between ``least`` and ``most``."""
    per_epoch = max(1, -(-samples // batch_size))
    return min(max(round(updates / per_epoch), least), most)


def train_members(
    spec: NetworkSpec,
    table: SampleTable,
    training: Training,
    *,
    labels: Int64 | None = None,
    validation: SampleTable | None = None,
    networks: Sequence[Network] | None = None,
    part: Part | None = None,
    score: Score | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train networks one after the other.

    Without ``validation`` member k holds out part k of the samples and keeps its best epoch by
    the loss there; where that would be fewer than ``LEAST_HELD`` samples everything is learned
    and the last epoch kept.

    Args:
        table: (N,) samples with targets.
        labels: (N,) class numbers by which parts are stratified; a class with one example is
            never held out.
        validation: held out by the caller, for all members.
        networks: to go on from, which are trained themselves; fresh ones by default.
        part: makes what a member learns from of the rows that it may see, such as altered copies;
            ``table.take`` by default.
        score: of the validation part after every epoch, in ``history.val_scores`` and, under the
            function's own name, in the callbacks' ``evaluation_result_list``.
        callbacks: as ``Network.fit`` takes them; each member's fit begins with epoch 0.

    Raises:
        InputError, DivergenceError: as ``Network.fit`` does.
    """
    folds = None
    if validation is None and training.early_stopping and training.validation_fraction:
        folds = hold_out(len(table), training.validation_fraction, training.seed, labels)
    if networks is None:
        count = training.members
        networks = [Network(spec, seed=seed_of(training.seed, k)) for k in range(count)]
    everything = np.arange(len(table), dtype=np.int64)
    histories, seen = [], []
    for k, network in enumerate(networks):
        held, learned = validation, everything
        if folds is not None:
            rows = folds[k % len(folds)]
            held, learned = table.take(rows), np.setdiff1d(everything, rows)
        seed = seed_of(training.seed, k)
        own = table.take(learned) if part is None else part(learned, seed)
        name = f"network {k + 1} of {len(networks)}" if len(networks) > 1 else ""
        with part_of_training(name):
            histories.append(_fit(network, own, training, held, score, callbacks))
        if held is not None:
            prediction = np.asarray(network.predict(held), np.float64)
            seen.append((np.arange(len(held)) if folds is None else rows, prediction))
    return Trained(list(networks), mean_history(histories), _put_together(seen))


def _fit(
    network: Network,
    table: SampleTable,
    training: Training,
    validation: SampleTable | None,
    score: Score | None,
    callbacks: Sequence[Callback],
) -> History:
    patience = None
    if validation is not None and training.early_stopping and training.keep_best:
        # The rate falls to zero, so that late epochs are worth waiting for: no early end.
        patience = training.patience or max(training.epochs, 1)
    scores: list[float] = []
    if validation is not None and score is not None:
        callbacks = [_scored(score, validation, scores), *callbacks]
    history = network.fit(
        table,
        validation_data=validation,
        early_stopping=patience,
        callbacks=callbacks,
        **training.fit_options(),
    )
    history.val_scores = scores
    return history


def _scored(score: Score, validation: SampleTable, scores: list[float]) -> Callback:
    """A callback that measures ``score`` and shows it to those behind it."""

    def callback(env: CallbackEnv) -> None:
        scores.append(float(score(env.network.predict(validation), validation)))
        env.evaluation_result_list.append(("valid", score.__name__, scores[-1], True))

    return callback


def _put_together(seen: list[tuple[Int64, Float64]]) -> HeldOut | None:
    if not seen:
        return None
    rows, where = np.unique(np.concatenate([rows for rows, _ in seen]), return_inverse=True)
    # parts with steps are as long as their longest sample
    shape = tuple(max(p.shape[d] for _, p in seen) for d in range(1, seen[0][1].ndim))
    total, count = np.zeros((len(rows), *shape)), np.zeros(len(rows))
    begin = 0
    for _, prediction in seen:
        at = where[begin : begin + len(prediction)]
        begin += len(prediction)
        missing = [(0, size - has) for size, has in zip(shape, prediction.shape[1:], strict=True)]
        total[at] += np.pad(prediction, [(0, 0), *missing])
        count[at] += 1
    return HeldOut(rows, total / count.reshape(-1, *[1] * len(shape)))


# -- what is held out ---------------------------------------------------------------------------


def hold_out(
    samples: int, fraction: float, seed: int, labels: Int64 | None = None
) -> list[Int64] | None:
    """Disjoint parts of about ``fraction`` of the samples, or None where they would be too small.

    Args:
        labels: (N,) class numbers; every part has about the same share of each class. A class
            with one example is in no part, so that no member misses it.
    """
    count = max(round(1 / fraction), 2)
    if samples // count < LEAST_HELD:
        if samples < FEW:
            warnings.warn(
                f"{samples} examples are too few to hold some out, so training is not stopped at "
                "its best and nothing is measured; add examples",
                HeadgateWarning,
                stacklevel=4,
            )
        return None
    order = np.random.default_rng(seed).permutation(samples)
    if labels is not None:
        sizes = np.bincount(labels)
        single = sizes[labels[order]] == 1
        if single.any():
            warnings.warn(
                f"{int(single.sum())} of {np.count_nonzero(sizes)} classes have one example each, "
                "so they are learned from, but never held out; add examples to measure them",
                HeadgateWarning,
                stacklevel=4,
            )
        order = order[~single]
        if len(order) // count < LEAST_HELD:
            return None
        order = order[np.argsort(labels[order], kind="stable")]
    return [np.sort(order[k::count]).astype(np.int64) for k in range(count)]


def accuracy(prediction: Any, table: SampleTable) -> float:
    """Share of samples whose likeliest class is their target."""
    assert table.y is not None
    assert table.y_starts is not None
    return float(np.mean(np.argmax(prediction, axis=1) == table.y[table.y_starts]))
