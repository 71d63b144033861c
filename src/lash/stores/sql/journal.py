"""The journal: entries appended under a fence, waits and the mail that answers them.

Mail is handed out in the order of its events and to the oldest wait first; for no key are there ever both an open
wait and untaken mail. The common case (steps only, nothing written by others) is one lookup and one buffered insert.
"""

from __future__ import annotations

from lash.abc.store import Done, Forget, Look, Put, Recorded, Stale, wait_reply
from lash.core.effect import DELIVERED, Entry, EntryKind
from lash.core.session import TURN_PREFIX
from lash.stores import facts
from lash.stores.sql.rows import CLOSE, REPLY, STATUSES, WAIT, Hot
from lash.stores.sql.transaction import Transaction
from lash.stores.sql.turns import is_quiet, reply_of_turn


def put(tx: Transaction, op: Put) -> Recorded | Stale:
    fence, seen, entries, inbox = op
    hot = tx.leased(fence)
    if isinstance(hot, Stale):
        return hot
    recorded: list[Entry] = []
    if hot.last_rank > seen:
        recorded = tx.entries_after(hot, seen)
        known = {facts.identity(entry) for entry in recorded}
        entries = [entry for entry in entries if facts.identity(entry) not in known]
    for entry in entries:
        kind = entry.kind
        if kind is EntryKind.WAIT:
            recorded += put_wait(tx, hot, entry)
        elif kind is EntryKind.CLOSE:
            recorded += put_close(tx, hot, entry)
        else:
            recorded.append(tx.note(hot, entry))
    if hot.news is not None:
        tx.holder(fence)
        hot.news = None
    return Recorded(recorded, inbox and is_quiet(tx, hot))


def put_wait(tx: Transaction, hot: Hot, wait: Entry) -> list[Entry]:
    """The wait, and its reply where there is one to be had at once."""
    key = wait.name
    if key.startswith(facts.PROCESS_PREFIX):
        payload, attempt = reply_of_process(tx, key.removeprefix(facts.PROCESS_PREFIX)), 0
    elif key.startswith(TURN_PREFIX):
        payload, attempt = reply_of_turn(tx, key), 0
    else:
        mail = tx.oldest_mail(hot, key)
        payload, attempt = (None, 0) if mail is None else (mail[2] or b"", mail[1])
        if mail is not None:
            tx.shut(hot, mail[0])
    if payload is None:
        return [tx.note(hot, wait, open_key=key)]
    reply = Entry(EntryKind.REPLY, wait.ordinal, key, payload=payload, attempt=attempt)
    return [tx.note(hot, wait), tx.note(hot, reply)]


def reply_of_process(tx: Transaction, process_id: str) -> bytes | None:
    """What a wait on this process gets at once; None while it runs."""
    hot = tx.find_id(process_id)
    if hot is None:
        return facts.REPLY_PRUNED if tx.pruned(process_id) else facts.REPLY_UNKNOWN
    if not hot.status:
        tx.awaits(hot)
        return None
    return wait_reply(STATUSES[hot.status], tx.terminal(hot))


def put_close(tx: Transaction, hot: Hot, entry: Entry) -> list[Entry]:
    """The close; and where the wait had already consumed a signal, the mail that goes back, once."""
    closed = False
    taken: tuple[str, bytes, int] | None = None
    for rank, kind, name, payload, attempt, open_key in tx.waits(hot, entry.ordinal):
        if kind == WAIT and open_key is not None:
            tx.shut(hot, rank)
            return [tx.note(hot, entry)]
        closed = closed or kind == CLOSE
        if kind == REPLY and attempt != 0 and taken is None:
            taken = (name, payload or b"", 1 if attempt is None else attempt)
    noted = [tx.note(hot, entry)]
    if taken is None or closed:
        return noted
    key, payload, sequence = taken
    mail = Entry(EntryKind.MAIL, sequence, key, payload=payload)
    wait = tx.oldest_wait(hot, key)
    noted.append(tx.note(hot, mail, open_key=key if wait is None else None))
    if wait is not None:
        tx.shut(hot, wait[0])
        noted.append(tx.note(hot, Entry(EntryKind.REPLY, wait[1], key, payload=payload, attempt=sequence)))
    return noted


def look(tx: Transaction, op: Look) -> Recorded | Stale:
    hot = tx.holder(op.fence)
    return hot if isinstance(hot, Stale) else Recorded(read_news(tx, hot, op.seen))


def read_news(tx: Transaction, hot: Hot, seen: int) -> list[Entry]:
    hot.news = None
    return tx.entries_after(hot, seen)


def has_delivered(entries: list[Entry]) -> bool:
    return any(entry.kind in DELIVERED for entry in entries)


def forget(tx: Transaction, op: Forget) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    tx.cut(hot)
    return Done()
