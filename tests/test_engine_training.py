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
from headgate import reference
from headgate.data.samples import SampleTable, from_arrays
from headgate.kernels import make_trainer
from headgate.spec import GRU, Dense, Last, NetworkSpec
from headgate.training.loop import run_epochs
from headgate.training.losses import Loss
from headgate.training.options import FitOptions
from headgate.training.sources import Table

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
        net._engine,
        Table(table, options),
        options,
        network=net,
        seed=0,
        state=state,
        callbacks=[reset],
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


def optimizer_path(
    gradients: np.ndarray, start: np.ndarray, learning_rate: Any, **options: Any
) -> np.ndarray:
    """Parameters after each step of the engine's optimiser for given gradients, (steps, 37).

    ``learning_rate`` is one for all steps, or one for each.

    A head of 37 weights sees the gradient as its input, once with each sign; with the targets far
    off on either side, MAE has slopes of 1/2 and -1/2 there, so that the weights' gradient is the
    one wanted, to the bit, and the bias's is zero.
    """
    size = len(start)
    spec = oracles.chained(size, (Dense, "head", {"size": 1}))
    net = oracles.network(spec, {"head.weight": start[None], "head.bias": np.zeros(1)})
    defaults = {"momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "clip_value": 0.0}
    mae = Loss("mae").engine_row()
    trainer = make_trainer(net._engine, loss=mae, seed=0, **{**defaults, **options})
    path, rates = [], np.broadcast_to(np.float64(learning_rate), len(gradients))
    for row, rate in zip(gradients, rates, strict=True):
        x, y = np.stack([row, -row])[:, None], np.array([-1e6, 1e6])[:, None, None]
        table = from_arrays(x, y, input_size=size, output_size=1, readout="every")
        bounds, once = np.array([0, 2]), np.array([rate])
        status, *_ = trainer.epoch(
            table.to_engine(), np.arange(2), bounds, None, None, once, np.inf
        )
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


# -- the schedule of the learning rate ---------------------------------------------------------


def cosine(rate: float, updates: int, length: int) -> np.ndarray:
    return rate * (1 + np.cos(np.pi * np.arange(updates) / length)) / 2


@pytest.mark.parametrize("schedule_epochs", [None, 3, 5])
def test_a_cosine_is_exact_at_every_update(isa: str, schedule_epochs: int | None) -> None:
    """SGD with momentum on a line, in NumPy; three updates an epoch, the last one short."""
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (11, 1, 3)), oracles.normal(rng, (11, 1, 1))
    weight, bias = oracles.uniform(rng, (1, 3), 3), np.zeros(1)
    net = oracles.network(
        oracles.chained(3, (Dense, "head", {"size": 1})),
        {"head.weight": weight, "head.bias": bias},
    )
    net.fit(
        *(x, y),
        epochs=3,
        batch_size=4,
        shuffle=False,
        optimizer="sgd",
        learning_rate=0.3,
        momentum=0.5,
        schedule="cosine",
        schedule_epochs=schedule_epochs,
    )
    speed = [np.zeros_like(weight), np.zeros_like(bias)]
    for u, rate in enumerate(cosine(0.3, 9, 3 * (schedule_epochs or 3))):
        rows = slice(u % 3 * 4, u % 3 * 4 + 4)
        error = x[rows, 0] @ weight.T + bias - y[rows, 0]
        slopes = 2 * error.T @ x[rows, 0] / len(error), 2 * error.mean(axis=0)
        speed = [0.5 * old + slope for old, slope in zip(speed, slopes, strict=True)]
        weight, bias = weight - rate * speed[0], bias - rate * speed[1]
    oracles.assert_forward_close(net.state_dict()["head.weight"], weight, 1e-6)
    oracles.assert_forward_close(net.state_dict()["head.bias"], bias, 1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_every_optimizer_follows_the_rates(isa: str, optimizer: str) -> None:
    """Equal gradients: the steps shorten as the rates do, and end where these are zero."""
    golden = stored("optimizers")
    options = {"optimizer": optimizer, "weight_decay": 0.1}
    gradients, start = golden["gradients"][:1].repeat(6, axis=0), golden["start"]
    rates = [0.02, 0.015, 0.005, 0, 0, 0]
    path = optimizer_path(gradients, start, rates, **options)
    first = optimizer_path(gradients[:1], start, 0.02, **options)
    assert path[0].tobytes() == first[0].tobytes()
    for later in path[3:]:
        assert later.tobytes() == path[2].tobytes(), "a rate of zero moves nothing"
    steps = np.abs(np.diff(np.stack([start, *path]), axis=0)).max(axis=1)
    assert steps[0] > steps[1] > steps[2] > 0


def test_decoupled_decay_follows_the_rate(isa: str) -> None:
    """Targets that are the outputs leave the decay of AdamW alone: factors 1 - rate * decay."""
    spec = oracles.chained(3, (Dense, "head", {"size": 2}))
    rng = np.random.default_rng(0)
    weight = oracles.uniform(rng, (2, 3), 3)
    net = oracles.network(spec, {"head.weight": weight, "head.bias": np.zeros(2)})
    x = np.zeros((8, 1, 3))  # no gradient for the weights
    options = {"epochs": 2, "batch_size": 2, "optimizer": "adamw", "learning_rate": 0.1}
    net.fit(x, np.zeros((8, 1, 2)), weight_decay=2.0, schedule="cosine", **options)
    expected = weight * np.prod(1 - 2.0 * cosine(0.1, 8, 8))
    oracles.assert_forward_close(net.state_dict()["head.weight"], expected, 1e-6)


# -- quantiles ---------------------------------------------------------------------------------

QUANTILES = (0.1, 0.5, 0.975)


def pinball(out: np.ndarray, y: np.ndarray, quantiles: tuple[float, ...]) -> np.ndarray:
    """(..., H, Q) losses of out (..., H * Q) against y (..., H)."""
    error = y[..., None] - out.reshape(*y.shape, len(quantiles))
    q = np.array(quantiles)
    return np.maximum(q * error, (q - 1) * error)


@pytest.mark.parametrize("readout", ["every", "last"])
def test_the_quantile_loss_and_its_gradient(isa: str, readout: str) -> None:
    """Against central differences in float64; no output lies at a corner."""
    rng = np.random.default_rng(3)
    n, steps, features, targets = 7, 5, 2, 2
    outputs = targets * len(QUANTILES)
    layers: list[Any] = [(GRU, "gru", {"hidden_size": 5})]
    layers += [(Last, "last", {})] if readout == "last" else []
    spec = oracles.chained(features, *layers, (Dense, "head", {"size": outputs}))
    tensors = oracles.network_tensors(spec, rng)
    x = oracles.normal(rng, (n, steps, features))
    y = oracles.normal(rng, (n, steps, targets) if readout == "every" else (n, targets))
    lengths = oracles.random_lengths(rng, n, steps)
    valid = np.arange(steps) < lengths[:, None] if readout == "every" else np.ones(n, bool)

    def loss() -> float:
        out, _ = reference.network_forward(spec, tensors, x, lengths)
        return float(pinball(out, y, QUANTILES)[valid].mean())

    net = oracles.network(spec, tensors)
    options: dict[str, Any] = {"loss": "quantile", "quantiles": QUANTILES}
    assert net.evaluate(x, y, lengths=lengths, **options) == pytest.approx(loss(), rel=1e-5)
    history = net.fit(
        *(x, y),
        lengths=lengths,
        epochs=1,
        batch_size=n,
        optimizer="sgd",
        learning_rate=1e-30,
        validation_data=(x, y),
        **options,
    )
    assert history.loss[0] == pytest.approx(loss(), rel=1e-5)
    for name, gradient in net._engine.gradients().items():
        wanted = oracles.central_differences(loss, tensors[name])
        oracles.assert_gradient_close(gradient, wanted, name, tolerances.GRADIENT)
    lengths = np.full(n, steps)
    valid = np.ones(y.shape[:-1], bool)
    assert history.val_loss[0] == pytest.approx(loss(), rel=1e-5)


def test_the_quantile_loss_is_flat_where_it_is_zero(isa: str) -> None:
    net = hg.Network(input_size=2, hidden_size=5, output_size=1, readout="every", seed=1)
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    before, y = net.state_dict(), net.predict(x)
    net.fit(x, y, epochs=1, batch_size=3, loss="quantile", quantiles=[0.9])
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())


def test_half_the_absolute_error_is_the_median() -> None:
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (9, 6, 2)), oracles.normal(rng, (9, 3))
    net = hg.Network(input_size=2, hidden_size=5, output_size=3, seed=0)
    median = net.evaluate(x, y, loss="quantile", quantiles=(0.5,))
    assert median == pytest.approx(net.evaluate(x, y, loss="mae") / 2, rel=1e-6)


def test_training_finds_the_quantiles(isa: str) -> None:
    """A bias for each quantile of N(0, 1) and of N(3, 2), scaled by the table on both ways."""
    rng = np.random.default_rng(0)
    n = 4000
    y = np.stack([rng.standard_normal(n), rng.normal(3, 2, n)], axis=1).astype(np.float32)
    spec = oracles.chained(1, (Last, "last", {}), (Dense, "head", {"size": 6}))
    net = hg.Network(spec, seed=0)
    shift, scale = np.full(n, 1.5, np.float32), np.full(n, 4, np.float32)
    table = SampleTable(
        x=np.zeros((1, 1), np.float32),
        starts=np.zeros(n, np.int64),
        lengths=np.ones(n, np.int64),
        y=y.ravel(),
        y_starts=np.arange(n) * 2,
        output_size=2,
        y_shift=shift,
        y_scale=scale,
    )
    options = {"epochs": 60, "batch_size": 100, "learning_rate": 0.02, "schedule": "cosine"}
    net.fit(table, loss="quantile", quantiles=QUANTILES, **options)
    found = net.predict(table)[0].reshape(2, 3)
    expected = np.quantile(y, QUANTILES, axis=0).T
    # By the share of values below, which is what a quantile is.
    share = (y[:, :, None] < found).mean(axis=0)
    assert np.abs(share - QUANTILES).max() < 0.01, (found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss": "quantile"},
            "loss='quantile' needs quantiles, such as quantiles=(0.1, 0.5, 0.9)",
        ),
        ({"quantiles": (0.5,)}, "quantiles go with loss='quantile', not with loss='mse'"),
        (
            {"loss": "quantile", "quantiles": (0.1, 1)},
            "quantiles must be above 0 and below 1, got 1",
        ),
        (
            {"loss": "quantile", "quantiles": (float("nan"),)},
            "quantiles must be above 0 and below 1, got nan",
        ),
        (
            {"loss": "quantile", "quantiles": (0.1, "a")},
            "quantiles must be above 0 and below 1, got 'a'",
        ),
        (
            {"loss": "quantile", "quantiles": (0.1, 0.5, 0.5)},
            "quantiles must increase, got 0.5 before 0.5",
        ),
        ({"loss": "quantile", "quantiles": 0.5}, "quantiles must be a list or tuple, got 0.5"),
        (
            {"loss": "quantile", "quantiles": (0.1, 0.5, 0.6, 0.9)},
            "4 quantiles of each target need a multiple of 4 outputs, this network puts out 6",
        ),
    ],
)
def test_wrong_quantiles_are_refused(options: dict[str, Any], message: str) -> None:
    net = hg.Network(input_size=1, hidden_size=3, output_size=6, seed=0)
    x, y = np.zeros((4, 5, 1)), np.zeros((4, 2))
    for call in (net.fit, net.evaluate):
        with pytest.raises(hg.InputError) as caught:
            call(x, y, **options)
        assert str(caught.value) == message
    assert net.history is None


def test_the_targets_of_quantiles_are_counted() -> None:
    net = hg.Network(input_size=1, hidden_size=3, output_size=6, seed=0)
    x = np.zeros((4, 5, 1))
    options: dict[str, Any] = {"loss": "quantile", "quantiles": QUANTILES}
    with pytest.raises(hg.InputError, match=r"Y must have shape \(4, 2\)"):
        net.fit(x, np.zeros((4, 6)), **options)
    table = from_arrays(x, np.zeros((4, 6)), input_size=1, output_size=6, readout="last")
    with pytest.raises(hg.InputError) as caught:
        net.fit(table, **options)
    assert str(caught.value) == (
        "the table has 6 targets at 'last', this network puts out 6 (3 quantiles of 2) at 'last'"
    )


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
