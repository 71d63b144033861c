"""The schema is brought up to date once, by whoever comes first, under an advisory lock; all of it or nothing."""

from __future__ import annotations

from typing import Any

import asyncpg

from lash.errors import StoreNotMigrated
from lash.stores.postgres.place import Place
from lash.stores.sql.migrations import APPLIED_SQL, Migration, lacking
from lash.stores.sql.script import TABLES, migration_lock


async def migrate(connection: asyncpg.Connection[Any], known: list[Migration], place: Place, now_ms: int) -> None:
    """Apply what is missing. With ``migrate=verify`` raises ``StoreNotMigrated`` instead."""
    missing = lacking(await applied(connection), known, place.name)
    if not missing:
        return
    if place.migrate == "verify":
        raise StoreNotMigrated(
            f"The database {place.name} lacks {', '.join(item.name for item in missing)}, and migrate=verify "
            "changes nothing. Run `lash migrate` without it as the role that owns the schema, or hand what "
            "`lash migrate --sql` prints to psql.",
            path=place.name,
            missing=[item.name for item in missing],
        )
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", migration_lock(place.schema))
        if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", place.schema):
            await connection.execute(f"CREATE SCHEMA {place.schema}")
        await connection.execute(TABLES["postgres"])
        for item in lacking(await applied(connection), known, place.name):
            await connection.execute(item.sql)
            await connection.execute(
                "INSERT INTO lash_migration VALUES ($1, $2, $3, $4)", item.number, item.name, item.checksum, now_ms
            )


async def applied(connection: asyncpg.Connection[Any]) -> dict[int, tuple[str, str]]:
    """Number → (file name, checksum) of what this schema has been through."""
    if not await connection.fetchval("SELECT to_regclass('lash_migration') IS NOT NULL"):
        return {}
    rows = await connection.fetch(APPLIED_SQL)
    return {number: (name, checksum) for number, name, checksum in rows}
