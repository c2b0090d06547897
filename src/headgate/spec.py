"""NetworkSpec: a network and its scaling, described by frozen dataclasses that are JSON.

A spec is data. It holds named inputs, a topologically ordered tuple of layers, and the
scaling of the values that enter and leave. ``Network`` makes a spec live, model files carry
it, exporters read it.

Shape letters, here and everywhere: N batch, T time, I inputs, H hidden units, L layers,
O outputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

from .checks import (
    check_choice,
    check_finite,
    check_name,
    check_rate,
    check_size,
    check_tuple,
    parse_json,
    shown,
)
from .errors import InputError

FORMAT = 1
ACTIVATIONS = ("linear", "relu", "tanh")
READOUTS = ("every", "last")
SCALINGS = ("none", "affine", "per_series", "per_window")
MAX_LAYERS = 256
MAX_PARAMETERS = (1 << 31) - 1


def _set(item: Any, **values: Any) -> None:
    """Store normalised values (np.int64 -> int, list -> tuple) in a frozen dataclass."""
    for name, value in values.items():
        object.__setattr__(item, name, value)


@dataclass(frozen=True)
class InputSpec:
    """A named input of ``size`` features for every time step."""

    name: str
    size: int

    def __post_init__(self) -> None:
        check_name("input", self.name)
        _set(self, size=check_size(f"the size of input {self.name!r}", self.size))


@dataclass(frozen=True)
class LayerSpec:
    """What every layer has: a name and the names of what it reads."""

    kind: ClassVar[str] = ""
    name: str
    inputs: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name("layer", self.name)
        _set(self, inputs=check_tuple(f"inputs of layer {self.name!r}", self.inputs))
        self.check()

    def output_size(self, input_size: int) -> int:
        """Width of the output for an input of ``input_size`` features."""
        return input_size

    def parameter_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """PyTorch's parameter names (without the layer's name) and shapes."""
        return {}

    def check(self) -> None:
        """Normalise the options; raise InputError when one is out of range."""


@dataclass(frozen=True)
class GRU(LayerSpec):
    """A stack of GRU layers, as ``torch.nn.GRU`` is one: (N, T, I) -> (N, T, H).

    ``reset_after=True``: n = tanh(W_n x + b_in + r * (U_n h + b_hn)) (Cho 2014 v1, cuDNN).
    ``reset_after=False``: n = tanh(W_n x + b_in + U_n (r * h)) (Cho 2014 v3, Chung 2014); its
    candidate has one bias, so ``bias_hh`` is (2H,): the third part is absent, not zero.
    """

    kind: ClassVar[str] = "gru"
    hidden_size: int = 16
    num_layers: int = 1
    reset_after: bool = True

    def check(self) -> None:
        whose = f"of layer {self.name!r}"
        _set(
            self,
            hidden_size=check_size(f"hidden_size {whose}", self.hidden_size),
            num_layers=check_size(f"num_layers {whose}", self.num_layers, maximum=MAX_LAYERS),
        )
        if not isinstance(self.reset_after, bool):
            raise InputError(
                f"reset_after {whose} must be True or False, got {shown(self.reset_after)}"
            )

    def output_size(self, input_size: int) -> int:
        return self.hidden_size

    def parameter_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        h = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for k in range(self.num_layers):
            shapes[f"weight_ih_l{k}"] = (3 * h, input_size if k == 0 else h)
            shapes[f"weight_hh_l{k}"] = (3 * h, h)
            shapes[f"bias_ih_l{k}"] = (3 * h,)
            shapes[f"bias_hh_l{k}"] = (3 * h if self.reset_after else 2 * h,)
        return shapes


@dataclass(frozen=True)
class Dense(LayerSpec):
    """y = activation(x W^T + b) on every step: (…, I) -> (…, O)."""

    kind: ClassVar[str] = "dense"
    size: int = 1
    activation: str = "linear"

    def check(self) -> None:
        _set(self, size=check_size(f"size of layer {self.name!r}", self.size))
        check_choice(f"activation of layer {self.name!r}", self.activation, ACTIVATIONS)

    def output_size(self, input_size: int) -> int:
        return self.size

    def parameter_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.size, input_size), "bias": (self.size,)}


@dataclass(frozen=True)
class Dropout(LayerSpec):
    """Inverted dropout while training (Srivastava et al. 2014); the identity in prediction."""

    kind: ClassVar[str] = "dropout"
    rate: float = 0.0

    def check(self) -> None:
        _set(self, rate=check_rate(f"rate of layer {self.name!r}", self.rate))


@dataclass(frozen=True)
class Last(LayerSpec):
    """Read-out of each sequence's last valid step: (N, T, F) -> (N, F)."""

    kind: ClassVar[str] = "last"


LAYERS: dict[str, type[LayerSpec]] = {c.kind: c for c in (GRU, Dense, Dropout, Last)}


@dataclass(frozen=True)
class ScalingSpec:
    """How values are scaled on the way in and back on the way out: (x - shift) / scale.

    ``affine`` has one shift and scale for each feature; ``per_series`` and ``per_window``
    compute theirs from the data by ``method``; ``none`` leaves values alone.
    """

    kind: str = "none"
    method: str = ""
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_choice("scaling kind", self.kind, SCALINGS)
        if not isinstance(self.method, str):
            raise InputError(f"the scaling method must be a string, got {shown(self.method)}")
        _set(
            self,
            shift=check_finite("the shift of a scaling", self.shift),
            scale=check_finite("the scale of a scaling", self.scale),
        )
        if len(self.shift) != len(self.scale):
            raise InputError(
                f"scaling needs as many shifts as scales, got {len(self.shift)} and "
                f"{len(self.scale)}"
            )
        if any(abs(value) < 1.2e-38 for value in self.scale):  # 0 or subnormal in float32
            raise InputError("the scale of a scaling must not be 0; use 1 for a constant feature")


@dataclass(frozen=True)
class NetworkSpec:
    """Named inputs and a topologically ordered tuple of layers; the last layer is the output."""

    inputs: tuple[InputSpec, ...]
    layers: tuple[LayerSpec, ...]
    scaling: ScalingSpec = field(default_factory=ScalingSpec)

    def __post_init__(self) -> None:
        _set(
            self,
            inputs=check_tuple("inputs of a network", self.inputs, InputSpec),
            layers=check_tuple("layers of a network", self.layers, LayerSpec),
        )
        self.widths()  # walks the graph, and refuses what does not fit together
        if self.parameter_count() > MAX_PARAMETERS:
            raise InputError(
                f"the network has {self.parameter_count()} parameters, at most {MAX_PARAMETERS} "
                "are possible; use smaller or fewer layers"
            )

    @property
    def input_size(self) -> int:
        return self.inputs[0].size

    @cached_property
    def output_size(self) -> int:
        return self.widths()[self.layers[-1].name]

    @cached_property
    def readout(self) -> str:
        """``last`` when the output is one vector a sequence, ``every`` when one a step."""
        return "last" if any(isinstance(layer, Last) for layer in self.layers) else "every"

    def recurrent(self) -> list[GRU]:
        """The recurrent stacks, in order."""
        return [layer for layer in self.layers if isinstance(layer, GRU)]

    def widths(self) -> dict[str, int]:
        """Features that each input and layer puts out, by name."""
        if len(self.inputs) != 1:
            raise InputError(f"a network has exactly one input for now, got {len(self.inputs)}")
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise InputError(f"a network has 1 to {MAX_LAYERS} layers, got {len(self.layers)}")
        widths = {spec.name: spec.size for spec in self.inputs}
        previous, pooled = self.inputs[0].name, False
        for layer in self.layers:
            if layer.name in widths:
                raise InputError(f"two parts of the network are named {layer.name!r}; rename one")
            if layer.inputs != (previous,):
                raise InputError(
                    f"layer {layer.name!r} must read from the one before it, {previous!r}, "
                    f"got inputs={shown(layer.inputs)}"
                )
            if pooled and isinstance(layer, (GRU, Last)):
                raise InputError(
                    f"layer {layer.name!r} ({layer.kind}) needs a sequence, but a 'last' layer "
                    "before it keeps one step only; move 'last' behind it"
                )
            pooled = pooled or isinstance(layer, Last)
            widths[layer.name] = layer.output_size(widths[previous])
            previous = layer.name
        return widths

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Full parameter names (``gru.weight_ih_l0``) and shapes, in the engine's order."""
        widths = self.widths()
        return {
            f"{layer.name}.{key}": shape
            for layer in self.layers
            for key, shape in layer.parameter_shapes(widths[layer.inputs[0]]).items()
        }

    def parameter_count(self) -> int:
        """Number of parameters, every bias counted as it stands (see :class:`GRU`)."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    # -- builders ---------------------------------------------------------------------------

    @classmethod
    def stacked(
        cls,
        input_size: int,
        hidden_size: int | Sequence[int],
        output_size: int | None = 1,
        *,
        num_layers: int = 1,
        reset_after: bool = True,
        readout: str = "last",
        dropout: float = 0.0,
        dense: Sequence[int] = (),
        activation: str = "relu",
    ) -> NetworkSpec:
        """GRU stack, read-out, dropout, dense layers, linear head: the usual network.

        ``hidden_size`` is the width of ``num_layers`` layers, or the widths of several, such as
        [64, 32, 16]. ``output_size=None`` leaves the head out: the states themselves come out.
        ``readout="last"`` reads the last valid step of each sequence, ``"every"`` all steps.
        ``dropout`` stands between the read-out and what follows; ``dense`` are the widths of
        hidden layers with ``activation`` before the linear head.
        """
        check_choice("readout", readout, READOUTS)
        rate = check_rate("dropout", dropout)
        several = isinstance(hidden_size, Sequence) and not isinstance(hidden_size, str)
        widths = check_tuple("hidden_size", hidden_size) if several else (hidden_size,)
        if not widths:
            raise InputError("hidden_size is empty; pass a number, or a width for each layer")
        if several and num_layers not in (1, len(widths)):
            raise InputError(
                f"hidden_size={shown(hidden_size)} says how many layers there are, "
                f"num_layers={shown(num_layers)} otherwise; leave num_layers out"
            )
        chain: list[tuple[type[LayerSpec], str, dict[str, Any]]] = [
            (
                GRU,
                "gru" if len(widths) == 1 else f"gru{k}",
                {
                    "hidden_size": width,
                    "num_layers": 1 if several else num_layers,
                    "reset_after": reset_after,
                },
            )
            for k, width in enumerate(widths)
        ]
        if readout == "last":
            chain.append((Last, "last", {}))
        if rate:
            chain.append((Dropout, "dropout", {"rate": rate}))
        chain += [
            (Dense, f"dense{k}", {"size": size, "activation": activation})
            for k, size in enumerate(check_tuple("dense", dense))
        ]
        if output_size is not None:
            chain.append((Dense, "head", {"size": output_size}))
        return cls._chained(input_size, chain)

    @classmethod
    def mlp(
        cls,
        input_size: int,
        hidden_sizes: Sequence[int],
        output_size: int = 1,
        *,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> NetworkSpec:
        """Dense layers on every step and a linear head: what a GRU is compared with."""
        rate = check_rate("dropout", dropout)
        chain: list[tuple[type[LayerSpec], str, dict[str, Any]]] = []
        for k, size in enumerate(check_tuple("hidden_sizes", hidden_sizes)):
            chain.append((Dense, f"dense{k}", {"size": size, "activation": activation}))
            if rate:
                chain.append((Dropout, f"dropout{k}", {"rate": rate}))
        chain.append((Dense, "head", {"size": output_size}))
        return cls._chained(input_size, chain)

    @classmethod
    def _chained(
        cls, input_size: int, chain: list[tuple[type[LayerSpec], str, dict[str, Any]]]
    ) -> NetworkSpec:
        layers: list[LayerSpec] = []
        previous = "x"
        for layer_class, name, options in chain:
            layers.append(layer_class(name=name, inputs=(previous,), **options))
            previous = name
        return cls(inputs=(InputSpec("x", input_size),), layers=tuple(layers))

    # -- JSON -------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain dicts, lists, strings and numbers."""
        return {
            "format": FORMAT,
            "inputs": [_plain(item) for item in self.inputs],
            "layers": [{"kind": layer.kind, **_plain(layer)} for layer in self.layers],
            "scaling": _plain(self.scaling),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkSpec:
        """The inverse of :meth:`to_dict`; refuses unknown keys, kinds and formats by name."""
        if not isinstance(data, Mapping):
            raise InputError(f"the network spec must be a JSON object, got {type(data).__name__}")
        # before the keys: a newer format may well have others
        if data.get("format") != FORMAT or isinstance(data.get("format"), bool):
            raise InputError(
                f"the network spec has format {shown(data.get('format'))}, this version reads "
                f"format {FORMAT}; upgrade headgate"
            )
        _refuse_unknown("a network spec", data, {"format", "inputs", "layers", "scaling"})
        inputs = tuple(_build(InputSpec, "an input", item) for item in _items(data, "inputs"))
        layers = []
        for item in _items(data, "layers"):
            kind = item.get("kind") if isinstance(item, Mapping) else None
            if not isinstance(kind, str) or kind not in LAYERS:
                raise InputError(f"unknown layer kind {shown(kind)}; known are {', '.join(LAYERS)}")
            options = {key: value for key, value in item.items() if key != "kind"}
            layers.append(_build(LAYERS[kind], f"a {kind} layer", options))
        scaling = _build(ScalingSpec, "the scaling", data.get("scaling", {}))
        return cls(inputs=inputs, layers=tuple(layers), scaling=scaling)

    @classmethod
    def from_json(cls, text: str) -> NetworkSpec:
        return cls.from_dict(parse_json(text, "the network spec"))


def _plain(item: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for entry in fields(item):
        value = getattr(item, entry.name)
        result[entry.name] = list(value) if isinstance(value, tuple) else value
    return result


def _items(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{key!r} of a network spec must be a list, got {type(value).__name__}")
    return list(value)


def _refuse_unknown(what: str, data: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(map(str, data)) - known)
    if unknown:
        raise InputError(f"{what} has unknown keys {shown(unknown)}; known are {sorted(known)}")


# JSON type of each annotation used above; the annotations are strings.
_FIELD_CHECKS: dict[str, Any] = {
    "str": lambda v: isinstance(v, str),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "float": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "tuple[str, ...]": lambda v: all(isinstance(x, str) for x in v),
    "tuple[float, ...]": lambda v: all(
        isinstance(x, (int, float)) and not isinstance(x, bool) for x in v
    ),
}


def _build(target: Any, what: str, data: Any) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(f"{what} must be a JSON object, got {type(data).__name__}")
    known = {entry.name: str(entry.type) for entry in fields(target)}
    _refuse_unknown(what, data, set(known))
    options = {}
    for key, value in data.items():
        if known[key].startswith("tuple"):
            if not isinstance(value, (list, tuple)):
                raise InputError(f"{key!r} of {what} must be a list, got {shown(value)}")
            value = tuple(value)
        if not _FIELD_CHECKS[known[key]](value):
            raise InputError(f"{key!r} of {what} must be {known[key]}, got {shown(value)}")
        options[key] = value
    try:
        return target(**options)
    except TypeError as error:
        raise InputError(f"{what} is incomplete: {error}") from None
