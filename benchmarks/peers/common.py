"""What every peer's process shares: the line protocol, and a stopwatch.

A process answers one JSON line on standard output for each JSON line on standard input. The
first line it writes says which library it is, or that the library is not installed. A job is a
method that takes the request's options and returns what it measured; what is timed is training
or inference alone, never imports, building the model, or compiling.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Result = dict[str, Any]
Job = Callable[..., Result]


class Peer:
    """A library under measurement. ``jobs`` maps a job's name to a method."""

    name = ""
    version = ""
    jobs: dict[str, Job]


def stopwatch(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``action`` took, and what it returned."""
    start = time.perf_counter()
    value = action()
    return time.perf_counter() - start, value


def time_calls(call: Callable[[], Any], seconds: float = 0.2) -> list[float]:
    """Times of single calls, for about ``seconds`` after a few that warm the caches up."""
    for _ in range(5):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        times.append(stopwatch(call)[0])
    return times


def follow(step: Callable[[float], float], values: list[float]) -> list[float]:
    """The prediction after each value, one call a value: what a live loop does."""
    return [step(value) for value in values]


def quickest(variants: dict[str, Callable[[], Any]], tries: int = 2, seconds: float = 1.0) -> str:
    """Name of the variant whose best of ``tries`` is the quickest; they take turns.

    After ``seconds`` two tries are enough.
    """
    best = dict.fromkeys(variants, float("inf"))
    end = time.perf_counter() + seconds
    for k in range(tries):
        if k >= 2 and time.perf_counter() > end:
            break
        for name, run in variants.items():
            best[name] = min(best[name], stopwatch(run)[0])
    return min(best, key=best.__getitem__)


def matrix_rate(multiply: Callable[[Any, Any, Any], Any], square: Callable[[int], Any]) -> Result:
    """GFLOP/s of the quickest of several large float32 products, ``multiply(a, b, out)``."""
    best = 0.0
    for size in (384, 768, 1024, 1536):
        a, b, out = square(size), square(size), square(size)
        multiply(a, b, out)
        took = min(stopwatch(lambda: multiply(a, b, out))[0] for _ in range(5))  # noqa: B023
        best = max(best, 2e-9 * size**3 / took)
    return {"gflops": best}


def threads() -> int:
    """The number of threads this process may use; bench.py sets it."""
    return int(os.environ.get("BENCH_THREADS", "1"))


def serve(build: Callable[[], Peer]) -> None:
    """Answer requests until standard input ends."""
    # Libraries print to standard output; the protocol keeps a descriptor of its own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(result: Result) -> None:
        answers.write(json.dumps(result) + "\n")
        answers.flush()

    try:
        peer = build()
    except ImportError as error:
        answer({"absent": str(error)})
        return
    answer({"name": peer.name, "version": peer.version, "jobs": sorted(peer.jobs)})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer(peer.jobs[request.pop("job")](**request))
        except Exception as error:  # reported in the table; the other peers go on
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}"})
