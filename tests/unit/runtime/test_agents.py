"""An agent is checked when it is made: each parameter that was given something else says which, what and what now."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

import lash
from lash.errors import InvalidAgent, InvalidName
from lash.modes.standard import Standard
from lash.testing import simulate
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, row_of, virtual
from tests.unit.runtime.sessions import host


@lash.tool
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


class Quiet(lash.Plugin):
    id: ClassVar[str] = "quiet"


@dataclass
class Sum:
    total: int


def of_nothing() -> str:
    return "Be brief."


def function(number: int) -> int:
    return number


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "model .* 'a' must be text or a pair .* not None"),
    "a number for a model": ({"model": 5}, "model .* not 5"),
    "a model without a provider": ({"model": "gpt"}, "'<provider>:<model>'.* not 'gpt'"),
    "a model of nobody": ({"model": ":x"}, "not ':x'"),
    "a provider alone": ({"model": "openai:"}, "not 'openai:'"),
    "a pair of words": ({"model": ("openai", "gpt")}, "lash.Provider, not 'openai'.*write 'openai:gpt-5-mini'"),
    "a provider's class": ({"model": (ScriptedModel, "x")}, "lash.Provider, not <class"),
    "a provider without a model": ({"model": (ScriptedModel([]), "")}, "a pair .provider, 'model'., not"),
    "a number for instructions": ({"instructions": 5}, "instructions of agent 'a' must be text or a function, not 5"),
    "a function of nothing": ({"instructions": of_nothing}, "'of_nothing', must take the turn .*: too many"),
    "a class for instructions": ({"instructions": Sum}, "instructions .* not <class"),
    "one tool": ({"tools": double}, "tools= of agent 'a' takes a list, not <lash.Tool 'double'>"),
    "a name for tools": ({"tools": "double"}, "tools= of agent 'a' takes a list, not 'double'"),
    "tools by name": ({"tools": {"double": double}}, "tools= of agent 'a' takes a list, not {"),
    "a plain function": ({"tools": [function]}, "tools= .* <function function.*Decorate it with @lash.tool"),
    "two tools of one name": ({"tools": [double, double]}, "two tools named 'double'"),
    "one plugin": ({"plugins": Quiet()}, "plugins= of agent 'a' takes a list"),
    "a plugin's class": ({"plugins": [Quiet]}, "plugins= .* no lash.Plugin. Pass an object of the class"),
    "no plugin": ({"plugins": [7]}, "plugins= of agent 'a' has 7, which is no lash.Plugin. Pass objects"),
    "attempts for retry": ({"retry": 3}, "retry= of agent 'a' takes a lash.Retry, not 3"),
    "an empty dict for limits": ({"limits": {}}, "limits= of agent 'a' takes a lash.TurnLimits, not {}"),
    "a limit of nothing": ({"limits": lash.TurnLimits(tool_calls=0)}, "tool_calls of agent 'a' .* not 0"),
    "a limit in words": ({"limits": lash.TurnLimits(tokens="1k")}, "tokens of agent 'a' .* not '1k'"),  # type: ignore[arg-type]
    "an empty dict for settings": ({"settings": {}}, "settings= of agent 'a' takes a lash.ModelSettings, not {}"),
    "a word for info": ({"info": "big"}, "info= of agent 'a' takes a lash.ModelInfo, not 'big'"),
    "a word for mode": ({"mode": "standard"}, "mode= of agent 'a' takes an object .* not 'standard'"),
    "a mode's class": ({"mode": Standard}, "mode= of agent 'a' takes an object .* not <class"),
    "a number for output": ({"output": 3}, "output type of agent 'a', 3, has no JSON schema"),
    "a name for output": ({"output": "Sum"}, "output= of agent 'a' takes a type, not 'Sum'"),
    "a function for output": ({"output": function}, "output= of agent 'a' takes a type, not <function"),
    "a value for output": ({"output": Sum(1)}, r"output type of agent 'a', Sum\(total=1\), has no JSON schema"),
    "a type without a schema": ({"output": type(lash)}, "output type of agent 'a', <class 'module'>, has no JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG)
def test_what_an_agent_cannot_be_made_of_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidAgent, match=says) as caught:
        lash.Agent("a", **{"model": "x:y", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", 3, None])
def test_an_agent_has_a_name(name: Any) -> None:
    with pytest.raises(InvalidName, match="agent name"):
        lash.Agent(name, model="x:y")


def test_tools_may_come_from_any_iterable() -> None:
    assert lash.Agent("a", model="x:y", tools=(each for each in [double])).tools == (double,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("agents", "says"),
    [
        (lash.Agent("a", model="x:y"), "agents= takes a list, not <lash.Agent 'a'"),
        (5, "agents= takes a list, not 5"),
        ("a", "agents= takes a list, not 'a'"),
        ([Quiet()], "agents= takes lash.Agent values, not"),
    ],
)
def test_what_a_runtime_cannot_have_for_agents_is_named(agents: Any, says: str) -> None:
    with pytest.raises(InvalidAgent, match=says):
        lash.Runtime("memory://", engine="inline", agents=agents)


def test_an_agent_is_shown_in_a_line() -> None:
    agent = lash.Agent("support", model=(ScriptedModel([]), "test"), tools=[double], instructions="x" * 10_000)
    assert repr(agent) == "<lash.Agent 'support' scripted:test tools=['double']>"
    assert repr(double) == "<lash.Tool 'double'>"


# The fingerprint ---------------------------------------------------------------------------------------------------


async def ask(ctx: lash.Context, number: int) -> int:
    """Ask somebody."""
    return await ctx.signal("go", int)


async def ask_otherwise(ctx: lash.Context, number: int) -> int:
    """Ask somebody."""
    return await ctx.signal("answer", int)


def agent_with(**changed: Any) -> lash.Agent[Any]:
    """Everything is made anew, as another Python process would."""
    options: dict[str, Any] = {
        "model": "x:y", "instructions": "Be brief.", "tools": [lash.tool(ask)], "plugins": [Quiet()], "output": Sum,
        "limits": lash.TurnLimits(tokens=5), "settings": lash.ModelSettings(extra={"a": 1, "b": {"c": 2}}),
        "retry": lash.Retry(attempts=2), "info": lash.ModelInfo(efforts=("low",)),
    }  # fmt: skip
    return lash.Agent("a", **{**options, **changed})


class Loud(Quiet):
    async def instructions(self, view: lash.TurnView) -> str | None:
        return "Shout."


CHANGES: dict[str, dict[str, Any]] = {
    "model": {"model": "x:z"},
    "instructions": {"instructions": "Be long."},
    "instructions of a function": {"instructions": lambda view: "Be brief."},
    "tools": {"tools": []},
    "a tool's words": {"tools": [lash.tool(description="Ask me.")(ask)]},
    "a tool's effect": {"tools": [lash.tool(effect="pure")(ask)]},
    "a tool's order": {"tools": [lash.tool(serial=True)(ask)]},
    "a tool's retry": {"tools": [lash.tool(retry=2)(ask)]},
    "a tool's code": {"tools": [lash.tool(name="ask")(ask_otherwise)]},
    "plugins": {"plugins": []},
    "a plugin's hooks": {"plugins": [Loud()]},
    "output": {"output": dict[str, int]},
    "limits": {"limits": lash.TurnLimits(tokens=6)},
    "settings": {"settings": lash.ModelSettings(extra={"a": 1, "b": {"c": 3}})},
    "retry": {"retry": lash.Retry(attempts=3)},
    "info": {"info": lash.ModelInfo(efforts=("high",))},
    "mode": {"mode": Standard()},
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_an_agent_that_goes_another_way_has_another_fingerprint(changed: dict[str, Any]) -> None:
    assert agent_with(**changed).code_hash != agent_with().code_hash


def test_an_agent_made_again_has_the_same_fingerprint() -> None:
    program = "from tests.unit.runtime.test_agents import agent_with; print(agent_with().code_hash)"
    told = {subprocess.check_output([sys.executable, "-c", program], text=True).strip() for _ in range(2)}
    assert told == {agent_with().code_hash}


@virtual
async def test_a_session_whose_agent_was_changed_is_blocked_and_taken_up_at_once_by_the_former_one() -> None:
    store = memory()
    model = ScriptedModel([Say(calls=[("ask", {"number": 1})]), "Thank you."])
    former = lash.Agent("a", model=(model, "m"), tools=[lash.tool(ask)])
    changed = lash.Agent("a", model=(model, "m"), tools=[lash.tool(name="ask")(ask_otherwise)])
    async with host(store, former) as app:
        turn = await (await app.session("s", former)).send("go")
        await asyncio.sleep(5)
    async with host(store, changed) as app:
        await app.handle("session:s").signal("go", 7)
        await asyncio.sleep(20)
        row = await row_of(app, "session:s")
        assert row.record.blocked is not None
        assert row.record.blocked.reason == "diverged"
        faults = row.faults
        assert faults >= 2
    async with host(store, changed) as app:
        await asyncio.sleep(1)
        assert (await row_of(app, "session:s")).faults == faults, "the same agent is no reason to hurry"
    async with host(store, former) as app:
        began = simulate.now_ms()
        outcome = await (await app.session("s", former)).turn(turn.id)
        assert isinstance(outcome, lash.Finished)
        assert simulate.now_ms() - began < 1_000, "the former agent was not taken up at once"
