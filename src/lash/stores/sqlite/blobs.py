"""Blobs in their own table, by hash. Immutable, so putting the same bytes twice writes them once.

Since when pruning is to look at one stands apart: to change a row with a blob in it would write the blob again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from lash.abc.store import BlobsPruned
from lash.stores.blobs import digest_of, digests_of, reference_of, reference_to

LOOSEN_SQL: Final = (
    "INSERT INTO lash_loose VALUES (?, ?) ON CONFLICT (hash) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)"
)
SPEAK_SQL: Final = "INSERT OR IGNORE INTO lash_ref VALUES (?, ?, ?)"
PLACE_SQL: Final = "SELECT head + 1 FROM lash_session WHERE row = ? AND gone IS NULL"
OLD_SQL: Final = "SELECT hash FROM lash_loose WHERE at_ms < ? ORDER BY at_ms, hash LIMIT ?"
SPOKEN_SQL: Final = "SELECT 1 FROM lash_ref WHERE hash = ? LIMIT 1"
SILENCED_SQL: Final = (
    "INSERT OR IGNORE INTO lash_loose SELECT r.hash, 0 FROM lash_ref r "
    "WHERE r.session = ?1 AND r.node > ?2 AND EXISTS (SELECT 1 FROM lash_blob b WHERE b.hash = r.hash)"
)


def put(connection: sqlite3.Connection, data: bytes, now_ms: int) -> str:
    reference = reference_of(data)
    digest = digest_of(reference)
    connection.execute("INSERT OR IGNORE INTO lash_blob VALUES (?, ?)", (digest, data))
    connection.execute(LOOSEN_SQL, (digest, now_ms))
    return reference


def get(connection: sqlite3.Connection, ref: str) -> bytes | None:
    """The bytes behind a reference, or None where there are none (an ill-formed reference included)."""
    if (digest := digest_of(ref)) is None:
        return None
    found = connection.execute("SELECT data FROM lash_blob WHERE hash = ?", (digest,)).fetchone()
    return None if found is None else bytes(found[0])


def keep(connection: sqlite3.Connection, refs: Sequence[str], row: int, now_ms: int) -> list[str]:
    """Those that are not there."""
    there = {digest: ref for digest, ref in digests_of(refs).items() if is_there(connection, digest)}
    connection.executemany(LOOSEN_SQL, [(digest, now_ms) for digest in there])
    missing = [ref for ref in dict.fromkeys(refs) if ref not in there.values()]
    if not missing and (place := connection.execute(PLACE_SQL, (row,)).fetchone()) is not None:
        connection.executemany(SPEAK_SQL, [(digest, row, place[0]) for digest in there])
    return missing


def is_there(connection: sqlite3.Connection, digest: bytes) -> bool:
    return connection.execute("SELECT 1 FROM lash_blob WHERE hash = ?", (digest,)).fetchone() is not None


def old(connection: sqlite3.Connection, before_ms: int, limit: int) -> list[bytes]:
    """What pruning would look at."""
    return [digest for (digest,) in connection.execute(OLD_SQL, (before_ms, limit))]


def prune(connection: sqlite3.Connection, before_ms: int, limit: int) -> BlobsPruned:
    looked = old(connection, before_ms, limit)
    gone = [digest for digest in looked if connection.execute(SPOKEN_SQL, (digest,)).fetchone() is None]
    connection.executemany("DELETE FROM lash_loose WHERE hash = ?", [(digest,) for digest in looked])
    connection.executemany("DELETE FROM lash_blob WHERE hash = ?", [(digest,) for digest in gone])
    return BlobsPruned(len(looked), [reference_to(digest) for digest in gone])


def silence(connection: sqlite3.Connection, row: int, after: int) -> None:
    """The nodes of this session behind ``after`` are gone, and speak of nothing any more."""
    connection.execute(SILENCED_SQL, (row, after))
    connection.execute("DELETE FROM lash_ref WHERE session = ? AND node > ?", (row, after))
