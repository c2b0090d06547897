"""A dense layer whose weight is the table of an embedding: one parameter that learns from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate import reference

TOKENS = hg.InputSpec("tokens", 1, "tokens")


def language_model(
    vocabulary: int, size: int, padding_index: int | None = None, trainable: bool = True
) -> hg.NetworkSpec:
    return hg.NetworkSpec(
        inputs=(TOKENS,),
        layers=(
            hg.Embedding(
                "table",
                ("tokens",),
                vocabulary=vocabulary,
                size=size,
                padding_index=padding_index,
                trainable=trainable,
            ),
            hg.GRU("gru", ("table",), hidden_size=5),
            hg.Dense("narrow", ("gru",), size=size),
            hg.Dense("head", ("narrow",), size=vocabulary, activation="tanh", tied="table"),
        ),
    )


def test_reference_gradients_by_central_differences() -> None:
    spec, rng = language_model(6, 3, padding_index=2), np.random.default_rng(0)
    tensors = oracles.network_tensors(spec, rng)
    assert "head.weight" not in tensors
    assert tensors["table.weight"].shape == (6, 3)
    x, y, lengths = rng.integers(0, 6, (3, 4)), rng.standard_normal((3, 4, 6)), [4, 1, 3]
    valid = np.arange(4) < np.array(lengths)[:, None]

    def value() -> float:
        outputs, _ = reference.network_forward(spec, tensors, x, lengths)
        return reference.loss_and_gradient("mse", outputs, y, valid)[0]

    _, got = reference.network_gradients(spec, tensors, x, y, "mse", lengths)
    for name, tensor in tensors.items():
        expected = oracles.central_differences(value, tensor)
        if name == "table.weight":
            expected[2] = 0.0  # the padding row, which does not learn
        floor = tolerances.DIFFERENCE_FLOOR
        oracles.assert_gradient_close(
            got[name], expected, name, tolerances.CENTRAL_DIFFERENCE, floor=floor
        )


@pytest.mark.parametrize("padding_index", [None, 0])
@pytest.mark.parametrize(("vocabulary", "size"), [(3, 1), (17, 8), (40, 17), (600, 33)])
def test_the_engine_is_the_reference(
    isa: str, threads: None, vocabulary: int, size: int, padding_index: int | None
) -> None:
    """Outputs, loss and all gradients of ragged batches; the same bits with two threads."""
    spec, rng = language_model(vocabulary, size, padding_index), np.random.default_rng(size)
    tensors = oracles.network_tensors(spec, rng)
    tensors["table.weight"] *= size**-0.5
    n, t = 7, 6
    x, lengths = rng.integers(0, vocabulary, (n, t)), oracles.random_lengths(rng, n, t)
    y = oracles.normal(rng, (n, t, vocabulary))
    net = oracles.network(spec, tensors)
    outputs, _ = reference.network_forward(spec, tensors, x, lengths)
    oracles.assert_forward_close(
        net.predict(x, lengths=lengths), outputs, tolerances.FORWARD_UP_TO_256
    )
    value, wanted = reference.network_gradients(spec, tensors, x, y, "mse", lengths)
    results = []
    for count in (1, 2):
        hg.set_num_threads(count)
        got, gradients = oracles.engine_gradients(net, x, y, "mse", lengths)
        assert got == pytest.approx(value, rel=1e-5)
        for name, gradient in gradients.items():
            oracles.assert_gradient_close(gradient, wanted[name], name, tolerances.GRADIENT)
        results.append(gradients)
    assert all(
        np.array_equal(results[0][name], results[1][name])
        for name in wanted
        if name in net.state_dict()
    )
    if padding_index is not None:
        assert not results[0]["table.weight"][padding_index].any()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_frozen_table_and_a_padding_row_keep_their_bits(optimizer: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 9, (8, 5))
    for trainable in (True, False):
        net = hg.Network(language_model(9, 4, 3, trainable), seed=0)
        before = net.state_dict()
        y = rng.standard_normal((8, 5, 9))
        net.fit(x, y, epochs=2, optimizer=optimizer, learning_rate=0.1, weight_decay=0.1)
        after = net.state_dict()
        same = (before["table.weight"] == after["table.weight"]).all(axis=1)
        assert same[3]
        assert same.all() == (not trainable)
        assert same.sum() in (1, 9)
        assert not np.array_equal(before["head.bias"], after["head.bias"])


def test_a_language_model_of_keywords_learns_and_is_saved_once(tmp_path: Path) -> None:
    text = np.array([0, 1, 2, 3, 1, 4] * 40)
    net = hg.Network(
        vocabulary=5,
        embedding_size=8,
        hidden_size=8,
        output_size=5,
        readout="every",
        tied=True,
        task="classification",
        seed=0,
    )
    plain = hg.Network(
        vocabulary=5, embedding_size=8, hidden_size=8, output_size=5, readout="every"
    )
    assert plain.spec.parameter_count() - net.spec.parameter_count() == 5 * 8
    assert net.summary().parameters == net.spec.parameter_count()
    assert "tied to embedding" in str(net.summary())
    x, y = text[:-1].reshape(1, -1), text[1:].reshape(1, -1)
    net.fit(x, y, epochs=60, learning_rate=0.03)
    assert net.evaluate(x, y) < 0.2
    net.save(tmp_path / "net.safetensors")
    again = hg.load(tmp_path / "net.safetensors")
    assert hg.NetworkSpec.from_json(net.spec.to_json()) == net.spec == again.spec
    assert "head.weight" not in again.state_dict()
    assert np.array_equal(again.predict(x), net.predict(x))
    stream = net.stream()
    steps = np.stack([stream.step(int(token)) for token in text[:6]])
    assert np.array_equal(steps, net.predict(x)[0, :6])


def head(**options: Any) -> Any:
    return lambda: hg.NetworkSpec(
        inputs=(TOKENS,),
        layers=(
            hg.Embedding("table", ("tokens",), vocabulary=9, size=4),
            hg.GRU("gru", ("table",), hidden_size=4),
            hg.Dense("head", ("gru",), **{"size": 9, "tied": "table", **options}),
        ),
    )


def tied_twice() -> hg.NetworkSpec:
    spec = head()()
    again = hg.Dense("again", ("gru",), size=9, tied="table")
    both = hg.Concat("both", ("head", "again"))
    return hg.NetworkSpec(spec.inputs, (*spec.layers, again, both))


STACKED = {"vocabulary": 9, "embedding_size": 4, "readout": "every", "tied": True}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (head(tied="gru"), r"tied to 'gru', needs an embedding of that name before it; there are"),
        (head(tied="no name"), "must be 1 to 64 letters"),
        (head(tied=3), "must be 1 to 64 letters"),
        (head(size=8), "each of the embedding's 9 tokens; its size is 8, make it 9"),
        (tied_twice, "'again' .* shares it with 'head'; one layer can be tied"),
        (
            lambda: hg.NetworkSpec.stacked(None, 6, 9, **STACKED),
            "reads 6 features, but the embedding's vectors have 4; put a Dense layer of size 4",
        ),
        (lambda: hg.NetworkSpec.stacked(None, 4, None, **STACKED), "pass output_size=vocabulary"),
        (lambda: hg.NetworkSpec.stacked(2, 4, 9, tied=True), "tied goes with vocabulary"),
        (lambda: hg.NetworkSpec.stacked(2, 4, 9, tied="yes"), "tied must be True or False"),
    ],
)
def test_what_cannot_be_tied_is_refused(make: Any, message: str) -> None:
    with pytest.raises(hg.InputError, match=message):
        make()
