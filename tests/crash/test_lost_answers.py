"""Promise: trouble with the store is never the outcome of a process, and no request is harmed by being repeated.

The store fails once, at any write, before the commit or after it with the answer lost; nobody dies. The same life
must come to the same end by itself: what was claimed is found again, what was told twice counts once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lash.abc.store import Store, Verdict
from lash.errors import StoreUnavailable
from lash.testing.faults import FaultyStore
from tests.crash.lives import EAGER, PATIENT, Mode, When, judge_undying, undying
from tests.crash.places import SCHEMAS, SQLITE, STORES, THOROUGH, fast_folder, store_on
from tests.crash.scenarios import LEDGER, SCENARIOS, Scenario

STEP = {"sqlite": 3, "postgres": 1 if THOROUGH else 12}
"""One write of so many fails."""
AT_ONCE = {"sqlite": 20, "postgres": 8}
"""Cases that wait for their back-offs beside one another."""
WRITES_MAX = 200
"""No scenario writes as often."""


class Hiccup(FaultyStore):
    """Write number ``fail_at`` fails; every other goes through."""

    def __init__(self, inner: Store, fail_at: int, when: When) -> None:
        super().__init__(inner)
        self.fail_at = fail_at
        self.failing = when
        self.failed = False

    def _before(self) -> Store:
        self.writes += 1
        if self.writes == self.fail_at and self.failing == "before":
            raise self._failure()
        return self.inner

    def _after(self, verdicts: list[Verdict]) -> list[Verdict]:
        if self.writes == self.fail_at:
            raise self._failure()
        return verdicts

    def _failure(self) -> StoreUnavailable:
        self.failed = True
        return StoreUnavailable(f"Write {self.fail_at} failed ({self.failing} its commit).")


@asynccontextmanager
async def place_in(kind: str, folder: Path, name: str) -> AsyncIterator[str]:
    if kind == "sqlite":
        yield f"{SQLITE}{folder / name}.db"
        return
    url = await SCHEMAS.take()
    yield url
    SCHEMAS.give(url)


async def case(scenario: Scenario, url: str, mode: Mode, fail_at: int, when: When) -> tuple[bool, list[str]]:
    """One life with one failing write → (whether it came to that write, faults)."""
    LEDGER.begin()
    inner = store_on(url, mode.sync)
    store = Hiccup(inner, fail_at, when)
    faults = judge_undying(scenario, await undying(scenario, store, inner, mode))
    return store.failed, [f"{mode.name}, {when} write {fail_at}: {fault}" for fault in faults]


async def every_write(kind: str, scenario: Scenario, folder: Path, room: asyncio.Semaphore) -> tuple[int, list[str]]:
    """Before some writes and after others, until a life does not come to its write → (failed, faults)."""

    async def one(mode: Mode, number: int, when: When) -> tuple[bool, list[str]]:
        async with room, place_in(kind, folder, f"{scenario.name}-{mode.name}-{when}-{number}") as url:
            return await asyncio.create_task(case(scenario, url, mode, number, when))

    faults: list[str] = []
    failed = 0
    for number in range(1, WRITES_MAX, STEP[kind]):
        done = await asyncio.gather(one(EAGER, number, "before"), one(PATIENT, number + 1, "after"))
        failed += sum(came for came, _ in done)
        faults += [f"{scenario.name}, {fault}" for _, found in done for fault in found]
        if not any(came for came, _ in done):
            break
    return failed, faults


async def every_scenario(kind: str, folder: Path) -> tuple[int, list[str]]:
    room = asyncio.Semaphore(AT_ONCE[kind])
    done = await asyncio.gather(*(every_write(kind, scenario, folder, room) for scenario in SCENARIOS.values()))
    return sum(failed for failed, _ in done), [fault for _, found in done for fault in found]


@pytest.mark.parametrize("kind", STORES)
def test_a_failing_write_changes_no_outcome(kind: str) -> None:
    began = time.monotonic()
    with fast_folder() as folder:
        failed, faults = asyncio.run(every_scenario(kind, folder))
    print(f"\n{kind}: {failed} failed writes in {time.monotonic() - began:.1f} s")
    assert faults == []
    assert failed >= 18 / STEP[kind] * len(SCENARIOS)
