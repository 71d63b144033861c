"""The PostgreSQL transaction: a picture of the rows it works on, drawn from facts and never from the server itself.

What operations do is kept in the picture, and every look-up answers from facts and picture together, as if all changes
so far stood in the tables. Nothing of it is written before the batch has run to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, cast

from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane
from lash.core.session import SESSION
from lash.stores.postgres.chats import ChatPicture
from lash.stores.postgres.columns import LAST_RANK, hot_of
from lash.stores.postgres.facts import Facts, Missing
from lash.stores.sql.rows import KIND_CODES, LEASED, MAIL, WAIT, Columns, Hot, unpack_spec
from lash.stores.sql.transaction import ENTRY_FIELDS, There, Transaction, WaitColumns

WAITING: Final = frozenset({EntryKind.WAIT, EntryKind.REPLY, EntryKind.CLOSE})
Opened = tuple[int, int, int, str, "bytes | None", int]
"""(rank, kind, ordinal, open_key, payload, at_ms) of an open wait or of mail nobody took."""
Told = tuple[int, int, str, bytes, "str | None", int]
"""(row, sequence, type, payload, key, at_ms) of a new event."""


class Picture(ChatPicture, Transaction):
    """One run of one batch. After it, the public fields say what is to be written."""

    def __init__(self, now_ms: int, facts: Facts) -> None:
        ChatPicture.__init__(self)
        Transaction.__init__(self, now_ms)
        self.facts = facts
        self.hots: dict[int, Hot] = {}
        """Every row that was looked at."""
        self.events: list[Told] = []
        self.noted: dict[int, list[tuple[Entry, str | None]]] = {}
        """By row: new entries, and the open key each has."""
        self.shuts: dict[int, set[int]] = {}
        """By row: ranks of entries that are open in the table and no longer."""
        self.bumped: set[int] = set()
        """Rows whose version must grow although no column changes."""
        self.cuts: dict[int, set[int]] = {}
        """Rows whose stored journal goes, and the ranks of the mail that stays."""
        self.wipes: dict[int, int] = {}
        """Rows whose whole stored journal goes, and its last rank."""
        self.args: dict[int, bytes] = {}
        self.buried: list[Hot] = []
        self.gone: list[int] = []
        """Those of them that were sessions."""
        self.workers: list[tuple[str, tuple[bytes, bytes] | None, int]] = []
        """(owner, lanes and about, until_ms) of a new entry; None and a moment: it lasts on; None and 0: it goes."""
        self._ids: dict[str, Hot | None] = {}
        self._keyed: dict[tuple[int, str], Event] = {}

    # Numbers and lanes ---------------------------------------------------------------------------------------------

    def next_row(self, process_id: str) -> int:
        return cast(int, self.facts.ask("start", process_id))

    def lane_number(self, lane: Lane) -> int:
        number = self.facts.known.numbers.get(lane)
        return cast(int, self.facts.ask("lane", lane)) if number is None else number

    def known_lanes(self, wanted: Sequence[Lane]) -> list[int]:
        known = self.facts.known
        if known.lacks(wanted):
            self.facts.ask("lanes")
        return known.among(wanted)

    def lane(self, number: int) -> Lane:
        if number not in self.facts.known.by_number:
            self.facts.ask("lanes")
        return self.facts.known.by_number[number]

    # Rows ----------------------------------------------------------------------------------------------------------

    def find(self, row: int) -> Hot | None:
        return self.load(row)

    def load(self, row: int) -> Hot | None:
        hot = self.hots.get(row)
        if hot is None and (columns := self.facts.row(row)) is not None:
            hot = hot_of(columns)
            if self._ids.setdefault(hot.id, hot) is not hot:
                return None  # buried a moment ago
            self.hots[row] = hot
        return hot

    def load_id(self, process_id: str) -> Hot | None:
        if process_id in self._ids:
            return self._ids[process_id]
        row = self.facts.row_of(process_id)
        return None if row is None else self.load(row)

    def find_id(self, process_id: str) -> Hot | None:
        return self.load_id(process_id)

    def load_full(self, row: int) -> Hot | None:
        hot = self.load(row)
        if hot is not None and hot.spec is None:
            stored = cast("tuple[bytes, bytes | None] | None", self.facts.spec(row))
            lane = self.lane(hot.lane)
            if stored is not None:
                with suppress(ValueError, TypeError):
                    hot.spec = unpack_spec(hot, lane, self.args.get(row, stored[0]), stored[1])
        return hot

    def there(self, process_id: str) -> There | None:
        if process_id not in self._ids and not self.facts.has_id(process_id):
            self.facts.ask("start", process_id)
        hot = self.load_id(process_id)
        if hot is not None:
            return hot.row, hot.status, hot.definition, hot.lane
        for gone in self.buried:
            if gone.id == process_id:
                return 0, gone.status, gone.definition, 0
        tombstone = cast("tuple[str, int] | None", self.facts.ask("tombstone", process_id))
        return None if tombstone is None else (0, tombstone[1], tombstone[0], 0)

    def pruned(self, process_id: str) -> bool:
        if process_id in self._ids:
            return self._ids[process_id] is None  # buried a moment ago
        return self.facts.ask("tombstone", process_id) is not None

    def add(self, hot: Hot) -> None:
        self.hots[hot.row] = hot
        self._ids[hot.id] = hot

    def set_args(self, hot: Hot, args: bytes) -> None:
        self.args[hot.row] = args
        if hot.spec is not None:
            hot.spec = replace(hot.spec, args=args)

    # Rows by what they are in --------------------------------------------------------------------------------------

    def _among(self, found: object, wanted: Callable[[Hot], bool], order: Callable[[Hot], object]) -> list[Hot]:
        """Those read, and those of this batch, that are in it now."""
        for row in cast("list[int]", found):
            self.load(row)
        return sorted(filter(wanted, self.hots.values()), key=order)  # type: ignore[arg-type]  # numbers and tuples of them

    def due(self, lanes: Sequence[int], limit: int) -> Iterator[int]:
        if not lanes:
            return

        def is_due(hot: Hot) -> bool:
            return bool(hot.state) and hot.lane in lanes and hot.wake_ms is not None and hot.wake_ms <= self.now_ms

        ours = {row for row, hot in self.hots.items() if is_due(hot)}
        others = self.hots.keys() - ours
        want = limit + len(self.hots)
        met: set[int] = set()
        while True:
            found = cast("list[int]", self.facts.ask("due", tuple(lanes), want, self.now_ms))
            hots = [hot for row in {*ours, *found} - met - others if (hot := self.load(row)) is not None]
            hots.sort(key=claim_order)
            full = len(found) >= want
            last = claim_order(hot_of(cast(Columns, self.facts.row(found[-1])))) if full else None
            page = [hot.row for hot in hots if last is None or claim_order(hot) <= last]
            met.update(page)
            yield from page
            if not full:
                return
            want += limit

    def blocked(self, lane: int, code_hash: str) -> list[int]:
        def wanted(hot: Hot) -> bool:
            other = hot.blocked_reason is not None and hot.lane == lane and hot.blocked_hash != code_hash
            return other and hot.state != LEASED and (hot.wake_ms is None or hot.wake_ms > self.now_ms)

        return rows_of(self._among(self.facts.ask("blocked", lane, code_hash, self.now_ms), wanted, by_row))

    def children(self, process_id: str) -> list[int]:
        def wanted(hot: Hot) -> bool:
            return hot.parent == process_id and not hot.status and not hot.detached

        return rows_of(self._among(self.facts.ask("children", process_id), wanted, by_row))

    def cancelled_before(self, at_ms: int) -> list[int]:
        def wanted(hot: Hot) -> bool:
            return hot.cancel_ms is not None and not hot.status and not hot.external and hot.cancel_ms <= at_ms

        return rows_of(self._among(self.facts.ask("cancelled", at_ms), wanted, by_row))

    def held(self, owner: str) -> list[Hot]:
        return self._among(self.facts.ask("held", owner), lambda hot: hot.owner == owner, by_row)

    def live(self, owner: str) -> list[int]:
        return [hot.row for hot in self.held(owner) if (hot.wake_ms or 0) > self.now_ms]

    def renew(self, owner: str, until_ms: int) -> list[Fence]:
        held = self.held(owner)
        for hot in held:
            hot.wake_ms = until_ms
        self.workers.append((owner, None, until_ms))
        return [Fence(hot.row, hot.token) for hot in held]

    # Events --------------------------------------------------------------------------------------------------------

    def told(self, row: int, key: str) -> Event | None:
        if (event := self._keyed.get((row, key))) is not None or self.base(row) is None:
            return event
        return cast("Event | None", self.facts.ask("keyed", row, key))

    def terminal(self, hot: Hot) -> bytes:
        for row, sequence, _, payload, _, _ in reversed(self.events):
            if row == hot.row and sequence == hot.last_event:
                return payload
        return cast(bytes, self.facts.ask("terminal", hot.row, hot.last_event))

    def tell(self, hot: Hot, event_type: str, payload: bytes, key: str | None = None) -> Event:
        event = Event(hot.last_event + 1, event_type, payload, key, self.at_ms(hot))
        self.events.append((hot.row, event.sequence, event_type, payload, key, event.at_ms))
        if key is not None:
            self._keyed[hot.row, key] = event
        hot.last_event = event.sequence
        hot.updated_ms = event.at_ms
        return event

    # Entries -------------------------------------------------------------------------------------------------------

    def base(self, row: int) -> int | None:
        """The last rank as it stands in the table; None for a row that is not there yet."""
        if row in self.wipes:
            return 0
        stored = self.hots[row].stored
        return None if stored is None else cast(int, stored[LAST_RANK])

    def note(self, hot: Hot, entry: Entry, open_key: str | None = None) -> Entry:
        rank, at_ms = hot.last_rank + 1, self.at_ms(hot)
        noted = Entry._make((*entry[:ENTRY_FIELDS], rank, at_ms))
        self.noted.setdefault(hot.row, []).append((noted, open_key))
        hot.last_rank, hot.last_ms = rank, at_ms
        return noted

    def shut(self, hot: Hot, rank: int) -> None:
        noted = self.noted.get(hot.row, [])
        for place, (entry, _) in enumerate(noted):
            if entry.rank == rank:
                noted[place] = (entry, None)
                return
        self.shuts.setdefault(hot.row, set()).add(rank)

    def entries_after(self, hot: Hot, rank: int) -> list[Entry]:
        if hot.last_rank <= rank:
            return []
        found: list[Entry] = []
        if (self.base(hot.row) or 0) > rank:
            found = list(cast("list[Entry]", self.facts.ask("after", hot.row, rank)))
            if (kept := self.cuts.get(hot.row)) is not None:
                found = [entry for entry in found if entry.kind is EntryKind.CANCEL or entry.rank in kept]
        return found + [entry for entry, _ in self.noted.get(hot.row, ()) if entry.rank > rank]

    def waits(self, hot: Hot, ordinal: int) -> list[WaitColumns]:
        found: list[WaitColumns] = []
        if self.base(hot.row) and hot.row not in self.cuts:
            stored = cast("list[WaitColumns]", self.facts.ask("waits", hot.row, ordinal))
            gone = self.shuts.get(hot.row, ())
            found = [(*columns[:5], None) if columns[0] in gone else columns for columns in stored]
        found += [
            (entry.rank, KIND_CODES[entry.kind], entry.name, entry.payload, entry.attempt, open_key)
            for entry, open_key in self.noted.get(hot.row, ())
            if entry.ordinal == ordinal and entry.kind in WAITING
        ]
        return found

    def _still_open(self, hot: Hot, kind: int) -> list[Opened]:
        """Of what is open in the table: waits, or mail. In rank order."""
        if not self.base(hot.row):
            return []
        kept, gone = self.cuts.get(hot.row), self.shuts.get(hot.row, ())
        return [
            item
            for item in cast("list[Opened]", self.facts.ask("open", hot.row))
            if item[1] == kind and item[0] not in gone and (kept is None or item[0] in kept)
        ]

    def _opened(self, hot: Hot, kind: int, key: str) -> list[Opened]:
        """Open waits or untaken mail of ``key``, in rank order."""
        return [item for item in self._still_open(hot, kind) if item[3] == key] + [
            (entry.rank, kind, entry.ordinal, key, entry.payload, entry.at_ms)
            for entry, open_key in self.noted.get(hot.row, ())
            if open_key == key and KIND_CODES[entry.kind] == kind
        ]

    def oldest_mail(self, hot: Hot, key: str) -> tuple[int, int, bytes | None] | None:
        mail = min(self._opened(hot, MAIL, key), key=lambda item: item[2], default=None)
        return None if mail is None else (mail[0], mail[2], mail[4])

    def oldest_wait(self, hot: Hot, key: str) -> tuple[int, int] | None:
        waits = self._opened(hot, WAIT, key)
        return (waits[0][0], waits[0][2]) if waits else None

    def awaits(self, hot: Hot) -> None:
        hot.awaited = 1
        self.bumped.add(hot.row)

    def waiters(self, hot: Hot, key: str) -> list[tuple[int, int, int]]:
        if not hot.awaited:
            return []
        found: list[tuple[int, int, int]] = []
        if hot.stored is not None:
            stored = cast("list[tuple[int, int, int]]", self.facts.ask("waiters", key))
            found = [wait for wait in stored if wait[0] not in self.shuts.get(wait[1], ())]
            found = [wait for wait in found if wait[1] not in self.cuts and wait[1] not in self.wipes]
        for row, noted in self.noted.items():
            found += [(entry.rank, row, entry.ordinal) for entry, open_key in noted if open_key == key]
        return found

    def cut(self, hot: Hot) -> None:
        hot.last_ms = 0  # the row's own time is not behind that of its cancel requests
        if self.base(hot.row):
            mail = self._still_open(hot, MAIL)
            self.cuts[hot.row] = {item[0] for item in mail}
            hot.last_ms = max((item[5] for item in mail), default=0)
        self.noted[hot.row] = [
            (entry, open_key)
            for entry, open_key in self.noted.get(hot.row, ())
            if entry.kind is EntryKind.CANCEL or (entry.kind is EntryKind.MAIL and open_key is not None)
        ]
        hot.last_ms = max(hot.last_ms, *(entry.at_ms for entry, _ in self.noted[hot.row]), 0)

    def cut_all(self, hot: Hot) -> None:
        if (base := self.base(hot.row)) is not None and hot.row not in self.wipes:
            self.wipes[hot.row] = base
        self.noted.pop(hot.row, None)
        self.shuts.pop(hot.row, None)
        self.cuts.pop(hot.row, None)
        hot.last_ms = 0

    # Pruning and workers -------------------------------------------------------------------------------------------

    def bury(self, before_ms: int, limit: int) -> list[str]:
        quiet = tuple(hot.id for hot in self.hots.values() if not hot.may_await)
        found = self.facts.ask("prunable", before_ms, limit + len(self.hots) + len(self.buried), quiet)

        def wanted(hot: Hot) -> bool:
            if not hot.status or hot.updated_ms >= before_ms:
                return False
            parent = None if hot.parent is None else self.load_id(hot.parent)
            return parent is None or not parent.may_await

        for row in cast("list[int]", found):
            self.load(row)
        old = [hot for hot in list(self.hots.values()) if wanted(hot)]
        old.sort(key=lambda hot: (hot.updated_ms, hot.row))
        for hot in old[:limit]:
            self._bury(hot)
        return [hot.id for hot in old[:limit]]

    def bury_one(self, row: int) -> None:
        if (hot := self.load(row)) is not None:
            self._bury(hot)

    def _bury(self, hot: Hot) -> None:
        self.buried.append(hot)
        self._ids[hot.id] = None
        del self.hots[hot.row]
        self.noted.pop(hot.row, None)
        if hot.row in self.chats or self.lane(hot.lane).kind == SESSION:
            self.gone.append(hot.row)
            self.chats[hot.row] = None
            self.touched_chats.pop(hot.row, None)

    def expect_family(self, process_id: str, key: str) -> None:
        self.facts.ask("family", process_id, key)

    def every(self, rows: Iterable[int], action: Callable[[int], None]) -> None:
        """What is missing is missing for all of them at once."""
        complete = True
        for row in rows:
            try:
                action(row)
            except Missing:
                complete = False
        if not complete:
            raise Missing

    def put_worker(self, owner: str, lanes: bytes, about: bytes, until_ms: int) -> None:
        self.workers.append((owner, (lanes, about), until_ms))

    def delete_worker(self, owner: str) -> None:
        self.workers.append((owner, None, 0))


def claim_order(hot: Hot) -> tuple[int, int, int]:
    return -hot.priority, hot.wake_ms or 0, hot.row


def by_row(hot: Hot) -> int:
    return hot.row


def rows_of(hots: Iterable[Hot]) -> list[int]:
    return [hot.row for hot in hots]
