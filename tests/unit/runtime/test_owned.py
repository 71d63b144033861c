"""What the tools of a session start belongs to it and ends with it, and none is started for a session that is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.abc.tool import AnyTool, ToolContext, tool
from lash.errors import ProcessCancelled, SessionDeleted
from lash.runtime.context import Context
from lash.runtime.runtime import Runtime
from lash.testing.model import Say
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host


@lash.process
async def endless(ctx: lash.Context, number: int) -> int:
    await ctx.signal("go", int)
    return number


@tool
async def start_two(ctx: ToolContext) -> list[str]:
    """Start one that belongs to the session, and one that does not."""
    mine = await ctx.start(endless, 1)
    free = await ctx.start("endless", 2, detached=True, tags=["free"])
    return [mine.id, free.id]


@tool
async def start_in_body(ctx: Context) -> list[str]:
    """The same from the session's own code."""
    mine = await ctx.start(endless, 1)
    free = await ctx.start(endless, 2, detached=True)
    return [mine.id, free.id]


def calling(used: AnyTool, **options: Any) -> lash.Agent[Any]:
    return agent_of([Say(calls=[(used.name, {})]), "done"], tools=[used], **options)


async def started(app: Runtime) -> list[str]:
    return sorted(row.record.id for row in await app.processes())


@pytest.mark.parametrize("used", [start_two, start_in_body], ids=lambda used: used.name)
@pytest.mark.parametrize("end", ["deleted", "closed"])
@virtual
async def test_what_a_tool_started_ends_with_the_session_unless_it_is_detached(used: AnyTool, end: str) -> None:
    store = memory()
    agent = calling(used)
    async with host(store, agent) as app:
        app.include(endless)
        session = await app.session("s", agent)
        await (await session.send("go"))
        mine, free = sorted(await app.processes(), key=lambda row: row.record.spec.args)
        assert (mine.record.spec.parent, mine.record.spec.detached) == ("session:s", False)
        assert (free.record.spec.parent, free.record.spec.detached) == ("session:s", True)
        front = host(store, agent, worker=False)
        await front.open(with_worker=False)
        if end == "deleted":
            await front.delete_session("s")
        else:
            await (await front.session("s")).close()
        await front.abort()  # what it wrote is all there is
        with pytest.raises(ProcessCancelled, match="the session was"):
            await app.handle(mine.record.id)
        await app.handle(free.record.id).signal("go", 1)
        assert await app.handle(free.record.id) == 2


@virtual
async def test_a_call_that_is_made_again_starts_nothing_twice() -> None:
    store = memory()
    calls: list[list[str]] = []

    @tool
    async def start_and_wait(ctx: ToolContext) -> list[str]:
        """Start two, and take long."""
        calls.append([(await ctx.start(endless, number)).id for number in (1, 2)])
        await asyncio.sleep(20)
        return calls[-1]

    agent = calling(start_and_wait)
    app = host(store, agent)
    app.include(endless)
    await app.open()
    await (await app.session("s", agent)).send("go")
    await asyncio.sleep(5)
    await app.abort()
    agent = agent_of(["done"], tools=[start_and_wait])
    async with host(store, agent) as second:
        second.include(endless)
        await (await second.session("s", agent)).turn(1)
        assert len(calls) == 2
        assert calls[0] == calls[1]
        assert await started(second) == sorted(calls[0])


@virtual
async def test_nothing_is_started_by_a_tool_whose_session_was_deleted_elsewhere() -> None:
    store = memory()
    refused: list[BaseException] = []

    @tool
    async def late(ctx: ToolContext) -> str:
        """Start a process after the deletion, before this worker has heard of it."""
        await asyncio.sleep(2)
        try:
            await ctx.start(endless, 1)
        except SessionDeleted as error:
            refused.append(error)
            raise
        return "started"

    agent = calling(late)
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        app.include(endless)
        await (await app.session("s", agent)).send("go")
        await asyncio.sleep(1)
        await other.delete_session("s")
        await asyncio.sleep(60)
        assert await started(app) == []
        assert app.counters.leases_lost == len(refused) == 1


@pytest.mark.parametrize(("elsewhere", "within_s"), [(False, 0.1), (True, 4)])
@virtual
async def test_a_tool_at_work_is_cancelled_when_its_session_is_deleted(elsewhere: bool, within_s: float) -> None:
    """At once where that is done, and else with the next renewal of the leases."""
    ended: list[float] = []

    @tool
    async def long(ctx: ToolContext) -> str:
        """Work."""
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(asyncio.get_running_loop().time())
            assert ctx.cancelled
        return "never"

    store = memory()
    agent = agent_of([Say(calls=[("long", {})])], tools=[long])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        turn = await (await app.session("s", agent)).send("go")
        await asyncio.sleep(8)  # between two renewals
        assert not ended
        began = asyncio.get_running_loop().time()
        await (other if elsewhere else app).delete_session("s")
        with pytest.raises(SessionDeleted):
            await turn
        await asyncio.sleep(within_s)
        assert [moment - began <= within_s for moment in ended] == [True]
