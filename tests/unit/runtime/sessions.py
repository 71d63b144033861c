"""What tests of sessions share: agents with scripts, an app on any store, and short words for what a turn did."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lash.abc.store import Store
from lash.core.message import Message, ToolResult
from lash.engines.local import LocalEngine
from lash.modes.standard import Standard
from lash.runtime.agent import Agent
from lash.runtime.agents import Agents
from lash.runtime.runtime import Runtime
from lash.runtime.session import Session
from lash.runtime.settings import settings_of
from lash.testing.model import Line, ScriptedModel


def agent_of(model: ScriptedModel | Sequence[Line], name: str = "helper", **options: Any) -> Agent[Any]:
    script = model if isinstance(model, ScriptedModel) else ScriptedModel(model)
    return Agent(name, model=(script, "test"), **options)


def host(store: Store, *agents: Agent[Any], engine: Any = None, worker: bool = True, **options: Any) -> Runtime:
    """An app on ``store`` whose worker runs these agents."""
    known = Agents(Standard)
    for agent in agents:
        known.add(agent)
    settings = settings_of(
        options.get("concurrency", 64), options.get("lease_ttl", "10s"), options.get("linger", "1s"),
        options.get("resident", 1_000), options.get("drain", "20s"), "default", None,
    )  # fmt: skip
    return Runtime(store, engine or LocalEngine(store), settings, worker, known)


def spoken(message: Message) -> tuple[str, str]:
    """(role, text); of a tool message, the text of its results."""
    if message.role != "tool":
        return message.role, message.text
    texts = [
        "".join(getattr(part, "text", "") for part in result.content)
        for result in message.parts
        if isinstance(result, ToolResult)
    ]
    return "tool", " | ".join(texts)


async def said(session: Session[Any]) -> list[tuple[str, str]]:
    return [spoken(entry.message) for entry in await session.history()]


async def until(condition: Any, limit_s: float = 20) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)
