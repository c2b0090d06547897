"""The network of a language model: its spec, how long it trains, and what it says of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.samples import SampleTable
from ...network import Network
from ...spec import GRU, Dense, Dropout, Embedding, InputSpec, LayerSpec, NetworkSpec
from ...training.callbacks import CallbackEnv
from .corpus import Sequences

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

CHUNK = 64  # steps that gradients run back; the state is carried further
# Multiplications and additions a second of two cores of the machines this was measured on. It
# makes minutes into epochs, so that a fit does the same everywhere and never looks at a clock.
SPEED = 110e9
LEAST_UPDATES = 600  # where little text would make epochs of few updates each
MOST_EPOCHS = 30
LEARNING_RATE = 4e-3  # of 256 units
_ROWS = 64  # texts that are measured at once
_CELLS = 1 << 22  # probabilities held at once
_SMALLEST = 1e-30


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        dropout: of the network's outputs; half of it of its inputs and of what recurs.
        epochs, learning_rate: of the fit.
    """

    dropout: float
    epochs: int
    learning_rate: float


def parameters_of(vocabulary: int, hidden: int, layers: int, embedding: int) -> tuple[int, int]:
    """How many parameters there are, and by how many of them a token is multiplied."""
    recurrent = 3 * hidden * (embedding + hidden) + (layers - 1) * 6 * hidden * hidden
    tied = embedding == hidden
    head = hidden * vocabulary
    return recurrent + head + (0 if tied else embedding * vocabulary), recurrent + head


def make_plan(
    tokens: int,
    updates_per_epoch: int,
    sizes: tuple[int, int],
    hidden: int,
    *,
    minutes: float,
    dropout: float | None,
    epochs: int | None,
    learning_rate: float | None,
) -> Plan:
    """What the parameters leave open, from the amount of text and of arithmetic.

    Args:
        tokens: to learn from.
        sizes: of :func:`parameters_of`.
    """
    parameters, multiplied = sizes
    if dropout is None:  # more where there is little text for many parameters
        dropout = round(min(max(0.2 + 0.1 * math.log2(parameters / tokens), 0.1), 0.4), 2)
    if epochs is None:
        possible = minutes * 60 * SPEED / (6.0 * multiplied * tokens)
        wanted = max(MOST_EPOCHS, -(-LEAST_UPDATES // max(updates_per_epoch, 1)))
        epochs = int(min(max(possible, 1), wanted))
    if learning_rate is None:
        learning_rate = LEARNING_RATE * math.sqrt(256 / max(hidden, 128))
    return Plan(float(dropout), epochs, learning_rate)


def language_spec(
    vocabulary: int, hidden: int, layers: int, embedding: int, dropout: float
) -> NetworkSpec:
    """Embedding, GRU, and the probability of every token after every step.

    Where the embedding is as wide as the GRU its table is the head's too (Press and Wolf 2017).
    """
    chain: list[LayerSpec] = [
        Embedding(
            "embedding", ("tokens",), vocabulary=vocabulary, size=embedding, initial_scale=0.1
        )
    ]

    def append(kind: type[LayerSpec], name: str, **options: Any) -> None:
        chain.append(kind(name=name, inputs=(chain[-1].name,), **options))

    half = dropout / 2
    if dropout:
        append(Dropout, "dropout_in", rate=half)
    between = {"dropout": half} if layers > 1 else {}
    append(GRU, "gru", hidden_size=hidden, num_layers=layers, recurrent_dropout=half, **between)
    if dropout:
        append(Dropout, "dropout_out", rate=dropout)
    tied = {"tied": "embedding"} if embedding == hidden else {}
    append(Dense, "head", size=vocabulary, **tied)
    return NetworkSpec(
        inputs=(InputSpec("tokens", 1, "tokens"),), layers=tuple(chain), task="classification"
    )


def begin_with_frequencies(network: Network, sequences: Sequences) -> None:
    """Let the network say of every token, before it has learnt, how frequent it is."""
    vocabulary = network.spec.output_size
    counts = np.bincount(sequences.tokens[sequences.predicted], minlength=vocabulary) + 0.1
    bias = np.log(counts / counts.sum()).astype(np.float32)
    network.load_state_dict({**network.state_dict(), "head.bias": bias})


def rows_of(sequences: Sequences, batch_size: int) -> tuple[Int64, Int64]:
    """Where samples begin and how many steps they have.

    A text longer than its share of a batch is cut into parts that are read side by side, so that
    one running text makes a whole batch.
    """
    share = max(CHUNK, -(-int((sequences.lengths - 1).sum()) // batch_size))
    starts, lengths = [], []
    for start, length in zip(sequences.starts, sequences.lengths - 1, strict=True):
        parts = -(-int(length) // share)
        cuts = np.linspace(0, length, parts + 1).astype(np.int64)
        starts.append(start + cuts[:-1])
        lengths.append(np.diff(cuts))
    return np.concatenate(starts), np.concatenate(lengths)


def language_table(sequences: Sequences, batch_size: int) -> SampleTable:
    """Samples whose targets are the tokens that follow."""
    starts, lengths = rows_of(sequences, batch_size)
    return SampleTable(
        x=np.zeros((len(sequences.tokens), 0), np.float32),
        starts=starts,
        lengths=lengths,
        y=np.append(sequences.tokens[1:], 0).astype(np.float32),
        y_starts=starts,
        y_stride=1,
        y_steps="every",
        tokens=sequences.tokens[:, None],
    )


def network_log_probabilities(network: Network, sequences: Sequences) -> Float64:
    """(S,) logarithm of the probability of every token after all those before it in its text.

    The state is carried through each text, however long. Tokens that are not predicted have 0.
    """
    result = np.zeros(len(sequences.tokens))
    steps_of = sequences.lengths - 1
    order = np.argsort(-steps_of, kind="stable")
    order = order[steps_of[order] > 0]
    block = max(16, _CELLS // (network.spec.output_size * min(_ROWS, max(len(order), 1))))
    for first in range(0, len(order), _ROWS):
        rows = order[first : first + _ROWS]
        state: Any = None
        for begin in range(0, int(steps_of[rows[0]]), block):
            rows = rows[steps_of[rows] > begin]
            if state is not None:
                state = state[:, : len(rows)]
            state = _read(network, sequences, rows, begin, block, state, result)
    return result


def _read(
    network: Network,
    sequences: Sequences,
    rows: Int64,
    begin: int,
    block: int,
    state: Any,
    result: Float64,
) -> Any:
    """Some steps of some texts into ``result``; returns the state behind them."""
    lengths = np.minimum(sequences.lengths[rows] - 1 - begin, block)
    width = int(lengths.max())
    place = (sequences.starts[rows] + begin)[:, None] + np.arange(width)
    valid = np.arange(width) < lengths[:, None]
    tokens = sequences.tokens[np.where(valid, place, 0)]
    p, state = network.predict(tokens, lengths=lengths, state=state, return_state=True)
    at = place[valid]
    row, step = np.nonzero(valid)
    found = p[row, step, sequences.tokens[at + 1]].astype(np.float64)
    result[at + 1] = np.log(np.maximum(found, _SMALLEST))
    return state


def mixture(own: Float64, other: Float64, weight: float) -> Float64:
    """Logarithms of ``weight * exp(own) + (1 - weight) * exp(other)``."""
    with np.errstate(divide="ignore"):
        mixed: Float64 = np.logaddexp(own + np.log(weight), other + np.log(1 - weight))
    return mixed


def best_weight(own: Float64, other: Float64) -> float:
    """The weight of ``own`` with which :func:`mixture` foresees best, from 0.01 to 0.99."""
    weight = 0.5
    for _ in range(50):  # expectation-maximisation; there is one maximum
        shares = np.exp(own + np.log(weight) - mixture(own, other, weight))
        weight = min(max(float(shares.mean()), 0.01), 0.99)
    return weight


class Watch:
    """A callback that measures what is held out after every epoch, and remembers the best."""

    def __init__(self, held: Sequences | None, keeps_best: bool) -> None:
        self._held = held
        self._keeps_best = keeps_best
        self._best: dict[str, Float32] | None = None
        self.losses: list[float] = []

    def __call__(self, env: CallbackEnv) -> None:
        if self._held is None:
            return
        logs = network_log_probabilities(env.network, self._held)[self._held.predicted]
        self.losses.append(float(-logs.mean()))
        env.evaluation_result_list.append(("valid", "cross_entropy", self.losses[-1], False))
        if self._keeps_best and self.losses[-1] == min(self.losses):
            self._best = env.network.state_dict()

    def restore(self, network: Network) -> None:
        if self._best is not None:
            network.load_state_dict(self._best)
