"""Start is durable intent, once per id (spec 16.1-2; W-31: nothing that does not exist can be leased)."""

from __future__ import annotations

from lash.abc.store import Claim, Claims, Conflict, Put, Stale, Start, Started
from lash.core.lease import Fence
from lash.core.outcome import Status
from lash.core.process import Lane, lane_of, new_record
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal, step


@case
async def start_is_once_per_id(s: Stage) -> None:
    """The same id with the same definition is the same process, and the second start changes nothing."""
    first = await s.start("p")
    before = await s.row("p")
    s.clock.advance(5)
    again = await s.do(Start(s.spec("p", tags=("late",), priority=7, caused_by="x"), "w1", TTL_MS), Started)
    equal((again.row, again.created, again.claimed, again.pruned), (first.row, False, None, False), "second start")
    equal(await s.row("p"), before, "the row after the second start")


@case
async def start_with_another_definition_conflicts(s: Stage) -> None:
    """Other arguments under the same id are refused, naming what is there."""
    await s.start("p")
    conflict = await s.do(Start(s.spec("p", args=b'[["b"],{}]')), Conflict)
    equal(conflict, Conflict(s.specs["p"].definition, "python", "job"), "conflict")
    equal((await s.row("p")).record, new_record(s.specs["p"], s.clock.now_ms), "the record after the conflict")


@case
async def a_refused_start_spoils_no_other(s: Stage) -> None:
    """One transaction, one verdict per operation, in list order: a conflict stands beside two good starts."""
    await s.start("p")
    verdicts = await s.write(
        Start(s.spec("a")), Start(s.spec("p", name="other")), Start(s.spec("a")), Start(s.spec("b"))
    )
    kinds = [type(verdict).__name__ for verdict in verdicts]
    equal(kinds, ["Started", "Conflict", "Started", "Started"], "verdicts")
    created = [verdict.created for verdict in verdicts if isinstance(verdict, Started)]
    equal(created, [True, False, True], "created")


@case
async def every_field_of_a_spec_comes_back(s: Stage) -> None:
    """What a worker reads equals what the starter wrote."""
    fields: dict[str, object] = {
        "version": "",
        "recovery": "once",
        "attempts_max": 3,
        "timeout_ms": 9_000,
        "priority": -4,
        "tags": ("red", "grün"),
        "host_profile": "",
        "originator": "session:1",
        "caused_by": "event-1",
        "parent": "nobody",
        "detached": True,
        "wake_target": "session:2",
        "observers": ("session:3",),
    }
    await s.start("p", **fields)
    await s.start("plain")
    for process_id in ("p", "plain"):
        equal((await s.row(process_id)).record.spec, s.specs[process_id], "spec read back")
    claims = await s.claim()
    equal({claimed.row.record.spec.id: claimed.row.record.spec for claimed in claims.rows}, s.specs, "specs claimed")


@case
async def a_start_with_an_owner_is_leased_at_once(s: Stage) -> None:
    """As if claimed in the same transaction: attempt 1, a started event, nothing left for others."""
    started = await s.do(Start(s.spec("p"), "w1", TTL_MS), Started)
    claimed = started.claimed
    if claimed is None:
        raise AssertionError("no lease")
    equal((claimed.fresh, claimed.lease.owner, claimed.lease.process_id), (True, "w1", "p"), "claimed")
    equal(claimed.lease.until_ms, s.clock.now_ms + TTL_MS, "end of the lease")
    equal(claimed.row, await s.row("p"), "row given and row read")
    equal((claimed.row.record.attempts, claimed.row.due_ms, claimed.row.owner), (1, None, "w1"), "attempts, due, owner")
    equal(await s.types("p"), ["process.started"], "events")
    equal((await s.claim()).rows, [], "rows for others")


@case
async def a_delayed_start_waits_even_with_an_owner(s: Stage) -> None:
    """It is claimable when its delay is over, not before."""
    started = await s.do(Start(s.spec("p", delay_ms=500), "w1", TTL_MS), Started)
    equal(started.claimed, None, "lease of a delayed start")
    equal(await s.due_ms(), s.clock.now_ms + 500, "next due")
    s.clock.advance(499)
    equal((await s.claim()).rows, [], "claimed too early")
    s.clock.advance(1)
    equal((await s.claim_one("p")).fresh, True, "fresh")


@case
async def an_external_process_is_never_claimed(s: Stage) -> None:
    """It is run elsewhere: no lease, no due time, whatever is asked."""
    started = await s.do(Start(s.spec("p", kind="external", recovery="external"), "w1", TTL_MS), Started)
    equal((started.claimed, started.status), (None, Status.RUNNING), "lease of an external start")
    equal(await s.due_ms(), None, "next due")
    s.clock.advance(1_000_000)
    equal((await s.claim()).rows, [], "claimed")


@case
async def what_does_not_exist_cannot_be_written_to(s: Stage) -> None:
    """An unknown row and a row that was never leased refuse every fence (W-31)."""
    started = await s.start("p")
    for fence in (Fence(started.row, 0), Fence(started.row, 1), Fence(999_999, 1), Fence(999_999, 0)):
        equal(await s.do(Put(fence, 0, [step(0)]), Stale), Stale(0), f"verdict for {fence}")
    equal(await s.store.history(started.row, 0), [], "journal")
    nowhere = Lane("default", "python", "nothing", "1")
    for verdict in await s.write(Claim("w1", [nowhere], 5, TTL_MS), Claim("w1", [], 5, TTL_MS)):
        equal(verdict, Claims([], [], []), "claims")
    equal(await s.store.next_due_ms([nowhere]), None, "next due of a lane nobody stands in")
    equal(lane_of(s.specs["p"]), Lane("default", "python", "job", "1"), "lane")
