"""A client without a worker that starts, signals, cancels and awaits: ``client.py URL SEED SECONDS ACCEPTED``.

Each process the store has accepted gets a line in ACCEPTED. Ends with exit code 0 when every one has come to what it
should; anything else is an exception, and seen.
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
from tests.concurrency.jobs import PROCESSES, expected

IN_FLIGHT = 40
PAUSE_S = (0.0, 0.05)
RESULT_S = 90


class Client:
    def __init__(self, app: lash.Runtime, chance: random.Random, accepted: Path) -> None:
        self.app = app
        self.chance = chance
        self.accepted = accepted
        self.room = asyncio.Semaphore(IN_FLIGHT)

    async def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        number = 0
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < until:
                await self.room.acquire()
                number += 1
                group.create_task(self.one(f"c{number}"))
                await asyncio.sleep(self.chance.uniform(*PAUSE_S))

    async def one(self, process_id: str) -> None:
        try:
            chance = self.chance
            kind = chance.choice(["chain", "chain", "fan", "nap", "ask", "brood", "doomed", "rounds", "solo"])
            args = {
                "chain": [chance.randint(0, 99), chance.randint(1, 4)],
                "fan": [chance.randint(0, 99), chance.randint(1, 5)],
                "nap": [chance.randint(0, 99), chance.choice([5, 60, 300])],
                "brood": [chance.randint(0, 99), chance.randint(1, 3)],
                "rounds": [chance.randint(1, 4), 0],
            }.get(kind, [chance.randint(0, 99)])
            handle: lash.Handle[object] = await self.app.start(kind, *args, id=process_id)  # type: ignore[arg-type]
            with self.accepted.open("a") as file:
                file.write(json.dumps([process_id, kind, args]) + "\n")
            again: lash.Handle[object] = await self.app.start(kind, *args, id=process_id)  # type: ignore[arg-type]
            assert again.id == handle.id
            await self.talk(kind, handle)
            value = await self.outcome(handle)
            allowed = (expected(kind, args), "abandoned") if kind == "solo" else (expected(kind, args),)
            assert value in allowed, f"{process_id} {kind}{args}: {value}"
        finally:
            self.room.release()

    async def talk(self, kind: str, handle: lash.Handle[object]) -> None:
        if kind in ("ask", "doomed"):
            await asyncio.sleep(self.chance.uniform(0, 0.6))
        if kind == "ask":
            for _ in range(2):
                await handle.signal("more", 4, key="more")
                await handle.signal("answer", 3, key="answer")
        if kind == "doomed":
            await handle.cancel("changed my mind")

    async def outcome(self, handle: lash.Handle[object]) -> object:
        try:
            return await handle.result(timeout=RESULT_S)
        except lash.ProcessCancelled:
            return "cancelled"
        except lash.ProcessAbandoned:
            return "abandoned"


async def main(url: str, seed: str, seconds: str, accepted: str) -> None:
    app = lash.Runtime(url, worker=False)
    for process in PROCESSES:
        app.include(process)
    async with app:
        await Client(app, random.Random(int(seed)), Path(accepted)).run(float(seconds))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(main(*sys.argv[1:]))
