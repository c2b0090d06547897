"""headgate.keras: models there and back, what is refused, files."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="compares with Keras, which is not installed")

from tolerances import KERAS_FLOAT32  # noqa: E402

import headgate as hg  # noqa: E402
import headgate.keras as hk  # noqa: E402
from headgate.interop.keras import graph, models  # noqa: E402
from headgate.interop.keras.layers import KerasLayer  # noqa: E402

pytestmark = pytest.mark.neighbours

L = keras.layers
CELLS = {"GRU": L.GRU, "LSTM": L.LSTM, "SimpleRNN": L.SimpleRNN}


@pytest.fixture(autouse=True)
def _names_from_one() -> None:
    """Keras counts the layers of a process; messages name the first of each test."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


def chain(*layers: Any, inputs: tuple[Any, ...] = (None, 3)) -> Any:
    return keras.Sequential([keras.Input(inputs), *layers])


def shaken(model: Any) -> Any:
    """Biases other than zero too."""
    rng = np.random.default_rng(1)
    model.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


def values(n: int = 5, t: int = 7, i: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, t, i)).astype(np.float32)


def run(model: Any, x: Any) -> np.ndarray:
    return np.asarray(model.predict(x, verbose=0))


def close(a: Any, b: Any) -> None:
    assert np.shape(a) == np.shape(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=KERAS_FLOAT32)


def quietly(model: Any) -> hg.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hg.HeadgateWarning)
        return hk.from_keras(model)


# -- models come in -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_random_stacks_compute_the_same_there_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = []
    depth = int(rng.integers(1, 4))
    for k in range(depth):
        cell = list(CELLS)[rng.integers(3)]
        options = {"use_bias": bool(rng.integers(4)), "dropout": float(rng.integers(2) * 0.3)}
        if cell == "GRU":
            options["reset_after"] = bool(rng.integers(2))
        if cell == "SimpleRNN":
            options["activation"] = ["tanh", "relu"][rng.integers(2)]
        every = k < depth - 1 or bool(rng.integers(2))
        made = CELLS[cell](int(rng.choice([1, 3, 8, 17])), return_sequences=every, **options)
        layers.append(L.Bidirectional(made) if rng.integers(2) else made)
        if rng.integers(3) == 0:
            layers.append(L.Dropout(0.4))
    if rng.integers(2):
        layers.append(L.Dense(4, activation=["relu", "tanh"][rng.integers(2)]))
    layers.append(L.Dense(3, activation=["linear", "softmax", "sigmoid"][seed % 3]))
    model = shaken(chain(*layers))
    x = values(seed=seed)
    net = hk.from_keras(model)
    assert net.spec.task == ("regression", "classification", "binary")[seed % 3]
    close(net.predict(x), run(model, x))
    back = hk.to_keras(net)
    assert type(back) is keras.Sequential
    close(run(back, x), run(model, x))


def test_wide_layers_and_long_sequences_agree() -> None:
    model = chain(L.GRU(256, return_sequences=True), L.LSTM(256))
    x = values(2, 100)
    close(hk.from_keras(model).predict(x), run(model, x))


def test_activations_and_pooling_by_themselves() -> None:
    model = shaken(
        chain(
            L.GRU(4, return_sequences=True),
            L.SpatialDropout1D(0.2),
            L.TimeDistributed(L.Dense(5)),
            L.ReLU(),
            keras.Sequential([L.GlobalMaxPooling1D(), L.Dense(2)]),
            L.Softmax(),
        )
    )
    net = hk.from_keras(model)
    assert [layer.kind for layer in net.spec.layers] == ["gru", "dropout", "dense", "max", "dense"]
    assert net.spec.layers[1].per_sequence
    assert net.spec.layers[2].activation == "relu"
    close(net.predict(values()), run(model, values()))


def test_a_network_goes_on_learning() -> None:
    model = chain(L.GRU(8), L.Dense(1))
    net = hk.from_keras(model)
    x = values(64)
    y = x.sum(axis=(1, 2))[:, None]
    before = net.evaluate(x, y)
    net.fit(x, y, epochs=30, learning_rate=0.01)
    assert net.evaluate(x, y) < before / 2


def test_options_of_training_go_there_and_back() -> None:
    model = chain(
        L.Embedding(9, 4, trainable=False),
        L.LSTM(4, dropout=0.1, recurrent_dropout=0.2),
        L.Dropout(0.3),
        inputs=(None,),
    )
    net = hk.from_keras(model)
    embedding, lstm, _, dropout = net.spec.layers
    assert not embedding.trainable
    assert (lstm.input_dropout, lstm.recurrent_dropout, dropout.rate) == (0.1, 0.2, 0.3)
    assert hk.from_keras(hk.to_keras(net)).spec.layers[:2] == (embedding, lstm)
    net = hg.Network(
        input_size=3,
        hidden_size=4,
        num_layers=2,
        input_dropout=0.1,
        recurrent_dropout=0.2,
        dropout=0.4,
    )
    first, between, second, _ = hk.to_keras(net).layers
    assert (first.dropout, second.dropout, between.rate) == (0.1, 0.0, 0.4)
    assert first.recurrent_dropout == second.recurrent_dropout == 0.2


def test_functional_models_with_two_inputs() -> None:
    words, numbers = keras.Input((None,), name="words"), keras.Input((None, 2), name="my-numbers")
    both = L.Concatenate()([L.Embedding(9, 4)(words), numbers])
    a = L.GRU(4, return_sequences=True)(both)
    b = L.Add()([L.LSTM(4, return_sequences=True)(a), a])
    ends = L.Concatenate()([L.GlobalAveragePooling1D()(b), L.Bidirectional(L.GRU(3))(b)])
    model = shaken(keras.Model([words, numbers], L.Dense(1, activation="sigmoid")(ends)))
    tokens, x = np.random.default_rng(0).integers(0, 9, (5, 7)), values(i=2)
    net = hk.from_keras(model)
    want = run(model, [tokens, x])
    close(net.predict({"words": tokens, "my_numbers": x}), want)
    back = hk.to_keras(net)
    close(run(back, {"words": tokens, "my_numbers": x}), want)


def test_names_of_layers_are_kept_as_far_as_they_can_be() -> None:
    model = chain(L.GRU(2, name="1st-layer"), L.Dense(1, name="state"))
    names = [layer.name for layer in hk.from_keras(model).spec.layers]
    assert names == ["layer_1st_layer", "layer_1st_layer_last", "layer_state"]


# -- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["post", "pre", "amid"])
@pytest.mark.parametrize("functional", [False, True])
def test_masked_steps_are_left_out(place: str, functional: bool) -> None:
    x = values(4, 6)
    where = {"post": slice(4, 6), "pre": slice(0, 2), "amid": slice(2, 4)}[place]
    x[1, where] = x[3, where] = -1.0
    inputs = keras.Input((None, 3))
    h = L.Masking(-1.0)(inputs)
    for layer in (L.Bidirectional(L.LSTM(4, return_sequences=True)), L.GRU(3), L.Dense(2)):
        h = layer(h)
    model = keras.Model(inputs, h)
    if not functional:
        model = keras.Sequential(model.layers)
    with pytest.warns(hg.HeadgateWarning) as caught:
        net = hk.from_keras(model)
    assert [str(warning.message) for warning in caught] == [
        "layer 1, 'masking' (Masking) masks steps of -1.0, which headgate's layers do not; give "
        "them sequences without: net.predict(headgate.keras.unmasked(x, -1.0))"
    ]
    assert Path(caught[0].filename) == Path(__file__)
    close(net.predict(hk.unmasked(x, -1.0)), run(model, x))


def test_masked_tokens_and_means() -> None:
    model = chain(
        L.Embedding(9, 4, mask_zero=True),
        L.GRU(4, return_sequences=True),
        L.GlobalAveragePooling1D(),
        inputs=(None,),
    )
    tokens = np.array([[1, 2, 3, 4], [0, 0, 5, 6], [7, 0, 8, 0]])
    net = quietly(model)
    close(net.predict(hk.unmasked(tokens)), run(model, tokens))
    back = hk.to_keras(net, padding=0)
    close(run(back, tokens), run(model, tokens))
    x = values()
    x[2, 3:] = 7
    values_net = hg.Network(input_size=3, hidden_size=4, bidirectional=True, seed=0)
    lengths = [7, 7, 3, 7, 7]
    close(run(hk.to_keras(values_net, padding=7.0), x), values_net.predict(x, lengths=lengths))


def test_unmasked_refuses() -> None:
    with pytest.raises(hg.InputError, match=r"x\[1\] is padding alone \(0.0 at every step\)"):
        hk.unmasked(np.array([[1, 2], [0, 0]]))
    with pytest.raises(hg.InputError, match=r"must be \(N, T, I\) values or \(N, T\) tokens"):
        hk.unmasked(np.zeros(3))


# -- what is refused, what is said ----------------------------------------------------------------

REFUSED = {
    "layer 2, 'conv1d' (Conv1D) has no counterpart in headgate; layers that": lambda: chain(
        L.GRU(2, return_sequences=True), L.Conv1D(2, 3)
    ),
    "layer 1, 'lambda' (Lambda) has no": lambda: chain(L.Lambda(lambda x: x)),
    "'gru' (GRU): activation='relu' has no counterpart in headgate; its cell computes 'tanh'; "
    "train the layer with that": lambda: chain(L.GRU(2, activation="relu")),
    "'lstm' (LSTM): recurrent_activation='hard_sigmoid' has": lambda: chain(
        L.LSTM(2, recurrent_activation="hard_sigmoid")
    ),
    "'simple_rnn' (SimpleRNN): activation='sigmoid' has": lambda: chain(
        L.SimpleRNN(2, activation="sigmoid")
    ),
    "'backward_gru' (GRU): activation='relu' has": lambda: chain(
        L.Bidirectional(
            L.GRU(2),
            backward_layer=L.GRU(2, go_backwards=True, activation="relu", name="backward_gru"),
        )
    ),
    "'gru' (GRU): go_backwards=True has": lambda: chain(L.GRU(2, go_backwards=True)),
    "'bidirectional' (Bidirectional): merge_mode='ave' has": lambda: chain(
        L.Bidirectional(L.GRU(2), merge_mode="ave")
    ),
    "'bidirectional' (Bidirectional): a backward_layer of other options": lambda: chain(
        L.Bidirectional(L.GRU(2), backward_layer=L.GRU(3, go_backwards=True))
    ),
    "layer 2, 'dense' (Dense): activation='gelu' has no counterpart in headgate; there are linear, "
    "relu, tanh, and at the end softmax and sigmoid": lambda: chain(
        L.GRU(2), L.Dense(2, activation="gelu")
    ),
    "layer 3, 'dense_1' (Dense): a layer behind 'dense', whose activation is 'sigmoid',": lambda: (
        chain(L.GRU(2), L.Dense(2, activation="sigmoid"), L.Dense(1))
    ),
    "'activation' (Activation): a tanh that is not directly behind a linear": lambda: chain(
        L.GRU(2), L.Activation("tanh")
    ),
    "'dropout' (Dropout): noise_shape=(2, 1, 3) has": lambda: chain(
        L.Dropout(0.1, noise_shape=(2, 1, 3)), L.GRU(2)
    ),
    "'global_max_pooling1d' (GlobalMaxPooling1D): the largest value over masked": lambda: chain(
        L.Masking(), L.GRU(2, return_sequences=True), L.GlobalMaxPooling1D()
    ),
    "'masking' (Masking): a mask found in what other layers": lambda: chain(
        L.GRU(2, return_sequences=True), L.Masking(), L.GRU(2)
    ),
    "'gru' (GRU): zero_output_for_mask with return_sequences=False": lambda: chain(
        L.Masking(), L.GRU(2, zero_output_for_mask=True)
    ),
    "layer 1, 'dense' (Dense): reading one vector (N, I) a sample": lambda: chain(
        L.Dense(2), inputs=(3,)
    ),
    "'gru' (GRU) has no weights yet": lambda: L.GRU(2),
    "model 'sequential' has no weights yet": lambda: keras.Sequential([L.GRU(2)]),
    "layer 'dense' (Dense) is no network by itself": lambda: L.Dense(2),
    "expected a Keras model or a recurrent Keras layer, got 7": lambda: 7,
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
def test_what_has_no_counterpart_is_refused_by_name(message: str) -> None:
    with pytest.raises(hg.InputError) as caught:
        quietly(REFUSED[message]())
    assert message in str(caught.value)


def test_graphs_that_are_refused() -> None:
    x = keras.Input((None, 3))
    h = L.GRU(3, return_sequences=True, name="g")
    once = h(x)
    _, state = L.GRU(3, return_state=True, name="s")(x)
    masked = L.GRU(3, return_sequences=True)(L.Masking()(x))
    linear = L.Dense(3)(once)
    active = L.ReLU()(linear)
    for model, message in (
        (keras.Model(x, L.Add()([once, masked])), "(Add): joining parts of which some are masked"),
        (keras.Model(x, h(once)), "layer 1, 'g' (GRU) is used 2 times"),
        (chain(h, h), "layer 1, 'g' (GRU) is used 2 times"),
        (
            keras.Model(x, L.Add()([active, L.GRU(3, return_sequences=True)(linear)])),
            "(GRU): reading what a layer puts out before the activation behind it",
        ),
        (keras.Model(x, L.GRU(3)(x, initial_state=state)), "is called with initial_state="),
        (keras.Model(x, L.Dense(2)(state)), "a second output such as a state, of 's'"),
        (keras.Model(x, [once, L.LSTM(2)(x)]), "has the outputs ['g', "),
        (keras.Model(x, once[:, -1]), "(GetItem), an operation and no layer, has no counterpart"),
        (keras.Model(x, L.Dropout(0.5)(once, training=True)), "is called with training=True"),
        (
            keras.Model(x, L.GRU(2)(once, mask=keras.ops.any(keras.ops.not_equal(x, 5.0), -1))),
            "(GRU): a mask= of its own",
        ),
    ):
        with pytest.raises(hg.InputError) as caught:
            quietly(model)
        assert message in str(caught.value)


def test_what_matters_to_training_alone_is_said() -> None:
    frozen = L.Dense(2, trainable=False)
    model = chain(L.GRU(2, kernel_regularizer="l2"), frozen)
    with pytest.warns(hg.HeadgateWarning) as caught:
        hk.from_keras(model)
    assert [str(warning.message) for warning in caught] == [
        "layer 1, 'gru' (GRU): kernel_regularizer acts on training alone and is not carried over; "
        "fit has weight_decay",
        "layer 2, 'dense' (Dense) is frozen in Keras (trainable=False), but learns in headgate",
    ]


def test_a_class_of_ones_own_is_refused() -> None:
    mine = type("GRU", (L.GRU,), {"__module__": "mine"})
    with pytest.raises(hg.InputError, match="a class from mine, which may compute anything,"):
        hk.from_keras(chain(mine(2)))
    layers = [keras.Input((None, 3)), L.GRU(2)]
    doubled = type("Sequential", (keras.Sequential,), {"__module__": "mine"})(layers)
    for model in (doubled, keras.Sequential([keras.Input((None, 3)), doubled])):
        with pytest.raises(hg.InputError, match="a class from mine, which may compute anything,"):
            hk.from_keras(model)
    with pytest.raises(hg.InputError, match="expected a Keras model"):
        hk.from_keras(keras.Sequential)


def test_states_of_stateful_layers_come_along() -> None:
    model = keras.Sequential(
        [keras.Input(batch_shape=(5, None, 3)), L.LSTM(4, stateful=True, return_sequences=True)]
    )
    model.add(L.GRU(2))
    model.predict(values(), batch_size=5, verbose=0)
    with pytest.warns(hg.HeadgateWarning, match=r"'lstm' \(LSTM\) is stateful: Keras goes on"):
        net = hk.from_keras(model)
    assert set(net.state) == {"lstm", "gru"}
    x = values(seed=1)
    close(net.predict(x, state=net.state), model.predict(x, batch_size=5, verbose=0))


def test_the_record_of_keras_2_is_read() -> None:
    reader = models._Reader()
    for name in ("a", "b"):
        reader.read(graph.Node(name, shape=(None, None, 3)))
    two = graph.Node("gru", KerasLayer(L.GRU(2), 1), ("a", "b"))  # as states were passed
    with pytest.raises(hg.InputError, match=r"layer 1, 'gru' \(GRU\): reading \['a', 'b'\]"):
        reader.read(two)
    calls = [[["a", 0, 0, {}], ["b", 0, 0, {}]]]
    assert graph._call("layer 1", calls, {}) == (("a", "b"), None)
    with pytest.raises(hg.InputError, match="is called with initial_state="):
        graph._call("layer 1", [[["a", 0, 0, {"initial_state": ["b", 0, 0]}]]], {})


# -- weights of single layers ---------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("both", [False, True])
def test_weights_go_there_and_back(cell: str, both: bool) -> None:
    def made() -> Any:
        layer = CELLS[cell](4)
        return L.Bidirectional(layer) if both else layer

    layer, other = made(), made()
    layer.build((None, None, 3))
    shaken(layer)
    weights = hk.get_weights(layer)
    names = [f"{key}_l0" for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    assert list(weights) == names + [f"{name}_reverse" for name in names if both]
    hk.set_weights(other, weights)
    x = values()
    close(*(keras.ops.convert_to_numpy(each(x)) for each in (layer, other)))


def test_weights_that_do_not_fit_are_refused() -> None:
    layer = L.GRU(4)
    layer.build((None, None, 3))
    weights = hk.get_weights(layer)
    before = layer.get_weights()
    for other, message in (
        (L.GRU(5), r"'gru_1' \(GRU\) has weights of the shapes \[\(3, 15\), "),
        (L.GRU(4, reset_after=False), "bias_hh of 12 numbers is that of reset_after=True"),
        (L.LSTM(4), "has weights of the shapes"),
        (L.Bidirectional(L.GRU(4)), "weight_ih_l0_reverse, "),
        (L.GRU(4, activation="relu"), "activation='relu'"),
    ):
        with pytest.raises(hg.InputError, match=message):
            hk.set_weights(other, weights | {"bias_hh_l0": weights["bias_hh_l0"] + 1})
    bare = L.GRU(4, use_bias=False)
    with pytest.raises(hg.InputError, match="has use_bias=False, but the weights have biases"):
        hk.set_weights(bare, weights | {"bias_hh_l0": weights["bias_hh_l0"] + 1})
    hk.set_weights(bare, weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))


# -- networks go out ------------------------------------------------------------------------------

OUT = {
    "stack": {"num_layers": 3, "dropout": 0.2, "bidirectional": True, "head_dropout": 0.1},
    "residual": {"num_layers": 2, "residual": True, "readout": "every", "dropout": 0.1},
    "cells": {"cell": "lstm", "hidden_size": [3, 4], "dense": [5], "input_dropout": 0.1},
    "before": {"reset_after": False, "recurrent_dropout": 0.3, "readout": "max"},
    "relu": {"cell": "rnn", "nonlinearity": "relu", "readout": "mean", "task": "binary"},
    "bare": {"output_size": None, "task": "classification"},
}


@pytest.mark.parametrize("name", OUT)
def test_networks_go_out_and_come_back(name: str) -> None:
    net = hg.Network(**{"input_size": 3, "hidden_size": 4, "output_size": 2, **OUT[name]}, seed=0)
    x = values()
    model = hk.to_keras(net)
    assert (type(model) is keras.Sequential) == (name != "residual")
    close(run(model, x), net.predict(x))
    close(hk.from_keras(model).predict(x), net.predict(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"layer_norm": True},
            "layer 'gru' (gru) with layer_norm=True has no counterpart in Keras",
        ),
        ({"readout": "attention"}, "layer 'attention' (attention) has no counterpart in Keras"),
        ({"num_layers": 2, "residual": True}, "layer 'last' (last) behind 'gru' has no"),
        ({"readout": "every", "task": "tagging"}, "task='tagging' has no counterpart in Keras"),
    ],
)
def test_networks_that_keras_cannot_hold(options: dict[str, Any], message: str) -> None:
    net = hg.Network(**{"input_size": 3, "hidden_size": 4, "output_size": 2, **options})
    with pytest.raises(hg.InputError) as caught:
        hk.to_keras(net)
    assert message in str(caught.value)


def test_wrong_padding_is_refused() -> None:
    net = hg.Network(hidden_size=4, vocabulary=5, embedding_size=2)
    with pytest.raises(hg.InputError, match="padding must be 0, the token that Keras masks, got 1"):
        hk.to_keras(net, padding=1)
    net = hg.Network(input_size=3, hidden_size=4, readout="max")
    with pytest.raises(hg.InputError, match=r"layer 'max' \(max\) with padding has no counterpart"):
        hk.to_keras(net, padding=0.0)
    with pytest.raises(hg.InputError, match=r"expected a headgate\.Network, got int"):
        hk.to_keras(3)


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, np.ndarray]:
    model = shaken(chain(L.Bidirectional(L.GRU(3, return_sequences=True)), L.LSTM(2), L.Dense(1)))
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    return tmp_path, run(model, values())


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_files_are_read(saved: tuple[Path, np.ndarray], name: str) -> None:
    folder, want = saved
    close(hk.load(folder / name).predict(values()), want)
    before = sorted(folder.iterdir())
    rewrite(folder / name, lambda text: text.replace('"unroll"', '"time_major": false, "unroll"'))
    close(hk.load(str(folder / name)).predict(values()), want)  # as Keras 2 wrote it
    assert sorted(folder.iterdir()) == before


def rewrite(path: Path, change: Any) -> None:
    """Change the description in a model file."""
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = change(file.attrs["model_config"])
        return
    copy = path.with_suffix(".copy")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content.decode()) if name == "config.json" else content)
    shutil.move(copy, path)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (
            '"class_name": "LSTM"',
            '"class_name": "Lambda"',
            hg.InputError,
            "layer 'lstm' ('Lambda')",
        ),
        ('"class_name": "LSTM"', '"class_name": "system"', hg.InputError, "('system') has no"),
        ('"module": "keras.layers"', '"module": "os"', hg.InputError, "'os', which is not Keras"),
        ('"keras.initializers"', '"os.path"', hg.InputError, "has no counterpart in headgate"),
        ('"units": 3', '"units": 3000000', hg.ModelFileError, "9000000000000 numbers or more"),
        ("[null, null, 3]", "[null, null, 3000000000]", hg.ModelFileError, "3000000000 numbers"),
        ('"units": 3', '"units": "3"', hg.ModelFileError, "has sizes that are none"),
        ('"units": 3', '"units": 4', hg.ModelFileError, "cannot be read as a Keras model"),
        ('"unroll": false', '"time_major": true', hg.InputError, "time_major=True has no"),
        ("{", "[", hg.ModelFileError, "cannot be read as a Keras model"),
    ],
)
def test_strange_files_are_refused(
    saved: tuple[Path, np.ndarray], name: str, old: str, new: str, error: type, message: str
) -> None:
    path = saved[0] / name
    rewrite(path, lambda text: json.dumps(json.loads(text)).replace(old, new))
    with pytest.raises(error) as caught:
        hk.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "time_major" in message


def test_files_that_unpack_to_far_more_are_refused(saved: tuple[Path, np.ndarray]) -> None:
    path = saved[0] / "model.keras"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more", bytes(1 << 27))
    with pytest.raises(hg.ModelFileError, match=r"unpacks to \d+ bytes, more than 20 times"):
        hk.load(path)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_damaged_files_are_refused(saved: tuple[Path, np.ndarray], name: str) -> None:
    path = saved[0] / name
    content = path.read_bytes()
    for part in (0, 10, len(content) // 3, len(content) - 100):
        path.write_bytes(content[:part])
        with pytest.raises(hg.ModelFileError, match="cannot be read as a Keras model"):
            hk.load(path)
    for odd, message in (
        ("no.keras", "does not exist or is no file"),
        (".", "does not exist or is no file"),
        ("model.txt", "is not named as one of Keras's model files"),
    ):
        (saved[0] / "model.txt").write_text("")
        with pytest.raises(hg.ModelFileError, match=message):
            hk.load(saved[0] / odd)


def test_a_backend_that_is_not_there_is_named() -> None:
    if importlib.util.find_spec("tensorflow") is not None:
        pytest.skip("TensorFlow is installed, and its absence cannot be seen")
    code = "import headgate.keras"
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (
        "MissingExtraError: Keras is installed, but the backend that it is set to needs "
        "tensorflow, which is not; choose one that is with the environment variable KERAS_BACKEND"
    ) in done.stderr
