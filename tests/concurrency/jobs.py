"""The processes that several OS processes work on, with what must come of each; every performed step leaves a line.

A process's result depends on its arguments alone, so that whoever checks needs to know nothing of what happened.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import lash

LEDGER_VARIABLE = "LASH_TEST_LEDGER"
FLAGS_VARIABLE = "LASH_TEST_FLAGS"
"""A folder in which the test says what steps should do."""
BLOCKED_S_MAX = 60
"""A test that has not let a blocked worker go by then has failed."""


def note(label: str) -> None:
    """One appended line: who performs what. Short writes to a file opened for appending do not mix."""
    step = lash.current()
    line = f"{step.idempotency_key}#{step.attempt} {os.getpid()} {time.time_ns() // 1_000_000} {label}\n"
    descriptor = os.open(os.environ[LEDGER_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def flag(name: str) -> Path:
    return Path(os.environ[FLAGS_VARIABLE], name)


# Steps -------------------------------------------------------------------------------------------------------------


async def add(total: int, value: int, ms: int) -> int:
    note("add")
    await asyncio.sleep(ms / 1_000)
    return total + value


def add_in_thread(total: int, value: int) -> int:
    note("thread")
    time.sleep(0.005)
    return total + value


async def stubborn(value: int) -> int:
    note("stubborn")
    if lash.current().attempt < 3:
        raise ConnectionError("not yet")
    return value


async def until_let_go(name: str) -> int:
    """Runs until the test makes the file ``name``, or ``name-<pid>`` for one worker alone."""
    note("gate")
    while not flag(name).exists() and not flag(f"{name}-{os.getpid()}").exists():
        await asyncio.sleep(0.02)
    return os.getpid()


async def nap_in_step(ms: int) -> int:
    note("nap")
    await asyncio.sleep(ms / 1_000)
    return os.getpid()


async def block_until_let_go(name: str) -> int:
    """Whoever comes first blocks its whole event loop until the test makes ``<name>-over``; the next one does not."""
    note("block")
    try:
        flag(name).touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    until = time.monotonic() + BLOCKED_S_MAX
    while not flag(f"{name}-over").exists() and time.monotonic() < until:
        time.sleep(0.005)
    return os.getpid()


async def block_first(name: str, seconds: float) -> int:
    """Whoever comes first blocks its whole event loop; the next one does not."""
    note("block")
    try:
        flag(name).touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    time.sleep(seconds)
    return os.getpid()


def compute_until_let_go(name: str) -> None:
    """What a body must not do: keep its loop busy, here until the test makes the file ``<name>-over``."""
    until = time.monotonic() + BLOCKED_S_MAX
    while not flag(f"{name}-over").exists() and time.monotonic() < until:
        pass


# Processes ---------------------------------------------------------------------------------------------------------


@lash.process
async def chain(ctx: lash.Context, start: int, count: int) -> int:
    total = start
    for number in range(count):
        total = await ctx.step(add, total, number, 60)
    return await ctx.step(add_in_thread, total, 100)


@lash.process
async def fan(ctx: lash.Context, start: int, count: int) -> int:
    parts = [ctx.step(add, start, number, 40 * number) for number in range(count)]
    soon = lash.Retry(attempts=4, initial="5ms")
    return sum(await asyncio.gather(*parts, ctx.step(stubborn, 7, retry=soon)))


@lash.process
async def nap(ctx: lash.Context, start: int, ms: int) -> int:
    total = await ctx.step(add, start, 1, 1)
    await ctx.sleep(ms / 1_000)
    async with asyncio.timeout(3_600):
        await asyncio.gather(ctx.sleep(ms / 2_000), asyncio.sleep(ms / 1_000))
    return await ctx.step(add, total, 1, 1)


@lash.process
async def ask(ctx: lash.Context, start: int) -> int:
    total = await ctx.step(add, start, 1, 1)
    while True:
        try:
            answer = await ctx.signal("answer", int, timeout="400ms")
            break
        except TimeoutError:
            await ctx.emit("impatient")
    more = await ctx.signal("more", int)
    return await ctx.step(add, total, answer * 10 + more, 1)


@lash.process
async def brood(ctx: lash.Context, start: int, count: int) -> int:
    children = [await ctx.start(chain, start + number, 2) for number in range(count)]
    total = sum(await asyncio.gather(*children))
    return await ctx.step(add, total, 1, 1)


@lash.process
async def doomed(ctx: lash.Context, start: int) -> int:
    child = await ctx.start(ask, start)
    try:
        return await child
    except asyncio.CancelledError:
        await ctx.step(add, start, 1, 1)
        raise


@lash.process
async def gated(ctx: lash.Context, name: str) -> list[int]:
    first = await ctx.step(until_let_go, name)
    return [first, await ctx.step(nap_in_step, 1)]


@lash.process
async def gated_later(ctx: lash.Context, name: str) -> list[int]:
    """Its worker has written for it before, and may remember the row."""
    await ctx.step(nap_in_step, 1)
    return [await ctx.step(until_let_go, name), await ctx.step(nap_in_step, 1)]


@lash.process
async def naps(ctx: lash.Context, first_ms: int, then_ms: int) -> list[int]:
    first = await ctx.step(nap_in_step, first_ms)
    return [first, await ctx.step(nap_in_step, then_ms)]


@lash.process
async def blocking_step(ctx: lash.Context, name: str) -> list[int]:
    first = await ctx.step(block_until_let_go, name)
    return [first, await ctx.step(nap_in_step, 1)]


@lash.process
async def blocking_body(ctx: lash.Context, name: str) -> list[int]:
    """Computes too long between two steps, where it was wrongly put; the second worker finds it done."""
    await ctx.step(nap_in_step, 1)
    if not flag(name).exists():
        flag(name).touch()
        compute_until_let_go(name)
    return [await ctx.step(nap_in_step, 1)]


@lash.process
async def blocking_end(ctx: lash.Context, name: str) -> int:
    """Computes too long after its last step: nothing but the outcome is left to write. Its value tells who ran it."""
    await ctx.step(nap_in_step, 1)
    if not flag(name).exists():
        flag(name).touch()
        compute_until_let_go(name)
    return os.getpid()


@lash.process
async def parked(ctx: lash.Context, number: int) -> int:
    return number + await ctx.signal("go", int)


@lash.process(recovery="once")
async def just_once(ctx: lash.Context, name: str, seconds: float) -> int:
    return await ctx.step(block_first, name, seconds)


@lash.process
async def rounds(ctx: lash.Context, left: int, total: int) -> int:
    """Goes on as new after each round, with a child and an event in every one."""
    total = await ctx.step(add, total, left, 10)
    total += await (await ctx.start(chain, 0, 1))
    await ctx.emit("round", left)
    if left > 1:
        ctx.continue_as_new(left - 1, total)
    return total


@lash.process(recovery="once")
async def solo(ctx: lash.Context, start: int) -> int:
    total = await ctx.step(add, start, 1, 80)
    return await ctx.step(add, total, 1, 80)


@lash.process
async def shared(ctx: lash.Context, number: int) -> int:
    return number + await ctx.signal("end", int)


@lash.process
async def meet(ctx: lash.Context, number: int) -> int:
    """Waits three times for what may come at that very moment; the second time for a child that two share."""
    first = await ctx.signal("a", int)
    child = await ctx.start(shared, number // 2, id=f"shared-{number // 2}", detached=True)
    second = await child
    return first + second + await ctx.signal("b", int)


@lash.process
async def stamped(ctx: lash.Context) -> int:
    """When it began to run, in epoch nanoseconds. What no body should do: it is for a single run."""
    return time.time_ns()


PROCESSES = (
    chain, fan, nap, ask, brood, doomed, rounds, solo,
    gated, gated_later, naps, blocking_step, blocking_body, blocking_end, parked, just_once, shared, meet, stamped,
)  # fmt: skip


def expected(kind: str, args: list[int]) -> object:
    """The outcome of a process of the chaos client: its value, or ``cancelled``."""
    match kind, args:
        case "chain", [start, count]:
            return start + sum(range(count)) + 100
        case "fan", [start, count]:
            return sum(start + number for number in range(count)) + 7
        case "nap", [start, _]:
            return start + 2
        case "ask", [start]:
            return start + 1 + 3 * 10 + 4
        case "brood", [start, count]:
            return sum(start + number + 1 + 100 for number in range(count)) + 1
        case "rounds", [left, total]:
            return total + sum(range(1, left + 1)) + 100 * left
        case "solo", [start]:
            return start + 2
        case "doomed", _:
            return "cancelled"
        case _:
            raise ValueError(kind)
