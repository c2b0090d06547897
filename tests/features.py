"""Features of recurrent networks by name, and cases with any of them together.

A bug that hides in one feature shows when it is tried alone; one that hides between two shows in
pairs. Both the reference and the engine are tried with all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import oracles

from headgate.spec import NetworkSpec

CELLS: dict[str, dict[str, Any]] = {
    "gru": {},
    "gru_before": {"reset_after": False},
    "lstm": {"cell": "lstm"},
    "rnn_tanh": {"cell": "rnn"},
    "rnn_relu": {"cell": "rnn", "nonlinearity": "relu"},
}
# Options of NetworkSpec.stacked; those of the batch, "ragged" and "state", are not of the network.
FEATURES: dict[str, dict[str, Any]] = {
    "bidirectional": {"bidirectional": True},
    "layer_norm": {"layer_norm": True},
    "recurrent_dropout": {"recurrent_dropout": 0.3},
    "input_dropout": {"input_dropout": 0.3},
    "dropout": {"num_layers": 2, "dropout": 0.4},
    "residual": {"num_layers": 2, "residual": True},
    "head_dropout": {"head_dropout": 0.4},
    "dense": {"dense": (5,), "activation": "tanh"},
    "tokens": {"vocabulary": 4, "embedding_size": 3, "padding_index": 1},
    "columns": {"vocabulary": 4, "embedding_size": 3, "padding_index": 1, "token_columns": 2},
    "every": {"readout": "every"},
    "mean": {"readout": "mean"},
    "max": {"readout": "max"},
    "additive": {"readout": "attention", "attention_size": 5},
    "dot": {"readout": "attention", "attention": "dot"},
    "ragged": {},
    "state": {},
}
PAIRS = [
    pair
    for pair in itertools.combinations(FEATURES, 2)
    if not all("readout" in FEATURES[name] for name in pair) and set(pair) != {"tokens", "columns"}
]


class Case(NamedTuple):
    """Arguments of ``reference.network_gradients``, but for the loss; and the seed of the masks.

    All numbers are float32 ones. ``x`` is a dict by input name.
    """

    spec: NetworkSpec
    tensors: dict[str, np.ndarray]
    x: dict[str, np.ndarray]
    y: np.ndarray
    lengths: np.ndarray | None
    state: Any
    masks: dict[str, np.ndarray]
    seed: int


def make_case(
    cell: str, names: Iterable[str], seed: int, *, n: int = 3, t: int = 4, i: int = 2, h: int = 3
) -> Case:
    """A network of two outputs with these features, and a batch for its first update."""
    names = list(names)
    options = dict(CELLS[cell])
    for name in names:
        options |= FEATURES[name]
    spec = NetworkSpec.stacked(i, h, 2, **options)
    rng = np.random.default_rng(seed)
    tensors = oracles.network_tensors(spec, rng)
    x = {"x": oracles.normal(rng, (n, t, i))}
    if spec.token_inputs:
        x["tokens"] = rng.integers(0, 4, (n, t, 2) if "columns" in names else (n, t))
    y = 2 * oracles.normal(rng, (n, t, 2) if "every" in names else (n, 2))
    lengths = oracles.random_lengths(rng, n, t) if "ragged" in names else None
    state = random_state(spec, rng, n) if "state" in names else None
    masks = oracles.masks_for(spec, seed, 0, np.arange(n), t)
    return Case(spec, tensors, x, y, lengths, state, masks, seed)


def random_state(spec: NetworkSpec, rng: np.random.Generator, n: int) -> Any:
    """A state of a network with one recurrent stack: (L*D, N, H), or a pair of these."""
    (stack,) = spec.recurrent()
    shape = (stack.num_layers * stack.directions, n, stack.hidden_size)
    parts = tuple(
        np.tanh(oracles.normal(rng, shape)).astype(np.float32).astype(np.float64)
        for _ in stack.states
    )
    return parts if len(parts) > 1 else parts[0]
