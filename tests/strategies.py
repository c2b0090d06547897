"""Hypothesis strategies: sizes on both sides of every vector width, ragged batches, weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import oracles
from hypothesis import strategies as st

from headgate.spec import ACTIVATIONS, READOUTS, TASKS, NetworkSpec

HIDDEN_SIZES = (1, 3, 15, 16, 17, 33, 64)
BATCH_SIZES = (1, 2, 3, 7, 8, 9)

hidden_sizes = st.sampled_from(HIDDEN_SIZES)
batch_sizes = st.sampled_from(BATCH_SIZES)
input_sizes = st.sampled_from((1, 2, 3, 7, 16, 17))
step_counts = st.sampled_from((1, 2, 3, 5, 10))
seeds = st.integers(0, 2**32 - 1)
rates = st.floats(0, 1, exclude_max=True)


@dataclass(frozen=True)
class GRUCase:
    """Sizes of one layer over one batch; ``arrays`` makes the same numbers every time."""

    n: int
    t: int
    i: int
    h: int
    reset_after: bool
    lengths: tuple[int, ...] | None
    seed: int

    def arrays(self, dtype: object = np.float64) -> dict[str, np.ndarray]:
        """x (N, T, I), h0 (N, H) and the layer's four tensors: float32 numbers as ``dtype``."""
        rng = np.random.default_rng(self.seed)
        return {
            "x": oracles.normal(rng, (self.n, self.t, self.i), dtype),
            "h0": np.tanh(oracles.normal(rng, (self.n, self.h))).astype(np.float32).astype(dtype),
            **oracles.gru_tensors(rng, self.i, self.h, reset_after=self.reset_after, dtype=dtype),
        }


@st.composite
def ragged_lengths(draw: st.DrawFn, n: int, t: int, shortest: int = 1) -> tuple[int, ...]:
    """N lengths in shortest..T, in no order."""
    return tuple(draw(st.lists(st.integers(shortest, t), min_size=n, max_size=n)))


@st.composite
def gru_cases(
    draw: st.DrawFn,
    hidden: st.SearchStrategy[int] = hidden_sizes,
    batch: st.SearchStrategy[int] = batch_sizes,
    shortest: int = 1,
) -> GRUCase:
    """Odd sizes, both reset placements, full and ragged batches."""
    n, t = draw(batch), draw(step_counts)
    return GRUCase(
        n=n,
        t=t,
        i=draw(input_sizes),
        h=draw(hidden),
        reset_after=draw(st.booleans()),
        lengths=draw(st.none() | ragged_lengths(n, t, shortest)),
        seed=draw(seeds),
    )


@st.composite
def stacked_specs(draw: st.DrawFn, sizes: st.SearchStrategy[int]) -> NetworkSpec:
    """Any network that the keywords can describe, its widths among ``sizes``."""
    cell = draw(st.sampled_from(["gru", "lstm", "rnn"]))
    own = {
        "gru": {"reset_after": st.booleans()},
        "rnn": {"nonlinearity": st.sampled_from(["tanh", "relu"])},
    }
    layers = draw(st.integers(1, 4))
    if layers > 1:
        own[cell] = {**own.get(cell, {}), "dropout": rates, "residual": st.booleans()}
    readout = draw(st.sampled_from(READOUTS))
    if readout == "attention":
        score = draw(st.sampled_from(["additive", "dot"]))
        size = draw(st.none() | sizes) if score == "additive" else None
        attention = {"attention": score, "attention_size": size}
    else:
        attention = {}
    tokens = draw(st.booleans())
    vocabulary = draw(sizes)
    embedding = {
        "vocabulary": vocabulary,
        "embedding_size": draw(sizes),
        "padding_index": draw(st.none() | st.integers(0, vocabulary - 1)),
        "train_embedding": draw(st.booleans()),
        "embedding_scale": draw(st.floats(0, 1e30)),
        "token_columns": draw(sizes),
    }
    task = draw(st.sampled_from([t for t in TASKS if readout == "every" or t != "tagging"]))
    dense = draw(st.lists(sizes, max_size=3))
    activation = {"activation": draw(st.sampled_from(ACTIVATIONS))} if dense else {}
    return NetworkSpec.stacked(
        draw(st.none() | sizes if tokens else sizes),
        draw(sizes),
        draw(sizes) + 1,
        cell=cell,
        num_layers=layers,
        bidirectional=draw(st.booleans()),
        input_dropout=draw(rates),
        recurrent_dropout=draw(rates),
        layer_norm=draw(st.booleans()),
        readout=readout,
        head_dropout=draw(rates),
        dense=dense,
        task=task,
        **activation,
        **{name: draw(strategy) for name, strategy in own.get(cell, {}).items()},
        **attention,
        **(embedding if tokens else {}),
    )
