"""Promise: the database may be restarted, or crash, or stay away for longer than a lease, and everything goes on by
itself: every process comes to its end, every step is recorded once, and whoever awaits is told nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import lash
from lash.testing.checkers import check_store
from lash.testing.postgres import ENVIRONMENT, Cluster, postgres_cluster
from tests.crash.scenarios import asked

PROCESSES = 36
FEW = 4
DEADLINE_S = 50
TTL_S = 1.0
OUTAGE_S = 6.5
"""Longer than a lease, and than a call waits for a server that does not answer."""
SOON_S = 6
"""After that the slow look would have come; it must have been noticed that the server is back."""
LONG_S = 3.0
"""Until then a worker that lost its proof of life for good would have been taken for dead."""
STEPS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """One of its own, whatever the other tests use: it is stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(ENVIRONMENT, raising=False)
        with postgres_cluster() as cluster:
            yield cluster


class Work:
    """Steps, timers and a signal, and what was performed of them."""

    def __init__(self) -> None:
        self.performed: Counter[str] = Counter()
        self.named: dict[str, set[str]] = {}

    async def step(self, label: str) -> int:
        key = lash.current().idempotency_key
        self.performed[key] += 1
        self.named.setdefault(key, set()).add(label)
        await asyncio.sleep(0.005)
        return 1

    def register(self, app: lash.Runtime) -> None:
        @app.process
        async def busy(ctx: lash.Context, number: int) -> int:
            done = await ctx.step(self.step, f"{number}.0")
            await ctx.sleep(f"{100 + 20 * number}ms")
            done += await ctx.step(self.step, f"{number}.1")
            done += await ctx.signal("more", int)
            done += sum(await asyncio.gather(*(ctx.step(self.step, f"{number}.{2 + place}") for place in range(2))))
            await ctx.sleep("300ms")
            return done + await ctx.step(self.step, f"{number}.4")

        @app.process(recovery="once")
        async def once(ctx: lash.Context, number: int) -> int:
            done = await ctx.step(self.step, f"once {number}.0")
            await ctx.sleep("400ms")
            return done + await ctx.step(self.step, f"once {number}.1")

        @app.process
        async def long(ctx: lash.Context, number: int) -> int:
            return await ctx.step(self.long_step, f"long {number}")

    async def long_step(self, label: str) -> int:
        await self.step(label)
        await asyncio.sleep(LONG_S)
        return 2

    def faults(self, times_max: int) -> list[str]:
        found = [f"{key} {self.named[key]}: performed {count} times" for key, count in self.performed.items()
                 if count > times_max]  # fmt: skip
        return found + [f"one key for {labels}" for labels in self.named.values() if len(labels) > 1]


async def told(handle: lash.Handle[int]) -> object:
    try:
        return await handle
    except lash.ProcessAbandoned:
        return "abandoned"


class Load:
    """Two runtimes on one database, processes on both, and who awaits them since before the trouble."""

    def __init__(self, url: str, ttl_s: float) -> None:
        self.work = Work()
        self.apps = [
            lash.Runtime(url, lease_ttl=f"{round(ttl_s * 1_000)}ms", linger="50ms", resident=8) for _ in range(2)
        ]
        for app in self.apps:
            self.work.register(app)
        self.handles: list[lash.Handle[int]] = []
        self.awaiting: list[asyncio.Task[object]] = []

    async def begin(self) -> None:
        for number in range(PROCESSES):
            self.handles.append(await self.apps[number % 2].start("busy", number, id=f"b{number}"))
        for number in range(FEW):
            self.handles.append(await self.apps[number % 2].start("once", number, id=f"o{number}"))
            self.handles.append(await self.apps[number % 2].start("long", number, id=f"l{number}"))
        self.awaiting = [asyncio.create_task(told(handle)) for handle in self.handles]

    async def signal(self, number: int) -> None:
        """Sent again while the store is away, as a caller would."""
        await asked(lambda: self.handles[number].signal("more", 10, key="more"))

    async def signal_all(self) -> None:
        for number in range(PROCESSES):
            await self.signal(number)

    async def ends(self) -> list[object]:
        return await asyncio.gather(*self.awaiting)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_server_under_load_is_survived(server: Cluster, mode: str) -> None:
    async def main() -> None:
        load = Load(server.schema_url(), ttl_s=10)
        async with asyncio.timeout(DEADLINE_S), load.apps[0], load.apps[1]:
            await load.begin()
            for number in range(0, PROCESSES, 3):
                await load.signal(number)
            restart = asyncio.create_task(asyncio.to_thread(server.restart, mode))
            await load.signal_all()  # into the middle of it
            await restart
            assert await load.ends() == [15] * PROCESSES + [2, 2] * FEW
            assert await check_store(load.apps[0].store) == PROCESSES + 2 * FEW
            assert load.work.faults(2) == []
            assert len(load.work.performed) == STEPS * PROCESSES + 3 * FEW
            attempts = {(await handle.record()).attempts for handle in load.handles}
            assert attempts == {1}, "a living worker was taken for dead"

    began = time.monotonic()
    asyncio.run(main())
    print(f"\n{mode}: {time.monotonic() - began:.1f} s")


def test_a_server_that_is_away_for_longer_than_a_lease_is_survived(server: Cluster) -> None:
    """Nobody could renew meanwhile: bodies stop before they could be somebody else's, and are taken up again."""

    async def main() -> None:
        load = Load(server.schema_url(), TTL_S)
        async with asyncio.timeout(DEADLINE_S), load.apps[0], load.apps[1]:
            await load.begin()
            for number in range(0, PROCESSES, 3):
                await load.signal(number)
            signalling = asyncio.create_task(load.signal_all())
            await asyncio.to_thread(server.stop, "immediate")
            try:
                await asyncio.sleep(OUTAGE_S)
            finally:
                await asyncio.to_thread(server.start)
            back = time.monotonic()
            await signalling
            ends = await load.ends()
            assert time.monotonic() - back < SOON_S, "those who await were told late"
            assert ends[:PROCESSES] == [15] * PROCESSES
            assert set(ends[PROCESSES:]) <= {2, "abandoned"}
            assert await check_store(load.apps[0].store) == PROCESSES + 2 * FEW
            assert load.work.faults(3) == []

    began = time.monotonic()
    asyncio.run(main())
    print(f"\naway: {time.monotonic() - began:.1f} s")
