"""SampleTable: the one way in which data reach the trainer.

A table of values, and per sample where it begins. Dense arrays, ragged lists and sliding windows
are all this; windows are never materialised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size
from ..errors import InputError
from ..kernels import make_samples

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleTable:
    """Samples over tables of values.

    Sample k reads rows ``x[starts[k] : starts[k] + lengths[k] * segment]``, and its targets are
    the ``output_size`` values that begin at ``y[y_starts[k]]``; with ``y_steps="every"`` there is
    one such group for each step, ``y_stride`` values apart.

    Attributes:
        x: (S, F) float32, C-contiguous.
        starts: (N,) int64, rows of x.
        lengths: (N,) int64, steps.
        y: flat float32 targets, or None for prediction.
        y_starts: (N,) int64, or None.
        x_shift, x_scale, y_shift, y_scale: (N,) float32 or None; the network sees
            ``(x - x_shift) / x_scale`` and learns ``(y - y_shift) / y_scale``; predictions are
            scaled back.
        segment: that many consecutive rows of x make one step: the network's input size is
            ``segment * F``, the columns of the first row, then of the second, and so on (as SegRNN
            reads a past, arXiv 2308.11200). Samples may still begin at any row. Above 1 it goes
            with ``y_steps="last"``.
        shifted_columns: x_shift and x_scale are for that many leading columns of each row; None
            for all of them.
        known_steps, hidden_columns: in the last ``known_steps`` steps of every sample the first
            ``hidden_columns`` columns of each row are zero to the network, after shift and scale,
            and x is not read there: values that are not known ahead, beside covariates that are.
            Every sample must have more than ``known_steps`` steps.
        tokens: (S, C) int32, the numbers that embeddings look up beside each row of x: the columns
            of each input of tokens, one by default. x is (S, 0) for a network that reads nothing
            else.
    """

    x: Float32
    starts: Int64
    lengths: Int64
    y: Float32 | None = None
    y_starts: Int64 | None = None
    y_stride: int = 0
    output_size: int = 1
    y_steps: str = "last"
    x_shift: Float32 | None = None
    x_scale: Float32 | None = None
    y_shift: Float32 | None = None
    y_scale: Float32 | None = None
    segment: int = 1
    shifted_columns: int | None = None
    known_steps: int = 0
    hidden_columns: int = 0
    tokens: Int32 | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def to_engine(self) -> Any:
        """The engine's view of this table."""
        if len(self.starts) == 0:
            raise InputError("the sample table has no samples")
        given = (self.x_shift, self.x_scale, self.y_shift, self.y_scale)
        if (self.x_shift is None) != (self.x_scale is None):
            raise InputError("x_shift and x_scale belong together: give both or neither")
        if (self.y_shift is None) != (self.y_scale is None):
            raise InputError("y_shift and y_scale belong together: give both or neither")
        scaling = [None if a is None else np.ascontiguousarray(a, np.float32) for a in given]
        layout = self._checked_layout()
        tokens = None if self.tokens is None else np.ascontiguousarray(self.tokens, np.int32)
        y = None if self.y is None else np.ascontiguousarray(self.y, np.float32).reshape(-1)
        y_starts = None if self.y_starts is None else np.array(self.y_starts, np.int64)
        try:
            return make_samples(
                np.ascontiguousarray(self.x, np.float32),
                np.array(self.starts, np.int64),
                np.array(self.lengths, np.int64),
                y,
                y_starts,
                self.y_stride,
                self.output_size,
                self.y_steps == "every",
                scaling,
                *layout,
                tokens=tokens,
            )
        except ValueError as error:
            raise InputError(f"the sample table is inconsistent: {error}") from None
        except TypeError:  # nanobind's, which lists signatures
            raise InputError(
                "the sample table is inconsistent: x must be (S, F), starts, lengths, y_starts and "
                "scaling (N,), y_stride and output_size integers"
            ) from None

    def _checked_layout(self) -> tuple[int, int, int, int]:
        """segment, shifted_columns as a number, known_steps, hidden_columns."""
        segment = check_size("segment", self.segment)
        if segment > 1 and self.tokens is not None:
            raise InputError(
                f"segment={segment} goes with values alone: a step of several rows has no token of "
                "its own"
            )
        if segment > 1 and self.y_steps == "every":
            raise InputError(
                f"segment={segment} goes with y_steps='last': a step of several rows has no "
                "targets of its own"
            )
        # Anything else than a matrix is refused by the engine.
        columns = self.x.shape[1] if isinstance(self.x, np.ndarray) and self.x.ndim == 2 else 0
        shifted = columns
        if self.shifted_columns is not None:
            shifted = check_size(
                "shifted_columns", self.shifted_columns, minimum=0, maximum=columns
            )
        known = check_size("known_steps", self.known_steps, minimum=0, maximum=1 << 31)
        hidden = check_size("hidden_columns", self.hidden_columns, minimum=0, maximum=columns)
        if known:
            short = np.flatnonzero(np.asarray(self.lengths) <= known)
            if short.size:
                raise InputError(
                    f"every sample must have more than known_steps={known} steps; sample "
                    f"{short[0]} has {self.lengths[short[0]]}"
                )
        return segment, shifted, known, hidden

    def take(self, chosen: slice | Int64) -> SampleTable:
        """The table of a choice of samples; values are shared."""

        def pick(array: Any) -> Any:
            return None if array is None else array[chosen]

        return replace(
            self,
            starts=self.starts[chosen],
            lengths=self.lengths[chosen],
            y_starts=pick(self.y_starts),
            x_shift=pick(self.x_shift),
            x_scale=pick(self.x_scale),
            y_shift=pick(self.y_shift),
            y_scale=pick(self.y_scale),
        )


def targets_read(table: SampleTable) -> npt.NDArray[np.bool_]:
    """Which of the flat targets some sample reads: what stands beside them is padding.

    A table that reaches past its targets is refused by ``to_engine``, not here.
    """
    size = 0 if table.y is None else np.size(table.y)
    begin, groups = _groups(table)
    if table.y_steps == "every" and table.y_stride > table.output_size:
        read = np.zeros(size, np.bool_)
        for first, count in zip(begin, groups, strict=True):
            for target in range(table.output_size):
                read[first + target :: table.y_stride][:count] = True
        return read
    end = begin + (groups - 1) * table.y_stride + table.output_size
    edges = np.bincount(np.clip(begin, 0, size), minlength=size + 1)
    edges -= np.bincount(np.clip(end, 0, size), minlength=size + 1)
    return np.cumsum(edges)[:size] > 0


def place_of(table: SampleTable, index: int, style: str) -> str:
    """Where target ``index`` of the flat ones stands for the first sample that reads it.

    ``style`` is how the caller's Y is indexed: "array", "list" or "table".
    """
    begin, groups = _groups(table)
    stride = max(table.y_stride, 1)
    behind = index - begin
    # Groups may overlap: the last one that begins at or before the target and exists.
    step = np.clip(behind // stride, 0, groups - 1)
    column = behind - step * stride
    sample = int(np.flatnonzero((behind >= 0) & (column < table.output_size))[0])
    every = [int(step[sample])] if table.y_steps == "every" else []
    parts = [*every, *([int(column[sample])] if table.output_size > 1 else [])]
    if style == "table":
        return f"in the table, sample {sample}" + "".join(f", step {t}" for t in every) + ": Y"
    if style == "list" and every:
        return f"Y[{sample}][{', '.join(map(str, parts))}]"
    return f"Y[{', '.join(map(str, [sample, *parts]))}]"


def _groups(table: SampleTable) -> tuple[Int64, Int64]:
    """(N,) where each sample's targets begin in the flat ones, and (N,) how many groups."""
    begin = np.asarray(table.y_starts, np.int64)
    every = table.y_steps == "every"
    return begin, np.asarray(table.lengths, np.int64) if every else np.ones_like(begin)


def as_values(name: str, value: Any) -> Float32:
    """``value`` as a finite float32 array; says by name and place what is wrong otherwise."""
    try:
        array = np.asanyarray(value)
    except (TypeError, RuntimeError) as error:  # such as a tensor on another device
        raise InputError(
            f"{name} cannot become a NumPy array: {error}; pass a NumPy array"
        ) from None
    except ValueError:
        raise InputError(
            f"{name} is not a regular array; pass a list of arrays when lengths differ"
        ) from None
    if array.dtype.kind not in "fiub":
        if array.dtype.kind == "O" and array.ndim == 0:
            raise InputError(
                f"{name} must hold numbers, got an object of type {type(value).__name__}; pass an "
                "array"
            )
        raise InputError(
            f"{name} must hold numbers, got dtype {array.dtype}; convert it with "
            f"np.asarray({name}).astype('float32')"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: named below
        result: Float32 = np.ascontiguousarray(array, np.float32).reshape(array.shape)
        # A sum is finite unless something in it is not, or it overflows: then look closer.
        suspicious = not math.isfinite(np.add.reduce(result, axis=None))
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        bad = np.ma.getmaskarray(array)
    elif suspicious and (first := _first_not_finite(result.reshape(-1))) is not None:
        bad = None
        place = tuple(int(i) for i in np.unravel_index(first, result.shape))
    else:
        return result
    if bad is not None:
        place = tuple(int(i) for i in np.argwhere(bad)[0])
    raise InputError(
        f"{name} has a value that is not finite{f' at index {place}' if place else ''}: "
        f"{array[place] if bad is None else 'masked'}; fill or drop missing values first"
    )


def _first_not_finite(flat: Float32) -> int | None:
    """Where the first NaN or infinity stands; block by block, for arrays larger than memory."""
    block = 1 << 20
    for begin in range(0, flat.size, block):
        finite = np.isfinite(flat[begin : begin + block])
        if not finite.all():
            return begin + int(np.argmin(finite))
    return None


def from_arrays(
    X: Any,
    Y: Any = None,
    *,
    lengths: Any = None,
    input_size: int,
    output_size: int,
    readout: str,
) -> SampleTable:
    """A table over dense (N, T, I) arrays or lists of (T_i, I) arrays.

    ``Y`` is (N, T, O) for ``readout="every"`` (a list of arrays when X is one) and (N, O) or (N,)
    for ``"last"``; (N, T) and (N,) stand for one output.
    """
    if is_list_of_sequences(X):
        if lengths is not None:
            raise InputError("lengths goes with a dense X; a list of arrays has its own lengths")
        return _from_ragged(X, Y, input_size, output_size, readout)
    x = as_values("X", X)
    if x.ndim == 2 and input_size == 1:
        x = x[:, :, None]
    if x.ndim != 3:
        raise InputError(
            f"X must be (N, T, I) = (samples, time, features), got shape {np.shape(X)}; "
            "a single sequence is X[None]"
        )
    n, steps, features = x.shape
    if features != input_size:
        slicing = f"pass X[..., :{input_size}] or " if features > input_size else ""
        advice = f"{slicing}build with input_size={features}" if features else "check X"
        raise InputError(
            f"X has {features} features, but this network was built with "
            f"input_size={input_size}; {advice}"
        )
    if n == 0 or steps == 0:
        raise InputError(f"X has shape {x.shape}: there must be at least one sample and one step")
    size = _as_lengths(lengths, n, steps)
    table = SampleTable(
        x=x.reshape(n * steps, features),
        starts=np.arange(n, dtype=np.int64) * steps,
        lengths=size,
        output_size=output_size,
        y_steps=readout,
    )
    if Y is None:
        return table
    y = as_values("Y", Y)
    expected = (n, steps, output_size) if readout == "every" else (n, output_size)
    if y.shape != expected and not (output_size == 1 and y.shape == expected[:-1]):
        where = "for readout='every'" if readout == "every" else "with a row for each sample"
        raise InputError(f"Y must have shape {expected} {where}, got {y.shape}")
    per_sample = steps * output_size if readout == "every" else output_size
    return _with_targets(table, y, np.arange(n, dtype=np.int64) * per_sample)


def _with_targets(table: SampleTable, y: Float32, y_starts: Int64) -> SampleTable:
    return SampleTable(
        x=table.x,
        starts=table.starts,
        lengths=table.lengths,
        y=y.reshape(-1),
        y_starts=y_starts,
        y_stride=table.output_size,
        output_size=table.output_size,
        y_steps=table.y_steps,
    )


def is_list_of_sequences(X: Any) -> bool:
    """Whether X is a list whose items are sequences of their own, not one nested regular array."""
    if not isinstance(X, (list, tuple)) or not X:
        return False
    try:
        # tensors and frames too, however long: a list in gives a list out
        return all(getattr(i, "ndim", 0) for i in X) or len({np.shape(i)[:1] for i in X}) > 1
    except ValueError:  # an item is itself irregular: let its own check name it
        return True


def _as_lengths(lengths: Any, n: int, steps: int) -> Int64:
    if lengths is None:
        return np.full(n, steps, np.int64)
    size = np.asarray(lengths)
    if size.shape != (n,) or size.dtype.kind not in "iu":
        raise InputError(
            f"lengths must be {n} integers, one for each sample, got shape {size.shape} "
            f"and dtype {size.dtype}"
        )
    bad = np.flatnonzero((size < 1) | (size > steps))
    if bad.size:
        raise InputError(
            f"lengths must be between 1 and T={steps}; sample {bad[0]} has {size[bad[0]]}"
        )
    return size.astype(np.int64)


def _from_ragged(
    X: Sequence[Any], Y: Any, input_size: int, output_size: int, readout: str
) -> SampleTable:
    parts = [_sequence(f"X[{k}]", item, input_size) for k, item in enumerate(X)]
    size = np.array([len(part) for part in parts], np.int64)
    starts = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64)
    table = SampleTable(
        x=np.concatenate(parts),
        starts=starts,
        lengths=size,
        output_size=output_size,
        y_steps=readout,
    )
    if Y is None:
        return table
    if readout == "last":
        y = as_values("Y", Y)
        if y.shape not in {(len(parts), output_size)} | (
            {(len(parts),)} if output_size == 1 else set()
        ):
            raise InputError(f"Y must have shape {(len(parts), output_size)}, got {y.shape}")
        return _with_targets(table, y, np.arange(len(parts), dtype=np.int64) * output_size)
    if not isinstance(Y, (list, tuple)) or len(Y) != len(parts):
        raise InputError(f"Y must be a list of {len(parts)} arrays, as X is")
    targets = [_sequence(f"Y[{k}]", item, output_size) for k, item in enumerate(Y)]
    for k, (target, part) in enumerate(zip(targets, parts, strict=True)):
        if len(target) != len(part):
            raise InputError(f"Y[{k}] has {len(target)} steps, but X[{k}] has {len(part)}")
    return _with_targets(table, np.concatenate(targets), starts * output_size)


def _sequence(name: str, item: Any, features: int) -> Float32:
    array = as_values(name, item)
    if array.ndim == 1 and features == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != features or len(array) == 0:
        raise InputError(
            f"{name} must be (T, {features}) with at least one step, got shape {array.shape}"
        )
    return array
