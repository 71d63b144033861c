"""A decorated function is called like any other, and the context says what it asked for."""

from __future__ import annotations

import asyncio
import doctest
import sys
from dataclasses import dataclass

import pytest

import lash
from lash.testing import Continued, context


@dataclass
class Approval:
    by: str


def in_a_thread(text: str) -> int:
    return len(text)


@lash.process
async def child(ctx: lash.Context, number: int) -> int:
    return await ctx.step(double, number)


async def double(number: int) -> int:
    return 2 * number


@lash.process
async def everything(ctx: lash.Context, text: str) -> list[object]:
    length = await ctx.step(in_a_thread, text)
    await ctx.sleep("1h")
    approval = await ctx.signal("approval", Approval)
    handle = await ctx.start(child, length)
    await ctx.emit("noticed", {"length": length})
    return [length, approval.by, await handle, ctx.now().isoformat()]


def test_the_documented_example_holds() -> None:
    assert doctest.testmod(sys.modules["lash.testing.context"]).failed == 0


def test_a_body_runs_to_its_end_and_says_what_it_asked_for() -> None:
    ctx = context(signals={"approval": [{"by": "ann"}]})
    assert asyncio.run(everything(ctx, "four")) == [4, "ann", 8, "2023-11-14T23:13:20+00:00"]
    assert ctx.steps == ["in_a_thread"]
    assert ctx.slept == [3600.0]
    assert ctx.emitted == [("noticed", {"length": 4})]
    assert ctx.started == ["test.1"]


def test_a_child_may_be_given() -> None:
    ctx = context(signals={"approval": [{"by": "ann"}]}, children={"child": lambda number: number + 1})
    assert asyncio.run(everything(ctx, "four"))[2] == 5


def test_a_process_awaited_by_its_id_is_one_that_was_given_or_started() -> None:
    @lash.process
    async def waits(ctx: lash.Context) -> list[object]:
        started = await ctx.start(child, 1, id="mine")
        return [await ctx.handle("p-1"), await ctx.handle(started.id), ctx.app]

    assert asyncio.run(waits(context(children={"p-1": 17}, app="the app"))) == [17, 2, "the app"]
    with pytest.raises(lash.InvalidArguments, match="'p-1'"):
        asyncio.run(waits(context()))


def test_a_failing_child_raises_what_was_given() -> None:
    ctx = context(signals={"approval": [{"by": "ann"}]}, children={"child": OSError("away")})
    with pytest.raises(OSError, match="away"):
        asyncio.run(everything(ctx, "four"))


def test_a_signal_that_was_not_given_is_an_error_that_says_how_to_give_it() -> None:
    with pytest.raises(lash.InvalidArguments, match="signals="):
        asyncio.run(everything(context(), "four"))


@lash.process
async def patient(ctx: lash.Context) -> str:
    try:
        return await ctx.signal("answer", str, timeout="3d")
    except TimeoutError:
        return f"nobody by {ctx.now():%d}"


def test_a_timeout_is_over_at_once() -> None:
    assert asyncio.run(patient(context())) == "nobody by 17"


tries: list[int] = []


async def flaky() -> str:
    tries.append(lash.current().attempt)
    if len(tries) < 3:
        raise OSError("not yet")
    return lash.current().idempotency_key


@lash.process
async def stubborn(ctx: lash.Context) -> str:
    return await ctx.step(flaky, retry=lash.Retry(attempts=3, initial="1h"))


def test_retries_cost_no_time_and_count() -> None:
    tries.clear()
    assert asyncio.run(stubborn(context(process_id="p"))) == "p/0"
    assert tries == [1, 2, 3]


@lash.process
async def looping(ctx: lash.Context, number: int) -> None:
    ctx.continue_as_new(number + 1)


def test_continue_as_new_is_seen() -> None:
    with pytest.raises(Continued) as told:
        asyncio.run(looping(context(), 1))
    assert told.value.args == (2,)


def test_a_failing_step_is_step_failed() -> None:
    @lash.process
    async def failing(ctx: lash.Context) -> None:
        await ctx.step(in_a_thread, 5)

    with pytest.raises(lash.StepFailed) as told:
        asyncio.run(failing(context()))
    assert told.value.failure_code == "TypeError"
