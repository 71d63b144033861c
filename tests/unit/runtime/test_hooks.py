"""Plugins: each stage is recorded once, decisions fold monotonely, and what a plugin keeps goes with the session."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from lash.abc.plugin import (
    Abort,
    Answer,
    Compact,
    Decisions,
    Deny,
    Notify,
    Plugin,
    ReplaceArguments,
    Say as Speak,
    TurnView,
)
from lash.abc.tool import tool
from lash.core.message import Message, ToolCall, user
from lash.core.model import ModelReply
from lash.core.observe import PluginEvent
from lash.core.tool import ToolOutput
from lash.core.turn import Finished, Outcome, Stopped
from lash.errors import InvalidAgent, ToolFailed
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


@tool
async def echo(text: str) -> str:
    """Echo."""
    return text


class Everything(Plugin):
    """Notes which hooks it was asked, and counts turns in its state."""

    id: ClassVar[str] = "everything"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def tools(self) -> Sequence[Any]:
        return (echo,)

    async def before_turn(self, view: TurnView) -> Decisions:
        self.asked.append("before_turn")
        view.state["turns"] = view.state.get("turns", 0) + 1
        return [Speak((user(f"turn {view.state['turns']} of {view.session_id}"),)), Notify("began", 1)]

    async def instructions(self, view: TurnView) -> str | None:
        self.asked.append("instructions")
        return "Plugin says hi."

    async def hide_tools(self, view: TurnView, names: Sequence[str]) -> Sequence[str]:
        self.asked.append(f"hide_tools {list(names)}")
        return ["secret"]

    async def model_replied(self, view: TurnView, reply: ModelReply) -> Decisions:
        self.asked.append(f"model_replied {reply.text}")
        return None

    async def before_tool(self, view: TurnView, call: ToolCall, arguments: dict[str, Any]) -> Decisions:
        self.asked.append(f"before_tool {arguments}")
        return None

    async def after_tool(self, view: TurnView, call: ToolCall, output: ToolOutput) -> Decisions:
        self.asked.append(f"after_tool {output.value}")
        return None

    async def at_boundary(self, view: TurnView, kind: Any) -> Decisions:
        self.asked.append(f"at_boundary {kind}")
        return None

    async def after_turn(self, view: TurnView, outcome: Outcome) -> Decisions:
        self.asked.append(f"after_turn {type(outcome).__name__}")
        view.state["last"] = type(outcome).__name__
        return None

    async def committed(self, view: TurnView, outcome: Outcome) -> None:
        self.asked.append(f"committed {view.state}")


@tool
async def secret() -> str:
    """Hidden."""
    return "no"


@virtual
async def test_hooks_are_asked_in_order_and_the_state_goes_with_the_session() -> None:
    plugin = Everything()
    slow = Say("s", calls=[("echo", {"text": "hi"})], pause_s=1)
    model = ScriptedModel([slow, "done", "again", "forked"])
    agent = agent_of(model, plugins=[plugin], tools=[secret], instructions="Base.")
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        events = [event async for event in turn.stream()]
        await asyncio.sleep(1)
        assert plugin.asked == [
            "before_turn", "instructions", "hide_tools ['secret', 'echo']", "model_replied s",
            "before_tool {'text': 'hi'}", "after_tool hi", "at_boundary after_work", "model_replied done",
            "at_boundary before_completion", "after_turn Finished", "committed {'turns': 1, 'last': 'Finished'}",
        ]  # fmt: skip
        assert model.requests[0].instructions == "Base.\n\nPlugin says hi."
        assert [spec.name for spec in model.requests[0].tools] == ["echo"]
        assert [message.text for message in model.requests[0].messages] == ["go", "turn 1 of s"]
        assert any(isinstance(event, PluginEvent) and event.name == "began" for event in events)
        await (await session.send("more"))
        assert model.requests[2].messages[-1].text == "turn 2 of s"
        first = next(node for node in await session.nodes() if node.kind == "state")
        fork = await session.fork(first.id, "f")
        await (await fork.send("other"))
        assert model.requests[3].messages[-1].text == "turn 2 of f"


@virtual
async def test_a_turn_that_runs_again_is_told_what_its_hooks_decided() -> None:
    store = memory()
    plugin = Everything()
    model = ScriptedModel([Say("slow one", pause_s=100), "done"])
    agent = agent_of(model, plugins=[plugin])
    app = host(store, agent)
    await app.open()
    turn = await (await app.session("s", agent)).send("go")
    await asyncio.sleep(10)
    await app.abort()
    async with host(store, agent) as second:
        outcome = await (await second.session("s")).turn(turn.id)
        assert isinstance(outcome, Finished)
    assert plugin.asked.count("before_turn") == 1
    assert [message.text for message in model.requests[1].messages] == ["go", "turn 1 of s"]


class Judge(Plugin):
    """Decides as it was told, and notes the arguments it saw."""

    def __init__(self, name: str, *decisions: Any, after: Any = None) -> None:
        self.id = name  # type: ignore[misc]
        self.decisions = decisions
        self.after = after
        self.saw: list[dict[str, Any]] = []

    async def before_tool(self, view: TurnView, call: ToolCall, arguments: dict[str, Any]) -> Decisions:
        self.saw.append(dict(arguments))
        wanted = [item for item in self.decisions if not isinstance(item, ReplaceArguments)]
        replacing = [item for item in self.decisions if isinstance(item, ReplaceArguments)]
        return wanted + [item for item in replacing if item.arguments != arguments]

    async def after_tool(self, view: TurnView, call: ToolCall, output: ToolOutput) -> Decisions:
        return self.after


async def result_with(*plugins: Plugin) -> str:
    model = ScriptedModel([Say(calls=[("echo", {"text": "hi"})]), "done"])
    agent = agent_of(model, plugins=plugins, tools=[echo])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("go"))
        return (await said(session))[2][1]


def text(words: str) -> ToolOutput:
    return echo.output_of(words)


@virtual
async def test_a_denial_stands_whoever_comes_before_or_after_it() -> None:
    deny, allow = Deny("no_way", "Not today."), Answer(text("allowed"))
    denied = "[failed: no_way] Not today."
    assert await result_with(Judge("a", deny), Judge("b", allow)) == denied
    assert await result_with(Judge("a", allow), Judge("b", deny)) == denied
    assert await result_with(Judge("a", allow), Judge("b", after=deny)) == denied
    assert await result_with(Judge("a", deny), Judge("b", after=allow)) == denied
    assert await result_with(Judge("a", Abort("no_way", "Not today."))) == denied
    assert await result_with(Judge("a", allow)) == "allowed"
    assert await result_with(Judge("a", after=Answer(text("changed")))) == "changed"


@virtual
async def test_replaced_arguments_are_seen_by_every_inspector_and_validated() -> None:
    first, second = Judge("a"), Judge("b", ReplaceArguments({"text": "bye"}))
    assert await result_with(first, second) == "bye"
    assert first.saw == [{"text": "hi"}, {"text": "bye"}]
    assert "invalid_tool_args" in await result_with(Judge("a", ReplaceArguments({"text": 7})))
    both = await result_with(Judge("a", ReplaceArguments({"text": "x"})), Judge("b", ReplaceArguments({"text": "y"})))
    assert "both replace" in both


class Short(Plugin):
    id: ClassVar[str] = "short"

    async def show_result(self, view: TurnView, call: ToolCall, output: ToolOutput) -> ToolOutput | None:
        return text(f"{len(str(output.value))} characters")

    async def view(self, view: TurnView) -> Sequence[Message] | None:
        return view.messages[-1:]


@virtual
async def test_a_view_changes_what_is_sent_and_nothing_that_is_kept() -> None:
    model = ScriptedModel(["one", Say(calls=[("echo", {"text": "long"})]), "two"])
    agent = agent_of(model, plugins=[Short()], tools=[echo])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("first"))
        await (await session.send("second"))
        assert [message.text for message in model.requests[1].messages] == ["second"]
        assert [message.role for message in model.requests[2].messages] == ["user", "assistant", "tool"]
        assert [text for _, text in await said(session)] == ["first", "one", "second", "", "4 characters", "two"]


class Newest(Plugin):
    """From the second model call on, only the task and the newest call; ``wrong``: a result without its call."""

    id: ClassVar[str] = "newest"

    def __init__(self, wrong: bool = False) -> None:
        self.wrong = wrong
        self.saw: list[int] = []

    async def view_again(self, view: TurnView) -> Sequence[Message] | None:
        self.saw.append(len(view.messages))
        if self.wrong:
            return view.messages[-1:]
        return [view.messages[0], *view.messages[-2:]] if len(view.messages) > 5 else None


@virtual
async def test_a_view_may_be_made_again_before_each_later_model_call_of_a_turn() -> None:
    calls = [Say(calls=[("echo", {"text": str(number)})]) for number in range(6)]
    model = ScriptedModel(["earlier", *calls, "done", "later"])
    newest = Newest()
    agent = agent_of(model, plugins=[newest], tools=[echo])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        for text in ("before", "go", "after"):
            assert isinstance(await (await session.send(text)), Finished)
        assert [len(request.messages) for request in model.requests] == [1, 3, 5, 3, 5, 3, 5, 3, 17]
        assert newest.saw == [5, 7, 5, 7, 5, 7]  # what would be sent, as the view before left it
        assert model.requests[7].messages[0].text == "before"
        assert len(await said(session)) == 2 + 14 + 2


@virtual
async def test_a_turn_that_runs_again_is_told_the_views_it_had() -> None:
    store, newest = memory(), Newest()
    calls = [Say(calls=[("echo", {"text": str(number)})]) for number in range(3)]
    model = ScriptedModel([*calls, Say("slow", pause_s=100), "done"])
    agent = agent_of(model, plugins=[newest], tools=[echo])
    app = host(store, agent)
    await app.open()
    turn = await (await app.session("s", agent)).send("go")
    await asyncio.sleep(10)
    await app.abort()
    async with host(store, agent) as second:
        assert isinstance(await (await second.session("s")).turn(turn.id), Finished)
    assert newest.saw == [3, 5, 7]
    assert model.requests[3].messages == model.requests[4].messages
    assert len(model.requests[4].messages) == 3


@virtual
async def test_a_view_made_again_that_is_not_sound_stops_the_turn() -> None:
    agent = agent_of([Say(calls=[("echo", {"text": "x"})])], plugins=[Newest(wrong=True)], tools=[echo])
    async with host(memory(), agent) as app:
        outcome = await (await (await app.session("s", agent)).send("go"))
        assert isinstance(outcome, Stopped)
        assert (outcome.reason, outcome.code) == ("plugin", "plugin_failed")
        assert "view_again" in outcome.message


@virtual
async def test_what_is_summed_up_is_the_view() -> None:
    model = ScriptedModel(["one", "two", "the summary"])
    agent = agent_of(model, plugins=[Short()])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("a"))
        await (await session.send("b"))
        assert isinstance(await (await session.compact()), Finished)
        assert [message.text[:5] for message in model.requests[2].messages] == ["two", "Write"]


class Tidy(Plugin):
    id: ClassVar[str] = "tidy"

    async def after_turn(self, view: TurnView, outcome: Outcome) -> Decisions:
        return Compact("names") if len(view.messages) >= 4 else None


@virtual
async def test_a_plugin_may_have_the_conversation_summed_up() -> None:
    model = ScriptedModel(["one", "two", "the summary", "three"])
    agent = agent_of(model, plugins=[Tidy()])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("a"))
        await (await session.send("b"))
        await asyncio.sleep(1)
        await (await session.send("c"))
        assert "names" in model.requests[2].messages[-1].text
        assert ["the summary" in message.text for message in model.requests[3].messages] == [True, False]


class Bad(Plugin):
    id: ClassVar[str] = "bad"

    def __init__(self, where: str) -> None:
        self.where = where

    async def before_turn(self, view: TurnView) -> Decisions:
        if self.where == "abort":
            return Abort("closed", "We are closed.")
        if self.where == "before_turn":
            raise RuntimeError("boom")
        return Deny("x", "y") if self.where == "meaningless" else None

    async def view(self, view: TurnView) -> Sequence[Message] | None:
        if self.where != "view":
            return None
        return (Message("tool", ()), Message("assistant", (ToolCall("c", "x", "{}"),)))


@pytest.mark.parametrize(
    ("where", "code"),
    [("abort", "closed"), *((where, "plugin_failed") for where in ("before_turn", "meaningless", "view"))],
)
@virtual
async def test_a_plugin_that_aborts_or_fails_stops_the_turn_and_the_input_is_kept(where: str, code: str) -> None:
    agent = agent_of([], plugins=[Bad(where)])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("hello"))
        assert isinstance(outcome, Stopped)
        assert (outcome.reason, outcome.code) == ("plugin", code)
        assert await said(session) == [("user", "hello")]


def odd(hook: str, answer: Callable[[Any], Any]) -> Plugin:
    """A plugin whose only hook, which is not typed, does as ``answer`` does with the turn's view."""

    async def asked(self: Plugin, view: TurnView, *told: object) -> Any:
        return answer(view)

    members: dict[str, Any] = {"id": "odd", hook: asked}
    made: Plugin = type("Odd", (Plugin,), members)()
    return made


async def outcome_with(plugin: Plugin, **options: Any) -> Finished[Any] | Stopped:
    model = ScriptedModel([Say(calls=[("echo", {"text": "hi"})]), "done"])
    agent = agent_of(model, plugins=[plugin], tools=[echo], **options)
    async with host(memory(), agent) as app:
        return await (await (await app.session("s", agent)).send("go"))


def unset(view: TurnView) -> None:
    view.state = None  # type: ignore[assignment]


def spoil(view: TurnView) -> None:
    view.state["odd"] = object()


def fail(view: TurnView) -> None:
    raise OSError("no net")


WRONG: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "an error": ("before_turn", fail, "OSError: no net"),
    "no decision": ("before_turn", lambda view: True, "it decided True, which means nothing there"),
    "a notice of no JSON": ("before_turn", lambda view: Notify("n", object()), "payload of Notify 'n' .* no JSON form"),
    "a notice without a name": ("model_replied", lambda view: Notify(3), "Notify is made of text, not of 3"),  # type: ignore[arg-type]
    "an abort without words": ("at_boundary", lambda view: Abort(3, "x"), "Abort is made of text, not of 3"),  # type: ignore[arg-type]
    "a word for a message": ("before_turn", lambda view: Speak(("hi",)), r"Say adds messages, as .* not 'hi'"),  # type: ignore[arg-type]
    "a message alone": ("before_turn", lambda view: Speak(user("hi")), "Say adds a tuple of messages"),  # type: ignore[arg-type]
    "the model's word": ("before_turn", lambda view: Speak((Message("assistant", ()),)), "role 'assistant'"),
    "no text": ("instructions", lambda view: ["a"], "returned .'a'., which is no text"),
    "a name for names": ("hide_tools", lambda view: "echo", "returned 'echo', which is no list of names"),
    "numbers for names": ("hide_tools", lambda view: [3], "returned .3., which is no list of names"),
    "an empty view": ("view", lambda view: [], "the view is empty"),
    "a view of words": ("view", lambda view: ["hi"], "returned .'hi'., which is no list of messages"),
    "one message for a view": ("view", lambda view: user("hi"), "no list of messages"),
    "no state": ("before_turn", unset, "it left None for its state"),
    "a state of no JSON": ("at_boundary", spoil, "state of the plugin .* no JSON form"),
}


@pytest.mark.parametrize(("hook", "answer", "says"), WRONG.values(), ids=WRONG)
@virtual
async def test_what_means_nothing_stops_the_turn_and_names_plugin_and_hook(
    hook: str, answer: Callable[[Any], Any], says: str
) -> None:
    outcome = await outcome_with(odd(hook, answer))
    assert isinstance(outcome, Stopped)
    assert (outcome.reason, outcome.code) == ("plugin", "plugin_failed")
    assert re.match(f"Plugin 'odd' failed in {hook}: .*{says}", outcome.message), outcome.message


@virtual
async def test_a_hook_that_is_not_async_is_named() -> None:
    class Sync(Plugin):
        id: ClassVar[str] = "sync"

        def before_turn(self, view: TurnView) -> None:  # type: ignore[override]
            return None

    outcome = await outcome_with(Sync())
    assert isinstance(outcome, Stopped)
    assert outcome.message.startswith("Plugin 'sync' failed in before_turn: TypeError: a hook is an async function")


@virtual
async def test_none_hides_nothing_and_adds_nothing() -> None:
    for hook in ("hide_tools", "instructions", "view"):
        assert isinstance(await outcome_with(odd(hook, lambda view: None)), Finished)


WRONG_IN_CALLS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "an error": ("before_tool", fail, "OSError: no net"),
    "no decision": (
        "before_tool",
        lambda view: Compact(),
        r"it decided Compact\(focus=''\), which means nothing there",
    ),
    "a text for an output": ("after_tool", lambda view: Answer("hi"), "ToolAnswer has a lash.ToolOutput, not 'hi'"),  # type: ignore[arg-type]
    "a list for arguments": ("before_tool", lambda view: ReplaceArguments([1]), "ReplaceArguments has a dict"),  # type: ignore[arg-type]
    "a notice of no JSON": ("after_tool", lambda view: Notify("n", {1, object()}), "payload of Notify 'n'"),
    "a text to show": ("show_result", lambda view: "hi", "it returned 'hi', which is no ToolOutput"),
}


@pytest.mark.parametrize(("hook", "answer", "says"), WRONG_IN_CALLS.values(), ids=WRONG_IN_CALLS)
@virtual
async def test_what_means_nothing_for_a_tool_call_fails_it_and_names_plugin_and_hook(
    hook: str, answer: Callable[[Any], Any], says: str
) -> None:
    told = await result_with(odd(hook, answer))
    assert re.match(rf"\[failed: plugin_failed\] Plugin 'odd' failed in {hook}: .*{says}", told), told


@virtual
async def test_a_hook_of_a_tool_call_may_say_in_its_own_words_what_went_wrong() -> None:
    def refuse(view: TurnView) -> None:
        raise ToolFailed("Not on Sundays.", code="sunday")

    assert await result_with(odd("before_tool", refuse)) == "[failed: sunday] Not on Sundays."


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (fail, "OSError: no net"),
        (
            lambda view: Abort("late", "No."),
            r"it decided Abort\(code='late', message='No.'\), which means nothing there",
        ),
        (spoil, "state of the plugin"),
    ],
)
@virtual
async def test_what_goes_wrong_after_the_turn_is_logged_and_the_turn_stays_as_it_is(
    answer: Callable[[Any], Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(view: TurnView) -> Any:
        view.state["kept"] = "no"
        return answer(view)

    model = ScriptedModel(["one", "the summary"])
    agent = agent_of(model, plugins=[odd("after_turn", wrong), Counting(), Tidy()])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("go"))
        assert isinstance(outcome, Finished)
        assert outcome.text == "one"
        kept = {node.name: node.body for node in await session.nodes() if node.kind == "state"}
        assert kept == {"counting": b'{"turns":1}'}, "the others were asked, and the state of the one that failed stays"
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.name for record in errors] == ["lash.plugins"]
    assert re.match(rf"Plugin 'odd' failed in after_turn: .*{says}.*outcome of turn s/1 stays", errors[0].getMessage())


class Counting(Plugin):
    id: ClassVar[str] = "counting"

    async def after_turn(self, view: TurnView, outcome: Outcome) -> Decisions:
        view.state["turns"] = view.state.get("turns", 0) + 1
        return None


async def async_words(view: TurnView) -> str:
    await asyncio.sleep(1)
    return f"You are talking in {view.session_id}."


def number(view: TurnView) -> Any:
    return 3


@virtual
async def test_instructions_may_be_an_async_function() -> None:
    model = ScriptedModel(["done"])
    agent = agent_of(model, instructions=async_words)
    async with host(memory(), agent) as app:
        assert isinstance(await (await (await app.session("s", agent)).send("go")), Finished)
    assert model.requests[0].instructions == "You are talking in s."


@pytest.mark.parametrize(
    ("function", "says"), [(fail, "failed: OSError: no net"), (number, "failed: it returned 3, which is no text")]
)
@virtual
async def test_instructions_that_fail_are_named_with_their_agent(function: Any, says: str) -> None:
    outcome = await outcome_with(Counting(), instructions=function)
    assert isinstance(outcome, Stopped)
    assert (outcome.reason, outcome.code) == ("error", "instructions_failed")
    assert outcome.message == f"The instructions function {function.__name__!r} of agent 'helper' {says}"


def test_plugins_are_checked_when_the_agent_is_made() -> None:
    with pytest.raises(InvalidAgent, match="id"):
        agent_of([], plugins=[Plugin()])
    with pytest.raises(InvalidAgent, match="two plugins"):
        agent_of([], plugins=[Short(), Short()])

    class Other(Short):
        id: ClassVar[str] = "other"

    with pytest.raises(InvalidAgent, match="only one may"):
        agent_of([], plugins=[Short(), Other()])


class Bringing(Plugin):
    id: ClassVar[str] = "bringing"

    def __init__(self, brings: Any) -> None:
        self.brings = brings

    def tools(self) -> Sequence[Any]:
        if isinstance(self.brings, Exception):
            raise self.brings
        return self.brings


class AlsoEchoing(Bringing):
    id: ClassVar[str] = "also"


def plain(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"tools": [echo], "plugins": [Bringing([echo])]},
            "'bringing' .* tool 'echo' to agent 'a', .* from the agent itself",
        ),
        ({"plugins": [Bringing([echo]), AlsoEchoing([echo])]}, "'also' .* tool 'echo' .* from plugin 'bringing'"),
        ({"plugins": [Bringing([echo, echo])]}, "tool 'echo' .* from plugin 'bringing'"),
        ({"plugins": [Bringing([plain])]}, r"tools\(\) of plugin 'bringing' of agent 'a' has <function plain"),
        ({"plugins": [Bringing(echo)]}, r"tools\(\) of plugin 'bringing' of agent 'a' takes a list, not <lash.Tool"),
        ({"plugins": [Bringing(OSError("no net"))]}, r"tools\(\) of plugin 'bringing' .* failed: OSError: no net"),
    ],
)
@virtual
async def test_tools_of_plugins_that_cannot_be_are_found_when_the_worker_opens(options: Any, says: str) -> None:
    with pytest.raises(InvalidAgent, match=says):
        async with host(memory(), agent_of([], name="a", **options)):
            pass
