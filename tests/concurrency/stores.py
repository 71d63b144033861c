"""Several stores on one database within one loop, as several workers have them, and short words for what they write.

Nothing is batched here: each write is one transaction of one store, and writes of different stores meet in the server.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from lash.abc.store import Claims, Op, Park, Put, Recorded, Start, Started, Store, Verdict
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessRow, ProcessSpec, Waiting, definition_of, lane_of
from lash.testing.conformance.stage import expect, wait
from tests.concurrency.databases import Database, PostgresSchema

T = TypeVar("T")
TTL_MS = 60_000
ARGS = b'[["a"],{}]'
DEADLOCKS_SQL = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def spec(process_id: str, **fields: object) -> ProcessSpec:
    """Of a python process ``job``; ``fields`` replace those of the spec."""
    plain = ProcessSpec(process_id, "python", "job", "1", ARGS, "")
    made = replace(plain, **fields)  # type: ignore[arg-type]  # the fields of ProcessSpec
    return replace(made, definition=definition_of(made.kind, made.name, made.args))


LANE: Lane = lane_of(spec("any"))


@asynccontextmanager
async def stores_on(database: Database, count: int) -> AsyncGenerator[list[Store]]:
    """``count`` stores, open."""
    stores = [database.store() for _ in range(count)]
    try:
        for store in stores:
            await store.open()
        yield stores
    finally:
        for store in stores:
            await store.close()


async def do(store: Store, op: Op, kind: type[T]) -> T:
    """One operation, whose verdict must be of ``kind``."""
    return expect((await store.write([op]))[0], kind)


async def leased(store: Store, owner: str, ids: Sequence[str], **fields: object) -> list[Fence]:
    """Started and leased to ``owner`` at once."""
    verdicts = await store.write([Start(spec(process_id, **fields), owner, TTL_MS) for process_id in ids])
    fences: list[Fence] = []
    for verdict in verdicts:
        claimed = expect(verdict, Started).claimed
        assert claimed is not None
        fences.append(claimed.lease.fence)
    return fences


async def await_and_park(store: Store, fences: Sequence[Fence], key: str) -> list[bool]:
    """What a worker does whose bodies come to a wait: the empty entry first, then the look, then the park. Whether
    each of them had its reply before it could park."""
    puts = await store.write([Put(fence, 0, [wait(0, key)]) for fence in fences])
    answered: list[bool] = []
    parks: list[Op] = []
    for fence, put in zip(fences, puts, strict=True):
        entries = expect(put, Recorded).entries
        answered.append(replied(entries))
        if not answered[-1]:
            parks.append(Park(fence, entries[-1].rank, Waiting(key.split(":")[0], key, None)))
    verdicts = iter(await store.write(parks) if parks else [])
    return [had or said_to_park(next(verdicts)) for had in answered]


def said_to_park(verdict: Verdict) -> bool:
    """Whether it was refused, because the reply had come."""
    return isinstance(verdict, Recorded) and replied(verdict.entries)


def replied(entries: Sequence[Entry]) -> bool:
    return any(entry.kind is EntryKind.REPLY for entry in entries)


def stuck(row: ProcessRow) -> bool:
    """Parked, with nobody who would ever take it up again."""
    return row.record.waiting is not None and row.due_ms is None and row.owner is None


async def rows(store: Store, ids: Sequence[str]) -> list[ProcessRow]:
    return [expect(row, ProcessRow) for row in await store.get(ids)]


async def a_moment_later(chance: random.Random, most_ms: float, work: Awaitable[T]) -> T:
    """So that who comes first is open."""
    await asyncio.sleep(chance.uniform(0, most_ms) / 1_000)
    return await work


def names(claims: Claims) -> list[str]:
    return [claimed.lease.process_id for claimed in claims.rows]


async def deadlocks(database: Database) -> int:
    """That the server has ended so far, in this database; 0 where there is no server."""
    if not isinstance(database, PostgresSchema):
        return 0
    async with database.bystander() as connection:
        found: int = await connection.fetchval(DEADLOCKS_SQL)
        return found
