"""A network's parameters as one vector, and drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headgate as hg

GOLDEN = Path(__file__).parent / "golden" / "sine_s3_weights.npz"


def network(**options: Any) -> hg.Network:
    return hg.Network(**{"input_size": 1, "hidden_size": 4, "seed": 0, **options})


def test_the_vector_is_the_parameters_one_behind_the_other() -> None:
    net = network()
    vector = net.get_vector()
    assert vector.dtype == np.float32
    expected = np.concatenate([part.ravel() for part in net.state_dict().values()])
    np.testing.assert_array_equal(vector, expected)
    vector[:] = 0  # a copy
    assert net.get_vector().any()


def test_a_vector_makes_a_network_another() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 1)).astype(np.float32)
    net, other = network(), network(seed=1)
    stream = net.stream()
    assert not np.array_equal(net.predict(x), other.predict(x))
    net.set_vector(other.get_vector().tolist())  # float64: whatever optimiser made it
    np.testing.assert_array_equal(net.predict(x), other.predict(x))
    for row in x[0]:  # a stream that was open before follows
        last = stream.step(row)
    np.testing.assert_array_equal(last, other.predict(x)[0])


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.zeros(88), r"shape \(89,\).*got \(88,\); net.get_vector"),
        (np.zeros((1, 89)), r"got \(1, 89\)"),
        (np.full(89, np.nan), "vector has a value that is not finite at index"),
        (["a"] * 89, "vector must hold numbers"),
        (None, "vector must hold numbers"),
    ],
)
def test_a_vector_that_does_not_fit_changes_nothing(vector: Any, message: str) -> None:
    net = network()
    before = net.get_vector()
    with pytest.raises(hg.InputError, match=message):
        net.set_vector(vector)
    np.testing.assert_array_equal(net.get_vector(), before)


def test_parameters_begin_again() -> None:
    net = network()
    start = net.get_vector()
    net.set_vector(start * 2)
    net.reset_parameters()
    np.testing.assert_array_equal(net.get_vector(), start)
    net.reset_parameters(7)
    np.testing.assert_array_equal(net.get_vector(), network(seed=7).get_vector())
    assert net.seed == 0


def test_torch_draws_are_reproduced_to_the_bit() -> None:
    """The GRU and its head, and the MLP that PyTorch made after them from the same seed."""
    with np.load(GOLDEN) as golden:
        net = hg.Network(input_size=1, hidden_size=16, readout="every")
        net.reset_parameters(0, like="torch")
        for name, values in net.state_dict().items():
            np.testing.assert_array_equal(values, golden[name], err_msg=name)
        mlp = hg.Network(hg.NetworkSpec.mlp(1, [32, 16]))
        mlp.reset_parameters(0, like="torch", skip=net.spec.parameter_count())
        for name, values in mlp.state_dict().items():
            np.testing.assert_array_equal(values, golden[f"mlp_init.{name}"], err_msg=name)


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, {"like": "keras"}, "like must be one of 'headgate', 'torch'"),
        ({}, {"seed": -1}, "seed must be between 0"),
        ({}, {"seed": 1 << 32, "like": "torch"}, "seed must be between 0 and 4294967295"),
        ({}, {"skip": 3}, "skip goes with like='torch'"),
        ({}, {"skip": -1, "like": "torch"}, "skip must be between 0"),
        ({"reset_after": False}, {"like": "torch"}, "no GRU with reset_after=False"),
        ({"layer_norm": True}, {"like": "torch"}, "no layer normalisation"),
        ({"readout": "attention"}, {"like": "torch"}, "no layer like 'attention'"),
        (
            {"input_size": None, "vocabulary": 3, "embedding_size": 2},
            {"like": "torch"},
            "layer 'embedding'.*load_state_dict",
        ),
    ],
)
def test_draws_that_cannot_be_reproduced_are_refused(
    options: dict[str, Any], call: dict[str, Any], message: str
) -> None:
    net = network(**options)
    before = net.get_vector()
    with pytest.raises(hg.InputError, match=message):
        net.reset_parameters(**call)
    np.testing.assert_array_equal(net.get_vector(), before)
