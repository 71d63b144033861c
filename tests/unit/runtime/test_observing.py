"""A turn is watched from anywhere: here, from another runtime, after a crash, after its commit, behind any cursor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest

import lash
from lash.abc.tool import tool
from lash.core.model import Chunk, ModelRequest
from lash.core.observe import Committed, ReasoningDelta, TextDelta, TurnEvent
from lash.core.tool import SwitchFrame
from lash.core.turn import Stopped, Switched
from lash.errors import BadCursor, ProviderError, SessionDeleted
from lash.runtime.turn import Turn
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    await asyncio.sleep(1)
    return a + b


def script() -> ScriptedModel:
    return ScriptedModel([
        Say("Let me see. One two three.", calls=[("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})], pause_s=0.5),
        Say("It is three and seven.", reasoning="sum up", pause_s=0.5),
    ])  # fmt: skip


async def all_of(turn: Turn[Any], after: str | None = None) -> list[TurnEvent]:
    return [event async for event in turn.stream(after)]


def story(events: list[TurnEvent]) -> list[tuple[Any, ...]]:
    """What was told, text joined."""
    told: list[tuple[Any, ...]] = []
    for event in events:
        kind = type(event).__name__
        if kind in ("TextDelta", "ReasoningDelta"):
            text = event.text  # type: ignore[attr-defined]
            if told and told[-1][0] == kind:
                told[-1] = (kind, told[-1][1] + text)
            else:
                told.append((kind, text))
        elif kind in ("ToolStarted", "ToolFinished"):
            told.append((kind, event.call_id))  # type: ignore[attr-defined]
        else:
            told.append((kind,))
    return told


STORY = [
    ("TextDelta", "Let me see. One two three."), ("ModelFinished",), ("ToolStarted", "call-1-0"),
    ("ToolStarted", "call-1-1"), ("ToolFinished", "call-1-0"), ("ToolFinished", "call-1-1"),
    ("ReasoningDelta", "sum up"), ("TextDelta", "It is three and seven."), ("ModelFinished",), ("Committed",),
]  # fmt: skip


@virtual
async def test_the_story_is_the_same_while_it_runs_and_after_its_commit() -> None:
    agent = agent_of(script(), tools=[add])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        live = await all_of(turn)
        assert story(live) == STORY
        assert story(await all_of(turn)) == STORY


@virtual
async def test_a_tool_is_said_to_start_when_it_does() -> None:
    began: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    @tool
    async def look(name: str, seconds: float) -> str:
        """Look."""
        began[name] = loop.time()
        await asyncio.sleep(seconds)
        return name

    serial = tool(name="change", serial=True)(look.function)
    calls = [
        ("change", {"name": "c1", "seconds": 2}), ("look", {"name": "l1", "seconds": 9}),
        ("change", {"name": "c2", "seconds": 1}), ("look", {"name": "l2", "seconds": 4}),
    ]  # fmt: skip
    store = memory()
    agent = agent_of([Say(calls=calls), "done"], tools=[look, serial])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        turn = await (await app.session("s", agent)).send("go")
        elsewhere = (await other.session("s", agent)).turn(turn.id)
        here, there = await asyncio.gather(timed(turn, loop), timed(elsewhere, loop))
        for moment, event in here:
            if type(event).__name__ == "ToolStarted":
                name = json.loads(event.arguments)["name"]  # type: ignore[attr-defined]
                assert abs(moment - began[name]) < 0.2, (name, moment, began)
        order = [told for told in story([event for _, event in here]) if told[0].startswith("Tool")]
        assert order == [
            ("ToolStarted", "call-1-1"), ("ToolStarted", "call-1-3"), ("ToolFinished", "call-1-3"),
            ("ToolFinished", "call-1-1"), ("ToolStarted", "call-1-0"), ("ToolFinished", "call-1-0"),
            ("ToolStarted", "call-1-2"), ("ToolFinished", "call-1-2"),
        ]  # fmt: skip
        first = [told for told in story([event for _, event in there]) if told[0].startswith("Tool")][:5]
        assert first == order[:5], "what was recorded elsewhere says it as well"
        for heard in (here, there):
            for place, (_, event) in enumerate(heard):
                rest = story([event for _, event in heard[: place + 1]] + await all_of(turn, event.cursor))
                assert sorted(rest) == sorted(story([event for _, event in heard])), (place, event)


async def timed(turn: Turn[Any], loop: asyncio.AbstractEventLoop) -> list[tuple[float, TurnEvent]]:
    return [(loop.time(), event) async for event in turn.stream()]


@virtual
async def test_more_tools_than_may_work_at_once_start_one_by_one() -> None:
    @tool
    async def wait(number: int) -> int:
        """Wait."""
        await asyncio.sleep(10 if number else 1)
        return number

    agent = agent_of([Say(calls=[("wait", {"number": number}) for number in range(34)]), "done"], tools=[wait])
    async with host(memory(), agent) as app:
        loop = asyncio.get_running_loop()
        heard = await timed(await (await app.session("s", agent)).send("go"), loop)
        moments = [moment - heard[0][0] for moment, event in heard if type(event).__name__ == "ToolStarted"]
        assert [sum(moment < limit for moment in moments) for limit in (0.5, 1.5, 15)] == [32, 33, 34]


@virtual
async def test_a_tool_whose_end_is_not_known_elsewhere_is_said_to_have_started_there() -> None:
    @tool
    async def think(ctx: lash.Context, seconds: float) -> str:
        """Think."""
        await ctx.sleep(seconds)
        return "so"

    serial = tool(name="decide", serial=True)(think.function)
    calls = [("decide", {"seconds": 1}), ("think", {"seconds": 2})]
    store = memory()
    agent = agent_of([Say(calls=calls), Say("done with it", pause_s=5)], tools=[think, serial])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        turn = await (await app.session("s", agent)).send("go")
        heard = await all_of((await other.session("s", agent)).turn(turn.id))
        assert [told for told in story(heard) if told[0] == "ToolStarted"] == [
            ("ToolStarted", "call-1-1"), ("ToolStarted", "call-1-0"),
        ]  # fmt: skip


@virtual
async def test_what_a_tool_asks_a_model_is_no_part_of_the_story_elsewhere() -> None:
    slow = ProviderError("Slow down", kind="rate_limit", retryable=True)
    other_model = ScriptedModel([slow, Say("nobody hears this", pause_s=1)])

    @tool
    async def think(ctx: lash.Context) -> str:
        """Think."""
        answer = await ctx.model((other_model, "test"), "what now?")
        await ctx.step(len, "a step of its own", name="model 2")
        await ctx.sleep(3)
        return answer.text

    store = memory()
    agent = agent_of([Say(calls=[("think", {})]), Say("done with it", pause_s=5)], tools=[think])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        turn = await (await app.session("s", agent)).send("go")
        heard = story(await all_of((await other.session("s", agent)).turn(turn.id)))
        assert [told for told in heard if not told[0].startswith("Tool")] == [
            ("ModelFinished",), ("TextDelta", "done with it"), ("ModelFinished",), ("Committed",),
        ]  # fmt: skip


@virtual
async def test_text_is_told_the_moment_it_is_written() -> None:
    agent = agent_of([Say("one two three four", pause_s=1)])
    async with host(memory(), agent) as app:
        turn = await (await app.session("s", agent)).send("go")
        loop = asyncio.get_running_loop()
        began = loop.time()
        moments = [loop.time() - began async for event in turn.stream() if type(event).__name__ == "TextDelta"]
        assert [round(moment, 2) for moment in moments] == [1, 2, 3, 4]


@virtual
async def test_any_cursor_goes_on_where_it_stands_in_any_runtime() -> None:
    store = memory()
    agent = agent_of(script(), tools=[add])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        session = await app.session("s", agent)
        turn = await session.send("go")
        live = await all_of(turn)
        elsewhere = (await other.session("s", agent)).turn(turn.id)
        for place, event in enumerate(live):
            rest = story(live[: place + 1] + await all_of(elsewhere, event.cursor))
            assert rest == STORY, (place, event)


@pytest.mark.parametrize("stop", ["output_limit", "content_filter", "context_overflow"])
@virtual
async def test_what_was_shown_of_an_answer_without_an_end_stays_what_it_was(stop: str) -> None:
    """Also where it wanted tools, of which none is called."""
    asks = Say("Let me see.", calls=[("add", {"a": 1, "b": 2})])
    cut = Say("It is, as every", calls=[("add", {"a": 3, "b": 4})], stop=stop, pause_s=0.5)
    store = memory()
    agent = agent_of([asks, cut], tools=[add])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        turn = await (await app.session("s", agent)).send("go")
        elsewhere = (await other.session("s", agent)).turn(1)
        live, far = await asyncio.gather(all_of(turn), all_of(elsewhere))
        whole = story(live)
        assert whole == [
            ("TextDelta", "Let me see."), ("ModelFinished",), ("ToolStarted", "call-1-0"), ("ToolFinished", "call-1-0"),
            ("TextDelta", "It is, as every"), ("ModelFinished",), ("Committed",),
        ]  # fmt: skip
        assert story(far) == whole
        assert story(await all_of(elsewhere)) == whole
        for told in (live, far):
            for place, event in enumerate(told):
                assert story(told[: place + 1] + await all_of(elsewhere, event.cursor)) == whole, (place, event)
        outcome = await elsewhere
        assert isinstance(outcome, Stopped)
        assert (outcome.reason, outcome.text) == (stop, "It is, as every")
        assert (await said(await app.session("s")))[-1] == ("tool", "3"), "it is not in the history"


class Slow(ScriptedModel):
    """Thinks for a second before it says anything."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        await asyncio.sleep(1)
        async with aclosing(super().stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk


@virtual
async def test_thoughts_alone_are_no_message_and_no_later_text_is_told_in_their_place() -> None:
    script = [Say("Let me see.", calls=[("add", {"a": 1, "b": 2})]), Say(reasoning="all said"), "It is three."]
    agent = agent_of(Slow(script), tools=[add])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        watching = asyncio.create_task(all_of(turn))
        await asyncio.sleep(2.5)
        await session.steer("well?")
        live = await watching
        texts = [event.text for event in live if isinstance(event, TextDelta)]
        assert "".join(texts) == "Let me see.It is three."
        for place, event in enumerate(live):
            told = live[: place + 1] + await all_of(turn, event.cursor)
            assert spoken_in(told) == spoken_in(live), (place, event)
        assert spoken_in(await all_of(turn)) == spoken_in(live)


def spoken_in(events: list[TurnEvent]) -> list[tuple[Any, ...]]:
    """The story but for the thoughts, of which those that became no message are not kept."""
    return story([event for event in events if not isinstance(event, ReasoningDelta)])


@virtual
async def test_another_runtime_is_told_while_the_turn_runs() -> None:
    store = memory()
    agent = agent_of(script(), tools=[add])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        session = await app.session("s", agent)
        turn = await session.send("go")
        heard: list[tuple[float, TurnEvent]] = []

        async def listen() -> None:
            loop = asyncio.get_running_loop()
            async for event in (await other.session("s")).turn(1).stream():
                heard.append((loop.time(), event))

        await asyncio.gather(listen(), turn.outcome())
        assert story([event for _, event in heard]) == STORY
        texts = [moment for moment, event in heard if type(event).__name__ == "TextDelta"]
        assert len(texts) >= 5, "text arrives while it is written"


@virtual
async def test_who_comes_while_a_retry_is_under_way_takes_back_what_was_shown() -> None:
    broken = Say("a false start", cut=2, pause_s=1)
    agent = agent_of([broken, Say("the whole truth")])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        events = await all_of(turn)
        shown = ""
        for event in events:
            if type(event).__name__ == "TextDelta":
                shown += event.text  # type: ignore[attr-defined]
            if type(event).__name__ == "Reset":
                assert event.text_chars == len(shown) > 0  # type: ignore[attr-defined]
                assert "broke off" in event.reason  # type: ignore[attr-defined]
                shown = ""
        assert shown == "the whole truth"
        assert "Reset" in [type(event).__name__ for event in events]


def refusals(many: int, *then: Any, **wish: Any) -> list[Any]:
    return [ProviderError(f"No {number}", kind="rate_limit", retryable=True, **wish) for number in range(many)] + [
        *then
    ]


@virtual
async def test_who_watches_is_told_of_each_retry_and_when_it_comes() -> None:
    agent = agent_of([Say("a false start", cut=2, pause_s=1), *refusals(2, "done")], retry=lash.Retry(4, initial="2s"))
    async with host(memory(), agent) as app, host(app.store, agent, worker=False) as other:
        turn = await (await app.session("s", agent)).send("go")
        elsewhere = asyncio.create_task(all_of((await other.session("s")).turn(turn.id)))
        loop = asyncio.get_running_loop()
        heard = [(loop.time(), event) async for event in turn.stream()]
        events = [event for _, event in heard]
        retries = [(round(moment), event) for moment, event in heard if isinstance(event, lash.Retrying)]
        cut = "The stream was cut off."
        assert [replace(event, cursor="") for _, event in retries] == [
            lash.Retrying(2, 4, 2_000, cut, "stream", 1),
            lash.Retrying(3, 4, 4_000, "No 0", "rate_limit", 1),
            lash.Retrying(4, 4, 8_000, "No 1", "rate_limit", 1),
        ]
        assert [moment - retries[0][0] for moment, _ in retries] == [0, 2, 6]
        kinds = [type(event).__name__ for event in events]
        assert kinds[:4] == ["TextDelta", "Reset", "Retrying", "Retrying"], "taken back first, at once"
        for place, event in enumerate(events):
            if isinstance(event, lash.Retrying):
                assert event.cursor == events[1].cursor, "it moves no cursor"
                assert story([*events[:place], *await all_of(turn, event.cursor)])[-1] == ("Committed",)
        untold = [step for step in story(events) if step != ("Retrying",)]
        assert story(await all_of(turn)) == untold[2:] == [("TextDelta", "done"), ("ModelFinished",), ("Committed",)], (
            "it is no part of the story"
        )
        assert not any(isinstance(event, lash.Retrying) for event in await elsewhere)


@virtual
@pytest.mark.parametrize("resident", [0, 1_000])
async def test_retries_of_a_turn_that_parks_between_them_are_told_once_each(resident: int) -> None:
    agent = agent_of(refusals(3, "done", retry_after_ms=60_000))
    async with host(memory(), agent, resident=resident) as app:
        turn = await (await app.session("s", agent)).send("go")
        told = [event for event in await all_of(turn) if isinstance(event, lash.Retrying)]
        assert [(event.attempt, event.delay_ms, event.message) for event in told] == [
            (2, 60_000, "No 0"), (3, 60_000, "No 1"), (4, 60_000, "No 2"),
        ]  # fmt: skip


@virtual
async def test_who_watches_where_a_turn_was_parked_goes_on_with_the_worker_that_takes_it_up() -> None:
    """Also: what a failed attempt had said is taken back everywhere, and not told again from what was kept of it."""
    store = memory()
    cut = Say("a false start", cut=2, pause_s=1)
    agent = agent_of([cut, Say("the whole truth", pause_s=1)], retry=lash.Retry(2, initial="60s"))
    slow = agent_of([Say("one two", pause_s=600)], "slow")
    async with host(store, agent, slow, concurrency=1) as app, host(store, agent, worker=False) as other:
        turn = await (await app.session("s", agent)).send("go")
        elsewhere: list[TurnEvent] = []

        async def listen() -> list[TurnEvent]:
            async for event in (await other.session("s")).turn(turn.id).stream():
                elsewhere.append(event)
            return elsewhere

        watching = [asyncio.create_task(all_of(turn)), asyncio.create_task(listen())]
        await asyncio.sleep(30)
        assert story(elsewhere) == [("TextDelta", "a "), ("Reset",)]
        await (await app.session("slow", slow)).send("keep the only slot of this worker")
        watching.append(asyncio.create_task(all_of(turn)))
        async with host(store, agent):
            here, _, late = await asyncio.gather(*watching)
        truth = [("TextDelta", "the whole truth"), ("ModelFinished",), ("Committed",)]
        assert story(here) == [("TextDelta", "a "), ("Reset",), ("Retrying",), *truth]
        assert story(elsewhere) == [("TextDelta", "a "), ("Reset",), *truth]
        assert story(late) == [("Retrying",), *truth], "what is kept here of a turn is told to whoever comes"
        assert len([event for event in here if isinstance(event, TextDelta)]) > 3, "while it was written"


@virtual
async def test_an_error_that_ends_the_turn_is_no_retry() -> None:
    final = [ProviderError("no", kind="auth"), *refusals(2)]
    agent = agent_of(final, retry=lash.Retry(2, initial="1s"))
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        kinds = [[type(event).__name__ for event in await all_of(await session.send("go"))] for _ in "ab"]
        assert kinds == [["Committed"], ["Retrying", "Committed"]]


@virtual
async def test_after_a_crash_the_text_of_the_lost_call_is_taken_back_by_exactly_its_length() -> None:
    store = memory()
    model = ScriptedModel([Say("lost words here", pause_s=1), Say("final words", pause_s=1)])
    agent = agent_of(model)
    app = host(store, agent)
    await app.open()
    turn = await (await app.session("s", agent)).send("go")
    seen: list[TurnEvent] = []
    async for event in turn.stream():
        seen.append(event)
        if len(seen) == 2:
            break
    await app.abort()
    async with host(store, agent) as second:
        rest = await all_of((await second.session("s")).turn(1), seen[-1].cursor)
        assert [type(event).__name__ for event in rest][:1] == ["Reset"]
        assert rest[0].text_chars == sum(len(event.text) for event in seen)  # type: ignore[attr-defined]
        assert story(rest)[1] == ("TextDelta", "final words")


@virtual
async def test_a_cancel_takes_back_what_was_shown_of_the_call_it_ends() -> None:
    store = memory()
    agent = agent_of([Say("one two three four", pause_s=1)])
    async with host(store, agent) as app, host(store, agent, worker=False) as other:
        session = await app.session("s", agent)
        turn = await session.send("go")
        watching = [asyncio.create_task(all_of(turn)), asyncio.create_task(all_of((await other.session("s")).turn(1)))]
        await asyncio.sleep(2.5)
        await turn.cancel()
        for told in await asyncio.gather(*watching):
            shown = sum(len(event.text) for event in told if type(event).__name__ == "TextDelta")  # type: ignore[attr-defined]
            assert [type(event).__name__ for event in told][-2:] == ["Reset", "Committed"]
            assert told[-2].text_chars == shown > 0  # type: ignore[attr-defined]
        assert [type(event).__name__ for event in await all_of(turn)] == ["Committed"]


@virtual
async def test_wrong_cursors_are_refused_and_a_cursor_from_ahead_is_a_gap() -> None:
    agent = agent_of(["one", "two"])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        first, second = await session.send("a"), await session.send("b")
        events = await all_of(first)
        await second
        with pytest.raises(BadCursor, match="turn 1, not to turn 2"):
            await all_of(second, events[0].cursor)
        mark = events[0].cursor.split(".")[0]
        for wrong in (
            "",
            "x",
            "t1",
            mark,
            f"{mark}.1.1.v.-1.0.00.0.",
            f"{mark}.1.1.v.1.0.07.0.",
            f"{mark}.0.1.v.1.0.00.0.",
            "t1.1.v.1.0.00.0.",
            7,
        ):
            with pytest.raises(BadCursor, match="is no cursor"):
                await all_of(first, wrong)  # type: ignore[arg-type]
        ahead = events[0].cursor.replace(".3.0.", ".9000.0.")
        told = await all_of(first, ahead)
        assert [type(event).__name__ for event in told][:2] == ["Gap", "TextDelta"]


@virtual
async def test_a_cursor_of_another_session_is_refused() -> None:
    agent = agent_of(["one", "two"])
    async with host(memory(), agent) as app:
        here, there = await app.session("here", agent), await app.session("there", agent)
        mine = await here.send("a")
        events = await all_of(mine)
        await (await there.send("b"))
        for event in events:
            with pytest.raises(BadCursor, match="another session, not to 'there'"):
                await all_of(there.turn(1), event.cursor)
            with pytest.raises(BadCursor, match="another session, not to 'there'"):
                await anext(there.observe(event.cursor))
            fork = await here.fork(None, f"fork-{events.index(event)}")
            with pytest.raises(BadCursor, match="another session, not to 'fork-"):
                await anext(fork.observe(event.cursor))
        assert await all_of(mine, events[-1].cursor) == []


@dataclass(frozen=True)
class Sum:
    total: int


@virtual
async def test_whoever_watches_is_told_the_outcome_that_whoever_awaits_is_told() -> None:
    @tool
    def leave() -> SwitchFrame:
        """Clean the desk."""
        return SwitchFrame("desk", "add")

    answers = [Say(calls=[("leave", {})]), Say('{"total": 3}'), Say("no", stop="content_filter")]
    agent = agent_of(answers, tools=[leave], output=Sum)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        awaited = await turn
        assert awaited.output == Sum(3)
        ends = [(await all_of(one))[-1] for one in (turn, session.turn(2))]
        assert isinstance(ends[0], Committed)
        assert isinstance(ends[1], Committed)
        assert ends[0].outcome == Switched(SwitchFrame("desk", "add"), ends[0].usage, "s/1")
        assert ends[1].outcome == awaited
        turn = await session.send("again")
        stopped = (await all_of(turn))[-1]
        assert isinstance(stopped, Committed)
        assert isinstance(stopped.outcome, Stopped)
        assert stopped.outcome == await turn


@virtual
async def test_a_session_is_observed_from_turn_to_turn() -> None:
    agent = agent_of(["one", "two", "three"])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("a"))
        told: list[str] = []

        async def watch() -> None:
            async for event in session.observe():
                told.append(getattr(event, "text", type(event).__name__))
                if len(told) == 6:
                    return

        watching = asyncio.create_task(watch())
        await asyncio.sleep(1)
        await (await session.send("b"))
        await (await session.send("c"))
        await watching
        assert told == ["two", "ModelFinished", "Committed", "three", "ModelFinished", "Committed"]


@virtual
async def test_observing_ends_when_the_session_is_closed() -> None:
    agent = agent_of([Say("a b c", pause_s=1), Say("never said whole", pause_s=6)])
    async with host(memory(), agent) as app, asyncio.timeout(200):
        session = await app.session("s", agent)
        first = await session.send("one")

        async def watch(after: str | None = None) -> list[str]:
            return [story([event])[0][0] async for event in session.observe(after)]

        watching = asyncio.create_task(watch())
        cursor = (await all_of(first))[0].cursor
        await session.send("two")
        await session.send("never begun")
        await asyncio.sleep(10)
        await session.close()
        assert (await watching)[-5:] == ["Committed", "TextDelta", "Reset", "Committed", "Committed"]
        rest = ["TextDelta", "ModelFinished", "Committed", "Committed", "Committed"]
        assert await watch(cursor) == rest
        assert await watch() == [], "nothing is at work, and nothing comes"
        idle = await app.session("idle", agent)
        watching = asyncio.create_task(anext(aiter(idle.observe()), None))
        await asyncio.sleep(10)
        assert not watching.done()
        await idle.close()
        assert await watching is None
        await app.delete_session("s")
        for after in (None, cursor):
            with pytest.raises(SessionDeleted):
                await watch(after)


@virtual
async def test_a_deleted_session_ends_the_watch_for_its_next_turn() -> None:
    agent = agent_of([])
    async with host(memory(), agent) as app, asyncio.timeout(200):
        session = await app.session("s", agent)
        watching = asyncio.create_task(anext(session.observe()))
        await asyncio.sleep(10)
        await app.delete_session("s")
        with pytest.raises(SessionDeleted):
            await watching


@virtual
async def test_observing_from_ahead_of_the_session_is_a_gap_and_goes_on_at_the_turn_at_work() -> None:
    agent = agent_of(["one", Say("two", pause_s=1)])
    async with host(memory(), agent) as app, asyncio.timeout(200):
        session = await app.session("s", agent)
        events = await all_of(await session.send("a"))
        cursor = events[0].cursor.replace(".1.1.", ".9.1.", 1)
        await session.send("b")
        told = await first_of(session.observe(cursor), 4)
        assert [type(event).__name__ for event in told] == ["Gap", "TextDelta", "ModelFinished", "Committed"]
        assert story(await first_of(session.observe(told[0].cursor), 3)) == story(told[1:])


@virtual
async def test_many_words_for_one_turn_are_passed_over_on_the_way_to_the_next() -> None:
    agent = agent_of([Say("one", pause_s=10), Say("two", pause_s=1), "three"])
    async with host(memory(), agent) as app, asyncio.timeout(200):
        session = await app.session("s", agent)
        first = await session.send("go")
        await asyncio.sleep(1)
        for number in range(130):
            await session.steer(f"and {number}")
        last = await session.send("the next")
        watching = asyncio.create_task(first_of(session.observe(), 2, Committed))
        await first
        await last
        assert [event.turn for event in await watching] == [1, last.item]
        cursor = (await all_of(first))[0].cursor
        await session.close()
        assert [event.turn for event in await first_of(session.observe(cursor), 9, Committed)] == [1, last.item]


async def first_of(events: AsyncIterator[TurnEvent], many: int, kind: type[TurnEvent] = TurnEvent) -> list[Any]:
    """The first ``many`` events of a kind."""
    found: list[TurnEvent] = []
    async for event in events:
        found += [event] if isinstance(event, kind) else []
        if len(found) == many:
            break
    return found


@virtual
async def test_a_deleted_session_ends_the_wait_and_the_watch() -> None:
    agent = agent_of([Say("a b c", pause_s=100), ProviderError("no", kind="auth")])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        waiting = asyncio.create_task(turn.outcome())
        watching = asyncio.create_task(all_of(turn))
        await asyncio.sleep(10)
        await app.delete_session("s")
        for task in (waiting, watching):
            with pytest.raises(SessionDeleted):
                await task
