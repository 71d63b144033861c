"""Cancel is a durable request: before, during, after, while parked, during a step, and across a crash."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.core.effect import EntryKind
from lash.limits import CANCEL_GRACE_MS
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, memory, parked, row_of, types_of, until, virtual


async def cancelled(handle: lash.Handle[Any]) -> str:
    with pytest.raises(lash.ProcessCancelled) as caught:
        await handle
    return str(caught.value)


@virtual
async def test_before_its_first_start_a_process_is_closed_at_once() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context) -> None:
        await ctx.step(tally.note, "ran")

    async with app:
        handle = await app.start(body, id="p", delay="1h")
        await handle.cancel("not needed")
        assert "not needed" in await cancelled(handle)
        assert (await row_of(app, "p")).record.attempts == 0
        await asyncio.sleep(4_000 - 500)
    assert tally.calls == []


@virtual
async def test_during_a_step_the_step_is_cancelled_and_the_body_may_clean_up() -> None:
    app, tally = app_on(), Tally()
    began = asyncio.Event()

    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            await tally.note("step cancelled")
            raise

    @app.process
    async def body(ctx: lash.Context) -> None:
        try:
            await ctx.step(slow)
        except asyncio.CancelledError:
            await ctx.step(tally.note, "cleaned")
            raise

    async with app:
        handle = await app.start(body, id="p")
        await began.wait()
        await handle.cancel("enough")
        assert "enough" in await cancelled(handle)
        assert tally.calls == ["step cancelled", "cleaned"]
        entries = await app.store.history((await row_of(app, "p")).row, 0)
        assert [entry.kind for entry in entries] == [EntryKind.CANCEL, EntryKind.STEP]
        assert entries[1].ordinal == 1


@virtual
async def test_a_parked_process_is_made_ready_so_that_it_can_clean_up() -> None:
    app, tally = app_on(linger="10ms"), Tally()

    @app.process
    async def body(ctx: lash.Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            await ctx.step(tally.note, "cleaned")

    async with app:
        handle = await app.start(body, id="p")
        await parked(app, "p")
        began = simulate.now_ms()
        await handle.cancel("enough")
        await cancelled(handle)
        assert simulate.now_ms() - began < 1_000
    assert tally.calls == ["cleaned"]


@pytest.mark.parametrize("resident", [0, 1_000])
@virtual
async def test_a_cancel_made_while_no_worker_lives_reaches_the_body_on_the_next(resident: int) -> None:
    store, tally = memory(), Tally()

    @lash.process
    async def body(ctx: lash.Context) -> None:
        try:
            await ctx.step(tally.note, "before")
            await ctx.signal("never")
        finally:
            await ctx.step(tally.note, "cleaned")

    app = app_on(store, body, resident=resident)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: tally["before"] == 1)
    await asyncio.sleep(0.1)
    await simulate.crash(app)
    async with app_on(store, worker=False) as bystander:
        await bystander.handle("p").cancel("enough")
    async with app_on(store, body) as again:
        await cancelled(again.handle("p"))
    assert tally.calls == ["before", "cleaned"]


@virtual
async def test_a_crash_while_the_body_cleans_up_lets_it_clean_up_again() -> None:
    store, tally = memory(), Tally()
    cleaning = asyncio.Event()

    async def clean() -> None:
        await tally.note("clean")
        cleaning.set()
        if tally["clean"] == 1:
            await asyncio.Event().wait()

    @lash.process
    async def body(ctx: lash.Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            await ctx.step(clean)

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(0.1)
    await app.handle("p").cancel("enough")
    await cleaning.wait()
    await simulate.crash(app)
    async with app_on(store, body) as again:
        assert "enough" in await cancelled(again.handle("p"))
    assert tally.calls == ["clean", "clean"]


@virtual
async def test_a_body_that_finishes_first_wins() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            await ctx.sleep("1h")
        except asyncio.CancelledError:
            return "finished anyway"
        return "slept"

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(0.1)
        await handle.cancel("enough")
        assert await handle == "finished anyway"
        record = await handle.record()
        assert record.cancel_requested is not None
        assert record.status.value == "completed"


@virtual
async def test_after_the_outcome_a_cancel_is_refused() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> int:
        return 1

    async with app:
        handle = await app.start(body)
        assert await handle == 1
        with pytest.raises(lash.ProcessEnded):
            await handle.cancel("too late")
        assert await handle == 1


@virtual
async def test_a_cancel_and_the_end_in_one_transaction_leave_one_outcome() -> None:
    app = app_on()
    gate = asyncio.Event()

    @app.process
    async def body(ctx: lash.Context) -> int:
        await ctx.step(gate.wait)
        return 1

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(0.1)
        gate.set()
        results = await asyncio.gather(handle.cancel("race"), handle.result(), return_exceptions=True)
        assert results[1] == 1 or isinstance(results[1], lash.ProcessCancelled)
        ends = [name for name in await types_of(app, "p") if name in ("process.completed", "process.cancelled")]
        assert len(ends) == 1


SWALLOWERS = ["waits", "sleeps in a step", "sleeps", "retries", "parks on a child"]


@pytest.mark.parametrize("way", SWALLOWERS)
@virtual
async def test_a_body_that_swallows_its_cancel_is_closed_after_the_grace(way: str) -> None:
    app = app_on(linger="10ms")

    async def endless() -> None:
        await asyncio.sleep(1e6)

    async def fails() -> None:
        raise OSError("never works")

    @app.process
    async def forever(ctx: lash.Context) -> None:
        await ctx.signal("never")

    @app.process
    async def body(ctx: lash.Context, way: str) -> None:
        while True:
            try:
                if way == "waits":
                    await ctx.signal("never")
                elif way == "sleeps in a step":
                    await ctx.step(endless)
                elif way == "sleeps":
                    await ctx.sleep("7s")
                elif way == "retries":
                    await ctx.step(fails, retry=lash.Retry(attempts=1_000, initial="1s", maximum="1s"))
                else:
                    await (await ctx.start(forever, detached=True))
            except asyncio.CancelledError:
                pass

    async with app:
        handle = await app.start(body, way, id="p")
        await asyncio.sleep(5)
        began = simulate.now_ms()
        await handle.cancel("enough")
        assert "enough" in await cancelled(handle)
        assert CANCEL_GRACE_MS <= simulate.now_ms() - began <= CANCEL_GRACE_MS + 2_000
        assert (await row_of(app, "p")).owner is None


@virtual
async def test_the_grace_runs_on_while_no_worker_lives() -> None:
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> None:
        while True:
            try:
                await ctx.signal("never")
            except asyncio.CancelledError:
                pass

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(0.1)
    await app.handle("p").cancel("enough")
    await asyncio.sleep(1)
    await simulate.crash(app)
    await asyncio.sleep(3 * CANCEL_GRACE_MS / 1_000)
    async with app_on(store, body) as again:
        began = simulate.now_ms()
        await cancelled(again.handle("p"))
        assert simulate.now_ms() - began < 1_000


@virtual
async def test_equal_reasons_are_one_request_and_another_reason_is_told_but_changes_nothing() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            await ctx.step(tally.note, "cleaned")
            await ctx.sleep("5s")

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(0.1)
        for reason in ("first", "first", "second"):
            await handle.cancel(reason)
        assert "first" in await cancelled(handle)
        assert (await types_of(app, "p")).count("process.cancel_requested") == 2
    assert tally.calls == ["cleaned"]


@virtual
async def test_a_second_cancel_does_not_interrupt_the_clean_up() -> None:
    app, tally = app_on(), Tally()

    async def clean() -> str:
        await asyncio.sleep(5)
        return await tally.note("cleaned")

    @app.process
    async def body(ctx: lash.Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            await ctx.step(clean)

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(0.1)
        await handle.cancel("first")
        await asyncio.sleep(1)
        await handle.cancel("second")
        await cancelled(handle)
    assert tally.calls == ["cleaned"]


@pytest.mark.parametrize("reason", ["", "   ", "x" * 300, "half \ud800", "line\nbreak"])
@virtual
async def test_a_reason_that_cannot_be_kept_is_refused_inside_and_outside_a_body(reason: str) -> None:
    app = app_on()

    @app.process
    async def target(ctx: lash.Context) -> None:
        await ctx.signal("never")

    @app.process
    async def body(ctx: lash.Context) -> str:
        handle = await ctx.start(target, id="target")
        try:
            await handle.cancel(REASONS[0])
        except lash.InvalidName as error:
            return error.code
        return ""

    REASONS.append(reason)
    try:
        async with app:
            assert await (await app.start(body)) == "invalid_name"
            with pytest.raises(lash.InvalidName):
                await app.handle("target").cancel(reason)
            assert (await row_of(app, "target")).record.cancel_requested is None
    finally:
        REASONS.clear()


REASONS: list[str] = []
"""Handed over beside the arguments, which must be JSON."""


@virtual
async def test_a_cancel_of_nobody_is_unknown() -> None:
    async with app_on() as app:
        with pytest.raises(lash.ProcessUnknown):
            await app.handle("nobody").cancel("why not")


@virtual
async def test_an_inner_timeout_and_a_cancel_are_told_apart() -> None:
    """``asyncio.timeout`` must not take the cancel of the process for its own."""
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            async with asyncio.timeout(60):
                await ctx.signal("never")
        except TimeoutError:
            return "timed out"
        return "signal"

    async with app:
        handle = await app.start(body)
        await asyncio.sleep(0.1)
        await handle.cancel("enough")
        await cancelled(handle)
