"""JAX: the GRU and Adam written out, a whole epoch (or the whole job) in one compiled call.

The input projections of all steps are one product outside the scan over time; how far that scan
is unrolled is chosen by a short trial. Compiling is not timed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jobs
import numpy as np

from peers.common import Peer, Result, quickest, serve, stopwatch, time_calls

UNROLL = (1, 4, 20)  # steps of the scan over time in one turn of the compiled loop


class JaxPeer(Peer):
    name = "jax"

    def __init__(self) -> None:
        import jax

        self.jax, self.version = jax, jax.__version__
        self.jobs = {
            "sine": partial(self.sine, whole=False),
            "sine_whole": partial(self.sine, whole=True),
            "windows": partial(self.windows, whole=False),
            "windows_whole": partial(self.windows, whole=True),
            "inference": self.inference,
        }
        self.compiled: dict[Any, Any] = {}
        self.unroll: dict[str, int] = {}

    # -- the model -----------------------------------------------------------------------------

    def gru(self, w: Any, x: Any, state: Any, unroll: int) -> tuple[Any, Any]:
        """Time-major GRU: x (T, N, I), state (N, H) -> last state, states (T, N, H)."""
        jnp, nn = self.jax.numpy, self.jax.nn
        weight, bias = w["gru.weight_hh_l0"].T, w["gru.bias_hh_l0"]

        def step(h: Any, a: Any) -> tuple[Any, Any]:
            xr, xz, xn = jnp.split(a, 3, axis=-1)
            hr, hz, hn = jnp.split(h @ weight + bias, 3, axis=-1)
            r, z = nn.sigmoid(xr + hr), nn.sigmoid(xz + hz)
            h = (1 - z) * jnp.tanh(xn + r * hn) + z * h
            return h, h

        inputs = x @ w["gru.weight_ih_l0"].T + w["gru.bias_ih_l0"]
        return self.jax.lax.scan(step, state, inputs, unroll=unroll)

    @staticmethod
    def head(w: Any, hidden: Any) -> Any:
        return hidden @ w["head.weight"].T + w["head.bias"]

    def adam(self, moments: Any, w: Any, gradient: Any, rate: float) -> tuple[Any, Any]:
        """PyTorch's Adam with its default betas and epsilon."""
        jnp, tree = self.jax.numpy, self.jax.tree.map
        m, v, t = moments
        t = t + 1
        m = tree(lambda a, g: 0.9 * a + 0.1 * g, m, gradient)
        v = tree(lambda a, g: 0.999 * a + 0.001 * g * g, v, gradient)
        size, root = rate / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
        w = tree(lambda p, a, b: p - size * a / (jnp.sqrt(b) / root + 1e-8), w, m, v)
        return (m, v, t), w

    def start(self, weights: jobs.Weights) -> tuple[Any, Any]:
        jnp = self.jax.numpy
        w = {name: jnp.asarray(value) for name, value in weights.items()}
        zeros = {name: jnp.zeros_like(value) for name, value in w.items()}
        return w, (zeros, dict(zeros), jnp.zeros(()))

    def trainer(self, job: str, update: Any, whole: bool, epochs: int, unroll: int) -> Any:
        """Compile ``update`` into a function that runs all epochs; compiled once per setting."""
        key = (job, whole, epochs if whole else 0, unroll)
        if key not in self.compiled:

            def epoch(carry: Any, data: Any) -> tuple[Any, Any]:
                return update(carry, data, unroll)

            def every(carry: Any, data: Any) -> tuple[Any, Any]:
                scan = self.jax.lax.scan
                return scan(lambda c, _: epoch(c, data), carry, length=epochs)

            self.compiled[key] = self.jax.jit(every if whole else epoch)
        function = self.compiled[key]

        def train(carry: Any, data: Any) -> tuple[Any, list[float]]:
            if whole:
                carry, losses = self.jax.block_until_ready(function(carry, data))
                return carry, np.asarray(losses).tolist()
            losses = []
            for _ in range(epochs):
                carry, loss = function(carry, data)
                losses.append(loss)
            self.jax.block_until_ready(carry)
            return carry, [float(loss) for loss in losses]

        return train

    def measure(
        self, job: str, update: Any, carry: Any, data: Any, options: dict[str, Any]
    ) -> tuple[list[float], Any, list[float]]:
        """Choose the unrolling, compile, then train ``repeat`` times."""
        whole, epochs, repeat = options["whole"], options["epochs"], options["repeat"]
        if job not in self.unroll:
            trial = {
                str(u): partial(self.trainer(job, update, False, 4, u), carry, data) for u in UNROLL
            }
            for compile_first in trial.values():
                compile_first()
            self.unroll[job] = int(quickest(trial, tries=3))
        train = self.trainer(job, update, whole, epochs, self.unroll[job])
        final, losses = train(carry, data)  # compiles
        times = []
        for _ in range(repeat):
            seconds, (final, losses) = stopwatch(lambda: train(carry, data))
            times.append(seconds)
        return times, final, losses

    def how(self, job: str, whole: bool) -> str:
        return f"{'job' if whole else 'epoch'} in one jit, unroll {self.unroll[job]}"

    # -- jobs ----------------------------------------------------------------------------------

    def sine(self, whole: bool, epochs: int = jobs.SINE_EPOCHS, repeat: int = 1) -> Result:
        jax, jnp, job = self.jax, self.jax.numpy, jobs.sine_one_by_one()

        def update(carry: Any, data: Any, unroll: int) -> tuple[Any, Any]:
            def one(carry: Any, run: Any) -> tuple[Any, Any]:
                w, moments, state = carry

                def loss(w: Any) -> tuple[Any, Any]:
                    last, hidden = self.gru(w, run[0], state, unroll)
                    return jnp.mean((self.head(w, hidden) - run[1]) ** 2), last

                (value, last), gradient = jax.value_and_grad(loss, has_aux=True)(w)
                moments, w = self.adam(moments, w, gradient, jobs.SINE_RATE)
                return (w, moments, last), value

            carry, losses = jax.lax.scan(one, carry, data)
            return carry, jnp.mean(losses)

        data = (jnp.asarray(job.x[:, :, None]), jnp.asarray(job.y[:, :, None]))
        carry = (*self.start(jobs.sine_weights()), jnp.zeros((1, jobs.SINE_HIDDEN)))
        options = {"whole": whole, "epochs": epochs, "repeat": repeat}
        times, (w, _, state), losses = self.measure("sine", update, carry, data, options)

        def follow(carry: Any, _: Any) -> tuple[Any, Any]:
            value, state = carry
            state, hidden = self.gru(w, value, state, 1)
            value = self.head(w, hidden)
            return (value, state), value

        first = (jnp.full((1, 1, 1), job.x_first), state)
        _, path = jax.lax.scan(follow, first, length=len(job.truth))
        return {
            "seconds": times,
            "loss": losses[-1],
            "rollout_mse": job.rollout_mse(np.asarray(path)),
            "how": self.how("sine", whole),
        }

    def windows(self, whole: bool, epochs: int = jobs.WINDOW_EPOCHS, repeat: int = 1) -> Result:
        jax, jnp, job = self.jax, self.jax.numpy, jobs.sine_windows()
        full = len(job.x) // jobs.WINDOW_BATCH * jobs.WINDOW_BATCH

        def update(carry: Any, data: Any, unroll: int) -> tuple[Any, Any]:
            def one(carry: Any, batch: Any) -> tuple[Any, Any]:
                w, moments = carry

                def loss(w: Any) -> Any:
                    zeros = jnp.zeros((batch[0].shape[1], jobs.WINDOW_HIDDEN))
                    last, _ = self.gru(w, batch[0], zeros, unroll)
                    return jnp.mean((self.head(w, last) - batch[1]) ** 2)

                value, gradient = jax.value_and_grad(loss)(w)
                moments, w = self.adam(moments, w, gradient, jobs.WINDOW_RATE)
                return (w, moments), value

            carry, losses = jax.lax.scan(one, carry, data[0])
            carry, _ = one(carry, data[1])  # the last, smaller batch
            return carry, jnp.mean(losses)

        def cut(x: Any, y: Any, size: int) -> tuple[Any, Any]:
            x = x.reshape(-1, size, x.shape[1], 1).transpose(0, 2, 1, 3)
            return jnp.asarray(x), jnp.asarray(y.reshape(-1, size, 1))

        rest = cut(job.x[full:], job.y[full:], len(job.x) - full)
        data = (cut(job.x[:full], job.y[:full], jobs.WINDOW_BATCH), (rest[0][0], rest[1][0]))
        options = {"whole": whole, "epochs": epochs, "repeat": repeat}
        carry = self.start(jobs.window_weights())
        times, (w, _), _ = self.measure("windows", update, carry, data, options)

        def predict(x: Any) -> Any:
            zeros = jnp.zeros((len(x), jobs.WINDOW_HIDDEN))
            return self.head(w, self.gru(w, jnp.asarray(x).transpose(1, 0, 2), zeros, 1)[0])

        errors = job.errors(predict(job.x), predict(job.x_val))
        return {"seconds": times, **errors, "how": self.how("windows", whole)}

    def inference(self, repeat: int = 1) -> Result:
        del repeat
        weights, x = jobs.inference_case()
        w, _ = self.start(weights)
        zeros = self.jax.numpy.zeros((1, jobs.INFERENCE_SHAPE[3]))
        steps = self.jax.numpy.asarray(x.transpose(1, 0, 2))
        calls = {}
        for unroll in UNROLL:
            run = self.jax.jit(lambda steps, unroll=unroll: self.gru(w, steps, zeros, unroll)[1])
            calls[str(unroll)] = lambda run=run: run(steps).block_until_ready()
            calls[str(unroll)]()
        best = quickest(calls, tries=10)
        error = jobs.inference_error(np.asarray(calls[best]()).transpose(1, 0, 2))
        how = f"lax.scan in jit, unroll {best}"
        return {"seconds": time_calls(calls[best]), "max_error": error, "how": how}


if __name__ == "__main__":
    serve(JaxPeer)
