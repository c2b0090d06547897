"""The graph that a network's inputs and layers make: checked, and walked once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .checks import MAX_SIZE, shown
from .errors import InputError
from .layer_specs import (
    LAYERS,
    MAX_DEPTH,
    MAX_LAYERS,
    Add,
    Dense,
    Dropout,
    Embedding,
    InputSpec,
    LayerSpec,
    Recurrent,
)


class Port(NamedTuple):
    """What an input or a layer puts out.

    Attributes:
        width: features.
        pooled_by: kind of the read-out that made one vector of each sequence; "" when there is
            a row for every step.
        split: features that belong to the forward direction, when a bidirectional stack put
            them out; ``width`` otherwise. ``last`` reads the others at the first step.
        tokens: whether they are numbers for an Embedding.
    """

    width: int
    pooled_by: str = ""
    split: int = 0
    tokens: bool = False


def walk(inputs: Sequence[InputSpec], layers: Sequence[LayerSpec]) -> dict[str, Port]:
    """What every input and layer puts out, by name, in order.

    Raises:
        InputError: the parts do not fit together.
    """
    if not inputs:
        raise InputError("a network has at least one input, got none")
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise InputError(f"a network has 1 to {MAX_LAYERS} layers, got {len(layers)}")
    depth = sum(getattr(layer, "num_layers", 1) for layer in layers)
    if depth > MAX_DEPTH:
        raise InputError(
            f"a network has at most {MAX_DEPTH} layers, those of stacks counted one by one, got "
            f"{depth}"
        )
    values = [spec.name for spec in inputs if spec.kind == "values"]
    if len(values) > 1:
        raise InputError(
            f"a network has at most one input of kind='values', got {shown(values)}; put the "
            "features side by side in one"
        )
    ports: dict[str, Port] = {}
    for spec in inputs:
        _refuse_second(spec.name, ports)
        ports[spec.name] = Port(spec.size, split=spec.size, tokens=spec.kind == "tokens")
    for layer in layers:
        _refuse_second(layer.name, ports)
        ports[layer.name] = _output(layer, ports)
    _check_ties(layers, ports)
    read = {name for layer in layers for name in layer.inputs}
    unused = [name for name in ports if name not in read and name != layers[-1].name]
    if unused:
        what = "input" if unused[0] in {spec.name for spec in inputs} else "layer"
        raise InputError(
            f"{what} {unused[0]!r} is read by no layer; connect it or leave it out (the last "
            f"layer, {layers[-1].name!r}, is the output)"
        )
    return ports


def _check_ties(layers: Sequence[LayerSpec], ports: dict[str, Port]) -> None:
    """Tied weights: the table must be there already, of the right shape, and tied once."""
    tables: dict[str, Embedding] = {}
    owner: dict[str, str] = {}
    for layer in layers:
        if isinstance(layer, Embedding):
            tables[layer.name] = layer
        if not isinstance(layer, Dense) or not layer.tied:
            continue
        who = f"layer {layer.name!r} (dense), tied to {layer.tied!r},"
        table = tables.get(layer.tied)
        if table is None:
            raise InputError(
                f"{who} needs an embedding of that name before it; there are {shown(list(tables))}"
            )
        reads = ports[layer.inputs[0]].width
        if reads != table.size:
            raise InputError(
                f"{who} reads {reads} features, but the embedding's vectors have {table.size}; put "
                f"a Dense layer of size {table.size} before it, or make the embedding {reads} wide"
            )
        if layer.size != table.vocabulary:
            raise InputError(
                f"{who} puts out a score for each of the embedding's {table.vocabulary} tokens; "
                f"its size is {layer.size}, make it {table.vocabulary}"
            )
        if layer.tied in owner:
            raise InputError(f"{who} shares it with {owner[layer.tied]!r}; one layer can be tied")
        owner[layer.tied] = layer.name


def _refuse_second(name: str, ports: dict[str, Port]) -> None:
    if name in ports:
        raise InputError(f"two parts of the network are named {name!r}; rename one")


def _output(layer: LayerSpec, ports: dict[str, Port]) -> Port:
    """What ``layer`` puts out, after the parts that stand before it."""
    if type(layer) is not LAYERS.get(layer.kind):
        raise InputError(
            f"layer {layer.name!r} is a {type(layer).__name__}, which nothing can run; known are "
            f"{', '.join(cls.__name__ for cls in LAYERS.values())}"
        )
    who = f"layer {layer.name!r} ({layer.kind})"
    _check_inputs(who, layer, ports)
    read = [ports[name] for name in layer.inputs]
    pooled = [name for name in layer.inputs if ports[name].pooled_by]
    if pooled and layer.needs_steps:
        kind = ports[pooled[0]].pooled_by
        raise InputError(
            f"{who} needs a sequence, but a {kind!r} layer before it keeps one vector only; "
            f"move {kind!r} behind it"
        )
    if pooled and len(pooled) < len(read):
        others = [name for name in layer.inputs if name not in pooled]
        raise InputError(
            f"{who} cannot join {pooled[0]!r}, one vector a sequence, with {others[0]!r}, which "
            "has a row for every step; put a read-out behind the latter"
        )
    widths = [port.width for port in read]
    if isinstance(layer, Add) and len(set(widths)) > 1:
        raise InputError(
            f"{who} adds inputs of one width, but {shown(list(layer.inputs))} have the widths "
            f"{shown(widths)}; put a dense layer before those that differ"
        )
    width = layer.output_size(sum(widths))
    if width > MAX_SIZE:
        raise InputError(f"{who} puts out {width} features, at most {MAX_SIZE} are possible")
    split = width
    if isinstance(layer, Recurrent):
        split = layer.hidden_size
    elif isinstance(layer, Dropout):
        split = read[0].split
    return Port(width, layer.kind if layer.pools else read[0].pooled_by, split)


def _check_inputs(who: str, layer: LayerSpec, ports: dict[str, Port]) -> None:
    names = layer.inputs
    if layer.joins and not 2 <= len(names) <= MAX_LAYERS:
        raise InputError(f"{who} reads 2 to {MAX_LAYERS} others, got inputs={shown(names)}")
    if not layer.joins and len(names) != 1:
        raise InputError(
            f"{who} reads exactly one other, got inputs={shown(names)}; join several by a concat "
            "or an add layer"
        )
    for name in names:
        if not isinstance(name, str) or name not in ports:
            raise InputError(
                f"{who} reads {shown(name)}, which is no input and no layer before it; before it "
                f"are {shown(list(ports))}"
            )
        embeds = isinstance(layer, Embedding)
        if ports[name].tokens and not embeds:
            raise InputError(
                f"{who} reads the tokens {name!r} themselves; put an embedding between them"
            )
        if embeds and not ports[name].tokens:
            raise InputError(f"{who} reads {name!r}; it needs an input of kind='tokens'")
    if len(set(names)) < len(names):
        raise InputError(f"{who} reads a part twice, got inputs={shown(names)}; name each once")
