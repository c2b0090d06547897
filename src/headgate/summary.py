"""What a network is made of, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from .spec import GRU, LSTM, Embedding, LayerSpec, NetworkSpec, Recurrent


@dataclass(frozen=True)
class SummaryRow:
    """One layer: its name, kind, output shape and parameter count."""

    name: str
    kind: str
    output: str
    parameters: int


@dataclass(frozen=True)
class Summary:
    """Rows by layer, and the totals; ``str()`` draws the table.

    Attributes:
        rows: one for each layer.
        parameters: of the whole network.
        lstm_parameters: what it would have with LSTM layers, two biases for each gate as here;
            None unless all its recurrent layers are GRUs.
        convention: how biases are counted.
    """

    rows: tuple[SummaryRow, ...]
    parameters: int
    lstm_parameters: int | None
    convention: str

    def __str__(self) -> str:
        cells = [("layer", "kind", "output", "parameters")]
        cells += [(r.name, r.kind, r.output, f"{r.parameters:,}") for r in self.rows]
        cells.append(("total", "", "", f"{self.parameters:,}"))
        widths = [max(len(row[i]) for row in cells) for i in range(4)]
        rule = "-" * (sum(widths) + 6)
        lines = [
            "  ".join(
                cell.rjust(width) if i == 3 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        lines.insert(1, rule)
        lines.insert(-1, rule)
        if self.convention:
            lines.append(self.convention)
        if self.lstm_parameters is not None:
            share = 1 - self.parameters / self.lstm_parameters
            lines.append(
                f"with LSTM layers: {self.lstm_parameters:,} ({share:.0%} fewer with GRU layers)"
            )
        return "\n".join(lines)


def summarize(spec: NetworkSpec) -> Summary:
    """The summary of a spec."""
    rows = []
    for layer in spec.layers:
        port = spec.ports[layer.name]
        count = _count(layer, spec.reads(layer))
        output = f"(N, {port.width})" if port.pooled_by else f"(N, T, {port.width})"
        rows.append(SummaryRow(layer.name, _kind(layer), output, count))
    total = sum(row.parameters for row in rows)
    stacks = spec.recurrent()
    lstm = None
    if stacks and all(isinstance(stack, GRU) for stack in stacks):
        lstm = total + sum(
            _count(_as_lstm(stack), spec.reads(stack)) - _count(stack, spec.reads(stack))
            for stack in stacks
        )
    return Summary(tuple(rows), total, lstm, _convention(stacks))


def _count(layer: LayerSpec, reads: int) -> int:
    return sum(math.prod(shape) for shape in layer.parameter_shapes(reads).values())


def _as_lstm(stack: Recurrent) -> LSTM:
    names = [entry.name for entry in fields(Recurrent)]
    return LSTM(**{name: getattr(stack, name) for name in names})


def _convention(stacks: Sequence[Recurrent]) -> str:
    """How biases are counted: what each kind of layer among ``stacks`` has."""
    counts: dict[str, str] = {}
    for stack in stacks:
        units = f"{stack.gates + stack.bias_hh_size // stack.hidden_size}H"
        before = isinstance(stack, GRU) and not stack.reset_after
        reason = " (reset_after=False: one candidate bias)" if before else ""
        article = "a" if stack.kind == "gru" else "an"
        counts.setdefault(stack.cell, f"{units} {article} {stack.kind.upper()} layer{reason}")
    if not counts:
        return ""
    each = " and direction" if any(stack.bidirectional for stack in stacks) else ""
    return f"biases counted as in PyTorch: bias_ih and bias_hh, {', '.join(counts.values())}{each}"


def _kind(layer: LayerSpec) -> str:
    """A layer's kind, and the options that tell it from others of the kind."""
    words = [layer.kind]
    if isinstance(layer, Recurrent):
        if layer.num_layers > 1:
            words.append(f"x {layer.num_layers}")
        words += [name for name in ("bidirectional", "residual") if getattr(layer, name)]
        if layer.layer_norm:
            words.append("layer norm")
    if isinstance(layer, GRU) and not layer.reset_after:
        words.append("(reset before)")
    if isinstance(layer, Embedding):
        words.append(f"of {layer.vocabulary:,}" + ("" if layer.trainable else " (frozen)"))
    if tied := getattr(layer, "tied", ""):
        words.append(f"tied to {tied}")
    for option in ("activation", "nonlinearity", "score"):
        value = getattr(layer, option, "linear")
        if value != "linear":
            words.append(value)
    return " ".join(words)
