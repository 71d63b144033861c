"""Promise: whoever writes to the same rows at the same moment, each operation takes effect once or is told why not.

Four stores on one database, each transaction of several rows in an order of its own: nothing may be created twice,
claimed twice, lost between two writers, or held up because two of them wait for one another.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from lash.abc.store import (
    Appended,
    Cancel,
    Claim,
    Claims,
    Conflict,
    Count,
    Done,
    Ended,
    Finish,
    Prune,
    Put,
    Recorded,
    Renew,
    Renewed,
    Signal,
    Start,
    Started,
    Store,
    Unknown,
)
from lash.core import event as ev
from lash.core.effect import EntryKind
from lash.core.outcome import Cancelled, Completed, Status
from lash.core.process import Tombstone
from lash.testing.checkers import check_store, events_of
from lash.testing.conformance.stage import expect, wait
from tests.concurrency.databases import Database
from tests.concurrency.stores import (
    LANE,
    TTL_MS,
    a_moment_later,
    deadlocks,
    do,
    leased,
    names,
    rows,
    spec,
    stores_on,
)

STORES = 4
APART_MS = 3.0


@asynccontextmanager
async def contenders(database: Database, checked: bool = True) -> AsyncGenerator[list[Store]]:
    """Afterwards everything is sound, and no two of them have waited for one another."""
    before = await deadlocks(database)
    async with stores_on(database, STORES) as stores:
        yield stores
        if checked:
            await check_store(stores[0])
    assert await deadlocks(database) == before, "whoever locks several rows locks them in one order"


def test_an_id_started_by_many_at_once_is_created_once(database: Database) -> None:
    """In batches whose orders differ; and where two definitions meet, all but one are refused."""
    count, rounds = 240, 2
    chance = random.Random(11)

    async def start(store: Store, ids: list[str], args: bytes, size: int) -> list[Started | Conflict]:
        chance.shuffle(ids)
        verdicts: list[Started | Conflict] = []
        for first in range(0, len(ids), size):
            batch = [Start(spec(process_id, args=args)) for process_id in ids[first : first + size]]
            verdicts += await a_moment_later(chance, 1, store.write(batch))  # type: ignore[arg-type]  # Start gives these
        return verdicts

    async def main() -> None:
        async with contenders(database) as stores:
            for turn in range(rounds):
                ids = [f"s{turn}.{number}" for number in range(count)]
                definitions = [b'[["a"],{}]', b'[["b"],{}]'] if turn % 2 else [b'[["a"],{}]']
                verdicts = await asyncio.gather(
                    *(
                        start(store, list(ids), definitions[place % len(definitions)], (count, 40)[turn])
                        for place, store in enumerate(stores)
                    )
                )
                told = [verdict for some in verdicts for verdict in some]
                created = sum(isinstance(verdict, Started) and verdict.created for verdict in told)
                refused = sum(isinstance(verdict, Conflict) for verdict in told)
                assert created == count
                assert refused == (STORES // 2 * count if turn % 2 else 0)
                found = await rows(stores[0], ids)
                assert len({row.row for row in found}) == count

    asyncio.run(main())


def test_signals_of_two_senders_are_all_told_once(database: Database) -> None:
    """Half of them carry keys that both use."""
    each = 60
    chance = random.Random(12)

    async def send(store: Store, who: str) -> int:
        new = 0
        for first in range(0, each, 3):
            signals = [
                Signal("p", "go", b"1", f"k{number}")
                if number % 2
                else Signal("p", "go", f'"{who}{number}"'.encode(), None)
                for number in range(first, first + 3)
            ]
            verdicts = await a_moment_later(chance, 1, store.write(signals))
            new += sum(expect(verdict, Appended).new for verdict in verdicts)
        return new

    async def main() -> None:
        async with contenders(database) as stores:
            (fence,) = await leased(stores[0], "w", ["p"])
            sent = await asyncio.gather(send(stores[1], "a"), send(stores[2], "b"))
            assert sum(sent) == each + each // 2, "all without a key, and one of each key"
            told = [event for event in await events_of(stores[3], "p") if event.type == ev.SIGNAL_PREFIX + "go"]
            assert len(told) == sum(sent)
            assert [event.sequence for event in told] == list(range(told[0].sequence, told[0].sequence + len(told)))
            waits = [wait(ordinal, "signal:go") for ordinal in range(len(told))]
            recorded = await do(stores[0], Put(fence, 0, waits), Recorded)
            heard = [entry for entry in recorded.entries if entry.kind is EntryKind.REPLY]
            assert [entry.attempt for entry in heard] == [event.sequence for event in told], "heard in their order"

    asyncio.run(main())


def test_a_cancel_and_an_end_that_meet_leave_one_outcome(database: Database) -> None:
    count = 60
    chance = random.Random(13)

    async def main() -> None:
        async with contenders(database) as stores:
            ids = [f"p{number}" for number in range(count)]
            fences = await leased(stores[0], "w", ids)
            warm = await leased(stores[0], "w", ["warm"])
            for store in stores[1:]:  # the first cancel of a connection prepares its statements, and would be late
                await store.write([Cancel("warm", "stop")])
            await do(stores[0], Finish(warm[0], Completed(b"1")), Done)
            ends = [a_moment_later(chance, 20, do(stores[0], Finish(fence, Completed(b"1")), Done)) for fence in fences]
            cancels = [
                a_moment_later(chance, 20, stores[1 + place % 3].write([Cancel(process_id, "stop")]))
                for place, process_id in enumerate(ids)
            ]
            answers = await asyncio.gather(asyncio.gather(*cancels), asyncio.gather(*ends))
            late = 0
            for (verdict,), row in zip(answers[0], await rows(stores[3], ids), strict=True):
                assert row.record.status is Status.COMPLETED, "the body that ended first has won"
                assert isinstance(verdict, Ended) == (row.record.cancel_requested is None)
                late += isinstance(verdict, Ended)
            print(f"\n{late} of {count} cancels came too late")
            assert 0 < late < count, "both orders were met"

    asyncio.run(main())


def test_a_child_started_while_its_parent_is_cancelled_is_cancelled_too(database: Database) -> None:
    count = 60
    chance = random.Random(14)

    async def main() -> None:
        async with contenders(database) as stores:
            ids = [f"p{number}" for number in range(count)]
            fences = await leased(stores[0], "w", ids)

            async def meet(place: int) -> None:
                child = Start(spec(f"c{place}", parent=ids[place]), "w", TTL_MS)
                await asyncio.gather(
                    a_moment_later(chance, APART_MS, do(stores[1], child, Started)),
                    a_moment_later(chance, APART_MS, do(stores[2], Cancel(ids[place], "stop"), Appended)),
                )
                await do(stores[0], Finish(fences[place], Cancelled("stop")), Done)

            for first in range(0, count, 6):
                await asyncio.gather(*(meet(place) for place in range(first, first + 6)))
            children = await rows(stores[3], [f"c{place}" for place in range(count)])
            assert [row.record.id for row in children if row.record.cancel_requested is None] == []

    asyncio.run(main())


def test_what_is_pruned_while_others_turn_to_it_answers_one_way_or_the_other(database: Database) -> None:
    """A signal, a wait on its end, and a second prune at the same moment."""
    count, rounds = 40, 4
    chance = random.Random(15)

    async def main() -> None:
        async with contenders(database) as stores:
            for turn in range(rounds):
                ids = [f"e{turn}.{number}" for number in range(count)]
                ended = await leased(stores[0], "w", ids, tags=("t",))
                await stores[0].write([Finish(fence, Completed(b"1")) for fence in ended])
                waiting = await leased(stores[2], "w2", [f"w{turn}.{number}" for number in range(count)])
                before_ms = stores[0].now_ms() + 1_000
                chance.shuffle(ids)
                waits = [
                    Put(fence, 0, [wait(0, f"process:{process_id}")])
                    for fence, process_id in zip(waiting, ids, strict=True)
                ]
                told = await asyncio.gather(
                    a_moment_later(chance, APART_MS, do(stores[0], Prune(before_ms, count), Count)),
                    a_moment_later(chance, APART_MS, do(stores[3], Prune(before_ms, count // 2), Count)),
                    a_moment_later(chance, 3 * APART_MS, stores[1].write([Signal(i, "go", b"1", None) for i in ids])),
                    a_moment_later(chance, 3 * APART_MS, stores[2].write(waits)),
                )
                assert {*told[0].ids, *told[1].ids} == set(ids), "all that had ended is pruned"
                assert [answer for answer in told[2] if not isinstance(answer, Ended | Unknown)] == []
                replies = {expect(verdict, Recorded).entries[-1].payload for verdict in told[3]}
                assert replies <= {b'["completed",{"value":1}]', b'["completed",1]', b'["pruned",null]'}, replies
                assert all(isinstance(row, Tombstone) for row in await stores[3].get(ids)), "tombstones stay"

    asyncio.run(main())


def test_claims_of_four_take_each_row_once_and_starve_nobody(database: Database) -> None:
    count, limit = 1_000, 32
    taken: Counter[str] = Counter()
    share: Counter[int] = Counter()
    starved: list[int] = []

    async def work(store: Store, place: int) -> None:
        in_vain = 0
        while len(taken) < count:
            claims = await do(store, Claim(f"w{place}", [LANE], limit, TTL_MS), Claims)
            taken.update(names(claims))
            share[place] += len(claims.rows)
            in_vain = 0 if claims.rows or count - len(taken) <= STORES * limit else in_vain + 1
            if in_vain > 1:  # once, everything it saw may have been taken before it could
                starved.append(count - len(taken))
            ends = [Finish(claimed.lease.fence, Completed(b"1")) for claimed in claims.rows]
            for verdict in await store.write(ends) if ends else []:
                expect(verdict, Done)
            await asyncio.sleep(0)  # a file's store never waits, and would leave the others no turn

    async def main() -> None:
        async with contenders(database, checked=False) as stores:  # a thousand rows take longer to check than to end
            await stores[0].write([Start(spec(f"p{number}", priority=number % 3)) for number in range(count)])
            await asyncio.gather(*(work(store, place) for place, store in enumerate(stores)))
            assert (await stores[0].counts())["completed"] == count

    asyncio.run(main())
    print(f"\nshares {sorted(share.values())}")
    assert set(taken.values()) == {1}
    assert len(taken) == count
    assert starved == [], "nobody came away with nothing while there was work for all"
    if database.name == "postgres":  # the lock of a file is not fair, and nobody promised that it was
        assert min(share[place] for place in range(STORES)) >= limit


def test_a_renewal_and_the_claims_of_others_never_hold_the_same_row(database: Database) -> None:
    """The leases have run out, and nobody has taken them yet."""
    count, rounds = 40, 6
    chance = random.Random(16)

    async def main() -> None:
        kept = 0
        async with contenders(database) as stores:
            for turn in range(rounds):
                owner = f"w{turn}"
                ids = [f"p{turn}.{number}" for number in range(count)]
                await stores[0].write([Start(spec(process_id), owner, 1) for process_id in ids])
                await asyncio.sleep(0.005)  # sleeps: the leases run out by the store's own clock
                claims = [
                    a_moment_later(
                        chance, 3 * APART_MS, do(stores[n], Claim(f"c{n}", [LANE], count // 2, TTL_MS), Claims)
                    )
                    for n in (1, 2, 3)
                ]
                renewed, taken = await asyncio.gather(
                    a_moment_later(chance, 3 * APART_MS, do(stores[0], Renew(owner, TTL_MS), Renewed)),
                    asyncio.gather(*claims),
                )
                held = [*renewed.fences, *(claimed.lease.fence for some in taken for claimed in some.rows)]
                assert len({fence.row for fence in held}) == len(held), "each row is held by one"
                kept += len(renewed.fences)
                for row in await rows(stores[3], ids):
                    assert row.row not in {fence.row for fence in held} or (row.row, row.token) in held
                await stores[3].write([Finish(fence, Completed(b"1")) for fence in held])
                await stores[3].write([Cancel(process_id, "over") for process_id in ids])
        print(f"\n{kept} of {rounds * count} leases were renewed in time")
        assert 0 < kept < rounds * count, "both orders were met"

    asyncio.run(main())


def test_claims_and_calls_in_one_batch_wait_for_one_another_in_no_circle(database: Database) -> None:
    """A claim has its rows locked before the rest of its batch is decided; others call those rows at that moment."""
    count, rounds, limit = 40, 8, 10
    chance = random.Random(17)

    async def call(store: Store, ids: list[str], claims: Sequence[Claim]) -> list[str]:
        chance.shuffle(ids)
        signals = [Signal(process_id, "go", b"1", None) for process_id in ids]
        verdicts = await a_moment_later(chance, APART_MS, store.write([*claims, *signals]))
        for verdict in verdicts[len(claims) :]:
            assert expect(verdict, Appended).new
        return [name for verdict in verdicts[: len(claims)] for name in names(expect(verdict, Claims))]

    async def main() -> None:
        async with contenders(database) as stores:
            for turn in range(rounds):
                ids = [f"p{turn}.{number}" for number in range(count)]
                await stores[0].write([Start(spec(process_id)) for process_id in ids])
                claims = [[Claim(f"w{turn}.{place}", [LANE], limit, TTL_MS)] if place < 3 else [] for place in range(4)]
                taken = await asyncio.gather(
                    *(call(store, list(ids), claims[place]) for place, store in enumerate(stores))
                )
                flat = [name for some in taken for name in some]
                assert len(set(flat)) == len(flat)
                told = await asyncio.gather(*(events_of(stores[3], process_id) for process_id in ids))
                assert {sum(event.type == "signal.go" for event in events) for events in told} == {STORES}
                for place in range(3):
                    await stores[place].write([Claim(f"w{turn}.{place}", [LANE], count, TTL_MS)])

    asyncio.run(main())
