"""One worker of the take-over benchmark. In its first life it is killed; in its second it finishes what is there.

    python takeover.py first|second '{"url": …, "processes": …, "done": …, "after": …}'

In the first life every process records ``done`` steps and stays in the next one for ever. In the second life that step
returns at once, ``after`` more follow, and the moments of its progress are printed as JSON (seconds of the system's
monotonic clock, which all OS processes share).
"""
# ruff: noqa: E402  # the first thing a fresh interpreter does here is look at the clock

import time

BORN = time.monotonic()

import asyncio
import json
import os
import sys

import lash

IMPORTED = time.monotonic()
LIFE = sys.argv[1] if len(sys.argv) > 1 else ""
PROFILE = os.environ.get("LASH_BENCHMARK_PROFILE", "")
TEXT = "x" * 198
SECONDS_MAX = 60

began: list[float] = []
in_flight: list[float] = []
over: list[float] = []


async def answer(number: int) -> str:
    del number
    return TEXT


async def hold() -> str:
    in_flight.append(time.monotonic())
    if LIFE == "first":
        await asyncio.Event().wait()
    return TEXT


@lash.process
async def journey(ctx: lash.Context, done: int, after: int) -> int:
    began.append(time.monotonic())
    for number in range(done):
        await ctx.step(answer, number)
    await ctx.step(hold)
    for number in range(after):
        await ctx.step(answer, number)
    over.append(time.monotonic())
    return done + 1 + after


async def first_life(app: lash.Runtime, processes: int, done: int, after: int) -> None:
    await app.start_many(journey.call(done, after) for _ in range(processes))
    while len(in_flight) < processes:  # noqa: ASYNC110  # filled by bodies, on loops of their own
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def second_life(app: lash.Runtime, processes: int) -> None:
    opened = time.monotonic()
    async with asyncio.timeout(SECONDS_MAX):
        while len(over) < processes or app.counters.ended < processes:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.002)
    finished = time.monotonic()
    marks = {"born": BORN, "imported": IMPORTED, "opened": opened, "began": began[0], "replayed": in_flight[-1]}
    print(json.dumps({**marks, "finished": finished, "cpu_s": time.process_time()}), flush=True)


async def main() -> None:
    asked = json.loads(sys.argv[2])
    processes = asked["processes"]
    app = lash.Runtime(asked["url"], concurrency=processes)
    app.include(journey)
    async with app:
        if LIFE == "first":
            await first_life(app, processes, asked["done"], asked["after"])
        else:
            await second_life(app, processes)


def run() -> None:
    if not (PROFILE and LIFE == "second"):
        asyncio.run(main())
        return
    import cProfile

    profile = cProfile.Profile()
    profile.runcall(asyncio.run, main())
    profile.dump_stats(os.path.join(PROFILE, f"takeover.{os.getpid()}.pstats"))


if __name__ == "__main__":
    run()
