"""Training on text beside PyTorch: an epoch of sentences, some updates of characters."""

from __future__ import annotations

from typing import Any

import text_jobs
from harness import Entry, time_interleaved, verify
from shapes import Bench, judged, losses_as_torch, ratio, took
from tables import table

LINES = {
    "sentences": (
        "an epoch of rt_polarity: embedding 64, GRU(64) both ways, last, batch 32",
        5.0,
    ),
    "characters": (
        f"{text_jobs.CHARACTER_UPDATES} updates of tinyshakespeare: embedding 64, "
        f"GRU({text_jobs.CHARACTER_HIDDEN}), {text_jobs.CHARACTER_ROWS} rows of "
        f"{text_jobs.CHARACTER_STEPS} steps, state carried",
        2.0,
    ),
}
NOISE = 5e-3  # of a loss: sums in another order, a few hundred updates later


def training_on_text(bench: Bench) -> tuple[Any, bool]:
    """The lines above on every number of threads; left out with the reason without the data."""
    try:
        text_jobs.data_folder()
    except FileNotFoundError as missing:
        bench.show(f"\n### training on text\n\nleft out: {missing}")
        return [], True
    rows, every = [], []
    for job, (title, target) in LINES.items():
        for threads in bench.threads:
            found = [bench.workers.get(name, threads) for name in ("torch", "headgate")]
            entries = [Entry(worker, job) for worker in found if worker]
            verify(entries, losses_as_torch(NOISE), bench.say)
            time_interleaved(entries, bench.quick, bench.say)
            by_name = {entry.worker.name: entry for entry in entries}
            ours, torch = by_name.get("headgate"), by_name.get("torch")
            losses = [
                " ".join(f"{loss:.4f}" for loss in entry.result["losses"]) if entry else "-"
                for entry in (ours, torch)
            ]
            row = [title, str(threads), took(ours), took(torch)]
            rows.append([*row, *judged(ratio(torch, ours), target), *losses])
            every += entries
    headings = ["job", "threads", "headgate", "torch", "times headgate", "target"]
    headings += ["losses of two epochs", "PyTorch's"]
    bench.show(f"\n### training on text\n\n{table(headings, rows)}")
    return bench.outcome(every)
