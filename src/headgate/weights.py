"""A network's parameters: by name, as one vector, as they start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import check_choice, check_size
from .data.samples import as_values
from .errors import InputError
from .initial import initial_vector, torch_vector
from .kernels import Engine
from .layer_specs import MAX_PARAMETERS
from .spec import Embedding, NetworkSpec
from .training.updates import Learner

Float32 = npt.NDArray[np.float32]


class Weights:
    """The part of :class:`headgate.Network` that holds its parameters."""

    spec: NetworkSpec
    seed: int
    _engine: Engine
    _learner: Learner | None

    def state_dict(self) -> dict[str, Float32]:
        """Copies of the parameters by PyTorch's names, float32."""
        return self._engine.split(self._engine.get_vector())

    def load_state_dict(self, tensors: Mapping[str, Any]) -> None:
        """Replace the parameters by arrays or tensors of the same names and shapes.

        Raises:
            InputError: names or shapes differ, or a value is not finite; nothing is changed then.
        """
        shapes = self._engine.shapes
        if not isinstance(tensors, Mapping):
            raise InputError(
                f"tensors must be a dict of arrays by name, got {type(tensors).__name__}; "
                f"expected {list(shapes)}"
            )
        given = {str(name): value for name, value in tensors.items()}
        if set(given) != set(shapes):
            missing, extra = sorted(set(shapes) - set(given)), sorted(set(given) - set(shapes))
            raise InputError(
                f"the names do not fit this network: missing {missing}, unknown {extra}; "
                f"expected {list(shapes)}"
            )
        arrays = {}
        for name, value in given.items():
            arrays[name] = _values(name, value)
            if arrays[name].shape != shapes[name]:
                hint = ""
                if "bias_hh" in name and arrays[name].size * 2 == shapes[name][0] * 3:
                    hint = (
                        "; with reset_after=False the candidate has one bias, so the third part of "
                        "bias_hh is absent: weights made by PyTorch need reset_after=True"
                    )
                raise InputError(
                    f"{name} must have shape {shapes[name]}, got {arrays[name].shape}{hint}"
                )
        self._replace(self._engine.join(arrays))

    def get_vector(self) -> Float32:
        """A copy of all parameters as one vector (P,), float32.

        They stand one behind the other in the order of :meth:`state_dict`, each flat (row after
        row): what optimisers that know nothing of networks work on.
        """
        return self._engine.get_vector()

    def set_vector(self, vector: Any) -> None:
        """Replace all parameters by one vector (P,), such as :meth:`get_vector` gives.

        Raises:
            InputError: it has another shape, or a value is not finite; nothing is changed then.
        """
        values, size = _values("vector", vector), int(self._engine.bounds[-1])
        if values.shape != (size,):
            raise InputError(
                f"vector must have shape ({size},), a number for each parameter of this network, "
                f"got {values.shape}; net.get_vector() has the right one"
            )
        self._replace(values)

    def reset_parameters(
        self, seed: int | None = None, *, like: str = "headgate", skip: int = 0
    ) -> None:
        """Draw all parameters anew; ``state`` and ``history`` stay as they are.

        Args:
            seed: of the draw, the network's own by default. Shuffling and dropout keep theirs.
            like: "headgate" draws what ``Network(..., seed=seed)`` starts with; "torch" draws what
                PyTorch does on a CPU after ``torch.manual_seed(seed)``, when its ``nn.GRU``,
                ``nn.LSTM``, ``nn.RNN`` and ``nn.Linear`` are made in the order of the layers here.
            skip: with like="torch", how many numbers were drawn since the seed was set: the
                parameters of the networks that PyTorch made before this one.

        Raises:
            InputError: with like="torch", a layer that PyTorch lacks or draws otherwise (such as
                embeddings), or a seed above 2**32 - 1.
        """
        check_choice("like", like, ("headgate", "torch"))
        bits = 32 if like == "torch" else 63
        seed = self.seed if seed is None else seed
        seed = check_size("seed", seed, minimum=0, maximum=(1 << bits) - 1)
        skip = check_size("skip", skip, minimum=0, maximum=MAX_PARAMETERS)
        if like == "torch":
            vector = torch_vector(self.spec, seed, skip)
        elif skip:
            raise InputError("skip goes with like='torch'; for other numbers choose another seed")
        else:
            vector = initial_vector(self.spec, seed)
        self._replace(vector)

    def _replace(self, vector: Float32) -> None:
        self._engine.set_vector(vector)
        self._learner = None  # its averages are of gradients of other weights

    def load_embedding(self, matrix: Any, layer: str = "embedding") -> None:
        """Replace the vectors of an embedding, such as by pretrained ones.

        Args:
            matrix: (V, size), the row of each token; the padding row too is taken as it stands.
            layer: the embedding's name. With ``train_embedding=False`` it stays as loaded.

        Raises:
            InputError: there is no such embedding, or ``matrix`` does not fit it.
        """
        names = [item.name for item in self.spec.layers if isinstance(item, Embedding)]
        if layer not in names:
            raise InputError(f"this network has no embedding {layer!r}; it has {names}")
        self.load_state_dict({**self.state_dict(), f"{layer}.weight": matrix})


def _values(name: str, value: Any) -> Float32:
    """An array, or a tensor that may have a gradient, as finite float32."""
    return as_values(name, value.detach() if hasattr(value, "detach") else value)
