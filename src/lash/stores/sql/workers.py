"""Who serves which lanes, until when: for people and for starters who want to know whether anybody will come."""

from __future__ import annotations

import sqlite3
from typing import cast

from lash.abc.store import Discharge, Done, Enlist, WorkerRecord
from lash.core import codec
from lash.core.process import Lane
from lash.stores.sql.transaction import Transaction


def enlist(tx: Transaction, op: Enlist) -> Done:
    for lane in op.lanes:
        tx.lane_number(lane)  # a lane that has a number costs a claim nothing while it is empty
    lanes = codec.encode([list(lane) for lane in op.lanes], "lanes")
    tx.tables.put_worker(op.owner, lanes, op.about, tx.now_ms + op.ttl_ms)
    return Done()


def discharge(tx: Transaction, op: Discharge) -> Done:
    tx.tables.delete_worker(op.owner)
    return Done()


def live_workers(connection: sqlite3.Connection, now_ms: int) -> list[WorkerRecord]:
    """Those whose entry has not run out, by owner."""
    query = "SELECT owner, lanes, about, until_ms FROM lash_worker WHERE until_ms > ? ORDER BY owner"
    return [
        WorkerRecord(owner, unpack_lanes(lanes), about, until_ms)
        for owner, lanes, about, until_ms in connection.execute(query, (now_ms,))
    ]


def unpack_lanes(lanes: bytes) -> tuple[Lane, ...]:
    return tuple(Lane(*names) for names in cast("list[list[str]]", codec.decode(lanes)))
