"""The header of a safetensors file, checked without believing any of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from .checks import parse_json, shown
from .errors import InputError, ModelFileError
from .spec import NetworkSpec, Recurrent

MAX_HEADER = 16 << 20  # bytes
MAX_OTHER = 1 << 28  # elements of a tensor that the spec does not size: 1 GiB
MAX_DIMENSIONS = 8

# Name -> (shape, first byte, byte after the last), counted from the header's end.
Layout = dict[str, tuple[tuple[int, ...], int, int]]

OURS = {"F32": 4}  # bytes of a number by dtype, in model files
FOREIGN = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}

_OTHER_NAME = re.compile(r"(state|extra)\.[\w.\-]{1,200}")


def parse_header(raw: bytes, data_size: int) -> tuple[Layout, str]:
    """The tensors of a header, and the text of its ``headgate`` metadata.

    Args:
        raw: the header's bytes.
        data_size: how many bytes follow it in the file.

    Raises:
        ModelFileError: not a safetensors header, tensors that are not float32, that overlap,
            leave gaps or end elsewhere than the file, or no ``headgate`` metadata.
    """
    header = _header(raw)
    metadata = _metadata_of(header)
    if "headgate" not in metadata:
        raise ModelFileError(
            "is a safetensors file that headgate did not write, so that it does not say which "
            "network it belongs to; read it by hg.Network.from_safetensors, which asks for what "
            "the file does not tell"
        )
    if len(metadata) > 1:
        raise ModelFileError(
            f"is broken: {_META} has keys beside 'headgate': {shown(sorted(metadata))}"
        )
    return _layout(header, data_size, OURS), str(metadata["headgate"])


def parse_foreign(raw: bytes, data_size: int) -> tuple[Layout, dict[str, str]]:
    """The tensors and the dtypes of a header that another program wrote; floating types only.

    Raises:
        ModelFileError: as :func:`parse_header`; or headgate wrote it.
    """
    header = _header(raw)
    if "headgate" in _metadata_of(header):
        raise ModelFileError("is a model file of headgate's own; open it with hg.load")
    layout = _layout(header, data_size, FOREIGN)
    return layout, {name: header[name]["dtype"] for name in layout}


def _header(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        if not text.startswith("{"):
            raise InputError("its header does not begin with '{'")
        header: dict[str, Any] = parse_json(text, "its header")
    except (InputError, UnicodeDecodeError) as error:
        raise ModelFileError(f"is not a safetensors file, or a damaged one: {error}") from None
    return header


def _layout(header: dict[str, Any], data_size: int, dtypes: Mapping[str, int]) -> Layout:
    """Where each tensor lies: without overlaps and gaps, up to the file's end."""
    layout = {name: _entry(name, value, dtypes) for name, value in header.items() if name != _META}
    position = 0
    for name, (_, begin, end) in sorted(layout.items(), key=lambda item: item[1][1:]):
        if begin != position:
            raise ModelFileError(
                f"is broken: tensor {shown(name)} begins at byte {shown(begin)}, expected "
                f"{shown(position)}; tensors must not overlap or leave gaps"
            )
        position = end
    if position != data_size:
        verb = "truncated" if data_size < position else "too long"
        raise ModelFileError(
            f"is {verb}: its tensors take {shown(position)} bytes, the file has {data_size} for "
            "them; copy or save it again"
        )
    return layout


_META = "__metadata__"


def _metadata_of(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.get(_META, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ModelFileError(f"is broken: {_META} must be an object of strings")
    return metadata


def _entry(name: str, value: Any, dtypes: Mapping[str, int]) -> tuple[tuple[int, ...], int, int]:
    """Shape and byte range of one tensor, consistent in themselves."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(
            f"is broken: tensor {shown(name)} must have dtype, shape and data_offsets, "
            f"got {shown(value)}"
        )
    size = dtypes.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if size is None:
        only = "a model file holds only 'F32' (float32)"
        if dtypes is not OURS:
            only = f"a network's parameters are of {', '.join(dtypes)}"
        raise ModelFileError(
            f"is broken: tensor {shown(name)} has dtype {shown(value['dtype'])}, {only}"
        )
    shape, offsets = value["shape"], value["data_offsets"]
    if not _sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ModelFileError(f"is broken: tensor {shown(name)} has the shape {shown(shape)}")
    if not _sizes(offsets) or len(offsets) != 2:
        raise ModelFileError(f"is broken: tensor {shown(name)} has offsets {shown(offsets)}")
    begin, end = offsets
    if end - begin != size * math.prod(shape):
        raise ModelFileError(
            f"is broken: tensor {shown(name)} of shape {shown(shape)} lies at bytes "
            f"{shown(offsets)}, which is not {size} bytes for each element"
        )
    return tuple(shape), begin, end


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in value)


def check_layout(shapes: Mapping[str, tuple[int, ...]], spec: NetworkSpec) -> list[str]:
    """Hold the tensors' names and shapes against the spec.

    Returns:
        The names in the spec's order, then the others by name.

    Raises:
        InputError: a parameter is missing or has another shape, or a tensor is unknown.
    """
    expected = spec.parameter_shapes()
    for name, shape in expected.items():
        if name not in shapes:
            raise InputError(f"tensor {name!r} of shape {shape} is missing")
        if shapes[name] != shape:
            raise InputError(
                f"tensor {name!r} must have the shape {shape}, got {shown(shapes[name])}"
            )
    others = [name for name in shapes if name not in expected]
    states = {f"state.{part}": layer for layer in spec.recurrent() for part in layer.state_names()}
    for name in others:
        if not isinstance(name, str) or not _OTHER_NAME.fullmatch(name):
            raise InputError(
                f"tensor {shown(name)} is no parameter of this network; others must be named "
                "state.<name> or extra.<name>"
            )
        _check_other(name, shapes[name], states.get(name))
    return [*expected, *sorted(others)]


def _check_other(name: str, shape: tuple[int, ...], layer: Recurrent | None) -> None:
    if len(shape) > MAX_DIMENSIONS or math.prod(shape) > MAX_OTHER:
        raise InputError(
            f"tensor {name!r} of shape {shown(shape)} is too large; at most {MAX_OTHER} elements "
            f"in {MAX_DIMENSIONS} dimensions are possible"
        )
    if layer is None:
        return
    depth = layer.num_layers * layer.directions
    if (len(shape), shape[:1], shape[2:]) != (3, (depth,), (layer.hidden_size,)):
        raise InputError(
            f"tensor {name!r} must have the shape ({depth}, N, {layer.hidden_size}), "
            f"got {shown(shape)}"
        )
