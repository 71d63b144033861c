"""What bodies and tools ask of agents and models: counted once, refused by name, no failure for want of a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.abc.tool import tool
from lash.core.model import Usage
from lash.core.turn import Finished, Stopped, TurnLimits
from lash.errors import InvalidAgent, InvalidArguments, ModelUnavailable, SessionConflict, SessionDeleted
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host

TEN = Usage(100, 10)
"""What a line of a script uses."""


@virtual
async def test_what_the_tools_of_a_turn_ask_of_models_is_counted_with_the_turn_once() -> None:
    """Under its own model, grandchildren included; the child's own session has its own sum."""
    direct = ScriptedModel(["direct"])
    leaf = agent_of(["leaf"], "leaf")

    @tool
    async def deeper(ctx: lash.Context) -> str:
        """Ask a leaf."""
        outcome = await ctx.run(leaf, "say")
        return outcome.text

    child = agent_of([Say(calls=[("deeper", {})]), "child"], "child", tools=[deeper])

    @tool
    async def delegate(ctx: lash.Context) -> str:
        """Ask a child, and a model."""
        outcome = await ctx.run(child, "go", session="inner")
        answer = await ctx.model((direct, "direct"), "what?")
        return outcome.text + answer.text

    parent = agent_of([Say(calls=[("delegate", {})]), "done"], "parent", tools=[delegate])
    async with host(memory(), parent, child, leaf, linger="0s") as app:
        session = await app.session("outer", parent)
        outcome = await (await session.send("go"))
        assert isinstance(outcome, Finished)
        six = Usage(600, 60)
        assert outcome.usage == six
        used = await session.usage()
        assert used.total == six
        calls = {model.rpartition(":")[2]: calls for model, (calls, _) in used.models.items()}
        assert calls == {"test": 5, "direct": 1}
        assert (await (await app.session("inner")).usage()).total == Usage(300, 30)


@virtual
async def test_what_a_tool_spends_counts_towards_the_limit_of_the_turn() -> None:
    child = agent_of(["child"], "child")

    @tool
    async def delegate(ctx: lash.Context) -> str:
        """Ask a child."""
        return (await ctx.run(child, "go")).text

    script = ScriptedModel(always=Say(calls=[("delegate", {})]))
    parent = agent_of(script, "parent", tools=[delegate], limits=TurnLimits(tokens=220))
    async with host(memory(), parent, child, linger="0s") as app:
        outcome = await (await (await app.session("outer", parent)).send("go"))
        assert isinstance(outcome, Stopped)
        assert (outcome.reason, len(script.requests), outcome.usage) == ("limit", 1, Usage(200, 20))


@virtual
async def test_a_session_that_cannot_be_run_is_refused_by_its_own_error() -> None:
    helper, other = agent_of(["hi"], "helper"), agent_of(["hi"], "other")
    raised: list[type[Exception]] = []

    @lash.process
    async def ask(ctx: lash.Context) -> int:
        for name in ("taken", "deleted"):
            try:
                await ctx.run(helper, "one", session=name)
            except (SessionConflict, SessionDeleted) as error:
                raised.append(type(error))
        return len(raised)

    async with host(memory(), helper, other) as app:
        app.include(ask)
        await app.session("taken", other)
        await app.session("deleted", helper)
        await app.delete_session("deleted")
        assert await (await app.start(ask)) == 2
        assert raised == [SessionConflict, SessionDeleted]


@virtual
async def test_a_model_that_is_not_to_be_had_blocks_the_process_and_fails_nothing() -> None:
    @lash.process
    async def ask(ctx: lash.Context) -> str:
        return (await ctx.model("nowhere:m", "what?")).text

    async with host(memory(), agent_of(["hi"])) as app:
        app.include(ask)
        handle = await app.start(ask, id="p")
        await asyncio.sleep(30)
        record = await handle.record()
        assert record.status is lash.Status.RUNNING
        assert record.blocked is not None
        assert record.blocked.reason == ModelUnavailable.code
        await handle.cancel("enough")
        with pytest.raises(lash.ProcessCancelled):
            await handle


@virtual
async def test_what_a_model_cannot_be_asked_with_is_named() -> None:
    model = ScriptedModel([])
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"prompt": " "}, "ctx.model needs a prompt"),
        ({"instructions": 5}, "instructions of ctx.model are text, not 5"),
        ({"settings": {}}, "settings= of agent 'ctx.model' takes a lash.ModelSettings, not {}"),
        ({"model": ("x", "y")}, "model of agent 'ctx.model' must be .* not 'x'"),
        ({"output": 3}, "output type of agent 'ctx.model', 3,"),
    ]

    @lash.process
    async def ask(ctx: lash.Context) -> int:
        for options, says in wrong:
            with pytest.raises((InvalidArguments, InvalidAgent), match=says):
                await ctx.model(**{"model": (model, "m"), "prompt": "what?", **options})
        return len(wrong)

    async with host(memory()) as app:
        app.include(ask)
        assert await (await app.start(ask)) == 5
    assert model.requests == []
