"""Virtual time costs none, is the same in every run, and a replay judges code by a journal without doing anything."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

import lash
from lash.testing import simulate
from lash.testing.clock import START_MS, Clock


def test_a_year_is_over_at_once() -> None:
    async def main() -> int:
        await asyncio.sleep(365 * 86_400)
        return simulate.now_ms()

    began = time.monotonic()
    assert simulate.run(main()) == START_MS + 365 * 86_400_000
    assert time.monotonic() - began < 5


def test_timers_fire_in_order_and_at_their_times() -> None:
    async def main() -> list[Any]:
        seen: list[Any] = []

        async def nap(seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((seconds, simulate.now_ms() - START_MS))

        await asyncio.gather(*(nap(seconds) for seconds in (3, 0.25, 86_400, 0.001, 2)))
        return seen

    expected = [(0.001, 1), (0.25, 250), (2, 2_000), (3, 3_000), (86_400, 86_400_000)]
    assert simulate.run(main()) == expected


def test_timeouts_expire_in_virtual_time() -> None:
    async def main() -> None:
        async with asyncio.timeout(3_600):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        simulate.run(main())


def test_work_for_threads_is_done_on_the_spot() -> None:
    async def main() -> tuple[bool, str]:
        same = await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        try:
            await asyncio.to_thread(int, "no number")
        except ValueError as error:
            return same, str(error)
        return same, ""

    same, error = simulate.run(main())
    assert same
    assert "no number" in error


def test_a_program_that_waits_for_itself_is_stuck_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "STUCK_S", 0.01)

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(simulate.Stuck):
        simulate.run(main())


def test_a_runtime_lives_in_virtual_time() -> None:
    async def main() -> list[Any]:
        app = lash.Runtime("memory://", clock=simulate.now_ms)

        @app.process
        async def body(ctx: lash.Context) -> list[Any]:
            before = ctx.now()
            await ctx.sleep("30m")
            return [(ctx.now() - before).seconds, await ctx.signal("n")]

        async with app:
            handle = await app.start(body)
            await asyncio.sleep(31 * 60)
            await handle.signal("n", "late")
            return await handle

    assert simulate.run(main()) == [1_800, "late"]


def test_a_crashed_runtime_can_be_opened_again_and_goes_on() -> None:
    async def main() -> list[int]:
        app, calls = lash.Runtime("memory://", clock=simulate.now_ms), []

        async def work(number: int) -> int:
            calls.append(number)
            return number

        @app.process
        async def body(ctx: lash.Context) -> int:
            first = await ctx.step(work, 1)
            await ctx.sleep("1s")
            return first + await ctx.step(work, 2)

        async with app:
            await app.start(body, id="p")
            await asyncio.sleep(0.1)
            await simulate.crash(app)
        async with app:
            assert await app.handle("p") == 3
        return calls

    assert simulate.run(main()) == [1, 2]


async def work(number: int) -> int:
    return number


@lash.process(name="p")
async def original(ctx: lash.Context, number: int) -> int:
    first = await ctx.step(work, number)
    await ctx.signal("go")
    return first + await ctx.step(work, 2)


@lash.process(name="p")
async def changed(ctx: lash.Context, number: int) -> int:
    first = await ctx.step(work, number + 1)
    await ctx.signal("go")
    return first + await ctx.step(work, 2)


@lash.process(name="p")
async def going_on(ctx: lash.Context, number: int) -> int:
    await ctx.step(work, number)
    ctx.continue_as_new(number + 1)


def test_a_replay_tells_how_far_a_journal_carries_the_code() -> None:
    async def main() -> None:
        app = lash.Runtime("memory://", clock=simulate.now_ms)
        app.include(original)
        async with app:
            await app.start(original, 1, id="p")
            await asyncio.sleep(0.1)
            row = (await app.store.get(("p",)))[0]
            assert row is not None
            history = await app.store.history(row.row, 0)
            record = await app.handle("p").record()
            waiting = await simulate.replay(original, record, history)
            assert (waiting.outcome, waiting.continued, waiting.heard) == (None, False, 2)
            assert [effect.name for effect in waiting.asked] == ["signal:go"]
            fresh = await simulate.replay(original, record, [])
            assert [(effect.kind.value, effect.ordinal) for effect in fresh.asked] == [("step", 0)]
            with pytest.raises(lash.Diverged) as caught:
                await simulate.replay(changed, record, history)
            assert "with other arguments" in str(caught.value.fields["requested"])
            assert (await simulate.replay(going_on, record, history[:1])).continued
            await app.handle("p").signal("go")
            assert await app.handle("p") == 3
            record = await app.handle("p").record()
            history = await app.store.history(row.row, 0)
            assert (await simulate.replay(original, record, history)).outcome == record.outcome
            assert await app.store.history(row.row, 0) == history

    simulate.run(main())


def test_a_clock_moves_only_when_told() -> None:
    clock = Clock()
    assert clock() == clock() == START_MS
    assert clock.advance("1h30m") == START_MS + 5_400_000
    assert clock.set(datetime(2024, 1, 1, tzinfo=UTC)) == 1_704_067_200_000
    assert clock.now() == datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(lash.InvalidArguments):
        clock.advance(-1)
