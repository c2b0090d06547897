"""headgate's networks as Keras models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from ... import gate_layout
from ...checks import as_number, shown
from ...errors import InputError
from ...gate_layout import CellWeights
from ...layer_specs import (
    GRU,
    LSTM,
    RNN,
    Add,
    Concat,
    Dense,
    Dropout,
    Embedding,
    InputSpec,
    Last,
    LayerSpec,
    Mean,
    Recurrent,
)
from ...layer_specs import Max as MaxPool
from ...network import Network
from ...spec import NetworkSpec
from .layers import Array

OUTPUTS = {"regression": "linear", "classification": "softmax", "binary": "sigmoid"}


class Call(NamedTuple):
    """A Keras layer, what it reads, what its output is called, and its weights."""

    layer: Any
    reads: tuple[str, ...]
    name: str
    weights: Sequence[Array] = ()


def to_keras(net: Network, *, padding: float | None = None) -> Any:
    """A Keras model that computes what a network does, to float32's rounding.

    Args:
        net: a network without what Keras lacks: attention, layer normalisation, a CRF, tied
            weights, several columns of tokens.
        padding: the value that fills values' steps behind a sequence's end, or 0 for tokens: the
            model then finds out where sequences end (``Masking``, ``mask_zero=True``), as
            ``lengths`` says it in headgate. None: all steps count.

    Returns:
        A ``keras.Sequential``, or a functional model where a network is no chain; built, with
        the network's weights, not compiled. It puts out what ``net.predict`` does, softmax or
        sigmoid included.

    Raises:
        InputError: a layer or an option has no exact counterpart, by name.
    """
    if not isinstance(net, Network):
        raise InputError(
            f"expected a headgate.Network, got {type(net).__name__}; of an estimator pass one of "
            "its networks"
        )
    writer = _Writer(net, padding)
    for layer in net.spec.layers:
        writer.write(layer)
    return writer.model()


class _Writer:
    """The Keras layers of a network, in order."""

    def __init__(self, net: Network, padding: float | None) -> None:
        self.spec: NetworkSpec = net.spec
        self.tensors = net.state_dict()
        self.calls: list[Call] = []
        self.names = {part.name for part in net.spec.inputs}
        self.names |= {part.name for part in net.spec.layers}
        self.ended = _ended(net.spec)
        self.alias: dict[str, str] = {}  # what stands for a layer that became none of its own
        self.padding = padding
        self.masked_tokens = False
        if self.spec.task not in OUTPUTS:
            raise InputError(
                f"task={self.spec.task!r} has no counterpart in Keras, nor has its CRF layer; "
                "export a network that ends before it"
            )
        if padding is not None:
            self._mask(padding)

    def _mask(self, padding: float) -> None:
        tokens = bool(self.spec.token_inputs)
        if np.isnan(as_number(padding)) or (tokens and padding != 0):
            raise InputError(
                f"padding must be {'0, the token that Keras masks' if tokens else 'a number'}, got "
                f"{shown(padding)}"
            )
        if len(self.spec.inputs) > 1:
            raise InputError(
                "padding goes with one input: Keras gives up a mask where masked and other inputs "
                "are joined; pass padding=None"
            )
        self.masked_tokens = tokens
        if not tokens:
            name = self.spec.inputs[0].name
            made = keras.layers.Masking(float(padding), name=self.new_name("masking"))
            self.calls.append(Call(made, (name,), f"{name}.masked"))
            self.alias[name] = f"{name}.masked"

    def new_name(self, wanted: str) -> str:
        """A name for a Keras layer that no layer of the network has."""
        while wanted in self.names:
            wanted += "_"
        self.names.add(wanted)
        return wanted

    def write(self, layer: LayerSpec) -> None:
        reads = tuple(self.alias.get(name, name) for name in layer.inputs)
        if isinstance(layer, Recurrent):
            self._stack(layer, reads)
        elif isinstance(layer, Dense):
            self._dense(layer, reads)
        elif isinstance(layer, Embedding):
            self._embedding(layer, reads)
        elif isinstance(layer, Dropout):
            made = keras.layers.Dropout(layer.rate, name=layer.name)
            if layer.per_sequence and not self._is_vector(layer):
                made = keras.layers.SpatialDropout1D(layer.rate, name=layer.name)
            self.calls.append(Call(made, reads, layer.name))
        elif isinstance(layer, Last):
            self._last(layer, reads)
        elif isinstance(layer, MaxPool) and self.padding is not None:
            raise _refused(layer, "with padding", "Keras takes the largest value over padding too")
        else:
            self._plain(layer, reads)

    def _is_vector(self, layer: LayerSpec) -> bool:
        return bool(self.spec.ports[layer.name].pooled_by) or layer.name in self.ended

    def _plain(self, layer: LayerSpec, reads: tuple[str, ...]) -> None:
        kinds: dict[type[LayerSpec], Any] = {
            Mean: keras.layers.GlobalAveragePooling1D,
            MaxPool: keras.layers.GlobalMaxPooling1D,
            Add: keras.layers.Add,
            Concat: keras.layers.Concatenate,
        }
        if type(layer) not in kinds:
            raise _refused(layer, "", "leave it out, or export to ONNX")
        self.calls.append(Call(kinds[type(layer)](name=layer.name), reads, layer.name))

    def _last(self, layer: LayerSpec, reads: tuple[str, ...]) -> None:
        if layer.inputs[0] not in self.ended:
            raise _refused(
                layer,
                f"behind {layer.inputs[0]!r}",
                "there it reads a recurrent layer, without residual, that nothing else reads",
            )
        self.alias[layer.name] = reads[0]

    def _embedding(self, layer: Embedding, reads: tuple[str, ...]) -> None:
        if self.spec.reads(layer) > 1:
            raise _refused(layer, "of several columns of tokens", "use one column")
        made = keras.layers.Embedding(
            layer.vocabulary,
            layer.size,
            mask_zero=self.masked_tokens,
            trainable=layer.trainable,
            name=layer.name,
        )
        table = self.tensors[f"{layer.name}.weight"]
        self.calls.append(Call(made, reads, layer.name, [table]))

    def _dense(self, layer: Dense, reads: tuple[str, ...]) -> None:
        if layer.tied:
            raise _refused(layer, "tied to an embedding", "use tied=False")
        activation = layer.activation
        if layer is self.spec.layers[-1] and activation == "linear":
            activation = OUTPUTS[self.spec.task]
        made = keras.layers.Dense(layer.size, activation=activation, name=layer.name)
        kernel = np.ascontiguousarray(self.tensors[f"{layer.name}.weight"].T)
        bias = self.tensors[f"{layer.name}.bias"]
        self.calls.append(Call(made, reads, layer.name, [kernel, bias]))

    def _stack(self, stack: Recurrent, reads: tuple[str, ...]) -> None:
        """One Keras layer for each of the stack's, and what stands between them."""
        if stack.layer_norm:
            raise _refused(stack, "with layer_norm=True", "use layer_norm=False")
        (name,) = reads
        for k in range(stack.num_layers):
            last = k == stack.num_layers - 1
            out = stack.name if last and not (stack.residual and k) else f"{stack.name}.{k}"
            made, weights = self._layer(stack, k, every=not last or stack.name not in self.ended)
            self.calls.append(Call(made, (name,), out, weights))
            if stack.residual and k:
                total = stack.name if last else f"{out}.sum"
                made = keras.layers.Add(name=self.new_name(f"{stack.name}_add{k}"))
                self.calls.append(Call(made, (out, name), total))
                out = total
            if stack.dropout and not last:
                dropout = self.new_name(f"{stack.name}_dropout{k}")
                made = keras.layers.Dropout(stack.dropout, name=dropout)
                self.calls.append(Call(made, (out,), f"{out}.drop"))
                out = f"{out}.drop"
            name = out

    def _layer(self, stack: Recurrent, k: int, *, every: bool) -> tuple[Any, list[Array]]:
        """Layer k of a stack, and its weights."""
        name = stack.name if stack.num_layers == 1 else self.new_name(f"{stack.name}_l{k}")
        options: dict[str, Any] = {
            "dropout": 0.0 if k else stack.input_dropout,
            "recurrent_dropout": stack.recurrent_dropout,
            "return_sequences": every,
        }
        if isinstance(stack, GRU):
            options["reset_after"] = stack.reset_after
        if isinstance(stack, RNN):
            options["activation"] = stack.nonlinearity
        kinds = {GRU: keras.layers.GRU, LSTM: keras.layers.LSTM, RNN: keras.layers.SimpleRNN}
        made = kinds[type(stack)](stack.hidden_size, name=name, **options)
        weights: list[Array] = []
        for suffix in ("", "_reverse")[: stack.directions]:
            keys = (f"{stack.name}.{key}_l{k}{suffix}" for key in CellWeights._fields)
            weights += gate_layout.to_keras(CellWeights(*(self.tensors[key] for key in keys)))
        if stack.bidirectional:
            made = keras.layers.Bidirectional(made, name=name)
        return made, weights

    def model(self) -> Any:
        """The layers put together: a Sequential where each reads the one before."""
        last = self.spec.layers[-1]
        ending = OUTPUTS[self.spec.task]
        if ending != "linear" and not (isinstance(last, Dense) and last.activation == "linear"):
            name = self.alias.get(last.name, last.name)
            made = keras.layers.Activation(ending, name=self.new_name(ending))
            self.calls.append(Call(made, (name,), "output"))
        inputs = {item.name: _input(item) for item in self.spec.inputs}
        names = [self.spec.inputs[0].name, *(call.name for call in self.calls)]
        chain = all(
            call.reads == (before,) for call, before in zip(self.calls, names[:-1], strict=True)
        )
        if chain and len(inputs) == 1:
            model = keras.Sequential([*inputs.values(), *(call.layer for call in self.calls)])
        else:
            values = dict(inputs)
            for call in self.calls:
                read = [values[name] for name in call.reads]
                values[call.name] = call.layer(read if len(read) > 1 else read[0])
            # by name, as headgate's networks take several
            given = inputs if len(inputs) > 1 else next(iter(inputs.values()))
            model = keras.Model(given, values[self.calls[-1].name])
        for call in self.calls:
            if call.weights:
                call.layer.set_weights(list(call.weights))
        return model


def _input(item: InputSpec) -> Any:
    if item.kind == "tokens":
        return keras.Input((None,), dtype="int32", name=item.name)
    return keras.Input((None, item.size), name=item.name)


def _ended(spec: NetworkSpec) -> set[str]:
    """Recurrent stacks of which only the last step is read, and the dropout behind them."""
    layers = {layer.name: layer for layer in spec.layers}
    readers: dict[str, int] = {}
    for layer in spec.layers:
        for name in layer.inputs:
            readers[name] = readers.get(name, 0) + 1
    ended: set[str] = set()
    for layer in spec.layers:
        if not isinstance(layer, Last):
            continue
        passed = []
        source = layers.get(layer.inputs[0])
        while source is not None and readers[source.name] == 1:
            passed.append(source.name)
            if not isinstance(source, Dropout):
                break
            source = layers.get(source.inputs[0])
        if isinstance(source, Recurrent) and readers[source.name] == 1 and not source.residual:
            ended.update(passed)
    return ended


def _refused(layer: LayerSpec, what: str, instead: str) -> InputError:
    who = f"layer {layer.name!r} ({layer.kind})"
    return InputError(f"{who} {what} has no counterpart in Keras; {instead}".replace("  ", " "))
