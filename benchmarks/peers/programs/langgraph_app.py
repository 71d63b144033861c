"""LangGraph: steps of a graph or tasks of a function, checkpointed by SQLite or Postgres. W1 and W2 only.

Variant ``graph`` makes no step before the one before it is on disk (durability ``sync``), as every other contender.
Variant ``tasks`` is the quickest that its docs describe (tasks, durability ``async``) and does not wait for the disk.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph

from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import STEPS, VALUE, Asked, Count, Values

performed = Count()

Run = Callable[[str, int], Awaitable[None]]
"""Of one thread: its name, and how many steps."""


class State(TypedDict):
    left: int
    value: dict[str, str]


async def answer(state: State) -> State:
    performed.add()
    return {"left": state["left"] - 1, "value": VALUE}


def more(state: State) -> str:
    return "answer" if state["left"] else END


def config_of(thread: str, count: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}, "recursion_limit": count + 10}


def graph(saver: object) -> Run:
    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_conditional_edges("answer", more, ["answer", END])
    compiled = builder.compile(checkpointer=saver)

    async def run(thread: str, count: int) -> None:
        begun: State = {"left": count, "value": {}}
        ended = await compiled.ainvoke(begun, config_of(thread, count), durability="sync")
        assert ended == {"left": 0, "value": VALUE}

    return run


def tasks(saver: object) -> Run:
    @task
    async def answer_one(number: int) -> dict[str, str]:
        del number
        performed.add()
        return VALUE

    @entrypoint(checkpointer=saver)
    async def workflow(count: int) -> int:
        for number in range(count):
            await answer_one(number)
        return count

    async def run(thread: str, count: int) -> None:
        assert await workflow.ainvoke(count, config_of(thread, count), durability="async") == count

    return run


@asynccontextmanager
async def prepared(asked: Asked) -> AsyncIterator[Run]:
    """Savers made as their docs do, with tables set up."""
    make = {"graph": graph, "tasks": tasks}[asked.variant]
    if asked.postgres:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(asked.url) as saver:
            await saver.setup()
            yield make(saver)
    else:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(asked.path) as saver:
            await saver.setup()
            yield make(saver)


async def w1(asked: Asked) -> Values:
    async with prepared(asked) as run:
        await run("warm", 20)
        began = time.perf_counter()
        await run("measured", asked.steps)
        took_s = time.perf_counter() - began
    assert len(performed) == 20 + asked.steps
    return {"ms_per_step": took_s / asked.steps * 1_000}


async def w2(asked: Asked) -> Values:
    async with prepared(asked) as run:
        await measuring.at_once(20, lambda number: run(f"warm-{number}", STEPS))
        began = time.perf_counter()
        await measuring.at_once(asked.workflows, lambda number: run(f"measured-{number}", STEPS))
        took_s = time.perf_counter() - began
    assert len(performed) == (20 + asked.workflows) * STEPS
    return {"steps_per_s": asked.workflows * STEPS / took_s}


if __name__ == "__main__":
    measuring.run({"W1": w1, "W2": w2})
