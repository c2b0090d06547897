"""Cleaning, tokens and vocabulary: what a text becomes on its way to numbers, and back."""

import json
import sys
import tempfile

import numpy as np
import pytest

import headgate as hg
from headgate.data import tokens as tokens_module
from headgate.data.cleaning import Cleaning
from headgate.data.tokens import make_tokenizer, tokenizer_from_dict
from headgate.data.vocabulary import Vocabulary

LINES = ["the cat sat on the mat .", "the dog sat .", "今天阳光明媚,我决定去公园。"] * 4


# -- cleaning ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "text", "clean"),
    [
        ("html", "good<br />film &amp; <b>more</b><!-- x -->", "good film &  more  "),
        ("html", "<unk> a < b > c AT&T; &notaname;", "<unk> a < b > c AT&T; &notaname;"),
        ("urls", "看https://a.cn/x?y=1，好 www.b.com/z", "看<url>，好 <url>"),
        ("unicode", "ＡＢＣ，１２ ﬁ e\u0301", "ABC,12 fi é"),
        ("lower_case", "GOOD Film", "good film"),
        ("whitespace", " a\t\r\n b\u3000c\x00d\ufeff ", "a b c d"),
    ],
)  # fmt: skip
def test_each_step_of_cleaning_stands_by_itself(option, text, clean):
    none = Cleaning.none()
    assert none(text) == text
    assert Cleaning(**{**none.to_dict(), option: True})(text) == clean


def test_cleaning_comes_back_from_its_dictionary():
    steps = hg.Cleaning(urls=False)
    assert Cleaning.from_dict(json.loads(json.dumps(steps.to_dict()))) == steps
    for wrong in (None, {}, {**steps.to_dict(), "more": True}, {**steps.to_dict(), "html": "yes"}):
        with pytest.raises(hg.InputError):
            Cleaning.from_dict(wrong)


def test_cleaning_refuses_what_is_no_text_and_mends_what_no_file_can_hold():
    with pytest.raises(hg.InputError, match=r"^expected a text, got 3 of type int; pass a str"):
        Cleaning()(3)
    assert Cleaning.none()("a\ud800b") == "a\ufffdb"


# -- tokens --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's well-acted, 3.50!", ["It's", "well", "-", "acted", ",", "3.50", "!"]),
        ("it 's good", ["it", "'s", "good"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("今天2024年ABC好，", ["今", "天", "2024", "年", "ABC", "好", "，"]),
        ("👍🏽👨‍👩‍👧🇨🇳❤️", ["👍🏽", "👨‍👩‍👧", "🇨🇳", "❤️"]),
        ("naïve हिन्दी 한국어", ["naïve", "हिन्दी", "한국어"]),
        ("<unk> <url> a_b", ["<unk>", "<url>", "a", "_", "b"]),
        (" \n ", []),
    ],
)
def test_words(text, tokens):
    assert make_tokenizer("word", []).split(text) == tokens


def test_auto_takes_characters_where_there_are_no_words():
    assert make_tokenizer("auto", ["acgtacgtacgtacgtacgtacgt", "acg"]).kind == "char"
    assert make_tokenizer("auto", LINES).kind == "word"
    assert make_tokenizer("auto", ["", "🎉"]).kind == "word"
    assert make_tokenizer("char", []).split("ab 好") == ["a", "b", " ", "好"]


@pytest.mark.parametrize(
    "text", ["the cat sat, \"here\".", "今天阳光明媚,我决定去公园。", "it's (so) good!", "a-b"]
)  # fmt: skip
@pytest.mark.parametrize("kind", ["word", "char"])
def test_joined_tokens_are_the_text(kind, text):
    tokenizer = make_tokenizer(kind, [])
    assert tokenizer.join(tokenizer.split(text)) == text


def test_jieba_leaves_no_file_and_says_nothing(tmp_path, monkeypatch, capfd):
    pytest.importorskip("jieba", reason="cuts Chinese into words by jieba, an extra")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tokens_module._jieba.cache_clear()
    tokenizer = make_tokenizer("jieba", [])
    assert tokenizer.split("今天阳光明媚,我 决定") == ["今天", "阳光明媚", ",", "我", "决定"]
    assert tokenizer.join(tokenizer.split("我决定去")) == "我决定去"
    assert (list(tmp_path.iterdir()), capfd.readouterr()) == ([], ("", ""))


def test_subwords_are_learnt_and_lossless():
    pytest.importorskip("tokenizers", reason="learns subwords by tokenizers, an extra")
    tokenizer = make_tokenizer("subword", LINES, size=60)
    assert tokenizer == make_tokenizer("subword", LINES, size=60)
    assert len(tokenizer.alphabet) + len(tokenizer.merges) < 60
    assert "▁the" in tokenizer.split(LINES[0])
    for line in [*LINES, "two\nlines", ""]:
        joined = tokenizer.join(tokenizer.split(line))
        assert joined == "".join(
            c if c in tokenizer.alphabet or c == " " else "<unk>" for c in line
        )


@pytest.mark.parametrize("kind", ["word", "char", "jieba", "subword"])
def test_tokenizers_come_back_from_their_dictionaries(kind):
    if kind in ("jieba", "subword"):
        library = {"subword": "tokenizers"}.get(kind, kind)
        pytest.importorskip(library, reason=f"cuts by {library}, an extra")
    tokenizer = make_tokenizer(kind, LINES, size=60)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again == tokenizer
    assert [again.split(line) for line in LINES] == [tokenizer.split(line) for line in LINES]


@pytest.mark.parametrize(
    "content",
    [
        None, [], {}, {"kind": "magic"}, {"kind": ["word"]}, {"kind": "word", "more": 1},
        {"kind": "subword"},
        {"kind": "subword", "alphabet": "ab", "merges": []},
        {"kind": "subword", "alphabet": ["a"], "merges": [["a", "b"]]},
        {"kind": "subword", "alphabet": ["a"], "merges": [["a"]]},
        {"kind": "subword", "alphabet": ["a", ""], "merges": []},
    ],
)  # fmt: skip
def test_a_hostile_tokenizer_is_refused(content):
    with pytest.raises(hg.InputError):
        tokenizer_from_dict(content)


@pytest.mark.parametrize(("kind", "package"), [("jieba", "jieba"), ("subword", "tokenizers")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    tokens_module._jieba.cache_clear()
    with pytest.raises(hg.MissingExtraError) as caught:
        make_tokenizer(kind, LINES)
    assert str(caught.value).startswith(
        f"the kind of tokens {kind!r} needs the library {package}, which is not installed; install "
        "it with pip install \"headgate[text]\", or choose 'word'"
    )


def test_an_unknown_kind_is_named():
    with pytest.raises(hg.InputError, match="the kind of tokens must be one of 'auto', 'word'"):
        make_tokenizer("words", [])


# -- vocabulary ----------------------------------------------------------------------------


def test_a_vocabulary_goes_by_frequency_then_alphabet():
    vocabulary = Vocabulary.of([["b", "a", "c"], ["c", "a"], ["d", "c"]], marks=("<s>",))
    assert vocabulary.names == ("<pad>", "<unk>", "<s>", "c", "a", "b", "d")
    assert Vocabulary.of([["b", "a", "c", "c"]], max_size=3).names == ("<pad>", "<unk>", "c")
    assert Vocabulary.of([["b", "a", "c", "c"]], min_count=2).names == ("<pad>", "<unk>", "c")
    assert (len(vocabulary), vocabulary.mark("<s>"), "c" in vocabulary) == (7, 2, True)
    codes = vocabulary.encode(["c", "new", "d"])
    assert (codes.dtype, codes.tolist()) == (np.int32, [3, 1, 6])
    assert vocabulary.decode(codes) == ["c", "<unk>", "d"]
    assert vocabulary.encode([]).shape == (0,)


def test_names_of_padding_unknown_and_marks_in_a_text_are_unknown():
    vocabulary = Vocabulary.of([["<pad>", "<unk>", "<s>", "a"]], marks=("<s>",))
    assert len(vocabulary) == 4
    assert vocabulary.encode(["<pad>", "<unk>", "<s>", "a"]).tolist() == [1, 1, 1, 3]


def test_tokens_that_are_no_words_stay_out():
    assert Vocabulary.of([["a" * 101, "\ud800", "b"]]).names == ("<pad>", "<unk>", "b")


@pytest.mark.parametrize("wrong", [[-1], [4], [1.5]])
def test_indices_that_are_not_there_are_refused(wrong):
    with pytest.raises(hg.InputError):
        Vocabulary(["a", "b"]).decode(wrong)


def test_a_vocabulary_comes_back_from_its_dictionary():
    vocabulary = Vocabulary(["好", "a"], marks=["<s>"])
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary


@pytest.mark.parametrize(
    "content",
    [
        None, [], {}, {"marks": [], "tokens": "ab"}, {"marks": [], "tokens": [1]},
        {"marks": [], "tokens": ["a", "a"]}, {"marks": [], "tokens": ["<pad>"]},
        {"marks": ["a"], "tokens": ["a"]}, {"marks": [], "tokens": [["a"]]},
        {"marks": [], "tokens": [], "more": 1},
    ],
)  # fmt: skip
def test_a_hostile_vocabulary_is_refused(content):
    with pytest.raises(hg.InputError):
        Vocabulary.from_dict(content)
