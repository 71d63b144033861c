"""OpenAI's Responses API: nothing is stored there, so everything it needs to go on is sent back item by item.

A reasoning item goes back whole, with its encrypted content, in front of what followed it, and never alone: the API
refuses one without its successor. An answer counts only once ``response.completed`` or ``response.incomplete`` came.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from lash.core.message import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
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
    PDF,
    check,
    data_url,
    instructions_of,
    own,
    result_media,
    result_text,
    strict_schema,
    unsupported,
)
from lash.providers.catalog import info_of
from lash.providers.faults import code_of, fault_of
from lash.providers.openai_client import Client
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

if TYPE_CHECKING:
    from openai import AsyncOpenAI

VENDOR: Final = "openai"
NAME: Final = "OpenAI"
DEADLINES: Final = Deadlines()


class OpenAI:
    """``base_url`` defaults to ``OPENAI_BASE_URL``, then to OpenAI itself. Raises ``ModelUnavailable``."""

    name = VENDOR

    def __init__(self, *, api_key: str, base_url: str | None = None, deadlines: Deadlines = DEADLINES) -> None:
        self._client = Client(VENDOR, NAME, api_key, base_url, deadlines)

    def info(self, model: str) -> ModelInfo:
        """What is known of a model of this vendor."""
        return info_of(VENDOR, model)

    def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        async def ask() -> Events:
            check(request, without=("seed",))
            body = body_of(request)
            client: AsyncOpenAI = await self._client.get()
            create = cast(Any, client.responses.create)
            return cast(Events, await create(**body, extra_body=dict(request.settings.extra)))

        return chunks_of(ask, self._client.hang_up, Answer(), self._client.fault, self._client.deadlines)

    async def close(self) -> None:
        await self._client.close()


# The request -------------------------------------------------------------------------------------------------------


def body_of(request: ModelRequest) -> dict[str, object]:
    settings, info = request.settings, request.info
    body: dict[str, object] = {
        "model": request.model,
        "input": [item for message in request.messages for item in items_of(request, message)],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    if instructions := instructions_of(request, told=not info.structured):
        body["instructions"] = instructions
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": False,
            }
            for tool in request.tools
        ]
        if not request.tools_allowed:
            body["tool_choice"] = "none"
        if settings.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = settings.parallel_tool_calls
    if request.output is not None and info.structured:
        body["text"] = {"format": {"type": "json_schema", **format_of(request)}}
    if settings.effort is not None:
        body["reasoning"] = {"effort": settings.effort} | ({} if settings.effort == "none" else {"summary": "auto"})
    named = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_output_tokens": settings.output_tokens_max,
        "prompt_cache_key": (settings.cache and request.session_id) or None,
    }
    return body | {name: value for name, value in named.items() if value is not None}


def format_of(request: ModelRequest) -> dict[str, object]:
    """Name, schema and strictness of the wanted output. Raises ``ProviderError`` for what is no object: OpenAI's root
    must be one."""
    assert request.output is not None
    schema = request.output.schema
    if schema.get("type") != "object":
        raise unsupported(request, "the schema of its output is not that of an object")
    repaired = strict_schema(schema)
    found = dict(schema) if repaired is None else repaired
    return {"name": request.output.name, "schema": found, "strict": repaired is not None}


def items_of(request: ModelRequest, message: Message) -> Iterator[dict[str, object]]:
    if message.role == "tool":
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield {"type": "function_call_output", "call_id": part.call_id, "output": output_of(request, part)}
    elif message.role == "assistant":
        yield from said_of(message.parts)
    else:
        content = [content_of(request, part) for part in message.parts if isinstance(part, (Text, Media))]
        role = "developer" if message.role == "system" else "user"
        if content:
            yield {"type": "message", "role": role, "content": content}


def content_of(request: ModelRequest, part: Text | Media) -> dict[str, object]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if part.media_type in IMAGES:
        return {"type": "input_image", "image_url": data_url(request, part), "detail": "auto"}
    if part.media_type == PDF:
        return {"type": "input_file", "filename": part.label or "file.pdf", "file_data": data_url(request, part)}
    raise unsupported(request, f"its API takes no {part.media_type}")


def output_of(request: ModelRequest, result: ToolResult) -> object:
    media = result_media(result)
    if not media:
        return result_text(result)
    return [content_of(request, part) for part in result.content]


def said_of(parts: Sequence[Part]) -> Iterator[dict[str, object]]:
    """What the model said before, as its items. Text parts of one item come together again."""
    waiting: list[dict[str, object]] = []  # reasoning whose successor has not come
    message: dict[str, object] | None = None
    for part in parts:
        meta = own(part.meta, VENDOR) if isinstance(part, (Text, Reasoning, ToolCall)) else {}
        if isinstance(part, Text) and (part.text or meta):
            if message is None or message.get("id") != meta.get("id"):
                if message is not None:
                    yield message
                yield from waiting
                waiting = []
                message = message_of(meta)
            cast("list[object]", message["content"]).append(spoken(part, meta))
            continue
        if message is not None:
            yield message
            message = None
        if isinstance(part, Reasoning) and "item" in meta:
            waiting.append(obj(meta["item"]))
        elif isinstance(part, ToolCall):
            yield from waiting
            waiting = []
            call = {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
            yield {**call, **({"id": meta["id"]} if "id" in meta else {})}
    if message is not None:
        yield message


def message_of(meta: dict[str, object]) -> dict[str, object]:
    head: dict[str, object] = {"type": "message", "role": "assistant", "content": list[object]()}
    if "id" in meta:
        head |= {"id": meta["id"], "status": "completed"}
    if "phase" in meta:
        head["phase"] = meta["phase"]
    return head


def spoken(part: Text, meta: dict[str, object]) -> dict[str, object]:
    if meta.get("refusal"):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": []} if "id" in meta else {
        "type": "output_text", "text": part.text
    }  # fmt: skip


# The answer --------------------------------------------------------------------------------------------------------

INCOMPLETE: Final[dict[str, StopReason]] = {"max_output_tokens": "output_limit", "content_filter": "content_filter"}


class Answer:
    """Reads one stream of ``response.*`` events."""

    def __init__(self) -> None:
        self.partial = ""
        self.last: dict[str, object] | None = None
        self.done: dict[int, dict[str, object]] = {}
        self.calls: dict[int, tuple[str, str]] = {}
        self.ids = Ids()
        self.texts: dict[tuple[int, int], int] = {}
        self.thoughts: dict[tuple[int, int], int] = {}

    @property
    def ended(self) -> bool:
        return self.last is not None

    def feed(self, event: object) -> Iterable[Chunk]:
        said = plain_event(event)
        kind, place = text(said.get("type")), whole(said.get("output_index"))
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                self.partial += text(said.get("delta"))
                key = (place, whole(said.get("content_index")))
                yield TextDelta(text(said.get("delta")), self.texts.setdefault(key, len(self.texts)))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                part = self.thoughts.setdefault((place, 0), len(self.thoughts))
                yield ReasoningDelta(text(said.get("delta")), part)
            case "response.output_item.added":
                item = obj(said.get("item"))
                if item.get("type") == "function_call":
                    yield CallDelta(*self.call_at(place, item))
            case "response.function_call_arguments.delta":
                if place in self.calls:
                    yield CallDelta(*self.calls[place], text(said.get("delta")))
            case "response.output_item.done":
                self.done[place] = obj(said.get("item"))
            case "response.completed" | "response.incomplete":
                self.last = obj(said.get("response"))
            case "response.failed":
                self.refused(obj(obj(said.get("response")).get("error")))
            case "error":
                self.refused(obj(said.get("error")) or said)
            case _:
                pass  # kinds that carry nothing of ours, and kinds newer than this file

    def refused(self, error: dict[str, object]) -> None:
        raise fault_of(
            NAME, None, text(error.get("message")), code=code_of(error), partial=self.partial, raw=error,
        )  # fmt: skip

    def call_at(self, place: int, item: dict[str, object]) -> tuple[str, str]:
        if place not in self.calls:
            self.calls[place] = self.ids.unique(text(item.get("call_id"))), text(item.get("name"))
        return self.calls[place]

    def reply(self) -> ModelReply:
        last = self.last
        if last is None:
            raise cut_off(NAME, self.partial, "response.completed")
        found = [self.done[place] for place in sorted(self.done)] or [obj(item) for item in items(last.get("output"))]
        parts = [part for place, item in enumerate(found) for part in self.parts_of(self.place_of(place), item)]
        stop = self.stop_of(last, parts)
        if stop not in ("stop", "tool_use"):
            parts = [part for part in parts if not isinstance(part, ToolCall)]
        return ModelReply(
            tuple(parts), stop, usage(obj(last.get("usage"))), text(last.get("model")), text(last.get("id"))
        )

    def place_of(self, number: int) -> int:
        return sorted(self.done)[number] if self.done else number

    def stop_of(self, last: dict[str, object], parts: Sequence[Part]) -> StopReason:
        status, reason = text(last.get("status")), text(obj(last.get("incomplete_details")).get("reason"))
        if status == "incomplete" and reason in INCOMPLETE:
            return INCOMPLETE[reason]
        if status != "completed":
            raise unknown_end(NAME, reason or status, self.partial)
        if any(isinstance(part, Text) and own(part.meta, VENDOR).get("refusal") for part in parts):
            return "content_filter"
        return stop_with_calls(NAME, "stop", sum(isinstance(part, ToolCall) for part in parts), self.partial)

    def parts_of(self, place: int, item: dict[str, object]) -> Iterator[Text | Reasoning | ToolCall]:
        meta = {name: item[name] for name in ("id", "phase") if item.get(name)}
        match item.get("type"):
            case "message":
                for content in map(obj, items(item.get("content"))):
                    if content.get("type") == "refusal":
                        yield Text(text(content.get("refusal")), {VENDOR: {**meta, "refusal": True}})
                    else:
                        yield Text(text(content.get("text")), {VENDOR: meta})
            case "reasoning":
                kept = {name: value for name, value in item.items() if name != "status" and value is not None}
                summary = [text(obj(piece).get("text")) for piece in items(item.get("summary"))]
                open_text = [text(obj(piece).get("text")) for piece in items(item.get("content"))]
                said = "\n\n".join(summary or open_text)
                # Without its encrypted content the item is an id of something that was not stored.
                yield Reasoning(said, {VENDOR: {"item": kept}} if item.get("encrypted_content") else None)
            case "function_call":
                call_id, name = self.call_at(place, item)
                yield ToolCall(call_id, name, text(item.get("arguments")), {VENDOR: meta} if meta else None)
            case _:
                pass  # calls of tools that run at the vendor's are not ours to answer


def usage(said: dict[str, object]) -> Usage:
    if not said:
        return NO_USAGE
    details = obj(said.get("input_tokens_details"))
    return usage_of(
        whole_input=whole(said.get("input_tokens")),
        output=whole(said.get("output_tokens")),
        read=whole(details.get("cached_tokens")),
        write=whole(details.get("cache_write_tokens")),
        reasoning=whole(obj(said.get("output_tokens_details")).get("reasoning_tokens")),
    )
