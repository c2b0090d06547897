"""Whole networks of the reference: every feature, alone and in pairs, by central differences."""

from __future__ import annotations

from typing import Any

import features
import numpy as np
import oracles
import pytest
import tolerances

from headgate import reference
from headgate.errors import InputError
from headgate.spec import (
    GRU,
    LSTM,
    Add,
    Attention,
    Concat,
    Dense,
    Dropout,
    Embedding,
    InputSpec,
    Last,
    Max,
    Mean,
    NetworkSpec,
)

CELLS = list(features.CELLS)


def check_gradients(case: features.Case, seed: int) -> None:
    """Every tensor, input and initial state along a random direction."""
    rng = np.random.default_rng(seed)
    x = {name: value.copy() for name, value in case.x.items()}
    loss, rest = "mse", (case.lengths, case.state)
    _, got = reference.network_gradients(
        case.spec, case.tensors, x, case.y, loss, *rest, masks=case.masks
    )
    valid = None
    if case.lengths is not None and case.y.ndim == 3:
        valid = np.arange(case.y.shape[1]) < case.lengths[:, None]

    def value() -> float:
        outputs, _ = reference.network_forward(case.spec, case.tensors, x, *rest, masks=case.masks)
        return reference.loss_and_gradient(loss, outputs, case.y, valid)[0]

    arrays = {**case.tensors, "x": x["x"]}
    stack = case.spec.recurrent()[0].name
    parts = got.pop(f"state.{stack}")
    parts = parts if isinstance(parts, tuple) else (parts,)
    given = case.state if isinstance(case.state, tuple) else (case.state,)
    if case.state is not None:
        arrays |= {f"state{k}": part for k, part in enumerate(given)}
        got |= {f"state{k}": part for k, part in enumerate(parts)}
    assert set(got) == set(arrays)
    step = tolerances.DIFFERENCE_STEP / (8 if case.spec.recurrent()[0].layer_norm else 1)
    for name, array in arrays.items():
        direction = rng.standard_normal(array.shape)
        if name == "embedding.weight":
            direction[1] = 0.0  # the padding row, which does not learn
            assert not got[name][1].any()
        direction /= np.linalg.norm(direction)
        expected = oracles.directional_difference(value, array, direction, step)
        scale = max(1.0, float(np.linalg.norm(got[name])))
        error = abs(float((got[name] * direction).sum()) - expected)
        assert error <= tolerances.CENTRAL_DIFFERENCE * scale, name


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", list(features.FEATURES))
def test_gradients_of_every_feature(name: str, cell: str) -> None:
    check_gradients(features.make_case(cell, [name], seed=3), seed=4)


@pytest.mark.parametrize(
    ("cell", "pair"),
    [(CELLS[k % len(CELLS)], pair) for k, pair in enumerate(features.PAIRS)],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_gradients_of_pairs(cell: str, pair: tuple[str, str]) -> None:
    """The cells take turns."""
    check_gradients(features.make_case(cell, pair, seed=5), seed=6)


@pytest.mark.parametrize("cell", CELLS)
def test_everything_at_once(cell: str) -> None:
    names = set(features.FEATURES) - {"every", "mean", "max", "additive"}
    check_gradients(features.make_case(cell, sorted(names), seed=7), seed=8)


# -- the graph -----------------------------------------------------------------------------------


def branches() -> NetworkSpec:
    """A value that several layers read, a sum, two stacks, two inputs, and every read-out."""
    return NetworkSpec(
        inputs=(InputSpec("x", 2), InputSpec("words", 1, "tokens")),
        layers=(
            Embedding("table", ("words",), vocabulary=5, size=2),
            Concat("both", ("x", "table")),
            GRU("low", ("both",), hidden_size=2, bidirectional=True),
            Add("sum", ("low", "both")),
            Concat("wide", ("low", "both", "sum")),
            LSTM("high", ("wide",), hidden_size=3),
            Mean("mean", ("low",)),
            Max("max", ("high",)),
            Last("last", ("low",)),
            Attention("attention", ("low",), score="dot"),
            Concat("all", ("mean", "max", "last", "attention")),
            Dense("head", ("all",), size=2),
        ),
    )


def test_a_value_that_several_read_gets_the_sum_of_their_gradients() -> None:
    rng, spec = np.random.default_rng(9), branches()
    tensors = oracles.network_tensors(spec, rng)
    x = {"x": rng.standard_normal((3, 4, 2)), "words": rng.integers(0, 5, (3, 4))}
    y, lengths = rng.standard_normal((3, 2)), np.array([4, 2, 3])
    state = {
        "low": rng.uniform(-1, 1, (2, 3, 2)),
        "high": (rng.uniform(-1, 1, (1, 3, 3)), rng.uniform(-1, 1, (1, 3, 3))),
    }

    def value() -> float:
        outputs, _ = reference.network_forward(spec, tensors, x, lengths, state)
        return reference.loss_and_gradient("mse", outputs, y)[0]

    _, got = reference.network_gradients(spec, tensors, x, y, "mse", lengths, state)
    pairs = {name: (tensor, got[name]) for name, tensor in tensors.items()}
    pairs |= {"x": (x["x"], got["x"]), "low": (state["low"], got["state.low"])}
    pairs |= {f"high{k}": (state["high"][k], got["state.high"][k]) for k in range(2)}
    for name, (array, gradient) in pairs.items():
        expected = oracles.central_differences(value, array)
        oracles.assert_gradient_close(
            gradient,
            expected,
            name,
            tolerances.CENTRAL_DIFFERENCE,
            floor=tolerances.DIFFERENCE_FLOOR,
        )


def test_padding_is_read_by_no_layer() -> None:
    rng, spec = np.random.default_rng(10), branches()
    tensors = oracles.network_tensors(spec, rng)
    x = {"x": rng.standard_normal((2, 4, 2)), "words": rng.integers(0, 5, (2, 4))}
    y = rng.standard_normal((2, 2))

    def everything() -> list[np.ndarray]:
        _, got = reference.network_gradients(spec, tensors, x, y, "mse", [4, 2])
        hidden = reference.network_hidden_gradients(spec, tensors, x, y, "mse", [4, 2])
        return [*(got[name] for name in (*tensors, "x")), *hidden.values()]

    clean = everything()
    x["x"][1, 2:], x["words"][1, 2:] = np.nan, -7
    for before, now in zip(clean, everything(), strict=True):
        np.testing.assert_array_equal(now, before)


def test_last_behind_a_bidirectional_stack_is_h_n_of_its_top_layer() -> None:
    """Dropout between does not matter; a dense layer between makes it plain steps."""
    for dropout, dense, at_start in ((0.0, False, True), (0.5, False, True), (0.0, True, False)):
        layers: list[Any] = [(GRU, "gru", {"hidden_size": 3, "bidirectional": True})]
        if dropout:
            layers.append((Dropout, "drop", {"rate": dropout}))
        if dense:
            layers.append((Dense, "same", {"size": 6}))
        spec = oracles.chained(2, *layers, (Last, "last", {}))
        rng = np.random.default_rng(11)
        tensors = oracles.network_tensors(spec, rng)
        tensors |= {"same.weight": np.eye(6), "same.bias": np.zeros(6)} if dense else {}
        x = rng.standard_normal((3, 4, 2))
        outputs, after = reference.network_forward(spec, tensors, x, [4, 1, 3])
        np.testing.assert_array_equal(outputs[:, :3], after["gru"][0])
        assert np.array_equal(outputs[[0, 2], 3:], after["gru"][1][[0, 2]]) == at_start


def test_hidden_gradients_of_a_stack_by_what_dense_layers_above_it_say() -> None:
    """dLoss/dh_t of the top layer is what its readers hand back plus what its own steps do.

    The last step has no later one: there it is dLoss/d(output) alone, and so at step 0 of the
    reverse direction. Step by step is held for one layer in test_reference_cells.py.
    """
    case = features.make_case("lstm", ["bidirectional", "residual", "every", "ragged"], seed=12)
    spec, x = case.spec, case.x
    hidden = reference.network_hidden_gradients(spec, case.tensors, x, case.y, "mse", case.lengths)[
        "lstm"
    ]
    assert hidden.shape == (4, 3, 4, 3)
    outputs, _ = reference.network_forward(spec, case.tensors, x, case.lengths)
    valid = np.arange(4) < case.lengths[:, None]
    _, grad = reference.loss_and_gradient("mse", outputs, case.y, valid)
    through = grad @ case.tensors["head.weight"]
    rows = np.arange(3)
    oracles.assert_forward_close(hidden[3][:, 0], through[:, 0, 3:], tolerances.FLOAT64_EQUAL)
    ends = case.lengths - 1
    oracles.assert_forward_close(
        hidden[2][rows, ends], through[rows, ends, :3], tolerances.FLOAT64_EQUAL
    )
    assert not hidden[:, ~valid].any()


# -- read-outs and embeddings, number by number -----------------------------------------------


def test_read_outs_on_numbers_done_by_hand() -> None:
    x = np.array([[[1.0, 5.0], [3.0, 5.0], [9.0, 9.0]]])
    valid = np.array([[True, True, False]])
    assert reference.last_forward(x, valid).tolist() == [[3.0, 5.0]]
    assert reference.last_forward(x, valid, 1).tolist() == [[3.0, 5.0]]
    assert reference.last_forward(x[:, :, ::-1], valid, 1).tolist() == [[5.0, 1.0]]
    assert reference.mean_forward(x, valid).tolist() == [[2.0, 5.0]]
    top, steps = reference.max_forward(x, valid)
    assert (top.tolist(), steps.tolist()) == ([[3.0, 5.0]], [[1, 0]])
    grad = np.array([[2.0, 4.0]])
    assert reference.max_backward(grad, steps, valid).tolist() == [[[0, 4], [2, 0], [0, 0]]]
    assert reference.mean_backward(grad, valid).tolist() == [[[1, 2], [1, 2], [0, 0]]]
    assert reference.last_backward(grad, valid, 1).tolist() == [[[0, 4], [2, 0], [0, 0]]]


def test_attention_on_numbers_done_by_hand() -> None:
    """Scores of 0 and log 3 share as 1 to 3."""
    x = np.array([[[0.0], [np.arctanh(0.5)], [7.0]]])
    valid = np.array([[True, True, False]])
    additive = {"weight": np.ones((1, 1)), "bias": np.zeros(1), "query": 2 * np.log([3.0])}
    outputs, cache = reference.attention_forward(x, valid, additive)
    np.testing.assert_allclose(cache.weights, [[0.25, 0.75, 0.0]], rtol=1e-15)
    np.testing.assert_allclose(outputs, [[0.75 * np.arctanh(0.5)]], rtol=1e-15)
    x = np.array([[[0.0, 0.0], [1.0, 1.0], [7.0, 7.0]]])
    dot = {"weight": np.eye(2) * np.log(3.0) / np.sqrt(2.0)}
    outputs, cache = reference.attention_forward(x, valid, dot)
    np.testing.assert_allclose(cache.weights, [[0.25, 0.75, 0.0]], rtol=1e-15)
    np.testing.assert_allclose(outputs, [[0.75, 0.75]], rtol=1e-15)


def test_embeddings_and_their_padding_row() -> None:
    weight, valid = (
        np.arange(6.0).reshape(3, 2),
        np.array([[True, True, True], [True, False, True]]),
    )
    tokens = [[2, 0, 2], [1, 99, 2]]
    outputs, cache = reference.embedding_forward(tokens, valid, weight, padding_index=1)
    assert outputs.tolist() == [[[4, 5], [0, 1], [4, 5]], [[2, 3], [0, 0], [4, 5]]]
    assert reference.embedding_backward(cache, np.ones((2, 3, 2))).tolist() == [
        [1, 1],
        [0, 0],
        [3, 3],
    ]


def test_the_vectors_of_several_columns_are_added_without_padding() -> None:
    weight, valid = np.arange(6.0).reshape(3, 2), np.array([[True, True, False]])
    tokens = [[[2, 0, 2], [1, 1, 0], [99, 0, 0]]]
    outputs, cache = reference.embedding_forward(tokens, valid, weight, padding_index=0)
    assert outputs.tolist() == [[[8, 10], [4, 6], [0, 0]]]
    grad = reference.embedding_backward(cache, np.array([[[1.0, 10.0], [2.0, 20.0], [9.0, 9.0]]]))
    assert grad.tolist() == [[0, 0], [4, 40], [2, 20]]
    outputs, _ = reference.embedding_forward(tokens, valid, weight)
    assert outputs.tolist() == [[[8, 11], [4, 7], [0, 0]]]


# -- masks ---------------------------------------------------------------------------------------


def test_no_masks_are_no_dropout_and_ones_are_none() -> None:
    names = ("dropout", "input_dropout", "recurrent_dropout", "head_dropout", "bidirectional")
    case = features.make_case("gru_before", names, seed=13)
    assert set(case.masks) == {
        *("gru.input", "gru.recurrent_l0", "gru.recurrent_l1", "gru.between_l0", "dropout")
    }
    shapes = {name: mask.shape for name, mask in case.masks.items()}
    assert shapes == {
        "gru.input": (3, 1, 2),
        "gru.recurrent_l0": (2, 3, 3),
        "gru.recurrent_l1": (2, 3, 3),
        "gru.between_l0": (3, 4, 6),
        "dropout": (3, 6),
    }
    plain, _ = reference.network_forward(case.spec, case.tensors, case.x)
    ones = {name: np.ones_like(mask) for name, mask in case.masks.items()}
    same, _ = reference.network_forward(case.spec, case.tensors, case.x, masks=ones)
    masked, _ = reference.network_forward(case.spec, case.tensors, case.x, masks=case.masks)
    np.testing.assert_array_equal(same, plain)
    assert np.abs(masked - plain).max() > 1e-2


def test_philox_gives_the_numbers_of_its_authors() -> None:
    """Known answers of Random123's kat_vectors, philox4x32 with 10 rounds."""
    cases = [
        ((0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**64 - 1,) * 3, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x299F31D0A4093822, 0x85A308D3243F6A88, 0x0370734413198A2E),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for (key, low, high), expected in cases:
        got = oracles.philox(key, np.array([low], np.uint64), np.array([high], np.uint64))
        assert tuple(got[0].tolist()) == expected


# -- errors --------------------------------------------------------------------------------------


def test_what_does_not_fit_is_named() -> None:
    rng, spec = np.random.default_rng(14), branches()
    tensors = oracles.network_tensors(spec, rng)
    x = {"x": np.zeros((2, 3, 2)), "words": np.zeros((2, 3), int)}
    with pytest.raises(InputError, match="inputs 'x', 'words'; pass x as a dict"):
        reference.network_forward(spec, tensors, x["x"])
    with pytest.raises(InputError, match="exactly the inputs 'x', 'words', got 'x'"):
        reference.network_forward(spec, tensors, {"x": x["x"]})
    with pytest.raises(InputError, match=r"words must have shape \(N, T\), got \(2, 3, 1\)"):
        reference.network_forward(spec, tensors, {**x, "words": np.zeros((2, 3, 1), int)})
    wide = NetworkSpec.stacked(None, 2, vocabulary=5, embedding_size=2, token_columns=2)
    with pytest.raises(InputError, match=r"tokens must have shape \(N, T, K\), got \(2, 3\)"):
        reference.network_forward(wide, {}, np.zeros((2, 3), int))
    with pytest.raises(InputError, match=r"tokens must be in 0\.\.4, got 5\.\.5"):
        reference.network_forward(spec, tensors, {**x, "words": np.full((2, 3), 5)})
    with pytest.raises(InputError, match="tokens must be integers, got float64"):
        reference.network_forward(spec, tensors, {**x, "words": np.zeros((2, 3))})
    with pytest.raises(InputError, match="a 'mean' layer needs one step at least"):
        reference.network_forward(spec, tensors, x, [3, 0])
    with pytest.raises(InputError, match=r"must be a tuple \(h, c\) of .* with L\*D=1"):
        reference.network_forward(spec, tensors, x, state={"high": (np.zeros((1, 2, 3)),)})
