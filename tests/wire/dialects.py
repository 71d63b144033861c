"""The four dialects side by side: how a provider of each is made, and how a vendor answers in each of ten scenarios.

The rule of this file: a scenario is either bytes and the reply they must become, both as literals, or absent for a
stated reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from lash.abc.provider import Provider
from lash.core.model import Chunk, ModelReply, ModelRequest
from lash.errors import ProviderError
from lash.providers.anthropic import Anthropic
from lash.providers.google import Google
from lash.providers.openai import OpenAI
from lash.providers.openai_chat import OpenAIChat
from lash.providers.reading import Deadlines
from tests.wire.server import Script, Wire, wire

SCENARIOS = (
    "plain_stop", "output_cap", "tool_use", "text_assembly", "argument_merge", "content_filter", "cache_hit",
    "reasoning_usage", "reasoning_round_trip", "split_usage",
)  # fmt: skip
PATIENT = Deadlines(answer_s=20.0, quiet_s=20.0)


@dataclass(frozen=True, slots=True)
class Case:
    """``sent_back`` is what the next request's history must hold of this reply, where the scenario is about that."""

    body: bytes
    reply: ModelReply
    sent_back: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    reason: str


@dataclass(frozen=True, slots=True)
class Dialect:
    name: str
    model: str
    make: Callable[[str, Deadlines], Provider]
    cases: Mapping[str, Case | Absent]
    history: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    """The history in a request's body."""
    unknown_end: bytes
    """A whole stream that ends for a reason nobody knows."""
    error_in_stream: bytes
    """Text, then the vendor says that it is overloaded."""
    whole: bytes
    """Text and two calls; the end of it may be missing from the stream."""
    needed: int
    """So many bytes of ``whole`` are needed for an answer: up to the end of the vendor's own end marker."""
    refusal: Callable[[str, str, int], dict[str, Any]]
    """The body of an error of this code, message and status."""
    twins: bytes
    """Two calls under the one id ``a``."""
    ping: bytes = b": ping\n\n"

    @asynccontextmanager
    async def talk(self, *scripts: Script, deadlines: Deadlines = PATIENT) -> AsyncIterator[tuple[Wire, Provider]]:
        """A vendor with these answers, and a provider that asks it."""
        async with wire(*scripts) as server:
            provider = self.make(server.url, deadlines)
            try:
                yield server, provider
            finally:
                await provider.close()


MAKERS: Mapping[str, Callable[[str, Deadlines], Provider]] = {
    "openai": lambda url, deadlines: OpenAI(api_key="k-1", base_url=f"{url}/v1", deadlines=deadlines),
    "openai-chat": lambda url, deadlines: OpenAIChat(api_key="k-1", base_url=f"{url}/v1", deadlines=deadlines),
    "anthropic": lambda url, deadlines: Anthropic(api_key="k-1", base_url=url, deadlines=deadlines),
    "google": lambda url, deadlines: Google(api_key="k-1", base_url=url, deadlines=deadlines),
}


async def collected(provider: Provider, request: ModelRequest) -> list[Chunk]:
    return [chunk async for chunk in provider.stream(request)]


async def reply_of(provider: Provider, request: ModelRequest) -> ModelReply:
    *_, last = await collected(provider, request)
    assert isinstance(last, ModelReply)
    return last


async def error_of(provider: Provider, request: ModelRequest) -> tuple[ProviderError, list[Chunk]]:
    """How it failed, and what had come before."""
    seen: list[Chunk] = []
    try:
        async for chunk in provider.stream(request):
            seen.append(chunk)
    except ProviderError as error:
        return error, seen
    raise AssertionError(f"no error, but {seen}")
