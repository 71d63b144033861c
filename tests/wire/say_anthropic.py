"""How the Messages API answers, event by event."""

from __future__ import annotations

from typing import Any

from lash.core.message import Reasoning, Text, ToolCall
from lash.core.model import ModelReply, Usage
from tests.wire.dialects import MAKERS, Case, Dialect
from tests.wire.server import sse

Event = dict[str, Any]
PING: Event = {"type": "ping"}


def start(**counted: int) -> Event:
    usage = {"input_tokens": 100, "output_tokens": 1, **counted}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001", "content": []}
    return {"type": "message_start", "message": {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}}


def block(at: int, first: Event, *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": at, "content_block": first},
        *({"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": at},
    ]


def text(*deltas: str, at: int = 0) -> list[Event]:
    return block(at, {"type": "text", "text": ""}, *({"type": "text_delta", "text": delta} for delta in deltas))


def call(call_id: str, *deltas: str, at: int = 0) -> list[Event]:
    first = {"type": "tool_use", "id": call_id, "name": "find", "input": {}}
    return block(at, first, *({"type": "input_json_delta", "partial_json": delta} for delta in deltas))


def stream(*events: Event, stop: str = "end_turn", counted: Event | None = None, begin: Event | None = None) -> bytes:
    usage = {"output_tokens": 20, **(counted or {})}
    delta = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}
    return sse(begin or start(), PING, *events, delta, {"type": "message_stop"}, named=True)


def reply(*parts: Any, stop: Any = "stop", counted: Usage | None = None) -> ModelReply:
    return ModelReply(parts, stop, counted or Usage(100, 20), "claude-haiku-4-5-20251001", "msg_1")


WHOLE = stream(
    *text("Zwei Städte: ", "日本 🙂"), *call("a", '{"q": ', '"ä"}', at=1), *call("b", "{}", at=2), stop="tool_use"
)
THINKING = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "First, "},
    {"type": "thinking_delta", "thinking": "look."},
    {"type": "signature_delta", "signature": "c2ln"},
)

CASES = {
    "plain_stop": Case(stream(*text("Hello.")), reply(Text("Hello."))),
    "output_cap": Case(stream(*text("Half of"), stop="max_tokens"), reply(Text("Half of"), stop="output_limit")),
    "tool_use": Case(
        stream(*call("a", '{"q":"x"}'), *call("b", '{"q":"y"}', at=1), stop="tool_use"),
        reply(ToolCall("a", "find", '{"q":"x"}'), ToolCall("b", "find", '{"q":"y"}'), stop="tool_use"),
    ),
    "text_assembly": Case(stream(*text(*"Größe: 日本 🙂\nso")), reply(Text("Größe: 日本 🙂\nso"))),
    "argument_merge": Case(
        stream(*call("a", "{", '"q"', ":", " 1,", ' "r', '": "é"', "}"), stop="tool_use"),
        reply(ToolCall("a", "find", '{"q": 1, "r": "é"}'), stop="tool_use"),
    ),
    "content_filter": Case(stream(*text("No"), stop="refusal"), reply(Text("No"), stop="content_filter")),
    "cache_hit": Case(
        stream(*text("Hi"), begin=start(input_tokens=36, cache_read_input_tokens=64, cache_creation_input_tokens=7)),
        reply(Text("Hi"), counted=Usage(36, 20, 64, 7)),
    ),
    "reasoning_usage": Case(
        stream(*text("Hi"), counted={"output_tokens_details": {"thinking_tokens": 15}}),
        reply(Text("Hi"), counted=Usage(100, 20, 0, 0, 15)),
    ),
    "reasoning_round_trip": Case(
        stream(*THINKING, *block(1, {"type": "redacted_thinking", "data": "c2VjcmV0"}), *text("So.", at=2)),
        reply(
            Reasoning("First, look.", {"anthropic": {"signature": "c2ln"}}),
            Reasoning("", {"anthropic": {"redacted": "c2VjcmV0"}}),
            Text("So."),
        ),
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "First, look.", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "c2VjcmV0"},
                    {"type": "text", "text": "So."},
                ],
            }
        ],
    ),
    "split_usage": Case(
        stream(*text("Hi"), begin=start(output_tokens=3), counted={"input_tokens": 0, "output_tokens": 20}),
        reply(Text("Hi")),
    ),
}

DIALECT = Dialect(
    "anthropic",
    "claude-haiku-4-5",
    MAKERS["anthropic"],
    CASES,
    lambda body: body["messages"],
    unknown_end=stream(*text("Hm"), stop="bored"),
    error_in_stream=sse(
        start(),
        *text("Hal")[:2],
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        named=True,
    ),
    whole=WHOLE,
    needed=len(WHOLE) - 2,
    refusal=lambda code, message, status: {"type": "error", "error": {"type": code, "message": message}},
    twins=stream(*call("a", "{}"), *call("a", '{"q": 1}', at=1), stop="tool_use"),
)
