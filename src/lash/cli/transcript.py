"""What was said in a session, as documents and as lines for people: every command shows it alike.

Nothing here reads a store. What a model, a tool or a user wrote is shown as text and never obeyed: neither as markup
nor as control codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from lash.cli import output as out
from lash.cli.documents import Document, list_in, object_in
from lash.cli.spending import usage_document
from lash.core import codec
from lash.core.message import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, decode_message, part_of
from lash.core.session import Item, Node, TurnRecord
from lash.core.tool import ToolOutput
from lash.core.turn import Finished, Outcome, Stopped
from lash.runtime.receipts import decode_receipt

ARGUMENTS_CHARS: Final = 80
"""Of the arguments of a tool call on one line."""
RESULT_CHARS: Final = 100
"""Of what came of it."""
TAB_COLUMNS: Final = 4
BLANKS: Final = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
"""Blanks of other widths, which models write; on a terminal they are blanks."""
JOINER: Final = "\u200d"
"""Between the parts of one emoji."""


class Shown(NamedTuple):
    """A line of a transcript, or a whole text. ``kind``: user, assistant, reasoning, call, result, failure, note."""

    kind: str
    text: str


def prose(text: str) -> str:
    """Text as it may be printed: tabs and odd blanks as blanks, everything that would steer a terminal spelt out."""
    plain = BLANKS.sub(" ", text.replace("\r\n", "\n").expandtabs(TAB_COLUMNS))
    return JOINER.join(out.clean(piece) for piece in plain.split(JOINER))


def first_line(text: str, chars_max: int) -> str:
    """The beginning of a text on one line, ending in ``…`` where something was left out."""
    line = " ".join(prose(text).split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


# Tool calls --------------------------------------------------------------------------------------------------------


def call_words(name: str, arguments: str) -> str:
    """``find_order(email="a@b.c")``, short; arguments that are no JSON object as they stand."""
    try:
        plain = object_in(json.loads(arguments))
    except ValueError:
        plain = None
    if plain is None:
        return f"{prose(name)}({first_line(arguments, ARGUMENTS_CHARS)})"
    pairs = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in plain.items())
    return f"{prose(name)}({first_line(pairs, ARGUMENTS_CHARS)})"


def content_words(content: Sequence[Text | Media], chars_max: int = RESULT_CHARS) -> str:
    """What a result says, on one line."""
    return first_line(" ".join(part_words(part) for part in content) or "(nothing)", chars_max)


def part_words(part: Text | Media) -> str:
    if isinstance(part, Text):
        return part.text
    label = f" {part.label}" if part.label else ""
    return f"[{part.media_type}{label}, {part.size_bytes:,} bytes]"


def output_words(output: ToolOutput) -> str:
    """One line: the value, or why there is none."""
    if output.failure is not None:
        return first_line(f"{output.failure.code}: {output.failure.message}", RESULT_CHARS)
    return content_words(output.content)


def outcome_words(outcome: Outcome) -> str:
    """Of a turn that has no answer; empty for one that has."""
    match outcome:
        case Finished():
            return ""
        case Stopped(reason, message):
            return f"stopped ({reason}): {prose(message)}"
        case _:
            return f"went on in a new frame {outcome.frame.name!r}"


# Messages ----------------------------------------------------------------------------------------------------------


def shown_message(message: Message) -> Iterator[Shown]:
    """A message as what a person would see of it."""
    kind = message.role if message.role == "assistant" or message.origin is None else "note"
    origin = f"({message.origin}) " if message.origin is not None else ""
    for part in message.parts:
        match part:
            case Text(text):
                if text.strip():
                    yield Shown("user" if kind == "system" else kind, origin + text)
            case Reasoning(text):
                if text.strip():
                    yield Shown("reasoning", text)
            case Media():
                yield Shown("user" if kind == "system" else kind, origin + part_words(part))
            case ToolCall(_, name, arguments):
                yield Shown("call", call_words(name, arguments))
            case ToolResult(_, name, content, failed):
                yield Shown("failure" if failed else "result", f"{name}: {content_words(content)}")


def shown_node(node: Node) -> Iterator[Shown]:
    if node.kind == "message":
        yield from shown_message(decode_message(node.body))
    elif node.kind == "frame":
        yield Shown("note", f"[a new context begins here: {node.name}; what is above is kept and no longer sent]")


def node_words(node: Node, chars_max: int) -> tuple[str, str]:
    """What a node is, and how it begins."""
    if node.kind != "message":
        return node.kind, first_line(f"{node.name} {out.short_value(codec.decode(node.body), chars_max)}", chars_max)
    message = decode_message(node.body)
    text = " ".join(shown.text for shown in shown_message(message))
    return message.role, first_line(text, chars_max)


# Documents ---------------------------------------------------------------------------------------------------------


def part_document(part: Part) -> Document:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Reasoning(text):
            return {"type": "reasoning", "text": text}
        case Media(ref, media_type, size_bytes, label):
            return {"type": "media", "ref": ref, "media_type": media_type, "bytes": size_bytes, "label": label}
        case ToolCall(call_id, name, arguments):
            return {"type": "call", "id": call_id, "name": name, "arguments": arguments}
        case ToolResult(call_id, name, content, failed):
            inner = [part_document(item) for item in content]
            return {"type": "result", "call_id": call_id, "name": name, "failed": failed, "content": inner}


def message_document(message: Message) -> Document:
    parts = [part_document(part) for part in message.parts]
    return {"role": message.role, "origin": message.origin, "text": message.text, "parts": parts}


def node_document(node: Node) -> Document:
    """A node of any kind; a message has its parts, the others their value."""
    document: Document = {
        "id": node.id,
        "number": node.number,
        "kind": node.kind,
        "name": node.name,
        "turn": f"{node.session_id}/{node.turn}",
        "at_ms": node.at_ms,
    }
    if node.kind == "message":
        return {**document, **message_document(decode_message(node.body))}
    return {**document, "value": codec.decode(node.body)}


def item_document(item: Item) -> Document:
    return {
        "number": item.number,
        "kind": item.kind,
        "delivery": item.delivery,
        "state": item.state,
        "turn": item.turn or None,
        "key": item.key,
        "at_ms": item.at_ms,
        "payload": codec.decode(item.payload) if item.payload else None,
    }


def item_words(item: Item, chars_max: int) -> str:
    """What was sent, on one line."""
    payload = object_in(codec.decode(item.payload) if item.payload else None) or {}
    if "command" in payload:
        return first_line(f"/{payload['command']} {payload.get('focus') or ''}", chars_max)
    parts = [part_of(plain) for plain in list_in(payload.get("parts")) or ()]
    return first_line(" ".join(part_words(part) for part in parts if isinstance(part, Text | Media)), chars_max)


def turn_document(record: TurnRecord) -> Document:
    """A committed turn, or an input that was withdrawn."""
    receipt = decode_receipt(record.receipt)
    document: Document = {
        "turn": record.number,
        "first_node": record.first_node,
        "last_node": record.last_node,
        "at_ms": record.at_ms,
        "model": receipt.model,
        "model_calls": receipt.model_calls,
        "tool_calls": receipt.tool_calls,
        "usage": usage_document(receipt.usage),
    }
    match receipt.outcome:
        case Finished():
            return {**document, "outcome": "finished"}
        case Stopped(reason, message, code, text):
            return {
                **document, "outcome": "stopped", "reason": reason, "code": code, "message": message, "text": text
            }  # fmt: skip
        case _:
            return {**document, "outcome": "switched", "frame": receipt.outcome.frame.name}
