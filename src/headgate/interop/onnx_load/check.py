"""The last look at a loaded network: its numbers beside those of onnx's own evaluator."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from onnx.reference import ReferenceEvaluator

from ...errors import HeadgateWarning, ModelFileError
from ...network import Network
from ...reference import network_forward
from .file import Graph, reads_of
from .network import Draft
from .outputs import Output
from .traces import Book, Source, Traced

Array = npt.NDArray[Any]

MAX_WORK = 1 << 31  # multiplications, past which the evaluator would take many seconds
MAX_MADE = 1 << 26  # elements of all tensors: the evaluator keeps every one, views copied
STEP = 1 << 16  # as many as go into the time that Python itself takes for a step
ROUNDING = 2e-5  # of values of order 1: float32 sums in another order
AMPLIFIED = 32.0  # times what float32 rounding does to the same network in the reference


class Traces(Protocol):
    """What a run through the graph found (``onnx_load.Traces``)."""

    @property
    def book(self) -> Book: ...
    @property
    def inputs(self) -> dict[str, Traced]: ...
    @property
    def draft(self) -> Draft: ...
    @property
    def log(self) -> bool: ...
    @property
    def output(self) -> Output | None: ...
    @property
    def states(self) -> list[Output]: ...


def check_numbers(graph: Graph, net: Network, traces: Traces) -> None:
    """Run the graph and the network on the same random numbers, for the sizes of one run.

    Raises:
        ModelFileError: they put out different numbers.
    """
    book = traces.book
    work = book.steps * (book.rows * net.spec.parameter_count() + STEP)
    if work > MAX_WORK:
        _unchecked(f"its fixed batch and time ask for {work} multiplications")
        return
    if book.made > MAX_MADE:
        _unchecked(f"its tensors have {book.made} elements together")
        return
    feeds, data, states = _random(graph, net, traces)
    wanted = [*([traces.output] if traces.output else []), *traces.states]
    constants = {
        name: graph.constant(name)
        for name in {name for node in graph.nodes for name in reads_of(node)}
        if name in graph.given or name in graph.tensors
    }
    try:
        evaluator = ReferenceEvaluator(graph.proto, new_ops=_operators(book.steps))
        with np.errstate(all="ignore"):  # its sigmoid overflows where ours saturates
            theirs = evaluator.run([out.name for out in wanted], {**constants, **feeds})
    except Exception as error:  # it lacks some of what the standard has
        _unchecked(f"onnx's evaluator cannot run it ({type(error).__name__}: {error})")
        return
    state = _state(net, traces, states, np.float32)
    lengths = None
    if any(source.padded for source in book.sources):
        lengths = np.full(book.rows, book.steps)
    ours = net.predict(data, lengths=lengths, state=state, return_state=True)
    for out, their in zip(wanted, theirs, strict=True):
        got = _ours(net, traces, out, *ours)
        want = np.exp(their) if traces.log and out is traces.output else np.asarray(their)
        _compare(out, got, want, net, traces, data, states)


def _operators(steps: int) -> list[Any]:
    """Operators that onnx's evaluator has in part only: its RNN knows no Relu, its Loop puts steps
    behind each other along the batch instead of along an axis of their own."""
    from onnx.reference.ops.op_loop import Loop as Loop_1  # where these move, there is no check
    from onnx.reference.ops.op_rnn import RNN_14

    class RNN(RNN_14):  # type: ignore[misc]
        op_domain = ""

        def choose_act(self, name: str, alpha: Any, beta: Any) -> Any:
            if name.lower() == "relu":
                return lambda x: np.maximum(x, 0)
            return super().choose_act(name, alpha, beta)

    class Loop(Loop_1):  # type: ignore[misc]
        op_domain = ""

        def _run(self, *args: Any, **options: Any) -> Any:
            made = super()._run(*args, **options)
            carried = len(made) - self.K
            each = [
                part.reshape(steps, -1, *part.shape[1:]) if part.ndim == 2 else part
                for part in made[carried:]
            ]
            return (*made[:carried], *each)

    return [Loop, RNN]


def _unchecked(why: str) -> None:
    warnings.warn(
        f"the numbers of the loaded network were not held against the model's: {why}; pass "
        "verify=False if that is known",
        HeadgateWarning,
        stacklevel=5,
    )


def _random(
    graph: Graph, net: Network, traces: Traces
) -> tuple[dict[str, Array], Any, dict[int, Array]]:
    """What the graph is fed, the same for the network, and states by their sources' index."""
    rng = np.random.default_rng(0)
    book = traces.book
    feeds: dict[str, Array] = {}
    data: dict[str, Array] = {}
    states: dict[int, Array] = {}
    vocabulary = {
        layer.inputs[0]: getattr(layer, "vocabulary", 1)
        for layer in net.spec.layers
        if layer.kind == "embedding"
    }
    for name, item in graph.inputs.items():
        names = traces.inputs[name].names
        source = book.owners_of(names)[0]
        size = source.names.size
        if source.kind == "lengths":
            feeds[name] = np.full(names.shape, book.steps, item.integer)
            continue
        own = traces.draft.inputs.get(name, "")
        values: Array = rng.standard_normal(size).astype(np.float32)
        if own in vocabulary:
            values = rng.integers(0, vocabulary[own], size)
        feed = values[names - source.base]
        feeds[name] = feed.astype(item.integer or "float32")
        if source.kind == "state":
            states[source.index] = values
        elif own:
            shaped = values.reshape(source.names.shape)
            data[own] = shaped[:, :, 0] if own in vocabulary else shaped
    return feeds, data if len(data) > 1 else next(iter(data.values())), states


def _state(net: Network, traces: Traces, values: dict[int, Array], dtype: Any) -> Any:
    """The initial states of the network that ``values`` of the graph's inputs are."""
    book = traces.book
    arrays = {
        stack.name: [
            np.zeros((stack.num_layers * stack.directions, book.rows, stack.hidden_size), dtype)
            for _ in stack.states
        ]
        for stack in net.spec.recurrent()
    }
    given = False
    for index, place in traces.draft.places.items():
        for array, names in zip(
            arrays[place.stack], book.sources[index].facts["states"], strict=False
        ):
            if names is None:
                continue
            given = True
            for owner in book.owners_of(names):
                mine = book.owners(names) == owner.index
                part = array[place.first : place.first + len(names)]
                part[mine] = values[owner.index][names[mine] - owner.base]
    if not given:
        return None
    return _shaped(arrays)


def _shaped(arrays: dict[str, list[Array]]) -> Any:
    shaped = {name: tuple(parts) if len(parts) > 1 else parts[0] for name, parts in arrays.items()}
    return shaped if len(shaped) > 1 else next(iter(shaped.values()))


def _ours(net: Network, traces: Traces, out: Output, predicted: Array, after: Any) -> Array:
    """The elements of an output of the graph, as the network has them."""
    if out is traces.output:
        return np.asarray(predicted).reshape(-1)[out.places]
    stacks = {stack.name: stack for stack in net.spec.recurrent()}
    by_name = after if isinstance(after, dict) else {next(iter(stacks)): after}
    columns = []
    for column in out.columns:
        place = _place(traces, column.source)
        stack = stacks[place.stack]
        state = by_name[place.stack]
        part = state["hc".index(column.part)] if len(stack.states) > 1 else state
        direction, unit = divmod(column.feature, stack.hidden_size)
        columns.append(part[place.first + direction, :, unit])
    return np.stack(columns, axis=1).reshape(-1)[out.places]


def _place(traces: Traces, source: Source) -> Any:
    try:
        return traces.draft.places[source.index]
    except KeyError:
        raise ModelFileError(
            f"it puts out the state of {source.facts['title']}, which its other outputs do not read"
        ) from None


def _compare(
    out: Output,
    got: Array,
    want: Array,
    net: Network,
    traces: Traces,
    data: Any,
    states: dict[int, Array],
) -> None:
    if want.shape != got.shape or want.dtype != np.float32 or not np.isfinite(want).all():
        raise ModelFileError(
            f"its output {out.name!r} is {want.dtype} of shape {want.shape} in onnx's evaluator, "
            f"with values that are finite: {bool(np.isfinite(want).all())}; the network's is "
            f"float32 of shape {got.shape}"
        )
    difference = float(np.max(np.abs(got.astype(np.float64) - want), initial=0.0))
    allowed = ROUNDING * max(1.0, float(np.max(np.abs(want), initial=0.0)))
    if difference > allowed:
        allowed += AMPLIFIED * _rounding(net, traces, data, states)
    if difference > allowed:
        raise ModelFileError(
            f"its output {out.name!r} differs from the network's by {difference:.3g} where "
            f"{allowed:.1g} is rounding; please report this, with the file"
        )


def _rounding(net: Network, traces: Traces, data: Any, states: dict[int, Array]) -> float:
    """What float32 rounding alone does to this network's outputs, at its weights and states."""
    results = []
    for dtype in (np.float32, np.float64):
        state = _state(net, traces, states, dtype)
        made, after = network_forward(net.spec, net.state_dict(), data, state=state, dtype=dtype)
        parts = [part for value in after.values() for part in np.atleast_3d(value)]
        results.append(np.concatenate([np.ravel(made), *(np.ravel(part) for part in parts)]))
    return float(np.max(np.abs(results[0].astype(np.float64) - results[1])))
