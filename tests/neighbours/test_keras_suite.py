"""Keras's own tests of its recurrent layers, with headgate beside every layer that they call.

The tests come with Keras's wheel. What they call a layer with (weights, options, states, masks)
also goes through a network that ``headgate.keras.from_keras`` makes of the layer, and both must
give the same outputs and states; what headgate does not have must be refused by name.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="runs Keras's tests, which is not installed")
pytest.importorskip("keras.src.layers.rnn.gru_test", reason="this Keras came without its tests")

from keras.src.layers.rnn.bidirectional_test import SimpleRNNTest as BidirectionalTest  # noqa: E402
from keras.src.layers.rnn.gru_test import GRUTest  # noqa: E402
from keras.src.layers.rnn.lstm_test import LSTMTest  # noqa: E402
from keras.src.layers.rnn.simple_rnn_test import SimpleRNNTest  # noqa: E402
from tolerances import KERAS_FLOAT32  # noqa: E402

import headgate as hg  # noqa: E402
import headgate.keras as hk  # noqa: E402

__all__ = ["BidirectionalTest", "GRUTest", "LSTMTest", "SimpleRNNTest"]

# The warnings are about Keras's own code.
pytestmark = [pytest.mark.neighbours, pytest.mark.filterwarnings("ignore")]

NUMBERS = ("correctness", "statefulness", "initial_state", "masking", "return_state", "matches")
LAYERS = ("GRU", "LSTM", "SimpleRNN", "Bidirectional")


@pytest.fixture(autouse=True)
def beside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """headgate runs beside every recurrent layer; a test about numbers compares at least one."""
    seen: Counter[str] = Counter()
    for name in LAYERS:
        kind = getattr(keras.layers, name)
        monkeypatch.setattr(kind, "__call__", watched(kind.__call__, seen), raising=False)
    yield
    if any(word in request.node.name for word in NUMBERS):
        assert seen["compared"], f"no layer was compared, {dict(seen)}"


def watched(call: Any, seen: Counter[str]) -> Any:
    @functools.wraps(call)
    def wrapper(layer: Any, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        known = is_known(layer, sequences, kwargs.get("training"))
        net = network(layer) if layer.built and known else None
        out = call(layer, sequences, *args, **kwargs)
        if not known:
            return out
        if net is None:  # it was built by this call, from zeros
            net = network(layer)
            if net is not None:
                net.state = None
        seen["refused" if net is None else "compared"] += 1
        if net is not None:
            compare(layer, net, sequences, out, **kwargs)
        return out

    return wrapper


def is_known(layer: Any, sequences: Any, training: Any) -> bool:
    """Whether a call has numbers that are not drawn by chance, and float32's precision."""
    if type(sequences).__name__.endswith(("KerasTensor", "SymbolicTensor", "Tracer")):
        return False  # a model is being built, or compiled
    if "16" in f"{layer.compute_dtype} {getattr(sequences, 'dtype', '')}":
        return False
    return not training or not any(side.dropout or side.recurrent_dropout for side in sides(layer))


def sides(layer: Any) -> list[Any]:
    both = isinstance(layer, keras.layers.Bidirectional)
    return [layer.forward_layer, layer.backward_layer] if both else [layer]


def network(layer: Any) -> hg.Network | None:
    """The layer in headgate; None where it is one that must be refused, and was."""
    backwards = [side.go_backwards for side in sides(layer)] not in ([False], [False, True])
    merged = getattr(layer, "merge_mode", "concat") != "concat"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hg.HeadgateWarning)
        if not backwards and not merged:
            return hk.from_keras(layer)
        with pytest.raises(hg.InputError, match="merge_mode=" if merged else "go_backwards="):
            hk.from_keras(layer)
    return None


def array(value: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(value))


def compare(
    layer: Any,
    net: hg.Network,
    sequences: Any,
    out: Any,
    initial_state: Any = None,
    mask: Any = None,
    training: Any = None,
) -> None:
    stack = net.spec.recurrent()[0]
    x = array(sequences).astype(np.float32)
    state = net.state
    if initial_state is not None:
        given = initial_state if isinstance(initial_state, (list, tuple)) else [initial_state]
        parts = [array(part).astype(np.float32) for part in given]
        kinds = len(stack.states)
        arrays = tuple(np.stack(parts[k::kinds]) for k in range(kinds))
        state = arrays if kinds > 1 else arrays[0]
    valid = np.ones(x.shape[:2], bool) if mask is None else array(mask).astype(bool)
    rows = x if mask is None else [row[here] for row, here in zip(x, valid, strict=True)]
    got, after = net.predict(rows, state=state, return_state=True)

    outputs = list(out) if isinstance(out, (list, tuple)) else [out]
    want = array(outputs[0])
    if net.spec.pooled:
        close(got, want)
    else:
        for row, here, mine in zip(want, valid, got, strict=True):
            close(mine, row[here])
    afters = after if isinstance(after, tuple) else (after,)
    mine = [part[k] for k in range(stack.directions) for part in afters]
    for part, theirs in zip(mine, outputs[1:], strict=False):
        close(part, array(theirs))
    assert len(outputs) in (1, 1 + len(mine))


def close(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=0, atol=KERAS_FLOAT32)
