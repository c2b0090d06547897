"""The float64 reference is held by central differences, by hand and by its limits."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import strategies
import tolerances
from hypothesis import given, settings

from headgate import reference
from headgate.errors import InputError
from headgate.spec import GRU, Dense, Dropout, InputSpec, Last, NetworkSpec

BOTH = pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])


def forward(arrays, reset_after=True, lengths=None):
    return reference.gru_forward(
        *(arrays[k] for k in ("x", "h0", *oracles.GRU_KEYS)),
        reset_after=reset_after,
        lengths=lengths,
    )


def step_by_hand(x, h, w, u, b, c, reset_after):
    """One sequence, one step, scalar by scalar, straight from the papers."""
    size = len(h)
    squash = lambda a: 1 / (1 + math.exp(-a))  # noqa: E731
    dot = lambda row, v: sum(float(p) * float(q) for p, q in zip(row, v, strict=True))  # noqa: E731
    r = [squash(dot(w[j], x) + b[j] + dot(u[j], h) + c[j]) for j in range(size)]
    new = []
    for j in range(size):
        jz, jn = size + j, 2 * size + j
        z = squash(dot(w[jz], x) + b[jz] + dot(u[jz], h) + c[jz])
        if reset_after:
            n = math.tanh(dot(w[jn], x) + b[jn] + r[j] * (dot(u[jn], h) + c[jn]))
        else:
            rh = [r[k] * h[k] for k in range(size)]
            n = math.tanh(dot(w[jn], x) + b[jn] + dot(u[jn], rh))
        new.append((1 - z) * n + z * h[j])
    return np.array(new)


# -- sigmoid ---------------------------------------------------------------------------------


def test_sigmoid_known_values_and_extremes():
    a = np.array([0.0, math.log(3), -math.log(3), 1000.0, -1000.0, np.inf, -np.inf, np.nan])
    expected = np.array([0.5, 0.75, 0.25, 1.0, 0.0, 1.0, 0.0, np.nan])
    np.testing.assert_allclose(reference.sigmoid(a), expected, rtol=1e-15)
    assert reference.sigmoid(np.float32([-3])).dtype == np.float32


def test_sigmoid_keeps_its_relative_accuracy_in_the_negative_tail():
    np.testing.assert_allclose(reference.sigmoid(-700.0), math.exp(-700.0), rtol=1e-14)


# -- one layer, forward ----------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("hidden_size", [1, 3, 17])
def test_step_equals_the_step_written_by_hand(hidden_size, reset_after):
    rng = np.random.default_rng(hidden_size)
    tensors = oracles.gru_tensors(rng, 2, hidden_size, reset_after=reset_after)
    x, h = rng.standard_normal((3, 2)), rng.uniform(-1, 1, (3, hidden_size))
    got = reference.gru_step(x, h, *tensors.values(), reset_after=reset_after)
    expected = [step_by_hand(*row, *tensors.values(), reset_after) for row in zip(x, h)]  # noqa: B905
    oracles.assert_forward_close(got, np.array(expected), tolerances.FLOAT64_EQUAL)


@settings(max_examples=40, deadline=None)
@given(strategies.gru_cases(shortest=0))
def test_forward_is_the_step_repeated_on_each_sequence_alone(case):
    arrays = case.arrays()
    outputs, h_n, _ = forward(arrays, case.reset_after, case.lengths)
    weights = [arrays[k] for k in oracles.GRU_KEYS]
    for row in range(case.n):
        length = case.t if case.lengths is None else case.lengths[row]
        h = arrays["h0"][row : row + 1]
        for t in range(length):
            x = arrays["x"][row : row + 1, t]
            h = reference.gru_step(x, h, *weights, reset_after=case.reset_after)
            oracles.assert_forward_close(outputs[row, t], h[0], tolerances.FLOAT64_EQUAL)
        oracles.assert_forward_close(h_n[row], h[0], tolerances.FLOAT64_EQUAL)
        assert not outputs[row, length:].any(), "outputs past the length must be zero"


@BOTH
def test_padding_is_never_read(reset_after):
    case = strategies.GRUCase(3, 4, 2, 5, reset_after, (4, 1, 2), seed=5)
    arrays = case.arrays()
    grad = np.random.default_rng(1).standard_normal((3, 4, 5))
    clean = forward(arrays, reset_after, case.lengths)
    clean_grads = reference.gru_backward(clean[2], grad)
    for row, length in enumerate(case.lengths):
        arrays["x"][row, length:] = np.nan
        grad[row, length:] = np.nan
    dirty = forward(arrays, reset_after, case.lengths)
    np.testing.assert_array_equal(dirty[0], clean[0])
    np.testing.assert_array_equal(dirty[1], clean[1])
    for key, value in reference.gru_backward(dirty[2], grad).items():
        np.testing.assert_array_equal(value, clean_grads[key], err_msg=key)


def test_h0_none_is_zeros_and_float32_is_float32():
    arrays = strategies.GRUCase(2, 3, 1, 4, True, None, seed=2).arrays()
    weights = [arrays[k] for k in oracles.GRU_KEYS]
    outputs, _, _ = reference.gru_forward(arrays["x"], np.zeros((2, 4)), *weights)
    same, _, _ = reference.gru_forward(arrays["x"], None, *weights)
    np.testing.assert_array_equal(same, outputs)
    assert outputs.dtype == np.float64
    single, _, cache = reference.gru_forward(arrays["x"], None, *weights, dtype=np.float32)
    assert single.dtype == np.float32
    assert {a.dtype for a in reference.gru_backward(cache, single).values()} == {np.dtype("f4")}
    assert 0 < np.abs(single - outputs).max() < 1e-6


# -- one layer, limits -----------------------------------------------------------------------


def with_gates(rng, *, reset=None, update=None, reset_after=True):
    """A layer whose named gates are held at 0 or 1 exactly, whatever comes in."""
    size = 5
    tensors = oracles.gru_tensors(rng, 2, size, reset_after=reset_after)
    for k, value in enumerate((reset, update)):
        if value is not None:
            rows = slice(k * size, (k + 1) * size)
            for part in tensors.values():
                part[rows] = 0.0
            tensors["bias_ih"][rows] = 1000.0 if value else -1000.0
    x, h0 = rng.standard_normal((3, 6, 2)), rng.uniform(-1, 1, (3, size))
    return {"x": x, "h0": h0, **tensors}


def plain_rnn(arrays, reset_after):
    """h' = tanh(W x + b + U h + c), nothing gated."""
    w, u, b = (arrays[k][10:] for k in ("weight_ih", "weight_hh", "bias_ih"))
    c = arrays["bias_hh"][10:] if reset_after else np.zeros(5)
    h, outputs = arrays["h0"], []
    for t in range(arrays["x"].shape[1]):
        h = np.tanh(arrays["x"][:, t] @ w.T + b + h @ u.T + c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


@BOTH
def test_r_at_1_and_z_at_0_is_a_plain_tanh_rnn(reset_after):
    arrays = with_gates(np.random.default_rng(3), reset=1, update=0, reset_after=reset_after)
    outputs, _, _ = forward(arrays, reset_after)
    oracles.assert_forward_close(outputs, plain_rnn(arrays, reset_after), tolerances.FLOAT64_EQUAL)


@BOTH
def test_r_at_1_moves_the_state_towards_a_plain_rnn_update(reset_after):
    arrays = with_gates(np.random.default_rng(4), reset=1, reset_after=reset_after)
    arrays["x"] = arrays["x"][:, :1]
    outputs, _, cache = forward(arrays, reset_after)
    z, candidate = cache.gates.update[:, 0], plain_rnn(arrays, reset_after)[:, 0]
    assert z.min() > 0.05
    assert z.max() < 0.95
    expected = (1 - z) * candidate + z * arrays["h0"]
    oracles.assert_forward_close(outputs[:, 0], expected, tolerances.FLOAT64_EQUAL)


@BOTH
def test_r_and_z_at_0_forget_the_past(reset_after):
    arrays = with_gates(np.random.default_rng(5), reset=0, update=0, reset_after=reset_after)
    outputs, _, cache = forward(arrays, reset_after)
    w, b = arrays["weight_ih"][10:], arrays["bias_ih"][10:]
    expected = np.tanh(arrays["x"] @ w.T + b)
    oracles.assert_forward_close(outputs, expected, tolerances.FLOAT64_EQUAL)
    grads = reference.gru_backward(cache, np.ones_like(outputs))
    assert not grads["h0"].any(), "nothing of the past may reach the loss"
    assert not grads["weight_hh"][10:].any() or reset_after


@BOTH
def test_z_at_1_keeps_the_state_for_ever(reset_after):
    arrays = with_gates(np.random.default_rng(6), update=1, reset_after=reset_after)
    outputs, h_n, _ = forward(arrays, reset_after)
    np.testing.assert_array_equal(h_n, arrays["h0"])
    np.testing.assert_array_equal(outputs, np.repeat(arrays["h0"][:, None], 6, axis=1))


def test_the_two_reset_placements_differ_but_for_one_unit_without_candidate_bias():
    for size, agree in ((1, True), (4, False)):
        arrays = strategies.GRUCase(3, 5, 2, size, True, None, seed=8).arrays()
        arrays["bias_hh"][2 * size :] = 0.0
        after, _, _ = forward(arrays, True)
        before, _, _ = forward({**arrays, "bias_hh": arrays["bias_hh"][: 2 * size]}, False)
        difference = np.abs(after - before).max()
        assert (difference < tolerances.FLOAT64_EQUAL) if agree else (difference > 1e-3)


# -- one layer, backward ---------------------------------------------------------------------


def gru_loss(arrays, reset_after, lengths, along_outputs, along_h_n):
    outputs, h_n, cache = forward(arrays, reset_after, lengths)
    return float((outputs * along_outputs).sum() + (h_n * along_h_n).sum()), cache


@BOTH
@pytest.mark.parametrize("lengths", [None, (4, 1, 3), (0, 4, 2)], ids=["full", "ragged", "empty"])
@pytest.mark.parametrize(("i", "h"), [(1, 1), (2, 3), (3, 4)])
def test_gradients_of_every_element_by_central_differences(i, h, lengths, reset_after):
    rng = np.random.default_rng(7)
    arrays = strategies.GRUCase(3, 4, i, h, reset_after, lengths, seed=i + h).arrays()
    along = rng.standard_normal((3, 4, h)), rng.standard_normal((3, h))
    _, cache = gru_loss(arrays, reset_after, lengths, *along)
    grads = reference.gru_backward(cache, *along)
    assert set(grads) == set(arrays)
    for key, array in arrays.items():
        expected = oracles.central_differences(
            lambda: gru_loss(arrays, reset_after, lengths, *along)[0], array
        )
        assert np.abs(expected).max() > 1e-3, f"{key}: a zero gradient tests nothing"
        oracles.assert_gradient_close(
            grads[key],
            expected,
            key,
            tolerances.CENTRAL_DIFFERENCE,
            floor=tolerances.DIFFERENCE_FLOOR,
        )


@settings(max_examples=40, deadline=None)
@given(strategies.gru_cases())
def test_gradients_along_random_directions_at_odd_sizes(case):
    rng = np.random.default_rng(case.seed ^ 1)
    arrays = case.arrays()
    along = rng.standard_normal((case.n, case.t, case.h)), rng.standard_normal((case.n, case.h))

    def value():
        return gru_loss(arrays, case.reset_after, case.lengths, *along)[0]

    grads = reference.gru_backward(
        gru_loss(arrays, case.reset_after, case.lengths, *along)[1], *along
    )
    for key, array in arrays.items():
        direction = rng.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        got = float((grads[key] * direction).sum())
        expected = oracles.directional_difference(value, array, direction)
        scale = max(1.0, float(np.linalg.norm(grads[key])))
        assert abs(got - expected) <= tolerances.CENTRAL_DIFFERENCE * scale, key


@BOTH
def test_backward_of_the_outputs_alone_leaves_its_arguments_as_they_were(reset_after):
    arrays = strategies.GRUCase(2, 3, 2, 3, reset_after, None, seed=9).arrays()
    outputs, _, cache = forward(arrays, reset_after)
    last = np.ones((2, 3))
    on_outputs = np.zeros_like(outputs)
    on_outputs[:, -1] = last
    one = reference.gru_backward(cache, on_outputs)
    two = reference.gru_backward(cache, np.zeros_like(outputs), last)
    for key in one:  # the last output and h_n are the same thing
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)
    np.testing.assert_array_equal(last, np.ones((2, 3)))


# -- dense layers and losses -----------------------------------------------------------------


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_dense_value_and_gradients(activation):
    rng = np.random.default_rng(10)
    x, w, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((5, 4)), rng.standard_normal(5)
    outputs, cache = reference.dense_forward(x, w, b, activation)
    squash = {"linear": float, "relu": lambda a: max(a, 0.0), "tanh": math.tanh}[activation]
    assert outputs[1, 2, 3] == pytest.approx(
        squash(sum(w[3, k] * x[1, 2, k] for k in range(4)) + b[3]), rel=1e-14
    )
    along = rng.standard_normal(outputs.shape)
    grads = reference.dense_backward(cache, along)
    for key, array in {"x": x, "weight": w, "bias": b}.items():
        expected = oracles.central_differences(
            lambda: float((reference.dense_forward(x, w, b, activation)[0] * along).sum()), array
        )
        oracles.assert_gradient_close(grads[key], expected, key, tolerances.CENTRAL_DIFFERENCE)


@pytest.mark.parametrize(
    ("loss", "value", "slopes"),
    [
        ("mse", (9 + 0.25 + 0 + 1) / 4, (6, -1, 0, 2)),
        ("mae", (3 + 0.5 + 0 + 1) / 4, (1, -1, 0, 1)),
        ("huber", (2.5 + 0.125 + 0 + 0.5) / 4, (1, -0.5, 0, 1)),
    ],
)
def test_losses_on_numbers_done_by_hand(loss, value, slopes):
    outputs, targets = np.array([[3.0, 1.0], [2.0, 0.0]]), np.array([[0.0, 1.5], [2.0, -1.0]])
    got, grad = reference.loss_and_gradient(loss, outputs, targets)
    assert got == pytest.approx(value, rel=1e-15)
    np.testing.assert_allclose(grad.ravel(), np.array(slopes) / 4, rtol=1e-15)


def test_a_loss_is_the_mean_over_valid_targets_only():
    outputs = np.array([[[1.0], [5.0]], [[2.0], [4.0]]])
    targets = np.array([[[0.0], [np.nan]], [[0.0], [0.0]]])
    value, grad = reference.loss_and_gradient("mse", outputs, targets, [[1, 0], [1, 1]])
    assert value == pytest.approx((1 + 4 + 16) / 3)
    np.testing.assert_allclose(grad.ravel(), np.array([2, 0, 4, 8]) / 3)
    with pytest.raises(InputError, match="no valid target"):
        reference.loss_and_gradient("mse", outputs, targets, np.zeros((2, 2)))


# -- a whole network -------------------------------------------------------------------------


def chain(*layers):
    """A spec of these (class, name, options), each reading from the one before."""
    names = ["x", *(name for _, name, _ in layers)]
    return NetworkSpec(
        inputs=(InputSpec("x", 2),),
        layers=tuple(
            cls(name=name, inputs=(before,), **options)
            for before, (cls, name, options) in zip(names, layers)  # noqa: B905
        ),
    )


def deep(reset_after, *readout):
    return chain(
        (Dense, "first", {"size": 2, "activation": "tanh"}),
        (GRU, "low", {"hidden_size": 2, "num_layers": 2, "reset_after": reset_after}),
        (Dropout, "drop", {"rate": 0.5}),
        (GRU, "high", {"hidden_size": 3, "reset_after": reset_after}),
        *readout,
        (Dense, "dense0", {"size": 4, "activation": "relu"}),
        (Dense, "head", {"size": 1}),
    )


@BOTH
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("readout", [[], [(Last, "last", {})]], ids=["every", "last"])
def test_gradients_of_a_whole_network_by_central_differences(readout, loss, reset_after):
    rng = np.random.default_rng(11)
    spec, lengths = deep(reset_after, *readout), np.array([3, 2])
    # three times the default weights, so that what reaches x is well above rounding
    tensors = {key: 3 * value for key, value in oracles.network_tensors(spec, rng).items()}
    x = rng.standard_normal((2, 3, 2))
    state = {"low": rng.uniform(-1, 1, (2, 2, 2)), "high": rng.uniform(-1, 1, (1, 2, 3))}
    y = 2 * rng.standard_normal((2, 1) if readout else (2, 3, 1))
    valid = None if readout else np.arange(3) < lengths[:, None]

    def value():
        outputs, _ = reference.network_forward(spec, tensors, x, lengths, state)
        return reference.loss_and_gradient(loss, outputs, y, valid)[0]

    got, grads = reference.network_gradients(spec, tensors, x, y, loss, lengths, state)
    assert got == value()

    arrays = {**tensors, "x": x, **{f"state.{k}": v for k, v in state.items()}}
    assert set(grads) == set(arrays)
    for key, array in arrays.items():
        expected = oracles.central_differences(value, array)
        assert np.abs(expected).max() > 1e-5, f"{key}: a zero gradient tests nothing"
        oracles.assert_gradient_close(
            grads[key],
            expected,
            key,
            tolerances.CENTRAL_DIFFERENCE,
            floor=tolerances.DIFFERENCE_FLOOR,
        )


def test_a_network_is_its_layers_one_after_another():
    rng = np.random.default_rng(12)
    spec = NetworkSpec.stacked(2, 3, 1, num_layers=2, readout="last", head_dropout=0.3, dense=(4,))
    tensors, x = oracles.network_tensors(spec, rng), rng.standard_normal((3, 5, 2))
    lengths, state = [5, 1, 4], rng.uniform(-1, 1, (2, 3, 3))
    low, h_low, _ = reference.gru_forward(
        x, state[0], *(tensors[f"gru.{k}_l0"] for k in oracles.GRU_KEYS), lengths=lengths
    )
    _, h_high, _ = reference.gru_forward(
        low, state[1], *(tensors[f"gru.{k}_l1"] for k in oracles.GRU_KEYS), lengths=lengths
    )
    inner = np.maximum(h_high @ tensors["dense0.weight"].T + tensors["dense0.bias"], 0)
    expected = inner @ tensors["head.weight"].T + tensors["head.bias"]
    outputs, after = reference.network_forward(spec, tensors, x, lengths, state)
    oracles.assert_forward_close(outputs, expected, tolerances.FLOAT64_EQUAL)
    np.testing.assert_array_equal(after["gru"], np.stack([h_low, h_high]))


def test_every_step_outputs_are_zero_past_the_length_and_padding_is_never_read():
    rng = np.random.default_rng(13)
    spec = NetworkSpec.stacked(1, 3, 1, readout="every")
    tensors, x, y = oracles.network_tensors(spec, rng), np.ones((2, 3, 1)), np.ones((2, 3, 1))
    clean = reference.network_gradients(spec, tensors, x, y, "mse", [3, 1])
    x[1, 1:] = y[1, 1:] = np.nan
    outputs, _ = reference.network_forward(spec, tensors, x, [3, 1])
    assert outputs[1, 0] != 0
    assert not outputs[1, 1:].any()
    dirty = reference.network_gradients(spec, tensors, x, y, "mse", [3, 1])
    assert dirty[0] == clean[0]
    for key in tensors:
        np.testing.assert_array_equal(dirty[1][key], clean[1][key])


def test_carrying_the_state_over_a_cut_is_running_through():
    rng = np.random.default_rng(14)
    spec = NetworkSpec.stacked(1, 4, 1, num_layers=2, readout="every")
    tensors, x = oracles.network_tensors(spec, rng), rng.standard_normal((2, 6, 1))
    whole, end = reference.network_forward(spec, tensors, x)
    first, carried = reference.network_forward(spec, tensors, x[:, :2])
    second, again = reference.network_forward(spec, tensors, x[:, 2:], state=carried)
    whole_again = np.concatenate([first, second], axis=1)
    oracles.assert_forward_close(whole_again, whole, tolerances.FLOAT64_EQUAL)
    oracles.assert_forward_close(again["gru"], end["gru"], tolerances.FLOAT64_EQUAL)


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((2, 3))}, r"x must have shape \(N, T, I\)"),
        ({"x": np.ones((2, 3, 5))}, r"weight_ih must have shape \(3H, I\).* = \(9, 5\)"),
        ({"h0": np.ones((2, 4))}, r"h0 must have shape \(N, H\) = \(2, 3\), got \(2, 4\)"),
        ({"weight_hh": np.ones((8, 3))}, r"weight_hh must have shape \(3H, H\), got \(8, 3\)"),
        ({"bias_ih": np.ones(8)}, r"bias_ih must have shape \(3H,\)"),
        ({"bias_hh": np.ones(6)}, r"bias_hh must have shape \(3H,\) for reset_after=True"),
        ({"lengths": [3, 4]}, r"lengths must be in 0\.\.3, got 3\.\.4"),
        ({"lengths": [3, -1]}, r"lengths must be in 0\.\.3, got -1\.\.3"),
        ({"lengths": [3]}, "lengths must be 2 integers"),
        ({"lengths": [3.0, 2.0]}, "lengths must be 2 integers"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    arrays = strategies.GRUCase(2, 3, 2, 3, True, None, seed=0).arrays()
    options = {**arrays, **change}
    with pytest.raises(InputError, match=message):
        reference.gru_forward(**options)


def test_a_third_bias_part_is_refused_for_reset_before():
    arrays = strategies.GRUCase(2, 3, 2, 3, True, None, seed=0).arrays()
    with pytest.raises(InputError, match=r"bias_hh must have shape \(2H,\) for reset_after=False"):
        forward(arrays, reset_after=False)


def test_errors_of_losses_and_networks():
    with pytest.raises(InputError, match=r"loss must be one of \('mse', .*\), got 'l2'"):
        reference.loss_and_gradient("l2", np.zeros((1, 1)), np.zeros((1, 1)))
    with pytest.raises(InputError, match="targets must have shape"):  # never broadcast
        reference.loss_and_gradient("mse", np.zeros((3, 1)), np.zeros(3))
    rng = np.random.default_rng(0)
    spec, x = deep(True, (Last, "last", {})), np.zeros((2, 3, 2))
    tensors = oracles.network_tensors(spec, rng)
    with pytest.raises(InputError, match="2 recurrent stacks"):
        reference.network_forward(spec, tensors, x, state=np.zeros((1, 2, 3)))
    with pytest.raises(InputError, match=r"with L\*D=2, got shape \(1, 2, 2\)"):
        reference.network_forward(spec, tensors, x, state={"low": np.zeros((1, 2, 2))})
    with pytest.raises(InputError, match="needs one step at least"):
        reference.network_forward(spec, tensors, x, lengths=[3, 0])
