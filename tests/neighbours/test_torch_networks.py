"""Whole networks in PyTorch: ``net.to_torch()``.

The modules are held against ``headgate.reference`` in float64, where rounding cannot hide anything,
and once in float32 against the engine.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")

import features  # noqa: E402
import numpy as np  # noqa: E402
import oracles  # noqa: E402
import strategies  # noqa: E402
import tolerances  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

import headgate as hg  # noqa: E402
import headgate.torch  # noqa: E402
from headgate import reference  # noqa: E402

pytestmark = [
    pytest.mark.neighbours,
    # float64 is not the engine's: headgate.torch's layers say so once
    pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning"),
]


def tensors_of(value: Any) -> Any:
    """NumPy to PyTorch in dicts and tuples, numbers as float64."""
    if isinstance(value, dict):
        return {name: tensors_of(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(tensors_of, value))
    tensor = torch.from_numpy(np.array(value))
    return tensor.double() if tensor.is_floating_point() else tensor


def parts_of(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def behind_the_ends(case: features.Case) -> dict[str, np.ndarray]:
    """x with NaN, or another token, where no sequence has a step."""
    x = {name: value.copy() for name, value in case.x.items()}
    if case.lengths is not None:
        behind = np.arange(x["x"].shape[1]) >= case.lengths[:, None]
        x["x"][behind] = np.nan
        if "tokens" in x:
            x["tokens"][behind] = 99
    return x


def check(case: features.Case, *, double: bool = True) -> None:
    """Outputs, last states and every gradient of a network and its module."""
    spec, tensors, _, y, lengths, state, _, seed = case
    module = oracles.network(spec, tensors, seed).to_torch()
    forward, gradient, floor = tolerances.TORCH_FLOAT64, tolerances.TORCH_FLOAT64, 1.0
    inputs = (tensors_of(behind_the_ends(case)), None if state is None else tensors_of(state), y)
    if double:
        module.double()
    else:  # on the engine where it is a GRU or an LSTM
        forward, gradient = tolerances.FORWARD_UP_TO_256, tolerances.GRADIENT
        floor = tolerances.DIFFERENCE_FLOOR
        inputs = floats(inputs)
    given, starts, targets = inputs
    outputs, after = reference.network_forward(spec, tensors, case.x, lengths, state)
    got, last = module(given, lengths=lengths, state=starts, return_state=True)
    ending = after[spec.recurrent()[0].name]
    for one, other in zip((got, *parts_of(last)), (outputs, *parts_of(ending)), strict=True):
        oracles.assert_forward_close(one.detach().numpy(), other, forward)
    _, exact = reference.network_gradients(spec, tensors, case.x, y, "mse", lengths, state)
    mask = torch.ones(got.shape, dtype=torch.bool)
    if lengths is not None and got.ndim == 3:
        mask = (torch.arange(got.shape[1]) < torch.from_numpy(lengths)[:, None])[:, :, None]
        mask = mask.expand(got.shape)
    nn.functional.mse_loss(got[mask], torch.as_tensor(targets).to(got.dtype)[mask]).backward()
    for name, parameter in module.named_parameters():
        grad = parameter.grad.numpy()
        oracles.assert_gradient_close(grad, exact[name], name, gradient, floor=floor)


def floats(value: Any) -> Any:
    """Tensors of float64 as float32."""
    if isinstance(value, dict):
        return {name: floats(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(floats, value))
    wide = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.float() if wide else value


EACH_CELL = pytest.mark.parametrize("cell", list(features.CELLS))


@EACH_CELL
def test_outputs_states_and_gradients_of_every_feature(cell: str) -> None:
    for k, name in enumerate(features.FEATURES):
        check(features.make_case(cell, [name], seed=k, n=5, t=4))


@EACH_CELL
def test_the_same_in_float32(cell: str) -> None:
    for k, name in enumerate(name for name in features.FEATURES if name != "layer_norm"):
        names = [name] if name == "every" else [name, "ragged"]
        check(features.make_case(cell, names, seed=k, n=3, t=7, h=17), double=False)


@EACH_CELL
def test_pairs_and_some_more(cell: str) -> None:
    for k, pair in enumerate(features.PAIRS):
        check(features.make_case(cell, pair, seed=k))
    for more in ("layer_norm", "residual", "bidirectional"):
        check(features.make_case(cell, ["ragged", "state", "every", more], seed=0, n=5))


@settings(deadline=None, max_examples=60)
@given(strategies.stacked_specs(st.integers(1, 5)), strategies.seeds, st.booleans())
def test_any_network_goes_there_and_back(spec: hg.NetworkSpec, seed: int, ragged: bool) -> None:
    rng = np.random.default_rng(seed)
    tensors = oracles.network_tensors(spec, rng)
    net = oracles.network(spec, tensors)
    x = {
        item.name: oracles.normal(rng, (3, 4, item.size))
        if item.kind == "values"
        else rng.integers(spec.layers[0].vocabulary, size=(3, 4, item.size))
        for item in spec.inputs
    }
    x = {k: v[:, :, 0] if v.dtype == int and v.shape[2] == 1 else v for k, v in x.items()}
    lengths = [2, 4, 1] if ragged else None
    module = net.to_torch()
    again = hg.Network.from_torch(module)
    assert again.spec == spec
    assert np.array_equal(again.get_vector(), net.get_vector())
    with torch.no_grad():
        got = module.double()(tensors_of(x), lengths=lengths).numpy()
    expected, _ = reference.network_forward(spec, tensors, x, lengths)
    scale = max(1.0, float(np.abs(expected).max()))  # ReLU in an RNN grows
    oracles.assert_forward_close(got, expected, tolerances.TORCH_FLOAT64 * scale)


def test_predictions_in_float32_are_the_engines() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 9, 3)).astype(np.float32)
    for task, size in (("regression", 2), ("classification", 3), ("binary", 2), ("tagging", 4)):
        options = {"readout": "every"} if task == "tagging" else {}
        net = hg.Network(
            input_size=3, hidden_size=17, output_size=size, task=task, seed=1, **options
        )
        module = net.to_torch()
        for lengths in (None, [9, 1, 4, 4, 9, 2, 3]):
            expected = net.predict(x, lengths=lengths)
            got = module.predict(torch.from_numpy(x), lengths=lengths).numpy()
            assert got.dtype == np.float32
            oracles.assert_forward_close(got, expected, tolerances.TORCH_FLOAT32)


def test_a_graph_of_several_inputs_stacks_and_joins() -> None:
    spec = hg.NetworkSpec(
        inputs=(
            hg.InputSpec("x", 2),
            hg.InputSpec("word", 1, "tokens"),
            hg.InputSpec("parts", 3, "tokens"),
        ),
        layers=(
            hg.Embedding("type", ("word",), vocabulary=9, size=4),
            hg.Embedding("pieces", ("parts",), vocabulary=9, size=4, padding_index=0),
            hg.Add("vectors", ("type", "pieces")),
            hg.Dropout("drop", ("vectors",), rate=0.5, per_sequence=True),
            hg.GRU("slow", ("x",), hidden_size=3, bidirectional=True),
            hg.LSTM("words", ("drop",), hidden_size=3, num_layers=3, residual=True, dropout=0.2),
            hg.Concat("both", ("slow", "words")),
            hg.Attention("look", ("both",), score="dot"),
            hg.Dense("head", ("look",), size=3),
        ),
        task="classification",
    )
    rng = np.random.default_rng(0)
    tensors = oracles.network_tensors(spec, rng)
    net = oracles.network(spec, tensors)
    x = {
        "x": oracles.normal(rng, (5, 6, 2)),
        "word": rng.integers(0, 9, (5, 6)),
        "parts": rng.integers(0, 9, (5, 6, 3)),
    }
    module, lengths = net.to_torch().double(), [6, 1, 3, 6, 2]
    expected, after = reference.network_forward(spec, tensors, x, lengths)
    got, states = module(tensors_of(x), lengths=lengths, return_state=True)
    oracles.assert_forward_close(got.detach().numpy(), expected, tolerances.TORCH_FLOAT64)
    assert set(states) == {"slow", "words"}
    for one, other in zip(states["words"], after["words"], strict=True):
        oracles.assert_forward_close(one.detach().numpy(), other, tolerances.TORCH_FLOAT64)
    again, _ = module(tensors_of(x), lengths=lengths, state=states, return_state=True)
    expected, _ = reference.network_forward(spec, tensors, x, lengths, after)
    oracles.assert_forward_close(again.detach().numpy(), expected, tolerances.TORCH_FLOAT64)


def test_a_crf_gives_its_loss_its_probabilities_and_its_best_classes() -> None:
    rng = np.random.default_rng(3)
    net = hg.Network(
        input_size=2, hidden_size=4, output_size=3, readout="every", task="tagging", seed=0
    )
    tensors = {name: oracles.normal(rng, a.shape) for name, a in net.state_dict().items()}
    net.load_state_dict(tensors)
    forbidden = np.zeros((3, 3), bool)
    forbidden[0, 2] = True
    net.forbid_transitions(forbidden)
    tensors = {name: a.astype(np.float64) for name, a in net.state_dict().items()}
    x, y, lengths = oracles.normal(rng, (4, 6, 2)), rng.integers(3, size=(4, 6)), [6, 1, 4, 2]
    y[:, 1::2] = 1  # nothing forbidden
    module = net.to_torch().double()
    for sizes in (None, np.array(lengths)):
        module.zero_grad()
        scores = module(torch.from_numpy(x), lengths=sizes)
        classes = torch.from_numpy(y.copy())
        if sizes is not None:
            classes[torch.arange(6) >= torch.from_numpy(sizes)[:, None]] = -100
        loss = module.crf_loss(scores, classes, lengths=sizes)
        loss.backward()
        value, exact = reference.network_gradients(net.spec, tensors, x, y, "crf", sizes)
        assert loss.item() == pytest.approx(value, rel=tolerances.TORCH_FLOAT64)
        for name, parameter in module.named_parameters():
            oracles.assert_gradient_close(
                parameter.grad.numpy(), exact[name], name, tolerances.TORCH_FLOAT64, floor=1.0
            )
        got = module.predict(torch.from_numpy(x), lengths=sizes).numpy()
        expected = net.predict(x, lengths=sizes)
        oracles.assert_forward_close(got, expected, tolerances.CRF_MARGINALS)
        path = module.decode(torch.from_numpy(x), lengths=sizes).numpy()
        np.testing.assert_array_equal(path, net.decode(x, lengths=sizes))


def test_tied_and_frozen_embeddings_learn_as_in_headgate() -> None:
    options: dict[str, Any] = {
        "vocabulary": 6,
        "embedding_size": 4,
        "hidden_size": 4,
        "readout": "every",
        "padding_index": 0,
        "output_size": 6,
        "tied": True,
        "task": "classification",
        "seed": 0,
    }
    net = hg.Network(**options)
    tensors = oracles.network_tensors(net.spec, np.random.default_rng(1))
    net.load_state_dict(tensors)
    x = np.array([[0, 3, 5, 2], [1, 1, 4, 0]])
    y = np.array([[3, 5, 2, 2], [1, 4, 0, 0]])
    module = net.to_torch().double()
    scores = module(torch.from_numpy(x))
    nn.functional.cross_entropy(scores.flatten(0, 1), torch.from_numpy(y.ravel())).backward()
    _, exact = reference.network_gradients(net.spec, tensors, x, y, "cross_entropy")
    assert exact["embedding.weight"][1:].all()
    for name, parameter in module.named_parameters():
        oracles.assert_gradient_close(
            parameter.grad.numpy(), exact[name], name, tolerances.TORCH_FLOAT64, floor=1.0
        )
    frozen = hg.Network(**{**options, "tied": False, "train_embedding": False}).to_torch()
    learns = {name for name, parameter in frozen.named_parameters() if parameter.requires_grad}
    assert learns == set(frozen.state_dict()) - {"embedding.weight"}


def test_dropout_drops_in_training_alone() -> None:
    x = torch.ones(1, 5, 2)
    for option in ("input_dropout", "recurrent_dropout", "head_dropout"):
        for cell in ("gru", "rnn"):
            net = hg.Network(input_size=2, hidden_size=8, seed=0, cell=cell, **{option: 0.5})
            module = net.to_torch()
            assert torch.equal(module(x), module(x))
            module.train()
            made = torch.stack([module(x) for _ in range(8)])
            assert len(made.unique()) > 1, option
            assert torch.equal(module.predict(x), module.eval()(x))
            assert module.training is False
    # one mask for all steps of a sequence
    module = hg.Network(input_size=2, hidden_size=8, input_dropout=0.5, seed=0).to_torch()
    seen = []
    module.gru.register_forward_pre_hook(lambda gru, given: seen.append(given[0]))
    module.train()(torch.ones(64, 5, 2))
    assert torch.equal(seen[0], seen[0][:, :1].expand_as(seen[0]))
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}


def test_state_dicts_go_both_ways() -> None:
    net = hg.Network(
        input_size=2, hidden_size=4, num_layers=2, residual=True, bidirectional=True, seed=0
    )
    module = net.to_torch()
    assert set(module.state_dict()) == set(net.state_dict())
    other = hg.Network(net.spec, seed=1)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in other.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    expected = other.predict(x)
    tensor = torch.from_numpy(x)
    oracles.assert_forward_close(module.predict(tensor).numpy(), expected, tolerances.TORCH_FLOAT32)
    net.load_state_dict(module.state_dict())
    assert np.array_equal(net.predict(x), expected)
    weights = {k: torch.from_numpy(v) for k, v in hg.Network(net.spec).state_dict().items()}
    fresh = net.to_torch()
    fresh.load_state_dict(weights)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(tensor), module(tensor))
        twin.load_state_dict(weights, assign=True)  # new parameters reach the layers too
        assert torch.equal(twin(tensor), fresh(tensor))


def test_it_trains() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 8, 2)
    y = x.sum((1, 2))[:, None] / 4
    module = hg.Network(input_size=2, hidden_size=8, num_layers=2, residual=True, seed=0).to_torch()
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(module(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


def test_explain_tells_of_every_layer() -> None:
    net = hg.Network(input_size=2, hidden_size=[3, 3], residual=True)
    told = headgate.torch.explain(net.to_torch())
    assert [(path.name, path.reason) for path in told] == [("gru", "")] * 2


def test_making_a_module_draws_no_numbers_of_pytorch() -> None:
    net = hg.Network(input_size=2, hidden_size=4)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    net.to_torch()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_layers_may_be_named_as_parts_of_nn_module() -> None:
    spec = oracles.chained(
        2,
        (hg.GRU, "type", {"hidden_size": 3}),
        (hg.Last, "forward", {}),
        (hg.Dense, "spec", {"size": 1}),
    )
    net = hg.Network(spec, seed=0)
    module = copy.deepcopy(net.to_torch())
    assert set(module.state_dict()) == set(net.state_dict())
    assert module(torch.ones(1, 2, 2)).shape == (1, 1)


X = torch.ones(2, 3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(X[0]), "x must be a tensor (N, T, 2), got shape (3, 2)"),
        (lambda m: m(np.ones((2, 3, 2))), "x must be a tensor (N, T, 2), got ndarray"),
        (
            lambda m: m(X[:, :, :1]),
            "x must have the shape (N, T, 2) with at least one sample and one step, N and T as "
            "the other inputs, got (2, 3, 1)",
        ),
        (
            lambda m: m({"y": X}),
            "this network has the inputs ['x']; pass a dict of tensors by these names",
        ),
        (lambda m: m(X, lengths=[3]), "lengths must be 2 integers, one for each sample, got [3]"),
        (lambda m: m(X, lengths=[0, 3]), "lengths must be in 1..3, got 0..3"),
        (lambda m: m(X, state={"lstm": 1}), "state must be a dict of states by the names ['gru']"),
        (lambda m: m.decode(X), "this network has no CRF, its last layer is 'head'"),
    ],
)
def test_what_does_not_fit_is_said(call: Any, message: str) -> None:
    module = hg.Network(input_size=2, hidden_size=4).to_torch()
    with pytest.raises(hg.InputError) as caught:
        call(module)
    assert str(caught.value) == message


@pytest.mark.parametrize("lengths", ["ab", [None, 1], {}, [1j, 2]])
def test_lengths_of_other_types(lengths: Any) -> None:
    module = hg.Network(input_size=2, hidden_size=4).to_torch()
    with pytest.raises(hg.InputError, match="lengths must be 2 integers, one for each sample, got"):
        module(torch.zeros(2, 3, 2), lengths=lengths)
