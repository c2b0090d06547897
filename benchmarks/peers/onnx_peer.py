"""ONNX Runtime, CPU: one GRU operator, in a model built by hand with ``onnx.helper``."""

from __future__ import annotations

from typing import Any

import jobs
import numpy as np

from peers.common import Peer, Result, quickest, serve, threads, time_calls


def zrn(matrix: np.ndarray) -> np.ndarray:
    """PyTorch's gate order r, z, n -> ONNX's z, r, h."""
    r, z, n = np.split(matrix, 3)
    return np.concatenate([z, r, n])


def build_model(weights: jobs.Weights) -> bytes:
    """x (T, N, I) -> states (T, 1, N, H), reset gate after the product as in PyTorch."""
    from onnx import TensorProto, checker, helper, numpy_helper

    bias = np.concatenate([zrn(weights["gru.bias_ih_l0"]), zrn(weights["gru.bias_hh_l0"])])
    constants = {
        "W": zrn(weights["gru.weight_ih_l0"]),
        "R": zrn(weights["gru.weight_hh_l0"]),
        "B": bias,
    }
    hidden = weights["gru.weight_hh_l0"].shape[1]
    inputs = weights["gru.weight_ih_l0"].shape[1]
    node = helper.make_node(
        "GRU", ["x", "W", "R", "B"], ["states"], hidden_size=hidden, linear_before_reset=1
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "gru",
        [value("x", TensorProto.FLOAT, ["T", "N", inputs])],
        [value("states", TensorProto.FLOAT, ["T", 1, "N", hidden])],
        [numpy_helper.from_array(array[None], name) for name, array in constants.items()],
    )
    # Opset 14 and IR 8 are read by every ONNX Runtime since 2021.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


class OnnxPeer(Peer):
    name = "onnxruntime"

    def __init__(self) -> None:
        import onnx  # noqa: F401  (the model is built with it: both must be installed)
        import onnxruntime

        self.runtime, self.version = onnxruntime, onnxruntime.__version__
        self.jobs = {"inference": self.inference}
        self.best = ""

    def inference(self, repeat: int = 1) -> Result:
        del repeat
        weights, x = jobs.inference_case()
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        options.execution_mode = self.runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = self.runtime.InferenceSession(
            build_model(weights), options, providers=["CPUExecutionProvider"]
        )
        steps = np.ascontiguousarray(x.transpose(1, 0, 2))
        outputs = np.empty((jobs.INFERENCE_T, 1, 1, jobs.INFERENCE_H), np.float32)
        binding = session.io_binding()
        binding.bind_cpu_input("x", steps)
        binding.bind_output("states", "cpu", 0, np.float32, outputs.shape, outputs.ctypes.data)
        calls: dict[str, Any] = {
            "run": lambda: session.run(None, {"x": steps})[0],
            "run_with_iobinding": lambda: session.run_with_iobinding(binding),
        }
        self.best = self.best or quickest(calls, tries=20)
        times = time_calls(calls[self.best])
        calls["run_with_iobinding"]()
        error = max(jobs.inference_error(states[:, 0, 0]) for states in (calls["run"](), outputs))
        return {"seconds": times, "max_error": error, "how": f"GRU operator, {self.best}"}


if __name__ == "__main__":
    serve(OnnxPeer)
