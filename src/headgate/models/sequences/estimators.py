"""SequenceClassifier and SequenceRegressor: sequences of values in, a label or numbers out."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from ...checks import check_choice, check_finite
from ...data.sequences import as_sequences
from ...errors import InputError
from ...training.callbacks import Callback
from ..labels import Labels, as_labels
from ..members import accuracy
from ..neural import Float32, Float64, NeuralClassifier, check_pairs
from .base import (
    RATE,
    SequenceEstimator,
    as_rows,
    as_targets,
    column,
    columns,
    pair,
    r2,
    with_targets,
)

LOSSES = ("mse", "mae", "huber")


class SequenceClassifier(NeuralClassifier, SequenceEstimator):
    """Classifies sequences with a small ensemble of bidirectional GRU networks.

    X is an array (N, T) of N series, an array (N, T, I), or a list of arrays (T_i,) or (T_i, I) of
    any lengths. Values are standardised inside; the length of a sequence, where lengths differ, is
    something that the networks see.

    Args:
        hidden_size, num_layers, dropout: of the GRU layers, in each direction; dropout before the
            head, between layers, and of at most 0.2 on what the networks read.
        members: networks that are averaged.
        epochs: of training; by default 20 to 100, as the number of sequences asks for.
        learning_rate, batch_size: of AdamW; the rate rises first (0.005 at most by default) and
            then falls to zero.
        max_steps: longer sequences are averaged down to so many steps.
        augment: whether few sequences (below some 500) are joined by altered copies: run through
            at changing speed, a little larger or smaller.
        class_weight: None, "balanced", or a dict from label to weight.
        validation_fraction: each network holds out another part and keeps its best epoch; with
            fewer than 30 sequences to hold out everything is learned.
        early_stopping: False learns everything and keeps the last epoch.
        seed: the same seed gives the same bits.
        progress: True, False, "auto" (where somebody watches) or "epochs" (a line for each).

    Attributes:
        classes_: (C,) the labels, sorted.
        members_: the networks, a :class:`~headgate.models.members.Members`.
        reading_: what they read of a sequence.
        history_, validation_score_, seconds_, parameters_: of the fit; the score is the accuracy
            on what was held out, None where nothing was.
        n_features_in_: columns of a 2-D X, else channels.
    """

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.3,
        members: int = 5,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 32,
        max_steps: int = 64,
        augment: bool = True,
        class_weight: Any = None,
        validation_fraction: float = 0.1,
        early_stopping: bool = True,
        seed: int = 0,
        progress: bool | str = "auto",
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.members = members
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.augment = augment
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.seed = seed
        self.progress = progress

    def fit(
        self, X: Any, y: Any, *, validation_data: Any = None, callbacks: Sequence[Callback] = ()
    ) -> SequenceClassifier:
        """Learn from sequences and their labels.

        Args:
            X: (N, T), (N, T, I), or a list of N arrays.
            y: (N,) labels of any type.
            validation_data: (X, y) to choose the best epoch by, in place of held-out parts.
            callbacks: as ``Network.fit`` takes them; with a validation part they see its accuracy.

        Raises:
            InputError: the data cannot be understood; an earlier fit is kept.
        """
        return self._fit(X, y, None, validation_data, callbacks)

    def _fit(
        self, X: Any, y: Any, classes: Any, validation_data: Any, callbacks: Sequence[Callback]
    ) -> SequenceClassifier:
        begin = clock.perf_counter()
        self.check_parameters()
        given = as_sequences(X)
        names = as_labels(y)
        check_pairs(len(given), names, "sequences")
        labels = Labels.learn(names, classes)
        codes = labels.encode(names)
        validation = None
        if validation_data is not None:
            held, truth = pair(validation_data)
            sequences, answers = as_sequences(held, given.channels), as_labels(truth)
            check_pairs(len(sequences), answers, "sequences of validation_data")
            validation = sequences, column(labels.encode(answers, "y of validation_data"))
        reading = self._learn(
            given,
            column(codes),
            task="classification",
            outputs=len(labels),
            labels=codes,
            validation=validation,
            score=accuracy,
            callbacks=callbacks,
            class_weights=labels.weights(self.class_weight, codes),
        )
        self.labels_, self.reading_, self.steps_ = labels, reading, columns(given)
        self.seconds_ = clock.perf_counter() - begin
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, *, epochs: int = 1
    ) -> SequenceClassifier:
        """Go on learning from the networks that are there; the first call is a ``fit``.

        Args:
            X, y: more sequences and labels.
            classes: at the first call, all labels that will ever come.
            epochs: passes over X.

        Raises:
            InputError: the data cannot be understood, or a label is new.
        """
        if not self.__sklearn_is_fitted__():
            return self._fit(X, y, classes, None, ())
        self.check_parameters()
        self.check_classes(classes)
        given = as_sequences(X, self.reading_.channels)
        self._check_columns(given)
        names = as_labels(y)
        check_pairs(len(given), names, "sequences")
        codes = self.labels_.encode(names)
        table = with_targets(self.reading_.table(given), column(codes))
        weights = self.labels_.weights(self.class_weight, codes)
        self.go_on(table, epochs, RATE / 5, class_weights=weights)
        return self

    def predict_proba(self, X: Any) -> Float64:
        """(N, C) the probability of each class, in the order of ``classes_``.

        Raises:
            NotFittedError: before ``fit``.
            InputError: X cannot be read as in ``fit``.
        """
        self.require_fitted("predict_proba")
        return self.members_.mean(self._read(X))


class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """Predicts a number, or several, for each sequence; see :class:`SequenceClassifier` for X.

    Targets are standardised inside. There are no altered copies, since what a number means may
    depend on just what they alter.

    Args:
        loss: "mse", "mae" or "huber".
        hidden_size, num_layers, dropout, members, epochs, learning_rate, batch_size, max_steps,
            validation_fraction, early_stopping, seed, progress: as in SequenceClassifier.

    Attributes:
        members_, reading_, history_, seconds_, parameters_, n_features_in_: as there.
        validation_score_: R^2 on what was held out, None where nothing was.
        shift_, scale_: (K,) of the targets.
    """

    def __init__(
        self,
        *,
        loss: str = "mse",
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.1,
        members: int = 3,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 32,
        max_steps: int = 64,
        validation_fraction: float = 0.1,
        early_stopping: bool = True,
        seed: int = 0,
        progress: bool | str = "auto",
    ) -> None:
        self.loss = loss
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.members = members
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.seed = seed
        self.progress = progress

    def check_parameters(self) -> None:
        super().check_parameters()
        check_choice("loss", self.loss, LOSSES)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(
        self, X: Any, y: Any, *, validation_data: Any = None, callbacks: Sequence[Callback] = ()
    ) -> SequenceRegressor:
        """Learn from sequences and their targets.

        Args:
            X: (N, T), (N, T, I), or a list of N arrays.
            y: (N,) or (N, K) numbers.
            validation_data: (X, y) to choose the best epoch by, in place of held-out parts.
            callbacks: as ``Network.fit`` takes them; with a validation part they see its R^2.

        Raises:
            InputError: the data cannot be understood; an earlier fit is kept.
        """
        begin = clock.perf_counter()
        self.check_parameters()
        given, targets = as_sequences(X), as_targets(y)
        check_pairs(len(given), targets, "sequences")
        single = targets.ndim == 1
        rows = targets.reshape(len(targets), -1)
        shift, scale = rows.mean(axis=0), rows.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(shift), 1e-20), scale, 1.0)
        validation = None
        if validation_data is not None:
            held, truth = pair(validation_data)
            sequences, answers = as_sequences(held, given.channels), as_targets(truth)
            check_pairs(len(sequences), answers, "sequences of validation_data")
            validation = sequences, as_rows(answers, rows.shape[1], shift, scale)
        reading = self._learn(
            given,
            as_rows(targets, rows.shape[1], shift, scale),
            task="regression",
            outputs=rows.shape[1],
            labels=None,
            validation=validation,
            score=r2,
            callbacks=callbacks,
            loss=self.loss,
        )
        self.shift_, self.scale_, self.single_ = shift, scale, single
        self.reading_, self.steps_ = reading, columns(given)
        self.seconds_ = clock.perf_counter() - begin
        return self

    def partial_fit(self, X: Any, y: Any, *, epochs: int = 1) -> SequenceRegressor:
        """Go on learning from the networks that are there; the first call is a ``fit``.

        Args:
            X, y: more sequences and targets.
            epochs: passes over X.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y)
        self.check_parameters()
        given, targets = as_sequences(X, self.reading_.channels), as_targets(y)
        self._check_columns(given)
        check_pairs(len(given), targets, "sequences")
        rows = as_rows(targets, len(self.shift_), self.shift_, self.scale_)
        table = with_targets(self.reading_.table(given), rows)
        self.go_on(table, epochs, RATE / 5, loss=self.loss)
        return self

    def predict(self, X: Any) -> Float64:
        """(N,) or (N, K) float64, as y was.

        Raises:
            NotFittedError: before ``fit``.
            InputError: X cannot be read as in ``fit``.
        """
        self.require_fitted("predict")
        out = self.members_.mean(self._read(X)) * self.scale_ + self.shift_
        return np.asarray(out[:, 0] if self.single_ else out)

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(),
            "shift": self.shift_.tolist(),
            "scale": self.scale_.tolist(),
            "single": self.single_,
        }

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Float32]) -> None:
        super().restore(facts, tensors)
        self.shift_ = np.array(check_finite("shift", facts["shift"]))
        self.scale_ = np.array(check_finite("scale", facts["scale"]))
        self.single_ = bool(facts["single"])
        outputs = self.members_.spec.output_size
        if not len(self.shift_) == len(self.scale_) == outputs or (self.single_ and outputs > 1):
            raise InputError("the network does not fit the targets")
