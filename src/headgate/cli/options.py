"""Options that several commands have, with the words that their help shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Text = str | None
Number = int | None
Real = float | None
Flag = bool | None
Paths = list[Path] | None

Model = Annotated[Path, typer.Argument(help="A model.safetensors.", metavar="MODEL")]
Encoding = Annotated[
    Text, typer.Option("--encoding", help="Of the file, such as gb18030; UTF-8 by default.")
]
Time = Annotated[Text, typer.Option("--time", help="Column with the time.", metavar="COL")]
Target = Annotated[Text, typer.Option("--target", help="Column to forecast.", metavar="COL")]
Id = Annotated[Text, typer.Option("--id", help="Column that names the series.", metavar="COL")]
Freq = Annotated[Text, typer.Option("--freq", help="Such as M, D, 30min.")]
Horizon = Annotated[int, typer.Option("--horizon", help="Steps to forecast.")]
TextColumn = Annotated[Text, typer.Option("--text", help="Column with the texts.", metavar="COL")]
LabelColumn = Annotated[
    Text, typer.Option("--label", help="Column with the labels.", metavar="COL")
]
NoHeader = Annotated[
    bool, typer.Option("--no-header", help="The table begins with data; columns are 1, 2, ...")
]
LabelUntil = Annotated[
    Text,
    typer.Option("--label-until", help="Labels end before this, such as ':'.", metavar="TEXT"),
]
TokenColumn = Annotated[
    Number, typer.Option("--token-column", help="Of the tokens, from 1 on; the first by default.")
]
TagColumn = Annotated[
    Number, typer.Option("--tag-column", help="Of the tags, from 1 on; the last by default.")
]
TestFiles = Annotated[
    Paths, typer.Option("--test", help="File to test on; may be given several times.")
]
TestEvery = Annotated[
    Number, typer.Option("--test-every", help="Test on each K-th example.", metavar="K")
]
Tokens = Annotated[str, typer.Option("--tokens", help="auto, word, char, jieba or subword.")]
HiddenSize = Annotated[Number, typer.Option("--hidden-size", help="Units of the GRU.")]
Layers = Annotated[Number, typer.Option("--num-layers", help="Layers of the GRU.")]
Dropout = Annotated[Real, typer.Option("--dropout", help="Share of values left out in training.")]
MembersOption = Annotated[Number, typer.Option("--members", help="Networks that are averaged.")]
Epochs = Annotated[Number, typer.Option("--epochs", help="Found out by default.")]
LearningRate = Annotated[Real, typer.Option("--learning-rate", help="Found out by default.")]
BatchSize = Annotated[Number, typer.Option("--batch-size", help="Examples of an update.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same bits.")]
Progress = Annotated[
    Flag,
    typer.Option(
        "--progress/--no-progress",
        help="A line for each epoch; on a terminal by default.",
        show_default=False,
    ),
]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File to write; printed by default.", metavar="FILE"),
]


def given(**parameters: Any) -> dict[str, Any]:
    """The parameters that were given; the others stay as the estimator has them."""
    return {name: value for name, value in parameters.items() if value is not None}
