"""Google's Gemini API: a thought's signature goes back on the part it came with, and an answer needs a finishReason.

Ids of calls are optional there: where none came, ours stays at home and order tells which result belongs to which
call. The SDK's own retries, function calling and continuation are off: it must do nothing that is not journaled.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast

from lash.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from lash.core.model import (
    NO_USAGE,
    CallDelta,
    Chunk,
    ModelInfo,
    ModelReply,
    ModelRequest,
    ReasoningDelta,
    StopReason,
    TextDelta,
    Usage,
)
from lash.errors import ProviderError
from lash.limits import MODEL_CONNECT_MS
from lash.providers.address import checked_url
from lash.providers.asking import (
    IMAGES,
    NOTE,
    PDF,
    bytes_of,
    check,
    instructions_of,
    introduction,
    own,
    result_media,
    result_text,
    unsupported,
)
from lash.providers.catalog import info_of
from lash.providers.faults import fault_of, fault_of_transport, retry_delay_of
from lash.providers.reading import (
    Deadlines,
    Events,
    Ids,
    chunks_of,
    cut_off,
    items,
    json_object,
    obj,
    stop_with_calls,
    text,
    unknown_end,
    usage_of,
    whole,
)

if TYPE_CHECKING:
    import httpx2
    from google.genai import Client

VENDOR: Final = "google"
NAME: Final = "Google"
DEADLINES: Final = Deadlines()
CALL: Final = "lash-call"
"""Names a request between us and our HTTP client, and never leaves it: closing the SDK's stream does not close the
connection under it, so we must know which one that is."""
REFUSED: Final = frozenset({"image/gif"})


class Google:
    """``base_url`` defaults to ``GOOGLE_GEMINI_BASE_URL``, then to Google itself. Raises ``ModelUnavailable``."""

    name = VENDOR

    def __init__(self, *, api_key: str, base_url: str | None = None, deadlines: Deadlines = DEADLINES) -> None:
        self._api_key = api_key
        self._base_url = checked_url(VENDOR, base_url, "GOOGLE_GEMINI_BASE_URL")
        self._deadlines = deadlines
        self._client: Client | None = None
        self._line: httpx2.AsyncClient | None = None
        self._making = asyncio.Lock()
        self._numbers = map(str, count())
        self._open: dict[str, httpx2.Response] = {}

    def info(self, model: str) -> ModelInfo:
        """What is known of a model of this vendor."""
        return info_of(VENDOR, model)

    def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        call = next(self._numbers)

        async def ask() -> Events:
            check(request)
            contents, config = contents_of(request), config_of(request, {CALL: call})
            async with self._making:
                if self._client is None:
                    self._client = await asyncio.to_thread(self._make)
            create = cast(Any, self._client.aio.models).generate_content_stream
            return cast(Events, await create(model=request.model, contents=contents, config=config))

        async def hang_up(events: Events) -> None:
            await cast("AsyncGenerator[object]", events).aclose()
            if (response := self._open.pop(call, None)) is not None:
                await response.aclose()

        def known(error: Exception, partial: str, begun: bool) -> ProviderError | None:
            begun = begun and call in self._open  # the SDK asks with the first event only
            return fault(error, self._base_url or "https://generativelanguage.googleapis.com", partial, begun)

        return chunks_of(ask, hang_up, Answer(), known, self._deadlines)

    def _make(self) -> Client:
        import httpx2
        from google import genai
        from google.genai import types

        quiet_s = self._deadlines.quiet_s
        timeout = httpx2.Timeout(quiet_s, connect=min(quiet_s, MODEL_CONNECT_MS / 1_000))

        async def sent(request: httpx2.Request) -> None:
            # The SDK asks for no timeout at all, or for one that it tells the server to stop at too.
            call = request.headers.pop(CALL, None) or request.extensions.get(CALL, "")  # a redirect has it there
            request.extensions = {**request.extensions, "timeout": timeout.as_dict(), CALL: call}

        async def heard(response: httpx2.Response) -> None:
            self._open[response.request.extensions[CALL]] = response

        hooks: Any = {"request": [sent], "response": [heard]}
        line = httpx2.AsyncClient(follow_redirects=True, event_hooks=hooks)
        options = types.HttpOptions(
            base_url=self._base_url,
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=line,
        )
        self._line = line  # the SDK closes no client that it did not make
        return genai.Client(api_key=self._api_key, vertexai=False, http_options=options)

    async def close(self) -> None:
        client, self._client = self._client, None
        line, self._line = self._line, None
        if client is not None:
            await client.aio.aclose()
            client.close()
        if line is not None:
            await line.aclose()


def fault(error: Exception, url: str, partial: str, begun: bool) -> ProviderError | None:
    from google.genai import errors

    if not isinstance(error, errors.APIError):
        return fault_of_transport(NAME, url, error, partial, begun)
    seen = cast(Any, error)
    details = obj(seen.details)
    inner = obj(details.get("error")) or details
    headers = cast("Mapping[str, str]", getattr(seen.response, "headers", None) or {})
    return fault_of(
        NAME,
        error.code if type(error.code) is int else None,
        error.message or "",
        code=text(error.status),
        headers=headers,
        partial=partial,
        raw=details,
        retry_after_ms=retry_delay_of(inner.get("details")),
    )


# The request -------------------------------------------------------------------------------------------------------


def config_of(request: ModelRequest, headers: Mapping[str, str]) -> dict[str, object]:
    settings, info = request.settings, request.info
    config: dict[str, object] = {
        "automatic_function_calling": {"disable": True},
        "automatic_continuation": False,
        "http_options": {"headers": dict(headers), "extra_body": dict(settings.extra)},
    }
    if instructions := instructions_of(request, told=not info.structured):
        config["system_instruction"] = instructions
    if request.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parameters_json_schema": dict(tool.parameters)}
            for tool in request.tools
        ]
        config["tools"] = [{"function_declarations": declared}]
        mode = "AUTO" if request.tools_allowed else "NONE"
        config["tool_config"] = {"function_calling_config": {"mode": mode}}
        if settings.parallel_tool_calls is not None:
            raise unsupported(request, "its API has no parallel_tool_calls")
    if request.output is not None and info.structured:
        config["response_mime_type"] = "application/json"
        config["response_json_schema"] = dict(request.output.schema)
    if settings.effort is not None:
        config["thinking_config"] = thinking_of(settings.effort, info.effort_budgets)
    named = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
        "max_output_tokens": settings.output_tokens_max,
    }
    return config | {name: value for name, value in named.items() if value is not None}


def thinking_of(effort: str, budgets: Mapping[str, int] | None) -> dict[str, object]:
    if budgets is None:
        return {"thinking_level": effort.upper(), "include_thoughts": True}
    return {"thinking_budget": budgets[effort], "include_thoughts": budgets[effort] != 0}


def contents_of(request: ModelRequest) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    ids: dict[str, str] = {}  # our call ids → Google's, of the calls that had one
    for message in request.messages:
        if message.role == "tool":
            found += results_of(request, message, ids)
            continue
        for call in message.calls:
            ids[call.id] = text(own(call.meta, VENDOR).get("id"))
        parts = list(parts_of(request, message))
        if parts:
            found.append({"role": "model" if message.role == "assistant" else "user", "parts": parts})
    return found


def parts_of(request: ModelRequest, message: Message) -> Iterator[dict[str, object]]:
    if message.role == "system":
        yield {"text": NOTE + message.text}
        return
    for part in message.parts:
        match part:
            case Text(said, meta):
                if said or own(meta, VENDOR):
                    yield {"text": said, **signature_of(own(meta, VENDOR))}
            case Reasoning(said, meta):
                if signature := signature_of(own(meta, VENDOR)):
                    yield {"text": said, "thought": True, **signature}
            case Media():
                yield media_part(request, part)
            case ToolCall(_, name, arguments, meta):
                kept = own(meta, VENDOR)
                called = {"name": name, "args": json_object(arguments)} | ({"id": kept["id"]} if "id" in kept else {})
                yield {"function_call": called, **signature_of(kept)}
            case ToolResult():
                pass  # in messages of role tool only


def signature_of(kept: dict[str, object]) -> dict[str, object]:
    return {"thought_signature": kept["signature"]} if "signature" in kept else {}


def results_of(request: ModelRequest, message: Message, ids: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """All results in one content, in the order of the calls; what was attached to them in the next."""
    answers: list[dict[str, object]] = []
    attached: list[dict[str, object]] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            said = {"error" if part.failed else "output": result_text(part)}
            known = ids.get(part.call_id)
            answer = {"name": part.name, "response": said} | ({"id": known} if known else {})
            answers.append({"function_response": answer})
            for media in result_media(part):
                attached.append({"text": introduction(part, media)})
                attached.append(media_part(request, media))
    yield {"role": "user", "parts": answers}
    if attached:
        yield {"role": "user", "parts": attached}


def media_part(request: ModelRequest, media: Media) -> dict[str, object]:
    if media.media_type in REFUSED or media.media_type not in IMAGES | {PDF}:
        raise unsupported(request, f"its API takes no {media.media_type}")
    return {"inline_data": {"mime_type": media.media_type, "data": bytes_of(request, media)}}


# The answer --------------------------------------------------------------------------------------------------------

FILTERED: Final = (
    "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT MODEL_ARMOR"
)
STOPS: Final[Mapping[str, StopReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "output_limit",
    **{reason: "content_filter" for reason in FILTERED.split()},
}
TRY_AGAIN: Final = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"})
"""The model stumbled; another answer of it may well be sound."""


class Answer:
    """Reads the chunks of the first candidate."""

    def __init__(self) -> None:
        self.parts: list[Text | Reasoning | ToolCall] = []
        self.ids = Ids()
        self.finish = ""
        self.blocked = ""
        self.counted: dict[str, int] = {}
        self.model = ""
        self.reply_id = ""

    @property
    def partial(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def ended(self) -> bool:
        return False  # chunks may follow the finishReason: only the end of the body is the end

    def feed(self, event: object) -> Iterable[Chunk]:
        dump = cast(Any, event).model_dump
        said: dict[str, object] = dump(mode="json", exclude_none=True, warnings=False)
        self.model = text(said.get("model_version")) or self.model
        self.reply_id = text(said.get("response_id")) or self.reply_id
        self.blocked = text(obj(said.get("prompt_feedback")).get("block_reason")) or self.blocked
        counted = {name: whole(value) for name, value in obj(said.get("usage_metadata")).items()}
        self.counted |= {name: value for name, value in counted.items() if value}
        for candidate in map(obj, items(said.get("candidates"))):
            if whole(candidate.get("index")) == 0:
                for part in map(obj, items(obj(candidate.get("content")).get("parts"))):
                    yield from self.add(part)
                self.finish = text(candidate.get("finish_reason")) or self.finish

    def add(self, part: dict[str, object]) -> Iterator[Chunk]:
        kept: dict[str, object] = {}
        if signature := text(part.get("thought_signature")):
            kept["signature"] = signature
        if called := obj(part.get("function_call")):
            yield self.call(called, kept)
        elif "text" in part:
            kind = Reasoning if part.get("thought") is True else Text
            said = text(part.get("text"))
            last = self.parts[-1] if self.parts else None
            if isinstance(last, kind) and last.meta is None:
                self.parts[-1] = kind(last.text + said, {VENDOR: kept} if kept else None)
            elif said or kept:
                self.parts.append(kind(said, {VENDOR: kept} if kept else None))
            if said:
                number = sum(isinstance(each, kind) for each in self.parts) - 1
                yield TextDelta(said, number) if kind is Text else ReasoningDelta(said, number)

    def call(self, called: dict[str, object], kept: dict[str, object]) -> CallDelta:
        if given := text(called.get("id")):
            kept["id"] = given
        arguments = json.dumps(obj(called.get("args")), ensure_ascii=False)
        call = ToolCall(self.ids.unique(given), text(called.get("name")), arguments, {VENDOR: kept} if kept else None)
        self.parts.append(call)
        return CallDelta(call.id, call.name, call.arguments)

    def reply(self) -> ModelReply:
        stop: StopReason
        if not self.finish and self.blocked:
            stop = "content_filter"
        elif not self.finish:
            raise cut_off(NAME, self.partial, "a finishReason")
        elif self.finish not in STOPS:
            raise unknown_end(NAME, self.finish, self.partial, retryable=self.finish in TRY_AGAIN)
        else:
            calls = sum(isinstance(part, ToolCall) for part in self.parts)
            stop = stop_with_calls(NAME, STOPS[self.finish], calls, self.partial)
        parts = [part for part in self.parts if stop == "tool_use" or not isinstance(part, ToolCall)]
        return ModelReply(tuple(parts), stop, self.usage(), self.model, self.reply_id)

    def usage(self) -> Usage:
        if not self.counted:
            return NO_USAGE
        number = self.counted.get
        thoughts = number("thoughts_token_count", 0)
        return usage_of(
            whole_input=number("prompt_token_count", 0) + number("tool_use_prompt_token_count", 0),
            output=number("candidates_token_count", 0) + thoughts,
            read=number("cached_content_token_count", 0),
            reasoning=thoughts,
        )
