"""Labels of any type as numbers, and back."""

import numpy as np
import pytest

import headgate as hg
from headgate.models.labels import Labels, as_labels, check_class_weight


@pytest.mark.parametrize(
    "y",
    [
        ["好评", "差评", "好评"],
        [3, 1, 1],
        [True, False, True],
        [2.0, 0.0, 2.0],
        np.array(["b", "a"], dtype=object),
        np.array([np.str_("b"), np.str_("a")], dtype=object),
        np.array([np.int64(2), np.int64(1)], dtype=object),
        np.array([7, 9], np.uint8),
    ],
    ids=lambda y: str(np.asarray(y).dtype),
)
def test_every_kind_of_label_comes_back_also_from_a_file(y):
    labels = Labels.learn(y)
    codes = labels.encode(y)
    assert codes.tolist() == [sorted(set(np.asarray(y).tolist())).index(v) for v in list(y)]
    again = Labels.from_dict(labels.to_dict())
    decoded = again.decode(codes)
    assert decoded.tolist() == np.asarray(y).tolist()
    assert decoded.dtype == np.asarray(y).dtype


def test_a_class_that_the_fit_did_not_know():
    labels = Labels.learn(["a", "b"])
    with pytest.raises(hg.InputError) as error:
        labels.encode(["a", "c"])
    assert str(error.value) == (
        "y[1] is 'c', a class that the fit did not know (it knows ['a', 'b']); name all classes "
        "at first, with partial_fit(X, y, classes=...), or fit anew"
    )
    assert Labels.learn(["a", "b"], classes=["a", "b", "c"]).encode(["c"]).tolist() == [2]
    with pytest.raises(hg.InputError, match="y has the label 'd', which classes does not name"):
        Labels.learn(["a", "d"], classes=["a", "b"])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "the target y is None"),
        ("abc", "y must be a list or array of labels, got 'abc'"),
        ([], "y is empty"),
        (["a", "a"], "y holds one class, 'a'; a classifier needs"),
        (["a", None], "Input y contains None, at index 1: every example needs a label"),
        ([1.0, float("nan")], "Input y contains NaN, at index 1"),
        ([0.5, 1.25], "Unknown label type: continuous"),
        (["a", 1], "must be of one type, texts or whole numbers, got int and str"),
        ([["a"], ["b", "c"]], "y must hold one label for each example, not lists"),
    ],
)
def test_what_cannot_be_labels(y, message):
    with pytest.raises(hg.InputError, match=message):
        Labels.learn(y)


def test_weights_of_classes():
    labels = Labels.learn(["a", "b", "a", "a"])
    codes = labels.encode(["a", "b", "a", "a"])
    assert labels.weights(None, codes) is None
    assert labels.weights("balanced", codes) == pytest.approx((4 / 6, 2.0))
    assert labels.weights({"b": 3}, codes) == (1.0, 3.0)
    with pytest.raises(hg.InputError, match="class_weight names 'c', which is no class"):
        labels.weights({"c": 1}, codes)
    with pytest.raises(hg.InputError, match="must be None, 'balanced' or a dict"):
        check_class_weight("even")
    with pytest.raises(hg.InputError, match="class_weight of 'a' must be a number"):
        check_class_weight({"a": -1})


@pytest.mark.parametrize(
    "facts",
    [
        {"dtype": "<U1", "classes": ["a", 1]},
        {"dtype": "<U1", "classes": ["a", "a"]},
        {"dtype": "<U1", "classes": ["aa", "ab"]},
        {"dtype": "<i8", "classes": "ab"},
        {"dtype": "<M8[s]", "classes": [1, 2]},
        {"dtype": "|O", "classes": [[1], [2]]},
    ],
)
def test_hostile_classes_are_refused(facts):
    with pytest.raises(hg.InputError, match="the classes cannot be"):
        Labels.from_dict(facts)


def test_a_column_is_taken_with_a_word():
    with pytest.warns(UserWarning, match="column-vector"):
        assert as_labels(np.array([["a"], ["b"]])).tolist() == ["a", "b"]
