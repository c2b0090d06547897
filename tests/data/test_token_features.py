"""What a tagger sees of a token."""

import numpy as np
import pytest

import headgate as hg
from headgate.data.token_features import CHARACTERS, KINDS, TokenFeatures, shape
from headgate.data.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Paris", "Xxx"),
        ("iPhone12", "xXxxdd"),
        ("U.S.", "X.X."),
        ("北京", "cc"),
        ("...", ".."),
        ("", ""),
        ("ab1" * 10, "xxdxxdxxdxxd"),
    ],
)
def test_shape(word, expected):
    assert shape(word) == expected


def named(features, token):
    row = features.encode([[token]])[0]
    return [features.vocabulary.names[k] for k in row if k]


def test_features_of_a_token():
    features = TokenFeatures.of([["Walked", "北京"]])
    assert named(features, "Walked") == [
        *("word=walked", "shape=Xxx", "first=W", "last=d", "first2=wa", "last2=ed"),
        *("first3=wal", "last3=ked"),
        *(f"character={c}" for c in "walked"),
    ]
    assert named(features, "Ｗalked") == named(features, "Walked")  # full width, as in Chinese text
    assert named(features, "talked")[:4] == ["word", "shape", "first", "last=d"]
    assert len(named(features, "北京" * 50)) == len(KINDS) + CHARACTERS


def test_rare_features_are_the_unknown_of_their_kind():
    features = TokenFeatures.of([["walked", "talked"]], min_count=2)
    assert named(features, "walked")[:2] == ["word", "shape=xx"]
    rows = features.encode([["walked"], [], ["x", "talked"]])
    assert rows.shape == (3, features.columns)
    assert rows.dtype == np.int32
    assert rows.max() < len(features)
    assert TokenFeatures.of([["walked", "talked"]], max_size=14).vocabulary.names[10:] == (
        "character=a",
        "character=d",
        "character=e",
        "character=k",
    )


def test_they_survive_json():
    features = TokenFeatures.of([["walked", "a\ud800b", "x" * 1000, ""]])
    again = TokenFeatures.from_dict(features.to_dict())
    tokens = [["walked", "x" * 1000, "new", "", "a\ud800b"]]
    assert again.encode(tokens).tolist() == features.encode(tokens).tolist()
    for hostile in (None, {}, Vocabulary(["a"]).to_dict(), {"marks": [1], "tokens": []}):
        with pytest.raises(hg.InputError):
            TokenFeatures.from_dict(hostile)
