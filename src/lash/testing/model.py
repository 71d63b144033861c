"""A model that says what a test wrote down, as a provider among others: streamed, counted, and failing when told to.

Every request it gets is checked as a real provider would check it: the history must be sound. So a test that uses it
also tests what is sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from lash.core.message import Reasoning, Text, ToolCall, unsound
from lash.core.model import (
    CallDelta,
    Chunk,
    Effort,
    ModelInfo,
    ModelReply,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    Usage,
)
from lash.errors import ProviderError

EFFORTS: Final[tuple[Effort, ...]] = ("minimal", "low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Say:
    """An answer: ``text``, ``reasoning``, and ``calls`` as (tool, arguments) pairs; arguments given as text are sent as
    they stand, valid or not. ``pause_s`` lies between the ``chunks`` words are sent in; ``cut`` breaks the stream off
    after so many words, as a retryable failure."""

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, object] | str]] = ()
    reasoning: str = ""
    usage: Usage = Usage(100, 10)  # noqa: RUF009  # a frozen value
    pause_s: float = 0.0
    cut: int | None = None
    stop: str = ""


Line: TypeAlias = "str | Say | Exception | Callable[[ModelRequest], str | Say | Exception]"
"""What the model does at one call: a text, a ``Say``, an error to raise, or a function of the request that gives one of
these."""


@dataclass
class ScriptedModel:
    """``agent = lash.Agent("a", model=(ScriptedModel(["Hello."]), "test"))``.

    Lines are used one after another, each once; ``always`` answers when none is left (without it that is an error).
    ``requests`` has every request, in order.
    """

    lines: Sequence[Line] = ()
    always: Line | None = None
    name: str = "scripted"
    requests: list[ModelRequest] = field(default_factory=list[ModelRequest])
    closed: bool = False

    def __post_init__(self) -> None:
        self._left = list(self.lines)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def info(self, model: str) -> ModelInfo:
        del model
        return ModelInfo(efforts=EFFORTS)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        problem = unsound(request.messages)
        assert problem is None, f"the model was sent an unsound history: {problem}"
        self.requests.append(request)
        line = self._line(request)
        if isinstance(line, Exception):
            raise line
        say = Say(line) if isinstance(line, str) else line
        if say.reasoning:
            yield ReasoningDelta(say.reasoning)
        for word in words(say.text)[: say.cut]:
            if say.pause_s:
                await asyncio.sleep(say.pause_s)
            yield TextDelta(word)
        if say.cut is not None:
            raise ProviderError("The stream was cut off.", kind="stream", retryable=True)
        reply = reply_of(say, len(self.requests))
        for call in reply.calls:
            yield CallDelta(call.id, call.name, call.arguments)
        yield reply

    def _line(self, request: ModelRequest) -> str | Say | Exception:
        line = self._left.pop(0) if self._left else self.always
        if line is None:
            raise AssertionError(f"the script has ended, and the model was asked call {len(self.requests)}")
        return line(request) if callable(line) else line

    async def close(self) -> None:
        self.closed = True


def words(text: str) -> list[str]:
    """``text`` in pieces that make it up again."""
    pieces = text.split(" ")
    return [piece + " " for piece in pieces[:-1]] + [piece for piece in pieces[-1:] if piece]


def reply_of(say: Say, number: int) -> ModelReply:
    parts: list[Text | Reasoning | ToolCall] = []
    if say.reasoning:
        parts.append(Reasoning(say.reasoning, {"scripted": {"signature": f"s{number}"}}))
    if say.text:
        parts.append(Text(say.text))
    for place, (name, arguments) in enumerate(say.calls):
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        parts.append(ToolCall(f"call-{number}-{place}", name, text))
    stop = say.stop or ("tool_use" if say.calls else "stop")
    return ModelReply(tuple(parts), stop, say.usage, "scripted-1", f"reply-{number}")  # type: ignore[arg-type]  # a test's word
