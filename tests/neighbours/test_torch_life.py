"""``headgate.torch``'s modules in the hands of PyTorch's users: autograd, optimisers, threads.

Each test runs ``torch.nn``'s module and ours through the same code and compares what comes out.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, which is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import rnn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from torch_pairs import (  # noqa: E402
    Run,
    assert_runs_alike,
    assert_same,
    batch,
    outcome,
    pair,
    state_of,
    tensors,
)

import headgate as hg  # noqa: E402
import headgate.torch as ht  # noqa: E402

pytestmark = [
    pytest.mark.neighbours,
    pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning"),
    pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning"),
]

kinds = pytest.mark.parametrize("kind", ["GRU", "LSTM"])


def grads(module: Any) -> list[Any]:
    """The gradients so far."""
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def assert_may_be_written_over(run: Run, modules: tuple[Any, Any]) -> None:
    """oneDNN's LSTM, which ``nn.LSTM`` runs, reads its results again and so refuses; ours may."""
    if isinstance(outcome(run, modules[0]), RuntimeError):
        assert isinstance(modules[0], nn.LSTM)
        if isinstance(outcome(run, modules[1]), RuntimeError):
            return
    with torch.backends.mkldnn.flags(enabled=False):
        assert_runs_alike(run, modules)


# -- autograd --------------------------------------------------------------------------------------


@kinds
def test_results_belong_to_the_caller(kind: str) -> None:
    """They may be written over, and neither a later call nor the other result sees or does it."""

    def run(module: Any) -> Any:
        module.zero_grad()
        x = batch().requires_grad_()
        output, last = module(x)
        kept = [t.detach().clone() for t in tensors(last)]
        output *= batch(5, 3, 6)
        output[0] = 0
        assert_same([t.detach() for t in tensors(last)], kept)
        other, _ = module(batch(7, 4, 4))
        for part in tensors(module(x)[1]):
            part.mul_(2)
        (output.sin().sum() + tensors(last)[0].sum() + other.sum()).backward()
        return output, last, x.grad, grads(module)

    assert_may_be_written_over(run, pair(kind, 4, 6, 2))


@kinds
def test_relu_and_dropout_in_place_behind_the_module(kind: str) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        output = torch.relu_(module(batch())[0])
        state = module(batch())[1]
        torch.relu_(tensors(state)[0])
        (output.square().sum() + tensors(state)[0].sum()).backward()
        return output, grads(module)

    for options in ({}, {"batch_first": True}, {"bidirectional": True, "num_layers": 2}):
        assert_may_be_written_over(run, pair(kind, 4, 6, **options))


@kinds
def test_several_calls_wait_for_their_backward_passes(kind: str) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        shapes = [(5, 3, 4), (2, 7, 4), (5, 3, 4), (9, 1, 4)]
        xs = [batch(*shape, seed=k).requires_grad_() for k, shape in enumerate(shapes)]
        losses = [module(x)[0].sin().sum() for x in xs]
        with torch.no_grad():
            module(batch(30, 9, 4))
        module.eval()
        for k in (2, 0, 3, 1):
            losses[k].backward()
        module.train()
        return [x.grad for x in xs], grads(module)

    assert_runs_alike(run, pair(kind, 4, 6, 2, bidirectional=True))


@kinds
@pytest.mark.parametrize("which", range(3))
def test_a_loss_of_one_result_alone(kind: str, which: int) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        x = batch().requires_grad_()
        state = [t.requires_grad_() for t in tensors(state_of(module, 3))]
        results = tensors(module(x, tuple(state) if kind == "LSTM" else state[0]))
        results[min(which, len(results) - 1)].square().sum().backward()
        return x.grad, [t.grad for t in state], grads(module)

    assert_runs_alike(run, pair(kind, 4, 6, 2))


@kinds
def test_backward_again(kind: str) -> None:
    """Twice with retain_graph, adding up; without it an error, as everywhere."""

    def twice(module: Any) -> Any:
        module.zero_grad()
        loss = module(batch())[0].sin().sum()
        loss.backward(retain_graph=True)
        loss.backward()
        return grads(module)

    def too_often(module: Any) -> Any:
        loss = module(batch())[0].sin().sum()
        loss.backward()
        loss.backward()

    modules = pair(kind)
    assert_runs_alike(twice, modules)
    assert_runs_alike(too_often, modules, raises=True)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        too_often(modules[1])


@kinds
def test_weights_changed_before_the_backward_pass(kind: str) -> None:
    """The gradient would be wrong, so autograd refuses; new gradients of the input likewise."""

    def run(module: Any) -> Any:
        output, _ = module(batch())
        with torch.no_grad():
            module.weight_hh_l0.mul_(2)
        output.sum().backward()

    modules = pair(kind)
    assert_runs_alike(run, modules, raises=True)
    modules = pair(kind)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run(modules[1])


@kinds
def test_autograd_grad_of_some(kind: str) -> None:
    def run(module: Any) -> Any:
        x, elsewhere = batch().requires_grad_(), torch.ones(2, requires_grad=True)
        output, _ = module(x)
        loss = output.sin().sum()
        wanted = [x, elsewhere, module.weight_hh_l0]
        some = torch.autograd.grad(loss, wanted, allow_unused=True, retain_graph=True)
        assert some[1] is None
        vectors = torch.stack([torch.ones_like(output), output.detach()])
        many = torch.autograd.grad(output, x, vectors, is_grads_batched=True)
        return some, many

    with torch.backends.mkldnn.flags(enabled=False):  # nn.LSTM on oneDNN takes no batched ones
        assert_runs_alike(run, pair(kind))


@kinds
def test_modes_of_gradients(kind: str) -> None:
    def run(module: Any) -> Any:
        x = batch().requires_grad_()
        results = []
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with mode():
                results.append(module(x))
        with torch.set_grad_enabled(False):
            results.append(module(x))
        with torch.inference_mode():
            given = batch()
        results.append(outcome(lambda m: m(given), module))
        flags = [(t.requires_grad, t.is_inference()) for t in tensors(results[:4])]
        detached = [t.detach() for t in tensors(results[:4])]
        return torch.tensor(flags), [t.clone() for t in detached]

    assert_runs_alike(run, pair(kind))


@kinds
def test_frozen_weights_pass_gradients_on(kind: str) -> None:
    def run(module: Any) -> Any:
        module.requires_grad_(False)
        x = batch().requires_grad_()
        module(x)[0].sin().sum().backward()
        return x.grad, module(batch())[0].requires_grad and torch.ones(1)

    theirs, ours = pair(kind)
    got, want = run(ours), run(theirs)
    assert got[1] is want[1] is False
    assert_same(got[0], want[0])


@kinds
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(kind: str, reentrant: bool) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        x = batch().requires_grad_()
        output, last = checkpoint(module, x, use_reentrant=reentrant)
        (output.sin().sum() + tensors(last)[-1].sum()).backward()
        return output, x.grad, grads(module)

    assert_runs_alike(run, pair(kind, 4, 6, 2))


@kinds
def test_checkpointing_repeats_the_dropout(kind: str) -> None:
    module = getattr(ht, kind)(4, 6, 2, dropout=0.5)
    results = []
    for saved in (False, True):
        module.zero_grad()
        torch.manual_seed(3)
        if saved:
            output, _ = checkpoint(module, batch(), use_reentrant=False)
        else:
            output, _ = module(batch())
        torch.manual_seed(4)  # what the backward pass must not depend on
        output.sin().sum().backward()
        results.append((output, grads(module)))
    assert_same(results[0], results[1])


@kinds
def test_hooks_of_saved_tensors_and_anomaly_detection(kind: str) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().copy(), torch.tensor)
        with hooks, torch.autograd.set_detect_anomaly(True):
            output = module(batch().requires_grad_())[0]
            output.sin().sum().backward()
        return output, grads(module)

    def detached(module: Any) -> Any:
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t)
        module.zero_grad()
        with hooks:
            output = module(batch().requires_grad_())[0]
        output.sin().sum().backward()
        return output, grads(module)

    theirs, ours = pair(kind)
    if not isinstance(outcome(run, theirs), Exception):
        assert_runs_alike(run, (theirs, ours))
    assert_runs_alike(detached, (theirs, ours))


@kinds
def test_hooks(kind: str) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        heard: list[Any] = []
        handles = [
            module.register_forward_pre_hook(lambda m, args: (args[0] * 2, *args[1:])),
            module.register_forward_hook(lambda m, args, result: (result[0] + 1, result[1])),
            module.register_full_backward_hook(lambda m, given, out: heard.extend(given)),
            module.weight_hh_l0.register_hook(lambda grad: grad * 3),
            module.bias_ih_l0.register_post_accumulate_grad_hook(lambda p: heard.append(p.grad)),
        ]
        x = batch().requires_grad_()
        output, _ = module(x)
        output.register_hook(lambda grad: grad + 1)
        output.sin().sum().backward()
        for handle in handles:
            handle.remove()
        return output, x.grad, heard, grads(module)

    assert_runs_alike(run, pair(kind))


@kinds
def test_arguments_that_meet_elsewhere(kind: str) -> None:
    """The input is computed from the state and from a weight, h and c are one tensor."""

    def run(module: Any) -> Any:
        module.zero_grad()
        h = state_of(module, 3)
        h = (h[0] if kind == "LSTM" else h).requires_grad_()
        x = (h[:, :, :4] * 2).expand(5, -1, -1) + module.bias_ih_l0[:4]
        output, _ = module(x, (h, h) if kind == "LSTM" else h)
        output.sin().sum().backward()
        return h.grad, grads(module)

    assert_runs_alike(run, pair(kind))


@kinds
def test_nan_goes_where_it_goes_in_torch_nn(kind: str) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        x = batch()
        x[2, 1, 0] = float("nan")
        x.requires_grad_()
        output, last = module(x)
        output.nan_to_num().sum().backward()
        return output, last, x.grad

    assert_runs_alike(run, pair(kind, 4, 6, 2))


@kinds
def test_weights_in_one_flat_tensor_and_inputs_at_odd_addresses(kind: str) -> None:
    theirs, ours = pair(kind, 5, 7, 2, bidirectional=True)
    place, flat = 1, torch.cat([torch.zeros(1), *(p.detach().flatten() for p in ours.parameters())])
    for name, parameter in list(ours.named_parameters()):
        size = parameter.numel()
        setattr(ours, name, nn.Parameter(flat[place : place + size].view_as(parameter)))
        place += size
    x = batch(1 + 4 * 3 * 5)[1:].view(4, 3, 5)

    def run(module: Any) -> Any:
        leaf = x.clone().requires_grad_()
        module(leaf)[0].sin().sum().backward()
        return module(x), leaf.grad, grads(module)

    assert_runs_alike(run, (theirs, ours))
    assert ht.explain(ours)[0].reason == ""


@kinds
def test_another_default_type_changes_nothing(kind: str) -> None:
    given = batch()

    def run(module: Any) -> Any:
        x = given.clone().requires_grad_()
        output, last = module(x)
        (first,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        first.square().sum().backward()
        return output, last, first, x.grad

    modules = pair(kind)
    torch.set_default_dtype(torch.float64)
    try:
        assert_runs_alike(run, modules)
    finally:
        torch.set_default_dtype(torch.float32)


# -- training --------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, cell: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.cell, self.head = cell, nn.Linear(6, 1)

    def forward(self, x: Any) -> Any:
        return self.head(self.cell(x)[0])


@kinds
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Adam", {"fused": True}),
        ("AdamW", {"foreach": True}),
        ("Adam", {"foreach": False, "amsgrad": True}),
        ("RMSprop", {}),
        ("LBFGS", {"max_iter": 3}),
    ],
    ids=str,
)
def test_optimizers(kind: str, name: str, options: dict[str, Any]) -> None:
    def run(module: Any) -> Any:
        net = Net(copy.deepcopy(module))
        optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.01, **options)
        losses = []

        def closure() -> Any:
            optimizer.zero_grad()
            loss = net(batch()).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            losses.append(loss.detach())
            return loss

        for _ in range(5):
            optimizer.step(closure)
        return losses

    assert_runs_alike(run, pair(kind))


@kinds
def test_optimizers_inside_the_backward_pass(kind: str) -> None:
    """A step as soon as a gradient is there; gradients kept as zeros; one vector of all."""

    def run(module: Any) -> Any:
        module = copy.deepcopy(module)
        optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in module.parameters()}

        def step(p: Any) -> None:
            optimizers[p].step()
            optimizers[p].zero_grad(set_to_none=False)

        for p in module.parameters():
            p.register_post_accumulate_grad_hook(step)
        for _ in range(3):
            module(batch())[0].sin().sum().backward()
        vector = nn.utils.parameters_to_vector(module.parameters())
        nn.utils.vector_to_parameters(vector * 0.9, module.parameters())
        return vector, module(batch()), grads(module)

    assert_runs_alike(run, pair(kind))


@kinds
def test_averaged_models_and_shared_memory(kind: str) -> None:
    def run(module: Any) -> Any:
        module = copy.deepcopy(module).share_memory()
        average = torch.optim.swa_utils.AveragedModel(
            module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
        )
        for _ in range(3):
            average.update_parameters(module)
            with torch.no_grad():
                for p in module.parameters():
                    p.mul_(0.9)
        assert all(p.is_shared() for p in module.parameters())
        return average(batch()), module(batch())

    assert_runs_alike(run, pair(kind))


@kinds
def test_a_decoder_step_by_step(kind: str) -> None:
    """One call a step, the state handed on, one backward pass through all; then detached."""

    def run(module: Any) -> Any:
        module.zero_grad()
        state, x, outputs = None, batch(1, 3, 4), []
        for _ in range(6):
            output, state = module(x, state)
            outputs.append(output)
            x = output[..., :4]
        torch.cat(outputs).sin().sum().backward()
        first = grads(module)
        state = tuple(t.detach() for t in state) if kind == "LSTM" else state.detach()
        output, _ = module(batch(), state)
        output.sum().backward()
        return outputs, first, grads(module)

    assert_runs_alike(run, pair(kind))


@kinds
def test_recursion_through_a_hook(kind: str) -> None:
    """A hook that calls the module again, while its backward pass runs."""

    def run(module: Any) -> Any:
        module.zero_grad()
        x = batch().requires_grad_()
        output, _ = module(x)
        seen = []
        output.register_hook(lambda grad: seen.append(module(batch(2, 2, 4))[0].detach()))
        output.sin().sum().backward()
        return output, x.grad, seen, grads(module)

    assert_runs_alike(run, pair(kind))


# -- threads and processes -------------------------------------------------------------------------


@kinds
def test_threads_share_a_module(kind: str) -> None:
    """Forward and backward of several threads at once, each with sizes of its own."""
    _, module = pair(kind, 4, 6, 2)
    inputs = [batch(2 + k, 1 + k, 4, seed=k) for k in range(4)]

    def job(x: Any) -> Any:
        leaf = x.clone().requires_grad_()
        output, last = module(leaf)
        given = torch.autograd.grad(output.sin().sum(), [leaf, *module.parameters()])
        return output, last, given

    want = [job(x) for x in inputs]
    results: dict[tuple[int, int], Any] = {}
    start = threading.Barrier(4)

    def work(k: int) -> None:
        start.wait()
        for turn in range(15):
            results[k, turn] = outcome(job, inputs[(k + turn) % 4])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 60
    for (k, turn), got in results.items():
        assert not isinstance(got, Exception), got
        assert_same(got, want[(k + turn) % 4])


def in_child(module: Any, x: Any, answers: Any) -> None:
    output, _ = module(x)
    output.sin().sum().backward()
    answers.put((output.detach().numpy(), [g.numpy() for g in grads(module)]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@kinds
def test_a_forked_child_goes_on(kind: str) -> None:
    """As the workers of a DataLoader do, after the parent has used the module."""
    _, module = pair(kind)
    module(batch())
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=in_child, args=(module, batch(), answers))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    output, given = answers.get()
    want, _ = module(batch())
    want.sin().sum().backward()
    assert_same([torch.tensor(output), *map(torch.tensor, given)], [want.detach(), *grads(module)])


class Sequences(torch.utils.data.Dataset):
    """A data set that runs a frozen module in its worker."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __len__(self) -> int:
        return 3

    def __getitem__(self, k: int) -> Any:
        with torch.no_grad():
            return self.module(batch(seed=k))[0]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_data_loaders_carry_it_to_their_workers() -> None:
    _, module = pair("GRU")
    module(batch())
    loader = torch.utils.data.DataLoader(Sequences(module), batch_size=None, num_workers=1)
    assert_same(list(loader), [module(batch(seed=k))[0].detach() for k in range(3)])


@kinds
def test_packed_sequences_in_training(kind: str) -> None:
    def run(module: Any) -> Any:
        module.zero_grad()
        x = batch(5, 3, 4).requires_grad_()
        packed = rnn.pack_padded_sequence(x, [2, 5, 3], enforce_sorted=False)
        output, last = module(packed, state_of(module, 3))
        padded, _ = rnn.pad_packed_sequence(output)
        (padded.sin().sum() + tensors(last)[-1].sum()).backward()
        return padded, last, x.grad, grads(module)

    assert_runs_alike(run, pair(kind, 4, 6, 2, bidirectional=True))


# -- hooks of saved tensors, options -------------------------------------------------------------


@kinds
@pytest.mark.parametrize("batch_first", [False, True])
def test_saved_tensors_come_back_in_another_layout(kind: str, batch_first: bool) -> None:
    def turned(tensor: Any) -> Any:
        if tensor.dim() < 2:
            return tensor
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)

    theirs, ours = pair(kind, batch_first=batch_first)
    found = []
    for module in (theirs, ours):
        x = batch().requires_grad_()
        state = state_of(module, 5 if batch_first else 3)
        hooks = torch.autograd.graph.saved_tensors_hooks(torch.clone, turned)
        with torch.backends.mkldnn.flags(enabled=False), hooks:  # oneDNN's LSTM errs here
            y, _ = module(x, state)
        y.sin().sum().backward()
        found.append([x.grad, *(p.grad for p in module.parameters())])
    assert_same(found[1], found[0])


@kinds
def test_saved_tensors_of_another_type_are_refused(kind: str) -> None:
    _, ours = pair(kind)
    for spoilt in (torch.Tensor.double, lambda tensor: tensor[:1]):
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, spoilt):
            y, _ = ours(batch().requires_grad_())
        with pytest.raises(RuntimeError, match="must give back the input as it was"):
            y.sum().backward()


def test_options_changed_to_what_the_parameters_are_not() -> None:
    for name, value in (("layer_norm", True), ("bias", False), ("num_layers", 2)):
        _, ours = pair("GRU")
        setattr(ours, name, value)
        with pytest.raises(RuntimeError, match=r"made with 4.*make a new module"):
            ours(batch())
    _, ours = pair("GRU")
    ours.recurrent_dropout = 2.0
    with pytest.raises(ValueError, match="dropout probability"):
        ours(batch())
    for rate in ("much", None, True, float("nan")):
        with pytest.raises(hg.InputError, match="recurrent_dropout must be"):
            ht.GRU(4, 6, recurrent_dropout=rate)


@kinds
@pytest.mark.parametrize("back", [[0, 1, 2], [1, 1, 1]])
def test_packed_batches_whose_orders_disagree(kind: str, back: list[int]) -> None:
    packed = rnn.PackedSequence(
        batch(6, 4), torch.tensor([3, 2, 1]), torch.tensor([1, 2, 0]), torch.tensor(back)
    )

    def run(module: Any) -> Any:
        return tensors(module(packed)[1])

    assert_runs_alike(run, pair(kind))
