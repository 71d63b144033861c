"""What outgrows the model is sent as its newest part, soundly, and nothing of it is lost."""

from __future__ import annotations

from hypothesis import given, strategies as st

import lash
from lash.core.estimate import tokens_of
from lash.core.message import Media, Message, Text, ToolCall, ToolResult, unsound, user
from lash.core.model import ModelInfo, Usage
from lash.plugins.rolling import RollingContext, tail_of, without_old_media
from lash.testing import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


def turn(number: int, calls: int, size: int) -> list[Message]:
    messages = [user(f"question {number} " + "x" * size)]
    if calls:
        made = tuple(ToolCall(f"c{place}", "look", "{}") for place in range(calls))
        messages.append(Message("assistant", made))
        messages.append(Message("tool", tuple(ToolResult(call.id, "look", (Text("y" * size),)) for call in made)))
    return [*messages, Message("assistant", (Text("answer"),))]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400)), min_size=1, max_size=12), st.integers(1, 900))
def test_a_tail_is_sound_begins_with_a_user_and_fits_unless_one_turn_alone_does_not(
    turns: list[tuple[int, int]], tokens: int
) -> None:
    messages = [message for number, (calls, size) in enumerate(turns) for message in turn(number, calls, size)]
    tail = tail_of(messages, tokens)
    assert tail == messages[len(messages) - len(tail) :]
    assert unsound(tail) is None
    assert tail[0].role == "user"
    assert tokens_of(tail) <= tokens or sum(message.role == "user" for message in tail) == 1


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


@virtual
async def test_with_compact_it_is_summed_up_instead() -> None:
    def answer(request: object) -> Say:
        messages = request.messages  # type: ignore[attr-defined]
        summing = not request.tools_allowed  # type: ignore[attr-defined]
        return Say("in short" if summing else "word " * 200, usage=Usage(tokens_of(messages), 200))

    model = ScriptedModel(always=answer)  # type: ignore[arg-type]
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
