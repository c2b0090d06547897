"""What the estimators of sequences share: the network, its training, and what they check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils import check_array

from ...checks import MAX_FLOAT, check_flags, check_size
from ...data.samples import SampleTable
from ...data.sequences import Ragged, as_sequences
from ...errors import InputError
from ...layer_specs import (
    GRU,
    Concat,
    Dense,
    Dropout,
    InputSpec,
    Last,
    LayerSpec,
    Max,
    Mean,
    ReadOut,
)
from ...spec import NetworkSpec
from ...training.callbacks import Callback
from ..members import Part, Score
from ..neural import Float32, Float64, Int64, NeuralEstimator
from .reading import Reading, altered

INPUT_DROPOUT = 0.2
RATE = 5e-3  # of learning
# Updates of each network: one for so many values, but between these; many sequences ask for more.
VALUES, UPDATES = 8, (50, 800)
EPOCHS = (20, 120)  # least and most
WARPABLE = 8  # steps: shorter sequences have no speed that could change
# From so many sequences on the last state is read too. In cross-validation it took away a third of
# the errors on 270 vowels, and added a quarter to those on 50 gestures.
READS_LAST = 150
ENOUGH = 800  # samples: fewer are joined by altered copies up to so many
MOST_COPIES = 15


class SequenceEstimator(NeuralEstimator):
    """What both share: reading sequences, and the network.

    Bidirectional GRUs with the largest, the mean and, where there are enough sequences, the last
    state over time side by side before the head.
    """

    reading_: Reading
    steps_: int  # columns of the table that was fitted; 0 for sequences of any lengths

    @property
    def n_features_in_(self) -> int:
        """What scikit-learn calls features: the columns of a 2-D X in fit, else channels."""
        self.require_fitted("n_features_in_")
        return self.steps_ or self.reading_.channels

    def check_parameters(self) -> None:
        super().check_parameters()
        given = self.get_params()
        check_size("max_steps", given["max_steps"], maximum=1 << 16)
        check_flags(augment=given.get("augment", False))

    def _spec(self, width: int, outputs: int, task: str, reads_last: bool) -> NetworkSpec:
        given = self.get_params()
        layers: list[LayerSpec] = []
        last = "x"
        if given["dropout"]:
            layers.append(
                Dropout("input_dropout", (last,), rate=min(INPUT_DROPOUT, given["dropout"]))
            )
            last = "input_dropout"
        deep = {"dropout": given["dropout"]} if given["num_layers"] > 1 else {}
        layers.append(
            GRU(
                "gru", (last,), hidden_size=given["hidden_size"], num_layers=given["num_layers"],
                bidirectional=True, **deep,
            )
        )  # fmt: skip
        read: list[ReadOut] = [Max("max", ("gru",)), Mean("mean", ("gru",))]
        read += [Last("last", ("gru",))] if reads_last else []
        layers += [*read, Concat("read", tuple(layer.name for layer in read))]
        last = "read"
        if given["dropout"]:
            layers.append(Dropout("dropout", (last,), rate=given["dropout"]))
            last = "dropout"
        layers.append(Dense("head", (last,), size=outputs))
        return NetworkSpec((InputSpec("x", width),), tuple(layers), task=task)

    def _learn(
        self,
        given: Ragged,
        targets: Float32,
        *,
        task: str,
        outputs: int,
        labels: Int64 | None,
        validation: tuple[Ragged, Float32] | None,
        score: Score,
        callbacks: Sequence[Callback],
        **options: Any,
    ) -> Reading:
        """Train fresh networks on ``targets`` (N, K); returns what they read."""
        reading = Reading.learn(given, self.get_params()["max_steps"])
        copies = 0
        if self.get_params().get("augment", False) and given.lengths.mean() >= WARPABLE:
            copies = min(max(round(ENOUGH / len(given)) - 1, 0), MOST_COPIES)
        training = self.plan(
            len(given) * (copies + 1),
            updates=int(np.clip(given.values.size // VALUES, *UPDATES)),
            least_epochs=3 if copies or len(given) < ENOUGH else EPOCHS[0],
            most_epochs=EPOCHS[1],
            learning_rate=RATE,
            **options,
        )
        table = with_targets(reading.table(given), targets)
        held = None
        if validation is not None:
            held = with_targets(reading.table(validation[0]), validation[1])
        self.train(
            self._spec(reading.width, outputs, task, len(given) >= READS_LAST),
            table,
            training,
            labels=labels,
            validation=held,
            part=_copied(given, targets, reading, copies) if copies else None,
            score=score,
            callbacks=callbacks,
        )
        return reading

    def _read(self, X: Any) -> SampleTable:
        given = as_sequences(X, self.reading_.channels)
        self._check_columns(given)
        return self.reading_.table(given)

    def _check_columns(self, given: Ragged) -> None:
        """Refuse a table of another width than in ``fit``: it is likelier a slip than a wish."""
        steps = int(given.lengths[0])
        if given.table and self.steps_ and steps != self.steps_:
            raise InputError(
                f"X has {steps} features, but {type(self).__name__} is expecting {self.steps_} "
                "features as input, the steps of each row in fit; pass series of other lengths as "
                "a list of arrays"
            )

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(), "reading": self.reading_.to_dict(), "steps": self.steps_
        }  # fmt: skip

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Float32]) -> None:
        super().restore(facts, tensors)
        self.reading_ = Reading.from_dict(facts["reading"])
        self.steps_ = check_size("steps", facts["steps"], minimum=0, maximum=1 << 31)
        spec = self.members_.spec
        if spec.input_size != self.reading_.width or not spec.pooled or spec.token_inputs:
            raise InputError("the network does not fit the reading of sequences")


def pair(validation_data: Any) -> tuple[Any, Any]:
    """The X and the y of ``validation_data``."""
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise InputError("validation_data must be (X, y)")
    return validation_data[0], validation_data[1]


def columns(given: Ragged) -> int:
    """Columns of a table; 0 for other sequences."""
    return int(given.lengths[0]) if given.table else 0


def column(codes: Int64) -> Float32:
    """(N, 1) float32: class numbers as the trainer takes them."""
    return codes.astype(np.float32)[:, None]


def with_targets(table: SampleTable, targets: Float32) -> SampleTable:
    """The table with ``targets`` (N, K), a row for each sample."""
    count, width = targets.shape
    return replace(
        table, y=targets.reshape(-1), y_starts=np.arange(count, dtype=np.int64) * width,
        y_stride=width, output_size=width,
    )  # fmt: skip


def as_targets(y: Any) -> Float64:
    """``y`` as (N,) or (N, K) float64, finite."""
    if y is None:
        raise InputError(
            "fit requires y to be passed, but the target y is None; pass a number for each sequence"
        )
    try:
        targets = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    except ValueError as error:
        raise InputError(
            f"y must hold numbers, one or a row of them for each sequence: {error}"
        ) from None
    if targets.ndim not in (1, 2):
        raise InputError(f"y must be (N,) or (N, K), got shape {targets.shape}")
    largest = float(np.abs(targets).max())
    if largest > MAX_FLOAT:
        raise InputError(
            f"y holds {largest:.3g}, which is beyond the numbers of the engine (float32, up to "
            f"{MAX_FLOAT:.3g}); use a larger unit"
        )
    return np.asarray(targets)


def as_rows(targets: Float64, width: int, shift: Float64, scale: Float64) -> Float32:
    """(N, K) standardised targets."""
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] != width:
        raise InputError(f"y has {rows.shape[1]} columns, but {width} were fitted; pass as many")
    return np.asarray((rows - shift) / scale, np.float32)


def r2(prediction: Any, table: SampleTable) -> float:
    """The share of the targets' variance that is explained, the mean over outputs."""
    assert table.y is not None
    assert table.y_starts is not None
    columns = np.arange(table.output_size)
    return float(r2_score(table.y[table.y_starts[:, None] + columns], prediction))


def _copied(given: Ragged, targets: Float32, reading: Reading, copies: int) -> Part:
    """What a member learns from: its rows, and altered copies of them."""

    def part(rows: Int64, seed: int) -> SampleTable:
        own = given.take(rows)
        parts = [own, *(altered(own, seed * MOST_COPIES + k) for k in range(copies))]
        joined = Ragged(
            np.concatenate([each.values for each in parts]),
            np.concatenate([each.lengths for each in parts]),
        )
        return with_targets(reading.table(joined), np.tile(targets[rows], (copies + 1, 1)))

    return part
