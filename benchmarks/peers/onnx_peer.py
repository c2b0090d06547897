"""ONNX Runtime, CPU: one GRU operator, in a model built by hand with ``onnx.helper``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jobs
import numpy as np

from peers.common import Peer, Result, quickest, serve, threads, time_calls


def zrn(matrix: np.ndarray) -> np.ndarray:
    """PyTorch's gate order r, z, n -> ONNX's z, r, h."""
    r, z, n = np.split(matrix, 3)
    return np.concatenate([z, r, n])


def build_model(weights: jobs.Weights, *, batch_major: bool = False) -> bytes:
    """x (T, N, I) -> states (T, 1, N, H), reset gate after the product as in PyTorch.

    With ``batch_major`` x (N, T, I) -> states (N, 1, T, H), by a Transpose on either side: what
    a library that works in that order can drop.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    bias = np.concatenate([zrn(weights["gru.bias_ih_l0"]), zrn(weights["gru.bias_hh_l0"])])
    constants = {
        "W": zrn(weights["gru.weight_ih_l0"]),
        "R": zrn(weights["gru.weight_hh_l0"]),
        "B": bias,
    }
    hidden = weights["gru.weight_hh_l0"].shape[1]
    inputs = weights["gru.weight_ih_l0"].shape[1]
    ends = ("x_steps", "states_steps") if batch_major else ("x", "states")
    gru = helper.make_node(
        "GRU", [ends[0], "W", "R", "B"], [ends[1]], hidden_size=hidden, linear_before_reset=1
    )
    nodes, first, second = [gru], "T", "N"
    if batch_major:
        before = helper.make_node("Transpose", ["x"], ["x_steps"], perm=[1, 0, 2])
        after = helper.make_node("Transpose", ["states_steps"], ["states"], perm=[2, 1, 0, 3])
        nodes, first, second = [before, gru, after], "N", "T"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "gru",
        [value("x", TensorProto.FLOAT, [first, second, inputs])],
        [value("states", TensorProto.FLOAT, [first, 1, second, hidden])],
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
        self.best: dict[jobs.Shape, str] = {}

    def inference(self, shape: Sequence[int] = jobs.INFERENCE_SHAPE, repeat: int = 1) -> Result:
        del repeat
        n, length, _, hidden = size = jobs.as_shape(shape)
        weights, x = jobs.inference_case(size)
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        options.execution_mode = self.runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = self.runtime.InferenceSession(
            build_model(weights), options, providers=["CPUExecutionProvider"]
        )
        steps = np.ascontiguousarray(x.transpose(1, 0, 2))
        outputs = np.empty((length, 1, n, hidden), np.float32)
        binding = session.io_binding()
        binding.bind_cpu_input("x", steps)
        binding.bind_output("states", "cpu", 0, np.float32, outputs.shape, outputs.ctypes.data)
        calls: dict[str, Any] = {
            "run": lambda: session.run(None, {"x": steps})[0],
            "run_with_iobinding": lambda: session.run_with_iobinding(binding),
        }
        if size not in self.best:
            self.best[size] = quickest(calls, tries=20)
        best = self.best[size]
        times = time_calls(calls[best])
        calls["run_with_iobinding"]()
        error = max(
            jobs.inference_error(states[:, 0].transpose(1, 0, 2), size)
            for states in (calls["run"](), outputs)
        )
        return {"seconds": times, "max_error": error, "how": f"GRU operator, {best}"}


if __name__ == "__main__":
    serve(OnnxPeer)
