"""A journal's timeline: one line for each effect, with what it took and how it ended; open things stay visible."""

from __future__ import annotations

from lash.cli.journal import Journal
from lash.core.effect import Entry, EntryKind

K = EntryKind
FAILURE = b'{"class":"execution","code":"E","message":"m"}'


def ranked(*entries: Entry) -> Journal:
    return Journal([entry._replace(rank=number, at_ms=1_000 + 10 * number) for number, entry in enumerate(entries)])


def test_a_step_took_from_its_begin_to_its_record() -> None:
    [line] = ranked(Entry(K.STEP, 0, "load", payload=b"1", began_ms=990)).timeline()
    assert (line.kind, line.name, line.began_ms, line.ended_ms, line.ending) == ("step", "load", 990, 1_000, "ok")


def test_a_clock_of_a_worker_that_runs_ahead_gives_no_negative_time() -> None:
    [line] = ranked(Entry(K.STEP, 0, "load", payload=b"1", began_ms=5_000)).timeline()
    assert line.began_ms == line.ended_ms == 1_000


def test_a_retried_step_is_one_line_from_its_first_attempt() -> None:
    [line] = ranked(
        Entry(K.ATTEMPT, 0, "pay", payload=FAILURE, failed=True, attempt=1, began_ms=900, due_ms=1_005),
        Entry(K.STEP, 0, "pay", payload=b"1", attempt=2, began_ms=1_006),
    ).timeline()
    assert (line.began_ms, line.ended_ms, line.attempts, len(line.failures)) == (900, 1_010, 2, 1)


def test_a_step_between_attempts_is_open() -> None:
    journal = ranked(
        Entry(K.ATTEMPT, 0, "pay", payload=FAILURE, failed=True, attempt=1, began_ms=900, due_ms=9_000),
        Entry(K.ATTEMPT, 0, "pay", payload=FAILURE, failed=True, attempt=2, began_ms=950, due_ms=9_900),
    )
    [line] = journal.timeline()
    assert (line.ending, line.ended_ms, line.attempts) == ("retrying", None, 2)
    assert journal.pending[0].attempt == 2


def test_waits_end_by_a_reply_or_by_being_withdrawn_or_stay_open() -> None:
    journal = ranked(
        Entry(K.WAIT, 0, "signal:go"),
        Entry(K.WAIT, 1, "process:child"),
        Entry(K.WAIT, 2, "signal:late"),
        Entry(K.REPLY, 0, "signal:go", payload=b"1"),
        Entry(K.CLOSE, 1, "process:child"),
    )
    found = [(line.kind, line.name, line.ending) for line in journal.timeline()]
    assert found == [("signal", "go", "ok"), ("process", "child", "withdrawn"), ("signal", "late", "open")]
    assert [entry.ordinal for entry in journal.open_waits] == [2]
    assert journal.awaited_ids() == []


def test_mail_is_untaken_until_a_reply_took_it_and_again_after_it_was_given_back() -> None:
    taken = ranked(
        Entry(K.MAIL, 5, "signal:go"), Entry(K.WAIT, 0, "signal:go"), Entry(K.REPLY, 0, "signal:go", attempt=5)
    )
    assert taken.untaken == []
    back = Journal([*taken.entries, Entry(K.CLOSE, 0, rank=9), Entry(K.MAIL, 5, "signal:go", rank=10)])
    assert [entry.ordinal for entry in back.untaken] == [5]


def test_an_empty_journal_has_nothing_to_tell() -> None:
    journal = Journal([])
    assert (journal.last, journal.timeline(), journal.open_waits, journal.pending) == (None, [], [], {})
