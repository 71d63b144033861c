"""Anthropic's Messages API: thinking goes back word for word with its signature; the prompt is marked for the cache.

Roles alternate there, so neighbours of one role are one message, and a note in the middle of a history is words of the
user. An answer counts only once ``message_stop`` came. Output is held to a schema by the API itself
(``output_config.format``) where the model can and the schema allows it, else by an instruction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
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
from lash.limits import BUDGET_OUTPUT_TOKENS, MODEL_CONNECT_MS
from lash.providers.address import checked_url
from lash.providers.asking import (
    NOTE,
    PDF,
    base64_of,
    check,
    instructions_of,
    own,
    strict_schema,
    unsupported,
)
from lash.providers.catalog import info_of
from lash.providers.faults import fault_of, fault_of_transport
from lash.providers.reading import (
    Deadlines,
    Events,
    Ids,
    chunks_of,
    cut_off,
    json_object,
    obj,
    plain_event,
    stop_with_calls,
    text,
    unknown_end,
    whole,
)

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

VENDOR: Final = "anthropic"
NAME: Final = "Anthropic"
DEADLINES: Final = Deadlines()
IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
MARK: Final = {"type": "ephemeral"}


class Anthropic:
    """``api_key`` or ``auth_token``; ``base_url`` defaults to ``ANTHROPIC_BASE_URL``, then to Anthropic itself. Raises
    ``ModelUnavailable``."""

    name = VENDOR

    def __init__(
        self,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        base_url: str | None = None,
        deadlines: Deadlines = DEADLINES,
    ) -> None:
        self._api_key = api_key
        self._auth_token = None if api_key else auth_token
        self._base_url = checked_url(VENDOR, base_url, "ANTHROPIC_BASE_URL")
        self._deadlines = deadlines
        self._client: AsyncAnthropic | None = None
        self._making = asyncio.Lock()

    def info(self, model: str) -> ModelInfo:
        """What is known of a model of this vendor."""
        return info_of(VENDOR, model)

    def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        async def ask() -> Events:
            check(request, without=("seed",))
            body = body_of(request)
            async with self._making:
                if self._client is None:
                    self._client = await asyncio.to_thread(self._make)
            create = cast(Any, self._client.messages.create)
            return cast(Events, await create(**body, extra_body={**sampling_of(request), **request.settings.extra}))

        return chunks_of(ask, hang_up, Answer(), self._fault, self._deadlines)

    def _make(self) -> AsyncAnthropic:
        import anthropic
        import httpx2

        quiet_s = self._deadlines.quiet_s
        timeout = httpx2.Timeout(quiet_s, connect=min(quiet_s, MODEL_CONNECT_MS / 1_000))
        return anthropic.AsyncAnthropic(
            api_key=self._api_key,
            auth_token=self._auth_token,
            base_url=self._base_url,
            max_retries=0,
            timeout=timeout,
        )

    def _fault(self, error: Exception, partial: str, begun: bool) -> ProviderError | None:
        import anthropic

        if not isinstance(error, anthropic.APIStatusError):
            return fault_of_transport(NAME, self._base_url or "https://api.anthropic.com", error, partial, begun)
        inner = obj(obj(error.body).get("error"))
        return fault_of(
            NAME,
            error.status_code,
            text(inner.get("message")) or error.message,
            code=text(inner.get("type")),
            headers=error.response.headers,
            partial=partial,
            raw=error.body,
        )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def hang_up(events: Events) -> None:
    await cast(Any, events).close()


# The request -------------------------------------------------------------------------------------------------------


def body_of(request: ModelRequest) -> dict[str, object]:
    settings = request.settings
    format_ = format_of(request)
    thinking, word = thinking_of(request)
    body: dict[str, object] = {
        "model": request.model,
        "max_tokens": output_tokens_of(request, whole(thinking.get("budget_tokens"))),
        "messages": messages_of(request),
        "stream": True,
    }
    if instructions := instructions_of(request, told=format_ is None):
        body["system"] = [marked({"type": "text", "text": instructions}, settings.cache)]
    if request.tools:
        tools: list[dict[str, object]] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
            for tool in request.tools
        ]
        tools[-1] = marked(tools[-1], settings.cache)
        body["tools"] = tools
        if not request.tools_allowed:
            body["tool_choice"] = {"type": "none"}
        elif settings.parallel_tool_calls is not None:
            alone = not settings.parallel_tool_calls
            body["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": alone}
    if thinking:
        body["thinking"] = thinking
    if config := ({"effort": word} if word else {}) | ({"format": format_} if format_ else {}):
        body["output_config"] = config
    return body


def sampling_of(request: ModelRequest) -> dict[str, object]:
    """The SDK has no parameters for these any more; models whose row says so still take them."""
    named = {"temperature": request.settings.temperature, "top_p": request.settings.top_p}
    return {name: value for name, value in named.items() if value is not None}


def marked(block: dict[str, object], cache: bool) -> dict[str, object]:
    return {**block, "cache_control": MARK} if cache else block


def thinking_of(request: ModelRequest) -> tuple[dict[str, object], str | None]:
    """The ``thinking`` parameter, and the effort in a word for models that are told one."""
    effort, budgets = request.settings.effort, request.info.effort_budgets
    if effort is None:
        return {}, None
    if effort == "none":
        return {"type": "disabled"}, None
    if request.settings.temperature is not None:
        raise unsupported(request, "it takes no temperature while it thinks")
    if budgets is None:
        return {"type": "adaptive", "display": "summarized"}, effort
    return {"type": "enabled", "budget_tokens": budgets[effort]}, None


def output_tokens_of(request: ModelRequest, budget: int) -> int:
    """The API wants a number, and one above the budget for thinking."""
    wanted = request.settings.output_tokens_max or min(request.info.output_tokens_max, BUDGET_OUTPUT_TOKENS)
    if wanted <= budget:
        raise unsupported(request, f"output_tokens_max is {wanted}, and {budget} of it would be for thinking")
    return wanted


def format_of(request: ModelRequest) -> dict[str, object] | None:
    """None where the model cannot be held to the schema, or the schema (an open map) not be put in its terms."""
    if request.output is None or not request.info.structured or strict_schema(request.output.schema) is None:
        return None
    from anthropic import transform_schema

    try:
        return {"type": "json_schema", "schema": transform_schema(dict(request.output.schema))}
    except ValueError:
        return None


def messages_of(request: ModelRequest) -> list[dict[str, object]]:
    found: list[tuple[str, list[dict[str, object]]]] = []
    for message in request.messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = list(blocks_of(request, message))
        if found and found[-1][0] == role:
            found[-1][1].extend(blocks)
        elif blocks:
            found.append((role, blocks))
    if request.settings.cache:
        for role, blocks in reversed(found):
            if role == "user":
                blocks[-1] = marked(blocks[-1], True)
                break
    return [{"role": role, "content": blocks} for role, blocks in found]


def blocks_of(request: ModelRequest, message: Message) -> Iterator[dict[str, object]]:
    if message.role == "system":
        yield {"type": "text", "text": NOTE + message.text}
        return
    for part in message.parts:
        match part:
            case Text(said):
                if said:  # an empty block is refused
                    yield {"type": "text", "text": said}
            case Media():
                yield media_block(request, part)
            case Reasoning(said, meta):
                kept = own(meta, VENDOR)
                if "redacted" in kept:
                    yield {"type": "redacted_thinking", "data": kept["redacted"]}
                elif "signature" in kept:
                    yield {"type": "thinking", "thinking": said, "signature": kept["signature"]}
            case ToolCall(call_id, name, arguments):
                yield {"type": "tool_use", "id": call_id, "name": name, "input": json_object(arguments)}
            case ToolResult():
                yield result_block(request, part)


def result_block(request: ModelRequest, result: ToolResult) -> dict[str, object]:
    content = [
        {"type": "text", "text": part.text} if isinstance(part, Text) else media_block(request, part)
        for part in result.content
        if isinstance(part, Media) or part.text
    ]
    found: dict[str, object] = {"type": "tool_result", "tool_use_id": result.call_id}
    return found | ({"content": content} if content else {}) | ({"is_error": True} if result.failed else {})


def media_block(request: ModelRequest, media: Media) -> dict[str, object]:
    kind = "image" if media.media_type in IMAGES else "document" if media.media_type == PDF else None
    if kind is None:
        raise unsupported(request, f"its API takes no {media.media_type}")
    source = {"type": "base64", "media_type": media.media_type, "data": base64_of(request, media)}
    return {"type": kind, "source": source}


# The answer --------------------------------------------------------------------------------------------------------

STOPS: Final[dict[str, StopReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_use",
    "max_tokens": "output_limit",
    "refusal": "content_filter",
    "safety": "content_filter",
    "model_context_window_exceeded": "context_overflow",
}


class Answer:
    """Reads one stream of ``message_*`` and ``content_block_*`` events."""

    def __init__(self) -> None:
        self.partial = ""
        self.blocks: dict[int, dict[str, str]] = {}
        self.closed: set[int] = set()
        self.ids = Ids()
        self.ended = False
        self.stop = ""
        self.counted: dict[str, int] = {}
        self.model = ""
        self.reply_id = ""

    def feed(self, event: object) -> Iterable[Chunk]:
        said = plain_event(event)
        place = whole(said.get("index"))
        match text(said.get("type")):
            case "message_start":
                message = obj(said.get("message"))
                self.model, self.reply_id = text(message.get("model")), text(message.get("id"))
                self.count(obj(message.get("usage")))
            case "content_block_start":
                yield from self.begin(place, obj(said.get("content_block")))
            case "content_block_delta":
                yield from self.more(place, obj(said.get("delta")))
            case "content_block_stop":
                self.closed.add(place)
            case "message_delta":
                self.stop = text(obj(said.get("delta")).get("stop_reason")) or self.stop
                self.count(obj(said.get("usage")))
            case "message_stop":
                self.ended = True
            case _:
                pass  # kinds newer than this file

    def count(self, usage: dict[str, object]) -> None:
        """The start knows the input, the end the output; what is not zero later replaces what was said before."""
        found = {name: whole(value) for name, value in usage.items()}
        found["thinking_tokens"] = whole(obj(usage.get("output_tokens_details")).get("thinking_tokens"))
        self.counted |= {name: value for name, value in found.items() if value}

    def begin(self, place: int, block: dict[str, object]) -> Iterator[Chunk]:
        kind = text(block.get("type"))
        self.blocks[place] = kept = {"type": kind}
        if kind == "tool_use":
            kept |= {"id": self.ids.unique(text(block.get("id"))), "name": text(block.get("name")), "arguments": ""}
            yield CallDelta(kept["id"], kept["name"])
        elif kind == "redacted_thinking":
            kept["data"] = text(block.get("data"))
        elif kind == "thinking":
            kept |= {"text": "", "signature": text(block.get("signature"))}
            yield from self.more(place, {"type": "thinking_delta", "thinking": block.get("thinking")})
        elif kind == "text":
            kept["text"] = ""
            yield from self.more(place, {"type": "text_delta", "text": block.get("text")})

    def more(self, place: int, delta: dict[str, object]) -> Iterator[Chunk]:
        block = self.blocks.get(place, {})
        match text(delta.get("type")), block.get("type"):
            case "text_delta", "text":
                said = text(delta.get("text"))
                block["text"] += said
                self.partial += said
                if said:
                    yield TextDelta(said, self.number(place, "text"))
            case "thinking_delta", "thinking":
                said = text(delta.get("thinking"))
                block["text"] += said
                if said:
                    yield ReasoningDelta(said, self.number(place, "thinking"))
            case "signature_delta", "thinking":
                block["signature"] += text(delta.get("signature"))
            case "input_json_delta", "tool_use":
                said = text(delta.get("partial_json"))
                block["arguments"] += said
                if said:
                    yield CallDelta(block["id"], block["name"], said)
            case _:
                pass  # citations, and blocks of tools that run at the vendor's

    def number(self, place: int, kind: str) -> int:
        """Which part of its kind the block at ``place`` is."""
        return sum(block["type"] == kind for other, block in self.blocks.items() if other < place)

    def reply(self) -> ModelReply:
        if not self.ended:
            raise cut_off(NAME, self.partial, "message_stop")
        if self.stop not in STOPS:
            raise unknown_end(NAME, self.stop, self.partial)
        parts = [part for place in sorted(self.blocks) for part in self.parts_of(self.blocks[place])]
        calls = sum(isinstance(part, ToolCall) for part in parts)
        stop = stop_with_calls(NAME, STOPS[self.stop], calls, self.partial)
        if stop != "tool_use":
            parts = [part for part in parts if not isinstance(part, ToolCall)]
        return ModelReply(tuple(parts), stop, self.usage(), self.model, self.reply_id)

    @staticmethod
    def parts_of(block: dict[str, str]) -> Iterator[Text | Reasoning | ToolCall]:
        match block["type"]:
            case "text":
                if block["text"]:
                    yield Text(block["text"])
            case "thinking":
                signature = block["signature"]
                yield Reasoning(block["text"], {VENDOR: {"signature": signature}} if signature else None)
            case "redacted_thinking":
                yield Reasoning("", {VENDOR: {"redacted": block["data"]}})
            case "tool_use":
                yield ToolCall(block["id"], block["name"], block["arguments"] or "{}")
            case _:
                pass

    def usage(self) -> Usage:
        if not self.counted:
            return NO_USAGE
        output = self.counted.get("output_tokens", 0)
        return Usage(
            self.counted.get("input_tokens", 0),
            output,
            self.counted.get("cache_read_input_tokens", 0),
            self.counted.get("cache_creation_input_tokens", 0),
            min(output, self.counted.get("thinking_tokens", 0)),
        )
