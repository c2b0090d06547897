"""Calls that the engine does not take: the same results, gradients and errors as ``torch.nn``'s."""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, which is not installed")

import torch.autograd.forward_ad as forward_ad  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses import FakeTensorMode  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from torch_pairs import (  # noqa: E402
    Run,
    assert_same,
    batch,
    outcome,
    pair,
    state_of,
    tensors,
    tolerances,
)

import headgate as hg  # noqa: E402
import headgate.torch as ht  # noqa: E402
from headgate.interop.torch import paths  # noqa: E402

pytestmark = [
    pytest.mark.neighbours,
    # PyTorch's own, of ways that it means to give up.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

kinds = pytest.mark.parametrize("kind", ["GRU", "LSTM"])


@pytest.fixture(autouse=True)
def nothing_said() -> Iterator[None]:
    """Every test hears its warnings."""
    before = set(paths._said)
    paths._said.clear()
    yield
    paths._said.clear()
    paths._said.update(before)


def agree(modules: tuple[Any, Any], run: Run, why: str) -> None:
    """Both give the same, or raise the same; a warning with ``why`` in it says so once."""
    theirs, ours = modules
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch's own, of prototypes
        want = outcome(run, theirs)
    for said in (1, 0):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = outcome(run, ours)
        told = [str(w.message) for w in caught if w.category is hg.HeadgateWarning]
        if isinstance(want, Exception):
            assert type(got) is type(want), got
            return
        assert not isinstance(got, Exception), got
        assert_same(got, want)
        assert len(told) == said * bool(why), told
        assert not told or why in told[0]


# -- devices, types, contexts ----------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_other_types(kind: str, dtype: Any) -> None:
    modules = pair(kind, 4, 6, 2, bidirectional=True)
    modules = (modules[0].to(dtype), modules[1].to(dtype))
    agree(modules, lambda m: m(batch().to(dtype)), "engine computes in float32")


@kinds
def test_there_and_back_again(kind: str) -> None:
    theirs, ours = pair(kind)
    with pytest.warns(hg.HeadgateWarning, match="weights are float64"):
        ours.double()(batch().double())
    assert_same(ours.float()(batch()), theirs(batch()))


@kinds
def test_shapes_alone(kind: str) -> None:
    modules = pair(kind)
    modules = (modules[0].to("meta"), modules[1].to("meta"))
    agree(modules, lambda m: m(batch().to("meta")), "on the device meta")


class Watching(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        return function(*args, **(kwargs or {}))


class Dispatching(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        return function(*args, **(kwargs or {}))


@kinds
@pytest.mark.parametrize(
    ("context", "why"),
    [
        (lambda: torch.autocast("cpu", torch.bfloat16), "autocast is on"),
        (Watching, "a mode of PyTorch"),
        (Dispatching, "a mode of PyTorch"),
        (lambda: torch.device("cpu"), "a default device"),
    ],
)
def test_contexts(kind: str, context: Callable[[], Any], why: str) -> None:
    def run(module: Any) -> Any:
        with context():
            return module(batch())

    agree(pair(kind), run, why)


class Marked(torch.Tensor):
    """A subclass of tensors."""


@kinds
def test_subclasses_of_tensors(kind: str) -> None:
    agree(pair(kind), lambda m: m(batch().as_subclass(Marked)), "is a Marked")


@kinds
@pytest.mark.parametrize(
    "change",
    [
        lambda: batch().to_sparse(),
        lambda: torch.nested.nested_tensor([batch(2, 4), batch(3, 4)]),
        lambda: torch.quantize_per_tensor(batch(), 0.1, 0, torch.qint8),
        lambda: batch().to_mkldnn(),
    ],
    ids=["sparse", "nested", "quantized", "mkldnn"],
)
def test_other_layouts(kind: str, change: Callable[[], Any]) -> None:
    agree(pair(kind, batch_first=True), lambda m: m(change()), "")


def test_projections() -> None:
    modules = pair("LSTM", 4, 6, proj_size=3)
    agree(modules, lambda m: m(batch()), "no projections")


# -- tracers ---------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x):  # unannotated, for torch.jit.script
        outputs, _ = self.cell(x)
        return outputs * 2


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@kinds
@pytest.mark.usefixtures("fresh_dynamo")
def test_compiled_models_call_the_module_as_it_is(kind: str) -> None:
    """Dynamo breaks its graph at every GRU and LSTM, so what it calls there is an ordinary call."""

    def run(module: Any) -> Any:
        module.zero_grad()
        output = torch.compile(Net(module), backend="aot_eager")(batch())
        output.sin().sum().backward()
        return output, [p.grad.clone() for p in module.parameters()]

    def in_place(module: Any) -> Any:
        module.compile(backend="eager")
        return module(batch())

    agree(pair(kind), run, "")
    agree(pair(kind), in_place, "")


@kinds
@pytest.mark.usefixtures("fresh_dynamo")
def test_one_graph_has_pytorchs_operations(kind: str) -> None:
    def run(module: Any) -> Any:
        with torch._dynamo.config.patch(allow_rnn=True):
            return torch.compile(Net(module), backend="eager", fullgraph=True)(batch())

    agree(pair(kind), run, "")


@kinds
@pytest.mark.parametrize("options", [{}, {"strict": True}], ids=["", "strict"])
def test_export(kind: str, options: dict[str, Any]) -> None:
    def run(module: Any) -> Any:
        program = torch.export.export(Net(module).eval(), (batch(),), **options)
        return program.module()(batch())

    agree(pair(kind), run, "")


@kinds
def test_trace(kind: str) -> None:
    longer = batch(7, 2, 4)
    agree(pair(kind), lambda m: torch.jit.trace(Net(m), batch())(longer), "torch.jit.trace")


@kinds
def test_script(kind: str) -> None:
    agree(pair(kind), lambda m: torch.jit.script(Net(m))(batch()), "")
    with pytest.raises(
        NotImplementedError, match=r"has no headgate.torch.GRU\(2, 3, reset_after=F"
    ):
        torch.jit.script(Net(ht.GRU(2, 3, reset_after=False)))


@kinds
def test_fx_keeps_the_module_whole(kind: str) -> None:
    modules = pair(kind)
    agree(modules, lambda m: torch.fx.symbolic_trace(Net(m))(batch()), "")
    nodes = torch.fx.symbolic_trace(Net(modules[1])).graph.nodes
    assert [node.target for node in nodes if node.op == "call_module"] == ["cell"]
    agree(modules, torch.fx.symbolic_trace, "")  # an error of both


@kinds
def test_make_fx(kind: str) -> None:
    agree(pair(kind), lambda m: make_fx(Net(m))(batch())(batch()), "a mode of PyTorch")


@kinds
def test_fake_tensors(kind: str) -> None:
    def run(module: Any) -> Any:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            return module(mode.from_tensor(batch()))

    agree(pair(kind), run, "a mode of PyTorch")


# -- torch.func, forward mode, derivatives of derivatives ------------------------------------------


def of_parameters(module: Any) -> Any:
    """torch.func.grad with respect to all parameters."""

    def loss(parameters: dict[str, Any]) -> Any:
        return torch.func.functional_call(module, parameters, (batch(),))[0].square().sum()

    return list(torch.func.grad(loss)(dict(module.named_parameters())).values())


def dual(module: Any) -> Any:
    with forward_ad.dual_level():
        x = forward_ad.make_dual(batch(), torch.ones(5, 3, 4))
        return forward_ad.unpack_dual(module(x)[0])


@kinds
@pytest.mark.parametrize(
    ("run", "why"),
    [
        (of_parameters, "not a plain parameter"),
        (dual, "forward-mode"),
        (lambda m: torch.func.grad(lambda x: m(x)[0].square().sum())(batch()), "torch.func"),
        (lambda m: torch.func.vmap(lambda x: m(x)[0])(batch(2, 5, 3, 4)), "torch.func"),
        (
            lambda m: torch.func.vjp(lambda x: m(x)[0], batch())[1](torch.ones(5, 3, 6)),
            "torch.func",
        ),
        (lambda m: torch.func.jvp(lambda x: m(x)[0], (batch(),), (batch(),)), "torch.func"),
        (lambda m: torch.func.jacrev(lambda x: m(x)[0])(batch(2, 1, 4)), "torch.func"),
    ],
    ids=["grad-parameters", "dual", "grad", "vmap", "vjp", "jvp", "jacrev"],
)
def test_torch_func(kind: str, run: Run, why: str) -> None:
    agree(pair(kind), run, why)


@kinds
def test_functional_call(kind: str) -> None:
    modules = pair(kind)
    doubled = {name: (2 * p).detach() for name, p in modules[0].named_parameters()}

    def run(module: Any) -> Any:
        given = {name: value.clone().requires_grad_() for name, value in doubled.items()}
        results = torch.func.functional_call(module, given, (batch(),))
        return results, torch.autograd.grad(results[0].sum(), list(given.values()))

    agree(modules, run, "not a plain parameter")
    assert_same(modules[1](batch()), modules[0](batch()))


OPTIONS = [
    {},
    {"num_layers": 2, "bidirectional": True, "bias": False},
    {"batch_first": True, "num_layers": 2},
]
EXTRAS = [
    {"reset_after": False},
    {"layer_norm": True},
    {"reset_after": False, "layer_norm": True, "num_layers": 2, "bidirectional": True},
]


def derivatives(module: Any, x: Any, hx: Any, create_graph: bool = True) -> Any:
    """Gradients of everything, and those of the sum of their squares."""
    module.zero_grad()
    leaves = [t.detach().clone().requires_grad_() for t in (x, *tensors(hx))]
    state = tuple(leaves[1:]) if isinstance(hx, tuple) else leaves[1]
    outputs, last = module(leaves[0], state)
    loss = sum(t.square().sum() * (k + 1) for k, t in enumerate([outputs, *tensors(last)]))
    leaves += list(module.parameters())
    first = torch.autograd.grad(loss, leaves, create_graph=create_graph)
    if not create_graph:
        return first
    return first, torch.autograd.grad(sum(g.square().sum() for g in first), leaves)


def assert_near(got: Any, want: Any) -> None:
    for a, b in zip(tensors(got), tensors(want), strict=True):
        assert (a - b).abs().max() <= tolerances.TORCH_SECOND * b.abs().max()


@kinds
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_double_backward(kind: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(kind, 2, 3, **options)
    x = batch(3, 3, 2)
    with pytest.warns(hg.HeadgateWarning, match="gradients of gradients"):
        got = derivatives(ours, x, state_of(ours, 3))
    assert_near(got, derivatives(theirs, x, state_of(ours, 3)))


@pytest.mark.parametrize("options", EXTRAS, ids=str)
def test_double_backward_of_what_torch_nn_lacks(options: dict[str, Any]) -> None:
    """In float32 as in float64, which gradgradcheck holds in test_torch_reference."""
    module = ht.GRU(2, 6, **options)
    x, state = batch(3, 3, 2), state_of(module, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hg.HeadgateWarning)
        got = derivatives(module, x, state)
        want = derivatives(copy.deepcopy(module).double(), x.double(), state.double())
    assert_near(got, want)


@pytest.mark.parametrize("kind", ["gru", "gru_before", "lstm"])
@pytest.mark.parametrize("form", ["full", "batch_first", "unbatched", "packed"])
def test_differentiable_gradients_are_the_engines_dropout_included(kind: str, form: str) -> None:
    """The way back that can be differentiated repeats the engine's masks."""
    cell, options = (ht.LSTM, {}) if kind == "lstm" else (ht.GRU, {"reset_after": kind == "gru"})
    module = cell(
        *(4, 6, 3),
        batch_first=form == "batch_first",
        bidirectional=True,
        dropout=0.3,
        recurrent_dropout=0.3,
        **options,
    )
    x = batch(4, 4) if form == "unbatched" else batch(4, 3, 4)
    state = state_of(module, *(() if form == "unbatched" else (4,) if module.batch_first else (3,)))
    leaves = [t.requires_grad_() for t in (x, *tensors(state))] + list(module.parameters())
    given = rnn_packed(x) if form == "packed" else x
    results = []
    for create_graph in (False, True):
        torch.manual_seed(7)
        outputs = tensors(module(given, state)[0])[:1] + tensors(module(given, state)[1])
        loss = sum((k + 1) * t.sin().sum() for k, t in enumerate(outputs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hg.HeadgateWarning)
            results.append(
                torch.autograd.grad(loss, leaves, retain_graph=True, create_graph=create_graph)
            )
    assert_same([t.detach() for t in results[1]], results[0])


def rnn_packed(x: Any) -> Any:
    return pack_padded_sequence(x, [2, 4, 3], enforce_sorted=False)


def test_double_backward_counts_an_argument_once_that_comes_from_another() -> None:
    theirs, ours = pair("GRU", 3, 3)

    def run(module: Any) -> Any:
        x = batch(4, 1, 3) @ module.weight_hh_l0[:3]  # reaches the loss on two ways
        (first,) = torch.autograd.grad(
            module(x)[0].square().sum(), module.weight_hh_l0, create_graph=True
        )
        return first, torch.autograd.grad(first.square().sum(), module.weight_hh_l0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hg.HeadgateWarning)
        assert_same(run(ours), run(theirs))


# -- weights that are not plain parameters ---------------------------------------------------------


class Doubled(nn.Module):
    def forward(self, weight: Any) -> Any:
        return 2 * weight


@kinds
@pytest.mark.parametrize(
    "change",
    [
        lambda m: parametrize.register_parametrization(m, "weight_hh_l0", Doubled()),
        lambda m: nn.utils.weight_norm(m, "weight_hh_l0"),
        lambda m: nn.utils.parametrizations.weight_norm(m, "weight_ih_l0"),
        lambda m: prune.l1_unstructured(m, "weight_hh_l0", 0.3),
    ],
    ids=["parametrize", "weight_norm", "parametrizations.weight_norm", "prune"],
)
def test_made_weights(kind: str, change: Run) -> None:
    modules = pair(kind)
    for module in modules:
        change(module)

    def run(module: Any) -> Any:
        module.zero_grad()
        results = module(batch())
        results[0].sum().backward()
        return results, [p.grad.clone() for p in module.parameters()]

    agree(modules, run, "not a plain parameter")


def test_weights_that_are_plain_again() -> None:
    module = ht.GRU(4, 6)
    nn.utils.weight_norm(module, "weight_hh_l0")
    assert paths.reason(module)
    nn.utils.remove_weight_norm(module, "weight_hh_l0")
    assert paths.reason(module) is None


@kinds
def test_replicas(kind: str) -> None:
    """What DataParallel runs on each device: modules whose parameters are plain tensors."""

    def run(module: Any) -> Any:
        module.zero_grad()
        replica = module._replicate_for_data_parallel()
        for name, parameter in module._parameters.items():
            setattr(replica, name, parameter * 1.0)
        results = replica(batch())
        results[0].sum().backward()
        return results, [p.grad.clone() for p in module.parameters()]

    agree(pair(kind), run, "not a plain parameter")


# -- explain, accelerate, restore ------------------------------------------------------------------


def test_explain_says_what_every_module_does() -> None:
    model = nn.ModuleDict(
        {
            "ours": ht.GRU(2, 3),
            "wide": ht.LSTM(2, 3).double(),
            "theirs": nn.GRU(2, 3),
            "plain": nn.RNN(2, 3),
            "dense": nn.Linear(2, 3),
        }
    )
    paths = ht.explain(model)
    assert [path.name for path in paths] == ["ours", "wide", "theirs", "plain"]
    assert [bool(path.reason) for path in paths] == [False, True, True, True]
    assert str(paths) == (
        "ours: GRU(2, 3): headgate's engine\n"
        "wide: LSTM(2, 3): PyTorch: weights are float64, and the engine computes in float32\n"
        "theirs: GRU(2, 3): PyTorch: it is torch.nn's module; headgate.torch.accelerate(model) "
        "switches it\n"
        "plain: RNN(2, 3): PyTorch: headgate has no RNN"
    )
    assert str(ht.explain(ht.GRU(2, 3, reset_after=False))) == (
        "the model: GRU(2, 3, reset_after=False): headgate's engine"
    )
    assert str(ht.explain(nn.Linear(1, 1))) == "no GRU, LSTM or RNN"


class Own(nn.GRU):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return "own"


def test_accelerate_keeps_objects_and_restore_brings_back() -> None:
    shared = nn.GRU(4, 4)
    model = nn.ModuleList(
        [shared, nn.LSTM(4, 4), shared, Own(4, 4), nn.LSTM(4, 4, proj_size=2), nn.RNN(4, 4)]
    ).eval()
    heard: list[Any] = []
    shared.register_forward_hook(lambda module, args, result: heard.append(module))
    modules, parameters = list(model), list(model.parameters())
    names, before = list(model.state_dict()), shared(batch())

    assert ht.accelerate(ht.accelerate(model)) is model
    types = [ht.GRU, ht.LSTM, ht.GRU, Own, nn.LSTM, nn.RNN]
    assert [type(module) for module in model] == types
    assert all(a is b for a, b in zip(model, modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == names
    assert not shared.training
    assert_same(shared(batch()), before)
    assert heard == [shared, shared]

    model.append(ht.GRU(4, 4, reset_after=False))
    assert ht.restore(model) is model
    assert [type(module) for module in model] == [
        *(nn.GRU, nn.LSTM, nn.GRU, Own, nn.LSTM, nn.RNN),
        ht.GRU,
    ]
    assert_same(shared(batch()), before)


def test_restored_modules_know_nothing_of_headgate() -> None:
    for module in (ht.GRU(4, 6), ht.accelerate(nn.LSTM(4, 6))):
        module(batch())[0].sum().backward()
        ht.restore(module)
        assert b"headgate" not in pickle.dumps(module)
        assert set(vars(module)) == set(vars(type(module)(4, 6)))
        torch.jit.script(Net(module))


def test_accelerate_of_a_module_itself_and_of_something_else() -> None:
    module = nn.GRU(4, 6)
    optimizer = torch.optim.Adam(module.parameters())
    assert ht.accelerate(module) is module
    assert type(module) is ht.GRU
    before = module.weight_hh_l0.detach().clone()
    module(batch())[0].sum().backward()
    optimizer.step()
    assert not torch.equal(module.weight_hh_l0, before)
    with pytest.raises(hg.InputError, match=r"^a model must be a torch.nn.Module, got dict$"):
        ht.accelerate({})


# -- bad input -------------------------------------------------------------------------------------


def wrong_calls(kind: str) -> Iterator[tuple[str, Any, Any]]:
    """Arguments for a module of 4 inputs and 6 units, most of them wrong."""
    lstm = kind == "LSTM"

    def state(*shape: int, dtype: Any = None, device: Any = None) -> Any:
        part = batch(*shape).to(dtype=dtype, device=device)
        return (part, part) if lstm else part

    x, data, part = batch(), batch(6, 4), batch(1, 3, 6)
    yield from (
        (f"rank {k}", batch(*((4,) * k)) if k else torch.tensor(1.0), None) for k in (0, 1, 4)
    )
    yield from ((f"width {s}", batch(*s), None) for s in ((5, 3, 7), (5, 7)))
    yield from ((f"{t}", x.to(t), None) for t in (torch.float64, torch.int64, torch.complex64))
    yield from ((f"empty {s}", batch(*s), None) for s in ((0, 3, 4), (0, 4), (5, 0, 4)))
    yield from ((f"object {o!r:.9}", o, None) for o in (x.numpy(), [1.0], None, "x", (data, 1)))
    yield "device", x.to("meta"), None
    wrong = [(1, 2, 6), (1, 3, 5), (2, 3, 6), (3, 6), (1, 1, 3, 6)]
    yield from ((f"state {s}", x, state(*s)) for s in wrong)
    yield from ((f"state of one {s}", batch(5, 4), state(*s)) for s in ((1, 1, 6), (1, 5)))
    yield "state float64", x, state(1, 3, 6, dtype=torch.float64)
    yield "state on meta", x, state(1, 3, 6, device="meta")
    objects = [(part,) * 3, (part,), (), [part], [part, part], part.numpy(), 1.0, "ab"]
    yield from ((f"state {k}", x, value) for k, value in enumerate(objects))
    yield "state of the other", x, part if lstm else (part, part)
    if lstm:
        for c in (batch(1, 3, 5), batch(3, 6), None, part.double()):
            yield f"c {c is None or tuple(c.shape)}", x, (part, c)
    for sizes in ([3, 2, 2], [1, 2, 3], [3, 3, 0], [3, 4, -1], [[3, 2, 1]], [3.0, 2.0, 1.0]):
        yield f"sizes {sizes}", PackedSequence(data, torch.tensor(sizes)), None
    steps = torch.tensor([3, 2, 1])
    yield "sizes int32", PackedSequence(data, steps.int()), None
    yield "no steps", PackedSequence(data[:0], steps[:0]), None
    for rows in (batch(6, 5), data.double(), batch(6, 1, 4), batch(6)):
        yield f"packed {tuple(rows.shape)}", PackedSequence(rows, steps), None
    for shape in ((1, 2, 6), (1, 4, 6), (3, 6)):
        yield f"packed, state {shape}", PackedSequence(data, steps), state(*shape)
        shuffled = pack_padded_sequence(batch(3, 3, 4), [1, 3, 2], enforce_sorted=False)
        yield f"shuffled, state {shape}", shuffled, state(*shape)
    outside = torch.tensor([0, 1, 5])
    yield "indices", PackedSequence(data, steps, outside, outside), state(1, 3, 6)
    yield "nan", torch.full((5, 3, 4), np.nan), None


@kinds
def test_wrong_arguments_raise_what_torch_nn_raises(kind: str) -> None:
    theirs, ours = pair(kind)
    raised = 0
    for name, input, hx in wrong_calls(kind):
        want = outcome(lambda m: m(input, hx), theirs)  # noqa: B023
        got = outcome(lambda m: m(input, hx), ours)  # noqa: B023
        assert type(got) is type(want), f"{name}: {got!r}, not {want!r}"
        if isinstance(want, Exception):
            raised += 1
            assert str(got).startswith(str(want)), name
            assert f"\nheadgate.torch.{kind}(4, 6) expects input (T, N, 4)" in str(got), name
        else:
            assert_same(got, want)
    assert raised > 40


@kinds
@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.5}, {"layer_norm": True}], ids=str)
def test_wrong_arguments_of_what_torch_nn_lacks(kind: str, options: dict[str, Any]) -> None:
    # Where torch.nn checks little: an LSTM's packed sequences, or rows beyond those of batch_sizes.
    theirs, ours = pair(kind)[0], getattr(ht, kind)(4, 6, **options)
    for name, input, hx in wrong_calls(kind):
        want = outcome(lambda m: m(input, hx), theirs)  # noqa: B023
        got = outcome(lambda m: m(input, hx), ours)  # noqa: B023
        checked_less = kind == "LSTM" and isinstance(input, PackedSequence)
        assert isinstance(got, Exception) == isinstance(want, Exception), (name, got)
        assert checked_less or type(got) is type(want), f"{name}: {got!r}, not {want!r}"


def test_a_message_says_what_was_expected_and_what_came() -> None:
    module = ht.LSTM(4, 6, 2, batch_first=True)
    with pytest.raises(RuntimeError) as caught:
        module(batch(), (batch(2, 5, 6), batch(4, 5, 6)))
    assert str(caught.value) == (
        "Expected hidden[1] size (2, 5, 6), got [4, 5, 6]\n"
        "headgate.torch.LSTM(4, 6, num_layers=2, batch_first=True) expects input (N, T, 4), (T, 4) "
        "of one sequence, or a PackedSequence, and as its state the pair h0 (2, N, 6) or (2, 6) "
        "and c0 (2, N, 6) or (2, 6), or None, all of float32 on cpu; got input (5, 3, 4) of "
        "float32 on cpu, state a tuple of 2: (2, 5, 6) of float32 on cpu, (4, 5, 6) of float32 "
        "on cpu"
    )


@kinds
def test_wrong_options_raise_and_warn_as_torch_nn(kind: str) -> None:
    wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        *(((), {}), ((4,), {}), ((0, 6), {}), ((4, 0), {}), ((4, -1), {}), ((4.0, 6), {})),
        *(((4, "6"), {}), ((4, 6, 0), {}), ((4, 6), {"dropout": 2}), ((4, 6), {"dropout": True})),
        *(((4, 6), {"bias": 1}), ((4, 6), {"batch_first": None}), ((4, 6), {"depth": 1})),
        *(((4, 6), {"proj_size": 6}), ((4, 6), {"proj_size": -1}), ((4, 6), {"device": "nowhere"})),
        *(((4, 6), {"dtype": torch.int64}), ((4, 6, 1, True, False, 0.5), {})),
    ]
    for arguments, options in wrong:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            want, got = (
                outcome(lambda home: getattr(home, kind)(*arguments, **options), home)  # noqa: B023
                for home in (nn, ht)
            )
        said = [(w.category, str(w.message)) for w in caught]
        assert said[: len(said) // 2] == said[len(said) // 2 :]
        assert isinstance(want, Exception) == isinstance(got, Exception), (arguments, options)
        if isinstance(want, Exception):
            assert type(got) is type(want), (arguments, options)
