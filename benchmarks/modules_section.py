"""``headgate.torch.GRU`` beside ``nn.GRU`` within PyTorch's own training step."""

from __future__ import annotations

from typing import Any

import jobs
from harness import Entry, time_interleaved, verify
from shapes import (
    RANDOM_COUNT,
    Bench,
    check_outputs,
    difference,
    judged,
    losses_as_torch,
    present,
    ratio,
    sizes,
    took,
)
from tables import table

OURS, THEIRS = "headgate-torch", "torch"
# shape -> how many times as long nn.GRU's whole step should take, and its own share of it
STEPS: dict[jobs.Shape, tuple[float, float | None]] = {
    (1, 20, 1, 16): (8.0, 25.0),
    (32, 50, 16, 64): (4.0, None),
    (32, 100, 64, 128): (2.5, None),
    (64, 100, 128, 256): (1.5, None),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "reset_after=False": {"reset_after": False},
    "recurrent_dropout=0.2": {"recurrent_dropout": 0.2},
}
MOST_OF_OPTIONS = 1.3
ONE_STEP: jobs.Shape = (1, 1, 64, 64)
ONE_STEP_TARGET = 3.0


def share(entry: Entry | None, rest: Entry | None) -> float | None:
    """Seconds of a step that are the module's own."""
    if not entry or not rest or entry.seconds is None or rest.seconds is None:
        return None
    return entry.seconds - rest.seconds


def torch_modules(bench: Bench) -> tuple[Any, bool]:
    """Training steps at four shapes, options, one step without gradients, and random shapes."""
    if not bench.workers.get(OURS, bench.threads[0]):
        bench.show("\n### headgate.torch\n\nnot measured: --peers torch headgate-torch")
        return [], True
    every: list[Entry] = []
    for threads in bench.threads:
        every += training_steps(bench, threads)
        every += one_step(bench, threads)
    every += random_steps(bench)
    return bench.outcome(every)


def training_steps(bench: Bench, threads: int) -> list[Entry]:
    rows, every = [], []
    for shape, (whole, own) in STEPS.items():
        torch, ours = (bench.step(peer, threads, shape) for peer in (THEIRS, OURS))
        rest = bench.entry(THEIRS, threads, "rest", shape=shape)
        if rest:
            rest.scale = 1 / jobs.updates_per_epoch(shape)
        others = {name: bench.step(OURS, threads, shape, OPTIONS[name]) for name in OPTIONS}
        verify(present(torch, ours), losses_as_torch(), bench.say)
        verify(present(rest, *others.values()), lambda result, options: "", bench.say)
        entries = present(torch, ours, rest, *others.values())
        time_interleaved(entries, bench.quick, bench.say)
        row = [*sizes(shape), took(ours), took(torch), *judged(ratio(torch, ours), whole)]
        shares = share(torch, rest), share(ours, rest)
        alone = shares[0] / shares[1] if shares[0] and shares[1] else None
        row += [took(rest), *judged(alone, own), difference(ours, torch)]
        for other in others.values():
            row += judged(ratio(other, ours), MOST_OF_OPTIONS, at_most=True)
        rows.append(row)
        every += entries
    bench.heading("headgate.torch.GRU: forward, linear head, MSE, backward, Adam", threads)
    headings = ["N", "T", "I", "H", "headgate.torch", "nn.GRU", "times", "target"]
    headings += ["without a GRU", "the GRU's share: times", "target", "losses differ by"]
    for name in OPTIONS:
        headings += [f"{name}: times plain", "target"]
    bench.show(table(headings, rows))
    return every


def one_step(bench: Bench, threads: int) -> list[Entry]:
    torch, ours = (
        bench.entry(peer, threads, "one_step", shape=ONE_STEP) for peer in (THEIRS, OURS)
    )
    entries = present(torch, ours)
    verify(entries, check_outputs, bench.say)
    time_interleaved(entries, bench.quick, bench.say)
    row = [*sizes(ONE_STEP), took(ours), took(torch), *judged(ratio(torch, ours), ONE_STEP_TARGET)]
    bench.heading("headgate.torch.GRU: one call under no_grad", threads)
    headings = ["N", "T", "I", "H", "headgate.torch", "nn.GRU", "times", "target"]
    bench.show(table(headings, [row]))
    return entries


def random_steps(bench: Bench) -> list[Entry]:
    """Training steps at shapes that nobody chose; the slowest against PyTorch first."""
    threads = bench.threads[0]
    measured: list[tuple[float, list[str]]] = []
    every: list[Entry] = []
    for k, (shape, _) in enumerate(jobs.draw_shapes(RANDOM_COUNT, bench.seed)):
        bench.say(f"shape {k + 1} of {RANDOM_COUNT}")
        torch, ours = (bench.step(peer, threads, shape) for peer in (THEIRS, OURS))
        entries = present(torch, ours)
        verify(entries, losses_as_torch(), bench.say)
        time_interleaved(entries, True, bench.say)
        value = ratio(torch, ours)
        row = [*sizes(shape), took(ours), took(torch), *judged(value, 1)]
        measured.append((value or 0.0, row))
        every += entries
    measured.sort(key=lambda one: one[0])
    bench.heading(f"headgate.torch.GRU: training steps at random shapes, {bench.seed}", threads)
    headings = ["N", "T", "I", "H", "headgate.torch", "nn.GRU", "times", "target"]
    bench.show(table(headings, [row for _, row in measured]))
    return every
