"""An agent is checked when it is made: each parameter that was given something else says which, what and what now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

import lash
from lash.errors import InvalidAgent, InvalidName
from lash.modes.standard import Standard
from lash.testing.model import ScriptedModel


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
