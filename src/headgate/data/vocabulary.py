"""Tokens as numbers: the most frequent ones, with 0 for padding and 1 for all others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import MAX_SIZE, check_size, shown
from ..errors import InputError

PADDING, UNKNOWN = 0, 1
PADDING_NAME, UNKNOWN_NAME = "<pad>", "<unk>"
LONGEST = 100  # characters of a token; longer ones are no words, and would fill the model file

_SURROGATE = re.compile("[\ud800-\udfff]")  # cannot be written to a file


class Vocabulary:
    """Which token has which index: padding 0, unknown 1, then marks, then tokens by frequency.

    The names of padding, unknown and marks are no tokens: a text that holds "<pad>" reads as
    unknown there, never as padding.

    Args:
        tokens: distinct tokens, the most frequent first.
        marks: names of indices that stand for no token, such as the end of a text.

    Attributes:
        names: (V,) the name of each index.
        marks: those of the marks, a part of ``names``.

    Raises:
        InputError: a token or mark is no text, stands twice, or there are too many.
    """

    def __init__(self, tokens: Iterable[str], marks: Sequence[str] = ()) -> None:
        self.marks = tuple(marks)
        self.names = (PADDING_NAME, UNKNOWN_NAME, *self.marks, *tokens)
        check_size("the number of tokens", len(self.names), maximum=MAX_SIZE)
        for name in self.names:
            if not isinstance(name, str):
                raise InputError(f"a vocabulary holds texts, got {shown(name)}")
        all_indices = {name: index for index, name in enumerate(self.names)}
        if len(all_indices) != len(self.names):
            twice = next(name for name, count in Counter(self.names).items() if count > 1)
            raise InputError(f"the token {shown(twice)} stands twice in the vocabulary")
        first = 2 + len(self.marks)
        self._marks = {name: all_indices[name] for name in self.marks}
        self._tokens = {name: all_indices[name] for name in self.names[first:]}

    @classmethod
    def of(
        cls,
        texts: Iterable[Iterable[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        marks: Sequence[str] = (),
    ) -> Vocabulary:
        """The vocabulary of texts that are cut into tokens; equal counts go by alphabet.

        Args:
            texts: the tokens of each text.
            min_count: tokens seen less often are unknown.
            max_size: most indices, padding, unknown and marks included.
            marks: names of further indices, from 2 on.
        """
        check_size("min_count", min_count)
        if max_size is not None:
            check_size("max_size", max_size, minimum=2 + len(marks), maximum=MAX_SIZE)
        counts: Counter[str] = Counter()
        for tokens in texts:
            counts.update(tokens)
        reserved = {PADDING_NAME, UNKNOWN_NAME, *marks}
        found = [
            (-count, token)
            for token, count in counts.items()
            if count >= min_count and token not in reserved and _storable(token)
        ]
        room = (max_size or MAX_SIZE) - 2 - len(marks)
        return cls([token for _, token in sorted(found)[:room]], marks)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, token: object) -> bool:
        return token in self._tokens

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Vocabulary)
        return same and (self.names, self.marks) == (other.names, other.marks)  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self)}: {shown(list(self.names))}"

    def mark(self, name: str) -> int:
        """The index of a mark."""
        return self._marks[name]

    def encode(self, tokens: Iterable[str]) -> npt.NDArray[np.int32]:
        """Indices (T,) int32 of tokens; 1 for those that are not known."""
        get = self._tokens.get
        return np.array([get(token, UNKNOWN) for token in tokens], np.int32)

    def decode(self, indices: npt.ArrayLike) -> list[str]:
        """The name of each of the indices (T,), those of padding, unknown and marks too.

        Raises:
            InputError: an index that the vocabulary does not have.
        """
        values = np.asarray(indices).reshape(-1)
        if len(values) and not np.issubdtype(values.dtype, np.integer):
            raise InputError(f"indices of tokens are integers, got {values.dtype}")
        if len(values) and not (values.min() >= 0 and values.max() < len(self)):
            wrong = values.min() if values.min() < 0 else values.max()
            raise InputError(
                f"there is no token {wrong}: the vocabulary has the indices 0 to {len(self) - 1}"
            )
        return [self.names[index] for index in values]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "marks": list(self.marks),
            "tokens": list(self.names[2 + len(self.marks) :]),
        }

    @classmethod
    def from_dict(cls, content: Any) -> Vocabulary:
        """What :meth:`to_dict` wrote.

        Raises:
            InputError: it is something else.
        """
        right = isinstance(content, dict) and set(content) == {"marks", "tokens"}
        if not right or not all(isinstance(part, list) for part in content.values()):
            raise InputError(
                f"a vocabulary must have two lists, marks and tokens; got {shown(content)}"
            )
        return cls(content["tokens"], content["marks"])


def _storable(token: str) -> bool:
    return len(token) <= LONGEST and (token.isascii() or not _SURROGATE.search(token))
