"""Endings: the outcome is written once, in the terminal event, together with the replies to everybody who waits.

Nothing else of the row survives the end: lease, timer, waiting and blocked facets go in the same transaction.
"""

from __future__ import annotations

from typing import Final

from lash.abc.store import (
    Close,
    Count,
    Done,
    Ended,
    Finish,
    NotExternal,
    Prune,
    Stale,
    Sweep,
    Unknown,
    wait_key_of_process,
    wait_reply,
)
from lash.core import event as ev
from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.outcome import Cancelled, Outcome, Status, outcome_of, outcome_payload
from lash.stores import facts
from lash.stores.sql.rows import BLOCKED, IDLE, LEASED, STATUS_CODES, STATUSES, WAITING, Hot
from lash.stores.sql.transaction import Transaction

WAITERS_SQL: Final = (
    "SELECT rank, process, ordinal FROM lash_journal INDEXED BY lash_journal_open WHERE open_key = ? ORDER BY rank"
)
CHILDREN_SQL: Final = (
    "SELECT row FROM lash_process INDEXED BY lash_process_parent "
    "WHERE parent = ? AND status = 0 AND detached = 0 ORDER BY row"
)
ASKED_SQL: Final = "SELECT 1 FROM lash_event WHERE process = ? AND key = ?"
SWEEP_SQL: Final = (
    "SELECT row FROM lash_process INDEXED BY lash_process_cancel "
    "WHERE cancel_ms IS NOT NULL AND status = 0 AND external = 0 AND cancel_ms <= ? ORDER BY row"
)
PRUNE_SQL: Final = (
    "SELECT p.row, p.id FROM lash_process p INDEXED BY lash_process_ended "
    "WHERE p.status > 0 AND p.updated_ms < ? "
    "AND NOT EXISTS (SELECT 1 FROM lash_process q WHERE q.id = p.parent AND q.status = 0) "
    "ORDER BY p.updated_ms, p.row LIMIT ?"
)


def end(tx: Transaction, hot: Hot, outcome: Outcome) -> None:
    """As ``end_alone``; and whoever was asked to cancel leaves no child that was not."""
    end_alone(tx, hot, outcome)
    if hot.cancel_ms is not None and outcome.status is not Status.COMPLETED:
        reason = hot.cancel_reason or ""
        cancel_children(tx, hot.id, reason, ev.cancel_key(reason))  # those it started after it was asked itself


def end_alone(tx: Transaction, hot: Hot, outcome: Outcome) -> None:
    payload = outcome_payload(outcome)
    tx.tell(hot, ev.TERMINAL[outcome.status], payload)
    hot.change(status=STATUS_CODES[outcome.status], state=IDLE, wake_ms=None)
    hot.clear("owner", "news", "lost", *WAITING, *BLOCKED)
    tx.save(hot)
    tx.stirred = True
    tx.flush()
    key = wait_key_of_process(hot.id)
    waits = tx.sql(WAITERS_SQL, (key,)).fetchall()
    reply = wait_reply(outcome.status, payload) if waits else b""
    for rank, process, ordinal in waits:
        waiter = tx.load(process)
        if waiter is not None and not waiter.status:
            tx.shut(rank)
            tx.deliver(waiter, Entry(EntryKind.REPLY, ordinal, key, payload=reply, attempt=0))
            tx.save(waiter)


def cancel_children(tx: Transaction, process_id: str, reason: str, key: str) -> None:
    """Ask the whole running family that is not detached, once per reason."""
    parents = [process_id]
    for parent in parents:  # grows while it is read: no recursion
        for (row,) in tx.sql(CHILDREN_SQL, (parent,)).fetchall():
            child = tx.load(row)
            if child is not None and tx.sql(ASKED_SQL, (row, key)).fetchone() is None:
                request_cancel(tx, child, reason, key)
                parents.append(child.id)


def request_cancel(tx: Transaction, hot: Hot, reason: str, key: str) -> Event:
    first = hot.cancel_ms is None
    payload = facts.cancel(reason)
    item = tx.tell(hot, ev.CANCEL_REQUESTED, payload, key)
    if first:
        hot.change(cancel_reason=reason, cancel_ms=item.at_ms)
    if not hot.external and hot.first_owner is None and hot.state != LEASED:
        end_alone(tx, hot, Cancelled(reason))
    elif not hot.external and first:
        tx.deliver(hot, Entry(EntryKind.CANCEL, 0, payload=payload))
    tx.save(hot)
    return item


def outcome_in(tx: Transaction, hot: Hot) -> Outcome:
    """Of an ended row."""
    query = "SELECT payload FROM lash_event WHERE process = ? AND sequence = ?"
    payload: bytes = tx.sql(query, (hot.row, hot.last_event)).fetchone()[0]
    return outcome_of(STATUSES[hot.status], payload)


def finish(tx: Transaction, op: Finish) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    end(tx, hot, op.outcome)
    return Done()


def close(tx: Transaction, op: Close) -> Done | Ended | Unknown | NotExternal:
    hot = tx.load_id(op.process_id)
    if hot is None:
        return Unknown(tx.pruned(op.process_id))
    if not hot.external:
        return NotExternal(tx.lane(hot.lane).kind)
    if not hot.status:
        end(tx, hot, op.outcome)
        return Done()
    there = outcome_in(tx, hot)
    same = there.status is op.outcome.status and outcome_payload(there) == outcome_payload(op.outcome)
    return Done() if same else Ended(there)


def sweep(tx: Transaction, op: Sweep) -> Count:
    ids: list[str] = []
    for (row,) in tx.sql(SWEEP_SQL, (tx.now_ms - op.grace_ms,)).fetchall():
        hot = tx.load(row)
        if hot is not None and not (hot.state == LEASED and (hot.wake_ms or 0) > tx.now_ms):
            end(tx, hot, Cancelled(hot.cancel_reason or ""))
            ids.append(hot.id)
    return Count(ids)


def prune(tx: Transaction, op: Prune) -> Count:
    old = tx.sql(PRUNE_SQL, (op.before_ms, op.limit)).fetchall()
    if not old:
        return Count([])
    tx.keep_floors()
    rows = [(row,) for row, _ in old]
    many = tx.connection.executemany
    many(
        "INSERT INTO lash_tombstone SELECT id, definition, status, updated_ms, ? FROM lash_process WHERE row = ?",
        [(tx.now_ms, row) for row, _ in old],
    )
    many(
        "DELETE FROM lash_tag WHERE row = ? AND tag IN "
        "(SELECT t.value FROM lash_spec s, json_each(CAST(s.more AS TEXT), '$.tags') t WHERE s.row = ?)",
        [(row, row) for row, _ in old],
    )
    many("DELETE FROM lash_spec WHERE row = ?", rows)
    many("DELETE FROM lash_event WHERE process = ?", rows)
    many("DELETE FROM lash_journal WHERE process = ?", rows)
    many("DELETE FROM lash_process WHERE row = ?", rows)
    return Count([process_id for _, process_id in old])
