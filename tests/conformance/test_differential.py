"""Random lists of operations do the same to every store: verdicts, records, events, journals, listings.

A failing seed is printed with the shortest list that still fails; put it into ``SEEDS`` to keep it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lash.abc import store as ops
from lash.abc.sessions import Begun, Open, Posted, Take
from lash.abc.store import (
    Claimed,
    Claims,
    Done,
    Op,
    ProcessFilter,
    Recorded,
    Renewed,
    Stale,
    Started,
    Store,
    Verdict,
)
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed, Failure, Status
from lash.core.process import Blocked, ProcessRow, ProcessSpec, Waiting, definition_of, fold, lane_of
from lash.stores.memory import MemoryStore
from lash.stores.postgres import PostgresStore
from lash.stores.sqlite import SqliteStore
from lash.testing.conformance import ManualClock
from tests.postgres import fresh_url

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
BATCHES = 150
OWNERS = ("w1", "w2", "w3")
NAMES = ("job", "other")
NOBODY = 1_000_000_000
"""No row has this number or a larger one."""
IDS = (*(f"p{number}" for number in range(14)), "x1", "x2")


@dataclass
class World:
    """What the generator knows: enough to make most operations hit something."""

    rng: random.Random
    fences: list[Fence] = field(default_factory=list[Fence])
    spent: list[Fence] = field(default_factory=list[Fence])
    seen: dict[int, int] = field(default_factory=dict[int, int])
    rows: list[int] = field(default_factory=list[int])
    ordinal: int = 0

    def learn(self, batch: list[Op], verdicts: list[Verdict]) -> None:
        for op, verdict in zip(batch, verdicts, strict=True):
            fence = getattr(op, "fence", None)
            if isinstance(verdict, Started) and verdict.created:
                self.rows = [*self.rows[-11:], verdict.row]
            match verdict:
                case Started(claimed=claimed) | Posted(claimed=claimed) if claimed is not None:
                    self.fences.append(claimed.lease.fence)
                case Claims(rows=rows):
                    self.fences += [claimed.lease.fence for claimed in rows]
                case Recorded(entries=entries) if entries and fence is not None:
                    self.seen[fence.row] = entries[-1].rank
                case Stale() | Done() if fence in self.fences and not isinstance(op, KEEPING):
                    self.fences.remove(fence)
                    self.spent.append(fence)
                case _:
                    pass

    async def beside(self, memory: Store, pair: list[Store], numbers: Numbers) -> None:
        """What is done to both after each batch, besides operations."""

    def fence(self) -> Fence:
        """Mostly one that still holds, sometimes one given back or lost, rarely one that never was."""
        draw = self.rng.random()
        if self.fences and draw < 0.85:
            return self.rng.choice(self.fences)
        if self.spent and draw < 0.95:
            return self.rng.choice(self.spent[-6:])
        return Fence(self.rng.choice((0, NOBODY, *self.rows)), self.rng.randint(0, 4))

    def rank(self, fence: Fence) -> int:
        last = self.seen.get(fence.row, 0)
        return self.rng.choice((last, last, 0, self.rng.randint(0, last)))

    def spec(self) -> ProcessSpec:
        rng = self.rng
        process_id = rng.choice(IDS)
        kind = "external" if process_id.startswith("x") else "python"
        args = b'[["b"],{}]' if rng.random() < 0.1 else b'[["a"],{}]'
        name = NAMES[len(process_id) % 2] if rng.random() < 0.9 else rng.choice(NAMES)
        return ProcessSpec(
            process_id,
            kind,
            name,
            "",
            args,
            definition_of(kind, name, args),
            recovery="external" if kind == "external" else rng.choice(("rerun", "rerun", "once")),
            attempts_max=rng.choice((2, 4, 100)),
            delay_ms=rng.choice((0, 0, 0, 40)),
            priority=rng.choice((0, 0, 5, -5)),
            tags=rng.choice(((), ("red",), ("red", "blue"))),
            parent=rng.choice((None, *IDS)),
            detached=rng.random() < 0.2,
        )

    def key(self) -> str:
        return self.rng.choice(
            ("signal:go", "signal:go", "signal:stop", "process:" + self.rng.choice((*IDS, "nobody")))
        )

    def entry(self) -> Entry:
        rng = self.rng
        self.ordinal += 1
        draw = rng.random()
        if draw < 0.35:
            return Entry(EntryKind.STEP, self.ordinal, "work", "ab" * 16, b'{"n":%d}' % self.ordinal)
        if draw < 0.7:
            return Entry(EntryKind.WAIT, self.ordinal, self.key())
        if draw < 0.9:
            return Entry(EntryKind.CLOSE, max(0, self.ordinal - rng.randint(0, 12)), "signal:go")
        if draw < 0.95:
            return Entry(EntryKind.ATTEMPT, self.ordinal, "work", "", b"{}", True, rng.randint(1, 3), 5, 99)
        return Entry(EntryKind.SLEEP, self.ordinal, due_ms=77)

    def outcome(self) -> Completed | Failed | Cancelled | Abandoned:
        return self.rng.choice(
            (
                Completed(b'{"v":1}'),
                Failed(Failure("execution", "Oops", "it broke", [1])),
                Cancelled("enough"),
                Abandoned({"writer": "owner_drain"}),
            )
        )

    def operation(self, now_ms: int) -> Op:
        kinds = (self.working, self.working, self.working, self.outside, self.outside, self.scheduling, self.operators)
        return self.rng.choice(kinds)(now_ms)

    def working(self, now_ms: int) -> Op:
        rng, fence = self.rng, self.fence()
        entries = tuple(self.entry() for _ in range(rng.randint(0, 4)))
        waiting = Waiting(
            rng.choice(("signal", "sleep")), rng.choice((None, self.key())), rng.choice((None, now_ms + 30))
        )
        blocked = Blocked("diverged", rng.choice(("x", "y")), rng.choice(("old", "new")))
        put = ops.Put(fence, self.rank(fence), entries)
        return rng.choice(
            (
                put,
                put,
                put,
                put,
                ops.Look(fence, self.rank(fence)),
                ops.Park(fence, self.seen.get(fence.row, 0), waiting),
                ops.Park(fence, self.rank(fence), waiting),
                ops.Release(fence, rng.choice((0, 25)), rng.choice((None, blocked))),
                ops.Progress(fence),
                ops.Append(
                    fence, rng.choice(("made", "born")), rng.choice((b"1", b"2")), rng.choice((None, "k1", "k2"))
                ),
                ops.Finish(fence, self.outcome()) if rng.random() < 0.4 else put,
                ops.Continue(fence, b'[[{"n" : 1}], {}]'),
                ops.Forget(fence),
            )
        )

    def outside(self, now_ms: int) -> Op:
        del now_ms
        rng, process_id = self.rng, self.rng.choice(IDS)
        name, payload = rng.choice(("go", "go", "stop")), rng.choice((b"1", b'{"n":2}'))
        return rng.choice(
            (
                ops.Start(self.spec()),
                ops.Start(self.spec(), rng.choice(OWNERS), 50),
                ops.Signal(process_id, name, payload, rng.choice((None, None, "s1", "s2"))),
                ops.Signal(process_id, name, payload, None),
                ops.Cancel(process_id, rng.choice(("one", "two"))),
                ops.Close(rng.choice(("x1", "x2", process_id)), self.outcome()),
            )
        )

    def scheduling(self, now_ms: int) -> Op:
        del now_ms
        rng, owner = self.rng, self.rng.choice(OWNERS)
        lanes = rng.choice((LANES, LANES[:1], LANES[1:], ()))
        return rng.choice(
            (
                ops.Claim(owner, lanes, rng.choice((0, 1, 2, 10)), rng.choice((20, 60))),
                ops.Claim(owner, LANES, 10, 60),
                ops.Renew(owner, 60),
                ops.Expire(owner),
                ops.Enlist(owner, lanes, b"{}", rng.choice((10, 80))),
                ops.Discharge(owner),
            )
        )

    def operators(self, now_ms: int) -> Op:
        rng = self.rng
        return rng.choice(
            (
                ops.Retry(rng.choice((*IDS, "nobody"))),
                ops.Unblock(rng.choice(LANES), rng.choice(("old", "new"))),
                ops.Sweep(rng.choice((0, 15, 40))),
                ops.Prune(now_ms - rng.choice((0, 20)), rng.choice((1, 3))),
            )
        )


KEEPING = (ops.Put, ops.Look, ops.Progress, ops.Append, ops.Continue, ops.Forget)
"""Operations after which the holder still has its lease."""

LANES = tuple(
    lane_of(replace(World(random.Random(0)).spec(), kind="python", name=name, version="", host_profile="default"))
    for name in NAMES
)


class Numbers:
    """How the numbers of one store compare with those of the memory store: rows may be numbered with gaps, and ranks
    need only grow within a scope. ``said`` tells what a store says in memory's numbers."""

    def __init__(self) -> None:
        self.theirs: dict[int, int] = {}
        self.mine: dict[int, int] = {}

    def learn(self, mine: int, theirs: int) -> None:
        self.theirs[mine], self.mine[theirs] = theirs, mine

    def row(self, mine: int) -> int:
        return self.theirs.get(mine, NOBODY + mine)

    def said(self, value: Any) -> Any:
        match value:
            case Fence(row):
                return value._replace(row=self.mine.get(row, -row))
            case Claimed(row=row, lease=lease):
                lease = lease._replace(row=self.mine.get(lease.row, -lease.row))
                return value._replace(row=self.said(row), lease=lease)
            case Posted(claimed=claimed, begun=begun):
                return value._replace(claimed=self.said(claimed), begun=self.said(begun))
            case Begun(entry=entry):
                return value._replace(entry=entry._replace(rank=0))
            case Started(row=row, claimed=claimed):
                return value._replace(row=row and self.mine.get(row, -row), claimed=self.said(claimed))
            case Claims(rows=rows) | Renewed(fences=rows):
                return (value[0:0], [self.said(row) for row in rows], value[1:])
            case Recorded(entries=entries, quiet=quiet):
                return ("recorded", without_ranks(entries), quiet)
            case ProcessRow(row=row):
                return value._replace(row=self.mine.get(row, -row))
            case list():
                return [self.said(item) for item in value]
            case _:
                return value

    async def asked(self, op: Op, memory: Store, store: Store) -> Op:
        """The same operation for a store that has these numbers: ``seen`` is as far into the scope's entries."""
        fence = getattr(op, "fence", None)
        if fence is None:
            return op
        op = op._replace(fence=fence._replace(row=self.row(fence.row)))  # type: ignore[call-arg]  # those that have one
        if isinstance(op, (ops.Put, ops.Look, ops.Park, Take)):
            mine = [entry.rank for entry in await memory.history(fence.row, 0)]
            theirs = [entry.rank for entry in await store.history(self.row(fence.row), 0)]
            assert len(mine) == len(theirs)
            known = sum(rank <= op.seen for rank in mine)
            op = op._replace(seen=theirs[known - 1] if known else 0)
        return op


def without_ranks(entries: Sequence[Entry]) -> list[Entry]:
    ranks = [entry.rank for entry in entries]
    assert ranks == sorted(set(ranks)), "ranks grow"
    return [entry._replace(rank=0) for entry in entries]


async def state_of(store: Store, numbers: Numbers, rows: int, newest_ms: int) -> dict[str, object]:
    """Everything a reader can see. While the clock is set back, which due moment is the next is not promised."""
    now_ms = store.now_ms()
    due_ms = await store.next_due_ms(LANES)
    return {
        "rows": [numbers.said(row) for row in await store.get(IDS)],
        "events": [await store.events(process_id, 0, 1_000) for process_id in IDS],
        "journals": [without_ranks(await store.history(numbers.row(row), 0)) for row in range(1, rows + 1)],
        "due": None if due_ms is None or now_ms < newest_ms else max(due_ms, now_ms),
        "news": [numbers.said(await store.news(owner)) for owner in OWNERS],
        "workers": await store.workers(),
        "counts": await store.counts(),
        "pages": [numbers.said(await store.page(wanted)) for wanted in FILTERS],
    }


FILTERS = (
    ProcessFilter(),
    ProcessFilter(status=Status.RUNNING, limit=3),
    ProcessFilter(tag="red", name="job"),
    ProcessFilter(after="p3", parent="p1"),
)


async def compare(
    kind: str, folder: Path, world: World, seed: int, state: Callable[..., Awaitable[dict[str, object]]] = state_of
) -> None:
    clock = ManualClock(1_000_000)
    memory = MemoryStore(clock)
    pair = PAIRS[kind](folder, clock)
    for store in pair:
        await store.open()
    numbers = Numbers()
    same = Numbers()
    specs: dict[str, ProcessSpec] = {}
    rows = newest_ms = 0
    try:
        for turn in range(BATCHES):
            clock.advance(world.rng.choice((0, 1, 5, 20, 60, -7)))
            newest_ms = max(newest_ms, clock.now_ms)
            batch = [world.operation(clock.now_ms) for _ in range(world.rng.choice((1, 1, 2, 5, 9)))]
            theirs = [await numbers.asked(op, memory, pair[0]) for op in batch]
            expected = await memory.write(batch)
            actual = await pair[world.rng.random() < 0.3].write(theirs)
            for op, mine, other in zip(batch, expected, actual, strict=True):
                if isinstance(op, (ops.Start, Open)) and isinstance(mine, Started) and mine.created:
                    assert isinstance(other, Started), f"seed {seed}, turn {turn}: {op!r}"
                    specs[op.spec.id], rows = op.spec, mine.row
                    numbers.learn(mine.row, other.row)
                    same.learn(mine.row, mine.row)
            for op, mine, other in zip(batch, expected, actual, strict=True):
                assert numbers.said(other) == same.said(mine), f"seed {seed}, turn {turn}: {op!r}"
            world.learn(batch, expected)
            await world.beside(memory, pair, numbers)
            if turn % 5 == 0 or turn == BATCHES - 1:
                one = await state(memory, same, rows, newest_ms)
                two = await state(pair[0], numbers, rows, newest_ms)
                for name, value in one.items():
                    assert two[name] == value, f"seed {seed}, turn {turn}: {name} differ"
                await check_folds(memory, specs)
    finally:
        for store in pair:
            await store.close()


def sqlite_pair(folder: Path, clock: ManualClock) -> list[Store]:
    return [SqliteStore(str(folder / "one.db"), sync="normal", clock=clock) for _ in range(2)]


def postgres_pair(folder: Path, clock: ManualClock) -> list[Store]:
    del folder
    url = fresh_url()
    return [PostgresStore(url, clock=clock) for _ in range(2)]


PAIRS: dict[str, Callable[[Path, ManualClock], list[Store]]] = {"sqlite": sqlite_pair, "postgres": postgres_pair}
"""Two stores on one storage, so that what one remembers is put to the test."""


async def check_folds(store: Store, specs: dict[str, ProcessSpec]) -> None:
    for process_id, spec in specs.items():
        row = (await store.get([process_id]))[0]
        if isinstance(row, ProcessRow):
            events = await store.events(process_id, 0, 10_000)
            assert row.record == fold(spec, row.record.created_ms, events)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("seed", SEEDS)
def test_memory_and_the_others_agree(seed: int, kind: str, tmp_path: Path) -> None:
    asyncio.run(compare(kind, tmp_path, World(random.Random(seed)), seed))
