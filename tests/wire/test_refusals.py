"""A vendor that says no: what kind of no, whether to ask again, and when. Asked once: the SDKs retry nothing."""

from __future__ import annotations

import asyncio
import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from tests.wire import say_chat
from tests.wire.dialects import Dialect, error_of
from tests.wire.server import Script, sse
from tests.wire.test_scenarios import BY_NAME, ask

LONG = "This model's maximum context length is 128000 tokens, but your prompt has 140000."

# status, code, message, headers, kind, retryable, retry_after_ms
NOES = [
    (429, "rate_limited", "Slow down", {}, "rate_limit", True, None),
    (429, "rate_limited", "Slow down", {"Retry-After": "2"}, "rate_limit", True, 2_000),
    (429, "rate_limited", "Slow down", {"retry-after-ms": "1500", "retry-after": "2"}, "rate_limit", True, 1_500),
    (429, "rate_limited", "Slow down", {"retry-after": "soon"}, "rate_limit", True, None),
    (429, "x", f"Rate limit reached. {LONG}", {}, "rate_limit", True, None),
    (429, "insufficient_quota", "You exceeded your current quota", {}, "quota", False, None),
    (402, "billing_error", "Pay first", {}, "quota", False, None),
    (500, "api_error", "Oops", {}, "http", True, None),
    (502, "x", "Bad gateway", {}, "http", True, None),
    (503, "x", "Busy", {"retry-after": "0.5"}, "overloaded", True, 500),
    (504, "x", "Too slow", {}, "timeout", True, None),
    (529, "overloaded_error", "Overloaded", {}, "overloaded", True, None),
    (408, "x", "Timeout", {}, "timeout", True, None),
    (409, "x", "Conflict", {}, "http", True, None),
    (425, "x", "Too early", {}, "http", True, None),
    (401, "x", "Bad key", {}, "auth", False, None),
    (403, "x", "Not yours", {}, "auth", False, None),
    (404, "x", "No such model", {}, "http", False, None),
    (400, "x", "Bad schema", {}, "validation", False, None),
    (413, "x", "Request too large", {}, "validation", False, None),
    (422, "x", "Not processable", {}, "validation", False, None),
    (400, "x", LONG, {}, "context_overflow", False, None),
    (400, "context_length_exceeded", "Too long", {}, "context_overflow", False, None),
    (400, "x", "prompt is too long: 210000 tokens > 200000 maximum", {}, "context_overflow", False, None),
    (400, "x", f"Rate limit: tokens per minute. {LONG}", {}, "validation", False, None),
    (400, "content_filter", "Filtered", {}, "content_filter", False, None),
]


@BY_NAME
@pytest.mark.parametrize("no", NOES, ids=lambda no: f"{no[0]}-{no[4]}-{no[6]}-{no[2][:12]}")
def test_a_refusal_has_a_kind_and_a_time(dialect: Dialect, no: tuple[object, ...]) -> None:
    status, code, message, headers, *expected = no
    assert isinstance(status, int)
    assert isinstance(headers, dict)
    body = json.dumps(dialect.refusal(str(code), str(message), status)).encode()

    async def main() -> None:
        script = Script(body, status, headers, "application/json")
        async with dialect.talk(script) as (server, provider):
            error, chunks = await error_of(provider, ask(dialect))
        assert [error.kind, error.retryable, error.retry_after_ms] == expected
        assert (error.status, chunks, len(server.asked)) == (status, [], 1)
        assert str(message) in str(error)

    asyncio.run(main())


@BY_NAME
def test_the_vendor_may_name_the_time_as_a_date(dialect: Dialect) -> None:
    async def main() -> None:
        later = formatdate(time.time() + 30, usegmt=True)
        body = json.dumps(dialect.refusal("x", "Slow down", 429)).encode()
        async with dialect.talk(Script(body, 429, {"retry-after": later})) as (_, provider):
            error, _ = await error_of(provider, ask(dialect))
        assert error.retry_after_ms is not None
        assert 20_000 < error.retry_after_ms <= 31_000

    asyncio.run(main())


@BY_NAME
def test_a_proxy_that_answers_in_html_is_understood_by_its_status(dialect: Dialect) -> None:
    async def main() -> None:
        script = Script(b"<html>Bad gateway</html>", 502, {}, "text/html")
        async with dialect.talk(script) as (_, provider):
            error, _ = await error_of(provider, ask(dialect))
        assert (error.kind, error.retryable, error.status) == ("http", True, 502)

    asyncio.run(main())


def test_google_names_the_time_in_the_body() -> None:
    from tests.wire.say_google import DIALECT

    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"}]
    error_body = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded", "details": details}

    async def main() -> None:
        script = Script(json.dumps({"error": error_body}).encode(), 429, {}, "application/json")
        async with DIALECT.talk(script) as (_, provider):
            error, _ = await error_of(provider, ask(DIALECT))
        assert (error.kind, error.retryable, error.retry_after_ms) == ("rate_limit", True, 13_500)

    asyncio.run(main())


# An error inside a stream of a compatible server: its code may be the number an HTTP answer would have had.
NUMBERS = [
    ({"code": 429, "message": "Rate limited upstream"}, "rate_limit", True, 429),
    ({"code": 502, "message": "Provider disconnected"}, "http", True, 502),
    ({"code": 503, "message": "No provider"}, "overloaded", True, 503),
    ({"code": 408, "message": "Slow"}, "timeout", True, 408),
    ({"code": 401, "message": "Bad key"}, "auth", False, 401),
    ({"code": 402, "message": "Pay first"}, "quota", False, 402),
    ({"code": 400, "message": "Bad schema", "type": "BadRequestError"}, "validation", False, 400),
    ({"code": 400, "message": LONG}, "context_overflow", False, 400),
    ({"code": "429", "message": "Slow down", "type": "None"}, "rate_limit", True, 429),
    ({"code": 1302, "message": "Slow down", "type": "rate_limit_error"}, "rate_limit", True, 429),
    ({"code": 1302, "message": "Something"}, "unknown", False, None),
    ({"code": True, "message": "Something"}, "unknown", False, None),
    (
        {"code": "context_length_exceeded", "type": "invalid_request_error", "message": "?"},
        "context_overflow",
        False,
        None,
    ),
]


@pytest.mark.parametrize("where", ["chunk", "choice"])
@pytest.mark.parametrize("no", NUMBERS, ids=lambda no: f"{no[0]['code']}-{no[1]}")
def test_a_number_in_an_error_of_a_stream_is_read_as_a_status(no: tuple[Any, ...], where: str) -> None:
    error, kind, retryable, status = no
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    last = {"choices": [choice], "error": error} if where == "chunk" else {"choices": [{**choice, "error": error}]}

    async def main() -> None:
        async with say_chat.DIALECT.talk(Script(sse(say_chat.chunk({"content": "Hal"}), last))) as (_, provider):
            found, _ = await error_of(provider, ask(say_chat.DIALECT))
        assert (found.kind, found.retryable, found.status, found.partial) == (kind, retryable, status, "Hal")
        assert error["message"] in str(found)

    asyncio.run(main())


def test_an_error_of_a_stream_that_is_only_words_is_told() -> None:
    async def main() -> None:
        async with say_chat.DIALECT.talk(Script(sse({"error": "model runner has stopped"}))) as (_, provider):
            found, _ = await error_of(provider, ask(say_chat.DIALECT))
        assert "model runner has stopped" in str(found)

    asyncio.run(main())


def test_an_answer_that_ends_in_an_error_nobody_explains_is_asked_for_again() -> None:
    async def main() -> None:
        body = sse(say_chat.chunk({"content": "Hal"}), say_chat.chunk({}, finish="error")) + say_chat.DONE
        async with say_chat.DIALECT.talk(Script(body)) as (_, provider):
            found, _ = await error_of(provider, ask(say_chat.DIALECT))
        assert (found.kind, found.retryable, found.partial) == ("unknown", True, "Hal")

    asyncio.run(main())
