"""``headgate tune``: a file in, the best model and what was found out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import headgate as hg
from headgate.cli import main

pytest.importorskip("optuna", reason="searches with Optuna, an extra")


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    values = np.sin(np.arange(60) * 0.7) + np.random.default_rng(0).normal(0, 0.1, 60)
    path = tmp_path / "wave.csv"
    path.write_text("level\n" + "".join(f"{value}\n" for value in values))
    (tmp_path / "space.json").write_text(
        '{"epochs": {"choices": [2]}, "hidden_size": [4, 16], "loss": {"choices": ["mae", "mse"]}}'
    )
    return path


def run(*arguments: object) -> int:
    return main(["tune", *map(str, arguments)])


def test_the_best_is_written_beside_what_was_tried(
    series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "random,whales"
    code = run(
        series, "--horizon", 2, "--space", "space.json", "--trials", 4, "--compare-samplers", names
    )
    out, err = capsys.readouterr()
    assert code == 0, err
    folder = Path("tune")
    report = json.loads((folder / "report.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == sorted(report["files"])
    assert [row["sampler"] for row in report["searches"]] == ["random", "whales"]
    assert report["test"]["verdict"] in out
    assert "wave.csv: GRUForecaster, 20% (at least 2 steps) at the end of the series held" in out
    best = json.loads((folder / "best.json").read_text())
    assert best["estimator"] == "GRUForecaster"
    model = hg.load(folder / "model.safetensors")
    assert {name: model.get_params()[name] for name in best["parameters"]} == best["parameters"]
    rows = (folder / "trials.csv").read_text().splitlines()
    assert rows[0] == "sampler,trial,state,MAE,seconds,epochs,hidden_size,loss"
    assert len(rows) == 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trials", 0], "trials must be between 1"),
        (["--minutes", 0], "minutes must be a finite number above 0"),
        (["--sampler", "sharks"], "sampler must be one of 'tpe', 'random', 'grid'"),
        (["--space", "none.json"], "there is no file none.json"),
        (["--space", "wave.csv"], "is not JSON"),
        (["--storage", "gone/study.db"], "there is no folder gone"),
        (["--out", "wave.csv"], "is a file, expected a folder"),
        (["--horizon", 25], "bring more data or ask for a shorter horizon"),
        (["--task", "guess"], "task must be one of"),
    ],
)
def test_mistakes_are_one_line(
    series: Path, arguments: list[object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(series, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not Path("tune").is_dir() or not list(Path("tune").iterdir())


def test_an_unknown_name_is_answered_with_those_that_there_are(
    series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("space.json").write_text('{"width": [1, 2]}')
    assert run(series, "--space", "space.json") == 2
    assert "'width' is no parameter of GRUForecaster; there are" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="sends the signal of Ctrl-C")
def test_ctrl_c_keeps_what_was_found_and_a_second_run_goes_on(series: Path) -> None:
    command = [
        sys.executable, "-m", "headgate", "tune", str(series), "--horizon", "2", "--space",
        "space.json", "--storage", "study.db", "--trials",
    ]  # fmt: skip
    process = subprocess.Popen(
        [*command, "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    import sqlite3

    for _ in range(600):
        time.sleep(0.1)
        assert process.poll() is None, process.communicate()
        if Path("study.db").exists():
            connection = sqlite3.connect("file:study.db?mode=ro", uri=True)
            try:
                query = "select count(*) from trials where state = 'COMPLETE'"
                if connection.execute(query).fetchone()[0] >= 3:
                    break
            except sqlite3.OperationalError:  # the tables are not there yet
                pass
            finally:
                connection.close()
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "headgate: note: stopped after" in err
    assert "written to tune:" in out
    report = json.loads(Path("tune/report.json").read_text())
    assert report["interrupted"]
    count = sum(report["searches"][0]["trials"].values())
    assert count >= 3
    assert run(series, "--horizon", 2, "--space", "space.json", "--storage", "study.db",
               "--trials", count + 2) == 0  # fmt: skip
    report = json.loads(Path("tune/report.json").read_text())
    assert report["searches"][0]["resumed"] == count
    assert sum(report["searches"][0]["trials"].values()) == count + 2
