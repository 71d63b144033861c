"""Sessions through several stores on one storage, and on the same storage later: what one wrote, all others go by."""

from __future__ import annotations

import asyncio

from lash.abc.sessions import CancelTurn, Committed, Delete, HeadMoved, Post, Posted, SessionOp, Stream, Withdrawn
from lash.abc.store import Cancel, Done, Ended, Put, Recorded, Stale, Start, Store, Unknown
from lash.core.effect import EntryKind
from lash.core.process import ProcessRow
from lash.testing.conformance.session_stage import (
    bodies,
    committing,
    leased,
    messages,
    new_item,
    numbers_of,
    opened,
    path,
    posted,
    session,
    states_of,
    steering,
    taken,
    taking,
    turn,
)
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal, expect, wait

NOTICE_S = 10.0
"""A notice comes within milliseconds; this only bounds a failing run."""
ROUNDS = 25
"""Times two writers are let loose on the same session."""


@case
async def sessions_survive_closing_and_opening(s: Stage) -> None:
    """Path, items, keys, turns, pieces, leases; and they go on from there."""
    row = await opened(s)
    await turn(s, "s", *messages("a"))
    await opened(s, "f", "s", 1)
    await posted(s, item=new_item(key="k"))
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)

    async def everything() -> list[object]:
        found: list[object] = [await session(s), await session(s, "f"), await path(s), await path(s, "f")]
        return [*found, await s.store.items(row, [1, 2]), await s.store.turns(row, 0, 9), await s.store.history(row, 0)]

    before = await everything()
    await s.store.close()
    s.store = await s.harness.open()
    equal(await everything(), before, "everything")
    equal((await s.do(Post("session:s", new_item(key="k")), Posted)).new, False, "a replayed key")
    equal(await taken(s, fence), [2], "the same take")
    await s.do(committing(fence, 2, 1, messages("b")), Committed)
    equal(bodies(await path(s)), [{"text": "a"}, {"text": "b"}], "path")


@case
async def what_another_store_accepts_is_taken_here(s: Stage) -> None:
    """A store that remembers the row it leases must not remember it for longer than it is true."""
    other = await s.harness.open()
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    for number in (2, 3, 4):
        accepted = expect((await other.write([Post("session:s", steering())]))[0], Posted)
        equal((accepted.item.number, accepted.new), (number, True), "accepted there")
        equal(await taken(s, fence, 0, 1, number), [number], "taken here")
    expect((await other.write([CancelTurn("session:s", None, "stop", b"{}")]))[0], Done)
    equal(await s.store.news("w2"), [fence], "news")
    recorded = await s.do(taking(fence, 0, 1, 9), Recorded)
    equal([entry.kind.value for entry in recorded.entries[-2:]], ["cancel", "command"], "told")


@case
async def of_two_commits_through_two_stores_one_is_new(s: Stage) -> None:
    """The other is told of it; and one from another head, or by another turn, writes nothing."""
    other = await s.harness.open()
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    op = committing(fence, 1, 0, messages("a"))
    verdicts = await asyncio.gather(s.store.write([op]), other.write([op]))
    found = [expect(verdict[0], Committed) for verdict in verdicts]
    equal(sorted(verdict.new for verdict in found), [False, True], "new")
    equal(found[0].record, found[1].record, "one record")
    equal(len(await path(s)), 1, "nodes")
    await posted(s)
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    expect((await other.write([committing(fence, 2, 0, messages("b"))]))[0], HeadMoved)
    expect((await other.write([committing(fence, 2, 1, messages("b"))]))[0], Committed)
    equal(await s.do(committing(fence, 3, 2), Stale), Stale(fence.token + 1), "the first store's next turn")


@case
async def many_senders_and_one_session(s: Stage) -> None:
    """Every item is accepted once, under a number of its own, while turns take and commit them."""
    other = await s.harness.open()
    row = await opened(s)

    async def send(store: Store, number: int) -> tuple[int, bool]:
        item = new_item(b'{"n":%d}' % number, delivery="earliest_boundary", key=f"k{number}")
        verdict = expect((await store.write([Post("session:s", item)]))[0], Posted)
        return verdict.item.number, verdict.new

    async def work() -> int:
        consumed = 0
        while consumed < 20:
            for claimed in (await s.claim()).rows:
                items = await taken(s, claimed.lease.fence)
                await s.do(committing(claimed.lease.fence, items[0], (await session(s)).head, messages("a")), Committed)
                consumed += len(items)
        return consumed

    sends = [send(store, number) for number in range(20) for store in (s.store, other)]
    *sent, consumed = await asyncio.wait_for(asyncio.gather(*sends, work()), NOTICE_S)
    accepted = [answer for answer in sent if isinstance(answer, tuple) and answer[1]]
    equal(sorted(number for number, _ in accepted), list(range(1, 21)), "numbers")
    equal((consumed, await states_of(s)), (20, ["done"] * 20), "consumed")
    turns = await s.store.turns(row, 0, 99)
    there = await session(s)
    equal((len(turns), there.head), (there.turns, there.turns), "one node of each turn")


@case
async def a_start_and_the_end_of_its_session_meet(s: Stage) -> None:
    """Either it is not started any more, or it is asked to cancel with everything the session owns."""
    other = await s.harness.open()
    for number in range(ROUNDS):
        name, process_id = f"s{number}", f"p{number}"
        await opened(s, name)
        ending: SessionOp | Cancel = Delete(f"session:{name}") if number % 2 else Cancel(f"session:{name}", "enough")
        start = Start(s.spec(process_id, parent=f"session:{name}"), "w1" if number % 3 else None, TTL_MS)
        one, two = (other, s.store) if number % 4 < 2 else (s.store, other)
        (started,), _ = await asyncio.gather(one.write([start]), two.write([ending]))
        (row,) = await s.store.get([process_id])
        if isinstance(row, ProcessRow):
            equal(row.record.cancel_requested is not None, True, f"{process_id} was asked to cancel")
        else:
            equal(isinstance(started, (Unknown, Ended)), True, f"{process_id} was refused")


@case
async def an_item_and_a_commit_meet(s: Stage) -> None:
    """Who accepts an item for a leased session leaves it to the commit, which sees it: no item is left lying."""
    other = await s.harness.open()
    await opened(s)
    fence = await leased(s)
    for number in range(1, ROUNDS):
        equal(await taken(s, fence), [number], "items")
        sent, _ = await asyncio.gather(
            other.write([Post("session:s", new_item())]),
            s.store.write([committing(fence, number)]),
        )
        equal(expect(sent[0], Posted).item.number, number + 1, "accepted")
        equal((await s.row("session:s")).due_ms, s.clock.now_ms, f"due after turn {number}")
        fence = (await s.claim_one("session:s")).lease.fence


@case
async def a_withdrawal_and_a_take_agree(s: Stage) -> None:
    """Whichever comes first: an item that was withdrawn is in no turn, and of one that was taken the turn is told."""
    other = await s.harness.open()
    row = await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    for number in range(2, ROUNDS):
        await posted(s, item=steering())
        answers, takes = await asyncio.gather(
            other.write([CancelTurn("session:s", number, "stop", b"{}")]),
            s.store.write([taking(fence, 0, 1, number)]),
        )
        entries = expect(takes[0], Recorded).entries
        mine = next(entry for entry in entries if entry.kind is EntryKind.COMMAND and entry.ordinal == number)
        withdrawn = isinstance(answers[0], Withdrawn)
        equal(numbers_of(mine), [] if withdrawn else [number], f"items of take {number}, {answers[0]!r}")
        item = (await s.store.items(row, [number]))[0]
        equal(item.state, "cancelled" if withdrawn else "taken", f"item {number}")


@case
async def a_wait_opened_elsewhere_is_answered_by_the_commit(s: Stage) -> None:
    """Who opens a wait on a turn and who commits that turn meet, whichever comes first."""
    other = await s.harness.open()
    await opened(s)
    for number in range(1, ROUNDS):
        fence = await leased(s)
        await taken(s, fence)
        waiter = await s.leased(f"waiter{number}")
        await asyncio.gather(
            other.write([Put(waiter, 0, [wait(0, f"turn:session:s/{number}")])]),
            s.store.write([committing(fence, number)]),
        )
        kinds = [entry.kind.value for entry in await s.store.history(waiter.row, 0)]
        equal(kinds, ["wait", "reply"], f"wait {number}")


@case
async def listeners_hear_of_items_and_commits(s: Stage) -> None:
    """An item for a session at rest, a streamed piece, a commit: whichever store committed it."""
    other = await s.harness.open()
    heard = asyncio.Event()
    other.listen(heard.set)

    async def told(what: str) -> None:
        try:
            await asyncio.wait_for(heard.wait(), NOTICE_S)
        except TimeoutError:
            raise AssertionError(f"no notice of {what} within {NOTICE_S} s") from None
        heard.clear()

    await opened(s)
    await posted(s)
    await told("an item")
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    await s.do(Stream(fence, 1, b"{}"), Done)
    await told("a piece")
    await s.do(committing(fence, 1), Committed)
    await told("a commit")
