"""Each conversion is evaluated through a cell of that convention, written out here on its own."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import strategies
import tolerances
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate import gate_layout as gl
from headgate import reference
from headgate.errors import InputError

BOTH = pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
SIZES = st.tuples(strategies.input_sizes, strategies.hidden_sizes, strategies.seeds)


def s(a):
    return 1 / (1 + np.exp(-a))


# -- one step in each convention, as its own documentation writes it -------------------------


def keras_cell(x, h, kernel, recurrent_kernel, bias, reset_after):
    """Columns z, r, h; keep-form; x @ kernel."""
    u = h.shape[1]
    kz, kr, kh = kernel[:, :u], kernel[:, u : 2 * u], kernel[:, 2 * u :]
    rz, rr, rh = (recurrent_kernel[:, k * u : (k + 1) * u] for k in range(3))
    if reset_after:
        input_bias, recurrent_bias = bias
        z = s(x @ kz + input_bias[:u] + h @ rz + recurrent_bias[:u])
        r = s(x @ kr + input_bias[u : 2 * u] + h @ rr + recurrent_bias[u : 2 * u])
        hh = np.tanh(x @ kh + input_bias[2 * u :] + r * (h @ rh + recurrent_bias[2 * u :]))
    else:
        z = s(x @ kz + bias[:u] + h @ rz)
        r = s(x @ kr + bias[u : 2 * u] + h @ rr)
        hh = np.tanh(x @ kh + bias[2 * u :] + (r * h) @ rh)
    return z * h + (1 - z) * hh


def onnx_cell(x, h, W, R, B, linear_before_reset):
    """Rows z, r, h; keep-form; B is Wb[zrh] and then Rb[zrh]."""
    Wz, Wr, Wh = np.split(W, 3)
    Rz, Rr, Rh = np.split(R, 3)
    Wbz, Wbr, Wbh, Rbz, Rbr, Rbh = np.split(B, 6)
    z = s(x @ Wz.T + h @ Rz.T + Wbz + Rbz)
    r = s(x @ Wr.T + h @ Rr.T + Wbr + Rbr)
    if linear_before_reset:
        new = np.tanh(x @ Wh.T + r * (h @ Rh.T + Rbh) + Wbh)
    else:
        new = np.tanh(x @ Wh.T + (r * h) @ Rh.T + Rbh + Wbh)
    return (1 - z) * new + z * h


def keras_lstm(x, h, c, kernel, recurrent_kernel, bias):
    """Columns i, f, c, o; one bias."""
    i, f, new, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    c = s(f) * c + s(i) * np.tanh(new)
    return s(o) * np.tanh(c), c


def onnx_lstm(x, h, c, W, R, B):
    """Rows i, o, f, c; B is Wb[iofc] and then Rb[iofc]."""
    Wi, Wo, Wf, Wc = np.split(W, 4)
    Ri, Ro, Rf, Rc = np.split(R, 4)
    Wbi, Wbo, Wbf, Wbc, Rbi, Rbo, Rbf, Rbc = np.split(B, 8)
    i = s(x @ Wi.T + h @ Ri.T + Wbi + Rbi)
    f = s(x @ Wf.T + h @ Rf.T + Wbf + Rbf)
    c = f * c + i * np.tanh(x @ Wc.T + h @ Rc.T + Wbc + Rbc)
    o = s(x @ Wo.T + h @ Ro.T + Wbo + Rbo)
    return o * np.tanh(c), c


def textbook_cell(x, h, W_r, W_z, W, b_r, b_z, b, update_form, reset_after=False):
    """One matrix over [h; x] and one bias for each; the form is the book's choice."""
    both = np.concatenate([h, x], axis=1)
    r, z = s(both @ W_r.T + b_r), s(both @ W_z.T + b_z)
    if reset_after:
        u = h.shape[1]
        new = np.tanh(r * (h @ W[:, :u].T) + x @ W[:, u:].T + b)
    else:
        new = np.tanh(np.concatenate([r * h, x], axis=1) @ W.T + b)
    return (1 - z) * h + z * new if update_form else (1 - z) * new + z * h


# -- helpers ---------------------------------------------------------------------------------


def layer(i, h, seed, reset_after, dtype=np.float64):
    rng = np.random.default_rng(seed)
    tensors = oracles.gru_tensors(rng, i, h, reset_after=reset_after, dtype=dtype)
    return gl.cell_weights(**tensors, reset_after=reset_after)


def layer_of(cell, i, h, seed):
    return gl.cell_weights(**oracles.cell_tensors(np.random.default_rng(seed), cell, i, h))


def points(weights, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, weights.input_size))
    return x, rng.uniform(-1, 1, (3, weights.hidden_size))


def ours(x, h, weights):
    return reference.gru_step(x, h, *weights, reset_after=weights.reset_after)


def our_steps(x, state, weights):
    """(h,) or (h, c) after one step of any cell."""
    cell = {"gru": "gru" if weights.reset_after else "gru_before", "rnn": "rnn_tanh"}
    tensors = weights._asdict()
    return reference.recurrent_forward(
        cell.get(weights.cell, weights.cell), x[:, None], state, tensors
    )[1]


def close(got, expected):
    oracles.assert_forward_close(got, expected, tolerances.FLOAT64_EQUAL)


def equal(got, expected):
    assert type(got) is type(expected)
    for name, a, b in zip(got._fields, got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)


def keras_arrays(rng, i, h, reset_after):
    bias = rng.standard_normal((2, 3 * h) if reset_after else 3 * h)
    return rng.standard_normal((i, 3 * h)), rng.standard_normal((h, 3 * h)), bias


# -- Keras -----------------------------------------------------------------------------------


@BOTH
@settings(max_examples=15, deadline=None)
@given(sizes=SIZES)
def test_keras_both_ways(reset_after, sizes):
    weights = layer(*sizes, reset_after)
    x, h = points(weights)
    theirs = gl.to_keras(weights)
    close(keras_cell(x, h, *theirs, reset_after), ours(x, h, weights))

    i, size, seed = sizes
    arrays = keras_arrays(np.random.default_rng(seed), i, size, reset_after)
    back = gl.from_keras(*arrays, reset_after=reset_after)
    close(ours(x, h, back), keras_cell(x, h, *arrays, reset_after))
    equal(gl.to_keras(back), gl.KerasWeights(*arrays))
    if reset_after:
        equal(gl.from_keras(*theirs), weights)


def test_keras_counts_7950_parameters_for_50_units_on_one_input():
    assert sum(a.size for a in gl.to_keras(layer(1, 50, 0, True))) == 7950
    assert sum(a.size for a in gl.to_keras(layer(1, 50, 0, False))) == 7800


def test_keras_kernels_come_out_in_c_order_for_set_weights():
    assert all(a.flags.c_contiguous for a in gl.to_keras(layer(2, 3, 0, True)))


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES)
def test_keras_lstm_and_rnn_both_ways(sizes):
    i, size, seed = sizes
    rng = np.random.default_rng(seed)
    x, h, c = rng.standard_normal((3, i)), *rng.uniform(-1, 1, (2, 3, size))
    arrays = [rng.standard_normal(shape) for shape in ((i, 4 * size), (size, 4 * size), 4 * size)]
    weights = gl.from_keras(*arrays)
    assert weights.cell == "lstm"
    for got, expected in zip(
        our_steps(x, (h, c), weights), keras_lstm(x, h, c, *arrays), strict=True
    ):
        close(got, expected)
    equal(gl.to_keras(weights), gl.KerasWeights(*arrays))
    ours = layer_of("lstm", *sizes)
    close(keras_lstm(x, h, c, *gl.to_keras(ours))[0], our_steps(x, (h, c), ours)[0])

    arrays = [rng.standard_normal(shape) for shape in ((i, size), (size, size), size)]
    weights = gl.from_keras(*arrays)
    assert weights.cell == "rnn"
    close(our_steps(x, (h,), weights)[0], np.tanh(x @ arrays[0] + h @ arrays[1] + arrays[2]))
    equal(gl.to_keras(weights), gl.KerasWeights(*arrays))


# -- ONNX ------------------------------------------------------------------------------------


@BOTH
@settings(max_examples=15, deadline=None)
@given(sizes=SIZES)
def test_onnx_both_ways(reset_after, sizes):
    weights = layer(*sizes, reset_after)
    x, h = points(weights)
    theirs = gl.to_onnx(weights)
    assert theirs.B.shape == (6 * weights.hidden_size,)
    close(onnx_cell(x, h, *theirs, reset_after), ours(x, h, weights))
    equal(gl.from_onnx(*theirs, reset_after=reset_after), weights)

    i, size, seed = sizes
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in ((3 * size, i), (3 * size, size), 6 * size)]
    back = gl.from_onnx(*arrays, reset_after=reset_after)
    close(ours(x, h, back), onnx_cell(x, h, *arrays, reset_after))
    if reset_after:
        equal(gl.to_onnx(back), gl.OnnxWeights(*arrays))


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES)
def test_onnx_lstm_and_rnn_both_ways(sizes):
    i, size, seed = sizes
    rng = np.random.default_rng(seed)
    x, h, c = rng.standard_normal((3, i)), *rng.uniform(-1, 1, (2, 3, size))
    arrays = [rng.standard_normal(shape) for shape in ((4 * size, i), (4 * size, size), 8 * size)]
    weights = gl.from_onnx(*arrays)
    assert weights.cell == "lstm"
    for got, expected in zip(
        our_steps(x, (h, c), weights), onnx_lstm(x, h, c, *arrays), strict=True
    ):
        close(got, expected)
    equal(gl.to_onnx(weights), gl.OnnxWeights(*arrays))

    W, R, B = arrays = [rng.standard_normal(shape) for shape in ((size, i), (size, size), 2 * size)]
    weights = gl.from_onnx(*arrays)
    assert weights.cell == "rnn"
    close(our_steps(x, (h,), weights)[0], np.tanh(x @ W.T + h @ R.T + B[:size] + B[size:]))
    equal(gl.to_onnx(weights), gl.OnnxWeights(*arrays))


# -- textbooks -------------------------------------------------------------------------------


@pytest.mark.parametrize("update_form", [True, False], ids=["update", "keep"])
@BOTH
@settings(max_examples=10, deadline=None)
@given(sizes=SIZES)
def test_textbooks_both_ways(reset_after, update_form, sizes):
    i, size, seed = sizes
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((size, size + i)) for _ in range(3)]
    arrays += [rng.standard_normal(size) for _ in range(3)]
    weights = gl.from_textbook(*arrays, update_form=update_form, reset_after=reset_after)
    assert weights.reset_after is reset_after
    x, h = points(weights)
    close(ours(x, h, weights), textbook_cell(x, h, *arrays, update_form, reset_after))
    equal(gl.to_textbook(weights, update_form=update_form), gl.TextbookWeights(*arrays))


@pytest.mark.parametrize("update_form", [True, False], ids=["update", "keep"])
def test_a_trained_layer_as_a_textbook_writes_it(update_form):
    weights = layer(2, 5, 3, reset_after=False)
    x, h = points(weights)
    theirs = gl.to_textbook(weights, update_form=update_form)
    close(textbook_cell(x, h, *theirs, update_form), ours(x, h, weights))


def test_a_candidate_with_two_biases_does_not_fit_a_textbook():
    weights = layer(2, 5, 3, reset_after=True)
    with pytest.raises(InputError, match="recurrent bias is not zero"):
        gl.to_textbook(weights, update_form=True)


# -- the update gate -------------------------------------------------------------------------


@BOTH
def test_the_update_form_is_the_keep_form_with_z_negated(reset_after):
    weights = layer(2, 5, 4, reset_after)
    x, h = points(weights)
    flipped = gl.flip_update_gate(weights)
    gates = reference.gru_gates(x, h, *flipped, reset_after=reset_after)
    close((1 - gates.update) * h + gates.update * gates.candidate, ours(x, h, weights))
    equal(gl.flip_update_gate(flipped), weights)


def test_flipping_leaves_its_argument_as_it_was():
    weights = layer(2, 3, 4, True)
    before = [part.copy() for part in weights]
    gl.flip_update_gate(weights)
    equal(weights, gl.CellWeights(*before))


# -- biases, types, errors -------------------------------------------------------------------


def test_a_third_recurrent_bias_is_added_in_for_reset_before():
    full = layer(2, 3, 5, True)
    merged = gl.cell_weights(*full, reset_after=False)
    assert merged.bias_hh.shape == (6,)
    np.testing.assert_array_equal(merged.bias_hh, full.bias_hh[:6])
    np.testing.assert_array_equal(merged.bias_ih[:6], full.bias_ih[:6])
    np.testing.assert_array_equal(merged.bias_ih[6:], full.bias_ih[6:] + full.bias_hh[6:])


def test_missing_biases_are_zeros():
    w = layer(2, 3, 6, True)
    keras, onnx = gl.to_keras(w), gl.to_onnx(w)
    for reset_after, size in ((True, 9), (False, 6)):
        for made in (
            gl.cell_weights(w.weight_ih, w.weight_hh, reset_after=reset_after),
            gl.from_keras(keras.kernel, keras.recurrent_kernel, reset_after=reset_after),
            gl.from_onnx(onnx.W, onnx.R, reset_after=reset_after),
        ):
            expected = gl.CellWeights(w.weight_ih, w.weight_hh, np.zeros(9), np.zeros(size))
            equal(made, expected)


@BOTH
def test_float32_stays_float32_and_nothing_is_a_view(reset_after):
    weights = layer(2, 3, 7, reset_after, np.float32)
    keras, onnx = gl.to_keras(weights), gl.to_onnx(weights)
    books = gl.from_textbook(*([np.ones((3, 5), "f4")] * 3), update_form=True)
    made = [
        (gl.cell_weights(*weights, reset_after=reset_after), weights),
        (keras, weights),
        (onnx, weights),
        (gl.from_keras(*keras, reset_after=reset_after), keras),
        (gl.from_onnx(*onnx, reset_after=reset_after), onnx),
        (gl.to_textbook(books, update_form=False), books),
        (gl.to_textbook(books, update_form=True), books),
    ]
    for new, old in made:
        for part in new:
            assert part.dtype == np.float32
            assert part.flags.writeable
            assert part.flags.owndata
            assert not any(np.shares_memory(part, source) for source in old)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gl.cell_weights(np.ones((9, 2)), np.ones((3, 9))),
            r"for an LSTM or \(H, H\) for an RNN, got \(3, 9\); check transposition",
        ),
        (
            lambda: gl.cell_weights(np.ones((8, 2)), np.ones((9, 3))),
            r"weight_ih must have shape \(3H, I\) = \(9, any\), got \(8, 2\)",
        ),
        (
            lambda: gl.cell_weights(
                np.ones((9, 2)), np.ones((9, 3)), bias_hh=np.ones(4), reset_after=False
            ),
            r"bias_hh must have shape \(2H,\) = \(6,\), or \(3H,\) = \(9,\)",
        ),
        (
            lambda: gl.cell_weights(np.ones((9, 2), int), np.ones((9, 3))),
            "weight_ih must hold floating-point numbers, got int64; pass float32 or float64",
        ),
        (
            lambda: gl.from_keras(np.ones((9, 2)), np.ones((3, 9))),
            r"kernel must have shape \(I, 3H\) = \(any, 9\), got \(9, 2\)",
        ),
        (
            lambda: gl.from_keras(np.ones((2, 9)), np.ones((3, 9)), np.ones(9), reset_after=True),
            r"got \(9,\); a bias of shape \(3H,\) belongs to reset_after=False",
        ),
        (
            lambda: gl.from_keras(
                np.ones((2, 9)), np.ones((3, 9)), np.ones((2, 9)), reset_after=False
            ),
            r"got \(2, 9\); a bias of shape \(2, 3H\) belongs to reset_after=True",
        ),
        (
            lambda: gl.from_onnx(np.ones((1, 9, 2)), np.ones((1, 9, 3)), reset_after=True),
            r"for a GRU, .* for an RNN, got \(1, 9, 3\); index the direction axis",
        ),
        (
            lambda: gl.from_onnx(np.ones((9, 2)), np.ones((9, 3)), np.ones(9), reset_after=True),
            r"B must have shape \(6H,\) = \(18,\), got \(9,\)",
        ),
        (
            lambda: gl.from_textbook(*[np.ones((5, 3))] * 3, update_form=True),
            r"W must have shape \(H, H \+ I\) with at least one input, got \(5, 3\)",
        ),
        (
            lambda: gl.from_textbook(
                np.ones((3, 4)), np.ones((3, 5)), np.ones((3, 5)), update_form=True
            ),
            r"W_r must have shape \(H, H \+ I\) = \(3, 5\), got \(3, 4\)",
        ),
        (
            lambda: gl.from_onnx(np.ones((9, 2)), np.ones((9, 3))),
            "from_onnx needs reset_after for a GRU, since the arrays do not tell",
        ),
        (
            lambda: gl.from_keras(np.ones((2, 9)), np.ones((3, 9))),
            "from_keras needs reset_after for a GRU without biases",
        ),
        (
            lambda: gl.from_keras(np.ones((2, 12)), np.ones((3, 12)), np.ones((2, 12))),
            r"bias must have shape \(4H,\) = \(12,\), got \(2, 12\)",
        ),
        (
            lambda: gl.flip_update_gate(layer_of("lstm", 2, 3, 0)),
            "only a gru has an update gate, got the weights of a lstm",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
