"""read_table: CSV, TSV and Parquet files in, a polars frame out, or a clear error."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .decoding import TABLE, Wanted, decode, expand, read_bytes

if TYPE_CHECKING:
    import polars as pl

PARQUET_MAGIC = b"PAR1"
SEPARATORS = (",", "\t", ";", "|")

# A header cell that is a number or begins like a date is data: the file has no header.
_VALUE_CELL = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?|\d{4}[-/.年]\d{1,2}\D?.*")
# A cell that begins with a quotation mark, with none at the end of a cell behind it in its line.
_OPEN_QUOTE = re.compile(r'(?:^|\t)"(?![^\n]*"(?:[\t\r\n]|\Z))', re.MULTILINE)
_DECIMAL_COMMA = r"^\s*[-+]?\d+(,\d+)?\s*$"


def read_table(
    path: str | Path,
    *,
    encoding: str | None = None,
    as_text: bool = False,
    header: bool = True,
    wanted: Wanted = TABLE,
) -> pl.DataFrame:
    """Read a CSV, TSV or Parquet file (CSV also gzipped) into a polars frame.

    Text is UTF-8, with or without a byte-order mark, or UTF-16 with one; ``encoding`` names
    any other that Python knows (``"gb18030"``, ``"cp1252"``). The separator is a tab for
    ``.tsv``, else whichever of ``, ; |`` and tab the header holds most of; with ``;`` numbers
    may have a decimal comma. Dates stay as they stand in the file: ``as_series`` reads them.

    Raises:
        InputError: the file is missing, a folder, empty, binary, not in the encoding, has no
            header or no rows, or lines that do not fit; says what to do.
    """
    import polars as pl

    path = expand(path)
    raw = read_bytes(path, wanted)
    try:
        if raw.startswith(PARQUET_MAGIC) or path.suffix.lower() in (".parquet", ".pq"):
            frame = pl.read_parquet(io.BytesIO(raw))
        else:
            text = decode(path, raw, encoding, wanted)
            frame = _read_text_csv(path, text, header) if as_text else _read_csv(path, text)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{path} cannot be read as a table: {reason}; expected CSV, TSV or Parquet with as "
            "many cells in every line as in the header"
        ) from None
    if frame.width == 0 or frame.height == 0:
        raise InputError(f"{path} has a header but no rows; expected {wanted.rows} below it")
    return frame


# -- CSV -----------------------------------------------------------------------------------


def _read_csv(path: Path, text: str) -> pl.DataFrame:
    import polars as pl

    text, header, separator = _first_line(path, text)
    cells = [cell.strip().strip('"').strip() for cell in header.split(separator)]
    if all(_VALUE_CELL.fullmatch(cell) for cell in cells):
        raise InputError(
            f"the first line of {path} holds values ({header[:60]}), expected column names; add "
            "a header line such as date,value"
        )
    raw = text.encode()

    def read(decimal_comma: bool) -> pl.DataFrame:
        # The whole column decides its type: text in the last row must not be an error here.
        return pl.read_csv(
            io.BytesIO(raw),
            separator=separator,
            infer_schema_length=None,
            decimal_comma=decimal_comma,
        )

    frame = read(False)
    if separator == ";" and any(_has_decimal_commas(column) for column in frame):
        frame = read(True)
    return _without_blanks(frame)


def _first_line(path: Path, text: str) -> tuple[str, str, str]:
    """The text with line feeds, its first line, and the separator."""
    if "\n" not in text:
        text = text.replace("\r", "\n")  # as old Macs ended lines
    text = text.lstrip("\r\n")
    header = text.split("\n", 1)[0].rstrip("\r")
    return text, header, "\t" if ".tsv" in path.suffixes else max(SEPARATORS, key=header.count)


def _read_text_csv(path: Path, text: str, header: bool) -> pl.DataFrame:
    """A table whose cells are texts; in one parted by tabs a quotation mark may be a mark."""
    import polars as pl

    before = text.count("\n")
    text, _, separator = _first_line(path, text)
    before -= text.count("\n")  # empty lines at the top
    marks = separator == "\t" and _OPEN_QUOTE.search(text)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    # Not polars, for which an inch mark within a text makes the whole file malformed.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True,
        quoting=csv.QUOTE_NONE if marks else csv.QUOTE_MINIMAL,
    )  # fmt: skip
    rows: list[list[str | None]] = []
    begin = 1
    try:
        for cells in reader:
            width = len(rows[0]) if rows else len(cells)
            if any(cells[width:]):
                raise InputError(
                    f"line {before + begin} of {path} has {len(cells)} cells, expected {width} as "
                    f"in the first line; put texts that hold {separator!r} in quotation marks"
                )
            rows.append([cell or None for cell in cells[:width]] + [None] * (width - len(cells)))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"line {before + begin} of {path} cannot be read ({error}); a text that begins with a "
            "quotation mark must end with one, and those within it be doubled"
        ) from None
    if not rows:
        raise pl.exceptions.NoDataError("it holds no line")
    if header:
        names = _distinct([name or "" for name in rows.pop(0)])
    else:
        names = [str(number) for number in range(1, len(rows[0]) + 1)]
    return _without_blanks(pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row"))


def _distinct(names: list[str]) -> list[str]:
    """Names that stand twice as polars tells them apart."""
    return [
        f"{name}_duplicated_{names[:k].count(name) - 1}" if name in names[:k] else name
        for k, name in enumerate(names)
    ]


def _has_decimal_commas(column: pl.Series) -> bool:
    import polars as pl

    if column.dtype != pl.String or column.null_count() == len(column):
        return False
    return bool(column.drop_nulls().str.contains(_DECIMAL_COMMA).all())


def _without_blanks(frame: pl.DataFrame) -> pl.DataFrame:
    """Strip blanks around names; drop unnamed empty columns and empty rows at the end.

    Spreadsheets leave both behind. Empty rows in the middle stay, so that row numbers hold.
    """
    import polars as pl

    names = [name.strip() for name in frame.columns]
    if len(set(names)) == len(names):
        frame.columns = names
    unnamed = [
        name
        for name in frame.columns
        if (not name or name.startswith("_duplicated_")) and frame[name].null_count() == len(frame)
    ]
    frame = frame.drop(unnamed)
    if frame.height == 0 or frame.width == 0:
        return frame
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return frame.head(int(filled[-1]) + 1) if len(filled) else frame.clear()
