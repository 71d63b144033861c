"""W5, parked work is free: an idle worker beside a hundred thousand parked processes, and what still goes on there.

The parked processes are made once per run, in an OS process of its own (see ``parking``); each round opens a fresh
worker on the same file. At the end some of them are woken, to show that they were real.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import lash
from benchmarks import parking, recorded
from benchmarks.child import SECONDS_MAX, Timed, Values, environment, fresh_url, resident_bytes, serve, url_of
from benchmarks.commits import commits
from benchmarks.floors import BareFile

SETTLE_S = 2
WOKEN_MAX = 20
PAUSE_S = 0.01
TIMER_SPREAD_MS = 23

late_ms: list[float] = []


async def note_lateness(due_ms: int) -> None:
    late_ms.append(time.time_ns() / 1e6 - due_ms)


@lash.process
async def alarm(ctx: lash.Context, due_ms: int) -> None:
    await ctx.sleep_until(datetime.fromtimestamp(due_ms / 1_000, UTC))
    await ctx.step(note_lateness, due_ms)


@lash.process
async def nothing(ctx: lash.Context) -> None:
    del ctx


async def make_parked(url: str, count: int) -> None:
    async with lash.Runtime(url, worker=False) as app:
        await parking.prepare(app, count)


def database(folder: Path, parked: int) -> tuple[str, float]:
    """URL of a file with so many parked processes, and the seconds it took to make, in this round or an earlier one."""
    path, told = folder / f"parked-{parked}.db", folder / f"parked-{parked}.seconds"
    if told.exists():
        return url_of(path), float(told.read_text("ascii"))
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.w5_parked", "prepare", fresh_url(folder, path.stem), str(parked)]
    subprocess.run(command, env=environment(), check=True, timeout=SECONDS_MAX)
    told.write_text(str(time.perf_counter() - began), "ascii")
    return database(folder, parked)


async def idle(app: lash.Runtime, seconds: float) -> Values:
    await asyncio.sleep(min(SETTLE_S, seconds))
    before = await commits(app)
    with Timed("w5-idle") as timed:
        await asyncio.sleep(seconds)
    return {
        "idle_cpu_percent": timed.cpu_s / timed.wall_s * 100,
        "idle_commits_per_s": (await commits(app)).since(before).total / timed.wall_s,
    }


async def starts(app: lash.Runtime, bare: BareFile, count: int) -> Values:
    """One new process at a time, each after a pause in which worker and disk go idle; so does the floor beside it."""
    durable_ms: list[float] = []
    whole_ms: list[float] = []
    floor_ms: list[float] = []
    with Timed("w5-starts"):
        for _ in range(count):
            await asyncio.sleep(PAUSE_S)
            floor_ms.append(bare.one_commit_ms())
            await asyncio.sleep(PAUSE_S)
            began = time.perf_counter()
            handle = await app.start(nothing)
            durable_ms.append((time.perf_counter() - began) * 1_000)
            await handle
            whole_ms.append((time.perf_counter() - began) * 1_000)
    return {
        "start_p50_ms": statistics.median(whole_ms),
        "start_p99_ms": percentile(whole_ms, 99),
        "durable_p50_ms": statistics.median(durable_ms),
        "floor_p50_ms": statistics.median(floor_ms),
        "floor_p99_ms": percentile(floor_ms, 99),
    }


async def timers(app: lash.Runtime, count: int, delay_s: float) -> Values:
    """Processes that sleep until staggered moments; with the full delay they are parked meanwhile."""
    first_ms = time.time_ns() // 1_000_000 + int(delay_s * 1_000)
    calls = [alarm.call(first_ms + number * TIMER_SPREAD_MS) for number in range(count)]
    with Timed("w5-timers"):
        await asyncio.gather(*await app.start_many(calls))
    assert len(late_ms) == count
    assert min(late_ms) >= 0, "a timer fired early"
    return {"timer_late_max_ms": max(late_ms), "timer_late_p50_ms": statistics.median(late_ms)}


async def wake_some(app: lash.Runtime, count: int) -> None:
    page = await app.processes(status="running", name="awaiting_signal", limit=count)
    for row in page:
        handle = app.handle(row.record.spec.id)
        await handle.signal(parking.SIGNAL, "!")
        assert await handle.result(timeout="10s") == parking.TEXT + "!"


async def run(folder: Path, sizes: Mapping[str, float]) -> Values:
    parked = int(sizes["parked"])
    url, prepare_s = database(folder, parked)
    app = lash.Runtime(url)
    app.include(nothing, alarm, parking.awaiting_signal, parking.asleep)
    began = time.perf_counter()
    async with app:
        open_ms = (time.perf_counter() - began) * 1_000
        values = await idle(app, sizes["idle_s"])
        values["rss_mb"] = resident_bytes() / 1e6
        bare = BareFile(folder)
        values |= await starts(app, bare, int(sizes["starts"]))
        bare.close()
        values |= await timers(app, int(sizes["timers"]), sizes["timer_delay_s"])
        await wake_some(app, min(WOKEN_MAX, max(1, parked // 10)))
    left = recorded.count(folder / f"parked-{parked}.db", "SELECT count(*) FROM lash_process WHERE waiting_on NOT NULL")
    assert left >= parked * 0.8, f"only {left} of {parked} are still parked"
    return {**values, "open_ms": open_ms, "prepare_s": prepare_s}


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    return asyncio.run(run(folder, sizes))


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        asyncio.run(make_parked(sys.argv[2], int(sys.argv[3])))
    else:
        serve(measure)
