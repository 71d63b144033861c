"""What every case stands on: a store with a clock under its hand, short words for the common moves, and the fold.

``Stage`` remembers each spec it started, so that at the end ``fold(spec, created_ms, events)`` can be held against
every record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from lash.abc.sessions import Open
from lash.abc.store import Claim, Claimed, Claims, Op, Put, Recorded, Start, Started, Store, Verdict
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import ProcessRow, ProcessSpec, Tombstone, definition_of, fold, lane_of

T = TypeVar("T")

TTL_MS = 10_000
ARGS = b'[["a"],{}]'


class ManualClock:
    """Store time in epoch milliseconds, moved by hand; it may also be set back."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, by_ms: int) -> None:
        self.now_ms += by_ms


class StoreHarness(Protocol):
    """One storage, empty at first. The implementer of a store writes this."""

    clock: ManualClock
    """Every store opened here reads its time from it."""

    async def open(self) -> Store:
        """A store on this storage: another object each time, or the same one where storage and object are one."""
        ...

    async def close(self) -> None:
        """Close every store still open."""
        ...


@dataclass(frozen=True)
class Case:
    name: str
    promise: str
    """The case's docstring."""
    run: Callable[[StoreHarness], Coroutine[None, None, None]]


registered: list[Case] = []


def case(body: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
    """Register a case. It gets an open stage; afterwards all records are folded and all stores closed."""

    async def run(harness: StoreHarness) -> None:
        try:
            stage = Stage(harness, await harness.open())
            await body(stage)
            await stage.check_folds()
        finally:
            await harness.close()

    name = getattr(body, "__name__", "case")
    registered.append(Case(name, (body.__doc__ or "").strip(), run))
    return body


def equal(actual: object, expected: object, what: str) -> None:
    """Raise ``AssertionError`` where the two differ; a plain ``assert`` would be silent under ``python -O``."""
    if actual != expected:
        raise AssertionError(f"{what}:\n  is       {actual!r}\n  expected {expected!r}")


def expect(verdict: object, kind: type[T]) -> T:
    """``verdict``, known to be of ``kind``."""
    if not isinstance(verdict, kind):
        raise AssertionError(f"the verdict is {verdict!r}, expected a {kind.__name__}")
    return verdict


def said(entries: Sequence[Entry]) -> list[tuple[str, int, bytes]]:
    """The essence of journal entries: kind, ordinal, payload."""
    return [(entry.kind.value, entry.ordinal, entry.payload) for entry in entries]


def step(ordinal: int, payload: bytes = b"1") -> Entry:
    return Entry(EntryKind.STEP, ordinal, "work", "0123456789abcdef" * 2, payload)


def wait(ordinal: int, key: str) -> Entry:
    return Entry(EntryKind.WAIT, ordinal, key)


def close(ordinal: int, key: str) -> Entry:
    return Entry(EntryKind.CLOSE, ordinal, key)


class Stage:
    """``store`` and ``clock`` to work with. Ids are short; every process stands in one lane unless told otherwise."""

    def __init__(self, harness: StoreHarness, store: Store) -> None:
        self.harness = harness
        self.store = store
        self.clock = harness.clock
        self.specs: dict[str, ProcessSpec] = {}

    def spec(self, process_id: str, **fields: object) -> ProcessSpec:
        """A python process ``job``; ``fields`` replace those of the spec."""
        plain = ProcessSpec(process_id, "python", "job", "1", ARGS, "")
        spec = replace(plain, **fields)  # type: ignore[arg-type]  # the fields of ProcessSpec
        return replace(spec, definition=spec.definition or definition_of(spec.kind, spec.name, spec.args))

    async def write(self, *ops: Op) -> list[Verdict]:
        """One transaction."""
        for op in ops:
            if isinstance(op, (Start, Open)):
                self.specs.setdefault(op.spec.id, op.spec)
        verdicts = await self.store.write(ops)
        equal(len(verdicts), len(ops), "verdicts of one write")
        return verdicts

    async def do(self, op: Op, kind: type[T]) -> T:
        """One operation, whose verdict must be of ``kind``."""
        return expect((await self.write(op))[0], kind)

    async def start(self, process_id: str, **fields: object) -> Started:
        started = await self.do(Start(self.spec(process_id, **fields)), Started)
        equal((started.created, started.claimed), (True, None), f"start of {process_id}")
        return started

    async def leased(self, process_id: str, owner: str = "w1", **fields: object) -> Fence:
        """Started and leased to ``owner`` at once."""
        started = await self.do(Start(self.spec(process_id, **fields), owner, TTL_MS), Started)
        if started.claimed is None:
            raise AssertionError(f"a start with an owner gave no lease: {started!r}")
        return started.claimed.lease.fence

    async def claim(self, owner: str = "w2", limit: int = 100, ttl_ms: int = TTL_MS) -> Claims:
        """From every lane a process of this stage stands in."""
        lanes = list(dict.fromkeys(lane_of(spec) for spec in self.specs.values()))
        return await self.do(Claim(owner, lanes, limit, ttl_ms), Claims)

    async def claim_one(self, process_id: str, owner: str = "w2") -> Claimed:
        claims = await self.claim(owner)
        equal([claimed.row.record.id for claimed in claims.rows], [process_id], "ids claimed")
        return claims.rows[0]

    async def put(self, fence: Fence, seen: int, *entries: Entry) -> Sequence[Entry]:
        return (await self.do(Put(fence, seen, entries), Recorded)).entries

    async def row(self, process_id: str) -> ProcessRow:
        return expect((await self.store.get([process_id]))[0], ProcessRow)

    async def types(self, process_id: str) -> list[str]:
        """Event types, in order."""
        return [item.type for item in await self.store.events(process_id, 0, 1_000)]

    async def due_ms(self) -> int | None:
        return await self.store.next_due_ms([lane_of(spec) for spec in self.specs.values()])

    async def check_folds(self) -> None:
        """``fold`` of spec and events is the record, and the events' sequence is dense, for every process."""
        for process_id, spec in self.specs.items():
            row = (await self.store.get([process_id]))[0]
            if row is None or isinstance(row, Tombstone):
                continue
            events = await self.store.events(process_id, 0, 1_000_000)
            equal([item.sequence for item in events], list(range(1, len(events) + 1)), f"sequences of {process_id}")
            equal(row.record, fold(spec, row.record.created_ms, events), f"record and fold of {process_id}")
            times = [item.at_ms for item in events]
            equal(times, sorted(times), f"event times of {process_id}")
            await self.check_journal(process_id, row)

    async def check_journal(self, process_id: str, row: ProcessRow) -> None:
        entries = await self.store.history(row.row, 0)
        ranks = [entry.rank for entry in entries]
        equal(ranks, sorted(set(ranks)), f"ranks of {process_id} grow")
        times = [entry.at_ms for entry in entries]
        equal(times, sorted(times), f"entry times of {process_id}")
