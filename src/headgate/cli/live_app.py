"""``headgate stream`` and their like: the options. What they do stands in the files beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Model, given

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


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(stream)
