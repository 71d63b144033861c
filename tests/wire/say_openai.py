"""How the Responses API answers, event by event."""

from __future__ import annotations

from typing import Any

from lash.core.message import Reasoning, Text, ToolCall
from lash.core.model import ModelReply, Usage
from tests.wire.dialects import MAKERS, Absent, Case, Dialect
from tests.wire.server import sse

Event = dict[str, Any]
HEAD = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5-mini-2025-08-07"}


def usage(read: int = 0, reasoning: int = 0) -> Event:
    return {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": 120,
    }


def stream(*events: Event, end: Event | None = None) -> bytes:
    """The events of one response, numbered, between ``response.created`` and its end."""
    last = {"type": "response.completed", "response": {**HEAD, "status": "completed", "output": [], "usage": usage()}}
    first: Event = {"type": "response.created", "response": {**HEAD, "status": "in_progress", "output": []}}
    numbered = [{**event, "sequence_number": number} for number, event in enumerate([first, *events, end or last])]
    return sse(*numbered, named=True)


def end(status: str = "completed", *, reason: str | None = None, counted: Event | None = None) -> Event:
    details = {"incomplete_details": {"reason": reason}} if reason else {}
    response = {**HEAD, "status": status, "output": [], "usage": counted or usage(), **details}
    return {"type": "response.incomplete" if status == "incomplete" else "response.completed", "response": response}


def message(*deltas: str, at: int = 0, status: str = "completed") -> list[Event]:
    item = {"type": "message", "id": f"msg_{at}", "role": "assistant", "status": status}
    content = [{"type": "output_text", "text": "".join(deltas), "annotations": []}]
    place = {"output_index": at, "content_index": 0, "item_id": f"msg_{at}"}
    return [
        {"type": "response.output_item.added", "output_index": at, "item": {**item, "content": []}},
        *({"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []} for delta in deltas),
        {"type": "response.output_text.done", **place, "text": "".join(deltas), "logprobs": []},
        {"type": "response.output_item.done", "output_index": at, "item": {**item, "content": content}},
    ]


def call(call_id: str, *deltas: str, at: int = 0, name: str = "find") -> list[Event]:
    item = {"type": "function_call", "id": f"fc_{at}", "call_id": call_id, "name": name, "status": "completed"}
    whole = "".join(deltas)
    place = {"output_index": at, "item_id": f"fc_{at}"}
    return [
        {"type": "response.output_item.added", "output_index": at, "item": {**item, "arguments": ""}},
        *({"type": "response.function_call_arguments.delta", **place, "delta": delta} for delta in deltas),
        {"type": "response.function_call_arguments.done", **place, "arguments": whole, "name": name},
        {"type": "response.output_item.done", "output_index": at, "item": {**item, "arguments": whole}},
    ]


REASONING = {
    "type": "reasoning",
    "id": "rs_0",
    "summary": [{"type": "summary_text", "text": "First, look."}],
    "encrypted_content": "gAAAA==",
}


def reasoning() -> list[Event]:
    place = {"output_index": 0, "item_id": "rs_0", "summary_index": 0}
    return [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**REASONING, "summary": [], "encrypted_content": "not yet"},
        },
        {"type": "response.reasoning_summary_text.delta", **place, "delta": "First, "},
        {"type": "response.reasoning_summary_text.delta", **place, "delta": "look."},
        {"type": "response.output_item.done", "output_index": 0, "item": {**REASONING, "status": "completed"}},
    ]


def reply(*parts: Any, stop: Any = "stop", counted: Usage | None = None) -> ModelReply:
    return ModelReply(parts, stop, counted or Usage(100, 20), "gpt-5-mini-2025-08-07", "resp_1")


def said(text: str, at: int = 0) -> Text:
    return Text(text, {"openai": {"id": f"msg_{at}"}})


WHOLE = stream(
    *message("Zwei Städte: ", "日本 🙂"), *call("call_a", '{"q": ', '"ä"}', at=1), *call("call_b", "{}", at=2)
)

CASES: dict[str, Case | Absent] = {
    "plain_stop": Case(stream(*message("Hello.")), reply(said("Hello."))),
    "output_cap": Case(
        stream(*message("Half of", status="incomplete"), end=end("incomplete", reason="max_output_tokens")),
        reply(said("Half of"), stop="output_limit"),
    ),
    "tool_use": Case(
        stream(*call("call_a", '{"q":"x"}'), *call("call_b", '{"q":"y"}', at=1)),
        reply(
            ToolCall("call_a", "find", '{"q":"x"}', {"openai": {"id": "fc_0"}}),
            ToolCall("call_b", "find", '{"q":"y"}', {"openai": {"id": "fc_1"}}),
            stop="tool_use",
        ),
    ),
    "text_assembly": Case(stream(*message(*"Größe: 日本 🙂\nso")), reply(said("Größe: 日本 🙂\nso"))),
    "argument_merge": Case(
        stream(*call("call_a", "{", '"q"', ":", " 1,", ' "r', '": "é"', "}")),
        reply(ToolCall("call_a", "find", '{"q": 1, "r": "é"}', {"openai": {"id": "fc_0"}}), stop="tool_use"),
    ),
    "content_filter": Case(
        stream(*message("No"), end=end("incomplete", reason="content_filter")),
        reply(said("No"), stop="content_filter"),
    ),
    "cache_hit": Case(
        stream(*message("Hi"), end=end(counted=usage(read=64))), reply(said("Hi"), counted=Usage(36, 20, 64))
    ),
    "reasoning_usage": Case(
        stream(*message("Hi"), end=end(counted=usage(reasoning=15))),
        reply(said("Hi"), counted=Usage(100, 20, 0, 0, 15)),
    ),
    "reasoning_round_trip": Case(
        stream(*reasoning(), *message("So.", at=1)),
        reply(Reasoning("First, look.", {"openai": {"item": REASONING}}), said("So.", 1)),
        [
            REASONING,
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "status": "completed",
                "content": [{"type": "output_text", "text": "So.", "annotations": []}],
            },
        ],
    ),
    "split_usage": Absent("the Responses API tells its usage once, in the last event"),
}

ERROR: Event = {"type": "error", "code": "server_error", "message": "Overloaded", "param": None, "sequence_number": 9}
DIALECT = Dialect(
    "openai",
    "gpt-5-mini",
    MAKERS["openai"],
    CASES,
    lambda body: body["input"],
    unknown_end=stream(*message("Hm"), end=end("incomplete", reason="bored")),
    error_in_stream=b"".join(part for part in (sse(*message("Hal")[:2], named=True), sse(ERROR, named=True))),
    whole=WHOLE,
    needed=len(WHOLE) - 2,
    refusal=lambda code, message, status: {"error": {"code": code, "type": "some_error", "message": message}},
    twins=stream(*call("a", "{}"), *call("a", '{"q": 1}', at=1)),
)
