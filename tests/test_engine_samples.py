"""Segments and columns of a SampleTable: to the bit what the same inputs, materialised, give."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.data.samples import SampleTable, from_arrays

ROWS, SAMPLES = 90, 13


def table_of(columns: int, longest: int, shortest: int = 1, **layout: Any) -> SampleTable:
    """Ragged samples that begin at any row and may reach the table's last one; y: 2 targets."""
    rng = np.random.default_rng(columns + longest)
    segment = layout.get("segment", 1)
    lengths = oracles.random_lengths(rng, SAMPLES, longest, shortest=shortest)
    starts = np.array([rng.integers(0, ROWS - size * segment + 1) for size in lengths])
    starts[0], starts[-1] = ROWS - lengths[0] * segment, 0
    return SampleTable(
        x=oracles.normal(rng, (ROWS, columns), np.float32),
        starts=starts,
        lengths=lengths,
        y=oracles.normal(rng, (40,), np.float32),
        y_starts=rng.integers(0, 39, SAMPLES),
        output_size=2,
        **layout,
    )


def scaling(columns: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    shift = rng.normal(0, 3, SAMPLES).astype(np.float32)
    scale = rng.uniform(0.5, 4, SAMPLES).astype(np.float32)
    chosen = {"shifted_columns": columns} if columns else {}
    return {"x_shift": shift, "x_scale": scale, **chosen}


def materialised(table: SampleTable) -> tuple[list[np.ndarray], np.ndarray]:
    """What a table means, as a list of (T, I) and (N, O)."""
    segment, columns = table.segment, table.x.shape[1]
    shifted = columns if table.shifted_columns is None else table.shifted_columns
    inputs = []
    for k, (start, steps) in enumerate(zip(table.starts, table.lengths, strict=True)):
        rows = table.x[start : start + steps * segment].copy()
        if table.x_shift is not None and table.x_scale is not None:
            rows[:, :shifted] = (rows[:, :shifted] - table.x_shift[k]) / table.x_scale[k]
        if table.known_steps:
            rows[-table.known_steps * segment :, : table.hidden_columns] = 0
        inputs.append(rows.reshape(steps, segment * columns))
    assert table.y is not None
    assert table.y_starts is not None
    return inputs, table.y[table.y_starts[:, None] + np.arange(table.output_size)]


TABLES = {
    "one column in segments": table_of(1, 5, segment=7),
    "one column in segments, scaled": table_of(1, 5, segment=17, **scaling()),
    "segments of several columns": table_of(3, 6, segment=5),
    "segments of several columns, scaled": table_of(3, 6, segment=5, **scaling()),
    "a segment of one row": table_of(2, 9, segment=1, **scaling()),
    "the first column scaled": table_of(3, 9, **scaling(1)),
    "the first two of five scaled, in segments": table_of(5, 4, segment=3, **scaling(2)),
    "no column scaled": table_of(2, 9, **{**scaling(1), "shifted_columns": 0}),
    "shifted columns without a shift": table_of(2, 9, shifted_columns=1),
    "the target's future hidden": table_of(3, 9, 4, known_steps=3, hidden_columns=1),
    "all columns hidden": table_of(2, 9, 4, known_steps=3, hidden_columns=2),
    "the only column hidden": table_of(1, 9, 4, known_steps=3, hidden_columns=1, **scaling()),
    "nothing hidden": table_of(3, 9, 4, known_steps=3, **scaling()),
    "no step hidden": table_of(3, 9, hidden_columns=2, **scaling()),
    "hidden and scaled": table_of(4, 9, 3, known_steps=2, hidden_columns=1, **scaling(2)),
    "more hidden than scaled": table_of(4, 9, 3, known_steps=2, hidden_columns=3, **scaling(2)),
    "everything": table_of(
        3, 5, 3, segment=7, known_steps=2, hidden_columns=1, **scaling(1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_its_materialised_inputs_to_the_bit(isa: str, name: str) -> None:
    table = TABLES[name]
    x, y = materialised(table)
    size = x[0].shape[1]
    nets = [hg.Network(input_size=size, hidden_size=9, output_size=2, seed=0) for _ in range(2)]
    assert nets[0].predict(table).tobytes() == nets[1].predict(x).tobytes()
    options = {"epochs": 3, "batch_size": 4, "learning_rate": 0.01}
    first = nets[0].fit(table, validation_data=table, **options)
    second = nets[1].fit(x, y, validation_data=(x, y), **options)
    assert np.array_equal(first.loss, second.loss)
    assert np.array_equal(first.val_loss, second.val_loss)
    assert nets[0]._engine.get_vector().tobytes() == nets[1]._engine.get_vector().tobytes()
    assert nets[0].evaluate(table) == nets[1].evaluate(x, y)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_hidden_values_are_not_read(isa: str, columns: int, scaled: bool) -> None:
    """NaN in them, and in a table of dense windows, changes nothing."""
    known, segment = 2, 3
    layout = {"segment": segment, "known_steps": known, "hidden_columns": 1}
    rng = np.random.default_rng(0)
    x = oracles.normal(rng, (SAMPLES * 5 * segment, columns), np.float32)
    starts, lengths = np.arange(SAMPLES) * 5 * segment, np.full(SAMPLES, 5)
    more = scaling(1) if scaled else {}
    spoiled = x.reshape(SAMPLES, 5 * segment, columns).copy()
    spoiled[:, -known * segment :, 0] = np.nan
    net = hg.Network(input_size=segment * columns, hidden_size=9, seed=0)
    outputs = [
        net.predict(SampleTable(x=values, starts=starts, lengths=lengths, **layout, **more))
        for values in (x, spoiled.reshape(x.shape))
    ]
    assert np.isfinite(outputs[1]).all()
    assert outputs[0].tobytes() == outputs[1].tobytes()


def test_known_steps_go_with_every_step_too(isa: str) -> None:
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (6, 8, 2)), oracles.normal(rng, (6, 8, 1))
    table = from_arrays(x, y, input_size=2, output_size=1, readout="every")
    hidden = SampleTable(**{**vars(table), "known_steps": 3, "hidden_columns": 1})
    x[:, -3:, 0] = 0
    nets = [hg.Network(input_size=2, hidden_size=5, readout="every", seed=0) for _ in range(2)]
    assert nets[0].predict(hidden).tobytes() == nets[1].predict(x).tobytes()
    first, second = nets[0].fit(hidden, epochs=2), nets[1].fit(x, y, epochs=2)
    assert np.array_equal(first.loss, second.loss)


def test_take_keeps_the_layout() -> None:
    table = TABLES["everything"]
    chosen = np.array([5, 2, 11])
    net = hg.Network(input_size=21, hidden_size=5, output_size=2, seed=0)
    whole, part = net.predict(table), net.predict(table.take(chosen))
    assert whole[chosen].tobytes() == part.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment": 0}, "segment must be between 1 and 1048576, got 0"),
        (
            {"segment": 2.0},
            "segment must be an integer, got 2.0; pass a number such as 16",
        ),
        (
            {"segment": 3},
            "the table's segments of 3 rows of 2 values make 6 inputs, but this network was built "
            "with input_size=4",
        ),
        ({"segment": 1}, "the table's values must be (S, 4), got (20, 2)"),
        (
            {"y_steps": "every"},
            "segment=2 goes with y_steps='last': a step of several rows has no targets of its own",
        ),
        ({"shifted_columns": 3}, "shifted_columns must be between 0 and 2, got 3"),
        ({"shifted_columns": -1}, "shifted_columns must be between 0 and 2, got -1"),
        ({"hidden_columns": 3}, "hidden_columns must be between 0 and 2, got 3"),
        ({"known_steps": -1}, "known_steps must be between 0 and 2147483648, got -1"),
        (
            {"known_steps": 3},
            "every sample must have more than known_steps=3 steps; sample 1 has 3",
        ),
        *(
            (change, "the sample table is inconsistent: a sample reaches past the table of values")
            for change in (
                {"starts": np.array([13, 14])},
                {"starts": np.array([13, -1])},
                {"lengths": np.array([4, 8])},
                {"lengths": np.array([4, 11])},
                {"lengths": np.array([4, np.iinfo(np.int64).max])},
                {"lengths": np.array([4, np.iinfo(np.int64).max // 2 + 2])},
                {"lengths": np.array([4, 0])},
            )
        ),
    ],
)
def test_wrong_layouts_are_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "x": np.zeros((20, 2), np.float32),
        "starts": np.array([12, 5]),
        "lengths": np.array([4, 3]),
        "segment": 2,
    }
    net = hg.Network(input_size=4, hidden_size=3, seed=0)
    assert net.predict(SampleTable(**good)).shape == (2, 1)
    with pytest.raises(hg.InputError) as caught:
        net.predict(SampleTable(**{**good, **change}))
    assert str(caught.value) == message
