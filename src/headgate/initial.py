"""The values with which parameters start: PyTorch's distributions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .layer_specs import CRF, Embedding, LayerSpec, Recurrent
from .spec import NetworkSpec

Float32 = npt.NDArray[np.float32]


def initial_vector(spec: NetworkSpec, seed: int) -> Float32:
    """All parameters as one vector, in the order of ``spec.parameter_shapes()``."""
    rng = np.random.default_rng(seed)
    parts = [np.empty(0, np.float32)]  # for a network without parameters
    for layer in spec.layers:
        reads = spec.reads(layer)
        for name, shape in layer.parameter_shapes(reads).items():
            values = _initial(rng, layer, reads, name, shape)
            parts.append(values.ravel().astype(np.float32))  # at once: half the memory
    return np.concatenate(parts)


def _initial(
    rng: np.random.Generator, layer: LayerSpec, reads: int, name: str, shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """The values with which one parameter of ``layer`` starts."""
    if name.startswith("norm"):
        return np.ones(shape)
    if isinstance(layer, CRF):  # every sequence of classes begins alike
        return np.zeros(shape)
    if isinstance(layer, Embedding):
        table = rng.standard_normal(shape)
        if layer.initial_scale != 1:
            table *= layer.initial_scale
        if layer.padding_index is not None:
            table[layer.padding_index] = 0
        return table
    bound = (layer.hidden_size if isinstance(layer, Recurrent) else reads) ** -0.5
    return rng.uniform(-bound, bound, shape)
