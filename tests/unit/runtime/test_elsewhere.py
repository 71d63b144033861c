"""A turn at work elsewhere is read once, whatever comes when; and what is read is never told of another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import cast

import pytest

from lash.abc.sessions import Piece, Stream
from lash.abc.store import Op, Store, Verdict
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.message import Text, ToolCall
from lash.core.model import ModelReply
from lash.core.tool import ToolOutput
from lash.limits import STREAM_PAUSE_MAX_MS, STREAM_PAUSE_MS, STREAM_SHARE
from lash.runtime.elsewhere import Elsewhere
from lash.testing.faults import FaultyStore
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host

# Reading bit by bit ------------------------------------------------------------------------------------------------


class Journal:
    """As much of a session's journal and pieces as was written, and how much of it was read."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.kept: list[Piece] = []
        self.read = 0

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        found = [entry for entry in self.entries if entry.rank > after_rank]
        self.read += len(found)
        return found

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        found = [piece for piece in self.kept if piece[:2] > (token, after)][:limit]
        self.read += len(found)
        return found


def parts() -> tuple[list[Entry], list[Piece]]:
    """Two calls; the second one is begun by one worker and made by another."""

    def entry(rank: int, name: str, value: object) -> Entry:
        return Entry(EntryKind.STEP, rank, name, payload=codec.encode(value, "test"), rank=rank)

    def piece(token: int, number: int, *texts: tuple[int, str, str]) -> Piece:
        return Piece(token, number, codec.encode([[call, version, text, "hm"] for call, version, text in texts], "t"))

    calls = (ToolCall("c1", "add", "{}"), ToolCall("c2", "add", "{}"))
    first = ModelReply((Text("Let me see."), *calls), "tool_use")
    entries = [
        entry(2, "model 1", ["a", first.as_json()]),
        entry(4, "tool 1.1 add", ToolOutput((Text("two"),)).as_json()),
        entry(5, "wait", 1),
        entry(7, "tool 1.0 add", ToolOutput((Text("one"),)).as_json()),
        entry(9, "model 2", ["c", ModelReply((Text("All of it."),), "stop").as_json()]),
    ]
    pieces = [
        piece(1, 1, (1, "a", "Let ")), piece(1, 2, (1, "a", "me "), (1, "a", "see.")), piece(1, 3, (2, "b", "A false")),
        piece(3, 1, (2, "c", "All ")), piece(3, 2, (2, "c", "of ")), piece(3, 3, (2, "c", "it.")),
    ]  # fmt: skip
    return entries, pieces


@pytest.mark.parametrize("seed", range(50))
def test_who_looks_often_knows_what_a_newcomer_finds_and_reads_everything_once(seed: int) -> None:
    asyncio.run(look_often(random.Random(seed)))


async def look_often(chance: random.Random) -> None:
    journal = Journal()
    watching = Elsewhere(cast("Store", journal), 1, 7)
    entries, pieces = parts()
    while entries or pieces:
        for _ in range(chance.randrange(4)):
            if entries and (not pieces or chance.random() < 0.4):
                journal.entries.append(entries.pop(0))
            elif pieces:
                journal.kept.append(pieces.pop(0))
        picture = await watching.look()
        assert journal.read == len(journal.entries) + len(journal.kept), "each was read once"
        newcomer = Journal()
        newcomer.entries, newcomer.kept = journal.entries, journal.kept
        assert picture == await Elsewhere(cast("Store", newcomer), 1, 7).look()
        wholes = ("Let me see.", "A false", "All of it.")
        assert all(any(whole.startswith(call.text) for whole in wholes) for call in picture.calls)
    assert [call.text for call in picture.calls] == ["Let me see.", "All of it."]
    outputs = [[tool.output for tool in call.tools] for call in picture.calls]
    assert outputs == [[ToolOutput((Text("one"),)), ToolOutput((Text("two"),))], []]


class Late(FaultyStore):
    """Answers the first question for pieces when the turn that follows is at work."""

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        if not after:
            await asyncio.sleep(6)
        return await super().pieces(row, token, after, limit)


@virtual
async def test_what_the_next_turn_streams_is_not_told_of_this_one() -> None:
    store = memory()
    agent = agent_of([Say("first of all", pause_s=1), Say("then this one", pause_s=2)])
    async with host(store, agent) as app, host(Late(store), agent, worker=False) as other:
        session = await app.session("s", agent)
        first, second = await session.send("a"), await session.send("b")
        await asyncio.sleep(1.5)
        seen = await other.session("s")
        told = [
            getattr(event, "text", type(event).__name__)
            for turn in (seen.turn(first.item), seen.turn(second.item))
            async for event in turn.stream()
        ]
        assert "".join(told) == "first of allModelFinishedCommittedthen this oneModelFinishedCommitted"


# Writing -----------------------------------------------------------------------------------------------------------


class Counting(FaultyStore):
    """When pieces were written; each write takes ``takes_s``."""

    takes_s = 0.0

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.at: list[float] = []

    async def write(self, ops: Sequence[Op]) -> list[Verdict]:
        if any(isinstance(op, Stream) for op in ops):
            self.at.append(asyncio.get_running_loop().time())
            await asyncio.sleep(self.takes_s)
        return await super().write(ops)

    def write_now(self, ops: Sequence[Op]) -> list[Verdict] | None:
        return None


async def pauses_ms(answer: Say, turns: int = 1, takes_s: float = 0.0) -> list[float]:
    """Between the pieces of so many turns, which are streamed at once."""
    store = Counting(memory())
    store.takes_s = takes_s
    agent = agent_of(ScriptedModel(always=answer))
    async with host(store, agent) as app:
        sessions = [await app.session(f"s{number}", agent) for number in range(turns)]
        await asyncio.gather(*[(await session.send("go")).outcome() for session in sessions])
    return [round((after - before) * 1_000, 3) for before, after in zip(store.at, store.at[1:], strict=False)]


QUICK = Say("word " * 200, pause_s=0.001)
SLOW = Say("word " * 20, pause_s=0.05)


@virtual
async def test_a_word_of_a_slow_model_is_kept_at_once_and_those_of_a_quick_one_together() -> None:
    slow = await pauses_ms(SLOW)
    assert len(slow) >= 18
    assert set(slow[1:]) == {50}
    quick = await pauses_ms(QUICK)
    assert len(quick) >= 15
    assert min(quick) >= STREAM_PAUSE_MS


@virtual
async def test_a_turn_as_short_as_the_pause_keeps_nothing() -> None:
    store = Counting(memory())
    agent = agent_of([Say("one two three", pause_s=0.001)])
    async with host(store, agent) as app:
        await (await (await app.session("s", agent)).send("go"))
    assert store.at == []


@virtual
async def test_many_turns_and_a_slow_store_are_given_longer_pauses() -> None:
    many = await pauses_ms(SLOW, turns=30)
    assert len(many) < 2 * 30 * 20 * 50 / STREAM_PAUSE_MAX_MS
    slow = await pauses_ms(QUICK, takes_s=0.03)
    assert min(slow) >= 30 * STREAM_SHARE
