"""Blobs in their own table, by hash. Immutable, so putting the same bytes twice writes once."""

from __future__ import annotations

import hashlib
import sqlite3

PREFIX = "sha256:"


def put(connection: sqlite3.Connection, data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    connection.execute("INSERT OR IGNORE INTO lash_blob VALUES (?, ?)", (digest, data))
    return PREFIX + digest.hex()


def get(connection: sqlite3.Connection, ref: str) -> bytes | None:
    """The bytes behind a reference, or None where there are none (an ill-formed reference included)."""
    try:
        digest = bytes.fromhex(ref.removeprefix(PREFIX))
    except ValueError:
        return None
    found = connection.execute("SELECT data FROM lash_blob WHERE hash = ?", (digest,)).fetchone()
    return None if found is None else bytes(found[0])
