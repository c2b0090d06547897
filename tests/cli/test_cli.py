"""The command line: files that it writes, words that it says, codes that it leaves with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headgate as hg
from headgate.cli import main

FILES = ["forecast.csv", "forecast.png", "model.safetensors", "report.json"]
QUICK = ["--horizon", "3", "--epochs", "3", "--hidden-size", "4"]


def table(count=48, dates="%Y-%m", names=("month", "sales"), separator=","):
    """A monthly table as text."""
    t = np.arange(count)
    months = (np.datetime64("2020-01", "M") + t).astype("datetime64[D]").tolist()
    values = 100 + t + 10 * np.sin(2 * np.pi * t / 12)
    rows = [f"{m.strftime(dates)}{separator}{v:.3f}" for m, v in zip(months, values, strict=True)]
    return "\n".join([separator.join(names), *rows]) + "\n"


def panel_table(count=40, ids="AB", future=0, names=("shop", "day", "sold", "temp"), gap=None):
    """Days of several shops as text: sales follow the temperature, which is known ahead."""
    rows = []
    for k, name in enumerate(ids):
        for t in range(count + future):
            day = (np.datetime64("2024-01-01") + t).item()
            temp = 10.0 * (t * (k + 2) % 7)
            sold = "" if t >= count or t == gap else f"{100 * (k + 1) + temp + t % 3:.2f}"
            rows.append(f"{name},{day},{sold},{temp}")
    return "\n".join([",".join(names), *rows]) + "\n"


PANEL = ["--id", "shop", "--target", "sold", "--horizon", "4", "--epochs", "3"]


@pytest.fixture(scope="module")
def sales(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sales.csv"
    path.write_text(table())
    return path


@pytest.fixture(scope="module")
def done(sales, tmp_path_factory):
    """A folder after headgate forecast."""
    folder = tmp_path_factory.mktemp("out")
    assert main(["forecast", str(sales), "--out", str(folder), *QUICK]) == 0
    return folder


def fails(capsys, *arguments):
    """What a command that must fail says, which is one line on stderr and no traceback."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("headgate: ")
    assert err.count("\n") == 1
    return err.removeprefix("headgate: ").strip()


# -- forecast ------------------------------------------------------------------------------


def test_forecast_writes_four_files(sales, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    levels = ["--level", "50", "--level", "90"]
    assert main(["forecast", str(sales), "--out", str(out), *levels, *QUICK]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert sorted(p.name for p in out.iterdir()) == FILES
    frame = pl.read_csv(out / "forecast.csv")
    assert frame["month"].to_list() == ["2024-01", "2024-02", "2024-03"]
    bounds = ["headgate-lo-50", "headgate-hi-50", "headgate-lo-90", "headgate-hi-90"]
    assert frame.columns == ["month", "headgate", *bounds]
    assert (out / "forecast.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((out / "report.json").read_text())
    assert report["data"] == {
        "file": "sales.csv", "series": 1, "rows": 48, "filled": 0, "id": None, "time": "month",
        "target": "sales", "past": [], "future": [], "static": [], "frequency": "M",
        "first": "2020-01", "last": "2023-12",
    }  # fmt: skip
    assert report["parameters"]["epochs"] == 3
    assert report["fit"]["epochs"] <= 3  # fewer where more do not help
    assert set(report["backtest"]["scores"]) == {"headgate", "naive", "naive, 12 steps back"}
    assert set(report["backtest"]["coverage"]) == {"50", "90"}
    first, *_, last = said.splitlines()
    assert first.startswith(
        "sales.csv: 48 values of sales, 2020-01 to 2023-12, every M, season 12; fitted in "
    )
    assert last == f"written to {out}: {', '.join(FILES)}"
    assert report["backtest"]["verdict"] in said
    assert "naive, 12 steps back" in said


def test_it_says_when_it_does_not_win(tmp_path, capsys):
    rng = np.random.default_rng(0)
    path = tmp_path / "walk.csv"
    path.write_text("y\n" + "".join(f"{v}\n" for v in np.cumsum(rng.normal(0, 1, 60))))
    # hardly trained, on a random walk, where the last value is the best forecast
    code = main(["forecast", str(path), "--out", str(tmp_path / "o"), "--horizon", "3",
                 "--learning-rate", "0.2", "--epochs", "40"])  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    assert "headgate did NOT win: its MAE is" in said
    assert "above that of naive; use that." in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_chinese_from_end_to_end(encoding, tmp_path, capsys):
    path = tmp_path / "销量.csv"
    path.write_bytes(table(dates="%Y年%-m月", names=("日期", "销量")).encode(encoding))
    named = ["--encoding", encoding] if encoding == "gb18030" else []
    out = tmp_path / "结果"
    assert main(["forecast", str(path), "--out", str(out), *named, *QUICK]) == 0
    said, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "销量.csv: 48 values of 销量, 2020年1月 to 2023年12月, every M" in said
    frame = pl.read_csv(out / "forecast.csv")
    assert frame["日期"].to_list() == ["2024年1月", "2024年2月", "2024年3月"]
    assert main(["predict", str(out / "model.safetensors"), str(path), *named]) == 0
    assert capsys.readouterr().out == (out / "forecast.csv").read_text(encoding="utf-8")
    assert main(["info", str(out / "model.safetensors")]) == 0
    assert "销量, 48 values, every M" in capsys.readouterr().out


def test_short_data_are_forecast_without_a_backtest(tmp_path, capsys):
    path = tmp_path / "short.csv"
    path.write_text("y\n" + "".join(f"{v}\n" for v in [3, 1, 4, 1, 5, 9, 2, 6]))
    assert main(["forecast", str(path), "--out", str(tmp_path / "o"), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "no back-test: a back-test of 1 window leaves too little to learn from" in said
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert "too little to learn from" in report["backtest"]["skipped"]


def test_constant_values(tmp_path, capsys):
    path = tmp_path / "same.csv"
    path.write_text("y\n" + "4.5\n" * 30)
    assert main(["forecast", str(path), "--out", str(tmp_path / "o"), *QUICK]) == 0
    frame = pl.read_csv(tmp_path / "o" / "forecast.csv")
    assert (frame.drop("ds").to_numpy() == 4.5).all()
    assert "headgate and naive did equally well" in capsys.readouterr().out


# -- many series ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_long_table(kind, tmp_path, capsys):
    path, out = tmp_path / f"shops.{kind}", tmp_path / "o"
    text = panel_table(ids="BAC")
    if kind == "csv":
        path.write_text(text)
    else:
        pl.read_csv(text.encode(), try_parse_dates=True).write_parquet(path)
    quick = ["--id", "shop", "--target", "sold", "--past", "temp", *QUICK]
    assert main(["forecast", str(path), "--out", str(out), *quick]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert said.startswith(
        f"shops.{kind}: 120 values of sold in 3 series, 2024-01-01 to 2024-02-09, every D, season "
    )
    assert "held out at the end of 3 series (one fit, on what is before them):" in said
    assert sorted(p.name for p in out.iterdir()) == FILES
    frame = pl.read_csv(out / "forecast.csv")
    assert frame.columns[:3] == ["shop", "day", "headgate"]
    assert frame["shop"].to_list() == [name for name in "BAC" for _ in range(3)]
    assert frame["day"].to_list() == ["2024-02-10", "2024-02-11", "2024-02-12"] * 3
    report = json.loads((out / "report.json").read_text())
    data = report["data"]
    assert (data["series"], data["rows"], data["id"]) == (3, 120, "shop")
    assert (data["past"], data["future"], data["static"]) == (["temp"], [], [])
    assert report["backtest"]["series"] == 3
    assert main(["info", str(out / "model.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "  series     sold, 120 values in 3 series, every D\n" in said
    assert "  covariates temp\n" in said
    assert main(["predict", str(out / "model.safetensors"), str(path)]) == 0
    assert capsys.readouterr().out == (out / "forecast.csv").read_text()


@pytest.mark.parametrize("ids", ["A", "AB", "ABCDEFGH"])
def test_a_picture_of_several_series(ids, tmp_path, monkeypatch):
    from headgate import plots

    drawn = []
    whole = plots.forecast_axes
    monkeypatch.setattr(
        plots, "forecast_axes", lambda axes, *rest: drawn.append(whole(axes, *rest)) or drawn[-1]
    )
    (tmp_path / "shops.csv").write_text(panel_table(ids=ids).replace(",temp", ",other"))
    arguments = ["forecast", str(tmp_path / "shops.csv"), "--out", str(tmp_path / "o"), *PANEL]
    assert main(arguments) == 0
    titles = [axes.get_title(loc="left") for axes in drawn]
    assert titles == [f"{name}, 4 steps ahead" for name in ids[:6]]
    assert (tmp_path / "o" / "forecast.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_known_ahead_stands_at_the_end(tmp_path, capsys):
    """Rows without a target hold the future of the columns that are known ahead."""
    path, out = tmp_path / "shops.csv", tmp_path / "o"
    path.write_text(panel_table(future=6))
    assert main(["forecast", str(path), "--out", str(out), *PANEL, "--future", "temp"]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert said.startswith("shops.csv: 80 values of sold in 2 series, 2024-01-01 to 2024-02-09,")
    frame = pl.read_csv(out / "forecast.csv")
    assert frame["day"].to_list() == [f"2024-02-{d}" for d in (10, 11, 12, 13)] * 2
    report = json.loads((out / "report.json").read_text())
    assert (report["data"]["future"], report["data"]["filled"]) == (["temp"], 0)
    model = str(out / "model.safetensors")
    assert main(["predict", model, "--ahead", str(path)]) == 0
    assert capsys.readouterr().out == (out / "forecast.csv").read_text()
    assert main(["predict", model, "--ahead", str(path), "--horizon", "6"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 6
    said = fails(capsys, "predict", model)
    assert said.startswith("this model reads covariates known ahead, 'temp'; pass them for the")
    assert "series in a table: --ahead FILE" in said
    path.write_text(panel_table())
    for arguments in (
        ["forecast", str(path), "--out", str(out), *PANEL, "--future", "temp"],
        ["predict", model, str(path)],
    ):
        said = fails(capsys, *arguments)
        assert said.startswith("future covariate 'temp' is missing for 2024-02-10 (and 3 more")
        assert "; add rows at the end of DATA without a target" in said


@pytest.mark.parametrize(("closed", "code"), [("stdout", 2), ("stderr", 0)])
def test_streams_that_are_closed(closed, code, done, monkeypatch, sales, tmp_path, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(sys, closed, None)
        assert main(["predict", str(done / "model.safetensors")]) == code
        assert main(["forecast", str(sales), "--out", str(tmp_path), *QUICK]) == 0
        assert main(["predict", "nothing"]) == 2
    err = capsys.readouterr().err
    assert ("standard output is closed; name a file with --out" in err) == (closed == "stdout")
    assert (tmp_path / "forecast.csv").exists()


@pytest.mark.parametrize("policy", ["interpolate", "forward"])
def test_missing_values_are_counted(policy, tmp_path, capsys):
    path, out = tmp_path / "shops.csv", tmp_path / "o"
    path.write_text(panel_table(gap=17))
    columns = [*PANEL, "--past", "temp", "--missing", policy]
    assert main(["forecast", str(path), "--out", str(out), *columns]) == 0
    how = {"interpolate": "by straight lines", "forward": "by the value before"}[policy]
    assert f"2 missing values were filled {how}; none is scored\n" in capsys.readouterr().out
    assert json.loads((out / "report.json").read_text())["data"]["filled"] == 2


def test_chinese_panels(tmp_path, capsys):
    path, out = tmp_path / "门店.csv", tmp_path / "结果"
    names = ("门店", "日期", "销量", "气温")
    text = panel_table(ids=("北京", "上海"), future=4, names=names)
    path.write_bytes(text.encode("gb18030"))
    arguments = ["--id", "门店", "--target", "销量", "--future", "气温", "--encoding", "gb18030",
                 "--horizon", "4", "--epochs", "3"]  # fmt: skip
    assert main(["forecast", str(path), "--out", str(out), *arguments]) == 0
    said, err = capsys.readouterr()
    assert "Traceback" not in err
    assert said.startswith("门店.csv: 80 values of 销量 in 2 series, 2024-01-01 to 2024-02-09, ")
    frame = pl.read_csv(out / "forecast.csv")
    assert frame.columns[:3] == ["门店", "日期", "headgate"]
    assert frame["门店"].to_list() == ["北京"] * 4 + ["上海"] * 4
    again = ["predict", str(out / "model.safetensors"), str(path), "--encoding", "gb18030"]
    for arguments in (again, [*again, "--ahead", str(path)]):  # the file's end holds the future
        assert main(arguments) == 0
        assert capsys.readouterr().out == (out / "forecast.csv").read_text(encoding="utf-8")


# -- predict, info -------------------------------------------------------------------------


def test_predict_goes_on_from_newer_data(done, tmp_path, capsys):
    newer = tmp_path / "newer.csv"
    newer.write_text(table(60))
    out = tmp_path / "new" / "next.csv"
    arguments = ["predict", str(done / "model.safetensors"), str(newer), "--horizon", "5"]
    assert main([*arguments, "--out", str(out), "--level", "80"]) == 0
    assert capsys.readouterr().out == f"5 steps written to {out}\n"
    frame = pl.read_csv(out)
    assert frame.columns == ["month", "headgate", "headgate-lo-80", "headgate-hi-80"]
    assert frame["month"].to_list() == ["2025-01", "2025-02", "2025-03", "2025-04", "2025-05"]
    assert main(["predict", str(done / "model.safetensors")]) == 0
    assert capsys.readouterr().out == (done / "forecast.csv").read_text()


def test_info(done, tmp_path, capsys):
    assert main(["info", str(done / "model.safetensors")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("model.safetensors: GRUForecaster, ")
    assert "  series     sales, 48 values, every M\n" in said
    assert "  season     12 steps\n" in said
    assert "gru    gru" in said
    network = hg.Network(input_size=1, hidden_size=4, seed=0)
    network.save(tmp_path / "n.safetensors")
    assert main(["info", str(tmp_path / "n.safetensors")]) == 0
    assert capsys.readouterr().out.startswith("n.safetensors: Network, ")


# -- mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("", [], "is empty; expected a header line and one row per time step"),
        ("a,b\n", [], "has a header but no rows; expected one row for each time step below it"),
        ("ds,y\n2024-01-01,1\n", [], "the table has 1 row; a series needs at least 2"),
        ("ds,y\n" + "".join(f"2024-01-{d:02d},{d}\n" for d in range(1, 11)), ["--horizon", "12"],
         "the series has 10 values, but horizon=12 needs at least 26 (two horizons and 2 more); "
         "bring more data, or ask for a horizon of at most 4"),
        (table(), ["--horizon", "0"], "horizon must be between 1 and 65536, got 0"),
        (table().replace("100.000", "many"), [], "the value column 'sales' holds text, such as "
         "'many', in row 1; write plain numbers such as 1234.5"),
        (table().replace("100.000", "inf"), [], "the value column 'sales' is infinite in row 1; "
         "replace these values by numbers"),
        (table().replace("2020-02", "2020-01"), [], "time stamps of 'month' stand more than once: "
         "2020-01 in rows 1, 2; keep one row for each"),
        (table(), ["--target", "price"], "price"),
        (table(), ["--level", "120"], "level must be above 0 and below 100 percent, got 120.0"),
        (table(), ["--encoding", "klingon"], "encoding 'klingon' is not known"),
        (table(), ["--freq", "sometimes"], "freq 'sometimes' is not known"),
        (table(), ["--learning-rate", "0"], "learning_rate must be a finite number above 0"),
        (table(), ["--scaler", "max"], "scaler must be one of 'auto', 'window', 'series'"),
        (table(), ["--loss", "mape"], "loss must be one of"),
        (table(), ["--strategy", "both"], "strategy must be one of 'auto', 'direct', 'recursive'"),
        (table(), ["--missing", "zero"], "missing must be one of 'interpolate', 'forward'"),
        (table(), ["--id", "shop"], "id column 'shop' is not in the table; its columns are"),
        (table(), ["--future", "promo"], "future column 'promo' is not in the table"),
        (table(), ["--past", "sales", "--target", "sales"], "is named as target and as past"),
        (table().replace("100.000", ""), ["--missing", "error"], "the column 'sales' has 1 missing "
         "value in the series at 2020-01; fill them first, or pass missing="),
        (panel_table(future=2), [*PANEL, "--future", "temp"], "future covariate 'temp' is missing "
         "for 2024-02-12"),
        (panel_table() + "one,2024-03-01,5,0\n", PANEL, "too short to forecast: series 'one' has 1 "
         "value; at least"),
        (panel_table() + "B,2024-01-01,5,0\n", PANEL, "2024-01-01 of series 'B' in rows"),
        (table(), ["--horizon", "soon"], "Invalid value for '--horizon'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(content, options, words, tmp_path, capsys):
    path = tmp_path / "data.csv"
    path.write_text(content)
    assert words in fails(capsys, "forecast", path, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_other_mistakes(sales, done, tmp_path, capsys):
    said = fails(capsys, "forecast", tmp_path / "no.csv")
    assert said == f"there is no file {tmp_path}/no.csv; check the name and the folder"
    (tmp_path / "file").write_text("")
    said = fails(capsys, "forecast", sales, *QUICK, "--out", tmp_path / "file")
    assert said == f"{tmp_path}/file is a file, expected a folder; name another --out"
    assert fails(capsys, "nonsense") == "No such command 'nonsense'; see headgate --help"
    assert fails(capsys, "forecast") == "Missing argument 'DATA'; see headgate --help"
    said = fails(capsys, "info", tmp_path / "no.safetensors")
    assert said == f"'{tmp_path}/no.safetensors' does not exist; check the path"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes((done / "model.safetensors").read_bytes()[:-9])
    assert "copy or save it again" in fails(capsys, "predict", broken)
    hg.Network(input_size=1, hidden_size=4, seed=0).save(broken)
    assert "holds a Network, expected a forecaster" in fails(capsys, "predict", broken)


def test_a_mistake_leaves_earlier_results(sales, done, tmp_path, capsys):
    before = {p.name: p.read_bytes() for p in done.iterdir()}
    fails(capsys, "forecast", sales, "--out", done, "--horizon", "40")
    assert {p.name: p.read_bytes() for p in done.iterdir()} == before


# -- the process ---------------------------------------------------------------------------


HERE = str(Path(hg.__file__).parents[1])  # the package under test, wherever the process runs
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")])),
}


def run(*arguments, **options):
    command = [sys.executable, "-m", "headgate", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, env=ENVIRONMENT, **options)


def test_version_and_help_load_little():
    assert run("--version").stdout == f"headgate {hg.__version__}\n".encode()
    code = (
        "import sys; from headgate.cli import main; main(['--help']); "
        "print([m for m in ('polars', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, env=ENVIRONMENT
    )
    lines = done.stdout.decode().strip().splitlines()
    assert lines[-1] == "[]"
    for command in ("forecast", "predict", "info", "demo"):
        assert any(command in line for line in lines)


def test_a_mistake_in_a_process(tmp_path):
    result = run("forecast", "no.csv", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr == b"headgate: there is no file no.csv; check the name and the folder\n"


@pytest.mark.parametrize("arguments", [["info"], ["predict"]])
def test_a_closed_pipe_is_quiet(done, sales, arguments):
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "headgate", *arguments, str(done / "model.safetensors")],
            stdout=closed, stderr=subprocess.PIPE, timeout=60, env=ENVIRONMENT,
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (141, b"")


def test_ctrl_c_is_quiet(sales, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate", "forecast", str(sales), "--epochs", "1000000",
         "--horizon", "3", "--out", str(tmp_path / "o")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    usage = Path(f"/proc/{process.pid}/stat")
    end = time.monotonic() + 60
    while usage.exists() and time.monotonic() < end:  # on a busy machine it starts late
        user_and_system = usage.read_text().rpartition(")")[2].split()[11:13]
        if sum(map(int, user_and_system)) > 2.5 * os.sysconf("SC_CLK_TCK"):
            break
        time.sleep(0.1)
    else:
        time.sleep(3)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, b"", b"")
    assert not (tmp_path / "o").exists()
