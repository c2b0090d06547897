"""Truncated back-propagation: pieces that carry the state from one to the next."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headgate as hg
from headgate.data.samples import SampleTable
from headgate.training.truncation import pieces_of, plan


def make(**options: Any) -> hg.Network:
    defaults = {"input_size": 2, "hidden_size": 5, "readout": "every", "seed": 0}
    return hg.Network(**{**defaults, **options})


def data(n: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return oracles.normal(rng, (n, t, 2)), oracles.normal(rng, (n, t, 1))


def table(lengths: list[int]) -> SampleTable:
    size = np.array(lengths, np.int64)
    starts = np.cumsum([0, *lengths])[:-1].astype(np.int64)
    return SampleTable(
        x=np.zeros((sum(lengths), 1), np.float32),
        starts=starts,
        lengths=size,
        y=np.zeros(2 * sum(lengths), np.float32),
        y_starts=2 * starts,
        y_stride=2,
        output_size=2,
        y_steps="every",
    )


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 12), st.integers(1, 5))
def test_every_step_is_learned_once_and_in_order(
    lengths: list[int], steps: int, batch_size: int
) -> None:
    whole = table(lengths)
    pieces, first = pieces_of(whole, steps)
    order = np.random.default_rng(0).permutation(len(lengths))
    batches = plan(order, first, batch_size, whole.lengths)
    assert sorted(batches.order) == list(range(len(pieces)))
    assert pieces.lengths.max() <= steps
    rows: list[int] = []  # the first step that each row of the state expects next
    seen = np.zeros(sum(lengths), int)
    for b in range(len(batches)):
        chosen = batches.order[batches.bounds[b] : batches.bounds[b + 1]]
        assert len(chosen) <= batch_size
        if batches.resets[b]:
            assert set(pieces.starts[chosen]) <= set(whole.starts)
            rows = list(pieces.starts[chosen])
        assert list(pieces.starts[chosen]) == rows[: len(chosen)]
        assert (np.diff(pieces.lengths[chosen]) <= 0).all()  # rows keep their places
        for row, piece in enumerate(chosen):
            begin, size = pieces.starts[piece], pieces.lengths[piece]
            assert pieces.y_starts[piece] == 2 * begin
            seen[begin : begin + size] += 1
            rows[row] = begin + size
    assert (seen == 1).all()


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_it_is_a_chain_of_predictions_that_pass_the_state_on(cell: str) -> None:
    """With a vanishing rate the losses are those of the whole sequences."""
    x, y = data(5, 11)
    lengths = np.array([11, 4, 1, 7, 8])
    net = make(cell=cell, num_layers=2)
    history = net.fit(
        x, y, lengths=lengths, bptt_steps=4, batch_size=2, epochs=1,
        optimizer="sgd", learning_rate=1e-30,
    )  # fmt: skip
    assert history.loss[0] == pytest.approx(net.evaluate(x, y, lengths=lengths), rel=1e-6)
    assert net.state is None


def test_gradients_stop_at_the_cuts() -> None:
    """One update from the second piece is one from that piece alone, begun with its state."""
    x, y = data(1, 8)
    options = {"optimizer": "sgd", "epochs": 1, "learning_rate": 0.1, "shuffle": False}
    net, other = make(), make()
    silent = y.copy()
    net.fit(x, silent, bptt_steps=4, **options)
    other.fit(x[:, :4], y[:, :4], **options)
    first = make()
    _, state = first.predict(x[:, :4], return_state=True)
    other.fit(x[:, 4:], y[:, 4:], stateful=True, batch_size=1, state=state, **options)
    assert np.array_equal(net._engine.get_vector(), other._engine.get_vector())


def test_pieces_longer_than_the_sequences_are_an_ordinary_fit() -> None:
    x, y = data(6, 5)
    plain, cut = make(), make()
    plain.fit(x, y, epochs=3, batch_size=2)
    cut.fit(x, y, epochs=3, batch_size=2, bptt_steps=5)
    assert np.array_equal(plain._engine.get_vector(), cut._engine.get_vector())


def test_schedules_validation_and_callbacks_go_with_it() -> None:
    x, y = data(5, 9)
    seen: list[int] = []
    history = make().fit(
        x, y, lengths=np.array([9, 2, 5, 1, 9]), bptt_steps=2, batch_size=2, epochs=4,
        schedule="one_cycle", warmup_epochs=0.5, validation_data=(x, y), early_stopping=3,
        callbacks=[lambda env: seen.append(env.epoch)],
    )  # fmt: skip
    assert np.isfinite(history.loss).all()
    assert seen == list(range(len(history.loss)))


def test_a_batch_larger_than_the_data_takes_no_memory_of_its_own() -> None:
    x, y = data(3, 6)
    whole, huge = make(), make()
    whole.fit(x, y, bptt_steps=2, batch_size=3, epochs=2)
    huge.fit(x, y, bptt_steps=2, batch_size=1 << 31, epochs=2)
    assert np.array_equal(whole._engine.get_vector(), huge._engine.get_vector())


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ({}, {"bptt_steps": 0}, "bptt_steps must be"),
        ({}, {"bptt_steps": 2, "stateful": True, "shuffle": False}, "leave one of them out"),
        ({}, {"bptt_steps": 2, "state": np.zeros((1, 2, 5))}, "state goes with stateful=True"),
        ({"readout": "last"}, {"bptt_steps": 2}, "but readout='last' has one for a whole sequence"),
        ({"readout": "attention"}, {"bptt_steps": 2}, "bptt_steps needs a target at every step"),
        ({"bidirectional": True}, {"bptt_steps": 2}, "bptt_steps carries states from one stretch"),
    ],
)
def test_refusals(network: dict[str, Any], options: dict[str, Any], message: str) -> None:
    net = make(**network)
    x, y = data(2, 4)
    before = net.state_dict()
    with pytest.raises(hg.InputError, match=message):
        net.fit(x, y[:, -1] if net.spec.pooled else y, **options)
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())


def test_memory_does_not_grow_with_the_sequence() -> None:
    """A million steps whole would take over 500 MB; in pieces the plan of them is what grows."""
    resource = pytest.importorskip("resource", reason="measures memory, which this system cannot")
    del resource
    code = (
        "import resource, numpy as np, headgate as hg\n"
        "net = hg.Network(input_size=1, hidden_size=32, readout='every', seed=0)\n"
        "x = np.zeros((1, 1_000_000, 1), np.float32)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "net.fit(x[:, :1000], x[:, :1000], epochs=1, bptt_steps=100)\n"
        "before = peak()\n"
        "net.fit(x, x, epochs=1, bptt_steps=100)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    scale = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * scale < 32 << 20
