"""Conventions by name: cells written out in each, libraries' own outputs, whole networks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import oracles
import pytest
import tolerances
from hypothesis import given, settings
from hypothesis import strategies as st

import headgate as hg
from headgate import gate_layout as gl
from headgate import reference
from headgate.errors import InputError

GOLDEN = np.load(Path(__file__).parent / "golden" / "conventions.npz")
SIZES = st.sampled_from(
    [(i, h) for i, h in itertools.product((1, 2, 5, 17), (1, 3, 16, 17)) if i != h]
)
SEEDS = st.integers(0, 2**32 - 1)
FACTS = {
    "keras": {},
    "onnx": {"reset_after": True},
    "tensorflow1": {"forget_bias": 0.75},
    "dynet": {"forget_bias": 1.0},
    "textbook": {"update_form": True},
}


def s(a):
    return 1 / (1 + np.exp(-a))


# -- one step in each convention, as its source writes it ----------------------------------------


def flax_gru(x, h, p):
    r = s(x @ p["ir"]["kernel"] + p["ir"]["bias"] + h @ p["hr"]["kernel"])
    z = s(x @ p["iz"]["kernel"] + p["iz"]["bias"] + h @ p["hz"]["kernel"])
    recurrent = h @ p["hn"]["kernel"] + p["hn"]["bias"]
    n = np.tanh(x @ p["in"]["kernel"] + p["in"]["bias"] + r * recurrent)
    return (1 - z) * n + z * h


def flax_lstm(x, h, c, p):
    i, f, g, o = (
        x @ p["i" + k]["kernel"] + h @ p["h" + k]["kernel"] + p["h" + k]["bias"] for k in "ifgo"
    )
    c = s(f) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(c)


def mlx_gru(x, h, p):
    size = h.shape[1]
    from_x, from_h = x @ p["Wx"].T + p["b"], h @ p["Wh"].T
    r, z = np.split(s(from_x[:, : 2 * size] + from_h[:, : 2 * size]), 2, axis=1)
    n = np.tanh(from_x[:, 2 * size :] + r * (from_h[:, 2 * size :] + p["bhn"]))
    return (1 - z) * n + z * h


def mlx_lstm(x, h, c, p):
    i, f, g, o = np.split(x @ p["Wx"].T + h @ p["Wh"].T + p["bias"], 4, axis=1)
    c = s(f) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(c)


def haste_gru(x, h, p):
    xz, xr, xg = np.split(x @ p["kernel"], 3, axis=1)
    hz, hr, hg_ = np.split(h @ p["recurrent_kernel"], 3, axis=1)
    bz, br, bg = np.split(p["bias"], 3)
    cz, cr, cg = np.split(p["recurrent_bias"], 3)
    z, r = s(xz + hz + bz + cz), s(xr + hr + br + cr)
    return z * h + (1 - z) * np.tanh(xg + r * (hg_ + cg) + bg)


def haste_lstm(x, h, c, p):
    i, g, f, o = np.split(x @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"], 4, axis=1)
    c = s(f) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(c)


def tensorflow1_gru(x, h, p):
    both = np.concatenate([x, h], axis=1)
    r, u = np.split(s(both @ p["gates/kernel"] + p["gates/bias"]), 2, axis=1)
    candidate = np.concatenate([x, r * h], axis=1) @ p["candidate/kernel"] + p["candidate/bias"]
    return u * h + (1 - u) * np.tanh(candidate)


def tensorflow1_lstm(x, h, c, p, forget_bias=0.75):
    i, j, f, o = np.split(np.concatenate([x, h], axis=1) @ p["kernel"] + p["bias"], 4, axis=1)
    c = s(f + forget_bias) * c + s(i) * np.tanh(j)
    return s(o) * np.tanh(c)


def rtneural_gru(x, h, layer):
    w, u, b = (np.array(part) for part in layer["weights"])
    (wz, wr, wc), (uz, ur, uc) = np.split(w, 3, axis=1), np.split(u, 3, axis=1)
    bz, br, bc = np.split(b, 3, axis=1)
    z = s(x @ wz + h @ uz + bz[0] + bz[1])
    r = s(x @ wr + h @ ur + br[0] + br[1])
    return (1 - z) * np.tanh(x @ wc + r * (h @ uc + bc[1]) + bc[0]) + z * h


def rtneural_lstm(x, h, c, layer):
    w, u, b = (np.array(part) for part in layer["weights"])
    i, f, new, o = np.split(x @ w + h @ u + b, 4, axis=1)
    c = s(f) * c + s(i) * np.tanh(new)
    return s(o) * np.tanh(c)


def dynet_gru(x, h, p):
    x2z, h2z, bz, x2r, h2r, br, x2h, h2h, bh = p
    z, r = s(x @ x2z.T + h @ h2z.T + bz), s(x @ x2r.T + h @ h2r.T + br)
    return (1 - z) * h + z * np.tanh(x @ x2h.T + (r * h) @ h2h.T + bh)


def dynet_lstm(x, h, c, p, forget_bias=1.0):
    i, f, o, g = np.split(x @ p[0].T + h @ p[1].T + p[2], 4, axis=1)
    c = s(f + forget_bias) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(c)


# convention: its cells, and whether its GRU is that of reset_after=True
CELLS = {
    "flax": (flax_gru, flax_lstm, True),
    "mlx": (mlx_gru, mlx_lstm, True),
    "haste": (haste_gru, haste_lstm, True),
    "tensorflow1": (tensorflow1_gru, tensorflow1_lstm, False),
    "rtneural": (rtneural_gru, rtneural_lstm, True),
    "dynet": (dynet_gru, dynet_lstm, False),
}


def layer_of(cell, i, h, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    tensors = oracles.cell_tensors(rng, cell, i, h, dtype=dtype)
    return gl.cell_weights(**tensors, reset_after=cell != "gru_before")


def our_step(x, state, weights):
    names = {"gru": "gru" if weights.reset_after else "gru_before", "rnn": "rnn_tanh"}
    cell = names.get(weights.cell, weights.cell)
    return reference.recurrent_forward(cell, x[:, None], state, weights._asdict())[1][0]


def facts_of(convention, cell):
    facts = FACTS.get(convention, {})
    return {} if cell.startswith("gru") and "forget_bias" in facts else facts


@pytest.mark.parametrize("convention", CELLS)
@settings(max_examples=12, deadline=None)
@given(sizes=SIZES, seed=SEEDS)
def test_a_layer_written_in_a_convention_says_what_ours_says(convention, sizes, seed):
    gru, lstm, after = CELLS[convention]
    rng = np.random.default_rng(seed)
    i, size = sizes
    x, h, c = rng.standard_normal((3, i)), *rng.uniform(-1, 1, (2, 3, size))
    for cell in ("gru" if after else "gru_before", "lstm"):
        ours = layer_of(cell, i, size, seed)
        facts = facts_of(convention, cell)
        theirs = gl.write_stack([(ours,)], convention, **facts)[0]
        state = (h, c) if cell == "lstm" else (h,)
        got = lstm(x, h, c, theirs) if cell == "lstm" else gru(x, h, theirs)
        expected = our_step(x, state, ours)
        oracles.assert_forward_close(got, expected, tolerances.FLOAT64_EQUAL)
        # and back: what they compute from these very arrays
        if convention == "tensorflow1" and cell == "lstm":
            facts = {**facts, "cell": "lstm"}
        ((back,),) = gl.read_stack(theirs, convention, **facts)
        oracles.assert_forward_close(our_step(x, state, back), got, tolerances.FLOAT64_EQUAL)
        assert all(not np.shares_memory(a, b) for a in back for b in ours)


@pytest.mark.parametrize("convention", ["flax", "nnx", "mlx", "tensorflow1", "dynet"])
@settings(max_examples=8, deadline=None)
@given(sizes=SIZES, seed=SEEDS)
def test_plain_rnns_come_back_with_their_biases_added(convention, sizes, seed):
    ours = layer_of("rnn_tanh", *sizes, seed)
    written = gl.write_stack([(ours,)], convention, **facts_of(convention, "gru"))
    cell = "rnn" if convention == "tensorflow1" else None
    ((back,),) = gl.read_stack(written, convention, cell=cell)
    assert back.cell == "rnn"
    np.testing.assert_array_equal(back.weight_ih, ours.weight_ih)
    np.testing.assert_array_equal(back.weight_hh, ours.weight_hh)
    np.testing.assert_array_equal(back.bias_ih, ours.bias_ih + ours.bias_hh)
    assert not back.bias_hh.any()


# -- outputs that the libraries themselves computed -----------------------------------------------


def golden(case):
    """The weights of a case as its library has them."""
    prefix = f"{case}/weights/"
    flat = {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN if key.startswith(prefix)}
    if case.startswith("dynet"):
        return list(flat.values())
    if not case.startswith(("flax", "nnx")):
        return flat
    tree = {}
    for name, part in flat.items():
        outer, inner = name.split(".")
        tree.setdefault(outer, {})[inner] = part
    return tree


@pytest.mark.parametrize(
    "case", sorted({key.rsplit("/weights/")[0] for key in GOLDEN if "/weights/" in key})
)
def test_outputs_of_the_library(case):
    convention, cell = case.split("/")
    cell = cell.removesuffix("_apart")
    facts = FACTS.get(convention, {}) if cell == "lstm" else {}
    if convention == "tensorflow1":
        facts = {**facts, "cell": cell}
    net = hg.Network.from_weights(golden(case), convention=convention, **facts)
    assert net.spec.layers[0].kind == cell
    x, expected = GOLDEN[f"{case}/x"], GOLDEN[f"{case}/outputs"]
    oracles.assert_forward_close(net.predict(x), expected, tolerances.FORWARD_UP_TO_256)

    facts.pop("cell", None)
    written = net.to_weights(convention=convention, **facts)
    back = hg.Network.from_weights(written, convention=convention, cell=cell, **facts)
    oracles.assert_forward_close(back.predict(x), expected, tolerances.FORWARD_UP_TO_256)


# -- whole networks ------------------------------------------------------------------------------


def nets(cell="gru", **options):
    return hg.Network(
        input_size=3,
        hidden_size=5,
        output_size=None,
        cell=cell,
        readout="every",
        seed=1,
        **(options if cell == "gru" else {**options, "reset_after": True}),
    )


WAYS = [
    *(("gru", way, True) for way in ("pytorch", "keras", "onnx", "haste", "mlx", "flax")),
    *(("gru", way, True) for way in ("rtneural",)),
    *(("gru", way, False) for way in ("keras", "tensorflow1", "dynet", "textbook")),
    *(("lstm", way, True) for way in ("pytorch", "keras", "onnx", "haste", "mlx", "flax", "nnx")),
    *(("lstm", way, True) for way in ("rtneural", "tensorflow1", "dynet")),
    *(("rnn", way, True) for way in ("pytorch", "keras", "onnx", "mlx", "flax", "nnx")),
]


@pytest.mark.parametrize(("cell", "convention", "after"), WAYS)
@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "bidirectional": True}])
def test_a_network_goes_and_comes_back(cell, convention, after, shape):
    net = nets(cell, reset_after=after, **shape)
    facts = dict(facts_of(convention, cell))
    told = {"update_form": True} if convention == "textbook" else {}
    if "forget_bias" in facts:
        told = facts
    written = net.to_weights(convention=convention, **told)
    if convention not in ("pytorch", "onnx"):
        facts["bidirectional"] = "bidirectional" in shape
    if convention == "tensorflow1":
        facts["cell"] = cell
    if cell != "gru":
        facts.pop("reset_after", None)
    back = hg.Network.from_weights(written, convention=convention, **facts)
    assert back.spec == net.spec
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    oracles.assert_forward_close(
        back.predict(x), net.predict(x).astype(np.float64), tolerances.FORWARD_UP_TO_256
    )
    if convention in ("pytorch", "onnx") or (convention == "haste" and cell == "gru"):
        np.testing.assert_array_equal(back.get_vector(), net.get_vector())


def test_layers_of_several_widths_become_a_stack_each():
    net = hg.Network(input_size=3, hidden_size=[5, 4], output_size=None, readout="every", seed=2)
    back = hg.Network.from_weights(net.to_weights(convention="keras"), convention="keras")
    assert back.spec == net.spec
    np.testing.assert_array_equal(back.get_vector(), net.get_vector())
    with pytest.raises(InputError, match=r"have one width, these have \[4, 5\]"):
        net.to_weights(convention="pytorch")


def test_a_head_is_read_as_the_library_has_dense_layers():
    net = hg.Network(input_size=3, hidden_size=5, output_size=2, seed=3)
    state = net.state_dict()
    weight, bias = state["head.weight"], state["head.bias"]
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    rows = [(weight, bias), {"weight": weight, "bias": bias}]
    columns = [(weight.T, bias), {"kernel": weight.T, "bias": bias}]
    for convention, heads in (("pytorch", rows), ("keras", columns), ("rtneural", columns)):
        for head in heads:
            made = hg.Network.from_weights(
                net.to_weights(convention=convention),
                convention=convention,
                head=head,
                readout="last",
            )
            np.testing.assert_array_equal(made.predict(x), net.predict(x))
    layer = {"type": "dense", "weights": [weight.T.tolist(), bias.tolist()]}
    assert gl.read_dense(layer, "rtneural")[0].shape == (2, 5)
    bare = hg.Network.from_weights(
        net.to_weights(convention="pytorch"), convention="pytorch", head=weight, readout="last"
    )
    assert not bare.state_dict()["head.bias"].any()


def test_names_of_pytorch_may_have_a_module_in_front():
    net = nets(num_layers=2, bidirectional=True)
    # a network's own names are those of a module called gru
    back = hg.Network.from_weights(net.state_dict(), convention="pytorch")
    np.testing.assert_array_equal(back.get_vector(), net.get_vector())


def test_options_reach_the_network():
    weights = nets("rnn", nonlinearity="relu").to_weights(convention="mlx")
    made = hg.Network.from_weights(weights, convention="mlx", nonlinearity="relu")
    assert made.spec.layers[0].nonlinearity == "relu"


KERNEL, RECURRENT, BIAS = np.ones((2, 9)), np.ones((3, 9)), np.zeros((2, 9))
LAYER = (KERNEL, RECURRENT, BIAS)
LSTM = {"kernel": np.ones((5, 12)), "bias": np.zeros(12)}


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (LAYER, {"convention": "theano"}, "unknown convention 'theano'; known are pytorch, keras"),
        (LAYER, {"convention": ["keras"]}, "unknown convention"),
        (7, {"convention": "keras"}, "weights must be the arrays of a keras layer.*got int"),
        ([], {"convention": "keras"}, "weights must be the arrays of a keras layer.*got list"),
        ([LAYER, 3], {"convention": "keras"}, "a dict or a list of arrays, got int for number 1"),
        (LAYER[:1], {"convention": "keras"}, "has the arrays kernel, recurrent_kernel, bias .*got"),
        ((*LAYER, BIAS), {"convention": "keras"}, "got kernel, recurrent_kernel, bias, number 3"),
        (
            LAYER,
            {"convention": "keras", "update_form": True},
            "update_form goes with .*textbook",
        ),
        (LAYER, {"convention": "keras", "reset_after": "no"}, "reset_after must be True or False"),
        (LAYER, {"convention": "keras", "bidirectional": 2}, "bidirectional must be True or False"),
        (
            LSTM,
            {"convention": "tensorflow1", "forget_bias": "1"},
            "must be a finite number, got '1'",
        ),
        (LAYER, {"convention": "keras", "cell": "lstm"}, "cell='lstm', but the weights are .* gru"),
        (LAYER, {"convention": "keras", "hidden_size": 3}, "has no option 'hidden_size'"),
        (LAYER, {"convention": "keras", "readout": "attention"}, "readout must be"),
        ((KERNEL, RECURRENT), {"convention": "keras"}, "needs reset_after for a GRU without"),
        ((KERNEL.T, RECURRENT.T), {"convention": "onnx"}, "needs reset_after for a GRU, since"),
        ([np.ones((3, 5))] * 3, {"convention": "textbook"}, "needs update_form"),
        (LSTM, {"convention": "tensorflow1"}, "adds forget_bias to f at every step, and the arr"),
        (
            {"kernel": np.ones((20, 16)), "bias": np.zeros(16)},
            {"convention": "tensorflow1"},
            r"\(20, 16\) can be that of an LSTM of 4 units or of an RNN of 16; pass cell",
        ),
        (
            {"kernel": np.ones((3, 16)), "bias": np.zeros(16)},
            {"convention": "tensorflow1"},
            r"kernel and bias must have the shapes .*, got \(3, 16\) and \(16,\)",
        ),
        (
            [LAYER, (np.ones((4, 9)), RECURRENT, BIAS)],
            {"convention": "keras"},
            "layer 1 reads 4 inputs, and layer 0 puts out 3",
        ),
        (
            [LAYER, (np.ones((3, 12)), np.ones((3, 12)), np.ones(12))],
            {"convention": "keras"},
            "the layers are of several cells: gru .*, lstm",
        ),
        (
            [LAYER, (np.ones((3, 9)), RECURRENT, np.ones((2, 8)))],
            {"convention": "keras"},
            r"layer 1: bias must have shape \(2, 3H\) .* = \(2, 9\), got \(2, 8\)",
        ),
        (
            [LAYER] * 3,
            {"convention": "keras", "bidirectional": True},
            "two entries for each layer, forward and reverse, got 3",
        ),
        (
            [LAYER, (np.ones((4, 9)), RECURRENT, BIAS)],
            {"convention": "keras", "bidirectional": True},
            r"both directions must have the same sizes, got .* \(2, 3\), \(4, 3\)",
        ),
        (
            LAYER,
            {"convention": "keras", "head": (np.ones((4, 1)), np.ones(1))},
            "the head reads 4 features, and the recurrent layers put out 3",
        ),
        (
            LAYER,
            {"convention": "keras", "head": (np.ones((3, 1)), np.ones(3))},
            r"bias must have shape \(outputs,\) = \(1,\), got \(3,\)",
        ),
        (
            {"weight_ih_l1": np.ones((9, 2))},
            {"convention": "pytorch"},
            "some layers or directions are missing",
        ),
        (
            {"gru.weight_ih_l0": np.ones((9, 2)), "fc.weight": np.ones((1, 3))},
            {"convention": "pytorch"},
            "'fc.weight' is no parameter of nn.GRU, .*others as head",
        ),
        (
            {"a.weight_ih_l0": np.ones((9, 2)), "b.weight_hh_l0": np.ones((9, 3))},
            {"convention": "pytorch"},
            "parameters of several modules",
        ),
        (
            {"weight_ih_l0": np.ones((9, 2)), "weight_hh_l0": np.ones((9, 3))},
            {"convention": "pytorch", "bidirectional": True},
            "bidirectional=True, but the pytorch weights have one direction",
        ),
        (
            (np.ones((1, 9, 2)), np.ones((1, 9, 3)), np.ones(18)),
            {"convention": "onnx", "reset_after": True},
            r"has W \(D, GH, I\).*got W \(1, 9, 2\), R \(1, 9, 3\), B \(18,\)",
        ),
        (
            {"ir": {}, "hr": {}},
            {"convention": "flax"},
            "cell of flax has the parameters .*ir, hr",
        ),
        (
            {"i": {"kernel": np.ones((2, 3))}, "h": {}},
            {"convention": "flax"},
            "'h' of a flax cell has the arrays kernel, bias .*, got none",
        ),
        (
            {"dense_i": KERNEL, "dense_h": RECURRENT},
            {"convention": "nnx"},
            "'dense_i' of a flax cell is a dict or a list of arrays, got ndarray",
        ),
        (
            {"dense_i": {"kernel": KERNEL, "scale": BIAS}, "dense_h": {"kernel": RECURRENT}},
            {"convention": "nnx"},
            "has the arrays kernel, bias .*, got kernel, scale",
        ),
        (  # two layers, of which only one would be left
            {f"cell_{k}/{name}": part for k in range(2) for name, part in LSTM.items()},
            {"convention": "tensorflow1", "forget_bias": 1.0},
            "variables of several cells: cell_0/kernel, .*; pass a list with a dict for each",
        ),
        (
            {"W": KERNEL.T, "R": RECURRENT.T, "B": [[1.0], [2.0, 3.0]]},
            {"convention": "onnx", "reset_after": True},
            "B is no array",
        ),
        (
            {"type": "gru", "weights": [[[10**400]]] * 3},
            {"convention": "rtneural"},
            "are no arrays",
        ),
        (
            LAYER,
            {"convention": "keras", "head": 5},
            "a dense layer of convention 'keras' is a dict or a list of arrays, got int",
        ),
        ([KERNEL], {"convention": "mlx"}, "is a dict of arrays by name, .*got list"),
        ({"Wx": KERNEL.T}, {"convention": "mlx"}, "has the arrays Wx, Wh, b, bhn, bias"),
        ({"type": "conv1d"}, {"convention": "rtneural"}, '"type": "gru" or "lstm".*conv1d'),
        (
            {"type": "lstm", "weights": [part.tolist() for part in LAYER]},
            {"convention": "rtneural"},
            "RTNeural's lstm cannot have weights of a gru",
        ),
        (
            {"type": "gru", "weights": [[[1.0], [2.0, 3.0]], [], []]},
            {"convention": "rtneural"},
            "the weights of an RTNeural layer are no arrays",
        ),
        (LAYER, {"convention": "haste"}, r"bias must have shape|haste's GRU has kernel"),
        (
            [np.ones((9, 2)), np.ones((9, 3)), np.ones(9)],
            {"convention": "dynet"},
            "GRUBuilder has nine arrays",
        ),
        (
            [np.ones((3, 2)), np.ones((3, 3)), np.ones(3)] * 2 + [np.ones((3, 2))] * 3,
            {"convention": "dynet"},
            r"h2h must have shape \(H, H\) = \(3, 3\), got \(3, 2\)",
        ),
    ],
)
def test_what_does_not_fit_is_said(weights, options, message):
    with pytest.raises(InputError, match=message):
        hg.Network.from_weights(weights, **options)


@pytest.mark.parametrize(
    ("cell", "after", "convention", "facts", "message"),
    [
        ("gru", False, "pytorch", {}, "the reset gate of nn.GRU acts after the product, and this"),
        ("gru", False, "mlx", {}, "the reset gate of mlx.nn.GRU acts after"),
        ("gru", False, "flax", {}, "the reset gate of flax's GRUCell acts after"),
        ("gru", False, "haste", {}, "the reset gate of haste's GRU acts after"),
        ("gru", False, "rtneural", {}, "the reset gate of RTNeural's GRU acts after"),
        ("gru", True, "tensorflow1", {}, "TensorFlow 1's GRUCell acts before the product, on h"),
        ("gru", True, "dynet", {}, "DyNet's GRUBuilder acts before the product, on h"),
        ("gru", True, "nnx", {}, "the candidate's recurrent bias is not zero"),
        ("gru", True, "textbook", {"update_form": True}, "the candidate's recurrent bias is not"),
        ("gru", False, "textbook", {}, "needs update_form"),
        ("lstm", True, "textbook", {"update_form": True}, "only a gru is written with r, z and a"),
        ("lstm", True, "dynet", {}, "adds forget_bias to f at every step"),
        ("rnn", True, "haste", {}, "haste has no plain RNN"),
        ("rnn", True, "rtneural", {}, "RTNeural has no plain RNN"),
        ("gru", True, "keras", {"forget_bias": 1.0}, "forget_bias goes with the conventions"),
    ],
)
def test_what_a_convention_cannot_hold_is_said(cell, after, convention, facts, message):
    with pytest.raises(InputError, match=message):
        nets(cell, reset_after=after).to_weights(convention=convention, **facts)


def test_what_is_no_stack_of_pytorchs_is_not_written_as_one():
    pair = (hg.GRU("a", ("x",), hidden_size=4), hg.GRU("b", ("x",), hidden_size=4))
    beside = hg.NetworkSpec((hg.InputSpec("x", 4),), (*pair, hg.Concat("c", ("a", "b"))))
    layers = (pair[0], hg.LSTM("b", ("a",), hidden_size=4))
    for spec in (beside, hg.NetworkSpec((hg.InputSpec("x", 4),), layers)):
        with pytest.raises(
            InputError, match=r"'b' does not go on from 'a' as one nn\.GRU's layers"
        ):
            hg.Network(spec).to_weights(convention="pytorch")


def test_only_plain_recurrent_layers_are_written():
    with pytest.raises(InputError, match="layer 'gru' has layer_norm, which no other convention"):
        nets(layer_norm=True).to_weights(convention="pytorch")
    with pytest.raises(InputError, match="no recurrent layer"):
        hg.Network(hg.NetworkSpec.mlp(2, [3])).to_weights(convention="pytorch")
