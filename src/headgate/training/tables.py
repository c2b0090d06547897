"""What people pass as X and Y, as the table that a network and a loss take."""

from __future__ import annotations

from typing import Any

from ..checks import check_size
from ..data.inputs import check_tokens, table_of
from ..data.samples import SampleTable
from ..errors import InputError
from ..spec import NetworkSpec
from .losses import Loss


def checked_table(
    spec: NetworkSpec, X: Any, Y: Any, lengths: Any, loss: Loss | None = None
) -> SampleTable:
    """The samples of ``X``, and the targets that ``loss`` needs, checked."""
    outputs = wanted = spec.output_size
    if loss is not None:
        loss.check_network(spec.task, outputs)
        wanted = loss.targets_of(outputs)
        loss.check_labels(Y, outputs, every=not spec.pooled)
    if isinstance(X, SampleTable):
        if Y is not None or lengths is not None:
            raise InputError("a SampleTable holds its own targets and lengths; pass X alone")
        table = X
        segment = check_size("segment", table.segment)
        if segment > 1 and table.x.ndim == 2:
            columns = table.x.shape[1]
            if segment * columns != spec.input_size:
                raise InputError(
                    f"the table's segments of {segment} rows of {columns} values make "
                    f"{segment * columns} inputs, but this network was built with "
                    f"input_size={spec.input_size}"
                )
        elif table.x.ndim != 2 or table.x.shape[1] != spec.input_size:
            raise InputError(
                f"the table's values must be (S, {spec.input_size}), got {table.x.shape}"
            )
        check_tokens(table, spec)
    else:
        table = table_of(X, Y, lengths=lengths, spec=spec, output_size=wanted)
    if loss is None:
        return table
    at = "last" if spec.pooled else "every"
    if table.y is None:
        raise InputError("targets are missing; pass Y")
    if (table.output_size, table.y_steps) != (wanted, at):
        count = len(loss.quantiles)
        each = f" ({count} quantiles of {wanted})" if count else ""
        raise InputError(
            f"the table has {table.output_size} targets at {table.y_steps!r}, this network "
            f"puts out {outputs}{each} at {at!r}"
        )
    style = "table" if isinstance(X, SampleTable) else "array"
    loss.check_targets(table, outputs, "list" if isinstance(Y, (list, tuple)) else style)
    return table
