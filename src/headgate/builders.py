"""The inputs and layers of the usual networks, from keywords.

``NetworkSpec.stacked`` and ``NetworkSpec.mlp`` are the faces of what is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .checks import check_choice, check_flags, check_rate, check_tuple, shown
from .errors import InputError
from .layer_specs import (
    CRF,
    GRU,
    LAYERS,
    LSTM,
    RNN,
    Attention,
    Concat,
    Dense,
    Dropout,
    Embedding,
    InputSpec,
    LayerSpec,
    Recurrent,
)

CELLS: dict[str, type[Recurrent]] = {"gru": GRU, "lstm": LSTM, "rnn": RNN}
READOUTS = ("every", "last", "mean", "max", "attention")


class Chain:
    """Layers that each read the one before: append(Dense, "head", size=2)."""

    def __init__(self, first: str) -> None:
        self.layers: list[LayerSpec] = []
        self.last = first

    def append(self, layer: type[LayerSpec], name: str, **options: Any) -> None:
        self.layers.append(layer(name=name, inputs=(self.last,), **options))
        self.last = name


def read_in(
    input_size: int | None,
    vocabulary: int | None,
    embedding_size: int | None,
    token_columns: int,
    **options: Any,
) -> tuple[list[InputSpec], list[LayerSpec]]:
    """The inputs "x" and "tokens", and the layers that make one sequence of them.

    ``options``: of the Embedding, beside its vocabulary and size.
    """
    inputs = [] if input_size is None else [InputSpec("x", input_size)]
    if vocabulary is None:
        given = [
            ("embedding_size", embedding_size, None),
            ("padding_index", options["padding_index"], None),
            ("train_embedding", options["trainable"], True),
            ("embedding_scale", options["initial_scale"], 1.0),
            ("token_columns", token_columns, 1),
        ]
        for name, value, default in given:
            if type(value) is not type(default) or value != default:
                raise InputError(f"{name} goes with vocabulary; pass how many tokens there are")
        if not inputs:
            raise InputError("a network needs an input: pass input_size, vocabulary, or both")
        return inputs, []
    if embedding_size is None:
        raise InputError(
            "vocabulary needs embedding_size, the length of each token's vector; pass a number "
            "such as 32"
        )
    embedding = Embedding(
        "embedding",
        ("tokens",),
        vocabulary=vocabulary,
        size=embedding_size,
        **options,
    )
    both: list[LayerSpec] = [Concat("concat", ("x", "embedding"))] if inputs else []
    return [*inputs, InputSpec("tokens", token_columns, "tokens")], [embedding, *both]


def append_stacks(
    chain: Chain,
    cell: str,
    hidden_size: int | Sequence[int],
    num_layers: int,
    options: dict[str, Any],
    *,
    dropout: float,
    input_dropout: float,
    residual: bool,
) -> None:
    """One stack of ``num_layers`` layers, or one stack for each of several widths."""
    check_flags(residual=residual)
    rate = check_rate("dropout", dropout)
    widths = _widths(hidden_size, num_layers)
    if widths is None:
        depth: Any = num_layers
    else:
        depth = len(widths)
        if residual:
            # Between layers of equal width it is what a stack does; nothing else has to be built.
            hidden_size, num_layers, widths = _equal(widths), depth, None
    if rate and depth == 1:
        raise InputError(
            "dropout acts between layers, and there is one; use input_dropout, "
            "recurrent_dropout, head_dropout, or num_layers=2"
        )
    if residual and depth == 1:
        raise InputError(
            "residual=True acts from the second layer on, and there is one; use num_layers=2, or "
            "leave it out"
        )
    if widths is None:
        stack = {"hidden_size": hidden_size, "num_layers": num_layers, "residual": residual}
        chain.append(
            CELLS[cell], cell, **stack, **options, dropout=rate, input_dropout=input_dropout
        )
        return
    for k, width in enumerate(widths):
        name = cell if len(widths) == 1 else f"{cell}{k}"
        first = {"input_dropout": input_dropout} if k == 0 else {}
        chain.append(CELLS[cell], name, hidden_size=width, **options, **first)
        if rate and k + 1 < len(widths):
            chain.append(Dropout, f"{name}_dropout", rate=rate)


def _widths(hidden_size: Any, num_layers: Any) -> tuple[Any, ...] | None:
    """The widths of several stacks, or None when ``hidden_size`` is that of one."""
    if not isinstance(hidden_size, Sequence) or isinstance(hidden_size, str):
        return None
    widths = check_tuple("hidden_size", hidden_size)
    if not widths:
        raise InputError("hidden_size is empty; pass a number, or a width for each layer")
    if num_layers not in (1, len(widths)):
        raise InputError(
            f"hidden_size={shown(hidden_size)} says how many layers there are, "
            f"num_layers={shown(num_layers)} otherwise; leave num_layers out"
        )
    return widths


def _equal(widths: tuple[Any, ...]) -> Any:
    for k in range(1, len(widths)):
        if widths[k] != widths[k - 1]:
            raise InputError(
                f"residual=True needs layers of equal width; layer {k} has "
                f"{shown(widths[k - 1])}, layer {k + 1} has {shown(widths[k])}"
            )
    return widths[0]


def cell_options(cell: str, reset_after: bool, nonlinearity: str) -> dict[str, Any]:
    """The options that one kind of cell alone has; refused by name for the others."""
    check_choice("cell", cell, tuple(CELLS))
    if cell == "gru":
        _only("nonlinearity", nonlinearity, "tanh", "cell='rnn'")
        return {"reset_after": reset_after}
    _only("reset_after", reset_after, True, "cell='gru'")
    if cell == "rnn":
        return {"nonlinearity": nonlinearity}
    _only("nonlinearity", nonlinearity, "tanh", "cell='rnn'")
    return {}


def append_readout(chain: Chain, readout: str, attention: str, size: int | None) -> None:
    """The layer that makes one vector of a sequence; none for "every"."""
    check_choice("readout", readout, READOUTS)
    if readout == "attention":
        chain.append(Attention, readout, score=attention, size=size)
        return
    _only("attention", attention, "additive", "readout='attention'")
    _only("attention_size", size, None, "readout='attention'")
    if readout != "every":
        chain.append(LAYERS[readout], readout)


def append_head(
    chain: Chain,
    head_dropout: float,
    dense: Sequence[int],
    activation: str,
    output_size: int | None,
    tied: str = "",
) -> None:
    """Dropout, hidden dense layers and the linear head; ``output_size=None`` leaves that out.

    ``tied``: the embedding whose table is the head's weight.
    """
    rate = check_rate("head_dropout", head_dropout)
    if rate:
        chain.append(Dropout, "dropout", rate=rate)
    sizes = check_tuple("dense", dense)
    if not sizes:
        _only("activation", activation, "relu", "dense, hidden layers before the head")
    for k, size in enumerate(sizes):
        chain.append(Dense, f"dense{k}", size=size, activation=activation)
    if output_size is not None:
        chain.append(Dense, "head", size=output_size, tied=tied)
    elif tied:
        raise InputError("tied=True needs the head; pass output_size=vocabulary")


def append_crf(chain: Chain, readout: str, output_size: int | None) -> None:
    """What tells classes apart step by step, knowing which follow which."""
    if readout != "every" or output_size is None:
        raise InputError(
            "task='tagging' gives every step a class; pass readout='every' and output_size, the "
            f"number of classes; got readout={readout!r}, output_size={shown(output_size)}"
        )
    chain.append(CRF, "crf")


def perceptron(
    input_size: int,
    hidden_sizes: Sequence[int],
    output_size: int,
    activation: str,
    dropout: float,
) -> tuple[list[InputSpec], list[LayerSpec]]:
    """Dense layers on every step, dropout behind each, and a linear head."""
    rate = check_rate("dropout", dropout)
    chain = Chain("x")
    for k, size in enumerate(check_tuple("hidden_sizes", hidden_sizes)):
        chain.append(Dense, f"dense{k}", size=size, activation=activation)
        if rate:
            chain.append(Dropout, f"dropout{k}", rate=rate)
    chain.append(Dense, "head", size=output_size)
    return [InputSpec("x", input_size)], chain.layers


def _only(name: str, value: Any, default: Any, where: str) -> None:
    try:
        differs = bool(value is not default and value != default)
    except ValueError:  # an array
        differs = True
    if differs:
        raise InputError(f"{name}={shown(value)} goes with {where}; leave it out, or use that")
