"""What the estimators of sequences and texts share: parameters, training, files.

A new estimator writes its parameters out in ``__init__`` (scikit-learn reads them there), makes a
``SampleTable`` of its data, and calls :meth:`NeuralEstimator.train`. What it must remember beside
the networks goes into ``facts`` (JSON), ``extra_tensors`` (float32 arrays) and back through
``restore``, each of which calls ``super()``'s. ``loading.py`` lists its name.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Mapping, Sequence, Sized
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin

from ..checks import as_number, check_flags, check_rate, check_size, shown
from ..data.cleaning import Cleaning
from ..data.samples import SampleTable
from ..errors import InputError, ModelFileError
from ..model_file import ModelFile, save_model
from ..spec import NetworkSpec
from ..training.callbacks import Callback
from ..training.history import History
from ..training.options import FitOptions
from .base import Estimator
from .labels import Labels, check_class_weight
from .members import (
    Members,
    Part,
    Score,
    Trained,
    Training,
    epochs_for,
    networks_from,
    train_members,
)

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Self = TypeVar("Self", bound="NeuralEstimator")

MAX_MEMBERS = 100


class NeuralEstimator(Estimator):
    """An estimator made of a few networks of one spec.

    Parameters that all have, and what they mean everywhere:

    - hidden_size, num_layers, dropout: of the recurrent layers.
    - members: networks that are averaged.
    - epochs, learning_rate: None lets the amount of data decide; batch_size.
    - class_weight (of classifiers): None, "balanced", or a dict from label to weight.
    - validation_fraction, early_stopping: see :func:`~headgate.models.members.train_members`.
    - seed: the same seed gives the same bits.
    - progress: True, False, "auto" (where somebody watches) or "epochs" (a line for each).

    Attributes after a fit:
        members_: a :class:`~headgate.models.members.Members`, the networks.
        history_: their mean history.
        validation_score_: the score on what was held out, each sample judged by networks that did
            not learn from it; None where nothing was.
        parameters_: with which this estimator was fitted.
        seconds_: how long ``fit`` took.
    """

    members_: Members
    history_: History
    validation_score_: float | None
    seconds_: float
    parameters_: dict[str, Any]

    # -- parameters -------------------------------------------------------------------------

    def check_parameters(self) -> None:
        """Raise InputError, by name, where a shared parameter is out of range."""
        given = self.get_params()
        check_size("hidden_size", given["hidden_size"], maximum=4096)
        check_size("num_layers", given["num_layers"], maximum=64)
        check_rate("dropout", given["dropout"])
        check_size("members", given["members"], maximum=MAX_MEMBERS)
        check_size("batch_size", given["batch_size"], maximum=1 << 31)
        if given["epochs"] is not None:
            check_size("epochs", given["epochs"], maximum=1 << 20)
        if given["learning_rate"] is not None:
            FitOptions(learning_rate=given["learning_rate"])
        fraction = as_number(given["validation_fraction"])
        if not 0 <= fraction <= 0.5:
            raise InputError(
                "validation_fraction must be between 0 and 0.5, got "
                f"{shown(given['validation_fraction'])}"
            )
        check_flags(early_stopping=given["early_stopping"])
        check_size("seed", given["seed"], minimum=0, maximum=1 << 50)
        check_class_weight(given.get("class_weight"))

    def plan(
        self,
        samples: int,
        *,
        updates: int,
        most_epochs: int,
        learning_rate: float,
        least_epochs: int = 3,
        patience: int | None = None,
        **options: Any,
    ) -> Training:
        """How to train on that many samples: what the parameters leave open, from these defaults.

        Args:
            updates: of each network, about.
            least_epochs, most_epochs: whatever the number of updates.
            options: more of ``Network.fit``.
        """
        given = self.get_params()
        epochs = given["epochs"] or epochs_for(
            samples, given["batch_size"], updates, least=least_epochs, most=most_epochs
        )
        return Training(
            members=given["members"],
            seed=given["seed"],
            epochs=epochs,
            batch_size=given["batch_size"],
            learning_rate=given["learning_rate"] or learning_rate,
            validation_fraction=float(given["validation_fraction"]),
            early_stopping=bool(given["early_stopping"]),
            patience=patience,
            options=options,
            progress=given["progress"],
        )

    # -- training ---------------------------------------------------------------------------

    def train(
        self,
        spec: NetworkSpec,
        table: SampleTable,
        training: Training,
        *,
        labels: Int64 | None = None,
        validation: SampleTable | None = None,
        part: Part | None = None,
        score: Score | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Trained:
        """Fresh networks, trained; see :func:`~headgate.models.members.train_members`.

        Sets ``members_``, ``history_``, ``validation_score_`` and ``parameters_`` when all has gone
        well, so that a fit that fails leaves an earlier one as it was.
        """
        trained = train_members(
            spec, table, training, labels=labels, validation=validation, part=part, score=score,
            callbacks=callbacks,
        )  # fmt: skip
        self.members_ = Members(trained.networks)
        self.history_ = trained.history
        self.parameters_ = self.get_params()
        self.validation_score_ = None
        if trained.held_out is not None and score is not None:
            held = table.take(trained.held_out.rows) if validation is None else validation
            self.validation_score_ = score(trained.held_out.predictions, held)
        return trained

    def go_on(
        self,
        table: SampleTable,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[Callback] = (),
        **options: Any,
    ) -> None:
        """Train the fitted networks further on all of ``table``: the core of ``partial_fit``.

        The rate stays constant, since nobody knows how much is still to come.
        """
        begin = clock.perf_counter()
        training = Training(
            members=len(self.members_.networks),
            seed=self.seed,
            epochs=check_size("epochs", epochs, maximum=1 << 20),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate or learning_rate,
            early_stopping=False,
            options={"schedule": "constant", **options},
            progress=self.progress,
        )
        networks = self.members_.networks
        trained = train_members(
            self.members_.spec, table, training, networks=networks, callbacks=callbacks
        )
        self.history_ = trained.history
        self.validation_score_ = None  # what was held out once may be learned from by now
        self.seconds_ += clock.perf_counter() - begin

    # -- files ------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """JSON-able facts that the model file must hold beside what all estimators have."""
        return {}

    def extra_tensors(self) -> dict[str, Float32]:
        """Arrays by name that the model file must hold beside the networks, float32."""
        return {}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Float32]) -> None:
        """The inverse of :meth:`facts` and :meth:`extra_tensors`; ``members_`` is there already.

        Whatever it raises for facts that cannot be becomes a ModelFileError.
        """

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that ``predict`` needs to one ``.safetensors`` file; see ``hg.load``.

        Raises:
            NotFittedError: before ``fit``.
            HeadgateError: the file cannot be written; what was there before is unchanged.
        """
        self.require_fitted("save")
        shared = {
            "kind": type(self).__name__,
            "parameters": _as_json(self.parameters_),
            "members": len(self.members_.networks),
            "history": self.history_.to_dict(),
            "validation_score": self.validation_score_,
            "seconds": self.seconds_,
        }
        own = {f"extra.{name}": array for name, array in self.extra_tensors().items()}
        save_model(
            path,
            self.members_.spec,
            self.members_.tensors() | own,
            extra={"estimator": {**shared, "facts": self.facts()}},
        )

    @classmethod
    def from_file(cls: type[Self], file: ModelFile) -> Self:
        """The estimator in a model file; see ``hg.load``.

        Raises:
            ModelFileError: a fact is missing or cannot be.
        """
        try:
            shared = file.extra["estimator"]
            parameters = dict(shared["parameters"])
            if isinstance(parameters.get("class_weight"), list):
                parameters["class_weight"] = dict(parameters["class_weight"])
            if isinstance(parameters.get("cleaning"), dict):
                parameters["cleaning"] = Cleaning.from_dict(parameters["cleaning"])
            model = cls(**parameters)
            model.check_parameters()
            model.parameters_ = model.get_params()
            count = check_size("members", shared["members"], maximum=MAX_MEMBERS)
            model.members_ = Members(
                networks_from(file.spec, file.tensors, count, model.parameters_["seed"])
            )
            model.history_ = History.from_dict(shared["history"])
            score = shared["validation_score"]
            model.validation_score_ = None if score is None else float(score)
            model.seconds_ = float(shared["seconds"])
            own = {
                name.removeprefix("extra."): array
                for name, array in file.tensors.items()
                if name.startswith("extra.") and not name.startswith("extra.member")
            }
            model.restore(shared["facts"], own)
        except Exception as error:  # whatever a hostile file may hold
            raise ModelFileError(
                f"the model file is broken: its {cls.__name__} cannot be rebuilt ({error}); save "
                "it again"
            ) from None
        return model


class NeuralClassifier(ClassifierMixin, NeuralEstimator):  # type: ignore[misc]
    """An estimator that tells classes apart.

    Attributes after a fit:
        classes_: (C,) the labels, sorted.
        labels_: the same as :class:`~headgate.models.labels.Labels`.
    """

    labels_: Labels

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """(C,) the labels, sorted."""
        self.require_fitted("classes_")
        return self.labels_.classes

    def predict_proba(self, X: Any) -> Float64:
        """(N, C) the probability of each class, in the order of ``classes_``."""
        raise NotImplementedError

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """(N,) the likeliest label of each example.

        Raises:
            NotFittedError: before ``fit``.
            InputError: X cannot be read as in ``fit``.
        """
        self.require_fitted("predict")
        return self.labels_.decode(np.argmax(self.predict_proba(X), axis=1))

    def check_classes(self, classes: Any) -> None:
        """Raise InputError where ``classes`` of a later ``partial_fit`` are not the fit's."""
        if classes is None:
            return
        self.labels_.encode(classes, "classes")

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "labels": self.labels_.to_dict()}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Float32]) -> None:
        super().restore(facts, tensors)
        self.labels_ = Labels.from_dict(facts["labels"])
        if self.members_.spec.output_size != len(self.labels_):
            raise InputError("the network does not fit the classes")


class ReadsTexts:
    """Of an estimator whose X are texts: tells scikit-learn that arrays of numbers are not read."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def check_pairs(count: int, y: Sized, examples: str = "examples") -> None:
    """Raise InputError unless there is one of ``y`` for each of ``count`` examples."""
    if len(y) != count:
        raise InputError(
            f"X has {count} {examples}, but y has {len(y)} entries; there must be one for each"
        )


def _as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of NumPy as those of Python; a dict of class weights, whose keys JSON would turn
    into texts, as pairs."""

    def plain(value: Any) -> Any:
        if isinstance(value, Cleaning):
            return value.to_dict()
        if isinstance(value, Mapping):
            return [[plain(key), plain(item)] for key, item in value.items()]
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value.item() if isinstance(value, np.generic) else value

    return {name: plain(value) for name, value in parameters.items()}
