"""Why a process is not moving, in words: what it is doing or waiting for, since when, and what would move it.

``explain`` is a function of facts read once; it guesses nothing that is not in the row, the journal or the list of
workers. What a process waits for is explained in its turn, a few levels deep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lash.abc.store import Store, WorkerRecord
from lash.cli.documents import Document, state_of
from lash.cli.journal import Journal
from lash.cli.output import moment, relative, show_value
from lash.core import codec
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed
from lash.core.process import Lane, ProcessRow, Tombstone, lane_of
from lash.core.schedule import show_ms
from lash.core.session import SESSION, TURN_PREFIX, item_of_turn_key, session_id_of
from lash.limits import CANCEL_GRACE_MS, PAGE_ROWS_MAX

DEPTH_MAX: Final = 4
"""Levels of processes that wait for processes: deeper ones have an ``explain`` of their own."""
AWAITED_SHOWN: Final = 3
"""Of many processes waited for at once."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything an explanation is made of."""

    row: ProcessRow
    journal: Journal
    workers: Sequence[WorkerRecord]
    """The live ones."""
    now_ms: int
    awaited: Mapping[str, ProcessRow | Tombstone | None] = field(
        default_factory=dict[str, ProcessRow | Tombstone | None]
    )
    """What the body waits for, as far as it was looked up."""

    @property
    def pending(self) -> list[int]:
        """Steps to be tried again. Of a parked row only what its due time speaks of: others were given up."""
        row = self.row
        if row.owner is not None:
            return list(self.journal.pending)
        return [
            ordinal
            for ordinal, entry in self.journal.pending.items()
            if row.due_ms is not None and entry.due_ms >= row.due_ms
        ]


@dataclass(frozen=True, slots=True)
class Explanation:
    """``headline`` answers the question; ``details`` are the facts behind it, ``advice`` what can be done."""

    process_id: str
    state: str
    headline: str
    details: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    awaited: tuple[Explanation, ...] = ()

    def as_json(self) -> Document:
        return {
            "id": self.process_id,
            "state": self.state,
            "headline": self.headline,
            "details": list(self.details),
            "advice": list(self.advice),
            "awaited": [item.as_json() for item in self.awaited],
        }


async def explain_process(store: Store, row: ProcessRow, depth: int = 0) -> Explanation:
    """Read the facts about a process and about what it waits for, and explain them."""
    journal = Journal(await store.history(row.row, 0))
    ids = journal.awaited_ids()[:PAGE_ROWS_MAX]
    awaited = dict(zip(ids, await store.get(ids), strict=True)) if ids else {}
    found = explain(Facts(row, journal, await store.workers(), store.now_ms(), awaited))
    if depth >= DEPTH_MAX or row.record.status.final:
        return found
    running = [item for item in awaited.values() if isinstance(item, ProcessRow) and not item.record.status.final]
    below = [await explain_process(store, item, depth + 1) for item in running[:AWAITED_SHOWN]]
    return Explanation(found.process_id, found.state, found.headline, found.details, found.advice, tuple(below))


def explain(facts: Facts) -> Explanation:
    """The rules, one function for each state."""
    record = facts.row.record
    state = state_of(facts.row, facts.now_ms)
    headline, details, advice = {
        "external": external,
        "running": running,
        "lost": lost,
        "blocked": blocked,
        "waiting": waiting,
        "sleeping": waiting,
        "back-off": back_off,
        "scheduled": scheduled,
        "idle": idle,
        "ready": ready,
    }.get(state, ended)(facts)
    if record.cancel_requested is not None and not record.status.final:
        details = [*details, about_cancel(facts)]
    return Explanation(record.id, state, headline, tuple(details), tuple(advice))


Said = tuple[str, list[str], list[str]]
"""Headline, details, advice."""


# Ended, or not ours to run -----------------------------------------------------------------------------------------


def ended(facts: Facts) -> Said:
    record = facts.row.record
    when = moment(record.updated_ms, facts.now_ms)
    match record.outcome:
        case Completed(value):
            return f"It completed at {when}.", [f"Its value: {show_value(codec.decode(value), 200)}"], []
        case Failed(failure):
            details = [f"{failure.code} ({failure.failure_class}): {failure.message}"]
            return f"It failed at {when}.", details, [f"lash show {record.id} lists its steps; a failure is final."]
        case Cancelled(message):
            return f"It was cancelled at {when}: {message}.", [], []
        case Abandoned(evidence):
            headline = f"It was abandoned at {when}: its worker was lost, and its contract is to run once."
            return (
                headline,
                [f"Evidence: {show_value(evidence, 400)}"],
                ["Look at what it did outside, then start another one."],
            )
        case None:
            return f"It ended at {when}.", [], []


def external(facts: Facts) -> Said:
    record = facts.row.record
    headline = "It is external: it runs elsewhere, and no worker here will ever touch it."
    details = [f"Registered {moment(record.created_ms, facts.now_ms)}."]
    advice = [
        f"Whoever does the work closes it: await app.handle({record.id!r}).complete(value), or .fail(message).",
    ]
    return headline, details, advice


def idle(facts: Facts) -> Said:
    since = moment(facts.row.record.updated_ms, facts.now_ms)
    return f"It is a session with nothing to do: all that was sent to it is done (since {since}).", [], []


# In a worker's hands -----------------------------------------------------------------------------------------------


def running(facts: Facts) -> Said:
    row, now_ms = facts.row, facts.now_ms
    waits, pending = facts.journal.open_waits, facts.pending
    until = relative(row.until_ms or now_ms, now_ms)
    headline = (
        f"It is running: leased by {worker_words(facts, row.owner)} for now (the lease ends {until}, and is renewed)."
    )
    details = [last_entry(facts)]
    details += [attempt_words(facts, ordinal) for ordinal in pending]
    details += [f"Open: {item}." for item in wait_words(facts)]
    advice: list[str] = []
    if not waits and not pending:
        details.append("Whatever came after that is not recorded yet: a step in flight, or the body at work.")
    if all(worker.owner != row.owner for worker in facts.workers):
        details.append("That worker is not among the live ones: it died a moment ago, and its lease is about to end.")
    if row.record.blocked is not None:
        details.append(f"It was blocked before: {row.record.blocked.reason}.")
    return headline, details, advice


def lost(facts: Facts) -> Said:
    row = facts.row
    ago = relative(row.until_ms or facts.now_ms, facts.now_ms)
    headline = f"Its worker was lost: the lease of {row.owner} ended {ago} and nobody has taken it over yet."
    details, advice = who_serves(facts, "take it over")
    return headline, [*details, last_entry(facts)], advice


def ready(facts: Facts) -> Said:
    row, record = facts.row, facts.row.record
    since = relative(row.due_ms if row.due_ms is not None else record.updated_ms, facts.now_ms)
    what = "to start" if record.first_started is None else "to go on"
    details, advice = who_serves(facts, "claim it")
    served = bool(serving(facts))
    why = "a worker will claim it when it has a free slot" if served else "no live worker serves it"
    headline = f"It is ready {what} (due {since}), and {why}."
    return headline, details, advice


def serving(facts: Facts) -> list[WorkerRecord]:
    lane = lane_of(facts.row.record.spec)
    return [worker for worker in facts.workers if lane in worker.lanes]


def who_serves(facts: Facts, verb: str) -> tuple[list[str], list[str]]:
    """Details and advice on which workers could run this process."""
    spec = facts.row.record.spec
    able = serving(facts)
    if able:
        names = ", ".join(worker_words(facts, worker.owner) for worker in able[:AWAITED_SHOWN])
        advice = [f"If it stays so, that is all they can do at once: start another worker to {verb} sooner."]
        return [f"{len(able)} live worker(s) serve it: {names}."], advice
    details = [f"It needs a worker that has {lane_words(lane_of(spec))}."]
    if not facts.workers:
        details.append("No worker is alive on this database at all.")
    for worker in facts.workers[: 2 * AWAITED_SHOWN]:
        namesakes = sorted(lane_words(lane) for lane in worker.lanes if lane.name == spec.name)
        serves = "; ".join(namesakes) or ", ".join(sorted({lane.name for lane in worker.lanes})) or "nothing"
        details.append(f"{worker_words(facts, worker.owner)} serves {serves}.")
    return details, [f"Start one: lash worker TARGET (the module that registers {spec.name!r})."]


def lane_words(lane: Lane) -> str:
    version = f" version {lane.version!r}" if lane.version else " without a version"
    profile = f" in host profile {lane.host_profile!r}" if lane.host_profile else ""
    if lane.kind == SESSION:
        return f"agent {lane.name!r}{profile}"
    kind = "" if lane.kind == "python" else f"{lane.kind} "
    return f"{kind}{lane.name!r}{version}{profile}"


def worker_words(facts: Facts, owner: str | None) -> str:
    for worker in facts.workers:
        if worker.owner == owner:
            about = codec.decode_object(worker.about)
            return f"worker {owner} (pid {about.get('pid', '?')} on {about.get('host', '?')})"
    return f"worker {owner}"


# Put off -----------------------------------------------------------------------------------------------------------


def scheduled(facts: Facts) -> Said:
    row = facts.row
    headline = f"It has not started yet: its delay ends {moment(row.due_ms or facts.now_ms, facts.now_ms)}."
    return headline, [], [f"lash retry {row.record.id} starts it now."]


def back_off(facts: Facts) -> Said:
    row, record = facts.row, facts.row.record
    until = moment(row.due_ms or facts.now_ms, facts.now_ms)
    if record.waiting is not None:
        details = [attempt_words(facts, ordinal) for ordinal in facts.pending]
        return f"A step failed and is tried again {until}.", details, []
    attempts = f"attempt {record.attempts} of {record.spec.attempts_max}"
    headline = f"It is in back-off until {until}, after {attempts}: its worker was lost."
    details = [last_entry(facts)]
    return headline, details, [f"lash retry {record.id} lets it go on now.", "Look for what kills the worker."]


def blocked(facts: Facts) -> Said:
    row, record = facts.row, facts.row.record
    trouble = record.blocked
    assert trouble is not None
    due_ms = row.due_ms if row.due_ms is not None else facts.now_ms
    again = f"It is tried again {moment(due_ms, facts.now_ms)}, and at once by a worker that starts with other code."
    details = [trouble.detail, f"{row.faults} fault(s) in a row. {again}"]
    if trouble.reason == "diverged":
        headline = "It is blocked: the code has changed under its journal (diverged)."
        advice = [
            "Put back the code it was started with, or register that code under its old version beside the new one.",
            f"Then start a worker with it; lash retry {record.id} tries at once.",
            f"If the work is not worth that: lash cancel {record.id}.",
        ]
        return headline, details, advice
    headline = f"It is blocked: {trouble.reason}. That is trouble around it, and no outcome."
    return (
        headline,
        [*details, *who_serves(facts, "claim it")[0]],
        [f"Mend that; lash retry {record.id} tries at once."],
    )


# Waiting -----------------------------------------------------------------------------------------------------------


def waiting(facts: Facts) -> Said:
    record = facts.row.record
    parked = record.waiting
    assert parked is not None
    if parked.on == "sleep" and parked.until_ms is not None:
        headline = f"It sleeps until {moment(parked.until_ms, facts.now_ms)}. Nothing is wrong."
        return headline, [last_entry(facts)] if facts.journal.last else [], []
    open_things = wait_words(facts) + [attempt_words(facts, ordinal) for ordinal in facts.pending]
    until = [] if parked.until_ms is None else [f"Its timer ends {moment(parked.until_ms, facts.now_ms)}."]
    if not open_things and parked.until_ms is None:
        return deadlocked(facts)
    if len(open_things) == 1:
        return f"It waits for {open_things[0]}.", [*until, *untaken_words(facts)], advice_on_waits(facts)
    headline = f"It waits for {len(open_things)} things." if open_things else "It waits for a timer."
    shown = [f"{item[0].upper()}{item[1:]}." for item in open_things[: 2 * AWAITED_SHOWN]]
    if len(open_things) > len(shown):
        shown.append(f"… and {len(open_things) - len(shown)} more.")
    return headline, [*shown, *until, *untaken_words(facts)], advice_on_waits(facts)


def deadlocked(facts: Facts) -> Said:
    record = facts.row.record
    headline = "It waits for nothing that can ever arrive: its body is deadlocked."
    details = [
        "No signal, process, timer or step is open. The body awaits something only it could resolve: an asyncio.Event "
        "nobody sets, an empty Queue, a Lock it holds itself.",
        last_entry(facts),
    ]
    advice = [
        f"lash cancel {record.id} ends it; the body sees CancelledError.",
        "Or mend the code so that it asks for the same steps, and start a worker with it.",
    ]
    return headline, details, advice


def wait_words(facts: Facts) -> list[str]:
    """Each open wait: what for, since when; and how the process it waits for stands."""
    found: list[str] = []
    for entry in facts.journal.open_waits:
        kind, _, name = entry.name.partition(":")
        since = relative(entry.at_ms, facts.now_ms)
        if kind == "signal":
            found.append(f"the signal {name!r} (asked for {since})")
        elif kind + ":" == TURN_PREFIX:
            session, number = item_of_turn_key(entry.name)
            found.append(f"turn {number} of session {session_id_of(session)!r} (asked for {since})")
        else:
            found.append(f"the process {name}, which {standing(facts, name)} (asked for {since})")
    return found


def standing(facts: Facts, process_id: str) -> str:
    if process_id not in facts.awaited:
        return "was not looked up"
    row = facts.awaited[process_id]
    if row is None:
        return "does not exist"
    if isinstance(row, Tombstone):
        return f"ended ({row.status}) and was pruned"
    return f"is {state_of(row, facts.now_ms)}"


def untaken_words(facts: Facts) -> list[str]:
    wanted = {entry.name for entry in facts.journal.open_waits}
    names = sorted({entry.name.partition(":")[2] for entry in facts.journal.untaken if entry.name not in wanted})
    if not names:
        return []
    return [f"Signals nobody has asked for yet: {', '.join(map(repr, names))}. Is one of them misspelt?"]


def advice_on_waits(facts: Facts) -> list[str]:
    signals = [entry.name.partition(":")[2] for entry in facts.journal.open_waits if entry.name.startswith("signal:")]
    return [f"lash signal {facts.row.record.id} {name} '<payload as JSON>'" for name in dict.fromkeys(signals)]


# Small sentences ---------------------------------------------------------------------------------------------------


def last_entry(facts: Facts) -> str:
    entry = facts.journal.last
    if entry is None:
        return "Nothing is recorded yet."
    ended_how = " (failed)" if entry.failed else ""
    name = f" {entry.name}" if entry.name else ""
    return f"Last recorded: {entry.kind.value}{name}{ended_how}, {relative(entry.at_ms, facts.now_ms)}."


def attempt_words(facts: Facts, ordinal: int) -> str:
    entry = facts.journal.pending[ordinal]
    failure = codec.decode_object(entry.payload)
    due = relative(entry.due_ms, facts.now_ms)
    text = f"{failure.get('code', '')}: {failure.get('message', '')}"
    return f"attempt {entry.attempt + 1} of step {entry.name} (due {due}; attempt {entry.attempt} failed with {text})"


def about_cancel(facts: Facts) -> str:
    request = facts.row.record.cancel_requested
    assert request is not None
    when = moment(request.at_ms, facts.now_ms)
    said = f"A cancel was requested {when}: {request.reason}."
    if facts.row.record.spec.kind == "external":
        return f"{said} It is for whoever does the work to act on it."
    return f"{said} The body may clean up for {show_ms(CANCEL_GRACE_MS)}; then it is closed as cancelled."
