"""lash itself, by its public interface only: one OS process, one runtime with its embedded worker, on any store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import lash
from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import CONCURRENCY, STEPS, STEPS_BEFORE, VALUE, Asked, Count, Values

MODULE = "benchmarks.peers.programs.lash_app"
BATCH = 1_000
"""Processes of W5 that are started at once."""

performed = Count()
in_flight = Count()
over = Count()
parked = Count()
holding = False


async def answer(number: int) -> dict[str, str]:
    del number
    performed.add()
    return VALUE


async def hold() -> dict[str, str]:
    in_flight.add()
    if holding:
        await asyncio.Event().wait()
    return VALUE


@lash.process
async def steps(ctx: lash.Context, count: int) -> int:
    for number in range(count):
        await ctx.step(answer, number)
    return count


@lash.process
async def nothing(ctx: lash.Context) -> None:
    del ctx


@lash.process
async def journey(ctx: lash.Context) -> int:
    for number in range(STEPS_BEFORE):
        await ctx.step(answer, number)
    await ctx.step(hold)
    for number in range(STEPS_BEFORE + 1, STEPS):
        await ctx.step(answer, number)
    over.add()
    return STEPS


@lash.process
async def asleep(ctx: lash.Context) -> None:
    parked.add()
    await ctx.sleep(measuring.PARK_S)


def runtime(asked: Asked, concurrency: int | None = None) -> lash.Runtime:
    app = lash.Runtime(asked.url) if concurrency is None else lash.Runtime(asked.url, concurrency=concurrency)
    app.include(steps, nothing, journey, asleep)
    return app


async def run_steps(app: lash.Runtime, counts: Sequence[int]) -> None:
    handles = await app.start_many(steps.call(count) for count in counts)
    assert await asyncio.gather(*handles) == list(counts)


async def run_nothing(app: lash.Runtime, count: int) -> None:
    await asyncio.gather(*await app.start_many(nothing.call() for _ in range(count)))


async def w1(asked: Asked) -> Values:
    async with runtime(asked) as app:
        await run_steps(app, [20])
        began = time.perf_counter()
        await run_steps(app, [asked.steps])
        took_s = time.perf_counter() - began
        assert len(performed) == 20 + asked.steps
        return {"ms_per_step": took_s / asked.steps * 1_000}


async def w2(asked: Asked) -> Values:
    async with runtime(asked, CONCURRENCY) as app:
        await run_steps(app, [STEPS] * 20)
        began = time.perf_counter()
        await run_steps(app, [STEPS] * asked.workflows)
        took_s = time.perf_counter() - began
        assert len(performed) == (20 + asked.workflows) * STEPS
        return {"steps_per_s": asked.workflows * STEPS / took_s}


async def w3(asked: Asked) -> Values:
    async with runtime(asked) as app:
        await run_nothing(app, 20)
        began = time.perf_counter()
        await run_nothing(app, asked.empty)
        return {"processes_per_s": asked.empty / (time.perf_counter() - began)}


async def w4(asked: Asked) -> Values:
    del asked
    return measuring.killed_and_resumed(MODULE)


async def w4_first(asked: Asked) -> Values:
    global holding
    holding = True
    async with runtime(asked, asked.resumed) as app:
        await app.start_many(journey.call() for _ in range(asked.resumed))
        await in_flight.reach(asked.resumed)
        measuring.ready()
        await asyncio.Event().wait()
    return {}


async def w4_second(asked: Asked) -> Values:
    async with runtime(asked, asked.resumed) as app:
        await over.reach(asked.resumed)
        async with asyncio.timeout(measuring.SECONDS_MAX):
            while app.counters.ended < asked.resumed:  # noqa: ASYNC110  # a counter has no event
                await asyncio.sleep(0.002)
        measuring.finished()
    return {}


async def vacuum(asked: Asked) -> None:
    import asyncpg

    connection = await asyncpg.connect(asked.url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def w5(asked: Asked) -> Values:
    async with runtime(asked) as app:
        await run_nothing(app, 20)
        began = time.perf_counter()
        for first in range(0, asked.parked, BATCH):
            await app.start_many(asleep.call() for _ in range(first, min(asked.parked, first + BATCH)))
        await parked.reach(asked.parked)
        fill_s = time.perf_counter() - began
        if asked.postgres:
            await vacuum(asked)
        await asyncio.sleep(2)

        async def start() -> None:
            await (await app.start(nothing))

        return {**await measuring.latencies(asked, start), "parked": asked.parked, "fill_s": fill_s}


if __name__ == "__main__":
    measuring.run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W4-first": w4_first, "W4-second": w4_second, "W5": w5})
