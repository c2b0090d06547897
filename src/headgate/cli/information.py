"""``headgate info``."""

from __future__ import annotations

from pathlib import Path

from ..model_file import load_model
from ..models.forecaster import GRUForecaster
from ..models.loading import load
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
    history = model.history_ if isinstance(model, GRUForecaster) else model.history
    if isinstance(history, History) and len(history.loss):
        show.print(
            f"  {'training':<10} {len(history.loss)} epochs in {history.seconds:.2f} s, "
            f"loss {history.loss[0]:.4g} -> {history.loss[-1]:.4g}"
        )
    show.print(f"\n{summarize(file.spec)}")


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
