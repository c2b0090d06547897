"""Ctrl-C, threads and forks: work stops soon, at a whole update, and results stay the same."""

from __future__ import annotations

import _thread
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.data.samples import from_arrays
from headgate.kernels import make_trainer
from headgate.training.losses import Loss


def every(hidden: int = 4, **options: Any) -> hg.Network:
    return hg.Network(
        **{"input_size": 1, "hidden_size": hidden, "readout": "every", "seed": 0, **options}
    )


def data(n: int, t: int, width: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return oracles.normal(rng, (n, t, width)), oracles.normal(rng, (n, t, 1))


def weights(net: hg.Network) -> bytes:
    return net._engine.get_vector().tobytes()


# -- Ctrl-C ----------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[float], threading.Timer]]:
    """Sends an interrupt to the main thread after so many seconds."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timers = []

    def after(seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, _thread.interrupt_main)
        timers.append(timer)
        timer.start()
        return timer

    yield after
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGINT, before)


def interrupted(work: Callable[[], Any], ctrl_c: Callable[[float], Any]) -> float:
    """Seconds from the interrupt, 0.2 s into the work, to its end."""
    begin = time.perf_counter()
    ctrl_c(0.2)
    with pytest.raises(KeyboardInterrupt):
        work()
    return time.perf_counter() - begin - 0.2


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_leaves_a_whole_number_of_updates(
    isa: str, count: int, ctrl_c: Callable[[float], Any]
) -> None:
    """Weights and carried state are those after some update of the one long epoch."""
    hg.set_num_threads(count)
    n, size = 60_000, 20
    x, y = data(n, 10, 3)
    net, twin = (every(80, input_size=3, head_dropout=0.2) for _ in range(2))
    options = {"epochs": 1, "batch_size": size, "shuffle": False, "stateful": True}
    late = interrupted(lambda: net.fit(x, y, **options), ctrl_c)
    assert late < 1.0
    assert net.history.loss.size == 0
    assert np.isfinite(net.evaluate(x[:50], y[:50]))
    trainer = make_trainer(
        twin._engine,
        optimizer="adam",
        momentum=0.0,
        weight_decay=0.0,
        clip_norm=0.0,
        clip_value=0.0,
        loss=Loss("mse").engine_row(),
        seed=0,
    )
    table = from_arrays(x, y, input_size=3, output_size=1, readout="every").to_engine()
    state, wanted = np.zeros(80 * size, np.float32), weights(net)
    for begin in range(0, n, size):
        batch, bounds, rates = np.arange(begin, begin + size), np.array([0, size]), np.array([1e-3])
        trainer.epoch(table, batch, bounds, None, state, rates, np.inf)
        if weights(twin) == wanted:
            break
    assert weights(twin) == wanted
    assert begin + size < n, "the epoch was over before the interrupt; make it longer"
    assert state.tobytes() == np.asarray(net.state).tobytes()


def test_ctrl_c_within_one_long_update(isa: str, ctrl_c: Callable[[float], Any]) -> None:
    net = every(96)
    before = weights(net)
    x = np.zeros((1, 120_000, 1), np.float32)  # about a second forwards and back
    assert interrupted(lambda: net.fit(x, x, epochs=50, batch_size=1), ctrl_c) < 1.0
    assert weights(net) == before
    assert interrupted(lambda: [net.predict(x) for _ in range(99)], ctrl_c) < 1.0
    assert interrupted(lambda: net.rollout(0.5, 9_999_999), ctrl_c) < 1.0
    assert np.isfinite(net.predict(x[:, :10])).all()


# -- threads and forks -----------------------------------------------------------------------


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    results: list[Any] = [None] * len(calls)

    def run(k: int) -> None:
        results[k] = calls[k]()

    workers = [threading.Thread(target=run, args=(k,)) for k in range(len(calls))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    return results


def trained(seed: int) -> bytes:
    x, y = data(64, 30)
    net = every(33, seed=seed, head_dropout=0.1)
    net.fit(x, y, epochs=4)
    return weights(net)


@pytest.mark.usefixtures("threads")
def test_one_network_from_several_threads(isa: str) -> None:
    """Each prediction is what it is alone, though they share the network's workspace."""
    hg.set_num_threads(2)
    net = every(33)
    xs = [data(n, t)[0] for n, t in ((64, 30), (1, 200), (7, 11), (90, 3))]
    expected = [net.predict(x).tobytes() for x in xs]
    calls = [lambda x=x: [net.predict(x).tobytes() for _ in range(20)] for x in xs]
    for got, wanted in zip(in_threads(*calls), expected, strict=True):
        assert set(got) == {wanted}


@pytest.mark.usefixtures("threads")
def test_several_networks_train_at_once(isa: str) -> None:
    hg.set_num_threads(3)
    expected = [trained(seed) for seed in range(3)]
    assert in_threads(*(lambda s=s: trained(s) for s in range(3))) == expected


def child(queue: Any) -> None:
    queue.put(trained(5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_forked_child_builds_its_own_threads(isa: str, busy: bool) -> None:
    """After the parent has used its pool, and even while another of its threads uses it."""
    hg.set_num_threads(2)
    expected = trained(5)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    leave = threading.Event()

    def keep_busy() -> None:
        net, (x, y) = every(48), data(64, 30)
        while not leave.is_set():
            net.fit(x, y, epochs=1)

    worker = threading.Thread(target=keep_busy)
    if busy:
        worker.start()
    try:
        with warnings.catch_warnings():  # Python 3.12 warns of forks beside threads
            warnings.simplefilter("ignore", DeprecationWarning)
            process = context.Process(target=child, args=(queue,))
            process.start()
        process.join(30)
        alive = process.is_alive()
        if alive:
            process.kill()
        assert not alive, "the child hangs"
        assert process.exitcode == 0
        assert queue.get() == expected
    finally:
        leave.set()
        if busy:
            worker.join(30)
    assert trained(5) == expected
