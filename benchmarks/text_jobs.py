"""Training on text: sentences of rt_polarity, and characters of tinyshakespeare.

The files lie in the folder that HEADGATE_DATA names, or in ../shared/data beside the checkout.
Every peer takes the same batches in the same order from the same first weights, so that losses can
be compared. Shape letters as in jobs.py; V is the vocabulary.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jobs import ROOT, Array, Weights
from numpy.typing import NDArray

Tokens = NDArray[np.int64]

SENTENCE_HIDDEN, SENTENCE_EMBEDDING, SENTENCE_BATCH, SENTENCE_RATE = 64, 64, 32, 1e-3
# as LanguageModel trains with its defaults
CHARACTER_HIDDEN, CHARACTER_EMBEDDING, CHARACTER_RATE = 256, 64, 1e-3
CHARACTER_ROWS, CHARACTER_STEPS, CHARACTER_UPDATES = 16, 64, 60


def data_folder() -> Path:
    """Where the data sets lie.

    Raises:
        FileNotFoundError: nowhere.
    """
    folder = Path(os.environ.get("HEADGATE_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        raise FileNotFoundError(f"no data sets: {folder} is no folder; set HEADGATE_DATA")
    return folder


@dataclass(frozen=True)
class SentenceJob:
    """Sentences of two classes: those that stand at index % 10 == 0 of each file are left out."""

    tokens: list[Tokens]  # of each sentence, from 1; shuffled once, here
    labels: Tokens  # (N,)
    vocabulary: int  # V, with 0 for padding


@lru_cache(maxsize=1)
def sentences() -> SentenceJob:
    texts, labels = [], []
    for label, name in enumerate(("rt-polarity.neg", "rt-polarity.pos")):
        path = data_folder() / "rt_polarity" / name
        lines = path.read_text(encoding="cp1252").splitlines()
        kept = [line.split() for k, line in enumerate(lines) if k % 10]
        texts += kept
        labels += [label] * len(kept)
    counts = Counter(word for words in texts for word in words)
    known = [word for word, count in counts.most_common() if count > 1]
    number = {word: k for k, word in enumerate(known, 2)}  # 1 for words that came once
    order = np.random.RandomState(0).permutation(len(texts))
    return SentenceJob(
        tokens=[np.array([number.get(word, 1) for word in texts[k]], np.int64) for k in order],
        labels=np.array(labels, np.int64)[order],
        vocabulary=len(known) + 2,
    )


def sentence_weights() -> Weights:
    """Embedding(V, 64), GRU(64, 64, bidirectional), Linear(128, 2)."""
    return _weights(
        sentences().vocabulary, SENTENCE_EMBEDDING, SENTENCE_HIDDEN, 2, ("", "_reverse")
    )


@dataclass(frozen=True)
class CharacterJob:
    """A text cut into rows that are read side by side, so many steps an update."""

    x: Tokens  # (updates, N, T)
    y: Tokens  # (updates, N, T): the next character
    vocabulary: int


@lru_cache(maxsize=1)
def characters() -> CharacterJob:
    text = (data_folder() / "tinyshakespeare" / "input.txt").read_text(encoding="ascii")
    known = sorted(set(text))
    number = {character: k for k, character in enumerate(known)}
    codes = np.array([number[character] for character in text], np.int64)
    per_row = CHARACTER_STEPS * CHARACTER_UPDATES
    starts = np.arange(CHARACTER_ROWS) * (len(codes) // CHARACTER_ROWS)
    rows = np.stack([codes[start : start + per_row + 1] for start in starts])

    def cut(values: Tokens) -> Tokens:
        pieces = values.reshape(CHARACTER_ROWS, CHARACTER_UPDATES, CHARACTER_STEPS)
        return np.ascontiguousarray(pieces.transpose(1, 0, 2))

    return CharacterJob(cut(rows[:, :-1]), cut(rows[:, 1:]), len(known))


def character_weights() -> Weights:
    """Embedding(V, 64), GRU(64, 256), Linear(256, V)."""
    vocabulary = characters().vocabulary
    return _weights(vocabulary, CHARACTER_EMBEDDING, CHARACTER_HIDDEN, vocabulary, ("",))


def _weights(
    vocabulary: int, embedding: int, hidden: int, outputs: int, directions: tuple[str, ...]
) -> Weights:
    draw = np.random.default_rng(6)
    bound = hidden**-0.5

    def uniform(*shape: int) -> Array:
        return draw.uniform(-bound, bound, shape).astype(np.float32)

    table = (0.1 * draw.standard_normal((vocabulary, embedding))).astype(np.float32)
    weights = {"embedding.weight": table}
    for direction in directions:
        weights |= {
            f"gru.weight_ih_l0{direction}": uniform(3 * hidden, embedding),
            f"gru.weight_hh_l0{direction}": uniform(3 * hidden, hidden),
            f"gru.bias_ih_l0{direction}": uniform(3 * hidden),
            f"gru.bias_hh_l0{direction}": uniform(3 * hidden),
        }
    weights["head.weight"] = uniform(outputs, len(directions) * hidden)
    weights["head.bias"] = uniform(outputs)
    return weights
