"""OpenVINO, CPU: the ONNX Runtime peer's model, compiled for one fixed shape in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jobs
import numpy as np

from peers.common import Peer, Result, quickest, serve, threads, time_calls
from peers.onnx_peer import build_model


class OpenVinoPeer(Peer):
    name = "openvino"

    def __init__(self) -> None:
        import onnx  # noqa: F401  (the model is built with it: both must be installed)
        import openvino

        self.openvino, self.version = openvino, openvino.__version__.split("-")[0]
        self.core = openvino.Core()
        self.jobs = {"inference": self.inference}
        self.best: dict[jobs.Shape, str] = {}

    def inference(self, shape: Sequence[int] = jobs.INFERENCE_SHAPE, repeat: int = 1) -> Result:
        """Steps or samples first, whichever a trial finds quicker; tensors are bound beforehand."""
        del repeat
        size = jobs.as_shape(shape)
        weights, x = jobs.inference_case(size)
        inputs = {"samples first": x, "steps first": np.ascontiguousarray(x.transpose(1, 0, 2))}
        if size in self.best:
            inputs = {self.best[size]: inputs[self.best[size]]}
        requests = {
            way: self.request(weights, values, batch_major=way == "samples first")
            for way, values in inputs.items()
        }
        if size not in self.best:
            self.best[size] = quickest(
                {way: request.infer for way, request in requests.items()}, tries=20
            )
        best = self.best[size]
        request = requests[best]
        times = time_calls(request.infer)
        outputs = request.get_output_tensor().data
        order = (0, 2, 1, 3) if best == "samples first" else (2, 0, 1, 3)  # -> (N, T, 1, H)
        error = jobs.inference_error(outputs.transpose(order)[:, :, 0], size)
        return {"seconds": times, "max_error": error, "how": f"GRUSequence, {best}"}

    def request(self, weights: jobs.Weights, x: jobs.Array, *, batch_major: bool) -> Any:
        """The compiled model with ``x`` as its input; ``infer()`` runs it."""
        model = self.core.read_model(build_model(weights, batch_major=batch_major))
        model.reshape(list(x.shape))
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads(),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = self.core.compile_model(model, "CPU", options).create_infer_request()
        request.set_input_tensor(self.openvino.Tensor(x, shared_memory=True))
        return request


if __name__ == "__main__":
    serve(OpenVinoPeer)
