"""Who awaits a turn is told by the commit where it is made; whoever may have come too late for that looks.

Subscribe first, read second, as for processes: a commit in between is never missed. Only the turn of an item that was
accepted here a moment ago is awaited without a look. All who wait share one look per notice of the store about turns
that are at work elsewhere, and a slow look at every turn stands behind that.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from lash.abc.store import Store
from lash.core.session import ITEM_OVER, TurnRecord
from lash.core.turn import Outcome
from lash.errors import InfrastructureError, RuntimeNotOpen, SessionDeleted, TurnUnknown
from lash.limits import SAFETY_POLL_MS
from lash.runtime.pictures import Place, find_item, record_of
from lash.runtime.watch import Hub

REMEMBERED: Final = 1_024
"""Items whose end is remembered, for those who begin to wait when it has come."""


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
        self._ended: OrderedDict[Awaited, Ended] = OrderedDict()
        self.told = 0
        """How many items were told to have ended, here, so far."""
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
        ended = Ended(record, outcome)
        for item in items:
            awaited = Awaited(row, process_id, item)
            self.told += 1
            self._ended[awaited] = Ended(record, None)  # a long text is not held, it stands in the nodes
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
            for future in self._waiters.get(awaited, ()):
                if not future.done():
                    future.set_result(ended)

    def forget(self, process_id: str) -> None:
        """The session was deleted."""
        for awaited in [awaited for awaited in self._ended if awaited.process_id == process_id]:
            del self._ended[awaited]

    async def wait(self, awaited: Awaited, accepted_at: int | None = None) -> Ended:
        """The turn that consumed an item; ``accepted_at`` is what ``told`` was when it was accepted here. Raises
        ``SessionDeleted``, ``TurnUnknown``."""
        if (ended := self._ended.get(awaited)) is not None:
            return ended
        new = accepted_at is not None and self.told - accepted_at < REMEMBERED
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(awaited, set()).add(future)
        try:
            if not new or awaited.process_id not in self._hub.ours:
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
        """As long as anybody waits: a look for each notice, and a slow one at all."""
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        try:
            while self._waiters:
                with self._hub.changes() as change:
                    await asyncio.wait((change,), timeout=SAFETY_POLL_MS / 1_000)
                slow = loop.time() - looked_s >= SAFETY_POLL_MS / 1_000
                looked_s = loop.time() if slow else looked_s
                wanted = [awaited for awaited in self._waiters if slow or awaited.process_id not in self._hub.ours]
                with suppress(InfrastructureError):  # the store is away: the next notice or the slow look tries again
                    await self._look(wanted)
        finally:
            self._task = None

    async def _look(self, many: Iterable[Awaited]) -> None:
        for awaited in many:
            place = Place(awaited.row, awaited.process_id)
            try:
                item = await find_item(self._store, place, awaited.item)
                if item.state in ITEM_OVER:
                    record = await record_of(self._store, place, item)
                    self.settled(awaited.process_id, awaited.row, (awaited.item,), record)
            except (SessionDeleted, TurnUnknown) as error:
                for future in self._waiters.get(awaited, ()):
                    if not future.done():
                        future.set_exception(error)
