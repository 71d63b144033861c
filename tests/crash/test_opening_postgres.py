"""Promise: whoever opens a database first makes its schema, once and as a whole, whoever else comes and whoever dies.

An opening is killed before each of its statements, meets every trouble at each of them, and takes place ten at once.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from lash.errors import StoreUnavailable
from lash.stores.postgres import PostgresStore
from lash.stores.postgres.place import place_of
from lash.stores.sql.migrations import migrations
from tests.crash.driver import DRIVER, TROUBLES, Driver, Trouble, installed
from tests.crash.lives import EAGER, Life, judge
from tests.crash.places import SCHEMAS, THOROUGH
from tests.crash.scenarios import LEDGER, SCENARIOS
from tests.postgres import fresh_url

ROOT = Path(__file__).resolve().parents[2]
SEQUENCE = SCENARIOS["sequence"]
KNOWN = [(item.number, item.name, item.checksum) for item in migrations("postgres")]
AT_ONCE = 10
CHILDREN = 4
EACH = 3
CHILD_S = 60
OPENER = """
import asyncio, sys
from lash.stores.postgres import PostgresStore

async def main(url, count):
    stores = [PostgresStore(url) for _ in range(count)]
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        await store.counts()
        await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def asked(url: str, sql: str, *values: object) -> Any:
    """The first column of the first row."""
    connection = await asyncpg.connect(place_of(url).dsn)
    try:
        return await connection.fetchval(sql, *values)
    finally:
        await connection.close()


async def tables(url: str) -> int:
    return int(await asked(url, "SELECT count(*) FROM pg_tables WHERE schemaname = $1", place_of(url).schema))


async def applied(url: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(place_of(url).dsn)
    try:
        rows = await connection.fetch(f"SELECT number, name, sha256 FROM {place_of(url).schema}.lash_migration")
    finally:
        await connection.close()
    return sorted(map(tuple, rows))


async def in_a_context(work: Coroutine[Any, Any, list[str]]) -> list[str]:
    return await asyncio.create_task(work)


async def opened(url: str, driver: Driver) -> StoreUnavailable | None:
    """One opening, and the typed error it may end with."""
    DRIVER.set(driver)
    store = PostgresStore(url)
    try:
        await store.open()
    except StoreUnavailable as error:
        return error
    finally:
        driver.paused = True
        store.crash()
    return None


async def statements_of(url: str) -> int:
    driver = Driver()
    await asyncio.create_task(opened(url, driver))
    return len(driver.statements)


# Killed ------------------------------------------------------------------------------------------------------------


async def killed(url: str, at: int) -> list[str]:
    """An opening that ends before its statement ``at``, for whatever is sent to the server afterwards."""
    died = asyncio.Event()
    driver = Driver(at, on_trouble=died.set)
    DRIVER.set(driver)
    store = PostgresStore(url)
    opening = asyncio.create_task(store.open())
    ended = asyncio.create_task(died.wait())
    await asyncio.wait((opening, ended), return_when=asyncio.FIRST_COMPLETED)
    for task in (opening, ended):
        task.cancel()
    await asyncio.gather(opening, ended, return_exceptions=True)
    store.crash()
    return [] if driver.met else ["the opening did not come to it"]


async def goes_on(url: str, name: str) -> list[str]:
    """What is wrong with a life on what a killed opening has left."""
    LEDGER.begin()
    told = await Life(SEQUENCE, url, EAGER, first=False).run()
    return [f"{name}: {fault}" for fault in judge(SEQUENCE, told, 0)]


@pytest.mark.parametrize("make", [fresh_url, None], ids=["first", "later"])
def test_a_crash_before_any_statement_of_an_opening(make: Callable[[], str] | None) -> None:
    async def main() -> tuple[int, list[str]]:
        faults: list[str] = []
        count = await statements_of(make() if make else await SCHEMAS.take())
        for at in range(1, count + 1):
            url = make() if make else await SCHEMAS.take()
            faults += await in_a_context(killed(url, at))
            whole = await tables(url)
            if whole and await applied(url) != KNOWN:
                faults.append(f"before statement {at}: {whole} tables, migrations {await applied(url)}")
            faults += await in_a_context(goes_on(url, f"before statement {at}"))
            SCHEMAS.give(url)
        return count, faults

    with installed():
        count, faults = asyncio.run(main())
    print(f"\n{count} moments")
    assert faults == []
    assert count >= (12 if make else 6)


# In trouble --------------------------------------------------------------------------------------------------------


def test_any_trouble_of_a_first_opening_leaves_all_or_nothing_and_the_next_one_goes_through() -> None:
    async def case(at: int, trouble: Trouble, room: asyncio.Semaphore) -> list[str]:
        async with room:
            url = fresh_url()
            driver = Driver(at, trouble)
            error = await asyncio.create_task(opened(url, driver))
            name = f"{trouble} at {at} ({driver.met[:40]}), {error}"
            if not driver.met:
                return [f"{name}: the opening did not come to it"]
            faults: list[str] = []
            if await tables(url) and await applied(url) != KNOWN:
                faults.append(f"{name}: {await tables(url)} tables, migrations {await applied(url)}")
            store = PostgresStore(url)
            await store.open()
            await store.close()
            if await applied(url) != KNOWN:
                faults.append(f"{name}: afterwards {await applied(url)}")
            return faults

    async def main() -> tuple[int, list[str]]:
        room = asyncio.Semaphore(AT_ONCE)
        count = await statements_of(fresh_url())
        troubles = range(len(TROUBLES) if THOROUGH else 3)
        cases = [(at, TROUBLES[(at + 3 * number) % len(TROUBLES)]) for at in range(1, count + 1) for number in troubles]
        done = await asyncio.gather(*(case(at, trouble, room) for at, trouble in cases))
        return len(cases), [fault for found in done for fault in found]

    with installed():
        count, faults = asyncio.run(main())
    print(f"\n{count} troubles")
    assert faults == []


# At once -----------------------------------------------------------------------------------------------------------


def test_ten_openings_at_once_make_one_schema() -> None:
    async def main() -> None:
        url = fresh_url()
        stores = [PostgresStore(url) for _ in range(AT_ONCE)]
        await asyncio.gather(*(store.open() for store in stores))
        assert await applied(url) == KNOWN
        assert [await store.counts() for store in stores] == [await stores[0].counts()] * AT_ONCE
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(main())


def test_several_python_processes_that_open_at_once_make_one_schema() -> None:
    url = fresh_url()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    command = [sys.executable, "-c", OPENER, url, str(EACH)]
    children = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for _ in range(CHILDREN)
    ]  # fmt: skip
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        told = [child.communicate(timeout=CHILD_S)[0] for child in children]
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    assert told == [""] * CHILDREN
    assert Counter(child.returncode for child in children) == {0: CHILDREN}
    assert asyncio.run(applied(url)) == KNOWN
