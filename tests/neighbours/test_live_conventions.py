"""Conventions beside the live libraries: from_weights and to_weights give and take their arrays."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS)]

import oracles  # noqa: E402
import tolerances  # noqa: E402

import headgate as hg  # noqa: E402

pytestmark = pytest.mark.neighbours

X = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
CELLS = ("gru", "lstm", "rnn")


def network(cell, **options):
    return hg.Network(
        input_size=3,
        hidden_size=5,
        output_size=None,
        cell=cell,
        readout="every",
        seed=4,
        **options,
    )


def close(got, expected):
    oracles.assert_forward_close(
        np.asarray(got), np.asarray(expected, np.float64), tolerances.FORWARD_UP_TO_256
    )


@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("cell", CELLS)
def test_pytorch(cell, shape):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = getattr(torch.nn, cell.upper())(3, 5, batch_first=True, **shape)
    with torch.no_grad():
        expected = module(torch.from_numpy(X))[0].numpy()
    net = hg.Network.from_weights(module.state_dict(), convention="pytorch")
    close(net.predict(X), expected)

    other = network(cell, **shape)
    state = other.to_weights(convention="pytorch")
    module.load_state_dict({name: torch.from_numpy(part) for name, part in state.items()})
    with torch.no_grad():
        close(other.predict(X), module(torch.from_numpy(X))[0].numpy())


@pytest.mark.parametrize(
    ("cell", "options"),
    [("gru", {"reset_after": True}), ("gru", {"reset_after": False}), ("lstm", {}), ("rnn", {})],
)
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
def test_keras(cell, options, both):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    kind = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM, "rnn": keras.layers.SimpleRNN}
    layer = kind[cell](5, return_sequences=True, bias_initializer="random_normal", **options)
    if both:
        layer = keras.layers.Bidirectional(layer)
    expected = keras.ops.convert_to_numpy(layer(X))
    arrays = layer.get_weights()
    weights = [arrays[:3], arrays[3:]] if both else arrays
    net = hg.Network.from_weights(weights, convention="keras", bidirectional=both)
    close(net.predict(X), expected)

    other = network(cell, bidirectional=both, **options)
    layer.set_weights([part for entry in other.to_weights(convention="keras") for part in entry])
    close(other.predict(X), keras.ops.convert_to_numpy(layer(X)))


@pytest.mark.parametrize(
    ("cell", "options"),
    [("gru", {"reset_after": True}), ("gru", {"reset_after": False}), ("lstm", {}), ("rnn", {})],
)
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
def test_onnx_operators(cell, options, both):
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    net = network(cell, bidirectional=both, **options)
    (weights,) = net.to_weights(convention="onnx")
    attributes = {"hidden_size": 5, "direction": "bidirectional" if both else "forward"}
    if cell == "gru":
        attributes["linear_before_reset"] = int(options["reset_after"])
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(cell.upper(), ["x", "W", "R", "B"], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", kind, [7, 2, 3])],
        [helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(part, name) for name, part in weights._asdict().items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString())
    y = session.run(None, {"x": X.transpose(1, 0, 2)})[0]  # (T, D, N, H)
    close(net.predict(X), y.transpose(2, 0, 1, 3).reshape(2, 7, -1))
    back = hg.Network.from_weights(weights, convention="onnx", **options)
    np.testing.assert_array_equal(back.get_vector(), net.get_vector())
