"""headgate beside a live PyTorch: the same weights and data give the same numbers.

PyTorch computes in float64 from exactly the float32 weights and inputs that headgate has, so the
difference seen is headgate's own rounding. The sine job is the exception: PyTorch trains it in
float32, as its recorded figures were.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "benchmarks")]

import jobs  # noqa: E402
import tolerances  # noqa: E402

import headgate as hg  # noqa: E402

pytestmark = pytest.mark.neighbours

HIDDEN, BATCH = (1, 3, 15, 16, 17, 33, 64), (1, 2, 3, 7, 8, 9)
# After 15 updates from equal weights, as a share of the largest way that a parameter went.
# PyTorch's float32 against its own float64 comes to 4e-5 at most in these cases.
TRAJECTORY = 1e-4


@pytest.fixture(autouse=True)
def one_torch_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Twin(nn.Module):
    """The PyTorch network of a stacked NetworkSpec; its parameter names are headgate's."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int = 1,
        *,
        num_layers: int = 1,
        readout: str = "last",
        dense: tuple[int, ...] = (),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.readout, self.activation = readout, getattr(torch, activation)
        self.gru = nn.GRU(input_size, hidden_size, num_layers, batch_first=True)
        self.hidden = [f"dense{k}" for k in range(len(dense))]
        width = hidden_size
        for name, size in zip(self.hidden, dense, strict=True):
            setattr(self, name, nn.Linear(width, size))
            width = size
        self.head = nn.Linear(width, output_size)

    def forward(self, x: Any, lengths: Any, state: Any = None) -> tuple[Any, Any]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, state = self.gru(packed, state)
        values, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        if self.readout == "last":
            values = state[-1]
        for name in self.hidden:
            values = self.activation(getattr(self, name)(values))
        return self.head(values), state


def pair(seed: int = 0, **options: Any) -> tuple[hg.Network, Twin]:
    """A headgate network and its PyTorch twin with the same weights, in float64."""
    net = hg.Network(**options, seed=seed)
    twin = Twin(**options)
    twin.load_state_dict(
        {name: torch.from_numpy(np.array(value)) for name, value in net.state_dict().items()}
    )
    return net, twin.double()


def random_lengths(rng: np.random.Generator, n: int, t: int) -> np.ndarray:
    """Unsorted lengths in 1..T; one of them is T."""
    lengths = rng.integers(1, t + 1, n)
    lengths[rng.integers(n)] = t
    return lengths


# -- forward -----------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["every", "last"])
@pytest.mark.parametrize("seed", range(24))
def test_predictions_and_states_are_those_of_nn_gru(seed, readout):
    rng = np.random.default_rng(seed)
    n, t, i, h = rng.choice(BATCH), rng.integers(1, 13), rng.integers(1, 20), rng.choice(HIDDEN)
    layers = int(rng.integers(1, 3))
    ragged, given_state = bool(rng.integers(2)), bool(rng.integers(2))
    x = rng.standard_normal((n, t, i)).astype(np.float32)
    lengths = random_lengths(rng, n, t) if ragged else np.full(n, t)
    state = None
    if given_state:
        state = np.tanh(rng.standard_normal((layers, n, h))).astype(np.float32)
    net, twin = pair(
        seed,
        input_size=int(i),
        hidden_size=int(h),
        output_size=3,
        num_layers=layers,
        readout=readout,
    )
    options: dict[str, Any] = {"lengths": lengths} if ragged else {}
    predicted, state_after = net.predict(x, state=state, return_state=True, **options)
    with torch.no_grad():
        expected, expected_state = twin(
            torch.from_numpy(x).double(),
            torch.from_numpy(lengths),
            None if state is None else torch.from_numpy(state).double(),
        )
    valid = np.arange(t)[None, :] < lengths[:, None]
    atol = tolerances.forward_tolerance(int(h))
    at = valid if readout == "every" else np.ones(n, bool)
    assert predicted.dtype == np.float32
    assert predicted.shape == expected.shape
    np.testing.assert_allclose(predicted[at], expected.numpy()[at], rtol=0, atol=atol)
    np.testing.assert_allclose(state_after, expected_state.numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_dense_layers_are_those_of_nn_linear(activation):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((7, 6, 3)).astype(np.float32)
    net, twin = pair(
        input_size=3, hidden_size=17, output_size=2, dense=(9, 5), activation=activation
    )
    with torch.no_grad():
        expected, _ = twin(torch.from_numpy(x).double(), torch.full((7,), 6))
    atol = tolerances.forward_tolerance(17)
    np.testing.assert_allclose(net.predict(x), expected.numpy(), rtol=0, atol=atol)


# -- training ----------------------------------------------------------------------------------

TORCH_LOSSES = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}


def torch_optimizer(twin: Twin, options: dict[str, Any]) -> Any:
    name = options.get("optimizer", "adam")
    build = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }[name]
    more = {key: options[key] for key in ("momentum",) if key in options}
    # headgate's weight decay pulls at weights and leaves biases alone.
    groups: dict[float, list[Any]] = {options.get("weight_decay", 0.0): [], 0.0: []}
    for name, parameter in twin.named_parameters():
        groups[0.0 if "bias" in name else max(groups)].append(parameter)
    parameters = [{"params": part, "weight_decay": decay} for decay, part in groups.items()]
    return build([g for g in parameters if g["params"]], lr=options["learning_rate"], **more)


def torch_fit(twin: Twin, x: np.ndarray, y: np.ndarray, lengths: Any, **options: Any) -> list:
    """What Network.fit(shuffle=False) does, in PyTorch; returns each epoch's mean over targets."""
    optimizer, size = torch_optimizer(twin, options), options["batch_size"]
    loss_of = TORCH_LOSSES[options.get("loss", "mse")]
    tx, ty = torch.from_numpy(x).double(), torch.from_numpy(y).double()
    steps = torch.full((len(x),), x.shape[1]) if lengths is None else torch.from_numpy(lengths)
    curve = []
    for _ in range(options["epochs"]):
        losses, targets = [], []
        for k in range(0, len(x), size):
            part = slice(k, k + size)
            predicted, target = twin(tx[part], steps[part])[0], ty[part]
            if twin.readout == "every":  # the mean over the update's valid targets
                valid = torch.arange(x.shape[1])[None, :] < steps[part][:, None]
                predicted, target = predicted[valid], target[valid]
            loss = loss_of(predicted, target)
            optimizer.zero_grad()
            loss.backward()
            if "clip_value" in options:
                nn.utils.clip_grad_value_(twin.parameters(), options["clip_value"])
            if "clip_norm" in options:
                nn.utils.clip_grad_norm_(twin.parameters(), options["clip_norm"])
            optimizer.step()
            losses.append(loss.item())
            targets.append(target.numel())
        curve.append(np.average(losses, weights=targets))
    return curve


CASES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1},
    "sgd, momentum": {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "sgd, weight decay": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.1},
    "adam": {"optimizer": "adam", "learning_rate": 0.01},
    "adam, weight decay": {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "learning_rate": 0.01},
    "rmsprop, weight decay": {"optimizer": "rmsprop", "learning_rate": 0.01, "weight_decay": 0.1},
    "clip norm": {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 0.3},
    "clip value": {"optimizer": "sgd", "learning_rate": 0.1, "clip_value": 0.02},
    "clip both": {"optimizer": "adam", "learning_rate": 0.01, "clip_norm": 0.1, "clip_value": 0.02},
    "mae": {"optimizer": "sgd", "learning_rate": 0.1, "loss": "mae"},
    "huber": {"optimizer": "sgd", "learning_rate": 0.1, "loss": "huber"},
}


def assert_same_training(
    x: np.ndarray, y: np.ndarray, lengths: Any, network: dict[str, Any], fit: dict[str, Any]
) -> None:
    """Fit both from the same weights; compare the loss curve and every parameter."""
    net, twin = pair(seed=7, **network)
    first = {name: np.array(value) for name, value in net.state_dict().items()}
    fit = {"epochs": 5, "batch_size": 2, **fit}
    ragged = {} if lengths is None else {"lengths": lengths}
    history = net.fit(x, y, shuffle=False, **ragged, **fit)
    curve = torch_fit(twin, x, y, lengths, **fit)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-5)
    after = net.state_dict()
    for name, expected in twin.state_dict().items():
        way = np.abs(expected.numpy() - first[name]).max()
        assert way > 0, name
        atol = TRAJECTORY * way
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_each_optimizer_goes_the_way_of_torch(case):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((6, 4, 3)).astype(np.float32)
    y = (2 * rng.standard_normal((6, 4, 2))).astype(np.float32)
    network = {"input_size": 3, "hidden_size": 5, "output_size": 2, "readout": "every"}
    assert_same_training(x, y, None, network, CASES[case])


@pytest.mark.parametrize("readout", ["every", "last"])
@pytest.mark.parametrize("seed", range(6))
def test_ragged_batches_train_like_torch(seed, readout):
    rng = np.random.default_rng(100 + seed)
    t, i, h = int(rng.integers(2, 9)), int(rng.integers(1, 8)), int(rng.choice(HIDDEN[1:]))
    x = rng.standard_normal((6, t, i)).astype(np.float32)
    shape = (6, t, 2) if readout == "every" else (6, 2)
    y = rng.standard_normal(shape).astype(np.float32)
    network = {"input_size": i, "hidden_size": h, "output_size": 2, "readout": readout}
    network["num_layers"] = 1 + seed % 2
    fit = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 3}
    assert_same_training(x, y, random_lengths(rng, 6, t), network, fit)


def test_networks_with_dense_layers_train_like_torch():
    rng = np.random.default_rng(12)
    x = rng.standard_normal((6, 5, 3)).astype(np.float32)
    y = rng.standard_normal((6, 2)).astype(np.float32)
    network = {"input_size": 3, "hidden_size": 15, "output_size": 2, "dense": (7,)}
    network["activation"] = "tanh"
    assert_same_training(x, y, None, network, {"optimizer": "adam", "learning_rate": 0.01})


def sine_model() -> tuple[Any, Any]:
    torch.manual_seed(0)
    return nn.GRU(1, jobs.SINE_HIDDEN, batch_first=True), nn.Linear(jobs.SINE_HIDDEN, 1)


def test_the_recorded_first_weights_are_those_that_torch_draws():
    gru, head = sine_model()
    live = {f"gru.{name}": value for name, value in gru.named_parameters()}
    live |= {f"head.{name}": value for name, value in head.named_parameters()}
    recorded = jobs.sine_weights()
    assert set(recorded) == set(live)
    for name, value in live.items():
        np.testing.assert_array_equal(recorded[name], value.detach().numpy(), err_msg=name)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("seed", [0, 1, 123456789, (1 << 32) - 1])
def test_first_weights_are_those_that_torch_draws(cell, seed):
    """Two layers, both directions, widths whose bounds are no float32 numbers."""
    torch.manual_seed(seed)
    build = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[cell]
    parts = {cell: build(3, 7, 2, bidirectional=True), "dense0": nn.Linear(14, 5)}
    parts["head"] = nn.Linear(5, 2)
    options = {"input_size": 3, "hidden_size": 7, "output_size": 2, "num_layers": 2}
    net = hg.Network(cell=cell, bidirectional=True, dense=(5,), **options)
    net.reset_parameters(seed, like="torch")
    for name, values in net.state_dict().items():
        part, _, key = name.partition(".")
        live = dict(parts[part].named_parameters())[key]
        np.testing.assert_array_equal(values, live.detach().numpy(), err_msg=name)


@pytest.mark.parametrize("epochs", [1, 8])
def test_the_sine_job_trains_like_a_live_torch(epochs):
    job = jobs.sine_one_by_one()
    net = hg.Network(input_size=1, hidden_size=jobs.SINE_HIDDEN, output_size=1, readout="every")
    net.load_state_dict(jobs.sine_weights())
    history = net.fit(
        job.x,
        job.y,
        epochs=epochs,
        batch_size=1,
        shuffle=False,
        stateful=True,
        optimizer="adam",
        learning_rate=jobs.SINE_RATE,
        loss="mse",
    )
    gru, head = sine_model()
    optimizer = torch.optim.Adam([*gru.parameters(), *head.parameters()], lr=jobs.SINE_RATE)
    x, y = torch.from_numpy(job.x), torch.from_numpy(job.y)
    curve, state = [], None
    for _ in range(epochs):
        losses = []
        for k in range(len(x)):
            hidden, state = gru(x[k : k + 1], state)
            loss = nn.functional.mse_loss(head(hidden), y[k : k + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state = state.detach()
            losses.append(loss.item())
        curve.append(np.mean(losses))
    np.testing.assert_allclose(history.loss, curve, rtol=0, atol=tolerances.SINE_TRAIN_LOSS_ABS)
    np.testing.assert_allclose(net.state, state.numpy(), rtol=0, atol=1e-4)
