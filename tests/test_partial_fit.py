"""partial_fit: updates one by one, as a fit makes them, and nothing lost when one is refused."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg


def make(**options: Any) -> hg.Network:
    defaults = {"input_size": 2, "hidden_size": 6, "readout": "every", "output_size": 1, "seed": 0}
    return hg.Network(**{**defaults, **options})


def data(n: int = 3, t: int = 7, i: int = 2) -> tuple[np.ndarray, np.ndarray]:
    x = oracles.normal(np.random.default_rng(0), (n, t, i))
    return x, np.sin(x.sum(axis=2, keepdims=True))


def weights(net: hg.Network) -> bytes:
    return b"".join(array.tobytes() for array in net.state_dict().values())


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "sgd", "momentum": 0.9}, {"clip_norm": 0.1, "weight_decay": 1e-3}],
    ids=str,
)
def test_updates_one_by_one_are_those_of_a_fit(isa: str, options: dict[str, Any]) -> None:
    x, y = data()
    whole, live = make(dropout=0.2, num_layers=2), make(dropout=0.2, num_layers=2)
    history = whole.fit(x, y, epochs=5, batch_size=3, shuffle=False, **options)
    losses = [live.partial_fit(x, y, **options) for _ in range(5)]
    assert losses == list(history.loss)
    assert weights(live) == weights(whole)


def test_several_updates_are_several_calls_and_other_kinds_of_arrays_are_alike() -> None:
    x, y = data()
    one, other = make(), make()
    losses = [one.partial_fit(x, y) for _ in range(3)]
    assert other.partial_fit(list(x), list(y), updates=3) == pytest.approx(np.mean(losses), 1e-12)
    assert weights(one) == weights(other)
    one.partial_fit(x.astype(np.float64), y[..., 0])
    other.partial_fit(x[:, ::-1][:, ::-1], y)
    assert weights(one) == weights(other)


def test_windows_of_one_shape_do_not_mix() -> None:
    x, y = data(6)
    one, other = make(), make()
    for k in range(6):
        one.partial_fit(x[k : k + 1], y[k : k + 1])
        other.partial_fit([x[k]], [y[k]])  # a list is laid out anew each time
    assert weights(one) == weights(other)
    before = x.copy()
    one.partial_fit(x[:1] * 2, y[:1] * 2)
    assert np.array_equal(x, before)


def test_a_stateful_one_is_a_stateful_fit() -> None:
    x, y = data(6)
    whole, live = make(), make()
    whole.fit(x, y, epochs=1, batch_size=2, shuffle=False, stateful=True)
    for k in range(0, 6, 2):
        live.partial_fit(x[k : k + 2], y[k : k + 2], stateful=True)
    assert weights(live) == weights(whole)
    assert np.array_equal(live.state, whole.state)
    with pytest.raises(hg.InputError, match=r"net.state has 2 rows, but X has 3 samples; pass as"):
        live.partial_fit(x[:3], y[:3], stateful=True)
    with pytest.raises(hg.InputError, match="learns once from each; leave updates at 1"):
        live.partial_fit(x[:2], y[:2], stateful=True, updates=2)


def test_a_state_to_begin_with_is_used_and_kept() -> None:
    x, y = data(1)
    net, other = make(), make()
    state = np.full((1, 1, 6), 0.5, np.float32)
    assert net.partial_fit(x, y, state=state, updates=2) != other.partial_fit(x, y, updates=2)
    assert net.state is None
    assert (state == 0.5).all()
    again = make()
    for _ in range(2):
        again.partial_fit(x, y, state=state)
    assert weights(again) == weights(net)
    with pytest.raises(hg.InputError, match=r"state must be \(num_layers, N, hidden_size\)"):
        net.partial_fit(x, y, state=np.zeros((1, 2, 6)))
    both = make(bidirectional=True)
    with pytest.raises(hg.InputError, match="bidirectional: it would need what is still to come"):
        both.partial_fit(x, y, stateful=True)


def test_the_averages_stay_from_call_to_call_and_end_with_what_they_are_of() -> None:
    x, y = data()
    net = make()
    net.partial_fit(x, y)
    again = copy.deepcopy(net)  # weights, and no averages
    fresh = make()
    fresh.load_state_dict(net.state_dict())
    replaced = make()
    replaced.partial_fit(x, y * 2)
    replaced.set_vector(net.get_vector())
    for other in (again, fresh, replaced):
        other.partial_fit(x, -y)
    net.partial_fit(x, -y)
    assert weights(again) == weights(fresh) == weights(replaced)
    assert weights(net) != weights(again)

    net.load_state_dict(fresh.state_dict())
    for each in (net, fresh):
        each._learner = None
        each.partial_fit(x, y)
        each.partial_fit(x, y, learning_rate=3e-3)  # the averages go on at another rate
    assert weights(net) == weights(fresh)
    net._learner = None
    for each in (net, fresh):
        each.partial_fit(x, y, learning_rate=3e-3)
    assert weights(net) != weights(fresh)
    fresh.load_state_dict(net.state_dict())
    net.fit(x, y, epochs=0)
    for each in (net, fresh):
        each.partial_fit(x, y)
    assert weights(net) == weights(fresh)


def test_a_stream_steps_with_the_new_weights() -> None:
    x, y = data(1)
    net = make()
    stream, other = net.stream(), net.stream()
    assert np.array_equal(stream.step(x[0, 0]), other.step(x[0, 0]))
    state = stream.state
    net.partial_fit(x, y)
    after = stream.step(x[0, 1])
    fresh = hg.Network(net.spec, seed=9)
    fresh.load_state_dict(net.state_dict())
    expected = fresh.predict(x[:, 1:2], state=state)[0, 0]
    assert np.array_equal(after, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "learning_rate": 1e6},
        {"learning_rate": 1e38},
        {"optimizer": "sgd", "learning_rate": 1e6, "updates": 3},
    ],
    ids=str,
)
def test_divergence_changes_nothing(isa: str, options: dict[str, Any]) -> None:
    x, y = data()
    net = make(cell="rnn", nonlinearity="relu")
    net.partial_fit(x, y, stateful=True)
    before, state = weights(net), net.state
    with pytest.raises(
        hg.DivergenceError, match=r"diverged: the loss was .* smaller learning_rate"
    ):
        net.partial_fit(x, y * 100, **options)
    assert weights(net) == before
    assert np.array_equal(net.state, state)
    assert net.partial_fit(x, y) < 10


def test_a_window_that_overflows_leaves_the_update_before_it() -> None:
    x, y = data()
    net = make(cell="rnn", nonlinearity="relu")
    net.partial_fit(x, y)
    before = weights(net)
    with pytest.raises(hg.DivergenceError):
        net.partial_fit(x * 1e30, y, optimizer="sgd")
    assert weights(net) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
@pytest.mark.parametrize("where", [0, 1])
def test_what_is_not_finite_is_refused_and_the_averages_stay(value: float, where: int) -> None:
    x, y = data()
    net, other = make(), make()
    for each in (net, other):
        each.partial_fit(x, y)
    bad = [np.array(x, np.float64), np.array(y, np.float64)]
    bad[where][0, 2, 0] = value
    with pytest.raises(hg.InputError, match=r"has a value that is not finite at index \(0, 2, 0\)"):
        net.partial_fit(*bad)
    for each in (net, other):
        each.partial_fit(x, y)
    assert weights(net) == weights(other)


def test_classes_and_tokens() -> None:
    rng = np.random.default_rng(0)
    tokens, classes = rng.integers(0, 9, (2, 5)), rng.integers(0, 3, 2)
    net = hg.Network(vocabulary=9, embedding_size=4, hidden_size=5, seed=0,
                     task="classification", output_size=3)  # fmt: skip
    first = net.partial_fit(tokens, classes)
    for _ in range(60):
        last = net.partial_fit(tokens, classes, learning_rate=0.01)
    assert last < first / 2
    values = make(readout="last", task="classification", output_size=3)
    x = data(2)[0]
    values.partial_fit(x, classes)
    with pytest.raises(hg.InputError, match=r"Y\[1\] is class 3, but the network has 3 outputs"):
        values.partial_fit(x, np.array([0, 3]))


def test_options_are_refused_by_name() -> None:
    x, y = data()
    with pytest.raises(hg.InputError, match=r"partial_fit has no option \['epochs', 'shuffle'\]"):
        make().partial_fit(x, y, epochs=3, shuffle=True)
    with pytest.raises(hg.InputError, match="updates must be between 1 and"):
        make().partial_fit(x, y, updates=0)
    with pytest.raises(hg.InputError, match="learning_rate must be a finite number above 0"):
        make().partial_fit(x, y, learning_rate=-1)
    with pytest.raises(hg.InputError, match="targets are missing"):
        make().partial_fit(x)


def test_threads_may_learn_at_once() -> None:
    x, y = data()
    net = make()

    def work() -> None:
        for _ in range(200):
            net.partial_fit(x, y)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.isfinite(net.evaluate(x, y))
