"""Chat Completions, as OpenAI, OpenRouter, vLLM, Ollama and many others speak it: only what all of them take is sent.

An answer counts once a ``finish_reason`` came and the body ended, with ``[DONE]`` or without. What only OpenAI itself
understands (``prompt_cache_key``, ``max_completion_tokens``) goes to OpenAI itself only. Notes in the middle of a
history become words of the user: many chat templates refuse a system message there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any, Final, cast

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
from lash.providers.asking import (
    IMAGES,
    NOTE,
    PDF,
    check,
    data_url,
    instructions_of,
    introduction,
    own,
    result_media,
    result_text,
    unsupported,
)
from lash.providers.catalog import info_of
from lash.providers.faults import code_of, fault_of
from lash.providers.openai import DEADLINES, format_of
from lash.providers.openai_client import OPENAI_HOST, Client
from lash.providers.reading import (
    Deadlines,
    Events,
    Ids,
    chunks_of,
    cut_off,
    items,
    obj,
    plain_event,
    stop_with_calls,
    text,
    unknown_end,
    usage_of,
    whole,
)

VENDOR: Final = "openai-chat"
NAME: Final = "The chat endpoint"


class OpenAIChat:
    """``base_url`` defaults to ``OPENAI_BASE_URL``, then to OpenAI itself. Raises ``ModelUnavailable``."""

    name = VENDOR

    def __init__(self, *, api_key: str, base_url: str | None = None, deadlines: Deadlines = DEADLINES) -> None:
        self._client = Client(VENDOR, NAME, api_key, base_url, deadlines)
        url = self._client.base_url
        self._native = url is None or OPENAI_HOST in url

    def info(self, model: str) -> ModelInfo:
        """What is known of a model of this vendor."""
        return info_of(VENDOR, model)

    def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        async def ask() -> Events:
            check(request)
            body = body_of(request, native=self._native)
            client = await self._client.get()
            create = cast(Any, client.chat.completions.create)
            return cast(Events, await create(**body, extra_body=dict(request.settings.extra)))

        return chunks_of(ask, self._client.hang_up, Answer(), self._client.fault, self._client.deadlines)

    async def close(self) -> None:
        await self._client.close()


# The request -------------------------------------------------------------------------------------------------------


def body_of(request: ModelRequest, *, native: bool) -> dict[str, object]:
    """``native``: the endpoint is OpenAI's own."""
    settings, info = request.settings, request.info
    messages: list[dict[str, object]] = []
    if instructions := instructions_of(request, told=not info.structured):
        messages.append({"role": "system", "content": instructions})
    for message in request.messages:
        messages += messages_of(request, message)
    body: dict[str, object] = {
        "model": request.model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in request.tools
        ]
        if not request.tools_allowed:
            body["tool_choice"] = "none"
        if settings.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = settings.parallel_tool_calls
    if request.output is not None and info.structured:
        body["response_format"] = {"type": "json_schema", "json_schema": format_of(request)}
    named = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
        "max_completion_tokens" if native else "max_tokens": settings.output_tokens_max,
        "reasoning_effort": settings.effort,
        "prompt_cache_key": (native and settings.cache and request.session_id) or None,
    }
    return body | {name: value for name, value in named.items() if value is not None}


def messages_of(request: ModelRequest, message: Message) -> Iterator[dict[str, object]]:
    if message.role == "tool":
        yield from results_of(request, message)
    elif message.role == "assistant":
        yield said_of(message)
    elif message.role == "system":
        yield {"role": "user", "content": NOTE + message.text}
    elif any(isinstance(part, Media) for part in message.parts):
        content = [content_of(request, part) for part in message.parts if isinstance(part, (Text, Media))]
        yield {"role": "user", "content": content}
    else:
        yield {"role": "user", "content": message.text}


def results_of(request: ModelRequest, message: Message) -> Iterator[dict[str, object]]:
    """A message for each result; then, since the role ``tool`` has words only, what was attached to them."""
    attached: list[dict[str, object]] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.call_id, "content": result_text(part)}
            for media in result_media(part):
                attached += [content_of(request, Text(introduction(part, media))), content_of(request, media)]
    if attached:
        yield {"role": "user", "content": attached}


def content_of(request: ModelRequest, part: Text | Media) -> dict[str, object]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.media_type in IMAGES:
        return {"type": "image_url", "image_url": {"url": data_url(request, part)}}
    if part.media_type == PDF:
        file = {"filename": part.label or "file.pdf", "file_data": data_url(request, part)}
        return {"type": "file", "file": file}
    raise unsupported(request, f"its API takes no {part.media_type}")


def said_of(message: Message) -> dict[str, object]:
    found: dict[str, object] = {"role": "assistant", "content": message.text or None}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.calls
    ]
    if calls:
        found["tool_calls"] = calls
    elif not message.text:
        found["content"] = ""  # null is for messages that call something
    details = [
        detail
        for part in message.parts
        if isinstance(part, Reasoning)
        for detail in items(own(part.meta, VENDOR).get("reasoning_details"))
    ]
    if details:
        found["reasoning_details"] = details
    return found


# The answer --------------------------------------------------------------------------------------------------------

STOPS: Final[dict[str, StopReason]] = {
    "stop": "stop",
    "tool_calls": "tool_use",
    "length": "output_limit",
    "content_filter": "content_filter",
}
REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "reasoning_text")
"""Three spellings of one thing; the first that holds a text is read."""


class Answer:
    """Reads the chunks of the first choice."""

    def __init__(self) -> None:
        self.partial = ""
        self.thought = ""
        self.details: list[dict[str, object]] = []
        self.refused = False
        self.calls: dict[int, CallDelta] = {}
        self.ids = Ids()
        self.finish: str | None = None
        self.usage = NO_USAGE
        self.model = ""
        self.reply_id = ""

    @property
    def ended(self) -> bool:
        return False  # the usage comes after the last choice: only the end of the body is the end

    def feed(self, event: object) -> Iterable[Chunk]:
        said = plain_event(event)
        self.model = text(said.get("model")) or self.model
        self.reply_id = text(said.get("id")) or self.reply_id
        if counted := obj(said.get("usage")):
            self.usage = usage(counted)
        for choice in map(obj, items(said.get("choices"))):
            if error := obj(choice.get("error")):  # of one choice, as OpenRouter has it
                raise fault_of(
                    NAME, None, text(error.get("message")), code=code_of(error), partial=self.partial, raw=error
                )
            if whole(choice.get("index")) == 0:
                yield from self.delta(obj(choice.get("delta")))
                self.finish = text(choice.get("finish_reason")) or self.finish

    def delta(self, delta: dict[str, object]) -> Iterator[Chunk]:
        thought = next((found for name in REASONING_FIELDS if (found := text(delta.get(name)))), "")
        if thought:
            self.thought += thought
            yield ReasoningDelta(thought)
        for detail in map(obj, items(delta.get("reasoning_details"))):
            self.add_detail(detail)
        refusal = text(delta.get("refusal"))
        self.refused = self.refused or bool(refusal)
        if said := text(delta.get("content")) + refusal:
            self.partial += said
            yield TextDelta(said)
        for call in map(obj, items(delta.get("tool_calls"))):
            yield self.call(call)

    def call(self, said: dict[str, object]) -> CallDelta:
        function, place = obj(said.get("function")), whole(said.get("index"))
        name, more = text(function.get("name")), text(function.get("arguments"))
        old = self.calls.get(place) or CallDelta(self.ids.unique(text(said.get("id"))), name)
        self.calls[place] = CallDelta(old.call_id, old.name or name, old.arguments + more)
        return self.calls[place]._replace(arguments=more)

    def add_detail(self, detail: dict[str, object]) -> None:
        """Pieces of one detail are told apart by ``index`` and ``type``; their texts are put together, as they are
        wanted back."""
        last = self.details[-1] if self.details else {}
        if last and all(last.get(name) == detail.get(name) for name in ("index", "type")):
            for name, value in detail.items():
                old = last.get(name)
                joined = name in ("text", "summary", "data") and isinstance(old, str) and isinstance(value, str)
                last[name] = f"{old}{value}" if joined else (old if value is None else value)
        else:
            self.details.append(dict(detail))

    def reply(self) -> ModelReply:
        if self.finish is None:
            raise cut_off(NAME, self.partial, "a finish_reason")
        if self.finish not in STOPS:
            raise unknown_end(NAME, self.finish, self.partial, retryable=self.finish == "error")
        stop = stop_with_calls(NAME, STOPS[self.finish], len(self.calls), self.partial)
        parts: list[Text | Reasoning | ToolCall] = []
        if self.thought or self.details:
            parts.append(
                Reasoning(self.thought, {VENDOR: {"reasoning_details": self.details}} if self.details else None)
            )
        if self.partial:
            parts.append(Text(self.partial))
        if stop == "tool_use":
            parts += [ToolCall(call.call_id, call.name, call.arguments) for _, call in sorted(self.calls.items())]
        elif self.refused:
            stop = "content_filter"
        return ModelReply(tuple(parts), stop, self.usage, self.model, self.reply_id)


def usage(said: dict[str, object]) -> Usage:
    details = obj(said.get("prompt_tokens_details"))
    return usage_of(
        whole_input=whole(said.get("prompt_tokens")),
        output=whole(said.get("completion_tokens")),
        read=whole(details.get("cached_tokens")) or whole(said.get("prompt_cache_hit_tokens")),
        write=whole(details.get("cache_write_tokens")),
        reasoning=whole(obj(said.get("completion_tokens_details")).get("reasoning_tokens")),
    )
