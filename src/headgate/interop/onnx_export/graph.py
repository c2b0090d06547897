"""An ONNX graph that grows: nodes, initializers and names, for any opset from 14 to 22.

What changed between these opsets, and what is done about it here:

    ReduceMax, ReduceMean, ...   axes became an input with 18: ``reduce``
    ReduceSum, Squeeze, Unsqueeze  axes are an input since 13, before the oldest of these
    Split                        sizes are an input since 13; 18 adds an attribute not used here
    GRU, LSTM, RNN               14 adds ``layout``, which stays 0 (runtimes refuse 1); 22 types
    Reshape                      14 adds ``allowzero``, which stays 0; later ones add types
    Scan, Cast, Shape, Where ... later versions add types and attributes not used here
    LayerNormalization           came with 17: composed instead, for all
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Array = npt.NDArray[Any]
Shape = Sequence["int | str"]

AXES_BECAME_AN_INPUT = 18  # of ReduceMax and ReduceMean

TYPES = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}


class Scanned(NamedTuple):
    """What a Scan puts out: the last of each carried value, and what each step put out."""

    last: list[str]
    steps: list[str]


class Graph:
    """Nodes and initializers, written one after the other; values are known by their names.

    A value is named after the layer that made it and what it is (``gru.l0.steps``). Methods that
    add a node return the name of its output. ``prefix`` stands before all names from then on.
    """

    def __init__(self, opset: int, outer: Graph | None = None) -> None:
        self.opset = opset
        self.prefix: str = "" if outer is None else outer.prefix
        self.nodes: list[NodeProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        # The body of a Scan sees the values around it, so names are taken once for both.
        root = self if outer is None else outer.root
        self.root: Graph = root
        if outer is None:
            self.initializers: list[TensorProto] = []
            self._taken: set[str] = set()
            self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    # -- names and constants ----------------------------------------------------------------

    def name(self, wanted: str) -> str:
        """``wanted`` behind the prefix, or with a number behind it where that is taken."""
        taken = self.root._taken
        base = name = self.prefix + wanted
        count = 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        return name

    def weight(self, wanted: str, array: Array) -> str:
        """An initializer of its own, such as ``head.weight``."""
        name = self.name(wanted)
        self.root.initializers.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, wanted: str, array: Array) -> str:
        """A small initializer that is written once, whoever needs it."""
        key = (array.dtype.str, array.shape, array.tobytes())
        known = self.root._constants
        if key not in known:
            prefix, self.prefix = self.prefix, ""  # no member's own
            known[key] = self.weight(wanted, array)
            self.prefix = prefix
        return known[key]

    def ints(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(f"ints_{_digits(values)}", np.array(values, np.int64))

    def index(self, value: int) -> str:
        """An int64 scalar."""
        return self.constant(f"index_{_digits([value])}", np.array(value, np.int64))

    def number(self, wanted: str, value: float, dtype: Any = np.float32) -> str:
        """A scalar."""
        return self.constant(wanted, np.array(value, dtype))

    # -- nodes ------------------------------------------------------------------------------

    def nodes_of(self, kind: str, inputs: Sequence[str], wanted: Sequence[str], **more: Any) -> Any:
        """A node with an output for each of ``wanted``; returns their names."""
        outputs = [self.name(name) for name in wanted]
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        self.nodes.append(helper.make_node(kind, given, outputs, name=outputs[0], **more))
        return outputs

    def op(self, kind: str, inputs: Sequence[str], wanted: str, **attributes: Any) -> str:
        """A node with one output."""
        return str(self.nodes_of(kind, inputs, [wanted], **attributes)[0])

    def rename(self, value: str, output: str) -> None:
        """``value`` under the name of a graph's output."""
        self.nodes.append(helper.make_node("Identity", [value], [output], name=f"{output}.as"))

    # -- nodes whose form depends on the opset, or that are used often ----------------------

    def reduce(self, kind: str, value: str, axis: int, wanted: str, *, keep: bool = False) -> str:
        """ReduceSum, ReduceMean, ReduceMax or ReduceLogSumExp along one axis."""
        if kind == "ReduceSum" or self.opset >= AXES_BECAME_AN_INPUT:
            return self.op(kind, [value, self.ints(axis)], wanted, keepdims=int(keep))
        return self.op(kind, [value], wanted, axes=[axis], keepdims=int(keep))

    def transpose(self, value: str, order: Sequence[int], wanted: str) -> str:
        return self.op("Transpose", [value], wanted, perm=list(order))

    def reshape(self, value: str, sizes: Sequence[int], wanted: str) -> str:
        """0 keeps an axis as it is."""
        return self.op("Reshape", [value, self.ints(*sizes)], wanted)

    def unsqueeze(self, value: str, axis: int, wanted: str) -> str:
        return self.op("Unsqueeze", [value, self.ints(axis)], wanted)

    def squeeze(self, value: str, axis: int, wanted: str) -> str:
        return self.op("Squeeze", [value, self.ints(axis)], wanted)

    def slice(self, value: str, begin: int, end: int, axis: int, wanted: str) -> str:
        bounds = [self.ints(begin), self.ints(end), self.ints(axis)]
        return self.op("Slice", [value, *bounds], wanted)

    def split(self, value: str, sizes: Sequence[int], wanted: Sequence[str]) -> list[str]:
        """Parts along the last axis."""
        inputs = [value, self.ints(*sizes)]
        return list(self.nodes_of("Split", inputs, wanted, axis=-1))

    def cast(self, value: str, kind: str, wanted: str) -> str:
        return self.op("Cast", [value], wanted, to=TYPES[kind])

    def size(self, value: str, axis: int, wanted: str) -> str:
        """How long an axis is: an int64 scalar."""
        shape = self.op("Shape", [value], f"{wanted}.shape")
        return self.op("Gather", [shape, self.index(axis)], wanted, axis=0)

    def count(self, limit: str, wanted: str) -> str:
        """0, 1, ..., ``limit`` - 1, int64."""
        return self.op("Range", [self.index(0), limit, self.index(1)], wanted)

    def zeros(self, sizes: Sequence[str], kind: Any, wanted: str) -> str:
        """Zeros of as many rows and columns as these int64 scalars say."""
        parts = [self.unsqueeze(size, 0, f"{wanted}.size") for size in sizes]
        shape = parts[0]
        if len(parts) > 1:
            shape = self.op("Concat", parts, f"{wanted}.shape", axis=0)
        zero = numpy_helper.from_array(np.zeros(1, kind))
        return self.op("ConstantOfShape", [shape], wanted, value=zero)

    # -- loops ------------------------------------------------------------------------------

    def body(self) -> Graph:
        """The graph of one step of a Scan."""
        return Graph(self.opset, self)

    def takes(self, wanted: str, kind: str, shape: Shape) -> str:
        """An input of this graph."""
        name = self.name(wanted)
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[kind], list(shape)))
        return name

    def gives(self, value: str, kind: str, shape: Shape, wanted: str = "") -> str:
        """An output of this graph: ``value`` itself, or under the name ``wanted``."""
        name = value
        if wanted:
            name = self.name(wanted)
            self.rename(value, name)
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[kind], list(shape)))
        return name

    def scan(
        self, body: Graph, carried: Sequence[str], steps: Sequence[str], wanted: Sequence[str], *,
        backwards: bool = False,
    ) -> Scanned:  # fmt: skip
        """Runs ``body`` along the first axis of ``steps``.

        Args:
            body: it takes what is carried, then a step of each of ``steps``; it gives what is
                carried on, then what the step puts out.
            carried: what the first step takes.
            wanted: names of the last of each carried value, then of what the steps put out.
            backwards: from the last step to the first; what step t puts out stands at t.
        """
        given = [self._turned(value, f"{value}.turned") for value in steps] if backwards else steps
        outputs = self.nodes_of(
            "Scan", [*carried, *given], wanted,
            body=helper.make_graph(body.nodes, f"{wanted[-1]}.step", body.inputs, body.outputs),
            num_scan_inputs=len(steps),
        )  # fmt: skip
        made = outputs[len(carried) :]
        if backwards:
            made = [self._turned(value, f"{value}.in_order") for value in made]
        return Scanned(outputs[: len(carried)], made)

    def loop(
        self, body: Graph, count: int, carried: Sequence[str], lasts: Sequence[str], wanted: str
    ) -> str:
        """Runs ``body`` so often; returns what it puts out, one behind the other.

        Args:
            body: it takes its number, whether to go on, and what is carried, which may grow; it
                gives whether to go on, what is carried on, and one thing that it puts out.
            lasts: names of the last of each carried value.
        """
        go_on = self.constant("go_on", np.array(True))
        graph = helper.make_graph(body.nodes, f"{wanted}.body", body.inputs, body.outputs)
        times = self.index(count)
        made = self.nodes_of("Loop", [times, go_on, *carried], [*lasts, wanted], body=graph)
        return str(made[-1])

    def _turned(self, value: str, wanted: str) -> str:
        """The last step first. (Scan can do so itself, and not all runtimes can.)"""
        prefix, self.prefix = self.prefix, ""  # it stands in the value's name already
        bounds = [self.ints(-1), self.ints(-(1 << 62)), self.ints(0), self.ints(-1)]
        turned = self.op("Slice", [value, *bounds], wanted)
        self.prefix = prefix
        return turned


def _digits(values: Sequence[int]) -> str:
    return "_".join(str(value).replace("-", "m") for value in values)
