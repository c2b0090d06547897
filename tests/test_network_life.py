"""What happens to a network around its training: copies, signals, lack of memory, exits."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

import headgate as hg


def fitted() -> tuple[hg.Network, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((6, 5, 1)).astype(np.float32)
    net = hg.Network(input_size=1, hidden_size=5, seed=0)
    net.fit(x, x[:, -1, 0], epochs=2)
    return net, x


def run(script: str, limit: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_a_copy_is_a_network_of_its_own(again: Any) -> None:
    net, x = fitted()
    before = net.predict(x)
    other = again(net)
    assert np.array_equal(other.predict(x), before)
    other.fit(x, x[:, 0, 0], epochs=3)
    assert np.array_equal(net.predict(x), before)


def test_callbacks_see_the_history_so_far_and_may_fit() -> None:
    net, x = fitted()
    seen = []

    def callback(env: hg.CallbackEnv) -> None:
        seen.append(len(env.network.history.loss))
        if env.epoch == 1:
            hg.Network(input_size=1, hidden_size=3, seed=1).fit(x, x[:, 0, 0], epochs=4)

    history = net.fit(x, x[:, -1, 0], epochs=3, callbacks=[callback])
    assert seen == [1, 2, 3]
    assert len(history.loss) == 3
    assert net.history is history


def test_a_rare_large_target_is_no_divergence() -> None:
    x, y = np.zeros((3000, 2, 1)), np.zeros(3000)
    y[2000] = 3000.0
    net = hg.Network(input_size=1, hidden_size=3, seed=0)
    net.fit(x, y, epochs=1, batch_size=1, shuffle=False, learning_rate=1e-6)
    assert len(net.history.loss) == 1


def test_a_network_whose_validation_loss_overflowed_can_be_saved(tmp_path: Any) -> None:
    net, x = fitted()
    net.fit(x, x[:, -1, 0], epochs=1, validation_data=(x, np.full(6, 1e30)))
    net.save(tmp_path / "m.safetensors")
    assert np.array_equal(hg.load(tmp_path / "m.safetensors").predict(x), net.predict(x))


def test_lack_of_memory_leaves_a_network_that_works() -> None:
    pytest.importorskip("resource", reason="limits memory, which this system cannot")
    done = run("""
        import resource
        import numpy as np, headgate as hg
        net = hg.Network(input_size=1, hidden_size=8, seed=0)
        x = np.zeros((20000, 1), np.float32)
        small = np.zeros((20, 30, 1), np.float32)
        before = net.predict(small)
        resource.setrlimit(resource.RLIMIT_AS, (1500 << 20,) * 2)
        n = 3000
        starts, lengths = np.zeros(n, np.int64), np.full(n, 20000)
        try:
            net.predict(hg.SampleTable(x=x, starts=starts, lengths=lengths), batch_size=n)
        except MemoryError as error:
            print(error)
        large = np.zeros((200, 30, 1), np.float32)
        assert np.array_equal(net.predict(large)[:20], before)
    """)
    assert done.returncode == 0, done.stderr
    assert "use a smaller batch_size" in done.stdout


def test_a_signal_handler_can_save_the_weights_while_training() -> None:
    done = run("""
        import signal
        import numpy as np, headgate as hg
        net = hg.Network(input_size=1, hidden_size=64, seed=0)
        x = np.zeros((64, 50, 1), np.float32)
        saved = []
        def handler(*_):
            saved.append(net.state_dict())
            raise SystemExit(7)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            net.fit(x, x[:, 0, 0], epochs=100000)
        finally:
            assert len(saved) == 1 and "gru.weight_ih_l0" in saved[0]
    """)
    assert done.returncode == 7, done.stderr


def test_a_process_may_end_while_a_daemon_thread_trains() -> None:
    done = run("""
        import threading, time
        import numpy as np, headgate as hg
        net = hg.Network(input_size=1, hidden_size=64, seed=0)
        x = np.zeros((64, 50, 1), np.float32)
        work = lambda: net.fit(x, x[:, 0, 0], epochs=100000)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
    """)
    assert (done.returncode, done.stderr) == (0, "")
