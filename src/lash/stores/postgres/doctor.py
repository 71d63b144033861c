"""What ``lash doctor`` asks a PostgreSQL server: facts a person needs when something is slow, locked or stuck."""

from __future__ import annotations

from typing import Any, Final

from lash.stores.postgres.clock import local_ms
from lash.stores.postgres.reads import Readers
from lash.stores.postgres.writing import CLOCK_SQL
from lash.stores.sql.migrations import Migration

SETTINGS: Final = ("server_version", "transaction_isolation", "synchronous_commit", "fsync", "max_connections")
SETTINGS_SQL: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])"
HOT_TABLES_SQL: Final = (
    "SELECT c.relname, s.n_live_tup, s.n_dead_tup, pg_total_relation_size(c.oid) FROM pg_class c "
    "JOIN pg_stat_user_tables s ON s.relid = c.oid "
    "WHERE c.relnamespace = to_regnamespace($1) AND c.relname LIKE 'lash\\_%' ORDER BY c.relname"
)
INDEXES_SQL: Final = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE c.relnamespace = to_regnamespace($1) AND i.indisvalid"
)
LEASES_SQL: Final = (
    "SELECT count(*) FILTER (WHERE wake_ms > $1), count(*) FILTER (WHERE wake_ms <= $1), "
    "count(*) FILTER (WHERE wake_ms <= $1 - $2) FROM lash_process WHERE owner IS NOT NULL"
)
STUCK_MS: Final = 60_000
"""A lease that ran out this long ago was taken by nobody."""
OLDEST_SQL: Final = (
    "SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::bigint FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
)
CONNECTIONS_SQL: Final = "SELECT count(*) FILTER (WHERE application_name LIKE 'lash %'), count(*) FROM pg_stat_activity"
TABLES: Final = ("tombstone", "journal", "event", "blob")


async def examine(readers: Readers, known: list[Migration], schema: str, now_ms: int) -> dict[str, object]:
    fetch = readers.fetch
    sent_ms = local_ms()
    (server_ms,) = (await fetch(f"SELECT {CLOCK_SQL}"))[0]
    round_trip_ms = local_ms() - sent_ms
    settings = dict(await fetch(SETTINGS_SQL, list(SETTINGS)))
    there = {name for (name,) in await fetch(INDEXES_SQL, schema)}
    wanted = {words[words.index("ON") - 1] for item in known for words in index_lines(item.sql)}
    live, expired, stuck = (await fetch(LEASES_SQL, now_ms, STUCK_MS))[0]
    ours, all_connections = (await fetch(CONNECTIONS_SQL))[0]
    numbers = {f"{table}s": (await fetch(f"SELECT count(*) FROM lash_{table}"))[0][0] for table in TABLES}
    hot = await fetch(HOT_TABLES_SQL, schema)
    return {
        "server_version": settings.get("server_version", ""),
        "isolation": settings.get("transaction_isolation", ""),
        "synchronous_commit": settings.get("synchronous_commit", ""),
        "fsync": settings.get("fsync", ""),
        "round_trip_ms": round(round_trip_ms, 2),
        "clock_skew_ms": round(now_ms - server_ms),
        "connections": {"lash": ours, "all": all_connections, "max": int(settings.get("max_connections", 0))},
        "missing_indexes": sorted(wanted - there),
        "dead_rows": {name: dead for name, alive, dead, _ in hot if dead > max(alive, 10_000)},
        "database_bytes": sum(size for *_, size in hot),
        "oldest_transaction_s": (await fetch(OLDEST_SQL))[0][0],
        "leases_live": live,
        "leases_expired": expired,
        "leases_stuck": stuck,
    } | numbers


def index_lines(script: str) -> list[list[str]]:
    return [line.split() for line in script.splitlines() if line.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))]


async def migrations_run(readers: Readers) -> list[str]:
    rows: list[Any] = await readers.fetch("SELECT name FROM lash_migration ORDER BY number")
    return [name for (name,) in rows]
