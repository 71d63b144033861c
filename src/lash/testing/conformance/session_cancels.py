"""Cancelling a turn is addressed and has three answers; cancelling a session ends it at its next rest (spec 25.2)."""

from __future__ import annotations

from lash.abc.sessions import CancelTurn, Committed, Late, Withdrawn
from lash.abc.store import Appended, Cancel, Count, Done, Ended, Park, Release, Start, Started, Sweep, Unknown
from lash.core.effect import EntryKind
from lash.core.outcome import Cancelled, Status
from lash.core.process import Waiting
from lash.core.session import TurnRecord
from lash.testing.conformance.session_stage import (
    committing,
    leased,
    messages,
    new_item,
    opened,
    posted,
    receipt,
    session,
    states_of,
    steering,
    taken,
    turn,
)
from lash.testing.conformance.stage import Stage, case, equal, said, wait

NEVER = b'{"cancelled":"never mind"}'


def withdrawing(item: int | None, reason: str = "never mind") -> CancelTurn:
    return CancelTurn("session:s", item, reason, NEVER)


@case
async def a_pending_item_is_withdrawn(s: Stage) -> None:
    """It ends as cancelled and has a record like a turn's; who waits for it gets the receipt; the session rests."""
    row = await opened(s)
    await turn(s, "s", *messages("a"))
    await posted(s, item=new_item(key="k"))
    waiter = await s.leased("waiter")
    await s.put(waiter, 0, wait(0, "turn:session:s/2"))
    s.clock.advance(4)
    withdrawn = await s.do(withdrawing(2), Withdrawn)
    equal(withdrawn.record, TurnRecord(2, "", 2, 1, NEVER, s.clock.now_ms), "record")
    item = (await s.store.items(row, [2]))[0]
    equal((item.state, item.turn, item.payload, item.key), ("cancelled", 2, b"", "k"), "item")
    equal((await s.store.turns(row, 1, 9), (await session(s)).turns), ([withdrawn.record], 1), "turns")
    equal(said(await s.store.history(waiter.row, 0))[1:], [("reply", 0, NEVER)], "the waiter")
    late = await s.put(waiter, 0, wait(1, "turn:session:s/2"))
    equal(said(late)[-1], ("reply", 1, NEVER), "a later wait")
    equal((await s.row("session:s")).due_ms, None, "at rest")
    equal(await s.do(withdrawing(2, "again"), Late), Late(withdrawn.record), "once more")
    equal((await turn(s, "s", *messages("b"))).record.number, 3, "the next turn")


@case
async def a_session_with_other_items_stays_ready(s: Stage) -> None:
    """It rests with the last one withdrawn, before or after its first turn; a leased one keeps its lease."""
    await opened(s)
    for item in (new_item(), steering()):
        await posted(s, item=item)
    await s.do(withdrawing(1), Withdrawn)
    equal((await s.row("session:s")).due_ms, s.clock.now_ms, "ready for the other")
    await s.do(withdrawing(2), Withdrawn)
    equal((await s.row("session:s")).due_ms, None, "at rest")
    fence = await leased(s)
    await s.do(withdrawing(3), Withdrawn)
    there = await s.row("session:s")
    equal((there.owner, there.token), ("w2", fence.token), "lease")
    equal(await states_of(s), ["cancelled"] * 3, "items")


@case
async def a_turn_at_work_is_told_once(s: Stage) -> None:
    """By its item, any of its items, or as the one at work: one entry, the first reason; it ends with its commit."""
    row = await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    await posted(s, item=steering())
    await taken(s, fence, 0, 1, 1)
    await s.do(withdrawing(2, "stop"), Done)
    equal(await s.store.news("w2"), [fence], "news")
    await s.do(withdrawing(1, "again"), Done)
    await s.do(withdrawing(None, "now"), Done)
    entries = said([entry for entry in await s.store.history(row, 0) if entry.kind.value == "cancel"])
    equal(entries, [("cancel", 0, b'{"reason":"stop"}')], "journal")
    equal(await states_of(s), ["taken", "taken"], "items")
    committed = await s.do(committing(fence, 1), Committed)
    for item in (1, 2):
        equal(await s.do(withdrawing(item), Late), Late(committed.record), f"item {item} after the commit")
    equal((await s.row("session:s")).record.cancel_requested, None, "the session itself was not asked")
    fence = await leased(s)
    await taken(s, fence)
    await s.do(withdrawing(3, "stop"), Done)
    equal(await s.store.news("w2"), [fence], "the next turn is told on its own")


@case
async def a_parked_turn_is_woken_by_its_cancel(s: Stage) -> None:
    """It becomes claimable, and finds the entry."""
    row = await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    await s.put(fence, 0, wait(1, "signal:go"))
    await s.do(Park(fence, 99, Waiting("signal", "signal:go", None)), Done)
    await s.do(withdrawing(None, "stop"), Done)
    equal((await s.claim_one("session:s")).fresh, False, "claimed")
    equal(said(await s.store.history(row, 0))[-1], ("cancel", 0, b'{"reason":"stop"}'), "journal")


@case
async def what_is_not_there_cannot_be_cancelled(s: Stage) -> None:
    """No turn at work, no such item, no such session."""
    await opened(s)
    equal(await s.do(withdrawing(None), Late), Late(None), "nothing at work")
    for item in (0, 1, -1):
        equal(await s.do(withdrawing(item), Late), Late(None), f"item {item}")
    await posted(s)
    equal(await s.do(withdrawing(None), Late), Late(None), "pending is not at work")
    await s.start("session:plain")
    for process_id in ("session:nobody", "session:plain"):
        op = CancelTurn(process_id, 1, "stop", NEVER)
        equal(await s.do(op, Unknown), Unknown(False), process_id)


@case
async def a_session_at_rest_is_cancelled_at_once(s: Stage) -> None:
    """Before its first turn and after it: nobody has to be told."""
    for name in ("fresh", "used"):
        await opened(s, name)
    await turn(s, "used", *messages("a"))
    for name in ("fresh", "used"):
        await s.do(Cancel(f"session:{name}", "enough"), Appended)
        there = await s.row(f"session:{name}")
        equal((there.record.status, there.record.outcome), (Status.CANCELLED, Cancelled("enough")), name)
    equal((await s.types("session:used"))[-2:], ["process.cancel_requested", "process.cancelled"], "events")
    equal((await session(s, "used")).head, 1, "its nodes are kept")
    op = CancelTurn("session:used", 1, "stop", NEVER)
    equal((await s.do(op, Late)).record, (await s.store.turns((await session(s, "used")).process.row, 0, 1))[0], "late")
    op = CancelTurn("session:used", None, "stop", NEVER)
    equal(await s.do(op, Ended), Ended(Cancelled("enough")), "nothing at work any more")


@case
async def a_session_asked_to_end_ends_when_nothing_is_left_to_do(s: Stage) -> None:
    """It was at work or ready when it was asked; its last item is withdrawn, or its worker finds none."""
    await opened(s)
    await turn(s, "s", *messages("a"))
    await posted(s)
    await s.do(Cancel("session:s", "enough"), Appended)
    equal((await s.row("session:s")).record.status, Status.RUNNING, "an item is pending")
    await s.do(withdrawing(2), Withdrawn)
    equal((await s.row("session:s")).record.outcome, Cancelled("enough"), "ended")
    await opened(s, "t")
    fence = await leased(s, "t")
    await s.do(Cancel("session:t", "enough"), Appended)
    await s.do(CancelTurn("session:t", 1, "never mind", NEVER), Withdrawn)
    await s.do(Release(fence), Done)
    equal((await s.row("session:t")).record.outcome, Cancelled("enough"), "ended by the release")


@case
async def a_session_at_work_is_told_and_ends_with_its_commit(s: Stage) -> None:
    """What the turn did is committed; what it started is asked too; what is still pending is answered: never."""
    row = await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    waiter = await s.leased("waiter")
    await s.put(waiter, 0, wait(0, "turn:session:s/1"), wait(1, "turn:session:s/2"), wait(2, "process:session:s"))
    await posted(s)
    await s.put(waiter, 0, wait(3, "turn:session:s/2"))
    await s.do(Cancel("session:s", "enough"), Appended)
    equal(await s.store.news("w2"), [fence], "told")
    await s.do(Start(s.spec("child", parent="session:s")), Started)
    await s.do(committing(fence, 1, 0, messages("a")), Committed)
    there = await session(s)
    equal((there.head, there.process.record.outcome), (1, Cancelled("enough")), "head and outcome")
    equal((there.process.owner, there.process.due_ms), (None, None), "lease")
    entries = await s.store.history(waiter.row, 0)
    replies = {entry.ordinal: entry.payload for entry in entries if entry.kind is EntryKind.REPLY}
    equal(replies, {0: receipt(1), 1: b"null", 2: b'["cancelled",{"message":"enough"}]', 3: b"null"}, "replies")
    equal((await s.row("child")).record.status, Status.CANCELLED, "a child it started after it was asked")
    equal(await states_of(s), ["done", "pending"], "items")
    equal(await s.do(withdrawing(2), Ended), Ended(Cancelled("enough")), "the pending item")
    late = await s.put(waiter, 0, wait(4, "turn:session:s/2"))
    equal(said(late)[-1], ("reply", 4, b"null"), "a wait opened after the end")
    equal(await s.store.history(row, 0), [], "journal")
    types = ["process.started", "process.cancel_requested", "process.committed", "process.cancelled"]
    equal(await s.types("session:s"), types, "events")


@case
async def a_session_that_was_asked_and_is_not_run_is_swept(s: Stage) -> None:
    """As any process: whoever waits for its items is told."""
    await opened(s)
    await turn(s, "s")
    await posted(s)
    waiter = await s.leased("waiter")
    await s.put(waiter, 0, wait(0, "turn:session:s/2"))
    await s.do(Cancel("session:s", "enough"), Appended)
    equal((await s.row("session:s")).record.status, Status.RUNNING, "it has an item and is to be told")
    s.clock.advance(100)
    equal(await s.do(Sweep(50), Count), Count(["session:s"]), "swept")
    equal(said(await s.store.history(waiter.row, 0))[1:], [("reply", 0, b"null")], "the waiter")
