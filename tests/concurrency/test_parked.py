"""Promise: ten thousand parked processes cost a worker nothing: no write, no scan, whatever it looks at."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import lash.stores.sqlite.store as module
from lash.abc.store import Discharge, Enlist, Op, Prune, Renew, Sweep, Unblock, Verdict
from lash.engines.local import LocalEngine
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.stores.sqlite import SqliteStore
from lash.testing.checkers import check_store
from lash.testing.faults import FaultyStore
from tests.concurrency import jobs
from tests.concurrency.crew import Crew

PARKED = 10_000
WATCHED_S = 6.0
"""Longer than the slow look behind the notices."""
HEARTBEAT = (Enlist, Discharge, Renew, Unblock, Sweep, Prune)
"""What a worker writes for itself; all but its own entry among the workers must change nothing."""
TABLES = ("lash_process", "lash_journal", "lash_event", "lash_spec", "lash_tag")


class Listening(FaultyStore):
    """Notes every operation that is written."""

    def __init__(self, inner: SqliteStore) -> None:
        super().__init__(inner)
        self.ops: Counter[type] = Counter()

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


async def park(path: Path) -> None:
    """Start them all, and wait until every one is parked."""
    store = SqliteStore(str(path), sync="normal")
    async with runtime_on(FaultyStore(store), concurrency=500) as app:
        handles = await app.start_many(
            jobs.parked.call(number).options(id=f"p{number}", priority=number % 3) for number in range(PARKED)
        )
        assert len(handles) == PARKED
        async with asyncio.timeout(90):
            while app.counters.parked < PARKED:
                await asyncio.sleep(0.05)


def traced(statements: set[str]) -> None:
    """Every connection from here on notes its statements, with their parameters left out."""
    plain = module.connect

    def connect(*args: object) -> sqlite3.Connection:
        connection = plain(*args)  # type: ignore[arg-type]
        connection.set_trace_callback(statements.add)
        return connection

    module.connect = connect  # type: ignore[assignment]


def changes_by(app: Runtime) -> int:
    """Rows this runtime's one writing connection has changed so far."""
    store = app.store
    assert isinstance(store, Listening)
    assert isinstance(store.inner, SqliteStore)
    assert store.inner._writer is not None
    return store.inner._writer.connection.total_changes


def scans(path: Path, statements: set[str]) -> list[str]:
    """Statements that read a growing table from end to end."""
    found: list[str] = []
    with sqlite3.connect(path) as connection:
        for statement in sorted(statements):
            if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
                continue
            for *_, detail in connection.execute("EXPLAIN QUERY PLAN " + statement):
                words = detail.split()
                if words[0] == "SCAN" and words[1] in TABLES:
                    found.append(f"{detail}: {statement}")
    connection.close()
    return found


def test_an_idle_worker_writes_and_scans_nothing_for_parked_processes(tmp_path: Path) -> None:
    plain = module.connect
    statements: set[str] = set()

    async def watch(path: Path) -> Counter[type]:
        store = Listening(SqliteStore(str(path), sync="normal"))
        async with runtime_on(store) as app:
            await asyncio.sleep(0.5)
            store.ops.clear()
            bystander = sqlite3.connect(path)
            rows = bystander.execute("SELECT count(*), max(token), max(updated_ms) FROM lash_process").fetchone()
            changes = changes_by(app)
            began = time.process_time()
            await asyncio.sleep(WATCHED_S)
            busy = (time.process_time() - began) / WATCHED_S
            changes = changes_by(app) - changes
            seen = Counter(store.ops)
            print(f"\n{dict((op.__name__, n) for op, n in seen.items())}, {changes} rows changed, {busy:.1%} CPU")
            assert set(seen) <= set(HEARTBEAT), "only for itself"
            assert changes <= seen[Renew], "its own entry among the workers, once per renewal"
            assert (
                bystander.execute("SELECT count(*), max(token), max(updated_ms) FROM lash_process").fetchone() == rows
            )
            bystander.close()
            assert rows[0] == PARKED
            # One of them is called: it alone is taken up.
            async with asyncio.timeout(10):
                await app.handle("p77").signal("go", 1)
                assert await app.handle("p77") == 78
            assert app.counters.claimed == 1
            return seen

    with Crew(tmp_path) as crew:
        asyncio.run(park(crew.path))
        try:
            traced(statements)
            seen = asyncio.run(watch(crew.path))
        finally:
            module.connect = plain
        assert seen[Renew] >= 3
        assert len(statements) > 10
        assert scans(crew.path, statements) == []
        asyncio.run(sound(crew.path))


async def sound(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    try:
        assert await check_store(store) == PARKED
    finally:
        await store.close()
