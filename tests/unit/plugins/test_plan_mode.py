"""While a session plans only harmless tools work, whatever the model tries; the user's word begins and ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import lash
from lash.core.message import Message, user
from lash.core.observe import PluginEvent
from lash.errors import InvalidAgent
from lash.plugins.plan_mode import PlanMode, asked
from lash.testing import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said

written: list[str] = []


@lash.tool
async def write(text: str) -> str:
    """Change something."""
    written.append(text)
    return "written"


@lash.tool
async def look() -> str:
    """Change nothing."""
    return "seen"


@pytest.fixture(autouse=True)
def nothing_written() -> None:
    written.clear()


def planner(lines: list[Any], **options: Any) -> lash.Agent[Any]:
    plan = PlanMode(allow=["look", "mcp__docs__*"], **options)
    return agent_of(lines, tools=[write, look], plugins=[plan])


def choosing(*choices: Any) -> Callable[[lash.ToolContext, str], Any]:
    left = list(choices)

    async def decide(ctx: lash.ToolContext, plan: str) -> Any:
        assert plan == "1. write it"
        return left.pop(0)

    return decide


PLAN = ("plan_exit", {"plan": "1. write it"})
WRITE = ("write", {"text": "x"})


async def told(session: Any, text: str) -> list[Any]:
    """What observers who were there before are told of planning, in the turn of this message."""
    found: list[Any] = []
    watching = asyncio.Event()

    async def watch() -> None:
        events = session.observe()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        watching.set()
        event = await waiting
        while not isinstance(event, lash.Committed):
            if isinstance(event, PluginEvent):
                found.append((event.plugin, event.name, event.payload))
            event = await anext(events)
        await events.aclose()

    watcher = asyncio.create_task(watch())
    await watching.wait()
    await (await session.send(text))
    await watcher
    return found


@virtual
async def test_a_tool_that_is_not_allowed_is_refused_and_not_called() -> None:
    agent = planner([Say(calls=[WRITE, ("look", {})]), "a plan", Say(calls=[WRITE]), "did it"])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert await told(session, "/plan mend it") == [("plan_mode", "state", {"on": True})]
        lines = await said(session)
        assert lines[1][0] == "system"
        assert "look" in lines[1][1]
        blocked, seen = lines[3][1].split(" | ")
        assert blocked.startswith("[failed: plan_mode_tool_blocked] write does not work while planning")
        assert (seen, written) == ("seen", [])
        assert await told(session, "/plan start") == [("plan_mode", "state", {"on": False})]
        assert written == ["x"]
        assert ("system", "Planning is over. All tools may be used again.") in await said(session)


@virtual
async def test_the_guidance_is_given_once_each_time_planning_begins() -> None:
    agent = planner(["a"] * 9)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        for text in ("hello", "/plan", "go on", "/plan more", "/plan OFF", "thanks", "/plan", "/planned", "x"):
            await (await session.send(text))
        roles = [line[0] for line in await said(session)]
    assert "".join(role[0] for role in roles) == "ua" + "usa" + "ua" + "ua" + "usa" + "ua" + "usa" + "ua" + "ua"


@virtual
async def test_a_plan_that_is_accepted_is_carried_out_in_the_same_turn() -> None:
    lines = [Say(calls=[PLAN, WRITE]), Say(calls=[WRITE]), Say(calls=[PLAN]), Say(calls=[WRITE]), "done"]
    agent = planner(lines, decide=choosing("use fewer words", "start"), begin=True)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert [event[2] for event in await told(session, "mend it")] == [{"on": True}, {"on": False}]
        results = [text for role, text in await said(session) if role == "tool"]
    kept, blocked = results[0].split(" | ")
    assert kept == "The user wants you to go on planning: use fewer words"
    assert blocked.startswith("[failed: plan_mode_tool_blocked]")
    assert results[1].startswith("[failed: plan_mode_tool_blocked]")
    assert results[2].startswith("The user accepts the plan.")
    assert results[3] == "written"
    assert written == ["x"]


@virtual
async def test_a_fresh_context_knows_the_plan_and_nothing_else() -> None:
    model = ScriptedModel([Say(calls=[PLAN]), Say(calls=[WRITE]), "done"])
    plan = PlanMode(allow=["look"], decide=choosing("fresh"), begin=True)
    agent = agent_of(model, tools=[write, look], plugins=[plan])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("mend it"))
        while len(model.requests) < 3:
            await asyncio.sleep(0.01)
        first = model.requests[1].messages
        assert [message.role for message in first] == ["user"]
        assert first[0].text.endswith("1. write it")
        assert [tool.name for tool in model.requests[0].tools] == ["write", "look", "plan_exit"]
        assert [tool.name for tool in model.requests[1].tools] == ["write", "look"]
        assert written == ["x"]


@virtual
async def test_planning_is_kept_over_a_restart_and_in_a_fork_and_ends_in_neither_for_the_other() -> None:
    store = memory()
    agent = planner(["a plan", Say(calls=[WRITE]), "no", "x", Say(calls=[WRITE]), "no"])
    async with host(store, agent) as app:
        await (await (await app.session("s", agent)).send("/plan"))
    async with host(store, agent) as app:
        session = await app.session("s", agent)
        await (await session.send("write!"))
        assert written == []
        fork = await session.fork(None, "f")
        await (await session.send("/plan off"))
        await (await fork.send("write!"))
        assert written == []


def test_only_the_users_own_last_word_counts() -> None:
    def after(*messages: Message, on: bool = True) -> bool:
        return asked(messages, "/plan", on)

    start = user("/plan start")
    assert after(start) is False
    assert after(user(" /PLAN off")) is True
    assert after(user(" /plan  Off ")) is False
    assert after(user("please /plan off")) is True
    assert after(user("/plan off the record")) is True
    assert after(user("/plan"), start) is False
    assert after(start, user("/plan mend it")) is True
    assert after(user("hello"), on=False) is False
    assert after(start, Message("assistant", (lash.Text("/plan start"),))) is True
    for origin in ("wake", "plugin:other", "steer"):
        assert after(user("/plan off", origin=origin)) is True


@virtual
async def test_a_decision_that_is_none_fails_the_call_and_planning_goes_on() -> None:
    lines = [Say(calls=[PLAN]), Say(calls=[("plan_exit", {"plan": " "})]), Say(calls=[WRITE]), "no"]
    agent = planner(lines, decide=choosing(None), begin=True)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("go"))
        results = [text for role, text in await said(session) if role == "tool"]
    assert "returned None" in results[0]
    assert "The plan is empty" in results[1]
    assert results[2].startswith("[failed: plan_mode_tool_blocked]")
    assert written == []


@pytest.mark.parametrize(
    "options", [{"allow": "look"}, {"allow": [1]}, {"command": ""}, {"command": "/plan it"}, {"decide": "start"}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidAgent):
        PlanMode(**options)


def test_patterns_allow_what_they_match() -> None:
    plan = PlanMode(allow=["look", "mcp__docs__*"])
    assert [plan.allows(name) for name in ("look", "mcp__docs__read", "looks", "mcp__other__read")] == [
        True, True, False, False,
    ]  # fmt: skip
