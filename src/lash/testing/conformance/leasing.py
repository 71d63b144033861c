"""One owner at a time, and the token decides (spec 16.1-18 to 22; W-02, W-41)."""

from __future__ import annotations

from lash.abc.store import (
    Append,
    Claim,
    Claims,
    Continue,
    Count,
    Done,
    Expire,
    Finish,
    Forget,
    Look,
    Park,
    Progress,
    Put,
    Release,
    Renew,
    Renewed,
    Retry,
    Stale,
)
from lash.core.lease import Fence
from lash.core.outcome import Abandoned, Completed, Failed, Status
from lash.core.process import Blocked, Lane, Waiting, lane_of
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal, expect, step


@case
async def only_listed_lanes_are_claimed(s: Stage) -> None:
    """Profile, kind, name and version must all be the listed ones; an empty profile is a lane like any other."""
    await s.start("a")
    await s.start("b", host_profile="")
    await s.start("c", version="2")
    await s.start("d", name="other")
    for wanted, ids in ((Lane("", "python", "job", "1"), ["b"]), (Lane("default", "python", "job", "2"), ["c"])):
        claims = await s.do(Claim("w1", [wanted, wanted], 10, TTL_MS), Claims)
        equal([claimed.row.record.id for claimed in claims.rows], ids, f"claimed from {wanted}")
    rest = await s.claim()
    equal(sorted(claimed.row.record.id for claimed in rest.rows), ["a", "d"], "the rest")


@case
async def larger_priority_goes_first_then_earlier_due_time(s: Stage) -> None:
    """Also among timers that have come due, and never more than the limit."""
    await s.start("late", delay_ms=300)
    await s.start("early", delay_ms=100)
    await s.start("urgent", delay_ms=300, priority=5)
    await s.start("idle", priority=-1)
    s.clock.advance(300)
    await s.start("now")
    order: list[str] = []
    for limit in (2, 1, 9):
        claims = await s.claim(limit=limit)
        equal(len(claims.rows) <= limit, True, "rows within the limit")
        order += [claimed.row.record.id for claimed in claims.rows]
    equal(order, ["urgent", "early", "late", "now", "idle"], "order of claims")


@case
async def a_live_lease_keeps_others_out(s: Stage) -> None:
    """Until it runs out nobody else gets the row, not even its owner a second time."""
    await s.leased("p")
    s.clock.advance(TTL_MS - 1)
    equal((await s.claim("w2")).rows, [], "claimed by another")
    equal((await s.claim("w1")).rows, [], "claimed by the owner")
    equal(await s.due_ms(), s.clock.now_ms + 1, "next due is the end of the lease")


@case
async def a_lost_lease_is_taken_over_and_its_holder_can_write_nothing(s: Stage) -> None:
    """The newer token refuses every fenced operation of the zombie, and nothing of it is stored (W-02)."""
    old = await s.leased("p")
    await s.put(old, 0, step(0))
    s.clock.advance(TTL_MS)
    new = await s.claim_one("p", "w2")
    equal((new.fresh, new.row.record.attempts), (False, 2), "second attempt")
    equal(new.lease.token > old.token, True, "token grows")
    before = (await s.row("p"), await s.store.events("p", 0, 99), await s.store.history(old.row, 0))
    verdicts = await s.write(
        Put(old, 1, [step(1)]),
        Look(old, 0),
        Park(old, 9, Waiting("signal", "signal:x", None)),
        Release(old, 0, Blocked("x", "y", "z")),
        Progress(old),
        Finish(old, Completed(b"1")),
        Append(old, "made", b"{}", None),
        Append(old, "made", b"{}", "k"),
        Continue(old, b"[[],{}]"),
        Forget(old),
    )
    equal(set(verdicts), {Stale(new.lease.token)}, "verdicts for the zombie")
    after = (await s.row("p"), await s.store.events("p", 0, 99), await s.store.history(old.row, 0))
    equal(after, before, "row, events and journal")
    equal(await s.types("p"), ["process.started", "process.started"], "events")


@case
async def a_stale_write_spoils_no_other_in_its_batch(s: Stage) -> None:
    """The refused one writes nothing, its neighbours are stored."""
    a, b = await s.leased("a"), await s.leased("b")
    stale = Fence(a.row, a.token + 5)
    verdicts = await s.write(Put(a, 0, [step(0)]), Put(stale, 0, [step(1)]), Put(b, 0, [step(0)]), Put(a, 1, [step(2)]))
    equal([type(verdict).__name__ for verdict in verdicts], ["Recorded", "Stale", "Recorded", "Recorded"], "verdicts")
    equal([entry.ordinal for entry in await s.store.history(a.row, 0)], [0, 2], "journal of a")


@case
async def a_lease_that_ran_out_is_good_until_somebody_takes_it(s: Stage) -> None:
    """The clock only says when others may try."""
    fence = await s.leased("p")
    s.clock.advance(TTL_MS * 3)
    await s.put(fence, 0, step(0))
    await s.do(Finish(fence, Completed(b"1")), Done)
    equal((await s.row("p")).record.attempts, 1, "attempts")


@case
async def a_renewed_lease_outlives_its_first_end(s: Stage) -> None:
    """One renewal extends every lease of the owner, and of no other."""
    mine, other = await s.leased("a"), await s.leased("b", "w2")
    s.clock.advance(TTL_MS - 1)
    equal(await s.do(Renew("w1", TTL_MS), Renewed), Renewed([mine]), "renewed")
    s.clock.advance(1)
    equal([claimed.row.row for claimed in (await s.claim("w3")).rows], [other.row], "taken by a third")
    s.clock.advance(TTL_MS - 2)
    equal((await s.claim("w3")).rows, [], "still held")
    await s.put(mine, 0, step(0))


@case
async def a_superseded_lease_is_not_renewed(s: Stage) -> None:
    """What was taken over is no longer among the fences the owner holds."""
    kept = await s.leased("a")
    lost = await s.leased("b")
    await s.do(Renew("w1", TTL_MS), Renewed)
    await s.do(Expire("w1"), Count)
    taken = await s.claim("w2", limit=1)
    equal([claimed.row.row for claimed in taken.rows], [kept.row], "taken over")
    equal(await s.do(Renew("w1", TTL_MS), Renewed), Renewed([lost]), "what w1 still holds")
    equal((await s.claim("w3")).rows, [], "nothing left")


@case
async def a_release_frees_the_row_and_counts_nothing(s: Stage) -> None:
    """A clean hand-over, even after the lease ran out, is no attempt and no fault; the next token is larger."""
    fence = await s.leased("p")
    s.clock.advance(TTL_MS + 1)
    await s.do(Release(fence), Done)
    claimed = await s.claim_one("p", "w2")
    equal((claimed.row.record.attempts, claimed.row.faults, claimed.fresh), (1, 0, False), "attempts, faults, fresh")
    equal(claimed.lease.token > fence.token, True, "token grows")
    equal(await s.types("p"), ["process.started"], "events")
    await s.do(Release(claimed.lease.fence, 250), Done)
    equal((await s.row("p")).due_ms, s.clock.now_ms + 250, "due after the pause")


@case
async def who_gave_the_lease_back_can_write_nothing(s: Stage) -> None:
    """Released or parked, and not yet claimed by anybody: the former holder is refused all the same."""
    a, b = await s.leased("a"), await s.leased("b")
    await s.write(Release(a, 60_000), Park(b, 0, Waiting("signal", "signal:x", None)))
    for fence in (a, b):
        for verdict in await s.write(Put(fence, 0, [step(0)]), Finish(fence, Completed(b"1")), Release(fence)):
            expect(verdict, Stale)
    equal((await s.row("a")).record.status, Status.RUNNING, "status")


@case
async def a_stale_completion_leaves_the_live_lease_alone(s: Stage) -> None:
    """The live owner still renews and completes (16.1-22)."""
    old = await s.leased("p")
    s.clock.advance(TTL_MS)
    new = (await s.claim_one("p", "w2")).lease
    equal(await s.do(Finish(old, Completed(b"1")), Stale), Stale(new.token), "the zombie's outcome")
    equal(await s.do(Renew("w2", TTL_MS), Renewed), Renewed([new.fence]), "renewed")
    await s.do(Finish(new.fence, Completed(b"2")), Done)
    equal((await s.row("p")).record.outcome, Completed(b"2"), "outcome")


@case
async def once_is_never_run_again(s: Stage) -> None:
    """Recovery of a started ``once`` process writes ``abandoned`` with evidence."""
    await s.leased("p", recovery="once")
    s.clock.advance(TTL_MS)
    claims = await s.claim()
    equal([len(claims.rows), claims.closed, len(claims.postponed)], [0, ["p"], 0], "claims")
    record = (await s.row("p")).record
    equal(record.outcome, Abandoned({"writer": "sweep", "owner": "w1", "attempt": 1}), "outcome")


@case
async def once_may_be_handed_over_cleanly(s: Stage) -> None:
    """A release is no lost worker, so the contract is not broken."""
    fence = await s.leased("p", recovery="once")
    await s.do(Release(fence), Done)
    equal((await s.claim_one("p")).row.record.attempts, 1, "attempts")


@case
async def lost_workers_are_counted_paused_and_bounded(s: Stage) -> None:
    """The first two take-overs are immediate, then pauses double from 500 ms; the bound fails the process (W-41)."""
    await s.leased("p", attempts_max=4)
    for attempt in (2, 3):
        s.clock.advance(TTL_MS)
        equal((await s.claim_one("p")).row.record.attempts, attempt, "attempts")
    s.clock.advance(TTL_MS)
    claims = await s.claim()
    equal([len(claims.rows), claims.postponed], [0, ["p"]], "third loss is postponed")
    row = await s.row("p")
    equal((row.owner, row.due_ms, await s.due_ms()), (None, s.clock.now_ms + 500, s.clock.now_ms + 500), "back-off")
    s.clock.advance(500)
    equal((await s.claim_one("p")).row.record.attempts, 4, "attempts")
    s.clock.advance(TTL_MS)
    equal((await s.claim()).closed, ["p"], "closed")
    outcome = expect((await s.row("p")).record.outcome, Failed)
    equal(outcome.failure.code, "attempts_exhausted", "code")


@case
async def an_operator_may_cut_a_back_off_short(s: Stage) -> None:
    """``Retry`` makes the row claimable now; the lost worker is still counted."""
    await s.leased("p")
    for _ in range(2):
        s.clock.advance(TTL_MS)
        await s.claim_one("p")
    s.clock.advance(TTL_MS)
    equal((await s.claim()).postponed, ["p"], "postponed")
    await s.do(Retry("p"), Done)
    equal((await s.claim_one("p")).row.record.attempts, 4, "attempts")


@case
async def leases_of_a_dead_owner_run_out_at_once(s: Stage) -> None:
    """``Expire`` names them; the ttl need not be waited for. It is no verdict on the token."""
    fence = await s.leased("a")
    await s.leased("b", "w2")
    equal(await s.do(Expire("w1"), Count), Count(["a"]), "expired")
    equal(await s.do(Expire("w1"), Count), Count([]), "expired again")
    await s.put(fence, 0, step(0))
    claimed = await s.claim_one("a", "w3")
    equal(claimed.row.record.attempts, 2, "attempts")


@case
async def a_parked_row_is_met_by_nobody(s: Stage) -> None:
    """No claim and no due time while it waits for a reply; with a timer it is due then, and resumes."""
    a, b = await s.leased("a"), await s.leased("b")
    until_ms = s.clock.now_ms + 700
    await s.do(Park(a, 0, Waiting("signal", "signal:x", None)), Done)
    equal(((await s.row("a")).due_ms, (await s.row("a")).owner), (None, None), "due and owner")
    await s.do(Park(b, 0, Waiting("sleep", None, until_ms)), Done)
    equal((await s.row("b")).record.waiting, Waiting("sleep", None, until_ms), "waiting")
    equal(await s.due_ms(), until_ms, "next due")
    s.clock.advance(700)
    claimed = await s.claim_one("b")
    equal((claimed.row.record.waiting, claimed.row.record.attempts), (None, 1), "waiting and attempts")
    equal(await s.types("b"), ["process.started", "process.waiting", "process.resumed"], "events")
    s.clock.advance(10_000_000)
    await s.do(Release(claimed.lease.fence, 99), Done)
    equal((await s.claim()).rows, [], "the one without a timer")


@case
async def a_park_until_the_past_is_due_at_once(s: Stage) -> None:
    """The timer had already fired when the row was written."""
    fence = await s.leased("p")
    await s.do(Park(fence, 0, Waiting("sleep", None, s.clock.now_ms - 5)), Done)
    await s.claim_one("p")


@case
async def many_parked_rows_are_not_scanned_for(s: Stage) -> None:
    """A claim beside parked rows returns what is due and nothing else (W-01)."""
    for number in range(50):
        fence = await s.leased(f"p{number}")
        await s.do(Park(fence, 0, Waiting("signal", "signal:x", None)), Done)
    await s.start("ready")
    equal((await s.claim_one("ready")).fresh, True, "fresh")
    equal(await s.store.next_due_ms([lane_of(s.specs["ready"])]), s.clock.now_ms + TTL_MS, "next due")
