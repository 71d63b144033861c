"""One life of a runtime on one database: until it is done, or until the write it is to die at.

A life that dies leaves what SIGKILL leaves: no lease released, no worker discharged, its lock gone, its connections
broken, the log of a SQLite file not folded back into it (a bystander keeps the file open).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from lash.abc.store import ProcessFilter, Store
from lash.engines.local import LocalEngine
from lash.errors import StoreUnavailable
from lash.runtime.opening import Opening
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.testing.checkers import check_store
from lash.testing.faults import FaultyStore
from tests.crash.places import DurableStore, commit_in_thread, store_on
from tests.crash.scenarios import LEDGER, Scenario, asked

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
        self, scenario: Scenario, url: str, mode: Mode, crash_at: int = 0, when: When = "before", first: bool = True
    ) -> None:
        self.scenario = scenario
        self.mode = mode
        self.first = first
        self.inner = store_on(url, mode.sync)
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
            commit_in_thread(self.inner)
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


async def undying(
    scenario: Scenario, store: Store, inner: DurableStore, mode: Mode, checking: Callable[[bool], None] | None = None
) -> object:
    """What the caller is told in a life whose store may fail and where nobody dies, or what went wrong.

    ``checking`` hears True before everything is looked at and asked for again, and False before the end.
    """
    app = runtime_on(store, mode)
    scenario.register(app)
    told: object
    try:
        async with asyncio.timeout(LIFE_S):
            await asked(app.open)
            if mode.in_thread:
                commit_in_thread(inner)
            told = await scenario.drive(app)
            if checking is not None:
                checking(True)
            assert await scenario.drive(app) == told, "asked again, the caller was told something else"
            assert await check_store(inner) == scenario.processes
    except TimeoutError:
        told = "hangs"
    except AssertionError as error:
        told = str(error)
    finally:
        if checking is not None:
            checking(False)
        await app.close()
    return told


def judge_undying(scenario: Scenario, told: object) -> list[str]:
    """A failing store is no crash: it costs no attempt, and only what runs once may be given up for it."""
    allowed = scenario.outcomes if scenario.runs_once else scenario.outcomes[:1]
    faults = judge(scenario, told, 1)
    if told not in allowed:
        faults.append(f"the caller was told {told!r}, expected one of {allowed!r}")
    return faults


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
