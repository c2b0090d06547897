"""headgate beside ONNX."""

from __future__ import annotations

import os
from typing import Any

from .errors import InputError
from .extras import require
from .network import Network

require("onnx", "onnx", "headgate.onnx")

from .interop.onnx_export import export_network
from .interop.onnx_load import load

__all__ = ["export", "load"]


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    opset: int = 17,
    lengths: bool = False,
    state: bool = False,
) -> None:
    """Write a model as an ONNX file that takes what its ``predict`` takes and gives what it gives.

    Inputs have the network's names: values (N, T, I) float32, tokens (N, T) or (N, T, K) int64.
    The output ``y`` is ``predict``'s, (N, T, O) or (N, O), softmax and sigmoid included; with
    ``task="tagging"`` the output ``path`` (N, T) int64 is ``decode``'s. N and T may have any size
    from 1, whatever the model was trained with. The file is checked before it is written, and
    written whole or not at all; its metadata hold the network's spec.

    Args:
        model: a :class:`headgate.Network`.
        path: of the file, such as "model.onnx".
        opset: of ONNX, 14 to 22.
        lengths: an input ``lengths`` (N,) int64, from 1 to T, beside the others: what stands past
            a sequence's length is not read, and outputs there are zero.
        state: an input for each part of each recurrent stack's initial state, (L*D, N, H), such as
            ``state.gru``, or ``state.lstm.h`` and ``state.lstm.c``; and an output for what it is
            after each sequence's last step, ``next_state.gru``, ...: so that a sequence can be run
            step by step.

    Raises:
        InputError: the model or an option cannot be written.
        HeadgateError: the file cannot be written; what was there before is unchanged.
    """
    if not isinstance(model, Network):
        raise InputError(
            f"expected a Network or a fitted estimator, got {type(model).__name__}; load a model "
            "file with headgate.load first"
        )
    tensors = model.state_dict()
    export_network(model.spec, tensors, path, opset=opset, lengths=lengths, state=state)
