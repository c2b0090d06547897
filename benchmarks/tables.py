"""How figures are printed: durations, Markdown tables, verdicts on targets."""

from __future__ import annotations


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Markdown, padded so that it reads well in a terminal."""
    widths = [max(len(row[k]) for row in [headings, *rows]) for k in range(len(headings))]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def verdict(ratio: float, target: float | None, *, at_most: bool = False) -> str:
    """Whether ``ratio`` is as large as its target, or as small as it with ``at_most``."""
    if target is None:
        return ""
    reached = ratio <= target if at_most else ratio >= target
    return f"{'<= ' if at_most else ''}{target:.3g} x: {'reached' if reached else 'MISSED'}"
