"""What says that a library is missing, and how to install it."""

from __future__ import annotations

import importlib
import sys

import pytest

import headgate as hg
from headgate.extras import require


@pytest.mark.parametrize("name", ["torch", "keras", "onnx"])
def test_a_missing_neighbour_is_named_with_its_extra(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"headgate.{name}", raising=False)
    with pytest.raises(ImportError) as caught:
        importlib.import_module(f"headgate.{name}")
    assert isinstance(caught.value, hg.MissingExtraError)
    assert str(caught.value) == (
        f"headgate.{name} needs the library {name}, which is not installed; install it with "
        f'pip install "headgate[{name}]"'
    )


def test_a_library_that_does_not_load_says_so_itself(monkeypatch, tmp_path):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        require("half_installed", "torch", "this test")


def test_neighbours_are_no_part_of_a_star_import():
    names = {"torch", "keras", "onnx"}
    assert not names & set(hg.__all__)
    used = {name for name in names if f"headgate.{name}" in sys.modules}  # by another test
    assert not (names - used) & set(dir(hg))


def test_a_network_says_what_takes_it_to_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    net = hg.Network(input_size=1, hidden_size=1)
    with pytest.raises(hg.MissingExtraError, match=r'to_torch needs .* "headgate\[torch\]"'):
        net.to_torch()
    with pytest.raises(hg.MissingExtraError, match="from_torch needs the library torch"):
        hg.Network.from_torch(object())
