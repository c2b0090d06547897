"""headgate demo: its files, honest figures, and quick."""

import numpy as np
import polars as pl
import pytest

import headgate as hg
from headgate.cli import main
from headgate.cli.demo import PROMPT, SEEDS, sine_job
from headgate.data.sunspots import SUNSPOTS
from headgate.experiments.toys import sine_series


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--out", str(folder)]) == 0
    return folder


def test_demo_writes_its_files(done):
    names = sorted(p.name for p in done.iterdir())
    assert names == ["forecast.csv", "forecast.png", "language.safetensors", "model.safetensors"]
    frame = pl.read_csv(done / "forecast.csv")
    assert frame["year"].to_list() == list(range(2009, 2020))
    assert frame.columns[1:4] == ["headgate", "headgate-lo-80", "headgate-hi-80"]
    # the cycle's maximum came in 2014
    assert 2011 <= frame["year"][frame["headgate"].arg_max()] <= 2015
    assert (done / "forecast.png").read_bytes().startswith(b"\x89PNG")
    assert hg.load(done / "model.safetensors").horizon_ == 11
    assert hg.load(done / "language.safetensors").next(PROMPT, 1)[0][0] == "去"


def test_demo_says_what_it_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in said.splitlines() if "demo/" in line] == [
        "demo/forecast.csv", "demo/forecast.png", "demo/model.safetensors",
        "demo/language.safetensors",
    ]  # fmt: skip
    assert "\n今天阳光明媚,我决定去" in said
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    assert {"GRU", "MLP", "headgate", "naive (last value)", "naive, 11 steps back"} <= set(rows)


def test_the_gru_follows_the_sine_and_the_mlp_does_not():
    truth, runs = sine_job()
    assert truth.shape == (199,)
    assert sine_series()[:2].tolist() == pytest.approx([0.049671, 0.017617], abs=1e-6)
    gru, mlp = runs["GRU"], runs["MLP"]
    assert len(gru) == len(mlp) == len(SEEDS)
    assert gru[0].loss == min(run.loss for run in gru) < 0.0125
    assert 0.018 < mlp[0].loss < 0.019
    assert gru[0].error < 0.1 < 0.5 < mlp[0].error
    assert np.isfinite(gru[0].path).all()


def test_the_sunspots_are_a_plain_table():
    frame = pl.read_csv(SUNSPOTS)
    assert frame.columns == ["year", "sunspots"]
    assert frame["year"].to_list() == list(range(1700, 2009))
