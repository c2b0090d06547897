"""A network's recurrent layers as other libraries' arrays: from_weights and to_weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from .checks import MAX_FLOAT, as_number, check_choice, check_flags, shown
from .errors import InputError
from .gate_layout import CellWeights, read_dense, read_stack
from .gate_layout.conventions import Layer, write_stack
from .spec import NetworkSpec, Recurrent

T = TypeVar("T")


class Conventions:
    """The part of :class:`headgate.Network` that speaks other libraries' conventions."""

    @classmethod
    def from_weights(
        cls: type[T],
        weights: Any,
        *,
        convention: str,
        cell: str | None = None,
        reset_after: bool | None = None,
        update_form: bool | None = None,
        forget_bias: float | None = None,
        bidirectional: bool = False,
        head: Any = None,
        readout: str = "every",
        **options: Any,
    ) -> T:
        """A network of recurrent layers whose arrays are another library's: docs/conventions.md.

        Sizes and cell are read from the arrays. What they do not tell has no default.

        Args:
            weights: one layer's arrays, a dict by the library's names or a list in its order; or
                a list of such, one for each layer, with ``bidirectional`` two, forward first.
                "pytorch" takes the ``state_dict`` of a whole module, "onnx" (D, ...) arrays.
            convention: "pytorch", "keras", "onnx", "tensorflow1", "flax", "nnx", "mlx", "haste",
                "rtneural", "dynet" or "textbook".
            cell: "gru", "lstm" or "rnn", where the arrays could be two of them (TensorFlow 1);
                elsewhere a check.
            reset_after: of a GRU of "onnx", of "keras" without biases; False for "textbook".
            update_form: of "textbook": whether z = 1 takes the candidate.
            forget_bias: of an LSTM of "tensorflow1" or "dynet": what it adds to f at every step.
            bidirectional: whether each layer has two entries; "pytorch" and "onnx" tell it.
            head: a dense layer's (weight, bias), (O, F) and (O,), or (F, O) where the library has
                kernels ("keras", "flax", "nnx", "tensorflow1", "rtneural"); None puts out states.
            readout: "every" step, "last", "mean" or "max".
            **options: of :meth:`NetworkSpec.stacked` that bring no parameters: ``task``,
                ``nonlinearity`` of an RNN ("tanh" by default), ``residual``, dropouts.

        Raises:
            InputError: arrays do not fit, or do not tell enough; it says what came and what was
                expected.
        """
        check_flags(bidirectional=bidirectional)
        _check_facts(reset_after, update_form, forget_bias)
        layers = read_stack(
            weights,
            convention,
            bidirectional=bidirectional,
            cell=cell,
            reset_after=reset_after,
            update_form=update_form,
            forget_bias=forget_bias,
        )
        dense = None if head is None else read_dense(head, convention)
        spec, tensors = as_network(layers, dense, readout, options)
        net: Any = cls(spec)  # type: ignore[call-arg]  # a Network's constructor
        net.load_state_dict(tensors)
        return cast("T", net)

    def to_weights(
        self: Any,
        *,
        convention: str,
        update_form: bool | None = None,
        forget_bias: float | None = None,
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
        _check_facts(None, update_form, forget_bias)
        state = self.state_dict()
        layers: list[Layer] = []
        if convention == "pytorch":
            _check_one_module(self.spec)
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


def _check_one_module(spec: NetworkSpec) -> None:
    """Stacks that are parts of a graph would load into one nn.GRU and compute something else."""
    through = {layer.name: layer.inputs[0] for layer in spec.layers if layer.kind == "dropout"}
    stacks = spec.recurrent()
    for before, stack in itertools.pairwise(stacks):
        reads = stack.inputs[0]
        reads = through.get(reads, reads)
        if reads != before.name or stack.kind != before.kind:
            raise InputError(
                f"layer {stack.name!r} does not go on from {before.name!r} as one nn.GRU's layers "
                "do; state_dict() has the parameters of each"
            )


def _check_facts(reset_after: Any, update_form: Any, forget_bias: Any) -> None:
    """What arrays do not tell, where it is given: True or False, and a finite number."""
    flags = {"reset_after": reset_after, "update_form": update_form}
    check_flags(**{name: flag for name, flag in flags.items() if flag is not None})
    if forget_bias is not None and not abs(as_number(forget_bias)) <= MAX_FLOAT:
        raise InputError(f"forget_bias must be a finite number, got {shown(forget_bias)}")


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
