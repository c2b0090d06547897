"""A live stream: the bits of predict, a step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg

CELLS: list[dict[str, Any]] = [
    {"cell": "gru"},
    {"cell": "gru", "reset_after": False},
    {"cell": "lstm"},
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu"},
]
FEATURES: list[dict[str, Any]] = [
    {},
    {"readout": "last"},
    {"num_layers": 3, "residual": True, "dropout": 0.2, "hidden_size": 16},
    {"layer_norm": True, "recurrent_dropout": 0.3, "input_dropout": 0.2, "hidden_size": 17},
    {"hidden_size": [5, 3], "dense": (4,)},
    {"output_size": None},
    {"task": "classification", "output_size": 3},
    {"task": "binary", "output_size": 2},
]


def make(**options: Any) -> hg.Network:
    defaults = {"input_size": 2, "hidden_size": 6, "readout": "every", "seed": 0}
    return hg.Network(**{**defaults, **options})


def data(t: int = 8, i: int = 2) -> np.ndarray:
    return oracles.normal(np.random.default_rng(0), (t, i))


def expected(net: hg.Network, x: np.ndarray) -> np.ndarray:
    if not net.spec.pooled:
        return net.predict(x[None])[0]
    return np.concatenate([net.predict(x[None, : t + 1]) for t in range(len(x))])


@pytest.mark.parametrize("features", FEATURES, ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=lambda o: "-".join(map(str, o.values())))
def test_a_step_has_the_bits_of_predict(
    isa: str, cell: dict[str, Any], features: dict[str, Any]
) -> None:
    net, x = make(**cell, **features), data()
    stream = net.stream()
    got = np.stack([stream.step(row) for row in x])
    assert got.dtype == np.float32
    assert got.tobytes() == expected(net, x).tobytes()


def test_tokens_and_values(isa: str) -> None:
    rng = np.random.default_rng(1)
    tokens, x = rng.integers(0, 6, 8), data()
    net = make(input_size=None, vocabulary=6, embedding_size=3)
    stream = net.stream()
    got = [stream.step(token) for token in tokens]
    assert np.array_equal(got, net.predict(tokens[None])[0])
    both = make(vocabulary=6, embedding_size=3)
    stream = both.stream()
    pairs = [{"x": row, "tokens": int(token)} for row, token in zip(x, tokens, strict=True)]
    got = [stream.step(pair) for pair in pairs]
    assert np.array_equal(got, both.predict({"x": x[None], "tokens": tokens[None]})[0])
    wide = make(input_size=None, vocabulary=6, embedding_size=3, token_columns=2)
    stream, tokens = wide.stream(), rng.integers(0, 6, (8, 2))
    got = [stream.step(row) for row in tokens]
    assert np.array_equal(got, wide.predict(tokens[None])[0])
    with pytest.raises(hg.InputError, match="tokens must be 2 tokens' numbers, got 3"):
        stream.step(3)


def test_a_number_is_a_step_of_one_input() -> None:
    net, x = make(input_size=1), data(8, 1)
    whole = net.predict(x[None])[0]
    for kind in (float, np.float32, np.float64, lambda v: [v], lambda v: np.array([v])):
        stream = net.stream()
        assert np.array_equal([stream.step(kind(v)) for v in x[:, 0]], whole)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_the_state_is_saved_and_restored(cell: str) -> None:
    net, x = make(cell=cell, num_layers=2), data()
    whole, after = net.predict(x[None], return_state=True)
    stream = net.stream()
    for row in x[:4]:
        stream.step(row)
    state, saved = stream.state, stream.to_bytes()
    rest = [stream.step(row) for row in x[4:]]
    assert np.array_equal(rest, whole[0, 4:])
    assert np.array_equal(np.asarray(stream.state), np.asarray(after))
    other = net.stream()
    other.state = state
    assert np.array_equal([other.step(row) for row in x[4:]], rest)
    other.from_bytes(saved)
    assert np.array_equal([other.step(row) for row in x[4:]], rest)
    other.reset()
    assert np.array_equal([other.step(row) for row in x], whole[0])
    _, half = net.predict(x[None, :4], return_state=True)
    other.state = half
    assert np.array_equal(other.step(x[4]), whole[0, 4])


def test_streams_are_independent_and_leave_the_network_alone() -> None:
    net, x = make(), data()
    whole = net.predict(x[None])[0]
    one, two = net.stream(), net.stream()
    for t, row in enumerate(x):
        assert np.array_equal(one.step(row), whole[t])
        if t % 2:
            assert np.array_equal(two.step(x[t // 2]), whole[t // 2])
        net.predict(np.ones((5, 3, 2)))
    assert net.state is None


def test_new_weights_are_seen_at_the_next_step() -> None:
    net, x = make(), data()
    stream = net.stream()
    stream.step(x[0])
    net.fit(x[None], np.ones((1, 8, 1)), epochs=2, learning_rate=0.1)
    state = stream.state
    assert np.array_equal(stream.step(x[1]), net.predict(x[None, 1:2], state=state)[0, 0])
    net.load_state_dict({name: value * 0 for name, value in net.state_dict().items()})
    assert not stream.step(x[2]).any()


def test_another_instruction_set_in_the_middle() -> None:
    net, x = make(num_layers=2), data()
    before = hg.isa()
    stream, got = net.stream(), []
    try:
        for k, row in enumerate(x):
            hg.set_isa(hg.available_isas()[k % len(hg.available_isas())])
            got.append(stream.step(row))
    finally:
        hg.set_isa(before)
    assert np.allclose(got, net.predict(x[None])[0], rtol=0, atol=1e-6)


def test_a_stream_outlives_its_network() -> None:
    stream = make().stream()
    assert stream.step(np.ones(2)).shape == (1,)


def test_a_stream_learns_within_a_callback() -> None:
    net, x = make(), data()
    stream = net.stream()

    def look(env: hg.CallbackEnv) -> None:
        stream.reset()
        assert np.array_equal(stream.step(x[0]), env.network.predict(x[None, :1])[0, 0])

    net.fit(x[None], np.ones((1, 8, 1)), epochs=3, callbacks=[look])


def test_networks_without_a_state() -> None:
    spec = hg.NetworkSpec.mlp(2, (4,), 1)
    net = hg.Network(spec, seed=0)
    stream = net.stream()
    assert stream.state is None
    assert stream.to_bytes() == b""
    assert stream.step(np.ones(2)).shape == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bidirectional": True},
            "a stream knows nothing of later steps, but 'gru' is bidirectional; use "
            "bidirectional=False",
        ),
        (
            {"readout": "mean"},
            "a stream predicts at every step, but 'mean' is the mean over all steps; use "
            "readout='every' or readout='last'",
        ),
        ({"readout": "max"}, "'max' is the largest of all steps"),
        ({"readout": "attention"}, "'attention' is weights over all steps"),
    ],
)
def test_networks_that_cannot_stream(options: dict[str, Any], message: str) -> None:
    with pytest.raises(hg.InputError) as caught:
        make(**options).stream()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0], r"a step must be \(2,\): one step of one sequence, got shape \(1,\)"),
        (1.0, r"a step must be \(2,\)"),
        (np.ones((1, 2)), r"got shape \(1, 2\)"),
        ([1.0, np.nan], "x has a value that is not finite at index"),
        (["a", "b"], "x must hold numbers"),
        ({"y": 1}, r"a step must have the inputs \['x'\] as its keys, got \['y'\]"),
    ],
)
def test_a_step_that_is_refused_moves_nothing(x: Any, message: str) -> None:
    net = make()
    stream = net.stream()
    stream.step(np.ones(2))
    before = stream.to_bytes()
    with pytest.raises(hg.InputError, match=message):
        stream.step(x)
    assert stream.to_bytes() == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_numbers_that_are_not_finite(value: float) -> None:
    stream = make(input_size=1).stream()
    before = stream.to_bytes()
    with pytest.raises(hg.InputError, match="x has a value that is not finite"):
        stream.step(value)
    assert stream.to_bytes() == before


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (6, r"tokens is 6, but the embedding has 6 rows \(0 to 5\)"),
        (-1, "tokens is -1, but"),
        (1.5, "tokens must be one token's number, got 1.5"),
        ([1, 2], "tokens must be one token's number"),
    ],
)
def test_tokens_that_are_refused(token: Any, message: str) -> None:
    stream = make(input_size=None, vocabulary=6, embedding_size=3).stream()
    with pytest.raises(hg.InputError, match=message):
        stream.step(token)


def test_states_that_are_refused() -> None:
    stream = make().stream()
    with pytest.raises(hg.InputError, match=r"= \(1, 1, 6\), got \(1, 2, 6\)"):
        stream.state = np.zeros((1, 2, 6))
    with pytest.raises(hg.InputError, match="this network's state has 24 bytes, got 8"):
        stream.from_bytes(b"12345678")
    with pytest.raises(hg.InputError, match="the state must be bytes"):
        stream.from_bytes([1])
    with pytest.raises(hg.InputError, match="state has a value that is not finite"):
        stream.from_bytes(np.full(6, np.nan, "<f4").tobytes())
