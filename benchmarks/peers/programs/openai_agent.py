"""The OpenAI Agents SDK with its SQLite session: T1, T100 and DISK. The model is a class of ours, tracing is off.

The session keeps what was said; it is read before a run and written as the run goes. A run itself is not durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents import Agent, Model, ModelResponse, Runner, SQLiteSession, Usage, function_tool, set_tracing_disabled
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import REPLY, Answers, Asked, Converse, Values

set_tracing_disabled(True)  # it would be sent away


@function_tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def message(text: str, number: int) -> ResponseOutputMessage:
    content = ResponseOutputText(annotations=[], text=text, type="output_text")
    return ResponseOutputMessage(
        id=f"message-{number}", content=[content], role="assistant", status="completed", type="message"
    )


class Scripted(Model):  # type: ignore[misc]  # its package is in another environment
    """Calls the tool and answers after its result; with ``answers``, only answers."""

    def __init__(self, answers: Answers | None = None) -> None:
        self._answers = answers
        self._calls = 0

    async def get_response(
        self, system_instructions: str | None, input: str | list[Any], *settings: Any, **more: Any
    ) -> ModelResponse:
        del system_instructions, settings, more
        self._calls += 1
        return ModelResponse(output=[self._output(input)], usage=Usage(requests=1), response_id=None)

    def _output(self, given: str | list[Any]) -> Any:
        assert not isinstance(given, str)
        if self._answers is not None:
            return message(self._answers.to(len(given)), self._calls)
        if given[-1].get("type") == "function_call_output":
            return message(REPLY, self._calls)
        call_id = f"call-{self._calls}"
        return ResponseFunctionToolCall(arguments='{"a": 2, "b": 3}', call_id=call_id, name="add", type="function_call")

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError("nothing is streamed here")


def conversation(agent: Agent[None], session: SQLiteSession) -> Converse:
    async def converse(text: str) -> str:
        return str((await Runner.run(agent, text, session=session)).final_output)

    return converse


async def t1(asked: Asked) -> Values:
    agent: Agent[None] = Agent(name="calling", model=Scripted(), tools=[add])

    async def open_one(name: str) -> Converse:
        return conversation(agent, SQLiteSession(name, asked.path))

    return await measuring.turns_alone(asked, open_one)


async def t100(asked: Asked) -> Values:
    agent: Agent[None] = Agent(name="calling", model=Scripted(), tools=[add])

    async def open_one(name: str) -> Converse:
        return conversation(agent, SQLiteSession(name, asked.path))

    return await measuring.turns_at_once(asked, open_one)


async def disk(asked: Asked) -> Values:
    model = Scripted(Answers())

    @asynccontextmanager
    async def opened() -> AsyncIterator[Converse]:
        session = SQLiteSession("disk", asked.path)
        yield conversation(Agent(name="plain", model=model), session)
        session.close()

    async with opened() as converse:
        await measuring.fill_disk(asked, converse)
    disk_mb = measuring.file_bytes(asked.path) / 1e6
    return {"disk_mb": disk_mb, "again_ms": await measuring.again_ms(opened)}


if __name__ == "__main__":
    measuring.run({"T1": t1, "T100": t100, "DISK": disk})
