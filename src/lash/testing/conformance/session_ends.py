"""A deleted session leaves a tombstone, and its nodes to those who share them; listings keep sessions apart."""

from __future__ import annotations

from lash.abc.sessions import CancelTurn, Committed, Delete, Open, Post
from lash.abc.store import (
    Appended,
    Cancel,
    Conflict,
    Count,
    Done,
    Ended,
    Finish,
    Park,
    ProcessFilter,
    Prune,
    Signal,
    Stale,
    Start,
    Started,
    Unknown,
)
from lash.core.outcome import Cancelled, Completed, Status
from lash.core.process import Tombstone, Waiting
from lash.testing.conformance.session_stage import (
    bodies,
    committing,
    leased,
    messages,
    new_item,
    opened,
    path,
    posted,
    session,
    spec_of,
    taken,
    turn,
)
from lash.testing.conformance.stage import Stage, case, equal, said, wait

DELETED = "the session was deleted"


@case
async def an_id_is_used_once(s: Stage) -> None:
    """A deleted session is a tombstone, and its id is never another session."""
    row = await opened(s)
    await turn(s, "s", *messages("a"))
    s.clock.advance(8)
    equal(await s.do(Delete("session:s"), Count), Count([]), "deleted")
    stone = Tombstone("session:s", spec_of(s, "s").definition, Status.CANCELLED, s.clock.now_ms, s.clock.now_ms)
    equal(await s.store.sessions(["session:s"]), [stone], "session")
    equal(await s.store.get(["session:s"]), [stone], "process")
    for spec in (spec_of(s, "s"), spec_of(s, "s", agent="critic")):
        again = await s.do(Open(spec), Started)
        equal(again, Started(0, Status.CANCELLED, False, None, True), "opened again")
    equal(await s.do(Delete("session:s"), Unknown), Unknown(True), "deleted again")
    for op in (Post("session:s", new_item()), CancelTurn("session:s", 1, "x", b"{}"), Cancel("session:s", "x")):
        equal(await s.do(op, Unknown), Unknown(True), type(op).__name__)
    equal(await s.do(Open(spec_of(s, "f"), "session:s", 1), Unknown), Unknown(True), "forked")
    equal(await s.store.events("session:s", 0, 9), [], "events")
    equal(await s.store.nodes(row, 0, 9, 9), [], "nodes")
    equal(await s.store.states(row, 9), {}, "states")
    equal(await s.store.items(row, [1]), [], "items")
    equal(await s.store.turns(row, 0, 9), [], "turns")


@case
async def nobody_is_deleted_by_mistake(s: Stage) -> None:
    """Neither who is not there nor a process."""
    await s.start("p")
    for process_id in ("p", "session:nobody"):
        equal(await s.do(Delete(process_id), Unknown), Unknown(False), process_id)
    equal((await s.row("p")).record.status, Status.RUNNING, "the process")


@case
async def a_deleted_session_takes_its_family_along(s: Stage) -> None:
    """What it started and did not detach is asked to cancel, sessions as well; their ids are told."""
    await opened(s)
    fence = await leased(s)
    await s.start("kept", parent="session:s", detached=True)
    await s.start("idle", parent="session:s")
    child = await s.leased("child", parent="session:s")
    await s.start("grandchild", parent="child")
    await opened(s, "sub", parent="session:s")
    await s.do(Finish(await s.leased("done", parent="session:s"), Completed(b"1")), Done)
    asked = await s.do(Delete("session:s"), Count)
    equal(sorted(asked.ids), ["child", "grandchild", "idle", "session:sub"], "asked")
    for process_id in ("idle", "grandchild", "session:sub"):
        equal((await s.row(process_id)).record.status, Status.CANCELLED, process_id)
    equal(said(await s.store.history(child.row, 0)), [("cancel", 0, b'{"reason":"%s"}' % DELETED.encode())], "told")
    equal((await s.row("kept")).record.cancel_requested, None, "the detached one")
    equal(await s.do(committing(fence, 1), Stale), Stale(0), "its holder")


@case
async def nothing_is_started_for_a_session_that_is_over(s: Stage) -> None:
    """By whoever has not heard of it yet: neither a process nor a session, unless it is detached. What was started
    before is what it was."""
    for name in ("s", "closed"):
        await opened(s, name)
        await s.start(f"early {name}", parent=f"session:{name}")
    await s.do(Delete("session:s"), Count)
    await s.do(Cancel("session:closed", "enough"), Appended)
    answers = {"s": Unknown(True), "closed": Ended(Cancelled("enough"))}
    for name, answer in answers.items():
        parent = f"session:{name}"
        late, sub = s.spec("late", parent=parent), spec_of(s, "sub", parent=parent)
        equal(await s.write(Start(late), Open(sub), Start(late, "w1", 10)), [answer] * 3, name)
        equal(await s.store.get(["late", "session:sub"]), [None, None], "nothing was written")
        again = await s.do(Start(s.spec(f"early {name}", parent=parent)), Started)
        equal((again.created, again.status), (False, Status.CANCELLED), "started before")
        await s.start(f"kept {name}", parent=parent, detached=True)
    await s.start("orphan", parent="session:nobody")
    equal((await s.write(Start(s.spec("p", parent="session:t")), Open(spec_of(s, "t")), Delete("session:t")))[2],
          Count(["p"]), "and in one transaction")  # fmt: skip


@case
async def a_deleted_session_answers_who_waits_for_it(s: Stage) -> None:
    """Its unfinished items never come, and its process was cancelled; later waits are told the same."""
    await opened(s)
    fence = await leased(s)
    await taken(s, fence)
    await posted(s)
    waiter = await s.leased("waiter")
    keys = ["turn:session:s/1", "turn:session:s/2", "process:session:s"]
    await s.put(waiter, 0, *(wait(number, key) for number, key in enumerate(keys)))
    await s.do(Delete("session:s"), Count)
    ended = b'["cancelled",{"message":"%s"}]' % DELETED.encode()
    replies = said(await s.store.history(waiter.row, 0))[3:]
    equal(sorted(replies), [("reply", 0, b"null"), ("reply", 1, b"null"), ("reply", 2, ended)], "replies")
    equal(await s.store.news("w1"), [waiter], "news")
    late = await s.put(waiter, 0, *(wait(number, key) for number, key in enumerate(keys, 3)))
    replies = [part for part in said(late) if part[0] == "reply"]
    equal(replies[-3:], [("reply", 3, b"null"), ("reply", 4, b"null"), ("reply", 5, b'["pruned",null]')], "later waits")


@case
async def forks_keep_their_nodes(s: Stage) -> None:
    """Nodes outlive their writer as long as a fork shares them, and no longer."""
    row = await opened(s)
    await turn(s, "s", *messages("a", "b", "c"))
    fork = await opened(s, "f", "s", 2)
    await turn(s, "f", *messages("x", "y"))
    await opened(s, "g", "f", 3)
    await s.do(Delete("session:s"), Count)
    equal(bodies(await path(s, "f")), [{"text": text} for text in "abxy"], "the fork")
    equal([node.id for node in await path(s, "g")], ["s#1", "s#2", "f#3"], "its fork")
    equal(len(await s.store.nodes(row, 0, 9, 9)), 2, "what nobody shares is gone")
    await s.do(Delete("session:f"), Count)
    equal(bodies(await path(s, "g")), [{"text": text} for text in "abx"], "after the fork was deleted")
    equal(len(await s.store.nodes(fork, 0, 9, 9)), 3, "and no more than that is left")
    await turn(s, "g", *messages("z"))
    equal(bodies(await path(s, "g")), [{"text": text} for text in "abxz"], "it goes on")
    await s.do(Delete("session:g"), Count)
    for number in (row, fork):
        equal(await s.store.nodes(number, 0, 9, 9), [], "with the last one everything is gone")


@case
async def a_fork_may_be_deleted_before_its_base(s: Stage) -> None:
    """Its base loses nothing by it."""
    await opened(s)
    await turn(s, "s", *messages("a", "b"))
    fork = await opened(s, "f", "s", 1)
    await turn(s, "f", *messages("x"))
    await s.do(Delete("session:f"), Count)
    equal(bodies(await path(s)), [{"text": "a"}, {"text": "b"}], "the base")
    equal(await s.store.nodes(fork, 0, 9, 9), [], "the fork")


@case
async def an_ended_session_is_pruned_like_a_process(s: Stage) -> None:
    """With everything of its own; forks keep what they share."""
    row = await opened(s)
    await turn(s, "s", *messages("a", "b"))
    await opened(s, "f", "s", 1)
    await s.do(Cancel("session:s", "enough"), Appended)
    s.clock.advance(10)
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count(["session:s"]), "pruned")
    equal(type((await s.store.sessions(["session:s"]))[0]).__name__, "Tombstone", "tombstone")
    equal(await s.store.turns(row, 0, 9), [], "turns")
    equal(await s.store.items(row, [1]), [], "items")
    equal((bodies(await path(s, "f")), len(await s.store.nodes(row, 0, 9, 9))), ([{"text": "a"}], 1), "nodes")


@case
async def what_a_session_at_rest_started_is_pruned(s: Stage) -> None:
    """Nobody awaits it; but for as long as a turn is at work, or waits, it may be awaited."""
    await opened(s)
    await s.write(Start(s.spec("p", parent="session:s")), Cancel("p", "x"))
    s.clock.advance(10)
    fence = await leased(s)
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count([]), "a turn is at work")
    await taken(s, fence)
    await s.put(fence, 0, wait(9, "signal:go"))
    rank = (await s.store.history(fence.row, 0))[-1].rank
    await s.do(Park(fence, rank, Waiting("signal", "signal:go", None)), Done)
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count([]), "it waits")
    await s.do(Signal("session:s", "go", b"1", None), Appended)
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count([]), "it is due")
    fence = (await s.claim_one("session:s")).lease.fence
    done = committing(fence, 1, 0, messages("a"))
    committed, pruned = await s.write(done, Prune(s.clock.now_ms, 9))
    equal((type(committed), pruned), (Committed, Count(["p"])), "and when it has ended, at once")
    await s.write(Start(s.spec("q", parent="session:s")), Cancel("q", "x"))
    s.clock.advance(10)
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count(["q"]), "and later")
    equal((await session(s)).process.record.status, Status.RUNNING, "the session")


@case
async def listings_keep_sessions_apart(s: Stage) -> None:
    """Counts and pages are of processes, unless sessions are asked for; by id each is found either way."""
    await s.start("p")
    await opened(s)
    await opened(s, "t", agent="critic", tags=("red",), parent="session:s")
    equal(await s.store.counts(), {"running": 1, "completed": 0, "failed": 0, "cancelled": 0, "abandoned": 0}, "counts")

    async def page(**fields: object) -> list[str]:
        wanted = ProcessFilter()._replace(**fields)  # type: ignore[arg-type]  # its fields
        return [row.record.id for row in await s.store.page(wanted)]

    equal((await page(), await page(sessions=True)), (["p"], ["session:t", "session:s"]), "pages")
    equal(await page(sessions=True, name="critic"), ["session:t"], "by agent")
    equal(await page(sessions=True, tag="red"), ["session:t"], "by tag")
    equal(await page(tag="red"), [], "processes by tag")
    equal(await page(sessions=True, parent="session:s"), ["session:t"], "by parent")
    equal(await page(sessions=True, after="session:t", limit=1), ["session:s"], "the next page")
    await s.do(Cancel("session:t", "enough"), Appended)
    equal(await page(sessions=True, status=Status.RUNNING), ["session:s"], "running")
    equal(await page(sessions=True, status=Status.CANCELLED), ["session:t"], "cancelled")
    equal((await s.store.counts())["cancelled"], 0, "a cancelled session is not counted")
    wanted = ["session:t", "p", "session:nobody", "session:s"]
    found = await s.store.sessions(wanted)
    equal([None if row is None else (await session(s, name)).id for row, name in zip(found, "t--s", strict=True)],
          ["t", None, None, "s"], "by id, in the order asked for")  # fmt: skip
    equal(await s.store.not_running(wanted), ["session:t", "session:nobody"], "not running")
    equal([row is None for row in await s.store.get(wanted)], [False, False, True, False], "as processes")


@case
async def a_process_and_a_session_are_two_kinds(s: Stage) -> None:
    """An id has one of them: who starts what is a session, or opens what is a process, meets a conflict."""
    await opened(s)
    spec = s.spec("session:s", definition="another")
    equal(await s.do(Start(spec), Conflict), Conflict(spec_of(s, "s").definition, "session", "helper"), "started")
    await s.start("session:p")
    there = Conflict(s.spec("session:p").definition, "python", "job")
    equal(await s.do(Open(spec_of(s, "p")), Conflict), there, "opened")
