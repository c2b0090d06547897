"""Every tutorial runs, prints the figures that docs/tutorials.md states, and stays short."""

from __future__ import annotations

import ast
import io
import os
import re
import runpy
import sys
import tokenize
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "tutorials"
FILES = sorted(path.name for path in FOLDER.glob("*.py"))
LINES = 40  # of code

pytestmark = pytest.mark.skipif(not FILES, reason="examples/ is not beside tests/")


def lines_of_code(source: str) -> int:
    """Lines that hold anything but blanks, comments and docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE) or not token.string:
            continue
        if token.type not in (tokenize.INDENT, tokenize.DEDENT):
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node):
            text = node.body[0]
            lines -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(lines)


class Ran:
    """A tutorial that ran: what it printed, what it had in the end, what it wrote."""

    def __init__(self, name: str, folder: Path, capsys: Any, monkeypatch: Any) -> None:
        monkeypatch.chdir(folder)  # where a stray file would be seen
        monkeypatch.setattr(sys, "argv", [name, "--out", str(folder)])
        self.names = runpy.run_path(str(FOLDER / name), run_name="__main__")
        self.printed, noise = capsys.readouterr()
        assert noise == ""
        assert [path.name for path in folder.iterdir()] == [name.replace(".py", ".png")]

    def numbers(self, start: str) -> list[float]:
        """The numbers in the first line that starts so, behind that."""
        for line in self.printed.splitlines():
            if line.startswith(start):
                found = re.findall(r"-?\d[\d,]*\.?\d*(?:e[-+]\d+)?", line[len(start) :])
                return [float(number.replace(",", "")) for number in found]
        raise AssertionError(f"no line starts with {start!r} in:\n{self.printed}")


@pytest.fixture
def run(tmp_path: Path, capsys: Any, monkeypatch: Any) -> Any:
    return lambda name: Ran(name, tmp_path, capsys, monkeypatch)


def test_lines_of_code_are_counted() -> None:
    source = '"""Text\n\ntext."""\n\nimport a  # why\n# alone\n\n\ndef f():\n    """Doc."""\n'
    assert lines_of_code(source + '    return (\n        """x\n\ny"""\n    )\n') == 7


@pytest.mark.parametrize("name", FILES)
def test_a_tutorial_is_short(name: str) -> None:
    assert lines_of_code((FOLDER / name).read_text(encoding="utf-8")) <= LINES


@pytest.mark.parametrize("name", FILES)
def test_a_tutorial_is_shown(name: str) -> None:
    """Both READMEs and the page of tutorials lead to it, and its picture is there, and small."""
    picture = name.replace(".py", ".png")
    for page in ("README.md", "README.zh-CN.md", "docs/tutorials.md"):
        assert f"examples/tutorials/{name})" in (ROOT / page).read_text(encoding="utf-8")
    assert f"(images/tutorials/{picture})" in (ROOT / "docs/tutorials.md").read_text("utf-8")
    assert (ROOT / "docs/images/tutorials" / picture).stat().st_size < 60_000


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["02_stacks.py"])
    runpy.run_path(str(FOLDER / "02_stacks.py"), run_name="__main__")
    assert list(tmp_path.iterdir()) == []


def test_sine_windows(run: Any) -> None:
    ran = run("01_sine_windows.py")
    assert "792 windows to learn from, 198 to validate with" in ran.printed
    rows = {name: ran.numbers(name) for name in ran.names["networks"]}
    assert [row[0] for row in rows.values()] == [8001, 8001, 8001, 8001, 24689]
    assert all(0.0006 < row[2] < 0.0013 for row in rows.values())
    assert 0.0006 < rows["GRU(50)"][2] < 0.001
    assert 0.05 < ran.numbers("typical error of the next value:")[0] < 0.07


def test_stacks(run: Any) -> None:
    ran = run("02_stacks.py")
    assert ran.numbers("total") == [4440]
    assert ran.numbers("by hand:") == [1920, 2520, 4440]
    assert ran.numbers("the network, the last step alone:") == [3, 20]
    assert len(ran.names["history"].loss) == 10
    first, last = ran.numbers("loss")
    assert last < first / 3


def test_sine_one_by_one(run: Any) -> None:
    ran = run("03_sine_one_by_one.py")
    assert ran.numbers("GRU") == [929, 0.0116, 0.0171]
    assert ran.numbers("MLP")[:2] == [609, 0.0184]
    # its roll-out turns on single relus, which other instruction sets round otherwise
    assert ran.numbers("MLP")[2] == pytest.approx(1.02, abs=0.05)
    for curves in ran.names["curves"].values():
        assert [len(curve) for curve in curves.values()] == [150, 150]


def test_whales(run: Any) -> None:
    pytest.importorskip("mealpy", reason="mealpy's whales; pip install --no-deps mealpy==3.0.3")
    ran = run("04_whales.py")
    whales, adam, both = (ran.numbers(name) for name in ("whales", "Adam", "whales where Adam"))
    assert whales[0] == adam[0] == pytest.approx(0.6996, abs=1e-4)
    assert adam[1] < 0.0105 < whales[1] < 0.018
    assert both[1] <= both[0] == adam[1]  # one whale begins there


def test_sentiment(run: Any) -> None:
    if not Path(os.environ.get("HEADGATE_DATA", ""), "rt_polarity").is_dir():
        pytest.skip("HEADGATE_DATA does not name a folder with rt_polarity")
    ran = run("05_sentiment.py")
    assert ran.numbers("'a wonderful film' is good with probability")[0] > 0.9
    assert ran.numbers("'a boring film' is good with probability")[0] < 0.1
    epochs, right = ran.numbers("stopped after")
    assert epochs == ran.names["history"].best_epoch + 1 + 2
    assert 73 < right < 80


def test_sentiment_without_the_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HEADGATE_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["05_sentiment.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / "05_sentiment.py"), run_name="__main__")
    assert ended.value.code is None
    assert "so the real reviews are skipped" in capsys.readouterr().out


def test_the_cell_by_hand(run: Any) -> None:
    ran = run("06_cell_by_hand.py")
    assert ran.numbers("parameters by hand:") == [240]
    assert ran.numbers("keep-form: the engine differs from NumPy by at most")[0] < 1e-6
    assert ran.numbers("update-form: the engine differs from NumPy by at most")[0] < 1e-6


@pytest.mark.filterwarnings("ignore:no installed font")
def test_the_next_word(run: Any) -> None:
    pytest.importorskip("jieba", reason="words are jieba's; pip install 'headgate[text]'")
    ran = run("07_next_word.py")
    assert ran.names["prompt"] + "去公园散步。" in ran.printed
    for at in ran.names["readings"]:
        assert 0 < at.reset < 1
        assert 0 < at.update < 1
    assert ran.names["readings"][-1].next[0][0] == "去"


def test_bidirectional_residual_attention(run: Any) -> None:
    ran = run("08_bidirectional_residual_attention.py")
    rows = {name: ran.numbers(name) for name in ran.names["networks"]}
    # names that begin alike are told apart by what follows
    assert [row[0] for row in rows.values()] == [977, 1953, 4241, 4241, 1265]
    assert all(row[2] < 0.005 for row in rows.values())
    assert rows["attention"][1] < 0.002 < 0.1 < rows["one layer"][1]


def test_live(run: Any) -> None:
    ran = run("09_live.py")
    assert ran.names["updates"] == 399
    frozen, learning = ran.numbers("stays as it is"), ran.numbers("goes on learning")
    assert max(frozen[0], learning[0], learning[2]) < 0.07  # the noise alone is 0.05
    assert frozen[1] > 0.3
    assert frozen[2] > 0.3
    assert 0.07 < learning[1] < frozen[1]
