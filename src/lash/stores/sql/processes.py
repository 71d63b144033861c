"""Processes: started once per id, cancelled with their families, retried and unblocked by operators."""

from __future__ import annotations

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
from lash.stores.sql.endings import cancel_children, owner_over, request_cancel
from lash.stores.sql.leases import lease
from lash.stores.sql.rows import IDLE, LEASED, READY, STATUSES, TIMED, Hot, pack_hash, unpack_hash
from lash.stores.sql.transaction import Transaction


def start(tx: Transaction, op: Start) -> Started | Conflict | Ended | Unknown:
    spec = op.spec
    if (there := tx.there(spec.id)) is not None:
        return started_before(tx, spec, *there)
    if (over := owner_over(tx, spec)) is not None:
        return over
    hot = fresh_row(tx, spec)
    tx.add(hot)
    claimed = None
    if op.owner is not None and hot.state == READY:
        claimed = lease(tx, hot, spec, op.owner, op.ttl_ms)
    elif hot.state != IDLE:
        tx.stirred = True
    return Started(hot.row, Status.RUNNING, created=True, claimed=claimed)


def started_before(
    tx: Transaction, spec: ProcessSpec, row: int, status: int, definition: bytes | str, lane: int
) -> Started | Conflict:
    """``row`` is 0 where the process was pruned."""
    if unpack_hash(definition) == spec.definition:
        return Started(row, STATUSES[status], created=False, claimed=None, pruned=not row)
    kind, name = tx.lane(lane)[1:3] if row else ("", "")
    return Conflict(unpack_hash(definition), kind, name)


def fresh_row(tx: Transaction, spec: ProcessSpec) -> Hot:
    """Its columns in their order; what nothing has told yet is NULL."""
    now_ms = tx.now_ms
    external = facts.is_external(spec)
    state = IDLE if external else TIMED if spec.delay_ms else READY
    wake_ms = None if external else now_ms + spec.delay_ms
    lane = tx.lane_number(lane_of(spec))
    running = (tx.next_row(spec.id), spec.id, lane, 0, state, wake_ms, spec.priority, None, 0, None, None, 0, 0)
    told = (None, None, None, None, None, None, None, None, None, None, None, None)
    family = (spec.parent, int(spec.detached), pack_hash(spec.definition) or "")
    return Hot(*running, now_ms, now_ms, 0, 0, int(external), *told, *family, spec=spec)


def cancel(tx: Transaction, op: Cancel) -> Appended | Ended | Unknown:
    hot = tx.load_id(op.process_id)
    if hot is None:
        return Unknown(tx.pruned(op.process_id))
    key = ev.cancel_key(op.reason)
    if (stored := tx.told(hot.row, key)) is not None:
        return Appended(stored, new=False)
    if hot.status:
        return Ended(tx.outcome(hot))
    item = request_cancel(tx, hot, op.reason, key)
    cancel_children(tx, hot.id, op.reason, key)
    return Appended(item, new=True)


def continue_as_new(tx: Transaction, op: Continue) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    item = tx.tell(hot, ev.CONTINUED, facts.continued(op.args))
    hot.began_ms, hot.news = item.at_ms, None
    hot.generation += 1
    tx.cut(hot)
    tx.set_args(hot, facts.normal_args(op.args))
    return Done()


def retry(tx: Transaction, op: Retry) -> Done | Ended | Unknown:
    hot = tx.load_id(op.process_id)
    if hot is None:
        return Unknown(tx.pruned(op.process_id))
    if hot.status:
        return Ended(tx.outcome(hot))
    if hot.state != LEASED and not hot.external:
        tx.make_due(hot)
    return Done()


def unblock(tx: Transaction, op: Unblock) -> Count:
    ids: list[str] = []
    for number in tx.known_lanes([op.lane]):
        for row in tx.blocked(number, op.code_hash):
            hot = tx.load(row)
            if hot is not None:
                tx.make_due(hot)
                ids.append(hot.id)
    return Count(ids)
