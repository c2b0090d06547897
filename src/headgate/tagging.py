"""What a network with a CRF does beside ``predict``: the best classes, and their scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .data.chains import FORBIDDEN, checked_weights
from .errors import InputError
from .kernels import Engine, crf_marginals, crf_paths
from .spec import NetworkSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
# Of flat outputs (rows, C), and where each sequence begins in them and how long it is.
Finish = Callable[[Float32, Int64, Int64], npt.NDArray[Any]]


class Tagging:
    """The part of :class:`headgate.Network` that gives every step a class."""

    spec: NetworkSpec
    _engine: Engine

    def _outputs(
        self,
        X: Any,
        finish: Finish | None,
        lengths: Any = None,
        state: Any = None,
        batch_size: int | None = None,
        return_state: bool = False,
    ) -> Any:
        raise NotImplementedError

    def decode(self, X: Any, *, lengths: Any = None) -> Any:
        """The most probable sequence of classes of each sample, exactly (Viterbi 1967).

        A list in gives a list of (T_i,) out, anything else (N, T); int64, zero past a length. It
        is not what the largest of ``predict`` at each step would be: those are the classes that are
        most probable one by one, and together they may break what :meth:`forbid_transitions` says.

        Args:
            X, lengths: as in :meth:`fit`.

        Raises:
            InputError: the network has no CRF (it was not built with ``task="tagging"``).
        """
        weights = checked_weights(*self.crf_weights(), classes=self.spec.output_size)

        def best(scores: Float32, starts: Int64, sizes: Int64) -> Int64:
            return crf_paths(scores.astype(np.float64), starts, sizes, weights)

        return self._outputs(X, best, lengths=lengths)

    def emissions(self, X: Any, *, lengths: Any = None) -> Any:
        """The scores of the classes at every step as the CRF gets them, shaped as ``predict``'s.

        With averages of several networks' emissions and :meth:`crf_weights`,
        :func:`headgate.viterbi` decodes what they say together.
        """
        self.crf_weights()
        return self._outputs(X, None, lengths=lengths)

    def crf_weights(self) -> tuple[Float32, Float32, Float32]:
        """Copies of the CRF's scores: transitions (C, C) from a class (row) to a class, start (C,)
        and end (C,)."""
        last = self.spec.layers[-1]
        if last.kind != "crf":
            raise InputError(
                f"this network has no CRF, its last layer is {last.name!r} ({last.kind}); build "
                "it with task='tagging'"
            )
        tensors = self._engine.split(self._engine.get_vector())
        return (
            tensors[f"{last.name}.transitions"],
            tensors[f"{last.name}.start"],
            tensors[f"{last.name}.end"],
        )

    def forbid_transitions(
        self, transitions: Any = None, start: Any = None, end: Any = None
    ) -> None:
        """Rule out classes behind others, in training and in what is predicted.

        The CRF's scores of what is forbidden become -1e4 and stay there: its probability is zero in
        float32, and so is its gradient. To allow it again, load other scores with
        ``load_state_dict``.

        Args:
            transitions: (C, C) booleans, True where the class of the row must not be followed by
                that of the column.
            start, end: (C,) booleans, True for classes that begin, or end, no sequence.
        """
        last = self.spec.layers[-1]
        weights = self.crf_weights()
        vector = self._engine.get_vector()
        tensors = self._engine.split(vector)
        given = {"transitions": transitions, "start": start, "end": end}
        for (name, mask), weight in zip(given.items(), weights, strict=True):
            if mask is None:
                continue
            array = np.asarray(mask)
            if array.dtype != np.bool_ or array.shape != weight.shape:
                raise InputError(
                    f"{name} must be {weight.shape} booleans, True where forbidden, got "
                    f"{array.dtype} {array.shape}"
                )
            tensors[f"{last.name}.{name}"][array] = FORBIDDEN
        self._engine.set_vector(vector)

    def _marginals(self, scores: Float32, starts: Int64, sizes: Int64) -> Float32:
        crf_marginals(scores, starts, sizes, self.crf_weights())
        return scores
