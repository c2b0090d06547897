"""Processes of the peers, the check that comes before the clock, and interleaved rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Result = dict[str, Any]

# name -> module, and what its process's environment needs
PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "headgate": ("peers.headgate_peer", {}),
    "torch": ("peers.torch_peer", {}),
    "onnxruntime": ("peers.onnx_peer", {}),
    "openvino": ("peers.openvino_peer", {}),
    "headgate-torch": ("peers.headgate_torch_peer", {}),
    "numpy": ("peers.numpy_peer", {}),
    "jax": ("peers.jax_peer", {}),
    "keras-tensorflow": ("peers.keras_peer", {"KERAS_BACKEND": "tensorflow"}),
    "keras-jax": ("peers.keras_peer", {"KERAS_BACKEND": "jax"}),
}
DEFAULT_PEERS = ("torch", "onnxruntime", "openvino", "numpy")


def thread_environment(threads: int) -> dict[str, str]:
    """Every switch by which a library of ours counts its threads."""
    count = str(threads)
    names = (
        "BENCH_THREADS HEADGATE_NUM_THREADS OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS "
        "TF_NUM_INTRAOP_THREADS TF_NUM_INTEROP_THREADS NPROC"
    )
    environment = dict.fromkeys(names.split(), count)
    if threads == 1:
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return environment | {
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(threads: int) -> list[int]:
    """Keep this process and all it starts from now on ``threads`` cores, where the system can."""
    cores = CORES[-threads:]
    if cores:
        os.sched_setaffinity(0, cores)
    return cores


class Worker:
    """One library in a process of its own; ``absent`` says why when it is not installed."""

    def __init__(self, name: str, threads: int) -> None:
        module, extra = PEERS[name]
        self.name, self.threads, self.version, self.absent = name, threads, "", ""
        self.jobs: list[str] = []
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (close() closes it)
        pin(threads)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=HERE,
            env=os.environ | thread_environment(threads) | extra,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        hello = self._read()
        self.absent = hello.get("absent", hello.get("error", ""))
        self.version, self.jobs = hello.get("version", ""), hello.get("jobs", [])

    def _read(self) -> Result:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            answer: Result = json.loads(line)
            return answer
        self.log.seek(0)
        tail = self.log.read().strip().splitlines()[-3:]
        return {"error": f"its process ended: {' | '.join(tail)}"}

    def ask(self, job: str, **options: Any) -> Result:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"job": job, **options}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # _read says what happened
        return self._read()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.process.wait()
        self.log.close()


class Workers:
    """The chosen peers' processes, each started when it is first needed."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._started: dict[tuple[str, int], Worker] = {}

    def get(self, name: str, threads: int) -> Worker | None:
        """The worker for so many threads; None when it was not chosen or is not installed."""
        if name not in self.names:
            return None
        worker = self.start(name, threads)
        return None if worker.absent else worker

    def start(self, name: str, threads: int) -> Worker:
        key = name, threads
        if key not in self._started:
            self._started[key] = Worker(name, threads)
        return self._started[key]

    def close(self) -> None:
        for worker in self._started.values():
            worker.close()


@dataclass
class Entry:
    """One line of a table: a peer, one of its ways to do a job, and what it took."""

    worker: Worker
    job: str
    options: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0  # of the seconds, when a run is only part of a job, or several of it
    target: float | None = None  # how many times headgate's time this should take
    result: Result = field(default_factory=dict)
    fault: str = ""
    rounds: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        return statistics.median(self.rounds) * self.scale if self.rounds else None

    @property
    def span(self) -> tuple[float, float]:
        """Seconds of the quickest and of the slowest round."""
        return min(self.rounds) * self.scale, max(self.rounds) * self.scale

    def as_dict(self) -> Result:
        measured = {key: value for key, value in self.result.items() if key != "seconds"}
        return {
            "peer": self.worker.name,
            "version": self.worker.version,
            "threads": self.worker.threads,
            "job": self.job,
            "options": self.options,
            "seconds": self.seconds,
            "rounds": [value * self.scale for value in self.rounds],
            "scaled_by": self.scale,
            "target": self.target,
            "fault": self.fault,
            **measured,
        }


Check = Callable[[Result, dict[str, Any]], str]


def naming(entry: Entry) -> str:
    """Which of the many lines this is: peer, job, and the shape and network where it has them."""
    words = [f"{entry.worker.name}: {entry.job}"]
    if "shape" in entry.options:
        words.append(str(entry.options["shape"]))
        words += [f"{key}={value}" for key, value in entry.options.get("network", {}).items()]
        words.append(f"on {entry.worker.threads}")
    return " ".join(words)


def verify(entries: list[Entry], check: Check, say: Callable[[str], None]) -> None:
    """Run every entry once, untimed; what disagrees gets a ``fault`` and is not timed."""
    for entry in entries:
        say(f"checking {naming(entry)}")
        entry.result = entry.worker.ask(entry.job, **entry.options)
        entry.fault = entry.result.get("error") or check(entry.result, entry.options)


def time_interleaved(entries: list[Entry], quick: bool, say: Callable[[str], None]) -> None:
    """Rounds in which the verified entries take turns; the slow ones make fewer.

    A round's figure is the median of the runs in it: one run of a slow entry, several of a
    quick one.
    """
    plan = []
    for entry in entries:
        if entry.fault:
            continue
        took = statistics.median(entry.result["seconds"])
        slow = took > 2
        rounds = (1 if quick else 3) if slow else (3 if quick else 7)
        plan.append((entry, rounds, max(1, min(20, int(0.3 / took)))))
    for k in range(max((rounds for _, rounds, _ in plan), default=0)):
        say(f"round {k + 1}")
        for entry, rounds, repeat in plan:
            if k >= rounds:
                continue
            answer = entry.worker.ask(entry.job, repeat=repeat, **entry.options)
            if "error" in answer:
                entry.fault = answer["error"]
                entry.rounds.clear()
            elif not entry.fault:
                entry.rounds.append(statistics.median(answer["seconds"]))


def import_seconds(
    statements: list[str], rounds: int, threads: int
) -> dict[str, list[float] | str]:
    """Seconds that a statement takes in a fresh process, by turns; or why it failed."""
    pin(threads)
    times: dict[str, list[float] | str] = {statement: [] for statement in statements}
    environment = os.environ | thread_environment(threads)
    for k in range(rounds + 1):
        for statement in statements:
            clock = "import time; t = time.perf_counter()"
            process = subprocess.run(
                [sys.executable, "-c", f"{clock}; {statement}; print(time.perf_counter() - t)"],
                cwd=HERE,
                env=environment,
                capture_output=True,
                text=True,
            )
            seen = times[statement]
            if process.returncode or isinstance(seen, str):
                last = process.stderr.strip().splitlines()[-1:] or ["failed"]
                times[statement] = seen if isinstance(seen, str) else last[0]
            elif k:  # the first turn fills the file cache
                seen.append(float(process.stdout))
    return times
