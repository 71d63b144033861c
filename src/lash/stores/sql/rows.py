"""How values stand in columns, and back: small numbers for names, NULL for defaults, raw bytes for hashes.

Encoding and decoding are inverse for every value: what is read equals what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from operator import attrgetter
from typing import Final, TypeAlias, cast

from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.outcome import Status, outcome_of
from lash.core.process import (
    Blocked,
    CancelRequest,
    FirstStarted,
    Lane,
    ProcessRecord,
    ProcessRow,
    ProcessSpec,
    Waiting,
)
from lash.stores.sql.lanes import Lanes

Columns: TypeAlias = "tuple[object, ...]"

STATUSES: Final[Sequence[Status]] = (
    Status.RUNNING,
    Status.COMPLETED,
    Status.FAILED,
    Status.CANCELLED,
    Status.ABANDONED,
)
STATUS_CODES: Final = {status: code for code, status in enumerate(STATUSES)}
KINDS: Final[Sequence[EntryKind]] = (
    EntryKind.STEP,
    EntryKind.COMMAND,
    EntryKind.SLEEP,
    EntryKind.WAIT,
    EntryKind.REPLY,
    EntryKind.CLOSE,
    EntryKind.ATTEMPT,
    EntryKind.CANCEL,
    EntryKind.MAIL,
)
KIND_CODES: Final = {kind: code for code, kind in enumerate(KINDS, 1)}
WAIT: Final = KIND_CODES[EntryKind.WAIT]
REPLY: Final = KIND_CODES[EntryKind.REPLY]
CLOSE: Final = KIND_CODES[EntryKind.CLOSE]
MAIL: Final = KIND_CODES[EntryKind.MAIL]
CANCEL: Final = KIND_CODES[EntryKind.CANCEL]

IDLE: Final = 0
READY: Final = 1
TIMED: Final = 2
LEASED: Final = 3


@dataclass(slots=True)
class Hot:
    """The columns of one ``lash_process`` row, in their order, as operations read and change them.

    Whoever changes one got it from the transaction at hand, which compares it with ``stored`` and writes what differs.
    """

    row: int
    id: str
    lane: int
    status: int
    state: int
    wake_ms: int | None
    priority: int
    owner: str | None
    token: int
    news: int | None
    lost: int | None
    faults: int
    attempts: int
    created_ms: int
    updated_ms: int
    last_event: int
    generation: int
    external: int
    began_ms: int | None
    first_owner: str | None
    first_token: int | None
    first_ms: int | None
    waiting_on: str | None
    waiting_key: str | None
    waiting_until_ms: int | None
    cancel_reason: str | None
    cancel_ms: int | None
    blocked_reason: str | None
    blocked_detail: str | None
    blocked_hash: str | None
    parent: str | None
    detached: int
    definition: bytes | str
    last_rank: int = 0
    """Rank of the newest journal entry; 0 without one."""
    last_ms: int = 0
    """Store time of that entry: no later one may carry an earlier time."""
    awaited: int = 0
    """1: somebody has opened a wait on its end. Only the PostgreSQL dialect keeps it, and the next one."""
    version: int = 0
    """Grows with everything that is written of this process."""
    spec: ProcessSpec | None = None
    """Where it is known; it is read only for a claim."""
    stored: Columns | None = None
    """The columns as they stand in the table; None: they do not yet."""

    def wait_no_more(self) -> None:
        self.waiting_on = self.waiting_key = self.waiting_until_ms = None

    def block_no_more(self) -> None:
        self.blocked_reason = self.blocked_detail = self.blocked_hash = None

    @property
    def parked(self) -> bool:
        return self.waiting_on is not None and self.state != LEASED and self.status == 0

    @property
    def may_await(self) -> bool:
        """It runs and is not at rest: somebody may be awaited in it."""
        return self.status == 0 and (self.state != IDLE or self.waiting_on is not None)


HOT: Final = tuple(item.name for item in fields(Hot) if item.default is MISSING)
columns_of: Final = cast("Callable[[Hot], tuple[object, ...]]", attrgetter(*HOT))
HOT_SQL: Final = ", ".join("p." + name for name in HOT)
ROW_COLUMNS: Final = f"{HOT_SQL}, s.args, s.more, e.payload"
ROW_FROM: Final = (
    "FROM lash_process p JOIN lash_spec s ON s.row = p.row "
    "LEFT JOIN lash_event e ON p.status > 0 AND e.process = p.row AND e.sequence = p.last_event"
)
ROW_SQL: Final = f"SELECT {ROW_COLUMNS} {ROW_FROM}"
"""Everything that makes a ``ProcessRow``; the outcome stands in the terminal event alone."""

PLAIN: Final = frozenset(
    {"id", "kind", "name", "version", "args", "definition", "priority", "host_profile", "parent", "detached"}
)
"""Fields of the spec with a column of their own."""
MORE: Final = tuple(item for item in fields(ProcessSpec) if item.name not in PLAIN)
TUPLES: Final = frozenset({"tags", "observers"})


def pack_hash(text: str) -> bytes | str | None:
    """32 hex digits as 16 bytes; anything else as it is; the empty text as NULL."""
    if len(text) == 32:
        try:
            data = bytes.fromhex(text)
        except ValueError:
            return text
        return data if data.hex() == text else text
    return text or None


def unpack_hash(value: bytes | str | None) -> str:
    return value.hex() if isinstance(value, bytes) else value or ""


def pack_more(spec: ProcessSpec) -> bytes | None:
    document: dict[str, object] = {}
    for item in MORE:
        value: object = getattr(spec, item.name)
        if item.default is MISSING or value != item.default:
            document[item.name] = value
    return codec.encode(document, "spec") if document else None


def unpack_spec(hot: Hot, lane: Lane, args: bytes, more: bytes | None) -> ProcessSpec:
    document = codec.decode_object(more) if more is not None else {}
    for name in TUPLES & document.keys():
        document[name] = tuple(cast("list[str]", document[name]))
    return ProcessSpec(
        hot.id,
        lane.kind,
        lane.name,
        lane.version,
        args,
        unpack_hash(hot.definition),
        priority=hot.priority,
        host_profile=lane.host_profile,
        parent=hot.parent,
        detached=bool(hot.detached),
        **document,  # type: ignore[arg-type]  # written by pack_more from the same fields
    )


def unpack_record(hot: Hot, spec: ProcessSpec, terminal: bytes | None) -> ProcessRecord:
    status = STATUSES[hot.status]
    first = waiting = request = blocked = None
    if hot.first_owner is not None:
        first = FirstStarted(1, hot.first_owner, hot.first_token or 0, hot.first_ms or 0)
    if hot.waiting_on is not None:
        waiting = Waiting(hot.waiting_on, hot.waiting_key, hot.waiting_until_ms)
    if hot.cancel_ms is not None:
        request = CancelRequest(hot.cancel_reason or "", hot.cancel_ms)
    if hot.blocked_reason is not None:
        blocked = Blocked(hot.blocked_reason, hot.blocked_detail or "", hot.blocked_hash or "")
    return ProcessRecord(
        spec,
        hot.created_ms,
        hot.updated_ms,
        status,
        outcome_of(status, terminal) if terminal is not None else None,
        hot.attempts,
        first,
        hot.began_ms,
        waiting,
        request,
        blocked,
        hot.last_event,
        hot.generation,
    )


def unpack_row(columns: Sequence[object], lanes: Lanes) -> ProcessRow:
    """A row of ``ROW_SQL``. Raises ``KeyError`` for a lane this reader has not loaded yet."""
    *hot_columns, args, more, terminal = columns
    hot = Hot(*hot_columns)  # type: ignore[arg-type]  # the schema's types
    spec = unpack_spec(hot, lanes[hot.lane], cast(bytes, args), cast("bytes | None", more))
    return beside(hot, unpack_record(hot, spec, cast("bytes | None", terminal)))


def beside(hot: Hot, record: ProcessRecord) -> ProcessRow:
    """``record`` with the scheduling columns of its row."""
    leased = hot.state == LEASED
    return ProcessRow(
        hot.row,
        record,
        hot.owner,
        hot.token,
        hot.wake_ms if leased else None,
        None if leased or hot.state == IDLE else hot.wake_ms,
        hot.faults,
    )


# Journal and events ------------------------------------------------------------------------------------------------

ENTRY_SQL: Final = "kind, ordinal, name, witness, payload, failed, attempt, began_ms, due_ms, rank, at_ms"
EVENT_SQL: Final = "sequence, type, payload, key, at_ms"


Number: TypeAlias = int | None
EntryColumns: TypeAlias = tuple[
    int, int, str | None, bytes | str | None, bytes | None, Number, Number, Number, Number, int, int
]


def pack_rest(noted: Entry, witness: bytes | str | None, open_key: str | None) -> Columns:
    """The columns of ``lash_journal`` behind rank and process, in the table's order; NULL for defaults."""
    kind, ordinal, name, _, payload, failed, attempt, began_ms, due_ms, _, at_ms = noted
    return (
        KIND_CODES[kind],
        ordinal,
        name or None,
        witness,
        payload or None,
        1 if failed else None,
        None if attempt == 1 else attempt,
        began_ms or None,
        due_ms or None,
        at_ms,
        open_key,
    )


def unpack_entry(columns: Sequence[object]) -> Entry:
    """A row of ``ENTRY_SQL``."""
    kind, ordinal, name, witness, payload, failed, attempt, began_ms, due_ms, rank, at_ms = cast(
        "EntryColumns", columns
    )
    return Entry(
        KINDS[kind - 1],
        ordinal,
        name or "",
        unpack_hash(witness),
        payload or b"",
        failed is not None,
        1 if attempt is None else attempt,
        began_ms or 0,
        due_ms or 0,
        rank,
        at_ms,
    )


def unpack_event(columns: Sequence[object]) -> Event:
    """A row of ``EVENT_SQL``."""
    return Event(*columns)  # type: ignore[arg-type]  # the schema's types
