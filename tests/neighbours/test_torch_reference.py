"""The layers as plain torch operations against the float64 reference, and against ``torch.nn``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, which is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import tolerances  # noqa: E402

import headgate.torch as ht  # noqa: E402
from headgate.interop.torch import paths, reference  # noqa: E402
from headgate.interop.torch.reference import Masks, Weights  # noqa: E402
from headgate.reference.cells import CELLS, recurrent_forward  # noqa: E402

pytestmark = pytest.mark.neighbours

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "norm_ih", "norm_hh")


def random_weights(
    rng: np.random.Generator, cell: str, inputs: int, size: int, norm: bool
) -> dict[str, np.ndarray]:
    rows, second = CELLS[cell].gates * size, CELLS[cell].bias_hh_gates * size
    shapes: list[tuple[int, ...]] = [(rows, inputs), (rows, size), (rows,), (second,)]
    shapes += [(rows,), (rows,)] if norm else []
    return {name: rng.normal(0, 0.5, shape) for name, shape in zip(NAMES, shapes, strict=False)}


@pytest.mark.parametrize("cell", ["gru", "gru_before", "lstm"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_both_directions_of_two_layers_are_the_references(cell: str, norm: bool, masked: bool):
    rng = np.random.default_rng(1)
    lengths, size = np.array([5, 3, 3, 1]), 3
    n, t, parts = 4, 5, CELLS[cell].state_parts
    tensors = [random_weights(rng, cell, i, size, norm) for i in (2, 2, 2 * size, 2 * size)]
    state = [rng.normal(size=(4, n, size)) for _ in range(parts)]
    masks = [(rng.random((n, size)) < 0.7) / 0.7 for _ in tensors] if masked else []
    between = (rng.random((n, t, 2 * size)) < 0.5) * 2.0
    x = rng.normal(size=(n, t, 2))
    packed = pack_padded_sequence(torch.tensor(x), lengths, batch_first=True)
    behind = pack_padded_sequence(torch.tensor(between), lengths, batch_first=True)

    outputs, last = reference.run(
        cell,
        packed.data,
        packed.batch_sizes.tolist(),
        tuple(map(torch.tensor, state)),
        [Weights(*map(torch.tensor, each.values())) for each in tensors],
        bidirectional=True,
        masks=Masks([behind.data], list(map(torch.tensor, masks))),
    )

    want = x
    for layer in range(2):
        sides = []
        for place in (2 * layer, 2 * layer + 1):
            side, final, _ = recurrent_forward(
                cell,
                want,
                tuple(part[place] for part in state),
                tensors[place],
                lengths=lengths,
                reverse=place % 2 == 1,
                mask=masks[place] if masked else None,
            )
            sides.append(side)
            for got, part in zip(last, final, strict=True):
                np.testing.assert_allclose(got[place], part, rtol=0, atol=tolerances.FLOAT64_EQUAL)
        want = np.concatenate(sides, axis=2) * (between if layer == 0 else 1)
    rows = pack_padded_sequence(torch.tensor(want), lengths, batch_first=True).data
    np.testing.assert_allclose(outputs, rows, rtol=0, atol=tolerances.FLOAT64_EQUAL)


@pytest.mark.parametrize("cell", ["gru", "gru_before", "lstm"])
def test_it_is_differentiable_twice(cell: str) -> None:
    rng = np.random.default_rng(2)
    weights = [torch.tensor(w) for w in random_weights(rng, cell, 2, 2, True).values()]
    state = [torch.tensor(rng.normal(size=(1, 2, 2))) for _ in range(CELLS[cell].state_parts)]
    arguments = [torch.tensor(rng.normal(size=(3, 2))), *state, *weights]

    def run(rows: Any, *tensors: Any) -> Any:
        parts, rest = tensors[: len(state)], tensors[len(state) :]
        outputs, last = reference.run(cell, rows, [2, 1], parts, [Weights(*rest)])
        return (outputs, *last)

    for argument in arguments:
        argument.requires_grad_()
    assert torch.autograd.gradcheck(run, arguments)
    assert torch.autograd.gradgradcheck(run, arguments)


# -- the arguments of torch.nn --------------------------------------------------------------------

KINDS = [
    {},
    {"batch_first": True},
    {"bias": False, "num_layers": 2},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "dropout": 1.0},
]


def arguments(module: Any, given: bool) -> list[tuple[Any, Any]]:
    """Every form in which ``torch.nn`` takes a batch: full, unbatched, packed, packed unsorted."""
    torch.manual_seed(0)
    parts = 2 if isinstance(module, nn.LSTM) else 1
    layers = module.num_layers * (2 if module.bidirectional else 1)

    def state(*shape: int) -> Any:
        made = [torch.randn(layers, *shape, 3, dtype=torch.float64) for _ in range(parts)]
        return (tuple(made) if parts == 2 else made[0]) if given else None

    x = torch.randn(4, 4, 2, dtype=torch.float64)
    packed = pack_padded_sequence(x, [4, 3, 2, 2])
    shuffled = pack_padded_sequence(x, [2, 4, 1, 3], enforce_sorted=False)
    return [(x, state(4)), (x[0], state()), (packed, state(4)), (shuffled, state(4))]


def tensors(result: Any) -> list[Any]:
    """All tensors of a result."""
    if result is None or isinstance(result, torch.Tensor):
        return [] if result is None else [result]
    return [tensor for part in result for tensor in tensors(part)]


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("given", [False, True])
def test_the_composition_takes_and_gives_what_torch_nn_does(kind: str, options: dict, given: bool):
    theirs = getattr(nn, kind)(2, 3, dtype=torch.float64, **options)
    ours = getattr(ht, kind)(2, 3, dtype=torch.float64, **options)
    ours.load_state_dict(theirs.state_dict())
    for input, hx in arguments(theirs, given):
        want, got = theirs(input, hx), paths._composed(ours, input, hx)
        assert type(got[0]) is type(want[0])
        assert isinstance(got[1], tuple) == isinstance(want[1], tuple)
        for a, b in zip(tensors(got), tensors(want), strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=0, atol=tolerances.FLOAT64_EQUAL)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_its_dropout_is_inverted_and_recurrent_dropout_is_one_mask_a_sequence(kind: str) -> None:
    module = getattr(ht, kind)(2, 4, 3, dropout=0.5, recurrent_dropout=0.25, bidirectional=True)
    rows = torch.randn(7, 2)
    masks = reference.draw_masks(module, rows, 3)
    assert [tuple(mask.shape) for mask in masks.between] == [(7, 8)] * 2
    assert [tuple(mask.shape) for mask in masks.recurrent] == [(3, 4)] * 6
    assert set(torch.cat(list(masks.between)).ravel().tolist()) == {0.0, 2.0}
    kept = torch.cat(list(masks.recurrent)).ravel().unique()
    torch.testing.assert_close(kept, torch.tensor([0.0, 4 / 3]))
    torch.manual_seed(0)
    first = paths._composed(module, rows, None)[0]
    assert not torch.equal(first, paths._composed(module, rows, None)[0])
    module.eval()
    again = [paths._composed(module, rows, None)[0] for _ in range(2)]
    assert torch.equal(*again)


def test_a_packed_sequence_keeps_its_order() -> None:
    module = ht.GRU(2, 3, reset_after=False).double()
    x = torch.randn(4, 3, 2, dtype=torch.float64)
    shuffled = pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False)
    output, last = paths._composed(module, shuffled, None)
    assert isinstance(output, PackedSequence)
    alone = [paths._composed(module, x[:t, k], None)[1] for k, t in enumerate((2, 4, 1))]
    torch.testing.assert_close(last, torch.stack(alone, 1))
