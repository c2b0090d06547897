"""headgate itself, through its public Python interface."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import jobs
import numpy as np
import text_jobs

from peers.common import Peer, Result, follow, serve, stopwatch, threads, time_calls


class HeadgatePeer(Peer):
    name = "headgate"

    def __init__(self) -> None:
        import headgate

        headgate.set_num_threads(threads())
        self.headgate = headgate
        self.version = f"{headgate.__version__} ({headgate.isa()})"
        self.jobs = {
            "sine": self.sine,
            "windows": self.windows,
            "step": self.step,
            "inference": self.inference,
            "live": self.live,
            "sentences": self.sentences,
            "characters": self.characters,
        }

    def sine(self, epochs: int = jobs.SINE_EPOCHS, repeat: int = 1) -> Result:
        job, weights, times = jobs.sine_one_by_one(), jobs.sine_weights(), []
        options: dict[str, Any] = {
            "epochs": epochs,
            "batch_size": 1,
            "shuffle": False,
            "stateful": True,
            "optimizer": "adam",
            "learning_rate": jobs.SINE_RATE,
            "loss": "mse",
        }
        for _ in range(repeat):
            net = self.headgate.Network(
                input_size=1, hidden_size=jobs.SINE_HIDDEN, output_size=1, readout="every", seed=0
            )
            net.load_state_dict(weights)
            seconds, history = stopwatch(lambda net=net: net.fit(job.x, job.y, **options))
            times.append(seconds)
        path = net.rollout(np.array([job.x_first], np.float32), steps=len(job.truth))
        return {
            "seconds": times,
            "loss": float(history.loss[-1]),
            "rollout_mse": job.rollout_mse(path),
            "how": "Network.fit",
        }

    def windows(self, epochs: int = jobs.WINDOW_EPOCHS, repeat: int = 1) -> Result:
        job, weights, times = jobs.sine_windows(), jobs.window_weights(), []
        options: dict[str, Any] = {
            "epochs": epochs,
            "batch_size": jobs.WINDOW_BATCH,
            "shuffle": False,
            "optimizer": "adam",
            "learning_rate": jobs.WINDOW_RATE,
            "loss": "mse",
        }
        for _ in range(repeat):
            net = self.headgate.Network(
                input_size=1, hidden_size=jobs.WINDOW_HIDDEN, output_size=1, readout="last", seed=0
            )
            net.load_state_dict(weights)
            times.append(stopwatch(lambda net=net: net.fit(job.x, job.y, **options))[0])
        errors = job.errors(net.predict(job.x), net.predict(job.x_val))
        return {"seconds": times, **errors, "how": "Network.fit"}

    def step(
        self, shape: Sequence[int], network: dict[str, Any] | None = None, repeat: int = 1
    ) -> Result:
        """Seconds of epochs of whole training steps, after one that warms up.

        ``network`` are keywords of Network beside the sizes. What a fit does before and after its
        epochs (two evaluations of the first batch) is not in an epoch's time.
        """
        n, _, inputs, hidden = size = jobs.as_shape(shape)
        job, options = jobs.step_job(size), network or {}
        try:
            net = self.headgate.Network(
                input_size=inputs,
                hidden_size=hidden,
                output_size=1,
                readout="every",
                seed=0,
                **options,
            )
        except self.headgate.InputError as error:
            return {"error": f"absent in headgate {self.version}: {error}"}
        weights = jobs.step_weights(size, options.get("cell", "gru"))
        if {name: value.shape for name, value in net.state_dict().items()} == {
            name: value.shape for name, value in weights.items()
        }:
            net.load_state_dict(weights)  # PyTorch's cells; others begin with their own
        ends: list[float] = []
        history = net.fit(
            job.x,
            job.y,
            epochs=1 + repeat,
            batch_size=n,
            shuffle=False,
            optimizer="adam",
            learning_rate=jobs.STEP_RATE,
            loss="mse",
            callbacks=[lambda env: ends.append(perf_counter())],
        )
        few = job.x[:1, :20]  # enough steps of one sequence to see that the equations are right
        trained = net.state_dict()
        states = jobs.states(trained, few, **options)
        expected = states @ trained["head.weight"].T.astype(np.float64) + trained["head.bias"]
        return {
            "seconds": np.diff(ends).tolist(),
            "losses": [float(loss) for loss in history.loss[:2]],
            "max_error": float(np.abs(net.predict(few) - expected).max()),
            "how": "Network.fit",
        }

    def inference(self, shape: Sequence[int] = jobs.INFERENCE_SHAPE, repeat: int = 1) -> Result:
        del repeat
        from headgate.spec import GRU, InputSpec, NetworkSpec

        size = jobs.as_shape(shape)
        weights, x = jobs.inference_case(size)
        spec = NetworkSpec(
            inputs=(InputSpec("x", size[2]),),
            layers=(GRU("gru", ("x",), hidden_size=size[3]),),
        )
        net = self.headgate.Network(spec)
        net.load_state_dict(weights)
        times = time_calls(lambda: net.predict(x))
        error = jobs.inference_error(net.predict(x), size)
        return {"seconds": times, "max_error": error, "how": "Network.predict"}

    def live(self, shape: Sequence[int], repeat: int = 1) -> Result:
        """Seconds of a sequence that is followed step by step."""
        size = jobs.as_shape(shape)
        weights, values, _ = jobs.live_case(size)
        net = self.headgate.Network(
            input_size=1, hidden_size=size[3], output_size=1, readout="every", seed=0
        )
        net.load_state_dict(weights)
        stream = net.stream()

        def step(value: float) -> float:
            return float(stream.step(value)[0])

        times = []
        for _ in range(1 + repeat):  # the first run warms up
            stream.reset()
            seconds, outputs = stopwatch(lambda: follow(step, values))
            times.append(seconds)
        return {
            "seconds": times[1:],
            "max_error": jobs.live_error(outputs, size),
            "how": "Stream.step",
        }

    # -- text ----------------------------------------------------------------------------------

    def sentences(self, repeat: int = 1) -> Result:
        """Seconds of epochs, after one that warms up."""
        job = text_jobs.sentences()
        net = self.headgate.Network(
            vocabulary=job.vocabulary,
            embedding_size=text_jobs.SENTENCE_EMBEDDING,
            hidden_size=text_jobs.SENTENCE_HIDDEN,
            bidirectional=True,
            readout="last",
            output_size=2,
            task="classification",
            seed=0,
        )
        net.load_state_dict(text_jobs.sentence_weights())
        ends: list[float] = []
        history = net.fit(
            job.tokens,
            job.labels,
            epochs=1 + repeat,
            batch_size=text_jobs.SENTENCE_BATCH,
            shuffle=False,
            optimizer="adam",
            learning_rate=text_jobs.SENTENCE_RATE,
            callbacks=[lambda env: ends.append(perf_counter())],
        )
        return {
            "seconds": np.diff(ends).tolist(),
            "losses": [float(loss) for loss in history.loss[:2]],
            "how": "Network.fit",
        }

    def characters(self, repeat: int = 1) -> Result:
        """Seconds of epochs of some updates; the state is carried, gradients stop between them."""
        job = text_jobs.characters()
        net = self.headgate.Network(
            vocabulary=job.vocabulary,
            embedding_size=text_jobs.CHARACTER_EMBEDDING,
            hidden_size=text_jobs.CHARACTER_HIDDEN,
            readout="every",
            output_size=job.vocabulary,
            task="classification",
            seed=0,
        )
        net.load_state_dict(text_jobs.character_weights())
        ends: list[float] = []
        history = net.fit(
            job.x.reshape(-1, text_jobs.CHARACTER_STEPS),
            job.y.reshape(-1, text_jobs.CHARACTER_STEPS),
            epochs=1 + repeat,
            batch_size=text_jobs.CHARACTER_ROWS,
            shuffle=False,
            stateful=True,
            optimizer="adam",
            learning_rate=text_jobs.CHARACTER_RATE,
            callbacks=[lambda env: ends.append(perf_counter())],
        )
        return {
            "seconds": np.diff(ends).tolist(),
            "losses": [float(loss) for loss in history.loss[:2]],
            "how": "Network.fit",
        }


if __name__ == "__main__":
    serve(HeadgatePeer)
