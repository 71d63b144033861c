"""What a tool returns is looked at when it returns: what cannot be kept or finish the turn is told the model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, ClassVar

import pytest

import lash
from lash.core.tool import Finish, ToolOutput
from lash.core.turn import Finished
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said

KEPT_NOT = "[failed: result_not_kept] The tool ran, and what it did stands, but its result cannot be kept. The result"


class Returning:
    """A tool that returns what it is told to, in the worker's step or in the session's body."""

    def __init__(self, value: object) -> None:
        self.value = value
        self.ran = 0

    @lash.tool(retry=3)
    async def give(self, number: int = 0) -> object:
        """Give it."""
        self.ran += 1
        return self.value

    @lash.tool(name="give")
    async def give_in_body(self, ctx: lash.Context, number: int = 0) -> object:
        """Give it."""
        self.ran += 1
        return self.value


async def results_of(tool: Any, calls: int = 1, **options: Any) -> list[str]:
    model = ScriptedModel([Say(calls=[("give", {"number": number}) for number in range(calls)]), "done"])
    agent = agent_of(model, tools=[tool], **options)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("go")), Finished)
        return (await said(session))[2][1].split(" | ")


BIG = "x" * 4_200_000
UNKEPT: dict[str, tuple[object, str]] = {
    "no JSON": ({"a": object()}, "of type dict has no JSON form"),
    "no number": (float("nan"), "of type float has no JSON form"),
    "too large": ({"a": BIG}, "is 4200008 bytes of JSON; the limit is 4194304."),
    "a text too large with its value": ("x" * 2_500_000, "is 5000036 bytes of JSON; the limit is 4194304."),
    "an output with no JSON": (ToolOutput((), {"a": object()}), "of type dict has no JSON form"),
    "an output too large": (ToolOutput((lash.Text(BIG),)), "bytes of JSON; the limit is 4194304."),
    "finished with no JSON": (Finish(object()), "of type object has no JSON form"),
    "finished with too much": (ToolOutput((), control=Finish(BIG)), "bytes of JSON; the limit is 4194304."),
}


@pytest.mark.parametrize("in_body", [False, True], ids=["step", "body"])
@pytest.mark.parametrize(("value", "says"), UNKEPT.values(), ids=UNKEPT)
@virtual
async def test_a_result_that_cannot_be_kept_says_that_the_tool_ran_and_it_is_not_run_again(
    value: object, says: str, in_body: bool
) -> None:
    source = Returning(value)
    (told,) = await results_of(source.give_in_body if in_body else source.give)
    assert told.startswith(KEPT_NOT)
    assert says in told
    assert "nothing was written" not in told
    assert source.ran == 1


class Inventive(lash.Plugin):
    id: ClassVar[str] = "inventive"

    async def before_tool(self, view: lash.TurnView, call: Any, arguments: dict[str, Any]) -> Any:
        return lash.ToolAnswer(ToolOutput((), {"a": object()}))


@virtual
async def test_a_result_that_a_plugin_made_up_is_not_said_to_be_of_a_tool_that_ran() -> None:
    source = Returning("unused")
    (told,) = await results_of(source.give, plugins=[Inventive()])
    assert told.startswith("[failed: result_not_kept] The result of type dict has no JSON form")
    assert source.ran == 0


@virtual
async def test_results_that_have_no_room_in_one_message_are_told_and_the_turn_goes_on() -> None:
    told = await results_of(Returning("x" * 1_900_000).give, calls=4)
    assert [text == "x" * 1_900_000 for text in told] == [True, True, False, False]
    for text in told[2:]:
        assert text.startswith(KEPT_NOT + " with those beside it is ")
        assert "the limit of all of them is 4128768" in text
    assert await results_of(Returning("é" * 10).give, calls=4) == ["é" * 10] * 4


# Finishing a turn of an agent with an output type --------------------------------------------------------------------


@dataclass
class Answer:
    city: str


class Colour(Enum):
    RED = "red"


async def finished_with(output: Any, *values: object) -> tuple[Finished[Any], list[str]]:
    """The outcome of a turn whose tool finishes it with one value after another, and what the model was told."""
    left = list(values)

    @lash.tool
    async def hand_in() -> Finish:
        """Hand in."""
        return Finish(left.pop(0))

    model = ScriptedModel([Say(calls=[("hand_in", {})]) for _ in values])
    agent = agent_of(model, tools=[hand_in], output=output)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("go"))
        assert isinstance(outcome, Finished)
        assert await (await app.session("s")).turn(1) == outcome
        return outcome, [text for role, text in await said(session) if role == "tool"]


@virtual
async def test_a_value_that_does_not_fit_the_output_type_is_a_failed_result_the_model_can_act_upon() -> None:
    outcome, told = await finished_with(Answer, 3, {"town": "Rome"}, "Rome", Answer("Rome"))
    assert outcome.output == Answer("Rome")
    starts = ["3,", "{'town': 'Rome'},", "'Rome',"]
    assert len(told) == 4
    for text, start in zip(told, starts, strict=False):
        assert text.startswith(f"[failed: invalid_output] The turn cannot be finished with {start} which does not fit")
    assert "city: Field required" in told[1]


@pytest.mark.parametrize(
    ("output", "value", "expected"),
    [
        (Colour, "red", Colour.RED),
        (Colour, Colour.RED, Colour.RED),
        (date, "2024-02-29", date(2024, 2, 29)),
        (int, 3, 3),
    ],
)
@virtual
async def test_a_text_that_fits_is_of_the_output_type(output: Any, value: object, expected: object) -> None:
    outcome, _ = await finished_with(output, value)
    assert (outcome.output, outcome.text) == (expected, "")


@pytest.mark.parametrize("value", ["done", 3, {"a": [1]}])
@virtual
async def test_without_an_output_type_any_value_finishes_a_turn(value: object) -> None:
    outcome, _ = await finished_with(None, value)
    assert outcome.output == value


@virtual
async def test_a_summary_is_text_whatever_the_output_type_is() -> None:
    model = ScriptedModel(['{"city": "Rome"}', "They asked for Rome.", '{"city": "Bonn"}'])
    agent = agent_of(model, output=Answer)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert (await (await session.compact())).output == ""  # type: ignore[union-attr]  # nothing to sum up yet
        await (await session.send("Where?"))
        summed = await session.compact()
        outcome = await summed
        assert isinstance(outcome, Finished)
        assert outcome.output == "They asked for Rome."
        assert model.requests[1].output is None
        assert await session.turn(summed.item) == outcome
        assert [event.outcome async for event in summed.stream() if isinstance(event, lash.Committed)] == [outcome]
        last = await (await session.send("And now?"))
        assert isinstance(last, Finished)
        assert last.output == Answer("Bonn")


@virtual
async def test_an_answer_of_nothing_is_nothing_and_not_its_text() -> None:
    """From a model, from a tool, for whoever awaits, watches, asks later, or runs the agent in a process."""

    @lash.tool
    def find_nothing() -> Finish:
        """Find nothing."""
        return Finish(None)

    lines = ["null", Say(calls=[("find_nothing", {})]), "null"]
    agent = agent_of(lines, tools=[find_nothing], output=Answer | None)
    async with host(memory(), agent) as app:

        @app.process
        async def ask(ctx: lash.Context) -> bool:
            return (await ctx.run(agent, "go")).output is None

        session = await app.session("s", agent)
        for number in (1, 2):
            turn = await session.send("go")
            assert (await turn).output is None
            (end,) = [event async for event in turn.stream() if isinstance(event, lash.Committed)]
            assert end.outcome == await session.turn(number)
            assert end.outcome.structured
        assert await (await app.start(ask))
