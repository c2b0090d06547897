"""The pictures of a comparison, in the style of ``plots``; matplotlib comes with this module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from ..fonts import tidy_text
from ..plots import PALETTE, QUIET, direct_labels, new_figure, rollout_axes, style
from .kinds import MODELS
from .results import LENGTH, Results

COLORS = dict(zip(MODELS, PALETTE, strict=True))
MOST_GRADIENTS = 3  # lengths whose gradients are drawn
VANISHED = 1e-9  # of the last step's gradient: drawn as the floor
_WIDE = 20.0  # curves that span such a factor stand on a logarithmic axis


def overview(result: Results) -> Figure:
    """Learning curves, scores, and what else a job has to show, in one figure."""
    panels: list[Callable[[Axes], None]] = [lambda axes: learning_axes(axes, result)]
    if len(result.settings) > 1:
        panels.append(lambda axes: settings_axes(axes, result))
    else:
        panels.append(lambda axes: scores_axes(axes, result))
    if result.job.truth is not None:
        panels.append(lambda axes: _rollout(axes, result))
    for setting in result.settings[:MOST_GRADIENTS]:
        if any(run.gradients is not None and run.setting == setting for run in result.runs):
            panels.append(lambda axes, setting=setting: _gradients(axes, result, setting))  # type: ignore[misc]
    rows = -(-len(panels) // 2)
    figure = new_figure(2, rows=rows, width=14.0, height=4.7 * rows)
    for axes, draw in zip(figure.axes, panels, strict=False):
        draw(axes)
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    tidy_text(figure)
    return figure


def learning_axes(axes: Axes, result: Results) -> None:
    """The loss after every epoch: the mean over the seeds, and between which they all lie."""
    setting = result.settings[-1]
    labels, seen = [], []
    name = "validation loss" if any(run.val_losses for run in result.runs) else "training loss"
    for model in result.models:
        curves = [run.val_losses or run.losses for run in result.of(model, setting)]
        if not curves:
            continue
        table = np.array(curves)
        epochs = np.arange(1, table.shape[1] + 1)
        _line(axes, epochs, table, COLORS[model])
        labels.append((float(table[:, -1].mean()), model, COLORS[model]))
        seen.append(table)
    title = f"Learning {result.job.name}"
    if result.varies is not None:
        title += f", {result.varies} {setting:g}"
    style(axes, title, "epoch", name)
    _log_if_wide(axes, np.concatenate([table.ravel() for table in seen]), "y")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    direct_labels(axes, labels)


def scores_axes(axes: Axes, result: Results) -> None:
    """What every run reached on the test part: dots are seeds, a bar is their mean."""
    metric, setting = result.job.metrics[0], result.settings[-1]
    models = result.models
    seen = []
    for row, model in enumerate(models):
        values = np.array([run.scores[metric] for run in result.of(model, setting)])
        axes.plot(values, np.full(len(values), row), "o", color=COLORS[model], alpha=0.55, zorder=3)
        axes.plot([values.mean()] * 2, [row - 0.3, row + 0.3], color=COLORS[model], linewidth=2.5)
        seen.append(values)
    for row, (name, scores) in enumerate(result.baselines[setting].items()):
        axes.axvline(scores[metric], color=QUIET, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
        axes.annotate(
            f"{name} ", (scores[metric], len(models) - 0.45 - 0.45 * row), color=QUIET, fontsize=9,
            ha="right", va="center", annotation_clip=False,
        )  # fmt: skip
        seen.append(np.array([scores[metric]]))
    better = "higher" if result.job.higher else "lower"
    style(axes, f"On the test part ({better} is better)", metric, "")
    axes.set_yticks(range(len(models)), models)
    axes.set_ylim(len(models) - 0.1, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    _log_if_wide(axes, np.concatenate(seen), "x")


def settings_axes(axes: Axes, result: Results) -> None:
    """The score over the share of the training data, or over the length."""
    metric = result.job.metrics[0]
    places = np.array([setting for setting in result.settings if setting is not None])
    labels, seen = [], []
    for model in result.models:
        found = [
            (place, [run.scores[metric] for run in result.of(model, place)])
            for place in places.tolist()
            if result.of(model, place)
        ]
        where = np.array([place for place, _ in found])
        values = np.array([scores for _, scores in found]).T
        _line(axes, where, values, COLORS[model], "o")
        labels.append((float(values[:, -1].mean()), model, COLORS[model]))
        seen.append(values.ravel())
    for name in result.baselines[result.settings[-1]]:
        line = [result.baselines[place][name][metric] for place in places.tolist()]
        axes.plot(places, line, color=QUIET, linewidth=1.2, linestyle=(0, (4, 2)))
        labels.append((float(line[-1]), name, QUIET))
        seen.append(np.array(line))
    better = "higher" if result.job.higher else "lower"
    what = "length" if result.varies == LENGTH else "share of the training data"
    style(axes, f"On the test part ({better} is better)", what, metric)
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    _log_if_wide(axes, np.concatenate(seen), "y")
    direct_labels(axes, labels)


def _rollout(axes: Axes, result: Results) -> None:
    truth = result.job.truth
    assert truth is not None
    paths = {
        run.model: np.clip(run.path, 3 * truth.min(), 3 * truth.max())
        for run in result.runs
        if run.path is not None and run.seed == 0
    }
    rollout_axes(axes, truth, paths, "Left to themselves (seed 0)")
    for line, model in zip(axes.lines[1:], paths, strict=False):
        line.set_color(COLORS[model])
    for text in axes.texts:
        text.set_color(COLORS.get(text.get_text(), QUIET))


def _gradients(axes: Axes, result: Results, setting: Any) -> None:
    labels = []
    for model in result.models:
        rows = [run.gradients for run in result.of(model, setting) if run.gradients is not None]
        if not rows:
            continue
        before, after = np.exp(np.log(np.maximum(rows, VANISHED)).mean(axis=0))
        steps, color = np.arange(1, len(after) + 1), COLORS[model]
        axes.plot(steps, before, color=color, linewidth=1.2, linestyle=(0, (2, 2)))
        axes.plot(steps, after, color=color, linewidth=1.8)
        labels.append((float(after[len(after) // 2]), model, color))
    style(
        axes, f"Gradient at each step, length {setting:g}; dotted before training", "step",
        "norm of dLoss/dh over the last",
    )  # fmt: skip
    axes.set_yscale("log")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    direct_labels(axes, labels)


def _line(
    axes: Axes,
    x: npt.NDArray[Any],
    table: npt.NDArray[np.float64],
    color: str,
    marker: str | None = None,
) -> None:
    """The mean of the rows, and a band between the lowest and the highest."""
    marker = "o" if len(x) == 1 else marker
    if len(table) > 1:
        axes.fill_between(
            x, table.min(axis=0), table.max(axis=0), color=color, alpha=0.15, linewidth=0
        )
    axes.plot(x, table.mean(axis=0), color=color, linewidth=1.8, marker=marker, markersize=5)


def _log_if_wide(axes: Axes, values: npt.NDArray[np.float64], which: str) -> None:
    seen: Sequence[float] = values[np.isfinite(values)].tolist()
    if not seen or min(seen) <= 0 or max(seen) <= _WIDE * min(seen):
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
