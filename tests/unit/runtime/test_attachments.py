"""Attachments in turns: a bad one costs the turn that brought it at most, and never the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import lash
from lash.abc.tool import ToolContext, tool
from lash.core.message import Media, Message, Text, ToolResult
from lash.core.model import ModelInfo, ModelRequest
from lash.core.tool import SwitchFrame, ToolOutput
from lash.core.turn import Finished, Stopped
from lash.errors import AttachmentMissing, InvalidValue, ProviderError, SessionDeleted, StoreUnavailable
from lash.limits import PRUNE_BLOBS_PAGE
from lash.runtime.agent import Agent
from lash.runtime.runtime import Runtime
from lash.runtime.session import Session
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host

PNG, PDF = b"\x89PNG a picture", b"%PDF a paper"
BLIND = ModelInfo(media_types=())
IMAGES = ModelInfo(media_types=("image/png",))


def shown(request: ModelRequest) -> list[list[str]]:
    """What a request says, message by message: texts, and the types of what is attached."""

    def said(parts: Sequence[Any]) -> list[str]:
        found: list[str] = []
        for part in parts:
            if isinstance(part, ToolResult):
                found += said(part.content)
            elif isinstance(part, Media):
                found.append(part.media_type)
            elif isinstance(part, Text):
                found.append(part.text)
        return found

    return [said(message.parts) for message in request.messages]


def forget(app: Runtime, media: Media) -> None:
    """The blob is gone, as after a backup was restored."""
    del app.store.blobs._chats.blobs[media.ref]  # type: ignore[attr-defined]  # of the memory store


@asynccontextmanager
async def opened_by_a_stranger(agent: Agent[Any]) -> AsyncGenerator[tuple[Runtime, Session[Any]]]:
    """A session as a runtime sees it that knows neither its agent nor what the model reads."""
    store = memory()
    async with host(store, agent, worker=False) as app:
        await app.session("s", agent)
    async with host(store, worker=False) as caller:
        yield caller, await caller.session("s")


@virtual
async def test_an_attachment_of_no_known_type_is_refused_at_once() -> None:
    agent = agent_of([])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        with pytest.raises(InvalidValue, match=r"image/png, .* not 'application/x-evil'"):
            await session.attach(b"x", "application/x-evil")
        with pytest.raises(InvalidValue, match="1 to 33554432 bytes, not 0"):
            await session.attach(b"", "image/png")
        with pytest.raises(InvalidValue, match="not 'application/x-evil'"):
            await session.send("look", Media("sha256:00", "application/x-evil", 1))
        assert (await session.row()).items == 0


@virtual
async def test_what_the_model_cannot_read_is_refused_where_that_is_known() -> None:
    told, knowing = agent_of([], "told", info=IMAGES), agent_of([], "knowing")
    async with host(memory(), told, knowing, worker=False) as app:
        for agent, knows in ((told, "image/png"), (knowing, "image/png, image/jpeg, image/gif, image/webp")):
            session = await app.session(agent.name, agent)
            paper = await session.attach(PDF, "application/pdf")
            for send in (session.send, session.steer):
                with pytest.raises(
                    InvalidValue, match=rf"{agent.name}' cannot read application/pdf \(it reads {knows}\)"
                ):
                    await send("read", paper)
            assert (await session.row()).items == 0


@virtual
async def test_what_the_new_input_brings_and_the_model_cannot_read_stops_the_turn_and_no_other() -> None:
    model = ScriptedModel(["fine", "still fine"])
    agent = agent_of(model, info=IMAGES)
    async with opened_by_a_stranger(agent) as (caller, session):
        paper = await session.attach(PDF, "application/pdf", "a paper")
        picture = await session.attach(PNG, "image/png")
        first = await session.send("read", paper, picture)
        async with host(caller.store, agent):
            stopped = await first
            assert isinstance(stopped, Stopped)
            assert (stopped.reason, stopped.code) == ("model", "unsupported")
            assert "cannot read application/pdf" in stopped.message
            assert model.requests == []
            assert isinstance(await (await session.send("and now?")), Finished)
            assert isinstance(await (await session.send("and now?")), Finished)
        for request in model.requests:
            assert shown(request)[0] == [
                "read",
                "[attachment 'a paper', application/pdf, 12 bytes, is not shown: this model cannot read it]",
                "image/png",
            ]
        assert (await session.history())[0].message.parts[1] == paper


@virtual
async def test_a_history_with_attachments_goes_on_with_a_model_that_reads_none() -> None:
    seeing, blind = ScriptedModel(["a dot"]), ScriptedModel(["I cannot look again", "no"])
    store = memory()
    agent = agent_of(seeing)
    async with host(store, agent) as app:
        session = await app.session("s", agent)
        await (await session.send("look", await session.attach(PNG, "image/png")))
    other = agent_of(blind, info=BLIND)
    async with host(store, other) as app:
        session = await app.session("s", other)
        assert isinstance(await (await session.send("look again")), Finished)
        assert shown(blind.requests[0])[0][1].startswith("[attachment, image/png, 14 bytes, is not shown:")
        assert blind.requests[0].media == {}


@virtual
async def test_an_attachment_that_is_gone_stops_the_turn_that_brings_it_and_is_a_text_from_then_on() -> None:
    model = ScriptedModel(["seen", "a", "b"])
    agent = agent_of(model)
    async with host(memory(), agent, worker=False) as caller:
        session = await caller.session("s", agent)
        kept, gone = await session.attach(PNG, "image/png", "kept"), await session.attach(b"\x89PNG2", "image/png", "2")
        async with host(caller.store, agent) as app:
            await (await session.send("one", kept, gone))
            forget(app, gone)
            assert isinstance(await (await session.send("two")), Finished)
            assert shown(model.requests[1])[0] == [
                "one",
                "image/png",
                "[attachment '2', image/png, 5 bytes, is not shown: it is not in the store any more]",
            ]
            assert list(model.requests[1].media) == [kept.ref]
        lost = await session.attach(b"\x89PNG3", "image/png")
        turn = await session.send("three", lost)
        forget(caller, lost)
        async with host(caller.store, agent):
            stopped = await turn
            assert isinstance(stopped, Stopped)
            assert (stopped.code, lost.ref in stopped.message) == ("attachment_missing", True)
            assert isinstance(await (await session.send("four")), Finished)


@virtual
async def test_what_a_tool_attaches_and_the_model_cannot_read_is_told_in_words() -> None:
    @tool
    async def draw(ctx: ToolContext) -> Any:
        """Draw."""
        return ["drawn", await ctx.put(PNG, "image/png", "a dot")]

    model = ScriptedModel([Say(calls=[("draw", {})]), "I cannot see it"])
    agent = agent_of(model, tools=[draw], info=BLIND)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("draw")), Finished)
        told = "[attachment 'a dot', image/png, 14 bytes, is not shown: this model cannot read it]"
        assert shown(model.requests[1])[2] == ["drawn", told]


@pytest.mark.parametrize("kind", ["validation", "unsupported", "context_overflow"])
@virtual
async def test_a_picture_that_the_provider_refuses_stops_one_turn_and_is_left_out_of_the_next(kind: str) -> None:
    def picky(request: ModelRequest) -> Say:
        """A provider that will not have any picture: what was attached was none, or is too large."""
        if any("image/png" in parts for parts in shown(request)):
            raise ProviderError("Could not process image.", kind=kind, status=400)
        return Say("fine")

    model = ScriptedModel(always=picky)
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        stopped = await (await session.send("look", await session.attach(b"no picture", "image/png")))
        assert isinstance(stopped, Stopped)
        assert stopped.message.endswith("Could not process image.")
        assert len(model.requests) == 1
        outcome = await (await session.send("never mind"))
        assert isinstance(outcome, Finished)
        assert outcome.output == "fine"
        why = "the provider refused a request that had it"
        assert shown(model.requests[-1])[0] == ["look", f"[attachment, image/png, 10 bytes, is not shown: {why}]"]


@virtual
async def test_a_refusal_that_no_attachment_can_be_the_cause_of_is_not_asked_twice() -> None:
    def refuse(request: ModelRequest) -> Say:
        raise ProviderError("No.", kind=kinds[0], status=400)

    kinds = ["validation"]
    model = ScriptedModel(always=refuse)
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("hello")), Stopped)
        assert len(model.requests) == 1
        kinds[0] = "auth"
        await (await session.send("look", await session.attach(PNG, "image/png")))
        assert isinstance(await (await session.send("and now?")), Stopped)
        assert len(model.requests) == 3


@virtual
async def test_another_input_of_the_turn_is_its_own_too() -> None:
    @tool
    async def ask(ctx: lash.Context) -> str:
        """Ask."""
        return str(await ctx.signal("answer", str))

    model = ScriptedModel([Say(calls=[("ask", {})]), "not reached"])
    agent = agent_of(model, tools=[ask], info=IMAGES)
    async with opened_by_a_stranger(agent) as (caller, session):
        turn = await session.send("go")
        async with host(caller.store, agent) as app:
            await session.steer("and this", await session.attach(PDF, "application/pdf"))
            await app.handle("session:s").signal("answer", "yes")
            stopped = await turn
            assert isinstance(stopped, Stopped)
            assert "cannot read application/pdf" in stopped.message


def test_a_message_is_told_from_an_equal_one_of_an_older_turn() -> None:
    from lash.runtime.attachments import others_shown

    older, own = (Message("user", (Media("sha256:01", "image/png", 3),)) for _ in range(2))
    first, second = others_shown((older, own), (own,), lambda media: "old")
    assert (first == older, second is own) == (False, True)


# What is spoken of is there, and stays ----------------------------------------------------------------------------

UNKNOWN = Media("sha256:" + "0f" * 32, "image/png", 3, "lost.png")


@virtual
async def test_an_input_that_speaks_of_what_is_not_there_is_not_accepted() -> None:
    agent = agent_of([])
    async with host(memory(), agent, worker=False) as app:
        session = await app.session("s", agent)
        picture = await session.attach(PNG, "image/png")
        for send in (session.send, session.steer):
            with pytest.raises(AttachmentMissing, match=r"lost\.png.*Nothing was written") as caught:
                await send("look", picture, UNKNOWN, key="k")
            assert caught.value.fields["ref"] == UNKNOWN.ref
        assert (await session.row()).items == 0
        await session.send("look", picture, key="k")
        await app.delete_session("s")
        with pytest.raises(SessionDeleted):
            await session.send("look", UNKNOWN)


class Later:
    """The store's time: that of the test, and as many hours as it says."""

    def __init__(self) -> None:
        self.hours = 0

    def __call__(self) -> int:
        return simulate.now_ms() + self.hours * 3_600_000


@virtual
async def test_a_worker_deletes_what_nobody_speaks_of_a_day_after_it_was_stored_last() -> None:
    clock = Later()
    store = MemoryStore(clock)
    agent = agent_of(["seen"])
    async with host(store, agent, worker=False) as app:
        session = await app.session("s", agent)
        sent, unsent, again = [await session.attach(data, "image/png") for data in (b"sent", b"unsent", b"again")]
        await session.send("look", sent)
        clock.hours = 23
        await session.attach(b"again", "image/png")
        async with host(store, agent) as working:
            await asyncio.sleep(20)
            assert await there(app, sent, unsent, again) == [True, True, True]
            clock.hours = 25
            await asyncio.sleep(20)
            assert await there(app, sent, unsent, again) == [True, False, True]
            assert isinstance(await (await session.send("again?")), Stopped)  # the script has ended
            await working.delete_session("s")
            await asyncio.sleep(20)
            assert await there(app, sent, unsent, again) == [False, False, True]


@virtual
async def test_pruning_by_hand_looks_at_all_pages_of_them() -> None:
    clock = Later()
    agent = agent_of([])
    async with host(MemoryStore(clock), agent, worker=False) as app:
        session = await app.session("s", agent)
        stored = [await session.attach(b"%d" % number, "image/png") for number in range(2 * PRUNE_BLOBS_PAGE + 1)]
        assert await app.prune("1h") == 0
        assert all(await there(app, *stored))
        clock.hours = 25
        assert await app.prune("1h") == 0
        assert not any(await there(app, *stored))


async def there(app: Runtime, *media: Media) -> list[bool]:
    return [await app.store.blobs.get(item.ref) is not None for item in media]


@virtual
async def test_what_a_turn_at_work_has_attached_stays_however_long_it_takes() -> None:
    clock = Later()
    store = MemoryStore(clock)

    @tool
    async def draw(ctx: ToolContext) -> Media:
        """Draw."""
        return await ctx.put(PNG, "image/png")

    @tool
    async def ask(ctx: lash.Context) -> str:
        """Ask."""
        return str(await ctx.signal("answer", str))

    model = ScriptedModel([Say(calls=[("draw", {}), ("ask", {})]), "done"])
    agent = agent_of(model, tools=[draw, ask])
    async with host(store, agent, linger="0s") as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        await asyncio.sleep(60)
        clock.hours = 72
        await asyncio.sleep(60)
        await app.handle("session:s").signal("answer", "yes")
        assert isinstance(await turn, Finished)
        assert list(model.requests[1].media.values()) == [PNG]


@virtual
async def test_a_tool_that_speaks_of_what_is_not_there_has_failed_and_the_model_is_told_that_it_ran() -> None:
    ran: list[str] = []

    @tool(retry=3)
    async def invent() -> Any:
        """Invent."""
        ran.append("step")
        return ["look", UNKNOWN]

    @tool
    async def invent_here(ctx: lash.Context) -> ToolOutput:
        """The same in the session's own code."""
        return ToolOutput((Text("look"),), say=(Message("user", (UNKNOWN,)),))

    @tool
    async def switch() -> SwitchFrame:
        """The same in the seeds of a frame."""
        return SwitchFrame("next", "go on", (Message("user", (UNKNOWN,)),))

    names = ("invent", "invent_here", "switch")
    model = ScriptedModel([Say(calls=[(name, {}) for name in names]), "sorry"])
    agent = agent_of(model, tools=[invent, invent_here, switch])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("go"))
        assert isinstance(outcome, Finished)
        assert ran == ["step"]
        (*_, results) = model.requests[1].messages
        for result in results.parts:
            assert isinstance(result, ToolResult)
            (told,) = result.content
            assert isinstance(told, Text)
            assert told.text.startswith("[failed: attachment_missing] The tool was carried out, but an attachment")
            assert UNKNOWN.ref in told.text
            assert result.failed


@virtual
async def test_a_store_that_is_away_then_fails_the_call_and_says_that_it_ran() -> None:
    store = memory()

    @tool
    async def draw(ctx: ToolContext) -> Media:
        """Draw, and lose the store."""
        media = await ctx.put(PNG, "image/png")

        async def away(refs: Sequence[str], row: int = 0) -> list[str]:
            raise StoreUnavailable("The store is away.")

        store.blobs.keep = away  # type: ignore[method-assign]
        return media

    model = ScriptedModel([Say(calls=[("draw", {})]), "sorry"])
    agent = agent_of(model, tools=[draw])
    async with host(store, agent) as app:
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("go")), Finished)
        why = "The tool was carried out, but an attachment of its result could not be looked for: The store is away."
        assert shown(model.requests[1])[2] == [f"[failed: store_unavailable] {why}"]


@virtual
async def test_a_frame_speaks_of_what_its_seeds_do() -> None:
    clock = Later()
    store = MemoryStore(clock)

    @tool
    async def switch(ctx: ToolContext) -> SwitchFrame:
        """Go on with a picture."""
        picture = await ctx.put(PNG, "image/png")
        return SwitchFrame("next", "go on", (Message("user", (picture,)),))

    model = ScriptedModel([Say(calls=[("switch", {})]), "going on"], always="still here")
    agent = agent_of(model, tools=[switch])
    async with host(store, agent) as app:
        session = await app.session("s", agent)
        await (await session.send("go"))
        fork = await session.fork(None, "f")
        await app.delete_session("s")
        clock.hours = 72
        await asyncio.sleep(20)
        assert isinstance(await (await fork.send("and now?")), Finished)
        assert list(model.requests[-1].media.values()) == [PNG]
