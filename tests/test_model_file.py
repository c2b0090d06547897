"""Model files: round trips, every kind of damage, hostile headers, failures while saving."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import runpy
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import headgate as hg
from headgate import model_file
from headgate.errors import HeadgateError, InputError, ModelFileError
from headgate.files import write_beside_and_rename
from headgate.model_file import load_model, save_model
from headgate.model_header import MAX_HEADER
from headgate.spec import Dense, InputSpec, NetworkSpec

GOLDEN = Path(__file__).with_name("golden")
TINY = NetworkSpec.stacked(1, 1, 1)


def parameters(spec: NetworkSpec, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in spec.parameter_shapes().items()
    }


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    """The bytes of a small file with a state, an extra tensor and extra settings."""
    tensors = parameters(TINY) | {
        "state.gru": np.ones((1, 2, 1), np.float32),
        "extra.tail": np.float32([1, 2]),
    }
    save_model(tmp_path / "good", TINY, tensors, extra={"unique_id": "长江", "lookback": 12})
    return (tmp_path / "good").read_bytes()


def load_bytes(folder: Path, content: bytes) -> model_file.ModelFile:
    path = folder / "m.safetensors"
    path.write_bytes(content)
    return load_model(path)


def refusal(folder: Path, content: bytes) -> str:
    """The message, without the path, with which a file of these bytes is refused."""
    with pytest.raises(ModelFileError) as error:
        load_bytes(folder, content)
    start = f"'{folder / 'm.safetensors'}' "
    assert str(error.value).startswith(start)
    assert len(str(error.value)) < 1000
    return str(error.value)[len(start) :]


def split(content: bytes) -> tuple[dict, dict, bytes]:
    """Table of tensors, payload of headgate, and tensor bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    table = json.loads(content[8:end])
    payload = json.loads(table.pop("__metadata__")["headgate"])
    return table, payload, content[end:]


def join(header: dict | str | bytes, data: bytes) -> bytes:
    if isinstance(header, dict):
        header = json.dumps(header)
    raw = header.encode() if isinstance(header, str) else header
    return len(raw).to_bytes(8, "little") + raw + data


def forge(content: bytes, change) -> bytes:
    """A file altered by someone who computes the digests anew."""
    table, payload, data = split(content)
    data = change(table, payload, data) or data
    payload.setdefault("sha256", hashlib.sha256(data).hexdigest())
    if payload["sha256"] is not None:
        payload["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        layout = {k: (v["shape"], *v["data_offsets"]) for k, v in table.items()}
        payload["header_sha256"] = model_file._header_digest(payload, layout)
    except (KeyError, TypeError, ValueError):
        pass  # refused before the digests are looked at
    return join({"__metadata__": {"headgate": json.dumps(payload)}, **table}, data)


# -- round trips --------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # a lone surrogate is no text that a file can hold
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\\n河', max_size=4), inner)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    reset_after=st.booleans(),
    extra=st.dictionaries(st.text("abc河", max_size=4), json_values, max_size=4),
    shape=st.lists(st.integers(0, 3), max_size=4),
    seed=st.integers(0, 100),
)
def test_round_trip(tmp_path_factory, sizes, reset_after, extra, shape, seed) -> None:
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    spec = NetworkSpec.stacked(*sizes, reset_after=reset_after, num_layers=2)
    tensors = parameters(spec, seed) | {"extra.any": np.full(shape, np.nan, np.float32)}
    save_model(path, spec, tensors, extra=extra)
    loaded = load_model(path)
    assert (loaded.spec, loaded.extra) == (spec, extra)
    assert list(loaded.tensors) == [*spec.parameter_shapes(), "extra.any"]
    for name, array in loaded.tensors.items():
        np.testing.assert_array_equal(array, tensors[name], strict=True)
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_safetensors_reads_our_files_too(tmp_path: Path, good: bytes) -> None:
    ours, theirs = load_bytes(tmp_path, good).tensors, safetensors.numpy.load(good)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], strict=True)


def test_strided_read_only_and_float_order_do_not_matter(tmp_path: Path) -> None:
    spec = NetworkSpec.stacked(3, 4, 2)
    tensors = parameters(spec)
    odd = {name: np.asfortranarray(array) for name, array in tensors.items()}
    odd["gru.bias_ih_l0"] = np.repeat(tensors["gru.bias_ih_l0"], 2)[::2]
    for array in odd.values():
        array.flags.writeable = False
    save_model(tmp_path / "a", spec, tensors)
    save_model(tmp_path / "b", spec, odd)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_names_in_any_script_stay_readable_in_the_file(good: bytes) -> None:
    assert "长江".encode() in good


def test_the_golden_file_of_format_1_loads() -> None:
    content = runpy.run_path(str(GOLDEN / "make_model_v1.py"))["content"]
    spec, tensors, extra = content()
    loaded = load_model(GOLDEN / "model_v1.safetensors")
    assert (loaded.spec, loaded.extra, loaded.headgate_version) == (spec, extra, "0.1.0")
    assert loaded.tensors.keys() == tensors.keys()
    for name in tensors:
        np.testing.assert_array_equal(loaded.tensors[name], tensors[name], strict=True)


FEATURES = {
    "lstm": {"cell": "lstm", "num_layers": 2},
    "rnn": {"cell": "rnn", "nonlinearity": "relu"},
    "norm": {"layer_norm": True, "reset_after": False},
    "both ways": {"bidirectional": True, "num_layers": 2, "readout": "mean"},
    "dropout": {"num_layers": 2, "dropout": 0.1, "input_dropout": 0.2, "recurrent_dropout": 0.3},
    "residual": {"num_layers": 3, "residual": True, "readout": "max"},
    "widths": {"hidden_size": [5, 3], "cell": "lstm"},
    "additive": {"readout": "attention", "attention_size": 3},
    "dot": {"readout": "attention", "attention": "dot"},
    "tokens": {"vocabulary": 7, "embedding_size": 2, "padding_index": 1},
    "classes": {"output_size": 3, "task": "classification", "readout": "every"},
    "yes or no": {"task": "binary"},
}


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_comes_back(tmp_path: Path, feature: str) -> None:
    net = hg.Network(**{"input_size": 2, "hidden_size": 4, "seed": 5, **FEATURES[feature]})
    rng = np.random.default_rng(0)
    x: Any = rng.standard_normal((3, 5, 2))
    if net.spec.token_inputs:
        x = {"x": x, "tokens": rng.integers(0, 7, (3, 5))}
    expected, net.state = net.predict(x, return_state=True)
    net.save(tmp_path / "net.safetensors")
    again = hg.load(tmp_path / "net.safetensors")
    assert again.spec == net.spec
    assert list(again.tensors()) == list(net.tensors())
    for name, array in net.tensors().items():
        np.testing.assert_array_equal(again.tensors()[name], array, strict=True)
    np.testing.assert_array_equal(again.predict(x), expected)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("state.lstm.h", (2, 1, 3), r"must have the shape \(4, N, 3\), got \(2, 1, 3\)"),
        ("state.lstm.c", (4, 1, 4), r"must have the shape \(4, N, 3\), got \(4, 1, 4\)"),
    ],
)
def test_states_of_all_stacks_are_held_against_the_spec(
    tmp_path: Path, name: str, shape: tuple[int, ...], expected: str
) -> None:
    net = hg.Network(input_size=2, hidden_size=3, cell="lstm", num_layers=2, bidirectional=True)
    tensors = {**net.tensors(), name: np.zeros(shape, np.float32)}
    with pytest.raises(InputError, match=expected):
        save_model(tmp_path / "net.safetensors", net.spec, tensors)


# -- damage -------------------------------------------------------------------------------------


def test_truncated_anywhere(tmp_path: Path, good: bytes) -> None:
    for size in range(len(good)):
        refusal(tmp_path, good[:size])
    for more in (b"\0", b"\0" * 8, good):
        refusal(tmp_path, good + more)


def test_truncation_messages(tmp_path: Path, good: bytes) -> None:
    head = int.from_bytes(good[:8], "little")
    assert refusal(tmp_path, b"") == "is truncated: it has 0 bytes; copy or save it again"
    assert refusal(tmp_path, good[:20]) == (
        f"is truncated: its header has {head} bytes, the file only 12 for it; copy or save it again"
    )
    size = len(good) - 8 - head
    assert refusal(tmp_path, good[:-1]) == (
        f"is truncated: its tensors take {size} bytes, the file has {size - 1} for them; "
        "copy or save it again"
    )
    assert refusal(tmp_path, good[:-1] + bytes([good[-1] ^ 1])) == (
        "was altered or damaged: its tensors do not have the SHA-256 that it states; "
        "copy or save it again"
    )
    assert refusal(tmp_path, good.replace(b"lookback", b"lookbacc")) == (
        "was altered or damaged: its header does not have the SHA-256 that it states; "
        "copy or save it again"
    )


def test_every_single_bit_flip_is_refused_or_means_the_same(tmp_path: Path, good: bytes) -> None:
    intact = load_bytes(tmp_path, good)
    survivors = []
    path = tmp_path / "m.safetensors"
    with open(path, "r+b", buffering=0) as file:
        for bit in range(8 * len(good)):
            place = bit // 8
            os.pwrite(file.fileno(), bytes([good[place] ^ (1 << bit % 8)]), place)
            try:
                loaded = load_model(path)
            except ModelFileError:
                continue
            finally:
                os.pwrite(file.fileno(), good[place : place + 1], place)
            assert (loaded.spec, loaded.extra) == (intact.spec, intact.extra)
            assert loaded.headgate_version == intact.headgate_version
            for name, array in intact.tensors.items():
                np.testing.assert_array_equal(loaded.tensors[name], array, strict=True)
            survivors.append(bit)
    assert survivors == []  # even a space that became another character is noticed


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_bytes_are_a_model_or_a_model_file_error(tmp_path_factory, data) -> None:
    """Several bytes of a good file overwritten, or bytes made up."""
    folder = tmp_path_factory.getbasetemp()
    content = bytearray((GOLDEN / "model_v1.safetensors").read_bytes())
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 5))):
            place = data.draw(st.integers(0, len(content) - 1))
            some = data.draw(st.binary(min_size=1, max_size=8))
            content[place : place + len(some)] = some
    else:
        content = bytearray(join(data.draw(st.binary(max_size=50)), data.draw(st.binary())))
    try:
        load_bytes(folder, bytes(content))
    except ModelFileError:
        return


# -- hostile files ------------------------------------------------------------------------------


def renamed(table, payload, data):
    table["head.weights"] = table.pop("head.weight")


def dtype(table, payload, data):
    table["head.bias"]["dtype"] = "F64"


def unknown_key(table, payload, data):
    table["head.bias"]["stride"] = [1]


def negative(table, payload, data):
    table["extra.tail"]["data_offsets"] = [-8, 0]


def overlap(table, payload, data):
    table["head.weight"]["data_offsets"] = table["head.bias"]["data_offsets"]


def gap(table, payload, data):
    for entry in table.values():
        entry["data_offsets"] = [k + 4 for k in entry["data_offsets"]]
    return b"\0\0\0\0" + data


def overflow(table, payload, data):
    table["extra.tail"]["shape"] = [1 << 32, 1 << 32, 2]


def huge(table, payload, data):
    table["extra.tail"]["shape"] = [1 << 70]


def boolean(table, payload, data):
    table["head.bias"]["shape"] = [True]


def floating(table, payload, data):
    table["head.bias"]["shape"] = [1.0]


def reshaped(table, payload, data):
    table["head.bias"]["shape"] = [1, 1]


def wrong_state(table, payload, data):
    table["state.gru"]["shape"] = [1, 1, 2]


def path_name(table, payload, data):
    table["extra.../../etc"] = table.pop("extra.tail")


def missing(table, payload, data):
    size = table.pop("state.gru")["data_offsets"]
    table.pop("head.weight")
    assert size[1] == len(data)
    return data[: table["head.bias"]["data_offsets"][1]]


def no_digest(table, payload, data):
    del payload["sha256"]
    payload["sha256"] = None


def bigger_spec(table, payload, data):
    payload["spec"]["layers"][0]["hidden_size"] = 10_000


def hostile_spec(table, payload, data):
    payload["spec"]["layers"][0]["hidden_size"] = 1 << 20


def newer(table, payload, data):
    payload.update(format=2, headgate_version="9.0", more=1)


def more_keys(table, payload, data):
    payload["optimizer"] = {}


def bad_extra(table, payload, data):
    payload["extra"] = [1]


def not_finite(table, payload, data):
    begin = table["gru.bias_hh_l0"]["data_offsets"][0]
    return data[:begin] + np.float32(np.inf).tobytes() + data[begin + 4 :]


FOURS = "is broken: tensor {} of shape {} lies at bytes {}, which is not 4 bytes for each element"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "is broken: tensor 'head.weight' of shape (1, 1) is missing"),
        (missing, "is broken: tensor 'head.weight' of shape (1, 1) is missing"),
        (
            dtype,
            "is broken: tensor 'head.bias' has dtype 'F64', a model file holds only 'F32' "
            "(float32)",
        ),
        (
            unknown_key,
            "is broken: tensor 'head.bias' must have dtype, shape and data_offsets, got {",
        ),
        (negative, "is broken: tensor 'extra.tail' has offsets [-8, 0]"),
        (
            overlap,
            "is broken: tensor 'head.weight' begins at byte 56, expected 60; "
            "tensors must not overlap or leave gaps",
        ),
        (
            gap,
            "is broken: tensor 'extra.tail' begins at byte 4, expected 0; "
            "tensors must not overlap or leave gaps",
        ),
        (overflow, FOURS.format("'extra.tail'", "[4294967296, 4294967296, 2]", "[0, 8]")),
        (huge, "is broken: tensor 'extra.tail' has the shape [1180591620717411303424]"),
        (boolean, "is broken: tensor 'head.bias' has the shape [True]"),
        (floating, "is broken: tensor 'head.bias' has the shape [1.0]"),
        (reshaped, "is broken: tensor 'head.bias' must have the shape (1,), got (1, 1)"),
        (wrong_state, "is broken: tensor 'state.gru' must have the shape (1, N, 1), got (1, 1, 2)"),
        (
            path_name,
            "is broken: tensor 'extra.../../etc' is no parameter of this network; others must be "
            "named state.<name> or extra.<name>",
        ),
        (
            no_digest,
            "was altered or damaged: its tensors do not have the SHA-256 that it states; "
            "copy or save it again",
        ),
        (
            bigger_spec,
            "is broken: tensor 'gru.weight_ih_l0' must have the shape (30000, 1), got (3, 1)",
        ),
        (hostile_spec, "is broken: the network has 3298545369089 parameters, at most 2147483647"),
        (
            newer,
            "has model format 2, written by headgate '9.0'; this version reads format 1; "
            "upgrade headgate",
        ),
        (
            more_keys,
            "is broken: of the keys of its 'headgate' metadata, ['optimizer'] are missing or "
            "unknown; expected [",
        ),
        (bad_extra, "is broken: 'extra' or 'headgate_version' has the wrong type"),
        (
            not_finite,
            "holds nan or infinite values in tensor 'gru.bias_hh_l0'; save the network from "
            "before it diverged",
        ),
    ],
)
def test_forged_file(tmp_path: Path, good: bytes, change, message: str, monkeypatch) -> None:
    content = forge(good, change)
    if change is not not_finite:  # refused by the header alone, before any tensor is allocated
        monkeypatch.setattr(model_file.np, "empty", None)
    assert refusal(tmp_path, content).startswith(message)


def test_forge_without_a_change_makes_a_good_file(tmp_path: Path, good: bytes) -> None:
    load_bytes(tmp_path, forge(good, lambda *parts: None))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "null",
        "{",
        "{}{}",
        " {}",
        "\ufeff{}",
        b"{\xff\xfe}",
        "{" + '"a":{' * 100_000,
        '{"a":' + "[" * 2_000_000,
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": 1, "a": 1}',
        '{"__metadata__": []}',
        '{"a": {"dtype": "F32"}}',
        '{"__metadata__": {"headgate": 5}}',
        '{"__metadata__": {"headgate": "{}", "format": "pt"}}',
        '{"__metadata__": {"headgate": "\\ud800"}}',
        '{"__metadata__": {"headgate": "[]"}}',
        '{"__metadata__": {"headgate": "' + "[" * 100_000 + '"}}',
        '{"__metadata__": {"headgate": "' + "[" * 900 + "]" * 900 + '"}}',
        '{"__metadata__": {"headgate": "{\\"format\\": 1, \\"format\\": 1}"}}',
        '{"__metadata__": {"headgate": "{\\"format\\": 1, \\"extra\\": Infinity}"}}',
    ],
)
def test_hostile_header(tmp_path: Path, header: str | bytes) -> None:
    refusal(tmp_path, join(header, b""))


def test_an_impossible_empty_shape_is_refused(tmp_path: Path, good: bytes) -> None:
    def change(table, payload, data):
        table["extra.none"] = {
            "dtype": "F32",
            "shape": [0, (1 << 63) - 1, (1 << 63) - 1],
            "data_offsets": [0, 0],
        }

    refusal(tmp_path, forge(good, change))


def test_other_metadata_is_refused(tmp_path: Path, good: bytes) -> None:
    content = good.replace(b'{"__metadata__":{', b'{"__metadata__":{"format":"pt",')
    assert refusal(
        tmp_path,
        (len(content) - len(good) + int.from_bytes(good[:8], "little")).to_bytes(8, "little")
        + content[8:],
    ) == ("is broken: __metadata__ has keys beside 'headgate': ['format', 'headgate']")


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    for size in (MAX_HEADER + 1, 1 << 40, (1 << 64) - 1):
        assert refusal(tmp_path, size.to_bytes(8, "little") + b"{}") == (
            f"is no model file: its header would have {size} bytes, at most {MAX_HEADER} are "
            "allowed"
        )


@pytest.mark.parametrize("exception", [MemoryError, RecursionError, OverflowError, KeyError])
def test_any_other_exception_is_a_model_file_error(
    tmp_path: Path, good: bytes, monkeypatch, exception: type[Exception]
) -> None:
    def fail(*args):
        raise exception("boom")

    monkeypatch.setattr(model_file.np, "isfinite", fail)
    message = refusal(tmp_path, good)
    assert message.startswith(f"cannot be read as a model file: {exception.__name__}: ")


def test_a_pickle_is_never_loaded(tmp_path: Path, monkeypatch) -> None:
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    for protocol in range(6):
        message = refusal(tmp_path, pickle.dumps([Bomb(), "x" * 100], protocol))
        if protocol >= 2:
            assert message == (
                "looks like a pickle, not like a model file; headgate reads .safetensors only, as "
                "other formats can run code; save the tensors so where they were made"
            )
    assert not (tmp_path / "exploded").exists()
    assert "looks like a zip archive (torch.save, .npz, .keras)" in refusal(
        tmp_path, b"PK\x03\x04" + bytes(100)
    )


def test_a_foreign_safetensors_file_says_so(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        content = safetensors.numpy.save(parameters(TINY), metadata=metadata)
        assert refusal(tmp_path, content) == (
            "is a safetensors file that headgate did not write, so that it does not say which "
            "network it belongs to; read it by hg.Network.from_safetensors, which asks for what "
            "the file does not tell"
        )


def test_no_such_file_directory_pipe(tmp_path: Path) -> None:
    missing, pipe = tmp_path / "no" / "m.safetensors", tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, message in [
        (missing, "does not exist; check the path"),
        (tmp_path, "is a directory; name the model file in it"),
        (pipe, "is not a regular file"),
        ("a\0b", "cannot be read as a model file: ValueError: embedded null byte"),
        ("a" * 5000, "cannot be read: File name too long"),
    ]:
        with pytest.raises(ModelFileError) as error:
            load_model(path)
        if path == "a\0b":
            assert message.split(":")[0] in str(error.value)
        else:
            assert str(error.value) == f"{str(path)!r} {message}"


# -- writing ------------------------------------------------------------------------------------


def state_of(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"state.gru": np.zeros(shape, np.float32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.bias": None}, "tensor 'head.bias' of shape (1,) is missing"),
        (
            {"head.bias": np.zeros(2, np.float32)},
            "tensor 'head.bias' must have the shape (1,), got (2,)",
        ),
        ({"head.bias": np.zeros(1)}, "tensor 'head.bias' must be a float32 array, got float64"),
        ({"head.bias": [0.0]}, "tensor 'head.bias' must be a float32 array, got list"),
        (
            {"tail.bias": np.zeros(1, np.float32)},
            "tensor 'tail.bias' is no parameter of this network; others must be named "
            "state.<name> or extra.<name>",
        ),
        (state_of((2, 1, 1)), "tensor 'state.gru' must have the shape (1, N, 1), got (2, 1, 1)"),
        (state_of((1, 1)), "tensor 'state.gru' must have the shape (1, N, 1), got (1, 1)"),
        (
            {"head.bias": np.float32([np.nan])},
            "tensor 'head.bias' holds nan or infinite values, which no model file may; "
            "save the network from before it diverged",
        ),
        (
            {"extra.big": np.broadcast_to(np.float32(0), (1 << 29,))},
            "tensor 'extra.big' of shape (536870912,) is too large; at most 268435456 elements "
            "in 8 dimensions are possible",
        ),
    ],
)
def test_the_writer_refuses_other_tensors(tmp_path: Path, change: dict, message: str) -> None:
    tensors = parameters(TINY) | change
    tensors = {name: array for name, array in tensors.items() if array is not None}
    with pytest.raises(InputError) as error:
        save_model(tmp_path / "m", TINY, tensors)
    assert str(error.value) == message
    assert list(tmp_path.iterdir()) == []


def circle() -> list:
    result: list = []
    result.append(result)
    return result


@pytest.mark.parametrize(
    "extra",
    [
        {"a": np.float32(1)},
        {"a": np.zeros(2)},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": b"bytes"},
        {"a": "\ud800"},
        {"a": circle()},
        {1: "a", "1": "b"},
        {"a": 10**5000},
        {"a": "x" * MAX_HEADER},
        [1],
    ],
)
def test_the_writer_refuses_extra_that_is_not_json(tmp_path: Path, extra) -> None:
    with pytest.raises(InputError, match="extra"):
        save_model(tmp_path / "m", TINY, parameters(TINY), extra=extra)
    assert list(tmp_path.iterdir()) == []


def test_extra_comes_back_as_json_has_it(tmp_path: Path) -> None:
    save_model(tmp_path / "m", TINY, parameters(TINY), extra={"a": (1, 2), 10: "k", 9: "j"})
    assert load_model(tmp_path / "m").extra == {"a": [1, 2], "10": "k", "9": "j"}


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_full_disk_while_saving_keeps_the_old_file(
    tmp_path: Path, monkeypatch, good: bytes, call: str
) -> None:
    path = tmp_path / "good"
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(ModelFileError) as error:
            save_model(path, TINY, parameters(TINY, seed=1))
    assert str(error.value) == (
        f"cannot write {str(path)!r}: No space left on device; nothing was changed; "
        "free some space there or name another place"
    )
    assert path.read_bytes() == good
    assert sorted(tmp_path.iterdir()) == before


def test_a_really_full_device_while_writing(tmp_path: Path, monkeypatch, good: bytes) -> None:
    """Each byte goes to /dev/full, which refuses all of them."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    import builtins

    def to_full(path, mode="r", *args, **kwargs):
        if ".headgate-" in str(path):
            Path(path).touch()
            path, mode = "/dev/full", "wb"
        return original(path, mode, *args, **kwargs)

    original = builtins.open
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", to_full)
        with pytest.raises(ModelFileError, match="No space left on device; nothing was changed"):
            save_model(tmp_path / "good", TINY, parameters(TINY, seed=1))
    assert (tmp_path / "good").read_bytes() == good
    assert sorted(tmp_path.iterdir()) == before


def test_saving_replaces_the_whole_file(tmp_path: Path, good: bytes) -> None:
    spec = NetworkSpec((InputSpec("x", 1),), (Dense("head", ("x",), 1),))
    save_model(tmp_path / "good", spec, parameters(spec))
    assert load_model(tmp_path / "good").spec == spec
    assert [p.name for p in tmp_path.iterdir()] == ["good"]


# -- write_beside_and_rename --------------------------------------------------------------------


def test_files_have_the_permissions_that_the_umask_gives_and_keep_them(tmp_path: Path) -> None:
    path = tmp_path / "f"
    old = os.umask(0o027)
    try:
        write_beside_and_rename(path, b"one")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    write_beside_and_rename(path, lambda file: file.write(b"two"))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o600)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "f")
    write_beside_and_rename(tmp_path / "link", b"one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_bytes() == b"one"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    # A pipe of our own stands for /dev/null: a broken guard must not replace that one.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason, hint in [
        (
            tmp_path / "no" / "f",
            "No such file or directory",
            "create the folder first or name another place",
        ),
        (tmp_path, "it is a directory, name a file in it", "name another place"),
        (pipe, "it is not a regular file", "name another place"),
    ]:
        with pytest.raises(HeadgateError) as error:
            write_beside_and_rename(path, b"one")
        assert str(error.value) == (
            f"cannot write {str(path)!r}: {reason}; nothing was changed; {hint}"
        )
    with pytest.raises(HeadgateError):
        write_beside_and_rename("a\0b", b"one")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError, ZeroDivisionError])
def test_what_the_callback_raises_passes_through(tmp_path: Path, exception) -> None:
    def write(file) -> None:
        file.write(b"half")
        raise exception

    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(exception):
        write_beside_and_rename(tmp_path / "f", write)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"
