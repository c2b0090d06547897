"""NetworkSpec: round trips, refusals word for word, parameter counts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.checks import check_size, shown
from headgate.errors import InputError
from headgate.spec import (
    ACTIVATIONS,
    GRU,
    READOUTS,
    SCALINGS,
    Dense,
    Dropout,
    InputSpec,
    Last,
    NetworkSpec,
    ScalingSpec,
)

sizes = st.integers(1, 300)
rates = st.floats(0, 1, exclude_max=True)
stacked = st.builds(
    NetworkSpec.stacked,
    sizes,
    sizes,
    sizes,
    num_layers=st.integers(1, 4),
    reset_after=st.booleans(),
    readout=st.sampled_from(READOUTS),
    dropout=rates,
    dense=st.lists(sizes, max_size=3),
    activation=st.sampled_from(ACTIVATIONS),
)
mlps = st.builds(
    NetworkSpec.mlp,
    sizes,
    st.lists(sizes, max_size=3),
    sizes,
    activation=st.sampled_from(ACTIVATIONS),
    dropout=rates,
)
floats = st.floats(-1e30, 1e30)


@st.composite
def scalings(draw: st.DrawFn) -> ScalingSpec:
    count = draw(st.integers(0, 4))
    scale = draw(st.lists(st.floats(1e-30, 1e30), min_size=count, max_size=count))
    shift = draw(st.lists(floats, min_size=count, max_size=count))
    kind, method = draw(st.sampled_from(SCALINGS)), draw(st.text(max_size=5))
    return ScalingSpec(kind=kind, method=method, shift=tuple(shift), scale=tuple(scale))


def small() -> dict:
    """A spec as JSON, to be spoiled."""
    return NetworkSpec.stacked(3, 4, 2, dense=[5]).to_dict()


# -- round trips --------------------------------------------------------------------------------


@settings(deadline=None)
@given(stacked | mlps, scalings())
def test_json_gives_the_same_spec_back(spec: NetworkSpec, scaling: ScalingSpec) -> None:
    spec = NetworkSpec(spec.inputs, spec.layers, scaling)
    assert NetworkSpec.from_json(spec.to_json()) == spec
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert hash(NetworkSpec.from_json(spec.to_json())) == hash(spec)


def test_numpy_numbers_are_welcome_and_become_plain() -> None:
    spec = NetworkSpec.stacked(
        np.int64(3), np.int32(4), np.uint8(2), dropout=np.float32(0.25), dense=np.array([5])
    )
    assert spec == NetworkSpec.stacked(3, 4, 2, dropout=0.25, dense=(5,))
    assert NetworkSpec.from_json(spec.to_json()) == spec
    scaling = ScalingSpec("affine", "", np.float32([0.5]), np.float32([2]))
    assert (scaling.shift, scaling.scale) == ((0.5,), (2.0,))


def test_lists_are_taken_for_tuples() -> None:
    spec = NetworkSpec([InputSpec("x", 2)], [Dense("head", ["x"], 3)])
    assert spec == NetworkSpec((InputSpec("x", 2),), (Dense("head", ("x",), 3),))
    assert hash(spec) is not None


# -- parameters ---------------------------------------------------------------------------------


def test_names_and_shapes_are_those_of_pytorch() -> None:
    spec = NetworkSpec.stacked(3, 4, 2, num_layers=2, readout="every")
    assert list(spec.parameter_shapes().items()) == [
        ("gru.weight_ih_l0", (12, 3)),
        ("gru.weight_hh_l0", (12, 4)),
        ("gru.bias_ih_l0", (12,)),
        ("gru.bias_hh_l0", (12,)),
        ("gru.weight_ih_l1", (12, 4)),
        ("gru.weight_hh_l1", (12, 4)),
        ("gru.bias_ih_l1", (12,)),
        ("gru.bias_hh_l1", (12,)),
        ("head.weight", (2, 4)),
        ("head.bias", (2,)),
    ]


@settings(deadline=None)
@given(i=sizes, h=sizes, o=sizes, layers=st.integers(1, 4), after=st.booleans())
def test_parameter_count(i: int, h: int, o: int, layers: int, after: bool) -> None:
    spec = NetworkSpec.stacked(i, h, o, num_layers=layers, reset_after=after)
    first = 3 * (i * h + h * h)
    others = (layers - 1) * 3 * (h * h + h * h)
    biases = layers * (6 if after else 5) * h  # reset-before has one candidate bias
    assert spec.parameter_count() == first + others + biases + h * o + o


@pytest.mark.parametrize(("after", "count"), [(True, 7_950), (False, 7_900)])
def test_parameter_count_of_keras_gru_50(after: bool, count: int) -> None:
    """Keras counts 7,950 for GRU(50) on one input: 3 (50 + 2500) weights and 300 biases."""
    spec = NetworkSpec.stacked(1, 50, reset_after=after)
    assert spec.parameter_count() - (50 + 1) == count


def test_readout_and_sizes() -> None:
    spec = NetworkSpec.stacked(3, 4, 2, readout="last", dropout=0.5, dense=[7])
    assert [layer.kind for layer in spec.layers] == ["gru", "last", "dropout", "dense", "dense"]
    assert (spec.readout, spec.input_size, spec.output_size) == ("last", 3, 2)
    assert NetworkSpec.stacked(3, 4, readout="every").readout == "every"
    assert [layer.kind for layer in NetworkSpec.mlp(1, [32, 16]).layers] == ["dense"] * 3


# -- refusals, word for word --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: NetworkSpec.stacked(0, 4),
            "the size of input 'x' must be between 1 and 1048576, got 0",
        ),
        (
            lambda: NetworkSpec.stacked(1, 2.5),
            "hidden_size of layer 'gru' must be an integer, got 2.5; pass a number such as 16",
        ),
        (
            lambda: NetworkSpec.stacked(1, True),
            "hidden_size of layer 'gru' must be an integer, got True; pass a number such as 16",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, num_layers=257),
            "num_layers of layer 'gru' must be between 1 and 256, got 257",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, reset_after=1),
            "reset_after of layer 'gru' must be True or False, got 1",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, readout="first"),
            "readout must be one of 'every', 'last'; got 'first'",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, dropout=1),
            "dropout must be at least 0 and below 1, got 1",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, dropout=math.nan),
            "dropout must be at least 0 and below 1, got nan",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, dense=32),
            "dense must be a list or tuple, got 32",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, dense=[3], activation="gelu"),
            "activation of layer 'dense0' must be one of 'linear', 'relu', 'tanh'; got 'gelu'",
        ),
        (
            lambda: NetworkSpec.stacked(1, 1 << 15),
            "the network has 3221553153 parameters, at most 2147483647 are possible; "
            "use smaller or fewer layers",
        ),
        (
            lambda: Dense("2b", ("x",)),
            "layer name '2b' must be 1 to 64 letters, digits and underscores, and begin with "
            "a letter",
        ),
        (
            lambda: Dense("state", ("x",)),
            "layer name 'state' is reserved for other tensors of a model file; choose another name",
        ),
        (
            lambda: NetworkSpec((InputSpec("x", 1),), ()),
            "a network has 1 to 256 layers, got 0",
        ),
        (
            lambda: NetworkSpec((), (Dense("head", ("x",)),)),
            "a network has exactly one input for now, got 0",
        ),
        (
            lambda: NetworkSpec((InputSpec("x", 1),), ("gru",)),
            "layers of a network must be LayerSpec objects, got 'gru'",
        ),
        (
            lambda: NetworkSpec((InputSpec("x", 1),), (Dense("x", ("x",)),)),
            "two parts of the network are named 'x'; rename one",
        ),
        (
            lambda: NetworkSpec((InputSpec("x", 1),), (Dense("head", ("y",)),)),
            "layer 'head' must read from the one before it, 'x', got inputs=('y',)",
        ),
        (
            lambda: NetworkSpec((InputSpec("x", 1),), (Last("a", ("x",)), GRU("b", ("a",)))),
            "layer 'b' (gru) needs a sequence, but a 'last' layer before it keeps one step only; "
            "move 'last' behind it",
        ),
        (
            lambda: ScalingSpec("affine", shift=(0.0,)),
            "scaling needs as many shifts as scales, got 1 and 0",
        ),
        (
            lambda: ScalingSpec("affine", shift=(0.0,), scale=(0.0,)),
            "the scale of a scaling must not be 0; use 1 for a constant feature",
        ),
        (
            lambda: ScalingSpec("affine", shift=(math.inf,), scale=(1.0,)),
            "the shift of a scaling must be finite numbers, got inf",
        ),
    ],
)
def test_refusal(make, message: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message


def spoiled(**changes) -> str:
    return json.dumps({**small(), **changes})


def spoiled_layer(**changes) -> str:
    data = small()
    data["layers"][0].update(changes)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[]",
            "the network spec must be a JSON object, got list",
        ),
        (
            spoiled(format=2, news=1),
            "the network spec has format 2, this version reads format 1; upgrade headgate",
        ),
        (
            spoiled(format=True),
            "the network spec has format True, this version reads format 1; upgrade headgate",
        ),
        (
            spoiled(optimizer="adam"),
            "a network spec has unknown keys ['optimizer']; known are "
            "['format', 'inputs', 'layers', 'scaling']",
        ),
        (
            spoiled(layers={}),
            "'layers' of a network spec must be a list, got dict",
        ),
        (
            spoiled(layers=[5]),
            "unknown layer kind None; known are gru, dense, dropout, last",
        ),
        (
            spoiled_layer(kind="lstm"),
            "unknown layer kind 'lstm'; known are gru, dense, dropout, last",
        ),
        (
            spoiled_layer(bidirectional=True),
            "a gru layer has unknown keys ['bidirectional']; known are "
            "['hidden_size', 'inputs', 'name', 'num_layers', 'reset_after']",
        ),
        (
            spoiled_layer(hidden_size=4.0),
            "'hidden_size' of a gru layer must be int, got 4.0",
        ),
        (
            spoiled_layer(inputs="x"),
            "'inputs' of a gru layer must be a list, got 'x'",
        ),
        (
            spoiled_layer(inputs=[["x"]]),
            "'inputs' of a gru layer must be tuple[str, ...], got (['x'],)",
        ),
        (
            spoiled(inputs=[{"name": "x"}]),
            "an input is incomplete: InputSpec.__init__() missing 1 required positional "
            "argument: 'size'",
        ),
        (
            '{"format": 1, "format": 1}',
            "the network spec is not JSON: the key 'format' stands twice in one object",
        ),
        (
            '{"format": NaN}',
            "the network spec is not JSON: NaN is not a JSON number",
        ),
        (
            '{"format": -1e999}',
            "the network spec is not JSON: the number '-1e999' is out of range",
        ),
    ],
)
def test_refusal_in_json(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        NetworkSpec.from_json(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
        spoiled_layer(hidden_size=0).replace('"hidden_size": 0', '"hidden_size": ' + "9" * 4000),
        spoiled(inputs=None).replace("null", "[" * 900 + "]" * 900),
        spoiled_layer(name=5),
        spoiled_layer(name="a" * 65),
        spoiled_layer(name="\u6cb3"),
        spoiled_layer(name="gru\n"),
        spoiled_layer(num_layers=256, hidden_size=1 << 20),
        spoiled(layers=[small()["layers"][0]] * 2),
        spoiled(scaling={"kind": "affine", "shift": [10**400], "scale": [1]}),
        spoiled(scaling={"kind": "affine", "shift": [True], "scale": [1]}),
        spoiled(scaling={"kind": ["affine"]}),
        spoiled(scaling=None),
    ],
)
def test_hostile_json_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError) as error:
        NetworkSpec.from_json(text)
    assert len(str(error.value)) < 500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(data=st.data(), value=json_values)
def test_any_value_anywhere_is_a_spec_or_an_input_error(data: st.DataObject, value) -> None:
    """Replace one value somewhere in a good spec by anything that JSON can hold."""
    root = small()
    place = root
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        deeper = place[key]
        if not deeper or not isinstance(deeper, (dict, list)) or data.draw(st.booleans()):
            place[key] = value
            break
        place = deeper
    try:
        spec = NetworkSpec.from_dict(root)
    except InputError:
        return
    assert NetworkSpec.from_json(spec.to_json()) == spec


def test_values_are_shown_short_and_never_fail() -> None:
    assert shown(10**5000) == "an object of type int, too large to show"
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 100
    assert len(shown("a" * 1000)) <= 100
    with pytest.raises(InputError, match="got an object of type int, too large to show"):
        check_size("size", 10**5000)


def test_dropout_rate_is_kept_as_a_float() -> None:
    assert isinstance(Dropout("d", ("x",), 0).rate, float)


def test_stacks_of_several_widths_and_without_a_head():
    funnel = NetworkSpec.stacked(1, [64, 32, 16])
    assert [layer.name for layer in funnel.recurrent()] == ["gru0", "gru1", "gru2"]
    assert funnel.parameter_count() == 24_689
    states = NetworkSpec.stacked(10, 20, None, num_layers=2)
    assert (states.output_size, states.parameter_count()) == (20, 4_440)
    assert NetworkSpec.stacked(10, [20, 20], None).parameter_count() == 4_440
    with pytest.raises(InputError, match="hidden_size is empty; pass a number, or a width"):
        NetworkSpec.stacked(1, [])
    with pytest.raises(InputError, match=r"hidden_size=\[3, 4\] says how many layers there are"):
        NetworkSpec.stacked(1, [3, 4], num_layers=3)
