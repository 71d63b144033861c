"""What the programs share: what is asked of them, how a kill and a resumption are timed, how they answer.

Only the standard library is imported here, because this runs in the environment of every peer.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

ANSWER: Final = "measured: "
VALUE: Final = {"text": "x" * 188}
"""What every step returns: 200 bytes as JSON."""
STEPS: Final = 10
"""Of one workflow of W2 and W4."""
STEPS_BEFORE: Final = 5
"""Of a workflow of W4, recorded before the kill; the next one is being performed when it comes."""
CONCURRENCY: Final = 100
PARK_S: Final = 30 * 24 * 3_600
PAUSE_S: Final = 0.02
"""Between two starts of W5."""
SECONDS_MAX: Final = 900
QUESTION: Final = "What is 2 + 3?"
REPLY: Final = "The sum is 5."
"""The scripted conversation: asked, the model calls ``add`` with 2 and 3; given its result, it says this."""
DISK_CHARS: Final = 1_250
"""Of what is said, and of what is answered, in a turn of DISK: 400 turns are a million bytes of text."""
AGAIN: Final = 5
"""Times that the conversation of DISK is opened anew."""
DATABASE_BYTES_SQL: Final = "SELECT pg_database_size(current_database())"

Values = dict[str, float | list[float]]
Workload = Callable[["Asked"], Coroutine[Any, Any, Values]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one run of a program is to do. ``url`` names an empty database, ``folder`` an empty folder."""

    workload: str
    url: str
    folder: str
    steps: int
    """Of the one workflow of W1."""
    workflows: int
    """Of W2."""
    empty: int
    """Workflows of W3."""
    resumed: int
    """Workflows of W4."""
    parked: int
    starts: int
    """New workflows of one batch of W5."""
    batches: int
    variant: str = ""
    """Of the peer, where it has several."""
    alone: int = 50
    """Turns of the one conversation of T1."""
    conversations: int = 100
    """Of T100, all of them at once."""
    turns: int = 10
    """Of one conversation of T100."""
    disk_turns: int = 400

    @property
    def postgres(self) -> bool:
        return self.url.startswith("postgres")

    @property
    def path(self) -> str:
        """Of the file, where the URL names one."""
        return self.url.removeprefix("sqlite:///")


def asked_of(words: Sequence[str]) -> Asked:
    return Asked(words[0], **json.loads(words[1]))


def run(workloads: Mapping[str, Workload]) -> None:
    """Do what the command line asks for. The process ends at once after its answer: closing is not measured."""
    asked = asked_of(sys.argv[1:])
    tell(asyncio.run(workloads[asked.workload](asked)))


def tell(values: Values) -> None:
    print(ANSWER + json.dumps(values), flush=True)
    os._exit(0)


class Count:
    """How often something was done, by bodies that may run on several threads."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def add(self) -> None:
        self._times.append(time.monotonic())

    def __len__(self) -> int:
        return len(self._times)

    async def reach(self, wanted: int, pause_s: float = 0.002) -> None:
        """Wait until it was done so often. Raises ``TimeoutError``."""
        async with asyncio.timeout(SECONDS_MAX):
            while len(self._times) < wanted:  # noqa: ASYNC110  # filled by other threads
                await asyncio.sleep(pause_s)


class Prose:
    """Text of random letters and blanks, the same in every run."""

    def __init__(self) -> None:
        self._random = random.Random(1)

    def of(self, chars: int) -> str:
        return "".join(self._random.choices("abcdefghijklmnopqrstuvwxyz     ", k=chars))


Converse = Callable[[str], Awaitable[str]]
"""Says something in one conversation and returns the answer, once the turn is on disk."""


async def turns_alone(asked: Asked, open_one: Callable[[str], Awaitable[Converse]]) -> Values:
    """T1: turns one after another in one new conversation; another one before it is the warm-up."""
    await talk(await open_one("warm"), 5)
    converse = await open_one("alone")
    found_ms: list[float] = []
    for _ in range(asked.alone):
        began = time.perf_counter()
        await talk(converse, 1)
        found_ms.append((time.perf_counter() - began) * 1_000)
    return {"turn_p50_ms": statistics.median(found_ms), "turn_p99_ms": percentile(found_ms, 99)}


async def turns_at_once(asked: Asked, open_one: Callable[[str], Awaitable[Converse]]) -> Values:
    """T100: many conversations at the same time, each from its beginning."""

    async def whole(number: int) -> None:
        await talk(await open_one(f"many-{number}"), asked.turns)

    await talk(await open_one("warm"), 5)
    began = time.perf_counter()
    await at_once(asked.conversations, whole, asked.conversations)
    return {"turns_per_s": asked.conversations * asked.turns / (time.perf_counter() - began)}


async def talk(converse: Converse, turns: int) -> None:
    for _ in range(turns):
        assert await converse(QUESTION) == REPLY


async def fill_disk(asked: Asked, converse: Converse) -> None:
    """DISK: one conversation, a model call in each turn; the answer is as long as the question."""
    prose = Prose()
    for _ in range(asked.disk_turns):
        assert len(await converse(prose.of(DISK_CHARS))) == DISK_CHARS


async def again_ms(open_it: Callable[[], AbstractAsyncContextManager[Converse]]) -> float:
    """AGAIN: from a store that nobody has open until one more turn of the conversation of DISK is on disk, the median
    of some."""
    prose = Prose()
    found_ms: list[float] = []
    for _ in range(AGAIN):
        began = time.perf_counter()
        async with open_it() as converse:
            assert len(await converse(prose.of(DISK_CHARS))) == DISK_CHARS
            found_ms.append((time.perf_counter() - began) * 1_000)
    return statistics.median(found_ms)


class Answers:
    """The model of DISK: it counts its turns, and refuses one in which it is not given all that was said before."""

    def __init__(self) -> None:
        self._prose = Prose()
        self._turns = 0

    def to(self, messages: int) -> str:
        """``messages``: how many it is given, what was said last included."""
        assert messages == 2 * self._turns + 1, f"turn {self._turns + 1} gives the model {messages} messages"
        self._turns += 1
        return self._prose.of(DISK_CHARS)


def file_bytes(path: str, wait_s: float = 5.0) -> int:
    """Of a SQLite database, once its log is copied into it. ``wait_s``: for those who still use it."""
    connection = sqlite3.connect(path, timeout=wait_s)
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    assert not busy, "somebody still uses the database"
    return os.path.getsize(path)


async def at_once(count: int, start: Callable[[int], Awaitable[object]], concurrency: int = CONCURRENCY) -> None:
    """``start(number)`` for every number, so many of them in flight at any time."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await start(number)

    await asyncio.gather(*[lane() for _ in range(min(count, concurrency))])


async def latencies(asked: Asked, start: Callable[[], Awaitable[object]]) -> Values:
    """W5: milliseconds from a call of ``start``, which ends with the outcome, one at a time; p50 and p99 of batches."""
    p50: list[float] = []
    p99: list[float] = []
    for _ in range(asked.batches):
        found_ms: list[float] = []
        for _ in range(asked.starts):
            await asyncio.sleep(PAUSE_S)
            began = time.perf_counter()
            await start()
            found_ms.append((time.perf_counter() - began) * 1_000)
        p50.append(statistics.median(found_ms))
        p99.append(percentile(found_ms, 99))
    return {"start_p50_ms": p50, "start_p99_ms": p99}


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def life(module: str, name: str) -> subprocess.Popen[str]:
    """Start this program again as another OS process, for one life of W4."""
    return subprocess.Popen([sys.executable, "-m", module, name, sys.argv[2]], stdout=subprocess.PIPE, text=True)


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"a life of W4 ended with {child.wait()} and said nothing")
    return line


def killed_and_resumed(module: str, pause_s: float = 0.0) -> Values:
    """W4 for a peer that lives in one OS process: the first life is killed, the second one timed from its spawn.

    ``pause_s`` passes in between and is not counted.
    """
    first = life(module, "W4-first")
    assert line_of(first) == "ready"
    first.kill()
    first.wait()
    time.sleep(pause_s)
    began = time.monotonic()
    second = life(module, "W4-second")
    finished = float(line_of(second))
    second.wait()
    return {"resume_s": finished - began}


def ready() -> None:
    """The first life of W4 is where it is to be killed."""
    print("ready", flush=True)


def finished() -> None:
    """The second life of W4 has brought everything to its end, at this moment."""
    print(time.monotonic(), flush=True)
    os._exit(0)
