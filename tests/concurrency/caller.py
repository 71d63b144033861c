"""Starts processes and calls each at about the moment at which it comes to its wait.

``caller.py URL SEED FIRST COUNT``. Ends with exit code 0 when every one of them has ended with its value.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys

import lash
from tests.concurrency.jobs import PROCESSES

AT_ONCE = 15
APART_S = (0.02, 0.4)
"""From a start to its first wait on another's worker: on a quick machine, and on one with other work."""
RESULT_S = 45


class Caller:
    def __init__(self, app: lash.Runtime, chance: random.Random) -> None:
        self.app = app
        self.chance = chance
        self.room = asyncio.Semaphore(AT_ONCE)

    async def pair(self, number: int) -> None:
        """Two that share a child; ``number`` is even."""
        async with self.room:
            for n in (number, number + 1):
                await self.app.start("meet", n, id=f"meet-{n}")  # type: ignore[arg-type]
            calls = [self.call(f"meet-{n}", name) for n in (number, number + 1) for name in "ab"]
            await asyncio.gather(*calls, self.call(f"shared-{number // 2}", "end"))
            for n in (number, number + 1):
                value = await self.app.handle(f"meet-{n}").result(timeout=RESULT_S)
                assert value == 1 + (number // 2 + 1) + 1, f"meet-{n}: {value}"

    async def call(self, process_id: str, name: str) -> None:
        await asyncio.sleep(self.chance.uniform(0, self.chance.choice(APART_S)))
        while True:
            try:
                await self.app.handle(process_id).signal(name, 1, key=name)
                return
            except lash.ProcessUnknown:  # the child is not started yet
                await asyncio.sleep(0.001)


async def main(url: str, seed: str, first: str, count: str) -> None:
    app = lash.Runtime(url, worker=False)
    for process in PROCESSES:
        app.include(process)
    async with app:
        caller = Caller(app, random.Random(int(seed)))
        numbers = range(int(first), int(first) + int(count), 2)
        await asyncio.gather(*(caller.pair(number) for number in numbers))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(main(*sys.argv[1:]))
