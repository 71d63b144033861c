"""One write transaction: its time, its numbers, and a picture of the rows it works on, written when it ends.

Operations change the picture; events, journal entries and changed columns are gathered and written by the list. Who
must look into a table instead has what is pending for it written first. A row's columns change only together with
:meth:`Transaction.tell`, or by what no event tells (lease, due time, fault count); ``rank`` and ``row`` are given out
under the write lock and never twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import compress, repeat
from operator import is_not, ne
from typing import Final, TypeVar

from lash.abc.store import Stale
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.outcome import Outcome, outcome_of
from lash.core.process import Lane, ProcessSpec
from lash.stores.sql.book import Book
from lash.stores.sql.rows import (
    HOT,
    IDLE,
    LEASED,
    READY,
    STATUSES,
    TIMED,
    Columns,
    Hot,
    columns_of,
    pack_entry,
    pack_more,
    pack_step,
    unpack_spec,
)
from lash.stores.sql.tables import Tables

K = TypeVar("K")
ENTRY_FIELDS: Final = len(Entry._fields) - 2
"""All but rank and time, which the store sets."""


class Transaction:
    """Use one per ``BEGIN IMMEDIATE`` … ``COMMIT``; the caller flushes, and commits or rolls back."""

    def __init__(self, tables: Tables, now_ms: int, book: Book) -> None:
        self.tables = tables
        self.now_ms = now_ms
        self.book = book
        book.refresh(tables.version())
        self.stirred = False
        """It did something a worker or an awaiter should look at."""
        self.expired: list[str] = []
        """Owners whose leases were ended as those of the dead."""
        self._touched: dict[int, Hot] = {}
        self._events: list[Columns] = []
        self._keyed: list[Columns] = []
        self._steps: list[Columns] = []
        self._entries: list[Columns] = []
        self._shut: list[int] = []

    # Numbers -------------------------------------------------------------------------------------------------------

    def next_rank(self) -> int:
        book = self.book
        if not book.last_rank:
            book.last_rank = self.tables.newest("rank", "lash_journal")
        book.last_rank += 1
        return book.last_rank

    def next_row(self) -> int:
        book = self.book
        if not book.last_row:
            book.last_row = self.tables.newest("row", "lash_process")
        book.last_row += 1
        return book.last_row

    def lane_number(self, lane: Lane) -> int:
        if (number := self.book.numbers.get(lane)) is None:
            self.tables.add_lane(lane)
            self.book.learn(self.tables.lanes())
            number = self.book.numbers[lane]
        return number

    def known_lanes(self, wanted: Sequence[Lane]) -> list[int]:
        """Numbers of those lanes that any process was ever started in."""
        numbers = self.book.numbers
        if any(lane not in numbers for lane in wanted):
            self.book.learn(self.tables.lanes())
            numbers = self.book.numbers
        return [numbers[lane] for lane in dict.fromkeys(wanted) if lane in numbers]

    def lane(self, number: int) -> Lane:
        if number not in self.book.by_number:
            self.book.learn(self.tables.lanes())
        return self.book.by_number[number]

    # Rows ----------------------------------------------------------------------------------------------------------
    # A Hot that was got before a flush of rows must be got again before it is changed.

    def load(self, row: int) -> Hot | None:
        """The row, to be changed."""
        hot = self.book.rows.get(row)
        return self._touch(hot) if hot is not None else self._fetched(self.tables.by_row, row)

    def load_id(self, process_id: str) -> Hot | None:
        hot = self.book.ids.get(process_id)
        return self._touch(hot) if hot is not None else self._fetched(self.tables.by_id, process_id)

    def find_id(self, process_id: str) -> Hot | None:
        """The row, only to be looked at."""
        hot = self.book.ids.get(process_id)
        return self.load_id(process_id) if hot is None else hot

    def load_full(self, row: int) -> Hot | None:
        """The row with its spec, to be changed; the spec is None where it cannot be decoded."""
        hot = self.book.rows.get(row)
        if hot is None or hot.spec is None:
            self.look_up([row])
            hot = self.book.rows.get(row)
        return hot if hot is None else self._touch(hot)

    def look_up(self, rows: Sequence[int]) -> None:
        """Have these rows and their specs at hand: for ``load_full``, by the list."""
        known = self.book.rows
        if unknown := [row for row in rows if row not in known]:
            self.flush_entries()
            for hot in self.tables.by_rows(unknown):
                self.add(hot)
        if bare := [row for row in rows if row in known and known[row].spec is None]:
            for row, args, more in self.tables.specs(bare):
                hot = known[row]
                with suppress(ValueError, TypeError):
                    hot.spec = unpack_spec(hot, self.lane(hot.lane), args, more)

    def leased(self, fence: Fence) -> Hot | Stale:
        """The row the fence still guards, only to be looked at; or the refusal."""
        row, token = fence
        hot = self.book.rows.get(row)
        if hot is None:
            hot = self._fetched(self.tables.by_row, row)
        if hot is None or hot.status:
            return Stale(0)
        return hot if hot.token == token and hot.state == LEASED else Stale(hot.token)

    def holder(self, fence: Fence) -> Hot | Stale:
        """The same, to be changed."""
        hot = self.leased(fence)
        return hot if isinstance(hot, Stale) else self._touch(hot)

    def add(self, hot: Hot) -> None:
        """A row that is new, or was just read."""
        self.book.add(hot)
        self._touched[hot.row] = hot

    def _touch(self, hot: Hot) -> Hot:
        self._touched[hot.row] = hot
        return hot

    def _fetched(self, find: Callable[[K], Hot | None], key: K) -> Hot | None:
        self.flush_entries()
        hot = find(key)
        if hot is not None:
            self.add(hot)
        return hot

    def outcome(self, hot: Hot) -> Outcome:
        """Of an ended row."""
        return outcome_of(STATUSES[hot.status], self.terminal(hot))

    def terminal(self, hot: Hot) -> bytes:
        """Payload of the event that ended the row."""
        self.flush_events()
        return self.tables.event_payload(hot.row, hot.last_event)

    # Events and entries --------------------------------------------------------------------------------------------

    def at_ms(self, hot: Hot) -> int:
        """Now, but never before anything the scope already has."""
        return max(self.now_ms, hot.updated_ms, hot.last_ms)

    def tell(self, hot: Hot, event_type: str, payload: bytes, key: str | None = None) -> Event:
        """Append an event. The caller changes the columns it speaks of."""
        at_ms = self.at_ms(hot)
        sequence = hot.last_event + 1
        if key is None:
            self._events.append((hot.row, sequence, event_type, payload, at_ms))
        else:
            self._keyed.append((hot.row, sequence, event_type, payload, at_ms, key))
        hot.last_event = sequence
        hot.updated_ms = at_ms
        return Event(sequence, event_type, payload, key, at_ms)

    def told(self, row: int, key: str) -> Event | None:
        """The event that has this key."""
        self.flush_events()
        return self.tables.event_of_key(row, key)

    def note(self, hot: Hot, entry: Entry, open_key: str | None = None) -> Entry:
        """Append a journal entry under the next rank."""
        at_ms = self.at_ms(hot)
        rank = self.next_rank()
        noted = Entry._make((*entry[:ENTRY_FIELDS], rank, at_ms))
        step = pack_step(hot.row, noted) if open_key is None else None
        if step is not None:
            self._steps.append(step)
        else:
            self._entries.append(pack_entry(hot.row, noted, open_key))
        hot.last_rank = rank
        hot.last_ms = at_ms
        return noted

    def shut(self, rank: int) -> None:
        """A wait got its reply or was given up, or mail was taken."""
        self._shut.append(rank)

    def entries_after(self, hot: Hot, rank: int) -> list[Entry]:
        if hot.last_rank <= rank:
            return []
        self.flush_entries()
        return self.tables.entries_after(hot.row, rank)

    def look_at_waits(self) -> Tables:
        """The tables, with every open wait and all mail in them."""
        if self._entries or self._shut:
            self.flush_entries()
        return self.tables

    def cut(self, hot: Hot) -> None:
        """Drop the journal, all but untaken mail and cancel requests."""
        self.flush()
        self.tables.keep_floors()
        self.tables.cut(hot.row)
        self.book.drop(hot)

    # Writing -------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything gathered so far."""
        self.flush_rows()
        self.flush_events()
        self.flush_entries()

    def flush_rows(self) -> None:
        if not self._touched:
            return
        fresh: dict[tuple[str, ...], list[Columns]] = {}
        changed: dict[tuple[str, ...], list[Columns]] = {}
        specs: list[tuple[int, ProcessSpec]] = []
        for hot in self._touched.values():
            columns = columns_of(hot)
            stored, hot.stored = hot.stored, columns
            if stored is None:
                filled = tuple(map(is_not, columns, repeat(None)))
                fresh.setdefault(tuple(compress(HOT, filled)), []).append(tuple(compress(columns, filled)))
                assert hot.spec is not None
                specs.append((hot.row, hot.spec))
            elif columns != stored:
                differs = tuple(map(ne, columns, stored))
                values = (*compress(columns, differs), hot.row)
                changed.setdefault(tuple(compress(HOT, differs)), []).append(values)
        for names, rows in fresh.items():
            self.tables.insert_processes(names, rows)
        if specs:
            tags: list[Columns] = [(tag, row) for row, spec in specs for tag in dict.fromkeys(spec.tags)]
            self.tables.insert_specs([(row, spec.args, pack_more(spec)) for row, spec in specs], tags)
        for names, rows in changed.items():
            self.tables.update_processes(names, rows)
        for hot in self._touched.values():
            self.book.settle(hot)
        self._touched = {}

    def flush_events(self) -> None:
        if self._events or self._keyed:
            self.tables.insert_events(self._events, self._keyed)
            self._events, self._keyed = [], []

    def flush_entries(self) -> None:
        if self._steps or self._entries:
            self.tables.insert_entries(self._steps, self._entries)
            self._steps, self._entries = [], []
        if self._shut:
            self.tables.shut(self._shut)
            self._shut = []

    # Scheduling ----------------------------------------------------------------------------------------------------

    def deliver(self, hot: Hot, entry: Entry) -> None:
        """An entry from outside: a leased row gets the news mark, a parked one becomes claimable."""
        self.note(hot, entry)
        if hot.state == LEASED:
            hot.news = 1
            self.stirred = True
        elif hot.parked:
            self.make_due(hot)

    def make_due(self, hot: Hot) -> None:
        hot.wake_ms = self.now_ms if hot.state == IDLE or hot.wake_ms is None else min(hot.wake_ms, self.now_ms)
        hot.state = READY
        self.stirred = True

    def give_back(self, hot: Hot, due_ms: int | None) -> None:
        """End a lease. The token moves on, so that the former holder can write nothing more."""
        hot.state = IDLE if due_ms is None else READY if due_ms <= self.now_ms else TIMED
        hot.wake_ms = due_ms
        hot.owner = hot.news = None
        hot.token += 1
        if hot.state == READY:
            self.stirred = True
