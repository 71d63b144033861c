"""One life of a runtime over one SQLite file: until it is done, or until the write it is to die at.

A life that dies leaves what SIGKILL leaves: no lease released, no worker discharged, its lock gone, its log not folded
back into the database (a bystander keeps the file open).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lash.abc.store import ProcessFilter, Store
from lash.engines.local import LocalEngine
from lash.errors import StoreUnavailable
from lash.runtime.opening import Opening
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.stores.sqlite import SqliteStore
from lash.testing.checkers import check_store
from lash.testing.faults import FaultyStore
from tests.crash.scenarios import LEDGER, Scenario

When = Literal["before", "after"]
LIFE_S = 30
"""A life that takes longer hangs."""
SAFETY_S = 5
"""What takes this long was not woken but found by the slow look behind the notices."""


@dataclass(frozen=True)
class Mode:
    """How patient a worker is: parking at once and forgetting, or staying a little and remembering. And where it
    commits: on the event loop, or on a thread as on a slow disk."""

    name: str
    linger: str
    resident: int
    in_thread: bool
    sync: Literal["full", "normal"] = "normal"


EAGER = Mode("eager", "0ms", 0, in_thread=False)
PATIENT = Mode("patient", "40ms", 100, in_thread=True)


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where the machine has one: what is killed here is a process, never the machine."""
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="lash-crash-", dir=parent) as folder:
        yield Path(folder)


@contextmanager
def bystander(path: Path) -> Iterator[sqlite3.Connection]:
    """Keeps the file open, so that the last connection of a dying life does not fold the log back."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection
    finally:
        connection.close()


def runtime_on(store: Store, mode: Mode, concurrency: int = 64) -> Runtime:
    settings = settings_of(concurrency, "2s", mode.linger, mode.resident, "2s", "default", None)
    return Runtime(store, LocalEngine(store), settings, True)


class Dying(FaultyStore):
    """Once it has crashed, an orderly close is refused too: it would tidy up what SIGKILL leaves lying about."""

    async def close(self) -> None:
        if not self.crashed:
            await self.inner.close()


class Life:
    """``await life.run()`` is what the caller was told, or None when the life ended at write ``crash_at``."""

    def __init__(
        self, scenario: Scenario, path: Path, mode: Mode, crash_at: int = 0, when: When = "before", first: bool = True
    ) -> None:
        self.scenario = scenario
        self.mode = mode
        self.first = first
        self.inner = SqliteStore(str(path), sync=mode.sync)
        self.store = Dying(self.inner, crash_at, when, self._die)
        self.app = runtime_on(self.store, mode)
        self.dead = asyncio.Event()
        self.opening: Opening | None = None
        scenario.register(self.app)

    def _die(self) -> None:
        """From within the deadly write: from here on nothing runs that could be seen from outside."""
        self.dead.set()
        self.opening = self.app._opening or self.opening
        if self.opening is not None:
            if self.opening.worker is not None:
                self.opening.worker.abort()
            self.opening.batcher.abort()

    async def run(self) -> object:
        told: object = None
        caller = asyncio.create_task(self._call())
        death = asyncio.create_task(self.dead.wait())
        try:
            async with asyncio.timeout(LIFE_S):
                await asyncio.wait((caller, death), return_when=asyncio.FIRST_COMPLETED)
                if not self.dead.is_set():
                    told = caller.result()
        except TimeoutError:
            told = ["hangs", await self.inner.page(ProcessFilter())]
        finally:
            for task in (caller, death):
                task.cancel()
            await asyncio.gather(caller, death, return_exceptions=True)
            await self._bury()
        return told

    async def _call(self) -> object:
        """Open, ask, close; in the last life ask twice, for a repeated request changes nothing, and look at all."""
        await self.app.open()
        self.opening = self.app._opening
        if self.mode.in_thread:
            self.inner.commit_in_thread()
        if self.first and self.scenario.leave is not None:
            told = await self.scenario.leave(self.app)
        else:
            told = await self.scenario.drive(self.app)
            if not self.store.crash_at:
                before = await self._all()
                assert await self.scenario.drive(self.app) == told, "asked again, the caller was told something else"
                assert await self._all() == before, "asked again, the caller changed something"
                assert await check_store(self.inner) == self.scenario.processes
        await self.app.close()
        return told

    async def _all(self) -> list[tuple[str, int]]:
        rows = await self.app.processes(limit=1_000)
        return [(row.record.id, row.record.last_event) for row in rows]

    async def _bury(self) -> None:
        """Drop what a life that was not closed leaves in memory."""
        if self.app._opening is not None:
            self._die()
        opening = self.opening
        if opening is not None:
            if opening._rounds is not None:
                await opening._rounds.abort()
            await opening.hub.close()
            if opening._looking is not None:
                opening._looking.cancel()
                await asyncio.gather(opening._looking, return_exceptions=True)
            if opening._threads is not None:
                opening._threads.shutdown(wait=True)
        with suppress(StoreUnavailable):
            self.inner.crash()


def performed(crashes: int, scenario: Scenario, complete: bool) -> list[str]:
    """What is wrong with what was performed."""
    faults: list[str] = []
    counts = Counter(LEDGER.lines)
    allowed = scenario.performs_max if scenario.performs_max is not None else 1 + crashes
    faults += [f"performed {count} times: {line}" for line, count in counts.items() if count > allowed]
    labels: dict[str, set[str]] = {}
    for line in counts:
        key, _, label = line.partition(" ")
        labels.setdefault(key, set()).add(label)
    faults += [f"one key for several calls: {key} {found}" for key, found in labels.items() if len(found) > 1]
    if (complete and len(counts) != scenario.effects) or len(counts) > scenario.effects:
        faults.append(f"{len(counts)} effects performed, there are {scenario.effects}: {sorted(counts)}")
    return faults


def judge(scenario: Scenario, told: object, crashes: int) -> list[str]:
    faults = performed(crashes, scenario, complete=told == scenario.outcomes[0])
    if told not in scenario.outcomes or (not crashes and told != scenario.outcomes[0]):
        faults.append(f"the caller was told {told!r}, expected {scenario.outcomes!r}")
    return faults
