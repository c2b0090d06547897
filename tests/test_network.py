"""Network beyond its numbers: state, callbacks, early stopping, files, summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest

import headgate as hg
from headgate.model_file import save_model
from headgate.spec import GRU, Dense, NetworkSpec
from headgate.training import progress

OPTIONS: dict[str, Any] = {"stateful": True, "shuffle": False, "batch_size": 2}


def data(n: int = 6, t: int = 5, inputs: int = 1, outputs: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return oracles.normal(rng, (n, t, inputs)), oracles.normal(rng, (n, t, outputs))


def every(seed: int = 0, **options: Any) -> hg.Network:
    return hg.Network(
        **{"input_size": 1, "hidden_size": 5, "readout": "every", "seed": seed, **options}
    )


def weights(net: hg.Network) -> bytes:
    return net._engine.get_vector().tobytes()


# -- state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("ragged", [False, True])
def test_row_i_continues_row_i_from_batch_to_batch_and_epoch_to_epoch(
    isa: str, ragged: bool, reset_after: bool
) -> None:
    """With a vanishing rate a stateful fit is a chain of predictions that pass the state on."""
    x, y = data()
    lengths = np.array([5, 2, 3, 5, 1, 4]) if ragged else np.full(6, 5)
    net = every(num_layers=2, reset_after=reset_after)
    start = np.tanh(oracles.normal(np.random.default_rng(1), (2, 2, 5), np.float32))
    history = net.fit(x, y, lengths=lengths, epochs=2, learning_rate=1e-30, state=start, **OPTIONS)
    state, expected = start, []
    for _ in range(2):
        errors = []
        for k in range(0, 6, 2):
            out, state = net.predict(
                x[k : k + 2], lengths=lengths[k : k + 2], state=state, return_state=True
            )
            for row in range(2):
                size = lengths[k + row]
                errors.append((out[row, :size] - y[k + row, :size]) ** 2)
        expected.append(np.concatenate(errors).mean())
    assert history.loss == pytest.approx(expected, rel=1e-6)
    assert history.loss[0] != pytest.approx(history.loss[1], rel=1e-6)
    assert np.array_equal(net.state, state)


def test_predict_starts_from_zeros_unless_told(isa: str) -> None:
    x, y = data()
    net = every()
    assert net.state is None
    net.fit(x, y, epochs=3, **OPTIONS)
    assert net.state.shape == (1, 2, 5)
    assert net.state.dtype == np.float32
    zeros = np.zeros((1, 6, 5))
    assert np.array_equal(net.predict(x), net.predict(x, state=zeros))
    assert not np.array_equal(net.predict(x[:2]), net.predict(x[:2], state=net.state))
    copy = net.state
    copy[:] = 9
    assert not (net.state == 9).any()
    with pytest.raises(
        hg.InputError, match=r"holds 2 rows, .* one; pass state=net\.state\[:, :1\]$"
    ):
        net.rollout(0.5, 3)
    one = net.state[:, :1]
    path = net.rollout(0.5, 3, state=one)
    net.state = one
    assert np.array_equal(net.rollout(0.5, 3), path)
    pair = every(cell="lstm")
    pair.state = (np.zeros((1, 2, 5)), np.zeros((1, 2, 5)))
    with pytest.raises(
        hg.InputError, match=r"pass state=net\.state with \[:, :1\] of every array$"
    ):
        pair.rollout(0.5, 3)
    assert np.array_equal(net.state, one)
    net.state = None
    assert np.array_equal(net.rollout(0.5, 3), net.rollout(0.5, 3, state=np.zeros((1, 1, 5))))


def test_an_ordinary_fit_leaves_the_state_alone() -> None:
    x, y = data()
    net = every()
    net.state = np.ones((1, 1, 5))
    net.fit(x, y, epochs=1)
    assert np.array_equal(net.state, np.ones((1, 1, 5)))


def test_two_stacks_have_their_states_by_name() -> None:
    spec = oracles.chained(
        1,
        (GRU, "low", {"hidden_size": 3}),
        (GRU, "high", {"hidden_size": 4, "num_layers": 2}),
        (Dense, "head", {"size": 1}),
    )
    x, y = data()
    net = hg.Network(spec, seed=0)
    net.fit(x, y, epochs=1, **OPTIONS)
    assert {name: value.shape for name, value in net.state.items()} == {
        "low": (1, 2, 3),
        "high": (2, 2, 4),
    }
    net.state = net.state
    with pytest.raises(hg.InputError, match=r"state must be a dict with \['low', 'high'\]"):
        net.predict(x, state=np.zeros((1, 6, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": True}, "pass shuffle=False with it"),
        ({"batch_size": 4}, "6 samples do not divide by batch_size=4"),
        ({"state": np.zeros((1, 6, 5))}, r"= \(1, 2, 5\), got \(1, 6, 5\)"),
        ({"stateful": False, "state": np.zeros((1, 2, 5))}, "state goes with stateful=True"),
    ],
)
def test_stateful_errors(options: dict[str, Any], message: str) -> None:
    x, y = data()
    net = every()
    before = weights(net)
    with pytest.raises(hg.InputError, match=message):
        net.fit(x, y, **{**OPTIONS, **options})
    assert weights(net) == before


# -- history, callbacks, early stopping ------------------------------------------------------


def test_history() -> None:
    x, y = data()
    net = every()
    assert net.history is None
    history = net.fit(x, y, epochs=4, validation_data=(x[:2], y[:2]))
    assert net.history is history
    assert history.loss.shape == history.val_loss.shape == (4,)
    assert history.loss.dtype == history.val_loss.dtype == np.float64
    assert history.val_loss[-1] == net.evaluate(x[:2], y[:2])
    assert history.seconds > 0
    assert not history.stopped_early
    assert "4 epochs" in repr(history)
    assert net.fit(x, y, epochs=0).loss.size == 0
    assert net.fit(x, y, epochs=1).val_loss.size == 0


def test_callbacks_see_every_epoch() -> None:
    x, y = data()
    net, seen = every(), []
    net.fit(x, y, epochs=3, callbacks=[seen.append], validation_data=(x, y), learning_rate=0.01)
    assert [env.epoch for env in seen] == [0, 1, 2]
    assert {(env.begin_epoch, env.end_epoch) for env in seen} == {(0, 3)}
    assert all(env.network is net for env in seen)
    assert seen[0].params["learning_rate"] == 0.01
    for k, env in enumerate(seen):
        assert env.evaluation_result_list == [
            ("train", "mse", net.history.loss[k], False),
            ("valid", "mse", net.history.val_loss[k], False),
        ]


def test_a_callback_may_use_the_network_without_disturbing_the_fit(isa: str) -> None:
    """Roll-outs, larger predictions and evaluations between epochs change no bit."""
    x, y = data()
    paths: list[np.ndarray] = []

    def look(env: hg.CallbackEnv) -> None:
        state = env.network.state
        paths.append(env.network.rollout(0.3, 7, state=state[:, :1]))
        env.network.predict(np.ones((40, 50, 1)))
        env.network.evaluate(x, y, loss="mae")
        assert np.array_equal(env.network.state, state)

    plain, watched = every(), every()
    plain.fit(x, y, epochs=5, **OPTIONS)
    watched.fit(x, y, epochs=5, callbacks=[look], **OPTIONS)
    assert weights(plain) == weights(watched)
    assert np.array_equal(plain.state, watched.state)
    assert np.array_equal(plain.history.loss, watched.history.loss)
    assert len({path.tobytes() for path in paths}) == 5


def test_a_callback_ends_the_fit() -> None:
    x, y = data()

    def stop(env: hg.CallbackEnv) -> None:
        if env.epoch == 2:
            raise hg.EarlyStopException(env.epoch, env.evaluation_result_list)

    history = every().fit(x, y, epochs=50, callbacks=[stop])
    assert len(history.loss) == 3
    assert history.stopped_early


def test_an_error_in_a_callback_comes_through() -> None:
    x, y = data()

    def fail(env: hg.CallbackEnv) -> None:
        raise RuntimeError("mine")

    net = every()
    with pytest.raises(RuntimeError, match="mine"):
        net.fit(x, y, epochs=50, callbacks=[fail])
    assert len(net.history.loss) == 1


def overfit(**options: Any) -> tuple[hg.Network, Any, Any]:
    """Training on noise: the validation loss on other noise soon rises."""
    rng = np.random.default_rng(3)
    x, y = oracles.normal(rng, (8, 6, 1)), oracles.normal(rng, (8, 6, 1))
    net = every(hidden_size=9)
    held = (x[::-1], y)
    net.fit(
        x, y, validation_data=held, learning_rate=0.03, **{**OPTIONS, "batch_size": 4, **options}
    )
    return net, *held


def test_early_stopping_restores_the_best_weights_and_state(isa: str) -> None:
    net, x, y = overfit(epochs=200, early_stopping=4)
    history = net.history
    assert history.stopped_early
    assert len(history.loss) == history.best_epoch + 5 < 200
    assert history.val_loss[history.best_epoch] == history.val_loss.min()
    assert net.evaluate(x, y) == history.val_loss.min()
    shorter, _, _ = overfit(epochs=history.best_epoch + 1)
    assert weights(net) == weights(shorter)
    assert np.array_equal(net.state, shorter.state)
    full, _, _ = overfit(epochs=len(history.loss))
    assert weights(net) != weights(full)


def test_early_stopping_that_never_stops_still_restores_the_best() -> None:
    net, x, y = overfit(epochs=40, early_stopping=1000)
    assert not net.history.stopped_early
    assert net.history.best_epoch < 39
    assert net.evaluate(x, y) == net.history.val_loss.min()
    same, _, _ = overfit(epochs=40, callbacks=[hg.early_stopping(1000)])
    assert weights(same) == weights(net)


def test_early_stopping_needs_validation_data_and_changes_nothing_without() -> None:
    x, y = data()
    net = every()
    history = net.fit(x, y, epochs=1)
    before = weights(net)
    with pytest.raises(hg.InputError, match=r"pass validation_data=\(X, Y\) to fit"):
        net.fit(x, y, early_stopping=3)
    assert weights(net) == before
    assert net.history is history
    for patience in (0, -1, 1.5, True):
        with pytest.raises(hg.InputError, match="patience must be an integer of at least 1"):
            net.fit(x, y, early_stopping=patience, validation_data=(x, y))
    with pytest.raises(hg.InputError, match="min_delta must be a finite number at least 0, got n"):
        hg.early_stopping(3, min_delta=float("nan"))
    net.fit(x, y, early_stopping=np.int64(3), validation_data=(x, y), epochs=1)


def test_record_and_log_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = data()
    kept: dict[str, Any] = {}
    calls = [hg.record_evaluation(kept), hg.log_evaluation(2)]
    history = every().fit(x, y, epochs=4, callbacks=calls, validation_data=(x, y), loss="mae")
    assert kept == {
        "train": {"mae": history.loss.tolist()},
        "valid": {"mae": history.val_loss.tolist()},
    }
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["[2]", "[4]"]
    assert f"train mae {history.loss[3]:.6g}" in lines[1]
    with pytest.raises(hg.InputError, match="record_evaluation needs a dict"):
        hg.record_evaluation([])


def test_a_progress_bar_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(60, 50)
    monkeypatch.setattr(progress, "SHOW_AFTER", 0.0)
    plain, shown = every(), every()
    plain.fit(x, y, epochs=30, progress=False)
    shown.fit(x, y, epochs=30, progress=True)
    assert weights(plain) == weights(shown)
    for strange in ("loud", 0, np.array([1, 2])):
        with pytest.raises(hg.InputError, match="progress must be True, False, 'auto'"):
            plain.fit(x, y, progress=strange)


def test_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = data(20, 5)

    def scored(env: hg.CallbackEnv) -> None:
        env.evaluation_result_list.append(("valid", "accuracy", 0.5, True))

    net = every()
    history = net.fit(
        x, y, epochs=2, progress="epochs", callbacks=[scored], validation_data=(x, y), loss="mae"
    )
    assert capsys.readouterr().err.splitlines() == [
        f"epoch {k + 1}/2  loss {history.loss[k]:.4g}  validation loss {history.val_loss[k]:.4g}  "
        "accuracy 0.5"
        for k in range(2)
    ]


# -- weights, files, summary -----------------------------------------------------------------


def test_load_state_dict_refuses_what_does_not_fit() -> None:
    net = every()
    before, tensors = weights(net), net.state_dict()
    nan = tensors["head.bias"] * np.nan
    for wrong, message in (
        ({**tensors, "tail.bias": np.zeros(1)}, r"unknown \['tail.bias'\]"),
        ({k: v for k, v in tensors.items() if k != "head.bias"}, r"missing \['head.bias'\]"),
        ({**tensors, "head.weight": np.zeros((5, 1))}, r"shape \(1, 5\), got \(5, 1\)"),
        ({**tensors, "head.bias": nan}, r"head.bias has a value that is not finite"),
    ):
        with pytest.raises(hg.InputError, match=message):
            net.load_state_dict(wrong)
        assert weights(net) == before
    tensors["head.bias"][:] = 5
    assert weights(net) == before
    net.load_state_dict(tensors)
    assert net.state_dict()["head.bias"].tolist() == [5.0]


@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_a_saved_network_is_the_same_network(tmp_path: Path, isa: str, reset_after: bool) -> None:
    x, y = data()
    net = every(seed=11, reset_after=reset_after, num_layers=2, dense=(3,), head_dropout=0.1)
    net.fit(x, y, epochs=3, validation_data=(x, y), **OPTIONS)
    net.save(tmp_path / "net.safetensors")
    again = hg.load(tmp_path / "net.safetensors")
    assert again.spec == net.spec
    assert again.seed == 11
    assert again.predict(x).tobytes() == net.predict(x).tobytes()
    assert np.array_equal(again.state, net.state)
    assert np.array_equal(again.history.loss, net.history.loss)
    assert np.array_equal(again.history.val_loss, net.history.val_loss)
    assert again.history.best_epoch == net.history.best_epoch
    for one in (net, again):
        one.fit(x, y, epochs=2, state=one.state, **OPTIONS)
    assert weights(net) == weights(again)


def test_an_untrained_network_is_saved_too(tmp_path: Path) -> None:
    net = every()
    net.save(tmp_path / "net.safetensors")
    again = hg.load(tmp_path / "net.safetensors")
    assert again.history is None
    assert again.state is None
    assert weights(again) == weights(net)


def test_summary_counts_and_says_how() -> None:
    text = str(hg.Network(input_size=1, hidden_size=16, readout="every", seed=0).summary())
    lines = [line.split() for line in text.splitlines()]
    assert ["gru", "gru", "(N,", "T,", "16)", "912"] in lines
    assert ["head", "dense", "(N,", "T,", "1)", "17"] in lines
    assert ["total", "929"] in lines
    assert "biases counted as in PyTorch: bias_ih and bias_hh, 6H a GRU layer" in text
    assert "with LSTM layers: 1,233 (25% fewer with GRU layers)" in text
    before = hg.Network(input_size=1, hidden_size=16, reset_after=False, seed=0).summary()
    assert before.parameters == 929 - 16
    assert before.lstm_parameters == 1233
    assert "5H" in before.convention
    assert "(N, 16)" in str(before)
    plain = hg.Network(NetworkSpec.mlp(1, (32, 16)), seed=0).summary()
    assert plain.parameters == 609
    assert plain.lstm_parameters is None
    assert "LSTM" not in str(plain)


def test_networks_are_built_from_a_spec_or_from_keywords() -> None:
    spec = NetworkSpec.stacked(1, 4)
    assert weights(hg.Network(spec, seed=1)) == weights(
        hg.Network(input_size=1, hidden_size=4, seed=1)
    )
    for call, message in (
        (lambda: hg.Network(spec, hidden_size=3), "pass a spec or keywords, not both"),
        (lambda: hg.Network(input_size=1), "hidden_size"),
        (lambda: hg.Network(input_size=1, hidden_size=4, zoneout=0.1), "zoneout"),
        (lambda: hg.Network("gru"), "spec must be a NetworkSpec, got str"),
        (lambda: hg.Network(spec, seed=-1), "seed must be between 0"),
    ):
        with pytest.raises(hg.InputError, match=message):
            call()


@pytest.mark.parametrize(
    "change", [{"loss": 5}, {"loss": [[1.0]]}, {"best_epoch": "x"}, {"best_epoch": -1}]
)
def test_a_history_in_a_file_is_checked(tmp_path: Path, change: dict[str, Any]) -> None:
    net, (x, y) = every(), data()
    net.fit(x, y, epochs=1)
    facts = net.facts()
    facts["history"].update(change)
    save_model(tmp_path / "m.safetensors", net.spec, net.tensors(), extra={"network": facts})
    with pytest.raises(hg.ModelFileError, match="its network cannot be rebuilt"):
        hg.load(tmp_path / "m.safetensors")
