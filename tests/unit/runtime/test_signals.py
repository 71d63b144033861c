"""Signals are events, once per key, and none is lost: not before the wait, not around its timeout, not over a crash."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import lash
from lash.abc.store import Signal
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, memory, parked, types_of, virtual


@dataclass
class Approval:
    by: str
    cents: int


@virtual
async def test_signals_sent_before_the_wait_are_kept_in_order() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> list[int]:
        await ctx.sleep("5s")
        return [await ctx.signal("n") for _ in range(3)]

    async with app:
        handle = await app.start(body)
        for number in range(3):
            await handle.signal("n", number)
        assert await handle == [0, 1, 2]


@virtual
async def test_the_same_key_and_payload_is_one_signal_and_another_payload_a_conflict() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        first = await ctx.signal("n")
        try:
            return [first, await ctx.signal("n", timeout="5s")]
        except TimeoutError:
            return [first, None]

    async with app:
        handle = await app.start(body, id="p")
        await handle.signal("n", {"a": 1, "b": 2}, key="k")
        await handle.signal("n", {"b": 2, "a": 1}, key="k")
        with pytest.raises(lash.EventConflict):
            await handle.signal("n", {"a": 2}, key="k")
        with pytest.raises(lash.EventConflict):
            await handle.signal("other", {"a": 1, "b": 2}, key="k")
        assert await handle == [{"a": 1, "b": 2}, None]
        assert (await types_of(app, "p")).count("signal.n") == 1
        await handle.signal("n", {"a": 1, "b": 2}, key="k")  # the replay check precedes every other
        with pytest.raises(lash.ProcessEnded):
            await handle.signal("n", 1, key="new")


@virtual
async def test_a_key_of_a_signal_and_a_key_of_an_emitted_event_do_not_meet() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> Any:
        await ctx.emit("tick")
        return await ctx.signal("n")

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(0.1)
        await handle.signal("n", 5, key="p/0")
        assert await handle == 5


@virtual
async def test_a_typed_signal_is_checked_when_it_is_taken() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        found: list[Any] = []
        for _ in range(2):
            try:
                approval = await ctx.signal("approval", Approval)
                found.append([type(approval).__name__, approval.by, approval.cents])
            except lash.InvalidValue as error:
                found.append(error.code)
        return found

    async with app:
        handle = await app.start(body)
        await handle.signal("approval", {"by": "ada"})
        await handle.signal("approval", Approval("ada", 3))
        assert await handle == ["invalid_value", ["Approval", "ada", 3]]


@pytest.mark.parametrize("name", ["", "  ", "x" * 300, "line\nbreak"])
@virtual
async def test_a_signal_needs_a_usable_name_and_key(name: str) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, name: str) -> str:
        try:
            await ctx.signal(name)
        except lash.InvalidName as error:
            return error.code
        return ""

    async with app:
        assert await (await app.start(body, name)) == "invalid_name"
        handle = await app.start(body, "fine", id="waits")
        with pytest.raises(lash.InvalidName):
            await handle.signal(name)
        with pytest.raises(lash.InvalidName):
            await handle.signal("fine", key=name)
        await handle.signal("fine", 1)


@pytest.mark.parametrize("payload", [object(), float("nan"), "\ud800", b"\xff", "x" * (5 * 1024 * 1024)])
@virtual
async def test_a_payload_that_cannot_be_stored_is_refused_and_nothing_written(payload: Any) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handle = await app.start(body, id="p")
        with pytest.raises(lash.InvalidValue):
            await handle.signal("n", payload)
        assert "signal.n" not in await types_of(app, "p")
        await handle.signal("n", "fine")
        assert await handle == "fine"


@virtual
async def test_two_waits_on_one_name_get_one_signal_each_oldest_first() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        async def wait(place: str) -> list[Any]:
            return [place, await ctx.signal("n")]

        return await asyncio.gather(wait("first"), wait("second"))

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(0.1)
        await handle.signal("n", 1)
        await handle.signal("n", 2)
        assert await handle == [["first", 1], ["second", 2]]


@virtual
async def test_a_signal_wakes_a_parked_process_at_once() -> None:
    app = app_on(linger="10ms")

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handle = await app.start(body, id="p")
        row = await parked(app, "p")
        assert row.record.waiting is not None
        assert (row.record.waiting.on, row.record.waiting.key) == ("signal", "signal:n")
        began = simulate.now_ms()
        await handle.signal("n", "now")
        assert await handle == "now"
        assert simulate.now_ms() - began < 20


@virtual
async def test_a_timeout_gives_the_signal_to_whoever_waits_next() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        found: list[Any] = []
        for timeout in ("1s", "1s", "1m"):
            try:
                found.append(await ctx.signal("n", timeout=timeout))
            except TimeoutError:
                found.append("late")
        return found

    async with app:
        handle = await app.start(body)
        await asyncio.sleep(2.5)
        await handle.signal("n", "at last")
        assert await handle == ["late", "late", "at last"]


MOMENTS = [offset / 2 for offset in range(-8, 9)]
"""Half milliseconds around the timeout."""


@pytest.mark.parametrize("crash", ["none", "between", "kill"])
@pytest.mark.parametrize("offset_ms", MOMENTS)
@virtual
async def test_a_signal_around_the_timeout_is_taken_once_by_one_of_the_two_waits(offset_ms: float, crash: str) -> None:
    """Whatever wins, the other wait gets the other signal: none is lost, none is taken twice."""
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        try:
            found = [await ctx.signal("n", timeout=1)]
        except TimeoutError:
            found = []
        while len(found) < 2:
            found.append(await ctx.signal("n"))
        return found

    async def send() -> None:
        await asyncio.sleep(1 + offset_ms / 1_000)
        await store.write([Signal("p", "n", b'"first"', None)])
        await asyncio.sleep(1)
        await store.write([Signal("p", "n", b'"second"', None)])

    app = app_on(store, body, linger="10s" if crash == "none" else "1ms", resident=0)
    await app.open()
    handle = await app.start(body, id="p")
    sender = asyncio.create_task(send())
    if crash == "kill":
        await asyncio.sleep(1 + (offset_ms + 0.25) / 1_000)
        await simulate.crash(app)
        app = app_on(store, body)
        await app.open()
        handle = app.handle("p")
    elif crash == "between":
        await asyncio.sleep(0.5)
        await app.close()
        app = app_on(store, body)
        await app.open()
        handle = app.handle("p")
    assert await handle == ["first", "second"]
    await sender
    await app.close()


@virtual
async def test_every_interleaving_of_signal_and_timeout_in_the_journal() -> None:
    """The signal's commit is put at every place among the writes that the timeout causes, with a crash after each."""
    for place in range(12):
        for crash_after in (None, 0, 1, 2, 3):
            assert await interleaved(place, crash_after) == ["first", "second"], (place, crash_after)


async def interleaved(place: int, crash_after: int | None) -> Any:
    from lash.testing.faults import FaultyStore

    inner = memory()

    class Sending(FaultyStore):
        """Somebody else's signal is committed just before write number ``place``."""

        async def write(self, ops: Any) -> Any:
            await self.maybe()
            return await super().write(ops)

        def write_now(self, ops: Any) -> Any:
            if self.writes + 1 == place:
                return None  # to the slow way, which may wait
            return super().write_now(ops)

        async def maybe(self) -> None:
            if self.writes + 1 == place:
                await inner.write([Signal("p", "n", b'"first"', "once")])

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        found = []
        try:
            found = [await ctx.signal("n", timeout=1)]
        except TimeoutError:
            pass
        while len(found) < 2:
            found.append(await ctx.signal("n"))
        return found

    crash_at = 0 if crash_after is None else place + crash_after
    store = Sending(inner, crash_at, "after")
    app = app_on(store, body, linger="100ms")
    try:
        await app.open()
        await app.start(body, id="p")
        await asyncio.sleep(20)
    except lash.StoreUnavailable:
        pass
    await app.abort()
    app = app_on(inner, body)
    await app.open()
    await app.start(body, id="p")
    await inner.write([Signal("p", "n", b'"first"', "once")])
    await inner.write([Signal("p", "n", b'"second"', "twice")])
    value = await app.handle("p")
    await app.close()
    return value


@virtual
async def test_a_signal_taken_by_a_wait_that_was_cancelled_in_the_same_breath_goes_back() -> None:
    """Two branches end together: the loser's wait had its signal already."""
    app = app_on()

    async def quick() -> str:
        return "step"

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        waits = [asyncio.create_task(ctx.signal("n")), asyncio.create_task(ctx.step(quick))]
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        found = [task.result() for task in done]
        return [*found, await ctx.signal("n")] if found == ["step"] else found

    async with app:
        for number in range(5):
            handle = await app.start(body, id=f"p{number}")
            for _ in range(number):
                await asyncio.sleep(0)
            await handle.signal("n", "signal")
            assert await handle in (["signal"], ["step", "signal"])


@virtual
async def test_a_process_may_signal_another_through_a_step() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def waits(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async def tell(process_id: str) -> None:
        await app.handle(process_id).signal("n", "hello", key=lash.current().idempotency_key)
        await tally.note("told")

    @app.process
    async def tells(ctx: lash.Context) -> None:
        await ctx.step(tell, "w")

    async with app:
        handle = await app.start(waits, id="w")
        await (await app.start(tells))
        assert await handle == "hello"


@virtual
async def test_a_hundred_signals_to_one_process_all_arrive_in_order() -> None:
    app = app_on(linger="5ms")

    @app.process
    async def body(ctx: lash.Context) -> list[int]:
        return [await ctx.signal("n", int) for _ in range(100)]

    async with app:
        handle = await app.start(body)
        for number in range(100):
            await handle.signal("n", number)
            if number % 7 == 0:
                await asyncio.sleep(0.02)
        assert await handle == list(range(100))
