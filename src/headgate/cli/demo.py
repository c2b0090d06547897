"""``headgate demo``: a sine that a GRU continues, the sunspots 11 years ahead, the next word.

The sine is a usual first exercise for a GRU. 1,000 noisy points of five periods; the first 800
are cut into 38 runs of 20 inputs and the values one step later; batch 1, Adam 5e-4, 150 epochs,
the state carried from run to run and from epoch to epoch. Then the network goes on for 199
steps on its own predictions. A plain network without memory (MLP) is trained alike, for
comparison. Each starts from five seeds, and the one with the lowest *training* loss is kept:
where a roll-out ends up depends on the first weights, and the training loss is all that one may
choose by.

The next word is that of a Chinese sentence, foreseen by a language model of a few lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.table import Table

from ..data.frames import as_series, read_table
from ..data.panel_future import panel_times
from ..data.sunspots import SUNSPOTS
from ..experiments.toys import sine_series
from ..files import write_beside_and_rename
from ..models.forecasting.backtest import Backtest
from ..models.forecasting.forecaster import GRUForecaster
from ..models.texts.language_model import LanguageModel
from ..network import Network
from ..spec import NetworkSpec
from .demo_lines import LINES
from .forecasting import coverage_line, describe
from .output import backtest_table, console, csv_bytes, make_folder, working

Float32 = npt.NDArray[np.float32]
STEPS = 199  # of the roll-out
SEEDS = range(5)
CYCLE = 11  # years ahead, and years of a usual solar cycle
PROMPT = "今天阳光明媚,我决定"


@dataclass(frozen=True)
class Run:
    """One network's sine: the last epoch's loss, the roll-out (199,), its MSE, seconds."""

    loss: float
    path: Float32
    error: float
    seconds: float


def run_demo(out: Path) -> None:
    """Do all three, print what was measured, write forecast.csv, forecast.png and the models."""
    folder = make_folder(out)
    show = console()
    with working("a noisy sine"):
        truth, runs = sine_job()
    _say_sine(runs)
    series = as_series(read_table(SUNSPOTS))
    forecaster = GRUForecaster(CYCLE, progress=False)
    with working("the sunspots"):
        forecaster.fit(series)
        backtest = forecaster.backtest(series)
    _say_sunspots(forecaster, backtest)
    with working("the next word"):
        language = LanguageModel(hidden_size=64, epochs=100, progress=False).fit(LINES)
    _say_next(language)
    write_beside_and_rename(folder / "forecast.csv", csv_bytes(forecaster.predict()))
    _draw(folder / "forecast.png", truth, runs, forecaster, backtest)
    forecaster.save(folder / "model.safetensors")
    language.save(folder / "language.safetensors")
    show.print("\nwritten:")
    for name, what in (
        ("forecast.csv", "the sunspots of 2009 to 2019 with their 80 and 95 % bands"),
        ("forecast.png", "both pictures"),
        ("model.safetensors", "the model, for headgate info and headgate predict"),
        ("language.safetensors", "the language model, for headgate text next and generate"),
    ):
        show.print(f"  {folder / name}  {what}")


# -- the sine ------------------------------------------------------------------------------


def sine_job() -> tuple[Float32, dict[str, list[Run]]]:
    """The truth of the roll-out (199,), and each network's runs, lowest training loss first."""
    series = sine_series()
    networks: dict[str, tuple[Callable[[int], Network], bool]] = {
        "GRU": (
            lambda seed: Network(
                input_size=1, hidden_size=16, output_size=1, readout="every", seed=seed
            ),
            True,
        ),
        "MLP": (lambda seed: Network(NetworkSpec.mlp(1, [32, 16], 1), seed=seed), False),
    }
    runs = {
        name: sorted((_run(make(seed), series, stateful) for seed in SEEDS), key=lambda r: r.loss)
        for name, (make, stateful) in networks.items()
    }
    return series[801:], runs


def _run(network: Network, series: Float32, stateful: bool) -> Run:
    cut = series[: 38 * 21].reshape(38, 21, 1)
    begin = time.perf_counter()
    history = network.fit(
        cut[:, :-1],
        cut[:, 1:],
        epochs=150,
        batch_size=1,
        shuffle=False,
        stateful=stateful,
        optimizer="adam",
        learning_rate=5e-4,
        loss="mse",
        progress=False,
    )
    seconds = time.perf_counter() - begin
    path = network.rollout(series[800:801], STEPS)[:, 0]
    error = float(np.mean((path.astype(np.float64) - series[801:]) ** 2))
    return Run(float(history.loss[-1]), path, error, seconds)


def _say_sine(runs: dict[str, list[Run]]) -> None:
    show = console()
    show.print(
        f"1. A noisy sine: learn 798 points, then go on alone for {STEPS} steps. Each network is "
        f"the one of\n   {len(SEEDS)} starts with the lowest training loss.\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in ("training loss", "roll-out MSE", "of all starts", "seconds a training"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, tried in runs.items():
        errors = [run.error for run in tried]
        table.add_row(
            name,
            f"{tried[0].loss:.5f}",
            f"{tried[0].error:.3f}",
            f"{min(errors):.3f} to {max(errors):.3f}",
            f"{tried[0].seconds:.3f}",
        )
    show.print(table)


def _say_sunspots(forecaster: GRUForecaster, backtest: Backtest) -> None:
    show = console()
    show.print(
        f"\n2. Sunspots, yearly, 1700 to 2008: {CYCLE} years ahead. Fitted in "
        f"{forecaster.seconds_:.1f} s.\n   {describe(backtest)}\n"
    )
    show.print(backtest_table(backtest))
    show.print(f"\n{backtest.verdict()}")
    show.print(coverage_line(backtest))


def _say_next(language: LanguageModel) -> None:
    show = console()
    likeliest = ", ".join(f"{token} {p:.0%}" for token, p in language.next(PROMPT, 3))
    show.print(
        f"\n3. The next word, learned from {len(LINES)} lines in {language.seconds_:.1f} s:\n\n"
        f"{PROMPT} ...  {likeliest}\n"
        f"{PROMPT}{language.generate(PROMPT, 20, temperature=0)}"
    )


def _draw(
    path: Path,
    truth: Float32,
    runs: dict[str, list[Run]],
    forecaster: GRUForecaster,
    backtest: Backtest,
) -> None:
    from ..plots import forecast_axes, new_figure, rollout_axes, save_figure

    figure = new_figure(2, width=13.0, height=4.8)
    rollout_axes(
        figure.axes[0],
        truth,
        {name: tried[0].path for name, tried in runs.items()},
        "Left to itself, the GRU goes on; the MLP cannot",
    )
    panel = forecaster.panel_
    centre, bands = forecaster.forecast(panel, CYCLE, (80, 95))
    figure.axes[1].set_ylim(0, 240)  # room for the legend above the highest cycle
    forecast_axes(
        figure.axes[1],
        panel.series(0),
        panel_times(panel, CYCLE)[0],
        centre[0],
        {level: (low[0], high[0]) for level, (low, high) in bands.items()},
        f"Sunspots a year, {CYCLE} years ahead",
        {"headgate": backtest.forecasts["headgate"][-1]},
    )
    save_figure(figure, path)
