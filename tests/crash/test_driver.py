"""Promise: whatever befalls one statement on its way to the server, nothing is lost and nothing is done twice.

The connection breaks before it or before its answer comes, the server refuses it or goes down, for every statement of
a life: opening, writing, reading, listening, proving, closing. The same life must come to the same end by itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from tests.crash.driver import DRIVER, TROUBLES, Driver, Trouble, installed
from tests.crash.lives import EAGER, PATIENT, Mode, judge_undying, undying
from tests.crash.places import SCHEMAS, THOROUGH, store_on
from tests.crash.scenarios import LEDGER, SCENARIOS, Scenario
from tests.postgres import cluster

WHOLE = "sequence"
"""Each statement of it meets one trouble after the other, from a random one on. Of each other scenario, so many do."""
CASES = 6
AT_ONCE = 10
MODES = (EAGER, PATIENT)


async def case(scenario: Scenario, mode: Mode, at: int, trouble: Trouble) -> tuple[Driver, list[str]]:
    """One life with one trouble."""
    LEDGER.begin()
    url = await SCHEMAS.take()
    driver = Driver(at, trouble)
    DRIVER.set(driver)

    def checking(now: bool) -> None:
        driver.paused = now

    store = store_on(url)
    told = await undying(scenario, store, store, mode, checking)
    DRIVER.set(None)
    SCHEMAS.give(url)
    faults = judge_undying(scenario, told)
    return driver, [f"{scenario.name}, {mode.name}, {trouble} at {at} ({driver.met}): {fault}" for fault in faults]


def chosen(scenario: Scenario, statements: int, chance: random.Random) -> list[tuple[int, Trouble]]:
    """(number of the statement, what befalls it)."""
    numbers = range(1, statements + 1)
    if THOROUGH:
        return [(at, trouble) for at in numbers for trouble in TROUBLES]
    if scenario.name == WHOLE:
        turn = chance.randrange(len(TROUBLES))
        return [(at, TROUBLES[(at + turn) % len(TROUBLES)]) for at in numbers]
    return [(at, chance.choice(TROUBLES)) for at in chance.sample(numbers, min(CASES, statements))]


async def every_statement(scenario: Scenario, mode: Mode, chance: random.Random) -> tuple[Counter[Trouble], list[str]]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(at: int, trouble: Trouble) -> tuple[Driver, list[str]]:
        async with room:
            return await asyncio.create_task(case(scenario, mode, at, trouble))

    counting, faults = await one(0, "gone")
    cases = chosen(scenario, len(counting.statements), chance)
    done = await asyncio.gather(*(one(at, trouble) for at, trouble in cases))
    met = Counter(driver.trouble for driver, _ in done if driver.met)
    return met, faults + [fault for _, found in done for fault in found]


@pytest.mark.parametrize("name", SCENARIOS)
def test_trouble_with_any_statement_changes_no_outcome(name: str) -> None:
    cluster()
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    mode = chance.choice(MODES)
    began = time.monotonic()
    with installed():
        met, faults = asyncio.run(every_statement(SCENARIOS[name], mode, chance))
    print(
        f"\n{name}, {mode.name}: {met.total()} troubles in {time.monotonic() - began:.1f} s, seed {seed}: {dict(met)}"
    )
    assert faults == [], f"seed {seed}"
    assert met.total() >= CASES // 2
