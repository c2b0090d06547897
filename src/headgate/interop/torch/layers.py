"""The layers of a network that ``torch.nn`` does not have, as modules with headgate's names.

Shape letters: N samples, T steps, F features, H hidden units, L layers, D directions, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ... import layer_specs
from . import paths, reference
from .modules import GRU, LSTM

# -- recurrent stacks ----------------------------------------------------------------------------


def recurrent(layer: layer_specs.Recurrent, input_size: int) -> nn.Module:
    """The module of a stack: (N, T, I) or a PackedSequence and a state in, both out."""
    if layer.residual:
        return ResidualStack(layer, input_size)
    return _stack(layer, input_size, layer.num_layers, layer.dropout)


def _stack(layer: layer_specs.Recurrent, input_size: int, depth: int, dropout: float) -> nn.Module:
    cls: Any = {"gru": GRU, "lstm": LSTM, "rnn": RNN}[layer.kind]
    options: dict[str, Any] = {
        "batch_first": True,
        "dropout": dropout,
        "bidirectional": layer.bidirectional,
        "recurrent_dropout": layer.recurrent_dropout,
        "layer_norm": layer.layer_norm,
    }
    if isinstance(layer, layer_specs.GRU):
        options["reset_after"] = layer.reset_after
    if isinstance(layer, layer_specs.RNN):
        options["nonlinearity"] = layer.nonlinearity
    made: nn.Module = cls(input_size, layer.hidden_size, depth, **options)
    return made


class RNN(nn.RNN):
    """``nn.RNN`` with recurrent dropout and layer normalisation."""

    def __init__(
        self, *sizes: int, recurrent_dropout: float = 0.0, layer_norm: bool = False, **options: Any
    ) -> None:
        super().__init__(*sizes, **options)
        self.recurrent_dropout, self.layer_norm = recurrent_dropout, layer_norm
        if layer_norm:
            for name in [name for name, _ in self.named_parameters() if name.startswith("bias_")]:
                gain = nn.Parameter(torch.ones(self.hidden_size))
                self.register_parameter(name.replace("bias_", "norm_"), gain)

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        if not self.layer_norm and not (self.training and self.recurrent_dropout):
            return super().forward(input, hx)
        packed = input
        if not isinstance(input, PackedSequence):  # (N, T, I)
            full = torch.full((len(input),), input.shape[1])
            packed = pack_padded_sequence(input, full, batch_first=True)
        n = int(packed.batch_sizes[0])
        if hx is None:
            depth = self.num_layers * (2 if self.bidirectional else 1)
            hx = packed.data.new_zeros(depth, n, self.hidden_size)
        state = hx
        if packed.sorted_indices is not None:
            state = state.index_select(1, packed.sorted_indices)
        rows, (after,) = reference.run(
            f"rnn_{self.nonlinearity}",
            packed.data,
            packed.batch_sizes.tolist(),
            (state,),
            paths.layer_weights(self),
            bidirectional=self.bidirectional,
            masks=reference.draw_masks(self, packed.data, n) if self.training else None,
        )
        if packed.unsorted_indices is not None:
            after = after.index_select(1, packed.unsorted_indices)
        outputs = PackedSequence(rows, *packed[1:])
        if packed is input:
            return outputs, after
        return pad_packed_sequence(outputs, batch_first=True)[0], after


class ResidualStack(nn.Module):
    """Layers whose inputs are added to their outputs, from the second one on.

    Its parameters are named as those of one module of L layers. The modules of one layer that run
    them are no children of its own, since their names would get in between.
    """

    def __init__(self, layer: layer_specs.Recurrent, input_size: int) -> None:
        super().__init__()
        self.dropout, self.pair = layer.dropout, len(layer.states) > 1
        widths = [input_size] + [layer.output_size(input_size)] * (layer.num_layers - 1)
        self.directions = layer.directions
        self.singles = tuple(_stack(layer, width, 1, 0.0) for width in widths)
        for k, single in enumerate(self.singles):
            for name, parameter in single.named_parameters():
                self.register_parameter(_renamed(name, k), parameter)

    def forward(self, input: Any, hx: Any = None) -> Any:
        u, s, ends = input, input, []
        for k, single in enumerate(self.singles):
            self._lend(k, single)
            part = slice(k * self.directions, (k + 1) * self.directions)
            state = hx
            if hx is not None:
                state = tuple(h[part] for h in hx) if self.pair else hx[part]
            h, end = single(u, state)
            ends.append(end)
            s = _rows(torch.add, h, u) if k else h
            u = _rows(self._dropped, s)
        if self.pair:
            return s, tuple(torch.cat(parts) for parts in zip(*ends, strict=True))
        return s, torch.cat(ends)

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)

    def _lend(self, k: int, single: nn.Module) -> None:
        """This stack's parameters may have been replaced (``assign=True``), its mode changed."""
        single.training = self.training
        for name, parameter in list(single.named_parameters()):
            own = getattr(self, _renamed(name, k))
            if own is not parameter:
                setattr(single, name, own)

    def extra_repr(self) -> str:
        return f"{self.singles[0]}, num_layers={len(self.singles)}, residual=True"


def _renamed(name: str, layer: int) -> str:
    return name.replace("_l0", f"_l{layer}", 1)


def _rows(function: Any, first: Any, *others: Any) -> Any:
    """``function`` of tensors, or of the rows of PackedSequences that are laid out alike."""
    if not isinstance(first, PackedSequence):
        return function(first, *others)
    made = function(first.data, *[other.data for other in others])
    return PackedSequence(made, *first[1:])


# -- dropout, dense ------------------------------------------------------------------------------


def drop_sequences(x: Tensor, rate: float) -> Tensor:
    """Inverted dropout of (N, T, F) by one mask for all steps, or of (N, F)."""
    ones = torch.ones_like(x[:, :1] if x.ndim == 3 else x)
    return x * functional.dropout(ones, rate)


class SequenceDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.p = rate

    def forward(self, x: Tensor) -> Tensor:
        return drop_sequences(x, self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class TiedLinear(nn.Module):
    """``nn.Linear`` with an embedding's table as its weight; only the bias is its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, table: Tensor, padding: int | None) -> Tensor:
        if padding is not None:  # its row does not learn, from here neither
            row = torch.arange(len(table), device=table.device)[:, None] == padding
            table = torch.where(row, table.detach(), table)
        return functional.linear(x, table, self.bias)


# -- read-outs -----------------------------------------------------------------------------------


def last(x: Tensor, ends: Tensor | None, split: int) -> Tensor:
    """(N, F) of (N, T, F): at the last steps ``ends`` (None: T - 1); the features from ``split``
    on, a reverse direction's, at the first step."""
    at_end = x[:, -1] if ends is None else x[torch.arange(len(x), device=x.device), ends]
    return torch.cat([at_end[:, :split], x[:, 0, split:]], 1) if split < x.shape[2] else at_end


class Attention(nn.Module):
    """A weighted mean of the steps, see :class:`headgate.Attention`."""

    def __init__(self, layer: layer_specs.Attention, input_size: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(input_size)
        for name, shape in layer.parameter_shapes(input_size).items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))
        self.score = layer.score

    def forward(self, x: Tensor, valid: Tensor | None, ends: Tensor | None, split: int) -> Tensor:
        if valid is not None:
            x = x.masked_fill(~valid[:, :, None], 0)
        if self.score == "additive":
            scores = torch.tanh(functional.linear(x, self.weight, self.bias)) @ self.query
        else:
            query = functional.linear(last(x, ends, split), self.weight)
            scores = (x @ query[:, :, None])[:, :, 0] / math.sqrt(x.shape[2])
        if valid is not None:
            scores = scores.masked_fill(~valid, -torch.inf)
        return (scores.softmax(1)[:, None] @ x)[:, 0]

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, score={self.score!r}"


# -- conditional random field --------------------------------------------------------------------


class CRF(nn.Module):
    """The weights of a linear-chain conditional random field, see :class:`headgate.CRF`; scores
    (N, T, C) go through it as they are."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(classes, classes))
        self.start = nn.Parameter(torch.zeros(classes))
        self.end = nn.Parameter(torch.zeros(classes))

    def forward(self, scores: Tensor) -> Tensor:
        return scores

    def loss(self, scores: Tensor, classes: Tensor, valid: Tensor | None) -> Tensor:
        """-log p, summed over sequences, divided by the number of valid steps."""
        valid = torch.ones_like(scores[:, :, 0], dtype=torch.bool) if valid is None else valid
        y = classes.long().masked_fill(~valid, 0)
        emitted = scores.gather(2, y[:, :, None])[:, :, 0].masked_fill(~valid, 0).sum(1)
        moved = self.transitions[y[:, :-1], y[:, 1:]].masked_fill(~valid[:, 1:], 0).sum(1)
        final = y.gather(1, valid.sum(1, keepdim=True) - 1)[:, 0]
        score = self.start[y[:, 0]] + emitted + moved + self.end[final]
        log_sums = _log_sums(scores, (self.transitions, self.start, self.end), valid)
        return (log_sums - score).sum() / valid.sum()

    def marginals(self, scores: Tensor, valid: Tensor | None) -> Tensor:
        """p(y_t = j) (N, T, C): the derivative of the log of the sum over all sequences by the
        score of class j at step t. In float64, as sums of exponentials of long sequences want."""
        with torch.enable_grad():
            free = scores.detach().double().requires_grad_()
            weights = [part.detach().double() for part in (self.transitions, self.start, self.end)]
            total = _log_sums(free, weights, valid).sum()
            (made,) = torch.autograd.grad(total, free)
        return made.to(scores.dtype)


def _log_sums(scores: Tensor, weights: Sequence[Tensor], valid: Tensor | None) -> Tensor:
    """(N,): log of the sum of exp(score) over all sequences of classes."""
    transitions, start, end = weights
    alpha = start + scores[:, 0]
    for t in range(1, scores.shape[1]):
        after = scores[:, t] + torch.logsumexp(alpha[:, :, None] + transitions, 1)
        alpha = after if valid is None else torch.where(valid[:, t, None], after, alpha)
    return torch.logsumexp(alpha + end, 1)
