"""Pictures of how a classifier learned and what it takes for what, in the style of ``plots``.

matplotlib is imported with this module.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .errors import InputError
from .fonts import names_that_show, tidy_text
from .plots import BLUE, INK, PALETTE, QUIET, direct_labels, history_axes, new_figure, style

MOST_CLASSES = 40  # shown; more could not be read
_SHARES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#9fc6e0", BLUE, "#00304d"])
_NUMBERS_UP_TO = 20  # classes: beyond, colours alone


def learning_figure(
    loss: npt.ArrayLike,
    val_loss: npt.ArrayLike | None = None,
    val_score: npt.ArrayLike | None = None,
    *,
    best_epoch: int | None = None,
    score_name: str = "score",
) -> Figure:
    """Losses over epochs, and beside them the validation score where there is one.

    Args:
        loss, val_loss: (E,), as ``plots.history_axes`` takes them.
        val_score: (E,) the score on what was held out, after each epoch.
        best_epoch: counted from 0.
        score_name: of its axis.
    """
    scores = np.asarray([] if val_score is None else val_score, np.float64)
    figure = new_figure(2 if scores.size else 1, width=13.0 if scores.size else 9.0, height=4.2)
    history_axes(figure.axes[0], loss, val_loss, best_epoch)
    if scores.size:
        _score_axes(figure.axes[1], scores, score_name)
    tidy_text(figure)
    return figure


def _score_axes(axes: Axes, scores: npt.NDArray[np.float64], name: str) -> None:
    marker = "o" if len(scores) == 1 else None
    epochs = np.arange(1, len(scores) + 1)
    axes.plot(epochs, scores, color=PALETTE[1], linewidth=1.8, marker=marker)
    style(axes, "", "epoch", name)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    direct_labels(axes, [(float(scores[-1]), "validation", PALETTE[1])])


def confusion_figure(
    counts: npt.ArrayLike, names: Sequence[object], title: str = "", *, left_out: int = 0
) -> Figure:
    """How often each class (rows) was taken for which (columns): counts, coloured by row's share.

    Args:
        counts: (C, C) integers, rows are the truth; the first ``MOST_CLASSES`` are shown.
        names: (C,) of the classes.
        left_out: classes that the caller did not pass.

    Raises:
        InputError: counts and names do not fit.
    """
    table = np.asarray(counts, np.int64)
    if table.shape != (len(names), len(names)) or not len(names):
        raise InputError(
            f"a confusion matrix of {len(names)} classes must have the shape "
            f"({len(names)}, {len(names)}), got {table.shape}"
        )
    left_out += max(len(names) - MOST_CLASSES, 0)
    table = table[:MOST_CLASSES, :MOST_CLASSES]
    shown = names_that_show([_short(name) for name in names[:MOST_CLASSES]])
    count, longest = len(shown), max(map(_width, shown))
    cell = 0.62 if count <= _NUMBERS_UP_TO else 0.3
    side = max(cell * count, 2.2)
    figure = new_figure(width=side + 0.09 * longest + 2.4, height=side + 1.6 + 0.05 * longest)
    axes = figure.axes[0]
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap=_SHARES, vmin=0.0, vmax=1.0, aspect="equal")
    style(axes, title, "predicted", "true")
    axes.grid(visible=False)
    turned = 90 if longest > 4 else 0
    axes.set_xticks(np.arange(count), shown, rotation=turned)
    axes.set_yticks(np.arange(count), shown)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    if count <= _NUMBERS_UP_TO:
        for row, column in np.ndindex(count, count):
            color = "white" if shares[row, column] > 0.5 else INK if table[row, column] else QUIET
            axes.text(
                column, row, f"{table[row, column]}", ha="center", va="center", color=color,
                fontsize=10 if table.max() < 10000 else 8,
            )  # fmt: skip
    if left_out:
        axes.set_title(f"{left_out} more not shown", loc="right", fontsize=9, color=QUIET)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.046, shrink=0.9)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=9, color="#bbbbbb", labelcolor=INK, length=2)
    bar.set_label("share of the true class", fontsize=10, color=INK)
    tidy_text(figure)
    return figure


def _short(name: object) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= 24 else text[:23] + "…"


def _width(text: str) -> int:
    """Columns of a text, of which a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
