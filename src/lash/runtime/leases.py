"""What this worker owns, and every way a row leaves it: parked, put back, finished, or lost to another worker.

Each write is fenced, and its verdict is handled in commit order, so that what is kept here is at every moment what the
store has said. Once a verdict says that the lease is gone, nothing more is written for the row (promise 2).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from lash.abc.engine import Engine
from lash.abc.store import (
    Done,
    Finish,
    Look,
    Park,
    Progress,
    Recorded,
    Release,
    Renew,
    Renewed,
    Stale,
    Verdict,
)  # fmt: skip
from lash.core.lease import Fence
from lash.core.outcome import Abandoned, Outcome, text_of
from lash.core.process import Blocked
from lash.core.schedule import backoff_ms
from lash.errors import LeaseLost
from lash.runtime.batching import Batcher
from lash.runtime.bodyport import World
from lash.runtime.bodyrun import BodyRun
from lash.runtime.checks import reason_of
from lash.runtime.kept import Kept, Residents, Slots, close_run
from lash.runtime.report import Counters, Fault
from lash.runtime.settings import Settings
from lash.runtime.watch import Hub

log = logging.getLogger("lash.worker")
FAULTS_KEPT = 1_000


class Leases:
    """The rows of one worker. ``poke`` is called when a row has left, since its slot or the row itself may be due."""

    def __init__(
        self, owner: str, batcher: Batcher, engine: Engine, hub: Hub, settings: Settings, world: World
    ) -> None:
        self.owner = owner
        self.batcher = batcher
        self.engine = engine
        self.hub = hub
        self.settings = settings
        self.world = world
        self.kept: dict[int, Kept] = {}
        self.by_run: dict[BodyRun, Kept] = {}
        self.slots = Slots(settings.concurrency)
        self.residents = Residents(settings.resident)
        self.faults: deque[Fault] = deque(maxlen=FAULTS_KEPT)
        self.counters = Counters()
        self.draining = False
        self.starved = False
        """The last look for work ended because no slot was free: the next free one is a reason to look."""
        self.emptied = asyncio.Event()
        self._poke = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._renewed_at = self._loop.time()
        self._unsure: list[Callable[[], None]] = []

    def poke(self) -> None:
        """Look for work soon. Any number of pokes before the look cost one look."""
        self._poke.set()

    async def poked(self) -> None:
        await self._poke.wait()

    def looked(self) -> None:
        self._poke.clear()

    def keep(self, kept: Kept) -> None:
        self.kept[kept.lease.row] = kept
        self.hub.ours.add(kept.lease.process_id)

    def still(self, kept: Kept) -> bool:
        """Whether the row is still kept as it was when a task began to care for it."""
        return self.kept.get(kept.lease.row) is kept

    def look(self, fences: Sequence[Fence]) -> None:
        """Somebody else has written to these rows: fetch it in commit order with what the bodies write."""
        for fence in fences:
            kept = self.kept.get(fence.row)
            if kept is None or kept.run is None or kept.run.closed or kept.lease.fence != fence:
                continue
            self.batcher.submit(Look(fence, kept.run.seen), self._heard(kept))

    def _heard(self, kept: Kept) -> Callable[[Verdict | BaseException], None]:
        def settle(verdict: Verdict | BaseException) -> None:
            run = kept.run
            if run is None or run.closed or run.parked:
                return
            if isinstance(verdict, Recorded):
                run.deliver(verdict.entries)
            elif isinstance(verdict, Stale):
                run.lost()

        return settle

    # Renewing ----------------------------------------------------------------------------------------------------

    @property
    def unrenewed_s(self) -> float:
        """Seconds since the store last said what we hold."""
        return self._loop.time() - self._renewed_at

    def renew(self) -> None:
        self.batcher.submit(Renew(self.owner, self.settings.lease_ttl_ms), self._on_renewed)

    def renew_if_late(self) -> None:
        """Before a claim: a worker that was blocked past its leases must not take its own rows for a dead one's."""
        if self.kept and self.unrenewed_s > self.settings.lease_ttl_ms / 2_000:
            self.renew()

    def when_sure(self, action: Callable[[], None]) -> None:
        """Do ``action`` at once; but after a time without renewal in which a peer may have taken everything over (this
        worker was stopped, or blocked) only once the store has told what is still held here."""
        if not self._unsure and self.unrenewed_s <= self.settings.lease_ttl_ms / 1_000:
            action()
        else:
            self.once_told(action)

    def once_told(self, action: Callable[[], None]) -> None:
        """Do ``action`` when the store has told what is still held here."""
        self._unsure.append(action)
        if len(self._unsure) == 1:
            self.batcher.submit(Renew(self.owner, self.settings.lease_ttl_ms), self._on_sure)

    def _on_sure(self, verdict: Verdict | BaseException) -> None:
        self._on_renewed(verdict)
        actions, self._unsure = self._unsure, []
        for action in actions:
            action()

    def _on_renewed(self, verdict: Verdict | BaseException) -> None:
        """What the store says we hold is what we hold: lose the rest, and give back what nobody here knows."""
        if not isinstance(verdict, Renewed):
            log.warning("leases were not renewed, trying again: %s", verdict)
            return
        self._renewed_at = self._loop.time()
        held = set(verdict.fences)
        for kept in list(self.kept.values()):
            if kept.lease.fence not in held and not kept.leaving:
                told = f"Process {kept.lease.process_id!r} was taken over by another worker, or deleted."
                self.lost(kept, LeaseLost(told))
        for fence in held:
            if fence.row not in self.kept:  # a claim whose answer was lost
                self.batcher.submit(Release(fence), lambda verdict: None)

    def give_up(self) -> None:
        """No renewal got through for nearly a whole lease: a peer may own our rows by now. What runs once is owned by
        nobody else, ever: at worst it is closed, and then its writes are refused."""
        for kept in list(self.kept.values()):
            if not kept.leaving and not begun_once(kept):
                self.lost(kept, LeaseLost(f"The lease on {kept.lease.process_id!r} could not be renewed in time."))

    # Giving rows back --------------------------------------------------------------------------------------------

    def may_park(self, kept: Kept) -> bool:
        return self.engine.replays and kept.record.spec.recovery == "rerun"

    def park(self, kept: Kept) -> None:
        kept.linger = None
        run = kept.run
        if run is None or kept.leaving or not run.idle:
            return
        kept.leaving = True

        def settle(verdict: Verdict | BaseException) -> None:
            kept.leaving = False
            if isinstance(verdict, Done):
                run.parked = True
                self.counters.parked += 1
                self.counters.performed_steps += run.performed
                run.performed = 0
                self.forget(kept)
                self.residents.add(kept)
            elif isinstance(verdict, Recorded):
                run.deliver(verdict.entries)
                run.wake()
            else:
                self.settle_refusal(kept, verdict)

        self.batcher.submit(Park(kept.lease.fence, run.seen, run.waiting()), settle)

    def leave(self, kept: Kept) -> None:
        """Draining, and the body is at an effect boundary: park what only waits, hand over what could go on."""
        run = kept.run
        if run is None or kept.leaving:
            return
        if kept.record.spec.recovery == "once":
            return
        if (
            run.held_back
            or not self.engine.replays
            or ((due := run.next_due_ms()) is not None and due <= self.world.now_ms())
        ):
            self.release(kept)
        else:
            self.park(kept)

    def release(self, kept: Kept, pause_ms: int = 0, blocked: Blocked | None = None, tries: int = 0) -> None:
        """Give the lease back without an outcome; tried again while the store is away."""
        kept.leaving = True
        close_run(kept)

        def settle(verdict: Verdict | BaseException) -> None:
            if isinstance(verdict, BaseException) and not self.draining:
                self._loop.call_later(backoff_ms(tries + 1) / 1_000, self.release, kept, pause_ms, blocked, tries + 1)
            else:
                self.forget(kept)
                if isinstance(verdict, Stale):
                    self.hub.changed()  # an outcome of ours may have been written and its answer lost

        self.batcher.submit(Release(kept.lease.fence, pause_ms, blocked), settle)

    def give_back(self, kept: Kept, error: BaseException) -> None:
        """Trouble: visible on the row and in the report, and tried again after a pause, unless it may run only once."""
        process_id = kept.lease.process_id
        reason = reason_of(error)
        self.faults.append(Fault(process_id, reason, str(error)))
        if begun_once(kept):
            log.error("process %s is abandoned: %s: %s", process_id, reason, error)
            self.abandon(kept, "owner_trouble", reason)
            return
        log.error("process %s is put back: %s: %s", process_id, reason, error)
        code_hash = kept.process.code_hash if kept.process is not None else ""
        self.release(kept, backoff_ms(kept.faults + 1), Blocked(reason, text_of(error, str)[:2_000], code_hash))

    def progress(self, kept: Kept) -> None:
        """The body got past its trouble."""
        kept.faults = 0
        self.batcher.submit(Progress(kept.lease.fence), lambda verdict: None)

    def finish(self, kept: Kept, outcome: Outcome, tries: int = 0) -> None:
        """Write the outcome. While the store is away, a body that can run again does; of one that cannot, the outcome
        is kept and tried again."""
        kept.leaving = True
        kept.stop_timers()
        self.free_slot(kept)

        def settle(verdict: Verdict | BaseException) -> None:
            if isinstance(verdict, Done):
                self.counters.ended += 1
                self.forget(kept)
                self.hub.ended(kept.lease.process_id, outcome)
            elif isinstance(verdict, BaseException) and begun_once(kept) and not self.draining:
                self._loop.call_later(backoff_ms(tries + 1) / 1_000, self.finish, kept, outcome, tries + 1)
            elif tries or (isinstance(verdict, BaseException) and begun_once(kept)):
                self.forget(kept)  # written by an earlier try, or left to the end of the lease
                self.hub.changed()
            else:
                self.settle_refusal(kept, verdict)

        self.batcher.submit(Finish(kept.lease.fence, outcome), settle)

    def settle_refusal(self, kept: Kept, verdict: Verdict | BaseException) -> None:
        if isinstance(verdict, Stale):
            self.lost(kept, LeaseLost(f"Process {kept.lease.process_id!r} belongs to another worker now."))
        elif isinstance(verdict, BaseException):
            self.give_back(kept, verdict)
        else:
            self.give_back(kept, TypeError(f"unexpected verdict {type(verdict).__name__}"))

    def lost(self, kept: Kept, error: LeaseLost) -> None:
        """Another worker owns the row: stop, and write nothing. Several refusals on their way tell it several times."""
        if self.kept.get(kept.lease.row) is not kept:
            return
        self.counters.leases_lost += 1
        self.faults.append(Fault(kept.lease.process_id, error.code, str(error)))
        log.warning("%s", error)
        self.forget(kept)
        self.hub.changed()  # it may have ended elsewhere
        close_run(kept)

    def abandon(self, kept: Kept, writer: str = "owner_drain", reason: str | None = None) -> None:
        """The worker leaves, or cannot go on, and the contract is to run once: say so."""
        close_run(kept)
        evidence: dict[str, object] = {"writer": writer, "owner": self.owner, "attempt": kept.record.attempts}
        self.finish(kept, Abandoned(evidence if reason is None else evidence | {"reason": reason}))

    def forget(self, kept: Kept) -> None:
        """The row is no longer this worker's concern."""
        kept.stop_timers()
        if self.kept.get(kept.lease.row) is kept:
            del self.kept[kept.lease.row]
            self.hub.ours.discard(kept.lease.process_id)
        if kept.run is not None:
            self.by_run.pop(kept.run, None)
        self.free_slot(kept)
        self.poke()  # its row may be due again, or its slot free
        if not self.kept:
            self.emptied.set()

    def free_slot(self, kept: Kept) -> None:
        if not kept.slot:
            return
        following = self.slots.give(kept)
        if following is not None and following.run is not None:
            self._loop.call_soon(following.run.proceed)
        elif not self.draining and self.starved:
            self.poke()


def begun_once(kept: Kept) -> bool:
    """A body that may never run again has begun: whatever the trouble, its row must not become claimable."""
    return kept.record.spec.recovery == "once" and kept.run is not None and kept.run.main is not None
