"""SequenceClassifier and SequenceRegressor: real sequences, awkward ones, files."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import headgate as hg
from headgate.data.sequences import Ragged, as_sequences
from headgate.model_file import load_model, save_model
from headgate.models.sequences.reading import Reading, altered


# Few rows in scikit-learn's own data: that nothing is held out is said each time.
@pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning")
@parametrize_with_checks([hg.SequenceClassifier(), hg.SequenceRegressor()])
def test_scikit_learn(estimator, check):
    check(estimator)


def waves(count=60, *, channels=1, seed=0, ragged=True):
    """Slow and fast waves of any phase, and their speeds."""
    rng = np.random.default_rng(seed)
    fast = np.arange(count) % 2
    speed = np.where(fast, 1.5, 0.5) * rng.uniform(0.8, 1.2, count)
    X = []
    for k in range(count):
        steps = np.arange(rng.integers(20, 40) if ragged else 30)
        phases = rng.uniform(0, 6, (1, channels))
        X.append(
            np.sin(speed[k] * steps[:, None] + phases) + 0.1 * rng.normal(size=(len(steps), 1))
        )
    return X, np.where(fast, "fast", "slow"), speed


def quick(cls=hg.SequenceClassifier, **options):
    return cls(**{"members": 2, "hidden_size": 8, "epochs": 6, "learning_rate": 0.01, **options})


@pytest.fixture(scope="module")
def fitted():
    X, y, _ = waves()
    return quick().fit(X, y)


# -- what is learned ------------------------------------------------------------------------


def test_classes_of_sequences_of_unequal_length(fitted):
    X, y, _ = waves(seed=1)
    assert fitted.score(X, y) > 0.9
    proba = fitted.predict_proba(X)
    assert (proba.shape, proba.dtype) == ((60, 2), np.float64)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert fitted.classes_.tolist() == ["fast", "slow"]
    assert fitted.predict(X).tolist() == fitted.classes_[proba.argmax(axis=1)].tolist()
    np.testing.assert_array_equal(fitted.predict_proba(X[7:8])[0], proba[7])
    assert len(fitted.history_.loss) == 6


def test_numbers_of_sequences():
    X, _, speed = waves(200, seed=2)
    model = quick(hg.SequenceRegressor, epochs=15).fit(X, speed)
    X, _, truth = waves(100, seed=3)
    assert model.score(X, truth) > 0.8
    assert model.predict(X).shape == (100,)


def test_several_numbers_at_once_in_units_of_their_own():
    X, _, speed = waves(100, ragged=False)
    Y = np.stack([speed, 1e6 + 1e5 * speed], axis=1)
    model = quick(hg.SequenceRegressor).fit(np.stack(X), Y)
    out = model.predict(np.stack(X))
    assert out.shape == (100, 2)
    assert abs(out[:, 1].mean() - Y[:, 1].mean()) < 1e5
    with pytest.raises(hg.InputError, match="y has 1 columns, but 2 were fitted"):
        model.partial_fit(X, speed)


def test_what_is_held_out_measures_each_network_on_what_it_did_not_see():
    X, y, speed = waves(300)
    model = quick(epochs=2).fit(X, y)
    assert 0.5 < model.validation_score_ <= 1
    assert len(model.history_.val_scores) == len(model.history_.val_loss) == 2
    assert quick(epochs=2).fit(X[:90], y[:90]).validation_score_ is None
    held = waves(40, seed=5)
    record = {}
    model = quick(epochs=2).fit(
        X, y, validation_data=held[:2], callbacks=[hg.record_evaluation(record)]
    )
    assert model.validation_score_ == pytest.approx(model.score(*held[:2]))
    assert len(record["valid"]["accuracy"]) == 4
    model = quick(hg.SequenceRegressor, epochs=2)
    model.fit(X, speed, validation_data=(held[0], held[2]))
    assert model.validation_score_ == pytest.approx(model.score(held[0], held[2]), abs=1e-4)


def test_weights_of_classes_move_the_answers():
    X, y, _ = waves(40)
    much = quick(class_weight={"slow": 50.0}).fit(X, y).predict_proba(X)[:, 1].mean()
    little = quick(class_weight={"slow": 0.02}).fit(X, y).predict_proba(X)[:, 1].mean()
    assert much > 0.6 > 0.4 > little


def test_same_seed_same_bits_for_any_number_of_threads(fitted, threads):
    X, y, _ = waves()
    expected = fitted.predict_proba(X)
    hg.set_num_threads(1 if hg.get_num_threads() > 1 else 2)
    np.testing.assert_array_equal(quick().fit(X, y).predict_proba(X), expected)
    assert not np.array_equal(quick(seed=1).fit(X, y).predict_proba(X), expected)


# -- shapes ---------------------------------------------------------------------------------


def test_arrays_frames_and_lists_of_the_same_series_are_the_same():
    X, y, _ = waves(30, ragged=False)
    table = np.stack(X)[:, :, 0]
    model = quick().fit(table, y)
    expected = model.predict_proba(table)
    assert model.n_features_in_ == 30
    for other in (table.tolist(), table[:, :, None], list(table), [row[:, None] for row in table],
                  pd.DataFrame(table)):  # fmt: skip
        np.testing.assert_array_equal(model.predict_proba(other), expected)
    assert model.predict([row[:11] for row in table]).shape == (30,)
    with pytest.raises(hg.InputError) as error:
        model.predict(table[:, :11])
    assert str(error.value) == (
        "X has 11 features, but SequenceClassifier is expecting 30 features as input, the steps of "
        "each row in fit; pass series of other lengths as a list of arrays"
    )


def test_several_channels():
    X, y, _ = waves(40, channels=3)
    model = quick().fit(X, y)
    assert (model.n_features_in_, model.score(X, y)) == (3, pytest.approx(1, abs=0.1))
    with pytest.raises(hg.InputError, match="X has 2 channels, but is expecting 3, as in fit"):
        model.predict([x[:, :2] for x in X])


def test_targets_beyond_the_engine_are_refused():
    with pytest.raises(hg.InputError, match=r"y holds 1e\+300, which is beyond the numbers of"):
        quick(hg.SequenceRegressor).fit(np.ones((3, 4)), [0.0, 1e300, 1.0])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.ones(3), np.ones((2, 2))], r"X\[1\] has 2 channels, but X\[0\] has 1"),
        ([np.ones(3), np.ones(0)], r"X\[1\] must be \(T,\) or \(T, I\) with at least one step"),
        ([np.ones(3), [1, np.nan]], r"X\[1\] contains NaN, at index \(1,\): every value"),
        (np.ones(3), "Reshape your data: a single series is X"),
        (np.ones((2, 0)), r"Found array with 0 feature\(s\) \(shape=\(2, 0\)\)"),
        ("abc", "X must be sequences"),
        (None, "X must be sequences"),
        ({"x": [1]}, "X must be sequences"),
        ([["a", "b"], ["c", "d"]], "X must hold numbers"),
        (np.ones((2, 3), complex), "Complex data not supported"),
    ],
)
def test_what_cannot_be_sequences(X, message):
    with pytest.raises(hg.InputError, match=message):
        as_sequences(X)


# -- awkward data ---------------------------------------------------------------------------


def test_constant_series_and_series_of_one_step():
    X = [np.zeros(1 + k % 3) for k in range(20)]
    y = np.arange(20) % 2
    proba = quick().fit(X, y).predict_proba(X)
    assert np.isfinite(proba).all()
    huge = [1e30 * np.random.default_rng(k).normal(size=5) for k in range(20)]
    assert np.isfinite(quick().fit(huge, y).predict_proba(huge)).all()


def test_a_class_with_one_example_and_six_in_all():
    X, y, _ = waves(6)
    y = np.array(["a", "a", "a", "b", "b", "c"])
    with pytest.warns(hg.HeadgateWarning, match="6 examples are too few to hold some out"):
        model = quick().fit(X, y)
    assert model.predict_proba(X).shape == (6, 3)


def test_hardly_a_class_with_two_examples():
    X, _, _ = waves(310)
    with pytest.warns(hg.HeadgateWarning, match="308 of 309 classes have one example"):
        model = quick().fit(X, np.r_[0, np.arange(309)])
    assert model.validation_score_ is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be between 1 and 4096, got 0"),
        ({"members": 1000}, "members must be between 1 and 100"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"validation_fraction": 0.9}, "validation_fraction must be between 0 and 0.5"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number above 0"),
        ({"class_weight": "even"}, "class_weight must be None, 'balanced' or a dict"),
        ({"early_stopping": 3}, "early_stopping must be True or False"),
        ({"max_steps": 0}, "max_steps must be between"),
        ({"epochs": 0}, "epochs must be between 1"),
        ({"augment": "yes"}, "augment must be True or False"),
    ],
)
def test_parameters_are_checked(options, message):
    X, y, _ = waves(20)
    with pytest.raises(hg.InputError, match=message):
        hg.SequenceClassifier(**options).fit(X, y)


def test_a_fit_that_fails_leaves_the_earlier_one(fitted):
    X, y, _ = waves()
    model = clone(fitted).fit(X, y)
    expected = model.predict_proba(X)
    for bad in (y[:-1], ["only"] * 60, [None] * 60):
        with pytest.raises(hg.InputError):
            model.fit(X, bad)
    np.testing.assert_array_equal(model.predict_proba(X), expected)


# -- going on, files ------------------------------------------------------------------------


def test_partial_fit_goes_on_and_refuses_new_classes():
    X, y, _ = waves(80)
    model = quick(epochs=1, learning_rate=0.005).partial_fit(X[:40], y[:40], ["fast", "slow", "x"])
    assert model.classes_.tolist() == ["fast", "slow", "x"]
    before = model.members_.networks[0].evaluate(_table(model, X, y))
    for _ in range(5):
        model.partial_fit(X[40:], y[40:])
    assert model.members_.networks[0].evaluate(_table(model, X, y)) < before
    assert model.validation_score_ is None
    with pytest.raises(hg.InputError, match=r"y\[0\] is 'new', a class that the fit did not know"):
        model.partial_fit(X, ["new", *y[1:]])
    with pytest.raises(hg.InputError, match=r"classes\[0\] is 'new'"):
        model.partial_fit(X, y, classes=["new"])


def _table(model, X, y):
    from headgate.models.sequences.base import column, with_targets

    codes = column(model.labels_.encode(y))
    return with_targets(model.reading_.table(as_sequences(X)), codes)


def test_files_bring_everything_back(fitted, tmp_path):
    X, y, speed = waves(channels=2)
    for model in (quick(class_weight={"fast": 2.0}).fit(X, y),
                  quick(hg.SequenceRegressor).fit(X, np.stack([speed, -speed], axis=1)),
                  quick(hg.SequenceRegressor).fit(np.ones((30, 4)), np.arange(30))):  # fmt: skip
        model.save(tmp_path / "model.safetensors")
        again = hg.load(tmp_path / "model.safetensors")
        data = X if model.n_features_in_ == 2 else np.ones((3, 4))
        np.testing.assert_array_equal(again.predict(data), model.predict(data))
        assert again.get_params() == model.get_params()
        assert again.history_.to_dict() == model.history_.to_dict()
        again.save(tmp_path / "again.safetensors")
        first, second = ((tmp_path / f"{n}.safetensors").read_bytes() for n in ("model", "again"))
        assert first == second


def test_files_that_cannot_be_are_refused(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    file = load_model(path)
    facts = file.extra["estimator"]
    own = facts["facts"]
    reading = own["reading"]
    broken = [
        {**facts, "members": 3},
        {**facts, "parameters": {"strange": 1}},
        {**facts, "parameters": {**facts["parameters"], "dropout": 7}},
        {**facts, "facts": {**own, "labels": {"dtype": "<U4", "classes": ["a", "b", "c"]}}},
        {**facts, "facts": {**own, "reading": {**reading, "scale": [0.0]}}},
        {**facts, "facts": {**own, "reading": {**reading, "shift": [0.0, 1.0]}}},
        {**facts, "facts": {**own, "reading": {**reading, "factor": 0.0}}},
        {**facts, "facts": {**own, "reading": {**reading, "length_scale": 0.0}}},
        {key: value for key, value in facts.items() if key != "history"},
    ]
    for wrong in broken:
        save_model(path, file.spec, file.tensors, extra={"estimator": wrong})
        with pytest.raises(hg.ModelFileError, match="SequenceClassifier cannot be rebuilt"):
            hg.load(path)
    with pytest.raises(hg.NotFittedError, match="this SequenceClassifier is not fitted"):
        hg.SequenceClassifier().save(path)


# -- what the networks read -----------------------------------------------------------------


def test_long_sequences_are_averaged_down_by_one_factor():
    parts = [np.arange(12.0)[:, None], np.full((6, 1), 3.0), np.ones((1, 1))]
    given = Ragged.joined([part.astype(np.float32) for part in parts])
    reading = Reading.learn(given, 4)
    table = reading.table(given)
    assert (reading.factor, table.lengths.tolist(), reading.width) == (3, [4, 2, 1], 3)
    values = table.x[:, 0] * reading.scale[0] + reading.shift[0]
    np.testing.assert_allclose(values, [1, 4, 7, 10, 3, 3, 1], atol=1e-5)
    slopes = table.x[:, 1] * reading.slopes[0] * reading.scale[0]
    np.testing.assert_allclose(slopes, [0, 3, 3, 3, 0, 0, 0], atol=1e-5)
    logs = table.x[:, 2] * reading.length_scale + reading.length_shift
    np.testing.assert_allclose(np.exp(logs), [12] * 4 + [6] * 2 + [1], rtol=1e-5)
    assert Reading.from_dict(reading.to_dict()) == reading


def test_parts_of_steps_count_by_their_share():
    given = Ragged.joined([np.array([[0.0], [6.0], [12.0]], np.float32)])
    reading = Reading.learn(given, 2)
    values = reading.table(given).x[:, 0] * reading.scale[0] + reading.shift[0]
    np.testing.assert_allclose(values, [2, 10], atol=1e-5)  # (0 + 6 / 2) / 1.5, (6 / 2 + 12) / 1.5


def test_long_sequences_are_read_alike_alone_and_beside_others():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 2)).astype(np.float32) for n in (90, 71, 33, 90, 50)]
    reading = Reading.learn(Ragged.joined(parts), 16)
    parts[0][5, 0] = 1e20  # whatever stands before them
    table = reading.table(Ragged.joined(parts))
    for part, start, length in zip(parts, table.starts, table.lengths, strict=True):
        alone = reading.table(Ragged.joined([part])).x
        assert np.array_equal(table.x[start : start + length], alone)


def test_altered_copies_are_like_what_they_copy():
    X, _, _ = waves(30, channels=2)
    given = as_sequences(X)
    copy = altered(given, 3)
    assert copy.values.tolist() == altered(given, 3).values.tolist()
    assert copy.values.tolist() != altered(given, 4).values.tolist()
    assert 0.8 < np.mean(copy.lengths / given.lengths) < 1.2
    ends = [np.corrcoef(a[:4, 0], b[:4, 0])[0, 1] for a, b in zip(copy.parts(), given.parts(),
                                                                  strict=True)]  # fmt: skip
    assert np.median(ends) > 0.8
