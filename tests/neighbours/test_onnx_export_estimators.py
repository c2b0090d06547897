"""ONNX files of estimators, run by ONNX Runtime, beside what they predict themselves.

Fits are as short as can be, and forecasters and taggers get random weights behind them: a network
that has learned nothing predicts zero, which would hide whatever is wrong.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reads ONNX files, and onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="runs ONNX files in ONNX Runtime")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import oracles  # noqa: E402
import pandas as pd  # noqa: E402
import tolerances  # noqa: E402

import headgate as hg  # noqa: E402
from headgate.models.forecasting import treatment as treatments  # noqa: E402
from headgate.models.forecasting.lines import Lines  # noqa: E402

pytestmark = pytest.mark.neighbours

SMALL: dict[str, Any] = {"members": 2, "epochs": 1, "hidden_size": 4, "progress": False}
ATOL = tolerances.ONNX_BESIDE_PREDICT


@pytest.fixture(autouse=True)
def few_examples_are_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hg.HeadgateWarning)
        yield


def run(model: Any, path: Path, feed: dict[str, Any], **options: Any) -> dict[str, np.ndarray]:
    """What the exported model makes of those of ``feed`` that it takes."""
    hg.onnx.export(model, path / "model.onnx", **options)
    quiet = runtime.SessionOptions()
    quiet.log_severity_level, quiet.intra_op_num_threads = 4, 1
    live = runtime.InferenceSession(path / "model.onnx", quiet, providers=["CPUExecutionProvider"])
    taken = {item.name: feed[item.name] for item in live.get_inputs()}
    names = [item.name for item in live.get_outputs()]
    return dict(zip(names, live.run(names, taken), strict=True))


def facts_of(path: Path) -> dict[str, str]:
    model = onnx.load(path / "model.onnx")
    return {item.key: item.value for item in model.metadata_props}


def shaken(networks: list[hg.Network], scale: float = 1.0) -> None:
    for k, net in enumerate(networks):
        tensors = oracles.network_tensors(net.spec, np.random.default_rng(k), np.float32)
        net.load_state_dict({name: scale * value for name, value in tensors.items()})


def padded(sequences: list[np.ndarray], filling: Any) -> dict[str, np.ndarray]:
    lengths = np.array([len(part) for part in sequences])
    array = np.full((len(sequences), lengths.max(), *sequences[0].shape[1:]), filling)
    for row, part in zip(array, sequences, strict=True):
        row[: len(part)] = part
    return {"x": array, "tokens": array, "lengths": lengths}


def close(got: np.ndarray, expected: Any, atol: float = ATOL) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


# -- sequences -------------------------------------------------------------------------------------


def sequences(alike: bool, count: int = 24) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    sizes = np.full(count, 17) if alike else rng.integers(1, 30, count)
    return [(50 + 9 * rng.standard_normal((n, 2))).astype(np.float32) for n in sizes]


@pytest.mark.parametrize("alike", [True, False], ids=["alike", "ragged"])
@pytest.mark.parametrize("max_steps", [64, 5])  # 5: averaged down
@pytest.mark.parametrize(
    "names", [["a", "b", "ccc"], [7, 3, -1], [True, False], [0.0, 2.0]], ids=str
)
def test_a_sequence_classifier(
    tmp_path: Path, names: list[Any], max_steps: int, alike: bool
) -> None:
    X = sequences(alike)
    y = np.array(names)[np.random.default_rng(1).integers(0, len(names), len(X))]
    model = hg.SequenceClassifier(max_steps=max_steps, **SMALL).fit(X, y)
    opset = 14 + (len(names) + max_steps + alike) % 9
    feed = padded(X, np.float32(np.nan))
    got = run(model, tmp_path, feed, lengths=not alike, opset=opset)
    assert list(got) == ["probabilities", "label"]
    close(got["probabilities"], model.predict_proba(X))
    assert got["label"].tolist() == model.predict(X).tolist()
    assert json.loads(facts_of(tmp_path)["headgate.labels"]) == sorted(names)


@pytest.mark.parametrize("outputs", [(), (3,)], ids=["one", "three"])
def test_a_sequence_regressor(tmp_path: Path, outputs: tuple[int, ...]) -> None:
    X, rng = sequences(alike=False), np.random.default_rng(2)
    y = 1e4 + 300 * rng.standard_normal((len(X), *outputs))
    model = hg.SequenceRegressor(**SMALL).fit(X, y)
    got = run(model, tmp_path, padded(X, np.float32(np.nan)), lengths=True)["y"]
    assert (got.dtype, got.shape) == (np.float64, y.shape)
    close((got - 1e4) / 300, (model.predict(X) - 1e4) / 300)


# -- forecasts -------------------------------------------------------------------------------------

STEPS = 110
LEVELS = (80, 95)
SEASON = 5  # less than a horizon, so that differences add up on forecasts


def one_series() -> np.ndarray:
    t = np.arange(STEPS)
    rest = np.random.default_rng(3).standard_normal(STEPS)
    return 100 + t / 2 + 10 * np.sin(2 * np.pi * t / 12) + rest


def columns(got: dict[str, np.ndarray], frame: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the graph and ``predict`` give, each output in units of its size."""
    names = {"y": "headgate"}
    names |= {f"{s}_{k}": f"headgate-{s}-{k}" for k in LEVELS for s in ("lo", "hi")}
    assert set(got) == set(names)
    for name, column in names.items():
        expected = np.asarray(frame[column], np.float64).reshape(got[name].shape)
        size = np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
        assert np.isfinite(expected).all()
        yield got[name] / size, expected / size


def forecaster(options: dict[str, Any], treated: tuple[Any, ...]) -> hg.GRUForecaster:
    """One of random weights with a treatment of our choice, segments of several values or not."""
    method, shift, log, segment = treated
    values = one_series()
    model = hg.GRUForecaster(horizon=8, lookback=12, **options, **SMALL).fit(values)
    lines = Lines.of(values)
    model.treatment_ = treatments.learn(lines, SEASON, method, shift, np.array([log]))
    context = SEASON if method == "difference" else 0
    model.cut_ = dataclasses.replace(model.cut_, segment=segment, context=context, fewest=2)
    outputs = model.cut_.horizon * max(len(model.ensemble_.quantiles), 1)
    spec = hg.NetworkSpec.stacked(segment, 4, outputs)
    model.ensemble_.networks = [hg.Network(spec) for _ in range(2)]
    shaken(model.ensemble_.networks)
    return model


@pytest.mark.parametrize("method", ["plain", "indices", "difference"])
@pytest.mark.parametrize("shift", ["last", "mean", "none"])
@pytest.mark.parametrize(
    ("options", "log", "segment"),
    [
        ({}, False, 1),
        ({}, True, 3),
        ({"strategy": "recursive"}, True, 1),
        ({"loss": "quantile"}, False, 3),
    ],
    ids=str,
)
def test_a_forecaster(
    tmp_path: Path, options: dict[str, Any], log: bool, segment: int, shift: str, method: str
) -> None:
    model = forecaster(options, (method, shift, log, segment))
    feed = {"values": one_series()[None], "position": np.array([0])}
    for horizon, opset in ((None, 17), (3, 14), (30, 22)):  # trained, less, block after block
        got = run(model, tmp_path, feed, horizon=horizon, level=LEVELS, opset=opset)
        for ours, expected in columns(got, model.predict(horizon, LEVELS)):
            close(ours, expected)


@pytest.mark.parametrize("method", ["plain", "indices", "difference"])
def test_a_forecaster_goes_on_from_newer_values(tmp_path: Path, method: str) -> None:
    """Stamps tell ``predict`` where in the season the values begin; the graph is told."""
    values = one_series()
    ds = pd.date_range("2001-01-01", periods=STEPS, freq="MS")
    model = forecaster({}, (method, "last", True, 1))
    frame = pd.DataFrame({"ds": ds, "y": values})
    fitted = hg.GRUForecaster(horizon=8, lookback=12, **SMALL).fit(frame)
    for name in ("treatment_", "cut_", "ensemble_"):
        setattr(fitted, name, getattr(model, name))
    for begin in (1, 50, STEPS - 27):
        feed = {"values": values[None, begin:], "position": np.array([begin])}
        got = run(fitted, tmp_path, feed, level=LEVELS)
        for ours, expected in columns(got, fitted.predict(level=LEVELS, data=frame[begin:])):
            close(ours, expected)
    with pytest.raises(Exception, match="Gather"):  # the runtime's own error
        run(fitted, tmp_path, {"values": values[None, -1:], "position": np.array([0])})


def test_forecasts_of_what_was_never_below_zero_are_not(tmp_path: Path) -> None:
    values = np.abs(np.random.default_rng(8).standard_normal((2, 60)))
    values[1] -= 3
    frame = pd.concat(
        pd.DataFrame({"unique_id": f"s{k}", "ds": np.arange(60), "y": y})
        for k, y in enumerate(values)
    )
    model = hg.GRUForecaster(horizon=6, lookback=8, **SMALL).fit(frame)
    shaken(model.ensemble_.networks, scale=3.0)
    feed = {"values": values, "series": np.arange(2), "position": np.zeros(2, np.int64)}
    got = run(model, tmp_path, feed, level=LEVELS)
    for ours, expected in columns(got, model.predict(level=LEVELS)):
        close(ours, expected)
    assert (got["lo_95"][0] == 0).any()
    assert (got["lo_95"][1] < 0).all()


def panel() -> Any:
    """Four series: steady, growing, constant and large; with covariates and categories."""
    rng, base = np.random.default_rng(4), one_series()
    values = [base, 3 * np.exp(base / 60), np.full(STEPS, 7.0), 1000 * base - 99_000]
    parts = [
        pd.DataFrame({
            "unique_id": f"s{k}", "ds": pd.date_range("2001-01-01", periods=STEPS, freq="MS"),
            "y": y, "temp": 5 + 3 * rng.standard_normal(STEPS),
            "price": 2 + rng.standard_normal(STEPS), "kind": "ab"[k % 2], "zone": "xyz"[k % 3],
        })
        for k, y in enumerate(values)
    ]  # fmt: skip
    return pd.concat(parts)


def later(steps: int) -> Any:
    rng = np.random.default_rng(steps)
    ds = pd.date_range("2001-01-01", periods=STEPS + steps, freq="MS")[STEPS:]
    return pd.concat(
        pd.DataFrame({"unique_id": f"s{k}", "ds": ds, "price": 2 + rng.standard_normal(steps)})
        for k in range(4)
    )


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
@pytest.mark.parametrize(
    "covariates",
    [{}, {"past": ["temp"]}, {"past": ["temp"], "future": ["price"], "static": ["kind", "zone"]}],
    ids=["alone", "past", "all"],
)
@pytest.mark.parametrize("segment", [1, 2])
def test_a_forecaster_of_many_series(
    tmp_path: Path, segment: int, covariates: dict[str, list[str]], strategy: str
) -> None:
    frame = panel()
    model = hg.GRUForecaster(horizon=5, lookback=10, strategy=strategy, **SMALL)
    model.fit(frame, **covariates)
    model.cut_ = dataclasses.replace(model.cut_, segment=segment)
    spec = hg.NetworkSpec.stacked(segment * model.cut_.columns, 4, model.cut_.horizon)
    model.ensemble_.networks = [hg.Network(spec) for _ in range(2)]
    shaken(model.ensemble_.networks)
    assert model.treatment_.log.tolist() == [False, True, False, False]
    assert (model.treatment_.scale == 0).tolist() == [False, False, True, False]
    features = model.features_

    def rows(which: Any, names: tuple[str, ...]) -> np.ndarray:
        return np.stack([part[list(names)].to_numpy() for _, part in which.groupby("unique_id")])

    for horizon in (None, 13):
        ahead = later(horizon or 5)
        first = rows(frame, features.static)[:, 0] if features.static else None
        feed = {
            "values": rows(frame, ("y",))[:, :, 0],
            "series": np.arange(4),
            "position": np.zeros(4, np.int64),
            "past": rows(frame, features.past) if features.past else None,
        }
        if features.future:
            both = [rows(which, features.future) for which in (frame, ahead)]
            feed["future"] = np.concatenate(both, axis=1)
        if first is not None:
            known = features.categories
            feed["static"] = np.array(
                [[names.index(c) for names, c in zip(known, row, strict=True)] for row in first]
            )
        got = run(model, tmp_path, feed, horizon=horizon, level=LEVELS)
        asked = ahead if features.future else None
        for ours, expected in columns(got, model.predict(horizon, LEVELS, X_df=asked)):
            close(ours, expected)
        chosen = np.array([3, 1, 1])
        some = {name: part if part is None else part[chosen] for name, part in feed.items()}
        one = run(model, tmp_path, some, horizon=horizon)["y"]
        np.testing.assert_allclose(one, got["y"][chosen], rtol=ATOL)
    assert json.loads(facts_of(tmp_path)["headgate.series"]) == ["s0", "s1", "s2", "s3"]


# -- texts -----------------------------------------------------------------------------------------

WORDS = [
    "the",
    "river",
    "is",
    "wide",
    "and",
    "deep",
    "but",
    "cold",
    "today",
    "water",
    "runs",
    "down",
]


def texts(count: int = 30) -> list[str]:
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(count)]


def test_a_text_classifier(tmp_path: Path) -> None:
    X = texts()
    y = ["wet" if "river" in text else "dry" for text in X]
    model = hg.TextClassifier(ngrams=False, embedding_size=5, **SMALL).fit(X, y)
    numbers = [model.reading_.numbers(model.reading_.split(text)) for text in X]
    got = run(model, tmp_path, padded(numbers, np.int64(10**6)), lengths=True)
    close(got["probabilities"], model.predict_proba(X))
    assert got["label"].tolist() == model.predict(X).tolist()
    facts = facts_of(tmp_path)
    names = json.loads(facts["headgate.vocabulary"])
    assert [names[k] for k in numbers[0][:, 0]] == [f"w{word}" for word in X[0].split()]
    assert "tokenizer" in json.loads(facts["headgate.reading"])


def test_ngrams_are_refused_unless_the_networks_alone_are_asked_for(tmp_path: Path) -> None:
    X = texts()
    y = ["wet" if "river" in text else "dry" for text in X]
    model = hg.TextClassifier(embedding_size=5, **SMALL).fit(X, y)
    words = r"^the n-grams beside the networks cannot be in an ONNX graph.*network_only=True"
    with pytest.raises(hg.InputError, match=words):
        hg.onnx.export(model, tmp_path / "model.onnx")
    table = model.reading_.table([model.reading_.split(text) for text in X])
    parts = np.split(np.asarray(table.tokens, np.int64), table.starts[1:])
    got = run(model, tmp_path, padded(parts, 0), lengths=True, network_only=True)
    close(got["probabilities"], model.members_.mean(table))


@pytest.mark.parametrize(
    "kind", [lambda tag: tag, lambda tag: tag[0] + "x" * (tag != "O")], ids=["spans", "plain"]
)
@pytest.mark.parametrize("boldness", [0.0, 0.4])
def test_a_tagger(tmp_path: Path, boldness: float, kind: Any) -> None:
    sentences = [["Anna", "met", "Bob", "in", "Rome"], ["so", "what"], ["Rome", "Sud", "Anna"]]
    tags = [["B-p", "O", "B-p", "O", "B-l"], ["O", "O"], ["B-l", "I-l", "B-p"]]
    model = hg.SequenceTagger(embedding_size=5, **SMALL)
    model.fit(sentences * 8, [[kind(tag) for tag in row] for row in tags * 8])
    shaken(model.members_.networks, scale=3.0)
    model.boldness_ = boldness
    rng = np.random.default_rng(6)
    X = [rng.choice(["Anna", "Rome", "Sud", "zzz"], n).tolist() for n in rng.integers(1, 9, 20)]
    numbers = [model.features_.encode([row]) for row in X]
    got = run(model, tmp_path, padded(numbers, np.int64(10**6)), lengths=True)
    sizes = [len(row) for row in X]
    found = [row[:n].tolist() for row, n in zip(got["tag"], sizes, strict=True)]
    assert found == model.predict(X)
    for ours, expected in zip(got["probabilities"], model.predict_proba(X), strict=True):
        close(ours[: len(expected)], expected)
        assert not ours[len(expected) :].any()
    assert set(got["tag"][np.arange(max(sizes)) >= np.array(sizes)[:, None]].tolist()) == {""}


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "embedding_size": 5}], ids=str)
def test_a_language_model_reads_step_by_step(tmp_path: Path, options: dict[str, Any]) -> None:
    model = hg.LanguageModel(
        unit="word", hidden_size=6, epochs=1, ngram_order=0, progress=False, **options
    ).fit("\n".join(texts()))
    prompt = model.writing_.prompt("the river is")
    feed: dict[str, Any] = {"state.gru": np.zeros((options.get("num_layers", 1), 1, 6), np.float32)}
    for index in prompt:
        got = run(model, tmp_path, feed | {"tokens": np.array([[index]])}, state=True)
        feed["state.gru"] = got["next_state.gru"]
    close(got["probabilities"][0, -1], model.reader(prompt).distribution())
    whole = run(model, tmp_path, {"tokens": np.array([prompt])})
    close(whole["probabilities"][:, -1], got["probabilities"][:, -1])
    names = json.loads(facts_of(tmp_path)["headgate.vocabulary"])
    assert names[:2] == ["<pad>", "<unk>"]
    assert not whole["probabilities"][:, :, :2].any()


# -- what is refused -------------------------------------------------------------------------------


def test_options_of_other_models_are_refused_by_name(tmp_path: Path) -> None:
    net = hg.Network(input_size=1, hidden_size=2)
    words = r"^horizon goes with GRUForecaster, not with Network; leave it out$"
    with pytest.raises(hg.InputError, match=words):
        hg.onnx.export(net, tmp_path / "model.onnx", horizon=3)
    with pytest.raises(hg.InputError, match=r"^level goes with GRUForecaster"):
        hg.onnx.export(net, tmp_path / "model.onnx", level=np.array([80, 90]))
    model = hg.SequenceClassifier(**SMALL)
    with pytest.raises(hg.NotFittedError, match="export is not possible; call fit"):
        hg.onnx.export(model, tmp_path / "model.onnx")
    model.fit(sequences(alike=True), [1, 2] * 12)
    words = r"^state goes with Network or LanguageModel, not with SequenceClassifier; leave it out$"
    with pytest.raises(hg.InputError, match=words):
        hg.onnx.export(model, tmp_path / "model.onnx", state=True)
    assert not list(tmp_path.iterdir())
