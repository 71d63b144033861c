"""Sessions from outside: opened once, forked, closed, deleted; wrong input is refused before anything is written."""

from __future__ import annotations

import asyncio

import pytest

import lash
from lash.core.turn import Finished, Stopped
from lash.errors import (
    AgentUnknown,
    InvalidName,
    InvalidValue,
    ModelUnavailable,
    NodeUnknown,
    ProcessEnded,
    SessionConflict,
    SessionDeleted,
    SessionUnknown,
)  # fmt: skip
from lash.limits import INPUT_BYTES_MAX
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


@virtual
async def test_a_session_is_made_once_and_belongs_to_its_agent() -> None:
    one, two = agent_of(["hi"], "one"), agent_of([], "two")
    async with host(memory(), one, two) as app:
        session = await app.session("s", one)
        await (await session.send("hello"))
        assert await said(await app.session("s", one)) == [("user", "hello"), ("assistant", "hi")]
        assert (await app.session("s")).agent == "one"
        with pytest.raises(SessionConflict, match="agent 'one'"):
            await app.session("s", two)
        with pytest.raises(SessionUnknown):
            await app.session("other")
        with pytest.raises(AgentUnknown):
            await app.session("x", agent_of([], "stranger"))
        with pytest.raises(InvalidName):
            await app.session(" ", one)
        assert await app.processes() == []
        assert [info.id for info in await app.sessions(agent="one")] == ["s"]


@virtual
async def test_wrong_input_is_refused_and_nothing_is_written() -> None:
    agent = agent_of([])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        for wrong in ("", "  ", None, 7):
            with pytest.raises(InvalidValue):
                await session.send(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidValue, match="attach"):
            await session.send("x" * (INPUT_BYTES_MAX + 1))
        with pytest.raises(InvalidValue):
            await session.send("look", "not media")  # type: ignore[arg-type]
        with pytest.raises(InvalidName):
            await session.send("x", key="")
        with pytest.raises(InvalidName, match="cancel reason"):
            await session.cancel("x" * 20_000_000)
        assert (await session.row()).items == 0


@virtual
async def test_what_is_too_long_is_told_its_own_limit_and_not_shown() -> None:
    agent = agent_of([])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        for post in (session.send, session.steer, session.compact):
            for size in (INPUT_BYTES_MAX + 1, 20_000_000):
                with pytest.raises(InvalidValue, match=f"the limit is {INPUT_BYTES_MAX}") as caught:
                    await post("x" * size)
                assert caught.value.fields["value_bytes_max"] == INPUT_BYTES_MAX
                assert "attach" in str(caught.value)
            with pytest.raises(InvalidValue) as caught:
                await post(b"x" * 20_000_000)  # type: ignore[arg-type]
            assert len(str(caught.value)) < 200
        with pytest.raises(InvalidValue) as caught:
            await session.send("look", b"x" * 20_000_000)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 200
        assert (await session.row()).items == 0


@virtual
async def test_who_only_looks_is_not_told_that_nothing_was_written() -> None:
    async with host(memory(), agent_of([])) as app:
        with pytest.raises(SessionUnknown) as caught:
            await app.session("other")
        assert "written" not in str(caught.value)
        assert "lash sessions" in str(caught.value)


@virtual
async def test_a_fork_shares_what_was_and_goes_its_own_way() -> None:
    model = ScriptedModel(["one", "two", "other two"])
    agent = agent_of(model)
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("a"))
        await (await session.send("b"))
        fork = await session.fork("s#2", "f")
        await (await fork.send("c"))
        assert await said(fork) == [("user", "a"), ("assistant", "one"), ("user", "c"), ("assistant", "other two")]
        assert [entry.node for entry in await fork.history()] == ["s#1", "s#2", "f#3", "f#4"]
        assert (await fork.info()).base == "s"
        assert len(await said(session)) == 4
        back = await session.rewind("s#1")
        assert await said(back) == [("user", "a")]
        assert await said(await fork.fork("s#1", "f1")) == await said(await fork.fork("f#1", "f2")) == [("user", "a")]
        with pytest.raises(NodeUnknown, match="no such node among them"):
            await fork.fork("other#1", "g")
        for wrong in ("s#9", "s#0", "nonsense", "s#x"):
            with pytest.raises(NodeUnknown):
                await session.fork(wrong, "g")
        await app.delete_session("s")
        assert len(await said(fork)) == 4


@virtual
async def test_a_fork_is_made_once_and_no_other_session_is_handed_out_for_it() -> None:
    one, two = agent_of(ScriptedModel(always="yes"), "one"), agent_of(ScriptedModel(always="no"), "two")
    async with host(memory(), one, two) as app:
        session, stranger = await app.session("s", one), await app.session("stranger", one)
        await app.session("two's", two)
        empty = await session.fork(None, "from nothing")
        assert (await session.fork(None, "from nothing")).id == empty.id
        for talk in (session, stranger, empty):
            await (await talk.send("secret of " + talk.id))
        fork = await session.fork("s#1", "f")
        await (await fork.send("b"))
        again = await session.fork("s#1", "f")
        assert await said(again) == await said(fork) != []
        chained = await fork.fork("s#1", "of the fork")
        assert (await session.fork("s#1", "of the fork")).id == chained.id
        for node, taken in (
            ("s#2", "f"), (None, "f"), ("s#1", "stranger"), ("s#1", "s"), ("s#1", "from nothing"), ("s#1", "two's"),
        ):  # fmt: skip
            with pytest.raises(SessionConflict, match=taken):
                await session.fork(node, taken)
        for taken in ("stranger", "from nothing", "f"):
            with pytest.raises(SessionConflict, match=taken):
                await (await app.session("never used", one)).fork(None, taken)
        await app.delete_session("f")
        with pytest.raises(SessionDeleted):
            await session.fork("s#1", "f")


@virtual
async def test_nodes_of_other_sessions_are_unknown() -> None:
    agent = agent_of(ScriptedModel(always="yes"))
    async with host(memory(), agent) as app:
        session, other = await app.session("s", agent), await app.session("o", agent)
        for talk in (session, other):
            await (await talk.send("a"))
            await (await talk.send("b"))
        fork = await session.fork("s#2", "f")
        await (await fork.send("c"))
        for talk, node in ((session, "o#2"), (session, "f#3"), (fork, "s#3"), (fork, "o#1"), (session, "s#9")):
            with pytest.raises(NodeUnknown, match=f"session {talk.id!r}.*{node}"):
                await talk.fork(node, "g")
            with pytest.raises(NodeUnknown):
                await talk.rewind(node)
            for read in (talk.nodes, talk.history):
                with pytest.raises(NodeUnknown):
                    await read(node)
        assert [node.id for node in await fork.nodes("s#1")] == ["s#2", "f#3", "f#4"]
        assert await fork.nodes("f#1") == await fork.nodes("s#1"), "a place of its own path, under its own name"
        assert (await (await fork.rewind("s#2")).info()).base == "s"
        assert len(await app.sessions()) == 4


@virtual
async def test_a_call_and_its_results_are_not_torn_apart_by_a_fork() -> None:
    @lash.tool
    def now() -> str:
        """Tell the time."""
        return "noon"

    agent = agent_of([Say(calls=[("now", {})]), "noon it is", "fine"], tools=[now])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("time?"))
        with pytest.raises(NodeUnknown, match="s#3"):
            await session.fork("s#2", "torn")
        whole = await session.fork("s#3", "whole")
        assert isinstance(await (await whole.send("go on")), Finished)


@virtual
async def test_a_closed_session_takes_nothing_more_and_stays_readable() -> None:
    agent = agent_of([Say("a b c", pause_s=100), "x"])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        waiting = await session.send("later")
        await asyncio.sleep(10)
        await session.close()
        outcome = await turn
        assert isinstance(outcome, Stopped)
        assert outcome.reason == "cancelled"
        with pytest.raises(ProcessEnded):
            await session.send("more")
        await session.close()
        ended = await waiting
        assert isinstance(ended, Stopped)
        assert await said(session) == [("user", "go")]


@virtual
async def test_a_deleted_session_is_gone_and_its_id_is_used_up() -> None:
    agent = agent_of(["hi"])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("hello")
        await turn
        await app.delete_session("s")
        await app.delete_session("s")
        with pytest.raises(SessionUnknown):
            await app.delete_session("never")
        for asked in (session.history, session.usage, lambda: session.send("x"), lambda: app.session("s", agent)):
            with pytest.raises(SessionDeleted):
                await asked()
        with pytest.raises(SessionDeleted):
            await turn


@virtual
async def test_two_workers_share_sessions_and_no_turn_runs_twice() -> None:
    store = memory()
    model = ScriptedModel(always=Say("answer", pause_s=1))
    agent = agent_of(model)
    async with host(store, agent) as one, host(store, agent) as two:
        sessions = [await one.session(f"s{number}", agent) for number in range(8)]
        turns = [await session.send(f"{n}", key=f"k{n}") for n in range(3) for session in sessions]
        again = [
            await (await two.session(turn.session_id)).send(str(turn.item - 1), key=f"k{turn.item - 1}")
            for turn in turns
        ]
        assert [turn.id for turn in again] == [turn.id for turn in turns]
        await asyncio.gather(*[turn.outcome() for turn in (*turns, *again)])
        assert len(model.requests) == 24
        for session in sessions:
            assert [text for role, text in await said(session) if role == "user"] == ["0", "1", "2"]


@virtual
async def test_an_agent_that_nobody_has_leaves_its_session_waiting() -> None:
    store = memory()
    agent = agent_of(["late"])
    async with host(store, agent, worker=False) as front:
        turn = await (await front.session("s", agent)).send("hello")
        waiting = asyncio.create_task(turn.outcome())
        await asyncio.sleep(60)
        assert not waiting.done()
        async with host(store, agent):
            assert isinstance(await waiting, Finished)


def test_an_unknown_model_is_refused_when_the_worker_opens(tmp_path: object) -> None:
    agent = lash.Agent("a", model="nobody:m")

    async def main() -> None:
        async with lash.Runtime("memory://", engine="inline", agents=[agent]):
            pass

    with pytest.raises(ModelUnavailable, match="nobody"):
        asyncio.run(main())
