"""LangGraph as an agent: a model node, its tool node, and a saver for the conversation. T1, T100 and DISK.

Durability is ``sync``: a turn goes on to its next node, and ends, once the node before is on disk, as every other
contender does. Variant ``async`` has the default instead. Variant ``delta`` keeps messages in a ``DeltaChannel``, which
the docs name for long conversations, and which is a beta: a checkpoint has what is new, and every 100th has all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import _messages_delta_reducer
from langgraph.prebuilt import ToolNode, tools_condition

from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import REPLY, Answers, Asked, Converse, Values


class DeltaState(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(_messages_delta_reducer)]


def state_of(asked: Asked) -> type:
    return DeltaState if asked.variant == "delta" else MessagesState


def durability_of(asked: Asked) -> str:
    return "async" if asked.variant == "async" else "sync"


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def with_tool(state: Any) -> dict[str, Any]:
    messages = state["messages"]
    if messages[-1].type == "tool":
        return {"messages": [AIMessage(REPLY)]}
    call = {"name": "add", "args": {"a": 2, "b": 3}, "id": f"call-{len(messages)}"}
    return {"messages": [AIMessage("", tool_calls=[call])]}


def calling(asked: Asked, saver: object) -> Any:
    builder = StateGraph(state_of(asked))
    builder.add_node("model", with_tool)
    builder.add_node("tools", ToolNode([add]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=saver)


def plain(asked: Asked, saver: object, answers: Answers) -> Any:
    async def answer(state: Any) -> dict[str, Any]:
        return {"messages": [AIMessage(answers.to(len(state["messages"])))]}

    builder = StateGraph(state_of(asked))
    builder.add_node("model", answer)
    builder.add_edge(START, "model")
    return builder.compile(checkpointer=saver)


def conversation(graph: Any, thread: str, durability: str) -> Converse:
    async def converse(text: str) -> str:
        config = {"configurable": {"thread_id": thread}}
        ended = await graph.ainvoke({"messages": [HumanMessage(text)]}, config, durability=durability)
        return str(ended["messages"][-1].content)

    return converse


@asynccontextmanager
async def saver_of(asked: Asked) -> AsyncIterator[object]:
    """Made as the docs do, with tables set up."""
    if asked.postgres:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(asked.url) as saver:
            await saver.setup()
            yield saver
    else:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(asked.path) as saver:
            await saver.setup()
            yield saver


async def t1(asked: Asked) -> Values:
    async with saver_of(asked) as saver:
        graph = calling(asked, saver)

        async def open_one(name: str) -> Converse:
            return conversation(graph, name, durability_of(asked))

        return await measuring.turns_alone(asked, open_one)


async def t100(asked: Asked) -> Values:
    async with saver_of(asked) as saver:
        graph = calling(asked, saver)

        async def open_one(name: str) -> Converse:
            return conversation(graph, name, durability_of(asked))

        return await measuring.turns_at_once(asked, open_one)


async def database_bytes(asked: Asked) -> int:
    if not asked.postgres:
        return measuring.file_bytes(asked.path)
    import psycopg

    async with await psycopg.AsyncConnection.connect(asked.url, autocommit=True) as connection:
        found = await (await connection.execute(measuring.DATABASE_BYTES_SQL)).fetchone()
    assert found is not None
    return int(found[0])


async def disk(asked: Asked) -> Values:
    before = await database_bytes(asked) if asked.postgres else 0
    answers = Answers()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Converse]:
        async with saver_of(asked) as saver:
            yield conversation(plain(asked, saver, answers), "disk", durability_of(asked))

    async with opened() as converse:
        await measuring.fill_disk(asked, converse)
    disk_mb = (await database_bytes(asked) - before) / 1e6
    return {"disk_mb": disk_mb, "again_ms": await measuring.again_ms(opened)}


if __name__ == "__main__":
    measuring.run({"T1": t1, "T100": t100, "DISK": disk})
