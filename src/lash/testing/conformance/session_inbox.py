"""A session is opened once and rests; accepting an item makes it ready, once per key and item (spec 25.2-1, 28-5)."""

from __future__ import annotations

from lash.abc.sessions import CancelTurn, Committed, Delete, ItemConflict, Open, Post, Posted, Take, Withdrawn
from lash.abc.store import (
    Appended,
    Cancel,
    Conflict,
    Count,
    Done,
    Ended,
    Park,
    Put,
    Recorded,
    Release,
    Started,
    Unknown,
)
from lash.core.effect import Entry, EntryKind
from lash.core.outcome import Cancelled, Status
from lash.core.process import Blocked, Waiting
from lash.core.session import Item, SessionRow
from lash.testing.conformance.session_stage import (
    HELLO,
    committing,
    leased,
    messages,
    new_item,
    numbers_of,
    opened,
    posted,
    session,
    spec_of,
    states_of,
    steering,
    taken,
    turn,
)
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal, expect


@case
async def a_new_session_is_empty_and_rests(s: Stage) -> None:
    """Running, with no event, and never due by itself."""
    row = await opened(s)
    there = await session(s)
    equal(there, SessionRow(there.process, 0, 0, None, 0, 0, 0, b""), "session")
    equal((there.id, there.agent, there.process.row), ("s", "helper", row), "id, agent and row")
    process = await s.row("session:s")
    equal((process.record.status, process.owner, process.due_ms), (Status.RUNNING, None, None), "process")
    equal(await s.due_ms(), None, "next due")
    s.clock.advance(10 * TTL_MS)
    equal((await s.claim()).rows, [], "claims")
    equal(await s.store.events("session:s", 0, 9), [], "events")


@case
async def a_session_is_opened_once(s: Stage) -> None:
    """The same definition again is the session that is there; another one is a conflict."""
    row = await opened(s)
    again = await s.do(Open(spec_of(s, "s")), Started)
    equal(again, Started(row, Status.RUNNING, False, None), "the same again")
    other = spec_of(s, "s", agent="critic")
    there = await s.do(Open(other), Conflict)
    equal(there, Conflict(spec_of(s, "s").definition, "session", "helper"), "another agent")
    one, two = await s.write(Open(spec_of(s, "twice")), Open(spec_of(s, "twice")))
    equal([getattr(one, "created", None), getattr(two, "created", None)], [True, False], "twice in one write")


@case
async def an_item_makes_a_resting_session_ready_once(s: Stage) -> None:
    """Due from the first item on; items are numbered in the order of their acceptance."""
    row = await opened(s)
    at_ms = s.clock.now_ms
    item = await posted(s)
    equal(item, Item(1, "input", "next_turn", HELLO, None, "pending", 0, at_ms), "item")
    s.clock.advance(7)
    second = await posted(s, item=new_item(b"[2]", "wake", "earliest_boundary", "k"))
    equal(second, Item(2, "wake", "earliest_boundary", b"[2]", "k", "pending", 0, at_ms + 7), "second")
    third = await posted(s, item=new_item(b"3", "command"))
    equal((third.number, third.kind), (3, "command"), "third")
    equal((await s.row("session:s")).due_ms, at_ms, "due since the first")
    equal(await s.store.items(row, ()), [item, second, third], "unfinished items")
    equal(await s.store.items(row, [3, 1, 9]), [item, third], "items by number")
    equal((await session(s)).items, 3, "items accepted")
    claimed = await s.claim_one("session:s")
    equal(claimed.fresh, True, "the first start")
    equal((await s.claim("w9")).rows, [], "once")


@case
async def an_item_leaves_a_leased_session_alone(s: Stage) -> None:
    """Whoever has it will meet the item; an owner named by the sender does not get it."""
    await opened(s)
    fence = await leased(s)
    before = await s.row("session:s")
    await posted(s)
    verdict = await s.do(Post("session:s", new_item(), "w9", TTL_MS), Posted)
    equal((verdict.new, verdict.claimed), (True, None), "with an owner")
    equal(await s.row("session:s"), before, "row")
    equal(await taken(s, fence), [1], "the holder still has it")


@case
async def an_item_leaves_a_timed_session_alone(s: Stage) -> None:
    """A pause is kept, and a turn that waits for something else is not woken by what it does not wait for."""
    await opened(s)
    fence = await leased(s)
    await s.do(Release(fence, 60_000, Blocked("diverged", "step 3", "old")), Done)
    due_ms = s.clock.now_ms + 60_000
    await posted(s)
    verdict = await s.do(Post("session:s", new_item(), "w9", TTL_MS), Posted)
    equal((verdict.claimed, (await s.row("session:s")).due_ms), (None, due_ms), "paused")
    s.clock.advance(60_000)
    fence = (await s.claim_one("session:s")).lease.fence
    await s.do(Park(fence, 0, Waiting("signal", "signal:go", None)), Done)
    await posted(s)
    verdict = await s.do(Post("session:s", new_item(), "w9", TTL_MS), Posted)
    row = await s.row("session:s")
    equal((verdict.claimed, row.owner, row.due_ms), (None, None, None), "parked")


@case
async def an_item_may_lease_its_session_at_once(s: Stage) -> None:
    """With an owner, as if that owner had claimed the row in the same transaction; at the first turn and later."""
    await opened(s)
    for number in (1, 2):
        verdict = await s.do(Post("session:s", new_item(), "w1", TTL_MS), Posted)
        if verdict.claimed is None:
            raise AssertionError(f"no lease for item {number}: {verdict!r}")
        row, lease, fresh = verdict.claimed
        equal((verdict.item.number, fresh, lease.owner), (number, number == 1, "w1"), "item, fresh, owner")
        equal(row, await s.row("session:s"), "row")
        equal((row.until_ms, row.due_ms), (s.clock.now_ms + TTL_MS, None), "lease and due time")
        equal(await taken(s, lease.fence), [number], "items")
        await s.do(committing(lease.fence, number), Committed)
    equal(await s.types("session:s"), ["process.started", "process.committed", "process.committed"], "events")


@case
async def an_item_may_begin_its_turn_at_once(s: Stage) -> None:
    """Leased and taken in the same transaction, exactly as a claim and a take would have it."""
    row = await opened(s)
    entry = Entry(EntryKind.COMMAND, 0, "take", "w")
    for number in (1, 2):
        verdict = await s.do(Post("session:s", new_item(b"[1]", key=f"k{number}"), "w1", TTL_MS, entry), Posted)
        claimed, begun = verdict.claimed, verdict.begun
        if claimed is None or begun is None:
            raise AssertionError(f"no turn for item {number}: {verdict!r}")
        equal((verdict.item.state, begun.head), ("pending", number - 1), "item as accepted, head")
        equal((begun.entry.name, begun.entry.witness, numbers_of(begun.entry)), ("take", "w", [number]), "entry")
        equal(await s.store.history(row, 0), [begun.entry], "journal")
        equal([(item.state, item.turn) for item in await s.store.items(row, ())], [("taken", number)], "items")
        equal(claimed.row, await s.row("session:s"), "row")
        again = await s.do(Take(claimed.lease.fence, 0, entry, 0, False), Recorded)
        equal(list(again.entries), [begun.entry], "the same take again")
        await s.do(committing(claimed.lease.fence, number, number - 1, messages("said")), Committed)


@case
async def only_an_idle_session_begins_its_turn_with_an_item(s: Stage) -> None:
    """Whoever has a lease takes in his own time; without an owner nobody takes; a replayed key begins nothing."""
    row = await opened(s)
    entry = Entry(EntryKind.COMMAND, 0, "take")
    verdict = await s.do(Post("session:s", new_item(key="k"), None, 0, entry), Posted)
    equal((verdict.claimed, verdict.begun), (None, None), "without an owner")
    fence = (await s.claim_one("session:s")).lease.fence
    verdict = await s.do(Post("session:s", new_item(), "w9", TTL_MS, entry), Posted)
    equal((verdict.claimed, verdict.begun), (None, None), "leased")
    equal(await s.store.history(row, 0), [], "journal")
    equal(await taken(s, fence), [1], "the holder takes")
    await s.do(committing(fence, 1), Committed)
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    await s.do(committing(fence, 2), Committed)
    verdict = await s.do(Post("session:s", new_item(key="k"), "w9", TTL_MS, entry), Posted)
    equal((verdict.new, verdict.claimed, verdict.begun), (False, None, None), "a replayed key")


@case
async def what_is_recorded_tells_whether_the_inbox_is_quiet(s: Stage) -> None:
    """Quiet: nothing waits for the earliest boundary. What waits for the next turn does not count."""
    await opened(s)
    fence = await leased(s)
    ordinal = 0

    async def told(asked: bool = True) -> bool:
        nonlocal ordinal
        ordinal += 1
        put = Put(fence, ordinal, [Entry(EntryKind.STEP, ordinal, "x", payload=b"1")], asked)
        return (await s.do(put, Recorded)).quiet

    await taken(s, fence)
    equal(await told(), True, "nothing waits")
    await posted(s)
    equal(await told(), True, "an item for the next turn")
    item = await posted(s, item=steering())
    equal(await told(), False, "an item for the boundary")
    equal(await told(asked=False), False, "not asked")
    equal(await taken(s, fence, ordinal + 1, 1, 99), [item.number], "taken")
    ordinal += 1
    equal(await told(), True, "taken since")
    verdicts = await s.write(
        Post("session:s", steering()), Put(fence, ordinal + 1, [Entry(EntryKind.STEP, 100, "x", payload=b"1")], True)
    )
    equal(expect(verdicts[1], Recorded).quiet, False, "posted in the same transaction")


@case
async def the_same_key_and_content_is_the_same_item(s: Stage) -> None:
    """Content is kind and meaning of the payload. A replay answers with the item as it is now, and wakes nobody."""
    row = await opened(s)
    first = await posted(s, item=new_item(b'{"a":1,"b":2}', key="k"))
    same = new_item(b'{ "b": 2, "a": 1 }', key="k")
    equal(await s.do(Post("session:s", same), Posted), Posted(first, False), "in another spelling")
    for other in (new_item(b'{"a":1}', key="k"), new_item(b'{"a":1,"b":2}', "wake", key="k")):
        equal(await s.do(Post("session:s", other), ItemConflict), ItemConflict(first), "other content")
    equal((await session(s)).items, 1, "items accepted")
    await posted(s, item=new_item(b'{"a":1,"b":2}', key="other"))
    await posted(s, item=new_item(b'{"a":1,"b":2}'))
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    item = first._replace(state="taken", turn=1)
    equal(await s.do(Post("session:s", same), Posted), Posted(item, False), "of a taken item")
    await s.do(committing(fence, 1), Committed)
    item = item._replace(state="done", payload=b"")
    equal(await s.do(Post("session:s", same, "w1", TTL_MS), Posted), Posted(item, False), "of a consumed one")
    conflict = new_item(b"3", key="k")
    equal(await s.do(Post("session:s", conflict), ItemConflict), ItemConflict(item), "conflict with it")
    equal([item.number for item in await s.store.items(row, ())], [2, 3], "unfinished")


@case
async def a_repeated_key_wakes_nobody(s: Stage) -> None:
    """Neither one who rests nor, in one write, the same item twice."""
    await opened(s)
    verdicts = await s.write(Post("session:s", new_item(key="k")), Post("session:s", new_item(key="k")))
    one, two = (expect(verdict, Posted) for verdict in verdicts)
    equal((one.new, two), (True, Posted(one.item, False)), "in one write")
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    await s.do(committing(fence, 1), Committed)
    again = await s.do(Post("session:s", new_item(key="k"), "w1", TTL_MS), Posted)
    equal((again.new, again.claimed, await s.due_ms()), (False, None, None), "of a session at rest")


@case
async def a_repeated_key_precedes_every_other_check(s: Stage) -> None:
    """Also of a session that has ended; a new item is refused there, and nobody's session says so."""
    await opened(s)
    await turn(s, "s")
    item = await posted(s, item=new_item(key="k"))
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    await s.do(Cancel("session:s", "enough"), Appended)
    await s.do(committing(fence, 2), Committed)
    item = item._replace(state="done", turn=2, payload=b"")
    row = await s.row("session:s")
    equal(row.record.outcome, Cancelled("enough"), "outcome")
    equal(await s.do(Post("session:s", new_item(key="k")), Posted), Posted(item, False), "replayed")
    equal(await s.do(Post("session:s", new_item(b"2", key="k")), ItemConflict), ItemConflict(item), "conflict")
    equal(await s.do(Post("session:s", new_item()), Ended), Ended(Cancelled("enough")), "a new one")
    await s.do(Delete("session:s"), Count)
    equal(await s.do(Post("session:s", new_item(key="k")), Unknown), Unknown(True), "after it was deleted")
    await s.start("session:plain")
    for process_id in ("session:nobody", "session:plain"):
        equal(await s.do(Post(process_id, new_item()), Unknown), Unknown(False), process_id)


@case
async def a_release_leaves_a_session_due_only_for_an_item(s: Stage) -> None:
    """Without a pending or taken one it rests, whatever the pause; with one it is due after it."""
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    await s.do(Release(fence, 50), Done)
    equal((await s.row("session:s")).due_ms, s.clock.now_ms + 50, "with a taken item")
    s.clock.advance(50)
    fence = (await s.claim_one("session:s")).lease.fence
    await s.do(committing(fence, 1), Committed)
    await posted(s, item=steering())
    fence = (await s.claim_one("session:s")).lease.fence
    await s.do(CancelTurn("session:s", 2, "never mind", b"{}"), Withdrawn)
    await s.do(Release(fence, 50), Done)
    row = await s.row("session:s")
    equal((row.owner, row.due_ms, row.token), (None, None, fence.token + 1), "without one")
    equal(await states_of(s), ["done", "cancelled"], "items")
