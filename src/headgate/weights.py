"""A network's parameters: by name, as one vector, as they start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import check_choice, check_size
from .data.samples import as_values
from .errors import InputError
from .gate_layout import CellWeights
from .gate_layout.conventions import Layer, write_stack
from .initial import initial_vector, torch_vector
from .kernels import Engine
from .layer_specs import MAX_PARAMETERS
from .spec import Embedding, NetworkSpec, Recurrent
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

    def to_weights(
        self, *, convention: str, update_form: bool | None = None, forget_bias: float | None = None
    ) -> Any:
        """Its recurrent layers' arrays as another library has them: docs/conventions.md.

        Args:
            convention: as in :meth:`headgate.Network.from_weights`, which takes what comes out.
            update_form: of "textbook", which must say it.
            forget_bias: what an LSTM of "tensorflow1" or "dynet" will add to f at every step.

        Returns:
            A list with an entry for each layer, or two where there are two directions, forward
            first; "pytorch": one dict, as ``nn.GRU.load_state_dict`` takes it; "onnx": an entry
            for each layer, with the operator's direction axis. Other layers are not in it.

        Raises:
            InputError: the convention has no such cell, or must be told more.
        """
        state = self.state_dict()
        layers: list[Layer] = []
        for stack in self.spec.recurrent():
            if stack.layer_norm:
                raise InputError(
                    f"layer {stack.name!r} has layer_norm, which no other convention has; "
                    "state_dict() has its parameters"
                )
            layers += [
                tuple(CellWeights(*(state[name] for name in names)) for names in layer)
                for layer in direction_names(stack)
            ]
        if not layers:
            raise InputError("this network has no recurrent layer")
        return write_stack(layers, convention, update_form=update_form, forget_bias=forget_bias)

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


def direction_names(stack: Recurrent) -> list[list[list[str]]]:
    """Of each layer of a stack and each of its directions, the names of its four parameters."""
    return [
        [
            [f"{stack.name}.{field}_l{k}{suffix}" for field in CellWeights._fields]
            for suffix in ("", "_reverse")[: stack.directions]
        ]
        for k in range(stack.num_layers)
    ]


# Options of NetworkSpec.stacked that bring no parameters of their own.
PLAIN = (
    *("task", "nonlinearity", "residual"),
    *("dropout", "input_dropout", "recurrent_dropout", "head_dropout"),
)


def as_network(
    layers: list[Layer], head: Any, readout: str, options: Mapping[str, Any]
) -> tuple[NetworkSpec, dict[str, Any]]:
    """The spec and the parameters of a network of these layers and a dense head (O, F), (O,)."""
    check_choice("readout", readout, ("every", "last", "mean", "max"))
    for name in options:
        if name not in PLAIN:
            raise InputError(
                f"from_weights has no option {name!r}; beside its own it takes {', '.join(PLAIN)} "
                "of NetworkSpec.stacked, and the arrays tell the rest"
            )
    first, widths = layers[0][0], [layer[0].hidden_size for layer in layers]
    reads = widths[-1] * len(layers[-1])
    if head is not None and head[0].shape[1] != reads:
        raise InputError(
            f"the head reads {head[0].shape[1]} features, and the recurrent layers put out {reads}"
        )
    spec = NetworkSpec.stacked(
        first.input_size,
        widths if len(set(widths)) > 1 else widths[0],
        None if head is None else len(head[0]),
        cell=first.cell,
        num_layers=1 if len(set(widths)) > 1 else len(widths),
        reset_after=first.reset_after,
        bidirectional=len(layers[0]) == 2,
        readout=readout,
        **options,
    )
    tensors: dict[str, Any] = {}
    every = [names for stack in spec.recurrent() for names in direction_names(stack)]
    for names_of, layer in zip(every, layers, strict=True):
        for names, direction in zip(names_of, layer, strict=True):
            tensors.update(zip(names, direction, strict=True))
    if head is not None:
        tensors |= {"head.weight": head[0], "head.bias": head[1]}
    return spec, tensors


def _values(name: str, value: Any) -> Float32:
    """An array, or a tensor that may have a gradient, as finite float32."""
    return as_values(name, value.detach() if hasattr(value, "detach") else value)
