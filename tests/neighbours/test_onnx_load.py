"""headgate.onnx.load: the numbers of models that others wrote, or a refusal by name."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reads ONNX files, and onnx is not installed")
pytest.importorskip("onnxruntime", reason="compares with ONNX Runtime, which is not installed")

import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tolerances import FORWARD_UP_TO_256 as FORWARD  # noqa: E402

import headgate as hg  # noqa: E402
import headgate.onnx  # noqa: E402

pytestmark = pytest.mark.neighbours

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "keras_onnx.npz"
H, FEATURES = 4, 3
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


# -- models by hand ------------------------------------------------------------------------------


def weights(op: str = "GRU", directions: int = 1, inputs: int = FEATURES, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    rows = GATES[op] * H
    shapes = {"W": (rows, inputs), "R": (rows, H), "B": (2 * rows,)}
    return {
        name: rng.normal(0, 0.5, (directions, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def value(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any],
    constants: dict[str, np.ndarray],
    inputs: Any = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "test",
        inputs or [value("x", ("T", "N", FEATURES))],
        [value(name, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def recurrent(op: str = "GRU", inputs: Any = (), outputs: Any = ("y",), **options: Any) -> Any:
    names = ["x", "W", "R", "B", *inputs]
    return helper.make_node(op, names, list(outputs), "cell", hidden_size=H, **options)


def run(proto: Any, feeds: dict[str, np.ndarray], output: int = 0) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(None, feeds)[output]


def data(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def refused(proto: Any, *words: str, **options: Any) -> None:
    with pytest.raises(hg.ModelFileError) as caught:
        hg.onnx.load(proto, **options)
    for word in words:
        assert word in str(caught.value)


# -- as exporters write them ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gru", "gru_stack", "lstm", "both_ways", "tokens", "mean"])
def test_keras_by_tf2onnx(name: str) -> None:
    golden = np.load(GOLDEN)
    net = hg.onnx.load(golden[f"{name}.model"].tobytes())
    np.testing.assert_allclose(net.predict(golden[f"{name}.x"]), golden[f"{name}.y"], atol=FORWARD)


def torch_module(cell: str, batch_first: bool, layers: int, both: bool, how: str) -> Any:
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            rnn = getattr(torch.nn, cell)
            self.rnn = rnn(3, 4, layers, batch_first=batch_first, bidirectional=both)
            self.head = torch.nn.Linear(8 if both else 4, 2)

        def forward(self, x: Any, *state: Any) -> Any:
            initial = (state if cell == "LSTM" else state[0]) if state else None
            y, after = self.rnn(x, initial)
            h = after[0] if cell == "LSTM" else after
            if how == "last":
                y = y[:, -1] if batch_first else y[-1]
            elif how == "state":
                y = torch.cat([h[-2], h[-1]], 1) if both else h[-1]
            elif how == "mean":
                y = y.mean(1 if batch_first else 0)
            return torch.relu(self.head(y)), h

    torch.manual_seed(0)
    return Model().eval()


CASES = [
    # cell, batch_first, layers, both ways, read-out, initial state
    ("GRU", True, 1, False, "last", False),
    ("GRU", False, 2, True, "state", False),
    ("GRU", True, 2, True, "every", True),
    ("GRU", True, 1, False, "mean", False),
    ("LSTM", False, 2, False, "state", True),
    ("LSTM", True, 1, True, "every", False),
    ("RNN", False, 2, True, "every", True),
    ("RNN", True, 1, False, "last", False),
]


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_pytorch(case: Any, dynamo: bool) -> None:
    torch = pytest.importorskip("torch")
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("torch.onnx.export(dynamo=True) needs onnxscript, which is not installed")
    cell, batch_first, layers, both, how, stateful = case
    module = torch_module(cell, batch_first, layers, both, how)
    x = torch.from_numpy(data(5, 6, 3))
    rows = 5 if batch_first else 6
    state = [torch.from_numpy(data(layers * (1 + both), rows, 4, seed=k)) for k in (2, 3)]
    state = state[: (2 if cell == "LSTM" else 1) if stateful else 0]
    content = exported(module, (x, *state), batch_first, dynamo)
    if dynamo and cell == "RNN":  # PyTorch unfolds it into its steps
        refused(content, "no GRU, LSTM or RNN operator")
        return
    net = hg.onnx.load(content)
    want, after = (part.detach().numpy() for part in module(x, *state))
    values = x.numpy() if batch_first else x.numpy().swapaxes(0, 1)
    given = [part.numpy() for part in state]
    given = None if not given else tuple(given) if cell == "LSTM" else given[0]
    got, states = net.predict(values, state=given, return_state=True)
    if want.ndim == 3 and not batch_first:
        want = want.swapaxes(0, 1)
    np.testing.assert_allclose(got, want, atol=FORWARD)
    h = states[0] if cell == "LSTM" else states
    np.testing.assert_allclose(h, after, atol=FORWARD)


def exported(module: Any, args: Any, batch_first: bool, dynamo: bool) -> bytes:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, about its own exporters
        logging.disable(logging.CRITICAL)
        try:
            if dynamo:
                program = torch.onnx.export(module, args, dynamo=True, verbose=False)
                return program.model_proto.SerializeToString()
            names = ["x", "h0", "c0"][: len(args)]
            axes = {"x": {0: "a", 1: "b"}}
            axes |= {name: {1: "a" if batch_first else "b"} for name in names[1:]}
            file = io.BytesIO()
            torch.onnx.export(
                module, args, file, dynamo=False, input_names=names, dynamic_axes=axes
            )
            return file.getvalue()
        finally:
            logging.disable(logging.NOTSET)


# -- ONNX's own node tests ------------------------------------------------------------------------


def node_tests() -> list[Any]:
    """(name, node, inputs, outputs) of the cases that the onnx package has for these operators."""
    from onnx.backend.test.case.node import gru, lstm, rnn

    found: list[Any] = []

    def expect(node: Any, inputs: Any, outputs: Any, name: str, **_: Any) -> None:
        found.append(pytest.param(node, inputs, outputs, id=name))

    for module, case in ((gru, gru.GRU), (lstm, lstm.LSTM), (rnn, rnn.RNN)):
        before, module.expect = module.expect, expect
        try:
            for export in sorted(name for name in vars(case) if name.startswith("export")):
                getattr(case, export)()
        finally:
            module.expect = before
    return found


@pytest.mark.parametrize(("node", "inputs", "outputs"), node_tests())
def test_nodes(node: Any, inputs: Any, outputs: Any) -> None:
    """Weights are inputs of these graphs. Each gives ONNX's numbers, or is refused by name."""
    names = [name for name in node.input if name]
    feeds = dict(zip(names, inputs, strict=True))
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    proto = model(
        [node],
        {},
        [value(name, array.shape, kinds[array.dtype]) for name, array in feeds.items()],
        tuple(name for name in node.output if name),
        22,
    )
    constants = {name: array for name, array in feeds.items() if name != node.input[0]}
    options = {part.name: helper.get_attribute_value(part) for part in node.attribute}
    if options.get("direction") == b"reverse":
        refused(proto, "direction='reverse'", "Y", initializers=constants)
        return
    if "P" in feeds:
        refused(proto, "peepholes", initializers=constants)
        return
    net = hg.onnx.load(proto, initializers=constants)
    layout = options.get("layout", 0)
    x = feeds[node.input[0]]
    got, state = net.predict(x if layout else x.swapaxes(0, 1), return_state=True)
    wanted = dict(zip([name for name in node.output if name], outputs, strict=True))
    n, t, _ = got.shape
    if "Y" in wanted:
        y = wanted["Y"] if layout else wanted["Y"].transpose(2, 0, 1, 3)
        np.testing.assert_allclose(got, y.reshape(n, t, -1), atol=FORWARD)
    h = state[0] if isinstance(state, tuple) else state
    y_h = wanted["Y_h"].swapaxes(0, 1) if layout else wanted["Y_h"]
    np.testing.assert_allclose(h, y_h, atol=FORWARD)


def test_there_are_node_tests() -> None:
    assert len(node_tests()) >= 12


# -- refused by name ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clip": 1.0}, ("GRU node 'cell'", "clip=1.0")),
        ({"activations": ["HardSigmoid", "Tanh"]}, ("GRU node 'cell'", "hardsigmoid")),
        ({"activation_alpha": [0.2]}, ("activation_alpha",)),
        ({"direction": "sideways"}, ("direction='sideways'",)),
        ({"direction": "reverse"}, ("direction='reverse'", "bidirectional")),
        ({"new_option": 1}, ("new_option=1",)),
    ],
)
def test_options_without_a_counterpart(options: Any, words: Any) -> None:
    refused(model([recurrent(**options)], weights()), *words)


def test_tied_gates_and_peepholes() -> None:
    node = recurrent("LSTM", input_forget=1)
    refused(model([node], weights("LSTM")), "LSTM node 'cell'", "input_forget=1")
    peepholes = {**weights("LSTM"), "P": np.zeros((1, 3 * H), np.float32)}
    node = recurrent("LSTM", ["", "", "", "P"])
    refused(model([node], peepholes), "LSTM node 'cell'", "peepholes")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("R", np.zeros((1, 12, 5), np.float32), ("W (1, 12, 3)", "R (1, 12, 5)")),
        ("R", np.zeros((12, 4), np.float32), ("weights R of shape (12, 4)",)),
        ("B", np.zeros((1, 12), np.float32), ("bias B of shape (1, 12)",)),
        ("W", np.zeros((1, 12, 7), np.float32), ("reads 3 features", "for 7")),
        ("W", np.zeros((1, 12, 3)), ("W of type float64", "float32")),
        ("W", np.zeros((1, 12, 3), np.float16), ("W of type float16",)),
        ("W", np.full((1, 12, 3), np.nan, np.float32), ("nan", "W")),
    ],
)
def test_weights_that_do_not_fit(name: str, array: np.ndarray, words: Any) -> None:
    refused(model([recurrent()], {**weights(), name: array}), "GRU node 'cell'", *words)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([helper.make_node("Elu", ["h"], ["y"], "elu")], ("Elu node 'elu'", "no counterpart")),
        ([helper.make_node("Mul", ["h", "h"], ["y"], "gate")], ("Mul node 'gate'",)),
        ([helper.make_node("Fancy", ["h"], ["y"], domain="my.own")], ("my.own.Fancy node 'y'",)),
        ([helper.make_node("ReduceMean", ["h"], ["y"], "m", axes=[3])], ("ReduceMean node 'm'",)),
        ([helper.make_node("ReduceMean", ["h"], ["y"], "m", axes=[2])], ("ReduceMean node 'm'",)),
        ([helper.make_node("Softmax", ["h"], ["y"], "s", axis=0)], ("Softmax node 's'",)),
        ([helper.make_node("Cast", ["h"], ["y"], "c", to=TensorProto.DOUBLE)], ("Cast node 'c'",)),
        ([helper.make_node("Slice", ["h", "one", "two"], ["y"], "s")], ("output 'y'",)),
    ],
)
def test_operators_without_a_counterpart(nodes: Any, words: Any) -> None:
    constants = {**weights(), "one": np.array([1]), "two": np.array([2])}
    refused(model([recurrent(outputs=["h"]), *nodes], constants), *words)


def test_a_reversed_sequence_is_refused() -> None:
    constants = {**weights(), "a": np.array([-1]), "b": np.array([-(1 << 40)]), "z": np.array([0])}
    flip = helper.make_node("Slice", ["x", "a", "b", "z", "a"], ["turned"])
    node = helper.make_node("GRU", ["turned", "W", "R", "B"], ["y"], "cell", hidden_size=H)
    refused(model([flip, node], constants), "GRU node 'cell'", "in order")
