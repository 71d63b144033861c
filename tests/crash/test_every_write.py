"""Promise: killed at any write, before it or after its commit, every process reaches the outcome it would have had.

Every effect is recorded once, performed at most once more per crash, and the caller who asks again is told the same.
"""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash.lives import EAGER, PATIENT, SAFETY_S, Life, Mode, When, judge
from tests.crash.places import STORES, THOROUGH, fresh_place
from tests.crash.scenarios import LEDGER, SCENARIOS, Scenario
from tests.postgres import cluster

SHORT = "sequence once external attempts queue handover".split()
"""Killed at every write of the eager mode on PostgreSQL too, where a life costs several times as much; the others at
every fifth one, beginning anywhere."""
LONG_EVERY = 1 if THOROUGH else 5
PATIENT_EVERY = {"sqlite": 1 if THOROUGH else 4, "postgres": 1 if THOROUGH else 12}
"""The patient mode writes much the same; so many of its writes are enough beside those of the eager one."""
WRITES_MAX = 10_000
"""No life makes as many."""
AT_ONCE = 4
"""Cases beside one another: most of a life is waiting."""
TWICE = {"sqlite": 40, "postgres": 14}
"""Pairs of crashes: the second one hits the recovery from the first."""


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "postgres":
        cluster()  # started here, and not by several threads at once
    return str(request.param)


def case(kind: str, scenario: Scenario, mode: Mode, crashes: list[tuple[int, When]]) -> tuple[int, list[str]]:
    """Lives that end at the writes given, and a last one → (lives that did end there, faults)."""
    LEDGER.begin()
    died = 0
    with fresh_place(kind) as url:
        began = time.monotonic()
        for number, (crash_at, when) in enumerate(crashes):
            life = Life(scenario, url, mode, crash_at, when, first=number == 0)
            asyncio.run(life.run())
            died += life.store.crashed
        faults = judge(scenario, asyncio.run(Life(scenario, url, mode, first=False).run()), died)
        took = time.monotonic() - began
        if took > SAFETY_S:
            faults.append(f"took {took:.1f} s: somebody was not woken")
    return died, [f"{kind}, {scenario.name}, {mode.name}, {crashes}: {fault}" for fault in faults]


def writes_of(kind: str, scenario: Scenario, mode: Mode) -> int:
    """How many writes a life makes that is not disturbed; some more or less, as timers go."""
    LEDGER.begin()
    with fresh_place(kind) as url:
        life = Life(scenario, url, mode, crash_at=WRITES_MAX)
        asyncio.run(life.run())
        return life.store.writes


def crash_at_each(kind: str, scenario: Scenario, mode: Mode, writes: range) -> tuple[int, list[str]]:
    """Before and after each of these writes → (crash points, faults)."""
    whens: tuple[When, When] = ("before", "after")
    crashes = [[(number, when)] for when in whens for number in writes]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        done = list(threads.map(lambda pair: case(kind, scenario, mode, pair), crashes))
    return sum(died for died, _ in done), [fault for _, found in done for fault in found]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_write_changes_no_outcome(kind: str, name: str, record_property: pytest.RecordProperty) -> None:
    scenario = SCENARIOS[name]
    step = 1 if kind == "sqlite" or name in SHORT else LONG_EVERY
    patient_step = PATIENT_EVERY[kind]
    chance = random.SystemRandom()
    began = time.monotonic()
    writes = writes_of(kind, scenario, EAGER)
    points, faults = crash_at_each(kind, scenario, EAGER, range(chance.randint(1, step), writes + 1, step))
    patient = range(chance.randint(1, patient_step), writes + 1, patient_step)
    more, found = crash_at_each(kind, scenario, PATIENT, patient)
    print(f"\n{kind}, {name}: {points} + {more} crash points in {time.monotonic() - began:.1f} s")
    record_property("crash_points", points + more)
    assert faults + found == []
    assert points * step >= 8, "a scenario that hardly writes proves little"


def test_a_crash_of_the_recovery_from_a_crash_changes_no_outcome(kind: str) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    print(f"\nseed {seed}")
    pairs: list[tuple[Scenario, Mode, list[tuple[int, When]]]] = []
    for _ in range(TWICE[kind]):
        crashes: list[tuple[int, When]] = [
            (chance.randint(1, 16), chance.choice(["before", "after"])),
            (chance.randint(1, 12), chance.choice(["before", "after"])),
        ]
        pairs.append((SCENARIOS[chance.choice(list(SCENARIOS))], chance.choice([EAGER, PATIENT]), crashes))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        done = list(threads.map(lambda pair: case(kind, *pair), pairs))
    died = sum(number for number, _ in done)
    print(f"{died} crashes in {TWICE[kind]} cases")
    assert [fault for _, found in done for fault in found] == [], f"seed {seed}"
    assert 2 * died > TWICE[kind], "lives that hardly ever die prove little"
