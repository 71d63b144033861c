"""Starts the same ids as everybody else, at the same moment and in another order.

``racer.py URL REPORT COUNT GO-FILE VALUE``. With an embedded worker, so that each racer would like to run what it
starts. REPORT gets, per id, the outcome or the code of the refusal.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from pathlib import Path

import lash
from tests.concurrency.jobs import PROCESSES


async def race(url: str, report: str, count: str, go: str, value: str) -> None:
    app = lash.Runtime(url, lease_ttl="5s")
    for process in PROCESSES:
        app.include(process)
    async with app:
        Path(report).with_suffix(".open").touch()
        while not Path(go).exists():
            time.sleep(0.0005)

        async def one(number: int) -> object:
            try:
                handle: lash.Handle[object] = await app.start("chain", number, 1, id=f"same-{number}")  # type: ignore[arg-type]
                other: lash.Handle[object] = await app.start("chain", int(value), 1, id=f"rival-{number}")  # type: ignore[arg-type]
            except lash.ProcessConflict as error:
                return [await handle.result(timeout=60), error.code]
            return [await handle.result(timeout=60), await other.result(timeout=60)]

        numbers = list(range(int(count)))
        random.Random(value).shuffle(numbers)
        told = dict(zip(numbers, await asyncio.gather(*map(one, numbers)), strict=True))
    Path(report).write_text(json.dumps([told[number] for number in range(int(count))]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(race(*sys.argv[1:]))
