"""A turn from outside: accepted before anybody works on it, awaited and watched from anywhere, ended once.

A handle is an address and nothing more. Dropping it cancels nothing; whoever has the session's id and the item's number
can make it again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Any, Generic, Protocol, TypeVar

from lash.abc.sessions import CancelTurn, Late, Withdrawn
from lash.abc.store import Done, Ended, Store, Unknown, Verdict
from lash.core.ids import check_name
from lash.core.observe import TurnEvent, seen_of
from lash.core.session import TurnRecord, session_id_of
from lash.core.turn import Finished, Outcome, Stopped, Switched
from lash.errors import StoreUnavailable
from lash.runtime.frames import follow_key
from lash.runtime.outcomes import told
from lash.runtime.pictures import Place, Watched, committed_nodes, find_item, gone, never_sent, observe
from lash.runtime.receipts import Receipt, decode_receipt, with_text
from lash.runtime.shapes import Shape
from lash.runtime.turnwaits import Awaited, TurnWaits

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Opened(Watched, Protocol):
    """What a session needs of an opened runtime."""

    @property
    def waits(self) -> TurnWaits: ...

    async def write(self, op: Any) -> Verdict: ...


class Turn(Generic[T_co]):
    """``await turn`` gives its outcome, ``turn.stream()`` its events; both from any process, any number of times."""

    def __init__(self, opened: Opened, place: Place, item: int, shape: Shape, accepted_at: int | None = None) -> None:
        self._opened = opened
        self._place = place
        self._shape = shape
        self._accepted_at = accepted_at
        self.item = item
        """Number of the input in its session."""

    @property
    def session_id(self) -> str:
        return session_id_of(self._place.process_id)

    @property
    def id(self) -> str:
        """Names the input for good: ``<session>/<item>``."""
        return f"{self.session_id}/{self.item}"

    def __repr__(self) -> str:
        return f"<lash.Turn {self.id!r}>"

    def __await__(self) -> Generator[Any, None, Finished[T_co] | Stopped]:
        return self.outcome().__await__()

    async def outcome(self) -> Finished[T_co] | Stopped:
        """Wait for the end. Where a tool began a new frame, the turn that goes on there has the outcome.

        Raises ``SessionDeleted`` when the session is deleted meanwhile, ``TurnUnknown`` when it has accepted no such
        input, ``InvalidValue`` when a stored answer does not fit the agent's output type any more.
        """
        item, accepted_at = self.item, self._accepted_at
        while True:
            awaited = Awaited(self._place.row, self._place.process_id, item)
            record, outcome = await self._opened.waits.wait(awaited, accepted_at)
            accepted_at = None
            receipt = decode_receipt(record.receipt)
            if not isinstance(receipt.outcome, Switched):
                return await read_outcome(self._opened.store, self._place, record, receipt, self._shape, outcome)
            item = await following_item(self._opened.store, self._place, record)

    async def stream(self, after: str | None = None) -> AsyncIterator[TurnEvent]:
        """What happens in the turn, from its beginning or behind a cursor, up to its ``Committed``, whose outcome is a
        ``Switched`` where the conversation goes on in a new frame.

        Raises ``BadCursor`` for a cursor that is malformed or belongs to another turn or session, ``SessionDeleted``
        and ``TurnUnknown`` as for the outcome.
        """
        seen = None
        if after is not None:
            seen = seen_of(after, self.session_id)
            found = await find_item(self._opened.store, self._place, self.item)
            seen_of(after, self.session_id, found.turn or self.item)
        async for event in observe(self._opened, self._place, self._shape, self.item, seen):
            yield event

    async def cancel(self, reason: str = "") -> bool:
        """Ask the turn to end. False when it had ended before: completion won."""
        return await cancel_item(self._opened, self._place, self.item, reason)


async def following_item(store: Store, place: Place, record: TurnRecord) -> int:
    """The item that goes on with a turn that switched frames: the one its commit accepted."""
    key, first = follow_key(record.number), record.number + 1
    while items := await store.items(place.row, range(first, first + 64)):
        for item in items:
            if item.key == key:
                return item.number
        first += 64
    raise gone(place.process_id)


async def cancel_item(opened: Opened, place: Place, item: int | None, reason: str) -> bool:
    if reason != "":
        check_name(reason, "cancel reason")
    stopped = Stopped("cancelled", reason or "It was withdrawn before anybody began with it.", "cancelled")
    op = CancelTurn(place.process_id, item, reason, Receipt(stopped).encode())
    match await opened.write(op):
        case Withdrawn(record):
            opened.waits.settled(place.process_id, place.row, (record.number,), record)
            return True
        case Done():
            return True
        case Late(None) if item is not None:
            raise never_sent(place.process_id, item)
        case Late() | Ended():
            return False
        case Unknown():
            raise gone(place.process_id)
        case verdict:
            raise StoreUnavailable(f"The store answered with {type(verdict).__name__}.")


async def read_outcome(
    store: Store, place: Place, record: TurnRecord, receipt: Receipt, shape: Shape, outcome: Outcome | None = None
) -> Finished[Any] | Stopped:
    """A turn's record as its outcome, typed; read from its nodes unless ``outcome`` is given."""
    if outcome is None:
        nodes = await committed_nodes(store, place.row, record) if receipt.text_node else []
        outcome = with_text(receipt, nodes)
    return told(outcome, shape, receipt.usage, f"{session_id_of(place.process_id)}/{record.number}")
