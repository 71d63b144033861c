"""TURN, what a turn costs beside its provider: the model answers at once, and everything else is lash and the disk.

A turn is timed from the call that sends it until its outcome is there. Three kinds of it: the model answers; it calls a
tool, whose result ends the turn (one model call and one tool, what the goal is about); it calls a tool and answers
after it. One at a time in short sessions and in a long one, then in many sessions at once.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import lash
from benchmarks import recorded
from benchmarks.child import Timed, Values, fresh_url, serve
from benchmarks.commits import Commits, commits
from benchmarks.floors import BareFile
from benchmarks.peers.programs.measuring import percentile
from lash.abc.tool import AnyTool
from lash.core.model import CallDelta, Chunk, ModelRequest, TextDelta
from lash.testing import Say, ScriptedModel
from lash.testing.model import reply_of, words

WARM_UP: Final = 10
SHORT_TURNS: Final = 10
"""Of a short session; then comes a new one."""

CONCURRENCY: Final = 100
CountCommits: TypeAlias = Callable[[lash.Runtime], Awaitable[Commits]]
ANSWER: Final = "The sum is 5."


@lash.tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@lash.tool
async def add_and_end(a: int, b: int) -> lash.Finish:
    """Add two numbers, and answer with the sum."""
    return lash.Finish(f"The sum is {a + b}.")


def ending(request: ModelRequest) -> Say:
    del request
    return Say(calls=[("add_and_end", {"a": 2, "b": 3})])


def with_tool(request: ModelRequest) -> str | Say:
    """The tool is asked for first; the answer follows its result."""
    return ANSWER if request.messages[-1].role == "tool" else Say(calls=[("add", {"a": 2, "b": 3})])


class Quick(ScriptedModel):
    """Says what it is told to and looks at nothing: a ``ScriptedModel`` checks the whole history at each call, which
    takes half a millisecond at 300 messages and is no part of a turn."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        self.requests.append(request)
        line = self.always(request) if callable(self.always) else self.always
        say = line if isinstance(line, Say) else Say(str(line))
        for word in words(say.text):
            yield TextDelta(word)
        reply = reply_of(say, len(self.requests))
        for call in reply.calls:
            yield CallDelta(call.id, call.name, call.arguments)
        yield reply


@dataclass(slots=True)
class Kind:
    """One kind of turn: how many messages and model calls it has, and how many of it were made."""

    name: str
    model: ScriptedModel
    messages: int
    calls: int
    tools: Sequence[AnyTool] = ()
    agent: lash.Agent[str] = field(init=False)
    turns: int = 0

    def __post_init__(self) -> None:
        self.agent = lash.Agent(self.name, model=(self.model, "m"), tools=self.tools)

    async def turn(self, session: lash.Session[str]) -> None:
        self.turns += 1
        outcome = await (await session.send(f"What is 2 + 3? ({self.turns})"))
        assert isinstance(outcome, lash.Finished)
        assert outcome.output == ANSWER

    def check(self) -> None:
        made, wanted = len(self.model.requests), self.turns * self.calls
        assert made == wanted, f"{made} model calls were made in turns of the kind {self.name!r}, not {wanted}"


def kinds() -> list[Kind]:
    return [
        Kind("plain", Quick(always=ANSWER), 2, 1),
        Kind("finish", Quick(always=ending), 3, 1, [add_and_end]),
        Kind("tool", Quick(always=with_tool), 4, 2, [add]),
    ]


@dataclass(slots=True)
class Turns:
    """Each on its own: milliseconds of wall clock and of CPU."""

    wall_ms: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])

    async def time(self, kind: Kind, session: lash.Session[str]) -> None:
        cpu_s, began = time.process_time(), time.perf_counter()
        await kind.turn(session)
        self.wall_ms.append((time.perf_counter() - began) * 1_000)
        self.cpu_ms.append((time.process_time() - cpu_s) * 1_000)

    def values(self, name: str) -> Values:
        return {
            f"{name}_p50_ms": statistics.median(self.wall_ms),
            f"{name}_p99_ms": percentile(self.wall_ms, 99),
            f"{name}_cpu_ms": statistics.mean(self.cpu_ms),
        }


async def in_short_sessions(app: lash.Runtime, kind: Kind, turns: int, between: Callable[[], None]) -> Turns:
    """One at a time; ``between`` is called before each and not counted, nor is opening the sessions."""
    taken = Turns()
    sessions = [
        await app.session(f"short-{kind.name}-{number}", kind.agent) for number in range(-(-turns // SHORT_TURNS))
    ]
    with Timed(f"turn-{kind.name}"):
        for number in range(turns):
            between()
            await taken.time(kind, sessions[number // SHORT_TURNS])
    return taken


async def in_a_long_session(app: lash.Runtime, kind: Kind, turns: int, messages: int) -> Turns:
    """One at a time, in a session of so many messages half-way."""
    taken = Turns()
    session = await app.session(f"long-{kind.name}", kind.agent)
    for _ in range(max(0, messages // kind.messages - turns // 2)):
        await kind.turn(session)
    with Timed(f"long-{kind.name}"):
        for _ in range(turns):
            await taken.time(kind, session)
    return taken


async def at_once(app: lash.Runtime, kind: Kind, sessions: int, turns: int) -> Timed:
    """So many turns in each of so many sessions, which take them at the same time."""
    opened = [await app.session(f"many-{kind.name}-{number}", kind.agent) for number in range(sessions)]

    async def converse(session: lash.Session[str]) -> None:
        for _ in range(turns):
            await kind.turn(session)

    with Timed(f"turns-{kind.name}") as timed:
        await asyncio.gather(*[converse(session) for session in opened])
    return timed


async def overhead(
    url: str, sizes: Mapping[str, float], between: Callable[[], None], count: CountCommits | None = None
) -> tuple[Values, int]:
    """The metrics of any store, those of commits where it counts them, and how many turns were made in all."""
    turns, long_turns, messages, sessions, each = (
        int(sizes[name]) for name in ("turns", "long_turns", "messages", "sessions", "turns_each")
    )
    made = kinds()
    values: Values = {}
    async with lash.Runtime(url, agents=[kind.agent for kind in made], concurrency=CONCURRENCY) as app:
        for kind in made:
            warm = await app.session(f"warm-{kind.name}", kind.agent)
            for _ in range(WARM_UP):
                await kind.turn(warm)
        for kind in made:
            before = None if count is None else await count(app)
            values |= (await in_short_sessions(app, kind, turns, between)).values(kind.name)
            if count is not None and before is not None:
                committed = (await count(app)).since(before)
                values |= {f"{kind.name}_commits": committed.total / turns, "inline_percent": committed.inline_percent}
        for kind in made[1:]:
            values |= (await in_a_long_session(app, kind, long_turns, messages)).values(f"long_{kind.name}")
        for kind in made:
            many = await at_once(app, kind, sessions, each)
            values[f"{kind.name}_turns_per_s"] = sessions * each / many.wall_s
            values[f"{kind.name}_many_cpu_ms"] = many.cpu_s / (sessions * each) * 1_000
    for kind in made:
        kind.check()
    return values, sum(kind.turns for kind in made)


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    bare = BareFile(folder)
    floor_ms: list[float] = []
    url = fresh_url(folder, "turns")
    values, turns = asyncio.run(overhead(url, sizes, lambda: floor_ms.append(bare.one_commit_ms()), commits))
    bare.close()
    recorded.expect_turns(folder / "turns.db", turns)
    return {**values, "floor_p50_ms": statistics.median(floor_ms)}


if __name__ == "__main__":
    serve(measure)
