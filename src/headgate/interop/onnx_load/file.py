"""An ONNX file as a graph in order: everything is looked at before anything is sized by it.

Nothing in a file is trusted: tensors are measured against the bytes that are there, names are
unique, nodes read only what stands before them, and what a graph can ask for is bounded.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import inliner, numpy_helper

from ...checks import shown
from ...errors import InputError, ModelFileError
from ...files import check_path

Array = npt.NDArray[Any]

MAX_FILE = (1 << 31) - 1  # protobuf's own limit
MAX_NODES = 20_000  # of a graph, its functions unfolded; recurrent models have tens to hundreds
OPSETS = range(7, 27)
MIN_TOKENS, MAX_TOKENS = 64, 1 << 24  # what whole numbers are followed up to
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
RECURRENT = (*GATES, "Loop")

# Types of constants: bytes of an element, and the field that holds them when raw_data does not.
_FIELDS = {
    onnx.TensorProto.FLOAT: (4, "float_data"),
    onnx.TensorProto.DOUBLE: (8, "double_data"),
    onnx.TensorProto.FLOAT16: (2, "int32_data"),
    onnx.TensorProto.BFLOAT16: (2, "int32_data"),
    onnx.TensorProto.INT8: (1, "int32_data"),
    onnx.TensorProto.UINT8: (1, "int32_data"),
    onnx.TensorProto.INT16: (2, "int32_data"),
    onnx.TensorProto.UINT16: (2, "int32_data"),
    onnx.TensorProto.INT32: (4, "int32_data"),
    onnx.TensorProto.INT64: (8, "int64_data"),
    onnx.TensorProto.BOOL: (1, "int32_data"),
}
_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
_FLOATS = (onnx.TensorProto.FLOAT,)
_INTEGERS = {onnx.TensorProto.INT32: "int32", onnx.TensorProto.INT64: "int64"}


@dataclass(frozen=True)
class GraphInput:
    """What a caller of the model passes: its axes are a size, a name, or None when unknown."""

    name: str
    axes: tuple[int | str | None, ...] | None
    integer: str  # "int32", "int64", or "" for float32
    data: bool  # what the layers read, rather than an initial state or lengths


@dataclass(frozen=True)
class Graph:
    """The part of a model that its outputs need, in order.

    ``proto`` is a model of exactly this part, for :mod:`onnx.reference`; ``folder`` is where the
    file's external data may lie, None when there is no file.
    """

    proto: Any
    nodes: list[Any]
    inputs: dict[str, GraphInput]
    outputs: list[str]
    tensors: dict[str, Any]
    given: dict[str, Array]
    opset: int
    folder: Path | None = field(default=None)

    @cached_property
    def tokens(self) -> int:
        """More tokens than any table has rows."""
        tables = [node.input[0] for node in self.nodes if node.op_type == "Gather" and node.input]
        rows = [int(self.tensors[name].dims[0]) for name in tables if self._is_table(name)]
        return min(max([MIN_TOKENS, *rows]), MAX_TOKENS)

    def _is_table(self, name: str) -> bool:
        return name in self.tensors and len(self.tensors[name].dims) == 2

    def constant(self, name: str) -> Array:
        """The value of an initializer, or of what the caller passed for one."""
        return self.given[name] if name in self.given else array(self.tensors[name], self.folder)


# -- bytes ---------------------------------------------------------------------------------------


def parse(model: Any) -> tuple[Any, Path | None]:
    """A ModelProto, and the folder of its file.

    Raises:
        InputError: ``model`` is no path, bytes or ModelProto.
        ModelFileError: there is no such file, or it is no ONNX model.
    """
    if isinstance(model, onnx.ModelProto):
        return model, None
    if isinstance(model, (bytes, bytearray, memoryview)):
        return _decode(bytes(model)), None
    if not isinstance(model, (str, os.PathLike)):
        raise InputError(
            "expected the path of an .onnx file, its bytes or an onnx.ModelProto, got an object "
            f"of type {type(model).__name__}"
        )
    path = Path(check_path(model)).expanduser()
    return _decode(read_regular(path, "the file")[1]), path.parent


def read_regular(
    path: Path, what: str, begin: int = 0, size: int | None = None
) -> tuple[int, bytes]:
    """A regular file's size, and ``size`` of its bytes from ``begin`` on, or all."""
    try:
        status = os.stat(path)  # before opening: a named pipe would wait for ever
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{what} is not a regular file")
        length = status.st_size - begin if size is None else size
        if begin < 0 or length < 0 or begin + length > status.st_size:
            raise ModelFileError(
                f"{what} is truncated: bytes {begin} to {begin + length} are asked for, it has "
                f"{status.st_size}"
            )
        if length > MAX_FILE:
            raise ModelFileError(
                f"{what} has {length} bytes, at most {MAX_FILE} are possible in an ONNX file"
            )
        with open(path, "rb") as file:
            file.seek(begin)
            return status.st_size, file.read(length)
    except FileNotFoundError:
        raise ModelFileError(f"{what} does not exist; check the path") from None
    except (OSError, ValueError) as error:  # the latter of a path with a null character
        why = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{what} cannot be read: {why}") from error


def _decode(content: bytes) -> Any:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError, which each of its versions has elsewhere
        raise ModelFileError(
            "it is truncated or no ONNX model: protobuf cannot decode it; export it again"
        ) from error
    return model


# -- tensors -------------------------------------------------------------------------------------


def array(tensor: Any, folder: Path | None = None) -> Array:
    """A constant's value, once its size has been held against the bytes that are there."""
    who = f"tensor {shown(tensor.name)}"
    if tensor.data_type not in _FIELDS:
        kinds = onnx.TensorProto.DataType
        known = tensor.data_type in kinds.values()
        kind = kinds.Name(tensor.data_type) if known else str(tensor.data_type)
        raise ModelFileError(f"{who} is of type {kind}, which no headgate network has")
    if any(size < 0 for size in tensor.dims):
        raise ModelFileError(f"{who} has a negative size: {shown(list(tensor.dims))}")
    if tensor.HasField("segment"):
        raise ModelFileError(f"{who} is stored in segments, which nothing writes")
    size, data = _FIELDS[tensor.data_type]
    count = math.prod(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raw: bytes | None = _external(tensor, who, folder)
    else:
        raw = tensor.raw_data if tensor.HasField("raw_data") else None
    there = len(getattr(tensor, data)) if raw is None else len(raw) / size
    if there != count:
        raise ModelFileError(
            f"{who} of shape {shown(tuple(tensor.dims))} needs {count} values, the file holds "
            f"{there:g}; it is truncated or altered"
        )
    if raw is not None and tensor.data_location == onnx.TensorProto.EXTERNAL:
        local = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw)
        return np.asarray(numpy_helper.to_array(local))
    return np.asarray(numpy_helper.to_array(tensor))


def _external(tensor: Any, who: str, folder: Path | None) -> bytes:
    """The bytes of a tensor that lie in a file of their own, beside the model's."""
    if folder is None:
        raise ModelFileError(f"{who} lies in another file; load the model by its path")
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    home = folder.resolve()
    try:
        path = (home / location).resolve()
        numbers = [
            int(facts.get(key, fallback)) for key, fallback in (("offset", 0), ("length", -1))
        ]
    except (ValueError, OSError):
        raise ModelFileError(f"{who} has broken external data {shown(facts)}") from None
    if not location or os.path.isabs(location) or home not in path.parents:
        raise ModelFileError(
            f"{who} lies in {shown(location)}, outside the folder of the model, where nothing is "
            "read"
        )
    begin, length = numbers
    what = f"{shown(location)}, which holds {who},"
    return read_regular(path, what, begin, None if length < 0 else length)[1]


# -- the graph -----------------------------------------------------------------------------------


def read_graph(
    model: Any, folder: Path | None, output: str | None, given: Mapping[str, Array]
) -> Graph:
    """What the chosen outputs need of a model, in order and checked.

    Args:
        model: the ModelProto.
        folder: of its file, for external data.
        output: the one output that is wanted, None for all.
        given: values of graph inputs that are constants.
    """
    if not model.HasField("graph"):
        raise ModelFileError("it is empty or no ONNX model: it has no graph")
    if len(model.functions):
        _check_functions(model)
        model = inliner.inline_local_functions(model)
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise ModelFileError(f"it has {len(graph.node)} nodes, at most {MAX_NODES} are read")
    if len(graph.sparse_initializer):
        raise ModelFileError("it has sparse initializers, which have no counterpart here")
    tensors: dict[str, Any] = {}
    for tensor in graph.initializer:
        _once(tensor.name, tensors)
        tensors[tensor.name] = tensor
    inputs: dict[str, Any] = {}
    for value in graph.input:
        _once(value.name, inputs)
        inputs[value.name] = value
    unknown = sorted(set(given) - set(inputs))
    if unknown:
        raise InputError(
            f"initializers has {shown(unknown)}, which are no inputs of the model; its inputs are "
            f"{shown(sorted(inputs))}"
        )
    outputs = _outputs(graph, output)
    nodes = _needed(graph, outputs, {**inputs, **tensors})
    constants = {name: tensor for name, tensor in tensors.items() if name not in given}
    read = {name for node in nodes for name in reads_of(node)} | set(outputs)
    data = _data_inputs(nodes, outputs)
    free = {
        name: _graph_input(value, name in data)
        for name, value in inputs.items()
        if name in read and name not in constants and name not in given
    }
    part = _part(model, nodes, free, outputs)
    return Graph(part, nodes, free, outputs, constants, dict(given), _opset(model), folder)


def _once(name: str, seen: Mapping[str, Any]) -> None:
    if name in seen:
        raise ModelFileError(f"two of its values are named {shown(name)}")
    if not name:
        raise ModelFileError("one of its values has no name")


def _opset(model: Any) -> int:
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise ModelFileError(
            f"it uses the operators of opset {shown(versions)}; {OPSETS[0]} to {OPSETS[-1]} are "
            "read; export it again for opset 17"
        )
    return int(versions[0])


def _check_functions(model: Any) -> None:
    """Refuse functions that call themselves, or that unfold into more nodes than are read."""
    calls = [node for item in (model.graph, *model.functions) for node in item.node]
    for node in calls:
        if any(part.type in _GRAPHS for part in node.attribute):
            raise ModelFileError(f"{title(node)} runs a graph of its own, which has no counterpart")
    bodies = {(item.domain, item.name): item for item in model.functions}
    if len(bodies) < len(model.functions):
        raise ModelFileError("two of its functions have the same name")
    sizes: dict[tuple[str, str], int] = {}
    waiting = list(bodies)
    open_now: set[tuple[str, str]] = set()
    while waiting:
        key = waiting[-1]
        calls = [(node.domain, node.op_type) for node in bodies[key].node]
        missing = [call for call in calls if call in bodies and call not in sizes]
        if not missing:
            sizes[key] = sum(sizes.get(call, 1) for call in calls)
            open_now.discard(waiting.pop())
            continue
        open_now.add(key)
        if open_now & set(missing):
            raise ModelFileError(f"its function {shown(key[1])} calls itself")
        waiting += missing
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in model.graph.node)
    if total > MAX_NODES:
        raise ModelFileError(
            f"its functions unfold into {shown(total)} nodes, at most {MAX_NODES} are read"
        )


def _outputs(graph: Any, output: str | None) -> list[str]:
    outputs = [value.name for value in graph.output]
    if output is None:
        if not outputs:
            raise ModelFileError("it has no outputs")
        return list(dict.fromkeys(outputs))
    if output not in outputs:
        raise InputError(f"output={shown(output)} is none of the model's outputs {shown(outputs)}")
    return [output]


def _needed(graph: Any, outputs: list[str], given: Mapping[str, Any]) -> list[Any]:
    """The nodes that the outputs need, in the order of the file, which must be one of use."""
    maker: dict[str, int] = {}
    for k, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker or name in given:
                raise ModelFileError(f"two of its values are named {shown(name)}")
            maker[name] = k
    wanted: set[int] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in given or not name:
            continue
        if name not in maker:
            raise ModelFileError(f"{shown(name)} is read, but nothing in the model makes it")
        k = maker[name]
        if k not in wanted:
            wanted.add(k)
            node = graph.node[k]
            read = reads_of(node)
            if any(other and maker.get(other, -1) >= k for other in read):
                raise ModelFileError(
                    f"{title(node)} reads what it or a node behind it makes: the graph has a cycle "
                    "or is out of order"
                )
            waiting += read
    return [graph.node[k] for k in sorted(wanted)]


def reads_of(node: Any) -> list[str]:
    """Names that a node reads; those that a loop's body takes from around it are among them."""
    names = list(node.input)
    for part in node.attribute:
        if part.type not in _GRAPHS or node.op_type != "Loop":
            continue
        own = {item.name for item in (*part.g.input, *part.g.initializer)}
        for inner in part.g.node:
            if any(item.type in _GRAPHS for item in inner.attribute):
                raise ModelFileError(f"{title(inner)} runs a graph inside a loop")
            names += [name for name in inner.input if name not in own]
            own.update(inner.output)
        names += [item.name for item in part.g.output if item.name not in own]
    return names


def _data_inputs(nodes: list[Any], outputs: list[str]) -> set[str]:
    """Names whose values reach an output otherwise than as a shape, a state or lengths."""
    reached = set(outputs)
    for node in reversed(nodes):
        if node.op_type == "Shape" or not reached.intersection(node.output):
            continue
        reached.update(node.input[:1] if node.op_type in GATES else reads_of(node))
    return reached


def _graph_input(value: Any, data: bool) -> GraphInput:
    who = f"its input {shown(value.name)}"
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in (*_FLOATS, *_INTEGERS):
        raise ModelFileError(
            f"{who} must be a tensor of float32, int32 or int64; headgate computes in float32, so "
            "export the model in that type"
        )
    axes: tuple[int | str | None, ...] | None = None
    if kind.HasField("shape"):
        axes = tuple(_axis(who, axis) for axis in kind.shape.dim)
    return GraphInput(value.name, axes, _INTEGERS.get(kind.elem_type, ""), data)


def _axis(who: str, axis: Any) -> int | str | None:
    if not axis.HasField("dim_value"):
        return axis.dim_param or None
    if axis.dim_value < 0 or axis.dim_value > MAX_FILE:
        raise ModelFileError(f"{who} has an axis of size {axis.dim_value}")
    return int(axis.dim_value) or None  # some exporters write 0 for what they do not know


def _part(
    model: Any,
    nodes: list[Any],
    inputs: Mapping[str, GraphInput],
    outputs: list[str],
) -> Any:
    """A model of ``nodes`` alone, without its constants: nothing else of a file is ever run."""
    part = onnx.ModelProto(ir_version=model.ir_version)
    part.opset_import.extend(model.opset_import)
    part.graph.name = "part"
    part.graph.node.extend(nodes)
    part.graph.input.extend(value for value in model.graph.input if value.name in inputs)
    part.graph.output.extend(value for value in model.graph.output if value.name in outputs)
    return part


def title(node: Any) -> str:
    """What messages call a node."""
    kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    name = node.name or next(filter(None, node.output), "")
    return f"{shown(kind)[1:-1]} node {shown(name)}"
