"""The SQLite transaction: under the write lock everything read stays true, so it is read when it is asked for.

Events, journal entries and changed columns are gathered and written by the list; who must look into a table has what is
pending for it written first. ``rank`` and ``row`` are given out under the write lock and never twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import compress, repeat
from operator import is_not, ne
from typing import TypeVar

from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessSpec
from lash.core.session import Item, TurnRecord
from lash.stores.sql.chats import Chat
from lash.stores.sql.rows import (
    HOT,
    Columns,
    Hot,
    columns_of,
    pack_more,
    unpack_spec,
)
from lash.stores.sql.transaction import ENTRY_FIELDS, TIMED_SCAN_MIN, There, Transaction, WaitColumns
from lash.stores.sqlite import chats
from lash.stores.sqlite.book import Book
from lash.stores.sqlite.tables import Tables, pack_entry, pack_step

K = TypeVar("K")


class SqliteTransaction(Transaction):
    """Use one per ``BEGIN IMMEDIATE`` … ``COMMIT``; the caller flushes, and commits or rolls back."""

    def __init__(self, tables: Tables, now_ms: int, book: Book) -> None:
        super().__init__(now_ms)
        self.tables = tables
        self.book = book
        book.refresh(tables.version())
        self._touched: dict[int, Hot] = {}
        self._events: list[Columns] = []
        self._keyed: list[Columns] = []
        self._steps: list[Columns] = []
        self._entries: list[Columns] = []
        self._shut: list[int] = []
        self._chats: dict[int, Chat | None] = {}
        self._touched_chats: dict[int, Chat] = {}

    # Numbers and lanes ---------------------------------------------------------------------------------------------

    def next_rank(self) -> int:
        book = self.book
        if not book.last_rank:
            book.last_rank = self.tables.newest("rank", "lash_journal")
        book.last_rank += 1
        return book.last_rank

    def next_row(self, process_id: str) -> int:
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
        if self.book.lacks(wanted):
            self.book.learn(self.tables.lanes())
        return self.book.among(wanted)

    def lane(self, number: int) -> Lane:
        if number not in self.book.by_number:
            self.book.learn(self.tables.lanes())
        return self.book.by_number[number]

    # Rows ----------------------------------------------------------------------------------------------------------

    def find(self, row: int) -> Hot | None:
        hot = self.book.rows.get(row)
        return self._fetched(self.tables.by_row, row) if hot is None else hot

    def load(self, row: int) -> Hot | None:
        hot = self.book.rows.get(row)
        return self._touch(hot) if hot is not None else self._fetched(self.tables.by_row, row)

    def load_id(self, process_id: str) -> Hot | None:
        hot = self.book.ids.get(process_id)
        return self._touch(hot) if hot is not None else self._fetched(self.tables.by_id, process_id)

    def find_id(self, process_id: str) -> Hot | None:
        hot = self.book.ids.get(process_id)
        return self.load_id(process_id) if hot is None else hot

    def load_full(self, row: int) -> Hot | None:
        hot = self.book.rows.get(row)
        if hot is None or hot.spec is None:
            self._look_up([row])
            hot = self.book.rows.get(row)
        return hot if hot is None else self._touch(hot)

    def _look_up(self, rows: Sequence[int]) -> None:
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

    def there(self, process_id: str) -> There | None:
        known = self.book.ids.get(process_id)
        if known is not None:
            return known.row, known.status, known.definition, known.lane
        return self.tables.there(process_id)

    def pruned(self, process_id: str) -> bool:
        return self.tables.pruned(process_id)

    def add(self, hot: Hot) -> None:
        """A row that is new, or was just read."""
        self.book.add(hot)
        self._touched[hot.row] = hot

    def set_args(self, hot: Hot, args: bytes) -> None:
        self.tables.set_args(hot.row, args)

    def _touch(self, hot: Hot) -> Hot:
        self._touched[hot.row] = hot
        return hot

    def _fetched(self, find: Callable[[K], Hot | None], key: K) -> Hot | None:
        self.flush_entries()
        hot = find(key)
        if hot is not None:
            self.add(hot)
        return hot

    # Rows by what they are in --------------------------------------------------------------------------------------

    def due(self, lanes: Sequence[int], limit: int) -> Iterator[int]:
        self.flush_rows()
        found: list[tuple[int, int, int]] = []
        for lane in lanes:
            found += self.tables.ready(lane, self.now_ms, limit)
            found += self.tables.timed(lane, self.now_ms, max(TIMED_SCAN_MIN, 4 * limit))
        rows = [row for _, _, row in sorted(found)]
        for place, row in enumerate(rows):
            if place % limit == 0:
                self._look_up(rows[place : place + limit])
            yield row

    def blocked(self, lane: int, code_hash: str) -> list[int]:
        self.flush_rows()
        return self.tables.blocked(lane, code_hash, self.now_ms)

    def children(self, process_id: str) -> list[int]:
        self.flush_rows()
        return self.tables.children(process_id)

    def cancelled_before(self, at_ms: int) -> list[int]:
        self.flush_rows()
        return self.tables.cancelled_before(at_ms)

    def live(self, owner: str) -> list[int]:
        self.flush_rows()
        return self.tables.live(owner, self.now_ms)

    def renew(self, owner: str, until_ms: int) -> list[Fence]:
        self.flush_rows()
        held = self.tables.renew(owner, until_ms)
        for fence in held:
            if (hot := self.book.rows.get(fence.row)) is not None:
                hot.wake_ms = until_ms
                hot.stored = columns_of(hot)
        return held

    # Events and entries --------------------------------------------------------------------------------------------

    def told(self, row: int, key: str) -> Event | None:
        self.flush_events()
        return self.tables.event_of_key(row, key)

    def terminal(self, hot: Hot) -> bytes:
        self.flush_events()
        return self.tables.event_payload(hot.row, hot.last_event)

    def tell(self, hot: Hot, event_type: str, payload: bytes, key: str | None = None) -> Event:
        at_ms = self.at_ms(hot)
        sequence = hot.last_event + 1
        if key is None:
            self._events.append((hot.row, sequence, event_type, payload, at_ms))
        else:
            self._keyed.append((hot.row, sequence, event_type, payload, at_ms, key))
        hot.last_event = sequence
        hot.updated_ms = at_ms
        return Event(sequence, event_type, payload, key, at_ms)

    def note(self, hot: Hot, entry: Entry, open_key: str | None = None) -> Entry:
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

    def shut(self, hot: Hot, rank: int) -> None:
        self._shut.append(rank)

    def entries_after(self, hot: Hot, rank: int) -> list[Entry]:
        if hot.last_rank <= rank:
            return []
        self.flush_entries()
        return self.tables.entries_after(hot.row, rank)

    def waits(self, hot: Hot, ordinal: int) -> list[WaitColumns]:
        self.flush_entries()
        return self.tables.waits(hot.row, ordinal)

    def oldest_mail(self, hot: Hot, key: str) -> tuple[int, int, bytes | None] | None:
        self.flush_entries()
        return self.tables.oldest_mail(hot.row, key)

    def oldest_wait(self, hot: Hot, key: str) -> tuple[int, int] | None:
        self.flush_entries()
        return self.tables.oldest_wait(hot.row, key)

    def awaits(self, hot: Hot) -> None:
        """Whoever ends it looks into the table, under the same write lock."""

    def waiters(self, hot: Hot, key: str) -> list[tuple[int, int, int]]:
        if self._entries or self._shut:
            self.flush_entries()
        return self.tables.waiters(key)

    def cut(self, hot: Hot) -> None:
        self.flush()
        self.tables.keep_floors()
        self.tables.cut(hot.row)
        self.book.drop(hot)

    # Sessions ------------------------------------------------------------------------------------------------------

    def chat(self, row: int) -> Chat | None:
        if row not in self._chats:
            self._chats[row] = chats.load(self.tables.connection, row)
        return self._chats[row]

    def add_chat(self, chat: Chat) -> None:
        self._chats[chat.row] = chat
        self.touch_chat(chat)

    def touch_chat(self, chat: Chat) -> None:
        self._touched_chats[chat.row] = chat

    def keep_chat(self, chat: Chat) -> None:
        """Under the write lock it is."""

    def undone(self, chat: Chat) -> dict[int, Item]:
        if not chat.complete:
            chat.fill(chats.undone(self.tables.connection, chat.row))
        return chat.undone

    def whole(self, chat: Chat, items: Sequence[Item]) -> list[Item]:
        return chats.whole(self.tables.connection, chat.row, items)

    def item(self, chat: Chat, number: int) -> Item | None:
        return chats.item(self.tables.connection, chat.row, number)

    def item_of_key(self, chat: Chat, key: str) -> tuple[Item, str] | None:
        self.flush_chats()
        return chats.item_of_key(self.tables.connection, chat.row, key)

    def turn(self, chat: Chat, number: int) -> TurnRecord | None:
        return chats.turn(self.tables.connection, chat.row, number)

    def frame_before(self, row: int, number: int) -> int:
        self.flush_chats()
        return chats.frame_before(self.tables.connection, row, number)

    def cut_all(self, hot: Hot) -> None:
        self.flush_entries()
        self.tables.keep_floor("rank", self.next_rank())
        self.tables.cut_all(hot.row)
        hot.last_rank = hot.last_ms = 0

    def bury_one(self, row: int) -> None:
        self.flush()
        self.tables.keep_floors()
        self._bury([row])

    def _bury(self, rows: Sequence[int]) -> None:
        self.tables.bury(rows, self.now_ms)
        chats.bury(self.tables.connection, rows)
        for row in rows:
            self._chats.pop(row, None)

    def flush_chats(self) -> None:
        for chat in self._touched_chats.values():
            chats.write(self.tables.connection, chat)
        self._touched_chats = {}

    # Pruning and workers -------------------------------------------------------------------------------------------

    def bury(self, before_ms: int, limit: int) -> list[str]:
        self.flush()
        old = self.tables.prunable(before_ms, limit)
        if old:
            self.tables.keep_floors()
            self._bury([row for row, _ in old])
        return [process_id for _, process_id in old]

    def expect_family(self, process_id: str, key: str) -> None:
        """Nothing to do: here a look costs no more for being made alone."""

    def put_worker(self, owner: str, lanes: bytes, about: bytes, until_ms: int) -> None:
        self.tables.put_worker(owner, lanes, about, until_ms)

    def delete_worker(self, owner: str) -> None:
        self.tables.delete_worker(owner)

    # Writing -------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything gathered so far."""
        self.flush_rows()
        self.flush_events()
        self.flush_entries()
        self.flush_chats()

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
