"""Costs that are promises: no scheduler meets parked rows, steps are small, every query searches an index."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lash.abc.store import Claim, Claims
from lash.core.process import lane_of
from lash.stores.sqlite import SqliteStore, chats, migration_sql, reads, tables
from tests.unit.stores.stage import leased, opened, put, spec, step

PARKED = 100_000
QUERIES = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name}": query
    for module in (reads, tables, chats)
    for name, query in vars(module).items()
    if name.endswith("_SQL") and isinstance(query, str) and query.startswith(("SELECT", "WITH")) and "?" in query
}


def bare() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for _, script in migration_sql():
        connection.executescript(script)
    return connection


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_searches_an_index(name: str) -> None:
    connection, query = bare(), QUERIES[name]
    number = max((int(digit) for digit in re.findall(r"\?(\d)", query)), default=query.count("?"))
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + query, (1,) * number)]
    connection.close()
    scans = [line for line in plan if line.startswith("SCAN")]
    # Those read the argument, a list of rows; the few sessions that a path leads through; and their components.
    few = ("SCAN chain", "SCAN component")
    assert not [line for line in scans if "json_each" not in line and line not in few], plan


def park_many(path: Path) -> None:
    """Rows that wait for a signal, written as ``Park`` leaves them."""
    connection = sqlite3.connect(path, isolation_level=None)
    names = [row[1] for row in connection.execute("PRAGMA table_info(lash_process)")]
    fresh = {
        "id": "'x' || n",
        "row": "1000 + n",
        "state": "0",
        "wake_ms": "NULL",
        "waiting_on": "'signal'",
        "owner": "NULL",
    }
    columns = ", ".join(fresh.get(name, name) for name in names)
    connection.execute(
        f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {PARKED}) "
        f"INSERT INTO lash_process SELECT {columns} FROM numbers, "
        "(SELECT * FROM lash_process WHERE id = 'p')"
    )
    connection.close()


def test_parked_rows_cost_claims_due_times_and_news_nothing(tmp_path: Path) -> None:
    """Measured in SQLite's own instructions: the same with a hundred thousand parked rows as without."""

    async def main() -> None:
        async with opened(tmp_path / "a.db") as store:
            await leased(store, "p")
            lane = lane_of(spec("p"))
            assert store._writer is not None
            assert store._reader is not None
            both = (store._writer.connection, store._reader)

            async def instructions() -> int:
                count = 0

                def tick() -> int:
                    nonlocal count
                    count += 1
                    return 0

                for connection in both:
                    connection.set_progress_handler(tick, 10)
                verdict = (await store.write([Claim("w9", [lane], 50, 1_000)]))[0]
                assert isinstance(verdict, Claims)
                assert not verdict.rows
                assert await store.next_due_ms([lane]) is not None
                assert await store.news("w1") == []
                for connection in both:
                    connection.set_progress_handler(None, 0)
                return count

            await instructions()
            before = await instructions()
            park_many(tmp_path / "a.db")
            await instructions()  # prepares its statements anew
            assert await instructions() <= before + 5
            assert (await store.counts())["running"] == PARKED + 1

    asyncio.run(main())


def test_a_step_costs_little_more_than_its_payload(tmp_path: Path) -> None:
    """At most 300 bytes of file per step beyond name and payload, indexes included."""
    steps, payload = 6_000, b'"' + b"x" * 98 + b'"'

    async def fill() -> None:
        async with opened(tmp_path / "a.db") as store:
            fences = [await leased(store, f"p{number}") for number in range(20)]
            empty = os.path.getsize(tmp_path / "a.db")
            for number in range(0, steps, 100):
                fence = fences[number // 100 % 20]
                await put(store, fence, *[step(number + extra, payload) for extra in range(100)])
            assert empty > 0

    asyncio.run(fill())
    overhead = os.path.getsize(tmp_path / "a.db") / steps - len(payload)
    assert overhead < 300, f"{overhead:.0f} bytes per step"


def test_importing_the_store_stays_cheap() -> None:
    """Start-up time decides recovery time; the command line's libraries and pydantic are not loaded."""
    heavy = ("pydantic", "typer", "rich", "asyncpg")
    code = f"import lash.stores.sqlite, sys; print([name for name in {heavy} if name in sys.modules])"
    source = str(Path(__file__).parents[3] / "src")
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, check=False)
    assert (done.stdout.decode().strip(), done.stderr.decode()) == ("[]", "")


def test_the_log_has_its_size_from_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(str(tmp_path / "a.db"))
        await store.open()
        size = os.path.getsize(tmp_path / "a.db-wal")
        fence = await leased(store, "p")
        await put(store, fence, step(0))
        assert os.path.getsize(tmp_path / "a.db-wal") == size > 1_000_000
        second = SqliteStore(str(tmp_path / "a.db"))
        await second.open()
        assert len(await second.history(fence.row, 0)) == 1
        await second.close()
        await store.close()

    asyncio.run(main())
