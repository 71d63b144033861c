"""Promise: whatever is killed and stopped, every input of every session is answered once, in order, on a sound history.

Four workers on one database, replaced when killed; turns with two parallel tools each.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import lash
from tests.concurrency.chatting import AGENT
from tests.concurrency.crew import Crew
from tests.concurrency.databases import Database
from tests.concurrency.test_chaos import Chaos

SESSIONS = 10
INPUTS = 8
SECONDS = 6
SETTLE_S = 60


async def send_all(url: str) -> None:
    async with lash.Runtime(url, worker=False, agents=[AGENT]) as app:
        sessions = [await app.session(f"s{number}", AGENT) for number in range(SESSIONS)]
        for number in range(INPUTS):
            for session in sessions:
                await session.send(f"word {number}", key=f"k{number}")


async def outcomes(url: str) -> dict[str, list[object]]:
    """By session: the outputs of its turns, and the roles of its history."""
    async with lash.Runtime(url, worker=False, agents=[AGENT]) as app, asyncio.timeout(SETTLE_S):
        found: dict[str, list[object]] = {}
        for number in range(SESSIONS):
            session = await app.session(f"s{number}", AGENT)
            ends = [await session.turn(item) for item in range(1, INPUTS + 1)]
            history = await session.history(limit=1_000)
            found[session.id] = [
                [end.output if isinstance(end, lash.Finished) else end.reason for end in ends],
                [entry.message.role for entry in history],
            ]
        return found


def test_every_input_is_answered_once_and_in_order(database: Database, tmp_path: Path) -> None:
    seed = 7
    with Crew(tmp_path, database) as crew:
        asyncio.run(send_all(crew.url))
        chaos = Chaos(crew, random.Random(seed))
        chaos.run(SECONDS)
        found = asyncio.run(outcomes(crew.url))
        expected = [f"{number + 1}: word {number}" for number in range(INPUTS)]
        for session_id, (outputs, roles) in found.items():
            assert outputs == expected, session_id
            assert roles == ["user", "assistant", "tool", "assistant"] * INPUTS, session_id
        assert chaos.kills > 0
        performed = Counter(label for _, _, _, label in crew.performed() if label.startswith("model"))
        assert set(performed) == {
            f"model:s{session}:{4 * turn + part}"
            for session in range(SESSIONS) for turn in range(INPUTS) for part in (1, 3)
        }  # fmt: skip
        again = sum(count - 1 for count in performed.values())
        assert again <= (chaos.kills + chaos.stops + chaos.drains) * SESSIONS, again
