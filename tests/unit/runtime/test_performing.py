"""Work begun at once behaves as a task of its own: one identity, its own context, cancelled wherever it waits."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from lash.runtime.performing import Performers

MARK: ContextVar[str] = ContextVar("mark", default="clean")


def on_loop(body: Callable[[Performers, Callable[[Any], Any]], Awaitable[None]]) -> None:
    """Run ``body`` with performers, and a function that begins work from a plain callback and returns its task."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        performers = Performers(loop, copy_context())

        async def begin(work: Coroutine[Any, Any, None], cancel: bool = False) -> asyncio.Task[None] | None:
            begun: asyncio.Future[asyncio.Task[None] | None] = loop.create_future()

            def callback() -> None:
                task = performers.begin(work)
                if cancel and task is not None:
                    task.cancel()
                begun.set_result(task)

            loop.call_soon(callback)
            return await begun

        await body(performers, begin)
        performers.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_work_that_never_waits_is_over_at_once_and_leaves_no_trace_in_the_next() -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        seen.append(MARK.get())
        MARK.set(name)

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        for name in ("one", "two", "three"):
            assert await begin(work(name)) is None

    on_loop(body)
    assert seen == ["clean", "clean", "clean"]


def test_work_that_waits_keeps_its_task_and_its_context() -> None:
    seen: list[tuple[bool, str]] = []

    async def work(name: str) -> None:
        first = asyncio.current_task()
        MARK.set(name)
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append((asyncio.current_task() is first, MARK.get()))
        async with asyncio.timeout(60):
            await asyncio.sleep(0.001)
        seen.append((asyncio.current_task() is first, MARK.get()))

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        first, second = await begin(work("a")), await begin(work("b"))
        assert first is not second
        await asyncio.gather(first, second)

    on_loop(body)
    assert sorted(seen) == [(True, "a")] * 4 + [(True, "b")] * 4


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
@pytest.mark.parametrize("wait", ["future", "turn of the loop", "inner task"])
def test_cancel_reaches_what_the_work_waits_for(turns: int, wait: str) -> None:
    """After any number of turns, the first of all included: before its task has run even once."""
    told: list[str] = []

    async def inner() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("inner")
            raise

    async def work() -> None:
        try:
            if wait == "future":
                await asyncio.get_running_loop().create_future()
            elif wait == "inner task":
                await asyncio.create_task(inner())
            else:
                while True:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            told.append("work")
            raise

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        task = await begin(work(), cancel=not turns)
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    on_loop(body)
    assert told[-1] == "work"
    if wait == "inner task" and turns:  # an inner task that has not begun has nothing to hear
        assert told == ["inner", "work"]


def test_a_timeout_in_work_that_has_just_begun_ends_that_work_alone() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        except TimeoutError:
            ended.append("timeout")

    async def idle() -> None:
        ended.append("idle")

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        task = await begin(work())
        assert await begin(idle()) is None
        await task

    on_loop(body)
    assert sorted(ended) == ["idle", "timeout"]


def test_work_that_cancels_itself_too_late_does_not_harm_the_next() -> None:
    went: list[str] = []

    async def suicidal() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def work() -> None:
        await asyncio.sleep(0)
        went.append("next")

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        assert await begin(suicidal()) is None
        await (await begin(work()))

    on_loop(body)
    assert went == ["next"]


async def cancels_later() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)  # a timeout made by hand, and left behind


async def takes_it_back() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    task.uncancel()


@pytest.mark.parametrize("spoil", [cancels_later, takes_it_back])
@pytest.mark.parametrize("warm", [False, True])
def test_a_task_that_work_left_cancelled_is_lent_to_nobody(spoil: Callable[[], Any], warm: bool) -> None:
    went: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        went.append("next")

    async def idle() -> None: ...

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        if warm:  # the task that stands ready has had its first turn
            await begin(idle())
            await asyncio.sleep(0.001)
        assert await begin(spoil()) is None
        await asyncio.sleep(0.001)
        await (await begin(work()))

    on_loop(body)
    assert went == ["next"]


@pytest.mark.parametrize("warm", [False, True])
def test_work_that_cancels_itself_and_then_waits_is_cancelled_there(warm: bool) -> None:
    told: list[str] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            told.append("heard")
            raise

    async def idle() -> None: ...

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        if warm:
            await begin(idle())
            await asyncio.sleep(0.001)
        task = await begin(work())
        with pytest.raises(asyncio.CancelledError):
            await task

    on_loop(body)
    assert told == ["heard"]


def test_what_work_waited_for_first_is_not_kept() -> None:
    """It may be a hundred megabytes read from somewhere."""
    alive: list[weakref.ref[Any]] = []

    class Large: ...

    async def read() -> Large:
        await asyncio.sleep(0)
        return Large()

    async def work() -> None:
        found = await asyncio.create_task(read())
        alive.append(weakref.ref(found))
        del found
        await asyncio.sleep(0.001)
        assert alive[0]() is None

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        await (await begin(work()))

    gc.disable()
    try:
        on_loop(body)
    finally:
        gc.enable()
    assert len(alive) == 1


def test_work_that_fails_at_once_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    went: list[str] = []

    async def failing() -> None:
        raise ValueError("no")

    async def work() -> None:
        await asyncio.sleep(0)
        went.append("next")

    async def body(performers: Performers, begin: Any) -> None:
        del performers
        assert await begin(failing()) is None
        await (await begin(work()))

    on_loop(body)
    assert went == ["next"]
    assert "ValueError('no')" in caplog.text
