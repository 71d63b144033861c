"""Leases: claimed through the scheduling indexes, lane by lane; given back with the token moved on.

A row that waits without a timer is in no scheduling index, so no statement here ever meets it.
"""

from __future__ import annotations

from typing import Final

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
from lash.core.lease import Fence, Lease
from lash.core.process import Blocked, ProcessSpec
from lash.core.schedule import takeover_pause_ms
from lash.limits import BACKOFF_MAX_MS
from lash.stores import facts
from lash.stores.sql import journal
from lash.stores.sql.endings import end
from lash.stores.sql.rows import BLOCKED, HOT, LEASED, TIMED, WAITING, Hot, beside, unpack_record, unpack_spec
from lash.stores.sql.transaction import Transaction

READY_SQL: Final = (
    "SELECT -priority, wake_ms, row FROM lash_process INDEXED BY lash_process_ready "
    "WHERE state = 1 AND lane = ? AND wake_ms <= ? ORDER BY priority DESC, wake_ms, row LIMIT ?"
)
TIMED_SQL: Final = (
    "SELECT -priority, wake_ms, row FROM lash_process INDEXED BY lash_process_timed "
    "WHERE state IN (2, 3) AND lane = ? AND wake_ms <= ? ORDER BY wake_ms, row LIMIT ?"
)
TIMED_SCAN_MIN: Final = 256
"""Due timers of a lane looked at in one claim: among more of them, an earlier one goes before a larger priority."""


def claim(tx: Transaction, op: Claim) -> Claims:
    due: list[tuple[int, int, int]] = []
    for lane in tx.known_lanes(op.lanes):
        due += tx.sql(READY_SQL, (lane, tx.now_ms, op.limit))
        due += tx.sql(TIMED_SQL, (lane, tx.now_ms, max(TIMED_SCAN_MIN, 4 * op.limit)))
    due.sort()
    rows: list[Claimed] = []
    closed: list[str] = []
    postponed: list[str] = []
    for _, _, row in due:
        if len(rows) >= op.limit:
            break
        hot, spec = load_full(tx, row)
        if hot.status:
            continue  # a child, closed a moment ago with the parent that was lost
        if spec is None:
            put_off(tx, hot)
            postponed.append(hot.id)
            continue
        if hot.state == LEASED:
            lose(tx, hot, spec)
            if hot.status:
                closed.append(hot.id)
                continue
            if (hot.wake_ms or 0) > tx.now_ms:
                postponed.append(hot.id)
                tx.save(hot)
                continue
        claimed = lease(tx, hot, spec, op.owner, op.ttl_ms)
        tx.save(hot)
        rows.append(claimed)
    return Claims(rows, closed, postponed)


def load_full(tx: Transaction, row: int) -> tuple[Hot, ProcessSpec | None]:
    """Of a running row, with the time of its newest entry. The spec is None where it cannot be decoded."""
    tx.flush()
    columns = tx.full_row(row)
    hot = Hot(*columns[: len(HOT)])  # type: ignore[arg-type]  # the schema's types
    last = tx.sql("SELECT at_ms FROM lash_journal WHERE process = ? ORDER BY rank DESC LIMIT 1", (row,)).fetchone()
    hot.last_ms = None if last is None else last[0]
    args, more, _ = columns[len(HOT) :]
    try:
        return hot, unpack_spec(hot, tx.lane(hot.lane), args, more)  # type: ignore[arg-type]  # the schema's types
    except (ValueError, TypeError):
        return hot, None


def put_off(tx: Transaction, hot: Hot) -> None:
    """A damaged row: one must not stop the worklist, and it stays there for whoever can mend it (W-12)."""
    lost = 1 if hot.state == LEASED else hot.lost
    wake_ms = tx.now_ms + BACKOFF_MAX_MS
    hot.change(state=TIMED, wake_ms=wake_ms, owner=None, news=None, lost=lost, token=hot.token + 1)
    tx.save(hot)


def lose(tx: Transaction, hot: Hot, spec: ProcessSpec) -> None:
    """The lease ran out: close the process where its contract says so, else make it due after its back-off."""
    if spec.recovery == "once":
        end(tx, hot, facts.abandoned(hot.owner or "", hot.attempts))
    elif hot.attempts >= spec.attempts_max:
        end(tx, hot, facts.exhausted(hot.attempts, spec.attempts_max))
    else:
        hot.change(lost=1)
        tx.give_back(hot, (hot.wake_ms or 0) + takeover_pause_ms(hot.attempts))


def lease(tx: Transaction, hot: Hot, spec: ProcessSpec, owner: str, ttl_ms: int) -> Claimed:
    """Take the lease, in ``hot`` alone: the caller writes it."""
    fresh = hot.first_owner is None
    token = hot.token + 1
    if fresh or hot.lost:
        attempt = hot.attempts + 1
        told = tx.tell(hot, ev.STARTED, facts.started(attempt, owner, token))
        hot.change(attempts=attempt)
        if fresh:
            hot.change(first_owner=owner, first_token=token, first_ms=told.at_ms, began_ms=told.at_ms)
        hot.clear(*BLOCKED)
    elif hot.waiting_on is not None:
        tx.tell(hot, ev.RESUMED, facts.EMPTY)
    until_ms = tx.now_ms + ttl_ms
    hot.change(state=LEASED, wake_ms=until_ms, owner=owner, token=token)
    hot.clear("lost", "news", *WAITING)
    record = unpack_record(hot, spec, None)
    return Claimed(beside(hot, record), Lease(hot.row, hot.id, owner, token, until_ms), fresh)


def renew(tx: Transaction, op: Renew) -> Renewed:
    until_ms = tx.now_ms + op.ttl_ms
    tx.sql("UPDATE lash_process SET wake_ms = ? WHERE owner = ?", (until_ms, op.owner))
    tx.sql("UPDATE lash_worker SET until_ms = ? WHERE owner = ?", (until_ms, op.owner))
    held = tx.sql("SELECT row, token FROM lash_process WHERE owner = ? ORDER BY row", (op.owner,))
    return Renewed([Fence(row, token) for row, token in held])


def expire(tx: Transaction, op: Expire) -> Count:
    query = "SELECT row, id FROM lash_process WHERE owner = ? AND wake_ms > ? ORDER BY row"
    live = tx.sql(query, (op.owner, tx.now_ms)).fetchall()
    for row, _ in live:
        tx.sql("UPDATE lash_process SET wake_ms = ? WHERE row = ?", (tx.now_ms, row))
    tx.stirred = tx.stirred or bool(live)
    tx.expired.append(op.owner)
    return Count([process_id for _, process_id in live])


def park(tx: Transaction, op: Park) -> Done | Recorded | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    entries = journal.after(tx, hot.row, op.seen)
    if journal.has_delivered(entries):
        return Recorded(journal.read_news(tx, hot, op.seen))
    tx.tell(hot, ev.WAITING, facts.waiting(op.waiting))
    on, key, until_ms = op.waiting
    hot.change(waiting_on=on, waiting_key=key, waiting_until_ms=until_ms)
    tx.give_back(hot, until_ms)
    tx.save(hot)
    return Done()


def release(tx: Transaction, op: Release) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    if op.blocked is not None:
        hot.change(faults=hot.faults + 1)
        if op.blocked != Blocked(hot.blocked_reason or "", hot.blocked_detail or "", hot.blocked_hash or ""):
            tx.tell(hot, ev.BLOCKED, facts.blocked(op.blocked))
            reason, detail, code_hash = op.blocked
            hot.change(blocked_reason=reason, blocked_detail=detail, blocked_hash=code_hash)
    tx.give_back(hot, tx.now_ms + op.pause_ms)
    tx.save(hot)
    return Done()


def progress(tx: Transaction, op: Progress) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    if hot.blocked_reason is not None:
        tx.tell(hot, ev.UNBLOCKED, facts.EMPTY)
        hot.clear(*BLOCKED)
    if hot.faults:
        hot.change(faults=0)
    tx.save(hot)
    return Done()
