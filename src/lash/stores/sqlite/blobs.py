"""Blobs in their own table, by hash. Immutable, so putting the same bytes twice writes once."""

from __future__ import annotations

import sqlite3

from lash.stores.blobs import digest_of, reference_of


def put(connection: sqlite3.Connection, data: bytes) -> str:
    reference = reference_of(data)
    connection.execute("INSERT OR IGNORE INTO lash_blob VALUES (?, ?)", (digest_of(reference), data))
    return reference


def get(connection: sqlite3.Connection, ref: str) -> bytes | None:
    """The bytes behind a reference, or None where there are none (an ill-formed reference included)."""
    if (digest := digest_of(ref)) is None:
        return None
    found = connection.execute("SELECT data FROM lash_blob WHERE hash = ?", (digest,)).fetchone()
    return None if found is None else bytes(found[0])
