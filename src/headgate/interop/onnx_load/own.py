"""Files that ``headgate.onnx.export`` wrote: the network whose export is the file, to the byte.

Their metadata hold the spec, their initializers the parameters. Neither is believed: the network
is exported again, and the file's graph must be that graph. Attention, layer normalisation, CRFs and
lengths come back this way, without a rule for each of their nodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError, ModelFileError
from ...gate_layout import CellWeights, from_onnx
from ...network import Network
from ...spec import NetworkSpec, Recurrent
from ..onnx_export.export import network_model
from .file import array

Array = npt.NDArray[Any]
SPEC = "headgate.spec"


def own_network(model: Any, folder: Path | None) -> Network | None:
    """The network of a file that headgate wrote; None for any other file.

    A file that was altered since counts as any other: its graph says what it is.
    """
    facts = {entry.key: entry.value for entry in model.metadata_props}
    if SPEC not in facts or len(model.functions) or len(model.opset_import) != 1:
        return None
    try:
        spec = NetworkSpec.from_json(facts[SPEC])
        tensors = _tensors(model, spec, folder)
        if tensors is None:
            return None
        inputs = {value.name for value in model.graph.input}
        again = network_model(
            spec,
            tensors,
            opset=int(model.opset_import[0].version),
            lengths="lengths" in inputs,
            state=any(name.startswith("state.") for name in inputs),
        )
        if again.graph.SerializeToString(deterministic=True) != model.graph.SerializeToString(
            deterministic=True
        ):
            return None
        net = Network(spec, seed=0)
        net.load_state_dict(tensors)
    except (InputError, ModelFileError, IndexError):
        return None
    return net


def _tensors(model: Any, spec: NetworkSpec, folder: Path | None) -> dict[str, Array] | None:
    """The parameters of ``spec`` among the initializers, None when one is missing."""
    there = {tensor.name: tensor for tensor in model.graph.initializer}
    result: dict[str, Array] = {}
    for layer in spec.layers:
        shapes = layer.parameter_shapes(spec.reads(layer))
        short: dict[str, Array] = {}
        for key in shapes:
            if f"{layer.name}.{key}" in there:
                short[key] = array(there[f"{layer.name}.{key}"], folder)
        if isinstance(layer, Recurrent):
            for k in range(layer.num_layers):
                names = [f"{layer.name}.l{k}.{what}" for what in ("W", "R", "B")]
                if all(name in there for name in names):
                    arrays = [array(there[name], folder) for name in names]
                    short |= _directions(layer, k, arrays)
        if {key: value.shape for key, value in short.items()} != shapes:
            return None
        result |= {f"{layer.name}.{key}": short[key] for key in shapes}
    if any(value.dtype != np.float32 for value in result.values()):
        return None
    return result


def _directions(layer: Recurrent, k: int, arrays: list[Array]) -> dict[str, Array]:
    """An operator's weights by the layer's names of them."""
    after = getattr(layer, "reset_after", None)
    if any(len(part) != layer.directions for part in arrays):
        raise InputError("weights of other directions")
    return {
        f"{key}_l{k}{suffix}": value
        for d, suffix in enumerate(("", "_reverse")[: layer.directions])
        for key, value in zip(
            CellWeights._fields,
            from_onnx(*(part[d] for part in arrays), reset_after=after),
            strict=True,
        )
    }
