"""What users install: the wheel's contents, one version everywhere, no symbols that clash."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import headgate as hg

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ("generic", "avx2", "avx512", "neon")
# Types of nm that a linker merges across objects by name: of an inline function compiled for
# AVX-512 and for plain x86 it keeps one, whichever comes first.
MERGED = frozenset("WVu")


def compiler() -> str:
    """The C++ compiler, or a skip that says what is missing."""
    found = shutil.which(os.environ.get("CXX") or "g++") or shutil.which("c++")
    if found is None:
        pytest.skip("no C++ compiler here")
    if shutil.which("nm") is None:
        pytest.skip("nm (binutils) is not here")
    return found


def flags(kernel: str) -> list[str]:
    """The flags that CMakeLists.txt gives to a kernel's file, read from it."""
    text = (ROOT / "CMakeLists.txt").read_text()
    common = re.search(r"add_compile_options\((-O3 [^)]*)\)", text)
    assert common, "CMakeLists.txt no longer has its line of common flags"
    found = common[1].split()
    if platform.machine().lower() in ("x86_64", "amd64", "i686"):
        own = re.search(rf'cpp/kernels/{kernel}\.cpp PROPERTIES\s+COMPILE_OPTIONS "(-[^"]*)"', text)
        assert own or kernel in ("generic", "neon"), f"CMakeLists.txt has no flags for {kernel}.cpp"
        found += own[1].split(";") if own else []
    return found


def symbols(objects: Path) -> list[tuple[str, str]]:
    """(type, demangled name) of every defined symbol of an object file."""
    listing = subprocess.run(
        ["nm", "-C", "--defined-only", objects], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.split(maxsplit=2) for line in listing.splitlines())
    return [(kind, name) for _, kind, name in lines]


def compiled(source: Path, target: Path, *options: str) -> list[tuple[str, str]]:
    command = [compiler(), "-std=c++17", "-fPIC", "-fvisibility=hidden", *options]
    subprocess.run([*command, "-c", source, "-o", target], check=True)
    return symbols(target)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_define_nothing_that_a_linker_could_swap(kernel: str, tmp_path: Path) -> None:
    """One table function per instruction set; all else is local to its own object.

    At -O1, which is quicker to compile and leaves more functions whole than -O3 does.
    """
    source = ROOT / "cpp" / "kernels" / f"{kernel}.cpp"
    includes = [f"-I{ROOT / 'cpp'}", f"-I{ROOT / 'cpp' / 'include'}"]
    found = compiled(source, tmp_path / "kernel.o", *flags(kernel), "-O1", *includes)
    assert [name for kind, name in found if kind in MERGED] == []
    outside = [name for kind, name in found if kind.isupper()]
    assert outside == [f"headgate::{kernel}_kernels()"]


def test_the_look_for_such_symbols_finds_them(tmp_path: Path) -> None:
    source = tmp_path / "inline.cpp"
    source.write_text("#include <vector>\nvoid f(std::vector<int>* v) { v->push_back(1); }\n")
    found = compiled(source, tmp_path / "inline.o", "-O0")
    assert any(kind in MERGED and name.startswith("std::") for kind, name in found)


def test_one_version_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text().split("[project]")[1]
    stated = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert stated
    assert stated[1] == hg.__version__ == importlib.metadata.version("headgate")
    assert f"## [{hg.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_package_brings_its_types_and_its_one_data_file() -> None:
    package = importlib.resources.files("headgate")
    assert (package / "py.typed").is_file()
    tables = [entry for entry in (package / "data").iterdir() if entry.name.endswith(".csv")]
    assert [entry.name for entry in tables] == ["sunspots_yearly.csv"]
    assert "\n1700,5" in tables[0].read_text(encoding="utf-8")


def test_package_is_all_of_the_sources_and_nothing_else() -> None:
    """A wheel of an old state, or one with a developer's own build in it, shows here."""
    installed = Path(hg.__file__).parent
    sources = ROOT / "src" / "headgate"
    if installed == sources:
        pytest.skip("headgate is imported from src/, not installed")

    def names(folder: Path) -> set[str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {
            path.relative_to(folder).as_posix()
            for path in files
            if path.suffix not in (".pyc", ".so", ".pyd")
        }

    assert names(installed) == names(sources)
    engines = [path.name for path in installed.rglob("*.so")] or list(installed.rglob("*.pyd"))
    assert len(engines) == 1, engines
