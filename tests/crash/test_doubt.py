"""Promise: a batch the store answers is committed, once and as a whole; one it raises an error for is committed once or
has written nothing. What nobody gave a key, a signal or an event, is so never told twice by the store's own tries.

A list of batches with every kind of operation is written with one trouble at any statement, and after each batch the
database, read over another connection, is compared with a store of plain dicts that had no trouble.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from lash.abc.store import (
    Append,
    Cancel,
    Claim,
    Close,
    Continue,
    Discharge,
    Enlist,
    Expire,
    Finish,
    Forget,
    Look,
    Op,
    Park,
    ProcessFilter,
    Progress,
    Prune,
    Put,
    Release,
    Renew,
    Retry,
    Signal,
    Start,
    Store,
    Sweep,
    Verdict,
)
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.outcome import Cancelled, Completed, Failed, Failure
from lash.core.process import Blocked, ProcessRow, ProcessSpec, Tombstone, Waiting, definition_of, lane_of
from lash.errors import StoreUnavailable
from lash.stores.memory import MemoryStore
from lash.stores.postgres import PostgresStore
from tests.crash.driver import CODES, DRIVER, TROUBLES, Driver, Trouble, installed
from tests.crash.places import SCHEMAS, THOROUGH

AT_ONCE = 8
ARGS = b"[[],{}]"
IDS = ("p", "q", "c", "late", "x", "r")
TTL_MS = 60_000
BEGIN_MS = 1_700_000_000_000
EVER = 1_000_000_000
"""A rank that no entry reaches."""
Fences: TypeAlias = dict[str, Fence]


def spec(process_id: str, kind: str = "python", **more: object) -> ProcessSpec:
    definition = definition_of(kind, "job", ARGS)
    return ProcessSpec(process_id, kind, "job", "", ARGS, definition, **more)  # type: ignore[arg-type]


def step(ordinal: int) -> Entry:
    return Entry(EntryKind.STEP, ordinal, "work", "ab" * 16, b"%d" % ordinal)


def wait(ordinal: int, key: str) -> Entry:
    return Entry(EntryKind.WAIT, ordinal, key)


LANE = lane_of(spec("any"))
CLAIM = Claim("w", [LANE], 10, TTL_MS)
BATCHES: list[Callable[[Fences], list[Op]]] = [
    lambda f: [Enlist("w", [LANE], b"{}", TTL_MS)],
    lambda f: [Start(spec("p"), "w", TTL_MS), Start(spec("x", "external", recovery="external"))],
    lambda f: [Start(spec("q")), Start(spec("c", parent="p", tags=("t",))), Start(spec("late", delay_ms=EVER))],
    lambda f: [CLAIM],
    lambda f: [Put(f["p"], 0, [step(0)])],
    lambda f: [Put(f["q"], 0, [wait(0, "signal:go")]), Put(f["c"], 0, [step(0), wait(1, "process:q")])],
    lambda f: [Signal("p", "go", b"1", None), Signal("q", "go", b"2", None)],
    lambda f: [Signal("p", "go", b"3", None)],
    lambda f: [Append(f["p"], "note", b"4", None)],
    lambda f: [Append(f["p"], "note", b"5", "k"), Signal("p", "go", b"6", "s"), Append(f["q"], "note", b"7", None)],
    lambda f: [Put(f["p"], 0, [step(1), wait(2, "signal:go"), Entry(EntryKind.CLOSE, 2, "signal:go")])],
    lambda f: [Park(f["c"], EVER, Waiting("process", "q", None))],
    lambda f: [Renew("w", 2 * TTL_MS)],
    lambda f: [Release(f["q"], 50, Blocked("trouble", "it was", "code"))],
    lambda f: [Retry("q"), Signal("late", "go", b"8", None)],
    lambda f: [CLAIM],
    lambda f: [Progress(f["q"]), Start(spec("r", recovery="once"), "w", TTL_MS)],
    lambda f: [Cancel("p", "enough")],
    lambda f: [Look(f["p"], 0)],
    lambda f: [Continue(f["p"], b"[[1],{}]")],
    lambda f: [Append(f["p"], "note", b"9", None), Put(f["p"], 0, [step(0)])],
    lambda f: [Finish(f["q"], Completed(b"1"))],
    lambda f: [CLAIM],
    lambda f: [Finish(f["p"], Cancelled("enough")), Start(spec("p")), Signal("p", "go", b"0", None)],
    lambda f: [Forget(f["c"])],
    lambda f: [Finish(f["c"], Failed(Failure("execution", "Oops", "it broke"))), Close("x", Completed(b"2"))],
    lambda f: [Expire("w"), Discharge("w")],
    lambda f: [Claim("v", [LANE], 10, TTL_MS)],
    lambda f: [Cancel("late", "no"), Sweep(0)],
    lambda f: [Prune(BEGIN_MS + EVER, 100)],
]


class Pair:
    """The store under test, and the same read from outside."""

    def __init__(self, url: str) -> None:
        self.now_ms = BEGIN_MS
        self.store = PostgresStore(url, clock=lambda: self.now_ms)
        self.outside = PostgresStore(url, clock=lambda: self.now_ms)


async def state_of(store: Store) -> dict[str, object]:
    """All there is, but for numbers that are each store's own."""
    found: dict[str, object] = {"workers": list(await store.workers()), "counts": await store.counts()}
    found["page"] = [row.record.id for row in await store.page(ProcessFilter(limit=100))]
    for process_id, row in zip(IDS, await store.get(IDS), strict=True):
        if isinstance(row, ProcessRow):
            events = await store.events(process_id, 0, 100)
            history = [entry._replace(rank=0) for entry in await store.history(row.row, 0)]
            found[process_id] = row._replace(row=0), list(events), history
        else:
            assert row is None or isinstance(row, Tombstone)
            found[process_id] = row
    return found


async def fences_of(store: Store) -> Fences:
    rows = await store.get(IDS)
    leased = [row for row in rows if isinstance(row, ProcessRow) and row.owner is not None]
    return {row.record.id: Fence(row.row, row.token) for row in leased}


def kinds_of(verdicts: Sequence[Verdict]) -> list[str]:
    return [type(verdict).__name__ for verdict in verdicts]


class Stage(NamedTuple):
    """What the model has said to a batch, and how all stands after it."""

    told: list[str]
    state: dict[str, object]


async def staged() -> list[Stage]:
    """The beginning, and every batch in turn on plain dicts."""
    now_ms = BEGIN_MS
    model = MemoryStore(lambda: now_ms)
    await model.open()
    stages = [Stage([], await state_of(model))]
    for batch in BATCHES:
        now_ms += 100
        told = kinds_of(await model.write(batch(await fences_of(model))))
        stages.append(Stage(told, await state_of(model)))
    return stages


async def written(pair: Pair, number: int, stages: Sequence[Stage], driver: Driver) -> list[str]:
    """Batch ``number``, repeated where nothing of it was written → what is wrong."""
    before, (expected, after) = stages[number].state, stages[number + 1]
    batch = BATCHES[number]
    ops = batch(await fences_of(pair.outside))
    for _ in range(2):
        was_met, told = driver.met, None
        driver.paused = False
        try:
            told = kinds_of(await pair.store.write(ops))
        except StoreUnavailable:
            pass
        finally:
            driver.paused = True
        if told is None and driver.trouble in CODES and "lash_lane" not in driver.met:  # that goes another way
            return [f"a {driver.trouble} was not tried again"]
        if told == expected and driver.met == was_met:
            return []  # as without any trouble; how it all stands in the end is looked at in the end
        found = await state_of(pair.outside)
        if found == after:
            return [] if told in (None, expected) else [f"told {told} instead of {expected}"]
        if told is not None or found != before:
            return [f"told {told}, and there is {difference(found, after)}"]
    return ["nothing was written twice, for one trouble"]


def difference(found: dict[str, object], wanted: dict[str, object]) -> str:
    other = [name for name in wanted if found[name] != wanted[name]]
    return "\n".join(f"    {name}: {found[name]}\n    not {wanted[name]}" for name in other)


async def case(at: int, trouble: Trouble, stages: Sequence[Stage]) -> tuple[Driver, list[str]]:
    """Every batch in turn, with one trouble."""
    url = await SCHEMAS.take()
    driver = Driver(at, trouble)
    driver.paused = True
    DRIVER.set(driver)
    pair = Pair(url)
    for store in (pair.outside, pair.store):
        await store.open()
    faults: list[str] = []
    for number in range(len(BATCHES)):
        pair.now_ms += 100
        faults += [f"batch {number}: {fault}" for fault in await written(pair, number, stages, driver)]
        if faults:
            break
    end = await state_of(pair.outside)
    if not faults and end != stages[-1].state:
        faults.append(f"in the end there is {difference(end, stages[-1].state)}")
    await pair.store.close()
    await pair.outside.close()
    DRIVER.set(None)
    SCHEMAS.give(url)
    return driver, [f"{trouble} at {at} ({driver.met[:60]}), {fault}" for fault in faults]


def chosen(statements: int, chance: random.Random) -> list[tuple[int, Trouble]]:
    """Every statement, with one trouble after the other from a random one on."""
    numbers = range(1, statements + 1)
    if THOROUGH:
        return [(at, trouble) for at in numbers for trouble in TROUBLES]
    turn = chance.randrange(len(TROUBLES))
    return [(at, TROUBLES[(at + turn) % len(TROUBLES)]) for at in numbers]


async def every_statement(chance: random.Random) -> tuple[int, list[str]]:
    room = asyncio.Semaphore(AT_ONCE)
    stages = await staged()

    async def one(at: int, trouble: Trouble) -> tuple[Driver, list[str]]:
        async with room:
            return await asyncio.create_task(case(at, trouble, stages))

    counting, faults = await one(0, "gone")
    cases = chosen(len(counting.statements), chance)
    done = await asyncio.gather(*(one(at, trouble) for at, trouble in cases))
    assert all(driver.met for driver, _ in done), "the same batches sent other statements"
    return len(cases), faults + [fault for _, found in done for fault in found]


def test_a_batch_is_committed_once_and_as_a_whole_whatever_befalls_a_statement() -> None:
    seed = random.SystemRandom().getrandbits(32)
    began = time.monotonic()
    with installed():
        count, faults = asyncio.run(every_statement(random.Random(seed)))
    print(f"\n{count} troubles in {time.monotonic() - began:.1f} s, seed {seed}")
    assert faults == [], f"seed {seed}"
