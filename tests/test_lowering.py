"""NetworkSpec -> the engine's layer rows."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.kernels import Engine, lower
from headgate.spec import GRU, RNN, Add, Dense, Embedding, InputSpec, Last, NetworkSpec


def shape_of(rows: list[dict[str, Any]]) -> list[tuple[str, list[int]]]:
    """Kinds and connections alone."""
    return [(row["kind"], row["inputs"]) for row in rows]


def test_a_stack_becomes_a_row_for_each_layer_and_for_what_stands_between() -> None:
    rows = lower(
        NetworkSpec.stacked(
            3,
            4,
            num_layers=3,
            bidirectional=True,
            dropout=0.1,
            input_dropout=0.2,
            recurrent_dropout=0.3,
            residual=True,
            layer_norm=True,
            readout="every",
        )
    )
    assert shape_of(rows) == [
        ("dropout", [-1]),
        ("recurrent", [0]),
        ("dropout", [1]),
        ("recurrent", [2]),
        ("add", [3, 2]),
        ("dropout", [4]),
        ("recurrent", [5]),
        ("add", [6, 5]),
        ("dense", [7]),
    ]
    assert rows[0] == {
        "kind": "dropout",
        "name": "gru_input",
        "inputs": [-1],
        "rate": 0.2,
        "per_sequence": True,
    }
    assert rows[1] == {
        "kind": "recurrent",
        "name": "gru.l0",
        "inputs": [0],
        "cell": "gru",
        "size": 4,
        "bidirectional": True,
        "recurrent_dropout": 0.3,
        "layer_norm": True,
    }
    assert (rows[2]["rate"], rows[2]["per_sequence"]) == (0.1, False)
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("options", "cell"),
    [
        ({}, "gru"),
        ({"reset_after": False}, "gru_before"),
        ({"cell": "lstm"}, "lstm"),
        ({"cell": "rnn"}, "rnn_tanh"),
        ({"cell": "rnn", "nonlinearity": "relu"}, "rnn_relu"),
    ],
)
def test_cells(options: dict[str, Any], cell: str) -> None:
    assert lower(NetworkSpec.stacked(1, 2, **options))[0]["cell"] == cell


def test_tokens_and_values_side_by_side() -> None:
    rows = lower(
        NetworkSpec.stacked(3, 4, vocabulary=9, embedding_size=5, padding_index=2, readout="max")
    )
    assert rows[0] == {
        "kind": "embedding",
        "name": "embedding",
        "inputs": [],
        "size": 5,
        "vocabulary": 9,
        "padding_index": 2,
        "trainable": True,
        "token": 0,
        "columns": 1,
    }
    assert shape_of(rows)[1:3] == [("concat", [-1, 0]), ("recurrent", [1])]
    assert rows[3] == {"kind": "max", "name": "max", "inputs": [2]}


def test_inputs_of_several_columns_stand_side_by_side() -> None:
    inputs = (InputSpec("a", 3, "tokens"), InputSpec("x", 2), InputSpec("b", 2, "tokens"))
    layers = (
        Embedding("e", ("a",), vocabulary=9, size=2),
        Embedding("f", ("b",), vocabulary=9, size=2),
        Embedding("g", ("a",), vocabulary=9, size=2),
        Add("sum", ("e", "f", "g", "x")),
    )
    spec = NetworkSpec(inputs, layers)
    rows = lower(spec)
    assert [(row["token"], row["columns"]) for row in rows[:3]] == [(0, 3), (3, 2), (0, 3)]
    assert rows[3] == {"kind": "add", "name": "sum", "inputs": [0, 1, 2, -1]}
    assert (spec.token_inputs, spec.output_size) == (("a", "b"), 2)


def test_last_reads_both_ends_of_a_bidirectional_stack_even_behind_dropout() -> None:
    x = (InputSpec("x", 3),)

    def split(*layers: Any) -> int:
        return int(lower(NetworkSpec(x, layers))[-1]["split"])

    both = GRU("g", ("x",), hidden_size=4, bidirectional=True)
    assert split(both, Last("last", ("g",))) == 4
    assert split(GRU("g", ("x",), hidden_size=4), Last("last", ("g",))) == 4
    dense = Dense("d", ("g",), size=8)
    assert split(both, dense, Last("last", ("d",))) == 8
    rows = lower(NetworkSpec.stacked(3, [6, 4], dropout=0.1, bidirectional=True))
    assert [row.get("split") for row in rows if row["kind"] == "last"] == [4]
    dot = lower(NetworkSpec.stacked(3, 4, bidirectional=True, readout="attention", attention="dot"))
    assert [(r["split"], r["size"]) for r in dot if r["kind"] == "attention"] == [(4, 8)]


def test_rows_are_found_by_layer() -> None:
    spec = NetworkSpec.stacked(3, 4, cell="rnn", num_layers=2, dropout=0.1, residual=True)
    engine = Engine(spec)
    stack, last = spec.layers[0], spec.layers[1]
    assert isinstance(stack, RNN)
    assert [engine.row_of(stack, k) for k in range(2)] == [0, 2]
    assert engine.row_of(last) == 4
