"""The kinds of models that are compared: only what stands between input and head differs."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..builders import Chain, read_in
from ..data.samples import SampleTable
from ..errors import InputError
from ..network import Network
from ..spec import Dense, Last, LayerSpec, Mean, NetworkSpec
from ..training.history import History
from .job import EMBEDDING, Job

RECURRENT: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "gru_reset_before": {"cell": "gru", "reset_after": False},
    "lstm": {"cell": "lstm"},
    "rnn": {"cell": "rnn"},
}
MODELS = (*RECURRENT, "mlp", "transformer")
NO_TORCH = 'PyTorch is not installed (pip install "headgate[torch]")'
MOST_ATTENDED = 1024  # steps; the Transformer's work grows with their square
_BLOCKS, _STEPS = 40, 25  # of live steps, timed together


class Model(Protocol):
    """What a job trains and measures.

    Attributes:
        parameters: how many there are; ``recurrent`` of them in recurrent layers.
    """

    parameters: int
    recurrent: int

    def fit(self) -> History: ...
    def predict(self, table: SampleTable) -> npt.NDArray[np.float32]: ...
    def evaluate(self, table: SampleTable) -> float: ...
    def step_seconds(self) -> float | None: ...


def reason_against(kind: str, job: Job) -> str | None:
    """Why a kind of model cannot do a job; None where it can."""
    remembers = kind != "mlp"
    if kind == "transformer":
        if importlib.util.find_spec("torch") is None:
            return NO_TORCH
        if job.stateful:
            return "the job carries a state from run to run, and a Transformer has none"
        if job.longest > MOST_ATTENDED:
            return f"samples have {job.longest} steps, and it attends to {MOST_ATTENDED} at most"
    if remembers and job.longest < 2:
        return "every sample is too short, one step, so there is nothing to remember"
    return None


def make_model(kind: str, job: Job, hidden: int, seed: int) -> Model:
    """A model that begins with what ``seed`` draws."""
    if kind == "transformer":
        from .transformer import Transformer

        return Transformer(job, hidden, seed)
    return NetworkModel(kind, job, hidden, seed)


def network_spec(kind: str, job: Job, hidden: int) -> NetworkSpec:
    """The network of a kind, ``hidden`` units wide."""
    if kind == "mlp":
        return _perceptron(job, hidden)
    return NetworkSpec.stacked(
        job.values,
        hidden,
        job.outputs,
        **RECURRENT[kind],
        readout="every" if job.every else "last",
        vocabulary=job.vocabulary,
        embedding_size=None if job.vocabulary is None else EMBEDDING,
        task=job.kind,
    )


def _perceptron(job: Job, hidden: int) -> NetworkSpec:
    """Two dense layers on every step, or on a whole window; no memory."""
    values = job.values if job.values is None else job.values * (job.window or 1)
    size = None if job.vocabulary is None else EMBEDDING
    inputs, layers = read_in(
        values, job.vocabulary, size, 1, padding_index=None, trainable=True, initial_scale=1.0
    )
    chain = Chain(layers[-1].name if layers else inputs[-1].name)
    chain.append(Dense, "dense0", size=2 * hidden, activation="relu")
    chain.append(Dense, "dense1", size=hidden, activation="relu")
    if not job.every:
        pool: type[LayerSpec] = Mean if job.pooled else Last
        chain.append(pool, pool.kind)
    chain.append(Dense, "head", size=job.outputs)
    return NetworkSpec(tuple(inputs), (*layers, *chain.layers), task=job.kind)


@dataclass
class NetworkModel:
    """A headgate network as a :class:`Model`."""

    kind: str
    job: Job
    hidden: int
    seed: int

    def __post_init__(self) -> None:
        spec = network_spec(self.kind, self.job, self.hidden)
        self.net = Network(spec, seed=self.seed)
        if self.job.task == "sine":
            self._begin_as_pytorch()
        self.parameters = spec.parameter_count()
        stacks = {layer.name for layer in spec.recurrent()}
        shapes = spec.parameter_shapes()
        self.recurrent = sum(
            int(np.prod(shape)) for name, shape in shapes.items() if name.split(".")[0] in stacks
        )

    def fit(self) -> History:
        """Train; the weights are those of the best epoch on the validation part."""
        job, options = self.job, self.job.options()
        if job.validation is not None:
            options["early_stopping"] = options["epochs"]  # never stops, but goes back to the best
            options["validation_data"] = self._as_read(job.validation)
        return self.net.fit(self._as_read(job.train), progress=False, **options)

    def predict(self, table: SampleTable) -> npt.NDArray[np.float32]:
        """As :meth:`headgate.Network.predict`."""
        found: npt.NDArray[np.float32] = self.net.predict(self._as_read(table))
        return found

    def evaluate(self, table: SampleTable) -> float:
        """As :meth:`headgate.Network.evaluate`."""
        loss = self.job.fit.get("loss")
        return self.net.evaluate(self._as_read(table), loss=loss)

    def rollout(self, first: Any, steps: int) -> npt.NDArray[np.float32]:
        """As :meth:`headgate.Network.rollout`."""
        return self.net.rollout(first, steps)

    def gradient_norms(self, table: SampleTable) -> npt.NDArray[np.float64] | None:
        """(N, T) norms of dLoss/dh_t; None for a network without a state."""
        if not self.recurrent:
            return None
        norms: npt.NDArray[np.float64] = self.net.gradient_norms(table)
        return norms

    def step_seconds(self) -> float | None:
        """The median time of one live step from Python; None where there is none.

        Steps are timed 25 at a time, since a look at the clock takes a part of one.
        """
        try:
            stream = self.net.stream()
        except InputError:
            return None
        steps = self._live_inputs(self._as_read(self.job.train))
        times = []
        for _ in range(_BLOCKS):
            begin = time.perf_counter()
            for x in steps:
                stream.step(x)
            times.append((time.perf_counter() - begin) / len(steps))
        return float(np.median(times))

    def _live_inputs(self, table: SampleTable) -> list[Any]:
        """25 steps as one passes them to a stream."""
        if table.tokens is not None:
            return [int(token) for token in np.resize(table.tokens[:, 0], _STEPS)]
        width = self.net.spec.input_size
        if width == 1:
            return [float(value) for value in np.resize(table.x[:, 0], _STEPS)]
        flat = np.resize(table.x.reshape(-1), _STEPS * width)
        return list(flat.reshape(_STEPS, width))

    def _as_read(self, table: SampleTable) -> SampleTable:
        """A window is one step for a network without memory: its values side by side."""
        if self.kind != "mlp" or self.job.window is None:
            return table
        return replace(
            table, segment=self.job.window, lengths=np.ones(len(table), np.int64), y_steps="last"
        )

    def _begin_as_pytorch(self) -> None:
        """Begin with PyTorch's numbers, as the tutorial does: its MLP is made behind the GRU."""
        skip = network_spec("gru", self.job, self.hidden).parameter_count()
        try:
            self.net.reset_parameters(
                self.seed, like="torch", skip=skip if self.kind == "mlp" else 0
            )
        except InputError:  # a cell that PyTorch has not
            return
