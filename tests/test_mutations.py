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
from typing import Any, NamedTuple

import numpy as np
import oracles
import pytest
import tolerances

from headgate import reference
from headgate.layer_specs import Recurrent
from headgate.spec import CRF, GRU, LSTM, RNN, Dense, Last, NetworkSpec

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
NORM, POOL = "kernels/norm.inl", "layers/pool.cpp"

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
    # forward, the other cells
    Change(
        "i's sign",
        RECURRENCE,
        "sigmoid(acc[i / P][i % P * 4])",
        "sigmoid(sub(set1(0), acc[i / P][i % P * 4]))",
    ),
    Change(
        "i for f",
        RECURRENCE,
        "fma(g[i % P * 4 + 1], load(s.c + at), mul(g[i % P * 4],",
        "fma(g[i % P * 4], load(s.c + at), mul(g[i % P * 4 + 1],",
    ),
    Change(
        "o's sign",
        RECURRENCE,
        "sigmoid(acc[i / P][i % P * 4 + 3])",
        "sigmoid(sub(set1(0), acc[i / P][i % P * 4 + 3]))",
    ),
    Change("c without tanh", RECURRENCE, "c[i] = tanh(c[i])", "(void)0"),
    Change("h for c", LAYER, "Carried{d.memories,", "Carried{d.states,"),
    Change("an RNN without tanh", RECURRENCE, "Tanh ? tanh(acc", "Tanh ? (acc"),
    Change("an RNN without relu", RECURRENCE, "max_or_nan(set1(0.0f), acc", "(acc"),
    # forward, normalised
    Change("another epsilon", NORM, "kNormEpsilon = 1e-5f", "kNormEpsilon = 1e-4f"),
    Change(
        "padding in the variance", NORM, "mul(sub(load(x + last), mean), units)", "load(x + last)"
    ),
    Change("U h without gain", RECURRENCE, "fma(load(run.a.gain + at), normed,", "add(normed,"),
    Change(
        "the first gate's gain of W x",
        NORM,
        "load(a.gain + gate * a.padded + u)",
        "load(a.gain + u)",
    ),
    # forward, in reverse
    Change(
        "ends that go on",
        RECURRENCE,
        "t + 1 < a.steps ? a.count[t + 1] : 0",
        "t + 1 < a.steps ? a.count[t] : 0",
    ),
    Change("the halves swapped", LAYER, "(reverse ? hidden_ : 0)", "(reverse ? 0 : hidden_)"),
    Change("a reverse h_n of the end", LAYER, "reverse ? i : rows", "rows"),
    Change("no h0 in reverse", LAYER, "args->initial = reverse ? total_ : 0", "args->initial = 0"),
    Change("the reverse half of the end", POOL, "width, bytes(split)", "width, bytes(width)"),
    # forward, recurrent dropout
    Change(
        "a carried state that is dropped",
        RECURRENCE,
        "blend(z[i], n[i], load(s.h + at))",
        "blend(z[i], n[i], load(s.seen + at))",
    ),
    Change("a mask of the first step", RECURRENCE, "mul(h, load(s.mask + at))", "h"),
    Change("a mask from the second step", LAYER, "from[at] * d->mask[at]", "from[at]"),
    Change("one mask for both directions", LAYER, "sample[i], reverse ? 1 : 0", "sample[i], 0"),
    Change("one mask for all sequences", LAYER, "sample[i], reverse", "sample[0], reverse"),
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
    # backward, the other cells
    Change(
        "df without its slope",
        RECURRENCE,
        "load(s.c + at), f), sub(one, f)",
        "load(s.c + at), f), one",
    ),
    Change(
        "do from c",
        RECURRENCE,
        "mul(mul(c, o), sub(one, o))",
        "mul(load(s.c_after + at), mul(o, sub(one, o)))",
    ),
    Change("no gradient past c", RECURRENCE, "store(s.grad_c + at, mul(dc, f))", "(void)dc"),
    Change(
        "c without h's gradient",
        RECURRENCE,
        "fma(dh, to_c, load(s.grad_c + at))",
        "load(s.grad_c + at)",
    ),
    Change(
        "three gates of four",
        RECURRENCE,
        "through_weights(run, 0, 4, -1",
        "through_weights(run, 0, 3, -1",
    ),
    Change("an RNN's tanh slope", RECURRENCE, "fnma(h, h, set1(1.0f))", "fma(h, h, set1(1.0f))"),
    Change("an RNN's relu slope", RECURRENCE, "keep_where_positive(dh, h)", "dh"),
    # backward, normalised
    Change("a norm's slope without g normed", NORM, "fnma(load(normed + u), slope, g)", "g"),
    Change("a norm's slope without mean", NORM, "slope, g), mean)", "slope, g), set1(0.0f))"),
    Change(
        "a norm's slope without gain", NORM, "mul(load(dy + u), load(gain + u))", "load(dy + u)"
    ),
    Change("norm_hh's slope from W x", LAYER, "d.normed + gate * hp_", "d.normed_in + gate * hp_"),
    Change(
        "norm_hh's slope without r",
        LAYER,
        "inner ? d.inner : d.gates + gate * hp_, inner ? hp_ : all",
        "d.gates + gate * hp_, all",
    ),
    Change(
        "dU past the norm", LAYER, "layer_norm ? d.raw : d.gates", "layer_norm ? d.gates : d.gates"
    ),
    # backward, in reverse
    Change(
        "the forward half for both",
        LAYER,
        "directions_.data() ? 0 : hidden_;",
        "directions_.data() ? 0 : 0;",
    ),
    Change(
        "dx of one direction",
        LAYER,
        "padded(pass.k, inputs_), &d != directions_.data()",
        "padded(pass.k, inputs_), false",
    ),
    Change(
        "dU in reverse against h of the step before",
        LAYER,
        "other = reverse ? t + 1 : t - 1",
        "other = t - 1",
    ),
    Change(
        "the reverse half's slope at the end",
        POOL,
        "io.dx + i * width + split_",
        "io.dx + pass.rows.last_row(i) * width + split_",
    ),
    # backward, recurrent dropout
    Change(
        "a slope past the mask",
        RECURRENCE,
        "fma(load(s.through + at), load(s.mask + at), load(s.grad + at))",
        "add(load(s.through + at), load(s.grad + at))",
    ),
    Change(
        "dU against h undropped", LAYER, "pass.training && d.mask ? d.seen : d.states;", "d.states;"
    ),
    Change(
        "dr against h undropped",
        RECURRENCE,
        "mul(passed, load(s.seen + at))",
        "mul(passed, load(s.h + at))",
    ),
    # losses
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
    # a conditional random field
    Change("transitions from j to i", "crf.cpp", "from[j * padded + i]", "from[i * padded + j]"),
    Change("beta with the score of its own step", "crf.cpp", "add(scores(t + 1)", "add(scores(t)"),
    Change("pairs not as probable as their first", "crf.cpp", "marginals(t)[i] / ", "1.0f / "),
    Change(
        "a start that the targets do not pull",
        "crf.cpp",
        "counts->start[label] -= 1.0f",
        "(void)0",
    ),
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

CELLS = list(reference.CELLS)  # in the engine's order
KINDS = {"linear": 5, "relu": 6, "tanh": 7}


def rows_of(spec: NetworkSpec) -> np.ndarray:
    """The layers as the driver takes them, (count, 3)."""
    rows = []
    for layer in spec.layers:
        if isinstance(layer, Recurrent):
            options = layer.bidirectional + 2 * layer.layer_norm
            if layer.recurrent_dropout:
                assert layer.recurrent_dropout == 0.5, "the driver's rate"
                options += 4
            row = (CELLS.index(layer.cell), layer.hidden_size, options)
            rows += [row] * layer.num_layers
        elif isinstance(layer, Dense):
            rows.append((KINDS[layer.activation], layer.size, 0))
        elif isinstance(layer, CRF):
            rows.append((9, 0, 0))
        else:
            rows.append((8, 0, spec.ports[layer.inputs[0]].split))
    return np.array(rows, np.int64)


def flat_state(spec: NetworkSpec, state: dict[str, Any]) -> np.ndarray:
    """States by layer as the engine has them: of each direction h, then c."""
    blocks = []
    for layer in spec.recurrent():
        parts = state[layer.name] if len(layer.states) > 1 else (state[layer.name],)
        blocks.append(np.stack(parts, axis=1).ravel())
    return np.concatenate(blocks)


def compare(library: ctypes.CDLL, spec: NetworkSpec, n: int, t: int, loss: str, seed: int) -> None:
    """Everything that one update makes, against the reference; raises AssertionError."""
    rng = np.random.default_rng(seed)
    tensors = oracles.network_tensors(spec, rng)
    lengths = oracles.random_lengths(rng, n, t).astype(np.int64)
    x = oracles.normal(rng, (n, t, spec.input_size), np.float32)
    every = spec.readout == "every"
    shape = (n, t, spec.output_size) if every else (n, spec.output_size)
    y, options = 2 * oracles.normal(rng, shape, np.float32), {}
    if loss in ("cross_entropy", "crf"):
        y = rng.integers(0, spec.output_size, shape[:-1]).astype(np.float32)
    elif loss == "binary_cross_entropy":
        y = rng.uniform(0, 1, shape).astype(np.float32)
    if loss.endswith("entropy"):
        options["label_smoothing"] = 0.25  # as in the driver
    state: dict[str, Any] = {}
    for layer in spec.recurrent():
        size = (layer.num_layers * layer.directions, n, layer.hidden_size)
        parts = tuple(np.tanh(oracles.normal(rng, size, np.float32)) for _ in layer.states)
        state[layer.name] = parts if len(parts) > 1 else parts[0]
    carried = flat_state(spec, state)
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
    oracles.assert_forward_close(out, expected, tolerances.FORWARD_UP_TO_256)
    oracles.assert_forward_close(carried, flat_state(spec, after), tolerances.FORWARD_UP_TO_256)
    masks = oracles.masks_for(spec, 0, 0, np.arange(n), t)
    wanted, by_name = reference.network_gradients(
        spec, tensors, x, y, loss, lengths, state, masks=masks, **options
    )
    begin = 0
    for name, shape in spec.parameter_shapes().items():
        size = int(np.prod(shape))
        got = gradients[begin : begin + size].reshape(shape)
        oracles.assert_gradient_close(got, by_name[name], name, tolerances.GRADIENT)
        begin += size
    assert abs(value - wanted) <= 1e-5 * wanted, f"loss {value}, expected {wanted}"


def check(path: Path) -> None:
    """Every cell and option, batches of ragged sequences and single ones, odd sizes."""
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
    for kind, cell in (
        (GRU, {}),
        (GRU, {"reset_after": False}),
        (LSTM, {}),
        (RNN, {}),
        (RNN, {"nonlinearity": "relu"}),
    ):
        both = {"bidirectional": True, **cell}
        plain = oracles.chained(
            2, (kind, "low", {"hidden_size": 9, "num_layers": 2, **cell}), (Dense, "head", {})
        )
        dropped = oracles.chained(
            3,
            (kind, "low", {"hidden_size": 9, "recurrent_dropout": 0.5, **both}),
            (kind, "high", {"hidden_size": 5, "recurrent_dropout": 0.5, **both}),
            (Dense, "head", {"size": 2}),
        )
        normed = oracles.chained(
            3,
            (kind, "stack", {"hidden_size": 11, "layer_norm": True, **both}),
            (Last, "last", {}),
            (Dense, "head", {}),
        )
        compare(library, plain, 1, 6, "mse", 5)
        compare(library, dropped, 6, 5, "mse", 6)
        compare(library, normed, 5, 4, "mse", 7)
    for loss, size in (("cross_entropy", 5), ("cross_entropy", 600), ("binary_cross_entropy", 3)):
        head = oracles.chained(2, (GRU, "gru", {"hidden_size": 5}), (Dense, "head", {"size": size}))
        compare(library, head, 3, 4, loss, 4)
    tagger = NetworkSpec.stacked(2, 5, 4, readout="every", task="tagging")
    compare(library, tagger, 5, 6, "crf", 8)


@pytest.mark.parametrize("change", GREEN, ids=[change.name for change in GREEN])
def test_the_engine_passes(factory: Factory, change: Change) -> None:
    check(factory.mutants[change.name].result())


@pytest.mark.parametrize("change", RED, ids=[change.name for change in RED])
def test_a_mutant_is_caught(factory: Factory, change: Change) -> None:
    path = factory.mutants[change.name].result()
    with pytest.raises(AssertionError, match=r"max\|difference\|") as caught:
        check(path)
    assert "nan" not in str(caught.value), "a mutant that computes nothing shows nothing"
