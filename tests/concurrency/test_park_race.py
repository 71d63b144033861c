"""Promise: nothing stays parked whose reply is already there, whichever way the wait, the look, the park, the reply and
its sender meet.

Hundreds of meetings are forced: waits on signals and on the end of others, answered at the same moment by other stores.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from lash.abc.store import Appended, Done, Finish, Put, Recorded, Signal, Store
from lash.core.lease import Fence
from lash.core.outcome import Completed
from lash.testing.checkers import check_store
from lash.testing.conformance.stage import expect, wait
from tests.concurrency.crew import Crew
from tests.concurrency.databases import Database
from tests.concurrency.stores import (
    a_moment_later,
    await_and_park,
    deadlocks,
    do,
    leased,
    rows,
    stores_on,
    stuck,
)

MEETINGS = 150
ENDS = 100
"""With three awaiters each."""
AT_ONCE = 10
APART_MS = 3.0
"""About as long as a wait and a park take."""


async def none_is_stuck(store: Store, ids: Sequence[str], answered: Sequence[bool]) -> int:
    """How many of them had parked; each of those is claimable now."""
    left = [row.record.id for row in await rows(store, ids) if stuck(row)]
    assert left == [], f"{len(left)} of {len(ids)} stay parked with their reply there: {left[:5]}"
    return len(ids) - sum(answered)


def test_a_signal_that_comes_while_its_wait_parks_is_heard(database: Database) -> None:
    chance = random.Random(1)

    async def meet(waiting: Store, sending: Store, process_id: str, fence: Fence) -> bool:
        send = do(sending, Signal(process_id, "go", b"1", None), Appended)
        (answered,), _ = await asyncio.gather(
            a_moment_later(chance, APART_MS, await_and_park(waiting, [fence], "signal:go")),
            a_moment_later(chance, APART_MS, send),
        )
        return answered

    async def main() -> None:
        before = await deadlocks(database)
        async with stores_on(database, 4) as stores:
            parked = 0
            for first in range(0, MEETINGS, AT_ONCE):
                ids = [f"p{number}" for number in range(first, first + AT_ONCE)]
                fences = await leased(stores[0], "w", ids)
                pairs = enumerate(zip(ids, fences, strict=True))
                answered = await asyncio.gather(
                    *(meet(stores[n % 2], stores[2 + n % 2], process_id, fence) for n, (process_id, fence) in pairs)
                )
                parked += await none_is_stuck(stores[3], ids, answered)
            assert await check_store(stores[3]) == MEETINGS
        assert await deadlocks(database) == before
        print(f"\n{parked} of {MEETINGS} parked first")
        assert 0 < parked < MEETINGS, "both orders were met"

    asyncio.run(main())


def test_an_end_that_comes_while_its_awaiters_park_is_heard(database: Database) -> None:
    """Three awaiters of three stores for each end: the later ones find a row that is awaited already."""
    chance = random.Random(2)

    async def meet(stores: Sequence[Store], child: Fence, number: int, fences: Sequence[Fence]) -> list[bool]:
        key = f"process:c{number}"
        finish = do(stores[0], Finish(child, Completed(b"1")), Done)
        waits = [
            a_moment_later(chance, APART_MS, await_and_park(store, [fence], key))
            for store, fence in zip(stores[1:], fences, strict=True)
        ]
        *answered, _ = await asyncio.gather(*waits, a_moment_later(chance, 2 * APART_MS, finish))
        return [one for (one,) in answered]

    async def main() -> None:
        before = await deadlocks(database)
        async with stores_on(database, 4) as stores:
            parked = 0
            for first in range(0, ENDS, AT_ONCE):
                numbers = range(first, first + AT_ONCE)
                children = await leased(stores[0], "w0", [f"c{number}" for number in numbers])
                ids = [f"p{number}.{who}" for number in numbers for who in range(3)]
                fences = await leased(stores[1], "w1", ids)
                answered = await asyncio.gather(
                    *(
                        meet(stores, child, number, fences[3 * place : 3 * place + 3])
                        for place, (number, child) in enumerate(zip(numbers, children, strict=True))
                    )
                )
                parked += await none_is_stuck(stores[3], ids, [one for some in answered for one in some])
            assert await check_store(stores[3]) == 4 * ENDS
        assert await deadlocks(database) == before
        print(f"\n{parked} of {3 * ENDS} parked first")
        assert 0 < parked < 3 * ENDS, "both orders were met"

    asyncio.run(main())


def test_batches_that_answer_one_another_lose_nothing(database: Database) -> None:
    """Each transaction has many rows, in any order: the waits of one store, the signals and ends of the others."""
    chance = random.Random(3)
    rounds, size = 8, 25

    async def sent(store: Store, ids: list[str]) -> None:
        chance.shuffle(ids)
        for verdict in await store.write([Signal(process_id, "go", b"1", None) for process_id in ids]):
            expect(verdict, Appended)

    async def ended(store: Store, fences: list[Fence]) -> None:
        chance.shuffle(fences)
        for verdict in await store.write([Finish(fence, Completed(b"2")) for fence in fences]):
            expect(verdict, Done)

    async def waited(store: Store, fences: list[Fence], children: list[str]) -> None:
        """Both waits in one entry each; then a signal and an end that arrive together answer one body."""
        pairs = list(zip(fences, children, strict=True))
        chance.shuffle(pairs)
        entries = [(wait(0, "signal:go"), wait(1, f"process:{child}")) for _, child in pairs]
        puts = [Put(fence, 0, both) for (fence, _), both in zip(pairs, entries, strict=True)]
        for verdict in await store.write(puts):
            expect(verdict, Recorded)

    async def main() -> None:
        before = await deadlocks(database)
        async with stores_on(database, 4) as stores:
            for turn in range(rounds):
                ids = [f"p{turn}.{number}" for number in range(size)]
                children = [f"c{turn}.{number}" for number in range(size)]
                fences = await leased(stores[0], "w0", ids)
                childrens = await leased(stores[1], "w1", children)
                half = size // 2
                work = [
                    waited(stores[0], fences[:half], children[:half]),
                    waited(stores[3], fences[half:], children[half:]),
                    sent(stores[1], ids[:half]),
                    sent(stores[2], ids[half:]),
                    ended(stores[1], childrens[half:]),
                    ended(stores[2], childrens[:half]),
                ]
                await asyncio.gather(*(a_moment_later(chance, APART_MS, one) for one in work))
                for fence in fences:
                    kinds = [entry.kind.value for entry in await stores[3].history(fence.row, 0)]
                    assert kinds.count("reply") == 2, f"row {fence.row} of turn {turn}: {kinds}"
            assert await check_store(stores[3]) == 2 * rounds * size
        assert await deadlocks(database) - before <= 1, "rows are locked in one order"

    asyncio.run(main())


def test_python_processes_that_call_one_another_leave_nobody_waiting(tmp_path: Path, database: Database) -> None:
    """Two workers that park at once, and two callers that call at about that moment."""
    each = 60
    with Crew(tmp_path, database) as crew:
        workers = [crew.worker(linger="0ms", resident=resident) for resident in (0, 50)]
        for worker in workers:
            worker.wait_open()
        callers = [
            crew.start("caller", lambda _, n=n: [crew.url, str(n), str(n * each), str(each)])  # type: ignore[misc]
            for n in range(2)
        ]
        codes = [caller.wait(90) for caller in callers]
        assert codes == [0, 0], "\n".join(caller.log.read_text() for caller in callers)
        for worker in workers:
            worker.drain()
        assert [worker.wait(30) for worker in workers] == [0, 0]
        assert crew.complaints() == []
        parked = sum(int(str(worker.counters()["parked"])) for worker in workers)
        print(f"\n{parked} parks by {2 * each} processes and {each} children")
        assert parked >= 10
        assert asyncio.run(checked(database)) == 3 * each


async def checked(database: Database) -> int:
    async with stores_on(database, 1) as (store,):
        return await check_store(store)
