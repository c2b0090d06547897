"""Operators that move elements about or reckon with constants: NumPy does them.

They stand between the layers of every exported graph. Each takes arrays (constants, or names, see
``traces``) and gives an array; none looks at what the elements mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ...checks import shown
from ...errors import ModelFileError
from .file import array, title

Array = npt.NDArray[Any]
Spend = Callable[[Sequence[int]], None]

_KINDS: dict[int, tuple[str, Callable[[Any], Any]]] = {
    onnx.AttributeProto.INT: ("i", int),
    onnx.AttributeProto.FLOAT: ("f", float),
    onnx.AttributeProto.STRING: ("s", bytes.decode),
    onnx.AttributeProto.INTS: ("ints", list),
    onnx.AttributeProto.FLOATS: ("floats", list),
    onnx.AttributeProto.STRINGS: ("strings", lambda items: [item.decode() for item in items]),
    onnx.AttributeProto.TENSOR: ("t", array),
}


class Node:
    """A node's attributes, by name, with those that nobody asked for refused at the end."""

    def __init__(self, proto: Any, opset: int, skip: Sequence[str] = ()) -> None:
        self.op, self.title, self.opset = proto.op_type, title(proto), opset
        self._values: dict[str, Any] = {}
        for part in proto.attribute:
            if part.name in skip:
                continue
            if part.type not in _KINDS or part.ref_attr_name or part.name in self._values:
                raise ModelFileError(f"{self.title} has a broken attribute {shown(part.name)}")
            field, read = _KINDS[part.type]
            self._values[part.name] = read(getattr(part, field))

    def take(self, name: str, default: Any) -> Any:
        """An attribute of the type of ``default``, or that itself."""
        value = self._values.pop(name, None)
        if value is None:
            return default
        if default is not None and type(value) is not type(default):
            raise ModelFileError(
                f"{self.title} has {name}={shown(value)}, expected {type(default).__name__}"
            )
        return value

    def ints(self, name: str) -> list[int] | None:
        """A list of integers, None when it is not there."""
        return self.take(name, []) if name in self._values else None

    def done(self) -> None:
        """Refuse what is left: an attribute that is not understood may change the numbers."""
        if self._values:
            name, value = next(iter(self._values.items()))
            raise ModelFileError(
                f"{self.title} has {name}={shown(value)}, which has no counterpart here"
            )

    def refuse(self, why: str) -> ModelFileError:
        return ModelFileError(f"{self.title} {why}")


def axes_of(node: Node, arguments: Sequence[Array | None]) -> list[int] | None:
    """Axes, which were an attribute before they became the second input."""
    axes = node.ints("axes")
    if axes is None and len(arguments) > 1 and arguments[1] is not None:
        axes = [int(axis) for axis in np.ravel(arguments[1])]
    return axes


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ModelFileError(f"axis {axis} is asked for, of {rank}")
    return axis % rank


# -- operators on the first input, which may be names --------------------------------------------


def _identity(node: Node, spend: Spend, x: Array, *rest: Array | None) -> Array:
    return x


def _dropout(node: Node, spend: Spend, x: Array, *rest: Array | None) -> Array:
    for name in ("ratio", "seed", "is_test"):
        node.take(name, None)
    if len(rest) > 1 and rest[1] is not None and np.any(rest[1]):
        raise node.refuse("is in training mode; export the model in evaluation mode")
    return x


def _transpose(node: Node, spend: Spend, x: Array) -> Array:
    return np.transpose(x, node.ints("perm"))


def _reshape(node: Node, spend: Spend, x: Array, shape: Array) -> Array:
    sizes = [int(size) for size in shape]
    if not node.take("allowzero", 0):
        sizes = [x.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    return _shaped(spend, x, sizes)


def _shaped(spend: Spend, x: Array, sizes: Sequence[int]) -> Array:
    made = np.reshape(x, sizes)
    if not np.may_share_memory(made, x):  # NumPy has copied it
        spend(made.shape)
    return made


def _flatten(node: Node, spend: Spend, x: Array) -> Array:
    axis = node.take("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return _shaped(spend, x, (int(np.prod(x.shape[:axis], dtype=np.int64)), -1))


def _squeeze(node: Node, spend: Spend, x: Array, *rest: Array | None) -> Array:
    axes = axes_of(node, (x, *rest))
    return np.squeeze(x, None if axes is None else tuple(axes))


def _unsqueeze(node: Node, spend: Spend, x: Array, *rest: Array | None) -> Array:
    axes = axes_of(node, (x, *rest))
    if axes is None:
        raise node.refuse("has no axes")
    return np.expand_dims(x, tuple(axes))


def _slice(node: Node, spend: Spend, x: Array, *rest: Array | None) -> Array:
    given: list[Any] = [node.ints(name) for name in ("starts", "ends", "axes")]
    if given[0] is None:
        given = [None if part is None else [int(v) for v in part] for part in rest]
    starts, ends, axes, steps = (given + [None] * 4)[:4]
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    index = [slice(None)] * x.ndim
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        index[_axis(axis, x.ndim)] = slice(*bounds)
    return x[tuple(index)]


def _gather(node: Node, spend: Spend, x: Array, indices: Array) -> Array:
    axis = _axis(node.take("axis", 0), x.ndim)
    spend((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    return np.asarray(np.take(x, indices, axis=axis))


def _expand(node: Node, spend: Spend, x: Array, shape: Array) -> Array:
    sizes = np.broadcast_shapes(x.shape, tuple(int(size) for size in shape))
    spend(sizes)
    return np.broadcast_to(x, sizes)


def _tile(node: Node, spend: Spend, x: Array, repeats: Array) -> Array:
    counts = [int(count) for count in repeats]
    spend([a * b for a, b in zip(x.shape, counts, strict=True)])
    return np.tile(x, counts)


def _reverse(node: Node, spend: Spend, x: Array, lengths: Array) -> Array:
    """ReverseSequence, of sequences that are all as long as their axis."""
    batch, time = node.take("batch_axis", 1), node.take("time_axis", 0)
    if x.ndim < 2 or sorted((batch, time)) != [0, 1] or np.any(lengths != x.shape[time]):
        raise node.refuse("turns round a part of each sequence only")
    return np.flip(x, time)


MOVES: dict[str, Callable[..., Array]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "ReverseSequence": _reverse,
}


def split(node: Node, x: Array, sizes: Array | None, count: int) -> list[Array]:
    """Split, whose parts are as many as the node has outputs."""
    axis = _axis(node.take("axis", 0), x.ndim)
    node.take("num_outputs", 0)
    given = node.ints("split")
    if given is None and sizes is not None:
        given = [int(size) for size in sizes]
    if given is None:  # equal parts, the last one shorter
        each = -(-x.shape[axis] // count)
        given = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    if sum(given) != x.shape[axis] or min(given) < 0:
        raise node.refuse(f"splits an axis of {x.shape[axis]} into {shown(given)}")
    return np.split(x, np.cumsum(given)[:-1], axis=axis)


def concat(node: Node, spend: Spend, parts: Sequence[Array]) -> Array:
    axis = _axis(node.take("axis", -1), parts[0].ndim)
    spend([sum(part.size for part in parts)])
    return np.concatenate(parts, axis=axis)


# -- constants alone -----------------------------------------------------------------------------


def _divide(a: Array, b: Array) -> Array:
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(np.divide(a, b))
    cut = np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # as ONNX, towards zero
    return np.asarray(cut)


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Where": np.where,
}


def fold(node: Node, spend: Spend, values: Sequence[Array]) -> Array | None:
    """The result of an operator on constants; None for one that is not known here."""
    if node.op in _ARITHMETIC:
        operands = values[1:] if node.op == "Where" else values
        if len({value.dtype for value in operands}) > 1:
            raise node.refuse("mixes types")
        spend(np.broadcast_shapes(*(value.shape for value in values)))
        with np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
            return np.asarray(_ARITHMETIC[node.op](*values))
    if node.op == "ConstantOfShape":
        value = node.take("value", None)
        value = np.zeros(1, np.float32) if value is None else np.asarray(value)
        shape = tuple(int(size) for size in values[0])
        spend(shape)
        return np.broadcast_to(value.reshape(()), shape)
    if node.op == "Range":
        start, stop, step = (value.item() for value in values)
        spend([max(0, int((stop - start) / step) + 1)])
        return np.arange(start, stop, step, dtype=values[0].dtype)
    if node.op == "ReduceProd":
        axes = axes_of(node, values)
        keep = bool(node.take("keepdims", 1))
        made = np.prod(values[0], None if axes is None else tuple(axes), keepdims=keep)
        return np.asarray(made, values[0].dtype)
    if node.op == "MatMul":
        spend([values[0].size * values[1].shape[-1]])
        return np.asarray(np.matmul(values[0], values[1]))
    return None


def constant(node: Node) -> Array:
    """The value of a Constant node."""
    for name, kind in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        value = node.take(name, None)
        if value is not None:
            return np.asarray(value, kind)
    raise node.refuse("holds no tensor")


def cast(node: Node, spend: Spend, x: Array) -> Array:
    """A constant in another type."""
    spend(x.shape)
    to = node.take("to", 0)
    node.take("saturate", 1)
    node.take("round_mode", "up")
    return np.asarray(x, target(node, to))


def target(node: Node, to: int) -> np.dtype[Any]:
    """The NumPy type of an ONNX one."""
    try:
        kind: np.dtype[Any] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to))
    except Exception:
        raise node.refuse(f"makes values of an unknown type {shown(to)}") from None
    return kind


__all__ = [
    "MOVES",
    "Node",
    "axes_of",
    "cast",
    "concat",
    "constant",
    "fold",
    "split",
    "target",
]
