"""NetworkSpec: a network and its scaling, described by frozen dataclasses that are JSON.

A spec is data. It holds named inputs, a topologically ordered tuple of layers, the scaling of
the values that enter and leave, and the task that its outputs are for. ``Network`` makes a spec
live, model files carry it, exporters read it.

Shape letters, here and everywhere: N batch, T time, I inputs, H hidden units, L layers,
O outputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .builders import (
    READOUTS,
    Chain,
    append_crf,
    append_head,
    append_readout,
    append_stacks,
    cell_options,
    perceptron,
    read_in,
)
from .checks import check_choice, check_finite, check_flags, check_tuple, parse_json, shown
from .errors import InputError
from .graph import Port, walk
from .layer_specs import (
    ACTIVATIONS,
    CRF,
    GRU,
    LAYERS,
    LSTM,
    MAX_PARAMETERS,
    RNN,
    Add,
    Attention,
    Concat,
    Dense,
    Dropout,
    Embedding,
    InputSpec,
    Last,
    LayerSpec,
    Max,
    Mean,
    ReadOut,
    Recurrent,
    store,
)
from .spec_json import build, items, plain, refuse_unknown

__all__ = [
    "ACTIVATIONS",
    "CRF",
    "GRU",
    "LAYERS",
    "LSTM",
    "READOUTS",
    "RNN",
    "SCALINGS",
    "TASKS",
    "Add",
    "Attention",
    "Concat",
    "Dense",
    "Dropout",
    "Embedding",
    "InputSpec",
    "Last",
    "LayerSpec",
    "Max",
    "Mean",
    "NetworkSpec",
    "ReadOut",
    "Recurrent",
    "ScalingSpec",
]

FORMAT = 1
SCALINGS = ("none", "affine", "per_series", "per_window")
TASKS = ("regression", "classification", "binary", "tagging")


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
        store(
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
    """Named inputs and a topologically ordered tuple of layers; the last layer is the output.

    ``task`` says what the outputs are: "regression" (values), "classification" (a score for each
    of two or more classes; predictions are their softmax), "binary" (yes or no for every
    output; predictions are sigmoids) or "tagging" (a class for every step, by a :class:`CRF`).
    """

    inputs: tuple[InputSpec, ...]
    layers: tuple[LayerSpec, ...]
    scaling: ScalingSpec = field(default_factory=ScalingSpec)
    task: str = "regression"

    def __post_init__(self) -> None:
        store(
            self,
            inputs=check_tuple("inputs of a network", self.inputs, InputSpec),
            layers=check_tuple("layers of a network", self.layers, LayerSpec),
        )
        check_choice("task", self.task, TASKS)
        outputs = self.output_size  # walks the graph, and refuses what does not fit together
        if self.task == "classification" and outputs < 2:
            raise InputError(
                "task='classification' needs an output for each of two or more classes, got "
                "output_size=1; use task='binary' for yes or no"
            )
        self._check_crf(outputs)
        if self.parameter_count() > MAX_PARAMETERS:
            raise InputError(
                f"the network has {self.parameter_count()} parameters, at most {MAX_PARAMETERS} "
                "are possible; use smaller or fewer layers"
            )

    def _check_crf(self, outputs: int) -> None:
        last = self.layers[-1]
        for layer in self.layers[:-1]:
            if isinstance(layer, CRF):
                raise InputError(
                    f"layer {layer.name!r} (crf) must be the last layer; {last.name!r} is behind it"
                )
        if isinstance(last, CRF) != (self.task == "tagging"):
            raise InputError(
                f"task='tagging' and a CRF as the last layer go together, got task={self.task!r} "
                f"and layer {last.name!r} ({last.kind}) last"
            )
        if isinstance(last, CRF) and outputs < 2:
            raise InputError(
                f"layer {last.name!r} (crf) needs a score for each of two or more classes, got one"
            )

    @cached_property
    def ports(self) -> dict[str, Port]:
        """What every input and layer puts out, by name."""
        return walk(self.inputs, self.layers)

    @property
    def input_size(self) -> int:
        """Width of the input of values; 0 for a network that reads tokens alone."""
        return next((spec.size for spec in self.inputs if spec.kind == "values"), 0)

    @property
    def token_inputs(self) -> tuple[str, ...]:
        """Names of the inputs of tokens, in the order of their columns."""
        return tuple(self.token_columns)

    @cached_property
    def token_columns(self) -> dict[str, slice]:
        """Which columns of a table's tokens each input of tokens has, by name."""
        columns: dict[str, slice] = {}
        end = 0
        for spec in self.inputs:
            if spec.kind == "tokens":
                columns[spec.name] = slice(end, end + spec.size)
                end += spec.size
        return columns

    @property
    def output_size(self) -> int:
        return self.ports[self.layers[-1].name].width

    @property
    def readout(self) -> str:
        """``every`` when the output has a row for every step, else the kind that pools."""
        return self.ports[self.layers[-1].name].pooled_by or "every"

    @property
    def pooled(self) -> bool:
        """Whether the output is one vector a sequence."""
        return self.readout != "every"

    def recurrent(self) -> list[Recurrent]:
        """The recurrent stacks, in order."""
        return [layer for layer in self.layers if isinstance(layer, Recurrent)]

    def widths(self) -> dict[str, int]:
        """Features that each input and layer puts out, by name."""
        return {name: port.width for name, port in self.ports.items()}

    def reads(self, layer: LayerSpec) -> int:
        """Features that ``layer`` reads, of all its inputs together."""
        return sum(self.ports[name].width for name in layer.inputs)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Full parameter names (``gru.weight_ih_l0``) and shapes, in the engine's order."""
        return {
            f"{layer.name}.{key}": shape
            for layer in self.layers
            for key, shape in layer.parameter_shapes(self.reads(layer)).items()
        }

    def parameter_count(self) -> int:
        """Number of parameters, every bias counted as it stands (see :class:`GRU`)."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    # -- builders ---------------------------------------------------------------------------

    @classmethod
    def stacked(
        cls,
        input_size: int | None = None,
        hidden_size: int | Sequence[int] | None = None,
        output_size: int | None = 1,
        *,
        cell: str = "gru",
        num_layers: int = 1,
        reset_after: bool = True,
        nonlinearity: str = "tanh",
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
        readout: str = "last",
        attention: str = "additive",
        attention_size: int | None = None,
        head_dropout: float = 0.0,
        dense: Sequence[int] = (),
        activation: str = "relu",
        vocabulary: int | None = None,
        embedding_size: int | None = None,
        padding_index: int | None = None,
        train_embedding: bool = True,
        embedding_scale: float = 1.0,
        token_columns: int = 1,
        tied: bool = False,
        task: str = "regression",
    ) -> NetworkSpec:
        """Embedding, recurrent stack, read-out, dense layers, linear head: the usual network.

        Args:
            input_size: features of the input "x"; None for tokens alone.
            hidden_size: width of ``num_layers`` layers, or the widths of several, such as
                [64, 32, 16], which become a stack each ("gru0", "gru1", ...; one stack where
                ``residual`` adds them up).
            output_size: of the head; None leaves it out: the states themselves come out.
            cell: "gru", "lstm" or "rnn"; also the stack's name.
            reset_after: of a GRU, see :class:`GRU`.
            nonlinearity: of an RNN, "tanh" or "relu".
            bidirectional, dropout, input_dropout, recurrent_dropout, residual, layer_norm: see
                :class:`Recurrent`; ``dropout`` acts between layers.
            readout: "every" step, or one vector a sequence: its "last" valid step, the "mean" or
                "max" over its valid steps, or "attention".
            attention, attention_size: score and size of :class:`Attention`.
            head_dropout: between the read-out and what follows.
            dense, activation: widths of hidden dense layers before the head, and theirs.
            vocabulary: how many tokens there are, for an input "tokens" of integers; beside
                ``input_size``, the token's vector and the values stand side by side.
            embedding_size, padding_index, train_embedding, embedding_scale: see
                :class:`Embedding`, where the last is ``initial_scale``.
            token_columns: how many tokens a step has, whose vectors are added.
            tied: the head's weight is the embedding's table, see :class:`Dense`. What the head
                reads must be ``embedding_size`` wide, ``output_size`` be the vocabulary.
            task: "regression", "classification", "binary" or "tagging", see
                :class:`NetworkSpec`; "tagging" needs ``readout="every"`` and a head, and puts a
                :class:`CRF` behind it.

        Raises:
            InputError: an option is out of range, or does not go with the others.
        """
        check_flags(tied=tied)
        if tied and vocabulary is None:
            raise InputError("tied goes with vocabulary; pass how many tokens there are")
        options = cell_options(cell, reset_after, nonlinearity)
        inputs, layers = read_in(
            input_size,
            vocabulary,
            embedding_size,
            token_columns,
            padding_index=padding_index,
            trainable=train_embedding,
            initial_scale=embedding_scale,
        )
        if hidden_size is None:
            raise InputError(
                "hidden_size is missing; pass the width of the recurrent layers, such as 16"
            )
        chain = Chain(layers[-1].name if layers else inputs[-1].name)
        options |= {
            "bidirectional": bidirectional,
            "recurrent_dropout": recurrent_dropout,
            "layer_norm": layer_norm,
        }
        append_stacks(
            chain,
            cell,
            hidden_size,
            num_layers,
            options,
            dropout=dropout,
            input_dropout=input_dropout,
            residual=residual,
        )
        append_readout(chain, readout, attention, attention_size)
        table = "embedding" if tied else ""
        append_head(chain, head_dropout, dense, activation, output_size, table)
        if task == "tagging":
            append_crf(chain, readout, output_size)
        return cls(tuple(inputs), (*layers, *chain.layers), task=task)

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
        inputs, layers = perceptron(input_size, hidden_sizes, output_size, activation, dropout)
        return cls(tuple(inputs), tuple(layers))

    # -- JSON -------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain dicts, lists, strings and numbers."""
        return {
            "format": FORMAT,
            "inputs": [plain(item) for item in self.inputs],
            "layers": [{"kind": layer.kind, **plain(layer)} for layer in self.layers],
            "scaling": plain(self.scaling),
            "task": self.task,
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkSpec:
        """The inverse of :meth:`to_dict`; refuses unknown keys, kinds and formats by name.

        Keys that a file of an earlier version lacks get their defaults.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"the network spec must be a JSON object, got {type(data).__name__}")
        # before the keys: a newer format may well have others
        if data.get("format") != FORMAT or isinstance(data.get("format"), bool):
            raise InputError(
                f"the network spec has format {shown(data.get('format'))}, this version reads "
                f"format {FORMAT}; upgrade headgate"
            )
        refuse_unknown("a network spec", data, {"format", "inputs", "layers", "scaling", "task"})
        inputs = tuple(build(InputSpec, "an input", item) for item in items(data, "inputs"))
        layers = []
        for item in items(data, "layers"):
            kind = item.get("kind") if isinstance(item, Mapping) else None
            if not isinstance(kind, str) or kind not in LAYERS:
                raise InputError(f"unknown layer kind {shown(kind)}; known are {', '.join(LAYERS)}")
            options = {key: value for key, value in item.items() if key != "kind"}
            layers.append(build(LAYERS[kind], f"a {kind} layer", options))
        scaling = build(ScalingSpec, "the scaling", data.get("scaling", {}))
        return cls(inputs, tuple(layers), scaling, data.get("task", "regression"))

    @classmethod
    def from_json(cls, text: str) -> NetworkSpec:
        return cls.from_dict(parse_json(text, "the network spec"))
