"""A suite that stays green when one gate's sign is flipped is broken: flip some, expect red.

Each mutant is a copy of the engine with one change, compiled (generic kernels, -O0) beside the
unchanged objects, and put through the comparison with the reference that the other engine tests
make: outputs, states, loss and gradients within the same tolerances. The unchanged engine must
pass it, and so must one whose vectors and tiles have the shape of AVX-512's.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oracles
import pytest
import tolerances

from headgate import reference
from headgate.spec import GRU, Dense, Last, NetworkSpec

ROOT = Path(__file__).parents[1]
COMPILER = shutil.which("g++") or shutil.which("c++")
FLAGS = (
    *("-std=c++17", "-O0", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-pthread"),
    *("-I.", "-Iinclude"),
)

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="mutants are compiled, and there is no g++ or c++"),
    pytest.mark.skipif(not (ROOT / "cpp").is_dir(), reason="mutants need the sources in cpp/"),
]


class Change(NamedTuple):
    """Replace every ``old`` in a file of cpp/ by ``new``."""

    name: str
    file: str
    old: str
    new: str


RECURRENCE, LAYER = "kernels/recurrence.inl", "layers/recurrent.cpp"

GREEN = (
    Change("unchanged", "kernels/vec.h", "", ""),
    Change(
        "shaped as AVX-512",
        "kernels/vec.h",
        "constexpr int kLanes = 8;\nconstexpr int kRowTile = 4;\nstruct vf {\n  float v[kLanes];",
        "constexpr int kLanes = 16;\nconstexpr int kRowTile = 8;\nstruct vf {\n  float v[kLanes];",
    ),
)

RED = (
    # forward
    Change(
        "r's sign",
        RECURRENCE,
        "sigmoid(acc[i / P][i % P * 3])",
        "sigmoid(sub(set1(0), acc[i / P][i % P * 3]))",
    ),
    Change(
        "z's sign, reset before",
        RECURRENCE,
        "sigmoid(acc[i / P][i % P * 2 + 1])",
        "sigmoid(sub(set1(0), acc[i / P][i % P * 2 + 1]))",
    ),
    Change("n's sign", RECURRENCE, "fma(r[i], acc", "fnma(r[i], acc"),
    Change("z for 1 - z", RECURRENCE, "fma(z, sub(h, n), n)", "fma(z, sub(n, h), h)"),
    Change("no b_hn", RECURRENCE, "load(s.bias_hidden + u)", "set1(0)"),
    Change("r * h without r", RECURRENCE, "mul(r[i], load(s.seen + at))", "load(s.seen + at)"),
    Change(
        "the state of two steps ago",
        RECURRENCE,
        "a.reverse ? t + 1 : t - 1",
        "t > 1 ? t - 2 : 0",
    ),
    Change("no b_hz", LAYER, "d->bias_in[gate * hp + j] +=", "if (!gate) d->bias_in[j] +="),
    Change("h0 of another sequence", LAYER, "from + rows.order[i] * hidden_, bytes", "from, bytes"),
    Change("h_n of another step", LAYER, "rows.last_row(i)) * hp_", "i) * hp_"),
    Change("an odd H loses its last unit", "kernels/gemm.inl", "k_count - half,", "half,"),
    Change("a coarser exp", "kernels/vec.h", "1.666666716e-01f", "1.66e-01f"),
    Change(
        "a dense layer without bias", "kernels/gemm.inl", "g.bias && !carry ? load", "false ? load"
    ),
    # backward
    Change("tanh's slope", RECURRENCE, "fnma(n, n, one)", "fma(n, n, one)"),
    Change("sigmoid's slope", RECURRENCE, "sub(one, r)", "one"),
    Change("dz's sign", RECURRENCE, "sub(load(s.h + at), n)", "sub(n, load(s.h + at))"),
    Change("no gradient past z", RECURRENCE, "store(s.grad + at, mul(dh, z))", "(void)dh"),
    Change(
        "U_r for U_z",
        RECURRENCE,
        "a.packed_back + gate * a",
        "a.packed_back + (gate < 2 ? 1 - gate : 2) * a",
    ),
    Change(
        "no gradient past r * h", RECURRENCE, "add(load(target + at), passed)", "load(target + at)"
    ),
    Change(
        "a lone row without U_n", RECURRENCE, "vf rest = acc[Parts - 1][v]", "vf rest = set1(0)"
    ),
    Change("db_hz is db_hr", LAYER, "(apart || before ? 2 : gates_) * h", "h"),
    Change(
        "db_hn without r",
        LAYER,
        "k.column_sums(d.inner, io.count, h, hp_",
        "k.column_sums(d.gates + 2 * hp_, io.count, h, all",
    ),
    Change(
        "dU against h', not h",
        LAYER,
        "bytes(carried * hp_)",
        "bytes(0)",
    ),
    Change("MSE's slope", "losses.cpp", "return 2.0f * e", "return e"),
    Change("Huber's slope", "losses.cpp", "<= 1.0f ? e : sign(e)", "<= 1.0f ? sign(e) : e"),
    Change("the sign of a label's slope", "losses.cpp", "gradient[label] -=", "gradient[label] +="),
    Change("smoothing without its slope", "losses.cpp", "each_ / weight_ * weight_of(j)", "0.0"),
    Change(
        "softmax without its sum", "losses.cpp", "(hard + smooth) / sum / weight_", "1 / weight_"
    ),
    Change(
        "a softmax of powers of two",
        "kernels/elementwise.inl",
        "keep_where_positive(value,",
        "keep_where_positive(parts.s,",
    ),
    Change("the binary slope", "losses.cpp", "(1.0 - y) - factor", "1.0 - factor"),
    Change("relu's slope", "layers/dense.cpp", "relu_backward(io.y,", "relu_backward(io.dy,"),
)


# -- building --------------------------------------------------------------------------------


def compiled(sources: Path, source: str, target: Path) -> Path:
    """One object file; paths are relative to ``sources``, a copy of cpp/."""
    command = [str(COMPILER), *FLAGS, "-c", source, "-o", str(target)]
    result = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    assert result.returncode == 0, f"{source} does not compile:\n{result.stderr}"
    return target


def linked(objects: list[Path], target: Path) -> Path:
    command = [str(COMPILER), "-shared", "-pthread", *map(str, objects), "-o", str(target)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{target.name} does not link:\n{result.stderr}"
    return target


class Factory:
    """Copies, changes, compiles and links engines; unchanged objects are compiled once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = folder / "cpp"
        shutil.copytree(ROOT / "cpp", self.sources, ignore=shutil.ignore_patterns("bindings"))
        shutil.copy(Path(__file__).with_name("mutation_driver.cpp"), self.sources)
        self.units = sorted(p.relative_to(self.sources) for p in self.sources.rglob("*.cpp"))
        self.pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
        jobs = {u: self.pool.submit(self.unchanged, u) for u in self.units}
        self.objects = {unit: job.result() for unit, job in jobs.items()}
        self.mutants = {c.name: self.pool.submit(self.mutant, c) for c in (*GREEN, *RED)}

    def unchanged(self, unit: Path) -> Path:
        return compiled(self.sources, str(unit), self.folder / f"{unit.stem}.o")

    def mutant(self, change: Change) -> Path:
        folder = self.folder / change.name.replace(" ", "_").replace("'", "").replace("*", "")
        shutil.copytree(self.sources, folder / "cpp")
        path = folder / "cpp" / change.file
        text = path.read_text()
        assert change.old in text, (
            f"mutant {change.name!r} does not apply: {change.file} no longer has {change.old!r}; "
            "change the mutation with the code"
        )
        if change.old:
            path.write_text(text.replace(change.old, change.new))
        # A header or .inl of kernels/ is seen by the generic kernels alone.
        touched = Path(change.file if path.suffix == ".cpp" else "kernels/generic.cpp")
        objects = dict(self.objects)
        if change.old:
            objects[touched] = compiled(folder / "cpp", str(touched), folder / "touched.o")
        return linked(list(objects.values()), folder / "engine.so")


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    return Factory(tmp_path_factory.mktemp("mutants"))


# -- the comparison --------------------------------------------------------------------------

KINDS = {"linear": 2, "relu": 3, "tanh": 4}


def rows_of(spec: NetworkSpec) -> np.ndarray:
    """The layers as the driver takes them, (count, 2)."""
    rows = []
    for layer in spec.layers:
        if isinstance(layer, GRU):
            rows += [(0 if layer.reset_after else 1, layer.hidden_size)] * layer.num_layers
        elif isinstance(layer, Dense):
            rows.append((KINDS[layer.activation], layer.size))
        else:
            rows.append((5, 0))
    return np.array(rows, np.int64)


def compare(library: ctypes.CDLL, spec: NetworkSpec, n: int, t: int, loss: str, seed: int) -> None:
    """Everything that one update makes, against the reference; raises AssertionError."""
    rng = np.random.default_rng(seed)
    tensors = oracles.network_tensors(spec, rng)
    lengths = oracles.random_lengths(rng, n, t).astype(np.int64)
    x = oracles.normal(rng, (n, t, spec.input_size), np.float32)
    every = spec.readout == "every"
    shape = (n, t, spec.output_size) if every else (n, spec.output_size)
    y, options = 2 * oracles.normal(rng, shape, np.float32), {}
    if loss == "cross_entropy":
        y = rng.integers(0, spec.output_size, shape[:-1]).astype(np.float32)
    elif loss == "binary_cross_entropy":
        y = rng.uniform(0, 1, shape).astype(np.float32)
    if loss.endswith("entropy"):
        options["label_smoothing"] = 0.25  # as in the driver
    state = {
        layer.name: np.tanh(
            oracles.normal(rng, (layer.num_layers, n, layer.hidden_size), np.float32)
        )
        for layer in spec.recurrent()
    }
    carried = np.concatenate([value.ravel() for value in state.values()])
    flat = np.concatenate([tensors[name].ravel() for name in spec.parameter_shapes()])
    flat, gradients = flat.astype(np.float32), np.zeros(flat.size, np.float32)
    out = np.zeros(shape, np.float32)
    rows = rows_of(spec)

    def pointer(array: np.ndarray) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    library.headgate_run.restype = ctypes.c_double
    whole = ctypes.c_int64
    value = library.headgate_run(
        whole(spec.input_size),
        whole(len(rows)),
        pointer(rows),
        pointer(flat),
        whole(n),
        whole(t),
        pointer(x),
        pointer(lengths),
        pointer(y),
        pointer(carried),
        pointer(out),
        whole(reference.LOSSES.index(loss)),
        pointer(gradients),
    )
    expected, after = reference.network_forward(spec, tensors, x, lengths, state)
    last = np.concatenate([array.ravel() for array in after.values()])
    oracles.assert_forward_close(out, expected, tolerances.FORWARD_UP_TO_256)
    oracles.assert_forward_close(carried, last, tolerances.FORWARD_UP_TO_256)
    valid = np.arange(t) < lengths[:, None] if every else None
    wanted, slopes = reference.loss_and_gradient(loss, expected, y, valid, **options)
    # The mean squared error with these targets has the same slopes.
    count = (n if valid is None else int(valid.sum())) * spec.output_size
    _, by_name = reference.network_gradients(
        spec, tensors, x, expected - slopes * count / 2, "mse", lengths, state
    )
    assert abs(value - wanted) <= 1e-5 * wanted, f"loss {value}, expected {wanted}"
    begin = 0
    for name, shape in spec.parameter_shapes().items():
        size = int(np.prod(shape))
        got = gradients[begin : begin + size].reshape(shape)
        oracles.assert_gradient_close(got, by_name[name], name, tolerances.GRADIENT)
        begin += size


def check(path: Path) -> None:
    """Both reset placements, a batch of ragged sequences and a single one, odd sizes."""
    library = ctypes.CDLL(str(path))
    for reset_after in (True, False):
        gru = {"reset_after": reset_after}
        every = oracles.chained(
            3,
            (Dense, "first", {"size": 7, "activation": "tanh"}),
            (GRU, "gru", {"hidden_size": 17, **gru}),
            (GRU, "high", {"hidden_size": 5, "num_layers": 2, **gru}),
            (Dense, "dense", {"size": 18, "activation": "relu"}),
            (Dense, "head", {"size": 2}),
        )
        last = oracles.chained(
            1, (GRU, "gru", {"hidden_size": 35, **gru}), (Last, "last", {}), (Dense, "head", {})
        )
        compare(library, every, 11, 6, "mse", 1)
        compare(library, last, 5, 4, "huber", 2)
        compare(library, last, 1, 7, "mae", 3)
    for loss, size in (("cross_entropy", 5), ("cross_entropy", 600), ("binary_cross_entropy", 3)):
        head = oracles.chained(2, (GRU, "gru", {"hidden_size": 5}), (Dense, "head", {"size": size}))
        compare(library, head, 3, 4, loss, 4)


@pytest.mark.parametrize("change", GREEN, ids=[change.name for change in GREEN])
def test_the_engine_passes(factory: Factory, change: Change) -> None:
    check(factory.mutants[change.name].result())


@pytest.mark.parametrize("change", RED, ids=[change.name for change in RED])
def test_a_mutant_is_caught(factory: Factory, change: Change) -> None:
    path = factory.mutants[change.name].result()
    with pytest.raises(AssertionError, match=r"max\|difference\|") as caught:
        check(path)
    assert "nan" not in str(caught.value), "a mutant that computes nothing shows nothing"
