"""Stream: a network that follows one sequence live, a step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import MAX_FLOAT, shown
from .data.inputs import TokenInput, token_inputs
from .data.samples import as_values
from .errors import InputError
from .kernels import Engine, make_stream
from .spec import NetworkSpec
from .states import State, flatten, unflatten

Float32 = npt.NDArray[np.float32]

_NEEDS_ALL = {
    "mean": "the mean over all steps",
    "max": "the largest of all steps",
    "attention": "weights over all steps",
    "crf": "a CRF, which weighs whole sequences",
}


class Stream:
    """Follows one sequence: each :meth:`step` takes one step and returns its prediction.

    The prediction has the bits of what ``net.predict`` says of that step, of the sequence from its
    beginning. A step allocates nothing within the engine. After training, or with other weights
    loaded into the network, the next step uses the new ones; while a fit runs in another thread, a
    step may wait for the epoch to end. Streams of one network are independent; one stream belongs
    to one thread.

    Made by :meth:`headgate.Network.stream`.
    """

    def __init__(self, spec: NetworkSpec, engine: Engine) -> None:
        _refuse_what_cannot_stream(spec)
        self._spec = spec
        self._tokens_of = token_inputs(spec)
        self._values = next((item.name for item in spec.inputs if item.kind == "values"), None)
        self._x = np.zeros(spec.input_size, np.float32)
        columns = max((item.columns.stop for item in self._tokens_of), default=0)
        self._tokens = np.zeros(columns, np.int32)
        self._out = np.zeros(spec.output_size, np.float32)
        self._raw = make_stream(spec, engine, self._x, self._tokens, self._out)
        self._step = self._raw.step
        self._state_size = int(engine.raw.state_size)
        # what a plain number can be: the one value, or the one token
        self._one = self._x if not self._tokens_of and len(self._x) == 1 else None
        # the shape of what needs no look at it but for its values
        self._plain = None if self._tokens_of else self._x.shape

    def step(self, x: Any) -> Float32:
        """The prediction (O,) float32 after one more step.

        Args:
            x: (I,) values, or one number where there is one input; a token's number for a network
                that reads tokens, (K,) numbers where they have K columns; a dict of these by input
                name for one that reads both.

        Raises:
            InputError: not such values, or one that is not finite; the stream has not moved then.
        """
        if type(x) is float and self._one is not None and abs(x) < MAX_FLOAT:
            self._one[0] = x
        elif type(x) is np.ndarray and x.dtype.kind == "f" and x.shape == self._plain:
            with np.errstate(over="ignore"):  # too large for float32: infinite, and refused below
                self._x[:] = x
        else:
            self._take(x)
        if not self._step():
            raise InputError(
                f"x has a value that is not finite: {x!r}; fill or drop missing values first"
            )
        prediction: Float32 = self._out.copy()
        return prediction

    @property
    def state(self) -> State | None:
        """A copy of the state after the last step, laid out as ``net.state`` with N = 1.

        None for a network without recurrent layers. Set it to go on from a saved one; ``net.state``
        and what ``predict`` returns with ``return_state=True`` will do.
        """
        if not self._state_size:
            return None
        return unflatten(self._flat(), self._spec.recurrent())

    @state.setter
    def state(self, value: Any) -> None:
        if value is None and not self._state_size:
            return
        self._raw.set_state(flatten(value, self._spec.recurrent(), 1))

    def to_bytes(self) -> bytes:
        """The state as bytes: float32, little-endian, in the order of ``state``'s layers."""
        return self._flat().astype("<f4").tobytes()

    def from_bytes(self, data: bytes) -> None:
        """Go on from a state that :meth:`to_bytes` of a stream of the same network saved."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InputError(f"the state must be bytes of Stream.to_bytes, got {shown(data)}")
        size = memoryview(data).nbytes
        if size != 4 * self._state_size:
            raise InputError(
                f"this network's state has {4 * self._state_size} bytes, got {size}; save and "
                "restore with streams of the same network"
            )
        self._raw.set_state(as_values("state", np.frombuffer(data, "<f4")))

    def reset(self) -> None:
        """Begin anew with a state of zeros."""
        self._raw.set_state(np.zeros(self._state_size, np.float32))

    def __repr__(self) -> str:
        return f"Stream({self._spec.input_size} inputs -> {self._spec.output_size})"

    def _flat(self) -> Float32:
        flat = np.empty(self._state_size, np.float32)
        self._raw.get_state(flat)
        return flat

    def _take(self, x: Any) -> None:
        """Put one step where the engine reads it; nothing is there before all of it is checked."""
        given = x
        names = [item.name for item in self._spec.inputs]
        if not isinstance(x, Mapping):
            if len(names) > 1:
                raise InputError(
                    f"this network has the inputs {names}; pass a dict of them, got {shown(x)}"
                )
            given = {names[0]: x}
        elif set(x) != set(names):
            raise InputError(f"a step must have the inputs {names} as its keys, got {list(x)}")
        tokens = [_tokens(item, given[item.name]) for item in self._tokens_of]
        if self._values is not None:
            self._x[...] = self._checked(self._values, given[self._values])
        for item, numbers in zip(self._tokens_of, tokens, strict=True):
            self._tokens[item.columns] = numbers

    def _checked(self, name: str, x: Any) -> Float32:
        values = as_values(name, x)
        size = self._x.size
        if values.shape != (size,) and not (size == 1 and values.shape == ()):
            wanted = "a number or (1,)" if size == 1 else f"({size},)"
            raise InputError(
                f"a step must be {wanted}: one step of one sequence, got shape {values.shape}"
            )
        return values


def _tokens(item: TokenInput, value: Any) -> list[int]:
    """One step's token, or those of each column."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.size != item.size or array.ndim > 1:
        wanted = "one token's number" if item.size == 1 else f"{item.size} tokens' numbers"
        raise InputError(f"{item.name} must be {wanted}, got {shown(value)}")
    tokens = [int(token) for token in array.reshape(-1)]
    for token in tokens:
        if not 0 <= token < item.rows:
            raise InputError(
                f"{item.name} is {token}, but the embedding has {item.rows} rows "
                f"(0 to {item.rows - 1})"
            )
    return tokens


def _refuse_what_cannot_stream(spec: NetworkSpec) -> None:
    for stack in spec.recurrent():
        if stack.bidirectional:
            raise InputError(
                f"a stream knows nothing of later steps, but {stack.name!r} is bidirectional; "
                "use bidirectional=False"
            )
    for layer in spec.layers:
        if layer.kind in _NEEDS_ALL:
            raise InputError(
                f"a stream predicts at every step, but {layer.name!r} is {_NEEDS_ALL[layer.kind]}; "
                "use readout='every' or readout='last', and no CRF"
            )
