"""What data are taken for, and what of them is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate import InputError
from headgate.experiments.data import ClassData, SeriesData, TextData, open_data

SERIES = "date,value\n" + "".join(f"{1990 + k // 12}-{k % 12 + 1:02},{k}\n" for k in range(100))
REVIEWS = "text,label\n" + "".join(
    f"this film number {k} is {'good' if k % 2 else 'bad'},{k % 2}\n" for k in range(40)
)
LINES = "".join(f"{'pos' if k % 3 else 'neg'} a film of {k} minutes\n" for k in range(40))
POEM = "".join(
    f"{word} {k} waves of the sea\nand{k} more\n" for k, word in enumerate("abcdefgh" * 5)
)
TS = "@classLabel true a b\n@data\n" + "".join(f"1,2,{k}:{'ab'[k % 2]}\n" for k in range(30))


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("a.csv", SERIES, SeriesData),
        ("a.csv", REVIEWS, ClassData),
        ("a.csv", "store,day,sold\n" + "".join(f"x,{k},{k}\n" for k in range(60)), SeriesData),
        ("a.txt", LINES, ClassData),
        ("a.txt", POEM, TextData),
        ("a.txt", "今天阳光明媚,我决定去散步。\n" * 40, TextData),
        ("a.ts", TS, ClassData),
    ],
)
def test_the_task_is_found(tmp_path: Path, file: str, content: str, kind: type) -> None:
    path = tmp_path / file
    path.write_text(content, encoding="utf-8")
    assert type(open_data(path)) is kind
    assert type(open_data(str(path))) is kind


def test_a_series_is_cut_in_order_of_time() -> None:
    found = open_data(np.arange(100.0), horizon=5)
    assert isinstance(found, SeriesData)
    assert (found.learned.tolist(), found.seen.tolist()) == ([70], [80])
    assert found.train.values.tolist() == list(range(70))
    assert found.before_test.values.tolist() == list(range(80))
    short = open_data(np.arange(100.0), horizon=25)
    assert isinstance(short, SeriesData)
    assert (short.learned.tolist(), short.seen.tolist()) == ([50], [75])


def test_an_option_of_another_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(SERIES)
    with pytest.raises(InputError, match="text='value' goes with the task classify, not with for"):
        open_data(tmp_path / "a.csv", text="value")
    (tmp_path / "b.csv").write_text(REVIEWS)
    assert type(open_data(tmp_path / "b.csv", text="text")) is ClassData
    corpus = open_data(tmp_path / "b.csv", text="text", task="text")
    assert isinstance(corpus, TextData)
    assert corpus.train.startswith("this film number 0 is bad\nthis film number 1 ")


def test_classes_are_held_out_alike_and_apart() -> None:
    items = [f"text {k}" for k in range(100)]
    found = open_data((items, ["a"] * 80 + ["b"] * 20))
    assert isinstance(found, ClassData)
    parts = (found.train, found.validation, found.test)
    assert [[part[1].count(label) for label in "ab"] for part in parts] == [
        [65, 16],
        [7, 2],
        [8, 2],
    ]
    assert sorted(item for part in parts for item in part[0]) == sorted(items)
    assert found.classes == ["a", "b"]
    again = open_data((items, ["a"] * 80 + ["b"] * 20))
    assert isinstance(again, ClassData)
    assert again.test == found.test


def test_a_file_of_its_own_is_the_test(tmp_path: Path) -> None:
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text(LINES.replace("film", name[:5]))
    found = open_data(tmp_path / "train.txt", test=str(tmp_path / "test.txt"))
    assert isinstance(found, ClassData)
    assert (len(found.train[0]) + len(found.validation[0]), len(found.test[0])) == (40, 40)
    assert all("test." in item for item in found.test[0])
    assert not any("test." in item for item in found.train[0])


def test_a_text_is_cut_into_three() -> None:
    found = open_data(POEM)
    assert isinstance(found, TextData)
    assert found.train + found.validation + found.test == POEM
    assert len(found.validation) == len(found.test) == len(POEM) // 10


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.arange(20.0), {}, "has 20 values; with horizon=12 at least 40 are needed"),
        (["x"], {"task": "poetry"}, "task must be one of 'forecast', 'classify', 'text'"),
        (POEM, {"task": "forecast"}, "a text in place of a file is for task='text'"),
        ("short\ntext", {}, "has 10 characters; at least 400 are needed"),
        ((["a", "b"], ["x"]), {}, "2 items, but 1 labels"),
        ((["a", "b"], ["x", "x"]), {}, "two classes or more are needed"),
        ((["a", "b"], ["x", "y"]), {}, "no class of the examples has three examples"),
        ((3, ["x", "y"]), {}, "the items must be a list of texts or arrays, got 3"),
        ((["a b"] * 20, ["x", None] * 10), {}, "labels contains None, at index 1"),
        ((["a b"] * 20, [["x"], ["y", "z"]] * 10), {}, "one label for each example"),
        (None, {}, "there are no data"),
        (np.arange(90.0), {"label": "x", "task": "forecast"}, "goes with the task classify"),
        (np.arange(90.0), {"colour": "x"}, "there is no option 'colour'"),
        (np.arange(90.0), {"text": "x"}, "text is for tables in files"),
        (Path("nowhere.csv"), {}, "nowhere.csv"),
        ([Path("a.txt"), Path("b.txt")], {"task": "text"}, "name one"),
    ],
)
@pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning")
def test_what_cannot_be_used_is_said(data: object, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_data(data, **options)
