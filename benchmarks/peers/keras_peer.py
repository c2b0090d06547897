"""Keras, on TensorFlow or on JAX (KERAS_BACKEND): ``model.fit`` as its guides show it.

Two ways are measured: Keras's defaults, and ``unroll=True``, its advice for short sequences.
Tracing and compiling are done by a first epoch that is not timed; weights and optimiser then go
back to their first values.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import jobs
import numpy as np

from peers.common import Peer, Result, serve, stopwatch, threads


def keras_weights(weights: jobs.Weights) -> list[np.ndarray]:
    """PyTorch's (r, z, n) -> Keras's kernel, recurrent kernel and bias (z, r, h), then the head."""

    def zrh(matrix: np.ndarray) -> np.ndarray:
        r, z, n = np.split(matrix, 3)
        return np.concatenate([z, r, n])

    return [
        zrh(weights["gru.weight_ih_l0"]).T,
        zrh(weights["gru.weight_hh_l0"]).T,
        np.stack([zrh(weights["gru.bias_ih_l0"]), zrh(weights["gru.bias_hh_l0"])]),
        weights["head.weight"].T,
        weights["head.bias"],
    ]


class KerasPeer(Peer):
    def __init__(self) -> None:
        backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        if backend == "tensorflow":
            import tensorflow

            tensorflow.config.threading.set_intra_op_parallelism_threads(threads())
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        import keras

        below = __import__(backend)
        self.keras, self.name = keras, f"keras-{backend}"
        self.version = f"{keras.__version__} on {below.__version__}"
        self.jobs = {
            "windows": partial(self.windows, unroll=False),
            "windows_unrolled": partial(self.windows, unroll=True),
        }
        self.models: dict[bool, Any] = {}

    def model(self, unroll: bool) -> Any:
        """A compiled model that has trained one epoch, so that nothing is left to trace."""
        if unroll not in self.models:
            keras, job = self.keras, jobs.sine_windows()
            model = keras.Sequential(
                [
                    keras.Input(job.x.shape[1:]),
                    keras.layers.GRU(jobs.WINDOW_HIDDEN, unroll=unroll),
                    keras.layers.Dense(1),
                ]
            )
            # PyTorch's epsilon; Keras's own default is 1e-7.
            adam = keras.optimizers.Adam(jobs.WINDOW_RATE, epsilon=1e-8)
            model.compile(optimizer=adam, loss="mse")
            adam.build(model.trainable_variables)
            first = [keras.ops.convert_to_numpy(variable) for variable in adam.variables]
            self.fit(model, 1)
            self.models[unroll] = (model, first)
        model, first = self.models[unroll]
        model.set_weights(keras_weights(jobs.window_weights()))
        for variable, value in zip(model.optimizer.variables, first, strict=True):
            variable.assign(value)
        return model

    @staticmethod
    def fit(model: Any, epochs: int) -> None:
        job = jobs.sine_windows()
        model.fit(
            job.x, job.y, batch_size=jobs.WINDOW_BATCH, epochs=epochs, shuffle=False, verbose=0
        )

    def windows(self, unroll: bool, epochs: int = jobs.WINDOW_EPOCHS, repeat: int = 1) -> Result:
        job, times = jobs.sine_windows(), []
        for _ in range(repeat):
            model = self.model(unroll)
            times.append(stopwatch(lambda model=model: self.fit(model, epochs))[0])
        x, x_val = (model.predict(part, verbose=0) for part in (job.x, job.x_val))
        how = "model.fit, GRU(unroll=True)" if unroll else "model.fit"
        return {"seconds": times, **job.errors(x, x_val), "how": how}


if __name__ == "__main__":
    serve(KerasPeer)
