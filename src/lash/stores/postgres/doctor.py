"""What ``lash doctor`` asks a PostgreSQL server: facts a person needs when something is slow, locked or stuck.

They are gathered here and judged on the command line. Nothing here waits long or reads a large table from end to end.
"""

from __future__ import annotations

import time
from typing import Any, Final

from lash.limits import READ_LINES_MAX
from lash.stores.postgres.clock import local_ms
from lash.stores.postgres.listening import Listening
from lash.stores.postgres.reads import Readers
from lash.stores.sql.migrations import Migration

SETTINGS: Final = (
    "server_version",
    "server_encoding",
    "transaction_isolation",
    "synchronous_commit",
    "fsync",
    "autovacuum",
    "max_connections",
    "superuser_reserved_connections",
)
SETTINGS_SQL: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])"
CLOCK_SQL: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8, pg_is_in_recovery()"
CLOCK_READ: Final = 5
"""Times; the quickest answer says most."""
HOT_TABLES_SQL: Final = (
    "SELECT c.relname, s.n_live_tup, s.n_dead_tup, pg_total_relation_size(c.oid), c.reltuples::bigint FROM pg_class c "
    "JOIN pg_stat_user_tables s ON s.relid = c.oid "
    "WHERE c.relnamespace = to_regnamespace($1) AND c.relname LIKE 'lash\\_%' ORDER BY c.relname"
)
DEAD_ROWS_MIN: Final = 10_000
COUNTED_MAX: Final = 1_000_000
"""Rows of a table that are counted one by one; of a larger one the server's estimate is told."""
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
    "SELECT extract(epoch FROM clock_timestamp() - xact_start)::bigint, pid, application_name, state "
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL "
    "AND coalesce(backend_type, '') <> 'autovacuum worker' ORDER BY xact_start LIMIT 1"
)
"""A role without pg_read_all_stats sees only its own."""
CONNECTIONS_SQL: Final = (
    "SELECT count(*) FILTER (WHERE application_name LIKE 'lash %'), count(*) FROM pg_stat_activity "
    "WHERE datid IS NOT NULL"
)
NOTIFY_SQL: Final = "SELECT pg_notify($1, $2)"
ECHO_S: Final = 1.0
TABLES: Final = ("tombstone", "journal", "event", "blob")


async def examine(readers: Readers, listening: Listening, known: list[Migration], now_ms: int) -> dict[str, object]:
    fetch = readers.fetch
    schema = readers.place.schema
    settings = dict(await fetch(SETTINGS_SQL, list(SETTINGS)))
    there = {name for (name,) in await fetch(INDEXES_SQL, schema)}
    wanted = {name: line for item in known for name, line in indexes_of(item.sql)}
    live, expired, stuck = (await fetch(LEASES_SQL, now_ms, STUCK_MS))[0]
    ours, all_connections = (await fetch(CONNECTIONS_SQL))[0]
    most = int(settings.get("max_connections", 0)) - int(settings.get("superuser_reserved_connections", 0))
    hot = await fetch(HOT_TABLES_SQL, schema)
    origin = await fetch("SELECT name FROM lash_migration WHERE number = 0")
    return {
        "schema": schema,
        "origin": [name for (name,) in origin],
        "server_version": settings.get("server_version", ""),
        "encoding": settings.get("server_encoding", ""),
        "isolation": settings.get("transaction_isolation", ""),
        "synchronous_commit": settings.get("synchronous_commit", ""),
        "fsync": settings.get("fsync", ""),
        "autovacuum": settings.get("autovacuum", ""),
        **await clocks(readers),
        "notices": await notices(readers, listening),
        "connections": {"lash": ours, "all": all_connections, "max": most},
        "pool": {"writer": 1, "reader": READ_LINES_MAX} | ({} if readers.place.pooler else {"listener": 1, "proof": 1}),
        "missing_indexes": {
            name: f"DROP INDEX IF EXISTS {schema}.{name}; {line.replace(' ON ', f' ON {schema}.', 1)}"
            for name, line in wanted.items()
            if name not in there
        },
        "dead_rows": {name: dead for name, alive, dead, *_ in hot if dead > max(alive, DEAD_ROWS_MIN)},
        "database_bytes": sum(size for _, _, _, size, _ in hot),
        "oldest_transaction": await oldest_transaction(readers),
        "leases_live": live,
        "leases_expired": expired,
        "leases_stuck": stuck,
    } | await numbers(readers, {name: rows for name, *_, rows in hot})


async def clocks(readers: Readers) -> dict[str, object]:
    """How far this machine's clock is ahead of the server's, half an answer's way taken off."""
    trips: list[tuple[float, float, bool]] = []
    for _ in range(CLOCK_READ):
        sent_ms, here_ms = local_ms(), time.time() * 1_000
        ((server_ms, standby),) = await readers.fetch(CLOCK_SQL)
        trip_ms = local_ms() - sent_ms
        trips.append((trip_ms, here_ms + trip_ms / 2 - server_ms, standby))
    trip_ms, ahead_ms, standby = min(trips)
    return {"standby": standby, "round_trip_ms": round(trip_ms, 2), "clock_ahead_ms": round(ahead_ms)}


async def notices(readers: Readers, listening: Listening) -> str:
    """``heard`` after a round trip, ``lost``, ``away`` or ``off`` behind a pooler."""
    place = readers.place
    if place.pooler:
        return "off"
    if not listening.working:
        return "away"
    heard = await listening.echo(lambda word: readers.fetch(NOTIFY_SQL, place.channel, word), ECHO_S)
    return "heard" if heard else "lost"


async def oldest_transaction(readers: Readers) -> dict[str, object]:
    found = await readers.fetch(OLDEST_SQL)
    return dict(zip(("seconds", "pid", "application", "state"), found[0], strict=True)) if found else {}


async def numbers(readers: Readers, estimates: dict[str, int]) -> dict[str, object]:
    found: dict[str, object] = {}
    for table in TABLES:
        rows = estimates.get(f"lash_{table}", 0)
        if rows <= COUNTED_MAX:
            ((rows,),) = await readers.fetch(f"SELECT count(*) FROM lash_{table}")
        found["journal_entries" if table == "journal" else f"{table}s"] = rows
    return found


def indexes_of(script: str) -> list[tuple[str, str]]:
    """Name and statement of every index that a migration makes in a line of its own."""
    lines = [line for line in script.splitlines() if line.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))]
    return [(line[: line.index(" ON ")].split()[-1], line) for line in lines]


async def migrations_run(readers: Readers) -> list[str]:
    rows: list[Any] = await readers.fetch("SELECT name FROM lash_migration WHERE number > 0 ORDER BY number")
    return [name for (name,) in rows]
