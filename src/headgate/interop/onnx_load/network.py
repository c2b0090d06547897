"""What a run through a graph found, as the network that it is: a spec and its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import ModelFileError
from ...gate_layout import CellWeights
from ...spec import (
    GRU,
    LSTM,
    RNN,
    Add,
    Concat,
    Dense,
    Embedding,
    InputSpec,
    Last,
    LayerSpec,
    Max,
    Mean,
    NetworkSpec,
)
from .traces import Book, Read, Source

Array = npt.NDArray[Any]

_CELLS: dict[str, type[LayerSpec]] = {"GRU": GRU, "LSTM": LSTM, "RNN": RNN}
_SAME = ("op", "directions", "reset_after", "nonlinearity", "backward")


class Place(NamedTuple):
    """Where in the network's states a recurrent operator's are."""

    stack: str
    first: int  # along the axis of layers and directions


class Draft(NamedTuple):
    """A network before it is made live; ``places`` by the index of a source."""

    spec: NetworkSpec
    tensors: dict[str, Array]
    places: dict[int, Place]
    inputs: dict[str, str]  # the network's names of the graph's


@dataclass
class Part:
    """A layer on its way from a source to a spec."""

    kind: str
    reads: list[tuple[Part, bool]]
    facts: dict[str, Any]
    width: int
    sources: list[Source] = field(default_factory=list)  # a stack has one for each layer
    weights: list[list[CellWeights]] = field(default_factory=list)
    name: str = ""


def draft(book: Book, reads: Sequence[Read], task: str) -> Draft:
    """The network whose last layer reads ``reads``."""
    wanted = {read.source.index for read in reads}
    for source in reversed(book.sources):
        if source.index in wanted:
            wanted.update(read.source.index for read in source.reads)
    _check_lengths([source for source in book.sources if source.index in wanted], reads)
    parts: dict[int, Part] = {}
    for source in book.sources:
        if source.index in wanted:
            mine = [(parts[read.source.index], read.last) for read in source.reads]
            parts[source.index] = Part(source.kind, mine, source.facts, source.width, [source])
    final = Part("output", [(parts[read.source.index], read.last) for read in reads], {}, 0)
    order = [*parts.values(), final]
    order = _activations(book, order)
    order = _both_ways(order)
    order = _stacks(order)
    return _Writer(order, task).draft()


def _check_lengths(sources: Sequence[Source], reads: Sequence[Read]) -> None:
    """Here all layers go by the sequences' lengths or none does; refuse graphs that mix."""
    if not any(source.padded for source in sources):
        return
    for source in sources:
        if source.kind == "recurrent" and not source.padded:
            raise ModelFileError(
                f"{source.facts['title']} has no sequence_lens, but another layer has; here all "
                "layers go by the same lengths"
            )
    every = [*reads, *(read for source in sources for read in source.reads)]
    if any(read.source.kind in ("mean", "max") for read in every) or any(
        read.last and not read.source.padded for read in every
    ):
        raise ModelFileError(
            "it reads the last of all steps, or all of them at once, also those past a sequence's "
            "length, which has no counterpart here"
        )


def _readers(order: Sequence[Part], part: Part) -> int:
    return sum(1 for other in order for source, _ in other.reads if source is part)


def _activations(book: Book, order: list[Part]) -> list[Part]:
    """Activations go into the dense layers before them, or become dense layers."""
    gone: list[Part] = []
    for part in order:
        if part.kind == "task":
            raise ModelFileError(
                f"it has a {part.facts['task']} output function inside the network, not at its end"
            )
        if part.kind != "activation":
            continue
        before = part.reads[0][0]
        part.kind = "dense"
        linear = before.kind == "dense" and before.facts["activation"] == "linear"
        alone = len(part.reads) == 1 and not part.reads[0][1] and _readers(order, before) == 1
        if linear and alone:
            part.facts = {**before.facts, "activation": part.facts["activation"]}
            part.reads = before.reads
            gone.append(before)
        else:
            book.spend((part.width, part.width))
            eye = np.eye(part.width, dtype=np.float32)
            part.facts = {"weight": eye, "bias": None, "activation": part.facts["activation"]}
    return [part for part in order if not any(part is other for other in gone)]


def _both_ways(order: list[Part]) -> list[Part]:
    """A forward and a reverse layer of the same input, side by side, are a bidirectional one."""
    for reverse in [part for part in order if part.facts.get("backward")]:
        title = reverse.facts["title"]
        found = [other.reads for other in order if any(p is reverse for p, _ in other.reads)]
        partners = [reads[k - 1] for reads in found for k in _places(reads, reverse) if k > 0]
        if len(partners) < sum(len(_places(reads, reverse)) for reads in found) or not partners:
            raise _alone(title)
        forward = partners[0][0]
        fits = (
            all(part is forward for part, _ in partners)
            and forward.kind == "recurrent"
            and forward.facts["directions"] == 1
            and not forward.facts["backward"]
            and _readers(order, forward) == len(partners)
            and forward.width == reverse.width
            and _same_reads(forward, reverse)
            and forward.sources[0].padded == reverse.sources[0].padded
            and all(forward.facts[k] == reverse.facts[k] for k in _SAME[:-1])
        )
        if not fits:
            raise _alone(title)
        for reads in found:
            for k in reversed(_places(reads, reverse)):
                del reads[k]
        forward.sources.append(reverse.sources[0])
        forward.facts = {
            **forward.facts,
            "directions": 2,
            "weights": [*forward.facts["weights"], *reverse.facts["weights"]],
        }
        order = [part for part in order if part is not reverse]
    return order


def _places(reads: Sequence[tuple[Part, bool]], part: Part) -> list[int]:
    return [k for k, (other, _) in enumerate(reads) if other is part]


def _same_reads(a: Part, b: Part) -> bool:
    return len(a.reads) == len(b.reads) and all(
        x is y and i == j for (x, i), (y, j) in zip(a.reads, b.reads, strict=True)
    )


def _alone(title: str) -> ModelFileError:
    return ModelFileError(
        f"{title} has direction='reverse', which is read here only side by side with a forward "
        "layer of the same input and size, as both halves of a bidirectional one"
    )


def _stacks(order: list[Part]) -> list[Part]:
    """Layers of one kind and size that read each other alone are a stack."""
    result: list[Part] = []
    for part in order:
        if part.kind == "recurrent":
            part.weights = [part.facts["weights"]]
            below = part.reads[0][0]
            joins = (
                len(part.reads) == 1
                and below.kind == "recurrent"
                and _readers(order, below) == 1
                and _hidden(below) == _hidden(part)
                and below.sources[0].padded == part.sources[0].padded
                and all(below.facts[key] == part.facts[key] for key in _SAME)
            )
            if joins:
                part.reads = below.reads
                part.sources = [*below.sources, *part.sources]
                part.weights = [*below.weights, *part.weights]
                result = [other for other in result if other is not below]
        result.append(part)
    return result


def _hidden(part: Part) -> int:
    return int(part.facts["weights"][0].hidden_size)


class _Writer:
    """Parts as named layers, in order."""

    def __init__(self, order: Sequence[Part], task: str) -> None:
        self.order, self.task = order, task
        self.layers: list[Part] = []
        self._helpers: dict[Any, Part] = {}

    def draft(self) -> Draft:
        inputs = [part for part in self.order if part.kind == "data"]
        for part in self.order:
            if part.kind == "data":
                continue
            one = part.kind != "add" and [self._one(part.reads)]
            part.reads = [(read, False) for read in one or [self._one([r]) for r in part.reads]]
            if part.kind != "output":
                self.layers.append(part)
        # what is read last is the output: it stands at the end already, unless it is an input
        end = self.order[-1].reads[0][0]
        if end.kind == "data" or end is not self.layers[-1]:
            raise ModelFileError("its output is not the last of its layers")
        tokens = self._name(inputs)
        spec = NetworkSpec(
            tuple(
                InputSpec(part.name, part.width, "tokens" if part.name in tokens else "values")
                for part in inputs
            ),
            tuple(self._layer(part) for part in self.layers),
            task=self.task,
        )
        tensors = {}
        for part in self.layers:
            tensors.update({f"{part.name}.{key}": value for key, value in self._tensors(part)})
        places = {}
        for part in self.layers:
            first = 0
            for source in part.sources if part.kind == "recurrent" else ():
                places[source.index] = Place(part.name, first)
                first += source.facts["directions"]
        names = {part.sources[0].facts["input"]: part.name for part in inputs}
        return Draft(spec, tensors, places, names)

    def _one(self, reads: Sequence[tuple[Part, bool]]) -> Part:
        """The one layer that stands for what is read: a Last, a Concat, or the part itself."""
        single = []
        for part, last in reads:
            if last:
                part = self._helper("last", [part])
            single.append(part)
        return single[0] if len(single) == 1 else self._helper("concat", single)

    def _helper(self, kind: str, reads: list[Part]) -> Part:
        key = (kind, *map(id, reads))
        if key not in self._helpers:
            width = sum(part.width for part in reads)
            made = Part(kind, [(part, False) for part in reads], {}, width)
            self._helpers[key] = made
            self.layers.append(made)
        return self._helpers[key]

    def _name(self, inputs: Sequence[Part]) -> set[str]:
        """Give every part its name; the names of the inputs that are tokens."""
        embedded = [p.reads[0][0] for p in self.layers if p.kind == "embedding"]
        tokens = [part for part in inputs if any(part is other for other in embedded)]
        _number([part for part in inputs if not any(part is t for t in tokens)], "x")
        _number(tokens, "tokens")
        groups: dict[str, list[Part]] = {}
        for part in self.layers:
            kind = part.facts["op"].lower() if part.kind == "recurrent" else part.kind
            groups.setdefault(kind, []).append(part)
        dense = groups.pop("dense", [])
        if dense and dense[-1] is self.layers[-1]:
            dense.pop().name = "head"
        for k, part in enumerate(dense):
            part.name = f"dense{k}"
        for kind, group in groups.items():
            _number(group, kind)
        return {part.name for part in tokens}

    def _layer(self, part: Part) -> LayerSpec:
        reads = tuple(read.name for read, _ in part.reads)
        if part.kind == "recurrent":
            options: dict[str, Any] = {
                "hidden_size": _hidden(part),
                "num_layers": len(part.weights),
                "bidirectional": part.facts["directions"] == 2,
            }
            if part.facts["op"] == "GRU":
                options["reset_after"] = part.facts["reset_after"]
            elif part.facts["op"] == "RNN":
                options["nonlinearity"] = part.facts["nonlinearity"]
            return _CELLS[part.facts["op"]](part.name, reads, **options)
        if part.kind == "dense":
            size, activation = len(part.facts["weight"]), part.facts["activation"]
            return Dense(part.name, reads, size=size, activation=activation)
        if part.kind == "embedding":
            vocabulary, size = part.facts["table"].shape
            return Embedding(part.name, reads, vocabulary=vocabulary, size=size)
        plain = {"last": Last, "mean": Mean, "max": Max, "concat": Concat, "add": Add}
        return plain[part.kind](part.name, reads)

    def _tensors(self, part: Part) -> list[tuple[str, Array]]:
        if part.kind == "embedding":
            return [("weight", part.facts["table"])]
        if part.kind == "dense":
            weight, bias = part.facts["weight"], part.facts["bias"]
            none = np.zeros(len(weight), np.float32)
            return [("weight", weight), ("bias", none if bias is None else bias)]
        return [
            (f"{key}_l{k}{suffix}", getattr(weights, key))
            for k, layer in enumerate(part.weights)
            for weights, suffix in zip(layer, ("", "_reverse"), strict=False)
            for key in CellWeights._fields
        ]


def _number(parts: Sequence[Part], name: str) -> None:
    for k, part in enumerate(parts):
        part.name = name if len(parts) == 1 else f"{name}{k}"
