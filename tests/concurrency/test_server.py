"""Promise: whatever happens to the connections of a PostgreSQL store, it costs time and nothing else.

The one that listens is mended and followed by a look; the one that proves a worker's life is mended before anybody
takes the worker for dead; a restart of the whole server makes no worker lose its leases; and where nothing may live
longer than a transaction, the slow look alone gets the work done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import lash
from lash.errors import StoreUnavailable
from lash.stores.postgres import PostgresStore, listening
from lash.testing.checkers import check_store
from tests.concurrency import jobs
from tests.concurrency.crew import Crew, wait_until
from tests.concurrency.databases import PostgresSchema
from tests.postgres import cluster

TERMINATE_SQL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
TERMINATE_ALL_SQL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'lash %' "
    "AND datname = current_database()"
)
PROOF_PIDS_SQL = "SELECT pid FROM pg_stat_activity WHERE application_name = 'lash proof'"
MENDED_S = 10
SLOW_LOOK_S = 5.0
RESULT_S = 60
LATENCIES = 60


def app_on(url: str, worker: bool, **options: object) -> lash.Runtime:
    app = lash.Runtime(url, worker=worker, **options)  # type: ignore[arg-type]  # the fields of a Runtime
    for process in jobs.PROCESSES:
        app.include(process)
    return app


def postgres_of(app: lash.Runtime) -> PostgresStore:
    assert isinstance(app.store, PostgresStore)
    return app.store


def listener_of(app: lash.Runtime) -> listening.Listening:
    opened = postgres_of(app)._opened
    assert opened is not None
    return opened.listening


async def until(ready: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(MENDED_S):
            while not ready():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {MENDED_S} s: {what}") from None


async def ended(connection: asyncpg.Connection[Any], name: str) -> int:
    """How many connections of that name the server has ended."""
    return len(await connection.fetch(TERMINATE_SQL, name))


# Notices -----------------------------------------------------------------------------------------------------------


def test_a_listener_that_was_cut_off_comes_back_and_looks(
    schema: PostgresSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was started while nobody listened is found long before the slow look."""
    monkeypatch.setattr(listening, "PAUSE_S", (0.4, 5.0))
    waits: list[float] = []

    async def main() -> None:
        async with (
            app_on(schema.url, worker=True) as app,
            app_on(schema.url, worker=False) as client,
            schema.bystander() as by,
        ):
            for turn in range(2):
                before = listener_of(app).line.pid
                assert await ended(by, "lash listener") == 2
                await until(lambda: not listener_of(app).working, "the loss is noticed")
                began = time.monotonic()
                await client.start("stamped", id=f"deaf-{turn}")  # type: ignore[arg-type]
                await client.handle(f"deaf-{turn}").result(timeout=RESULT_S)
                waits.append(time.monotonic() - began)
                await until(lambda: listener_of(app).working and listener_of(client).working, "both listen again")
                assert listener_of(app).line.pid not in (0, before)

    asyncio.run(main())
    print(f"\nheard of after {[round(wait, 2) for wait in waits]} s")
    assert max(waits) < SLOW_LOOK_S - 1


def test_a_listener_tries_again_after_longer_and_longer(
    schema: PostgresSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    async def main() -> None:
        store = PostgresStore(schema.url)
        await store.open()
        assert store._opened is not None
        ears = store._opened.listening
        get = ears.line.get

        async def refused(deadline_ms: int = 0) -> asyncpg.Connection[Any]:
            tries.append(asyncio.get_running_loop().time())
            if len(tries) < 5:
                raise StoreUnavailable("not now")
            return await get(deadline_ms)

        monkeypatch.setattr(ears.line, "get", refused)
        try:
            async with schema.bystander() as by:
                await ended(by, "lash listener")
            await until(lambda: len(tries) == 5 and ears.working, "it listens again")
        finally:
            await store.close()

    asyncio.run(main())
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert all(gap >= least for gap, least in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=True)), gaps


def test_a_start_here_runs_at_once_in_a_worker_of_another_python_process(
    schema: PostgresSchema, tmp_path: Path
) -> None:
    called_ms: list[float] = []
    told_ms: list[float] = []

    async def main(crew: Crew) -> None:
        async with app_on(crew.url, worker=False) as client:
            for number in range(LATENCIES + 5):
                began = time.time_ns()
                handle: lash.Handle[int] = await client.start("stamped", id=f"s{number}")  # type: ignore[arg-type]
                told = time.time_ns()
                ran = await handle.result(timeout=RESULT_S)
                if number >= 5:  # the first ones make lanes and plans
                    called_ms.append((ran - began) / 1e6)
                    told_ms.append((ran - told) / 1e6)

    with Crew(tmp_path, schema) as crew:
        worker = crew.worker()
        worker.wait_open()
        asyncio.run(main(crew))
        worker.drain()
        assert worker.wait(30) == 0
        assert crew.complaints() == []
    called_ms.sort()
    told_ms.sort()
    middle, last = LATENCIES // 2, LATENCIES * 99 // 100
    print(f"\ncommitted to running: p50 {told_ms[middle]:.1f} ms, p99 {told_ms[last]:.1f} ms")
    print(f"called to running: p50 {called_ms[middle]:.1f} ms, p99 {called_ms[last]:.1f} ms")
    assert called_ms[middle] < 100, "a notice, not a poll"
    assert called_ms[last] < 2_000


def test_behind_a_transaction_pooler_the_slow_look_does_it(
    schema: PostgresSchema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("rounds", "watch"):
        monkeypatch.setattr(f"lash.runtime.{module}.SAFETY_POLL_MS", 250)
    role = "pooled_" + schema.place.schema

    async def work(by: asyncpg.Connection[Any]) -> None:
        url = schema.url.replace("//lash@", f"//{role}@") + "&pooler=transaction"
        async with app_on(url, worker=True) as app, app_on(url, worker=False) as client:
            began = time.monotonic()
            for number in range(5):
                await client.start("chain", number, 1, id=f"c{number}")  # type: ignore[arg-type]
            values = [await client.handle(f"c{number}").result(timeout=RESULT_S) for number in range(5)]
            took_s = time.monotonic() - began
            assert values == [100 + number for number in range(5)]
            ours = await by.fetch("SELECT pid, application_name FROM pg_stat_activity WHERE usename = $1", role)
            assert {name for _, name in ours} == {"lash writer", "lash reader"}
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = ANY($1::int[])"
            assert await by.fetchval(locks, [pid for pid, _ in ours]) == 0
            assert await by.fetchval("SELECT count(*) FROM lash_proof") == 0
            assert not listener_of(app).working
            assert await check_store(app.store) == 5
            print(f"\n5 processes of 2 steps in {took_s:.2f} s, with a look every 0.25 s")

    async def main() -> None:
        async with schema.bystander() as by:
            await by.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
            await by.execute(f"ALTER ROLE {role} SET search_path = {schema.place.schema}")
            try:
                await work(by)
            finally:
                await by.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")

    with Crew(tmp_path, schema):
        asyncio.run(main())


# Proofs of life ----------------------------------------------------------------------------------------------------


def test_a_living_worker_whose_proof_was_cut_off_keeps_what_it_has(schema: PostgresSchema, tmp_path: Path) -> None:
    """Five times; its peer, whose own proof is not touched, sweeps four times a second all the while."""
    with Crew(tmp_path, schema) as crew:
        worker = crew.worker(lease_ttl="60s")
        worker.wait_open()
        asyncio.run(started(crew, "gated", "g", "gate"))
        crew.wait_performed("gate", pid=worker.pid)
        before = {pid for (pid,) in schema.ask(PROOF_PIDS_SQL)}
        peer = crew.worker(lease_ttl="60s")
        peer.wait_open()
        ((peers,),) = [row for row in schema.ask(PROOF_PIDS_SQL) if row[0] not in before]

        async def cut(connection: asyncpg.Connection[Any]) -> None:
            for _ in range(5):
                assert len(await connection.fetch(TERMINATE_SQL + " AND pid <> $2", "lash proof", peers)) == 1
                await asyncio.sleep(0.4)  # sleeps: at least one sweep of the peer's, and two after the last
            await asyncio.sleep(0.5)

        schema.asked(cut)
        crew.flag("gate").touch()
        assert asyncio.run(finished(crew, "g")) == [worker.pid, worker.pid]
        for member in (worker, peer):
            member.drain()
        assert [member.wait(30) for member in (worker, peer)] == [0, 0]
        assert [member.counters()["leases_lost"] for member in (worker, peer)] == [0, 0]
        assert crew.performs() == {"g/0#1": 1, "g/1#1": 1}


async def started(crew: Crew, kind: str, process_id: str, *args: object) -> None:
    async with app_on(crew.url, worker=False) as app:
        await app.start(kind, *args, id=process_id)  # type: ignore[arg-type]


async def finished(crew: Crew, process_id: str) -> object:
    async with app_on(crew.url, worker=False) as app:
        value = await app.handle(process_id).result(timeout=RESULT_S)
        await check_store(app.store)
        return value


def test_a_restart_of_the_server_costs_no_worker_its_leases(schema: PostgresSchema, tmp_path: Path) -> None:
    """In order, and as in a crash. Whoever starts something meanwhile waits, or is told so in a typed error."""
    refused: list[str] = []

    async def keep_starting(app: lash.Runtime, over: asyncio.Event) -> int:
        number = 0
        while not over.is_set():
            try:
                await app.start("stamped", id=f"s{number}")  # type: ignore[arg-type]
                number += 1
            except StoreUnavailable as error:
                refused.append(str(error))
            await asyncio.sleep(0.01)
        for done in range(number):
            await app.handle(f"s{done}").result(timeout=RESULT_S)
        await check_store(app.store)
        return number

    async def main(crew: Crew) -> int:
        over = asyncio.Event()
        async with app_on(crew.url, worker=False) as app, asyncio.TaskGroup() as group:
            starting = group.create_task(keep_starting(app, over))
            await restart("fast", schema)
            await asyncio.sleep(2.5)  # sleeps: sweeps of workers that are connected again, past their grace
            await restart("immediate", schema)
            await asyncio.sleep(2.5)
            over.set()
        return starting.result()

    with Crew(tmp_path, schema) as crew:
        workers = []
        for place in range(2):
            workers.append(crew.worker(lease_ttl="20s", concurrency=64))
            workers[-1].wait_open()
            asyncio.run(started(crew, "gated", f"g{place}-0", "gate"))
            asyncio.run(started(crew, "gated", f"g{place}-1", "gate"))
        wait_until(lambda: len(crew.performs()) == 4, 30, "four steps are under way")
        owners = {key: pid for key, pid, _, _ in crew.performed()}
        count = asyncio.run(main(crew))
        crew.flag("gate").touch()
        for place in range(2):
            for number in range(2):
                pid = owners[f"g{place}-{number}/0#1"]
                value = asyncio.run(finished(crew, f"g{place}-{number}"))
                assert isinstance(value, list)
                assert value[0] == pid, "its own worker has ended the step"
        for worker in workers:
            worker.drain()
        assert [worker.wait(30) for worker in workers] == [0, 0], workers[0].log.read_text()
        assert [worker.counters()["leases_lost"] for worker in workers] == [0, 0]
        assert set(crew.performs().values()) == {1}
        assert [line for line in crew.complaints() if "Traceback" in line or "never retrieved" in line] == []
        print(f"\n{count} processes started through two restarts; {len(refused)} starts were refused: {set(refused)}")


async def restart(mode: str, schema: PostgresSchema) -> None:
    """A server that was only named keeps running: its connections end all at once instead."""
    server = cluster()
    if server.folder:
        await asyncio.to_thread(server.restart, mode)
        return
    async with schema.bystander() as connection:
        await connection.execute(TERMINATE_ALL_SQL)


def test_a_worker_that_died_in_a_restart_is_still_noticed(schema: PostgresSchema, tmp_path: Path) -> None:
    """The grace after a mended connection ends."""
    with Crew(tmp_path, schema) as crew:
        victim, peer = crew.worker(lease_ttl="60s"), crew.worker(lease_ttl="60s", concurrency=1)
        for member in (victim, peer):
            member.wait_open()
        wait_until(lambda: len(schema.proofs()) == 2, 10, "both prove that they live")
        victim.kill()
        asyncio.run(restart("fast", schema))
        wait_until(lambda: len(schema.proofs()) == 1, 10, "the dead one's proof is taken")
        peer.drain()
        assert peer.wait(30) == 0
