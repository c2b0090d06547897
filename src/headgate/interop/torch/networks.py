"""A whole network as a PyTorch module: ``Network.to_torch``.

The module computes what the engine computes, layer by layer from the same NetworkSpec, and
autograd goes through all of it. Its parameters have headgate's names, so that a ``state_dict`` of
either side is one of the other's. :mod:`~headgate.interop.layers` has what torch.nn lacks.

Shape letters: N samples, T steps, I inputs, O outputs, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ...checks import shown
from ...data.chains import viterbi
from ...errors import InputError
from ...network import Network
from ...spec import (
    CRF,
    Add,
    Attention,
    Concat,
    Dense,
    Dropout,
    Embedding,
    InputSpec,
    Last,
    LayerSpec,
    Max,
    Mean,
    NetworkSpec,
    Recurrent,
)
from . import layers

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class TorchNetwork(nn.Module):
    """A headgate network in PyTorch; ``net.to_torch()`` makes one.

    Called, it gives the outputs of the last layer, as PyTorch's losses want them: scores before a
    softmax or a sigmoid. :meth:`predict` gives what ``Network.predict`` gives. Layers are its
    children by their names. Like ``Network.predict`` it leaves alone what ``spec.scaling`` says.

    Attributes:
        spec: the NetworkSpec.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        for layer in spec.layers:
            module = _module(layer, spec.reads(layer), spec)
            if module is not None:
                # not add_module, which refuses what nn.Module has itself, such as "type"
                self._modules[layer.name] = module

    def forward(
        self,
        x: Any,
        *,
        lengths: Any = None,
        state: Any = None,
        return_state: bool = False,
    ) -> Any:
        """Outputs (N, T, O), zero past a length, or (N, O) behind a read-out; before the task's
        output function.

        Args:
            x: (N, T, I) values, (N, T) or (N, T, K) integers of tokens; a dict of these by input
                for a network of several.
            lengths: (N,) integers in 1..T; None: all are T. What stands behind is not read.
            state: to start from, as PyTorch's: (L, N, H), both ways (2L, N, H), a pair (h, c) of an
                LSTM; a dict by layer for several stacks. None is zeros.
            return_state: also return the state after each sample's last step, likewise.

        Raises:
            InputError: inputs, shapes, lengths or names do not fit.
        """
        values = self._inputs(x)
        first = next(iter(values.values()))
        steps = _steps(lengths, first.shape[0], first.shape[1], first.device)
        if steps.valid is not None:
            values = {name: _kept(value, steps.valid) for name, value in values.items()}
        states, after = self._states(state), {}
        for layer in self.spec.layers:
            read = [values[name] for name in layer.inputs]
            if isinstance(layer, Recurrent):
                made = self._recur(layer, read[0], steps, states.get(layer.name))
                values[layer.name], after[layer.name] = made
            else:
                values[layer.name] = self._row_wise(layer, read, steps)
        outputs = values[self.spec.layers[-1].name]
        if steps.valid is not None and not self.spec.pooled:
            outputs = _kept(outputs, steps.valid)
        if not return_state:
            return outputs
        if not after:
            raise InputError("this network has no recurrent layer, so it has no state")
        return outputs, after if len(after) > 1 else next(iter(after.values()))

    def predict(
        self, x: Any, *, lengths: Any = None, state: Any = None, return_state: bool = False
    ) -> Any:
        """What ``Network.predict`` gives: without dropout and gradients, behind the task's output
        function (softmax, sigmoid, or a CRF's probabilities). Arguments as of the call itself."""
        with evaluating(self):
            made = self(x, lengths=lengths, state=state, return_state=return_state)
            scores, after = made if return_state else (made, None)
            steps = _steps(lengths, *_leading(x), scores.device)
            if self.spec.task == "tagging":
                scores = self._crf().marginals(scores, steps.valid)
            elif self.spec.task == "classification":
                scores = scores.softmax(-1)
            elif self.spec.task == "binary":
                scores = scores.sigmoid()
            if steps.valid is not None and not self.spec.pooled:
                scores = _kept(scores, steps.valid)
        return (scores, after) if return_state else scores

    def decode(self, x: Any, *, lengths: Any = None) -> Tensor:
        """The most probable sequence of classes of each sample, (N, T) int64, by a CRF."""
        weights = [part.detach().cpu().numpy() for part in self._crf().parameters()]
        with evaluating(self):
            scores = self(x, lengths=lengths).cpu().numpy()
        sizes = None if lengths is None else torch.as_tensor(lengths).cpu().numpy()
        return torch.from_numpy(viterbi(scores, *weights, lengths=sizes))

    def crf_loss(self, scores: Tensor, classes: Tensor, *, lengths: Any = None) -> Tensor:
        """The loss of ``task="tagging"``: -log p of ``classes`` (N, T), summed over sequences and
        divided by the number of their steps, for the ``scores`` that a call has given."""
        steps = _steps(lengths, scores.shape[0], scores.shape[1], scores.device)
        loss: Tensor = self._crf().loss(scores, classes, steps.valid)
        return loss

    def extra_repr(self) -> str:
        return f"task={self.spec.task!r}, readout={self.spec.readout!r}"

    def _crf(self) -> layers.CRF:
        last = self.spec.layers[-1]
        if not isinstance(last, CRF):
            raise InputError(f"this network has no CRF, its last layer is {last.name!r}")
        module: layers.CRF = self._modules[last.name]
        return module

    # -- what comes in ---------------------------------------------------------------------------

    def _inputs(self, x: Any) -> dict[str, Tensor]:
        names = [item.name for item in self.spec.inputs]
        given = x if isinstance(x, Mapping) else {names[0]: x}
        if set(given) != set(names):
            raise InputError(
                f"this network has the inputs {names}; pass a dict of tensors by these names"
            )
        first = given[names[0]]
        for item in self.spec.inputs:
            value, shape = given[item.name], _shape(item)
            if not isinstance(value, Tensor) or value.ndim != len(shape):
                raise InputError(f"{item.name} must be a tensor {_told(shape)}, got {_came(value)}")
            fits = value.shape[:2] == first.shape[:2] and value.shape[2:] == shape[2:]
            if not fits or 0 in value.shape[:2]:
                raise InputError(
                    f"{item.name} must have the shape {_told(shape)} with at least one sample and "
                    f"one step, N and T as the other inputs, got {tuple(value.shape)}"
                )
        return {name: given[name] for name in names}

    def _states(self, state: Any) -> dict[str, Any]:
        names = [layer.name for layer in self.spec.recurrent()]
        if state is None:
            return {}
        if not names:
            raise InputError("this network has no recurrent layer, so it takes no state")
        states = dict(state) if isinstance(state, Mapping) else {names[0]: state}
        if set(states) != set(names):
            raise InputError(f"state must be a dict of states by the names {names}")
        return states

    # -- layers ----------------------------------------------------------------------------------

    def _recur(self, layer: Recurrent, x: Tensor, steps: Steps, state: Any) -> tuple[Tensor, Any]:
        if self.training and layer.input_dropout:
            x = layers.drop_sequences(x, layer.input_dropout)
        module = self._modules[layer.name]
        if steps.lengths is None:
            made: tuple[Tensor, Any] = module(x, state)
            return made
        packed = pack_padded_sequence(x, steps.lengths, batch_first=True, enforce_sorted=False)
        outputs, after = module(packed, state)
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        return padded, after

    def _row_wise(self, layer: LayerSpec, read: list[Tensor], steps: Steps) -> Tensor:
        """Every layer that carries nothing from step to step."""
        x = read[0]
        if isinstance(layer, Concat):
            return torch.cat(read, -1)
        if isinstance(layer, Add):
            return sum(read[1:], x)
        if isinstance(layer, Mean):
            if steps.valid is None:
                return x.mean(1)
            return _kept(x, steps.valid).sum(1) / steps.valid.sum(1, keepdim=True)
        if isinstance(layer, Max):
            return (x if steps.valid is None else _kept(x, steps.valid, -torch.inf)).max(1).values
        split = self.spec.ports[layer.inputs[0]].split
        if isinstance(layer, Last):
            return layers.last(x, steps.ends, split)
        module: Any = self._modules[layer.name]
        made: Tensor
        if isinstance(layer, Attention):
            made = module(x, steps.valid, steps.ends, split)
        elif isinstance(layer, Embedding) and x.ndim == 3:
            made = module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        elif isinstance(layer, Dense):
            table = self._modules[layer.tied] if layer.tied else None
            made = module(x) if table is None else module(x, table.weight, table.padding_idx)
            made = ACTIVATIONS[layer.activation](made)
        else:
            made = module(x)
        return made


def to_torch(net: Network) -> TorchNetwork:
    """The module of a network, with copies of its weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights
        module = TorchNetwork(net.spec)
    tensors = {name: torch.from_numpy(array) for name, array in net.state_dict().items()}
    module.load_state_dict(tensors)
    module.eval()
    return module


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode and without gradients; every part is put back as it was."""
    flags = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in flags:
            part.training = False
        with torch.no_grad():
            yield
    finally:
        for part, flag in flags:
            part.training = flag


# -- steps ---------------------------------------------------------------------------------------


class Steps(NamedTuple):
    """Which steps there are: ``lengths`` (N,) on the CPU, ``valid`` (N, T) and the last ones,
    ``ends`` (N,); all None where all sequences fill T steps."""

    lengths: Tensor | None
    valid: Tensor | None
    ends: Tensor | None


def _steps(lengths: Any, n: int, t: int, device: Any) -> Steps:
    if lengths is None:
        return Steps(None, None, None)
    try:
        sizes = torch.as_tensor(lengths).cpu()
    except (TypeError, ValueError, RuntimeError):  # text, None, a dict, ...
        sizes = torch.zeros(())
    if sizes.shape != (n,) or sizes.dtype not in INTEGERS:
        raise InputError(f"lengths must be {n} integers, one for each sample, got {shown(lengths)}")
    if sizes.min() < 1 or sizes.max() > t:
        raise InputError(f"lengths must be in 1..{t}, got {int(sizes.min())}..{int(sizes.max())}")
    sizes = sizes.long()
    there = sizes.to(device)
    valid = torch.arange(t, device=device) < there[:, None]
    return Steps(sizes, valid, there - 1)


def _kept(x: Tensor, valid: Tensor, otherwise: float = 0) -> Tensor:
    """``x`` (N, T) or (N, T, F) at valid steps."""
    return x.masked_fill(~valid.view(*valid.shape, *[1] * (x.ndim - 2)), otherwise)


def _leading(x: Any) -> tuple[int, int]:
    first = next(iter(x.values())) if isinstance(x, Mapping) else x
    return first.shape[0], first.shape[1]


def _shape(item: InputSpec) -> tuple[Any, ...]:
    one = item.kind == "tokens" and item.size == 1
    return ("N", "T") if one else ("N", "T", item.size)


def _told(shape: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _came(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


# -- modules of layers ---------------------------------------------------------------------------


def _module(layer: LayerSpec, reads: int, spec: NetworkSpec) -> nn.Module | None:
    """The module that holds a layer's parameters, or None where it has none and no randomness."""
    if isinstance(layer, Recurrent):
        return layers.recurrent(layer, reads)
    if isinstance(layer, Embedding):
        return _embedding(layer, spec)
    if isinstance(layer, Dense):
        if layer.tied:
            return layers.TiedLinear(layer.size)
        return nn.Linear(reads, layer.size)
    if isinstance(layer, Dropout):
        if layer.per_sequence:
            return layers.SequenceDropout(layer.rate)
        return nn.Dropout(layer.rate)
    if isinstance(layer, Attention):
        return layers.Attention(layer, reads)
    if isinstance(layer, CRF):
        return layers.CRF(reads)
    return None


def _embedding(layer: Embedding, spec: NetworkSpec) -> nn.Module:
    size = next(item.size for item in spec.inputs if item.name == layer.inputs[0])
    made: nn.Module
    if size == 1:
        made = nn.Embedding(layer.vocabulary, layer.size, padding_idx=layer.padding_index)
    else:  # the sum of a step's rows, without the padding row
        made = nn.EmbeddingBag(
            layer.vocabulary, layer.size, mode="sum", padding_idx=layer.padding_index
        )
    made.weight.requires_grad_(layer.trainable)
    return made
