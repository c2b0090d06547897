"""States: arrays as PyTorch's h_n, and the engine's flat vector."""

from __future__ import annotations

import numpy as np
import pytest

import headgate as hg
from headgate.errors import InputError
from headgate.spec import GRU, LSTM, Recurrent
from headgate.states import flatten, from_named, named, unflatten

BOTH = GRU("both", ("x",), hidden_size=3, num_layers=2, bidirectional=True)
CELL = LSTM("cell", ("both",), hidden_size=2, num_layers=2)


def numbered(stacks: list[Recurrent], rows: int) -> np.ndarray:
    """A flat vector that counts."""
    per_row = sum(s.num_layers * s.directions * len(s.states) * s.hidden_size for s in stacks)
    return np.arange(per_row * rows, dtype=np.float32)


def test_layers_directions_and_cells_in_the_flat_order() -> None:
    rows = 2
    state = unflatten(numbered([BOTH, CELL], rows), [BOTH, CELL])
    assert isinstance(state, dict)
    np.testing.assert_array_equal(state["both"], np.arange(4 * 2 * 3).reshape(4, 2, 3))
    h, c = state["cell"]
    assert h.shape == c.shape == (2, rows, 2)
    # after the first stack's 24 numbers: layer 0's h, its c, layer 1's h, its c
    np.testing.assert_array_equal(h[:, 0, 0], [24, 32])
    np.testing.assert_array_equal(c[:, 0, 0], [28, 36])


@pytest.mark.parametrize("stacks", [[BOTH], [CELL], [BOTH, CELL]])
def test_there_and_back(stacks: list[Recurrent]) -> None:
    flat = numbered(stacks, 5)
    state = unflatten(flat, stacks)
    np.testing.assert_array_equal(flatten(state, stacks), flat)
    np.testing.assert_array_equal(flatten(state, stacks, 5), flat)
    by_name = named(state, stacks)
    assert list(by_name) == [name for stack in stacks for name in stack.state_names()]
    np.testing.assert_array_equal(flatten(from_named(by_name, stacks), stacks), flat)


@pytest.mark.parametrize(
    ("stack", "state", "message"),
    [
        (
            BOTH,
            np.zeros((2, 5, 3)),
            "state must be (2 * num_layers, N, hidden_size) = (4, 5, 3), got (2, 5, 3)",
        ),
        (
            GRU("g", ("x",), hidden_size=3),
            np.zeros((2, 3)),
            "state must be (num_layers, N, hidden_size) = (1, 'N', 3), got (2, 3)",
        ),
        (
            GRU("g", ("x",), hidden_size=3),
            np.zeros((1, 0, 3)),
            "state must be (num_layers, N, hidden_size) = (1, 'N', 3), got (1, 0, 3)",
        ),
        (
            CELL,
            np.zeros((2, 5, 2)),
            "the state of 'cell' must be a pair (h, c), as net.state is, got ndarray",
        ),
        (
            CELL,
            (np.zeros((2, 5, 2)), np.zeros((2, 4, 2))),
            "state must be (num_layers, N, hidden_size) = (2, 5, 2), got (2, 4, 2)",
        ),
    ],
)
def test_refusals(stack: Recurrent, state: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        flatten(state, [stack])
    assert str(error.value) == message


def test_a_missing_half_is_named() -> None:
    with pytest.raises(InputError, match=r"the state has no \['cell.c'\]"):
        from_named({"cell.h": np.zeros((2, 1, 2), np.float32)}, [CELL])


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_sequence_in_two_halves_is_the_sequence(cell: str) -> None:
    net = hg.Network(input_size=2, hidden_size=5, num_layers=2, cell=cell, readout="every", seed=3)
    x = np.random.default_rng(0).standard_normal((3, 8, 2)).astype(np.float32)
    whole, state_after = net.predict(x, return_state=True)
    first, state = net.predict(x[:, :3], return_state=True)
    second, after = net.predict(x[:, 3:], state=state, return_state=True)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
    np.testing.assert_array_equal(np.asarray(after), np.asarray(state_after))


def test_what_needs_the_future_is_refused() -> None:
    net = hg.Network(input_size=1, hidden_size=3, bidirectional=True, readout="every")
    x = np.zeros((2, 4, 1))
    with pytest.raises(InputError) as error:
        net.fit(x, x, stateful=True, shuffle=False, batch_size=2)
    assert str(error.value) == (
        "a stateful fit carries states from one stretch of time to the next, but 'gru' is "
        "bidirectional: it would need what is still to come; use bidirectional=False"
    )
    with pytest.raises(InputError, match="a roll-out goes from one stretch of time to the next"):
        net.rollout(0.0, 3)
    pooled = hg.Network(input_size=1, hidden_size=3, readout="mean")
    with pytest.raises(InputError, match="a roll-out feeds each step's prediction back as values"):
        pooled.rollout(0.0, 3)
