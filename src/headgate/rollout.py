"""Roll-out: a network that goes on alone, fed with its own predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import check_size
from .data.samples import as_values
from .errors import InputError
from .kernels import Engine
from .spec import NetworkSpec
from .states import flatten, refuse_backward

Float32 = npt.NDArray[np.float32]


def roll_out(
    spec: NetworkSpec, engine: Engine, x_first: Any, steps: int, state: Any, kept: Float32 | None
) -> Float32:
    """What :meth:`headgate.Network.rollout` returns; ``kept`` is the flat state of the network."""
    stacks = spec.recurrent()
    steps = check_size("steps", steps, maximum=1 << 31)
    refuse_backward(stacks, "a roll-out goes")
    if spec.readout not in ("every", "last") or spec.token_inputs:
        raise InputError(
            "a roll-out feeds each step's prediction back as values, which a network with "
            f"readout={spec.readout!r} and inputs "
            f"{[item.name for item in spec.inputs]} does not allow; use readout='last' or "
            "'every', and no tokens"
        )
    if spec.task == "tagging":
        raise InputError("a roll-out goes step by step, but a CRF weighs whole sequences")
    if spec.output_size != spec.input_size and steps > 1:
        raise InputError(
            f"a roll-out feeds predictions back, but this network has {spec.output_size} "
            f"outputs and {spec.input_size} inputs; they must be as many"
        )
    x = as_values("x_first", x_first)
    if x.ndim < 2:
        x = x.reshape(1, -1) if x.size == spec.input_size else x.reshape(-1, 1)
    x = x[0] if x.ndim == 3 and len(x) == 1 else x
    if x.ndim != 2 or x.shape[1] != spec.input_size or len(x) == 0:
        raise InputError(
            f"x_first must be (T, {spec.input_size}) or one step of "
            f"{spec.input_size} features, got shape {np.shape(x_first)}"
        )
    flat = None
    if stacks:
        size = int(engine.raw.state_size)
        if state is not None:
            flat = flatten(state, stacks, 1)
        elif kept is None:
            flat = np.zeros(size, np.float32)
        elif kept.size == size:
            flat = kept.copy()
        else:
            one = "net.state[:, :1]"
            if len(stacks) > 1 or len(stacks[0].states) > 1:
                one = "net.state with [:, :1] of every array"
            raise InputError(
                f"net.state holds {kept.size // size} rows, a roll-out follows one; pass "
                f"state={one}"
            )
    elif state is not None:
        flat = flatten(state, stacks)
    out = np.empty((steps, spec.output_size), np.float32)
    engine.raw.rollout(np.ascontiguousarray(x), flat, out)
    return out
