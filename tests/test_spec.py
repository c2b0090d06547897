"""NetworkSpec: round trips, refusals word for word, parameter counts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.checks import check_size, shown
from headgate.errors import InputError
from headgate.spec import (
    ACTIVATIONS,
    GRU,
    LSTM,
    RNN,
    SCALINGS,
    Add,
    Attention,
    Concat,
    Dense,
    Dropout,
    Embedding,
    InputSpec,
    Last,
    LayerSpec,
    Mean,
    NetworkSpec,
    Recurrent,
    ScalingSpec,
)

sizes, rates = st.integers(1, 300), strategies.rates
stacked = strategies.stacked_specs(sizes)
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
    spec = NetworkSpec(spec.inputs, spec.layers, scaling, spec.task)
    assert NetworkSpec.from_json(spec.to_json()) == spec
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert hash(NetworkSpec.from_json(spec.to_json())) == hash(spec)


def test_numpy_numbers_are_welcome_and_become_plain() -> None:
    spec = NetworkSpec.stacked(
        np.int64(3), np.int32(4), np.uint8(2), head_dropout=np.float32(0.25), dense=np.array([5])
    )
    assert spec == NetworkSpec.stacked(3, 4, 2, head_dropout=0.25, dense=(5,))
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
    spec = NetworkSpec.stacked(3, 4, 2, readout="last", head_dropout=0.5, dense=[7])
    assert [layer.kind for layer in spec.layers] == ["gru", "last", "dropout", "dense", "dense"]
    assert (spec.readout, spec.input_size, spec.output_size) == ("last", 3, 2)
    assert NetworkSpec.stacked(3, 4, readout="every").readout == "every"
    assert [layer.kind for layer in NetworkSpec.mlp(1, [32, 16]).layers] == ["dense"] * 3


WORDS = InputSpec("words", 1, "tokens")


def graph(*layers: LayerSpec, inputs: tuple[InputSpec, ...] = (InputSpec("x", 1),)) -> NetworkSpec:
    return NetworkSpec(inputs, layers)


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
            "readout must be one of 'every', 'last', 'mean', 'max', 'attention'; got 'first'",
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
            "a network has at least one input, got none",
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
            "layer 'head' (dense) reads 'y', which is no input and no layer before it; before it "
            "are ['x']",
        ),
        (
            lambda: NetworkSpec((InputSpec("x", 1),), (Last("a", ("x",)), GRU("b", ("a",)))),
            "layer 'b' (gru) needs a sequence, but a 'last' layer before it keeps one vector only; "
            "move 'last' behind it",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, dropout=0.2),
            "dropout acts between layers, and there is one; use input_dropout, "
            "recurrent_dropout, head_dropout, or num_layers=2",
        ),
        (
            lambda: NetworkSpec.stacked(1, [4], dropout=0.2),
            "dropout acts between layers, and there is one; use input_dropout, "
            "recurrent_dropout, head_dropout, or num_layers=2",
        ),
        (
            lambda: GRU("g", ("x",), dropout=0.2),
            "dropout of layer 'g' acts between its layers, and there is one; use input_dropout, "
            "recurrent_dropout, a Dropout layer behind it, or num_layers=2",
        ),
        (
            lambda: NetworkSpec.stacked(1, [64, 32], residual=True),
            "residual=True needs layers of equal width; layer 1 has 64, layer 2 has 32",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, residual=True),
            "residual=True acts from the second layer on, and there is one; use num_layers=2, or "
            "leave it out",
        ),
        (
            lambda: LSTM("m", ("x",), residual=True),
            "residual=True of layer 'm' acts from its second layer on, and there is one; use "
            "num_layers=2, or leave it out",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, residual="yes"),
            "residual must be True or False, got 'yes'",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, bidirectional=2),
            "bidirectional of layer 'gru' must be True or False, got 2",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, recurrent_dropout=1),
            "recurrent_dropout of layer 'gru' must be at least 0 and below 1, got 1",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, cell="qrnn"),
            "cell must be one of 'gru', 'lstm', 'rnn'; got 'qrnn'",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, cell="lstm", reset_after=False),
            "reset_after=False goes with cell='gru'; leave it out, or use that",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, activation="tanh"),
            "activation='tanh' goes with dense, hidden layers before the head; leave it out, or "
            "use that",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, attention_size=np.array([1, 2])),
            "attention_size=array([1, 2]) goes with readout='attention'; leave it out, or use that",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, nonlinearity="relu"),
            "nonlinearity='relu' goes with cell='rnn'; leave it out, or use that",
        ),
        (
            lambda: RNN("r", ("x",), nonlinearity="sin"),
            "nonlinearity of layer 'r' must be one of 'tanh', 'relu'; got 'sin'",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, attention_size=3),
            "attention_size=3 goes with readout='attention'; leave it out, or use that",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, readout="attention", attention="cosine"),
            "score of layer 'attention' must be one of 'additive', 'dot'; got 'cosine'",
        ),
        (
            lambda: Attention("a", ("x",), score="dot", size=3),
            "size of layer 'a' goes with score='additive'; with score='dot' the query is as wide "
            "as the steps, so leave size out",
        ),
        (
            lambda: NetworkSpec.stacked(hidden_size=4),
            "a network needs an input: pass input_size, vocabulary, or both",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, embedding_size=3),
            "embedding_size goes with vocabulary; pass how many tokens there are",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, train_embedding=False),
            "train_embedding goes with vocabulary; pass how many tokens there are",
        ),
        (
            lambda: NetworkSpec.stacked(vocabulary=9),
            "vocabulary needs embedding_size, the length of each token's vector; pass a number "
            "such as 32",
        ),
        (
            lambda: NetworkSpec.stacked(vocabulary=9, embedding_size=3, padding_index=9),
            "padding_index of layer 'embedding' must be between 0 and 8, got 9",
        ),
        (
            lambda: NetworkSpec.stacked(vocabulary=1 << 25, embedding_size=3),
            "vocabulary of layer 'embedding' must be between 1 and 16777216, got 33554432",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, task="ranking"),
            "task must be one of 'regression', 'classification', 'binary', 'tagging'; got "
            "'ranking'",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, task="classification"),
            "task='classification' needs an output for each of two or more classes, got "
            "output_size=1; use task='binary' for yes or no",
        ),
        (
            lambda: InputSpec("words", 0, "tokens"),
            "the size of input 'words' must be between 1 and 1048576, got 0",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, embedding_scale=0.1),
            "embedding_scale goes with vocabulary; pass how many tokens there are",
        ),
        (
            lambda: NetworkSpec.stacked(1, 4, token_columns=2),
            "token_columns goes with vocabulary; pass how many tokens there are",
        ),
        (
            lambda: Embedding("e", ("words",), 5, 2, initial_scale=-0.1),
            "initial_scale of layer 'e' must be a finite number of at least 0, got -0.1",
        ),
        (
            lambda: Embedding("e", ("words",), 5, 2, initial_scale=math.nan),
            "initial_scale of layer 'e' must be a finite number of at least 0, got nan",
        ),
        (
            lambda: graph(Dense("a", ("x",), 2), Add("sum", ("x", "a"))),
            "layer 'sum' (add) adds inputs of one width, but ['x', 'a'] have the widths [1, 2]; "
            "put a dense layer before those that differ",
        ),
        (
            lambda: graph(Add("sum", ("x",))),
            "layer 'sum' (add) reads 2 to 256 others, got inputs=('x',)",
        ),
        (
            lambda: InputSpec("words", 1, "text"),
            "the kind of input 'words' must be one of 'values', 'tokens'; got 'text'",
        ),
        (
            lambda: graph(Dense("a", ("x",)), inputs=(InputSpec("x", 1), InputSpec("y", 1))),
            "a network has at most one input of kind='values', got ['x', 'y']; put the features "
            "side by side in one",
        ),
        (
            lambda: graph(Dense("a", ("x",)), inputs=(InputSpec("x", 1), WORDS)),
            "input 'words' is read by no layer; connect it or leave it out (the last layer, 'a', "
            "is the output)",
        ),
        (
            lambda: graph(Dense("a", ("x",)), Dense("b", ("x",))),
            "layer 'a' is read by no layer; connect it or leave it out (the last layer, 'b', is "
            "the output)",
        ),
        (
            lambda: graph(Dense("a", ("b",)), Dense("b", ("x",))),
            "layer 'a' (dense) reads 'b', which is no input and no layer before it; before it are "
            "['x']",
        ),
        (
            lambda: graph(Dense("a", ("x", "x"))),
            "layer 'a' (dense) reads exactly one other, got inputs=('x', 'x'); join several by a "
            "concat or an add layer",
        ),
        (
            lambda: graph(Concat("a", ("x",))),
            "layer 'a' (concat) reads 2 to 256 others, got inputs=('x',)",
        ),
        (
            lambda: graph(Concat("a", ("x", "x"))),
            "layer 'a' (concat) reads a part twice, got inputs=('x', 'x'); name each once",
        ),
        (
            lambda: graph(Mean("m", ("x",)), Concat("a", ("x", "m"))),
            "layer 'a' (concat) cannot join 'm', one vector a sequence, with 'x', which has a row "
            "for every step; put a read-out behind the latter",
        ),
        (
            lambda: graph(
                Dense("a", ("x",), size=1 << 20),
                Dense("b", ("x",), size=1),
                Concat("c", ("a", "b")),
            ),
            "layer 'c' (concat) puts out 1048577 features, at most 1048576 are possible",
        ),
        (
            lambda: graph(Mean("m", ("x",)), Last("l", ("m",))),
            "layer 'l' (last) needs a sequence, but a 'mean' layer before it keeps one vector "
            "only; move 'mean' behind it",
        ),
        (
            lambda: graph(GRU("g", ("words",)), inputs=(WORDS,)),
            "layer 'g' (gru) reads the tokens 'words' themselves; put an embedding between them",
        ),
        (
            lambda: graph(Embedding("e", ("x",), 5, 2)),
            "layer 'e' (embedding) reads 'x'; it needs an input of kind='tokens'",
        ),
        (
            lambda: NetworkSpec.stacked(1, [2] * 5 + [3], num_layers=6, dense=[4] * 251),
            "a network has 1 to 256 layers, got 259",
        ),
        (
            lambda: graph(
                *(GRU(f"g{k}", (f"g{k - 1}" if k else "x",), 2, num_layers=205) for k in range(5))
            ),
            "a network has at most 1024 layers, those of stacks counted one by one, got 1025",
        ),
        (
            lambda: graph(Recurrent("r", ("x",))),
            "layer 'r' is a Recurrent, which nothing can run; known are GRU, LSTM, RNN, Dense, "
            "Dropout, Embedding, Concat, Add, Last, Mean, Max, Attention, CRF",
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
            "['format', 'inputs', 'layers', 'scaling', 'task']",
        ),
        (
            spoiled(layers={}),
            "'layers' of a network spec must be a list, got dict",
        ),
        (
            spoiled(layers=[5]),
            "unknown layer kind None; known are gru, lstm, rnn, dense, dropout, embedding, concat, "
            "add, last, mean, max, attention, crf",
        ),
        (
            spoiled_layer(kind="qrnn"),
            "unknown layer kind 'qrnn'; known are gru, lstm, rnn, dense, dropout, embedding, "
            "concat, add, last, mean, max, attention, crf",
        ),
        (
            spoiled_layer(zoneout=0.1),
            "a gru layer has unknown keys ['zoneout']; known are ['bidirectional', 'dropout', "
            "'hidden_size', 'input_dropout', 'inputs', 'layer_norm', 'name', 'num_layers', "
            "'recurrent_dropout', 'reset_after', 'residual']",
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
