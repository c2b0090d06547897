"""``headgate stream`` and their like: the options. What they do stands in the files beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Encoding, Model, given

Number = int | None


def stream(
    model: Model,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Go on from this file, and keep it.", metavar="FILE"),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", min=1, help="Lines after which the state is kept.")
    ] = 1000,
    learn: Annotated[bool, typer.Option("--learn", help="Learn from the values.")] = False,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of --learn; 0.001.")
    ] = None,
    window: Annotated[
        Number, typer.Option("--window", help="Steps that a network learns from; 20.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write what was learned.", metavar="FILE"),
    ] = None,
    horizon: Annotated[
        Number, typer.Option("--horizon", help="Steps to forecast each time; 1.")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="Which of a forecaster's series.", metavar="NAME")
    ] = None,
    top: Annotated[Number, typer.Option("--top", help="Likeliest next tokens; 5.")] = None,
    json: Annotated[bool, typer.Option("--json", help="An object for each line.")] = False,
) -> int:
    """Predict live: a value a line on standard input, a prediction a line on standard output."""
    from .streaming import stream_lines

    options: dict[str, Any] = given(
        learning_rate=learning_rate, window=window, horizon=horizon, id=id, top=top
    )
    return stream_lines(
        model, state=state, every=every, save=save, as_json=json, learn=learn, options=options
    )


def gates(
    model: Model,
    data: Annotated[
        str, typer.Argument(help="A table or .ts file, or a text in quotes.", metavar="DATA")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Picture: .png, .svg or .pdf.", metavar="FILE")
    ] = Path("gates.png"),
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Table of the numbers to write.", metavar="FILE")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Such as gru_l1; the first by default.")
    ] = None,
    units: Annotated[
        str | None, typer.Option("--units", help="Such as 1,2,5; all by default.")
    ] = None,
    example: Annotated[
        int, typer.Option("--example", help="Of a file with several, from 1 on.")
    ] = 1,
    last: Annotated[
        Number, typer.Option("--last", min=1, help="Steps to show at most; 300.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Of a table, such as a,b.", metavar="COLS")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="Which of a forecaster's series.", metavar="NAME")
    ] = None,
    encoding: Encoding = None,
) -> None:
    """Draw the gates over your own series or sentence: 1 of an update gate keeps the old state."""
    from .gates import draw_gates

    draw_gates(
        model, data, out, csv, layer=layer, units=units, example=example, last=last,
        columns=columns, id=id, encoding=encoding,
    )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(stream)
    app.command()(gates)
