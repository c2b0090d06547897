"""Cross-entropies: against PyTorch and the reference, odd targets, predictions, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate import reference
from headgate.data.samples import SampleTable, from_arrays
from headgate.kernels import make_trainer
from headgate.spec import GRU, Dense, Last, NetworkSpec
from headgate.training.losses import Loss

GOLDEN = Path(__file__).parent / "golden" / "losses_and_schedules.npz"
CROSS_ENTROPIES = ("plain", "weights", "smoothing", "ignored", "ignored_outside", "all")
BINARY = ("plain", "weights", "all")
TASKS = {"cross_entropy": "classification", "binary_cross_entropy": "binary"}
CASES = [
    *(("cross_entropy", "ce", name) for name in CROSS_ENTROPIES),
    *(("binary_cross_entropy", "bce", name) for name in BINARY),
]


def of_task(spec: NetworkSpec, task: str) -> NetworkSpec:
    object.__setattr__(spec, "task", task)
    return spec


def identity(width: int, task: str) -> hg.Network:
    """Outputs are the inputs."""
    spec = of_task(oracles.chained(width, (Dense, "head", {"size": width})), task)
    return oracles.network(spec, {"head.weight": np.eye(width), "head.bias": np.zeros(width)})


def recurrent(
    task: str, outputs: int, readout: str = "every", hidden: int = 6, seed: int = 0
) -> hg.Network:
    layers: list[Any] = [(GRU, "gru", {"hidden_size": hidden})]
    layers += [(Last, "last", {})] if readout == "last" else []
    layers += [(Dense, "head", {"size": outputs})]
    return hg.Network(of_task(oracles.chained(3, *layers), task), seed=seed)


def golden_case(prefix: str, name: str) -> tuple[Any, ...]:
    """Logits, targets, options, the value, the gradient."""
    with np.load(GOLDEN) as stored:
        options = {
            key.rsplit(".", 1)[1]: stored[key].tolist()
            for key in stored.files
            if key.startswith(f"{prefix}.{name}.") and not key.endswith((".value", ".grad"))
        }
        logits = stored[f"{prefix}.logits"]
        targets = stored["ce.labels" if prefix == "ce" else "bce.targets"]
        if prefix == "ce" and options.get("ignore_index") != -100:
            targets = np.maximum(targets, 0)
        value, grad = stored[f"{prefix}.{name}.value"], stored[f"{prefix}.{name}.grad"]
    return logits, targets, options, float(value), grad


def weights(net: hg.Network) -> bytes:
    return net._engine.get_vector().tobytes()


# -- values and gradients ----------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "prefix", "name"), CASES)
def test_the_reference_is_pytorch(loss: str, prefix: str, name: str) -> None:
    logits, targets, options, value, grad = golden_case(prefix, name)
    got, slopes = reference.loss_and_gradient(loss, logits.astype(float), targets, **options)
    assert got == pytest.approx(value, rel=1e-12)
    oracles.assert_forward_close(slopes, grad, 1e-14)


@pytest.mark.parametrize(("loss", "prefix", "name"), CASES)
def test_the_engine_is_pytorch(isa: str, loss: str, prefix: str, name: str) -> None:
    """Through an identity head, whose gradients are sums of the logits'."""
    logits, targets, options, value, grad = golden_case(prefix, name)
    net = identity(logits.shape[-1], TASKS[loss])
    assert net.evaluate(logits, targets, **options) == pytest.approx(value, rel=1e-6)
    got, gradients = oracles.engine_gradients(net, logits, targets, loss, **options)
    assert got == pytest.approx(value, rel=1e-6)
    slopes, x = grad.reshape(-1, grad.shape[-1]), logits.reshape(-1, grad.shape[-1])
    for key, wanted in (("head.weight", slopes.T @ x), ("head.bias", slopes.sum(axis=0))):
        oracles.assert_gradient_close(gradients[key], wanted, key, tolerances.GRADIENT)


@pytest.mark.parametrize("readout", ["every", "last"])
@pytest.mark.parametrize("outputs", [2, 15, 16, 17, 1030])
@pytest.mark.parametrize("loss", TASKS)
def test_gradients_through_a_network(isa: str, loss: str, outputs: int, readout: str) -> None:
    """Every parameter, on ragged batches, with all options."""
    rng = np.random.default_rng(outputs)
    n, t = 5, 4
    net = recurrent(TASKS[loss], outputs, readout)
    tensors = {name: value.astype(float) for name, value in net.state_dict().items()}
    x, lengths = oracles.normal(rng, (n, t, 3)), oracles.random_lengths(rng, n, t)
    groups = (n, t) if readout == "every" else (n,)
    options: dict[str, Any] = {
        "class_weights": rng.uniform(0.5, 2, outputs).tolist(),
        "label_smoothing": 0.1,
    }
    if loss == "cross_entropy":
        options["ignore_index"] = -1
        y = rng.integers(0, outputs, groups)
        y[1] = -1
    else:
        y = rng.uniform(0, 1, (*groups, outputs)).astype(np.float32)
    out, _ = reference.network_forward(net.spec, tensors, x, lengths)
    valid = np.arange(t) < lengths[:, None] if readout == "every" else None
    value, slopes = reference.loss_and_gradient(loss, out, y, valid, **options)
    # The mean squared error with these targets has the same slopes.
    count = out.size if valid is None else int(valid.sum()) * outputs
    _, wanted = reference.network_gradients(
        net.spec, tensors, x, out - slopes * count / 2, "mse", lengths
    )
    got, gradients = oracles.engine_gradients(net, x, y, loss, lengths, **options)
    assert got == pytest.approx(value, rel=1e-5)
    for name, gradient in gradients.items():
        oracles.assert_gradient_close(gradient, wanted[name], name, tolerances.GRADIENT)


def test_reference_gradients_by_central_differences() -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal((6, 4)), np.array([0, 3, 9, 1, 2, 3])
    weighed: dict[str, Any] = {"class_weights": [0.5, 1, 3, 0.2], "label_smoothing": 0.3}
    for loss, targets, options in (
        ("cross_entropy", labels, {**weighed, "ignore_index": 9}),
        ("binary_cross_entropy", rng.uniform(0, 1, (6, 4)), weighed),
        ("quantile", rng.standard_normal((6, 2)), {"quantiles": (0.2, 0.9)}),
    ):
        valid = np.array([1, 1, 1, 0, 1, 1], bool)

        def value(loss: str = loss, y: Any = targets, o: Any = options, v: Any = valid) -> float:
            return reference.loss_and_gradient(loss, z, y, v, **o)[0]

        _, gradient = reference.loss_and_gradient(loss, z, targets, valid, **options)
        wanted = oracles.central_differences(value, z)
        oracles.assert_gradient_close(
            gradient, wanted, loss, tolerances.CENTRAL_DIFFERENCE, floor=tolerances.DIFFERENCE_FLOOR
        )


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("loss", TASKS)
def test_a_vocabulary_gives_the_same_bits_on_any_number_of_threads(isa: str, loss: str) -> None:
    rng = np.random.default_rng(0)
    x, outputs = oracles.normal(rng, (9, 30, 3)), 2003
    y: Any = rng.integers(0, outputs, (9, 30))
    if loss == "binary_cross_entropy":
        y = rng.integers(0, 2, (9, 30, outputs))
    results = []
    for count in (1, 2, 5):
        hg.set_num_threads(count)
        net = recurrent(TASKS[loss], outputs)
        history = net.fit(x, y, epochs=2, batch_size=4, label_smoothing=0.1)
        results.append((history.loss.tobytes(), weights(net), net.predict(x).tobytes()))
    assert results[0] == results[1] == results[2]


def test_the_mean_of_an_epoch_weighs_updates_by_their_targets(isa: str) -> None:
    """With a vanishing rate the epoch's loss is evaluate's, whatever the batches."""
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (11, 6, 3)), rng.integers(-1, 4, (11, 6))
    lengths = oracles.random_lengths(rng, 11, 6)
    net = recurrent("classification", 4)
    options = {"class_weights": [1, 2, 3, 0.5], "ignore_index": -1, "lengths": lengths}
    history = net.fit(x, y, epochs=1, batch_size=2, learning_rate=1e-30, **options)
    expected = pytest.approx(net.evaluate(x, y, **options), rel=1e-6)
    assert history.loss[0] == expected
    assert net.evaluate(x, y, batch_size=3, **options) == expected


# -- targets that count for nothing ------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_an_update_without_targets_learns_nothing(isa: str, optimizer: str) -> None:
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (12, 5, 3)), rng.integers(0, 4, (12, 5))
    y[:2] = y[4:6] = 7  # the first batch and the third
    nets = [recurrent("classification", 4) for _ in range(2)]
    options = {"epochs": 2, "batch_size": 2, "shuffle": False, "ignore_index": 7}
    options |= {"optimizer": optimizer, "weight_decay": 0.1, "momentum": 0.0}
    kept = np.r_[2:4, 6:12]
    losses = [
        net.fit(x[rows], y[rows], **options).loss
        for net, rows in zip(nets, (slice(None), kept), strict=True)
    ]
    assert weights(nets[0]) == weights(nets[1])
    assert losses[0].tobytes() == losses[1].tobytes()


def test_an_update_without_targets_hands_the_state_on(isa: str) -> None:
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (6, 5, 3)), rng.integers(0, 4, (6, 5))
    y[2:] = -100
    net = recurrent("classification", 4)
    net.fit(
        *(x, y),
        **{"epochs": 1, "batch_size": 2, "shuffle": False, "stateful": True},
        ignore_index=-100,
        learning_rate=1e-30,
    )
    rows = x.reshape(3, 2, 5, 3).transpose(1, 0, 2, 3).reshape(2, 15, 3)
    _, after = net.predict(rows, return_state=True)
    assert np.asarray(net.state).tobytes() == np.asarray(after).tobytes()


def test_a_class_of_weight_zero_is_as_good_as_ignored(isa: str) -> None:
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (6, 5, 3)), rng.integers(0, 3, (6, 5))
    y[:2] = 1
    nets = [recurrent("classification", 3) for _ in range(2)]
    for net, option in zip(nets, ({"class_weights": [1, 0, 1]}, {"ignore_index": 1}), strict=True):
        net.fit(x, y, epochs=2, batch_size=2, shuffle=False, **option)
    oracles.assert_forward_close(
        nets[0]._engine.get_vector(), nets[1]._engine.get_vector().astype(float), 1e-6
    )


# -- extremes ----------------------------------------------------------------------------------


def test_saturated_logits_have_exact_losses(isa: str) -> None:
    logits = np.array([[[1e4, -1e4, 0]], [[-1e4, 1e4, 0]], [[-100, -100, -100]]])
    net = identity(3, "classification")
    assert net.evaluate(logits[:1], [[0]]) == 0
    assert net.evaluate(logits[:1], [[1]]) == pytest.approx(2e4, rel=1e-6)
    assert net.evaluate(logits[2:], [[1]]) == pytest.approx(np.log(3), rel=1e-6)
    both = identity(3, "binary")
    assert both.evaluate(logits[:1], [[[1, 0, 0.5]]]) == pytest.approx(np.log(2) / 3, rel=1e-6)
    assert both.evaluate(logits[:1], [[[0, 1, 0.5]]]) == pytest.approx(
        (2e4 + np.log(2)) / 3, rel=1e-6
    )
    _, gradients = oracles.engine_gradients(both, logits, np.ones((3, 1, 3)), TASKS_OF["binary"])
    assert all(np.isfinite(value).all() for value in gradients.values())


TASKS_OF = {task: loss for loss, task in TASKS.items()}


@pytest.mark.parametrize("task", TASKS_OF)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_never_silent(isa: str, task: str, bad: float) -> None:
    """NaN in one input of the table, at the place where a lane's tail is, and in the weights."""
    net = recurrent(task, 19)
    before = weights(net)
    x = np.zeros((4, 5, 3), np.float32)
    y = np.zeros((4, 5) if task == "classification" else (4, 5, 19))
    width = net.spec.output_size if task == "binary" else 1
    table = from_arrays(x.copy(), y, input_size=3, output_size=width, readout="every")
    table.x[7, 1] = np.nan  # behind the check of arrays
    with pytest.raises(hg.DivergenceError):
        net.fit(table, epochs=1)
    assert weights(net) == before
    for place in (-1, -19, -10):  # the biases of the last, the first and another output
        vector = net._engine.get_vector()
        vector[place] = bad
        other = recurrent(task, 19)
        other._engine.set_vector(vector)
        assert not np.isfinite(other.evaluate(x, y))
        predicted = other.predict(x)
        if task == "classification":
            assert np.isnan(predicted).all()
        with pytest.raises(hg.DivergenceError):
            other.fit(x, y, epochs=1)


@pytest.mark.parametrize("loss", TASKS)
def test_the_scale_of_divergence_is_the_loss_of_zero_outputs(loss: str) -> None:
    """The greatest over single targets, each measured by the engine."""
    net = identity(3, TASKS[loss])
    x = np.zeros((3, 1, 3))
    y = np.arange(3)[:, None] if loss == "cross_entropy" else np.eye(3)[:, None]
    options = {"class_weights": (0.5, 2.0, 4.0), "label_smoothing": 0.2}
    greatest = max(net.evaluate(x[i : i + 1], y[i : i + 1], **options) for i in range(3))
    width = 1 if loss == "cross_entropy" else 3
    table = from_arrays(x, y, input_size=3, output_size=width, readout="every")
    scale = Loss(loss, **options).of_zero_outputs(table, 3)
    assert scale == pytest.approx(greatest, rel=1e-6) or (
        loss == "binary_cross_entropy" and greatest < scale < 4 * greatest
    )


# -- predictions -------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["every", "last"])
@pytest.mark.parametrize("outputs", [1, 2, 3, 15, 16, 17, 33, 1100])
def test_predictions_are_probabilities(isa: str, outputs: int, readout: str) -> None:
    """Of the reference's outputs; the same bits alone and in a batch."""
    rng = np.random.default_rng(outputs)
    x, lengths = oracles.normal(rng, (7, 5, 3)), oracles.random_lengths(rng, 7, 5)
    for task in TASKS_OF:
        net = recurrent(task, outputs, readout)
        out, _ = reference.network_forward(net.spec, net.state_dict(), x, lengths)
        expected = 1 / (1 + np.exp(-out))
        if task == "classification":
            expected = np.exp(out) / np.exp(out).sum(axis=-1, keepdims=True)
        if readout == "every":
            expected[np.arange(5) >= lengths[:, None]] = 0
        got = net.predict(x, lengths=lengths)
        oracles.assert_forward_close(got, expected, tolerances.FORWARD_UP_TO_256)
        for k in range(7):
            alone = net.predict(x[k : k + 1, : lengths[k]])[0]
            batch = got[k, : lengths[k]] if readout == "every" else got[k]
            assert alone.tobytes() == batch.tobytes()


def test_a_roll_out_feeds_probabilities_back(isa: str) -> None:
    net = recurrent("classification", 3)
    path = net.rollout([0.2, 0.3, 0.5], 4)
    state, x = None, np.array([[[0.2, 0.3, 0.5]]], np.float32)
    for row in path:
        x, state = net.predict(x, state=state, return_state=True)
        assert x.tobytes() == row.tobytes()


def test_classes_are_learned(isa: str) -> None:
    """Which third of the unit interval the first step was in, per sequence and per step."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (400, 6, 3)).astype(np.float32)
    y = (3 * x[:, 0, 0]).astype(int)
    net = recurrent("classification", 3, "last", hidden=16)
    net.fit(x, y, epochs=60, learning_rate=0.02, schedule="one_cycle")
    assert (net.predict(x).argmax(-1) == y).mean() > 0.97
    high = (x[:, :, :2] > 0.5).astype(int)
    net = recurrent("binary", 2, hidden=8)
    net.fit(x, high, epochs=30, learning_rate=0.03, schedule="cosine")
    assert ((net.predict(x) > 0.5) == high).mean() > 0.97


# -- what is refused ---------------------------------------------------------------------------


def refused(call: Any, message: str) -> None:
    with pytest.raises(hg.InputError) as caught:
        call()
    assert str(caught.value) == message


X, CLASSES = np.zeros((4, 6, 3)), np.zeros((4, 6), int)


def changed(place: Any, value: Any, y: Any = CLASSES) -> np.ndarray:
    y = y.astype(float)
    y[place] = value
    return y


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (
            *(changed((3, 5), 7), {}),
            "Y[3, 5] is class 7, but the network has 5 outputs (classes 0 to 4)",
        ),
        (
            *(changed((1, 0), -100), {}),
            "Y[1, 0] is class -100, but the network has 5 outputs (classes 0 to 4); "
            "ignore_index=-100 would leave such targets out",
        ),
        (
            *(changed((1, 0), -2), {"ignore_index": -1}),
            "Y[1, 0] is class -2, but the network has 5 outputs (classes 0 to 4) and ignore_index "
            "is -1",
        ),
        (
            *(changed((0, 2), 1.5), {}),
            "Y[0, 2] is 1.5, but classes are whole numbers from 0 to 4",
        ),
        (
            *(np.zeros((4, 6, 5)), {}),
            "Y has shape (4, 6, 5), but classes are given by their numbers, 0 to 4; pass "
            "Y.argmax(axis=-1)",
        ),
        (
            *([*CLASSES[:3].tolist(), [0, 0, 9, 0, 0, 0]], {}),
            "Y[3][2] is class 9, but the network has 5 outputs (classes 0 to 4)",
        ),
        (
            *(CLASSES, {"ignore_index": 0}),
            "no target counts: every class is ignore_index or has the class weight 0; nothing is "
            "left to learn from",
        ),
        (
            *(CLASSES, {"class_weights": [0, 1, 1, 1, 1]}),
            "no target counts: every class is ignore_index or has the class weight 0; nothing is "
            "left to learn from",
        ),
        (
            *(CLASSES, {"class_weights": [1, 1]}),
            "class_weights must have one weight for each of the 5 outputs, got 2",
        ),
        (
            *(CLASSES, {"loss": "mse"}),
            "a network of task='classification' is trained with loss='cross_entropy', not with "
            "loss='mse'; build it with task='regression' for that",
        ),
        (*(CLASSES, {"class_weights": [1, 1, 1, 1, -1]}),
         "class_weights must be finite and at least 0, got -1"),
        (*(CLASSES, {"class_weights": [0] * 5}),
         "class_weights must not all be 0: nothing would be learned"),
        (*(CLASSES, {"class_weights": 2}), "class_weights must be a list or tuple, got 2"),
        (*(CLASSES, {"label_smoothing": 1}),
         "label_smoothing must be at least 0 and below 1, got 1"),
        (*(CLASSES, {"label_smoothing": float("nan")}),
         "label_smoothing must be at least 0 and below 1, got nan"),
        (*(CLASSES, {"ignore_index": 1.5}),
         "ignore_index must be an integer, got 1.5; pass a number such as 16"),
    ],
)  # fmt: skip
def test_wrong_classes_are_refused(y: Any, options: dict[str, Any], message: str) -> None:
    net = recurrent("classification", 5)
    before = weights(net)
    refused(lambda: net.fit(X, y, **options), message)
    refused(lambda: net.evaluate(X, y, **options), message)
    assert weights(net) == before


def test_wrong_binary_targets_are_refused() -> None:
    net, y = recurrent("binary", 2), np.zeros((4, 6, 2))
    refused(
        lambda: net.fit(X, changed((2, 1, 1), 1.25, y)),
        "Y[2, 1, 1] is 1.25, but a binary target lies between 0 and 1",
    )
    refused(
        lambda: net.fit(X, y, ignore_index=1),
        "ignore_index goes with loss='cross_entropy', not with loss='binary_cross_entropy'",
    )
    with pytest.raises(hg.InputError, match="Y has a value that is not finite at index"):
        net.fit(X, changed((2, 1, 1), np.nan, y))
    pooled = recurrent("binary", 2, "last")
    refused(
        lambda: pooled.fit(X, changed((2, 1), -1, y[:, 0])),
        "Y[2, 1] is -1, but a binary target lies between 0 and 1",
    )


def test_losses_and_tasks_go_together() -> None:
    net, y = recurrent("regression", 2), np.zeros((4, 6, 2))
    refused(
        lambda: net.fit(X, CLASSES, loss="cross_entropy"),
        "a network of task='regression' is trained with loss='mse' or 'mae' or 'huber' or "
        "'quantile', not with loss='cross_entropy'; build it with task='classification' for that",
    )
    for option, losses in (
        ({"class_weights": [1, 1]}, "class_weights go with loss='cross_entropy' or "),
        ({"label_smoothing": 0.1}, "label_smoothing goes with loss='cross_entropy' or "),
    ):
        refused(
            lambda option=option: net.fit(X, y, **option),
            f"{losses}loss='binary_cross_entropy', not with loss='mse'",
        )
    refused(
        lambda: recurrent("classification", 1).fit(X, CLASSES),
        "cross-entropy tells classes apart, one output each, but this network has 1 output; "
        "build it with output_size=2 or more, or with task='binary'",
    )


def test_padding_may_hold_any_class() -> None:
    net = recurrent("classification", 5)
    lengths = np.array([6, 2, 1, 6])
    y = changed((1, 2), 99)
    net.fit(X, y, lengths=lengths, epochs=1)
    refused(
        lambda: net.fit(X, changed((1, 1), 99, y), lengths=lengths),
        "Y[1, 1] is class 99, but the network has 5 outputs (classes 0 to 4)",
    )
    rows = [np.zeros((length, 3)) for length in lengths]
    targets = [np.zeros(length, int) for length in lengths]
    net.fit(rows, targets, epochs=1)
    targets[3][4] = 5
    refused(
        lambda: net.fit(rows, targets),
        "Y[3][4] is class 5, but the network has 5 outputs (classes 0 to 4)",
    )


def test_tables_of_classes_are_checked() -> None:
    """Strided targets, of which the classes out of range between them are not read."""
    net = recurrent("classification", 5)
    y = np.full(40, 9, np.float32)
    table = SampleTable(
        x=np.zeros((12, 3), np.float32),
        starts=np.array([0, 4]),
        lengths=np.array([4, 3]),
        y=y,
        y_starts=np.array([1, 20]),
        y_stride=3,
        y_steps="every",
    )
    read = [1, 4, 7, 10, 20, 23, 26]
    y[read] = 1
    net.fit(table, epochs=1)
    y[26] = 5
    refused(
        lambda: net.fit(table),
        "in the table, sample 1, step 2: Y is class 5, but the network has 5 outputs "
        "(classes 0 to 4)",
    )
    y[26] = 1
    scaled = SampleTable(
        **{**vars(table), "y_shift": np.zeros(2, np.float32), "y_scale": np.ones(2, np.float32)}
    )
    refused(
        lambda: net.fit(scaled),
        "y_shift and y_scale are for measured targets; loss='cross_entropy' takes none",
    )
    with pytest.raises(hg.InputError, match="the sample table is inconsistent"):
        net.fit(SampleTable(**{**vars(table), "y_starts": np.array([1, 39])}))


def test_the_engine_itself_reads_no_class_out_of_range() -> None:
    """Were a check above it missed, the loss is NaN and no memory beside the row is touched."""
    net = recurrent("classification", 5)
    for bad in (5, -1, 1e30, -np.inf, np.nan):
        y = np.full((4, 6), bad, np.float32)
        table = from_arrays(X, CLASSES, input_size=3, output_size=1, readout="every")
        table = SampleTable(**{**vars(table), "y": y.ravel()})
        row = Loss("cross_entropy").engine_row()
        assert np.isnan(net._engine.raw.evaluate(table.to_engine(), 2, row, None))


# -- the engine's epoch ------------------------------------------------------------------------


def epoch_of(net: hg.Network, state: Any, **changes: Any) -> Any:
    """One call on four samples of three steps in two batches."""
    rng = np.random.default_rng(0)
    x, y = oracles.normal(rng, (4, 3, 3)), rng.integers(0, 5, (4, 3))
    table = from_arrays(x, y, input_size=3, output_size=1, readout="every").to_engine()
    trainer = make_trainer(
        net._engine,
        **{"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0},
        **{"clip_norm": 0.0, "clip_value": 0.0, "seed": 0},
        loss=Loss("cross_entropy").engine_row(),
    )
    arguments = {
        "order": np.arange(4),
        "bounds": np.array([0, 2, 4]),
        "resets": None,
        "rates": np.array([0.1, 0.2]),
        "limit": np.inf,
        **changes,
    }
    return trainer.epoch(table, state=state, **arguments)


def test_resets_begin_anew_in_mid_epoch(isa: str) -> None:
    state = np.full(2 * 6, 0.5, np.float32)
    carried, reset = recurrent("classification", 5), recurrent("classification", 5)
    epoch_of(carried, state.copy(), resets=np.array([0, 0], np.uint8))
    after = state.copy()
    epoch_of(reset, after, resets=np.array([0, 1], np.uint8))
    assert weights(carried) != weights(reset)
    twin, half = recurrent("classification", 5), state.copy()
    epoch_of(twin, half, bounds=np.array([0, 2]), rates=np.array([0.1]))
    half[:] = 0
    epoch_of(twin, half, bounds=np.array([2, 4]), rates=np.array([0.2]))
    assert weights(twin) == weights(reset)
    assert half.tobytes() == after.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bounds": np.array([0, 2, 2])}, "bounds must increase"),
        ({"bounds": np.array([0, 3, 2])}, "bounds must increase"),
        ({"bounds": np.array([-1, 2, 4])}, "bounds reach past order"),
        ({"bounds": np.array([0, 2, 5])}, "bounds reach past order"),
        ({"bounds": np.array([0, 2])}, "rates: one for each batch"),
        ({"resets": np.zeros(3, np.uint8)}, "resets: one for each batch"),
        ({"order": np.array([0, 1, 2, 4])}, "order names no sample"),
        ({"bounds": np.array([0, 1, 4])}, "with rows for every batch"),
    ],
)
def test_the_engine_checks_an_epochs_batches(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epoch_of(recurrent("classification", 5), np.zeros(12, np.float32), **changes)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["a", "b", "c", "a"], "Y holds names of classes, but classes are given by their numbers"),
        (np.array(["a", "b", "c", "a"], object), "np.unique(Y, return_inverse=True)"),
        (np.eye(3)[[0, 1, 2, 0]].tolist(), "Y has shape (4, 3), but classes are given by"),
    ],
)
def test_classes_that_are_no_numbers(targets: Any, message: str) -> None:
    x = np.ones((4, 5, 3), np.float32)
    net = recurrent("classification", 3, "last")
    before = weights(net)
    with pytest.raises(hg.InputError) as error:
        net.fit(x, targets)
    assert message in str(error.value)
    assert weights(net) == before


def test_one_hot_rows_of_ragged_sequences() -> None:
    net = recurrent("classification", 3, "every")
    with pytest.raises(hg.InputError, match=r"Y\[0\] has shape \(2, 3\), but classes are given"):
        net.fit([np.ones((2, 3)), np.ones((4, 3))], [np.eye(3)[[0, 1]], np.eye(3)[[0, 1, 2, 0]]])


def test_targets_of_quantiles_are_no_classes() -> None:
    net = recurrent("regression", 3, "last")
    with pytest.raises(hg.InputError, match=r"^Y must have shape \(4, 1\) with a row for each sam"):
        net.fit(np.ones((4, 5, 3)), np.ones((4, 3)), loss="quantile", quantiles=(0.1, 0.5, 0.9))


def test_weights_and_quantiles_may_be_arrays_of_other_libraries() -> None:
    class Tensor:
        """Whose items are no numbers to Python, as PyTorch's."""

        def __iter__(self) -> Any:
            return iter([object(), object()])

        def tolist(self) -> list[float]:
            return [0.25, 0.75]

    from headgate.training.losses import Loss

    assert Loss("cross_entropy", class_weights=Tensor()).class_weights == (0.25, 0.75)  # type: ignore[arg-type]
    assert Loss("quantile", quantiles=Tensor()).quantiles == (0.25, 0.75)  # type: ignore[arg-type]
