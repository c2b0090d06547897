"""The engine's forward and backward pass as a node of PyTorch's autograd.

What an ordinary call is, is decided here in a few microseconds, since a small network's whole pass
takes no longer. The engine reads and writes tensors where they lie.

Shape letters: N batch, T time, I inputs, H hidden units, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils.rnn import PackedSequence

from .. import kernels
from . import torch_paths, torch_reference
from .torch_reference import Masks, Weights

MOST_LAYOUTS = 256  # that a module remembers
# A pass of so few rows through so many parameters does little else than read them. PyTorch reads
# them once; the engine looks first whether they changed, since a write through .data tells nobody.
HEAVY, FEW_ROWS = 1 << 20, 2

# Names that are looked up in every call.
_float32, _strided, _Parameter = torch.float32, torch.strided, nn.Parameter
_is_compiling, _grad_enabled = torch.compiler.is_compiling, torch.is_grad_enabled
_threads, _empty, _empty_like = torch.get_num_threads, torch.empty, torch.empty_like
_empty_strided = torch.empty_strided
_has_storage = torch._C._has_storage
# What may stand between a call and plain eager execution.
_transforms = torch._C._are_functorch_transforms_active
_function_mode = torch._C._is_torch_function_mode_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing, _autocast = torch._C._get_tracing_state, torch._C._is_any_autocast_enabled
# Whether the backward pass that runs keeps its graph; it is asked within one.
_keeps_graph: Callable[[], bool] = getattr(
    torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True
)


class Plan:
    """What a module's options make of all its calls: the engine's layers, names and shapes."""

    def __init__(self, module: Any) -> None:
        self.lstm = isinstance(module, nn.LSTM)
        self.cell = torch_paths.cell(module)
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
        self.heavy = size >= HEAVY and torch_paths.is_plain(module)
        self.layouts: tuple[dict[Any, Layout], dict[Any, Layout]] = ({}, {})
        self.covered = not module.proj_size and 0 <= self.dropout < 1
        if not self.covered:
            return
        self.parameters = [(name, _shape(module, name)) for name in module._flat_weights_names]
        self.stack = kernels.make_stack(
            self.cell,
            (self.inputs, self.hidden, self.layers),
            (module.bidirectional, module.bias, module.layer_norm),
            (self.dropout, self.recurrent_dropout),
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


def _plan(module: Any) -> Plan:
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


def run(module: Any, input: Any, hx: Any) -> Any:
    """The module's result from the engine, or None where this is no ordinary call."""
    # Of the module, since Dynamo must meet it before it asks: see torch_paths.other.
    if module.training is not None and _is_compiling():
        return None
    if _transforms() or _function_mode() or _dispatch_modes() or _tracing() or _autocast():
        return None
    if forward_ad._current_level >= 0:
        return None
    plan = _plan(module)
    if not plan.covered:
        return None
    own, parameters, addresses, learns = module._parameters, [], [], False
    for name, shape in plan.parameters:
        w = own.get(name)
        if (
            type(w) is not _Parameter
            or w.dtype is not _float32
            or not w.is_cpu
            or not w.is_contiguous()
            or w.shape != shape
        ):
            return None
        parameters.append(w)
        addresses.append(w.data_ptr())
        learns = learns or w.requires_grad
    packed = type(input) is PackedSequence
    x = input.data if packed else input
    if not _readable(x):
        return None
    layout = _packed(plan, input) if packed else _layout(plan, x, module.batch_first)
    if layout is None:
        return None
    h0 = c0 = None
    if hx is not None:
        state = _state(plan, layout, hx)
        if state is None:
            return None
        h0, c0 = state
        learns = learns or h0.requires_grad or (c0 is not None and c0.requires_grad)
    tracked = (learns or x.requires_grad) and _grad_enabled()
    if plan.heavy and layout.steps * layout.sequences <= (1 if tracked else FEW_ROWS):
        return torch_paths.parent(module).forward(module, input, hx)
    if x.stride()[-1] != 1 and plan.inputs != 1:
        x = x.contiguous()
    drop = plan.drops and module.training
    seed = int(_empty((), dtype=torch.int64).random_()) if drop else 0
    call = Call(plan, layout, addresses, drop, seed)
    if tracked:
        result = _apply(call, x, h0, c0, *parameters)
    else:
        result, _ = _forward(call, x, h0, c0, False)
    y = result[0]
    if packed:
        y = PackedSequence(y, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
    return y, (result[1:] if plan.lstm else result[1])


def _readable(tensor: Any) -> bool:
    """Whether the engine can read the tensor's memory, and means the same by it."""
    kind = type(tensor)
    return (
        (kind is Tensor or kind is _Parameter)
        and tensor.dtype is _float32
        and tensor.is_cpu
        and tensor.layout is _strided
        and not tensor.is_neg()
    )


def _layout(plan: Plan, x: Tensor, batch_first: bool) -> Layout | None:
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
        found = Layout(0, 0, False, shape[0], 1, y, (width, 1), (states, hidden), (hidden, 1))
    else:
        time, batch = (1, 0) if batch_first else (0, 1)
        t, n = shape[time], shape[batch]
        stride = (width, n * width, 1) if batch_first else (n * width, width, 1)
        state, inner = (states, n, hidden), (n * hidden, hidden, 1)
        found = Layout(time, batch, False, t, n, (*shape[:2], width), stride, state, inner)
    if len(known) >= MOST_LAYOUTS:
        known.clear()
    known[shape] = found
    return found


def _packed(plan: Plan, batch: PackedSequence) -> Layout | None:
    """Of a PackedSequence; None where its parts do not fit each other."""
    data, sizes, order, back = batch
    if len(data.shape) != 2 or data.shape[1] != plan.inputs or (order is None) != (back is None):
        return None
    for tensor in (sizes, order):
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
    if order is not None and len(order) != n:
        return None
    places = (sizes.data_ptr(), 0 if order is None else order.data_ptr())
    try:
        rows = plan.stack.rows(len(sizes), n, *places)
    except ValueError:
        return None
    if rows != data.shape[0]:
        return None
    y, state, inner = (rows, width), (plan.states, n, hidden), (n * hidden, hidden, 1)
    return Layout(0, 0, True, len(sizes), n, y, (width, 1), state, inner, sizes, order, places)


def _state(plan: Plan, layout: Layout, hx: Any) -> tuple[Tensor, Tensor | None] | None:
    """h0 and c0, contiguous; None where they do not fit the call."""
    if plan.lstm:
        if type(hx) not in (tuple, list) or len(hx) != 2:
            return None
        parts = hx
    else:
        parts = (hx,)
    for part in parts:
        if not _readable(part) or part.shape != layout.state_shape:
            return None
    h0 = parts[0].contiguous()
    return h0, parts[1].contiguous() if plan.lstm else None


def _forward(
    call: Call, x: Tensor, h0: Tensor | None, c0: Tensor | None, keep: bool
) -> tuple[tuple[Tensor, ...], Any]:
    """Output and last states, and with ``keep`` what the backward pass needs."""
    plan, layout, parameters, drop, seed = call
    y = _empty_strided(layout.y_shape, layout.y_stride, dtype=_float32)
    last = _empty_strided(layout.state_shape, layout.state_stride, dtype=_float32)
    result: tuple[Tensor, ...] = (y, last)
    if plan.lstm:
        result += (_empty_strided(layout.state_shape, layout.state_stride, dtype=_float32),)
    stride = x.stride()
    tape = plan.stack.forward(
        x.data_ptr(),
        stride[layout.time],
        stride[layout.batch],
        layout.steps,
        layout.sequences,
        *layout.places,
        0 if h0 is None else h0.data_ptr(),
        0 if c0 is None else c0.data_ptr(),
        y.data_ptr(),
        last.data_ptr(),
        result[2].data_ptr() if plan.lstm else 0,
        parameters,
        keep,
        drop,
        seed,
        _threads(),
    )
    return result, tape


class Passes(torch.autograd.Function):
    """(call, x, h0, c0, *parameters) -> output and last states."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, x: Tensor, h0: Tensor | None, c0: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        """Run the engine, and keep what it needs on the way back."""
        ctx.set_materialize_grads(False)
        result, ctx.tape = _forward(call, x, h0, c0, True)
        ctx.call = call
        ctx.save_for_backward(x, h0, c0, *parameters)
        return result

    @staticmethod
    def backward(ctx: Any, dy: Any, dh: Any, dc: Any = None) -> tuple[Tensor | None, ...]:
        """Gradients of all that a gradient is asked for."""
        call: Call = ctx.call
        saved = ctx.saved_tensors  # raises what PyTorch raises for changed or freed tensors
        grads = (dy, dh, dc) if call.plan.lstm else (dy, dh)
        # create_graph=True; is_grads_batched=True, which maps this pass over several gradients
        if _grad_enabled() or not all(g is None or _has_storage(g) for g in grads):
            return (None, *_again(call, saved, grads))
        x, h0, c0 = saved[:3]
        layout, wanted = call.layout, ctx.needs_input_grad
        gradients = [
            _empty_like(w) if want else None for w, want in zip(saved[3:], wanted[4:], strict=True)
        ]
        addresses = [0 if g is None else g.data_ptr() for g in gradients]
        dy, dh, dc = _made_readable(dy, False), _made_readable(dh, True), _made_readable(dc, True)
        dx = _like_input(layout, x) if wanted[1] else None
        dh0 = _empty_like(h0) if wanted[2] else None
        dc0 = _empty_like(c0) if wanted[3] else None
        stride = x.stride()
        dy_stride = (0, 0, 0) if dy is None else dy.stride()
        done = ctx.tape.backward(
            x.data_ptr(),
            stride[layout.time],
            stride[layout.batch],
            0 if dy is None else dy.data_ptr(),
            dy_stride[layout.time],
            dy_stride[layout.batch],
            0 if dh is None else dh.data_ptr(),
            0 if dc is None else dc.data_ptr(),
            0 if dx is None else dx.data_ptr(),
            0 if dh0 is None else dh0.data_ptr(),
            0 if dc0 is None else dc0.data_ptr(),
            addresses,
            _threads(),
        )
        if not done:
            raise RuntimeError(
                "Trying to backward through the graph a second time: this pass was freed. Specify "
                "retain_graph=True the first time"
            )
        if not _keeps_graph():
            ctx.tape.release()
        return (None, dx, dh0, dc0, *gradients)


# Both without PyTorch's Python around them, which looks for what this node does not have.
_apply = super(torch.autograd.Function, Passes).apply
Passes._backward_cls.apply = Passes.backward


def _made_readable(gradient: Any, whole: bool) -> Any:
    """A gradient whose rows, or which as a whole, lies in memory as it stands."""
    if gradient is None:
        return None
    if gradient.is_neg():
        gradient = gradient.resolve_neg()
    if gradient.is_contiguous():
        return gradient
    close = not whole and (gradient.stride()[-1] == 1 or gradient.shape[-1] == 1)
    return gradient if close else gradient.contiguous()


def _like_input(layout: Layout, x: Tensor) -> Tensor:
    """Room for dLoss/dx, whose rows follow each other in time as the engine writes them."""
    if layout.time == 0:
        return _empty(x.shape, dtype=_float32)
    i, n = x.shape[2], layout.sequences
    return _empty_strided(x.shape, (i, n * i, 1), dtype=_float32)


# -- gradients of gradients ------------------------------------------------------------------------


def _again(
    call: Call, saved: Sequence[Tensor | None], grads: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The backward pass in PyTorch's operations, which can be differentiated."""
    torch_paths.warn(
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
        y, last = torch_reference.run(
            plan.cell,
            rows,
            sizes,
            state,
            _weights(plan, parameters),
            bidirectional=plan.bidirectional,
            masks=_masks(call, sizes) if call.drop else None,
        )
        if not layout.packed:
            y = y.reshape(layout.steps, layout.sequences, plan.outputs)
            y = (y.transpose(0, 1) if layout.time == 1 else y).reshape(layout.y_shape)
        back = None if layout.order is None else torch.argsort(layout.order)
        return y, *(_ordered(part, back).reshape(layout.state_shape) for part in last)

    return torch_paths.differentiable_gradients(composed, saved, grads)


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


def _masks(call: Call, sizes: Sequence[int]) -> Masks:
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


# -- torch.compile ---------------------------------------------------------------------------------


def _keep_dynamo_out() -> None:
    """Dynamo breaks its graph at recurrent modules, and would then compile what they call, frame by
    frame. Addresses of tensors mean nothing there."""
    frames = torch._C._dynamo.eval_frame
    mark: Any = getattr(frames, "skip_code", None)  # of this frame alone, in older versions
    if hasattr(frames, "set_code_exec_strategy"):
        skip = frames._FrameAction.SKIP

        def mark(code: Any) -> None:
            frames.set_code_exec_strategy(code, frames._FrameExecStrategy(skip, skip))

    for function in (run, _forward, Passes.forward, Passes.backward, *_HELPERS):
        if mark is not None:
            mark(function.__code__)


_HELPERS = (_plan, _readable, _layout, _packed, _state, _made_readable, _like_input)
_keep_dynamo_out()
