"""look: the gates over one example of one's own, for every kind of model."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg


def network(**options: Any) -> hg.Network:
    return hg.Network(**{"input_size": 1, "hidden_size": 5, "seed": 0, **options})


@functools.cache
def series() -> np.ndarray:
    t = np.arange(120)
    return 10 + 3 * np.sin(t * 2 * np.pi / 12) + np.random.default_rng(0).normal(0, 0.1, 120)


@functools.cache
def classifier() -> hg.TextClassifier:
    texts = ["今天的电影很好看", "故事太无聊", "演员很棒", "一点也不好"] * 8
    model = hg.TextClassifier(members=2, epochs=1, hidden_size=4, progress=False)
    return model.fit(texts, [1, 0, 1, 0] * 8)


@functools.cache
def language() -> hg.LanguageModel:
    text = "今天天气很好。\n明天天气不好。\n" * 20
    return hg.LanguageModel(hidden_size=8, epochs=1, progress=False).fit(text)


@functools.cache
def tagger() -> hg.SequenceTagger:
    model = hg.SequenceTagger(members=1, epochs=1, hidden_size=4, progress=False)
    return model.fit([["Ann", "sees", "Rome", "."]] * 20, [["B-per", "O", "B-loc", "O"]] * 20)


def test_a_network_over_a_series_and_its_last_steps() -> None:
    net, x = network(), oracles.normal(np.random.default_rng(0), (9, 1))
    found = hg.look(net, x, names=["sensor"], labels=list("abcdefghi"))
    gates = net.gates(x[None])
    assert list(found.gates) == ["reset", "update"]
    assert np.array_equal(found.gates["update"], gates.update[0])
    assert found.values["sensor"] == pytest.approx(x[:, 0])
    assert found.places.tolist() == list(range(1, 10))
    last = found.last(3)
    assert np.array_equal(last.gates["reset"], gates.reset[0, -3:])
    assert (last.labels, last.places.tolist()) == (["g", "h", "i"], [1, 2, 3])
    assert last.values["sensor"] == pytest.approx(x[-3:, 0])
    table = last.table(units=[2, 5])
    names = ["step", "at", "value_sensor", "reset", "update"]
    assert list(table) == [*names, "reset_2", "reset_5", "update_2", "update_5"]
    assert table["update_5"] == gates.update[0, -3:, 4].tolist()
    assert table["update"] == pytest.approx(gates.update[0, -3:, [1, 4]].mean(axis=0))


def test_layers_directions_cells_and_attention() -> None:
    x = np.zeros((4, 1))
    found = hg.look(network(num_layers=2, bidirectional=True), x, layer="gru_l1_reverse")
    assert found.layer == "gru_l1_reverse"
    assert found.layers == ["gru_l0", "gru_l0_reverse", "gru_l1", "gru_l1_reverse"]
    lstm = hg.look(network(cell="lstm"), x)
    assert (lstm.kind, list(lstm.gates)) == ("lstm", ["input", "forget", "output"])
    read = network(readout="attention")
    assert np.array_equal(hg.look(read, x).attention, read.attention(x[None])[0])
    tokens = hg.look(network(input_size=None, vocabulary=6, embedding_size=3), [1, 2, 5])
    assert tokens.labels == ["1", "2", "5"]


@pytest.mark.parametrize("data", [None, series()[:90]])
@pytest.mark.parametrize("options", [{}, {"season": 24, "lookback": 48}])
def test_a_forecaster_over_its_last_window(data: Any, options: Any) -> None:
    model = hg.GRUForecaster(6, members=2, hidden_size=4, epochs=1, progress=False, **options)
    model.fit(series()[:100])
    found = hg.look(model, data)
    given = series()[:100] if data is None else data
    values = found.values["y"]
    assert len(values) == len(found) * model.cut_.segment <= model.lookback_
    assert np.array_equal(values, given[-len(values) :])
    assert found.labels[0] == str(len(given) - len(values) + 1)
    assert found.places.mean() == pytest.approx((1 + len(found)) / 2)
    assert found.networks == 2


def test_a_forecaster_with_stamps_covariates_and_several_series() -> None:
    import polars as pl

    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 4, 9), eager=True)
    frame = pl.concat(
        pl.DataFrame({"unique_id": name, "ds": days, "y": series()[:100] * k, "w": series()[:100]})
        for k, name in enumerate("ab", 1)
    )
    model = hg.GRUForecaster(5, members=1, hidden_size=4, epochs=1, progress=False, season=1)
    model.fit(frame, id="unique_id", time="ds", target="y", future="w")
    found = hg.look(model, id="b")
    assert found.labels[-1].startswith("2024-0")
    assert found.values["y"] == pytest.approx(2 * series()[: len(days)][-len(found.places) :])
    with pytest.raises(hg.InputError, match="there is no series 'c'; there are a, b"):
        hg.look(model, id="c")


@pytest.mark.parametrize("model", [classifier, language, tagger], ids=lambda f: f.__name__)
def test_tokens_stand_below_their_steps(model: Any) -> None:
    text = "Ann sees Rome ." if model is tagger else "今天天气好"
    found = hg.look(model(), text)
    labels = {"tagger": text.split(), "language": ["⏎", *text], "classifier": list(text)}
    assert found.labels == labels[model.__name__]
    assert len(found) == len(found.labels)
    assert (found.attention is not None) == (model is classifier)
    if model is language:
        means = [reading.update for reading in language().gates(text)]
        assert found.table()["update"][1:] == pytest.approx(means)
    with pytest.raises(hg.InputError):
        hg.look(model(), 3)
    if model is not language:
        with pytest.raises(hg.InputError, match="nothing is left of the text"):
            hg.look(model(), "")


def test_a_tagger_reads_chinese_as_its_command_does() -> None:
    assert hg.look(tagger(), "我 喜欢 北京").labels == ["我", "喜欢", "北京"]
    assert hg.look(tagger(), "我爱北京").labels == list("我爱北京")
    assert hg.look(tagger(), ["Rome", "."]).labels == ["Rome", "."]


def test_sequences_of_a_classifier() -> None:
    x = [np.sin(np.arange(40 + k % 3) / (2 + k % 2)) for k in range(30)]
    model = hg.SequenceClassifier(members=1, epochs=1, hidden_size=3, max_steps=21, progress=False)
    model.fit(x, [k % 2 for k in range(30)])
    found = hg.look(model, x[0])
    assert len(found.values["x"]) == 40
    assert len(found) == 20
    assert (found.places[0], found.places[-1]) == (0.75, 20.25)


def test_pictures_say_what_one_means_and_tokens_are_ticks() -> None:
    figure = hg.look(network(), np.zeros((5, 1))).plot(units=[2, 4], title="mine")
    titles = (axes.get_title(loc) for axes in figure.axes for loc in ("left", "right"))
    said = set(titles)
    assert {"1 keeps the old state", "0 forgets the old state", "x"} <= said
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["2", "4"]
    figure = hg.look(tagger(), "Ann sees Rome .").plot()
    figure.canvas.draw()
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["Ann", "sees", "Rome", "."]


@pytest.mark.parametrize(
    ("model", "data", "options", "said"),
    [
        (lambda: network(cell="rnn"), [0.0], {}, "no gates: its cells are plain RNNs"),
        (
            lambda: hg.Network(
                hg.NetworkSpec((hg.InputSpec("x", 1),), (hg.Dense("head", ("x",), size=1),))
            ),
            [0.0],
            {},
            "no gates: it has no recurrent layer",
        ),
        (network, [0.0], {"layer": "gru_l7"}, "there is no layer 'gru_l7' with gates; there are"),
        (network, [[[0.0]]], {}, r"expected one sequence \(T,\) or \(T, I\), got"),
        (network, [np.nan], {}, "not finite"),
        (network, [[0.0, 1.0]], {}, "X has 2 features"),
        (network, [0.0], {"names": 3}, "names must be a list or tuple, got 3"),
        (network, [0.0, 1.0], {"labels": ["a"]}, "there are 2 steps, but 1 labels"),
        (hg.TextClassifier, "a", {}, "is not fitted"),
        (lambda: 3, [0.0], {}, "expected a Network or a fitted estimator, got 3"),
    ],
)
def test_what_cannot_be_looked_at(model: Any, data: Any, options: Any, said: str) -> None:
    with pytest.raises((hg.InputError, hg.NotFittedError), match=said):
        hg.look(model(), data, **options)


def test_units_are_checked() -> None:
    found = hg.look(network(), [0.0, 1.0])
    for units in ([0], [6]):
        with pytest.raises(hg.InputError, match="a unit must be between 1 and 5"):
            found.plot(units=units)
