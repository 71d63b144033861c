"""Who serves which lanes, until when: for people and for starters who want to know whether anybody will come."""

from __future__ import annotations

from typing import cast

from lash.abc.store import Discharge, Done, Enlist
from lash.core import codec
from lash.core.process import Lane
from lash.stores.sql.transaction import Transaction


def enlist(tx: Transaction, op: Enlist) -> Done:
    for lane in op.lanes:
        tx.lane_number(lane)  # a lane that has a number costs a claim nothing while it is empty
    lanes = codec.encode([list(lane) for lane in op.lanes], "lanes")
    tx.put_worker(op.owner, lanes, op.about, tx.now_ms + op.ttl_ms)
    return Done()


def discharge(tx: Transaction, op: Discharge) -> Done:
    tx.delete_worker(op.owner)
    return Done()


def unpack_lanes(lanes: bytes) -> tuple[Lane, ...]:
    return tuple(Lane(*names) for names in cast("list[list[str]]", codec.decode(lanes)))
