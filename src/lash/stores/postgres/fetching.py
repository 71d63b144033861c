"""What a batch needs to know is fetched together: one statement for each kind of need, rows before what hangs on them.

``locked`` takes the rows' locks as well; rows to be claimed are always locked, past those that others have locked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, cast

from lash.abc.store import wait_key_of_process
from lash.stores.postgres.chats import fetch_chats, fetch_frames, fetch_items, fetch_keys, fetch_records
from lash.stores.postgres.columns import COLUMNS, COLUMNS_SQL, ID
from lash.stores.postgres.facts import Changed, Facts, Kind, Known
from lash.stores.sql.lanes import LANES_SQL
from lash.stores.sql.rows import ENTRY_SQL, EVENT_SQL, unpack_entry, unpack_event
from lash.stores.sql.transaction import TIMED_SCAN_MIN

Of: TypeAlias = "tuple[Any, ...]"
Query: TypeAlias = Callable[..., Awaitable[Sequence[Sequence[Any]]]]
"""``(sql, *values)`` → rows."""

PARENT: Final = COLUMNS.index("parent")
AWAITED: Final = COLUMNS.index("awaited")
FROM: Final = f"SELECT {COLUMNS_SQL} FROM lash_process p "
LOCKED: Final = " ORDER BY p.row FOR NO KEY UPDATE OF p"
TOMBSTONES_SQL: Final = "SELECT id, definition, status FROM lash_tombstone WHERE id = ANY($1::text[])"
SPECS_SQL: Final = "SELECT row, args, more FROM lash_spec WHERE row = ANY($1::bigint[])"
KEYED_SQL: Final = (
    f"SELECT process, {EVENT_SQL} FROM lash_event JOIN unnest($1::bigint[], $2::text[]) AS u(p, k) "
    "ON process = u.p AND key = u.k"
)
TERMINAL_SQL: Final = (
    "SELECT process, sequence, payload FROM lash_event JOIN unnest($1::bigint[], $2::bigint[]) AS u(p, s) "
    "ON process = u.p AND sequence = u.s"
)
AFTER_SQL: Final = f"SELECT {ENTRY_SQL} FROM lash_journal WHERE process = $1 AND rank > $2 ORDER BY rank"
OPEN_SQL: Final = (
    "SELECT process, rank, kind, ordinal, open_key, payload, at_ms FROM lash_journal "
    "WHERE process = ANY($1::bigint[]) AND open_key IS NOT NULL ORDER BY process, rank"
)
WAITS_SQL: Final = (
    "SELECT u.p, u.o, rank, kind, name, payload, attempt, open_key FROM lash_journal "
    "JOIN unnest($1::bigint[], $2::bigint[]) AS u(p, o) ON process = u.p AND ordinal = u.o AND kind BETWEEN 4 AND 6 "
    "ORDER BY rank"
)
WAITERS_SQL: Final = (
    "SELECT open_key, rank, process, ordinal FROM lash_journal WHERE open_key = ANY($1::text[]) ORDER BY rank, process"
)
CANDIDATES_SQL: Final = (
    "SELECT c.row, c.priority, c.wake_ms FROM unnest($1::int[]) AS l(lane) CROSS JOIN LATERAL ("
    "(SELECT row, priority, wake_ms FROM lash_process WHERE state = 1 AND lane = l.lane AND wake_ms <= $2 "
    "ORDER BY priority DESC, wake_ms LIMIT 4 * $3::bigint) UNION ALL "
    "(SELECT row, priority, wake_ms FROM lash_process WHERE state IN (2, 3) AND lane = l.lane AND wake_ms <= $2 "
    f"ORDER BY wake_ms LIMIT greatest({TIMED_SCAN_MIN}, 4 * $3::bigint))) c"
)
DUE_SQL: Final = (
    f"SELECT {COLUMNS_SQL}, s.args, s.more FROM ({CANDIDATES_SQL}) c "
    "JOIN lash_process p ON p.row = c.row AND p.state > 0 AND p.wake_ms <= $2 "
    "LEFT JOIN lash_spec s ON s.row = p.row ORDER BY c.priority DESC, c.wake_ms, c.row "
    "LIMIT $3::bigint FOR NO KEY UPDATE OF p SKIP LOCKED"
)
"""Looks at more than it takes, because others may take the same; locks what it takes and no more."""
BLOCKED_SQL: Final = (
    FROM + "WHERE p.blocked_reason IS NOT NULL AND p.lane = $1 AND p.blocked_hash <> $2 AND p.state <> 3 "
    "AND (p.wake_ms IS NULL OR p.wake_ms > $3)"
)
CHILDREN_SQL: Final = FROM + "WHERE p.parent = ANY($1::text[]) AND p.status = 0 AND p.detached = 0"
FAMILY_SQL: Final = (
    'WITH RECURSIVE family AS (SELECT $1::text COLLATE "C" AS id UNION SELECT q.id FROM family f JOIN lash_process q '
    f"ON q.parent = f.id AND q.status = 0 AND q.detached = 0) {FROM}JOIN family f ON p.id = f.id WHERE p.id <> $1"
)
CANCELLED_SQL: Final = FROM + "WHERE p.cancel_ms IS NOT NULL AND p.status = 0 AND p.external = 0 AND p.cancel_ms <= $1"
HELD_SQL: Final = "SELECT row, version FROM lash_process WHERE owner = $1"
PRUNABLE_SQL: Final = (
    FROM + "WHERE p.status > 0 AND p.updated_ms < $1 AND (p.parent = ANY($3::text[]) OR NOT EXISTS "
    "(SELECT 1 FROM lash_process q WHERE q.id = p.parent AND q.status = 0 "
    "AND (q.state > 0 OR q.waiting_on IS NOT NULL))) ORDER BY p.updated_ms, p.row LIMIT $2"
)
START_SQL: Final = (
    f"SELECT u.id, nextval('lash_row'), t.definition, t.status, {COLUMNS_SQL} FROM unnest($1::text[]) AS u(id) "
    "LEFT JOIN lash_tombstone t ON t.id = u.id LEFT JOIN lash_process p ON p.id = u.id"
)
"""Of an id that is to be started: a number for it, and what has it already."""
ADD_LANE_SQL: Final = (
    "INSERT INTO lash_lane (host_profile, kind, name, version) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
)


class Fetcher:
    """Fetches for one transaction. ``outside`` is a query of another connection: a lane must outlive a rollback."""

    def __init__(self, facts: Facts, query: Query, outside: Query, locked: bool) -> None:
        self.facts = facts
        self.query = query
        self.outside = outside
        self.lock = LOCKED if locked else ""

    async def fetch(self) -> None:
        """Everything that is missing; afterwards nothing is."""
        wanted: dict[Kind, list[Of]] = {}
        for kind, of in self.facts.needs:
            wanted.setdefault(kind, []).append(of)
        self.facts.needs.clear()
        for kind in ORDER:
            if kind in wanted:
                await FETCH[kind](self, wanted[kind])

    def put_rows(self, rows: Iterable[Sequence[Any]]) -> list[int]:
        numbers: list[int] = []
        for record in rows:
            columns = tuple(record)
            self.facts.put_row(columns)
            numbers.append(cast(int, columns[0]))
        return numbers

    async def rows(self, wanted: list[Of]) -> None:
        numbers = [row for (row,) in wanted]
        found = self.put_rows(await self.query(FROM + "WHERE p.row = ANY($1::bigint[])" + self.lock, numbers))
        for row in set(numbers).difference(found):
            self.facts.put_no_row(row)

    async def ids(self, wanted: list[Of]) -> None:
        ids = {process_id for (process_id,) in wanted}
        rows = await self.query(FROM + "WHERE p.id = ANY($1::text[])" + self.lock, list(ids))
        self.put_rows(rows)
        if absent := ids.difference(row[ID] for row in rows):
            for process_id in absent:
                self.facts.put_no_id(process_id)
            await self.tombstones([(process_id,) for process_id in absent])

    async def tombstones(self, wanted: list[Of]) -> None:
        found = await self.query(TOMBSTONES_SQL, [process_id for (process_id,) in wanted])
        gone = {process_id: (definition, status) for process_id, definition, status in found}
        for of in wanted:
            self.facts.put("tombstone", of, gone.get(of[0]))

    async def specs(self, wanted: list[Of]) -> None:
        for of in wanted:
            self.facts.put("spec", of, None)
        for row, args, more in await self.query(SPECS_SQL, [row for (row,) in wanted]):
            self.facts.put("spec", (row,), (args, more))

    async def keyed(self, wanted: list[Of]) -> None:
        if not wanted:
            return
        for of in wanted:
            self.facts.put("keyed", of, None)
        for process, *columns in await self.query(KEYED_SQL, *lists(wanted)):
            event = unpack_event(columns)
            self.facts.put("keyed", (process, event.key), event)

    async def terminals(self, wanted: list[Of]) -> None:
        for process, sequence, payload in await self.query(TERMINAL_SQL, *lists(wanted)):
            self.facts.put("terminal", (process, sequence), payload)
            wanted.remove((process, sequence))
        if wanted:
            raise Changed("an ended row was pruned meanwhile")

    async def after(self, wanted: list[Of]) -> None:
        for of in wanted:
            self.facts.put("after", of, [unpack_entry(columns) for columns in await self.query(AFTER_SQL, *of)])

    async def opened(self, wanted: list[Of]) -> None:
        opened: dict[int, list[object]] = {row: [] for (row,) in wanted}
        for process, *columns in await self.query(OPEN_SQL, list(opened)):
            opened[process].append(tuple(columns))
        for row, columns in opened.items():
            self.facts.put("open", (row,), columns)

    async def waits(self, wanted: list[Of]) -> None:
        waits: dict[Of, list[object]] = {of: [] for of in wanted}
        for process, ordinal, *columns in await self.query(WAITS_SQL, *lists(wanted)):
            waits[process, ordinal].append(tuple(columns))
        for of, columns in waits.items():
            self.facts.put("waits", of, columns)

    async def waiters(self, wanted: list[Of]) -> None:
        waiters: dict[str, list[object]] = {key: [] for (key,) in wanted}
        for key, *columns in await self.query(WAITERS_SQL, list(waiters)):
            waiters[key].append(tuple(columns))
        for key, columns in waiters.items():
            self.facts.put("waiters", (key,), columns)

    async def due(self, wanted: list[Of]) -> None:
        for of in wanted:
            lanes, limit, now_ms = of
            numbers: list[int] = []
            for *columns, args, more in await self.query(DUE_SQL, list(lanes), now_ms, limit):
                numbers += self.put_rows([columns])
                self.facts.put("spec", (numbers[-1],), None if args is None else (args, more))
            self.facts.put("due", of, numbers)

    async def blocked(self, wanted: list[Of]) -> None:
        for of in wanted:
            self.facts.put("blocked", of, self.put_rows(await self.query(BLOCKED_SQL, *of)))

    async def children(self, wanted: list[Of]) -> None:
        parents = [parent for (parent,) in wanted]
        self.put_children(parents, await self.query(CHILDREN_SQL, parents))

    def put_children(self, parents: Iterable[str], rows: Sequence[Sequence[Any]]) -> None:
        """``rows`` are all the children there are of these."""
        self.put_rows(rows)
        families: dict[str, list[int]] = {parent: [] for parent in parents}
        for row in rows:
            families[row[PARENT]].append(row[0])
        for parent, numbers in families.items():
            self.facts.put("children", (parent,), numbers)

    async def family(self, wanted: list[Of]) -> None:
        """Of a process and the key of a cancel: its descendants, who has that key already, and who waits for them."""
        for of in wanted:
            process_id, key = of
            rows = await self.query(FAMILY_SQL, process_id)
            self.put_children([process_id, *(row[ID] for row in rows)], rows)
            await self.keyed([(row[0], key) for row in rows])
            await self.waiters([(wait_key_of_process(row[ID]),) for row in rows if row[AWAITED]])
            self.facts.put("family", of, True)

    async def cancelled(self, wanted: list[Of]) -> None:
        for of in wanted:
            self.facts.put("cancelled", of, self.put_rows(await self.query(CANCELLED_SQL, *of)))

    async def held(self, wanted: list[Of]) -> None:
        """Most are remembered as they are, so only numbers and versions travel."""
        for of in wanted:
            found = await self.query(HELD_SQL, *of)
            if other := [(row,) for row, version in found if not self.facts.knows(row, version)]:
                await self.rows(other)
            self.facts.put("held", of, [row for row, _ in found])

    async def prunable(self, wanted: list[Of]) -> None:
        for of in wanted:
            before_ms, limit, ended = of
            rows = await self.query(PRUNABLE_SQL, before_ms, limit, list(ended))
            self.facts.put("prunable", of, self.put_rows(rows))

    async def starts(self, wanted: list[Of]) -> None:
        for process_id, number, definition, status, *columns in await self.query(START_SQL, [of[0] for of in wanted]):
            self.facts.put("start", (process_id,), number)
            self.facts.put("tombstone", (process_id,), None if definition is None else (definition, status))
            if columns[0] is None:
                self.facts.put_no_id(process_id)
            else:
                self.facts.put_row(tuple(columns))

    async def chats(self, wanted: list[Of]) -> None:
        await fetch_chats(self.facts, self.query, wanted)

    async def items(self, wanted: list[Of]) -> None:
        await fetch_items(self.facts, self.query, wanted)

    async def item_keys(self, wanted: list[Of]) -> None:
        await fetch_keys(self.facts, self.query, wanted)

    async def turns(self, wanted: list[Of]) -> None:
        await fetch_records(self.facts, self.query, wanted)

    async def frames(self, wanted: list[Of]) -> None:
        await fetch_frames(self.facts, self.query, wanted)

    async def lane(self, wanted: list[Of]) -> None:
        for (lane,) in wanted:
            await self.outside(ADD_LANE_SQL, *lane)
        await self.lanes([])
        for (lane,) in wanted:
            self.facts.put("lane", (lane,), self.facts.known.numbers[lane])

    async def lanes(self, wanted: list[Of]) -> None:
        await learn_lanes(self.facts.known, self.outside)
        for of in wanted:
            self.facts.put("lanes", of, True)


async def learn_lanes(known: Known, query: Query) -> None:
    known.learn(await query(LANES_SQL))


def lists(wanted: list[Of]) -> list[list[Any]]:
    return [list(column) for column in zip(*wanted, strict=True)]


FETCH: Final[dict[Kind, Callable[[Fetcher, list[Of]], Awaitable[None]]]] = {
    "lane": Fetcher.lane,
    "lanes": Fetcher.lanes,
    "start": Fetcher.starts,
    "row": Fetcher.rows,
    "id": Fetcher.ids,
    "due": Fetcher.due,
    "held": Fetcher.held,
    "blocked": Fetcher.blocked,
    "family": Fetcher.family,
    "children": Fetcher.children,
    "cancelled": Fetcher.cancelled,
    "prunable": Fetcher.prunable,
    "tombstone": Fetcher.tombstones,
    "spec": Fetcher.specs,
    "keyed": Fetcher.keyed,
    "terminal": Fetcher.terminals,
    "after": Fetcher.after,
    "open": Fetcher.opened,
    "waits": Fetcher.waits,
    "waiters": Fetcher.waiters,
    "chat": Fetcher.chats,
    "item": Fetcher.items,
    "item_key": Fetcher.item_keys,
    "turn": Fetcher.turns,
    "frame": Fetcher.frames,
}
ORDER: Final = tuple(FETCH)
"""Rows first."""
