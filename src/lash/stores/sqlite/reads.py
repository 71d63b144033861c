"""Reads see the last commit. Short ones run on the event loop; what may be long runs in a thread.

One statement per answer, so that every answer is one moment of the database. A row that cannot be decoded raises: a
damaged row must never look like a missing one.
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
from lash.errors import StoreUnavailable
from lash.stores.sql.rows import (
    ENTRY_SQL,
    EVENT_SQL,
    ROW_SQL,
    STATUS_CODES,
    STATUSES,
    Columns,
    unpack_entry,
    unpack_event,
    unpack_hash,
    unpack_row,
)
from lash.stores.sql.workers import unpack_lanes
from lash.stores.sqlite.book import Book
from lash.stores.sqlite.tables import load_lanes

ID: Final = 1
LANE: Final = 2
"""Positions in ``ROW_SQL``."""
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
HISTORY_SQL: Final = f"SELECT {ENTRY_SQL} FROM lash_journal WHERE process = ? AND rank > ? ORDER BY rank LIMIT ?"
TOMBSTONE_SQL: Final = "SELECT id, definition, status, ended_ms, pruned_ms FROM lash_tombstone WHERE id = ?"


def get(connection: sqlite3.Connection, lanes: Book, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]:
    return [find(connection, lanes, process_id) for process_id in ids]


def not_running(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    running = "SELECT 1 FROM lash_process WHERE id = ? AND status = 0"
    return [item for item in ids if connection.execute(running, (item,)).fetchone() is None]


def find(connection: sqlite3.Connection, lanes: Book, process_id: str) -> ProcessRow | Tombstone | None:
    columns = connection.execute(ROW_SQL + " WHERE p.id = ?", (process_id,)).fetchone()
    if columns is not None:
        return decoded(connection, lanes, [columns])[0]
    found = connection.execute(TOMBSTONE_SQL, (process_id,)).fetchone()
    if found is None:
        return None
    pruned_id, definition, status, ended_ms, pruned_ms = found
    return Tombstone(pruned_id, unpack_hash(definition), STATUSES[status], ended_ms, pruned_ms)


def decoded(connection: sqlite3.Connection, lanes: Book, rows: Sequence[Columns]) -> list[ProcessRow]:
    if any(columns[LANE] not in lanes.by_number for columns in rows):
        lanes.learn(load_lanes(connection))
    return [whole(columns, lanes) for columns in rows]


def whole(columns: Columns, lanes: Book) -> ProcessRow:
    try:
        return unpack_row(columns, lanes.by_number)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreUnavailable(
            f"The row of process {columns[ID]!r} is damaged: {error}. Restore a backup, or see `lash doctor`.",
            process_id=columns[ID],
        ) from error


def page(connection: sqlite3.Connection, lanes: Book, wanted: ProcessFilter) -> list[ProcessRow]:
    terms = ["1"]
    values: list[object] = []
    if wanted.status is not None:
        terms.append("p.status = ?")
        values.append(STATUS_CODES[wanted.status])
    if wanted.name is not None:
        terms.append("p.lane IN (SELECT lane FROM lash_lane WHERE name = ?)")
        values.append(wanted.name)
    if wanted.tag is not None:
        terms.append("p.row IN (SELECT row FROM lash_tag WHERE tag = ?)")
        values.append(wanted.tag)
    if wanted.parent is not None:
        terms.append("p.parent = ?")
        values.append(wanted.parent)
    if wanted.after is not None:
        terms.append("p.row < (SELECT row FROM lash_process WHERE id = ?)")
        values.append(wanted.after)
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
    if any(lane not in lanes.numbers for lane in wanted):
        lanes.learn(load_lanes(connection))
    numbers = [lanes.numbers[lane] for lane in dict.fromkeys(wanted) if lane in lanes.numbers]
    found = connection.execute(DUE_SQL, (json.dumps(numbers),))
    return min((wake_ms for pair in found for wake_ms in pair if wake_ms is not None), default=None)


def news(connection: sqlite3.Connection, owner: str) -> list[Fence]:
    return [Fence(row, token) for row, token in connection.execute(NEWS_SQL, (owner,))]


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    found = {status.value: 0 for status in STATUSES}
    for code, number in connection.execute("SELECT status, count(*) FROM lash_process GROUP BY status"):
        found[STATUSES[int(code)].value] = number
    return found


def live_workers(connection: sqlite3.Connection, now_ms: int) -> list[WorkerRecord]:
    """Those whose entry has not run out, by owner."""
    query = "SELECT owner, lanes, about, until_ms FROM lash_worker WHERE until_ms > ? ORDER BY owner"
    return [
        WorkerRecord(owner, unpack_lanes(lanes), about, until_ms)
        for owner, lanes, about, until_ms in connection.execute(query, (now_ms,))
    ]
