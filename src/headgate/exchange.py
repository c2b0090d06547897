"""Networks that come from elsewhere or go there, as methods of the network.

What they do is in ``interop``, which is above, so each is imported where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from .extras import require
from .spec import NetworkSpec

T = TypeVar("T")


class Exchange:
    """The part of :class:`headgate.Network` that other libraries have to do with."""

    def to_torch(self: Any) -> Any:
        """A PyTorch module that computes the same, with copies of the weights.

        Called, it gives the outputs of the last layer, before a softmax or a sigmoid, as PyTorch's
        losses want them; its ``predict`` gives what this network's gives. Parameters have the same
        names, so that ``state_dict`` goes both ways. It comes in evaluation mode; ``train()``
        turns on dropout. Its recurrent layers are ``headgate.torch``'s. What runs without
        headgate is its ``state_dict``.

        Raises:
            MissingExtraError: PyTorch is not installed.
        """
        require("torch", "torch", "Network.to_torch")
        from .interop.torch.networks import to_torch

        return to_torch(self)

    @classmethod
    def from_torch(
        cls: type[T],
        module: Any,
        *,
        spec: NetworkSpec | None = None,
        task: str | None = None,
        seed: int | None = None,
    ) -> T:
        """The network that a PyTorch module is, with copies of its weights.

        The module may be what :meth:`to_torch` made, ``nn.GRU``, ``nn.LSTM`` or ``nn.RNN``, or any
        module with an embedding, recurrent layers and linear ones in a row, whatever its
        ``forward`` is written like. It is run on random numbers; what happens between its layers
        (the last step, a mean, a ReLU, a softmax, ...) is found in what they read and put out,
        and the network must then give the same numbers as the module.

        Layers keep the module's names. Weights of float64 are rounded to float32, biases that
        are not there become zeros, which learn. Of frozen weights only an embedding's stay so.
        A log-softmax becomes a classifier, whose ``predict`` gives the probabilities.

        Args:
            module: is run several times in evaluation mode and without gradients, and left as it
                was; it must take batches (N, T, I) or (N, T), or with T first.
            spec: what the network is, where it cannot be found: weights are taken by name, or in
                the order of the layers, and nothing is run.
            task: "classification" or "binary", for a module that puts out scores without a
                softmax or sigmoid. By default what the module's end says, else "regression".
            seed: as of the constructor.

        Raises:
            InputError: the module has a part without a counterpart, or computes something that
                no network here does; the message says where.
            MissingExtraError: PyTorch is not installed.
        """
        require("torch", "torch", "Network.from_torch")
        from .interop.torch.importing import from_torch

        return cast("T", from_torch(module, spec, task, seed))

    @classmethod
    def from_safetensors(
        cls: type[T],
        path: str | os.PathLike[str],
        *,
        spec: NetworkSpec | None = None,
        order: Sequence[str] | None = None,
        readout: str | None = None,
        activation: str | None = None,
        nonlinearity: str | None = None,
        task: str = "regression",
        seed: int | None = None,
    ) -> T:
        """The network whose weights are in a ``.safetensors`` file that headgate did not write.

        Such as ``safetensors.torch.save_file(module.state_dict(), path)``, or an ``nn.GRU``'s
        alone. Names and shapes say what layers there are: an embedding, recurrent layers (GRU,
        LSTM, RNN by their rows; depth, directions, placement of the reset gate) and linear ones,
        in a row. What computes without weights does not stand in the file, so it must be said.
        :meth:`from_torch` finds it out where the module is at hand; ``hg.load`` reads headgate's
        own files.

        float64, float16 and bfloat16 become float32. Biases that are not there become zeros. A
        linear layer with a bias alone reads the embedding's table (tied weights).

        Args:
            path: the file.
            spec: what the network is, with the file's names; then nothing else is needed.
            order: the layers' names in their order, where their sizes fit in several.
            readout: behind the recurrent layers: "every", "last", "mean" or "max". Of both
                directions, "last" is PyTorch's ``h_n``, not ``outputs[:, -1]``. Without linear
                layers it may be left out: "every".
            activation: of all linear layers but the last: "linear", "relu" or "tanh".
            nonlinearity: of an RNN, "tanh" or "relu".
            task: "regression", "classification" or "binary".
            seed: as of the constructor.

        Raises:
            ModelFileError: the file is missing, truncated or broken, or holds other numbers.
            InputError: names or shapes are no such network's, or an option is missing.
        """
        from .interop.tensor_files import Untold, from_safetensors

        told = Untold(order, readout, activation, nonlinearity)
        return cast("T", from_safetensors(path, spec, told, task, seed))

    @classmethod
    def from_rtneural(cls: type[T], path: str | os.PathLike[str]) -> T:
        """The network in an RTNeural JSON file: gru, lstm and dense layers, an output each step.

        A sigmoid behind the last layer becomes ``task="binary"``, a softmax "classification".

        Raises:
            ModelFileError: it is no such file, or has layers or activations without a counterpart.
        """
        from .interop.rtneural import read

        return cast("T", read(path))

    def to_rtneural(self: Any, path: str | os.PathLike[str]) -> None:
        """Write the network as JSON for RTNeural: its GRUs and LSTMs and the dense layers behind.

        RTNeural runs step by step, so what reads the last step is the output after it.

        Raises:
            InputError: the network has something that RTNeural lacks; it is named.
            ModelFileError: the file cannot be written. What was there before is unchanged.
        """
        from .interop.rtneural import write

        write(path, self)
