"""What a network does at every step: gates, attention weights, and the gradients behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from .checks import check_size, shown
from .data.inputs import by_input
from .data.samples import SampleTable, is_list_of_sequences
from .errors import InputError
from .kernels import Engine
from .spec import NetworkSpec, Recurrent
from .states import flatten
from .training.losses import LOSSES_OF_TASKS, Loss
from .training.tables import checked_table

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
T = TypeVar("T")

BATCH = 256
# What the engine shows of a cell, in its order; it has a number for dLoss/dh too, and counts the
# reverse direction from 16 on.
QUANTITIES = {
    "gru": ("reset", "update", "candidate", "state"),
    "lstm": ("input", "forget", "candidate", "output", "cell", "state"),
    "rnn": ("state",),
}
_HIDDEN_GRADIENT, _REVERSE = 15, 16


class Gates(Mapping[str, Float32]):
    """What one recurrent layer did at every step: arrays (N, T, H) float32 by name.

    ``gates["update"]`` and ``gates.update`` are the same, but for the names that every mapping
    has (keys, values, items, get). Steps past a sample's length are zero.

    Attributes:
        reset, update, candidate, state: of a GRU. Where ``update`` is 1, the old state is kept:
            ``state = (1 - update) * candidate + update * before``.
        input, forget, candidate, output, cell, state: of an LSTM.
        state: of an RNN.
        layer: the layer's name, such as ``gru_l0`` or ``gru_l0_reverse``.
        lengths: (N,) int64, the steps that each sample has.
    """

    def __init__(self, layer: str, arrays: Mapping[str, Float32], lengths: npt.NDArray[np.int64]):
        vars(self).update(arrays, layer=layer, lengths=lengths, _names=tuple(arrays))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Gates cannot be changed; copy gates[{name!r}]")

    def __getattr__(self, name: str) -> Float32:  # asked only for what is not there
        if name in ("layer", "_names"):  # while a copy is being made
            raise AttributeError(name)
        raise AttributeError(f"layer {self.layer!r} has no {name!r}; it has {list(self._names)}")

    def __getitem__(self, name: str) -> Float32:
        if name not in self._names:
            raise KeyError(f"layer {self.layer!r} has no {name!r}; it has {list(self._names)}")
        array: Float32 = vars(self)[name]
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Gates({self.layer}: {', '.join(self)}; {self['state'].shape})"


class Observable:
    """The part of :class:`headgate.Network` that shows what happens inside."""

    spec: NetworkSpec
    _engine: Engine

    def gates(
        self, X: Any, *, lengths: Any = None, state: Any = None, layer: str | None = None
    ) -> Any:
        """What every recurrent layer does at every step, as :class:`Gates`.

        Args:
            X, lengths, state: as in :meth:`predict`.
            layer: the one to look at, such as ``"gru_l1"`` or ``"gru_l0_reverse"``.

        Returns:
            Gates of the only layer or of the one asked for; with several layers or directions a
            dict of them by name. Arrays are (N, T, H), zero past a sample's length, and in the
            order of time for the reverse direction too.
        """
        table = checked_table(self.spec, X, None, lengths)
        chosen = _chosen(self._directions(), layer, "recurrent layer")
        n, steps = len(table), _steps(X, table, self.spec)
        result, looks = {}, []
        for name, (row, stack, first) in chosen.items():
            kind = QUANTITIES[stack.kind]
            arrays = {key: np.zeros((n, steps, stack.hidden_size), np.float32) for key in kind}
            looks += [(row, first + which, arrays[key]) for which, key in enumerate(kind)]
            result[name] = Gates(name, arrays, table.lengths)
        self._observe(table, steps, looks, state)
        return _only(result)

    def attention(
        self, X: Any, *, lengths: Any = None, state: Any = None, layer: str | None = None
    ) -> Any:
        """The weights (N, T) float32 with which the attention read-out sees the steps.

        They add up to 1 over the steps of a sample and are zero past its length. With several
        attention layers a dict by name, or those of ``layer``.

        Raises:
            InputError: the network has no attention read-out.
        """
        rows = {
            row["name"]: index
            for index, row in enumerate(self._engine.rows)
            if row["kind"] == "attention"
        }
        if not rows:
            raise InputError(
                f"this network has no attention read-out (its read-out is {self.spec.readout!r}); "
                "build it with readout='attention'"
            )
        table = checked_table(self.spec, X, None, lengths)
        chosen = _chosen(rows, layer, "attention layer")
        steps = _steps(X, table, self.spec)
        result = {name: np.zeros((len(table), steps), np.float32) for name in chosen}
        looks = [(row, 0, result[name][:, :, None]) for name, row in chosen.items()]
        self._observe(table, steps, looks, state)
        return _only(result)

    def gradient_norms(
        self,
        X: Any,
        Y: Any = None,
        *,
        lengths: Any = None,
        state: Any = None,
        layer: str | None = None,
        loss: str | None = None,
        quantiles: Any = (),
        class_weights: Any = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
    ) -> Any:
        """How much every step's state matters: the norm of dLoss/dh_t for every sample and step.

        It is the whole derivative: what the loss owes to h_t, through the outputs at t and through
        every later step. Loss is the mean over the sample's own targets, so that no sample's
        figures depend on the others. Nothing is dropped, and nothing learns.

        Args:
            X, Y, lengths: as in :meth:`fit`; ``state`` as in :meth:`predict`.
            layer: the one to look at, as in :meth:`gates`.
            loss: the task's by default; it and its options are as in :meth:`fit`.

        Returns:
            (N, T) float64, zero past a sample's length; with several layers or directions a dict
            of these by name.
        """
        measured = Loss(
            LOSSES_OF_TASKS[self.spec.task][0] if loss is None else loss,
            quantiles=quantiles,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )
        table = checked_table(self.spec, X, Y, lengths, measured)
        chosen = _chosen(self._directions(), layer, "recurrent layer")
        n, steps = len(table), _steps(X, table, self.spec)
        start = None if state is None else flatten(state, self.spec.recurrent(), n).reshape(-1)
        result = {name: np.zeros((n, steps)) for name in chosen}
        for first in range(0, n, BATCH):  # the derivatives themselves are larger than the norms
            part = slice(first, min(first + BATCH, n))
            size = part.stop - part.start
            arrays = {
                name: np.zeros((size, steps, stack.hidden_size), np.float32)
                for name, (_, stack, _) in chosen.items()
            }
            looks = [
                (row, side + _HIDDEN_GRADIENT, arrays[name])
                for name, (row, _, side) in chosen.items()
            ]
            self._observe(
                table.take(part), steps, looks, self._rows_of_state(start, n, part), measured
            )
            for name, array in arrays.items():
                # squares of what has nearly vanished are not there in float32
                result[name][part] = np.linalg.norm(array.astype(np.float64), axis=2)
        return _only(result)

    def plot_gates(
        self,
        X: Any,
        *,
        lengths: Any = None,
        state: Any = None,
        layer: str | None = None,
        sample: int = 0,
        title: str = "",
    ) -> Any:
        """Draw :meth:`gates` of one sample as heat-maps over time; returns the matplotlib Figure.

        Args:
            X, lengths, state, layer: as in :meth:`gates`; with several layers, name one.
            sample: which one of X.
            title: above the picture; the layer's name by default.
        """
        from .gate_plots import gates_figure

        names = list(self._directions())
        if layer is None and len(names) > 1:
            raise InputError(f"a picture shows one layer; pass layer= one of {names}")
        gates = self.gates(X, lengths=lengths, state=state, layer=layer)
        place = check_size("sample", sample, minimum=0, maximum=len(gates.lengths) - 1)
        steps = int(gates.lengths[place])
        kind = self._directions()[gates.layer][1].kind
        arrays = {name: array[place, :steps] for name, array in gates.items()}
        return gates_figure(arrays, kind, gates.layer, title)

    def plot_attention(
        self,
        X: Any,
        *,
        lengths: Any = None,
        state: Any = None,
        layer: str | None = None,
        title: str = "",
    ) -> Any:
        """Draw :meth:`attention`: bars for one sample, a row for each of several.

        Returns the matplotlib Figure. Arguments are as in :meth:`attention`.
        """
        from .gate_plots import attention_figure

        weights = self.attention(X, lengths=lengths, state=state, layer=layer)
        if isinstance(weights, dict):
            raise InputError(f"a picture shows one layer; pass layer= one of {list(weights)}")
        return attention_figure(weights, checked_table(self.spec, X, None, lengths).lengths, title)

    def plot_gradient_norms(self, X: Any, Y: Any = None, *, title: str = "", **options: Any) -> Any:
        """Draw :meth:`gradient_norms` over time on a logarithmic axis: what vanishes, and what not.

        A line for each layer and direction, the geometric mean over the samples. Arguments are as
        in :meth:`gradient_norms`. Returns the matplotlib Figure.
        """
        from .gate_plots import gradients_figure

        norms = self.gradient_norms(X, Y, **options)
        if not isinstance(norms, dict):
            norms = {options.get("layer") or next(iter(self._directions())): norms}
        lengths = checked_table(self.spec, X, None, options.get("lengths")).lengths
        return gradients_figure({name: (each, lengths) for name, each in norms.items()}, title)

    def _directions(self) -> dict[str, tuple[int, Recurrent, int]]:
        """Row in the engine, stack and first number of what is shown, by layer and direction."""
        rows = (i for i, row in enumerate(self._engine.rows) if row["kind"] == "recurrent")
        found = {}
        for stack in self.spec.recurrent():
            for k in range(stack.num_layers):
                row = next(rows)
                for side in range(stack.directions):
                    name = f"{stack.name}_l{k}{'_reverse' if side else ''}"
                    found[name] = (row, stack, side * _REVERSE)
        if not found:
            raise InputError("this network has no recurrent layer, so it has no gates or states")
        return found

    def _rows_of_state(self, flat: Float32 | None, rows: int, part: slice) -> Float32 | None:
        """The flat state of some samples out of that of all: blocks of (rows, H)."""
        if flat is None:
            return None
        blocks, begin = [], 0
        for stack in self.spec.recurrent():
            for _ in range(stack.num_layers * stack.directions * len(stack.states)):
                end = begin + rows * stack.hidden_size
                blocks.append(flat[begin:end].reshape(rows, -1)[part].ravel())
                begin = end
        return np.concatenate(blocks)

    def _observe(
        self,
        table: SampleTable,
        steps: int,
        looks: list[tuple[int, int, Float32]],
        state: Any,
        loss: Loss | None = None,
    ) -> None:
        n = len(table)
        samples = table.to_engine()
        flat = state
        if state is not None and loss is None:
            flat = flatten(state, self.spec.recurrent(), n)
        self._engine.raw.observe(
            samples,
            BATCH,
            flat,
            None if loss is None else loss.engine_row(),
            np.arange(n, dtype=np.int64) * steps,
            [(row, which, out.reshape(n * steps, -1)) for row, which, out in looks],
        )


def _steps(X: Any, table: SampleTable, spec: NetworkSpec) -> int:
    """T of what comes out: that of a dense X, of the longest sample otherwise."""
    if not isinstance(X, SampleTable):
        first = next(iter(by_input(X, spec).values()))
        if not is_list_of_sequences(first):
            return int(np.shape(first)[1])
    return check_size("the longest sample", int(table.lengths.max()), minimum=1)


def _chosen(found: dict[str, T], layer: str | None, what: str) -> dict[str, T]:
    if layer is None:
        return found
    if not isinstance(layer, str) or layer not in found:
        raise InputError(f"there is no {what} {shown(layer)}; this network has {list(found)}")
    return {layer: found[layer]}


def _only(results: dict[str, Any]) -> Any:
    return results if len(results) > 1 else next(iter(results.values()))
