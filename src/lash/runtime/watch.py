"""Awaiters subscribe first and read second, so that an outcome written in between is never missed (spec N-03).

One hub serves a runtime. What this runtime writes reaches its awaiters at once; what others write reaches them through
the store's notice, and a slow look stands behind that. Nobody polls for a single process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from lash.abc.store import Store
from lash.core.outcome import Outcome
from lash.core.process import ProcessRow, Tombstone
from lash.errors import InfrastructureError, LashError, ProcessPruned, ProcessUnknown, RuntimeNotOpen
from lash.limits import PAGE_ROWS_MAX, SAFETY_POLL_MS

LOOK_PAUSE_S_MAX: Final = 1.0


class Hub:
    """``open`` it on the loop; ``changed`` is a notice without content."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters: dict[str, set[asyncio.Future[Outcome]]] = {}
        self.ours: set[str] = set()
        """Processes leased to this runtime's worker: it tells their outcome through :meth:`ended`, or looks when it
        loses them, so whoever awaits one need not look."""
        self._asked: list[tuple[str, asyncio.Future[Outcome]]] = []
        """Who has begun to wait in this turn of the loop."""
        self._looks: set[asyncio.Task[None]] = set()
        self._ticks: set[asyncio.Future[None]] = set()
        self._wake = asyncio.Event()
        self._suspect = False
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lash-watch")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            for look in self._looks:
                look.cancel()
            await asyncio.gather(self._task, *self._looks, return_exceptions=True)
            self._task = None
        for process_id in list(self._waiters):
            message = (
                f"The runtime was closed while process {process_id!r} was awaited. It goes on; await it elsewhere."
            )
            self._fail(process_id, RuntimeNotOpen(message))

    def changed(self) -> None:
        """Somebody may have ended something: look at what is awaited, soon."""
        if self._waiters or self._ticks:
            self._suspect = True
            self._wake.set()

    def written(self) -> None:
        """This runtime wrote something whose outcome, if any, it tells through :meth:`ended`."""
        if self._ticks:
            self._wake.set()

    def ended(self, process_id: str, outcome: Outcome) -> None:
        """This runtime wrote an outcome."""
        for waiter in self._waiters.pop(process_id, ()):
            if not waiter.done():
                waiter.set_result(outcome)
        if self._ticks:
            self._wake.set()

    async def outcome(self, process_id: str) -> Outcome:
        """Wait for an outcome. Raises ``ProcessUnknown`` or ``ProcessPruned``."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Outcome] = loop.create_future()
        self._waiters.setdefault(process_id, set()).add(waiter)
        if process_id not in self.ours:
            if not self._asked:
                loop.call_soon(self._answer)
            self._asked.append((process_id, waiter))
        try:
            return await waiter
        finally:
            waiting = self._waiters.get(process_id)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiters[process_id]

    @contextmanager
    def changes(self) -> Generator[asyncio.Future[None]]:
        """A future that is done once something may have changed since now; read after this, and then wait for it."""
        tick: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ticks.add(tick)
        try:
            yield tick
        finally:
            self._ticks.discard(tick)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(SAFETY_POLL_MS / 1_000):
                    await self._wake.wait()
            except TimeoutError:
                self._suspect = True
            self._wake.clear()
            for tick in self._ticks:
                if not tick.done():
                    tick.set_result(None)
            began = loop.time()
            if self._suspect:
                self._suspect = False
                with suppress(InfrastructureError):  # the store is away: the next notice or the slow look tries again
                    await self._look(list(self._waiters))
            # Many notices cost one look, and looking at many awaited processes takes at most a fifth of the time; but a
            # look that waited for a store that was away must not make everybody wait four times as long again.
            await asyncio.sleep(min(0.002 + 4 * (loop.time() - began), LOOK_PAUSE_S_MAX))

    def _answer(self) -> None:
        """All who began to wait in one turn of the loop share one look."""
        asked, self._asked = self._asked, []
        look = asyncio.get_running_loop().create_task(self._first_look(asked))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _first_look(self, asked: Sequence[tuple[str, asyncio.Future[Outcome]]]) -> None:
        try:
            await self._look([process_id for process_id, _ in asked])
        except Exception as error:  # noqa: BLE001  # it is the answer of everybody who asked
            for _, waiter in asked:
                if not waiter.done():
                    waiter.set_exception(error)

    async def _look(self, awaited: Sequence[str]) -> None:
        for start in range(0, len(awaited), PAGE_ROWS_MAX):
            over = await self._store.not_running(awaited[start : start + PAGE_ROWS_MAX])
            if over:
                self._settle(over, await self._store.get(over))

    def _settle(self, ids: Iterable[str], rows: Sequence[ProcessRow | Tombstone | None]) -> None:
        for process_id, row in zip(ids, rows, strict=True):
            if isinstance(row, ProcessRow):
                if row.record.outcome is not None:
                    self.ended(process_id, row.record.outcome)
                continue
            self._fail(process_id, gone(process_id, row))

    def _fail(self, process_id: str, error: LashError) -> None:
        for waiter in self._waiters.pop(process_id, ()):
            if not waiter.done():
                waiter.set_exception(error)


def gone(process_id: str, row: Tombstone | None) -> ProcessPruned | ProcessUnknown:
    """The typed answer about a process that has no row."""
    if row is None:
        return ProcessUnknown(
            f"No process has the id {process_id!r}. Check the id and the database URL.", process_id=process_id
        )
    return ProcessPruned(
        f"Process {process_id!r} ended ({row.status}) and was pruned: its result is no longer kept.",
        process_id=process_id,
        status=row.status.value,
    )
