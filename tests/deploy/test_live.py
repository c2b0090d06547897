"""Live models: the predictions of the whole sequence, value by value, and learning on the way."""

from __future__ import annotations

import functools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.deploy.state_file import StateFile


def wave(count: int = 400) -> np.ndarray:
    return np.sin(np.arange(count) / 7).astype(np.float32)


def network(**options: Any) -> hg.Network:
    defaults = {"input_size": 1, "hidden_size": 8, "readout": "every", "output_size": 1, "seed": 0}
    return hg.Network(**{**defaults, **options})


@functools.cache
def series() -> np.ndarray:
    t = np.arange(150)
    rng = np.random.default_rng(0)
    return 10 + 3 * np.sin(t * 2 * np.pi / 12) + 0.02 * t + rng.normal(0, 0.1, 150)


def forecaster(data: Any = None, **options: Any) -> hg.GRUForecaster:
    options = {"members": 2, "hidden_size": 8, "epochs": 3, "progress": False, **options}
    return hg.GRUForecaster(6, **options).fit(series()[:120] if data is None else data)


# -- networks -----------------------------------------------------------------------------------


def test_a_network_says_what_its_stream_says() -> None:
    net = network()
    live, stream = hg.live(net), net.stream()
    for value in wave(20):
        assert live.step(float(value)) == stream.step(float(value))
    with pytest.raises(hg.InputError, match="a step must be a number"):
        live.step([1.0, 2.0])
    assert live.step(0.5) == stream.step(0.5)


def test_it_learns_the_next_value_from_windows_with_their_states() -> None:
    net, other = network(), network()
    live = hg.live(net, learn=True, window=3, learning_rate=0.01)
    x = wave(6)
    stream, states = other.stream(), []
    for k, value in enumerate(x):
        if k:
            first = max(k - 3, 0)
            window = np.stack([x[first:k], x[first + 1 : k + 1]])[:, None, :, None]
            loss = other.partial_fit(*window, state=states[first], learning_rate=0.01)
        states.append(stream.state)
        assert np.array_equal(live.step(value), stream.step(value))
    assert live.loss == loss
    assert np.array_equal(net.get_vector(), other.get_vector())


@pytest.mark.parametrize("readout", ["every", "last"])
def test_learning_helps(readout: str) -> None:
    live = hg.live(network(readout=readout), learn=True, learning_rate=0.01)
    errors, last = [], 0.0
    for value in wave(1200):
        errors.append((last - value) ** 2)
        last = float(live.step(float(value))[0])
    assert np.mean(errors[-200:]) < 0.3 * np.mean(errors[:200])


def test_every_kind_of_network_learns_and_goes_on() -> None:
    mlp = hg.NetworkSpec(
        (hg.InputSpec("x", 1),),
        (hg.Dense("a", ("x",), size=4, activation="tanh"), hg.Dense("head", ("a",), size=1)),
    )
    two = hg.NetworkSpec(
        (hg.InputSpec("x", 1),),
        (
            hg.GRU("g", ("x",), hidden_size=4),
            hg.LSTM("l", ("g",), hidden_size=3),
            hg.Dense("head", ("l",), size=1),
        ),
    )
    for net in (hg.Network(mlp), hg.Network(two), network(cell="lstm", num_layers=2)):
        live = hg.live(net, learn=True)
        for value in wave(30).tolist():
            live.step(value)
        assert live.loss is not None
        other = hg.live(net)
        other.resume(live.state())
        assert np.array_equal(other.step(0.5), hg.live(net, learn=False).step(0.5)) == (
            not net.spec.recurrent()
        )


def test_learning_takes_no_more_memory() -> None:
    live = hg.live(network(), learn=True)
    values = wave(1500).tolist()
    for value in values[:300]:
        live.step(value)
    tracemalloc.start()
    try:
        for value in values[300:400]:
            live.step(value)
        before = tracemalloc.get_traced_memory()[0]
        for value in values[400:]:
            live.step(value)
        assert tracemalloc.get_traced_memory()[0] < before + 5_000
    finally:
        tracemalloc.stop()


def test_steps_that_bring_their_target() -> None:
    rng = np.random.default_rng(0)
    net = network(input_size=2, task="classification", output_size=2)
    live = hg.live(net, learn=True, learning_rate=0.02)
    for _ in range(200):
        x = rng.normal(size=2)
        p = live.step({"x": x, "y": int(x[0] > 0)})
    assert p.shape == (2,)
    assert live.loss < 0.4
    before = net.get_vector()
    live.step([0.1, 0.2])  # nobody says what it was
    with pytest.raises(hg.InputError, match="y must be a class from 0 to 1, got 2"):
        live.step({"x": [0.1, 0.2], "y": 2})
    with pytest.raises(hg.InputError, match="not finite"):
        live.step({"x": [0.1, np.nan], "y": 1})
    assert np.array_equal(net.get_vector(), before)


def test_tokens_and_targets_of_several_inputs() -> None:
    net = network(input_size=2, vocabulary=5, embedding_size=3, output_size=1)
    live = hg.live(net, learn=True, window=4)
    for k in range(9):
        live.step({"x": [0.1 * k, 0.0], "tokens": float(k % 5), "y": 0.5})
    assert live.loss is not None
    with pytest.raises(hg.InputError, match=r"must be whole numbers of tokens, got 1\.5"):
        live.step({"x": [0, 0], "tokens": 1.5, "y": 0.5})
    with pytest.raises(hg.InputError, match="the embedding has 5 rows"):
        live.step({"x": [0, 0], "tokens": 5, "y": 0.5})


def test_an_update_that_diverges_is_a_warning() -> None:
    net = network(cell="rnn", nonlinearity="relu")
    live = hg.live(net, learn=True, learning_rate=1e38)
    live.step(0.5)
    before = net.get_vector()
    with pytest.warns(hg.HeadgateWarning, match="not learned: update 0 diverged"):
        live.step(0.7)
    assert np.array_equal(net.get_vector(), before)
    assert live.loss is None


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (network, {"window": 0}, "window must be between 1"),
        (network, {"horizon": 2}, "a live Network has no option 'horizon'"),
        (network, {"learn": 1}, "learn must be True or False"),
        (network, {"learning_rate": 0}, "learning_rate must be a finite number above 0, got 0"),
        (lambda: network(bidirectional=True), {}, "'gru' is bidirectional"),
        (lambda: network(readout="mean"), {}, "'mean' is the mean over all steps"),
        (hg.SequenceClassifier, {}, "is not fitted, so live is not possible"),
        (lambda: 3, {}, "expected a Network or a fitted estimator, got 3"),
    ],
)
def test_what_cannot_run_live_is_refused(model: Any, options: Any, said: str) -> None:
    with pytest.raises((hg.InputError, hg.NotFittedError), match=said):
        hg.live(model(), **options)


def test_classifiers_of_whole_sequences_are_refused() -> None:
    x = oracles.normal(np.random.default_rng(0), (40, 6))
    model = hg.SequenceClassifier(members=1, epochs=1, hidden_size=3, progress=False)
    model.fit(x, np.arange(40) % 2)
    with pytest.raises(hg.InputError, match="a SequenceClassifier cannot run live: it reads whole"):
        hg.live(model)


# -- forecasters --------------------------------------------------------------------------------


@pytest.mark.parametrize("scaler", ["auto", "series"])
def test_a_forecaster_says_what_predict_says_of_the_whole_series(scaler: str) -> None:
    model = forecaster(scaler=scaler)
    live = hg.live(model, horizon=8)
    for end in range(121, 135):
        expected = model.predict(8, level=None, data=series()[:end])
        assert live.step(series()[end - 1]) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(hg.InputError, match="expected a finite number, the next value, got nan"):
        live.step(np.nan)
    expected = model.predict(8, level=None, data=series()[:135])
    assert live.step(series()[134]) == pytest.approx(expected, rel=1e-12)
    assert len(live.state()["values"]) <= model.lookback_ + model.season_ + model.cut_.segment + 1


def test_a_forecaster_learns_from_the_window_that_is_complete() -> None:
    model = forecaster()
    live = hg.live(model, learn=True, learning_rate=1e-3)
    before = [net.get_vector() for net in model.ensemble_.networks]
    for value in series()[120:150]:
        live.step(value + 5)  # the level has changed
    assert live.loss is not None
    after = [net.get_vector() for net in model.ensemble_.networks]
    assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_of_several_series_one_goes_on() -> None:
    import polars as pl

    frame = pl.DataFrame(
        {
            "unique_id": ["a"] * 60 + ["b"] * 60,
            "ds": [*range(60), *range(60)],
            "y": np.concatenate([series()[:60], 100 - series()[60:120]]),
        }
    )
    model = forecaster(frame)
    with pytest.raises(hg.InputError, match="this model knows 2 series; say which goes on"):
        hg.live(model)
    with pytest.raises(hg.InputError, match="there is no series 'c'; there are a, b"):
        hg.live(model, id="c")
    assert 80 < hg.live(model, id="b").step(90.0)[0] < 100


def test_positive_series_and_covariates() -> None:
    model = forecaster()
    model.treatment_.log[:] = True
    with pytest.raises(hg.InputError, match="the value is -1, but this model was fitted to posit"):
        hg.live(model).step(-1)
    import polars as pl

    frame = pl.DataFrame({"ds": range(90), "y": series()[:90], "w": series()[:90] ** 2})
    options = {"members": 1, "hidden_size": 4, "epochs": 1, "progress": False}
    beside = hg.GRUForecaster(6, **options).fit(frame, target="y", past="w")
    with pytest.raises(hg.InputError, match="this model reads w beside the series"):
        hg.live(beside)


# -- language models ----------------------------------------------------------------------------


@functools.cache
def language() -> hg.LanguageModel:
    text = "今天天气很好,我们去公园。\n明天天气不好,我们看书。\n" * 20
    return hg.LanguageModel(hidden_size=16, epochs=2, progress=False).fit(text)


def test_a_language_model_says_the_next_token() -> None:
    model = language()
    live = hg.live(model, top=3)
    live.step("今天")
    assert live.step("天") == model.next("今天天", 3)
    assert live.step("") == model.next("今天天\n", 3)
    with pytest.raises(hg.InputError, match="expected a text, got 3"):
        live.step(3)
    with pytest.raises(hg.InputError, match="does not learn token by token"):
        hg.live(model, learn=True)


# -- states -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (network, wave(8).tolist()),
        (forecaster, series()[120:128].tolist()),
        (language, list("今天天气很好,我")),
    ],
)
def test_a_state_file_goes_on_where_it_was_stopped(make: Any, values: Any, tmp_path: Path) -> None:
    model = make()
    one, whole = hg.live(model), hg.live(model)
    file = StateFile(tmp_path / "s.json", one)
    assert file.load() is False
    for value in values[:5]:
        one.step(value)
        whole.step(value)
    file.save()
    later = hg.live(model)
    assert StateFile(tmp_path / "s.json", later).load() is True
    for value in values[5:]:
        assert np.array_equal(later.step(value), whole.step(value))


def test_a_state_belongs_to_its_model_and_to_what_that_learned(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    net = network()
    live = hg.live(net, learn=True)
    file = StateFile(path, live)
    for value in wave(5):
        live.step(value)
    file.save()
    assert StateFile(path, hg.live(net)).load()  # as learned
    assert StateFile(path, hg.live(network())).load()  # as it began
    with pytest.raises(hg.InputError, match=r"is the state of another model \('LiveNetwork'\)"):
        StateFile(path, hg.live(network(seed=1))).load()
    with pytest.raises(hg.InputError, match="is the state of another model"):
        StateFile(path, hg.live(forecaster())).load()


@pytest.mark.parametrize("make", [network, forecaster, language])
def test_what_is_no_state_is_refused(make: Any) -> None:
    live = hg.live(make())
    before = live.state()
    for state in ({}, 3, dict.fromkeys(before, 3), dict.fromkeys(before, "a")):
        with pytest.raises(hg.InputError):
            live.resume(state)
    assert live.state() == before


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_truncated_or_altered_state_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "s.json"
    live = hg.live(network())
    live.step(0.5)
    StateFile(path, live).save()
    before = live.state()
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    match = "is no state of a stream, or it is truncated or altered"
    with pytest.raises(hg.InputError, match=match):
        StateFile(path, live).load()
    path.write_bytes(content.replace(b'"stream": "', b'"stream": "A'))
    with pytest.raises(hg.InputError, match=match):
        StateFile(path, live).load()
    path.write_bytes(b"\xff\x00" * 40)
    with pytest.raises(hg.InputError, match=match):
        StateFile(path, live).load()
    assert live.state() == before
    with pytest.raises(hg.InputError, match="cannot read the state"):
        StateFile(tmp_path, live).load()
