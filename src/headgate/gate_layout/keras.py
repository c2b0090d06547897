"""Keras: columns; a GRU's gates z, r, h, an LSTM's i, f, c, o; one bias but for reset_after=True.

Read from ``keras.layers.GRU``, ``LSTM`` and ``SimpleRNN`` of Keras 3.15, and compared with them.
The files of RTNeural hold the same arrays as nested lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .arrays import Array, bias_like, cell_of, expect, floats, matrices, orders, packed
from .layer import CellWeights, expect_reset, from_order, in_order, merge_biases

KERAS = orders({"gru": "zrn"})


class KerasWeights(NamedTuple):
    """One Keras layer, in the order of ``layer.get_weights()``."""

    kernel: Array
    recurrent_kernel: Array
    bias: Array


def from_keras(
    kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    reset_after: bool | None = None,
) -> CellWeights:
    """What ``get_weights()`` of a Keras ``GRU``, ``LSTM`` or ``SimpleRNN`` gives, as a layer.

    ``kernel`` (I, GH), ``recurrent_kernel`` (H, GH), G being 3, 4 or 1; ``bias`` (GH,), None for
    use_bias=False. For a GRU with ``reset_after=True``, Keras's default, it is (2, 3H), which
    tells; without biases a GRU must say it.
    """
    given = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
    w, u = matrices(given, "kernel", "recurrent_kernel", rows=False)
    if cell_of(u) != "gru":
        return from_order(KERAS, w, u, bias_like("bias", given, u))
    if reset_after is None:
        if bias is None:
            raise InputError(
                "from_keras needs reset_after for a GRU without biases, since the other arrays do "
                "not tell; pass the layer's reset_after"
            )
        reset_after = np.ndim(bias) == 2
    if bias is None:
        return from_order(KERAS, w, u, None, reset_after=reset_after)
    b = floats("bias", bias)
    if reset_after:
        hint = "a bias of shape (3H,) belongs to reset_after=False"
        expect("bias", b, (2, len(u)), "(2, 3H) for reset_after=True", hint)
        return from_order(KERAS, w, u, b[0], b[1])
    hint = "a bias of shape (2, 3H) belongs to reset_after=True"
    expect("bias", b, (len(u),), "(3H,) for reset_after=False", hint)
    return from_order(KERAS, w, u, b, reset_after=False)


def to_keras(weights: CellWeights) -> KerasWeights:
    """A layer as ``set_weights`` of a Keras layer takes it; a GRU's must have its reset_after."""
    if weights.cell != "gru" or not weights.reset_after:
        weights = weights._replace(bias_ih=merge_biases(weights))
    w, u, b_ih, b_hh = in_order(weights, KERAS)
    both = weights.cell == "gru" and weights.reset_after
    return KerasWeights(packed(w.T), packed(u.T), np.stack([b_ih, b_hh]) if both else b_ih)


def from_rtneural(layer: Mapping[str, Any] | Sequence[Any]) -> CellWeights:
    """A "gru" or "lstm" layer of RTNeural's JSON, or the list of its ``weights``.

    Read from RTNeural, ``model_loader.h``, ``gru.h`` and ``python/model_utils.py``. Its GRU is
    Keras's with reset_after=True.
    """
    kind = None
    if isinstance(layer, Mapping):
        kind = layer.get("type")
        if kind not in ("gru", "lstm") or "weights" not in layer:
            raise InputError(
                'a recurrent layer of RTNeural has "type": "gru" or "lstm", and "weights", got '
                f"type {kind!r} and the keys {sorted(map(str, layer))}"
            )
        layer = layer["weights"]
    weights = from_keras(*from_lists(layer, 3), reset_after=True)
    if weights.cell == "rnn" or kind not in (None, weights.cell):
        raise InputError(f"RTNeural's {kind or 'layers'} cannot have weights of a {weights.cell}")
    return weights


def from_lists(weights: Any, count: int) -> list[Array]:
    """``count`` nested lists of numbers, as JSON has them, or arrays, as arrays of float64."""
    if not isinstance(weights, (list, tuple)) or len(weights) != count:
        got = len(weights) if isinstance(weights, (list, tuple)) else type(weights).__name__
        raise InputError(f"an RTNeural layer of this type has a list of {count} weights, got {got}")
    try:
        return [np.asarray(part, np.float64) for part in weights]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the weights of an RTNeural layer are no arrays: {error}") from None


def to_rtneural(weights: CellWeights) -> dict[str, Any]:
    """A GRU or LSTM as a layer of RTNeural's JSON, as its exporter for Keras writes it."""
    if weights.cell == "rnn":
        raise InputError("RTNeural has no plain RNN; its recurrent layers are gru and lstm")
    expect_reset(weights, True, "RTNeural's GRU")
    return {
        "type": weights.cell,
        "activation": "tanh",
        "shape": [None, None, weights.hidden_size],
        "weights": [part.tolist() for part in to_keras(weights)],
    }
