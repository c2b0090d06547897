"""What a recurrent module does where the engine does not run it: PyTorch's own way, or its words.

``forward`` of ``headgate.torch``'s modules runs ordinary calls on the engine and hands all others
to :func:`other`. A module that ``torch.nn`` has as well runs ``torch.nn``'s forward there, one with
``reset_after=False``, ``recurrent_dropout`` or ``layer_norm`` the composition of
:mod:`~headgate.interop.reference`. Results, gradients and types of errors are PyTorch's.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ...errors import HeadgateWarning
from . import reference
from .reference import State, Weights

# Errors of wrong arguments. A subclass, such as that of exhausted memory, is passed on as it is.
ARGUMENT_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError)
NO_PROJECTIONS = "the engine has no projections (proj_size)"
_said: set[tuple[str, str]] = set()  # (class, reason) of each warning so far


# -- the way of a call ---------------------------------------------------------------------------


def other(module: Any, input: Any, hx: Any = None) -> Any:
    """What ``torch.nn``'s module would return for the same call, or the exception that it raises.

    Says once for each class and reason that the engine was not used, by a HeadgateWarning.
    """
    if isinstance(input, torch.fx.Proxy) and input.tracer.root is not module:
        # A leaf of the graph, as torch.nn's modules are.
        name = input.tracer.path_of_module(module)
        return input.tracer.create_proxy("call_module", name, (input, hx), {})
    # Dynamo gives up a function where it first meets the module, and the function then runs as it
    # stands; one that asked before that whether it is compiled would keep the answer "yes".
    if module.training is not None and torch.compiler.is_compiling():
        return _run(module, input, hx)
    why = reason(module, input, hx)
    try:
        result = _run(module, input, hx)
    except ARGUMENT_ERRORS as error:
        if type(error) not in ARGUMENT_ERRORS or len(error.args) != 1:
            raise
        raise type(error)(f"{error}\n{_told(module, input, hx)}") from error
    if why:
        warn(parent(module).__name__, why, plain=is_plain(module))
    return result


def _run(module: Any, input: Any, hx: Any) -> Any:
    if is_plain(module):
        return parent(module).forward(module, input, hx)
    return _composed(module, input, hx)


def is_plain(module: Any) -> bool:
    """Whether ``torch.nn`` has this module."""
    return bool(module.reset_after) and not module.recurrent_dropout and not module.layer_norm


def parent(module: Any) -> Any:
    """``nn.GRU`` or ``nn.LSTM``."""
    return nn.LSTM if isinstance(module, nn.LSTM) else nn.GRU


def warn(name: str, why: str, *, plain: bool = False) -> None:
    """Say once for each class, "GRU" or "LSTM", and reason that the engine was not used.

    ``plain``: what ran is ``torch.nn``'s forward, not a composition of ours.
    """
    if (name, why) in _said:
        return
    _said.add((name, why))
    run = f"nn.{name}'s own code" if plain else "plain PyTorch operations"
    warnings.warn(
        f"headgate.torch.{name} ran {run} in place of headgate's engine: {why}. The results are "
        "the same, only slower; this is said once. headgate.torch.explain(model) tells what every "
        "module does",
        HeadgateWarning,
        stacklevel=6,  # past other, forward and the two calls of nn.Module
    )


def scriptable(module: Any) -> Any:
    """What ``torch.jit.script`` compiles in its place: ``torch.nn``'s module of its parameters."""
    if not is_plain(module):
        raise NotImplementedError(
            f"torch.jit.script has no {_described(module)}; use torch.jit.trace or torch.export"
        )
    twin = object.__new__(parent(module))
    twin.__setstate__(module.__getstate__())
    return twin


# -- why ------------------------------------------------------------------------------------------


def reason(module: Any, input: Any = None, hx: Any = None) -> str | None:
    """Why the engine does not run this module (with these arguments), or None where it does.

    Wrong shapes are no reason: they are an error on every path.
    """
    return _reason_of_module(module) or _reason_of_context(module) or _reason_of_tensors(input, hx)


def _reason_of_module(module: Any) -> str | None:
    if module.proj_size:
        return NO_PROJECTIONS
    if module.dropout >= 1 and module.num_layers > 1:
        return "the engine's dropout leaves something (dropout below 1)"
    if not 0 <= module.recurrent_dropout < 1:
        return "the engine's recurrent dropout is at least 0 and below 1"
    for name in itertools.chain(*module._all_weights):
        weight = module._parameters.get(name)
        if type(weight) is not nn.Parameter:
            return (
                "a weight is not a plain parameter of the module (functional_call, weight_norm, "
                "pruning, parametrize, replicas and the like)"
            )
        why = _reason_of_tensor("weights", weight)
        if why is None and not weight.is_contiguous():
            why = "a weight is not contiguous"
        if why:
            return why
    return None


def _reason_of_context(module: Any) -> str | None:
    if module.training is not None and torch.compiler.is_compiling():  # see other
        return "torch.compile or torch.export is tracing"
    if torch.jit.is_tracing():
        return "torch.jit.trace is recording"
    if torch._C._is_any_autocast_enabled():
        return "autocast is on"
    if torch._C._are_functorch_transforms_active():
        return "torch.func is transforming the call (grad, vmap, jvp and the like)"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation is on"
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return "a mode of PyTorch watches every operation (or a default device is set)"
    return None


def _reason_of_tensors(input: Any, hx: Any) -> str | None:
    data = input.data if isinstance(input, PackedSequence) else input
    named = [("the input", data)]
    named += [("the state", part) for part in (hx if isinstance(hx, tuple) else (hx,))]
    for what, tensor in named:
        if tensor is None or not isinstance(tensor, Tensor):
            continue  # wrong types are errors
        if type(tensor) not in (Tensor, nn.Parameter):
            return f"{what} is a {type(tensor).__name__}, not a plain tensor"
        why = _reason_of_tensor(what, tensor)
        if why:
            return why
    return None


def _reason_of_tensor(what: str, tensor: Tensor) -> str | None:
    be = "are" if what.endswith("s") else "is"
    if tensor.device.type != "cpu":
        return f"{what} {be} on the device {tensor.device.type}, and the engine runs on CPUs"
    if tensor.is_nested or tensor.layout != torch.strided:
        return f"{what} {be} not strided"
    if tensor.dtype != torch.float32:
        return f"{what} {be} {_short(tensor.dtype)}, and the engine computes in float32"
    return None


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


# -- gradients of gradients ------------------------------------------------------------------------


def differentiable_gradients(
    run: Callable[..., Sequence[Tensor]],
    tensors: Sequence[Tensor | None],
    grads: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """The gradients by PyTorch's operations: for a backward pass that is to be differentiated
    (``create_graph=True``) or mapped over several losses (``is_grads_batched=True``).

    Args:
        run: the forward pass over again, of PyTorch's operations (and with the same dropout).
        tensors: its arguments, as ``ctx.saved_tensors`` gives them.
        grads: dLoss/d(each of its results), None for zero.

    Returns:
        dLoss/d(each of ``tensors``), None where none is asked for.
    """
    again = torch.is_grad_enabled()  # not where vmap alone sent the call here
    with torch.enable_grad():
        # Aliases: one argument may have been computed from another, whose gradient would be
        # counted twice.
        aliases = [None if t is None else t.view_as(t) for t in tensors]
        results = run(*aliases)
    pairs = [(r, g) for r, g in zip(results, grads, strict=True) if g is not None]
    wanted = [t for t in aliases if t is not None and t.requires_grad]
    if not pairs or not wanted:
        return (None,) * len(aliases)
    outputs, arriving = zip(*pairs, strict=True)
    made = iter(
        torch.autograd.grad(outputs, wanted, arriving, create_graph=again, allow_unused=True)
    )
    return tuple(next(made) if t is not None and t.requires_grad else None for t in aliases)


# -- modules that torch.nn does not have ----------------------------------------------------------


def _composed(module: Any, input: Any, hx: Any) -> Any:
    """``forward`` by reference: the arguments of ``torch.nn``, checked as it does."""
    module._update_flat_weights()
    packed = isinstance(input, PackedSequence)
    x = input.data if packed else input
    name = parent(module).__name__
    if not packed and x.dim() not in (2, 3):
        raise ValueError(f"{name}: Expected input to be 2D or 3D, got {x.dim()}D instead")
    if packed:
        _check_sizes(input.batch_sizes)
    single = not packed and x.dim() == 2
    if single:
        x = x.unsqueeze(0 if module.batch_first else 1)
    sizes = input.batch_sizes if packed else None
    state = _initial(module, x, sizes, hx, single)
    if packed and hx is not None and input.sorted_indices is not None:
        state = tuple(part.index_select(1, input.sorted_indices) for part in state)
    checked = state if name == "LSTM" else state[0]
    module.check_forward_args(x, checked, sizes)

    steps, rows = _by_time(module, x, sizes)
    masks = reference.draw_masks(module, rows, steps[0]) if module.training else None
    rows, last = reference.run(
        cell(module),
        rows,
        steps,
        state,
        layer_weights(module),
        bidirectional=module.bidirectional,
        masks=masks,
    )
    if packed:
        output: Any = PackedSequence(rows, sizes, input.sorted_indices, input.unsorted_indices)
        if input.unsorted_indices is not None:
            last = tuple(part.index_select(1, input.unsorted_indices) for part in last)
    else:
        output = rows.unflatten(0, (len(steps), steps[0]))
        output = output.transpose(0, 1) if module.batch_first else output
        if single:
            output = output.squeeze(0 if module.batch_first else 1)
            last = tuple(part.squeeze(1) for part in last)
    return output, last if name == "LSTM" else last[0]


def cell(module: Any) -> str:
    """The engine's name of the cell."""
    if isinstance(module, nn.LSTM):
        return "lstm"
    return "gru" if module.reset_after else "gru_before"


def layer_weights(module: Any) -> list[Weights]:
    """The parameters by layer, forward first, whatever stands in their places."""
    found = []
    for names in module._all_weights:
        place = names[0].removeprefix("weight_ih_")
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "norm_ih", "norm_hh")
        found.append(Weights(*(getattr(module, f"{kind}_{place}", None) for kind in kinds)))
    return found


def _initial(module: Any, x: Tensor, sizes: Tensor | None, hx: Any, single: bool) -> State:
    """The parts of the initial state, (L * D, N, H), as yet unchecked but for their ranks."""
    lstm = isinstance(module, nn.LSTM)
    if hx is None:
        shape = module.get_expected_hidden_size(x, sizes)
        return tuple(x.new_zeros(shape) for _ in range(2 if lstm else 1))
    ranks = [hx[k].dim() for k in range(2)] if lstm else [hx.dim()]
    parts = tuple(hx) if lstm else (hx,)
    if len(parts) != len(ranks):
        raise RuntimeError(f"lstm expects two hidden states, got {len(parts)}")
    if sizes is None and ranks != [2 if single else 3] * len(parts):
        kind, rank = ("unbatched 2-D", "2-D") if single else ("batched 3-D", "3-D")
        got = " and ".join(f"{rank}-D" for rank in ranks)
        raise RuntimeError(f"For {kind} input, hx should also be {rank} but got {got}")
    return tuple(part.unsqueeze(1) for part in parts) if single else parts


def _check_sizes(sizes: Tensor) -> None:
    if sizes.dim() != 1 or sizes.dtype != torch.int64:
        integers = sizes.dim() == 1 and not sizes.is_floating_point()
        kind: type[Exception] = RuntimeError if integers else TypeError  # as PyTorch
        raise kind(f"batch_sizes must be int64 and (T,), got {shown(sizes)}")


def _by_time(module: Any, x: Tensor, sizes: Tensor | None) -> tuple[list[int], Tensor]:
    """The number of rows of each step, and the rows (R, I)."""
    if sizes is not None:
        return sizes.tolist(), x
    x = x.transpose(0, 1) if module.batch_first else x
    if not x.shape[0]:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    return [int(x.shape[1])] * int(x.shape[0]), x.flatten(0, 1)


# -- words for errors ------------------------------------------------------------------------------


def _described(module: Any) -> str:
    return f"headgate.torch.{type(module).__name__}({module.extra_repr()})"


def _told(module: Any, input: Any, hx: Any) -> str:
    """What a module expects and what came: PyTorch's messages name one of them at most."""
    i, h = module.input_size, module.hidden_size
    layers = module.num_layers * (2 if module.bidirectional else 1)
    batched = f"(N, T, {i})" if module.batch_first else f"(T, N, {i})"
    parts = {"h0": module.proj_size or h}
    if isinstance(module, nn.LSTM):
        parts["c0"] = h
    states = " and ".join(
        f"{name} ({layers}, N, {width}) or ({layers}, {width})" for name, width in parts.items()
    )
    weight = getattr(module, "weight_ih_l0", None)
    where = f" of {_short(weight.dtype)} on {weight.device}" if isinstance(weight, Tensor) else ""
    pair = "the pair " if len(parts) > 1 else ""
    return (
        f"{_described(module)} expects input {batched}, (T, {i}) of one sequence, or a "
        f"PackedSequence, and as its state {pair}{states}, or None, all{where}; "
        f"got input {shown(input)}, state {shown(hx)}"
    )


def shown(value: Any) -> str:
    if isinstance(value, PackedSequence):
        return f"a PackedSequence of {shown(value.data)}"
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {_short(value.dtype)} on {value.device}"
    if value is None:
        return "None"
    if isinstance(value, tuple | list) and all(isinstance(part, Tensor) for part in value[:4]):
        return f"a {type(value).__name__} of {len(value)}: {', '.join(map(shown, value[:4]))}"
    return f"an object of type {type(value).__name__}"
