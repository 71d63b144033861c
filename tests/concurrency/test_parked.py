"""Promise: ten thousand parked processes cost a worker nothing: no write, no scan, whatever it looks at."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lash.abc.store import Discharge, Enlist, Op, Prune, Renew, Sweep, Unblock, Verdict
from lash.core.process import ProcessRow
from lash.engines.local import LocalEngine
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.testing.checkers import faults_of_one, rows_of
from lash.testing.faults import FaultyStore
from tests.concurrency import jobs
from tests.concurrency.crew import Crew
from tests.concurrency.databases import Database
from tests.concurrency.meters import Meter, meter_of

PARKED = 10_000
WATCHED_S = 6.0
"""Longer than the slow look behind the notices."""
CHECKED_EVERY = 97
"""All of them would take longer than the rest of the test."""
HEARTBEAT = (Enlist, Discharge, Renew, Unblock, Sweep, Prune)
"""What a worker writes for itself; all but its own entry among the workers must change nothing."""


class Listening(FaultyStore):
    """Notes every operation that is written."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.store())
        self.ops: Counter[type[Op]] = Counter()

    def _count(self, ops: Sequence[Op]) -> None:
        self.ops.update(type(op) for op in ops)

    async def write(self, ops: Sequence[Op]) -> list[Verdict]:
        self._count(ops)
        return await super().write(ops)

    def write_now(self, ops: Sequence[Op]) -> list[Verdict] | None:
        verdicts = super().write_now(ops)
        if verdicts is not None:
            self._count(ops)
        return verdicts


def runtime_on(store: FaultyStore, concurrency: int = 64) -> Runtime:
    settings = settings_of(concurrency, "3s", "0ms", 0, "5s", "default", None)
    app = Runtime(store, LocalEngine(store), settings, True)
    for process in jobs.PROCESSES:
        app.include(process)
    return app


async def park(database: Database) -> None:
    """Start them all, and wait until every one is parked."""
    async with runtime_on(FaultyStore(database.store()), concurrency=500) as app:
        handles = await app.start_many(
            jobs.parked.call(number).options(id=f"p{number}", priority=number % 3) for number in range(PARKED)
        )
        assert len(handles) == PARKED
        async with asyncio.timeout(90):
            while app.counters.parked < PARKED:
                await asyncio.sleep(0.05)


async def idle(database: Database, meter: Meter) -> Counter[type[Op]]:
    """A worker among them that has nothing to do; what it wrote."""
    store = Listening(database)
    async with runtime_on(store) as app:
        await asyncio.sleep(0.5)
        store.ops.clear()
        meter.begin(app)
        began = time.process_time()
        await asyncio.sleep(WATCHED_S)
        busy = (time.process_time() - began) / WATCHED_S
        meter.end(app)
        seen = Counter(store.ops)
        print(f"\n{dict((op.__name__, n) for op, n in seen.items())}, {busy:.1%} CPU")
        assert set(seen) <= set(HEARTBEAT), "only for itself"
        assert seen[Renew] >= 3
        return seen


async def rows_in(database: Database) -> dict[str, ProcessRow]:
    store = database.store()
    await store.open()
    try:
        return await rows_of(store)
    finally:
        await store.close()


async def call_one(database: Database) -> None:
    """It alone is taken up."""
    async with runtime_on(FaultyStore(database.store())) as app:
        async with asyncio.timeout(10):
            await app.handle("p77").signal("go", 1)
            assert await app.handle("p77") == 78
        assert app.counters.claimed == 1
        for number in range(0, PARKED, CHECKED_EVERY):
            assert await faults_of_one(app.store, f"p{number}") == []


def test_an_idle_worker_writes_and_scans_nothing_for_parked_processes(tmp_path: Path, database: Database) -> None:
    with Crew(tmp_path, database):
        asyncio.run(park(database))
        before = asyncio.run(rows_in(database))
        assert len(before) == PARKED
        with meter_of(database) as meter:
            seen = asyncio.run(idle(database, meter))
        meter.check(seen)
        assert asyncio.run(rows_in(database)) == before
        asyncio.run(call_one(database))
