"""A turn is drawn from wherever it is known: at work here, at work elsewhere, or committed.

All three give the same picture of the same moment, so an observer may begin in one process and go on in another. What
only one of them has (a plugin's words) is told where it happens and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from lash.abc.sessions import Piece
from lash.abc.store import Store
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.message import Message, Reasoning, Text, ToolResult, decode_message
from lash.core.model import ModelReply
from lash.core.observe import CallPicture, Committed, Picture, Seen, ToolPicture, TurnEvent, difference
from lash.core.outcome import Failure
from lash.core.session import Item, Node, SessionRow, TurnRecord, session_id_of
from lash.core.tool import ToolOutput, failed
from lash.core.turn import Finished, Stopped
from lash.errors import SessionDeleted
from lash.limits import CLAIM_PAGE_MAX, SAFETY_POLL_MS
from lash.runtime.live import LiveTurns, draw_reply
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
    """The events of the turn that has, or will have, this item; ends after its ``Committed``."""
    while True:
        with opened.hub.changes() as change:
            live = opened.lives.get(place.process_id)
            stir = None if live is None else live.change()
            found = await find_item(opened.store, place, item)
            turn = 0 if found is None else found.turn
            if found is not None and turn:
                if seen is None or not seen.turn:
                    seen = Seen(turn, notes=0)
                if live is not None and live.picture.turn == turn:
                    picture = live.picture
                else:
                    stir = None
                    picture = await drawn(opened.store, place, found)
                for event, after in difference(picture, seen):
                    seen = after
                    if isinstance(event, Committed):
                        event = committed(event, shape, session_id_of(place.process_id))
                    yield event
                if seen.ended:
                    return
            waits = [change] if stir is None else [stir, change]
            await asyncio.wait(waits, timeout=SAFETY_POLL_MS / 1_000, return_when=asyncio.FIRST_COMPLETED)


async def find_item(store: Store, place: Place, item: int) -> Item | None:
    """The item; None where it was not accepted yet. One that is not done when its session ends is as if it had been
    withdrawn. Raises ``SessionDeleted``."""
    found = await store.items(place.row, (item,))
    if found and found[0].state in ("done", "cancelled"):
        return found[0]
    (row,) = await store.sessions((place.process_id,))
    if not isinstance(row, SessionRow):
        raise gone(place.process_id)
    if not found:
        return None
    return found[0]._replace(state="cancelled", turn=item) if row.process.record.status.final else found[0]


async def record_of(store: Store, place: Place, item: Item) -> TurnRecord:
    """The turn that consumed a finished item; of one that its session's end left undone, what stands for it."""
    for record in await store.turns(place.row, item.turn - 1, 1):
        if record.number == item.turn:
            return record
    return TurnRecord(item.number, "", 1, 0, CLOSED.encode(), item.at_ms)


async def drawn(store: Store, place: Place, item: Item) -> Picture:
    """A turn that is not at work in this Python process."""
    if item.state in ("done", "cancelled"):
        record = await record_of(store, place, item)
        nodes = await committed_nodes(store, place.row, record)
        return of_commit(record, decode_receipt(record.receipt), nodes)
    entries = await store.history(place.row, 0)
    picture = of_journal(item.turn, entries)
    if not picture.calls or picture.calls[-1].done:
        add_pieces(picture, await store.pieces(place.row, 0, 0, CLAIM_PAGE_MAX * 16))
    return picture


async def committed_nodes(store: Store, row: int, record: TurnRecord) -> list[Node]:
    """The nodes of one turn."""
    many = record.last_node - record.first_node + 1
    return await store.nodes(row, record.first_node - 1, record.last_node, many) if many > 0 else []


def of_commit(record: TurnRecord, receipt: Receipt, nodes: Sequence[Node]) -> Picture:
    outcome = with_text(receipt, nodes)
    messages = [decode_message(node.body) for node in nodes if node.kind == "message"]
    answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
    picture = Picture(record.number, outcome=outcome, usage=receipt.usage)
    for number, (version, usage) in enumerate(receipt.calls):
        call = CallPicture(version, usage=usage, done=True)
        if number < len(answers):
            draw_answer(call, messages, answers[number])
        elif isinstance(outcome, Finished):
            call.text = outcome.text
        picture.calls.append(call)
    return picture


def draw_answer(call: CallPicture, messages: Sequence[Message], place: int) -> None:
    message = messages[place]
    call.text = message.text
    call.reasoning = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    results: dict[str, ToolResult] = {}
    for part in messages[place + 1].parts if place + 1 < len(messages) else ():
        if isinstance(part, ToolResult):
            results[part.call_id] = part
    for item in message.calls:
        result = results.get(item.id)
        output = None if result is None else output_of(result)
        call.tools.append(ToolPicture(item.id, item.name, item.arguments, output))


def gone(process_id: str) -> SessionDeleted:
    name = session_id_of(process_id)
    return SessionDeleted(f"Session {name!r} was deleted; its turns are not known any more.", session_id=name)


def output_of(result: ToolResult) -> ToolOutput:
    text = " ".join(part.text for part in result.content if isinstance(part, Text))
    return ToolOutput(result.content, failure=Failure("execution", "failed", text) if result.failed else None)


def of_journal(turn: int, entries: Sequence[Entry]) -> Picture:
    """A turn under way, from what is recorded of it."""
    picture = Picture(turn)
    for entry in entries:
        kind, _, rest = entry.name.partition(" ")
        if entry.kind is not EntryKind.STEP or kind not in ("model", "tool"):
            continue
        if kind == "model" and not entry.failed:
            version, plain = cast("list[object]", codec.decode(entry.payload))
            call = CallPicture("")
            draw_reply(call, cast(str, version), ModelReply.of_json(plain))
            picture.calls.append(call)
        elif kind == "tool":
            number, _, index = rest.partition(" ")[0].partition(".")
            plain = codec.decode(entry.payload)
            output = failed(Failure.of_json(plain)) if entry.failed else ToolOutput.of_json(plain)
            tools = picture.calls[int(number) - 1].tools if int(number) <= len(picture.calls) else []
            if int(index) < len(tools):
                tools[int(index)].output = output
    return picture


def add_pieces(picture: Picture, pieces: Sequence[Piece]) -> None:
    """The call that is being answered, as far as its text was kept: the newest version of it."""
    wanted = len(picture.calls) + 1
    call: CallPicture | None = None
    for piece in pieces:
        for number, version, text, reasoning in cast("list[tuple[int, str, str, str]]", codec.decode(piece.payload)):
            if number != wanted:
                continue
            if call is None or call.version != version:
                call = CallPicture(version)
            call.text += text
            call.reasoning += reasoning
    if call is not None:
        picture.calls.append(call)
