"""``headgate.torch``'s modules on the engine, beside ``torch.nn``'s in float64."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, which is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import tolerances  # noqa: E402

import headgate.torch as ht  # noqa: E402
from headgate.interop.torch import again, reference  # noqa: E402
from headgate.interop.torch.paths import cell, layer_weights  # noqa: E402

pytestmark = pytest.mark.neighbours

HIDDEN, BATCH = (1, 3, 15, 16, 17, 33, 64), (1, 2, 3, 7, 8, 9)
LENGTHS = (5, 9, 1, 9, 3, 7, 2, 8, 4)
kinds = pytest.mark.parametrize("kind", ["GRU", "LSTM"])


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def parts(value: Any) -> list[Any]:
    """All tensors of a result."""
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, torch.Tensor) else [t for v in value for t in parts(v)]


def on_engine(result: Any) -> bool:
    return type(parts(result)[0].grad_fn).__name__ == "PassesBackward"


def weighed(result: Any) -> Any:
    """A loss in which every number of a result counts for itself."""
    generator = torch.Generator().manual_seed(7)
    return sum(
        (t * torch.randn(t.shape, generator=generator).to(t.dtype)).sum() for t in parts(result)
    )


def outcome(module: Any, x: Any, hx: Any) -> tuple[list[Any], list[Any]]:
    """A module's results, and the gradients of all that it reads."""
    leaves = [
        t for t in [*parts(x), *parts(() if hx is None else hx), *module.parameters()] if t.is_leaf
    ]
    for leaf in leaves:
        leaf.grad = None
    result = module(x, hx)
    assert on_engine(result) == (parts(result)[0].dtype == torch.float32)
    weighed(result).backward()
    return [t.detach() for t in parts(result)], [leaf.grad for leaf in leaves]


def compare(ours: Any, theirs: Any, x: Any, hx: Any) -> None:
    def double(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, tuple) and not isinstance(value, PackedSequence):
            return tuple(map(double, value))
        if isinstance(value, PackedSequence):
            return PackedSequence(double(value.data), *value[1:])
        return value.detach().double().requires_grad_(value.requires_grad)

    results, gradients = outcome(ours, x, hx)
    wanted, asked = outcome(theirs, double(x), double(hx))
    allowed = tolerances.forward_tolerance(ours.hidden_size)
    for got, want in zip(results, wanted, strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() <= allowed
    for got, want in zip(gradients, asked, strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            assert (got - want).abs().max() <= tolerances.GRADIENT * want.abs().max()
    with torch.no_grad():
        for got, want in zip(parts(ours(x, hx)), wanted, strict=True):
            assert (got - want).abs().max() <= allowed


def twins(kind: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    ours = getattr(ht, kind)(*sizes, **options)
    theirs = getattr(nn, kind)(*sizes, **options).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def initial(module: Any, n: int) -> Any:
    layers = module.num_layers * (2 if module.bidirectional else 1)
    made = [torch.randn(layers, n, module.hidden_size, requires_grad=True) for _ in range(2)]
    return tuple(made) if isinstance(module, nn.LSTM) else made[0]


# -- numbers ---------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("n", BATCH)
@pytest.mark.parametrize("h", HIDDEN)
def test_odd_sizes(kind: str, h: int, n: int) -> None:
    """One of every eight is of each form: layers, directions, order of dimensions, biases."""
    form = HIDDEN.index(h) + BATCH.index(n) + (kind == "LSTM")
    options = {
        "num_layers": 1 + form % 2,
        "bidirectional": form // 2 % 2 == 1,
        "batch_first": form // 4 % 2 == 1,
        "bias": form % 5 > 0,
    }
    i = (1, 3, 8, 17)[form % 4]
    ours, theirs = twins(kind, i, h, **options)
    shape = (n, 9, i) if options["batch_first"] else (9, n, i)
    compare(ours, theirs, torch.randn(shape, requires_grad=True), initial(ours, n))


@kinds
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("n", [1, 4, 9])
def test_packed_sequences(kind: str, options: dict[str, Any], n: int) -> None:
    ours, theirs = twins(kind, 5, 17, **options)
    x = pack_sequence([torch.randn(t, 5) for t in LENGTHS[:n]], enforce_sorted=False)
    leaf = x.data.clone().requires_grad_()
    compare(ours, theirs, PackedSequence(leaf, *x[1:]), initial(ours, n))
    compare(ours, theirs, PackedSequence(leaf, *x[1:]), None)
    got, want = ours(x)[0], theirs(x.double())[0]
    assert all(torch.equal(a, b) for a, b in zip(got[1:], want[1:], strict=True))


@kinds
def test_one_sequence_without_a_batch(kind: str) -> None:
    ours, theirs = twins(kind, 3, 6, num_layers=2, batch_first=True)
    hx = initial(ours, 1)
    flat = tuple(h.detach()[:, 0] for h in hx) if kind == "LSTM" else hx.detach()[:, 0]
    compare(ours, theirs, torch.randn(7, 3, requires_grad=True), flat)


@kinds
def test_tensors_of_any_strides(kind: str) -> None:
    ours, theirs = twins(kind, 16, 8)
    for x in (
        torch.randn(5, 6, 32)[..., ::2],
        torch.randn(6, 5, 16).transpose(0, 1),
        torch.randn(16, 5, 6).permute(1, 2, 0),
        torch.randn(5, 1, 16).expand(5, 6, 16),
        torch.randn(7, 9, 20)[1:6, 2:8, 3:19],
    ):
        compare(ours, theirs, x.requires_grad_(), None)
    h0 = initial(ours, 12)
    half = tuple(h.detach()[:, ::2] for h in h0) if kind == "LSTM" else h0.detach()[:, ::2]
    compare(ours, theirs, torch.randn(5, 6, 16), half)


@pytest.mark.parametrize("h", [128, 256, 300])
def test_large_layers(h: int) -> None:
    ours, theirs = twins("GRU", 24, h)
    compare(ours, theirs, torch.randn(20, 5, 24), None)


@kinds
@pytest.mark.parametrize(
    "options",
    [
        {"layer_norm": True},
        {"layer_norm": True, "bias": False, "num_layers": 2},
        {"reset_after": False, "bidirectional": True},
        {"reset_after": False, "layer_norm": True, "num_layers": 2},
        {"recurrent_dropout": 0.4, "bidirectional": True, "num_layers": 2},
        {"dropout": 0.3, "recurrent_dropout": 0.2, "num_layers": 3},
        {"dropout": 0.5, "num_layers": 2, "bidirectional": True},
    ],
    ids=str,
)
def test_options_beyond_pytorchs(kind: str, options: dict[str, Any]) -> None:
    """Beside the composition of PyTorch's operations in float64, with the engine's own masks."""
    if kind == "LSTM" and "reset_after" in options:
        pytest.skip("of GRUs alone")
    ours = getattr(ht, kind)(5, 7, **options)
    for name, p in ours.named_parameters():
        if name.startswith("norm"):
            nn.init.uniform_(p, 0.5, 1.5)
    x, hx = torch.randn(6, 4, 5), initial(ours, 4)
    result = ours(x.requires_grad_(), hx)
    assert on_engine(result)
    drawn = again.drawn_masks(parts(result)[0].grad_fn.call, [4] * 6)
    got = [*parts(result), *torch.autograd.grad(weighed(result), [x, *ours.parameters()])]

    def composed(dtype: Any) -> list[Any]:
        module = copy.deepcopy(ours).to(dtype)
        leaf = x.detach().to(dtype).requires_grad_()
        rows, last = reference.run(
            cell(module),
            leaf.flatten(0, 1),
            [4] * 6,
            tuple(part.detach().to(dtype) for part in parts(hx)),
            layer_weights(module),
            bidirectional=module.bidirectional,
            masks=reference.Masks(*([m.to(dtype) for m in masks] for masks in drawn)),
        )
        found = [rows.unflatten(0, (6, 4)), *last]
        return [*found, *torch.autograd.grad(weighed(found), [leaf, *module.parameters()])]

    # Normalisation of gates that hardly differ makes any rounding larger, PyTorch's too.
    rough = composed(torch.float32) if ours.layer_norm else got
    for k, (one, plain, want) in enumerate(zip(got, rough, composed(torch.float64), strict=True)):
        results = k < len(parts(result))
        allowed = (
            tolerances.FORWARD_UP_TO_256 if results else tolerances.GRADIENT * want.abs().max()
        )
        if ours.layer_norm:
            allowed += tolerances.FORWARD_ERROR_RATIO * (plain - want).abs().max()
        assert (one - want).abs().max() <= allowed


def test_dropout_follows_the_seed_and_the_mode() -> None:
    gru = ht.GRU(3, 8, num_layers=2, dropout=0.5, recurrent_dropout=0.5)
    x = torch.randn(4, 2, 3)
    runs = []
    for number in (1, 1, 2):
        torch.manual_seed(number)
        runs.append(gru(x)[0])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    gru.eval()
    plain = nn.GRU(3, 8, num_layers=2).eval()
    plain.load_state_dict(gru.state_dict())
    before = torch.get_rng_state()
    assert (gru(x)[0] - plain(x)[0]).abs().max() <= tolerances.FORWARD_UP_TO_256
    assert torch.equal(before, torch.get_rng_state())


# -- the life of a pass ----------------------------------------------------------------------------


@kinds
def test_many_passes_wait_for_one_backward(kind: str) -> None:
    """A decoder, step by step, and a module that is used twice."""
    ours, theirs = twins(kind, 4, 10)

    def steps(module: Any, dtype: Any) -> list[Any]:
        torch.manual_seed(1)
        state, total = None, 0.0
        for x in torch.randn(12, 3, 4).to(dtype):
            y, state = module(x[None], state)
            total = total + weighed(y)
        total = total + weighed(module(torch.randn(5, 2, 4).to(dtype))[0])
        module.zero_grad()
        total.backward()
        return [p.grad for p in module.parameters()]

    for got, want in zip(steps(ours, torch.float32), steps(theirs, torch.float64), strict=True):
        assert (got - want).abs().max() <= tolerances.GRADIENT * want.abs().max()


@kinds
def test_a_kept_graph_gives_the_same_again(kind: str) -> None:
    gru = getattr(ht, kind)(3, 9, num_layers=2, bidirectional=True, dropout=0.4)
    x = torch.randn(5, 4, 3, requires_grad=True)
    loss = weighed(gru(x))
    leaves = [x, *gru.parameters()]
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    weighed(gru(torch.randn(7, 4, 3))).backward()  # in a workspace of its own
    again = torch.autograd.grad(loss, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, leaves)


def test_changed_tensors_are_noticed() -> None:
    gru = ht.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    loss = weighed(gru(x))
    with torch.no_grad():
        gru.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_weights_are_read_anew_however_they_changed() -> None:
    gru, plain = ht.GRU(3, 4), nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)

    def agree() -> bool:
        plain.load_state_dict(gru.state_dict())
        with torch.no_grad():
            return bool((gru(x)[0] - plain(x)[0]).abs().max() <= tolerances.FORWARD_UP_TO_256)

    assert agree()
    gru.weight_hh_l0.data.mul_(-1)  # no version counter moves
    assert agree()
    gru.bias_ih_l0.detach().numpy()[:] = 0.5
    assert agree()
    gru.weight_ih_l0.data = torch.randn(12, 3)
    assert agree()
    gru.weight_ih_l0 = nn.Parameter(torch.randn(12, 3))
    assert agree()


def test_only_what_is_asked_for() -> None:
    ours, theirs = twins("GRU", 3, 5, num_layers=3)
    x = torch.randn(4, 2, 3, requires_grad=True)
    for frozen in (["weight_ih_l0", "bias_hh_l1"], [n for n, _ in ours.named_parameters()]):
        for module in (ours, theirs):
            for name, p in module.named_parameters():
                p.requires_grad_(name not in frozen)
        compare(ours, theirs, x, None)
        if len(frozen) == 2:
            compare(ours, theirs, x.detach(), None)
    assert not ours(x.detach())[0].requires_grad


def test_only_the_last_state_is_used() -> None:
    ours, theirs = twins("LSTM", 3, 5, num_layers=2)
    x = torch.randn(4, 2, 3)
    for part in (0, 1):
        ours.zero_grad()
        theirs.zero_grad()
        weighed(ours(x)[1][part]).backward()
        weighed(theirs(x.double())[1][part]).backward()
        for got, want in zip(ours.parameters(), theirs.parameters(), strict=True):
            difference = (got.grad - want.grad).abs().max()
            assert difference <= tolerances.GRADIENT * want.grad.abs().max()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool) -> None:
    gru = ht.GRU(3, 5, num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 3, requires_grad=True)
    torch.manual_seed(4)
    want = torch.autograd.grad(weighed(gru(x)[0]), [x])[0]
    torch.manual_seed(4)
    weighed(checkpoint(gru, x, use_reentrant=reentrant)[0]).backward()
    assert torch.equal(x.grad, want)


@pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning")  # said once, of PyTorch's way
def test_gradients_of_gradients_have_the_same_masks() -> None:
    gru = ht.GRU(3, 4, num_layers=2, dropout=0.5, recurrent_dropout=0.3, bidirectional=True)
    x = pack_sequence([torch.randn(t, 3) for t in (2, 5, 3)], enforce_sorted=False)
    leaf = x.data.clone().requires_grad_()
    loss = weighed(gru(PackedSequence(leaf, *x[1:])))
    plain = torch.autograd.grad(loss, [leaf, *gru.parameters()], retain_graph=True)
    twice = torch.autograd.grad(loss, [leaf, *gru.parameters()], create_graph=True)
    for a, b in zip(plain, twice, strict=True):
        assert (a - b).abs().max() <= tolerances.GRADIENT * a.abs().max()
    torch.autograd.grad(sum(g.square().sum() for g in twice), leaf)


def test_hooks_and_outputs_changed_in_place() -> None:
    gru = ht.GRU(3, 4, batch_first=True)
    seen: list[str] = []
    gru.register_forward_hook(lambda *_: seen.append("module"))
    gru.weight_hh_l0.register_hook(lambda g: seen.append("weight") or g * 2)
    x = torch.randn(2, 5, 3, requires_grad=True)
    y, _ = gru(x)
    y.register_hook(lambda g: seen.append("output"))
    y.mul_(0.5)
    weighed(y).backward()
    assert seen == ["module", "output", "weight"]
    assert y.stride() == nn.GRU(3, 4, batch_first=True)(x)[0].stride()


# -- the life of a module --------------------------------------------------------------------------


def test_copies_and_files_leave_the_engine_behind() -> None:
    gru = ht.GRU(3, 4, reset_after=False)
    x = torch.randn(5, 2, 3)
    want = gru(x)[0]
    for twin in (copy.deepcopy(gru), pickle.loads(pickle.dumps(gru)), copy.copy(gru)):
        assert torch.equal(twin(x)[0], want)
    gru.load_state_dict(ht.GRU(3, 4, reset_after=False).state_dict())
    assert not torch.equal(gru(x)[0], want)


def test_options_changed_later_count() -> None:
    gru = ht.GRU(3, 4, num_layers=2, dropout=0.5)
    x = torch.randn(5, 2, 3)
    gru(x)
    gru.dropout = 0.0
    assert torch.equal(gru(x)[0], gru(x)[0])


def test_threads_do_not_change_results() -> None:
    gru = ht.GRU(20, 40, num_layers=2)
    x = torch.randn(30, 16, 20)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            gru.zero_grad()
            y, _ = gru(x)
            weighed(y).backward()
            found.append([y.detach(), *(p.grad for p in gru.parameters())])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_several_threads_use_one_module() -> None:
    gru = ht.GRU(8, 16, num_layers=2)
    xs = [torch.randn(10, 4, 8) for _ in range(6)]
    want = [torch.autograd.grad(weighed(gru(x)), list(gru.parameters())) for x in xs]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(20):
            got = torch.autograd.grad(weighed(gru(xs[k])), list(gru.parameters()))
            if not all(torch.equal(a, b) for a, b in zip(got, want[k], strict=True)):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_results_outlive_their_module() -> None:
    gru = ht.GRU(3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    y, _ = gru(x)
    del gru
    gc.collect()
    weighed(y).backward()
    assert x.grad.abs().sum() > 0


def test_loss_curves_agree() -> None:
    def losses(module: Any) -> list[float]:
        torch.manual_seed(2)
        head = nn.Linear(16, 1)
        optimizer = torch.optim.Adam([*module.parameters(), *head.parameters()], 1e-3, fused=True)
        x, y = torch.randn(20, 4, 2), torch.randn(20, 4, 1)
        found = []
        for _ in range(200):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(head(module(x)[0]), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    ours = ht.GRU(2, 16)
    theirs = nn.GRU(2, 16)
    theirs.load_state_dict(ours.state_dict())
    pairs = zip(losses(ours), losses(theirs), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= tolerances.LOSS_CURVE
