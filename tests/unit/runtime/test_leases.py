"""A lost lease writes nothing, stale renewals are refused, and a worker that leaves hands over what it holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.abc.store import Claim, Expire
from lash.core.effect import EntryKind
from lash.core.outcome import Status
from lash.testing import simulate
from lash.testing.faults import FaultyStore
from tests.unit.runtime.kit import (
    Tally,
    app_on,
    check_fold,
    events_of,
    memory,
    parked,
    row_of,
    types_of,
    until,
    virtual,
)


async def disown(store: Any, app: Any) -> None:
    """Another worker believes this one dead."""
    owner = app._opening.worker.leases.owner
    await store.write([Expire(owner)])


@virtual
async def test_a_body_whose_lease_was_taken_over_is_closed_and_writes_nothing_more() -> None:
    store, tally = memory(), Tally()
    gates = [asyncio.Event(), asyncio.Event()]

    @lash.process
    async def body(ctx: lash.Context) -> str:
        await ctx.step(tally.note, "first")

        async def slow() -> str:
            mine = tally["slow"]
            await tally.note("slow")
            try:
                await gates[mine].wait()
            except asyncio.CancelledError:
                await tally.note(f"cancelled {mine}")
                raise
            return f"worker {mine}"

        value = await ctx.step(slow)
        await ctx.emit("tick", value)
        return value

    one = app_on(store, body, lease_ttl="3s")
    await one.open()
    await one.start(body, id="p")
    await until(lambda: tally["slow"] == 1)
    spec = (await row_of(one, "p")).record.spec
    two = app_on(store, body, lease_ttl="3s")
    await two.open()
    await disown(store, one)
    await until(lambda: tally["slow"] == 2 or tally["cancelled 0"] == 1)
    gates[0].set()
    await asyncio.sleep(5)
    gates[1].set()
    assert await two.handle("p") == await one.handle("p")
    assert len([event for event in await events_of(two, "p") if event.type == "tick"]) == 1
    record = (await row_of(two, "p")).record
    assert record.attempts == 2
    entries = await store.history((await row_of(two, "p")).row, 0)
    assert [entry.ordinal for entry in entries if entry.kind is EntryKind.STEP] == [0, 1]
    await check_fold(two, "p", spec)
    await one.close()
    await two.close()


@virtual
async def test_the_former_owner_counts_its_refused_writes_and_names_them() -> None:
    store = memory()
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> int:
        await ctx.step(gate.wait)
        return 1

    one = app_on(store, body, lease_ttl="1h")
    await one.open()
    await one.start(body, id="p")
    await asyncio.sleep(0.1)
    one._opening._rounds._tasks[2].cancel()  # it does not look for work meanwhile
    async with app_on(store, body, worker=False) as two:
        await disown(store, one)
        assert (await two.drive()).claimed == ("p",)
        gate.set()
        assert await two.handle("p") == 1
        await asyncio.sleep(1)
        assert one.counters.refused_writes >= 1
        assert one.counters.leases_lost == 1
        report = await one.drive()
        assert [(fault.process_id, fault.code) for fault in report.faults] == [("p", "lease_lost")]
    await one.close()


@virtual
async def test_a_worker_that_takes_over_from_itself_stops_its_old_run_first() -> None:
    """Otherwise two runs of one body would be at work in one worker."""
    store, tally = memory(), Tally()
    inside, most = 0, 0

    async def slow() -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            await asyncio.sleep(30)
            return await tally.note("done")
        finally:
            inside -= 1

    @lash.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(slow)

    async with app_on(store, body) as app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(1)
        await disown(store, app)
        assert await handle == "done"
        assert (await row_of(app, "p")).record.attempts == 2
    assert (most, tally.calls) == (1, ["done"])


@virtual
async def test_a_renewal_notices_a_take_over_even_if_the_body_writes_nothing() -> None:
    store, tally = memory(), Tally()

    async def endless() -> None:
        try:
            await tally.note("began")
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await tally.note("stopped")
            raise

    @lash.process
    async def body(ctx: lash.Context) -> None:
        await ctx.step(endless)

    one = app_on(store, body, lease_ttl="3s")
    await one.open()
    await one.start(body, id="p")
    await until(lambda: tally["began"] == 1)
    async with app_on(store, body, worker=False) as two:
        await disown(store, one)
        await two.drive()
        await asyncio.sleep(2)
        assert tally["stopped"] == 1
        assert one.counters.leases_lost == 1
        await two.handle("p").cancel("done")
        with pytest.raises(lash.ProcessCancelled):
            await two.handle("p")
    await one.close()


@virtual
async def test_a_worker_that_cannot_renew_gives_up_before_its_lease_runs_out() -> None:
    """It may go on only as long as nobody else can have the row."""
    inner, tally = memory(), Tally()

    class Cut(FaultyStore):
        cut = False

        def write_now(self, ops: Any) -> Any:
            if self.cut:
                raise lash.StoreUnavailable("the network is cut")
            return super().write_now(ops)

    async def endless() -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await tally.note(simulate.now_ms())
            raise

    @lash.process
    async def body(ctx: lash.Context) -> None:
        await ctx.step(endless)

    store = Cut(inner)
    one = app_on(store, body, lease_ttl="6s")
    await one.open()
    await one.start(body, id="p")
    await asyncio.sleep(0.1)
    row = await row_of(one, "p")
    store.cut = True
    await asyncio.sleep(20)
    assert row.until_ms is not None
    assert tally.calls
    assert tally.calls[0] <= row.until_ms + 2_000  # the last renewal that got through counts
    store.cut = False
    await one.close()


@virtual
async def test_a_lease_that_ran_out_but_was_taken_by_nobody_is_still_good() -> None:
    store = memory()
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> int:
        await ctx.step(gate.wait)
        return 1

    one = app_on(store, body, lease_ttl="3s")
    await one.open()
    await asyncio.sleep(0.1)  # its first look for work is over
    one._opening._rounds._tasks[0].cancel()  # its renewals stop: only its own writes tell
    await one.start(body, id="p")
    row = await row_of(one, "p")
    assert row.until_ms is not None
    store._tables.rows[row.row].until_ms = row.until_ms - 60_000
    gate.set()
    assert await one.handle("p") == 1
    assert (await row_of(one, "p")).record.attempts == 1
    await one.close()


@virtual
async def test_a_worker_that_was_stopped_past_its_leases_asks_what_it_holds_before_it_goes_on() -> None:
    """A retry that fell due meanwhile is not performed by a worker that lost the row: it would be for nothing."""
    store, tally = memory(), Tally()

    async def flaky() -> str:
        await tally.note("attempt")
        if tally["attempt"] == 1:
            raise ConnectionError
        return "done"

    @lash.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(flaky, retry=lash.Retry(attempts=5, initial="5s"))

    one = app_on(store, body, lease_ttl="60s", linger="60s")
    await one.open()
    await one.start(body, id="p")
    await until(lambda: tally["attempt"] == 1)
    worker = one._opening.worker  # type: ignore[union-attr]
    assert worker is not None
    await asyncio.sleep(1)
    await store.write([Expire(worker.leases.owner), Claim("peer", worker.lanes, 1, 60_000)])
    worker.leases._renewed_at -= 61  # as if it had been stopped for that long
    await asyncio.sleep(10)
    assert tally["attempt"] == 1
    assert one.counters.leases_lost == 1
    assert (await row_of(one, "p")).owner == "peer"
    await one.close()


@virtual
async def test_closing_lets_steps_in_flight_finish_and_records_them() -> None:
    store, tally = memory(), Tally()

    async def slow(number: int) -> int:
        await asyncio.sleep(2)
        return await tally.note(number)

    @lash.process
    async def body(ctx: lash.Context) -> list[int]:
        first = await asyncio.gather(ctx.step(slow, 1), ctx.step(slow, 2))
        return [*first, await ctx.step(slow, 3)]

    app = app_on(store, body, drain="10s")
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(0.5)
    began = simulate.now_ms()
    await app.close()
    assert 1_400 <= simulate.now_ms() - began < 2_000
    assert sorted(tally.calls) == [1, 2]
    async with app_on(store, body) as again:
        assert await again.handle("p") == [1, 2, 3]
        assert (await row_of(again, "p")).record.attempts == 1
    assert sorted(tally.calls) == [1, 2, 3]


@virtual
async def test_a_step_longer_than_the_drain_is_cut_off_and_performed_again_elsewhere() -> None:
    store, tally = memory(), Tally()

    async def slow() -> str:
        await tally.note("began")
        await asyncio.sleep(60)
        return await tally.note("ended")

    @lash.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(slow)

    app = app_on(store, body, drain="5s")
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(1)
    began = simulate.now_ms()
    await app.close()
    assert 5_000 <= simulate.now_ms() - began < 5_500
    async with app_on(store, body) as again:
        began = simulate.now_ms()
        assert await again.handle("p") == "ended"
        assert simulate.now_ms() - began < 61_000, "the row was not handed over at once"
        assert (await row_of(again, "p")).record.attempts == 1
    assert tally.calls == ["began", "began", "ended"]


@virtual
async def test_closing_parks_what_waits_and_a_peer_goes_on_at_once() -> None:
    store = memory()

    @lash.process
    async def waits(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    @lash.process
    async def sleeps(ctx: lash.Context) -> str:
        await ctx.sleep("10s")
        return "slept"

    app = app_on(store, waits, sleeps, linger="1h")
    await app.open()
    await app.start(waits, id="w")
    await app.start(sleeps, id="s")
    await asyncio.sleep(1)
    began = simulate.now_ms()
    await app.close()
    assert simulate.now_ms() - began < 100
    async with app_on(store, waits, sleeps) as again:
        for name in ("w", "s"):
            row = await row_of(again, name)
            assert row.record.waiting is not None
            assert row.owner is None
        await again.handle("w").signal("n", "go")
        assert await again.handle("w") == "go"
        assert await again.handle("s") == "slept"
        assert 8_900 <= simulate.now_ms() - began < 9_500


@virtual
async def test_closing_while_a_timer_is_due_and_a_step_is_in_flight_does_not_spin() -> None:
    """The due timer is left to the next worker; meanwhile the loop has nothing to do."""
    store = memory()
    turns = 0

    async def slow() -> str:
        nonlocal turns
        for _ in range(20):
            await asyncio.sleep(0.1)
            turns += 1
        return "done"

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        return await asyncio.gather(ctx.step(slow), ctx.sleep("1s"), ctx.sleep("1500ms"))

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(0.5)
    await app.close()
    assert turns == 20
    async with app_on(store, body) as again:
        assert await again.handle("p") == ["done", None, None]


@virtual
async def test_once_may_finish_within_the_drain_and_is_abandoned_after_it() -> None:
    store = memory()

    @lash.process(recovery="once")
    async def body(ctx: lash.Context, seconds: float) -> str:
        await ctx.sleep(seconds)
        await ctx.sleep(seconds)
        return "done"

    app = app_on(store, body, drain="5s")
    await app.open()
    await app.start(body, 1.0, id="quick")
    await app.start(body, 100.0, id="slow")
    owner = (await row_of(app, "slow")).owner
    await asyncio.sleep(0.5)
    await app.close()
    async with app_on(store, worker=False) as outside:
        assert await outside.handle("quick") == "done"
        with pytest.raises(lash.ProcessAbandoned) as caught:
            await outside.handle("slow")
        assert caught.value.raw == {"writer": "owner_drain", "owner": owner, "attempt": 1}


@virtual
async def test_a_start_that_arrives_while_closing_is_left_to_the_next_worker() -> None:
    store, tally = memory(), Tally()

    @lash.process
    async def body(ctx: lash.Context, number: int) -> int:
        return await ctx.step(tally.note, number)

    app = app_on(store, body)
    await app.open()
    starting = [asyncio.create_task(app.start(body, number, id=f"p{number}")) for number in range(5)]
    await asyncio.sleep(0)
    await app.close()
    started = await asyncio.gather(*starting, return_exceptions=True)
    async with app_on(store, body) as again:
        for number, result in enumerate(started):
            if isinstance(result, lash.Handle):
                assert await again.handle(f"p{number}") == number
            else:
                assert isinstance(result, (lash.RuntimeNotOpen, lash.StoreUnavailable))


@virtual
async def test_drive_makes_one_pass_and_waits_for_nobody() -> None:
    app = app_on(worker=False)
    gate = asyncio.Event()

    @app.process
    async def body(ctx: lash.Context) -> str:
        await ctx.step(gate.wait)
        return "done"

    async with app:
        for number in range(3):
            await app.start(body, id=f"p{number}")
        await asyncio.sleep(10)
        assert {(await row_of(app, f"p{number}")).record.attempts for number in range(3)} == {0}
        report = await app.drive()
        assert sorted(report.claimed) == ["p0", "p1", "p2"]
        assert (await app.drive()).claimed == ()
        gate.set()
        assert await app.handle("p0") == "done"


@virtual
async def test_driving_twice_at_once_makes_one_worker() -> None:
    app = app_on(worker=False)

    @app.process
    async def body(ctx: lash.Context) -> int:
        return 1

    async with app:
        await app.start(body, id="p")
        reports = await asyncio.gather(*(app.drive() for _ in range(5)))
        assert sorted(name for report in reports for name in report.claimed) == ["p"]
        assert len(await app.store.workers()) == 1


@virtual
async def test_a_lost_resident_body_is_closed_when_its_row_comes_back() -> None:
    store, closed = memory(), []

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        try:
            return [await ctx.signal("n"), await ctx.signal("n")]
        finally:
            closed.append(1)

    one = app_on(store, body, linger="5ms")
    await one.open()
    await one.start(body, id="p")
    await parked(one, "p")
    async with app_on(store, body, linger="5ms", worker=False) as two:
        await store.write([])
        one._opening._rounds._tasks[2].cancel()  # worker one does not look for a while
        await two.handle("p").signal("n", 1)
        assert (await two.drive()).claimed == ("p",)
        await parked(two, "p")
        await two.handle("p").signal("n", 2)
        report = await one.drive()
        if report.claimed:
            assert len(closed) >= 1
        assert await two.handle("p") == [1, 2]
    await one.close()


@virtual
async def test_status_and_types_told_of_a_whole_life() -> None:
    app = app_on(linger="5ms")

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handle = await app.start(body, id="p")
        assert await handle.status() is Status.RUNNING
        await parked(app, "p")
        await handle.signal("n", 1)
        await handle
        assert await types_of(app, "p") == [
            "process.started", "process.waiting", "signal.n", "process.resumed", "process.completed",
        ]  # fmt: skip
