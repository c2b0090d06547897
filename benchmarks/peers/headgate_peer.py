"""headgate itself, through its public Python interface."""

from __future__ import annotations

from typing import Any

import jobs
import numpy as np

from peers.common import Peer, Result, serve, stopwatch, threads, time_calls


class HeadgatePeer(Peer):
    name = "headgate"

    def __init__(self) -> None:
        import headgate

        headgate.set_num_threads(threads())
        self.headgate = headgate
        self.version = f"{headgate.__version__} ({headgate.isa()})"
        self.jobs = {"sine": self.sine, "windows": self.windows, "inference": self.inference}

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

    def inference(self, repeat: int = 1) -> Result:
        del repeat
        from headgate.spec import GRU, InputSpec, NetworkSpec

        weights, x = jobs.inference_case()
        spec = NetworkSpec(
            inputs=(InputSpec("x", jobs.INFERENCE_I),),
            layers=(GRU("gru", ("x",), hidden_size=jobs.INFERENCE_H),),
        )
        net = self.headgate.Network(spec)
        net.load_state_dict(weights)
        times = time_calls(lambda: net.predict(x))
        error = jobs.inference_error(net.predict(x)[0])
        return {"seconds": times, "max_error": error, "how": "Network.predict"}


if __name__ == "__main__":
    serve(HeadgatePeer)
