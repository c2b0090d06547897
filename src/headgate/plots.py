"""Pictures of forecasts, training and roll-outs, in one style.

Drawn with matplotlib's objects: no pyplot, no global state, no display needed. The figures show
themselves at the end of a notebook cell. matplotlib is imported with this module, so import it
where a picture is asked for.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from .checks import shown
from .errors import InputError
from .files import check_path, write_beside_and_rename
from .fonts import tidy_text

Array = npt.NDArray[Any]

# Okabe and Ito 2008: told apart in every common colour blindness, and in grey.
INK = "#333333"
QUIET = "#8a8a8a"
BLUE = "#0072B2"
PALETTE = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BAND_TINTS = ("#9fc6e0", "#cfe2ef", "#e4eff6", "#f0f6fa")  # narrowest band first
_TITLE, _LABEL, _TICK, _DIRECT = 13, 11, 10, 10.5  # points
FORMATS = ("png", "svg", "pdf")


class Plotted(Protocol):
    """What of a :class:`headgate.data.frames.Series` a picture needs."""

    @property
    def values(self) -> npt.NDArray[np.float64]: ...
    @property
    def times(self) -> Array | None: ...
    @property
    def time_name(self) -> str: ...
    @property
    def value_name(self) -> str: ...
    @property
    def season(self) -> int: ...


class Picture(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        return _render(self, "png", 110)


class PictureAxes(Axes):
    """Axes whose figure a notebook shows, so that ``history.plot()`` at a cell's end is seen."""

    def _repr_png_(self) -> bytes:
        return _render(cast(Figure, self.figure), "png", 110)


def new_figure(
    panels: int = 1, *, rows: int = 1, width: float = 9.0, height: float = 4.5
) -> Figure:
    """A figure of ``width`` by ``height`` inches with ``rows`` of ``panels`` axes side by side."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Picture(figsize=(width, height), dpi=110, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.subplots(rows, panels, squeeze=False, subplot_kw={"axes_class": PictureAxes})
    return figure


def forecast_figure(
    series: Plotted,
    forecast_times: Array,
    forecast: npt.ArrayLike,
    bands: Mapping[float, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
    title: str = "",
    backtest: Mapping[str, npt.ArrayLike] | None = None,
) -> Figure:
    """The end of a series and its forecast with bands, as one figure: see ``forecast_axes``."""
    figure = new_figure()
    forecast_axes(figure.axes[0], series, forecast_times, forecast, bands, title, backtest)
    return figure


def forecast_axes(
    axes: Axes,
    series: Plotted,
    forecast_times: Array,
    forecast: npt.ArrayLike,
    bands: Mapping[float, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
    title: str = "",
    backtest: Mapping[str, npt.ArrayLike] | None = None,
    name: str = "forecast",
) -> Axes:
    """Draw a series in dark grey, its forecast (H,) in blue and the bands around it.

    Args:
        forecast_times: (H,) datetime64 or integers.
        bands: level in percent -> (low, high), each (H,).
        backtest: name -> values forecast earlier for the last steps of the series, dashed.
        name: what the forecast is called in the picture.

    Of a long history the end is shown: eight horizons or six seasons, 80 steps at least.
    """
    _check_axes(axes)
    forecast = np.asarray(forecast, dtype=np.float64)
    if forecast.shape != np.shape(forecast_times) or forecast.ndim != 1 or not len(forecast):
        raise InputError(
            f"forecast {forecast.shape} and forecast_times {np.shape(forecast_times)} must be "
            "two 1-D arrays of one length"
        )
    times = np.arange(len(series.values)) if series.times is None else series.times
    longest = max([len(forecast), *(np.size(path) for path in (backtest or {}).values())])
    shown = slice(-max(80, 8 * longest, 6 * series.season), None)
    past_times, past = times[shown], series.values[shown]
    labels: list[tuple[float, str, str]] = []

    # From the last value on, so that no hole gapes between what was and what will be.
    when = np.concatenate([past_times[-1:], np.asarray(forecast_times)])
    ordered = sorted((bands or {}).items())
    tints = dict(zip([level for level, _ in ordered], _BAND_TINTS, strict=False))
    for level, (low, high) in reversed(ordered):
        lower = np.concatenate([past[-1:], np.asarray(low, dtype=np.float64)])
        upper = np.concatenate([past[-1:], np.asarray(high, dtype=np.float64)])
        tint = tints.get(level, _BAND_TINTS[-1])
        axes.fill_between(when, lower, upper, color=tint, linewidth=0, zorder=1.5)
        labels.append((float(upper[-1]), f"{level:g} %", "#3c7ba4"))
    axes.plot(past_times, past, color=INK, linewidth=1.3, zorder=3)
    for color, (model, path) in zip(PALETTE[1:] * 3, (backtest or {}).items(), strict=False):
        path = np.asarray(path, dtype=np.float64)
        axes.plot(
            times[-len(path) :],
            path,
            color=color,
            linewidth=1.5,
            linestyle=(0, (4, 2)),
            label=f"back-test: {model}",
            zorder=3.5,
        )
    axes.plot(when, np.concatenate([past[-1:], forecast]), color=BLUE, linewidth=2, zorder=4)
    labels.append((float(forecast[-1]), name, BLUE))

    style(axes, title, series.time_name, series.value_name)
    _time_ticks(axes, when)
    axes.margins(x=0.01)
    if backtest:
        axes.legend(loc="best", frameon=False, fontsize=_DIRECT, labelcolor="linecolor")
    direct_labels(axes, labels)
    tidy_text(axes)
    return axes


def share_legend(figure: Figure) -> None:
    """One legend above all panels, clear of their curves, instead of one in each."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None:
            entries |= {
                text.get_text(): handle
                for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
            }
            legend.remove()
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside upper right", frameon=False,
            fontsize=_DIRECT, labelcolor="linecolor", ncols=len(entries),
        )  # fmt: skip


def history_axes(
    axes: Axes,
    loss: npt.ArrayLike,
    val_loss: npt.ArrayLike | None = None,
    best_epoch: int | None = None,
) -> Axes:
    """Draw the losses (E,) of training and validation over epochs, counted from 1.

    ``best_epoch`` counts from 0, as ``History`` does. The axis is logarithmic where the losses
    span more than a factor of 20.
    """
    _check_axes(axes)
    curves = {"training": np.asarray(loss, dtype=np.float64)}
    if val_loss is not None and np.size(val_loss):
        curves["validation"] = np.asarray(val_loss, dtype=np.float64)
    labels = []
    for (name, curve), color in zip(curves.items(), PALETTE, strict=False):
        epochs = np.arange(1, len(curve) + 1)
        marker = "o" if len(curve) == 1 else None
        axes.plot(epochs, curve, color=color, linewidth=1.8, marker=marker)
        finite = curve[np.isfinite(curve)]
        if len(finite):
            labels.append((float(finite[-1]), name, color))
    seen = np.concatenate([c[np.isfinite(c)] for c in curves.values()])
    style(axes, "", "epoch", "loss")
    if len(seen) and seen.min() > 0 and seen.max() > 20 * seen.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    elif len(seen) and seen.min() >= 0:
        axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if best_epoch is not None and "validation" in curves:
        best = float(curves["validation"][best_epoch])
        axes.plot([best_epoch + 1], [best], "o", color=PALETTE[1], markersize=6, zorder=5)
        note = f"best validation {best:.3g}, epoch {best_epoch + 1}"
        axes.set_title(note, loc="right", fontsize=_DIRECT, color=PALETTE[1])
    direct_labels(axes, labels)
    tidy_text(axes)
    return axes


def rollout_axes(
    axes: Axes,
    truth: npt.ArrayLike,
    paths: Mapping[str, npt.ArrayLike],
    title: str = "",
    *,
    xlabel: str = "steps ahead",
    ylabel: str = "value",
) -> Axes:
    """Draw the truth (T,) as grey dots and models' own continuations over it, labelled."""
    _check_axes(axes)
    truth = np.asarray(truth, dtype=np.float64)
    axes.plot(np.arange(1, len(truth) + 1), truth, ".", color="#b5b5b5", markersize=4.5, zorder=2)
    labels = [(float(truth[-1]), "truth", QUIET)]
    for (name, path), color in zip(paths.items(), PALETTE * 3, strict=False):
        path = np.asarray(path, dtype=np.float64)
        axes.plot(np.arange(1, len(path) + 1), path, color=color, linewidth=1.8, zorder=3)
        labels.append((float(path[-1]), name, color))
    style(axes, title, xlabel, ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.01)
    direct_labels(axes, labels)
    tidy_text(axes)
    return axes


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write a figure as PNG, SVG or PDF, by the ending of ``path``; whole or not at all.

    Raises:
        InputError: another ending.
        HeadgateError: the file cannot be written.
    """
    path = Path(check_path(path))
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"a picture's file must end in .{', .'.join(FORMATS)}; got {path.name!r}")
    tidy_text(figure)
    write_beside_and_rename(path, _render(figure, kind, dpi))
    return path


def png_bytes(figure: Figure, *, dpi: int = 110) -> bytes:
    """A figure as the bytes of a PNG file."""
    tidy_text(figure)
    return _render(figure, "png", dpi)


# -- style ---------------------------------------------------------------------------------


def _check_axes(axes: object) -> None:
    if not hasattr(axes, "fill_between"):
        raise InputError(
            f"expected matplotlib Axes to draw on, got {shown(axes)}; pass one of a figure's axes, "
            "or leave it out"
        )


def _render(figure: Figure, kind: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    # The date and the version would make two pictures of the same data differ.
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata[kind])
    return buffer.getvalue()


def style(axes: Axes, title: object, xlabel: str, ylabel: str) -> None:
    axes.set_title(_short(title), loc="left", fontsize=_TITLE, fontweight="bold", color=INK, pad=10)
    axes.set_xlabel(_short(xlabel), fontsize=_LABEL, color=INK)
    axes.set_ylabel(_short(ylabel, 45), fontsize=_LABEL, color=INK)
    axes.tick_params(labelsize=_TICK, color="#bbbbbb", labelcolor=INK, length=3)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")


def _short(text: object, longest: int = 80) -> str:
    """One line of at most ``longest`` characters: a column's name may be a whole paragraph."""
    text = " ".join(str(text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _time_ticks(axes: Axes, when: Array) -> None:
    if np.issubdtype(when.dtype, np.datetime64):
        locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, steps=[1, 2, 5, 10]))
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-4, 7))


def direct_labels(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write (value, text, colour) right of the axes at their values, kept apart."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # the labels stand by these limits
    gap = _DIRECT * 1.3 / 72 / (axes.bbox.height / axes.figure.dpi)  # of the axes' height
    logarithmic = axes.get_yscale() == "log"

    def at(value: float) -> float:
        if logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    placed = sorted((min(max(at(v), 0.0), 1.0), text, color) for v, text, color in labels)
    heights = _spread([fraction for fraction, _, _ in placed], gap)
    for y, (_, text, color) in zip(heights, placed, strict=True):
        axes.text(
            1.012, y, text, transform=axes.transAxes, color=color, fontsize=_DIRECT, va="center"
        )


def _spread(heights: list[float], gap: float) -> list[float]:
    """Move sorted heights apart to at least ``gap``, as a whole as little as may be."""
    groups: list[list[float]] = []  # each: members' wishes less their places, to be averaged
    for index, height in enumerate(heights):
        groups.append([height - index * gap])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            upper = groups.pop()
            groups[-1] += upper
    flat = [float(np.mean(group)) for group in groups for _ in group]
    return [base + index * gap for index, base in enumerate(flat)]
