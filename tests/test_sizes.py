"""One file, one idea: no source file passes 500 lines, no function 60, and every module says what rule it guards."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "benchmarks", "examples", "tools")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60


def faults_of(path: Path, name: str) -> list[str]:
    """What is too long or unsaid in one file; a function counts from ``def`` to its last line, docstring included."""
    source = path.read_text("utf-8")
    tree = ast.parse(source, name)
    found: list[str] = []
    lines = len(source.splitlines())
    if lines > FILE_LINES_MAX:
        found.append(f"{name}: {lines} lines, the bound is {FILE_LINES_MAX}")
    if not (ast.get_docstring(tree) or "").strip():
        found.append(f"{name}: no module docstring; say which rule the file guards")
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES_MAX:
                found.append(f"{name}:{node.lineno}: {node.name} has {size} lines, the bound is {FUNCTION_LINES_MAX}")
    return found


def test_sources_are_short_and_say_their_rule() -> None:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 10
    assert [fault for path in files for fault in faults_of(path, str(path.relative_to(ROOT)))] == []


def test_a_planted_long_file_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text('"""Rule."""\n' + "x = 1\n" * 499)
    assert faults_of(path, "a.py") == []
    path.write_text('"""Rule."""\n' + "x = 1\n" * 500)
    assert faults_of(path, "a.py") == ["a.py: 501 lines, the bound is 500"]


def test_a_planted_long_function_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    head = '"""Rule."""\nclass A:\n    @staticmethod\n    async def f():\n'
    path.write_text(head + "        x = 1\n" * 59)
    assert faults_of(path, "a.py") == []
    path.write_text(head + "        x = 1\n" * 60)
    assert faults_of(path, "a.py") == ["a.py:4: f has 61 lines, the bound is 60"]


def test_a_planted_module_without_docstring_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    for source in ("", "x = 1\n", '"""  """\n'):
        path.write_text(source)
        assert faults_of(path, "a.py") == ["a.py: no module docstring; say which rule the file guards"]
