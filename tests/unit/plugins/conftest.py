"""A folder for tools to work in, with something beside it that they must not reach."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret\n")
    return folder


@pytest.fixture
def outside(root: Path) -> Path:
    """Beside the root, with ``secret.txt`` in it."""
    return root.parent / "outside"
