"""One step of each cell with layer normalisation, as the body of a Scan.

The equations and their names are those of ``headgate.reference.cells``; gates stand in
headgate's own order, since no operator asks for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from .graph import Graph

EPSILON = 1e-5  # as in the engine and in the reference


class Step(NamedTuple):
    """What a step reads: its share of the input ``a`` (N, G*H) and the state's parts (N, H).

    ``tensors`` are names of initializers of the graph around the body, ``name`` begins the names
    of the step's own values.
    """

    body: Graph
    a: str
    state: list[str]
    tensors: Mapping[str, str]
    size: int
    name: str

    def op(self, kind: str, inputs: list[str], wanted: str) -> str:
        return self.body.op(kind, inputs, f"{self.name}.{wanted}")

    def one_minus(self, value: str, wanted: str) -> str:
        return self.op("Sub", [self.body.number("one", 1.0), value], wanted)

    def split(self, value: str, gates: str, what: str) -> list[str]:
        wanted = [f"{self.name}.{what}_{gate}" for gate in gates]
        return self.body.split(value, [self.size] * len(gates), wanted)


def normalised_product(
    graph: Graph, v: str, weights: tuple[str, str], gates: tuple[int, int], name: str, *,
    leading: int = 1,
) -> str:  # fmt: skip
    """``v`` (N, I) times the transpose of a weight (G*H, I), normalised gate by gate: (N, G*H).

    gain * (product - mean) / sqrt(variance + 1e-5), over the H units of each of the G gates.

    Args:
        weights: the weight and the gain (G*H,).
        gates: (G, H).
        leading: axes before I; 2 for (T, N, I).
    """
    (weight, gain), (count, size), keep = weights, gates, (0,) * leading
    rotated = graph.transpose(weight, (1, 0), f"{name}.weight")
    product = graph.op("MatMul", [v, rotated], f"{name}.product")
    apart = graph.reshape(product, (*keep, count, size), f"{name}.gates")
    mean = graph.reduce("ReduceMean", apart, -1, f"{name}.mean", keep=True)
    centred = graph.op("Sub", [apart, mean], f"{name}.centred")
    square = graph.op("Mul", [centred, centred], f"{name}.square")
    variance = graph.reduce("ReduceMean", square, -1, f"{name}.variance", keep=True)
    safe = graph.op("Add", [variance, graph.number("epsilon", EPSILON)], f"{name}.variance_safe")
    deviation = graph.op("Sqrt", [safe], f"{name}.deviation")
    normal = graph.op("Div", [centred, deviation], f"{name}.normal")
    flat = graph.reshape(normal, (*keep, count * size), f"{name}.flat")
    return graph.op("Mul", [flat, gain], f"{name}.scaled")


def _gru(step: Step) -> list[str]:
    (h,) = step.state
    tensors, size = step.tensors, step.size
    both = normalised_product(
        step.body, h, (tensors["weight_hh"], tensors["norm_hh"]), (3, size), f"{step.name}.state"
    )
    sums = step.op("Add", [both, tensors["bias_hh"]], "from_state")
    a_r, a_z, a_n = step.split(step.a, "rzn", "a")
    q_r, q_z, q_n = step.split(sums, "rzn", "q")
    r = step.op("Sigmoid", [step.op("Add", [a_r, q_r], "sum_r")], "r")
    reset = step.op("Mul", [r, q_n], "reset")
    return _gru_end(step, a_z, q_z, step.op("Add", [a_n, reset], "sum_n"))


def _gru_before(step: Step) -> list[str]:
    (h,) = step.state
    tensors, size, body, name = step.tensors, step.size, step.body, step.name
    weight, gain = tensors["weight_hh"], tensors["norm_hh"]
    first, rest = (
        (
            body.slice(weight, begin * size, end * size, 0, f"{name}.weight_{gates}"),
            body.slice(gain, begin * size, end * size, 0, f"{name}.gain_{gates}"),
        )
        for gates, begin, end in (("rz", 0, 2), ("n", 2, 3))
    )
    both = normalised_product(body, h, first, (2, size), f"{name}.state")
    sums = step.op("Add", [both, tensors["bias_hh"]], "from_state")
    a_r, a_z, a_n = step.split(step.a, "rzn", "a")
    q_r, q_z = step.split(sums, "rz", "q")
    r = step.op("Sigmoid", [step.op("Add", [a_r, q_r], "sum_r")], "r")
    seen = step.op("Mul", [r, h], "reset")
    candidate = normalised_product(body, seen, rest, (1, size), f"{name}.candidate")
    return _gru_end(step, a_z, q_z, step.op("Add", [a_n, candidate], "sum_n"))


def _gru_end(step: Step, a_z: str, q_z: str, sum_n: str) -> list[str]:
    """h' = (1 - z) * n + z * h."""
    z = step.op("Sigmoid", [step.op("Add", [a_z, q_z], "sum_z")], "z")
    n = step.op("Tanh", [sum_n], "n")
    new = step.op("Mul", [step.one_minus(z, "open"), n], "new")
    return [step.op("Add", [new, step.op("Mul", [z, step.state[0]], "old")], "h")]


def _sums(step: Step, gates: int) -> str:
    """a + U h + b: what the gates of an LSTM and an RNN are made of."""
    tensors = step.tensors
    product = normalised_product(
        step.body, step.state[0], (tensors["weight_hh"], tensors["norm_hh"]), (gates, step.size),
        f"{step.name}.state",
    )  # fmt: skip
    sums = step.op("Add", [product, tensors["bias_hh"]], "from_state")
    return step.op("Add", [step.a, sums], "sums")


def _lstm(step: Step) -> list[str]:
    _, c = step.state
    sum_i, sum_f, sum_g, sum_o = step.split(_sums(step, 4), "ifgo", "sum")
    i, f, o = (
        step.op("Sigmoid", [value], gate)
        for gate, value in (("i", sum_i), ("f", sum_f), ("o", sum_o))
    )
    g = step.op("Tanh", [sum_g], "g")
    kept, new = step.op("Mul", [f, c], "kept"), step.op("Mul", [i, g], "new")
    after = step.op("Add", [kept, new], "c")
    return [step.op("Mul", [o, step.op("Tanh", [after], "squashed")], "h"), after]


def _rnn(kind: str) -> Callable[[Step], list[str]]:
    return lambda step: [step.op(kind, [_sums(step, 1)], "h")]


STEPS: dict[str, Callable[[Step], list[str]]] = {
    "gru": _gru,
    "gru_before": _gru_before,
    "lstm": _lstm,
    "rnn_tanh": _rnn("Tanh"),
    "rnn_relu": _rnn("Relu"),
}
