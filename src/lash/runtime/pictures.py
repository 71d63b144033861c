"""A turn is drawn from wherever it is known: at work here, at work elsewhere, or committed.

All three give the same picture of the same moment, so an observer may begin in one process and go on in another. What
only one of them has (a plugin's words) is told where it happens and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lash.abc.store import Store
from lash.core.message import Message, Reasoning, ToolResult, decode_message
from lash.core.observe import CallPicture, Committed, Picture, Seen, ToolPicture, TurnEvent, difference, mark_of
from lash.core.session import ITEM_OVER, Item, Node, SessionRow, TurnRecord, session_id_of
from lash.core.tool import output_in
from lash.core.turn import Stopped, Switched
from lash.errors import SessionDeleted, TurnUnknown
from lash.limits import SAFETY_POLL_MS
from lash.runtime.elsewhere import Elsewhere
from lash.runtime.live import LiveTurns
from lash.runtime.outcomes import committed
from lash.runtime.receipts import Receipt, decode_receipt, with_text
from lash.runtime.shapes import Shape
from lash.runtime.watch import Hub


class Watched(Protocol):
    """What observing needs of an opened runtime."""

    @property
    def store(self) -> Store: ...

    @property
    def hub(self) -> Hub: ...

    @property
    def lives(self) -> LiveTurns: ...


CLOSED: Final = Receipt(Stopped("cancelled", "The session was closed before this input was worked on.", "closed"))


@dataclass(frozen=True, slots=True)
class Place:
    """A session in its store."""

    row: int
    process_id: str


async def observe(
    opened: Watched, place: Place, shape: Shape, item: int, seen: Seen | None
) -> AsyncIterator[TurnEvent]:
    """The events of the turn that has, or will have, this item; ends after its ``Committed``. Raises
    ``SessionDeleted``, ``TurnUnknown``."""
    away: Elsewhere | None = None
    while True:
        with opened.hub.changes() as change:
            live = opened.lives.get(place.process_id)
            waits = [change] if live is None else [change, live.change()]
            here = live is not None and live.at_work and place.process_id in opened.hub.ours
            read = None if away is None else await away.look()
            found = await find_item(opened.store, place, item)
            if found.turn:
                if seen is None:
                    seen = Seen(mark_of(session_id_of(place.process_id)), found.turn, asides=0)
                if live is not None and live.picture.turn != found.turn:
                    live = None
                if live is not None and here:
                    picture, away = live.picture, None
                elif found.state in ITEM_OVER:
                    picture = await drawn(opened.store, place, found)
                elif read is not None and read.turn == found.turn:
                    picture = read  # also of a turn that was parked here: it may be at work elsewhere by now
                else:
                    away = Elsewhere(opened.store, place.row, found.turn)
                    continue
                if live is not None:
                    picture.asides, picture.asides_made = live.picture.asides, live.picture.asides_made
                for event, after in difference(picture, seen):
                    seen = after
                    if isinstance(event, Committed):
                        event = committed(event, shape, session_id_of(place.process_id))
                    yield event
                if seen.ended:
                    return
            await asyncio.wait(waits, timeout=SAFETY_POLL_MS / 1_000, return_when=asyncio.FIRST_COMPLETED)


async def find_item(store: Store, place: Place, item: int) -> Item:
    """The item. One that is not done when its session ends is as if it had been withdrawn. Raises ``SessionDeleted``,
    and ``TurnUnknown`` for what was not accepted: whatever was, is there for whoever asks after that."""
    found = await store.items(place.row, (item,))
    if found and found[0].state in ITEM_OVER:
        return found[0]
    (row,) = await store.sessions((place.process_id,))
    if not isinstance(row, SessionRow):
        raise gone(place.process_id)
    if not found:
        raise never_sent(place.process_id, item)
    return found[0]._replace(state="cancelled", turn=item) if row.process.record.status.final else found[0]


async def record_of(store: Store, place: Place, item: Item) -> TurnRecord:
    """The turn that consumed a finished item; of one that its session's end left undone, what stands for it."""
    for record in await store.turns(place.row, item.turn - 1, 1):
        if record.number == item.turn:
            return record
    return TurnRecord(item.number, "", 1, 0, CLOSED.encode(), item.at_ms)


async def drawn(store: Store, place: Place, item: Item) -> Picture:
    """A turn that has ended."""
    record = await record_of(store, place, item)
    nodes = await committed_nodes(store, place.row, record)
    return of_commit(record, decode_receipt(record.receipt), nodes)


async def committed_nodes(store: Store, row: int, record: TurnRecord) -> list[Node]:
    """The nodes of one turn."""
    many = record.last_node - record.first_node + 1
    return await store.nodes(row, record.first_node - 1, record.last_node, many) if many > 0 else []


def of_commit(record: TurnRecord, receipt: Receipt, nodes: Sequence[Node]) -> Picture:
    """Of an answer that is in no message, the outcome has the text: a summary, or what was cut off or withheld."""
    outcome = with_text(receipt, nodes)
    messages = {node.number: decode_message(node.body) for node in nodes if node.kind == "message"}
    picture = Picture(record.number, outcome=outcome, usage=receipt.usage)
    for version, usage, node in receipt.calls:
        call = CallPicture(version, usage=usage, done=True)
        if node in messages:
            draw_answer(call, messages[node], messages.get(node + 1))
        picture.calls.append(call)
    if receipt.calls and not receipt.calls[-1].node and not isinstance(outcome, Switched):
        picture.calls[-1].text = outcome.text
    return picture


def draw_answer(call: CallPicture, message: Message, following: Message | None) -> None:
    """``following`` has the results of its calls."""
    call.text = message.text
    call.reasoning = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    results: dict[str, ToolResult] = {}
    for part in () if following is None else following.parts:
        if isinstance(part, ToolResult):
            results[part.call_id] = part
    for item in message.calls:
        result = results.get(item.id)
        output = None if result is None else output_in(result)
        call.tools.append(ToolPicture(item.id, item.name, item.arguments, output))


def gone(process_id: str) -> SessionDeleted:
    name = session_id_of(process_id)
    return SessionDeleted(f"Session {name!r} was deleted; its turns are not known any more.", session_id=name)


def never_sent(process_id: str, item: int) -> TurnUnknown:
    name = session_id_of(process_id)
    return TurnUnknown(
        f"Session {name!r} has accepted no input {item}, so there is no turn {name}/{item}. Send it, or watch for what "
        "others send with session.observe().",
        session_id=name,
        item=item,
    )
