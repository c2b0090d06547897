"""Inputs of tokens, alone and beside values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import headgate as hg
from headgate.data.inputs import table_of
from headgate.errors import InputError
from headgate.spec import NetworkSpec

WORDS = NetworkSpec.stacked(hidden_size=4, vocabulary=512, embedding_size=3)
BOTH = NetworkSpec.stacked(2, 4, vocabulary=9, embedding_size=3, readout="every")
WIDE = NetworkSpec.stacked(
    2, 4, vocabulary=9, embedding_size=3, padding_index=0, token_columns=3, readout="every"
)
IDS = np.arange(12).reshape(3, 4) % 9
VALUES = np.random.default_rng(1).standard_normal((3, 4, 2)).astype(np.float32)


def test_tokens_stand_beside_the_rows_of_the_values() -> None:
    table = table_of({"x": VALUES, "tokens": IDS}, spec=BOTH, output_size=1)
    np.testing.assert_array_equal(table.x, VALUES.reshape(12, 2))
    np.testing.assert_array_equal(table.tokens, IDS.reshape(12, 1))
    assert table.tokens is not None
    assert table.tokens.dtype == np.int32
    alone = table_of(IDS, np.zeros(3), lengths=[4, 1, 2], spec=WORDS, output_size=1)
    assert alone.x.shape == (12, 0)
    np.testing.assert_array_equal(alone.lengths, [4, 1, 2])


def test_ragged_tokens() -> None:
    rows = [np.array([1, 2]), np.array([3])]
    values = [np.zeros((2, 2)), np.ones((1, 2))]
    table = table_of({"x": values, "tokens": rows}, spec=BOTH, output_size=1)
    np.testing.assert_array_equal(table.tokens, [[1], [2], [3]])
    np.testing.assert_array_equal(table.starts, [0, 2])


def test_several_columns_of_tokens() -> None:
    """As an array, as lists, and beside an input of one column."""
    ids = np.arange(36).reshape(3, 4, 3) % 9
    table = table_of({"x": VALUES, "tokens": ids}, spec=WIDE, output_size=1)
    np.testing.assert_array_equal(table.tokens, ids.reshape(12, 3))
    alone = NetworkSpec.stacked(None, 4, vocabulary=9, embedding_size=3, token_columns=3)
    ragged = table_of([ids[0], ids[1, :1].tolist()], spec=alone, output_size=1)
    np.testing.assert_array_equal(ragged.tokens, [*ids[0], ids[1, 0]])
    assert ragged.x.shape == (5, 0)
    np.testing.assert_array_equal(ragged.lengths, [4, 1])
    two = NetworkSpec(
        (hg.InputSpec("a", 3, "tokens"), hg.InputSpec("b", 1, "tokens")),
        (
            hg.Embedding("e", ("a",), vocabulary=9, size=2),
            hg.Embedding("f", ("b",), vocabulary=9, size=2),
            hg.Add("sum", ("e", "f")),
        ),
    )
    both = {"a": ids, "b": IDS}
    table = table_of(both, spec=two, output_size=2)
    np.testing.assert_array_equal(table.tokens, np.c_[ids.reshape(12, 3), IDS.ravel()])
    net = hg.Network(two, seed=0)
    tensors = net.state_dict()
    expected = tensors["e.weight"][ids].sum(axis=2) + tensors["f.weight"][IDS]
    np.testing.assert_allclose(net.predict(both), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(net.predict(table), net.predict(both))


@pytest.mark.parametrize(
    ("spec", "X", "message"),
    [
        (
            WIDE,
            {"x": VALUES, "tokens": IDS},
            "tokens must be (N, T, 3) integers with at least one step, got shape (3, 4)",
        ),
        (
            WIDE,
            {"x": list(VALUES), "tokens": [np.zeros((4, 2), int)] * 3},
            "tokens[0] must be (T, 3) integers with at least one step, got shape (4, 2)",
        ),
        (
            WIDE,
            {"x": VALUES, "tokens": np.arange(36).reshape(3, 4, 3)},
            "tokens[0, 3, 0] is 9, but the embedding has 9 rows (0 to 8)",
        ),
        (
            WIDE,
            {"x": VALUES, "tokens": np.zeros((3, 3, 3), int)},
            "tokens must have shape (N, T) = (3, 4) as the other inputs, got (3, 3)",
        ),
        (
            WORDS,
            np.where(np.arange(32).reshape(4, 8) == 23, 512, 0),
            "tokens[2, 7] is 512, but the embedding has 512 rows (0 to 511)",
        ),
        (WORDS, [[1, -1]], "tokens[0, 1] is -1, but the embedding has 512 rows (0 to 511)"),
        (
            WORDS,
            [np.array([1]), np.array([0, 1 << 40])],
            "tokens[1][1] is 1099511627776, but the embedding has 512 rows (0 to 511)",
        ),
        (
            WORDS,
            [[0.5]],
            "tokens must hold whole numbers of tokens, got dtype float64; convert them with "
            "np.asarray(tokens).astype('int64')",
        ),
        (
            WORDS,
            ["to", "be"],
            "tokens must hold whole numbers of tokens, got dtype <U2; give every word or "
            "character a number from 0 first",
        ),
        (
            WORDS,
            [[1, 2], []],
            "tokens[1] must be (T,) integers with at least one step, got shape (0,)",
        ),
        (WORDS, [], "tokens must be (N, T) integers with at least one step, got shape (0,)"),
        (
            WORDS,
            [1, 2],
            "tokens must be (N, T) integers with at least one step, got shape (2,)",
        ),
        (
            BOTH,
            IDS,
            "this network has the inputs ['x', 'tokens']; pass X as a dict of arrays by these "
            "names, got ndarray",
        ),
        (
            BOTH,
            {"x": VALUES},
            "X must have the network's inputs ['x', 'tokens'] as its keys, got ['x']",
        ),
        (
            BOTH,
            {"x": VALUES, "tokens": IDS[:, :3]},
            "tokens must have shape (N, T) = (3, 4) as the other inputs, got (3, 3)",
        ),
        (
            BOTH,
            {"x": VALUES, "tokens": list(IDS)},
            "tokens and the other inputs must be arrays or lists of arrays alike",
        ),
        (
            BOTH,
            {"x": list(VALUES), "tokens": list(IDS)[:2]},
            "tokens must be a list of 3 arrays as the other inputs, got 2",
        ),
        (
            BOTH,
            {"x": list(VALUES), "tokens": [*IDS[:2], IDS[2][:3]]},
            "tokens[2] has 3 steps, but the other inputs have 4",
        ),
    ],
)
def test_refusals(spec: NetworkSpec, X: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        table_of(X, spec=spec, output_size=1)
    assert str(error.value) == message


def test_a_network_reads_tokens() -> None:
    net = hg.Network(WORDS, seed=0)
    ids = np.random.default_rng(0).integers(0, 512, (6, 5))
    dense = net.predict(ids)
    assert dense.shape == (6, 1)
    np.testing.assert_array_equal(net.predict(list(ids)), dense)
    np.testing.assert_array_equal(net.predict({"tokens": ids}), dense)
    changed = ids.copy()
    changed[2, 1] = (changed[2, 1] + 1) % 512
    differs = (net.predict(changed) != dense).any(axis=1)
    assert differs.tolist() == [k == 2 for k in range(6)]


def test_a_padding_row_starts_at_zero_and_stays_there() -> None:
    net = hg.Network(hidden_size=4, vocabulary=6, embedding_size=3, padding_index=2, seed=0)
    before = net.state_dict()["embedding.weight"]
    assert not before[2].any()
    assert before[[0, 1, 3, 4, 5]].all()
    net.fit(np.tile(np.arange(6), (4, 1)), np.ones(4), epochs=2)
    after = net.state_dict()["embedding.weight"]
    assert not after[2].any()
    assert (after != before)[[0, 1, 3, 4, 5]].all()


def test_vectors_start_as_wide_as_they_are_asked_to() -> None:
    def start(**options: Any) -> np.ndarray:
        net = hg.Network(
            hidden_size=4, vocabulary=500, embedding_size=8, padding_index=2, seed=0, **options
        )
        return net.state_dict()["embedding.weight"]

    wide, narrow = start(), start(embedding_scale=0.125)
    assert 0.98 < np.delete(wide, 2, axis=0).std() < 1.02
    np.testing.assert_allclose(narrow, 0.125 * wide, rtol=1e-6)
    assert not narrow[2].any()


def test_loaded_vectors_stay_when_frozen() -> None:
    net = hg.Network(hidden_size=4, vocabulary=6, embedding_size=3, train_embedding=False, seed=0)
    vectors = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    net.load_embedding(vectors)
    net.fit(np.tile(np.arange(6), (4, 1)), np.ones(4), epochs=2)
    np.testing.assert_array_equal(net.state_dict()["embedding.weight"], vectors)
    with pytest.raises(
        InputError, match=r"embedding.weight must have shape \(6, 3\), got \(3, 6\)"
    ):
        net.load_embedding(vectors.T)
    with pytest.raises(InputError, match=r"has no embedding 'words'; it has \['embedding'\]"):
        net.load_embedding(vectors, "words")


def test_tables_are_checked_against_the_network() -> None:
    net = hg.Network(BOTH, seed=0)
    table = hg.SampleTable(
        x=VALUES.reshape(12, 2),
        starts=np.array([0, 4]),
        lengths=np.array([4, 4]),
        y_steps="every",
    )
    with pytest.raises(InputError, match=r"tokens must be integers \(12, 1\), a column for each"):
        net.predict(table)
    tokens = np.full((12, 1), 8, np.int32)
    table = hg.SampleTable(**{**vars(table), "tokens": tokens})
    assert net.predict(table).shape == (2, 4, 1)
    tokens[5] = 9
    with pytest.raises(InputError, match=r"the table's tokens\[5, 0\] is 9, but the embedding has"):
        net.predict(table)
    wide = hg.Network(WIDE, seed=0)
    with pytest.raises(
        InputError, match=r"tokens must be integers \(12, 3\), the columns for each"
    ):
        wide.predict(table)
    ids = np.zeros((12, 3), np.int32)
    table = hg.SampleTable(**{**vars(table), "tokens": ids})
    assert wide.predict(table).shape == (2, 4, 1)
    ids[5, 2] = 9
    with pytest.raises(InputError, match=r"the table's tokens\[5, 2\] is 9, but the embedding has"):
        wide.predict(table)
    with pytest.raises(InputError, match="the table has tokens, but this network reads none"):
        hg.Network(input_size=2, hidden_size=3, readout="every").predict(table)
