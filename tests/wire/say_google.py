"""How streamGenerateContent answers, chunk by chunk."""

from __future__ import annotations

from typing import Any

from lash.core.message import Reasoning, Text, ToolCall
from lash.core.model import ModelReply, Usage
from tests.wire.dialects import MAKERS, Absent, Case, Dialect
from tests.wire.server import sse

Event = dict[str, Any]


def chunk(*parts: Event, finish: str | None = None, counted: Event | None = None) -> Event:
    candidate: Event = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    head = {"modelVersion": "gemini-2.5-flash-001", "responseId": "r-1"}
    found = {**head, "candidates": [candidate | ({"finishReason": finish} if finish else {})]}
    return found | ({"usageMetadata": counted} if counted else {})


def usage(**more: int) -> Event:
    return {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120, **more}


def stream(*parts: Event, finish: str = "STOP", counted: Event | None = None) -> bytes:
    *first, last = parts
    return sse(*(chunk(part) for part in first), chunk(last, finish=finish, counted=counted or usage()))


def texts(*deltas: str) -> list[Event]:
    return [{"text": delta} for delta in deltas]


def call(call_id: str, args: Event, **more: Any) -> Event:
    return {"functionCall": {"id": call_id, "name": "find", "args": args}, **more}


def reply(*parts: Any, stop: Any = "stop", counted: Usage | None = None) -> ModelReply:
    return ModelReply(parts, stop, counted or Usage(100, 20), "gemini-2.5-flash-001", "r-1")


def called(call_id: str, arguments: str, **more: Any) -> ToolCall:
    return ToolCall(call_id, "find", arguments, {"google": {**more, "id": call_id}})


WHOLE = stream(*texts("Zwei Städte: ", "日本 🙂"), call("a", {"q": "ä"}), call("b", {}))
SIGNED = {"thought_signature": "c2ln"}

CASES: dict[str, Case | Absent] = {
    "plain_stop": Case(stream(*texts("Hello.")), reply(Text("Hello."))),
    "output_cap": Case(stream(*texts("Half of"), finish="MAX_TOKENS"), reply(Text("Half of"), stop="output_limit")),
    "tool_use": Case(
        stream(call("a", {"q": "x"}), call("b", {"q": "y"})),
        reply(called("a", '{"q": "x"}'), called("b", '{"q": "y"}'), stop="tool_use"),
    ),
    "text_assembly": Case(stream(*texts(*"Größe: 日本 🙂\nso")), reply(Text("Größe: 日本 🙂\nso"))),
    "argument_merge": Absent("the Gemini API sends a call's arguments whole, as one JSON object"),
    "content_filter": Case(stream(*texts("No"), finish="SAFETY"), reply(Text("No"), stop="content_filter")),
    "cache_hit": Case(
        stream(*texts("Hi"), counted=usage(cachedContentTokenCount=64)), reply(Text("Hi"), counted=Usage(36, 20, 64))
    ),
    "reasoning_usage": Case(
        stream(*texts("Hi"), counted=usage(candidatesTokenCount=5, thoughtsTokenCount=15)),
        reply(Text("Hi"), counted=Usage(100, 20, 0, 0, 15)),
    ),
    "reasoning_round_trip": Case(
        stream(
            {"text": "First, ", "thought": True},
            {"text": "look.", "thought": True, "thoughtSignature": "dGhvdWdodA=="},
            *texts("S"),
            {"text": "o.", "thoughtSignature": "c2ln"},
        ),
        reply(
            Reasoning("First, look.", {"google": {"signature": "dGhvdWdodA=="}}),
            Text("So.", {"google": {"signature": "c2ln"}}),
        ),
        [
            {
                "role": "model",
                "parts": [
                    {"text": "First, look.", "thought": True, "thoughtSignature": "dGhvdWdodA=="},
                    {"text": "So.", "thoughtSignature": "c2ln"},
                ],
            }
        ],
    ),
    "split_usage": Case(
        sse(
            chunk({"text": "H"}, counted={"promptTokenCount": 100}),
            chunk({"text": "i"}, finish="STOP", counted={"candidatesTokenCount": 20}),
        ),
        reply(Text("Hi")),
    ),
}

DIALECT = Dialect(
    "google",
    "gemini-2.5-flash",
    MAKERS["google"],
    CASES,
    lambda body: body["contents"],
    unknown_end=stream(*texts("Hm"), finish="BORED"),
    error_in_stream=sse(chunk({"text": "Hal"}))
    + b'{"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}\n',
    whole=WHOLE,
    needed=len(WHOLE) - 2,
    refusal=lambda code, message, status: {"error": {"code": status, "status": code, "message": message}},
    twins=stream(call("a", {}), call("a", {"q": 1})),
    ping=b"\n",  # the SDK cannot read comments, and Google sends none
)
