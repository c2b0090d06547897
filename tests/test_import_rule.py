"""The import rule of the house (ARCHITECTURE.md), held with ``ast`` and a little text search.

A file imports only from lower ranks; C++ kernels know neither Python nor the standard library's
templates; importing headgate costs NumPy's import and little more.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "headgate"
CPP = ROOT / "cpp"

# Low to high. Files of one rank do not import each other, files inside one folder do.
RANKS = [
    {"errors", "version"},
    {"checks", "extras", "files", "fonts", "reference", "gate_layout", "_engine"},
    {"layer_specs", "spec_json", "plots"},
    {"gate_plots", "class_plots"},
    {"graph", "builders"},
    {"spec"},
    {"model_header"},
    {"initial", "kernels", "model_file", "summary"},
    {"data"},
    {"training", "states"},
    {"conventions", "exchange", "learning", "observe", "rollout", "stream", "tagging", "weights"},
    {"network"},
    {"models", "interop"},
    {"deploy", "experiments"},
    {"torch", "keras", "onnx"},  # public faces of interop
    {"cli", "studio"},
    {"__init__", "__main__"},
]
RANK = {unit: rank for rank, units in enumerate(RANKS) for unit in units}

# (importing file, imported unit): a function-level import from a higher rank, of one line each,
# and why. Nothing else may break the rule.
EXCEPTIONS: dict[tuple[str, str], str] = {
    (
        "exchange.py",
        "interop",
    ): "a network goes to and comes from a neighbour by methods of its own",
}

NEVER = {"pickle", "joblib", "cPickle", "dill", "cloudpickle"}  # not even in a function
NOT_AT_THE_TOP = NEVER | {"torch", "onnx", "onnxruntime", "keras", "tensorflow"}
# Files that subclass or name a neighbour throughout; they are themselves imported where they are
# used, by a public face that says what to install.
AT_THE_TOP = {"torch": "interop/torch/", "onnx": "interop/onnx_", "keras": "interop/keras/"}
HEAVY = ["matplotlib", "sklearn", "polars", "narwhals", "rich", "typer", "pandas", "torch"]


# -- Python -------------------------------------------------------------------------------------


def python_files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def absolute(node: ast.Import | ast.ImportFrom, module: tuple[str, ...]) -> list[str]:
    """Dotted names that an import statement in ``module`` names (``headgate.data.frames``)."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = list(module[: len(module) - node.level]) if node.level else []
    base += node.module.split(".") if node.module else []
    return [".".join([*base, alias.name]) for alias in node.names]


def imports(path: Path, package: Path) -> Iterator[tuple[str, bool, int]]:
    """(dotted name, inside a function?, line) of every import of a file."""
    relative = path.relative_to(package).with_suffix("").parts
    module = ("headgate", *relative)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in absolute(node, module):
                yield name, id(node) in inside, node.lineno


def violations(package: Path) -> list[str]:
    """Every breach of the Python rules, as ``file:line: what``."""
    found = []
    for path in python_files(package):
        relative = path.relative_to(package)
        unit = relative.parts[0].removesuffix(".py")
        if unit not in RANK:
            found.append(f"{relative}: {unit!r} has no rank; give it one in RANKS")
            continue
        for name, in_function, line in imports(path, package):
            where = f"{relative}:{line}"
            first, _, rest = name.partition(".")
            theirs = relative.as_posix().startswith(AT_THE_TOP.get(first, "-"))
            if first in NEVER or (first in NOT_AT_THE_TOP and not in_function and not theirs):
                found.append(f"{where}: imports {first}")
            if first != "headgate":
                continue
            # `from . import x` of a public, lazy name counts as an import of __init__
            target = rest.partition(".")[0]
            if target not in RANK and any(package.glob(f"{target}.*")):
                continue  # has no rank, which is said where it is looked at itself
            target = target if target in RANK else "__init__"
            if target == "_engine" and unit != "kernels":
                found.append(f"{where}: only kernels.py imports _engine")
            excused = in_function and (relative.as_posix(), target) in EXCEPTIONS
            if target != unit and RANK[target] >= RANK[unit] and not excused and unit != "__init__":
                found.append(f"{where}: {unit} must not import {target}, which is not below it")
    return found


def test_every_file_imports_only_from_lower_ranks() -> None:
    assert python_files(PACKAGE), "no file was looked at"
    assert violations(PACKAGE) == []


def test_every_exception_is_in_use() -> None:
    used = {
        (path.relative_to(PACKAGE).as_posix(), name.split(".")[1])
        for path in python_files(PACKAGE)
        for name, in_function, _ in imports(path, PACKAGE)
        if in_function and name.startswith("headgate.")
    }
    assert set(EXCEPTIONS) - used == set()


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("spec.py", "from .errors import InputError", None),
        ("data/frames.py", "from .windows import x\nfrom ..spec import y", None),
        ("cli/__init__.py", "from ..models.forecast import z", None),
        ("errors.py", "import os, json", None),
        ("models/a.py", "def f():\n    import torch", None),
        ("interop/torch/modules.py", "import torch\nfrom torch import nn", None),
        ("__init__.py", "from .network import Network", None),
        ("errors.py", "from .spec import x", "errors.py:1: errors must not import spec"),
        ("errors.py", "def f():\n    from . import spec", "errors.py:2: errors must not import"),
        ("spec.py", "import headgate.network", "spec.py:1: spec must not import network"),
        ("spec.py", "import headgate", "spec.py:1: spec must not import __init__"),
        ("spec.py", "from . import Network", "spec.py:1: spec must not import __init__"),
        ("kernels.py", "from .model_file import x", "kernels must not import model_file"),
        ("models/a.py", "from ..interop import torch", "models must not import interop"),
        ("models/a/b.py", "from ...deploy.c import d", "models must not import deploy"),
        ("data/a.py", "from ..training.loop import b", "data must not import training"),
        ("network.py", "from . import _engine", "only kernels.py imports _engine"),
        ("kernels.py", "from . import _engine", None),
        ("data/a.py", "def f():\n    import pickle", "data/a.py:2: imports pickle"),
        ("models/a.py", "import torch.nn", "models/a.py:1: imports torch"),
        ("torch.py", "import torch.nn", "torch.py:1: imports torch"),
        ("interop/torch/a.py", "if 1:\n    from onnx import h", "a.py:2: imports onnx"),
        ("helpers.py", "", "'helpers' has no rank"),
    ],
)
def test_the_search_finds(tmp_path: Path, file: str, source: str, found: str | None) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(source)
    result = violations(tmp_path)
    assert (found is None) == (result == [])
    assert found is None or any(found in line for line in result)


def test_import_headgate_is_light() -> None:
    if not (PACKAGE / "__init__.py").exists():
        pytest.skip("src/headgate/__init__.py is not there yet")
    code = (
        "import sys, headgate\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "print(headgate.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split("\n")[:2], done.stderr) == (["[]", "headgate"], "")


# -- C++ ----------------------------------------------------------------------------------------

# No templates in them but the overloads of <cmath>; immintrin.h and arm_neon.h are C.
KERNEL_INCLUDES = {
    *("cstddef", "cstdint", "cmath", "cstring"),
    *("stddef.h", "stdint.h", "math.h", "string.h"),
    *("immintrin.h", "arm_neon.h"),
}
# Allowed outside kernels/vec.h, and why.
INTRINSICS_ALLOWED = {
    # vec.h is included inside a namespace, where a system header cannot stand
    "kernels/avx2.cpp": {"immintrin.h"},
    "kernels/avx512.cpp": {"immintrin.h"},
    "kernels/neon.cpp": {"arm_neon.h"},
    # a hint to the CPU in the waiting loop, no arithmetic
    "parallel.cpp": {"emmintrin.h", "_mm_pause"},
}
INTRINSICS = re.compile(
    r"immintrin\.h|arm_neon\.h|\b[exn]mmintrin\.h|x86intrin\.h|\b_mm\d*_\w+|\b__m(128|256|512)\w*"
    r"|\bv\w+q?_[fsu](8|16|32|64)\b|\b(float|u?int)(8|16|32|64)x\d+_t\b|vector_size"
)
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)
PYTHON = re.compile(r'#\s*include\s*[<"](nanobind|pybind11|Python\.h|numpy)')


def code_of(path: Path) -> str:
    """A C++ file without its comments."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)


def cpp_files(cpp: Path) -> list[Path]:
    return sorted(p for p in cpp.rglob("*") if p.suffix in {".h", ".hpp", ".inl", ".cpp"})


def reached(path: Path, cpp: Path, seen: set[Path]) -> set[Path]:
    """The file and every file of ours that it includes, directly or not."""
    if path in seen:
        return seen
    seen.add(path)
    for _, quoted in INCLUDE.findall(code_of(path)):
        for folder in (path.parent, cpp, cpp / "include"):
            if quoted and (folder / quoted).is_file():
                reached((folder / quoted).resolve(), cpp, seen)
    return seen


def cpp_violations(cpp: Path) -> list[str]:
    cpp = cpp.resolve()
    found, kernel_files = set(), set()
    for path in cpp_files(cpp):
        relative, code = path.relative_to(cpp).as_posix(), code_of(path)
        if PYTHON.search(code) and not relative.startswith("bindings/"):
            found.add(f"{relative}: includes a Python header")
        if relative != "kernels/vec.h":
            names = {match[0] for match in INTRINSICS.finditer(code)}
            for name in names - INTRINSICS_ALLOWED.get(relative, set()):
                found.add(f"{relative}: {name} belongs in kernels/vec.h")
        if relative.startswith("kernels/") and relative != "kernels/dispatch.cpp":
            reached(path, cpp, kernel_files)
        if relative.startswith("kernels/") and path.suffix == ".cpp" and path.stem != "dispatch":
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > 12:
                found.add(f"{relative}: {lines} lines; a guard, a namespace, an include: <= 12")
    for path in kernel_files:
        for system, quoted in INCLUDE.findall(code_of(path)):
            if system and system not in KERNEL_INCLUDES:
                found.add(f"{path.relative_to(cpp).as_posix()}: kernels reach <{system}>")
            ours = (path.parent / quoted, cpp / quoted, cpp / "include" / quoted)
            if quoted and not any(p.is_file() for p in ours):
                found.add(f"{path.relative_to(cpp).as_posix()}: no such file {quoted}")
    return sorted(found)


def test_kernels_keep_to_themselves() -> None:
    if not (CPP / "kernels").is_dir():
        pytest.skip("cpp/kernels is not there yet")
    assert cpp_files(CPP / "kernels"), "no file was looked at"
    assert cpp_violations(CPP) == []


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("kernels/vec.h", "#include <immintrin.h>\n__m256 f(); // <vector>", None),
        ("kernels/dispatch.cpp", "#include <vector>\n#include <cpuid.h>", None),
        ("kernels/a.inl", "#include <cmath>\n// _mm256_add_ps, std::vector\n", None),
        ("kernels/a.inl", "/* #include <vector>\n*/ float value_f3 = 0;", None),
        ("kernels/neon.cpp", "#include <arm_neon.h>", None),
        ("network.cpp", "#include <vector>", None),
        ("bindings/module.cpp", "#include <nanobind/nanobind.h>", None),
        ("kernels/a.inl", "#include <vector>", "kernels/a.inl: kernels reach <vector>"),
        ("kernels/a.inl", "# include <algorithm>", "kernels/a.inl: kernels reach <algorithm>"),
        ("kernels/a.inl", '#include "../other.h"', "other.h: kernels reach <string>"),
        ("kernels/a.inl", '#include "nowhere.h"', "kernels/a.inl: no such file nowhere.h"),
        ("kernels/avx2.cpp", '#include "headgate/api.h"', "include/headgate/api.h: kernels reach"),
        ("kernels/avx2.cpp", "\n" * 13, "kernels/avx2.cpp: 13 lines"),
        ("kernels/a.inl", "__m512 x;", "kernels/a.inl: __m512 belongs in kernels/vec.h"),
        ("kernels/a.inl", "x = _mm_add_ps(y, z);", "_mm_add_ps belongs in kernels/vec.h"),
        ("kernels/avx2.cpp", "__m256 x;", "kernels/avx2.cpp: __m256 belongs in kernels/vec.h"),
        ("layers/gru.cpp", "x = vfmaq_f32(x, y, z);", "vfmaq_f32 belongs in kernels/vec.h"),
        ("layers/gru.cpp", "float32x4_t x;", "float32x4_t belongs in kernels/vec.h"),
        ("layers/gru.cpp", "#include <arm_neon.h>", "arm_neon.h belongs in kernels/vec.h"),
        ("trainer.cpp", "#include <Python.h>", "trainer.cpp: includes a Python header"),
        ("kernels/a.inl", "#include <nanobind/nanobind.h>", "a.inl: includes a Python header"),
    ],
)
def test_the_cpp_search_finds(tmp_path: Path, file: str, source: str, found: str | None) -> None:
    for name, text in [
        ("other.h", "#include <string>"),
        ("include/headgate/api.h", "#include <map>"),
        (file, source),
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    result = cpp_violations(tmp_path)
    assert (found is None) == (result == [])
    assert found is None or any(found in line for line in result)
