"""One outcome: written once, with the lease check, in the terminal event (spec 16.1-10, 11, 16, 22; W-28)."""

from __future__ import annotations

from lash.abc.store import (
    Cancel,
    Close,
    Conflict,
    Count,
    Done,
    Ended,
    Finish,
    NotExternal,
    ProcessFilter,
    Prune,
    Put,
    Release,
    Retry,
    Stale,
    Start,
    Started,
    Unknown,
)
from lash.core.event import STATUS_OF
from lash.core.lease import Fence
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed, Failure, Outcome, Status
from lash.core.process import Tombstone
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal, step

OUTCOMES: dict[str, Outcome] = {
    "completed": Completed(b'{"a":[1,null]}'),
    "failed": Failed(Failure("execution", "Oops", "it broke", {"deep": [1]})),
    "plainly": Failed(Failure("timeout", "timeout", "too late")),
    "cancelled": Cancelled("enough"),
    "abandoned": Abandoned({"writer": "owner_drain", "owner": "w1", "attempt": 1}),
}


@case
async def every_outcome_is_read_back_as_it_was_written(s: Stage) -> None:
    """And the terminal event's type is the outcome's status: the two cannot disagree (W-28)."""
    for process_id, outcome in OUTCOMES.items():
        fence = await s.leased(process_id)
        await s.do(Finish(fence, outcome), Done)
        row = await s.row(process_id)
        equal((row.record.status, row.record.outcome), (outcome.status, outcome), "outcome")
        equal((row.owner, row.until_ms, row.due_ms), (None, None, None), "lease and due time")
        last = (await s.store.events(process_id, 0, 99))[-1]
        equal((STATUS_OF[last.type], last.key, last.sequence), (outcome.status, None, row.record.last_event), "event")


@case
async def an_outcome_is_final(s: Stage) -> None:
    """Nothing changes an ended process: no fence, no claim, no close, no retry."""
    fence = await s.leased("p")
    await s.do(Finish(fence, Completed(b"1")), Done)
    before = await s.row("p")
    for op in (
        Finish(fence, Completed(b"2")),
        Put(fence, 0, [step(0)]),
        Release(fence),
        Finish(Fence(fence.row, 9), Cancelled("")),
    ):
        equal(await s.do(op, Stale), Stale(0), f"verdict of {op!r}")
    equal(await s.do(Retry("p"), Ended), Ended(Completed(b"1")), "retry")
    s.clock.advance(1_000_000)
    equal([len((await s.claim()).rows), await s.due_ms()], [0, None], "claims and due time")
    equal(await s.row("p"), before, "row")
    started = await s.do(Start(s.spec("p"), "w1", TTL_MS), Started)
    equal((started.created, started.status, started.claimed), (False, Status.COMPLETED, None), "start after the end")


@case
async def an_external_process_is_closed_once_by_its_owner(s: Stage) -> None:
    """The same outcome again is fine, another one is refused; what runs here cannot be closed from outside."""
    await s.start("p", kind="external", recovery="external")
    outcome = OUTCOMES["failed"]
    await s.do(Close("p", outcome), Done)
    await s.do(Close("p", outcome), Done)
    equal(await s.do(Close("p", Completed(b"1")), Ended), Ended(outcome), "another outcome")
    equal((await s.row("p")).record.outcome, outcome, "outcome")
    equal(len(await s.types("p")), 1, "events")
    await s.start("q")
    equal(await s.do(Close("q", outcome), NotExternal), NotExternal("python"), "not external")
    equal(await s.do(Close("nobody", outcome), Unknown), Unknown(False), "unknown")


@case
async def what_has_ended_is_not_on_the_worklist(s: Stage) -> None:
    """Counts and pages by status agree (16.1-16)."""
    await s.start("a")
    fence = await s.leased("b")
    await s.write(Start(s.spec("c")), Cancel("c", "no"), Finish(fence, Completed(b"1")))
    counts = {"running": 1, "completed": 1, "failed": 0, "cancelled": 1, "abandoned": 0}
    equal(await s.store.counts(), counts, "counts")
    running = await s.store.page(ProcessFilter(status=Status.RUNNING))
    equal([row.record.id for row in running], ["a"], "running")


@case
async def pruning_leaves_a_tombstone(s: Stage) -> None:
    """History goes; the id stays used, and tells what became of it."""
    fence = await s.leased("p", tags=("red",))
    await s.put(fence, 0, step(0))
    await s.do(Finish(fence, Completed(b"1")), Done)
    ended_ms = s.clock.now_ms
    equal(await s.do(Prune(ended_ms, 10), Count), Count([]), "not before its time")
    s.clock.advance(100)
    equal(await s.do(Prune(ended_ms + 1, 10), Count), Count(["p"]), "pruned")
    tombstone = Tombstone("p", s.specs["p"].definition, Status.COMPLETED, ended_ms, s.clock.now_ms)
    equal(await s.store.get(["p"]), [tombstone], "tombstone")
    equal(len(await s.store.history(fence.row, 0)) + len(await s.store.events("p", 0, 9)), 0, "journal and events")
    equal(await s.store.page(ProcessFilter(tag="red")), [], "page by tag")
    started = await s.do(Start(s.spec("p"), "w1", TTL_MS), Started)
    equal((started.created, started.pruned, started.status), (False, True, Status.COMPLETED), "start again")
    equal((await s.do(Start(s.spec("p", name="other")), Conflict)).definition, tombstone.definition, "conflict")
    for op in (Cancel("p", "x"), Retry("p"), Close("p", Completed(b"1"))):
        equal(await s.do(op, Unknown), Unknown(True), f"verdict of {op!r}")
    equal(await s.do(Put(fence, 0, [step(1)]), Stale), Stale(0), "the old fence")


@case
async def a_pruned_row_number_is_not_given_again(s: Stage) -> None:
    """Else an old fence would open a new process."""
    fence = await s.leased("p")
    await s.do(Finish(fence, Completed(b"1")), Done)
    s.clock.advance(1)
    equal(await s.do(Prune(s.clock.now_ms, 10), Count), Count(["p"]), "pruned")
    again = await s.leased("q")
    equal(again.row != fence.row, True, "another row number")
    equal(await s.do(Put(fence, 0, [step(0)]), Stale), Stale(0), "the old fence")


@case
async def pruning_is_bounded_and_spares_what_is_awaited(s: Stage) -> None:
    """Oldest first; never a running row, never the child of a running parent."""
    for name in ("a", "b", "c"):
        await s.write(Start(s.spec(name)), Cancel(name, "x"))
        s.clock.advance(10)
    parent = await s.leased("parent")
    await s.write(Start(s.spec("child", parent="parent")), Cancel("child", "x"))
    await s.write(Start(s.spec("orphan", parent="nobody")), Cancel("orphan", "x"))
    s.clock.advance(10)
    equal(await s.do(Prune(s.clock.now_ms, 2), Count), Count(["a", "b"]), "first page")
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count(["c", "orphan"]), "second page")
    await s.do(Finish(parent, Completed(b"1")), Done)
    s.clock.advance(10)
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count(["child", "parent"]), "after the parent's end")
