"""The store: all durable state behind one transaction. Operations go in as a list, verdicts come out as a list.

Obligations, each a conformance case:

* ``write(ops)`` is one transaction. Its effect equals applying the operations one after another in list order. It
  returns one verdict per operation; a refused operation writes nothing and spoils no other.
* An operation that carries a fence is refused as ``Stale`` once the row has another token or has ended.
* Every change of a record goes with an event in the same transaction: ``fold(spec, created_ms, events) == record``.
* ``rank`` grows within a scope in commit order; ``token`` grows for ever; event sequences are dense from 1.
* Time is the store's: one reading per transaction, never smaller than an entry's predecessor in the same scope.
* A failing transaction (locked, full, unreachable) raises ``StoreUnavailable`` and has written nothing, or raises it
  after the commit when the answer was lost; callers must be able to repeat any operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from lash.abc.sessions import SessionOp, SessionReads, SessionVerdict
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence, Lease
from lash.core.outcome import Outcome, Status
from lash.core.process import Blocked, Lane, ProcessRow, ProcessSpec, Tombstone, Waiting

# Operations --------------------------------------------------------------------------------------------------------


class Start(NamedTuple):
    """Write a process, once per id → ``Started`` | ``Conflict`` | ``Ended`` | ``Unknown``.

    The last two say that its parent is a session that is closed, or deleted: for that nothing is started any more that
    is not detached. With ``owner`` and no delay the new row is leased to that owner at once, as if claimed in the same
    transaction.
    """

    spec: ProcessSpec
    owner: str | None = None
    ttl_ms: int = 0


class Claim(NamedTuple):
    """Lease up to ``limit`` due rows of ``lanes`` → ``Claims``. Larger priority first, then earlier due time.

    A row whose lease ran out had its worker lost. In passing it is closed where its contract says so (``once`` →
    abandoned; attempts used up → failed, code ``attempts_exhausted``), postponed while its back-off lasts, and
    otherwise leased with one attempt more. External rows are never touched.
    """

    owner: str
    lanes: Sequence[Lane]
    limit: int
    ttl_ms: int


class Put(NamedTuple):
    """Append journal entries → ``Recorded`` | ``Stale``.

    ``seen`` is the rank of the last entry the body has. A ``wait`` entry takes the oldest mail of its key at once, or
    the outcome of an ended process when its key is ``process:<id>`` (see :func:`wait_reply`). ``inbox``, for a session:
    tell whether its inbox is quiet.
    """

    fence: Fence
    seen: int
    entries: Sequence[Entry]
    inbox: bool = False


class Look(NamedTuple):
    """Entries after ``seen``, in rank order; clears the row's news mark → ``Recorded`` | ``Stale``."""

    fence: Fence
    seen: int


class Park(NamedTuple):
    """Give the lease back and wait for a reply, or until ``waiting.until_ms`` → ``Done`` | ``Recorded`` | ``Stale``.

    ``Recorded`` means that a delivered entry has come after ``seen``: the row stays leased and was not parked.
    """

    fence: Fence
    seen: int
    waiting: Waiting


class Release(NamedTuple):
    """Give the lease back without an outcome → ``Done`` | ``Stale``. Claimable again after ``pause_ms``.

    ``blocked`` makes the trouble visible and counts a fault; None is a clean hand-over that counts nothing.
    """

    fence: Fence
    pause_ms: int = 0
    blocked: Blocked | None = None


class Progress(NamedTuple):
    """The body got past its trouble: clears ``blocked`` and the fault count → ``Done`` | ``Stale``."""

    fence: Fence


class Finish(NamedTuple):
    """Write the outcome and give the lease back → ``Done`` | ``Stale``. Waits on the process get their reply."""

    fence: Fence
    outcome: Outcome


class Close(NamedTuple):
    """Write the outcome of an external process → ``Done`` | ``Ended`` | ``Unknown`` | ``NotExternal``.

    The same outcome again is ``Done``.
    """

    process_id: str
    outcome: Outcome


class Append(NamedTuple):
    """Append an event of the body → ``Appended`` | ``Stale`` | ``KeyConflict``."""

    fence: Fence
    type: str
    payload: bytes
    key: str | None


class Signal(NamedTuple):
    """Append ``signal.<name>`` and hand it to the oldest wait on it, or keep it as mail
    → ``Appended`` | ``Ended`` | ``Unknown`` | ``KeyConflict``. A replayed key precedes every other check."""

    process_id: str
    name: str
    payload: bytes
    key: str | None


class Cancel(NamedTuple):
    """Request a cancel, once per reason → ``Appended`` | ``Ended`` | ``Unknown``.

    Reaches children that are not detached. A process that never started is closed as cancelled at once; a parked one
    becomes claimable; an external one only gets the request.
    """

    process_id: str
    reason: str


class Renew(NamedTuple):
    """Extend every lease of ``owner``, and its entry among the workers → ``Renewed``."""

    owner: str
    ttl_ms: int


class Continue(NamedTuple):
    """Replace the arguments and cut the journal, keeping mail and cancel requests → ``Done`` | ``Stale``.

    The lease is kept.
    """

    fence: Fence
    args: bytes


class Forget(NamedTuple):
    """Cut the journal, keeping mail and cancel requests; for engines that remember nothing → ``Done`` | ``Stale``."""

    fence: Fence


class Retry(NamedTuple):
    """An operator's wish: claimable now, whatever the back-off → ``Done`` | ``Ended`` | ``Unknown``.

    A leased row is left alone (``Done``). What the journal says stays as it is: a timer that is not due, and the pause
    before a step's next attempt, make the body park again.
    """

    process_id: str


class Unblock(NamedTuple):
    """Make blocked rows of ``lane`` whose code hash is another claimable now → ``Count``."""

    lane: Lane
    code_hash: str


class Expire(NamedTuple):
    """``owner`` is known to be dead: its leases run out now → ``Count``."""

    owner: str


class Sweep(NamedTuple):
    """Close as cancelled what has no live lease and was asked to cancel more than ``grace_ms`` ago → ``Count``."""

    grace_ms: int


class Enlist(NamedTuple):
    """Say that a worker serves these lanes until its lease runs out; replaces its entry → ``Done``."""

    owner: str
    lanes: Sequence[Lane]
    about: bytes
    """JSON: host, pid, started_ms, version."""
    ttl_ms: int


class Discharge(NamedTuple):
    """Remove a worker's entry → ``Done``."""

    owner: str


class Prune(NamedTuple):
    """Delete up to ``limit`` processes that ended before ``before_ms``, with events and journal → ``Count``.

    A tombstone stays. Never a running row; never a child that a running parent may still await: one that is leased, due
    or waiting. A session at rest awaits nothing.
    """

    before_ms: int
    limit: int


Op: TypeAlias = (
    Start | Claim | Put | Look | Park | Release | Progress | Finish | Close | Append | Signal | Cancel | Renew
    | Continue | Forget | Retry | Unblock | Expire | Sweep | Enlist | Discharge | Prune | SessionOp
)  # fmt: skip

# Verdicts ----------------------------------------------------------------------------------------------------------


class Claimed(NamedTuple):
    """A row that now belongs to the claimer."""

    row: ProcessRow
    lease: Lease
    fresh: bool
    """True at the very first start: there is no journal to read."""


class Started(NamedTuple):
    row: int
    status: Status
    created: bool
    """False when the same process was there already."""
    claimed: Claimed | None
    """Set when ``owner`` was given and the row is new and ready."""
    pruned: bool = False


class Conflict(NamedTuple):
    """The id belongs to a process with this other definition, name and kind."""

    definition: str
    kind: str
    name: str


class Claims(NamedTuple):
    rows: Sequence[Claimed]
    closed: Sequence[str]
    """Ids given an outcome in passing."""
    postponed: Sequence[str]
    """Ids put back until their back-off is over."""


class Recorded(NamedTuple):
    """Every entry after ``seen``, in rank order, the operation's own included."""

    entries: Sequence[Entry]
    quiet: bool = False
    """No item waits for the session's earliest boundary. Told where it was asked for, and else False."""


class Stale(NamedTuple):
    """Refused: the token on the row is ``token`` now, or the row has ended or is gone (token 0)."""

    token: int


class Done(NamedTuple):
    pass


class Appended(NamedTuple):
    event: Event
    new: bool


class KeyConflict(NamedTuple):
    """The key belongs to this other event."""

    event: Event


class Ended(NamedTuple):
    outcome: Outcome


class Unknown(NamedTuple):
    pruned: bool


class NotExternal(NamedTuple):
    kind: str


class Renewed(NamedTuple):
    fences: Sequence[Fence]
    """What the owner still holds."""


class Count(NamedTuple):
    ids: Sequence[str]


Verdict: TypeAlias = (
    Started | Conflict | Claims | Recorded | Stale | Done | Appended | KeyConflict | Ended | Unknown | NotExternal
    | Renewed | Count | SessionVerdict
)  # fmt: skip

# Reads -------------------------------------------------------------------------------------------------------------


class ProcessFilter(NamedTuple):
    """Newest first. ``after`` is the id of the last row of the page before."""

    status: Status | None = None
    name: str | None = None
    tag: str | None = None
    parent: str | None = None
    after: str | None = None
    limit: int = 100
    sessions: bool = False
    """Rows of sessions instead of all others."""


class WorkerRecord(NamedTuple):
    owner: str
    lanes: Sequence[Lane]
    about: bytes
    until_ms: int


class BlobsPruned(NamedTuple):
    looked: int
    """At so many it was looked; fewer than the limit: at all there were."""
    gone: Sequence[str]


class BlobStore(Protocol):
    """Immutable bytes behind a content reference (``sha256:<hex>``), for as long as a session speaks of them.

    A session speaks of what its commits named (``Commit.refs``) and of what was kept for it; after its end its forks
    do, up to the node they share. What no session speaks of stays until pruning finds it too long ago that it was put
    or kept.
    """

    durable: bool

    async def put(self, data: bytes) -> str: ...

    async def get(self, ref: str) -> bytes | None: ...

    async def keep(self, refs: Sequence[str], row: int = 0) -> list[str]:
        """Those that are not there. Where all are, the session of this row speaks of them from its next node on; its
        row may be gone by now, or 0 for none. Those that are there count as put just now."""
        ...

    async def prune(self, before_ms: int, limit: int) -> BlobsPruned:
        """Of the ``limit`` blobs put or kept longest ago, and before then, delete those of which no session speaks."""
        ...


class Store(SessionReads, Protocol):
    """All facets on one object. ``durable`` says whether they outlive this Python process."""

    @property
    def facets(self) -> dict[str, bool]:
        """Facet name → durable, in checking order: attachment_store, artifact_store, session_store,
        process_registry."""
        ...

    @property
    def journal_durable(self) -> bool: ...

    @property
    def blobs(self) -> BlobStore: ...

    async def open(self) -> None:
        """Migrate, or raise ``StoreTooNew``, ``NotADatabase``, ``StoreUnavailable``."""
        ...

    async def close(self) -> None: ...

    async def write(self, ops: Sequence[Op]) -> list[Verdict]: ...

    def write_now(self, ops: Sequence[Op]) -> list[Verdict] | None:
        """The same without waiting, where that is possible: on the loop, at once. None: nothing was written, use
        ``write``; so it is while an earlier ``write`` is under way."""
        ...

    def now_ms(self) -> int:
        """The store's time, as it is known here without asking: what is due is decided by it, on every machine."""
        ...

    async def get(self, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]: ...

    async def not_running(self, ids: Sequence[str]) -> list[str]:
        """Those of ``ids`` that have ended, were pruned, or never were. A quick look, for those who await."""
        ...

    async def page(self, wanted: ProcessFilter) -> list[ProcessRow]: ...

    async def events(self, process_id: str, after: int, limit: int) -> list[Event]: ...

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        """Every entry of the scope after a rank, of every kind, in rank order."""
        ...

    async def next_due_ms(self, lanes: Sequence[Lane]) -> int | None:
        """The earliest moment at which ``Claim`` on these lanes would find a row; may lie in the past."""
        ...

    async def news(self, owner: str) -> list[Fence]:
        """Rows leased to ``owner`` to which somebody else has written since the last ``Look`` or ``Put``."""
        ...

    async def workers(self) -> list[WorkerRecord]: ...

    async def counts(self) -> dict[str, int]:
        """Processes by status, sessions not among them."""
        ...

    async def diagnose(self) -> dict[str, object]:
        """What ``lash doctor`` prints about this store."""
        ...

    def listen(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` on the event loop when another writer committed something that concerns workers or
        awaiters. Hints only: they may come late, together, or for nothing."""
        ...

    async def prove_life(self, owner: str) -> None:
        """Hold a proof that ends with this Python process."""
        ...

    async def dead_owners(self) -> list[str]:
        """Owners whose proof can be taken, and is."""
        ...


def wait_key_of_process(process_id: str) -> str:
    return "process:" + process_id


def wait_key_of_signal(name: str) -> str:
    return "signal:" + name


def wait_reply(status: Status, terminal_payload: bytes) -> bytes:
    """The payload of the ``reply`` entry a wait on an ended process gets: ``[status, terminal payload]``.

    A pruned process replies ``["pruned", null]``, an unknown one ``["unknown", null]``.
    """
    return b'["' + status.value.encode() + b'",' + terminal_payload + b"]"
