"""Each test of the command line gets a folder, a database and a target of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.kit import JOBS, Cli


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """In a folder of its own, with a home that is not there yet; what targets do to ``sys`` is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    root_handlers = list(logging.getLogger().handlers)
    found = Cli(tmp_path, capsys, monkeypatch)
    found.write("jobs.py", JOBS)
    yield found
    logging.getLogger().handlers[:] = root_handlers
    for name in set(sys.modules) - set(before):
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
