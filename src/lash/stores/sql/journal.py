"""The journal: entries appended under a fence, waits and the mail that answers them.

Mail is handed out in the order of its events and to the oldest wait first; for no key are there ever both an open
wait and untaken mail. The common case (steps only, nothing written by others) is one lookup and one buffered insert.
"""

from __future__ import annotations

from typing import Final, cast

from lash.abc.store import Done, Forget, Look, Put, Recorded, Stale, wait_reply
from lash.core.effect import DELIVERED, Entry, EntryKind
from lash.core.lease import Fence
from lash.stores import facts
from lash.stores.sql.rows import CANCEL, CLOSE, ENTRY_SQL, LEASED, MAIL, REPLY, STATUSES, WAIT, Hot, unpack_entry
from lash.stores.sql.transaction import Scope, Transaction

SCOPE_SQL: Final = (
    "SELECT p.token, p.state, p.status, p.news, p.updated_ms, j.rank, j.at_ms "
    "FROM lash_process p LEFT JOIN lash_journal j "
    "ON j.rank = (SELECT max(rank) FROM lash_journal WHERE process = p.row) WHERE p.row = ?"
)
AFTER_SQL: Final = f"SELECT {ENTRY_SQL} FROM lash_journal WHERE process = ? AND rank > ? ORDER BY rank"
WAIT_SQL: Final = (
    "SELECT rank, kind, name, payload, attempt, open_key FROM lash_journal INDEXED BY lash_journal_wait "
    "WHERE process = ? AND ordinal = ? AND kind BETWEEN 4 AND 6 ORDER BY rank"
)
OLDEST_MAIL_SQL: Final = (
    "SELECT rank, ordinal, payload FROM lash_journal INDEXED BY lash_journal_open "
    f"WHERE open_key = ? AND process = ? AND kind = {MAIL} ORDER BY ordinal LIMIT 1"
)
OLDEST_WAIT_SQL: Final = (
    "SELECT rank, ordinal FROM lash_journal INDEXED BY lash_journal_open "
    f"WHERE open_key = ? AND process = ? AND kind = {WAIT} ORDER BY rank LIMIT 1"
)
ENDED_SQL: Final = (
    "SELECT p.status, e.payload FROM lash_process p LEFT JOIN lash_event e "
    "ON p.status > 0 AND e.process = p.row AND e.sequence = p.last_event WHERE p.id = ?"
)
NOTES: Final = frozenset({EntryKind.WAIT, EntryKind.CLOSE})


def scope_of(tx: Transaction, fence: Fence) -> Scope | Stale:
    """What is known of the row the fence guards, or the refusal."""
    row, token = fence
    tx.flush_row(row)
    found = tx.sql(SCOPE_SQL, (row,)).fetchone()
    if found is None or found[2]:
        return Stale(0)
    there, state, _, news, updated_ms, last_rank, last_ms = found
    if state != LEASED or there != token:
        return Stale(there)
    scope = tx.book.scopes[row] = Scope(there, news is not None, last_rank or 0, max(updated_ms, last_ms or 0))
    return scope


def after(tx: Transaction, row: int, rank: int) -> list[Entry]:
    tx.flush()
    return [unpack_entry(columns) for columns in tx.sql(AFTER_SQL, (row, rank))]


def put(tx: Transaction, op: Put) -> Recorded | Stale:
    fence, seen, entries = op
    row, token = fence
    scope = tx.book.scopes.get(row)
    if scope is None or scope.token != token:
        found = scope_of(tx, fence)
        if isinstance(found, Stale):
            return found
        scope = found
    recorded: list[Entry] = []
    if scope.last_rank > seen:
        recorded = after(tx, row, seen)
        known = {facts.identity(entry) for entry in recorded}
        entries = [entry for entry in entries if facts.identity(entry) not in known]
    at_ms = tx.now_ms if tx.now_ms > scope.last_ms else scope.last_ms
    for entry in entries:
        kind = entry.kind
        if kind is EntryKind.WAIT:
            recorded += put_wait(tx, row, entry, at_ms)
        elif kind is EntryKind.CLOSE:
            recorded += put_close(tx, row, entry, at_ms)
        else:
            recorded.append(tx.note(row, entry, at_ms))
    if scope.news:
        tx.sql("UPDATE lash_process SET news = NULL WHERE row = ?", (row,))
        scope.news = False
    if entries:
        scope.last_rank, scope.last_ms = recorded[-1].rank, at_ms
    return Recorded(recorded)


def put_wait(tx: Transaction, row: int, wait: Entry, at_ms: int) -> list[Entry]:
    """The wait, and its reply where there is one to be had at once."""
    key = wait.name
    if key.startswith(facts.PROCESS_PREFIX):
        payload, attempt = reply_of_process(tx, key.removeprefix(facts.PROCESS_PREFIX)), 0
    else:
        tx.flush()
        mail = tx.sql(OLDEST_MAIL_SQL, (key, row)).fetchone()
        payload, attempt = (None, 0) if mail is None else (mail[2] or b"", mail[1])
        if mail is not None:
            tx.shut(mail[0])
    if payload is None:
        return [tx.note(row, wait, at_ms, open_key=key)]
    reply = Entry(EntryKind.REPLY, wait.ordinal, key, payload=payload, attempt=attempt)
    return [tx.note(row, wait, at_ms), tx.note(row, reply, at_ms)]


def reply_of_process(tx: Transaction, process_id: str) -> bytes | None:
    """What a wait on this process gets at once; None while it runs."""
    found = tx.sql(ENDED_SQL, (process_id,)).fetchone()
    if found is None:
        return facts.REPLY_PRUNED if tx.pruned(process_id) else facts.REPLY_UNKNOWN
    status, payload = cast("tuple[int, bytes]", found)
    return wait_reply(STATUSES[status], payload) if status else None


def put_close(tx: Transaction, row: int, entry: Entry, at_ms: int) -> list[Entry]:
    """The close; and where the wait had already consumed a signal, the mail that goes back, once."""
    tx.flush()
    closed = False
    taken: tuple[str, bytes, int] | None = None
    for rank, kind, name, payload, attempt, open_key in tx.sql(WAIT_SQL, (row, entry.ordinal)).fetchall():
        if kind == WAIT and open_key is not None:
            tx.shut(rank)
            return [tx.note(row, entry, at_ms)]
        closed = closed or kind == CLOSE
        if kind == REPLY and attempt != 0 and taken is None:
            taken = (name, payload or b"", 1 if attempt is None else attempt)
    noted = [tx.note(row, entry, at_ms)]
    if taken is None or closed:
        return noted
    key, payload, sequence = taken
    mail = Entry(EntryKind.MAIL, sequence, key, payload=payload)
    wait = tx.sql(OLDEST_WAIT_SQL, (key, row)).fetchone()
    noted.append(tx.note(row, mail, at_ms, open_key=key if wait is None else None))
    if wait is not None:
        tx.shut(wait[0])
        reply = Entry(EntryKind.REPLY, wait[1], key, payload=payload, attempt=sequence)
        noted.append(tx.note(row, reply, at_ms))
    return noted


def look(tx: Transaction, op: Look) -> Recorded | Stale:
    hot = tx.holder(op.fence)
    return hot if isinstance(hot, Stale) else Recorded(read_news(tx, hot, op.seen))


def read_news(tx: Transaction, hot: Hot, seen: int) -> list[Entry]:
    if hot.news is not None:
        hot.change(news=None)
        tx.save(hot)
    return after(tx, hot.row, seen)


def has_delivered(entries: list[Entry]) -> bool:
    return any(entry.kind in DELIVERED for entry in entries)


def forget(tx: Transaction, op: Forget) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    cut(tx, op.fence)
    return Done()


def cut(tx: Transaction, fence: Fence) -> None:
    """Drop the journal, all but untaken mail and cancel requests."""
    tx.keep_floors()
    tx.book.scopes.pop(fence.row, None)
    tx.sql(
        "DELETE FROM lash_journal WHERE process = ? "
        f"AND kind <> {CANCEL} AND NOT (kind = {MAIL} AND open_key IS NOT NULL)",
        (fence.row,),
    )
