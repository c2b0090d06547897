"""Measure headgate beside its peers: the same jobs, the same first weights, the same losses.

    python benchmarks/bench.py [--only grid,inference] [--peers all] [--quick] [--threads 1 2]
                               [--seed 0] [--json FILE]

Nothing is timed before its result was checked against PyTorch's. README.md beside this file says
how the figures come about.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jobs
from harness import (
    CORES,
    DEFAULT_PEERS,
    PEERS,
    Check,
    Entry,
    Result,
    Workers,
    import_seconds,
    time_interleaved,
    verify,
)
from live_section import live_steps
from modules_section import torch_modules
from shapes import (
    Bench,
    check_outputs,
    faultless,
    inference_grid,
    random_shapes,
    training_grid,
    variants,
)
from tables import duration, table, verdict
from text_section import training_on_text

IMPORT_TARGET_MS, WHEEL_TARGET_MB = 30, 3


def say(text: str) -> None:
    print(f"  {text} ...", file=sys.stderr, flush=True)


# -- what counts as the same result ------------------------------------------------------------


def check_sine(result: Result, options: dict[str, Any]) -> str:
    """Train loss within 2e-6 of PyTorch's, roll-out MSE (of a whole job) within 2e-4."""
    epochs = options.get("epochs", jobs.SINE_EPOCHS)
    expected = float(jobs.sine_loss_curve()[epochs - 1])
    if not abs(result["loss"] - expected) <= 2e-6:
        return f"train loss {result['loss']:.7f}, PyTorch has {expected:.7f}"
    rollout, expected = result["rollout_mse"], jobs.sine_rollout_mse()
    if epochs == jobs.SINE_EPOCHS and not abs(rollout - expected) <= 2e-4:
        return f"roll-out MSE {rollout:.5f}, PyTorch has {expected:.5f}"
    return ""


def check_windows(result: Result, options: dict[str, Any]) -> str:
    """Errors on the training and validation windows within 0.1 % of PyTorch's."""
    expected = jobs.window_errors(options.get("epochs", jobs.WINDOW_EPOCHS))
    for name, value in expected.items():
        if not abs(result[name] - value) <= 1e-3 * value:
            return f"{name} {result[name]:.7f}, PyTorch has {value:.7f}"
    return ""


@dataclass(frozen=True)
class Job:
    """A table: who takes part and in which way, what is checked, and what is printed."""

    title: str
    lines: tuple[tuple[str, str, float | None], ...]  # peer, its job, target ratio
    check: Check
    columns: dict[str, tuple[str, str]]  # key of a result -> heading, format
    total_epochs: int = 0
    quick_epochs: int = 0  # --quick: what the peers in `slow` run instead
    slow: tuple[str, ...] = ()


JOBS = {
    "sine": Job(
        "sine one by one: GRU(1 -> 16), batch 1, T 20, 150 epochs of 38 updates",
        (
            ("headgate", "sine", None),
            ("torch", "sine", 500),
            ("jax", "sine", 30),
            ("jax", "sine_whole", None),
        ),
        check_sine,
        {"loss": ("train loss", ".7f"), "rollout_mse": ("roll-out MSE", ".5f")},
        total_epochs=jobs.SINE_EPOCHS,
        quick_epochs=15,
        slow=("torch",),
    ),
    "windows": Job(
        "sine windows: GRU(1 -> 50), batch 32, T 10, 50 epochs of 25 updates",
        (
            ("headgate", "windows", None),
            ("torch", "windows", 10),
            ("jax", "windows", None),
            ("jax", "windows_whole", None),
            ("keras-tensorflow", "windows", 40),
            ("keras-tensorflow", "windows_unrolled", None),
            ("keras-jax", "windows", None),
            ("keras-jax", "windows_unrolled", None),
        ),
        check_windows,
        {"train_mse": ("train MSE", ".7f"), "validation_mse": ("validation MSE", ".7f")},
        total_epochs=jobs.WINDOW_EPOCHS,
        quick_epochs=10,
        slow=("torch", "keras-tensorflow", "keras-jax"),
    ),
    "sequence": Job(
        "inference of one sequence: GRU(32 -> 64), batch 1, T 200, all outputs",
        (
            ("headgate", "inference", None),
            ("onnxruntime", "inference", 1.5),
            ("openvino", "inference", None),
            ("torch", "inference", 20),
            ("jax", "inference", None),
        ),
        check_outputs,
        {"max_error": ("largest error", ".1e")},
    ),
}


def run_job(job: Job, workers: Workers, threads: int, quick: bool) -> list[Entry]:
    """Check, then time, every line whose peer is here."""
    entries = []
    for peer, way, target in job.lines:
        worker = workers.get(peer, threads)
        if worker is None:
            continue
        entry = Entry(worker, way, target=target)
        if quick and peer in job.slow:
            entry.options = {"epochs": job.quick_epochs}
            entry.scale = job.total_epochs / job.quick_epochs
        entries.append(entry)
    verify(entries, job.check, say)
    time_interleaved(entries, quick, say)
    return entries


# -- tables ------------------------------------------------------------------------------------


def job_table(job: Job, entries: list[Entry]) -> str:
    ours = next((e.seconds for e in entries if e.worker.name == "headgate"), None)
    rows = []
    for entry in entries:
        row = [entry.worker.name, str(entry.result.get("how", entry.job))]
        if entry.fault or entry.seconds is None:
            row += [f"NOT TIMED: {entry.fault}", "", "", ""]
        else:
            low, high = entry.span
            took = duration(entry.seconds)
            if entry.scale != 1:
                took += f" (1/{entry.scale:g} of the epochs, scaled)"
            ratio = entry.seconds / ours if ours else None
            row += [
                took,
                f"{duration(low)} - {duration(high)}, {len(entry.rounds)}",
                f"{ratio:.3g}" if ratio else "-",
                verdict(ratio, entry.target) if ratio else "",
            ]
        for key, (_, form) in job.columns.items():
            # A roll-out after part of the training is no roll-out of this job.
            partial = key == "rollout_mse" and entry.scale != 1
            value = None if partial else entry.result.get(key)
            row.append("" if value is None else format(value, form))
        rows.append(row)
    headings = ["peer", "how", "median", "range, rounds", "times headgate", "target"]
    headings += [heading for heading, _ in job.columns.values()]
    return table(headings, rows)


def report_imports(rounds: int, threads: int) -> Result:
    """`import headgate` beside `import numpy`, in fresh processes.

    The package loads its parts on first use, so the line that counts is the second of headgate's:
    all that building and training a network needs is loaded there.
    """
    say("import times")
    numpy, *ours = statements = [
        "import numpy",
        "import headgate",
        "import headgate; headgate.Network",
    ]
    medians: dict[str, float] = {}
    rows = []
    for statement, times in import_seconds(statements, rounds, threads).items():
        if isinstance(times, str):
            rows.append([statement, f"NOT TIMED: {times}", "", ""])
            continue
        medians[statement] = statistics.median(times)
        row = [statement, duration(medians[statement]), "", ""]
        if statement in ours and numpy in medians:
            more = 1000 * (medians[statement] - medians[numpy])
            word = "reached" if more <= IMPORT_TARGET_MS else "MISSED"
            row[2:] = [f"{more:+.1f} ms", f"at most +{IMPORT_TARGET_MS} ms: {word}"]
        rows.append(row)
    headings = ["statement", f"median of {rounds}", "over numpy", "target"]
    print(f"\n### import time\n\n{table(headings, rows)}")
    return medians


def report_wheel() -> Result:
    """Size of the newest wheel in dist/, if there is one."""
    wheels = sorted(
        (jobs.ROOT / "dist").glob("headgate-*.whl"), key=lambda path: path.stat().st_mtime
    )
    print("\n### wheel\n")
    if not wheels:
        print("no wheel in dist/; `make wheel` builds one")
        return {}
    size = wheels[-1].stat().st_size
    word = "reached" if size < WHEEL_TARGET_MB * 1e6 else "MISSED"
    print(f"{wheels[-1].name}: {size / 1e6:.2f} MB (target: below {WHEEL_TARGET_MB} MB: {word})")
    return {"name": wheels[-1].name, "bytes": size}


def processor() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def choose_peers(names: list[str] | None) -> list[str]:
    """Peers by --peers, or else by the environment's PEERS, or else the default ones."""
    wanted = names or os.environ.get("PEERS", "").replace(",", " ").split()
    if "all" in wanted:
        return list(PEERS)
    unknown = sorted(set(wanted) - set(PEERS))
    if unknown:
        sys.exit(f"bench.py: unknown peers {unknown}; known are: all {' '.join(PEERS)}")
    return ["headgate", *[name for name in PEERS if name in (wanted or DEFAULT_PEERS)]]


SECTIONS: dict[str, Callable[[Bench], tuple[Any, bool]]] = {
    "grid": training_grid,
    "variants": variants,
    "inference": inference_grid,
    "live": live_steps,
    "modules": torch_modules,
    "text": training_on_text,
    "random": random_shapes,
}
NAMES = (*JOBS, *SECTIONS, "imports", "wheel")


def names_of(text: str) -> list[str]:
    """The parts that ``--only`` names, in the order in which they are run."""
    wanted = set(text.replace(",", " ").split())
    unknown = sorted(wanted - set(NAMES))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {unknown}; known are: {' '.join(NAMES)}")
    return [name for name in NAMES if name in wanted]


def thread_count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--peers", nargs="+", metavar="NAME", help="all, or some of: " + ", ".join(PEERS)
    )
    parser.add_argument(
        "--only",
        type=names_of,
        default=[name for name in NAMES if name not in ("random", "modules")],
        metavar="NAME,...",
        help=f"some of: {', '.join(NAMES)} (default: all but random and modules)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, slow peers in part")
    parser.add_argument(
        "--threads",
        type=thread_count,
        nargs="+",
        default=[1, 2],
        metavar="N",
        help="threads of each peer: grid and inference take all (default 1 2), the rest the first",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes (default 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    return parser.parse_args()


def measure(
    workers: Workers, options: argparse.Namespace, show: Callable[[str], None]
) -> tuple[Result, bool]:
    """All tables; the figures, and whether every result was right."""
    one = options.threads[0]
    bench = Bench(workers, options.threads, options.quick, say, show, options.seed)
    figures: Result = {"processor": processor(), "threads": options.threads, "jobs": {}}
    right = True
    for name in options.only:
        begin = time.monotonic()
        if name in JOBS:
            job = JOBS[name]
            entries = run_job(job, workers, one, options.quick)
            show(f"\n### {job.title}\n\n{job_table(job, entries)}")
            figures["jobs"][job.title] = [entry.as_dict() for entry in entries]
            right = right and faultless(entries)
        elif name in SECTIONS:
            figures[name], sound = SECTIONS[name](bench)
            right = right and sound
        elif name == "imports":
            figures[name] = report_imports(5 if options.quick else 15, one)
        else:
            figures[name] = report_wheel()
        say(f"{name} took {time.monotonic() - begin:.0f} s")
    figures["peaks"] = bench.peaks
    return figures, right


def main() -> int:
    options = arguments()
    peers = choose_peers(options.peers)
    fitting = [count for count in options.threads if count <= len(CORES) or not CORES]
    left_out = sorted(set(options.threads) - set(fitting))
    options.threads = fitting or [len(CORES)]
    workers = Workers(peers)
    held = "each held to as many cores" if CORES else "not held to cores"
    print(f"{processor()}, {' and '.join(map(str, options.threads))} thread(s), {held}")
    if left_out:
        print(f"only {len(CORES)} core(s) here: not measured on {left_out} threads")
    try:
        for name in peers:
            worker = workers.start(name, options.threads[0])
            print(f"- {name}: {worker.version or 'absent (' + worker.absent + ')'}", flush=True)
        figures, right = measure(workers, options, lambda text: print(text, flush=True))
        here = workers.get("headgate", options.threads[0]) is not None
    finally:
        workers.close()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if not here:
        print("\nheadgate is not installed here: nothing was compared with it", file=sys.stderr)
        right = False
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
