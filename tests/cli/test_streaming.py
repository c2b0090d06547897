"""headgate stream: lines in, lines out, whatever comes down the pipe."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headgate as hg
from headgate.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = hg.Network(input_size=1, hidden_size=4, readout="every", output_size=1, seed=0)
    net.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: bytes, *words: Any
) -> tuple[int, list[str], list[str]]:
    """Exit code and the lines of output and errors, in this process."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    capfd.readouterr()
    code = main(["stream", *map(str, words)])
    out, err = capfd.readouterr()
    return code, out.splitlines(), err.splitlines()


def start(*words: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "headgate", "stream", *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )


def test_a_line_in_a_line_out(model: Path, capfd: Any, monkeypatch: Any) -> None:
    given = b'\xef\xbb\xbf0.1\n[0.2]\r\n{"x": 0.3}\n1e-1'
    code, out, err = run(capfd, monkeypatch, given, model)
    stream = hg.load(model).stream()
    expected = [float(stream.step(value)[0]) for value in (0.1, 0.2, 0.3, 0.1)]
    assert (code, err) == (0, [])
    assert np.float32([float(line) for line in out]).tolist() == np.float32(expected).tolist()
    code, out, _ = run(capfd, monkeypatch, b"0.1\nx\n", model, "--json")
    said = [json.loads(line) for line in out]
    assert np.float32(said[0]["prediction"]) == np.float32(expected[0])
    assert (said[0]["line"], said[1]["prediction"]) == (1, None)
    assert said[1]["error"].startswith("expected a number")


def test_several_values_a_line(tmp_path: Path, capfd: Any, monkeypatch: Any) -> None:
    net = hg.Network(input_size=2, hidden_size=3, output_size=2, readout="every", seed=0)
    net.save(tmp_path / "m.safetensors")
    given = b"[0.1, 0.2]\n0.1,0.2\n0.1 0.2\n"
    _, out, err = run(capfd, monkeypatch, given, tmp_path / "m.safetensors")
    stream = net.stream()
    expected = [stream.step([0.1, 0.2]).tolist() for _ in range(3)]
    assert np.float32([json.loads(line) for line in out]).tolist() == expected
    assert err == []


BAD = [
    (b"abc", "expected a number, numbers apart by commas or JSON, got 'abc'"),
    (b"", "the line is empty, expected a value"),
    (b"nan", "x has a value that is not finite"),
    (b"-inf", "x has a value that is not finite"),
    (b"1e39", "x has a value that is not finite"),
    (b"1_000", "expected a number"),
    (b"[1, 2]", "a step must be a number"),
    (b'{"z": 1}', "a step must have the inputs"),
    (b"[1", "the line is not JSON"),
    (b"[NaN]", "NaN is not a JSON number"),
    (b"[" * 5000, "the line is not JSON"),
    (b'["a"]', "x must hold numbers"),
    (b"\xff\xfe\x00", "it is no UTF-8 text: invalid start byte at byte 0"),
    (b"\x00\x01", "expected a number"),
    (b"9" * (1 << 20) + b"99", "the line is longer than 1048576 bytes"),
]


def test_a_bad_line_is_said_and_the_state_stays(model: Path, capfd: Any, monkeypatch: Any) -> None:
    given = b"\n".join([b"0.1", *(line for line, _ in BAD), b"0.2"])
    code, out, err = run(capfd, monkeypatch, given, model)
    stream = hg.load(model).stream()
    expected = [float(stream.step(value)[0]) for value in (0.1, 0.2)]
    assert (code, len(out), len(err)) == (0, len(BAD) + 2, len(BAD))
    assert out[1:-1] == ["null"] * len(BAD)
    assert np.float32([float(out[0]), float(out[-1])]).tolist() == np.float32(expected).tolist()
    for k, (line, (_, said)) in enumerate(zip(err, BAD, strict=True)):
        assert line.startswith(f"headgate: line {k + 2}: ")
        assert said in line
        assert line.endswith("; skipped")


def test_garbage_and_nothing(model: Path, capfd: Any, monkeypatch: Any) -> None:
    garbage = np.random.default_rng(0).bytes(20000)
    code, out, _ = run(capfd, monkeypatch, garbage, model)
    assert code == 0
    assert len(out) == len(garbage.split(b"\n"))
    assert set(out) == {"null"}
    assert run(capfd, monkeypatch, b"", model) == (0, [], [])
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["stream", str(model)]) == 0


def test_a_state_is_kept_and_gone_on_from(
    model: Path, tmp_path: Path, capfd: Any, monkeypatch: Any
) -> None:
    _, whole, _ = run(capfd, monkeypatch, b"0.1\n0.2\n0.3\n", model)
    state = tmp_path / "state.json"
    _, first, _ = run(capfd, monkeypatch, b"0.1\n0.2\n", model, "--state", state)
    _, then, _ = run(capfd, monkeypatch, b"0.3\n", model, "--state", state)
    assert first + then == whole
    state.write_text(state.read_text()[:90])
    code, out, err = run(capfd, monkeypatch, b"0.1\n", model, "--state", state)
    assert (code, out, len(err)) == (2, [], 1)
    assert "is no state of a stream, or it is truncated or altered" in err[0]


def test_where_nothing_can_be_written_is_said_before_the_first_value(
    model: Path, tmp_path: Path, capfd: Any, monkeypatch: Any
) -> None:
    for words, said in [
        (["--state", tmp_path / "no" / "s"], "there is no folder"),
        (["--learn", "--save", tmp_path / "no" / "s"], "there is no folder"),
        (["--learn", "--save", tmp_path], "is a folder; name a file in it"),
    ]:
        code, out, err = run(capfd, monkeypatch, b"0.1\n", model, *words)
        assert (code, out, len(err)) == (2, [], 1)
        assert said in err[0]


def test_learning_is_saved(model: Path, tmp_path: Path, capfd: Any, monkeypatch: Any) -> None:
    x = np.sin(np.arange(300) / 5)
    given = "\n".join(map(str, x)).encode()
    learned = tmp_path / "learned.safetensors"
    words = ["--learn", "--learning-rate", 0.01, "--window", 10, "--save", learned]
    code, out, err = run(capfd, monkeypatch, given, model, *words)
    assert (code, len(out), err) == (0, 300, [])
    pairs = x[:-1].reshape(1, -1, 1), x[1:].reshape(1, -1, 1)
    assert hg.load(learned).evaluate(*pairs) < 0.5 * hg.load(model).evaluate(*pairs)
    for words, said in [
        (["--save", learned], "--save writes what was learned; pass --learn with it"),
        (["--window", 3], "--window goes with --learn"),
        (["--top", 3], "a live Network has no option 'top'"),
        (["--every", 0], "'--every'"),
    ]:
        code, out, err = run(capfd, monkeypatch, b"1\n", model, *words)
        assert (code, out, len(err)) == (2, [], 1)
        assert said in err[0]


def test_predictions_come_at_once_and_a_signal_keeps_the_state(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    process = start(model, "--state", state)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"0.1\n")
    process.stdin.flush()
    float(process.stdout.readline())  # while the pipe stays open
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert process.stderr is not None
    assert process.stderr.read() == b""
    live = hg.load(model).stream()
    live.step(0.1)
    kept = json.loads(state.read_text())["state"]["stream"]
    assert base64.b64decode(kept) == live.to_bytes()
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals are those of POSIX")
def test_a_pipe_that_closes_ends_it_quietly(model: Path, tmp_path: Path) -> None:
    process = start(model, "--state", tmp_path / "state.json")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"0.1\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(b"0.2\n" * 50)
    process.stdin.close()
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert (tmp_path / "state.json").exists()


def test_a_network_needs_no_library_of_the_estimators(model: Path) -> None:
    code = (
        "import sys; from headgate.cli import main; "
        f"main(['stream', {str(model)!r}]); print('sklearn' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
