"""Summaries: shapes, counts and what is said about biases."""

from __future__ import annotations

from headgate.spec import NetworkSpec
from headgate.summary import summarize


def lines(spec: NetworkSpec) -> list[list[str]]:
    return [line.split() for line in str(summarize(spec)).splitlines()]


def test_shapes_and_counts_of_all_kinds() -> None:
    spec = NetworkSpec.stacked(
        3,
        8,
        num_layers=2,
        cell="lstm",
        bidirectional=True,
        layer_norm=True,
        residual=True,
        vocabulary=10,
        embedding_size=4,
        train_embedding=False,
        readout="attention",
        attention_size=5,
        head_dropout=0.1,
    )
    # The stack: two layers of two directions, 4H (I + H + 2 biases + 2 gains), I = 7 and 16.
    assert [" ".join(line) for line in lines(spec)[2:8]] == [
        "embedding embedding of 10 (frozen) (N, T, 4) 40",
        "concat concat (N, T, 7) 0",
        "lstm lstm x 2 bidirectional residual layer norm (N, T, 16) 3,008",
        "attention attention additive (N, 16) 90",
        "dropout dropout (N, 16) 0",
        "head dense (N, 1) 17",
    ]
    assert 3008 == 2 * 32 * (7 + 8 + 4) + 2 * 32 * (16 + 8 + 4)
    assert summarize(spec).parameters == spec.parameter_count() == 40 + 3008 + 90 + 17


def test_a_gru_is_compared_with_an_lstm_of_the_same_options() -> None:
    options = {"num_layers": 2, "bidirectional": True, "layer_norm": True}
    gru = NetworkSpec.stacked(3, 5, reset_after=False, **options)
    lstm = NetworkSpec.stacked(3, 5, cell="lstm", **options)
    assert summarize(gru).lstm_parameters == lstm.parameter_count()
    for cell in ("lstm", "rnn"):
        assert summarize(NetworkSpec.stacked(3, 5, cell=cell)).lstm_parameters is None


def test_biases_are_counted_as_each_cell_has_them() -> None:
    def convention(**options) -> str:
        return summarize(NetworkSpec.stacked(3, 5, **options)).convention.partition(", ")[2]

    assert convention() == "6H a GRU layer"
    assert convention(reset_after=False) == (
        "5H a GRU layer (reset_after=False: one candidate bias)"
    )
    assert convention(cell="lstm", bidirectional=True) == "8H an LSTM layer and direction"
    assert convention(cell="rnn") == "2H an RNN layer"


def test_kinds_tell_their_options() -> None:
    assert lines(NetworkSpec.stacked(1, 2, cell="rnn", nonlinearity="relu"))[2][1:3] == [
        "rnn",
        "relu",
    ]
    assert lines(NetworkSpec.stacked(1, 2, readout="attention", attention="dot"))[3][1:3] == [
        "attention",
        "dot",
    ]


def test_the_counts_that_people_check_first() -> None:
    assert summarize(NetworkSpec.stacked(10, 20, None, num_layers=2)).parameters == 4_440
    assert summarize(NetworkSpec.stacked(1, [64, 32, 16])).parameters == 24_689
