"""Rows, entries, events and workers as JSON: what ``--json`` prints, the same shape in every command.

Times are epoch milliseconds under names that end in ``_ms``; what a user stored is decoded, never printed as bytes.
``state`` says in one word what a running process does right now; for an ended one it is its status.
"""

from __future__ import annotations

from typing import TypeAlias, cast

from lash.abc.store import WorkerRecord
from lash.core import codec
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed, Outcome
from lash.core.process import EXTERNAL, Blocked, CancelRequest, FirstStarted, Lane, ProcessRow, Waiting
from lash.core.session import SESSION

Document: TypeAlias = "dict[str, object]"


def state_of(row: ProcessRow, now_ms: int) -> str:
    """One of the four outcomes, or: external, running, lost, blocked, waiting, sleeping, back-off, scheduled, idle,
    ready.

    ``lost``: its lease ran out and nobody has taken it over. ``back-off``: put off after trouble. ``scheduled``: its
    delay is not over. ``idle``: a session to which nothing was sent that is not done. ``ready``: a worker could claim
    it now.
    """
    record = row.record
    if record.status.final:
        return record.status.value
    if record.spec.kind == EXTERNAL:
        return "external"
    if row.owner is not None:
        return "running" if (row.until_ms or 0) > now_ms else "lost"
    if record.blocked is not None:
        return "blocked"
    later = row.due_ms is not None and row.due_ms > now_ms
    if record.waiting is not None and (later or row.due_ms is None):
        return "sleeping" if record.waiting.on == "sleep" else "back-off" if record.waiting.on == "retry" else "waiting"
    if later:
        return "back-off" if record.first_started is not None else "scheduled"
    return "idle" if record.spec.kind == SESSION and row.due_ms is None else "ready"


def outcome_document(outcome: Outcome | None) -> Document | None:
    match outcome:
        case None:
            return None
        case Completed(value):
            return {"status": "completed", "value": codec.decode(value)}
        case Failed(failure):
            return {"status": "failed", "failure": failure.as_json()}
        case Cancelled(message):
            return {"status": "cancelled", "message": message}
        case Abandoned(evidence):
            return {"status": "abandoned", "evidence": evidence}


def row_document(row: ProcessRow, now_ms: int) -> Document:
    """A process as ``lash ls`` tells it."""
    record, spec = row.record, row.record.spec
    lease = None if row.owner is None else {"owner": row.owner, "token": row.token, "until_ms": row.until_ms}
    return {
        "id": record.id,
        "name": spec.name,
        "version": spec.version,
        "kind": spec.kind,
        "status": record.status.value,
        "state": state_of(row, now_ms),
        "host_profile": spec.host_profile,
        "created_ms": record.created_ms,
        "updated_ms": record.updated_ms,
        "attempts": record.attempts,
        "first_started": tuple_document(record.first_started),
        "waiting": tuple_document(record.waiting),
        "cancel_requested": tuple_document(record.cancel_requested),
        "blocked": tuple_document(record.blocked),
        "lease": lease,
        "due_ms": row.due_ms,
        "faults": row.faults,
        "outcome": outcome_document(record.outcome),
        "tags": list(spec.tags),
        "priority": spec.priority,
        "parent": spec.parent,
        "last_event": record.last_event,
    }


def spec_document(row: ProcessRow) -> Document:
    """What was asked for, beyond :func:`row_document`."""
    spec = row.record.spec
    return {
        "args": codec.decode(spec.args),
        "recovery": spec.recovery,
        "attempts_max": spec.attempts_max,
        "timeout_ms": spec.timeout_ms,
        "detached": spec.detached,
        "originator": spec.originator,
        "caused_by": spec.caused_by,
    }


def tuple_document(value: FirstStarted | Waiting | CancelRequest | Blocked | None) -> Document | None:
    """A facet of the record under its field names."""
    return None if value is None else value._asdict()


def entry_document(entry: Entry) -> Document:
    return {
        "kind": entry.kind.value,
        "ordinal": entry.ordinal,
        "name": entry.name,
        "failed": entry.failed,
        "attempt": entry.attempt,
        "began_ms": entry.began_ms or None,
        "due_ms": entry.due_ms or None,
        "at_ms": entry.at_ms,
        "payload": codec.decode(entry.payload) if entry.payload else None,
    }


def event_document(event: Event) -> Document:
    return {
        "sequence": event.sequence,
        "type": event.type,
        "payload": event.value(),
        "key": event.key,
        "at_ms": event.at_ms,
    }


def worker_document(worker: WorkerRecord, now_ms: int) -> Document:
    return {
        "owner": worker.owner,
        "until_ms": worker.until_ms,
        "live": worker.until_ms > now_ms,
        "about": codec.decode(worker.about),
        "lanes": [lane_document(lane) for lane in worker.lanes],
    }


def object_in(value: object) -> Document | None:
    """``value`` where it is a JSON object."""
    return cast("Document", value) if isinstance(value, dict) else None


def list_in(value: object) -> list[object] | None:
    """``value`` where it is a JSON array."""
    return cast("list[object]", value) if isinstance(value, list) else None


def lane_document(lane: Lane) -> Document:
    return lane._asdict()
