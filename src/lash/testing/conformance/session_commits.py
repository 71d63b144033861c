"""A commit brings everything a turn did, or nothing of it; the same turn is committed once (spec 8.1, 28-3, 28-4)."""

from __future__ import annotations

from lash.abc.sessions import Commit, Committed, HeadMoved, Stream, Take, TurnConflict
from lash.abc.store import (
    Append,
    Appended,
    Done,
    Finish,
    KeyConflict,
    Park,
    Recorded,
    Release,
    Signal,
    Stale,
)
from lash.core.effect import EntryKind
from lash.core.outcome import Completed
from lash.core.process import Blocked, Waiting
from lash.core.session import NewNode, Node, TurnRecord
from lash.testing.conformance.session_stage import (
    OTHER,
    USAGE,
    WITNESS,
    bodies,
    committing,
    leased,
    lost,
    messages,
    new_item,
    opened,
    path,
    posted,
    receipt,
    session,
    states_of,
    steering,
    taken,
    taking,
    turn,
)
from lash.testing.conformance.stage import Stage, case, close, equal, said, step, wait

COMMITTED = "process.committed"


@case
async def a_commit_writes_everything_at_once(s: Stage) -> None:
    """Nodes, head, frame, usage, the turn's record, the items' end, the cut journal, the event, the lease."""
    row = await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    await s.put(fence, 0, step(1), wait(2, "signal:go"))
    await s.do(Signal("session:s", "other", b"1", None), Appended)
    s.clock.advance(5)
    nodes = [
        NewNode("message", "", b'{"text":"a"}'), NewNode("frame", "start", b"{}"), NewNode("state", "plan", b"[1]"),
        NewNode("note", "mood", b'"calm"'), NewNode("message", "", b'{"text":"b"}'),
    ]  # fmt: skip
    refs = ("sha256:" + "0f" * 32, "sha256:" + "0f" * 32)
    committed = await s.do(Commit(fence, 1, WITNESS, 0, nodes, receipt(1), USAGE, refs), Committed)
    at_ms = s.clock.now_ms
    equal(committed, Committed(TurnRecord(1, WITNESS, 1, 5, receipt(1), at_ms), True), "verdict")
    expected = [Node(number, *node, "s", 1, at_ms) for number, node in enumerate(nodes, 1)]
    equal(await path(s), expected, "nodes")
    equal(expected[3].id, "s#4", "id of a node")
    equal(await s.store.turns(row, 0, 9), [committed.record], "turns")
    there = await session(s)
    equal((there.head, there.frame, there.turns, there.items, there.usage), (5, 2, 1, 1, USAGE), "session")
    equal(await states_of(s), ["done"], "items")
    equal(await s.store.items(row, ()), [], "unfinished items")
    equal(await s.store.history(row, 0), [], "journal")
    process = there.process
    equal((process.owner, process.due_ms, process.token), (None, None, fence.token + 1), "lease")
    equal((process.record.attempts, process.record.generation), (0, 1), "attempts and generation")
    event = (await s.store.events("session:s", 0, 9))[-1]
    equal((event.type, event.payload, event.at_ms), (COMMITTED, b'{"turn":1,"head":5}', at_ms), "event")
    s.clock.advance(60_000)
    equal((await s.claim()).rows, [], "it rests")


@case
async def a_turn_may_commit_nothing_but_itself(s: Stage) -> None:
    """Without nodes the head stays, and the record has no nodes; the next turn goes on from there."""
    row = await opened(s)
    await turn(s, "s", *messages("a", "b"))
    committed = await turn(s, "s")
    equal((committed.record.first_node, committed.record.last_node), (3, 2), "no nodes")
    await turn(s, "s", *messages("c"))
    equal(bodies(await path(s)), [{"text": "a"}, {"text": "b"}, {"text": "c"}], "path")
    records = await s.store.turns(row, 0, 9)
    equal([(record.number, record.first_node, record.last_node) for record in records],
          [(1, 1, 2), (2, 3, 2), (3, 3, 3)], "turns")  # fmt: skip
    equal(await s.store.turns(row, 1, 1), records[1:2], "one after the first")
    equal((await session(s)).turns, 3, "turns counted")


@case
async def a_session_is_ready_where_items_are_pending(s: Stage) -> None:
    """Those that were there, and those the turn itself brings; a key that is known brings nothing."""
    row = await opened(s)
    await posted(s, item=new_item(key="first"))
    await posted(s, item=new_item(b"2", "command"))
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    s.clock.advance(3)
    await s.do(committing(fence, 1), Committed)
    equal((await s.row("session:s")).due_ms, s.clock.now_ms, "due at once")
    fence = (await s.claim_one("session:s")).lease.fence
    equal(await taken(s, fence), [2], "the second")
    follow = [new_item(b"3", "wake", key="next"), new_item(b"9", key="first"), new_item(b"9", key="next"), steering()]
    await s.do(committing(fence, 2, follow=follow), Committed)
    items = await s.store.items(row, ())
    equal([(item.number, item.kind, item.key, item.payload[:1]) for item in items],
          [(3, "wake", "next", b"3"), (4, "input", None, b"{")], "follow items")  # fmt: skip
    equal((await s.row("session:s")).due_ms, s.clock.now_ms, "due for them")
    fence = (await s.claim_one("session:s")).lease.fence
    equal(await taken(s, fence), [3], "and taken like any other")


@case
async def the_same_turn_again_is_its_record(s: Stage) -> None:
    """The same witness: whatever the fence and the head are by now. Another: a conflict. Nothing is written."""
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    op = committing(fence, 1, 0, messages("a"))
    first = await s.do(op, Committed)
    await posted(s)
    repeated = Committed(first.record, False)
    equal(await s.do(op, Committed), repeated, "with the lease given back")
    held = (await s.claim_one("session:s")).lease.fence
    await taken(s, held)
    for other in (fence, held, fence._replace(token=99)):
        equal(await s.do(op._replace(fence=other, base=7, receipt=b"{}"), Committed), repeated, "any fence and head")
        conflict = op._replace(fence=other, witness=OTHER)
        equal(await s.do(conflict, TurnConflict), TurnConflict(first.record), "another witness")
    both = await s.write(committing(held, 2, 1, messages("b")), committing(held, 2, 1, messages("b")))
    equal([getattr(verdict, "new", None) for verdict in both], [True, False], "twice in one write")
    equal(bodies(await path(s)), [{"text": "a"}, {"text": "b"}], "path")
    equal((await s.types("session:s")).count(COMMITTED), 2, "events")


@case
async def a_commit_without_the_lease_writes_nothing(s: Stage) -> None:
    """A former holder learns of the newer token, before anything is said of the head."""
    row = await opened(s)
    old = await leased(s)
    await taken(s, old)
    fence = await lost(s)
    before = (await session(s), await s.store.history(row, 0), await s.types("session:s"))
    zombie = committing(old, 1, 0, messages("zombie"))
    equal(await s.do(zombie, Stale), Stale(fence.token), "the former holder")
    equal(await s.do(zombie._replace(base=4), Stale), Stale(fence.token), "with a wrong head as well")
    equal((await session(s), await s.store.history(row, 0), await s.types("session:s")), before, "nothing was written")
    await s.do(committing(fence, 1, 0, messages("a")), Committed)
    equal(await s.do(zombie._replace(turn=2), Stale), Stale(fence.token + 1), "another turn of the former holder")
    equal(await s.do(zombie._replace(fence=old._replace(row=10**9)), Stale), Stale(0), "of nobody's row")


@case
async def a_turn_committed_by_two_is_committed_once(s: Stage) -> None:
    """The former holder did the same work: it gets the record of the one that came first."""
    await opened(s)
    old = await leased(s)
    await taken(s, old)
    fence = await lost(s)
    first = await s.do(committing(fence, 1, 0, messages("a")), Committed)
    equal(await s.do(committing(old, 1, 0, messages("a")), Committed), Committed(first.record, False), "the other")
    other = committing(old, 1, 0, messages("b"), OTHER)
    equal(await s.do(other, TurnConflict), TurnConflict(first.record), "with other content")
    equal(len(await path(s)), 1, "nodes")


@case
async def a_moved_head_writes_nothing(s: Stage) -> None:
    """The turn began from another head: it is told where the head is, and still has its lease and its items."""
    row = await opened(s)
    await turn(s, "s", *messages("a", "b"))
    fence = await leased(s)
    await taken(s, fence)
    await s.do(Stream(fence, 1, b"{}"), Done)
    before = (await session(s), await s.store.history(row, 0), await s.types("session:s"))
    for base in (0, 1, 3):
        op = committing(fence, 2, base, messages("c"), follow=[new_item(key="k")])
        equal(await s.do(op, HeadMoved), HeadMoved(2), f"from {base}")
    equal((await session(s), await s.store.history(row, 0), await s.types("session:s")), before, "nothing was written")
    equal((await states_of(s), len(await s.store.pieces(row, 0, 0, 9))), (["done", "taken"], 1), "items and pieces")
    equal((await s.do(committing(fence, 2, 2, messages("c")), Committed)).new, True, "from the head")


@case
async def a_turn_that_took_nothing_is_not_committed(s: Stage) -> None:
    """Nor under the number of another turn than the one that took: an item is consumed by the turn that has it."""
    row = await opened(s)
    await turn(s, "s", *messages("a"))
    fence = await leased(s)
    before = (await session(s), await s.types("session:s"))
    for number in (2, 3):
        refused = await s.do(committing(fence, number, 1, messages("b")), Stale)
        equal(refused, Stale(fence.token), f"turn {number}, before it took anything")
    equal(await taken(s, fence), [2], "items")
    equal(await s.do(committing(fence, 3, 1, messages("b")), Stale), Stale(fence.token), "another turn")
    equal(await s.do(committing(fence, 3, 0, messages("b")), Stale), Stale(fence.token), "from another head as well")
    equal((await session(s), await s.types("session:s")), before, "nothing was written")
    equal([item.state for item in await s.store.items(row, ())], ["taken"], "items")
    await s.do(committing(fence, 2, 1, messages("b")), Committed)


@case
async def whoever_waits_for_an_item_gets_the_receipt(s: Stage) -> None:
    """A wait opened before the commit, or after it; of every item the turn took. The waiter is woken."""
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    await posted(s, item=steering())
    await taken(s, fence, 0, 1, 1)
    await posted(s)
    parked, running = await s.leased("parked"), await s.leased("running")
    await s.put(parked, 0, wait(0, "turn:session:s/1"))
    await s.put(running, 0, wait(0, "turn:session:s/2"), wait(1, "turn:session:s/3"), wait(2, "turn:session:s/1"))
    await s.do(Park(parked, 9, Waiting("signal", "turn:session:s/1", None)), Done)
    await s.do(committing(fence, 1), Committed)
    equal(said(await s.store.history(parked.row, 0))[1:], [("reply", 0, receipt(1))], "the parked one")
    replies = said([entry for entry in await s.store.history(running.row, 0) if entry.kind is EntryKind.REPLY])
    equal(sorted(replies), [("reply", 0, receipt(1)), ("reply", 2, receipt(1))], "the running one")
    equal(await s.store.news("w1"), [running], "news")
    equal((await s.row("parked")).due_ms, s.clock.now_ms, "the parked one is due")
    late = await s.put(running, 0, wait(3, "turn:session:s/2"), wait(4, "turn:session:s/9"))
    equal([part for part in said(late) if part[0] == "reply"][2:], [("reply", 3, receipt(1)), ("reply", 4, b"null")],
          "opened after the commit, and of an item that never was")  # fmt: skip
    unknown = await s.put(running, 0, wait(5, "turn:session:nobody/1"))
    equal(said(unknown)[-1], ("reply", 5, b"null"), "of nobody's session")


@case
async def a_given_up_wait_on_a_turn_gets_nothing(s: Stage) -> None:
    """Nor one whose waiter has ended."""
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    waiter, ended = await s.leased("waiter"), await s.leased("ended")
    await s.put(waiter, 0, wait(0, "turn:session:s/1"), close(0, "turn:session:s/1"))
    await s.put(ended, 0, wait(0, "turn:session:s/1"))
    await s.do(Finish(ended, Completed(b"1")), Done)
    await s.do(committing(fence, 1), Committed)
    for row in (waiter.row, ended.row):
        kinds = [entry.kind.value for entry in await s.store.history(row, 0)]
        equal("reply" in kinds, False, "a reply")


@case
async def a_committed_turn_leaves_no_wait_of_its_own(s: Stage) -> None:
    """Its journal is gone: what it waited for ends and is told to nobody, and the next turn's take is a new one."""
    row = await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    await s.put(fence, 0, wait(1, "process:child"), wait(1, "signal:go"))
    child = await s.leased("child")
    await s.put(fence, 0, wait(2, "process:child"))
    await s.do(committing(fence, 1), Committed)
    await s.do(Finish(child, Completed(b"1")), Done)
    equal(await s.store.history(row, 0), [], "after the commit")
    fence = await leased(s)
    recorded = await s.do(taking(fence), Recorded)
    equal(said(recorded.entries), [("command", 0, b'[[2,"input",{"text":"hello"}]]')], "the next turn")
    await s.do(Signal("session:s", "go", b"5", None), Appended)
    kinds = [entry.kind.value for entry in await s.store.history(row, 0)]
    equal(kinds, ["command", "mail"], "a signal nobody waits for any more")


@case
async def attempts_are_counted_within_a_turn(s: Stage) -> None:
    """A commit sets them back, with the fault count and the blocked mark; ranks and tokens go on."""
    row = await opened(s)
    await leased(s)
    fence = await lost(s)
    await taken(s, fence)
    rank = (await s.put(fence, 0, step(1)))[-1].rank
    trouble = Blocked("diverged", "step 3", "old")
    await s.do(Release(fence, 0, trouble), Done)
    claimed = await s.claim_one("session:s")
    equal((claimed.row.record.attempts, claimed.row.faults), (2, 1), "attempts and faults of the first turn")
    await s.do(committing(claimed.lease.fence, 1), Committed)
    there = await s.row("session:s")
    equal((there.record.attempts, there.faults, there.record.blocked), (0, 0, None), "after the commit")
    await posted(s)
    claimed = await s.claim_one("session:s")
    equal((claimed.fresh, claimed.row.record.attempts), (False, 0), "the second turn")
    fence = await lost(s)
    equal((await s.row("session:s")).record.attempts, 1, "after one loss")
    equal((await s.put(fence, 0, step(0)))[-1].rank > rank, True, "ranks go on")
    equal(fence.row, row, "row")
    started = ["process.started", "process.started"]
    types = [*started, "process.blocked", COMMITTED, "process.started"]
    equal(await s.types("session:s"), types, "events")


@case
async def the_events_of_a_session_go_on_over_its_turns(s: Stage) -> None:
    """Dense, with their keys: a turn's journal is cut, the log is not."""
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    first = await s.do(Append(fence, "made", b"1", "k"), Appended)
    await s.do(committing(fence, 1), Committed)
    fence = await leased(s)
    equal(await s.do(Append(fence, "made", b"1", "k"), Appended), Appended(first.event, False), "the same key")
    equal(await s.do(Append(fence, "made", b"2", "k"), KeyConflict), KeyConflict(first.event), "other content")
    equal([item.sequence for item in await s.store.events("session:s", 0, 9)], [1, 2, 3], "sequences")


@case
async def a_whole_turn_may_be_one_write(s: Stage) -> None:
    """Opened, posted with an owner, and then taken and committed: each operation sees what those before it did."""
    row = await opened(s)
    fence = await leased(s)
    take = Take(fence, 0, taking(fence).entry, 0, False)
    verdicts = await s.write(take, Stream(fence, 1, b"{}"), committing(fence, 1, 0, messages("a")), taking(fence))
    names = [type(verdict).__name__ for verdict in verdicts]
    equal(names, ["Recorded", "Done", "Committed", "Stale"], "verdicts")
    equal((await states_of(s), bodies(await path(s))), (["done"], [{"text": "a"}]), "items and path")
    equal(await s.store.history(row, 0), [], "journal")
    equal(await s.store.pieces(row, 0, 0, 9), [], "pieces")
