"""The engine's forward and backward pass as a node of PyTorch's autograd.

What an ordinary call is, is decided here in a few microseconds, since a small network's whole pass
takes no longer. The engine reads and writes tensors where they lie.

Shape letters: N batch, T time, I inputs, H hidden units, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils.rnn import PackedSequence

from . import paths
from .again import again
from .calls import (
    FEW_ROWS,
    Call,
    Layout,
    packed_layout,
    plan_of,
    readable,
    state_of,
    tensor_layout,
)

# Names that are looked up in every call.
_float32, _Parameter = torch.float32, nn.Parameter
_is_compiling, _grad_enabled = torch.compiler.is_compiling, torch.is_grad_enabled
_threads = torch.get_num_threads
_empty, _empty_strided = torch.empty, torch.empty_strided
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


def run(module: Any, input: Any, hx: Any) -> Any:
    """The module's result from the engine, or None where this is no ordinary call."""
    # Of the module, since Dynamo must meet it before it asks: see paths.other.
    if module.training is not None and _is_compiling():
        return None
    if _transforms() or _function_mode() or _dispatch_modes() or _tracing() or _autocast():
        return None
    if forward_ad._current_level >= 0:
        return None
    plan = plan_of(module)
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
    if not readable(x):
        return None
    layout = packed_layout(plan, input) if packed else tensor_layout(plan, x, module.batch_first)
    if layout is None:
        return None
    h0 = c0 = None
    if hx is not None:
        state = state_of(plan, layout, hx)
        if state is None:
            return None
        h0, c0 = state
        learns = learns or h0.requires_grad or (c0 is not None and c0.requires_grad)
    tracked = (learns or x.requires_grad) and _grad_enabled()
    if plan.heavy and layout.steps * layout.sequences <= (1 if tracked else FEW_ROWS):
        return paths.parent(module).forward(module, input, hx)
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
            return (None, *again(call, saved, grads))
        layout, wanted = call.layout, ctx.needs_input_grad
        x = _unpacked(call, saved[0])
        gradients = [
            _empty(shape, dtype=_float32) if want else None
            for (_, shape), want in zip(call.plan.parameters, wanted[4:], strict=True)
        ]
        addresses = [0 if g is None else g.data_ptr() for g in gradients]
        dy, dh, dc = _made_readable(dy, False), _made_readable(dh, True), _made_readable(dc, True)
        dx = _like_input(layout, x) if wanted[1] else None
        dh0 = _empty(layout.state_shape, dtype=_float32) if wanted[2] else None
        dc0 = _empty(layout.state_shape, dtype=_float32) if wanted[3] else None
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


def _unpacked(call: Call, x: Tensor) -> Tensor:
    """The saved input, which a hook of saved tensors may have laid out otherwise."""
    if not readable(x) or x.shape != call.layout.x_shape:
        raise RuntimeError(
            "a hook of saved tensors must give back the input as it was: expected float32 of "
            f"{tuple(call.layout.x_shape)} on cpu, got {paths.shown(x)}"
        )
    return x if x.stride()[-1] == 1 or call.plan.inputs == 1 else x.contiguous()


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


_HELPERS = (
    *(plan_of, readable, tensor_layout, packed_layout, state_of, _unpacked, _made_readable),
    _like_input,
)
_keep_dynamo_out()
