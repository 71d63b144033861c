"""What an administrator runs by hand leaves the same database as opening it would, its bookkeeping included.

Nothing here needs a driver: the script is printed where there may be none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, Literal

from lash.stores.sql.migrations import migrations

Dialect = Literal["sqlite", "postgres"]
DIALECTS: Final[tuple[Dialect, ...]] = ("sqlite", "postgres")
DEFAULT_SCHEMA: Final = "lash"
TABLES: Final[dict[Dialect, str]] = {
    "sqlite": "CREATE TABLE IF NOT EXISTS lash_migration "
    "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_ms INTEGER NOT NULL)",
    "postgres": "CREATE TABLE IF NOT EXISTS lash_migration "
    "(number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_ms bigint NOT NULL)",
}
"""Where is kept what a database has been through."""
NOW: Final[dict[Dialect, str]] = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgres": "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
}


def lock_number(*words: str) -> int:
    """An advisory lock's number for a name: 63 bits."""
    digest = hashlib.blake2b(":".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def migration_lock(schema: str) -> int:
    """Held by whoever changes the schema."""
    return lock_number("lash migrate", schema)


def script(dialect: Dialect, schema: str = DEFAULT_SCHEMA) -> str:
    """One transaction that makes everything in an empty database, for ``psql`` or ``sqlite3``."""
    return "\n".join(lines(dialect, schema)) + "\n"


def lines(dialect: Dialect, schema: str) -> Iterator[str]:
    if dialect == "postgres":
        yield f"-- lash in the schema {schema}, for psql: all of it or nothing. What is there already is left as it is."
        yield "BEGIN;"
        yield f"SELECT pg_advisory_xact_lock({migration_lock(schema)});"
        yield (  # IF NOT EXISTS would ask for the right to make one even where it is there
            f"DO $$ BEGIN IF to_regnamespace('{schema}') IS NULL THEN CREATE SCHEMA {schema}; END IF; END $$;"
        )
        yield f"SET LOCAL search_path = {schema};"
    else:
        yield "-- lash, for sqlite3 -bail: all of it or nothing. What is there already is left as it is."
        yield "BEGIN IMMEDIATE;"
    yield f"{TABLES[dialect]};"
    for item in migrations(dialect):
        yield f"\n-- {item.name}"
        yield item.sql.rstrip("\n")
    yield ""
    for item in migrations(dialect):
        yield (f"INSERT INTO lash_migration VALUES ({item.number}, '{item.name}', '{item.checksum}', {NOW[dialect]});")
    yield "COMMIT;"
