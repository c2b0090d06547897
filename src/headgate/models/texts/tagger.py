"""SequenceTagger: a tag for every token, such as names in text or parts of speech."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_size, shown
from ...data.samples import SampleTable
from ...data.sentences import Sentences, Tags, as_sentences, as_tagged, flat, sentence_table
from ...data.token_features import TokenFeatures
from ...errors import InputError
from ...spec import GRU, Dense, Dropout, Embedding, InputSpec, NetworkSpec
from ...training.callbacks import Callback
from ..labels import Labels
from ..members import HeldOut, Score
from ..neural import NeuralEstimator, ReadsTexts
from .spans import OUTSIDE, Bools, allowed_pairs, are_span_tags, best_paths, span_f1, token_accuracy

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

UNKNOWN_TAG = -1  # of validation data: not measured in the loss
BOLDNESSES = np.arange(0, 3.01, 0.25)
SMOOTHING = 0.1  # else the loss is lowest long before the tags are best
MOST_FEATURES = 1 << 18
PREDICTED_AT_ONCE = 1 << 22  # probabilities


class SequenceTagger(ReadsTexts, NeuralEstimator):
    """Tags of tokens by an average of bidirectional networks.

    A token is the sum of the vectors of its features: the word in small letters, its shape, its
    first and last one to three characters, and up to eight characters one by one. Features rarer
    than ``min_count`` share the vector of the unknown. A bidirectional GRU reads the sentence.

    With tags of spans (``B-person``, ``I-person``, ``O``) the likeliest sequence is put out in
    which every ``I-`` goes on with a span of its type. Networks that see few spans are too careful
    to name them; how much is taken off the score of ``O`` is chosen on what members held out.

    Args:
        hidden_size, num_layers: of the GRU, in each direction.
        embedding_size: of the vectors of features.
        dropout: of a token's vector, and of what the GRU puts out.
        members: networks that are averaged.
        epochs, learning_rate: None lets the amount of data decide.
        batch_size: sentences.
        class_weight: None, "balanced", or a dict from tag to weight.
        min_count: features that stand less often in training are unknown.
        validation_fraction: what each member holds out, to keep its best epoch and for
            ``boldness_``.
        early_stopping: False to learn from everything and keep the last epoch.
        seed: the same seed gives the same bits.
        progress: True, False, "auto" (where somebody watches) or "epochs" (a line for each).

    Attributes after a fit:
        classes_: (C,) the tags, sorted.
        features_: a :class:`~headgate.data.token_features.TokenFeatures`.
        boldness_: what is taken off the logarithm of the probability of ``O``, from 0 to 3.
        validation_score_: F1 of spans, or the share of right tokens where tags describe no spans,
            on what was held out (by networks that did not learn from it; ``boldness_``, one number,
            was chosen there).
        members_, history_, parameters_, seconds_: as other estimators have them.
    """

    labels_: Labels
    features_: TokenFeatures
    boldness_: float
    allowed_: Bools | None

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        embedding_size: int = 64,
        dropout: float = 0.5,
        members: int = 5,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 8,
        class_weight: Any = None,
        min_count: int = 2,
        validation_fraction: float = 0.1,
        early_stopping: bool = True,
        seed: int = 0,
        progress: bool | str = "auto",
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.members = members
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.min_count = min_count
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.seed = seed
        self.progress = progress

    def check_parameters(self) -> None:
        """Raise InputError, by name, where a parameter is out of range."""
        super().check_parameters()
        check_size("embedding_size", self.embedding_size, maximum=4096)
        check_size("min_count", self.min_count)

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """(C,) the tags, sorted."""
        self.require_fitted("classes_")
        return self.labels_.classes

    # -- training ---------------------------------------------------------------------------

    def fit(
        self, X: Any, y: Any, *, validation_data: Any = None, callbacks: Sequence[Callback] = ()
    ) -> SequenceTagger:
        """Learn from sentences; returns self. Sentences without tokens are passed over.

        Args:
            X: a list of sentences, each a list of tokens.
            y: a list of lists, a tag for each token.
            validation_data: (X, y) to keep the best epoch by, for all members, in place of parts
                of the training data. A tag there may be one that the training data do not have.
            callbacks: as ``Network.fit`` takes them; with a validation part they see its score.

        Raises:
            InputError: a sentence is no list of texts or has not as many tags as tokens, by
                index; there is one tag only; a parameter is out of range.
        """
        return self._fit(X, y, None, validation_data, callbacks)

    def _fit(
        self, X: Any, y: Any, classes: Any, validation_data: Any, callbacks: Sequence[Callback]
    ) -> SequenceTagger:
        begin = clock.perf_counter()
        self.check_parameters()
        sentences, tags = as_tagged(X, y)
        labels = Labels.learn(flat(tags), classes)
        features = TokenFeatures.of(sentences, min_count=self.min_count, max_size=MOST_FEATURES)
        codes = labels.encode(flat(tags))
        table = sentence_table(features, sentences, codes)
        validation = None
        judged = tags
        if validation_data is not None:
            validation, judged = self._validation(validation_data, features, labels)
        names = labels.classes.tolist()
        allowed = allowed_pairs(names, tags)
        score = _score(labels, allowed, judged)
        training = self.plan(
            len(table),
            updates=1500,
            least_epochs=4,
            most_epochs=20,
            learning_rate=4e-3,
            ignore_index=UNKNOWN_TAG,
            label_smoothing=SMOOTHING,
            class_weights=labels.weights(self.class_weight, codes),
        )
        spec = self._spec(len(features), len(labels))
        trained = self.train(
            spec, table, training, validation=validation, score=score, callbacks=callbacks
        )
        self.labels_, self.features_, self.allowed_ = labels, features, allowed
        self.boldness_ = 0.0
        if trained.held_out is not None and OUTSIDE in names and are_span_tags(names):
            held = table.take(trained.held_out.rows) if validation is None else validation
            self.boldness_, self.validation_score_ = _boldness(
                labels, allowed, trained.held_out, held, judged
            )
        self.seconds_ = clock.perf_counter() - begin
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, *, epochs: int = 1
    ) -> SequenceTagger:
        """Go on learning from the networks that are there; the first call is a ``fit``.

        Features that the first call did not see stay unknown.

        Args:
            classes: at the first call, all tags that will ever come.
            epochs: passes over X.

        Raises:
            InputError: as in ``fit``, or a tag is new.
        """
        if not self.__sklearn_is_fitted__():
            return self._fit(X, y, classes, None, ())
        self.check_parameters()
        sentences, tags = as_tagged(X, y)
        if classes is not None:
            self.labels_.encode(classes, "classes")
        codes = self.labels_.encode(flat(tags))
        weights = self.labels_.weights(self.class_weight, codes)
        table = sentence_table(self.features_, sentences, codes)
        self.go_on(table, epochs, 1e-3, label_smoothing=SMOOTHING, class_weights=weights)
        return self

    def _validation(
        self, data: Any, features: TokenFeatures, labels: Labels
    ) -> tuple[SampleTable, Tags]:
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise InputError("validation_data must be (X, y), as fit takes them")
        sentences, tags = as_tagged(*data)
        known = {label: k for k, label in enumerate(labels.classes.tolist())}
        codes = np.array([known.get(tag, UNKNOWN_TAG) for tag in flat(tags)], np.int64)
        if not (codes >= 0).any():
            raise InputError("validation_data has no tag that the training data have")
        return sentence_table(features, sentences, codes), tags

    def _spec(self, rows: int, outputs: int) -> NetworkSpec:
        between = self.dropout if self.num_layers > 1 else 0.0
        return NetworkSpec(
            inputs=(InputSpec("tokens", TokenFeatures.columns, "tokens"),),
            layers=(
                Embedding(
                    "embedding", ("tokens",), vocabulary=rows, size=self.embedding_size,
                    padding_index=0, initial_scale=0.3,
                ),
                Dropout("word_dropout", ("embedding",), rate=self.dropout),
                GRU(
                    "gru", ("word_dropout",), hidden_size=self.hidden_size,
                    num_layers=self.num_layers, bidirectional=True, dropout=between,
                ),
                Dropout("dropout", ("gru",), rate=self.dropout),
                Dense("output", ("dropout",), size=outputs),
            ),
            task="classification",
        )  # fmt: skip

    # -- use --------------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> list[Float64]:
        """(T, C) for each sentence: the probability of each tag, in the order of ``classes_``.

        Of each token by itself: ``predict`` also knows ``boldness_`` and which tags fit together.
        """
        self.require_fitted("predict_proba")
        return self._probabilities(as_sentences(X))

    def predict(self, X: Any) -> Tags:
        """The tags of each sentence, a list for each.

        Args:
            X: a list of sentences, each a list of tokens; one without tokens gets no tags.

        Raises:
            NotFittedError: before ``fit``.
            InputError: a sentence is no list of texts, by index.
        """
        self.require_fitted("predict")
        probabilities = self._probabilities(as_sentences(X))
        return _decode(self.labels_, probabilities, self.allowed_, self.boldness_)

    def score(self, X: Any, y: Any) -> float:
        """F1 of whole spans, micro-averaged as seqeval does by default; the share of tokens with
        the right tag where the tags that were learned describe no spans.

        Tags in ``y`` that were never learned count as misses.
        """
        self.require_fitted("score")
        sentences, tags = as_tagged(X, y)
        spans = are_span_tags(self.labels_.classes.tolist())
        return (span_f1 if spans else token_accuracy)(tags, self.predict(sentences))

    def _probabilities(self, sentences: Sentences) -> list[Float64]:
        width = len(self.labels_)
        found: list[Float64] = [np.empty((0, width))] * len(sentences)
        order = sorted(
            (k for k in range(len(sentences)) if sentences[k]), key=lambda k: len(sentences[k])
        )
        while order:  # in parts of about the same length, which are padded to their longest
            most = max(1, PREDICTED_AT_ONCE // (width * len(sentences[order[-1]])))
            part, order = order[-most:], order[:-most]
            chosen = [sentences[k] for k in part]
            means = self.members_.mean(sentence_table(self.features_, chosen, None))
            for k, mean in zip(part, means, strict=True):
                found[k] = mean[: len(sentences[k])]
        return found

    # -- files ------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        return {
            "labels": self.labels_.to_dict(),
            "features": self.features_.to_dict(),
            "boldness": self.boldness_,
            "allowed": None if self.allowed_ is None else self.allowed_.tolist(),
        }

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Float32]) -> None:
        self.labels_ = Labels.from_dict(facts["labels"])
        self.features_ = TokenFeatures.from_dict(facts["features"])
        self.boldness_ = float(facts["boldness"])
        allowed = facts["allowed"]
        self.allowed_ = None if allowed is None else np.array(allowed, np.bool_)
        count, spec = len(self.labels_), self.members_.spec
        fits = spec.output_size == count and not spec.pooled
        fits = fits and self._spec(len(self.features_), count) == spec
        if not fits or not 0 <= self.boldness_ <= BOLDNESSES[-1]:
            raise InputError("the network does not fit the tags and features")
        if self.allowed_ is not None and self.allowed_.shape != (count + 1, count):
            raise InputError(f"{shown(self.allowed_.shape)} is no table of tags that may follow")


# -- decoding and measuring ---------------------------------------------------------------------


def _decode(
    labels: Labels, probabilities: Sequence[Float64], allowed: Bools | None, boldness: float
) -> Tags:
    """The tags of sentences from the probabilities (T, C) of their tokens."""
    off = np.where(labels.classes == OUTSIDE, boldness, 0.0) if boldness else 0.0
    scores = [np.log(np.maximum(item, 1e-30)) - off for item in probabilities]
    return [labels.decode(path).tolist() for path in best_paths(scores, allowed)]


def _score(labels: Labels, allowed: Bools | None, tags: Tags, boldness: float = 0.0) -> Score:
    """What measures predictions (N, T, C) of a table whose ``y_starts`` count through ``tags``."""
    row = flat(tags)
    measure = span_f1 if are_span_tags(labels.classes.tolist()) else token_accuracy

    def score(predictions: Any, table: SampleTable) -> float:
        assert table.y_starts is not None
        lengths = table.lengths.tolist()
        true = [row[b : b + n] for b, n in zip(table.y_starts.tolist(), lengths, strict=True)]
        cut = [np.asarray(p[:n], np.float64) for p, n in zip(predictions, lengths, strict=True)]
        return measure(true, _decode(labels, cut, allowed, boldness))

    score.__name__ = "entity_f1" if measure is span_f1 else "accuracy"
    return score


def _boldness(
    labels: Labels, allowed: Bools | None, held_out: HeldOut, held: SampleTable, tags: Tags
) -> tuple[float, float]:
    """The boldness with the best F1 on what was held out, and that F1.

    The mean over three neighbours is compared: a single peak is noise.
    """
    scores = np.array(
        [
            _score(labels, allowed, tags, boldness)(held_out.predictions, held)
            for boldness in BOLDNESSES.tolist()
        ]
    )
    smooth = np.convolve(np.pad(scores, 1, "edge"), np.ones(3) / 3, "valid")
    best = int(np.argmax(smooth))
    return float(BOLDNESSES[best]), float(scores[best])
