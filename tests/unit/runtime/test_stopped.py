"""A worker that was stopped for a while goes on with what is still its own, and makes no fuss about what is not."""

from __future__ import annotations

import asyncio
import logging

import pytest

import lash
from lash.abc.store import Expire
from lash.core.effect import Entry
from lash.runtime.runtime import Runtime
from lash.runtime.worker import Worker
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, parked, until, virtual


class Slow(MemoryStore):
    """A histories' reader that the test lets go."""

    def __init__(self) -> None:
        super().__init__(simulate.now_ms)
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        self.asked += 1
        await self.go_on.wait()
        return await super().history(row, after_rank)


def worker_of(app: Runtime) -> Worker:
    assert app._opening is not None
    assert app._opening.worker is not None
    return app._opening.worker


@lash.process
async def patient(ctx: lash.Context) -> int:
    return await ctx.signal("go", int)


@virtual
async def test_a_timer_that_comes_after_the_park_keeps_no_resident_body_from_going_on() -> None:
    """After a stop everything is due at once; the store's answer to the park may come before the timer's turn."""
    async with app_on(None, patient, linger="1s", resident=10) as app:
        handle = await app.start(patient, id="p")
        await until(lambda: bool(worker_of(app).leases.kept))
        (kept,) = worker_of(app).leases.kept.values()
        await parked(app, "p")
        worker_of(app)._go_on(kept)
        await handle.signal("go", 7)
        async with asyncio.timeout(60):
            assert await handle == 7
        assert app.counters.resumed_resident == 1


@virtual
async def test_a_run_that_was_woken_as_it_parked_goes_on_with_its_next_lease() -> None:
    async with app_on(None, patient, linger="1s", resident=10) as app:
        handle = await app.start(patient, id="p")
        await until(lambda: bool(worker_of(app).leases.kept))
        (kept,) = worker_of(app).leases.kept.values()
        await parked(app, "p")
        assert kept.run is not None
        kept.run.wake()
        await handle.signal("go", 7)
        async with asyncio.timeout(60):
            assert await handle == 7


@virtual
async def test_who_reads_what_its_follower_wrote_does_not_take_it_for_changed_code() -> None:
    with pytest.MonkeyPatch.context() as patch:
        await _follow(patch)


async def _follow(patch: pytest.MonkeyPatch) -> None:
    """The first worker has claimed the row for its first generation, and reads the journal of the second."""
    told: list[str] = []
    log = logging.getLogger("lash.worker")
    patch.setattr(log, "error", lambda text, *values: told.append(text % values))
    store, tally = Slow(), Tally()

    @lash.process
    async def rounds(ctx: lash.Context, left: int) -> str:
        await ctx.step(tally.note, left)
        await ctx.sleep("1m")
        if left:
            ctx.continue_as_new(left - 1)
        return "done"

    async with app_on(store, rounds, linger="1s", resident=0) as one:
        handle = await one.start(rounds, 1, id="p")
        await parked(one, "p")
        store.go_on.clear()
        before = store.asked
        await until(lambda: store.asked > before)  # it has claimed the row, and does not know its history yet
        worker_of(one).leases.slots.reserved += 64  # it claims nothing more: it is stopped, as far as others can see
        await store.write([Expire(worker_of(one).leases.owner)])
        second = app_on(store, rounds, linger="1s")
        held, store.go_on = store.go_on, asyncio.Event()
        store.go_on.set()
        async with second:
            await until(lambda: tally[0] == 1)
            held.set()
            await asyncio.sleep(1)
            worker_of(one).leases.slots.reserved -= 64
            async with asyncio.timeout(600):
                assert await handle == "done"
    assert [line for line in told if "diverged" in line] == []
