"""LanguageModel: a corpus in, the next words out."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import (
    as_number,
    check_choice,
    check_flags,
    check_rate,
    check_size,
    check_tuple,
    shown,
)
from ...data.cleaning import Cleaning
from ...data.tokens import KINDS
from ...errors import InputError
from ...network import Network
from ...training.callbacks import Callback
from ...training.history import History
from ...training.options import FitOptions
from ..members import Members
from ..neural import NeuralEstimator, ReadsTexts
from .corpus import Sequences, Writing, documents, hold_out, pack, unknown_share, unpack
from .language_network import (
    CHUNK,
    LEARNING_RATE,
    Watch,
    begin_with_frequencies,
    best_weight,
    language_spec,
    language_table,
    make_plan,
    mixture,
    network_log_probabilities,
    parameters_of,
    rows_of,
)
from .language_reader import GateReading, LanguageScore, Reader
from .ngram_language import MAX_ORDER, NGramLanguage
from .sampling import Sampling, until

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

LONGEST_PROMPT = 1000  # tokens of a prompt that are read, its last ones


class LanguageModel(ReadsTexts, NeuralEstimator):
    """Predicts the next character, word or subword: a GRU network, mixed with counts of n-grams.

    A corpus is one running text, through which the state is carried, or a list of texts, each of
    which begins anew and ends. Lines begin and end with a mark, which is the token "\\n".

    The probability of a token is ``w * network + (1 - w) * n-grams``. The n-grams are interpolated
    Kneser-Ney (:class:`~headgate.models.texts.ngram_language.NGramLanguage`); w is what foresees a
    held-out part of the corpus best. On little text neither part alone is as good.

    Args:
        unit: "char", "word" (Chinese characters are words of their own), "jieba" or "subword";
            "auto" takes characters for Chinese, Japanese and text without blanks, else words.
        hidden_size, num_layers: of the GRU.
        embedding_size: of a token's vector. None: as wide as the GRU, and the same table turns
            outputs into tokens (tied weights); 64 where there are fewer than 500 tokens.
        dropout: of the network's outputs; half of it between layers, of its inputs and of what
            recurs. None: 0.1 to 0.4, more where the text is short for the network.
        ngram_order: tokens of the longest n-grams; 0 for the network alone.
        epochs: None for as many as ``minutes`` allow, 30 at most.
        minutes: how long training may take on two cores of a common machine. It becomes a number
            of epochs by the amount of arithmetic, not by a clock, so that results repeat.
        learning_rate: the highest of one cycle; None for 0.004 with 256 units, less with more.
        batch_size: texts, or parts of a running text, that are read side by side.
        min_count: tokens seen less often are unknown; None for 2, or 1 where there are at most 500
            different ones. max_vocabulary: most tokens.
        cleaning: a :class:`~headgate.Cleaning` of each line; None for Unicode's NFC alone.
        validation_fraction: of the corpus, held out: every k-th of many texts, else the end. It
            says which epoch is kept, and w. 20,000 tokens at most.
        early_stopping: False keeps the last epoch.
        seed: the same seed gives the same bits.
        progress: True, False, "auto" (where somebody watches) or "epochs" (a line for each).

    Attributes:
        writing_: tokenizer, vocabulary and cleaning.
        ngram_: the n-grams, of all the corpus; None with ``ngram_order=0``.
        network_weight_: w.
        plan_: dropout, epochs and learning rate in use.
        members_, history_, seconds_, parameters_: as of all neural estimators. The training text
            is kept, and saved with the model as numbers, since the n-grams are counted from it.
        validation_score_: mean of log p over the tokens held out, in nats; None where none were.
    """

    writing_: Writing
    ngram_: NGramLanguage | None
    network_weight_: float

    def __init__(
        self,
        unit: str = "auto",
        *,
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int | None = None,
        dropout: float | None = None,
        ngram_order: int = 6,
        epochs: int | None = None,
        minutes: float = 2.5,
        learning_rate: float | None = None,
        batch_size: int = 16,
        min_count: int | None = None,
        max_vocabulary: int = 20000,
        cleaning: Cleaning | None = None,
        validation_fraction: float = 0.05,
        early_stopping: bool = True,
        seed: int = 0,
        progress: bool | str = "auto",
    ) -> None:
        self.unit = unit
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.ngram_order = ngram_order
        self.epochs = epochs
        self.minutes = minutes
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.min_count = min_count
        self.max_vocabulary = max_vocabulary
        self.cleaning = cleaning
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.seed = seed
        self.progress = progress

    # -- training ---------------------------------------------------------------------------

    def fit(
        self,
        corpus: Any,
        y: Any = None,
        *,
        validation_data: Any = None,
        callbacks: Sequence[Callback] = (),
    ) -> LanguageModel:
        """Learn from a corpus; returns self.

        Args:
            corpus: a text, or a list of texts.
            y: not read; pipelines of scikit-learn pass it.
            validation_data: held out instead of a part of the corpus.
            callbacks: as ``Network.fit`` takes them; with something held out they see its loss.

        Raises:
            InputError: a parameter is out of range, or there is no text in the corpus.
        """
        begin = clock.perf_counter()
        self.check_parameters()
        texts, running = documents(corpus)
        writing = Writing.learn(
            texts,
            self.unit,
            min_count=self.min_count,
            max_size=self.max_vocabulary,
            cleaning=self.cleaning,
        )
        everything = writing.sequences(texts, running)
        held: Sequences | None
        if validation_data is not None:
            held = writing.sequences(*documents(validation_data, "validation_data"))
            if not held.predicted.any():
                raise InputError("validation_data is empty: no token is left of it after cleaning")
            learned = everything
        else:
            learned, held = hold_out(everything, float(self.validation_fraction))
        network, watch = self._trained(learned, held, len(writing), callbacks)
        weight, score = self._mixed(network, learned, held, len(writing))
        self.writing_ = writing
        self.running_ = running
        self.members_ = Members([network])
        self.history_ = network.history or History()
        self.history_.val_losses = watch.losses
        self.network_weight_, self.validation_score_ = weight, score
        self._count(everything)
        # The cleaning is in a model file once, with tokenizer and vocabulary.
        self.parameters_ = self.get_params() | {"cleaning": None}
        self.seconds_ = clock.perf_counter() - begin
        return self

    def partial_fit(self, corpus: Any, *, epochs: int = 1) -> LanguageModel:
        """Learn from more text with the vocabulary of ``fit``; the first call is a ``fit``.

        The network goes through the new text ``epochs`` times; the n-grams are counted anew.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(corpus)
        self.check_parameters()
        more = self.writing_.sequences(*documents(corpus))
        if not more.predicted.any():
            raise InputError("the corpus is empty: no token is left of it after cleaning")
        table = language_table(more, self.batch_size)
        rate = self.learning_rate or LEARNING_RATE / 10
        self.go_on(table, epochs, rate, bptt_steps=CHUNK)
        self._count(self.text_.followed_by(more))
        return self

    def check_parameters(self) -> None:
        """Raise InputError, by name, where a parameter is out of range."""
        check_choice("unit", self.unit, KINDS)
        check_size("hidden_size", self.hidden_size, maximum=4096)
        check_size("num_layers", self.num_layers, maximum=64)
        if self.embedding_size is not None:
            check_size("embedding_size", self.embedding_size, maximum=4096)
        if self.dropout is not None:
            check_rate("dropout", self.dropout)
        check_size("ngram_order", self.ngram_order, minimum=0, maximum=MAX_ORDER)
        if self.epochs is not None:
            check_size("epochs", self.epochs, maximum=1 << 20)
        if not 0 < as_number(self.minutes) < math.inf:
            raise InputError(f"minutes must be a finite number above 0, got {shown(self.minutes)}")
        if self.learning_rate is not None:
            FitOptions(learning_rate=self.learning_rate)
        check_size("batch_size", self.batch_size, maximum=1 << 20)
        if self.min_count is not None:
            check_size("min_count", self.min_count)
        check_size("max_vocabulary", self.max_vocabulary, minimum=10)
        if not (self.cleaning is None or isinstance(self.cleaning, Cleaning)):
            raise InputError(
                f"cleaning must be a headgate.Cleaning or None, got {shown(self.cleaning)}"
            )
        if not 0 <= as_number(self.validation_fraction) <= 0.5:
            raise InputError(
                "validation_fraction must be between 0 and 0.5, got "
                f"{shown(self.validation_fraction)}"
            )
        check_flags(early_stopping=self.early_stopping)
        check_size("seed", self.seed, minimum=0, maximum=1 << 50)

    def _trained(
        self,
        learned: Sequences,
        held: Sequences | None,
        vocabulary: int,
        callbacks: Sequence[Callback],
    ) -> tuple[Network, Watch]:
        embedding = self.embedding_size or (self.hidden_size if vocabulary >= 500 else 64)
        shape = (vocabulary, self.hidden_size, self.num_layers, embedding)
        steps = rows_of(learned, self.batch_size)[1]
        tokens = int(steps.sum())
        self.plan_ = make_plan(
            tokens,
            -(-int((-(-steps // CHUNK)).sum()) // self.batch_size),
            parameters_of(*shape),
            self.hidden_size,
            minutes=float(self.minutes),
            dropout=self.dropout,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
        )
        network = Network(language_spec(*shape, self.plan_.dropout), seed=self.seed)
        begin_with_frequencies(network, learned)
        watch = Watch(held, bool(self.early_stopping))
        network.fit(
            language_table(learned, self.batch_size),
            epochs=self.plan_.epochs,
            learning_rate=self.plan_.learning_rate,
            batch_size=self.batch_size,
            bptt_steps=CHUNK,
            optimizer="adamw",
            schedule="one_cycle",
            clip_norm=1.0,
            callbacks=[watch, *callbacks],
            progress=self.progress,
        )
        watch.restore(network)
        return network, watch

    def _mixed(
        self, network: Network, learned: Sequences, held: Sequences | None, vocabulary: int
    ) -> tuple[float, float | None]:
        """w and the mean of log p over what was held out."""
        weight = 1.0 if self.ngram_order == 0 else 0.5
        if held is None:
            return weight, None
        seen = held.predicted
        own = network_log_probabilities(network, held)[seen]
        if self.ngram_order == 0:
            return weight, float(own.mean())
        counts = NGramLanguage(self.ngram_order, vocabulary).fit(learned.tokens, learned.starts)
        other = counts.log_probabilities(held.tokens, held.starts)[seen]
        weight = best_weight(own, other)
        return weight, float(mixture(own, other, weight).mean())

    def _count(self, text: Sequences) -> None:
        self.text_ = text
        self.ngram_ = None
        if self.ngram_order:
            self.ngram_ = NGramLanguage(self.ngram_order, len(self.writing_)).fit(
                text.tokens, text.starts
            )

    # -- measuring --------------------------------------------------------------------------

    def evaluate(self, corpus: Any) -> LanguageScore:
        """Perplexities of a text or a list of texts; the state is carried through each text.

        Raises:
            NotFittedError: before ``fit``.
            InputError: there is no text, or no token that could be predicted.
        """
        self.require_fitted("evaluate")
        given = self.writing_.sequences(*documents(corpus, "the text"))
        seen = given.predicted
        if not seen.any():
            raise InputError("the text is empty: no token is left of it after cleaning")
        vocabulary = len(self.writing_)
        own = network_log_probabilities(self.members_.networks[0], given)[seen]
        both, ngram = own, None
        if self.ngram_ is not None:
            other = self.ngram_.log_probabilities(given.tokens, given.starts)[seen]
            both, ngram = mixture(own, other, self.network_weight_), _perplexity(other)
        text = self.text_
        unigram = NGramLanguage(1, vocabulary).fit(text.tokens, text.starts)
        alone = unigram.log_probabilities(given.tokens, given.starts)[seen]
        return LanguageScore(
            tokens=len(both),
            unknown=unknown_share(given),
            nats=float(-both.mean()),
            perplexity=_perplexity(both),
            network=_perplexity(own),
            ngram=ngram,
            unigram=_perplexity(alone),
        )

    def perplexity(self, corpus: Any) -> float:
        """exp of the mean of -log p over the tokens of a text or a list of texts."""
        return self.evaluate(corpus).perplexity

    def score(self, corpus: Any, y: Any = None) -> float:
        """Mean of log p over the tokens, in nats: higher is better."""
        return -self.evaluate(corpus).nats

    # -- going on ---------------------------------------------------------------------------

    def next(self, prompt: str = "", k: int = 10) -> list[tuple[str, float]]:
        """The k likeliest tokens after a prompt, with their probabilities.

        Of all tokens that can be written: unknown ones are left out. "\\n" ends a line. Of a
        longer prompt the last 1,000 tokens are read.
        """
        self.require_fitted("next")
        size = check_size("k", k, maximum=1 << 31)
        return self.likeliest(self.reader(self._prompt(prompt)).distribution(), size)

    def generate(self, prompt: str = "", n: int = 100, **options: Any) -> str:
        """What follows a prompt, without the prompt; :meth:`stream` has the options."""
        return "".join(self.stream(prompt, n, **options))

    def stream(
        self,
        prompt: str = "",
        n: int = 100,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
    ) -> Iterator[str]:
        """What follows a prompt, piece by piece as it is drawn; each step takes microseconds.

        Args:
            prompt: as :meth:`next` takes it.
            n: most tokens. A model of a list of texts also ends where a text would.
            temperature, top_k, top_p: see :class:`~headgate.models.texts.sampling.Sampling`.
            seed: the same seed draws the same text; None draws one.
            stop: texts before which to end.

        Raises:
            NotFittedError, InputError: at once, not when the first piece is asked for.
        """
        self.require_fitted("generate")
        sampling = Sampling(temperature, top_k, top_p)
        most = check_size("n", n, minimum=0, maximum=1 << 31)
        ends = check_tuple("stop", (stop,) if isinstance(stop, str) else stop or (), str)
        if not all(ends):
            raise InputError(f"stop must be texts that are not empty, got {shown(stop)}")
        if seed is not None:
            check_size("seed", seed, minimum=0, maximum=1 << 62)
        indices = self._prompt(prompt)
        rng = np.random.default_rng(seed)
        pieces = self._pieces(indices, most, sampling, rng)
        return until(pieces, ends) if ends else pieces

    def gates(self, prompt: str, k: int = 3) -> list[GateReading]:
        """For each token of a prompt the mean gates, and the k likeliest tokens after it."""
        self.require_fitted("gates")
        size = check_size("k", k, maximum=1 << 31)
        indices = self._prompt(prompt)
        network = self.members_.networks[0]
        found = network.gates([np.array(indices)])
        layers = list(found.values()) if isinstance(found, dict) else [found]
        reset = np.mean([layer.reset[0].mean(axis=1) for layer in layers], axis=0)
        update = np.mean([layer.update[0].mean(axis=1) for layer in layers], axis=0)
        reader = self.reader(indices[:1])
        readings = []
        for place, index in enumerate(indices[1:], 1):
            reader.step(index)
            likeliest = self.likeliest(reader.distribution(), size)
            name = self.writing_.name(index)
            readings.append(GateReading(name, float(reset[place]), float(update[place]), likeliest))
        return readings

    def _prompt(self, prompt: Any) -> list[int]:
        indices = self.writing_.prompt(prompt)
        return indices if len(indices) <= LONGEST_PROMPT else indices[-LONGEST_PROMPT:]

    def reader(self, indices: Iterable[int]) -> Reader:
        """What follows a text that begins with these tokens, at least one."""
        network = self.members_.networks[0]
        return Reader(network, self.ngram_, self.network_weight_, list(indices))

    def likeliest(self, p: Float64, k: int) -> list[tuple[str, float]]:
        """The k likeliest tokens of a distribution (V,), with their probabilities."""
        order = np.argsort(-p, kind="stable")[:k]
        return [(self.writing_.name(int(i)), float(p[i])) for i in order if p[i] > 0]

    def _pieces(
        self, indices: list[int], n: int, sampling: Sampling, rng: np.random.Generator
    ) -> Iterator[str]:
        line = self.writing_.line
        reader = self.reader(indices)
        begins = len(indices) - 1 - indices[::-1].index(line) + 1 if line in indices else 0
        row = indices[begins:]  # of the line that is being written
        before = self.writing_.text(row)
        for _ in range(n):
            index = sampling.draw(reader.distribution(), rng)
            if index == line and not self.running_:
                return
            row = [] if index == line else [*row, index]
            text = self.writing_.text(row)
            yield "\n" if index == line else text[len(before) :]
            before = text
            reader.step(index)

    # -- files ------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        return {
            "writing": self.writing_.to_dict(),
            "running": self.running_,
            "network_weight": self.network_weight_,
        }

    def extra_tensors(self) -> dict[str, Float32]:
        return pack(self.text_, len(self.writing_))

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Float32]) -> None:
        self.writing_ = Writing.from_dict(facts["writing"])
        self.cleaning = self.writing_.cleaning
        check_flags(running=facts["running"])
        self.running_ = bool(facts["running"])
        self.network_weight_ = float(facts["network_weight"])
        if not 0 <= self.network_weight_ <= 1:
            raise InputError(f"the network's weight is {self.network_weight_}")
        spec = self.members_.spec
        if spec.output_size != len(self.writing_) or spec.pooled or len(spec.inputs) != 1:
            raise InputError("the network does not fit the vocabulary")
        self._count(unpack(tensors, len(self.writing_)))


def _perplexity(logs: Float64) -> float:
    return float(np.exp(-logs.mean()))
