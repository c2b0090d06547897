"""Files of tagged sentences: CoNLL with a token and its tag in each line, and CoNLL-U."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .decoding import Wanted, read_text

CONLL_U = 10  # columns; the word stands in the second, its part of speech in the fourth
_WANTED = Wanted(
    "a CoNLL file", "a token and its tag in each line, a blank line between sentences",
    "save it as text",
)  # fmt: skip


@dataclass(frozen=True)
class Sentences:
    """Sentences (N,) as lists of tokens; their tags, or None where the file has none."""

    tokens: list[list[str]]
    tags: list[list[str]] | None


def read_sentences(
    path: str | Path,
    *,
    token_column: int | None = None,
    tag_column: int | None = None,
    tagged: bool = True,
    encoding: str | None = None,
) -> Sentences:
    """Sentences of a CoNLL file, between which stands a blank line.

    Columns are parted by tabs where there are any, else by blanks. The token stands in the first
    and the tag in the last column; in the second and the fourth where there are ten (CoNLL-U).

    Args:
        path: the file, gzipped or not.
        token_column: another column of the tokens, from 1 on.
        tag_column: another column of the tags, from 1 on.
        tagged: False where tokens alone, in one column, will do: tags are None then.
        encoding: of the file; UTF-8 by default.

    Raises:
        InputError: the file cannot be read, holds no sentence, or a line has too few columns.
    """
    rows = _rows(read_text(path, encoding, _WANTED))
    if not rows:
        raise InputError(f"{path} holds no sentence; expected {_WANTED.content}")
    width = max(len(cells) for _, cells in rows)
    is_conll_u = width == CONLL_U and all(len(cells) == CONLL_U for _, cells in rows if cells)
    token = (2 if is_conll_u else 1) if token_column is None else token_column
    tag = (4 if is_conll_u else width) if tag_column is None else tag_column
    has_tags = width > 1 and token != tag
    if tagged and width > 1 and token == tag:
        raise InputError(
            f"column {token} of {path} was named for both tokens and tags; name another for one"
        )
    if tagged and not has_tags:
        raise InputError(
            f"{path} has one column, expected a token and its tag in each line, parted by a tab"
        )
    need = max(token, tag if has_tags else 1)
    if min(token, tag) < 1:
        raise InputError(f"columns count from 1 on, got {min(token, tag)}")
    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    for line, cells in rows:
        if not cells:
            if tokens[-1]:
                tokens.append([])
                tags.append([])
            continue
        if len(cells) < need:
            raise InputError(
                f"line {line} of {path} has {len(cells)} column{'s' * (len(cells) > 1)}, expected "
                f"at least {need}; put a token and its tag into each line, parted by a tab"
            )
        if is_conll_u and not cells[0].isdecimal():
            continue  # "3-4" spans words that follow by themselves, "3.1" is not in the text
        tokens[-1].append(cells[token - 1])
        tags[-1].append(cells[tag - 1] if has_tags else "")
    if not tokens[-1]:
        tokens.pop()
        tags.pop()
    if not tokens:
        raise InputError(f"{path} holds no sentence; expected {_WANTED.content}")
    return Sentences(tokens, tags if has_tags else None)


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Line number and cells of each line, no cells for a blank one, without comments."""
    tabs = "\t" in text.replace("\t\n", "\n")
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            rows.append((number, []))
        elif line.startswith("-DOCSTART-"):
            continue
        elif line.startswith("#") and (("\t" not in line) if tabs else line.startswith("# ")):
            continue  # a comment; a line such as "#<TAB>O" is a token
        else:
            cells = line.split("\t") if tabs else line.split()
            rows.append((number, [cell.strip() for cell in cells]))
    return rows if any(cells for _, cells in rows) else []
