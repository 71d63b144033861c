"""A context belongs to one body while it runs: not to a step, another body, another thread, or the time after."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import lash
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, memory, row_of, virtual

Use = Callable[[lash.Context], Any]


async def work() -> int:
    return 1


@lash.process
async def child(ctx: lash.Context) -> int:
    return 1


USES: dict[str, Use] = {
    "step": lambda ctx: ctx.step(work),
    "sleep": lambda ctx: ctx.sleep(1),
    "signal": lambda ctx: ctx.signal("n"),
    "signal with timeout": lambda ctx: ctx.signal("n", timeout=1),
    "emit": lambda ctx: ctx.emit("tick"),
    "start": lambda ctx: ctx.start(child),
    "now": lambda ctx: ctx.now(),
    "random": lambda ctx: ctx.random(),
    "uuid": lambda ctx: ctx.uuid(),
}


async def refused(use: Use, ctx: lash.Context) -> bool:
    try:
        result = use(ctx)
        if isinstance(result, Coroutine):
            await result
    except lash.NotInProcess:
        return True
    return False


@pytest.mark.parametrize("name", USES)
@virtual
async def test_a_context_is_refused_after_its_process_has_ended(name: str) -> None:
    app, kept = app_on(None, child), []

    @app.process
    async def body(ctx: lash.Context) -> None:
        kept.append(ctx)

    async with app:
        await (await app.start(body, id="p"))
        assert await refused(USES[name], kept[0])
        assert kept[0].process_id == "p"
    assert await refused(USES[name], kept[0])


@pytest.mark.parametrize("name", USES)
@virtual
async def test_a_context_is_refused_in_a_step_and_what_it_would_have_counted_is_not_counted(name: str) -> None:
    """Otherwise the next run, which does not repeat the step, would count differently."""
    store = memory()
    found: list[bool] = []
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        async def misuse() -> bool:
            found.append(await refused(USES[name], ctx))
            return found[-1]

        before = [ctx.random(), str(ctx.uuid())]
        misused = await ctx.step(misuse)
        await ctx.sleep("1s")
        after = [misused, ctx.random(), str(ctx.uuid()), await ctx.step(work)]
        await ctx.step(gate.wait)
        return before + after

    app = app_on(store, body, child)
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(2)
    await simulate.crash(app)
    gate.set()
    async with app_on(store, body, child) as again:
        value = await again.handle("p")
        row = await row_of(again, "p")
        assert row.record.blocked is None
        assert (await simulate.replay(body, row.record, await store.history(row.row, 0))).outcome == row.record.outcome
    assert found == [True]
    assert value[2] is True


@pytest.mark.parametrize("name", USES)
@virtual
async def test_a_context_is_refused_in_another_body(name: str) -> None:
    app, kept = app_on(None, child), []

    @app.process
    async def owner(ctx: lash.Context) -> Any:
        kept.append(ctx)
        return await ctx.signal("go")

    @app.process
    async def thief(ctx: lash.Context) -> bool:
        return await refused(USES[name], kept[0])

    async with app:
        first = await app.start(owner)
        await asyncio.sleep(0.1)
        assert await (await app.start(thief)) is True
        await first.signal("go", "fine")
        assert await first == "fine"


@pytest.mark.parametrize("name", USES)
def test_a_context_is_refused_in_another_thread_even_while_its_body_runs(name: str) -> None:
    found: list[bool] = []

    async def main() -> None:
        app = lash.Runtime("memory://")
        app.include(child)

        @app.process
        async def body(ctx: lash.Context) -> str:
            turn.append(ctx)
            began.set()
            over.wait(20)
            return await ctx.step(fine)

        async def fine() -> str:
            return "fine"

        async with app:
            assert await (await app.start(body)).result(timeout=60) == "fine"

    def beside() -> None:
        began.wait(20)
        try:
            result = USES[name](turn[0])
            if isinstance(result, Coroutine):
                result.send(None)
        except lash.NotInProcess:
            found.append(True)
        except StopIteration:
            pass
        finally:
            over.set()

    turn: list[lash.Context] = []
    began, over = threading.Event(), threading.Event()
    other = threading.Thread(target=beside)
    other.start()
    asyncio.run(main())
    other.join()
    assert found == [True]


@virtual
async def test_effects_asked_for_while_a_body_is_closed_are_refused_and_the_replay_asks_again() -> None:
    """A ``finally`` of a body that is put away runs, but does nothing; when the process really ends, it does."""
    app, tally = app_on(linger="1ms", resident=0), Tally()
    closings: list[Any] = []

    @app.process
    async def body(ctx: lash.Context) -> Any:
        try:
            return await ctx.signal("go")
        finally:
            try:
                await ctx.step(tally.note, "cleaned")
            except lash.NotInProcess:
                closings.append("refused")

    async with app:
        handle = await app.start(body)
        await asyncio.sleep(1)
        assert closings == ["refused"]
        assert tally.calls == []
        await handle.signal("go", 1)
        assert await handle == 1
    assert (closings, tally.calls) == (["refused"], ["cleaned"])


WAITS: dict[str, Callable[[], Any]] = {
    "sleep": lambda: asyncio.sleep(5),
    "yield": lambda: asyncio.sleep(0),
    "event": lambda: asyncio.Event().wait(),
    "queue": lambda: asyncio.Queue().get(),
    "gather": lambda: asyncio.gather(asyncio.sleep(1), asyncio.sleep(2)),
    "wait_for": lambda: asyncio.wait_for(asyncio.sleep(1), 2),
    "future": lambda: asyncio.get_running_loop().create_future(),
    "task": lambda: asyncio.create_task(asyncio.sleep(1)),
}


@pytest.mark.parametrize("name", WAITS)
@virtual
async def test_clean_up_that_waits_is_brought_to_its_end_when_a_body_is_closed(name: str) -> None:
    """No coroutine is left behind for the garbage collector to complain about."""
    app = app_on(linger="1ms", resident=0)
    trail: list[str] = []

    @app.process
    async def body(ctx: lash.Context) -> Any:
        async def inner() -> Any:
            try:
                return await ctx.signal("go")
            finally:
                trail.append("inner")
                await WAITS[name]()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(inner())
                group.create_task(inner())
                await inner()
        finally:
            trail.append("outer")

    import gc
    import sys

    complaints: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, complaints.append
    try:
        async with app:
            await app.start(body)
            await asyncio.sleep(1)
            gc.collect()
    finally:
        sys.unraisablehook = before
    assert complaints == []
    assert trail.count("inner") == 3
    assert trail.count("outer") == 1


def test_a_step_outside_a_process_and_current_outside_a_step_are_refused() -> None:
    with pytest.raises(lash.NotInProcess):
        lash.current()


@virtual
async def test_a_body_started_from_a_step_is_not_inside_that_step() -> None:
    """``lash.current()`` in it is refused, whoever happened to start it."""
    app = app_on()

    @app.process
    async def other(ctx: lash.Context) -> str:
        try:
            return lash.current().idempotency_key
        except lash.NotInProcess:
            return "no step"

    async def starts() -> str:
        return str(await (await app.start(other)))

    @app.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(starts)

    async with app:
        assert await (await app.start(body)) == "no step"


@virtual
async def test_deps_come_from_the_lifespan_and_are_closed_after_the_worker() -> None:
    from contextlib import asynccontextmanager

    app, trail = app_on(), []

    @app.lifespan
    @asynccontextmanager
    async def lifespan(runtime: Any) -> Any:
        assert runtime is app
        trail.append("open")
        yield {"db": "connection"}
        trail.append("close")

    @app.process
    async def body(ctx: lash.Context) -> str:
        async def use() -> str:
            trail.append("use")
            return str(ctx.deps["db"])

        return await ctx.step(use)

    async with app:
        assert await (await app.start(body)) == "connection"
    assert trail == ["open", "use", "close"]
    async with app:
        assert await (await app.start(body)) == "connection"
    assert trail == ["open", "use", "close"] * 2


@virtual
async def test_a_lifespan_that_fails_keeps_the_runtime_closed() -> None:
    from contextlib import asynccontextmanager

    app = app_on()

    @app.lifespan
    @asynccontextmanager
    async def lifespan(runtime: Any) -> Any:
        raise RuntimeError("no database")
        yield

    with pytest.raises(RuntimeError, match="no database"):
        await app.open()
    with pytest.raises(lash.RuntimeNotOpen):
        await app.drive()
