"""One Keras layer as headgate has it: what it is called in messages, its options, its weights.

Layers are known by the names of their classes and read through ``get_config`` and ``get_weights``,
so those of Keras 3, of Keras 2 and of ``tf.keras`` are read alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import gate_layout
from ...checks import shown
from ...errors import InputError
from ...gate_layout import CellWeights
from ...layer_specs import GRU, LSTM, RNN, Recurrent

Array = npt.NDArray[Any]

CELLS: dict[str, type[Recurrent]] = {"GRU": GRU, "LSTM": LSTM, "SimpleRNN": RNN}
ACTIVATIONS = {"GRU": ("tanh",), "LSTM": ("tanh",), "SimpleRNN": ("tanh", "relu")}
MODULES = ("keras", "tf_keras", "tensorflow")  # where Keras's own classes come from
TRAINING_ONLY = ("_regularizer", "_constraint")
HALF = ("float16", "bfloat16", "float8")


def weights_of(layer: Any) -> list[Array]:
    """``layer.get_weights()``, without what Keras has NumPy 2 say of its own variables."""
    return _quietly(layer.get_weights)


def _states_of(layer: Any) -> tuple[Array, ...]:
    held = [part for part in getattr(layer, "states", None) or () if part is not None]
    return tuple(_quietly(lambda: [part.numpy() for part in held]))


def _quietly(read: Callable[[], list[Any]]) -> list[Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return [np.asarray(array) for array in read()]


@dataclass(frozen=True)
class KerasLayer:
    """A Keras layer and its place in the model, counted from 1; 0 for a layer by itself."""

    layer: Any
    place: int = 0

    @property
    def kind(self) -> str:
        return type(self.layer).__name__

    @property
    def name(self) -> str:
        return str(self.layer.name)

    @cached_property
    def config(self) -> dict[str, Any]:
        return dict(self.layer.get_config())

    def __str__(self) -> str:
        return f"{'' if self.place == 0 else f'layer {self.place}, '}{self.name!r} ({self.kind})"

    def refused(self, what: str, instead: str) -> InputError:
        """The error for an option that headgate does not have."""
        return InputError(f"{self}: {what} has no counterpart in headgate; {instead}")

    def check_class(self) -> None:
        """Refuse a class of somebody's own that is named as one of Keras's."""
        home = type(self.layer).__module__
        if home.partition(".")[0] not in MODULES:
            raise self.refused(
                f"a class from {home}, which may compute anything,", "use Keras's own layer"
            )

    def arrays(self, count: int) -> list[Array]:
        """The weights, when there are ``count`` of them.

        Raises:
            InputError: there are none yet, or others than Keras's own layer has.
        """
        found = weights_of(self.layer)
        if not found:
            raise InputError(
                f"{self} has no weights yet; build the model first, by an Input layer or by "
                "calling it on data"
            )
        if len(found) != count or any(array.dtype.kind not in "fV" for array in found):
            what = ", ".join(f"{array.dtype} {array.shape}" for array in found)
            raise InputError(
                f"{self} has the weights {what}; expected {count} of floating-point numbers: "
                "undo quantisation, or merge LoRA's weights, first"
            )
        return [array.astype(np.float32) for array in found]  # bfloat16 is of kind V

    def left_out(self) -> list[str]:
        """What matters to training alone, or to rounding, and is not carried over."""
        notes = []
        extra = [key for key, value in self.config.items() if key.endswith(TRAINING_ONLY) and value]
        if extra:
            notes.append(
                f"{self}: {', '.join(extra)} acts on training alone and is not carried over; fit "
                "has weight_decay"
            )
        frozen = not getattr(self.layer, "trainable", True)
        if frozen and self.kind != "Embedding" and weights_of(self.layer):
            notes.append(f"{self} is frozen in Keras (trainable=False), but learns in headgate")
        policy = self.config.get("dtype")
        if isinstance(policy, Mapping):
            policy = policy.get("config", {}).get("name")
        if any(half in str(policy) for half in HALF):
            notes.append(
                f"{self} computes as {policy} in Keras and in float32 in headgate, so their "
                "results agree to the former's rounding only"
            )
        return notes


# -- recurrent layers ---------------------------------------------------------------------------


class Cell(NamedTuple):
    """A recurrent Keras layer, or the two of a ``Bidirectional``.

    Attributes:
        kind, options: of headgate's stack, which has one layer.
        weights: one direction, or forward and reverse.
        every: whether all steps come out (``return_sequences``).
        states: what a stateful layer holds, forward's first: h, or h and c for each; else empty.
    """

    kind: type[Recurrent]
    options: dict[str, Any]
    weights: tuple[CellWeights, ...]
    every: bool
    states: tuple[Array, ...]

    def tensors(self) -> dict[str, Array]:
        """The parameters by headgate's and PyTorch's names: ``weight_ih_l0``, ..."""
        return {
            f"{key}_l0{suffix}": array
            for suffix, weights in zip(("", "_reverse"), self.weights, strict=False)
            for key, array in zip(CellWeights._fields, weights, strict=True)
        }


def read_cell(item: KerasLayer, *, masked: bool = False) -> Cell:
    """What a GRU, LSTM, SimpleRNN or Bidirectional layer is in headgate.

    Args:
        masked: whether a mask reaches it.

    Raises:
        InputError: an option has no exact counterpart, or there are no weights yet.
    """
    item.check_class()
    if item.kind != "Bidirectional":
        if item.kind not in CELLS:
            raise item.refused("this layer", f"recurrent layers are {', '.join(CELLS)}")
        return _one_direction(item, masked, backwards=False)
    mode = item.config.get("merge_mode")
    if mode != "concat":
        raise item.refused(
            f"merge_mode={shown(mode)}", "with merge_mode='concat' a Dense layer can do its work"
        )
    sides = [KerasLayer(item.layer.forward_layer), KerasLayer(item.layer.backward_layer)]
    for side in sides:
        if side.kind not in CELLS:
            raise item.refused(f"the layer {side} in it", f"it may hold {', '.join(CELLS)}")
        side.check_class()
    ahead, back = (_one_direction(side, masked, backwards=bool(k)) for k, side in enumerate(sides))
    if (ahead.kind, ahead.options, ahead.every) != (back.kind, back.options, back.every):
        raise item.refused(
            "a backward_layer of other options than the forward one",
            "both directions are of one kind, width and dropout there",
        )
    options = {**ahead.options, "bidirectional": True}
    return Cell(
        ahead.kind,
        options,
        ahead.weights + back.weights,
        ahead.every,
        ahead.states + back.states,
    )


def _one_direction(item: KerasLayer, masked: bool, *, backwards: bool) -> Cell:
    config, kind = item.config, CELLS[item.kind]
    activation = config.get("activation")
    _check_activation(item, "activation", activation, ACTIVATIONS[item.kind])
    if item.kind != "SimpleRNN":
        gate = config.get("recurrent_activation")
        _check_activation(item, "recurrent_activation", gate, ("sigmoid",))
    if bool(config.get("go_backwards")) != backwards:
        raise item.refused(
            f"go_backwards={config.get('go_backwards')}",
            "turn the data round in time and use go_backwards=False, or use Bidirectional",
        )
    every = bool(config.get("return_sequences"))
    if masked and config.get("zero_output_for_mask") and not every:
        raise item.refused(
            "zero_output_for_mask with return_sequences=False", "use zero_output_for_mask=False"
        )
    options: dict[str, Any] = {
        "hidden_size": config["units"],
        "input_dropout": config.get("dropout", 0.0),
        "recurrent_dropout": config.get("recurrent_dropout", 0.0),
    }
    if kind is GRU:  # early Keras had the reset gate before the product, without the option
        options["reset_after"] = bool(config.get("reset_after", False))
    if kind is RNN:
        options["nonlinearity"] = activation
    weights = gate_layout.from_keras(
        *item.arrays(3 if config.get("use_bias", True) else 2),
        reset_after=options.get("reset_after", True),
    )
    if weights.cell != kind.kind or weights.hidden_size != options["hidden_size"]:
        raise InputError(
            f"{item} has weights of another layer: those of {weights.hidden_size} units of a "
            f"{weights.cell}; build it anew"
        )
    states = _states_of(item.layer) if config.get("stateful") else ()
    return Cell(kind, options, (weights,), every, states)


def _check_activation(item: KerasLayer, option: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        names = " or ".join(map(repr, known))
        raise item.refused(
            f"{option}={shown(value)}", f"its cell computes {names}; train the layer with that"
        )


# -- weights of single layers -------------------------------------------------------------------


def get_weights(layer: Any) -> dict[str, Array]:
    """The weights of a Keras GRU, LSTM, SimpleRNN or Bidirectional by headgate's names.

    Args:
        layer: a built layer of Keras 3, Keras 2 or ``tf.keras``.

    Returns:
        ``weight_ih_l0`` (GH, I), ``weight_hh_l0`` (GH, H), ``bias_ih_l0`` (GH,), ``bias_hh_l0``
        (GH,), or (2H,) for a GRU with ``reset_after=False``; G gates. Those of the second
        direction end in ``_reverse``. These are PyTorch's names too, and its order of gates.
        Biases that the layer does not have are zeros. Float32.

    Raises:
        InputError: the layer computes what headgate does not, such as other activations, or has
            no weights yet.
    """
    return read_cell(KerasLayer(layer)).tensors()


def set_weights(layer: Any, weights: Mapping[str, Any]) -> None:
    """Put weights by headgate's names into a Keras layer, the inverse of :func:`get_weights`.

    Args:
        layer: a GRU, LSTM, SimpleRNN or Bidirectional; built here where it is not yet.
        weights: such as ``get_weights`` gives, or a part of ``net.state_dict()``.

    Raises:
        InputError: names or shapes do not fit the layer, or it has no bias where there is one.
    """
    item = KerasLayer(layer)
    sides = [item]
    if item.kind == "Bidirectional":
        sides = [KerasLayer(layer.forward_layer), KerasLayer(layer.backward_layer)]
    suffixes = ("", "_reverse")[: len(sides)]
    names = [f"{key}_l0{suffix}" for suffix in suffixes for key in CellWeights._fields]
    if not isinstance(weights, Mapping) or set(weights) != set(names):
        given = shown(sorted(weights) if isinstance(weights, Mapping) else weights)
        raise InputError(f"{item} takes the weights {', '.join(names)}; got {given}")
    arrays = {name: np.asarray(weights[name], np.float32) for name in names}
    if not layer.built:
        layer.build((None, None, arrays["weight_ih_l0"].shape[-1]))
    read_cell(item)  # refuses what computes otherwise than these weights are for
    prepared = []
    for side, suffix in zip(sides, suffixes, strict=True):
        parts = [arrays[f"{key}_l0{suffix}"] for key in CellWeights._fields]
        reset_after = bool(side.config.get("reset_after", True))
        if not reset_after and len(parts[3]) == len(parts[0]):
            raise InputError(
                f"{side} has reset_after=False, whose candidate has one bias; bias_hh of "
                f"{len(parts[3])} numbers is that of reset_after=True"
            )
        prepared.append(_fitting(side, gate_layout.cell_weights(*parts, reset_after=reset_after)))
    for side, made in zip(sides, prepared, strict=True):
        side.layer.set_weights(made)


def _fitting(item: KerasLayer, weights: CellWeights) -> list[Array]:
    """What ``set_weights`` of the layer takes, if its shapes are those."""
    made = list(gate_layout.to_keras(weights))
    if not item.config.get("use_bias", True) and np.any(made.pop() != 0):
        raise InputError(f"{item} has use_bias=False, but the weights have biases; use True")
    want = [tuple(array.shape) for array in weights_of(item.layer)]
    if [array.shape for array in made] != want:
        raise InputError(
            f"{item} has weights of the shapes {want}, got {[array.shape for array in made]}; "
            "check units, inputs, the kind of layer and reset_after"
        )
    return made
