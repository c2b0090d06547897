"""The reference and the engine against PyTorch's nn.GRU, nn.LSTM and nn.RNN (tests/golden).

Outputs, last states and gradients, reckoned by PyTorch in float64: several layers, both directions,
ragged batches, initial states. The scalar there is sum(outputs * g). A mean squared error has this
gradient at the outputs for targets of outputs - g * count / 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import oracles
import pytest
import tolerances

from headgate import reference
from headgate.spec import GRU, LSTM, RNN, Dense, NetworkSpec

GOLDEN = Path(__file__).parent / "golden"
STACKS: dict[str, tuple[type, dict[str, Any]]] = {
    "gru": (GRU, {}),
    "lstm": (LSTM, {}),
    "rnn_tanh": (RNN, {}),
    "rnn_relu": (RNN, {"nonlinearity": "relu"}),
}


class TorchCase(NamedTuple):
    """One case: its stack, what goes in, what PyTorch says comes out, and its gradients by name."""

    stack: tuple[type, str, dict[str, Any]]
    tensors: dict[str, np.ndarray]
    x: np.ndarray
    lengths: np.ndarray
    state: Any
    outputs: np.ndarray
    after: tuple[np.ndarray, ...]
    targets: np.ndarray
    gradients: dict[str, np.ndarray]


def torch_case(stored: dict[str, np.ndarray]) -> TorchCase:
    cell = str(stored.get("cell", "gru"))
    layers = sum(name.startswith("weight_ih") and "rev" not in name for name in stored)
    directions = 2 if "weight_ih_l0_reverse" in stored else 1
    kind, options = STACKS[cell]
    options = options | {
        "hidden_size": stored["h0"].shape[2],
        "num_layers": layers,
        "bidirectional": directions == 2,
    }
    state = (stored["h0"], stored["c0"]) if cell == "lstm" else stored["h0"]
    count = stored["lengths"].sum() * stored["outputs"].shape[2]
    return TorchCase(
        (kind, "stack", options),
        {f"stack.{n}": v for n, v in stored.items() if n.startswith(("weight", "bias"))},
        stored["x"],
        stored["lengths"],
        state,
        stored["outputs"],
        tuple(stored[name] for name in ("h_n", "c_n") if name in stored),
        stored["outputs"] - stored["g"] * (count / 2),
        {n.removeprefix("grad."): v for n, v in stored.items() if n.startswith("grad.")},
    )


def torch_cases() -> list[Any]:
    cases = []
    for file in ("gru_cases", "recurrent_cases"):
        with np.load(GOLDEN / f"{file}.npz") as arrays:
            for k in range(int(arrays["cases"])):
                stored = {n[3:]: arrays[n] for n in arrays.files if n.startswith(f"{k:02d}.")}
                cases.append(pytest.param(torch_case(stored), id=f"{file}-{k:02d}"))
    return cases


CASES = torch_cases()
EACH_CASE = pytest.mark.parametrize("case", CASES)


def trains(case: TorchCase) -> bool:
    """A bidirectional network trains from a state of zeros only."""
    return not (case.stack[2]["bidirectional"] and np.any(case.state))


@EACH_CASE
def test_reference(case: TorchCase) -> None:
    spec = oracles.chained(case.x.shape[2], case.stack)
    given = (case.lengths, case.state)
    outputs, after = reference.network_forward(spec, case.tensors, case.x, *given)
    oracles.assert_forward_close(outputs, case.outputs, tolerances.FLOAT64_EQUAL)
    ends = after["stack"] if len(case.after) > 1 else (after["stack"],)
    for got, expected in zip(ends, case.after, strict=True):
        oracles.assert_forward_close(got, expected, tolerances.FLOAT64_EQUAL)
    _, got = reference.network_gradients(spec, case.tensors, case.x, case.targets, "mse", *given)
    starts = got["state.stack"] if len(case.after) > 1 else (got["state.stack"],)
    by_name = {"x": got["x"], **dict(zip(("h0", "c0"), starts))}  # noqa: B905
    by_name |= {name.removeprefix("stack."): got[name] for name in case.tensors}
    assert set(by_name) == set(case.gradients)
    for name, expected in case.gradients.items():
        oracles.assert_gradient_close(
            by_name[name], expected, name, tolerances.CENTRAL_DIFFERENCE, floor=1.0
        )


def with_dense_in_front(case: TorchCase) -> tuple[NetworkSpec, dict[str, np.ndarray]]:
    """An identity in front: its gradients show dLoss/dx, which the engine does not hand out."""
    width = case.x.shape[2]
    spec = oracles.chained(width, (Dense, "same", {"size": width}), case.stack)
    return spec, {**case.tensors, "same.weight": np.eye(width), "same.bias": np.zeros(width)}


@EACH_CASE
def test_engine_forward(isa: str, case: TorchCase) -> None:
    spec, tensors = with_dense_in_front(case)
    out, last = oracles.network(spec, tensors).predict(
        case.x, lengths=case.lengths, state=case.state, return_state=True
    )
    padding = ((0, 0), (0, case.x.shape[1] - out.shape[1]), (0, 0))
    oracles.assert_forward_close(np.pad(out, padding), case.outputs, tolerances.FORWARD_UP_TO_256)
    for got, expected in zip(last if len(case.after) > 1 else (last,), case.after, strict=True):
        oracles.assert_forward_close(got, expected, tolerances.FORWARD_UP_TO_256)


@pytest.mark.parametrize("case", [case for case in CASES if trains(*case.values)])
def test_engine_gradients(isa: str, case: TorchCase) -> None:
    spec, tensors = with_dense_in_front(case)
    state = None if case.stack[2]["bidirectional"] else case.state
    net = oracles.network(spec, tensors)
    _, got = oracles.engine_gradients(net, case.x, case.targets, "mse", case.lengths, state)
    for name in case.tensors:
        expected = case.gradients[name.removeprefix("stack.")]
        oracles.assert_gradient_close(got[name], expected, name, tolerances.GRADIENT)
    _, t, width = case.x.shape
    through = case.gradients["x"].reshape(-1, width)
    valid = np.arange(t)[:, None] < case.lengths[:, None, None]
    x = np.where(valid, case.x, 0).reshape(-1, width)
    floor = float(np.abs(through).max())
    for name, expected in (("bias", through.sum(axis=0)), ("weight", through.T @ x)):
        oracles.assert_gradient_close(
            got[f"same.{name}"], expected, name, tolerances.GRADIENT, floor=floor
        )
