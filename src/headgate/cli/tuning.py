"""``headgate tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    Encoding,
    Flag,
    Freq,
    Horizon,
    Id,
    LabelColumn,
    LabelUntil,
    NoHeader,
    Number,
    Real,
    Target,
    TestFiles,
    Text,
    TextColumn,
    Time,
    given,
)

if TYPE_CHECKING:
    from ..experiments.tuning import Tuned

HELP = "Search for better parameters on your data: Optuna's samplers and whales, with a budget."
FILES = (
    "model.safetensors", "best.json", "report.json", "trials.csv", "history.png",
    "importances.png",
)  # fmt: skip
SAMPLERS_FILE = "samplers.png"

Data = Annotated[
    list[Path],
    typer.Argument(
        help="Table with a series, .ts sequences, labelled texts (or a file for each class), or a "
        "running text.",
        metavar="DATA...",
        show_default=False,
    ),
]


def tune(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("tune"),
    task: Annotated[
        Text, typer.Option("--task", help="forecast, classify or text; found out by default.")
    ] = None,
    trials: Annotated[
        Number, typer.Option("--trials", help="100, or as many as --minutes allow.")
    ] = None,
    minutes: Annotated[
        Real, typer.Option("--minutes", help="Of searching; the test and the last fit come on top.")
    ] = None,
    sampler: Annotated[
        str, typer.Option("--sampler", help="tpe, random, grid, cmaes or whales.")
    ] = "tpe",
    compare_samplers: Annotated[
        Text,
        typer.Option(
            "--compare-samplers",
            help="Several, such as tpe,random,whales, each with the whole budget.",
            metavar="NAMES",
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="JSON or TOML file of what is searched.", metavar="FILE"),
    ] = None,
    storage: Annotated[
        Text,
        typer.Option(
            "--storage",
            help="File of SQLite, or a URL as Optuna takes it, to stop and go on.",
            metavar="FILE",
        ),
    ] = None,
    study: Annotated[Text, typer.Option("--study", help="Name of the search there.")] = None,
    horizon: Horizon = 12,
    time: Time = None,
    target: Target = None,
    id: Id = None,
    freq: Freq = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    label_until: LabelUntil = None,
    no_header: NoHeader = False,
    test: TestFiles = None,
    encoding: Encoding = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampler.")] = 0,
    progress: Annotated[
        Flag,
        typer.Option(
            "--progress/--no-progress",
            help="A bar with the best so far; on a terminal by default.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Search, test the best once beside the defaults, fit it to everything and save it."""
    from ..experiments.spaces import read_space
    from ..experiments.tuning import tune as search
    from .output import make_folder

    found_space = None if space is None else read_space(space)
    folder = make_folder(out)  # before minutes of training
    reading: dict[str, Any] = given(
        time=time, target=target, id=id, freq=freq, text=text, label=label,
        label_until=label_until, encoding=encoding, test=test or None,
        header=False if no_header else None,
    )  # fmt: skip
    found = search(
        task,
        data[0] if len(data) == 1 else data,
        space=found_space,
        sampler=_names(compare_samplers) if compare_samplers is not None else sampler,
        trials=trials,
        minutes=minutes,
        storage=storage,
        study=study,
        seed=seed,
        progress="auto" if progress is None else progress,
        horizon=horizon,
        **reading,
    )
    files = [*FILES, SAMPLERS_FILE] if len(found.searches) > 1 else list(FILES)
    _write(found, folder, files)
    _say(found, folder, files)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _write(found: Tuned, folder: Path, files: list[str]) -> None:
    from ..files import all_or_none, write_beside_and_rename
    from ..plots import save_figure
    from ..version import __version__
    from .output import csv_bytes, write_json

    with all_or_none(folder, files) as staging:
        found.model.save(staging / "model.safetensors")
        estimator = type(found.model).__name__
        write_json(
            staging / "best.json",
            {
                "estimator": estimator,
                "parameters": found.best_params,
                found.metric: found.best_score,
            },
        )
        report = {"headgate": __version__, "data": found.name, "estimator": estimator}
        write_json(staging / "report.json", {**report, **found.to_dict(), "files": files})
        write_beside_and_rename(staging / "trials.csv", csv_bytes(found.trials))
        save_figure(found.plot_history().figure, staging / "history.png")
        save_figure(found.plot_importances().figure, staging / "importances.png")
        if SAMPLERS_FILE in files:
            save_figure(found.plot_samplers().figure, staging / SAMPLERS_FILE)


def _say(found: Tuned, folder: Path, files: list[str]) -> None:
    from .output import console

    show = console()
    show.print(f"{found.name}: {type(found.model).__name__}, {found.held_out} held out to test on")
    show.print()
    show.print(_searches(found))
    if found.best_params:
        show.print(f"\nbest, trial {_best_trial(found)} of {found.best_search.sampler}:")
        for name, value in found.best_params.items():
            show.print(f"  {name} {value:.4g}" if isinstance(value, float) else f"  {name} {value}")
    show.print()
    show.print(_tested(found))
    show.print(f"\n{found.verdict()}")
    show.print(f"\nwritten to {folder}: {', '.join(files)}")


def _best_trial(found: Tuned) -> int:
    best = found.best_search.best
    return -1 if best is None else best.number


def _searches(found: Tuned) -> Any:
    """A row for each sampler: its trials, time, and the best on the validation part."""
    table = _table("sampler", "trials", "pruned", "failed", "seconds", f"best {found.metric}", "at")
    for search in found.searches:
        counts, best = search.counts(), search.best
        table.add_row(
            search.sampler,
            f"{sum(counts.values())}",
            f"{counts['pruned']}",
            f"{counts['failed']}",
            f"{search.seconds:.1f}",
            "-" if best is None else f"{best.values[0]:.4g}",
            "-" if best is None else f"trial {best.number}",
        )
    table.add_row("defaults", "", "", "", "", f"{found.default_score:.4g}", "")
    return table


def _tested(found: Tuned) -> Any:
    """Means over seeds on the test part, and between which values they lie."""
    table = _table("test part", *found.test)
    for name in found.test["defaults"][0]:
        cells = []
        for rows in found.test.values():
            values = [row[name] for row in rows]
            mean = sum(values) / len(values)
            cells.append(f"{mean:.4g} ({min(values):.4g} to {max(values):.4g})")
        table.add_row(name, *cells)
    return table


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for k, name in enumerate(columns):
        table.add_column(name, no_wrap=True, justify="right" if k else "left")
    return table
