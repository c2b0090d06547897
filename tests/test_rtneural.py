"""RTNeural's files: what they say when they are run as RTNeural runs them, and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate.errors import InputError, ModelFileError

X = np.random.default_rng(0).standard_normal((1, 9, 2)).astype(np.float32)


def s(a):
    return 1 / (1 + np.exp(-a))


ACTIVATIONS = {
    "": lambda a: a,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": s,
    "softmax": lambda a: np.exp(a) / np.exp(a).sum(),
}


def run(data, x):
    """A file's outputs for one sequence (T, I), layer by layer as RTNeural's sources have them."""
    for layer in data["layers"]:
        arrays = [np.array(part) for part in layer["weights"]]
        if layer["type"] == "dense":
            x = np.array(
                [ACTIVATIONS[layer["activation"]](row @ arrays[0] + arrays[1]) for row in x]
            )
            continue
        w, u, b = arrays
        h = c = np.zeros(len(u))
        outputs = []
        for row in x:
            if layer["type"] == "gru":
                (xz, xr, xc), (hz, hr, hc) = np.split(row @ w, 3), np.split(h @ u, 3)
                (bz, br, bc), (cz, cr, cc) = np.split(b[0], 3), np.split(b[1], 3)
                z, r = s(xz + hz + bz + cz), s(xr + hr + br + cr)
                h = (1 - z) * np.tanh(xc + r * (hc + cc) + bc) + z * h
            else:
                i, f, new, o = np.split(row @ w + h @ u + b, 4)
                c = s(f) * c + s(i) * np.tanh(new)
                h = s(o) * np.tanh(c)
            outputs.append(h)
        x = np.array(outputs)
    return x


def network(**options):
    return hg.Network(
        **{"input_size": 2, "hidden_size": 4, "readout": "every", "seed": 3, **options}
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "dropout": 0.5},
        {"cell": "lstm", "dense": [3], "activation": "tanh"},
        {"hidden_size": [4, 3], "output_size": None},
        {"task": "binary", "output_size": 2},
        {"task": "classification", "output_size": 3, "dense": [5]},
    ],
)
def test_a_network_goes_and_comes_back(tmp_path, options):
    net, path = network(**options), tmp_path / "model.json"
    net.to_rtneural(path)
    expected = run(json.loads(path.read_text()), X[0])
    oracles.assert_forward_close(net.predict(X)[0], expected, tolerances.FORWARD_UP_TO_256)
    back = hg.Network.from_rtneural(path)
    assert back.spec.task == net.spec.task
    oracles.assert_forward_close(back.predict(X)[0], expected, tolerances.FORWARD_UP_TO_256)


def test_what_reads_the_last_step_is_the_output_after_it(tmp_path):
    net = network(readout="last")
    net.to_rtneural(tmp_path / "model.json")
    expected = run(json.loads((tmp_path / "model.json").read_text()), X[0])
    oracles.assert_forward_close(net.predict(X)[0], expected[-1], tolerances.FORWARD_UP_TO_256)


GRU = {
    "type": "gru",
    "activation": "tanh",
    "shape": [None, None, 1],
    "weights": [[[1, 0, 0], [0.5, 0, 1]], [[0, 1, 0]], [[0, 0, 0], [1, 1, 1]]],
}
DENSE = {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [[[2]], [-0.5]]}


def written(tmp_path, data):
    path = tmp_path / "model.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_whole_numbers_and_an_activation_behind_a_dense_layer_are_read(tmp_path):
    relu = {"type": "activation", "activation": "relu", "shape": [None, None, 1], "weights": []}
    layers = [GRU, {**DENSE, "type": "time-distributed-dense"}, relu]
    data = {"in_shape": [None, None, 2], "layers": layers}
    net = hg.Network.from_rtneural(written(tmp_path, data))
    assert [layer.kind for layer in net.spec.layers] == ["gru", "dense"]
    layers[1:] = [{**DENSE, "activation": "relu"}]
    expected = run(data, X[0])
    oracles.assert_forward_close(net.predict(X)[0], expected, tolerances.FORWARD_UP_TO_256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "no network that headgate has: it is not JSON"),
        ("[]", 'an object with "in_shape" and "layers"'),
        ({"layers": []}, 'an object with "in_shape" and "layers"'),
        ({"in_shape": [None, 4, 4, 1]}, "in_shape must end in the number of inputs, got"),
        ({"in_shape": [None, None, "2"]}, "in_shape must end in the number of inputs, got"),
        ({"in_shape": [None, None, 3]}, r"layer 0 \(gru\) reads 2 features, and 3 come in"),
        ({"layers": [{**GRU, "type": "conv1d"}]}, "layer 0 is of type 'conv1d', which has no cou"),
        ({"layers": [7]}, "layer 0 is of type None"),
        ({"layers": [GRU, {**DENSE, "activation": "elu"}]}, "has the activation 'elu', which"),
        ({"layers": [GRU, {**DENSE, "weights": [[[1, 2]], [1]]}]}, r"\(outputs,\) = \(2,\), got"),
        ({"layers": [GRU, {**DENSE, "weights": [[[1]]]}]}, "has a list of 2 weights, got 1"),
        ({"layers": [{**GRU, "weights": [[[1], [2, 3]], 0, 0]}]}, "are no arrays"),
        ({"layers": [{**GRU, "weights": [[["a"]], 0, 0]}]}, "are no arrays"),
        (
            {"layers": [GRU, {**DENSE, "activation": "sigmoid"}, DENSE]},
            "layer 2 stands behind a sigmoid or softmax, which must be last",
        ),
        (
            {"layers": [GRU, {"type": "activation", "activation": "relu"}]},
            r"layer 1 \(activation\) does not stand behind a linear dense one",
        ),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, change, message):
    data = {"in_shape": [None, None, 2], "layers": [GRU]}
    path = written(tmp_path, change if isinstance(change, str) else {**data, **change})
    with pytest.raises(ModelFileError, match=message):
        hg.Network.from_rtneural(path)


def test_a_path_without_a_file_is_said(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        hg.Network.from_rtneural(tmp_path / "none.json")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        hg.Network.from_rtneural(tmp_path)
    with pytest.raises(ModelFileError, match="nowhere"):
        network().to_rtneural(tmp_path / "nowhere" / "model.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "rnn"}, "RTNeural has no plain RNN"),
        ({"reset_after": False}, "the reset gate of RTNeural's GRU acts after the product"),
        ({"bidirectional": True}, "RTNeural has no bidirectional, and layer 'gru' has"),
        ({"readout": "mean"}, r"no counterpart of layer 'mean' \(mean\)"),
        ({"input_size": None, "vocabulary": 9, "embedding_size": 3}, "one input of values"),
        ({"task": "binary", "output_size": None}, "needs a linear dense layer at the end"),
    ],
)
def test_what_rtneural_lacks_is_said_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        network(**options).to_rtneural(tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_graphs_and_scaling_are_refused(tmp_path):
    scaled = replace(network().spec, scaling=hg.ScalingSpec("affine", shift=(0, 0), scale=(1, 1)))
    gru = hg.GRU("gru", ("x",), hidden_size=3)
    around = hg.NetworkSpec(
        (hg.InputSpec("x", 2),),
        (gru, hg.Concat("both", ("x", "gru")), hg.Dense("head", ("both",), size=1)),
    )
    for spec, message in (
        (scaled, "RTNeural has no scaling, and this network has"),
        (around, "layer 'both' reads x, gru; RTNeural's layers read the one before, here 'gru'"),
    ):
        with pytest.raises(InputError, match=message):
            hg.Network(spec).to_rtneural(tmp_path / "model.json")
    assert not list(tmp_path.iterdir())
