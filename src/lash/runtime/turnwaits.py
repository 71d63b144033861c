"""Who awaits a turn is told by the commit where it is made, and looks only where it is made elsewhere.

Subscribe first, read second, as for processes: a commit in between is never missed. All who wait share one look per
notice of the store, and a slow look stands behind that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from lash.abc.store import Store
from lash.core.session import TurnRecord
from lash.core.turn import Outcome
from lash.errors import InfrastructureError, RuntimeNotOpen, SessionDeleted
from lash.limits import SAFETY_POLL_MS
from lash.runtime.pictures import Place, find_item, record_of
from lash.runtime.watch import Hub


class Awaited(NamedTuple):
    """One item of one session."""

    row: int
    process_id: str
    item: int


class Ended(NamedTuple):
    record: TurnRecord
    outcome: Outcome | None
    """Text and value included; None: to be read from the nodes."""


class TurnWaits:
    """One per opened runtime. ``open`` it on the loop."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._waiters: dict[Awaited, set[asyncio.Future[Ended]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._waiters.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(
                        RuntimeNotOpen("The runtime was closed while a turn was awaited. It goes on; await it again.")
                    )

    def settled(
        self, process_id: str, row: int, items: Iterable[int], record: TurnRecord, outcome: Outcome | None = None
    ) -> None:
        """These items were consumed by this turn, whose whole ``outcome`` is known if it was committed here."""
        for item in items:
            for future in self._waiters.get(Awaited(row, process_id, item), ()):
                if not future.done():
                    future.set_result(Ended(record, outcome))

    async def wait(self, awaited: Awaited) -> Ended:
        """The turn that consumed an item. Raises ``SessionDeleted``."""
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(awaited, set()).add(future)
        try:
            if awaited.process_id not in self._hub.ours:
                await self._look([awaited])
            if self._task is None and not future.done():
                self._task = asyncio.get_running_loop().create_task(self._run(), name="lash-turns")
            return await future
        finally:
            waiting = self._waiters[awaited]
            waiting.discard(future)
            if not waiting:
                del self._waiters[awaited]

    async def _run(self) -> None:
        """As long as anybody waits: a look for each notice."""
        try:
            while self._waiters:
                with self._hub.changes() as change:
                    await asyncio.wait((change,), timeout=SAFETY_POLL_MS / 1_000)
                foreign = [awaited for awaited in self._waiters if awaited.process_id not in self._hub.ours]
                with suppress(InfrastructureError):  # the store is away: the next notice or the slow look tries again
                    await self._look(foreign)
        finally:
            self._task = None

    async def _look(self, many: Iterable[Awaited]) -> None:
        for awaited in many:
            place = Place(awaited.row, awaited.process_id)
            try:
                item = await find_item(self._store, place, awaited.item)
                if item is not None and item.state in ("done", "cancelled"):
                    record = await record_of(self._store, place, item)
                    self.settled(awaited.process_id, awaited.row, (awaited.item,), record)
            except SessionDeleted as error:
                for future in self._waiters.get(awaited, ()):
                    if not future.done():
                        future.set_exception(error)
