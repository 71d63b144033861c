"""Memory: a parked process is a row, so beyond the resident bodies it takes nothing from the worker's memory.

After a warm-up the resident bodies are as many as they may be; then more processes park, and what is held is compared.
The count of bodies is exact. The bytes allow for what the allocator and bounded caches do: one reference that stayed
behind for each process would take more than that.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lash
from benchmarks.child import Values, fresh_url, resident_bytes, serve, text_of
from lash.runtime.bodyrun import BodyRun

RESIDENT = 10
AT_ONCE = 20
SECONDS_MAX = 120
TEXT = text_of(1_000)


@lash.process
async def waiting(ctx: lash.Context, text: str) -> str:
    await ctx.signal("never")
    return text


@dataclass(frozen=True, slots=True)
class Held:
    """What this OS process holds at one moment."""

    bodies: int
    objects: int
    python_bytes: int
    resident_bytes: int


def held() -> Held:
    gc.collect()
    objects = gc.get_objects()
    bodies = sum(isinstance(item, BodyRun) for item in objects)
    return Held(bodies, len(objects), tracemalloc.get_traced_memory()[0], resident_bytes())


async def park(app: lash.Runtime, count: int) -> None:
    """A few at a time, so that the peak of starting them is not taken for what stays."""
    for _ in range(0, count, AT_ONCE):
        await park_at_once(app, AT_ONCE)


async def park_at_once(app: lash.Runtime, count: int) -> None:
    target = app.counters.parked + count
    await app.start_many(waiting.call(TEXT) for _ in range(count))
    async with asyncio.timeout(SECONDS_MAX):
        while app.counters.parked < target:  # noqa: ASYNC110  # a counter has no event
            await asyncio.sleep(0.01)


async def run(folder: Path, warm: int, parked: int) -> Values:
    app = lash.Runtime(fresh_url(folder, "memory"), resident=RESIDENT, linger="10ms")
    app.include(waiting)
    tracemalloc.start()
    async with app:
        await park(app, warm)
        before = held()
        await park(app, parked)
        after = held()
    tracemalloc.stop()
    return {
        "bodies_beyond_resident": max(0, after.bodies - RESIDENT),
        "objects_per_process": (after.objects - before.objects) / parked,
        "bytes_per_process": (after.python_bytes - before.python_bytes) / parked,
        "rss_bytes_per_process": (after.resident_bytes - before.resident_bytes) / parked,
    }


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    return asyncio.run(run(folder, int(sizes["warm"]), int(sizes["parked"])))


if __name__ == "__main__":
    serve(measure)
