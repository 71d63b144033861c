"""Promise: whatever is killed, stopped and continued, no process is lost, and none ends twice or for the wrong reason.

Four workers on one database, replaced when killed; a client that starts, signals, cancels and awaits all the while.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from lash.core import codec
from lash.core.outcome import Completed, Status
from lash.testing.checkers import check_store, rows_of
from tests.concurrency.crew import Crew, Member
from tests.concurrency.databases import Database
from tests.concurrency.jobs import expected

SECONDS = {"sqlite": 14, "postgres": 20}
WORKERS = 4
OPTIONS = {"lease_ttl": "2s", "linger": "100ms", "resident": 20, "concurrency": 16, "drain": "5s"}
PAUSE_S = (0.15, 0.6)
STOP_S = {"sqlite": (0.1, 3.5), "postgres": (0.1, 7.0)}
"""Up to well past the lease; on a server, which frees others from a stopped transaction after 5 s, past that too."""
SETTLE_S = 60
"""For what is left when the chaos is over."""


class Chaos:
    """What happens to the workers, from one seed."""

    def __init__(self, crew: Crew, chance: random.Random) -> None:
        self.crew = crew
        self.chance = chance
        self.workers = [self.hire(number) for number in range(WORKERS)]
        self.wake: dict[Member, float] = {}
        self.leaving: list[Member] = []
        self.kills = 0
        self.stops = 0
        self.drains = 0

    def hire(self, number: int) -> Member:
        """On a file, half of them commit on a thread, as on a slow disk."""
        in_thread = self.crew.database.name == "sqlite" and number % 2 == 1
        return self.crew.worker(**OPTIONS, in_thread=in_thread)

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.chance.uniform(*PAUSE_S))  # sleeps: chaos takes its time
            self.continue_those_due()
            self.strike()
        for worker in list(self.wake):
            worker.go_on()
        self.wake.clear()

    def continue_those_due(self) -> None:
        for worker, due in list(self.wake.items()):
            if time.monotonic() >= due:
                del self.wake[worker]
                worker.go_on()

    def strike(self) -> None:
        number = self.chance.randrange(WORKERS)
        worker = self.workers[number]
        assert worker.alive, f"{worker.name} died by itself:\n{worker.log.read_text()}"
        what = self.chance.random()
        if what < 0.45:
            self.kills += 1
            self.wake.pop(worker, None)
            worker.kill()
            self.workers[number] = self.hire(number)
        elif what < 0.55 and worker not in self.wake and worker.is_open:
            self.drains += 1
            worker.drain()
            self.leaving.append(worker)
            self.workers[number] = self.hire(number)
        elif worker not in self.wake:
            self.stops += 1
            worker.stop()
            self.wake[worker] = time.monotonic() + self.chance.uniform(*STOP_S[self.crew.database.name])


def accepted(crew: Crew) -> Iterator[tuple[str, str, list[int]]]:
    for line in (crew.folder / "accepted").read_text().splitlines():
        process_id, kind, args = json.loads(line)
        yield process_id, kind, args


async def judge(crew: Crew) -> tuple[int, list[str]]:
    """Every process there is, against what it should have come to → (how many, faults)."""
    faults: list[str] = []
    store = crew.database.store()
    await store.open()
    try:
        count = await check_store(store)
        rows = await rows_of(store)
    finally:
        await store.close()
    for process_id, kind, args in accepted(crew):
        row = rows.get(process_id)
        if row is None:
            faults.append(f"{process_id} was accepted and is lost")
            continue
        outcome = row.record.outcome
        value = codec.decode(outcome.value) if isinstance(outcome, Completed) else row.record.status.value
        once = row.record.spec.recovery == "once"
        if value != expected(kind, args) and not (once and value == "abandoned"):
            faults.append(f"{process_id} {kind}{args} came to {outcome}, expected {expected(kind, args)}")
    for process_id, row in rows.items():
        once = row.record.spec.recovery == "once"
        if row.record.status in (Status.RUNNING, Status.FAILED) or (row.record.status is Status.ABANDONED and not once):
            faults.append(f"{process_id} {row.record.spec.name} is {row.record.status}: {row}")
        if row.record.blocked is not None:
            faults.append(f"{process_id} is blocked: {row.record.blocked}")
    return count, faults


def once_twice(crew: Crew) -> list[str]:
    """Steps of what may run only once, performed again."""
    solos = {process_id for process_id, kind, _ in accepted(crew) if kind == "solo"}
    return [key for key, count in crew.performs().items() if count > 1 and key.split("/")[0] in solos]


def test_no_process_is_lost_and_none_ends_twice(tmp_path: Path, database: Database) -> None:
    seed = random.SystemRandom().getrandbits(32)
    seconds = 6 if os.environ.get("LASH_SHORT") else SECONDS[database.name]
    print(f"\nseed {seed}")
    with Crew(tmp_path, database) as crew:
        chaos = Chaos(crew, random.Random(seed))
        for worker in chaos.workers:
            worker.wait_open()
        client = crew.client(seed, seconds)
        began = time.monotonic()
        chaos.run(seconds)
        struck_s = time.monotonic() - began
        code = client.wait(SETTLE_S + 30)
        settled_s = time.monotonic() - began - struck_s
        for worker in chaos.workers:
            worker.wait_open()  # before that it has no way to be asked, and would simply be ended
            worker.drain()
        codes = [worker.wait(30) for worker in (*chaos.workers, *chaos.leaving)]
        assert code == 0, f"seed {seed}\n{client.log.read_text()}"
        assert set(codes) == {0}, f"seed {seed}\n" + "\n".join(worker.log.read_text() for worker in chaos.workers)
        assert crew.complaints() == [], f"seed {seed}"
        count, faults = asyncio.run(judge(crew))
        performs = crew.performs()
        most = max(performs.values())
        again = performs.total() - len(performs)
        print(f"{count} processes, {len(performs)} steps, {again} performed again (one {most} times)")
        print(f"{chaos.kills} kills, {chaos.stops} stops, {chaos.drains} drains in {struck_s:.1f} s")
        print(f"settled after {settled_s:.1f} s; {len(database.proofs())} proofs of life left behind")
        assert faults == [], f"seed {seed}"
        assert most <= 1 + chaos.kills + chaos.stops + chaos.drains, f"seed {seed}"
        assert once_twice(crew) == [], f"seed {seed}"
        assert len(database.proofs()) <= WORKERS, "what dead workers leave is cleared away"
        assert count > 5 * seconds, "hardly anything was started"
