"""The numbers contract: units in the last place, and equal bits whatever the batch or threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate import kernels
from headgate.spec import GRU, Dense, NetworkSpec

BOTH = pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
FULL = os.environ.get("HEADGATE_FULL_SWEEP") == "1"  # every float of the middle: minutes

# tanh and sigmoid are neither x (or 1/2) nor saturated between these powers of two.
FIRST, LAST = 2.0**-13, 2.0**7


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def sweep() -> Iterator[np.ndarray]:
    """Positive floats in blocks: strided in the middle (all of it in a full sweep), sparse else."""
    middle = range(bits(FIRST), bits(LAST), 1 << 22)
    stride = 1 if FULL else 509
    for begin in middle:
        yield np.arange(begin, min(begin + (1 << 22), bits(LAST)), stride, np.uint32)
    yield np.arange(0, bits(FIRST), 9_973, np.uint32)  # down to the subnormals
    yield np.arange(bits(LAST), bits(np.inf) + 1, 9_973, np.uint32)
    near = [0.0, 2.0**-149, 2.0**-126, 87.3, 87.3365, 88.3, 88.7228, 103.9, 9.0, 10.0, 20.0, 3.4e38]
    yield np.concatenate([np.arange(max(bits(x) - 40, 0), bits(x) + 40) for x in near]).astype(
        np.uint32
    )


def errors_in_ulp(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return np.abs(got.astype(np.float64) - exact) / np.spacing(exact.astype(np.float32))


def test_tanh_within_its_ulps(isa: str) -> None:
    worst = 0.0
    for block in sweep():
        x = block.view(np.float32)
        got = kernels.activate("tanh", x)
        exact = np.tanh(x.astype(np.float64))
        worst = max(worst, float(errors_in_ulp(got, exact).max()))
        assert float(got.max()) <= 1.0
        assert np.array_equal(kernels.activate("tanh", -x), -got)
    assert worst <= tolerances.TANH_ULP


@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "negative"])
def test_sigmoid_within_its_ulps(isa: str, sign: int) -> None:
    worst = 0.0
    for block in sweep():
        x = sign * block.view(np.float32)
        got = kernels.activate("sigmoid", x)
        with np.errstate(over="ignore"):
            exact = 1 / (1 + np.exp(-x.astype(np.float64)))
        assert np.all((got >= 0) & (got <= 1))
        normal = exact >= 2.0**-126
        worst = max(worst, float(errors_in_ulp(got[normal], exact[normal]).max(initial=0)))
        assert np.all(got[~normal] <= tolerances.SIGMOID_BELOW_NORMAL)
    assert worst <= tolerances.SIGMOID_ULP


def test_special_values(isa: str) -> None:
    special = np.array([0.0, -0.0, np.inf, -np.inf, 3.4e38, -3.4e38], np.float32)
    out = kernels.activate("tanh", special)
    assert np.array_equal(out, np.array([0, 0, 1, -1, 1, -1], np.float32))
    assert np.signbit(out).tolist() == [False, True, False, True, False, True]
    out = kernels.activate("sigmoid", special)
    assert np.array_equal(out[[0, 1, 2, 4]], np.array([0.5, 0.5, 1, 1], np.float32))
    assert np.all((out[[3, 5]] >= 0) & (out[[3, 5]] <= tolerances.SIGMOID_BELOW_NORMAL))


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_nan_in_is_nan_out(isa: str, name: str) -> None:
    """Quiet and signalling, of both signs, at every place of a vector."""
    payloads = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFBFFFFF], np.uint32)
    for nan in payloads.view(np.float32):
        for place in range(16):
            x = np.zeros(16, np.float32)
            x[place] = nan
            assert np.isnan(kernels.activate(name, x)).tolist() == [k == place for k in range(16)]


# -- a sequence's bits -----------------------------------------------------------------------


def small_net(hidden: int, reset_after: bool, inputs: int = 3) -> hg.Network:
    return hg.Network(
        input_size=inputs,
        hidden_size=hidden,
        output_size=3,
        num_layers=2,
        reset_after=reset_after,
        readout="every",
        dense=(9,),
        activation="tanh",
        seed=hidden,
    )


@BOTH
@pytest.mark.parametrize("hidden", [1, 3, 16, 17, 33, 64, 130])
def test_a_sequence_has_the_same_bits_everywhere(isa: str, hidden: int, reset_after: bool) -> None:
    """Alone, in any batch, at any position, padded or not, for any batch_size."""
    rng = np.random.default_rng(hidden)
    net = small_net(hidden, reset_after, inputs=33 if hidden == 17 else 3)
    n, t = 19, 6
    x = oracles.normal(rng, (n, t, net.spec.input_size), np.float32)
    lengths = rng.integers(1, t + 1, n)
    lengths[:3] = (t, 1, t)
    state = np.tanh(oracles.normal(rng, (2, n, hidden), np.float32))
    parts = [row[:length] for row, length in zip(x, lengths, strict=True)]
    alone = [net.predict(part[None], state=state[:, [k]])[0] for k, part in enumerate(parts)]

    def check(out: object, chosen: np.ndarray) -> None:
        for row, k in zip(out, chosen, strict=True):
            assert row[: lengths[k]].tobytes() == alone[k].tobytes()
            assert not row[lengths[k] :].any()

    everyone = np.arange(n)
    for batch_size in (1, 2, 3, 4, 5, 7, 8, 9, 16, 19, 300):
        out = net.predict(x, lengths=lengths, state=state, batch_size=batch_size)
        check(out, everyone)
    check(net.predict(parts, state=state, batch_size=7), everyone)
    for size in (2, 3, 8, 9, 11):
        chosen = rng.permutation(n)[:size]
        check(net.predict([parts[k] for k in chosen], state=state[:, chosen]), chosen)
    whole = np.flatnonzero(lengths == t)
    check(net.predict(x[whole], state=state[:, whole]), whole)
    rolled = net.rollout(parts[0], 1, state=state[:, [0]])
    assert rolled.tobytes() == alone[0][-1:].tobytes()


@BOTH
@pytest.mark.parametrize("hidden", [1, 17, 64])
def test_workspaces_leave_no_trace(isa: str, hidden: int, reset_after: bool) -> None:
    """What a network ran before, padding lanes and infinities included, changes no bit."""
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (5, 4, 3), np.float32), oracles.normal(rng, (5, 4, 3), np.float32)
    lengths = np.array([4, 2, 1, 4, 3])
    options = {"epochs": 2, "batch_size": 3, "lengths": lengths}
    fresh, used = small_net(hidden, reset_after), small_net(hidden, reset_after)
    weights = used._engine.get_vector()
    wide = 1e30 * oracles.normal(rng, (23, 9, 3), np.float32)
    used.predict(wide, lengths=rng.integers(1, 10, 23))
    used._engine.set_vector(np.full_like(weights, np.nan))
    used.predict(wide)
    used.evaluate(wide[:7, :2], np.zeros((7, 2, 3)))
    used._engine.set_vector(weights)
    assert used.predict(x).tobytes() == fresh.predict(x).tobytes()
    used.fit(wide[:, :, :] / 1e30, np.zeros((23, 9, 3)), epochs=1, learning_rate=1.0)
    used._engine.set_vector(weights)
    for net in (fresh, used):
        net.fit(x, y, **options)
    assert used._engine.get_vector().tobytes() == fresh._engine.get_vector().tobytes()


# -- threads and seeds -----------------------------------------------------------------------


def train(spec: NetworkSpec, count: int, *, seed: int = 7, **options: object) -> bytes:
    """Weights, losses, state and predictions after two epochs with so many threads, as bytes."""
    rng = np.random.default_rng(0)
    n, t = 64, 30
    x = oracles.normal(rng, (n, t, spec.input_size), np.float32)
    y = oracles.normal(rng, (n, t, spec.output_size), np.float32)
    if spec.readout == "last":
        y = y[:, -1]
    hg.set_num_threads(count)
    net = hg.Network(spec, seed=seed)
    history = net.fit(x, y, epochs=2, **{"batch_size": n, "learning_rate": 0.01, **options})
    out = net.predict(x)
    state = b"" if net.state is None else np.asarray(net.state).tobytes()
    return net._engine.get_vector().tobytes() + history.loss.tobytes() + out.tobytes() + state


def threads_alive() -> int:
    return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0


@BOTH
@pytest.mark.parametrize("case", ["dropout", "ragged", "stateful", "odd"])
@pytest.mark.usefixtures("threads")
def test_any_number_of_threads_gives_the_same_bits(isa: str, case: str, reset_after: bool) -> None:
    """Sizes at which the pool is really used: on Linux its threads are counted."""
    dropout = {"head_dropout": 0.3} if case == "dropout" else {}
    hidden, inputs = (65, 17) if case == "odd" else (64, 33)
    spec = NetworkSpec.stacked(
        inputs, hidden, 2, readout="every", reset_after=reset_after, dense=(33,), **dropout
    )
    options: dict[str, object] = {}
    if case == "ragged":
        options["lengths"] = np.random.default_rng(1).integers(1, 31, 64)
    elif case == "stateful":
        options.update(stateful=True, shuffle=False, batch_size=32)
    elif case == "odd":
        options.update(batch_size=43, loss="huber", clip_norm=0.1)
    expected = train(spec, 1, **options)
    alive = {}
    for count in (2, 3, 5):
        assert train(spec, count, **options) == expected, f"{count} threads"
        alive[count] = threads_alive()
    if sys.platform == "linux":
        assert (alive[3] - alive[2], alive[5] - alive[2]) == (1, 3)


def test_thread_counts(threads: None) -> None:
    for count in (1, 3, 256):
        hg.set_num_threads(count)
        assert hg.get_num_threads() == count
    for wrong in (0, -1, 257, 1.5, True, "2", None):
        with pytest.raises(hg.InputError, match="the number of threads must be between 1 and 256"):
            hg.set_num_threads(wrong)
    assert hg.get_num_threads() == 256


def test_instruction_sets(isa: str) -> None:
    assert hg.isa() == isa
    with pytest.raises(hg.InputError, match=r"'sse9' cannot run here; choose one of \["):
        hg.set_isa("sse9")
    assert hg.isa() == isa
    assert "generic" in hg.available_isas()


@pytest.mark.parametrize("readout", ["every", "last"])
def test_seeds(isa: str, readout: str) -> None:
    """The same seed gives the same bits, another seed others: weights, shuffling and dropout."""
    spec = NetworkSpec.stacked(3, 9, 2, readout=readout, head_dropout=0.3)
    options = {"batch_size": 7}
    assert train(spec, 1, **options) == train(spec, 1, **options)
    assert train(spec, 1, **options) != train(spec, 1, seed=8, **options)
    assert train(spec, 1, **options) != train(spec, 1, shuffle=False, **options)
    first, second = hg.Network(spec, seed=None), hg.Network(spec, seed=None)
    assert first.seed != second.seed
    again = hg.Network(spec, seed=first.seed)
    assert again._engine.get_vector().tobytes() == first._engine.get_vector().tobytes()


def test_initial_weights_are_pytorchs() -> None:
    """U(-1/sqrt(H), 1/sqrt(H)) in GRU layers, U(-1/sqrt(I), 1/sqrt(I)) in dense ones."""
    spec = oracles.chained(
        25,
        (Dense, "dense", {"size": 100}),
        (GRU, "gru", {"hidden_size": 64, "num_layers": 2}),
    )
    for name, value in hg.Network(spec, seed=1).state_dict().items():
        bound = 64**-0.5 if name.startswith("gru") else 25**-0.5
        assert np.abs(value).max() <= bound
        assert np.abs(value).max() > 0.95 * bound
        assert abs(value.mean()) < 5 * bound / np.sqrt(3 * value.size)
        assert value.std() == pytest.approx(bound / np.sqrt(3), rel=0.15)


def test_isas_agree_closely() -> None:
    """Different instruction sets may differ in the last bits, and in no more."""
    rng = np.random.default_rng(0)
    net = small_net(33, True)
    x = oracles.normal(rng, (9, 20, 3), np.float32)
    before, outs = hg.isa(), []
    for name in hg.available_isas():
        hg.set_isa(name)
        outs.append(net.predict(x))
    hg.set_isa(before)
    for out in outs:
        oracles.assert_forward_close(out, outs[0], 2 * tolerances.FORWARD_UP_TO_256)
