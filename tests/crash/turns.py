"""Turns to be killed at every write: their scenarios stand among those of processes.

The model answers by what it is sent, and refuses a history that is not sound; so whatever a crash leaves behind is also
checked for what a provider would take.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import lash
from lash.abc.tool import ToolContext, tool
from lash.core.message import Text, ToolCall, ToolResult, unsound
from lash.core.model import Chunk, ModelInfo, ModelReply, ModelRequest, TextDelta, Usage
from lash.core.retry import Retry
from lash.core.turn import Finished
from lash.errors import ProviderError
from lash.modes.standard import Standard
from lash.runtime.agent import Agent
from lash.runtime.runtime import Runtime
from lash.runtime.session import Session
from lash.runtime.turn import Turn
from tests.crash.scenarios import LEDGER, asked, scenario

Answer = Callable[[ModelRequest, int], ModelReply]


class NotedModel:
    """Notes every call it answers or fails, as steps do."""

    name = "noted"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def info(self, model: str) -> ModelInfo:
        return ModelInfo()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        assert unsound(request.messages) is None, unsound(request.messages)
        LEDGER.note(f"model {len(request.messages)}")
        reply = self.answer(request, lash.current().attempt)
        await asyncio.sleep(0.001)
        yield TextDelta(reply.text)
        yield reply

    async def close(self) -> None: ...


def agent_on(app: Runtime, answer: Answer, *tools: Any) -> Agent[str]:
    agent = Agent(
        "noted", model=(NotedModel(answer), "m"), tools=tools, retry=Retry(attempts=3, initial="20ms"), mode=Standard()
    )
    app.agents.add(agent)
    return agent


def calls(*names: str) -> ModelReply:
    parts = tuple(ToolCall(f"c{place}", name, "{}") for place, name in enumerate(names))
    return ModelReply((Text("On it."), *parts), "tool_use", Usage(10, 1))


def text(words: str) -> ModelReply:
    return ModelReply((Text(words),), "stop", Usage(10, 1))


def results(request: ModelRequest) -> list[str]:
    """The text of every tool result the model is shown."""
    return [
        "".join(item.text for item in part.content if isinstance(item, Text))
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]


async def told(turn: Turn[str]) -> list[object]:
    outcome = await asked(turn.outcome)
    return ["finished", outcome.output] if isinstance(outcome, Finished) else ["stopped", outcome.reason]


async def nodes_of(session: Session[str]) -> list[list[object]]:
    found = await asked(lambda: session.nodes(limit=1_000))
    return [[node.number, node.kind, node.turn, node.body.decode()] for node in found]


async def opened(app: Runtime, name: str = "s") -> Session[str]:
    return await asked(lambda: app.session(name, app.agents.named("noted")))


ALL = '["user",[["text","go"]]]', '["user",[["text","also this"]],"steer"]'


@scenario([["finished", "ok: one two three / also this"], [1, 2, 3, 4, 5]], 6, 0)
def turn_with_tools_a_retry_and_a_steer():
    @tool
    async def one(ctx: ToolContext) -> str:
        """One; ends once the steer is there."""
        LEDGER.note("one")
        while (await asked(lambda: Session.row(ctx.app.known))).items < 2:
            await asyncio.sleep(0.003)
        return "one"

    @tool
    def two() -> str:
        """Two, in a thread."""
        LEDGER.note("two")
        return "two"

    @tool
    async def three() -> str:
        """Three."""
        LEDGER.note("three")
        return "three"

    def answer(request: ModelRequest, attempt: int) -> ModelReply:
        if len(request.messages) == 1:
            return calls("one", "two", "three")
        if attempt == 1:
            raise ProviderError("busy", kind="overloaded", retryable=True)
        return text(f"ok: {' '.join(results(request))} / {request.messages[-1].text}")

    def register(app: Runtime) -> None:
        agent_on(app, answer, one, two, three)

    async def drive(app: Runtime) -> object:
        session = await opened(app)
        app.known = session  # type: ignore[attr-defined]  # for the tool
        turn = await asked(lambda: session.send("go", key="m-1"))
        await asked(lambda: session.steer("also this", key="m-2"))
        outcome = await told(turn)
        nodes = await nodes_of(session)
        assert nodes[0][3] == ALL[0], nodes
        assert nodes[3][3] == ALL[1], nodes
        return [outcome, [node[0] for node in nodes]]

    return register, drive


@scenario(
    [["finished", "sent: done"], ["finished", "again"]], 4, 0, runs_once=True,
    outcomes=([["finished", "sent: unknown"], ["finished", "again"]],),
)  # fmt: skip
def turn_that_calls_once():
    @tool(effect="once")
    async def send_money() -> str:
        """Send it, once."""
        LEDGER.note("send")
        sends = [line for line in LEDGER.lines if line.endswith(" send")]
        assert len(sends) == 1, sends
        return "done"

    def answer(request: ModelRequest, attempt: int) -> ModelReply:
        if request.messages[-1].text == "more":
            return text("again")
        if len(request.messages) == 1:
            return calls("send_money")
        (result,) = results(request)
        return text("sent: " + ("unknown" if "unknown" in result else result))

    def register(app: Runtime) -> None:
        agent_on(app, answer, send_money)

    async def drive(app: Runtime) -> object:
        session = await opened(app)
        first = await asked(lambda: session.send("pay", key="a"))
        second = await asked(lambda: session.send("more", key="b"))
        return [await told(first), await told(second)]

    return register, drive


@scenario([["stopped", "cancelled"], ["finished", "after it"]], 3, 0)
def turn_that_is_cancelled():
    @tool
    async def forever() -> str:
        """Never ends."""
        LEDGER.note("forever")
        await asyncio.sleep(3_600)
        return "no"

    def answer(request: ModelRequest, attempt: int) -> ModelReply:
        return calls("forever") if len(request.messages) == 1 else text("after it")

    def register(app: Runtime) -> None:
        agent_on(app, answer, forever)

    async def drive(app: Runtime) -> object:
        session = await opened(app)
        first = await asked(lambda: session.send("go", key="a"))

        async def at_work() -> bool:
            row = await session.row()
            entries = await app.store.history(row.process.row, 0)
            return row.turns > 0 or any(entry.name.startswith("model") for entry in entries)

        while not await asked(at_work):
            await asyncio.sleep(0.003)
        while not any("forever" in line for line in LEDGER.lines):
            await asyncio.sleep(0.003)
        await asked(lambda: first.cancel("enough"))
        outcome = await told(first)
        second = await asked(lambda: session.send("and now", key="b"))
        return [outcome, await told(second)]

    return register, drive
