"""What an ordinary call of ``headgate.torch``'s modules is: plans of modules, layouts of batches.

Shape letters: N batch, T time, I inputs, H hidden units, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ... import kernels
from . import paths

MOST_LAYOUTS = 256  # that a module remembers
# A pass of so few rows through so many parameters does little else than read them. PyTorch reads
# them once; the engine looks first whether they changed, since a write through .data tells nobody.
HEAVY, FEW_ROWS = 1 << 20, 2

# Names that are looked up in every call.
_float32, _strided, _Parameter = torch.float32, torch.strided, nn.Parameter


class Plan:
    """What a module's options make of all its calls: the engine's layers, names and shapes."""

    def __init__(self, module: Any) -> None:
        self.lstm = isinstance(module, nn.LSTM)
        self.cell = paths.cell(module)
        self.bidirectional, self.bias = module.bidirectional, module.bias
        self.dropout = module.dropout if module.num_layers > 1 else 0.0
        self.recurrent_dropout = module.recurrent_dropout
        self.drops = bool(self.dropout or self.recurrent_dropout)
        self.inputs, self.hidden, self.layers = (
            module.input_size,
            module.hidden_size,
            module.num_layers,
        )
        self.directions = 2 if module.bidirectional else 1
        self.states, self.outputs = self.layers * self.directions, self.hidden * self.directions
        size = sum(w.numel() for w in module._flat_weights)
        self.heavy = size >= HEAVY and paths.is_plain(module)
        self.layouts: tuple[dict[Any, Layout], dict[Any, Layout]] = ({}, {})
        rates = (self.dropout, self.recurrent_dropout)
        self.covered = not module.proj_size and all(0 <= rate < 1 for rate in rates)
        if not self.covered:
            return
        names = module._flat_weights_names
        each = 2 + 2 * bool(self.bias) + 2 * bool(module.layer_norm)
        if len(names) != self.states * each:
            raise RuntimeError(
                f"headgate.torch.{paths.parent(module).__name__}({module.extra_repr()}) has "
                f"{self.states * each} parameters, but this module was made with {len(names)}; "
                "make a new module instead of changing its options"
            )
        self.parameters = [(name, _shape(module, name)) for name in names]
        self.stack = kernels.make_stack(
            self.cell,
            (self.inputs, self.hidden, self.layers),
            (module.bidirectional, module.bias, module.layer_norm),
            rates,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """A module that is copied or written to a file leaves its plan behind."""
        return (_no_plan, ())


def _no_plan() -> None:
    return None


def _shape(module: Any, name: str) -> tuple[int, ...]:
    """The shape of a parameter such as ``weight_ih_l0_reverse``."""
    kind, layer = name.removesuffix("_reverse").rsplit("_l", 1)
    hidden = module.hidden_size
    if kind == "bias_hh" and not module.reset_after:
        return (2 * hidden,)
    rows = hidden * (4 if isinstance(module, nn.LSTM) else 3)
    if kind == "weight_hh":
        return (rows, hidden)
    below = module.input_size if layer == "0" else hidden * (2 if module.bidirectional else 1)
    return (rows, below) if kind == "weight_ih" else (rows,)


def plan_of(module: Any) -> Plan:
    """The module's plan, made anew when an option was changed (``Recurrent.__setattr__``)."""
    plan: Plan | None = module.__dict__.get("_plan")
    if plan is None:
        plan = module.__dict__["_plan"] = Plan(module)
    return plan


def release(module: Any) -> None:
    """Give back the memory in which the module was trained."""
    plan: Plan | None = module.__dict__.get("_plan")
    if plan is not None and plan.covered:
        plan.stack.release()


class Layout(NamedTuple):
    """How a call's batch lies, and what comes out."""

    time: int  # the dimension whose stride leads from step to step
    batch: int  # and from sequence to sequence; in rows that lie packed by time, from row to row
    packed: bool
    steps: int
    sequences: int
    y_shape: tuple[int, ...]
    y_stride: tuple[int, ...]
    state_shape: tuple[int, ...]
    state_stride: tuple[int, ...]
    x_shape: tuple[int, ...]
    sizes: Tensor | None = None
    order: Tensor | None = None
    places: tuple[int, int] = (0, 0)  # addresses of both


class Call(NamedTuple):
    """What stays the same between the passes of one call."""

    plan: Plan
    layout: Layout
    parameters: list[int]  # addresses
    drop: bool
    seed: int


def readable(tensor: Any) -> bool:
    """Whether the engine can read the tensor's memory, and means the same by it."""
    kind = type(tensor)
    return (
        (kind is Tensor or kind is _Parameter)
        and tensor.dtype is _float32
        and tensor.is_cpu
        and tensor.layout is _strided
        and not tensor.is_neg()
    )


def tensor_layout(plan: Plan, x: Tensor, batch_first: bool) -> Layout | None:
    """Of a tensor; None where it fits no call, or an empty one."""
    known, shape = plan.layouts[bool(batch_first)], x.shape
    found: Layout | None = known.get(shape)
    if found is not None:
        return found
    if len(shape) not in (2, 3) or shape[-1] != plan.inputs or not x.numel():
        return None
    width, hidden, states = plan.outputs, plan.hidden, plan.states
    if len(shape) == 2:
        y = (shape[0], width)
        found = Layout(
            0, 0, False, shape[0], 1, y, (width, 1), (states, hidden), (hidden, 1), shape
        )
    else:
        time, batch = (1, 0) if batch_first else (0, 1)
        t, n = shape[time], shape[batch]
        stride = (width, n * width, 1) if batch_first else (n * width, width, 1)
        state, inner = (states, n, hidden), (n * hidden, hidden, 1)
        found = Layout(time, batch, False, t, n, (*shape[:2], width), stride, state, inner, shape)
    if len(known) >= MOST_LAYOUTS:
        known.clear()
    known[shape] = found
    return found


def packed_layout(plan: Plan, batch: PackedSequence) -> Layout | None:
    """Of a PackedSequence; None where its parts do not fit each other."""
    data, sizes, order, back = batch
    if len(data.shape) != 2 or data.shape[1] != plan.inputs or (order is None) != (back is None):
        return None
    for tensor in (sizes, order, back):
        if tensor is not None and not (
            type(tensor) is Tensor
            and tensor.dtype is torch.int64
            and tensor.is_cpu
            and tensor.dim() == 1
            and tensor.numel()
            and tensor.is_contiguous()
        ):
            return None
    n, hidden, width = int(sizes[0]), plan.hidden, plan.outputs
    if order is not None and not len(order) == len(back) == n:
        return None
    places = (sizes.data_ptr(), 0 if order is None else order.data_ptr())
    try:
        rows = plan.stack.rows(len(sizes), n, *places)
    except ValueError:
        return None
    if rows != data.shape[0]:
        return None
    # The engine reads one of them; in a batch made by hand the other may say something else.
    if order is not None and not torch.equal(back.index_select(0, order), torch.arange(n)):
        return None
    y, state, inner = (rows, width), (plan.states, n, hidden), (n * hidden, hidden, 1)
    steps, shape = len(sizes), data.shape
    return Layout(0, 0, True, steps, n, y, (width, 1), state, inner, shape, sizes, order, places)


def state_of(plan: Plan, layout: Layout, hx: Any) -> tuple[Tensor, Tensor | None] | None:
    """h0 and c0, contiguous; None where they do not fit the call."""
    if plan.lstm:
        if type(hx) not in (tuple, list) or len(hx) != 2:
            return None
        parts = hx
    else:
        parts = (hx,)
    for part in parts:
        if not readable(part) or part.shape != layout.state_shape:
            return None
    h0 = parts[0].contiguous()
    return h0, parts[1].contiguous() if plan.lstm else None
