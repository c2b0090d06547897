"""Network: a NetworkSpec made live."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .checks import check_size, shown
from .data.chains import check_transitions
from .data.inputs import by_input
from .data.samples import SampleTable, is_list_of_sequences
from .errors import InputError
from .initial import initial_vector
from .kernels import Engine
from .observe import Observable
from .rollout import roll_out
from .spec import NetworkSpec, Recurrent
from .states import State, flatten, from_named, named, refuse_backward, unflatten
from .stream import Stream
from .tagging import Finish, Tagging
from .training.callbacks import Callback
from .training.callbacks import early_stopping as stop_early
from .training.evaluation import BATCH, Evaluation, batch_of
from .training.history import History
from .training.loop import run_epochs
from .training.losses import LOSSES_OF_TASKS, Loss
from .training.options import FitOptions
from .training.sources import Chunks, Source, Table, is_chunks
from .training.tables import checked_table
from .weights import Weights

if TYPE_CHECKING:
    from .model_file import ModelFile
    from .summary import Summary

Float32 = npt.NDArray[np.float32]


class Network(Weights, Observable, Tagging):
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
        self._engine = Engine(spec)
        self._engine.set_vector(initial_vector(spec, self.seed))

    def __getstate__(self) -> dict[str, Any]:
        # for pickle, copy and joblib: the engine's part as one vector
        return {**self.__dict__, "_engine": self._engine.get_vector()}

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

    # -- training ---------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        Y: Any = None,
        *,
        lengths: Any = None,
        validation_data: Any = None,
        early_stopping: int | None = None,
        callbacks: Sequence[Callback] = (),
        state: Any = None,
        progress: bool | str = "auto",
        **options: Any,
    ) -> History:
        """Train on ``X`` and ``Y``; returns the history, which is also ``net.history``.

        Args:
            X: (N, T, I), or (N, T) for one feature, or a list of (T_i, I), or a SampleTable; or
                chunks of all these (below). For a
                network that reads tokens, integers (N, T) or a list of (T_i,), with a last axis
                where they have several columns; a dict of these by input name ({"x": ...,
                "tokens": ...}) for one with several inputs.
            Y: (N, T, O) for ``readout="every"``, (N, O) or (N,) for the others; for
                ``task="classification"`` class numbers (N, T) or (N,), lists of arrays as X.
            lengths: (N,) valid steps of each sample of a dense X.
            validation_data: (X, Y) or a SampleTable; its loss is measured after every epoch.
            early_stopping: patience in epochs; the best weights are restored.
            callbacks: called with a CallbackEnv after every epoch.
            state: to begin a stateful fit with, (L, batch_size, H); zeros by default.
            progress: True, False, "auto" (a bar after a second, where somebody watches), or
                "epochs" (a line on stderr for each epoch too).
            **options: epochs=10, batch_size=32, shuffle=True, stateful=False,
                optimizer="adam" | "adamw" | "sgd" | "rmsprop", learning_rate=1e-3,
                loss (below), weight_decay=0.0 (on weights, not on biases), momentum=0.0 (sgd),
                clip_norm=None, clip_value=None, schedule="constant" (below),
                warmup_epochs=0.0.

        **Losses**, each a mean over all targets of an update:

        - ``task="regression"``: "mse" (the default), "mae", "huber" (delta 1), and "quantile", the
          mean over targets y and ``quantiles=(0.1, 0.5, 0.9)`` of ``max(q * (y - f), (q - 1) *
          (y - f))``. The network puts out as many values for each target as there are quantiles,
          side by side: output ``h * len(quantiles) + i`` is quantile i of target h.
        - ``task="classification"``: "cross_entropy", the softmax over all outputs against class
          numbers from 0. ``class_weights`` has a weight for each class; a target of class y counts
          with weight w_y in the mean. Targets equal to ``ignore_index`` (any integer) count for
          nothing. ``label_smoothing`` s gives the target 1 - s and shares s among all classes. As
          ``torch.nn.functional.cross_entropy``.
        - ``task="tagging"``: "crf", -log p of each sequence's classes, summed over the sequences
          and divided by the number of steps. Targets are class numbers as above; steps without
          one are left out with ``lengths``.
        - ``task="binary"``: "binary_cross_entropy" of each output's sigmoid against targets in
          [0, 1]. ``class_weights`` has a weight of the positive targets for each output (PyTorch's
          ``pos_weight``); ``label_smoothing`` s pulls targets to ``y * (1 - s) + s / 2``.

        **Schedules** of the learning rate. Update u, from 0, of U in ``epochs`` epochs has, times
        ``learning_rate``:

        - "constant": 1.
        - "cosine": ``(1 + cos(pi * u / U)) / 2`` (Loshchilov and Hutter, 2017, no restarts).
        - "step": ``step_factor=0.1`` to the power of how often ``step_epochs`` have passed.
        - "one_cycle": half a cosine from 1/25 up to 1 over the first 0.3 U updates, and half a
          cosine down to 1/250,000 over the rest: PyTorch's OneCycleLR, momentum left as it is.
        - "plateau": ``plateau_factor=0.1`` to the power of how often the loss (of the validation
          data where there are some) went more than ``plateau_patience=10`` epochs without falling
          by 1e-4 of itself: PyTorch's ReduceLROnPlateau.

        ``schedule_epochs`` lets U be that of more epochs than are trained (cosine, one_cycle). With
        ``warmup_epochs`` (a fraction will do) the rate first climbs in a straight line from zero to
        where the schedule begins, which then has the updates that are left. AdamW's weight decay
        follows the rate, as it does in PyTorch.

        With ``stateful=True`` row i of a batch continues row i of the batch before, and the first
        batch of an epoch continues the last of the epoch before; gradients stop at batch borders
        (truncated back-propagation through time). Every fit begins its shuffling and its dropout
        from the network's seed anew; for other orders call it once with more epochs.

        **Long sequences.** With ``bptt_steps=100`` every sequence is cut into pieces of that many
        steps, and each piece of a batch is an update: the state goes on from piece to piece,
        gradients stop at the cuts, and every sequence begins with zeros. Memory grows with the
        piece, not with the sequence. It needs ``readout="every"``. Dropout masks that last for a
        sequence last for a piece.

        **Data larger than memory.** float32 arrays that are memory-mapped (``numpy.memmap``,
        ``numpy.load(..., mmap_mode="r")``) are read where they lie; other types are converted,
        which makes a copy. Or ``fit(chunks)``, where chunks is a function that returns a fresh
        iterator of ``(X, Y)`` or ``(X, Y, lengths)``, or something to be iterated over in every
        epoch: samples are shuffled within a chunk, a batch ends with it, and two chunks are in
        memory at most beside what the iterator holds. Validation data are arrays, run whole.

        Raises:
            InputError: data or options do not fit; nothing is changed (by a chunk that does not fit
                after the first epoch: the weights are those after the last whole update).
            DivergenceError: the loss left the sensible; the weights are those with which the
                last epoch that began well began.
            KeyboardInterrupt: Ctrl-C; the weights are those after the last whole update (with
                early stopping: the best).
        """
        try:
            settings = FitOptions(**{"loss": self._default_loss(), **options})
        except TypeError:
            known = list(FitOptions.__dataclass_fields__)
            unknown = sorted(set(options) - set(known))
            raise InputError(f"fit has no option {unknown}; it has {known}") from None
        loss = settings.loss_options()
        source: Source
        started = None
        if Y is not None and (callable(X) or isinstance(X, Iterator)):
            raise InputError("with chunks, targets are part of each: (X, Y); leave Y out")
        if Y is None and is_chunks(X):
            # A later chunk may be refused when earlier ones have been learned.
            started = self._engine.get_vector()
            source, samples = self._chunks(X, lengths, settings, loss), 0
        else:
            table = checked_table(self.spec, X, Y, lengths, loss)
            if settings.bptt_steps is not None:
                self._check_truncation()
            source, samples = Table(table, settings), len(table)
            self._check_tags(table)
        validation = self._validation_table(validation_data, loss)
        used: list[Any] = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        for callback in used:
            if not callable(callback):
                raise InputError(
                    f"callbacks must be callables that take a CallbackEnv, got {callback!r}"
                )
        if early_stopping is not None:
            used.append(stop_early(early_stopping))
        carried = self._carried_state(settings, samples, state)
        history = History()  # not self.history: a callback or another thread may fit meanwhile
        before, self.history = self.history, history
        try:
            run_epochs(
                self._engine,
                source,
                settings,
                network=self,
                seed=self.seed,
                state=carried,
                validation=validation,
                callbacks=used,
                progress=progress,
                history=history,
                publish_state=self._publish,
            )
        except InputError:  # refused before or between epochs: a fit that did nothing is no fit
            if not history.losses:
                self.history = before
                if started is not None:
                    self._engine.set_vector(started)
            raise
        self.history = history
        return history

    def _check_tags(self, table: SampleTable) -> None:
        if self.spec.task == "tagging":
            check_transitions(table, *self.crf_weights())

    def _default_loss(self) -> str:
        return LOSSES_OF_TASKS[self.spec.task][0]

    def _validation_table(self, data: Any, loss: Loss) -> SampleTable | None:
        if data is None:
            return None
        if isinstance(data, SampleTable):
            return checked_table(self.spec, data, None, None, loss)
        if isinstance(data, (tuple, list)) and len(data) == 2:
            return checked_table(self.spec, data[0], data[1], None, loss)
        raise InputError("validation_data must be (X, Y) or a SampleTable")

    def _publish(self, state: Float32 | None) -> None:
        if state is not None:
            self._state = state.copy()

    def _carried_state(self, settings: FitOptions, samples: int, state: Any) -> Float32 | None:
        if not settings.stateful:
            if state is not None:
                raise InputError("state goes with stateful=True; without it batches start at zero")
            return None
        if not self._stacks():
            if state is not None:
                raise InputError("this network has no recurrent layer, so it takes no state")
            return None
        refuse_backward(self._stacks(), "a stateful fit carries states")
        self._check_whole_sequences("stateful=True")
        if samples % settings.batch_size:
            raise InputError(
                f"a stateful fit needs whole batches: {samples} samples do not divide by "
                f"batch_size={settings.batch_size}"
            )
        if state is not None:
            return self._flatten(state, settings.batch_size)
        return np.zeros(int(self._engine.raw.state_size) * settings.batch_size, np.float32)

    def _chunks(self, X: Any, lengths: Any, settings: FitOptions, loss: Loss) -> Chunks:
        """The source for chunks (X, Y) or (X, Y, lengths) that are read one by one."""
        if lengths is not None:
            raise InputError("with chunks, lengths are part of each: (X, Y, lengths)")
        if settings.stateful:
            raise InputError(
                "stateful=True needs all samples at once; with chunks use bptt_steps, which begins "
                "every sequence with a state of zeros"
            )
        if settings.learning_rates().by_update:
            what = "warmup_epochs" if settings.warmup_epochs else f"schedule={settings.schedule!r}"
            raise InputError(
                f"{what} must know how many updates an epoch has, and chunks do not say; use "
                "'constant', 'step' or 'plateau' without warm-up"
            )
        if settings.bptt_steps is not None:
            self._check_truncation()

        def table_of_chunk(chunk: Any) -> SampleTable:
            if not isinstance(chunk, (tuple, list)) or len(chunk) not in (2, 3):
                raise InputError(f"expected (X, Y) or (X, Y, lengths), got {shown(chunk)}")
            lengths = chunk[2] if len(chunk) == 3 else None
            return checked_table(self.spec, chunk[0], chunk[1], lengths, loss)

        return Chunks(X, settings, table_of_chunk)

    def _check_truncation(self) -> None:
        """Raise InputError unless sequences can be cut and continued."""
        if not self._stacks():
            raise InputError("bptt_steps needs a recurrent layer, and this network has none")
        self._check_whole_sequences("bptt_steps")
        refuse_backward(self._stacks(), "bptt_steps carries states")
        if self.spec.pooled:
            raise InputError(
                f"bptt_steps needs a target at every step, but readout={self.spec.readout!r} has "
                "one for a whole sequence; use readout='every', or shorter sequences"
            )

    def _check_whole_sequences(self, option: str) -> None:
        if self.spec.task == "tagging":
            raise InputError(
                f"{option} learns from pieces of sequences, but a CRF scores whole ones; leave it "
                "out, or cut the sequences into shorter ones"
            )

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
            self._default_loss() if loss is None else loss,
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
