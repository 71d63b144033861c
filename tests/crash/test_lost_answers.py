"""Promise: trouble with the store is never the outcome of a process, and no request is harmed by being repeated.

The store fails once, at any write, before the commit or after it with the answer lost; nobody dies. The same life
must come to the same end by itself: what was claimed is found again, what was told twice counts once.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from lash.abc.store import Store, Verdict
from lash.errors import StoreUnavailable
from lash.stores.sqlite import SqliteStore
from lash.testing.checkers import check_store
from lash.testing.faults import FaultyStore
from tests.crash.lives import EAGER, LIFE_S, PATIENT, Mode, When, fast_folder, judge, runtime_on
from tests.crash.scenarios import LEDGER, SCENARIOS, Scenario

AT_ONCE = 20
"""Cases that wait for their back-offs beside one another."""
WRITES_MAX = 200
"""No scenario writes as often."""


class Hiccup(FaultyStore):
    """Write number ``fail_at`` fails; every other goes through."""

    def __init__(self, inner: SqliteStore, fail_at: int, when: When) -> None:
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


async def case(scenario: Scenario, path: Path, mode: Mode, fail_at: int, when: When) -> tuple[bool, list[str]]:
    """One life with one failing write → (whether it came to that write, faults)."""
    LEDGER.begin()
    inner = SqliteStore(str(path), sync=mode.sync)
    store = Hiccup(inner, fail_at, when)
    app = runtime_on(store, mode)
    scenario.register(app)
    try:
        async with asyncio.timeout(LIFE_S):
            while True:
                try:
                    await app.open()
                    if mode.in_thread:
                        inner.commit_in_thread()
                    break
                except StoreUnavailable:
                    pass
            told = await scenario.drive(app)
            assert await scenario.drive(app) == told, "asked again, the caller was told something else"
            assert await check_store(inner) == scenario.processes
    except TimeoutError:
        told = "hangs"
    except AssertionError as error:
        told = str(error)
    finally:
        await app.close()
    allowed = scenario.outcomes if scenario.performs_max == 1 else scenario.outcomes[:1]
    faults = judge(scenario, told, 1)
    if told not in allowed:
        faults.append(f"the caller was told {told!r}, expected one of {allowed!r}")
    return store.failed, [f"{mode.name}, {when} write {fail_at}: {fault}" for fault in faults]


async def every_write(scenario: Scenario, folder: Path, room: asyncio.Semaphore) -> tuple[int, list[str]]:
    """Before some writes and after others, until a life does not come to its write → (failed, faults)."""

    async def one(mode: Mode, number: int, when: When) -> tuple[bool, list[str]]:
        async with room:
            path = folder / f"{scenario.name}-{mode.name}-{when}-{number}.db"
            return await asyncio.create_task(case(scenario, path, mode, number, when))

    faults: list[str] = []
    failed = 0
    for number in range(1, WRITES_MAX, 3):
        done = await asyncio.gather(one(EAGER, number, "before"), one(PATIENT, number + 1, "after"))
        failed += sum(came for came, _ in done)
        faults += [f"{scenario.name}, {fault}" for _, found in done for fault in found]
        if not any(came for came, _ in done):
            break
    return failed, faults


async def every_scenario(folder: Path) -> tuple[int, list[str]]:
    room = asyncio.Semaphore(AT_ONCE)
    done = await asyncio.gather(*(every_write(scenario, folder, room) for scenario in SCENARIOS.values()))
    return sum(failed for failed, _ in done), [fault for _, found in done for fault in found]


def test_a_failing_write_changes_no_outcome() -> None:
    began = time.monotonic()
    with fast_folder() as folder:
        failed, faults = asyncio.run(every_scenario(folder))
    print(f"\n{failed} failed writes in {time.monotonic() - began:.1f} s")
    assert faults == []
    assert failed >= 6 * len(SCENARIOS)
