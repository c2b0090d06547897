"""Networks that hold different parts out, and the estimators' base."""

import numpy as np
import pytest

import headgate as hg
from headgate.data.inputs import table_of
from headgate.data.samples import from_arrays
from headgate.models.members import (
    Training,
    accuracy,
    epochs_for,
    hold_out,
    train_members,
)


def spirals(count=400, steps=6, seed=0):
    """Two classes that the sign of the steps' mean tells apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = rng.normal(size=(count, steps, 1)) + 1.5 * (2 * y - 1)[:, None, None]
    return x.astype(np.float32), y


def problem(count=400):
    x, y = spirals(count)
    spec = hg.NetworkSpec.stacked(1, 4, 2, task="classification")
    table = from_arrays(x, y, input_size=1, output_size=1, readout="last")
    return spec, table, y


def test_parts_are_disjoint_and_have_all_classes_alike():
    labels = np.repeat([0, 1, 2], [300, 60, 40])
    parts = hold_out(400, 0.1, seed=3, labels=labels)
    assert sorted(np.concatenate(parts).tolist()) == list(range(400))
    counts = np.array([np.bincount(labels[rows]) for rows in parts])
    assert counts.tolist() == [[30, 6, 4]] * 10
    assert [p.tolist() for p in parts] == [
        p.tolist() for p in hold_out(400, 0.1, seed=3, labels=labels)
    ]
    assert parts[0].tolist() != hold_out(400, 0.1, seed=4, labels=labels)[0].tolist()


def test_a_class_with_one_example_is_never_held_out():
    labels = np.zeros(400, int)
    labels[7], labels[9] = 1, 2
    with pytest.warns(hg.HeadgateWarning, match="2 of 3 classes have one example each"):
        parts = hold_out(400, 0.1, seed=0, labels=labels)
    assert not {7, 9} & set(np.concatenate(parts).tolist())


def test_few_examples_are_all_learned():
    assert hold_out(50, 0.1, seed=0) is None
    with pytest.warns(hg.HeadgateWarning, match="^6 examples are too few to hold some out"):
        assert hold_out(6, 0.1, seed=0) is None


def test_members_predict_what_they_did_not_learn():
    spec, table, y = problem()
    training = Training(members=3, epochs=4, learning_rate=0.02, seed=5)
    seen = []

    def part(rows, seed):
        seen.append(rows)
        return table.take(rows)

    trained = train_members(spec, table, training, labels=y, part=part, score=accuracy)
    parts = hold_out(400, 0.1, 5, y)
    assert trained.held_out.rows.tolist() == sorted(np.concatenate(parts[:3]).tolist())
    for k, network in enumerate(trained.networks):
        assert not set(seen[k].tolist()) & set(parts[k].tolist())
        at = np.isin(trained.held_out.rows, parts[k])
        np.testing.assert_array_equal(
            trained.held_out.predictions[at], network.predict(table.take(parts[k]))
        )
    assert len(trained.history.val_scores) == 4
    assert trained.history.val_scores[-1] > 0.9
    held = table.take(trained.held_out.rows)
    assert accuracy(trained.held_out.predictions, held) > 0.9
    again = train_members(spec, table, training, labels=y)
    np.testing.assert_array_equal(again.held_out.predictions, trained.held_out.predictions)


def test_every_member_keeps_its_best_epoch():
    spec, table, y = problem()
    training = Training(members=2, epochs=6, learning_rate=0.3, options={"schedule": "constant"})
    trained = train_members(spec, table, training, labels=y)
    parts = hold_out(400, 0.1, 0, y)
    for k, network in enumerate(trained.networks):
        lowest = min(network.history.val_losses)
        assert network.evaluate(table.take(parts[k])) == pytest.approx(lowest, rel=1e-6)


def test_validation_data_are_held_out_by_all():
    spec, table, _ = problem()
    held = table.take(slice(0, 50))
    trained = train_members(
        spec, table, Training(members=2, epochs=2), validation=held, score=accuracy
    )
    assert trained.held_out.rows.tolist() == list(range(50))
    expected = np.mean([n.predict(held) for n in trained.networks], axis=0)
    np.testing.assert_allclose(trained.held_out.predictions, expected, atol=1e-7)


def test_callbacks_see_the_score():
    spec, table, y = problem()
    record = {}
    train_members(
        spec, table, Training(members=2, epochs=3), labels=y, score=accuracy,
        callbacks=[hg.record_evaluation(record)],
    )  # fmt: skip
    assert len(record["valid"]["accuracy"]) == len(record["valid"]["cross_entropy"]) == 6


def test_nothing_is_held_out_on_request():
    spec, table, y = problem()
    for options in ({"early_stopping": False}, {"validation_fraction": 0.0}):
        trained = train_members(spec, table, Training(members=1, epochs=1, **options), labels=y)
        assert trained.held_out is None
        assert len(trained.history.val_loss) == 0


def test_predictions_at_every_step_of_parts_of_unequal_length():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 400)
    X = [rng.integers(0, 5, size) for size in sizes]
    Y = [x % 2 for x in X]
    spec = hg.NetworkSpec.stacked(
        None, 4, 2, vocabulary=5, embedding_size=3, readout="every", task="classification"
    )
    table = table_of(X, Y, spec=spec, output_size=1)
    trained = train_members(spec, table, Training(members=2, epochs=1))
    held = trained.held_out
    assert held.predictions.shape == (80, sizes[held.rows].max(), 2)
    for row, prediction in zip(held.rows, held.predictions, strict=True):
        np.testing.assert_allclose(prediction[: sizes[row]].sum(1), 1, atol=1e-5)
        assert not prediction[sizes[row] :].any()


def test_epochs_by_the_number_of_updates():
    assert epochs_for(3200, 32, 1000, most=50) == 10
    assert epochs_for(10, 32, 1000, most=50) == 50
    assert epochs_for(10**6, 32, 1000, most=50) == 3
