"""The engine's forward pass against the float64 reference, on every instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
import strategies
import tolerances
from hypothesis import HealthCheck, given, settings

import headgate as hg
from headgate import reference
from headgate.spec import GRU, Dense, Dropout, Last, NetworkSpec

HIDDEN = (*strategies.HIDDEN_SIZES, 130)
STEPS = (1, 2, 5, 20)
INPUTS = (1, 2, 7, 8, 9, 17, 33)
BOTH = pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])


def bare(input_size: int, hidden: int, reset_after: bool, num_layers: int = 1) -> NetworkSpec:
    """A network that is a GRU stack and nothing else: its outputs are the states."""
    options = {"hidden_size": hidden, "reset_after": reset_after, "num_layers": num_layers}
    return oracles.chained(input_size, (GRU, "gru", options))


def assert_same(
    spec: NetworkSpec,
    tensors: dict[str, np.ndarray],
    x: np.ndarray,
    lengths: np.ndarray | None = None,
    state: np.ndarray | None = None,
    atol: float = tolerances.FORWARD_UP_TO_256,
) -> None:
    """Outputs and last states within ``atol`` of the reference."""
    expected, after = reference.network_forward(spec, tensors, x, lengths, state)
    got, last = oracles.network(spec, tensors).predict(
        x, lengths=lengths, state=state, return_state=True
    )
    assert got.dtype == np.float32
    oracles.assert_forward_close(got, expected, atol)
    oracles.assert_forward_close(last, after["gru"], atol)


@BOTH
@pytest.mark.parametrize("hidden", HIDDEN)
def test_states_of_every_size(isa: str, hidden: int, reset_after: bool) -> None:
    """All of N x T, with I going round; half of them ragged, half from a given state."""
    rng = np.random.default_rng(hidden)
    inputs = itertools.cycle(INPUTS)
    for k, (n, t) in enumerate(itertools.product(strategies.BATCH_SIZES, STEPS)):
        spec = bare(next(inputs), hidden, reset_after)
        tensors = oracles.network_tensors(spec, rng)
        x = oracles.normal(rng, (n, t, spec.input_size))
        lengths = oracles.random_lengths(rng, n, t) if k % 2 else None
        state = np.tanh(oracles.normal(rng, (1, n, hidden))).astype(np.float32)
        assert_same(spec, tensors, x, lengths, state if k // 2 % 2 else None)


@BOTH
@pytest.mark.parametrize("width", INPUTS)
def test_every_input_width(isa: str, width: int, reset_after: bool) -> None:
    rng = np.random.default_rng(width)
    for hidden in (3, 16, 33):
        spec = bare(width, hidden, reset_after)
        assert_same(spec, oracles.network_tensors(spec, rng), oracles.normal(rng, (9, 4, width)))


@BOTH
@pytest.mark.parametrize(("hidden", "steps"), [(64, 100), (256, 100), (300, 40)])
def test_long_and_wide(isa: str, hidden: int, steps: int, reset_after: bool) -> None:
    rng = np.random.default_rng(hidden)
    spec = bare(5, hidden, reset_after)
    tensors = oracles.network_tensors(spec, rng)
    x = oracles.normal(rng, (3, steps, 5))
    assert_same(spec, tensors, x, atol=tolerances.forward_tolerance(hidden))


@given(case=strategies.gru_cases())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_case(isa: str, case: strategies.GRUCase) -> None:
    """Drawn sizes and lengths; whatever stands behind a sequence's end has no influence."""
    arrays = case.arrays()
    spec = bare(case.i, case.h, case.reset_after)
    tensors = {f"gru.{key}_l0": arrays[key] for key in oracles.GRU_KEYS}
    lengths = None if case.lengths is None else np.array(case.lengths)
    x = arrays["x"].copy()
    if lengths is not None:
        x[np.arange(case.t) >= lengths[:, None]] = 777.0
    assert_same(spec, tensors, x, lengths, arrays["h0"][None])


@BOTH
def test_away_from_default_weights(isa: str, reset_after: bool) -> None:
    """Large weights and inputs: at most four times the error of plain float32 arithmetic."""
    rng = np.random.default_rng(1)
    for hidden, scale in itertools.product((3, 17, 64), (2.0, 6.0)):
        spec = bare(4, hidden, reset_after)
        tensors = {
            name: (scale * value).astype(np.float32).astype(np.float64)
            for name, value in oracles.network_tensors(spec, rng).items()
        }
        x = 3 * oracles.normal(rng, (9, 20, 4))
        exact, _ = reference.network_forward(spec, tensors, x)
        plain, _ = reference.network_forward(spec, tensors, x, dtype=np.float32)
        limit = tolerances.FORWARD_ERROR_RATIO * float(np.max(np.abs(plain - exact)))
        got = oracles.network(spec, tensors).predict(x)
        oracles.assert_forward_close(got, exact, limit)


@BOTH
@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_whole_networks(
    isa: str, num_layers: int, activation: str, readout: str, reset_after: bool
) -> None:
    """Stack, read-out, dropout (the identity here), hidden layers and head, full and ragged."""
    rng = np.random.default_rng(num_layers)
    for hidden, n in ((3, 1), (16, 7), (17, 9)):
        spec = NetworkSpec.stacked(
            7,
            hidden,
            3,
            num_layers=num_layers,
            reset_after=reset_after,
            readout=readout,
            head_dropout=0.5,
            dense=(17, 8),
            activation=activation,
        )
        tensors = oracles.network_tensors(spec, rng)
        x = oracles.normal(rng, (n, 5, 7))
        state = np.tanh(oracles.normal(rng, (num_layers, n, hidden))).astype(np.float32)
        for lengths in (None, oracles.random_lengths(rng, n, 5)):
            assert_same(spec, tensors, x, lengths, state)


def test_dense_layers_on_both_sides_and_two_stacks(isa: str) -> None:
    """Layers in another order than the usual one, and a state for each stack by name."""
    rng = np.random.default_rng(5)
    spec = oracles.chained(
        3,
        (Dense, "before", {"size": 9, "activation": "tanh"}),
        (GRU, "low", {"hidden_size": 5, "reset_after": False}),
        (Dropout, "drop", {"rate": 0.3}),
        (Dense, "between", {"size": 17, "activation": "relu"}),
        (GRU, "high", {"hidden_size": 18, "num_layers": 2}),
        (Last, "last", {}),
        (Dense, "head", {"size": 2}),
    )
    tensors = oracles.network_tensors(spec, rng)
    x, lengths = oracles.normal(rng, (8, 6, 3)), oracles.random_lengths(rng, 8, 6)
    state = {
        "low": np.tanh(oracles.normal(rng, (1, 8, 5))).astype(np.float32),
        "high": np.tanh(oracles.normal(rng, (2, 8, 18))).astype(np.float32),
    }
    expected, after = reference.network_forward(spec, tensors, x, lengths, state)
    got, last = oracles.network(spec, tensors).predict(
        x, lengths=lengths, state=state, return_state=True
    )
    oracles.assert_forward_close(got, expected, tolerances.FORWARD_UP_TO_256)
    for name, value in after.items():
        oracles.assert_forward_close(last[name], value, tolerances.FORWARD_UP_TO_256)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_networks_without_recurrence(isa: str, activation: str) -> None:
    rng = np.random.default_rng(2)
    for width, size in itertools.product(INPUTS, (1, 8, 33)):
        spec = oracles.chained(width, (Dense, "head", {"size": size, "activation": activation}))
        tensors = oracles.network_tensors(spec, rng)
        x = oracles.normal(rng, (3, 4, width))
        expected, _ = reference.network_forward(spec, tensors, x)
        got = oracles.network(spec, tensors).predict(x)
        oracles.assert_forward_close(got, expected, tolerances.FORWARD_UP_TO_256)


def test_relu_passes_nan_and_zero(isa: str) -> None:
    """A relu network whose weights are nan would be caught, not turned into zeros."""
    spec = oracles.chained(1, (Dense, "head", {"size": 1, "activation": "relu"}))
    net = oracles.network(spec, {"head.weight": np.ones((1, 1)), "head.bias": np.zeros(1)})
    net._engine.set_vector(np.array([np.nan, 0.0], np.float32))
    assert np.isnan(net.predict(np.ones((1, 1, 1)))).all()
    net._engine.set_vector(np.array([-1.0, 0.0], np.float32))
    assert net.predict(np.ones((1, 1, 1))).tolist() == [[[0.0]]]


@BOTH
def test_rollout_is_predict_one_step_after_the_other(isa: str, reset_after: bool) -> None:
    """Warm-up steps included, to the bit; and the reference agrees over a few steps."""
    rng = np.random.default_rng(3)
    spec = NetworkSpec.stacked(2, 17, 2, readout="every", reset_after=reset_after, num_layers=2)
    tensors = oracles.network_tensors(spec, rng)
    net = oracles.network(spec, tensors)
    warm_up = oracles.normal(rng, (4, 2))
    path = net.rollout(warm_up, steps=6)
    out, state = net.predict(warm_up[None], return_state=True)
    expected = [out[0, -1]]
    for _ in range(5):
        out, state = net.predict(expected[-1][None, None], state=state, return_state=True)
        expected.append(out[0, 0])
    assert np.array_equal(path, np.stack(expected))
    fed = np.concatenate([warm_up, path[:-1]])[None]
    exact, _ = reference.network_forward(spec, tensors, fed)
    oracles.assert_forward_close(path, exact[0, 3:], tolerances.FORWARD_UP_TO_256)


def test_state_in_and_out_continues_a_sequence(isa: str) -> None:
    """Cutting a sequence anywhere and passing the state on changes no bit."""
    rng = np.random.default_rng(4)
    net = hg.Network(input_size=3, hidden_size=33, num_layers=2, readout="every", seed=4)
    x = oracles.normal(rng, (5, 12, 3), np.float32)
    whole, last = net.predict(x, return_state=True)
    for cut in (1, 5, 11):
        first, state = net.predict(x[:, :cut], return_state=True)
        second, end = net.predict(x[:, cut:], state=state, return_state=True)
        assert np.array_equal(np.concatenate([first, second], axis=1), whole)
        assert np.array_equal(end, last)
