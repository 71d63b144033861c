"""Bounded work: a slot is held while a body works and given back while it waits; pokes coalesce; priority and order."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import lash
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, memory, parked, row_of, virtual


@virtual
async def test_no_more_bodies_work_at_once_than_there_are_slots() -> None:
    app = app_on(concurrency=3)
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.1)
        inside -= 1

    @app.process
    async def body(ctx: lash.Context) -> None:
        for _ in range(3):
            await ctx.step(work)
            await ctx.sleep(0.05)

    async with app:
        await asyncio.gather(*[await app.start(body) for _ in range(20)])
    assert most == 3


@virtual
async def test_a_waiting_body_gives_its_slot_back_before_it_parks() -> None:
    app, tally = app_on(concurrency=1, linger="1h"), Tally()

    @app.process
    async def waits(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    @app.process
    async def works(ctx: lash.Context) -> Any:
        return await ctx.step(tally.note, "worked")

    async with app:
        handles = [await app.start(waits) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert await (await app.start(works)) == "worked"
        for number, handle in enumerate(handles):
            await handle.signal("n", number)
        assert await asyncio.gather(*handles) == [0, 1, 2, 3, 4]


@virtual
async def test_many_parked_processes_hold_neither_slot_nor_lease() -> None:
    app = app_on(concurrency=2, linger="1ms")

    @app.process
    async def waits(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handles = await app.start_many(waits.call().options(id=f"p{number}") for number in range(50))
        await asyncio.sleep(1)
        rows = [await row_of(app, handle.id) for handle in handles]
        assert all(row.owner is None and row.record.waiting is not None for row in rows)
        await asyncio.gather(*(handle.signal("n", handle.id) for handle in handles))
        assert await asyncio.gather(*handles) == [handle.id for handle in handles]


@virtual
async def test_a_hundred_pokes_cause_at_most_two_drives() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None: ...

    async with app:
        await asyncio.sleep(0.1)
        before = app.counters.drives
        for _ in range(100):
            app.poke()
        await asyncio.sleep(1)
        assert 1 <= app.counters.drives - before <= 2


@virtual
async def test_an_idle_worker_writes_nothing_but_its_renewals() -> None:
    """Promise 6: parked rows and idle workers cause no write transaction."""
    from lash.testing.faults import FaultyStore

    store = FaultyStore(memory())
    app = app_on(store, lease_ttl="30s", linger="10ms")

    @app.process
    async def waits(ctx: lash.Context) -> Any:
        return await ctx.signal("n", timeout="10h")

    async with app:
        for number in range(20):
            await app.start(waits, id=f"p{number}")
        await asyncio.sleep(30)
        before, began = store.writes, simulate.now_ms()
        await asyncio.sleep(600)
        seconds = (simulate.now_ms() - began) / 1_000
        renewals, slow_looks = seconds / 10, seconds / 5
        assert store.writes - before <= renewals + slow_looks + 2


@virtual
async def test_higher_priority_runs_first_and_then_whoever_came_first() -> None:
    app, order = app_on(concurrency=1, worker=False), []

    async def note(word: str) -> None:
        order.append(word)

    @app.process
    async def body(ctx: lash.Context, word: str) -> None:
        await ctx.step(note, word)

    async with app:
        for word, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -1), ("e", 5)):
            await app.start(body, word, priority=priority)
        while (await app.drive()).claimed:
            await asyncio.sleep(0.1)
    assert order == ["b", "e", "a", "c", "d"]


@virtual
async def test_a_delay_postpones_the_first_run_and_is_met_to_the_moment() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> float:
        return ctx.now().timestamp()

    async with app:
        began = simulate.now_ms() / 1_000
        handles = [await app.start(body, delay=seconds) for seconds in (7, 3.5, 0)]
        found = [await handle - began for handle in handles]
        assert [round(value, 2) for value in found] == [7.0, 3.5, 0.0]


@virtual
async def test_a_timer_of_a_parked_process_fires_in_time() -> None:
    app = app_on(linger="10ms")

    @app.process
    async def body(ctx: lash.Context) -> list[float]:
        moments = [ctx.now().timestamp()]
        for seconds in (0.5, 30, 600):
            await ctx.sleep(seconds)
            moments.append(ctx.now().timestamp())
        return moments

    async with app:
        moments = await (await app.start(body))
        pauses = [round(after - before, 2) for before, after in itertools.pairwise(moments)]
        assert pauses == [0.5, 30.0, 600.0]


@virtual
async def test_a_deadlocked_body_parks_and_says_that_it_waits_for_nothing() -> None:
    app = app_on(linger="10ms")

    @app.process
    async def body(ctx: lash.Context) -> None:
        await asyncio.Event().wait()

    async with app:
        handle = await app.start(body, id="p")
        row = await parked(app, "p")
        assert row.record.waiting is not None
        assert (row.record.waiting.on, row.record.waiting.key, row.record.waiting.until_ms) == ("nothing", None, None)
        assert row.due_ms is None
        await handle.cancel("found it")
        with pytest.raises(lash.ProcessCancelled):
            await handle


@virtual
async def test_what_a_body_waits_for_is_told_by_kind() -> None:
    app = app_on(linger="10ms")

    async def fails() -> None:
        raise OSError

    @app.process
    async def child(ctx: lash.Context) -> None:
        await ctx.signal("never")

    @app.process
    async def body(ctx: lash.Context, kind: str) -> None:
        retry = lash.Retry(attempts=9, initial="1h", maximum="1h")
        if kind == "sleep":
            await ctx.sleep("1h")
        elif kind == "retry":
            await ctx.step(fails, retry=retry)
        elif kind == "signal":
            await ctx.signal("n", timeout="1h")
        elif kind == "process":
            await (await ctx.start(child))
        elif kind == "mixed":
            await asyncio.gather(ctx.signal("n"), ctx.step(fails, retry=retry))
        else:
            await asyncio.gather(ctx.signal("n"), ctx.signal("n"))

    async with app:
        found = {}
        for kind in ("sleep", "retry", "signal", "process", "mixed", "two"):
            await app.start(body, kind, id=kind)
        for kind in ("sleep", "retry", "signal", "process", "mixed", "two"):
            waiting = (await parked(app, kind)).record.waiting
            assert waiting is not None
            found[kind] = (waiting.on, waiting.key, waiting.until_ms is not None)
        assert found == {
            "sleep": ("sleep", None, True),
            "retry": ("retry", None, True),
            "signal": ("signal", "signal:n", True),
            "process": ("process", "process:process.0", False),
            "mixed": ("mixed", "signal:n", True),
            "two": ("signal", None, False),
        }


@virtual
async def test_one_row_in_trouble_does_not_keep_the_others_from_running() -> None:
    """Its stored arguments fit the code no more."""
    store = memory()

    @lash.process(name="body")
    async def before(ctx: lash.Context, number: Any) -> Any: ...

    @lash.process(name="body")
    async def after(ctx: lash.Context, number: int) -> int:
        await ctx.step(asyncio.sleep, 0)
        return number

    async with app_on(store, before, worker=False) as app:
        for number in range(10):
            await app.start(before, number if number != 4 else "four", id=f"p{number}")
    async with app_on(store, after) as app:
        values = await asyncio.gather(*(app.handle(f"p{number}") for number in range(10)), return_exceptions=True)
        assert [value for value in values if not isinstance(value, Exception)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert isinstance(values[4], lash.ProcessFailed)
        assert (values[4].failure_class, values[4].failure_code) == ("execution", "process_recovery_failed")
