"""The loss without learning in bounded memory, and what language models ask of a stateful fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.data.inputs import table_of
from headgate.training import evaluation
from headgate.training.losses import Loss


def language_model(vocabulary: int = 7, **options: Any) -> hg.Network:
    usual = {"readout": "every", "task": "classification", "seed": 0}
    return hg.Network(
        vocabulary=vocabulary,
        embedding_size=8,
        hidden_size=8,
        output_size=vocabulary,
        **{**usual, **options},
    )


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for few rows only."""
    monkeypatch.setattr(evaluation, "FLOATS", 4000)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_long_sequences_are_evaluated_piece_after_piece(cell: str, little: None) -> None:
    """The state goes on: the loss is that of whole sequences, of any lengths."""
    rng = np.random.default_rng(0)
    net = language_model(cell=cell, num_layers=2)
    lengths = [*oracles.random_lengths(rng, 11, 90).tolist(), 300]
    x = [rng.integers(0, 7, length) for length in lengths]
    y = [rng.integers(0, 7, length) for length in lengths]
    table = table_of(x, y, spec=net.spec, output_size=1)
    row = Loss("cross_entropy").engine_row()
    measure = evaluation.Evaluation(net._engine, table, row)
    batches = measure._batches
    assert batches is not None
    assert len(batches) > 5
    assert batches.largest < len(x)
    whole = net.evaluate(x, y, batch_size=64)
    assert measure.loss() == pytest.approx(whole, rel=1e-6)
    assert measure.loss() == measure.loss()
    assert net.evaluate(x, y) == measure.loss()
    history = net.fit(x, y, epochs=2, validation_data=(x, y))
    assert history.val_loss[-1] == net.evaluate(x, y)
    assert history.val_loss[-1] == pytest.approx(net.evaluate(x, y, batch_size=64), rel=1e-6)
    state = net.predict([row[:3] for row in x if len(row) > 3], return_state=True)[1]
    rest = [row[3:] for row in x if len(row) > 3]
    targets = [row[3:] for row in y if len(row) > 3]
    at_once = net.evaluate(rest, targets, state=state, batch_size=64)
    assert net.evaluate(rest, targets, state=state) == pytest.approx(at_once, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"bidirectional": True}, {"readout": "mean"}, {"task": "tagging"}]
)
def test_what_cannot_be_cut_takes_fewer_sequences_at_once(
    options: dict[str, Any], little: None
) -> None:
    rng = np.random.default_rng(1)
    net = language_model(**options)
    x = rng.integers(0, 7, (9, 40))
    y = x if net.spec.readout == "every" else x[:, 0]
    assert evaluation.batch_of(net._engine, 40) < 9
    assert net.evaluate(x, y) == pytest.approx(net.evaluate(x, y, batch_size=9), rel=1e-6)
    assert np.array_equal(net.predict(x), net.predict(x, batch_size=9))


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_rows_of_a_long_text_in_parallel_with_a_schedule(schedule: str) -> None:
    """Row i of a batch goes on where row i of the batch before ended, and validation rows too.

    What is to come depends on what stood eight steps before, in another piece: without the carried
    state it cannot be known.
    """
    rows, pieces, steps = 8, 30, 4
    text = np.tile(np.array([0, 1, 1, 1, 2, 1, 1, 1, 3, 1, 1, 1]), rows * pieces)
    length = pieces * steps
    grid = np.stack([text[i * 5 : i * 5 + length + 1] for i in range(rows)])

    def cut(array: np.ndarray) -> np.ndarray:
        return np.concatenate(np.split(array, pieces, axis=1))

    net = language_model(4, tied=True)
    validation = (grid[:2, :-1], grid[:2, 1:])  # whole rows: the state goes on within them
    fit: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 0.03, "clip_norm": 1.0}
    history = net.fit(
        cut(grid[:, :-1]),
        cut(grid[:, 1:]),
        epochs=40,
        batch_size=rows,
        shuffle=False,
        stateful=True,
        schedule=schedule,
        validation_data=validation,
        early_stopping=20,
        **fit,
    )
    assert history.loss[-1] < 0.01
    assert history.val_loss[-1] < 0.3  # its rows begin with zeros, which training hardly saw
    apart = net.evaluate(cut(grid[:, :-1]), cut(grid[:, 1:]))
    assert apart > 3 * history.val_loss[-1]  # pieces that each begin with zeros
    assert net.state is not None
    assert net.state.shape == (1, rows, 8)
