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


KERAS = ("gru", "gru_before", "gru_stack", "lstm", "both_ways", "tokens", "rnn", "mean")


@pytest.mark.parametrize("keras", ["keras2", "keras3"])
@pytest.mark.parametrize("name", KERAS)
def test_keras_by_tf2onnx(keras: str, name: str) -> None:
    """Of Keras 3 GRUs are Loops, of both SimpleRNN and the GRU with the reset gate before."""
    golden = np.load(GOLDEN)
    name = f"{keras}.{name}"
    net = hg.onnx.load(golden[f"{name}.model"].tobytes())
    np.testing.assert_allclose(net.predict(golden[f"{name}.x"]), golden[f"{name}.y"], atol=FORWARD)


def keras_loop(name: str = "gru") -> tuple[Any, Any]:
    """A Keras 3 model and the body of its loop."""
    proto = onnx.load_from_string(np.load(GOLDEN)[f"keras3.{name}.model"].tobytes())
    (loop,) = (node for node in proto.graph.node if node.op_type == "Loop")
    return proto, next(part.g for part in loop.attribute if part.name == "body")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("Tanh", "Elu", ("Elu node", "inside a loop")),
        ("Tanh", "Relu", ("neither cell",)),
        ("Sigmoid", "Tanh", ("neither cell",)),
        ("Sub", "Add", ("Loop node",)),
    ],
)
def test_loops_of_other_cells_are_refused(before: str, after: str, words: Any) -> None:
    proto, body = keras_loop()
    for node in body.node:
        if node.op_type == before:
            node.op_type = after
    refused(proto, *words)


def test_a_loop_that_takes_other_steps_is_refused() -> None:
    proto, body = keras_loop()
    (step,) = (tensor for tensor in body.initializer if tensor.name.endswith("add/y:0"))
    step.CopyFrom(numpy_helper.from_array(np.array(2, np.int32), step.name))
    refused(proto, "Loop node")
    proto, body = keras_loop("gru_before")
    add = next(node for node in body.node if node.op_type == "Mul")
    add.input[1] = add.input[0]
    refused(proto, "Loop node")


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


@pytest.mark.parametrize(
    ("case", "dynamo"),
    [*((case, False) for case in CASES), *((CASES[k], True) for k in (1, 2, 4, 7))],
    ids=str,
)
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


# -- as headgate writes them -----------------------------------------------------------------------

OWN = {
    "attention": {"readout": "attention", "bidirectional": True},
    "layer_norm": {"layer_norm": True, "cell": "lstm", "num_layers": 2, "residual": True},
    "crf": {"readout": "every", "output_size": 3, "task": "tagging"},
    "before": {"reset_after": False, "dense": [4], "dropout": 0.1, "num_layers": 2},
    "tokens": {"vocabulary": 7, "embedding_size": 4, "token_columns": 2, "padding_index": 0},
}


@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"state": True}], ids=str)
@pytest.mark.parametrize("name", list(OWN))
def test_own_files_come_back_whole(name: str, options: Any, tmp_path: Path) -> None:
    net = hg.Network(input_size=3, hidden_size=5, seed=1, **OWN[name])
    hg.onnx.export(net, tmp_path / "own.onnx", **options)
    loaded = hg.onnx.load(tmp_path / "own.onnx")
    assert loaded.spec == net.spec
    assert np.array_equal(loaded.get_vector(), net.get_vector())


def test_altered_own_files_are_what_their_graph_says(tmp_path: Path) -> None:
    """The metadata of an altered file are not believed."""
    net = hg.Network(input_size=3, hidden_size=5, seed=1, dense=[4], readout="every")
    hg.onnx.export(net, tmp_path / "own.onnx")
    proto = onnx.load(tmp_path / "own.onnx")
    (relu,) = (node for node in proto.graph.node if node.op_type == "Relu")
    relu.op_type = "Tanh"
    loaded = hg.onnx.load(proto)
    assert [layer.activation for layer in loaded.spec.layers[1:]] == ["tanh", "linear"]
    x = data(2, 6, 3)
    np.testing.assert_allclose(loaded.predict(x), run(proto, {"x": x}), atol=FORWARD)


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


def test_a_reversed_sequence_on_its_own_is_refused() -> None:
    constants = {**weights(), "a": np.array([-1]), "b": np.array([-(1 << 40)]), "z": np.array([0])}
    flip = helper.make_node("Slice", ["x", "a", "b", "z", "a"], ["turned"])
    node = helper.make_node("GRU", ["turned", "W", "R", "B"], ["y"], "cell", hidden_size=H)
    refused(model([flip, node], constants), "GRU node 'cell'", "reverse")


# -- what becomes of which part -------------------------------------------------------------------

DENSE = {"M": data(H, 2, seed=5), "b": data(2, seed=6)}
STEPS = helper.make_node("Squeeze", ["h", "axis1"], ["s"])  # (T, N, H)
HEAD = helper.make_node("MatMul", ["s", "M"], ["m"])
AXIS = {"axis1": np.array([1])}


def behind(*nodes: Any, **constants: np.ndarray) -> Any:
    """A GRU, time first, with ``nodes`` from "s" (T, N, H) or "d" (T, N, 2) to "y"."""
    head = [STEPS, HEAD, helper.make_node("Add", ["b", "m"], ["d"])]
    used = {name for node in nodes for name in node.input}
    head = head if "d" in used else head[:1]
    given = {**weights(), **AXIS, **DENSE, **constants}
    return model([recurrent(outputs=["h"]), *head, *nodes], given)


def same_numbers(proto: Any, swap: bool = True) -> hg.Network:
    """The network, once it has given ONNX Runtime's numbers for two sizes."""
    net = hg.onnx.load(proto)
    for steps, rows in ((5, 2), (1, 4)):
        x = data(steps, rows, FEATURES)
        want = run(proto, {"x": x})
        want = want.swapaxes(0, 1) if swap and want.ndim == 3 else want
        np.testing.assert_allclose(net.predict(x.swapaxes(0, 1)), want, atol=FORWARD)
    return net


def one(op: str, source: str, **options: Any) -> Any:
    return helper.make_node(op, [source], ["y"], **options)


@pytest.mark.parametrize(
    ("nodes", "kinds", "task"),
    [
        ([one("Relu", "d")], ["gru", "dense"], "regression"),
        ([one("Tanh", "s")], ["gru", "dense"], "regression"),
        ([one("Softmax", "d", axis=-1)], ["gru", "dense"], "classification"),
        ([one("Sigmoid", "d")], ["gru", "dense"], "binary"),
        ([one("ReduceMean", "s", axes=[0], keepdims=0)], ["gru", "mean"], "regression"),
        ([one("ReduceMax", "d", axes=[0], keepdims=0)], ["gru", "dense", "max"], "regression"),
        ([one("Dropout", "d")], ["gru", "dense"], "regression"),
        ([one("Transpose", "d", perm=[1, 0, 2])], ["gru", "dense"], "regression"),
        ([helper.make_node("Mul", ["s", "f"], ["y"])], ["gru", "dense"], "regression"),
        ([helper.make_node("Sub", ["s", "f"], ["y"])], ["gru", "dense"], "regression"),
        ([helper.make_node("Gather", ["s", "last"], ["y"])], ["gru", "last"], "regression"),
        ([helper.make_node("Concat", ["d", "s"], ["y"], axis=2)], ["gru", "dense", "concat"], ""),
        (
            [
                helper.make_node("MatMul", ["s", "S"], ["k"]),
                helper.make_node("Add", ["k", "s"], ["y"]),
            ],
            ["gru", "dense", "add"],
            "",
        ),
        (
            [
                helper.make_node("Gather", ["s", "last"], ["v"]),
                helper.make_node("Gemm", ["v", "M", "b"], ["y"], alpha=0.5, beta=2.0),
            ],
            ["gru", "last", "dense"],
            "",
        ),
    ],
)
def test_parts(nodes: Any, kinds: Any, task: str) -> None:
    constants = {"f": data(H), "S": data(H, H), "last": np.array(-1)}
    net = same_numbers(behind(*nodes, **constants), swap=nodes[0].op_type != "Transpose")
    assert [layer.kind for layer in net.spec.layers] == kinds
    assert net.spec.task == (task or "regression")


def test_one_output_without_its_axis() -> None:
    """Behind a Squeeze, as PyTorch users write it: scaled back, and a probability."""
    nodes = [
        helper.make_node("Gather", ["s", "last"], ["v"]),
        helper.make_node("MatMul", ["v", "column"], ["o"]),
        helper.make_node("Squeeze", ["o", "axis1"], ["q"]),
        helper.make_node("Mul", ["q", "two"], ["p"]),
        one("Sigmoid", "p"),
    ]
    constants = {"last": np.array(-1), "column": data(H, 1), "two": np.array(2, np.float32)}
    proto = behind(*nodes, **constants)
    net = hg.onnx.load(proto)
    x = data(5, 3, FEATURES)
    assert net.spec.task == "binary"
    np.testing.assert_allclose(
        net.predict(x.swapaxes(0, 1))[:, 0], run(proto, {"x": x}), atol=FORWARD
    )


def test_logarithms_of_probabilities_come_with_a_warning() -> None:
    proto = behind(one("LogSoftmax", "d", axis=2))
    with pytest.warns(hg.HeadgateWarning, match="LogSoftmax"):
        net = hg.onnx.load(proto)
    x = data(5, 2, FEATURES)
    want = np.exp(run(proto, {"x": x})).swapaxes(0, 1)
    np.testing.assert_allclose(net.predict(x.swapaxes(0, 1)), want, atol=FORWARD)


@pytest.mark.parametrize("last", [False, True])
def test_a_forward_and_a_reverse_layer_are_a_bidirectional_one(last: bool) -> None:
    """As tools without a bidirectional operator write it."""
    forward, backward = weights("LSTM", seed=1), weights("LSTM", seed=2)
    constants = {f"{k}1": v for k, v in forward.items()} | {f"{k}2": v for k, v in backward.items()}
    outputs = ("", "{}") if last else ("{}",)
    nodes = [
        helper.make_node(
            "LSTM",
            ["x", f"W{k}", f"R{k}", f"B{k}"],
            [name.format(f"h{k}") for name in outputs],
            hidden_size=H,
            direction=direction,
        )
        for k, direction in ((1, "forward"), (2, "reverse"))
    ]
    nodes.append(helper.make_node("Concat", ["h1", "h2"], ["c"], axis=-1))
    nodes.append(helper.make_node("Squeeze", ["c", "axis"], ["y"]))
    net = same_numbers(model(nodes, {**constants, "axis": np.array([0 if last else 1])}))
    assert net.spec.recurrent()[0].bidirectional
    assert net.spec.pooled == last


def test_the_other_half_of_the_last_step_is_refused() -> None:
    """y[:, -1] of a bidirectional layer is not what its states are: a usual mistake."""
    nodes = [
        recurrent(outputs=["h"], direction="bidirectional"),
        helper.make_node("Gather", ["h", "last"], ["g"]),
        helper.make_node("Transpose", ["g"], ["t"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["t", "shape"], ["y"]),
    ]
    constants = {**weights(directions=2), "last": np.array(-1), "shape": np.array([0, -1])}
    refused(model(nodes, constants), "output 'y'")


def test_lengths() -> None:
    inputs = [value("x", ("T", "N", FEATURES)), value("n", ("N",), TensorProto.INT64)]
    nodes = [
        helper.make_node("Cast", ["n"], ["n32"], to=TensorProto.INT32),
        recurrent(inputs=["n32"], outputs=["", "h"]),
        helper.make_node("Squeeze", ["h", "axis"], ["y"]),
    ]
    proto = model(nodes, {**weights(), "axis": np.array([0])}, inputs)
    net = hg.onnx.load(proto)
    x, lengths = data(5, 3, FEATURES), np.array([5, 2, 1])
    got = net.predict(x.swapaxes(0, 1), lengths=lengths)
    np.testing.assert_allclose(got, run(proto, {"x": x, "n": lengths}), atol=FORWARD)
    mean = [nodes[0], recurrent(inputs=["n32"], outputs=["h"]), one("ReduceMean", "h", axes=[0])]
    refused(model(mean, weights(), inputs), "ReduceMean", "length")


def test_all_layers_go_by_lengths_or_none() -> None:
    inputs = [value("x", ("T", "N", FEATURES)), value("n", ("N",), TensorProto.INT32)]
    below = helper.make_node(
        "GRU", ["x", "W2", "R2", "B2"], ["b"], direction="bidirectional", hidden_size=H
    )
    joined = [
        helper.make_node("Transpose", ["b"], ["b2"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["b2", "shape"], ["both"]),
    ]
    above = recurrent(inputs=["n"], outputs=["h"])
    above.input[0] = "both"
    constants = {f"{name}2": array for name, array in weights(directions=2).items()}
    constants |= {**weights(inputs=2 * H), **AXIS, "shape": np.array([0, 0, -1])}
    proto = model([below, *joined, above, STEPS], constants, inputs, ("s",))
    refused(proto, "GRU node 'b' has no sequence_lens, but another layer has")
    constants = {**weights(), "axis": np.array([0])}
    beside = [
        recurrent(inputs=["n"], outputs=["", "h"]),
        helper.make_node("Squeeze", ["h", "axis"], ["e"]),
        one("ReduceMean", "x", axes=[0], keepdims=0),
        helper.make_node("Concat", ["e", "y"], ["z"], axis=1),
    ]
    refused(model(beside, constants, inputs, ("z",)), "past a sequence's length")


def test_elements_in_other_places_are_refused() -> None:
    nodes = [
        recurrent(outputs=["", "h"], direction="bidirectional"),
        helper.make_node("Reshape", ["h", "shape"], ["y"]),  # (D, N, H), without a transpose
    ]
    refused(model(nodes, {**weights(directions=2), "shape": np.array([-1, 2 * H])}), "output 'y'")


def test_several_outputs_need_a_choice() -> None:
    nodes = [recurrent(outputs=["h"]), STEPS, HEAD, one("Relu", "m")]
    proto = model(nodes, {**weights(), **AXIS, **DENSE}, outputs=("m", "y"))
    refused(proto, "the outputs ['m', 'y']", "output='y'")
    assert hg.onnx.load(proto, output="m").spec.layers[-1].activation == "linear"
    with pytest.raises(hg.InputError, match="output='z' is none of the model's outputs"):
        hg.onnx.load(proto, output="z")


def test_weights_that_are_inputs() -> None:
    inputs = [value("x", ("T", "N", FEATURES)), value("W", (1, 12, FEATURES))]
    given = weights()
    proto = model([recurrent(outputs=["h"]), STEPS], {**given, **AXIS}, inputs, ("s",))
    del proto.graph.initializer[[t.name for t in proto.graph.initializer].index("W")]
    refused(proto, "weights W", "initializers=")
    net = hg.onnx.load(proto, initializers={"W": given["W"]})
    assert np.array_equal(net.state_dict()["gru.weight_ih_l0"][4:8], given["W"][0, :4])
    with pytest.raises(hg.InputError, match="no inputs of the model"):
        hg.onnx.load(proto, initializers={"Q": given["W"]})


def test_wrong_numbers_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check at the end: here of a loader that takes one reset gate for the other."""
    from headgate.interop.onnx_load import cells

    right = cells.from_onnx
    monkeypatch.setattr(
        cells, "from_onnx", lambda *args, reset_after: right(*args, reset_after=True)
    )
    options = cells._options
    monkeypatch.setattr(cells, "_options", lambda *args: {**options(*args), "reset_after": True})
    refused(behind(one("Identity", "s")), "output 'y' differs from the network's by")


# -- hostile files --------------------------------------------------------------------------------


def test_no_model_at_all(tmp_path: Path) -> None:
    for content in (b"", b"\x00" * 100, b"not a model", bytes(range(256)) * 20):
        refused(content, "the model cannot be loaded")
        (tmp_path / "bad.onnx").write_bytes(content)
        refused(tmp_path / "bad.onnx", "bad.onnx' cannot be loaded")
    refused(tmp_path / "missing.onnx", "missing.onnx", "does not exist")
    refused(tmp_path, "is not a regular file")
    refused("a\0b", "cannot be read")
    with pytest.raises(hg.InputError, match="initializers must be a dict"):
        hg.onnx.load("x.onnx", initializers=3)  # type: ignore[arg-type]
    with pytest.raises(hg.InputError, match="expected the path of an"):
        hg.onnx.load(3)


def hostile(change: Any) -> Any:
    proto = behind(one("Relu", "d"))
    change(proto)
    return proto


def tensor_of(proto: Any, name: str) -> Any:
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


def shaped(name: str, *dims: int) -> Any:
    def change(proto: Any) -> None:
        tensor_of(proto, name).dims[:] = dims

    return change


def external(location: str) -> Any:
    def change(proto: Any) -> None:
        tensor = tensor_of(proto, "W")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def node_of(op: str, inputs: Any, outputs: Any, **options: Any) -> Any:
    return lambda proto: proto.graph.node.insert(
        0, helper.make_node(op, inputs, outputs, **options)
    )


def reads(position: int, name: str) -> Any:
    def change(proto: Any) -> None:
        proto.graph.node[position].input[0] = name

    return change


def huge(proto: Any) -> None:
    size = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "size")
    proto.graph.initializer.append(size)
    node_of("ConstantOfShape", ["size"], ["M2"])(proto)
    proto.graph.node[3].input[1] = "M2"


def recursive(proto: Any) -> None:
    call = helper.make_node("F", ["a"], ["b"], domain="f")
    opset = helper.make_opsetid("", 17)
    proto.functions.append(helper.make_function("f", "F", ["a"], ["b"], [call], [opset]))
    proto.opset_import.append(helper.make_opsetid("f", 1))


def exploding(proto: Any) -> None:
    """Functions that call the one before them twice: 2^40 nodes."""
    opset = helper.make_opsetid("", 17)
    for k in range(40):
        inner = ("Identity", "") if k == 0 else (f"F{k - 1}", "f")
        calls = [
            helper.make_node(inner[0], [a], [b], domain=inner[1])
            for a, b in (("a", "c"), ("c", "b"))
        ]
        proto.functions.append(helper.make_function("f", f"F{k}", ["a"], ["b"], calls, [opset]))
    proto.opset_import.append(helper.make_opsetid("f", 1))
    proto.graph.node[0].CopyFrom(helper.make_node("F39", ["x"], ["h"], domain="f"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shaped("W", 1, 12, 1 << 40), ("tensor 'W'", "truncated")),
        (shaped("W", -1, 12, 3), ("negative size",)),
        (shaped("M", 1 << 62, 1 << 62), ("tensor 'M'", "truncated")),
        (external("../../etc/passwd"), ("tensor 'W'", "another file")),
        (reads(0, "nowhere"), ("'nowhere' is read, but nothing in the model makes it",)),
        (reads(0, "y"), ("cycle",)),
        (node_of("Relu", ["x"], ["h"]), ("two of its values are named 'h'",)),
        (lambda p: p.graph.input.append(value("x", (1,))), ("two of its values are named 'x'",)),
        (lambda p: p.graph.ClearField("output"), ("no outputs",)),
        (lambda p: p.ClearField("opset_import"), ("opset []",)),
        (lambda p: setattr(p.opset_import[0], "version", 99), ("opset [99]",)),
        (lambda p: setattr(tensor_of(p, "W"), "data_type", TensorProto.STRING), ("STRING",)),
        (lambda p: setattr(tensor_of(p, "W"), "data_type", 77), ("type 77",)),
        (lambda p: p.graph.sparse_initializer.add(), ("sparse",)),
        (huge, ("elements",)),
        (recursive, ("calls itself",)),
        (exploding, ("unfold into",)),
        (lambda p: p.graph.node.extend([p.graph.node[0]] * 20_001), ("at most 20000",)),
        (lambda p: setattr(p.graph.node[0], "op_type", "Loop"), ("Loop node", "no body")),
        (lambda p: setattr(p.graph.node[0], "op_type", "Scan"), ("no GRU, LSTM or RNN",)),
        (lambda p: setattr(p.graph.node[4], "op_type", "If"), ("If node",)),
    ],
)
def test_hostile_graphs(change: Any, words: Any) -> None:
    proto = hostile(change)
    refused(proto, *words)
    refused(proto.SerializeToString(), *words)


def filled(*chain: Any) -> Any:
    """``chain``, a thousand times over, before a layer; N times T is a quarter million."""
    nodes, last = [], "x"
    for k in range(1000):
        for op, inputs, options in chain:
            nodes.append(helper.make_node(op, [last, *inputs], [f"{op}{k}"], **options))
            last = nodes[-1].output[0]
    layer = recurrent(outputs=["h"])
    layer.input[0] = last
    shape = np.array([256, 1024, 1])
    constants = {**weights(inputs=1), **AXIS, "turned": shape}
    return model([*nodes, layer, STEPS], constants, [value("x", shape.tolist())], ("s",))


def test_no_chain_fills_the_memory() -> None:
    chain = [("Reshape", ["turned"], {}), ("Transpose", [], {"perm": [1, 0, 2]})]
    refused(filled(*chain), "elements together")
    tokens = [
        helper.make_node("Cast", [f"t{k}" if k else "x"], [f"t{k + 1}"], to=7 - k % 2)
        for k in range(100)
    ]
    layer = recurrent(outputs=["h"])
    layer.input[0] = "e"
    nodes = [*tokens, helper.make_node("Gather", ["table", "t100"], ["e"]), layer, STEPS]
    proto = model(nodes, {**weights(), **AXIS}, [value("x", ("T", "N"), TensorProto.INT64)], ("s",))
    table = proto.graph.initializer.add(name="table", data_type=1, raw_data=b"none")
    table.dims.extend([1 << 24, FEATURES])  # says so, and holds one number
    refused(proto, "elements together")


def test_no_wide_activation_fills_the_memory() -> None:
    wide = 12_000
    relu = helper.make_node("Relu", ["x"], ["r"])
    layer = recurrent(outputs=["h"])
    layer.input[0] = "r"
    constants = {**weights(inputs=wide), **AXIS}
    inputs = [value("x", ("T", "N", wide))]
    refused(model([relu, layer, STEPS], constants, inputs, ("s",)), "elements together")


def test_what_the_evaluator_would_keep_is_bounded() -> None:
    with pytest.warns(hg.HeadgateWarning, match="elements together; pass verify=False"):
        hg.onnx.load(filled(("Identity", [], {})))


def test_external_data_lie_in_the_folder_of_the_model(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    proto = behind(one("Relu", "d"))
    want = hg.onnx.load(proto).get_vector()
    onnx.save(
        proto, inside / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert np.array_equal(hg.onnx.load(inside / "m.onnx").get_vector(), want)
    content = (inside / "m.data").read_bytes()
    (inside / "m.data").rename(outside)
    (inside / "m.data").symlink_to(outside)
    refused(inside / "m.onnx", "outside the folder of the model")
    (inside / "m.data").unlink()
    refused(inside / "m.onnx", "m.data", "does not exist")
    (inside / "m.data").write_bytes(content[:40])
    refused(inside / "m.onnx", "truncated")


def test_a_thousand_damaged_files() -> None:
    """Whatever is altered: a network, or ModelFileError. None may crash or hang."""
    rng = np.random.default_rng(7)
    whole = behind(one("Relu", "d")).SerializeToString()
    golden = np.load(GOLDEN)
    contents = [
        whole,
        golden["keras3.gru.model"].tobytes(),
        golden["keras2.tokens.model"].tobytes(),
    ]
    loaded = 0
    for k in range(1000):
        content = bytearray(contents[k % 3])
        if k % 4 == 0:
            del content[rng.integers(len(content)) :]
        for _ in range(rng.integers(1, 4)):
            if content:
                content[rng.integers(len(content))] = rng.integers(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hg.HeadgateWarning)
                hg.onnx.load(bytes(content))
            loaded += 1  # a weight of another value, a name that nobody reads
        except hg.ModelFileError:
            pass
    assert 50 < loaded < 700
