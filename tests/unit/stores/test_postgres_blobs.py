"""On PostgreSQL blobs are put, kept, silenced and pruned at the same time: each pair that could harm one another meets
here in the worst moment, with one of them written and not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import asyncpg

from lash.abc.sessions import Delete
from lash.abc.store import BlobsPruned
from lash.stores.blobs import digest_of
from lash.stores.postgres import PostgresStore
from lash.stores.postgres.place import place_of
from tests.postgres import fresh_url
from tests.unit.stores.chatting import open_session, say, turn

T = TypeVar("T")
Query = Callable[..., Awaitable[Any]]
LONG_AGO = 10**15
"""Later than any moment of this test: nothing is spared for its time."""
WAITING_SQL = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND query NOT LIKE '%pg_stat_activity%'"
)


class Other:
    """Somebody else's connection, within a transaction that is committed when the test says so."""

    def __init__(self, connection: asyncpg.Connection[Any], schema: str) -> None:
        self.connection = connection
        self.schema = schema

    async def begin(self, sql: str, *values: object) -> list[Any]:
        await self.connection.execute(f'SET search_path = "{self.schema}"; BEGIN ISOLATION LEVEL READ COMMITTED')
        return [tuple(row) for row in await self.connection.fetch(sql, *values)]

    async def commit_once_blocked(
        self, work: Coroutine[Any, Any, T], last: str = "SELECT 1 WHERE $1 > 0", value: object = 1
    ) -> tuple[T, bool]:
        """``work`` begins; once it waits for a lock, or has ended, this one does its last statement and commits. Its
        result, and if it waited."""
        task = asyncio.create_task(work)
        waited = False
        async with asyncio.timeout(20):
            while not task.done() and not waited:
                await asyncio.sleep(0.005)
                waited = bool(await self.connection.fetchval(WAITING_SQL))
            await self.connection.fetch(last, value)
            await self.connection.execute("COMMIT")
            return await task, waited


def meeting(test: Callable[[PostgresStore, Other, str], Coroutine[Any, Any, None]]) -> None:
    """``test`` on a store with one blob, which nobody speaks of."""

    async def main() -> None:
        url = fresh_url()
        store, place = PostgresStore(url), place_of(url)
        await store.open()
        connection = await asyncpg.connect(place.dsn)
        try:
            await test(store, Other(connection, place.schema), await store.blobs.put(b"a picture"))
        finally:
            await connection.close()
            await store.close()

    asyncio.run(main())


async def pruned(store: PostgresStore) -> BlobsPruned:
    return await store.blobs.prune(LONG_AGO, 9)


LOCK = "SELECT hash FROM lash_loose FOR UPDATE"
"""The first thing that pruning does."""
KEEP, PRUNE = "SELECT lash_keep_blobs($1, $2, 1)", "SELECT gone FROM lash_prune_blobs($1, 9)"


def test_pruning_passes_by_what_somebody_is_about_to_keep() -> None:
    async def test(store: PostgresStore, other: Other, ref: str) -> None:
        row = await open_session(store, "s")
        assert await other.begin(KEEP, [digest_of(ref)], row) == []
        done, waited = await other.commit_once_blocked(pruned(store))
        assert (done.looked, waited) == (0, False)
        assert await pruned(store) == BlobsPruned(1, [])
        assert await store.blobs.get(ref) == b"a picture"

    meeting(test)


def test_whoever_keeps_what_is_being_pruned_is_told_that_it_is_gone() -> None:
    async def test(store: PostgresStore, other: Other, ref: str) -> None:
        row = await open_session(store, "s")
        await other.begin(LOCK)
        assert await other.commit_once_blocked(store.blobs.keep([ref], row), PRUNE, LONG_AGO) == ([ref], True)
        await store.blobs.put(b"a picture")
        await pruned(store)
        assert await store.blobs.get(ref) is None, "the session speaks of nothing"

    meeting(test)


def test_what_is_put_while_it_is_being_pruned_is_there_afterwards() -> None:
    async def test(store: PostgresStore, other: Other, ref: str) -> None:
        await other.begin(LOCK)
        assert await other.commit_once_blocked(store.blobs.put(b"a picture"), PRUNE, LONG_AGO) == (ref, True)
        assert await store.blobs.get(ref) == b"a picture"
        assert await pruned(store) == BlobsPruned(1, [ref])

    meeting(test)


def test_what_a_session_stops_speaking_of_while_pruning_looks_at_it_is_looked_at_again() -> None:
    async def test(store: PostgresStore, other: Other, ref: str) -> None:
        await open_session(store, "s")
        await turn(store, "s", 0, say("look"), refs=(ref,))
        await other.begin(LOCK)
        _, waited = await other.commit_once_blocked(store.write([Delete("session:s")]), PRUNE, LONG_AGO)
        assert waited
        assert await pruned(store) == BlobsPruned(1, [ref])

    meeting(test)


def test_a_session_that_is_being_deleted_is_not_made_to_speak() -> None:
    async def test(store: PostgresStore, other: Other, ref: str) -> None:
        row = await open_session(store, "s")
        assert await other.begin(KEEP, [digest_of(ref)], row) == []
        await other.commit_once_blocked(store.write([Delete("session:s")]))
        assert await pruned(store) == BlobsPruned(1, [ref])

    meeting(test)
