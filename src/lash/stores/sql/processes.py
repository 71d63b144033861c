"""Processes: started once per id, cancelled with their families, retried and unblocked by operators."""

from __future__ import annotations

from typing import Final

from lash.abc.store import (
    Appended,
    Cancel,
    Conflict,
    Continue,
    Count,
    Done,
    Ended,
    Retry,
    Stale,
    Start,
    Started,
    Unblock,
    Unknown,
)
from lash.core import event as ev
from lash.core.outcome import Status
from lash.core.process import ProcessSpec, lane_of
from lash.stores import facts
from lash.stores.sql import journal
from lash.stores.sql.endings import cancel_children, outcome_in, request_cancel
from lash.stores.sql.events import stored_event
from lash.stores.sql.leases import lease
from lash.stores.sql.rows import (
    HOT,
    IDLE,
    LEASED,
    READY,
    STATUSES,
    TIMED,
    Hot,
    columns_of,
    pack_hash,
    pack_more,
    unpack_hash,
)
from lash.stores.sql.transaction import Transaction

THERE_SQL: Final = (
    "SELECT row, status, definition, lane FROM lash_process WHERE id = ? "
    "UNION ALL SELECT 0, status, definition, 0 FROM lash_tombstone WHERE id = ?"
)
INSERT_SQL: Final = f"INSERT INTO lash_process ({', '.join(HOT)}) VALUES ({', '.join('?' * len(HOT))})"
BLOCKED_SQL: Final = (
    "SELECT row FROM lash_process INDEXED BY lash_process_blocked "
    "WHERE blocked_reason IS NOT NULL AND lane = ? AND blocked_hash <> ? "
    "AND state <> 3 AND (wake_ms IS NULL OR wake_ms > ?) ORDER BY row"
)


def start(tx: Transaction, op: Start) -> Started | Conflict:
    spec = op.spec
    found = tx.sql(THERE_SQL, (spec.id, spec.id)).fetchone()
    if found is not None:
        row, status, definition, number = found
        if unpack_hash(definition) == spec.definition:
            return Started(row, STATUSES[status], created=False, claimed=None, pruned=not row)
        kind, name = tx.lane(number)[1:3] if row else ("", "")
        return Conflict(unpack_hash(definition), kind, name)
    hot = fresh_row(tx, spec)
    claimed = None
    if op.owner is not None and hot.state == READY:
        claimed = lease(tx, hot, spec, op.owner, op.ttl_ms)
    elif hot.state != IDLE:
        tx.stirred = True
    insert(tx, hot, spec)
    return Started(hot.row, Status.RUNNING, created=True, claimed=claimed)


def fresh_row(tx: Transaction, spec: ProcessSpec) -> Hot:
    now_ms = tx.now_ms
    external = facts.is_external(spec)
    state = IDLE if external else TIMED if spec.delay_ms else READY
    return Hot(
        row=tx.next_row(),
        id=spec.id,
        lane=tx.lane_number(lane_of(spec)),
        status=0,
        state=state,
        wake_ms=None if external else now_ms + spec.delay_ms,
        priority=spec.priority,
        owner=None,
        token=0,
        news=None,
        lost=None,
        faults=0,
        attempts=0,
        created_ms=now_ms,
        updated_ms=now_ms,
        last_event=0,
        generation=0,
        external=int(external),
        began_ms=None,
        first_owner=None,
        first_token=None,
        first_ms=None,
        waiting_on=None,
        waiting_key=None,
        waiting_until_ms=None,
        cancel_reason=None,
        cancel_ms=None,
        blocked_reason=None,
        blocked_detail=None,
        blocked_hash=None,
        parent=spec.parent,
        detached=int(spec.detached),
        definition=pack_hash(spec.definition) or "",
    )


def insert(tx: Transaction, hot: Hot, spec: ProcessSpec) -> None:
    tx.sql(INSERT_SQL, columns_of(hot))
    tx.sql("INSERT INTO lash_spec VALUES (?, ?, ?)", (hot.row, spec.args, pack_more(spec)))
    for tag in dict.fromkeys(spec.tags):
        tx.sql("INSERT INTO lash_tag VALUES (?, ?)", (tag, hot.row))


def cancel(tx: Transaction, op: Cancel) -> Appended | Ended | Unknown:
    hot = tx.load_id(op.process_id)
    if hot is None:
        return Unknown(tx.pruned(op.process_id))
    key = ev.cancel_key(op.reason)
    if (stored := stored_event(tx, hot.row, key)) is not None:
        return Appended(stored, new=False)
    if hot.status:
        return Ended(outcome_in(tx, hot))
    item = request_cancel(tx, hot, op.reason, key)
    cancel_children(tx, hot.id, op.reason, key)
    return Appended(item, new=True)


def continue_as_new(tx: Transaction, op: Continue) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    item = tx.tell(hot, ev.CONTINUED, facts.continued(op.args))
    hot.change(began_ms=item.at_ms, news=None, generation=hot.generation + 1)
    tx.save(hot)
    tx.sql("UPDATE lash_spec SET args = ? WHERE row = ?", (facts.normal_args(op.args), hot.row))
    journal.cut(tx, op.fence)
    return Done()


def retry(tx: Transaction, op: Retry) -> Done | Ended | Unknown:
    hot = tx.load_id(op.process_id)
    if hot is None:
        return Unknown(tx.pruned(op.process_id))
    if hot.status:
        return Ended(outcome_in(tx, hot))
    if hot.state != LEASED and not hot.external:
        tx.make_due(hot)
        tx.save(hot)
    return Done()


def unblock(tx: Transaction, op: Unblock) -> Count:
    ids: list[str] = []
    for number in tx.known_lanes([op.lane]):
        for (row,) in tx.sql(BLOCKED_SQL, (number, op.code_hash, tx.now_ms)).fetchall():
            hot = tx.load(row)
            if hot is not None:
                tx.make_due(hot)
                tx.save(hot)
                ids.append(hot.id)
    return Count(ids)
