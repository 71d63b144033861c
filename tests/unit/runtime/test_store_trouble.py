"""A store that fails loses nothing: whatever the write was, the row is put back and the process ends well later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import lash
from lash.abc.store import Claim, Finish, Look, Op, Park, Put, Release, Renew, Signal, Start, Verdict
from lash.core.outcome import Status
from lash.testing import simulate
from lash.testing.faults import FaultyStore
from tests.unit.runtime.kit import Tally, app_on, check_fold, events_of, memory, row_of, virtual


class Failing(FaultyStore):
    """Fails the writes for which ``bad(ops)`` holds, before or after committing them."""

    def __init__(self, inner: Any, when: Any = "before") -> None:
        super().__init__(inner, 0, when)
        self.bad: Callable[[list[Op]], bool] = lambda ops: False
        self.failed = 0

    def write_now(self, ops: Any) -> list[Verdict] | None:
        self._fail_before(ops)
        verdicts = super().write_now(ops)
        if verdicts is not None:
            self._fail_after(ops)
        return verdicts

    async def write(self, ops: Any) -> list[Verdict]:
        self._fail_before(ops)
        verdicts = await super().write(ops)
        self._fail_after(ops)
        return verdicts

    def _fail_before(self, ops: Any) -> None:
        if self.when == "before" and self.bad(list(ops)):
            self.failed += 1
            raise lash.StoreUnavailable("the disk is full")

    def _fail_after(self, ops: Any) -> None:
        if self.when == "after" and self.bad(list(ops)):
            self.failed += 1
            raise lash.StoreUnavailable("the answer was lost")


async def insist(work: Callable[[], Any]) -> Any:
    """As a caller does whose write shared a transaction that failed: repeat it."""
    for _ in range(10):
        try:
            return await work()
        except lash.StoreUnavailable:
            await asyncio.sleep(0.5)
    raise AssertionError("the store never came back")


KINDS: list[type[Any]] = [Put, Finish, Park, Claim, Look, Release, Renew]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@virtual
async def test_a_failing_write_of_any_kind_loses_nothing(kind: type[Any], times: int, when: str) -> None:
    store, tally = Failing(memory(), when), Tally()
    store.bad = lambda ops: any(isinstance(op, kind) for op in ops) and store.failed < times

    @lash.process
    async def body(ctx: lash.Context, number: int) -> list[Any]:
        first = await ctx.step(tally.note, number)
        await ctx.emit("tick", number)
        await ctx.sleep("3s")
        return [first, await ctx.signal("n")]

    app = app_on(store, body, linger="100ms", lease_ttl="2s")
    await app.open()
    spec = None
    for number in range(3):
        handle = await insist(lambda number=number: app.start(body, number, id=f"p{number}"))  # type: ignore[misc]
        spec = spec or (await row_of(app, handle.id)).record.spec
    await asyncio.sleep(10)
    for number in range(3):
        await insist(lambda number=number: app.handle(f"p{number}").signal("n", "go", key="once"))  # type: ignore[misc]
    for number in range(3):
        async with asyncio.timeout(300):
            assert await app.handle(f"p{number}") == [number, "go"]
        ticks = [event for event in await events_of(app, f"p{number}") if event.type == "tick"]
        assert len(ticks) == 1
        assert tally[number] <= 1 + times
    await check_fold(app, "p0", spec)
    await app.close()


@pytest.mark.parametrize("when", ["before", "after"])
@virtual
async def test_a_start_that_fails_is_told_and_may_be_repeated(when: str) -> None:
    store = Failing(memory(), when)

    @lash.process
    async def body(ctx: lash.Context) -> int:
        return 5

    async with app_on(store, body) as app:
        store.bad = lambda ops: any(isinstance(op, Start) for op in ops)
        with pytest.raises(lash.StoreUnavailable):
            await app.start(body, id="p")
        store.bad = lambda ops: False
        assert await (await app.start(body, id="p")) == 5


@virtual
async def test_one_failing_start_among_many_in_a_transaction_is_everybodys_answer_and_all_may_be_repeated() -> None:
    store = Failing(memory())

    @lash.process
    async def body(ctx: lash.Context, number: int) -> int:
        return number

    async with app_on(store, body) as app:
        store.bad = lambda ops: any(isinstance(op, Start) for op in ops)
        with pytest.raises(lash.StoreUnavailable):
            await app.start_many(body.call(number).options(id=f"p{number}") for number in range(10))
        store.bad = lambda ops: False
        handles = await app.start_many(body.call(number).options(id=f"p{number}") for number in range(10))
        assert await asyncio.gather(*handles) == list(range(10))


@virtual
async def test_while_the_store_is_away_nothing_ends_and_when_it_is_back_everything_goes_on() -> None:
    """Promise 5: ten minutes without a store fail no process."""
    store, tally = Failing(memory()), Tally()

    @lash.process
    async def body(ctx: lash.Context, number: int) -> list[int]:
        found = []
        for step in range(5):
            found.append(await ctx.step(tally.note, 10 * number + step))
            await ctx.sleep("2s")
        return found

    app = app_on(store, body, lease_ttl="3s", linger="100ms")
    await app.open()
    for number in range(5):
        await app.start(body, number, id=f"p{number}")
    await asyncio.sleep(3)
    store.bad = lambda ops: True
    await asyncio.sleep(600)
    assert {(await row_of(app, f"p{number}")).record.status for number in range(5)} == {Status.RUNNING}
    store.bad = lambda ops: False
    async with asyncio.timeout(900):
        for number in range(5):
            assert await app.handle(f"p{number}") == [10 * number + step for step in range(5)]
    await app.close()


@virtual
async def test_closing_while_the_store_is_away_is_quiet_and_loses_nothing() -> None:
    store, tally = Failing(memory()), Tally()

    @lash.process
    async def body(ctx: lash.Context) -> Any:
        await ctx.step(tally.note, "step")
        return await ctx.signal("n")

    app = app_on(store, body, lease_ttl="2s")
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(0.1)
    store.bad = lambda ops: True
    await app.close()
    store.bad = lambda ops: False
    async with app_on(store, body) as again:
        await again.handle("p").signal("n", "go")
        assert await again.handle("p") == "go"
    assert tally.calls == ["step"]


@pytest.mark.parametrize("way", ["get", "history", "next_due_ms", "news", "dead_owners", "events"])
@virtual
async def test_a_failing_read_stops_nothing_for_good(way: str) -> None:
    class Unreadable(Failing):
        blind = False

    async def read(self: Unreadable, *args: Any) -> Any:
        if self.blind:
            raise lash.StoreUnavailable("cannot be read")
        return await getattr(FaultyStore, way)(self, *args)

    setattr(Unreadable, way, read)
    store = Unreadable(memory())

    @lash.process
    async def body(ctx: lash.Context) -> Any:
        await ctx.sleep("1s")
        return await ctx.signal("n")

    app = app_on(store, body, linger="100ms", resident=0)
    await app.open()
    await app.start(body, id="p")
    store.blind = True
    await store.inner.write([Signal("p", "n", b'"go"', None)])
    await asyncio.sleep(30)
    store.blind = False
    async with asyncio.timeout(400):
        assert await app.handle("p") == "go"
    await app.close()


@virtual
async def test_an_answer_that_comes_late_finds_a_body_that_went_on() -> None:
    """Reads and writes that take time, as they do on a slow disk: every order of answers is sound."""

    class Slow(FaultyStore):
        def write_now(self, ops: Any) -> list[Verdict] | None:
            return None

        async def write(self, ops: Any) -> list[Verdict]:
            await asyncio.sleep(0.003)
            verdicts = await super().write(ops)
            await asyncio.sleep(0.004)
            return verdicts

        async def history(self, row: int, after_rank: int) -> Any:
            entries = await super().history(row, after_rank)
            await asyncio.sleep(0.02)
            return entries

        async def news(self, owner: str) -> Any:
            found = await super().news(owner)
            await asyncio.sleep(0.005)
            return found

    store, tally = Slow(memory()), Tally()

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        found = []
        for number in range(8):
            found.append(await ctx.step(tally.note, number))
            found.append(await ctx.signal("n"))
            if number % 3 == 0:
                await ctx.sleep(0.05)
        return found

    for resident in (0, 1_000):
        tally.calls.clear()
        async with app_on(store, body, linger="1ms", resident=resident) as app:
            handle = await app.start(body, id=f"p{resident}")
            for number in range(8):
                await asyncio.sleep(0.011 * number)
                await handle.signal("n", f"s{number}")
            began = simulate.now_ms()
            assert await handle == [item for number in range(8) for item in (number, f"s{number}")]
            assert simulate.now_ms() - began < 1_500, "a signal was heard only by the slow look"
            assert tally.calls == list(range(8))


@virtual
async def test_a_transaction_that_fails_while_more_is_gathered_does_not_lame_the_writer() -> None:
    """The entries of one scope gather for the next transaction while the first is still under way, and fails."""

    class SlowlyFailing(Failing):
        def write_now(self, ops: Any) -> list[Verdict] | None:
            return None

        async def write(self, ops: Any) -> list[Verdict]:
            await asyncio.sleep(0.01)
            return await super().write(ops)

    store, tally = SlowlyFailing(memory()), Tally()
    store.bad = lambda ops: any(isinstance(op, Put) for op in ops) and store.failed < 2

    async def after(ms: int) -> int:
        await asyncio.sleep(ms / 1_000)
        return await tally.note(ms)

    @lash.process
    async def body(ctx: lash.Context) -> list[int]:
        return await asyncio.gather(*(ctx.step(after, ms) for ms in range(0, 40, 4)))

    async with app_on(store, body) as app:
        async with asyncio.timeout(120):
            assert await (await app.start(body)) == list(range(0, 40, 4))
