"""How a network learns: ``fit``, and ``partial_fit`` for what comes live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import check_flags, check_size, shown
from .data.chains import check_transitions
from .data.samples import SampleTable
from .errors import DivergenceError, InputError
from .kernels import Engine
from .spec import NetworkSpec
from .states import flatten, refuse_backward
from .training.callbacks import Callback
from .training.callbacks import early_stopping as stop_early
from .training.history import History
from .training.loop import run_epochs
from .training.losses import LOSSES_OF_TASKS, Loss
from .training.options import FitOptions
from .training.sources import Chunks, Source, Table, is_chunks
from .training.tables import checked_table
from .training.updates import Learner, learner_for

Float32 = npt.NDArray[np.float32]


class Learning:
    """The part of :class:`headgate.Network` that trains."""

    spec: NetworkSpec
    seed: int
    history: History | None
    _engine: Engine
    _state: Float32 | None
    _learner: Learner | None

    def crf_weights(self) -> tuple[Float32, Float32, Float32]:
        raise NotImplementedError

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
        self._learner = None
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

    def partial_fit(
        self,
        X: Any,
        Y: Any = None,
        *,
        lengths: Any = None,
        state: Any = None,
        stateful: bool = False,
        updates: int = 1,
        **options: Any,
    ) -> float:
        """One update, or a few, from where the network is; returns the loss before them.

        For learning live: of a short window it takes tens of microseconds, and what it keeps does
        not grow. The optimiser goes on from call to call with its averages; it begins anew after
        ``fit``, after other weights were loaded, in a copy, and with other options than the call
        before (the learning rate may change). ``net.history`` stays as it is.

        Args:
            X, Y, lengths: as in :meth:`fit`; all samples together make one update.
            state: to begin with, (L, N, H); zeros by default.
            stateful: begin with ``net.state``, what the call before left (zeros at first), and
                leave there what the samples end with.
            updates: how often to learn from these samples.
            **options: optimizer, learning_rate, weight_decay, momentum, clip_norm, clip_value, loss
                and its options, as in :meth:`fit`.

        Returns:
            The mean loss, measured before each update: what a live score is made of.

        Raises:
            InputError: data or options do not fit; nothing is changed.
            DivergenceError: the loss left the sensible; the weights and the state are those before
                the call, and the optimiser begins anew.
        """
        check_flags(stateful=stateful)
        if check_size("updates", updates, maximum=1 << 31) > 1 and stateful:
            raise InputError(
                "stateful=True goes on from samples to samples, so it learns once from each; leave "
                "updates at 1"
            )
        learner: Learner | None
        learner = learner_for(options, self._learner, self._engine, self.spec, self.seed)
        self._learner = None  # another thread would make its own
        try:
            samples = learner.samples(X, Y, lengths)
            self._check_tags(samples.table)
            start = self._start_of_update(len(samples.table), state, stateful)
            loss, end = learner.learn(samples, start, updates)
        except DivergenceError:
            learner = None
            raise
        finally:
            self._learner = learner
        if stateful:
            self._state = end
        return loss

    def _start_of_update(self, rows: int, state: Any, stateful: bool) -> Float32 | None:
        """The flat state that ``partial_fit`` begins with, or None for zeros that nobody keeps."""
        if state is None and not stateful:
            return None
        stacks = self.spec.recurrent()
        if not stacks:
            raise InputError("this network has no recurrent layer, so it takes no state")
        refuse_backward(stacks, "partial_fit with a state carries it")
        self._check_whole_sequences("a state")
        if state is not None:
            return flatten(state, stacks, rows)
        size = int(self._engine.raw.state_size) * rows
        if self._state is None:
            return np.zeros(size, np.float32)
        if self._state.size != size:
            raise InputError(
                f"net.state has {self._state.size // (size // rows)} rows, but X has {rows} "
                "samples; pass as many, or begin anew with net.state = None"
            )
        return self._state

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
        if not self.spec.recurrent():
            if state is not None:
                raise InputError("this network has no recurrent layer, so it takes no state")
            return None
        refuse_backward(self.spec.recurrent(), "a stateful fit carries states")
        self._check_whole_sequences("stateful=True")
        if samples % settings.batch_size:
            raise InputError(
                f"a stateful fit needs whole batches: {samples} samples do not divide by "
                f"batch_size={settings.batch_size}"
            )
        if state is not None:
            return flatten(state, self.spec.recurrent(), settings.batch_size)
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
        if not self.spec.recurrent():
            raise InputError("bptt_steps needs a recurrent layer, and this network has none")
        self._check_whole_sequences("bptt_steps")
        refuse_backward(self.spec.recurrent(), "bptt_steps carries states")
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
