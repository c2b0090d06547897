"""ONNX Runtime, CPU: one GRU operator, in a model built by hand with ``onnx.helper``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jobs
import numpy as np

from peers.common import Peer, Result, follow, quickest, serve, stopwatch, threads, time_calls


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


def build_step(weights: jobs.Weights) -> bytes:
    """x (1, 1, I) and the state before (1, 1, H) -> y (1, O) and the state after (1, 1, H)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    bias = np.concatenate([zrn(weights["gru.bias_ih_l0"]), zrn(weights["gru.bias_hh_l0"])])
    hidden = weights["gru.weight_hh_l0"].shape[1]
    outputs, inputs = weights["head.weight"].shape[0], weights["gru.weight_ih_l0"].shape[1]
    constants = {
        "W": zrn(weights["gru.weight_ih_l0"])[None],
        "R": zrn(weights["gru.weight_hh_l0"])[None],
        "B": bias[None],
        "V": weights["head.weight"],
        "c": weights["head.bias"],
        "row": np.array([1, hidden], np.int64),
    }
    nodes = [
        helper.make_node(
            "GRU",
            ["x", "W", "R", "B", "", "before"],
            ["", "after"],
            hidden_size=hidden,
            linear_before_reset=1,
        ),
        helper.make_node("Reshape", ["after", "row"], ["h"]),
        helper.make_node("Gemm", ["h", "V", "c"], ["y"], transB=1),
    ]
    value, state = helper.make_tensor_value_info, [1, 1, hidden]
    graph = helper.make_graph(
        nodes,
        "step",
        [
            value("x", TensorProto.FLOAT, [1, 1, inputs]),
            value("before", TensorProto.FLOAT, state),
        ],
        [value("y", TensorProto.FLOAT, [1, outputs]), value("after", TensorProto.FLOAT, state)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


class OnnxPeer(Peer):
    name = "onnxruntime"

    def __init__(self) -> None:
        import onnx  # noqa: F401  (the model is built with it: both must be installed)
        import onnxruntime

        self.runtime, self.version = onnxruntime, onnxruntime.__version__
        self.jobs = {"inference": self.inference, "live": self.live}
        self.best: dict[jobs.Shape, str] = {}

    def session(self, model: bytes) -> Any:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        options.execution_mode = self.runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        return self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def live(self, shape: Sequence[int], way: str, repeat: int = 1) -> Result:
        """Seconds of a sequence that is followed step by step, a session call each.

        Args:
            way: "run" takes and gives arrays; "run_with_iobinding" writes the state to and fro
                between two arrays that are bound beforehand.
        """
        size = jobs.as_shape(shape)
        weights, values, _ = jobs.live_case(size)
        session = self.session(build_step(weights))
        x, y = np.zeros((1, 1, 1), np.float32), np.zeros((1, 1), np.float32)
        ends = [np.zeros((1, 1, size[3]), np.float32) for _ in range(2)]
        bindings = []
        for k in range(2):
            binding = session.io_binding()
            for name, array in (("x", x), ("before", ends[k])):
                binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
            for name, array in (("y", y), ("after", ends[1 - k])):
                binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
            bindings.append(binding)
        feed = {"x": x, "before": ends[0]}

        def bound() -> list[float]:
            ends[0][:] = 0
            turn = itertools.cycle(bindings)

            def step(value: float) -> float:
                x[0, 0, 0] = value
                session.run_with_iobinding(next(turn))
                return float(y[0, 0])

            return follow(step, values)

        def plain() -> list[float]:
            feed["before"] = np.zeros((1, 1, size[3]), np.float32)

            def step(value: float) -> float:
                x[0, 0, 0] = value
                prediction, feed["before"] = session.run(None, feed)
                return float(prediction[0, 0])

            return follow(step, values)

        call = {"run": plain, "run_with_iobinding": bound}[way]
        ran = [stopwatch(call) for _ in range(1 + repeat)]  # the first run warms up
        return {
            "seconds": [seconds for seconds, _ in ran[1:]],
            "max_error": jobs.live_error(ran[-1][1], size),
            "how": f"GRU and Gemm operators, {way}",
        }

    def inference(self, shape: Sequence[int] = jobs.INFERENCE_SHAPE, repeat: int = 1) -> Result:
        del repeat
        n, length, _, hidden = size = jobs.as_shape(shape)
        weights, x = jobs.inference_case(size)
        session = self.session(build_model(weights))
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
