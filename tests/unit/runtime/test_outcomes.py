"""One outcome: whatever a body returns or raises becomes exactly one recorded end, and never the worker's end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import lash
from lash.core.outcome import Failed, Failure
from lash.errors import InvalidValue
from lash.testing import simulate
from tests.unit.runtime.kit import app_on, check_fold, events_of, failure_of, row_of, types_of, virtual


class Odd(BaseException):
    """No ``Exception``."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text to be had")


class Surrogate(Exception):
    def __str__(self) -> str:
        return "half a pair: \ud800"


@dataclass
class Receipt:
    order: str
    cents: int


ENDS = [
    (ValueError("broken"), "execution", "ValueError", "broken"),
    (SystemExit(3), "execution", "SystemExit", "3"),
    (KeyboardInterrupt(), "execution", "KeyboardInterrupt", "KeyboardInterrupt"),
    (GeneratorExit(), "execution", "GeneratorExit", "GeneratorExit"),
    (Odd("odd"), "execution", "Odd", "odd"),
    (StopIteration("over"), "execution", "RuntimeError", "StopIteration"),
    (TimeoutError("late"), "timeout", "timeout", "late"),
    (lash.Terminal("no", code="refused", raw={"why": [1]}), "execution", "refused", "no"),
    (Unprintable(), "execution", "Unprintable", "Unprintable"),
    (Surrogate(), "execution", "Surrogate", "half a pair"),
    (lash.ProcessFailed("child", failure_class="external", failure_code="x"), "external", "x", "child"),
    (lash.Terminal("bad code", code="\ud800"), "execution", "\\ud800", "bad code"),
    (lash.ProcessFailed("bad raw", raw=object()), "internal", "process_failed", "bad raw"),
    (ExceptionGroup("several", [ValueError("1")]), "execution", "ExceptionGroup", "several"),
]


@pytest.mark.parametrize(("error", "failure_class", "code", "message"), ENDS, ids=lambda value: type(value).__name__)
@virtual
async def test_what_a_body_raises_is_its_failure_and_the_worker_goes_on(
    error: BaseException, failure_class: str, code: str, message: str
) -> None:
    app = app_on()

    @app.process
    async def raises(ctx: lash.Context) -> None:
        await asyncio.sleep(0.1)
        raise error

    @app.process
    async def healthy(ctx: lash.Context) -> int:
        return 7

    async with app:
        failed = await failure_of(await app.start(raises, id="p"))
        assert (failed.failure_class, failed.failure_code) == (failure_class, code)
        assert message in str(failed)
        assert await (await app.start(healthy)) == 7


@pytest.mark.parametrize(("error", "failure_class", "code", "message"), ENDS, ids=lambda value: type(value).__name__)
@virtual
async def test_what_a_step_raises_reaches_the_body_as_step_failed(
    error: BaseException, failure_class: str, code: str, message: str
) -> None:
    app = app_on()

    async def fails() -> None:
        raise error

    @app.process
    async def body(ctx: lash.Context) -> Any:
        try:
            await ctx.step(fails)
        except lash.StepFailed as failed:
            return [failed.failure_class, failed.failure_code, str(failed)]

    async with app:
        found = await (await app.start(body))
        assert found[:2] == [failure_class, code]
        assert message in found[2]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, Odd, StopIteration])
def test_what_a_step_in_a_thread_raises_is_recorded_too(kind: type[BaseException]) -> None:
    async def main() -> None:
        app = lash.Runtime("memory://")

        def fails() -> None:
            raise kind("in a thread")

        @app.process
        async def body(ctx: lash.Context) -> str:
            try:
                await ctx.step(fails)
            except lash.StepFailed as failed:
                return failed.failure_code
            return ""

        async with app:
            expected = "RuntimeError" if kind is StopIteration else kind.__name__
            assert await (await app.start(body)).result(timeout=20) == expected

    asyncio.run(main())


@virtual
async def test_a_failure_with_raw_details_keeps_them() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None:
        raise lash.Terminal("no", code="refused", raw={"limit": 3})

    async with app:
        failed = await failure_of(await app.start(body))
        assert failed.raw == {"limit": 3}


UNSTORABLE = {
    "no json": object(),
    "nan": float("nan"),
    "infinity": [1.0, float("-inf")],
    "surrogate": "\udc00",
    "bytes": b"\xff",
    "deep": None,
    "large": "x" * (4 * 1024 * 1024),
}


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("what", UNSTORABLE)
@virtual
async def test_a_result_that_cannot_be_stored_fails_the_process_with_invalid_value(what: str) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return UNSTORABLE[what] if what != "deep" else deep(200)

    async with app:
        failed = await failure_of(await app.start(body, id="p"))
        assert failed.failure_code == "invalid_value"
        assert "result of the process" in str(failed)


@pytest.mark.parametrize("what", UNSTORABLE)
@virtual
async def test_a_step_result_that_cannot_be_stored_is_the_steps_failure_and_is_not_retried(what: str) -> None:
    app = app_on()
    calls = 0

    async def gives() -> Any:
        nonlocal calls
        calls += 1
        return UNSTORABLE[what] if what != "deep" else deep(200)

    @app.process
    async def body(ctx: lash.Context) -> str:
        try:
            await ctx.step(gives, retry=5)
        except lash.StepFailed as failed:
            return failed.failure_code
        return ""

    async with app:
        assert await (await app.start(body)) == "invalid_value"
        assert calls == 1


@virtual
async def test_nesting_up_to_the_limit_is_stored_and_read_back() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return deep(140)

    async with app:
        assert await (await app.start(body)) == deep(140)


@virtual
async def test_a_typed_result_comes_back_typed() -> None:
    app = app_on()

    async def pay(order: str) -> Receipt:
        return Receipt(order, 900)

    @app.process
    async def body(ctx: lash.Context, order: str) -> Receipt:
        receipt = await ctx.step(pay, order)
        assert isinstance(receipt, Receipt)
        return receipt

    async with app:
        assert await (await app.start(body, "o-1")) == Receipt("o-1", 900)


@virtual
async def test_a_step_result_is_the_same_object_shape_on_the_first_run_and_on_replay() -> None:
    """A tuple comes back as the list JSON makes of it, at once and not only after a crash."""
    app = app_on()
    seen: list[Any] = []

    async def gives() -> Any:
        return {"pair": (1, 2), 3: "three"}

    @app.process
    async def body(ctx: lash.Context) -> None:
        seen.append(await ctx.step(gives))

    async with app:
        await (await app.start(body))
    assert seen == [{"pair": [1, 2], "3": "three"}]


@virtual
async def test_a_body_that_never_waits_fails_as_resource_limit() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lash.runtime.bodyloop.ACTIVATION_CALLBACKS_MAX", 1_000)
        app = app_on()

        @app.process
        async def spins(ctx: lash.Context) -> None:
            while True:
                await asyncio.sleep(0)

        @app.process
        async def healthy(ctx: lash.Context) -> int:
            return 7

        async with app:
            failed = await failure_of(await app.start(spins))
            assert (failed.failure_class, failed.failure_code) == ("resource_limit", "body_never_blocks")
            assert await (await app.start(healthy)) == 7


@virtual
async def test_a_body_may_yield_often_between_waits() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> int:
        for _ in range(5_000):
            await asyncio.sleep(0)
        return 1

    async with app:
        assert await (await app.start(body)) == 1


@virtual
async def test_a_body_that_raises_cancelled_error_by_itself_has_failed() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None:
        raise asyncio.CancelledError

    async with app:
        failed = await failure_of(await app.start(body))
        assert failed.failure_code == "cancelled_itself"


@virtual
async def test_the_timeout_of_a_process_fails_it_with_class_timeout() -> None:
    app = app_on()

    @app.process(timeout="2s")
    async def slow(ctx: lash.Context) -> None:
        await ctx.sleep("1h")

    async with app:
        began = simulate.now_ms()
        failed = await failure_of(await app.start(slow, id="p"))
        assert (failed.failure_class, failed.failure_code) == ("timeout", "process_timeout")
        assert 2_000 <= simulate.now_ms() - began < 2_100


@virtual
async def test_a_body_may_clean_up_when_its_time_is_over() -> None:
    app = app_on()
    cleaned: list[str] = []

    async def clean() -> None:
        cleaned.append("done")

    @app.process(timeout="2s")
    async def slow(ctx: lash.Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            await ctx.step(clean)

    async with app:
        assert (await failure_of(await app.start(slow))).failure_code == "process_timeout"
    assert cleaned == ["done"]


@virtual
async def test_a_timeout_error_of_the_bodys_own_is_no_process_timeout() -> None:
    app = app_on()

    @app.process(timeout="1h")
    async def body(ctx: lash.Context) -> None:
        async with asyncio.timeout(0.5):
            await ctx.sleep("1m")

    async with app:
        assert (await failure_of(await app.start(body))).failure_code == "timeout"


@virtual
async def test_the_history_folds_to_the_record_for_every_end() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, fate: str) -> str:
        await ctx.emit("tick", {"fate": fate})
        if fate == "fail":
            raise ValueError("asked to")
        await ctx.signal("never", timeout="3s" if fate == "complete" else None)
        return "never"

    async with app:
        specs = {}
        for fate in ("fail", "cancel", "complete"):
            await app.start(body, fate, id=fate)
            specs[fate] = (await row_of(app, fate)).record.spec
        await asyncio.sleep(2)
        await app.handle("cancel").cancel("enough")
        await asyncio.sleep(20)
        for fate in specs:
            assert (await row_of(app, fate)).record.status.final
            await check_fold(app, fate, specs[fate])
            assert [event.sequence for event in await events_of(app, fate)] == [
                *range(1, len(await events_of(app, fate)) + 1)
            ]
        assert (await types_of(app, "fail"))[-1] == "process.failed"


@virtual
async def test_awaiting_twice_and_from_many_gives_the_one_outcome() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> float:
        await ctx.sleep("1s")
        return ctx.random()

    async with app:
        handle = await app.start(body)
        values = await asyncio.gather(handle.result(), handle.result(), app.handle(handle.id).result())
        assert len(set(values)) == 1
        assert await handle == values[0]


@virtual
async def test_a_failure_given_to_an_external_process_must_be_json() -> None:
    """And spoils no other write of the same transaction."""
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> int:
        return 7

    async with app:
        handle = await app.external("work", id="e")
        other, refused = await asyncio.gather(
            app.start(body), handle.fail("\ud800", code="\udfff"), return_exceptions=True
        )
        assert isinstance(refused, InvalidValue)
        assert isinstance(other, lash.Handle)
        assert await other == 7
        await handle.fail("gave up", raw=object())
        record = await handle.record()
        assert isinstance(record.outcome, Failed)
        assert record.outcome.failure == Failure("external", "external_failure", "gave up", record.outcome.failure.raw)
