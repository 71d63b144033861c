"""SESSION, what is kept of a conversation: how soon a long one is there again, and how much of the disk it takes.

The long session is made once per run, of plain turns, and kept for the rounds, each of which adds a few. The text of
the other one is of random letters and blanks, so that compression, where there is any, is no help.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import lash
from benchmarks import recorded
from benchmarks.child import SECONDS_MAX, Values, environment, fresh_url, serve, url_of
from benchmarks.peers.programs.measuring import DISK_CHARS, Prose
from lash.limits import WINDOW_NODES
from lash.testing import ScriptedModel

AGAIN: Final = 5
LONG: Final = "long"
NODES_PER_TURN: Final = 2
"""What was said, and the answer."""


def plain_agent() -> lash.Agent[str]:
    return lash.Agent("plain", model=(ScriptedModel(always="Indeed."), "m"))


async def make_long(url: str, nodes: int) -> None:
    model = ScriptedModel(always="Indeed.")
    agent = lash.Agent("plain", model=(model, "m"))
    async with lash.Runtime(url, agents=[agent]) as app:
        session = await app.session(LONG, agent)
        for number in range(nodes // NODES_PER_TURN):
            await (await session.send(f"Word number {number}."))
            model.requests.clear()


def database(folder: Path, nodes: int) -> Path:
    """A file with a session of so many nodes, made in this round or in an earlier one."""
    path, made = folder / f"long-{nodes}.db", folder / f"long-{nodes}.made"
    if not made.exists():
        command = [sys.executable, "-m", "benchmarks.sessions", "prepare", fresh_url(folder, path.stem), str(nodes)]
        subprocess.run(command, env=environment(), check=True, timeout=SECONDS_MAX)
        made.touch()
    return path


async def reopened(url: str, nodes: int) -> tuple[float, float]:
    """Milliseconds to open a runtime, and then until row and window of the session are there."""
    began = time.perf_counter()
    async with lash.Runtime(url, agents=[plain_agent()], worker=False) as app:
        opened = time.perf_counter()
        session: lash.Session[str] = await app.session(LONG)
        row = await session.row()
        window = await session.nodes(limit=WINDOW_NODES)
        there = time.perf_counter()
    assert row.head >= nodes
    assert len(window) == min(row.head, WINDOW_NODES)
    assert window[-1].number == row.head
    return (opened - began) * 1_000, (there - opened) * 1_000


async def first_turn_ms(url: str) -> float:
    """In a fresh runtime, which reads the conversation back to have the model go on with it."""
    async with lash.Runtime(url, agents=[agent := plain_agent()]) as app:
        session = await app.session(LONG, agent)
        began = time.perf_counter()
        assert isinstance(await (await session.send("Once more.")), lash.Finished)
        return (time.perf_counter() - began) * 1_000


async def converse(folder: Path, turns: int) -> int:
    """Turns of ``DISK_CHARS`` said and as many answered. Returns the bytes of all files but the log, before closing."""
    url = fresh_url(folder, "talk")
    prose = Prose()
    agent = lash.Agent("prose", model=(ScriptedModel(always=lambda _: prose.of(DISK_CHARS)), "m"))
    async with lash.Runtime(url, agents=[agent]) as app:
        session = await app.session("talk", agent)
        for _ in range(turns):
            assert isinstance(await (await session.send(prose.of(DISK_CHARS))), lash.Finished)
        return files_bytes(folder)


def files_bytes(folder: Path) -> int:
    """Of the database of that conversation and whatever is beside it, without the log and the log's index."""
    found = [path for path in folder.glob("talk.db*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    found += [path for path in (folder / "talk.db-workers").rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in found)


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    nodes, turns = int(sizes["nodes"]), int(sizes["turns"])
    url = url_of(database(folder, nodes))
    open_ms, first_ms = asyncio.run(reopened(url, nodes))
    again_ms = [asyncio.run(reopened(url, nodes))[1] for _ in range(AGAIN)]
    turn_ms = asyncio.run(first_turn_ms(url))
    opened_bytes = asyncio.run(converse(folder, turns))
    recorded.expect_turns(folder / "talk.db", turns)
    recorded.settled_bytes(folder / "talk.db")  # a closed database has no log; here it must have none
    taken, text = files_bytes(folder), 2 * turns * DISK_CHARS
    return {
        "reopen_ms": first_ms,
        "reopen_warm_ms": statistics.median(again_ms),
        "turn_ms": turn_ms,
        "open_ms": open_ms,
        "disk_mb": taken / 1e6,
        "disk_open_mb": opened_bytes / 1e6,
        "text_mb": text / 1e6,
        "disk_factor": taken / text,
    }


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        asyncio.run(make_long(sys.argv[2], int(sys.argv[3])))
    else:
        serve(measure)
