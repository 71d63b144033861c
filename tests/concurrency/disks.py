"""Disks that are full or read-only, for a moment: a small file system of our own where mounting is permitted, and the
nearest thing that needs no permission where it is not.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534
SMALL_MB = 40
"""Enough for the database and its log of 16 MB; the ballast takes the rest."""
CHUNK = 1 << 16


def mounted(folder: Path, options: str) -> bool:
    """Whether a tmpfs stands at ``folder`` now."""
    if shutil.which("mount") is None:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "lash-test", str(folder)], capture_output=True)
    return done.returncode == 0


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A folder on a disk of ``SMALL_MB``; None where mounting is not permitted."""
    with tempfile.TemporaryDirectory(prefix="lash-disk-") as folder:
        if not mounted(Path(folder), f"size={SMALL_MB}m"):
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave no free byte; the file that takes them all."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * CHUNK)
        except OSError:
            pass
    return ballast


def quota(connection: sqlite3.Connection) -> Callable[[], None]:
    """The same without a disk: the database may not grow. Returns what lifts it."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def lift() -> None:
        connection.execute("PRAGMA max_page_count = 1000000000")

    return lift


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody here may write to ``folder`` and its files: root, who always may, is another user meanwhile."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    root = os.geteuid() == 0
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
