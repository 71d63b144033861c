"""Leases: claimed through the scheduling indexes, lane by lane; given back with the token moved on.

A row that waits without a timer is in no scheduling index, so no statement here ever meets it.
"""

from __future__ import annotations

from typing import NamedTuple

from lash.abc.store import (
    Claim,
    Claimed,
    Claims,
    Count,
    Done,
    Expire,
    Park,
    Progress,
    Recorded,
    Release,
    Renew,
    Renewed,
    Stale,
)
from lash.core import event as ev
from lash.core.lease import Lease
from lash.core.process import Blocked, ProcessSpec
from lash.core.schedule import takeover_pause_ms
from lash.limits import BACKOFF_MAX_MS
from lash.stores import facts
from lash.stores.sql import journal
from lash.stores.sql.endings import end, is_session, rest
from lash.stores.sql.rows import LEASED, TIMED, Hot, beside, unpack_record
from lash.stores.sql.transaction import Transaction


def claim(tx: Transaction, op: Claim) -> Claims:
    taken = Taken([], [], [])
    due = tx.due(tx.known_lanes(op.lanes), op.limit) if op.limit > 0 else ()
    for row in due:
        if (hot := tx.load_full(row)) is not None:
            take(tx, hot, op, taken)
        if len(taken.rows) >= op.limit:
            break  # before the next one is asked for: that may be a look at, and a lock on, as many again
    return Claims(*taken)


class Taken(NamedTuple):
    """A ``Claims`` in the making."""

    rows: list[Claimed]
    closed: list[str]
    postponed: list[str]


def take(tx: Transaction, hot: Hot, op: Claim, taken: Taken) -> None:
    """Lease one due row; or close it or put it off, where that is what its state asks for."""
    if hot.status:
        return  # a child, closed a moment ago with the parent that was lost
    spec = hot.spec
    if spec is None:
        put_off(tx, hot)
        taken.postponed.append(hot.id)
        return
    if hot.state == LEASED:
        lose(tx, hot, spec)
        if hot.status:
            taken.closed.append(hot.id)
            return
        if (hot.wake_ms or 0) > tx.now_ms:
            taken.postponed.append(hot.id)
            return
    taken.rows.append(lease(tx, hot, spec, op.owner, op.ttl_ms))


def put_off(tx: Transaction, hot: Hot) -> None:
    """A damaged row: one must not stop the worklist, and it stays there for whoever can mend it (W-12)."""
    if hot.state == LEASED:
        hot.lost = 1
    hot.state, hot.wake_ms = TIMED, tx.now_ms + BACKOFF_MAX_MS
    hot.owner = hot.news = None
    hot.token += 1


def lose(tx: Transaction, hot: Hot, spec: ProcessSpec) -> None:
    """The lease ran out: close the process where its contract says so, else make it due after its back-off."""
    if spec.recovery == "once":
        end(tx, hot, facts.abandoned(hot.owner or "", hot.attempts))
    elif hot.attempts >= spec.attempts_max:
        end(tx, hot, facts.exhausted(hot.attempts, spec.attempts_max))
    else:
        hot.lost = 1
        tx.give_back(hot, (hot.wake_ms or 0) + takeover_pause_ms(hot.attempts))


def lease(tx: Transaction, hot: Hot, spec: ProcessSpec, owner: str, ttl_ms: int) -> Claimed:
    """Take the lease."""
    fresh = hot.first_owner is None
    token = hot.token + 1
    if fresh or hot.lost:
        attempt = hot.attempts + 1
        told = tx.tell(hot, ev.STARTED, facts.started(attempt, owner, token))
        hot.attempts = attempt
        if fresh:
            hot.first_owner, hot.first_token = owner, token
            hot.first_ms = hot.began_ms = told.at_ms
        hot.block_no_more()
    elif hot.waiting_on is not None:
        tx.tell(hot, ev.RESUMED, facts.EMPTY)
    until_ms = tx.now_ms + ttl_ms
    hot.state, hot.wake_ms, hot.owner, hot.token = LEASED, until_ms, owner, token
    hot.lost = hot.news = None
    hot.wait_no_more()
    record = unpack_record(hot, spec, None)
    return Claimed(beside(hot, record), Lease(hot.row, hot.id, owner, token, until_ms), fresh)


def renew(tx: Transaction, op: Renew) -> Renewed:
    return Renewed(tx.renew(op.owner, tx.now_ms + op.ttl_ms))


def expire(tx: Transaction, op: Expire) -> Count:
    ids: list[str] = []
    for row in tx.live(op.owner):
        if (hot := tx.load(row)) is not None:
            hot.wake_ms = tx.now_ms
            ids.append(hot.id)
    tx.stirred = tx.stirred or bool(ids)
    tx.expired.append(op.owner)
    return Count(ids)


def park(tx: Transaction, op: Park) -> Done | Recorded | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    if journal.has_delivered(tx.entries_after(hot, op.seen)):
        return Recorded(journal.read_news(tx, hot, op.seen))
    tx.tell(hot, ev.WAITING, facts.waiting(op.waiting))
    hot.waiting_on, hot.waiting_key, hot.waiting_until_ms = op.waiting
    tx.give_back(hot, op.waiting.until_ms)
    return Done()


def release(tx: Transaction, op: Release) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    if op.blocked is not None:
        hot.faults += 1
        if op.blocked != Blocked(hot.blocked_reason or "", hot.blocked_detail or "", hot.blocked_hash or ""):
            tx.tell(hot, ev.BLOCKED, facts.blocked(op.blocked))
            hot.blocked_reason, hot.blocked_detail, hot.blocked_hash = op.blocked
    if is_session(tx, hot) and (chat := tx.chat(hot.row)) is not None and not tx.undone(chat):
        rest(tx, hot)
    else:
        tx.give_back(hot, tx.now_ms + op.pause_ms)
    return Done()


def progress(tx: Transaction, op: Progress) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    if hot.blocked_reason is not None:
        tx.tell(hot, ev.UNBLOCKED, facts.EMPTY)
        hot.block_no_more()
    hot.faults = 0
    return Done()
