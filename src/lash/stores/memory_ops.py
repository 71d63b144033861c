"""The specification: what each store operation does, in plain Python over plain dicts.

Read :mod:`lash.abc.store` for the promises and this file for the details; SQLite and Postgres must give the same
verdicts, records, events and journals for any list of operations.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from lash.abc import store as ops
from lash.abc.sessions import CancelTurn, Commit, Delete, Open, Post, Stream, Take
from lash.abc.store import (
    Appended,
    Claimed,
    Claims,
    Conflict,
    Count,
    Done,
    Ended,
    KeyConflict,
    NotExternal,
    Op,
    Recorded,
    Renewed,
    Stale,
    Started,
    Unknown,
    Verdict,
    WorkerRecord,
    wait_key_of_signal,
)
from lash.core import event as ev
from lash.core.effect import DELIVERED, Entry, EntryKind
from lash.core.event import Event, content_hash
from lash.core.lease import Fence
from lash.core.outcome import Cancelled, outcome_payload
from lash.core.process import lane_of, new_record
from lash.core.schedule import takeover_pause_ms
from lash.core.session import TURN_PREFIX
from lash.stores import facts
from lash.stores.memory_sessions import is_quiet, owner_over, perform_session, reply_of_turn, rest
from lash.stores.memory_tables import Held, Tables

Fenced: TypeAlias = (
    ops.Put | ops.Look | ops.Park | ops.Release | ops.Progress | ops.Finish | ops.Append | ops.Continue | ops.Forget
)


def perform(t: Tables, op: Op) -> Verdict:
    """One operation within the transaction at hand."""
    match op:
        case ops.Start():
            return start(t, op)
        case ops.Claim():
            return claim(t, op)
        case ops.Close():
            return close(t, op)
        case ops.Signal():
            return signal(t, op)
        case ops.Cancel():
            return cancel(t, op)
        case ops.Retry():
            return retry(t, op)
        case ops.Renew():
            return renew(t, op)
        case ops.Unblock():
            return unblock(t, op)
        case ops.Expire():
            return expire(t, op)
        case ops.Sweep():
            return sweep(t, op)
        case ops.Prune():
            return prune(t, op)
        case ops.Enlist():
            t.workers[op.owner] = WorkerRecord(op.owner, tuple(op.lanes), op.about, t.now_ms + op.ttl_ms)
            return Done()
        case ops.Discharge():
            t.workers.pop(op.owner, None)
            return Done()
        case Open() | Post() | Take() | Commit() | CancelTurn() | Stream() | Delete():
            return perform_session(t, op)
        case _:
            held = t.holder(op.fence)
            return Stale(t.token_of(op.fence)) if held is None else perform_fenced(t, held, op)


def perform_fenced(
    t: Tables,
    held: Held,
    op: Fenced,
) -> Verdict:
    """One operation of the lease's holder."""
    match op:
        case ops.Put():
            return put(t, held, op)
        case ops.Look():
            held.news = False
            return Recorded(held.after(op.seen))
        case ops.Park():
            return park(t, held, op)
        case ops.Release():
            return release(t, held, op)
        case ops.Progress():
            held.faults = 0
            if held.record.blocked is not None:
                t.tell(held, ev.UNBLOCKED, facts.EMPTY)
            return Done()
        case ops.Finish():
            t.end(held, op.outcome)
            return Done()
        case ops.Append():
            return append(t, held, op.type, op.payload, op.key)
        case ops.Continue():
            t.tell(held, ev.CONTINUED, facts.continued(op.args))
            cut(held)
            held.news = False
            return Done()
        case ops.Forget():
            cut(held)
            return Done()
        case _:
            assert_never(op)


# Starting and claiming ---------------------------------------------------------------------------------------------


def start(t: Tables, op: ops.Start) -> Started | Conflict | Ended | Unknown:
    spec = op.spec
    if (held := t.processes.get(spec.id)) is not None:
        there = held.record.spec
        if there.definition != spec.definition:
            return Conflict(there.definition, there.kind, there.name)
        return Started(held.row, held.record.status, created=False, claimed=None)
    if (tombstone := t.tombstones.get(spec.id)) is not None:
        if tombstone.definition != spec.definition:
            return Conflict(tombstone.definition, "", "")
        return Started(0, tombstone.status, created=False, claimed=None, pruned=True)
    if (over := owner_over(t, spec)) is not None:
        return over
    t.last_row += 1
    record = new_record(spec, t.now_ms)
    held = Held(t.last_row, record, lane_of(spec))
    t.processes[spec.id] = t.rows[held.row] = held
    if spec.parent is not None:
        t.children.setdefault(spec.parent, []).append(held)
    if facts.is_external(spec):
        return Started(held.row, record.status, created=True, claimed=None)
    t.place(held, due_ms=t.now_ms + spec.delay_ms)
    if op.owner is not None and spec.delay_ms == 0:
        return Started(held.row, record.status, created=True, claimed=t.lease(held, op.owner, op.ttl_ms))
    t.stirred = True
    return Started(held.row, record.status, created=True, claimed=None)


def claim(t: Tables, op: ops.Claim) -> Claims:
    lanes = frozenset(op.lanes)
    due = [held for held in t.scheduled.values() if held.lane in lanes and (held.moment_ms or 0) <= t.now_ms]
    due.sort(key=lambda held: (-held.record.spec.priority, held.moment_ms or 0, held.row))
    rows: list[Claimed] = []
    closed: list[str] = []
    postponed: list[str] = []
    for held in due:
        if len(rows) >= op.limit:
            break
        if held.record.status.final:
            continue  # a child, closed a moment ago with the parent that was lost
        if held.owner is not None:
            lose(t, held)
            if held.record.status.final:
                closed.append(held.record.id)
                continue
            if held.due_ms is not None and held.due_ms > t.now_ms:
                postponed.append(held.record.id)
                continue
        rows.append(t.lease(held, op.owner, op.ttl_ms))
    return Claims(rows, closed, postponed)


def lose(t: Tables, held: Held) -> None:
    """The lease ran out: close the process where its contract says so, else make it due after its back-off."""
    record = held.record
    if record.spec.recovery == "once":
        t.end(held, facts.abandoned(held.owner or "", record.attempts))
    elif record.attempts >= record.spec.attempts_max:
        t.end(held, facts.exhausted(record.attempts, record.spec.attempts_max))
    else:
        held.lost = True
        t.give_back(held, (held.until_ms or 0) + takeover_pause_ms(record.attempts))


# The journal -------------------------------------------------------------------------------------------------------


def put(t: Tables, held: Held, op: ops.Put) -> Recorded:
    known = {facts.identity(entry) for entry in held.after(op.seen)}
    for entry in op.entries:
        if facts.identity(entry) in known:  # a repeated operation whose first answer was lost
            continue
        noted = t.note(held, entry)
        if noted.kind is EntryKind.WAIT:
            open_wait(t, held, noted)
        elif noted.kind is EntryKind.CLOSE:
            close_wait(t, held, noted)
    held.news = False
    return Recorded(held.after(op.seen), op.inbox and is_quiet(t, held))


def open_wait(t: Tables, held: Held, wait: Entry) -> None:
    """A reply at once where there is one to be had: mail in event order, or the end of a process."""
    key = wait.name
    if key.startswith(facts.PROCESS_PREFIX):
        process_id = key.removeprefix(facts.PROCESS_PREFIX)
        payload = t.reply_of_process(process_id)
        if payload is not None:
            t.note(held, Entry(EntryKind.REPLY, wait.ordinal, key, payload=payload, attempt=0))
            return
        t.awaiting.setdefault(key, []).append(held)
    elif key.startswith(TURN_PREFIX):
        payload = reply_of_turn(t, key)
        if payload is not None:
            t.note(held, Entry(EntryKind.REPLY, wait.ordinal, key, payload=payload, attempt=0))
            return
        t.awaiting.setdefault(key, []).append(held)
    held.open[wait.rank] = wait
    match_mail(t, held, key)


def match_mail(t: Tables, held: Held, key: str) -> None:
    """Oldest mail to oldest wait, where both are there."""
    waits, mails = held.opened(EntryKind.WAIT, key), held.opened(EntryKind.MAIL, key)
    if waits and mails:
        wait, mail = waits[0], mails[0]
        del held.open[wait.rank], held.open[mail.rank]
        t.note(held, Entry(EntryKind.REPLY, wait.ordinal, key, payload=mail.payload, attempt=mail.ordinal))


def close_wait(t: Tables, held: Held, close_entry: Entry) -> None:
    """The wait is over; a signal it had already consumed goes back, once, under its old place in the order."""
    mine = [entry for entry in held.entries if entry.ordinal == close_entry.ordinal]
    for wait in (entry for entry in held.open.values() if entry.kind is EntryKind.WAIT):
        if wait.ordinal == close_entry.ordinal:
            del held.open[wait.rank]
            return
    if any(entry.kind is EntryKind.CLOSE and entry.rank < close_entry.rank for entry in mine):
        return
    for reply in mine:
        if reply.kind is EntryKind.REPLY and reply.attempt > 0:
            mail = t.note(held, Entry(EntryKind.MAIL, reply.attempt, reply.name, payload=reply.payload))
            held.open[mail.rank] = mail
            match_mail(t, held, reply.name)
            return


def cut(held: Held) -> None:
    """Drop the journal, all but untaken mail and cancel requests."""
    held.open = {rank: entry for rank, entry in held.open.items() if entry.kind is EntryKind.MAIL}
    held.entries = [entry for entry in held.entries if entry.rank in held.open or entry.kind is EntryKind.CANCEL]


# Giving the lease back ---------------------------------------------------------------------------------------------


def park(t: Tables, held: Held, op: ops.Park) -> Done | Recorded:
    entries = held.after(op.seen)
    if any(entry.kind in DELIVERED for entry in entries):
        held.news = False
        return Recorded(entries)
    t.tell(held, ev.WAITING, facts.waiting(op.waiting))
    t.give_back(held, op.waiting.until_ms)
    return Done()


def release(t: Tables, held: Held, op: ops.Release) -> Done:
    if op.blocked is not None:
        held.faults += 1
        if op.blocked != held.record.blocked:
            t.tell(held, ev.BLOCKED, facts.blocked(op.blocked))
    if t.sessions.has_nothing_to_do(held.row):
        rest(t, held)
    else:
        t.give_back(held, t.now_ms + op.pause_ms)
    return Done()


# Events and endings ------------------------------------------------------------------------------------------------


def append(t: Tables, held: Held, event_type: str, payload: bytes, key: str | None) -> Appended | KeyConflict:
    if key is not None and key in held.keyed:
        return replayed(held.keyed[key], event_type, payload)
    t.stirred = True  # somebody may be following the log
    return Appended(t.tell(held, event_type, payload, key), new=True)


def replayed(stored: Event, event_type: str, payload: bytes) -> Appended | KeyConflict:
    same = content_hash(stored.type, stored.payload) == content_hash(event_type, payload)
    return Appended(stored, new=False) if same else KeyConflict(stored)


def signal(t: Tables, op: ops.Signal) -> Appended | Ended | Unknown | KeyConflict:
    held = t.processes.get(op.process_id)
    if held is None:
        return Unknown(op.process_id in t.tombstones)
    event_type = ev.SIGNAL_PREFIX + op.name
    key = None if op.key is None else ev.signal_key(op.key)
    if key is not None and key in held.keyed:
        return replayed(held.keyed[key], event_type, op.payload)
    if held.record.outcome is not None:
        return Ended(held.record.outcome)
    item = t.tell(held, event_type, op.payload, key)
    wait_key = wait_key_of_signal(op.name)
    waits = held.opened(EntryKind.WAIT, wait_key)
    if waits:
        del held.open[waits[0].rank]
        reply = Entry(EntryKind.REPLY, waits[0].ordinal, wait_key, payload=op.payload, attempt=item.sequence)
        t.deliver(held, reply)
    else:
        mail = t.note(held, Entry(EntryKind.MAIL, item.sequence, wait_key, payload=op.payload))
        held.open[mail.rank] = mail
    return Appended(item, new=True)


def close(t: Tables, op: ops.Close) -> Done | Ended | Unknown | NotExternal:
    held = t.processes.get(op.process_id)
    if held is None:
        return Unknown(op.process_id in t.tombstones)
    if not facts.is_external(held.record.spec):
        return NotExternal(held.record.spec.kind)
    if (there := held.record.outcome) is None:
        t.end(held, op.outcome)
        return Done()
    same = there.status is op.outcome.status and outcome_payload(there) == outcome_payload(op.outcome)
    return Done() if same else Ended(there)


def cancel(t: Tables, op: ops.Cancel) -> Appended | Ended | Unknown:
    held = t.processes.get(op.process_id)
    if held is None:
        return Unknown(op.process_id in t.tombstones)
    key = ev.cancel_key(op.reason)
    if key in held.keyed:
        return Appended(held.keyed[key], new=False)
    if held.record.outcome is not None:
        return Ended(held.record.outcome)
    item = t.request_cancel(held, op.reason, key)
    t.cancel_children(held, op.reason, key)
    return Appended(item, new=True)


# For workers and operators -----------------------------------------------------------------------------------------


def renew(t: Tables, op: ops.Renew) -> Renewed:
    until_ms = t.now_ms + op.ttl_ms
    mine = sorted((held for held in t.scheduled.values() if held.owner == op.owner), key=lambda held: held.row)
    for held in mine:
        held.until_ms = until_ms
    if (worker := t.workers.get(op.owner)) is not None:
        t.workers[op.owner] = worker._replace(until_ms=until_ms)
    return Renewed([Fence(held.row, held.token) for held in mine])


def retry(t: Tables, op: ops.Retry) -> Done | Ended | Unknown:
    held = t.processes.get(op.process_id)
    if held is None:
        return Unknown(op.process_id in t.tombstones)
    if held.record.outcome is not None:
        return Ended(held.record.outcome)
    if held.owner is None and not facts.is_external(held.record.spec):
        t.make_due(held)
    return Done()


def unblock(t: Tables, op: ops.Unblock) -> Count:
    ids: list[str] = []
    for held in t.rows.values():
        blocked = held.record.blocked
        if blocked is None or held.lane != op.lane or blocked.code_hash == op.code_hash or held.owner is not None:
            continue
        if held.due_ms is None or held.due_ms > t.now_ms:
            t.make_due(held)
            ids.append(held.record.id)
    return Count(ids)


def expire(t: Tables, op: ops.Expire) -> Count:
    live = [held for held in t.scheduled.values() if held.owner == op.owner and (held.until_ms or 0) > t.now_ms]
    live.sort(key=lambda held: held.row)
    for held in live:
        held.until_ms = t.now_ms
        t.stirred = True
    return Count([held.record.id for held in live])


def sweep(t: Tables, op: ops.Sweep) -> Count:
    def asked_long_ago(held: Held) -> bool:
        request = held.record.cancel_requested
        return request is not None and request.at_ms <= t.now_ms - op.grace_ms

    ids: list[str] = []
    for held in [held for held in t.rows.values() if asked_long_ago(held)]:  # not those that are only asked by this
        if held.record.status.final or facts.is_external(held.record.spec):
            continue
        leased = held.owner is not None and (held.until_ms or 0) > t.now_ms
        if not leased and (request := held.record.cancel_requested) is not None:
            t.end(held, Cancelled(request.reason))
            ids.append(held.record.id)
    return Count(ids)


def prune(t: Tables, op: ops.Prune) -> Count:
    def prunable(held: Held) -> bool:
        record = held.record
        if not record.status.final or record.updated_ms >= op.before_ms:
            return False
        parent = t.processes.get(record.spec.parent or "")
        return parent is None or not parent.may_await

    old = sorted(filter(prunable, t.rows.values()), key=lambda held: (held.record.updated_ms, held.row))[: op.limit]
    for held in old:
        t.bury(held)
    return Count([held.record.id for held in old])
