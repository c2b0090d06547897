"""Texts cut into tokens and put together again: words, characters, jieba's words, subwords."""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from ..checks import check_choice, check_size, shown
from ..errors import InputError
from ..extras import require
from .vocabulary import LONGEST, UNKNOWN_NAME

KINDS = ("auto", "word", "char", "jieba", "subword")
SUBWORDS = 8000  # pieces that "subword" learns unless told otherwise

# Characters of scripts that part no words: Han, Kana. Hangul has blanks between its words.
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
_CJK = re.compile(f"[{CJK}]")
# Runs of this many letters are no words, and tell DNA and scripts such as Thai from the rest.
_RUN = re.compile(f"(?:(?![{CJK}])[^\\W\\d_]){{20,}}")
_LETTERS = re.compile(r"[^\W\d_]+")
_LOOKED_AT = 1000  # texts by which "auto" chooses


def has_cjk(text: str) -> bool:
    """Whether a text has Chinese or Japanese characters."""
    return _CJK.search(text) is not None


@runtime_checkable
class Tokenizer(Protocol):
    """Cuts texts into tokens and joins tokens to texts."""

    @property
    def kind(self) -> str:
        """One of ``KINDS``, but "auto"."""

    def split(self, text: str) -> list[str]:
        """The tokens of a text, none of them blank; [] for a text without any."""

    def join(self, tokens: Iterable[str]) -> str:
        """The text of tokens, as near to the original as the tokens say."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, for ``tokenizer_from_dict``."""


def make_tokenizer(kind: str, texts: Iterable[str], *, size: int = SUBWORDS) -> Tokenizer:
    """The tokenizer of a kind for these texts; only "auto" and "subword" look at them.

    "auto" takes characters where most letters stand in runs too long for words (DNA), else words,
    in which each Chinese character stands for itself.

    Args:
        kind: "auto", "word", "char", "jieba" or "subword".
        texts: those that the model learns from, cleaned.
        size: most pieces of "subword".

    Raises:
        InputError: another kind, or the package that it needs is not installed.
    """
    kind = check_choice("the kind of tokens", kind, KINDS)
    if kind == "auto":
        kind = _kind_for(texts)
    if kind == "jieba":
        _jieba()  # whether it is there is said at once
    if kind == "subword":
        return SubwordTokenizer.learn(texts, size)
    return _plain()[kind]()


def _plain() -> dict[str, Callable[[], Tokenizer]]:
    """The kinds that learn nothing."""
    return {"word": WordTokenizer, "char": CharTokenizer, "jieba": JiebaTokenizer}


def _kind_for(texts: Iterable[str]) -> str:
    letters = long = 0
    for text, _ in zip(texts, range(_LOOKED_AT), strict=False):
        text = text[:10000]
        letters += sum(map(len, _LETTERS.findall(text)))
        long += sum(map(len, _RUN.findall(text)))
    return "char" if long > letters / 2 else "word"


def tokenizer_from_dict(content: Any) -> Tokenizer:
    """The tokenizer that ``to_dict`` described.

    Raises:
        InputError: it is something else, or needs a package that is not installed.
    """
    kind = content.get("kind") if isinstance(content, dict) else None
    plain = _plain()
    if isinstance(kind, str) and kind in plain and set(content) == {"kind"}:
        return plain[kind]()
    if kind == "subword":
        return SubwordTokenizer.from_dict(content)
    raise InputError(f"a tokenizer must be of a kind word, char, jieba, subword; {shown(content)}")


# -- words and characters ------------------------------------------------------------------


@lru_cache(maxsize=1)
def _words() -> re.Pattern[str]:
    """A token, tried from the left: a marker, a clitic, a number, a word, a flag, anything else.

    A word holds letters, digits, the marks that change letters, and apostrophes between them. What
    is no part of one stands for itself, an emoji with all that is joined to it.
    """
    marks = "".join(
        c for c in map(chr, range(0x300, 0x10000))
        if unicodedata.category(c)[0] == "M" and not "\ufe00" <= c <= "\ufe0f" and c != "\u20e3"
    )  # fmt: skip
    letter = f"(?:(?![{CJK}_])[\\w{marks}\u200c\u200d])"
    changed = "[\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]*"
    return re.compile(
        r"<[A-Za-z]{1,16}>"
        r"|(?<!\S)['’](?:s|m|d|t|ll|re|ve)(?!\w)"  # texts cut before: it 's
        r"|\d+(?:[.,]\d+)+"
        f"|{letter}+(?:['’]{letter}+)*"
        "|[\U0001f1e6-\U0001f1ff]{2}"
        f"|\\S{changed}(?:\u200d\\S{changed})*",
        re.IGNORECASE,
    )


_WIDE = re.compile(f"[{CJK}\u2014\u2018-\u201d\u2026\u3000-\u303f\uff00-\uff65]")
_CLOSING = frozenset(".,!?;:)]}%…")
_OPENING = frozenset("([{$#@")
_BETWEEN = frozenset("-/_–~")


def _join_words(tokens: Iterable[str]) -> str:
    """Blanks as a typist sets them: none beside Chinese characters or before closing marks."""
    parts: list[str] = []
    before, quotes = "", 0
    for token in tokens:
        opens = token == '"' and quotes % 2 == 0
        closes = token == '"' and not opens
        tight = (
            not before
            or bool(_WIDE.match(before[-1]) or _WIDE.match(token[:1]))
            or token in _CLOSING
            or closes
            or token in _BETWEEN
            or before in _BETWEEN
            or before in _OPENING
            or token[:1] in "'’"
            or (before == '"' and quotes % 2 == 1)
        )
        parts.append(token if tight else f" {token}")
        quotes += token == '"'
        before = token or before
    return "".join(parts)


@dataclass(frozen=True)
class WordTokenizer:
    """Words, numbers, single marks; each Chinese or Japanese character for itself."""

    kind = "word"

    def split(self, text: str) -> list[str]:
        return _words().findall(text)

    def join(self, tokens: Iterable[str]) -> str:
        return _join_words(tokens)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}


@dataclass(frozen=True)
class CharTokenizer:
    """Every character, blanks too."""

    kind = "char"

    def split(self, text: str) -> list[str]:
        return list(text)

    def join(self, tokens: Iterable[str]) -> str:
        return "".join(tokens)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}


# -- jieba ---------------------------------------------------------------------------------


def _import(name: str, kind: str, instead: str) -> Any:
    with warnings.catch_warnings():  # jieba's patterns and its use of pkg_resources
        warnings.simplefilter("ignore")
        return require(name, "text", f"the kind of tokens {kind!r}", f"choose {instead}")


@lru_cache(maxsize=1)
def _jieba() -> Any:
    """jieba's cutter with its own dictionary.

    Its ``initialize`` would write a cache into the folder for temporary files and log to stderr,
    so the dictionary is read by what that calls.
    """
    fresh = "jieba" not in sys.modules
    jieba = _import("jieba", "jieba", "'word', which takes Chinese character by character")
    if fresh:
        jieba.setLogLevel("WARNING")
    cutter = jieba.Tokenizer()
    cutter.FREQ, cutter.total = cutter.gen_pfdict(cutter.get_dict_file())
    cutter.initialized = True
    return cutter


@dataclass(frozen=True)
class JiebaTokenizer:
    """Chinese words by jieba's dictionary; blanks part tokens and are none."""

    kind = "jieba"

    def split(self, text: str) -> list[str]:
        return [token for token in _jieba().lcut(text) if not token.isspace()]

    def join(self, tokens: Iterable[str]) -> str:
        return _join_words(tokens)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}


# -- subwords ------------------------------------------------------------------------------

_BLANK = "▁"  # stands for a blank within pieces, as in SentencePiece


@dataclass(frozen=True)
class SubwordTokenizer:
    """Byte-pair encoding (Sennrich et al. 2016), learnt from the texts by ``tokenizers``.

    Args:
        alphabet: the single characters among the pieces.
        merges: which two pieces become one, the first to be tried first.
    """

    alphabet: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    _live: list[Any] = field(default_factory=list, repr=False, compare=False)

    kind = "subword"

    @classmethod
    def learn(cls, texts: Iterable[str], size: int = SUBWORDS) -> SubwordTokenizer:
        """Pieces of texts, at most ``size`` of them.

        Raises:
            InputError: ``tokenizers`` is not installed.
        """
        import json

        size = check_size("the number of subwords", size, minimum=10)
        library = _import("tokenizers", "subword", "'word' or 'char'")
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=[UNKNOWN_NAME],
            limit_alphabet=max(size // 2, 10),
            max_token_length=LONGEST,
            show_progress=False,
        )
        live = _assemble(library, library.models.BPE(unk_token=UNKNOWN_NAME))
        live.train_from_iterator(texts, trainer)
        model = json.loads(live.to_str())["model"]
        merges = tuple(
            (pair[0], pair[1]) for pair in (m.split(" ") if isinstance(m, str) else m
                                            for m in model["merges"])
        )  # fmt: skip
        return cls(tuple(sorted(p for p in model["vocab"] if len(p) == 1)), merges)

    def split(self, text: str) -> list[str]:
        return list(self._tokenizer().encode(text).tokens) if text else []

    def join(self, tokens: Iterable[str]) -> str:
        return "".join(tokens).replace(_BLANK, " ").removeprefix(" ")

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "alphabet": list(self.alphabet),
            "merges": [list(pair) for pair in self.merges],
        }

    @classmethod
    def from_dict(cls, content: Any) -> SubwordTokenizer:
        wrong = InputError(
            f"subwords must have an alphabet and merges of two pieces each, got {shown(content)}"
        )
        if not isinstance(content, dict) or set(content) != {"kind", "alphabet", "merges"}:
            raise wrong
        alphabet, merges = content["alphabet"], content["merges"]
        if not (_are_texts(alphabet) and isinstance(merges, list)):
            raise wrong
        if not all(_are_texts(pair) and len(pair) == 2 for pair in merges):
            raise wrong
        known = {UNKNOWN_NAME, *alphabet}
        for left, right in merges:
            if left not in known or right not in known:
                raise wrong
            known.add(left + right)
        return cls(tuple(alphabet), tuple((left, right) for left, right in merges))

    def _tokenizer(self) -> Any:
        if not self._live:
            library = _import("tokenizers", "subword", "'word' or 'char'")
            pieces = dict.fromkeys(
                [UNKNOWN_NAME, *self.alphabet, *(left + right for left, right in self.merges)]
            )
            numbers = {piece: number for number, piece in enumerate(pieces)}
            model = library.models.BPE(
                vocab=numbers, merges=list(self.merges), unk_token=UNKNOWN_NAME
            )
            self._live.append(_assemble(library, model))
        return self._live[0]


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) and v for v in values)


def _assemble(library: Any, model: Any) -> Any:
    """A tokenizer whose pieces cross no blank, no line's end and no punctuation."""
    before = library.pre_tokenizers
    live = library.Tokenizer(model)
    live.pre_tokenizer = before.Sequence(
        [
            before.Metaspace(replacement=_BLANK, prepend_scheme="always"),
            before.Split("\n", "isolated"),
            before.Punctuation("isolated"),
        ]
    )
    return live


def split_all(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    """The tokens of each text."""
    return [tokenizer.split(text) for text in texts]
