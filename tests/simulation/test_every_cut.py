"""Every beginning of a journal replays: wherever a crash cuts it, the body asks for what comes next and no more."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from lash.core.effect import Entry
from lash.core.process import ProcessRow
from lash.engines.local import LocalEngine
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from tests.simulation.programs import Grower, interpreter
from tests.simulation.world import World

SEEDS = 60
BLOCK = 10


async def finished(seed: int) -> tuple[Any, ProcessRow, list[Entry]]:
    """An undisturbed run of one program, to its end or to where it waits for ever."""
    rng = Random(seed)
    program = Grower(rng, 40, children=0).program()
    store = MemoryStore(simulate.now_ms)
    process = interpreter(World(rng))
    settings = settings_of(64, "10s", "1s", 1_000, "1s", "default", None)
    app = Runtime(store, LocalEngine(store), settings, True)
    app.include(process)
    async with app:
        await app.start(process, program, id="p")
        for number in range(12):
            await asyncio.sleep(0.3)
            row = (await store.get(("p",)))[0]
            assert isinstance(row, ProcessRow)
            if row.record.status.final:
                break
            await app.handle("p").signal("a" if number % 2 else "b", number)
        await asyncio.sleep(30)
        row = (await store.get(("p",)))[0]
        assert isinstance(row, ProcessRow)
        return process, row, await store.history(row.row, 0)


async def every_cut(seed: int) -> None:
    process, row, entries = await finished(seed)
    whole = await simulate.replay(process, row.record, entries)
    assert whole.outcome == row.record.outcome
    asked_before: set[tuple[str, int]] = set()
    for cut in range(len(entries)):
        replayed = await simulate.replay(process, row.record, entries[:cut])
        asked = {(effect.kind.value, effect.ordinal) for effect in replayed.asked}
        following = entries[cut]
        if following.kind.value in ("step", "command", "wait"):
            assert (following.kind.value, following.ordinal) in asked | asked_before, (cut, following)
        asked_before |= asked


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_every_prefix_of_every_journal_replays_without_divergence(first: int) -> None:
    for seed in range(first, first + BLOCK):
        try:
            simulate.run(every_cut(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
