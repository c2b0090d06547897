"""``headgate info``."""

from __future__ import annotations

from pathlib import Path

from ..model_file import load_model
from ..models.forecasting.forecaster import GRUForecaster
from ..models.loading import load
from ..models.neural import NeuralEstimator
from ..summary import summarize
from ..training.history import History
from .output import console


def print_info(path: Path) -> None:
    """Print what a model file holds: kind, training facts, layers."""
    file = load_model(path)
    model = load(path)
    show = console()
    size = path.stat().st_size / 1024
    kind = type(model).__name__
    show.print(f"{path.name}: {kind}, {size:.0f} kB, written by headgate {file.headgate_version}")
    if isinstance(model, GRUForecaster):
        for name, value in _facts(model).items():
            show.print(f"  {name:<10} {value}")
    elif isinstance(model, NeuralEstimator):
        for name, value in _neural_facts(model).items():
            show.print(f"  {name:<10} {value}")
    has_own = isinstance(model, (GRUForecaster, NeuralEstimator))
    history = model.history_ if has_own else model.history
    if isinstance(history, History) and len(history.loss):
        show.print(
            f"  {'training':<10} {len(history.loss)} epochs in {history.seconds:.2f} s, "
            f"loss {history.loss[0]:.4g} -> {history.loss[-1]:.4g}"
        )
    show.print(f"\n{summarize(file.spec)}")


def _neural_facts(model: NeuralEstimator) -> dict[str, str]:
    facts = {}
    labels = getattr(model, "labels_", None)
    if labels is not None:
        names = [str(name) for name in labels.classes[:8]]
        more = f" and {len(labels) - 8} more" if len(labels) > 8 else ""
        facts["classes"] = f"{len(labels)}: {', '.join(names)}{more}"
    for holder in ("reading_", "writing_"):
        vocabulary = getattr(getattr(model, holder, None), "vocabulary", None)
        if vocabulary is not None:
            facts["tokens"] = f"{len(vocabulary):,} in the vocabulary"
    if model.validation_score_ is not None:
        facts["held out"] = f"score {model.validation_score_:.4g} in training"
    facts["networks"] = f"{len(model.members_.networks)}, averaged (one of them below)"
    return facts


def _facts(model: GRUForecaster) -> dict[str, str]:
    panel, treatment = model.panel_, model.treatment_
    shift = {"last": "last value", "mean": "mean", "none": ""}[treatment.shift]
    logs = int(treatment.log.sum())
    some = "" if logs == len(panel) else f" of {logs} series"
    steps = [f"logarithm{some}"] * bool(logs)
    steps += {
        "difference": [f"difference from {treatment.season} steps back"],
        "indices": [f"seasonal indices of {treatment.season} steps"],
        "plain": [],
    }[treatment.method]
    steps += [f"each window less its {shift}"] if shift else []
    rows = int(model.phase_.sum()) + len(panel.values)
    count = f"{rows} values" + (f" in {len(panel)} series" if len(panel) > 1 else "")
    columns = panel.past_names + panel.future_names + panel.static_names
    return {
        "series": f"{panel.value_name}, {count}, every {panel.freq}",
        **({"covariates": ", ".join(columns)} if columns else {}),
        "forecasts": f"{model.horizon_} steps from the last {model.lookback_}",
        "season": f"{model.season_} steps" if model.season_ > 1 else "none",
        "treatment": ", ".join(steps) or "scaled as a whole",
        "networks": f"{len(model.ensemble_.networks)}, averaged (one of them below)",
    }
