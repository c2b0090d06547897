"""A small Transformer encoder in PyTorch, trained on the batches that the networks learn from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable
from ..training.history import History
from ..training.options import FitOptions
from ..training.sources import Table
from .job import EMBEDDING, Job

HEADS = 4
ROWS = 256  # samples that are measured at once


class Transformer:
    """One encoder layer (Vaswani et al. 2017) between the same input and head as the networks have.

    Width ``hidden``, four heads where they divide it, feed-forward 2 x hidden, sines for the place,
    no dropout. What comes out at every step sees the steps before it alone; once a sample, the mean
    over its steps goes to the head.
    """

    recurrent = 0

    def __init__(self, job: Job, hidden: int, seed: int) -> None:
        import torch

        self.job, self.seed = job, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.parts = torch.nn.ModuleDict(_parts(job, hidden))
        self.parameters = sum(p.numel() for p in self.parts.parameters())
        self._loss = {"mae": torch.nn.functional.l1_loss}.get(
            job.fit.get("loss", ""), torch.nn.functional.mse_loss
        )

    def fit(self) -> History:
        """Train; the weights are those of the best epoch on the validation part."""
        import torch

        job, history = self.job, History()
        options = job.options()
        options.setdefault("loss", "cross_entropy" if job.kind == "classification" else "mse")
        settings = FitOptions(**options)
        optimizer = torch.optim.Adam(self.parts.parameters(), lr=settings.learning_rate)
        rng = np.random.default_rng(self.seed)  # as the engine's: the same order of samples
        source = Table(job.train, settings)
        best, kept = np.inf, None
        begin = time.perf_counter()
        for _ in range(settings.epochs):
            total = weight = 0.0
            for part in source.parts():
                batches = part.batches(rng)
                for first, last in zip(batches.bounds[:-1], batches.bounds[1:], strict=True):
                    value, count = self._batch_loss(job.train.take(batches.order[first:last]))
                    optimizer.zero_grad(set_to_none=True)
                    value.backward()
                    torch.nn.utils.clip_grad_norm_(self.parts.parameters(), settings.clip_norm or 1)
                    optimizer.step()
                    total, weight = total + float(value.detach()) * count, weight + count
            history.losses.append(total / weight)
            if job.validation is not None:
                history.val_losses.append(self.evaluate(job.validation))
                if history.val_losses[-1] < best:
                    best = history.val_losses[-1]
                    kept = {k: v.clone() for k, v in self.parts.state_dict().items()}
        if kept is not None:
            self.parts.load_state_dict(kept)
        history.seconds = time.perf_counter() - begin
        return history

    def predict(self, table: SampleTable) -> npt.NDArray[np.float32]:
        """(N, O) numbers in the units of the targets, or scores of classes."""
        import torch

        with torch.inference_mode():
            found = np.concatenate([self._outputs(part).numpy() for part in _in_parts(table)])
        if table.y_scale is not None and table.y_shift is not None:
            found = found * table.y_scale[:, None] + table.y_shift[:, None]
        return np.asarray(found, np.float32)

    def evaluate(self, table: SampleTable) -> float:
        """The mean loss over all targets."""
        import torch

        total = weight = 0.0
        with torch.inference_mode():
            for part in _in_parts(table):
                value, count = self._batch_loss(part)
                total, weight = total + float(value) * count, weight + count
        return total / weight

    def step_seconds(self) -> float | None:
        """None: every step would read all steps before it again."""
        return None

    def _batch_loss(self, table: SampleTable) -> tuple[Any, int]:
        """The mean loss of some samples, and over how many targets."""
        import torch

        out = self._outputs(table)
        y = torch.from_numpy(_targets(table))
        if self.job.every:
            inside = torch.from_numpy(_inside(table))
            out, y = out[inside], y[inside]
        if self.job.kind == "classification":
            y = y.reshape(-1).long()
            return torch.nn.functional.cross_entropy(out, y), len(y)
        return self._loss(out, y), y.numel()

    def _outputs(self, table: SampleTable) -> Any:
        """(N, T, O), or (N, O) once a sample."""
        import torch

        inside = torch.from_numpy(_inside(table))
        read = []
        if self.job.values is not None:
            read.append(torch.from_numpy(_values(table)))
        if table.tokens is not None:
            read.append(self.parts["embedding"](torch.from_numpy(_tokens(table))))
        h = self.parts["read"](torch.cat(read, dim=2))
        steps = h.shape[1]
        h = h + _places(steps, h.shape[2])
        mask = torch.triu(torch.ones(steps, steps, dtype=torch.bool), 1) if self.job.every else None
        h = self.parts["encoder"](h, src_mask=mask, src_key_padding_mask=~inside)
        if not self.job.every:
            h = (h * inside[:, :, None]).sum(dim=1) / inside.sum(dim=1, keepdim=True)
        return self.parts["head"](h)


def _parts(job: Job, hidden: int) -> dict[str, Any]:
    import torch

    heads = HEADS if hidden % HEADS == 0 else 1
    width = (job.values or 0) + (EMBEDDING if job.vocabulary is not None else 0)
    parts: dict[str, Any] = {}
    if job.vocabulary is not None:
        parts["embedding"] = torch.nn.Embedding(job.vocabulary, EMBEDDING)
    parts["read"] = torch.nn.Linear(width, hidden)
    parts["encoder"] = torch.nn.TransformerEncoderLayer(
        hidden, heads, 2 * hidden, dropout=0.0, batch_first=True
    )
    parts["head"] = torch.nn.Linear(hidden, job.outputs)
    return parts


def _places(steps: int, width: int) -> Any:
    """(T, width) sines and cosines of the place, as Vaswani et al. have them."""
    import torch

    place = np.arange(steps)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    both = np.stack([np.sin(place), np.cos(place)], axis=2).reshape(steps, -1)[:, :width]
    return torch.from_numpy(both.astype(np.float32))


# -- tables as arrays -------------------------------------------------------------------------


def _in_parts(table: SampleTable) -> Iterator[SampleTable]:
    for first in range(0, len(table), ROWS):
        yield table.take(slice(first, first + ROWS))


def _rows(table: SampleTable) -> npt.NDArray[np.int64]:
    """(N, T) rows of the table's values; those past a sample's end are its last."""
    steps = np.minimum(np.arange(int(table.lengths.max())), table.lengths[:, None] - 1)
    return np.asarray(table.starts[:, None] + steps, np.int64)


def _inside(table: SampleTable) -> npt.NDArray[np.bool_]:
    return np.asarray(np.arange(int(table.lengths.max())) < table.lengths[:, None])


def _values(table: SampleTable) -> npt.NDArray[np.float32]:
    x = table.x[_rows(table)]
    if table.x_shift is not None and table.x_scale is not None:
        x = (x - table.x_shift[:, None, None]) / table.x_scale[:, None, None]
    return np.asarray(x, np.float32)


def _tokens(table: SampleTable) -> npt.NDArray[np.int64]:
    assert table.tokens is not None
    return np.asarray(table.tokens[_rows(table), 0], np.int64)


def _targets(table: SampleTable) -> npt.NDArray[np.float32]:
    """(N, T) where there is one at every step, else (N, O); as the model learns them."""
    assert table.y is not None
    assert table.y_starts is not None
    if table.y_steps == "every":
        steps = _rows(table) - table.starts[:, None]
        return np.asarray(table.y[table.y_starts[:, None] + steps * table.y_stride], np.float32)
    y = table.y[table.y_starts[:, None] + np.arange(table.output_size)]
    if table.y_scale is not None and table.y_shift is not None:
        y = (y - table.y_shift[:, None]) / table.y_scale[:, None]
    return np.asarray(y, np.float32)
