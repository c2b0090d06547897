"""What was seen of somebody's module, written down as a network and held against its numbers.

Shape letters: N samples, T steps, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ... import spec as specs
from ...errors import InputError
from ...network import Network
from ..names import part_name
from .between import FUNCTIONS, INSIDE, MERGES, Change, Match, Source, Unlike, matches, same
from .layers import RNN
from .modules import Recurrent
from .watch import Feed, Forms, Run

Array = NDArray[Any]
KINDS: dict[type[nn.Module], str] = {
    nn.Embedding: "embedding",
    nn.GRU: "gru",
    nn.LSTM: "lstm",
    nn.RNN: "rnn",
    nn.Linear: "dense",
    nn.Dropout: "dropout",
}
TASK_OF = {"softmax": "classification", "log_softmax": "classification", "sigmoid": "binary"}
# Of tokens (N, T), an embedding makes vectors (N, T, F).
WITH_FEATURES = {"N, T without F": "N, T", "T, N without F": "T, N"}


def kind_of(part: nn.Module) -> str:
    return next(kind for cls, kind in KINDS.items() if isinstance(part, cls))


def parameters(part: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """A module's parameters as float32; biases that it does not have are zeros."""
    zeros = {key: np.zeros(shape, np.float32) for key, shape in shapes.items() if "bias" in key}
    own = {name: _array(name, tensor) for name, tensor in part.named_parameters()}
    return {name: array for name, array in zeros.items() if name not in own} | own


def _array(name: str, tensor: Tensor) -> Array:
    if nn.parameter.is_lazy(tensor) or tensor.is_meta:
        raise InputError(
            f"parameter {name!r} has no values yet; run the module once before, or load its weights"
        )
    if not tensor.is_floating_point():
        raise InputError(f"parameter {name!r} is {tensor.dtype}; headgate's are of real numbers")
    with np.errstate(over="ignore"):  # what is infinite is said by whoever takes it
        made: Array = tensor.detach().cpu().double().numpy().astype(np.float32)
    return made


class Reader:
    """Goes along the layers in the order in which they ran."""

    def __init__(self, modules: dict[str, nn.Module], feed: Feed, runs: list[Run]) -> None:
        self.modules, self.runs = modules, runs
        name = "tokens" if feed.tokens else "x"
        self.input = specs.InputSpec(
            name, 1 if feed.tokens else feed.width or 1, name if feed.tokens else "values"
        )
        self.layers: list[specs.LayerSpec] = []
        self.tensors: dict[str, Array] = {}
        self.last = name
        self.tables: dict[int, str] = {}  # embeddings by the identity of their weight

    def network(self, task: str | None, seed: int | None, checks: list[Run]) -> Network:
        """The network, after it has given the outputs of the runs ``checks``.

        Raises:
            Unlike: something that the module does was not recognised.
            InputError: ``task`` is not what the module's end says.
        """
        end, layout = self._walk()
        spec = specs.NetworkSpec((self.input,), tuple(self.layers))
        net = Network(spec, seed=seed)
        net.load_state_dict(self.tensors)
        for run in checks:
            _check(net, run, end, layout)
        found = TASK_OF.get(end, "regression")
        if found == "classification" and spec.output_size == 1:
            raise InputError(
                f"the module ends with a {end} of one output, which is always the same"
            )
        if end != "linear" and task not in (None, found):
            raise InputError(
                f"the module ends with a {end}, so that the task is {found!r}; got task={task!r}"
            )
        if (task or found) == "regression":
            return net
        made = Network(replace(spec, task=task or found), seed=net.seed)
        made.load_state_dict(self.tensors)
        return made

    def _walk(self) -> tuple[str, str]:
        """The function at the end, and the layout of what comes out."""
        sources = [
            Source(run.x if run.x.ndim == 3 else run.x[:, :, None], None, run.lengths)
            for run in self.runs
        ]
        previous, first = "its input", True
        for name in self.runs[0].read:
            targets = [run.read[name] for run in self.runs]
            place = f"between {previous} and {name!r}"
            match = _match(sources, targets, place, first=first)
            self._change(match.change, sources[0])
            self._layer(name)
            sources = self._behind(name, match, sources)
            previous, first = repr(name), False
        match = _match(sources, [run.output for run in self.runs], f"behind {previous}", end=True)
        end = "linear" if match.change.after in INSIDE else match.change.after
        inner = match.change if end == "linear" else match.change._replace(after="linear")
        self._change(inner, sources[0])
        return end, match.layout

    def _behind(self, name: str, match: Match, sources: Sequence[Source]) -> list[Source]:
        """What a layer put out, laid out as what it read."""
        part, made = self.modules[name], [run.made[name] for run in self.runs]
        layout = match.layout
        if isinstance(part, nn.Embedding):
            layout = WITH_FEATURES.get(layout, layout)
        if any(layout not in forms for forms in made):
            raise Unlike(f"{name!r} puts out a tensor that is laid out unlike what it reads")
        split = None
        if isinstance(part, nn.RNNBase) and part.bidirectional:
            split = part.hidden_size
        elif isinstance(part, nn.Dropout) and not match.change.merge:
            split = sources[0].split
        return [
            Source(forms[layout], split, run.lengths)
            for forms, run in zip(made, self.runs, strict=True)
        ]

    # -- what is written down --------------------------------------------------------------------

    def _append(self, cls: type[specs.LayerSpec], name: str, **options: Any) -> None:
        self.layers.append(cls(name, (self.last,), **options))
        self.last = name

    def _layer(self, name: str) -> None:
        part: Any = self.modules[name]
        cls, options = specs.LAYERS[kind_of(part)], _options(part)
        weight = getattr(part, "weight", None)
        tied = self.tables.get(id(weight), "") if cls is specs.Dense else ""
        if tied:
            options["tied"] = tied
        if cls is specs.Embedding:
            self.tables[id(weight)] = name
        self._append(cls, name, **options)
        if cls is not specs.Dropout:
            shapes: dict[str, tuple[int, ...]] = {}
            if cls is specs.Dense:
                shapes = {"bias": (part.out_features,)}
            if isinstance(part, nn.RNNBase):
                shapes = self.layers[-1].parameter_shapes(part.input_size)
            made = parameters(part, shapes)
            if tied:
                del made["weight"]
            self.tensors |= {f"{name}.{key}": value for key, value in made.items()}

    def _change(self, change: Change, source: Source) -> None:
        """Layers that do what happens between two layers."""
        width, readout = source.array.shape[-1], change.readout
        if readout == "last":  # what is done to each element can as well be done behind it
            self._append(specs.Last, self._name("readout"))
        if change.before != "linear":
            self._activation(change.before, width)
        if change.merge:
            self._matrix(change.merge, width)
        if change == Change(readout="raw last", after=change.after):
            self._matrix("steps", width)  # behind it Last reads the last step of both halves
        if readout not in ("", "last"):
            self._append(specs.LAYERS[readout.removeprefix("raw ")], self._name("readout"))
        if change.after != "linear":
            self._activation(change.after, width // 2 if change.merge else width)

    def _name(self, wanted: str) -> str:
        return part_name(wanted, "layer", [*self.modules, *(layer.name for layer in self.layers)])

    def _activation(self, function: str, width: int) -> None:
        last = self.layers[-1] if self.layers else None
        if not isinstance(last, specs.Dense) or last.activation != "linear":
            last = self._matrix(function, width)
        self.layers[-1] = replace(last, activation=function)

    def _matrix(self, what: str, width: int) -> specs.Dense:
        """A dense layer whose weight is made of identities."""
        parts = [scale * np.eye(width // 2, dtype=np.float32) for scale in MERGES.get(what, ())]
        weight = np.concatenate(parts, 1) if parts else np.eye(width, dtype=np.float32)
        name = self._name(f"{self.last}_{what}")
        made = specs.Dense(name, (self.last,), size=len(weight))
        self.layers.append(made)
        self.last = name
        self.tensors[f"{name}.weight"] = weight
        self.tensors[f"{name}.bias"] = np.zeros(len(weight), np.float32)
        return made


def _options(part: Any) -> dict[str, Any]:
    """A layer's options in headgate's words."""
    if isinstance(part, nn.Embedding):
        return {
            "vocabulary": part.num_embeddings,
            "size": part.embedding_dim,
            "padding_index": part.padding_idx,
            "trainable": part.weight.requires_grad,
        }
    if isinstance(part, nn.Linear):
        return {"size": part.out_features}
    if isinstance(part, nn.Dropout):
        return {"rate": float(part.p)}
    options = {
        "hidden_size": part.hidden_size,
        "num_layers": part.num_layers,
        "bidirectional": part.bidirectional,
        "dropout": float(part.dropout) if part.num_layers > 1 else 0.0,
    }
    if isinstance(part, (Recurrent, RNN)):
        options["recurrent_dropout"] = part.recurrent_dropout
        options["layer_norm"] = part.layer_norm
    if isinstance(part, nn.GRU):
        options["reset_after"] = getattr(part, "reset_after", True)
    if isinstance(part, nn.RNN):
        options["nonlinearity"] = part.nonlinearity
    return options


def _match(
    sources: Sequence[Source],
    targets: Sequence[Forms],
    place: str,
    *,
    first: bool = False,
    end: bool = False,
) -> Match:
    found = matches(sources, targets, first=first, end=end)
    if len(found) == 1:
        return found[0]
    if found:
        told = " or ".join(f"({match.change})" for match in found)
        raise Unlike(f"{place} it may do {told}, which are the same on random numbers")
    if first:
        raise Unlike(f"{place} it changes the numbers; a network here reads them as they are")
    at_end = ", sigmoid or softmax" if end else ""
    raise Unlike(
        f"what it does {place} is none of what a network here can do: nothing, the last step, the "
        f"mean or the maximum over time, one direction or their sum or mean, relu, tanh{at_end}"
    )


def _check(net: Network, run: Run, end: str, layout: str) -> None:
    made = FUNCTIONS[end](net.predict(run.x, lengths=run.lengths).astype(np.float64))
    expected = run.output.get(layout)
    if expected is None or not same(made, expected, run.lengths):
        largest = np.inf
        if expected is not None and expected.shape == made.shape:
            largest = float(np.abs(made - expected).max())
        raise Unlike(
            "each of its layers does what a network's would, but its outputs differ by up to "
            f"{largest:.2g} (does it begin with a state that is not zero, change from call to "
            "call, read the last steps alone, or find lengths in its input? a network is told "
            "lengths, so let forward take them as a second argument, lengths)"
        )
