"""A stream that was cut off is an error with what had come, never an answer, and above all never a tool call."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from lash.core.model import ModelReply, ModelRequest, TextDelta
from lash.errors import ProviderError
from lash.providers.reading import Deadlines
from tests.wire.dialects import Dialect, collected, error_of, reply_of
from tests.wire.server import Script
from tests.wire.test_scenarios import BY_NAME, ask

TEXT = "Zwei Städte: 日本 🙂"


def boundaries(body: bytes) -> list[int]:
    """In each event: its first bytes, its middle, before the end of its line, between the line and the empty line, the
    end of all; and every byte of every character that is longer than one."""
    found: set[int] = {0}
    place = 0
    for event in body.split(b"\n\n")[:-1]:
        end = place + len(event)
        found |= {place + 1, place + 4, place + 7, (place + end) // 2, end - 1, end, end + 1, end + 2}
        place = end + 2
    found |= {number for number, byte in enumerate(body) if byte >= 0x80}
    return sorted(number for number in found if number <= len(body))


@BY_NAME
@pytest.mark.parametrize("then", ["end", "drop", "reset"])
def test_cut_at_every_kind_of_boundary_it_is_a_stream_error(
    dialect: Dialect, then: Literal["end", "drop", "reset"]
) -> None:
    cuts = [cut for cut in boundaries(dialect.whole) if cut < dialect.needed]
    assert len(cuts) > 30
    if then != "end":
        cuts = cuts[::5]

    async def main() -> None:
        scripts = [Script(dialect.whole, cut=cut, then=then, seed=cut) for cut in cuts]
        async with dialect.talk(*scripts) as (_, provider):
            for cut in cuts:
                error, chunks = await error_of(provider, ask(dialect))
                seen = "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))
                assert not any(isinstance(chunk, ModelReply) for chunk in chunks), cut
                # A connection that was reset before its first byte was read never became a stream.
                assert error.kind in (("stream", "transport") if then == "reset" else ("stream",)), cut
                assert error.retryable, cut
                assert TEXT.startswith(error.partial), cut
                assert error.partial == seen, cut

    asyncio.run(main())


OUT_OF_ROOM = {
    "openai": (b'"type": "response.completed", "response": {', b'"type": "response.incomplete", "response": {'),
    "openai-chat": (b'"finish_reason": "tool_calls"', b'"finish_reason": "length"'),
    "anthropic": (b'"stop_reason": "tool_use"', b'"stop_reason": "max_tokens"'),
    "google": (b'"finishReason": "STOP"', b'"finishReason": "MAX_TOKENS"'),
}


@BY_NAME
def test_calls_of_an_answer_that_ran_out_of_room_are_left_out(dialect: Dialect) -> None:
    body = dialect.whole.replace(*OUT_OF_ROOM[dialect.name])
    incomplete = b'"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [], "usage"'
    body = body.replace(b'"status": "completed", "output": [], "usage"', incomplete)
    assert body != dialect.whole

    async def main() -> None:
        async with dialect.talk(Script(body)) as (_, provider):
            reply = await reply_of(provider, ask(dialect))
        assert (reply.stop, reply.text, reply.calls) == ("output_limit", TEXT, ())

    asyncio.run(main())


@BY_NAME
def test_bytes_after_the_end_marker_may_be_missing_only_if_the_answer_is_whole(dialect: Dialect) -> None:
    """Between the marker and the last byte a vendor's SDK may wait for the end of the event or not; what comes is the
    whole reply or an error."""
    cuts = range(dialect.needed, len(dialect.whole))

    async def main() -> None:
        scripts = [Script(dialect.whole), *(Script(dialect.whole, cut=cut) for cut in cuts)]
        async with dialect.talk(*scripts) as (_, provider):
            whole = await reply_of(provider, ask(dialect))
            assert whole.text == TEXT
            assert len(whole.calls) == 2
            for _ in cuts:
                try:
                    reply = await reply_of(provider, ask(dialect))
                except ProviderError as error:
                    outcome: object = error.kind
                else:
                    outcome = reply.parts
                assert outcome in ("stream", whole.parts)

    asyncio.run(main())


@BY_NAME
def test_an_old_server_that_closes_the_connection_at_the_end_is_understood(dialect: Dialect) -> None:
    async def main() -> None:
        async with dialect.talk(Script(dialect.whole, framing="close")) as (_, provider):
            assert (await reply_of(provider, ask(dialect))).text == TEXT

    asyncio.run(main())


@BY_NAME
def test_keep_alives_between_all_events_change_nothing(dialect: Dialect) -> None:
    body = dialect.ping + b"".join(event + b"\n\n" + dialect.ping for event in dialect.whole.split(b"\n\n")[:-1])

    async def main() -> None:
        async with dialect.talk(Script(body, seed=5)) as (_, provider):
            assert (await reply_of(provider, ask(dialect))).text == TEXT

    asyncio.run(main())


@BY_NAME
@pytest.mark.parametrize(
    ("then", "deadlines"),
    [("hold", Deadlines(answer_s=20.0, quiet_s=0.2)), ("trickle", Deadlines(answer_s=0.3, quiet_s=20.0))],
    ids=["silence", "pings-for-ever"],
)
@pytest.mark.parametrize("heard", [False, True], ids=["from-the-start", "in-the-middle"])
def test_who_says_nothing_is_left(
    dialect: Dialect, then: Literal["hold", "trickle"], deadlines: Deadlines, heard: bool
) -> None:
    cut = dialect.whole.index("日".encode()) if heard else 0
    cut = dialect.whole.rindex(b"\n\n", 0, cut) + 2 if heard else 0
    script = Script(dialect.whole, cut=cut, then=then, drop_by_drop=dialect.ping)

    async def main() -> None:
        async with dialect.talk(script, deadlines=deadlines) as (server, provider):
            async with asyncio.timeout(10):  # the other deadline is 20 s away
                error, _ = await error_of(provider, ask(dialect))
            assert (error.kind, error.retryable) == ("timeout", True)
            assert error.partial == ("Zwei Städte: " if heard else "")
            if server.asked:  # on a busy machine the time may be over before the request is on its way
                await asyncio.wait_for(server.hung_up.wait(), 5)

    asyncio.run(main())


@BY_NAME
@pytest.mark.parametrize("how", ["aclose", "cancel"])
def test_who_stops_listening_closes_the_connection(dialect: Dialect, how: str) -> None:
    cut = dialect.whole.rindex(b"\n\n", 0, dialect.whole.index("日".encode())) + 2

    async def main() -> None:
        async with dialect.talk(Script(dialect.whole, cut=cut, then="hold")) as (server, provider):
            stream = provider.stream(ask(dialect))
            assert await anext(stream) == TextDelta("Zwei Städte: ", 0)
            if how == "aclose":
                await stream.aclose()
            else:
                waiting = asyncio.ensure_future(anext(stream))
                await asyncio.wait([waiting], timeout=0.05)
                waiting.cancel()
                await asyncio.wait([waiting])
                assert waiting.cancelled()
            await asyncio.wait_for(server.hung_up.wait(), 5)

    asyncio.run(main())


@BY_NAME
def test_nobody_at_the_address_is_a_transport_error(dialect: Dialect) -> None:
    async def main() -> None:
        async with dialect.talk() as (server, _):
            url = server.url
        provider = dialect.make(url, Deadlines(answer_s=5.0, quiet_s=5.0))
        error, chunks = await error_of(provider, ask(dialect))
        await provider.close()
        assert (error.kind, error.retryable, error.status, chunks) == ("transport", True, None, [])
        assert f" could not be reached at {url}" in str(error)
        assert "(ConnectionRefusedError: " in str(error)
        assert "start the server, or correct base_url" in str(error)

    asyncio.run(main())


@BY_NAME
def test_an_unknown_end_is_an_error_and_no_stop(dialect: Dialect) -> None:
    async def main() -> None:
        async with dialect.talk(Script(dialect.unknown_end)) as (_, provider):
            error, _ = await error_of(provider, ask(dialect))
        assert (error.kind, error.retryable) == ("unknown", False)
        assert "bored" in str(error).lower()

    asyncio.run(main())


@BY_NAME
def test_an_error_inside_a_stream_tells_what_had_come(dialect: Dialect) -> None:
    async def main() -> None:
        async with dialect.talk(Script(dialect.error_in_stream)) as (_, provider):
            error, _ = await error_of(provider, ask(dialect))
        assert error.retryable
        assert error.kind in ("overloaded", "http")
        assert error.partial == "Hal"
        assert "Overloaded" in str(error)

    asyncio.run(main())


@BY_NAME
def test_a_provider_can_be_used_again_after_an_error(dialect: Dialect) -> None:
    async def main() -> None:
        scripts = [Script(dialect.whole, cut=40, then="reset"), Script(dialect.whole)]
        async with dialect.talk(*scripts) as (server, provider):
            request: ModelRequest = ask(dialect)
            await error_of(provider, request)
            assert len(await collected(provider, request)) > 2
            assert server.asked[0].body == server.asked[1].body

    asyncio.run(main())
