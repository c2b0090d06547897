"""The one reader and writer of model files.

A model file is one ``.safetensors`` file:

- 8 bytes: the length of the header, unsigned, little-endian;
- the header, JSON in UTF-8: each tensor's dtype (always ``F32``), shape and place, and under
  ``__metadata__`` the one key ``headgate``;
- the tensors' bytes, without gaps.

The value of ``headgate`` is a JSON text: ``{"format": 1, "spec": NetworkSpec.to_dict(),
"extra": {...}, "headgate_version": "...", "sha256": ..., "header_sha256": ...}``. ``sha256`` is
of the tensors' bytes, ``header_sha256`` of everything else (see :func:`_header_digest`), so that
an altered byte anywhere is noticed. They guard against accidents; whoever alters a file on
purpose can compute them anew, and therefore every size is checked against the spec and against
the file's length before anything is allocated for it. There is no pickle in it and no code.

The writer uses the safetensors library. The reader does not need it: once the header has been
checked, the tensors are read straight into their arrays, without a second copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from .checks import parse_json, shown
from .errors import HeadgateError, InputError, ModelFileError
from .files import check_path, write_beside_and_rename
from .model_header import FOREIGN, MAX_HEADER, Layout, check_layout, parse_foreign, parse_header
from .spec import NetworkSpec
from .version import __version__

FORMAT = 1
_KEYS = {"format", "spec", "extra", "headgate_version", "sha256", "header_sha256"}
_CHUNK = 1 << 20
# What people pass by mistake; as a header's length, all of these are past MAX_HEADER.
_STRANGERS = {
    b"PK\x03\x04": "a zip archive (torch.save, .npz, .keras)",
    b"\x89HDF": "an HDF5 file (.h5)",
    b"\x93NUMPY": "a NumPy file (.npy)",
    **{bytes([0x80, version]): "a pickle" for version in range(2, 6)},
}

Array = npt.NDArray[np.float32]
Read = TypeVar("Read")


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds.

    Attributes:
        spec: the network.
        tensors: float32, C-contiguous, writable arrays by name: first the spec's parameters in
            its order, then any ``state.*`` and ``extra.*``.
        extra: what the writer passed as ``extra``.
        headgate_version: the version that wrote the file.
    """

    spec: NetworkSpec
    tensors: dict[str, Array]
    extra: dict[str, Any] = field(default_factory=dict)
    headgate_version: str = ""


# -- writing ------------------------------------------------------------------------------------


def save_model(
    path: str | os.PathLike[str],
    spec: NetworkSpec,
    tensors: Mapping[str, Array],
    *,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file, whole or not at all.

    Args:
        path: where; ``.safetensors`` is the usual ending. An existing file is replaced.
        spec: the network.
        tensors: float32 arrays: every parameter of ``spec`` by name, and optionally others whose
            names begin with ``state.`` or ``extra.``; ``state.<gru layer>`` is (L, N, H).
        extra: JSON-able settings to keep beside the network; as always in JSON, tuples come
            back as lists and keys as strings.

    Raises:
        InputError: the tensors do not match the spec, a parameter or a state is not finite, or
            ``extra`` is not JSON, or ``path`` is no path. Nothing is written.
        ModelFileError: the file cannot be written. What was there before is unchanged.
    """
    check_path(path)
    arrays = _checked_arrays(spec, tensors)
    text = _metadata(spec, arrays, {} if extra is None else extra)
    from safetensors.numpy import save  # a compiled module, of use to writers only

    content = save(arrays, metadata={"headgate": text})
    try:  # the reader's own view: no file leaves that it would refuse
        size = _header_size(content[:8], len(content))
        _check_header(content[8 : 8 + size], len(content) - 8 - size)
    except ModelFileError as error:
        raise InputError(
            f"this model cannot be a model file, because it {error}; large arrays belong not in "
            "extra, but among the tensors, named extra.<name>"
        ) from None
    try:
        write_beside_and_rename(path, content)
    except HeadgateError as error:
        raise ModelFileError(str(error)) from error


def _checked_arrays(spec: NetworkSpec, tensors: Mapping[str, Array]) -> dict[str, Array]:
    if not isinstance(spec, NetworkSpec):
        raise InputError(f"spec must be a NetworkSpec, got {shown(spec)}")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, array in tensors.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"tensor {shown(name)} must be a float32 array, got {came}")
        shapes[name] = array.shape
    check_layout(shapes, spec)
    # sorted, because the library lays tensors of one dtype out by name; not ascontiguousarray,
    # which would turn () into (1,)
    arrays = {name: np.asarray(tensors[name], "<f4", order="C") for name in sorted(shapes)}
    for name, array in arrays.items():
        if not name.startswith("extra.") and not np.isfinite(array).all():
            raise InputError(
                f"tensor {name!r} holds nan or infinite values, which no model file may; "
                "save the network from before it diverged"
            )
    return arrays


def _metadata(spec: NetworkSpec, arrays: Mapping[str, Array], extra: Mapping[str, Any]) -> str:
    """The JSON text under ``headgate`` for ``arrays`` laid out in their order."""
    if not isinstance(extra, Mapping):
        raise InputError(f"extra must be a dict of JSON values, got {shown(extra)}")
    digest, layout, end = hashlib.sha256(), {}, 0
    for name, array in arrays.items():
        digest.update(array.reshape(-1).data)
        layout[name] = (array.shape, end, end + array.nbytes)
        end += array.nbytes
    payload: dict[str, Any] = {
        "format": FORMAT,
        "spec": spec.to_dict(),
        "extra": dict(extra),
        "headgate_version": __version__,
        "sha256": digest.hexdigest(),
    }
    try:
        # once through JSON, so that the digest is of what a reader will see
        payload = parse_json(json.dumps(payload, allow_nan=False), "extra")
        payload["header_sha256"] = _header_digest(payload, layout)
        text = json.dumps(payload, ensure_ascii=False)  # names in any script stay readable
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            "extra must hold only finite numbers, strings, booleans, None, lists and dicts: "
            f"{error}"
        ) from None
    return text


def _header_digest(payload: Mapping[str, Any], layout: Layout) -> str:
    """SHA-256 of what the header says, however it is spelled: the payload without this very
    digest, and every tensor's name, shape and place, as canonical JSON."""
    rest = {key: value for key, value in payload.items() if key != "header_sha256"}
    table = sorted((name, list(shape), begin, end) for name, (shape, begin, end) in layout.items())
    text = json.dumps([rest, table], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# -- reading ------------------------------------------------------------------------------------


def load_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file.

    Raises:
        ModelFileError: there is no such file, it is not a model file, or it is truncated,
            altered, hostile or of a newer format. The message begins with the path.
    """
    return _guarded(path, _read)


def load_foreign(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a safetensors file that another program wrote, as float32.

    Raises:
        ModelFileError: as :func:`load_model`; or headgate wrote it, or a tensor is not of floating
            numbers, or not of finite ones.
    """
    return _guarded(path, _read_foreign)


def _guarded(path: str | os.PathLike[str], read: Callable[[BinaryIO, int], Read]) -> Read:
    """What ``read`` makes of a file and its size; whatever goes wrong is a ModelFileError."""
    name = check_path(path)
    try:
        # before opening: a named pipe would wait for ever
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ModelFileError("is a directory; name the model file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError("is not a regular file")
        with open(path, "rb") as file:
            return read(file, os.fstat(file.fileno()).st_size)
    except (ModelFileError, InputError) as error:
        raise ModelFileError(f"{name!r} {error}") from None
    except FileNotFoundError:
        raise ModelFileError(f"{name!r} does not exist; check the path") from None
    except OSError as error:
        raise ModelFileError(f"{name!r} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever a hostile file may still bring up
        raise ModelFileError(
            f"{name!r} cannot be read as a model file: {type(error).__name__}: {error}"
        ) from error


def _read(file: BinaryIO, file_size: int) -> ModelFile:
    start = file.read(8)
    header_size = _header_size(start, file_size)
    spec, payload, layout = _check_header(file.read(header_size), file_size - 8 - header_size)
    digest = hashlib.sha256()
    for chunk in _chunks(file, file_size - 8 - header_size):
        digest.update(chunk)
    if digest.hexdigest() != payload["sha256"]:
        raise ModelFileError(
            "was altered or damaged: its tensors do not have the SHA-256 that it states; "
            "copy or save it again"
        )
    tensors = {}
    for name, (shape, begin, _) in layout.items():
        array = np.empty(shape, "<f4")
        file.seek(8 + header_size + begin)
        if file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            raise ModelFileError("became shorter while it was read; try again")
        if not name.startswith("extra.") and not np.isfinite(array).all():
            raise ModelFileError(
                f"holds nan or infinite values in tensor {name!r}; save the network from before "
                "it diverged"
            )
        tensors[name] = array.astype(np.float32, copy=False)
    return ModelFile(spec, tensors, payload["extra"], payload["headgate_version"])


def _read_foreign(file: BinaryIO, file_size: int) -> dict[str, Array]:
    header_size = _header_size(file.read(8), file_size)
    layout, dtypes = parse_foreign(file.read(header_size), file_size - 8 - header_size)
    tensors = {}
    for name, (shape, begin, end) in layout.items():
        file.seek(8 + header_size + begin)
        content = file.read(end - begin)
        if len(content) != end - begin:
            raise ModelFileError("became shorter while it was read; try again")
        array = _as_float32(content, dtypes[name]).reshape(shape)
        if not np.isfinite(array).all():
            raise ModelFileError(
                f"holds values in tensor {shown(name)} that are not finite in float32"
            )
        tensors[name] = array
    return tensors


def _as_float32(content: bytes, dtype: str) -> Array:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)
    with np.errstate(over="ignore"):  # which the caller looks for
        return np.frombuffer(content, f"<f{FOREIGN[dtype]}").astype(np.float32)


def _header_size(start: bytes, file_size: int) -> int:
    """The header's length from a file's first 8 bytes, if such a file is possible."""
    if len(start) < 8 or file_size < 8:
        raise ModelFileError(f"is truncated: it has {file_size} bytes; copy or save it again")
    size = int.from_bytes(start, "little")
    if size > MAX_HEADER:
        for first, what in _STRANGERS.items():
            if start.startswith(first):
                raise ModelFileError(
                    f"looks like {what}, not like a model file; headgate reads .safetensors only, "
                    "as other formats can run code; save the tensors so where they were made"
                )
        raise ModelFileError(
            f"is no model file: its header would have {size} bytes, at most {MAX_HEADER} are "
            "allowed"
        )
    if size > file_size - 8:
        raise ModelFileError(
            f"is truncated: its header has {size} bytes, the file only {file_size - 8} for it; "
            "copy or save it again"
        )
    return size


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise ModelFileError("became shorter while it was read; try again")
        size -= len(chunk)
        yield chunk


def _check_header(raw: bytes, data_size: int) -> tuple[NetworkSpec, dict[str, Any], Layout]:
    """The header's spec, payload and layout (in the spec's order), wholly checked."""
    layout, text = parse_header(raw, data_size)
    payload = parse_json(text, "is broken: its 'headgate' metadata")
    if not isinstance(payload, dict):
        raise ModelFileError("is broken: its 'headgate' metadata is not a JSON object")
    if payload.get("format") != FORMAT or isinstance(payload.get("format"), bool):
        raise ModelFileError(
            f"has model format {shown(payload.get('format'))}, written by headgate "
            f"{shown(payload.get('headgate_version'))}; this version reads format {FORMAT}; "
            "upgrade headgate"
        )
    if set(payload) != _KEYS:
        odd = sorted(set(payload) ^ _KEYS)
        raise ModelFileError(
            f"is broken: of the keys of its 'headgate' metadata, {shown(odd)} are missing or "
            f"unknown; expected {sorted(_KEYS)}"
        )
    if payload["header_sha256"] != _header_digest(payload, layout):
        raise ModelFileError(
            "was altered or damaged: its header does not have the SHA-256 that it states; "
            "copy or save it again"
        )
    if not isinstance(payload["extra"], dict) or not isinstance(payload["headgate_version"], str):
        raise ModelFileError("is broken: 'extra' or 'headgate_version' has the wrong type")
    try:
        spec = NetworkSpec.from_dict(payload["spec"])
        order = check_layout({name: shape for name, (shape, _, _) in layout.items()}, spec)
    except InputError as error:
        raise ModelFileError(f"is broken: {error}") from None
    return spec, payload, {name: layout[name] for name in order}
