"""Events: dense from 1, once per key; a replayed key precedes every other check of a signal (spec 16.1-10)."""

from __future__ import annotations

from lash.abc.store import Append, Appended, Done, Ended, Finish, KeyConflict, Signal, Unknown
from lash.core.event import Event
from lash.core.outcome import Completed
from lash.testing.conformance.stage import Stage, case, equal


@case
async def events_are_dense_from_one(s: Stage) -> None:
    """Whoever writes them: the store, the body, a stranger. Reading is exclusive of the cursor, and bounded."""
    fence = await s.leased("p")
    first = await s.do(Append(fence, "made", b'{"n":1}', None), Appended)
    equal(first, Appended(Event(2, "made", b'{"n":1}', None, s.clock.now_ms), True), "appended")
    await s.do(Signal("p", "hello", b"1", None), Appended)
    await s.do(Append(fence, "made", b'{"n":1}', None), Appended)
    events = await s.store.events("p", 0, 99)
    equal([item.sequence for item in events], [1, 2, 3, 4], "sequences")
    equal([item.type for item in events], ["process.started", "made", "signal.hello", "made"], "types")
    equal(await s.store.events("p", 2, 1), events[2:3], "one after the second")
    equal(await s.store.events("nobody", 0, 9), [], "events of nobody")


@case
async def the_same_key_and_content_is_the_same_event(s: Stage) -> None:
    """Content is meaning, not spelling; other content under the key is a conflict that writes nothing."""
    fence = await s.leased("p")
    stored = await s.do(Append(fence, "made", b'{"a":1,"b":2}', "k"), Appended)
    s.clock.advance(9)
    again = await s.do(Append(fence, "made", b'{ "b": 2, "a": 1 }', "k"), Appended)
    equal(again, Appended(stored.event, False), "the same in another spelling")
    equal(await s.do(Append(fence, "made", b'{"a":1}', "k"), KeyConflict), KeyConflict(stored.event), "other payload")
    equal(
        await s.do(Append(fence, "born", b'{"a":1,"b":2}', "k"), KeyConflict), KeyConflict(stored.event), "other type"
    )
    equal((await s.row("p")).record.last_event, 2, "last event")
    await s.do(Append(fence, "made", b'{"a":1}', "other"), Appended)


@case
async def a_key_belongs_to_one_process(s: Stage) -> None:
    """Two processes may use the same key."""
    a, b = await s.leased("a"), await s.leased("b")
    for fence in (a, b):
        equal((await s.do(Append(fence, "made", b"1", "k"), Appended)).new, True, "new")


@case
async def a_repeated_signal_is_delivered_once(s: Stage) -> None:
    """The key says so, before and after the end of the process, and apart from the body's own keys."""
    fence = await s.leased("p")
    await s.do(Append(fence, "made", b"1", "k"), Appended)
    first = await s.do(Signal("p", "go", b'{"n":1}', "k"), Appended)
    equal(first.new, True, "a signal's key and a body's key are two")
    equal(await s.do(Signal("p", "go", b'{ "n": 1 }', "k"), Appended), Appended(first.event, False), "repeated")
    equal(await s.do(Signal("p", "go", b"2", "k"), KeyConflict), KeyConflict(first.event), "other payload")
    equal(await s.do(Signal("p", "stop", b'{"n":1}', "k"), KeyConflict), KeyConflict(first.event), "other name")
    equal(len(await s.store.history(fence.row, 0)), 1, "mail")
    await s.do(Finish(fence, Completed(b"5")), Done)
    equal(
        await s.do(Signal("p", "go", b'{"n":1}', "k"), Appended), Appended(first.event, False), "repeated after the end"
    )
    equal(await s.do(Signal("p", "go", b"1", "new"), Ended), Ended(Completed(b"5")), "a new one after the end")
    equal(await s.do(Signal("p", "go", b"1", None), Ended), Ended(Completed(b"5")), "without key after the end")


@case
async def a_signal_to_nobody_says_so(s: Stage) -> None:
    """Unknown is a verdict, not an error and not silence."""
    equal(await s.do(Signal("nobody", "go", b"1", None), Unknown), Unknown(False), "unknown")


@case
async def a_signal_before_the_start_waits_as_mail(s: Stage) -> None:
    """A process that never ran keeps what it was sent."""
    await s.start("p")
    await s.do(Signal("p", "go", b"1", None), Appended)
    claimed = await s.claim_one("p")
    equal((claimed.fresh, claimed.row.record.last_event), (True, 2), "fresh and last event")
    equal([entry.kind.value for entry in await s.store.history(claimed.row.row, 0)], ["mail"], "journal")
