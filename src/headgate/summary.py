"""What a network is made of, as a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .spec import GRU, Last, NetworkSpec


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
            None without recurrent layers.
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
    widths = spec.widths()
    rows, lstm_extra = [], 0
    sequence = True
    for layer in spec.layers:
        shapes = layer.parameter_shapes(widths[layer.inputs[0]])
        sequence = sequence and not isinstance(layer, Last)
        size = widths[layer.name]
        count = sum(int(np.prod(shape)) for shape in shapes.values())
        output = f"(N, T, {size})" if sequence else f"(N, {size})"
        rows.append(SummaryRow(layer.name, _kind(layer), output, count))
        if isinstance(layer, GRU):
            weights = sum(int(np.prod(s)) for k, s in shapes.items() if k.startswith("weight"))
            lstm = weights // 3 * 4 + 8 * layer.hidden_size * layer.num_layers
            lstm_extra += lstm - count
    total = sum(row.parameters for row in rows)
    stacks = spec.recurrent()
    convention = ""
    if stacks:
        if all(stack.reset_after for stack in stacks):
            biases = "6H"
        elif not any(stack.reset_after for stack in stacks):
            biases = "5H (reset_after=False: one candidate bias)"
        else:
            biases = "6H, or 5H where reset_after=False,"
        convention = f"biases counted as in PyTorch: bias_ih and bias_hh, {biases} a GRU layer"
    return Summary(tuple(rows), total, total + lstm_extra if stacks else None, convention)


def _kind(layer: object) -> str:
    if isinstance(layer, GRU):
        depth = f" x {layer.num_layers}" if layer.num_layers > 1 else ""
        return "gru" + depth + ("" if layer.reset_after else " (reset before)")
    activation = getattr(layer, "activation", "linear")
    return str(getattr(layer, "kind", "")) + ("" if activation == "linear" else f" {activation}")
