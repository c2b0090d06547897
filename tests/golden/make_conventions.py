"""Make conventions.npz: weights and outputs of recurrent layers of libraries, as they have them.

    python tests/golden/make_conventions.py flax nnx mlx tensorflow1
    python tests/golden/make_conventions.py dynet

DyNet (dynet38) wants a NumPy of its own, so it is made apart: a call replaces the cases of the
libraries that it names and keeps the others. README.md beside this file says what is in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).parent / "conventions.npz"
N, T, INPUTS, H = 2, 4, 2, 3
rng = np.random.default_rng(7)
X = rng.standard_normal((N, T, INPUTS)).astype(np.float32)
Case = tuple[str, str, dict[str, np.ndarray], np.ndarray]  # cell, version, weights, outputs


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(-0.9, 0.9, shape).astype(np.float32)


def flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    if not isinstance(tree, dict):
        return {prefix[:-1]: np.asarray(tree)}
    return {
        name: part
        for key, value in tree.items()
        for name, part in flat(value, f"{prefix}{key}.").items()
    }


def flax() -> Iterator[Case]:
    import flax
    import jax
    from flax import linen

    for cell, kind in (
        ("gru", linen.GRUCell),
        ("lstm", linen.OptimizedLSTMCell),
        ("rnn", linen.SimpleCell),
    ):
        layer = linen.RNN(kind(H))
        variables = layer.init(jax.random.key(0), X)
        params = jax.tree.map(lambda leaf: drawn(leaf.shape), variables["params"])
        outputs = layer.apply({"params": params}, X)
        yield cell, flax.__version__, flat(params["cell"]), np.asarray(outputs)


def nnx() -> Iterator[Case]:
    import flax
    import jax
    from flax import nnx

    for cell, kind in (
        ("gru", nnx.GRUCell),
        ("lstm", nnx.OptimizedLSTMCell),
        ("lstm_apart", nnx.LSTMCell),
        ("rnn", nnx.SimpleCell),
    ):
        made = kind(INPUTS, H, rngs=nnx.Rngs(0))
        state = nnx.state(made, nnx.Param)
        nnx.update(made, jax.tree.map(lambda leaf: drawn(leaf.shape), state))
        outputs = nnx.RNN(made, rngs=nnx.Rngs(0))(X)
        params = nnx.to_pure_dict(nnx.state(made, nnx.Param))
        yield cell, flax.__version__, flat(params), np.asarray(outputs)


def mlx() -> Iterator[Case]:
    import mlx.core as mx
    from mlx import nn

    for cell, kind in (("gru", nn.GRU), ("lstm", nn.LSTM), ("rnn", nn.RNN)):
        layer = kind(INPUTS, H)
        weights = {name: drawn(tuple(part.shape)) for name, part in layer.parameters().items()}
        layer.update({name: mx.array(part) for name, part in weights.items()})
        outputs = layer(mx.array(X))
        outputs = outputs[0] if cell == "lstm" else outputs
        yield cell, mx.__version__, weights, np.asarray(outputs)


def tensorflow1() -> Iterator[Case]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl as cells

    for cell, made in (
        ("gru", cells.GRUCell(H)),
        ("lstm", cells.BasicLSTMCell(H, forget_bias=0.75)),
        ("rnn", cells.BasicRNNCell(H)),
    ):
        state = made.zero_state(N, tf.float32)
        made(tf.constant(X[:, 0]), state)  # builds the variables
        for variable in made.variables:
            variable.assign(drawn(tuple(variable.shape)))
        outputs = []
        for t in range(T):
            out, state = made(tf.constant(X[:, t]), state)
            outputs.append(out.numpy())
        weights = {variable.name: variable.numpy() for variable in made.variables}
        yield cell, tf.__version__, weights, np.stack(outputs, 1)


def dynet() -> Iterator[Case]:
    import dynet as dy

    for cell, kind in (
        ("gru", dy.GRUBuilder),
        ("lstm", dy.VanillaLSTMBuilder),
        ("rnn", dy.SimpleRNNBuilder),
    ):
        collection = dy.ParameterCollection()  # the builder does not keep it alive
        builder = kind(1, INPUTS, H, collection)
        parameters = list(builder.get_parameters()[0])
        weights = [drawn(tuple(part.shape())) for part in parameters]
        for part, value in zip(parameters, weights, strict=True):
            part.set_value(value)
        outputs = []
        for x in X:
            dy.renew_cg()
            steps = builder.initial_state().transduce([dy.inputTensor(row) for row in x])
            outputs.append(np.array([step.npvalue() for step in steps], np.float32))
        named = {str(k): part for k, part in enumerate(weights)}
        yield cell, dy.__version__, named, np.stack(outputs)


def main(libraries: list[str]) -> None:
    held = dict(np.load(PATH)) if PATH.exists() else {}
    for library in libraries:
        held = {key: part for key, part in held.items() if not key.startswith(f"{library}/")}
        for cell, version, weights, outputs in globals()[library]():
            case = f"{library}/{cell}"
            held |= {f"{case}/weights/{name}": part for name, part in weights.items()}
            held |= {f"{case}/x": X, f"{case}/outputs": outputs}
            held[f"{library}/version"] = np.array(version)
    np.savez_compressed(PATH, **dict(sorted(held.items())))


if __name__ == "__main__":
    main(sys.argv[1:] or ["flax", "nnx", "mlx", "tensorflow1", "dynet"])
