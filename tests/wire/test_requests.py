"""What is sent, byte for meaning: one rich history in each vendor's own words, as literals."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from lash.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult, user
from lash.core.model import ModelInfo, ModelRequest, ModelSettings, OutputSpec, ToolSpec
from lash.errors import AttachmentMissing
from tests.wire import say_anthropic, say_chat, say_google, say_openai
from tests.wire.dialects import PATIENT, Case, Dialect, error_of, reply_of
from tests.wire.server import Script
from tests.wire.test_scenarios import BY_NAME, DIALECTS, ask

PNG = Media("blob-1", "image/png", 3, "a picture")
FIND = ToolSpec("find", "Find things.", {"type": "object", "properties": {"q": {"type": "string"}}})
ADD = ToolSpec("add", "Add.", {"type": "object", "properties": {}})
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 3}},
    "required": ["name"],
}
NOTE = "[Note from the runtime, not from the user]\n"
DATA = "data:image/png;base64,AQID"

HISTORY = (
    Message("user", (Text("What is this?"), PNG)),
    Message(
        "assistant",
        (
            Reasoning("never sent: nobody signed it"),
            Text("I will look."),
            ToolCall("c1", "find", '{"q": "x"}'),
            ToolCall("c2", "find", '{"q": '),
        ),
    ),
    Message(
        "tool",
        (
            ToolResult("c1", "find", (Text("A cat."), PNG)),
            ToolResult("c2", "find", (Text("Your JSON is broken."),), failed=True),
        ),
    ),
    Message("system", (Text("Budget is low."),), origin="lash"),
    user("So?"),
)


def body_of(dialect: Dialect, request: ModelRequest) -> dict[str, Any]:
    """What the vendor was asked; it answered with a plain stop, so it found the history in order."""
    case = dialect.cases["plain_stop"]
    assert isinstance(case, Case)

    async def main() -> dict[str, Any]:
        async with dialect.talk(Script(case.body)) as (server, provider):
            assert await reply_of(provider, request) == case.reply
            return server.asked[0].body

    return asyncio.run(main())


def full(dialect: Dialect, **more: Any) -> ModelRequest:
    info = more.pop("info", None) or dialect.make("http://127.0.0.1:1", PATIENT).info(dialect.model)
    base: dict[str, Any] = {
        "tools": (FIND, ADD),
        "media": {"blob-1": b"\x01\x02\x03"},
        "session_id": "s-1",
        "info": info,
    }
    return ModelRequest(dialect.model, "Be brief.", HISTORY, **(base | more))


OPENAI = {
    "model": "gpt-5-mini",
    "instructions": "Be brief.",
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": DATA, "detail": "auto"},
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I will look."}]},
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"q": "x"}'},
        {"type": "function_call", "call_id": "c2", "name": "find", "arguments": '{"q": '},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [
                {"type": "input_text", "text": "A cat."},
                {"type": "input_image", "image_url": DATA, "detail": "auto"},
            ],
        },
        {"type": "function_call_output", "call_id": "c2", "output": "Your JSON is broken."},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Budget is low."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So?"}]},
    ],
    "tools": [
        {
            "type": "function",
            "name": "find",
            "description": "Find things.",
            "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
            "strict": False,
        },
        {
            "type": "function",
            "name": "add",
            "description": "Add.",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
    ],
    "stream": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "s-1",
}
CHAT = {
    "model": "some/model",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": DATA}},
            ],
        },
        {
            "role": "assistant",
            "content": "I will look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}},
                {"id": "c2", "type": "function", "function": {"name": "find", "arguments": '{"q": '}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "A cat."},
        {"role": "tool", "tool_call_id": "c2", "content": "Your JSON is broken."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"{NOTE}Attachment a picture of the result of find (c1):"},
                {"type": "image_url", "image_url": {"url": DATA}},
            ],
        },
        {"role": "user", "content": f"{NOTE}Budget is low."},
        {"role": "user", "content": "So?"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "find",
                "description": "Find things.",
                "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
            },
        },
        {
            "type": "function",
            "function": {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {}}},
        },
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AQID"}}
MARK = {"cache_control": {"type": "ephemeral"}}
ANTHROPIC = {
    "model": "claude-haiku-4-5",
    "max_tokens": 32_768,
    "system": [{"type": "text", "text": "Be brief.", **MARK}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I will look."},
                {"type": "tool_use", "id": "c1", "name": "find", "input": {"q": "x"}},
                {"type": "tool_use", "id": "c2", "name": "find", "input": {"INVALID_JSON": '{"q": '}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "A cat."}, IMAGE]},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "Your JSON is broken."}],
                    "is_error": True,
                },
                {"type": "text", "text": f"{NOTE}Budget is low."},
                {"type": "text", "text": "So?", **MARK},
            ],
        },
    ],
    "tools": [
        {
            "name": "find",
            "description": "Find things.",
            "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
        },
        {"name": "add", "description": "Add.", "input_schema": {"type": "object", "properties": {}}, **MARK},
    ],
    "stream": True,
}
INLINE = {"inlineData": {"mime_type": "image/png", "data": "AQID"}}
# Some names below are spelled as in Python: so the SDK sends them, and Google reads either spelling.
GOOGLE = {
    "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "What is this?"}, INLINE]},
        {
            "role": "model",
            "parts": [
                {"text": "I will look."},
                {"functionCall": {"name": "find", "args": {"q": "x"}}},
                {"functionCall": {"name": "find", "args": {"INVALID_JSON": '{"q": '}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "find", "response": {"output": "A cat."}}},
                {"functionResponse": {"name": "find", "response": {"error": "Your JSON is broken."}}},
            ],
        },
        {"role": "user", "parts": [{"text": f"{NOTE}Attachment a picture of the result of find (c1):"}, INLINE]},
        {"role": "user", "parts": [{"text": f"{NOTE}Budget is low."}]},
        {"role": "user", "parts": [{"text": "So?"}]},
    ],
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": "find",
                    "description": "Find things.",
                    "parameters_json_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
                },
                {
                    "name": "add",
                    "description": "Add.",
                    "parameters_json_schema": {"type": "object", "properties": {}},
                },
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "generationConfig": {},
}
BODIES = [
    pytest.param(module.DIALECT, body, id=module.DIALECT.name)
    for module, body in ((say_openai, OPENAI), (say_chat, CHAT), (say_anthropic, ANTHROPIC), (say_google, GOOGLE))
]


@pytest.mark.parametrize(("dialect", "body"), BODIES)
def test_a_rich_history_is_sent_as_the_vendor_wants_it(dialect: Dialect, body: dict[str, Any]) -> None:
    assert body_of(dialect, full(dialect)) == body


STRICT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "openai": {"text": {"format": {"type": "json_schema", "name": "Person", "schema": STRICT, "strict": True}}},
    "openai-chat": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "Person", "schema": STRICT, "strict": True},
        }
    },
    "anthropic": {
        "output_config": {
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "age": {"type": "integer", "description": "{default: 3}"},
                    },
                    "required": ["name"],
                    "additionalProperties": False,
                },
            }
        }
    },
    "google": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
}


@BY_NAME
def test_the_schema_of_an_answer_is_sent_and_never_touched(dialect: Dialect) -> None:
    before = copy.deepcopy(SCHEMA)
    body = body_of(dialect, full(dialect, output=OutputSpec("Person", SCHEMA)))
    assert before == SCHEMA
    assert {name: body[name] for name in OUTPUTS[dialect.name]} == OUTPUTS[dialect.name]


@BY_NAME
def test_a_model_that_keeps_to_no_schema_is_told_of_it_in_words(dialect: Dialect) -> None:
    output = OutputSpec("Person", {"type": "object", "properties": {}})
    body = body_of(dialect, full(dialect, output=output, info=ModelInfo(structured=False)))
    sent = str(body)
    assert "one JSON document of this JSON schema, and nothing else" in sent
    assert not any(word in sent for word in ("'json_schema'", "responseJsonSchema"))


@pytest.mark.parametrize("dialect", DIALECTS[:2], ids=lambda dialect: dialect.name)
def test_an_open_map_is_sent_as_it_stands_and_not_strict(dialect: Dialect) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    body = body_of(dialect, full(dialect, output=OutputSpec("Ages", schema)))
    format_ = body["text"]["format"] if dialect.name == "openai" else body["response_format"]["json_schema"]
    assert (format_["schema"], format_["strict"]) == (schema, False)


def test_anthropic_is_told_an_open_map_in_words() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    body = body_of(say_anthropic.DIALECT, full(say_anthropic.DIALECT, output=OutputSpec("Ages", schema)))
    assert "output_config" not in body
    assert '"additionalProperties": {"type": "integer"}' in body["system"][0]["text"]


NONE = {
    "openai": ("tool_choice", "none"),
    "openai-chat": ("tool_choice", "none"),
    "anthropic": ("tool_choice", {"type": "none"}),
    "google": ("toolConfig", {"functionCallingConfig": {"mode": "NONE"}}),
}


@BY_NAME
def test_tools_may_be_shown_and_forbidden(dialect: Dialect) -> None:
    body = body_of(dialect, full(dialect, tools_allowed=False))
    name, value = NONE[dialect.name]
    assert body[name] == value
    assert "find" in str(body["tools"])


THINKS = ModelInfo(efforts=("low", "high"), temperature=True, output_tokens_max=64_000)
SETTINGS: dict[str, dict[str, Any]] = {
    "openai": {"reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 900, "top_p": 0.5, "x": 1},
    "openai-chat": {"reasoning_effort": "low", "max_tokens": 900, "top_p": 0.5, "x": 1},
    "anthropic": {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "low"},
        "max_tokens": 900,
        "top_p": 0.5,
        "x": 1,
    },
    "google": {
        "generationConfig": {
            "thinkingConfig": {"thinking_level": "LOW", "include_thoughts": True},
            "maxOutputTokens": 900,
            "topP": 0.5,
        },
        "x": 1,
    },
}


@BY_NAME
def test_settings_reach_the_vendor(dialect: Dialect) -> None:
    settings = ModelSettings(top_p=0.5, output_tokens_max=900, effort="low", extra={"x": 1})
    body = body_of(dialect, full(dialect, info=THINKS, settings=settings))
    assert {name: body[name] for name in SETTINGS[dialect.name]} == SETTINGS[dialect.name]


def test_thinking_by_number_is_for_models_that_are_told_one() -> None:
    info = ModelInfo(efforts=("none", "low"), effort_budgets={"none": 0, "low": 1_024}, output_tokens_max=64_000)
    settings = ModelSettings(effort="low")
    body = body_of(say_anthropic.DIALECT, full(say_anthropic.DIALECT, info=info, settings=settings))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 1_024}
    assert body["max_tokens"] == 32_768
    body = body_of(say_google.DIALECT, full(say_google.DIALECT, info=info, settings=settings))
    assert body["generationConfig"]["thinkingConfig"] == {"thinking_budget": 1_024, "include_thoughts": True}
    off = ModelSettings(effort="none")
    body = body_of(say_anthropic.DIALECT, full(say_anthropic.DIALECT, info=info, settings=off))
    assert body["thinking"] == {"type": "disabled"}
    body = body_of(say_google.DIALECT, full(say_google.DIALECT, info=info, settings=off))
    assert body["generationConfig"]["thinkingConfig"] == {"thinking_budget": 0, "include_thoughts": False}


def test_without_cache_nothing_is_marked() -> None:
    settings = ModelSettings(cache=False)
    assert "cache_control" not in str(body_of(say_anthropic.DIALECT, full(say_anthropic.DIALECT, settings=settings)))
    assert "prompt_cache_key" not in body_of(say_openai.DIALECT, full(say_openai.DIALECT, settings=settings))


REFUSED = {
    "openai": ModelSettings(seed=1),
    "openai-chat": ModelSettings(effort="low"),
    "anthropic": ModelSettings(seed=1),
    "google": ModelSettings(parallel_tool_calls=True),
}


@BY_NAME
@pytest.mark.parametrize("what", ["setting", "size", "picture"])
def test_what_cannot_be_asked_is_refused_before_anybody_is_asked(dialect: Dialect, what: str) -> None:
    tiff = Message("user", (Media("blob-1", "image/tiff", 3),))
    requests = {
        "setting": full(dialect, settings=REFUSED[dialect.name], info=ModelInfo()),
        "size": full(dialect, settings=ModelSettings(output_tokens_max=10_000_000)),
        "picture": ModelRequest(dialect.model, "", (tiff,), media={"blob-1": b"1"}),
    }

    async def main() -> None:
        async with dialect.talk() as (server, provider):
            error, chunks = await error_of(provider, requests[what])
            assert (error.kind, error.retryable, chunks, server.asked) == ("unsupported", False, [], [])

    asyncio.run(main())


@BY_NAME
def test_an_attachment_without_bytes_is_named(dialect: Dialect) -> None:
    async def main() -> None:
        async with dialect.talk() as (server, provider):
            with pytest.raises(AttachmentMissing, match=r"blob-1|a picture"):
                await reply_of(provider, full(dialect, media={}))
            assert server.asked == []

    asyncio.run(main())


@BY_NAME
def test_two_calls_under_one_id_are_told_apart_and_pair_up(dialect: Dialect) -> None:
    plain = dialect.cases["plain_stop"]
    assert isinstance(plain, Case)

    async def main() -> None:
        async with dialect.talk(Script(dialect.twins), Script(plain.body)) as (_, provider):
            reply = await reply_of(provider, ask(dialect))
            assert [call.id for call in reply.calls] == ["a", "a-2"]
            results = Message("tool", tuple(ToolResult(call.id, call.name, ()) for call in reply.calls))
            said = Message("assistant", reply.parts)
            assert await reply_of(provider, ask(dialect, user("Hi"), said, results)) == plain.reply

    asyncio.run(main())


@pytest.mark.parametrize("dialect", DIALECTS[:3], ids=lambda dialect: dialect.name)
def test_arguments_that_are_no_json_stay_as_the_model_wrote_them(dialect: Dialect) -> None:
    body = dialect.whole.replace('"ä\\"}"'.encode(), '"ä"'.encode())  # in every event that has them
    assert body != dialect.whole

    async def main() -> None:
        async with dialect.talk(Script(body)) as (_, provider):
            reply = await reply_of(provider, ask(dialect))
        assert [call.arguments for call in reply.calls] == ['{"q": "ä', "{}"]

    asyncio.run(main())


@BY_NAME
def test_the_servers_do_refuse_a_history_that_does_not_pair_up(dialect: Dialect) -> None:
    """The judge of the tests above is awake: a call without its result gets the answer a vendor gives."""
    said = Message("assistant", (ToolCall("c1", "find", "{}"),))

    async def main() -> None:
        async with dialect.talk() as (_, provider):
            error, _ = await error_of(provider, ask(dialect, user("Hi"), said, user("And?")))
        assert (error.kind, error.status) == ("validation", 400)

    asyncio.run(main())
