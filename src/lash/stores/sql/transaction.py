"""One write transaction: its time, its numbers, its buffered journal rows, and the moves operations are made of.

A record's columns change only together with :meth:`Transaction.tell`; ``rank`` and ``row`` are given out under the
write lock and never twice. Journal rows are buffered and inserted together; everything that reads the journal
flushes first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lash.abc.store import Stale
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane
from lash.stores.sql.rows import (
    ENTRY_INSERT,
    HOT_SQL,
    IDLE,
    LEASED,
    READY,
    ROW_SQL,
    STEP_INSERT,
    TIMED,
    Columns,
    Hot,
    Lanes,
    load_lanes,
    pack_entry,
    pack_step,
)

LAST_SQL: Final = "(SELECT j.at_ms FROM lash_journal j WHERE j.process = p.row ORDER BY j.rank DESC LIMIT 1)"
LOAD_SQL: Final = f"SELECT {HOT_SQL}, {LAST_SQL} FROM lash_process p WHERE p.row = ?"
LOAD_ID_SQL: Final = f"SELECT {HOT_SQL}, {LAST_SQL} FROM lash_process p WHERE p.id = ?"
SCOPES_MAX: Final = 100_000
"""Rows remembered: far more than one worker leases, and some tens of megabytes."""
EVENT_SQL: Final = "INSERT INTO lash_event (process, sequence, type, payload, key, at_ms) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(slots=True)
class Scope:
    """What ``Put`` must know of a leased row, so that a step costs no read."""

    token: int
    news: bool
    last_rank: int
    last_ms: int
    """No later entry may carry an earlier time."""


class Book:
    """What one connection remembers between transactions.

    Lanes are never deleted, so they stay true. Scopes and numbers are true until this connection changes the row (each
    such place drops its scope) or another connection commits anything (``PRAGMA data_version`` tells).
    """

    def __init__(self) -> None:
        self.by_number: Lanes = {}
        self.numbers: dict[Lane, int] = {}
        self.scopes: dict[int, Scope] = {}
        self.last_rank = 0
        self.last_row = 0
        """The numbers given out last; 0 when they must be looked up."""
        self.data_version = -1

    def load(self, connection: sqlite3.Connection) -> None:
        self.by_number = load_lanes(connection)
        self.numbers = {lane: number for number, lane in self.by_number.items()}

    def forget(self) -> None:
        """After a rollback: nothing learnt in it holds."""
        self.by_number = {}
        self.numbers = {}
        self.scopes = {}
        self.last_rank = self.last_row = 0

    def refresh(self, connection: sqlite3.Connection) -> None:
        """At the start of a transaction: drop what another connection may have changed."""
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self.data_version or len(self.scopes) > SCOPES_MAX:
            self.data_version = version
            self.scopes.clear()
            self.last_rank = self.last_row = 0


class Transaction:
    """Use one per ``BEGIN IMMEDIATE`` … ``COMMIT``; the caller commits or rolls back."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int, book: Book) -> None:
        self.sql = connection.execute
        self.connection = connection
        self.now_ms = now_ms
        self.book = book
        book.refresh(connection)
        self.stirred = False
        """It did something a worker or an awaiter should look at."""
        self.expired: list[str] = []
        """Owners whose leases were ended as those of the dead."""
        self._steps: list[Columns] = []
        self._entries: list[Columns] = []
        self._pending_rows: set[int] = set()

    # Numbers -------------------------------------------------------------------------------------------------------

    def next_rank(self) -> int:
        book = self.book
        if not book.last_rank:
            book.last_rank = self.newest("rank", "lash_journal")
        book.last_rank += 1
        return book.last_rank

    def next_row(self) -> int:
        book = self.book
        if not book.last_row:
            book.last_row = self.newest("row", "lash_process")
        book.last_row += 1
        return book.last_row

    def newest(self, name: str, table: str) -> int:
        query = f"SELECT max(ifnull((SELECT max({name}) FROM {table}), 0), value) FROM lash_floor WHERE name = ?"
        found: int = self.sql(query, (name,)).fetchone()[0]
        return found

    def keep_floors(self) -> None:
        """Before rows are deleted: their numbers stay used."""
        self.flush()
        for name, table in (("rank", "lash_journal"), ("row", "lash_process")):
            self.sql("UPDATE lash_floor SET value = ? WHERE name = ?", (self.newest(name, table), name))

    def lane_number(self, lane: Lane) -> int:
        if (number := self.book.numbers.get(lane)) is None:
            self.sql("INSERT OR IGNORE INTO lash_lane (host_profile, kind, name, version) VALUES (?, ?, ?, ?)", lane)
            self.book.load(self.connection)
            number = self.book.numbers[lane]
        return number

    def known_lanes(self, wanted: Sequence[Lane]) -> list[int]:
        """Numbers of those lanes that any process was ever started in."""
        if any(lane not in self.book.numbers for lane in wanted):
            self.book.load(self.connection)
        return [self.book.numbers[lane] for lane in dict.fromkeys(wanted) if lane in self.book.numbers]

    def lane(self, number: int) -> Lane:
        if number not in self.book.by_number:
            self.book.load(self.connection)
        return self.book.by_number[number]

    # Rows ----------------------------------------------------------------------------------------------------------

    def load(self, row: int) -> Hot | None:
        self.flush()
        found = self.sql(LOAD_SQL, (row,)).fetchone()
        return None if found is None else Hot(*found)

    def load_id(self, process_id: str) -> Hot | None:
        self.flush()
        found = self.sql(LOAD_ID_SQL, (process_id,)).fetchone()
        return None if found is None else Hot(*found)

    def full_row(self, row: int) -> Columns:
        """Columns of ``ROW_SQL``."""
        found: Columns = self.sql(ROW_SQL + " WHERE p.row = ?", (row,)).fetchone()
        return found

    def holder(self, fence: Fence) -> Hot | Stale:
        """The row the fence still guards, or the refusal."""
        hot = self.load(fence.row)
        if hot is None or hot.status:
            return Stale(0)
        return hot if hot.token == fence.token and hot.state == LEASED else Stale(hot.token)

    def save(self, hot: Hot) -> None:
        """Write the changed columns back. Whoever wrote an entry from outside saves too, changed or not."""
        self.book.scopes.pop(hot.row, None)
        if hot.changes:
            names = " = ?, ".join(hot.changes)
            self.sql(f"UPDATE lash_process SET {names} = ? WHERE row = ?", (*hot.changes.values(), hot.row))
            hot.changes.clear()

    def pruned(self, process_id: str) -> bool:
        return self.sql("SELECT 1 FROM lash_tombstone WHERE id = ?", (process_id,)).fetchone() is not None

    # Events and entries --------------------------------------------------------------------------------------------

    def at_ms(self, hot: Hot) -> int:
        """Now, but never before anything the scope already has."""
        return max(self.now_ms, hot.updated_ms, hot.last_ms or 0)

    def tell(self, hot: Hot, event_type: str, payload: bytes, key: str | None = None) -> Event:
        """Append an event. The caller changes the columns it speaks of and saves."""
        item = Event(hot.last_event + 1, event_type, payload, key, self.at_ms(hot))
        self.sql(EVENT_SQL, (hot.row, *item))
        hot.change(last_event=item.sequence, updated_ms=item.at_ms)
        return item

    def note(self, process: int, entry: Entry, at_ms: int, open_key: str | None = None) -> Entry:
        """Append a journal entry under the next rank."""
        noted = Entry(*entry[:9], self.next_rank(), at_ms)
        columns = pack_step(process, noted) if open_key is None else None
        if columns is not None:
            self._steps.append(columns)
        else:
            self._entries.append(pack_entry(process, noted, open_key))
        self._pending_rows.add(process)
        return noted

    def flush_row(self, row: int) -> None:
        if row in self._pending_rows:
            self.flush()

    def flush(self) -> None:
        if self._pending_rows:
            if self._steps:
                self.connection.executemany(STEP_INSERT, self._steps)
                self._steps.clear()
            if self._entries:
                self.connection.executemany(ENTRY_INSERT, self._entries)
                self._entries.clear()
            self._pending_rows.clear()

    def shut(self, rank: int) -> None:
        """A wait got its reply or was given up, or mail was taken."""
        self.flush()
        self.sql("UPDATE lash_journal SET open_key = NULL WHERE rank = ?", (rank,))

    # Scheduling ----------------------------------------------------------------------------------------------------

    def deliver(self, hot: Hot, entry: Entry) -> None:
        """An entry from outside: a leased row gets the news mark, a parked one becomes claimable. Then save."""
        hot.last_ms = self.note(hot.row, entry, self.at_ms(hot)).at_ms
        if hot.state == LEASED:
            hot.change(news=1)
            self.stirred = True
        elif hot.parked:
            self.make_due(hot)

    def make_due(self, hot: Hot) -> None:
        wake_ms = self.now_ms if hot.state == IDLE or hot.wake_ms is None else min(hot.wake_ms, self.now_ms)
        hot.change(state=READY, wake_ms=wake_ms)
        self.stirred = True

    def give_back(self, hot: Hot, due_ms: int | None) -> None:
        """End a lease. The token moves on, so that the former holder can write nothing more."""
        state = IDLE if due_ms is None else READY if due_ms <= self.now_ms else TIMED
        hot.change(state=state, wake_ms=due_ms, owner=None, token=hot.token + 1)
        hot.clear("news")
        if state == READY:
            self.stirred = True
