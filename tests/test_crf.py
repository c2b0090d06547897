"""The conditional random field: against all sequences of classes, one by one, and the reference."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate import reference
from headgate.data.chains import FORBIDDEN

WEIGHTS = ("transitions", "start", "end")


def crf_tensors(rng: np.random.Generator, classes: int) -> dict[str, np.ndarray]:
    shapes = {"transitions": (classes, classes), "start": (classes,), "end": (classes,)}
    return {name: oracles.normal(rng, shape) for name, shape in shapes.items()}


def tagger(classes: int, hidden: int = 5, inputs: int = 3, **options: Any) -> hg.NetworkSpec:
    return hg.NetworkSpec.stacked(
        inputs, hidden, classes, readout="every", task="tagging", **options
    )


def tensors_of(spec: hg.NetworkSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    tensors = oracles.network_tensors(spec, rng)
    weights = crf_tensors(rng, spec.output_size)
    return tensors | {f"crf.{name}": weight for name, weight in weights.items()}


def score(e: np.ndarray, y: Any, tensors: dict[str, np.ndarray]) -> float:
    total = tensors["start"][y[0]] + tensors["end"][y[-1]]
    total += sum(e[t, label] for t, label in enumerate(y))
    return float(total + sum(tensors["transitions"][a, b] for a, b in itertools.pairwise(y)))


def every_way(e: np.ndarray, tensors: dict[str, np.ndarray]) -> dict[tuple[int, ...], float]:
    """The scores of all C^T sequences of classes."""
    steps, classes = e.shape
    return {y: score(e, y, tensors) for y in itertools.product(range(classes), repeat=steps)}


# -- the reference -----------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "classes"), [(1, 2), (1, 4), (2, 3), (5, 3)])
def test_the_reference_sums_over_every_sequence_of_classes(steps: int, classes: int) -> None:
    rng = np.random.default_rng(steps)
    e, tensors = rng.standard_normal((steps, classes)), crf_tensors(rng, classes)
    scores = every_way(e, tensors)
    log_sum = np.logaddexp.reduce(list(scores.values()))
    single = np.zeros((steps, classes))
    for y, value in scores.items():
        single[np.arange(steps), y] += np.exp(value - log_sum)
    sums = reference.crf_sums(e, tensors)
    assert sums.log_sum == pytest.approx(log_sum, rel=1e-13)
    np.testing.assert_allclose(sums.single, single, atol=1e-13)
    y = rng.integers(0, classes, (1, steps))
    valid = np.ones((1, steps), bool)
    loss = reference.crf_loss_and_gradients(e[None], y, valid, tensors)[0]
    assert loss == pytest.approx((log_sum - scores[tuple(y[0].tolist())]) / steps, rel=1e-12)


def test_reference_gradients_by_central_differences() -> None:
    spec, rng = tagger(4), np.random.default_rng(1)
    tensors = tensors_of(spec, rng)
    x, y, lengths = rng.standard_normal((3, 5, 3)), rng.integers(0, 4, (3, 5)), [5, 1, 3]
    y[1, 1:] = 99  # not read

    def value() -> float:
        return reference.network_gradients(spec, tensors, x, y, "crf", lengths)[0]

    got = reference.network_gradients(spec, tensors, x, y, "crf", lengths)[1]
    for name, array in {**tensors, "x": x}.items():
        expected = oracles.central_differences(value, array)
        floor = tolerances.DIFFERENCE_FLOOR
        oracles.assert_gradient_close(
            got[name], expected, name, tolerances.CENTRAL_DIFFERENCE, floor=floor
        )


# -- the engine --------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "t", "classes"), [(1, 1, 2), (3, 4, 3), (9, 6, 16), (40, 5, 19)])
def test_the_engine_is_the_reference(isa: str, threads: None, n: int, t: int, classes: int) -> None:
    """Loss, gradients and marginals of ragged batches; the same bits with two threads."""
    spec, rng = tagger(classes, bidirectional=True), np.random.default_rng(n)
    tensors = tensors_of(spec, rng)
    net = oracles.network(spec, tensors)
    lengths = oracles.random_lengths(rng, n, t)
    x, y = oracles.normal(rng, (n, t, 3)), rng.integers(0, classes, (n, t))
    valid = np.arange(t) < lengths[:, None]
    weights = {name: tensors[f"crf.{name}"] for name in WEIGHTS}
    scores, _ = reference.network_forward(spec, tensors, x, lengths)
    oracles.assert_forward_close(
        net.emissions(x, lengths=lengths), scores, tolerances.FORWARD_UP_TO_256
    )
    value, wanted = reference.network_gradients(spec, tensors, x, y, "crf", lengths)
    assert net.evaluate(x, y, lengths=lengths) == pytest.approx(value, rel=1e-6)
    results = []
    for count in (1, 2):
        hg.set_num_threads(count)
        got, gradients = oracles.engine_gradients(net, x, y, "crf", lengths)
        assert got == pytest.approx(value, rel=1e-6)
        for name, gradient in gradients.items():
            oracles.assert_gradient_close(gradient, wanted[name], name, tolerances.GRADIENT)
        marginals = net.predict(x, lengths=lengths)
        results.append((marginals, *gradients.values()))
    assert all(map(np.array_equal, *results))
    exact = reference.crf_marginals(scores, valid, weights)
    oracles.assert_forward_close(marginals, exact, tolerances.CRF_MARGINALS)
    alone = net.predict([row[:length] for row, length in zip(x, lengths, strict=True)])
    for row, one in zip(marginals, alone, strict=True):
        assert np.array_equal(row[: len(one)], one)
        assert not row[len(one) :].any()


def test_long_sequences_and_large_scores_stay_exact(isa: str) -> None:
    """Thousands of steps, scores of hundreds: nothing over- or underflows."""
    rng = np.random.default_rng(2)
    tensors = crf_tensors(rng, 5)
    spec = hg.NetworkSpec(
        (hg.InputSpec("x", 5),),
        (hg.Dense("head", ("x",), size=5), hg.CRF("crf", ("head",))),
        task="tagging",
    )
    identity = {"head.weight": np.eye(5), "head.bias": np.zeros(5)}
    net = oracles.network(spec, identity | {f"crf.{k}": v for k, v in tensors.items()})
    y = rng.integers(0, 5, (2, 4000))
    for size in (1.0, 300.0):
        x = (size * rng.standard_normal((2, 4000, 5))).astype(np.float32).astype(float)
        valid = np.ones((2, 4000), bool)
        value, _grad, _ = reference.crf_loss_and_gradients(x, y, valid, tensors)
        assert net.evaluate(x, y) == pytest.approx(value, rel=1e-6)
        exact = reference.crf_marginals(x, valid, tensors)
        limit = tolerances.CRF_MARGINALS * max(1.0, size / 10)
        oracles.assert_forward_close(net.predict(x), exact, limit)


@pytest.mark.parametrize(("steps", "classes"), [(1, 3), (2, 4), (6, 3)])
def test_decoding_finds_the_best_of_all(steps: int, classes: int) -> None:
    rng = np.random.default_rng(3)
    tensors = crf_tensors(rng, classes)
    for _ in range(20):
        e = rng.standard_normal((steps, classes))
        scores = every_way(e, tensors)
        best = max(scores, key=lambda y: scores[y])
        assert tuple(hg.viterbi(e, *tensors.values()).tolist()) == best
        assert np.array_equal(hg.viterbi([e], *tensors.values())[0], best)
    both = hg.viterbi(np.stack([e, e]), *tensors.values(), lengths=[steps, 1])
    assert both.shape == (2, steps)
    assert not both[1, 1:].any()
    assert both[1, 0] == np.argmax(e[0] + tensors["start"] + tensors["end"])


def test_a_network_decodes_its_own_scores() -> None:
    rng = np.random.default_rng(4)
    spec = tagger(6)
    net = oracles.network(spec, tensors_of(spec, rng))
    parts = [oracles.normal(rng, (length, 3), np.float32) for length in (4, 1, 9)]
    paths = net.decode(parts)
    expected = hg.viterbi(net.emissions(parts), *net.crf_weights())
    assert [path.shape for path in paths] == [(4,), (1,), (9,)]
    assert all(map(np.array_equal, paths, expected))
    padded = np.zeros((3, 9, 3), np.float32)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    dense = net.decode(padded, lengths=[4, 1, 9])
    for row, path in zip(dense, paths, strict=True):
        assert np.array_equal(row[: len(path)], path)
    assert not dense[0, 4:].any()


# -- training and what is forbidden ------------------------------------------------------------


def brackets(rng: np.random.Generator, n: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Tags 0 (outside), 1 (begins), 2 (goes on): 2 only behind 1 or 2; x shows them with noise."""
    y = np.zeros((n, t), int)
    for step in range(t):
        inside = y[:, step - 1] > 0 if step else np.zeros(n, bool)
        u = rng.uniform(size=n)
        y[:, step] = np.where(inside & (u < 0.6), 2, np.where(u > 0.7, 1, 0))
    x = np.eye(3)[y] + 0.6 * rng.standard_normal((n, t, 3))
    return x.astype(np.float32), y


def test_training_learns_which_classes_follow_which(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    x, y = brackets(rng, 300, 12)
    net = hg.Network(tagger(3, hidden=8), seed=0)
    never = np.zeros((3, 3), bool)
    never[0, 2] = True
    net.forbid_transitions(never, start=np.array([False, False, True]))
    before = net.crf_weights()
    kept = {"optimizer": "adamw", "weight_decay": 0.5, "clip_norm": 1.0, "learning_rate": 0.02}
    net.fit(x[:200], y[:200], epochs=15, validation_data=(x[200:], y[200:]), **kept)
    after = net.crf_weights()
    assert after[0][0, 2] == after[1][2] == FORBIDDEN
    assert np.all(after[0][~never] != before[0][~never])
    path = net.decode(x[200:])
    assert (path == y[200:]).mean() > 0.8
    assert not ((path[:, :-1] == 0) & (path[:, 1:] == 2)).any()
    assert not (path[:, 0] == 2).any()
    marginals = net.predict(x[200:])
    np.testing.assert_allclose(marginals.sum(axis=-1), 1, atol=1e-5)
    assert not marginals[:, 0, 2].any()
    assert marginals.argmax(axis=-1).tolist() != path.tolist()  # another question
    net.save(tmp_path / "net.safetensors")
    again = hg.load(tmp_path / "net.safetensors")
    assert np.array_equal(again.decode(x), net.decode(x))
    assert net.history is not None
    assert net.history.val_loss[-1] == pytest.approx(net.evaluate(x[200:], y[200:]), rel=1e-6)
    y[7, 3:5] = 0, 2
    with pytest.raises(hg.InputError, match="sample 7, step 4: class 2 follows class 0"):
        net.fit(x, y, epochs=1)
    y[7, 0] = 2
    with pytest.raises(hg.InputError, match="sample 7, step 0: class 2 begins a sequence"):
        net.fit(x, y, epochs=1)


def test_gradients_behind_a_crf_are_those_of_each_sample_alone() -> None:
    rng = np.random.default_rng(6)
    spec = tagger(4)
    tensors = tensors_of(spec, rng)
    net = oracles.network(spec, tensors)
    x, y, lengths = oracles.normal(rng, (2, 5, 3)), rng.integers(0, 4, (2, 5)), [5, 3]
    norms = net.gradient_norms(x, y, lengths=lengths)
    for row, length in enumerate(lengths):
        part = slice(row, row + 1)
        hidden = reference.network_hidden_gradients(
            spec, tensors, x[part, :length], y[part, :length], "crf"
        )["gru"]
        np.testing.assert_allclose(
            norms[row, :length], np.linalg.norm(hidden[0, 0], axis=1), rtol=1e-4
        )
        assert not norms[row, length:].any()


def test_forbidden_ways_are_never_taken() -> None:
    """Whatever the scores say; and where there is no other way, as seldom as possible."""
    rng = np.random.default_rng(7)
    allowed = rng.uniform(size=(5, 5)) < 0.6
    np.fill_diagonal(allowed, True)
    e = 30 * rng.standard_normal((50, 12, 5))
    path = hg.viterbi(e, np.zeros((5, 5)), allowed=allowed)
    assert allowed[path[:, :-1], path[:, 1:]].all()
    minus = np.where(allowed, 0.0, -np.inf)
    assert np.array_equal(hg.viterbi(e, minus), path)
    assert np.array_equal(hg.viterbi(e, np.maximum(minus, FORBIDDEN)), path)
    stuck = np.zeros((2, 2), bool)
    assert hg.viterbi([[0.0, 1.0], [3.0, 0.0]], np.zeros((2, 2)), allowed=stuck).tolist() == [1, 0]


# -- what is refused ---------------------------------------------------------------------------


def test_a_spec_with_a_crf_reads_back_and_counts() -> None:
    spec = tagger(4)
    assert hg.NetworkSpec.from_json(spec.to_json()) == spec
    assert spec.parameter_shapes()["crf.transitions"] == (4, 4)
    net = hg.Network(spec, seed=0)
    assert net.summary().parameters == spec.parameter_count()
    assert not any(weight.any() for weight in net.crf_weights())
    assert net.summary().rows[-1].parameters == 4 * 4 + 4 + 4


HEAD = (hg.GRU("gru", ("x",), hidden_size=3), hg.Dense("head", ("gru",), size=2))


def of(*layers: Any, task: str = "tagging") -> Any:
    return lambda: hg.NetworkSpec((hg.InputSpec("x", 2),), layers, task=task)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of(*HEAD), "task='tagging' and a CRF as the last layer go together"),
        (of(*HEAD, hg.CRF("crf", ("head",)), task="classification"), "go together, got task='clas"),
        (
            of(*HEAD, hg.CRF("crf", ("head",)), hg.Dense("more", ("crf",), size=2)),
            r"'crf' \(crf\) must be the last layer; 'more' is behind it",
        ),
        (of(HEAD[0], hg.Last("last", ("gru",)), hg.CRF("crf", ("last",))), "needs a sequence"),
        (of(hg.Dense("head", ("x",), size=1), hg.CRF("crf", ("head",))), "two or more classes"),
        (lambda: hg.NetworkSpec.stacked(2, 3, 4, task="tagging"), "pass readout='every'"),
        (lambda: tagger(None), "pass readout='every' and output_size"),  # type: ignore[arg-type]
    ],
)
def test_specs_that_do_not_fit(make: Any, message: str) -> None:
    with pytest.raises(hg.InputError, match=message):
        make()


def test_uses_that_do_not_fit() -> None:
    net = hg.Network(tagger(3), seed=0)
    plain = hg.Network(input_size=3, hidden_size=2, output_size=3, readout="every")
    x, y = np.zeros((4, 5, 3)), np.zeros((4, 5), int)
    wrong = np.full((4, 5), 3)
    for act, message in (
        (lambda: net.fit(x, y, loss="cross_entropy"), "trained with loss='crf', not with"),
        (lambda: plain.fit(x, y, loss="crf"), "build it with task='tagging'"),
        (lambda: net.fit(x, wrong), r"Y\[0, 0\] is class 3, but the network has 3 outputs"),
        (lambda: net.fit(x, y, ignore_index=-1), "ignore_index goes with"),
        (lambda: net.fit(x, y, class_weights=(1, 1, 1)), "class_weights go with"),
        (lambda: net.fit(x, y, bptt_steps=2), "bptt_steps learns from pieces of sequences"),
        (lambda: net.fit(x, y, stateful=True, shuffle=False, batch_size=2), "stateful=True learns"),
        (lambda: net.stream(), "a CRF, which weighs whole sequences"),
        (lambda: net.rollout(np.zeros(3), 2), "a CRF weighs whole sequences"),
        (lambda: plain.decode(x), "build it with task='tagging'"),
        (lambda: plain.emissions(x), "this network has no CRF"),
        (lambda: net.forbid_transitions(np.zeros((3, 2), bool)), r"must be \(3, 3\) booleans"),
        (lambda: net.forbid_transitions(start=np.zeros(3)), r"start must be \(3,\) booleans"),
        (lambda: hg.viterbi(x, np.zeros((2, 2))), r"transitions must have shape \(3, 3\)"),
        (lambda: hg.viterbi(x, np.zeros((3, 3)), np.zeros(2)), r"start must have shape \(3,\)"),
        (lambda: hg.viterbi(x[0, 0], np.zeros((3, 3))), r"must be \(T, C\), \(N, T, C\)"),
        (lambda: hg.viterbi(x * np.nan, np.zeros((3, 3))), "NaN or infinite"),
        (lambda: hg.viterbi(x, np.zeros((3, 3)), lengths=[1, 2]), "lengths must be 4 integers"),
        (lambda: hg.viterbi(x, np.zeros((3, 3)), lengths=[0, 1, 2, 3]), "between 1 and T=5"),
        (lambda: hg.viterbi(x, np.zeros((3, 3)), allowed=np.ones(3)), r"\(3, 3\) booleans"),
        (lambda: hg.viterbi([x[0], x[0, :, :2]], np.zeros((3, 3))), r"emissions\[1\] must be"),
        (lambda: hg.viterbi("abc", np.zeros((3, 3))), "must be an array of numbers"),
    ):
        with pytest.raises(hg.InputError, match=message):
            act()
