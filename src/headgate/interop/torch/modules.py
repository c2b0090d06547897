"""``headgate.torch.GRU`` and ``LSTM``: PyTorch's modules on headgate's kernels.

An ordinary call goes to the engine (``autograd``); every other one to ``paths``, which
runs PyTorch's own implementation or raises what PyTorch would raise.

Shape letters: N batch, T time, I inputs, H hidden units, L layers, D directions, G gates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...checks import check_rate
from ...errors import InputError
from . import autograd, calls, paths

# What a plan of the engine's layers follows from.
OPTIONS = frozenset(
    (
        *("input_size", "hidden_size", "num_layers", "bias", "bidirectional", "dropout"),
        *("proj_size", "reset_after", "recurrent_dropout", "layer_norm"),
    )
)


class Recurrent(nn.RNNBase):
    """What both modules add to PyTorch's: headgate's options, and the way to the engine."""

    # For modules that were pickled as, or made from, PyTorch's own.
    recurrent_dropout: float = 0.0
    layer_norm: bool = False
    reset_after: bool = True
    cell: str

    def _add_options(self, reset_after: bool, recurrent_dropout: float, layer_norm: bool) -> None:
        """Take headgate's options, and give the parameters the shapes that follow from them."""
        self.reset_after = bool(reset_after)
        self.recurrent_dropout = check_rate("recurrent_dropout", recurrent_dropout)
        self.layer_norm = bool(layer_norm)
        if reset_after and not layer_norm:
            return
        if self.proj_size:
            raise InputError("layer_norm and proj_size cannot be combined; leave out one of them")
        self._flat_weights_names = []
        for names in self._all_weights:
            suffix = names[0].removeprefix("weight_ih")
            weight = getattr(self, names[0])
            if not reset_after and self.bias:
                bias = getattr(self, "bias_hh" + suffix)
                kept = bias.detach()[: 2 * self.hidden_size].clone()
                setattr(self, "bias_hh" + suffix, nn.Parameter(kept))
            if layer_norm:
                for name in ("norm_ih" + suffix, "norm_hh" + suffix):
                    setattr(self, name, nn.Parameter(torch.ones_like(weight[:, 0])))
                    names.append(name)
            self._flat_weights_names.extend(names)
        self._init_flat_weights()

    def reset_parameters(self) -> None:
        """Draw all parameters as PyTorch does; gains of the layer normalisation are 1."""
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            if name.startswith("norm_"):
                nn.init.ones_(parameter)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OPTIONS:
            self.__dict__.pop("_plan", None)
        super().__setattr__(name, value)

    def train(self, mode: bool = True) -> Any:
        """PyTorch's; a module in evaluation gives back the memory in which it was trained."""
        if not mode:
            calls.release(self)
        return super().train(mode)

    def flatten_parameters(self) -> None:
        """For cuDNN, as PyTorch does; it has none of headgate's options."""
        if paths.is_plain(self):
            super().flatten_parameters()

    def __prepare_scriptable__(self) -> Any:
        return paths.scriptable(self)

    def extra_repr(self) -> str:
        """PyTorch's, and headgate's options where they differ from their defaults."""
        text = str(super().extra_repr())
        for name in ("reset_after", "recurrent_dropout", "layer_norm"):
            value = getattr(self, name)
            if value != getattr(Recurrent, name):
                text += f", {name}={value}"
        return text

    def forward(self, input: Any, hx: Any = None) -> Any:
        """PyTorch's forward: (output, h_n), or for an LSTM (output, (h_n, c_n))."""
        result = autograd.run(self, input, hx)
        return paths.other(self, input, hx) if result is None else result


class GRU(Recurrent, nn.GRU):
    """``torch.nn.GRU`` on headgate's kernels: same constructor, ``state_dict``, shapes, results.

    CPU float32 runs on the engine, forward and backward; whatever the engine does not cover runs
    on PyTorch's own implementation, and a warning says so once.

    Args:
        *args: as ``torch.nn.GRU``.
        reset_after: True as in PyTorch: n = tanh(W_n x + b_in + r * (U_n h + b_hn)). False as in
            Cho et al. 2014: n = tanh(W_n x + b_n + U_n (r * h)); ``bias_hh_l0`` is then (2H,).
        recurrent_dropout: of h where the gates' products read it; one mask a sequence (Gal and
            Ghahramani 2016), in training only.
        layer_norm: normalise each gate's products W x and U h; parameters ``norm_ih_l0`` and
            ``norm_hh_l0`` (3H,) are the gains (Ba, Kiros and Hinton 2016).
        **kwargs: as ``torch.nn.GRU``.

    Raises:
        InputError: an option of headgate's is out of range. Everything else as PyTorch.
    """

    def __init__(
        self,
        *args: Any,
        reset_after: bool = True,
        recurrent_dropout: float = 0.0,
        layer_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._add_options(reset_after, recurrent_dropout, layer_norm)


class LSTM(Recurrent, nn.LSTM):
    """``torch.nn.LSTM`` on headgate's kernels: same constructor, ``state_dict``, shapes, results.

    ``recurrent_dropout`` and ``layer_norm`` as in ``GRU``. With ``proj_size`` it runs on PyTorch's
    own implementation.
    """

    def __init__(
        self,
        *args: Any,
        recurrent_dropout: float = 0.0,
        layer_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._add_options(True, recurrent_dropout, layer_norm)
