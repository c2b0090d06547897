"""TextClassifier: texts in, labels out."""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import as_number, check_choice, check_flags, check_rate, check_size
from ...data.cleaning import Cleaning
from ...data.samples import SampleTable
from ...data.tokens import KINDS
from ...errors import HeadgateWarning, InputError
from ...layer_specs import GRU, Attention, Concat, Dense, Dropout, Embedding, InputSpec, Max
from ...spec import NetworkSpec
from ...training.callbacks import Callback
from ..labels import Labels, as_labels
from ..members import Trained, accuracy, hold_out
from ..neural import Float32, Float64, Int64, NeuralClassifier, ReadsTexts, check_pairs
from .ngrams import NgramClassifier, Ngrams, blend_weights, log_softmax
from .reading import TextReading, WordDropout, check_texts

RATE = 2e-3  # of learning
# Of each network, chosen on held-out parts of training data: about so many updates in so many
# epochs, but no more than so many tokens read, in three epochs or more.
UPDATES, EPOCHS, READ = 1700, (6, 30), 1_400_000
SMOOTHING = 0.1  # of labels
START = 0.1  # standard deviation with which embeddings start
QUERY = 32  # units of the attention's score
TINY = 1e-30  # below every probability that counts
PREFIXES = 16  # of a text that explain looks at in one go

Pair = tuple[list[list[str]], Int64]


@dataclass(frozen=True)
class Explanation:
    """How a text was classified; see :meth:`TextClassifier.explain`.

    Attributes:
        tokens: (T,) that the networks read, as they are written.
        positions: (T,) which tokens of the text these are; all of them unless the text is longer
            than ``max_length``.
        attention: (T,) the weight of each token, which add up to 1: the mean of the networks'
            attention, whose weighted mean of the steps is one half of what the head reads (the
            other is the largest value of each feature over the steps).
        running: (T, C) probabilities of the classes after each token: of ``tokens`` up to there,
            the last ones of the whole text, as ``probabilities`` are.
        classes: (C,) the labels, in the order of the columns of ``running``.
        label: the likeliest class of the whole text.
        probabilities: (C,) of the whole text, as ``predict_proba`` has them.
    """

    tokens: list[str]
    positions: list[int]
    attention: Float64
    running: Float64
    classes: npt.NDArray[Any]
    label: Any
    probabilities: Float64


class TextClassifier(ReadsTexts, NeuralClassifier):
    """Classifies texts with a few bidirectional GRU networks and a linear model of n-grams.

    Each network reads tokens as sums of the vectors of words and their pieces, and sees the states
    by attention and by their largest values; the linear model, on TF-IDF of n-grams, knows what
    networks learn slowly from few texts. Their log-probabilities are added up with weights that
    were found on texts that neither had learned from.

    X is a list of texts, of any language; Chinese is read by character unless ``tokens`` says
    otherwise. Where all texts in ``fit`` have equally many tokens and these are single characters,
    as in windows of DNA, tokens are also told by their place.

    Args:
        tokens: "auto", "word", "char", "jieba" or "subword". "auto" takes words, and each Chinese
            character for itself; characters where there are no words, as in DNA.
        cleaning: what is done to a text first; :class:`headgate.Cleaning` with all steps by
            default. Words are lower-cased by it, but whether they were written with capitals is
            seen beside them.
        max_length: tokens of a text that the networks read: of a longer one the first and the last
            half so many. The linear model reads everything.
        ngrams: whether the linear model stands beside the networks.
        embedding_size, hidden_size, num_layers, dropout: of the networks; dropout on what the GRUs
            read, between their layers and before the head.
        word_dropout: share of words that is hidden from a network, others in every epoch.
        members: networks that are averaged.
        epochs: of training; by default 6 to 30, more for fewer texts, and 3 to 6 for long ones.
        learning_rate, batch_size: of AdamW; the rate rises first (to 0.002 by default) and then
            falls to zero.
        class_weight: None, "balanced", or a dict from label to weight.
        validation_fraction: each network holds out another part, by which the two models are
            weighed and the score is measured; with fewer than 30 texts to hold out everything is
            learned, and both count alike.
        early_stopping: False holds nothing out. The last epoch is kept in any case: the loss of
            networks that grow too sure rises long before they err more often, and the weighing
            takes that back.
        seed: the same seed gives the same bits.
        progress: True, False, "auto" (where somebody watches) or "epochs" (a line for each).

    Attributes:
        classes_: (C,) the labels, sorted.
        members_: the networks, a :class:`~headgate.models.members.Members`.
        reading_: how texts become tokens and numbers, with the vocabulary.
        ngrams_: the linear model, or None.
        blend_: the weights of the networks' and the linear model's log-probabilities.
        history_, validation_score_, seconds_, parameters_: of the fit; the score is the accuracy
            on what was held out, None where nothing was.
    """

    reading_: TextReading
    ngrams_: NgramClassifier | None
    blend_: tuple[float, float]

    def __init__(
        self,
        *,
        tokens: str = "auto",
        cleaning: Cleaning | None = None,
        max_length: int = 400,
        ngrams: bool = True,
        embedding_size: int = 64,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.5,
        word_dropout: float = 0.3,
        members: int = 5,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 32,
        class_weight: Any = None,
        validation_fraction: float = 0.1,
        early_stopping: bool = True,
        seed: int = 0,
        progress: bool | str = "auto",
    ) -> None:
        self.tokens = tokens
        self.cleaning = cleaning
        self.max_length = max_length
        self.ngrams = ngrams
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.word_dropout = word_dropout
        self.members = members
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.seed = seed
        self.progress = progress

    def check_parameters(self) -> None:
        super().check_parameters()
        check_choice("tokens", self.tokens, KINDS)
        if self.cleaning is not None and not isinstance(self.cleaning, Cleaning):
            raise InputError(
                f"cleaning must be a headgate.Cleaning or None, got {type(self.cleaning).__name__}"
            )
        check_size("max_length", self.max_length, minimum=2)
        check_flags(ngrams=self.ngrams)
        check_size("embedding_size", self.embedding_size, maximum=4096)
        check_rate("word_dropout", self.word_dropout)

    # -- training ---------------------------------------------------------------------------

    def fit(
        self, X: Any, y: Any, *, validation_data: Any = None, callbacks: Sequence[Callback] = ()
    ) -> TextClassifier:
        """Learn from texts and their labels.

        Args:
            X: (N,) texts.
            y: (N,) labels of any type.
            validation_data: (X, y) to weigh the two models by, in place of held-out parts.
            callbacks: as ``Network.fit`` takes them; with a validation part they see its accuracy.

        Raises:
            InputError: the data cannot be understood; an earlier fit is kept.
        """
        return self._fit(X, y, None, validation_data, callbacks)

    def _fit(
        self, X: Any, y: Any, classes: Any, validation_data: Any, callbacks: Sequence[Callback]
    ) -> TextClassifier:
        begin = clock.perf_counter()
        self.check_parameters()
        texts, names = check_texts(X), as_labels(y)
        check_pairs(len(texts), names, "texts")
        labels = Labels.learn(names, classes)
        codes = labels.encode(names)
        reading, split = TextReading.learn(
            texts, self.cleaning or Cleaning(), self.tokens, self.max_length
        )
        validation = None
        if validation_data is not None:
            validation = _validation(validation_data, reading, labels)
        weights = labels.weights(self.class_weight, codes)
        trained = self._train_networks(
            reading, split, codes, len(labels), validation, weights, callbacks
        )
        self.labels_, self.reading_ = labels, reading
        self._train_ngrams((split, codes), validation, trained, weights)
        self.seconds_ = clock.perf_counter() - begin
        return self

    def _train_networks(
        self,
        reading: TextReading,
        split: list[list[str]],
        codes: Int64,
        classes: int,
        validation: Pair | None,
        weights: tuple[float, ...] | None,
        callbacks: Sequence[Callback],
    ) -> Trained:
        table = reading.table(split, codes)
        plan = self.plan(
            len(table),
            updates=UPDATES,
            least_epochs=EPOCHS[0],
            most_epochs=EPOCHS[1],
            learning_rate=RATE,
            class_weights=weights,
            label_smoothing=SMOOTHING,
        )
        affordable = max(READ // int(table.lengths.sum()), 3)
        epochs = plan.epochs if self.epochs else min(plan.epochs, affordable)
        training = replace(plan, epochs=epochs, keep_best=False)
        hide = None
        if self.word_dropout:
            hide = WordDropout(table, reading.blank(), self.word_dropout)
        return self.train(
            self._spec(reading, classes),
            table,
            training,
            labels=codes,
            validation=None if validation is None else reading.table(*validation),
            part=None if hide is None else hide.part,
            score=accuracy,
            callbacks=callbacks if hide is None else [hide, *callbacks],
        )

    def _spec(self, reading: TextReading, classes: int) -> NetworkSpec:
        layers: list[Any] = [
            Embedding(
                "embedding", ("tokens",), vocabulary=len(reading.vocabulary),
                size=self.embedding_size, padding_index=0, initial_scale=START,
            ),
            GRU(
                "gru", ("embedding",), hidden_size=self.hidden_size, num_layers=self.num_layers,
                bidirectional=True, input_dropout=self.dropout,
                dropout=self.dropout if self.num_layers > 1 else 0.0,
            ),
            Max("max", ("gru",)),
            Attention("attention", ("gru",), size=QUERY),
            Concat("both", ("max", "attention")),
        ]  # fmt: skip
        last = "both"
        if self.dropout:
            layers.append(Dropout("dropout", (last,), rate=self.dropout))
            last = "dropout"
        layers.append(Dense("head", (last,), size=classes))
        inputs = (InputSpec("tokens", reading.columns, "tokens"),)
        return NetworkSpec(inputs, tuple(layers), task="classification")

    def _train_ngrams(
        self,
        learned: Pair,
        validation: Pair | None,
        trained: Trained,
        weights: tuple[float, ...] | None,
    ) -> None:
        """The linear model, and the weights with which it stands beside the networks."""
        self.ngrams_, self.blend_ = None, (1.0, 0.0)
        if not self.ngrams:
            return
        split, codes = learned
        placed = self.reading_.places > 1
        # Characters make words of two or three.
        longest = 1 if placed else 2 if self.reading_.affixes else 3
        ngrams = Ngrams(longest, inside=self.reading_.affixes, placed=placed)
        counts = ngrams.counts([self.reading_.lowered(tokens) for tokens in split])
        each = None if weights is None else np.array(weights)[codes]

        def model(rows: Any) -> NgramClassifier:
            chosen = None if each is None else each[rows]
            return NgramClassifier.fit(ngrams, counts[rows], codes[rows], len(self.labels_), chosen)

        self.ngrams_, self.blend_ = model(slice(None)), (0.5, 0.5)
        held = trained.held_out
        if held is None:
            return
        if validation is not None:
            truth = validation[1]
            linear = self._ngram_logs(validation[0])
        else:
            truth = codes[held.rows]
            with warnings.catch_warnings():  # said when the networks were trained
                warnings.simplefilter("ignore", HeadgateWarning)
                parts = hold_out(len(codes), self.validation_fraction, self.seed, codes) or []
            logs = np.zeros(held.predictions.shape)
            for rows in parts[: self.members]:
                others = np.setdiff1d(np.arange(len(codes)), rows)
                logs[np.searchsorted(held.rows, rows)] = model(others).log_proba(counts[rows])
            linear = logs
        networks = np.log(held.predictions + TINY)
        self.blend_ = blend_weights(networks, linear, truth)
        together = self.blend_[0] * networks + self.blend_[1] * linear
        self.validation_score_ = float(np.mean(together.argmax(axis=1) == truth))

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, *, epochs: int = 1
    ) -> TextClassifier:
        """Go on learning from where the networks and the linear model are; the first call is a
        ``fit``.

        The vocabulary stays; new words are seen by their pieces and their n-grams.

        Args:
            X, y: more texts and labels.
            classes: at the first call, all labels that will ever come.
            epochs: passes over X.

        Raises:
            InputError: the data cannot be understood, or a label is new.
        """
        if not self.__sklearn_is_fitted__():
            return self._fit(X, y, classes, None, ())
        self.check_parameters()
        self.check_classes(classes)
        texts, names = check_texts(X), as_labels(y)
        check_pairs(len(texts), names, "texts")
        codes = self.labels_.encode(names)
        split = [self.reading_.split(text) for text in texts]
        weights = self.labels_.weights(self.class_weight, codes)
        self.go_on(self.reading_.table(split, codes), epochs, RATE / 5, class_weights=weights)
        if self.ngrams_ is not None:
            counts = self.ngrams_.ngrams.counts([self.reading_.lowered(row) for row in split])
            each = None if weights is None else np.array(weights)[codes]
            self.ngrams_.go_on(counts, codes, each)
        return self

    # -- prediction -------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> Float64:
        """(N, C) the probability of each class, in the order of ``classes_``.

        Raises:
            NotFittedError: before ``fit``.
            InputError: X is no list of texts.
        """
        self.require_fitted("predict_proba")
        return self._proba([self.reading_.split(text) for text in check_texts(X)])

    def _proba(self, split: Sequence[Sequence[str]]) -> Float64:
        networks: Float64 = self.members_.mean(self.reading_.table(split))
        if self.ngrams_ is None:
            return networks
        first, second = self.blend_
        logs = first * np.log(networks + TINY) + second * self._ngram_logs(split)
        return np.asarray(np.exp(log_softmax(logs)))

    def _ngram_logs(self, split: Sequence[Sequence[str]]) -> Float64:
        assert self.ngrams_ is not None
        words = [self.reading_.lowered(tokens) for tokens in split]
        return self.ngrams_.log_proba(self.ngrams_.ngrams.counts(words))

    def explain(self, text: str) -> Explanation:
        """The weight each token got from attention, and the running prediction after each token.

        The attention is that of the networks; the linear model beside them has none, and its part
        is seen in the running prediction. Where the text has more than ``max_length`` tokens, the
        tokens are those that the networks read.

        Raises:
            NotFittedError: before ``fit``.
            InputError: ``text`` is no text.
        """
        self.require_fitted("explain")
        if not isinstance(text, str):
            raise InputError(f"explain takes one text, got {type(text).__name__}; pass a str")
        tokens = self.reading_.split(text)
        kept, positions = self.reading_.cut(tokens)
        table = self.reading_.table([tokens])
        weights = [_attention(network, table) for network in self.members_.networks]
        prefixes = [kept[: k + 1] for k in range(len(kept) - 1)]
        if kept:
            prefixes.append(tokens)  # the linear model reads all of a long text
        # The longest first: a workspace that grows with each part costs more than the arithmetic.
        begins = range(0, len(prefixes), PREFIXES)
        running = [self._proba(prefixes[k : k + PREFIXES]) for k in reversed(begins)][::-1]
        probabilities = self._proba([tokens])[0]
        classes = self.labels_.classes
        return Explanation(
            tokens=kept,
            positions=positions,
            attention=np.mean(weights, axis=0)[: len(kept)],
            running=np.concatenate([*running, np.empty((0, len(classes)))]),
            classes=classes,
            label=classes[int(probabilities.argmax())],
            probabilities=probabilities,
        )

    # -- files ------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        linear = None if self.ngrams_ is None else self.ngrams_.to_dict()
        return {
            **super().facts(),
            "reading": self.reading_.to_dict(),
            "ngrams": linear,
            "blend": list(self.blend_),
        }

    def extra_tensors(self) -> dict[str, Float32]:
        return {} if self.ngrams_ is None else self.ngrams_.tensors()

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Float32]) -> None:
        super().restore(facts, tensors)
        self.reading_ = TextReading.from_dict(facts["reading"])
        self.ngrams_ = None
        if facts["ngrams"] is not None:
            self.ngrams_ = NgramClassifier.from_parts(facts["ngrams"], tensors)
            if len(self.ngrams_.bias) != len(self.labels_):
                raise InputError("the n-grams do not fit the classes")
        first, second = (as_number(weight) for weight in facts["blend"])
        if not (0 <= first <= 100 and 0 <= second <= 100):
            raise InputError("the weights of the blend cannot be")
        self.blend_ = first, second
        expected = self._spec(self.reading_, len(self.labels_))
        if self.members_.spec != expected:
            raise InputError("the network does not fit the reading of texts")


# -- helpers ------------------------------------------------------------------------------------


def _validation(data: Any, reading: TextReading, labels: Labels) -> Pair:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise InputError("validation_data must be (X, y)")
    texts = check_texts(data[0], "X of validation_data")
    names = as_labels(data[1], "y of validation_data")
    check_pairs(len(texts), names, "texts of validation_data")
    return [reading.split(text) for text in texts], labels.encode(names, "y of validation_data")


def _attention(network: Any, table: SampleTable) -> Float64:
    """(T,) the weights of the one text in the table."""
    weights: Float64 = np.asarray(network.attention(table), np.float64)[0]
    return weights
