"""A turn from its input to its commit: what the model is sent, what the tools do, and how it can end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import lash
from lash.abc.tool import ToolContext, tool
from lash.core.message import ToolResult
from lash.core.tool import Finish, SwitchFrame
from lash.core.turn import Finished, Stopped, TurnLimits
from lash.errors import InputConflict, InvalidAgent, InvalidArguments, ProviderError, ToolFailed, TurnUnknown
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@virtual
async def test_a_turn_asks_the_model_runs_its_tools_and_commits_everything_at_once() -> None:
    model = ScriptedModel([Say("Let me see.", calls=[("add", {"a": 2, "b": 3})]), "It is 5."])
    agent = agent_of(model, tools=[add], instructions="Be brief.")
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("What is 2 + 3?"))
        assert isinstance(outcome, Finished)
        assert (outcome.output, outcome.usage.input_tokens, outcome.turn_id) == ("It is 5.", 200, "s/1")
        assert await said(session) == [
            ("user", "What is 2 + 3?"), ("assistant", "Let me see."), ("tool", "5"), ("assistant", "It is 5."),
        ]  # fmt: skip
        assert [request.instructions for request in model.requests] == ["Be brief.", "Be brief."]
        assert [len(request.messages) for request in model.requests] == [1, 3]
        assert (await session.usage()).models["scripted:test"][0] == 2


@virtual
async def test_the_next_turn_is_sent_the_whole_conversation() -> None:
    model = ScriptedModel(["one", "two"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("first"))
        await (await session.send("second"))
        assert [message.text for message in model.requests[1].messages] == ["first", "one", "second"]


@virtual
async def test_the_same_key_is_the_same_turn_and_other_words_are_a_conflict() -> None:
    model = ScriptedModel(["one"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        first = await session.send("hello", key="m-1")
        await first
        again = await session.send("hello", key="m-1")
        assert (again.id, len(model.requests)) == (first.id, 1)
        assert isinstance(await again, Finished)
        with pytest.raises(InputConflict, match="m-1"):
            await session.send("other", key="m-1")


@virtual
async def test_parallel_tools_overlap_serial_ones_do_not_and_results_keep_the_order_of_the_calls() -> None:
    running: list[str] = []
    most = {"together": 0, "serial": 0}

    async def work(name: str, seconds: float, group: str) -> str:
        running.append(group)
        most[group] = max(most[group], running.count(group))
        await asyncio.sleep(seconds)
        running.remove(group)
        return name

    @tool
    async def look(name: str, seconds: float) -> str:
        """Look."""
        return await work(name, seconds, "together")

    @tool(serial=True)
    async def change(name: str) -> str:
        """Change."""
        return await work(name, 1, "serial")

    calls = [
        ("look", {"name": "slow", "seconds": 9}), ("change", {"name": "c1"}), ("look", {"name": "quick", "seconds": 1}),
        ("change", {"name": "c2"}),
    ]  # fmt: skip
    agent = agent_of([Say(calls=calls), "done"], tools=[look, change])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("go"))
        assert most == {"together": 2, "serial": 1}
        assert (await said(session))[2] == ("tool", "slow | c1 | quick | c2")


@virtual
async def test_a_failing_tool_is_a_result_and_spares_its_siblings() -> None:
    @tool
    async def fail() -> str:
        """Fail."""
        raise ToolFailed("The disk is full.", code="disk_full")

    @tool
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(5)
        return "fine"

    agent = agent_of([Say(calls=[("fail", {}), ("slow", {}), ("nothing", {})]), "ok"], tools=[fail, slow])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("go")), Finished)
        (results,) = [entry.message for entry in await session.history() if entry.message.role == "tool"]
        shown = [(part.failed, part.content[0].text) for part in results.parts if isinstance(part, ToolResult)]  # type: ignore[union-attr]
        assert shown[0] == (True, "[failed: disk_full] The disk is full.")
        assert shown[1] == (False, "fine")
        assert shown[2][0] is True
        assert "fail, slow" in shown[2][1]


@virtual
async def test_arguments_that_are_no_json_or_do_not_fit_are_told_and_nothing_runs() -> None:
    calls: list[int] = []

    @tool
    async def count(n: int) -> int:
        """Count."""
        calls.append(n)
        return n

    agent = agent_of([Say(calls=[("count", '{"n": 1'), ("count", {"n": "x"}), ("count", "")]), "ok"], tools=[count])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("go"))
        text = (await said(session))[2][1]
        assert text.count("[failed: invalid_tool_args]") == 3
        assert "no valid JSON" in text
        assert calls == []


@virtual
async def test_a_steer_reaches_the_turn_at_work_at_its_next_boundary_once() -> None:
    gate = asyncio.Event()

    @tool
    async def hold() -> str:
        """Wait."""
        await gate.wait()
        return "held"

    model = ScriptedModel([Say(calls=[("hold", {})]), "With that in mind: done.", "next"])
    agent = agent_of(model, tools=[hold])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("begin")
        waiting = await session.send("afterwards")
        await asyncio.sleep(1)
        steered = await session.steer("also this")
        gate.set()
        outcome = await turn
        assert isinstance(outcome, Finished)
        same = await steered
        assert isinstance(same, Finished)
        assert same.turn_id == outcome.turn_id == "s/1"
        await waiting
        assert [text for role, text in await said(session) if role == "user"] == ["begin", "also this", "afterwards"]
        assert [message.text for message in model.requests[1].messages if message.role == "user"] == [
            "begin", "also this",
        ]  # fmt: skip


@virtual
async def test_a_steer_before_the_end_keeps_the_draft_and_asks_again() -> None:
    async def answer_late(_: Any) -> None: ...

    model = ScriptedModel([Say("draft one two three", pause_s=1), "final"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("begin")
        await asyncio.sleep(2)
        await session.steer("wait")
        await turn
        assert await said(session) == [
            ("user", "begin"), ("assistant", "draft one two three"), ("user", "wait"), ("assistant", "final"),
        ]  # fmt: skip


@virtual
async def test_a_cancelled_turn_is_committed_soundly_and_the_session_goes_on() -> None:
    stopped: list[str] = []

    @tool
    async def forever() -> str:
        """Never end."""
        try:
            await asyncio.sleep(10_000)
        except asyncio.CancelledError:
            stopped.append("yes")
            raise
        return "no"

    agent = agent_of([Say(calls=[("forever", {})]), "after"], tools=[forever])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        await asyncio.sleep(1)
        assert await turn.cancel("enough")
        outcome = await turn
        assert isinstance(outcome, Stopped)
        assert (outcome.reason, "enough" in outcome.message) == ("cancelled", True)
        await asyncio.sleep(1)
        assert stopped == ["yes"]
        assert (await said(session))[2][1].startswith("[failed: cancelled]")
        assert not await turn.cancel()
        assert isinstance(await (await session.send("again")), Finished)


@virtual
async def test_an_input_that_waits_can_be_withdrawn() -> None:
    model = ScriptedModel([Say("a b c d", pause_s=10), "x"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        first = await session.send("one")
        second = await session.send("two")
        assert await second.cancel("never mind")
        outcome = await second
        assert isinstance(outcome, Stopped)
        assert outcome.reason == "cancelled"
        await first
        await asyncio.sleep(1)
        assert len(model.requests) == 1


@virtual
async def test_a_turn_that_was_never_sent_is_unknown() -> None:
    store = memory()
    agent = agent_of(["one", Say("a b c", pause_s=1)])
    async with host(store, agent) as app, host(store, agent, worker=False) as other, asyncio.timeout(100):
        session = await app.session("s", agent)
        await (await session.send("a"))
        await session.send("b")
        for seen_from in (session, await other.session("s", agent)):
            for never in (seen_from.turn(3), seen_from.turn("s/99")):
                for asked in (never.outcome, never.cancel, lambda never=never: anext(never.stream())):
                    with pytest.raises(TurnUnknown, match=f"no input {never.item}.*{never.id}"):
                        await asked()
            for wrong in (0, -3, True, 1.0, None, "", "1", "s/0", "s/01", "s/-1", "s/x", "s/", "t/1", "s/" + "9" * 30):
                with pytest.raises(InvalidArguments, match="is no turn of session 's'"):
                    seen_from.turn(wrong)  # type: ignore[arg-type]
            assert isinstance(await seen_from.turn(1), Finished)
            assert isinstance(await seen_from.turn("s/2"), Finished)


@virtual
async def test_a_turn_that_has_ended_is_answered_at_once_while_another_is_at_work() -> None:
    """Whoever made the handle, and however the turn ended."""
    agent = agent_of(["one", Say("two", pause_s=600)])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        first = await session.send("a", key="m-1")
        assert (await first).text == "one"
        await session.send("b")
        await asyncio.sleep(1)
        waiting = await session.send("c")
        assert await waiting.cancel()
        began = asyncio.get_running_loop().time()
        again = await session.send("a", key="m-1")
        for turn in (first, session.turn(first.item), session.turn(first.id), again):
            assert (await turn).text == "one"
        for turn in (waiting, session.turn(waiting.item)):
            outcome = await turn
            assert isinstance(outcome, Stopped)
            assert outcome.reason == "cancelled"
        assert asyncio.get_running_loop().time() - began < 1


@virtual
async def test_a_turn_awaited_after_many_others_have_ended_is_answered_at_once(monkeypatch: Any) -> None:
    """More of them than are remembered."""
    monkeypatch.setattr("lash.runtime.turnwaits.REMEMBERED", 2)
    agent = agent_of(["one", "two", "three", "four", Say("five", pause_s=600)])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turns = [await session.send(text) for text in "abcd"]
        await turns[-1]
        await session.send("e")
        await asyncio.sleep(1)
        async with asyncio.timeout(1):
            assert [(await turn).text for turn in turns] == ["one", "two", "three", "four"]


@virtual
async def test_a_provider_that_fails_is_asked_again_after_the_pause_it_wants() -> None:
    busy = ProviderError("Slow down.", kind="rate_limit", retryable=True, retry_after_ms=7_000)
    model = ScriptedModel([busy, Say("half of it", cut=2, pause_s=1), "whole"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        began = app.now_ms()
        turn = await session.send("go")
        events = [event async for event in turn.stream()]
        assert app.now_ms() - began >= 7_000
        kinds = [type(event).__name__ for event in events]
        assert kinds[-1] == "Committed"
        shown = ""
        for event in events:
            if type(event).__name__ == "TextDelta":
                shown += event.text  # type: ignore[attr-defined]
            elif type(event).__name__ == "Reset":
                assert event.text_chars == len(shown)  # type: ignore[attr-defined]
                shown = ""
        assert shown == "whole"
        assert "Reset" in kinds


@virtual
async def test_a_provider_that_refuses_stops_the_turn_and_says_why() -> None:
    agent = agent_of([ProviderError("No such key.", kind="auth", status=401)])
    async with host(memory(), agent) as app:
        outcome = await (await (await app.session("s", agent)).send("go"))
        assert isinstance(outcome, Stopped)
        assert (outcome.reason, outcome.code, outcome.message) == ("model", "auth", "No such key.")


@dataclass
class Answer:
    city: str
    people: int


@virtual
async def test_the_answer_is_of_the_output_type_and_a_wrong_one_is_handed_back() -> None:
    model = ScriptedModel(["Rome has many.", '{"city": "Rome", "people": "many"}', '{"city":"Rome","people":3}'])
    agent = agent_of(model, output=Answer)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("Rome?"))
        assert isinstance(outcome, Finished)
        assert outcome.output == Answer("Rome", 3)
        assert model.requests[0].output is not None
        assert "people" in model.requests[2].messages[-1].text
        again = await app.session("s")
        assert (await again.turn(1)) == outcome


@virtual
async def test_limits_stop_a_turn_that_goes_in_circles() -> None:
    model = ScriptedModel(always=Say(calls=[("add", {"a": 1, "b": 1})]))
    agent = agent_of(model, tools=[add], limits=TurnLimits(model_calls=3))
    async with host(memory(), agent) as app:
        outcome = await (await (await app.session("s", agent)).send("go"))
        assert isinstance(outcome, Stopped)
        assert (outcome.reason, outcome.code, len(model.requests)) == ("limit", "model_calls", 3)


@virtual
async def test_a_tool_may_finish_the_turn_or_begin_a_new_frame() -> None:
    @tool
    async def hand_in(answer: str) -> Finish:
        """Hand in."""
        return Finish({"answer": answer})

    @tool
    async def start_over(task: str) -> SwitchFrame:
        """Start over."""
        return SwitchFrame("fresh", task)

    model = ScriptedModel([
        Say(calls=[("start_over", {"task": "do it"})]), Say(calls=[("hand_in", {"answer": "42"})]),
    ])  # fmt: skip
    agent = agent_of(model, tools=[hand_in, start_over])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("go"))
        assert isinstance(outcome, Finished)
        assert (outcome.output, outcome.turn_id) == ({"answer": "42"}, "s/2")
        assert [message.text for message in model.requests[1].messages] == ["do it"]
        kinds = [node.kind for node in await session.nodes()]
        assert kinds.count("frame") == 1
        assert (await said(session))[0] == ("user", "go")


@virtual
async def test_compaction_goes_on_from_a_summary_and_keeps_what_was_before() -> None:
    model = ScriptedModel(["one", "They said hello.", "two"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("hello"))
        await (await session.compact("names"))
        await (await session.send("and now?"))
        assert model.requests[1].tools_allowed is False
        assert "names" in model.requests[1].messages[-1].text
        sent = [message.text for message in model.requests[2].messages]
        assert len(sent) == 2
        assert "They said hello." in sent[0]
        assert (await said(session))[:2] == [("user", "hello"), ("assistant", "one")]


@pytest.mark.parametrize("stop", ["output_limit", "content_filter", "context_overflow"])
@virtual
async def test_half_a_summary_is_none_and_the_conversation_goes_on_as_it_was(stop: str) -> None:
    model = ScriptedModel(["one", Say("We spoke of", stop=stop), "two"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("a"))
        compaction = await (await session.compact())
        assert isinstance(compaction, Stopped)
        assert (compaction.reason, compaction.code, compaction.text) == (stop, stop, "We spoke of")
        await (await session.send("b"))
        assert [message.text for message in model.requests[-1].messages] == ["a", "one", "b"]
        assert [node.kind for node in await session.nodes()] == ["message"] * 4


@virtual
async def test_a_tool_with_a_context_of_the_body_parks_while_it_waits() -> None:
    @tool
    async def ask_human(ctx: lash.Context, question: str) -> str:
        """Ask a human."""
        answer: str = await ctx.signal("answer", str)
        return f"{question}: {answer}"

    agent = agent_of([Say(calls=[("ask_human", {"question": "ok?"})]), "thanks"], tools=[ask_human])
    async with host(memory(), agent, linger="0s") as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        await asyncio.sleep(60)
        assert (await session.row()).process.owner is None
        await app.handle("session:s").signal("answer", "yes")
        assert isinstance(await turn, Finished)
        assert (await said(session))[2] == ("tool", "ok?: yes")


@virtual
async def test_a_tool_sees_its_call_and_may_return_attachments() -> None:
    seen: list[tuple[str, int, str]] = []

    @tool(retry=3)
    async def draw(ctx: ToolContext) -> Any:
        """Draw."""
        seen.append((ctx.session_id, ctx.attempt, ctx.idempotency_key))
        if ctx.attempt == 1:
            raise OSError("not yet")
        return [await ctx.put(b"png", "image/png", "a dot")]

    model = ScriptedModel([Say(calls=[("draw", {})]), "a dot"])
    agent = agent_of(model, tools=[draw])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("draw"))
        assert [item[:2] for item in seen] == [("s", 1), ("s", 2)]
        assert seen[0][2] == seen[1][2]
        assert list(model.requests[1].media.values()) == [b"png"]


def test_two_tools_of_one_name_are_refused_when_the_agent_is_made() -> None:
    with pytest.raises(InvalidAgent, match="two tools named 'add'"):
        agent_of([], tools=[add, add])


@virtual
async def test_a_process_runs_an_agent_parks_meanwhile_and_is_told_its_outcome() -> None:
    model = ScriptedModel([Say("slow answer", pause_s=30), "second"])
    agent = agent_of(model)

    @lash.process
    async def ask_twice(ctx: lash.Context) -> list[str]:
        first = await ctx.run(agent, "one")
        again = await ctx.run(agent, "two", session="talk")
        assert isinstance(first, Finished)
        assert isinstance(again, Finished)
        return [first.output, again.output, first.turn_id, again.turn_id]

    async with host(memory(), agent, linger="0s") as app:
        app.include(ask_twice)
        handle = await app.start(ask_twice, id="p")
        await asyncio.sleep(10)
        assert (await handle.record()).waiting is not None
        assert await handle == ["slow answer", "second", "p.0/1", "talk/1"]
        assert [info.id for info in await app.sessions()] == ["talk", "p.0"]


@virtual
async def test_cancelling_a_process_ends_the_session_it_runs() -> None:
    agent = agent_of([Say("a b c d e f", pause_s=30)])

    @lash.process
    async def ask(ctx: lash.Context) -> None:
        await ctx.run(agent, "one")

    async with host(memory(), agent, linger="0s") as app:
        app.include(ask)
        handle = await app.start(ask, id="p")
        await asyncio.sleep(10)
        await handle.cancel("no need")
        with pytest.raises(lash.ProcessCancelled):
            await handle
        session = await app.session("p.0")
        await asyncio.sleep(60)
        assert (await session.info()).status is lash.Status.CANCELLED
        assert [text for _, text in await said(session)] == ["one"]


@virtual
async def test_a_direct_answer_is_recorded_and_typed() -> None:
    model = ScriptedModel(['{"city": "Rome", "people": 3}', "no json"])

    @lash.process
    async def ask(ctx: lash.Context) -> list[object]:
        answer = await ctx.model((model, "m"), "Rome?", output=Answer)
        try:
            await ctx.model((model, "m"), "Rome?", output=Answer)
        except lash.StepFailed as error:
            return [answer.output.people, error.failure_code]
        return []

    async with host(memory()) as app:
        app.include(ask)
        assert await (await app.start(ask)) == [3, "invalid_output"]
