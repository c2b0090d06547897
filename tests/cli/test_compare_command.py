"""headgate compare."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.experiments import comparison

QUICK = ["--seeds", "1", "--epochs", "2", "--hidden-size", "4"]


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{1990 + k // 12}-{k % 12 + 1:02},{5 + math.sin(k):.3f}\n" for k in range(90))
    path = tmp_path / "sales.csv"
    path.write_text("月份,销量\n" + rows, encoding="utf-8")
    return path


def test_one_table_and_one_report(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", "sales.csv", *QUICK, "--models", "lstm,gru", "--out", "r.html"])
    out = capsys.readouterr().out
    assert code == 0
    assert "销量: " in out
    assert out.index("\nlstm ") < out.index("\ngru ") < out.index("\nnaive (last value)")
    assert "0.75 of the recurrent parameters" in out
    assert "…" not in out
    assert (series.parent / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_adding_says_how_long_it_will_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["compare", "--task", "adding", "--length", "40,80", "--models", "gru"]) == 130
    assert capsys.readouterr().err.startswith("about ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sales.csv", "--models", "cnn"], "models must be one of"),
        (["sales.csv", "--out", "r.txt"], "must end in .html or .md"),
        (["sales.csv", "--out", "nowhere/r.md"], "there is no folder nowhere"),
        (["sales.csv", "--train-fraction", "2"], "at most 1"),
        (["--task", "adding", "--length", "far"], "length must be an integer"),
        (["sales.csv", "--task", "sine"], "leave data out"),
        ([], "there are no data"),
        (["none.csv"], "none.csv"),
        (["sales.csv", "--label", "销量"], ""),
    ],
)
def test_mistakes_are_one_line(
    series: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith("headgate: ")
    assert message in errors[-1]
    assert sorted(path.name for path in series.parent.iterdir()) == ["sales.csv"]


def test_a_report_that_cannot_be_written_costs_no_result(
    series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (series.parent / "r.md").mkdir()  # while it trained; before, the name is looked at
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "check_report", lambda path: None)
        assert main(["compare", "sales.csv", *QUICK, "--models", "mlp", "--out", "r.md"]) == 2
    out, err = capsys.readouterr()
    assert "\nmlp " in out
    assert "r.md is a folder" in err


def test_an_interruption_writes_nothing(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (series.parent / "r.md").write_text("before")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headgate.experiments.report._as_markdown", interrupt)
    assert main(["compare", "sales.csv", *QUICK, "--models", "mlp", "--out", "r.md"]) == 130
    assert sorted(path.name for path in series.parent.iterdir()) == ["r.md", "sales.csv"]
    assert (series.parent / "r.md").read_text() == "before"
