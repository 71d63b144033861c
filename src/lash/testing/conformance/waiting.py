"""Waits, mail and replies: nothing is lost between looking and parking, nothing is delivered twice."""

from __future__ import annotations

from lash.abc.store import Cancel, Done, Finish, Park, Prune, Recorded, Release, Signal, Start
from lash.core.effect import EntryKind
from lash.core.outcome import Cancelled, Completed
from lash.core.process import Waiting
from lash.testing.conformance.stage import Stage, case, close, equal, said, step, wait


@case
async def mail_is_taken_in_the_order_it_was_sent(s: Stage) -> None:
    """A wait gets the oldest signal of its name at once, and no other name's."""
    fence = await s.leased("p")
    await s.write(Signal("p", "a", b"1", None), Signal("p", "b", b"2", None), Signal("p", "a", b"3", None))
    replies = [
        (entry.ordinal, entry.payload, entry.attempt)
        for entry in await s.put(fence, 0, wait(0, "signal:a"), wait(1, "signal:a"), wait(2, "signal:a"))
        if entry.kind is EntryKind.REPLY
    ]
    equal(replies, [(0, b"1", 2), (1, b"3", 4)], "replies: wait, payload, sequence of the signal")
    await s.do(Signal("p", "a", b"5", None), object)
    last = (await s.store.history(fence.row, 0))[-1]
    equal((last.kind, last.ordinal, last.payload), (EntryKind.REPLY, 2, b"5"), "the third wait")


@case
async def a_signal_answers_the_oldest_wait_of_its_name(s: Stage) -> None:
    """One signal, one wait; the leased row hears of it."""
    fence = await s.leased("p")
    seen = (await s.put(fence, 0, wait(0, "signal:x"), wait(1, "signal:go"), wait(2, "signal:go")))[-1].rank
    await s.do(Signal("p", "go", b"1", None), object)
    equal(await s.store.news("w1"), [fence], "news")
    equal(said(await s.put(fence, seen)), [("reply", 1, b"1")], "delivered")
    await s.do(Signal("p", "go", b"2", None), object)
    equal(said(await s.put(fence, seen))[1:], [("reply", 2, b"2")], "delivered next")


@case
async def a_reply_wakes_a_parked_row(s: Stage) -> None:
    """Claimable in the same transaction that stored it; it resumes."""
    fence = await s.leased("p")
    seen = (await s.put(fence, 0, wait(0, "signal:go")))[-1].rank
    await s.do(Park(fence, seen, Waiting("signal", "signal:go", s.clock.now_ms + 90_000)), Done)
    s.clock.advance(10)
    await s.do(Signal("p", "go", b"1", None), object)
    equal(await s.due_ms(), s.clock.now_ms, "next due")
    claimed = await s.claim_one("p")
    equal(said(await s.store.history(fence.row, seen)), [("reply", 0, b"1")], "journal after the park")
    equal(claimed.row.record.waiting, None, "waiting")


@case
async def mail_does_not_wake_a_parked_row(s: Stage) -> None:
    """Nobody waits for it yet."""
    fence = await s.leased("p")
    await s.do(Park(fence, 0, Waiting("signal", "signal:go", None)), Done)
    await s.do(Signal("p", "other", b"1", None), object)
    equal((await s.claim()).rows, [], "claimed")


@case
async def a_park_is_refused_when_something_came(s: Stage) -> None:
    """A reply between look and park is not lost: the row stays leased and the entries are given."""
    fence = await s.leased("p")
    seen = (await s.put(fence, 0, wait(0, "signal:go")))[-1].rank
    await s.do(Signal("p", "go", b"1", None), object)
    refused = await s.do(Park(fence, seen, Waiting("signal", "signal:go", None)), Recorded)
    equal(said(refused.entries), [("reply", 0, b"1")], "what came")
    equal([(await s.row("p")).owner, len(await s.store.news("w1"))], ["w1", 0], "owner and news")
    rank = refused.entries[-1].rank
    await s.do(Signal("p", "mail", b"2", None), object)
    await s.do(Park(fence, rank, Waiting("signal", "signal:x", None)), Done)


@case
async def a_closed_wait_takes_no_signal(s: Stage) -> None:
    """It becomes mail instead."""
    fence = await s.leased("p")
    await s.put(fence, 0, wait(0, "signal:go"), close(0, "signal:go"))
    await s.do(Signal("p", "go", b"1", None), object)
    equal([entry.kind.value for entry in await s.store.history(fence.row, 0)], ["wait", "close", "mail"], "journal")


@case
async def a_signal_consumed_by_a_closed_wait_goes_back_once(s: Stage) -> None:
    """Under its old place in the order; a second close does nothing."""
    fence = await s.leased("p")
    await s.put(fence, 0, wait(0, "signal:go"))
    await s.write(Signal("p", "go", b"1", None), Signal("p", "go", b"2", None))
    seen = (await s.store.history(fence.row, 0))[-1].rank
    given = await s.put(fence, seen, close(0, "signal:go"))
    equal(said(given), [("close", 0, b""), ("mail", 2, b"1")], "given back")
    given = await s.put(fence, given[-1].rank, close(0, "signal:go"))
    equal(said(given), [("close", 0, b"")], "second close")
    given = await s.put(fence, given[-1].rank, wait(1, "signal:go"), wait(2, "signal:go"), wait(3, "signal:go"))
    replies = [(entry.ordinal, entry.payload) for entry in given if entry.kind is EntryKind.REPLY]
    equal(replies, [(1, b"1"), (2, b"2")], "order is kept")


@case
async def a_signal_given_back_is_offered_to_the_next_wait(s: Stage) -> None:
    """Somebody else of the same body was waiting all along."""
    fence = await s.leased("p")
    await s.put(fence, 0, wait(0, "signal:go"), wait(1, "signal:go"))
    await s.do(Signal("p", "go", b"1", None), object)
    seen = (await s.store.history(fence.row, 0))[-1].rank
    given = await s.put(fence, seen, close(0, "signal:go"))
    equal(said(given), [("close", 0, b""), ("mail", 2, b"1"), ("reply", 1, b"1")], "given on")
    equal(given[-1].attempt, 2, "the sequence of the signal")
    given = await s.put(fence, given[-1].rank, close(1, "signal:go"), wait(2, "signal:go"))
    equal(said(given)[-1], ("reply", 2, b"1"), "and on")


@case
async def awaiting_a_process_gives_exactly_its_outcome(s: Stage) -> None:
    """To every wait on it, in the transaction that ended it; a parked parent becomes due (16.1-11)."""
    child = await s.leased("child")
    parked, leased = await s.leased("parked"), await s.leased("leased")
    seen = (await s.put(parked, 0, wait(0, "process:child")))[-1].rank
    await s.put(leased, 0, wait(0, "process:child"), wait(1, "process:child"))
    await s.do(Park(parked, seen, Waiting("process", "process:child", None)), Done)
    await s.do(Finish(child, Completed(b'{"n":[1,2]}')), Done)
    reply = b'["completed",{"value":{"n":[1,2]}}]'
    equal(said(await s.store.history(parked.row, seen)), [("reply", 0, reply)], "the parked one's reply")
    equal(said(await s.store.history(leased.row, 0))[2:], [("reply", 0, reply), ("reply", 1, reply)], "both replies")
    equal([entry.attempt for entry in await s.store.history(leased.row, 0)][2:], [0, 0], "no signal was consumed")
    equal(await s.store.news("w1"), [leased], "news")
    await s.claim_one("parked")


@case
async def awaiting_what_has_ended_replies_at_once(s: Stage) -> None:
    """Also what is unknown, or ended long ago and was pruned."""
    await s.write(Start(s.spec("ended")), Cancel("ended", "why"))
    fence = await s.leased("p")
    entries = await s.put(fence, 0, wait(0, "process:ended"), wait(1, "process:nobody"), wait(2, "process:p"))
    cancelled = ("reply", 0, b'["cancelled",{"message":"why"}]')
    unknown = ("reply", 1, b'["unknown",null]')
    waits = [("wait", number, b"") for number in range(3)]
    equal(said(entries), [waits[0], cancelled, waits[1], unknown, waits[2]], "entries")
    s.clock.advance(10)
    await s.do(Prune(s.clock.now_ms, 10), object)
    entries = await s.put(fence, entries[-1].rank, wait(3, "process:ended"))
    equal(said(entries)[1:], [("reply", 3, b'["pruned",null]')], "entries")


@case
async def a_start_and_a_wait_in_one_list_see_each_other(s: Stage) -> None:
    """The effect of a list is that of its operations one after another."""
    fence = await s.leased("p")
    entries = await s.write(Start(s.spec("child"), "w1", 1_000), Cancel("nobody", "x"))
    equal(len(entries), 2, "verdicts")
    seen = (await s.put(fence, 0, wait(0, "process:child")))[-1].rank
    equal([entry.kind.value for entry in await s.store.history(fence.row, 0)], ["wait"], "journal")
    equal((await s.store.history(fence.row, seen)), [], "no reply yet")


@case
async def a_waiter_that_ended_is_not_written_to(s: Stage) -> None:
    """Its open waits end with it."""
    child, parent = await s.leased("child"), await s.leased("parent")
    await s.put(parent, 0, wait(0, "process:child"))
    await s.do(Finish(parent, Cancelled("enough")), Done)
    await s.do(Finish(child, Completed(b"1")), Done)
    equal([entry.kind.value for entry in await s.store.history(parent.row, 0)], ["wait"], "journal of the ended")
    equal(len(await s.types("parent")), 2, "events of the ended")


@case
async def a_reply_to_a_row_in_trouble_keeps_its_pause(s: Stage) -> None:
    """Only a parked row is woken; one that was released for a while stays away as long."""
    fence = await s.leased("p")
    await s.put(fence, 0, wait(0, "signal:go"), step(1))
    await s.do(Release(fence, 5_000), Done)
    await s.do(Signal("p", "go", b"1", None), object)
    equal((await s.row("p")).due_ms, s.clock.now_ms + 5_000, "due")
    equal((await s.store.history(fence.row, 0))[-1].kind, EntryKind.REPLY, "the reply is there")
