"""Random lists of session operations, among those of processes, do the same to every store.

What is compared besides verdicts, records and journals: paths, states, items, turns and streamed pieces, and what
becomes of blobs that are put, kept and pruned between the batches.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lash.abc import store as ops
from lash.abc.sessions import CancelTurn, Commit, Delete, HeadMoved, Open, Post, Posted, Stream, Take
from lash.abc.store import Op, ProcessFilter, Store
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessSpec, definition_of
from lash.core.session import NewItem, NewNode, SessionRow, turn_key
from lash.stores.blobs import reference_of
from tests.conformance.test_differential import LANES, OWNERS, PAIRS, Numbers, World, compare, state_of

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 19, 71, 2011)
SESSIONS = tuple(f"session:s{number}" for number in range(30))
LANE = Lane("default", "session", "agent", "")
KEYS = (None, None, "k1", "k2", "k3")
CONTENTS = (b"1", b"2", b"3", b"4")
REFS = (*(reference_of(data) for data in CONTENTS), "sha256:" + "0f" * 32)


class SessionWorld(World):
    """Most operations are about a few sessions; the others are those of processes, their claims included."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.heads: dict[int, int] = {}
        self.there: list[str] = []
        self.turns: dict[int, int] = {}
        """By row: the turn of the newest items taken."""

    def operation(self, now_ms: int) -> Op:
        draw = self.rng.random()
        if draw < 0.25:
            return self.outside_session()
        if draw < 0.65:
            return self.in_turn()
        if draw < 0.75:
            owner = self.rng.choice(OWNERS)
            return ops.Claim(owner, (*LANES, LANE), 10, self.rng.choice((40, 300)))
        return super().operation(now_ms)

    def session(self) -> str:
        """Mostly one that is there."""
        if self.there and self.rng.random() < 0.85:
            return self.rng.choice(self.there)
        return self.rng.choice(SESSIONS)

    def key(self) -> str:
        if self.rng.random() < 0.4:
            return turn_key(self.session(), self.rng.randint(0, 6))
        return super().key()

    def session_spec(self) -> ProcessSpec:
        rng = self.rng
        name = "agent" if rng.random() < 0.9 else "other"
        return ProcessSpec(
            self.session(), "session", name, "", b"[[],{}]", definition_of("session", name, b"[[],{}]"),
            attempts_max=2**31 - 1, parent=rng.choice((None, None, "p1", *SESSIONS)),
        )  # fmt: skip

    def spec(self) -> ProcessSpec:
        """Some belong to a session, which may be over."""
        spec = super().spec()
        return spec if self.rng.random() < 0.7 else replace(spec, parent=self.session())

    def item(self) -> NewItem:
        rng = self.rng
        kind = rng.choice(("input", "input", "wake", "command"))
        delivery = rng.choice(("next_turn", "earliest_boundary"))
        return NewItem(kind, delivery, rng.choice((b'{"a":1}', b'{"a":2}')), rng.choice(KEYS))  # type: ignore[arg-type]

    def outside_session(self) -> Op:
        rng = self.rng
        draw = rng.random()
        if draw < 0.3:
            base = rng.choice((None, None, self.session()))
            return Open(self.session_spec(), base, rng.randint(-1, 8) if base else 0)
        if draw < 0.8:
            owner = rng.choice((None, None, *OWNERS))
            entry = rng.choice((None, Entry(EntryKind.COMMAND, 0, "take")))
            return Post(self.session(), self.item(), owner, self.rng.choice((40, 300)), entry)
        if draw < 0.94:
            return CancelTurn(self.session(), rng.choice((None, *range(5))), "enough", b'{"r":"cancelled"}')
        if draw < 0.98:
            return ops.Cancel(self.session(), rng.choice(("one", "two")))
        return Delete(self.session())

    def session_fences(self) -> list[Fence]:
        return [fence for fence in self.fences if fence.row in self.heads]

    def in_turn(self) -> Op:
        """Mostly of a session that is leased: a process has no turns and answers nothing but that."""
        rng, mine = self.rng, self.session_fences()
        if not mine and rng.random() < 0.8:
            return self.outside_session()
        fence = rng.choice(mine) if mine and rng.random() < 0.85 else self.fence()
        draw = rng.random()
        self.ordinal += 1
        if draw < 0.35:
            ordinal = self.ordinal - rng.choice((0, 0, 0, 1))
            turn = rng.choice((0, 0, self.turns.get(fence.row, 0), rng.randint(1, 4)))
            return Take(fence, self.rank(fence), Entry(EntryKind.COMMAND, ordinal, "take"), turn, bool(turn))
        if draw < 0.45:
            return Stream(fence, self.ordinal, b'["piece"]')
        if draw < 0.5:
            return ops.Release(fence, rng.choice((0, 25)))
        if draw < 0.6:
            entry = Entry(EntryKind.STEP, self.ordinal, "model", payload=b"1")
            return ops.Put(fence, self.rank(fence), (entry,), rng.random() < 0.8)
        kinds = ("message", "message", "state", "frame", "note")
        nodes = []
        for _ in range(rng.randint(0, 4)):
            kind = rng.choice(kinds)
            nodes.append(NewNode(kind, "" if kind == "message" else rng.choice(("a", "b")), rng.choice((b"1", b"2"))))  # type: ignore[arg-type]
        follow = (self.item(),) if rng.random() < 0.2 else ()
        base = self.heads.get(fence.row, 0) if rng.random() < 0.85 else rng.randint(0, 5)
        turn = self.turns.get(fence.row) or rng.randint(1, 4)
        turn = turn if rng.random() < 0.9 else rng.randint(1, 6)
        return Commit(
            fence, turn, rng.choice(("ab" * 16, "cd" * 16)), base, nodes, b'{"r":1}', b'{"u":1}',
            rng.choice(((), (REFS[self.ordinal % 5], REFS[self.ordinal % 3]))), follow,
        )  # fmt: skip


async def session_state(store: Store, numbers: Numbers, rows: int, newest_ms: int) -> dict[str, object]:
    state = await state_of(store, numbers, rows, newest_ms)
    found = await store.sessions(SESSIONS)
    state["sessions"] = [
        row._replace(process=numbers.said(row.process)) if isinstance(row, SessionRow) else row for row in found
    ]
    state["session events"] = [await store.events(process_id, 0, 1_000) for process_id in SESSIONS]
    state["listed"] = numbers.said(await store.page(ProcessFilter(sessions=True)))
    for name in ("nodes", "tail", "states", "items", "undone", "turns", "pieces"):
        state[name] = []
    for row in found:
        if not isinstance(row, SessionRow):
            continue
        number = row.process.row
        parts = {
            "nodes": await store.nodes(number, 0, row.head, 1_000),
            "tail": await store.nodes(number, 1, row.head, 2),
            "states": await store.states(number, row.head),
            "items": await store.items(number, range(1, row.items + 1)) if row.items else [],
            "undone": await store.items(number, ()),
            "turns": await store.turns(number, 0, 1_000),
            "pieces": await store.pieces(number, 0, 0, 1_000),
        }
        for name, value in parts.items():
            state[name] = [*state[name], value]  # type: ignore[misc]
    return state


class LookingWorld(SessionWorld):
    """Learns the heads from what a commit said, so that most commits are based on the right one."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.aside = random.Random()
        self.aside.setstate(rng.getstate())  # drawing from it leaves the operations as they are
        self.spared: Counter[str] = Counter()
        """Of blobs that pruning looked at."""

    async def beside(self, memory: Store, pair: list[Store], numbers: Numbers) -> None:
        rng, store = self.aside, self.aside.choice(pair)
        draw, now_ms = rng.random(), memory.now_ms()
        if draw < 0.4:
            data = rng.choice(CONTENTS)
            assert await store.blobs.put(data) == await memory.blobs.put(data)
        elif draw < 0.6:
            refs = rng.sample(REFS, rng.randint(1, 3))
            row = rng.choice([0, *self.heads])
            missing = await memory.blobs.keep(refs, row)
            assert await store.blobs.keep(refs, numbers.row(row)) == missing
        elif draw < 0.8:
            before_ms, limit = now_ms - rng.choice((0, 30, 100)), rng.choice((1, 2, 50))
            expected = await memory.blobs.prune(before_ms, limit)
            actual = await store.blobs.prune(before_ms, limit)
            assert (actual.looked, list(actual.gone)) == (expected.looked, list(expected.gone))
            self.spared.update(gone=len(expected.gone), spoken=expected.looked - len(expected.gone))
        found = [[await one.blobs.get(ref) for ref in REFS] for one in (memory, rng.choice(pair))]
        assert found[0] == found[1]

    def learn(self, batch: list[Op], verdicts: list[ops.Verdict]) -> None:
        super().learn(batch, verdicts)
        for op, verdict in zip(batch, verdicts, strict=True):
            record = getattr(verdict, "record", None)
            if isinstance(op, Commit) and record is not None and getattr(verdict, "new", False):
                self.heads = {**self.heads, op.fence.row: record.last_node}
                self.turns.pop(op.fence.row, None)
                if op.fence in self.fences:
                    self.fences.remove(op.fence)
                    self.spent.append(op.fence)
            if isinstance(op, Take) and isinstance(verdict, ops.Recorded):
                taken = json.loads(verdict.entries[-1].payload or b"[]")
                if isinstance(taken, list) and taken:
                    self.turns[op.fence.row] = op.turn or taken[0][0]
            if isinstance(verdict, Posted) and verdict.begun is not None and verdict.claimed is not None:
                self.turns[verdict.claimed.row.row] = verdict.item.number
            if isinstance(op, Commit) and isinstance(verdict, HeadMoved):
                self.heads = {**self.heads, op.fence.row: verdict.head}
            over = isinstance(op, Post) and isinstance(verdict, (ops.Ended, ops.Unknown))
            if isinstance(op, (Delete, Post)) and (over or isinstance(op, Delete)) and op.process_id in self.there:
                self.there.remove(op.process_id)
            if isinstance(op, Open) and isinstance(verdict, ops.Started) and verdict.created:
                self.there.append(op.spec.id)
                self.heads = {**self.heads, verdict.row: op.base_node}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("seed", SEEDS)
def test_memory_and_the_others_agree_on_sessions(seed: int, kind: str, tmp_path: Path) -> None:
    asyncio.run(compare(kind, tmp_path, LookingWorld(random.Random(seed)), seed, session_state))


def test_the_histories_reach_what_they_are_for(tmp_path: Path) -> None:
    """Every kind of operation is accepted often enough: a generator that only meets refusals compares nothing."""
    from lash.stores.memory import MemoryStore
    from lash.testing.conformance import ManualClock

    del tmp_path
    met: Counter[str] = Counter()

    async def run(seed: int) -> None:
        clock = ManualClock(1_000_000)
        memory, twin, same = MemoryStore(clock), MemoryStore(clock), Numbers()
        for number in range(1, 1_000):
            same.learn(number, number)
        world = LookingWorld(random.Random(seed))
        for _ in range(150):
            clock.advance(world.rng.choice((0, 1, 5, 20, 60)))
            batch = [world.operation(clock.now_ms) for _ in range(world.rng.choice((1, 1, 2, 5, 9)))]
            verdicts = await memory.write(batch)
            world.learn(batch, verdicts)
            await twin.write(batch)
            await world.beside(memory, [twin], same)
            met.update(
                f"{type(op).__name__} {type(verdict).__name__}" for op, verdict in zip(batch, verdicts, strict=True)
            )
            met["begun"] += sum(getattr(verdict, "begun", None) is not None for verdict in verdicts)
            met["quiet"] += sum(getattr(verdict, "quiet", False) for verdict in verdicts)
            met["not quiet"] += sum(
                isinstance(op, ops.Put) and op.inbox and op.fence in world.session_fences() and not verdict.quiet
                for op, verdict in zip(batch, verdicts, strict=True)
                if isinstance(verdict, ops.Recorded)
            )

        met.update({f"blobs {name}": number for name, number in world.spared.items()})

    for seed in SEEDS:
        asyncio.run(run(seed))
    for wanted in (
        "Open Started", "Open NoNode", "Post Posted", "Post ItemConflict", "Take Recorded", "Commit Committed",
        "Commit HeadMoved", "Commit TurnConflict", "Commit Stale", "CancelTurn Done", "CancelTurn Withdrawn",
        "CancelTurn Late", "Stream Done", "Delete Count", "begun", "quiet", "not quiet", "blobs gone", "blobs spoken",
    ):  # fmt: skip
        assert met[wanted] >= 5, (wanted, met)
