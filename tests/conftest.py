"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import headgate as hg


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
