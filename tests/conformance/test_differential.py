"""Random lists of operations do the same to every store: verdicts, records, events, journals, listings.

A failing seed is printed with the shortest list that still fails; put it into ``SEEDS`` to keep it.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lash.abc import store as ops
from lash.abc.store import Claims, Done, Op, ProcessFilter, Recorded, Stale, Started, Store, Verdict
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed, Failure, Status
from lash.core.process import Blocked, ProcessRow, ProcessSpec, Waiting, definition_of, fold, lane_of
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.conformance import ManualClock

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
BATCHES = 150
OWNERS = ("w1", "w2", "w3")
NAMES = ("job", "other")
IDS = (*(f"p{number}" for number in range(14)), "x1", "x2")


@dataclass
class World:
    """What the generator knows: enough to make most operations hit something."""

    rng: random.Random
    fences: list[Fence] = field(default_factory=list[Fence])
    spent: list[Fence] = field(default_factory=list[Fence])
    seen: dict[int, int] = field(default_factory=dict[int, int])
    ordinal: int = 0

    def learn(self, batch: list[Op], verdicts: list[Verdict]) -> None:
        for op, verdict in zip(batch, verdicts, strict=True):
            fence = getattr(op, "fence", None)
            match verdict:
                case Started(claimed=claimed) if claimed is not None:
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

    def fence(self) -> Fence:
        """Mostly one that still holds, sometimes one given back or lost, rarely one that never was."""
        draw = self.rng.random()
        if self.fences and draw < 0.85:
            return self.rng.choice(self.fences)
        if self.spent and draw < 0.95:
            return self.rng.choice(self.spent[-6:])
        return Fence(self.rng.randint(0, 12), self.rng.randint(0, 4))

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


async def state_of(store: Store, rows: int, newest_ms: int) -> dict[str, object]:
    """Everything a reader can see. While the clock is set back, which due moment is the next is not promised."""
    found = await store.get(IDS)
    now_ms = await store.now_ms()
    due_ms = await store.next_due_ms(LANES)
    return {
        "rows": found,
        "events": [await store.events(process_id, 0, 1_000) for process_id in IDS],
        "journals": [await store.history(row, 0) for row in range(1, rows + 1)],
        "due": None if due_ms is None or now_ms < newest_ms else max(due_ms, now_ms),
        "news": [await store.news(owner) for owner in OWNERS],
        "workers": await store.workers(),
        "counts": await store.counts(),
        "pages": [await store.page(wanted) for wanted in FILTERS],
    }


FILTERS = (
    ProcessFilter(),
    ProcessFilter(status=Status.RUNNING, limit=3),
    ProcessFilter(tag="red", name="job"),
    ProcessFilter(after="p3", parent="p1"),
)


async def compare(folder: Path, seed: int) -> None:
    clock = ManualClock(1_000_000)
    memory, sqlite = MemoryStore(clock), SqliteStore(str(folder / f"{seed}.db"), sync="normal", clock=clock)
    second = SqliteStore(str(folder / f"{seed}.db"), sync="normal", clock=clock)
    await sqlite.open()
    await second.open()
    world = World(random.Random(seed))
    specs: dict[str, ProcessSpec] = {}
    rows = newest_ms = 0
    try:
        for turn in range(BATCHES):
            clock.advance(world.rng.choice((0, 1, 5, 20, 60, -7)))
            newest_ms = max(newest_ms, clock.now_ms)
            batch = [world.operation(clock.now_ms) for _ in range(world.rng.choice((1, 1, 2, 5, 9)))]
            expected = await memory.write(batch)
            actual = await (second if world.rng.random() < 0.3 else sqlite).write(batch)
            for op, mine, theirs in zip(batch, expected, actual, strict=True):
                assert theirs == mine, f"seed {seed}, turn {turn}: {op!r}"
                if isinstance(op, ops.Start) and isinstance(mine, Started) and mine.created:
                    specs[op.spec.id], rows = op.spec, mine.row
            world.learn(batch, expected)
            if turn % 5 == 0 or turn == BATCHES - 1:
                one, two = await state_of(memory, rows, newest_ms), await state_of(sqlite, rows, newest_ms)
                for name, value in one.items():
                    assert two[name] == value, f"seed {seed}, turn {turn}: {name} differ"
                await check_folds(memory, specs)
    finally:
        await sqlite.close()
        await second.close()


async def check_folds(store: Store, specs: dict[str, ProcessSpec]) -> None:
    for process_id, spec in specs.items():
        row = (await store.get([process_id]))[0]
        if isinstance(row, ProcessRow):
            events = await store.events(process_id, 0, 10_000)
            assert row.record == fold(spec, row.record.created_ms, events)


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_and_sqlite_agree(seed: int, tmp_path: Path) -> None:
    asyncio.run(compare(tmp_path, seed))
