"""The public API as type checkers see it: right use passes strictly, wrong use is found at its line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def mypy_lines(script: Path, version: str) -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--python-version", version]
    command += ["--cache-dir", str(ROOT / ".mypy_cache" / "typing"), str(script)]
    environment = os.environ | {"MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=110)
    return {int(line) for line in re.findall(rf"^{script.name}:(\d+): error", done.stdout, re.MULTILINE)}


def pyright_lines(script: Path, tmp_path: Path) -> set[int]:
    (tmp_path / script.name).write_bytes(script.read_bytes())  # pyright reads nothing outside its project's folder
    settings = {
        "include": [script.name],
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT / "src")],
        "reportUnusedFunction": False,
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(project)]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {item["range"]["start"]["line"] + 1 for item in found if item["severity"] == "error"}


def marked(script: Path) -> set[int]:
    lines = script.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


@pytest.mark.parametrize("version", VERSIONS)
def test_mypy_sees_the_types_a_user_relies_on(version: str) -> None:
    assert mypy_lines(HERE / "public_api.py", version) == set()


def test_pyright_sees_the_types_a_user_relies_on(tmp_path: Path) -> None:
    assert pyright_lines(HERE / "public_api.py", tmp_path) == set()


def test_mypy_finds_wrong_use() -> None:
    script = HERE / "wrong_use.py"
    assert mypy_lines(script, "3.11") == marked(script)


def test_pyright_finds_wrong_use(tmp_path: Path) -> None:
    script = HERE / "wrong_use.py"
    assert pyright_lines(script, tmp_path) == marked(script)
