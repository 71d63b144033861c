"""W2, throughput: many processes at once, whose steps share commits. Starting and finishing them is part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import lash
from benchmarks import recorded
from benchmarks.child import Timed, Values, fresh_url, serve, text_of
from benchmarks.commits import commits
from benchmarks.floors import GROUP_ROWS, BareFile
from benchmarks.workloads import PAYLOAD_BYTES

TEXT = text_of(PAYLOAD_BYTES)
STEPS = 10
CONCURRENCY = 100
WARM_UP = 50


async def answer(number: int) -> str:
    del number
    return TEXT


@lash.process
async def ten_steps(ctx: lash.Context) -> int:
    for number in range(STEPS):
        await ctx.step(answer, number)
    return STEPS


async def run_all(app: lash.Runtime, processes: int) -> None:
    handles = await app.start_many(ten_steps.call() for _ in range(processes))
    results = await asyncio.gather(*handles)
    assert results == [STEPS] * processes


async def run(folder: Path, processes: int, groups: int) -> Values:
    app = lash.Runtime(fresh_url(folder, "w2"), concurrency=CONCURRENCY)
    app.include(ten_steps)
    bare = BareFile(folder)
    async with app:
        await run_all(app, WARM_UP)
        already = await commits(app)
        before = bare.group_commits(groups)
        with Timed("w2") as timed:
            await run_all(app, processes)
        after = bare.group_commits(groups)
        committed = (await commits(app)).since(already)
    bare.close()
    recorded.expect(folder / "w2.db", completed=WARM_UP + processes, steps=(WARM_UP + processes) * STEPS)
    steps = processes * STEPS
    floor_rows_per_s = 2 * groups * GROUP_ROWS / (before.wall_s + after.wall_s)
    return {
        "steps_per_s": steps / timed.wall_s,
        "floor_rows_per_s": floor_rows_per_s,
        "percent": steps / timed.wall_s / floor_rows_per_s * 100,
        "cpu_us_per_step": timed.cpu_s / steps * 1e6,
        "commits": committed.total,
        "inline_percent": committed.inline_percent,
    }


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    return asyncio.run(run(folder, int(sizes["processes"]), int(sizes["group_commits"])))


if __name__ == "__main__":
    serve(measure)
