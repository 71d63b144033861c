"""lash as an agent, by its public interface only: T1, T100 and DISK on any store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import lash
from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import REPLY, Answers, Asked, Converse, Values
from lash.core.model import ModelRequest
from lash.testing import Say, ScriptedModel


@lash.tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def with_tool(request: ModelRequest) -> str | Say:
    return REPLY if request.messages[-1].role == "tool" else Say(calls=[("add", {"a": 2, "b": 3})])


def calling() -> lash.Agent[str]:
    return lash.Agent("calling", model=(ScriptedModel(always=with_tool), "m"), tools=[add])


def plain(answers: Answers) -> lash.Agent[str]:
    return lash.Agent("plain", model=(ScriptedModel(always=lambda request: answers.to(len(request.messages))), "m"))


def conversation(session: lash.Session[str]) -> Converse:
    async def converse(text: str) -> str:
        outcome = await (await session.send(text))
        assert isinstance(outcome, lash.Finished)
        return str(outcome.output)

    return converse


async def t1(asked: Asked) -> Values:
    agent = calling()
    async with lash.Runtime(asked.url, agents=[agent]) as app:

        async def open_one(name: str) -> Converse:
            return conversation(await app.session(name, agent))

        return await measuring.turns_alone(asked, open_one)


async def t100(asked: Asked) -> Values:
    agent = calling()
    async with lash.Runtime(asked.url, agents=[agent], concurrency=asked.conversations) as app:

        async def open_one(name: str) -> Converse:
            return conversation(await app.session(name, agent))

        return await measuring.turns_at_once(asked, open_one)


async def database_bytes(asked: Asked) -> int:
    if not asked.postgres:
        return measuring.file_bytes(asked.path)
    import asyncpg

    connection = await asyncpg.connect(asked.url)
    found = int(await connection.fetchval(measuring.DATABASE_BYTES_SQL))
    await connection.close()
    return found


async def disk(asked: Asked) -> Values:
    before = await database_bytes(asked) if asked.postgres else 0
    answers = Answers()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Converse]:
        agent = plain(answers)
        async with lash.Runtime(asked.url, agents=[agent]) as app:
            yield conversation(await app.session("disk", agent))

    async with opened() as converse:
        await measuring.fill_disk(asked, converse)
    disk_mb = (await database_bytes(asked) - before) / 1e6
    return {"disk_mb": disk_mb, "again_ms": await measuring.again_ms(opened)}


if __name__ == "__main__":
    measuring.run({"T1": t1, "T100": t100, "DISK": disk})
