"""Pictures of what happens inside a network: gates, attention and gradients over time.

In the style of ``plots``; matplotlib is imported with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from .fonts import names_that_show, tidy_text
from .plots import BLUE, INK, PALETTE, direct_labels, new_figure, style

# What a reader must know of a gate to read its picture.
NOTES = {
    "gru": {"reset": "0 forgets the old state", "update": "1 keeps the old state"},
    "lstm": {"forget": "1 keeps the old cell", "input": "1 lets the candidate in"},
    "rnn": {},
}
# Gates go from white to blue; what has a sign from orange over white to blue.
_GATE_COLORS = LinearSegmentedColormap.from_list("gate", ["#ffffff", "#9fc6e0", BLUE, "#00304d"])
_SIGNED_COLORS = LinearSegmentedColormap.from_list(
    "signed", ["#7a3500", PALETTE[1], "#ffffff", BLUE, "#00304d"]
)
_GATES = ("reset", "update", "input", "forget", "output")
_SMALLEST = 1e-30  # of a logarithmic axis: what is below has vanished


def gates_figure(
    gates: Mapping[str, npt.NDArray[np.float32]],
    kind: str,
    name: str,
    title: str = "",
    quantities: Sequence[str] | None = None,
) -> Figure:
    """One sample's gates as heat-maps over time: a row of (T, H) panels, units upwards.

    Args:
        gates: (T, H) arrays by name, such as ``update``.
        kind: of the cell, "gru", "lstm" or "rnn".
        name: of the layer.
    """
    shown = list(gates) if quantities is None else list(quantities)
    figure = new_figure(1, rows=len(shown), width=9.0, height=0.8 + 1.55 * len(shown))
    for axes, quantity in zip(figure.axes, shown, strict=True):
        _heat_map(axes, gates[quantity], quantity, NOTES[kind].get(quantity, ""))
    for axes in figure.axes[: len(shown) - 1]:
        axes.tick_params(labelbottom=False)
    figure.axes[len(shown) - 1].set_xlabel("step", fontsize=11, color=INK)
    figure.suptitle(title or name, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    tidy_text(figure)
    return figure


def look_figure(look: Any, units: Sequence[int], title: str = "") -> Figure:
    """The values, gates and attention of a :class:`headgate.models.inside.Look`, over one axis.

    Args:
        units: whose gates are shown, from 0 on.
    """
    steps, names = len(look), list(look.gates)
    rows = bool(look.values) + len(names) + (look.attention is not None)
    width = float(np.clip(0.34 * steps, 9.0, 20.0)) if look.are_tokens else 9.0
    figure = new_figure(1, rows=rows, width=width, height=1.1 + 1.6 * rows)
    panels = list(figure.axes)
    if look.values:
        _value_lines(panels[0], look)
    gated = panels[bool(look.values) : bool(look.values) + len(names)]
    for axes, name in zip(gated, names, strict=True):
        image = _map_of_gate(axes, look.gates[name][:, units], name, NOTES[look.kind].get(name, ""))
        if len(units) < look.gates[name].shape[1]:
            axes.set_yticks(range(1, len(units) + 1), [str(unit + 1) for unit in units])
    if look.attention is not None:
        axes = panels[-1]
        axes.bar(np.arange(1, steps + 1), look.attention, color=BLUE, width=0.85)
        style(axes, "", "", "weight")
        axes.set_title("attention", loc="left", fontsize=11, color=INK, pad=4)
        axes.set_ylim(bottom=0)
    _bar_of_colors(figure.colorbar(image, ax=panels, pad=0.01, fraction=0.02, aspect=40))
    for axes in panels:
        axes.set_xlim(0.5, steps + 0.5)
        axes.tick_params(labelbottom=axes is panels[-1])
    _step_labels(panels, look)
    figure.suptitle(
        title or look.layer, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK
    )
    tidy_text(figure)
    return figure


def _value_lines(axes: Axes, look: Any) -> None:
    labels = []
    for (name, values), color in zip(look.values.items(), PALETTE * 20, strict=False):
        marker = "o" if len(values) == 1 else None
        axes.plot(look.places, values, color=color, linewidth=1.6, marker=marker)
        labels.append((float(values[-1]), name, color))
    only = next(iter(look.values)) if len(look.values) == 1 else ""
    style(axes, "", "", "")
    axes.set_title(only, loc="left", fontsize=11, color=INK, pad=4)
    if not only:
        direct_labels(axes, labels)


def _step_labels(panels: Sequence[Axes], look: Any) -> None:
    """What the steps are, at as many of them as can be read."""
    axes, steps = panels[-1], len(look)
    if look.labels is None:
        axes.set_xlabel("step", fontsize=11, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
        return
    room = 60 if look.are_tokens else 8
    every = -(-steps // room)
    places = range(1, steps + 1, every)
    names = names_that_show(look.labels, "token") if look.are_tokens else look.labels
    texts = [names[place - 1] for place in places]
    long = look.are_tokens and max(map(len, texts)) > 2
    axes.set_xticks(
        list(places), texts, rotation=60 if long else 0, ha="right" if long else "center"
    )
    for other in panels[:-1]:
        other.set_xticks(list(places))


def _heat_map(axes: Axes, values: npt.NDArray[np.float32], quantity: str, note: str) -> None:
    image = _map_of_gate(axes, values, quantity, note)
    _bar_of_colors(axes.figure.colorbar(image, ax=axes, pad=0.015, fraction=0.03, aspect=9))


def _bar_of_colors(bar: Any) -> None:
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, color="#bbbbbb", labelcolor=INK, length=2)
    bar.locator = MaxNLocator(nbins=2, min_n_ticks=3)
    bar.update_ticks()


def _map_of_gate(
    axes: Axes, values: npt.NDArray[np.float32], quantity: str, note: str
) -> AxesImage:
    steps, units = values.shape
    gate = quantity in _GATES
    # A state of relu or an LSTM's cell has no bound of its own.
    bound = 1.0 if quantity != "cell" else max(1.0, float(np.abs(values).max(initial=0.0)))
    if quantity == "state":
        bound = max(1.0, float(np.abs(values).max(initial=0.0)))
    image = axes.imshow(
        values.T,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap=_GATE_COLORS if gate else _SIGNED_COLORS,
        vmin=0.0 if gate else -bound,
        vmax=bound,
        extent=(0.5, steps + 0.5, 0.5, units + 0.5),
    )
    style(axes, "", "", "unit")
    axes.grid(visible=False)
    axes.set_title(quantity, loc="left", fontsize=11, color=INK, pad=4)
    axes.set_title(note, loc="right", fontsize=10, color="#5a5a5a", pad=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, min_n_ticks=1))
    return image


def attention_figure(
    weights: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64], title: str = ""
) -> Figure:
    """Attention weights (N, T): bars for one sample, a heat-map with a row for each of several.

    The heat-map shows them times the sample's length: 1 is an even share.
    """
    samples, steps = weights.shape
    if samples == 1:
        figure = new_figure(height=3.2)
        axes = figure.axes[0]
        count = int(lengths[0])
        axes.bar(np.arange(1, count + 1), weights[0, :count], color=BLUE, width=0.85)
        style(axes, title or "attention", "step", "weight")
        axes.set_ylim(bottom=0)
        axes.set_xlim(0.5, count + 0.5)
    else:
        figure = new_figure(height=1.4 + min(0.32 * samples, 6.0))
        axes = figure.axes[0]
        # In even shares: the weights of a short sample are all large.
        shares = weights * lengths[:, None]
        shown = np.where(np.arange(steps) < lengths[:, None], shares, np.nan)
        image = axes.imshow(
            shown,
            aspect="auto",
            interpolation="nearest",
            cmap=_GATE_COLORS,
            vmin=0.0,
            extent=(0.5, steps + 0.5, samples - 0.5, -0.5),
        )
        style(axes, title or "attention", "step", "sample")
        axes.grid(visible=False)
        axes.set_facecolor("#eeeeee")  # past a sample's length
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.03)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=9, color="#bbbbbb", labelcolor=INK, length=2)
        bar.set_label("weight times length", fontsize=10, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    tidy_text(figure)
    return figure


def gradients_axes(
    axes: Axes,
    norms: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]],
    title: str = "",
) -> Axes:
    """Draw norms of dLoss/dh_t over time: a line for each name, the geometric mean of its samples.

    Args:
        norms: (N, T) norms and (N,) lengths by the name that the line is labelled with.
    """
    labels = []
    for (name, (values, lengths)), color in zip(norms.items(), PALETTE * 20, strict=False):
        inside = np.arange(values.shape[1]) < lengths[:, None]
        logs = np.where(inside, np.log(np.maximum(values, _SMALLEST)), 0.0)
        mean = np.exp(logs.sum(axis=0) / np.maximum(inside.sum(axis=0), 1))
        mean = np.where(inside.any(axis=0), mean, np.nan)
        steps = np.arange(1, len(mean) + 1)
        marker = "o" if len(mean) == 1 else None
        axes.plot(steps, mean, color=color, linewidth=1.8, marker=marker)
        finite = mean[np.isfinite(mean)]
        labels.append((float(finite[-1]), name, color))
    style(axes, title or "how much each step's state matters", "step", "norm of dLoss/dh")
    axes.set_yscale("log")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    direct_labels(axes, labels)
    tidy_text(axes)
    return axes


def gradients_figure(
    norms: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]], title: str = ""
) -> Figure:
    """One panel of :func:`gradients_axes`."""
    figure = new_figure()
    gradients_axes(figure.axes[0], norms, title)
    return figure
