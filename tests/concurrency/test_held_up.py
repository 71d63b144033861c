"""Promise: a worker that is stopped in the middle of a transaction holds up nobody for long, and loses nothing by it.

A claim is the one transaction of several statements: its rows are locked while the worker decides. Stores are stopped
there as SIGSTOP would stop their Python process, between two statements, while another store turns to the same rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from lash.abc.store import Appended, Claim, Claims, Done, Finish, Signal, Start, Store
from lash.core.outcome import Completed
from lash.stores.postgres import PostgresStore, writer
from lash.stores.postgres.line import fetch, say
from lash.testing.checkers import check_store
from tests.concurrency.databases import PostgresSchema
from tests.concurrency.stores import LANE, TTL_MS, do, names, spec, stores_on

IDLE_MS = 300
GUARD = "WITH guard"
COMMIT = "COMMIT"
REACHED_S = 10


@dataclass
class Stop:
    """Where the first store is stopped, once."""

    before: str
    """What its statement begins with."""
    pid: int = 0
    """The server's process of the store's writing connection."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def here(self, connection: asyncpg.Connection[Any], sql: str) -> None:
        stops = not self.reached.is_set() and sql.startswith(self.before)
        if stops and connection.get_server_pid() == self.pid and connection.is_in_transaction():
            self.reached.set()
            await self.go_on.wait()


def pid_of(store: Store) -> int:
    assert isinstance(store, PostgresStore)
    assert store._opened is not None
    return store._opened.writer.line.pid


@asynccontextmanager
async def stopped_in_a_claim(
    schema: PostgresSchema, patch: pytest.MonkeyPatch, before: str, ready: int, limit: int
) -> AsyncGenerator[tuple[Sequence[Store], Stop, asyncio.Task[Claims]]]:
    """Two stores, ``ready`` rows, and the first store in the middle of a claim of ``limit`` of them."""
    stop = Stop(before)

    async def fetch_or_stop(connection: asyncpg.Connection[Any], sql: str, *values: object) -> list[Any]:
        await stop.here(connection, sql)
        return await fetch(connection, sql, *values)

    async def say_or_stop(connection: asyncpg.Connection[Any], sql: str) -> None:
        await stop.here(connection, sql)
        await say(connection, sql)

    patch.setattr(writer, "fetch", fetch_or_stop)
    patch.setattr(writer, "say", say_or_stop)
    async with stores_on(schema, 2) as stores:
        await stores[1].write([Start(spec(f"p{number:02}")) for number in range(ready)])
        stop.pid = pid_of(stores[0])
        claiming = asyncio.create_task(do(stores[0], Claim("w0", [LANE], limit, TTL_MS), Claims))
        async with asyncio.timeout(REACHED_S):
            await stop.reached.wait()
        yield stores, stop, claiming
        assert await check_store(stores[1]) == ready


def test_a_claim_locks_no_more_than_it_takes(schema: PostgresSchema, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever claims at the same moment gets all the rest."""

    async def main() -> None:
        async with stopped_in_a_claim(schema, monkeypatch, COMMIT, ready=20, limit=10) as (stores, stop, claiming):
            others = await do(stores[1], Claim("w1", [LANE], 20, TTL_MS), Claims)
            stop.go_on.set()
            assert len(names(others)) == 10
            assert len({*names(others), *names(await claiming)}) == 20

    asyncio.run(main())


@pytest.mark.parametrize("before", [GUARD, COMMIT])
def test_a_store_stopped_in_a_claim_is_ended_by_the_server_and_claims_again(
    schema: PostgresSchema, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setattr(writer, "BEGIN", writer.BEGIN.rsplit(" ", 1)[0] + f" {IDLE_MS}")

    async def main() -> None:
        async with stopped_in_a_claim(schema, monkeypatch, before, ready=10, limit=10) as (stores, stop, claiming):
            began = time.monotonic()
            await do(stores[1], Signal("p00", "go", b"1", None), Appended)
            held_s = time.monotonic() - began
            mine = await do(stores[1], Claim("w1", [LANE], 4, TTL_MS), Claims)
            stop.go_on.set()
            theirs = await claiming
            assert len({*names(mine), *names(theirs)}) == 10, "each is claimed by one, and nobody is told of trouble"
            for store, claims in ((stores[1], mine), (stores[0], theirs)):
                for claimed in claims.rows:
                    await do(store, Finish(claimed.lease.fence, Completed(b"1")), Done)
            print(f"\nheld up for {held_s:.2f} s")
            assert held_s < IDLE_MS / 1_000 + 2

    asyncio.run(main())
