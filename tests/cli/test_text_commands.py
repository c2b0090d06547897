"""headgate classify, tag and text: what they write and say, and what they say of bad input."""

import io
import json

import numpy as np
import polars as pl
import pytest

import headgate as hg
from headgate.cli import main
from headgate.cli.reports import as_file, count_of, verdict
from headgate.data.held_out import drawn, every_kth, ordinal, stratified

PICTURED = ["confusion.png", "learning_curve.png", "model.safetensors", "report.json"]
QUICK = ["--epochs", "2", "--members", "1", "--hidden-size", "4"]
WORDS = ["good", "fine", "great", "happy", "bad", "poor", "awful", "sad"]


def reviews(count=60):
    """A table of English reviews of two classes."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(count):
        words = rng.choice(WORDS[4:] if k % 2 else WORDS[:4], 4)
        rows.append(f"{'the film is ' + ' '.join(words)},{'neg' if k % 2 else 'pos'}")
    return "review,sentiment\n" + "\n".join(rows) + "\n"


def ts_file(count=30):
    """Waves of two classes, of unequal lengths, with two channels."""
    rng = np.random.default_rng(0)
    lines = ["@classLabel true a b", "@data"]
    for k in range(count):
        wave = np.sin(np.arange(8 + k % 5) * (0.3 if k % 2 else 1.5)) + rng.normal(0, 0.1)
        channel = ",".join(f"{v:.3f}" for v in wave)
        lines.append(f"{channel}:{channel}:{'ab'[k % 2]}")
    return "\n".join(lines) + "\n"


def conll(count=30):
    block = "Ann\tB-per\nLee\tI-per\nsees\tO\n{}\tB-loc\n.\tO\n"
    return "\n".join(block.format(("Rome", "Oslo", "Bonn")[k % 3]) for k in range(count))


def run(capsys, *arguments):
    """Standard output and error of a command that must work."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr()


def fails(capsys, *arguments):
    """What a command that must fail says: one line on stderr, no traceback."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    notes = [line for line in err.splitlines() if not line.startswith("headgate: note: ")]
    assert (out, len(notes)) == ("", 1)
    return notes[0].removeprefix("headgate: ")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data and a trained model of every kind."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "reviews.csv").write_text(reviews())
    (folder / "waves.ts").write_text(ts_file())
    (folder / "names.conll").write_text(conll())
    (folder / "lines.txt").write_text("我 喜欢 你\n我决定去\n今天阳光明媚，我决定去公园\n" * 12)
    jobs = {
        "texts": ["classify", "train", folder / "reviews.csv", *QUICK],
        "waves": ["classify", "train", folder / "waves.ts", *QUICK],
        "tags": ["tag", "train", folder / "names.conll", *QUICK, "--epochs", "12"],
        "lines": ["text", "train", folder / "lines.txt", "--lines", *QUICK[:2], *QUICK[4:]],
    }
    for name, job in jobs.items():
        code = main([str(argument) for argument in [*job, "--out", folder / name]])
        assert code == 0, name
    return folder


# -- classify ------------------------------------------------------------------------------


def test_classify_train_writes_the_model_a_report_and_pictures(made, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    said, err = run(capsys, "classify", "train", made / "reviews.csv", "--text", "review",
                    "--label", "sentiment", "--test-every", "10", "--out", out, *QUICK)  # fmt: skip
    assert err == ""  # quiet where nobody watches
    assert sorted(path.name for path in out.iterdir()) == PICTURED
    for name in PICTURED[:2]:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    report = json.loads((out / "report.json").read_text())
    assert report["data"] == {
        "files": ["reviews.csv"], "examples": 60, "classes": {"neg": 30, "pos": 30},
        "learned": 54, "tested": 6, "held_out": "every 10th, from the first of each file on",
    }  # fmt: skip
    assert report["parameters"]["epochs"] == 2
    assert len(report["fit"]["history"]["loss"]) == report["fit"]["epochs"] == 2
    scores = report["test"]["scores"]
    assert list(scores) == ["headgate", "TF-IDF + logistic regression", "majority class"]
    counts = np.array(report["test"]["confusion"]["counts"])
    assert counts.sum() == 6
    classes = report["test"]["confusion"]["rows are true, columns predicted"]
    assert report["test"]["classes"]["pos"]["examples"] == 6
    right = sum(counts[k, k] for k in range(len(classes)))
    assert scores["headgate"]["accuracy"] == right / 6
    first, second, *_, last = said.splitlines()
    assert first == (
        "reviews.csv: learned from 54 examples, tested on 6 (every 10th, from the first of each "
        "file on)"
    )
    assert second.startswith("fitted in ")
    assert "majority class" in said
    assert "Chance alone moves an accuracy by ± " in said
    assert last.startswith(f"written to {out}: model.safetensors, report.json, ")


def test_progress_on_request(made, tmp_path, capsys):
    _, err = run(capsys, "classify", "train", made / "waves.ts", "--out", tmp_path, "--progress",
                 *QUICK, "--members", "2")  # fmt: skip
    lines = [line.split("  ")[0] for line in err.splitlines() if "loss " in line]
    assert lines == [f"network {k} of 2, epoch {e}/2" for k in (1, 2) for e in (1, 2)]


def test_a_test_file_with_a_new_class(made, tmp_path, capsys):
    test = tmp_path / "test.csv"
    test.write_text("review,sentiment\na good film,pos\nwhat,mixed\n")
    said, err = run(capsys, "classify", "train", made / "reviews.csv", "--test", test,
                    "--out", tmp_path / "o", *QUICK)  # fmt: skip
    assert "note: the test part has classes that were not learned: 'mixed'; 1 is counted as" in err
    assert "learned from 60 examples, tested on 2 (test.csv)" in said
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["test"]["classes"]["mixed"]["recall"] == 0


def test_classify_predict_a_text_and_a_file(made, tmp_path, capsys):
    model = made / "texts" / "model.safetensors"
    said, err = run(capsys, "classify", "predict", model, "a good great film")
    rows = [line.split() for line in said.splitlines()]
    assert err == ""
    assert sorted(name for _, name in rows) == ["neg", "pos"]
    assert float(rows[0][0]) >= float(rows[1][0])
    out = tmp_path / "found.csv"
    said, err = run(capsys, "classify", "predict", model, made / "reviews.csv", "--text", "review",
                    "--label", "sentiment", "--out", out)  # fmt: skip
    assert said == f"60 predictions written to {out}\n"
    frame = pl.read_csv(out)
    assert frame.columns == ["row", "text", "label", "predicted", "probability"]
    right = (frame["label"] == frame["predicted"]).mean()
    assert err == f"accuracy {100 * right:.1f} % of 60\n"
    lines = tmp_path / "lines.txt"
    lines.write_text("good\n\nawful and sad\n")
    printed = io.BytesIO(run(capsys, "classify", "predict", model, lines).out.encode())
    assert pl.read_csv(printed)["row"].to_list() == [1, 2, 3]


def test_explain_shows_each_token(made, capsys):
    model = made / "texts" / "model.safetensors"
    said, _ = run(capsys, "classify", "predict", model, "a good film", "--explain")
    first, *rows = said.splitlines()
    assert first.split() == ["token", "attention", "up", "to", "here"]
    assert [row.split()[0] for row in rows[:3]] == ["a", "good", "film"]
    assert "--explain takes a text" in fails(
        capsys, "classify", "predict", model, made / "reviews.csv", "--explain"
    )


def test_sequences_are_classified_from_ts_files(made, capsys):
    report = json.loads((made / "waves" / "report.json").read_text())
    assert "means and deviations + logistic regression" in report["test"]["scores"]
    model = made / "waves" / "model.safetensors"
    said, err = run(capsys, "classify", "predict", model, made / "waves.ts")
    assert said.splitlines()[0] == "row,label,predicted,probability"
    assert err.startswith("accuracy ")
    assert len(said.splitlines()) == 31
    assert "classifies sequences; name a .ts file" in fails(
        capsys, "classify", "predict", model, "a text"
    )
    assert "is none such; expected texts" in fails(
        capsys, "classify", "predict", made / "texts" / "model.safetensors", made / "waves.ts"
    )


def test_a_gap_in_a_ts_file_is_named_by_its_line(made, tmp_path, capsys):
    path = tmp_path / "gap.ts"
    lines = (made / "waves.ts").read_text().splitlines()
    lines[6] = "?" + lines[6][lines[6].index(",") :]
    path.write_text("\n".join(lines))
    said = fails(capsys, "classify", "train", path, "--out", tmp_path / "o")
    assert said.startswith(f"line 7 of {path} has a gap or a value that is not finite")


def test_chinese_in_gb18030_and_a_byte_order_mark(tmp_path, capsys):
    rows = "评论,情感\n" + "很好吃,好评\n太慢了,差评\n不错啊,好评\n难吃死,差评\n" * 5
    for encoding, option in [("gb18030", ["--encoding", "gb18030"]), ("utf-8-sig", [])]:
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(rows.encode(encoding))
        out = tmp_path / encoding
        run(capsys, "classify", "train", path, "--out", out, *option, *QUICK)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        assert report["data"]["classes"] == {"好评": 10, "差评": 10}
        assert (out / "confusion.png").exists()
    assert "is not UTF-8: byte 0x" in fails(capsys, "classify", "train", tmp_path / "gb18030.csv")


# -- classify, bad input -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "zzz qqq", "🎉🎉👎", "word " * 2000, "w" * 1_000_000, "\x00\ud800"],
    ids=["empty", "unknown", "emoji", "long", "1 MB", "no characters"],
)  # fmt: skip
def test_any_text_gets_a_class(made, capsys, text):
    said, _ = run(capsys, "classify", "predict", made / "texts" / "model.safetensors", text)
    values = [float(line.split()[0]) for line in said.splitlines()]
    assert np.sum(values) == pytest.approx(1, abs=2e-3)


def test_six_reviews_in_all(tmp_path, capsys):
    path = tmp_path / "six.csv"
    path.write_text("review,label\n" + "a good one,x\na bad one,y\n" * 3)
    said, err = run(capsys, "classify", "train", path, "--out", tmp_path / "o", *QUICK)
    assert "note: 6 examples are too few to hold out a tenth of each class; one of each" in err
    assert "learned from 4 examples, tested on 2" in said


def test_a_class_with_one_example(tmp_path, capsys):
    path = tmp_path / "single.csv"
    path.write_text(reviews(30) + "neither here nor there,other\n")
    _said, err = run(capsys, "classify", "train", path, "--out", tmp_path / "o", *QUICK)
    assert "note: one example of 'other': it is learned from and never tested" in err
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["data"]["learned"] == 27  # of 31, less 2 each of two classes


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,label\na,x\nb,x\n", [],
         "all 2 examples are 'x', and two classes or more are needed; check --label, or add "
         "examples of others"),
        ("text,label\n" + "".join(f"a,{k / 7}\n" for k in range(11)), [],
         "each of 11 examples has a class of its own, such as '0.0', so there is nothing"),
        ("text,label\na,\nb,x\n", [], "1 of 2 rows of {} have no label in the column 'label'"),
        ("text,label\na,x\n", ["--text", "review"], "there is no column 'review' for the text"),
        ("text,label\na,x\nb,y\n", ["--test-every", "1"], "--test-every must be between 2 and"),
        ("text,label\na,x\nb,y\n", ["--tokens", "words"], "tokens must be one of 'auto', 'word'"),
        ("text,label\na,x\nb,y\n", ["--epochs", "0"], "epochs must be between 1 and"),
        ("text,label\na,x\nb,y\n", ["--test", "{}", "--test-every", "3"],
         "--test and --test-every exclude each other"),
        ("text,label\na,x\nb,y\n", ["--dropout", "2"], "dropout must be at least 0 and below 1"),
        ("text,label\na,x\nb,y\n", ["--seed", "-1"], "seed must be between 0 and"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_said(tmp_path, capsys, content, options, message):
    path = tmp_path / "data.csv"
    path.write_text(content)
    options = [option.format(path) for option in options]
    out = tmp_path / "out"
    said = fails(capsys, "classify", "train", path, "--out", out, *options)
    assert said.startswith(message.format(path))
    assert not (out / "report.json").exists()


def test_parameters_are_checked_before_files_are_read(tmp_path, capsys):
    for command in ("classify", "tag", "text"):
        said = fails(capsys, command, "train", tmp_path / "nowhere", "--seed", "-1")
        assert said.startswith("seed must be between 0 and")


def test_the_confusion_matrix_of_an_earlier_run_goes(made, tmp_path, capsys):
    (tmp_path / "confusion.png").touch()
    path = tmp_path / "two.csv"
    path.write_text("text,label\na,x\nb,y\n")  # too few to test on
    said, _ = run(capsys, "classify", "train", path, "--out", tmp_path, *QUICK)
    assert "learned from 2 examples, nothing held out to test on" in said
    assert not (tmp_path / "confusion.png").exists()


def test_files_and_models_that_do_not_fit(made, capsys):
    model = made / "tags" / "model.safetensors"
    assert "holds a SequenceTagger, expected a TextClassifier as headgate classify train" in fails(
        capsys, "classify", "predict", model, "a"
    )
    model = made / "texts" / "model.safetensors"
    assert "there is no file nowhere.csv" in fails(
        capsys, "classify", "predict", model, "nowhere.csv"
    )
    assert f"{made} is a folder, expected a file or a text" in fails(
        capsys, "classify", "predict", model, made
    )


# -- tag -----------------------------------------------------------------------------------


def test_tag_train_and_predict(made, tmp_path, capsys):
    folder = made / "tags"
    assert sorted(path.name for path in folder.iterdir()) == PICTURED
    report = json.loads((folder / "report.json").read_text())
    assert report["data"]["sentences"] == 30
    assert report["data"]["tags"] == {"B-loc": 30, "B-per": 30, "I-per": 30, "O": 60}
    assert report["test"]["scores"]["majority tag of each token"]["entity F1"] == 1.0
    model = folder / "model.safetensors"
    said, err = run(capsys, "tag", "predict", model, "Ann Lee sees Rome.")
    assert [line.split("\t")[0] for line in said.splitlines()] == [
        "Ann",
        "Lee",
        "sees",
        "Rome",
        ".",
    ]
    out = tmp_path / "found.conll"
    said, err = run(capsys, "tag", "predict", model, made / "names.conll", "--out", out)
    assert said == f"30 sentences written to {out}\n"
    assert err.startswith("entity F1 ")
    assert out.read_text().count("\n\n") == 29
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("Ann\nsees\n\nRome\n")
    said, err = run(capsys, "tag", "predict", model, tokens)
    assert (len(said.splitlines()), err) == (4, "")
    assert run(capsys, "tag", "predict", model, "").out == ""
    for sentence, tokens in [
        ("我决定去。", "我 决 定 去 。"),
        ("我 决定 去 Rome.", "我 决定 去 Rome ."),
    ]:
        said, _ = run(capsys, "tag", "predict", model, sentence)
        assert [line.split("\t")[0] for line in said.splitlines()] == tokens.split()


def test_a_tag_that_appears_only_at_test_time(made, tmp_path, capsys):
    test = tmp_path / "test.conll"
    test.write_text("Ann\tB-per\nACME\tB-org\n")
    _, err = run(capsys, "tag", "train", made / "names.conll", "--test", test,
                 "--out", tmp_path / "o", *QUICK)  # fmt: skip
    assert "the test part has tags that were not learned: 'B-org'; 1 is counted as missed" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tO\nb\n", "line 2 of {} has 1 column, expected at least 2"),
        ("a\nb\n", "{} has one column, expected a token and its tag in each line"),
        ("a\tO\nb\tO\n\nc\tO\n", "all 3 tokens are 'O', and two classes or more are needed; check "
         "--tag-column, or add tokens of others"),
    ],
)  # fmt: skip
def test_tags_that_cannot_be_learned(tmp_path, capsys, content, message):
    path = tmp_path / "data.conll"
    path.write_text(content)
    assert fails(capsys, "tag", "train", path, "--out", tmp_path / "o").startswith(
        message.format(path)
    )


# -- text ----------------------------------------------------------------------------------


def test_text_train_writes_a_model_and_says_perplexities(made, tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the cat sat on the mat.\nthe dog sat on the log.\n" * 30)
    out = tmp_path / "o"
    said, err = run(capsys, "text", "train", corpus, "--tokens", "char", "--out", out,
                    *QUICK[:2], *QUICK[4:])  # fmt: skip
    assert err == ""
    assert sorted(path.name for path in out.iterdir()) == PICTURED[1:]
    report = json.loads((out / "report.json").read_text())
    assert report["data"] == {
        "file": "corpus.txt", "texts": "one", "learned": 1296, "tested": 144,
        "held_out": "the last tenth",
    }  # fmt: skip
    scores = report["test"]["scores"]
    assert next(iter(scores)) == "headgate"
    assert scores["unigram"]["perplexity"] > scores["headgate"]["perplexity"]
    assert "(Kneser-Ney)" in said
    assert "learned from 1,296 characters, tested on 144 (the last tenth)" in said


def test_text_train_names_every_test_file(made, tmp_path, capsys):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("我决定去\n")
    two.write_text("我 喜欢\n")
    said, _ = run(capsys, "text", "train", made / "lines.txt", "--lines", "--test", one, "--test",
                  two, "--out", tmp_path / "o", *QUICK[:2], *QUICK[4:])  # fmt: skip
    assert "learned from 36 lines, tested on 2 (one.txt, two.txt)" in said
    assert "model.safetensors holds the training text" in said


def test_text_next_and_gates(made, capsys):
    model = made / "lines" / "model.safetensors"
    said, _ = run(capsys, "text", "next", model, "今天阳光明媚,我决定", "--top", "3")
    rows = [line.split() for line in said.splitlines()]
    assert len(rows) == 3
    assert rows[0][1] == "去"
    said, _ = run(capsys, "text", "next", model, "今天xyz", "--gates", "--top", "1")
    head, *rows = said.splitlines()
    assert head.split() == ["token", "reset", "update", "likeliest", "next"]
    assert rows[0].split()[0] == "今"
    assert all(0 <= float(value) <= 1 for value in rows[0].split()[1:3])
    run(capsys, "text", "next", model, "")
    assert "Invalid value for '--top'" in fails(capsys, "text", "next", model, "", "--top", "0")


def test_text_generate_goes_on_from_the_prompt(made, capsys):
    model = made / "lines" / "model.safetensors"
    job = ["text", "generate", model, "--prompt", "今天", "-n", "8"]
    first, second = (run(capsys, *job, "--seed", "1").out for _ in range(2))
    assert first == second
    assert first.startswith("今天")
    assert first.endswith("\n")
    assert "temperature" in fails(capsys, *job, "--temperature", "-1")


def test_corpora_that_are_short_or_not_there(tmp_path, capsys):
    path = tmp_path / "short.txt"
    path.write_text("hello")
    _said, err = run(capsys, "text", "train", path, "--out", tmp_path / "o", *QUICK[:2])
    assert "note: 6 characters are too few to hold some out, so nothing is tested" in err
    assert json.loads((tmp_path / "o" / "report.json").read_text())["test"] == {
        "skipped": "nothing was held out"
    }
    path.write_text("a\tb\n")
    assert "line 1 of" in fails(capsys, "text", "train", path, "--column", "3")
    path.write_text(" \n")
    assert "is empty; expected a line of text or more" in fails(capsys, "text", "train", path)


# -- info, parts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("texts", "TextClassifier"),
        ("waves", "SequenceClassifier"),
        ("tags", "SequenceTagger"),
        ("lines", "LanguageModel"),
    ],
)
def test_info_says_what_a_model_is(made, capsys, name, kind):
    said, _ = run(capsys, "info", made / name / "model.safetensors")
    assert said.startswith(f"model.safetensors: {kind}, ")
    assert "networks   " in said
    assert " epochs in " in said


def test_counts_and_their_units():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd",
    ]  # fmt: skip
    assert (count_of(1, "line"), count_of(2000, "line")) == ("1 line", "2,000 lines")


def test_parts():
    split = every_kth([0, 1, 2, 3, 0, 1], 3)
    assert (split.train, split.test) == ([1, 2, 5], [0, 3, 4])
    labels = ["a"] * 50 + ["b"] * 10
    split = stratified(labels, 0)
    assert [labels[k] for k in split.test] == ["a"] * 5 + ["b"]
    assert sorted(split.train + split.test) == list(range(60))
    assert stratified(labels, 1).test != split.test
    assert (drawn(1, 0).train, drawn(1, 0).test) == ([0], [])
    with pytest.raises(hg.InputError, match="leaves none of 1 examples"):
        every_kth([0], 10)


def test_verdicts():
    scores = {"headgate": {"s": 0.8}, "a": {"s": 0.75}, "b": {"s": 0.6}}
    assert verdict(scores, "s") == "5.0 points above a."
    assert verdict(scores, "s", low=True) == "33.3 % higher than b."
    assert verdict({"headgate": {"s": 1.0}, "a": {"s": 1.0}}, "s") == "No better than a."


def test_what_is_a_file(tmp_path):
    path = tmp_path / "a b.txt"
    path.write_text("x")
    assert as_file(str(path)) == path
    assert as_file("the end.txt ") is None
    assert as_file("x" * 5000) is None
    assert as_file("") is None
    with pytest.raises(hg.InputError, match=r"there is no file x\.txt"):
        as_file("x.txt")
