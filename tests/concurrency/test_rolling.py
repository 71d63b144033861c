"""Promise: a fleet is restarted under load, one worker after the other, and nobody notices more than a short delay.

Nothing is lost, nothing that had finished is run again, no attempt is counted, and the slowest of a hundred processes
is at most two seconds later than without restarts.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from lash.core.outcome import Completed
from lash.testing.checkers import check_store, rows_of
from tests.concurrency.crew import Crew
from tests.concurrency.databases import PostgresSchema

WORKERS = 4
RATE = 40
BASELINE_S = 3.0
ADDED_MS_MAX = 2_000
OPTIONS = {"linger": "100ms", "resident": 20, "concurrency": 16, "drain": "10s"}


def percentile(took_ms: list[float], share: float) -> float:
    return sorted(took_ms)[int(len(took_ms) * share)]


async def faults_of(schema: PostgresSchema) -> tuple[int, list[str]]:
    """Every process there is has completed, on the worker that was asked first."""
    store = schema.store()
    await store.open()
    try:
        await check_store(store)
        rows = await rows_of(store)
    finally:
        await store.close()
    faults = [f"{name}: {row.record.outcome}" for name, row in rows.items() if not done(row.record.outcome)]
    faults += [f"{name}: {row.record.attempts} attempts" for name, row in rows.items() if row.record.attempts != 1]
    return len(rows), faults


def done(outcome: object) -> bool:
    return isinstance(outcome, Completed)


def test_a_rolling_restart_under_load_costs_a_short_delay_and_nothing_else(
    schema: PostgresSchema, tmp_path: Path
) -> None:
    with Crew(tmp_path, schema) as crew:
        workers = [crew.worker(**OPTIONS) for _ in range(WORKERS)]
        for worker in workers:
            worker.wait_open()
        stop = crew.flag("stop")
        loader = crew.start("loader", lambda report: [crew.url, report, str(RATE), str(stop)])
        loader.wait_open()
        time.sleep(BASELINE_S)  # sleeps: the load without restarts
        from_ms = time.time_ns() // 1_000_000
        left_s: list[float] = []
        for place, worker in enumerate(list(workers)):
            began = time.monotonic()
            worker.drain()
            assert worker.wait(30) == 0, worker.log.read_text()
            left_s.append(time.monotonic() - began)
            workers[place] = crew.worker(**OPTIONS)
            workers[place].wait_open()
            crew.wait_performed("nap", pid=workers[place].pid)
        until_ms = time.time_ns() // 1_000_000
        stop.touch()
        assert loader.wait(90) == 0, loader.log.read_text()
        for worker in workers:
            worker.drain()
        assert [worker.wait(30) for worker in workers] == [0] * WORKERS
        assert crew.complaints() == []
        took: list[tuple[int, float]] = json.loads(loader.report.read_text())
        performs = crew.performs()
        count, faults = asyncio.run(faults_of(schema))
    assert faults == []
    again = {key: times for key, times in performs.items() if times > 1}
    assert again == {}, "what had been performed was performed again"
    before = [delay for at, delay in took if at < from_ms]
    during = [delay for at, delay in took if from_ms <= at < until_ms]
    print(f"\n{count} processes, {len(performs)} steps; {WORKERS} workers left within {max(left_s):.2f} s each")
    for name, some in (("before", before), ("during", during)):
        middle, last = percentile(some, 0.5), percentile(some, 0.99)
        print(f"{name}: {len(some)} short ones, p50 {middle:.0f} ms, p99 {last:.0f} ms")
    assert min(len(before), len(during)) > 50
    assert percentile(during, 0.99) - percentile(before, 0.99) < ADDED_MS_MAX
