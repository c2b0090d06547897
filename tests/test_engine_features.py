"""The engine against the reference: every feature of the recurrent family, alone and in pairs.

Loss, every gradient, outputs and last states, at odd sizes, on every instruction set. The masks of
dropout are those that the engine draws, worked out in NumPy (``oracles.masks_for``).
"""

from __future__ import annotations

import itertools
from typing import Any

import features
import numpy as np
import oracles
import pytest
import tolerances

from headgate import reference
from headgate.spec import NetworkSpec

CELLS = list(features.CELLS)
EACH_CELL = pytest.mark.parametrize("cell", CELLS)
HIDDEN = (1, 3, 8, 15, 17, 33)
BATCHES = (1, 2, 3, 7, 9)
# The engine trains a bidirectional network from zeros only; predictions take a state all the same.
UNTRAINED = {"bidirectional", "state"}


def behind_the_ends(case: features.Case) -> tuple[dict[str, np.ndarray] | np.ndarray, np.ndarray]:
    """x and y as the engine gets them: with other numbers where no sequence has a step."""
    x = {name: value.copy() for name, value in case.x.items()}
    y = case.y.copy()
    if case.lengths is not None:
        behind = np.arange(x["x"].shape[1]) >= case.lengths[:, None]
        x["x"][behind] = 777.0
        if "tokens" in x:
            x["tokens"][behind] = 3 - x["tokens"][behind]
        if y.ndim == 3:
            y[behind] = -777.0
    return (x if len(x) > 1 else x["x"]), y


def parts_of(state: Any) -> tuple[np.ndarray, ...]:
    return state if isinstance(state, tuple) else (state,)


def check(case: features.Case, *, train: bool = True) -> None:
    """Prediction without dropout; and one update's loss and gradients with it."""
    spec, tensors, x, y, lengths, state, masks, seed = case
    given_x, given_y = behind_the_ends(case)
    net = oracles.network(spec, tensors, seed)
    outputs, after = reference.network_forward(spec, tensors, x, lengths, state)
    got, last = net.predict(given_x, lengths=lengths, state=state, return_state=True)
    plain, rough = reference.network_forward(spec, tensors, x, lengths, state, dtype=np.float32)
    layer = spec.recurrent()[0]

    def compare(got: np.ndarray, exact: np.ndarray, plain: np.ndarray) -> None:
        limit = tolerances.forward_tolerance(layer.hidden_size)
        if layer.layer_norm:  # not of default size: gates are of size 1 whatever the weights
            error = float(np.abs(plain - exact).max())
            limit = max(limit, tolerances.FORWARD_ERROR_RATIO * error)
        oracles.assert_forward_close(got, exact, limit)

    steps = got.shape[1]  # a ragged batch may be cut at its longest sequence
    compare(got, outputs[:, :steps], plain[:, :steps])
    for parts in zip(*(parts_of(s) for s in (last, after[layer.name], rough[layer.name]))):  # noqa: B905
        compare(*parts)
    if not train:
        return
    batch = (spec, tensors, x, y, "mse", lengths, state)
    value, exact_gradients = reference.network_gradients(*batch, masks=masks)
    _, plain_gradients = reference.network_gradients(*batch, masks=masks, dtype=np.float32)
    got_value, gradients = oracles.engine_gradients(net, given_x, given_y, "mse", lengths, state)
    assert got_value == pytest.approx(value, rel=1e-5)
    assert set(gradients) == set(tensors)
    floor, rtol = tolerances.DIFFERENCE_FLOOR, tolerances.GRADIENT
    if layer.layer_norm:
        # A state near zero, as at the first steps, is normalised with 1 / sqrt(1e-5): its rounding
        # grows 300 times, in any float32 evaluation.
        errors = [
            float(np.abs(plain_gradients[name] - exact_gradients[name]).max())
            / max(floor, float(np.abs(exact_gradients[name]).max()))
            for name in tensors
        ]
        rtol = max(rtol, tolerances.FORWARD_ERROR_RATIO * max(errors))
    for name, gradient in gradients.items():
        oracles.assert_gradient_close(gradient, exact_gradients[name], name, rtol, floor=floor)


@EACH_CELL
@pytest.mark.parametrize("name", list(features.FEATURES))
def test_every_feature_at_odd_sizes(isa: str, name: str, cell: str) -> None:
    """All widths; the batch sizes, steps and inputs go round."""
    rounds = zip(HIDDEN, itertools.cycle(BATCHES), itertools.cycle((5, 1, 8)), strict=False)
    for k, (h, n, t) in enumerate(rounds):
        check(features.make_case(cell, [name], seed=k, n=n, t=t, i=(1, 3, 17)[k % 3], h=h))


@EACH_CELL
@pytest.mark.parametrize("pair", features.PAIRS, ids="-".join)
def test_pairs(isa: str, pair: tuple[str, str], cell: str) -> None:
    k = features.PAIRS.index(pair) + CELLS.index(cell)
    case = features.make_case(cell, pair, seed=k, n=BATCHES[k % 5], t=5, i=3, h=HIDDEN[k % 6])
    check(case, train=set(pair) != UNTRAINED)


@EACH_CELL
@pytest.mark.parametrize("readout", ["every", "mean", "max", "additive", "dot", "last"])
def test_everything_at_once(isa: str, readout: str, cell: str) -> None:
    """All but normalisation: with everything else it is too ill-conditioned for float32.

    Plain float32 arithmetic then misses 1e-5 in one case of six; pairs try it with each feature.
    """
    names = {name for name, options in features.FEATURES.items() if "readout" not in options}
    names = (names - {"layer_norm"}) | ({readout} - {"last"})
    for k, (h, n) in enumerate(((17, 7), (3, 9), (8, 2))):
        check(features.make_case(cell, sorted(names - {"state"}), k, n=n, t=6, i=3, h=h))
        check(features.make_case(cell, sorted(names - {"bidirectional"}), k, n=n, t=6, i=3, h=h))


@EACH_CELL
def test_a_stateful_fit_starts_each_batch_where_the_last_one_ended(isa: str, cell: str) -> None:
    """The gradients of the second update are the reference's from the first one's last state."""
    names = ["residual", "dropout", "recurrent_dropout", "input_dropout", "every"]
    case = features.make_case(cell, names, seed=3, n=6, t=5, i=3, h=9)
    spec, tensors, (x,), y = case.spec, case.tensors, case.x.values(), case.y
    net = oracles.network(spec, tensors, case.seed)
    net.fit(
        x,
        y,
        epochs=1,
        batch_size=3,
        shuffle=False,
        stateful=True,
        optimizer="sgd",
        learning_rate=1e-30,
        loss="mse",
    )
    state: Any = None
    for update, rows in enumerate((np.arange(3), np.arange(3, 6))):
        masks = oracles.masks_for(spec, case.seed, update, rows, 5)
        before = state
        _, after = reference.network_forward(spec, tensors, x[rows], None, before, masks=masks)
        (state,) = after.values()
    _, expected = reference.network_gradients(
        spec, tensors, x[rows], y[rows], "mse", None, before, masks=masks
    )
    for name, gradient in net._engine.gradients().items():
        oracles.assert_gradient_close(
            gradient, expected[name], name, tolerances.GRADIENT, floor=tolerances.DIFFERENCE_FLOOR
        )
    for got, part in zip(parts_of(net.state), parts_of(state), strict=True):
        oracles.assert_forward_close(got, part, tolerances.FORWARD_UP_TO_256)


def test_frozen_embeddings_stay_and_the_padding_row_does_not_learn(isa: str) -> None:
    rng = np.random.default_rng(4)
    tokens, y = rng.integers(0, 5, (6, 4)), oracles.normal(rng, (6, 1))
    for train in (True, False):
        spec = NetworkSpec.stacked(
            None, 8, vocabulary=5, embedding_size=3, padding_index=2, train_embedding=train
        )
        tensors = oracles.network_tensors(spec, rng)
        net = oracles.network(spec, tensors)
        net.fit(tokens, y, epochs=3, batch_size=2)
        after = net.state_dict()
        moved = np.abs(after["embedding.weight"] - tensors["embedding.weight"]).max(axis=1)
        assert np.array_equal(moved > 0, np.arange(5) != 2 if train else np.zeros(5, bool))
        assert np.abs(after["gru.weight_ih_l0"] - tensors["gru.weight_ih_l0"]).max() > 0


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("padding", [0, 2, 4])
def test_weight_decay_leaves_the_padding_row(optimizer: str, padding: int) -> None:
    """A row of zeros has nothing to decay, but a loaded one has."""
    rng = np.random.default_rng(4)
    spec = NetworkSpec.stacked(None, 8, vocabulary=5, embedding_size=3, padding_index=padding)
    tensors = oracles.network_tensors(spec, rng)
    net = oracles.network(spec, tensors)
    tokens, y = rng.integers(0, 5, (6, 4)), oracles.normal(rng, (6, 1))
    net.fit(tokens, y, epochs=2, batch_size=3, optimizer=optimizer, weight_decay=0.1)
    moved = np.abs(net.state_dict()["embedding.weight"] - tensors["embedding.weight"]).max(axis=1)
    assert np.array_equal(moved > 0, np.arange(5) != padding)
