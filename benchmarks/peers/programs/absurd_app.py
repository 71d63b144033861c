"""Absurd: async tasks, several workers of one OS process, each with a connection of its own, on Postgres."""

from __future__ import annotations

import asyncio
import time

import psycopg
from absurd_sdk import AsyncAbsurd, AsyncTaskContext

from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import CONCURRENCY, STEPS, STEPS_BEFORE, VALUE, Asked, Count, Values

MODULE = "benchmarks.peers.programs.absurd_app"
QUEUE = "default"
WORKERS = 8
STARTERS = 4
POLL_S = 0.01
LOOK_S = 0.002
"""Between two looks for an outcome; the SDK's own wait looks every 50 ms and seldomer."""
CLAIM_S = 15
"""What a dead worker's tasks wait before they are claimed again; a living one's must not reach it between two steps."""
GRACE_S = 1

performed = Count()
in_flight = Count()
over = Count()
parked = Count()
holding = False


async def answer() -> dict[str, str]:
    performed.add()
    return VALUE


async def hold() -> dict[str, str]:
    in_flight.add()
    if holding:
        await asyncio.Event().wait()
    return VALUE


async def steps(params: dict[str, int], ctx: AsyncTaskContext) -> int:
    for number in range(params["count"]):
        await ctx.step(f"answer-{number}", answer)
    over.add()
    return params["count"]


async def nothing(params: object, ctx: AsyncTaskContext) -> None:
    over.add()


async def journey(params: object, ctx: AsyncTaskContext) -> int:
    for number in range(STEPS_BEFORE):
        await ctx.step(f"answer-{number}", answer)
    await ctx.step("hold", hold)
    for number in range(STEPS_BEFORE + 1, STEPS):
        await ctx.step(f"answer-{number}", answer)
    over.add()
    return STEPS


async def asleep(params: object, ctx: AsyncTaskContext) -> None:
    parked.add()
    await ctx.sleep_for("park", measuring.PARK_S)


TASKS = {"steps": steps, "nothing": nothing, "journey": journey, "asleep": asleep}


def client(asked: Asked) -> AsyncAbsurd:
    """One with a connection of its own."""
    app = AsyncAbsurd(asked.url, queue_name=QUEUE)
    for name, task in TASKS.items():
        app.register_task(name)(task)
    return app


async def create(asked: Asked) -> None:
    import absurdctl  # not in the second life of W4, which is timed from its spawn

    with psycopg.connect(asked.url, autocommit=True) as connection:
        connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
    await client(asked).create_queue(QUEUE)


def work(asked: Asked, concurrency: int = CONCURRENCY, workers: int = WORKERS) -> list[asyncio.Task[None]]:
    each = -(-concurrency // workers)
    return [
        asyncio.create_task(
            client(asked).start_worker(
                worker_id=f"worker-{number}", concurrency=each, poll_interval=POLL_S, claim_timeout=CLAIM_S
            )
        )
        for number in range(workers)
    ]


async def spawn_many(asked: Asked, name: str, count: int, params: object = None) -> None:
    apps = [client(asked) for _ in range(STARTERS)]

    async def lane(number: int) -> None:
        for _ in range(number, count, STARTERS):
            await apps[number].spawn(name, params or {})

    await asyncio.gather(*map(lane, range(STARTERS)))


async def completed(asked: Asked, wanted: int) -> None:
    """Until so many tasks are completed. Looks only once all bodies have come to their ends."""
    await over.reach(wanted)
    query = f"SELECT count(*) FROM absurd.t_{QUEUE} WHERE state = 'completed'"
    async with await psycopg.AsyncConnection.connect(asked.url, autocommit=True) as connection:
        while (await (await connection.execute(query)).fetchone())[0] < wanted:  # noqa: ASYNC110  # others fill it
            await asyncio.sleep(LOOK_S)


async def one(app: AsyncAbsurd, name: str, params: object = None) -> None:
    spawned = await app.spawn(name, params or {})
    while True:
        found = await app.fetch_task_result(spawned["task_id"])
        if found is not None and found.state == "completed":
            return
        await asyncio.sleep(LOOK_S)


async def w1(asked: Asked) -> Values:
    await create(asked)
    running = work(asked, 1, 1)
    await spawn_many(asked, "steps", 1, {"count": 20})
    await completed(asked, 1)
    began = time.perf_counter()
    await spawn_many(asked, "steps", 1, {"count": asked.steps})
    await completed(asked, 2)
    took_s = time.perf_counter() - began
    assert len(performed) == 20 + asked.steps
    assert running
    return {"ms_per_step": took_s / asked.steps * 1_000}


async def w2(asked: Asked) -> Values:
    await create(asked)
    running = work(asked)
    await spawn_many(asked, "steps", 20, {"count": STEPS})
    await completed(asked, 20)
    began = time.perf_counter()
    await spawn_many(asked, "steps", asked.workflows, {"count": STEPS})
    await completed(asked, 20 + asked.workflows)
    took_s = time.perf_counter() - began
    assert len(performed) == (20 + asked.workflows) * STEPS
    assert running
    return {"steps_per_s": asked.workflows * STEPS / took_s}


async def w3(asked: Asked) -> Values:
    await create(asked)
    running = work(asked)
    await spawn_many(asked, "nothing", 20)
    await completed(asked, 20)
    began = time.perf_counter()
    await spawn_many(asked, "nothing", asked.empty)
    await completed(asked, 20 + asked.empty)
    took_s = time.perf_counter() - began
    assert running
    return {"processes_per_s": asked.empty / took_s}


async def w4(asked: Asked) -> Values:
    await create(asked)
    return measuring.killed_and_resumed(MODULE, CLAIM_S + GRACE_S)


async def w4_first(asked: Asked) -> Values:
    global holding
    holding = True
    await spawn_many(asked, "journey", asked.resumed)
    running = work(asked, asked.resumed)
    await in_flight.reach(asked.resumed)
    measuring.ready()
    await asyncio.gather(*running)
    return {}


async def w4_second(asked: Asked) -> Values:
    running = work(asked, asked.resumed)
    await completed(asked, asked.resumed)
    assert running
    measuring.finished()
    return {}


async def w5(asked: Asked) -> Values:
    await create(asked)
    running = work(asked)
    app = client(asked)
    for _ in range(20):
        await one(app, "nothing")
    began = time.perf_counter()
    await spawn_many(asked, "asleep", asked.parked)
    await parked.reach(asked.parked)
    fill_s = time.perf_counter() - began
    for task in running:
        task.cancel()
    running = work(asked, workers=1)  # eight that look for work are in one another's way
    with psycopg.connect(asked.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    await asyncio.sleep(2)
    found = await measuring.latencies(asked, lambda: one(app, "nothing"))
    assert running
    return {**found, "parked": asked.parked, "fill_s": fill_s}


if __name__ == "__main__":
    measuring.run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W4-first": w4_first, "W4-second": w4_second, "W5": w5})
