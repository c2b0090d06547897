"""The values with which parameters start: PyTorch's distributions, and its very numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .layer_specs import CRF, GRU, Dense, Embedding, LayerSpec, Recurrent
from .spec import NetworkSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


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
) -> Float64:
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
    bound = _bound(layer, reads)
    return rng.uniform(-bound, bound, shape)


def _bound(layer: LayerSpec, reads: int) -> float:
    return float((layer.hidden_size if isinstance(layer, Recurrent) else reads) ** -0.5)


def torch_vector(spec: NetworkSpec, seed: int, skip: int = 0) -> Float32:
    """What PyTorch draws after ``torch.manual_seed(seed)`` and ``skip`` numbers, to the bit.

    That is for ``nn.GRU``, ``nn.LSTM``, ``nn.RNN`` and ``nn.Linear`` made in the order of the
    layers, on a CPU. Both libraries have the same Mersenne Twister: of each 32-bit number PyTorch
    takes the low 24 bits as a fraction u, and rounds u * 2b - b once (fused multiply-add).

    Raises:
        InputError: a layer starts otherwise in PyTorch, or PyTorch has none of its kind.
    """
    _check_drawn_alike(spec)
    generator = np.random.RandomState(seed)
    if skip:
        generator.bytes(4 * skip)
    parts = [np.empty(0, np.float32)]
    for layer in spec.layers:
        reads = spec.reads(layer)
        for shape in layer.parameter_shapes(reads).values():
            bound = np.float64(np.float32(_bound(layer, reads)))
            bits = generator.randint(0, 1 << 32, int(np.prod(shape)), np.uint32)
            fractions = (bits & 0xFFFFFF) * np.float64(2.0**-24)
            parts.append((fractions * (2 * bound) - bound).astype(np.float32))
    return np.concatenate(parts)


def _check_drawn_alike(spec: NetworkSpec) -> None:
    for layer in spec.layers:
        what = ""
        if isinstance(layer, Recurrent):
            if layer.layer_norm:
                what = "PyTorch's recurrent layers have no layer normalisation"
            elif isinstance(layer, GRU) and not layer.reset_after:
                what = "PyTorch has no GRU with reset_after=False"
        elif isinstance(layer, Embedding):
            what = "embeddings start as N(0, 1), for which PyTorch has other draws"
        elif not isinstance(layer, Dense) and layer.parameter_shapes(spec.reads(layer)):
            what = f"PyTorch has no layer like {layer.kind!r}"
        if what:
            raise InputError(
                f"like='torch' cannot reproduce layer {layer.name!r} ({layer.kind}): {what}; use "
                "like='headgate', or load PyTorch's weights by load_state_dict"
            )
