"""``headgate compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import (
    Encoding,
    Epochs,
    Horizon,
    Id,
    LabelColumn,
    LabelUntil,
    NoHeader,
    Number,
    Target,
    TestFiles,
    Text,
    TextColumn,
    Time,
    given,
)

WIDTH = 140
HELP = "Several kinds of networks on your data, with the same split and budget: one table."

Data = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Table with a series, .ts sequences, labelled texts (or a file for each class), or a "
        "running text; none for --task adding and sine.",
        metavar="[DATA]...",
        show_default=False,
    ),
]


def compare(
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Report to write: compare.html, or .md with a picture beside it.",
            metavar="FILE",
        ),
    ] = None,
    task: Annotated[
        Text,
        typer.Option(
            "--task", help="forecast, classify, text, adding or sine; found out by default."
        ),
    ] = None,
    models: Annotated[
        str, typer.Option("--models", help="With commas between; all by default.", metavar="NAMES")
    ] = "gru,gru_reset_before,lstm,rnn,mlp,transformer",
    seeds: Annotated[int, typer.Option("--seeds", help="How often each is trained.")] = 3,
    train_fraction: Annotated[
        str,
        typer.Option("--train-fraction", help="Shares of the data, such as 0.05,0.2,1."),
    ] = "1",
    length: Annotated[
        str, typer.Option("--length", help="Of --task adding, such as 50,200,1000.")
    ] = "50,100",
    hidden_size: Annotated[
        Number, typer.Option("--hidden-size", help="Width of all; 32, 64 for a running text.")
    ] = None,
    epochs: Epochs = None,
    lookback: Annotated[Number, typer.Option("--lookback", help="Steps of a window.")] = None,
    horizon: Horizon = 12,
    time: Time = None,
    target: Target = None,
    id: Id = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    label_until: LabelUntil = None,
    no_header: NoHeader = False,
    tokens: Annotated[
        Text, typer.Option("--tokens", help="Of texts: auto, word, char, jieba or subword.")
    ] = None,
    test: TestFiles = None,
    encoding: Encoding = None,
) -> None:
    """Compare a GRU with other networks: parameters, seconds, live steps, scores, their spread."""
    from ..experiments import comparison
    from .output import console

    reading: dict[str, Any] = given(
        time=time, target=target, id=id, text=text, label=label, label_until=label_until,
        tokens=tokens, encoding=encoding, test=test or None, header=False if no_header else None,
    )  # fmt: skip
    if out is not None:
        comparison.check_report(out)  # before minutes of training
    found = comparison.compare(
        _given_data(data),
        task,
        models=models,
        seeds=seeds,
        train_fraction=train_fraction,
        length=length,
        hidden_size=hidden_size,
        epochs=epochs,
        lookback=lookback,
        horizon=horizon,
        say=_note,
        **reading,
    )
    _say(found)  # before it is written: a full disk must not cost the training
    if out is not None:
        found.save(out)
        console().print(f"\nwritten to {out}")


def _given_data(data: list[Path] | None) -> Any:
    if not data:
        return None
    return data[0] if len(data) == 1 else data


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _say(found: Any) -> None:
    from ..experiments.report import findings, rich_table, title
    from .output import console

    show = console()
    show.width = max(show.width, WIDTH)  # a wide table goes on in the next line, whole
    show.print(f"{title(found)}: {found.job.facts}\n")
    show.print(rich_table(found))
    show.print()
    for line in findings(found):
        show.print(line)
