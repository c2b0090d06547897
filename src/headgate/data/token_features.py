"""What a tagger sees of a token: the word, its shape, its affixes and its characters, as numbers.

All features share one vocabulary, so that a table of vectors with one row for each is enough: an
embedding adds up the rows of a token. A feature that is rare in training is unknown there too, so
that the row of an unknown word, or of an unknown ending, is learned from the rare ones.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .vocabulary import LONGEST, Vocabulary

Int32 = npt.NDArray[np.int32]

CHARACTERS = 8  # of a word that are seen one by one
SHAPE_LENGTH = 12

_RUNS = re.compile(r"(.)\1+", re.DOTALL)


def shape(word: str) -> str:
    """The word with X for capitals, x for small letters, d for digits and c for letters of scripts
    without case; runs are cut to two: ``iPhone12`` -> ``xXxxdd``."""
    marks = (
        "X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else
        "c" if c.isalpha() else c
        for c in word[:LONGEST]
    )  # fmt: skip
    return _RUNS.sub(r"\1\1", "".join(marks))[:SHAPE_LENGTH]


# Each kind of feature, and how it is read off a word that is in Unicode's form NFKC.
KINDS: dict[str, Callable[[str], str]] = {
    "word": str.lower,
    "shape": shape,
    "first": lambda word: word[:1],
    "last": lambda word: word[-1:],
    "first2": lambda word: word[:2].lower(),
    "last2": lambda word: word[-2:].lower(),
    "first3": lambda word: word[:3].lower(),
    "last3": lambda word: word[-3:].lower(),
}


class TokenFeatures:
    """Features of tokens as rows of one table: row 0 is padding, each kind has its unknown.

    Args:
        vocabulary: the features by name (``last2=ed``), with the kinds as its marks.

    Raises:
        InputError: it is the vocabulary of something else.
    """

    columns = len(KINDS) + CHARACTERS

    def __init__(self, vocabulary: Vocabulary) -> None:
        if vocabulary.marks != tuple(KINDS):
            raise InputError(
                f"the features of tokens must be of the kinds {list(KINDS)}, got "
                f"{list(vocabulary.marks)}"
            )
        self.vocabulary = vocabulary
        self._known: dict[str, list[int]] = {}

    @classmethod
    def of(
        cls, sentences: Iterable[Iterable[str]], *, min_count: int = 1, max_size: int | None = None
    ) -> TokenFeatures:
        """The features that stand ``min_count`` times or more in sentences of tokens.

        ``max_size`` is the most rows, the frequent ones first.
        """
        names = (_names(token) for sentence in sentences for token in sentence)
        return cls(Vocabulary.of(names, min_count=min_count, max_size=max_size, marks=tuple(KINDS)))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, sentences: Iterable[Sequence[str]]) -> Int32:
        """(S, columns) int32, the features of every token, sentence after sentence."""
        rows = [self._row(token) for token in itertools.chain.from_iterable(sentences)]
        return np.array(rows, np.int32).reshape(len(rows), self.columns)

    def _row(self, token: str) -> list[int]:
        row = self._known.get(token)
        if row is None:
            names = _names(token)
            row = [
                self.vocabulary.mark(kind) if index == 1 else int(index)
                for kind, index in zip(
                    KINDS, self.vocabulary.encode(names[: len(KINDS)]), strict=True
                )
            ]
            characters = self.vocabulary.encode(names[len(KINDS) :])
            row += [int(index) for index in characters]
            row += [0] * (self.columns - len(row))
            if len(self._known) < 1 << 20:  # a server's memory must not grow without end
                self._known[token] = row
        return row

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return self.vocabulary.to_dict()

    @classmethod
    def from_dict(cls, content: Any) -> TokenFeatures:
        """What :meth:`to_dict` wrote.

        Raises:
            InputError: it is something else.
        """
        return cls(Vocabulary.from_dict(content))


def _names(token: str) -> list[str]:
    """One name for each kind, then one for each of the first characters."""
    word = unicodedata.normalize("NFKC", token)
    names = [f"{kind}={read(word)}" for kind, read in KINDS.items()]
    return names + [f"character={c}" for c in word[:CHARACTERS].lower()[:CHARACTERS]]
