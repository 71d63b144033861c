"""Promise: killed at any write, before it or after its commit, every process reaches the outcome it would have had.

Every effect is recorded once, performed at most once more per crash, and the caller who asks again is told the same.
"""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from tests.crash.lives import EAGER, PATIENT, SAFETY_S, Life, Mode, When, bystander, fast_folder, judge
from tests.crash.scenarios import LEDGER, SCENARIOS, Scenario

PATIENT_EVERY = 4
"""The patient mode writes much the same; every fourth of its writes is enough beside all of the eager one's."""
TWICE = 40
"""Pairs of crashes: the second one hits the recovery from the first."""


def case(scenario: Scenario, mode: Mode, crashes: list[tuple[int, When]]) -> tuple[int, list[str]]:
    """Lives that end at the writes given, and a last one → (lives that did end there, faults)."""
    LEDGER.begin()
    died = 0
    with fast_folder() as folder, bystander(folder / "crash.db"):
        path = folder / "crash.db"
        for number, (crash_at, when) in enumerate(crashes):
            life = Life(scenario, path, mode, crash_at, when, first=number == 0)
            asyncio.run(life.run())
            died += life.store.crashed
        return died, judge(scenario, asyncio.run(Life(scenario, path, mode, first=False).run()), died)


def every_write(scenario: Scenario, mode: Mode, step: int) -> tuple[int, list[str]]:
    """Each write from the first on, until a life is over before it gets to die → (crash points, faults)."""
    faults: list[str] = []
    points = 0
    whens: tuple[When, When] = ("before", "after")
    for when in whens:
        crash_at = 1
        died = 1
        while died:
            began = time.monotonic()
            died, found = case(scenario, mode, [(crash_at, when)])
            points += died
            took = time.monotonic() - began
            if took > SAFETY_S:
                found.append(f"took {took:.1f} s: somebody was not woken")
            faults += [f"{mode.name}, {when} write {crash_at}: {fault}" for fault in found]
            crash_at += step
    return points, faults


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_write_changes_no_outcome(name: str, record_property: pytest.RecordProperty) -> None:
    scenario = SCENARIOS[name]
    began = time.monotonic()
    points, faults = every_write(scenario, EAGER, 1)
    more, found = every_write(scenario, PATIENT, PATIENT_EVERY)
    print(f"\n{name}: {points} + {more} crash points in {time.monotonic() - began:.1f} s")
    record_property("crash_points", points + more)
    assert faults + found == []
    assert points >= 8, "a scenario that hardly writes proves little"


def test_a_crash_of_the_recovery_from_a_crash_changes_no_outcome() -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    print(f"\nseed {seed}")
    faults: list[str] = []
    died = 0
    for _ in range(TWICE):
        scenario = SCENARIOS[chance.choice(list(SCENARIOS))]
        mode = chance.choice([EAGER, PATIENT])
        crashes: list[tuple[int, When]] = [
            (chance.randint(1, 16), chance.choice(["before", "after"])),
            (chance.randint(1, 12), chance.choice(["before", "after"])),
        ]
        dead, found = case(scenario, mode, crashes)
        died += dead
        faults += [f"{scenario.name} {mode.name} {crashes}: {fault}" for fault in found]
    print(f"{died} crashes in {TWICE} cases")
    assert faults == [], f"seed {seed}"
    assert died > TWICE
