"""Writes keras_onnx.npz: small Keras models as tf2onnx writes them, and what Keras predicts.

    pip install tensorflow==2.21.0 keras==3.15.1 tf_keras==2.21.0 tf2onnx==1.17.0
    python tests/golden/make_keras_onnx.py

Both of Keras 3 and of Keras 2 (tf_keras), since tf2onnx writes the former's GRU as a Loop, the
latter's as a GRU; LSTM as LSTM and SimpleRNN as a Loop for both.

Names: NAME.model (the .onnx file's bytes), NAME.x (what goes in), NAME.y (what Keras puts out).
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
import tf_keras

HERE = Path(__file__).resolve().parent


def models(layers):
    """Name, layers, and the shape of the input: features, or None for tokens."""
    yield "gru", [layers.GRU(4), layers.Dense(2)], 3
    yield "gru_before", [layers.GRU(4, reset_after=False, return_sequences=True)], 3
    yield (
        "gru_stack",
        [
            layers.GRU(4, return_sequences=True),
            layers.GRU(4),
            layers.Dense(3, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ],
        2,
    )
    yield "lstm", [layers.LSTM(4, return_sequences=True), layers.Dense(1)], 3
    both = layers.Bidirectional(layers.GRU(3, return_sequences=True))
    yield "both_ways", [both, layers.Dense(2)], 3
    last = layers.Bidirectional(layers.LSTM(3))
    yield "tokens", [layers.Embedding(7, 5), last, layers.Dense(1, activation="sigmoid")], None
    yield "rnn", [layers.SimpleRNN(4), layers.Dense(2)], 3
    mean = layers.GlobalAveragePooling1D()
    yield "mean", [layers.GRU(4, return_sequences=True), mean, layers.Dense(2)], 3


def main() -> None:
    arrays = {"tensorflow_version": tf.__version__, "tf2onnx_version": tf2onnx.__version__}
    rng = np.random.default_rng(0)
    cases = [
        (f"{prefix}.{name}", home, parts, features)
        for prefix, home in (("keras3", keras), ("keras2", tf_keras))
        for name, parts, features in models(home.layers)
    ]
    for name, home, parts, features in cases:
        home.utils.set_random_seed(1)
        shape = (None,) if features is None else (None, features)
        kind = tf.int32 if features is None else tf.float32
        model = home.Sequential([home.Input(shape, dtype=kind.name), *parts])
        for weight in model.weights:  # biases too
            weight.assign(rng.normal(0, 0.5, weight.shape))
        x = rng.integers(0, 7, (3, 6)) if features is None else rng.normal(size=(3, 6, features))
        x = x.astype(kind.as_numpy_dtype)
        signature = [tf.TensorSpec((None, *shape), kind, name="x")]
        function = tf.function(lambda x, model=model: model(x, training=False), signature)
        proto, _ = tf2onnx.convert.from_function(function, signature, opset=17)
        arrays |= {
            f"{name}.model": np.frombuffer(proto.SerializeToString(), np.uint8),
            f"{name}.x": x,
            f"{name}.y": model(x, training=False).numpy(),
        }
        print(name, len(arrays[f"{name}.model"]), [node.op_type for node in proto.graph.node])
    np.savez_compressed(HERE / "keras_onnx.npz", **arrays)


if __name__ == "__main__":
    main()
