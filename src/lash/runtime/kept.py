"""What a worker keeps of one row it leases, and the slots that bound how many bodies work at once.

A slot is held while a body has anything to do or in flight, and given back while it only waits; so a parent that
awaits its child lets the child run even at ``concurrency=1`` (spec N-16).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lash.core.lease import Lease, next_in_line
from lash.core.process import ProcessRecord
from lash.runtime.bodyrun import BodyRun
from lash.runtime.registry import Process

if TYPE_CHECKING:
    from lash.runtime.agents import Running


@dataclass(slots=True, eq=False)
class Kept:
    """One leased row: its run once the body has begun, and the timers that watch over it."""

    record: ProcessRecord
    lease: Lease
    process: Process[..., Any] | Running | None = None
    """Its code: a registered function, or a session's agent."""
    run: BodyRun | None = None
    slot: bool = False
    faults: int = 0
    """Times in a row its worker met trouble before this claim."""
    leaving: bool = False
    """A park, release or finish is on its way: nothing else may be asked for."""
    due: asyncio.TimerHandle | None = field(default=None, repr=False)
    linger: asyncio.TimerHandle | None = field(default=None, repr=False)

    def stop_timers(self) -> None:
        if self.due is not None:
            self.due.cancel()
            self.due = None
        if self.linger is not None:
            self.linger.cancel()
            self.linger = None


class Slots:
    """``total`` slots, a queue of runs that want one, and ``reserved`` ones for rows on their way."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.reserved = 0
        self._queue: deque[Kept] = deque()

    @property
    def free(self) -> int:
        """Slots for rows not claimed yet. Runs that are here already come first."""
        return max(0, self.total - self.used - self.reserved - len(self._queue))

    def take(self, kept: Kept) -> bool:
        """True when ``kept`` has a slot now; otherwise it is queued and ``give`` returns it later."""
        if kept.slot:
            if kept.run is not None:
                kept.run.has_slot = True
            return True
        if self.used < self.total:
            self._grant(kept)
            return True
        if kept not in self._queue:
            self._queue.append(kept)
        return False

    def give(self, kept: Kept) -> Kept | None:
        """Give the slot back; the run it passes to, if one waited."""
        if not kept.slot:
            return None
        kept.slot = False
        if kept.run is not None:
            kept.run.has_slot = False
        self.used -= 1
        while self._queue:
            following = self._queue.popleft()
            if following.run is not None and not following.run.closed:
                self._grant(following)
                return following
        return None

    def _grant(self, kept: Kept) -> None:
        self.used += 1
        kept.slot = True
        if kept.run is not None:
            kept.run.has_slot = True


class Residents:
    """Parked bodies kept in memory, least recently parked first out, so that most go on without replay."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_id: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, kept: Kept) -> None:
        if self._limit <= 0:
            close_run(kept)
            return
        self._by_id[kept.lease.process_id] = kept
        while len(self._by_id) > self._limit:
            close_run(self._by_id.popitem(last=False)[1])

    def take(self, lease: Lease) -> Kept | None:
        """The resident body of this row, if nobody else has claimed the row since it was parked here."""
        kept = self._by_id.pop(lease.process_id, None)
        if kept is None or kept.run is None:
            return None
        if next_in_line(kept.lease.fence, lease.fence):
            return kept
        close_run(kept)
        return None

    def close(self) -> None:
        for kept in self._by_id.values():
            close_run(kept)
        self._by_id.clear()


def close_run(kept: Kept) -> None:
    if kept.run is not None:
        kept.run.close()
