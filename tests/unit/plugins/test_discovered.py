"""Plugins of other packages are found by their entry points, and a broken one hides none of the others."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lash.abc.plugin import Plugin
from lash.plugins import discovered

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with two good plugins and four that cannot be used."""
    (tmp_path / "planted_good.py").write_text(
        "import lash\n"
        "class First(lash.Plugin):\n    id = 'first'\n"
        "class Second(lash.Plugin):\n    id = 'second'\n"
        "class Other: ...\n"
    )
    (tmp_path / "planted_bad.py").write_text("raise RuntimeError('it needs a moon')\n")
    info = tmp_path / "planted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lash.plugins]\n"
        "planted_a = planted_good:First\n"
        "planted_broken = planted_bad:Plugin\n"
        "planted_gone = planted_missing:Plugin\n"
        "planted_other = planted_good:Other\n"
        "planted_z = planted_good:Second\n"
    )
    again = tmp_path / "again-1.0.dist-info"
    again.mkdir()
    (again / "METADATA").write_text("Metadata-Version: 2.1\nName: again\nVersion: 1.0\n")
    (again / "entry_points.txt").write_text("[lash.plugins]\nplanted_a = planted_good:Second\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


def test_what_can_be_used_is_found_and_what_cannot_is_told(package: Path) -> None:
    failed: dict[str, Exception] = {}
    found = discovered(lambda name, error: failed.update({name: error}))
    planted = {name: made.__name__ for name, made in found.items() if name.startswith("planted")}
    assert planted == {"planted_a": "First", "planted_z": "Second"}
    assert all(issubclass(made, Plugin) for made in found.values())
    assert {name: str(error) for name, error in failed.items() if name.startswith("planted")} == {
        "planted_a": "planted_good:Second has the name that planted_good:First has",
        "planted_broken": "it needs a moon",
        "planted_gone": "No module named 'planted_missing'",
        "planted_other": "planted_good:Other is no subclass of lash.Plugin",
    }


def test_without_a_listener_the_log_is_told(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lash.plugins"):
        assert "planted_z" in discovered()
    assert "plugin planted_broken cannot be used: RuntimeError: it needs a moon" in caplog.messages


def test_the_plugins_of_lash_are_made_known_like_any_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"]["lash.plugins"]
    made = [getattr(importlib.import_module(place.split(":")[0]), place.split(":")[1]) for place in entries.values()]
    assert len(made) == len(set(made)) >= 9
    assert all(issubclass(one, Plugin) for one in made)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, lash.plugins, lash.plugins.mcp, lash.plugins.plan_mode\n"
        "print(sorted({'mcp', 'httpx2', 'anyio', 'pydantic', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
