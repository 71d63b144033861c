"""What must be true of a store at every moment, whoever died meanwhile. A crash test ends by asking this file.

The rules are stated over what any ``Store`` lets one read, so they judge all stores alike, and they know nothing of
how a store or a worker goes about its work. Each fault found is one line that names the process and the broken rule.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from lash.abc.store import ProcessFilter, Store, wait_key_of_process, wait_key_of_signal
from lash.core import codec, event as ev
from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.outcome import Status
from lash.core.process import EXTERNAL, ProcessRecord, ProcessRow, fold
from lash.limits import PAGE_ROWS_MAX

SIGNAL_WAITS = wait_key_of_signal("")
PROCESS_WAITS = wait_key_of_process("")
ANSWERS = (EntryKind.STEP, EntryKind.COMMAND, EntryKind.WAIT)
"""Kinds that share one count of ordinals."""
READ_TRIES = 8
READ_PAUSE_S = 0.01
"""What others write to is read again before a fault counts: its row and its events may be of two moments."""


class Unsound(AssertionError):
    """A store broke a rule; ``faults`` has one line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(f"{len(faults)} broken rules:\n" + "\n".join(faults))
        self.faults = faults


async def check_store(store: Store, *, journaled: bool = True) -> int:
    """Every rule over every process; the number of processes. Raises ``Unsound``. Others may write meanwhile.

    ``journaled=False`` for an engine that remembers nothing: it cuts the journal of what it runs again.
    """
    rows = await rows_of(store)
    faults: list[str] = []
    for row in rows.values():
        faults += await faults_of_one(store, row.record.id, journaled)
    if first := family_faults(rows):
        second = family_faults(await rows_of(store))
        faults += [fault for fault in second if fault in first]
    if faults:
        raise Unsound(faults)
    return len(rows)


async def rows_of(store: Store) -> dict[str, ProcessRow]:
    """Every process in the store, by id."""
    found: dict[str, ProcessRow] = {}
    after: str | None = None
    while page := await store.page(ProcessFilter(after=after, limit=PAGE_ROWS_MAX)):
        found.update((row.record.id, row) for row in page)
        after = page[-1].record.id
    return found


async def events_of(store: Store, process_id: str) -> list[Event]:
    """The whole log of one process."""
    found: list[Event] = []
    while page := await store.events(process_id, found[-1].sequence if found else 0, PAGE_ROWS_MAX):
        found += page
    return found


async def faults_of_one(store: Store, process_id: str, journaled: bool = True) -> list[str]:
    """Every rule about one process."""
    faults: list[str] = []
    for _ in range(READ_TRIES):
        row = (await store.get((process_id,)))[0]
        if not isinstance(row, ProcessRow):
            return []  # pruned meanwhile
        events = await events_of(store, process_id)
        entries = await store.history(row.row, 0)
        ended = await ended_among_awaited(store, entries)
        faults = [
            *record_faults(row.record, events),
            *row_faults(row),
            *journal_faults(entries),
            *signal_faults(events, entries, journaled),
            *wait_faults(row, entries, ended),
        ]
        if not faults:
            break
        await asyncio.sleep(READ_PAUSE_S)
    return [f"{process_id}: {fault}" for fault in faults]


async def ended_among_awaited(store: Store, entries: Sequence[Entry]) -> set[str]:
    """Wait keys of processes that are no longer running."""
    ids = [wait.name.removeprefix(PROCESS_WAITS) for wait in open_waits(entries) if wait.name.startswith(PROCESS_WAITS)]
    found = await store.get(ids) if ids else []
    return {
        wait_key_of_process(process_id)
        for process_id, row in zip(ids, found, strict=True)
        if not isinstance(row, ProcessRow) or row.record.status.final
    }


# The record and its events -----------------------------------------------------------------------------------------


def record_faults(record: ProcessRecord, events: Sequence[Event]) -> list[str]:
    """The record is what its events tell, and they tell it once and in order."""
    faults: list[str] = []
    if [item.sequence for item in events] != list(range(1, len(events) + 1)):
        faults.append(f"event sequences are not dense: {[item.sequence for item in events]}")
    if any(later.at_ms < earlier.at_ms for earlier, later in pairwise(events)):
        faults.append("event times go backwards")
    # The spec in the record has the arguments of the last continue_as_new; the fold replaces them on its way.
    told = fold(record.spec, record.created_ms, events)
    if told != record:
        faults.append(f"fold(events) != record:\n  fold   {told}\n  record {record}")
    terminal = [item for item in events if item.type in ev.STATUS_OF]
    if len(terminal) > 1:
        faults.append(f"ended {len(terminal)} times: {[item.type for item in terminal]}")
    if bool(terminal) != record.status.final:
        faults.append(f"status {record.status} with terminal events {[item.type for item in terminal]}")
    if terminal and terminal[0] is not events[-1]:
        faults.append(f"events after the end: {[item.type for item in events[terminal[0].sequence :]]}")
    faults += [f"event key {key!r} stands on {count} events" for key, count in repeated(item.key for item in events)]
    faults += started_faults(record, events)
    return faults


def started_faults(record: ProcessRecord, events: Sequence[Event]) -> list[str]:
    """Attempts count up from 1, each under a larger token; what runs once is started once."""
    started = [codec.decode_object(item.payload) for item in events if item.type == ev.STARTED]
    faults: list[str] = []
    if [item["attempt"] for item in started] != list(range(1, len(started) + 1)):
        faults.append(f"attempts are not counted up from 1: {[item['attempt'] for item in started]}")
    tokens = [int(str(item["token"])) for item in started]
    if tokens != sorted(set(tokens)):
        faults.append(f"tokens do not grow: {tokens}")
    if record.spec.recovery == "once" and len(started) > 1:
        faults.append(f"is to run once and was started {len(started)} times")
    if len(started) > record.spec.attempts_max:
        faults.append(f"was started {len(started)} times; attempts_max is {record.spec.attempts_max}")
    return faults


def row_faults(row: ProcessRow) -> list[str]:
    """What stands beside the record for scheduling fits it."""
    record, faults = row.record, list[str]()
    if record.status.final and (row.owner is not None or row.due_ms is not None or row.until_ms is not None):
        faults.append(f"has ended and is still scheduled: owner {row.owner}, due {row.due_ms}, lease {row.until_ms}")
    if (row.owner is None) != (row.until_ms is None):
        faults.append(f"owner {row.owner} with a lease until {row.until_ms}")
    if row.owner is not None and row.due_ms is not None:
        faults.append("is leased and claimable at once")
    if record.waiting is not None and row.owner is not None:
        faults.append("is parked and leased at once")
    if record.waiting is not None and record.waiting.until_ms is not None and row.owner is None:
        if row.due_ms is None or row.due_ms > record.waiting.until_ms:
            faults.append(f"waits until {record.waiting.until_ms} and is due at {row.due_ms}")
    external = record.spec.kind == EXTERNAL or record.spec.recovery == "external"
    if record.status.final or record.waiting is not None or external:
        return faults
    if row.owner is None and row.due_ms is None:
        faults.append("is lost: it runs, waits for nothing, and nobody will ever claim it")
    return faults


# The journal -------------------------------------------------------------------------------------------------------


def journal_faults(entries: Sequence[Entry]) -> list[str]:
    """Ranks grow, time does not go back, and each effect has one reply."""
    faults: list[str] = []
    for earlier, later in pairwise(entries):
        if later.rank <= earlier.rank:
            faults.append(f"rank {later.rank} stands after {earlier.rank}")
        if later.at_ms < earlier.at_ms:
            faults.append(f"entry {later.rank} is older than its predecessor")
    answered = (entry.ordinal for entry in entries if entry.kind in ANSWERS)
    faults += [f"effect {ordinal} is recorded {count} times" for ordinal, count in repeated(answered)]
    for kind in (EntryKind.SLEEP, EntryKind.REPLY):
        numbers = (entry.ordinal for entry in entries if entry.kind is kind)
        faults += [f"{kind.value} {ordinal} is recorded {count} times" for ordinal, count in repeated(numbers)]
    opened: set[int] = set()
    last_attempt: dict[int, int] = {}
    for entry in entries:
        if entry.kind is EntryKind.WAIT:
            opened.add(entry.ordinal)
        elif entry.kind is EntryKind.REPLY and entry.ordinal not in opened:
            faults.append(f"wait {entry.ordinal} has a reply and was never opened")
        elif entry.kind is EntryKind.ATTEMPT:
            if entry.attempt != last_attempt.get(entry.ordinal, 0) + 1:
                faults.append(f"attempt {entry.attempt} of step {entry.ordinal} is out of turn")
            last_attempt[entry.ordinal] = entry.attempt
        elif entry.kind is EntryKind.STEP and entry.attempt != last_attempt.get(entry.ordinal, 0) + 1:
            faults.append(f"step {entry.ordinal} ended with attempt {entry.attempt}, which is out of turn")
    return faults


def signal_faults(events: Sequence[Event], entries: Sequence[Entry], journaled: bool = True) -> list[str]:
    """A signal is never heard twice, never altered, and never lost: it was heard, or lies ready as mail."""
    faults: list[str] = []
    sent = {item.sequence: item for item in events if item.type.startswith(ev.SIGNAL_PREFIX)}
    holders: dict[int, list[str]] = {sequence: [] for sequence in sent}
    given_back = {entry.ordinal: entry.rank for entry in entries if entry.kind is EntryKind.CLOSE}
    for entry in entries:
        sequence = entry.ordinal if entry.kind is EntryKind.MAIL else entry.attempt
        if entry.kind not in (EntryKind.MAIL, EntryKind.REPLY) or (entry.kind is EntryKind.REPLY and sequence == 0):
            continue
        item = sent.get(sequence)
        if item is None or wait_key_of_signal(item.type.removeprefix(ev.SIGNAL_PREFIX)) != entry.name:
            faults.append(f"{entry.kind.value} {entry.rank} on {entry.name!r} tells of a signal that was never sent")
        elif item.payload != entry.payload:
            faults.append(f"signal {sequence} was sent as {item.payload!r} and told as {entry.payload!r}")
        elif entry.kind is EntryKind.REPLY and given_back.get(entry.ordinal, 0) < entry.rank:
            holders[sequence].append(f"wait {entry.ordinal}")
    faults += [f"signal {seq} was heard {len(by)} times: {by}" for seq, by in holders.items() if len(by) > 1]
    told = {entry.ordinal for entry in entries if entry.kind is EntryKind.MAIL}
    told |= {entry.attempt for entry in entries if entry.kind is EntryKind.REPLY}
    if journaled and not any(item.type == ev.CONTINUED for item in events):  # which cuts what was heard
        faults += [f"signal {seq} was sent and stands nowhere in the journal" for seq in sent.keys() - told]
    return faults


def wait_faults(row: ProcessRow, entries: Sequence[Entry], ended: set[str]) -> list[str]:
    """No wait is left behind: what it waits for has neither come nor ended."""
    if row.record.status.final:
        return []
    waits = open_waits(entries)
    mail = untaken(entries)
    faults = [f"wait {wait.ordinal} on {wait.name!r} is open, with mail for it" for wait in waits if wait.name in mail]
    faults += [
        f"wait {wait.ordinal} on {wait.name!r} is open, and that has ended" for wait in waits if wait.name in ended
    ]
    if row.record.waiting is not None and row.due_ms is None and not waits:
        faults.append("is parked for a reply and has no open wait")
    return faults


def open_waits(entries: Sequence[Entry]) -> list[Entry]:
    """Waits without reply that nobody gave up."""
    over = {entry.ordinal for entry in entries if entry.kind in (EntryKind.REPLY, EntryKind.CLOSE)}
    return [entry for entry in entries if entry.kind is EntryKind.WAIT and entry.ordinal not in over]


def untaken(entries: Sequence[Entry]) -> set[str]:
    """Wait keys for which a signal lies ready."""
    ready: dict[int, str] = {}
    for entry in entries:
        if entry.kind is EntryKind.MAIL:
            ready[entry.ordinal] = entry.name
        elif entry.kind is EntryKind.REPLY:
            ready.pop(entry.attempt, None)
    return set(ready.values())


# Between processes -------------------------------------------------------------------------------------------------


def family_faults(rows: Mapping[str, ProcessRow]) -> list[str]:
    """A cancel request reaches every child that is not detached: those there at once, any other when the parent ends
    without having completed."""
    faults: list[str] = []
    for process_id, row in rows.items():
        record = row.record
        parent = rows.get(record.spec.parent or "")
        if parent is None or record.spec.detached or record.status.final:
            continue
        request = parent.record.cancel_requested
        over = parent.record.status.final and parent.record.status is not Status.COMPLETED
        if request is None or record.cancel_requested is not None:
            continue
        if over or record.created_ms < request.at_ms:
            faults.append(f"{process_id}: its parent was asked to cancel ({request.reason!r}) and it was not")
    return faults


def repeated(values: Iterable[object]) -> list[tuple[object, int]]:
    """What comes more than once, with its count; None does not count."""
    return [(value, count) for value, count in Counter(values).items() if count > 1 and value is not None]
