"""read_table: CSV, TSV and Parquet files in, a polars frame out, or a clear error."""

from __future__ import annotations

import codecs
import difflib
import gzip
import io
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import polars as pl

PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
SEPARATORS = (",", "\t", ";", "|")

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# A header cell that is a number or begins like a date is data: the file has no header.
_VALUE_CELL = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?|\d{4}[-/.年]\d{1,2}\D?.*")
_DECIMAL_COMMA = r"^\s*[-+]?\d+(,\d+)?\s*$"


def read_table(path: str | Path, *, encoding: str | None = None) -> pl.DataFrame:
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

    try:
        path = Path(path).expanduser()
    except RuntimeError as error:  # ~somebody who is not there
        raise InputError(f"{path} cannot be opened: {error}; check the path") from None
    raw = _read_bytes(path)
    try:
        if raw.startswith(PARQUET_MAGIC) or path.suffix.lower() in (".parquet", ".pq"):
            frame = pl.read_parquet(io.BytesIO(raw))
        else:
            frame = _read_csv(path, _decode(path, raw, encoding))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{path} cannot be read as a table: {reason}; expected CSV, TSV or Parquet with as "
            "many cells in every line as in the header"
        ) from None
    if frame.width == 0 or frame.height == 0:
        raise InputError(
            f"{path} has a header but no rows; expected one row for each time step below it"
        )
    return frame


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file; name a CSV or Parquet file in it")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        near = []
        if path.parent.is_dir():
            near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()])
        hint = f"did you mean {' or '.join(near)}?" if near else "check the name and the folder"
        raise InputError(f"there is no file {path}; {hint}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened: {error}; check the file") from None
    if raw.startswith(GZIP_MAGIC):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is a damaged gzip file ({error}); fetch it again") from None
    if not raw.strip():
        raise InputError(f"{path} is empty; expected a header line and one row per time step")
    return raw


# -- text ----------------------------------------------------------------------------------


def _decode(path: Path, raw: bytes, encoding: str | None) -> str:
    if encoding is not None:
        return _decode_as(path, raw, encoding)
    if raw.startswith(_UTF16_MARKS):
        return _decode_as(path, raw, "utf-16")
    if raw.startswith(ZIP_MAGIC):
        raise InputError(
            f"{path} is a zip archive or an Excel workbook, expected CSV or Parquet; save the "
            "sheet as CSV (UTF-8)"
        )
    if b"\0" in raw[:65536]:
        raise InputError(
            f"{path} is a binary file, expected the text of a CSV or a Parquet file; export the "
            "table as CSV"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} in line {line}; "
            f"try --encoding {_likely_encoding(raw)} (in Python: "
            f"encoding={_likely_encoding(raw)!r}), or save the file as UTF-8"
        ) from None


def _decode_as(path: Path, raw: bytes, encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        return raw.decode("utf-8-sig" if name == "utf-8" else name).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not {encoding}: byte 0x{raw[error.start]:02x} at position {error.start} "
            f"does not fit; try encoding {_likely_encoding(raw)}"
        ) from None
    except (LookupError, TypeError, AttributeError):
        raise InputError(
            f"encoding {encoding!r} is not known; expected a name such as utf-8, gb18030, big5, "
            "shift_jis or cp1252"
        ) from None


def _likely_encoding(raw: bytes) -> str:
    """gb18030, cp1252 or latin-1: the one that makes text of bytes that are not UTF-8.

    Nearly all real Chinese lies in GB2312, whose two bytes are both 0xA1 or more; a western
    accent followed by a plain letter never does, though gb18030 decodes it too.
    """
    try:
        raw.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        foreign = [c for c in raw.decode("gb18030") if ord(c) > 127]
        common = sum(1 for c in foreign if _in_gb2312(c))
        if common >= 0.9 * len(foreign):
            return "gb18030"
    except UnicodeDecodeError:
        pass
    try:
        raw.decode("cp1252")
        return "cp1252"
    except UnicodeDecodeError:
        return "latin-1"


def _in_gb2312(character: str) -> bool:
    try:
        return len(character.encode("gb2312")) == 2
    except UnicodeEncodeError:
        return False


# -- CSV -----------------------------------------------------------------------------------


def _read_csv(path: Path, text: str) -> pl.DataFrame:
    import polars as pl

    if "\n" not in text:
        text = text.replace("\r", "\n")  # as old Macs ended lines
    text = text.lstrip("\r\n")
    header = text.split("\n", 1)[0].rstrip("\r")
    separator = "\t" if ".tsv" in path.suffixes else max(SEPARATORS, key=header.count)
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
