"""Make the golden files of this folder with PyTorch.

    pip install torch==2.13.0 numpy
    python tests/golden/make_golden.py [--only sine gru recurrent optimizers losses]

Everything is seeded and runs on one thread; a second run on the same machine writes the same
bytes. Files are plain ``.npz`` (no pickles); README.md beside this file lists what they hold.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

import jobs  # noqa: E402  (the sine job is defined there, once)

Arrays = dict[str, np.ndarray]


def numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


# -- the sine job of one run at a time ---------------------------------------------------------


def sine_gru() -> nn.ModuleDict:
    torch.manual_seed(0)
    # The order of the two lines is part of the definition: they draw from one generator.
    gru = nn.GRU(1, jobs.SINE_HIDDEN, batch_first=True)
    head = nn.Linear(jobs.SINE_HIDDEN, 1)
    return nn.ModuleDict({"gru": gru, "head": head})


def sine_mlp() -> nn.ModuleDict:
    sine_gru()  # the MLP draws its weights after the GRU and its head, from the same generator
    sizes = {"dense0": (1, 32), "dense1": (32, 16), "head": (16, 1)}
    return nn.ModuleDict({name: nn.Linear(*size) for name, size in sizes.items()})


def run_model(
    model: nn.ModuleDict, x: torch.Tensor, state: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One run through either model: predictions (N, T, 1), and the state after it."""
    if "gru" in model:
        hidden, state = model["gru"](x, state)
        return model["head"](hidden), state
    for name in ("dense0", "dense1"):
        x = torch.relu(model[name](x))
    return model["head"](x), None


def train_sine(model: nn.ModuleDict, *, carry: bool) -> Arrays:
    """150 epochs of 38 updates, then the roll-out of 199 steps.

    With ``carry`` the hidden state starts at zero once and is handed on, detached, from run to
    run and from epoch to epoch; without, it starts at zero in every epoch.
    """
    job = jobs.sine_one_by_one()
    x, y = torch.from_numpy(job.x), torch.from_numpy(job.y)
    optimizer = torch.optim.Adam(model.parameters(), lr=jobs.SINE_RATE)
    losses = np.zeros(jobs.SINE_EPOCHS)
    state: torch.Tensor | None = None
    for epoch in range(jobs.SINE_EPOCHS):
        if not carry:
            state = None
        for k in range(len(x)):
            optimizer.zero_grad()
            predicted, state = run_model(model, x[k : k + 1], state)
            loss = nn.functional.mse_loss(predicted, y[k : k + 1])
            loss.backward()
            optimizer.step()
            state = None if state is None else state.detach()
            losses[epoch] += loss.item() / len(x)
    final_state = state
    path, value = [], torch.tensor([[[job.x_first]]])
    with torch.no_grad():
        for _ in range(len(job.truth)):
            value, state = run_model(model, value, state)
            path.append(value.item())
    result: Arrays = {
        "loss": losses,
        "path": np.asarray(path),
        "rollout_mse": np.asarray(job.rollout_mse(np.asarray(path))),
    }
    if final_state is not None:
        result["state"] = numbers(final_state)
    return result | {f"final.{name}": numbers(p) for name, p in model.named_parameters()}


def make_sine() -> Arrays:
    arrays: Arrays = {}
    for build in (sine_gru, sine_mlp):
        prefix = "" if build is sine_gru else "mlp_init."
        for name, parameter in build().named_parameters():
            arrays[prefix + name] = numbers(parameter)
    for name, build, carry in (
        ("gru_carried", sine_gru, True),
        ("gru_reset", sine_gru, False),
        ("mlp", sine_mlp, False),
    ):
        start = time.perf_counter()
        result = train_sine(build(), carry=carry)
        seconds = time.perf_counter() - start
        print(
            f"{name}: train loss {result['loss'][-1]:.8f}, "
            f"roll-out MSE {result['rollout_mse']:.6f} ({seconds:.1f} s)"
        )
        arrays |= {f"{name}.{key}": value for key, value in result.items()}
    return arrays


# -- nn.GRU, nn.LSTM, nn.RNN, forward and backward ----------------------------------------------

Cell = tuple[type[nn.GRU] | type[nn.LSTM] | type[nn.RNN], dict[str, str]]
CELLS: dict[str, Cell] = {
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "rnn_tanh": (nn.RNN, {}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
}


class Case(NamedTuple):
    """``lengths`` None is T for all; without ``with_state`` the initial state is zeros."""

    n: int
    t: int
    i: int
    h: int
    layers: int
    lengths: tuple[int, ...] | None
    with_state: bool
    cell: str = "gru"
    bidirectional: bool = False


GRU_CASES = [
    Case(1, 1, 1, 1, 1, None, False),
    Case(1, 7, 1, 3, 1, None, True),
    Case(2, 5, 3, 15, 1, None, True),
    Case(3, 4, 2, 16, 1, None, False),
    Case(7, 6, 5, 17, 1, (6, 1, 3, 5, 2, 6, 4), True),
    Case(9, 3, 1, 5, 1, (1, 2, 3, 3, 2, 1, 1, 3, 2), True),
    Case(2, 20, 1, 16, 1, None, True),
    Case(5, 4, 7, 9, 2, None, True),
    Case(8, 5, 3, 7, 2, (5, 4, 1, 2, 5, 3, 3, 1), True),
    Case(1, 9, 4, 11, 2, None, False),
    Case(4, 3, 2, 19, 1, (2, 3, 1, 3), True),
    Case(3, 6, 33, 3, 1, (4, 6, 2), False),
]
RECURRENT_CASES = [
    case._replace(cell=cell)
    for cell in CELLS
    for case in (
        Case(2, 5, 3, 8, 1, None, False),
        Case(7, 4, 2, 5, 2, (4, 1, 3, 4, 2, 1, 3), True),
        Case(3, 5, 3, 1, 1, (2, 5, 1), True, bidirectional=True),
        Case(5, 4, 2, 3, 2, (4, 1, 3, 2, 4), False, bidirectional=True),
        Case(1, 6, 4, 9, 1, None, True, bidirectional=True),
    )
    if cell != "gru" or case.bidirectional  # the others are GRU_CASES
]
PADDING = 777.0  # stands in x behind each sequence's end, where nobody may look


def recurrent_case(case: Case, seed: int) -> Arrays:
    """One case in float64 from float32 inputs: sum(outputs * g) and all its gradients."""
    n, t, i, h, layers, lengths, with_state, cell, bidirectional = case
    torch.manual_seed(seed)
    build, options = CELLS[cell]
    stack = build(i, h, layers, batch_first=True, bidirectional=bidirectional, **options)
    directions = 2 if bidirectional else 1
    x, h0 = torch.randn(n, t, i), torch.randn(layers * directions, n, h)
    g = torch.randn(n, t, directions * h)
    start = {"h0": h0, "c0": torch.randn_like(h0)} if cell == "lstm" else {"h0": h0}
    if not with_state:
        start = {name: torch.zeros_like(part) for name, part in start.items()}
    steps = torch.tensor(lengths if lengths else (t,) * n)
    valid = torch.arange(t)[None, :] < steps[:, None]
    x[~valid], g[~valid] = PADDING, 0.0
    arrays = {"x": numbers(x), "lengths": numbers(steps)}
    arrays |= {name: numbers(part) for name, part in start.items()} | {"g": numbers(g)}
    arrays |= {name: numbers(p) for name, p in stack.named_parameters()}

    stack = stack.double()
    x = x.double().requires_grad_()
    start = {name: part.double().requires_grad_() for name, part in start.items()}
    packed = pack_padded_sequence(x, steps, batch_first=True, enforce_sorted=False)
    packed_outputs, end = stack(packed, tuple(start.values()) if cell == "lstm" else start["h0"])
    outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=t)
    (outputs * g.double()).sum().backward()
    ends = end if cell == "lstm" else (end,)
    arrays |= {"outputs": numbers(outputs)}
    arrays |= dict(zip(("h_n", "c_n"), map(numbers, ends)))  # noqa: B905  (one part or two)
    arrays |= {"grad.x": numbers(x.grad)}
    arrays |= {f"grad.{name}": numbers(part.grad) for name, part in start.items()}
    return arrays | {f"grad.{name}": numbers(p.grad) for name, p in stack.named_parameters()}


def make_cases(cases: list[Case], first_seed: int) -> Arrays:
    arrays: Arrays = {"cases": np.asarray(len(cases))}
    for k, case in enumerate(cases):
        made = recurrent_case(case, first_seed + k)
        arrays |= {f"{k:02d}.{name}": value for name, value in made.items()}
    return arrays


def make_gru() -> Arrays:
    return make_cases(GRU_CASES, 1000)


def make_recurrent() -> Arrays:
    """As ``make_gru``, with the name of each case's cell beside its arrays."""
    names = {f"{k:02d}.cell": np.asarray(case.cell) for k, case in enumerate(RECURRENT_CASES)}
    return names | make_cases(RECURRENT_CASES, 4000)


# -- optimisers, clipping, losses --------------------------------------------------------------

STEPS, SIZE = 20, 37
# name -> torch class, its options, clipping
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, float], dict[str, float]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.05}, {}),
    "sgd_momentum": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}, {}),
    "sgd_weight_decay": (torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.1}, {}),
    "sgd_momentum_weight_decay": (
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
        {},
    ),
    "adam": (torch.optim.Adam, {"lr": 0.01}, {}),
    "adam_weight_decay": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}, {}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}, {}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01}, {}),
    "rmsprop_weight_decay": (torch.optim.RMSprop, {"lr": 0.01, "weight_decay": 0.1}, {}),
    "rmsprop_momentum": (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.9}, {}),
    "sgd_clip_norm": (torch.optim.SGD, {"lr": 0.05}, {"clip_norm": 1.5}),
    "sgd_clip_value": (torch.optim.SGD, {"lr": 0.05}, {"clip_value": 0.4}),
    "adam_clip_norm": (torch.optim.Adam, {"lr": 0.01}, {"clip_norm": 1.5}),
    "adam_clip_value": (torch.optim.Adam, {"lr": 0.01}, {"clip_value": 0.4}),
    "sgd_clip_both": (torch.optim.SGD, {"lr": 0.05}, {"clip_value": 0.4, "clip_norm": 1.5}),
}


def trajectory(name: str, start: torch.Tensor, gradients: torch.Tensor) -> np.ndarray:
    """The parameters after each step (STEPS, SIZE): reckoned in float64, kept as float32.

    Values are clipped before the norm is.
    """
    build, options, clipping = OPTIMIZERS[name]
    parameter = nn.Parameter(start.double())
    optimizer = build([parameter], **options)
    path = np.empty((STEPS, SIZE), np.float32)
    for k in range(STEPS):
        parameter.grad = gradients[k].double()
        if "clip_value" in clipping:
            nn.utils.clip_grad_value_([parameter], clipping["clip_value"])
        if "clip_norm" in clipping:
            nn.utils.clip_grad_norm_([parameter], clipping["clip_norm"])
        optimizer.step()
        path[k] = numbers(parameter)
    return path


def make_losses() -> Arrays:
    """Mean losses and their gradients; one difference is exactly 0, one exactly Huber's delta."""
    torch.manual_seed(3000)
    predicted, target = torch.randn(5, 7, 2), torch.randn(5, 7, 2)
    predicted[0, 0, 0], target[0, 0, 0] = 0.25, 0.25
    predicted[0, 0, 1], target[0, 0, 1] = 1.25, 0.25
    arrays = {"loss.predicted": numbers(predicted), "loss.target": numbers(target)}
    losses: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "mse": nn.functional.mse_loss,
        "mae": nn.functional.l1_loss,
        "huber": nn.functional.huber_loss,
    }
    for name, loss in losses.items():
        values = predicted.double().requires_grad_()
        value = loss(values, target.double())
        value.backward()
        arrays[f"loss.{name}"] = numbers(value)
        arrays[f"loss.{name}.grad"] = numbers(values.grad)
    return arrays


def make_optimizers() -> Arrays:
    torch.manual_seed(2000)
    start, gradients = torch.randn(SIZE), torch.randn(STEPS, SIZE)
    gradients *= torch.logspace(-3, 0.5, STEPS)[:, None]  # so that some steps clip, some do not
    gradients[:, 5] = 0.0  # a parameter without a gradient
    arrays = {"start": numbers(start), "gradients": numbers(gradients)}
    for name, (build, options, clipping) in OPTIMIZERS.items():
        arrays[f"{name}.optimizer"] = np.asarray(build.__name__.lower())
        for key, value in (options | clipping).items():
            arrays[f"{name}.{'learning_rate' if key == 'lr' else key}"] = np.asarray(value)
        arrays[f"{name}.path"] = trajectory(name, start, gradients)
    return arrays | make_losses()


# -- cross-entropies and schedules -------------------------------------------------------------

# name -> class_weights, label_smoothing, ignore_index
CROSS_ENTROPIES: dict[str, tuple[list[float] | None, float, int | None]] = {
    "plain": (None, 0.0, None),
    "weights": ([0.5, 2.0, 1.0, 0.25, 3.0], 0.0, None),
    "smoothing": (None, 0.1, None),
    "ignored": (None, 0.0, 3),
    "ignored_outside": (None, 0.3, -100),
    "all": ([0.5, 2.0, 0.0, 0.25, 3.0], 0.2, 1),
}
# name -> class_weights (pos_weight), label_smoothing
BINARY_CROSS_ENTROPIES: dict[str, tuple[list[float] | None, float]] = {
    "plain": (None, 0.0),
    "weights": ([0.5, 2.0, 4.0], 0.0),
    "all": ([0.5, 2.0, 4.0], 0.2),
}


def with_gradient(
    logits: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor], name: str
) -> Arrays:
    values = logits.double().requires_grad_()
    value = loss(values)
    value.backward()
    return {f"{name}.value": numbers(value), f"{name}.grad": numbers(values.grad)}


def make_cross_entropies() -> Arrays:
    torch.manual_seed(4000)
    logits, labels = 3 * torch.randn(4, 6, 5), torch.randint(0, 5, (4, 6))
    logits[0, 0] *= 30  # saturated
    labels[1, 2] = labels[3, 5] = -100
    arrays = {"ce.logits": numbers(logits), "ce.labels": numbers(labels)}
    for name, (weights, smoothing, ignored) in CROSS_ENTROPIES.items():
        used = labels.clamp(min=0) if ignored != -100 else labels

        def loss(z: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(
                z.reshape(-1, 5),
                used.reshape(-1),  # noqa: B023
                weight=None if weights is None else torch.tensor(weights).double(),  # noqa: B023
                label_smoothing=smoothing,  # noqa: B023
                ignore_index=-100 if ignored is None else ignored,  # noqa: B023
            )

        arrays |= with_gradient(logits, loss, f"ce.{name}")
        arrays |= stored_options(f"ce.{name}", weights, smoothing, ignored)
    logits, targets = 3 * torch.randn(4, 6, 3), torch.randint(0, 2, (4, 6, 3)).float()
    logits[0, 0] *= 30
    targets[2] = torch.rand(6, 3)
    arrays |= {"bce.logits": numbers(logits), "bce.targets": numbers(targets)}
    for name, (weights, smoothing) in BINARY_CROSS_ENTROPIES.items():

        def loss(z: torch.Tensor) -> torch.Tensor:
            return nn.functional.binary_cross_entropy_with_logits(
                z,
                targets.double() * (1 - smoothing) + smoothing / 2,  # noqa: B023
                pos_weight=None if weights is None else torch.tensor(weights).double(),  # noqa: B023
            )

        arrays |= with_gradient(logits, loss, f"bce.{name}")
        arrays |= stored_options(f"bce.{name}", weights, smoothing, None)
    return arrays


def stored_options(
    name: str, weights: list[float] | None, smoothing: float, ignored: int | None
) -> Arrays:
    arrays = {f"{name}.label_smoothing": np.asarray(smoothing)}
    if weights is not None:
        arrays[f"{name}.class_weights"] = np.asarray(weights)
    if ignored is not None:
        arrays[f"{name}.ignore_index"] = np.asarray(ignored)
    return arrays


def rates_of(
    make: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler],
    steps: int,
    losses: np.ndarray | None = None,
) -> np.ndarray:
    """The learning rate that each of the steps is made with, from 0.05."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    scheduler, rates = make(optimizer), np.zeros(steps)
    for k in range(steps):
        rates[k] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step(*(() if losses is None else (losses[k],)))
    return rates


def make_schedules() -> Arrays:
    scheduler = torch.optim.lr_scheduler
    losses = np.array([5, 4, 4, 4, 4, 3.9999, 3.9, 4, 4, 4, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1.0])
    arrays = {
        "plateau.losses": losses,
        "plateau": rates_of(
            lambda o: scheduler.ReduceLROnPlateau(o, factor=0.3, patience=2), len(losses), losses
        ),
        "step": rates_of(lambda o: scheduler.StepLR(o, 3, gamma=0.2), 10),
        "cosine": rates_of(lambda o: scheduler.CosineAnnealingLR(o, 12), 12),
    }
    for steps in (2, 3, 4, 40):
        arrays[f"one_cycle.{steps}"] = rates_of(
            lambda o, n=steps: scheduler.OneCycleLR(o, 0.05, n, cycle_momentum=False), steps
        )
    return arrays


def make_losses_and_schedules() -> Arrays:
    return make_cross_entropies() | make_schedules()


FILES: dict[str, tuple[str, Callable[[], Arrays]]] = {
    "sine": ("sine_s3_weights.npz", make_sine),
    "gru": ("gru_cases.npz", make_gru),
    "recurrent": ("recurrent_cases.npz", make_recurrent),
    "optimizers": ("optimizers.npz", make_optimizers),
    "losses": ("losses_and_schedules.npz", make_losses_and_schedules),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FILES, default=list(FILES))
    torch.set_num_threads(1)
    for name in parser.parse_args().only:
        filename, make = FILES[name]
        np.savez_compressed(HERE / filename, **make(), torch_version=np.asarray(torch.__version__))
        print(f"wrote {filename} ({(HERE / filename).stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
