"""The private loop: nothing in it depends on memory addresses, on the garbage collector, or on real time."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from asyncio import as_completed as imported_early
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import lash
from lash.errors import NotInStep
from lash.runtime import generators
from lash.runtime.bodyloop import REFUSED, BodyLoop, to_ms
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, row_of, virtual


def loop_at(now_ms: int = 0, scope: str = "p") -> BodyLoop:
    return BodyLoop(scope, now_ms)  # type: ignore[abstract]


def drive(loop: BodyLoop, main: Coroutine[Any, Any, Any], limit: int = 1_000) -> Any:
    """Run ``main`` to its end, firing each timer at its time."""
    task = loop.create_task(main)
    for _ in range(limit):
        loop.activate()
        if task.done():
            return task.result()
        timer = loop.next_timer()
        assert timer is not None, "deadlocked"
        loop.fire(timer[1], timer[0])
    raise AssertionError("no end")


def test_its_clock_stands_still_until_told() -> None:
    loop = loop_at(5_000)
    assert loop.time() == 5.0
    loop.advance(7_250)
    assert loop.time() == 7.25
    loop.advance(6_000)
    assert loop.time() == 7.25


def test_timers_fire_in_the_order_of_their_times_and_ties_in_that_of_their_making() -> None:
    fired: list[str] = []

    async def main() -> None:
        async def nap(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            fired.append(name)

        await asyncio.gather(nap(2, "c"), nap(1, "a"), nap(1, "b"), nap(0, "first"))

    drive(loop_at(), main())
    assert fired == ["first", "a", "b", "c"]


def test_a_cancelled_timer_stays_silent_and_does_not_surface() -> None:
    async def main() -> str:
        async with asyncio.timeout(1):
            await asyncio.sleep(0.5)
        await asyncio.sleep(5)
        return "done"

    loop = loop_at()
    assert drive(loop, main()) == "done"
    assert loop.time() == 5.5
    assert loop.next_timer() is None


def test_a_timer_that_is_due_already_needs_no_record() -> None:
    async def main() -> None:
        await asyncio.sleep(-1)
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_at(loop.time(), future.set_result, None)
        await future

    loop = loop_at()
    drive(loop, main())
    assert loop.timers_made == 0


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [
        (1.0, 1_000),
        (0.0001, 1),
        (0.0009999, 1),
        (1_700_000_000.223, 1_700_000_000_223),
    ],
)
def test_milliseconds_are_rounded_up_but_for_float_noise(seconds: float, ms: int) -> None:
    assert to_ms(seconds) == ms


def order_of_sets(scope: str) -> list[list[int]]:
    """In which order sets of tasks and of futures iterate, after some come and go."""

    async def main() -> list[list[int]]:
        found: list[list[int]] = []
        junk = [object() for _ in range(hash(scope) % 1_000)]  # memory is another each time
        for count in (3, 9, 40, 150):
            tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(count)]
            numbers = {task: number for number, task in enumerate(tasks)}
            found.append([numbers[task] for task in set(tasks)])
            done, _ = await asyncio.wait(tasks)
            found.append([numbers[task] for task in done])
            futures = {asyncio.get_running_loop().create_future(): number for number in range(count)}
            found.append([futures[future] for future in set(futures)])
            del junk[: len(junk) // 2]
        return found

    return drive(loop_at(scope=scope), main())


def test_sets_of_tasks_and_futures_iterate_alike_in_every_run_and_every_python_process() -> None:
    here = order_of_sets("scope")
    ballast = [bytearray(1_000) for _ in range(500)]
    assert order_of_sets("scope") == here
    del ballast
    code = "from tests.unit.runtime.test_bodyloop import order_of_sets; print(order_of_sets('scope'))"
    for seed in ("1", "2", "random"):
        environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.strip() == repr(here)


def test_tasks_are_named_alike_in_every_run() -> None:
    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        named = asyncio.create_task(asyncio.sleep(0), name="mine")
        await asyncio.wait([*tasks, named])
        return [task.get_name() for task in (*tasks, named)]

    first = drive(loop_at(), main())
    assert drive(loop_at(), main()) == first
    assert first[3] == "mine"
    assert len(set(first)) == 4


def test_a_task_nobody_refers_to_ends_with_the_body_and_not_with_a_garbage_collection() -> None:
    """Its ``finally`` would otherwise run at some moment of the collector's choosing."""
    trail: list[str] = []

    async def orphan() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            trail.append("closed")

    async def main() -> None:
        asyncio.create_task(orphan())  # noqa: RUF006  # that is the point
        await asyncio.sleep(1)
        gc.collect()
        trail.append("collected")

    loop = loop_at()
    drive(loop, main())
    gc.collect()
    assert trail == ["collected"]
    loop.dispose()
    assert trail == ["collected", "closed"]


def test_an_async_generator_left_early_is_closed_on_the_loop() -> None:
    trail: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            trail.append("closed")

    async def main() -> None:
        async for number in numbers():
            trail.append(str(number))
            break
        await asyncio.sleep(5)
        trail.append("end")

    drive(loop_at(), main())
    assert trail == ["1", "closed", "end"]


def test_an_async_generator_in_a_body_that_is_closed_is_closed_too() -> None:
    trail: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(1)
            yield 2
        finally:
            trail.append("closed")

    async def main() -> None:
        async for number in numbers():
            trail.append(str(number))
            await asyncio.Event().wait()

    loop = loop_at()
    loop.create_task(main())
    loop.activate()
    loop.dispose()
    gc.collect()
    assert trail == ["1", "closed"]


def test_exceptions_of_callbacks_do_not_leave_the_loop() -> None:
    went: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for error in (ValueError(), SystemExit(), KeyboardInterrupt()):
            loop.call_soon(raises, error)
        loop.call_soon(went.append, 1)
        await asyncio.sleep(1)

    drive(loop_at(), main())
    assert went == [1]


def raises(error: BaseException) -> None:
    raise error


def test_after_an_activation_the_outer_loop_is_as_before_and_after_its_run_the_hooks_are() -> None:
    async def outer() -> None:
        here = asyncio.get_running_loop()

        def plain() -> None:
            drive(loop_at(), asyncio.sleep(1))
            assert asyncio.get_running_loop() is here

        here.call_soon(plain)
        await asyncio.sleep(0.01)

    hooks = sys.get_asyncgen_hooks()
    for _ in range(2):
        asyncio.run(outer())
        assert sys.get_asyncgen_hooks() == hooks


class Dropped:
    """Async generators that were left half-way, and where each was cleaned up."""

    def __init__(self) -> None:
        self.cleaned: dict[str, asyncio.AbstractEventLoop] = {}

    async def numbers(self, name: str) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            self.cleaned[name] = asyncio.get_running_loop()

    async def leave(self, name: str, in_a_circle: bool) -> None:
        numbers = self.numbers(name)
        await anext(numbers)
        circle: list[object] = [numbers]
        if in_a_circle:
            circle.append(circle)


@pytest.mark.parametrize("collected_by", ["nobody", "the program", "a body"])
def test_a_generator_is_cleaned_up_where_it_was_begun_whoever_collects_it(collected_by: str) -> None:
    """Of the program, before and after there was a body, and of a body: each on its own loop, and there alone."""
    dropped, body = Dropped(), loop_at()
    in_a_circle = collected_by != "nobody"

    async def main() -> None:
        await dropped.leave("body", in_a_circle)

    async def collect() -> None:
        gc.collect()

    async def outer() -> None:
        here = asyncio.get_running_loop()
        await dropped.leave("before", in_a_circle)
        body.create_task(main())
        here.call_soon(body.activate)
        await asyncio.sleep(0.01)
        await dropped.leave("after", in_a_circle)
        if collected_by == "a body":
            body.create_task(collect())
            here.call_soon(body.activate)
        elif collected_by == "the program":
            gc.collect()
        for _ in range(3):
            here.call_soon(body.activate)
            await asyncio.sleep(0.01)
        assert dropped.cleaned == {"before": here, "body": body, "after": here}
        body.dispose()

    gc.disable()
    try:
        asyncio.run(outer())
    finally:
        gc.enable()
    gc.collect()
    assert not generators.owners, "a generator is remembered for ever"


def test_generators_that_ran_to_their_end_are_not_remembered() -> None:
    async def main() -> None:
        for name in range(1_000):
            assert [number async for number in Dropped().numbers(str(name))] == [1, 2]
        assert len(generators.owners) <= 128

    loop = loop_at()
    drive(loop, main())
    loop.dispose()
    assert not generators.owners


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_a_loop_does_with_the_outside_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotInStep) as caught:
        getattr(loop_at(), name)()
    assert caught.value.fields["call"] == name


def test_the_whole_interface_of_an_event_loop_is_there_or_refused() -> None:
    """A method asyncio gains must be looked at, not fall through to ``NotImplementedError``."""
    missing = [
        name
        for name in vars(asyncio.AbstractEventLoop)
        if not name.startswith("__")
        and getattr(BodyLoop, name, None) is getattr(asyncio.AbstractEventLoop, name)
        and name not in ("close", "shutdown_asyncgens", "shutdown_default_executor", "get_exception_handler",
                         "set_exception_handler", "default_exception_handler")
    ]  # fmt: skip
    assert missing == []


# Everyday asyncio, run and replayed -------------------------------------------------------------------------------


async def work(number: int) -> int:
    await asyncio.sleep((number * 7 % 5) / 10)
    return number


Body = Callable[[lash.Context], Coroutine[Any, Any, Any]]


async def completed_list(ctx: lash.Context) -> Any:
    return [await item for item in asyncio.as_completed([ctx.step(work, number) for number in range(8)])]


async def completed_generator(ctx: lash.Context) -> Any:
    return [await item for item in asyncio.as_completed(ctx.step(work, number) for number in range(8))]


async def completed_tuple_and_timeout(ctx: lash.Context) -> Any:
    found = []
    try:
        for item in asyncio.as_completed(tuple(ctx.step(work, number) for number in range(8)), timeout=0.25):
            found.append(await item)
    except TimeoutError:
        found.append("late")
    return found


async def completed_imported_early(ctx: lash.Context) -> Any:
    """``from asyncio import as_completed`` at the top of a module, before any body ran."""
    return [await item for item in imported_early(ctx.step(work, number) for number in range(8))]


async def completed_set_of_tasks(ctx: lash.Context) -> Any:
    tasks = {asyncio.create_task(ctx.step(work, number)) for number in range(8)}
    return [await item for item in asyncio.as_completed(tasks)]


async def completed_twice_the_same(ctx: lash.Context) -> Any:
    one = ctx.step(work, 1)
    return [await item for item in asyncio.as_completed([one, one, ctx.step(work, 2)])]


async def completed_nested(ctx: lash.Context) -> Any:
    async def inner(base: int) -> list[int]:
        works = (ctx.step(work, base + number) for number in range(3))
        return [await item for item in asyncio.as_completed(works)]

    return [await item for item in asyncio.as_completed(inner(base) for base in (0, 10, 20))]


async def condition_and_barrier(ctx: lash.Context) -> Any:
    condition, barrier, order = asyncio.Condition(), asyncio.Barrier(3), []

    async def one(number: int) -> None:
        await ctx.step(work, number)
        await barrier.wait()
        async with condition:
            order.append(number)
            condition.notify_all()

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(one(number))
        async with condition:
            await condition.wait_for(lambda: len(order) == 3)
    return order


async def priority_queue(ctx: lash.Context) -> Any:
    queue: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()

    async def put(number: int) -> None:
        queue.put_nowait(await ctx.step(work, number))

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(put(number))
    return [queue.get_nowait() for _ in range(6)]


async def shield_and_wait_for(ctx: lash.Context) -> Any:
    inner = asyncio.ensure_future(ctx.step(work, 4))
    try:
        await asyncio.wait_for(asyncio.shield(inner), 0.1)
    except TimeoutError:
        return ["late", await inner]
    return None


async def context_variables(ctx: lash.Context) -> Any:
    import contextvars

    var: contextvars.ContextVar[int] = contextvars.ContextVar("var")

    async def one(number: int) -> int:
        var.set(number)
        await ctx.step(work, number)
        return var.get()

    return await asyncio.gather(*(one(number) for number in range(5)))


async def current_tasks(ctx: lash.Context) -> Any:
    task = asyncio.current_task()
    assert task is not None
    return [task.get_name(), len(asyncio.all_tasks()), await ctx.step(work, 1)]


BODIES: list[Body] = [
    completed_list, completed_generator, completed_tuple_and_timeout, completed_imported_early, completed_set_of_tasks,
    completed_twice_the_same, completed_nested, condition_and_barrier, priority_queue, shield_and_wait_for,
    context_variables, current_tasks,
]  # fmt: skip
if sys.version_info >= (3, 13):

    async def completed_async_for(ctx: lash.Context) -> Any:
        return [await item async for item in asyncio.as_completed(ctx.step(work, number) for number in range(8))]

    BODIES.append(completed_async_for)


@pytest.mark.parametrize("function", BODIES, ids=lambda function: function.__name__)
@virtual
async def test_everyday_asyncio_replays_as_it_ran_at_every_cut(function: Body) -> None:
    app = app_on()
    process = app.process(function)  # type: ignore[arg-type]
    async with app:
        await (await app.start(process, id="p"))
        row = await row_of(app, "p")
        entries = await app.store.history(row.row, 0)
    for again in range(3):
        ballast = [asyncio.sleep for _ in range(again * 777)]
        replayed = await simulate.replay(process, row.record, entries)
        assert replayed.outcome == row.record.outcome
        assert replayed.heard == len(entries)
        del ballast
    for cut in range(len(entries)):
        assert (await simulate.replay(process, row.record, entries[:cut])).outcome is None


@virtual
async def test_a_set_of_coroutines_given_to_as_completed_is_refused_with_advice() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        works = {ctx.step(work, number) for number in range(3)}
        try:
            for item in asyncio.as_completed(works):
                await item
        except lash.InvalidArguments as error:
            for unused in works:
                unused.close()
            return str(error)
        return ""

    async with app:
        assert "list" in await (await app.start(body))


def test_outside_bodies_as_completed_is_as_it_was() -> None:
    async def main() -> None:
        drive(loop_at(), asyncio.sleep(0))
        if sys.version_info >= (3, 12):  # before, asyncio refuses a generator
            lazily = (asyncio.sleep(0, number) for number in range(5))
            assert sorted([await item for item in asyncio.as_completed(lazily)]) == [0, 1, 2, 3, 4]
        works = {asyncio.sleep(0, number) for number in range(5)}
        assert sorted([await item for item in imported_early(works)]) == [0, 1, 2, 3, 4]
        with pytest.raises(TimeoutError):  # noqa: PT012
            for item in asyncio.as_completed([asyncio.sleep(5)], timeout=0.01):
                await item
        with pytest.raises(TypeError):  # noqa: PT012
            single = asyncio.sleep(0)
            try:
                list(asyncio.as_completed(single))  # type: ignore[arg-type]
            finally:
                single.close()

    def plain() -> None:
        asyncio.run(main())

    plain()


@virtual
async def test_a_long_history_is_told_in_slices_and_lets_others_run_in_between() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context) -> int:
        for number in range(1_200):
            await ctx.step(tally.note, number)
        return await ctx.signal("n", int)

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(1)
        row = await row_of(app, "p")
        entries = await app.store.history(row.row, 0)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count_turns())
        await asyncio.sleep(0)
        before = turns
        replayed = await simulate.replay(body, row.record, entries)
        assert replayed.heard == len(entries) == 1_201
        assert turns - before >= 2
        counting.cancel()
        await handle.signal("n", 5)
        assert await handle == 5
