"""What is said in a session: messages of typed parts, and their one JSON form.

A part keeps whatever its provider wants back word for word (``meta``: signatures, encrypted reasoning, item ids).
Large bytes never stand in a message, only a reference to a blob. A history is *sound* when every tool call has exactly
one result, in the message right after it: no other history is ever committed or sent (spec sessions 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from lash.core import codec

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Meta: TypeAlias = "Mapping[str, object] | None"
"""Plain JSON that belongs to a provider: kept, sent back to the same provider, never interpreted here."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    meta: Meta = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought. It is sent back only with ``meta``; without it a provider would refuse or ignore it."""

    text: str
    meta: Meta = None


@dataclass(frozen=True, slots=True)
class Media:
    """An attachment by reference: ``ref`` is the blob's content reference, ``media_type`` such as ``image/png``."""

    ref: str
    media_type: str
    size_bytes: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    """The provider's id, made unique within its message."""
    name: str
    arguments: str
    """JSON text as the model wrote it, valid or not."""
    meta: Meta = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    name: str
    content: tuple[Text | Media, ...]
    """What the model sees."""
    failed: bool = False


Part: TypeAlias = Text | Reasoning | Media | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]
    origin: str | None = None
    """Where a message that neither the user's ``send`` nor the model wrote comes from: ``steer``, ``wake``,
    ``plugin:<id>``, ``lash``."""

    @property
    def text(self) -> str:
        """The plain text of it; parts are two newlines apart."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Text) and part.text)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


def user(text: str, *media: Media, origin: str | None = None) -> Message:
    return Message("user", (Text(text), *media) if text or not media else media, origin)


# Soundness ---------------------------------------------------------------------------------------------------------


def unsound(messages: Iterable[Message]) -> str | None:
    """Why this history may not be sent or stored, or None."""
    waiting: tuple[str, ...] = ()
    for number, message in enumerate(messages):
        results = tuple(part.call_id for part in message.parts if isinstance(part, ToolResult))
        if results != waiting:
            return f"message {number} has results for {list(results)}, where those of {list(waiting)} belong"
        if results and message.role != "tool":
            return f"message {number} has tool results, but its role is {message.role}"
        if message.role == "tool" and (not results or len(results) != len(message.parts)):
            return f"message {number} has the role tool, and must be of tool results and nothing else"
        waiting = tuple(call.id for call in message.calls)
        if waiting and message.role != "assistant":
            return f"message {number} has tool calls, but its role is {message.role}"
        if len(set(waiting)) != len(waiting):
            return f"message {number} has two calls with one id"
    return f"the calls {list(waiting)} have no results" if waiting else None


# JSON --------------------------------------------------------------------------------------------------------------


def part_json(part: Part) -> list[object]:
    """A short tagged list. What is absent at the end is left out."""
    match part:
        case Text(text, meta):
            return ["text", text] if meta is None else ["text", text, meta]
        case Reasoning(text, meta):
            return ["reasoning", text] if meta is None else ["reasoning", text, meta]
        case Media(ref, media_type, size_bytes, label):
            return ["media", ref, media_type, size_bytes, label]
        case ToolCall(call_id, name, arguments, meta):
            return ["call", call_id, name, arguments] if meta is None else ["call", call_id, name, arguments, meta]
        case ToolResult(call_id, name, content, failed):
            return ["result", call_id, name, [part_json(item) for item in content], failed]


def part_of(item: object) -> Part:
    """The inverse. Raises ``ValueError`` for what no part was written as."""
    tag, *rest = cast("Sequence[object]", item)
    if tag == "text":
        return Text(*rest)  # type: ignore[arg-type]  # as part_json wrote it, here and below
    if tag == "reasoning":
        return Reasoning(*rest)  # type: ignore[arg-type]
    if tag == "media":
        return Media(*rest)  # type: ignore[arg-type]
    if tag == "call":
        return ToolCall(*rest)  # type: ignore[arg-type]
    if tag == "result":
        call_id, name, content, failed = rest
        inner = tuple(part_of(each) for each in cast("Sequence[object]", content))
        return ToolResult(cast(str, call_id), cast(str, name), cast("tuple[Text | Media, ...]", inner), bool(failed))
    raise ValueError(f"no kind of message part: {tag!r}")


def message_json(message: Message) -> list[object]:
    plain: list[object] = [message.role, [part_json(part) for part in message.parts]]
    return plain if message.origin is None else [*plain, message.origin]


def message_of(plain: object) -> Message:
    role, parts, *origin = cast("Sequence[object]", plain)
    found = tuple(part_of(part) for part in cast("Sequence[object]", parts))
    return Message(cast(Role, role), found, cast("str | None", origin[0]) if origin else None)


def encode_message(message: Message) -> bytes:
    """Raises ``InvalidValue`` where ``meta`` is no JSON, or the whole is too large for one stored value."""
    return codec.encode(message_json(message), "message")


def decode_message(data: bytes) -> Message:
    return message_of(codec.decode(data))


def media_of(messages: Iterable[Message]) -> list[Media]:
    """Every attachment that is spoken of, each once under each type it is said to have, in order."""
    found: dict[tuple[str, str], Media] = {}
    for message in messages:
        for part in message.parts:
            for item in part.content if isinstance(part, ToolResult) else (part,):
                if isinstance(item, Media):
                    found.setdefault((item.ref, item.media_type), item)
    return list(found.values())
