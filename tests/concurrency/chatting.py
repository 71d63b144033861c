"""The agent whose sessions several OS processes work on; every model call and every tool call leaves a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import lash
from lash.core.message import ToolCall, unsound
from lash.core.model import Chunk, ModelInfo, ModelReply, ModelRequest, TextDelta
from tests.concurrency.jobs import note


class Counting:
    """Looks once, then answers with the number of the user's words it has heard: so the answer tells the history."""

    name = "counting"

    def info(self, model: str) -> ModelInfo:
        return ModelInfo()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        assert unsound(request.messages) is None, unsound(request.messages)
        heard = [message.text for message in request.messages if message.role == "user"]
        note(f"model:{request.session_id}:{len(request.messages)}")
        await asyncio.sleep(0.15)
        if request.messages[-1].role == "user":
            yield ModelReply((ToolCall("c", "look", "{}"), ToolCall("d", "look", "{}")), "tool_use")
            return
        yield TextDelta(f"{len(heard)}: ")
        yield ModelReply((lash.Text(f"{len(heard)}: {heard[-1]}"),), "stop")

    async def close(self) -> None: ...


@lash.tool
async def look() -> str:
    """Look around."""
    note("look")
    await asyncio.sleep(0.01)
    return "seen"


AGENT = lash.Agent("counting", model=(Counting(), "m"), tools=[look])
