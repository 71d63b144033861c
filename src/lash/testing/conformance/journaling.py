"""Recorded once, in one order: ranks grow with every commit and are never given twice."""

from __future__ import annotations

from lash.abc.store import Cancel, Continue, Done, Finish, Forget, Look, Put, Recorded, Signal
from lash.core.effect import Entry, EntryKind
from lash.core.outcome import Completed
from lash.testing.conformance.stage import Stage, case, equal, said, step, wait


@case
async def every_field_of_an_entry_comes_back(s: Stage) -> None:
    """At once and after reading, equal but for rank and time."""
    fence = await s.leased("p")
    entries = [
        Entry(EntryKind.STEP, 0),
        Entry(EntryKind.STEP, 1, "näme", "ABCDEF0123456789" * 2, b'"x"', True, 3, 17, 18),
        Entry(EntryKind.COMMAND, 2, "start", "0123456789abcdef" * 2, b"null"),
        Entry(EntryKind.SLEEP, 0, due_ms=44),
        Entry(EntryKind.ATTEMPT, 3, "work", "short", b'{"e":1}', True, 2, 5, 6),
        Entry(EntryKind.STEP, 400_000, "zero", attempt=0),
    ]
    recorded = await s.put(fence, 0, *entries)
    equal([entry._replace(rank=0, at_ms=0) for entry in recorded], entries, "entries")
    equal({entry.at_ms for entry in recorded}, {s.clock.now_ms}, "time")
    equal(await s.store.history(fence.row, 0), list(recorded), "history")
    equal(await s.store.history(fence.row, recorded[3].rank), list(recorded[4:]), "history after a rank")


@case
async def a_put_returns_everything_after_what_was_seen(s: Stage) -> None:
    """Its own entries and those of others, in rank order."""
    fence = await s.leased("p")
    first = await s.put(fence, 0, step(0))
    await s.do(Cancel("p", "stop"), object)
    second = await s.put(fence, first[-1].rank, step(1), step(2))
    equal(said(second), [("cancel", 0, b'{"reason":"stop"}'), ("step", 1, b"1"), ("step", 2, b"1")], "after the first")
    everything = await s.put(fence, 0)
    equal(list(everything), [*first, *second], "after nothing")


@case
async def a_repeated_put_is_written_once(s: Stage) -> None:
    """Its writer never saw the first answer; the second one says the same (every operation may be repeated)."""
    fence = await s.leased("p")
    await s.do(Signal("p", "go", b"7", None), object)
    seen = (await s.store.history(fence.row, 0))[-1].rank
    op = Put(fence, seen, [step(0), wait(1, "signal:go"), Entry(EntryKind.ATTEMPT, 2, "w", attempt=1)])
    first = await s.do(op, Recorded)
    equal(len(first.entries), 4, "entries, the reply among them")
    equal(await s.do(op, Recorded), first, "the repeated answer")
    another = await s.put(fence, seen, Entry(EntryKind.ATTEMPT, 2, "w", attempt=2))
    equal(len(another), 5, "another attempt is another entry")


@case
async def store_time_never_goes_back_within_a_scope(s: Stage) -> None:
    """A clock set back shows neither in entries nor in events."""
    fence = await s.leased("p")
    at_ms = (await s.put(fence, 0, step(0)))[0].at_ms
    s.clock.advance(-5_000)
    later = await s.put(fence, 0, step(1))
    equal(later[-1].at_ms, at_ms, "time of the later entry")
    await s.do(Signal("p", "x", b"1", None), object)
    await s.do(Finish(fence, Completed(b"1")), Done)
    equal({item.at_ms for item in await s.store.events("p", 0, 9)}, {at_ms}, "times of events")
    other = await s.leased("q")
    equal((await s.put(other, 0, step(0)))[0].at_ms, s.clock.now_ms, "another scope")


@case
async def look_reads_on_and_clears_the_news(s: Stage) -> None:
    """News are rows to which somebody else has written a delivered entry."""
    fence = await s.leased("p")
    await s.put(fence, 0, step(0))
    equal(await s.store.news("w1"), [], "news of one's own writing")
    await s.do(Signal("p", "mail", b"1", None), object)
    equal(await s.store.news("w1"), [], "news of mail nobody waits for")
    await s.do(Cancel("p", "stop"), object)
    equal([await s.store.news("w1"), len(await s.store.news("w2"))], [[fence], 0], "news")
    seen = await s.do(Look(fence, 1), Recorded)
    equal([entry.kind.value for entry in seen.entries][-1], "cancel", "what came")
    equal(await s.store.news("w1"), [], "news after the look")
    await s.do(Cancel("p", "stop"), object)
    equal(await s.store.news("w1"), [], "a repeated cancel is no news")


@case
async def a_put_clears_the_news_it_brings(s: Stage) -> None:
    """Whoever gets the entries need not be told of them again."""
    fence = await s.leased("p")
    await s.do(Cancel("p", "stop"), object)
    equal(await s.store.news("w1"), [fence], "news")
    equal([entry.kind.value for entry in await s.put(fence, 0, step(0))], ["cancel", "step"], "entries")
    equal(await s.store.news("w1"), [], "news after the put")


@case
async def forget_keeps_mail_and_cancel_requests(s: Stage) -> None:
    """Everything else of the journal goes; ranks go on growing."""
    fence = await s.leased("p")
    await s.do(Signal("p", "kept", b"1", None), object)
    await s.do(Signal("p", "taken", b"2", None), object)
    await s.put(fence, 0, step(0), wait(1, "signal:taken"), wait(2, "signal:never"))
    await s.do(Cancel("p", "stop"), object)
    last = (await s.store.history(fence.row, 0))[-1].rank
    await s.do(Forget(fence), Done)
    kept = await s.store.history(fence.row, 0)
    equal([entry.kind.value for entry in kept], ["mail", "cancel"], "kept")
    await s.do(Signal("p", "never", b"3", None), object)
    after = await s.put(fence, last, wait(0, "signal:kept"))
    equal(said(after), [("mail", 5, b"3"), ("wait", 0, b""), ("reply", 0, b"1")], "after forgetting")


@case
async def ranks_are_not_given_again_after_a_cut(s: Stage) -> None:
    """The newest rows may be deleted, and a body that had seen them must still see what comes next."""
    fence = await s.leased("p")
    last = (await s.put(fence, 0, step(0), step(1)))[-1].rank
    await s.do(Forget(fence), Done)
    equal(await s.store.history(fence.row, 0), [], "journal")
    entry = (await s.put(fence, last, step(0)))[0]
    equal(entry.rank > last, True, "rank after the cut")


@case
async def continue_cuts_the_journal_and_keeps_mail(s: Stage) -> None:
    """New arguments, a new beginning of the body's clock, the same lease and definition."""
    fence = await s.leased("p")
    await s.do(Signal("p", "kept", b"1", None), object)
    await s.put(fence, 0, step(0), wait(1, "signal:x"))
    s.clock.advance(60)
    await s.do(Cancel("p", "stop"), object)
    await s.do(Continue(fence, b'[[ "b" ],{"n": 1.0}]'), Done)
    left = [entry.kind.value for entry in await s.store.history(fence.row, 0)]
    equal(left, ["mail", "cancel"], "what the new beginning still hears")
    record = (await s.row("p")).record
    equal((record.spec.args, record.began_ms), (b'[["b"],{"n":1.0}]', s.clock.now_ms), "arguments and beginning")
    equal(record.spec.definition, s.specs["p"].definition, "definition")
    await s.put(fence, 0, step(0))
    await s.do(Signal("p", "x", b"2", None), object)
    kinds = [entry.kind.value for entry in await s.store.history(fence.row, 0)]
    equal(kinds, ["mail", "cancel", "step", "mail"], "the wait of the former life is gone")


@case
async def a_long_history_is_read_whole(s: Stage) -> None:
    """However many entries, in rank order, from any rank."""
    fence = await s.leased("p")
    entries = await s.put(fence, 0, *[step(number, b"%d" % number) for number in range(1_100)])
    equal(await s.store.history(fence.row, 0), list(entries), "history")
    equal(await s.store.history(fence.row, entries[499].rank), list(entries[500:]), "second part")
