"""Text for a language model: lines as numbers of tokens, and numbers as text again."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_size, shown
from ...data.cleaning import Cleaning
from ...data.tokens import CJK, SUBWORDS, Tokenizer, make_tokenizer, tokenizer_from_dict
from ...data.vocabulary import UNKNOWN, Vocabulary
from ...errors import HeadgateWarning, InputError

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

LINE = "<line>"  # begins and ends lines: what a line's first token follows, and its end
FEW_TYPES = 500  # an alphabet: even what occurs once belongs to it
_LEAST_HELD, _MOST_HELD = 200, 20000  # tokens held out
_FEW = 50  # tokens in all: worth a word
_EXACT = 1 << 24  # integers below it are exact in float32


@dataclass(frozen=True)
class Sequences:
    """Texts as numbers, end to end.

    Attributes:
        tokens: (S,) int32. Each text begins with the mark of a line, which is not predicted.
        starts: (N,) int64, where the texts begin.
    """

    tokens: Int32
    starts: Int64

    @property
    def lengths(self) -> Int64:
        """(N,) tokens of each text, the mark that it begins with included."""
        return np.diff(np.append(self.starts, len(self.tokens)))

    @property
    def predicted(self) -> npt.NDArray[np.bool_]:
        """(S,) which tokens are predicted: all but those that texts begin with."""
        mask = np.ones(len(self.tokens), np.bool_)
        mask[self.starts] = False
        return mask

    def take(self, which: npt.ArrayLike) -> Sequences:
        """Some of the texts."""
        ends = self.starts + self.lengths
        return laid([self.tokens[self.starts[k] : ends[k]] for k in np.asarray(which)])

    def followed_by(self, other: Sequences) -> Sequences:
        """These texts and then those."""
        starts = np.concatenate([self.starts, other.starts + len(self.tokens)])
        return Sequences(np.concatenate([self.tokens, other.tokens]), starts)


def laid(parts: Sequence[Int32]) -> Sequences:
    """Texts as numbers laid end to end."""
    lengths = [len(part) for part in parts]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return Sequences(np.concatenate(parts).astype(np.int32), starts)


def documents(corpus: Any, name: str = "the corpus") -> tuple[list[str], bool]:
    """The texts of a corpus, and whether it is one running text.

    Raises:
        InputError: it is neither a text nor a list of texts, or holds nothing.
    """
    if isinstance(corpus, str):
        texts, running = [corpus], True
    elif isinstance(corpus, (bytes, Mapping)) or not isinstance(corpus, Iterable):
        raise InputError(
            f"{name} must be a text or a list of texts, got {shown(corpus)} of type "
            f"{type(corpus).__name__}"
        )
    else:
        texts, running = list(corpus), False
    for k, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"{name} must hold texts, but text {k} is {shown(text)} of type "
                f"{type(text).__name__}; drop missing texts first"
            )
    if not any(text.strip() for text in texts):
        raise InputError(f"{name} is empty: there is no text in it to learn from or to measure")
    return texts, running


class Writing:
    """How texts become numbers and numbers texts.

    Attributes:
        tokenizer, vocabulary: in use; the mark ``LINE`` stands between lines.
        cleaning: of each line before it is cut into tokens; None for Unicode's NFC alone.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocabulary: Vocabulary, cleaning: Cleaning | None
    ) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.cleaning = cleaning
        self.line = vocabulary.mark(LINE)

    @classmethod
    def learn(
        cls,
        texts: Sequence[str],
        unit: str,
        *,
        min_count: int | None,
        max_size: int,
        cleaning: Cleaning | None,
    ) -> Writing:
        """The tokenizer and vocabulary of texts.

        Args:
            unit: a kind of tokenizer; "auto" takes characters for Chinese and Japanese.
            min_count: tokens seen less often are unknown; None for 2, or 1 where there are few
                different tokens.
            max_size: most tokens.
        """
        lines = [line for text in texts for line in _lines(text, cleaning)]
        if unit == "auto" and _mostly_cjk(lines):
            unit = "char"
        tokenizer = make_tokenizer(unit, lines, size=min(SUBWORDS, max_size))
        cut = [tokenizer.split(line) for line in lines]
        if not any(cut):
            raise InputError("the corpus is empty: no token is left of it after cleaning")
        if min_count is None:
            types = len({token for tokens in cut for token in tokens})
            min_count = 1 if types <= FEW_TYPES else 2
        vocabulary = Vocabulary.of(cut, min_count=min_count, max_size=max_size, marks=[LINE])
        return cls(tokenizer, vocabulary, cleaning)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def sequences(self, texts: Sequence[str], running: bool) -> Sequences:
        """Texts as numbers. Unless the text is a running one, its end is marked too."""
        return laid([self._encode(text, not running) for text in texts])

    def prompt(self, text: Any) -> list[int]:
        """The numbers of a text to go on from, the mark of a line first.

        A character or word that is not known is read as the known one that differs in width or
        case alone, where there is one; a punctuation mark in the width that is more frequent.
        """
        if not isinstance(text, str):
            raise InputError(f"a prompt must be a text, got {shown(text)}; '' begins a new line")
        return [int(i) for i in self._encode(text, False, self._nearest)]

    def text(self, indices: Iterable[int]) -> str:
        """The text of numbers, the mark of a line as a line's end."""
        lines: list[list[str]] = [[]]
        for index in indices:
            if index == self.line:
                lines.append([])
            else:
                lines[-1].append(self.vocabulary.names[index])
        return "\n".join(self.tokenizer.join(line) for line in lines)

    def name(self, index: int) -> str:
        """One token as a text."""
        return "\n" if index == self.line else self.vocabulary.names[index]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "tokenizer": self.tokenizer.to_dict(),
            "vocabulary": self.vocabulary.to_dict(),
            "cleaning": None if self.cleaning is None else self.cleaning.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Any) -> Writing:
        """What :meth:`to_dict` wrote."""
        cleaning = content["cleaning"]
        vocabulary = Vocabulary.from_dict(content["vocabulary"])
        if vocabulary.marks != (LINE,):
            raise InputError(f"the vocabulary must have the mark {LINE}")
        return cls(
            tokenizer_from_dict(content["tokenizer"]),
            vocabulary,
            None if cleaning is None else Cleaning.from_dict(cleaning),
        )

    def _encode(self, text: str, ended: bool, known: Any = None) -> Int32:
        mark = np.array([self.line], np.int32)
        parts = []
        for line in _lines(text, self.cleaning):
            tokens = self.tokenizer.split(line)
            if known is not None:
                tokens = [known(token) for token in tokens]
            parts += [mark, self.vocabulary.encode(tokens)]
        return np.concatenate([*parts, mark] if ended else parts)

    def _nearest(self, token: str) -> str:
        names = self.vocabulary
        wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in token)
        narrow = unicodedata.normalize("NFKC", token)
        if len(token) == 1 and unicodedata.category(token)[0] == "P":
            known = [form for form in (token, wide, narrow) if form in names]
            return min(known, key=names.names.index, default=token)  # the most frequent first
        if token in names:
            return token
        forms = (narrow, wide, token.lower(), token.capitalize())
        return next((form for form in forms if form in names), token)


def unknown_share(sequences: Sequences) -> float:
    """Share of the predicted tokens that the vocabulary does not have."""
    return float(np.mean(sequences.tokens[sequences.predicted] == UNKNOWN))


# -- what is held out -----------------------------------------------------------------------


def hold_out(given: Sequences, fraction: float) -> tuple[Sequences, Sequences | None]:
    """What is learned from, and what is held out: every k-th of many texts, else each one's end."""
    tokens = int(given.predicted.sum())
    if fraction and tokens < _FEW:
        warnings.warn(
            f"{tokens} tokens are too few to hold some out, so training is not stopped at its best "
            "and nothing is measured; add text",
            HeadgateWarning,
            stacklevel=3,
        )
    fraction = min(fraction, _MOST_HELD / max(tokens, 1))
    if fraction * tokens < _LEAST_HELD:
        return given, None
    count = len(given.starts)
    every = round(1 / fraction)
    if count >= 10 * every:
        place = np.arange(count)
        held = place % every == every // 2
        return given.take(place[~held]), given.take(place[held])
    heads, tails = [], []
    for start, length in zip(given.starts, given.lengths, strict=True):
        cut = start + length - int(fraction * length)
        heads.append(given.tokens[start:cut])
        if cut < start + length:  # the token before the cut is what the tail begins with
            tails.append(given.tokens[cut - 1 : start + length])
    return laid(heads), laid(tails)


# -- in a model file ------------------------------------------------------------------------


def pack(sequences: Sequences, vocabulary: int) -> dict[str, Float32]:
    """Sequences as float32 arrays: as many tokens in one number as it holds exactly."""
    digits = _digits(vocabulary)
    padded = np.zeros((-(-len(sequences.tokens) // digits), digits), np.int64)
    padded.reshape(-1)[: len(sequences.tokens)] = sequences.tokens
    numbers = padded @ vocabulary ** np.arange(digits, dtype=np.int64)
    lengths = np.stack(np.divmod(sequences.lengths, _EXACT), axis=1)
    return {"text": numbers.astype(np.float32), "lengths": lengths.astype(np.float32)}


def unpack(tensors: Mapping[str, Float32], vocabulary: int) -> Sequences:
    """The inverse of :func:`pack`.

    Raises:
        InputError: the arrays are not what it makes.
    """
    wrong = InputError("the training text in the model file is no text of its vocabulary")
    numbers, pairs = tensors["text"], tensors["lengths"]
    if numbers.ndim != 1 or pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise wrong
    for array in (numbers, pairs):
        if not (np.isfinite(array).all() and (array >= 0).all() and (array < _EXACT).all()):
            raise wrong
    digits = _digits(vocabulary)
    lengths = pairs.astype(np.int64) @ np.array([_EXACT, 1])
    powers = vocabulary ** np.arange(digits, dtype=np.int64)
    tokens = (numbers.astype(np.int64)[:, None] // powers % vocabulary).reshape(-1)
    total = int(lengths.sum())
    if (lengths < 1).any() or not len(tokens) - digits < total <= len(tokens):
        raise wrong
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return Sequences(tokens[:total].astype(np.int32), starts)


def _digits(vocabulary: int) -> int:
    check_size("the vocabulary", vocabulary, minimum=2, maximum=_EXACT)
    digits = 1
    while vocabulary ** (digits + 1) <= _EXACT:
        digits += 1
    return digits


# -- lines ----------------------------------------------------------------------------------


def _lines(text: str, cleaning: Cleaning | None) -> Iterator[str]:
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if cleaning is not None:
            yield cleaning(line)
        else:
            yield line if line.isascii() else unicodedata.normalize("NFC", line)


def _mostly_cjk(lines: Iterable[str]) -> bool:
    import re

    cjk = letters = 0
    pattern = re.compile(f"[{CJK}]")
    for line, _ in zip(lines, range(1000), strict=False):
        cjk += len(pattern.findall(line))
        letters += sum(map(str.isalpha, line))
    return cjk > letters / 2
