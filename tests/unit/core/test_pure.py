"""Rules and modes know no clock, no chance and no world: with the same replies a turn is the same on every machine.

Read from the source. ``tests/test_layers.py`` says which floors may import which; this says what of the standard
library would let the outside in.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "src" / "lash"
PURE = ("core", "modes")
WORLD = set(
    "asyncio concurrent contextvars ctypes getpass io locale logging multiprocessing os pathlib platform queue random "
    "sched secrets select selectors shutil signal socket sqlite3 ssl subprocess sys tempfile threading time urllib "
    "uuid weakref".split()
)
VALUES = {"uuid.UUID"}
"""What is only a type of value in a module that does more."""
CALLS = {"open", "input", "print", "id", "hash", "now", "today", "utcnow", "vars", "globals"}
"""Of builtins, and of ``datetime``: what may come out otherwise in the next run."""


def faults_of(source: str) -> list[str]:
    """What a file uses of the world, with its line."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] in WORLD]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] in WORLD:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name) for name in names if name not in VALUES]
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in CALLS or name in ("__import__", "import_module"):
                found.append((node.lineno, f"{name}()"))
    return [f"{line}: {name}" for line, name in sorted(found)]


def test_core_and_modes_know_nothing_of_the_world() -> None:
    files = [path for package in PURE for path in sorted((SOURCE / package).rglob("*.py"))]
    assert {"turn.py", "standard.py"} <= {path.name for path in files}
    faults = {str(path.relative_to(SOURCE)): faults_of(path.read_text("utf-8")) for path in files}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import time", "1: time"),
        ("import os.path as p", "1: os.path"),
        ("from random import random", "1: random.random"),
        ("from uuid import UUID, uuid4", "1: uuid.uuid4"),
        ("import uuid", "1: uuid"),
        ("def f():\n    import asyncio", "2: asyncio"),
        ("if TYPE_CHECKING:\n    from asyncio import Task", "2: asyncio.Task"),
        ("from datetime import datetime\nx = datetime.now()", "2: now()"),
        ("x = __import__('time')", "1: __import__()"),
        ("x = hash('a')", "1: hash()"),
    ],
)
def test_a_planted_look_at_the_world_is_caught(source: str, fault: str) -> None:
    assert faults_of(source) == [fault]


@pytest.mark.parametrize(
    "source", ["from uuid import UUID", "from lash.core import codec", "from . import time", "import json"]
)
def test_values_are_left_alone(source: str) -> None:
    assert faults_of(source) == []
