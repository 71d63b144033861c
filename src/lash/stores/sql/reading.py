"""What both dialects make of the rows they read, and what they ask in the same words.

A row that cannot be decoded raises: a damaged row must never look like a missing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from lash.abc.store import ProcessFilter, WorkerRecord
from lash.core.process import ProcessRow, Tombstone
from lash.core.session import SESSION
from lash.errors import StoreUnavailable
from lash.stores.sql.lanes import Lanes
from lash.stores.sql.rows import STATUSES, unpack_hash, unpack_row
from lash.stores.sql.workers import unpack_lanes

ID: Final = 1
LANE: Final = 2
"""Positions in ``ROW_SQL``."""
TOMBSTONE_SQL: Final = "SELECT id, definition, status, ended_ms, pruned_ms FROM lash_tombstone"
WORKER_SQL: Final = "SELECT owner, lanes, about, until_ms FROM lash_worker"
COUNTS_SQL: Final = (
    "SELECT status, count(*) FROM lash_process GROUP BY status UNION ALL "
    "SELECT p.status, -count(*) FROM lash_session s JOIN lash_process p ON p.row = s.row GROUP BY p.status"
)
"""Every row, and then the sessions among them with a minus."""


def process_of(columns: Sequence[object], lanes: Lanes) -> ProcessRow:
    """A row of ``ROW_SQL``. Raises ``StoreUnavailable`` where it is damaged."""
    try:
        return unpack_row(columns, lanes)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreUnavailable(
            f"The row of process {columns[ID]!r} is damaged: {error}. Restore a backup, or see `lash doctor`.",
            process_id=columns[ID],
        ) from error


def tombstone_of(columns: Sequence[Any]) -> Tombstone:
    """A row of ``TOMBSTONE_SQL``."""
    process_id, definition, status, ended_ms, pruned_ms = columns
    return Tombstone(process_id, unpack_hash(definition), STATUSES[status], ended_ms, pruned_ms)


def worker_of(columns: Sequence[Any]) -> WorkerRecord:
    """A row of ``WORKER_SQL``."""
    owner, lanes, about, until_ms = columns
    return WorkerRecord(owner, unpack_lanes(lanes), about, until_ms)


def counts_of(rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    """Rows of ``COUNTS_SQL`` → by status, every one."""
    found = {status.value: 0 for status in STATUSES}
    for code, number in rows:
        found[STATUSES[int(code)].value] += number
    return found


def earliest(rows: Iterable[Sequence[int | None]]) -> int | None:
    return min((wake_ms for row in rows for wake_ms in row if wake_ms is not None), default=None)


def terms_of(wanted: ProcessFilter) -> Iterator[tuple[str, object]]:
    """What a page asks for beside the status: a condition with ``{}`` for its value, and the value."""
    kinds = "IN" if wanted.sessions else "NOT IN"
    yield f"p.lane {kinds} (SELECT lane FROM lash_lane WHERE kind = {{}})", SESSION
    if wanted.name is not None:
        yield "p.lane IN (SELECT lane FROM lash_lane WHERE name = {})", wanted.name
    if wanted.tag is not None:
        yield "p.row IN (SELECT row FROM lash_tag WHERE tag = {})", wanted.tag
    if wanted.parent is not None:
        yield "p.parent = {}", wanted.parent
    if wanted.after is not None:
        yield "p.row < (SELECT row FROM lash_process WHERE id = {})", wanted.after
