"""The commands and their options. What they do stands in the files beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..version import __version__
from . import comparing, live_app, text_app, tuning
from .options import Encoding, Freq, Horizon, Id, Model, Number, Target, Time

app = typer.Typer(
    name="headgate",
    help="Forecast series, classify and tag texts, predict the next word, with small GRU networks.",
    epilog="Start with: headgate demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.add_typer(text_app.classify)
app.add_typer(text_app.tag)
app.add_typer(text_app.text)
app.command("compare", help=comparing.HELP)(comparing.compare)
app.command("tune", help=tuning.HELP)(tuning.tune)

Levels = list[float] | None
Columns = list[str] | None
Level = Annotated[
    Levels, typer.Option("--level", help="Interval in percent; may be given several times.")
]
Data = Annotated[Path, typer.Argument(help="CSV, TSV or Parquet file.", metavar="DATA")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        typer.echo(f"headgate {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def forecast(
    data: Data,
    horizon: Horizon = 12,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path(
        "forecast"
    ),
    time: Time = None,
    target: Target = None,
    id: Id = None,
    past: Annotated[
        Columns,
        typer.Option("--past", help="Column known up to now; several times.", metavar="COL"),
    ] = None,
    future: Annotated[
        Columns,
        typer.Option(
            "--future",
            help="Column known ahead, in rows at the end without a target.",
            metavar="COL",
        ),
    ] = None,
    static: Annotated[
        Columns,
        typer.Option("--static", help="Column with a category of each series.", metavar="COL"),
    ] = None,
    freq: Freq = None,
    level: Level = None,
    encoding: Encoding = None,
    season: Annotated[Number, typer.Option("--season", help="Steps in a season.")] = None,
    lookback: Annotated[Number, typer.Option("--lookback", help="Steps the network sees.")] = None,
    hidden_size: Annotated[
        Number, typer.Option("--hidden-size", help="Of the GRU; 32, or 64 with much data.")
    ] = None,
    num_layers: Annotated[int, typer.Option("--num-layers", help="Of the GRU.")] = 1,
    epochs: Annotated[Number, typer.Option("--epochs", help="Found out by default.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="0.001, or 0.003 with much data.")
    ] = None,
    dropout: Annotated[float, typer.Option("--dropout", help="Before the head.")] = 0.0,
    scaler: Annotated[
        str, typer.Option("--scaler", help="auto, window, series, standard, minmax, robust, none.")
    ] = "auto",
    loss: Annotated[str, typer.Option("--loss", help="mae, mse, huber, quantile.")] = "mae",
    strategy: Annotated[
        str, typer.Option("--strategy", help="direct, recursive (one step, fed back), auto.")
    ] = "auto",
    missing: Annotated[
        str, typer.Option("--missing", help="Values: interpolate, forward or error.")
    ] = "interpolate",
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bits.")] = 0,
) -> None:
    """Forecast a table: writes forecast.csv, forecast.png, model.safetensors, report.json."""
    from .forecasting import forecast_file

    forecast_file(
        data,
        out,
        columns={
            "time": time,
            "target": target,
            "id": id,
            "past": past or (),
            "future": future or (),
            "static": static or (),
            "freq": freq,
        },
        encoding=encoding,
        level=tuple(level or (80, 95)),
        parameters={
            "horizon": horizon,
            "lookback": lookback,
            "season": "auto" if season is None else season,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "dropout": dropout,
            "scaler": scaler,
            "loss": loss,
            "strategy": strategy,
            "missing": missing,
            "seed": seed,
        },
    )


@app.command()
def predict(
    model: Model,
    data: Annotated[
        Path | None,
        typer.Argument(help="Newer data; by default those of the fit.", metavar="[DATA]"),
    ] = None,
    horizon: Annotated[Number, typer.Option("--horizon", help="Steps to forecast.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="CSV to write; printed by default.", metavar="FILE"),
    ] = None,
    time: Time = None,
    target: Target = None,
    id: Id = None,
    ahead: Annotated[
        Path | None,
        typer.Option("--ahead", help="Table of the columns known ahead.", metavar="FILE"),
    ] = None,
    level: Level = None,
    encoding: Encoding = None,
) -> None:
    """Run a saved model on newer data, without learning from them."""
    from .forecasting import predict_file

    predict_file(
        model,
        data,
        out,
        horizon=horizon,
        columns={"time": time, "target": target, "id": id},
        ahead=ahead,
        encoding=encoding,
        level=tuple(level or (80, 95)),
    )


@app.command()
def info(model: Model) -> None:
    """Say what a model file holds."""
    from .information import print_info

    print_info(model)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("demo"),
) -> None:
    """See it work in a few seconds: a sine that goes on by itself, and the sunspots."""
    from .demo import run_demo

    run_demo(out)


live_app.register(app)
