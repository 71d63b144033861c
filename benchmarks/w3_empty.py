"""W3, the price of a process: bodies that do nothing, from start to outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import lash
from benchmarks import recorded
from benchmarks.child import Timed, Values, fresh_url, serve
from benchmarks.commits import commits

WARM_UP = 100


@lash.process
async def nothing(ctx: lash.Context) -> None:
    del ctx


async def run_all(app: lash.Runtime, processes: int) -> None:
    handles = await app.start_many(nothing.call() for _ in range(processes))
    await asyncio.gather(*handles)


async def run(folder: Path, processes: int) -> Values:
    path = folder / "w3.db"
    app = lash.Runtime(fresh_url(folder, "w3"))
    app.include(nothing)
    async with app:
        await run_all(app, WARM_UP)
        rows, before = recorded.rows(path), await commits(app)
        with Timed("w3") as timed:
            await run_all(app, processes)
        committed = (await commits(app)).since(before)
    recorded.expect(path, completed=WARM_UP + processes, steps=0)
    return {
        "processes_per_s": processes / timed.wall_s,
        "cpu_us_per_process": timed.cpu_s / processes * 1e6,
        "rows_per_process": (recorded.rows(path) - rows) / processes,
        "commits_per_process": committed.total / processes,
        "inline_percent": committed.inline_percent,
    }


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    return asyncio.run(run(folder, int(sizes["processes"])))


if __name__ == "__main__":
    serve(measure)
