"""Tables over many shapes: training steps, their variants, inference, and shapes drawn at random.

Every section takes a :class:`Bench` and returns (its figures, whether every result was right).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jobs
from harness import Check, Entry, Result, Workers, naming, time_interleaved, verify
from tables import duration, table, verdict

SPEED_UP_TARGET = 1.8  # of two threads over one, where a step takes over a millisecond
SPEED_UP_FROM = 1e-3
INFERENCE_TARGET = 1.4  # geometric mean over the grid, times the better of the two
VARIANT_POINTS: tuple[jobs.Shape, ...] = ((32, 50, 16, 64), (32, 100, 64, 128), (64, 100, 128, 256))
# What Network is asked for beside the sizes -> target, at most times the plain GRU's step.
VARIANTS: dict[str, tuple[dict[str, Any], float | None]] = {
    "gru": ({}, None),
    "gru, reset_after=False": ({"reset_after": False}, 1.3),
    "gru, recurrent_dropout=0.2": ({"recurrent_dropout": 0.2}, 1.3),
    "gru, layer_norm=True": ({"layer_norm": True}, 1.3),
    "lstm": ({"cell": "lstm"}, 1.4),
}
RANDOM_COUNT, RANDOM_SECONDS = 60, 300


@dataclass
class Bench:
    """What the sections share: the peers, the thread counts, and where to speak."""

    workers: Workers
    threads: list[int]
    quick: bool
    say: Callable[[str], None]  # progress, on the terminal alone
    show: Callable[[str], None]  # results
    seed: int = 0
    peaks: dict[int, Result] = field(default_factory=dict)  # by threads, filled by peak()

    def peak(self, threads: int) -> Result:
        """{"gflops", "by"} of the best float32 matrix product that PyTorch or NumPy makes here."""
        if threads not in self.peaks:
            self.say(f"matrix peak on {threads}")
            best: Result = {"gflops": 0.0, "by": "nothing"}
            sources = [self.workers.get(name, threads) for name in ("numpy", "torch")]
            for worker in [worker for worker in sources if worker] * 3:  # by turns
                rate = worker.ask("peak").get("gflops", 0.0)
                if rate > best["gflops"]:
                    best = {"gflops": rate, "by": f"{worker.name} {worker.version}"}
            self.peaks[threads] = best
        return self.peaks[threads]

    def heading(self, title: str, threads: int) -> None:
        peak = self.peak(threads)
        self.show(
            f"\n### {title}, {threads} thread{'s' * (threads > 1)}\n\n"
            f"Matrix peak, measured: {peak['gflops']:.0f} GFLOP/s ({peak['by']}).\n"
        )

    def outcome(self, entries: list[Entry]) -> tuple[Any, bool]:
        """What a section returns; says first why some of its entries were not timed."""
        lines = [f"- {naming(entry)}: {entry.fault}" for entry in entries if entry.fault]
        if lines:
            self.show("\n".join(["\nNOT TIMED:\n", *lines]))
        return [entry.as_dict() for entry in entries], faultless(entries)

    def entry(self, peer: str, threads: int, job: str, **options: Any) -> Entry | None:
        worker = self.workers.get(peer, threads)
        return Entry(worker, job, options=options) if worker else None

    def step(
        self, peer: str, threads: int, shape: jobs.Shape, network: dict[str, Any] | None = None
    ) -> Entry | None:
        """Training at a shape: a run is an epoch, its figure is for one update."""
        entry = self.entry(peer, threads, "step", shape=shape, network=network or {})
        if entry:
            entry.scale = 1 / jobs.updates_per_epoch(shape)
        return entry


# -- what counts as the same result ------------------------------------------------------------


def losses_as_torch(tolerance: float = 1e-5) -> Check:
    """The first two epochs' losses near PyTorch's own, which are the first seen.

    Args:
        tolerance: the largest difference, as a share of PyTorch's loss.
    """
    expected: list[float] = []

    def check(result: Result, options: dict[str, Any]) -> str:
        expected.extend([] if expected else result["losses"])
        for loss, torch_loss in zip(result["losses"], expected, strict=True):
            if not abs(loss - torch_loss) <= tolerance * torch_loss:
                return f"losses {result['losses']}, PyTorch has {expected}"
        return check_equations(result, options)

    return check


def check_equations(result: Result, options: dict[str, Any]) -> str:
    """Training lowers the loss, and the trained weights predict what the equations say."""
    del options
    first, second = result["losses"]
    if not second < first:
        return f"the loss went from {first:.6f} to {second:.6f}"
    error = result.get("max_error", 0.0)
    return "" if error <= 1e-5 else f"a prediction is off by {error:.1e}; at most 1e-5 is allowed"


def check_outputs(result: Result, options: dict[str, Any]) -> str:
    """Every output within 1e-5 of the equations in float64."""
    del options
    error = result["max_error"]
    return "" if error <= 1e-5 else f"an output is off by {error:.1e}; at most 1e-5 is allowed"


# -- cells of the tables -----------------------------------------------------------------------


def sizes(shape: jobs.Shape) -> list[str]:
    return [str(size) for size in shape]


def took(entry: Entry | None) -> str:
    """Median and range; why there is none stands below the table."""
    if entry is None:
        return "absent"
    if entry.seconds is None:
        return "NOT TIMED"
    low, high = entry.span
    return f"{duration(entry.seconds)} ({duration(low)} - {duration(high)})"


def ratio(entry: Entry | None, ours: Entry | None) -> float | None:
    """How many times as long as ``ours`` it took; None where either was not timed."""
    if not entry or not ours or entry.seconds is None or ours.seconds is None:
        return None
    return entry.seconds / ours.seconds


def judged(value: float | None, target: float | None, *, at_most: bool = False) -> list[str]:
    """Two cells: a ratio and what its target says."""
    if value is None:
        return ["-", ""]
    return [f"{value:.3g}", verdict(value, target, at_most=at_most)]


def difference(ours: Entry | None, torch: Entry | None) -> str:
    """The largest of the checked losses' relative differences from PyTorch's."""
    if not ours or not torch or ours.fault or torch.fault:
        return "-"
    pairs = zip(ours.result["losses"], torch.result["losses"], strict=True)
    return f"{max(abs(one - other) / other for one, other in pairs):.0e}"


def rates(ours: Entry | None, work: int, peak: float) -> list[str]:
    """Two cells: GFLOP/s of the necessary products, and which part of the peak that is."""
    if not ours or ours.seconds is None:
        return ["-", "-"]
    rate = 1e-9 * work / ours.seconds
    return [f"{rate:.3g}", f"{rate / peak:.0%}" if peak else "-"]


def faultless(entries: list[Entry]) -> bool:
    return not any(entry.fault for entry in entries)


def present(*entries: Entry | None) -> list[Entry]:
    return [entry for entry in entries if entry is not None]


# -- the sections ------------------------------------------------------------------------------


def training_grid(bench: Bench) -> tuple[Any, bool]:
    """Whole training steps beside PyTorch's; all thread counts of a shape take turns."""
    if not bench.workers.get("torch", bench.threads[0]):
        bench.show("\n### training steps\n\nnot measured: results are checked against PyTorch")
        return [], True
    rows: dict[int, list[list[str]]] = {threads: [] for threads in bench.threads}
    every: list[Entry] = []
    for shape, target in jobs.GRID.items():
        torch = {n: bench.step("torch", n, shape) for n in bench.threads}
        ours = {n: bench.step("headgate", n, shape) for n in bench.threads}
        entries = present(*torch.values(), *ours.values())
        verify(entries, losses_as_torch(), bench.say)
        time_interleaved(entries, bench.quick, bench.say)
        for threads in bench.threads:
            own = ours[threads]
            row = [*sizes(shape), took(own), took(torch[threads])]
            row += judged(ratio(torch[threads], own), target)
            row.append(difference(own, torch[threads]))
            work = jobs.products(shape, training=True)
            row += rates(own, work, bench.peak(threads)["gflops"])
            one = ours.get(1)
            if threads > 1 and one:
                long = one.seconds is not None and one.seconds > SPEED_UP_FROM
                row += judged(ratio(one, own), SPEED_UP_TARGET if long else None)
            rows[threads].append(row)
        every += entries
    for threads in bench.threads:
        bench.heading("training steps: GRU, linear head on every step, MSE, Adam", threads)
        headings = ["N", "T", "I", "H", "headgate", "torch", "times headgate", "target"]
        headings += ["losses differ by", "GFLOP/s", "of peak"]
        if threads > 1 and 1 in bench.threads:
            headings += ["speed-up", "target"]
        bench.show(table(headings, rows[threads]))
    return bench.outcome(every)


def variants(bench: Bench) -> tuple[Any, bool]:
    """Other cells and options beside our own plain GRU, and PyTorch's where it has them."""
    threads = bench.threads[0]
    rows, every = [], []
    for shape in VARIANT_POINTS:
        ours = {
            name: bench.step("headgate", threads, shape, network)
            for name, (network, _) in VARIANTS.items()
        }
        torch = {
            name: bench.step("torch", threads, shape, VARIANTS[name][0]) for name in ("gru", "lstm")
        }
        for name in VARIANTS:
            check = losses_as_torch() if torch.get(name) else check_equations
            verify(present(torch.get(name), ours[name]), check, bench.say)
        entries = present(*torch.values(), *ours.values())
        time_interleaved(entries, bench.quick, bench.say)
        plain = ours["gru"]
        ahead = ratio(torch["gru"], plain)  # how far the LSTM has to be ahead of PyTorch's
        for name, (_, target) in VARIANTS.items():
            row = [*sizes(shape), name, took(ours[name])]
            row += judged(ratio(ours[name], plain), target, at_most=True)
            row += [took(torch[name])] if name in torch else [""]
            beside = ratio(torch.get(name), ours[name])
            row += judged(beside, ahead if name == "lstm" else None) if beside else ["", ""]
            rows.append(row)
        every += entries
    bench.heading("variants of the training step", threads)
    headings = ["N", "T", "I", "H", "network", "headgate", "times its gru", "target"]
    bench.show(table([*headings, "torch", "times headgate", "target"], rows))
    return bench.outcome(every)


def inference_grid(bench: Bench) -> tuple[Any, bool]:
    """All outputs of a GRU beside the better of ONNX Runtime and OpenVINO."""
    rivals = ("onnxruntime", "openvino")
    every: list[Entry] = []
    for threads in bench.threads:
        rows, ratios = [], {}
        for shape in jobs.GRID:
            ours = bench.entry("headgate", threads, "inference", shape=shape)
            peers = [bench.entry(name, threads, "inference", shape=shape) for name in rivals]
            entries = present(ours, *peers)
            verify(entries, check_outputs, bench.say)
            time_interleaved(entries, bench.quick, bench.say)
            found = [value for peer in peers if (value := ratio(peer, ours)) is not None]
            better = min(found, default=None)
            if better is not None:
                ratios[shape] = better
            row = [*sizes(shape), took(ours), *map(took, peers), *judged(better, 1)]
            work = jobs.products(shape, training=False)
            rows.append(row + rates(ours, work, bench.peak(threads)["gflops"]))
            every += entries
        bench.heading("inference: GRU, all outputs", threads)
        headings = ["N", "T", "I", "H", "headgate", *rivals, "the better: times headgate"]
        bench.show(table([*headings, "target", "GFLOP/s", "of peak"], rows))
        if ratios:
            mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
            worst = min(ratios, key=ratios.__getitem__)
            bench.show(
                f"\nGeometric mean {mean:.3g} ({verdict(mean, INFERENCE_TARGET)}); "
                f"worst {ratios[worst]:.3g} at {worst} ({verdict(ratios[worst], 1)})."
            )
    return bench.outcome(every)


def random_shapes(bench: Bench) -> tuple[Any, bool]:
    """Training steps at shapes that nobody chose, the worst for us first."""
    threads, begin = bench.threads[0], time.monotonic()
    if not bench.workers.get("torch", threads):
        bench.show("\n### random shapes\n\nnot measured: results are checked against PyTorch")
        return [], True
    measured: list[tuple[float, jobs.Shape, list[str]]] = []
    every: list[Entry] = []
    done = 0
    for shape, steps in jobs.draw_shapes(RANDOM_COUNT, bench.seed):
        if time.monotonic() - begin > RANDOM_SECONDS:
            break
        done += 1
        bench.say(f"shape {done} of {RANDOM_COUNT}")
        torch = bench.step("torch", threads, shape)
        ours = bench.step("headgate", threads, shape)
        entries = present(torch, ours)
        verify(entries, losses_as_torch(), bench.say)
        time_interleaved(entries, True, bench.say)
        value = ratio(torch, ours)
        row = [*sizes(shape), took(ours), took(torch), *judged(value, 1)]
        row += rates(ours, jobs.products(shape, training=True), bench.peak(threads)["gflops"])
        if steps != shape[1]:
            row[1] += f" (of {steps})"
        measured.append((0.0 if value is None else value, shape, row))
        every += entries
    bench.heading(f"training steps at random shapes, seed {bench.seed}", threads)
    measured.sort(key=lambda one: one[0])
    headings = ["N", "T", "I", "H", "headgate", "torch", "times headgate", "target"]
    bench.show(table([*headings, "GFLOP/s", "of peak"], [row for _, _, row in measured]))
    if done < RANDOM_COUNT:
        left = RANDOM_COUNT - done
        bench.show(f"\n{left} shapes were not reached within {RANDOM_SECONDS} s.")
    worst, shape, _ = measured[0]
    if worst:
        bench.show(f"\nWorst: {worst:.3g} at {shape} ({verdict(worst, 1)}).")
    return bench.outcome(every)
