"""Every cell of the reference: number by number, at its limits, and gradients by differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import oracles
import pytest
import tolerances

from headgate import reference
from headgate.errors import InputError
from headgate.reference import CELLS

EACH_CELL = pytest.mark.parametrize("cell", list(CELLS))
LENGTHS = (4, 1, 3, 0)


def layer(cell, rng, n=4, t=4, i=2, h=3, *, layer_norm=False, mask=False):
    """x, the initial state's parts, the tensors and the recurrent mask, all random."""
    tensors = oracles.cell_tensors(rng, cell, i, h, layer_norm=layer_norm)
    x = rng.standard_normal((n, t, i))
    state = tuple(rng.uniform(-1, 1, (n, h)) for _ in range(CELLS[cell].state_parts))
    kept = rng.choice([0.0, 1.25, 1.25], (n, h)) if mask else None
    return x, state, tensors, kept


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def normalised(values, gain):
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return [g * (v - mean) / math.sqrt(variance + 1e-5) for v, g in zip(values, gain, strict=True)]


def step_by_hand(cell, x, state, tensors, mask):
    """One sequence, one step, scalar by scalar, straight from the papers."""
    h = state[0]
    size = len(h)
    seen = [m * v for m, v in zip(mask, h, strict=True)]

    def affine(which, gate, v):
        part = slice(gate * size, (gate + 1) * size)
        values = [sum(a * b for a, b in zip(row, v, strict=True)) for row in tensors[which][part]]
        gain = tensors.get(which.replace("weight", "norm"))
        return values if gain is None else normalised(values, gain[part])

    def bias(which, gate, j):
        return tensors[which][gate * size + j]

    def both(gate, v):
        w, u = affine("weight_ih", gate, x), affine("weight_hh", gate, v)
        return [
            w[j] + bias("bias_ih", gate, j) + u[j] + bias("bias_hh", gate, j) for j in range(size)
        ]

    if cell == "lstm":
        i, f, g, o = (both(gate, seen) for gate in range(4))
        c = [sigmoid(f[j]) * state[1][j] + sigmoid(i[j]) * math.tanh(g[j]) for j in range(size)]
        return [sigmoid(o[j]) * math.tanh(c[j]) for j in range(size)], c
    if cell.startswith("rnn"):
        a = both(0, seen)
        return ([math.tanh(v) if cell == "rnn_tanh" else max(v, 0.0) for v in a],)
    r, z = ([sigmoid(v) for v in both(gate, seen)] for gate in range(2))
    w = affine("weight_ih", 2, x)
    if cell == "gru":
        u = affine("weight_hh", 2, seen)
        late = [r[j] * (u[j] + bias("bias_hh", 2, j)) for j in range(size)]
    else:
        late = affine("weight_hh", 2, [r[j] * seen[j] for j in range(size)])
    n = [math.tanh(w[j] + bias("bias_ih", 2, j) + late[j]) for j in range(size)]
    return ([(1 - z[j]) * n[j] + z[j] * h[j] for j in range(size)],)


@EACH_CELL
@pytest.mark.parametrize("layer_norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_a_step_equals_the_step_written_by_hand(cell, layer_norm, masked):
    x, state, tensors, mask = layer(
        cell, np.random.default_rng(0), t=1, layer_norm=layer_norm, mask=masked
    )
    _, after, _ = reference.recurrent_forward(cell, x, state, tensors, mask=mask)
    ones = np.ones_like(state[0]) if mask is None else mask
    for row in range(len(x)):
        expected = step_by_hand(cell, x[row, 0], [s[row] for s in state], tensors, ones[row])
        for got, part in zip(after, expected, strict=True):
            oracles.assert_forward_close(got[row], np.array(part), tolerances.FLOAT64_EQUAL)


@EACH_CELL
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_a_ragged_batch_is_each_sequence_alone(cell, reverse):
    """And a reverse layer is a forward one over the sequence turned round."""
    x, state, tensors, mask = layer(cell, np.random.default_rng(1), mask=True)
    outputs, after, _ = reference.recurrent_forward(
        cell, x, state, tensors, lengths=LENGTHS, reverse=reverse, mask=mask
    )
    way = slice(None, None, -1 if reverse else 1)
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        alone, end, _ = reference.recurrent_forward(
            cell, x[one, :length][:, way], tuple(s[one] for s in state), tensors, mask=mask[one]
        )
        oracles.assert_forward_close(outputs[row, :length], alone[0, way], tolerances.FLOAT64_EQUAL)
        assert not outputs[row, length:].any(), "outputs past the length must be zero"
        for got, part in zip(after, end, strict=True):
            oracles.assert_forward_close(got[one], part, tolerances.FLOAT64_EQUAL)


@EACH_CELL
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_padding_is_never_read(cell, reverse):
    x, state, tensors, _ = layer(cell, np.random.default_rng(2), layer_norm=True)
    grad = np.random.default_rng(3).standard_normal((4, 4, 3))

    def run():
        outputs, after, cache = reference.recurrent_forward(
            cell, x, state, tensors, lengths=LENGTHS, reverse=reverse
        )
        back = reference.recurrent_backward(cache, grad)
        return [outputs, *after, back.x, *back.state, *back.tensors.values(), back.hidden]

    clean = run()
    for row, length in enumerate(LENGTHS):
        x[row, length:] = grad[row, length:] = np.nan
    for before, now in zip(clean, run(), strict=True):
        np.testing.assert_array_equal(now, before)


@EACH_CELL
def test_float32_stays_float32(cell):
    x, state, tensors, mask = layer(cell, np.random.default_rng(4), layer_norm=True, mask=True)
    run = [
        reference.recurrent_forward(cell, x, state, tensors, mask=mask, dtype=dtype)
        for dtype in (np.float64, np.float32)
    ]
    back = [reference.recurrent_backward(cache, outputs) for outputs, _, cache in run]
    for exact, single in (
        (run[0][0], run[1][0]),
        *zip(run[0][1], run[1][1], strict=True),
        (back[0].x, back[1].x),
        (back[0].hidden, back[1].hidden),
        *zip(back[0].state, back[1].state, strict=True),
        *((back[0].tensors[name], back[1].tensors[name]) for name in tensors),
    ):
        assert (exact.dtype, single.dtype) == (np.float64, np.float32)
        assert 0 < np.abs(single - exact).max() < 1e-4


# -- gradients ---------------------------------------------------------------------------------


def check_gradients(cell, x, state, tensors, **options):
    """Every element of everything, for a random scalar of outputs and end state."""
    rng = np.random.default_rng(5)
    n, t, size = *x.shape[:2], state[0].shape[1]
    along = rng.standard_normal((n, t, size))
    at_end = tuple(rng.standard_normal((n, size)) for _ in state)

    def run():
        return reference.recurrent_forward(cell, x, state, tensors, **options)

    def value():
        outputs, after, _ = run()
        return float(
            (outputs * along).sum() + sum((a * g).sum() for a, g in zip(after, at_end, strict=True))
        )

    got = reference.recurrent_backward(run()[2], along, at_end)
    # 1 / deviation of a few nearly equal units is curved: a shorter step, a little more rounding
    step = tolerances.DIFFERENCE_STEP / (4 if "norm_ih" in tensors else 1)
    pairs = {
        "x": (x, got.x),
        **{f"state{k}": pair for k, pair in enumerate(zip(state, got.state, strict=True))},
        **{name: (tensor, got.tensors[name]) for name, tensor in tensors.items()},
    }
    for name, (array, gradient) in pairs.items():
        expected = oracles.central_differences(value, array, step)
        assert np.abs(expected).max() > 1e-3, f"{name}: a zero gradient tests nothing"
        oracles.assert_gradient_close(
            gradient,
            expected,
            name,
            tolerances.CENTRAL_DIFFERENCE,
            floor=tolerances.DIFFERENCE_FLOOR,
        )


@EACH_CELL
@pytest.mark.parametrize(
    ("layer_norm", "masked", "reverse", "lengths"),
    list(itertools.product([False, True], [False, True], [False, True], [None, LENGTHS])),
)
def test_gradients_of_every_element_by_central_differences(
    cell, layer_norm, masked, reverse, lengths
):
    rng = np.random.default_rng(6)
    x, state, tensors, mask = layer(cell, rng, layer_norm=layer_norm, mask=masked)
    check_gradients(cell, x, state, tensors, lengths=lengths, reverse=reverse, mask=mask)


@EACH_CELL
def test_one_unit_is_normalised_to_its_shift(cell):
    """The mean over one unit is the unit itself: a layer of one, normalised, hears nothing."""
    x, state, tensors, _ = layer(cell, np.random.default_rng(7), h=1, layer_norm=True)
    outputs, _, cache = reference.recurrent_forward(cell, x, state, tensors)
    unheard, _, _ = reference.recurrent_forward(cell, 5 * x, state, tensors)
    np.testing.assert_array_equal(outputs, unheard)
    assert not reference.recurrent_backward(cache, outputs).x.any()


@EACH_CELL
def test_normalised_gates_do_not_feel_the_scale_of_a_weight(cell):
    """What layer normalisation is for; with 1e-5 beside the variance it holds nearly."""
    x, state, tensors, _ = layer(cell, np.random.default_rng(8), h=7, layer_norm=True)
    tensors = {k: v * (1e3 if k.startswith("weight") else 1) for k, v in tensors.items()}
    doubled = {k: v * (2 if k.startswith("weight") else 1) for k, v in tensors.items()}
    outputs, _, _ = reference.recurrent_forward(cell, x, state, tensors)
    same, _, _ = reference.recurrent_forward(cell, x, state, doubled)
    np.testing.assert_allclose(same, outputs, atol=1e-8)


@EACH_CELL
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_hidden_gradients_are_what_a_nudge_of_h_t_does_to_everything_behind_it(cell, reverse):
    """dLoss/dh_t by cutting the run behind step t and starting again from the nudged state."""
    x, state, tensors, mask = layer(cell, np.random.default_rng(9), n=2, mask=True)
    along = np.random.default_rng(10).standard_normal((2, 4, 3))
    _, _, cache = reference.recurrent_forward(cell, x, state, tensors, reverse=reverse, mask=mask)
    hidden = reference.recurrent_backward(cache, along).hidden
    way = slice(None, None, -1 if reverse else 1)
    x, along, hidden = x[:, way], along[:, way], hidden[:, way]
    for t in range(4):
        _, now, _ = reference.recurrent_forward(cell, x[:, : t + 1], state, tensors, mask=mask)

        def value(t=t, now=now):
            rest, _, _ = reference.recurrent_forward(cell, x[:, t + 1 :], now, tensors, mask=mask)
            return float((now[0] * along[:, t]).sum() + (rest * along[:, t + 1 :]).sum())

        expected = oracles.central_differences(value, now[0])
        oracles.assert_gradient_close(
            hidden[:, t], expected, f"step {t}", tolerances.CENTRAL_DIFFERENCE, floor=1.0
        )


# -- what masks mean, and limits -----------------------------------------------------------------


@pytest.mark.parametrize("cell", ["gru", "gru_before"])
def test_a_dropped_unit_still_carries_its_own_state(cell):
    """With every unit dropped the gates see x alone, and z * h is still handed on."""
    x, state, tensors, _ = layer(cell, np.random.default_rng(11), t=1)
    _, (dropped,), _ = reference.recurrent_forward(cell, x, state, tensors, mask=np.zeros((4, 3)))
    deaf = {**tensors, "weight_hh": np.zeros_like(tensors["weight_hh"])}
    _, (expected,), _ = reference.recurrent_forward(cell, x, state, deaf)
    np.testing.assert_array_equal(dropped, expected)
    _, (zero,), _ = reference.recurrent_forward(cell, x, (0 * state[0],), deaf)
    assert np.abs(dropped - zero).max() > 0.1


def test_a_shut_lstm_keeps_its_cell_for_ever():
    x, state, tensors, _ = layer("lstm", np.random.default_rng(12))
    tensors = {name: np.zeros_like(tensor) for name, tensor in tensors.items()}
    tensors["bias_ih"][:6] = (-1000,) * 3 + (1000,) * 3  # i = 0, f = 1, o = 1/2
    outputs, (_, c), _ = reference.recurrent_forward("lstm", x, state, tensors)
    np.testing.assert_array_equal(c, state[1])
    np.testing.assert_allclose(outputs, np.repeat(np.tanh(c)[:, None] / 2, 4, axis=1))


def test_a_gru_without_its_gates_is_a_tanh_rnn():
    x, state, tensors, mask = layer("gru", np.random.default_rng(13), mask=True)
    for name, tensor in tensors.items():
        tensor[:6] = 0.0
        if name == "bias_ih":
            tensor[:6] = (1000,) * 3 + (-1000,) * 3  # r = 1, z = 0
    outputs, _, _ = reference.recurrent_forward("gru", x, state, tensors, mask=mask)
    rest = {name: tensor[6:] for name, tensor in tensors.items()}
    expected, _, _ = reference.recurrent_forward("rnn_tanh", x, state, rest, mask=mask)
    oracles.assert_forward_close(outputs, expected, tolerances.FLOAT64_EQUAL)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": (np.zeros((4, 3)),)}, "the state of an LSTM has 2 parts, got 1"),
        ({"state": (np.zeros((4, 3)), np.zeros((4, 2)))}, r"c0 must have shape \(N, H\)"),
        ({"mask": np.ones(3)}, r"mask must have shape \(N, H\) = \(4, 3\), got \(3,\)"),
        ({"weight_hh": np.zeros((9, 3))}, r"weight_hh must have shape \(4H, H\), got \(9, 3\)"),
        ({"bias_hh": np.zeros(9)}, r"bias_hh must have shape \(4H,\) for an LSTM = \(12\)"),
        ({"norm_ih": np.zeros(12)}, "tensors must be weight_ih, .*, norm_ih, norm_hh, got "),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    x, state, tensors, mask = layer("lstm", np.random.default_rng(14))
    run = {"state": state, "mask": mask}
    for key, value in change.items():
        (run if key in run else tensors)[key] = value
    with pytest.raises(InputError, match=message):
        reference.recurrent_forward("lstm", x, run["state"], tensors, mask=run["mask"])
