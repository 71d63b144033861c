"""A session from outside: an address of a durable conversation, from which inputs are sent and its history is read.

Whatever is sent is accepted, in one commit, before anybody works on it. Nothing here changes a history: going back is a
fork, and the session it was forked from stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from lash.abc.sessions import ItemConflict, NoNode, Open, Post, Posted
from lash.abc.store import Cancel, Conflict, Ended, Started, Unknown, Verdict
from lash.core import codec
from lash.core.attachment import check_attachment, check_media_type, named
from lash.core.ids import check_name, mint
from lash.core.message import Media, Message, decode_message, part_json, user
from lash.core.model import ModelInfo
from lash.core.observe import Gap, Seen, TurnEvent, mark_of, seen_of
from lash.core.outcome import Status
from lash.core.process import ProcessSpec, definition_of
from lash.core.session import (
    NUMBER_DIGITS_MAX,
    SESSION,
    Delivery,
    ItemKind,
    NewItem,
    Node,
    SessionRow,
    node_id,
    node_number,
    process_id_of,
    session_id_of,
)
from lash.errors import (
    AttachmentMissing,
    InputConflict,
    InvalidArguments,
    InvalidValue,
    NodeUnknown,
    ProcessEnded,
    SessionConflict,
    SessionDeleted,
    SessionUnknown,
    StoreUnavailable,
)  # fmt: skip
from lash.limits import INPUT_BYTES_MAX, PAGE_ROWS_MAX
from lash.runtime.access import settle
from lash.runtime.contexts import SessionUsage, decode_usage
from lash.runtime.pictures import Place, observe
from lash.runtime.shapes import Shape
from lash.runtime.turn import Opened, Turn, cancel_item

T_co = TypeVar("T_co", covariant=True)
ATTEMPTS_OF_A_TURN_MAX = 2**31 - 1
"""A session is never closed because its workers were lost; its turn is given up instead."""


class Posting(Opened, Protocol):
    """What sending needs besides."""

    async def post(self, op: Post, agent: str) -> Verdict: ...

    def now_ms(self) -> int: ...

    def model_info(self, agent: str) -> ModelInfo | None:
        """None where it is not known here."""
        ...

    @property
    def host_profile(self) -> str: ...


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One message of the history, with the node it is."""

    node: str
    """Its id: ``session.fork(node, ...)`` takes it."""
    turn_id: str
    message: Message
    at_ms: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session as a listing shows it."""

    id: str
    agent: str
    status: Status
    turns: int
    nodes: int
    created_ms: int
    updated_ms: int
    base: str | None
    """The session it was forked from."""


class Session(Generic[T_co]):
    """Made by ``app.session(...)``. Holds nothing open."""

    def __init__(self, opened: Posting, place: Place, agent: str, shape: Shape) -> None:
        self._opened = opened
        self._place = place
        self._shape = shape
        self.agent = agent
        """Name of its agent."""

    @property
    def id(self) -> str:
        return session_id_of(self._place.process_id)

    def __repr__(self) -> str:
        return f"<lash.Session {self.id!r}>"

    # Sending -----------------------------------------------------------------------------------------------------

    async def send(self, text: str, *attachments: Media, key: str | None = None) -> Turn[T_co]:
        """Give the session an input, which begins a turn once those before it are done.

        When this returns it is on disk. The same ``key`` with the same content is the same turn; with other content it
        is an ``InputConflict``. Raises ``SessionDeleted``, ``ProcessEnded`` for a closed session, ``InvalidValue`` for
        what is longer than 1 MB, and for an attachment that the model cannot read, where that is known here, and
        ``AttachmentMissing`` for one that is not in the store.
        """
        return await self._say("next_turn", text, attachments, key)

    async def steer(self, text: str, *attachments: Media, key: str | None = None) -> Turn[T_co]:
        """Give the turn at work another word, which the model reads at the next boundary; with none at work, this
        begins one. The handle's outcome is that of the turn that took it."""
        return await self._say("earliest_boundary", text, attachments, key)

    async def compact(self, focus: str = "", *, key: str | None = None) -> Turn[str]:
        """Have the model sum up the conversation and go on from the summary in a new frame. What was before stays in
        the history and is no longer sent. ``focus``: what to keep with special care. The outcome has the summary, as
        text, whatever the agent's output type is."""
        return await self._post("command", "next_turn", focus_of(focus), key)

    async def _say(self, delivery: Delivery, text: str, attachments: Sequence[Media], key: str | None) -> Turn[T_co]:
        payload = said(text, attachments)
        if attachments and (info := self._opened.model_info(self.agent)) is not None:
            check_readable(self.agent, info, attachments)
        await self._keep(attachments)
        return await self._post("input", delivery, payload, key)

    async def _keep(self, attachments: Sequence[Media]) -> None:
        """From now on the session speaks of them, whatever becomes of the input."""
        if not attachments:
            return
        missing = await self._opened.store.blobs.keep([item.ref for item in attachments], self._place.row)
        for item in attachments:
            if item.ref in missing:
                await self.row()  # of a deleted session that is what is told
                raise AttachmentMissing(
                    f"The attachment {named(item)} is not in the store. Store it with "
                    "session.attach(...), and send it within a day. Nothing was written.",
                    ref=item.ref,
                )

    async def _post(self, kind: ItemKind, delivery: Delivery, payload: bytes, key: str | None) -> Turn[Any]:
        if key is not None:
            check_name(key, "input key")
        op = Post(self._place.process_id, NewItem(kind, delivery, payload, key))
        match await self._opened.post(op, self.agent):
            case Posted(item, new):
                accepted_at = self._opened.waits.told if new else None
                return Turn(self._opened, self._place, item.number, self._shape, accepted_at)
            case ItemConflict(item):
                raise InputConflict(
                    f"The key {key!r} of session {self.id!r} belongs to input {item.number}, which says something "
                    "else. Use a new key; nothing was written.",
                    session_id=self.id,
                    key=key,
                )
            case verdict:
                raise refusal(verdict, self.id)

    def turn(self, item: int | str) -> Turn[T_co]:
        """The handle of an input accepted earlier, by its number or its id. Raises ``InvalidArguments`` for what can be
        none; whether it was accepted shows when the handle is used (``TurnUnknown``)."""
        return Turn(self._opened, self._place, turn_number(self.id, item), self._shape)

    async def attach(self, data: bytes, media_type: str, label: str = "") -> Media:
        """Store an attachment, to be sent with a message within a day. The same bytes are stored once. Raises
        ``InvalidValue``."""
        check_attachment(data, media_type)
        return Media(await self._opened.store.blobs.put(data), media_type, len(data), label)

    async def cancel(self, reason: str = "") -> bool:
        """Cancel the turn at work; what waits behind it goes on. False when none is at work."""
        return await cancel_item(self._opened, self._place, None, reason)

    # Reading -----------------------------------------------------------------------------------------------------

    async def row(self) -> SessionRow:
        """What the store keeps of it. Raises ``SessionDeleted``."""
        (row,) = await self._opened.store.sessions((self._place.process_id,))
        if not isinstance(row, SessionRow):
            raise refusal(Unknown(row is not None), self.id)
        return row

    async def nodes(self, after: str | None = None, limit: int = 100) -> list[Node]:
        """The newest ``limit`` nodes of the path, oldest first; with ``after``, of those behind that node. Raises
        ``NodeUnknown``."""
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise InvalidArguments(f"limit must be 1 to {PAGE_ROWS_MAX}, not {limit!r}.")
        row = await self.row()
        first = 0 if after is None else (await self._node(after, row)).number
        return await self._opened.store.nodes(self._place.row, first, row.head, limit)

    async def _node(self, node: str, row: SessionRow) -> Node:
        """The node of this path with that id: its writer's, or this session's and its place. Raises ``NodeUnknown``."""
        number = node_number(node)
        for found in await self._opened.store.nodes(self._place.row, number - 1, number, 1):
            if node in (found.id, node_id(self.id, number)):
                return found
        raise NodeUnknown(
            f"The path of session {self.id!r} has {row.head} nodes, and there is no such node among them: {node!r}. "
            "session.nodes() has their ids."
        )

    async def history(self, after: str | None = None, limit: int = 100) -> list[HistoryEntry]:
        """The newest messages, oldest first: those among the newest ``limit`` nodes (behind ``after``, a node's id)."""
        return [
            HistoryEntry(node.id, f"{node.session_id}/{node.turn}", decode_message(node.body), node.at_ms)
            for node in await self.nodes(after, limit)
            if node.kind == "message"
        ]

    async def usage(self) -> SessionUsage:
        """What its committed turns have used."""
        return decode_usage((await self.row()).usage)

    async def info(self) -> SessionInfo:
        return info_of(await self.row())

    async def observe(self, after: str | None = None) -> AsyncIterator[TurnEvent]:
        """The events of turn after turn: from the turn at work (or the next one), or behind a cursor. Ends when the
        session is closed. Raises ``BadCursor``, ``SessionDeleted``."""
        seen = None if after is None else seen_of(after, self.id)
        row = await self.row()
        ahead = seen is not None and seen.turn > row.items
        item = await self._current(row) if seen is None or ahead else seen.turn
        if ahead and item is not None:  # a restored backup
            yield Gap("unavailable", cursor=Seen(mark_of(self.id), item).cursor)
        seen = None if ahead else seen
        while item is not None:
            async for event in observe(self._opened, self._place, self._shape, item, seen):
                yield event
            seen = None
            item = await self._next(item)

    async def _current(self, row: SessionRow) -> int | None:
        """The item of the turn at work; with none at work, as :meth:`_next`."""
        undone = () if row.process.record.status.final else await self._opened.store.items(self._place.row, ())
        return undone[0].number if undone else await self._next(row.items)

    async def _next(self, item: int) -> int | None:
        """The next item after ``item`` that was not part of its turn, once there is one; None where the session is
        closed before."""
        while True:
            with self._opened.hub.changes() as change:
                row = await self.row()
                for found in await self._opened.store.items(self._place.row, range(item + 1, item + 65)):
                    if found.turn in (0, found.number):
                        return found.number
                    item = found.number
                if item >= row.items:
                    if row.process.record.status.final:
                        return None
                    await change

    # Other sessions ----------------------------------------------------------------------------------------------

    async def fork(self, node: str | None, new_id: str) -> Session[T_co]:
        """A new session that begins as this one up to and with ``node`` (None: as it is), and shares those nodes.

        The same fork under the same id again is that session; any other session of that id is a ``SessionConflict``.
        Raises ``NodeUnknown`` for what is no node of this session's path.
        """
        row = await self.row()
        last = None
        if node is not None or row.head:
            last = await self._node(node_id(self.id, row.head) if node is None else node, row)
        if last is not None and last.kind == "message" and decode_message(last.body).calls:
            raise NodeUnknown(
                f"Node {last.id} has tool calls, and their results are the next node. "
                f"Fork at {node_id(last.session_id, last.number + 1)}, or before it."
            )
        spec = session_spec(new_id, self.agent, self._opened.host_profile)
        verdict = await self._opened.write(Open(spec, self._place.process_id, 0 if last is None else last.number))
        place = opened_place(verdict, spec, new_id, self.id)
        forked: Session[T_co] = Session(self._opened, place, self.agent, self._shape)
        if isinstance(verdict, Started) and not verdict.created:
            await forked._check_fork(self.id, last)
        return forked

    async def _check_fork(self, base: str, last: Node | None) -> None:
        """That this session, which was there already, is the fork of ``base`` behind ``last``. Raises
        ``SessionConflict``."""
        row = await self.row()
        if last is None:  # a fork that shares nothing looks like any new session, until something is said in it
            same = row.base_node == row.items == 0
        else:
            same = (row.base, row.base_node) == (process_id_of(last.session_id), last.number)
        if not same:
            where = "of its empty path" if last is None else f"at {last.id}"
            raise SessionConflict(
                f"Session {self.id!r} is there already, and is not the fork of {base!r} {where}. Use another id; "
                "nothing was written.",
                session_id=self.id,
                agent=self.agent,
            )

    async def rewind(self, node: str) -> Session[T_co]:
        """Go back to ``node``: the fork there, under an id of its own. This session stays as it is."""
        return await self.fork(node, mint("s", self._opened.now_ms(), os.urandom(8)))

    async def close(self) -> None:
        """End it: no input is accepted any more, a turn at work is cancelled, the history stays. Harmless when it is
        closed already."""
        verdict = await self._opened.write(Cancel(self._place.process_id, "the session was closed"))
        if not isinstance(verdict, Ended):
            settle(verdict, self._place.process_id)


def said(text: str, attachments: Sequence[Media] = ()) -> bytes:
    """An input's payload. Raises ``InvalidValue``."""
    if not isinstance(text, str):
        raise InvalidValue(f"An input is text, and attachments; not {type(text).__name__}. Nothing was written.")
    if not (text.strip() or attachments):
        raise InvalidValue("The input is blank: text is missing, or attachments. Nothing was written.")
    for item in attachments:
        if not isinstance(item, Media):
            raise InvalidValue(
                f"An attachment is what session.attach(...) returns, not {type(item).__name__}. Nothing was written."
            )
        check_media_type(item.media_type)
    try:
        fits(len(text.encode()), "input")
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"The input is no text at character {error.start + 1}: {text[error.start]!r} stands for a byte that is no "
            "UTF-8, or is half a character. Nothing was written."
        ) from None
    payload = codec.encode({"parts": [part_json(part) for part in user(text, *attachments).parts]}, "input")
    fits(len(payload), "input")
    return payload


def check_readable(agent: str, info: ModelInfo, attachments: Sequence[Media]) -> None:
    """Raises ``InvalidValue``."""
    for item in attachments:
        if item.media_type not in info.media_types:
            known = ", ".join(info.media_types) or "text only"
            raise InvalidValue(
                f"The model of agent {agent!r} cannot read {item.media_type} (it reads {known}). Nothing was written."
            )


def focus_of(focus: str) -> bytes:
    """A payload that has the conversation summed up. Raises ``InvalidValue``."""
    if not isinstance(focus, str):
        raise InvalidValue(f"The focus of a summary is text, not {type(focus).__name__}. Nothing was written.")
    fits(len(focus), "focus of a summary")
    return codec.encode({"command": "compact", "focus": focus}, "focus of a summary")


def fits(size_bytes: int, what: str) -> None:
    if size_bytes > INPUT_BYTES_MAX:
        raise InvalidValue(
            f"The {what} has {size_bytes} bytes; the limit is {INPUT_BYTES_MAX}. Send less, or attach it: "
            "session.attach(data, 'text/plain'). Nothing was written.",
            value_bytes=size_bytes,
            value_bytes_max=INPUT_BYTES_MAX,
        )


def turn_number(session_id: str, turn: object) -> int:
    """The number of an input, of which the number or the id is given. Raises ``InvalidArguments``."""
    number = turn if isinstance(turn, int) and not isinstance(turn, bool) else 0
    if isinstance(turn, str) and turn.startswith(f"{session_id}/"):
        digits = turn.removeprefix(f"{session_id}/")
        plain = digits.isascii() and digits.isdecimal() and not digits.startswith("0")
        number = int(digits) if plain and len(digits) <= NUMBER_DIGITS_MAX else 0
    if not 0 < number < 10**NUMBER_DIGITS_MAX:
        raise InvalidArguments(
            f"{turn!r} is no turn of session {session_id!r}. Give the number of its input, from 1, or its id: it looks "
            f"like '{session_id}/3'."
        )
    return number


def session_spec(session_id: str, agent: str, host_profile: str, parent: str | None = None) -> ProcessSpec:
    args = b"[[],{}]"
    return ProcessSpec(
        process_id_of(session_id),
        SESSION,
        agent,
        "",
        args,
        definition_of(SESSION, agent, args),
        attempts_max=ATTEMPTS_OF_A_TURN_MAX,
        host_profile=host_profile,
        parent=parent,
    )


def opened_place(verdict: Verdict, spec: ProcessSpec, session_id: str, base: str | None = None) -> Place:
    """Where the session stands. Raises ``SessionConflict``, ``SessionDeleted``, ``SessionUnknown``, ``NodeUnknown``."""
    match verdict:
        case Started(row, pruned=False):
            return Place(row, spec.id)
        case Started():
            raise refusal(Unknown(True), session_id)
        case Conflict(name=name):
            raise SessionConflict(
                f"Session {session_id!r} belongs to agent {name!r}, not to {spec.name!r}. Use another id; nothing was "
                "written.",
                session_id=session_id,
                agent=name,
            )
        case NoNode(head):
            raise NodeUnknown(f"Session {base!r} has {head} nodes; there is no such node to fork it at.")
        case Unknown() | Ended():  # of the base; or of the session it was to be a child of, whose lease is gone then
            raise refusal(verdict, base or session_id)
        case _:
            raise StoreUnavailable(f"The store answered with {type(verdict).__name__}.")


def refusal(verdict: object, session_id: str) -> Exception:
    """The typed error of a verdict that says no."""
    if isinstance(verdict, Unknown):
        if verdict.pruned:
            return SessionDeleted(
                f"Session {session_id!r} was deleted; an id is used once. Choose another.", session_id=session_id
            )
        return SessionUnknown(
            f"No session has the id {session_id!r}. app.sessions() and `lash sessions` list those there are.",
            session_id=session_id,
        )
    if isinstance(verdict, Ended) or verdict is Ended:
        return ProcessEnded(f"Session {session_id!r} is closed and takes nothing any more. Fork it to go on from it.")
    return StoreUnavailable(f"The store answered with {type(verdict).__name__}.")


def info_of(row: SessionRow) -> SessionInfo:
    record = row.process.record
    return SessionInfo(
        row.id,
        row.agent,
        record.status,
        row.turns,
        row.head,
        record.created_ms,
        record.updated_ms,
        None if row.base is None else session_id_of(row.base),
    )
