"""One live step from Python beside ONNX Runtime's session call and nn.GRU on the same network."""

from __future__ import annotations

from typing import Any

import jobs
from harness import time_interleaved, verify
from shapes import Bench, check_outputs, judged, present, ratio, took
from tables import duration, table

# heading -> peer, its options, how many times as long as headgate's step its own should take
RIVALS: dict[str, tuple[str, dict[str, str], float | None]] = {
    "onnxruntime, run": ("onnxruntime", {"way": "run"}, 15.0),
    "run_with_iobinding": ("onnxruntime", {"way": "run_with_iobinding"}, None),
    "torch": ("torch", {}, 20.0),
}
MOST = 2e-6  # seconds of a step of ours


def live_steps(bench: Bench) -> tuple[Any, bool]:
    """A float in, a float out, the state carried: seconds for each step of a sequence of 500."""
    threads = bench.threads[0]
    rows, notes, every = [], [], []
    for hidden in jobs.LIVE_HIDDEN:
        shape = jobs.live_shape(hidden)
        ours = bench.entry("headgate", threads, "live", shape=shape)
        peers = {
            heading: bench.entry(peer, threads, "live", shape=shape, **options)
            for heading, (peer, options, _) in RIVALS.items()
        }
        entries = present(ours, *peers.values())
        for entry in entries:
            entry.scale = 1 / shape[1]
        verify(entries, check_outputs, bench.say)
        time_interleaved(entries, bench.quick, bench.say)
        row = [str(hidden), took(ours)]
        for heading, (_, _, target) in RIVALS.items():
            row += [took(peers[heading]), *judged(ratio(peers[heading], ours), target)]
        rows.append(row)
        if ours is not None and ours.seconds is not None:
            word = "reached" if ours.seconds < MOST else "MISSED"
            notes.append(f"H = {hidden}: below {duration(MOST)}: {word}.")
        every += entries
    headings = ["H", "headgate"]
    for heading in RIVALS:
        headings += [heading, "times headgate", "target"]
    bench.show(
        f"\n### a live step: GRU(1 -> H) + linear, from a float to a float, {threads} thread"
    )
    bench.show(f"\n{table(headings, rows)}\n\n{' '.join(notes)}")
    return bench.outcome(every)
