"""Every benchmark is a script that can be started as its docstring says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = [path for path in sorted((PROJECT / "benchmarks").glob("*.py")) if "__main__" in path.read_text("utf-8")]


@pytest.mark.house
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_finds_the_benchmarks_beside_it(script: Path) -> None:
    code = script.read_text(encoding="utf-8")
    beside = [
        node.lineno for node in ast.parse(code).body if "from benchmarks" in (ast.get_source_segment(code, node) or "")
    ]
    path = [number for number, line in enumerate(code.splitlines(), start=1) if line.startswith("sys.path.insert(0, ")]
    assert not beside or (path and path[0] < min(beside)), "python benchmarks/… has only benchmarks/ on its path"
    assert f"python benchmarks/{script.name}" in (ast.get_docstring(ast.parse(code)) or "")
