"""Whole models: recurrent modules switched to the engine and back, and what each of them does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from ...errors import InputError
from . import paths
from .modules import GRU, LSTM

Model = TypeVar("Model", bound=nn.Module)

OURS = {nn.GRU: GRU, nn.LSTM: LSTM}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}

# What ours keep beside PyTorch's attributes: a restored module pickles without headgate.
OWN = ("_plan", "reset_after", "recurrent_dropout", "layer_norm")


def accelerate(model: Model) -> Model:
    """Let every ``nn.GRU`` and ``nn.LSTM`` in a model run on headgate's engine, in place.

    The modules stay the objects that they are, and so do their parameters: optimisers, hooks, names
    and other references go on working. Subclasses keep their own ``forward``, and an LSTM with
    ``proj_size`` stays ``nn.LSTM``.

    Args:
        model: any module, an ``nn.GRU`` too.

    Returns:
        ``model`` itself.
    """
    for module in _modules(model):
        if type(module) in OURS and not module.proj_size:
            module.__class__ = OURS[type(module)]
    return model


def restore(model: Model) -> Model:
    """Undo :func:`accelerate`: what ``torch.nn`` has as well is ``nn.GRU`` or ``nn.LSTM`` again.

    Modules with ``reset_after=False``, ``recurrent_dropout`` or ``layer_norm`` stay, since
    ``torch.nn`` has none like them. Returns ``model`` itself.
    """
    for module in _modules(model):
        if type(module) in THEIRS and paths.is_plain(module):
            module.__class__ = THEIRS[type(module)]
            for name in OWN:
                module.__dict__.pop(name, None)
    return model


@dataclass(frozen=True)
class Path:
    """What one recurrent module of a model does. ``reason`` is empty where the engine runs it."""

    name: str
    module: str
    reason: str

    def __str__(self) -> str:
        path = f"PyTorch: {self.reason}" if self.reason else "headgate's engine"
        return f"{self.name or 'the model'}: {self.module}: {path}"


class Paths(tuple[Path, ...]):
    """One :class:`Path` for each recurrent module; prints as one line for each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no GRU, LSTM or RNN"

    __repr__ = __str__


def explain(model: nn.Module) -> Paths:
    """Which way each recurrent module of a model takes in an ordinary call, and why.

    What an ordinary call is: plain float32 tensors on the CPU, outside ``torch.compile``, autocast
    and the like. A call that is not says so itself, by a HeadgateWarning; a single step through a
    million parameters or more goes to PyTorch without one, since it is quicker there.

    Returns:
        A tuple of :class:`Path` in the order of ``named_modules``, which prints as text.
    """
    found = []
    for name, parent in model.named_modules():
        for module in getattr(parent, "singles", (parent,)):  # a ResidualStack's are no children
            if isinstance(module, nn.RNNBase):
                described = f"{type(module).__name__}({module.extra_repr()})"
                found.append(Path(name, described, _reason(module)))
    return Paths(found)


def _reason(module: Any) -> str:
    if isinstance(module, (GRU, LSTM)):
        return paths.reason(module) or ""
    if type(module) not in OURS:
        return f"headgate has no {type(module).__name__}"
    if module.proj_size:
        return paths.NO_PROJECTIONS
    return "it is torch.nn's module; headgate.torch.accelerate(model) switches it"


def _modules(model: Any) -> list[nn.Module]:
    if not isinstance(model, nn.Module):
        raise InputError(f"a model must be a torch.nn.Module, got {type(model).__name__}")
    return list(model.modules())
