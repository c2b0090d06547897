"""A file of somebody's weights as a network: ``Network.from_safetensors``.

Names and shapes, as PyTorch's ``state_dict`` has them, tell the layers; what computes without
weights must be told.

Shape letters: I inputs, O outputs, H hidden units, F features.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_tuple, shown
from ..errors import InputError
from ..model_file import load_foreign
from ..network import Network
from ..spec import (
    ACTIVATIONS,
    GRU,
    LAYERS,
    LSTM,
    RNN,
    Dense,
    Embedding,
    InputSpec,
    LayerSpec,
    NetworkSpec,
    Recurrent,
)
from .names import part_name

Float32 = NDArray[np.float32]
Tensors = dict[str, Float32]
READOUTS = ("every", "last", "mean", "max")
ROWS: dict[int, type[Recurrent]] = {3: GRU, 4: LSTM, 1: RNN}  # of weight_hh, in H
NONLINEARITIES = ("tanh", "relu")
MOST = 8  # layers that are tried in all orders
GIVE_SPEC = "build the network's spec and pass spec="


class Untold(NamedTuple):
    """What a file of weights does not say; None: not given."""

    order: Sequence[str] | None
    readout: str | None
    activation: str | None
    nonlinearity: str | None


class Part(NamedTuple):
    """A layer in the file: its parameters by their short names, what it reads and puts out."""

    name: str
    cls: type[LayerSpec]
    options: dict[str, Any]
    tensors: Tensors
    reads: int
    width: int


def from_safetensors(
    path: str | os.PathLike[str],
    spec: NetworkSpec | None,
    told: Untold,
    task: str,
    seed: int | None,
) -> Network:
    """See :meth:`headgate.Network.from_safetensors`."""
    tensors = load_foreign(path)
    if spec is not None:
        if any(told) or task != "regression":
            raise InputError("a spec says everything; leave the other options out")
        net = Network(spec, seed=seed)
        net.load_state_dict(_under_the_only_name(tensors, spec))
        return net
    parts = _parts(tensors, told)
    chain = _ordered(parts, told)
    layers, inputs = _layers(chain, told)
    net = Network(NetworkSpec((inputs,), tuple(layers), task=task), seed=seed)
    named = {f"{part.name}.{key}": value for part in chain for key, value in part.tensors.items()}
    zeros = {
        name: np.zeros(shape, np.float32)
        for name, shape in net.spec.parameter_shapes().items()
        if name not in named and ".bias" in name
    }
    net.load_state_dict({**named, **zeros})
    return net


def _under_the_only_name(tensors: Tensors, spec: NetworkSpec) -> Tensors:
    """The tensors of a layer alone, as ``weight_ih_l0``, get the name of the spec's only one."""
    owners = list(dict.fromkeys(name.split(".")[0] for name in spec.parameter_shapes()))
    if len(owners) == 1 and not any("." in name for name in tensors):
        return {f"{owners[0]}.{name}": tensor for name, tensor in tensors.items()}
    return tensors


# -- layers by their names -----------------------------------------------------------------------


def _parts(tensors: Tensors, told: Untold) -> list[Part]:
    groups: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        path, _, key = name.rpartition(".")
        groups.setdefault(path, {})[key] = tensor
    found: list[Part] = []
    for path, own in groups.items():
        taken = [part.name for part in found]
        if "weight_ih_l0" in own:
            found.append(_recurrent(path, own, told, taken))
        else:
            found.append(_plain(path, own, taken))
    if told.nonlinearity is not None and not any(part.cls is RNN for part in found):
        raise InputError("nonlinearity goes with an RNN, and the file has none; leave it out")
    if not found:
        raise InputError("the file has no tensors")
    return found


def _recurrent(path: str, own: Tensors, told: Untold, taken: list[str]) -> Part:
    who = f"{path!r}" if path else "the file"
    hh = own.get("weight_hh_l0")
    if hh is None or hh.ndim != 2 or own["weight_ih_l0"].ndim != 2:
        raise InputError(f"{who} has no weight_hh_l0 that goes with its weight_ih_l0")
    size, reads = hh.shape[1], own["weight_ih_l0"].shape[1]
    cls = ROWS.get(hh.shape[0] // size) if size and hh.shape[0] % size == 0 else None
    if cls is None:
        raise InputError(
            f"weight_hh_l0 of {who} must have 3H rows (GRU), 4H (LSTM) or H (RNN) for H columns, "
            f"got {hh.shape}"
        )
    depth = 1
    while f"weight_ih_l{depth}" in own:
        depth += 1
    options: dict[str, Any] = {
        "hidden_size": size,
        "num_layers": depth,
        "bidirectional": "weight_ih_l0_reverse" in own,
        "layer_norm": "norm_ih_l0" in own,
    }
    if cls is GRU:
        second = own.get("bias_hh_l0")
        options["reset_after"] = second is None or second.shape != (2 * size,)
    if cls is RNN:
        options["nonlinearity"] = _must(told.nonlinearity, "nonlinearity", NONLINEARITIES, who)
    name = part_name(path, cls.kind, taken)
    layer = cls(name, ("x",), **options)
    shapes = layer.parameter_shapes(reads)
    if "bias_ih_l0" not in own:
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith("bias")}
    came = {key: tensor.shape for key, tensor in own.items()}
    if came != shapes:
        odd = sorted(key for key in {*came, *shapes} if came.get(key) != shapes.get(key))
        raise InputError(
            f"{who} is no {cls.__name__} of {reads} inputs and {size} units as headgate has it: "
            f"{odd[0]} should have the shape {shown(shapes.get(odd[0]))}, has "
            f"{shown(came.get(odd[0]))}"
        )
    return Part(name, cls, options, own, reads, layer.output_size(reads))


def _plain(path: str, own: Tensors, taken: list[str]) -> Part:
    """A linear layer, an embedding (a weight alone; a linear layer without a bias looks so too),
    or a linear layer with a tied weight (a bias alone)."""
    shapes = {key: tensor.ndim for key, tensor in own.items()}
    if shapes == {"bias": 1}:
        name, size = part_name(path, "dense", taken), len(own["bias"])
        return Part(name, Dense, {"size": size, "tied": "?"}, own, 0, size)
    if shapes not in ({"weight": 2, "bias": 1}, {"weight": 2}):
        names = [f"{path}.{key}" if path else key for key in own]
        raise InputError(
            f"the tensors {shown(sorted(names))} are of no layer that headgate has: a GRU, LSTM or "
            "RNN (weight_ih_l0, ...), a linear layer (weight, bias) or an embedding (weight)"
        )
    rows, columns = own["weight"].shape
    if "bias" in own and own["bias"].shape != (rows,):
        raise InputError(f"{path!r} has {rows} rows and {len(own['bias'])} biases")
    kind = "dense" if "bias" in own or not path else "embedding"
    return Part(part_name(path, kind, taken), Dense, {"size": rows}, own, columns, rows)


# -- their order ---------------------------------------------------------------------------------


def _ordered(parts: list[Part], told: Untold) -> list[Part]:
    """The parts one behind the other, as they fit, or as ``order`` says."""
    given = told.order is not None
    if told.order is not None:
        order = list(check_tuple("order", told.order, str))
        listed = sorted(part.name for part in parts)
        if sorted(order) != listed:
            raise InputError(f"order must name the layers {listed}, got {shown(order)}")
        parts = sorted(parts, key=lambda part: order.index(part.name))
    elif len(parts) > MOST:
        raise InputError(f"the file has {len(parts)} layers; pass their names in order, as order=")
    chains = list(itertools.islice(_chains([], parts, given), 2))
    if len(chains) == 1:
        return chains[0]
    sizes = ", ".join(sorted(f"{part.name} ({part.reads} to {part.width})" for part in parts))
    if chains:
        ways = [" -> ".join(f"{part.cls.kind} {part.name}" for part in chain) for chain in chains]
        raise InputError(
            f"the layers {sizes} fit in several ways, such as {ways[0]}, and {ways[1]}; pass "
            f"order=, or {GIVE_SPEC}"
        )
    raise InputError(
        f"the layers {sizes} fit in no order in which each reads the one before; {GIVE_SPEC}"
    )


def _chains(begun: list[Part], rest: list[Part], given: bool) -> Iterator[list[Part]]:
    """All orders in which widths fit, or the ``given`` one.

    A weight alone may be an embedding, if nothing is before it.
    """
    if not rest:
        yield begun
        return
    for k, part in enumerate(rest[:1] if given else rest):
        others = rest[:k] + rest[k + 1 :]
        if begun:
            fitting = _tied(part, begun) if part.options.get("tied") else part
            if fitting is not None and fitting.reads == begun[-1].width:
                yield from _chains([*begun, fitting], others, given)
        elif not part.options.get("tied"):
            yield from _chains([part], others, given)
            if set(part.tensors) == {"weight"}:
                yield from _chains([_table(part)], others, given)


def _table(part: Part) -> Part:
    rows, columns = part.tensors["weight"].shape
    return part._replace(
        cls=Embedding, options={"vocabulary": rows, "size": columns}, reads=0, width=columns
    )


def _tied(part: Part, begun: list[Part]) -> Part | None:
    """A bias alone behind an embedding of as many tokens."""
    table = begun[0]
    if table.cls is not Embedding or table.options["vocabulary"] != part.width:
        return None
    return part._replace(options={**part.options, "tied": table.name}, reads=table.width)


# -- the network ---------------------------------------------------------------------------------


def _layers(chain: list[Part], told: Untold) -> tuple[list[LayerSpec], InputSpec]:
    recurrent = [k for k, part in enumerate(chain) if part.cls in ROWS.values()]
    dense = [k for k, part in enumerate(chain) if part.cls is Dense]
    readout, activation = told.readout, told.activation
    if not recurrent and readout not in (None, "every"):
        raise InputError("readout goes with recurrent layers, and the file has none; leave it out")
    if readout is not None or (recurrent and dense):
        who = f"what the linear layers read of {chain[recurrent[-1]].name!r}" if recurrent else ""
        readout = _must(readout, "readout", READOUTS, who)
    if len(dense) > 1:
        activation = _must(activation, "activation", ACTIVATIONS, "the linear layers")
    elif activation is not None:
        raise InputError(
            f"activation stands between linear layers, and the file has {len(dense)}; leave it out"
        )
    tokens = chain[0].cls is Embedding
    inputs = InputSpec("tokens", 1, "tokens") if tokens else InputSpec("x", chain[0].reads)
    layers: list[LayerSpec] = []
    last = inputs.name
    for k, part in enumerate(chain):
        options = dict(part.options)
        if part.cls is Dense and k != dense[-1]:
            options["activation"] = activation
        layers.append(part.cls(part.name, (last,), **options))
        last = part.name
        if recurrent and k == recurrent[-1] and readout not in (None, "every"):
            name = part_name("readout", "readout", [part.name for part in chain])
            layers.append(LAYERS[str(readout)](name, (last,)))
            last = name
    return layers, inputs


def _must(value: str | None, name: str, choices: Sequence[str], who: str) -> str:
    if value is None:
        known = " or ".join(f'{name}="{choice}"' for choice in choices)
        raise InputError(f"a file of weights does not say the {name} of {who}; pass {known}")
    return check_choice(name, value, choices)
