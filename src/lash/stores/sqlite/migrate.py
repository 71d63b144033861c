"""The schema is brought up to date once, by whoever comes first, under the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from lash.stores.sql.migrations import Migration, lacking
from lash.stores.sql.script import TABLES


def migrate(connection: sqlite3.Connection, known: list[Migration], path: str, now_ms: int) -> None:
    """Apply what is missing. The caller retries when the database is busy; nothing is half applied."""
    if lacking(applied(connection), known, path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(TABLES["sqlite"])
            for migration in lacking(applied(connection), known, path):
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
