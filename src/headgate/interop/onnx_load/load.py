"""``headgate.onnx.load``: an ONNX file as a :class:`headgate.Network`.

The graph is run twice on names, for two sizes of batch and time (see ``traces``); both
runs must find the same network, and the network must then put out the same numbers as onnx's own
evaluator does, or the file is refused.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...checks import check_flags, shown
from ...errors import HeadgateWarning, InputError, ModelFileError
from ...network import Network
from .check import check_numbers
from .file import RECURRENT, Graph, GraphInput, parse, read_graph
from .layers import Run
from .network import Draft, draft
from .outputs import Output, choose
from .own import own_network
from .traces import Book, Read, Traced

Array = npt.NDArray[Any]

SIZES = ((2, 3), (3, 5))  # N and T of the runs, where the file leaves them open
# The axes of the data in front of the features: PyTorch's batch_first, its default, no batch.
FORMS = ("NT", "TN", "T")


class Traces(NamedTuple):
    """What one run found."""

    book: Book
    inputs: dict[str, Traced]
    draft: Draft
    log: bool
    output: Output | None
    states: list[Output]


def load(
    model: str | os.PathLike[str] | bytes | Any,
    *,
    output: str | None = None,
    initializers: Mapping[str, npt.ArrayLike] | None = None,
    verify: bool = True,
) -> Network:
    """An ONNX model whose recurrent part is GRU, LSTM or RNN operators, as a network.

    Its numbers are the model's; what has no exact counterpart is refused by name. The network
    reads (N, T, I), or (N, T) tokens, whatever the order of axes in the file. Inputs of the graph
    that are initial states become ``state=`` of ``predict``, sequence lengths ``lengths=``; final
    states among its outputs come with ``return_state=True``. A Softmax or Sigmoid at the end
    becomes the network's task.

    Args:
        model: the path of an .onnx file, its bytes, or an ``onnx.ModelProto``.
        output: the output that is wanted, where the model has several that are no states.
        initializers: values of graph inputs that are weights, by name.
        verify: run the model in onnx's own evaluator beside the network, and refuse it when the
            numbers differ by more than rounding.

    Raises:
        ModelFileError: the file is truncated, altered or hostile, or the model has something
            without an exact counterpart; the message names it.
        InputError: an argument is none of what is described here.
    """
    check_flags(verify=verify)
    if not isinstance(initializers, (Mapping, type(None))):
        raise InputError(
            f"initializers must be a dict of arrays by their names, got {shown(initializers)}"
        )
    given = {str(name): _constant(name, value) for name, value in (initializers or {}).items()}
    who = repr(os.fspath(model)) if isinstance(model, (str, os.PathLike)) else "the model"
    try:
        proto, folder = parse(model)
        own = None if output or given else own_network(proto, folder)
        if own is not None:
            return own
        graph = read_graph(proto, folder, output, given)
        return _network(graph, verify)
    except (InputError, HeadgateWarning):  # the latter where warnings are errors
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{who} cannot be loaded: {error}") from error
    except Exception as error:  # whatever a hostile file may still bring up
        raise ModelFileError(
            f"{who} cannot be read as an ONNX model: {type(error).__name__}: {error}"
        ) from error


def _constant(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise InputError(f"initializers[{name!r}] must be an array of numbers, got {shown(value)}")
    return array


def _network(graph: Graph, verify: bool) -> Network:
    if not any(node.op_type in RECURRENT for node in graph.nodes):
        raise ModelFileError(
            "it has no GRU, LSTM or RNN operator; where an exporter has unfolded the recurrence "
            "into its steps, move the weights instead, by headgate.Network.from_weights"
        )
    first: Traces | None = None
    runs = []
    for size in SIZES:
        traces = _trace(graph, size)
        if first is None:
            first = traces
        elif not _same(first.draft, traces.draft):
            raise ModelFileError("it is another network for other sizes of batch or time")
        runs.append(traces)
        if (traces.book.rows, traces.book.steps) != size:
            break  # the file says the size, and a second run would be the same
    assert first is not None
    try:
        net = Network(first.draft.spec, seed=0)
        net.load_state_dict(first.draft.tensors)
    except InputError as error:
        raise ModelFileError(f"it makes no network here: {error}") from error
    if first.log:
        warnings.warn(
            "the model puts out logarithms of probabilities (LogSoftmax); the network predicts the "
            "probabilities themselves",
            HeadgateWarning,
            stacklevel=3,
        )
    if verify:
        for traces in runs:
            check_numbers(graph, net, traces)
    return net


def _same(a: Draft, b: Draft) -> bool:
    return a.spec == b.spec and all(
        np.array_equal(a.tensors[name], b.tensors[name]) for name in a.tensors
    )


def _trace(graph: Graph, size: tuple[int, int]) -> Traces:
    """One run; where it is not said which axis is time, the order that the layers fit."""
    best: tuple[int, ModelFileError] | None = None
    for form in FORMS:
        run = None
        try:
            shapes = _shapes(graph, form, size)
            book = Book(*shapes.size)
            inputs = {
                name: _input(book, item, shapes, graph.tokens)
                for name, item in graph.inputs.items()
            }
            run = Run(graph, book, inputs)
            values = run.through()
            reads, output, states = choose(book, values, graph.outputs)
            reads, task, log = _task(reads)
            return Traces(book, inputs, draft(book, reads, task), log, output, states)
        except _OtherForm:
            continue
        except (ModelFileError, InputError) as error:
            done = -1 if run is None else run.done
            if best is None or done > best[0]:  # who came further knows better
                best = (done, ModelFileError(str(error)))
    if best is None:
        axes = {item.name: item.axes for item in graph.inputs.values() if item.data}
        raise ModelFileError(
            f"its inputs that reach an output have the axes {shown(axes)}, expected batch, time "
            "and features of each; lengths count among them where the graph reckons with them, "
            "such as to sort by them (PyTorch: enforce_sorted=True)"
        )
    raise best[1]


def _task(reads: list[Read]) -> tuple[list[Read], str, bool]:
    """What the output function of a task reads, that task, and whether logarithms come out."""
    source = reads[0].source
    if len(reads) > 1 or source.kind != "task":
        return reads, "regression", False
    # of one vector a sequence, the output function may as well stand behind the read-out
    inner = [
        Read(r.source, r.last or (reads[0].last and not r.source.pooled)) for r in source.reads
    ]
    return inner, source.facts["task"], source.facts["log"]


# -- inputs ----------------------------------------------------------------------------------------


class _OtherForm(Exception):
    """The inputs do not have the axes of a form."""


class _Shapes(NamedTuple):
    size: tuple[int, int]
    form: str
    axes: dict[str, int]  # sizes by the names that the data's axes have


def _shapes(graph: Graph, form: str, size: tuple[int, int]) -> _Shapes:
    """N and T, which the data's axes may fix, and what the names of its axes stand for."""
    sizes = {"N": size[0] if len(form) > 1 else 1, "T": size[1]}
    names: dict[str, int] = {}
    fixed: set[str] = set()
    named: list[tuple[str, str]] = []
    for item in graph.inputs.values():
        if not item.data:
            continue
        for letter, axis in zip(form, _front(item, form), strict=True):
            if isinstance(axis, str):
                named.append((axis, letter))
            elif axis is not None:
                if letter in fixed and sizes[letter] != axis:
                    raise _OtherForm
                sizes[letter] = axis
                fixed.add(letter)
    for name, letter in reversed(named):
        names[name] = sizes[letter]
    return _Shapes((sizes["N"], sizes["T"]), form, names)


def _front(item: GraphInput, form: str) -> tuple[int | str | None, ...]:
    """The axes of a data input in front of its features."""
    axes = item.axes
    if axes is None:
        axes = (None,) * (len(form) + (item.integer == ""))
    if len(axes) not in (len(form), len(form) + 1):
        raise _OtherForm
    return axes[: len(form)]


def _input(book: Book, item: GraphInput, shapes: _Shapes, tokens: int) -> Traced:
    numbers = None
    if item.integer:
        book.spend((tokens,))
        numbers = np.arange(tokens, dtype=item.integer)
    if not item.data:
        if item.axes is None:
            raise ModelFileError(f"its input {shown(item.name)} has no shape")
        kind = "lengths" if item.integer else "state"
        # an axis that has neither a size nor a name of the data's can only be the batch
        sizes = [
            axis if isinstance(axis, int) else shapes.axes.get(axis or "", book.rows)
            for axis in item.axes
        ]
        return Traced(book.loose(kind, item.name, sizes), numbers)
    axes = item.axes
    flat = len(axes) == len(shapes.form) if axes is not None else bool(item.integer)
    width = 1 if flat or axes is None else axes[-1]
    if not isinstance(width, int) or (axes is None and not item.integer):
        raise ModelFileError(
            f"its input {shown(item.name)} does not say how many features it has; export it with "
            "a fixed last axis"
        )
    source = book.add("data", width, input=item.name)
    names = source.names
    if shapes.form == "TN":
        names = names.swapaxes(0, 1)
    if shapes.form == "T":
        names = names[0]
    return Traced(names[..., 0] if flat else names, numbers)
