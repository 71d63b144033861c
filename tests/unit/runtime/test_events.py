"""The log of a process: followed live, once per key, reserved names refused; and work that runs elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.core.event import Event
from lash.core.outcome import Status
from lash.testing import simulate
from lash.testing.faults import FaultyStore
from tests.unit.runtime.kit import Tally, app_on, events_of, memory, row_of, types_of, until, virtual


@virtual
async def test_following_sees_every_event_soon_after_it_was_written() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None:
        for number in range(5):
            await ctx.emit("tick", number)
            await ctx.sleep("700ms")

    async with app:
        handle = await app.start(body)
        seen: list[tuple[Event, int]] = []
        async for event in handle.events(follow=True):
            seen.append((event, simulate.now_ms()))
        assert [event.value() for event, _ in seen if event.type == "tick"] == [0, 1, 2, 3, 4]
        assert [event.sequence for event, _ in seen] == list(range(1, len(seen) + 1))
        assert seen[-1][0].type == "process.completed"
        assert max(at_ms - event.at_ms for event, at_ms in seen) < 100


@virtual
async def test_following_from_another_runtime_sees_them_too() -> None:
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> None:
        for number in range(3):
            await ctx.emit("tick", number)
            await ctx.sleep("2s")

    async with app_on(store, body) as app, app_on(store, worker=False) as outside:
        await app.start(body, id="p")
        found = [event.value() async for event in outside.handle("p").events(follow=True) if event.type == "tick"]
        assert found == [0, 1, 2]


@virtual
async def test_following_may_begin_in_the_middle_and_ends_with_the_process() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None:
        await ctx.emit("one")
        await ctx.emit("two")

    async with app:
        handle = await app.start(body)
        await handle
        every = [event.type async for event in handle.events()]
        assert every == ["process.started", "one", "two", "process.completed"]
        assert [event.type async for event in handle.events(after=2)] == ["two", "process.completed"]
        assert [event.type async for event in handle.events(after=4, follow=True)] == []
        with pytest.raises(lash.InvalidArguments):
            _ = [event async for event in handle.events(after=-1)]
        with pytest.raises(lash.ProcessUnknown):
            _ = [event async for event in app.handle("nobody").events()]


@virtual
async def test_an_event_written_while_the_follower_reads_is_not_missed() -> None:
    """It subscribes first and reads second."""
    from lash.testing.faults import FaultyStore

    class Late(FaultyStore):
        async def events(self, process_id: str, after: int, limit: int) -> Any:
            found = await super().events(process_id, after, limit)
            await asyncio.sleep(0.05)
            return found

    app = app_on(Late(memory()))

    @app.process
    async def body(ctx: lash.Context) -> None:
        for number in range(10):
            await ctx.emit("tick", number)
            await ctx.sleep("30ms")
        await ctx.sleep("30ms")

    async with app:
        handle = await app.start(body)
        began = simulate.now_ms()
        seen = [event.value() async for event in handle.events(follow=True) if event.type == "tick"]
        assert seen == list(range(10))
        assert simulate.now_ms() - began < 1_000


@virtual
async def test_an_outcome_written_while_the_awaiter_reads_is_not_missed() -> None:
    from lash.testing.faults import FaultyStore

    class Late(FaultyStore):
        async def get(self, ids: Any) -> Any:
            found = await super().get(ids)
            await asyncio.sleep(0.05)
            return found

    store = Late(memory())
    app = app_on(store)

    @app.process
    async def body(ctx: lash.Context) -> int:
        await ctx.sleep("20ms")
        return 1

    async with app:
        handle = await app.start(body)
        began = simulate.now_ms()
        assert await handle == 1
        assert simulate.now_ms() - began < 500


@pytest.mark.parametrize("name", ["process.started", "process.mine", "signal.n", "", " ", "x" * 300, "half \ud800"])
@virtual
async def test_reserved_and_unusable_event_names_are_refused(name: str) -> None:
    app = app_on()
    names.append(name)

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            await ctx.emit(names[0])
        except lash.InvalidName as error:
            return error.code
        return ""

    try:
        async with app:
            assert await (await app.start(body, id="p")) == "invalid_name"
            assert await types_of(app, "p") == ["process.started", "process.completed"]
    finally:
        names.clear()


names: list[str] = []


@virtual
async def test_an_emitted_event_is_written_once_over_a_crash() -> None:
    store, tally = memory(), Tally()
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> None:
        await ctx.emit("tick", {"n": 1})
        await ctx.emit("tick", {"n": 1})
        await ctx.step(tally.note, "emitted")
        await ctx.step(gate.wait)

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: tally["emitted"] == 1)
    await simulate.crash(app)
    gate.set()
    async with app_on(store, body) as again:
        await again.handle("p")
        ticks = [event for event in await events_of(again, "p") if event.type == "tick"]
        assert [event.value() for event in ticks] == [{"n": 1}, {"n": 1}]
        assert len({event.key for event in ticks}) == 2


# External processes ------------------------------------------------------------------------------------------------


@virtual
async def test_an_external_process_is_closed_by_whoever_has_its_handle_and_by_no_worker() -> None:
    app = app_on()

    async with app:
        handle = await app.external("build", {"commit": "abc"}, id="e")
        await asyncio.sleep(600)
        row = await row_of(app, "e")
        assert (row.record.status, row.owner, row.record.attempts) == (Status.RUNNING, None, 0)
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(1)
        await app.handle("e").complete({"ok": True})
        assert await waiting == {"ok": True}
        await handle.complete({"ok": True})  # the same outcome again
        for late in (handle.complete({"ok": False}), handle.fail("no"), handle.cancel("no")):
            with pytest.raises(lash.ProcessEnded):
                await late


@virtual
async def test_an_external_process_may_fail_and_is_told_of_a_cancel_request() -> None:
    app = app_on()

    async with app:
        handle = await app.external("build", id="e")
        await handle.cancel("stop")
        await asyncio.sleep(120)
        record = await handle.record()
        assert record.status is Status.RUNNING
        assert record.cancel_requested is not None
        assert record.cancel_requested.reason == "stop"
        await handle.fail("stopped", code="aborted", failure_class="external", raw={"at": 3})
        with pytest.raises(lash.ProcessFailed) as caught:
            await handle
        assert (caught.value.failure_class, caught.value.failure_code, caught.value.raw) == (
            "external", "aborted", {"at": 3},
        )  # fmt: skip


@virtual
async def test_only_external_processes_may_be_closed_from_outside() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handle = await app.start(body)
        for attempt in (handle.complete(1), handle.fail("no")):
            with pytest.raises(lash.NotAuthorised):
                await attempt
        with pytest.raises(lash.ProcessUnknown):
            await app.handle("nobody").complete(1)
        await handle.signal("n", "mine")
        assert await handle == "mine"


@virtual
async def test_an_external_start_is_once_per_id_as_well() -> None:
    app = app_on()

    async with app:
        await app.external("build", {"n": 1}, id="e")
        await app.external("build", {"n": 1}, id="e")
        with pytest.raises(lash.ProcessConflict):
            await app.external("build", {"n": 2}, id="e")
        with pytest.raises(lash.ProcessConflict):
            await app.external("deploy", {"n": 1}, id="e")
        with pytest.raises(lash.InvalidValue):
            await app.external("build", object())
        with pytest.raises(lash.InvalidName):
            await app.external("")


@virtual
async def test_a_body_may_await_an_external_process_through_a_step_or_a_signal() -> None:
    app = app_on()

    async def order(name: str) -> str:
        handle = await app.external("work", id=name)
        return handle.id

    @app.process
    async def body(ctx: lash.Context) -> Any:
        name = await ctx.step(order, "work-1")
        return [name, await ctx.signal("done")]

    async with app:
        handle = await app.start(body)
        await asyncio.sleep(1)
        await app.handle("work-1").complete(5)
        await handle.signal("done", "yes")
        assert await handle == ["work-1", "yes"]


# Awaiting ----------------------------------------------------------------------------------------------------------


@virtual
async def test_a_result_timeout_leaves_the_process_alone() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        await ctx.sleep("10s")
        return "done"

    async with app:
        handle = await app.start(body, id="p")
        with pytest.raises(TimeoutError) as caught:
            await handle.result(timeout="2s")
        assert "'p'" in str(caught.value)
        assert await handle == "done"
        with pytest.raises(lash.InvalidArguments):
            await handle.result(timeout="soon")


@virtual
async def test_an_awaiter_that_gave_up_leaves_nothing_behind() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handle = await app.start(body)
        waiting = [asyncio.create_task(handle.result()) for _ in range(10)]
        await asyncio.sleep(1)
        for task in waiting[:9]:
            task.cancel()
        await asyncio.gather(*waiting[:9], return_exceptions=True)
        await handle.signal("n", "go")
        assert await waiting[9] == "go"
        assert app.hub._waiters == {}


@virtual
async def test_awaiting_what_another_runtime_runs_gives_its_outcome() -> None:
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> str:
        await ctx.sleep("3s")
        return "done"

    async with app_on(store, body) as app, app_on(store, body, worker=False) as outside:
        began = simulate.now_ms()
        handle = await outside.start(body, id="p")
        assert await handle == "done"
        assert simulate.now_ms() - began < 3_500
        assert app.counters.ended == 1


class Gated(FaultyStore):
    """Reads whose answers are held back: what they say is old when it arrives."""

    def __init__(self, inner: Any, name: str) -> None:
        super().__init__(inner)
        self.name = name
        self.read = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def held(self, name: str, found: Any) -> Any:
        if name == self.name and not self.gate.is_set():
            self.read.set()
            await self.gate.wait()
        return found

    async def events(self, process_id: str, after: int, limit: int) -> Any:
        return await self.held("events", await super().events(process_id, after, limit))

    async def news(self, owner: str) -> Any:
        return await self.held("news", await super().news(owner))


@virtual
async def test_what_is_written_while_a_followers_read_is_under_way_is_told_at_once() -> None:
    store = Gated(memory(), "events")
    app = app_on(store)

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handle = await app.start(body)
        await asyncio.sleep(0.1)
        store.gate.clear()
        following = asyncio.create_task(last_of(handle))
        await store.read.wait()
        await handle.signal("n", "end")
        await handle
        await asyncio.sleep(0.1)
        store.gate.set()
        began = simulate.now_ms()
        assert await following == "process.completed"
        assert simulate.now_ms() - began < 1_000


async def last_of(handle: lash.Handle[Any]) -> str:
    found = [event.type async for event in handle.events(follow=True)]
    return found[-1]


@virtual
async def test_a_signal_that_comes_while_news_are_being_read_is_heard_at_once() -> None:
    store = Gated(memory(), "news")
    app = app_on(store, linger="1h")

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        found = []
        for _ in range(2):
            found.append(await ctx.signal("n"))
        return found

    async with app:
        handle = await app.start(body)
        await asyncio.sleep(0.1)
        store.gate.clear()
        other = await app.start(body)
        await asyncio.sleep(0.1)
        await other.signal("n", 0)
        await store.read.wait()
        await handle.signal("n", 1)
        store.gate.set()
        await asyncio.sleep(0.01)
        began = simulate.now_ms()
        await handle.signal("n", 2)
        assert await handle == [1, 2]
        assert simulate.now_ms() - began < 1_000
        await other.signal("n", 3)
        assert await other == [0, 3]


@virtual
async def test_the_last_signal_during_a_look_is_not_left_to_the_slow_look() -> None:
    store, tally = Gated(memory(), "news"), Tally()
    app = app_on(store, linger="1h")

    @app.process
    async def body(ctx: lash.Context) -> Any:
        await ctx.step(tally.note, await ctx.signal("n"))
        return await ctx.signal("end")

    async with app:
        one, two = await app.start(body), await app.start(body)
        await asyncio.sleep(5.1)
        store.gate.clear()
        await one.signal("n", 1)
        await store.read.wait()
        await two.signal("n", 2)
        await asyncio.sleep(0.1)
        store.gate.set()
        await asyncio.sleep(1)
        assert tally.calls == [1, 2]
        for handle in (one, two):
            await handle.signal("end", handle.id)
            assert await handle == handle.id
