"""Two workers, one session: whoever lost the lease commits nothing, and what is taken over ends as it would have."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from lash.abc.sessions import Commit
from lash.abc.store import Expire, Stale
from lash.abc.tool import tool
from lash.core.lease import Fence
from lash.core.message import encode_message, user
from lash.core.session import NewNode, SessionRow
from lash.core.turn import Finished
from lash.errors import DurableStoreRequired, ProviderError
from lash.runtime.context import Context
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


async def session_row(store: MemoryStore) -> SessionRow:
    (row,) = await store.sessions(("session:s",))
    assert isinstance(row, SessionRow)
    return row


@virtual
async def test_a_zombie_commits_nothing_and_its_answer_is_not_heard() -> None:
    store = memory()
    slow = ScriptedModel([Say("from the zombie", pause_s=20)])
    quick = ScriptedModel([Say("from the successor", pause_s=5)])
    async with host(store, agent_of(slow)) as first:
        session = await first.session("s", first.agents.named("helper"))
        turn = await session.send("go")
        await asyncio.sleep(5)
        row = await session_row(store)
        assert row.process.owner is not None
        zombie = row.process.owner, row.process.token
        async with host(store, agent_of(quick)) as second:
            await asyncio.sleep(1)  # it has looked for what is blocked
            await store.write([Expire(zombie[0])])
            second.poke()
            outcome = await turn
            assert isinstance(outcome, Finished)
            assert outcome.output == "from the successor"
            await asyncio.sleep(60)
            assert (await said(session)) == [("user", "go"), ("assistant", "from the successor")]
            assert first.counters.leases_lost == 1
            assert (await session.usage()).turns == 1


@virtual
async def test_who_watches_where_the_lease_was_lost_is_told_what_the_successor_says() -> None:
    store = memory()
    slow, quick = ScriptedModel([Say("lost words", pause_s=20)]), ScriptedModel([Say("final words", pause_s=5)])
    async with host(store, agent_of(slow), concurrency=1) as first, asyncio.timeout(200):
        session = await first.session("s", first.agents.named("helper"))
        turn = await session.send("go")
        told: list[str] = []

        async def watch() -> None:
            async for event in turn.stream():
                told.append(getattr(event, "text", type(event).__name__))

        watching = asyncio.create_task(watch())
        await asyncio.sleep(25)
        row = await session_row(store)
        async with host(store, agent_of(quick)) as second:
            await store.write([Expire(row.process.owner or "")])
            second.poke()
            await watching
    assert told == ["lost ", "Reset", "final ", "words", "ModelFinished", "Committed"]


@virtual
async def test_who_watches_a_parked_turn_that_goes_on_elsewhere_is_told_its_end() -> None:
    @tool
    async def approval(ctx: Context) -> str:
        """Ask for approval."""
        return await ctx.signal("approval", str)

    store = memory()
    first_model = ScriptedModel([Say("I ask.", calls=[("approval", {})]), Say("its only slot is taken", pause_s=1_000)])
    here = agent_of(first_model, tools=[approval])
    async with host(store, here, concurrency=1) as first, asyncio.timeout(200):
        turn = await (await first.session("s", here)).send("go")
        told: list[str] = []

        async def watch() -> None:
            async for event in turn.stream():
                told.append(getattr(event, "text", type(event).__name__))

        watching = asyncio.create_task(watch())
        await asyncio.sleep(10)
        assert (await session_row(store)).process.record.waiting is not None
        await (await first.session("other", here)).send("go")
        async with host(store, agent_of(["It is fine."], tools=[approval])):
            await first.handle("session:s").signal("approval", "yes")
            await watching
    asked = ["I ask.", "ModelFinished", "ToolStarted", "ToolFinished"]
    assert told == [*asked, "It is fine.", "ModelFinished", "Committed"]


@virtual
async def test_a_boundary_where_nothing_waited_is_passed_alike_by_whoever_runs_the_turn_again() -> None:
    """It is no entry; and what was accepted behind it is not read by the answer that was recorded after it."""

    @tool
    async def look(what: str) -> str:
        """Look."""
        return f"saw {what}"

    def lines(first: str) -> list[Any]:
        return [Say("On it.", calls=[("look", {"what": "a"})]), Say("draft", pause_s=20), Say(first, pause_s=40)]

    store = memory()
    first_model, second_model = ScriptedModel(lines("lost")), ScriptedModel(["with the steer"])
    async with host(store, agent_of(first_model, tools=[look])) as first:
        session = await first.session("s", first.agents.named("helper"))
        turn = await session.send("go")
        await asyncio.sleep(10)
        await session.steer("mind the gap")  # the second call is under way
        await asyncio.sleep(30)
        row = await session_row(store)
        names = [entry.name for entry in await store.history(row.process.row, 0)]
        assert names == ["take 0", "model 1", "tool 1.0 look", "model 2", "take 2"]
        async with host(store, agent_of(second_model, tools=[look])) as second:
            await asyncio.sleep(1)  # it has looked for what is blocked
            await store.write([Expire(row.process.owner or "")])
            second.poke()
            outcome = await turn
            assert isinstance(outcome, Finished)
            assert outcome.output == "with the steer"
        assert [len(request.messages) for request in first_model.requests] == [1, 3, 5]
        assert [len(request.messages) for request in second_model.requests] == [5]
        assert (await said(session)) == [
            ("user", "go"), ("assistant", "On it."), ("tool", "saw a"), ("assistant", "draft"),
            ("user", "mind the gap"), ("assistant", "with the steer"),
        ]  # fmt: skip


@virtual
async def test_a_commit_under_an_old_token_is_refused_by_the_store() -> None:
    store = memory()
    agent = agent_of([Say("a b c", pause_s=10)])
    async with host(store, agent) as app:
        session = await app.session("s", agent)
        await session.send("go")
        await asyncio.sleep(5)
        row = await session_row(store)
        old = Fence(row.process.row, row.process.token - 1)
        node = NewNode("message", "", encode_message(user("forged")))
        (verdict,) = await store.write([Commit(old, 1, "ab" * 16, 0, [node], b"{}", b"{}")])
        assert verdict == Stale(row.process.token)
        assert (await session_row(store)).head == 0


@virtual
async def test_whatever_a_crash_interrupts_the_same_nodes_are_committed_and_no_recorded_reply_is_paid_again() -> None:
    """In-process, at every effect boundary: the worker is lost after each number of recorded entries."""

    @tool
    async def look(what: str) -> str:
        """Look."""
        await asyncio.sleep(1)
        return f"saw {what}"

    def line() -> Callable[[Any], Any]:
        tried = itertools.count()

        def answer(request: Any) -> Any:
            if len(request.messages) == 1:
                return Say("On it.", calls=[("look", {"what": word}) for word in ("a", "b", "c")], pause_s=1)
            if next(tried) == 0:
                return ProviderError("busy", kind="overloaded", retryable=True)
            return Say("Done, with " + request.messages[-1].text, pause_s=1)

        return answer

    async def run(lives: int) -> tuple[list[tuple[str, str]], int, int]:
        store = memory()
        model = ScriptedModel(always=line())
        agent = agent_of(model, tools=[look])
        app = host(store, agent)
        await app.open()
        session = await app.session("s", agent)
        turn = await session.send("go")
        await session.steer("the steer")
        entries = 0
        crashes = 0
        while True:
            row = await session_row(store)
            found = await store.history(row.process.row, 0)
            if crashes == 0 and lives and len(found) >= lives:
                crashes = 1
                await app.abort()
                app = host(store, agent)
                await app.open()
                turn = (await app.session("s")).turn(turn.item)
            if row.turns:
                break
            entries = max(entries, len(found))
            await asyncio.sleep(0.05)
        outcome = await turn
        assert isinstance(outcome, Finished)
        nodes = await said(await app.session("s"))
        await app.close()
        return nodes, len(model.requests), entries

    whole, calls, entries = await run(0)
    assert (len(whole), calls) == (5, 3)
    for cut in range(1, entries + 1):
        nodes, paid, _ = await run(cut)
        assert nodes == whole, cut
        assert paid <= calls + 1, cut


class Partly(MemoryStore):
    """Says that all but one facet is durable."""

    journal_durable = True

    def __init__(self, forgets: str) -> None:
        super().__init__(simulate.now_ms)
        self.forgets = forgets

    @property
    def facets(self) -> dict[str, bool]:
        return {name: name != self.forgets for name in super().facets}


@pytest.mark.parametrize("facet", ["attachment_store", "artifact_store", "session_store", "process_registry"])
@virtual
async def test_a_durable_engine_refuses_a_facet_that_forgets_by_name(facet: str) -> None:
    with pytest.raises(DurableStoreRequired, match=f"durable_store_required:{facet}"):
        host(Partly(facet), agent_of([]))


@virtual
async def test_the_check_is_made_again_before_every_turn() -> None:
    store = Partly("")
    model = ScriptedModel(["one", "two"])
    agent = agent_of(model)
    async with host(store, agent) as app:
        session = await app.session("s", agent)
        await (await session.send("a"))
        store.forgets = "session_store"
        turn = await session.send("b")
        await asyncio.sleep(1)
        blocked = (await session.row()).process.record.blocked
        assert blocked is not None
        assert blocked.reason == "durable_store_required:session_store"
        store.forgets = ""
        assert isinstance(await turn, Finished)
        assert len(model.requests) == 2
