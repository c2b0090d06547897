"""SequenceTagger on sentences made of a few rules."""

import itertools
import json

import numpy as np
import pytest

import headgate as hg
from headgate.model_file import load_model, save_model
from headgate.models.texts.spans import follows

SMALL = {"hidden_size": 8, "embedding_size": 16, "members": 2, "epochs": 6, "progress": False}


def sentences(count=240, seed=0):
    """Names in capitals behind "in" are places, behind "mr" persons; places have two words."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(count):
        tokens, tags = [], []
        for _ in range(rng.integers(1, 4)):
            fill = ["".join(rng.choice(list("abcde"), 3)) for _ in range(rng.integers(0, 3))]
            name = ["".join(rng.choice(list("ABCDE"), 4)) for _ in range(2)]
            kind = rng.integers(0, 3)
            if kind == 0:
                fill, own = [*fill, "in", *name], ["O", "B-place", "I-place"]
            elif kind == 1:
                fill, own = [*fill, "mr", name[0]], ["O", "B-person"]
            else:
                fill, own = [*fill, "the"], ["O"]
            tags += ["O"] * (len(fill) - len(own)) + own
            tokens += fill
        X.append(tokens)
        y.append(tags)
    return X, y


def nonsense():
    """Sentences of which no tagger can be sure."""
    rng = np.random.default_rng(0)
    return [["".join(rng.choice(list("aAB.9北"), 3)) for _ in range(30)] for _ in range(50)]


def whole(tags):
    return all(itertools.starmap(follows, itertools.pairwise([None, *tags])))


@pytest.fixture(scope="module")
def fitted():
    X, y = sentences(400)
    return hg.SequenceTagger(**SMALL).fit(X, y)


def test_it_learns_names_from_their_neighbours(fitted):
    X, y = sentences(seed=1)
    assert fitted.score(X, y) > 0.95
    assert fitted.validation_score_ > 0.8
    assert fitted.classes_.tolist() == ["B-person", "B-place", "I-place", "O"]
    assert len(fitted.history_.val_losses) == len(fitted.history_.val_scores) == 6
    tags = fitted.predict([["bab", "in", "AAAA", "BBBB"], [], ["mr", "CACA"]])
    assert tags == [["O", "O", "B-place", "I-place"], [], ["O", "B-person"]]


def test_spans_are_always_whole(fitted):
    X = nonsense()
    free = [row.argmax(axis=1) for row in fitted.predict_proba(X)]
    assert not all(map(whole, (fitted.classes_[row].tolist() for row in free)))
    assert all(map(whole, fitted.predict(X)))


def test_probabilities_are_those_of_each_sentence_alone(fitted, monkeypatch):
    X = [["in", "AAAA"], [], ["the"] * 7, ["x"]]
    together = fitted.predict_proba(X)
    assert [p.shape for p in together] == [(2, 4), (0, 4), (7, 4), (1, 4)]
    np.testing.assert_allclose(np.concatenate(together).sum(axis=1), 1, rtol=1e-6)
    monkeypatch.setattr("headgate.models.texts.tagger.PREDICTED_AT_ONCE", 1)
    for item, row in zip(X, together, strict=True):
        assert fitted.predict_proba([item])[0].tobytes() == row.tobytes()
    assert fitted.predict([]) == []


def test_boldness_finds_more_spans(fitted):
    X = nonsense()
    given = fitted.boldness_
    try:
        fitted.boldness_ = 0.0
        few = sum(tag != "O" for tags in fitted.predict(X) for tag in tags)
        fitted.boldness_ = 3.0
        many = sum(tag != "O" for tags in fitted.predict(X) for tag in tags)
    finally:
        fitted.boldness_ = given
    assert many > few
    assert 0 <= given <= 3


def test_the_same_seed_gives_the_same_tagger():
    X, y = sentences(60)
    options = SMALL | {"epochs": 1, "members": 1}
    first, second, third = (
        hg.SequenceTagger(**options, seed=seed).fit(X, y).predict_proba(X)[0].tobytes()
        for seed in (3, 3, 4)
    )
    assert first == second != third


def test_parts_of_speech_are_measured_by_token():
    words = {"N": ["dog", "cat", "sun"], "V": ["runs", "sees"], "D": ["the", "a"]}
    rng = np.random.default_rng(0)
    y = [["D", "N", "V"][: rng.integers(1, 4)] for _ in range(80)]
    X = [[str(rng.choice(words[tag])) for tag in tags] for tags in y]
    model = hg.SequenceTagger(**SMALL | {"epochs": 8, "learning_rate": 0.02}).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.boldness_ == 0
    assert model.score([["dog", "dog"]], [["N", "new"]]) == 0.5  # a tag of the test part alone


def test_tags_may_be_numbers():
    X = [["a", "b"], ["b", "a"]] * 5
    y = [[0, 1], [1, 0]] * 5
    model = hg.SequenceTagger(**SMALL | {"epochs": 30, "learning_rate": 0.02}, early_stopping=False)
    with_arrays = model.fit([np.array(row) for row in X], [np.array(row) for row in y])
    assert with_arrays.predict([["a", "b", "a"]]) == [[0, 1, 0]]


def test_a_tag_of_the_validation_part_alone():
    X, y = sentences(60)
    options = SMALL | {"epochs": 1, "members": 1}
    model = hg.SequenceTagger(**options).fit(
        X, y, validation_data=([["mr", "XX"], ["x"]], [["O", "B-new"], ["O"]])
    )
    assert model.classes_.tolist() == ["B-person", "B-place", "I-place", "O"]
    assert model.validation_score_ == 0
    with pytest.raises(hg.InputError, match="no tag that the training data have"):
        model.fit(X, y, validation_data=([["mr"]], [["new"]]))
    with pytest.raises(hg.InputError, match=r"validation_data must be \(X, y\)"):
        model.fit(X, y, validation_data=3)


def test_class_weights_make_rare_tags_likelier():
    X, y = sentences(60)
    options = SMALL | {"epochs": 2, "members": 1}
    plain = hg.SequenceTagger(**options).fit(X, y)
    even = hg.SequenceTagger(**options, class_weight={"O": 0.1}).fit(X, y)
    outside = [np.concatenate(model.predict_proba(X))[:, 3].mean() for model in (plain, even)]
    assert outside[1] < outside[0]


def test_partial_fit_goes_on():
    X, y = sentences(60)
    model = hg.SequenceTagger(**SMALL | {"epochs": 1, "members": 1})
    model.partial_fit(X, y, classes=["B-person", "B-place", "I-place", "O", "B-late"])
    assert len(model.classes_) == 5
    before = model.predict_proba(X)[0]
    model.partial_fit(X[:9], [["B-late"] * len(row) for row in X[:9]], epochs=20)
    late = model.classes_.tolist().index("B-late")
    assert model.predict_proba(X)[0][0, late] > before[0, late]
    with pytest.raises(hg.InputError, match="'B-new', a class that the fit did not know"):
        model.partial_fit([["a"]], [["B-new"]])


def test_partial_fit_weighs_classes_as_fit_does():
    X, y = sentences(60)
    heavy = {tag: 0.0 for row in y for tag in row} | {"O": 1.0}
    plain, weighed = (hg.SequenceTagger(**SMALL | {"epochs": 1, "members": 1}) for _ in range(2))
    for model in (plain, weighed):
        model.fit(X, y)
    weighed.class_weight = heavy
    shares = [np.mean(np.concatenate(m.partial_fit(X, y, epochs=30).predict_proba(X))[
        :, m.classes_.tolist().index("O")]) for m in (plain, weighed)]  # fmt: skip
    assert shares[1] > shares[0] + 0.1


def test_a_saved_tagger_predicts_the_same_bits(fitted, tmp_path):
    X, _ = sentences(seed=5)
    fitted.save(tmp_path / "model.safetensors")
    again = hg.load(tmp_path / "model.safetensors")
    assert isinstance(again, hg.SequenceTagger)
    assert again.predict(X) == fitted.predict(X)
    assert again.predict_proba(X)[3].tobytes() == fitted.predict_proba(X)[3].tobytes()
    assert again.get_params() == fitted.get_params()
    assert again.validation_score_ == fitted.validation_score_
    again.partial_fit([["mr", "DADA"]], [["O", "B-person"]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boldness", "x"),
        ("boldness", -1),
        ("allowed", [[True]]),
        ("features", {"marks": [], "tokens": []}),
        ("labels", {"dtype": "<U1", "classes": ["a", "b"]}),
    ],
)
def test_a_broken_model_file_is_refused(fitted, tmp_path, name, value):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    file = load_model(path)
    estimator = json.loads(json.dumps(file.extra["estimator"]))
    estimator["facts"][name] = value
    save_model(path, file.spec, file.tensors, extra={"estimator": estimator})
    with pytest.raises(hg.ModelFileError, match="SequenceTagger cannot be rebuilt"):
        hg.load(path)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("a b", [["O"]], "X must be a list of sentences"),
        (["a b"], [["O", "O"]], r"X\[0\] must be a list of tokens, got 'a b'; split the text"),
        ([["a"], [b"b"]], [["O"], ["O"]], r"X\[1\]\[0\] must be a text, got b'b'; decode it first"),
        ([["a", None]], [["O", "O"]], r"X\[0\]\[1\] must be a text, got None"),
        ([["a"], ["a", "b"]], [["O"], ["O"]], r"X\[1\] has 2 tokens, but y\[1\] has 1 tags"),
        ([["a"], []], [["O"], ["O"]], r"X\[1\] has 0 tokens, but y\[1\] has 1 tags"),
        ([["a"]], [["O"], ["O"]], "X has 1 sentences, but y has 2"),
        ([["a"]], ["O"], r"y\[0\] must be a list of tags"),
        ([["a"]], None, "y is None"),
        ([["a"]], 3, "y must be a list of lists of tags"),
        ([["a", "b"]], [["O", None]], "contains None, at index 1"),
        ([["a", "b"]], [["O", "O"]], "y holds one class, 'O'"),
        ([[], []], [[], []], "X has no tokens"),
        ([], [], "X has no tokens"),
    ],
)
def test_what_is_no_sentence_is_named(X, y, message):
    with pytest.raises(hg.InputError, match=message):
        hg.SequenceTagger(**SMALL).fit(X, y)


def test_a_few_odd_sentences_are_enough():
    with pytest.warns(hg.HeadgateWarning, match="2 examples are too few"):
        model = hg.SequenceTagger(**SMALL | {"epochs": 1}).fit(
            [["😀"], [], ["x" * 100_000]], [["B-a"], [], ["O"]]
        )
    tags = model.predict([["", "\ud800", "\x00"], ["😀"] * 3000])
    assert [len(row) for row in tags] == [3, 3000]
    assert model.validation_score_ is None


def test_it_must_be_fitted_and_its_parameters_be_right():
    model = hg.SequenceTagger()
    for use in (lambda: model.predict([["a"]]), lambda: model.score([["a"]], [["O"]])):
        with pytest.raises(hg.NotFittedError):
            use()
    for name in ("embedding_size", "min_count", "hidden_size"):
        with pytest.raises(hg.InputError, match=name):
            hg.SequenceTagger(**{name: 0}).fit([["a", "b"]], [["O", "B-a"]])
