"""hg.compare: what is trained, what is said of it, and what is refused."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headgate as hg
from headgate.experiments import kinds
from headgate.experiments.comparison import Comparison
from headgate.experiments.data import open_data
from headgate.experiments.jobs import make_job
from headgate.experiments.kinds import MODELS, make_model, network_spec
from headgate.experiments.toys import adding_job, sine_job

HAS_TORCH = importlib.util.find_spec("torch") is not None
WAVE = 20 + 5 * np.sin(np.arange(90.0) * 2 * np.pi / 12) + np.random.default_rng(0).normal(size=90)
NETWORKS = "gru,gru_reset_before,lstm,rnn,mlp"


def few(**options: Any) -> Comparison:
    defaults: dict[str, Any] = {
        "data": WAVE, "models": "gru,mlp", "seeds": 2, "epochs": 2, "hidden_size": 4, "horizon": 4,
    }  # fmt: skip
    return hg.compare(**{**defaults, **options})


@pytest.fixture(scope="module")
def shares() -> Comparison:
    return few(models=NETWORKS, train_fraction=(0.2, 1))


def test_the_table_has_every_model_at_every_share(shares: Comparison) -> None:
    records = shares.table
    networks = [record for record in records if record["runs"]]
    assert [(r["train fraction"], r["model"]) for r in networks] == [
        (share, model) for share in (0.2, 1.0) for model in NETWORKS.split(",")
    ]
    assert {r["model"] for r in records if not r["runs"]} == {
        "naive (last value)", "seasonal naive (12)"
    }  # fmt: skip
    for record in networks:
        runs = shares.of(record["model"], record["train fraction"])
        values = [run.scores["MAE"] for run in runs]
        assert len({run.seed for run in runs}) == record["runs"] == 2
        assert record["MAE"] == pytest.approx(np.mean(values))
        assert record["MAE_spread"] == pytest.approx(np.std(values, ddof=1))
        assert record["seconds"] > 0
        assert record["step_us"] > 0


def test_a_gru_has_three_quarters_of_the_lstm(shares: Comparison) -> None:
    count = {r["model"]: r["recurrent_parameters"] for r in shares.table if r["runs"]}
    assert count["gru"] / count["lstm"] == 0.75
    assert count["mlp"] == 0
    assert "0.75 of the recurrent parameters (84 to 112)" in repr(shares)


def test_networks_differ_in_their_middle_alone() -> None:
    job = adding_job(10)
    specs = {name: network_spec(name, job, 8) for name in NETWORKS.split(",")}
    for spec in specs.values():
        assert (spec.input_size, spec.output_size, spec.task) == (2, 1, "regression")
        assert spec.layers[-1].kind == "dense"
    assert [layer.kind for layer in specs["mlp"].layers] == ["dense", "dense", "last", "dense"]


def test_the_sine_begins_and_ends_as_the_tutorial_says() -> None:
    job = sine_job()
    model = make_model("gru", job, job.hidden, 0)
    assert (model.parameters, make_model("mlp", job, job.hidden, 0).parameters) == (929, 609)
    history = model.fit()
    found = job.score(model, history)
    assert found["train loss"] == pytest.approx(0.01156, abs=5e-6)
    assert found["roll-out MSE"] == pytest.approx(0.0171, abs=2e-4)


def test_same_seeds_give_the_same_scores(shares: Comparison) -> None:
    again = few(train_fraction=(1, 0.2), models="mlp,gru")
    for run in again.runs:
        (same,) = [r for r in shares.of(run.model, run.setting) if r.seed == run.seed]
        assert (run.scores, run.losses, run.val_losses) == (
            same.scores, same.losses, same.val_losses
        )  # fmt: skip


def test_adding_shows_how_far_gradients_reach() -> None:
    found = few(data=None, task="adding", length=(6, 4), seeds=1, epochs=1, models="rnn,mlp")
    assert found.settings == [4.0, 6.0]
    run = found.of("rnn", 6.0)[0]
    assert run.gradients is not None
    assert run.gradients.shape == (2, 6)
    assert run.gradients[:, -1].tolist() == [1, 1]
    assert found.of("mlp", 6.0)[0].gradients is None
    assert found.baselines[4.0]["always 1"]["MSE"] == pytest.approx(1 / 6, rel=0.1)


def test_what_a_step_of_one_cannot_show_is_left_out_by_name() -> None:
    found = few(models="gru,mlp,lstm", lookback=1)
    assert found.models == ["mlp"]
    assert set(found.left_out) == {"gru", "lstm"}
    assert "left out: gru: every sample is too short" in repr(found)
    assert "\nmlp is alone" in repr(found)
    with pytest.raises(hg.InputError, match="no model is left to compare: gru: every sample"):
        few(models="gru", lookback=1)


def test_a_transformer_without_pytorch_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds.importlib.util, "find_spec", lambda name: None)
    found = few(models=["mlp", "transformer"])
    assert found.left_out == {
        "transformer": 'PyTorch is not installed (pip install "headgate[torch]")'
    }


def test_what_diverges_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = kinds.NetworkModel.fit

    def diverge(self: kinds.NetworkModel) -> Any:
        if self.kind == "gru" and self.seed == 1:
            raise hg.DivergenceError("the loss was inf. Try less", epoch=0, update=0, loss=1.0)
        return fit(self)

    monkeypatch.setattr(kinds.NetworkModel, "fit", diverge)
    found = few()
    assert (found.models, found.left_out) == (["mlp"], {"gru": "seed 1: the loss was inf"})


@pytest.mark.neighbours
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
@pytest.mark.parametrize("data", ["series", "classes", "text"])
def test_the_transformer_learns_the_same_samples(data: str) -> None:
    given: Any = WAVE
    if data == "classes":
        given = ([f"{'good' if k % 2 else 'bad'} film {k}" for k in range(60)], ["a", "b"] * 30)
    if data == "text":
        given = "the sea the wind\n" * 60
    found = few(data=given, models="transformer,mlp", epochs=3)
    (record,) = [r for r in found.table if r["model"] == "transformer"]
    assert np.isfinite(record[found.job.metrics[0]])
    assert record["step_us"] is None
    losses = found.of("transformer")[0].losses
    assert losses[-1] < losses[0]


@pytest.mark.neighbours
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_the_transformer_sees_nothing_of_what_is_to_come() -> None:
    job = make_job(open_data("the sea the wind " * 60), lookback=None, horizon=12)
    model: Any = make_model("transformer", job, 8, 0)
    first = job.train.take(slice(0, 1))
    other = np.array(first.tokens)
    other[first.starts[0] + 30] = (other[first.starts[0] + 30] + 1) % job.vocabulary
    out, changed = (
        model.predict(replace(first, tokens=tokens))[0] for tokens in (first.tokens, other)
    )
    differs = (out != changed).any(axis=1)
    assert not differs[:30].any()
    assert differs[30]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": "gru,cnn"}, "models must be one of 'gru'.*got 'cnn'"),
        ({"models": ""}, "models is empty; name some of gru"),
        ({"models": []}, "models is empty"),
        ({"models": 5}, "models must be names, got 5"),
        ({"task": "translate"}, "task must be one of .*got 'translate'"),
        ({"train_fraction": 0}, "above 0 and at most 1, got 0"),
        ({"train_fraction": (0.5, 1.5)}, "got 1.5"),
        ({"train_fraction": "0.5,half"}, "got 'half'"),
        ({"train_fraction": float("nan")}, "got nan"),
        ({"data": None, "task": "adding", "length": "50,long"}, "length must be an integer"),
        ({"data": None, "task": "adding", "length": 1}, "length must be between 2"),
        ({"data": None, "task": "adding", "length": ()}, "length is empty"),
        ({"task": "adding"}, "makes its own data; leave data out"),
        ({"data": None, "task": "sine", "train_fraction": 0.5}, "not with the task sine"),
        ({"data": None}, "there are no data"),
        ({"seeds": 0}, "seeds must be between 1"),
        ({"epochs": 0}, "epochs must be between 1"),
        ({"hidden_size": 0}, "hidden_size must be between 1"),
        ({"lookback": 80}, "lookback=80 and horizon=4 need 84 steps"),
        ({"horizon": 40}, "has 90 values; with horizon=40 at least"),
        ({"data": (["a"] * 9, ["x"] * 9)}, "two classes or more are needed"),
        ({"colour": "red"}, "there is no option 'colour'"),
    ],
)
def test_what_cannot_be_compared_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(hg.InputError, match=message):
        few(**options)


def test_reports_are_whole(shares: Comparison, tmp_path: Path) -> None:
    shares.save(tmp_path / "all.html")
    page = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert page.count("<table>") == 2
    assert 'src="data:image/png;base64,iVBOR' in page
    shares.save(tmp_path / "all.md")
    assert "![learning curves and scores](all.png)" in (tmp_path / "all.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.html", "all.md", "all.png"]
    with pytest.raises(hg.InputError, match=r"must end in .html or .md, got 'all.txt'"):
        shares.save(tmp_path / "all.txt")
    with pytest.raises(hg.InputError, match="there is no folder"):
        shares.save(tmp_path / "no" / "all.md")


def test_the_best_of_every_share_stands_out(shares: Comparison, tmp_path: Path) -> None:
    shares.save(tmp_path / "all.md")
    text = (tmp_path / "all.md").read_text(encoding="utf-8").partition("## Every run")[0]
    bold = [line.split(" | ")[0][2:] for line in text.splitlines() if "**" in line]
    best = {
        (share, metric): min(
            (r for r in shares.table if r["train fraction"] == share), key=lambda r: r[metric]
        )["model"]
        for share in (0.2, 1.0)
        for metric in shares.job.metrics
    }
    assert text.count("**") == 2 * len(best)
    assert set(bold) == set(best.values())


def test_names_are_text_in_reports_not_markup(tmp_path: Path) -> None:
    name = tmp_path / "a|b<i>.csv"
    name.write_text("年,销量<b>\n" + "".join(f"{1990 + k},{k % 7}\n" for k in range(60)), "utf-8")
    found = few(data=name, models="mlp", seeds=1)
    found.save(tmp_path / "r.html")
    found.save(tmp_path / "r.md")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "a|b&lt;i&gt;.csv" in page
    assert "销量&lt;b&gt;" in page
    assert "<i>" not in page
    assert "a\\|b&lt;i>.csv" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_models_have_colours() -> None:
    from headgate.experiments.pictures import COLORS

    assert set(COLORS) == set(MODELS)
    assert len(set(COLORS.values())) == len(MODELS)
