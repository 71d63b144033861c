"""How Chat Completions answer, chunk by chunk."""

from __future__ import annotations

from typing import Any

from lash.core.message import Reasoning, Text, ToolCall
from lash.core.model import ModelReply, Usage
from tests.wire.dialects import MAKERS, Case, Dialect
from tests.wire.server import sse

Event = dict[str, Any]
DONE = b"data: [DONE]\n\n"


def chunk(delta: Event | None = None, finish: str | None = None, counted: Event | None = None) -> Event:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "some/model"}
    return {**head, "choices": choices, **({"usage": counted} if counted else {})}


def usage(**details: Any) -> Event:
    return {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, **details}


def stream(*deltas: Event, finish: str = "stop", counted: Event | None = None) -> bytes:
    first = chunk({"role": "assistant", "content": ""})
    last = [chunk({}, finish), chunk(counted=counted or usage())]
    return sse(first, *(chunk(delta) for delta in deltas), *last) + DONE


def texts(*deltas: str) -> list[Event]:
    return [{"content": delta} for delta in deltas]


def call(call_id: str, *deltas: str, at: int = 0) -> list[Event]:
    begin = {"index": at, "id": call_id, "type": "function", "function": {"name": "find", "arguments": ""}}
    more = [{"index": at, "function": {"arguments": delta}} for delta in deltas]
    return [{"tool_calls": [piece]} for piece in [begin, *more]]


def reply(*parts: Any, stop: Any = "stop", counted: Usage | None = None) -> ModelReply:
    return ModelReply(parts, stop, counted or Usage(100, 20), "some/model", "chatcmpl-1")


DETAIL = {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "r-1", "format": "x", "index": 0}
SAID = {"type": "reasoning.text", "text": "First, look.", "signature": "s1g", "index": 1}
WHOLE = stream(
    *texts("Zwei Städte: ", "日本 🙂"), *call("a", '{"q": ', '"ä"}'), *call("b", "{}", at=1), finish="tool_calls"
)

CASES = {
    "plain_stop": Case(stream(*texts("Hello.")), reply(Text("Hello."))),
    "output_cap": Case(stream(*texts("Half of"), finish="length"), reply(Text("Half of"), stop="output_limit")),
    "tool_use": Case(
        stream(*call("a", '{"q":"x"}'), *call("b", '{"q":"y"}', at=1), finish="tool_calls"),
        reply(ToolCall("a", "find", '{"q":"x"}'), ToolCall("b", "find", '{"q":"y"}'), stop="tool_use"),
    ),
    "text_assembly": Case(stream(*texts(*"Größe: 日本 🙂\nso")), reply(Text("Größe: 日本 🙂\nso"))),
    "argument_merge": Case(
        stream(*call("a", "{", '"q"', ":", " 1,", ' "r', '": "é"', "}"), finish="tool_calls"),
        reply(ToolCall("a", "find", '{"q": 1, "r": "é"}'), stop="tool_use"),
    ),
    "content_filter": Case(stream(*texts("No"), finish="content_filter"), reply(Text("No"), stop="content_filter")),
    "cache_hit": Case(
        stream(*texts("Hi"), counted=usage(prompt_tokens_details={"cached_tokens": 64})),
        reply(Text("Hi"), counted=Usage(36, 20, 64)),
    ),
    "reasoning_usage": Case(
        stream(*texts("Hi"), counted=usage(completion_tokens_details={"reasoning_tokens": 15})),
        reply(Text("Hi"), counted=Usage(100, 20, 0, 0, 15)),
    ),
    "reasoning_round_trip": Case(
        stream(
            {"reasoning_details": [DETAIL]},
            {"reasoning": "First, ", "reasoning_details": [{**SAID, "text": "First, ", "signature": None}]},
            {"reasoning": "look.", "reasoning_details": [{**SAID, "text": "look."}]},
            *texts("So."),
        ),
        reply(Reasoning("First, look.", {"openai-chat": {"reasoning_details": [DETAIL, SAID]}}), Text("So.")),
        [{"role": "assistant", "content": "So.", "reasoning_details": [DETAIL, SAID]}],
    ),
    "split_usage": Case(
        sse(
            chunk({"content": "Hi"}, counted=usage(completion_tokens=1)),
            chunk({}, "stop", usage(completion_tokens=20)),
        )
        + DONE,
        reply(Text("Hi")),
    ),
}

MARKER = b'"finish_reason": "tool_calls"}'
DIALECT = Dialect(
    "openai-chat",
    "some/model",
    MAKERS["openai-chat"],
    CASES,
    lambda body: body["messages"],
    unknown_end=stream(*texts("Hm"), finish="bored"),
    error_in_stream=sse(chunk({"content": "Hal"}), {"error": {"code": "overloaded_error", "message": "Overloaded"}}),
    whole=WHOLE,
    needed=WHOLE.index(b"\n", WHOLE.index(MARKER)),
    refusal=lambda code, message, status: {"error": {"code": code, "type": "some_error", "message": message}},
    twins=stream(*call("a", "{}"), *call("a", '{"q": 1}', at=1), finish="tool_calls"),
)
