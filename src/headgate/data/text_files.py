"""Files of texts and their labels: tables, lines with labels, a file for each class, corpora."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import shown
from ..errors import InputError
from .decoding import TEXTS, expand, read_text
from .tables import read_table

if TYPE_CHECKING:
    import polars as pl

TABLES = (".csv", ".tsv", ".parquet", ".pq")
_TEXT_NAMES = (
    "text",
    "review",
    "sentence",
    "comment",
    "content",
    "headline",
    "title",
    "question",
    "sequence",
    "文本",
    "评论",
    "内容",
    "标题",
    "句子",
)
_LABEL_NAMES = (
    "label",
    "labels",
    "sentiment",
    "class",
    "category",
    "target",
    "y",
    "标签",
    "类别",
    "情感",
)
_PREFIX = "__label__"  # as fastText writes labels


@dataclass(frozen=True)
class Texts:
    """Texts, what each is, and where each stood.

    Attributes:
        texts: (N,) as they stand in the file, without blanks at the ends.
        labels: (N,), or None where the file has none.
        positions: (N,) index in its file, from 0: rows of a table, lines of text.
    """

    texts: list[str]
    labels: list[str] | None
    positions: list[int]


def is_table(path: str | Path) -> bool:
    """Whether a file is read as a table, by its ending."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return bool(suffixes) and (
        suffixes[-1] in TABLES
        or (suffixes[-1] == ".gz" and suffixes[-2:-1] in ([".csv"], [".tsv"]))
    )


def read_texts(
    paths: Sequence[str | Path],
    *,
    text: str | None = None,
    label: str | None = None,
    labelled: bool = True,
    header: bool = True,
    label_until: str | None = None,
    encoding: str | None = None,
) -> Texts:
    """Texts with their labels, in whichever of the usual ways they are written.

    - A table (.csv, .tsv, .parquet): columns by name, guessed where only one choice makes sense.
    - Lines with a tab: "text<TAB>label" or "label<TAB>text", whichever has fewer labels.
    - Other lines: "label text", the label up to the first blank.
    - Several files: each holds one class, a text in each line; the class is the part of the name
      that differs (rt-polarity.pos and rt-polarity.neg: "pos" and "neg").

    Args:
        paths: the files.
        text: column of the texts.
        label: column of the labels.
        labelled: False for texts alone: a line is a text, and a table's labels are read only
            if ``label`` names them.
        header: False for a table whose first line is data; its columns are called 1, 2, ...
        label_until: the label ends before this: ":" makes "DESC" of "DESC:manner".
        encoding: of the files; UTF-8 by default.

    Raises:
        InputError: a file cannot be read, a column is not there or not to be guessed, a label
            is missing, or lines do not begin with labels.
    """
    if not paths:
        raise InputError("no file was named; name one, or one for each class")
    table = is_table(paths[0]) or text is not None or label is not None or not header
    if len(paths) > 1:
        if table:
            raise InputError(
                f"{len(paths)} files are read as one for each class, a text in each line, but "
                f"{paths[0]} is a table; put the tables into one file"
            )
        found = _file_per_class([expand(path) for path in paths], encoding)
    elif table:
        found = _from_table(expand(paths[0]), text, label, labelled, header, encoding)
    elif labelled:
        found = _from_lines(expand(paths[0]), encoding)
    else:
        lines = read_lines(paths[0], encoding)
        found = Texts(lines, None, list(range(len(lines))))
    if found.labels is None or label_until is None:
        return found
    short = [name.partition(label_until)[0] for name in found.labels]
    return Texts(found.texts, short, found.positions)


def read_lines(path: str | Path, encoding: str | None = None) -> list[str]:
    """The lines of a file without their ends; blank ones too, but not at the end."""
    return [line.strip() for line in read_text(path, encoding).rstrip().split("\n")]


def read_corpus(
    path: str | Path, *, column: str | None = None, encoding: str | None = None
) -> list[str]:
    """The lines of a text, or one column of a file with tabs or of a table.

    Args:
        path: a text file, gzipped or not, or a table.
        column: its name in a table; else its number from 1 on, for lines with tabs.
        encoding: of the file; UTF-8 by default.

    Raises:
        InputError: the file cannot be read, or has no such column.
    """
    if is_table(path):
        frame = read_table(path, encoding=encoding, as_text=True, wanted=TEXTS)
        name = _named(frame, column, "text", "--column") if column else _guess_text(frame, path, "")
        return [value or "" for value in frame[name].to_list()]
    lines = read_text(path, encoding).split("\n")
    if lines[-1] == "":
        lines.pop()
    if column is None:
        return lines
    if not column.isdecimal() or int(column) < 1:
        raise InputError(f"the column of a text file is a number from 1 on, got {shown(column)}")
    number = int(column)
    cells = []
    for index, line in enumerate(lines):
        parts = line.split("\t")
        if len(parts) < number:
            raise InputError(
                f"line {index + 1} of {path} has {len(parts)} columns parted by tabs, expected at "
                f"least {number}; name another --column"
            )
        cells.append(parts[number - 1])
    return cells


# -- tables --------------------------------------------------------------------------------


def _from_table(
    path: Path, text: str | None, label: str | None, labelled: bool, header: bool,
    encoding: str | None,
) -> Texts:  # fmt: skip
    import polars as pl

    frame = read_table(path, encoding=encoding, as_text=True, header=header, wanted=TEXTS)
    labels = None
    if labelled or label is not None:
        label = _named(frame, label, "label", "--label") if label else _guess_label(frame, path)
        values = frame[label].cast(pl.String).str.strip_chars()
        missing = (values.is_null() | (values == "")).arg_true()
        if len(missing):
            raise InputError(
                f"{len(missing)} of {frame.height} rows of {path} have no label in the column "
                f"{label!r}, the first of them row {int(missing[0]) + 1}; fill them or leave these "
                "rows out"
            )
        labels = values.to_list()
    text = _named(frame, text, "text", "--text") if text else _guess_text(frame, path, label or "")
    if text == label:
        raise InputError(
            f"the column {text!r} of {path} was named for both texts and labels; name another for "
            "one"
        )
    texts = frame[text].cast(pl.String).fill_null("").str.strip_chars().to_list()
    return Texts(texts, labels, list(range(frame.height)))


def _named(frame: pl.DataFrame, name: str, what: str, option: str) -> str:
    if name not in frame.columns:
        raise InputError(
            f"there is no column {name!r} for the {what}; {option} must be one of {_names(frame)}"
        )
    return name


def _names(frame: pl.DataFrame) -> str:
    names = frame.columns[:8]
    return ", ".join(map(repr, names)) + (" ..." if len(frame.columns) > len(names) else "")


def _guess_label(frame: pl.DataFrame, path: Path) -> str:
    known = [name for name in frame.columns if name.lower() in _LABEL_NAMES]
    if len(known) == 1:
        return known[0]
    if not known and frame.width == 2:
        return min(frame.columns, key=lambda name: frame[name].n_unique())
    raise InputError(
        f"which column of {path} has the labels? It has {_names(frame)}; pass --label COL"
    )


def _guess_text(frame: pl.DataFrame, path: str | Path, label: str) -> str:
    names = [name for name in frame.columns if name != label]
    known = [name for name in names if name.lower() in _TEXT_NAMES]
    if len(names) == 1 or len(known) == 1:
        return (known or names)[0]
    raise InputError(
        f"which column of {path} has the texts? It has {_names(frame)}; pass --text COL"
    )


# -- lines ---------------------------------------------------------------------------------


def _from_lines(path: Path, encoding: str | None) -> Texts:
    lines = read_text(path, encoding).split("\n")
    kept = [(index, line) for index, line in enumerate(lines) if line.strip()]
    if all("\t" in line for _, line in kept):
        texts, labels = _by_tab(path, kept)
    else:
        pairs = [line.strip().partition(" ") for _, line in kept]
        texts, labels = [rest.strip() for _, _, rest in pairs], [first for first, _, _ in pairs]
    different = len(set(labels))
    if different > max(10, len(labels) / 4):
        raise InputError(
            f"the lines of {path} do not begin with labels ({different} different first words in "
            f"{len(labels)} lines); expected 'label text' or 'text<TAB>label' in each, a table "
            "with --text and --label, or one file for each class"
        )
    return Texts(texts, [_bare(label) for label in labels], [index for index, _ in kept])


def _bare(label: str) -> str:
    return label[len(_PREFIX) :] if label.startswith(_PREFIX) else label


def _by_tab(path: Path, kept: list[tuple[int, str]]) -> tuple[list[str], list[str]]:
    for index, line in kept:
        if line.count("\t") != 1:
            raise InputError(
                f"line {index + 1} of {path} has {line.count('	') + 1} columns parted by tabs, "
                "expected a text and a label; with --no-header columns have the names 1, 2, ... "
                "for --text and --label"
            )
    columns: list[Any] = [
        [cell.strip() for cell in column]
        for column in zip(*(line.split("\t") for _, line in kept), strict=True)
    ]
    # The labels are those that repeat; in a file of a few lines, the shorter.
    first, second = ((len(set(column)), sum(map(len, column))) for column in columns)
    texts, labels = columns if second <= first else columns[::-1]
    return texts, labels


def _file_per_class(paths: list[Path], encoding: str | None) -> Texts:
    names = _differing([path.name for path in paths])
    texts: list[str] = []
    labels: list[str] = []
    positions: list[int] = []
    for path, name in zip(paths, names, strict=True):
        for index, line in enumerate(read_text(path, encoding).split("\n")):
            if line.strip():
                texts.append(line.strip())
                labels.append(name)
                positions.append(index)
    return Texts(texts, labels, positions)


def _differing(names: list[str]) -> list[str]:
    """What tells file names apart: their stems, else their endings, else all of them."""
    stems = [re.sub(r"\.[^.]+(\.gz)?$", "", name) for name in names]
    endings = [
        name[len(stem) :].removesuffix(".gz").lstrip(".")
        for name, stem in zip(names, stems, strict=True)
    ]
    for parts in (stems, endings, names):
        if len(set(parts)) == len(names):
            return parts
    raise InputError(f"the files {', '.join(names[:5])} have equal names; name each class's once")
