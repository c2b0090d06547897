"""Training: the sine jobs against PyTorch's own figures, optimisers, states, callbacks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate.data.samples import SampleTable, from_arrays
from headgate.kernels import make_trainer
from headgate.spec import Dense, NetworkSpec
from headgate.training.loop import FitOptions, run_epochs

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import jobs  # noqa: E402  (the sine job is defined there, once)

SINE: dict[str, Any] = {
    "epochs": jobs.SINE_EPOCHS,
    "batch_size": 1,
    "shuffle": False,
    "optimizer": "adam",
    "learning_rate": jobs.SINE_RATE,
    "loss": "mse",
}


def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def sine_net() -> hg.Network:
    spec = NetworkSpec.stacked(1, jobs.SINE_HIDDEN, 1, readout="every")
    return oracles.network(spec, jobs.sine_weights())


def check_sine(golden: dict[str, np.ndarray], run: str, net: hg.Network, loss: np.ndarray) -> None:
    """The whole learning curve, the roll-out's error and the weights, against PyTorch's."""
    job = jobs.sine_one_by_one()
    assert np.abs(loss - golden[f"{run}.loss"]).max() <= tolerances.SINE_TRAIN_LOSS_ABS
    path = net.rollout(job.x_first, 199)
    error = job.rollout_mse(path)
    assert error == pytest.approx(
        float(golden[f"{run}.rollout_mse"]), abs=tolerances.SINE_ROLLOUT_MSE_ABS
    )
    oracles.assert_forward_close(path[:20, 0], golden[f"{run}.path"][:20], 1e-3)


# -- the jobs of the design ------------------------------------------------------------------


def test_sine_one_by_one(isa: str) -> None:
    """The state is carried from run to run and from epoch to epoch."""
    job, golden = jobs.sine_one_by_one(), stored("sine_s3_weights")
    net = sine_net()
    history = net.fit(job.x, job.y, stateful=True, **SINE)
    assert history.loss[-1] == pytest.approx(
        tolerances.SINE_TRAIN_LOSS, abs=tolerances.SINE_TRAIN_LOSS_ABS
    )
    assert job.rollout_mse(net.rollout(job.x_first, 199)) == pytest.approx(
        tolerances.SINE_ROLLOUT_MSE, abs=tolerances.SINE_ROLLOUT_MSE_ABS
    )
    check_sine(golden, "gru_carried", net, history.loss)
    oracles.assert_forward_close(net.state, golden["gru_carried.state"], 1e-3)
    for name, value in net.state_dict().items():
        oracles.assert_forward_close(value, golden[f"gru_carried.final.{name}"], 1e-3)


def test_sine_with_the_state_reset_every_epoch_is_another_figure(isa: str) -> None:
    job, golden = jobs.sine_one_by_one(), stored("sine_s3_weights")
    net, state = sine_net(), np.zeros(jobs.SINE_HIDDEN, np.float32)
    table = from_arrays(job.x, job.y, input_size=1, output_size=1, readout="every")
    kept: list[np.ndarray] = []

    def reset(env: hg.CallbackEnv) -> None:
        kept.append(state.copy())
        state[:] = 0

    options = FitOptions(stateful=True, **SINE)
    history = run_epochs(
        net._engine, table, options, network=net, seed=0, state=state, callbacks=[reset]
    )
    net.state = kept[-1].reshape(1, 1, -1)
    check_sine(golden, "gru_reset", net, history.loss)
    assert history.loss[-1] == pytest.approx(0.01252, abs=1e-5)


def test_sine_without_recurrence(isa: str) -> None:
    job, golden = jobs.sine_one_by_one(), stored("sine_s3_weights")
    weights = {k.removeprefix("mlp_init."): v for k, v in golden.items() if "mlp_init." in k}
    net = oracles.network(NetworkSpec.mlp(1, (32, 16), 1), weights)
    history = net.fit(job.x, job.y, **SINE)
    difference = np.abs(history.loss - golden["mlp.loss"])
    # A relu that rounding turns on one update earlier or later moves the end of this curve; the
    # design names its figures to these digits.
    assert difference[:80].max() <= tolerances.SINE_TRAIN_LOSS_ABS
    assert history.loss[-1] == pytest.approx(0.0184, abs=1e-4)
    assert job.rollout_mse(net.rollout(job.x_first, 199)) == pytest.approx(1.02, abs=0.05)


def test_sine_windows(isa: str) -> None:
    """The first ten epochs of the second job: PyTorch's errors to several digits."""
    job = jobs.sine_windows()
    net = oracles.network(NetworkSpec.stacked(1, jobs.WINDOW_HIDDEN, 1), jobs.window_weights())
    net.fit(
        job.x,
        job.y,
        epochs=10,
        batch_size=jobs.WINDOW_BATCH,
        shuffle=False,
        learning_rate=jobs.WINDOW_RATE,
    )
    errors = job.errors(net.predict(job.x), net.predict(job.x_val))
    assert errors == pytest.approx(jobs.window_errors(10), rel=2e-3)


# -- optimisers ------------------------------------------------------------------------------


def optimizer_path(gradients: np.ndarray, start: np.ndarray, **options: Any) -> np.ndarray:
    """Parameters after each step of the engine's optimiser for given gradients, (steps, 37).

    A head of 37 weights sees the gradient as its input, once with each sign; with the targets far
    off on either side, MAE has slopes of 1/2 and -1/2 there, so that the weights' gradient is the
    one wanted, to the bit, and the bias's is zero.
    """
    size = len(start)
    spec = oracles.chained(size, (Dense, "head", {"size": 1}))
    net = oracles.network(spec, {"head.weight": start[None], "head.bias": np.zeros(1)})
    defaults = {"momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "clip_value": 0.0}
    trainer = make_trainer(net._engine, loss="mae", seed=0, **{**defaults, **options})
    path = []
    for row in gradients:
        x, y = np.stack([row, -row])[:, None], np.array([-1e6, 1e6])[:, None, None]
        table = from_arrays(x, y, input_size=size, output_size=1, readout="every")
        status, *_ = trainer.epoch(table.to_engine(), np.arange(2), 2, None, np.inf)
        assert status == "done"
        weights = net.state_dict()
        assert weights["head.bias"].tolist() == [0.0]
        path.append(weights["head.weight"][0])
    return np.stack(path)


@pytest.mark.parametrize(
    "name",
    [
        *("sgd", "sgd_momentum", "sgd_weight_decay", "sgd_momentum_weight_decay"),
        *("adam", "adam_weight_decay", "adamw", "rmsprop", "rmsprop_weight_decay"),
        *("sgd_clip_norm", "sgd_clip_value", "adam_clip_norm", "adam_clip_value", "sgd_clip_both"),
    ],
)
def test_optimizers_follow_pytorchs_paths(isa: str, name: str) -> None:
    golden = stored("optimizers")
    options = {
        key.removeprefix(f"{name}."): value.item()
        for key, value in golden.items()
        if key.startswith(f"{name}.") and not key.endswith(".path")
    }
    path = optimizer_path(golden["gradients"], golden["start"], **options)
    oracles.assert_forward_close(path, golden[f"{name}.path"], 2e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_weight_decay_leaves_biases_alone(isa: str, optimizer: str) -> None:
    """Targets that are the outputs leave the decay as the only force."""
    net = hg.Network(input_size=2, hidden_size=5, output_size=2, readout="every", seed=1)
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    before, y = net.state_dict(), net.predict(x)
    net.fit(x, y, epochs=1, batch_size=3, optimizer=optimizer, weight_decay=0.5, learning_rate=0.01)
    for name, value in net.state_dict().items():
        if "bias" in name:
            assert np.array_equal(value, before[name]), name
        else:
            assert np.all((before[name] - value) * before[name] > 0), name  # towards zero


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_losses_are_pytorchs(isa: str, loss: str) -> None:
    """Through an identity head: predictions are the inputs."""
    golden = stored("optimizers")
    x, y = golden["loss.predicted"], golden["loss.target"]
    spec = oracles.chained(2, (Dense, "head", {"size": 2}))
    net = oracles.network(spec, {"head.weight": np.eye(2), "head.bias": np.zeros(2)})
    expected = float(golden[f"loss.{loss}"])
    assert net.evaluate(x, y, loss=loss) == pytest.approx(expected, rel=1e-6)
    value, gradients = oracles.engine_gradients(net, x, y, loss)
    assert value == pytest.approx(expected, rel=1e-6)
    slopes = golden[f"loss.{loss}.grad"].reshape(-1, 2)
    for name, wanted in (
        ("head.weight", slopes.T @ x.reshape(-1, 2)),
        ("head.bias", slopes.sum(axis=0)),
    ):
        oracles.assert_gradient_close(gradients[name], wanted, name, tolerances.GRADIENT)


def test_clip_norm_is_over_all_parameters(isa: str) -> None:
    """One SGD step of rate 1 moves the parameters by clip_norm exactly."""
    net = hg.Network(input_size=2, hidden_size=17, output_size=2, readout="every", seed=1)
    before = net._engine.get_vector().astype(np.float64)
    x, y = np.ones((3, 4, 2)), np.full((3, 4, 2), 50.0)
    net.fit(x, y, epochs=1, batch_size=3, optimizer="sgd", learning_rate=1.0, clip_norm=0.25)
    moved = net._engine.get_vector() - before
    assert np.linalg.norm(moved) == pytest.approx(0.25, rel=1e-4)


# -- batches, lengths and tables -------------------------------------------------------------


def test_history_is_the_mean_over_targets_before_each_update(isa: str) -> None:
    """With a vanishing rate the epoch's loss is evaluate's, ragged last batch included."""
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (11, 6, 2)), oracles.normal(rng, (11, 6, 3))
    lengths = oracles.random_lengths(rng, 11, 6)
    net = hg.Network(input_size=2, hidden_size=5, output_size=3, readout="every", seed=0)
    for loss in ("mse", "mae", "huber"):
        history = net.fit(
            x, y, lengths=lengths, epochs=2, batch_size=4, learning_rate=1e-30, loss=loss
        )
        out = net.predict(x, lengths=lengths)
        valid = np.arange(6) < lengths[:, None]
        error = np.abs(out - y)[valid]
        values = {
            "mse": error**2,
            "mae": error,
            "huber": np.where(error <= 1, error**2 / 2, error - 0.5),
        }
        expected = pytest.approx(values[loss].mean(), rel=1e-6)
        assert history.loss[0] == expected
        assert history.loss[1] == expected
        assert net.evaluate(x, y, lengths=lengths, loss=loss, batch_size=3) == expected


def test_a_ragged_list_is_a_padded_array_to_the_bit(isa: str) -> None:
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (9, 6, 2)), oracles.normal(rng, (9, 6, 1))
    lengths = oracles.random_lengths(rng, 9, 6)
    nets = [hg.Network(input_size=2, hidden_size=7, readout="every", seed=0) for _ in range(2)]
    options = {"epochs": 3, "batch_size": 4}
    nets[0].fit(x, y, lengths=lengths, **options)
    cut = [[row[:length] for row, length in zip(a, lengths, strict=True)] for a in (x, y)]
    nets[1].fit(*cut, **options)
    assert nets[0]._engine.get_vector().tobytes() == nets[1]._engine.get_vector().tobytes()


def window_table(series: np.ndarray, lookback: int, horizon: int) -> SampleTable:
    """All windows of a series, not materialised: targets are the series itself."""
    starts = np.arange(len(series) - lookback - horizon + 1)
    return SampleTable(
        x=series[:, None].astype(np.float32),
        starts=starts,
        lengths=np.full(len(starts), lookback),
        y=series.astype(np.float32),
        y_starts=starts + lookback,
        y_stride=1,
        output_size=horizon,
        y_steps="last",
    )


def test_a_table_of_windows_is_the_materialised_windows_to_the_bit(isa: str) -> None:
    series = np.sin(np.arange(60) / 3).astype(np.float32)
    table = window_table(series, 10, 3)
    x, y = hg.windows(series, 10, 3)
    assert len(table) == len(x) == 48
    nets = [hg.Network(input_size=1, hidden_size=9, output_size=3, seed=0) for _ in range(2)]
    first = nets[0].fit(table, epochs=3, batch_size=7, validation_data=table)
    second = nets[1].fit(x, y, epochs=3, batch_size=7, validation_data=(x, y))
    assert np.array_equal(first.loss, second.loss)
    assert np.array_equal(first.val_loss, second.val_loss)
    assert nets[0]._engine.get_vector().tobytes() == nets[1]._engine.get_vector().tobytes()
    assert nets[0].predict(table).tobytes() == nets[1].predict(x).tobytes()
    assert nets[0].evaluate(table) == nets[1].evaluate(x, y)


def test_shift_and_scale_are_applied_on_the_way_in_and_undone_on_the_way_out(isa: str) -> None:
    rng = np.random.default_rng(0)
    series = (50 + 20 * np.sin(np.arange(60) / 3)).astype(np.float32)
    plain = window_table(series, 10, 3)
    n = len(plain)
    shift = rng.normal(50, 5, n).astype(np.float32)
    scale = rng.uniform(5, 20, n).astype(np.float32)
    scaled = SampleTable(
        **{**vars(plain), "x_shift": shift, "x_scale": scale, "y_shift": shift, "y_scale": scale}
    )
    x, y = hg.windows(series, 10, 3)
    x, y = (x - shift[:, None, None]) / scale[:, None, None], (y - shift[:, None]) / scale[:, None]
    nets = [hg.Network(input_size=1, hidden_size=9, output_size=3, seed=0) for _ in range(2)]
    first = nets[0].fit(scaled, epochs=2, batch_size=7)
    second = nets[1].fit(x, y, epochs=2, batch_size=7)
    assert np.array_equal(first.loss, second.loss)
    assert nets[0]._engine.get_vector().tobytes() == nets[1]._engine.get_vector().tobytes()
    out = nets[1].predict(x) * scale[:, None] + shift[:, None]
    oracles.assert_forward_close(nets[0].predict(scaled), out, 1e-4)
    assert nets[0].evaluate(scaled) == nets[1].evaluate(x, y)


def test_training_learns_what_it_should(isa: str) -> None:
    """The sum of what came so far, which no network without memory could tell."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.3, 0.3, (200, 8, 1)).astype(np.float32)
    y = np.cumsum(x, axis=1)
    for reset_after in (True, False):
        net = hg.Network(
            input_size=1, hidden_size=17, readout="every", reset_after=reset_after, seed=0
        )
        history = net.fit(x, y, epochs=40, batch_size=20, learning_rate=0.01)
        assert history.loss[-1] < 1e-3 < 0.05 < history.loss[0]
        assert history.best_epoch == int(np.argmin(history.loss))
