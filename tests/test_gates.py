"""What a network shows of itself: gates, attention weights, gradient norms, and their pictures."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import features
import numpy as np
import oracles
import pytest
import tolerances

import headgate as hg
from headgate import reference
from headgate.data.samples import SampleTable

CELLS: list[dict[str, Any]] = [
    {"cell": "gru"},
    {"cell": "gru", "reset_after": False},
    {"cell": "lstm"},
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu"},
]
LENGTHS = np.array([4, 1, 7])


def data(n: int = 3, t: int = 7, i: int = 2) -> np.ndarray:
    return oracles.normal(np.random.default_rng(0), (n, t, i))


def make(**options: Any) -> hg.Network:
    return hg.Network(**{"input_size": 2, "hidden_size": 5, "seed": 0, **options})


def by_hand(net: hg.Network, x: np.ndarray, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """The gates of one layer over one sequence (T, I), by the equations, in float64."""
    p = {k.split(".")[1]: v.astype(np.float64) for k, v in net.state_dict().items() if "_l0" in k}
    wi, wh, bi, bh = (p[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    size = wh.shape[1]
    s, steps = reference.sigmoid, []
    h = c = np.zeros(size)
    for row in x:
        a = wi @ row + bi
        if options["cell"] == "gru":
            u = wh @ h
            r = s(a[:size] + u[:size] + bh[:size])
            z = s(a[size : 2 * size] + u[size : 2 * size] + bh[size : 2 * size])
            if options.get("reset_after", True):
                n = np.tanh(a[2 * size :] + r * (u[2 * size :] + bh[2 * size :]))
            else:
                n = np.tanh(a[2 * size :] + wh[2 * size :] @ (r * h))
            h = (1 - z) * n + z * h
            steps.append({"reset": r, "update": z, "candidate": n, "state": h})
        elif options["cell"] == "lstm":
            i, f, g, o = np.split(a + wh @ h + bh, 4)
            i, f, g, o = s(i), s(f), np.tanh(g), s(o)
            c = f * c + i * g
            h = o * np.tanh(c)
            shown = {"input": i, "forget": f, "candidate": g, "output": o, "cell": c, "state": h}
            steps.append(shown)
        else:
            total = a + wh @ h + bh
            h = np.maximum(total, 0) if options.get("nonlinearity") == "relu" else np.tanh(total)
            steps.append({"state": h})
    return {name: np.array([step[name] for step in steps]) for name in steps[0]}


@pytest.mark.parametrize("options", CELLS, ids=lambda o: "-".join(map(str, o.values())))
def test_gates_are_those_of_the_equations(isa: str, options: dict[str, Any]) -> None:
    net, x = make(**options), data()
    gates = net.gates(x, lengths=LENGTHS)
    for k, size in enumerate(LENGTHS):
        expected = by_hand(net, x[k, :size], options)
        assert list(gates) == list(expected)
        for name, values in expected.items():
            oracles.assert_forward_close(
                gates[name][k, :size], values, tolerances.forward_tolerance(5)
            )
            assert not gates[name][k, size:].any()
    assert np.array_equal(gates.lengths, LENGTHS)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_the_states_are_those_that_predict_returns(isa: str, cell: str) -> None:
    net, x = make(cell=cell, num_layers=2, bidirectional=True, layer_norm=True), data()
    gates = net.gates(x, lengths=LENGTHS)
    assert list(gates) == [f"{cell}_l{k}{side}" for k in (0, 1) for side in ("", "_reverse")]
    _, state = net.predict(x, lengths=LENGTHS, return_state=True)
    states = state if cell == "lstm" else (state,)
    for row, (name, each) in enumerate(gates.items()):
        at = np.zeros(3, int) if "reverse" in name else LENGTHS - 1
        for quantity, expected in zip(("state", "cell"), states, strict=False):
            assert np.array_equal(each[quantity][np.arange(3), at], expected[row])
    assert np.array_equal(
        net.gates(x, lengths=LENGTHS, layer=f"{cell}_l1_reverse").state,
        gates[f"{cell}_l1_reverse"].state,
    )


def test_gates_start_from_a_state_and_come_from_any_data() -> None:
    net, x = make(), data()
    _, state = net.predict(x[:, :3], return_state=True)
    whole = net.gates(x)
    assert np.array_equal(net.gates(x[:, 3:], state=state).update, whole.update[:, 3:])
    ragged = net.gates([x[0, :4], x[1, :1], x[2]])
    assert np.array_equal(ragged.reset, net.gates(x, lengths=LENGTHS).reset)
    table = SampleTable(
        x=x.reshape(-1, 2).astype(np.float32),
        starts=np.array([0, 7, 14]),
        lengths=LENGTHS.astype(np.int64),
    )
    assert np.array_equal(net.gates(table).state, ragged.state)
    many = net.gates(np.repeat(x, 200, axis=0))  # more than one batch
    assert np.array_equal(many.state[::200], whole.state)


def test_tokens_have_gates() -> None:
    net = hg.Network(hidden_size=4, vocabulary=6, embedding_size=3, seed=0)
    gates = net.gates(np.array([[1, 2, 3]]))
    _, state = net.predict(np.array([[1, 2, 3]]), return_state=True)
    assert np.array_equal(gates.state[:, -1], state[0])


def test_the_result_reads_as_attributes_and_as_a_mapping() -> None:
    gates = make().gates(data())
    assert gates["update"] is gates.update
    assert dict(gates).keys() == {"reset", "update", "candidate", "state"}
    assert (gates.layer, len(gates)) == ("gru_l0", 4)
    assert repr(gates) == "Gates(gru_l0: reset, update, candidate, state; (3, 7, 5))"
    with pytest.raises(AttributeError, match=r"layer 'gru_l0' has no 'forget'; it has \['reset'"):
        _ = gates.forget
    with pytest.raises(KeyError, match="layer 'gru_l0' has no 'lengths'"):
        _ = gates["lengths"]
    with pytest.raises(AttributeError, match="Gates cannot be changed"):
        gates.update = 1
    for copied in (copy.deepcopy(gates), pickle.loads(pickle.dumps(gates))):
        assert np.array_equal(copied.update, gates.update)


def test_looking_changes_nothing() -> None:
    x, y = data(), np.ones((3, 1))
    net = make(dense=(4,), recurrent_dropout=0.4, head_dropout=0.5, num_layers=2, dropout=0.5)
    before, out = net.state_dict(), net.predict(x)
    history = net.fit(x, y, epochs=1, learning_rate=1e-30, optimizer="sgd")
    net.gates(x), net.gradient_norms(x, y)
    assert np.array_equal(net.predict(x), out)
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.state is None
    assert net.history is history


def test_attention_weights(isa: str) -> None:
    for score in ("additive", "dot"):
        net, x = make(readout="attention", attention=score, bidirectional=True), data()
        weights = net.attention(x, lengths=LENGTHS)
        assert weights.shape == (3, 7)
        assert np.allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-6)
        inside = np.arange(7) < LENGTHS[:, None]
        assert not weights[~inside].any()
        assert (weights[inside] > 0).all()
        assert np.array_equal(net.attention(x[:1], lengths=LENGTHS[:1]), weights[:1])


def assert_norms(net: hg.Network, case: features.Case, loss: str, **options: Any) -> None:
    norms = net.gradient_norms(case.x, case.y, lengths=case.lengths, state=case.state, loss=loss)
    norms = norms if isinstance(norms, dict) else {"only": norms}
    (stack,) = case.spec.recurrent()
    for k in range(len(case.y)):
        only = slice(k, k + 1)
        state = case.state
        if state is not None:
            state = tuple(s[:, only] for s in state) if stack.kind == "lstm" else state[:, only]
        expected = reference.network_hidden_gradients(
            case.spec,
            case.tensors,
            {name: value[only] for name, value in case.x.items()},
            case.y[only],
            loss,
            None if case.lengths is None else case.lengths[only],
            state,
        )[stack.name][:, 0]
        for row, (name, got) in enumerate(norms.items()):
            wanted = np.linalg.norm(expected[row], axis=1)
            oracles.assert_gradient_close(got[k], wanted, name, tolerances.GRADIENT)


@pytest.mark.parametrize("cell", features.CELLS)
@pytest.mark.parametrize("name", features.FEATURES)
def test_gradient_norms_are_the_references(isa: str, cell: str, name: str) -> None:
    """Each sample's own loss, dropout off, through every later step."""
    for loss in ("mse", "huber"):
        case = features.make_case(cell, [name, "ragged"], 11, t=5, h=8)
        assert_norms(oracles.network(case.spec, case.tensors), case, loss)


def test_gradient_norms_are_what_differences_say() -> None:
    """Moving h_t by a little, in a cell that is run by hand from there on."""
    net, x = make(readout="every", output_size=1), data(1)
    y = oracles.normal(np.random.default_rng(3), (1, 7, 1))
    tensors = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    whole = net.gates(x).state.astype(np.float64)
    norms = net.gradient_norms(x, y)
    for t in range(7):
        state = whole[:, t][None].copy()

        def loss_from(t: int = t, state: np.ndarray = state) -> float:
            """The loss of steps t.. as a function of h_t; the steps before owe it nothing."""
            head = state[0] @ tensors["head.weight"].T + tensors["head.bias"]
            total = float(((head - y[:, t]) ** 2).sum())
            if t < 6:
                out, _ = reference.network_forward(net.spec, tensors, x[:, t + 1 :], None, state)
                total += float(((out - y[:, t + 1 :]) ** 2).sum())
            return total / 7

        slope = oracles.central_differences(loss_from, state)
        assert norms[0, t] == pytest.approx(np.linalg.norm(slope), rel=1e-5)


def test_no_sample_has_a_say_in_anothers_norms() -> None:
    x = data(300)
    labels = np.arange(300) % 3
    net = make(output_size=3, task="classification", num_layers=2)
    options = {"class_weights": (1.0, 2.0, 0.5), "label_smoothing": 0.1, "ignore_index": 1}
    norms = net.gradient_norms(x, labels, layer="gru_l1", **options)
    assert norms.shape == (300, 7)
    alone = net.gradient_norms(x[5:6], labels[5:6], layer="gru_l1", **options)
    assert alone[0] == pytest.approx(norms[5], rel=tolerances.GRADIENT)
    assert not norms[1].any()  # its target is ignored


def test_what_nearly_vanished_is_still_there() -> None:
    """A square of 1e-25 is none in float32."""
    net = hg.Network(input_size=1, hidden_size=4, cell="rnn", seed=0)
    net.load_state_dict({k: v * 0.05 for k, v in net.state_dict().items()})
    norms = net.gradient_norms(np.zeros((1, 20, 1)), np.ones(1))
    assert (norms > 0).all()
    assert norms[0, 0] < 1e-20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, x: n.gates(x, layer="gru_l7"), r"no recurrent layer 'gru_l7'; .*\['gru_l0'\]"),
        (lambda n, x: n.attention(x), r"no attention read-out \(its read-out is 'last'\); build"),
        (lambda n, x: n.gradient_norms(x), "targets are missing; pass Y"),
        (lambda n, x: n.gradient_norms(x, np.ones((3, 2))), r"Y must have shape \(3, 1\)"),
        (lambda n, x: n.gradient_norms(x, np.ones(3), loss="no"), "loss must be one of"),
        (lambda n, x: n.gates(x * np.nan), "X has a value that is not finite at index"),
        (lambda n, x: n.plot_gates(x, sample=3), "sample must be between 0 and 2, got 3"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(hg.InputError, match=message):
        call(make(), data())


def test_networks_without_recurrent_layers_have_no_gates() -> None:
    net = hg.Network(hg.NetworkSpec.mlp(3, (4,), 1), seed=0)
    with pytest.raises(hg.InputError, match="no recurrent layer, so it has no gates or states"):
        net.gates(np.ones((1, 1, 3)))


def test_pictures(tmp_path: Any) -> None:
    from headgate.plots import save_figure

    x, y = data(), np.ones((3, 1))
    figure = make().plot_gates(x, lengths=LENGTHS, sample=2, title="a title")
    panels = figure.axes[:4]
    assert [a.get_title(loc="left") for a in panels] == ["reset", "update", "candidate", "state"]
    assert panels[1].get_title(loc="right") == "1 keeps the old state"
    assert figure.get_suptitle() == "a title"
    save_figure(figure, tmp_path / "gates.png")
    lstm = make(cell="lstm", num_layers=2)
    assert lstm.plot_gates(x, layer="lstm_l1").get_suptitle() == "lstm_l1"
    with pytest.raises(hg.InputError, match=r"a picture shows one layer; pass layer= one of \['ls"):
        lstm.plot_gates(x)
    figure = lstm.plot_gradient_norms(x, y, lengths=LENGTHS)
    assert [text.get_text() for text in figure.axes[0].texts] == ["lstm_l0", "lstm_l1"]
    assert figure.axes[0].get_yscale() == "log"
    make(cell="rnn").plot_gradient_norms(x[:1, :1], y[:1])
    attending = make(readout="attention")
    for figure in (attending.plot_attention(x, lengths=LENGTHS), attending.plot_attention(x[:1])):
        save_figure(figure, tmp_path / "attention.svg")


@pytest.mark.parametrize("layer", ["nope", 0, ["gru_l0"]])
def test_a_layer_that_is_not_there(layer: Any) -> None:
    with pytest.raises(
        hg.InputError, match=r"there is no recurrent layer .*; this network has \['gru"
    ):
        make().gates(data(), layer=layer)
