"""flax: a matrix (I, H) or (H, H) for each gate in linen; nnx has PyTorch's order in columns.

Read from ``flax.linen.recurrent`` and ``flax.nnx.nn.recurrent`` of flax 0.12, and compared with
them. linen's GRU has biases on all input products and on the candidate's recurrent one, nnx's on
the input products alone; LSTMs have theirs on the recurrent products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from .arrays import Array, bias_of, by_name, expect, floats, matrices, packed
from .layer import CellWeights, apart, cell_weights, expect_reset, merge_biases

# A gate's matrices are called i and h with its letter behind, "ir", "hr"; an RNN's "i", "h".
GATES = {"gru": tuple("rzn"), "lstm": tuple("ifgo"), "rnn": ("",)}


def from_flax(params: Mapping[str, Any]) -> CellWeights:
    """The parameters of a flax cell: linen's ``variables["params"]``, or nnx's as a plain dict.

    linen's ``GRUCell``: ``ir``, ``iz``, ``in``, ``hr``, ``hz``, ``hn``; ``LSTMCell`` and
    ``OptimizedLSTMCell``: ``ii`` ... ``ho``; ``SimpleCell``: ``i``, ``h``; each with ``kernel``
    (inputs, H) and perhaps ``bias`` (H,). nnx (``nnx.to_pure_dict(nnx.state(cell))``):
    ``dense_i`` (I, GH) and ``dense_h`` (H, GH); ``LSTMCell`` as linen's.
    """
    if not isinstance(params, Mapping):
        raise InputError(f"a cell of flax is a dict of parameters, got {type(params).__name__}")
    parts = {str(name).rstrip("_"): part for name, part in params.items()}
    if set(parts) == {"dense_i", "dense_h"}:
        given = {
            f"{name}.{key}": value for name in parts for key, value in _dense(name, parts).items()
        }
        w, u = matrices(given, "dense_i.kernel", "dense_h.kernel", rows=False)
        return cell_weights(w, u, given.get("dense_i.bias"), given.get("dense_h.bias"))
    names = {gates: {side + gate for side in "ih" for gate in gates} for gates in GATES.values()}
    gates = next((gates for gates in names if names[gates] == set(parts)), None)
    if gates is None:
        raise InputError(
            "a cell of flax has the parameters ir, iz, in, hr, hz, hn (GRUCell), ii, if, ig, io, "
            "hi, hf, hg, ho (LSTMCell), i, h (SimpleCell), or dense_i, dense_h (nnx), got "
            f"{', '.join(map(str, params)) or 'none'}"
        )
    w, b_ih = _stacked("i", gates, parts)
    u, b_hh = _stacked("h", gates, parts)
    return cell_weights(w, u, b_ih, b_hh)


def _dense(name: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    return by_name(parts[name], ("kernel", "bias"), f"{name!r} of a flax cell", optional=1)


def _stacked(side: str, gates: tuple[str, ...], parts: Mapping[str, Any]) -> tuple[Array, Array]:
    """The kernels of one side as rows (GH, inputs), and their biases, zeros where there is none."""
    kernels: list[Array] = []
    biases = []
    for gate in gates:
        name = side + gate
        given = _dense(name, parts)
        kernel = floats(f"{name}.kernel", given["kernel"])
        shape = np.shape(kernels[0].T) if kernels else (None, None)
        expect(f"{name}.kernel", kernel, shape, "(inputs, H)", "all gates have the same")
        h = kernel.shape[1]
        biases.append(bias_of(f"{name}.bias", given.get("bias"), h, "H", kernel.dtype))
        kernels.append(kernel.T)
    return np.concatenate(kernels), np.concatenate(biases)


def to_flax(weights: CellWeights) -> dict[str, dict[str, Array]]:
    """A layer as the parameters of linen's ``GRUCell``, ``LSTMCell`` or ``SimpleCell``."""
    expect_reset(weights, True, "flax's GRUCell")
    gates = GATES[weights.cell]
    params: dict[str, dict[str, Array]] = {}
    for side, matrix in (("i", weights.weight_ih), ("h", weights.weight_hh)):
        for gate, block in zip(gates, np.split(matrix, len(gates)), strict=True):
            params[side + gate] = {"kernel": packed(block.T)}
    if weights.cell == "gru":
        merged, params["hn"]["bias"] = apart(weights)
    else:
        merged = merge_biases(weights)
    side = "h" if weights.cell == "lstm" else "i"
    for gate, block in zip(gates, np.split(merged, len(gates)), strict=True):
        params[side + gate]["bias"] = block.copy()
    return params


def to_nnx(weights: CellWeights) -> dict[str, dict[str, Array]]:
    """A layer as the parameters of nnx's ``GRUCell``, ``OptimizedLSTMCell`` or ``SimpleCell``.

    Raises InputError for a GRU whose candidate has a recurrent bias: nnx's has none there.
    """
    expect_reset(weights, True, "flax's GRUCell")
    params = {
        "dense_i": {"kernel": packed(weights.weight_ih.T)},
        "dense_h": {"kernel": packed(weights.weight_hh.T)},
    }
    params["dense_h" if weights.cell == "lstm" else "dense_i"]["bias"] = merge_biases(weights)
    return params
