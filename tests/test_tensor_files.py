"""``hg.Network.from_safetensors``: files of weights that another program wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import safetensors.numpy

import headgate as hg

Tensors = dict[str, np.ndarray]


def tensors_of(net: hg.Network, **names: str) -> Tensors:
    """A network's tensors with other names for its layers; "" is none."""
    found = {}
    for name, tensor in net.state_dict().items():
        layer, key = name.split(".")
        prefix = names.get(layer, layer)
        found[f"{prefix}.{key}" if prefix else key] = tensor
    return found


def written(folder: Path, tensors: Tensors, metadata: Any = None) -> Path:
    path = folder / "weights.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata=metadata)
    return path


def raw(folder: Path, dtype: str, numbers: np.ndarray, shape: list[int] | None = None) -> Path:
    """A file of one tensor ``weight_hh_l0``, and the rest of a GRU of one unit beside it."""
    header: dict[str, Any] = {}
    content = b""
    for name, tensor, kind in (
        ("weight_hh_l0", numbers, dtype),
        ("weight_ih_l0", np.ones((3, 1), "<f4"), "F32"),
    ):
        end = len(content) + tensor.nbytes
        places = [len(content), end]
        header[name] = {"dtype": kind, "shape": shape or list(tensor.shape), "data_offsets": places}
        content += tensor.tobytes()
    text = json.dumps(header).encode()
    path = folder / "raw.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


X = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3},
        {"bidirectional": True, "num_layers": 2},
        {"reset_after": False},
        {"layer_norm": True},
        {"cell": "lstm", "bidirectional": True},
        {"cell": "rnn", "nonlinearity": "relu"},
    ],
    ids=str,
)
def test_a_recurrent_layer_alone(tmp_path: Path, options: dict[str, Any]) -> None:
    net = hg.Network(input_size=4, hidden_size=5, output_size=None, readout="every", **options)
    path = written(tmp_path, tensors_of(net, gru="", lstm="", rnn=""), {"format": "pt"})
    told = {"nonlinearity": "relu"} if options.get("cell") == "rnn" else {}
    again = hg.Network.from_safetensors(path, **told)
    assert again.spec == net.spec
    assert np.array_equal(again.predict(X), net.predict(X))
    last = hg.Network.from_safetensors(path, readout="last", **told)
    assert last.spec.readout == "last"


@pytest.mark.parametrize("readout", ["every", "last", "mean", "max"])
def test_whole_modules(tmp_path: Path, readout: str) -> None:
    net = hg.Network(
        vocabulary=9,
        embedding_size=4,
        hidden_size=[5, 3],
        output_size=2,
        dense=(6,),
        activation="tanh",
        readout=readout,
        task="classification",
    )
    names = {"embedding": "encoder.words", "gru0": "encoder.0", "dense0": "2", "head": "fc"}
    path = written(tmp_path, tensors_of(net, **names))
    again = hg.Network.from_safetensors(
        path, readout=readout, activation="tanh", task="classification"
    )
    layers = [layer.name for layer in again.spec.layers if layer.name != "readout"]
    assert layers == ["encoder_words", "encoder_0", "gru1", "dense2", "fc"]
    tokens = np.random.default_rng(0).integers(9, size=(3, 7))
    assert np.array_equal(again.predict(tokens), net.predict(tokens))


def test_biases_that_are_not_there_are_zeros(tmp_path: Path) -> None:
    net = hg.Network(input_size=4, hidden_size=5, output_size=2)
    tensors = tensors_of(net)
    net.load_state_dict({k: v * ("bias" not in k) for k, v in tensors.items()})
    path = written(tmp_path, {k: v for k, v in tensors.items() if "bias" not in k})
    again = hg.Network.from_safetensors(path, readout="last")
    assert np.array_equal(again.predict(X), net.predict(X))


def test_tied_weights_stand_once(tmp_path: Path) -> None:
    net = hg.Network(
        vocabulary=9, embedding_size=5, hidden_size=5, output_size=9, readout="every", tied=True
    )
    path = written(tmp_path, tensors_of(net))
    again = hg.Network.from_safetensors(path, readout="every")
    assert again.spec.layers[-1].tied == "embedding"
    tokens = np.random.default_rng(0).integers(9, size=(3, 7))
    assert np.array_equal(again.predict(tokens), net.predict(tokens))


def test_layers_that_fit_in_two_orders_need_one(tmp_path: Path) -> None:
    net = hg.Network(input_size=4, hidden_size=5, output_size=2, dense=(5, 5))
    path = written(tmp_path, tensors_of(net, dense0="b", dense1="a"))
    with pytest.raises(hg.InputError) as caught:
        hg.Network.from_safetensors(path, readout="last", activation="relu")
    assert "fit in several ways, such as gru gru -> dense a -> dense b -> dense head, and" in str(
        caught.value
    )
    again = hg.Network.from_safetensors(
        path, readout="last", activation="relu", order=["gru", "b", "a", "head"]
    )
    assert np.array_equal(again.predict(X), net.predict(X))


def test_a_spec_says_everything(tmp_path: Path) -> None:
    net = hg.Network(input_size=4, hidden_size=5, readout="attention")
    path = written(tmp_path, net.state_dict())
    again = hg.Network.from_safetensors(path, spec=net.spec)
    assert np.array_equal(again.predict(X), net.predict(X))
    alone = hg.Network(input_size=4, hidden_size=5, output_size=None)
    path = written(tmp_path, tensors_of(alone, gru=""))
    again = hg.Network.from_safetensors(path, spec=alone.spec)
    assert np.array_equal(again.predict(X), alone.predict(X))
    with pytest.raises(hg.InputError, match="a spec says everything; leave the other options out"):
        hg.Network.from_safetensors(path, spec=alone.spec, readout="last")


def test_other_floating_types_become_float32(tmp_path: Path) -> None:
    numbers = np.array([[1.5], [-0.25], [3.0]])
    bits = (numbers.astype("<f4").view("<u4") >> 16).astype("<u2")
    for dtype, array in (
        ("F64", numbers + 1e-12),
        ("F32", numbers.astype("<f4")),
        ("F16", numbers.astype("<f2")),
        ("BF16", bits),
    ):
        net = hg.Network.from_safetensors(raw(tmp_path, dtype, array))
        got = net.state_dict()["gru.weight_hh_l0"]
        assert got.dtype == np.float32
        assert np.array_equal(got, numbers.astype(np.float32)), dtype


@pytest.mark.parametrize(
    ("dtype", "numbers", "message"),
    [
        ("F64", [1e39], "holds values in tensor 'weight_hh_l0' that are not finite in float32"),
        ("F32", [np.nan], "holds values in tensor 'weight_hh_l0' that are not finite in float32"),
        ("BF16", [0x7F80], "holds values in tensor 'weight_hh_l0' that are not finite in float32"),
        (
            "I64",
            [1],
            "is broken: tensor 'weight_hh_l0' has dtype 'I64', a network's parameters are of F64, "
            "F32, F16, BF16",
        ),
        ({}, [1], "is broken: tensor 'weight_hh_l0' has dtype {}, a network's parameters are of "),
        (
            "F16",
            [1.0],
            "is broken: tensor 'weight_hh_l0' of shape [3, 1] lies at bytes [0, 24], which is not "
            "2 bytes for each element",
        ),
    ],
)
def test_broken_files(tmp_path: Path, dtype: Any, numbers: list[Any], message: str) -> None:
    kind = {"F32": "<f4", "BF16": "<u2", "I64": "<i8"}.get(str(dtype), "<f8")
    path = raw(tmp_path, dtype, np.array(numbers * 3, kind).reshape(3, 1))
    with pytest.raises(hg.ModelFileError) as caught:
        hg.Network.from_safetensors(path)
    assert str(caught.value).startswith(f"{str(path)!r} {message}")


def test_truncated_and_strange_files(tmp_path: Path) -> None:
    net = hg.Network(input_size=2, hidden_size=3)
    path = written(tmp_path, net.state_dict())
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(hg.ModelFileError):
            hg.Network.from_safetensors(path)
    with pytest.raises(hg.ModelFileError, match="does not exist; check the path"):
        hg.Network.from_safetensors(tmp_path / "nowhere")
    net.save(path)
    with pytest.raises(hg.ModelFileError) as caught:
        hg.Network.from_safetensors(path)
    assert str(caught.value) == (
        f"{str(path)!r} is a model file of headgate's own; open it with hg.load"
    )


def some(**shapes: tuple[int, ...]) -> Tensors:
    return {name.replace("__", "."): np.zeros(shape, np.float32) for name, shape in shapes.items()}


GRU = some(gru__weight_ih_l0=(9, 2), gru__weight_hh_l0=(9, 3))
SPEC = "build the network's spec and pass spec="


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        ({}, {}, "the file has no tensors"),
        (
            GRU | some(fc__weight=(1, 3), fc__bias=(1,)),
            {},
            "a file of weights does not say the readout of what the linear layers read of 'gru'; "
            'pass readout="every" or readout="last" or readout="mean" or readout="max"',
        ),
        (
            GRU | some(a__weight=(4, 3), a__bias=(4,), b__weight=(1, 4), b__bias=(1,)),
            {"readout": "last"},
            "a file of weights does not say the activation of the linear layers; pass "
            'activation="linear" or activation="relu" or activation="tanh"',
        ),
        (
            some(weight_ih_l0=(3, 2), weight_hh_l0=(3, 3)),
            {},
            "a file of weights does not say the nonlinearity of the file; pass "
            'nonlinearity="tanh" or nonlinearity="relu"',
        ),
        (
            some(weight_ih_l0=(6, 2), weight_hh_l0=(6, 3)),
            {},
            "weight_hh_l0 of the file must have 3H rows (GRU), 4H (LSTM) or H (RNN) for H columns, "
            "got (6, 3)",
        ),
        (
            some(weight_ih_l0=(9, 2)),
            {},
            "the file has no weight_hh_l0 that goes with its weight_ih_l0",
        ),
        (
            GRU | some(gru__weight_hr_l0=(2, 3)),
            {},
            "'gru' is no GRU of 2 inputs and 3 units as headgate has it: weight_hr_l0 should have "
            "the shape None, has (2, 3)",
        ),
        (
            GRU | {"gru.bias_hh_l0": np.array(1, np.float32)},
            {},
            "'gru' is no GRU of 2 inputs and 3 units as headgate has it: bias_hh_l0 should have "
            "the shape None, has ()",
        ),
        (
            GRU | some(norm__weight=(3,), norm__bias=(3,)),
            {},
            "the tensors ['norm.bias', 'norm.weight'] are of no layer that headgate has: a GRU, "
            "LSTM or RNN (weight_ih_l0, ...), a linear layer (weight, bias) or an embedding "
            "(weight)",
        ),
        (
            GRU | some(fc__weight=(1, 6), fc__bias=(1,)),
            {"readout": "last"},
            "the layers fc (6 to 1), gru (2 to 3) fit in no order in which each reads the one "
            f"before; {SPEC}",
        ),
        (
            some(**{f"a{k}__weight": (2, 2) for k in range(9)}),
            {},
            "the file has 9 layers; pass their names in order, as order=",
        ),
        (
            GRU,
            {"order": ["gru", "fc"]},
            "order must name the layers ['gru'], got ['gru', 'fc']",
        ),
        (
            GRU,
            {"readout": "attention"},
            "readout must be one of 'every', 'last', 'mean', 'max'; got 'attention'",
        ),
        (
            GRU,
            {"activation": "relu"},
            "activation stands between linear layers, and the file has 0; leave it out",
        ),
        (
            GRU,
            {"nonlinearity": "relu"},
            "nonlinearity goes with an RNN, and the file has none; leave it out",
        ),
        (
            some(fc__weight=(2, 2)),
            {},
            "the layers fc (2 to 2) fit in several ways, such as dense fc, and embedding fc; pass "
            f"order=, or {SPEC}",
        ),
    ],
)
def test_what_a_file_does_not_say(
    tmp_path: Path, tensors: Tensors, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(hg.InputError) as caught:
        hg.Network.from_safetensors(written(tmp_path, tensors), **options)
    assert str(caught.value) == message


def test_load_says_how_a_foreign_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(hg.ModelFileError, match=r"read it by hg\.Network\.from_safetensors"):
        hg.load(written(tmp_path, GRU))


def test_the_numbers_are_the_reference_s(tmp_path: Path) -> None:
    """One of them by hand: a GRU of the file's names, by the definition."""
    tensors = oracles.gru_tensors(np.random.default_rng(0), 4, 5, dtype=np.float32)
    path = written(tmp_path, {f"{name}_l0": tensor for name, tensor in tensors.items()})
    out, _, _ = hg.reference.recurrent_forward("gru", X, None, tensors)
    oracles.assert_forward_close(hg.Network.from_safetensors(path).predict(X), out, 1e-6)
