"""Data larger than memory: memory-mapped arrays, and chunks that are read one by one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.data.samples import as_values


def make(**options: Any) -> hg.Network:
    return hg.Network(**{"input_size": 2, "hidden_size": 4, "seed": 1, **options})


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return oracles.normal(rng, (40, 6, 2)), oracles.normal(rng, (40, 1))


def halves() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    x, y = data()
    yield x[:20], y[:20]
    yield x[20:], y[20:]


class Again:
    def __iter__(self) -> Iterator[Any]:
        return halves()


@pytest.mark.parametrize("chunks", [halves, Again(), list(halves()), tuple(halves())])
def test_chunks_in_order_are_the_whole(chunks: Any) -> None:
    whole, parts = make(), make()
    options = {"epochs": 3, "batch_size": 10, "shuffle": False}
    expected = whole.fit(*data(), **options)
    history = parts.fit(chunks, validation_data=data(), **options)
    assert np.array_equal(whole._engine.get_vector(), parts._engine.get_vector())
    assert history.loss == pytest.approx(expected.loss, rel=1e-12)
    assert history.val_loss.shape == (3,)


def test_chunks_are_shuffled_within_themselves() -> None:
    plain, shuffled = make(), make()
    plain.fit(halves, epochs=1, batch_size=10, shuffle=False)
    shuffled.fit(halves, epochs=1, batch_size=10)
    assert not np.array_equal(plain._engine.get_vector(), shuffled._engine.get_vector())


def test_the_loss_weighs_chunks_by_their_targets() -> None:
    x, y = data()
    net = make()
    history = net.fit(
        [(x[:30], y[:30]), (x[30:], y[30:], np.full(10, 6))],
        epochs=1, optimizer="sgd", learning_rate=1e-30,
    )  # fmt: skip
    assert history.loss[0] == pytest.approx(net.evaluate(x, y), rel=1e-6)


def test_chunks_of_long_sequences() -> None:
    x = oracles.normal(np.random.default_rng(0), (4, 9, 2))
    y = oracles.normal(np.random.default_rng(1), (4, 9, 1))
    whole, parts = make(readout="every"), make(readout="every")
    options = {"epochs": 2, "batch_size": 2, "shuffle": False, "bptt_steps": 4}
    whole.fit(x, y, **options)
    parts.fit(lambda: [(x[:2], y[:2]), (x[2:], y[2:])], **options)
    assert np.array_equal(whole._engine.get_vector(), parts._engine.get_vector())


def test_an_iterator_will_do_for_one_epoch() -> None:
    assert make().fit(halves(), epochs=1).loss.shape == (1,)


def test_an_interrupted_fit_leaves_whole_updates() -> None:
    net = make()

    def broken() -> Iterator[Any]:
        yield from halves()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.fit(broken, epochs=2)
    assert all(np.isfinite(value).all() for value in net.state_dict().values())
    assert net.fit(halves, epochs=1).loss.shape == (1,)


def runs_dry() -> Any:
    calls: list[int] = []

    def chunks() -> Any:
        calls.append(1)
        return halves() if len(calls) == 1 else iter([])

    return chunks


@pytest.mark.parametrize(
    ("chunks", "options", "message"),
    [
        (
            halves(),
            {},
            "this generator of chunks can be read once, but epochs=10; pass a function that "
            "returns a fresh one, such as fit(lambda: read_chunks(path)), or a list of chunks",
        ),
        (runs_dry(), {}, "there are no chunks; the function must return a fresh iterator"),
        (lambda: [], {}, "there are no chunks"),
        (lambda: 3, {}, "chunks must be a function that returns an iterator of (X, Y), or a list"),
        (lambda: [3], {}, "chunk 0: expected (X, Y) or (X, Y, lengths), got 3"),
        (lambda: [*halves(), (np.ones((2, 6, 3)), np.ones(2))], {}, "chunk 2: X has 3 features"),
        (halves, {"stateful": True, "shuffle": False}, "stateful=True needs all samples at once"),
        (halves, {"schedule": "cosine"}, "schedule='cosine' must know how many updates"),
        (halves, {"warmup_epochs": 1}, "warmup_epochs must know how many updates"),
        (halves, {"lengths": [1]}, "with chunks, lengths are part of each: (X, Y, lengths)"),
        (halves, {"Y": np.ones((40, 1))}, "with chunks, targets are part of each: (X, Y)"),
        (halves(), {"Y": np.ones((40, 1))}, "with chunks, targets are part of each: (X, Y)"),
    ],
)
def test_refusals(chunks: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(hg.InputError) as caught:
        make().fit(chunks, **options)
    assert message in str(caught.value)


def test_a_refused_chunk_of_the_first_epoch_changes_nothing() -> None:
    net = make()
    history = net.fit(*data(), epochs=1)
    before = net._engine.get_vector()
    with pytest.raises(hg.InputError, match="chunk 2: X has 3 features"):
        net.fit(lambda: [*halves(), (np.ones((2, 6, 3)), np.ones(2))])
    assert np.array_equal(net._engine.get_vector(), before)
    assert net.history is history


def test_memory_mapped_arrays_are_not_copied(tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(2000, 500, 2))
    y = np.memmap(tmp_path / "y", np.float32, "w+", shape=(2000, 1))
    net = make()
    net.fit(x[:10], y[:10], epochs=1)
    tracemalloc.start()
    net.fit(x, y, epochs=1, batch_size=100)
    net.predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10
    assert np.shares_memory(as_values("X", x), x)


def test_what_is_not_finite_is_found_block_by_block() -> None:
    x = np.full((8, 1 << 20), 1e38, np.float32)  # whose sum is infinite
    tracemalloc.start()
    assert as_values("X", x) is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    x[2, 5] = np.nan
    with pytest.raises(hg.InputError, match=r"X has a value that is not finite at index \(2, 5\)"):
        as_values("X", x)
