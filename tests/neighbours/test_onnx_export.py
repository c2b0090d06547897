"""ONNX files of networks, run by ONNX Runtime, beside ``predict`` and the float64 reference.

ONNX's own ReferenceEvaluator, which is slow and plain NumPy, runs a few of them too: it has no
lengths in its recurrent operators and no Relu in its RNN, so those are left to ONNX Runtime.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reads ONNX files, and onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="runs ONNX files in ONNX Runtime")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import features  # noqa: E402
import oracles  # noqa: E402
import strategies  # noqa: E402
import tolerances  # noqa: E402

import headgate as hg  # noqa: E402
from headgate import reference  # noqa: E402
from headgate.interop.onnx_export.export import OPSETS, network_model  # noqa: E402

pytestmark = pytest.mark.neighbours

CELLS = list(features.CELLS)
QUIET = 4  # fatal errors only


def session(model: Any) -> Any:
    """A model, or the path of one, in ONNX Runtime on one thread of the CPU, saying nothing."""
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = QUIET, 1
    source = model if isinstance(model, (str, Path)) else model.SerializeToString()
    return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(model: Any, feed: dict[str, Any]) -> dict[str, np.ndarray]:
    live = session(model)
    return dict(zip([o.name for o in live.get_outputs()], live.run(None, feed), strict=True))


def network(spec: Any, seed: int = 0) -> hg.Network:
    """A network with weights that leave nothing at zero."""
    net = hg.Network(spec)
    net.load_state_dict(oracles.network_tensors(spec, np.random.default_rng(seed), np.float32))
    return net


def inputs_of(case: features.Case) -> dict[str, np.ndarray]:
    """What the graph is fed: past each length there is what would spoil any result."""
    feed = {
        name: value.astype(np.float32) if value.dtype == np.float64 else value.copy()
        for name, value in case.x.items()
    }
    if case.lengths is not None:
        for value in feed.values():
            past = np.arange(value.shape[1]) >= case.lengths[:, None]
            value[past] = np.nan if value.dtype == np.float32 else 10**6
        feed["lengths"] = case.lengths
    return feed


def state_of(stack: Any, state: Any) -> dict[str, np.ndarray]:
    """A state as the graph is fed with it, by input."""
    parts = state if isinstance(state, tuple) else (state,)
    return {
        f"state.{name}": np.asarray(part, np.float32)
        for name, part in zip(stack.state_names(), parts, strict=True)
    }


def check(case: features.Case, opset: int = 17) -> None:
    """A case in ONNX Runtime, with its state and lengths, beside the float64 reference."""
    stack = case.spec.recurrent()[0]
    state = case.state
    if state is None:
        shape = (stack.num_layers * stack.directions, len(case.y), stack.hidden_size)
        zeros = tuple(np.zeros(shape) for _ in stack.states)
        state = zeros if len(zeros) > 1 else zeros[0]
    tensors = {name: value.astype(np.float32) for name, value in case.tensors.items()}
    ragged = case.lengths is not None
    model = network_model(case.spec, tensors, opset=opset, lengths=ragged, state=True)
    got = run(model, {**inputs_of(case), **state_of(stack, state)})

    def expected(dtype: Any) -> dict[str, np.ndarray]:
        y, after = reference.network_forward(
            case.spec, case.tensors, case.x, case.lengths, state, dtype=dtype
        )
        ends = state_of(stack, after[stack.name])
        return {"y": y, **{f"next_{name}": value for name, value in ends.items()}}

    exact, plain = expected(np.float64), expected(np.float32)
    assert set(got) == set(exact)
    for name, value in exact.items():
        allowed = tolerances.forward_tolerance(stack.hidden_size)
        if stack.layer_norm:  # dividing by a small deviation magnifies any rounding
            rounding = float(np.abs(plain[name] - value).max())
            allowed = max(allowed, tolerances.FORWARD_ERROR_RATIO * rounding)
        np.testing.assert_allclose(got[name], value, rtol=0, atol=allowed, err_msg=name)


# -- every feature, alone and in pairs ----------------------------------------------------------

# Of few units a layer norm may divide by next to nothing, and no two orders of sums agree then.
WIDE = 16


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", list(features.FEATURES))
def test_every_feature(name: str, cell: str) -> None:
    opset = OPSETS[(list(features.FEATURES).index(name) + CELLS.index(cell)) % len(OPSETS)]
    h = WIDE if name == "layer_norm" else 3
    check(features.make_case(cell, [name], seed=3, n=5, t=7, h=h), opset)


@pytest.mark.parametrize("pair", features.PAIRS, ids="-".join)
def test_pairs_of_features(pair: tuple[str, str]) -> None:
    k = features.PAIRS.index(pair)
    h = WIDE if "layer_norm" in pair else 3
    check(features.make_case(CELLS[k % 5], pair, seed=5, n=4, t=6, h=h), OPSETS[k % len(OPSETS)])


@pytest.mark.parametrize("cell", CELLS)
def test_everything_at_once(cell: str) -> None:
    names = set(features.FEATURES) - {"every", "mean", "max", "additive", "tokens"}
    check(features.make_case(cell, sorted(names), seed=7, n=6, t=9, h=WIDE))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_opset(cell: str, opset: int) -> None:
    """Layer normalisation and the means of steps are what later opsets write otherwise."""
    names = ["bidirectional", "layer_norm", "mean", "ragged"]
    case = features.make_case(cell, names, seed=8, n=3, t=5, h=WIDE)
    check(case, opset)
    tensors = {name: value.astype(np.float32) for name, value in case.tensors.items()}
    model = network_model(case.spec, tensors, opset=opset)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", opset)]
    assert model.ir_version <= {14: 7, 19: 9, 20: 9, 21: 10, 22: 10}.get(opset, 8)


@settings(max_examples=60, deadline=None)
@given(strategies.gru_cases(), st.sampled_from(CELLS), st.booleans(), st.sampled_from(OPSETS))
def test_odd_sizes(
    sizes: strategies.GRUCase, cell: str, bidirectional: bool, opset: int
) -> None:  # fmt: skip
    names = ["every", "state", *(["bidirectional"] if bidirectional else [])]
    case = features.make_case(
        cell, names, seed=sizes.seed, n=sizes.n, t=sizes.t, i=sizes.i, h=sizes.h
    )
    lengths = None if sizes.lengths is None else np.array(sizes.lengths)
    check(case._replace(lengths=lengths), opset)


# -- one file, any batch and any time -----------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"readout": "every"}], ids=str)
def test_one_file_takes_any_batch_and_any_number_of_steps(options: dict[str, Any]) -> None:
    net = hg.Network(input_size=3, hidden_size=17, bidirectional=True, seed=0, **options)
    live = session(network_model(net.spec, net.state_dict(), lengths=True))
    rng = np.random.default_rng(0)
    for n, t in ((1, 1), (1, 40), (9, 1), (33, 12)):
        x = rng.standard_normal((n, t, 3)).astype(np.float32)
        for lengths in (np.full(n, t), np.ones(n, int), oracles.random_lengths(rng, n, t)):
            (y,) = live.run(None, {"x": x, "lengths": lengths})
            expected = net.predict(x, lengths=lengths)
            assert y.shape == expected.shape
            np.testing.assert_allclose(y, expected, rtol=0, atol=tolerances.ONNX_BESIDE_PREDICT)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_step_by_step_is_the_whole(cell: str, layer_norm: bool) -> None:
    """The file is a live model: what it gives as a state it takes as one."""
    options = features.CELLS[cell] | {"layer_norm": layer_norm, "readout": "every"}
    net = hg.Network(input_size=2, hidden_size=8, num_layers=2, seed=1, **options)
    stack = net.spec.recurrent()[0]
    live = session(network_model(net.spec, net.state_dict(), state=True))
    x = np.random.default_rng(1).standard_normal((3, 9, 2)).astype(np.float32)
    zeros = np.zeros((2, 3, 8), np.float32)
    start = {f"state.{name}": zeros for name in stack.state_names()}
    whole, *end = live.run(None, {"x": x, **start})
    steps, state = [], start
    for t in range(9):
        y, *after = live.run(None, {"x": x[:, t : t + 1], **state})
        steps.append(y)
        state = dict(zip(start, after, strict=True))
    atol = tolerances.ONNX_BESIDE_PREDICT
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, rtol=0, atol=atol)
    for got, expected in zip(state.values(), end, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)
    stream = net.stream()
    lived = np.stack([stream.step(row).copy() for row in x[0]])
    np.testing.assert_allclose(whole[0], lived, rtol=0, atol=atol)


# -- graphs, tasks, tagging -----------------------------------------------------------------------


def branches() -> hg.NetworkSpec:
    """A value that several layers read, a sum, two stacks, two inputs, and every read-out."""
    return hg.NetworkSpec(
        inputs=(hg.InputSpec("x", 2), hg.InputSpec("words", 1, "tokens")),
        layers=(
            hg.Embedding("table", ("words",), vocabulary=5, size=2),
            hg.Concat("both", ("x", "table")),
            hg.GRU("low", ("both",), hidden_size=2, bidirectional=True),
            hg.Dropout("thin", ("low",), rate=0.5),
            hg.Add("sum", ("low", "both")),
            hg.Concat("wide", ("low", "both", "sum")),
            hg.LSTM("high", ("wide",), hidden_size=3),
            hg.Mean("mean", ("low",)),
            hg.Max("max", ("high",)),
            hg.Last("last", ("thin",)),
            hg.Last("last_sum", ("sum",)),
            hg.Attention("attention", ("low",), score="dot"),
            hg.Concat("all", ("mean", "max", "last", "last_sum", "attention")),
            hg.Dense("head", ("all",), size=2, activation="tanh"),
        ),
    )


@pytest.mark.parametrize("ragged", [False, True])
def test_a_graph_with_branches(ragged: bool) -> None:
    net, rng = network(branches()), np.random.default_rng(2)
    x = rng.standard_normal((4, 6, 2)).astype(np.float32)
    words = rng.integers(0, 5, (4, 6))
    lengths = np.array([6, 1, 3, 5]) if ragged else None
    model = network_model(net.spec, net.state_dict(), lengths=ragged, state=True)
    feed = {"x": x, "words": words} | ({"lengths": lengths} if ragged else {})
    start = {"low": np.zeros((2, 4, 2)), "high": (np.zeros((1, 4, 3)), np.zeros((1, 4, 3)))}
    for stack in net.spec.recurrent():
        feed |= state_of(stack, start[stack.name])
    got = run(model, feed)
    y, end = net.predict({"x": x, "words": words}, lengths=lengths, return_state=True)
    expected = {"y": y, "next_state.low": end["low"]}
    expected |= dict(zip(("next_state.high.h", "next_state.high.c"), end["high"], strict=True))
    assert set(got) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            got[name], value, rtol=0, atol=tolerances.ONNX_BESIDE_PREDICT, err_msg=name
        )


@pytest.mark.parametrize("score", ["additive", "dot"])
def test_what_stands_past_a_length_is_never_read(score: str) -> None:
    """Zero times NaN is NaN: what no recurrent operator cleans away must be gone before."""
    spec = hg.NetworkSpec(
        (hg.InputSpec("x", 2),),
        (hg.Dense("wide", ("x",), size=4), hg.Attention("attention", ("wide",), score=score)),
    )
    net, x = network(spec), np.random.default_rng(7).standard_normal((2, 5, 2)).astype(np.float32)
    expected = net.predict(x, lengths=[5, 2])
    x[1, 2:] = np.nan
    model = network_model(spec, net.state_dict(), lengths=True)
    got = run(model, {"x": x, "lengths": np.array([5, 2])})["y"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerances.ONNX_BESIDE_PREDICT)


@pytest.mark.parametrize("task", ["classification", "binary"])
@pytest.mark.parametrize("readout", ["last", "every"])
def test_the_output_is_what_predict_gives(task: str, readout: str) -> None:
    net = hg.Network(
        input_size=2, hidden_size=5, output_size=3, task=task, readout=readout, dense=(4,), seed=0
    )
    x = 3 * np.random.default_rng(3).standard_normal((3, 5, 2)).astype(np.float32)
    lengths = np.array([5, 2, 4])
    got = run(
        network_model(net.spec, net.state_dict(), lengths=True), {"x": x, "lengths": lengths}
    )["y"]
    expected = net.predict(x, lengths=lengths)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerances.ONNX_BESIDE_PREDICT)
    assert readout == "last" or not got[1, 2:].any()


def test_tied_weights_are_in_the_file_once() -> None:
    net = hg.Network(
        vocabulary=50, embedding_size=8, hidden_size=8, output_size=50, readout="every",
        tied=True, task="classification", seed=0,
    )  # fmt: skip
    model = network_model(net.spec, net.state_dict())
    shapes = [tuple(item.dims) for item in model.graph.initializer]
    assert shapes.count((50, 8)) == 1
    assert (8, 50) not in shapes
    tokens = np.random.default_rng(4).integers(0, 50, (3, 7))
    got = run(model, {"tokens": tokens})["y"]
    atol = tolerances.ONNX_BESIDE_PREDICT
    np.testing.assert_allclose(got, net.predict(tokens), rtol=0, atol=atol)


def tagger(classes: int, seed: int = 0) -> hg.Network:
    net = hg.Network(
        input_size=2, hidden_size=6, output_size=classes, readout="every", task="tagging",
        bidirectional=True,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    tensors = net.state_dict()
    for name in ("crf.transitions", "crf.start", "crf.end"):
        tensors[name] = rng.standard_normal(tensors[name].shape)
    net.load_state_dict(tensors)
    forbidden = np.zeros((classes, classes), bool)
    forbidden[0, 1] = True
    net.forbid_transitions(forbidden)
    return net


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("n", "t", "classes"), [(1, 1, 2), (4, 7, 3), (2, 300, 9)])
def test_tagging_gives_probabilities_and_the_best_classes(
    opset: int, n: int, t: int, classes: int
) -> None:
    net, rng = tagger(classes, seed=opset), np.random.default_rng(opset)
    x = rng.standard_normal((n, t, 2)).astype(np.float32)
    atol = tolerances.CRF_MARGINALS
    for lengths in (None, oracles.random_lengths(rng, n, t)):
        ragged = lengths is not None
        model = network_model(net.spec, net.state_dict(), opset=opset, lengths=ragged)
        got = run(model, {"x": x} | ({"lengths": lengths} if ragged else {}))
        expected = net.predict(x, lengths=lengths)
        np.testing.assert_allclose(got["y"], expected, rtol=0, atol=atol)
        np.testing.assert_array_equal(got["path"], net.decode(x, lengths=lengths))


@pytest.mark.parametrize(
    "options",
    [{}, {"reset_after": False}, {"cell": "lstm"}, {"cell": "rnn"}, {"layer_norm": True}],
    ids=str,
)
def test_onnx_itself_agrees(options: dict[str, Any]) -> None:
    net = hg.Network(input_size=3, hidden_size=4, bidirectional=True, readout="attention",
                     num_layers=2, residual=True, seed=0, **options)  # fmt: skip
    x = np.random.default_rng(5).standard_normal((3, 5, 3)).astype(np.float32)
    (got,) = ReferenceEvaluator(network_model(net.spec, net.state_dict())).run(None, {"x": x})
    atol = tolerances.ONNX_BESIDE_PREDICT
    np.testing.assert_allclose(got, net.predict(x), rtol=0, atol=atol)


def test_onnx_itself_agrees_about_tagging() -> None:
    net = tagger(3)
    x = np.random.default_rng(6).standard_normal((3, 5, 2)).astype(np.float32)
    y, path = ReferenceEvaluator(network_model(net.spec, net.state_dict())).run(None, {"x": x})
    np.testing.assert_allclose(y, net.predict(x), rtol=0, atol=tolerances.CRF_MARGINALS)
    np.testing.assert_array_equal(path, net.decode(x))


# -- files -----------------------------------------------------------------------------------------


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    net = hg.Network(input_size=2, hidden_size=4, cell="lstm", seed=0)
    path = tmp_path / "net.onnx"
    assert hg.onnx.export(net, path, lengths=True, state=True) is None
    assert [item.name for item in tmp_path.iterdir()] == ["net.onnx"]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    facts = {item.key: item.value for item in model.metadata_props}
    assert hg.NetworkSpec.from_json(facts["headgate.spec"]) == net.spec
    assert facts["headgate.version"] == hg.__version__
    assert json.loads(facts["headgate.spec"])["task"] == "regression"
    assert (model.producer_name, model.ir_version) == ("headgate", 8)
    live = session(path)
    shapes = {item.name: item.shape for item in live.get_inputs()}
    assert shapes == {
        "x": ["N", "T", 2], "lengths": ["N"],
        "state.lstm.h": [1, "N", 4], "state.lstm.c": [1, "N", 4],
    }  # fmt: skip
    shapes = {item.name: item.shape for item in live.get_outputs()}
    assert shapes == {
        "y": ["N", 1], "next_state.lstm.h": [1, "N", 4], "next_state.lstm.c": [1, "N", 4],
    }  # fmt: skip
    weights = {item.name: item for item in model.graph.initializer}
    kept = onnx.numpy_helper.to_array(weights["head.weight"])
    np.testing.assert_array_equal(kept, net.state_dict()["head.weight"])


@pytest.mark.parametrize("opset", [13, 23, "17", 17.0, True, None])
def test_an_opset_that_cannot_be_written_is_refused(tmp_path: Path, opset: Any) -> None:
    net = hg.Network(input_size=2, hidden_size=4)
    with pytest.raises(hg.InputError, match="opset must be a whole number from 14 to 22, got"):
        hg.onnx.export(net, tmp_path / "net.onnx", opset=opset)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(hg.InputError, match=r"^this network has no recurrent layer, so it has no"):
        hg.onnx.export(hg.Network(hg.NetworkSpec.mlp(2, [3])), path, state=True)
    with pytest.raises(hg.InputError, match=r"^expected a Network or a fitted estimator, got dict"):
        hg.onnx.export({}, path)
    with pytest.raises(hg.InputError, match="File name too long; choose another"):
        hg.onnx.export(hg.Network(input_size=1, hidden_size=2), tmp_path / ("a" * 300))
    with pytest.raises(hg.InputError, match="is a folder; name a file in it"):
        hg.onnx.export(hg.Network(input_size=1, hidden_size=2), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_export_leaves_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(hg.HeadgateError, match="nothing was changed"):
        hg.onnx.export(hg.Network(input_size=1, hidden_size=2), path)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["net.onnx"]


def test_an_input_named_as_one_of_the_file_is_refused(tmp_path: Path) -> None:
    for name, options in (("lengths", {"lengths": True}), ("y", {}), ("path", {})):
        net = hg.Network(hg.NetworkSpec((hg.InputSpec(name, 2),), (hg.GRU("gru", (name,), 3),)))
        with pytest.raises(hg.InputError, match=f"input '{name}' is named as an input or output"):
            hg.onnx.export(net, tmp_path / "model.onnx", **options)


def test_an_opset_may_be_numpys(tmp_path: Path) -> None:
    net = hg.Network(input_size=1, hidden_size=2)
    hg.onnx.export(net, tmp_path / "model.onnx", opset=np.int64(15))
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 15
