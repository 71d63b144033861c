"""What outgrows the model is sent as its newest part, soundly, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, strategies as st

import lash
from lash.core.estimate import tokens_of
from lash.core.message import Media, Message, Text, ToolCall, ToolResult, unsound, user
from lash.core.model import ModelInfo, Usage
from lash.plugins.rolling import LEFT_OUT, RollingContext, tail_of, without_old_media
from lash.testing import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


def turn(number: int, rounds: int, size: int, calls: int = 2) -> list[Message]:
    messages = [user(f"question {number} " + "x" * size)]
    for place in range(rounds):
        made = tuple(ToolCall(f"c{place}.{call}", "look", "{}") for call in range(calls))
        messages.append(Message("assistant", made))
        messages.append(Message("tool", tuple(ToolResult(call.id, "look", (Text("y" * size),)) for call in made)))
    return [*messages, Message("assistant", (Text("answer"),))]


TURNS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 400)), min_size=1, max_size=9)


@given(TURNS, st.integers(1, 900), st.integers(0, 2))
def test_a_tail_is_sound_and_begins_with_a_user_and_fits_unless_the_last_call_alone_does_not(
    turns: list[tuple[int, int]], tokens: int, unanswered: int
) -> None:
    messages = [message for number, (rounds, size) in enumerate(turns) for message in turn(number, rounds, size)]
    messages = messages[: len(messages) - (unanswered == 1 and turns[-1][0] > 0)]  # a turn at work
    tail = tail_of(messages, tokens)
    told = [message for message in tail if message is not LEFT_OUT]
    places = [next(place for place, message in enumerate(messages) if message is kept) for kept in told]
    assert unsound(tail) is None
    assert tail[0].role == "user"
    assert (places == sorted(places), places[-1]) == (True, len(messages) - 1)
    gaps = sum(later != earlier + 1 for earlier, later in itertools.pairwise(places))
    assert gaps == len(tail) - len(told) <= 1
    assert tokens_of(tail) <= tokens or sum(message.role == "assistant" for message in tail) <= 1
    assert tail_of(tail, tokens) == tail or tokens_of(tail) > tokens
    if tokens_of(messages) <= tokens:
        assert tail == messages


def test_of_a_long_turn_stays_what_was_asked_and_what_was_done_last() -> None:
    messages = [*turn(1, 0, 40), *turn(2, 50, 400)[:-1]]
    messages.insert(60, user("a word meanwhile"))
    tail = tail_of(messages, 1_000)
    assert [message.text[:10] for message in tail[:3]] == ["question 2", "a word mea", "[what was "]
    assert (tail[2], tail[3].role, tail[3:]) == (LEFT_OUT, "assistant", messages[-len(tail) + 3 :])
    assert 700 < tokens_of(tail) <= 1_000
    again = tail_of([*tail, *messages[-4:]], 1_000)
    assert again[:3] == tail[:3]
    assert again.count(LEFT_OUT) == 1


def test_old_pictures_become_a_word_and_new_ones_stay() -> None:
    picture = Media("sha256:" + "0" * 64, "image/png", 3)
    messages = [user("one", picture), *turn(1, 0, 1), *turn(2, 0, 1), *turn(3, 0, 1), user("last", picture)]
    shown = without_old_media(messages)
    assert [any(isinstance(part, Media) for part in message.parts) for message in shown].count(True) == 1
    assert shown[0].text.startswith("one")
    assert shown[1] is messages[1]


@virtual
async def test_a_session_that_outgrows_its_model_goes_on() -> None:
    model = ScriptedModel(always=lambda request: Say("word " * 200, usage=Usage(tokens_of(request.messages), 200)))
    rolling = RollingContext(tail_tokens=1_000, margin_tokens=500)
    agent = agent_of(model, plugins=[rolling], info=ModelInfo(context_tokens=3_000))
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        for number in range(20):
            assert isinstance(await (await session.send(f"question {number}")), lash.Finished)
        assert max(tokens_of(request.messages) for request in model.requests) <= 2_500
        assert model.requests[-1].messages[-1].text == "question 19"
        assert len(await said(session)) == 40


@lash.tool(effect="pure")
async def fetch(page: int) -> str:
    """Fetch a page."""
    return f"page {page} " + "word " * 150


def reader(pages: int) -> ScriptedModel:
    """Fetches page after page in one turn."""

    def line(request: Any) -> Say:
        used = Usage(tokens_of(request.messages), 10)
        if not request.tools_allowed:
            return Say("in short", usage=used)
        number = sum(1 for seen in model.requests if seen.tools_allowed)
        return Say(calls=[("fetch", {"page": number})], usage=used) if number <= pages else Say("read", usage=used)

    model = ScriptedModel(always=line)
    return model


@pytest.mark.parametrize("compact", [False, True])
@virtual
async def test_a_turn_that_outgrows_the_model_goes_on_and_knows_what_was_asked(compact: bool) -> None:
    model = reader(40)
    rolling = RollingContext(tail_tokens=1_000, margin_tokens=500, compact=compact)
    agent = agent_of(model, plugins=[rolling], tools=[fetch], info=ModelInfo(context_tokens=3_000))
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("Read it all.")), lash.Finished)
        sizes = [tokens_of(request.messages) for request in model.requests]
        assert max(sizes) <= 2_500
        assert sum(later < earlier for earlier, later in itertools.pairwise(sizes)) < 8  # cut when need be, not always
        assert all(request.messages[0].text == "Read it all." for request in model.requests)
        assert len(await session.history(limit=1_000)) == 82
        await asyncio.sleep(5)
        assert isinstance(await (await session.send("And?")), lash.Finished)
        summed = [request for request in model.requests if not request.tools_allowed]
        assert len(summed) == compact
        shown = [message.text for message in model.requests[-1].messages]
        assert any("in short" in text for text in shown) == compact
        assert shown[-1] == "And?"
        assert tokens_of(model.requests[-1].messages) <= 2_500


@virtual
async def test_with_compact_it_is_summed_up_instead() -> None:
    def answer(request: Any) -> Say:
        messages = request.messages
        summing = not request.tools_allowed
        return Say("in short" if summing else "word " * 200, usage=Usage(tokens_of(messages), 200))

    model = ScriptedModel(always=answer)
    agent = agent_of(
        model,
        plugins=[RollingContext(tail_tokens=2_000, margin_tokens=1_500, compact=True)],
        info=ModelInfo(context_tokens=3_000),
    )
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        for number in range(12):
            await (await session.send(f"question {number}"))
        kinds = [node.kind for node in await session.nodes(limit=1_000)]
        assert kinds.count("frame") >= 1
        assert any("in short" in message.text for message in model.requests[-1].messages) or kinds[-1] == "message"
