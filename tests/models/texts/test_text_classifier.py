"""TextClassifier: small texts, awkward ones, files; its n-grams and what its networks read."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tolerances import NGRAM_PROBABILITY

import headgate as hg
from headgate.data.cleaning import Cleaning
from headgate.models.texts.ngrams import NgramClassifier, Ngrams, blend_weights, log_softmax
from headgate.models.texts.reading import TextReading, WordDropout

GOOD = ["good", "great", "lovely", "fine"]
BAD = ["bad", "awful", "boring", "poor"]
OTHER = ["the", "a", "film", "was", "and", "plot", "with", "very", "of", "it"]


def reviews(count=400, seed=0):
    """Texts in which one word tells the label."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for k in range(count):
        words = list(rng.choice(OTHER, rng.integers(2, 9)))
        words.insert(rng.integers(len(words) + 1), str(rng.choice(BAD if k % 2 else GOOD)))
        X.append(" ".join(words))
        y.append("neg" if k % 2 else "pos")
    return X, y


def test_pipelines_of_scikit_learn_take_texts():
    """That arrays of numbers are not read is told by tags; scikit-learn's own checks need them."""
    for model in (hg.TextClassifier(), hg.SequenceTagger(), hg.LanguageModel()):
        assert model.__sklearn_tags__().input_tags.string
        assert not model.__sklearn_tags__().input_tags.two_d_array
    model = hg.LanguageModel(hidden_size=4, epochs=1)
    assert make_pipeline(model).fit(["one and two and three"] * 20)[-1] is model


def quick(**options):
    small = {"members": 2, "embedding_size": 8, "hidden_size": 8, "epochs": 6}
    return hg.TextClassifier(**{**small, "learning_rate": 0.02, "progress": False, **options})


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(*reviews())


# -- what is learned ----------------------------------------------------------------------------


@pytest.mark.parametrize("ngrams", [True, False])
def test_what_tells_the_label_is_learned(ngrams):
    model = quick(ngrams=ngrams).fit(*reviews())
    X, y = reviews(100, seed=1)
    assert model.score(X, y) > 0.9
    proba = model.predict_proba(X)
    assert (proba.shape, proba.dtype) == ((100, 2), np.float64)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert model.predict(X).tolist() == model.classes_[proba.argmax(axis=1)].tolist()
    assert model.validation_score_ > 0.9
    assert (model.ngrams_ is not None) == ngrams
    np.testing.assert_array_equal(model.predict_proba(X[7:8])[0], proba[7])


def test_the_order_of_words_is_learned():
    rng = np.random.default_rng(0)
    pairs = [sorted(rng.choice(40, 2, replace=False)) for _ in range(600)]
    # which of two words comes first: no counts of words tell that
    X = [" . ".join(f"word{w}" for w in (p if k % 2 else p[::-1])) for k, p in enumerate(pairs)]
    y = np.arange(600) % 2
    model = quick(ngrams=False, word_dropout=0.0, dropout=0.1, epochs=15).fit(X[:500], y[:500])
    assert model.score(X[500:], y[500:]) > 0.9


def test_the_same_seed_gives_the_same_bits():
    X, y = reviews(120)
    one, two = (quick(epochs=2).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, quick(epochs=2, seed=1).fit(X, y).predict_proba(X))


def test_chinese_by_character_and_labels_of_numbers():
    good, bad = ["很好吃", "味道不错", "送餐快"], ["太难吃", "味道差", "送餐慢"]
    X = [f"{a}，{b}" for words in (good, bad) for a in words for b in words] * 10
    y = ([1] * 9 + [0] * 9) * 10
    model = quick().fit(X, y)
    assert not model.reading_.affixes
    assert model.predict(["很好吃！", "太难吃了"]).tolist() == [1, 0]
    assert model.explain("很好吃").tokens == ["很", "好", "吃"]


def test_windows_of_dna_are_read_by_place():
    rng = np.random.default_rng(0)
    X = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(600)]
    y = [text[20] for text in X]
    model = quick(epochs=8).fit(X[:500], y[:500])
    assert (model.reading_.places, model.reading_.tokenizer.kind) == (40, "char")
    assert model.score(X[500:], y[500:]) > 0.9


def test_three_classes_with_weights():
    X, y = reviews(300)
    y = ["so" if k % 10 == 0 else label for k, label in enumerate(y)]
    X = [f"{text} hm" if label == "so" else text for text, label in zip(X, y, strict=True)]
    model = quick(class_weight="balanced").fit(X, y)
    assert model.classes_.tolist() == ["neg", "pos", "so"]
    heavy = quick(class_weight={"so": 50.0}).fit(X, y)
    unknown = ["zzz"]
    assert heavy.predict_proba(unknown)[0, 2] > model.predict_proba(unknown)[0, 2]
    with pytest.raises(hg.InputError, match="class_weight names 'best', which is no class"):
        quick(class_weight={"best": 2}).fit(X, y)


def test_validation_data_of_ones_own():
    X, y = reviews()
    seen = []
    model = quick(epochs=2).fit(
        X[:300], y[:300], validation_data=(X[300:], y[300:]),
        callbacks=[lambda env: seen.append(dict(
            (name, score) for _, name, score, _ in env.evaluation_result_list
        ))],
    )  # fmt: skip
    assert len(seen) == 4
    assert "accuracy" in seen[0]
    assert model.validation_score_ is not None
    with pytest.raises(hg.InputError, match=r"validation_data must be \(X, y\)"):
        quick().fit(X, y, validation_data=X)


def test_explanations(fitted):
    text = "The film was lovely , with a plot"
    found = fitted.explain(text)
    assert found.tokens == text.split()
    assert found.positions == list(range(8))
    assert found.attention.shape == (8,)
    assert found.attention.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(found.running[-1], fitted.predict_proba([text])[0])
    np.testing.assert_array_equal(found.probabilities, found.running[-1])
    assert (found.label, found.classes.tolist()) == ("pos", ["neg", "pos"])
    lovely = found.tokens.index("lovely")
    assert found.running[lovely, 1] - found.running[lovely - 1, 1] > 0.2
    empty = fitted.explain("")
    assert (empty.tokens, empty.attention.shape, empty.running.shape) == ([], (0,), (0, 2))
    with pytest.raises(hg.InputError, match="explain takes one text, got list; pass a str"):
        fitted.explain([text])


def test_partial_fit_goes_on_and_knows_new_words_by_their_ngrams():
    X, y = reviews(200)
    model = quick().partial_fit(X, y, classes=["neg", "pos", "so"])
    assert model.classes_.tolist() == ["neg", "pos", "so"]
    new = [f"splendid {text}" for text, label in zip(X, y, strict=True) if label == "neg"]
    before = model.predict_proba(["splendid"])[0, 1]
    bits = model.predict_proba(X[:5])
    for _ in range(3):
        model.partial_fit(new, ["pos"] * len(new))
    assert model.predict_proba(["splendid"])[0, 1] > before
    assert not np.array_equal(bits, model.predict_proba(X[:5]))
    with pytest.raises(hg.InputError, match="a class that the fit did not know"):
        model.partial_fit(["x"], ["best"])


# -- awkward texts ------------------------------------------------------------------------------


def test_six_reviews():
    X = ["good film", "bad film", "great plot", "poor plot", "I liked it", "boring"]
    y = [True, False, True, False, True, False]
    with pytest.warns(hg.HeadgateWarning, match="6 examples are too few to hold some out"):
        model = hg.TextClassifier(progress=False).fit(X, y)
    assert model.predict(X).tolist() == y
    assert (model.validation_score_, model.blend_) == (None, (0.5, 0.5))


def test_strange_texts_are_classified(fitted):
    strange = ["", " \n", "🙂🙂👍🏽", "zzz qqq", "\x00", "好吃", "<br>", "\ud800"]
    proba = fitted.predict_proba(strange)
    assert np.isfinite(proba).all()
    np.testing.assert_array_equal(proba[0], proba[1])


def test_only_strange_texts_are_learned_from():
    X = ["", "🙂", "👍", "", "🙂🙂", ""] * 5
    with pytest.warns(hg.HeadgateWarning) if len(X) < 20 else _nothing():
        model = quick().fit(X, [1, 2, 2, 1, 2, 1] * 5)
    assert model.predict(["", "🙂"]).tolist() == [1, 2]


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_a_megabyte_in_one_text(fitted):
    X, y = reviews(60)
    for text in ("boring " * 150_000, "x" * 1_000_000):
        assert np.isfinite(fitted.predict_proba([text])).all()
        quick(epochs=1, members=1).fit([*X, text], [*y, "neg"])
    found = quick(max_length=6).fit(X, y).explain("one two three four five six seven eight")
    assert found.tokens == ["one", "two", "three", "six", "seven", "eight"]
    assert found.positions == [0, 1, 2, 5, 6, 7]
    assert len(found.attention) == len(found.running) == 6
    assert np.array_equal(found.running[-1], found.probabilities)


def test_a_class_with_one_example():
    X, y = reviews(320)
    with pytest.warns(hg.HeadgateWarning, match="1 of 3 classes have one example each"):
        model = quick(epochs=2).fit([*X, "hm"], [*y, "so"])
    assert model.predict_proba(["hm"]).shape == (1, 3)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("a text", ["a"], "X must be a list of texts, got 'a text'; put a single text into a list"),
        ([], [], "X is empty; pass one text or more"),
        (["a", None], [0, 1], r"X\[1\] must be a text, got None of type NoneType; pass ''"),
        (["a", 3.5], [0, 1], r"X\[1\] must be a text, got 3.5 of type float"),
        (["a", "b"], [0], "X has 2 texts, but y has 1 entries"),
        (["a", "b"], None, "the target y is None"),
        (["a", "b"], ["x", None], "contains None, at index 1"),
        (["a", "b"], [1.0, float("nan")], "contains NaN, at index 1"),
        (["a", "b"], ["x", "x"], "y holds one class, 'x'"),
    ],
)
def test_what_is_refused(X, y, message):
    with pytest.raises(hg.InputError, match=message):
        quick().fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": "letters"}, "tokens must be one of 'auto'"),
        ({"cleaning": True}, "cleaning must be a headgate.Cleaning or None, got bool"),
        ({"max_length": 1}, "max_length must be between 2 and"),
        ({"word_dropout": 1}, "word_dropout must be at least 0 and below 1"),
        ({"ngrams": 2}, "ngrams must be True or False"),
        ({"embedding_size": 0}, "embedding_size must be between 1 and 4096"),
        ({"members": 0}, "members must be between 1 and 100"),
    ],
)
def test_parameters_out_of_range(options, message):
    with pytest.raises(hg.InputError, match=message):
        quick(**options).fit(*reviews(40))


def test_before_fit():
    with pytest.raises(hg.NotFittedError, match="this TextClassifier is not fitted"):
        hg.TextClassifier().predict(["a"])
    assert clone(quick(max_length=7)).max_length == 7


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ngrams", [True, False])
def test_a_saved_model_predicts_the_same_bits(tmp_path, ngrams):
    X, y = reviews(150)
    weights = {"pos": 2.0}
    model = quick(ngrams=ngrams, cleaning=Cleaning(html=False), class_weight=weights).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    loaded = hg.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))
    assert loaded.get_params() == model.get_params()
    assert loaded.explain(X[0]).tokens == model.explain(X[0]).tokens
    loaded.partial_fit(X, y)


def test_broken_files_are_refused(tmp_path, fitted):
    from headgate.model_file import load_model, save_model

    fitted.save(tmp_path / "model.safetensors")
    file = load_model(tmp_path / "model.safetensors")

    def saved(change):
        extra = {"estimator": dict(file.extra["estimator"])}
        extra["estimator"]["facts"] = dict(extra["estimator"]["facts"])
        tensors = dict(file.tensors)
        change(extra["estimator"]["facts"], tensors)
        save_model(tmp_path / "broken.safetensors", file.spec, tensors, extra=extra)
        with pytest.raises(hg.ModelFileError, match="TextClassifier cannot be rebuilt"):
            hg.load(tmp_path / "broken.safetensors")

    saved(lambda facts, tensors: facts.pop("reading"))
    saved(lambda facts, tensors: facts.update(blend=[-1, 2]))
    saved(lambda facts, tensors: facts.update(ngrams={"longest": 99}))
    saved(lambda facts, tensors: tensors.pop("extra.ngrams.idf"))
    rows = "extra.ngrams.rows"
    saved(lambda facts, tensors: tensors.update({rows: tensors[rows][::-1].copy()}))
    saved(lambda facts, tensors: tensors.update({rows: tensors[rows] * np.float32(np.nan)}))


# -- parts --------------------------------------------------------------------------------------


def test_ngrams_are_scikit_learns_tfidf():
    X, y = reviews(150)
    codes = np.array([label == "pos" for label in y], np.int64)
    ngrams = Ngrams(longest=2, inside=False)
    model = NgramClassifier.fit(ngrams, ngrams.counts([x.split() for x in X]), codes, 2)

    def analyzer(text):
        words = ["\n", *text.split(), "\n"]
        return words + [" ".join(pair) for pair in itertools.pairwise(words)]

    tfidf = TfidfVectorizer(analyzer=analyzer, sublinear_tf=True)
    theirs = LogisticRegression(C=10, tol=1e-6, max_iter=1000).fit(tfidf.fit_transform(X), codes)
    new, _ = reviews(50, seed=2)
    ours = np.exp(model.log_proba(ngrams.counts([x.split() for x in new])))
    expected = theirs.predict_proba(tfidf.transform(new))
    np.testing.assert_allclose(ours, expected, atol=NGRAM_PROBABILITY)


def test_the_better_model_weighs_more():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 500)
    sure = log_softmax(np.eye(3)[codes] * 3 + rng.normal(size=(500, 3)))
    noise = log_softmax(rng.normal(size=(500, 3)))
    first, second = blend_weights(sure, noise, codes)
    assert first > 2 * second
    assert blend_weights(sure[:1], noise[:1], codes[:1]) == pytest.approx((0.5, 0.5), abs=0.3)


def test_words_are_hidden_anew_in_every_epoch():
    reading, split = TextReading.learn(
        ["a few words here", "some more words"] * 20, Cleaning(), "auto", 9
    )
    table = reading.table(split, np.arange(40) % 2)
    hide = WordDropout(table, reading.blank(), 0.5)
    part = hide.part(np.arange(40), 3)
    first = part.tokens.copy()
    hidden = (first == reading.blank()).all(axis=1)
    assert 0.3 < hidden.mean() < 0.7
    np.testing.assert_array_equal(first[~hidden], table.tokens[~hidden])
    hide(None)
    assert not np.array_equal(first, part.tokens)
    # the engine reads tokens where they lie: only so is what is drawn between epochs learned from
    net = hg.Network(
        hg.NetworkSpec(
            (hg.InputSpec("tokens", reading.columns, "tokens"),),
            (
                hg.Embedding("e", ("tokens",), vocabulary=len(reading.vocabulary), size=4),
                hg.Max("m", ("e",)),
                hg.Dense("head", ("m",), size=2),
            ),
            task="classification",
        ),
        seed=0,
    )
    seen = []

    def swap(env):
        seen.append(net.state_dict()["e.weight"])
        part.tokens[...] = 1

    net.fit(part, epochs=3, optimizer="sgd", callbacks=[swap])
    changed = [np.flatnonzero(np.abs(b - a).sum(axis=1)) for a, b in itertools.pairwise(seen)]
    assert [rows.tolist() for rows in changed] == [[1], [1]]


def test_pieces_of_words():
    reading, _ = TextReading.learn(["Running fast", "IT runs 42 !"], Cleaning(), "auto", 9)
    rows = reading.pieces(["Running", "fast"])
    assert rows[0] == [
        "wrunning", "nrunning fast", "arun", "brunn", "crunni", "xng", "ying", "zning", "sC"
    ]  # fmt: skip
    assert rows[1][:2] == ["wfast", "nfast \n"]
    assert reading.numbers(["Running", "fast"]).shape == (2, reading.columns)
    unknown = reading.numbers(["zzz"])[0]
    assert (unknown[0], unknown[2]) == (1, 0)
