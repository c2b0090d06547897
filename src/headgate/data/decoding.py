"""Bytes of files as text: byte-order marks, encodings, gzip, and what is wrong by name and line."""

from __future__ import annotations

import codecs
import difflib
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Wanted:
    """How messages call the file that is asked for, its content, the way to get one, its rows."""

    file: str
    content: str
    save: str
    rows: str = "one row for each time step"


TABLE = Wanted(
    "a CSV or Parquet file", "a header line and one row per time step", "save the sheet as CSV"
)
TEXTS = Wanted(
    "a file of texts", "a line of text or more", "save it as text", "one row for each text"
)


def expand(path: str | Path) -> Path:
    """The path with ``~`` as the user's folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~somebody who is not there
        raise InputError(f"{path} cannot be opened: {error}; check the path") from None


def read_text(path: str | Path, encoding: str | None = None, wanted: Wanted = TEXTS) -> str:
    """The text of a file, gzipped or not, with "\\n" alone at the ends of lines.

    Raises:
        InputError: as ``read_bytes`` and ``decode`` do.
    """
    path = expand(path)
    text = decode(path, read_bytes(path, wanted), encoding, wanted)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path, wanted: Wanted = TABLE) -> bytes:
    """The content of a file, unpacked where it is gzipped.

    Raises:
        InputError: it is missing, a folder, damaged or blank.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file; name {wanted.file} in it")
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
        raise InputError(f"{path} is empty; expected {wanted.content}")
    return raw


def decode(path: Path, raw: bytes, encoding: str | None, wanted: Wanted = TABLE) -> str:
    """The text of a file's bytes: UTF-8, UTF-16 with a byte-order mark, or in ``encoding``.

    Raises:
        InputError: they are something else; names the line, and an encoding that may fit.
    """
    if encoding is not None:
        return _decode_as(path, raw, encoding)
    if raw.startswith(_UTF16_MARKS):
        return _decode_as(path, raw, "utf-16")
    if raw.startswith(ZIP_MAGIC):
        raise InputError(
            f"{path} is a zip archive or an Excel workbook, expected {wanted.file}; {wanted.save} "
            "(UTF-8)"
        )
    if b"\0" in raw[:65536]:
        raise InputError(f"{path} is a binary file, expected {wanted.file}; {wanted.save}")
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
