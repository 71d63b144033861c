"""A step is recorded once: attempts, back-off, timeouts and keys, live and over a crash."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from functools import partial
from typing import Any

import pytest

import lash
from lash.core.effect import EntryKind
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, failure_of, memory, parked, row_of, until, virtual


class Flaky:
    """Fails until attempt ``good``; remembers when each attempt began."""

    def __init__(self, good: int, error: Exception | None = None) -> None:
        self.good = good
        self.error = error
        self.began_ms: list[int] = []
        self.attempts: list[int] = []

    async def work(self) -> str:
        self.began_ms.append(simulate.now_ms())
        self.attempts.append(lash.current().attempt)
        if len(self.began_ms) < self.good:
            raise self.error or OSError(f"attempt {len(self.began_ms)}")
        return "done"


@virtual
async def test_a_failing_step_is_tried_again_with_growing_pauses() -> None:
    flaky = Flaky(5)
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(flaky.work, retry=lash.Retry(attempts=5, initial="1s", factor=2, maximum="3s"))

    async with app:
        assert await (await app.start(body, id="p")) == "done"
        pauses = [after - before for before, after in zip(flaky.began_ms, flaky.began_ms[1:], strict=False)]
        assert pauses == [1_000, 2_000, 3_000, 3_000]
        assert flaky.attempts == [1, 2, 3, 4, 5]
        entries = await app.store.history((await row_of(app, "p")).row, 0)
        assert [(entry.kind, entry.attempt, entry.failed) for entry in entries] == [
            (EntryKind.ATTEMPT, 1, True),
            (EntryKind.ATTEMPT, 2, True),
            (EntryKind.ATTEMPT, 3, True),
            (EntryKind.ATTEMPT, 4, True),
            (EntryKind.STEP, 5, False),
        ]


@virtual
async def test_without_retry_one_failure_is_final() -> None:
    flaky = Flaky(2)
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(flaky.work)

    async with app:
        failed = await failure_of(await app.start(body))
        assert (failed.failure_class, failed.failure_code) == ("execution", "OSError")
        assert len(flaky.began_ms) == 1


@virtual
async def test_the_last_attempt_decides() -> None:
    flaky = Flaky(99)
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            return await ctx.step(flaky.work, retry=3)
        except lash.StepFailed as failed:
            return str(failed)

    async with app:
        assert await (await app.start(body)) == "attempt 3"


@pytest.mark.parametrize("error", [lash.Terminal("stop"), KeyError("not among them")])
@virtual
async def test_terminal_and_errors_not_named_are_not_retried(error: Exception) -> None:
    flaky = Flaky(99, error)
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(flaky.work, retry=lash.Retry(attempts=9, on=(OSError,)))

    async with app:
        await failure_of(await app.start(body))
        assert len(flaky.began_ms) == 1


@virtual
async def test_a_long_pause_between_attempts_holds_no_worker_and_survives_a_crash() -> None:
    flaky = Flaky(3)
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(flaky.work, retry=lash.Retry(attempts=5, initial="10m", factor=2, maximum="1d"))

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    row = await parked(app, "p")
    assert row.record.waiting is not None
    assert row.record.waiting.on == "retry"
    assert row.record.waiting.until_ms == flaky.began_ms[0] + 600_000
    await simulate.crash(app)
    async with app_on(store, body, resident=0) as again:
        assert await again.handle("p") == "done"
    pauses = [after - before for before, after in zip(flaky.began_ms, flaky.began_ms[1:], strict=False)]
    assert pauses == [600_000, 1_200_000]
    assert flaky.attempts == [1, 2, 3]


@virtual
async def test_the_attempt_count_survives_a_crash_in_the_middle_of_an_attempt() -> None:
    store, attempts = memory(), []

    async def work() -> str:
        attempts.append(lash.current().attempt)
        if len(attempts) == 3:
            await asyncio.Event().wait()  # the attempt the crash interrupts
        if lash.current().attempt < 4:
            raise OSError("again")
        return "done"

    @lash.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(work, retry=lash.Retry(attempts=4, initial="10ms"))

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: len(attempts) == 3)
    await simulate.crash(app)
    async with app_on(store, body) as again:
        assert await again.handle("p") == "done"
    assert attempts == [1, 2, 3, 3, 4]


@virtual
async def test_the_timeout_bounds_each_attempt_and_counts_as_a_failure() -> None:
    app = app_on()
    attempts = []

    async def work() -> str:
        attempts.append(lash.current().attempt)
        if len(attempts) < 3:
            await asyncio.sleep(3_600)
        return "done"

    @app.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(work, timeout="2s", retry=lash.Retry(attempts=3, initial=0))

    @app.process
    async def hopeless(ctx: lash.Context) -> str:
        attempts.clear()
        return await ctx.step(work, timeout="2s")

    async with app:
        began = simulate.now_ms()
        assert await (await app.start(body)) == "done"
        assert attempts == [1, 2, 3]
        assert 4_000 <= simulate.now_ms() - began < 4_100
        failed = await failure_of(await app.start(hopeless))
        assert (failed.failure_class, failed.failure_code) == ("timeout", "timeout")


@virtual
async def test_a_step_knows_its_key_and_the_key_is_the_same_in_every_attempt_and_after_a_crash() -> None:
    store, keys = memory(), []

    async def work() -> int:
        keys.append((lash.current().idempotency_key, lash.current().process_id))
        if len(keys) == 1:
            raise OSError("again")
        if len(keys) == 2:
            await asyncio.Event().wait()
        return len(keys)

    async def other() -> str:
        return lash.current().idempotency_key

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        first = await ctx.step(other)
        return [first, await ctx.step(work, retry=lash.Retry(attempts=2, initial="1ms")), await ctx.step(other)]

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: len(keys) == 2)
    await simulate.crash(app)
    async with app_on(store, body) as again:
        first, _, last = await again.handle("p")
    assert len({first, last, keys[0][0]}) == 3
    assert len(set(keys)) == 1
    assert keys[0][1] == "p"


@virtual
async def test_steps_in_parallel_are_performed_at_the_same_time_and_delivered_as_recorded() -> None:
    app = app_on()
    at_once, most = 0, 0

    async def work(seconds: float) -> float:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(seconds)
        at_once -= 1
        return seconds

    @app.process
    async def body(ctx: lash.Context) -> list[float]:
        ended: list[float] = []

        async def one(seconds: float) -> None:
            ended.append(await ctx.step(work, seconds))

        await asyncio.gather(*(one(seconds) for seconds in (0.3, 0.1, 0.2)))
        return ended

    async with app:
        began = simulate.now_ms()
        assert await (await app.start(body)) == [0.1, 0.2, 0.3]
        assert simulate.now_ms() - began < 400
    assert most == 3


@virtual
async def test_more_steps_than_may_fly_at_once_queue_in_order() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lash.runtime.bodyrun.STEPS_IN_FLIGHT_MAX", 3)
        app = app_on()
        at_once, most, order = 0, 0, []

        async def work(number: int) -> int:
            nonlocal at_once, most
            order.append(number)
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.1)
            at_once -= 1
            return number

        @app.process
        async def body(ctx: lash.Context) -> list[int]:
            return await asyncio.gather(*(ctx.step(work, number) for number in range(20)))

        async with app:
            assert await (await app.start(body)) == list(range(20))
        assert most == 3
        assert order == list(range(20))


@virtual
async def test_a_step_that_swallows_its_cancellation_is_still_not_recorded() -> None:
    """DESIGN section 5: what a cancelled step would have returned is never recorded."""
    app = app_on()
    ended = asyncio.Event()

    async def deaf() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        ended.set()
        return "too late"

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            async with asyncio.timeout(1):
                return await ctx.step(deaf)
        except TimeoutError:
            await ctx.sleep(1)
            return "timed out"

    async with app:
        assert await (await app.start(body, id="p")) == "timed out"
        assert ended.is_set()
        entries = await app.store.history((await row_of(app, "p")).row, 0)
        assert [entry.kind for entry in entries] == [EntryKind.SLEEP, EntryKind.SLEEP]


@virtual
async def test_a_step_that_fails_while_being_cancelled_is_not_recorded_either() -> None:
    app = app_on()

    async def clumsy() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("clean-up failed")

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            async with asyncio.timeout(1):
                return await ctx.step(clumsy, retry=5)
        except TimeoutError:
            await ctx.sleep(1)
            return "timed out"

    async with app:
        assert await (await app.start(body, id="p")) == "timed out"
        entries = await app.store.history((await row_of(app, "p")).row, 0)
        assert [entry.kind for entry in entries] == [EntryKind.SLEEP, EntryKind.SLEEP]


def test_a_sync_step_runs_in_a_thread_and_learns_that_nobody_wants_it() -> None:
    """With real threads: the flag must reach one."""
    told = threading.Event()
    threads: list[int] = []

    def work() -> None:
        threads.append(threading.get_ident())
        step = lash.current()
        while not step.cancelled:
            pass
        told.set()

    async def main() -> None:
        app = lash.Runtime("memory://")

        @app.process
        async def body(ctx: lash.Context) -> str:
            try:
                async with asyncio.timeout(0.05):
                    await ctx.step(work)
            except TimeoutError:
                return "timed out"
            return ""

        async with app:
            assert await (await app.start(body)).result(timeout=20) == "timed out"

    asyncio.run(main())
    assert told.wait(20)
    assert threads != [threading.get_ident()]


@virtual
async def test_a_sync_function_that_returns_an_awaitable_is_awaited() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        return [await ctx.step(lambda: tally.note("lambda")), await ctx.step(partial(tally.note, "partial"))]

    async with app:
        assert await (await app.start(body)) == ["lambda", "partial"]


class Doubler:
    """An object with an async ``__call__``, and one that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    async def __call__(self, number: int) -> int:
        return 2 * number


@virtual
async def test_anything_callable_is_a_step() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        return [await ctx.step(Doubler(), 21), await ctx.step(len, "four"), await ctx.step(str.upper, "x")]

    async with app:
        assert await (await app.start(body)) == [42, 4, "X"]


@virtual
async def test_what_cannot_be_called_is_refused_by_name() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            await ctx.step("no function")  # type: ignore[call-overload]
        except lash.InvalidArguments as error:
            return str(error)
        return ""

    async with app:
        assert "'no function'" in await (await app.start(body))


VAR: contextvars.ContextVar[str] = contextvars.ContextVar("kit_var", default="clean")


@virtual
async def test_context_variables_of_one_step_do_not_leak_into_another_or_into_the_body() -> None:
    app = app_on()

    async def stains() -> str:
        VAR.set("stained")
        await asyncio.sleep(0.01)
        return VAR.get()

    async def looks() -> str:
        return VAR.get()

    @app.process
    async def body(ctx: lash.Context) -> list[str]:
        seen = [await ctx.step(stains), VAR.get(), await ctx.step(looks)]
        seen += await asyncio.gather(ctx.step(stains), ctx.step(looks))
        await ctx.sleep("5s")
        return [*seen, await ctx.step(looks), VAR.get()]

    async with app:
        expected = ["stained", "clean", "clean", "stained", "clean", "clean", "clean"]
        assert await (await app.start(body)) == expected


@virtual
async def test_a_step_result_that_is_not_as_annotated_is_invalid_value_in_the_body() -> None:
    app = app_on()

    async def lies() -> int:
        return "no number"  # type: ignore[return-value]

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            await ctx.step(lies)
        except lash.InvalidValue as error:
            return error.code
        return ""

    async with app:
        assert await (await app.start(body)) == "invalid_value"


@virtual
async def test_a_step_may_fail_with_anything_that_is_retried_by_name_only() -> None:
    """Retry names exceptions; a StepFailed of another process is one of them."""
    app, calls = app_on(), []

    async def work() -> None:
        calls.append(1)
        raise lash.ProcessFailed("down", failure_class="unavailable", failure_code="peer")

    @app.process
    async def body(ctx: lash.Context) -> None:
        await ctx.step(work, retry=lash.Retry(attempts=3, initial=0, on=(lash.ProcessFailed,)))

    async with app:
        failed = await failure_of(await app.start(body))
        assert (failed.failure_class, failed.failure_code) == ("unavailable", "peer")
    assert len(calls) == 3


@virtual
async def test_an_effect_too_many_is_refused_with_the_way_out() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lash.runtime.bodyrun.EFFECTS_MAX", 10)
        app, tally = app_on(), Tally()

        @app.process
        async def body(ctx: lash.Context) -> None:
            for number in range(11):
                await ctx.step(tally.note, number)

        async with app:
            failed = await failure_of(await app.start(body))
            assert "continue_as_new" in str(failed)
        assert len(tally.calls) == 10
