"""Ten scenarios, four dialects: whatever the vendor says, the runtime hears the same reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from lash.core.message import Message, Reasoning, Text, user
from lash.core.model import CallDelta, ModelReply, ModelRequest, ReasoningDelta, TextDelta
from tests.wire import say_anthropic, say_chat, say_google, say_openai
from tests.wire.dialects import SCENARIOS, Absent, Case, Dialect, collected, reply_of
from tests.wire.server import Script

DIALECTS = [module.DIALECT for module in (say_openai, say_chat, say_anthropic, say_google)]
CASES = [
    pytest.param(dialect, case, id=f"{dialect.name}-{scenario}")
    for dialect in DIALECTS
    for scenario in SCENARIOS
    if isinstance(case := dialect.cases[scenario], Case)
]
BY_NAME = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def ask(dialect: Dialect, *messages: Message) -> ModelRequest:
    return ModelRequest(dialect.model, "Be brief.", messages or (user("Hi"),))


@BY_NAME
def test_every_scenario_is_there_or_absent_for_a_reason(dialect: Dialect) -> None:
    assert tuple(dialect.cases) == SCENARIOS
    absent = {name: case.reason for name, case in dialect.cases.items() if isinstance(case, Absent)}
    assert set(absent) == {"openai": {"split_usage"}, "google": {"argument_merge"}}.get(dialect.name, set())
    assert all(len(reason) > 20 for reason in absent.values())


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize(("dialect", "case"), CASES)
def test_a_scenario_becomes_the_one_reply_however_its_bytes_travel(
    dialect: Dialect, case: Case, seed: int | None
) -> None:
    async def main() -> None:
        async with dialect.talk(Script(case.body, seed=seed)) as (_, provider):
            chunks = await collected(provider, ask(dialect))
        assert chunks[-1] == case.reply
        assert_streamed(chunks[:-1], case.reply)

    asyncio.run(main())


def assert_streamed(chunks: Sequence[object], reply: ModelReply) -> None:
    """What was streamed is what the reply holds, part for part."""
    assert not any(isinstance(chunk, ModelReply) for chunk in chunks)
    for kind, part in ((TextDelta, Text), (ReasoningDelta, Reasoning)):
        streamed: dict[int, str] = {}
        for chunk in chunks:
            if isinstance(chunk, kind):
                streamed[chunk.part] = streamed.get(chunk.part, "") + chunk.text
        whole = [each.text for each in reply.parts if isinstance(each, part)]
        assert {number: text for number, text in enumerate(whole) if text} == streamed
    calls: dict[str, tuple[str, str]] = {}
    for chunk in chunks:
        if isinstance(chunk, CallDelta):
            calls[chunk.call_id] = chunk.name, calls.get(chunk.call_id, ("", ""))[1] + chunk.arguments
    assert calls == {call.id: (call.name, call.arguments) for call in reply.calls}


@BY_NAME
def test_reasoning_goes_back_word_for_word(dialect: Dialect) -> None:
    case = dialect.cases["reasoning_round_trip"]
    assert isinstance(case, Case)
    assert case.sent_back

    async def main() -> None:
        async with dialect.talk(Script(case.body), Script(case.body)) as (server, provider):
            reply = await reply_of(provider, ask(dialect))
            said = Message("assistant", reply.parts)
            await reply_of(provider, ask(dialect, user("Hi"), said, user("And?")))
            history = dialect.history(server.asked[1].body)
        size = len(case.sent_back or ())
        assert history[-1 - size : -1] == case.sent_back

    asyncio.run(main())


@BY_NAME
def test_what_another_vendor_signed_is_not_sent(dialect: Dialect) -> None:
    case = dialect.cases["plain_stop"]
    assert isinstance(case, Case)
    others = [each for each in DIALECTS if each is not dialect]

    async def main() -> None:
        async with dialect.talk(*(Script(case.body) for _ in others)) as (server, provider):
            for other in others:
                trip = other.cases["reasoning_round_trip"]
                assert isinstance(trip, Case)
                said = Message("assistant", (*trip.reply.parts, Reasoning("unsigned musings")))
                await reply_of(provider, ask(dialect, user("Hi"), said, user("And?")))
        for asked in server.asked:
            sent = str(dialect.history(asked.body))
            assert "So." in sent
            assert not any(word in sent for word in ("First, look.", "musings", "gAAAA", "c2ln", "c2VjcmV0", "msg_1"))

    asyncio.run(main())


@BY_NAME
def test_requests_of_one_provider_use_one_connection_and_may_be_interleaved(dialect: Dialect) -> None:
    case = dialect.cases["tool_use"]
    assert isinstance(case, Case)

    async def main() -> None:
        async with dialect.talk(*(Script(case.body, seed=seed) for seed in range(5))) as (server, provider):
            for _ in range(3):
                assert await reply_of(provider, ask(dialect)) == case.reply
            assert server.connections == 1
            both = await asyncio.gather(*(reply_of(provider, ask(dialect)) for _ in range(2)))
            assert both == [case.reply, case.reply]

    asyncio.run(main())
