"""One simulated deployment: machines that crash, an outside world that signals and cancels, and the judge.

Everything is drawn from one seed and happens in virtual time, so a failing seed fails again. The promises judged:
outcome and interleaving as the journal tells them, no false divergence, each effect recorded once and performed at most
once more per disruption, no signal lost or taken twice, and ``fold(history) == record``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import lash
from lash.abc.store import Cancel, Expire, Signal
from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.outcome import Cancelled, Completed
from lash.core.process import ProcessRow, ProcessSpec, fold
from lash.engines.local import LocalEngine
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from lash.testing.faults import FaultyStore
from tests.simulation.programs import SIGNALS, Body, Grower, Node, Steps, interpreter

ROOT = "sim"
PATIENCE_S = 60
"""Virtual time a program gets before it is cancelled: it may wait for a signal that nobody sends."""
CUTS_MAX = 6
"""Prefixes replayed of each journal here; ``test_every_cut`` replays them all."""
Fate = Literal["crash before", "crash after", "kill", "close", "expire"]


@dataclass
class Plan:
    """What a seed decides before the run."""

    program: Node
    fates: list[tuple[Fate, int]]
    machines: int
    linger_ms: int
    resident: int
    concurrency: int
    signals: list[tuple[int, str]]
    cancel_ms: int | None

    @staticmethod
    def of(rng: Random) -> Plan:
        fates: tuple[Fate, ...] = ("crash before", "crash after", "kill", "close", "expire")
        return Plan(
            Grower(rng, rng.randint(3, 60)).program(),
            [
                (rng.choice(fates), rng.choice((rng.randint(1, 12), rng.randint(1, 60))))
                for _ in range(rng.randint(0, 4))
            ],
            rng.choice((1, 1, 1, 2)),
            rng.choice((0, 20, 20, 1_000)),
            rng.choice((0, 1, 1_000)),
            rng.choice((1, 2, 64)),
            [(rng.randint(0, 2_000), rng.choice(SIGNALS)) for _ in range(rng.randint(0, 4))],
            rng.choice((None, None, None, rng.randint(0, 2_000))),
        )


@dataclass
class World(Steps):
    """The outside: steps take random time and give random values, so that nothing can be guessed twice."""

    rng: Random
    performed: Counter[str] = field(default_factory=Counter)
    traces: dict[str, list[Any]] = field(default_factory=dict)
    disruptions: int = 0

    def began(self) -> None:
        self.performed[lash.current().idempotency_key] += 1

    async def work(self, number: int) -> int:
        self.began()
        await asyncio.sleep(self.rng.choice((0, 0, self.rng.random() / 3)))
        return self.rng.getrandbits(16)

    def sync_work(self, number: int) -> int:
        self.began()
        return self.rng.getrandbits(16)

    async def shaky_work(self, number: int, failures: int) -> int:
        self.began()
        await asyncio.sleep(self.rng.choice((0, self.rng.random() / 5)))
        if lash.current().attempt <= failures:
            raise OSError(f"attempt {lash.current().attempt}: {self.rng.getrandbits(16)}")
        return self.rng.getrandbits(16)

    def watch(self, process_id: str, body: Body) -> None:
        self.traces[process_id] = body.trace


class Simulation:
    """One seed, from start to verdict."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.plan = Plan.of(self.rng)
        self.world = World(self.rng)
        self.process = interpreter(self.world, self.world.watch)
        self.store = MemoryStore(simulate.now_ms)
        self.over = asyncio.Event()
        self.fates = list(self.plan.fates)
        self.specs: dict[str, ProcessSpec] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            machines = [group.create_task(self.machine(number)) for number in range(self.plan.machines)]
            outside = [
                group.create_task(self.send(at_ms, name, n)) for n, (at_ms, name) in enumerate(self.plan.signals)
            ]
            if self.plan.cancel_ms is not None:
                outside.append(group.create_task(self.request_cancel(self.plan.cancel_ms, "wish")))
            await self.until_ended()
            for task in outside:
                task.cancel()
            self.over.set()
            await asyncio.gather(*machines)
        await Judge(self).judge()

    async def until_ended(self) -> None:
        patience_ms = simulate.now_ms() + PATIENCE_S * 1_000
        while True:
            rows = await self.rows()
            if rows and all(row.record.status.final for row in rows):
                return
            if simulate.now_ms() > patience_ms:
                patience_ms += PATIENCE_S * 1_000
                idle = [row for row in rows if not row.record.status.final and row.record.cancel_requested is None]
                assert all(row.owner is None and row.record.waiting is not None for row in idle), idle
                await self.store.write([Cancel(row.record.id, "patience") for row in rows])
            await asyncio.sleep(0.25)

    async def rows(self) -> list[ProcessRow]:
        found = [row for row in await self.store.get([ROOT]) if isinstance(row, ProcessRow)]
        for row in found:  # grows while it is read: the whole family
            found += (held.as_row() for held in self.store._tables.children.get(row.record.id, ()))
        for row in found:
            self.specs.setdefault(row.record.id, row.record.spec)
        return found

    async def story(self) -> list[Any]:
        """Every event and journal entry of the whole family, with its moment."""
        told: list[Any] = []
        for row in await self.rows():
            told += [(event.type, event.at_ms) for event in await self.store.events(row.record.id, 0, 100_000)]
            told += [
                (entry.kind.value, entry.ordinal, entry.at_ms, entry.payload)
                for entry in await self.store.history(row.row, 0)
            ]
        return told

    # The outside

    async def send(self, at_ms: int, name: str, number: int) -> None:
        await asyncio.sleep(at_ms / 1_000)
        while not any(isinstance(row, ProcessRow) for row in await self.store.get([ROOT])):
            await asyncio.sleep(0.05)
        op = Signal(ROOT, name, b'"signal %d"' % number, f"key-{number}")
        await self.store.write([op] * self.rng.randint(1, 2))  # the same key twice is the same signal

    async def request_cancel(self, at_ms: int, reason: str) -> None:
        await asyncio.sleep(at_ms / 1_000)
        await self.store.write([Cancel(ROOT, reason)])

    # The machines

    async def machine(self, number: int) -> None:
        while not self.over.is_set():
            fate, when = self.fates.pop() if self.fates else (None, 0)
            await self.boot(fate, when)
            self.world.disruptions += 1
            await asyncio.sleep(self.rng.choice((0, 0.01, 0.5, 3)))

    async def boot(self, fate: Fate | None, when: int) -> None:
        """One life of one machine: until its fate comes or the work is over."""
        died = asyncio.Event()
        crash_at = when if fate in ("crash before", "crash after") else 0
        store = FaultyStore(self.store, crash_at, "after" if fate == "crash after" else "before", died.set)
        settings = settings_of(
            self.plan.concurrency, "2s", self.plan.linger_ms / 1_000, self.plan.resident, "1s", "default", None
        )
        app = Runtime(store, LocalEngine(store), settings, True)
        app.include(self.process)
        try:
            await app.open()
            await app.start(self.process, self.plan.program, id=ROOT)
        except lash.StoreUnavailable:
            died.set()
        if fate in ("kill", "close", "expire"):
            await asyncio.wait([asyncio.create_task(self.over.wait())], timeout=when * 0.03)
            if fate == "expire":
                await self.disown(store)
                await asyncio.wait([asyncio.create_task(self.over.wait())], timeout=when * 0.03)
        else:
            await self.either(died)
        if fate == "close" or (self.over.is_set() and not store.crashed):
            await app.close()
        else:
            await app.abort()

    async def disown(self, store: FaultyStore) -> None:
        """Others believe this machine dead while it goes on: a zombie."""
        self.world.disruptions += 1
        for worker in await store.workers():
            await self.store.write([Expire(worker.owner)])

    async def either(self, died: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (died, self.over)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


class Judge:
    """Looks at what is left in the store."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.store = simulation.store
        self.live_traces = dict(self.world.traces)
        self.zombies = any(fate == "expire" for fate, _ in simulation.plan.fates) or simulation.plan.machines > 1

    async def judge(self) -> None:
        for row in await self.simulation.rows():
            events = await self.store.events(row.record.id, 0, 100_000)
            entries = await self.store.history(row.row, 0)
            self.judge_record(row, events)
            self.judge_entries(row, entries)
            self.judge_performs(row, entries)
            self.judge_signals(row, entries, events)
            self.judge_emitted(row, entries, events)
            await self.judge_replay(row, entries)
            await self.judge_cuts(row, entries)

    def judge_record(self, row: ProcessRow, events: list[Event]) -> None:
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        spec = self.simulation.specs[row.record.id]
        assert fold(spec, row.record.created_ms, events) == row.record
        blocked = [event.value() for event in events if event.type == "process.blocked"]
        assert not [document for document in blocked if "diverged" in str(document)], blocked
        assert not blocked, blocked

    def judge_entries(self, row: ProcessRow, entries: list[Entry]) -> None:
        assert [entry.rank for entry in entries] == sorted({entry.rank for entry in entries})
        assert [entry.at_ms for entry in entries] == sorted(entry.at_ms for entry in entries)
        once = Counter(
            (entry.kind, entry.ordinal, entry.attempt if entry.kind is EntryKind.ATTEMPT else 0)
            for entry in entries
            if entry.kind not in (EntryKind.MAIL, EntryKind.CLOSE)
        )
        assert max(once.values(), default=1) == 1, once.most_common(3)

    def judge_performs(self, row: ProcessRow, entries: list[Entry]) -> None:
        """Each attempt once, and once more per disruption; withdrawn ones may have been under way."""
        recorded = Counter(entry.ordinal for entry in entries if entry.kind in (EntryKind.STEP, EntryKind.ATTEMPT))
        over = {entry.ordinal for entry in entries if entry.kind is EntryKind.STEP}
        prefix = row.record.id + "/"
        for key, count in self.world.performed.items():
            if key.startswith(prefix) and key[len(prefix) :].isdigit():
                ordinal = int(key[len(prefix) :])
                most = recorded[ordinal] + (ordinal not in over) + self.world.disruptions
                assert recorded[ordinal] <= count <= most, (key, count, recorded[ordinal], self.world.disruptions)

    def judge_signals(self, row: ProcessRow, entries: list[Entry], events: list[Event]) -> None:
        """Each signal reached the body at most once, and is still there if it did not."""
        sent = {event.sequence for event in events if event.type.startswith("signal.")}
        taken = Counter(
            entry.attempt for entry in entries if entry.kind is EntryKind.REPLY and entry.name.startswith("signal:")
        )
        closed = Counter(entry.ordinal for entry in entries if entry.kind is EntryKind.MAIL)
        for sequence in sent:
            # every mail row is a time the signal lay waiting, every reply a time a wait took it
            assert taken[sequence] + closed[sequence] >= 1, sequence
            assert taken[sequence] <= closed[sequence] + 1, sequence

    def judge_emitted(self, row: ProcessRow, entries: list[Entry], events: list[Event]) -> None:
        recorded = sum(entry.kind is EntryKind.COMMAND and entry.name.startswith("emit ") for entry in entries)
        emitted = Counter(event.key for event in events if event.type == "sim.tick")
        assert max(emitted.values(), default=1) == 1
        assert recorded <= len(emitted)

    async def judge_replay(self, row: ProcessRow, entries: list[Entry]) -> None:
        """The journal alone gives the same outcome, and the same interleaving."""
        record = row.record
        if record.first_started is None:
            assert isinstance(record.outcome, Cancelled)
            return
        performed = Counter(self.world.performed)
        replayed = await simulate.replay(self.simulation.process, record, entries)
        assert self.world.performed == performed
        grace_over = isinstance(record.outcome, Cancelled) and replayed.outcome is None
        assert replayed.outcome == record.outcome or grace_over, (replayed.outcome, record.outcome)
        if not self.zombies:
            live, again = self.live_traces[record.id], self.world.traces[record.id]
            assert live[: len(again)] == again if grace_over else live == again
        if isinstance(record.outcome, Completed):
            assert replayed.heard <= len(entries)

    async def judge_cuts(self, row: ProcessRow, entries: list[Entry]) -> None:
        """Every beginning of the journal replays too."""
        if row.record.first_started is None:
            return
        step = max(1, len(entries) // CUTS_MAX)
        for cut in range(0, len(entries), step):
            await simulate.replay(self.simulation.process, row.record, entries[:cut])


def simulated(seed: int) -> list[Any]:
    """Run one seed to its end; what happened. Raises ``AssertionError`` with a note that names the seed."""

    async def main() -> list[Any]:
        simulation = Simulation(seed)
        await simulation.run()
        return await simulation.story()

    try:
        return simulate.run(main())
    except BaseException as error:
        error.add_note(f"seed {seed}; again: PYTHONPATH=src:. python -m tests.simulation.world {seed}")
        raise


if __name__ == "__main__":
    import sys

    first, last = int(sys.argv[1]), int(sys.argv[-1])
    for number in range(first, last + 1):
        simulated(number)
