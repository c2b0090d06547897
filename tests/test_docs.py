"""Every example in the documents runs as it is printed.

All ```python blocks of a file run in order, in one namespace and an empty folder that holds the
package's own CSV and the files that the document shows: a block that begins with ```csv reviews.csv
is the file reviews.csv. In ```console blocks, `$ headgate ...` lines run in the same way when the
files that they read are there (those, or what an earlier line wrote); of all others the options are
checked against the command's help.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.resources
import importlib.util
import io
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from headgate.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NEIGHBOURS = ("torch", "keras", "tensorflow", "jax", "onnx", "onnxruntime")
BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```\w+ (\w+\.\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Endings of files that a command reads, and the options that name what it writes.
READ = (".csv", ".tsv", ".parquet", ".txt", ".ts", ".conll", ".label", ".safetensors")
WRITTEN = ("--out", "-o")
GROUPS = ("classify", "tag", "text")  # commands that have commands of their own


def blocks(text: str, language: str) -> list[tuple[int, str]]:
    """(line number of its first line, text) of each fenced block in ``language``."""
    found = []
    for match in BLOCK.finditer(text):
        indent, name, body = match.groups()
        if name == language:
            line = text.count("\n", 0, match.start(3)) + 1
            found.append((line, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)))
    return found


def neighbours(code: str) -> set[str]:
    """The deep-learning libraries that a block imports."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    tops = {name.removeprefix("headgate.").split(".")[0] for name in names}
    return tops & set(NEIGHBOURS)


def with_blocks(language: str) -> list[Path]:
    return [path for path in DOCUMENTS if blocks(path.read_text(encoding="utf-8"), language)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def write_shown(path: Path, folder: Path) -> None:
    """Writes the files that a document shows."""
    for name, content in SHOWN.findall(path.read_text(encoding="utf-8")):
        (folder / name).write_text(content, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of an example; it holds the package's own CSV."""
    for entry in (importlib.resources.files("headgate") / "data").iterdir():
        if entry.name.endswith(".csv"):
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_blocks(path: Path, *, with_neighbours: bool) -> int:
    """Runs a file's blocks in order; those with a neighbour in them only if asked to."""
    from matplotlib import pyplot

    namespace = {"__name__": "__main__"}
    count = 0
    for line, code in blocks(path.read_text(encoding="utf-8"), "python"):
        if neighbours(code) and not with_neighbours:
            continue
        # The name and the line that a failure shows are the document's; the brackets keep pytest
        # from printing the whole document above it.
        exec(compile("\n" * (line - 1) + code, f"<{path.name}>", "exec"), namespace)
        count += 1
    pyplot.close("all")
    return count


@pytest.mark.parametrize("path", with_blocks("python"), ids=name_of)
def test_python_blocks_run(path: Path, folder: Path) -> None:
    write_shown(path, folder)
    run_blocks(path, with_neighbours=False)


@pytest.mark.neighbours
@pytest.mark.parametrize("path", with_blocks("python"), ids=name_of)
@pytest.mark.usefixtures("folder")
def test_python_blocks_with_neighbours_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    wanted = set().union(*(neighbours(code) for _, code in blocks(text, "python")))
    missing = sorted(name for name in wanted if importlib.util.find_spec(name) is None)
    if not wanted or missing:
        pytest.skip(f"not installed: {', '.join(missing)}" if missing else "names no neighbour")
    assert run_blocks(path, with_neighbours=True)


# -- the command line -----------------------------------------------------------------------------


def commands(path: Path) -> list[list[str]]:
    """The arguments of each `$ headgate ...` line; a line that ends in a backslash goes on."""
    text = "".join(body for _, body in blocks(path.read_text(encoding="utf-8"), "console"))
    lines = re.findall(r"^\$ headgate\b(.*)$", text.replace("\\\n", " "), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, in this process: starting one takes a second."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        code = main(arguments)
        for stream in streams:
            stream.flush()
    out, errors = (stream.buffer.getvalue().decode() for stream in streams)
    return code, out, errors


@cache
def help_of(*command: str) -> str:
    code, out, errors = run(*command, "--help")
    assert code == 0, f"headgate has no command {shlex.join(command)}:\n{errors}"
    return out


def files_read(arguments: list[str]) -> list[str]:
    """The arguments that are files to be read."""
    before = ["", *arguments]
    pairs = zip(before, arguments, strict=False)
    return [word for last, word in pairs if word.endswith(READ) and last not in WRITTEN]


@pytest.mark.parametrize(
    "path", [path for path in with_blocks("console") if commands(path)], ids=name_of
)
def test_console_lines_run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    write_shown(path, folder)
    for arguments in commands(path):
        options = [word.split("=")[0] for word in arguments if word.startswith("--")]
        if not arguments[0].startswith("-"):
            shown = help_of(*arguments[: 2 if arguments[0] in GROUPS else 1])
            unknown = [word for word in options if word not in shown]
            assert not unknown, f"headgate {shlex.join(arguments)}: no option {unknown}"
        if all((folder / word).exists() for word in files_read(arguments)):
            code, _, errors = run(*arguments)
            assert code == 0, f"headgate {shlex.join(arguments)}:\n{errors}"


# -- the finding of examples ----------------------------------------------------------------------

EXAMPLE = """
```csv sales.csv
day,sold
1,2
```
```python
a = 1
```
1. in a list

   ```python
   if a:
       a = 2
   ```

```console
$ headgate forecast sunspots.csv --horizon 11 \\
    --out "my folder"   # a comment
wrote 4 files
$ make demo
$ headgate --version
```
"""


def test_examples_are_found(tmp_path: Path) -> None:
    assert blocks(EXAMPLE, "python") == [(7, "a = 1\n"), (12, "if a:\n    a = 2\n")]
    path = tmp_path / "EXAMPLE.md"
    path.write_text(EXAMPLE)
    write_shown(path, tmp_path)
    assert (tmp_path / "sales.csv").read_text() == "day,sold\n1,2\n"
    forecast = ["forecast", "sunspots.csv", "--horizon", "11", "--out", "my folder"]
    assert commands(path) == [forecast, ["--version"]]
    assert files_read(forecast) == ["sunspots.csv"]
    assert files_read(["predict", "a.safetensors", "b.csv", "--out", "c.csv"]) == [
        "a.safetensors",
        "b.csv",
    ]


def test_examples_with_neighbours_are_known() -> None:
    assert neighbours("import numpy\nfrom torch import nn\nimport headgate.keras") == {
        "torch",
        "keras",
    }
    assert not neighbours("import headgate as hg\nfrom headgate.torchlike import x")


def test_a_wrong_example_fails(tmp_path: Path) -> None:
    path = tmp_path / "WRONG.md"
    path.write_text("text\n```python\nx = 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_blocks(path, with_neighbours=False)
    assert str(caught.traceback[-1].path) == "<WRONG.md>"
    assert caught.traceback[-1].lineno == 3  # counted from 0: the document's fourth line
