"""The floors of the building: a package imports only what lies below it. Read from the source, not by importing.

DESIGN section 3 is the rule. Imports inside functions, under ``if TYPE_CHECKING`` and by ``import_module("lash...")``
count like any other, and a package that is not in the table below has no floor and fails.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "lash"

FLOORS = {
    "errors": 0,
    "limits": 0,
    "core": 1,
    "lang": 2,
    "abc": 3,
    "runtime": 4,
    "stores": 5,
    "engines": 5,
    "providers": 5,
    "modes": 5,
    "tools": 5,
    "plugins": 5,
    "sources": 5,
    "tracing": 5,
    "integrations": 5,
    "testing": 6,
    "cli": 7,
    "web": 7,
    "wiring": 7,
    "": 7,  # lash/__init__.py itself
}
FIFTH_SEES = {0, 1, 3}
SEES_LANG = ("modes.rlm", "plugins.lashlang")
ONLY_IN_CLI = {"typer", "rich", "click"}
PURE = {"core", "lang"}
IMPURE = set(
    "asyncio concurrent logging multiprocessing os pathlib secrets select selectors shutil signal socket sqlite3 ssl "
    "subprocess tempfile threading time".split()
)


def module_of(path: Path, root: Path) -> str:
    """``runtime.worker`` for ``<root>/runtime/worker.py``; empty for ``<root>/__init__.py``."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports, one name for each ``from a import b``."""
    module = ["lash", *filter(None, module_of(path, root).split("."))]
    package = module if path.name == "__init__.py" else module[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *filter(None, [node.module])]
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and is_import_call(node):
            yield from ((node.lineno, text) for text in map(text_of, node.args[:1]) if text)


def is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"import_module", "__import__"}


def text_of(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def top_of(dotted: str, root: Path) -> str:
    """The part of lash that ``lash.a.b`` belongs to: ``a`` where there is such a module, else lash itself."""
    parts = dotted.split(".")
    if len(parts) == 1:
        return ""
    here = parts[1] in FLOORS or (root / parts[1]).is_dir() or (root / f"{parts[1]}.py").exists()
    return parts[1] if here else ""


def fault_of(module: str, dotted: str, root: Path) -> str | None:
    """What is wrong with ``module`` (below lash) importing ``dotted``; None when it may."""
    own = module.split(".")[0]
    first = dotted.split(".")[0]
    if own not in FLOORS:
        return f"the package {own!r} has no floor; give it one in tests/test_layers.py and in the design"
    if first != "lash":
        return fault_of_outside(own, first)
    other = top_of(dotted, root)
    if other == own:
        return None
    if other not in FLOORS:
        return f"the package {other!r} has no floor"
    floor, below = FLOORS[own], FLOORS[other]
    if floor == 7 and below == 7:
        return None
    if below >= floor:
        return f"{own or 'lash'} (floor {floor}) imports {other or 'lash'} (floor {below})"
    if floor == 5 and below not in FIFTH_SEES:
        if below == 2 and module.startswith(SEES_LANG):
            return None
        return f"{own} (floor 5) imports {other} (floor {below}); it sees only errors, limits, core and abc"
    return None


def fault_of_outside(own: str, first: str) -> str | None:
    if first in ONLY_IN_CLI and own != "cli":
        return f"{first} is for the command line alone"
    if first in IMPURE and own in PURE:
        return f"{own} is pure, and {first} is not"
    return None


def violations(root: Path) -> list[str]:
    """One line for each import that breaks the rule, below ``root`` (the folder of the package)."""
    found: list[str] = []
    for path in sorted(root.rglob("*.py")):
        module = module_of(path, root)
        for line, dotted in imports_of(path, root):
            fault = fault_of(module, dotted, root)
            if fault is not None:
                found.append(f"{path.relative_to(root.parent)}:{line}: {fault}")
    return found


def async_in_pure(root: Path) -> list[str]:
    """Coroutines in the pure floors, which have none."""
    return [
        f"{path.relative_to(root.parent)}:{node.lineno}: {package} is pure, and has no async function"
        for package in sorted(PURE)
        for path in sorted((root / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path)))
        if isinstance(node, ast.AsyncFunctionDef)
    ]


def test_every_import_goes_down() -> None:
    assert violations(SOURCE) == []


def test_the_pure_floors_have_no_coroutines() -> None:
    assert async_in_pure(SOURCE) == []


def test_every_package_on_disk_has_a_floor() -> None:
    tops = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert tops - {"__init__", "__main__"} <= set(FLOORS)


GOOD = [
    ("core/event.py", "from lash.errors import LashError"),
    ("core/event.py", "from . import ids"),
    ("runtime/worker.py", "import asyncio\nfrom lash.abc.store import Store\nfrom lash import limits"),
    ("stores/sqlite/__init__.py", "from lash.stores.sql import processes\nfrom ...core import event"),
    ("stores/sql/one.py", "from ..memory import Memory"),
    ("modes/rlm.py", "from lash.lang import parser"),
    ("plugins/lashlang/run.py", "from lash.lang.parser import parse"),
    ("testing/clock.py", "from lash.runtime.worker import Worker"),
    ("wiring.py", "from lash.stores.memory import Memory\nfrom lash.runtime import runtime"),
    ("cli/main.py", "import typer\nimport lash"),
    ("__init__.py", "from lash.wiring import Runtime"),
]


@pytest.mark.parametrize(("place", "source"), GOOD)
def test_an_import_downwards_is_allowed(tmp_path: Path, place: str, source: str) -> None:
    plant(tmp_path, place, source)
    assert violations(tmp_path / "lash") == []


BAD = [
    ("errors.py", "from lash.core import event", "errors (floor 0) imports core (floor 1)"),
    ("limits.py", "import lash.errors", "limits (floor 0) imports errors (floor 0)"),
    ("core/event.py", "from lash.runtime.worker import Worker", "core (floor 1) imports runtime (floor 4)"),
    ("core/event.py", "from lash import Runtime", "core (floor 1) imports lash (floor 7)"),
    ("core/event.py", "from ..abc import store", "core (floor 1) imports abc (floor 3)"),
    ("core/event.py", "import time", "core is pure, and time is not"),
    ("lang/lexer.py", "def f():\n    import asyncio", "lang is pure, and asyncio is not"),
    ("runtime/worker.py", "def f():\n    from lash.stores.memory import Memory", "runtime (floor 4) imports stores"),
    (
        "runtime/worker.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lash.wiring import Runtime",
        "runtime (floor 4) imports wiring (floor 7)",
    ),
    ("stores/memory.py", "from lash.runtime import worker", "it sees only errors, limits, core and abc"),
    ("stores/memory.py", "from lash.engines.local import Local", "stores (floor 5) imports engines (floor 5)"),
    ("modes/standard.py", "from lash.lang import parser", "modes (floor 5) imports lang (floor 2)"),
    ("stores/memory.py", "import importlib\nimportlib.import_module('lash.engines')", "stores (floor 5) imports"),
    ("testing/clock.py", "import lash", "testing (floor 6) imports lash (floor 7)"),
    ("runtime/worker.py", "import rich.table", "rich is for the command line alone"),
    ("managers/all.py", "import asyncio", "the package 'managers' has no floor"),
    ("runtime/worker.py", "from lash.managers import all", "the package 'managers' has no floor"),
]


@pytest.mark.parametrize(("place", "source", "fault"), BAD)
def test_a_planted_import_upwards_is_caught(tmp_path: Path, place: str, source: str, fault: str) -> None:
    (tmp_path / "lash" / "managers").mkdir(parents=True)
    plant(tmp_path, place, source)
    [found] = violations(tmp_path / "lash")
    assert found.startswith(f"lash/{place}:{len(source.splitlines())}: ")
    assert fault in found


def test_a_planted_coroutine_in_a_pure_floor_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, "core/event.py", "async def f(): ...")
    assert async_in_pure(tmp_path / "lash") == ["lash/core/event.py:1: core is pure, and has no async function"]


def plant(folder: Path, place: str, source: str) -> None:
    path = folder / "lash" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, "utf-8")
