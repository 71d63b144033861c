"""What ``lash doctor`` prints about a database: facts a person needs when something is slow, locked or damaged."""

from __future__ import annotations

import os
import sqlite3

from lash.stores.sqlite import reads
from lash.stores.sqlite.migrate import applied


def examine(connection: sqlite3.Connection, path: str, sync: str, now_ms: int) -> dict[str, object]:
    def number(query: str, *values: object) -> int:
        return int(connection.execute(query, values).fetchone()[0])

    pages = number("PRAGMA page_count")
    log = path + "-wal"
    leased = "SELECT count(*) FROM lash_process WHERE owner IS NOT NULL AND "
    return {
        "sqlite_version": sqlite3.sqlite_version,
        "journal_mode": connection.execute("PRAGMA journal_mode").fetchone()[0],
        "synchronous": sync,
        "page_count": pages,
        "database_bytes": pages * number("PRAGMA page_size"),
        "wal_bytes": os.stat(log).st_size if os.path.exists(log) else 0,
        "integrity": connection.execute("PRAGMA quick_check(1)").fetchone()[0],
        "migrations": [name for name, _ in applied(connection).values()],
        "counts": reads.counts(connection),
        "sessions": number("SELECT count(*) FROM lash_session WHERE gone IS NULL"),
        "nodes": number("SELECT count(*) FROM lash_node"),
        "unfinished_items": number("SELECT count(*) FROM lash_item WHERE state < 2"),
        "tombstones": number("SELECT count(*) FROM lash_tombstone"),
        "journal_entries": number("SELECT count(*) FROM lash_journal"),
        "events": number("SELECT count(*) FROM lash_event"),
        "blobs": number("SELECT count(*) FROM lash_blob"),
        "leases_live": number(leased + "wake_ms > ?", now_ms),
        "leases_expired": number(leased + "wake_ms <= ?", now_ms),
        "workers": [worker.owner for worker in reads.live_workers(connection, now_ms)],
    }
