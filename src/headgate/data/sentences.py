"""Sentences of tokens and their tags as people pass them, checked, and as samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import shown
from ..errors import InputError
from .samples import SampleTable
from .token_features import TokenFeatures
from .tokens import WordTokenizer, has_cjk

Int64 = npt.NDArray[np.int64]
Sentences = list[list[str]]
Tags = list[list[Any]]


def as_sentences(X: Any) -> Sentences:
    """``X`` as lists of texts; refuses by index what is none."""
    if isinstance(X, (str, bytes, Mapping)) or not isinstance(X, Iterable):
        raise InputError(f"X must be a list of sentences, each a list of tokens, got {shown(X)}")
    found = []
    for k, sentence in enumerate(X):
        if isinstance(sentence, (str, bytes, Mapping)) or not isinstance(sentence, Iterable):
            raise InputError(
                f"X[{k}] must be a list of tokens, got {shown(sentence)}; split the text into "
                "words first"
            )
        tokens = list(sentence)
        for t, token in enumerate(tokens):
            if not isinstance(token, str):
                hint = "; decode it first" if isinstance(token, bytes) else ""
                raise InputError(f"X[{k}][{t}] must be a text, got {shown(token)}{hint}")
        found.append(tokens)
    return found


def as_tagged(X: Any, y: Any) -> tuple[Sentences, Tags]:
    """Sentences and their tags; those without tokens are left out."""
    sentences = as_sentences(X)
    if y is None:
        raise InputError("y is None; pass a list of tags for each sentence")
    if isinstance(y, (str, bytes, Mapping)) or not isinstance(y, Iterable):
        raise InputError(f"y must be a list of lists of tags, got {shown(y)}")
    tags = []
    for k, item in enumerate(y):
        if isinstance(item, (str, bytes, Mapping)) or not isinstance(item, Iterable):
            raise InputError(
                f"y[{k}] must be a list of tags, one for each token, got {shown(item)}"
            )
        tags.append([tag.item() if isinstance(tag, np.generic) else tag for tag in item])
    if len(tags) != len(sentences):
        raise InputError(
            f"X has {len(sentences)} sentences, but y has {len(tags)}; there must be as many"
        )
    for k, (tokens, own) in enumerate(zip(sentences, tags, strict=True)):
        if len(tokens) != len(own):
            raise InputError(
                f"X[{k}] has {len(tokens)} tokens, but y[{k}] has {len(own)} tags; there must be "
                "one for each"
            )
    full = [k for k, tokens in enumerate(sentences) if tokens]
    if not full:
        raise InputError("X has no tokens; pass sentences, each a list of tokens")
    return [sentences[k] for k in full], [tags[k] for k in full]


def words_of(text: str) -> list[str]:
    """The tokens of a sentence: Chinese words where blanks part them, else its characters."""
    pieces, tokenizer = text.split(), WordTokenizer()
    is_cut = len(pieces) > 1
    return [
        token
        for piece in pieces
        for token in ([piece] if is_cut and has_cjk(piece) else tokenizer.split(piece))
    ]


def flat(tags: Tags) -> list[Any]:
    """The tags of all sentences in a row."""
    return list(itertools.chain.from_iterable(tags))


def sentence_table(
    features: TokenFeatures, sentences: Sentences, codes: Int64 | None
) -> SampleTable:
    """Sentences as samples; sample k's tags begin at ``y_starts[k]`` of all tags in a row."""
    lengths = np.array([len(tokens) for tokens in sentences], np.int64)
    starts = np.cumsum(lengths) - lengths
    tokens = features.encode(sentences)
    return SampleTable(
        x=np.empty((len(tokens), 0), np.float32),
        starts=starts,
        lengths=lengths,
        y=None if codes is None else codes.astype(np.float32),
        y_starts=None if codes is None else starts,
        y_stride=0 if codes is None else 1,
        y_steps="every",
        tokens=tokens,
    )
