"""Storage: what one recorded step adds to the database file, its share of the process's own rows included.

Counted is the file once the log is copied into it; the log is a constant on top and told apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import lash
from benchmarks import recorded
from benchmarks.child import Values, fresh_url, serve, text_of
from benchmarks.workloads import LARGE_PAYLOAD_BYTES, PAYLOAD_BYTES


async def answer(number: int, json_bytes: int) -> str:
    del number
    return text_of(json_bytes)


@lash.process
async def steps_of(ctx: lash.Context, steps: int, json_bytes: int) -> int:
    for number in range(steps):
        await ctx.step(answer, number, json_bytes)
    return steps


async def fill(folder: Path, name: str, processes: int, steps: int, json_bytes: int) -> tuple[int, int]:
    """Bytes of the file and of its open log after so much work."""
    app = lash.Runtime(fresh_url(folder, name))
    app.include(steps_of)
    path = folder / f"{name}.db"
    async with app:
        handles = await app.start_many(steps_of.call(steps, json_bytes) for _ in range(processes))
        await asyncio.gather(*handles)
        log = recorded.log_bytes(path)
    recorded.expect(path, completed=processes, steps=processes * steps)
    return recorded.settled_bytes(path), log


async def run(folder: Path, processes: int, steps: int) -> Values:
    nothing, _ = await fill(folder, "storage-none", 0, 0, 0)
    empty, _ = await fill(folder, "storage-empty", processes, 0, 0)
    small, log_bytes = await fill(folder, "storage-small", processes, steps, PAYLOAD_BYTES)
    large, _ = await fill(folder, "storage-large", processes, steps, LARGE_PAYLOAD_BYTES)
    per_small, per_large = (small - nothing) / (processes * steps), (large - nothing) / (processes * steps)
    return {
        "bytes_per_step": per_small,
        "beyond_payload": per_small - PAYLOAD_BYTES,
        "large_bytes_per_step": per_large,
        "large_beyond_payload": per_large - LARGE_PAYLOAD_BYTES,
        "bytes_per_process": (empty - nothing) / processes,
        "log_mb": log_bytes / 1e6,
    }


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    return asyncio.run(run(folder, int(sizes["processes"]), int(sizes["steps"])))


if __name__ == "__main__":
    serve(measure)
