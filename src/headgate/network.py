"""Network: a NetworkSpec made live."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .checks import check_size
from .conventions import Conventions
from .data.inputs import by_input
from .data.samples import SampleTable, is_list_of_sequences
from .errors import InputError
from .exchange import Exchange
from .initial import initial_vector
from .kernels import Engine
from .learning import Learning
from .observe import Observable
from .rollout import roll_out
from .spec import NetworkSpec, Recurrent
from .states import State, flatten, from_named, named, unflatten
from .stream import Stream
from .tagging import Finish, Tagging
from .training.evaluation import BATCH, Evaluation, batch_of
from .training.history import History
from .training.losses import LOSSES_OF_TASKS, Loss
from .training.tables import checked_table
from .training.updates import Learner
from .weights import Weights

if TYPE_CHECKING:
    from .model_file import ModelFile
    from .summary import Summary

Float32 = npt.NDArray[np.float32]


class Network(Weights, Observable, Tagging, Learning, Conventions, Exchange):
    """A recurrent network that the engine trains and runs.

    ``Network(input_size=1, hidden_size=16, ...)`` is ``Network(NetworkSpec.stacked(...))``.
    Parameters start as PyTorch's do: U(-1/sqrt(H), 1/sqrt(H)) in recurrent layers (the gains of
    their normalisation at 1), U(-1/sqrt(I), 1/sqrt(I)) in dense ones and attention, N(0, 1) in
    embeddings, whose padding row is zero.

    Args:
        spec: what the network is made of; None to describe it by keywords.
        seed: of the initial weights, the shuffling and the dropout; None draws one.
        **stacked: keywords of :meth:`NetworkSpec.stacked`.

    Attributes:
        spec: the NetworkSpec.
        seed: the seed in use.
        history: of the last fit, or None.
        state: what a stateful fit left, (L, N, H) float32, or None; (h, c) for an LSTM.
            ``predict`` starts from zeros unless it is passed, (2L, N, H) for a bidirectional stack.
            With several recurrent stacks, a dict by layer name.

    Raises:
        InputError: an option is out of range or unknown.
    """

    def __init__(
        self, spec: NetworkSpec | None = None, *, seed: int | None = None, **stacked: Any
    ) -> None:
        if spec is None:
            try:
                spec = NetworkSpec.stacked(**stacked)
            except TypeError as error:
                message = str(error).replace("NetworkSpec.stacked()", "Network()")
                raise InputError(f"{message}; see help(headgate.NetworkSpec.stacked)") from None
        elif stacked:
            raise InputError(f"pass a spec or keywords, not both; got a spec and {sorted(stacked)}")
        if not isinstance(spec, NetworkSpec):
            raise InputError(f"spec must be a NetworkSpec, got {type(spec).__name__}")
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.spec = spec
        self.seed = check_size("seed", seed, minimum=0, maximum=(1 << 63) - 1)
        self.history: History | None = None
        self._state: Float32 | None = None  # flat: per recurrent layer (N, H)
        self._learner: Learner | None = None  # partial_fit's, which keeps the optimiser's averages
        self._engine = Engine(spec)
        self._engine.set_vector(initial_vector(spec, self.seed))

    def __getstate__(self) -> dict[str, Any]:
        # for pickle, copy and joblib: the engine's part as one vector
        return {**self.__dict__, "_engine": self._engine.get_vector(), "_learner": None}

    def __setstate__(self, facts: dict[str, Any]) -> None:
        self.__dict__.update(facts)
        self._engine = Engine(self.spec)
        self._engine.set_vector(facts["_engine"])

    # -- state ------------------------------------------------------------------------------

    @property
    def state(self) -> State | None:
        """A copy of what a stateful fit left: (L, N, H), or None."""
        return None if self._state is None else self._unflatten(self._state)

    @state.setter
    def state(self, value: Any) -> None:
        self._state = None if value is None else self._flatten(value)

    def _stacks(self) -> list[Recurrent]:
        return self.spec.recurrent()

    def _unflatten(self, flat: Float32) -> State:
        return unflatten(flat, self._stacks())

    def _flatten(self, state: Any, rows: int | None = None) -> Float32:
        return flatten(state, self._stacks(), rows)

    # -- use --------------------------------------------------------------------------------

    def predict(
        self,
        X: Any,
        *,
        lengths: Any = None,
        state: Any = None,
        batch_size: int | None = None,
        return_state: bool = False,
    ) -> Any:
        """Predictions: (N, T, O) for ``readout="every"``, (N, O) for the others; float32.

        A list in gives a list out for ``"every"``; steps past a sample's length are zero. A
        sample's prediction is the same bits alone and in any batch. With ``task="tagging"`` they
        are the probabilities of the classes at each step, those of the other steps being open;
        :meth:`decode` gives the most probable classes.

        Args:
            X, lengths: as in :meth:`fit`.
            state: (L, N, H) to start from; zeros by default.
            batch_size: samples at once, 256 or as many as 256 MB hold; no influence on the result.
            return_state: also return the state after each sample's last step.
        """
        if batch_size is not None:
            check_size("batch_size", batch_size, maximum=1 << 31)
        if lengths is None and state is None and not return_state:
            out = self._predict_dense(X, batch_size)
            if out is not None:
                return out
        finish = self._marginals if self.spec.task == "tagging" else None
        return self._outputs(X, finish, lengths, state, batch_size, return_state)

    def _outputs(
        self,
        X: Any,
        finish: Finish | None,
        lengths: Any = None,
        state: Any = None,
        batch_size: int | None = None,
        return_state: bool = False,
    ) -> Any:
        """What the engine predicts, ``finish``ed sequence by sequence and in the shape of X."""
        table = checked_table(self.spec, X, None, lengths)
        samples = table.to_engine()  # checked before anything is sized by it
        batch_size = batch_size or batch_of(self._engine, int(np.max(table.lengths)))
        n = len(table)
        every, outputs = not self.spec.pooled, self.spec.output_size
        first: Any = (
            X if isinstance(X, SampleTable) else next(iter(by_input(X, self.spec).values()))
        )
        as_list = every and is_list_of_sequences(first)
        if as_list:
            ends = np.cumsum(table.lengths, dtype=np.int64)
            out_start, rows = ends - table.lengths, int(ends[-1])
        else:
            steps = 1
            if every:
                steps = int(
                    table.lengths.max() if isinstance(X, SampleTable) else np.shape(first)[1]
                )
            out_start, rows = np.arange(n, dtype=np.int64) * steps, n * steps
        out = np.zeros((rows, outputs), np.float32)
        state_in = None if state is None else self._flatten(state, n)
        state_out = None
        if return_state:
            if not self._stacks():
                raise InputError("this network has no recurrent layer, so it has no state")
            state_out = np.empty(int(self._engine.raw.state_size) * n, np.float32)
        self._engine.raw.predict(samples, batch_size, state_in, state_out, out_start, out)
        made = out if finish is None else finish(out, out_start, table.lengths)
        result: Any
        if not every:
            result = made
        elif as_list:
            result = np.split(made, out_start[1:])
        else:
            result = made.reshape(n, -1, *made.shape[1:])
        return (result, self._unflatten(state_out)) if state_out is not None else result

    def _predict_dense(self, X: Any, batch_size: int | None) -> Float32 | None:
        """Predictions for an array that is as the engine wants it, or None: microseconds count."""
        if not isinstance(X, np.ndarray) or isinstance(X, np.ma.MaskedArray):
            return None
        if X.dtype != np.float32 or X.ndim != 3 or not X.size:
            return None
        if not X.flags.c_contiguous or self._engine.dense_input != X.shape[2]:
            return None
        if batch_size is None:  # a look at one number where samples are as short as usual
            short = X.shape[1] <= self._engine.short
            batch_size = BATCH if short else batch_of(self._engine, X.shape[1])
        pooled = self._engine.pooled
        out = np.empty((len(X), 1 if pooled else X.shape[1], self._engine.output_size), np.float32)
        if not self._engine.raw.predict_dense(X, batch_size, out):
            return None  # something is not finite: the slower way says what
        return out[:, 0] if pooled else out

    def evaluate(
        self,
        X: Any,
        Y: Any = None,
        *,
        lengths: Any = None,
        loss: str | None = None,
        quantiles: Any = (),
        class_weights: Any = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        state: Any = None,
        batch_size: int | None = None,
    ) -> float:
        """Mean loss over all targets, without learning.

        ``loss`` (by default the task's) and its options are as in :meth:`fit`, the others as in
        :meth:`predict`.
        """
        measured = Loss(
            LOSSES_OF_TASKS[self.spec.task][0] if loss is None else loss,
            quantiles=quantiles,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )
        table = checked_table(self.spec, X, Y, lengths, measured)
        if batch_size is None and state is None:
            return Evaluation(self._engine, table, measured.engine_row()).loss()
        if batch_size is not None:
            check_size("batch_size", batch_size, maximum=1 << 31)
        state_in = None if state is None else self._flatten(state, len(table))
        samples = table.to_engine()
        batch_size = batch_size or batch_of(self._engine, int(np.max(table.lengths)))
        row = measured.engine_row()
        return float(self._engine.raw.evaluate(samples, batch_size, row, state_in))

    def rollout(self, x_first: Any, steps: int, *, state: Any = None) -> Float32:
        """Feed the network its own predictions: (steps, O) float32.

        Args:
            x_first: what comes first: a value, (I,), or (T, I) steps to run through.
            steps: how many predictions; the first is the one for ``x_first``.
            state: (L, 1, H) to start from; by default the state that a stateful fit left, or
                zeros. ``net.state`` is not changed.

        Raises:
            InputError: the outputs cannot be inputs, or the state holds several rows.
        """
        return roll_out(self.spec, self._engine, x_first, steps, state, self._state)

    def stream(self) -> Stream:
        """A live :class:`Stream` over one sequence, which begins with a state of zeros.

        Raises:
            InputError: the network cannot run step by step: it is bidirectional, or its read-out
                needs the whole sequence (mean, max, attention).
        """
        return Stream(self.spec, self._engine)

    def summary(self) -> Summary:
        """Layers, shapes and parameters; ``print(net.summary())``."""
        from .summary import summarize  # imported where used: it costs `import headgate` nothing

        return summarize(self.spec)

    def __repr__(self) -> str:
        layers = " -> ".join(f"{layer.kind} {layer.name}" for layer in self.spec.layers)
        tokens = len(self.spec.token_inputs)
        inputs = [f"{self.spec.input_size} inputs"] if self.spec.input_size else []
        inputs += [f"{tokens} of tokens"] if tokens else []
        return f"Network({' and '.join(inputs)} -> {layers} -> {self.spec.output_size})"

    # -- files ------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Float32]:
        """Parameters and, after a stateful fit, ``state.<layer>``: what a model file holds."""
        tensors = self.state_dict()
        if self._state is not None:
            state = self._unflatten(self._state)
            parts = named(state, self._stacks())
            tensors.update({f"state.{name}": array for name, array in parts.items()})
        return tensors

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.safetensors`` file: weights, state, spec and history; see ``hg.load``."""
        from .model_file import save_model

        save_model(path, self.spec, self.tensors(), extra={"network": self.facts()})

    def facts(self) -> dict[str, Any]:
        """What a model file says of a network beside its spec and tensors."""
        history = None if self.history is None else self.history.to_dict()
        return {"seed": self.seed, "history": history}

    @classmethod
    def from_file(cls, file: ModelFile) -> Network:
        """The network in a model file."""
        facts = file.extra.get("network", {})
        net = cls(file.spec, seed=facts.get("seed", 0))
        net.load_state_dict({name: file.tensors[name] for name in net._engine.shapes})
        state = {
            name.removeprefix("state."): array
            for name, array in file.tensors.items()
            if name.startswith("state.")
        }
        if state:
            net.state = from_named(state, net._stacks())
        if facts.get("history"):
            net.history = History.from_dict(facts["history"])
        return net
