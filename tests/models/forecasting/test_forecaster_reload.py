"""A saved forecaster goes on where the data go on, whatever part of them it is given."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headgate as hg
from headgate.cli.output import csv_bytes

WEEK = np.array([0, 5, -3, 2, 7, -6, -5.0])
FIRST = datetime.date(2020, 1, 1)


def days(first: int, count: int, values: np.ndarray) -> pl.DataFrame:
    dates = [FIRST + datetime.timedelta(k) for k in range(first, first + count)]
    return pl.DataFrame({"date": dates, "v": values})


@pytest.fixture(scope="module")
def weekly() -> tuple[pl.DataFrame, hg.GRUForecaster]:
    rng = np.random.default_rng(0)
    wander = np.cumsum(rng.normal(0, 0.3, 300)) + rng.normal(0, 0.3, 300)
    frame = days(0, 300, 50 + WEEK[np.arange(300) % 7] + wander)
    return frame, hg.GRUForecaster(7, members=1, progress=False).fit(frame)


@pytest.mark.parametrize("start", [0, 1, 2, 150, 200])
def test_a_loaded_model_keeps_the_phase_of_the_season(
    weekly: tuple[pl.DataFrame, hg.GRUForecaster], start: int, tmp_path: Path
) -> None:
    frame, model = weekly
    model.save(tmp_path / "m.safetensors")
    loaded = hg.load(tmp_path / "m.safetensors")
    expected = model.predict(level=None)
    assert loaded.predict(level=None).equals(expected)
    assert loaded.predict(level=None, data=frame[start:]).equals(expected)


@pytest.mark.parametrize("start", [300, 749, 1001, 5000])
def test_later_data_keep_the_phase_too(
    weekly: tuple[pl.DataFrame, hg.GRUForecaster], start: int
) -> None:
    _, model = weekly
    later = days(start, 60, 50 + WEEK[np.arange(start, start + 60) % 7])
    forecast = model.predict(level=None, data=later)["headgate"].to_numpy()
    truth = 50 + WEEK[np.arange(start + 60, start + 67) % 7]
    assert np.abs(forecast - truth).max() < 2  # the week swings by 13


def test_small_swings_on_large_values_are_kept() -> None:
    small = 3 * np.sin(np.arange(120) * 2 * np.pi / 12)
    model = hg.GRUForecaster(12, members=1, progress=False).fit(1e9 + small)
    forecast = model.predict(level=None)
    assert np.abs(forecast - 1e9 - small[:12]).max() < 1
    text = csv_bytes(pl.DataFrame({"headgate": forecast})).decode()
    assert len(set(text.split()[1:])) > 6  # not one rounded number
