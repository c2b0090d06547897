"""Writes model_v1.safetensors, a model file of format 1 that must keep loading for ever.

Run once, when format 1 came to be, with the headgate of that day:

    python tests/golden/make_model_v1.py

Do not run it again with a later version: the file is here to be old. A new format gets a new
file and a generator of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headgate import model_file
from headgate.spec import NetworkSpec, ScalingSpec

PATH = Path(__file__).with_name("model_v1.safetensors")


def content() -> tuple[NetworkSpec, dict[str, np.ndarray], dict]:
    """Spec, tensors and extra of the file: numbers that binary floats hold exactly."""
    spec = NetworkSpec.stacked(
        1, 2, reset_after=False, head_dropout=0.25, dense=[2], activation="tanh"
    )
    scaling = ScalingSpec("affine", "minmax", shift=(-1.5,), scale=(0.75,))
    spec = NetworkSpec(spec.inputs, spec.layers, scaling)
    shapes = spec.parameter_shapes() | {"state.gru": (1, 1, 2), "extra.tail": (3,)}
    tensors = {
        name: (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - k) / 8
        for k, (name, shape) in enumerate(shapes.items())
    }
    return spec, tensors, {"estimator": "GRUForecaster", "unique_id": "长江", "lookback": 12}


if __name__ == "__main__":
    model_file._version = lambda: "0.1.0"
    model_file.save_model(PATH, *content()[:2], extra=content()[2])
    print(f"wrote {PATH} ({PATH.stat().st_size} bytes)")
