"""The schema is brought up to date once, by whoever comes first, under the write lock; checksums tell what was run.

A database that a newer lash has touched is refused before anything is written to it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from lash.errors import StoreTooNew

TABLE = (
    "CREATE TABLE IF NOT EXISTS lash_migration "
    "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_ms INTEGER NOT NULL)"
)


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
    folder = os.path.join(os.path.dirname(__file__), "migrations", dialect)
    found: list[Migration] = []
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".sql")):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            found.append(Migration(int(name.split("_")[0]), name, file.read()))
    return found


def migrate(connection: sqlite3.Connection, known: list[Migration], path: str, now_ms: int) -> None:
    """Apply what is missing. The caller retries when the database is busy; nothing is half applied."""
    if missing(connection, known, path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(TABLE)
            for migration in missing(connection, known, path):
                for statement in statements(migration.sql):
                    connection.execute(statement)
                columns = (migration.number, migration.name, migration.checksum, now_ms)
                connection.execute("INSERT INTO lash_migration VALUES (?, ?, ?, ?)", columns)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def applied(connection: sqlite3.Connection) -> dict[int, tuple[str, str]]:
    """Number → (file name, checksum) of what this database has been through."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lash_migration'").fetchone() is None:
        return {}
    rows = connection.execute("SELECT number, name, sha256 FROM lash_migration ORDER BY number")
    return {number: (name, checksum) for number, name, checksum in rows}


def missing(connection: sqlite3.Connection, known: list[Migration], path: str) -> list[Migration]:
    """What is still to be run. Raises ``StoreTooNew`` where the database has seen what this code does not know."""
    there = applied(connection)
    newest = max(there, default=0)
    if newest > known[-1].number:
        raise StoreTooNew(
            f"The database {path} was written by a newer lash: it has migration {newest} ({there[newest][0]}), this "
            f"version knows {known[-1].number}. Upgrade lash-runtime; nothing was written.",
            path=path,
            found=newest,
            known=known[-1].number,
        )
    for migration in known:
        if migration.number in there and there[migration.number][1] != migration.checksum:
            raise StoreTooNew(
                f"Migration {migration.number} ({migration.name}) in the database {path} is not the one this version "
                "of lash has: another build wrote it. Use the build that made the database; nothing was written.",
                path=path,
                found=migration.number,
                known=known[-1].number,
            )
    return [migration for migration in known if migration.number not in there]


def statements(script: str) -> Iterator[str]:
    """A script's statements one by one: ``executescript`` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
