"""Reads see the last commit. Short ones run on the event loop; what may be long runs in a thread.

One statement per answer, so that every answer is one moment of the database.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from lash.abc.store import ProcessFilter, WorkerRecord
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessRow, Tombstone
from lash.stores.sql.lanes import LANES_SQL
from lash.stores.sql.reading import (
    COUNTS_SQL,
    LANE,
    TOMBSTONE_SQL,
    WORKER_SQL,
    counts_of,
    earliest,
    process_of,
    terms_of,
    tombstone_of,
    worker_of,
)
from lash.stores.sql.rows import ENTRY_SQL, EVENT_SQL, ROW_SQL, STATUS_CODES, Columns, unpack_entry, unpack_event
from lash.stores.sqlite.book import Book

FIRST_READY_SQL: Final = (
    "SELECT p.wake_ms FROM lash_process p WHERE p.state = 1 AND p.lane = json_each.value "
    "ORDER BY p.priority DESC, p.wake_ms LIMIT 1"
)
FIRST_TIMED_SQL: Final = (
    "SELECT q.wake_ms FROM lash_process q WHERE q.state IN (2, 3) AND q.lane = json_each.value "
    "ORDER BY q.wake_ms LIMIT 1"
)
DUE_SQL: Final = f"SELECT ({FIRST_READY_SQL}), ({FIRST_TIMED_SQL}) FROM json_each(?)"
NEWS_SQL: Final = "SELECT row, token FROM lash_process WHERE news = 1 AND owner = ? ORDER BY row"
GONE_SQL: Final = TOMBSTONE_SQL + " WHERE id = ?"
HISTORY_SQL: Final = f"SELECT {ENTRY_SQL} FROM lash_journal WHERE process = ? AND rank > ? ORDER BY rank LIMIT ?"


def get(connection: sqlite3.Connection, lanes: Book, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]:
    return [find(connection, lanes, process_id) for process_id in ids]


def not_running(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    running = "SELECT 1 FROM lash_process WHERE id = ? AND status = 0"
    return [item for item in ids if connection.execute(running, (item,)).fetchone() is None]


def find(connection: sqlite3.Connection, lanes: Book, process_id: str) -> ProcessRow | Tombstone | None:
    columns = connection.execute(ROW_SQL + " WHERE p.id = ?", (process_id,)).fetchone()
    if columns is not None:
        return decoded(connection, lanes, [columns])[0]
    found = connection.execute(GONE_SQL, (process_id,)).fetchone()
    return None if found is None else tombstone_of(found)


def decoded(connection: sqlite3.Connection, lanes: Book, rows: Sequence[Columns]) -> list[ProcessRow]:
    if any(columns[LANE] not in lanes.by_number for columns in rows):
        lanes.learn(connection.execute(LANES_SQL))
    return [process_of(columns, lanes.by_number) for columns in rows]


def page(connection: sqlite3.Connection, lanes: Book, wanted: ProcessFilter) -> list[ProcessRow]:
    terms = ["1"]
    values: list[object] = []
    if wanted.status is not None:
        terms.append("p.status = ?")
        values.append(STATUS_CODES[wanted.status])
    for text, value in terms_of(wanted):
        terms.append(text.format("?"))
        values.append(value)
    query = f"{ROW_SQL} WHERE {' AND '.join(terms)} ORDER BY p.row DESC LIMIT ?"
    return decoded(connection, lanes, connection.execute(query, (*values, wanted.limit)).fetchall())


def events(connection: sqlite3.Connection, process_id: str, after: int, limit: int) -> list[Event]:
    query = (
        f"SELECT {EVENT_SQL} FROM lash_event WHERE process = (SELECT row FROM lash_process WHERE id = ?) "
        "AND sequence > ? ORDER BY sequence LIMIT ?"
    )
    return [unpack_event(columns) for columns in connection.execute(query, (process_id, after, limit))]


def history(connection: sqlite3.Connection, row: int, after_rank: int, limit: int) -> list[Entry]:
    return [unpack_entry(columns) for columns in connection.execute(HISTORY_SQL, (row, after_rank, limit))]


def next_due_ms(connection: sqlite3.Connection, lanes: Book, wanted: Sequence[Lane]) -> int | None:
    """The first entry of each lane's two scheduling indexes. Once a row is due, any moment of the past will do."""
    if lanes.lacks(wanted):
        lanes.learn(connection.execute(LANES_SQL))
    return earliest(connection.execute(DUE_SQL, (json.dumps(lanes.among(wanted)),)))


def news(connection: sqlite3.Connection, owner: str) -> list[Fence]:
    return [Fence(row, token) for row, token in connection.execute(NEWS_SQL, (owner,))]


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    return counts_of(connection.execute(COUNTS_SQL))


def live_workers(connection: sqlite3.Connection, now_ms: int) -> list[WorkerRecord]:
    """Those whose entry has not run out, by owner."""
    query = WORKER_SQL + " WHERE until_ms > ? ORDER BY owner"
    return [worker_of(columns) for columns in connection.execute(query, (now_ms,))]
