"""The simple predictions beside which a network's stand."""

import numpy as np

from headgate.models import baselines


def test_the_majority():
    assert baselines.majority_class(["a", "b", "b"], 2) == ["b", "b"]
    tokens, tags = [["a", "b"], ["a", "c"]], [["X", "O"], ["X", "X"]]
    found = baselines.majority_tags(tokens, tags, [["a", "b", "new"]])
    assert found == [["X", "O", "X"]]


def test_a_linear_model_of_texts_takes_words_characters_or_letters():
    name, found = baselines.linear_text(["a good film", "bad work"] * 3, [1, 0] * 3, ["good"])
    assert (name, found) == (baselines.LINEAR_TEXT, [1])
    name, found = baselines.linear_text(["很好吃的", "太慢了吧你"] * 3, [1, 0] * 3, ["好吃"])
    assert (name, found) == (baselines.LINEAR_TEXT, [1])
    name, found = baselines.linear_text(["acgt", "acca"] * 3, [1, 0] * 3, ["ttgt"])
    assert (name, found) == (baselines.LINEAR_LETTERS, [1])
    name, found = baselines.linear_text(["!! ", "! ? ??", "? . "] * 2, [1, 0, 0] * 2, ["!"])
    assert (name, found) == (baselines.LINEAR_TEXT, [1])
    assert baselines.linear_text(["", "", ""], [1, 0, 0], ["a b"]) is None


def test_a_linear_model_of_sequences():
    low, high = np.zeros((5, 2)), np.ones((9, 2))
    name, found = baselines.linear_sequences([low, high] * 3, ["x", "y"] * 3, [high + 0.1])
    assert (name, found) == (baselines.LINEAR_NUMBERS, ["y"])
