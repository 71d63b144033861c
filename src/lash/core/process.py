"""A process is durable intent; its record is the fold of its events over its spec.

``fold(spec, events) == record`` holds on every store at every moment: a field of the record changes only with an
event, in the same transaction (DESIGN section 4, spec N-13). What changes without an event (lease, due time, fault
count) is not part of the record and lives in :class:`ProcessRow`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from lash.core import codec, event as ev
from lash.core.event import Event
from lash.core.outcome import Outcome, Status, outcome_of
from lash.limits import ATTEMPTS_MAX

Recovery: TypeAlias = Literal["rerun", "once", "external"]
PYTHON: Final = "python"
EXTERNAL: Final = "external"
DEFAULT_PROFILE: Final = "default"
HOST: Final = "host"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What a caller describes: everything a worker needs, and no code."""

    id: str
    kind: str
    """Which runner runs it: ``python``, ``session`` or ``external``."""
    name: str
    version: str
    """Of the code; a worker without this version does not claim the row. Empty: unversioned."""
    args: bytes
    """JSON ``[[positional…], {keyword…}]``; an external process keeps its metadata here."""
    definition: str
    """Hash of kind, name and args: the same id with another definition is a conflict."""
    recovery: Recovery = "rerun"
    attempts_max: int = ATTEMPTS_MAX
    timeout_ms: int | None = None
    """Bound on the time from the first start to the outcome."""
    delay_ms: int = 0
    priority: int = 0
    """Larger runs first, among the ready rows of one name."""
    tags: tuple[str, ...] = ()
    host_profile: str = DEFAULT_PROFILE
    """Only a worker of this profile claims the row; empty matches any."""
    originator: str = HOST
    caused_by: str | None = None
    parent: str | None = None
    detached: bool = False
    """A detached child is not cancelled with its parent."""
    wake_target: str | None = None
    observers: tuple[str, ...] = ()


class Lane(NamedTuple):
    """The queue a row stands in. A worker claims from the lanes it has code for, and from no other."""

    host_profile: str
    kind: str
    name: str
    version: str


def lane_of(spec: ProcessSpec) -> Lane:
    return Lane(spec.host_profile, spec.kind, spec.name, spec.version)


def definition_of(kind: str, name: str, args: bytes) -> str:
    """Only what is executed: neither cause nor tags nor version, so that a benign repeated start is no conflict."""
    if args.endswith(b",{}]") and args.count(b"{") == 1:  # no object inside, so there is only one way to write it
        return codec.digest(f"lash.definition/1:{kind}:{name}:" + args.decode())
    return codec.fingerprint("lash.definition/1", kind, name, codec.decode(args))


class FirstStarted(NamedTuple):
    attempt: int
    owner: str
    token: int
    at_ms: int


class Waiting(NamedTuple):
    on: str
    """``signal``, ``process``, ``sleep``, ``retry``, or ``mixed`` for several of these."""
    key: str | None
    """The wait key where there is just one."""
    until_ms: int | None
    """When it goes on even without a reply."""


class CancelRequest(NamedTuple):
    reason: str
    at_ms: int


class Blocked(NamedTuple):
    reason: str
    """A stable code: ``diverged``, ``store_unavailable``, ``durable_store_required:…``, …"""
    detail: str
    code_hash: str
    """Fingerprint of the code that met the trouble; a worker with other code takes the row up at once."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """The folded state of one process."""

    spec: ProcessSpec
    created_ms: int
    updated_ms: int
    status: Status = Status.RUNNING
    outcome: Outcome | None = None
    attempts: int = 0
    """Times it was started on a worker whose predecessor was lost, the first start included; of a session, in the turn
    at hand."""
    first_started: FirstStarted | None = None
    began_ms: int | None = None
    """Where the body's clock begins: the first start, or the last ``continue_as_new``."""
    waiting: Waiting | None = None
    cancel_requested: CancelRequest | None = None
    """The first request; later ones with other reasons are in the log."""
    blocked: Blocked | None = None
    last_event: int = 0
    """Sequence of the newest event."""
    generation: int = 0
    """How often its history was cut, by ``continue_as_new`` or by the commit of a turn."""

    @property
    def id(self) -> str:
        return self.spec.id


class ProcessRow(NamedTuple):
    """A record with what the store keeps beside it for scheduling; none of it is told by events."""

    row: int
    """The store's own number for the process."""
    record: ProcessRecord
    owner: str | None
    token: int
    """Strictly increases with every claim, for ever."""
    until_ms: int | None
    """End of the lease, when there is an owner."""
    due_ms: int | None
    """When it may be claimed; None while it waits for a reply, is leased, or has ended."""
    faults: int
    """Infrastructure failures in a row."""


class Tombstone(NamedTuple):
    """What is left of a pruned process: no payload, enough to tell it from one that never was."""

    id: str
    definition: str
    status: Status
    ended_ms: int
    pruned_ms: int


def new_record(spec: ProcessSpec, now_ms: int) -> ProcessRecord:
    return ProcessRecord(spec, now_ms, now_ms)


def fold(spec: ProcessSpec, created_ms: int, events: Iterable[Event]) -> ProcessRecord:
    """The record that ``events``, in sequence order, tell. ``spec`` is the one given to ``start``."""
    record = new_record(spec, created_ms)
    for item in events:
        record = apply(record, item)
    return record


def apply(record: ProcessRecord, item: Event) -> ProcessRecord:
    """``record`` after one more event. The only place where a record changes."""
    record = replace(record, updated_ms=item.at_ms, last_event=item.sequence)
    if (status := ev.STATUS_OF.get(item.type)) is not None:
        return replace(record, status=status, outcome=outcome_of(status, item.payload), waiting=None, blocked=None)
    if not item.type.startswith("process."):
        return record
    document = codec.decode_object(item.payload)
    if item.type == ev.STARTED:
        attempt = cast(int, document["attempt"])
        first = FirstStarted(attempt, cast(str, document["owner"]), cast(int, document["token"]), item.at_ms)
        return replace(
            record,
            attempts=attempt,
            first_started=record.first_started or first,
            began_ms=record.began_ms or item.at_ms,
            waiting=None,
            blocked=None,
        )
    if item.type == ev.WAITING:
        waiting = Waiting(
            cast(str, document["on"]), cast("str | None", document["key"]), cast("int | None", document["until_ms"])
        )
        return replace(record, waiting=waiting)
    if item.type == ev.RESUMED:
        return replace(record, waiting=None)
    if item.type == ev.CANCEL_REQUESTED:
        request = CancelRequest(cast(str, document["reason"]), item.at_ms)
        return replace(record, cancel_requested=record.cancel_requested or request)
    if item.type == ev.BLOCKED:
        blocked = Blocked(*(cast(str, document[name]) for name in Blocked._fields))
        return replace(record, blocked=blocked)
    if item.type == ev.UNBLOCKED:
        return replace(record, blocked=None)
    if item.type == ev.COMMITTED:
        following = record.generation + 1
        return replace(record, attempts=0, began_ms=item.at_ms, generation=following, blocked=None)
    if item.type == ev.CONTINUED:
        args = codec.encode(document["args"], "args")
        following = record.generation + 1
        return replace(record, spec=replace(record.spec, args=args), began_ms=item.at_ms, generation=following)
    return record
