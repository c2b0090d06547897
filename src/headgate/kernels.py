"""The engine for Python: the only importer of ``_engine``.

Checks shapes and dtypes, and turns a NetworkSpec into the engine's layers. Everything above this
file speaks NumPy arrays and specs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _engine
from .errors import InputError
from .spec import Attention, Dense, Dropout, Embedding, Last, LayerSpec, NetworkSpec, Recurrent

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
LOSSES = ("mse", "mae", "huber", "quantile", "cross_entropy", "binary_cross_entropy", "crf")
# What makes predictions of a network's outputs, by its task. Tagging works on whole sequences.
OUTPUT_FUNCTIONS = {
    "regression": "none",
    "classification": "softmax",
    "binary": "sigmoid",
    "tagging": "none",
}

if _engine.isa_request_failed():
    raise InputError(
        f"HEADGATE_ISA={os.environ.get('HEADGATE_ISA')!r} cannot run here; this machine has "
        f"{', '.join(_engine.available_isas())}; unset HEADGATE_ISA or name one of them"
    )

_threads = os.environ.get("HEADGATE_NUM_THREADS", "").strip()
if _threads and not (_threads.isdecimal() and 1 <= int(_threads[:4]) <= 256):
    raise InputError(
        f"HEADGATE_NUM_THREADS={_threads!r} must be a number between 1 and 256; correct or unset it"
    )


def isa() -> str:
    """The instruction set in use: "generic", "avx2", "avx512" or "neon"."""
    return str(_engine.isa())


def available_isas() -> list[str]:
    """The instruction sets that this machine can run, widest first."""
    return list(_engine.available_isas())


def set_isa(name: str) -> None:
    """Use another instruction set from now on; the environment's HEADGATE_ISA does so at import.

    Raises:
        InputError: this machine cannot run it.
    """
    if not _engine.set_isa(name):
        raise InputError(
            f"instruction set {name!r} cannot run here; choose one of {available_isas()}"
        )


def set_num_threads(count: int) -> None:
    """Use at most ``count`` threads from now on. Results do not depend on it, to the bit.

    The default is HEADGATE_NUM_THREADS, or the cores that affinity and cgroup quota allow.
    """
    if isinstance(count, bool) or not hasattr(count, "__index__") or not 1 <= int(count) <= 256:
        raise InputError(f"the number of threads must be between 1 and 256, got {count!r}")
    _engine.set_num_threads(int(count))


def get_num_threads() -> int:
    """How many threads the engine uses at most."""
    return int(_engine.get_num_threads())


def activate(name: str, x: Float32) -> Float32:
    """The engine's own "sigmoid" or "tanh" of a one-dimensional float32 array."""
    size = -(-x.size // 16) * 16
    padded = np.zeros(size, np.float32)
    padded[: x.size] = x
    _engine.activate(name, padded)
    return padded[: x.size]


def lower(spec: NetworkSpec) -> list[dict[str, Any]]:
    """A spec as the engine's layer rows.

    A row is a dict: "kind", "name", "inputs" (rows that it reads, -1 for the input of values; none
    for an embedding, which reads "columns" columns of tokens from "token" on) and its kind's
    options. A stack becomes a row for each of its layers, and rows for what stands between them.
    """
    rows: list[dict[str, Any]] = []
    row_of = {item.name: -1 for item in spec.inputs if item.kind == "values"}

    def add(kind: str, name: str, inputs: list[int], **options: Any) -> int:
        rows.append({"kind": kind, "name": name, "inputs": inputs, **options})
        return len(rows) - 1

    for layer in spec.layers:
        if isinstance(layer, Embedding):
            columns = spec.token_columns[layer.inputs[0]]
            row_of[layer.name] = add(
                "embedding",
                layer.name,
                [],
                size=layer.size,
                vocabulary=layer.vocabulary,
                padding_index=-1 if layer.padding_index is None else layer.padding_index,
                trainable=layer.trainable,
                token=columns.start,
                columns=columns.stop - columns.start,
            )
            continue
        inputs = [row_of[name] for name in layer.inputs]
        if isinstance(layer, Dense):
            options = {"size": layer.size, "activation": layer.activation}
            if layer.tied:
                options["tied"] = row_of[layer.tied]
            row_of[layer.name] = add("dense", layer.name, inputs, **options)
        elif isinstance(layer, Recurrent):
            row_of[layer.name] = _lower_stack(layer, inputs[0], add)
        else:
            row_of[layer.name] = add(layer.kind, layer.name, inputs, **_options(spec, layer))
    return rows


def _options(spec: NetworkSpec, layer: LayerSpec) -> dict[str, Any]:
    """The engine's options of a layer that is one row."""
    if isinstance(layer, Dropout):
        return {"rate": layer.rate, "per_sequence": layer.per_sequence}
    source = spec.ports[layer.inputs[0]]
    if isinstance(layer, Last):
        return {"split": source.split}
    if isinstance(layer, Attention):
        size = layer.size or source.width
        return {"score": layer.score, "size": size, "split": source.split}
    return {}


def _lower_stack(stack: Recurrent, source: int, add: Callable[..., int]) -> int:
    """The rows of a stack; returns the one that is its output."""
    name = stack.name
    if stack.input_dropout:
        rate = stack.input_dropout
        source = add("dropout", f"{name}_input", [source], rate=rate, per_sequence=True)
    for k in range(stack.num_layers):
        output = add(
            "recurrent",
            _layer_name(stack, k),
            [source],
            cell=stack.cell,
            size=stack.hidden_size,
            bidirectional=stack.bidirectional,
            recurrent_dropout=stack.recurrent_dropout,
            layer_norm=stack.layer_norm,
        )
        if stack.residual and k:
            output = add("add", f"{name}_add{k}", [output, source])
        if stack.dropout and k + 1 < stack.num_layers:
            rate = stack.dropout
            output = add("dropout", f"{name}_drop{k}", [output], rate=rate, per_sequence=False)
        source = output
    return source


def _row_floats(row: dict[str, Any]) -> int:
    size = int(row.get("size", 0))
    if row["kind"] != "recurrent":
        return size
    return size * (1 + bool(row["bidirectional"])) * 6  # gates and states


def _layer_name(stack: Recurrent, k: int) -> str:
    return f"{stack.name}.l{k}"  # with a dot, so that it is no layer's name in the spec


class Engine:
    """A network's parameters and workspace in the engine."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.rows = lower(spec)
        output = OUTPUT_FUNCTIONS[spec.task]
        tokens = max((columns.stop for columns in spec.token_columns.values()), default=0)
        self.raw = _engine.Network(spec.input_size, tokens, self.rows, output=output)
        self.output_size, self.pooled = spec.output_size, spec.pooled
        # 0: not by values alone, or not row by row
        self.dense_input = 0 if spec.token_inputs or spec.task == "tagging" else spec.input_size
        self.shapes = spec.parameter_shapes()
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        engine_sizes = [int(np.prod(segment[2])) for segment in self.raw.segments()]
        if sizes != engine_sizes:  # a layer's two descriptions differ: a bug, not bad input
            raise AssertionError("spec and engine disagree about the parameters")
        self.bounds = np.cumsum([0, *sizes])
        # what a row of a batch takes in the workspace, about
        self.row_floats = spec.input_size + sum(map(_row_floats, self.rows)) + self.output_size
        # steps of samples of which any usual number fits into memory at once
        self.short = (1 << 17) // self.row_floats
        both = any(row.get("bidirectional") for row in self.rows)
        # whether a sequence can be run piece after piece, the state going on
        self.cuts = not (self.pooled or both or self.rows[-1]["kind"] == "crf")

    def row_of(self, layer: LayerSpec, k: int = 0) -> int:
        """Which row of the engine computes ``layer``, or layer ``k`` of a recurrent stack."""
        name = _layer_name(layer, k) if isinstance(layer, Recurrent) else layer.name
        return next(i for i, row in enumerate(self.rows) if row["name"] == name)

    def get_vector(self) -> Float32:
        """All parameters as one new vector, in the order of ``spec.parameter_shapes()``."""
        vector = np.empty(int(self.bounds[-1]), np.float32)
        self.raw.get_parameters(vector)
        return vector

    def set_vector(self, vector: Float32) -> None:
        """Replace all parameters."""
        self.raw.set_parameters(np.ascontiguousarray(vector, np.float32))

    def split(self, vector: Float32) -> dict[str, Float32]:
        """Views of a parameter vector by name."""
        return {
            name: vector[self.bounds[i] : self.bounds[i + 1]].reshape(shape)
            for i, (name, shape) in enumerate(self.shapes.items())
        }

    def join(self, tensors: Mapping[str, Float32]) -> Float32:
        """One vector from tensors by name; shapes must be right already."""
        vector = np.empty(int(self.bounds[-1]), np.float32)
        for name, part in self.split(vector).items():
            part[:] = tensors[name]
        return vector

    def gradients(self) -> dict[str, Float32]:
        """The gradients of the last update, by name (for tests)."""
        vector = np.empty(int(self.bounds[-1]), np.float32)
        self.raw.get_gradients(vector)
        return self.split(vector)


def make_stream(spec: NetworkSpec, engine: Engine, x: Float32, tokens: Int32, out: Float32) -> Any:
    """The engine's stream: each step reads ``x`` (I,) and ``tokens``, and writes ``out`` (O,)."""
    return _engine.Stream(engine.raw, Engine(spec).raw, x, tokens, out)


def make_samples(
    x: Float32,
    starts: Int64,
    lengths: Int64,
    y: Float32 | None,
    y_starts: Int64 | None,
    y_stride: int,
    output_size: int,
    every: bool,
    scaling: list[Float32 | None],
    segment: int,
    shifted_columns: int,
    known_steps: int,
    hidden_columns: int,
    tokens: Int32 | None = None,
) -> Any:
    """The engine's view of a sample table; arrays are kept alive, not copied.

    ``tokens``: (S, columns) beside the rows of ``x``, which may then have no columns.
    """
    layout = (segment, shifted_columns, known_steps, hidden_columns)
    return _engine.Samples(
        x, starts, lengths, y, y_starts, y_stride, output_size, every, scaling, *layout, tokens
    )


def make_stack(
    cell: str,
    sizes: tuple[int, int, int],
    flags: tuple[bool, bool, bool],
    dropout: tuple[float, float],
) -> Any:
    """Recurrent layers that work on a caller's memory, given by addresses (``headgate.torch``).

    Args:
        cell: "gru", "gru_before" or "lstm".
        sizes: inputs, hidden units, layers.
        flags: bidirectional, bias, layer_norm.
        dropout: between layers, recurrent.
    """
    return _engine.Stack(cell, *sizes, *flags, *dropout)


def dropout_masks(
    rate: float, seed: int, stream: int, samples: list[int], time: int, width: int
) -> Float32:
    """The engine's masks (len(samples), width), of its first update."""
    masks = np.empty((len(samples), width), np.float32)
    for sample, row in zip(samples, masks, strict=True):
        _engine.dropout_mask(rate, seed, stream, sample, time, row)
    return masks


def crf_marginals(
    scores: Float32, starts: Int64, lengths: Int64, weights: tuple[Float32, Float32, Float32]
) -> None:
    """Replace the scores (rows, C) of sequences by the probabilities of their classes.

    Sequence i stands in rows ``starts[i]`` to ``starts[i] + lengths[i] - 1``; ``weights`` are a
    CRF's transitions (C, C), start (C,) and end (C,).
    """
    _engine.crf_marginals(scores, starts, lengths, weights)


def crf_paths(
    scores: Float64, starts: Int64, lengths: Int64, weights: tuple[Float64, Float64, Float64]
) -> Int64:
    """The best class of every row (rows,), sequence by sequence; zero in rows of none."""
    path = np.zeros(len(scores), np.int64)
    _engine.crf_paths(scores, starts, lengths, weights, path)
    return path


def make_trainer(engine: Engine, **options: Any) -> Any:
    """The engine's trainer.

    Args:
        **options: optimizer, momentum, weight_decay, clip_norm and clip_value (0: none), seed, and
            loss as (name, quantiles, class_weights, label_smoothing, ignore_index).

    Its ``epoch(samples, order, bounds, resets, state, rates, limit)`` makes an update for each
    batch ``order[bounds[b] : bounds[b + 1]]`` (int64) with the learning rate ``rates[b]``
    (float64), and returns (status, mean loss, updates, last loss). ``resets[b]`` (uint8, or None
    for never) zeroes ``state`` before the batch.
    """
    return _engine.Trainer(engine.raw, **options)
