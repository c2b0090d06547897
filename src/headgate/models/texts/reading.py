"""What networks read of a text: for each token a word and its pieces, as numbers of one vocabulary.

A token's vector is the sum of the vectors of the token itself, of how it begins and ends, of how it
is written (case, digits), and of the pair that it makes with the next one: words that are rare in
the training texts share what they are made of with others (Bojanowski et al. 2017, arXiv
1607.04606). Chinese and other tokens of one character have the pairs and what follows; where all
training texts are equally long, as windows of DNA are, also the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_flags, check_size, shown
from ...data.cleaning import Cleaning
from ...data.samples import SampleTable
from ...data.tokens import Tokenizer, make_tokenizer, tokenizer_from_dict
from ...data.vocabulary import PADDING, UNKNOWN, Vocabulary
from ...errors import InputError
from ...training.callbacks import CallbackEnv

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

END = "\n"  # what the last token makes a pair with; never a token itself
MANY = 5000  # tokens in all: from here on pieces must be seen twice to count
MOST_PIECES = 100_000


@dataclass(frozen=True)
class TextReading:
    """How texts become tokens and tokens become numbers; learned from the training texts.

    Attributes:
        cleaning: of each text. Words are lower-cased last, so that case can be a piece.
        tokenizer: cuts it.
        vocabulary: of pieces.
        affixes: whether tokens are words, which have beginnings and ends.
        places: whether tokens are told by their place: all training texts had that many; else 0.
        max_length: longer texts are read at their head and their tail, half each.
    """

    cleaning: Cleaning
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    affixes: bool
    places: int
    max_length: int

    @classmethod
    def learn(
        cls, texts: Sequence[str], cleaning: Cleaning, tokens: str, max_length: int
    ) -> tuple[TextReading, list[list[str]]]:
        """The reading of training texts, and their tokens."""
        cased = replace(cleaning, lower_case=False)
        clean = [cased(text) for text in texts]
        tokenizer = make_tokenizer(tokens, clean)
        split = [tokenizer.split(text) for text in clean]
        words = [token for row in split for token in row if any(map(str.isalnum, token))]
        affixes = sum(map(len, words)) > 1.5 * len(words)
        lengths = {len(row) for row in split}
        places = lengths.pop() if len(lengths) == 1 and len(split) > 1 and not affixes else 0
        empty = cls(cleaning, tokenizer, Vocabulary(()), affixes, places, max_length)
        pieces = (
            piece for row in split for pieces in empty.pieces(empty.cut(row)[0]) for piece in pieces
        )
        many = sum(map(len, split)) >= MANY
        vocabulary = Vocabulary.of([pieces], min_count=2 if many else 1, max_size=MOST_PIECES)
        return replace(empty, vocabulary=vocabulary), split

    @property
    def columns(self) -> int:
        """Pieces of each token."""
        return 2 + (7 if self.affixes else 1) + (2 if self.places > 1 else 0)

    def split(self, text: str) -> list[str]:
        """The tokens of a text, as they are written."""
        return self.tokenizer.split(replace(self.cleaning, lower_case=False)(text))

    def cut(self, tokens: Sequence[str]) -> tuple[list[str], list[int]]:
        """The tokens that the networks read, and where in the text each stands."""
        count = len(tokens)
        if count <= self.max_length:
            return list(tokens), list(range(count))
        tail = self.max_length // 2
        kept = [*range(self.max_length - tail), *range(count - tail, count)]
        return [tokens[k] for k in kept], kept

    def lowered(self, tokens: Iterable[str]) -> list[str]:
        """Tokens in small letters, unless the cleaning leaves them alone."""
        return [token.lower() for token in tokens] if self.cleaning.lower_case else list(tokens)

    def pieces(self, tokens: Sequence[str]) -> list[list[str]]:
        """The names of the pieces of each token, the token itself first; a letter tells kinds."""
        words = self.lowered(tokens)
        following = [*words[1:], END]
        after = [*words[2:], END, END]
        rows = []
        for k, (token, word) in enumerate(zip(tokens, words, strict=True)):
            row = [f"w{word}", f"n{word} {following[k]}"]
            if self.affixes:
                row += [f"a{word[:3]}", f"b{word[:4]}", f"c{word[:5]}"]
                row += [f"x{word[-2:]}", f"y{word[-3:]}", f"z{word[-4:]}", f"s{_shape(token)}"]
            else:
                row.append(f"t{word} {following[k]} {after[k]}")
            if self.places > 1:
                row += [f"p{k}", f"q{k} {word}"]
            rows.append(row)
        return rows

    def numbers(self, tokens: Sequence[str]) -> Int32:
        """(T, columns) int32 of a text's tokens; one unknown token stands for a text without any.

        Pieces that are not known are padding, which adds nothing; a word that is not is unknown.
        """
        kept, _ = self.cut(tokens)
        if not kept:
            return self.blank()[None, :]
        rows = self.pieces(kept)
        flat = self.vocabulary.encode(piece for row in rows for piece in row)
        numbers = flat.reshape(len(rows), -1)
        numbers[:, 1:][numbers[:, 1:] == UNKNOWN] = PADDING
        return numbers

    def blank(self) -> Int32:
        """(columns,) a token of which nothing is known."""
        row = np.full(self.columns, PADDING, np.int32)
        row[0] = UNKNOWN
        return row

    def table(self, split: Sequence[Sequence[str]], codes: Int64 | None = None) -> SampleTable:
        """The sample table of texts that are cut into tokens, with class numbers as targets."""
        parts = [self.numbers(tokens) for tokens in split]
        lengths = np.array([len(part) for part in parts], np.int64)
        tokens = np.concatenate(parts)
        targets: dict[str, Any] = {}
        if codes is not None:
            targets = {
                "y": codes.astype(np.float32),
                "y_starts": np.arange(len(parts), dtype=np.int64),
                "y_stride": 1,
            }
        return SampleTable(
            x=np.empty((len(tokens), 0), np.float32),
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            tokens=tokens,
            **targets,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "cleaning": self.cleaning.to_dict(),
            "tokenizer": self.tokenizer.to_dict(),
            "vocabulary": self.vocabulary.to_dict(),
            "affixes": self.affixes,
            "places": self.places,
            "max_length": self.max_length,
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> TextReading:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: a fact cannot be.
        """
        check_flags(affixes=facts["affixes"])
        return cls(
            Cleaning.from_dict(facts["cleaning"]),
            tokenizer_from_dict(facts["tokenizer"]),
            Vocabulary.from_dict(facts["vocabulary"]),
            facts["affixes"],
            check_size("places", facts["places"], minimum=0, maximum=1 << 31),
            check_size("max_length", facts["max_length"], minimum=2),
        )


def _shape(token: str) -> str:
    """How a token is written: small, Capital, ALL CAPITALS, a number, or the mark that it is."""
    if token.isupper():
        return "A" if len(token) > 1 else "C"
    if token[0].isupper():
        return "C"
    if token[0].isdigit():
        return f"d{min(len(token), 5)}"
    return "l" if token[0].isalpha() else token[0]


class WordDropout:
    """Hides whole words of training texts from a member, others in every epoch.

    What is hidden reads as an unknown word (Iyyer et al. 2015): a network that cannot count on any
    one word learns from all of them. Used as ``part`` and as a callback of ``train_members``: the
    engine reads a table's tokens where they lie, so they are written over between epochs.

    Args:
        table: of all training texts.
        blank: (K,) what a hidden word reads as.
        rate: share of the words that is hidden.
    """

    def __init__(self, table: SampleTable, blank: Int32, rate: float) -> None:
        assert table.tokens is not None
        self._table, self._blank, self._rate = table, blank, rate
        self._seen = table.tokens
        self._generator = np.random.default_rng(0)

    def part(self, rows: Int64, seed: int) -> SampleTable:
        """What a member learns from, with tokens of its own."""
        assert self._table.tokens is not None
        self._generator = np.random.default_rng(seed)
        self._seen = self._table.tokens.copy()
        self._draw()
        return replace(self._table.take(rows), tokens=self._seen)

    def __call__(self, env: CallbackEnv) -> None:
        self._draw()

    def _draw(self) -> None:
        assert self._table.tokens is not None
        hidden = self._generator.random(len(self._seen)) < self._rate
        np.copyto(self._seen, self._table.tokens)
        self._seen[hidden] = self._blank


def check_texts(X: Any, name: str = "X") -> list[str]:
    """``X`` as a list of texts.

    Raises:
        InputError: it is one text, empty, or holds something else than texts, by place.
    """
    if isinstance(X, (str, bytes, Mapping)) or not isinstance(X, Iterable):
        raise InputError(
            f"{name} must be a list of texts, got {shown(X)}; put a single text into a list: [text]"
        )
    texts = list(X)
    if not texts:
        raise InputError(f"{name} is empty; pass one text or more")
    for k, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"{name}[{k}] must be a text, got {shown(text)} of type {type(text).__name__}; "
                "pass '' where there is none"
            )
    return [str(text) for text in texts]
