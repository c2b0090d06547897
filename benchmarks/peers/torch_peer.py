"""PyTorch: ``nn.GRU`` and ``torch.optim.Adam``, in the quickest plain loop we could write.

Tensors are made once, batches are views cut before the clock starts, the layout is the
time-major one that nn.GRU works in, gradients are dropped and not zeroed, losses are summed as
tensors and read once an epoch. Adam runs in whichever of its three implementations (default
loop, foreach, fused) a short trial finds quickest.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import jobs
import text_jobs

from peers.common import (
    Peer,
    Result,
    follow,
    matrix_rate,
    quickest,
    serve,
    stopwatch,
    threads,
    time_calls,
)

ADAM = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


class TorchPeer(Peer):
    name = "torch"

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(threads())
        self.torch, self.version = torch, torch.__version__
        self.modules: dict[str, Any] = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
        self.jobs = {
            "sine": self.sine,
            "windows": self.windows,
            "step": self.step,
            "rest": self.rest,
            "one_step": self.one_step,
            "peak": self.peak,
            "inference": self.inference,
            "live": self.live,
            "sentences": self.sentences,
            "characters": self.characters,
        }
        self.adam: dict[str, str] = {}

    def model(
        self, weights: jobs.Weights, cell: str = "gru", options: dict[str, Any] | None = None
    ) -> tuple[Any, Any]:
        """nn.GRU (or nn.LSTM) and nn.Linear with the given weights."""
        nn = self.torch.nn
        inputs = weights[f"{cell}.weight_ih_l0"].shape[1]
        hidden = weights[f"{cell}.weight_hh_l0"].shape[1]
        gru = self.modules[cell](inputs, hidden, **(options or {}))
        head = nn.Linear(hidden, 1) if "head.weight" in weights else None
        for prefix, module in ((cell, gru), ("head", head)):
            if module is not None:
                module.load_state_dict(
                    {
                        name: self.torch.from_numpy(weights[f"{prefix}.{name}"])
                        for name in module.state_dict()
                    }
                )
        return gru, head

    def optimizer(self, gru: Any, head: Any, rate: float, adam: str) -> Any:
        parameters = [*gru.parameters(), *head.parameters()]
        return self.torch.optim.Adam(parameters, lr=rate, **ADAM[adam])

    def choose(self, job: str, train: Any) -> str:
        """The quickest Adam for a job: ``train(adam, epochs)`` makes a trial of two epochs."""
        if job not in self.adam:
            trials = {name: (lambda name=name: train(name, 2)) for name in ADAM}
            self.adam[job] = quickest(trials)
        return self.adam[job]

    # -- sine, one by one ----------------------------------------------------------------------

    def sine(self, epochs: int = jobs.SINE_EPOCHS, repeat: int = 1) -> Result:
        adam = self.choose("sine", self._sine)
        times = []
        for _ in range(repeat):
            elapsed, losses, rollout = self._sine(adam, epochs)
            times.append(elapsed)
        return {
            "seconds": times,
            "loss": losses[-1],
            "rollout_mse": rollout,
            "how": f"nn.GRU, Adam ({adam})",
        }

    def _sine(self, adam: str, epochs: int) -> tuple[float, list[float], float]:
        torch, job = self.torch, jobs.sine_one_by_one()
        gru, head = self.model(jobs.sine_weights())
        optimizer = self.optimizer(gru, head, jobs.SINE_RATE, adam)
        # (20, 1, 1): time-major runs of one sequence
        runs = [
            (torch.from_numpy(x)[:, None], torch.from_numpy(y)[:, None])
            for x, y in zip(job.x, job.y, strict=True)
        ]
        mse_loss = torch.nn.functional.mse_loss

        def train() -> tuple[list[float], Any]:
            losses, state = [], torch.zeros(1, 1, jobs.SINE_HIDDEN)
            for _ in range(epochs):
                total = torch.zeros(())
                for x, y in runs:
                    hidden, state = gru(x, state)
                    loss = mse_loss(head(hidden), y)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    state = state.detach()
                    total += loss.detach()
                losses.append(total.item() / len(runs))
            return losses, state

        seconds, (losses, state) = stopwatch(train)
        path = []
        with torch.inference_mode():
            value = torch.full((1, 1, 1), job.x_first)
            for _ in range(len(job.truth)):
                hidden, state = gru(value, state)
                value = head(hidden)
                path.append(value.item())
        return seconds, losses, job.rollout_mse(path)

    # -- sine, windows -------------------------------------------------------------------------

    def windows(self, epochs: int = jobs.WINDOW_EPOCHS, repeat: int = 1) -> Result:
        adam = self.choose("windows", self._windows)
        times = []
        for _ in range(repeat):
            elapsed, errors = self._windows(adam, epochs)
            times.append(elapsed)
        return {"seconds": times, **errors, "how": f"nn.GRU, Adam ({adam})"}

    def _windows(self, adam: str, epochs: int) -> tuple[float, Result]:
        torch, job = self.torch, jobs.sine_windows()
        gru, head = self.model(jobs.window_weights())
        optimizer = self.optimizer(gru, head, jobs.WINDOW_RATE, adam)
        batches = [
            (
                torch.from_numpy(job.x[k : k + jobs.WINDOW_BATCH]).transpose(0, 1).contiguous(),
                torch.from_numpy(job.y[k : k + jobs.WINDOW_BATCH]),
            )
            for k in range(0, len(job.x), jobs.WINDOW_BATCH)
        ]
        mse_loss = torch.nn.functional.mse_loss

        def train() -> None:
            for _ in range(epochs):
                total = torch.zeros(())
                for x, y in batches:
                    _, last = gru(x)
                    loss = mse_loss(head(last[0]), y)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    total += loss.detach()
                total.item()

        def predict(x: Any) -> Any:
            with torch.inference_mode():
                return head(gru(torch.from_numpy(x).transpose(0, 1))[1][0]).numpy()

        seconds, _ = stopwatch(train)
        return seconds, job.errors(predict(job.x), predict(job.x_val))

    # -- whole training steps ------------------------------------------------------------------

    def step(
        self, shape: Sequence[int], network: dict[str, Any] | None = None, repeat: int = 1
    ) -> Result:
        """Seconds of epochs of whole training steps, after one that warms up; Adam is fused."""
        torch, size = self.torch, jobs.as_shape(shape)
        options = dict(network or {})
        cell = options.pop("cell", "gru")
        job, n = jobs.step_job(size), size[0]
        rnn, head = self.model(jobs.step_weights(size, cell), cell, options)
        optimizer = self.optimizer(rnn, head, jobs.STEP_RATE, "fused")
        batches = [
            tuple(
                torch.from_numpy(values[k : k + n]).transpose(0, 1).contiguous()
                for values in (job.x, job.y)
            )
            for k in range(0, len(job.x), n)
        ]
        mse_loss = torch.nn.functional.mse_loss
        losses, ends = [], []
        for _ in range(1 + repeat):
            total = torch.zeros(())
            for x, y in batches:
                states, _ = rnn(x)
                loss = mse_loss(head(states), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            losses.append(total.item() / len(batches))
            ends.append(perf_counter())
        return {
            "seconds": [after - before for before, after in itertools.pairwise(ends)],
            "losses": losses[:2],
            "how": f"nn.{cell.upper()}, Adam (fused)",
        }

    def rest(self, shape: Sequence[int], repeat: int = 1) -> Result:
        """Seconds of what a training step has beside its GRU: the head, the loss and Adam."""
        torch, size = self.torch, jobs.as_shape(shape)
        states, y = torch.randn(size[1], size[0], size[3]), torch.randn(size[1], size[0], 1)
        head = torch.nn.Linear(size[3], 1)
        optimizer = torch.optim.Adam(head.parameters(), fused=True)
        updates = jobs.updates_per_epoch(size)

        def epoch() -> None:
            for _ in range(updates):
                loss = torch.nn.functional.mse_loss(head(states), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

        epoch()
        return {"seconds": [stopwatch(epoch)[0] for _ in range(repeat)], "losses": []}

    def one_step(self, shape: Sequence[int], repeat: int = 1) -> Result:
        """Seconds of one call without gradients."""
        torch, size = self.torch, jobs.as_shape(shape)
        weights, x = jobs.inference_case(size)
        gru, _ = self.model(weights)
        x = torch.from_numpy(x).transpose(0, 1).contiguous()
        with torch.no_grad():
            outputs = gru(x)[0].transpose(0, 1).numpy()
            seconds = [statistics.median(time_calls(lambda: gru(x), 0.05)) for _ in range(repeat)]
        return {"seconds": seconds, "max_error": jobs.inference_error(outputs, size)}

    def peak(self) -> Result:
        torch = self.torch
        with torch.inference_mode():
            return matrix_rate(
                lambda a, b, out: torch.mm(a, b, out=out), lambda size: torch.randn(size, size)
            )

    # -- inference -----------------------------------------------------------------------------

    def inference(self, shape: Sequence[int] = jobs.INFERENCE_SHAPE, repeat: int = 1) -> Result:
        del repeat
        torch, size = self.torch, jobs.as_shape(shape)
        weights, x = jobs.inference_case(size)
        gru, _ = self.model(weights)
        gru.eval()
        steps = torch.from_numpy(x).transpose(0, 1).contiguous()
        with torch.inference_mode():
            times = time_calls(lambda: gru(steps))
            outputs = gru(steps)[0].transpose(0, 1).numpy()
        error = jobs.inference_error(outputs, size)
        return {"seconds": times, "max_error": error, "how": "nn.GRU"}

    def live(self, shape: Sequence[int], repeat: int = 1) -> Result:
        """Seconds of a sequence that is followed step by step; the tensor of the value is kept."""
        torch, size = self.torch, jobs.as_shape(shape)
        weights, values, _ = jobs.live_case(size)
        gru, head = self.model(weights)
        x, states = torch.zeros(1, 1, 1), [torch.zeros(1, 1, size[3])]

        def step(value: float) -> float:
            x.fill_(value)
            _, states[0] = gru(x, states[0])
            return head(states[0]).item()  # type: ignore[no-any-return]

        times = []
        with torch.no_grad():
            for _ in range(1 + repeat):  # the first run warms up
                states[0] = torch.zeros(1, 1, size[3])
                seconds, outputs = stopwatch(lambda: follow(step, values))
                times.append(seconds)
        return {
            "seconds": times[1:],
            "max_error": jobs.live_error(outputs, size),
            "how": "nn.GRU and nn.Linear, no_grad",
        }

    # -- text ----------------------------------------------------------------------------------

    def text_model(self, weights: jobs.Weights, bidirectional: bool) -> Any:
        """nn.Embedding, nn.GRU and nn.Linear, and one optimiser for all."""
        torch, nn = self.torch, self.torch.nn
        vocabulary, size = weights["embedding.weight"].shape
        hidden = weights["gru.weight_hh_l0"].shape[1]
        outputs, width = weights["head.weight"].shape
        model = nn.ModuleDict(
            {
                "embedding": nn.Embedding(vocabulary, size),
                "gru": nn.GRU(size, hidden, bidirectional=bidirectional),
                "head": nn.Linear(width, outputs),
            }
        )
        model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return model

    def sentences(self, repeat: int = 1) -> Result:
        """Seconds of epochs over packed sequences, after one that warms up.

        Batches are packed before the clock starts, longest sentence first; tokens are looked up
        in the packed data, so that no padding is computed.
        """
        torch, job = self.torch, text_jobs.sentences()
        rnn = torch.nn.utils.rnn
        model = self.text_model(text_jobs.sentence_weights(), bidirectional=True)
        embedding, gru, head = model["embedding"], model["gru"], model["head"]
        batches = []
        for begin in range(0, len(job.tokens), text_jobs.SENTENCE_BATCH):
            rows = range(begin, min(begin + text_jobs.SENTENCE_BATCH, len(job.tokens)))
            order = sorted(rows, key=lambda k: -len(job.tokens[k]))
            packed = rnn.pack_sequence([torch.from_numpy(job.tokens[k]) for k in order])
            batches.append((packed, torch.from_numpy(job.labels[order]), len(order)))

        def epoch(optimizer: Any, some: Any) -> float:
            total = torch.zeros(())
            for packed, labels, count in some:
                _, last = gru(rnn.PackedSequence(embedding(packed.data), packed.batch_sizes))
                scores = head(torch.cat((last[0], last[1]), 1))
                loss = torch.nn.functional.cross_entropy(scores, labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach() * count
            return float(total)

        adam = self.quickest_adam(
            "sentences", model, text_jobs.SENTENCE_RATE, lambda o: epoch(o, batches[:20])
        )
        model.load_state_dict(self.text_model(text_jobs.sentence_weights(), True).state_dict())
        optimizer = torch.optim.Adam(model.parameters(), text_jobs.SENTENCE_RATE, **ADAM[adam])
        ran = [stopwatch(lambda: epoch(optimizer, batches)) for _ in range(1 + repeat)]
        return {
            "seconds": [seconds for seconds, _ in ran[1:]],
            "losses": [total / len(job.labels) for _, total in ran[:2]],
            "how": f"packed nn.GRU, Adam ({adam})",
        }

    def characters(self, repeat: int = 1) -> Result:
        """Seconds of epochs of some updates; the state is carried, gradients stop between them."""
        torch, job = self.torch, text_jobs.characters()
        model = self.text_model(text_jobs.character_weights(), bidirectional=False)
        embedding, gru, head = model["embedding"], model["gru"], model["head"]
        batches = [
            tuple(torch.from_numpy(values.T.copy()) for values in pair)
            for pair in zip(job.x, job.y, strict=True)
        ]
        states = [torch.zeros(1, text_jobs.CHARACTER_ROWS, text_jobs.CHARACTER_HIDDEN)]

        def epoch(optimizer: Any, some: Any) -> float:
            total, state = torch.zeros(()), states[0]
            for x, y in some:
                hidden, state = gru(embedding(x), state)
                scores = head(hidden).flatten(0, 1)
                loss = torch.nn.functional.cross_entropy(scores, y.flatten())
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                state = state.detach()
                total += loss.detach()
            states[0] = state
            return float(total) / len(some)

        adam = self.quickest_adam(
            "characters", model, text_jobs.CHARACTER_RATE, lambda o: epoch(o, batches[:2])
        )
        model.load_state_dict(self.text_model(text_jobs.character_weights(), False).state_dict())
        states[0] = torch.zeros_like(states[0])
        optimizer = torch.optim.Adam(model.parameters(), text_jobs.CHARACTER_RATE, **ADAM[adam])
        ran = [stopwatch(lambda: epoch(optimizer, batches)) for _ in range(1 + repeat)]
        return {
            "seconds": [seconds for seconds, _ in ran[1:]],
            "losses": [loss for _, loss in ran[:2]],
            "how": f"nn.GRU, Adam ({adam})",
        }

    def quickest_adam(self, job: str, model: Any, rate: float, train: Any) -> str:
        """The quickest Adam for a model: ``train(optimizer)`` makes a short trial."""
        if job not in self.adam:
            trials = {
                name: (
                    lambda how=how: train(self.torch.optim.Adam(model.parameters(), rate, **how))
                )
                for name, how in ADAM.items()
            }
            self.adam[job] = quickest(trials)
        return self.adam[job]


if __name__ == "__main__":
    serve(TorchPeer)
