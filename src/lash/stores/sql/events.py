"""Events of bodies and signals from outside: dense sequences, and a key that says a thing once."""

from __future__ import annotations

from lash.abc.store import Append, Appended, Ended, KeyConflict, Signal, Stale, Unknown, wait_key_of_signal
from lash.core import event as ev
from lash.core.effect import Entry, EntryKind
from lash.core.event import Event, content_hash
from lash.stores.sql.transaction import Transaction


def replayed(stored: Event, event_type: str, payload: bytes) -> Appended | KeyConflict:
    same = content_hash(stored.type, stored.payload) == content_hash(event_type, payload)
    return Appended(stored, new=False) if same else KeyConflict(stored)


def append(tx: Transaction, op: Append) -> Appended | Stale | KeyConflict:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    if op.key is not None and (stored := tx.told(hot.row, op.key)) is not None:
        return replayed(stored, op.type, op.payload)
    item = tx.tell(hot, op.type, op.payload, op.key)
    tx.stirred = True  # somebody may be following the log
    return Appended(item, new=True)


def signal(tx: Transaction, op: Signal) -> Appended | Ended | Unknown | KeyConflict:
    hot = tx.load_id(op.process_id)
    if hot is None:
        return Unknown(tx.pruned(op.process_id))
    event_type = ev.SIGNAL_PREFIX + op.name
    key = None if op.key is None else ev.signal_key(op.key)
    if key is not None and (stored := tx.told(hot.row, key)) is not None:
        return replayed(stored, event_type, op.payload)
    if hot.status:
        return Ended(tx.outcome(hot))
    item = tx.tell(hot, event_type, op.payload, key)
    wait_key = wait_key_of_signal(op.name)
    wait = tx.oldest_wait(hot, wait_key)
    if wait is not None:
        tx.shut(hot, wait[0])
        tx.deliver(hot, Entry(EntryKind.REPLY, wait[1], wait_key, payload=op.payload, attempt=item.sequence))
    else:
        tx.note(hot, Entry(EntryKind.MAIL, item.sequence, wait_key, payload=op.payload), open_key=wait_key)
    return Appended(item, new=True)
