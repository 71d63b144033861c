"""DBOS: async workflows and steps in one OS process, on SQLite or Postgres."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import psycopg
from dbos import DBOS, DBOSConfig

from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import STEPS, STEPS_BEFORE, VALUE, Asked, Count, Values

MODULE = "benchmarks.peers.programs.dbos_app"
THREADS_POSTGRES = 20
"""As many as DBOS's connections by default: more threads only wait for one."""

performed = Count()
in_flight = Count()
over = Count()
parked = Count()
holding = False


@DBOS.step()
async def answer(number: int) -> dict[str, str]:
    del number
    performed.add()
    return VALUE


@DBOS.step()
async def hold() -> dict[str, str]:
    in_flight.add()
    if holding:
        await asyncio.Event().wait()
    return VALUE


@DBOS.workflow()
async def steps(count: int) -> int:
    for number in range(count):
        await answer(number)
    return count


@DBOS.workflow()
async def nothing() -> None:
    pass


@DBOS.workflow()
async def journey() -> int:
    for number in range(STEPS_BEFORE):
        await answer(number)
    await hold()
    for number in range(STEPS_BEFORE + 1, STEPS):
        await answer(number)
    over.add()
    return STEPS


@DBOS.workflow()
async def asleep() -> None:
    parked.add()
    await DBOS.sleep_async(measuring.PARK_S)


def launch(asked: Asked) -> None:
    url = asked.url.replace("postgresql://", "postgresql+psycopg://", 1)
    if not asked.postgres:
        with sqlite3.connect(asked.path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    config: DBOSConfig = {
        "name": "peer-benchmark",
        "application_version": "1",
        "executor_id": "local",
        "system_database_url": url,
        "max_executor_threads": THREADS_POSTGRES if asked.postgres else None,
        "console_log_level": "ERROR",
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()


async def start_steps(count: int) -> None:
    handle = await DBOS.start_workflow_async(steps, count)
    assert await handle.get_result() == count


async def start_nothing() -> None:
    handle = await DBOS.start_workflow_async(nothing)
    await handle.get_result()


async def w1(asked: Asked) -> Values:
    launch(asked)
    await start_steps(20)
    began = time.perf_counter()
    await start_steps(asked.steps)
    took_s = time.perf_counter() - began
    assert len(performed) == 20 + asked.steps
    return {"ms_per_step": took_s / asked.steps * 1_000}


async def w2(asked: Asked) -> Values:
    launch(asked)
    await measuring.at_once(20, lambda _: start_steps(STEPS))
    began = time.perf_counter()
    await measuring.at_once(asked.workflows, lambda _: start_steps(STEPS))
    took_s = time.perf_counter() - began
    assert len(performed) == (20 + asked.workflows) * STEPS
    return {"steps_per_s": asked.workflows * STEPS / took_s}


async def w3(asked: Asked) -> Values:
    launch(asked)
    await measuring.at_once(20, lambda _: start_nothing())
    began = time.perf_counter()
    await measuring.at_once(asked.empty, lambda _: start_nothing())
    took_s = time.perf_counter() - began
    return {"processes_per_s": asked.empty / took_s}


async def w4(asked: Asked) -> Values:
    del asked
    return measuring.killed_and_resumed(MODULE)


async def w4_first(asked: Asked) -> Values:
    global holding
    holding = True
    launch(asked)
    for _ in range(asked.resumed):
        await DBOS.start_workflow_async(journey)
    await in_flight.reach(asked.resumed)
    measuring.ready()
    await asyncio.Event().wait()
    return {}


async def w4_second(asked: Asked) -> Values:
    launch(asked)
    await over.reach(asked.resumed)
    unfinished = ["PENDING", "ENQUEUED", "DELAYED"]
    while await asyncio.to_thread(DBOS.list_workflows, status=unfinished, limit=1):
        pass
    assert len(in_flight) >= asked.resumed
    measuring.finished()
    return {}


async def w5(asked: Asked) -> Values:
    launch(asked)
    await measuring.at_once(20, lambda _: start_nothing())
    began = time.perf_counter()
    await measuring.at_once(asked.parked, lambda _: DBOS.start_workflow_async(asleep))
    await parked.reach(asked.parked)
    fill_s = time.perf_counter() - began
    if asked.postgres:
        with psycopg.connect(asked.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    await asyncio.sleep(2)
    return {**await measuring.latencies(asked, start_nothing), "parked": asked.parked, "fill_s": fill_s}


if __name__ == "__main__":
    measuring.run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W4-first": w4_first, "W4-second": w4_second, "W5": w5})
