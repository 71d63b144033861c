"""What a workload claims to have done is looked up in the file with bare ``sqlite3``, not asked of lash.

A benchmark that did less than it says is no benchmark: ``expect`` raises.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

COMPLETED: Final = 1
STEP: Final = 1
TABLES: Final = ("lash_process", "lash_spec", "lash_tag", "lash_event", "lash_journal")


def count(path: Path, query: str, *values: object) -> int:
    with closing(sqlite3.connect(path)) as connection:
        number: int = connection.execute(query, values).fetchone()[0]
    return number


def rows(path: Path) -> int:
    """Rows of all tables that grow with processes."""
    return sum(count(path, f"SELECT count(*) FROM {table}") for table in TABLES)


def expect(path: Path, *, completed: int, steps: int) -> None:
    """Exactly so many processes are completed, and exactly so many steps recorded. Raises ``AssertionError``."""
    found = (
        count(path, "SELECT count(*) FROM lash_process WHERE status = ?", COMPLETED),
        count(path, "SELECT count(*) FROM lash_journal WHERE kind = ?", STEP),
    )
    if found != (completed, steps):
        raise AssertionError(f"expected {completed} completed processes and {steps} steps, the file has {found}")


def log_bytes(path: Path) -> int:
    """Size of the write-ahead log while the database is open."""
    return path.with_name(path.name + "-wal").stat().st_size


def settled_bytes(path: Path) -> int:
    """Size of the database file once its log is copied into it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def expect_turns(path: Path, turns: int) -> None:
    """Exactly so many turns are committed. Raises ``AssertionError``."""
    found = count(path, "SELECT count(*) FROM lash_turn")
    if found != turns:
        raise AssertionError(f"expected {turns} committed turns, the file has {found}")
