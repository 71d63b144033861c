"""Numbered schema files: which there are, and which a database still lacks. A released file is never edited.

A database that a newer lash has touched, or another build with other files, is refused before it is written to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lash.errors import StoreMoved, StoreTooNew

APPLIED_SQL = "SELECT number, name, sha256 FROM lash_migration ORDER BY number"
PROMOTED: int = 1_000_000
"""Number of the mark on a database whose content is being moved to another one. No lash ever opens it, old ones
included, because none has a migration of that number."""
MOVED: int = PROMOTED + 1
"""The same once everything has arrived there."""


class Migration(NamedTuple):
    number: int
    name: str
    """File name."""
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(dialect: str) -> list[Migration]:
    """All of a dialect, in order. Numbers are 1, 2, 3 … without gaps."""
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), dialect, "migrations")
    found: list[Migration] = []
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".sql")):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            found.append(Migration(int(name.split("_")[0]), name, file.read()))
    return found


def lacking(there: Mapping[int, tuple[str, str]], known: Sequence[Migration], place: str) -> list[Migration]:
    """What is still to be run. ``there``: number → (file name, checksum) of what ``place`` has been through.

    Raises ``StoreMoved`` and ``StoreTooNew``.
    """
    newest = max(there, default=0)
    if newest >= PROMOTED:
        where = there[newest][0]
        if newest < MOVED:
            raise StoreMoved(
                f"The content of {place} is being moved to {where}, or that was cut off: repeat `lash promote` with "
                "the same target to finish it.",
                path=place,
                moved_to=where,
            )
        raise StoreMoved(f"The content of {place} was moved to {where}. Use that one.", path=place, moved_to=where)
    if newest > known[-1].number:
        raise StoreTooNew(
            f"The database {place} was written by a newer lash: it has migration {newest} ({there[newest][0]}), this "
            f"version knows {known[-1].number}. Upgrade lash-runtime; nothing was written.",
            path=place,
            found=newest,
            known=known[-1].number,
        )
    for migration in known:
        if migration.number in there and there[migration.number][1] != migration.checksum:
            raise StoreTooNew(
                f"Migration {migration.number} ({migration.name}) in the database {place} is not the one this version "
                "of lash has: another build wrote it. Use the build that made the database; nothing was written.",
                path=place,
                found=migration.number,
                known=known[-1].number,
            )
    return [migration for migration in known if migration.number not in there]
