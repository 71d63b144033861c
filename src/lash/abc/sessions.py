"""Sessions in the store: operations and reads. A commit brings everything a turn did, or nothing of it.

A session is a process of kind ``session`` (id ``session:<id>``) with a path of nodes and an inbox beside it. Its row is
never due by itself: accepting an item makes it so, in the same transaction. Obligations, each a conformance case:

* ``Commit`` writes nodes, usage, references, the end of the items it took, follow-on items and the turn's record, cuts
  the journal and gives the lease back, in one transaction. The checks come in this order: the same turn was committed
  before (the same witness: its record again, whatever the fence; another: ``TurnConflict``); the fence; the head.
* An item is consumed by exactly one turn. A ``Take`` is a journal entry: a turn that runs again has the same items.
* Nodes are shared by forks and outlive the session that wrote them as long as one of its forks is there.
* An id is used once: of a deleted session a tombstone stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from lash.core.effect import Entry
from lash.core.lease import Fence
from lash.core.process import ProcessSpec, Tombstone
from lash.core.session import Item, NewItem, NewNode, Node, SessionRow, TurnRecord

if TYPE_CHECKING:
    from lash.abc.store import Claimed

# Operations --------------------------------------------------------------------------------------------------------


class Open(NamedTuple):
    """Write a session, once per id → ``Started`` | ``Conflict`` | ``Unknown`` (of the base) | ``NoNode``; of a child of
    a session that is over, as ``Start``.

    ``base`` is the process id of a session to fork: the new one begins as the first ``base_node`` nodes of its path.
    The row is not scheduled.
    """

    spec: ProcessSpec
    base: str | None = None
    base_node: int = 0


class Post(NamedTuple):
    """Accept an item → ``Posted`` | ``ItemConflict`` | ``Ended`` | ``Unknown``. A replayed key precedes every other
    check.

    An idle row becomes ready; any other is left as it is. With ``owner``, an idle row is leased to it at once; and with
    ``entry``, the ``Take`` that begins a turn is done under it in the same transaction.
    """

    process_id: str
    item: NewItem
    owner: str | None = None
    ttl_ms: int = 0
    entry: Entry | None = None


class Take(NamedTuple):
    """Take items for the turn and record them under ``entry`` (whose payload the store fills in with
    ``taken_payload``) → ``Recorded`` | ``Stale``.

    To begin a turn (``turn`` 0, ``boundary`` False): the items an earlier try of it took, whose journal was cut
    (``Forget``); else the first pending item, and if that may be delivered at a boundary, all pending ones that may.
    The turn's number is then that of the first item. At a boundary of turn ``turn``: all pending items for the earliest
    boundary. There may be none. ``Release`` of a session row that has no unfinished item leaves it idle, not due.
    """

    fence: Fence
    seen: int
    entry: Entry
    turn: int
    boundary: bool


class Commit(NamedTuple):
    """Commit a turn → ``Committed`` | ``Stale`` (also where it has taken nothing) | ``HeadMoved`` | ``TurnConflict``.

    ``base`` is the head the turn began from. The event ``process.committed`` is told. Everybody who waits for one of
    the turn's items gets the receipt. A row that was asked to cancel ends as cancelled then; otherwise it is ready when
    items are pending, and idle when none are.
    """

    fence: Fence
    turn: int
    witness: str
    base: int
    nodes: Sequence[NewNode]
    receipt: bytes
    usage: bytes
    """JSON of the session's whole usage, this turn included."""
    refs: Sequence[str] = ()
    """Content references of the blobs these nodes speak of."""
    follow: Sequence[NewItem] = ()


class CancelTurn(NamedTuple):
    """Ask to cancel the turn of ``item``, or the one at work (None) → ``Done`` | ``Withdrawn`` | ``Late`` | ``Ended``
    | ``Unknown``.

    A pending item is withdrawn: it ends as cancelled, and ``receipt`` is its record. A taken one has its turn told, by
    a ``cancel`` entry in the journal, once. ``Late``: it was committed before, or (None) no turn is at work.
    """

    process_id: str
    item: int | None
    reason: str
    receipt: bytes


class Stream(NamedTuple):
    """Keep a piece of what a turn streams for observers elsewhere, until its commit → ``Done`` | ``Stale``."""

    fence: Fence
    number: int
    """1, 2, 3 … within the lease; the row's token tells the leases apart."""
    payload: bytes


class Delete(NamedTuple):
    """Delete a session for ever → ``Count`` | ``Unknown``. A tombstone stays.

    Its row ends as cancelled, what it started and did not detach is asked to cancel (the ids counted), its items, turns
    and nodes go, but for nodes that a fork shares; so does what they spoke of, for pruning to look at. Nothing is
    started for it any more, by whoever had its lease.
    """

    process_id: str


SessionOp: TypeAlias = Open | Post | Take | Commit | CancelTurn | Stream | Delete

# Verdicts ----------------------------------------------------------------------------------------------------------


class Begun(NamedTuple):
    """A turn that was begun with its lease."""

    entry: Entry
    """What was taken, as it is recorded: the whole journal."""
    head: int
    """Of the session, where the turn goes on from."""


class Posted(NamedTuple):
    item: Item
    """As it was accepted."""
    new: bool
    claimed: Claimed | None = None
    begun: Begun | None = None


class ItemConflict(NamedTuple):
    """The key belongs to this item, which says something else."""

    item: Item


class Committed(NamedTuple):
    record: TurnRecord
    new: bool
    """False: this turn had been committed before."""


class HeadMoved(NamedTuple):
    head: int


class TurnConflict(NamedTuple):
    """The turn was committed before, with other content."""

    record: TurnRecord


class NoNode(NamedTuple):
    head: int


class Withdrawn(NamedTuple):
    record: TurnRecord


class Late(NamedTuple):
    record: TurnRecord | None


SessionVerdict: TypeAlias = Posted | ItemConflict | Committed | HeadMoved | TurnConflict | NoNode | Withdrawn | Late

# Reads -------------------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """A ``Stream`` as it was kept."""

    token: int
    number: int
    payload: bytes


class SessionReads(Protocol):
    """What can be read of sessions. ``row`` is the number of the session's process row."""

    async def sessions(self, ids: Sequence[str]) -> list[SessionRow | Tombstone | None]:
        """By process id, in the order asked for."""
        ...

    async def nodes(self, row: int, after: int, upto: int, limit: int) -> list[Node]:
        """The newest ``limit`` nodes of the path with ``after < number <= upto``, in path order."""
        ...

    async def states(self, row: int, upto: int) -> Mapping[str, Node]:
        """By name: the newest ``state`` node of each component, up to that place of the path."""
        ...

    async def items(self, row: int, numbers: Sequence[int]) -> list[Item]:
        """Those of these numbers that exist, in order; with none given, every pending and taken one."""
        ...

    async def turns(self, row: int, after: int, limit: int) -> list[TurnRecord]:
        """Committed turns and withdrawn items with larger numbers than ``after``, in order of number."""
        ...

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        """What was streamed after piece ``after`` of lease ``token``, in order; later leases included."""
        ...
