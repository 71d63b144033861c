"""A steady load: so many short processes a second until told to stop. ``loader.py URL REPORT RATE STOP-FILE``.

REPORT gets, per process, when it was started (epoch milliseconds) and how long it took to its outcome (milliseconds).
Others that take longer, and wait and sleep, go with them; they count for nothing but must end as they should.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

import lash
from tests.concurrency.jobs import PROCESSES, expected

LONGER_EVERY = 8
RESULT_S = 60


class Loader:
    def __init__(self, app: lash.Runtime) -> None:
        self.app = app
        self.took: list[tuple[int, float]] = []

    async def run(self, rate: float, stop: Path) -> None:
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        async with asyncio.TaskGroup() as group:
            while not stop.exists():
                group.create_task(self.short(number))
                if number % LONGER_EVERY == 0:
                    group.create_task(self.longer(number))
                number += 1
                await asyncio.sleep(max(0.0, began + number / rate - loop.time()))

    async def short(self, number: int) -> None:
        began_ms, began = time.time_ns() // 1_000_000, time.monotonic()
        handle: lash.Handle[object] = await self.app.start("naps", 2, 2, id=f"short-{number}")  # type: ignore[arg-type]
        await handle.result(timeout=RESULT_S)
        self.took.append((began_ms, (time.monotonic() - began) * 1_000))

    async def longer(self, number: int) -> None:
        kind, args = [("nap", [number, 300]), ("ask", [number]), ("brood", [number, 2])][number // LONGER_EVERY % 3]
        handle: lash.Handle[object] = await self.app.start(kind, *args, id=f"longer-{number}")  # type: ignore[arg-type]
        if kind == "ask":
            await asyncio.sleep(0.5)
            await handle.signal("answer", 3)
            await handle.signal("more", 4)
        value = await handle.result(timeout=RESULT_S)
        assert value == expected(kind, args), f"{kind} {args}: {value}"


async def main(url: str, report: str, rate: str, stop: str) -> None:
    app = lash.Runtime(url, worker=False)
    for process in PROCESSES:
        app.include(process)
    async with app:
        Path(report).with_suffix(".open").touch()
        loader = Loader(app)
        await loader.run(float(rate), Path(stop))
    Path(report).write_text(json.dumps(loader.took))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(main(*sys.argv[1:]))
