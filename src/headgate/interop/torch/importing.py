"""A PyTorch module as a network: ``Network.from_torch``.

What a ``forward`` does stands in no attribute of a module, so it is not guessed: the module runs
on random numbers while its layers are watched (:mod:`~headgate.interop.torch.watch`), what happens
between them is found by trying what networks here can do
(:mod:`~headgate.interop.torch.between`), and the network that comes of it
(:mod:`~headgate.interop.torch.reading`) must then give the module's numbers.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from ...checks import check_choice
from ...errors import InputError
from ...network import Network
from ...spec import TASKS, NetworkSpec
from ..names import part_name
from .between import Unlike
from .networks import TorchNetwork
from .reading import KINDS, Array, Reader, kind_of, parameters
from .watch import GIVE_SPEC, CannotRun, feeds, watch

OWN_NAME = re.compile(r"(weight|bias)|(weight|bias|norm)_(ih|hh)_l\d+(_reverse)?")
WEIGHTED = tuple(cls for cls in KINDS if cls is not nn.Dropout)


def from_torch(
    module: Any, spec: NetworkSpec | None, task: str | None, seed: int | None
) -> Network:
    """See :meth:`headgate.Network.from_torch`."""
    if not isinstance(module, nn.Module):
        raise InputError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    module = getattr(module, "_orig_mod", module)  # what torch.compile was given
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        module = module.module
    if task is not None:
        check_choice("task", task, TASKS)
    if spec is None and isinstance(module, TorchNetwork):
        spec = module.spec
    if spec is None:
        return _found(module, task, seed)
    net = Network(spec, seed=seed)  # refuses what is no spec
    if task not in (None, spec.task):
        raise InputError(f"the spec has task={spec.task!r}, got task={task!r}; leave one out")
    net.load_state_dict(_by_name_or_order(module, spec))
    return net


def _found(module: nn.Module, task: str | None, seed: int | None) -> Network:
    """The network that does what the module was seen to do."""
    layers = known_layers(module)
    ran, raised = [], []
    for feed in feeds(module, layers):
        try:
            reader = Reader(layers, feed, watch(module, layers, feed, noise=True))
            return reader.network(task, seed, watch(module, layers, feed, noise=False))
        except CannotRun as error:
            raised.append(f"given {feed}, it raised {error}")
        except Unlike as error:
            ran.append(f"given {feed}, {error}")
    raise InputError(
        f"no network here does what this {type(module).__name__} does: {(ran or raised)[0]}; "
        f"{GIVE_SPEC}"
    )


def known_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The layers with weights, and Dropout, by their names in a network.

    Raises:
        InputError: there is a part with weights that has no counterpart.
    """
    found: dict[str, nn.Module] = {}
    for path, part in module.named_modules():
        if isinstance(part, WEIGHTED):
            _check(path or type(part).__name__, part)
        elif not isinstance(part, nn.Dropout):
            _check_stranger(path, part)
            continue
        found[part_name(path, kind_of(part), found)] = part
    if not any(isinstance(part, WEIGHTED) for part in found.values()):
        raise InputError(
            f"this {type(module).__name__} has no layer with weights; known are {_listed()}"
        )
    return found


def _listed() -> str:
    return ", ".join(cls.__name__ for cls in KINDS)


def _check_stranger(path: str, part: nn.Module) -> None:
    """Whatever has weights, or acts in training alone, would be lost."""
    torchs = type(part).__module__.startswith("torch.")
    held = {**part._parameters, **(part._buffers if torchs else {})}
    own = [name for name, tensor in held.items() if tensor is not None]
    if not own and not isinstance(part, nn.modules.dropout._DropoutNd):
        return
    who = f"{path!r}" if path else "the module"
    what = f"{who} is a {type(part).__name__}, which has no counterpart in headgate"
    if not torchs:
        what = f"{who} has parameters of its own, {own}, that no layer here has"
    raise InputError(f"{what}; layers that have one are {_listed()}; {GIVE_SPEC}")


def _check(path: str, part: Any) -> None:
    if torch.nn.utils.parametrize.is_parametrized(part):
        raise InputError(
            f"{path!r} is parametrized; call torch.nn.utils.parametrize.remove_parametrizations "
            "first"
        )
    for name, parameter in part.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise InputError(f"{path!r} has no sizes yet; run the module once before")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"{name} of {path!r} is {parameter.dtype}; convert the module with .float() first"
            )
    if getattr(part, "proj_size", 0):
        raise InputError(f"{path!r} has proj_size={part.proj_size}; headgate has no projections")
    odd = [name for name, _ in part.named_parameters() if not OWN_NAME.fullmatch(name)]
    if odd:  # old weight_norm, spectral_norm and prune; adapters
        raise InputError(
            f"{path!r} has parameters that no {type(part).__name__} has: {odd}; make its weight a "
            "plain one first, as torch.nn.utils.remove_weight_norm does"
        )
    if getattr(part, "max_norm", None) is not None:
        raise InputError(f"{path!r} has max_norm={part.max_norm}; headgate does not renormalise")


def _by_name_or_order(module: nn.Module, spec: NetworkSpec) -> dict[str, Array]:
    """The module's parameters by the spec's names, or by its layers in their order."""
    names = [name for name, _ in module.named_parameters()]
    shapes = spec.parameter_shapes()
    if set(names) == set(shapes):
        return parameters(module, shapes)
    wanted = {
        layer.name: layer for layer in spec.layers if layer.parameter_shapes(spec.reads(layer))
    }
    parts = [part for part in module.modules() if isinstance(part, WEIGHTED)]
    kinds = [layer.kind for layer in wanted.values()]
    if [kind_of(part) for part in parts] != kinds:
        raise InputError(
            f"the module's parameters {names} are not those of the spec, {list(shapes)}, nor are "
            f"its layers {[kind_of(part) for part in parts]} those of the spec in order, {kinds}"
        )
    tensors: dict[str, Array] = {}
    for layer, part in zip(wanted.values(), parts, strict=True):
        own = layer.parameter_shapes(spec.reads(layer))
        made = parameters(part, own)
        if getattr(layer, "tied", ""):
            made.pop("weight", None)
        tensors |= {f"{layer.name}.{key}": value for key, value in made.items()}
    return tensors
