"""Every statement a write transaction sends to SQLite: look-ups through an index, and writes by the list.

What an operation means is not known here. Whoever looks at a table has what is pending for it written first; see
:class:`lash.stores.sql.transaction.Transaction`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, cast

from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane
from lash.stores.sql.lanes import LANES_SQL
from lash.stores.sql.rows import (
    CANCEL,
    ENTRY_SQL,
    EVENT_SQL,
    HOT_SQL,
    KIND_CODES,
    MAIL,
    WAIT,
    Columns,
    Hot,
    pack_hash,
    pack_rest,
    unpack_entry,
    unpack_event,
)
from lash.stores.sql.transaction import There, WaitColumns

NEWEST_SQL: Final = "SELECT max(j.rank) FROM lash_journal j WHERE j.process = p.row"
LOAD_SQL: Final = (
    f"SELECT {HOT_SQL}, ({NEWEST_SQL}), (SELECT k.at_ms FROM lash_journal k WHERE k.rank = ({NEWEST_SQL})) "
    "FROM lash_process p"
)
BY_ROW_SQL: Final = LOAD_SQL + " WHERE p.row = ?"
BY_ID_SQL: Final = LOAD_SQL + " WHERE p.id = ?"
BY_ROWS_SQL: Final = LOAD_SQL + " WHERE p.row IN (SELECT value FROM json_each(?))"
SPECS_SQL: Final = "SELECT row, args, more FROM lash_spec WHERE row IN (SELECT value FROM json_each(?))"
THERE_SQL: Final = (
    "SELECT row, status, definition, lane FROM lash_process WHERE id = ? "
    "UNION ALL SELECT 0, status, definition, 0 FROM lash_tombstone WHERE id = ?"
)
TOMBSTONE_SQL: Final = "SELECT 1 FROM lash_tombstone WHERE id = ?"
READY_SQL: Final = (
    "SELECT -priority, wake_ms, row FROM lash_process INDEXED BY lash_process_ready "
    "WHERE state = 1 AND lane = ? AND wake_ms <= ? ORDER BY priority DESC, wake_ms, row LIMIT ?"
)
TIMED_SQL: Final = (
    "SELECT -priority, wake_ms, row FROM lash_process INDEXED BY lash_process_timed "
    "WHERE state IN (2, 3) AND lane = ? AND wake_ms <= ? ORDER BY wake_ms, row LIMIT ?"
)
BLOCKED_SQL: Final = (
    "SELECT row FROM lash_process INDEXED BY lash_process_blocked "
    "WHERE blocked_reason IS NOT NULL AND lane = ? AND blocked_hash <> ? "
    "AND state <> 3 AND (wake_ms IS NULL OR wake_ms > ?) ORDER BY row"
)
CHILDREN_SQL: Final = (
    "SELECT row FROM lash_process INDEXED BY lash_process_parent "
    "WHERE parent = ? AND status = 0 AND detached = 0 ORDER BY row"
)
SWEEP_SQL: Final = (
    "SELECT row FROM lash_process INDEXED BY lash_process_cancel "
    "WHERE cancel_ms IS NOT NULL AND status = 0 AND external = 0 AND cancel_ms <= ? ORDER BY row"
)
HELD_SQL: Final = "SELECT row, token FROM lash_process WHERE owner = ? ORDER BY row"
LIVE_SQL: Final = "SELECT row FROM lash_process WHERE owner = ? AND wake_ms > ? ORDER BY row"
PRUNE_SQL: Final = (
    "SELECT p.row, p.id FROM lash_process p INDEXED BY lash_process_ended "
    "WHERE p.status > 0 AND p.updated_ms < ? "
    "AND NOT EXISTS (SELECT 1 FROM lash_process q WHERE q.id = p.parent AND q.status = 0 "
    "AND (q.state > 0 OR q.waiting_on IS NOT NULL)) "
    "ORDER BY p.updated_ms, p.row LIMIT ?"
)
KEYED_SQL: Final = f"SELECT {EVENT_SQL} FROM lash_event WHERE process = ? AND key = ?"
PAYLOAD_SQL: Final = "SELECT payload FROM lash_event WHERE process = ? AND sequence = ?"
AFTER_SQL: Final = f"SELECT {ENTRY_SQL} FROM lash_journal WHERE process = ? AND rank > ? ORDER BY rank"
WAIT_SQL: Final = (
    "SELECT rank, kind, name, payload, attempt, open_key FROM lash_journal INDEXED BY lash_journal_wait "
    "WHERE process = ? AND ordinal = ? AND kind BETWEEN 4 AND 6 ORDER BY rank"
)
OLDEST_MAIL_SQL: Final = (
    "SELECT rank, ordinal, payload FROM lash_journal INDEXED BY lash_journal_open "
    f"WHERE open_key = ? AND process = ? AND kind = {MAIL} ORDER BY ordinal LIMIT 1"
)
OLDEST_WAIT_SQL: Final = (
    "SELECT rank, ordinal FROM lash_journal INDEXED BY lash_journal_open "
    f"WHERE open_key = ? AND process = ? AND kind = {WAIT} ORDER BY rank LIMIT 1"
)
WAITERS_SQL: Final = (
    "SELECT rank, process, ordinal FROM lash_journal INDEXED BY lash_journal_open WHERE open_key = ? ORDER BY rank"
)
SPEC_INSERT: Final = "INSERT INTO lash_spec (row, args, more) VALUES (?, ?, ?)"
TAG_INSERT: Final = "INSERT INTO lash_tag (tag, row) VALUES (?, ?)"
EVENT_INSERT: Final = "INSERT INTO lash_event (process, sequence, type, payload, at_ms) VALUES (?, ?, ?, ?, ?)"
KEYED_INSERT: Final = "INSERT INTO lash_event (process, sequence, type, payload, at_ms, key) VALUES (?, ?, ?, ?, ?, ?)"
SHUT_UPDATE: Final = "UPDATE lash_journal SET open_key = NULL WHERE rank = ?"


class Tables:
    """One connection within its transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.sql = connection.execute
        self.many = connection.executemany

    # Processes -----------------------------------------------------------------------------------------------------

    def by_row(self, row: int) -> Hot | None:
        return hot_of(self.sql(BY_ROW_SQL, (row,)).fetchone())

    def by_id(self, process_id: str) -> Hot | None:
        return hot_of(self.sql(BY_ID_SQL, (process_id,)).fetchone())

    def by_rows(self, rows: Sequence[int]) -> list[Hot]:
        return [hot for columns in self.sql(BY_ROWS_SQL, (json.dumps(rows),)) if (hot := hot_of(columns)) is not None]

    def specs(self, rows: Sequence[int]) -> list[tuple[int, bytes, bytes | None]]:
        """(row, args, more)."""
        return self.sql(SPECS_SQL, (json.dumps(rows),)).fetchall()

    def set_args(self, row: int, args: bytes) -> None:
        self.sql("UPDATE lash_spec SET args = ? WHERE row = ?", (args, row))

    def there(self, process_id: str) -> There | None:
        found = self.sql(THERE_SQL, (process_id, process_id)).fetchone()
        return cast("There | None", found)

    def pruned(self, process_id: str) -> bool:
        return self.sql(TOMBSTONE_SQL, (process_id,)).fetchone() is not None

    def ready(self, lane: int, now_ms: int, limit: int) -> list[tuple[int, int, int]]:
        """(-priority, wake_ms, row), in this order."""
        return self.sql(READY_SQL, (lane, now_ms, limit)).fetchall()

    def timed(self, lane: int, now_ms: int, limit: int) -> list[tuple[int, int, int]]:
        """As ``ready``, of rows whose timer or lease has run out; the earliest first."""
        return self.sql(TIMED_SQL, (lane, now_ms, limit)).fetchall()

    def blocked(self, lane: int, code_hash: str, now_ms: int) -> list[int]:
        return [row for (row,) in self.sql(BLOCKED_SQL, (lane, code_hash, now_ms))]

    def children(self, process_id: str) -> list[int]:
        """Those running and not detached."""
        return [row for (row,) in self.sql(CHILDREN_SQL, (process_id,))]

    def cancelled_before(self, at_ms: int) -> list[int]:
        """Running rows that were asked to cancel by then."""
        return [row for (row,) in self.sql(SWEEP_SQL, (at_ms,))]

    def renew(self, owner: str, until_ms: int) -> list[Fence]:
        self.sql("UPDATE lash_process SET wake_ms = ? WHERE owner = ?", (until_ms, owner))
        self.sql("UPDATE lash_worker SET until_ms = ? WHERE owner = ?", (until_ms, owner))
        return [Fence(row, token) for row, token in self.sql(HELD_SQL, (owner,))]

    def live(self, owner: str, now_ms: int) -> list[int]:
        """Rows under a lease of ``owner`` that has not run out."""
        return [row for (row,) in self.sql(LIVE_SQL, (owner, now_ms))]

    def insert_processes(self, names: Sequence[str], rows: Iterable[Columns]) -> None:
        """Rows with these columns; the others are NULL. Binding a NULL would cost as much as three numbers."""
        places = ", ".join("?" * len(names))
        self.many(f"INSERT INTO lash_process ({', '.join(names)}) VALUES ({places})", rows)

    def insert_specs(self, specs: Iterable[Columns], tags: list[Columns]) -> None:
        self.many(SPEC_INSERT, specs)
        if tags:
            self.many(TAG_INSERT, tags)

    def update_processes(self, names: Sequence[str], rows: Iterable[Columns]) -> None:
        """``rows`` are the new values of the named columns, and the row's number behind them."""
        self.many(f"UPDATE lash_process SET {' = ?, '.join(names)} = ? WHERE row = ?", rows)

    # Events --------------------------------------------------------------------------------------------------------

    def event_of_key(self, row: int, key: str) -> Event | None:
        found = self.sql(KEYED_SQL, (row, key)).fetchone()
        return None if found is None else unpack_event(found)

    def event_payload(self, row: int, sequence: int) -> bytes:
        return cast(bytes, self.sql(PAYLOAD_SQL, (row, sequence)).fetchone()[0])

    def insert_events(self, events: list[Columns], keyed: list[Columns]) -> None:
        """(row, sequence, type, payload, at_ms), and the same with a key behind."""
        if events:
            self.many(EVENT_INSERT, events)
        if keyed:
            self.many(KEYED_INSERT, keyed)

    # Journal -------------------------------------------------------------------------------------------------------

    def entries_after(self, row: int, rank: int) -> list[Entry]:
        return [unpack_entry(columns) for columns in self.sql(AFTER_SQL, (row, rank))]

    def waits(self, row: int, ordinal: int) -> list[WaitColumns]:
        return self.sql(WAIT_SQL, (row, ordinal)).fetchall()

    def oldest_mail(self, row: int, key: str) -> tuple[int, int, bytes | None] | None:
        """(rank, event sequence, payload)."""
        return cast("tuple[int, int, bytes | None] | None", self.sql(OLDEST_MAIL_SQL, (key, row)).fetchone())

    def oldest_wait(self, row: int, key: str) -> tuple[int, int] | None:
        """(rank, ordinal)."""
        return cast("tuple[int, int] | None", self.sql(OLDEST_WAIT_SQL, (key, row)).fetchone())

    def waiters(self, key: str) -> list[tuple[int, int, int]]:
        """(rank, row, ordinal) of every open wait on ``key``, whoever waits."""
        return self.sql(WAITERS_SQL, (key,)).fetchall()

    def insert_entries(self, steps: list[Columns], entries: list[Columns]) -> None:
        if steps:
            self.many(STEP_INSERT, steps)
        if entries:
            self.many(ENTRY_INSERT, entries)

    def shut(self, ranks: Iterable[int]) -> None:
        """These waits are answered or given up, this mail is taken."""
        self.many(SHUT_UPDATE, [(rank,) for rank in ranks])

    def cut(self, row: int) -> None:
        """Delete the journal of a row, all but untaken mail and cancel requests."""
        query = "DELETE FROM lash_journal WHERE process = ? AND kind <> ? AND NOT (kind = ? AND open_key IS NOT NULL)"
        self.sql(query, (row, CANCEL, MAIL))

    def cut_all(self, row: int) -> None:
        self.sql("DELETE FROM lash_journal WHERE process = ?", (row,))

    # Numbers and lanes ---------------------------------------------------------------------------------------------

    def version(self) -> int:
        """Another number once another connection has committed."""
        return cast(int, self.sql("PRAGMA data_version").fetchone()[0])

    def newest(self, name: str, table: str) -> int:
        """The largest number ever given out; those of deleted rows stay used."""
        query = f"SELECT max(ifnull((SELECT max({name}) FROM {table}), 0), value) FROM lash_floor WHERE name = ?"
        return cast(int, self.sql(query, (name,)).fetchone()[0])

    def keep_floors(self) -> None:
        """Before rows are deleted: their numbers stay used."""
        for name, table in (("rank", "lash_journal"), ("row", "lash_process")):
            self.sql("UPDATE lash_floor SET value = ? WHERE name = ?", (self.newest(name, table), name))

    def keep_floor(self, name: str, value: int) -> None:
        """The same where the number given out last is known."""
        self.sql("UPDATE lash_floor SET value = ? WHERE name = ?", (value, name))

    def lanes(self) -> list[Columns]:
        """Rows of ``LANES_SQL``."""
        return self.sql(LANES_SQL).fetchall()

    def add_lane(self, lane: Lane) -> None:
        self.sql("INSERT OR IGNORE INTO lash_lane (host_profile, kind, name, version) VALUES (?, ?, ?, ?)", lane)

    # Pruning -------------------------------------------------------------------------------------------------------

    def prunable(self, before_ms: int, limit: int) -> list[tuple[int, str]]:
        """(row, id), oldest end first."""
        return self.sql(PRUNE_SQL, (before_ms, limit)).fetchall()

    def bury(self, rows: Sequence[int], now_ms: int) -> None:
        """Leave tombstones, delete everything else."""
        numbers = [(row,) for row in rows]
        self.many(
            "INSERT INTO lash_tombstone SELECT id, definition, status, updated_ms, ? FROM lash_process WHERE row = ?",
            [(now_ms, row) for row in rows],
        )
        self.many(
            "DELETE FROM lash_tag WHERE row = ? AND tag IN "
            "(SELECT t.value FROM lash_spec s, json_each(CAST(s.more AS TEXT), '$.tags') t WHERE s.row = ?)",
            [(row, row) for row in rows],
        )
        for table, name in (("spec", "row"), ("event", "process"), ("journal", "process"), ("process", "row")):
            self.many(f"DELETE FROM lash_{table} WHERE {name} = ?", numbers)

    # Workers -------------------------------------------------------------------------------------------------------

    def put_worker(self, owner: str, lanes: bytes, about: bytes, until_ms: int) -> None:
        self.sql("INSERT OR REPLACE INTO lash_worker VALUES (?, ?, ?, ?)", (owner, lanes, about, until_ms))

    def delete_worker(self, owner: str) -> None:
        self.sql("DELETE FROM lash_worker WHERE owner = ?", (owner,))


def hot_of(columns: Sequence[object] | None) -> Hot | None:
    """A row of ``LOAD_SQL``."""
    if columns is None:
        return None
    *there, last_rank, last_ms = columns
    hot = Hot(*there, last_rank or 0, last_ms or 0)  # type: ignore[arg-type, call-arg]  # the schema's types
    hot.stored = tuple(there)
    return hot


def pack_step(process: int, noted: Entry) -> Columns | None:
    """Parameters of ``STEP_INSERT`` for an ordinary entry, or None. Binding NULLs would cost a third of the insert, and
    bytes more than their copy: sqlite3 looks for an adapter of either, but not of a bytearray."""
    kind, ordinal, name, witness, payload, failed, attempt, began_ms, due_ms, rank, at_ms = noted
    if failed or attempt != 1 or due_ms or not name or not payload:
        return None
    code = 1 if kind is EntryKind.STEP else KIND_CODES[kind]  # hashing a member costs more than this test
    hashed = pack_hash(witness)
    blob = bytearray(hashed) if isinstance(hashed, bytes) else hashed
    return (rank, process, code, ordinal, name, blob, bytearray(payload), began_ms or None, at_ms)


STEP_INSERT: Final = (
    "INSERT INTO lash_journal (rank, process, kind, ordinal, name, witness, payload, began_ms, at_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def pack_entry(process: int, noted: Entry, open_key: str | None) -> Columns:
    """Parameters of ``ENTRY_INSERT``: every column, in the table's order."""
    return (noted.rank, process, *pack_rest(noted, pack_hash(noted.witness), open_key))


ENTRY_INSERT: Final = "INSERT INTO lash_journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
