"""Attachments in turns: a bad one costs the turn that brought it at most, and never the session."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import lash
from lash.abc.tool import ToolContext, tool
from lash.core.message import Media, Message, Text, ToolResult
from lash.core.model import ModelInfo, ModelRequest
from lash.core.turn import Finished, Stopped
from lash.errors import InvalidValue, ProviderError
from lash.runtime.agent import Agent
from lash.runtime.runtime import Runtime
from lash.runtime.session import Session
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
    del app.store.blobs._data[media.ref]  # type: ignore[attr-defined]  # of the memory store


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


def picky(request: ModelRequest) -> Say:
    """A provider that will not have any picture: what was attached was none."""
    if any("image/png" in parts for parts in shown(request)):
        raise ProviderError("Could not process image.", kind="validation", status=400)
    return Say("fine")


@virtual
async def test_a_picture_that_the_provider_refuses_stops_one_turn_and_is_left_out_of_the_next() -> None:
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
