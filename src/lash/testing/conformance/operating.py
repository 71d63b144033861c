"""Trouble that is not the work's own, operators' wishes, workers' entries and listings."""

from __future__ import annotations

from lash.abc.store import (
    Cancel,
    Count,
    Discharge,
    Done,
    Enlist,
    Finish,
    Park,
    ProcessFilter,
    Progress,
    Release,
    Renew,
    Renewed,
    Retry,
    Start,
    Unblock,
    Unknown,
    WorkerRecord,
)
from lash.core.outcome import Completed, Status
from lash.core.process import Blocked, Lane, Waiting, lane_of
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal

TROUBLE = Blocked("diverged", "step 3", "old")


@case
async def trouble_is_visible_and_counted(s: Stage) -> None:
    """One event per kind of trouble, one fault per release; progress clears both (promise 5)."""
    fence = await s.leased("p")
    await s.do(Release(fence, 100, TROUBLE), Done)
    row = await s.row("p")
    equal((row.record.blocked, row.faults, row.due_ms), (TROUBLE, 1, s.clock.now_ms + 100), "blocked")
    s.clock.advance(100)
    fence = (await s.claim_one("p")).lease.fence
    await s.do(Release(fence, 100, TROUBLE), Done)
    s.clock.advance(100)
    fence = (await s.claim_one("p")).lease.fence
    await s.do(Release(fence, 0, Blocked("diverged", "step 4", "old")), Done)
    equal((await s.row("p")).faults, 3, "faults")
    claimed = await s.claim_one("p")
    equal((claimed.row.record.attempts, claimed.row.faults), (1, 3), "attempts and faults")
    await s.do(Progress(claimed.lease.fence), Done)
    await s.do(Progress(claimed.lease.fence), Done)
    row = await s.row("p")
    equal((row.record.blocked, row.faults), (None, 0), "after progress")
    types = ["process.started", "process.blocked", "process.blocked", "process.unblocked"]
    equal(await s.types("p"), types, "events")


@case
async def a_clean_release_keeps_the_fault_count(s: Stage) -> None:
    """It counts nothing, in either direction."""
    fence = await s.leased("p")
    await s.do(Release(fence, 0, TROUBLE), Done)
    fence = (await s.claim_one("p")).lease.fence
    await s.do(Release(fence), Done)
    row = await s.row("p")
    equal((row.faults, row.record.blocked), (1, TROUBLE), "faults and trouble")


@case
async def a_new_attempt_and_an_end_clear_the_trouble(s: Stage) -> None:
    """As the fold says."""
    a, b = await s.leased("a"), await s.leased("b")
    await s.write(Release(a, 0, TROUBLE), Release(b, 0, TROUBLE))
    claims = await s.claim("w1")
    equal([claimed.row.record.blocked for claimed in claims.rows], [TROUBLE, TROUBLE], "still blocked")
    await s.do(Finish(claims.rows[1].lease.fence, Completed(b"1")), Done)
    s.clock.advance(TTL_MS)
    equal((await s.claim_one("a")).row.record.blocked, None, "after a lost worker")


@case
async def other_code_takes_blocked_rows_up(s: Stage) -> None:
    """Only of its lane, only those another code met, only those not already due."""
    names = {"mine": "new", "theirs": "old", "soon": "old"}
    for name, code_hash in names.items():
        fence = await s.leased(name)
        pause_ms = 0 if name == "soon" else 60_000
        await s.do(Release(fence, pause_ms, Blocked("diverged", "x", code_hash)), Done)
    other = await s.leased("other", name="else")
    await s.do(Release(other, 60_000, TROUBLE), Done)
    await s.start("fine", delay_ms=60_000)
    lane = lane_of(s.specs["mine"])
    equal(await s.do(Unblock(lane, "new"), Count), Count(["theirs"]), "unblocked")
    equal(await s.do(Unblock(lane, "new"), Count), Count([]), "unblocked again")
    equal(sorted(claimed.row.record.id for claimed in (await s.claim()).rows), ["soon", "theirs"], "claimed")
    equal((await s.row("theirs")).record.blocked is not None, True, "blocked until there is progress")


@case
async def a_retry_makes_anything_claimable_that_nobody_holds(s: Stage) -> None:
    """Timer, delay, wait or back-off; a leased row is left alone."""
    a, b, held = await s.leased("a"), await s.leased("b"), await s.leased("held")
    await s.write(Park(a, 0, Waiting("signal", "signal:x", None)), Release(b, 60_000, TROUBLE))
    await s.start("delayed", delay_ms=60_000)
    await s.start("external", kind="external", recovery="external")
    for name in s.specs:
        await s.do(Retry(name), Done)
    equal(await s.do(Retry("nobody"), Unknown), Unknown(False), "unknown")
    claims = await s.claim()
    equal(sorted(claimed.row.record.id for claimed in claims.rows), ["a", "b", "delayed"], "claimed")
    equal((await s.row("held")).token, held.token, "the leased row's token")


@case
async def workers_are_listed_until_their_entry_runs_out(s: Stage) -> None:
    """Enlisting replaces, renewing extends, discharging removes."""
    lanes = (Lane("", "python", "a", ""), Lane("default", "python", "b", "2"))
    await s.write(Enlist("w2", lanes[:1], b"{}", 100), Enlist("w1", lanes, b'{"pid":1}', 500))
    now_ms = s.clock.now_ms
    listed = [WorkerRecord("w1", lanes, b'{"pid":1}', now_ms + 500), WorkerRecord("w2", lanes[:1], b"{}", now_ms + 100)]
    equal(await s.store.workers(), listed, "workers")
    await s.do(Enlist("w1", lanes[1:], b"{}", 200), Done)
    equal((await s.store.workers())[0], WorkerRecord("w1", lanes[1:], b"{}", now_ms + 200), "replaced")
    s.clock.advance(150)
    equal([worker.owner for worker in await s.store.workers()], ["w1"], "after the other ran out")
    equal(await s.do(Renew("w1", 1_000), Renewed), Renewed([]), "renewed")
    equal((await s.store.workers())[0].until_ms, s.clock.now_ms + 1_000, "extended")
    await s.write(Discharge("w1"), Discharge("nobody"))
    equal(await s.store.workers(), [], "discharged")


@case
async def pages_are_newest_first_and_follow_on(s: Stage) -> None:
    """Filters combine; ``after`` names the last row of the page before."""
    for number in range(6):
        await s.start(f"p{number}", tags=("even",) if number % 2 == 0 else ("odd", "x"), parent=f"q{number // 3}")
    await s.start("other", name="else", tags=("even",))
    await s.do(Cancel("p4", "x"), object)

    async def ids(wanted: ProcessFilter) -> list[str]:
        return [row.record.id for row in await s.store.page(wanted)]

    equal(await ids(ProcessFilter(limit=3)), ["other", "p5", "p4"], "first page")
    equal(await ids(ProcessFilter(after="p4", limit=3)), ["p3", "p2", "p1"], "second page")
    equal(await ids(ProcessFilter(after="nobody")), [], "after nobody")
    equal(await ids(ProcessFilter(name="job", tag="even")), ["p4", "p2", "p0"], "by name and tag")
    equal(await ids(ProcessFilter(status=Status.CANCELLED)), ["p4"], "by status")
    equal(await ids(ProcessFilter(parent="q1", status=Status.RUNNING)), ["p5", "p3"], "by parent and status")
    equal(await ids(ProcessFilter(tag="none")), [], "by a tag nobody has")
    equal([row.record.id for row in (await s.store.page(ProcessFilter(limit=1)))], ["other"], "limit")


@case
async def an_unknown_id_is_none_among_others(s: Stage) -> None:
    """One answer per id, in the order asked (W-12: nothing else is ever answered by None)."""
    await s.start("a")
    row = await s.row("a")
    equal(await s.store.get(["nobody", "a", "a"]), [None, row, row], "rows")
    equal(await s.store.get([]), [], "none asked")


@case
async def an_empty_write_does_nothing(s: Stage) -> None:
    """No operations, no verdicts."""
    equal(await s.store.write([]), [], "verdicts")
    equal(s.store.now_ms(), s.clock.now_ms, "time is the store's")


@case
async def a_doctor_is_told_something(s: Stage) -> None:
    """``diagnose`` answers on a store with work in it."""
    await s.write(Start(s.spec("p"), "w1", TTL_MS), Enlist("w1", [], b"{}", TTL_MS))
    about = await s.store.diagnose()
    equal(about.get("durable"), s.store.journal_durable, "durable")
    equal(about.get("workers"), ["w1"], "workers")
