"""Bad input and divergence: nothing crashes, nothing is lost, every message says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.data.samples import SampleTable, from_arrays
from headgate.spec import Last


def every(hidden: int = 4, **options: Any) -> hg.Network:
    return hg.Network(
        **{"input_size": 1, "hidden_size": hidden, "readout": "every", "seed": 0, **options}
    )


def data(n: int = 4, t: int = 5, width: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return oracles.normal(rng, (n, t, width)), oracles.normal(rng, (n, t, 1))


def weights(net: hg.Network) -> bytes:
    return net._engine.get_vector().tobytes()


# -- arrays ----------------------------------------------------------------------------------


def test_any_layout_and_number_type_is_read(isa: str) -> None:
    x = np.random.default_rng(0).integers(-3, 4, (5, 6, 3)).astype(np.float32)
    net = every(input_size=3, output_size=2)
    expected = net.predict(x).tobytes()
    read_only = x.copy()
    read_only.flags.writeable = False
    twice = np.repeat(np.repeat(x, 2, axis=0), 2, axis=2)
    for same in (
        read_only,
        np.asfortranarray(x),
        twice[::2, :, ::2],
        np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        x.astype(np.float64),
        x.astype(np.float16),
        x.astype(np.int8),
        x.astype(">f4"),
        x.astype(">i8"),
        x.tolist(),
        list(x),
        tuple(x),
    ):
        assert np.asarray(net.predict(same)).tobytes() == expected
    assert net.predict(x > 0).tobytes() == net.predict((x > 0).astype(np.float32)).tobytes()
    one = every()
    assert np.array_equal(one.predict(x[:, :, 0]), one.predict(x[:, :, :1]))


def test_inputs_are_not_written_to(isa: str) -> None:
    x, y = data()
    x, y = x.astype(np.float32), y.astype(np.float32)
    kept = x.copy(), y.copy()
    for array in (x, y):
        array.flags.writeable = False
    every().fit(x, y, epochs=2, batch_size=2)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(y, kept[1])


def test_outputs_have_the_shape_of_the_inputs(isa: str) -> None:
    """(N, T, O) for a dense X whatever its lengths; zeros past each."""
    net, (x, _) = every(output_size=2), data()
    out = net.predict(x, lengths=[2, 3, 1, 3])
    assert out.shape == (4, 5, 2)
    assert not out[:, 3:].any()
    assert out[1, 2].any()
    parts = net.predict([x[0], x[1, :2]])
    assert [part.shape for part in parts] == [(5, 2), (2, 2)]
    assert hg.Network(input_size=1, hidden_size=3, output_size=2).predict(x).shape == (4, 2)


def spoiled(array: np.ndarray, value: float) -> np.ndarray:
    wrong = array.copy()
    wrong[1, 2, 0] = value
    return wrong


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e39])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    """1e300 is not finite as a float32; it must not pass, nor end in a warning."""
    net, (x, y) = every(), data()
    before = weights(net)
    calls: dict[str, Callable[[], Any]] = {
        r"X has .* index \(1, 2, 0\)": lambda: net.predict(spoiled(x, value)),
        r"Y has .* index \(1, 2, 0\)": lambda: net.fit(x, spoiled(y, value)),
        r"X\[1\] has .* index \(2, 0\)": lambda: net.predict(list(spoiled(x, value))),
        r"x_first has .* index \(0, 0\)": lambda: net.rollout(np.array([[value]]), 3),
        r"x_first has ": lambda: net.rollout(value, 3),
        r"state has .* index \(0, 1, 2\)": lambda: net.predict(
            x, state=np.pad(np.array([[[value]]]), ((0, 0), (1, 2), (2, 1)))
        ),
    }
    for message, call in calls.items():
        with pytest.raises(hg.InputError, match=message):
            call()
    with pytest.raises(hg.InputError, match="Y has"):
        net.fit(x, y, validation_data=(x, spoiled(y, value)))
    assert weights(net) == before


def test_missing_values_under_a_mask_are_not_trained_on() -> None:
    net, (x, y) = every(), data()
    masked = np.ma.masked_array(x, mask=np.zeros(x.shape, bool))
    masked[1, 2, 0] = np.ma.masked
    with pytest.raises(hg.InputError, match=r"X has .* \(1, 2, 0\)"):
        net.fit(masked, y)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 5, 1)), "at least one sample and one step"),
        (np.zeros((4, 0, 1)), "at least one sample and one step"),
        ([], "X must be"),
        ([np.zeros((3, 1)), np.zeros((0, 1))], r"X\[1\] must be \(T, 1\) with at least one step"),
        (np.zeros((4, 5, 3)), r"X has 3 features, but .* input_size=1; pass X\[..., :1\] or build"),
        ([np.zeros((2, 3)), np.zeros((3, 3))], r"X\[0\] must be \(T, 1\)"),
        (np.zeros(5), r"a single sequence is X\[None\]"),
        (np.zeros((1, 4, 5, 1)), r"X must be \(N, T, I\)"),
        (np.full((4, 5, 1), "1.5"), "X must hold numbers, got dtype <U3; convert it with"),
        (np.zeros((4, 5, 1), complex), "X must hold numbers, got dtype complex128"),
        (None, "X must hold numbers, got an object of type NoneType; pass an array"),
        (np.zeros((4, 5, 0)), "X has 0 features, but .* input_size=1; check X"),
        ([[1.0], ["a"]], "X must hold numbers"),
    ],
)
def test_wrong_inputs(x: Any, message: str) -> None:
    net = every()
    for call in (
        lambda: net.predict(x),
        lambda: net.fit(x, np.zeros((4, 5, 1))),
        lambda: net.evaluate(x, np.zeros((4, 5, 1))),
    ):
        with pytest.raises(hg.InputError, match=message):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Y": None}, "targets are missing; pass Y"),
        ({"Y": np.zeros((4, 1))}, r"Y must have shape \(4, 5, 1\) for readout='every', got"),
        ({"Y": np.zeros((3, 5, 1))}, r"got \(3, 5, 1\)"),
        ({"lengths": [1, 2, 3]}, "lengths must be 4 integers, one for each sample"),
        ({"lengths": [1.0, 2.0, 3.0, 4.0]}, "dtype float64"),
        ({"lengths": [1, 2, 0, 4]}, "between 1 and T=5; sample 2 has 0"),
        ({"lengths": [1, 2, 3, 6]}, "between 1 and T=5; sample 3 has 6"),
        ({"epochs": -1}, "epochs must be between 0"),
        ({"batch_size": 0}, "batch_size must be between 1"),
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": 10**400}, "learning_rate must be a finite number"),
        ({"weight_decay": -1}, "weight_decay must be a finite number at least 0"),
        ({"optimizer": "lbfgs"}, "optimizer must be one of 'adam'"),
        ({"loss": "mape"}, "loss must be one of 'mse'"),
        ({"momentum": 0.5}, "momentum goes with optimizer='sgd'"),
        (
            {"schedule": "exponential"},
            "schedule must be one of 'constant', 'cosine', 'step', 'one_",
        ),
        (
            {"schedule": "cosine", "schedule_epochs": 9},
            "^schedule_epochs must be at least epochs=10, got 9$",
        ),
        ({"schedule": "cosine", "schedule_epochs": 2.5}, "schedule_epochs must be an integer"),
        ({"clip_norm": 0}, "clip_norm must be a finite number above 0"),
        ({"dropout": 0.5}, r"fit has no option \['dropout'\]; it has \['epochs'"),
        ({"validation_data": 5}, r"validation_data must be \(X, Y\) or a SampleTable"),
    ],
)
def test_wrong_options_change_nothing(options: dict[str, Any], message: str) -> None:
    net, (x, y) = every(), data()
    before = weights(net)
    with pytest.raises(hg.InputError, match=message):
        net.fit(x, **{"Y": y, **options})
    assert weights(net) == before


def test_tables_that_reach_too_far_are_refused() -> None:
    """The engine checks every bound itself before it reads."""
    net, (x, y) = every(), data()
    good = from_arrays(x, y, input_size=1, output_size=1, readout="every")
    assert net.predict(good).shape == (4, 5, 1)
    big = np.iinfo(np.int64).max
    for change in (
        {"starts": good.starts + 1},
        {"starts": good.starts - 1},
        {"starts": np.array([0, 5, 10, big])},
        {"lengths": np.array([5, 5, 5, 6])},
        {"lengths": np.array([5, 5, 5, big])},
        {"lengths": np.array([5, 5, 5, 0])},
        {"lengths": good.lengths[:3]},
        {"y_starts": good.y_starts + 1},
        {"y_starts": np.array([0, 5, 10, -1])},
        {"y_starts": np.array([0, 5, 10, big])},
        {"y_starts": good.y_starts[:2]},
        {"y_stride": 2},
        {"y_stride": big},
        {"y_stride": -1},
        {"x_shift": np.zeros(3), "x_scale": np.ones(3)},
        {"x_shift": np.zeros(4)},
    ):
        with pytest.raises(hg.InputError):
            net.fit(SampleTable(**{**vars(good), **change}), epochs=1)


def test_networks_without_parameters_run(isa: str) -> None:
    """A read-out alone is a network too; there is nothing to train, and nothing to crash."""
    net = hg.Network(oracles.chained(2, (Last, "last", {})), seed=0)
    x = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    assert np.array_equal(net.predict(x, lengths=[4, 1, 2]), x[[0, 1, 2], [3, 0, 1]])
    assert net.fit(x, np.zeros((3, 2)), epochs=2).loss.shape == (2,)


# -- divergence ------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("rate", [1e6, 1e30, 1e300])
def test_divergence_keeps_the_last_good_weights(isa: str, optimizer: str, rate: float) -> None:
    """And the network can go on: a sane fit afterwards is a fresh network's, to the bit."""
    net, (x, y) = every(), data(12, 5)
    options = {"stateful": True, "shuffle": False, "batch_size": 4, "optimizer": optimizer}
    first = net.evaluate(x, y)
    with pytest.raises(hg.DivergenceError, match="Try a smaller learning_rate") as caught:
        net.fit(x, y, epochs=20, learning_rate=rate, **options)
    assert caught.value.epoch >= 0
    assert not caught.value.loss < 1e4 * first or rate > 1e38
    assert np.isfinite(net._engine.get_vector()).all()
    assert net.evaluate(x, y) < 100 * first
    assert np.isfinite(net.state).all()
    assert len(net.history.loss) == caught.value.epoch
    fresh = every()
    fresh.load_state_dict(net.state_dict())
    for one in (net, fresh):
        one.fit(x, y, epochs=3, **options)
    assert weights(net) == weights(fresh)


def test_divergence_in_the_very_last_update_is_seen(isa: str) -> None:
    """One update with a rate of 1e6, and no later loss that would show what it did."""
    net, (x, y) = every(), data()
    first = net.evaluate(x, y)
    with pytest.raises(hg.DivergenceError):
        net.fit(x, y, epochs=1, batch_size=4, learning_rate=1e6)
    assert net.evaluate(x, y) < 100 * first


def test_a_quiet_first_sample_is_no_divergence(isa: str) -> None:
    """Series that begin at zero, the first all zeros: large later values are ordinary data."""
    x = np.zeros((8, 5, 1))
    x[1:, 1:] = 75.0 * np.arange(1, 5)[:, None]
    net = every()
    net.fit(x, x, epochs=2, batch_size=1, shuffle=False)
    assert len(net.history.loss) == 2


def test_values_that_overflow_are_a_divergence(isa: str) -> None:
    net, (x, y) = every(), data()
    before = weights(net)
    with pytest.raises(hg.DivergenceError, match="scale the data"):
        net.fit(x, 1e30 * y, epochs=3)
    assert weights(net) == before
    table = from_arrays(x, y, input_size=1, output_size=1, readout="every")
    table.x[7] = np.nan  # a table is not searched for NaN beforehand, but it never trains on one
    with pytest.raises(hg.DivergenceError):
        net.fit(table, epochs=3)
    assert np.isfinite(net._engine.get_vector()).all()


def test_huge_inputs_saturate(isa: str) -> None:
    net = every()
    out = net.predict(np.array([[3e38, -3e38, 1e20, 0.0]])[:, :, None])
    assert np.isfinite(out).all()


def test_masked_values_are_refused_by_every_call() -> None:
    net, (x, y) = every(), data()
    masked = np.ma.masked_array(x.astype(np.float32), mask=np.zeros(x.shape, bool))
    assert np.array_equal(net.predict(masked), net.predict(x))
    masked[1, 2, 0] = np.ma.masked
    for call in (
        lambda: net.predict(masked),
        lambda: net.fit(masked, y),
        lambda: net.gates(masked),
    ):
        with pytest.raises(hg.InputError, match=r"not finite at index \(1, 2, 0\): masked"):
            call()


def test_a_list_in_gives_a_list_out_however_long_its_items_are() -> None:
    pd = pytest.importorskip("pandas", reason="passes data frames, and pandas is not installed")
    net = every()
    for lengths in ((5, 3), (4, 4)):
        parts = [np.arange(n, dtype=np.float32)[:, None] for n in lengths]
        out = net.predict([pd.DataFrame(part) for part in parts])
        assert isinstance(out, list)
        for one, other in zip(out, net.predict(parts), strict=True):
            np.testing.assert_array_equal(one, other)
