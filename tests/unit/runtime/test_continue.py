"""``continue_as_new`` cuts the history and nothing else: the id, the signals, the cancel and the clock live on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.testing import simulate
from lash.testing.faults import FaultyStore
from tests.unit.runtime.kit import Tally, app_on, check_fold, events_of, failure_of, memory, row_of, types_of, virtual


@virtual
async def test_a_process_goes_on_with_new_arguments_and_an_empty_history() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context, number: int, *, seen: list[int]) -> list[int]:
        await ctx.step(tally.note, number)
        if number < 5:
            ctx.continue_as_new(number + 1, seen=[*seen, number])
        return [*seen, number]

    async with app:
        handle = await app.start(body, 1, seen=[], id="p")
        spec = (await row_of(app, "p")).record.spec
        assert await handle == [1, 2, 3, 4, 5]
        row = await row_of(app, "p")
        assert len(await app.store.history(row.row, 0)) == 1
        assert row.record.attempts == 1
        await check_fold(app, "p", spec)
        assert await (await app.start(body, 1, seen=[], id="p")) == [1, 2, 3, 4, 5]
    assert tally.calls == [1, 2, 3, 4, 5]


@virtual
async def test_each_generation_has_its_own_keys_children_chances_and_uuids() -> None:
    """Otherwise the second generation's payment would be taken for the first one's."""
    app = app_on()
    keys: list[str] = []

    async def pay() -> None:
        keys.append(lash.current().idempotency_key)

    @app.process
    async def child(ctx: lash.Context, number: int) -> int:
        return number

    @app.process
    async def body(ctx: lash.Context, generation: int, found: list[Any]) -> list[Any]:
        await ctx.step(pay)
        await ctx.emit("tick", generation)
        handle = await ctx.start(child, generation)
        found = [*found, [ctx.random(), str(ctx.uuid()), handle.id, await handle]]
        if generation < 3:
            ctx.continue_as_new(generation + 1, found)
        return found

    async with app:
        found = await (await app.start(body, 1, [], id="p"))
        assert [row[3] for row in found] == [1, 2, 3]
        for column in range(3):
            assert len({row[column] for row in found}) == 3
        assert len(set(keys)) == 3
        assert found[0][2] == "p.2"
        assert [event.value() for event in await events_of(app, "p") if event.type == "tick"] == [1, 2, 3]


@virtual
async def test_signals_not_yet_taken_are_kept() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, found: list[Any]) -> list[Any]:
        await ctx.sleep("1s")
        found = [*found, await ctx.signal("n")]
        if len(found) < 4:
            ctx.continue_as_new(found)
        return found

    async with app:
        handle = await app.start(body, [])
        for number in range(4):
            await handle.signal("n", number)
        assert await handle == [0, 1, 2, 3]


@pytest.mark.parametrize("way", ["timed out", "still open", "cancelled"])
@virtual
async def test_a_signal_given_to_a_wait_that_was_given_up_reaches_the_next_generation(way: str) -> None:
    """It arrives in the very moment in which the body decides to go on as new, at each place among the writes."""
    for place in range(2, 14):
        assert await given_up(way, place) == "signal", place


async def given_up(way: str, place: int) -> Any:
    inner = memory()

    class Sending(FaultyStore):
        """Somebody's signal is committed just before write number ``place``."""

        async def write(self, ops: Any) -> Any:
            if self.writes + 1 == place:
                await send()
            return await super().write(ops)

        def write_now(self, ops: Any) -> Any:
            return None if self.writes + 1 == place else super().write_now(ops)

    async def send() -> None:
        from lash.abc.store import Signal

        await inner.write([Signal("p", "n", b'"signal"', "once")])

    app = app_on(Sending(inner))

    @app.process
    async def body(ctx: lash.Context, generation: int) -> Any:
        if generation == 2:
            return await ctx.signal("n")
        waiting = asyncio.create_task(ctx.signal("n", timeout=1 if way == "timed out" else None))
        if way == "timed out":
            try:
                return await waiting
            except TimeoutError:
                pass
        else:
            await asyncio.sleep(1)
            if waiting.done():
                return waiting.result()
            if way == "cancelled":
                waiting.cancel()
        ctx.continue_as_new(2)

    async with app:
        await app.start(body, 1, id="p")
        await asyncio.sleep(30)
        await send()
        return await app.handle("p")


@virtual
async def test_a_cancel_made_while_it_goes_on_as_new_is_not_lost() -> None:
    app = app_on()
    cleaned: list[int] = []

    @app.process
    async def body(ctx: lash.Context, generation: int) -> None:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            cleaned.append(generation)
            raise
        ctx.continue_as_new(generation + 1)

    async with app:
        for moment in (0.05, 0.1, 0.15, 0.2, 0.25):
            handle = await app.start(body, 1)
            await asyncio.sleep(moment)
            await handle.cancel("enough")
            with pytest.raises(lash.ProcessCancelled):
                await handle.result(timeout=60)
    assert len(cleaned) >= 3


@virtual
async def test_a_body_that_swallows_its_cancel_cannot_shed_it_by_going_on_as_new() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, generation: int) -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass
        ctx.continue_as_new(generation + 1)

    async with app:
        handle = await app.start(body, 1)
        await asyncio.sleep(5)
        await handle.cancel("enough")
        with pytest.raises(lash.ProcessCancelled):
            await handle.result(timeout=120)


@pytest.mark.parametrize("when", ["before", "after"])
@virtual
async def test_a_crash_at_any_write_of_a_process_that_goes_on_as_new_changes_nothing(when: Any) -> None:
    @lash.process
    async def body(ctx: lash.Context, number: int) -> list[Any]:
        await ctx.step(asyncio.sleep, 0.01)
        await ctx.emit("tick", number)
        if number < 3:
            ctx.continue_as_new(number + 1)
        return [number, await ctx.signal("n")]

    for crash_at in range(2, 22):
        store = memory()
        faulty = FaultyStore(store, crash_at, when)
        app = app_on(faulty, body)
        try:
            await app.open()
            await app.start(body, 1, id="p")
            await asyncio.sleep(5)
        except lash.StoreUnavailable:
            pass
        await app.abort()
        async with app_on(store, body) as again:
            handle = await again.start(body, 1, id="p")
            await handle.signal("n", "end")
            assert await handle == [3, "end"]
            ticks = [event.value() for event in await events_of(again, "p") if event.type == "tick"]
            assert ticks == [1, 2, 3]


@virtual
async def test_the_timeout_of_a_process_bounds_all_its_generations() -> None:
    app = app_on()

    @app.process(timeout="10s")
    async def body(ctx: lash.Context, number: int) -> None:
        await ctx.sleep("3s")
        ctx.continue_as_new(number + 1)

    async with app:
        began = simulate.now_ms()
        failed = await failure_of(await app.start(body, 1))
        assert failed.failure_code == "process_timeout"
        assert 10_000 <= simulate.now_ms() - began < 10_200


@virtual
async def test_new_arguments_that_do_not_fit_fail_the_body_where_it_stands() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, number: int) -> None:
        ctx.continue_as_new("no number")

    async with app:
        failed = await failure_of(await app.start(body, 1, id="p"))
        assert failed.failure_code == "invalid_arguments"
        assert "process.continued" not in await types_of(app, "p")


@virtual
async def test_going_on_as_new_from_within_a_task_group_or_timeout_works() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, number: int) -> int:
        if number == 1:
            async with asyncio.timeout(60):
                ctx.continue_as_new(2)
        if number == 2:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.sleep("1h"))
                await ctx.sleep("1s")
                ctx.continue_as_new(3)
        return number

    async with app:
        assert await (await app.start(body, 1)) == 3


@virtual
async def test_subtasks_of_the_old_generation_are_closed() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context, number: int) -> int:
        async def beside() -> None:
            await ctx.sleep("5s")
            await ctx.step(tally.note, "beside")

        if number == 1:
            waiting = asyncio.create_task(beside())
            await ctx.sleep("1s")
            assert not waiting.done()
            ctx.continue_as_new(2)
        await ctx.sleep("30s")
        return number

    async with app:
        assert await (await app.start(body, 1)) == 2
    assert tally.calls == []


@virtual
async def test_many_generations_with_one_slot_let_others_run_in_between() -> None:
    app, order = app_on(concurrency=1), []

    async def note(word: str) -> None:
        order.append(word)

    @app.process
    async def spinning(ctx: lash.Context, number: int) -> int:
        await ctx.step(note, f"spin {number}")
        if number < 50:
            ctx.continue_as_new(number + 1)
        return number

    @app.process
    async def other(ctx: lash.Context) -> None:
        await ctx.step(note, "other")

    async with app:
        first = await app.start(spinning, 1)
        second = await app.start(other)
        await second
        assert await first == 50
    assert "other" in order


@virtual
async def test_trouble_while_beginning_again_puts_the_row_back() -> None:
    """The store is away just after the history was cut."""
    inner = memory()

    class Away(FaultyStore):
        away = False

        async def get(self, ids: Any) -> Any:
            self.maybe()
            return await super().get(ids)

        async def history(self, row: int, after_rank: int) -> Any:
            self.maybe()
            return await super().history(row, after_rank)

        def maybe(self) -> None:
            if self.away:
                raise lash.StoreUnavailable("away")

    store = Away(inner)
    app = app_on(store)

    @app.process
    async def body(ctx: lash.Context, number: int) -> int:
        await ctx.sleep(0.1)
        if number == 1:
            ctx.continue_as_new(2)
        return number

    async with app:
        await app.start(body, 1, id="p")
        store.away = True
        await asyncio.sleep(5)
        store.away = False
        async with asyncio.timeout(120):
            assert await app.handle("p") == 2
