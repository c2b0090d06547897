"""Every layer that is not recurrent: values and gradients against NumPy in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate import _engine
from headgate.training.batches import in_order
from headgate.training.losses import Loss

Rows = list[np.ndarray]  # a sequence each: (T_i, width)
WORDS = {"kind": "embedding", "inputs": [], "padding_index": -1, "trainable": True, "columns": 1}
WIDTHS = (1, 3, 8, 9, 17)
LENGTHS = ((1,), (4,), (2, 5, 1, 5), (9, 3, 3, 1, 7, 2, 9, 5, 4))
RAGGED = pytest.mark.parametrize("lengths", LENGTHS, ids=str)
WIDE = pytest.mark.parametrize("width", WIDTHS)


class Engine:
    """A network of layer rows, and ragged sequences of values and tokens for it."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        x: Rows,
        tokens: Rows | None = None,
        *,
        output: int,
        pooled: bool = False,
    ) -> None:
        named = [{"name": f"layer{i}", **row} for i, row in enumerate(rows)]
        columns = 0 if tokens is None else tokens[0].shape[1]
        self.net = _engine.Network(x[0].shape[1], columns, named)
        self.x, self.tokens, self.output = x, tokens, output
        self.lengths = np.array([len(part) for part in x], np.int64)
        self.starts = np.cumsum([0, *self.lengths[:-1]]).astype(np.int64)
        out_lengths = np.ones_like(self.lengths) if pooled else self.lengths
        self.out_starts = np.cumsum([0, *out_lengths[:-1]]).astype(np.int64)
        self.out_rows, self.pooled = int(out_lengths.sum()), pooled
        bounds = {name: (at, shape) for name, at, shape in self.net.segments()}
        self.shapes = {name: tuple(shape) for name, (_, shape) in bounds.items()}
        self.offsets = {name: at for name, (at, _) in bounds.items()}

    def set(self, tensors: dict[str, np.ndarray]) -> None:
        vector = [np.ravel(tensors[name]) for name in self.shapes]
        self.net.set_parameters(np.concatenate(vector).astype(np.float32))

    def samples(self, y: np.ndarray | None = None) -> Any:
        tokens = None if self.tokens is None else np.concatenate(self.tokens).astype(np.int32)
        x = np.ascontiguousarray(np.concatenate(self.x), np.float32)
        starts = None if y is None else self.out_starts * self.output
        flat = None if y is None else np.ascontiguousarray(y.ravel(), np.float32)
        return _engine.Samples(
            x, self.starts, self.lengths, flat, starts, self.output, self.output,
            not self.pooled, [None] * 4, 1, 0, 0, 0, tokens,
        )  # fmt: skip

    def predict(self, batch_size: int = 64) -> np.ndarray:
        out = np.empty((self.out_rows, self.output), np.float32)
        self.net.predict(self.samples(), batch_size, None, None, self.out_starts, out)
        return out

    def vector(self, read: Callable[[np.ndarray], None]) -> dict[str, np.ndarray]:
        vector = np.empty(self.net.parameter_count, np.float32)
        read(vector)
        return {
            name: vector[self.offsets[name] :][: int(np.prod(shape))].reshape(shape)
            for name, shape in self.shapes.items()
        }

    def train(self, y: np.ndarray, batch_size: int = 64, **options: Any) -> float:
        """One epoch; by default one that changes nothing. Returns the loss."""
        given = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0}
        rate = options.pop("learning_rate", 1e-30)
        trainer = _engine.Trainer(
            self.net,
            clip_norm=0.0,
            clip_value=0.0,
            loss=Loss("mse").engine_row(),
            seed=1,
            **{**given, **options},
        )
        batches = in_order(np.arange(len(self.x), dtype=np.int64), batch_size)
        rates = np.full(len(batches), rate)
        return float(trainer.epoch(self.samples(y), *batches, None, rates, 1e30)[1])

    def gradients(self) -> dict[str, np.ndarray]:
        return self.vector(self.net.get_gradients)

    def parameters(self) -> dict[str, np.ndarray]:
        return self.vector(self.net.get_parameters)


def softmax(scores: np.ndarray) -> np.ndarray:
    exp = np.exp(scores - scores.max())
    return exp / exp.sum()


# Each layer by itself in float64: (h (T, F), its tensors) -> a row.


def last(split: int) -> Callable[..., np.ndarray]:
    return lambda h: np.concatenate([h[-1, :split], h[0, split:]])


def mean(h: np.ndarray) -> np.ndarray:
    return np.asarray(h.sum(0) / len(h))


def largest(h: np.ndarray) -> np.ndarray:
    return np.asarray(h.max(0))


def additive(h: np.ndarray, weight: np.ndarray, bias: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.asarray(softmax(np.tanh(h @ weight.T + bias) @ query) @ h)


def dot(split: int) -> Callable[..., np.ndarray]:
    def read_out(h: np.ndarray, weight: np.ndarray) -> np.ndarray:
        query = weight @ last(split)(h)
        return np.asarray(softmax(h @ query / np.sqrt(h.shape[1])) @ h)

    return read_out


def read_outs(width: int) -> dict[str, tuple[dict[str, Any], Callable[..., np.ndarray]]]:
    """Every read-out of that width: its row's options and its definition."""
    half = width // 2
    attention = {"kind": "attention"}
    return {
        "last": ({"kind": "last", "split": width}, last(width)),
        "last of two directions": ({"kind": "last", "split": half}, last(half)),
        "mean": ({"kind": "mean"}, mean),
        "max": ({"kind": "max"}, largest),
        "additive": ({**attention, "score": "additive", "size": width}, additive),
        "additive narrow": ({**attention, "score": "additive", "size": 3}, additive),
        "dot": ({**attention, "score": "dot", "split": width}, dot(width)),
        "dot of two directions": ({**attention, "score": "dot", "split": half}, dot(half)),
    }


def random_rows(rng: np.random.Generator, lengths: Sequence[int], width: int) -> Rows:
    return [oracles.normal(rng, (length, width)) for length in lengths]


def random_tensors(rng: np.random.Generator, shapes: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: oracles.uniform(rng, shape, shape[-1]) for name, shape in shapes.items()}


def part(tensors: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    return {
        name.split(".")[1]: value
        for name, value in tensors.items()
        if name.startswith(f"layer{layer}.")
    }


def assert_agrees(
    engine: Engine,
    tensors: dict[str, np.ndarray],
    forward: Callable[[], np.ndarray],
    y: np.ndarray,
) -> None:
    """Output, and all gradients of the mean squared error against ``y``."""
    engine.set(tensors)
    oracles.assert_forward_close(engine.predict(), forward(), tolerances.FORWARD_UP_TO_256)
    engine.train(y)
    for name, got in engine.gradients().items():
        expected = oracles.central_differences(
            lambda: float(np.mean((forward() - y) ** 2)), tensors[name]
        )
        floor = tolerances.DIFFERENCE_FLOOR
        oracles.assert_gradient_close(got, expected, name, tolerances.GRADIENT, floor=floor)


@pytest.mark.parametrize("name", read_outs(2))
@RAGGED
@WIDE
def test_read_outs(name: str, lengths: tuple[int, ...], width: int, isa: str) -> None:
    """The dense layer below shows the gradient that a read-out hands down."""
    rng = np.random.default_rng(width)
    row, read_out = read_outs(width)[name]
    x = random_rows(rng, lengths, 2)
    below = {"kind": "dense", "inputs": [-1], "size": width, "activation": "tanh"}
    engine = Engine([below, {**row, "inputs": [0]}], x, output=width, pooled=True)
    tensors = random_tensors(rng, engine.shapes)

    def forward() -> np.ndarray:
        dense = part(tensors, 0)
        hidden = [np.tanh(h @ dense["weight"].T + dense["bias"]) for h in x]
        return np.stack([read_out(h, **part(tensors, 1)) for h in hidden])

    assert_agrees(engine, tensors, forward, oracles.normal(rng, (len(x), width)))


@RAGGED
@pytest.mark.parametrize("widths", [(1, 3, 8), (9, 17, 2)], ids=str)
def test_joins_and_embeddings(lengths: tuple[int, ...], widths: tuple[int, ...], isa: str) -> None:
    """Two embeddings beside values; a sum that reads one value twice; a vector that is padding."""
    rng = np.random.default_rng(0)
    x = random_rows(rng, lengths, widths[0])
    tokens = [rng.integers(0, (4, 6), (length, 2)) for length in lengths]
    rows: list[dict[str, Any]] = [
        {**WORDS, "size": widths[1], "vocabulary": 5, "token": 0},
        {**WORDS, "size": widths[2], "vocabulary": 6, "token": 1, "padding_index": 2},
        {"kind": "concat", "inputs": [-1, 0, 1]},
        {"kind": "dense", "inputs": [2], "size": sum(widths), "activation": "tanh"},
        {"kind": "add", "inputs": [2, 3, 2]},
    ]
    engine = Engine(rows, x, tokens, output=sum(widths))
    tensors = random_tensors(rng, engine.shapes)
    steps, ids = np.concatenate(x), np.concatenate(tokens)

    still = tensors["layer1.weight"][2].copy()  # does not learn

    def forward() -> np.ndarray:
        first, second = (tensors[f"layer{i}.weight"][ids[:, i]] for i in range(2))
        second[ids[:, 1] == 2] = still
        joined = np.concatenate([steps, first, second], axis=1)
        dense = part(tensors, 3)
        return np.asarray(2 * joined + np.tanh(joined @ dense["weight"].T + dense["bias"]))

    assert_agrees(engine, tensors, forward, oracles.normal(rng, (len(steps), sum(widths))))
    assert not engine.gradients()["layer1.weight"][2].any()


@RAGGED
@pytest.mark.parametrize("size", [1, 3, 17, 40])
def test_the_vectors_of_several_columns_are_added(
    lengths: tuple[int, ...], size: int, isa: str, threads: None
) -> None:
    """Beside another input; the padding row adds nothing, and bits depend on no thread."""
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 5, (length, 4)) for length in lengths]
    rows: list[dict[str, Any]] = [
        {**WORDS, "size": size, "vocabulary": 6, "token": 1, "columns": 3, "padding_index": 2},
        {**WORDS, "size": size, "vocabulary": 5, "token": 0},
        {"kind": "add", "inputs": [0, 1]},
    ]
    engine = Engine(rows, [np.empty((n, 0)) for n in lengths], tokens, output=size)
    tensors = random_tensors(rng, engine.shapes)
    ids = np.concatenate(tokens)

    def forward() -> np.ndarray:
        total = tensors["layer1.weight"][ids[:, 0]]
        for column in ids.T[1:]:
            total = total + np.where(column[:, None] == 2, 0, tensors["layer0.weight"][column])
        return np.asarray(total)

    y = oracles.normal(rng, (len(ids), size))
    assert_agrees(engine, tensors, forward, y)
    results = []
    for count in (1, 3):
        hg.set_num_threads(count)
        engine.train(y)
        results.append((engine.predict(), *engine.gradients().values()))
    assert all(map(np.array_equal, *results))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_frozen_embedding_keeps_its_bits(optimizer: str) -> None:
    """No update, no weight decay, no gradient; what reads it learns."""
    rng = np.random.default_rng(1)
    rows = [
        {**WORDS, "size": 5, "vocabulary": 7, "token": 0, "trainable": False},
        {"kind": "dense", "inputs": [0], "size": 2, "activation": "linear"},
    ]
    tokens = [rng.integers(0, 7, (4, 1)) for _ in range(6)]
    engine = Engine(rows, [np.empty((4, 0), np.float32)] * 6, tokens, output=2)
    engine.set(random_tensors(rng, engine.shapes))
    before = engine.parameters()
    y = oracles.normal(rng, (24, 2))
    engine.train(y, 2, optimizer=optimizer, learning_rate=0.1, momentum=0.5, weight_decay=0.1)
    after = engine.parameters()
    assert np.array_equal(before["layer0.weight"], after["layer0.weight"])
    assert not engine.gradients()["layer0.weight"].any()
    assert not np.isclose(before["layer1.weight"], after["layer1.weight"]).any()


def test_max_gives_its_gradient_to_the_first_of_equals() -> None:
    x = [np.array([[0.0], [1.0], [1.0]])]
    below = {"kind": "dense", "inputs": [-1], "size": 2, "activation": "relu"}
    rows = [below, {"kind": "max", "inputs": [0]}]
    engine = Engine(rows, x, output=2, pooled=True)
    ones = np.ones((2, 1))
    engine.set({"layer0.weight": ones, "layer0.bias": np.zeros(2)})
    assert engine.predict().tolist() == [[1.0, 1.0]]
    engine.train(np.zeros((1, 2)))
    assert engine.gradients()["layer0.weight"].tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("name", read_outs(2))
def test_bits_depend_on_no_batch_and_no_thread(name: str, isa: str, threads: None) -> None:
    rng = np.random.default_rng(2)
    row, _ = read_outs(40)[name]
    x = random_rows(rng, oracles.random_lengths(rng, 70, 60).tolist(), 3)
    below = {"kind": "dense", "inputs": [-1], "size": 40, "activation": "tanh"}
    engine = Engine([below, {**row, "inputs": [0]}], x, output=40, pooled=True)
    engine.set(random_tensors(rng, engine.shapes))
    y = oracles.normal(rng, (len(x), 40))
    results = []
    for count in (1, 2):
        hg.set_num_threads(count)
        predictions = [engine.predict(batch_size) for batch_size in (1, 7, 70)]
        engine.train(y, 70)
        results += [(p, *engine.gradients().values()) for p in predictions]
    for one, other in itertools.pairwise(results):
        assert all(map(np.array_equal, one, other))


@pytest.mark.parametrize("per_sequence", [False, True])
def test_dropout_per_sequence_has_one_mask(per_sequence: bool) -> None:
    """The bias's gradient counts a unit's kept steps: all or none where the mask is shared."""
    steps, width = 20, 16
    rows = [
        {"kind": "dense", "inputs": [-1], "size": width, "activation": "linear"},
        {"kind": "dropout", "inputs": [0], "rate": 0.5, "per_sequence": per_sequence},
    ]
    engine = Engine(rows, [np.zeros((steps, 1))], output=width)
    engine.set({"layer0.weight": np.zeros((width, 1)), "layer0.bias": np.ones(width)})
    engine.train(np.zeros((steps, width)))
    kept = engine.gradients()["layer0.bias"] * width / 8
    shared = np.isclose(kept, 0) | np.isclose(kept, 1)
    assert shared.all() if per_sequence else not shared.any()
    assert 0 < kept.mean() < 1


@pytest.mark.parametrize("token", [-1, 7])
def test_tokens_outside_the_vocabulary_are_refused(token: int) -> None:
    words = {**WORDS, "size": 5, "vocabulary": 7, "token": 0, "columns": 3}
    tokens = [np.array([[0, 1, 2], [3, 4, token]])]
    engine = Engine([words], [np.empty((2, 0))], tokens, output=5)
    with pytest.raises(ValueError, match="vocabulary"):
        engine.predict()
    with pytest.raises(ValueError, match="no such token column"):
        Engine([{**words, "token": 1}], [np.empty((2, 0))], tokens, output=5)
