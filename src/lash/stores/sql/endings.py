"""Endings: the outcome is written once, in the terminal event, together with the replies to everybody who waits.

Nothing else of the row survives the end: lease, timer, waiting and blocked facets go in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable

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
from lash.core.outcome import Cancelled, Outcome, Status, outcome_payload
from lash.core.process import ProcessSpec
from lash.core.session import ID_PREFIX, SESSION, turn_key
from lash.stores import facts
from lash.stores.sql.rows import IDLE, LEASED, STATUS_CODES, Hot
from lash.stores.sql.transaction import Transaction


def end(tx: Transaction, hot: Hot, outcome: Outcome) -> None:
    """As ``end_alone``; and whoever was asked to cancel leaves no child that was not."""
    end_alone(tx, hot, outcome)
    if hot.cancel_ms is not None and outcome.status is not Status.COMPLETED:
        reason = hot.cancel_reason or ""
        cancel_children(tx, hot.id, reason, ev.cancel_key(reason))  # those it started after it was asked itself


def end_alone(tx: Transaction, hot: Hot, outcome: Outcome) -> None:
    payload = outcome_payload(outcome)
    tx.tell(hot, ev.TERMINAL[outcome.status], payload)
    hot.status = STATUS_CODES[outcome.status]
    hot.state = IDLE
    hot.wake_ms = hot.owner = hot.news = hot.lost = None
    hot.wait_no_more()
    hot.block_no_more()
    tx.stirred = True
    key = wait_key_of_process(hot.id)
    answer(tx, hot, key, wait_reply(outcome.status, payload))
    if is_session(tx, hot) and (chat := tx.chat(hot.row)) is not None:
        answer_turns(tx, hot, tx.undone(chat), b"null")


def answer_turns(tx: Transaction, hot: Hot, items: Iterable[int], payload: bytes) -> None:
    """A reply to every open wait on a turn that consumes one of these items of a session."""
    tx.every(items, lambda number: answer(tx, hot, turn_key(hot.id, number), payload))


def answer(tx: Transaction, hot: Hot, key: str, payload: bytes) -> None:
    """A reply to every open wait on ``key``, which is about this row."""
    for rank, process, ordinal in tx.waiters(hot, key):
        waiter = tx.load(process)
        if waiter is not None and not waiter.status:
            tx.shut(waiter, rank)
            tx.deliver(waiter, Entry(EntryKind.REPLY, ordinal, key, payload=payload, attempt=0))


def is_session(tx: Transaction, hot: Hot) -> bool:
    return tx.lane(hot.lane).kind == SESSION


def rest(tx: Transaction, hot: Hot) -> None:
    """Nothing is left to do for a session: idle, or ended where that was asked for."""
    if hot.cancel_ms is not None:
        end(tx, hot, Cancelled(hot.cancel_reason or ""))
    elif hot.state == LEASED:
        tx.give_back(hot, None)
    else:
        hot.state, hot.wake_ms = IDLE, None


def at_rest(tx: Transaction, hot: Hot) -> bool:
    """A session nobody has, with nothing due and nothing waited for."""
    return hot.state == IDLE and hot.waiting_on is None and not hot.status and is_session(tx, hot)


def owner_over(tx: Transaction, spec: ProcessSpec) -> Ended | Unknown | None:
    """Why nothing may be started any more for the session that would own it. Where it may, that session must still be
    there, as it is now, when it is written: whoever ends it asks everything it owns to cancel."""
    if spec.detached or spec.parent is None or not spec.parent.startswith(ID_PREFIX):
        return None
    hot = tx.find_id(spec.parent)
    if hot is None:
        return Unknown(True) if tx.pruned(spec.parent) else None
    if hot.status:
        return Ended(tx.outcome(hot))
    if (chat := tx.chat(hot.row)) is not None:
        tx.keep_chat(chat)
    return None


def cancel_children(tx: Transaction, process_id: str, reason: str, key: str) -> list[str]:
    """Ask the whole running family that is not detached, once per reason; who was asked."""
    parents = [process_id]
    tx.expect_family(process_id, key)
    for parent in parents:  # grows while it is read: no recursion
        for row in tx.children(parent):
            child = tx.load(row)
            if child is not None and tx.told(row, key) is None:
                request_cancel(tx, child, reason, key)
                parents.append(child.id)
    return parents[1:]


def request_cancel(tx: Transaction, hot: Hot, reason: str, key: str) -> Event:
    first = hot.cancel_ms is None
    payload = facts.cancel(reason)
    item = tx.tell(hot, ev.CANCEL_REQUESTED, payload, key)
    if first:
        hot.cancel_reason, hot.cancel_ms = reason, item.at_ms
    if not hot.external and hot.state != LEASED and (hot.first_owner is None or at_rest(tx, hot)):
        end_alone(tx, hot, Cancelled(reason))
    elif not hot.external and first:
        tx.deliver(hot, Entry(EntryKind.CANCEL, 0, payload=payload))
    return item


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
    there = tx.outcome(hot)
    same = there.status is op.outcome.status and outcome_payload(there) == outcome_payload(op.outcome)
    return Done() if same else Ended(there)


def sweep(tx: Transaction, op: Sweep) -> Count:
    ids: list[str] = []

    def close_one(row: int) -> None:
        hot = tx.load(row)
        if hot is None or hot.status or (hot.state == LEASED and (hot.wake_ms or 0) > tx.now_ms):
            return  # its worker sees to it, or it was closed a moment ago with its parent
        end(tx, hot, Cancelled(hot.cancel_reason or ""))
        ids.append(hot.id)

    tx.every(tx.cancelled_before(tx.now_ms - op.grace_ms), close_one)
    return Count(ids)


def prune(tx: Transaction, op: Prune) -> Count:
    return Count(tx.bury(op.before_ms, op.limit))
