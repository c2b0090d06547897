"""headgate gates: pictures and tables of every kind of model, and what is said of bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import headgate as hg
from headgate.cli import main


def save(net: Any, path: Path) -> Path:
    net.save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(hg.Network(input_size=1, hidden_size=5, seed=0), tmp_path / "m.safetensors")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "sensor.csv"
    rows = [f"t{k},{np.sin(k / 5):.4f},{k}" for k in range(40)]
    path.write_text("when,wave,number\n" + "\n".join(rows) + "\n")
    return path


def run(capsys: Any, *words: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["gates", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_picture_and_a_table(model: Path, table: Path, tmp_path: Path, capsys: Any) -> None:
    picture, csv = tmp_path / "g.png", tmp_path / "g.csv"
    words = ["--columns", "wave", "--last", 10, "--units", "1,3", "--out", picture, "--csv", csv]
    code, out, err = run(capsys, model, table, *words)
    assert (code, err) == (0, "")
    assert "gru_l0: the last 10 of 40 steps" in out
    assert "1 keeps the old state" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    found = pl.read_csv(csv)
    wave = pl.read_csv(table)["wave"].to_numpy()
    gates = hg.load(model).gates(wave[None, :, None])
    assert found["at"].to_list() == [f"t{k}" for k in range(30, 40)]
    assert found["update_3"].to_numpy() == pytest.approx(gates.update[0, -10:, 2], rel=1e-6)


def test_a_forecaster_and_texts(tmp_path: Path, capsys: Any) -> None:
    y = 10 + np.sin(np.arange(80) / 2)
    data = tmp_path / "s.csv"
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 3, 20), eager=True)
    pl.DataFrame({"day": days, "sold": y}).write_csv(data)
    forecaster = hg.GRUForecaster(4, members=1, hidden_size=3, epochs=1, progress=False)
    path = save(forecaster.fit(pl.read_csv(data)), tmp_path / "f.safetensors")
    code, out, _ = run(capsys, path, data, "-o", tmp_path / "f.svg", "--csv", tmp_path / "f.csv")
    assert code == 0
    assert pl.read_csv(tmp_path / "f.csv")["at"][-1] == "2024-03-20"
    tagger = hg.SequenceTagger(members=1, epochs=1, hidden_size=4, progress=False)
    tagger.fit([["Ann", "sees", "Rome", "."]] * 20, [["B-per", "O", "B-loc", "O"]] * 20)
    path = save(tagger, tmp_path / "t.safetensors")
    code, out, _ = run(capsys, path, "Ann sees Oslo.", "-o", tmp_path / "t.png")
    assert (code, "--layer also knows gru_l0_reverse" in out) == (0, True)
    sentences = tmp_path / "s.conll"
    sentences.write_text("Ann\tO\nsees\tO\n\nRome\tO\n")
    csv = tmp_path / "t.csv"
    run(capsys, path, sentences, "-o", tmp_path / "t.png", "--csv", csv, "--example", 2)
    assert pl.read_csv(csv)["token"].to_list() == ["Rome"]


def test_what_is_wrong_is_said(model: Path, table: Path, tmp_path: Path, capsys: Any) -> None:
    rnn = save(hg.Network(input_size=1, hidden_size=2, cell="rnn"), tmp_path / "rnn.safetensors")
    empty = tmp_path / "empty.csv"
    empty.write_text("a,b\n1,\n2,3\n")
    wave = ["--columns", "wave"]
    for words, said in [
        ([rnn, table, *wave], "no gates: its cells are plain RNNs; a GRU or an LSTM has some"),
        ([model, table], "the model reads 1 column, but"),
        ([model, table, "--columns", "when"], "has no column of numbers 'when'; it has wave"),
        ([model, empty, "--columns", "b"], "has empty cells in b; fill them first"),
        ([model, "a sentence"], "there is no file 'a sentence'; name one with the values"),
        ([model, tmp_path / "no.csv"], "there is no file"),
        ([model, table, *wave, "--layer", "x"], "there is no layer 'x' with gates"),
        ([model, table, *wave, "--units", "1,x"], "--units is '1,x', expected numbers from 1 on"),
        ([model, table, *wave, "--units", "6"], "a unit must be between 1 and 5, got 6"),
        ([model, table, *wave, "--out", "g.txt"], "expected a name that ends in .png"),
        ([model, table, *wave, "--csv", tmp_path / "no" / "g.csv"], "there is no folder"),
        ([tmp_path / "none.safetensors", table], "none.safetensors"),
    ]:
        code, out, err = run(
            capsys, *words, *([] if "--out" in words else ["-o", tmp_path / "g.png"])
        )
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert said in err
    assert not (tmp_path / "g.png").exists()
