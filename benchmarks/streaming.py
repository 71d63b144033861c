"""STREAM, how long a word of a model takes to an observer: in the same OS process, and in another one.

Each word is the moment it was said, on the system's monotonic clock, which the OS processes of one machine share. The
observer subtracts it from the moment it is told.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import lash
from benchmarks.child import ROOT, Values, environment, fresh_url, serve
from benchmarks.peers.programs.measuring import percentile
from lash.core.model import Chunk, ModelRequest, TextDelta
from lash.core.observe import Committed, TurnEvent
from lash.testing import Say, ScriptedModel
from lash.testing.model import reply_of
from lash.testing.postgres import postgres_cluster

PAUSE_S: Final = 0.02
"""Between two words: fifty a second, as a quick model."""
READY: Final = "ready"
SESSION: Final = "watched"
SECONDS_MAX: Final = 120


class Clock(ScriptedModel):
    """Says the time, word by word. ``words`` of them in each answer."""

    words: int = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        self.requests.append(request)
        said: list[str] = []
        for _ in range(self.words):
            await asyncio.sleep(PAUSE_S)
            said.append(f"{time.monotonic():.7f} ")
            yield TextDelta(said[-1])
        yield reply_of(Say("".join(said)), len(self.requests))


def agent_of(words: int) -> lash.Agent[str]:
    model = Clock()
    model.words = words
    return lash.Agent("clock", model=(model, "m"))


async def delays_ms(events: AsyncIterator[TurnEvent]) -> list[float]:
    """Of each word of one turn. A word that comes with others of its event is as late as they are."""
    delays: list[float] = []
    async for event in events:
        told = time.monotonic()
        if isinstance(event, lash.TextDelta):
            delays += [(told - float(word)) * 1_000 for word in event.text.split()]
        elif isinstance(event, Committed):
            return delays
    raise AssertionError("the stream ended without its turn")


async def here_ms(url: str, words: int) -> list[float]:
    """To an observer in the OS process that runs the turn."""
    agent = agent_of(words)
    async with lash.Runtime(url, agents=[agent]) as app:
        session = await app.session(SESSION, agent)
        delays = await delays_ms((await session.send("go")).stream())
    return whole(delays, words)


async def elsewhere_ms(url: str, words: int) -> list[float]:
    """To an observer in another OS process, which waits for the turn before it is sent."""
    agent = agent_of(words)
    async with lash.Runtime(url, agents=[agent]) as app:
        session = await app.session(SESSION, agent)
        command = [sys.executable, "-m", "benchmarks.streaming", "watch", url]
        child = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        try:
            async with asyncio.timeout(SECONDS_MAX):
                assert (await child.stdout.readline()).decode().strip() == READY
                await (await session.send("go"))
                delays: list[float] = json.loads(await child.stdout.readline())
        finally:
            if child.returncode is None:
                child.terminate()
            await child.wait()
    return whole(delays, words)


async def watch(url: str) -> None:
    """In the other OS process: observe the first turn, and tell the delays."""
    agent = agent_of(0)
    async with lash.Runtime(url, agents=[agent], worker=False) as app:
        session: lash.Session[str] = await app.session(SESSION)
        print(READY, flush=True)
        print(json.dumps(await delays_ms(session.observe())), flush=True)


def whole(delays: list[float], words: int) -> list[float]:
    """Every word was told once, and none before it was said."""
    assert len(delays) == words, f"{len(delays)} words were told of {words}"
    assert min(delays) >= -0.001, "a word was told before it was said"
    return delays


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    words = int(sizes["words"])
    here = asyncio.run(here_ms(fresh_url(folder, "stream-here"), words))
    elsewhere = asyncio.run(elsewhere_ms(fresh_url(folder, "stream-elsewhere"), words))
    with postgres_cluster(durable=True) as cluster:
        postgres = asyncio.run(elsewhere_ms(cluster.schema_url(), words))
    values: Values = {}
    for name, delays in (("here", here), ("elsewhere", elsewhere), ("postgres", postgres)):
        values[f"{name}_p50_ms"] = statistics.median(delays)
        values[f"{name}_p99_ms"] = percentile(delays, 99)
    return values


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        asyncio.run(watch(sys.argv[2]))
    else:
        serve(measure)
