"""A network that follows one sequence, step by step, and learns on the way."""

from __future__ import annotations

import base64
import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import as_number, check_size, shown
from ..data.inputs import token_inputs
from ..data.samples import as_values
from ..errors import DivergenceError, HeadgateWarning, InputError
from ..network import Network

Float32 = npt.NDArray[np.float32]

WINDOW = 20  # steps that an update learns from
LEARNING_RATE = 1e-3
TARGET = "y"  # of a step that brings its own target


@contextmanager
def reading_a_state() -> Iterator[None]:
    """Whatever is wrong with a state that was passed, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"this is no state of such a live model: {what}") from None


class LiveNetwork:
    """A :class:`headgate.Network`, step by step; see :func:`~.live.live`."""

    reads_text = False

    def __init__(
        self,
        model: Network,
        *,
        learn: bool = False,
        window: int = WINDOW,
        learning_rate: float = LEARNING_RATE,
    ) -> None:
        self._net, self._stream = model, model.stream()
        self._learns, self._rate = learn, check_rate_of_learning(learning_rate)
        self._tokens = {item.name: item for item in token_inputs(model.spec)}
        self._names = [item.name for item in model.spec.inputs]
        spec = model.spec
        # Where it predicts what it reads, the next value is its target.
        self._follows = (
            spec.task == "regression" and not self._tokens and spec.output_size == spec.input_size
        )
        # Of each step: what was read, what was to be said, and the state before it.
        size = check_size("window", window, maximum=1 << 20)
        self._window: deque[tuple[dict[str, Any], Any, Any]] = deque(maxlen=size)
        self._open: tuple[dict[str, Any], Any] | None = None  # a step without its target so far
        self.loss: float | None = None

    @property
    def networks(self) -> list[Network]:
        return [self._net]

    def step(self, value: Any) -> Float32:
        target = None
        if isinstance(value, Mapping) and TARGET in value and TARGET not in self._names:
            target = value[TARGET]
            value = {name: part for name, part in value.items() if name != TARGET}
        if not self._learns and not self._tokens:
            return self._stream.step(value)
        read = self._read(value)
        if not self._learns:
            return self._stream.step(read)
        wanted = None if target is None else self._target(target)
        if wanted is None and self._follows and self._open is not None:
            before, state = self._open
            self._open = None
            self._learn(before, read[self._names[0]], state)
        state = self._stream.state
        prediction = self._stream.step(read)
        if wanted is not None:
            self._learn(read, wanted, state)
        else:
            self._open = (read, state)
        return prediction

    def state(self) -> dict[str, Any]:
        return {"stream": base64.b64encode(self._stream.to_bytes()).decode()}

    @reading_a_state()
    def resume(self, state: Mapping[str, Any]) -> None:
        self._stream.from_bytes(base64.b64decode(state["stream"], validate=True))
        self._window.clear()
        self._open = None

    def save(self, path: str | os.PathLike[str]) -> None:
        self._net.save(path)

    def _read(self, value: Any) -> dict[str, Any]:
        """One step as arrays by input; checked, so that nothing is learned of a bad one."""
        given = value if isinstance(value, Mapping) else {self._names[0]: value}
        if set(given) != set(self._names):
            raise InputError(
                f"a step must have the inputs {self._names}, got "
                f"{list(given) if isinstance(value, Mapping) else shown(value)}"
            )
        return {name: self._part(name, part) for name, part in given.items()}

    def _part(self, name: str, part: Any) -> Any:
        if name in self._tokens:
            array = np.asarray(part)
            # 3.0 from a line of text is a token, 3.5 is none
            if array.dtype.kind == "f" and np.isfinite(array).all() and (array % 1 == 0).all():
                array = array.astype(np.int64)
            if array.dtype.kind not in "iu":
                raise InputError(f"{name} must be whole numbers of tokens, got {shown(part)}")
            return array.reshape(-1)
        values, size = as_values(name, part), self._net.spec.input_size
        if values.shape != (size,) and not (size == 1 and values.shape == ()):
            wanted = "a number" if size == 1 else f"{size} numbers"
            raise InputError(f"a step must be {wanted}, got {shown(part)}")
        return values.reshape(size)

    def _target(self, target: Any) -> Any:
        spec = self._net.spec
        array = as_values(TARGET, target).reshape(-1)
        if spec.task != "classification":
            if array.size != spec.output_size:
                raise InputError(
                    f"{TARGET} must have {spec.output_size} values, as the network puts out, got "
                    f"{array.size}"
                )
            return array
        if array.size != 1 or array[0] not in range(spec.output_size):
            raise InputError(
                f"{TARGET} must be a class from 0 to {spec.output_size - 1}, got {shown(target)}"
            )
        return array

    def _learn(self, read: dict[str, Any], target: Any, state: Any) -> None:
        self._window.append((read, target, state))
        steps, targets, states = zip(*self._window, strict=True)
        count, spec = len(steps), self._net.spec
        arrays = {}
        for name in self._names:  # (1, T, I), and (1, T) of tokens in one column
            rows = np.concatenate([step[name] for step in steps]).reshape(1, count, -1)
            arrays[name] = rows[..., 0] if name in self._tokens and rows.shape[2] == 1 else rows
        wanted = targets[-1][None] if spec.pooled else np.concatenate(targets).reshape(1, count, -1)
        self.loss = updated(
            self._net,
            arrays if len(arrays) > 1 else arrays[self._names[0]],
            wanted[..., 0] if spec.task == "classification" else wanted,
            state=states[0],
            learning_rate=self._rate,
        )


def updated(net: Network, X: Any, Y: Any = None, **options: Any) -> float | None:
    """The loss before an update by ``partial_fit``; None, and a warning, where it diverged."""
    try:
        return net.partial_fit(X, Y, **options)
    except DivergenceError as error:
        warnings.warn(f"not learned: {error}", HeadgateWarning, stacklevel=3)
        return None


def check_rate_of_learning(rate: Any) -> float:
    """``rate`` as a float above zero, or an InputError."""
    number = as_number(rate)
    if not 0 < number < np.inf:
        raise InputError(f"learning_rate must be a finite number above 0, got {shown(rate)}")
    return number
