"""A turn takes its items through its journal: whoever runs it again has the same ones (spec 9.2, 26-8, 28-6)."""

from __future__ import annotations

from lash.abc.sessions import CancelTurn, Committed, Post, Posted, Stream, Take, Withdrawn
from lash.abc.store import Appended, Done, Forget, Recorded, Release, Signal, Stale
from lash.core.effect import Entry, EntryKind
from lash.testing.conformance.session_stage import (
    committing,
    leased,
    lost,
    new_item,
    numbers_of,
    opened,
    posted,
    session,
    states_of,
    steering,
    taken,
    taking,
)
from lash.testing.conformance.stage import Stage, case, equal, said, step


@case
async def a_turn_begins_with_the_first_item(s: Stage) -> None:
    """One for the next turn runs alone, and the turn bears its number. The entry says what was taken."""
    row = await opened(s)
    await posted(s, item=new_item(b'{"n":1}'))
    await posted(s, item=new_item(b'{"n":2}'))
    await posted(s, item=steering())
    fence = (await s.claim_one("session:s")).lease.fence
    recorded = await s.do(taking(fence), Recorded)
    equal(said(recorded.entries), [("command", 0, b'[[1,"input",{"n":1}]]')], "entries")
    equal(recorded.entries[0].name, "take", "name of the entry")
    equal(await s.store.history(row, 0), list(recorded.entries), "journal")
    equal([(item.state, item.turn) for item in await s.store.items(row, [1, 2, 3])],
          [("taken", 1), ("pending", 0), ("pending", 0)], "items")  # fmt: skip
    equal([item.number for item in await s.store.items(row, ())], [1, 2, 3], "unfinished")


@case
async def items_for_a_boundary_begin_a_turn_together(s: Stage) -> None:
    """When one of them is first, all of them are taken, past those that wait for a turn of their own."""
    row = await opened(s)
    await posted(s, item=steering(b'{"n":1}'))
    await posted(s)
    await posted(s, item=new_item(b'{"n":3}', "wake", "earliest_boundary"))
    fence = (await s.claim_one("session:s")).lease.fence
    recorded = await s.do(taking(fence), Recorded)
    equal(recorded.entries[0].payload, b'[[1,"input",{"n":1}],[3,"wake",{"n":3}]]', "payload")
    equal([item.turn for item in await s.store.items(row, [1, 2, 3])], [1, 0, 1], "turns of the items")


@case
async def steering_overtakes_what_waits_for_the_next_turn(s: Stage) -> None:
    """At a boundary of a turn all pending items for a boundary join it, and no other."""
    row = await opened(s)
    fence = await leased(s)
    equal(await taken(s, fence), [1], "first")
    equal(await taken(s, fence, turn=1, ordinal=1), [], "nothing at a boundary")
    await posted(s)
    equal(await taken(s, fence, turn=1, ordinal=2), [], "one for the next turn")
    await posted(s, item=steering())
    await posted(s, item=steering())
    equal(await taken(s, fence, turn=1, ordinal=3), [3, 4], "two for the boundary")
    equal(await taken(s, fence, turn=1, ordinal=4), [], "once")
    equal([entry.payload[:3] for entry in await s.store.history(row, 0)], [b"[[1", b"[]", b"[]", b"[[3", b"[]"], "all")
    await s.do(committing(fence, 1), Committed)
    equal(await states_of(s), ["done", "pending", "done", "done"], "items")
    items = await s.store.items(row, [1, 3, 4])
    equal([(item.turn, item.payload) for item in items], [(1, b"")] * 3, "turns and payloads")
    fence = (await s.claim_one("session:s")).lease.fence
    equal(await taken(s, fence), [2], "the next turn")


@case
async def a_repeated_take_gives_the_same_items(s: Stage) -> None:
    """Its writer never saw the first answer: the entry is there once, whatever came meanwhile."""
    row = await opened(s)
    await posted(s, item=steering())
    fence = (await s.claim_one("session:s")).lease.fence
    recorded = await s.do(taking(fence), Recorded)
    await posted(s, item=steering())
    equal(await s.do(taking(fence), Recorded), recorded, "repeated")
    boundary = await s.do(taking(fence, recorded.entries[-1].rank, 1, 1), Recorded)
    equal([numbers_of(entry) for entry in boundary.entries], [[2]], "at the boundary")
    await posted(s, item=steering())
    again = await s.do(taking(fence, recorded.entries[-1].rank, 1, 1), Recorded)
    equal(again, boundary, "repeated at the boundary")
    equal(await states_of(s), ["taken", "taken", "pending"], "items")
    equal(len(await s.store.history(row, 0)), 2, "entries")
    equal((await taken(s, fence), await taken(s, fence, 0, 1, 1)), ([1], [2]), "read from the beginning")


@case
async def taking_nothing_is_recorded_too(s: Stage) -> None:
    """A turn that began with nothing is one that found nothing, also when it is run again."""
    row = await opened(s)
    fence = await leased(s)
    await s.do(CancelTurn("session:s", 1, "never mind", b"{}"), Withdrawn)
    equal(await taken(s, fence), [], "withdrawn before it was taken")
    await posted(s)
    equal(await taken(s, fence), [], "the same take")
    equal(said(await s.store.history(row, 0)), [("command", 0, b"[]")], "journal")
    equal(await taken(s, fence, ordinal=1), [2], "another take")


@case
async def a_take_answers_with_all_news(s: Stage) -> None:
    """Every entry after the last one seen, and the mark is off."""
    await opened(s)
    fence = await leased(s)
    first = (await s.put(fence, 0, step(0)))[0]
    await s.do(Signal("session:s", "go", b"1", None), Appended)
    wake = await s.do(CancelTurn("session:s", None, "stop", b"{}"), object)
    equal(type(wake).__name__, "Late", "no turn is at work yet")
    recorded = await s.do(taking(fence, first.rank, ordinal=1), Recorded)
    equal([entry.kind for entry in recorded.entries], [EntryKind.MAIL, EntryKind.COMMAND], "entries")
    await s.do(CancelTurn("session:s", 1, "stop", b"{}"), Done)
    equal(await s.store.news("w2"), [fence], "news")
    recorded = await s.do(taking(fence, recorded.entries[-1].rank, 1, 2), Recorded)
    equal([entry.kind for entry in recorded.entries], [EntryKind.CANCEL, EntryKind.COMMAND], "entries")
    equal(await s.store.news("w2"), [], "news after the take")


@case
async def a_turn_that_is_run_again_has_the_same_items(s: Stage) -> None:
    """After a lost lease the journal says what was taken; the former holder takes nothing more."""
    row = await opened(s)
    await posted(s, item=steering())
    old = (await s.claim_one("session:s")).lease.fence
    await taken(s, old)
    await posted(s, item=steering())
    equal(await taken(s, old, 0, 1, 1), [2], "at a boundary")
    fence = await lost(s)
    await posted(s, item=steering())
    equal(await s.do(taking(old, 0, 1, 2), Stale), Stale(fence.token), "the former holder")
    equal(await s.do(Stream(old, 1, b"{}"), Stale), Stale(fence.token), "what it streams")
    takes = [entry for entry in await s.store.history(row, 0) if entry.kind is EntryKind.COMMAND]
    equal([numbers_of(entry) for entry in takes], [[1], [2]], "journal")
    equal((await taken(s, fence), await taken(s, fence, 0, 1, 1)), ([1], [2]), "the same takes")
    equal(await states_of(s), ["taken", "taken", "pending"], "items")
    equal((await s.row("session:s")).record.attempts, 2, "attempts")


@case
async def a_turn_whose_journal_was_cut_has_the_same_items(s: Stage) -> None:
    """An engine that remembers nothing begins it again with all that it had taken, under its number, and no more."""
    row = await opened(s)
    await posted(s)
    await posted(s, item=steering())
    await posted(s, item=steering())
    fence = (await s.claim_one("session:s")).lease.fence
    equal((await taken(s, fence), await taken(s, fence, 0, 1, 1)), ([1], [2, 3]), "first try")
    await posted(s, item=steering())
    await s.do(Forget(fence), Done)
    equal(await s.store.history(row, 0), [], "journal")
    equal(await taken(s, fence), [1, 2, 3], "second try")
    await s.do(Release(fence), Done)
    fence = (await s.claim_one("session:s")).lease.fence
    await s.do(Forget(fence), Done)
    equal(await taken(s, fence), [1, 2, 3], "third try")
    equal([item.turn for item in await s.store.items(row, ())], [1, 1, 1, 0], "turns")
    await s.do(committing(fence, 1), Committed)
    equal(await states_of(s), ["done", "done", "done", "pending"], "items")


@case
async def a_cancelled_item_is_not_taken(s: Stage) -> None:
    """Neither to begin a turn nor at a boundary."""
    await opened(s)
    for item in (new_item(), new_item(), steering(), steering()):
        await posted(s, item=item)
    fence = (await s.claim_one("session:s")).lease.fence
    for number in (1, 3):
        await s.do(CancelTurn("session:s", number, "never mind", b"{}"), Withdrawn)
    equal(await taken(s, fence), [2], "first")
    equal(await taken(s, fence, 0, 2, 1), [4], "at a boundary")
    equal(await states_of(s), ["cancelled", "taken", "cancelled", "taken"], "items")


@case
async def only_a_session_takes_and_streams(s: Stage) -> None:
    """A process has no items, and says so as to one that is gone."""
    fence = await s.leased("p")
    equal(await s.do(Take(fence, 0, Entry(EntryKind.COMMAND, 0, "take"), 0, False), Stale), Stale(0), "take")
    equal(await s.do(Stream(fence, 1, b"{}"), Stale), Stale(0), "stream")
    equal(await s.do(committing(fence, 1), Stale), Stale(0), "commit")
    equal(await s.store.history(fence.row, 0), [], "journal")
    equal(await s.store.items(fence.row, ()), [], "items")
    equal(await s.store.turns(fence.row, 0, 9), [], "turns")
    equal(await s.store.nodes(fence.row, 0, 9, 9), [], "nodes")
    equal(await s.store.states(fence.row, 9), {}, "states")


@case
async def what_a_turn_streams_is_kept_until_its_commit(s: Stage) -> None:
    """In order, once per number and lease; pieces of later leases come after those of earlier ones."""
    row = await opened(s)
    old = await leased(s)
    await taken(s, old)
    for number, payload in ((1, b"1"), (2, b"2"), (2, b"9")):
        await s.do(Stream(old, number, payload), Done)
    await s.write(Stream(old, 3, b"3"), Stream(old, 3, b"9"))
    fence = await lost(s)
    await s.do(Stream(fence, 1, b"4"), Done)
    kept = [tuple(piece) for piece in await s.store.pieces(row, 0, 0, 99)]
    first, second = old.token, fence.token
    equal(kept, [(first, 1, b"1"), (first, 2, b"2"), (first, 3, b"3"), (second, 1, b"4")], "all")
    equal(
        [tuple(piece) for piece in await s.store.pieces(row, first, 2, 1)], [(first, 3, b"3")], "one after the second"
    )
    equal([tuple(piece) for piece in await s.store.pieces(row, first, 3, 9)], [(second, 1, b"4")], "of the later lease")
    await s.do(committing(fence, 1), Committed)
    equal(await s.store.pieces(row, 0, 0, 99), [], "after the commit")
    equal(await s.do(Stream(fence, 2, b"5"), Stale), Stale(second + 1), "after the lease was given back")
    verdict = await s.do(Post("session:s", new_item(), "w1", 1_000), Posted)
    equal((verdict.new, (await session(s)).items), (True, 2), "another turn")
