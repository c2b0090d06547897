"""The engine's gradients against the reference's, tensor by tensor, on every instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
import strategies
import tolerances
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headgate as hg
from headgate import reference
from headgate.spec import GRU, Dense, Dropout, Last, NetworkSpec

BOTH = pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
LOSSES = ("mse", "mae", "huber")


def targets(rng: np.random.Generator, spec: NetworkSpec, n: int, t: int) -> np.ndarray:
    """Targets wide enough for Huber's both branches; none is near an output by design."""
    shape = (n, t, spec.output_size) if spec.readout == "every" else (n, spec.output_size)
    return 2 * oracles.normal(rng, shape)


def assert_same(
    spec: NetworkSpec,
    rng: np.random.Generator,
    n: int,
    t: int,
    loss: str = "mse",
    lengths: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    floor: float = 0.0,
) -> None:
    """Loss and every gradient of one batch against the reference."""
    tensors = oracles.network_tensors(spec, rng)
    x, y = oracles.normal(rng, (n, t, spec.input_size)), targets(rng, spec, n, t)
    value, expected = reference.network_gradients(spec, tensors, x, y, loss, lengths, state)
    if lengths is not None:  # nothing behind a sequence's end may be read
        behind = np.arange(t) >= lengths[:, None]
        x[behind] = 777.0
        if spec.readout == "every":
            y[behind] = -777.0
    net = oracles.network(spec, tensors)
    got_value, got = oracles.engine_gradients(net, x, y, loss, lengths, state)
    assert got_value == pytest.approx(value, rel=1e-5)
    for name, gradient in got.items():
        oracles.assert_gradient_close(
            gradient, expected[name], name, tolerances.GRADIENT, floor=floor
        )


def some_state(rng: np.random.Generator, layers: int, n: int, hidden: int) -> np.ndarray:
    return np.tanh(oracles.normal(rng, (layers, n, hidden))).astype(np.float32)


@BOTH
@pytest.mark.parametrize("hidden", strategies.HIDDEN_SIZES)
def test_every_size(isa: str, hidden: int, reset_after: bool) -> None:
    """All N; T, I, O, the loss, the read-out, raggedness and the first state go round."""
    rng = np.random.default_rng(hidden)
    rounds = zip(
        itertools.cycle(((1, 1), (2, 7), (5, 8), (20, 1), (3, 33))),
        itertools.cycle(LOSSES),
        itertools.cycle(("every", "last", "last", "every")),
        itertools.cycle((1, 2, 9)),
        strategies.BATCH_SIZES * 2,
        strict=False,
    )
    for k, ((t, inputs), loss, readout, outputs, n) in enumerate(rounds):
        spec = NetworkSpec.stacked(
            inputs, hidden, outputs, reset_after=reset_after, readout=readout
        )
        lengths = oracles.random_lengths(rng, n, t) if k % 3 else None
        state = some_state(rng, 1, n, hidden) if k % 2 else None
        assert_same(spec, rng, n, t, loss, lengths, state)


@BOTH
@pytest.mark.parametrize("hidden", [130, 256])
def test_wide_layers(isa: str, hidden: int, reset_after: bool) -> None:
    """More than one block of the sum over H, and more rows than any tile."""
    rng = np.random.default_rng(hidden)
    spec = NetworkSpec.stacked(3, hidden, 2, readout="every", reset_after=reset_after)
    assert_same(spec, rng, 21, 6, lengths=oracles.random_lengths(rng, 21, 6))


@BOTH
def test_work_that_is_cut_into_blocks_of_steps(isa: str, reset_after: bool) -> None:
    """Long enough that the engine stops between blocks to ask for Ctrl-C, on both ways."""
    rng = np.random.default_rng(1)
    spec = NetworkSpec.stacked(3, 300, 2, readout="every", reset_after=reset_after)
    lengths = np.maximum(oracles.random_lengths(rng, 40, 30), 25)
    assert_same(spec, rng, 40, 30, lengths=lengths)


@BOTH
def test_long_sums_over_rows(isa: str, reset_after: bool) -> None:
    """Weight gradients over more rows than one block of the matrix product."""
    rng = np.random.default_rng(0)
    spec = NetworkSpec.stacked(17, 18, 1, readout="every", reset_after=reset_after)
    assert_same(spec, rng, 33, 40)


@BOTH
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("num_layers", [2, 3])
def test_stacks_with_dense_layers(
    isa: str, num_layers: int, activation: str, reset_after: bool
) -> None:
    rng = np.random.default_rng(num_layers)
    for readout, hidden, n in (("every", 5, 3), ("last", 17, 9)):
        spec = NetworkSpec.stacked(
            4,
            hidden,
            2,
            num_layers=num_layers,
            reset_after=reset_after,
            readout=readout,
            dense=(9, 17),
            activation=activation,
        )
        state = some_state(rng, num_layers, n, hidden)
        assert_same(spec, rng, n, 6, "mse", oracles.random_lengths(rng, n, 6), state)


@BOTH
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_dense_before_the_recurrence(isa: str, activation: str, reset_after: bool) -> None:
    """Its gradients come through the recurrence's dx."""
    rng = np.random.default_rng(7)
    for width, hidden, n in itertools.product((1, 8, 17), (3, 16), (1, 9)):
        spec = oracles.chained(
            3,
            (Dense, "dense", {"size": width, "activation": activation}),
            (GRU, "gru", {"hidden_size": hidden, "reset_after": reset_after}),
            (Last, "last", {}),
            (Dense, "head", {"size": 2}),
        )
        assert_same(spec, rng, n, 5, lengths=oracles.random_lengths(rng, n, 5))


@pytest.mark.parametrize("loss", LOSSES)
def test_networks_without_recurrence(isa: str, loss: str) -> None:
    rng = np.random.default_rng(8)
    assert_same(NetworkSpec.mlp(1, (32, 16), 1), rng, 1, 20, loss)
    assert_same(NetworkSpec.mlp(9, (7,), 3, activation="tanh"), rng, 8, 3, loss)
    pooled = oracles.chained(2, (Last, "last", {}), (Dense, "head", {"size": 3}))
    assert_same(pooled, rng, 5, 4, loss, oracles.random_lengths(rng, 5, 4))


@given(case=strategies.gru_cases(), loss=st.sampled_from(LOSSES))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_case(isa: str, case: strategies.GRUCase, loss: str) -> None:
    rng = np.random.default_rng(case.seed)
    spec = NetworkSpec.stacked(case.i, case.h, 2, reset_after=case.reset_after, readout="every")
    lengths = None if case.lengths is None else np.array(case.lengths)
    state = some_state(rng, 1, case.n, case.h)
    # A gradient is a sum of terms near 0.1, and one that hypothesis finds may cancel to any small
    # number; then its size says nothing of its error.
    floor = tolerances.DIFFERENCE_FLOOR
    assert_same(spec, rng, case.n, case.t, loss, lengths, state, floor=floor)


def dropout_net(rate: float, seed: int, *, pooled: bool = False) -> hg.Network:
    """Dropout of ones, then a head whose weight gradient shows the mask."""
    layers = [(Last, "last", {})] if pooled else []
    layers += [(Dropout, "drop", {"rate": rate}), (Dense, "head", {"size": 1})]
    return hg.Network(oracles.chained(1001, *layers), seed=seed)


def mask_of(net: hg.Network, n: int, t: int) -> np.ndarray:
    """Sum over rows of the masked inputs, (1001,): what the head's weight gradient says.

    With one output and MAE the gradient at each row is -1 / rows for a target far above.
    """
    y = np.full((n, 1) if net.spec.readout == "last" else (n, t, 1), 1e6)
    _, got = oracles.engine_gradients(net, np.ones((n, t, 1001)), y, "mae")
    rows = n if net.spec.readout == "last" else n * t
    return -got["head.weight"][0] * rows


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_its_mean(isa: str, rate: float, pooled: bool) -> None:
    one = mask_of(dropout_net(rate, 1), 1, 1)
    kept = one != 0
    assert np.allclose(one[kept], 1 / (1 - rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / 1001)
    n, t = 7, 1 if pooled else 5
    many = mask_of(dropout_net(rate, 1, pooled=pooled), n, t).mean() / (n * t)
    assert abs(many - 1) < 5 * np.sqrt(rate / (1 - rate) / (1001 * n * t))


def test_dropout_masks_are_independent(isa: str) -> None:
    """Seeds, updates, samples and steps each have their own; the same key has the same."""
    first = mask_of(dropout_net(0.5, 1), 1, 1) > 0
    assert np.array_equal(first, mask_of(dropout_net(0.5, 1), 1, 1) > 0)
    assert 400 < np.sum(first != (mask_of(dropout_net(0.5, 2), 1, 1) > 0)) < 600
    for n, t in ((2, 1), (1, 2)):  # the sum over two rows has 0, 1 or 2 kept values
        both = np.round(mask_of(dropout_net(0.5, 1), n, t) / 2).astype(int)
        assert np.all(np.bincount(both, minlength=3) > 180)


@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_gradient_through_dropout_is_that_of_the_drawn_mask(isa: str, reset_after: bool) -> None:
    """The mask depends on (seed, update, layer, sample, time, unit) alone.

    So the training loss of the first update is a function of the weights that can be measured:
    its central difference along a random direction is the gradient's projection on it.
    """
    rng = np.random.default_rng(0)
    spec = oracles.chained(
        3,
        (Dense, "before", {"size": 9}),
        (Dropout, "drop0", {"rate": 0.4}),
        (GRU, "gru", {"hidden_size": 17, "reset_after": reset_after}),
        (Dropout, "drop1", {"rate": 0.4}),
        (Dense, "head", {"size": 2}),
    )
    tensors = oracles.network_tensors(spec, rng)
    x, lengths = oracles.normal(rng, (7, 5, 3)), oracles.random_lengths(rng, 7, 5)
    y = oracles.normal(rng, (7, 5, 2))
    net = oracles.network(spec, tensors, seed=3)
    value, gradients = oracles.engine_gradients(net, x, y, "mse", lengths)
    assert value != pytest.approx(net.evaluate(x, y, lengths=lengths), rel=1e-3)
    for name, gradient in gradients.items():
        direction = gradient / np.abs(gradient).max()
        step = 5e-3
        sides = []
        for sign in (1, -1):
            moved = {**tensors, name: tensors[name] + sign * step * direction}
            shifted = oracles.network(spec, moved, seed=3)
            sides.append(oracles.engine_gradients(shifted, x, y, "mse", lengths)[0])
        slope = (sides[0] - sides[1]) / (2 * step)
        assert slope == pytest.approx(float(np.sum(gradient * direction)), rel=2e-3), name
