"""The engine's way back in PyTorch's operations: what can be differentiated again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ... import kernels
from . import paths, reference
from .calls import Call, Plan
from .reference import Masks, Weights


def again(
    call: Call, saved: Sequence[Tensor | None], grads: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The backward pass in PyTorch's operations, which can be differentiated."""
    paths.warn(
        "LSTM" if call.plan.lstm else "GRU",
        "gradients of gradients, or of several losses at once, are asked for",
    )
    plan, layout = call.plan, call.layout

    def composed(x: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        (h0, c0), parameters = rest[:2], rest[2:]
        if layout.packed:
            sizes, rows = layout.sizes.tolist() if layout.sizes is not None else [], x
        else:
            sizes = [layout.sequences] * layout.steps
            rows = (x.transpose(0, 1) if layout.time == 1 else x).reshape(-1, plan.inputs)
        shape = (plan.states, layout.sequences, plan.hidden)
        state = tuple(
            x.new_zeros(shape) if part is None else _ordered(part.reshape(shape), layout.order)
            for part in ((h0, c0) if plan.lstm else (h0,))
        )
        y, last = reference.run(
            plan.cell,
            rows,
            sizes,
            state,
            _weights(plan, parameters),
            bidirectional=plan.bidirectional,
            masks=drawn_masks(call, sizes) if call.drop else None,
        )
        if not layout.packed:
            y = y.reshape(layout.steps, layout.sequences, plan.outputs)
            y = (y.transpose(0, 1) if layout.time == 1 else y).reshape(layout.y_shape)
        back = None if layout.order is None else torch.argsort(layout.order)
        return y, *(_ordered(part, back).reshape(layout.state_shape) for part in last)

    return paths.differentiable_gradients(composed, saved, grads)


def _ordered(state: Tensor, order: Tensor | None) -> Tensor:
    return state if order is None else state.index_select(1, order)


def _weights(plan: Plan, parameters: Sequence[Tensor | None]) -> list[Weights]:
    """The parameters by layer and direction."""
    each = len(parameters) // plan.states
    kinds = {name.rsplit("_l", 1)[0]: k for k, (name, _) in enumerate(plan.parameters[:each])}
    found = []
    for first in range(0, len(parameters), each):
        own = parameters[first : first + each]
        named = {kind: own[k] for kind, k in kinds.items()}
        found.append(Weights(*(named.get(kind) for kind in Weights._fields)))  # type: ignore[arg-type]
    return found


def drawn_masks(call: Call, sizes: Sequence[int]) -> Masks:
    """What the engine's dropout multiplied by."""
    plan, order = call.plan, call.layout.order
    samples = list(range(call.layout.sequences)) if order is None else order.tolist()

    def masks(rate: float, stream: int, time: int, count: int, width: int) -> Tensor:
        drawn = kernels.dropout_masks(rate, call.seed, stream, samples[:count], time, width)
        return torch.from_numpy(drawn)

    between: list[Tensor] = []
    recurrent: list[Tensor] = []
    for layer in range(plan.layers):
        if plan.recurrent_dropout:
            recurrent += [
                masks(plan.recurrent_dropout, 2 * layer, way, sizes[0], plan.hidden)
                for way in range(plan.directions)
            ]
        if plan.dropout and layer + 1 < plan.layers:
            steps = [
                masks(plan.dropout, 2 * layer + 1, t, count, plan.outputs)
                for t, count in enumerate(sizes)
            ]
            between.append(torch.cat(steps))
    return Masks(between, recurrent)
