"""Modules of ``torch.nn`` and of ``headgate.torch`` with the same weights, and how they compare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import tolerances  # noqa: E402

import headgate.torch as ht  # noqa: E402

Run = Callable[[Any], Any]


def pair(kind: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    """``torch.nn``'s module and headgate's, with the same weights."""
    torch.manual_seed(0)
    sizes = sizes or (() if "input_size" in options else (4, 6))
    theirs = getattr(nn, kind)(*sizes, **options)
    ours = getattr(ht, kind)(*sizes, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def batch(*shape: int, seed: int = 1) -> Any:
    return torch.randn(shape or (5, 3, 4), generator=torch.Generator().manual_seed(seed))


def state_of(module: Any, *n: int) -> Any:
    """An initial state for ``n`` sequences, or for one without a batch."""
    directions = 2 if module.bidirectional else 1
    h = batch(module.num_layers * directions, *n, module.hidden_size, seed=2)
    return (h, h * 0.5) if isinstance(module, nn.LSTM) else h


def tensors(result: Any) -> list[Any]:
    """All tensors in a result."""
    if result is None or isinstance(result, torch.Tensor):
        return [] if result is None else [result]
    return [tensor for part in result for tensor in tensors(part)]


def outcome(run: Run, module: Any) -> Any:
    """What comes out, or the exception that is raised."""
    try:
        return run(module)
    except Exception as error:
        return error


def assert_same(got: Any, want: Any) -> None:
    for a, b in zip(tensors(got), tensors(want), strict=True):
        assert (a.shape, a.dtype, a.device, type(a)) == (b.shape, b.dtype, b.device, type(b))
        if a.device.type != "meta" and "Fake" not in type(a).__name__:
            values = b.detach().double().nan_to_num(0, 0, 0).flatten().tolist()
            largest = max(map(abs, values), default=0)
            atol = tolerances.TORCH_FLOAT32 * max(1, largest)
            torch.testing.assert_close(a, b, rtol=0, atol=atol, equal_nan=True)


def assert_runs_alike(run: Run, modules: tuple[Any, Any], raises: bool = False) -> None:
    """Both give the same; or, where they must raise, errors of the same type."""
    want, got = (outcome(run, module) for module in modules)
    if raises:
        assert isinstance(want, Exception), want
        assert type(got) is type(want), f"{got!r}, not {want!r}"
        return
    for result in (want, got):
        if isinstance(result, Exception):
            raise result
    assert_same(got, want)
