"""Reads see the last commit, over a few connections of their own. One statement per answer, so that every answer is one
moment of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from lash.abc.store import ProcessFilter, WorkerRecord
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.outcome import Status
from lash.core.process import Lane, ProcessRow, Tombstone
from lash.errors import StoreUnavailable
from lash.limits import READ_LINES_MAX, RECONNECT_DEADLINE_MS
from lash.stores.postgres.chat_reads import ChatReads
from lash.stores.postgres.facts import Known
from lash.stores.postgres.fetching import learn_lanes
from lash.stores.postgres.line import AGAIN, LOST, Line, Patience, explained, fetch, pinned
from lash.stores.postgres.place import Place
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
from lash.stores.sql.rows import ENTRY_SQL, EVENT_SQL, ROW_SQL, STATUS_CODES, unpack_entry, unpack_event

RUNNING_SQL: Final = "SELECT id FROM lash_process WHERE id = ANY($1::text[]) AND status = 0"
RUNNING_ROWS: Final = (
    "p.row IN (SELECT row FROM lash_process WHERE state = 1 UNION ALL SELECT row FROM lash_process "
    "WHERE state IN (2, 3) UNION ALL SELECT row FROM lash_process WHERE state = 0 AND status = 0)"
)
"""The running ones, through the indexes of what is scheduled and of what is not."""
EVENTS_SQL: Final = (
    f"SELECT {EVENT_SQL} FROM lash_event WHERE process = (SELECT row FROM lash_process WHERE id = $1) "
    "AND sequence > $2 ORDER BY sequence LIMIT $3"
)
HISTORY_SQL: Final = (
    f"SELECT u.place, {ENTRY_SQL} FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS u(process, after, place) "
    "JOIN lash_journal j ON j.process = u.process AND j.rank > u.after ORDER BY u.place, j.rank"
)
HISTORIES: Final = 64
"""Read by one statement: after a take-over a page of rows wants them at once."""
DUE_SQL: Final = (
    "SELECT (SELECT p.wake_ms FROM lash_process p WHERE p.state = 1 AND p.lane = l.lane "
    "ORDER BY p.priority DESC, p.wake_ms LIMIT 1), (SELECT q.wake_ms FROM lash_process q "
    "WHERE q.state IN (2, 3) AND q.lane = l.lane ORDER BY q.wake_ms LIMIT 1) FROM unnest($1::int[]) AS l(lane)"
)
NEWS_SQL: Final = "SELECT row, token FROM lash_process WHERE owner = $1 AND news = 1 ORDER BY row"


class Readers:
    """Up to ``READ_LINES_MAX`` connections, each made when all others are at work."""

    def __init__(self, place: Place, **settings: str) -> None:
        self.place = place
        self._settings = settings
        self._idle: list[Line] = []
        self._made: list[Line] = []
        self._places = asyncio.Semaphore(READ_LINES_MAX)
        self.closed = True

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Rows. A read whose connection breaks is repeated; raises ``StoreUnavailable`` after a while."""
        patience = Patience(RECONNECT_DEADLINE_MS)
        async with self._places:
            line = self._take()
            try:
                while True:
                    if self.closed:
                        raise StoreUnavailable(f"The store {self.place.name} is not open. Call open() first.")
                    connection = await line.get()
                    try:
                        async with pinned(connection, self.place):
                            return await fetch(connection, sql, *values)
                    except (*LOST, *AGAIN) as error:
                        if isinstance(error, LOST):
                            line.drop()
                        if patience.is_over():
                            raise explained(error, self.place) from error
                    except asyncpg.PostgresError as error:
                        raise explained(error, self.place) from error
                    except BaseException:
                        line.drop()  # cancelled: the answer may still come, and nobody must take it for another
                        raise
            finally:
                self._idle.append(line)

    def _take(self) -> Line:
        if self._idle:
            return self._idle.pop()
        line = Line(self.place, "reader", **self._settings)
        self._made.append(line)
        return line

    async def close(self) -> None:
        self.closed = True
        for line in self._made:
            await line.close()

    def crash(self) -> None:
        self.closed = True
        for line in self._made:
            line.drop()


class Reads:
    """Every question a store answers, by name."""

    def __init__(self, readers: Readers, known: Known) -> None:
        self.fetch = readers.fetch
        self.chats = ChatReads(readers.fetch)
        self.known = known
        self._asked: list[tuple[int, int, asyncio.Future[list[Entry]]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]:
        found = await self._rows(" WHERE p.id = ANY($1::text[])", list(ids))
        rows: dict[str, ProcessRow | Tombstone] = {row.record.id: row for row in found}
        if absent := [process_id for process_id in ids if process_id not in rows]:
            for columns in await self.fetch(TOMBSTONE_SQL + " WHERE id = ANY($1::text[])", absent):
                gone = tombstone_of(columns)
                rows[gone.id] = gone
        return [rows.get(process_id) for process_id in ids]

    async def _rows(self, where: str, *values: object) -> list[ProcessRow]:
        rows = await self.fetch(ROW_SQL + where, *values)
        if any(columns[LANE] not in self.known.by_number for columns in rows):
            await learn_lanes(self.known, self.fetch)
        return [process_of(columns, self.known.by_number) for columns in rows]

    async def not_running(self, ids: Sequence[str]) -> list[str]:
        running = {process_id for (process_id,) in await self.fetch(RUNNING_SQL, list(ids))}
        return [process_id for process_id in ids if process_id not in running]

    async def page(self, wanted: ProcessFilter) -> list[ProcessRow]:
        terms: list[str] = []
        values: list[object] = []
        if wanted.status is not None:
            terms.append(f"p.status = {STATUS_CODES[wanted.status]}")  # as a number, so that a partial index will do
        if wanted.status is Status.RUNNING:
            terms.append(RUNNING_ROWS)
        for text, value in terms_of(wanted):
            values.append(value)
            terms.append(text.format(f"${len(values)}"))
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        values.append(wanted.limit)
        return await self._rows(f"{where} ORDER BY p.row DESC LIMIT ${len(values)}", *values)

    async def events(self, process_id: str, after: int, limit: int) -> list[Event]:
        return [unpack_event(columns) for columns in await self.fetch(EVENTS_SQL, process_id, after, limit)]

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        """Whoever asks in the same turn of the loop is answered together."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Entry]] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._answer)
        self._asked.append((row, after_rank, answer))
        return await answer

    def _answer(self) -> None:
        asked, self._asked = self._asked, []
        for first in range(0, len(asked), HISTORIES):
            task = asyncio.get_running_loop().create_task(self._histories(asked[first : first + HISTORIES]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _histories(self, asked: Sequence[tuple[int, int, asyncio.Future[list[Entry]]]]) -> None:
        try:
            found = [list[Entry]() for _ in asked]
            for place, *columns in await self.fetch(
                HISTORY_SQL, [item[0] for item in asked], [item[1] for item in asked]
            ):
                found[int(place) - 1].append(unpack_entry(columns))
            for (_, _, answer), entries in zip(asked, found, strict=True):
                if not answer.done():
                    answer.set_result(entries)
        except BaseException as error:
            for _, _, answer in asked:
                if not answer.done():
                    answer.set_exception(error) if isinstance(error, Exception) else answer.cancel()
            if not isinstance(error, Exception):
                raise

    async def next_due_ms(self, lanes: Sequence[Lane]) -> int | None:
        """The first entry of each lane's two scheduling indexes. Once a row is due, any moment of the past will do."""
        if self.known.lacks(lanes):
            await learn_lanes(self.known, self.fetch)
        return earliest(await self.fetch(DUE_SQL, self.known.among(lanes)))

    async def news(self, owner: str) -> list[Fence]:
        return [Fence(row, token) for row, token in await self.fetch(NEWS_SQL, owner)]

    async def workers(self, now_ms: int) -> list[WorkerRecord]:
        rows = await self.fetch(WORKER_SQL + " WHERE until_ms > $1 ORDER BY owner", now_ms)
        return [worker_of(columns) for columns in rows]

    async def counts(self) -> dict[str, int]:
        return counts_of(await self.fetch(COUNTS_SQL))
