"""Files of texts, tagged sentences, sequences and corpora: what is read, and what is said."""

import gzip

import numpy as np
import pytest

import headgate as hg
from headgate.data.sequence_files import read_sequences
from headgate.data.tagged_files import read_sentences
from headgate.data.text_files import read_corpus, read_lines, read_texts


def written(folder, name, content, encoding="utf-8"):
    path = folder / name
    raw = content.encode(encoding)
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


# -- texts with labels ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", 'label,review\n好评,"很快，好吃"\n差评, 太慢 \n', {}),
        ("a.csv", "id,review,label\n7,很快，好吃,好评\n8,太慢,差评\n", {}),
        ("a.csv", "x,y\n很快，好吃,好评\n太慢,差评\n", {"text": "x", "label": "y"}),
        ("a.csv.gz", "review;label\n很快，好吃;好评\n太慢;差评\n", {}),
        ("a.tsv", "很快，好吃\t好评\n太慢\t差评\n", {"header": False, "text": "1", "label": "2"}),
        ("a.txt", "很快，好吃\t好评\r\n太慢\t差评\r\n", {}),
        ("a.txt", "好评\t很快，好吃\n差评\t太慢\n", {}),
        ("a.txt", "好评 很快，好吃\n差评 太慢\n", {}),
        ("a.txt", "__label__好评 很快，好吃\n__label__差评 太慢", {}),
        ("a.txt", "好评:x 很快，好吃\n差评:y 太慢\n", {"label_until": ":"}),
        ("a.txt.gz", "好评 很快，好吃\n差评 太慢\n", {}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_labelled_texts(tmp_path, name, content, options, encoding):
    path = written(tmp_path, name, content, encoding)
    found = read_texts([path], **options, encoding="gb18030" if encoding == "gb18030" else None)
    assert (found.texts, found.labels) == (["很快，好吃", "太慢"], ["好评", "差评"])
    assert found.positions == [0, 1]


def test_numbers_in_a_table_stay_texts(tmp_path):
    found = read_texts([written(tmp_path, "a.csv", "text,label\n1.50,01\n007,1.0\n,01\n")])
    assert (found.texts, found.labels) == (["1.50", "007", ""], ["01", "1.0", "01"])


def test_a_quotation_mark_in_a_tsv_is_a_mark(tmp_path):
    found = read_texts(
        [written(tmp_path, "a.tsv", 'text\tlabel\n"so" he said\tb\n"well\tb\na\tc\n')]
    )
    assert found.texts == ['"so" he said', '"well', "a"]
    found = read_texts([written(tmp_path, "b.tsv", 'text\tlabel\n"a\tb"\tx\nc\ty\n')])
    assert found.texts == ["a\tb", "c"]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("rt.pos", "rt.neg"), ["pos", "neg"]),
        (("pos.txt", "neg.txt"), ["pos", "neg"]),
        (("pos.txt.gz", "neg.txt.gz"), ["pos", "neg"]),
    ],
)
def test_a_file_for_each_class(tmp_path, names, labels):
    paths = [written(tmp_path, name, f"good {name}\n\nbad\n") for name in names]
    found = read_texts(paths)
    assert found.labels == [labels[0], labels[0], labels[1], labels[1]]
    assert found.positions == [0, 2, 0, 2]


def test_quotation_marks_within_texts_are_marks(tmp_path):
    for name, mark in [("a.csv", ","), ("a.tsv", "\t")]:
        lines = ["text,label", 'a 5" nail,x', '"b ""c"", d",y', f"{'e' * 200_000},x", ",y", ",,"]
        content = "\n".join(line.replace(",", mark) for line in lines)
        found = read_texts([written(tmp_path, name, content)])
        assert found.texts == ['a 5" nail', f'b "c"{mark} d', "e" * 200_000, ""]
        assert found.labels == ["x", "y", "x", "y"]


def test_texts_without_labels(tmp_path):
    path = written(tmp_path, "a.txt", "a b\n\nc\n\n")
    assert read_texts([path], labelled=False).texts == ["a b", "", "c"] == read_lines(path)
    found = read_texts([written(tmp_path, "a.csv", "text,label\na,x\n")], labelled=False)
    assert (found.texts, found.labels) == (["a"], None)


TEXT_ERRORS = [
    ("a.csv", "text,label\na,x\nb,\nc,\n", {},
     "2 of 3 rows of {} have no label in the column 'label',"
     " the first of them row 2; fill them or leave these rows out"),
    ("a.csv", "text,label\na,x\n", {"text": "words"},
     "there is no column 'words' for the text; --text must be one of 'text', 'label'"),
    ("a.csv", "text,label\na,x\n", {"text": "label"},
     "the column 'label' of {} was named for both texts and labels; name another for one"),
    ("a.csv", "\ufeff", {},
     "{} cannot be read as a table: it holds no line; expected CSV, TSV or Parquet with as many "
     "cells in every line as in the header"),
    ("a.csv", "\n\ntext,label\na,x\nb, c,y\n", {},
     "line 5 of {} has 3 cells, expected 2 as in the first line; put texts that hold ',' in "
     "quotation marks"),
    ("a.csv", 'text,label\na,x\n"b,y\nc,y\n', {},
     "line 3 of {} cannot be read (unexpected end of data); a text that begins with a quotation "
     "mark must end with one, and those within it be doubled"),
    ("a.csv", "a,b,c\n1,2,3\n", {},
     "which column of {} has the labels? It has 'a', 'b', 'c'; pass --label COL"),
    ("a.csv", "a,b,label\n1,2,3\n", {},
     "which column of {} has the texts? It has 'a', 'b', 'label'; pass --text COL"),
    ("a.csv", "text,label\n", {},
     "{} has a header but no rows; expected one row for each text below it"),
    ("a.txt", " \n", {}, "{} is empty; expected a line of text or more"),
    ("a.txt", "a\tb\tc\na\tb\n", {},
     "line 1 of {} has 3 columns parted by tabs, expected a text and a "
     "label; with --no-header columns have the names 1, 2, ... for --text and --label"),
    ("a.txt", "\n".join(f"{n} words" for n in range(20)), {},
     "the lines of {} do not begin with labels "
     "(20 different first words in 20 lines); expected 'label text' or 'text<TAB>label' in each, a "
     "table with --text and --label, or one file for each class"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "message"), TEXT_ERRORS)
def test_what_cannot_be_read_is_said(tmp_path, name, content, options, message):
    path = written(tmp_path, name, content)
    with pytest.raises(hg.InputError) as caught:
        read_texts([path], **options)
    assert str(caught.value) == message.format(path)


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path):
    path = written(tmp_path, "a.txt", "1 good\n0 café\n", "latin-1")
    with pytest.raises(hg.InputError, match="is not UTF-8: byte 0xe9 in line 2; try --encoding cp"):
        read_texts([path])
    assert read_texts([path], encoding="latin-1").texts == ["good", "café"]


def test_files_that_cannot_be_classes_are_refused(tmp_path):
    (tmp_path / "b").mkdir()
    same = [written(tmp_path, "a.txt", "x"), written(tmp_path / "b", "a.txt", "y")]
    with pytest.raises(hg.InputError, match=r"have equal names"):
        read_texts(same)
    tables = [written(tmp_path, name, "text,label\na,b\n") for name in ("a.csv", "b.csv")]
    with pytest.raises(hg.InputError, match="put the tables into one file"):
        read_texts(tables)
    with pytest.raises(hg.InputError, match=r"^there is no file .*; did you mean a\.csv"):
        read_texts([tmp_path / "aa.csv"])


# -- corpora -------------------------------------------------------------------------------


def test_a_corpus_is_lines_or_a_column(tmp_path):
    assert read_corpus(written(tmp_path, "a.txt", " a\n\nb ")) == [" a", "", "b "]
    tabs = written(tmp_path, "b.txt.gz", "Hi.\t嗨。\tx\nRun.\t跑。\ty\n")
    assert read_corpus(tabs, column="2") == ["嗨。", "跑。"]
    table = written(tmp_path, "c.csv", "id,review\n1,好\n2,\n")
    assert read_corpus(table) == read_corpus(table, column="review") == ["好", ""]
    with pytest.raises(hg.InputError, match=r"line 1 of .* has 3 columns .* expected at least 4"):
        read_corpus(tabs, column="4")
    with pytest.raises(hg.InputError, match=r"is a number from 1 on, got 'review'"):
        read_corpus(tabs, column="review")


# -- tagged sentences ----------------------------------------------------------------------


def test_tagged_sentences(tmp_path):
    path = written(tmp_path, "a.conll", "\n#\tO\nNY\tB-loc\n\t\nA\tO\n\n\n")
    found = read_sentences(path)
    assert (found.tokens, found.tags) == ([["#", "NY"], ["A"]], [["O", "B-loc"], ["O"]])
    path = written(tmp_path, "b.conll", "-DOCSTART- X O\n\nEU NNP B-NP B-ORG\nsays V O O\n")
    assert read_sentences(path).tags == [["B-ORG", "O"]]
    assert read_sentences(path, tag_column=2).tags == [["NNP", "V"]]
    alone = written(tmp_path, "c.conll", "a\nb\n\nc\n")
    assert read_sentences(alone, tagged=False).tokens == [["a", "b"], ["c"]]
    assert read_sentences(alone, tagged=False).tags is None
    second = read_sentences(path, tagged=False, token_column=4)
    assert (second.tokens, second.tags) == ([["B-ORG", "O"]], None)


def test_conll_u(tmp_path):
    def row(index, word, tag):
        return "\t".join([index, word, "lemma", tag, "X", "_", "0", "root", "_", "_"])

    rows = ["# text = x", row("1-2", "del", "_"), row("1", "de", "ADP"), row("2", "el", "DET"), ""]
    found = read_sentences(written(tmp_path, "a.conllu.gz", "\n".join(rows)))
    assert (found.tokens, found.tags) == ([["de", "el"]], [["ADP", "DET"]])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a\tO\nb\n", {},
         "line 2 of {} has 1 column, expected at least 2; put a token and its tag into "
         "each line, parted by a tab"),
        ("a\nb\n", {},
         "{} has one column, expected a token and its tag in each line, parted by a tab"),
        ("# only a comment\n", {},
         "{} holds no sentence; expected a token and its tag in each line, a "
         "blank line between sentences"),
        ("a\tO\n", {"tag_column": -1}, "columns count from 1 on, got -1"),
        ("a\tO\n", {"tag_column": 0}, "columns count from 1 on, got 0"),
        ("a\tO\n", {"token_column": 2},
         "column 2 of {} was named for both tokens and tags; name another for one"),
        ("a\tO\n", {"tag_column": 5},
         "line 1 of {} has 2 columns, expected at least 5; put a token and "
         "its tag into each line, parted by a tab"),
    ],
)  # fmt: skip
def test_sentences_that_cannot_be_read(tmp_path, content, options, message):
    path = written(tmp_path, "a.conll", content)
    with pytest.raises(hg.InputError) as caught:
        read_sentences(path, **options)
    assert str(caught.value) == message.format(path)


# -- sequences -----------------------------------------------------------------------------

HEAD = "#note\n@problemName x\n@classLabel true a b\n@data\n"


def test_sequences(tmp_path):
    found = read_sequences(written(tmp_path, "a.ts", HEAD + "1,2:3,?:a\n4:5:b\n\n"))
    np.testing.assert_array_equal(found.values[0], [[1, 3], [2, np.nan]])
    np.testing.assert_array_equal(found.values[1], [[4, 5]])
    assert (found.labels, found.targets, found.lines) == (["a", "b"], None, [5, 6])
    values = read_sequences(written(tmp_path, "b.ts", "@targetLabel true\n@data\n1,2:0.5\n"))
    assert (values.labels, values.targets.tolist()) == (None, [0.5])
    assert read_sequences(written(tmp_path, "c.ts", "@data\n1,2\n")).labels is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2:a\n",
         "{} has no line @data; expected header lines with @ and a sequence in each line"),
        (HEAD, "{} holds no sequence after @data; expected one in each line"),
        (HEAD + "1,x:a\n", "line 5 of {} holds 'x', expected a number or ? for a missing one"),
        (HEAD + "1,2:3:a\n",
         "line 5 of {} has channels of 1 and of 2 values; expected equally many in "
         "each"),
        (HEAD + "1:a\n1:2:b\n", "line 6 of {} has 2 channels, expected 1 as in the lines before"),
        (HEAD + "1,2:c\n", "line 5 of {} has the class 'c', which @classLabel does not name"),
        (HEAD + "1,2:\n",
         "line 5 of {} has no class after its last colon; add it or leave the line out"),
        (HEAD + "1,2\n",
         "line 5 of {} holds no colon; expected channels and last the class, parted by "
         "colons"),
        ("@timeStamps true\n" + HEAD,
         "{} has time stamps, which are not read; expected values alone "
         "(@timeStamps false)"),
    ],
)  # fmt: skip
def test_sequences_that_cannot_be_read(tmp_path, content, message):
    path = written(tmp_path, "a.ts", content)
    with pytest.raises(hg.InputError) as caught:
        read_sequences(path)
    assert str(caught.value) == message.format(path)


# -- real data -----------------------------------------------------------------------------


def test_the_shared_files_are_read(data_dir):
    sizes = {
        "waimai": len(read_texts([data_dir / "waimai_10k/waimai_10k.csv"]).texts),
        "trec": len(
            set(
                read_texts(
                    [data_dir / "trec/TREC.train"], encoding="latin-1", label_until=":"
                ).labels
            )
        ),
        "wnut17": len(read_sentences(data_dir / "wnut17/wnut17train.conll").tokens),
        "japanese_vowels": len(
            read_sequences(data_dir / "japanese_vowels/JapaneseVowels_TRAIN.ts").values
        ),
    }
    assert sizes == {"waimai": 11987, "trec": 6, "wnut17": 3394, "japanese_vowels": 270}
