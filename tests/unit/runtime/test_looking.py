"""Looks at the store are made for a reason: who awaits what runs here is told, and a free slot is looked for work only
where there was none before. On a server every look is a message.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import lash
from lash.abc.store import Expire
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from tests.unit.runtime.kit import app_on, until, virtual


class Counting(MemoryStore):
    """Counts its looks."""

    def __init__(self) -> None:
        super().__init__(simulate.now_ms)
        self.looks: Counter[str] = Counter()
        self.asked: list[list[str]] = []

    async def not_running(self, ids: Any) -> list[str]:
        self.looks["not_running"] += 1
        self.asked.append(list(ids))
        return await super().not_running(ids)

    async def next_due_ms(self, lanes: Any) -> int | None:
        self.looks["next_due"] += 1
        return await super().next_due_ms(lanes)


class Deaf(Counting):
    """Hears no notice."""

    def listen(self, changed: Any) -> None:
        del changed


@lash.process
async def quick(ctx: lash.Context, number: int) -> int:
    return number


@lash.process
async def patient(ctx: lash.Context) -> int:
    return await ctx.signal("go", int)


@virtual
async def test_awaiting_what_runs_here_asks_nobody() -> None:
    store = Counting()
    app = app_on(store, quick)
    async with app:
        handles = [await app.start(quick, number) for number in range(5)]
        before = store.looks["not_running"]
        handle = await app.start(quick, 5)
        assert await handle == 5
        await asyncio.sleep(0.05)  # a look would be made by now
        assert store.looks["not_running"] == before
        assert [await other for other in handles] == list(range(5))  # ended before they were awaited: found by a look
        assert store.looks["not_running"] > before


@virtual
async def test_all_who_begin_to_wait_together_share_one_look() -> None:
    store = Counting()
    app = app_on(store, patient, concurrency=2, linger="0ms")
    async with app:
        handles = [await app.start(patient) for _ in range(20)]
        await until(
            lambda: (
                app._opening is not None
                and app._opening.worker is not None
                and app._opening.worker.leases.counters.parked == 20
            )
        )
        store.asked.clear()
        waiting = [asyncio.ensure_future(handle.result()) for handle in handles]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await until(lambda: bool(store.asked))
        assert len(store.asked[0]) == 20
        for number, handle in enumerate(handles):
            await handle.signal("go", number)
        assert await asyncio.gather(*waiting) == list(range(20))


@virtual
async def test_whoever_awaits_a_process_lost_from_here_hears_its_outcome_without_a_notice() -> None:
    store = Deaf()
    one, two = app_on(store, patient, lease_ttl="3s"), app_on(store, patient)
    async with one:
        handle = await one.start(patient, id="p")
        waiting = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0.1)
        assert one._opening is not None
        assert one._opening.worker is not None
        await store.write([Expire(one._opening.worker.leases.owner)])
        async with two:
            await two.handle("p").signal("go", 7)
            assert await asyncio.wait_for(waiting, 2) == 7  # with the next renewal, long before the slow look


@virtual
async def test_a_slot_given_back_is_a_reason_to_look_only_where_there_was_none() -> None:
    store = Counting()
    app = app_on(store, quick, concurrency=4)
    async with app:
        assert await (await app.start(quick, 1)) == 1
        await asyncio.sleep(0.2)
        before = store.looks["next_due"]
        assert await (await app.start(quick, 2)) == 2
        await asyncio.sleep(0.2)
        assert store.looks["next_due"] - before <= 1
        handles = await app.start_many([quick.call(number) for number in range(40)])  # ten times the slots
        assert await asyncio.gather(*handles) == list(range(40))
