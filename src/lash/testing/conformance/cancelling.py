"""A cancel is a durable request, once per reason; it reaches the family, and ends what nobody runs."""

from __future__ import annotations

from lash.abc.store import (
    Appended,
    Cancel,
    Count,
    Done,
    Ended,
    Finish,
    Look,
    Park,
    Recorded,
    Renew,
    Start,
    Sweep,
    Unknown,
)
from lash.core.outcome import Cancelled, Completed, Status
from lash.core.process import CancelRequest, Waiting
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal, said, wait

REQUESTED = "process.cancel_requested"


@case
async def what_never_started_is_closed_at_once(s: Stage) -> None:
    """Request and end in one transaction; whoever waited gets the reply."""
    await s.start("p", delay_ms=60_000)
    parent = await s.leased("parent")
    await s.put(parent, 0, wait(0, "process:p"))
    answer = await s.do(Cancel("p", "not needed"), Appended)
    equal((answer.new, answer.event.type, answer.event.sequence), (True, REQUESTED, 1), "answer")
    equal((await s.row("p")).record.outcome, Cancelled("not needed"), "outcome")
    equal(await s.types("p"), [REQUESTED, "process.cancelled"], "events")
    reply = ("reply", 0, b'["cancelled",{"message":"not needed"}]')
    equal(said(await s.store.history(parent.row, 0))[-1], reply, "the parent's reply")
    equal(await s.do(Cancel("p", "not needed"), Appended), Appended(answer.event, False), "repeated")
    equal(await s.do(Cancel("p", "again"), Ended), Ended(Cancelled("not needed")), "another reason after the end")
    s.clock.advance(60_000)
    await s.claim_one("parent")


@case
async def equal_reasons_are_one_request(s: Stage) -> None:
    """Another reason is another event, but the body hears of the first alone."""
    fence = await s.leased("p")
    first = await s.do(Cancel("p", "one"), Appended)
    s.clock.advance(5)
    equal(await s.do(Cancel("p", "one"), Appended), Appended(first.event, False), "repeated")
    equal((await s.do(Cancel("p", "two"), Appended)).new, True, "another reason")
    record = (await s.row("p")).record
    equal(record.cancel_requested, CancelRequest("one", first.event.at_ms), "the first request is kept")
    seen = await s.do(Look(fence, 0), Recorded)
    equal(said(seen.entries), [("cancel", 0, b'{"reason":"one"}')], "journal")
    equal(await s.types("p"), ["process.started", REQUESTED, REQUESTED], "events")


@case
async def a_running_body_is_told_and_a_parked_one_is_woken(s: Stage) -> None:
    """The news mark, or a due time; the request survives the worker."""
    leased, parked = await s.leased("leased"), await s.leased("parked")
    await s.do(Park(parked, 0, Waiting("signal", "signal:x", None)), Done)
    await s.write(Cancel("leased", "stop"), Cancel("parked", "stop"))
    equal(await s.store.news("w1"), [leased], "news")
    claimed = await s.claim_one("parked")
    equal(said(await s.store.history(parked.row, 0)), [("cancel", 0, b'{"reason":"stop"}')], "journal")
    equal(claimed.row.record.cancel_requested is not None, True, "request")
    await s.do(Finish(leased, Completed(b"1")), Done)
    equal((await s.row("leased")).record.status, Status.COMPLETED, "a body that finishes first wins")


@case
async def a_request_after_the_end_is_refused(s: Stage) -> None:
    """With the outcome; an unknown id is named as such."""
    fence = await s.leased("p")
    await s.do(Finish(fence, Completed(b"1")), Done)
    equal(await s.do(Cancel("p", "late"), Ended), Ended(Completed(b"1")), "ended")
    equal(await s.do(Cancel("nobody", "x"), Unknown), Unknown(False), "unknown")


@case
async def children_are_cancelled_with_their_parent_unless_detached(s: Stage) -> None:
    """At any depth; what is detached shields its own children, what has ended is left alone."""
    await s.leased("root")
    child = await s.leased("child", parent="root")
    await s.leased("grandchild", parent="child")
    await s.start("idle", parent="grandchild")
    await s.leased("detached", parent="root", detached=True)
    await s.leased("below", parent="detached")
    done = await s.leased("done", parent="root")
    await s.do(Finish(done, Completed(b"1")), Done)
    await s.do(Cancel("root", "stop"), Appended)
    asked = [name for name in s.specs if (await s.row(name)).record.cancel_requested is not None]
    equal(asked, ["root", "child", "grandchild", "idle"], "asked to cancel")
    equal((await s.row("idle")).record.status, Status.CANCELLED, "the one that never started")
    equal(child in await s.store.news("w1"), True, "the child hears of it")
    await s.do(Cancel("root", "stop"), Appended)
    equal(len(await s.types("child")), 2, "events of the child after a repeated request")


@case
async def a_deep_family_is_reached_without_recursion(s: Stage) -> None:
    """Two thousand generations are no stack."""
    await s.leased("p0")
    await s.write(*[Start(s.spec(f"p{number}", parent=f"p{number - 1}")) for number in range(1, 2_001)])
    await s.do(Cancel("p0", "stop"), Appended)
    equal((await s.row("p1")).record.status, Status.CANCELLED, "the eldest")
    equal((await s.row("p2000")).record.status, Status.CANCELLED, "the youngest")


@case
async def an_external_process_only_gets_the_request(s: Stage) -> None:
    """It is closed by its owner, and by no sweep."""
    await s.start("p", kind="external", recovery="external")
    await s.do(Cancel("p", "stop"), Appended)
    s.clock.advance(1_000_000)
    equal(await s.do(Sweep(0), Count), Count([]), "swept")
    row = await s.row("p")
    equal((row.record.status, row.due_ms, await s.types("p")), (Status.RUNNING, None, [REQUESTED]), "row")
    equal(await s.store.history(row.row, 0), [], "journal")


@case
async def a_sweep_closes_what_had_its_time(s: Stage) -> None:
    """Asked long enough ago and without a live lease: closed as cancelled with the first reason."""
    live, gone, parked = await s.leased("live"), await s.leased("gone", "w2"), await s.leased("parked")
    await s.leased("unasked", "w2")
    await s.do(Park(parked, 0, Waiting("signal", "signal:x", None)), Done)
    await s.write(Cancel("live", "one"), Cancel("gone", "two"), Cancel("parked", "three"), Cancel("parked", "four"))
    s.clock.advance(TTL_MS - 1)
    equal(await s.do(Sweep(TTL_MS), Count), Count([]), "too early")
    await s.do(Renew("w1", TTL_MS), object)
    s.clock.advance(2)
    equal(await s.do(Sweep(TTL_MS), Count), Count(["gone", "parked"]), "swept")
    equal((await s.row("gone")).record.outcome, Cancelled("two"), "outcome")
    equal((await s.row("parked")).record.outcome, Cancelled("three"), "outcome")
    equal((live.row, gone.row), ((await s.row("live")).row, (await s.row("gone")).row), "rows")
    equal(await s.do(Sweep(TTL_MS), Count), Count([]), "swept again")
