"""The schema is brought up to date once, by whoever comes first, under the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from lash.stores.sql.migrations import APPLIED_SQL, Migration, lacking
from lash.stores.sql.script import TABLES
from lash.stores.sqlite.connection import in_transaction


def migrate(connection: sqlite3.Connection, known: list[Migration], path: str, now_ms: int) -> None:
    """Apply what is missing. The caller retries when the database is busy; nothing is half applied."""

    def work() -> None:
        connection.execute(TABLES["sqlite"])
        for migration in lacking(applied(connection), known, path):
            for statement in statements(migration.sql):
                connection.execute(statement)
            columns = (migration.number, migration.name, migration.checksum, now_ms)
            connection.execute("INSERT INTO lash_migration VALUES (?, ?, ?, ?)", columns)

    if lacking(applied(connection), known, path):
        in_transaction(connection, work)


def applied(connection: sqlite3.Connection) -> dict[int, tuple[str, str]]:
    """Number → (file name, checksum) of what this database has been through."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lash_migration'").fetchone() is None:
        return {}
    rows = connection.execute(APPLIED_SQL)
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
