"""A comparison in words: a table for terminals, and reports as HTML or Markdown."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import all_or_none, check_target, write_beside_and_rename
from ..version import __version__
from .results import Results

if TYPE_CHECKING:
    from rich.table import Table

ENDINGS = (".html", ".md")
NONE = "-"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #333; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ padding: 0.25rem 0.9rem 0.25rem 0; text-align: right; border-bottom: 1px solid #e6e6e6;
          font-variant-numeric: tabular-nums; }}
th {{ font-weight: normal; color: #777; }}
th:first-child, td:first-child {{ text-align: left; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def rich_table(result: Results) -> Table:
    """The table of a comparison for a terminal, the best score of each setting in bold."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    heading, rows = _cells(result)
    for k, name in enumerate(heading):
        table.add_column(name, justify="right" if k else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell, style="bold" if best else "") for cell, best in row))
    return table


def as_text(result: Results) -> str:
    """The table and what it says, as plain text."""
    from rich.console import Console

    page = Console(file=io.StringIO(), width=160, color_system=None)
    page.print(rich_table(result))
    table = "\n".join(line.rstrip() for line in page.file.getvalue().splitlines())  # type: ignore[attr-defined]
    return "\n".join([f"{title(result)}: {result.job.facts}", "", table, "", *findings(result)])


def title(result: Results) -> str:
    """What was compared on what."""
    return f"{', '.join(result.models)} on {result.job.name}"


def findings(result: Results) -> list[str]:
    """What the table says, line by line: who is best, GRU against LSTM, who is missing."""
    lines = [_verdict(result)]
    if {"gru", "lstm"} <= set(result.models):
        lines += _gru_and_lstm(result)
    lines += [f"left out: {name}: {reason}" for name, reason in result.left_out.items()]
    return lines


def save(result: Results, path: str | os.PathLike[str]) -> None:
    """See :meth:`Comparison.save`."""
    from ..plots import png_bytes
    from .pictures import overview  # matplotlib comes with it

    target = checked_target(path)
    picture = png_bytes(overview(result))
    if target.suffix.lower() == ".html":
        write_beside_and_rename(target, _as_html(result, picture).encode())
        return
    beside = f"{target.stem}.png"
    with all_or_none(target.parent, [beside, target.name]) as staging:
        (staging / beside).write_bytes(picture)
        (staging / target.name).write_text(_as_markdown(result, beside), encoding="utf-8")


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Where a report can be written.

    Raises:
        InputError: another ending, or there is no such folder.
    """
    target = check_target(path)
    if target.suffix.lower() not in ENDINGS:
        raise InputError(f"a report's file must end in {' or '.join(ENDINGS)}, got {target.name!r}")
    return target


# -- the table --------------------------------------------------------------------------------


def _cells(result: Results) -> tuple[list[str], list[list[tuple[str, bool]]]]:
    """The headings, and rows of (text, whether it is the best of its setting)."""
    job, varies = result.job, result.varies
    records = result.table
    heading = ["", *([varies] if varies else []), "parameters", "s to train", "µs a step"]
    rows = []
    for record in records:
        alike = [other for other in records if varies is None or other[varies] == record[varies]]
        row = [(record["model"], False)]
        row += [(f"{record[varies]:g}", False)] if varies else []
        row += [
            (_number(record["parameters"], ",d"), False),
            (_number(record["seconds"], ".2f"), False),
            (_number(record["step_us"], ".1f"), False),
        ]
        for metric in job.metrics:
            best = (max if job.higher else min)(other[metric] for other in alike)
            text = _score(metric, record[metric], record.get(f"{metric}_spread"))
            row.append((text, record[metric] == best))
        rows.append(row)
    return [*heading, *job.metrics], rows


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def _score(metric: str, mean: float, spread: float | None) -> str:
    if metric == "accuracy":
        text = f"{100 * mean:.1f} %"
        return text if spread is None else f"{text} ± {100 * spread:.1f}"
    return f"{mean:.4g}" if spread is None else f"{mean:.4g} ± {spread:.2g}"


# -- what it says -----------------------------------------------------------------------------


def _verdict(result: Results) -> str:
    """Who is best in the last setting, and whom more seeds might put before it."""
    job, setting = result.job, result.settings[-1]
    metric, sign = job.metrics[0], -1 if job.higher else 1
    scores = {
        model: np.array([run.scores[metric] for run in runs])
        for model in result.models
        if (runs := result.of(model, setting))
    }
    best = min(scores, key=lambda model: sign * scores[model].mean())
    where = "" if result.varies is None else f" at {result.varies} {setting:g}"
    line = f"{best} has the best {metric}{where}"
    if len(scores) == 1:
        line = f"{best} is alone{where}"
    elif len(scores[best]) > 1:
        near = [
            model
            for model, values in scores.items()
            if model != best
            and abs(values.mean() - scores[best].mean())
            <= values.std(ddof=1) + scores[best].std(ddof=1)
        ]
        seeds = f"what {len(scores[best])} seeds differ by"
        line += f"; within {seeds}: {', '.join(near)}" if near else f", by more than {seeds}"
    else:
        line += "; one seed says little"
    ahead = [
        name
        for name, row in result.baselines[setting].items()
        if sign * row[metric] <= sign * scores[best].mean()
    ]
    return f"{line}. No better than: {', '.join(ahead)}." if ahead else f"{line}."


def _gru_and_lstm(result: Results) -> list[str]:
    setting = result.settings[-1]
    gru, lstm = result.of("gru", setting), result.of("lstm", setting)
    if not gru or not lstm:
        return []
    line = (
        f"gru against lstm of equal width: {gru[0].recurrent / lstm[0].recurrent:.4g} of the "
        f"recurrent parameters ({gru[0].recurrent:,} to {lstm[0].recurrent:,})"
    )
    seconds = [float(np.median([run.seconds for run in runs])) for runs in (gru, lstm)]
    line += f", {seconds[0] / seconds[1]:.2f} of the time to train"
    steps = [
        float(np.median([run.step_seconds for run in runs if run.step_seconds is not None]))
        for runs in (gru, lstm)
        if runs[0].step_seconds is not None
    ]
    if len(steps) == 2:
        line += f", {steps[0] / steps[1]:.2f} of the time of a live step"
    return [f"{line}."]


# -- reports ----------------------------------------------------------------------------------


def _settings(result: Results) -> list[str]:
    """How all were trained."""
    options = result.job.options()
    batch = options.pop("batch_size")
    epochs = options.pop("epochs")
    rest = ", ".join(f"{name}={value}" for name, value in options.items())
    seeds = len({run.seed for run in result.runs})
    return [
        f"{result.job.facts}.",
        f"Adam, batches of {batch}, {epochs} epochs, {rest}; seeds 0 to {seeds - 1}; the weights "
        f"of the best epoch on the validation part, where there is one. headgate {__version__}.",
    ]


def _each_run(result: Results) -> tuple[list[str], list[list[str]]]:
    """Every training by itself."""
    varies = [result.varies] if result.varies else []
    heading = ["", *varies, "seed", "epochs", "s to train", *result.job.metrics]
    rows = [
        [
            run.model,
            *([f"{run.setting:g}"] if run.setting is not None else []),
            str(run.seed),
            str(len(run.losses)),
            f"{run.seconds:.3f}",
            *(_score(metric, run.scores[metric], None) for metric in result.job.metrics),
        ]
        for run in result.runs
    ]
    return heading, rows


def _as_html(result: Results, picture: bytes) -> str:
    def table(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in heading)
        lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"

    heading, rows = _cells(result)
    marked = [
        [f"<b>{html.escape(cell)}</b>" if best else html.escape(cell) for cell, best in row]
        for row in rows
    ]
    each_heading, each = _each_run(result)
    plain = [[html.escape(cell) for cell in row] for row in each]
    parts = [
        *(f"<p>{html.escape(line)}</p>" for line in _settings(result)),
        table(heading, marked),
        *(f"<p>{html.escape(line)}</p>" for line in findings(result)),
        f'<img alt="learning curves and scores" src="data:image/png;base64,'
        f'{base64.b64encode(picture).decode()}">',
        "<h2>Every run</h2>",
        table(each_heading, plain),
    ]
    return _PAGE.format(title=html.escape(title(result)), body="\n".join(parts))


def _as_markdown(result: Results, picture: str) -> str:
    def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
        lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
        return [f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines]

    heading, rows = _cells(result)
    marked = [[f"**{cell}**" if best else cell for cell, best in row] for row in rows]
    lines = [f"# {_plain(title(result))}", ""]
    for line in _settings(result):
        lines += [_plain(line), ""]
    lines += [*table(heading, marked), ""]
    for line in findings(result):
        lines += [_plain(line), ""]
    lines += [
        f"![learning curves and scores]({picture.replace(' ', '%20')})",
        "",
        "## Every run",
        "",
    ]
    lines += table(*_each_run(result))
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """A text within a line of Markdown: no bars, which part cells, no tags, no line ends."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
