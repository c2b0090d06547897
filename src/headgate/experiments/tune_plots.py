"""Pictures of a search, in the style of ``plots``: its course, what mattered, who found what.

matplotlib is imported with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from ..fonts import tidy_text
from ..plots import BLUE, INK, PALETTE, QUIET, direct_labels, new_figure, style

if TYPE_CHECKING:
    from .searches import Search

Float64 = npt.NDArray[np.float64]

_FAR = 3.0  # a trial so many times farther from the best than most are is drawn at the edge


def best_so_far(search: Search) -> tuple[Float64, Float64, Float64]:
    """(T,) numbers of trials, their values (nan where pruned or failed), and the lowest so far."""
    values = [t.values[0] if t.state.name == "COMPLETE" else np.nan for t in search.trials]
    found = np.array(values, np.float64)
    lowest = np.fmin.accumulate(found) if len(found) else found
    return np.array([float(t.number) for t in search.trials]), found, lowest


def history_of_search(search: Search, metric: str, defaults: float, ax: Any = None) -> Any:
    """The value of each trial, the best so far, and where the defaults are."""
    axes = new_figure().axes[0] if ax is None else ax
    number, values, lowest = best_so_far(search)
    complete = np.isfinite(values)
    top = _top(values[complete], defaults)
    axes.plot(
        number[complete], np.minimum(values[complete], top), ".", color="#b5b5b5", markersize=7
    )
    axes.plot(number, lowest, color=BLUE, linewidth=2, drawstyle="steps-post")
    axes.axhline(defaults, color=PALETTE[1], linewidth=1.3, linestyle=(0, (4, 2)))
    counts = search.counts()
    more = ", ".join(f"{counts[word]} {word}" for word in ("pruned", "failed") if counts[word])
    title = f"{len(number)} trials, {search.sampler}" + (f" ({more})" if more else "")
    style(axes, title, "trial", f"{metric}, validation")
    axes.set_ylim(top=top + 0.02 * (top - np.nanmin([*values, defaults])))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.01)
    labels = [(float(defaults), "defaults", PALETTE[1])]
    if complete.any():
        labels.append((float(lowest[-1]), f"best {lowest[-1]:.4g}", BLUE))
        best = int(np.nanargmin(values))
        axes.plot([number[best]], [values[best]], "o", color=BLUE, markersize=7, zorder=5)
    direct_labels(axes, labels)
    tidy_text(axes)
    return axes


def _top(values: Float64, defaults: float) -> float:
    """Where the axis ends: a few trials that went wrong must not flatten all others."""
    if not len(values):
        return defaults
    low, usual = float(values.min()), float(np.quantile(values, 0.75))
    most = max(float(defaults), low + _FAR * (usual - low))
    return max(min(float(values.max()), most), float(defaults))


def importances_axes(importances: Mapping[str, float], ax: Any = None) -> Any:
    """Bars of how much each parameter mattered, in percent."""
    height = max(2.2, 0.45 * len(importances) + 1.3)
    axes = new_figure(width=7.5, height=height).axes[0] if ax is None else ax
    names = list(importances)[::-1]
    shares = [100 * importances[name] for name in names]
    axes.barh(names, shares, color=BLUE, height=0.6)
    for place, share in enumerate(shares):
        axes.text(share + 0.8, place, f"{share:.0f} %", va="center", color=INK, fontsize=10)
    style(axes, "What mattered among the better trials", "share of the difference in %", "")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max([*shares, 1.0]) * 1.12)
    if not names:
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "too few trials to tell", transform=axes.transAxes, ha="center", color=QUIET
        )
    tidy_text(axes)
    return axes


def samplers_axes(searches: Sequence[Search], metric: str, defaults: float, ax: Any = None) -> Any:
    """The best so far of each sampler over its trials, and where the defaults are."""
    axes = new_figure().axes[0] if ax is None else ax
    colors = (BLUE, *PALETTE[2:])
    labels = [(float(defaults), "defaults", PALETTE[1])]
    ends = []
    for k, (search, color) in enumerate(zip(searches, colors * 2, strict=False)):
        number, _, lowest = best_so_far(search)
        if np.isfinite(lowest).any():
            width = 2.0 + 0.8 * (len(searches) - 1 - k)  # what is behind another stays seen
            axes.plot(number, lowest, color=color, linewidth=width, drawstyle="steps-post")
            labels.append((float(lowest[-1]), f"{search.sampler} {lowest[-1]:.4g}", color))
            ends.append(lowest[np.isfinite(lowest)])
    axes.axhline(defaults, color=PALETTE[1], linewidth=1.3, linestyle=(0, (4, 2)))
    style(axes, "Best so far, by sampler", "trial", f"{metric}, validation")
    if ends:
        top, low = max(*(curve[0] for curve in ends), defaults), min(curve[-1] for curve in ends)
        most = defaults + 1.5 * max(defaults - low, 0.02 * abs(defaults))
        axes.set_ylim(top=min(top, most) + 0.03 * (min(top, most) - low))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.01)
    direct_labels(axes, labels)
    tidy_text(axes)
    return axes
