"""``headgate.torch`` through what PyTorch's own tests ask of ``nn.GRU`` and ``nn.LSTM``.

Inputs come from the module database in ``torch.testing._internal.common_modules``; for each of them
this does what PyTorch's ``test_modules.py`` does, and beside it what its ``test_nn.py`` does with
recurrent modules. ``torch.nn``'s module stands beside ours throughout.
"""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, which is not installed")
pytest.importorskip("expecttest", reason="needs expecttest, as PyTorch's own tests do")

from torch import nn  # noqa: E402
from torch.nn.utils import rnn  # noqa: E402

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from torch_pairs import (  # noqa: E402
    assert_runs_alike,
    assert_same,
    batch,
    pair,
    state_of,
    tensors,
)

import headgate as hg  # noqa: E402
import headgate.torch as ht  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    arguments = sys.argv
    sys.argv = sys.argv[:1]  # it reads the command line
    from torch.testing._internal.common_modules import ModuleErrorEnum, module_db
    from torch.testing._internal.common_utils import noncontiguous_like

    sys.argv = arguments

pytestmark = [
    pytest.mark.neighbours,
    pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
]

INFOS = {
    info.module_cls.__name__: info for info in module_db if info.module_cls in (nn.GRU, nn.LSTM)
}
kinds = pytest.mark.parametrize("kind", ["GRU", "LSTM"])
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def samples(kind: str, dtype: Any, requires_grad: bool = False, training: bool = True) -> Any:
    """(theirs, ours, arguments, reference) for every input of the database."""
    info = INFOS[kind]
    torch.manual_seed(1)
    options = {"with_packed_sequence": True} if kind == "GRU" else {}
    inputs = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=requires_grad, training=training, **options
    )
    assert len(inputs) >= 16
    for sample in inputs:
        made = sample.constructor_input
        theirs, ours = pair(kind, *made.args, dtype=dtype, **made.kwargs)
        for module in (theirs, ours):
            module.train(training)
        yield theirs, ours, sample.forward_input.args, sample.reference_fn


# -- test_modules.py -------------------------------------------------------------------------------


@kinds
@types
@pytest.mark.parametrize("training", [True, False])
def test_forward(kind: str, dtype: Any, training: bool) -> None:
    for theirs, ours, given, reference in samples(kind, dtype, training=training):
        got = ours(*given)
        assert_same(got, theirs(*given))
        if not isinstance(given[0], rnn.PackedSequence):
            assert_same(got, reference(ours, *given))


@kinds
@types
def test_gradients(kind: str, dtype: Any) -> None:
    def run(module: Any, *given: Any) -> Any:
        results = module(*given)
        loss = sum((k + 1) * t.square().sum() for k, t in enumerate(tensors(results)[:2]))
        leaves = [t for t in tensors(given) if t.is_floating_point() and t.is_leaf]
        return torch.autograd.grad(loss, [*module.parameters(), *leaves], allow_unused=True)

    for theirs, ours, given, _ in samples(kind, dtype, requires_grad=True):
        assert_same(run(ours, *given), run(theirs, *given))


@kinds
def test_gradcheck_and_gradgradcheck(kind: str) -> None:
    for _, ours, given, _ in itertools.islice(samples(kind, torch.float64, True), 4, 20, 7):
        if isinstance(given[0], rnn.PackedSequence):
            continue
        leaves = [*tensors(given), *ours.parameters()]

        def run(*leaves: Any, module: Any = ours, given: Any = given) -> Any:
            x, *state = leaves[: len(tensors(given))]
            hx = (tuple(state) if kind == "LSTM" else state[0]) if state else None
            names = [name for name, _ in module.named_parameters()]
            weights = dict(zip(names, leaves[len(tensors(given)) :], strict=True))
            return tuple(tensors(torch.func.functional_call(module, weights, (x, hx))))

        assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@kinds
@types
def test_tensors_that_are_not_contiguous(kind: str, dtype: Any) -> None:
    def scattered(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return noncontiguous_like(value)
        return tuple(map(scattered, value)) if type(value) is tuple else value

    for theirs, ours, given, _ in samples(kind, dtype, requires_grad=True):
        for name, parameter in list(ours.named_parameters()):
            setattr(ours, name, nn.Parameter(noncontiguous_like(parameter.detach())))
        results = ours(*map(scattered, given))
        assert_same(results, theirs(*given))
        results[0][0].sum().backward()
        theirs(*given)[0][0].sum().backward()
        assert_same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


@kinds
def test_words_and_files(kind: str) -> None:
    """repr, state_dict strictly both ways, torch.save with and without weights_only, copies."""
    for theirs, ours, given, _ in samples(kind, torch.float32):
        assert repr(ours) == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        theirs.load_state_dict(ours.state_dict(), strict=True)
        want = ours(*given)
        file = io.BytesIO()
        torch.save(ours.state_dict(), file)
        file.seek(0)
        loaded = type(ours)(
            ours.input_size,
            ours.hidden_size,
            ours.num_layers,
            ours.bias,
            ours.batch_first,
            bidirectional=ours.bidirectional,
            **({"proj_size": ours.proj_size} if ours.proj_size else {}),
        )
        loaded.load_state_dict(torch.load(file, weights_only=True), strict=True)
        file = io.BytesIO()
        torch.save(ours, file)
        file.seek(0)
        saved = torch.load(file, weights_only=False)
        for other in (loaded, saved, pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
            assert type(other) is type(ours)
            assert_same(other(*given), want)


@kinds
def test_a_whole_module_loads_with_weights_only_where_its_classes_are_named(kind: str) -> None:
    module = getattr(ht, kind)(2, 3)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    with torch.serialization.safe_globals([type(module), set]):
        loaded = torch.load(file, weights_only=True)
    assert_same(loaded(batch(4, 2)), module(batch(4, 2)))


@kinds
def test_devices_and_types_given_to_the_constructor(kind: str) -> None:
    for device, dtype in (("meta", torch.float32), ("cpu", torch.float64)):
        module = getattr(ht, kind)(2, 3, 2, device=device, dtype=dtype)
        assert {(p.device.type, p.dtype) for p in module.parameters()} == {(device, dtype)}
    with torch.device("meta"):
        assert getattr(ht, kind)(2, 3).weight_ih_l0.is_meta


@kinds
@pytest.mark.parametrize("options", [{}, {"layer_norm": True}], ids=str)
def test_from_meta_to_empty(kind: str, options: dict[str, Any]) -> None:
    module = getattr(ht, kind)(2, 3, device="meta", **options).to_empty(device="cpu")
    fresh = getattr(ht, kind)(2, 3, **options)
    module.load_state_dict(fresh.state_dict())
    assert_same(module(batch(4, 2)), fresh(batch(4, 2)))
    meta = getattr(ht, kind)(2, 3, device="meta", **options)
    meta.load_state_dict(fresh.state_dict(), assign=True)
    assert_same(meta(batch(4, 2)), fresh(batch(4, 2)))


@kinds
@pytest.mark.parametrize("way", ["overwrite", "swap", "data"])
def test_conversions(kind: str, way: str) -> None:
    """``to`` in all the ways in which PyTorch may put other numbers into a parameter."""
    theirs, ours = pair(kind)
    future = torch.__future__
    before = (
        future.get_overwrite_module_params_on_conversion(),
        future.get_swap_module_params_on_conversion(),
    )
    future.set_overwrite_module_params_on_conversion(way == "overwrite")
    future.set_swap_module_params_on_conversion(way == "swap")
    try:
        want = ours(batch())[0].detach()
        ours.double()
        assert_same(ours(batch().double()), theirs.double()(batch().double()))
        ours.float()
        assert_same(ours(batch())[0], want)
    finally:
        future.set_overwrite_module_params_on_conversion(before[0])
        future.set_swap_module_params_on_conversion(before[1])


@kinds
def test_errors(kind: str) -> None:
    info = INFOS[kind]
    errors = info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=True
    )
    for error in errors:
        made = error.module_error_input.constructor_input
        if error.error_on is ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(error.error_type, match=error.error_regex):
                getattr(ht, kind)(*made.args, **made.kwargs)
        else:
            module = getattr(ht, kind)(*made.args, **made.kwargs)
            given = error.module_error_input.forward_input
            with pytest.raises(error.error_type, match=error.error_regex):
                module(*given.args, **given.kwargs)


# -- test_nn.py: sequences of unequal length ------------------------------------------------------


@kinds
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_are_their_sequences_one_by_one(kind: str, bidirectional: bool) -> None:
    lengths = [2, 5, 1, 5]
    x = batch(5, 4, 4).requires_grad_()
    _, ours = pair(kind, 4, 6, 2, bidirectional=bidirectional)
    packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, last = ours(packed)
    padded, counts = rnn.pad_packed_sequence(output)
    assert counts.tolist() == lengths
    (padded.sin().sum() + sum(t.cos().sum() for t in tensors(last))).backward()
    got, weights = x.grad, [p.grad.clone() for p in ours.parameters()]
    ours.zero_grad()
    y = x.detach().clone().requires_grad_()
    for k, length in enumerate(lengths):
        alone, final = ours(y[:length, k])
        assert_same(padded[:length, k], alone)
        assert not padded[length:, k].any()
        assert_same([part[:, k] for part in tensors(last)], tensors(final))
        (alone.sin().sum() + sum(t.cos().sum() for t in tensors(final))).backward()
    assert_same(got, y.grad)
    assert_same(weights, [p.grad for p in ours.parameters()])


@kinds
def test_packed_sequences_of_every_making(kind: str) -> None:
    modules = pair(kind, 4, 6, 2, bidirectional=True)
    sequences = [batch(t, 4, seed=t) for t in (2, 5, 1)]
    for packed in (
        rnn.pack_sequence(sequences, enforce_sorted=False),
        rnn.pack_sequence(sorted(sequences, key=len, reverse=True)),
        rnn.pack_padded_sequence(batch(3, 5, 4), torch.tensor([5, 4, 2]), batch_first=True),
        rnn.pack_padded_sequence(batch(), [5, 5, 5]),
        rnn.pack_sequence([batch(3, 4)]),
    ):
        for hx in (None, state_of(modules[0], int(packed.batch_sizes[0]))):
            assert_runs_alike(lambda m, x=packed, h=hx: m(x, h), modules)


# -- test_nn.py: states, options, layouts ----------------------------------------------------------

OPTIONS = [
    {"num_layers": layers, "bias": bias, "batch_first": first, "bidirectional": both}
    for layers, bias, first, both in itertools.product((1, 3), *[(False, True)] * 3)
]


@kinds
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_every_option_with_and_without_state(kind: str, options: dict[str, Any]) -> None:
    modules = pair(kind, 4, 6, **options)

    def run(module: Any) -> Any:
        module.zero_grad()
        x = (batch(3, 5, 4) if module.batch_first else batch(5, 3, 4)).requires_grad_()
        results = [module(x), module(x, state_of(module, 3)), module(x[0], state_of(module))]
        sum(t.sin().sum() for t in tensors(results)).backward()
        return results, x.grad, [p.grad for p in module.parameters()]

    assert_runs_alike(run, modules)
    output, last = modules[1](batch(3, 3, 4))
    zeros = tuple(torch.zeros_like(part) for part in tensors(last))
    again = modules[1](batch(3, 3, 4), zeros if kind == "LSTM" else zeros[0])
    assert_same(again, (output, last))


@kinds
def test_views_expanded_and_transposed_arguments(kind: str) -> None:
    modules = pair(kind, batch_first=True)
    state = tensors(state_of(modules[0], 3))
    parts = tuple(part.transpose(0, 1).contiguous().transpose(0, 1) for part in state)
    one = tuple(part[:, :1].expand(-1, 3, -1) for part in state)
    for x in (
        batch(5, 3, 4).transpose(0, 1),
        batch(3, 10, 4)[:, ::2],
        batch(3, 5, 8)[..., ::2],
        batch(1, 5, 4).expand(3, -1, -1),
        batch(3, 1, 4).expand(-1, 5, -1),
        batch(3, 5, 1).expand(-1, -1, 4),
        batch(4, 5, 3).permute(2, 1, 0),
        batch(6, 6, 5)[1:4, 1:, 1:],
        nn.Parameter(batch(3, 5, 4)),
    ):
        for hx in (parts, one):
            given = hx if kind == "LSTM" else hx[0]

            def run(module: Any, x: Any = x, given: Any = given) -> Any:
                leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
                results = module(leaf, given), module(x, given)
                results[0][0].square().sum().backward()
                return results, leaf.grad

            assert_runs_alike(run, modules)


@kinds
def test_results_are_laid_out_at_least_as_well(kind: str) -> None:
    """What may be viewed flat behind ``torch.nn`` may be viewed flat behind ours."""
    for options, given in (
        ({}, batch()),
        ({"batch_first": True}, batch()),
        ({"bidirectional": True, "num_layers": 2}, batch()),
        ({}, batch(5, 4)),
        ({}, rnn.pack_padded_sequence(batch(), [5, 3, 1])),
    ):
        theirs, ours = pair(kind, 4, 6, **options)
        for a, b in zip(tensors(ours(given)), tensors(theirs(given)), strict=True):
            assert a.is_contiguous() or not b.is_contiguous()
            assert (a.requires_grad, a.is_leaf) == (b.requires_grad, b.is_leaf)


# -- test_nn.py: dropout ---------------------------------------------------------------------------


@kinds
def test_dropout_between_layers(kind: str) -> None:
    """Each value of the first layer is dropped or doubled; a module of one layer has none."""
    _, module = pair(kind, 4, 6, 2, dropout=0.5)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.zero_()
            if name == "weight_ih_l0":
                parameter.fill_(1.0)
            if name == "weight_ih_l1":
                parameter[-6:] = torch.eye(6)  # the GRU's candidate
    if kind == "LSTM":
        with torch.no_grad():
            module.weight_ih_l1.zero_()
            module.weight_ih_l1[12:18] = torch.eye(6)
    x = torch.ones(1, 50, 4)
    whole = module.eval()(x)[0]
    module.train()
    seen = [module(x)[0] for _ in range(2)]
    assert not torch.equal(*seen)
    kept = seen[0][seen[0] != 0]
    assert 0.3 < (seen[0] == 0).float().mean() < 0.7
    assert torch.allclose(kept, kept[0])
    assert kept[0] > whole[0, 0, 0] * 1.2


@kinds
@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}], ids=str)
def test_the_seed_decides_dropout(kind: str, options: dict[str, Any]) -> None:
    module = getattr(ht, kind)(4, 6, 2, **options)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append([module(batch())[0], module(batch())[0]])
    assert_same(results[0], results[1])
    assert not torch.equal(results[0][0], results[0][1])
    assert not torch.equal(results[0][0], results[2][0])
    module.eval()
    assert torch.equal(module(batch())[0], module(batch())[0])


@kinds
def test_dropout_of_everything_and_of_nothing(kind: str) -> None:
    for rate in (0.0, 1.0):
        assert_runs_alike(lambda m: m(batch()), pair(kind, 4, 6, 2, dropout=rate))


def test_one_layer_cannot_drop_between() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last") as told:
        ht.GRU(4, 6, dropout=0.5)
    assert [w.category for w in told] == [UserWarning]


# -- test_nn.py: parameters ------------------------------------------------------------------------


@kinds
def test_parameters_may_be_changed_in_any_way(kind: str) -> None:
    """Whatever holds the numbers, the next call reads them."""
    theirs, ours = pair(kind)

    def fill(p: Any) -> None:
        with torch.no_grad():
            p.mul_(0.5)

    def numpy(p: Any) -> None:
        p.detach().numpy()[...] *= 0.5

    def data(p: Any) -> None:
        p.data = p.data * 0.5

    changes = [fill, numpy, data, lambda p: p.data.mul_(0.5)]
    for change in changes:
        for module in (theirs, ours):
            change(module.weight_hh_l0)
            change(module.bias_ih_l0)
        assert_same(ours(batch()), theirs(batch()))
    for module in (theirs, ours):
        module.weight_hh_l0 = nn.Parameter(module.weight_hh_l0.detach() * 3)
        del module.bias_hh_l0
        module.bias_hh_l0 = nn.Parameter(torch.ones_like(module.bias_ih_l0))
        module.weight_ih_l0 = nn.Parameter(module.weight_ih_l0.detach().t().contiguous().t())
    assert_same(ours(batch()), theirs(batch()))
    assert ht.explain(ours)[0].reason == "a weight is not contiguous"
    ours.weight_ih_l0 = nn.Parameter(ours.weight_ih_l0.detach().contiguous())
    assert_same(ours(batch()), theirs(batch()))
    assert ht.explain(ours)[0].reason == ""


@kinds
def test_weights_that_are_missing_for_a_while(kind: str) -> None:
    modules = pair(kind)
    before = modules[1](batch())
    kept = [(m, m.weight_hh_l0) for m in modules]
    for module in modules:
        del module.weight_hh_l0
        module.flatten_parameters()
    assert_runs_alike(lambda m: m(batch()), modules)
    for module, weight in kept:
        module.weight_hh_l0 = weight
    assert_same(modules[1](batch()), before)


@kinds
def test_shared_weights(kind: str) -> None:
    """One parameter in two places, of one module and of two, gets the sum of the gradients."""
    modules = pair(kind, 6, 6, 2, bidirectional=False)
    for module in modules:
        module.weight_hh_l1 = module.weight_hh_l0
        module.weight_ih_l1 = module.weight_ih_l0
        module.bias_hh_l0 = module.bias_ih_l0

    def run(module: Any) -> Any:
        module.zero_grad()
        first, _ = module(batch(5, 3, 6))
        module(first)[0].sin().sum().backward()
        return first, [p.grad for p in module.parameters()]

    assert len(list(modules[1].parameters())) == len(list(modules[0].parameters())) == 5
    assert_runs_alike(run, modules)


@kinds
def test_parts_without_gradients(kind: str) -> None:
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l1", None]
    for frozen, of_input, of_state in itertools.product(names, (False, True), (False, True)):
        modules = pair(kind, 4, 6, 2)

        def run(
            module: Any, frozen: Any = frozen, of_input: bool = of_input, of_state: bool = of_state
        ) -> Any:
            module.requires_grad_(frozen is not None)
            if frozen:
                getattr(module, frozen).requires_grad_(False)
            x = batch().requires_grad_(of_input)
            state = [part.requires_grad_(of_state) for part in tensors(state_of(module, 3))]
            output, _ = module(x, tuple(state) if kind == "LSTM" else state[0])
            if output.requires_grad:
                output.sin().sum().backward()
            grads = [x.grad, *(part.grad for part in state), *(p.grad for p in module.parameters())]
            given = torch.tensor([g is not None for g in grads])
            return output, given, [g for g in grads if g is not None]

        assert_runs_alike(run, modules)


def test_flatten_parameters_keeps_the_results() -> None:
    for module in (
        ht.GRU(4, 6, 2),
        ht.GRU(4, 6, reset_after=False),
        ht.LSTM(4, 6, layer_norm=True),
    ):
        before = module(batch())
        module.flatten_parameters()
        assert_same(module(batch()), before)


def test_headgates_options_stay_with_a_copy() -> None:
    module = ht.GRU(4, 6, reset_after=False, layer_norm=True, recurrent_dropout=0.5)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(other) == repr(module)
        assert_same(other.eval()(batch()), module.eval()(batch()))
        module.train()
    with pytest.raises(RuntimeError, match="size mismatch for bias_hh_l0"):
        module.load_state_dict(nn.GRU(4, 6).state_dict(), strict=False)


def test_options_out_of_range() -> None:
    with pytest.raises(hg.InputError, match="recurrent_dropout must be at least 0 and below 1"):
        ht.GRU(4, 6, recurrent_dropout=1.0)
    with pytest.raises(hg.InputError, match="layer_norm and proj_size"):
        ht.LSTM(4, 6, proj_size=2, layer_norm=True)
