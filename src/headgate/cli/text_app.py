"""The commands ``classify``, ``tag`` and ``text``, and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BatchSize,
    Dropout,
    Encoding,
    Epochs,
    HiddenSize,
    LabelColumn,
    LabelUntil,
    Layers,
    LearningRate,
    MembersOption,
    Model,
    NoHeader,
    Number,
    OutFile,
    Progress,
    Real,
    Seed,
    TagColumn,
    TestEvery,
    TestFiles,
    Text,
    TextColumn,
    TokenColumn,
    Tokens,
    given,
)


def _group(name: str, help: str) -> typer.Typer:
    return typer.Typer(
        name=name, help=help, no_args_is_help=True, add_completion=False, rich_markup_mode="rich"
    )


classify = _group("classify", "Tell classes of texts or sequences apart.")
tag = _group("tag", "Tag each token of sentences: names, parts of speech.")
text = _group("text", "Predict the next character or word of a text.")

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")]


# -- classify ------------------------------------------------------------------------------


@classify.command("train")
def classify_train(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Table, lines of 'label text' or 'text<TAB>label', .ts sequences, or a file of "
            "lines for each class.",
            metavar="DATA...",
        ),
    ],
    out: Out = Path("classifier"),
    text: TextColumn = None,
    label: LabelColumn = None,
    no_header: NoHeader = False,
    label_until: LabelUntil = None,
    encoding: Encoding = None,
    test: TestFiles = None,
    test_every: TestEvery = None,
    tokens: Tokens = "auto",
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Rare classes count as much as others.")
    ] = False,
    hidden_size: HiddenSize = None,
    num_layers: Layers = None,
    dropout: Dropout = None,
    members: MembersOption = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> None:
    """Learn to classify; writes the model, report.json and two pictures."""
    from .classifying import train_classifier

    train_classifier(
        data,
        out,
        reading={
            "text": text,
            "label": label,
            "header": not no_header,
            "label_until": label_until,
            "encoding": encoding,
        },
        test=test or [],
        test_every=test_every,
        tokens=tokens,
        progress=progress,
        parameters=given(
            class_weight="balanced" if balanced else None,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            members=members,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
        ),
    )


@classify.command("predict")
def classify_predict(
    model: Model,
    what: Annotated[str, typer.Argument(help="A text, or a file of them.", metavar="TEXT|FILE")],
    out: OutFile = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    no_header: NoHeader = False,
    label_until: LabelUntil = None,
    encoding: Encoding = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="The file's lines hold labels too, as in training.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each token of a text did.")
    ] = False,
) -> None:
    """Classify a text, or every line or row of a file."""
    from .classifying import predict_classes

    predict_classes(
        model,
        what,
        out,
        reading={
            "text": text,
            "label": label,
            "header": not no_header,
            "label_until": label_until,
            "encoding": encoding,
            "labelled": labelled or label is not None,
        },
        explain=explain,
    )


# -- tag -----------------------------------------------------------------------------------


@tag.command("train")
def tag_train(
    data: Annotated[
        Path, typer.Argument(help="CoNLL file: a token and its tag in each line.", metavar="DATA")
    ],
    out: Out = Path("tagger"),
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    encoding: Encoding = None,
    test: TestFiles = None,
    test_every: TestEvery = None,
    hidden_size: HiddenSize = None,
    num_layers: Layers = None,
    dropout: Dropout = None,
    members: MembersOption = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> None:
    """Learn to tag tokens; writes the model, report.json and two pictures."""
    from .tagging import train_tagger

    train_tagger(
        data,
        out,
        reading={"token_column": token_column, "tag_column": tag_column, "encoding": encoding},
        test=test or [],
        test_every=test_every,
        progress=progress,
        parameters=given(
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            members=members,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
        ),
    )


@tag.command("predict")
def tag_predict(
    model: Model,
    what: Annotated[
        str,
        typer.Argument(help="A sentence, or a file with a token in each line.",
                       metavar="TEXT|FILE"),
    ],
    out: OutFile = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    encoding: Encoding = None,
) -> None:  # fmt: skip
    """Tag a sentence, or all sentences of a CoNLL file."""
    from .tagging import predict_tags

    predict_tags(
        model,
        what,
        out,
        reading={"token_column": token_column, "tag_column": tag_column, "encoding": encoding},
    )


# -- text ----------------------------------------------------------------------------------


@text.command("train")
def text_train(
    corpus: Annotated[
        Path, typer.Argument(help="A text, gzipped or not, or a table.", metavar="CORPUS")
    ],
    out: Out = Path("language"),
    column: Annotated[
        Text,
        typer.Option("--column", help="Of texts in lines with tabs, or of a table."),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line is a text by itself, not part of one.")
    ] = False,
    encoding: Encoding = None,
    test: TestFiles = None,
    test_every: TestEvery = None,
    tokens: Tokens = "auto",
    minutes: Annotated[Real, typer.Option("--minutes", help="For training, about.")] = None,
    hidden_size: HiddenSize = None,
    num_layers: Layers = None,
    embedding_size: Annotated[
        Number, typer.Option("--embedding-size", help="Of the vector of each token.")
    ] = None,
    dropout: Dropout = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> None:
    """Learn to predict the next token; writes the model, report.json and a picture."""
    from .language import train_language

    train_language(
        corpus,
        out,
        column=column,
        lines=lines,
        encoding=encoding,
        test=test or [],
        test_every=test_every,
        progress=progress,
        parameters=given(
            unit=tokens,
            minutes=minutes,
            hidden_size=hidden_size,
            num_layers=num_layers,
            embedding_size=embedding_size,
            dropout=dropout,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
        ),
    )


@text.command("next")
def text_next(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="The beginning of a text.", metavar="PROMPT")],
    count: Annotated[int, typer.Option("--top", help="Tokens to show.", min=1)] = 10,
    gates: Annotated[
        bool, typer.Option("--gates", help="Show what the gates did at each token.")
    ] = False,
) -> None:
    """Show the likeliest next tokens."""
    from .language import show_next

    show_next(model, prompt, count, gates)


@text.command("generate")
def text_generate(
    model: Model,
    prompt: Annotated[str, typer.Option("--prompt", help="What the text begins with.")] = "",
    length: Annotated[int, typer.Option("--length", "-n", help="Most tokens.", min=0)] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Below 1 likelier, above 1 more surprising.")
    ] = 1.0,
    top_k: Annotated[Number, typer.Option("--top-k", help="Of the likeliest tokens.")] = None,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Of the likeliest tokens with this share.")
    ] = 1.0,
    seed: Annotated[Number, typer.Option("--seed", help="Same seed, same text.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this; several times.")
    ] = None,
) -> None:
    """Write a text that goes on from a prompt, token by token."""
    from .language import generate

    generate(
        model,
        prompt,
        length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop=stop or [],
    )
