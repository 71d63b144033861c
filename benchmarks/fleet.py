"""FLEET, what only a shared server has: rows claimed in pages, a start in one OS process that runs in another, and two
workers where one was. PostgreSQL is started for it, with fsync, and listens on a socket.

Times are of the system's monotonic clock, which the OS processes of one machine share.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import lash
from benchmarks.child import ROOT, Values, environment, serve, text_of
from benchmarks.workloads import PAYLOAD_BYTES
from lash.abc.store import Claim, Claims, Enlist, Start
from lash.core.process import Lane, ProcessSpec, definition_of, lane_of
from lash.limits import CLAIM_PAGE_MAX
from lash.stores.postgres import PostgresStore
from lash.testing.postgres import Cluster, postgres_cluster

TEXT: Final = text_of(PAYLOAD_BYTES)
STEPS: Final = 10
BATCH: Final = 1_000
READY: Final = "ready"
ARGS: Final = b"[[],{}]"


async def moment() -> float:
    return time.monotonic()


async def answer(number: int) -> str:
    del number
    return TEXT


@lash.process
async def when(ctx: lash.Context) -> float:
    return await ctx.step(moment)


@lash.process
async def work(ctx: lash.Context) -> None:
    for number in range(STEPS):
        await ctx.step(answer, number)


def app_on(url: str, worker: bool) -> lash.Runtime:
    app = lash.Runtime(url, worker=worker, concurrency=100)
    app.include(when)
    app.include(work)
    return app


# Claims ------------------------------------------------------------------------------------------------------------


async def claims_per_s(url: str, rows: int) -> float:
    store = PostgresStore(url)
    await store.open()
    specs = [spec_of(number) for number in range(rows)]
    for first in range(0, rows, BATCH):
        await store.write([Start(spec) for spec in specs[first : first + BATCH]])
    lane: Lane = lane_of(specs[0])
    await store.write([Enlist("w", [lane], b"{}", 60_000)])
    began, claimed = time.perf_counter(), 0
    while claimed < rows:
        (claims,) = await store.write([Claim("w", [lane], CLAIM_PAGE_MAX, 600_000)])
        assert isinstance(claims, Claims)
        claimed += len(claims.rows)
    took_s = time.perf_counter() - began
    await store.close()
    return rows / took_s


def spec_of(number: int) -> ProcessSpec:
    return ProcessSpec(f"p{number}", "python", "job", "", ARGS, definition_of("python", "job", ARGS))


# Workers of their own ----------------------------------------------------------------------------------------------


async def serve_work(url: str) -> None:
    """In an OS process of its own: a worker, until it is asked to leave."""
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    async with app_on(url, worker=True):
        print(READY, flush=True)
        await leave.wait()


@contextmanager
def worker_on(url: str) -> Generator[None]:
    command = [sys.executable, "-m", "benchmarks.fleet", "worker", url]
    child = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == READY
        yield
    finally:
        child.terminate()
        child.wait(60)


async def delays_ms(url: str, starts: int) -> list[float]:
    """From the moment a start was committed here until its first step begins in the worker."""
    delays: list[float] = []
    async with app_on(url, worker=False) as app:
        for _ in range(starts):
            handle = await app.start(when)
            started = time.monotonic()
            delays.append((await handle - started) * 1_000)
            await asyncio.sleep(0.02)
    return sorted(delays)


async def steps_per_s(url: str, processes: int) -> float:
    async with app_on(url, worker=False) as app:
        await asyncio.gather(*await app.start_many(work.call() for _ in range(processes // 10)))  # a warm-up
        began = time.perf_counter()
        await asyncio.gather(*await app.start_many(work.call() for _ in range(processes)))
        return processes * STEPS / (time.perf_counter() - began)


def with_workers(cluster: Cluster, workers: int, processes: int) -> float:
    url = cluster.schema_url()
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(worker_on(url))
        return asyncio.run(steps_per_s(url, processes))


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    del folder
    processes = int(sizes["processes"])
    with postgres_cluster(durable=True) as cluster:
        claimed = asyncio.run(claims_per_s(cluster.schema_url(), int(sizes["claims"])))
        url = cluster.schema_url()
        with worker_on(url):
            delays = asyncio.run(delays_ms(url, int(sizes["starts"])))
        one = with_workers(cluster, 1, processes)
        two = with_workers(cluster, 2, processes)
    return {
        "claims_per_s": claimed,
        "notice_p50_ms": statistics.median(delays),
        "notice_p99_ms": delays[int(len(delays) * 0.99)],
        "one_worker_steps_per_s": one,
        "two_workers_steps_per_s": two,
        "two_workers": two / one,
    }


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        asyncio.run(serve_work(sys.argv[2]))
    else:
        serve(measure)
