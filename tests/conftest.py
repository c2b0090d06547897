"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # no test opens a window
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("KERAS_HOME", os.devnull)  # where Keras cannot leave its keras.json

import pytest

import headgate as hg

# Where the tests run in the background of a shell Ctrl-C is ignored, by what they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """What is tested: the installed package, on which instruction sets, with how many threads."""
    sets = ", ".join(hg.available_isas())
    return (
        f"headgate {hg.__version__} from {Path(hg.__file__).parent}\n"
        f"instruction sets: {sets}; in use {hg.isa()}; threads: {hg.get_num_threads()}; "
        f"HEADGATE_DATA: {os.environ.get('HEADGATE_DATA') or 'not set'}"
    )


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data that the environment names; skips the test where there is none."""
    name = os.environ.get("HEADGATE_DATA")
    if not name:
        pytest.skip("needs real data: set HEADGATE_DATA to the folder that has them")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"HEADGATE_DATA={name!r} is not a folder")
    return folder


@pytest.fixture(params=hg.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this machine can run, in turn; the one in use is put back."""
    before = hg.isa()
    hg.set_isa(request.param)
    yield request.param
    hg.set_isa(before)


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts the number of threads back that was in use before the test."""
    before = hg.get_num_threads()
    yield
    hg.set_num_threads(before)
